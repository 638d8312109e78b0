//! A command inside limits, from its start to its end, and what comes after a limit ended it.

mod act;
mod body;
mod hooks;
mod kills;
mod leftover;
mod lower;
mod once;
mod ready;
mod times;

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use curb_core::host::Permille;
use curb_core::host::ladder::{Course, Death, Next, State, What};
use curb_core::host::limits::{Action, Step};
use curb_core::time::Millis;
use rustix::process::{Pid, Signal, set_child_subreaper};

use crate::ask::Questions;
use crate::ending::{Cause, Ending, OurStop};
use crate::hook::{Hook, MlxLimits};
use crate::host;
use crate::layout::Layout;
use crate::limits::{Bytes, Limits};
use crate::plan::system;
pub use crate::plan::{Fallback, Plan, RunError};
use crate::scratch::sweep as sweep_files;
use crate::signals::{Got, Signals};
use crate::tell::Teller;

pub(crate) use leftover::{Owner, SUPERVISOR, sweep};
use once::Once;

/// What is run now: the command itself, or its fallback.
#[derive(Clone, Debug)]
struct Part {
    command: Vec<OsString>,
    limits: Limits,
    /// The state while all is well.
    well: State,
    /// What it is given for MLX's own limits.
    for_mlx: Vec<(OsString, OsString)>,
}

impl Part {
    fn new(command: &[OsString], limits: &Limits, well: State, hook: Option<&Hook>) -> Part {
        let path = std::env::var_os("PYTHONPATH");
        let told = mlx(limits);
        let given = hook
            .zip(told)
            .map(|(h, mlx)| h.environment(path.as_deref(), &mlx));
        Part {
            command: command.to_vec(),
            limits: limits.clone(),
            well,
            for_mlx: given.unwrap_or_default(),
        }
    }
}

/// MLX's own limits, if there are any.
fn mlx(limits: &Limits) -> Option<MlxLimits> {
    let (cache, memory) = (limits.told.mlx_cache, limits.told.mlx_memory);
    (cache.is_some() || memory.is_some()).then(|| MlxLimits {
        cache: cache.map(|b| b.0),
        memory: memory.map(|b| b.0),
        wired: None,
    })
}

/// What sets MLX's limits within the program, where any is to be set.
fn hook_of(plan: &Plan, teller: &mut Teller) -> Option<Hook> {
    let fallback = plan.fallback.as_ref().and_then(|f| mlx(&f.limits));
    mlx(&plan.limits).or(fallback)?;
    match Hook::install() {
        Ok(hook) => Some(hook),
        Err(why) => {
            let text =
                format!("not held: MLX's own limits: what sets them cannot be written: {why}");
            teller.tell(What::Note { text });
            None
        }
    }
}

/// How one run ended.
struct RunEnd {
    ending: Ending,
    /// A limit ended it, and starting it again may help.
    by_limit: bool,
}

/// Runs a command within its limits until it and all that it started have ended, and again as its plan says.
///
/// The command has our terminal and our standard streams. SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 are passed on to it; so are
/// SIGINT and SIGQUIT, unless they come from the terminal, which gives them to it by itself. If this thread ends before
/// it, the kernel ends the command.
///
/// # Errors
/// It was not run. What it died of is no error of ours.
pub fn run(plan: Plan) -> Result<Ending, RunError> {
    let (memory, cpus) = host::machine();
    let fallback = plan.fallback.iter().map(|f| &f.limits);
    for limits in std::iter::once(&plan.limits).chain(fallback) {
        limits.check(memory, cpus)?;
        // Who asks for none does not wait for what there could be.
        let files = limits.open_files.and_then(|_| host::most_open_files());
        limits.check_open_files(files)?;
    }
    runtime()?.block_on(supervise(plan))
}

/// Supervises a process that runs already, with all that descends from it, until it has ended or we are asked to end: then
/// it is given back, without our limits and where it was before, unless the plan says that it is ended too.
///
/// It is no child of ours: which code it ends with is not known, and it is not started again.
///
/// # Errors
/// There is no such process, or it may not be moved.
pub fn attach(plan: Plan, pid: u32) -> Result<Ending, RunError> {
    let (memory, cpus) = host::machine();
    plan.limits.check(memory, cpus)?;
    runtime()?.block_on(supervise_other(plan, pid))
}

async fn supervise_other(mut plan: Plan, pid: u32) -> Result<Ending, RunError> {
    let mut signals = Signals::watch().map_err(system("cannot watch for signals"))?;
    let layout = Layout::read(Path::new("/")).map_err(system("cannot find the control groups"))?;
    let mut teller = Teller::new(plan.workload.clone(), std::mem::take(&mut plan.observers));
    let owner = leftover::Owner::this().map_err(system("cannot name a group"))?;
    for text in sweep(&layout) {
        teller.tell(What::Note { text });
    }
    let mut asked = Questions::listen(&owner);
    teller.starts();
    let part = Part::new(&[], &plan.limits, State::Up, None);
    let once = Once::around_other(&plan, &part, &layout, &owner, &mut teller, pid)?;
    sweep_files();
    let end = once.supervise(&mut signals, &mut asked).await?;
    teller.become_state(State::Ended);
    Ok(end.ending)
}

fn runtime() -> Result<tokio::runtime::Runtime, RunError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(system("cannot watch for signals"))
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
    let owner = leftover::Owner::this().map_err(system("cannot name a group"))?;
    for text in sweep(&layout) {
        teller.tell(What::Note { text });
    }
    let mut asked = Questions::listen(&owner);
    let mut course = Course::new(plan.retry, plan.fallback.is_some());
    let hook = hook_of(&plan, &mut teller);
    let mut part = Part::new(&plan.command, &plan.limits, State::Up, hook.as_ref());
    let begun = Instant::now();
    loop {
        teller.starts();
        let once = Once::start(&plan, &part, &layout, &owner, &mut teller)?;
        // No start waits for that.
        sweep_files();
        let end = once.supervise(&mut signals, &mut asked).await?;
        if end.ending.stop == Some(OurStop::Asked) {
            teller.become_state(State::Ended);
            return Ok(end.ending);
        }
        let death = Death {
            by_limit: end.by_limit,
            more_helps: end.ending.cause != Cause::MemoryAbove,
            memory: part.limits.memory,
            most: most_of(&plan.ladder),
            host_left: host::memory_left(&layout, keep_free(&plan)),
        };
        let next = course.after(millis(begun.elapsed()), death, jitter());
        if !tell_next(&next, &plan, hook.as_ref(), &mut part, &mut teller) {
            return Ok(end.ending);
        }
        if let Next::Again { after, .. } = next
            && asked_while_waiting(&mut signals, Duration::from_millis(after.0)).await
        {
            teller.become_state(State::Ended);
            return Ok(end.ending);
        }
    }
}

/// Tells what is next, and makes it the part that is run; whether anything is.
fn tell_next(
    next: &Next,
    plan: &Plan,
    hook: Option<&Hook>,
    part: &mut Part,
    teller: &mut Teller,
) -> bool {
    match *next {
        Next::Over => {
            teller.become_state(State::Ended);
            false
        }
        Next::GiveUp { failures } => {
            // Without a word on retries there is nothing that was given up.
            match plan.retry.is_some() || plan.fallback.is_some() {
                true => teller.become_with(State::GivenUp, What::GaveUp { failures }),
                false => teller.become_state(State::Ended),
            }
            false
        }
        Next::Again {
            attempt,
            of,
            after,
            memory,
            less_than_wanted,
        } => {
            part.limits.memory = memory.or(part.limits.memory);
            let what = What::Retrying {
                attempt,
                of,
                after_ms: after.0,
                memory,
                less_than_wanted,
            };
            teller.become_with(State::Restarting, what);
            true
        }
        Next::Fallback { failures } => {
            let Some(fallback) = &plan.fallback else {
                return false;
            };
            *part = Part::new(&fallback.command, &fallback.limits, State::Fallback, hook);
            let command = words(&part.command);
            teller.become_with(State::Restarting, What::FellBack { failures, command });
            true
        }
    }
}

/// Waits; whether we were asked to end meanwhile.
async fn asked_while_waiting(signals: &mut Signals, wait: Duration) -> bool {
    let until = tokio::time::Instant::now() + wait;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(until) => return false,
            got = signals.next() => match got {
                Got::End(_) | Got::Typed(Signal::INT) => return true,
                // A helper of ours has ended, or there is nobody to pass it on to.
                _ => { once::reap_all(); }
            },
        }
    }
}

/// The most memory that a ladder's pauses give.
fn most_of(ladder: &[Step]) -> Option<Bytes> {
    let most = ladder.iter().filter_map(|s| match s.action {
        Action::Pause { most, .. } => Some(most),
        _ => None,
    });
    most.max()
}

fn keep_free(plan: &Plan) -> Bytes {
    host::keep_free(plan.keep_free)
}

fn words(command: &[OsString]) -> Vec<String> {
    let word = |a: &OsString| a.to_string_lossy().into_owned();
    command.iter().map(word).collect()
}

fn millis(time: Duration) -> Millis {
    Millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// A random number of thousandths, so that many that failed together do not start again together.
fn jitter() -> Permille {
    use std::hash::{BuildHasher, Hasher};
    let random = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    Permille(u32::try_from(random % 1001).unwrap_or(0))
}
