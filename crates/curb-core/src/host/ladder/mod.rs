//! What is done when a limit comes near or is met: pure state machines whose clock is moved by hand.
//!
//! - [`Ladder`]: readings in, orders out. Each step once an exceedance, none before its delay, none after a later one.
//! - [`Course`]: after a death: again (with back-off, and a breaker that opens), the fallback, or giving up.
//! - [`GoesBack`]: when a limit that was raised is lowered again.
//! - [`Event`]: what is told of all that, one JSON object a line, and the same in words.
//!
//! Time is milliseconds since the supervisor began; who calls never lets it run backwards.

mod climb;
mod course;
mod event;
mod goes_back;
mod words;

pub use climb::{CALM, Done, HYSTERESIS, Ladder, Order, Reading, Use};
pub use course::{Course, Death, Next};
pub use event::{Event, HeldBy, Outcome, State, What};
pub use goes_back::GoesBack;

#[cfg(test)]
mod tests;
