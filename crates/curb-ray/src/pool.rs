//! Connections to one Ray, and the one question that matters about a failed request: did a byte of
//! it leave this host?
//!
//! A request passes three phases: waiting for a permit, getting a connection, and being handed to
//! hyper. A failure or deadline in the first two is [`SendFailure::NotSent`]. In the third, hyper
//! gives the message back if and only if it was never taken for writing
//! (`TrySendError::take_message`); everything else is [`SendFailure::Lost`], a deadline included.

use crate::body::RequestBody;
use crate::config::{ConfigError, RayConfig};
use http::header::{AUTHORIZATION, HOST, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant as StdInstant};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Why a request was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotSentCause {
    /// No connection to Ray was made.
    NoConnection,
    /// Only a kept connection had gone.
    Stale,
    /// All connections of the pool were in use: it says nothing about Ray.
    Busy,
}

/// Why there is no response, in the only distinction that recovery can use.
#[derive(Debug)]
pub(crate) enum SendFailure {
    /// No byte of the request left this host.
    NotSent { reason: String, cause: NotSentCause },
    /// It may have been read by Ray.
    Lost { reason: String, late: bool },
}

impl SendFailure {
    fn not_sent(reason: impl Into<String>) -> SendFailure {
        SendFailure::NotSent {
            reason: reason.into(),
            cause: NotSentCause::NoConnection,
        }
    }
}

/// A connection used this recently is taken again without a look: under load that is all of them.
const BUSY: Duration = Duration::from_millis(20);

struct Idle {
    sender: SendRequest<RequestBody>,
    since: StdInstant,
}

struct Shared {
    host: String,
    port: u16,
    host_header: HeaderValue,
    authorization: Option<HeaderValue>,
    connect_timeout: Duration,
    idle_timeout: Duration,
    permits: Arc<Semaphore>,
    /// At most as long as there are permits: every entry was a lease before.
    idle: Mutex<Vec<Idle>>,
}

/// The connections to one Ray. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Shared>);

/// The right to one connection. Dropping it closes the connection; [`Lease::give_back`] keeps it.
pub(crate) struct Lease {
    sender: SendRequest<RequestBody>,
    reused: bool,
    _permit: OwnedSemaphorePermit,
    pool: Pool,
}

impl Pool {
    /// A pool of at most `connections`.
    pub(crate) fn new(config: &RayConfig, connections: usize) -> Result<Pool, ConfigError> {
        let (host, port) = config.check()?;
        let authority = config.base.authority().map_or("", |a| a.as_str());
        let host_header = HeaderValue::from_str(authority)
            .map_err(|_| ConfigError::Address(config.base.to_string()))?;
        let authorization = config.token.as_ref().map(bearer).transpose()?;
        let permits = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        let (connect_timeout, idle_timeout) = (config.connect_timeout, config.idle_timeout);
        let idle = Mutex::new(Vec::new());
        Ok(Pool(Arc::new(Shared {
            host,
            port,
            host_header,
            authorization,
            connect_timeout,
            idle_timeout,
            permits,
            idle,
        })))
    }

    /// `host:port`, for messages.
    pub(crate) fn address(&self) -> String {
        self.0.host_header.to_str().unwrap_or_default().to_owned()
    }

    /// The headers that identify us, for requests that do not go through [`Pool::send`].
    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        self.0.authorization.as_ref()
    }

    /// Sends one request by `deadline` and returns the head of the response. Never sends it twice.
    pub(crate) async fn send(
        &self,
        mut request: Request<RequestBody>,
        deadline: Instant,
    ) -> Result<(Response<Incoming>, Lease), SendFailure> {
        request
            .headers_mut()
            .insert(HOST, self.0.host_header.clone());
        if let Some(authorization) = &self.0.authorization {
            request
                .headers_mut()
                .insert(AUTHORIZATION, authorization.clone());
        }
        let mut lease = self.lease(deadline).await?;
        match timeout_at(deadline, lease.sender.try_send_request(request)).await {
            Ok(Ok(response)) => Ok((response, lease)),
            Ok(Err(mut error)) => Err(match error.take_message() {
                Some(_never_written) => SendFailure::NotSent {
                    reason: format!(
                        "the connection was closed before the request was written: {}",
                        chain(error.error())
                    ),
                    cause: if lease.reused {
                        NotSentCause::Stale
                    } else {
                        NotSentCause::NoConnection
                    },
                },
                None => SendFailure::Lost {
                    reason: chain(error.error()),
                    late: false,
                },
            }),
            Err(_) => Err(SendFailure::Lost {
                reason: "no answer before the deadline".to_owned(),
                late: true,
            }),
        }
    }

    async fn lease(&self, deadline: Instant) -> Result<Lease, SendFailure> {
        let permit = timeout_at(deadline, self.0.permits.clone().acquire_owned())
            .await
            .map_err(|_| SendFailure::NotSent {
                reason: "all connections from here were in use until the deadline".to_owned(),
                cause: NotSentCause::Busy,
            })?
            .map_err(|_| SendFailure::not_sent("the client is closed"))?;
        let lease = |sender, reused| Lease {
            sender,
            reused,
            _permit: permit,
            pool: self.clone(),
        };
        if let Some(sender) = self.take_idle(deadline).await {
            return Ok(lease(sender, true));
        }
        Ok(lease(self.connect(deadline).await?, false))
    }

    /// The youngest kept connection that still lives.
    ///
    /// One that the peer has closed since is only noticed by the task that watches it. Letting that
    /// task run first turns most outcomes that would be unknown into a fresh connection; what is
    /// closed after this moment stays unknown, as it must.
    async fn take_idle(&self, deadline: Instant) -> Option<SendRequest<RequestBody>> {
        loop {
            let idle = self.lock_idle().pop()?;
            let age = idle.since.elapsed();
            if age > self.0.idle_timeout {
                self.lock_idle().clear(); // the rest is older still
                return None;
            }
            if age > BUSY {
                tokio::task::yield_now().await;
            }
            let mut sender = idle.sender;
            if let Ok(Ok(())) = timeout_at(deadline, sender.ready()).await {
                return Some(sender);
            }
        }
    }

    async fn connect(&self, deadline: Instant) -> Result<SendRequest<RequestBody>, SendFailure> {
        let stream = self.dial(deadline).await.map_err(SendFailure::not_sent)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| SendFailure::not_sent(chain(&error)))?;
        // Ends by itself once the sender is dropped and no response is being read.
        tokio::spawn(async move {
            let _reported_to_the_request = connection.await;
        });
        Ok(sender)
    }

    /// A TCP connection within the connect timeout and the deadline, or one line about why not.
    pub(crate) async fn dial(&self, deadline: Instant) -> Result<TcpStream, String> {
        let limit = deadline.min(Instant::now() + self.0.connect_timeout);
        let stream = timeout_at(
            limit,
            TcpStream::connect((self.0.host.as_str(), self.0.port)),
        )
        .await
        .map_err(|_| {
            format!(
                "no connection within {} ms",
                self.0.connect_timeout.as_millis()
            )
        })?
        .map_err(|error| error.to_string())?;
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        Ok(stream)
    }

    fn lock_idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        // A panic while it was held leaves a valid list.
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Keeps the connection for the next request. Only after the whole response was read.
    pub(crate) fn give_back(self) {
        if !self.sender.is_closed() {
            self.pool.lock_idle().push(Idle {
                sender: self.sender,
                since: StdInstant::now(),
            });
        }
    }
}

fn bearer(token: &crate::config::Secret) -> Result<HeaderValue, ConfigError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        .map_err(|_| ConfigError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
