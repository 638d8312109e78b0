//! `curb run`: a command inside limits, supervised.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use curb_core::amount::Amount;
use curb_core::host::ladder::Event;
use curb_core::time::Millis;
use curb_front::FrontError;
use curb_host::limits::{Bytes, Limits, MilliCpu};
use curb_host::run::{Plan, RunError, attach, run as run_within};
use curb_host::tell::Lines;

use crate::args::RunArgs;
use crate::cmd::front;
use crate::ctx::Ctx;
use crate::exit::Exit;
use crate::fail::Failure;

/// What wrappers of commands give when they themselves failed (env(1), timeout(1), nohup(1)).
const COULD_NOT: u8 = 125;
const NOT_RUNNABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// `curb run ... -- CMD`: ends as the command ends.
pub fn run(args: RunArgs, ctx: &mut Ctx) -> ExitCode {
    let pid = args.pid;
    let front = match front::start(&args.front, ctx) {
        Ok(front) => front,
        Err(error) => {
            let code = match &error {
                FrontError::Bad(_) => Exit::Usage as u8,
                FrontError::Listen { .. } | FrontError::System(_) => COULD_NOT,
            };
            ctx.complain(&Failure::local(error.to_string()));
            return ExitCode::from(code);
        }
    };
    let mut plan = match plan(args) {
        Ok(plan) => plan,
        Err(failure) => {
            ctx.complain(&failure);
            return ExitCode::from(Exit::Usage as u8);
        }
    };
    plan.observers.push(Box::new(say));
    plan.observers.extend(front.as_ref().map(front::follower));
    let ended = match pid {
        Some(pid) => attach(plan, pid),
        None => run_within(plan),
    };
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

fn plan(args: RunArgs) -> Result<Plan, Failure> {
    let mut plan = Plan {
        limits: limits(&args),
        grace: Duration::from_millis(args.grace.0),
        stop_attached: args.stop,
        watchdog: args.watchdog,
        ..Plan::new(args.command)
    };
    if let Some(file) = &args.events {
        plan.observers.push(Box::new(events(file)?));
    }
    Ok(plan)
}

fn limits(args: &RunArgs) -> Limits {
    let span = |time: Option<Millis>| time.map(|Millis(ms)| Duration::from_millis(ms));
    Limits {
        memory: args.memory.map(|Amount(bytes)| Bytes(bytes)),
        cpu: args.cpu.map(|Amount(milli)| MilliCpu(milli)),
        tasks: args.processes,
        open_files: args.open_files,
        duration: span(args.duration),
        cpu_time: span(args.cpu_time),
        ..Limits::default()
    }
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
