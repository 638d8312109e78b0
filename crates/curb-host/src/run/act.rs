//! What the ladder orders, done.

use std::time::{Duration, Instant};

use curb_core::host::ladder::{Done, GoesBack, Order, Outcome, State, Use, What};
use curb_core::host::limits::{Action, Checkpoint, Resource, Step};
use curb_core::host::{Bytes, MilliCpu, Permille};
use curb_core::time::Millis;
use rustix::process::Signal;

use super::hooks::Purpose;
use super::once::Once;
use super::{keep_free, most_of};
use crate::ending::OurStop;
use crate::host;
use crate::limits::cpu;
use crate::proc::Procfs;

/// Who is warned has so long; then it is ended.
const WARN_WITHIN: Duration = Duration::from_secs(10);
/// A pause waits so long for the host to have memory to give.
const PAUSED_AT_MOST: Duration = Duration::from_secs(10);
/// Raising a limit by less would help nobody.
const LEAST_RAISE: u64 = 1 << 20;
/// Version 2 kills at the limit itself: who is to be paused there is slowed down this much of the limit before it.
const SLOWED_BEFORE: Permille = Permille(62);

/// A pause that is not over.
#[derive(Clone, Debug)]
pub(super) struct Pausing {
    at: At,
    raise: Permille,
    most: Bytes,
    until: Instant,
}

/// Which step of which exceedance.
#[derive(Clone, Debug)]
struct At {
    exceedance: u64,
    step: usize,
    resource: Resource,
    what: Use,
    action: &'static str,
}

/// Whether a ladder has a step that pauses at the limit on memory.
pub(super) fn pausing_step(ladder: &[Step]) -> bool {
    ladder.iter().any(Step::pauses_at_the_limit)
}

impl Once<'_> {
    /// Does, or tells, what the ladder orders.
    pub(super) fn carry_out(&mut self, order: Order) {
        match order {
            Order::Act {
                exceedance,
                step,
                resource,
                what,
                action,
            } => {
                let at = At {
                    exceedance,
                    step,
                    resource,
                    what,
                    action: action.name(),
                };
                self.act(at, action);
            }
            Order::Undo {
                exceedance,
                step,
                action,
            } => self.undo(exceedance, step, &action),
            told => {
                let over = matches!(
                    &told,
                    Order::End {
                        resource: Resource::Memory,
                        ..
                    }
                );
                self.tell_order(told, Outcome::Done, None);
                self.settle();
                if over && pausing_step(&self.plan.ladder) {
                    self.ready_to_pause();
                }
            }
        }
    }

    /// Tells that an exceedance began or ended.
    pub(super) fn tell_order(
        &mut self,
        order: Order,
        outcome: Outcome,
        counted_peak: Option<Bytes>,
    ) {
        match order {
            Order::Begin {
                exceedance,
                resource,
                what,
            } => self.teller.tell(What::Exceeded {
                exceedance,
                resource,
                used: what.used,
                limit: what.limit,
            }),
            Order::End {
                exceedance,
                resource,
                limit,
                peak,
                lasted,
                done,
            } => {
                let counted = counted_peak.filter(|_| resource == Resource::Memory);
                self.teller.tell(What::Cleared {
                    exceedance,
                    resource,
                    limit,
                    peak: peak.max(counted.map_or(0, |b| b.0)),
                    lasted_ms: lasted.0,
                    done: done.iter().map(Done::text).collect(),
                    outcome,
                });
            }
            // They are orders to do something, and nothing is left to do it to.
            Order::Act { .. } | Order::Undo { .. } => {}
        }
    }

    /// The state that follows from what is going on.
    fn settle(&mut self) {
        let state = match (self.stop, &self.pausing) {
            (Some(_), _) => State::Stopping,
            (None, Some(_)) => State::Paused,
            (None, None) if self.ladder.is_over_limit() => State::OverLimit,
            (None, None) => self.well,
        };
        self.teller.become_state(state);
    }

    fn act(&mut self, at: At, action: Action) {
        let result = match action {
            Action::Warn => self.warn(&at),
            Action::Throttle { cpu, memory_high } => self.throttle(cpu, memory_high),
            // It is told when it is over.
            Action::Pause { raise, most } => return self.pause(at, raise, most),
            Action::Checkpoint { how, within } => self.checkpoint(&at, &how, within),
            Action::Stop { grace } => self.stop_it(&at, grace),
        };
        self.acted(at, result);
    }

    fn acted(&mut self, at: At, result: Result<String, String>) {
        if let Err(why) = &result {
            self.ladder.failed(at.resource, at.step, why.clone());
        }
        let what = What::Acted {
            exceedance: at.exceedance,
            step: at.step + 1,
            resource: at.resource,
            action: at.action.to_owned(),
            used: at.what.used,
            limit: at.what.limit,
            outcome: Outcome::of(&result),
            detail: result.unwrap_or_default(),
        };
        self.settle_quietly();
        self.teller.tell(what);
    }

    /// As [`Once::settle`], for an event that is told anyway.
    fn settle_quietly(&mut self) {
        let state = match self.stop {
            Some(_) => State::Stopping,
            None if self.ladder.is_over_limit() => State::OverLimit,
            None => self.well,
        };
        self.teller.set_state(state);
    }

    fn warn(&mut self, at: &At) -> Result<String, String> {
        let part = at.what.used.saturating_mul(100) / at.what.limit.max(1);
        let told = format!("{} is at {part}% of its limit", at.resource.name());
        match &self.plan.on_warn {
            None => Ok(told),
            Some(argv) => {
                self.run_hook(at, argv, Purpose::Warn, WARN_WITHIN)?;
                Ok(format!("{told}; {} is told", argv.join(" ")))
            }
        }
    }

    fn throttle(&mut self, quota: Option<MilliCpu>, high: Option<Bytes>) -> Result<String, String> {
        let mut done = Vec::new();
        if let Some(quota) = quota {
            let quota = self.limits.cpu.map_or(quota, |own| own.min(quota));
            self.body.set_cpu(Some(quota))?;
            done.push(format!("CPU held to {}", cpu(quota)));
        }
        if let Some(high) = high {
            let set = self.body.set_memory_high(Some(high));
            match set {
                Ok(()) => done.push(format!("slowed down above {high} of memory")),
                // One of the two is done.
                Err(why) if !done.is_empty() => done.push(format!("not by memory: {why}")),
                Err(why) => return Err(why),
            }
        }
        Ok(done.join(", "))
    }

    fn undo(&mut self, exceedance: u64, step: usize, action: &Action) {
        let Action::Throttle { cpu, memory_high } = action else {
            return;
        };
        let mut result = Ok(());
        if cpu.is_some() {
            result = self.body.set_cpu(self.limits.cpu);
        }
        if memory_high.is_some() && self.body.held_by() == curb_core::host::ladder::HeldBy::GroupV2
        {
            let usual = self.before.slowed_at.or(self.limits.memory_high);
            result = result.and(self.body.set_memory_high(usual));
        }
        self.teller.tell(What::Undone {
            exceedance,
            step: step + 1,
            action: action.name().to_owned(),
            outcome: Outcome::of(&result),
        });
    }

    fn checkpoint(&mut self, at: &At, how: &Checkpoint, within: Millis) -> Result<String, String> {
        match how {
            Checkpoint::Signal(number) => {
                let signal = Signal::from_named_raw(*number)
                    .ok_or(format!("there is no signal {number}"))?;
                self.must_mind(*number)?;
                self.pass(signal);
                Ok(format!(
                    "signal {number} is sent; it has {within} to save its work"
                ))
            }
            Checkpoint::Hook(argv) => {
                let time = Duration::from_millis(within.0);
                self.run_hook(at, argv, Purpose::Checkpoint(at.resource), time)?;
                Ok(format!(
                    "{} is run; it has {within} to save its work",
                    argv.join(" ")
                ))
            }
        }
    }

    /// A signal that the command does not mind would save nothing, and most would end it.
    fn must_mind(&self, signal: i32) -> Result<(), String> {
        let process = Procfs::open().and_then(|p| p.process(self.main_pid()));
        let status = process.and_then(|p| p.status());
        match status.map(|s| s.minds(signal)) {
            Ok(Some(false)) => Err(format!(
                "signal {signal} is not sent: process {} has no handler for it, and would save nothing, or die of it; \
                 have the program that is started handle it, or save its work by a hook",
                self.main_pid()
            )),
            // It has ended, or the kernel does not tell.
            _ => Ok(()),
        }
    }

    fn stop_it(&mut self, at: &At, grace: Millis) -> Result<String, String> {
        self.stop = Some(match at.resource {
            Resource::Duration => OurStop::Duration,
            Resource::CpuTime => OurStop::CpuTime,
            other => OurStop::Ladder(other),
        });
        self.kill_at = Some(Instant::now() + Duration::from_millis(grace.0));
        self.body.signal(Signal::TERM);
        Ok(format!("asked to end; it has {grace}"))
    }

    fn run_hook(
        &mut self,
        at: &At,
        argv: &[String],
        purpose: Purpose,
        within: Duration,
    ) -> Result<(), String> {
        let variables = [
            ("CURB_WORKLOAD", self.plan.workload.clone()),
            ("CURB_PID", self.main_pid().to_string()),
            ("CURB_ACTION", at.action.to_owned()),
            ("CURB_EXCEEDANCE", at.exceedance.to_string()),
            ("CURB_RESOURCE", at.resource.name().to_owned()),
            ("CURB_USED", at.what.used.to_string()),
            ("CURB_LIMIT", at.what.limit.to_string()),
        ];
        let started = self.hooks.start(argv, &variables, purpose, within);
        self.body.leave_out(self.hooks.pids());
        started
    }

    /// Makes it so that at its limit it waits for us, in place of being killed at once: as long as there is more to be had.
    pub(super) fn ready_to_pause(&mut self) {
        if most_of(&self.plan.ladder) <= self.limits.memory {
            return self.let_the_kernel_kill();
        }
        if self.body.wait_at_limit(true) {
            return;
        }
        self.slow_before_limit();
    }

    fn slow_before_limit(&mut self) {
        let Some(limit) = self.limits.memory else {
            return;
        };
        let mark = Bytes(limit.0 - SLOWED_BEFORE.of(limit.0));
        if self.body.set_memory_high(Some(mark)).is_ok() {
            self.before.slowed_at = Some(mark);
        }
    }

    /// It is not to be paused any more: at its limit the kernel does as it always does.
    fn let_the_kernel_kill(&mut self) {
        self.body.wait_at_limit(false);
        if self.before.slowed_at.take().is_some() {
            let _it_stays_slow = self.body.set_memory_high(self.limits.memory_high);
        }
    }

    fn pause(&mut self, at: At, raise: Permille, most: Bytes) {
        if self.limits.memory.is_none() {
            return self.acted(
                at,
                Err("it has no limit on memory that could be raised".to_owned()),
            );
        }
        if let Err(why) = self.body.freeze(true) {
            return self.acted(at, Err(why));
        }
        self.pausing = Some(Pausing {
            at,
            raise,
            most,
            until: Instant::now() + PAUSED_AT_MOST,
        });
        self.settle();
        self.try_to_raise();
    }

    /// Raises the limit of what is paused as soon as the host has the memory, and lets it go on.
    pub(super) fn try_to_raise(&mut self) {
        let Some(pausing) = &self.pausing else {
            return;
        };
        let had = self.limits.memory.unwrap_or(Bytes(0));
        let wanted = pausing.raise.more_than(had.0).min(pausing.most.0);
        let result = if wanted <= had.0 {
            let most = pausing.most;
            Err(format!(
                "its limit on memory is {had} already, and a pause raises it to {most} at most"
            ))
        } else {
            match self.can_give(wanted - had.0, Instant::now() >= pausing.until) {
                None => return,
                Some(more) => more.and_then(|more| self.raise(had, Bytes(had.0 + more))),
            }
        };
        let Some(pausing) = self.pausing.take() else {
            return;
        };
        let raised = result.is_ok();
        if !raised {
            self.let_the_kernel_kill();
        }
        let went_on = self.body.freeze(false);
        let resource = pausing.at.resource;
        self.acted(pausing.at, went_on.and(result));
        if raised {
            self.ladder.raised(resource);
            // Where that was the most, the kernel does from now on as it always does.
            self.pause_again();
        }
    }

    /// How much the host gives of that; none while it is worth waiting.
    fn can_give(&self, more: u64, last_try: bool) -> Option<Result<u64, String>> {
        let free = keep_free(self.plan);
        let left = host::memory_left(self.layout, free).map_or(0, |b| b.0);
        if left >= more {
            return Some(Ok(more));
        }
        if !last_try {
            return None;
        }
        Some(match left {
            LEAST_RAISE.. => Ok(left),
            _ => Err(format!(
                "the host has no memory to give: {} is kept free of it",
                crate::limits::size(free.0)
            )),
        })
    }

    fn raise(&mut self, from: Bytes, to: Bytes) -> Result<String, String> {
        self.body.set_memory(to, self.limits.swap)?;
        self.limits.memory = Some(to);
        let back = || GoesBack::new(from, &self.plan.ladder);
        self.goes_back.get_or_insert_with(back);
        if self.before.slowed_at.is_some() {
            self.slow_before_limit();
        }
        Ok(format!(
            "held still, its limit on memory raised from {from} to {to}, and let go on"
        ))
    }
}
