//! A server whose service records what it sees, and a client that speaks raw bytes.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use curb_http::body::{BodyLimits, read_body};
use curb_http::listener::{Deadlines, Peer, ServeOptions, Served, serve};
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tower::util::BoxCloneSyncService;

/// No test waits longer than this for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One request as the service saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    pub target: String,
    /// `Err` with the status of the error if the body broke.
    pub body: Result<Vec<u8>, u16>,
}

/// Requests by the client's address, so that cases can run side by side.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<HashMap<SocketAddr, Vec<Seen>>>>, Arc<AtomicUsize>);

impl Recorder {
    pub fn seen(&self, peer: SocketAddr) -> Vec<Seen> {
        self.0
            .lock()
            .unwrap()
            .get(&peer)
            .cloned()
            .unwrap_or_default()
    }

    fn note(&self, peer: SocketAddr, seen: Seen) {
        self.0.lock().unwrap().entry(peer).or_default().push(seen);
    }

    /// How many tunnels the service was told that it does not get.
    pub fn declined(&self) -> usize {
        self.1.load(Ordering::SeqCst)
    }

    /// The service: what it does depends on the path, see [`route`].
    pub fn service(
        &self,
    ) -> BoxCloneSyncService<Request<Incoming>, Response<Full<Bytes>>, Infallible> {
        let recorder = self.clone();
        BoxCloneSyncService::new(tower::service_fn(move |request: Request<Incoming>| {
            let recorder = recorder.clone();
            async move { Ok(route(&recorder, request).await) }
        }))
    }
}

fn reply(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

async fn route(recorder: &Recorder, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let peer = request
        .extensions()
        .get::<Peer>()
        .expect("the listener names the peer")
        .0;
    let method = request.method().to_string();
    let target = request.uri().to_string();
    let path = request.uri().path().to_owned();
    let note = |body| {
        recorder.note(
            peer,
            Seen {
                method: method.clone(),
                target: target.clone(),
                body,
            },
        )
    };
    match path.as_str() {
        "/early" => {
            note(Ok(Vec::new()));
            return reply(StatusCode::UNAUTHORIZED, "no");
        }
        "/slow" => {
            note(Ok(Vec::new()));
            tokio::time::sleep(Duration::from_millis(200)).await;
            return reply(StatusCode::OK, "late");
        }
        "/hang" => {
            note(Ok(Vec::new()));
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
        "/big" => {
            note(Ok(Vec::new()));
            return reply(StatusCode::OK, vec![b'x'; 64 * 1024 * 1024]);
        }
        "/echo-id" => {
            note(Ok(Vec::new()));
            let client = request.headers().get("x-request-id").is_some();
            return reply(StatusCode::OK, format!("client id seen: {client}"));
        }
        "/switch-always" => {
            note(Ok(Vec::new()));
            return reply(StatusCode::SWITCHING_PROTOCOLS, "");
        }
        "/ws" | "/ws-slow" | "/ws-no" | "/ws-greedy" => {
            note(Ok(Vec::new()));
            if path == "/ws-slow" {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            if path == "/ws-greedy" {
                // Takes the upgrade, then declines it: no tunnel must come of that.
                let _ = tunnel(&mut request, recorder);
                return reply(StatusCode::FORBIDDEN, "no tunnel");
            }
            if path == "/ws-no" {
                return reply(StatusCode::FORBIDDEN, "no tunnel");
            }
            return tunnel(&mut request, recorder);
        }
        _ => {}
    }
    match read_body(request.into_body(), BodyLimits::JSON).await {
        Ok(body) => {
            note(Ok(body.to_vec()));
            reply(StatusCode::OK, body)
        }
        Err(error) => {
            note(Err(error.status().as_u16()));
            reply(error.status(), error.to_string())
        }
    }
}

/// Answers 101 and echoes bytes until the peer leaves.
fn tunnel(request: &mut Request<Incoming>, recorder: &Recorder) -> Response<Full<Bytes>> {
    let upgrade = curb_http::upgrade::on(request);
    let declined = Arc::clone(&recorder.1);
    tokio::spawn(async move {
        let Some(stream) = upgrade.await else {
            declined.fetch_add(1, Ordering::SeqCst);
            return;
        };
        let mut stream = TokioIo::new(stream);
        let mut buf = [0; 1024];
        while let Ok(n @ 1..) = stream.read(&mut buf).await {
            if stream.write_all(&buf[..n]).await.is_err() {
                return;
            }
        }
    });
    let mut response = reply(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = response.headers_mut();
    headers.insert(
        header::CONNECTION,
        http::HeaderValue::from_static("upgrade"),
    );
    headers.insert(header::UPGRADE, http::HeaderValue::from_static("websocket"));
    response
}

/// A running server. Dropping it ends it.
pub struct TestServer {
    pub addr: SocketAddr,
    pub recorder: Recorder,
    stop: Option<oneshot::Sender<()>>,
    done: JoinHandle<Served>,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.done.abort();
    }
}

impl TestServer {
    pub async fn start(options: ServeOptions) -> Self {
        let recorder = Recorder::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let service = recorder.service();
        let done = tokio::spawn(serve(listener, service, options, async {
            let _ = stopped.await;
        }));
        Self {
            addr,
            recorder,
            stop: Some(stop),
            done,
        }
    }

    /// Begins the shutdown and waits for its end.
    pub async fn stop(mut self) -> Served {
        self.begin_stop();
        let done = tokio::time::timeout(PATIENCE, &mut self.done).await;
        done.expect("the server ends")
            .expect("the server does not panic")
    }

    pub fn begin_stop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
    }

    pub async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.addr)
            .await
            .expect("the server accepts");
        stream.set_nodelay(true).unwrap();
        let local = stream.local_addr().unwrap();
        Client {
            stream,
            buf: Vec::new(),
            local,
        }
    }
}

/// Deadlines short enough for tests, on a machine that other tests keep busy.
pub fn quick() -> ServeOptions {
    ServeOptions {
        deadlines: Deadlines {
            head: Duration::from_millis(400),
            idle: Duration::from_millis(800),
            body_idle: Duration::from_millis(400),
            body_total: Duration::from_millis(1200),
            write_stall: Duration::from_millis(500),
            linger: Duration::from_millis(300),
        },
        drain: Duration::from_secs(5),
        ..ServeOptions::default()
    }
}

/// One response as it stood on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (n, v) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then_some(v.trim())
        })
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub struct Client {
    pub stream: TcpStream,
    buf: Vec<u8>,
    pub local: SocketAddr,
}

impl Client {
    /// Sends bytes; a server that has closed already is no error here.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = tokio::time::timeout(PATIENCE, self.stream.write_all(bytes.as_ref()));
        let _ = sent.await.expect("the server takes bytes or closes");
    }

    /// The next response, or `None` if the connection ended.
    pub async fn reply(&mut self) -> Option<Reply> {
        tokio::time::timeout(PATIENCE, self.reply_inner())
            .await
            .expect("an answer or a close")
    }

    async fn reply_inner(&mut self) -> Option<Reply> {
        loop {
            if let Some((reply, used)) = parse_reply(&self.buf) {
                self.buf.drain(..used);
                return Some(reply);
            }
            let mut piece = [0; 16 * 1024];
            match self.stream.read(&mut piece).await {
                Ok(0) | Err(_) => return None,
                Ok(n) => self.buf.extend_from_slice(&piece[..n]),
            }
        }
    }

    /// All responses up to the end of the connection.
    pub async fn replies_to_end(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        while let Some(reply) = self.reply().await {
            replies.push(reply);
        }
        assert!(
            self.buf.is_empty(),
            "half a response: {}",
            self.buf.escape_ascii()
        );
        replies
    }

    /// Whether the connection still serves.
    pub async fn is_alive(&mut self) -> bool {
        self.send("GET /alive HTTP/1.1\r\nHost: h\r\n\r\n").await;
        self.reply().await.is_some_and(|r| r.status == 200)
    }
}

/// The first response in `buf`, if it is whole, and its length.
pub fn parse_reply(buf: &[u8]) -> Option<(Reply, usize)> {
    let end = buf.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(buf[..end].to_vec()).expect("an ASCII head");
    let status: u16 = head[9..12].parse().expect("a status");
    let mut reply = Reply {
        status,
        head,
        body: Vec::new(),
    };
    let bodiless = status < 200 || status == 204 || status == 304;
    let length = if bodiless {
        0
    } else {
        reply.header("content-length")?.parse().expect("a length")
    };
    reply.body = buf.get(end..end + length)?.to_vec();
    Some((reply, end + length))
}
