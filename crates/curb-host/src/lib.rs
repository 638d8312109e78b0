//! The one crate that touches the kernel: where control groups are, groups of our own, limits, supervision.
//!
//! - [`layout`]: which controllers there are and where this process stands in them (version 1, 2, and both together).
//! - [`group`]: one group that this process made: its limits, what it holds, its end.
//! - [`limits`]: what may be limited, as values.
//! - [`run`]: a command inside limits, from its start to its end.
//! - [`ask`]: what its supervisor can be asked meanwhile.
//! - [`attach`]: processes that were there before, taken into a group and given back.
//! - [`proc`]: processes as the kernel tells of them, known by number and start time.
//! - [`scan`]: all processes, again and again, at little cost; [`totals`]: the same for a group.
//! - [`privilege`]: giving up privileges, for good.
//! - [`scratch`]: directories of our own among the temporary files.
//! - [`tell`]: who is told what happens meanwhile.
//! - [`effective`]: the limits that really hold for running processes, from their own group up to the root.
//! - [`ending`]: what a command died of, by the kernel's own evidence.
//!
//! A reading that could not be taken is `None`, never zero. A process is signalled only through a descriptor of it whose
//! membership was checked after it was opened, so that a reused number never hits another's process.
//!
//! That is Linux. On macOS there are no control groups: there it is `portable` alone, a watchdog.

#[cfg(target_os = "linux")]
pub mod ask;
#[cfg(target_os = "linux")]
pub mod attach;
mod counts;
#[cfg(target_os = "linux")]
pub mod devices;
#[cfg(target_os = "linux")]
pub mod effective;
pub mod ending;
#[cfg(target_os = "linux")]
pub mod group;
pub mod hook;
#[cfg(target_os = "linux")]
pub mod host;
#[cfg(target_os = "linux")]
pub mod layout;
pub mod limits;
#[cfg(target_os = "linux")]
pub mod live;
pub mod machine;
#[cfg(target_os = "linux")]
pub mod open_files;
mod pace;
mod plan;
#[cfg(any(test, not(target_os = "linux")))]
pub mod portable;
#[cfg(target_os = "linux")]
pub mod privilege;
#[cfg(target_os = "linux")]
pub mod proc;
#[cfg(target_os = "linux")]
pub mod profile;
#[cfg(target_os = "linux")]
pub mod readings;
#[cfg(target_os = "linux")]
pub mod run;
#[cfg(target_os = "linux")]
pub mod sample;
#[cfg(target_os = "linux")]
pub mod scan;
pub mod scratch;
mod signals;
#[cfg(target_os = "linux")]
mod spawn;
pub mod tell;
#[cfg(target_os = "linux")]
pub mod totals;
#[cfg(target_os = "linux")]
mod tree;
#[cfg(target_os = "linux")]
pub mod users;

pub use counts::Counts;
pub use plan::{Fallback, Plan, RunError};
