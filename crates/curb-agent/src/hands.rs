//! The agent's side of the helper: starts it while there are privileges, and asks it.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};

use crate::wire::{Answer, LONGEST, Verb};

/// The hidden command that the helper is started by.
pub const COMMAND: &str = "agent-helper";
/// An answer takes milliseconds. Without one by then the helper is held to be broken.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What the helper may still do, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its number.
    pub pid: u32,
    /// The user it runs as.
    pub user: u32,
    /// Its capabilities.
    pub capabilities: u64,
    /// Its calls of the kernel are filtered.
    pub filtered: bool,
}

/// The helper does not answer any more. Without it nothing can be confined: the agent ends, and is started anew with one.
#[derive(Debug, thiserror::Error)]
#[error("the helper cannot be asked to {verb}: {why}")]
pub struct Lost {
    verb: &'static str,
    why: io::Error,
}

/// The helper, as its caller has it.
#[derive(Debug)]
pub struct Hands {
    connection: OwnedFd,
    child: Child,
    standing: Standing,
    answer: Vec<u8>,
    asked: u64,
    refused: u64,
}

impl Hands {
    /// Starts the helper, as the same program.
    ///
    /// # Errors
    /// It could not be started, or could not begin; the reason is its own.
    pub fn start(arguments: &[&str]) -> io::Result<Hands> {
        let (ours, its) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        set_socket_timeout(&ours, Timeout::Recv, Some(ANSWER_WITHIN))?;
        set_socket_timeout(&ours, Timeout::Send, Some(ANSWER_WITHIN))?;
        let child = Command::new("/proc/self/exe")
            .arg(COMMAND)
            .args(arguments)
            .stdin(Stdio::from(its))
            .stdout(Stdio::null())
            .env_clear()
            .spawn()?;
        let mut hands = Hands {
            connection: ours,
            child,
            standing: Standing {
                pid: 0,
                user: 0,
                capabilities: u64::MAX,
                filtered: false,
            },
            answer: vec![0; LONGEST + 1],
            asked: 0,
            refused: 0,
        };
        match hands.receive()? {
            Answer::Ready {
                pid,
                user,
                capabilities,
                filtered,
            } => {
                hands.standing = Standing {
                    pid,
                    user,
                    capabilities,
                    filtered,
                };
                Ok(hands)
            }
            Answer::Failed { why } => Err(io::Error::other(why)),
            other => Err(io::Error::other(format!(
                "an odd first word of the helper: {other:?}"
            ))),
        }
    }

    /// What it may still do.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// How often it was asked, and how often it refused.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.asked, self.refused)
    }

    /// Asks for something.
    ///
    /// # Errors
    /// The helper has gone, or does not answer. That it refuses or fails is an answer.
    pub fn ask(&mut self, verb: &Verb) -> Result<Answer, Lost> {
        let lost = |why| Lost {
            verb: verb.word(),
            why,
        };
        let message = match verb.encode() {
            Ok(message) => message,
            // It was never sent: that is no reason to lose the helper.
            Err(why) => return Ok(Answer::Refused { why }),
        };
        self.asked += 1;
        send(&self.connection, &message, SendFlags::NOSIGNAL).map_err(|e| lost(e.into()))?;
        let answer = self.receive().map_err(lost)?;
        self.refused += u64::from(matches!(answer, Answer::Refused { .. }));
        Ok(answer)
    }

    fn receive(&mut self) -> io::Result<Answer> {
        loop {
            match recv(&self.connection, &mut self.answer[..], RecvFlags::empty()) {
                Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((length, _)) => {
                    return Answer::decode(&self.answer[..length]).map_err(io::Error::other);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Hands {
    fn drop(&mut self) {
        // It ends by itself once the connection is closed. What it was doing then is short.
        let _gone = rustix::net::shutdown(&self.connection, rustix::net::Shutdown::Both);
        let _waited_for = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Name;

    /// An agent's side whose helper is this function: what it is told goes in, what it says comes out; nothing: it hangs up.
    fn lied_to_by(helper: impl FnOnce(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> Hands {
        let (ours, its) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .expect("a connection");
        set_socket_timeout(&ours, Timeout::Recv, Some(Duration::from_millis(200))).expect("set");
        std::thread::spawn(move || {
            let mut message = vec![0; LONGEST + 1];
            let Ok((length, _)) = recv(&its, &mut message[..], RecvFlags::empty()) else {
                return;
            };
            if let Some(answer) = helper(&message[..length]) {
                send(&its, &answer, SendFlags::NOSIGNAL).expect("sent");
                // Whatever comes then is not answered; it ends when the other side does.
                let _closed = recv(&its, &mut message[..], RecvFlags::empty());
            }
        });
        Hands {
            connection: ours,
            child: Command::new("true").spawn().expect("true(1)"),
            standing: Standing {
                pid: 0,
                user: 0,
                capabilities: 0,
                filtered: false,
            },
            answer: vec![0; LONGEST + 1],
            asked: 0,
            refused: 0,
        }
    }

    fn kill() -> Verb {
        Verb::Kill {
            group: Name::new("chat").expect("a name"),
        }
    }

    #[test]
    fn a_helper_that_hangs_up_says_nothing_or_talks_nonsense_is_lost_and_the_agent_is_not() {
        let mut gone = lied_to_by(|_| None);
        assert!(gone.ask(&kill()).is_err());
        let answers: [&[u8]; 6] = [
            b"{",
            b"null",
            b"\xff\xfe",
            b"{\"count\":{\"processes\":-1}}",
            b"{\"count\":{\"processes\":1}}{}",
            b"\"everything\"",
        ];
        for answer in answers {
            let mut hands = lied_to_by(|_| Some(answer.to_vec()));
            let why = hands.ask(&kill()).expect_err("nonsense").to_string();
            assert!(why.contains("the helper cannot be asked to"), "{why}");
        }
        let mut long = lied_to_by(|_| Some(vec![b'['; LONGEST + 100]));
        assert!(long.ask(&kill()).is_err());
        // It takes the question and never answers; the time that it has is shorter here.
        let mut silent = lied_to_by(|_| {
            std::thread::sleep(Duration::from_secs(2));
            None
        });
        assert!(silent.ask(&kill()).is_err());
    }

    #[test]
    fn an_answer_to_another_question_is_told_as_odd_and_never_taken_for_done() {
        let answers: [&[u8]; 2] = [
            b"{\"groups\":{\"names\":[\"chat\"]}}",
            b"{\"is\":{\"yes\":true}}",
        ];
        for answer in answers {
            let mut hands = lied_to_by(|_| Some(answer.to_vec()));
            let odd = hands.ask(&kill()).expect("an answer");
            assert_ne!(odd, Answer::Done);
            let why = crate::act::why(odd);
            assert!(why.contains("an odd answer of the helper"), "{why}");
        }
    }
}
