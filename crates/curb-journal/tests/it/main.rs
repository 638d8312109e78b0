//! Tests of the journal from outside: only its public API, and a database shell to do damage with.

// Tests say in their output what they did, and what they could not.
#![allow(clippy::print_stdout)]

mod append;
mod common;
mod disk;
mod export;
mod kill;
mod open;
mod properties;
mod readers;
mod snapshots;
mod tamper;
mod torn;
mod writer;
