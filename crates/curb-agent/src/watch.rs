//! One workload as the agent sees it: its processes, its limits in force, what was counted, what is odd.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use curb_core::host::detect::{Change, Detector, Kind, Progress, Reading, Settings, Usual};
use curb_core::host::ladder::{HeldBy, Ladder, Order, State};
use curb_core::host::limits::{
    Action, Condition, Limit, LimitSet, Reach, Resource, Step, Workload,
};
use curb_core::host::thrash::Thrashing;
use curb_core::host::{Bytes, MilliCpu, Permille};
use curb_core::time::Millis;
use curb_host::group::Counts;
use curb_host::limits::Limits;
use curb_host::readings::{Before, Sample};
use curb_host::totals::Totals;

use crate::history::History;
use crate::wire::{Name, Who, bare};

/// A limit on time that no step of the ladder answers is answered by this one: the kernel does not hold it.
const GRACE: Millis = Millis(30_000);
/// Memory that was held before is taken off the limit, but so much is always left: a 16th of it, and 16 MiB.
const LEFT_PART: u64 = 16;
const LEFT_LEAST: u64 = 16 << 20;

/// A tick of the kernel's clock for users, in which it tells when processes started.
pub const TICK_MS: u64 = 10;

/// A process of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub who: Who,
    /// In memory, of its own, at the last look.
    pub own: Bytes,
    /// In memory, at the last look.
    pub resident: Bytes,
    /// CPU time and threads, where they are looked at for each process.
    pub used: Option<(u64, u64)>,
    /// Why it is not in the group.
    pub outside: Option<String>,
}

/// Numbers that only grow, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// How often it was started.
    pub starts: u64,
    /// Exceedances that began.
    pub exceedances: BTreeMap<Resource, u64>,
    /// Steps that were taken, by limit and step.
    pub steps: BTreeMap<(Resource, &'static str), u64>,
    /// How often it was ended for thrashing at its limit.
    pub ended_for_thrashing: u64,
    /// Anomalies that began.
    pub anomalies: BTreeMap<Kind, u64>,
    /// Of groups that are gone.
    pub before: Counts,
}

/// What is being paused until the host has memory for it.
#[derive(Clone, Debug)]
pub struct Pausing {
    /// Of which exceedance, which step.
    pub exceedance: u64,
    /// Which step.
    pub step: usize,
    /// What was read then.
    pub what: curb_core::host::ladder::Use,
    /// How much more it gets.
    pub raise: Permille,
    /// And never more than this.
    pub most: Bytes,
    /// By then it goes on in any case.
    pub until: Millis,
}

/// A workload.
#[derive(Debug)]
pub struct Watch {
    /// Its name.
    pub name: Name,
    /// What the file says of it.
    pub workload: Workload,
    /// Its group, when it has one.
    pub group: Option<Totals>,
    /// By what its limits are held, once it is in its group.
    pub held_by: HeldBy,
    /// Its limits: those of the file, but for what the ladder changed, and for one on memory that was refused.
    pub limits: LimitSet,
    /// Which of its limits cannot be held here, and why.
    pub not_held: Vec<String>,
    /// Its processes by number.
    pub members: BTreeMap<u32, Member>,
    /// Memory that they had before they came into the group, and that is counted elsewhere.
    pub held_before: Bytes,
    /// Which start this is.
    pub run: u32,
    /// Since when it runs.
    pub began: Option<Millis>,
    /// When the kernel ends what has not ended by then.
    pub kill_at: Option<Millis>,
    /// Being paused.
    pub pausing: Option<Pausing>,
    /// It was told that it thrashes, for how long at the last look.
    pub thrashes: Option<Millis>,
    /// What is done at its limits.
    pub ladder: Ladder,
    /// What was counted at the last look.
    pub counts: Counts,
    /// CPU between the last two looks.
    pub cpu: Option<MilliCpu>,
    /// Its last readings.
    pub history: History,
    /// Some came in, or its limits are others: what is set for each of its processes, or by where they work, is due.
    pub each_due: bool,
    /// There is a limit on reading or writing that would have to be taken away.
    pub io_was_limited: bool,
    /// Numbers for metrics.
    pub figures: Figures,
    /// What is odd.
    pub detector: Detector,
    /// Its group was there before this agent, with limits that its first look must not take for those of the file.
    taken_up: bool,
    before: Before,
    last: Option<(Millis, Option<u64>)>,
    settings: Settings,
}

impl Watch {
    /// A workload of the file that nobody has seen yet.
    #[must_use]
    pub fn new(
        workload: &Workload,
        name: Name,
        settings: Settings,
        usual: Usual,
        many: usize,
    ) -> Watch {
        Watch {
            name,
            group: None,
            held_by: HeldBy::Nothing,
            limits: bare(&workload.limits),
            not_held: Vec::new(),
            members: BTreeMap::new(),
            held_before: Bytes(0),
            run: 0,
            began: None,
            kill_at: None,
            pausing: None,
            thrashes: None,
            ladder: Ladder::new(steps(workload)),
            counts: Counts::default(),
            cpu: None,
            history: History::new(many),
            each_due: false,
            io_was_limited: false,
            figures: Figures::default(),
            detector: Detector::new(settings, usual),
            taken_up: false,
            before: Before::default(),
            last: None,
            settings,
            workload: workload.clone(),
        }
    }

    /// The file says something else of it now. `None` where its limits are the same; else why one of them is refused, and the
    /// one before stays: its ladder would end it for memory that it holds already.
    pub fn change(&mut self, workload: &Workload, usual: Usual) -> Option<Result<(), String>> {
        let others = self.workload.limits != workload.limits;
        if steps(&self.workload) != steps(workload) {
            self.ladder = Ladder::new(steps(workload));
        }
        let done = others.then(|| self.limit_anew(bare(&workload.limits)));
        self.workload = workload.clone();
        self.detector.compare_with(usual);
        done
    }

    fn limit_anew(&mut self, limits: LimitSet) -> Result<(), String> {
        let before = std::mem::replace(&mut self.limits, limits);
        let Some(most) = self.limits.memory.as_ref().map(|l| l.value) else {
            return Ok(());
        };
        let was = before.memory.as_ref().map(|l| l.value);
        if self.members.is_empty() || was.is_some_and(|was| was <= most) {
            return Ok(());
        }
        let held = self.held();
        if held <= most {
            return Ok(());
        }
        self.limits.memory = before.memory;
        let stays = was.map_or_else(|| "none".to_owned(), |was| was.to_string());
        Err(format!(
            "memory: it holds {held} now: a limit of {most} would end it; the limit stays as it was: {stays}"
        ))
    }

    /// Memory that it holds now and cannot give back, with what it held before it came in.
    fn held(&mut self) -> Bytes {
        // What is counted at a look is compared with the look before: this is none.
        let last = self.counts;
        let mut now = self.count();
        self.counts = last;
        if let Some(group) = &self.group {
            group.add_cache(&mut now);
        }
        let cache = now.memory_idle_cache.unwrap_or_default();
        Bytes(now.memory.unwrap_or_default().0.saturating_sub(cache.0))
    }

    /// The kernel was told its limits, and something was refused: if that was the one on memory, the kernel's is in force.
    pub fn keep_what_the_kernel_has(&mut self) {
        let told = self.told_to_the_kernel().memory.map(|l| l.value);
        let Some((told, group)) = told.zip(self.group.as_ref()) else {
            return;
        };
        // Without one there is no limit to speak of; a lower one was not refused.
        let Some(has) = group.read().memory_limit.filter(|has| *has > told) else {
            return;
        };
        let whole = Bytes(has.0.saturating_add(self.held_before.0));
        self.limits.memory = Some(Limit::new(whole, ""));
    }

    /// Whether all of its processes are in a group of the agent's, and there are any.
    #[must_use]
    pub fn is_confined(&self) -> bool {
        let inside = self.members.values().all(|m| m.outside.is_none());
        self.group.is_some() && inside && !self.members.is_empty()
    }

    /// What holds its limits now: nothing, while none of its processes is in a group of the agent's.
    #[must_use]
    pub fn held_by_now(&self) -> HeldBy {
        let inside = self.members.values().any(|m| m.outside.is_none());
        match self.group.is_some() && inside {
            true => self.held_by,
            false => HeldBy::Nothing,
        }
    }

    /// The limits that something holds now: the same as `limits`, or none.
    #[must_use]
    pub fn limits_in_force(&self) -> Option<&LimitSet> {
        (self.held_by_now() != HeldBy::Nothing).then_some(&self.limits)
    }

    /// What the file says of it that the agent does not do: limits that cannot be set on processes that run, and what is
    /// for whoever starts them.
    #[must_use]
    pub fn not_for_the_agent(&self) -> Vec<String> {
        let limits = &self.workload.limits;
        let given = [
            ("gpu_visible", limits.gpu_visible.is_some()),
            ("gpu_threads", limits.gpu_threads.is_some()),
            ("gpu_memory", limits.gpu_memory.is_some()),
            ("mlx_cache", limits.mlx_cache.is_some()),
            ("mlx_memory", limits.mlx_memory.is_some()),
            ("mlx_wired", limits.mlx_wired.is_some()),
        ];
        let given = given.iter().filter(|(_, given)| *given);
        let mut all: Vec<String> = given
            .map(|(name, _)| format!("{name}: the agent cannot set it on what runs; curb run --workload sets it at the start"))
            .collect();
        let unit = self.workload.matches.as_ref().and_then(|m| m.unit.as_ref());
        let starts = match unit {
            Some(unit) => {
                format!("systemd starts {unit} again, if Restart=on-failure of the unit says so")
            }
            None => "who started it starts it again, or curb run --workload".to_owned(),
        };
        if self.workload.retry.is_some() {
            all.push(format!("retry: {starts}"));
        }
        if self.workload.fallback.is_some() {
            all.push("fallback: curb run --workload starts it in the workload's place; the agent starts nothing".to_owned());
        }
        all
    }

    /// Whether its reading or writing is limited.
    #[must_use]
    pub fn limits_io(&self) -> bool {
        self.limits.io_read.is_some() || self.limits.io_write.is_some()
    }

    /// Which of its limits are not held, by name.
    #[must_use]
    pub fn names_not_held(&self) -> BTreeSet<&str> {
        let name = |why: &'_ String| why.split_once(':').map(|(name, _)| name.len());
        self.not_held
            .iter()
            .filter_map(|why| why.get(..name(why)?))
            .collect()
    }

    /// Whether who meets its limit on memory waits there to be given more.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.workload.ladder.iter().any(Step::pauses_at_the_limit)
    }

    /// The limits that the kernel is told: what was held before is taken off.
    #[must_use]
    pub fn told_to_the_kernel(&self) -> LimitSet {
        let mut limits = self.limits.clone();
        for limit in [&mut limits.memory, &mut limits.memory_high]
            .into_iter()
            .flatten()
        {
            let whole = limit.value.0;
            let least = (whole / LEFT_PART).max(LEFT_LEAST).min(whole);
            limit.value = Bytes(whole.saturating_sub(self.held_before.0).max(least));
        }
        limits
    }

    /// Its processes are these now. Gives whether it was started, by these, after none or others.
    pub fn see(&mut self, now: Millis, seen: BTreeMap<u32, Member>) -> Seen {
        let had = !self.members.is_empty();
        let stays = |(pid, member): (&u32, &Member)| {
            self.members.get(pid).is_some_and(|m| m.who == member.who)
        };
        let some_stay = seen.iter().any(stays);
        let news = !seen.is_empty();
        self.members = seen;
        match (had, news, some_stay) {
            (_, true, false) => {
                self.start(now);
                Seen::Started
            }
            (true, false, _) => Seen::Ended,
            _ => Seen::Same,
        }
    }

    fn start(&mut self, now: Millis) {
        self.run = self.run.saturating_add(1);
        self.figures.starts += 1;
        // It runs since its first process does, whoever watched then.
        let oldest = self.members.values().map(|m| m.who.start).min();
        let began = oldest.map_or(now.0, |ticks| ticks.saturating_mul(TICK_MS));
        self.began = Some(Millis(began.min(now.0)));
        self.kill_at = None;
        self.pausing = None;
        self.thrashes = None;
        self.ladder = self.ladder.anew();
        self.before = Before::default();
        self.last = None;
        if !std::mem::take(&mut self.taken_up) {
            self.limits = bare(&self.workload.limits);
        }
    }

    /// Adds what a group that goes has counted, so that counters never fall.
    pub fn keep_counts(&mut self) {
        let (sum, now) = (&mut self.figures.before, &self.counts);
        let add = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
        };
        sum.cpu_micros = add(sum.cpu_micros, now.cpu_micros);
        sum.oom_kills = add(sum.oom_kills, now.oom_kills);
        sum.throttled = add(sum.throttled, now.throttled);
        sum.fork_refusals = add(sum.fork_refusals, now.fork_refusals);
        sum.memory_hits = add(sum.memory_hits, now.memory_hits);
        self.counts = Counts::default();
    }

    /// A look at it: what its group has counted, and its processes outside of it.
    pub fn count(&mut self) -> Counts {
        let mut counts = self.group.as_ref().map(Totals::read).unwrap_or_default();
        let outside = self.members.values().filter(|m| m.outside.is_some());
        let (mut resident, mut cpu, mut tasks) = (0_u64, Some(0_u64), Some(0_u64));
        let mut any = false;
        for member in outside {
            any = true;
            resident = resident.saturating_add(member.resident.0);
            cpu = cpu
                .zip(member.used)
                .map(|(sum, (micros, _))| sum.saturating_add(micros));
            tasks = tasks
                .zip(member.used)
                .map(|(sum, (_, threads))| sum.saturating_add(threads));
        }
        if any {
            let inside = self.group.is_some();
            let with = |group: Option<u64>, more: Option<u64>| match inside {
                true => Some(group?.saturating_add(more?)),
                false => more,
            };
            counts.memory = with(counts.memory.map(|b| b.0), Some(resident)).map(Bytes);
            counts.cpu_micros = with(counts.cpu_micros, cpu);
            counts.tasks = with(counts.tasks, tasks);
        }
        self.add_what_was_held_before(&mut counts);
        // Near its limit it matters what of its memory is cache that is given back before anything is refused.
        let limit = self.limits.memory.as_ref().map(|l| l.value.0);
        let near = counts
            .memory
            .zip(limit)
            .is_some_and(|(m, l)| m.0 >= l - l / 4);
        if near && let Some(group) = &self.group {
            group.add_cache(&mut counts);
        }
        // The limit that it was given, not what is left of it for the kernel to hold.
        counts.memory_limit = limit.map(Bytes);
        self.counts = counts;
        counts
    }

    /// Never more than it had then, and never more than its processes have now.
    fn add_what_was_held_before(&mut self, counts: &mut Counts) {
        if self.held_before.0 == 0 {
            return;
        }
        let own = self.members.values().filter(|m| m.outside.is_none());
        let own = own.fold(0_u64, |sum, m| sum.saturating_add(m.own.0));
        if let Some(memory) = &mut counts.memory {
            let still = own.saturating_sub(memory.0).min(self.held_before.0);
            self.held_before = Bytes(still);
            memory.0 = memory.0.saturating_add(still);
        }
    }

    /// Its group was there before this agent: what it counted until now is no news.
    pub fn take_up(&mut self) {
        self.taken_up = true;
        self.count();
        self.climb_quietly(Millis(0));
    }

    /// With those on time, which the kernel is not told.
    fn limits_now(&self) -> Limits {
        let mut limits = self.limits.clone();
        limits.duration = self.workload.limits.duration.clone();
        limits.cpu_time = self.workload.limits.cpu_time.clone();
        Limits::from(&limits)
    }

    fn climb_quietly(&mut self, at: Millis) {
        let sample = Sample {
            at: Duration::from_millis(at.0),
            counts: self.counts,
        };
        let limits = self.limits_now();
        let _no_news = self.before.reading(sample, &limits);
    }

    /// What the ladder orders after this look.
    pub fn climb(&mut self, now: Millis) -> Vec<Order> {
        let Some(began) = self.began else {
            return Vec::new();
        };
        let sample = Sample {
            at: Duration::from_millis(now.0.saturating_sub(began.0)),
            counts: self.counts,
        };
        let limits = self.limits_now();
        let reading = self.before.reading(sample, &limits);
        self.ladder.read(now, &reading)
    }

    /// Whether it thrashed at this look.
    #[must_use]
    pub fn thrashing(&self) -> Option<Thrashing> {
        self.before.thrashing()
    }

    /// What is odd after this look.
    pub fn detect(&mut self, now: Millis, progress: Progress) -> Vec<Change> {
        let reading = Reading {
            at: now,
            memory: self.counts.memory,
            cpu_micros: self.counts.cpu_micros,
            tasks: self.counts.tasks,
            progress,
        };
        let before = self.last.replace((now, self.counts.cpu_micros));
        self.cpu = before.and_then(|(then, micros)| {
            let span = now.0.checked_sub(then.0).filter(|span| *span > 0)?;
            let used = self.counts.cpu_micros?.checked_sub(micros?)?;
            Some(MilliCpu(used / span))
        });
        self.history.push(&reading, self.cpu);
        let limit = self.limits.memory.as_ref().map(|l| l.value);
        self.detector.read(reading, limit)
    }

    /// Whether its CPU is so high that its progress is worth a look.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.cpu.is_some_and(|cpu| cpu >= self.settings.pinned_cpu)
    }

    /// In what state it is.
    #[must_use]
    pub fn state(&self) -> State {
        match () {
            () if self.members.is_empty() => State::Ended,
            () if self.kill_at.is_some() => State::Stopping,
            () if self.pausing.is_some() => State::Paused,
            () if self.ladder.is_over_limit() => State::OverLimit,
            () => State::Up,
        }
    }
}

/// What a look at its processes tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It was started, or started again.
    Started,
    /// It has ended.
    Ended,
    /// Neither.
    Same,
}

/// The steps of the file; and where a limit on time has none that stops it, one that does.
fn steps(workload: &Workload) -> Vec<Step> {
    let mut steps = workload.ladder.clone();
    let limits = &workload.limits;
    for (what, limited) in [
        (Resource::Duration, limits.duration.is_some()),
        (Resource::CpuTime, limits.cpu_time.is_some()),
    ] {
        let stops = |s: &Step| s.when.what == what && matches!(s.action, Action::Stop { .. });
        if limited && !steps.iter().any(stops) {
            steps.push(Step {
                when: Condition {
                    what,
                    reach: Reach::Met,
                },
                after: Millis(0),
                action: Action::Stop { grace: GRACE },
            });
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(workload: &Workload) -> Watch {
        let name = Name::new("chat").expect("a name");
        Watch::new(workload, name, Settings::default(), Usual::default(), 1)
    }

    fn with_memory(mib: u64) -> Workload {
        Workload {
            limits: LimitSet {
                memory: Some(Limit::new(Bytes(mib << 20), "for the test")),
                ..LimitSet::default()
            },
            ..Workload::default()
        }
    }

    fn member(pid: u32, start: u64, mib: u64, outside: bool) -> (u32, Member) {
        let member = Member {
            who: Who { pid, start },
            own: Bytes(mib << 20),
            resident: Bytes(mib << 20),
            used: Some((mib, 1)),
            outside: outside.then(|| "for the test".to_owned()),
        };
        (pid, member)
    }

    #[test]
    fn a_workload_starts_with_its_first_process_and_ends_with_its_last() {
        let mut w = watch(&Workload::default());
        assert_eq!(w.see(Millis(0), [].into()), Seen::Same);
        assert_eq!(
            w.see(Millis(1), [member(7, 1, 1, false)].into()),
            Seen::Started
        );
        assert_eq!(
            w.see(
                Millis(2),
                [member(7, 1, 1, false), member(8, 2, 1, false)].into()
            ),
            Seen::Same
        );
        assert_eq!(
            w.see(Millis(3), [member(8, 2, 1, false)].into()),
            Seen::Same
        );
        // Its number was used again: that is another process, and another start.
        assert_eq!(
            w.see(Millis(4), [member(8, 9, 1, false)].into()),
            Seen::Started
        );
        assert_eq!(w.see(Millis(5), [].into()), Seen::Ended);
        assert_eq!((w.run, w.figures.starts, w.state()), (2, 2, State::Ended));
    }

    #[test]
    fn what_was_held_before_is_counted_and_taken_off_what_the_kernel_is_told() {
        let mut w = watch(&with_memory(100));
        w.held_before = Bytes(60 << 20);
        assert_eq!(
            w.told_to_the_kernel().memory.map(|l| l.value),
            Some(Bytes(40 << 20))
        );
        // It held more than its limit when it was found: something is left, so that its ladder can act.
        w.held_before = Bytes(160 << 20);
        assert_eq!(
            w.told_to_the_kernel().memory.map(|l| l.value),
            Some(Bytes(16 << 20))
        );
        assert_eq!(w.limits.memory.map(|l| l.value), Some(Bytes(100 << 20)));
    }

    #[test]
    fn a_lower_limit_is_refused_if_it_holds_more_and_a_higher_one_or_one_for_the_next_start_is_not()
    {
        let change = |w: &mut Watch, mib: u64| w.change(&with_memory(mib), Usual::default());
        let limit = |w: &Watch| w.limits.memory.as_ref().map(|l| l.value.0 >> 20);
        let mut w = watch(&with_memory(90));
        w.see(Millis(0), [member(7, 1, 35, true)].into());
        let refused = change(&mut w, 16).expect("others").expect_err("refused");
        assert!(
            refused.contains("35 MiB") && refused.contains("90 MiB"),
            "{refused}"
        );
        assert_eq!(limit(&w), Some(90));
        assert_eq!(change(&mut w, 16), None, "the same again is no news");
        assert_eq!(change(&mut w, 40), Some(Ok(())));
        // It has grown beyond: more is always given, also where that is not enough.
        w.see(Millis(1), [member(7, 1, 60, true)].into());
        assert_eq!(change(&mut w, 50), Some(Ok(())));
        assert!(change(&mut w, 45).is_some_and(|done| done.is_err()));
        assert_eq!(limit(&w), Some(50));
        // Without one before there is none after; and who is not there holds nothing.
        w.limits.memory = None;
        assert!(change(&mut w, 44).is_some_and(|done| done.is_err()));
        assert_eq!(limit(&w), None);
        w.see(Millis(2), [member(7, 2, 60, true)].into());
        assert_eq!(limit(&w), Some(44), "it was started again");
        w.see(Millis(3), [].into());
        assert_eq!(change(&mut w, 16), Some(Ok(())));
        assert_eq!(limit(&w), Some(16));
    }

    #[test]
    fn processes_that_are_only_watched_are_summed_and_one_unknown_makes_the_sum_unknown() {
        let mut w = watch(&with_memory(1000));
        w.see(
            Millis(0),
            [member(7, 1, 10, true), member(8, 1, 20, true)].into(),
        );
        let counts = w.count();
        assert_eq!(counts.memory, Some(Bytes(30 << 20)));
        assert_eq!((counts.cpu_micros, counts.tasks), (Some(30), Some(2)));
        w.members.get_mut(&7).expect("there").used = None;
        assert_eq!(w.count().cpu_micros, None);
        assert_eq!(w.count().memory_limit, Some(Bytes(1000 << 20)));
    }

    #[test]
    fn a_limit_on_time_is_answered_by_a_stop_also_without_a_ladder() {
        let mut workload = Workload::default();
        workload.limits.duration = Some(Limit::new(Millis(10_000), "for the test"));
        let mut w = watch(&workload);
        w.see(Millis(1_000), [member(7, 100, 10, true)].into());
        w.count();
        assert_eq!(w.climb(Millis(10_000)), []);
        w.count();
        let orders = w.climb(Millis(11_000));
        assert!(
            matches!(
                orders.last(),
                Some(Order::Act {
                    resource: Resource::Duration,
                    action: Action::Stop { .. },
                    ..
                })
            ),
            "{orders:?}"
        );
    }

    #[test]
    fn what_the_agent_does_not_do_is_told_with_who_does() {
        let mut workload = with_memory(100);
        workload.limits.open_files = Some(Limit::new(64, "for the test"));
        let told = |w: &Workload| watch(w).not_for_the_agent();
        assert_eq!(told(&workload), Vec::<String>::new());
        workload.limits.mlx_cache = Some(Limit::new(Bytes(1 << 20), "for the test"));
        let all = told(&workload);
        assert!(
            all.len() == 1 && all[0].starts_with("mlx_cache: "),
            "{all:?}"
        );
        workload.retry = Some(curb_core::host::limits::Retry {
            times: 3,
            first: Millis(1000),
            most: Millis(60_000),
            memory: Permille(0),
            within: Millis(600_000),
        });
        let all = told(&workload);
        assert!(
            all[1].starts_with("retry: who started it starts it again"),
            "{all:?}"
        );
        workload.matches = Some(curb_core::host::limits::Match {
            unit: Some("chat.service".to_owned()),
            ..Default::default()
        });
        let all = told(&workload);
        assert!(
            all[1].contains("retry: systemd starts chat.service again"),
            "{all:?}"
        );
        let mut watch = watch(&workload);
        watch.not_held = all;
        let names: Vec<&str> = watch.names_not_held().into_iter().collect();
        assert_eq!(names, ["mlx_cache", "retry"]);
    }

    #[test]
    fn counters_of_a_group_that_goes_are_kept() {
        let mut w = watch(&Workload::default());
        for _ in 0..2 {
            w.counts = Counts {
                cpu_micros: Some(5),
                oom_kills: Some(1),
                ..Counts::default()
            };
            w.keep_counts();
        }
        assert_eq!(
            (w.figures.before.cpu_micros, w.figures.before.oom_kills),
            (Some(10), Some(2))
        );
        assert_eq!(w.figures.before.throttled, None, "unknown is not zero");
    }
}
