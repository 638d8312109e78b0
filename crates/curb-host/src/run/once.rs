//! One run of the command: from its start until it and all that it started have ended.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use curb_core::host::ladder::{GoesBack, Ladder, Outcome, State, What};
use curb_core::host::limits::{Action, Condition, EndThrashing, Reach, Resource, Step};
use curb_core::time::Millis;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process};

use super::act::{Pausing, pausing_step};
use super::body::Body;
use super::hooks::{Hooks, Purpose};
use super::kills::Kills;
use super::leftover::Owner;
use super::ready::Watched;
use super::{Part, Plan, RunEnd, RunError, millis, system, words};
use crate::ask::Questions;
use crate::attach::Origins;
use crate::ending::{Ending, Exit, OurStop, cause};
use crate::layout::{Controller, Layout};
use crate::limits::{Bytes, Limits};
use crate::pace::next_look;
use crate::proc::{Handle, Procfs};
use crate::readings::Before;
use crate::signals::{Got, Signals};
use crate::spawn::{Entry, spawn};
use crate::tell::Teller;
use crate::tree::Root;

/// After SIGKILL a process may still be busy in the kernel; that long its end is waited for.
const KILL_WITHIN: Duration = Duration::from_secs(30);
/// Limits that differ by less are the same: the kernel takes whole pages, of 64 KiB at most.
const LARGEST_PAGE: u64 = 64 << 10;
/// Between two looks whether what was asked to end has ended.
const LOOK: Duration = Duration::from_millis(20);
/// A parent's parent, and so on, is looked for so far.
const GENERATIONS: usize = 64;
/// Between two readings.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// The process that the run is about.
pub(super) enum Main {
    /// Our own child.
    Child(Pid),
    /// One that was there before: it may become anything but our child.
    Other(Handle),
}

/// One run while it lasts.
pub(super) struct Once<'a> {
    pub plan: &'a Plan,
    pub layout: &'a Layout,
    pub well: State,
    pub teller: &'a mut Teller,
    pub main: Main,
    pub body: Body,
    pub limits: Limits,
    pub ladder: Ladder,
    pub before: Before,
    pub hooks: Hooks,
    pub begun: Instant,
    pub stop: Option<OurStop>,
    pub kill_at: Option<Instant>,
    /// Until then the kernel is given time to end what was killed.
    pub gone_by: Option<Instant>,
    pub pausing: Option<Pausing>,
    /// A pause raised its limit on memory, and when that is undone.
    pub goes_back: Option<GoesBack>,
    pub next_look: Instant,
    pub grew_from: (Duration, Bytes),
    pub vanished: bool,
    /// It was told that it thrashes, for how long at the last look.
    pub thrashes: Option<Millis>,
    pub kills: Kills,
    /// Where attached processes were before.
    pub origins: Option<Origins>,
}

impl<'a> Once<'a> {
    /// Starts the command.
    pub(super) fn start(
        plan: &'a Plan,
        part: &Part,
        layout: &'a Layout,
        owner: &Owner,
        teller: &'a mut Teller,
    ) -> Result<Once<'a>, RunError> {
        let name = owner.started(&plan.workload, teller.run(), part.well == State::Fallback);
        let root = Root::Own(Default::default());
        let mut body = Body::make(
            layout,
            &name,
            &part.limits,
            &throttled(&plan.ladder),
            root,
            plan.watchdog,
        )
        .map_err(system("the kernel refused a limit"))?;
        body.limit_io(&part.limits, &part.command);
        let begun = Instant::now();
        let main = match launch(plan, part, &body) {
            Ok(main) => main,
            Err(error) => {
                // The child that could not become the program was in it until a moment ago: that takes a moment to be gone.
                let _why_it_was_not_run_is_told = body.remove();
                return Err(error);
            }
        };
        let mut once = Once::around(plan, part, layout, teller, Main::Child(main), body, begun);
        once.begin(words(&part.command));
        Ok(once)
    }

    /// Takes in a process that runs already.
    pub(super) fn around_other(
        plan: &'a Plan,
        part: &Part,
        layout: &'a Layout,
        owner: &Owner,
        teller: &'a mut Teller,
        pid: u32,
    ) -> Result<Once<'a>, RunError> {
        let no_process = |why| RunError::NoProcess { pid, why };
        let process = Procfs::open()
            .and_then(|p| p.process(pid))
            .map_err(no_process)?;
        let handle = process.handle().map_err(no_process)?;
        if process.is_of_the_kernel() {
            let why =
                io::Error::other("it is a thread of the kernel, and in no group but the first");
            return Err(no_process(why));
        }
        if pid == std::process::id() || pid == 1 {
            let why = io::Error::other("it is not for curb to hold");
            return Err(no_process(why));
        }
        let command = process.arguments().unwrap_or_default();
        let name = owner.attached(&plan.workload);
        let root = Root::Of(process.id());
        let mut body = Body::make(
            layout,
            &name,
            &part.limits,
            &throttled(&plan.ladder),
            root,
            plan.watchdog,
        )
        .map_err(system("the kernel refused a limit"))?;
        body.is_of_others(&part.limits);
        let mut origins = Origins::new(process.id()).map_err(no_process)?;
        if let Some(group) = body.group()
            && let Err(why) = origins.take_in(group)
        {
            origins.give_back(group);
            return Err(no_process(why));
        }
        let main = Main::Other(handle);
        let below = process.id().pid;
        let mut once = Once::around(plan, part, layout, teller, main, body, Instant::now());
        once.origins = Some(origins);
        once.begin(words(&command));
        if descends_from(below) {
            let own = std::process::id();
            let text = format!(
                "curb itself, process {own}, descends from process {below}: it is left out, and stays where it is"
            );
            once.teller.tell(What::Note { text });
        }
        Ok(once)
    }

    pub(super) fn around(
        plan: &'a Plan,
        part: &Part,
        layout: &'a Layout,
        teller: &'a mut Teller,
        main: Main,
        body: Body,
        begun: Instant,
    ) -> Once<'a> {
        Once {
            plan,
            layout,
            well: part.well,
            teller,
            main,
            body,
            limits: part.limits.clone(),
            ladder: Ladder::new(with_ends(&plan.ladder, plan.grace)),
            before: Before::default(),
            hooks: Hooks::default(),
            begun,
            stop: None,
            kill_at: None,
            gone_by: None,
            pausing: None,
            goes_back: None,
            next_look: begun + LOOK,
            grew_from: (Duration::ZERO, Bytes(0)),
            vanished: false,
            thrashes: None,
            kills: Kills::default(),
            origins: None,
        }
    }

    /// Tells that it runs, and readies what its ladder needs.
    pub(super) fn begin(&mut self, command: Vec<String>) {
        let what = What::Started {
            pid: self.main_pid(),
            command,
            group: self.body.group().map(|g| g.name().to_owned()),
            held_by: self.body.held_by(),
            memory: self.limits.memory,
            not_held: self.body.not_held().to_vec(),
        };
        self.teller.become_with(self.well, what);
        if pausing_step(&self.plan.ladder) {
            self.ready_to_pause();
        }
    }

    /// Supervises it to its end.
    pub(super) async fn supervise(
        mut self,
        signals: &mut Signals,
        asked: &mut Questions,
    ) -> Result<RunEnd, RunError> {
        // Where the kernel does not tell, we look.
        let notice = self.body.notice().and_then(|n| Watched::notice(n).ok());
        let other = match &self.main {
            Main::Child(_) => None,
            Main::Other(handle) => {
                let fd = handle.as_fd().try_clone_to_owned();
                let watched = fd.and_then(Watched::process);
                Some(watched.map_err(system("cannot watch the process"))?)
            }
        };
        let exit = loop {
            tokio::select! {
                got = signals.next() => {
                    if let Some(exit) = self.got(got) {
                        break exit;
                    }
                }
                () = ready(other.as_ref()) => break Exit::Unknown,
                () = ready(notice.as_ref()) => self.look(),
                () = until(Some(self.next_look)) => self.look(),
                () = until(self.kill_at) => self.kill(),
                question = asked.next() => self.answer(question),
                () = until(self.hooks.deadline()) => self.hooks.end_overdue(Instant::now()),
            }
            if self.given_back() {
                break Exit::Unknown;
            }
        };
        self.ended(exit).await
    }

    /// A signal; the exit of the command itself once it has ended.
    fn got(&mut self, got: Got) -> Option<Exit> {
        match got {
            Got::Child => return self.reap(),
            Got::End(signal) => self.asked(signal),
            Got::Typed(signal) => {
                // The terminal has sent it to all in front, the command included.
                let front = rustix::termios::tcgetpgrp(io::stdin()).ok();
                let ours = front == Some(rustix::process::getpgrp());
                match &self.main {
                    Main::Child(_) if ours => {}
                    Main::Child(_) => self.pass(signal),
                    // It is not of our terminal: who types means us.
                    Main::Other(_) => self.asked(signal),
                }
            }
            Got::Pass(signal) => self.pass(signal),
        }
        None
    }

    /// Our own child, not yet waited for: its number cannot be another's.
    pub(super) fn pass(&self, signal: Signal) {
        let _it_may_have_ended = match &self.main {
            Main::Child(pid) => kill_process(*pid, signal).map_err(io::Error::from),
            Main::Other(handle) => handle.signal(signal),
        };
    }

    /// It was there before us, and we did not end it: it goes on without us.
    fn is_to_be_given_back(&self) -> bool {
        let stopped = match self.stop {
            None | Some(OurStop::LetGo) => false,
            Some(_) => true,
        };
        matches!(self.main, Main::Other(_)) && !stopped
    }

    fn given_back(&self) -> bool {
        self.stop.is_some() && self.is_to_be_given_back()
    }

    fn asked(&mut self, signal: Signal) {
        let lets_go = matches!(self.main, Main::Other(_)) && !self.plan.stop_attached;
        self.stop.get_or_insert(match lets_go {
            true => OurStop::LetGo,
            false => OurStop::Asked,
        });
        if self.is_to_be_given_back() {
            return;
        }
        self.pass(signal);
        self.kill_at.get_or_insert(Instant::now() + self.plan.grace);
        self.teller.become_state(State::Stopping);
    }

    pub(super) fn main_pid(&self) -> u32 {
        match &self.main {
            Main::Child(pid) => pid.as_raw_nonzero().get().unsigned_abs(),
            Main::Other(handle) => handle.id().pid,
        }
    }

    /// Takes in all that has ended; gives the exit of the command itself once it is among them.
    fn reap(&mut self) -> Option<Exit> {
        let mut exit = None;
        for (pid, status) in reap_all() {
            if matches!(self.main, Main::Child(main) if main == pid) {
                exit = Some(exit_of(status));
            } else if let Some(ended) = self.hooks.ended(pid, status) {
                self.hook_ended(ended.purpose, ended.wrong);
            }
        }
        self.body.leave_out(self.hooks.pids());
        exit
    }

    fn hook_ended(&mut self, purpose: Purpose, wrong: Option<String>) {
        if let Purpose::Checkpoint(resource) = purpose {
            self.ladder.finished(resource);
        }
        if let Some(text) = wrong {
            self.teller.tell(What::Note { text });
        }
    }

    /// Reads what there is, and does what is due.
    fn look(&mut self) {
        let ran = self.begun.elapsed();
        let sample = self.body.sample(ran, &self.limits);
        self.adopt(sample.counts.memory_limit);
        if self.stop.is_none() && self.body.lost_its_group(&self.limits) {
            self.tell_of_the_lost_group();
        }
        let reading = self.before.reading(sample, &self.limits);
        let orders = self.ladder.read(millis(ran), &reading);
        for order in orders {
            self.carry_out(order);
        }
        self.try_to_raise();
        self.lower_again(millis(ran), &reading);
        self.watch(&reading);
        self.mind_thrashing();
        self.mind_kills(&sample.counts);
        self.next_look = Instant::now() + self.pause_before_next(ran, sample.counts.memory);
    }

    /// Somebody else may have changed the limit (`curb limits apply`): what the kernel holds it to is what counts.
    fn adopt(&mut self, held_to: Option<Bytes>) {
        let (Some(now), Some(ours)) = (held_to, self.limits.memory) else {
            return;
        };
        // The kernel takes whole pages.
        if self.body.watched().memory || now.0.abs_diff(ours.0) < LARGEST_PAGE {
            return;
        }
        self.limits.memory = Some(now);
        // Who changed it knows better than what it was before.
        self.goes_back = None;
        let text = format!("its limit on memory was changed from {ours} to {now} while it ran");
        self.teller.tell(What::Note { text });
    }

    fn tell_of_the_lost_group(&mut self) {
        self.vanished = true;
        let text = "its control group was removed by somebody else: the kernel holds it to nothing any more; \
                    a watchdog looks at its processes"
            .to_owned();
        self.teller.tell(What::Note { text });
    }

    /// The watchdog acts where the kernel would have.
    fn watch(&mut self, reading: &curb_core::host::ladder::Reading) {
        let watched = self.body.watched();
        if self.pausing.is_some() || self.gone_by.is_some() {
            return;
        }
        let used = |resource| reading.get(&resource).map_or(0, |u| u.used);
        let most = self.limits.memory.filter(|_| watched.memory);
        let over = if most.is_some_and(|most| used(Resource::Memory) >= most.0) {
            Resource::Memory
        } else if self
            .limits
            .tasks
            .is_some_and(|most| watched.tasks && used(Resource::Processes) > most)
        {
            Resource::Processes
        } else {
            return;
        };
        self.stop = Some(OurStop::Watchdog(over));
        self.kill();
    }

    /// Ends all of it now, and again until it has ended.
    pub(super) fn kill(&mut self) {
        let now = Instant::now();
        let first = self.gone_by.is_none();
        let until = *self.gone_by.get_or_insert(now + KILL_WITHIN);
        self.body.kill();
        let again = match first {
            true => now + LOOK,
            false => now + 5 * LOOK,
        };
        self.kill_at = (now < until).then_some(again);
    }

    /// At its limit the kernel may go on for ever taking back what is wanted at once, and kill nobody.
    fn mind_thrashing(&mut self) {
        let ended_after = EndThrashing::after(self.plan.end_thrashing, &self.plan.ladder);
        let Some(how) = self.before.thrashing() else {
            if let Some(Millis(lasted_ms)) = self.thrashes.take() {
                let outcome = Outcome::Done;
                self.teller.tell(What::ThrashingOver { lasted_ms, outcome });
            }
            return;
        };
        if self.thrashes.replace(how.lasted).is_none() {
            self.teller.tell(What::thrashing(&how, ended_after));
        }
        let stopped = self.stop.is_some() || self.gone_by.is_some();
        if !stopped && ended_after.is_some_and(|after| how.lasted >= after) {
            self.stop = Some(OurStop::Thrashing(how));
            self.kill();
        }
    }

    fn pause_before_next(&mut self, ran: Duration, memory: Option<Bytes>) -> Duration {
        let (Some(memory), Some(limit), true) =
            (memory, self.limits.memory, self.body.watched().memory)
        else {
            return TICK;
        };
        let (at, was) = std::mem::replace(&mut self.grew_from, (ran, memory));
        let span = u64::try_from(ran.saturating_sub(at).as_millis())
            .unwrap_or(1)
            .max(1);
        let growth = memory.0.saturating_sub(was.0) / span;
        let left = Bytes(limit.0.saturating_sub(memory.0));
        next_look(left, growth, TICK)
    }

    /// The command has ended: so do all that it left, and the run.
    async fn ended(mut self, exit: Exit) -> Result<RunEnd, RunError> {
        let gives_back = self.is_to_be_given_back();
        // Nobody is to be sent to it any more.
        self.teller.set_state(State::Stopping);
        if self.pausing.take().is_some() {
            let _it_has_ended = self.body.freeze(false);
        }
        self.hooks.end_all();
        let counted = self.body.sample(self.begun.elapsed(), &self.limits);
        let left_behind = match gives_back {
            true => 0,
            false => self.end_the_rest().await,
        };
        self.reap();
        let counts = match gives_back {
            true => counted.counts,
            // What the rest of it did belongs to it.
            false => self.body.sample(self.begun.elapsed(), &self.limits).counts,
        };
        let ran = self.begun.elapsed();
        let ending = Ending {
            exit,
            cause: cause(exit, &counts, self.stop),
            counts,
            ran,
            left_behind,
            stop: self.stop,
        };
        self.tell_the_end(&ending);
        if gives_back && let (Some(origins), Some(group)) = (&self.origins, self.body.group()) {
            origins.give_back(group);
        }
        self.take_down()?;
        Ok(RunEnd {
            by_limit: ending.cause.is_a_limit(),
            ending,
        })
    }

    fn tell_the_end(&mut self, ending: &Ending) {
        let mut counts = ending.counts;
        // What it holds when it has ended says nothing of the limit: what was counted does.
        counts.waits_for_memory = None;
        let sample = crate::readings::Sample {
            at: ending.ran,
            counts,
        };
        let reading = self.before.reading(sample, &self.limits);
        let now = millis(ending.ran);
        let peak = counts.memory_peak;
        let mut orders = self.ladder.note(now, &reading);
        orders.extend(self.ladder.close(now));
        for order in orders {
            self.tell_order(order, Outcome::Ended(ending.cause.word().to_owned()), peak);
        }
        let died = What::Died {
            cause: ending.cause.word().to_owned(),
            exit_code: ending.exit.known_code(),
            memory_peak: peak,
            oom_kills: counts.oom_kills,
            ran_ms: now.0,
            left_behind: ending.left_behind,
            text: ending.text(&self.limits),
        };
        self.teller.tell(died);
    }

    fn take_down(self) -> Result<(), RunError> {
        let vanished = self.vanished;
        match self.body.remove() {
            Err(why) if !vanished => Err(system("cannot remove the control group")(why)),
            _ => Ok(()),
        }
    }

    /// Ends what the command has left: asked first, then killed. Gives how many there were.
    async fn end_the_rest(&mut self) -> usize {
        let left = self.alive();
        if left == 0 {
            return 0;
        }
        // Who was killed with it is only not gone yet.
        let killed = self.gone_by.is_some();
        if !killed {
            self.body.signal(Signal::TERM);
        }
        let until = Instant::now() + self.plan.grace;
        while !killed && self.alive() > 0 && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
        let until = Instant::now() + KILL_WITHIN;
        while self.alive() > 0 && Instant::now() < until {
            self.body.kill();
            tokio::time::sleep(LOOK / 10).await;
        }
        if killed { 0 } else { left }
    }

    /// How many live, those not counted that have ended and were only not yet waited for.
    fn alive(&mut self) -> usize {
        self.reap();
        self.body.alive()
    }
}

fn launch(plan: &Plan, part: &Part, body: &Body) -> Result<Pid, RunError> {
    let Some(program) = part.command.first() else {
        return Err(RunError::NotFound(String::new()));
    };
    let told = part.limits.told.variables().into_iter();
    let mut variables: Vec<(OsString, OsString)> = told
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    variables.extend(part.for_mlx.iter().cloned());
    variables.extend(plan.variables.iter().map(|(k, v)| (k.into(), v.clone())));
    let free = !body.holds(Controller::Cpuset);
    let entry = Entry {
        doors: body.entry(),
        open_files: part.limits.open_files,
        cpus: part.limits.cpu_set.clone().filter(|_| free),
        ..Entry::default()
    };
    spawn(&part.command, &variables, &entry).map_err(|why| {
        let program = program.to_string_lossy().into_owned();
        match why.kind() {
            io::ErrorKind::NotFound => RunError::NotFound(program),
            _ => RunError::NotRunnable { program, why },
        }
    })
}

/// Whether this process descends from that one.
fn descends_from(above: u32) -> bool {
    let Ok(procfs) = Procfs::open() else {
        return false;
    };
    let mut pid = std::process::id();
    for _ in 0..GENERATIONS {
        match procfs.process(pid).and_then(|p| p.stat()) {
            Ok(stat) if stat.parent == above => return true,
            Ok(stat) if stat.parent > 1 => pid = stat.parent,
            _ => return false,
        }
    }
    false
}

/// The ladder with what always holds: whose time is over is stopped, if no step says when.
/// Also where there is no such limit: it may get one while it runs.
fn with_ends(ladder: &[Step], grace: Duration) -> Vec<Step> {
    let mut steps = ladder.to_vec();
    for resource in [Resource::Duration, Resource::CpuTime] {
        let action = Action::Stop {
            grace: millis(grace),
        };
        let when = Condition {
            what: resource,
            reach: Reach::Met,
        };
        let after = millis(Duration::ZERO);
        steps.push(Step {
            when,
            after,
            action,
        });
    }
    steps
}

/// What a step of the ladder may limit later.
pub(super) fn throttled(ladder: &[Step]) -> Vec<Controller> {
    let cpu = |s: &Step| matches!(s.action, Action::Throttle { cpu: Some(_), .. });
    let cpu = ladder.iter().any(cpu);
    cpu.then_some(Controller::Cpu).into_iter().collect()
}

/// Takes in all children that have ended.
pub(super) fn reap_all() -> Vec<(Pid, WaitStatus)> {
    let mut all = Vec::new();
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        all.push((pid, status));
    }
    all
}

fn exit_of(status: WaitStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        // Neither: the kernel gives no third for one that has ended.
        (None, None) => Exit::Code(255),
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

async fn ready(watched: Option<&Watched>) {
    match watched {
        Some(watched) => watched.ready().await,
        None => std::future::pending().await,
    }
}
