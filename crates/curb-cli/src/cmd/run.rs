//! `curb run`: a command inside limits that the kernel holds.

use std::process::ExitCode;
use std::time::Duration;

use curb_core::amount::Amount;
use curb_core::time::Millis;
use curb_host::limits::{Bytes, Limits, MilliCpu};
use curb_host::run::{Plan, RunError, run as run_within};

use crate::args::RunArgs;
use crate::ctx::Ctx;
use crate::exit::Exit;
use crate::fail::Failure;

/// What wrappers of commands give when they themselves failed (env(1), timeout(1), nohup(1)).
const COULD_NOT: u8 = 125;
const NOT_RUNNABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// `curb run ... -- CMD`: ends as the command ends.
pub fn run(args: RunArgs, ctx: &mut Ctx) -> ExitCode {
    let limits = Limits {
        memory: args.memory.map(|Amount(bytes)| Bytes(bytes)),
        cpu: args.cpu.map(|Amount(milli)| MilliCpu(milli)),
        tasks: args.processes,
        open_files: args.open_files,
        duration: args.duration.map(|Millis(ms)| Duration::from_millis(ms)),
    };
    let plan = Plan {
        limits: limits.clone(),
        grace: Duration::from_millis(args.grace.0),
        ..Plan::new(args.command)
    };
    match run_within(plan) {
        Ok(ending) => {
            if let Some(text) = ending.text(&limits) {
                ctx.say(&format!("curb: {text}"));
            }
            ExitCode::from(ending.exit.shell_code())
        }
        Err(error) => {
            let code = match &error {
                RunError::NotFound(_) => NOT_FOUND,
                RunError::NotRunnable { .. } => NOT_RUNNABLE,
                RunError::BadLimit(_) => Exit::Usage as u8,
                RunError::NoGroup(_) | RunError::System { .. } => COULD_NOT,
            };
            ctx.complain(&Failure::local(error.to_string()));
            ExitCode::from(code)
        }
    }
}
