//! What a ladder orders is done here, through the helper, and told.

use std::process::Stdio;
use std::time::Duration;

use curb_core::host::ladder::{Event, Order, Outcome, Use, What};
use curb_core::host::limits::{Action, Checkpoint, Limit, Resource};
use curb_core::host::{Bytes, MilliCpu, Permille};
use curb_core::time::Millis;

use crate::agent::{Agent, wall};
use crate::hands::Lost;
use crate::watch::{Pausing, Watch};
use crate::wire::{Answer, Verb};

const TERM: i32 = 15;
/// Programs that are run at a warning are ended after this.
const CALLBACK_WITHIN: Duration = Duration::from_secs(10);
/// What is paused goes on after this also where the host has no memory for it.
const PAUSED_AT_MOST: Millis = Millis(60_000);

/// What was done, in words, or why it could not be.
type Did = Result<String, String>;

/// Which step of which exceedance.
#[derive(Clone, Copy, Debug)]
struct At {
    exceedance: u64,
    step: usize,
    resource: Resource,
    what: Use,
    action: &'static str,
}

impl Agent {
    /// Carries out one order for a workload.
    ///
    /// # Errors
    /// The helper is gone.
    pub(crate) fn carry_out(&mut self, i: usize, order: Order, now: Millis) -> Result<(), Lost> {
        match order {
            Order::Begin {
                exceedance,
                resource,
                what,
            } => {
                *self.watches[i]
                    .figures
                    .exceedances
                    .entry(resource)
                    .or_default() += 1;
                self.tell_ladder(
                    i,
                    What::Exceeded {
                        exceedance,
                        resource,
                        used: what.used,
                        limit: what.limit,
                    },
                );
            }
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
                *self.watches[i]
                    .figures
                    .steps
                    .entry((resource, at.action))
                    .or_default() += 1;
                // What takes its time is told when it is over.
                if let Some(did) = self.act(i, at, &action, now)? {
                    self.acted(i, at, did);
                }
            }
            Order::Undo {
                exceedance,
                step,
                action,
            } => {
                let did = self.undo(i, &action)?;
                let outcome = Outcome::of(&did);
                let action = action.name().to_owned();
                self.tell_ladder(
                    i,
                    What::Undone {
                        exceedance,
                        step: step + 1,
                        action,
                        outcome,
                    },
                );
            }
            Order::End {
                exceedance,
                resource,
                limit,
                peak,
                lasted,
                done,
            } => {
                let outcome = match self.watches[i].members.is_empty() {
                    true => Outcome::Ended("its processes have ended".to_owned()),
                    false => Outcome::Done,
                };
                let done = done
                    .iter()
                    .map(curb_core::host::ladder::Done::text)
                    .collect();
                self.tell_ladder(
                    i,
                    What::Cleared {
                        exceedance,
                        resource,
                        limit,
                        peak,
                        lasted_ms: lasted.0,
                        done,
                        outcome,
                    },
                );
            }
        }
        Ok(())
    }

    fn act(&mut self, i: usize, at: At, action: &Action, now: Millis) -> Result<Option<Did>, Lost> {
        Ok(Some(match action {
            Action::Warn => Ok(self.warn(i, at)),
            Action::Throttle { cpu, memory_high } => self.throttle(i, *cpu, *memory_high)?,
            Action::Pause { raise, most } => return self.pause(i, at, *raise, *most, now),
            Action::Checkpoint {
                how: Checkpoint::Signal(signal),
                ..
            } => self.save(i, *signal)?,
            Action::Checkpoint {
                how: Checkpoint::Hook(hook),
                within,
            } => {
                let within = Duration::from_millis(within.0);
                self.run_beside(i, hook, at, within)
            }
            Action::Stop { grace } => {
                let did = self.signal(i, TERM)?;
                let watch = &mut self.watches[i];
                if did.is_ok() {
                    watch.kill_at = Some(Millis(now.0.saturating_add(grace.0)));
                }
                did.map(|to| format!("{to}; what has not ended in {grace} is ended"))
            }
        }))
    }

    fn acted(&mut self, i: usize, at: At, did: Did) {
        if let Err(why) = &did {
            self.watches[i]
                .ladder
                .failed(at.resource, at.step, why.clone());
        }
        let outcome = Outcome::of(&did);
        self.tell_ladder(
            i,
            What::Acted {
                exceedance: at.exceedance,
                step: at.step + 1,
                resource: at.resource,
                action: at.action.to_owned(),
                used: at.what.used,
                limit: at.what.limit,
                detail: did.unwrap_or_default(),
                outcome,
            },
        );
    }

    fn warn(&mut self, i: usize, at: At) -> String {
        let Some(callback) = self.watches[i].workload.on_warn.clone() else {
            return "told".to_owned();
        };
        match self.run_beside(i, &callback, at, CALLBACK_WITHIN) {
            Ok(ran) => format!("told; {ran}"),
            Err(why) => format!("told; {why}"),
        }
    }

    /// Runs a program of the user's beside the workload, as the agent's own user, and ends it when it takes too long.
    fn run_beside(&mut self, i: usize, command: &[String], at: At, within: Duration) -> Did {
        let Some((program, arguments)) = command.split_first() else {
            return Err("there is no program to run".to_owned());
        };
        let watch = &self.watches[i];
        let mut to_run = tokio::process::Command::new(program);
        to_run
            .args(arguments)
            .current_dir(self.limits_file.directory())
            .env("CURB_WORKLOAD", watch.name.as_str())
            .env("CURB_LIMIT", at.resource.name())
            .env("CURB_ACTION", at.action)
            .env("CURB_USED", at.what.used.to_string())
            .env("CURB_LIMIT_VALUE", at.what.limit.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .env_remove(crate::run::READ_ALREADY)
            .kill_on_drop(true);
        if let Some(member) = watch.members.values().next() {
            to_run.env("CURB_PID", member.who.pid.to_string());
        }
        let mut child = match to_run.spawn() {
            Ok(child) => child,
            Err(error) => return Err(format!("cannot run {program}: {error}")),
        };
        // Never waited for here; dropped, and ended, when its time is over.
        tokio::task::spawn_local(async move {
            let _ended_or_too_long = tokio::time::timeout(within, child.wait()).await;
        });
        Ok(format!("{program} was run"))
    }

    fn throttle(
        &mut self,
        i: usize,
        cpu: Option<MilliCpu>,
        high: Option<Bytes>,
    ) -> Result<Did, Lost> {
        let limits = &mut self.watches[i].limits;
        if let Some(cpu) = cpu {
            limits.cpu = Some(Limit::new(cpu, ""));
        }
        if let Some(high) = high {
            limits.memory_high = Some(Limit::new(high, ""));
        }
        let cpu = cpu.map(|c| format!("{c} CPU"));
        let high = high.map(|h| format!("slowed down above {h}"));
        let words: Vec<String> = cpu.into_iter().chain(high).collect();
        Ok(self.apply(i)?.map(|()| words.join(", ")))
    }

    fn undo(&mut self, i: usize, action: &Action) -> Result<Did, Lost> {
        let Action::Throttle { cpu, memory_high } = action else {
            return Ok(Ok(String::new()));
        };
        let watch = &mut self.watches[i];
        if cpu.is_some() {
            watch.limits.cpu = watch.workload.limits.cpu.clone();
        }
        if memory_high.is_some() {
            watch.limits.memory_high = watch.workload.limits.memory_high.clone();
        }
        Ok(self.apply(i)?.map(|()| String::new()))
    }

    /// Its first process is told to save its work: others of it may know nothing of that signal, and would end.
    fn save(&mut self, i: usize, signal: i32) -> Result<Did, Lost> {
        let watch = &self.watches[i];
        if let Err(why) = watch.in_a_group() {
            return Ok(Err(why));
        }
        let inside = watch.members.values().filter(|m| m.outside.is_none());
        let Some(first) = inside.min_by_key(|m| (m.who.start, m.who.pid)) else {
            return Ok(Err("none of its processes is in its group".to_owned()));
        };
        let verb = Verb::Tell {
            group: watch.name.clone(),
            who: first.who,
            signal,
        };
        let pid = first.who.pid;
        Ok(match self.hands.ask(&verb)? {
            Answer::Count { .. } => Ok(format!("signal {signal} to process {pid}")),
            other => Err(why(other)),
        })
    }

    fn signal(&mut self, i: usize, signal: i32) -> Result<Did, Lost> {
        let group = self.watches[i].name.clone();
        if let Err(why) = self.watches[i].in_a_group() {
            return Ok(Err(why));
        }
        Ok(match self.hands.ask(&Verb::Signal { group, signal })? {
            Answer::Count { processes } => Ok(format!("signal {signal} to {processes} processes")),
            other => Err(why(other)),
        })
    }

    fn pause(
        &mut self,
        i: usize,
        at: At,
        raise: Permille,
        most: Bytes,
        now: Millis,
    ) -> Result<Option<Did>, Lost> {
        let watch = &self.watches[i];
        if watch.limits.memory.is_none() {
            return Ok(Some(Err(
                "it has no limit on memory that could be raised".to_owned()
            )));
        }
        if let Err(why) = watch.in_a_group() {
            return Ok(Some(Err(why)));
        }
        let group = watch.name.clone();
        match self.hands.ask(&Verb::Freeze { group })? {
            Answer::Done => {}
            other => return Ok(Some(Err(why(other)))),
        }
        self.watches[i].pausing = Some(Pausing {
            exceedance: at.exceedance,
            step: at.step,
            what: at.what,
            raise,
            most,
            until: Millis(now.0.saturating_add(PAUSED_AT_MOST.0)),
        });
        self.try_to_raise(i, now)?;
        Ok(None)
    }

    /// What is paused gets more memory as soon as the host has it, and goes on.
    ///
    /// # Errors
    /// The helper is gone.
    pub(crate) fn try_to_raise(&mut self, i: usize, now: Millis) -> Result<(), Lost> {
        let Some(pausing) = self.watches[i].pausing.clone() else {
            return Ok(());
        };
        let had = self.watches[i]
            .limits
            .memory
            .as_ref()
            .map_or(0, |l| l.value.0);
        let wanted = pausing.raise.more_than(had).min(pausing.most.0);
        let left = self.memory_left().map_or(0, |b| b.0);
        let more = wanted.saturating_sub(had);
        let last_try = now >= pausing.until;
        let did = if more == 0 {
            Err(format!(
                "it has the most that a pause gives it: {}",
                Bytes(had)
            ))
        } else if left >= more || (last_try && left > 0) {
            let to = Bytes(had + more.min(left));
            self.watches[i].limits.memory = Some(Limit::new(to, ""));
            self.apply(i)?
                .map(|()| format!("its limit was raised from {} to {to}", Bytes(had)))
        } else if last_try {
            Err(format!(
                "the host has no memory left for it, with {} kept free",
                self.keep_free()
            ))
        } else {
            return Ok(());
        };
        self.watches[i].pausing = None;
        if did.is_err() {
            // Nothing more comes: the kernel ends what needs more than it has.
            let _told_already_why = self.tell_limits(i, false)?;
        }
        let group = self.watches[i].name.clone();
        let thawed = match self.hands.ask(&Verb::Thaw { group })? {
            Answer::Done => Ok(()),
            other => Err(why(other)),
        };
        let at = At {
            exceedance: pausing.exceedance,
            step: pausing.step,
            resource: Resource::Memory,
            what: pausing.what,
            action: "pause",
        };
        self.acted(i, at, thawed.and(did));
        Ok(())
    }

    /// Tells the kernel the limits that are in force now.
    pub(crate) fn apply(&mut self, i: usize) -> Result<Result<(), String>, Lost> {
        if let Err(why) = self.watches[i].in_a_group() {
            return Ok(Err(why));
        }
        let waits = self.watches[i].waits();
        self.tell_limits(i, waits)
    }

    fn tell_limits(&mut self, i: usize, wait: bool) -> Result<Result<(), String>, Lost> {
        let watch = &self.watches[i];
        let verb = Verb::Limit {
            group: watch.name.clone(),
            limits: Box::new(watch.told_to_the_kernel()),
            wait,
        };
        Ok(match self.hands.ask(&verb)? {
            Answer::Done => Ok(()),
            other => Err(why(other)),
        })
    }

    /// At its limit the kernel may go on for ever taking back what is wanted at once, and kill nobody: then we do.
    pub(crate) fn mind_thrashing(&mut self, i: usize, now: Millis) {
        let watch = &mut self.watches[i];
        let ended_after = watch.workload.ended_for_thrashing();
        let Some(how) = watch.thrashing() else {
            if let Some(Millis(lasted_ms)) = watch.thrashes.take() {
                let outcome = Outcome::Done;
                self.tell_ladder(i, What::ThrashingOver { lasted_ms, outcome });
            }
            return;
        };
        let ends = watch.kill_at.is_none() && ended_after.is_some_and(|after| how.lasted >= after);
        if ends && watch.in_a_group().is_ok() {
            watch.kill_at = Some(now);
            watch.thrashes = None;
            watch.figures.ended_for_thrashing += 1;
            let (lasted_ms, outcome) = (how.lasted.0, Outcome::Ended("memory".to_owned()));
            self.tell_ladder(i, What::ThrashingOver { lasted_ms, outcome });
        } else if watch.kill_at.is_none() && watch.thrashes.replace(how.lasted).is_none() {
            self.tell_ladder(i, What::thrashing(&how, ended_after));
        }
    }

    /// After the grace what is left is ended, again and again until it is empty.
    ///
    /// # Errors
    /// The helper is gone.
    pub(crate) fn end_what_is_left(&mut self, i: usize, now: Millis) -> Result<(), Lost> {
        let watch = &self.watches[i];
        if watch.kill_at.is_none_or(|at| now < at) || watch.members.is_empty() {
            return Ok(());
        }
        let group = watch.name.clone();
        if let Answer::Failed { why } = self.hands.ask(&Verb::Kill { group })? {
            self.tell(
                Some(i),
                crate::log::What::Trouble {
                    text: format!("ending it: {why}"),
                },
            );
        }
        Ok(())
    }

    pub(crate) fn tell_ladder(&mut self, i: usize, what: What) {
        let watch = &self.watches[i];
        self.log.ladder(Event {
            time: wall(),
            workload: watch.name.as_str().to_owned(),
            run: watch.run,
            state: watch.state(),
            what,
        });
    }
}

impl Watch {
    /// Whether anything can be done to it but to watch.
    fn in_a_group(&self) -> Result<(), String> {
        match self.group {
            Some(_) => Ok(()),
            None => Err("it is only watched: it is in no group of the agent's".to_owned()),
        }
    }
}

/// Why the helper did not do it.
pub(crate) fn why(answer: Answer) -> String {
    match answer {
        Answer::Refused { why } | Answer::Failed { why } => why,
        Answer::DoneBut { missing } => missing.join("; "),
        Answer::Gone => "it has ended".to_owned(),
        other => format!("an odd answer of the helper: {other:?}"),
    }
}
