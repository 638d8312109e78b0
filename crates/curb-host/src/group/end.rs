//! Signals to all of a group, its end, and holding it still.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::files::{at, groups_below, members_in, remove_tree};
use super::{DEPTH, Group, Place};
use crate::layout::Controller;

/// The kernel needs a moment to let go of a group whose last process has ended.
const REMOVE_WITHIN: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(2);

impl Group {
    /// Sends a signal to each process in it, and says how many got it.
    ///
    /// Each is signalled through a descriptor that was opened first and checked after, by reading who is in the group once
    /// more: a number that was given to another process meanwhile is left alone. Those in the group itself come first, before
    /// anybody looks for groups below it: a decision is to reach the first of them at once.
    pub fn signal(&self, signal: Signal) -> usize {
        self.top().map_or(0, |dir| signal_all(dir, DEPTH, signal))
    }

    /// Whether the process that has this number now is in it.
    #[must_use]
    pub fn is_member(&self, pid: u32) -> bool {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.splitn(3, ':').nth(2))
            .any(|path| path.split('/').any(|part| part == self.name))
    }

    /// Ends every process in it at once, and waits until it is empty; whether it became so within the time.
    pub fn kill(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        loop {
            self.kill_once();
            if self.members().is_empty() {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Has the kernel end every process in it, and does not wait for that.
    pub fn kill_once(&self) {
        let at_once = self.unified.as_ref().map(|dir| dir.join("cgroup.kill"));
        let killed = at_once.is_some_and(|file| fs::write(file, "1").is_ok());
        if !killed {
            // One that forks faster than it is killed is held still first.
            let _it_is_killed_all_the_same = self.freeze(true);
            self.signal(Signal::KILL);
            let _it_is_killed_all_the_same = self.freeze(false);
        }
    }

    /// Stops all of it, or lets it go on.
    ///
    /// # Errors
    /// The kernel refused, or there is nothing that could.
    pub fn freeze(&self, on: bool) -> io::Result<()> {
        let (file, text) = self.freezer(on).ok_or_else(|| {
            io::Error::other("there is no control group here that can hold it still")
        })?;
        fs::write(&file, text).map_err(at(&file))
    }

    fn freezer(&self, on: bool) -> Option<(PathBuf, &'static str)> {
        if let Some(Place { dir, .. }) = self.place(Controller::Freezer) {
            let text = if on { "FROZEN" } else { "THAWED" };
            return Some((dir.join("freezer.state"), text));
        }
        let dir = self.unified.as_ref()?;
        Some((dir.join("cgroup.freeze"), if on { "1" } else { "0" }))
    }

    /// Removes it. What lives in it must be ended first.
    ///
    /// # Errors
    /// Something still lives in it.
    pub fn remove(mut self) -> io::Result<()> {
        self.take_down(REMOVE_WITHIN)
    }

    pub(super) fn take_down(&mut self, within: Duration) -> io::Result<()> {
        let until = Instant::now() + within;
        for dir in self.directories() {
            loop {
                match remove_tree(&dir, DEPTH) {
                    Ok(()) => break,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                    Err(error) if Instant::now() >= until => return Err(at(&dir)(error)),
                    Err(_) => std::thread::sleep(PAUSE),
                }
            }
        }
        self.places.clear();
        self.unified = None;
        Ok(())
    }
}

/// Signals those in a directory's group, and in those below it.
fn signal_all(dir: &Path, depth: usize, signal: Signal) -> usize {
    let open = |pid: u32| -> Option<(u32, OwnedFd)> {
        let id = Pid::from_raw(i32::try_from(pid).ok()?)?;
        Some((pid, pidfd_open(id, PidfdFlags::empty()).ok()?))
    };
    let opened: Vec<(u32, OwnedFd)> = members_in(dir).into_iter().filter_map(open).collect();
    // Whose number is here now is here itself, or has ended: then its descriptor leads nowhere.
    let here: BTreeSet<u32> = match opened.is_empty() {
        true => BTreeSet::new(),
        false => members_in(dir).into_iter().collect(),
    };
    let mut reached = 0;
    for (pid, fd) in opened {
        if here.contains(&pid) && pidfd_send_signal(&fd, signal).is_ok() {
            reached += 1;
        }
    }
    if depth > 0 {
        for below in groups_below(dir) {
            reached += signal_all(&below, depth - 1, signal);
        }
    }
    reached
}

impl Drop for Group {
    fn drop(&mut self) {
        // Only what is empty goes away; who wants to know calls `remove`.
        let _ = self.take_down(Duration::ZERO);
    }
}
