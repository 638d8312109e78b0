//! The front of `curb run`: it listens before the command starts, and follows what the supervisor tells.

use std::time::Duration;

use curb_core::host::ladder::Event;
use curb_core::host::limits::Front as Model;
use curb_front::{Follower, Front, FrontError};
use curb_host::tell::Observer;

use crate::args::FrontArgs;
use crate::cmd::run::COULD_NOT;
use crate::ctx::Ctx;
use crate::exit::Exit;
use crate::fail::Failure;

/// The command has ended: those who are here get to read that.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Starts to listen, if there is to be a front. Until the command runs, clients wait for it.
///
/// # Errors
/// It cannot be; with the exit code for that.
pub fn start(
    args: &FrontArgs,
    file: Option<&Model>,
    ctx: &mut Ctx,
) -> Result<Option<Front>, (Failure, u8)> {
    let usage = |text: String| (Failure::usage(text), Exit::Usage as u8);
    let Some(limits) = args.limits(file).map_err(usage)? else {
        return Ok(None);
    };
    let any_port = limits.listen.port() == 0;
    let any_metrics = limits.metrics.is_some_and(|at| at.port() == 0);
    let front = Front::start(limits).map_err(|error| match error {
        FrontError::Bad(_) => usage(error.to_string()),
        FrontError::Listen { .. } | FrontError::System(_) => {
            (Failure::local(error.to_string()), COULD_NOT)
        }
    })?;
    if any_port {
        ctx.say(&format!("curb: the front listens at {}", front.at()));
    }
    if let Some(at) = front.metrics_at().filter(|_| any_metrics) {
        ctx.say(&format!("curb: its figures are at http://{at}/metrics"));
    }
    Ok(Some(front))
}

/// What makes it follow the supervisor.
pub fn follower(front: &Front) -> Box<dyn Observer> {
    let mut follower = Follower::new(front.control());
    Box::new(move |event: &Event| follower.on(event))
}

/// The command has ended for good.
pub fn stop(front: Option<Front>) {
    if let Some(front) = front {
        front.stop(LAST_WORDS);
    }
}
