//! The ledger: a pure fold of the journal's events.

mod event;
mod job;

pub use event::*;
pub use job::*;
