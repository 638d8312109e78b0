//! The body of an answer on its way to the client: piece by piece as it comes, and no faster than the client takes it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use crate::counts::Outcome;
use crate::flight::Flight;
use crate::pool::Lease;
use crate::state::Target;
use crate::upload::Sent;

/// An answer's body with all that must be given back when it ends, however it ends.
pub(crate) struct Download {
    body: Incoming,
    target: Target,
    flight: Flight,
    lease: Option<Lease>,
    sent: Sent,
    alarm: Option<Pin<Box<Sleep>>>,
    /// The client was told that it is cut short, or has the whole.
    over: bool,
}

impl Download {
    pub(crate) fn new(
        body: Incoming,
        target: Target,
        flight: Flight,
        lease: Lease,
        sent: Sent,
    ) -> Self {
        let mut this = Self {
            body,
            target,
            flight,
            lease: Some(lease),
            sent,
            alarm: None,
            over: false,
        };
        this.whole_if_at_end();
        this
    }

    /// hyper does not ask again once a body says that it is at its end.
    fn whole_if_at_end(&mut self) {
        if self.body.is_end_stream() {
            self.whole();
        }
    }

    fn whole(&mut self) {
        self.over = true;
        self.flight.end(match self.target {
            Target::Primary => Outcome::Passed,
            Target::Fallback => Outcome::PassedToFallback,
        });
        // A server may answer before it has read everything; the rest would be in the next request's way.
        if let Some(lease) = self.lease.take()
            && self.sent.is_whole()
        {
            lease.give_back();
        }
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.flight.deadline();
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        alarm.as_mut().poll(cx)
    }

    fn cut(&mut self, why: &'static str) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.over = true;
        self.lease = None;
        Poll::Ready(Some(Err(std::io::Error::other(why))))
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        loop {
            let frame = match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    ready!(this.poll_late(cx));
                    this.flight.end(Outcome::ServerTooLong);
                    return this.cut("the front's deadline was over");
                }
            };
            match frame {
                None => {
                    this.whole();
                    return Poll::Ready(None);
                }
                Some(Err(_)) => {
                    this.flight.broke_off();
                    return this.cut("the server broke off");
                }
                // Trailers were announced to nobody.
                Some(Ok(frame)) if frame.is_data() => {
                    this.whole_if_at_end();
                    return Poll::Ready(Some(Ok(frame)));
                }
                Some(Ok(_trailers)) => {}
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
