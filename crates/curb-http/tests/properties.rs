//! Properties of the whole path from bytes to the service, over an in-memory stream.

mod common;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use curb_http::body::{BodyLimits, read_body};
use curb_http::fuzz;
use curb_http::listener::{ServeOptions, serve_stream};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Method, target and body; `None` for a body that broke.
type Taken = (String, String, Option<Vec<u8>>);

#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<Taken>>>);

impl Log {
    async fn record(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (method, target) = (request.method().to_string(), request.uri().to_string());
        let body = read_body(request.into_body(), BodyLimits::JSON)
            .await
            .ok()
            .map(|b| b.to_vec());
        self.0.lock().unwrap().push((method, target, body));
        Ok(Response::new(Full::new(Bytes::from_static(b"ok"))))
    }

    fn taken(&self) -> Vec<Taken> {
        self.0.lock().unwrap().clone()
    }
}

/// Sends `bytes` in pieces that end at `cuts`, then closes, and returns what the service saw and
/// what came back. With `guarded` false hyper stands alone, as an independent reading.
fn play(bytes: &[u8], cuts: &[usize], guarded: bool) -> (Vec<Taken>, String) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (client, server) = tokio::io::duplex(256 * 1024);
        let log = Log::default();
        let service = {
            let log = log.clone();
            move |r| log.clone().record(r)
        };
        let peer = "127.0.0.1:1".parse().unwrap();
        let serving = tokio::spawn(async move {
            if guarded {
                serve_stream(
                    server,
                    peer,
                    tower::service_fn(service),
                    ServeOptions::default(),
                )
                .await;
            } else {
                let io = TokioIo::new(server);
                let service = hyper::service::service_fn(service);
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(io, service)
                    .await;
            }
        });
        let (mut read, mut write) = tokio::io::split(client);
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            let _ = read.read_to_end(&mut all).await;
            String::from_utf8_lossy(&all).into_owned()
        });
        let mut start = 0;
        for end in cuts.iter().copied().chain([bytes.len()]) {
            if end > start {
                let _ = write.write_all(&bytes[start..end]).await;
                // The clock is stopped: this waits until nothing else can run.
                tokio::time::sleep(Duration::from_millis(1)).await;
                start = end;
            }
        }
        let _ = write.shutdown().await;
        let ended = tokio::time::timeout(Duration::from_secs(3600), serving).await;
        ended
            .expect("the connection ends")
            .expect("serving does not panic");
        (log.taken(), reading.await.unwrap())
    })
}

#[derive(Debug, Clone)]
enum Shape {
    Empty,
    Length(Vec<u8>),
    Chunks(Vec<Vec<u8>>),
}

fn shape() -> impl Strategy<Value = Shape> {
    let bytes =
        |max| prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n')], 0..max);
    prop_oneof![
        Just(Shape::Empty),
        bytes(60).prop_map(Shape::Length),
        prop::collection::vec(bytes(40), 0..5).prop_map(Shape::Chunks),
    ]
}

fn request() -> impl Strategy<Value = (Vec<u8>, Taken)> {
    let method = prop::sample::select(vec!["GET", "POST", "PUT", "DELETE"]);
    let extra = prop::collection::vec(("[A-Z][a-z-]{0,8}x", "[ -~]{0,20}"), 0..4);
    (method, "/[a-z]{0,6}", shape(), extra).prop_map(|(method, target, shape, extra)| {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n");
        for (name, value) in extra {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let (framing, wire, body) = match shape {
            Shape::Empty => (String::new(), Vec::new(), Vec::new()),
            Shape::Length(body) => (
                format!("Content-Length: {}\r\n", body.len()),
                body.clone(),
                body,
            ),
            Shape::Chunks(chunks) => {
                let mut wire = Vec::new();
                for chunk in chunks.iter().filter(|c| !c.is_empty()) {
                    wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    wire.extend_from_slice(chunk);
                    wire.extend_from_slice(b"\r\n");
                }
                wire.extend_from_slice(b"0\r\n\r\n");
                (
                    "Transfer-Encoding: chunked\r\n".to_owned(),
                    wire,
                    chunks.concat(),
                )
            }
        };
        let mut bytes = format!("{head}{framing}\r\n").into_bytes();
        bytes.extend_from_slice(&wire);
        (bytes, (method.to_owned(), target, Some(body)))
    })
}

fn stream() -> impl Strategy<Value = (Vec<u8>, Vec<Taken>)> {
    prop::collection::vec(request(), 1..5).prop_map(|requests| {
        let (bytes, taken): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
        (bytes.concat(), taken)
    })
}

fn cuts(seeds: &[prop::sample::Index], len: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = seeds.iter().map(|s| s.index(len)).collect();
    cuts.sort_unstable();
    cuts
}

/// A second reading of a stream, written for plainness alone: what may reach the service, in
/// order. It knows only the heads that the generator above and small changes to them can make,
/// and says no to everything else.
fn oracle(mut bytes: &[u8]) -> Vec<Taken> {
    let mut taken = Vec::new();
    while let Some((method, target, framing, rest)) = oracle_head(bytes) {
        let (body, next) = match framing.as_deref() {
            None => (Some(Vec::new()), Some(rest)),
            Some("chunked") => oracle_chunks(rest),
            Some(length) => match rest.split_at_checked(length.parse().unwrap()) {
                Some((body, next)) => (Some(body.to_vec()), Some(next)),
                None => (None, None),
            },
        };
        taken.push((method, target, body));
        let Some(next) = next else { break };
        bytes = next;
    }
    taken
}

type OracleHead<'a> = (String, String, Option<String>, &'a [u8]);

fn oracle_head(bytes: &[u8]) -> Option<OracleHead<'_>> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let (head, rest) = (std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 4..]);
    if head
        .bytes()
        .any(|b| b != b'\r' && b != b'\n' && b != b'\t' && !(b' '..=b'~').contains(&b))
    {
        return None;
    }
    let mut lines = head.split("\r\n");
    let words: Vec<&str> = lines.next()?.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else {
        return None;
    };
    let upper = method.bytes().all(|b| b.is_ascii_uppercase());
    let path = target.starts_with('/')
        && target
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~/?%:@!$&'()*+,;=".contains(&b));
    if !upper
        || !path
        || method.is_empty()
        || method.len() > 16
        || head.contains('\t') && head.lines().next()?.contains('\t')
    {
        return None;
    }
    let (mut hosts, mut framings) = (0, Vec::new());
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let (name, value) = (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']));
        let token = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^`|~".contains(&b));
        if !token || line.contains(['\r', '\n']) {
            return None;
        }
        match name.as_str() {
            "host" => {
                let plain = !value.is_empty()
                    && value
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
                hosts += if plain { 1 } else { 2 };
            }
            "content-length" => framings.push(value.to_owned()),
            "transfer-encoding" if value == "chunked" => framings.push(value.to_owned()),
            "transfer-encoding" | "trailer" | "upgrade" | "expect" => return None,
            _ => {}
        }
    }
    if hosts != 1 || framings.len() > 1 {
        return None;
    }
    let framing = framings.pop();
    let good = framing.as_deref().is_none_or(|f| {
        f == "chunked"
            || f.parse::<u64>()
                .is_ok_and(|n| n.to_string() == f && f.len() <= 18)
    });
    good.then_some((method.to_owned(), target.to_owned(), framing, rest))
}

fn oracle_chunks(mut rest: &[u8]) -> (Option<Vec<u8>>, Option<&[u8]>) {
    let mut body = Vec::new();
    let mut step = || -> Option<Option<&[u8]>> {
        let line = rest.windows(2).position(|w| w == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line])
            .ok()?
            .to_ascii_lowercase();
        let size_value = u64::from_str_radix(&size, 16)
            .ok()
            .filter(|v| format!("{v:x}") == size && size.len() <= 8)?;
        rest = &rest[line + 2..];
        if size_value == 0 {
            return rest.strip_prefix(b"\r\n").map(Some);
        }
        let (data, after) = rest.split_at_checked(size_value as usize)?;
        body.extend_from_slice(data);
        rest = after.strip_prefix(b"\r\n")?;
        Some(None)
    };
    loop {
        match step() {
            None => return (None, None),
            Some(None) => {}
            Some(Some(next)) => return (Some(body), Some(next)),
        }
    }
}

const DESYNC: &str = "could not be read in one way only";

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_pieces_of_a_stream_never_change_what_the_service_sees(
        (bytes, expected) in stream(),
        seeds in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let (seen, answers) = play(&bytes, &cuts(&seeds, bytes.len()), true);
        prop_assert_eq!(&seen, &expected, "{}", answers);
        prop_assert_eq!(answers.matches("HTTP/1.1 200").count(), expected.len());
        prop_assert_eq!(oracle(&bytes), expected);
    }

    #[test]
    fn hyper_alone_reads_the_same_bodies(
        (bytes, expected) in stream(),
        seeds in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        prop_assert_eq!(play(&bytes, &cuts(&seeds, bytes.len()), false).0, expected);
    }

    #[test]
    fn a_damaged_stream_is_served_up_to_the_damage_and_not_beyond(
        (mut bytes, _) in stream(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, prop::sample::select(
            b"\r\n\t :;,/0123456789abcdefgGx\0\x7f\xff_-+\"".to_vec())), 1..4),
        seeds in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        for (at, kind, byte) in damage {
            let at = at.index(bytes.len());
            match kind {
                0 => { bytes.remove(at); }
                1 => bytes.insert(at, byte),
                2 => bytes[at] = byte,
                _ => bytes.truncate(at.max(1)),
            }
            prop_assume!(!bytes.is_empty());
        }
        let (seen, answers) = play(&bytes, &cuts(&seeds, bytes.len()), true);
        prop_assert!(!answers.contains(DESYNC), "guard and hyper differ: {}", bytes.escape_ascii());
        prop_assert_eq!(seen, oracle(&bytes), "{}", bytes.escape_ascii());
    }

    #[test]
    fn arbitrary_bytes_reach_the_service_only_as_canonical_requests(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(
            b"GET POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n".to_vec())], 1..200),
    ) {
        let (seen, answers) = play(&bytes, &[], true);
        prop_assert!(!answers.contains(DESYNC));
        prop_assert_eq!(seen, oracle(&bytes));
    }

    #[test]
    fn the_parsers_never_panic_and_do_not_care_about_pieces(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        text in "[ -~]{0,60}",
        path in "/[a-z./%;:@2e?&=#]{0,40}",
    ) {
        let _ = fuzz::head(&bytes);
        let _ = fuzz::chunked(&bytes);
        fuzz::target(&String::from_utf8_lossy(&bytes));
        fuzz::target(&path);
        fuzz::names(&text);
    }

    #[test]
    fn near_heads_and_near_chunks_do_not_care_about_pieces(
        (bytes, _) in stream(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        chunks in "[0-9a-f;\r\n]{0,40}",
    ) {
        let mut bytes = bytes;
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = fuzz::head(&bytes);
        let _ = fuzz::chunked(&bytes[at..]);
        let _ = fuzz::chunked(chunks.as_bytes());
    }
}
