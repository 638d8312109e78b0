//! A websocket: the handshake that both sides have to have meant, and the bytes between them.
//!
//! It is one request from its handshake to its end: it keeps its place in flight and its client's share, its messages are
//! bounded as bodies are, and it ends when no part of a message has come from either side for the front's deadline. What is
//! between the two is followed frame by frame ([`crate::frames`]) and passed on as it is.

use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until, timeout};

use crate::counts::Outcome;
use crate::flight::Flight;
use crate::frames::{Bad, Frames, close};
use crate::pool::Lease;

/// What both sides add to the key (RFC 6455, section 1.3).
const KNOWN: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// From the answer to the bytes, on each side.
const SWITCH_WITHIN: Duration = Duration::from_secs(10);
/// Bytes on the way, in each direction.
const PIECE: usize = 16 * 1024;
/// For the last words to both.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What has to come back for the key of a handshake; nothing, where there is not one key of 16 bytes.
pub(crate) fn expected(request: &HeaderMap) -> Option<String> {
    let mut keys = request.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let (key, None) = (keys.next()?, keys.next()) else {
        return None;
    };
    let random = STANDARD.decode(key.as_bytes()).ok()?;
    let both = [key.as_bytes(), KNOWN.as_bytes()].concat();
    (random.len() == 16).then(|| STANDARD.encode(Sha1::digest(both)))
}

/// What is for this hop alone and for a websocket is needed by the next, too. Extensions are not: with compression a small
/// message could be a large one.
pub(crate) fn ask(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
}

/// Whether a server's answer agrees to the very handshake that it was sent.
pub(crate) fn agrees<B>(response: &Response<B>, expected: Option<&str>) -> bool {
    let headers = response.headers();
    let one = |name| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    };
    response.status() == StatusCode::SWITCHING_PROTOCOLS
        && expected.is_some()
        && one(header::SEC_WEBSOCKET_ACCEPT) == expected
        && one(header::UPGRADE).is_some_and(|u| u.eq_ignore_ascii_case("websocket"))
        && !headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS)
        && !headers.contains_key(header::CONTENT_LENGTH)
        && !headers.contains_key(header::TRANSFER_ENCODING)
}

/// Opens it, once the client has the answer, and gives what is answered.
pub(crate) fn open(
    mut flight: Flight,
    lease: Lease,
    mut response: Response<Incoming>,
    client: impl Future<Output = Option<Upgraded>> + Send + 'static,
) -> Response<()> {
    let server = hyper::upgrade::on(&mut response);
    let (mut head, _no_body) = response.into_parts();
    head.headers
        .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers
        .insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    head.extensions.clear();
    let (place, shared) = (flight.place, std::sync::Arc::clone(&flight.shared));
    let task = tokio::spawn(async move {
        let both = async { (client.await, server.await) };
        let outcome = match timeout(SWITCH_WITHIN, both).await {
            Ok((Some(client), Ok(server))) => {
                let limits = &flight.shared.limits;
                let outcome = carry(client, server, limits.body, limits.deadline).await;
                drop(lease);
                outcome
            }
            Ok((Some(_), Err(_))) => Outcome::BrokeOff,
            Ok((None, _)) | Err(_) => Outcome::ClientLeft,
        };
        flight.end(outcome);
    });
    shared.is_tunnel(place, task.abort_handle());
    Response::from_parts(head, ())
}

/// One direction.
struct Way {
    from: ReadHalf<TokioIo<Upgraded>>,
    to: WriteHalf<TokioIo<Upgraded>>,
    frames: Frames,
    /// All that was read was passed on.
    clean: bool,
}

/// How a direction ended.
enum End {
    Closed,
    Bad(Bad),
}

impl Way {
    async fn go(&mut self, last: &Mutex<Instant>) -> End {
        let mut piece = vec![0; PIECE];
        loop {
            let read = match self.from.read(&mut piece).await {
                Ok(0) | Err(_) => return End::Closed,
                Ok(read) => &piece[..read],
            };
            match self.frames.read(read) {
                Ok(false) => {}
                Ok(true) => *last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now(),
                Err(bad) => {
                    // Nothing of this piece is passed on, and what was before it may end within a frame.
                    self.clean = false;
                    return End::Bad(bad);
                }
            }
            self.clean = false;
            if self.to.write_all(read).await.is_err() || self.to.flush().await.is_err() {
                return End::Closed;
            }
            self.clean = true;
        }
    }

    /// Says why it ends to who reads, where that can be understood, and ends it.
    async fn end(&mut self, code: Option<u16>, masked: bool) {
        if let Some(code) = code.filter(|_| self.clean && self.frames.is_between()) {
            let _told_if_it_listens = self.to.write_all(&close(code, masked)).await;
        }
        let _it_may_have_gone = self.to.shutdown().await;
    }
}

async fn carry(client: Upgraded, server: Upgraded, body: u64, idle: Duration) -> Outcome {
    let (from_client, to_client) = tokio::io::split(TokioIo::new(client));
    let (from_server, to_server) = tokio::io::split(TokioIo::new(server));
    let way = |from, to, frames| Way {
        from,
        to,
        frames,
        clean: true,
    };
    let mut up = way(from_client, to_server, Frames::of_client(body));
    let mut down = way(from_server, to_client, Frames::of_server());
    let last = Mutex::new(Instant::now());
    let (outcome, code) = {
        let (up, down, quiet) = (
            pin!(up.go(&last)),
            pin!(down.go(&last)),
            pin!(quiet(&last, idle)),
        );
        tokio::select! {
            end = up => match end {
                End::Closed => (Outcome::Websocket, None),
                End::Bad(bad @ Bad::TooLarge) => (Outcome::BodyTooLarge, Some(bad.code())),
                End::Bad(bad) => (Outcome::WebsocketBroken, Some(bad.code())),
            },
            end = down => match end {
                End::Closed => (Outcome::Websocket, None),
                End::Bad(_) => (Outcome::BrokeOff, Some(1011)),
            },
            () = quiet => (Outcome::WebsocketIdle, Some(1001)),
        }
    };
    let last_words = async { tokio::join!(down.end(code, false), up.end(code, true)) };
    let _told_or_cut = timeout(LAST_WORDS, last_words).await;
    outcome
}

/// Ends when no part of a message has come for so long.
async fn quiet(last: &Mutex<Instant>, idle: Duration) {
    loop {
        let until = *last.lock().unwrap_or_else(PoisonError::into_inner) + idle;
        if until <= Instant::now() {
            return;
        }
        sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(keys: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for key in keys {
            headers.append(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static(key));
        }
        headers
    }

    fn answer(of: &[(&'static str, &'static str)]) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        for (name, value) in of {
            let name = http::HeaderName::from_static(name);
            response
                .headers_mut()
                .append(name, HeaderValue::from_static(value));
        }
        response
    }

    #[test]
    fn only_an_answer_to_this_very_handshake_opens_a_websocket() {
        // The example of RFC 6455, section 1.3.
        let expected = expected(&request(&["dGhlIHNhbXBsZSBub25jZQ=="]));
        assert_eq!(expected.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        let right = [
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("upgrade", "WebSocket"),
        ];
        let agreed = |more: &[(&'static str, &'static str)], from: usize| {
            let all = [&right[from..], more].concat();
            agrees(&answer(&all), expected.as_deref())
        };
        assert!(agreed(&[], 0));
        assert!(!agreed(&[], 1), "no accept");
        assert!(
            !agreed(
                &[("sec-websocket-accept", "c3pPLMBiTxaQ9kYGzzhZRbK+xOo=")],
                1
            ),
            "another"
        );
        assert!(
            !agreed(
                &[("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")],
                0
            ),
            "two"
        );
        assert!(!agreed(&[("upgrade", "h2c")], 0), "another protocol beside");
        assert!(!agreed(&[("content-length", "5")], 0), "a length");
        assert!(!agreed(&[("transfer-encoding", "chunked")], 0), "chunks");
        assert!(
            !agreed(&[("sec-websocket-extensions", "permessage-deflate")], 0),
            "not asked"
        );
        let mut other = answer(&right);
        *other.status_mut() = StatusCode::OK;
        assert!(!agrees(&other, expected.as_deref()));
        assert!(!agrees(&answer(&right), None));
    }

    #[test]
    fn a_key_that_is_none_or_two_is_no_handshake() {
        for keys in [
            &[][..],
            &["a"],
            &["dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="],
            &["dGhlIHNhbXBsZQ=="],
        ] {
            assert_eq!(super::expected(&request(keys)), None, "{keys:?}");
        }
    }
}
