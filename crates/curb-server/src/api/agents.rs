//! `POST /curb/v1/agent/report`.

use std::collections::BTreeSet;

use curb_api::{NodeReport, ReportReply};
use curb_core::time::Millis;

use super::read;
use crate::agents::{driver, no_cluster};
use crate::gateway::Call;
use crate::reply::{Failure, Reply, json};

/// Between two reports of a node at least.
const FAST: u64 = 2_000;
/// And at most, however many nodes there are.
const SLOW: u64 = 10_000;
/// So much more for each node: a thousand of them report every five seconds.
const A_NODE: u64 = 5;
/// Processes of a node that are asked about at most.
const MOST_ASKED: usize = 4096;

/// Takes a report in; says what the agent should look at.
pub fn report(call: &Call, body: &[u8]) -> Result<Reply, Failure> {
    let report: NodeReport = read(body)?;
    let bad = |text: &Option<String>| text.as_deref().is_some_and(|t| driver(t).is_none());
    if report.groups.iter().any(|g| bad(&g.driver)) || report.placed.iter().any(|p| bad(&p.driver))
    {
        return Err(Failure::bad_request(
            "curb: the report has a driver that is none: eight hex digits",
        ));
    }
    let app = &call.app;
    let named = report.cluster.as_deref();
    let cluster = match (named, app.clusters.len()) {
        (Some(name), _) => app.cluster(name),
        (None, 1) => app.clusters.values().next(),
        (None, _) => None,
    };
    let cluster = cluster.ok_or_else(|| no_cluster(named.unwrap_or_default()))?;
    let addresses: BTreeSet<String> = report.raylets.iter().map(|r| r.address.clone()).collect();
    let name = cluster.name.clone();
    let nodes = app
        .agents
        .take(call.who.user(), name, report, app.clock.now())?;
    let asked = cluster.truth.asked();
    let mut ask: Vec<u32> = addresses
        .iter()
        .filter_map(|address| asked.get(address))
        .flatten()
        .copied()
        .collect();
    ask.truncate(MOST_ASKED);
    json(&ReportReply {
        every: Millis((nodes as u64 * A_NODE).clamp(FAST, SLOW)),
        ask,
    })
}
