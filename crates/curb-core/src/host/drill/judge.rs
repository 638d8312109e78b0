//! What was seen against what had to be seen. What a load did not come to is neither right nor wrong.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Expect, Load, Rehearsal};
use crate::host::ladder::{Event, Outcome, What};
use crate::host::limits::{Action, LimitSet, Reach, Resource, Step};
use crate::host::{Bytes, MilliCpu, Permille};
use crate::time::Millis;

/// What the stand-in says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// CPU time it used, in milliseconds.
    pub cpu_ms: u64,
    /// How long that took, in milliseconds.
    pub wall_ms: u64,
    /// The most CPU that it had for half a second, in thousandths.
    pub most_cpu: u64,
    /// Threads it had, or files that it opened.
    pub got: u64,
    /// One more was refused.
    pub refused: bool,
    /// Limits as the kernel told them to who is in them: bytes, weights, CPUs by number.
    pub read: BTreeMap<String, String>,
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

/// How something came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// As the file says.
    Pass,
    /// Not as the file says.
    Fail,
    /// The load did not come to it, so that nothing was shown.
    NotReached,
}

/// One thing that had to be seen, and whether it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether it was.
    pub mark: Mark,
    /// What had to be.
    pub what: String,
    /// What was seen.
    pub seen: String,
}

/// The quota is for each tenth of a second, and the stand-in begins and ends within one: so much more is no failure.
const CPU_TOLERANCE: (u64, u64) = (115, 100);
/// Who had less than this of its quota in its best half second was not held back by it.
const CPU_REACHED: Permille = Permille(850);
/// A stand-in that was refused this far below a limit on a count was refused by something else.
const THINGS_OF_ITS_OWN: u64 = 16;
/// The kernel counts whole pages, of up to this size.
const PAGE: u64 = 64 << 10;

/// Judges a run.
#[must_use]
pub fn judge(rehearsal: &Rehearsal, seen: &Seen) -> Vec<Verdict> {
    let case = Case { rehearsal, seen };
    let mut all: Vec<Verdict> = rehearsal.expects.iter().map(|e| case.one(e)).collect();
    if seen.late {
        all.push(Verdict {
            mark: Mark::Fail,
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

fn verdict(mark: Mark, what: impl Into<String>, seen: impl Into<String>) -> Verdict {
    Verdict {
        mark,
        what: what.into(),
        seen: seen.into(),
    }
}

/// A run and what was seen of it.
struct Case<'a> {
    rehearsal: &'a Rehearsal,
    seen: &'a Seen,
}

impl Case<'_> {
    fn one(&self, expect: &Expect) -> Verdict {
        match expect {
            Expect::Step { step, words } => self.step(*step, words),
            Expect::Told => self.told(),
            Expect::MemoryAtMost(most) => self.memory_at_most(*most),
            Expect::KilledForMemory => self.killed(),
            Expect::Retried(times) => self.retried(*times),
            Expect::FellBack => self.follows(
                "the fallback is run in its place",
                self.count(|w| matches!(w, What::FellBack { .. })) > 0,
            ),
            Expect::GaveUp => self.follows(
                "it is given up then",
                self.count(|w| matches!(w, What::GaveUp { .. })) > 0,
            ),
            Expect::CpuAtMost(limit) => self.cpu_at_most(*limit),
            Expect::RefusedBeyond(most) => self.refused_beyond(*most),
            Expect::StoppedFor(cause) => self.stopped_for(cause),
            Expect::InForce { name, value } => self.in_force(name, value),
            Expect::EndsWhenAsked => self.ends_when_asked(),
        }
    }

    fn limits(&self) -> Option<&LimitSet> {
        self.rehearsal.file.workloads.first().map(|w| &w.limits)
    }

    fn count(&self, is: impl Fn(&What) -> bool) -> usize {
        self.seen.events.iter().filter(|e| is(&e.what)).count()
    }

    /// Of what it died, each time.
    fn causes(&self) -> Vec<&str> {
        let died = self.seen.events.iter().filter_map(|e| match &e.what {
            What::Died { cause, .. } => Some(cause.as_str()),
            _ => None,
        });
        died.collect()
    }

    fn ends(&self) -> String {
        match &self.causes()[..] {
            [] => "it did not end by itself".to_owned(),
            causes => format!("it ended: {}", causes.join(", ")),
        }
    }

    /// A limit ended it, so that a retry, a fallback and a breaker have something to do.
    fn was_ended(&self) -> bool {
        let by_limit = ["memory", "ladder", "watchdog"];
        self.causes().iter().any(|c| by_limit.contains(c))
    }

    fn peak(&self) -> Option<Bytes> {
        let peaks = self.seen.events.iter().filter_map(|e| match &e.what {
            What::Died { memory_peak, .. } => *memory_peak,
            _ => None,
        });
        peaks.max()
    }

    /// Why the load did not come to a step; `None`: it did, or nothing tells that it did not.
    fn short_of(&self, step: &Step) -> Option<String> {
        let (limits, report) = (self.limits()?, self.seen.report.as_ref());
        let what = step.when.what;
        let part = match step.when.reach {
            Reach::Above(part) => part,
            Reach::Met => Permille(1000),
            Reach::Thrashing => return None,
        };
        if self.rehearsal.load == Load::OwnCommand {
            let near = |w: &What| matches!(w, What::Exceeded { resource, .. } if *resource == what);
            return (self.count(near) == 0)
                .then(|| format!("its {} did not come near the limit", what.name()));
        }
        match what {
            Resource::Memory => {
                let (mark, peak) = (part.of(limits.memory.as_ref()?.value.0), self.peak()?);
                let short = peak.0 < mark && !self.was_ended();
                short.then(|| format!("its memory came to {peak} only"))
            }
            Resource::Cpu => {
                let limit = limits.cpu.as_ref()?.value.0;
                let most = report?.most_cpu;
                let short = most < part.min(CPU_REACHED).of(limit);
                short.then(|| format!("it got {} CPUs at most here", MilliCpu(most)))
            }
            Resource::Processes => {
                let (mark, got) = (part.of(limits.processes.as_ref()?.value), report?.got);
                (got < mark).then(|| format!("it got {got} only"))
            }
            Resource::CpuTime => {
                let mark = part.of(limits.cpu_time.as_ref()?.value.0);
                let used = report?.cpu_ms;
                (used < mark).then(|| format!("it got {} of CPU time only", Millis(used)))
            }
            Resource::Duration => None,
        }
    }

    fn step(&self, step: usize, words: &str) -> Verdict {
        let what = format!("step {step}: {words}");
        let (taken, text) = step_taken(step, self.seen);
        let own = self.rehearsal.file.workloads.first();
        let own = own.and_then(|w| w.ladder.get(step.checked_sub(1)?));
        match (taken, own.and_then(|own| self.short_of(own))) {
            (Some(true), _) => verdict(Mark::Pass, what, text),
            (None, Some(why)) => verdict(Mark::NotReached, what, why),
            _ => verdict(Mark::Fail, what, text),
        }
    }

    fn told(&self) -> Verdict {
        let warned = self.count(|w| matches!(w, What::Acted { action, .. } if action == "warn"));
        let mark = match (self.seen.told, warned) {
            (true, _) => Mark::Pass,
            (false, 0) => Mark::NotReached,
            (false, _) => Mark::Fail,
        };
        let text = match mark {
            Mark::NotReached => "no step warned",
            _ => yes(self.seen.told),
        };
        verdict(mark, "on_warn is run", text)
    }

    fn memory_at_most(&self, most: Bytes) -> Verdict {
        let what = format!("memory stays at or below {most}");
        let Some(peak) = self.peak() else {
            return verdict(Mark::Fail, what, "nobody counted it");
        };
        let limit = self
            .limits()
            .and_then(|l| l.memory.as_ref())
            .map_or(most, |l| l.value);
        let wanted = match &self.rehearsal.load {
            // It stays a little above the last mark.
            Load::MemoryTo(part) => Permille(part.0.saturating_sub(20)).of(limit.0),
            // The kernel counts at the limit, or a page below.
            _ => Permille(990).of(limit.0),
        };
        let mark = match () {
            () if peak > most => Mark::Fail,
            () if peak.0 < wanted && !self.was_ended() => Mark::NotReached,
            () => Mark::Pass,
        };
        verdict(mark, what, format!("its peak was {peak}"))
    }

    fn killed(&self) -> Verdict {
        let what = "the kernel ends it at its limit, and that is told";
        let killed = self.causes().contains(&"memory");
        let told = self.seen.said.contains("the kernel killed it");
        let limit = self.limits().and_then(|l| l.memory.as_ref());
        let short = limit.zip(self.peak());
        let short = short.is_some_and(|(l, peak)| peak.0 < Permille(990).of(l.value.0));
        let own = self.rehearsal.load == Load::OwnCommand;
        let mark = match (killed, told) {
            (true, true) => Mark::Pass,
            (false, _) if own || (short && !self.was_ended()) => Mark::NotReached,
            _ => Mark::Fail,
        };
        verdict(mark, what, self.ends())
    }

    fn retried(&self, times: u32) -> Verdict {
        let count = self.count(|w| matches!(w, What::Retrying { .. }));
        let mark = match u32::try_from(count).is_ok_and(|c| c == times) {
            true => Mark::Pass,
            false if !self.was_ended() => Mark::NotReached,
            false => Mark::Fail,
        };
        verdict(
            mark,
            format!("it is started again {}", so_often(u64::from(times))),
            so_often(u64::try_from(count).unwrap_or(u64::MAX)),
        )
    }

    /// What follows on a limit's end.
    fn follows(&self, what: &str, so: bool) -> Verdict {
        let mark = match so {
            true => Mark::Pass,
            false if !self.was_ended() => Mark::NotReached,
            false => Mark::Fail,
        };
        verdict(mark, what, yes(so))
    }

    fn cpu_at_most(&self, limit: MilliCpu) -> Verdict {
        let what = format!("it uses {limit} CPUs at most");
        let report = self.seen.report.as_ref().filter(|r| r.wall_ms > 0);
        let Some(report) = report else {
            return verdict(Mark::Fail, what, "the stand-in did not say");
        };
        let used = report.cpu_ms.saturating_mul(1000) / report.wall_ms;
        let most = limit.0.saturating_mul(CPU_TOLERANCE.0) / CPU_TOLERANCE.1;
        let text = format!("it used {}", MilliCpu(used));
        if used > most {
            return verdict(Mark::Fail, what, text);
        }
        if report.most_cpu < CPU_REACHED.of(limit.0) {
            let best = MilliCpu(report.most_cpu);
            let text = format!("{text}, and {best} at its best: this machine gave it no more");
            return verdict(Mark::NotReached, what, text);
        }
        verdict(Mark::Pass, what, text)
    }

    fn refused_beyond(&self, most: u64) -> Verdict {
        let what = format!("it gets {most} at most");
        let Some(report) = &self.seen.report else {
            return verdict(Mark::Fail, what, "the stand-in did not say");
        };
        let far = report.got.saturating_add(THINGS_OF_ITS_OWN) < most;
        let (mark, then) = match report.refused {
            _ if report.got > most => (Mark::Fail, "and was to be refused some"),
            true if report.got == 0 => (Mark::Fail, "and no more"),
            true if far => (Mark::NotReached, "and something else refused it more"),
            true => (Mark::Pass, "and no more"),
            false => (Mark::NotReached, "and was refused none"),
        };
        verdict(mark, what, format!("it got {}, {then}", report.got))
    }

    fn stopped_for(&self, cause: &str) -> Verdict {
        let what = "it is stopped for that";
        if self.causes().contains(&cause) {
            return verdict(Mark::Pass, what, self.ends());
        }
        let own = self.rehearsal.file.workloads.first();
        let mut stops = own
            .into_iter()
            .flat_map(|w| &w.ladder)
            .filter(|s| matches!(s.action, Action::Stop { .. }));
        let short = match cause {
            "cpu_time" => self
                .limits()
                .and_then(|l| l.cpu_time.as_ref())
                .and_then(|l| {
                    let used = self.seen.report.as_ref()?.cpu_ms;
                    (used < l.value.0).then(|| format!("it got {} of CPU time only", Millis(used)))
                }),
            "ladder" => stops.find_map(|s| self.short_of(s)),
            _ => None,
        };
        match short {
            Some(why) => verdict(Mark::NotReached, what, why),
            None => verdict(Mark::Fail, what, self.ends()),
        }
    }

    fn in_force(&self, name: &str, value: &str) -> Verdict {
        let what = format!("{name} is {} as the kernel has it", in_words(name, value));
        let Some(report) = &self.seen.report else {
            return verdict(Mark::Fail, what, "the stand-in did not say");
        };
        let read = report.read.get(name);
        if read.is_some_and(|read| is_as(name, value, read)) {
            return verdict(Mark::Pass, what, "it is");
        }
        let told = self.seen.events.iter().find_map(|e| match &e.what {
            What::Started { not_held, .. } => not_held.iter().find(|why| why.starts_with(name)),
            _ => None,
        });
        match (told, read) {
            (Some(told), _) => {
                let text = format!("this host cannot hold it, and that is told: {told}");
                verdict(Mark::NotReached, what, text)
            }
            (None, Some(read)) => {
                verdict(Mark::Fail, what, format!("it is {}", in_words(name, read)))
            }
            (None, None) if name == "swap" => verdict(
                Mark::NotReached,
                what,
                "this kernel counts no swap for a group",
            ),
            (None, None) => verdict(Mark::Fail, what, "nothing holds it"),
        }
    }

    /// Of the workload's own command, which nothing but the drill ends.
    fn ends_when_asked(&self) -> Verdict {
        let what = "it ends within its grace when it is asked to";
        let last = self.seen.events.iter().rev().find_map(|e| match &e.what {
            What::Died {
                cause, exit_code, ..
            } => Some((cause.as_str(), *exit_code)),
            _ => None,
        });
        let mark = match last {
            // Who took too long was killed.
            Some(("asked", Some(137))) | None => Mark::Fail,
            Some(("asked", _)) => Mark::Pass,
            Some(_) => Mark::NotReached,
        };
        verdict(mark, what, self.ends())
    }
}

/// A value as people read it.
fn in_words(name: &str, value: &str) -> String {
    match (name, value.parse()) {
        ("memory_high" | "swap", Ok(bytes)) => Bytes(bytes).to_string(),
        _ => value.to_owned(),
    }
}

fn is_as(name: &str, wanted: &str, read: &str) -> bool {
    match (name, wanted.parse::<u64>(), read.parse::<u64>()) {
        ("memory_high" | "swap", Ok(wanted), Ok(read)) => {
            read <= wanted && wanted.saturating_sub(read) < PAGE
        }
        _ => wanted == read,
    }
}

fn yes(pass: bool) -> &'static str {
    if pass { "it was" } else { "it was not" }
}

/// Whether a step was taken, and succeeded; `None`: it was not taken at all.
fn step_taken(wanted: usize, seen: &Seen) -> (Option<bool>, String) {
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
                return (Some(true), detail.to_owned());
            }
        }
    }
    match failed {
        Some(why) => (Some(false), format!("it failed: {why}")),
        None => (None, "it was not taken".to_owned()),
    }
}
