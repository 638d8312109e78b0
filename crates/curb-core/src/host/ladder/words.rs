//! Events in words, for stderr.

use super::event::{Event, HeldBy, Outcome, State, What, amount};
use crate::host::Bytes;
use crate::time::Millis;

impl Event {
    /// The event for people, the workload's name left out; nothing where it says only what they see anyway.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        match &self.what {
            What::Changed => None,
            What::Died { text, .. } => text.clone(),
            What::Started {
                held_by, not_held, ..
            } => started(*held_by, not_held),
            // Of what it ended is told at its end.
            What::Exceeded { .. } if self.state == State::Stopping => None,
            What::Exceeded {
                resource,
                used,
                limit,
                ..
            } => Some(format!(
                "{} is at {} of {}",
                resource.name(),
                amount(*resource, *used),
                amount(*resource, *limit)
            )),
            What::Thrashing {
                limit,
                pages_a_second,
                ended_in_ms,
                ..
            } => Some(format!(
                "it is thrashing: it is at its limit of {limit}, reads its own program back from disk {pages_a_second} pages a second, \
                 and makes no progress{}",
                match ended_in_ms {
                    Some(ms) => format!("; if that goes on it is ended in {}", whole_seconds(*ms)),
                    None => String::new(),
                }
            )),
            What::ThrashingOver { lasted_ms, outcome } => Some(match outcome {
                Outcome::Ended(_) => format!(
                    "the kernel killed it, at curb's word: it was thrashing for {}",
                    whole_seconds(*lasted_ms)
                ),
                _ => format!(
                    "it is thrashing no more, after {}",
                    whole_seconds(*lasted_ms)
                ),
            }),
            What::OomKilled {
                kills,
                limit,
                from_above,
            } => Some(oom_killed(*kills, *limit, *from_above)),
            What::Acted {
                action,
                detail,
                outcome,
                ..
            } => Some(match outcome {
                Outcome::Failed(why) => format!("{action}: could not be done: {why}"),
                _ => format!("{action}: {detail}"),
            }),
            What::Undone {
                action, outcome, ..
            } => Some(match outcome {
                Outcome::Failed(why) => format!("{action} could not be undone: {why}"),
                _ => format!("{action} is undone"),
            }),
            What::Cleared {
                outcome: Outcome::Ended(_),
                ..
            } => None,
            What::Cleared {
                resource,
                limit,
                peak,
                lasted_ms,
                ..
            } => {
                let (peak, limit) = (amount(*resource, *peak), amount(*resource, *limit));
                let (what, lasted) = (resource.name(), Millis(*lasted_ms));
                Some(format!(
                    "{what} is below its limit again after {lasted}: peak {peak} of {limit}"
                ))
            }
            What::Retrying {
                attempt,
                of,
                after_ms,
                memory,
                less_than_wanted,
            } => Some(format!(
                "starting it again in {} (retry {attempt} of {of}){}{}",
                Millis(*after_ms),
                memory.map_or_else(String::new, |m: Bytes| format!(", with {m} of memory")),
                if *less_than_wanted {
                    ": the host has no more to give"
                } else {
                    ""
                },
            )),
            What::FellBack { failures, command } => Some(format!(
                "{}: running the fallback in its place: {}",
                failed(*failures),
                command.join(" ")
            )),
            What::GaveUp { failures } => Some(format!("{}: giving up", failed(*failures))),
            What::Note { text } => Some(text.clone()),
        }
    }
}

fn whole_seconds(ms: u64) -> Millis {
    Millis(ms.div_ceil(1000).saturating_mul(1000))
}

fn oom_killed(kills: u64, limit: Option<Bytes>, from_above: bool) -> String {
    let why = match (from_above, limit) {
        (false, Some(limit)) => format!("together they may hold {limit}, and needed more"),
        _ => "a group above it, or the host, had no more".to_owned(),
    };
    format!("the kernel killed {kills} of its processes for memory: {why}; the command goes on")
}

fn failed(times: u32) -> String {
    match times {
        1 => "ended at a limit".to_owned(),
        n => format!("ended at a limit {n} times"),
    }
}

fn started(held_by: HeldBy, not_held: &[String]) -> Option<String> {
    let mut lines = Vec::new();
    if held_by == HeldBy::Watchdog {
        lines.push("no control group holds it: a watchdog looks at its processes and ends them where they pass a limit, some milliseconds late".to_owned());
    }
    lines.extend(not_held.iter().map(|n| format!("not held: {n}")));
    (!lines.is_empty()).then(|| lines.join("\n  "))
}
