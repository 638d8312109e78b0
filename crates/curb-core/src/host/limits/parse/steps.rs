//! Ladders and retries against the limits that they watch: what can never happen, and what comes too early.

use super::Host;
use super::workload::has;
use crate::host::limits::model::{
    Action, File, LimitSet, Reach, Resource, Retry, Step as Rung, Workload,
};
use crate::host::{Bytes, Permille};
use crate::time::Millis;
use crate::yaml::{Place, Reader, Step};

use Step::{Index, Key};

/// MLX was seen to answer SIGTERM after 9.9 s, when a long evaluation had returned.
const LATE_ANSWER: Millis = Millis(10_000);

/// Checks the ladder and the retry of a workload at `at`.
pub fn check(
    r: &mut Reader<'_>,
    at: &Place<'_>,
    w: &Workload,
    file: &File,
    host: &Host,
    mlx: bool,
) {
    let limits = at.field("limits");
    let keep = file.host.keep_free.unwrap_or_default();
    let free = host.memory.map(|has| Bytes(has.0.saturating_sub(keep.0)));
    for (i, step) in w.ladder.iter().enumerate() {
        at.walk(&[Key("ladder"), Index(i)], |at| {
            let mut rung = Checked {
                r,
                at,
                step,
                set: &w.limits,
                free,
            };
            if limits
                .as_ref()
                .is_some_and(|l| has(l, step.when.what.name()))
            {
                rung.action(mlx);
            } else {
                rung.unlimited();
            }
            order(r, at, &w.ladder[..i], step);
        });
    }
    if let Some(retry) = &w.retry {
        let limited = limits.as_ref().is_some_and(|l| has(l, "memory"));
        at.walk(&[Key("retry")], |at| {
            again(r, at, retry, &w.limits, limited, free)
        });
    }
}

struct Checked<'a, 'r, 'p> {
    r: &'a mut Reader<'r>,
    at: &'a Place<'p>,
    step: &'a Rung,
    set: &'a LimitSet,
    free: Option<Bytes>,
}

impl Checked<'_, '_, '_> {
    fn error(&mut self, field: &str, message: &str, help: &str) {
        let r = &mut *self.r;
        self.at.walk(&[Key(field)], |at| r.error(at, message, help));
    }

    fn warn(&mut self, field: &str, message: &str, help: &str) {
        let r = &mut *self.r;
        self.at.walk(&[Key(field)], |at| r.warn(at, message, help));
    }

    fn unlimited(&mut self) {
        let name = self.step.when.what.name();
        let message = format!("`{name}` is not limited: this step can never be due");
        let help = format!("add `{name}` to `limits`, or leave the step out");
        self.error("when", &message, &help);
    }

    fn action(&mut self, mlx: bool) {
        let when = self.step.when;
        let at_the_kernel = matches!((when.what, when.reach), (Resource::Memory, Reach::Met));
        if at_the_kernel && self.step.after > Millis(0) {
            let message = format!(
                "the kernel does not wait {} at the limit: it kills at once",
                self.step.after
            );
            self.warn(
                "after",
                &message,
                "leave `after` out, or act before the limit: `memory > 95%`",
            );
        }
        match self.step.action.clone() {
            Action::Warn => {}
            Action::Throttle { cpu, memory_high } => self.throttle(cpu, memory_high),
            Action::Pause { raise, most } => self.pause(raise, most),
            Action::Checkpoint { within, .. } => self.checkpoint(within),
            Action::Stop { grace } if mlx && grace < LATE_ANSWER => {
                let message = format!(
                    "MLX may answer SIGTERM only after 10 s: with {grace} it is killed before"
                );
                self.warn("grace", &message, "give it 15s or more");
            }
            Action::Stop { .. } => {}
        }
    }

    fn throttle(&mut self, cpu: Option<crate::host::MilliCpu>, high: Option<Bytes>) {
        if let (Some(to), Some(limit)) = (cpu, &self.set.cpu)
            && to >= limit.value
        {
            let message = format!("{to} CPUs are no less than its limit of {}", limit.value);
            self.error("cpu", &message, "throttle to less than `cpu` of the limits");
        }
        if let (Some(to), Some(limit)) = (high, &self.set.memory)
            && to >= limit.value
        {
            let message = format!("{to} is no less than its limit of {}", limit.value);
            self.error(
                "memory_high",
                &message,
                "throttle below `memory` of the limits",
            );
        }
    }

    fn pause(&mut self, raise: Permille, most: Bytes) {
        if self.step.when.what != Resource::Memory {
            let name = self.step.when.what.name();
            let message = format!("`pause` raises memory, and this step watches `{name}`");
            return self.error(
                "do",
                &message,
                "pause when memory is met: `when: memory = 100%`",
            );
        }
        if let Some(free) = self.free.filter(|free| most > *free) {
            let message =
                format!("raises to {most}, and the host has {free} beyond what it keeps free");
            self.error("most", &message, "lower it");
        }
        let Some(limit) = self.set.memory.as_ref().map(|l| l.value) else {
            return;
        };
        if most <= limit {
            let message = format!("{most} is no more than its limit of {limit}: nothing is raised");
            self.error("most", &message, "set it above `memory` of the limits");
        } else if raise.more_than(limit.0) > most.0 {
            let message = format!(
                "+{raise} of {limit} is above `most` ({most}): the first raise is cut to it"
            );
            self.warn("raise", &message, "lower `raise`, or raise `most`");
        }
    }

    fn checkpoint(&mut self, within: Millis) {
        let memory_met = matches!(
            (self.step.when.what, self.step.when.reach),
            (Resource::Memory, Reach::Met | Reach::Thrashing)
        );
        if memory_met {
            let message =
                format!("at the limit there is no memory to save anything within {within}");
            self.warn(
                "when",
                &message,
                "save before the limit is met: `memory > 90%`",
            );
        }
    }
}

/// How much of a limit a step wants to see.
fn part(step: &Rung) -> Permille {
    match step.when.reach {
        Reach::Above(part) => part,
        Reach::Met | Reach::Thrashing => Permille::WHOLE,
    }
}

/// A step against those above it, of the same limit.
fn order(r: &mut Reader<'_>, at: &Place<'_>, above: &[Rung], step: &Rung) {
    // Whether it thrashes is no question of how near it is: neither comes before the other.
    let thrashes = |s: &Rung| s.when.reach == Reach::Thrashing;
    let same: Vec<&Rung> = above
        .iter()
        .filter(|s| s.when.what == step.when.what && thrashes(s) == thrashes(step))
        .collect();
    if let Some(stop) = same
        .iter()
        .find(|s| matches!(s.action, Action::Stop { .. }))
    {
        let message = format!("never comes: `stop` at `{}` stands above it", stop.when);
        return r.error(at, &message, "put it before the stop, or leave it out");
    }
    if same.contains(&step) {
        return r.error(at, "the same step stands above already", "keep one of them");
    }
    let later = |s: &&&Rung| part(s) >= part(step) && s.after > step.after;
    if let Some(before) = same.iter().find(later) {
        let message = format!(
            "is due before a step above it: `{}` for {} comes no later than `{}` for {}",
            step.when, step.after, before.when, before.after
        );
        r.error(
            at,
            &message,
            "order the steps as they are to happen, or give this one a longer `after`",
        );
    }
}

/// A retry against the memory of the host and its own window.
fn again(
    r: &mut Reader<'_>,
    at: &Place<'_>,
    retry: &Retry,
    set: &LimitSet,
    limited: bool,
    free: Option<Bytes>,
) {
    if retry.first > retry.most {
        let message = format!(
            "the first wait ({}) is longer than the longest ({})",
            retry.first, retry.most
        );
        at.walk(&[Key("first")], |at| {
            r.error(at, &message, "lower `first`, or raise `most`")
        });
        return;
    }
    let waits = waits(retry);
    if waits > retry.within {
        let message = format!(
            "{} waits take {waits}, longer than the window of {}: it is started again for ever",
            retry.times, retry.within
        );
        let help = format!("set `within` above {waits}, or lower `times` or `most`");
        at.walk(&[Key("within")], |at| r.error(at, &message, &help));
    }
    if retry.memory == Permille(0) {
        return;
    }
    if !limited {
        let help = "add `memory` to `limits`, or leave it out here";
        at.walk(&[Key("memory")], |at| {
            r.error(
                at,
                "`memory` is not limited: there is nothing to add to",
                help,
            )
        });
        return;
    }
    let (Some(limit), Some(free)) = (&set.memory, free) else {
        return;
    };
    let mut next = limit.value.0;
    for time in 1..=retry.times {
        next = retry.memory.more_than(next);
        if next <= free.0 {
            continue;
        }
        let message = format!(
            "the {} would have {}, and the host has {free} beyond what it keeps free",
            nth(time),
            Bytes(next)
        );
        at.walk(&[Key("memory")], |at| match time {
            1 => r.error(at, &message, "add less, or leave it out"),
            _ => r.warn(
                at,
                &message,
                "add less, or fewer times; it gets what is left then",
            ),
        });
        return;
    }
}

fn nth(time: u32) -> String {
    match time {
        1 => "first retry".to_owned(),
        2 => "second retry".to_owned(),
        3 => "third retry".to_owned(),
        n => format!("{n}th retry"),
    }
}

/// All waits of one window together, without jitter.
fn waits(retry: &Retry) -> Millis {
    let mut wait = retry.first.0;
    let mut sum = 0_u64;
    for _ in 0..retry.times {
        sum = sum.saturating_add(wait);
        wait = wait.saturating_mul(2).min(retry.most.0);
    }
    Millis(sum)
}
