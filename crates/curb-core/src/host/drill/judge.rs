//! What was seen against what had to be seen.

use serde::{Deserialize, Serialize};

use super::{Expect, Rehearsal};
use crate::host::Bytes;
use crate::host::ladder::{Event, Outcome, What};

/// What the stand-in says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// CPU time it used, in milliseconds.
    pub cpu_ms: u64,
    /// How long that took, in milliseconds.
    pub wall_ms: u64,
    /// Threads it had, or files that it opened.
    pub got: u64,
    /// One more was refused.
    pub refused: bool,
}

/// What was seen of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its events, in order.
    pub events: Vec<Event>,
    /// What the stand-in said last.
    pub report: Option<Report>,
    /// What people were told.
    pub said: String,
    /// `on_warn` was run.
    pub told: bool,
    /// It did not end in time, and was ended by the drill.
    pub late: bool,
}

/// One thing that had to be seen, and whether it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether it was.
    pub pass: bool,
    /// What had to be.
    pub what: String,
    /// What was seen.
    pub seen: String,
}

/// The quota is for each tenth of a second, and the stand-in begins and ends within one: so much more is no failure.
const CPU_TOLERANCE: (u64, u64) = (115, 100);

/// Judges a run.
#[must_use]
pub fn judge(rehearsal: &Rehearsal, seen: &Seen) -> Vec<Verdict> {
    let mut all: Vec<Verdict> = rehearsal.expects.iter().map(|e| one(e, seen)).collect();
    if seen.late {
        all.push(Verdict {
            pass: false,
            what: "the run ends".to_owned(),
            seen: "it did not end in time and was ended".to_owned(),
        });
    }
    all
}

/// In words: `once`, `3 times`.
fn so_often(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        n => format!("{n} times"),
    }
}

fn one(expect: &Expect, seen: &Seen) -> Verdict {
    let verdict = |pass: bool, what: String, seen: String| Verdict { pass, what, seen };
    match expect {
        Expect::Step { step, words } => {
            let (pass, text) = step_taken(*step, seen);
            verdict(pass, format!("step {step}: {words}"), text)
        }
        Expect::Told => verdict(seen.told, "on_warn is run".to_owned(), yes(seen.told)),
        Expect::MemoryAtMost(most) => {
            let peak = peak(seen);
            let text = peak.map_or_else(
                || "nobody counted it".to_owned(),
                |p| format!("its peak was {p}"),
            );
            verdict(
                peak.is_some_and(|p| p <= *most),
                format!("memory stays at or below {most}"),
                text,
            )
        }
        Expect::KilledForMemory => {
            let causes = causes(seen);
            let killed = causes.contains(&"memory") && seen.said.contains("the kernel killed it");
            verdict(
                killed,
                "the kernel ends it at its limit, and that is told".to_owned(),
                ends(&causes),
            )
        }
        Expect::Retried(times) => {
            let count = seen
                .events
                .iter()
                .filter(|e| matches!(e.what, What::Retrying { .. }))
                .count();
            let pass = u32::try_from(count).is_ok_and(|c| c == *times);
            verdict(
                pass,
                format!("it is started again {}", so_often(u64::from(*times))),
                so_often(u64::try_from(count).unwrap_or(u64::MAX)),
            )
        }
        Expect::FellBack => {
            let pass = seen
                .events
                .iter()
                .any(|e| matches!(e.what, What::FellBack { .. }));
            verdict(
                pass,
                "the fallback is run in its place".to_owned(),
                yes(pass),
            )
        }
        Expect::GaveUp => {
            let pass = seen
                .events
                .iter()
                .any(|e| matches!(e.what, What::GaveUp { .. }));
            verdict(pass, "it is given up then".to_owned(), yes(pass))
        }
        Expect::CpuAtMost(limit) => {
            let used = seen
                .report
                .filter(|r| r.wall_ms > 0)
                .map(|r| r.cpu_ms * 1000 / r.wall_ms);
            let most = limit.0 * CPU_TOLERANCE.0 / CPU_TOLERANCE.1;
            let text = used.map_or_else(
                || "the stand-in did not say".to_owned(),
                |u| format!("it used {}", crate::host::MilliCpu(u)),
            );
            verdict(
                used.is_some_and(|u| u <= most),
                format!("it uses {limit} CPUs at most"),
                text,
            )
        }
        Expect::RefusedBeyond(most) => {
            let text = seen.report.map_or_else(
                || "the stand-in did not say".to_owned(),
                |r| {
                    format!(
                        "it got {}, {}",
                        r.got,
                        if r.refused {
                            "and no more"
                        } else {
                            "and was refused none"
                        }
                    )
                },
            );
            let pass = seen
                .report
                .is_some_and(|r| r.refused && r.got > 0 && r.got <= *most);
            verdict(pass, format!("it gets {most} at most"), text)
        }
        Expect::StoppedFor(cause) => {
            let causes = causes(seen);
            verdict(
                causes.contains(cause),
                "it is stopped for that".to_owned(),
                ends(&causes),
            )
        }
    }
}

fn yes(pass: bool) -> String {
    (if pass { "it was" } else { "it was not" }).to_owned()
}

/// Of what it died, each time.
fn causes(seen: &Seen) -> Vec<&str> {
    seen.events
        .iter()
        .filter_map(|e| match &e.what {
            What::Died { cause, .. } => Some(cause.as_str()),
            _ => None,
        })
        .collect()
}

fn ends(causes: &[&str]) -> String {
    match causes {
        [] => "it did not end by itself".to_owned(),
        causes => format!("it ended: {}", causes.join(", ")),
    }
}

fn peak(seen: &Seen) -> Option<Bytes> {
    let peaks = seen.events.iter().filter_map(|e| match &e.what {
        What::Died { memory_peak, .. } => *memory_peak,
        _ => None,
    });
    peaks.max()
}

fn step_taken(wanted: usize, seen: &Seen) -> (bool, String) {
    let mut failed = None;
    for event in &seen.events {
        let What::Acted {
            step,
            detail,
            outcome,
            ..
        } = &event.what
        else {
            continue;
        };
        if *step != wanted {
            continue;
        }
        match outcome {
            Outcome::Failed(why) => failed = Some(why.clone()),
            Outcome::Done | Outcome::Ended(_) => {
                let detail = if detail.is_empty() { "done" } else { detail };
                return (true, detail.to_owned());
            }
        }
    }
    match failed {
        Some(why) => (false, format!("it failed: {why}")),
        None => (false, "it was not taken".to_owned()),
    }
}
