//! What a supervisor can be asked while its command runs: limits that curb holds and no file of the kernel has.
//!
//! A supervisor listens on a socket of the abstract name space, whose name has its number and start time in it. The kernel
//! says who is at the other end: only the supervisor's own user and root are answered, and only an answer of that very
//! process is believed. One line of JSON each way.

use std::collections::BTreeMap;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener, UnixStream as StdStream};
use std::time::Duration;

use curb_core::host::limits::Key;
use curb_core::time::Millis;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::limits::Limits;
use crate::run::Owner;

/// Nobody waits longer than that for the other.
const WITHIN: Duration = Duration::from_secs(5);
/// The longest line.
const LONGEST: u64 = 16 << 10;

/// The limits on time, as they are to be from now on; none is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// From its start to its end.
    pub duration: Option<Millis>,
    /// CPU time of all its processes together.
    pub cpu_time: Option<Millis>,
}

impl From<&Limits> for Times {
    fn from(limits: &Limits) -> Times {
        let ms = |time: Duration| Millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        Times {
            duration: limits.duration.map(ms),
            cpu_time: limits.cpu_time.map(ms),
        }
    }
}

/// What a supervisor answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It goes by the new ones from now on.
    Took {
        /// What they were before.
        before: Times,
        /// What its command was started with, of the limits that only a start can give.
        started: BTreeMap<String, String>,
    },
    /// Nothing was changed, and why.
    Refused(String),
}

/// The limits that a process is given when it starts, and never after that; by the names in the file, in one form each.
#[must_use]
pub fn only_at_start(limits: &Limits) -> BTreeMap<String, String> {
    let told = &limits.told;
    let text = |value: Option<String>, key: Key| Some((key.name().to_owned(), value?));
    fn form<T: std::fmt::Debug>(value: &Option<T>) -> Option<String> {
        value.as_ref().map(|v| format!("{v:?}"))
    }
    let all = [
        text(form(&limits.open_files), Key::OpenFiles),
        text(form(&limits.io_read), Key::IoRead),
        text(form(&limits.io_write), Key::IoWrite),
        text(form(&told.gpu_visible), Key::GpuVisible),
        text(form(&told.gpu_threads), Key::GpuThreads),
        text(form(&told.gpu_memory), Key::GpuMemory),
        text(form(&told.mlx_cache), Key::MlxCache),
        text(form(&told.mlx_memory), Key::MlxMemory),
        text(form(&told.mlx_wired), Key::MlxWired),
    ];
    all.into_iter().flatten().collect()
}

fn address(owner: &Owner) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("curb-run-{owner}"))
}

/// Asks the supervisor to go by other limits on time.
///
/// # Errors
/// It cannot be reached, or did not answer in time. Nothing is known of its limits then.
pub(crate) fn times(owner: &Owner, times: &Times) -> io::Result<Reply> {
    let stream = StdStream::connect_addr(&address(owner)?)?;
    stream.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    runtime.block_on(async {
        let talk = async {
            let mut stream = UnixStream::from_std(stream)?;
            let pid = stream.peer_cred()?.pid();
            if pid.and_then(|p| u32::try_from(p).ok()) != Some(owner.pid()) {
                return Err(io::Error::other("another process answers in its place"));
            }
            write(&mut stream, times).await?;
            read(&mut stream).await
        };
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time");
        timeout(WITHIN, talk).await.map_err(late)?
    })
}

async fn write<T: Serialize>(stream: &mut UnixStream, what: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.shutdown().await
}

async fn read<T: for<'de> Deserialize<'de>>(stream: &mut UnixStream) -> io::Result<T> {
    let mut line = Vec::new();
    stream.take(LONGEST).read_to_end(&mut line).await?;
    Ok(serde_json::from_slice(&line)?)
}

/// What was asked, and where the answer goes.
#[derive(Debug)]
pub(crate) struct Question {
    pub times: Times,
    pub answer: oneshot::Sender<Reply>,
}

/// What a supervisor is asked, one after the other.
#[derive(Debug)]
pub(crate) struct Questions(Option<mpsc::Receiver<Question>>);

impl Questions {
    /// Listens from here on. Where nobody can listen, nobody asks: the command runs all the same.
    pub(crate) fn listen(owner: &Owner) -> Questions {
        let listener = address(owner).and_then(|a| StdListener::bind_addr(&a));
        let listener = listener.and_then(|l| {
            l.set_nonblocking(true)?;
            UnixListener::from_std(l)
        });
        Questions(listener.ok().map(|listener| {
            let (ask, asked) = mpsc::channel(1);
            tokio::spawn(serve(listener, ask));
            asked
        }))
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Question {
        let next = match &mut self.0 {
            Some(asked) => asked.recv().await,
            None => None,
        };
        match next {
            Some(question) => question,
            None => std::future::pending().await,
        }
    }
}

/// One at a time: who is slow holds up who asks after it, and nobody else.
async fn serve(listener: UnixListener, ask: mpsc::Sender<Question>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _who_asked_sees_no_answer = timeout(WITHIN, answer(stream, &ask)).await;
            }
            // Too many descriptors, as a rule: that may pass.
            Err(_) => tokio::time::sleep(WITHIN / 5).await,
        }
    }
}

async fn answer(mut stream: UnixStream, ask: &mpsc::Sender<Question>) -> io::Result<()> {
    let user = stream.peer_cred()?.uid();
    if user != 0 && user != rustix::process::geteuid().as_raw() {
        let why = "only the user that it runs as, and root, may change its limits";
        return write(&mut stream, &Reply::Refused(why.to_owned())).await;
    }
    let times = read(&mut stream).await?;
    let (answer, answered) = oneshot::channel();
    let gone = |_| io::Error::other("it has ended");
    let question = Question { times, answer };
    ask.send(question).await.map_err(|_| gone(()))?;
    write(&mut stream, &answered.await.map_err(|_| gone(()))?).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Bytes;

    #[test]
    fn what_only_a_start_gives_is_told_by_its_name_and_nothing_else_is() {
        let mut limits = Limits {
            memory: Some(Bytes(1)),
            open_files: Some(64),
            ..Limits::default()
        };
        limits.told.mlx_cache = Some(Bytes(7));
        let told = only_at_start(&limits);
        let names: Vec<&str> = told.keys().map(String::as_str).collect();
        assert_eq!(names, ["mlx_cache", "open_files"]);
        limits.open_files = Some(65);
        assert_ne!(only_at_start(&limits)["open_files"], told["open_files"]);
    }

    #[test]
    fn a_supervisor_is_asked_by_its_number_and_start_and_answers_once_each_time() {
        let owner = Owner::this().expect("/proc");
        let wanted = Times {
            duration: Some(Millis(5)),
            cpu_time: None,
        };
        let asks = std::thread::spawn(move || {
            // It may not listen yet.
            for _ in 0..1000 {
                if let Ok(reply) = times(&owner, &wanted) {
                    return reply;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            panic!("nobody answered");
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut questions = Questions::listen(&owner);
            // One who says nothing that makes sense is not heard, and holds nobody up for good.
            let mut wrong =
                StdStream::connect_addr(&address(&owner).expect("a name")).expect("it listens");
            std::io::Write::write_all(&mut wrong, b"what?\n").expect("sent");
            drop(wrong);
            let question = questions.next().await;
            assert_eq!(question.times, wanted);
            let reply = Reply::Refused("no".to_owned());
            question.answer.send(reply).expect("it waits");
            let answered = tokio::task::spawn_blocking(move || asks.join().expect("answered"));
            assert_eq!(
                answered.await.expect("answered"),
                Reply::Refused("no".to_owned())
            );
        });
    }
}
