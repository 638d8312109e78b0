//! `curb run`: a command inside limits, supervised.

#[cfg_attr(not(target_os = "linux"), path = "run/no_baseline.rs")]
mod baseline;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use curb_core::amount::Amount;
use curb_core::host::ladder::Event;
use curb_core::host::limits::{Diagnostic, File, Front as Model};
use curb_core::time::Millis;
use curb_front::Front;
use curb_host::limits::{Bytes, Limits, MilliCpu};
use curb_host::machine::machine;
#[cfg(target_os = "linux")]
use curb_host::run::{attach, run as run_within};
use curb_host::tell::Lines;
use curb_host::{Fallback, Plan, RunError};

use crate::args::RunArgs;
use crate::cmd::front;
use crate::cmd::host::limits::named;
use crate::ctx::{Ctx, read_file};
use crate::exit::Exit;
use crate::fail::Failure;

/// What wrappers of commands give when they themselves failed (env(1), timeout(1), nohup(1)).
pub const COULD_NOT: u8 = 125;
const NOT_RUNNABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// `curb run ... -- CMD`: ends as the command ends.
pub fn run(args: RunArgs, ctx: &mut Ctx) -> ExitCode {
    let pid = args.pid;
    let looked = args
        .workload
        .clone()
        .map(|name| (args.limits.clone(), name));
    let (mut plan, front) = match prepare(args, ctx) {
        Ok(prepared) => prepared,
        Err((failure, code)) => {
            ctx.complain(&failure);
            return ExitCode::from(code);
        }
    };
    plan.observers.push(Box::new(say));
    plan.observers.extend(front.as_ref().map(front::follower));
    let looking = looked.and_then(|(limits, name)| baseline::look(limits, name));
    let ended = match pid {
        Some(pid) => attach(plan, pid),
        None => run_within(plan),
    };
    baseline::wait_for(looking);
    front::stop(front);
    match ended {
        Ok(ending) => ExitCode::from(ending.exit.shell_code()),
        Err(error) => {
            let code = code_of(&error);
            ctx.complain(&Failure::local(error.to_string()));
            ExitCode::from(code)
        }
    }
}

#[cfg(target_os = "macos")]
fn run_within(plan: Plan) -> Result<curb_host::ending::Ending, RunError> {
    curb_host::portable::run(plan, &curb_host::portable::Mac::new())
}

#[cfg(not(target_os = "linux"))]
fn attach(_: Plan, pid: u32) -> Result<curb_host::ending::Ending, RunError> {
    let why = std::io::Error::other("one that runs already can be taken in on Linux only");
    Err(RunError::NoProcess { pid, why })
}

/// What to run, and the front before it, which listens from here on; or why not, and the exit code for that.
fn prepare(args: RunArgs, ctx: &mut Ctx) -> Result<(Plan, Option<Front>), (Failure, u8)> {
    let usage = |failure| (failure, Exit::Usage as u8);
    let (from_file, front) = match &args.workload {
        Some(name) => of_workload(&args.limits, name).map_err(usage)?,
        None => (Plan::new(Vec::new()), None),
    };
    let listens_as = args.front.clone();
    let plan = plan(args, from_file).map_err(usage)?;
    let front = front::start(&listens_as, front.as_ref(), ctx)?;
    Ok((plan, front))
}

/// What the command line says, on top of what the file does.
fn plan(args: RunArgs, mut plan: Plan) -> Result<Plan, Failure> {
    override_limits(&mut plan.limits, &args);
    plan.end_thrashing = args.end_thrashing.or(plan.end_thrashing);
    plan.grace = Duration::from_millis(args.grace.0);
    if args.stop && args.pid.is_none() {
        return Err(Failure::usage(
            "--stop says what becomes of a process of --pid, and there is none",
        )
        .help("leave it out: what curb started is always ended with it"));
    }
    plan.stop_attached = args.stop;
    plan.watchdog = args.watchdog;
    if !args.command.is_empty() {
        plan.command = args.command;
    }
    if plan.command.is_empty() && args.pid.is_none() {
        let name = plan.workload;
        return Err(
            Failure::usage(format!("the workload {name} has no command"))
                .help(format!("give one: curb run --workload {name} -- CMD")),
        );
    }
    if let Some(file) = &args.events {
        plan.observers.push(Box::new(events(file)?));
    }
    Ok(plan)
}

/// The plan of a workload of a file of limits, which has to be right for this host; and its front.
fn of_workload(path: &Path, name: &str) -> Result<(Plan, Option<Model>), Failure> {
    let text = read_file(path, "the file of limits")?;
    let here = machine(Path::new("/"));
    let parsed = File::parse(&path.display().to_string(), &text, &here);
    let parsed = parsed.map_err(|errors| {
        let all: Vec<String> = errors.iter().map(Diagnostic::render).collect();
        let all = all.join("\n\n");
        Failure::local(format!("the file of limits cannot be used\n{all}"))
    })?;
    let workload = named(&parsed.file, path, name)?;
    let fallback = workload.fallback.as_ref().map(|f| Fallback {
        command: f.command.iter().map(OsString::from).collect(),
        limits: Limits::from(&workload.limits.with(&f.limits)),
    });
    let command = workload.command.iter().flatten().map(OsString::from);
    let plan = Plan {
        workload: workload.name.clone(),
        limits: Limits::from(&workload.limits),
        ladder: workload.ladder.clone(),
        end_thrashing: workload.end_thrashing,
        on_warn: workload.on_warn.clone(),
        retry: workload.retry,
        fallback,
        keep_free: parsed.file.host.keep_free,
        ..Plan::new(command.collect())
    };
    Ok((plan, workload.front.clone()))
}

/// What the command line says counts more than the file.
fn override_limits(limits: &mut Limits, args: &RunArgs) {
    let span = |time: Option<Millis>| time.map(|Millis(ms)| Duration::from_millis(ms));
    let memory = args.memory.map(|Amount(bytes)| Bytes(bytes));
    let cpu = args.cpu.map(|Amount(milli)| MilliCpu(milli));
    limits.memory = memory.or(limits.memory);
    limits.cpu = cpu.or(limits.cpu);
    limits.tasks = args.processes.or(limits.tasks);
    limits.open_files = args.open_files.or(limits.open_files);
    limits.duration = span(args.duration).or(limits.duration);
    limits.cpu_time = span(args.cpu_time).or(limits.cpu_time);
}

/// Events as lines of JSON: appended to a file, or on stdout.
fn events(file: &Path) -> Result<Lines, Failure> {
    let complain = |text: String| Ctx::new().say(&format!("curb: {text}"));
    let lines = match file.to_str() {
        Some("-") => Lines::new(Box::new(std::io::stdout()), "stdout".to_owned(), complain),
        _ => Lines::append(file, complain).map_err(|error| {
            Failure::local(format!(
                "cannot write events to {}: {error}",
                file.display()
            ))
        })?,
    };
    Ok(lines)
}

/// What people are told, on stderr.
fn say(event: &Event) {
    if let Some(text) = event.words() {
        let who = match event.workload.as_str() {
            "run" => String::new(),
            name => format!(" {name}"),
        };
        Ctx::new().say(&format!("curb{who}: {text}"));
    }
}

fn code_of(error: &RunError) -> u8 {
    match error {
        RunError::NotFound(_) => NOT_FOUND,
        RunError::NotRunnable { .. } => NOT_RUNNABLE,
        RunError::BadLimit(_) => Exit::Usage as u8,
        RunError::NoProcess { .. } | RunError::System { .. } => COULD_NOT,
    }
}
