//! `curb drill`: which limits of a workload are rehearsed, with which load, and what has to be seen then.
//!
//! A rehearsal is a file of limits for a throw-away run: the workload's own limits and ladder, with a stand-in for every
//! command, so that nothing of the real workload is started, signalled or told. What was seen is judged by [`judge`].

mod judge;

use super::limits::{Action, Checkpoint, File, LimitSet, Reach, Resource, Step, Workload};
use super::{Bytes, MilliCpu, Permille};
use crate::time::Millis;

pub use judge::{Mark, Report, Seen, Verdict, judge};

/// More threads or files than this are not made: with a higher limit this one is rehearsed in its place.
const MOST_THINGS: u64 = 512;
/// Waits of a ladder beyond this are rehearsed as this.
const MOST_WAIT: Millis = Millis(60_000);
/// Limits on time are rehearsed as this.
const SHORT: Millis = Millis(2_000);
/// Limits on time that have steps before them are rehearsed as this, so that there is room for the steps.
const SHORT_WITH_STEPS: Millis = Millis(10_000);
/// A step is rehearsed where so much is left between it and the end.
const ROOM: Millis = Millis(500);
/// The least time for a checkpoint.
const LEAST_WITHIN: Millis = Millis(100);
/// A limit on memory below this leaves the stand-in no room of its own.
const LEAST_MEMORY: Bytes = Bytes(32 << 20);
/// How long a load goes on when the last step should have been taken.
const MARGIN: u64 = 4_000;

/// What the stand-in does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Load {
    /// Fills memory up to this part of its limit and stays there.
    MemoryTo(Permille),
    /// Fills memory without an end.
    MemoryBeyond,
    /// Computes on so many threads.
    Spin(u64),
    /// Starts threads until that is refused, at most so many.
    Threads(u64),
    /// Opens files until that is refused, at most so many.
    Files(u64),
    /// Waits.
    Wait,
    /// Reads back the limits that it is in.
    Read,
    /// The workload's own command in place of a stand-in.
    OwnCommand,
}

/// What has to be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// A step of the ladder is taken, and succeeds.
    Step {
        /// Which, from 1.
        step: usize,
        /// As it is written in the file.
        words: String,
    },
    /// The program of `on_warn` is run.
    Told,
    /// Memory was never above this.
    MemoryAtMost(Bytes),
    /// The kernel ends it for its memory, and says so.
    KilledForMemory,
    /// It is started again so often.
    Retried(u32),
    /// The other command is run then.
    FellBack,
    /// It is given up then.
    GaveUp,
    /// It used no more CPU than this.
    CpuAtMost(MilliCpu),
    /// It was refused more than this.
    RefusedBeyond(u64),
    /// It is stopped, for this (a word of [`super::ladder::What::Died`]).
    StoppedFor(&'static str),
    /// Who is in it reads this limit as this value: bytes, a weight, CPUs by number.
    InForce {
        /// Its name in the file.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// The drill asks it to end, and it does.
    EndsWhenAsked,
}

/// One throw-away run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsal {
    /// Which limit, in words.
    pub name: String,
    /// The file of limits for it; its one workload has no command.
    pub file: File,
    /// What runs in it.
    pub load: Load,
    /// For how long the load goes on, at most.
    pub lasts: Millis,
    /// What has to be seen.
    pub expects: Vec<Expect>,
    /// What is not as in the file, and why.
    pub notes: Vec<String>,
}

/// What stands in for the commands of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandIns {
    /// In place of `on_warn`.
    pub told: Vec<String>,
    /// In place of the fallback and of hooks.
    pub quiet: Vec<String>,
}

/// What is rehearsed, and what is not and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drill {
    /// One run after the other.
    pub rehearsals: Vec<Rehearsal>,
    /// Limits that are not rehearsed, and why.
    pub left_out: Vec<String>,
    /// The most memory that any of them can hold.
    pub memory: Option<Bytes>,
}

/// The drill of a workload. `memory` is a limit on memory to rehearse with in place of the file's, `cpus` what the host has;
/// `own` a command that is run as well, for so long.
#[must_use]
pub fn drill(
    file: &File,
    workload: &Workload,
    memory: Option<Bytes>,
    cpus: Option<u64>,
    stand_ins: &StandIns,
    own: Option<(&[String], Millis)>,
) -> Drill {
    let mut base = Base::new(file, workload, stand_ins);
    if let (Some(own), Some(memory)) = (&mut base.workload.limits.memory, memory) {
        let text = format!("rehearsed with {memory} in place of {}", own.value);
        base.scale_memory(memory);
        base.notes.push(text);
    }
    let mut drill = Drill {
        left_out: left_out(&workload.limits),
        ..Drill::default()
    };
    base.memory(&mut drill);
    base.cpu(&mut drill, cpus);
    base.counted(&mut drill);
    base.times(&mut drill);
    base.read_back(&workload.limits, &mut drill);
    if let Some((command, lasts)) = own {
        let rehearsal = base.own_command(command, lasts, &workload.limits);
        drill.rehearsals.push(rehearsal);
        drill.memory = base
            .workload
            .limits
            .memory
            .as_ref()
            .map(|l| base.most_memory(l.value));
    }
    if workload.front.is_some() {
        drill
            .left_out
            .push("front: it listens where the real one does".to_owned());
    }
    drill
}

/// What no stand-in can show.
fn left_out(limits: &LimitSet) -> Vec<String> {
    let mut all = Vec::new();
    let mut say = |given: bool, text: &str| {
        if given {
            all.push(text.to_owned());
        }
    };
    say(
        limits.io_read.is_some() || limits.io_write.is_some(),
        "io: the disks of production would be used",
    );
    say(
        limits.gpu_visible.is_some() || limits.gpu_threads.is_some() || limits.gpu_memory.is_some(),
        "gpu: the GPUs of production would be used",
    );
    say(
        limits.mlx_cache.is_some() || limits.mlx_memory.is_some() || limits.mlx_wired.is_some(),
        "mlx: the stand-in does not use MLX",
    );
    all
}

/// The workload with stand-ins for its commands.
struct Base {
    file: File,
    workload: Workload,
    notes: Vec<String>,
}

impl Base {
    fn new(file: &File, workload: &Workload, stand_ins: &StandIns) -> Base {
        let mut own = workload.clone();
        let mut notes = Vec::new();
        // What runs already is not meant, and nothing listens.
        (own.matches, own.command, own.baseline, own.front) = (None, None, None, None);
        own.on_warn = own.on_warn.map(|_| stand_ins.told.clone());
        if let Some(fallback) = &mut own.fallback {
            fallback.command.clone_from(&stand_ins.quiet);
        }
        // Disks, CPUs and GPUs are left to production.
        let limits = &mut own.limits;
        (limits.io_read, limits.io_write, limits.cpu_set) = (None, None, None);
        (limits.gpu_visible, limits.gpu_threads, limits.gpu_memory) = (None, None, None);
        for step in &mut own.ladder {
            // Steps before a limit on time are shortened with it.
            let timed = matches!(step.when.what, Resource::Duration | Resource::CpuTime);
            if step.after > MOST_WAIT && !timed {
                notes.push(format!(
                    "`{}` is rehearsed after {}",
                    super::limits::step(step),
                    MOST_WAIT
                ));
                step.after = MOST_WAIT;
            }
            if let Action::Checkpoint {
                how: Checkpoint::Hook(hook),
                ..
            } = &mut step.action
            {
                hook.clone_from(&stand_ins.quiet);
            }
        }
        if let Some(retry) = &mut own.retry {
            let short = Millis(200);
            if retry.first > short {
                notes.push(format!(
                    "it is started again after {short} in place of {}",
                    retry.first
                ));
            }
            (retry.first, retry.most) = (retry.first.min(short), retry.most.min(Millis(1_000)));
        }
        Base {
            file: File {
                version: 1,
                host: file.host,
                workloads: Vec::new(),
            },
            workload: own,
            notes,
        }
    }

    /// All amounts of memory, as if the limit were this one.
    fn scale_memory(&mut self, to: Bytes) {
        let Some(limit) = &mut self.workload.limits.memory else {
            return;
        };
        let from = limit.value;
        let scaled = |b: Bytes| {
            let part = u128::from(b.0) * u128::from(to.0) / u128::from(from.0.max(1));
            Bytes(u64::try_from(part).unwrap_or(u64::MAX))
        };
        limit.value = to;
        if let Some(high) = &mut self.workload.limits.memory_high {
            high.value = scaled(high.value);
        }
        for step in &mut self.workload.ladder {
            match &mut step.action {
                Action::Pause { most, .. } => *most = scaled(*most),
                Action::Throttle {
                    memory_high: Some(high),
                    ..
                } => *high = scaled(*high),
                _ => {}
            }
        }
    }

    /// A run with the workload as it is, or changed.
    fn rehearsal(
        &self,
        name: String,
        load: Load,
        lasts: u64,
        expects: Vec<Expect>,
        change: impl FnOnce(&mut Workload),
    ) -> Rehearsal {
        let mut file = self.file.clone();
        let mut workload = self.workload.clone();
        change(&mut workload);
        file.workloads = vec![workload];
        Rehearsal {
            name,
            file,
            load,
            lasts: Millis(lasts),
            expects,
            notes: self.notes.clone(),
        }
    }

    /// The steps for a limit that are due at this nearness, with their numbers, from 1.
    fn steps(&self, what: Resource, wanted: impl Fn(Reach) -> bool) -> Vec<(usize, &Step)> {
        let all = self
            .workload
            .ladder
            .iter()
            .enumerate()
            .map(|(i, s)| (i + 1, s));
        all.filter(|(_, s)| s.when.what == what && wanted(s.when.reach))
            .collect()
    }

    /// What has to be seen of steps: each of them, up to one that ends it.
    fn expected<'a>(&self, steps: impl IntoIterator<Item = &'a (usize, &'a Step)>) -> Vec<Expect> {
        let mut order: Vec<&(usize, &Step)> = steps.into_iter().collect();
        order.sort_by_key(|(_, s)| s.after);
        let mut all = Vec::new();
        for (step, own) in order {
            all.push(Expect::Step {
                step: *step,
                words: super::limits::step(own),
            });
            if own.action == Action::Warn && self.workload.on_warn.is_some() {
                all.push(Expect::Told);
            }
            if matches!(own.action, Action::Stop { .. }) {
                all.push(Expect::StoppedFor(match own.when.what {
                    Resource::Duration => "duration",
                    Resource::CpuTime => "cpu_time",
                    _ => "ladder",
                }));
                break;
            }
        }
        all
    }

    fn memory(&self, drill: &mut Drill) {
        let Some(limit) = &self.workload.limits.memory else {
            return;
        };
        let limit = limit.value;
        for (step, _) in self.steps(Resource::Memory, |r| r == Reach::Thrashing) {
            drill.left_out.push(format!(
                "step {step}, memory thrashing: the stand-in needs no program text that could be taken from it"
            ));
        }
        if limit < LEAST_MEMORY {
            drill.left_out.push(format!(
                "memory of {limit}: the stand-in itself needs {LEAST_MEMORY}"
            ));
            return;
        }
        let near = self.steps(Resource::Memory, |r| matches!(r, Reach::Above(_)));
        let parts = near.iter().filter_map(|(_, s)| match s.when.reach {
            Reach::Above(part) => Some(part.0),
            Reach::Met | Reach::Thrashing => None,
        });
        if let Some(highest) = parts.max() {
            // Half of what is left above the highest mark: above it for sure, and below the limit.
            let to = Permille(highest + (1000 - highest.min(1000)).div_ceil(2).min(20));
            let waits = near.iter().map(|(_, s)| s.after.0).max().unwrap_or(0);
            let mut expects = self.expected(&near);
            expects.push(Expect::MemoryAtMost(limit));
            let name = format!("memory near its limit of {limit}");
            let stays = Load::MemoryTo(to);
            drill
                .rehearsals
                .push(self.rehearsal(name, stays, waits + MARGIN, expects, |w| {
                    // Once is enough to see the steps.
                    (w.retry, w.fallback) = (None, None);
                }));
        }
        drill.rehearsals.push(self.beyond(limit));
        drill.memory = Some(self.most_memory(limit));
    }

    /// The most memory that a run may come to hold: what pausing may raise it to, and what retries may.
    fn most_memory(&self, limit: Bytes) -> Bytes {
        let raised = self.workload.ladder.iter().filter_map(|s| match s.action {
            Action::Pause { most, .. } => Some(most),
            _ => None,
        });
        let mut most = raised.fold(limit, Bytes::max);
        if let Some(retry) = &self.workload.retry {
            for _ in 0..retry.times.min(64) {
                most = Bytes(retry.memory.more_than(most.0));
            }
        }
        most
    }

    fn beyond(&self, limit: Bytes) -> Rehearsal {
        let met = self.steps(Resource::Memory, |r| r == Reach::Met);
        let mut expects = self.expected(&met);
        let stopped = expects.iter().any(|e| matches!(e, Expect::StoppedFor(_)));
        if !stopped {
            expects.push(Expect::KilledForMemory);
        }
        expects.push(Expect::MemoryAtMost(self.most_memory(limit)));
        if let Some(retry) = &self.workload.retry {
            expects.push(Expect::Retried(retry.times));
        }
        expects.push(match self.workload.fallback {
            Some(_) => Expect::FellBack,
            None => Expect::GaveUp,
        });
        if self.workload.retry.is_none() && self.workload.fallback.is_none() {
            expects.pop();
        }
        let name = format!("memory beyond its limit of {limit}");
        let waits = met.iter().map(|(_, s)| s.after.0).sum::<u64>();
        let mut made = self.rehearsal(name, Load::MemoryBeyond, waits + 60_000, expects, |w| {
            // Steps on the way would end or slow it before it gets there.
            w.ladder
                .retain(|s| s.when.what != Resource::Memory || s.when.reach == Reach::Met);
        });
        renumber(&mut made, &self.workload.ladder);
        made
    }

    fn cpu(&self, drill: &mut Drill, cpus: Option<u64>) {
        let Some(limit) = &self.workload.limits.cpu else {
            return;
        };
        let limit = limit.value;
        if cpus.is_some_and(|n| limit.0 >= n.saturating_mul(1000)) {
            drill.left_out.push(format!(
                "cpu of {limit}: the host has no more, so that it is never met"
            ));
            return;
        }
        let steps = self.steps(Resource::Cpu, |_| true);
        let waits = steps.iter().map(|(_, s)| s.after.0).max().unwrap_or(0);
        let mut expects = self.expected(&steps);
        expects.push(Expect::CpuAtMost(limit));
        let threads = limit.0.div_ceil(1000) + 1;
        let name = format!("cpu beyond its limit of {limit}");
        drill.rehearsals.push(self.rehearsal(
            name,
            Load::Spin(threads),
            waits + MARGIN,
            expects,
            |w| {
                (w.retry, w.fallback) = (None, None);
                // Its threads are no reason to stop it here.
                w.ladder.retain(|s| s.when.what == Resource::Cpu);
                w.limits.cpu_time = None;
            },
        ));
        if let Some(last) = drill.rehearsals.last_mut() {
            renumber(last, &self.workload.ladder);
        }
    }

    /// Processes and open files.
    fn counted(&self, drill: &mut Drill) {
        if let Some(limit) = &self.workload.limits.processes {
            let most = limit.value.min(MOST_THINGS);
            let name = format!("processes beyond their limit of {most}");
            let steps = self.steps(Resource::Processes, |_| true);
            let waits = steps.iter().map(|(_, s)| s.after.0).max().unwrap_or(0);
            let mut expects = vec![Expect::RefusedBeyond(most)];
            expects.extend(self.expected(&steps));
            let load = Load::Threads(most + 8);
            let mut made = self.rehearsal(name, load, waits + MARGIN, expects, |w| {
                (w.retry, w.fallback) = (None, None);
                w.ladder.retain(|s| s.when.what == Resource::Processes);
                if let Some(limit) = &mut w.limits.processes {
                    limit.value = most;
                }
            });
            if most < limit.value {
                made.notes
                    .push(format!("rehearsed with {most} in place of {}", limit.value));
            }
            renumber(&mut made, &self.workload.ladder);
            drill.rehearsals.push(made);
        }
        if let Some(limit) = &self.workload.limits.open_files {
            let most = limit.value.min(MOST_THINGS);
            let name = format!("open files beyond their limit of {most}");
            let expects = vec![Expect::RefusedBeyond(most)];
            let mut made = self.rehearsal(name, Load::Files(most + 8), MARGIN, expects, |w| {
                w.ladder.clear();
                if let Some(limit) = &mut w.limits.open_files {
                    limit.value = most;
                }
            });
            if most < limit.value {
                made.notes
                    .push(format!("rehearsed with {most} in place of {}", limit.value));
            }
            drill.rehearsals.push(made);
        }
    }

    fn times(&self, drill: &mut Drill) {
        let limits = &self.workload.limits;
        if let Some(limit) = &limits.duration {
            let name = format!("running longer than {}", limit.value);
            let of = (Resource::Duration, "duration", limit.value);
            self.time(drill, of, name, &Load::Wait);
        }
        if let Some(limit) = &limits.cpu_time {
            let name = format!("using more CPU time than {}", limit.value);
            let of = (Resource::CpuTime, "cpu_time", limit.value);
            self.time(drill, of, name, &Load::Spin(1));
        }
    }

    /// A limit on time, with the steps before it: all of it shortened by one measure.
    fn time(
        &self,
        drill: &mut Drill,
        (what, cause, limit): (Resource, &'static str, Millis),
        name: String,
        load: &Load,
    ) {
        let steps = self.steps(what, |_| true);
        let whole = match steps.is_empty() {
            true => limit.min(SHORT),
            false => limit.min(SHORT_WITH_STEPS),
        };
        let (in_time, late) = in_time(&steps, limit, whole);
        drill.left_out.extend(late);
        let mut expects = self.expected(&in_time);
        if !expects.iter().any(|e| matches!(e, Expect::StoppedFor(_))) {
            expects.push(Expect::StoppedFor(cause));
        }
        let kept: Vec<Step> = in_time.iter().map(|(_, s)| (*s).clone()).collect();
        let mut made = self.rehearsal(name, load.clone(), 60_000, expects, |w| {
            (w.retry, w.fallback) = (None, None);
            w.ladder = kept;
            let short = |l: &mut super::limits::Limit<Millis>| l.value = whole;
            match what {
                Resource::Duration => {
                    w.limits.duration.as_mut().map(short);
                    w.limits.cpu_time = None;
                }
                _ => {
                    w.limits.cpu_time.as_mut().map(short);
                    w.limits.duration = None;
                }
            }
        });
        renumber(&mut made, &self.workload.ladder);
        // Shortened after they were found by what they are.
        for step in &mut made.file.workloads[0].ladder {
            shorten(step, limit, whole);
        }
        if whole < limit {
            made.notes.push(format!("rehearsed with {whole}"));
        }
        drill.rehearsals.push(made);
    }

    /// What can only be read back: that the kernel has it as the file says.
    fn read_back(&self, real: &LimitSet, drill: &mut Drill) {
        let limits = &self.workload.limits;
        let numbers = [
            (
                "memory_high",
                limits.memory_high.as_ref().map(|l| l.value.0),
            ),
            ("swap", limits.swap.as_ref().map(|l| l.value.0)),
            (
                "cpu_weight",
                limits.cpu_weight.as_ref().map(|l| u64::from(l.value)),
            ),
        ];
        let mut expects: Vec<Expect> = numbers
            .into_iter()
            .filter_map(|(name, value)| {
                let value = value?.to_string();
                Some(Expect::InForce { name, value })
            })
            .collect();
        expects.extend(real.cpu_set.as_ref().map(|l| Expect::InForce {
            name: "cpu_set",
            value: l.value.to_string(),
        }));
        if expects.is_empty() {
            return;
        }
        if let Some(limit) = limits.memory.as_ref().map(|l| l.value)
            && limit < LEAST_MEMORY
        {
            drill.left_out.push(format!(
                "what is read back within {limit}: the stand-in itself needs {LEAST_MEMORY}"
            ));
            return;
        }
        let name = "what slows down and ends nothing, read back".to_owned();
        let made = self.rehearsal(name, Load::Read, MARGIN, expects, |w| {
            (w.retry, w.fallback) = (None, None);
            w.ladder.clear();
            w.limits.cpu_set.clone_from(&real.cpu_set);
        });
        drill.rehearsals.push(made);
    }

    /// The workload's own command within its own limits, with its own ladder.
    fn own_command(&self, command: &[String], lasts: Millis, real: &LimitSet) -> Rehearsal {
        let steps = self.steps(Resource::Memory, |_| true);
        let others = [
            Resource::Cpu,
            Resource::Processes,
            Resource::Duration,
            Resource::CpuTime,
        ];
        let others = others
            .into_iter()
            .flat_map(|r| self.steps(r, |_| true))
            .collect::<Vec<_>>();
        // Not in an order of time: each is judged by itself, since nobody knows what the command does.
        let mut expects: Vec<Expect> = steps
            .iter()
            .chain(&others)
            .map(|(step, own)| Expect::Step {
                step: *step,
                words: super::limits::step(own),
            })
            .collect();
        let warns = |s: &Step| s.action == Action::Warn;
        if self.workload.on_warn.is_some() && self.workload.ladder.iter().any(warns) {
            expects.push(Expect::Told);
        }
        if let Some(limit) = &self.workload.limits.memory {
            expects.push(Expect::MemoryAtMost(self.most_memory(limit.value)));
            expects.push(Expect::KilledForMemory);
        }
        expects.push(Expect::EndsWhenAsked);
        let program = command.first().map_or("", String::as_str);
        let name = format!("its own command ({program}) for {lasts}");
        self.rehearsal(name, Load::OwnCommand, lasts.0, expects, |w| {
            w.command = Some(command.to_vec());
            // Unlike a stand-in it uses what the real one would use.
            (w.limits.io_read, w.limits.io_write) = (real.io_read.clone(), real.io_write.clone());
            w.limits.cpu_set.clone_from(&real.cpu_set);
            w.limits.gpu_visible.clone_from(&real.gpu_visible);
            w.limits.gpu_threads.clone_from(&real.gpu_threads);
            w.limits.gpu_memory.clone_from(&real.gpu_memory);
        })
    }
}

/// The steps that come before a limit on time that is shortened to `whole`; and why the others are left out.
fn in_time<'a>(
    steps: &[(usize, &'a Step)],
    limit: Millis,
    whole: Millis,
) -> (Vec<(usize, &'a Step)>, Vec<String>) {
    let (mut kept, mut late) = (Vec::new(), Vec::new());
    let mut busy = 0;
    for (number, step) in steps {
        let part = match step.when.reach {
            Reach::Above(part) => part,
            Reach::Met | Reach::Thrashing => Permille::WHOLE,
        };
        let at = part.of(limit.0).saturating_add(step.after.0);
        let words = super::limits::step(step);
        // At the limit itself it is stopped, but for what comes before that in the same moment.
        let at_its_end = step.when.reach == Reach::Met && step.after.0 == 0;
        if at >= limit.0 && !at_its_end {
            late.push(format!("step {number}, {words}: the limit comes before it"));
            continue;
        }
        let mut short = (*step).clone();
        shorten(&mut short, limit, whole);
        let begins = part.of(whole.0).saturating_add(short.after.0).max(busy);
        if begins.saturating_add(ROOM.0) > whole.0 && !at_its_end {
            late.push(format!(
                "step {number}, {words}: too near to the limit to be told from it within {whole}"
            ));
            continue;
        }
        if let Action::Checkpoint { within, .. } = &short.action {
            busy = begins.saturating_add(within.0);
        }
        kept.push((*number, *step));
    }
    (kept, late)
}

/// A step as if its limit on time were `whole`.
fn shorten(step: &mut Step, limit: Millis, whole: Millis) {
    let scaled = |ms: Millis| {
        let part = u128::from(ms.0) * u128::from(whole.0) / u128::from(limit.0.max(1));
        Millis(u64::try_from(part).unwrap_or(u64::MAX))
    };
    step.after = scaled(step.after);
    if let Action::Checkpoint { within, .. } = &mut step.action {
        *within = scaled(*within).max(LEAST_WITHIN);
    }
}

/// Steps are numbered as the rehearsal's own ladder has them.
fn renumber(made: &mut Rehearsal, ladder: &[Step]) {
    let kept = &made.file.workloads[0].ladder;
    for expect in &mut made.expects {
        if let Expect::Step { step, .. } = expect {
            let at = kept.iter().position(|s| *s == ladder[*step - 1]);
            *step = at.map_or(*step, |at| at + 1);
        }
    }
}

#[cfg(test)]
mod tests;
