//! Accepts connections and serves them with hyper, HTTP/1 only, below a guard and above bounds.
//!
//! **Bounds.** At most [`ServeOptions::max_connections`] are open (tunnels count), and of one address at most
//! [`ServeOptions::max_per_peer`]. One more is
//! accepted, told `503` and closed: a client learns why, and a queue in the kernel that nobody
//! empties would look like a dead server. A connection holds at most one head (16 KiB) and one
//! read buffer (64 KiB) of its peer's bytes.
//!
//! **Pairing.** Each call of the service belongs to one verdict of the guard, in order. Without a
//! verdict, or when hyper frames the body differently from the guard, the answer is `400` and the
//! service is not called.
//!
//! **Leaving peers.** A peer that closes its side while a request is served has left: the request's
//! future is dropped.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::answer::answer;
pub use crate::guard::Deadlines;
use crate::guard::GuardedIo;
use crate::head::HeadLimits;
use crate::link::Link;
use crate::violation::Bounds;

/// hyper's read buffer at most, in bytes. A whole head fits; a large body comes in such pieces.
const MAX_READ_BUFFER: usize = 64 * 1024;
/// hyper parses at most this many headers without a heap allocation.
const HYPER_HEADERS: usize = 100;
/// Refused connections that are told why at the same time; more are closed without a word.
const MAX_TURNED_AWAY: usize = 64;
/// How long a refused connection gets to read why.
const TURN_AWAY_FOR: Duration = Duration::from_millis(250);
/// Wait after a failed accept (no file descriptor left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long connections that were cut get to drop what they hold.
const CUT_GRACE: Duration = Duration::from_secs(1);

const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\n\
    retry-after: 1\r\nconnection: close\r\ncontent-length: 147\r\n\r\n\
    curb: the server has too many open connections\n\
    \x20 next: try again in a moment\n\
    \x20 more: curb help reason unavailable, or /curb/v1/reasons/unavailable\n";

const STOPPING: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\n\
    retry-after: 5\r\nconnection: close\r\ncontent-length: 129\r\n\r\n\
    curb: the server is stopping\n\
    \x20 next: try again in a moment\n\
    \x20 more: curb help reason unavailable, or /curb/v1/reasons/unavailable\n";

/// Bounds and deadlines of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeOptions {
    /// Most connections open at once.
    pub max_connections: usize,
    /// Most connections open at once from one address, if that is bounded.
    pub max_per_peer: Option<usize>,
    /// Bounds on a request head. At most 100 headers and 60 KiB are taken, whatever is set.
    pub head: HeadLimits,
    /// Deadlines of each connection.
    pub deadlines: Deadlines,
    /// How long connections may finish their requests after shutdown began.
    pub drain: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_per_peer: None,
            head: HeadLimits::default(),
            deadlines: Deadlines::default(),
            drain: Duration::from_secs(30),
        }
    }
}

impl ServeOptions {
    fn head_limits(&self) -> HeadLimits {
        HeadLimits {
            max_bytes: self.head.max_bytes.min(MAX_READ_BUFFER - 4096),
            max_headers: self.head.max_headers.min(HYPER_HEADERS),
            ..self.head
        }
    }
}

/// How the connections that were open at shutdown ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Ended by themselves within the drain deadline.
    pub drained: usize,
    /// Still open at the deadline, and cut.
    pub cut: usize,
}

/// The other end of a connection; in the extensions of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Serves until `shutdown` is ready, then lets open connections finish their requests for
/// [`ServeOptions::drain`], then cuts what is left. New connections are told `503` meanwhile.
///
/// The service is cloned for each request. Each request carries
/// [`RequestId`](crate::request_id::RequestId) and [`Peer`] in its
/// extensions; a client's own `x-request-id` is removed, and each response carries the real one.
pub async fn serve<S, B, F>(
    listener: TcpListener,
    service: S,
    options: ServeOptions,
    shutdown: F,
) -> Served
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    F: Future<Output = ()>,
{
    let server = Server::new(service, options);
    let max = options
        .max_connections
        .clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
    let slots = Arc::new(Semaphore::new(max));
    let peers = Peers::default();
    let turned_away = Arc::new(Semaphore::new(MAX_TURNED_AWAY));
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let slot = Arc::clone(&slots).try_acquire_owned().ok();
                let place = slot.and_then(|slot| peers.take(peer.ip(), slot, options.max_per_peer));
                match place {
                    Some(place) => server.spawn(stream, peer, place),
                    None => turn_away(stream, FULL, &turned_away),
                }
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection; pausing");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Who comes now is told so: a refused connection would look like a server that is not there.
    let refuse = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => turn_away(stream, STOPPING, &turned_away),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    };
    tokio::select! {
        served = server.finish(&slots, max) => served,
        () = refuse => unreachable!("it is a loop without an end"),
    }
}

/// Serves one connection over any byte stream, to its end, as [`serve`] does over TCP. For tests
/// of a service without sockets, and for streams that are accepted elsewhere.
pub async fn serve_stream<T, S, B>(io: T, peer: SocketAddr, service: S, options: ServeOptions)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Server::new(service, options)
        .connection(io, peer, None)
        .await;
}

struct Server<S> {
    service: S,
    options: ServeOptions,
    drain: CancellationToken,
    cut: CancellationToken,
}

impl<S, B> Server<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn new(service: S, options: ServeOptions) -> Self {
        Self {
            service,
            options,
            drain: CancellationToken::new(),
            cut: CancellationToken::new(),
        }
    }

    fn spawn(&self, stream: TcpStream, peer: SocketAddr, slot: Place) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "could not set TCP_NODELAY");
        }
        tokio::spawn(self.connection(stream, peer, Some(slot)));
    }

    /// Serves one connection to its end.
    fn connection<T>(
        &self,
        io: T,
        peer: SocketAddr,
        slot: Option<Place>,
    ) -> impl Future<Output = ()> + Send + use<T, S, B>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let deadlines = self.options.deadlines;
        let link = Link::new();
        let limits = self.options.head_limits();
        let bounds = Bounds {
            head: limits,
            deadlines,
        };
        let io = GuardedIo::new(
            io,
            Arc::clone(&link),
            limits,
            deadlines,
            self.cut.clone(),
            slot,
        );
        let service = self.service.clone();
        let service = hyper::service::service_fn(move |request| {
            answer(Arc::clone(&link), service.clone(), peer, bounds, request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // A second line of defence: the guard's own deadlines are met first.
            .header_read_timeout(deadlines.idle + deadlines.head + Duration::from_secs(1))
            .max_buf_size(MAX_READ_BUFFER)
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        let (drain, cut) = (self.drain.clone(), self.cut.clone());
        async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                biased;
                ended = &mut connection => Some(ended),
                () = drain.cancelled() => None,
            };
            let ended = match ended {
                Some(ended) => ended,
                None => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        biased;
                        ended = &mut connection => ended,
                        () = cut.cancelled() => Ok(()),
                    }
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "a connection ended early");
            }
        }
    }

    async fn finish(self, slots: &Semaphore, max: usize) -> Served {
        let open = max - slots.available_permits();
        self.drain.cancel();
        // Every connection holds one slot; all slots back means that all are gone.
        let all = u32::try_from(max).unwrap_or(u32::MAX);
        if tokio::time::timeout(self.options.drain, slots.acquire_many(all))
            .await
            .is_ok()
        {
            return Served {
                drained: open,
                cut: 0,
            };
        }
        let left = max - slots.available_permits();
        self.cut.cancel();
        if tokio::time::timeout(CUT_GRACE, slots.acquire_many(all))
            .await
            .is_err()
        {
            tracing::warn!("some connections did not end when they were cut");
        }
        Served {
            drained: open.saturating_sub(left),
            cut: left,
        }
    }
}

/// How many connections each address has.
#[derive(Clone, Default)]
struct Peers(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection's place among all, and among those of its peer. Dropped, it is free again.
#[derive(Debug)]
pub(crate) struct Place {
    _slot: OwnedSemaphorePermit,
    _of_peer: Option<OfPeer>,
}

#[derive(Debug)]
struct OfPeer {
    peers: Arc<Mutex<HashMap<IpAddr, usize>>>,
    peer: IpAddr,
}

impl Peers {
    fn take(&self, peer: IpAddr, slot: OwnedSemaphorePermit, most: Option<usize>) -> Option<Place> {
        let Some(most) = most else {
            return Some(Place {
                _slot: slot,
                _of_peer: None,
            });
        };
        // Nothing panics while it is held: what a poisoned lock guards is sound.
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(&peer).copied().unwrap_or(0);
        if count >= most {
            return None;
        }
        counts.insert(peer, count + 1);
        let of_peer = Some(OfPeer {
            peers: Arc::clone(&self.0),
            peer,
        });
        Some(Place {
            _slot: slot,
            _of_peer: of_peer,
        })
    }
}

impl Drop for OfPeer {
    fn drop(&mut self) {
        let mut counts = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&self.peer) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.peer)),
        }
    }
}

/// Tells a connection that is not served why it is closed. Bounded in number and time.
fn turn_away(mut stream: TcpStream, why: &'static [u8], bound: &Arc<Semaphore>) {
    let Ok(place) = Arc::clone(bound).try_acquire_owned() else {
        return;
    };
    tokio::spawn(async move {
        let _place = place;
        let told = async {
            stream.write_all(why).await?;
            stream.shutdown().await?;
            let mut rest = [0; 1024];
            // Reading what it sent, so that a reset does not take the answer with it.
            while stream.read(&mut rest).await? > 0 {}
            std::io::Result::Ok(())
        };
        // Whether it heard or not, it is closed now.
        let _ = tokio::time::timeout(TURN_AWAY_FOR, told).await;
    });
}
