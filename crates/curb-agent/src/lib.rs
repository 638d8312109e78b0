//! The agent: finds workloads on a host, confines them on sight, watches them and acts by their ladders.
//!
//! Two processes of one program. What faces the network, reads the rules and decides ([`agent`], [`http`], [`rules`]) runs
//! without privilege. What holds privileges ([`helper`]) answers a handful of typed verbs ([`wire`]) about groups that it made
//! itself, and nothing else.
//!
//! - [`run`]: from the command line to the end.
//! - [`agent`]: one round after the other. - [`watch`]: one workload. - [`metrics`]: what is counted, as a page.
//! - [`node`]: on a node of Ray, which processes are whose job's, told to the server.
//! - [`history`], [`log`]: what was seen and told, both bounded.

#![cfg(target_os = "linux")]

mod act;
pub mod agent;
mod find;
pub mod hands;
pub mod helper;
pub mod history;
mod homes;
pub mod http;
pub mod limits_file;
pub mod log;
pub mod metrics;
pub mod node;
pub mod pages;
pub mod rules;
pub mod run;
pub mod watch;
pub mod wire;
