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

use rustix::process::{Resource, Rlimit, setrlimit};

/// Starts a command that enters each of the doors before it runs.
///
/// # Errors
/// The command cannot be started: not found, not executable, or the group cannot be entered.
pub(crate) fn spawn(
    mut command: Command,
    doors: &[PathBuf],
    open_files: Option<u64>,
) -> io::Result<Child> {
    let doors: Vec<File> = doors
        .iter()
        .map(|path| File::options().write(true).open(path))
        .collect::<io::Result<_>>()?;
    let enter = move || {
        for door in &doors {
            // `0` is whoever writes it.
            rustix::io::write(door.as_fd(), b"0")?;
        }
        if let Some(most) = open_files {
            let limit = Rlimit {
                current: Some(most),
                maximum: Some(most),
            };
            setrlimit(Resource::Nofile, limit)?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only calls that are safe in a signal handler may be made: this makes system calls
    // (write, prlimit64) on descriptors that were opened before, and neither allocates nor takes a lock.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(enter);
    }
    command.spawn()
}
