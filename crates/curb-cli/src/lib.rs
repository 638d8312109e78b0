//! The `curb` command line.
//!
//! - [`args`]: what can be said. - [`cmd`]: one module for each command; they call the server, read files, and print.
//! - [`show`]: data to text, pure functions of the data and a [`term::View`]. - [`term`]: what may reach a terminal.
//! - [`exit`]: the exit codes. - [`fail`]: errors with an exit code and a next step.
//!
//! Data goes to stdout, talk to stderr. Nothing that a server, a file or a cluster says reaches a terminal unfiltered.

pub mod args;
pub mod cmd;
mod ctx;
pub mod exit;
pub mod fail;
mod pack;
pub mod show;
pub mod term;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches};

use crate::args::{Cli, Command};
use crate::ctx::Ctx;
use crate::fail::{Done, Failure};

/// Runs the command line that this process was started with.
pub fn run() -> ExitCode {
    // What runs for good, and small.
    if let Some(code) = cmd::host::agent::without_command_line(Ctx::new) {
        return code;
    }
    let read = Cli::command().try_get_matches().and_then(|matches| {
        let json = wants_json(&matches);
        Ok((Cli::from_arg_matches(&matches)?, json))
    });
    let (cli, json) = match read {
        Ok(read) => read,
        Err(error) => {
            // clap knows where help goes (stdout, 0) and where a mistake goes (stderr, 2).
            let code = u8::try_from(error.exit_code()).unwrap_or(exit::Exit::Usage as u8);
            let _nobody_reads = error.print();
            return ExitCode::from(code);
        }
    };
    let mut ctx = Ctx::new();
    match dispatch(cli.command, &mut ctx) {
        Ok(code) => code,
        Err(failure) => {
            // Who asked for JSON gets the whole problem as JSON; that nobody reads it changes nothing.
            if let Some(problem) = failure.problem.as_ref().filter(|_| json) {
                let _nobody_reads = ctx.json(problem);
            }
            ctx.complain(&failure);
            failure.exit.into()
        }
    }
}

/// Whether the command that was given has `--json`.
fn wants_json(matches: &ArgMatches) -> bool {
    if let Ok(Some(true)) = matches.try_get_one::<bool>("json") {
        return true;
    }
    matches.subcommand().is_some_and(|(_, of)| wants_json(of))
}

/// The whole command line, as clap knows it.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

fn dispatch(command: Command, ctx: &mut Ctx) -> Result<ExitCode, Failure> {
    let done: Done = match command {
        // Its exit code is the command's own.
        Command::Run(args) => return Ok(cmd::run::run(args, ctx)),
        Command::Drill(args) => cmd::host::drill::run(&args, ctx),
        Command::DrillLoad(args) => cmd::host::drill::load(&args, ctx),
        Command::Top(args) => cmd::host::top::run(&args, ctx),
        Command::Audit(args) => cmd::host::audit::run(&args, ctx),
        Command::Profile(args) => return cmd::host::profile::run(&args, ctx),
        Command::Init(args) => cmd::init::run(&args, ctx),
        Command::Serve(args) => cmd::serve::run(&args),
        Command::Submit(args) => cmd::submit::run(&args, ctx),
        Command::Jobs(args) => cmd::jobs::run(args, ctx),
        Command::Usage(args) => cmd::usage::run(&args, ctx),
        Command::Quota(args) => cmd::look::quota(&args, ctx),
        Command::Explain(args) => cmd::look::explain(&args, ctx),
        Command::Override(args) => cmd::overrides::run(&args, ctx),
        Command::Token(args) => cmd::token::run(&args, ctx),
        Command::Policy(args) => cmd::policy::run(&args, ctx),
        Command::Enforce(args) => cmd::enforce::run(&args, ctx),
        Command::Journal(args) => cmd::journal::run(&args, ctx),
        Command::Status(args) => cmd::look::status(&args, ctx),
        Command::Agent(args) => cmd::host::agent::run(&args, ctx),
        Command::Limits(args) => cmd::host::limits::run(&args, ctx),
        Command::Completions(args) => cmd::docs::completions(&args, ctx),
        Command::Man(args) => cmd::docs::man(&args, ctx),
        Command::Openapi => cmd::docs::openapi(ctx),
        Command::Help(args) => cmd::docs::help(&args, ctx),
    };
    done.map(ExitCode::from)
}
