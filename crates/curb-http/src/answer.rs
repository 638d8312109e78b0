//! The service that hyper calls: one verdict of the guard, one call, one answer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tower::{Service, ServiceExt};

use crate::head::{Framing, Head};
use crate::link::{InFlight, Link, Settled, Verdict};
use crate::listener::Peer;
use crate::request_id::{RequestId, X_REQUEST_ID};
use crate::response::{Format, Problem};
use crate::upgrade::Grant;
use crate::violation::{Bounds, Violation};

/// The service that hyper calls: pairs the request with its verdict, then calls the real one.
pub(crate) async fn answer<S, B>(
    link: Arc<Link>,
    service: S,
    peer: SocketAddr,
    bounds: Bounds,
    mut request: Request<Incoming>,
) -> Result<Response<Answer<B>>, Infallible>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
{
    let (verdict, in_flight) = link.take();
    let Ok(id) = RequestId::random() else {
        tracing::error!("the system's random source gave nothing; refusing requests");
        let problem = Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Not at the moment",
        )
        .line("the system gives no random numbers, so that no request can be named")
        .next("try again later; an operator looks at the server's machine");
        return Ok(problem
            .respond(Format::Text)
            .map(|body| Answer::refusal(body, in_flight)));
    };
    let (seq, head) = match verdict {
        Some(Verdict::Pass { seq, head }) if agrees(&request, &head) => (seq, head),
        Some(Verdict::Refuse(violation)) => return Ok(refusal(violation, &bounds, id, in_flight)),
        Some(Verdict::Pass { .. }) | None => {
            tracing::error!(%id, %peer, "guard and parser read a request differently; refused");
            return Ok(refusal(Violation::Desync, &bounds, id, in_flight));
        }
    };
    request.headers_mut().remove(X_REQUEST_ID);
    request.extensions_mut().insert(id);
    request.extensions_mut().insert(Peer(peer));
    let grant = Grant::of(&mut request);
    let Ok(mut response) = service.oneshot(request).await;
    let switch = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if switch && !head.upgrade {
        tracing::error!(%id, "a service answered 101 to a request that asked for no upgrade");
        let problem = Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something is wrong with Curb itself",
        )
        .line("the connection was to change its protocol, which nobody asked for")
        .next("give an operator the request's id: the log has more under it")
        .for_request(Some(id));
        let response = closing(problem.respond(Format::Text));
        return Ok(response.map(|body| Answer::refusal(body, in_flight)));
    }
    let settled = link.settle(seq, head.upgrade, switch);
    match grant {
        Some(grant) if link.declined() => {
            tokio::spawn(close_declined(grant.decline()));
        }
        Some(grant) => grant.give(),
        None => {}
    }
    if let Settled::Replace(violation) = settled {
        return Ok(refusal(violation, &bounds, id, in_flight));
    }
    response
        .headers_mut()
        .insert(X_REQUEST_ID, id.header_value());
    if head.upgrade && !switch {
        response = closing(response);
    }
    Ok(response.map(|body| Answer::service(body, in_flight)))
}

/// hyper hands the connection of a declined upgrade on instead of closing it; this closes it.
async fn close_declined(upgrade: OnUpgrade) {
    if let Ok(stream) = upgrade.await {
        // The peer may have left already: closed is closed.
        let _ = TokioIo::new(stream).shutdown().await;
    }
}

/// Whether hyper frames the body as the guard does.
fn agrees(request: &Request<Incoming>, head: &Head) -> bool {
    let exact = request.body().size_hint().exact();
    match head.framing {
        Framing::Empty => exact == Some(0),
        Framing::Length(n) => exact == Some(n),
        Framing::Chunked => exact.is_none(),
    }
}

fn refusal<B>(
    violation: Violation,
    bounds: &Bounds,
    id: RequestId,
    in_flight: InFlight,
) -> Response<Answer<B>> {
    // What was refused has no headers that could be trusted: text is for everybody.
    let response = violation
        .problem(bounds)
        .for_request(Some(id))
        .respond(Format::Text);
    closing(response).map(|body| Answer::refusal(body, in_flight))
}

fn closing<B>(mut response: Response<B>) -> Response<B> {
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A response body that keeps its request counted as in flight until it is sent.
pub(crate) struct Answer<B> {
    payload: Payload<B>,
    _in_flight: InFlight,
}

enum Payload<B> {
    Service(B),
    Refusal(Full<Bytes>),
}

impl<B> Answer<B> {
    fn service(body: B, in_flight: InFlight) -> Self {
        Self {
            payload: Payload::Service(body),
            _in_flight: in_flight,
        }
    }

    fn refusal(body: Bytes, in_flight: InFlight) -> Self {
        Self {
            payload: Payload::Refusal(Full::new(body)),
            _in_flight: in_flight,
        }
    }
}

impl<B> Body for Answer<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut self.get_mut().payload {
            Payload::Service(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Payload::Refusal(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.payload {
            Payload::Service(body) => body.is_end_stream(),
            Payload::Refusal(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.payload {
            Payload::Service(body) => body.size_hint(),
            Payload::Refusal(body) => body.size_hint(),
        }
    }
}
