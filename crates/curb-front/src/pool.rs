//! Connections to one server.
//!
//! A connection is used again only within [`KEEP`] of its last answer, and is closed after that: servers close theirs after
//! some seconds (uvicorn 5, gunicorn 2), and a request that is written at that very moment is lost without anybody knowing
//! whether it was read. All that are open are known here, so that a dead server's are cut at once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use crate::upload::Upload;

/// How long a connection without a request is kept.
const KEEP: Duration = Duration::from_secs(1);
/// How long the server has to take a connection. Beyond that its backlog is full.
const CONNECT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read ahead of its client at most; also the largest head of an answer.
const READ_AHEAD: usize = 64 * 1024;

/// Why there is no answer.
pub(crate) enum Failed {
    /// No connection: not one byte was sent.
    Connect(std::io::Error),
    /// A kept connection had gone: not one byte was sent. The request comes back.
    Stale(Box<Request<Upload>>),
    /// Something was sent, and no answer came.
    Lost(hyper::Error),
}

struct Idle {
    number: u64,
    sender: SendRequest<Upload>,
    abort: AbortHandle,
    since: Instant,
}

#[derive(Default)]
struct Open {
    idle: Vec<Idle>,
    all: HashMap<u64, AbortHandle>,
    made: u64,
    sweeping: bool,
}

struct Inner {
    at: SocketAddr,
    keep: usize,
    open: Mutex<Open>,
}

/// The connections to one server. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Inner>);

/// One connection in use. Dropped, it is cut, whatever it was doing; [`Lease::give_back`] keeps it.
pub(crate) struct Lease {
    pool: Pool,
    number: u64,
    sender: Option<SendRequest<Upload>>,
    abort: AbortHandle,
    reused: bool,
    kept: bool,
}

impl Pool {
    /// Connections to `at`, of which `keep` are kept without a request.
    pub(crate) fn new(at: SocketAddr, keep: usize) -> Self {
        Self(Arc::new(Inner {
            at,
            keep,
            open: Mutex::default(),
        }))
    }

    pub(crate) fn at(&self) -> SocketAddr {
        self.0.at
    }

    /// Nothing panics while it is held: what a poisoned lock guards is sound.
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection, kept or new.
    pub(crate) async fn lease(&self, fresh: bool) -> Result<Lease, Failed> {
        if !fresh && let Some(lease) = self.kept().await {
            return Ok(lease);
        }
        self.connect().await.map_err(Failed::Connect)
    }

    async fn kept(&self) -> Option<Lease> {
        loop {
            let idle = self.open().idle.pop()?;
            let age = idle.since.elapsed();
            let lease = Lease {
                pool: self.clone(),
                number: idle.number,
                sender: Some(idle.sender),
                abort: idle.abort,
                reused: true,
                kept: false,
            };
            if age >= KEEP {
                continue;
            }
            // What has come from the server is seen before the connection is taken: that it closed it, above all.
            tokio::task::yield_now().await;
            if lease.is_ready() {
                return Some(lease);
            }
        }
    }

    async fn connect(&self) -> std::io::Result<Lease> {
        let stream = timeout(CONNECT, TcpStream::connect(self.0.at))
            .await
            .map_err(|_| {
                let why = format!("no connection within {} s", CONNECT.as_secs());
                std::io::Error::new(std::io::ErrorKind::TimedOut, why)
            })??;
        stream.set_nodelay(true)?;
        self.over(stream).await
    }

    /// A connection over a stream.
    async fn over<T>(&self, stream: T) -> std::io::Result<Lease>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = Builder::new()
            .max_buf_size(READ_AHEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(std::io::Error::other)?;
        let task = tokio::spawn(async move {
            let _told_to_the_request = connection.with_upgrades().await;
        });
        let abort = task.abort_handle();
        let mut open = self.open();
        open.made += 1;
        let number = open.made;
        open.all.insert(number, abort.clone());
        Ok(Lease {
            pool: self.clone(),
            number,
            sender: Some(sender),
            abort,
            reused: false,
            kept: false,
        })
    }

    /// Keeps one over this stream, as after a whole answer.
    #[cfg(test)]
    pub(crate) async fn keep_this<T>(&self, stream: T)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let lease = self.over(stream).await.expect("nothing is sent");
        // It has been looked at once, and nothing was there.
        tokio::task::yield_now().await;
        lease.give_back();
    }

    /// Cuts all connections.
    pub(crate) fn cut_all(&self) {
        let mut open = self.open();
        open.idle.clear();
        open.all.drain().for_each(|(_, abort)| abort.abort());
    }

    fn keep(&self, idle: Idle) {
        let mut open = self.open();
        if open.idle.len() >= self.0.keep {
            idle.abort.abort();
            open.all.remove(&idle.number);
            return;
        }
        open.idle.push(idle);
        if !std::mem::replace(&mut open.sweeping, true) {
            tokio::spawn(sweep(self.clone()));
        }
    }

    /// Closes what nobody has used for long enough; gives when to look again.
    fn close_old(&self) -> Option<Instant> {
        let mut open = self.open();
        let now = Instant::now();
        let old = open.idle.partition_point(|idle| now - idle.since >= KEEP);
        for idle in open.idle.drain(..old).collect::<Vec<_>>() {
            idle.abort.abort();
            open.all.remove(&idle.number);
        }
        let next = open.idle.first().map(|idle| idle.since + KEEP);
        open.sweeping = next.is_some();
        next
    }
}

async fn sweep(pool: Pool) {
    let mut next = Some(Instant::now() + KEEP);
    while let Some(at) = next {
        tokio::time::sleep_until(at).await;
        next = pool.close_old();
    }
}

impl Lease {
    fn is_ready(&self) -> bool {
        self.sender.as_ref().is_some_and(SendRequest::is_ready)
    }

    /// What cuts this connection, whoever holds it.
    pub(crate) fn abort_handle(&self) -> AbortHandle {
        self.abort.clone()
    }

    /// Sends one request. Never sends it twice.
    pub(crate) async fn send(
        &mut self,
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, Failed> {
        let reused = self.reused;
        let Some(sender) = self.sender.as_mut() else {
            return Err(Failed::Stale(Box::new(request)));
        };
        let mut error = match sender.try_send_request(request).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        match error.take_message() {
            Some(request) if reused => Err(Failed::Stale(Box::new(request))),
            _ => Err(Failed::Lost(error.into_error())),
        }
    }

    /// Keeps it for the next request. Only after a whole answer.
    pub(crate) fn give_back(mut self) {
        let Some(sender) = self.sender.take().filter(|sender| !sender.is_closed()) else {
            return;
        };
        self.kept = true;
        self.pool.keep(Idle {
            number: self.number,
            sender,
            abort: self.abort.clone(),
            since: Instant::now(),
        });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.kept {
            self.abort.abort();
            self.pool.open().all.remove(&self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::mpsc::{SyncSender, sync_channel};

    use super::*;

    fn request() -> Request<Upload> {
        let mut request = Request::new(Upload::empty());
        let host = http::HeaderValue::from_static("a");
        request.headers_mut().insert(http::header::HOST, host);
        request
    }

    /// Answers one request on each of two connections, and closes each at a word.
    fn server() -> (SocketAddr, SyncSender<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = listener.local_addr().expect("an address");
        let (close, closes) = sync_channel::<()>(0);
        std::thread::spawn(move || {
            for stream in listener.incoming().take(2) {
                let mut stream = stream.expect("a connection");
                let mut request = [0; 1024];
                let _one_request = stream.read(&mut request).expect("a request");
                let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
                stream.write_all(answer).expect("it is taken");
                let _the_test_is_over = closes.recv();
            }
        });
        (at, close)
    }

    async fn leased(pool: &Pool) -> Lease {
        pool.lease(false).await.ok().expect("a connection")
    }

    #[tokio::test]
    async fn a_connection_that_the_server_has_closed_meanwhile_is_not_taken_again() {
        let (at, close) = server();
        let pool = Pool::new(at, 1);
        let mut lease = leased(&pool).await;
        assert!(lease.send(request()).await.is_ok());
        lease.give_back();
        close.send(()).expect("it waits for it");
        // The runtime stands still meanwhile, so that nobody here has seen it.
        std::thread::sleep(Duration::from_millis(50));
        let asks_again = async move {
            let mut lease = leased(&pool).await;
            (lease.reused, lease.send(request()).await.is_ok())
        };
        let asked = tokio::spawn(asks_again).await.expect("no panic");
        assert_eq!(asked, (false, true));
    }

    #[tokio::test]
    async fn a_request_on_a_kept_connection_that_closes_just_now_comes_back_unsent() {
        let (at, close) = server();
        let pool = Pool::new(at, 1);
        let mut lease = leased(&pool).await;
        assert!(lease.send(request()).await.is_ok());
        lease.give_back();
        let mut lease = leased(&pool).await;
        assert!(lease.reused);
        close.send(()).expect("it waits for it");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let sent = lease.send(request()).await;
        assert!(matches!(sent, Err(Failed::Stale(_))));
    }
}
