//! A running front, and the handle that steers it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use curb_http::listener::{Deadlines, ServeOptions, Served, serve};
use tokio::sync::oneshot;

use crate::counts::Counts;
use crate::exchange::exchange;
use crate::figures;
use crate::limits::{BadFront, FrontLimits};
use crate::reply::bounds_text;
use crate::shared::Shared;
use crate::state::State;

/// Connections beside those that places need: who has none is told so over one.
const SPARE_CONNECTIONS: usize = 256;
/// Between two looks for requests whose time is over unnoticed.
const LOOK: Duration = Duration::from_secs(1);

/// Why a front did not start.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    /// Its bounds make no sense.
    #[error(transparent)]
    Bad(#[from] BadFront),
    /// Nobody can connect to it.
    #[error("the front cannot listen at {at}: {why}")]
    Listen {
        /// Where.
        at: SocketAddr,
        /// Why.
        why: io::Error,
    },
    /// The system gives no thread, or no runtime on it.
    #[error("the front cannot be started: {0}")]
    System(io::Error),
}

/// A front that runs on a thread of its own, so that whoever steers it never waits for it. Dropped, it stops at once.
///
/// It begins with the state *starting*: who comes waits until [`Front::state`] says that the server is up.
pub struct Front {
    shared: Arc<Shared>,
    at: SocketAddr,
    metrics_at: Option<SocketAddr>,
    stop: Option<oneshot::Sender<Duration>>,
    thread: Option<JoinHandle<Option<Served>>>,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// Steers a front and reads its counters; may be cloned and sent anywhere. None of its calls waits.
#[derive(Clone)]
pub struct Control(Arc<Shared>);

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Control").field(&self.0.state()).finish()
    }
}

impl Control {
    /// The server is like this from now on.
    pub fn state(&self, state: State) {
        self.0.set_state(state);
    }

    /// The server has died by itself or was killed for a limit; not: it was asked to end. Requests that it had are answered
    /// with an error and suspected; the state is *restarting* until [`Control::state`] says otherwise.
    pub fn server_died(&self) {
        self.0.server_died();
    }

    /// The state that was told last.
    pub fn current(&self) -> State {
        self.0.state()
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.0.counts()
    }
}

impl Front {
    /// Begins to listen. When this returns, clients are answered.
    ///
    /// # Errors
    /// The bounds make no sense, or it cannot listen there.
    pub fn start(limits: FrontLimits) -> Result<Front, FrontError> {
        limits.check()?;
        let (listener, at) = listen(limits.listen)?;
        let (metrics, metrics_at) = limits.metrics.map(listen).transpose()?.unzip();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(FrontError::System)?;
        let bounds = bounds_text(&limits);
        tracing::info!(%at, to = %limits.to, %bounds, "the front listens");
        let shared = Shared::new(limits);
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("curb-front".to_owned())
            .spawn(move || runtime.block_on(run(listener, metrics, served, stopped)))
            .map_err(FrontError::System)?;
        Ok(Front {
            shared,
            at,
            metrics_at,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens: the port that the system chose, where none was named.
    pub fn at(&self) -> SocketAddr {
        self.at
    }

    /// Where its figures are read, if anywhere.
    pub fn metrics_at(&self) -> Option<SocketAddr> {
        self.metrics_at
    }

    /// What steers it.
    pub fn control(&self) -> Control {
        Control(Arc::clone(&self.shared))
    }

    /// As [`Control::state`].
    pub fn state(&self, state: State) {
        self.shared.set_state(state);
    }

    /// As [`Control::server_died`].
    pub fn server_died(&self) {
        self.shared.server_died();
    }

    /// As [`Control::counts`].
    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }

    /// Takes no more requests, lets those that are here end for at most `drain`, and cuts the rest. Waits for that.
    pub fn stop(mut self, drain: Duration) {
        self.end(drain);
    }

    fn end(&mut self, drain: Duration) {
        if self.shared.route().is_ok_and(|target| target.is_none()) {
            // Who waits for a start that will not be is told so.
            let why = "it was not started".to_owned();
            self.shared.set_state(State::Down { why });
        }
        if let Some(stop) = self.stop.take() {
            let _it_may_have_ended = stop.send(drain);
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the front's thread ended in a panic");
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

fn listen(at: SocketAddr) -> Result<(TcpListener, SocketAddr), FrontError> {
    let refused = |why| FrontError::Listen { at, why };
    let listener = TcpListener::bind(at).map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    let at = listener.local_addr().map_err(refused)?;
    Ok((listener, at))
}

fn options(limits: &FrontLimits) -> ServeOptions {
    let places = limits.in_flight + limits.queue;
    let max_connections = places * 2 + SPARE_CONNECTIONS;
    ServeOptions {
        max_connections,
        // Idle connections hold no place, so that a client may have more of them than its share.
        max_per_peer: Some(max_connections / 2),
        deadlines: Deadlines {
            body_total: limits.deadline + Duration::from_secs(1),
            ..Deadlines::default()
        },
        ..ServeOptions::default()
    }
}

async fn run(
    listener: TcpListener,
    metrics: Option<TcpListener>,
    shared: Arc<Shared>,
    stopped: oneshot::Receiver<Duration>,
) -> Option<Served> {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the front cannot listen");
            return None;
        }
    };
    if let Some(metrics) = metrics {
        match tokio::net::TcpListener::from_std(metrics) {
            // It ends with the runtime.
            Ok(metrics) => drop(tokio::spawn(figures::serve(metrics, Arc::clone(&shared)))),
            Err(error) => tracing::error!(%error, "the front's figures cannot be served"),
        }
    }
    let requests = Arc::clone(&shared);
    let service = tower::service_fn(move |request| {
        let shared = Arc::clone(&requests);
        // Moved as a pointer: it is large.
        Box::pin(exchange(shared, request))
    });
    let options = options(&shared.limits);
    let (drain_for, mut drained) = oneshot::channel();
    let served = serve(listener, service, options, async {
        let _dropped_is_now = drain_for.send(stopped.await.unwrap_or_default());
    });
    let mut served = std::pin::pin!(served);
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            served = &mut served => return Some(served),
            drain = &mut drained => {
                let drain = drain.unwrap_or_default();
                // Past that, the runtime is dropped with all that it serves.
                return tokio::time::timeout(drain, served).await.ok();
            }
            _ = look.tick() => shared.cut_late(),
        }
    }
}
