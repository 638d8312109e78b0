//! The one crate that touches the kernel: where control groups are, groups of our own, limits, supervision.
//!
//! - [`layout`]: which controllers there are and where this process stands in them (version 1, 2, and both together).
//! - [`group`]: one group that this process made: its limits, what it holds, its end.
//! - [`limits`]: what may be limited, as values.
//! - [`run`]: a command inside limits, from its start to its end.
//! - [`attach`]: processes that were there before, taken into a group and given back.
//! - [`proc`]: processes as the kernel tells of them, known by number and start time.
//! - [`scan`]: all processes, again and again, at little cost; [`totals`]: the same for a group.
//! - [`privilege`]: giving up privileges, for good.
//! - [`tell`]: who is told what happens meanwhile.
//! - [`effective`]: the limits that really hold for running processes, from their own group up to the root.
//! - [`ending`]: what a command died of, by the kernel's own evidence.
//!
//! A reading that could not be taken is `None`, never zero. A process is signalled only through a descriptor of it whose
//! membership was checked after it was opened, so that a reused number never hits another's process.

#![cfg(target_os = "linux")]

pub mod attach;
pub mod devices;
pub mod effective;
pub mod ending;
pub mod group;
pub mod hook;
pub mod host;
pub mod layout;
pub mod limits;
pub mod live;
pub mod machine;
pub mod open_files;
pub mod privilege;
pub mod proc;
pub mod profile;
pub mod readings;
pub mod run;
pub mod sample;
pub mod scan;
mod spawn;
pub mod tell;
pub mod totals;
mod tree;
pub mod users;
