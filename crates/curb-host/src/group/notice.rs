//! Being told by the kernel that a group's memory is at its limit, in place of looking.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

use super::files::at;
use super::{Group, Place};
use crate::layout::Controller;

/// A descriptor that becomes ready when the group's memory meets its limit (or `memory_high`).
#[derive(Debug)]
pub enum Notice {
    /// Version 1: readable.
    Counter(OwnedFd),
    /// Version 2: ready with priority when a count of `memory.events` has changed.
    Events(File),
}

impl Group {
    /// Asks the kernel to tell.
    ///
    /// # Errors
    /// It does not here.
    pub fn notice(&self) -> io::Result<Notice> {
        let Some(Place { dir, v2 }) = self.place(Controller::Memory) else {
            return Err(io::Error::other("no control group counts its memory"));
        };
        if *v2 {
            let file = dir.join("memory.events");
            let notice = Notice::Events(File::open(&file).map_err(at(&file))?);
            notice.clear();
            return Ok(notice);
        }
        let counter = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let control = File::open(dir.join("memory.oom_control"))?;
        let file = dir.join("cgroup.event_control");
        // The kernel keeps what it needs of both.
        let text = format!("{} {}", counter.as_raw_fd(), control.as_raw_fd());
        fs::write(&file, text).map_err(at(&file))?;
        Ok(Notice::Counter(counter))
    }
}

impl Notice {
    /// Takes note of what was told, so that the next is told anew.
    pub fn clear(&self) {
        let mut buffer = [0; 512];
        let _nothing_new_is_fine = match self {
            Notice::Counter(fd) => rustix::io::read(fd, &mut buffer[..8]),
            Notice::Events(file) => rustix::io::pread(file, &mut buffer, 0),
        };
    }
}

impl AsFd for Notice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Notice::Counter(fd) => fd.as_fd(),
            Notice::Events(file) => file.as_fd(),
        }
    }
}

impl AsRawFd for Notice {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.as_fd().as_raw_fd()
    }
}
