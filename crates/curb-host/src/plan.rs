//! What is to be run, and why it was not.

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use curb_core::host::limits::{EndThrashing, Retry, Step};

use crate::limits::{BadLimit, Bytes, Limits};
use crate::tell::Observer;

/// What to run, within what, and what to do about its limits.
pub struct Plan {
    /// The workload's name: part of the group's name and of each event.
    pub workload: String,
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// Its limits.
    pub limits: Limits,
    /// From being asked to end until it is killed. Frameworks answer late: MLX was seen to take ten seconds.
    pub grace: Duration,
    /// What is done when a limit comes near or is met, in order.
    pub ladder: Vec<Step>,
    /// When it is ended for thrashing at its limit on memory. None: as its ladder says, else after 30 s.
    pub end_thrashing: Option<EndThrashing>,
    /// What is run at a warning: program and arguments.
    pub on_warn: Option<Vec<String>>,
    /// Whether and how it is started again after a limit ended it.
    pub retry: Option<Retry>,
    /// What is run in its place then.
    pub fallback: Option<Fallback>,
    /// Memory of the host that nothing here takes on top. None: a twentieth of it.
    pub keep_free: Option<Bytes>,
    /// Variables that it is given, on top of our own.
    pub variables: Vec<(String, OsString)>,
    /// Of a process that was there before: it is ended too when we are asked to end, in place of being given back.
    pub stop_attached: bool,
    /// No control group, also where one could be made: looking often holds what it can.
    pub watchdog: bool,
    /// Who is told what happens meanwhile.
    pub observers: Vec<Box<dyn Observer>>,
}

/// What is run in place of a command that is given up.
#[derive(Clone, Debug)]
pub struct Fallback {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// Its limits, all of them.
    pub limits: Limits,
}

impl Plan {
    /// A command without limits, that nobody is told of.
    #[must_use]
    pub fn new(command: Vec<OsString>) -> Plan {
        Plan {
            workload: "run".to_owned(),
            command,
            limits: Limits::default(),
            grace: Duration::from_secs(30),
            ladder: Vec::new(),
            end_thrashing: None,
            on_warn: None,
            retry: None,
            fallback: None,
            keep_free: None,
            variables: Vec::new(),
            stop_attached: false,
            watchdog: false,
            observers: Vec::new(),
        }
    }
}

/// Why a command was not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no such program.
    #[error("{0}: no such program")]
    NotFound(String),
    /// It is there and cannot be run.
    #[error("{program}: cannot be run: {why}")]
    NotRunnable {
        /// Which.
        program: String,
        /// Why.
        why: io::Error,
    },
    /// A limit makes no sense here.
    #[error(transparent)]
    BadLimit(#[from] BadLimit),
    /// There is no such process to supervise.
    #[error("process {pid}: {why}")]
    NoProcess {
        /// Its number.
        pid: u32,
        /// Why.
        why: io::Error,
    },
    /// A call of the kernel failed.
    #[error("{what}: {why}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        why: io::Error,
    },
}

pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |why| RunError::System { what, why }
}
