//! Bodies with a bound and deadlines.
//!
//! [`read_body`] collects a small body; [`LimitedBody`] passes a large one (a package) through.
//! The listener's own deadlines are wide; a route sets its own here.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::response::{Problem, size_text};

/// The largest package, in bytes: Ray's own bound on an upload (100 MiB).
pub const MAX_PACKAGE_BYTES: u64 = 100 * 1024 * 1024;

/// Most memory set aside on the word of a `Content-Length` alone.
const MAX_FIRST_RESERVE: u64 = 64 * 1024;

/// Bounds on one body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    /// Most bytes.
    pub max_bytes: u64,
    /// Longest wait for the next piece.
    pub idle: Duration,
    /// Longest time for the whole body.
    pub total: Duration,
}

impl BodyLimits {
    /// For JSON bodies: 1 MiB, 10 s idle, 30 s in all.
    pub const JSON: Self = Self {
        max_bytes: 1024 * 1024,
        idle: Duration::from_secs(10),
        total: Duration::from_secs(30),
    };

    /// For packages: 100 MiB, 15 s idle, 300 s in all.
    pub const PACKAGE: Self = Self {
        max_bytes: MAX_PACKAGE_BYTES,
        idle: Duration::from_secs(15),
        total: Duration::from_secs(300),
    };
}

/// Why a body was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// More bytes than allowed, announced or sent.
    #[error("the body is larger than the limit of {}", size_text(*.limit))]
    TooLarge {
        /// The bound in bytes.
        limit: u64,
    },
    /// The next piece did not come.
    #[error("no byte of the body arrived for {after:?}")]
    Idle {
        /// The bound.
        after: Duration,
    },
    /// The whole did not come in time.
    #[error("the body took longer than {after:?}")]
    Deadline {
        /// The bound.
        after: Duration,
    },
    /// The peer left, or its framing broke a rule.
    #[error("the body could not be read to its end")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl BodyError {
    /// The status that fits: 413, 408 or 400.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Idle { .. } | Self::Deadline { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// The refusal for the client.
    pub fn problem(&self) -> Problem {
        let (code, title, next) = match self {
            Self::TooLarge { .. } => (
                "body-too-large",
                "The body is too large",
                "send less: what a job needs as files belongs into its working_dir",
            ),
            Self::Idle { .. } | Self::Deadline { .. } => (
                "body-too-slow",
                "The body did not arrive in time",
                "send it again without pauses; if the line is slow, make it smaller",
            ),
            Self::Broken(_) => (
                "body-broken",
                "The body could not be read",
                "send it again, whole",
            ),
        };
        Problem::new(self.status(), code, title)
            .line(self.to_string())
            .next(next)
    }
}

/// Reads a whole body into memory, within its bounds. A body whose announced length is over the
/// bound is refused before a byte is read.
pub async fn read_body<B>(body: B, limits: BodyLimits) -> Result<Bytes, BodyError>
where
    B: Body + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut body = LimitedBody::new(body, limits)?;
    let Some(first) = next_data(&mut body).await? else {
        return Ok(Bytes::new());
    };
    let Some(second) = next_data(&mut body).await? else {
        return Ok(first);
    };
    let announced = body.size_hint().lower().min(MAX_FIRST_RESERVE) as usize;
    let mut whole = BytesMut::with_capacity(first.len() + second.len() + announced);
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&second);
    while let Some(more) = next_data(&mut body).await? {
        whole.extend_from_slice(&more);
    }
    Ok(whole.freeze())
}

async fn next_data<B>(body: &mut LimitedBody<B>) -> Result<Option<Bytes>, BodyError>
where
    B: Body + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
        match frame.transpose()?.map(Frame::into_data) {
            None => return Ok(None),
            Some(Ok(data)) => return Ok(Some(data)),
            Some(Err(_not_data)) => {}
        }
    }
}

/// A body that ends in an error when a bound is met. Passes pieces on as they come.
pub struct LimitedBody<B> {
    inner: B,
    limits: BodyLimits,
    left: u64,
    end: Instant,
    alarm: Option<Pin<Box<Sleep>>>,
    waiting_since: Option<Instant>,
    failed: bool,
}

impl<B> fmt::Debug for LimitedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitedBody")
            .field("limits", &self.limits)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl<B: Body> LimitedBody<B> {
    /// Starts the clock. Fails at once if the announced length is over the bound.
    pub fn new(inner: B, limits: BodyLimits) -> Result<Self, BodyError> {
        if inner.size_hint().lower() > limits.max_bytes {
            return Err(BodyError::TooLarge {
                limit: limits.max_bytes,
            });
        }
        Ok(Self {
            inner,
            limits,
            left: limits.max_bytes,
            end: Instant::now() + limits.total,
            alarm: None,
            waiting_since: None,
            failed: false,
        })
    }

    /// Bytes passed on so far.
    pub fn passed(&self) -> u64 {
        self.limits.max_bytes - self.left
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let idle_end = *self.waiting_since.get_or_insert_with(Instant::now) + self.limits.idle;
        let deadline = idle_end.min(self.end);
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if alarm.deadline() != deadline {
            alarm.as_mut().reset(deadline);
        }
        ready!(alarm.as_mut().poll(cx));
        Poll::Ready(if deadline == self.end {
            BodyError::Deadline {
                after: self.limits.total,
            }
        } else {
            BodyError::Idle {
                after: self.limits.idle,
            }
        })
    }

    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.failed = true;
        Poll::Ready(Some(Err(error)))
    }
}

impl<B> Body for LimitedBody<B>
where
    B: Body + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.failed {
            return Poll::Ready(None);
        }
        let frame = match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Pending => {
                let error = ready!(this.poll_late(cx));
                return this.fail(error);
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(e))) => return this.fail(BodyError::Broken(e.into())),
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        this.waiting_since = None;
        // A peer that always has one more byte ready must not outlive the deadline either.
        if Instant::now() >= this.end {
            return this.fail(BodyError::Deadline {
                after: this.limits.total,
            });
        }
        let frame = frame.map_data(|mut data| data.copy_to_bytes(data.remaining()));
        let bytes = frame.data_ref().map_or(0, |d| d.len() as u64);
        match this.left.checked_sub(bytes) {
            Some(left) => this.left = left,
            None => {
                return this.fail(BodyError::TooLarge {
                    limit: this.limits.max_bytes,
                });
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.failed || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full};
    use std::convert::Infallible;

    const LIMITS: BodyLimits = BodyLimits {
        max_bytes: 10,
        idle: Duration::from_secs(5),
        total: Duration::from_secs(12),
    };

    /// A body of unknown length that yields a piece, then waits, for ever.
    struct Drip {
        piece: &'static [u8],
        every: Duration,
        next: Pin<Box<Sleep>>,
    }

    impl Drip {
        fn new(piece: &'static [u8], every: Duration) -> Self {
            Self {
                piece,
                every,
                next: Box::pin(tokio::time::sleep(every)),
            }
        }
    }

    impl Body for Drip {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            ready!(self.next.as_mut().poll(cx));
            self.next = Box::pin(tokio::time::sleep(self.every));
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(self.piece)))))
        }
    }

    async fn error_of<B>(body: B) -> BodyError
    where
        B: Body + Unpin,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        read_body(body, LIMITS).await.expect_err("a bound is met")
    }

    #[tokio::test]
    async fn an_announced_length_over_the_bound_is_413_before_reading() {
        let error = error_of(Full::new(Bytes::from_static(b"elevenbytes"))).await;
        assert!(
            matches!(error, BodyError::TooLarge { limit: 10 }),
            "{error:?}"
        );
        assert_eq!(error.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unannounced_length_over_the_bound_is_413_at_the_first_byte_too_many() {
        let error = error_of(Drip::new(b"four", Duration::from_millis(1))).await;
        assert!(
            matches!(error, BodyError::TooLarge { limit: 10 }),
            "{error:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_stops_gets_408_after_the_idle_bound() {
        let start = Instant::now();
        let error = error_of(Drip::new(b"x", Duration::from_secs(3600))).await;
        assert!(matches!(error, BodyError::Idle { .. }), "{error:?}");
        assert_eq!(error.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_drips_gets_408_at_the_deadline() {
        let start = Instant::now();
        let error = error_of(Drip::new(b"x", Duration::from_secs(4))).await;
        assert!(matches!(error, BodyError::Deadline { .. }), "{error:?}");
        assert_eq!(start.elapsed().as_secs(), 12);
    }

    #[tokio::test]
    async fn a_body_of_exactly_the_bound_is_read() {
        let body = Full::new(Bytes::from_static(b"ten bytes!"));
        assert_eq!(read_body(body, LIMITS).await.unwrap(), "ten bytes!");
        assert!(
            read_body(Full::new(Bytes::new()), LIMITS)
                .await
                .unwrap()
                .is_empty()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_after_its_error() {
        let body = Drip::new(b"sixsix", Duration::from_millis(1));
        let mut body = LimitedBody::new(body, LIMITS).unwrap();
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            "sixsix"
        );
        assert_eq!(body.passed(), 6);
        assert!(body.frame().await.unwrap().is_err());
        assert!(body.frame().await.is_none() && body.is_end_stream());
    }

    #[test]
    fn a_refusal_names_the_limit() {
        let problem = BodyError::TooLarge { limit: 10 }.problem();
        assert_eq!(problem.code, "body-too-large");
        let said = "the body is larger than the limit of 10 bytes";
        assert_eq!(problem.detail[0], said);
    }
}
