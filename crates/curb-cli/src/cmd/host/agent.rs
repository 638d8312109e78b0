//! `curb agent`, and the helper that it starts.

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use curb_agent::helper::{self, Orders};
use curb_agent::log::Format;
use curb_agent::run::{Options, run as run_agent};
use curb_core::host::detect::Settings;

use crate::args::{AgentArgs, AgentLog};
use crate::ctx::Ctx;
use crate::exit::Exit;
use crate::fail::{Done, Failure};

/// `curb agent ...`
pub fn run(args: &AgentArgs) -> Done {
    let options = Options {
        limits: args.limits.clone(),
        listen: (!args.no_listen).then_some(args.listen),
        format: match args.log {
            AgentLog::Json => Format::Json,
            AgentLog::Text => Format::Text,
        },
        every: Duration::from_millis(args.every.0),
        user: args.user.clone(),
        also_root: args.also_root,
        also_kept: args.also_kept,
        watch_only: args.watch_only,
        once: args.once,
        detect: Settings {
            window: args.leak_window,
            settle: args.settle,
            ..Settings::default()
        },
    };
    run_agent(&options).map_err(|error| Failure::local(error.to_string()))?;
    Ok(Exit::Ok)
}

/// The agent whose command line was read before, or its helper, if that is what this process was started as.
#[must_use]
pub fn without_command_line(ctx: impl FnOnce() -> Ctx) -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    let word = words.next()?;
    if word == "agent" {
        let ended = curb_agent::run::read_already()?;
        return Some(match ended {
            Ok(()) => Exit::Ok.into(),
            Err(error) => {
                ctx().complain(&Failure::local(error.to_string()));
                Exit::Local.into()
            }
        });
    }
    if word != curb_agent::hands::COMMAND {
        return None;
    }
    // Its connection is its standard input.
    let orders = Orders {
        also_root: words.any(|w| w == "--also-root"),
    };
    let connection = std::io::stdin().as_fd().try_clone_to_owned();
    let ended = connection.and_then(|connection| helper::run(&connection, orders));
    Some(match ended {
        Ok(()) => Exit::Ok.into(),
        // It has told who asked.
        Err(_) => Exit::Local.into(),
    })
}
