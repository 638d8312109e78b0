//! The pure heart of Curb: resources, subjects, policy, ledger, decisions, queue order, and what people are told.
//!
//! Nothing in here reads a clock, a file, a socket or a random number: the present and the input are arguments, the
//! outcome is a value. State is a fold of the journal's events ([`ledger::State::apply`]); a decision is a function of
//! state, command and time ([`decide`]). The server, recovery, audit and simulation all run these same two.

pub mod amount;
pub mod calendar;
pub mod decide;
pub mod explain;
pub mod host;
pub mod ledger;
pub mod policy;
pub mod resource;
pub mod subject;
pub mod time;
pub mod truth;
pub mod usage;
mod yaml;
