//! The agent of a Ray node: sees which processes belong to which job, and tells the server.
//!
//! It looks at all processes each second, so that one is known before it can hide, and reports when the server wants it to.
//! What adds up is counted from its start: while the server is away nothing is kept but these sums, and nothing is lost.

mod sight;

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use curb_api::client::{Client, ClientError};
use curb_api::{NodeReport, ReportReply};
use curb_core::time::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

pub use sight::Sight;

/// From one look to the next.
const LOOK: Duration = Duration::from_secs(1);
/// Until the next report, where the server has not said.
const FIRST: Duration = Duration::from_secs(2);
/// Between two reports at least, and at most.
const EVERY: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(200)..=Duration::from_secs(60);
/// After a report that failed the pause doubles up to this.
const MOST_PAUSE: Duration = Duration::from_secs(15);
/// So many processes can be asked about.
const MOST_ASKED: usize = 4096;

/// Which node, and how it is told of.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name: the one that the token was made for.
    pub name: String,
    /// The cluster; the server's only one where it is not said.
    pub cluster: Option<String>,
    /// A random name of this run.
    pub epoch: String,
}

/// Runs until it is asked to end. `connect` makes a client, with the token as it is at that moment; `tell` gets a line for
/// each thing that somebody may want to know.
///
/// # Errors
/// The processes of this host cannot be read, or another agent has taken this node's place.
pub async fn run(
    node: Node,
    mut connect: impl FnMut() -> Result<Client, String>,
    mut tell: impl FnMut(&str),
) -> io::Result<()> {
    let mut end = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut sight = Sight::begin(std::path::Path::new("/proc"))?;
    let mut teller = Teller::new(node);
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut next = tokio::time::Instant::now();
    let mut sent: Option<JoinHandle<Result<ReportReply, ClientError>>> = None;
    loop {
        tokio::select! {
            _ = end.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = looks.tick() => {
                sight.round()?;
                for line in sight.news() {
                    tell(&line);
                }
            }
            () = tokio::time::sleep_until(next), if sent.is_none() => match connect() {
                Ok(client) => {
                    // What it is told about is as it is now.
                    sight.round()?;
                    let report = teller.report(&mut sight);
                    sent = Some(tokio::spawn(async move { client.report(&report).await }));
                }
                Err(why) => {
                    let pause = teller.failed(&why, &mut tell);
                    next = tokio::time::Instant::now() + pause;
                }
            },
            answer = async { sent.as_mut().expect("checked by the branch's condition").await }, if sent.is_some() => {
                sent = None;
                let answer = answer.map_err(io::Error::other)?;
                next = tokio::time::Instant::now() + teller.answered(answer, &mut tell)?;
            }
        }
    }
}

/// What was told and what is asked.
struct Teller {
    node: Node,
    started: Timestamp,
    seq: u64,
    asked: BTreeSet<u32>,
    told_of: BTreeSet<u32>,
    last: Option<Instant>,
    /// Reports that failed one after the other.
    failures: u32,
    why: String,
}

impl Teller {
    fn new(node: Node) -> Teller {
        Teller {
            node,
            started: crate::agent::wall(),
            seq: 0,
            asked: BTreeSet::new(),
            told_of: BTreeSet::new(),
            last: None,
            failures: 0,
            why: String::new(),
        }
    }

    fn report(&mut self, sight: &mut Sight) -> NodeReport {
        self.seq += 1;
        let now = Instant::now();
        let since = self.last.replace(now).map(|last| now - last);
        self.told_of.clone_from(&self.asked);
        let seen = sight.report(&self.asked, since);
        NodeReport {
            node: self.node.name.clone(),
            cluster: self.node.cluster.clone(),
            epoch: self.node.epoch.clone(),
            started: self.started,
            seq: self.seq,
            raylets: seen.raylets,
            groups: seen.groups,
            placed: seen.placed,
            cut: seen.cut,
        }
    }

    /// How long until the next report.
    fn answered(
        &mut self,
        answer: Result<ReportReply, ClientError>,
        tell: &mut impl FnMut(&str),
    ) -> io::Result<Duration> {
        match answer {
            Ok(reply) => {
                if self.failures > 0 || self.seq == 1 {
                    tell("the server takes what this node tells");
                }
                (self.failures, self.why) = (0, String::new());
                self.asked = reply.ask.into_iter().take(MOST_ASKED).collect();
                // What it does not know of yet it wants to know soon.
                Ok(match self.asked.is_subset(&self.told_of) {
                    true => {
                        Duration::from_millis(reply.every.0).clamp(*EVERY.start(), *EVERY.end())
                    }
                    false => *EVERY.start(),
                })
            }
            Err(error)
                if error
                    .problem()
                    .is_some_and(|p| p.code == curb_api::Kind::AgentOld.code()) =>
            {
                Err(io::Error::other(error.to_string()))
            }
            Err(error) => Ok(self.failed(&error.to_string(), tell)),
        }
    }

    fn failed(&mut self, why: &str, tell: &mut impl FnMut(&str)) -> Duration {
        if self.why != why {
            tell(&format!("{why}; it goes on looking and tries again"));
            why.clone_into(&mut self.why);
        }
        self.failures += 1;
        // Not all agents at once when the server is back.
        let spread = u64::from(self.seq.wrapping_mul(2_654_435_761) as u32 % 1000);
        let pause = FIRST
            .saturating_mul(1 << self.failures.min(4))
            .min(MOST_PAUSE);
        pause / 2 + pause.mul_f64(spread_of(spread))
    }
}

fn spread_of(thousandths: u64) -> f64 {
    f64::from(u32::try_from(thousandths).unwrap_or(0)) / 2000.0
}
