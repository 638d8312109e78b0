//! Starting a command inside a group.
//!
//! The child enters the group and sets its own limits between its birth and exec, so that not one instruction of the command
//! runs outside of them. In the tree of version 2 it is born into its group (`CLONE_INTO_CGROUP`, clone(2)); in trees of
//! version 1 it moves itself, as the one thread that it has, by `tasks`. To move a process by `cgroup.procs` has the kernel
//! wait until no processor can be within a fork or an exec, which was seen to take 4 to 15 ms; neither of these needs that.

mod child;

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, WaitOptions, getpid, waitpid};
use rustix::thread::CpuSet as Affinity;

use crate::limits::CpuSet;
use child::{Child, Words};

/// What a command enters and takes on before it runs.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// The ways into its group.
    pub doors: Doors,
    /// Files that each of its processes may have open.
    pub open_files: Option<u64>,
    /// The CPUs it may run on, where no group holds it to them.
    pub cpus: Option<CpuSet>,
    /// Its standard input. None: ours.
    pub stdin: Option<OwnedFd>,
    /// Its standard output. None: ours.
    pub stdout: Option<OwnedFd>,
}

/// The ways into a group for a process of one thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Doors {
    /// The group's directory in the tree of version 2, into which a process can be born.
    pub birth: Option<PathBuf>,
    /// Files to which a thread writes itself, one a tree of version 1.
    pub tasks: Vec<PathBuf>,
}

/// Starts a command that enters each of the doors before it runs. The kernel ends it when the thread that started it ends.
/// It has our variables with these on top; its standard streams are those of the entry, else ours.
///
/// # Errors
/// The command cannot be started: not found, not executable, or the group cannot be entered.
pub(crate) fn spawn(
    words: &[OsString],
    variables: &[(OsString, OsString)],
    entry: &Entry,
) -> io::Result<Pid> {
    let arguments: Vec<CString> = words.iter().cloned().map(text).collect::<io::Result<_>>()?;
    if arguments.is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let (told, tell) = io::pipe()?;
    let tell = OwnedFd::from(tell);
    let mut child = Child {
        doors: entry
            .doors
            .tasks
            .iter()
            .map(door)
            .collect::<io::Result<_>>()?,
        words: Words::new(arguments, environment(variables)?),
        stdin: entry.stdin.as_ref(),
        stdout: entry.stdout.as_ref(),
        cpus: entry.cpus.as_ref().map(affinity),
        open_files: entry.open_files,
        parent: getpid(),
        tell: &tell,
    };
    let pid = bear(&mut child, entry.doors.birth.as_deref())?;
    drop(tell);
    match why_not(told)? {
        None => Ok(pid),
        Some(error) => {
            // It has ended, or is about to; nobody else waits for it.
            let _it_is_ours = waitpid(Some(pid), WaitOptions::empty());
            Err(error)
        }
    }
}

/// Has the child be born into the group; where the kernel cannot do that (before 5.7, or a filter of calls forbids it), it
/// moves itself there.
fn bear(child: &mut Child<'_>, group: Option<&Path>) -> io::Result<Pid> {
    let Some(dir) = group else {
        return child.be_born(None);
    };
    match child.be_born(Some(&File::open(dir)?)) {
        Ok(pid) => Ok(pid),
        Err(_) => {
            child.doors.push(door(&dir.join("cgroup.procs"))?);
            child.be_born(None)
        }
    }
}

fn door(path: &PathBuf) -> io::Result<File> {
    let at = |why: io::Error| io::Error::new(why.kind(), format!("{}: {why}", path.display()));
    File::options().write(true).open(path).map_err(at)
}

/// What the child tells: nothing if it has become the program, else why it could not.
fn why_not(mut told: io::PipeReader) -> io::Result<Option<io::Error>> {
    let mut text = Vec::new();
    told.read_to_end(&mut text)?;
    Ok(match <[u8; 4]>::try_from(text.as_slice()) {
        Ok(code) => Some(io::Error::from_raw_os_error(i32::from_ne_bytes(code))),
        Err(_) => None,
    })
}

/// Our own variables, with these on top.
fn environment(variables: &[(OsString, OsString)]) -> io::Result<Vec<CString>> {
    let mut all: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    all.extend(variables.iter().cloned());
    let line = |(mut name, value): (OsString, OsString)| {
        name.push("=");
        name.push(value);
        text(name)
    };
    all.into_iter().map(line).collect()
}

/// # Errors
/// There is a zero byte in it.
fn text(word: OsString) -> io::Result<CString> {
    Ok(CString::new(word.into_vec())?)
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

#[cfg(test)]
mod tests;
