//! Tests of the journal from outside: only its public API, and a database shell to do damage with.

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
