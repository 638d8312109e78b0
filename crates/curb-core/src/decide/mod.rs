//! Deciding: functions of state, command and time to events and a reply. They change nothing.

mod violation;

pub use violation::*;
