//! Starting a command inside a group.
//!
//! The child enters the group and sets its own limits between fork and exec, so that not one instruction of the command
//! runs outside of them.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};

use rustix::process::{Pid, Resource, Rlimit, Signal, getppid, setrlimit};
use rustix::thread::{CpuSet as Affinity, sched_setaffinity};

use crate::limits::CpuSet;

/// What a command enters and takes on before it runs.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// Files to which it writes itself, one a tree of groups.
    pub doors: Vec<PathBuf>,
    /// Files that each of its processes may have open.
    pub open_files: Option<u64>,
    /// The CPUs it may run on, where no group holds it to them.
    pub cpus: Option<CpuSet>,
}

/// Starts a command that enters each of the doors before it runs. The kernel ends it when the thread that started it ends.
///
/// # Errors
/// The command cannot be started: not found, not executable, or the group cannot be entered.
pub(crate) fn spawn(mut command: Command, entry: &Entry) -> io::Result<Child> {
    let open = |path: &PathBuf| File::options().write(true).open(path);
    let doors: Vec<File> = entry.doors.iter().map(open).collect::<io::Result<_>>()?;
    let cpus = entry.cpus.as_ref().map(affinity);
    let open_files = entry.open_files;
    let parent = Pid::from_raw(i32::try_from(std::process::id()).unwrap_or_default());
    let enter = move || {
        for door in &doors {
            // `0` is whoever writes it.
            rustix::io::write(door.as_fd(), b"0")?;
        }
        if let Some(cpus) = &cpus {
            sched_setaffinity(None, cpus)?;
        }
        if let Some(most) = open_files {
            let limit = Rlimit {
                current: Some(most),
                maximum: Some(most),
            };
            setrlimit(Resource::Nofile, limit)?;
        }
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // Who supervises it may have ended just before that.
        if getppid() != parent {
            return Err(rustix::io::Errno::SRCH.into());
        }
        Ok(())
    };
    // SAFETY: between fork and exec only calls that are safe in a signal handler may be made: this makes system calls
    // (write, sched_setaffinity, prlimit64, prctl, getppid) on what was made before, and neither allocates nor takes a lock.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(enter);
    }
    command.spawn()
}

fn affinity(cpus: &CpuSet) -> Affinity {
    let mut set = Affinity::new();
    let fits = |cpu: &u32| {
        usize::try_from(*cpu)
            .ok()
            .filter(|c| *c < Affinity::MAX_CPU)
    };
    for cpu in cpus.0.iter().filter_map(fits) {
        set.set(cpu);
    }
    set
}
