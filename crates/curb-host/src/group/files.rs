//! The group's files: read, written, and why that failed.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;

use crate::proc::read;

/// Who forks while it is moved is met in the next round.
const ROUNDS: usize = 50;

/// Moves this process, if it is the only one in a group, into a group below it.
pub(super) fn step_aside(dir: &Path) -> io::Result<()> {
    let own = std::process::id().to_string();
    let members = fs::read_to_string(dir.join("cgroup.procs"))?;
    if members.lines().any(|pid| pid != own) {
        return Err(io::Error::other("others are in the group"));
    }
    let leaf = dir.join(format!("curb-supervisor-{own}"));
    match fs::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::write(leaf.join("cgroup.procs"), own)
}

pub(super) fn refused(file: &Path, error: &io::Error) -> String {
    let file = file.display();
    match error
        .raw_os_error()
        .map(rustix::io::Errno::from_raw_os_error)
    {
        Some(rustix::io::Errno::BUSY) => format!(
            "{file}: other processes are in the same group; start curb in a group of its own: systemd-run --user --scope -p Delegate=yes curb run ..."
        ),
        Some(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM | rustix::io::Errno::ROFS) => {
            format!(
                "{file}: {error}; a group that this user may write is given by: systemd-run --user --scope -p Delegate=yes curb run ..."
            )
        }
        _ => format!("{file}: {error}"),
    }
}

pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

pub(super) fn write(file: &Path, value: impl ToString) -> io::Result<()> {
    fs::write(file, value.to_string()).map_err(at(file))
}

/// A file that holds one number. `max` and what is not there are none.
pub(super) fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The number behind a name, one such pair a line.
pub(super) fn field(file: &Path, name: &str) -> Option<u64> {
    field_of(&fs::read_to_string(file).ok()?, name)
}

/// The same of a text that was read.
pub(super) fn field_of(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(n, _)| *n == name)?.1.trim().parse().ok()
}

/// Those in the group itself.
pub(super) fn members_in(dir: &Path) -> Vec<u32> {
    // No more calls than it takes: a signal waits for this.
    let bytes = read(CWD, dir.join("cgroup.procs")).unwrap_or_default();
    let lines = bytes.split(|b| *b == b'\n');
    lines
        .filter_map(|line| std::str::from_utf8(line).ok()?.parse().ok())
        .collect()
}

pub(super) fn members_of(dir: &Path, depth: usize, all: &mut Vec<u32>) {
    all.extend(members_in(dir));
    if depth == 0 {
        return;
    }
    for below in groups_below(dir) {
        members_of(&below, depth - 1, all);
    }
}

pub(super) fn groups_below(dir: &Path) -> Vec<PathBuf> {
    // Of the kernel's groups each below counts as a link, besides the two that every directory has: to look through all their
    // files for none is what took longest when a group was read.
    if fs::metadata(dir).is_ok_and(|m| m.nlink() == 2) {
        return Vec::new();
    }
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .map(|e| e.path())
        .collect()
}

pub(super) fn remove_tree(dir: &Path, depth: usize) -> io::Result<()> {
    if depth > 0 {
        for below in groups_below(dir) {
            remove_tree(&below, depth - 1)?;
        }
    }
    fs::remove_dir(dir)
}

/// Moves all processes of a group into another of the same tree, again and again while there are any.
pub(crate) fn empty_into(from: &Path, to: &Path) {
    for _ in 0..ROUNDS {
        let members = fs::read_to_string(from.join("cgroup.procs")).unwrap_or_default();
        if members.is_empty() {
            return;
        }
        for pid in members.lines() {
            let _it_may_have_ended = fs::write(to.join("cgroup.procs"), pid);
        }
    }
}
