//! What can signal a process: a pidfd (pidfd_open(2)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{ProcId, Process};

/// A process that can be signalled and waited for. It stays that process, whoever has its number later.
#[derive(Debug)]
pub struct Handle {
    fd: OwnedFd,
    id: ProcId,
}

impl Handle {
    /// The descriptor is of whoever has the number when it is opened. The process's own directory, which was open before,
    /// is read after that: if it still answers, the number was its own all the time.
    pub(super) fn open(process: &Process) -> io::Result<Handle> {
        let raw = i32::try_from(process.id.pid).ok().and_then(Pid::from_raw);
        let pid = raw.ok_or(rustix::io::Errno::SRCH)?;
        let fd = pidfd_open(pid, PidfdFlags::empty())?;
        match process.stat()?.start == process.id.start {
            true => Ok(Handle { fd, id: process.id }),
            false => Err(rustix::io::Errno::SRCH.into()),
        }
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> ProcId {
        self.id
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It has ended, or is not ours to signal.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.fd, signal)?)
    }

    /// Whether it has ended (it may still wait for its parent to notice).
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        matches!(poll(&mut fds, Some(&now)), Ok(n) if n > 0)
    }
}

/// Readable once it has ended.
impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
