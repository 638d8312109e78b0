//! The hands: a process of its own that holds the few privileges that confining takes, and answers [`Verb`]s.
//!
//! It trusts its caller with nothing but the choice of what to do with groups that it made itself. It reads no file of rules
//! and faces no network. Before the first message is read it has given up all that it does not need: every capability but
//! those in [`CAPABILITIES`], new privileges for ever, and every call of the kernel that is not on a list.
//!
//! When its caller has gone it ends. Groups with processes stay, with their limits.

mod own;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::thread::CapabilitySet;

use curb_host::privilege;

use crate::wire::{Answer, LONGEST, Verb};

pub(crate) use own::{ASIDE, HOME};
pub use own::{Own, PREFIX, home, place};

/// What it keeps: to signal processes of others (only those in its groups, by a descriptor), to see what they have mapped and
/// read, to read their environment, and to lower how many files they may open (no other use of that one gets through the
/// filter of calls). It writes below control groups as their owner and needs no capability for that.
pub const CAPABILITIES: CapabilitySet = CapabilitySet::KILL
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::SYS_RESOURCE);

/// What it was told when it was started, by who had the privileges then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// Processes of root may be confined as well.
    pub also_root: bool,
}

/// Runs until the caller has gone. The connection is a socket that keeps messages apart.
///
/// # Errors
/// It could not begin; the caller was told.
pub fn run(connection: &OwnedFd, orders: Orders) -> io::Result<()> {
    let mut own = match begin(orders) {
        Ok(own) => own,
        Err(error) => {
            let why = Answer::Failed {
                why: error.to_string(),
            };
            tell(connection, &why)?;
            return Err(error);
        }
    };
    tell(connection, &ready()?)?;
    serve(connection, &mut own)
}

fn begin(orders: Orders) -> io::Result<Own> {
    let own = Own::begin(Path::new("/"), orders)?;
    privilege::keep_only(CAPABILITIES)?;
    let calls = privilege::calls_of_a_helper();
    if let Err(error) = privilege::only_these_calls(&calls, &[privilege::one_use_of_a_helper()]) {
        // Told by `ready`: the kernel may have no filters. Everything else is given up all the same.
        let _is_told = error;
    }
    Ok(own)
}

fn ready() -> io::Result<Answer> {
    let standing = privilege::standing()?;
    Ok(Answer::Ready {
        pid: std::process::id(),
        user: standing.user,
        capabilities: standing.capabilities,
        filtered: standing.filtered,
    })
}

/// Answers one message after the other.
///
/// # Errors
/// The connection broke.
pub fn serve(connection: &OwnedFd, own: &mut Own) -> io::Result<()> {
    let mut message = vec![0_u8; LONGEST + 1];
    loop {
        let (length, _) = match recv(connection.as_fd(), &mut message[..], RecvFlags::empty()) {
            Ok(received) => received,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        if length == 0 {
            own.alone();
            return Ok(());
        }
        // A message that fills all of it is too long, and cut: it is refused as such.
        let answer = match Verb::decode(&message[..length]) {
            Ok(verb) => own.answer(&verb),
            Err(why) => Answer::Refused { why },
        };
        tell(connection, &answer)?;
    }
}

fn tell(connection: &OwnedFd, answer: &Answer) -> io::Result<()> {
    send(connection.as_fd(), &answer.encode(), SendFlags::NOSIGNAL)?;
    Ok(())
}
