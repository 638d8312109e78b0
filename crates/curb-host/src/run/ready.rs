//! Descriptors that become ready, awaited.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::group::Notice;

/// A descriptor that is watched until it is dropped.
pub(crate) struct Watched {
    fd: AsyncFd<Held>,
    interest: Interest,
}

/// What is watched: each owns its descriptor and keeps it.
#[derive(Debug)]
enum Held {
    Notice(Notice),
    Process(OwnedFd),
}

impl AsRawFd for Held {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Held::Notice(notice) => notice.as_raw_fd(),
            Held::Process(fd) => fd.as_raw_fd(),
        }
    }
}

impl Watched {
    /// Ready when the kernel tells of the group's memory.
    pub(crate) fn notice(notice: Notice) -> io::Result<Watched> {
        let interest = match &notice {
            Notice::Counter(_) => Interest::READABLE,
            Notice::Events(_) => Interest::PRIORITY,
        };
        watch(Held::Notice(notice), interest)
    }

    /// Ready when the process of a pidfd has ended.
    pub(crate) fn process(fd: OwnedFd) -> io::Result<Watched> {
        watch(Held::Process(fd), Interest::READABLE)
    }

    /// Waits until it is ready; what was told is taken note of.
    pub(crate) async fn ready(&self) {
        // That it cannot be watched any more is a reason to look as well.
        let Ok(mut guard) = self.fd.ready(self.interest).await else {
            return;
        };
        if let Held::Notice(notice) = self.fd.get_ref() {
            notice.clear();
            guard.clear_ready();
        }
    }
}

fn watch(held: Held, interest: Interest) -> io::Result<Watched> {
    // SAFETY: the descriptor must stay open, and the same, as long as it is watched: `Held` owns it (an `OwnedFd` or a
    // `File`), is moved into the `AsyncFd`, and is never given out but by shared reference.
    #[allow(unsafe_code)]
    let fd = unsafe { AsyncFd::register_with_interest(held, interest) }?;
    Ok(Watched { fd, interest })
}
