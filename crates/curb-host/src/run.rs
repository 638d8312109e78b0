//! A command inside limits, from its start to its end.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use curb_core::host::ladder::{State, What};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, set_child_subreaper};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::ending::{Ending, Exit, OurStop, cause};
use crate::group::{Group, Missing};
use crate::layout::Layout;
use crate::limits::{BadLimit, Bytes, Limits};
use crate::spawn::spawn;
use crate::tell::{Observer, Teller};

/// After SIGKILL a process may still be busy in the kernel; that long its end is waited for.
const KILL_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks whether what was asked to end has ended.
const LOOK: Duration = Duration::from_millis(20);

/// What to run, and within what.
pub struct Plan {
    /// The workload's name: part of the group's name and of each event.
    pub workload: String,
    /// The program and its arguments.
    pub command: Vec<std::ffi::OsString>,
    /// Its limits.
    pub limits: Limits,
    /// From being asked to end until it is killed. Frameworks answer late: MLX was seen to take ten seconds.
    pub grace: Duration,
    /// Who is told what happens meanwhile.
    pub observers: Vec<Box<dyn Observer>>,
}

impl Plan {
    /// A command without limits, that nobody is told of.
    #[must_use]
    pub fn new(command: Vec<std::ffi::OsString>) -> Plan {
        Plan {
            workload: "run".to_owned(),
            command,
            limits: Limits::default(),
            grace: Duration::from_secs(30),
            observers: Vec::new(),
        }
    }
}

/// Why a command was not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no such program.
    #[error("{0}: no such program")]
    NotFound(String),
    /// It is there and cannot be run.
    #[error("{program}: cannot be run: {why}")]
    NotRunnable {
        /// Which.
        program: String,
        /// Why.
        why: io::Error,
    },
    /// A limit makes no sense here.
    #[error(transparent)]
    BadLimit(#[from] BadLimit),
    /// The kernel cannot hold it to a limit that was asked for: it was not started.
    #[error("the kernel cannot hold it to these limits here:{}", listed(.0))]
    NoGroup(Vec<Missing>),
    /// A call of the kernel failed.
    #[error("{what}: {why}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        why: io::Error,
    },
}

fn listed(missing: &[Missing]) -> String {
    let lines = missing
        .iter()
        .map(|m| format!("\n  {}: {}", m.controller, m.why));
    lines.collect()
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |why| RunError::System { what, why }
}

/// What this machine has.
#[must_use]
pub fn machine() -> (Option<Bytes>, Option<u64>) {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text
        .lines()
        .find_map(|l| l.strip_prefix("MemTotal:"))
        .and_then(|l| l.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpus = cpus.lines().filter(|l| l.starts_with("processor")).count();
    (
        kib.map(|k| Bytes(k << 10)),
        u64::try_from(cpus).ok().filter(|n| *n > 0),
    )
}

/// Runs a command within its limits until it and all that it started have ended.
///
/// The command has our terminal and our standard streams. SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 are passed on to it; so are
/// SIGINT and SIGQUIT, unless they come from the terminal, which gives them to it by itself.
///
/// # Errors
/// It was not run. What it died of is no error of ours.
pub fn run(plan: Plan) -> Result<Ending, RunError> {
    let (memory, cpus) = machine();
    plan.limits.check(memory, cpus)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(system("cannot watch for signals"))?;
    runtime.block_on(supervise(plan))
}

/// Signals that this process gets.
struct Signals {
    child: Stream,
    end: Stream,
    hang_up: Stream,
    interrupt: Stream,
    quit: Stream,
    user_1: Stream,
    user_2: Stream,
}

impl Signals {
    fn watch() -> io::Result<Signals> {
        Ok(Signals {
            child: signal(SignalKind::child())?,
            end: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            user_1: signal(SignalKind::user_defined1())?,
            user_2: signal(SignalKind::user_defined2())?,
        })
    }
}

async fn supervise(mut plan: Plan) -> Result<Ending, RunError> {
    // What the command leaves behind becomes ours, and is waited for.
    set_child_subreaper(Some(Pid::INIT)).map_err(|e| RunError::System {
        what: "cannot become the parent of what is left behind",
        why: e.into(),
    })?;
    let mut signals = Signals::watch().map_err(system("cannot watch for signals"))?;
    let layout = Layout::read(Path::new("/")).map_err(system("cannot find the control groups"))?;
    let mut teller = Teller::new(plan.workload.clone(), std::mem::take(&mut plan.observers));
    teller.starts();
    let name = name(&plan.workload).map_err(system("cannot name a group"))?;
    let group = Group::create(&layout, &name, &plan.limits)
        .map_err(system("the kernel refused a limit"))?;
    if !group.missing().is_empty() {
        return Err(RunError::NoGroup(group.missing().to_vec()));
    }
    let begun = Instant::now();
    let main = match start(&plan, &group) {
        Ok(main) => main,
        Err(error) => {
            // The child that could not become the program was in it until a moment ago: that takes a moment to be gone.
            let _why_it_was_not_run_is_told = group.remove();
            return Err(error);
        }
    };
    let command = plan
        .command
        .iter()
        .map(|a| a.to_string_lossy().into_owned());
    teller.become_with(
        State::Up,
        What::Started {
            pid: main.as_raw_nonzero().get().unsigned_abs(),
            command: command.collect(),
            group: Some(group.name().to_owned()),
            held_by: group.held_by(),
            memory: plan.limits.memory,
            not_held: Vec::new(),
        },
    );
    let mut watch = Watch {
        main,
        group: &group,
        grace: plan.grace,
        stop: None,
        kill_at: None,
    };
    let over = plan.limits.duration.map(|d| begun + d);
    let exit = loop {
        tokio::select! {
            _ = signals.child.recv() => {
                if let Some(exit) = reap(main) {
                    break exit;
                }
            }
            _ = signals.end.recv() => watch.asked(Signal::TERM),
            _ = signals.hang_up.recv() => watch.asked(Signal::HUP),
            _ = signals.interrupt.recv() => watch.pass_unless_typed(Signal::INT),
            _ = signals.quit.recv() => watch.pass_unless_typed(Signal::QUIT),
            _ = signals.user_1.recv() => watch.pass(Signal::USR1),
            _ = signals.user_2.recv() => watch.pass(Signal::USR2),
            () = until(over.filter(|_| watch.stop.is_none())) => watch.time_is_over(),
            () = until(watch.kill_at) => {
                watch.kill_at = None;
                group.kill(KILL_WITHIN);
            }
        }
    };
    let stop = watch.stop;
    let left_behind = end_the_rest(&group, plan.grace).await;
    let counts = group.counts();
    let ending = Ending {
        exit,
        cause: cause(exit, &counts, stop),
        counts,
        ran: begun.elapsed(),
        left_behind,
    };
    teller.become_state(State::Ended);
    group
        .remove()
        .map_err(system("cannot remove the control group"))?;
    Ok(ending)
}

/// No two of this machine have the same name at a time: a process's number and its start time.
fn name(workload: &str) -> io::Result<String> {
    let pid = std::process::id();
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The 22nd word (proc(5)); the program's own name may have spaces.
    let since = stat.rsplit(')').next().and_then(|s| s.split(' ').nth(20));
    Ok(format!("curb-{workload}-{pid}-{}", since.unwrap_or("0")))
}

fn start(plan: &Plan, group: &Group) -> Result<Pid, RunError> {
    let Some((program, arguments)) = plan.command.split_first() else {
        return Err(RunError::NotFound(String::new()));
    };
    let doors: Vec<PathBuf> = group.doors();
    let mut command = Command::new(program);
    command.args(arguments);
    let child = spawn(command, &doors, plan.limits.open_files).map_err(|why| {
        let program = program.to_string_lossy().into_owned();
        match why.kind() {
            io::ErrorKind::NotFound => RunError::NotFound(program),
            _ => RunError::NotRunnable { program, why },
        }
    })?;
    let raw = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    raw.ok_or_else(|| system("no such process")(io::Error::other("its number is none")))
}

/// Takes in all that has ended; gives the end of the command itself once it is among them.
fn reap(main: Pid) -> Option<Exit> {
    let mut exit = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == main {
            exit = Some(exit_of(status));
        }
    }
    exit
}

fn exit_of(status: WaitStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        // Neither: the kernel gives no third for one that has ended.
        (None, None) => Exit::Code(255),
    }
}

struct Watch<'a> {
    main: Pid,
    group: &'a Group,
    grace: Duration,
    stop: Option<OurStop>,
    kill_at: Option<Instant>,
}

impl Watch<'_> {
    /// Our own child, not yet waited for: its number cannot be another's.
    fn pass(&self, signal: Signal) {
        let _it_may_have_ended = kill_process(self.main, signal);
    }

    fn asked(&mut self, signal: Signal) {
        self.pass(signal);
        self.stop.get_or_insert(OurStop::Asked);
        self.kill_at.get_or_insert(Instant::now() + self.grace);
    }

    fn pass_unless_typed(&self, signal: Signal) {
        let ours = rustix::process::getpgrp();
        let front = rustix::termios::tcgetpgrp(io::stdin()).ok();
        // The terminal has sent it to all in front, the command included.
        if front != Some(ours) {
            self.pass(signal);
        }
    }

    fn time_is_over(&mut self) {
        self.stop = Some(OurStop::Duration);
        self.kill_at = Some(Instant::now() + self.grace);
        self.group.signal(Signal::TERM);
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Ends what the command has left: asked first, then killed. Gives how many there were.
async fn end_the_rest(group: &Group, grace: Duration) -> usize {
    let left = alive(group);
    if left == 0 {
        return 0;
    }
    group.signal(Signal::TERM);
    let until = Instant::now() + grace;
    while alive(group) > 0 && Instant::now() < until {
        tokio::time::sleep(LOOK).await;
    }
    if alive(group) > 0 {
        group.kill(KILL_WITHIN);
        alive(group);
    }
    left
}

/// How many live in the group, those not counted that have ended and were only not yet waited for.
fn alive(group: &Group) -> usize {
    while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
    group.members().len()
}
