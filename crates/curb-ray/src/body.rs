//! Bodies: what is sent, and what is read with a bound.

use crate::error::RayError;
use crate::pool::{Lease, chain};
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, timeout_at};

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, std::io::Error>> + Send>>;

/// The body of a request: whole, or a stream whose length is known beforehand.
///
/// A stream that ends early or brings more than it said fails the request: hyper would otherwise
/// send a body that does not match its length.
pub struct RequestBody(Kind);

enum Kind {
    Whole(Option<Bytes>),
    Stream { left: u64, chunks: Chunks },
}

impl RequestBody {
    /// No body.
    pub fn empty() -> RequestBody {
        RequestBody::whole(Bytes::new())
    }

    /// All of it.
    pub fn whole(bytes: impl Into<Bytes>) -> RequestBody {
        RequestBody(Kind::Whole(Some(bytes.into()).filter(|b| !b.is_empty())))
    }

    /// `length` bytes that come in chunks.
    pub fn stream(
        length: u64,
        chunks: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
    ) -> RequestBody {
        RequestBody(Kind::Stream {
            left: length,
            chunks: Box::pin(chunks),
        })
    }

    /// How many bytes are still to come.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Kind::Whole(bytes) => bytes.as_ref().map_or(0, |b| b.len() as u64),
            Kind::Stream { left, .. } => *left,
        }
    }

    /// Whether nothing is to come.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut self.0 {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Kind::Stream { left, chunks } => match ready!(chunks.as_mut().poll_next(cx)) {
                Some(Ok(chunk)) => match left.checked_sub(chunk.len() as u64) {
                    Some(rest) => {
                        *left = rest;
                        Poll::Ready(Some(Ok(Frame::data(chunk))))
                    }
                    None => Poll::Ready(Some(Err(wrong_length("more bytes than were announced")))),
                },
                Some(Err(error)) => Poll::Ready(Some(Err(error))),
                None if *left > 0 => Poll::Ready(Some(Err(wrong_length(
                    "the end came before the announced length",
                )))),
                None => Poll::Ready(None),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Kind::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}

fn wrong_length(text: &'static str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, text)
}

/// Reads all of a response, at most `limit` bytes by `deadline`, then keeps its connection.
pub(crate) async fn read_all(
    mut body: Incoming,
    lease: Lease,
    limit: usize,
    deadline: Instant,
) -> Result<Bytes, ReadFailure> {
    if body.size_hint().lower() > limit as u64 {
        return Err(ReadFailure::TooLarge);
    }
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(limit);
    // Most answers are one piece, which is not copied.
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    loop {
        let next = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
        let frame = match timeout_at(deadline, next).await {
            Err(_) => return Err(ReadFailure::Late),
            Ok(None) => break,
            Ok(Some(Err(error))) => return Err(ReadFailure::Broken(chain(&error))),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len() + all.len() + data.len() > limit {
            return Err(ReadFailure::TooLarge);
        }
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.reserve(announced.max(first.len() + data.len()));
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    lease.give_back();
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Why a response was not read to its end.
#[derive(Debug)]
pub(crate) enum ReadFailure {
    Late,
    TooLarge,
    Broken(String),
}

impl ReadFailure {
    pub(crate) fn into_ray_error(self, what: &str, limit: usize, patience: Duration) -> RayError {
        let what = what.to_owned();
        match self {
            ReadFailure::Late => RayError::Timeout {
                what,
                limit: patience,
            },
            ReadFailure::TooLarge => RayError::TooLarge { what, limit },
            ReadFailure::Broken(reason) => RayError::Broken { what, reason },
        }
    }
}

/// A streamed answer of Ray's: bounded in silence by the client, in size by [`RayBody::limited`].
///
/// It is an [`http_body::Body`], so a gateway can pass it on without holding it. The connection is
/// kept for others once the end was read, and closed if this is dropped before.
pub struct RayBody {
    what: String,
    incoming: Incoming,
    lease: Option<Lease>,
    idle_timeout: Duration,
    silence: Pin<Box<Sleep>>,
    left: usize,
    limit: usize,
    ended: bool,
}

impl RayBody {
    pub(crate) fn new(
        what: String,
        incoming: Incoming,
        lease: Lease,
        idle_timeout: Duration,
    ) -> RayBody {
        let silence = Box::pin(tokio::time::sleep(idle_timeout));
        let limit = usize::MAX;
        RayBody {
            what,
            incoming,
            lease: Some(lease),
            idle_timeout,
            silence,
            left: limit,
            limit,
            ended: false,
        }
    }

    /// The same, failing with [`RayError::TooLarge`] after `limit` bytes.
    #[must_use]
    pub fn limited(mut self, limit: usize) -> RayBody {
        (self.left, self.limit) = (limit, limit);
        self
    }

    /// The next piece; none at the end.
    pub async fn next_chunk(&mut self) -> Option<Result<Bytes, RayError>> {
        loop {
            match std::future::poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn take_frame(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, RayError> {
        let length = frame.data_ref().map_or(0, Bytes::len);
        self.left = self
            .left
            .checked_sub(length)
            .ok_or_else(|| RayError::TooLarge {
                what: self.what.clone(),
                limit: self.limit,
            })?;
        Ok(frame)
    }
}

impl Body for RayBody {
    type Data = Bytes;
    type Error = RayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RayError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let result = match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending => {
                ready!(self.silence.as_mut().poll(cx));
                Err(RayError::Timeout {
                    what: self.what.clone(),
                    limit: self.idle_timeout,
                })
            }
            Poll::Ready(Some(Ok(frame))) => self.take_frame(frame),
            Poll::Ready(Some(Err(error))) => Err(RayError::Broken {
                what: self.what.clone(),
                reason: chain(&error),
            }),
            Poll::Ready(None) => {
                self.ended = true;
                if let Some(lease) = self.lease.take() {
                    lease.give_back();
                }
                return Poll::Ready(None);
            }
        };
        match &result {
            Ok(_) => {
                let wake = Instant::now() + self.idle_timeout;
                self.silence.as_mut().reset(wake);
            }
            Err(_) => self.ended = true,
        }
        Poll::Ready(Some(result))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
