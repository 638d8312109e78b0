//! One run under the watchdog, from its start to its end.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use curb_core::host::ladder::{HeldBy, State, What};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};

use super::{Id, Order, Platform, Sum, Tree, not_held, order, program, wired_beyond};
use crate::counts::Counts;
use crate::ending::{Ending, Exit, OurStop, cause};
use crate::hook::{Hook, MlxLimits};
use crate::limits::{Bytes, Limits};
use crate::pace::next_look;
use crate::plan::{Plan, RunError, system};
use crate::signals::{Got, Signals};
use crate::tell::Teller;

/// Between two looks while the limit is far.
const TICK: Duration = Duration::from_millis(100);
/// Between two looks at what is to end.
const LOOK: Duration = Duration::from_millis(20);
/// After SIGKILL a process may still be busy in the kernel; that long its end is waited for.
const KILL_WITHIN: Duration = Duration::from_secs(30);

/// Runs a command under the watchdog until it and all that was seen of it have ended.
///
/// # Errors
/// It was not run. What it died of is no error of ours.
pub fn run(mut plan: Plan, platform: &impl Platform) -> Result<Ending, RunError> {
    plan.limits.check(None, None)?;
    let mut teller = Teller::new(plan.workload.clone(), std::mem::take(&mut plan.observers));
    teller.starts();
    let hook = hook(&plan.limits, platform, &mut teller);
    let mut child = start(&plan, platform, hook.as_ref())?;
    let (root, ended) = first_look(&mut child, platform)?;
    let started = What::Started {
        pid: child.id(),
        command: plan
            .command
            .iter()
            .map(|w| w.to_string_lossy().into_owned())
            .collect(),
        group: None,
        held_by: HeldBy::Watchdog,
        memory: plan.limits.memory,
        not_held: left_out(&plan),
    };
    teller.become_with(State::Up, started);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build();
    let runtime = runtime.map_err(system("cannot watch for signals"))?;
    let run = Run {
        platform,
        plan: &plan,
        teller,
        child,
        root,
        ended,
        tree: Tree::default(),
        begun: Instant::now(),
        peak: Bytes(0),
        stop: None,
        kill_at: None,
    };
    runtime.block_on(run.until_its_end())
}

/// Who it is; or how it ended, if that was at once. It is our own child and was not waited for: its number is its own.
fn first_look(
    child: &mut Child,
    platform: &impl Platform,
) -> Result<(Id, Option<ExitStatus>), RunError> {
    let pid = child.id();
    if let Some(seen) = platform.look(pid) {
        return Ok((seen.id, None));
    }
    if let Some(status) = child.try_wait().map_err(system("cannot wait for it"))? {
        return Ok((Id { pid, start: 0 }, Some(status)));
    }
    let _it_is_not_left_without_limits = child.kill();
    let _its_end = child.wait();
    let why = io::Error::other("the process that was started may not be looked at");
    Err(system("cannot watch it")(why))
}

fn left_out(plan: &Plan) -> Vec<String> {
    let mut all = not_held(&plan.limits);
    let more = [
        ("the ladder", !plan.ladder.is_empty()),
        ("retry", plan.retry.is_some()),
        ("fallback", plan.fallback.is_some()),
    ];
    let more = more.into_iter().filter(|(_, asked)| *asked);
    all.extend(more.map(|(name, _)| format!("{name}: not on this system yet")));
    all
}

/// What sets MLX's own limits within the program, where any is to be set.
fn hook(
    limits: &Limits,
    platform: &impl Platform,
    teller: &mut Teller,
) -> Option<(Hook, MlxLimits)> {
    let told = &limits.told;
    let beyond = wired_beyond(told.mlx_wired, platform.wired());
    let mlx = MlxLimits {
        cache: told.mlx_cache.map(|b| b.0),
        memory: told.mlx_memory.map(|b| b.0),
        wired: told.mlx_wired.filter(|_| beyond.is_none()).map(|b| b.0),
    };
    if let Some(text) = beyond {
        teller.tell(What::Note {
            text: format!("not held: {text}"),
        });
    }
    if mlx == MlxLimits::default() {
        return None;
    }
    match Hook::install() {
        Ok(hook) => Some((hook, mlx)),
        Err(why) => {
            let text =
                format!("not held: MLX's own limits: what sets them cannot be written: {why}");
            teller.tell(What::Note { text });
            None
        }
    }
}

fn start(
    plan: &Plan,
    platform: &impl Platform,
    hook: Option<&(Hook, MlxLimits)>,
) -> Result<Child, RunError> {
    let name = plan.command.first().cloned().unwrap_or_default();
    let shown = name.to_string_lossy().into_owned();
    let path = std::env::var_os("PATH");
    if program(&name, path.as_deref()).is_none() {
        return Err(RunError::NotFound(shown));
    }
    let launched = plan
        .limits
        .memory
        .and_then(|most| platform.launch(&plan.command, most));
    let words: Vec<OsString> = launched.unwrap_or_else(|| plan.command.clone());
    let Some((first, rest)) = words.split_first() else {
        return Err(RunError::NotFound(shown));
    };
    let mut command = Command::new(first);
    command.args(rest).envs(plan.limits.told.variables());
    command.envs(plan.variables.iter().map(|(k, v)| (k, v)));
    if let Some((hook, mlx)) = hook {
        hook.put_into(&mut command, mlx);
    }
    if let Some(most) = plan.limits.open_files {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        // SAFETY: between fork and exec only what is safe in a signal handler may be done: one call of the kernel on a copy
        // of two numbers.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || Ok(setrlimit(Resource::Nofile, limit)?));
        }
    }
    command.spawn().map_err(|why| match why.kind() {
        io::ErrorKind::NotFound => RunError::NotFound(shown),
        _ => RunError::NotRunnable {
            program: shown,
            why,
        },
    })
}

struct Run<'a, P> {
    platform: &'a P,
    plan: &'a Plan,
    teller: Teller,
    child: Child,
    root: Id,
    /// It had ended before it was looked at.
    ended: Option<ExitStatus>,
    tree: Tree,
    begun: Instant,
    peak: Bytes,
    stop: Option<OurStop>,
    kill_at: Option<Instant>,
}

impl<P: Platform> Run<'_, P> {
    async fn until_its_end(mut self) -> Result<Ending, RunError> {
        let mut signals = Signals::watch().map_err(system("cannot watch for signals"))?;
        let mut wait = LOOK;
        let status = loop {
            if let Some(status) = self.ended {
                break status;
            }
            tokio::select! {
                got = signals.next() => self.got(got),
                () = tokio::time::sleep(wait) => {}
            }
            self.ended = self
                .child
                .try_wait()
                .map_err(system("cannot wait for it"))?;
            if self.ended.is_none() {
                let (_, sum) = self.look();
                self.act(sum);
                wait = self.pause(sum);
            }
        };
        let left = self.end_the_rest().await;
        Ok(self.told_end(status, left))
    }

    fn look(&mut self) -> (Vec<Id>, Sum) {
        let (alive, sum) = self.tree.look(self.platform, self.root);
        self.peak = self.peak.max(sum.memory);
        (alive, sum)
    }

    fn pause(&self, sum: Sum) -> Duration {
        if self.stop.is_some() {
            return LOOK;
        }
        let left = self
            .plan
            .limits
            .memory
            .map(|most| Bytes(most.0.saturating_sub(sum.memory.0)));
        left.map_or(TICK, |left| next_look(left, 0, TICK))
    }

    fn got(&mut self, got: Got) {
        // The terminal has sent it to all in front, the command included.
        let ours = rustix::termios::tcgetpgrp(io::stdin()).ok() == Some(rustix::process::getpgrp());
        match got {
            Got::Child => {}
            Got::End(signal) => self.ask(OurStop::Asked, signal),
            Got::Typed(_) if ours => {}
            Got::Typed(signal) | Got::Pass(signal) => self.tell_root(signal),
        }
    }

    fn tell_root(&self, signal: Signal) {
        let _it_may_have_ended = self.platform.signal(self.root, signal);
    }

    fn act(&mut self, sum: Sum) {
        match order(&self.plan.limits, sum, self.begun.elapsed()) {
            Some(Order::End(why)) => {
                self.stop.get_or_insert(why);
                self.all(Signal::KILL);
            }
            Some(Order::Ask(why)) if self.stop.is_none() => {
                self.ask(why, Signal::TERM);
            }
            _ => {}
        }
        if self.kill_at.is_some_and(|at| Instant::now() >= at) {
            self.all(Signal::KILL);
        }
    }

    /// Asks to end: all of it where we wish so, its first process where we were asked to pass that on.
    fn ask(&mut self, why: OurStop, signal: Signal) {
        self.stop.get_or_insert(why);
        self.teller.become_state(State::Stopping);
        self.kill_at.get_or_insert(Instant::now() + self.plan.grace);
        match why {
            OurStop::Asked | OurStop::LetGo => self.tell_root(signal),
            _ => self.all(signal),
        }
    }

    fn all(&mut self, signal: Signal) {
        for id in self.look().0 {
            let _it_may_have_ended = self.platform.signal(id, signal);
        }
    }

    /// Ends what the command has left: asked first, then killed. Gives how many there were.
    async fn end_the_rest(&mut self) -> usize {
        let left = self.look().0.len();
        if left == 0 {
            return 0;
        }
        self.all(Signal::TERM);
        let ask_until = Instant::now() + self.plan.grace;
        let until = ask_until + KILL_WITHIN;
        while !self.look().0.is_empty() && Instant::now() < until {
            if Instant::now() >= ask_until {
                self.all(Signal::KILL);
            }
            tokio::time::sleep(LOOK).await;
        }
        left
    }

    fn told_end(mut self, status: ExitStatus, left_behind: usize) -> Ending {
        let exit = match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Code(255),
        };
        let counts = Counts {
            memory_peak: Some(self.peak),
            ..Counts::default()
        };
        let ending = Ending {
            exit,
            cause: cause(exit, &counts, self.stop),
            counts,
            ran: self.begun.elapsed(),
            left_behind,
            stop: self.stop,
        };
        let died = What::Died {
            cause: ending.cause.word().to_owned(),
            exit_code: exit.known_code(),
            memory_peak: counts.memory_peak,
            oom_kills: counts.oom_kills,
            ran_ms: u64::try_from(ending.ran.as_millis()).unwrap_or(u64::MAX),
            left_behind,
            text: ending.text(&self.plan.limits),
        };
        self.teller.become_with(State::Ended, died);
        ending
    }
}
