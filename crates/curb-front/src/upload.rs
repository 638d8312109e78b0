//! The body of a request on its way to the server.
//!
//! A small body is whole before the request waits for its turn ([`gather`]). What is larger, or comes in chunks that keep
//! the front waiting, is streamed: its fingerprint is known only at its end, and then the last piece is kept back until it
//! is known that nothing is held against the request.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use curb_http::body::{BodyError, LimitedBody};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::desk::Place;
use crate::limits::HELD;
use crate::reply::Refusal;
use crate::shared::Shared;
use crate::suspects::{Fingerprint, Hasher};

/// A body without an announced length that pauses for so long is streamed on: its client may wait for an answer to what
/// it has sent.
const PAUSE: Duration = Duration::from_millis(20);

type Vouched = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>>;

/// How an upload came out. Its reader (hyper) is told nothing of use; whoever waits for the answer looks here.
#[derive(Clone, Default)]
pub(crate) struct Sent(Arc<Mutex<Outcome>>);

#[derive(Default)]
struct Outcome {
    whole: bool,
    fault: Option<Refusal>,
}

impl Sent {
    /// Nothing panics while it is held: what a poisoned lock guards is sound.
    fn outcome(&self) -> MutexGuard<'_, Outcome> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why it ended early, if it did.
    pub(crate) fn take_fault(&self) -> Option<Refusal> {
        self.outcome().fault.take()
    }

    /// Whether the server was given all of it, so that another request can follow on the connection.
    pub(crate) fn is_whole(&self) -> bool {
        self.outcome().whole
    }

    fn ended_early(&self, why: Refusal) -> std::io::Error {
        self.outcome().fault = Some(why);
        std::io::Error::other("the upload was ended")
    }
}

/// What has been read of a body before the request waits for its turn.
pub(crate) struct Gathered {
    held: VecDeque<Bytes>,
    bytes: usize,
    hasher: Hasher,
    rest: Option<LimitedBody<Incoming>>,
}

/// Reads a body, if it is small; else its beginning.
pub(crate) async fn gather(
    mut body: LimitedBody<Incoming>,
    hasher: Hasher,
) -> Result<Gathered, BodyError> {
    let announced = body.size_hint().exact();
    let small = announced.is_some_and(|length| length <= HELD as u64);
    let mut gathered = Gathered {
        held: VecDeque::new(),
        bytes: 0,
        hasher,
        rest: None,
    };
    while !body.is_end_stream() {
        let next = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
        let frame = if small {
            next.await
        } else {
            match timeout(PAUSE, next).await {
                Ok(frame) => frame,
                Err(_pauses) => break,
            }
        };
        let Some(frame) = frame.transpose()? else {
            return Ok(gathered);
        };
        if let Ok(data) = frame.into_data() {
            gathered.hasher.update(&data);
            gathered.bytes += data.len();
            gathered.held.push_back(data);
        }
        if gathered.bytes >= HELD {
            break;
        }
    }
    gathered.rest = (!body.is_end_stream()).then_some(body);
    Ok(gathered)
}

impl Gathered {
    /// Of a request whose body is whole.
    pub(crate) fn print(&self) -> Option<Fingerprint> {
        self.rest.is_none().then(|| self.hasher.clone().finish())
    }

    /// The body as it is sent on.
    pub(crate) fn into_upload(self, shared: Arc<Shared>, place: Place) -> (Upload, Sent) {
        let sent = Sent::default();
        sent.outcome().whole = self.rest.is_none();
        let tail = self.rest.map(|body| Tail {
            hasher: Some(self.hasher),
            body,
            kept_back: None,
            vouched: None,
            shared,
            place,
        });
        let upload = Upload {
            held: self.held,
            held_bytes: self.bytes as u64,
            tail,
            sent: sent.clone(),
        };
        (upload, sent)
    }
}

/// The part of a body that is streamed.
struct Tail {
    body: LimitedBody<Incoming>,
    hasher: Option<Hasher>,
    kept_back: Option<Bytes>,
    vouched: Option<Vouched>,
    shared: Arc<Shared>,
    place: Place,
}

/// A body on its way to the server.
pub(crate) struct Upload {
    held: VecDeque<Bytes>,
    held_bytes: u64,
    tail: Option<Tail>,
    sent: Sent,
}

#[cfg(test)]
impl Upload {
    /// That of a request without a body.
    pub(crate) fn empty() -> Self {
        Self {
            held: VecDeque::new(),
            held_bytes: 0,
            tail: None,
            sent: Sent::default(),
        }
    }
}

impl Tail {
    /// All of it was seen, nothing is held against it, and nothing is kept back.
    fn is_over(&self) -> bool {
        self.hasher.is_none() && self.vouched.is_none() && self.kept_back.is_none()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Refusal>>> {
        loop {
            if let Some(vouched) = &mut self.vouched {
                let verdict = ready!(vouched.as_mut().poll(cx));
                self.vouched = None;
                if let Err(refusal) = verdict {
                    return Poll::Ready(Some(Err(refusal)));
                }
                return Poll::Ready(self.kept_back.take().map(Ok));
            }
            if self.hasher.is_none() {
                return Poll::Ready(None);
            }
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            let data = match frame {
                None => Bytes::new(),
                Some(Err(error)) => return Poll::Ready(Some(Err(Refusal::Body(error)))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => continue,
                    Ok(data) => data,
                    Err(_not_data) => continue,
                },
            };
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&data);
            }
            // With an announced length its last byte makes the request whole, and not an empty chunk after it.
            if !data.is_empty() && !self.body.is_end_stream() {
                return Poll::Ready(Some(Ok(data)));
            }
            self.kept_back = (!data.is_empty()).then_some(data);
            if let Some(hasher) = self.hasher.take() {
                let (shared, place) = (Arc::clone(&self.shared), self.place);
                self.vouched = Some(Box::pin(vouch(shared, place, hasher.finish())));
            }
        }
    }
}

async fn vouch(shared: Arc<Shared>, place: Place, print: Fingerprint) -> Result<(), Refusal> {
    let Some(alone) = shared.vouch(place, print)? else {
        return Ok(());
    };
    alone.await.map(drop).map_err(|_| Refusal::SuspectBusy)
}

impl Body for Upload {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let this = self.get_mut();
        if let Some(data) = this.held.pop_front() {
            this.held_bytes -= data.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let Some(tail) = &mut this.tail else {
            return Poll::Ready(None);
        };
        Poll::Ready(match ready!(tail.poll(cx)) {
            None => {
                this.sent.outcome().whole = true;
                this.tail = None;
                None
            }
            Some(Ok(data)) => {
                if tail.is_over() {
                    this.sent.outcome().whole = true;
                    this.tail = None;
                }
                Some(Ok(Frame::data(data)))
            }
            Some(Err(refusal)) => {
                this.tail = None;
                Some(Err(this.sent.ended_early(refusal)))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.tail.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let Some(tail) = &self.tail else {
            return SizeHint::with_exact(self.held_bytes);
        };
        let kept_back = tail.kept_back.as_ref().map_or(0, |data| data.len() as u64);
        let here = self.held_bytes + kept_back;
        match tail.body.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(here + rest),
            None => SizeHint::default(),
        }
    }
}
