//! A request's way: bounds, body, suspicion, turn, server, answer.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use curb_http::body::{BodyError, BodyLimits, LimitedBody};
use curb_http::listener::Peer;
use curb_http::request_id::{RequestId, X_REQUEST_ID};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use crate::download::Download;
use crate::flight::Flight;
use crate::headers;
use crate::pool::{Failed, Lease};
use crate::reply::Refusal;
use crate::shared::{Client, Shared};
use crate::state::{State, Target};
use crate::suspects::{Fingerprint, Hasher, Standing};
use crate::tunnel;
use crate::upload::{Sent, Upload, gather};

/// Between two attempts to reach a server that does not listen yet.
const KNOCK: Duration = Duration::from_millis(50);
/// How long news of the server's death is waited for when it takes no connection.
const NEWS: Duration = Duration::from_millis(250);
/// Without a byte of a body, before it is given up.
const BODY_IDLE: Duration = Duration::from_secs(20);

/// Answers one request, in whatever way.
pub(crate) async fn exchange(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let id = request.extensions().get::<RequestId>().copied();
    // What the refusal's form is chosen by; the request itself is given away.
    let mut accept = HeaderMap::new();
    for value in request.headers().get_all(header::ACCEPT) {
        accept.append(header::ACCEPT, value.clone());
    }
    let method = request.method().clone();
    Ok(match pass(&shared, request, id).await {
        Ok(response) => response,
        Err(refusal) => {
            tracing::debug!(?refusal, %method, "not passed on");
            shared.answered_here(refusal.code());
            refusal.respond(&accept, id).map(Answer::Ours)
        }
    })
}

/// Passes a request on, or says why not. Whatever the end, it is counted once.
async fn pass(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    id: Option<RequestId>,
) -> Result<Response<Answer>, Refusal> {
    let counted = |refusal: Refusal| {
        shared.refused(refusal.outcome());
        refusal
    };
    let body = enter(shared).map_err(counted)?;
    let caller = Caller::of(&request, shared);
    // The listener lets no other upgrade pass than that of a websocket.
    let asks = request.headers().contains_key(header::UPGRADE);
    let mut request = request;
    let upgraded = asks.then(|| curb_http::upgrade::on(&mut request));
    let mut flight = shared.enter(Client::of(caller.address)).map_err(counted)?;
    match fly(&mut flight, request, body, caller, id).await {
        Ok((response, target, lease, sent)) => Ok(match upgraded {
            Some(client) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                tunnel::open(flight, lease, response, client).map(|()| Answer::Ours(Bytes::new()))
            }
            _ => response.map(|body| {
                Answer::Server(Box::new(Download::new(body, target, flight, lease, sent)))
            }),
        }),
        Err(refusal) => {
            flight.end(refusal.outcome());
            Err(refusal)
        }
    }
}

/// Who asks.
#[derive(Clone, Copy)]
struct Caller {
    address: IpAddr,
    /// By the word of a proxy that is believed.
    by_proxy: bool,
}

impl Caller {
    fn of(request: &Request<Incoming>, shared: &Shared) -> Self {
        let peer = request.extensions().get::<Peer>();
        let peer = peer.map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0.ip());
        let trust = &shared.limits.trust;
        Self {
            address: headers::client(peer, request.headers(), trust),
            by_proxy: trust.iter().any(|network| network.has(peer)),
        }
    }
}

/// What is refused before a byte of the body is read.
fn enter(shared: &Shared) -> Result<BodyLimits, Refusal> {
    let limits = BodyLimits {
        max_bytes: shared.limits.body,
        idle: BODY_IDLE,
        total: shared.limits.deadline,
    };
    shared.route().map(|_| limits)
}

/// From the place to the head of the answer.
async fn fly(
    flight: &mut Flight,
    request: Request<Incoming>,
    limits: BodyLimits,
    caller: Caller,
    id: Option<RequestId>,
) -> Result<(Response<Incoming>, Target, Lease, Sent), Refusal> {
    let (mut head, body) = request.into_parts();
    let hasher = Hasher::new(head.method.as_str(), target_of(&head.uri));
    let body = LimitedBody::new(body, limits).map_err(Refusal::Body)?;
    let gathered = match timeout_at(flight.deadline(), gather(body, hasher)).await {
        Ok(gathered) => gathered.map_err(Refusal::Body)?,
        Err(_) => {
            let after = limits.total;
            return Err(Refusal::Body(BodyError::Deadline { after }));
        }
    };
    let asks = head.headers.contains_key(header::UPGRADE);
    // What a websocket does is in its messages: its handshake says nothing of it, and is that of all others.
    let print = gathered.print().filter(|_| !asks);
    let alone = match print.map(|print| flight.shared.standing(print)) {
        None | Some(Standing::Clean) => false,
        Some(Standing::Suspect) => true,
        Some(Standing::Refused { deaths, left }) => {
            return Err(Refusal::Suspected { deaths, left });
        }
    };
    flight.turn(alone).await?;
    let expected = tunnel::expected(&head.headers);
    headers::for_server(&mut head.headers, caller.address, caller.by_proxy);
    if asks {
        tunnel::ask(&mut head.headers);
    }
    if let Some(id) = id {
        head.headers.insert(X_REQUEST_ID, id.header_value());
    }
    let (upload, sent) = gathered.into_upload(Arc::clone(&flight.shared), flight.place);
    let mut request = Request::new(upload);
    *request.method_mut() = head.method;
    *request.uri_mut() = target_of(&head.uri).parse().unwrap_or_default();
    *request.headers_mut() = head.headers;
    let bodiless = request.method() == Method::HEAD;
    let (mut response, target, lease) = send(flight, request, print, &sent).await?;
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if switches && !(asks && tunnel::agrees(&response, expected.as_deref())) {
        return Err(Refusal::Upgrade);
    }
    flight.shared.first_byte(flight.took());
    let no_body = bodiless || response.status() == StatusCode::NOT_MODIFIED;
    let sized = no_body || response.body().size_hint().exact().is_some();
    headers::for_client(response.headers_mut(), sized);
    // An old server's answer does not make the client's connection old.
    *response.version_mut() = Version::HTTP_11;
    Ok((response, target, lease, sent))
}

fn target_of(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", |target| target.as_str())
}

/// Gives the request to the server, once. Only where not one byte of it was sent is another connection tried.
async fn send(
    flight: &mut Flight,
    mut request: Request<Upload>,
    print: Option<Fingerprint>,
    sent: &Sent,
) -> Result<(Response<Incoming>, Target, Lease), Refusal> {
    let mut fresh = false;
    loop {
        let (target, mut lease) = connect(flight, fresh).await?;
        flight.sent(target, print, lease.abort_handle());
        let answer = match timeout_at(flight.deadline(), lease.send(request)).await {
            Ok(answer) => answer,
            Err(_) => return Err(late(flight, sent)),
        };
        match answer {
            Ok(response) => return Ok((response, target, lease)),
            Err(Failed::Stale(back)) if !fresh => {
                request = *back;
                fresh = true;
                flight.shared.retried();
            }
            Err(failed) => {
                let why = match failed {
                    Failed::Lost(error) => chain(&error),
                    Failed::Connect(error) => error.to_string(),
                    Failed::Stale(_) => "it was closed again at once".to_owned(),
                };
                return Err(lost(flight, sent, why).await);
            }
        }
    }
}

fn late(flight: &Flight, sent: &Sent) -> Refusal {
    let after = flight.took();
    sent.take_fault()
        .unwrap_or(Refusal::ServerTooLong { after })
}

/// Why no answer came: what the upload says, a death, or what the connection says.
async fn lost(flight: &Flight, sent: &Sent, why: String) -> Refusal {
    if let Some(refusal) = sent.take_fault() {
        return refusal;
    }
    if flight.server_died().await {
        let deaths = flight.shared.limits.suspicion.deaths;
        return Refusal::Died { deaths };
    }
    Refusal::BrokeOff { why }
}

/// A connection to whoever has requests now. While the server is starting it is waited for, a while.
async fn connect(flight: &Flight, fresh: bool) -> Result<(Target, Lease), Refusal> {
    let shared = &flight.shared;
    let mut heard_news = false;
    loop {
        let why = match shared.route()? {
            Some(Target::Fallback) => return to_fallback(shared, fresh).await,
            Some(Target::Primary) => {
                let lease = shared.pool(Target::Primary).lease(fresh);
                match timeout_at(flight.deadline(), lease).await {
                    Ok(Ok(lease)) => {
                        shared.listens();
                        return Ok((Target::Primary, lease));
                    }
                    Ok(Err(Failed::Connect(why))) => why.to_string(),
                    Ok(Err(Failed::Stale(_) | Failed::Lost(_))) => {
                        "it was closed at once".to_owned()
                    }
                    // Not a byte was sent.
                    Err(_) => return Err(shared.waited(flight.took())),
                }
            }
            None => String::new(),
        };
        let (starting, ever) = shared.starting();
        let at = shared.limits.to;
        match starting {
            Some(since) => {
                if shared.has_fallback()
                    && let Ok(lease) = shared.pool(Target::Fallback).lease(fresh).await
                {
                    return Ok((Target::Fallback, lease));
                }
                if Instant::now() + KNOCK >= flight.patience().min(flight.deadline()) {
                    return Err(Refusal::Starting { at, since });
                }
                shared.news(KNOCK).await;
            }
            // It may have died a moment ago.
            None if !heard_news => {
                heard_news = true;
                shared.news(NEWS).await;
            }
            None => return Err(Refusal::Unreachable { at, why, ever }),
        }
    }
}

async fn to_fallback(shared: &Shared, fresh: bool) -> Result<(Target, Lease), Refusal> {
    if let Ok(lease) = shared.pool(Target::Fallback).lease(fresh).await {
        return Ok((Target::Fallback, lease));
    }
    let state = shared.state();
    // What runs in the server's place may listen where the server did.
    if state == State::Fallback
        && let Ok(lease) = shared.pool(Target::Primary).lease(fresh).await
    {
        return Ok((Target::Primary, lease));
    }
    let at = shared.pool(Target::Fallback).at();
    Err(Refusal::NoFallback { state, at })
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The body of what a client gets.
pub(crate) enum Answer {
    Server(Box<Download>),
    Ours(Bytes),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match self.get_mut() {
            Self::Server(body) => Pin::new(body.as_mut()).poll_frame(cx),
            Self::Ours(text) if text.is_empty() => Poll::Ready(None),
            Self::Ours(text) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Server(body) => body.is_end_stream(),
            Self::Ours(text) => text.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Server(body) => body.size_hint(),
            Self::Ours(text) => SizeHint::with_exact(text.len() as u64),
        }
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
