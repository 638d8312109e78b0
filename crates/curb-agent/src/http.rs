//! A small HTTP/1.1 server for what others read: GET only, no bodies, all of it bounded.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// A request's head is at most this long.
const LONGEST_HEAD: usize = 8 << 10;
const MOST_HEADERS: usize = 64;
/// So many connections at a time; one more is told to come again.
const MOST_CONNECTIONS: usize = 32;
/// From the first byte of a request to the end of its head, and for taking the answer.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// A connection without requests is closed after this.
const IDLE: Duration = Duration::from_secs(90);
/// After an accept that failed (no descriptors left).
const REST: Duration = Duration::from_millis(200);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Without the query.
    pub path: String,
    /// What is behind `?`.
    pub query: String,
    /// OpenMetrics is understood.
    pub open_metrics: bool,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The status.
    pub status: u16,
    /// What the text is.
    pub kind: &'static str,
    /// The text.
    pub text: String,
}

impl Page {
    /// Plain text.
    pub fn plain(status: u16, text: impl Into<String>) -> Page {
        Page {
            status,
            kind: "text/plain; charset=utf-8",
            text: text.into(),
        }
    }
}

/// Answers what is asked.
pub type Answer = Rc<RefCell<dyn FnMut(&Ask) -> Page>>;

/// Serves for ever; must run in a `LocalSet`.
pub async fn serve(listener: TcpListener, answer: Answer) {
    let open = Rc::new(());
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        if Rc::strong_count(&open) > MOST_CONNECTIONS {
            let busy = Page::plain(503, "too many connections; try again\n");
            // Small: it fits into the socket, or is lost with the connection.
            let _told_if_it_fits = stream.try_write(&bytes(&busy, false, false));
            continue;
        }
        let (answer, held) = (Rc::clone(&answer), Rc::clone(&open));
        tokio::task::spawn_local(async move {
            // Who goes away in the middle of it has gone away.
            let _gone = connection(stream, &answer).await;
            drop(held);
        });
    }
}

async fn connection(mut stream: TcpStream, answer: &Answer) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::new();
    loop {
        let read = read_head(&mut stream, &mut head).await?;
        let (page, body, keep) = match read {
            Head::Closed => return Ok(()),
            Head::Wrong(page) => (page, true, false),
            Head::Asks {
                ask,
                length,
                keep,
                is_head,
            } => {
                head.drain(..length);
                (answer.borrow_mut()(&ask), !is_head, keep)
            }
        };
        let reply = bytes(&page, body, keep);
        timeout(TAKEN_WITHIN, stream.write_all(&reply)).await??;
        if !keep {
            return stream.shutdown().await;
        }
    }
}

enum Head {
    Closed,
    Wrong(Page),
    Asks {
        ask: Ask,
        length: usize,
        keep: bool,
        is_head: bool,
    },
}

async fn read_head(stream: &mut TcpStream, head: &mut Vec<u8>) -> io::Result<Head> {
    let mut within = if head.is_empty() { IDLE } else { HEAD_WITHIN };
    let mut until = tokio::time::Instant::now() + within;
    loop {
        match parse(head) {
            Parsed::Whole(whole) => return Ok(whole),
            Parsed::Part if head.len() >= LONGEST_HEAD => {
                return Ok(Head::Wrong(Page::plain(
                    431,
                    "the head of the request is too long\n",
                )));
            }
            Parsed::Part => {}
        }
        let mut some = [0_u8; 2048];
        let Ok(read) = tokio::time::timeout_at(until, stream.read(&mut some)).await else {
            return Ok(Head::Closed);
        };
        match read? {
            0 => return Ok(Head::Closed),
            n => head.extend_from_slice(&some[..n]),
        }
        if within == IDLE {
            within = HEAD_WITHIN;
            until = tokio::time::Instant::now() + within;
        }
    }
}

enum Parsed {
    Part,
    Whole(Head),
}

fn parse(bytes: &[u8]) -> Parsed {
    let wrong = |status, text: &str| Parsed::Whole(Head::Wrong(Page::plain(status, text)));
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Parsed::Part,
        Err(_) => return wrong(400, "no HTTP request\n"),
    };
    let header = |name: &str| {
        let found = request
            .headers
            .iter()
            .find(|h| h.name.eq_ignore_ascii_case(name));
        found.map(|h| String::from_utf8_lossy(h.value).to_ascii_lowercase())
    };
    if header("transfer-encoding").is_some() || header("content-length").is_some_and(|l| l != "0") {
        return wrong(400, "no request here has a body\n");
    }
    // A page of another site that a browser shows has no business here.
    let elsewhere = header("sec-fetch-site").is_some_and(|s| s != "same-origin" && s != "none");
    if elsewhere || header("origin").is_some() {
        return wrong(403, "not for pages of other sites\n");
    }
    let method = request.method.unwrap_or_default();
    if method != "GET" && method != "HEAD" {
        return wrong(405, "only GET\n");
    }
    let path = request.path.unwrap_or_default();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let keep = request.version == Some(1) && header("connection").is_none_or(|c| c != "close");
    let accepted = header("accept").unwrap_or_default();
    Parsed::Whole(Head::Asks {
        ask: Ask {
            path: path.to_owned(),
            query: query.to_owned(),
            open_metrics: accepted.contains("application/openmetrics-text"),
        },
        length,
        keep,
        is_head: method == "HEAD",
    })
}

fn bytes(page: &Page, body: bool, keep: bool) -> Vec<u8> {
    let reason = match page.status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    };
    let connection = if keep { "keep-alive" } else { "close" };
    let mut all = format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: {connection}\r\nx-content-type-options: nosniff\r\ncache-control: no-store\r\n\r\n",
        page.status,
        page.kind,
        page.text.len(),
    )
    .into_bytes();
    if body {
        all.extend_from_slice(page.text.as_bytes());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    /// Runs a server of which every page tells its path, and what the test does with its address.
    fn with_server<T: Send + 'static>(
        test: impl FnOnce(std::net::SocketAddr) -> T + Send + 'static,
    ) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("runtime");
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
            let at = listener.local_addr().expect("an address");
            let page = |ask: &Ask| {
                Page::plain(
                    200,
                    format!("{}|{}|{}", ask.path, ask.query, ask.open_metrics),
                )
            };
            tokio::task::spawn_local(serve(listener, Rc::new(RefCell::new(page))));
            tokio::task::spawn_blocking(move || test(at))
                .await
                .expect("the test ran")
        })
    }

    fn say(at: std::net::SocketAddr, text: &str) -> String {
        let mut stream = std::net::TcpStream::connect(at).expect("connected");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("set");
        stream.write_all(text.as_bytes()).expect("sent");
        let mut all = String::new();
        stream.read_to_string(&mut all).expect("answered");
        all
    }

    #[test]
    fn a_page_is_answered_and_the_connection_kept_for_the_next() {
        let all = with_server(|at| {
            say(
                at,
                "GET /a?b=1 HTTP/1.1\r\nHost: x\r\n\r\nGET /c HTTP/1.1\r\nAccept: application/openmetrics-text;version=1.0.0\r\nConnection: close\r\n\r\n",
            )
        });
        assert!(all.contains("/a|b=1|false"), "{all}");
        assert!(all.ends_with("/c||true"), "{all}");
        assert_eq!(all.matches("HTTP/1.1 200 OK").count(), 2);
    }

    #[test]
    fn what_is_no_plain_get_is_refused_and_the_connection_closed() {
        with_server(|at| {
            for (text, status) in [
                ("POST / HTTP/1.1\r\n\r\n", "405"),
                ("DELETE /metrics HTTP/1.1\r\n\r\n", "405"),
                ("GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", "400"),
                (
                    "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                    "400",
                ),
                ("GET / HTTP/1.1\r\nOrigin: http://elsewhere\r\n\r\n", "403"),
                (
                    "GET / HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\n\r\n",
                    "403",
                ),
                ("\u{0}\u{1}\u{2}\r\n\r\n", "400"),
            ] {
                let all = say(at, text);
                assert!(
                    all.starts_with(&format!("HTTP/1.1 {status}")),
                    "{text:?}: {all}"
                );
                assert!(all.contains("connection: close"));
            }
            let long = format!(
                "GET / HTTP/1.1\r\nX: {}\r\n\r\n",
                "x".repeat(LONGEST_HEAD * 2)
            );
            // It may be closed before all of it was sent; it is never read to its end.
            let mut stream = std::net::TcpStream::connect(at).expect("connected");
            let _closed_early = stream.write_all(long.as_bytes());
            let mut head = [0; 12];
            if stream.read_exact(&mut head).is_ok() {
                assert_eq!(&head, b"HTTP/1.1 431");
            }
        });
    }

    #[test]
    fn a_head_request_has_the_length_and_no_body() {
        let all = with_server(|at| say(at, "HEAD /x HTTP/1.1\r\nConnection: close\r\n\r\n"));
        assert!(
            all.contains("content-length: 9") && all.ends_with("\r\n\r\n"),
            "{all}"
        );
    }

    #[test]
    fn one_connection_too_many_is_told_to_come_again_and_others_are_served() {
        with_server(|at| {
            let held: Vec<_> = (0..MOST_CONNECTIONS)
                .map(|_| std::net::TcpStream::connect(at).expect("connected"))
                .collect();
            std::thread::sleep(Duration::from_millis(100));
            let mut one_more = std::net::TcpStream::connect(at).expect("connected");
            let mut all = String::new();
            one_more.read_to_string(&mut all).expect("answered");
            assert!(all.starts_with("HTTP/1.1 503"), "{all}");
            drop(held);
            std::thread::sleep(Duration::from_millis(100));
            let all = say(at, "GET /x HTTP/1.1\r\nConnection: close\r\n\r\n");
            assert!(all.starts_with("HTTP/1.1 200"), "{all}");
        });
    }
}
