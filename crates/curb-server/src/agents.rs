//! The last that each node's agent told. It is in memory only: after a restart the agents tell it again within seconds.
//!
//! A node is named by the token, never by what the report says. Of each node the last report is kept, with the time at which
//! it came by the server's own clock; one that is silent is stale and not empty.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use curb_api::{AgentView, Kind, NodeReport};
use curb_core::time::{Millis, Timestamp};
use curb_core::truth::{DriverId, Hosts, Seat};
use http::StatusCode;

use crate::reply::Failure;

/// Bytes of a report at most.
pub const MOST: u64 = 512 << 10;
/// Nodes at most.
const MOST_NODES: usize = 10_000;
/// Who has not told for so long is silent: three reports at the slowest pace.
const SILENT: Millis = Millis(30_000);
/// A node of which nothing came for so long is forgotten.
const FORGOTTEN: Millis = Millis(24 * 3_600_000);
/// Raylets of a node at most.
const MOST_RAYLETS: usize = 64;

/// What all agents told.
#[derive(Debug, Default)]
pub struct Agents(Mutex<BTreeMap<String, Told>>);

/// What one told last.
#[derive(Clone, Debug)]
pub struct Told {
    /// The cluster that the node belongs to.
    pub cluster: String,
    /// The report.
    pub report: Arc<NodeReport>,
    /// When it came.
    pub at: Timestamp,
}

impl Told {
    /// Whether it is too old to count.
    #[must_use]
    pub fn is_silent(&self, now: Timestamp) -> bool {
        now.since(self.at) > SILENT
    }
}

impl Agents {
    /// Takes a report in from the agent whose token is `node`'s; gives how many nodes there are.
    ///
    /// # Errors
    /// It is of another node, or older than what is known, or there are too many nodes.
    pub fn take(
        &self,
        node: &str,
        cluster: String,
        report: NodeReport,
        now: Timestamp,
    ) -> Result<usize, Failure> {
        if report.node != node {
            return Err(other_node(node, &report.node));
        }
        if report.raylets.len() > MOST_RAYLETS || report.epoch.len() > 64 {
            return Err(Failure::bad_request(
                "curb: the report has more raylets than a node has, or an epoch that is none",
            ));
        }
        let mut all = self.lock();
        if let Some(before) = all.get(node) {
            is_newer(&before.report, &report)?;
        } else if all.len() >= MOST_NODES {
            all.retain(|_, told| now.since(told.at) <= FORGOTTEN);
            if all.len() >= MOST_NODES {
                return Err(Failure::unavailable(
                    format!("curb: {MOST_NODES} nodes report already, which is the most"),
                    "run a Curb for each part of the cluster",
                    60,
                ));
            }
        }
        let told = Told {
            cluster,
            report: Arc::new(report),
            at: now,
        };
        all.insert(node.to_owned(), told);
        Ok(all.len())
    }

    /// What is told of a cluster.
    #[must_use]
    pub fn of(&self, cluster: &str) -> Vec<Told> {
        let all = self.lock();
        all.values()
            .filter(|told| told.cluster == cluster)
            .cloned()
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Told>> {
        // It is whole between any two statements that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_newer(before: &NodeReport, report: &NodeReport) -> Result<(), Failure> {
    let same_run = before.epoch == report.epoch;
    let newer = match same_run {
        true => report.seq > before.seq,
        false => report.started > before.started,
    };
    match newer {
        true => Ok(()),
        false => Err(old_report(&report.node, same_run)),
    }
}

pub(crate) fn other_node(token: &str, report: &str) -> Failure {
    let report: String = report.chars().take(100).collect();
    Failure::new(
        StatusCode::FORBIDDEN,
        Kind::AgentNode,
        format!("curb: this token is of the agent on node {token}, and the report is of {report}"),
        format!(
            "start the agent with --node {token}, or make a token for {report}: curb token create --role agent --node {report}"
        ),
    )
}

pub(crate) fn no_cluster(name: &str) -> Failure {
    let name: String = name.chars().take(100).collect();
    Failure::new(
        StatusCode::FORBIDDEN,
        Kind::AgentNode,
        match name.is_empty() {
            true => {
                "curb: there are several clusters, and the report does not say of which the node is"
                    .to_owned()
            }
            false => format!("curb: there is no cluster {name} here"),
        },
        "start the agent with --cluster NAME; `curb status` lists the clusters",
    )
}

pub(crate) fn old_report(node: &str, same_run: bool) -> Failure {
    let node: String = node.chars().take(100).collect();
    let what = match same_run {
        true => "has a number that was there before",
        false => "comes from an agent that was started before the one that reports now",
    };
    Failure::new(
        StatusCode::CONFLICT,
        Kind::AgentOld,
        format!("curb: this report of node {node} {what}"),
        "run one agent on each node, and set its clock right",
    )
}

/// A driver's number of its text.
pub(crate) fn driver(text: &str) -> Option<DriverId> {
    let mut id = [0; 4];
    hex::decode_to_slice(text, &mut id).ok()?;
    Some(DriverId(id))
}

/// Addresses of a cluster of which several nodes say that they are theirs: none of them is believed.
fn disputed(told: &[&Told], cluster_id: Option<&str>) -> BTreeSet<String> {
    let mut by_address: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for one in told {
        for raylet in &one.report.raylets {
            if cluster_id.is_none_or(|id| raylet.cluster_id == id) {
                by_address
                    .entry(&raylet.address)
                    .or_default()
                    .insert(&one.report.node);
            }
        }
    }
    by_address
        .into_iter()
        .filter(|(_, nodes)| nodes.len() > 1)
        .map(|(address, _)| address.to_owned())
        .collect()
}

/// What those that are not silent say of the processes of the cluster with this id, by address.
#[must_use]
pub fn hosts(told: &[Told], cluster_id: &[u8], now: Timestamp) -> Hosts {
    let cluster_id = hex::encode(cluster_id);
    let fresh: Vec<&Told> = told.iter().filter(|t| !t.is_silent(now)).collect();
    let disputed = disputed(&fresh, Some(&cluster_id));
    let mut all = Hosts::default();
    for one in fresh {
        let of_it = |index: u32| {
            let raylet = one.report.raylets.get(index as usize);
            raylet.is_some_and(|r| r.cluster_id == cluster_id)
        };
        let seats: HashMap<u32, Seat> = one
            .report
            .placed
            .iter()
            .map(|p| {
                // What another cluster's raylet started is outside of this one.
                let seat = match p.raylet.is_some_and(of_it) {
                    true => Seat::Below {
                        root: p.root,
                        driver: p.driver.as_deref().and_then(driver),
                    },
                    false => Seat::Outside,
                };
                (p.pid, seat)
            })
            .collect();
        let groups = one.report.groups.iter();
        let unnamed: HashMap<u32, u64> = groups
            .filter(|g| of_it(g.raylet))
            .filter(|g| g.driver.as_deref().and_then(driver) == Some(DriverId::NIL))
            .filter_map(|g| Some((g.root?, g.start)))
            .collect();
        let raylets = one.report.raylets.iter();
        for raylet in raylets.filter(|r| r.cluster_id == cluster_id) {
            if !disputed.contains(&raylet.address) {
                all.seats.insert(raylet.address.clone(), seats.clone());
                all.unnamed.insert(raylet.address.clone(), unnamed.clone());
            }
        }
    }
    all
}

/// For `curb status`.
#[must_use]
pub fn views(told: &[Told], now: Timestamp) -> Vec<AgentView> {
    let disputed = disputed(&told.iter().collect::<Vec<_>>(), None);
    told.iter()
        .map(|one| {
            let addresses: BTreeSet<&str> = one
                .report
                .raylets
                .iter()
                .map(|r| r.address.as_str())
                .collect();
            let shared = addresses.iter().find(|a| disputed.contains(**a));
            AgentView {
                node: one.report.node.clone(),
                addresses: addresses.iter().map(|a| (*a).to_owned()).collect(),
                as_of: one.at,
                silent: one.is_silent(now),
                problem: match (shared, addresses.is_empty(), one.report.cut) {
                    (Some(address), ..) => format!(
                        "another node says too that {address} is its own: neither is believed"
                    ),
                    (None, true, _) => "no raylet runs there, or it is not seen".to_owned(),
                    (None, false, 0) => String::new(),
                    (None, false, n) => format!("{n} programs were beyond the bound of a report"),
                },
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use curb_api::{PlacedProcess, RayletSeen};

    fn report(node: &str, epoch: &str, started: i64, seq: u64) -> NodeReport {
        NodeReport {
            node: node.into(),
            epoch: epoch.into(),
            started: Timestamp(started),
            seq,
            raylets: vec![RayletSeen {
                address: "10.0.0.1".into(),
                cluster_id: "0707".into(),
                isolated: false,
            }],
            ..NodeReport::default()
        }
    }

    fn take(agents: &Agents, token: &str, report: NodeReport) -> Result<usize, &'static str> {
        agents
            .take(token, "main".into(), report, Timestamp(0))
            .map_err(|f| f.code)
    }

    #[test]
    fn a_report_of_another_node_than_the_tokens_is_refused() {
        let agents = Agents::default();
        let refused = take(&agents, "a", report("b", "x", 1, 1));
        assert_eq!(refused, Err("agent-other-node"));
        assert!(agents.of("main").is_empty());
    }

    #[test]
    fn a_report_that_was_there_before_or_comes_late_is_refused() {
        let agents = Agents::default();
        assert_eq!(take(&agents, "a", report("a", "x", 5, 7)), Ok(1));
        for (epoch, started, seq) in [
            ("x", 5, 7),
            ("x", 5, 6),
            ("x", 9, 7),
            ("y", 5, 8),
            ("y", 4, 99),
        ] {
            let refused = take(&agents, "a", report("a", epoch, started, seq));
            assert_eq!(refused, Err("agent-old-report"), "{epoch} {started} {seq}");
        }
        assert_eq!(take(&agents, "a", report("a", "x", 5, 9)), Ok(1));
        assert_eq!(take(&agents, "a", report("a", "z", 6, 1)), Ok(1));
        // The run before does not come back.
        assert_eq!(
            take(&agents, "a", report("a", "x", 5, 10)),
            Err("agent-old-report")
        );
    }

    #[test]
    fn who_is_silent_says_nothing_of_processes_and_is_not_forgotten() {
        let agents = Agents::default();
        let mut told = report("a", "x", 1, 1);
        told.placed.push(PlacedProcess {
            pid: 7,
            ..PlacedProcess::default()
        });
        take(&agents, "a", told).expect("taken");
        let told = agents.of("main");
        assert_eq!(
            hosts(&told, &[7, 7], Timestamp(30_000)).seats["10.0.0.1"][&7],
            Seat::Outside
        );
        assert!(hosts(&told, &[7, 7], Timestamp(30_001)).seats.is_empty());
        assert!(views(&told, Timestamp(30_001))[0].silent);
    }

    #[test]
    fn an_address_that_two_nodes_say_is_theirs_is_nobodys() {
        let agents = Agents::default();
        take(&agents, "a", report("a", "x", 1, 1)).expect("taken");
        take(&agents, "b", report("b", "y", 1, 1)).expect("taken");
        let told = agents.of("main");
        assert!(hosts(&told, &[7, 7], Timestamp(0)).seats.is_empty());
        let views = views(&told, Timestamp(0));
        assert!(
            views.iter().all(|v| v.problem.contains("10.0.0.1")),
            "{views:?}"
        );
    }
}
