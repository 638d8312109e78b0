//! Following a log over Ray's websocket.

use crate::client::refused;
use crate::config::RayConfig;
use crate::error::RayError;
use crate::pool::{Pool, chain};
use crate::reason;
use futures_util::stream::{BoxStream, unfold};
use futures_util::{SinkExt, Stream, StreamExt};
use http::Request;
use http::header::AUTHORIZATION;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout_at};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as WsError};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// One piece of a followed log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailFrame {
    /// Some whole lines, or a piece of a long one, as Ray sent it.
    Text(String),
    /// Ray closed the stream; nothing follows. Ray closes with 1000 when the job has ended, but also
    /// when it lost the node that ran it: ask for the status.
    End {
        /// The close code, if there was one.
        code: Option<u16>,
    },
}

/// A followed log: a stream of [`TailFrame`]s that ends after `End` or an error.
///
/// It probes a silent connection with pings, so it ends in an error if Ray goes away without a
/// word. Nothing is read ahead: whoever polls slowly slows Ray down.
pub struct Tail(BoxStream<'static, Result<TailFrame, RayError>>);

impl Stream for Tail {
    type Item = Result<TailFrame, RayError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tail")
    }
}

struct Open {
    what: String,
    socket: WebSocketStream<TcpStream>,
    ping: Interval,
    idle_timeout: Duration,
    heard: Instant,
    max_frame: usize,
}

pub(crate) async fn open(pool: &Pool, config: &RayConfig, id: &str) -> Result<Tail, RayError> {
    let what = format!("follow the log of job {id}");
    let limit = config.request_timeout;
    let deadline = Instant::now() + limit;
    let request = handshake_request(pool, id).map_err(|error| RayError::Malformed {
        what: what.clone(),
        reason: chain(&error),
    })?;
    let stream = pool
        .dial(deadline)
        .await
        .map_err(|reason| RayError::Unreachable {
            what: what.clone(),
            address: pool.address(),
            reason,
        })?;
    let bounds = WebSocketConfig::default()
        .max_message_size(Some(config.max_tail_frame))
        .max_frame_size(Some(config.max_tail_frame));
    let handshake = client_async_with_config(request, stream, Some(bounds));
    let socket = match timeout_at(deadline, handshake).await {
        Err(_) => return Err(RayError::Timeout { what, limit }),
        Ok(Err(error)) => return Err(explain(&what, error, config.max_tail_frame)),
        Ok(Ok((socket, _response))) => socket,
    };
    let mut ping = interval_at(Instant::now() + config.tail_ping, config.tail_ping);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let open = Open {
        what,
        socket,
        ping,
        idle_timeout: config.tail_idle_timeout,
        heard: Instant::now(),
        max_frame: config.max_tail_frame,
    };
    Ok(Tail(unfold(Some(open), step).boxed()))
}

fn handshake_request(pool: &Pool, id: &str) -> Result<Request<()>, WsError> {
    let mut request =
        format!("ws://{}/api/jobs/{id}/logs/tail", pool.address()).into_client_request()?;
    if let Some(authorization) = pool.authorization() {
        request
            .headers_mut()
            .insert(AUTHORIZATION, authorization.clone());
    }
    Ok(request)
}

async fn step(open: Option<Open>) -> Option<(Result<TailFrame, RayError>, Option<Open>)> {
    let mut open = open?;
    match open.next().await {
        Ok(TailFrame::Text(text)) => Some((Ok(TailFrame::Text(text)), Some(open))),
        last => Some((last, None)),
    }
}

impl Open {
    async fn next(&mut self) -> Result<TailFrame, RayError> {
        // The caller may have paused for long: silence counts from when we listen again.
        self.heard = Instant::now();
        loop {
            let silence = self.heard + self.idle_timeout;
            tokio::select! {
                biased;
                message = self.socket.next() => {
                    self.heard = Instant::now();
                    if let Some(frame) = self.read(message)? {
                        return Ok(frame);
                    }
                }
                () = tokio::time::sleep_until(silence) => return Err(self.silent()),
                _ = self.ping.tick() => self.probe(silence).await?,
            }
        }
    }

    fn read(
        &self,
        message: Option<Result<Message, WsError>>,
    ) -> Result<Option<TailFrame>, RayError> {
        match message {
            Some(Ok(Message::Text(text))) => Ok(Some(TailFrame::Text(text.as_str().to_owned()))),
            Some(Ok(Message::Close(frame))) => Ok(Some(TailFrame::End {
                code: frame.map(|f| f.code.into()),
            })),
            Some(Ok(_)) => Ok(None), // pings are answered below us; Ray sends no binary
            Some(Err(error)) => Err(explain(&self.what, error, self.max_frame)),
            None => Ok(Some(TailFrame::End { code: None })),
        }
    }

    async fn probe(&mut self, deadline: Instant) -> Result<(), RayError> {
        match timeout_at(deadline, self.socket.send(Message::Ping(Bytes::new()))).await {
            Err(_) => Err(self.silent()),
            Ok(Err(error)) => Err(explain(&self.what, error, self.max_frame)),
            Ok(Ok(())) => Ok(()),
        }
    }

    fn silent(&self) -> RayError {
        RayError::Timeout {
            what: self.what.clone(),
            limit: self.idle_timeout,
        }
    }
}

fn explain(what: &str, error: WsError, max_frame: usize) -> RayError {
    match error {
        WsError::Http(response) => {
            let reason = reason::clean(response.body().as_deref().unwrap_or_default());
            refused(what, response.status().as_u16(), reason)
        }
        WsError::Capacity(CapacityError::MessageTooLong { .. }) => RayError::TooLarge {
            what: what.to_owned(),
            limit: max_frame,
        },
        other => RayError::Broken {
            what: what.to_owned(),
            reason: chain(&other),
        },
    }
}
