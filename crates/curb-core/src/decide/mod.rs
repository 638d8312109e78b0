//! Deciding: functions of state, command and time to events and a reply. They change nothing.
//!
//! [`resolve`] makes a request whole, [`submit`] decides it, [`explain`] answers what [`submit`] would, [`next`] says who
//! leaves the queue, [`stop`] decides a wish to stop. All of them see the limits by the same walk.

mod above;
mod ahead;
mod check;
mod forecast;
mod moment;
mod outlook;
mod pace;
mod promise;
mod queue;
mod reclaim;
mod render;
mod resolve;
mod smaller;
mod submit;
mod teeth;
mod violation;

pub(crate) use check::limits_of;

pub use moment::{Gate, Moment};
pub use outlook::{Begun, Outlook};
pub use pace::Pace;
pub use queue::{Places, Position, next, next_change, position};
pub use resolve::{Ask, ResolveError, Submission, resolve};
pub use submit::{
    Identity, Stopped, Submitted, Waits, begin_explain, begin_why, explain, stop, submit,
    told_as_job, why_waiting,
};
pub use teeth::{Seen, is_stopped_for, teeth, told_of_exceedances};
pub use violation::*;
