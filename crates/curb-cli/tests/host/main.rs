//! What runs on this host: `curb run` and its kin against a real kernel, in one test program. `scripts/test_cgroup2.sh` runs
//! the parts of it that need control groups once more, on version 2.

mod agent;
mod apply_times;
mod attach;
mod audit;
mod common;
mod drill;
mod front;
mod keys;
mod ladder;
mod late;
mod leavings;
mod limits;
mod profile;
mod raises;
mod run;
mod supervise;
mod thrashing;
mod top;
mod watchdog;
