//! Requests a second through the whole listener, over loopback, in plain timing.
//!
//! `cargo bench -p curb-http` prints, for the guarded listener and for hyper without the guard,
//! the requests a second and the CPU time of the server's thread a request. The server runs on
//! one thread; the clients keep connections alive, on a thread of their own.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use curb_http::body::{BodyLimits, read_body};
use curb_http::listener::{ServeOptions, serve};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

const CLIENTS: usize = 16;
const FOR: Duration = Duration::from_secs(3);

async fn ok(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = read_body(request.into_body(), BodyLimits::JSON)
        .await
        .unwrap_or_default();
    Ok(Response::new(Full::new(if body.is_empty() {
        Bytes::from_static(b"ok")
    } else {
        body
    })))
}

/// Starts a server on a thread of its own, with one core's worth of work.
fn start(guarded: bool) -> SocketAddr {
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name(THREAD.into())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                    .await
                    .expect("a port");
                tell.send(listener.local_addr().expect("an address"))
                    .expect("a listener");
                if guarded {
                    let never = std::future::pending();
                    serve(
                        listener,
                        tower::service_fn(ok),
                        ServeOptions::default(),
                        never,
                    )
                    .await;
                } else {
                    bare(listener).await;
                }
            });
        })
        .expect("a thread");
    told.recv().expect("the server starts")
}

async fn bare(listener: tokio::net::TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            let service = hyper::service::service_fn(ok);
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

const THREAD: &str = "bench-server";

/// CPU time of all threads with the server's name, in clock ticks of 10 ms (Linux).
fn server_ticks() -> u64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return 0;
    };
    let mut ticks = 0;
    for task in tasks.flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else {
            continue;
        };
        if let Some((head, rest)) = stat.rsplit_once(") ")
            && head.ends_with(THREAD)
        {
            let fields: Vec<&str> = rest.split(' ').collect();
            ticks += fields[11..13]
                .iter()
                .filter_map(|f| f.parse::<u64>().ok())
                .sum::<u64>();
        }
    }
    ticks
}

/// One thread drives all connections: writes on each, then reads from each, `depth` at a time.
fn drive(addr: SocketAddr, request: &[u8], depth: usize) -> (u64, Duration) {
    let mut streams: Vec<TcpStream> = (0..CLIENTS)
        .map(|_| {
            let stream = TcpStream::connect(addr).expect("the server accepts");
            stream.set_nodelay(true).expect("nodelay");
            stream
        })
        .collect();
    let batch = request.repeat(depth);
    let mut buf = vec![0; 64 * 1024];
    streams[0].write_all(request).expect("a request");
    let one = streams[0].read(&mut buf).expect("a response");
    let (start, mut done) = (Instant::now(), 0);
    while start.elapsed() < FOR {
        for stream in &mut streams {
            stream.write_all(&batch).expect("requests");
        }
        for stream in &mut streams {
            stream
                .read_exact(&mut buf[..one * depth])
                .expect("responses");
        }
        done += (CLIENTS * depth) as u64;
    }
    (done, start.elapsed())
}

fn measure(name: &str, guarded: bool, request: &[u8], depth: usize) {
    let addr = start(guarded);
    let before = server_ticks();
    let (done, took) = drive(addr, request, depth);
    let cpu = (server_ticks() - before) as f64 * 10_000.0 / done as f64;
    let rate = done as f64 / took.as_secs_f64();
    let kind = if guarded { "guarded" } else { "hyper alone" };
    #[expect(clippy::print_stdout, reason = "a benchmark's output")]
    {
        println!("{name:<28} {kind:<12} {rate:>9.0} requests/s {cpu:>7.2} us of server CPU each");
    }
}

fn main() {
    let get = b"GET /api/jobs/raysubmit_9Zk3 HTTP/1.1\r\nHost: 127.0.0.1:8266\r\nUser-Agent: \
        python-requests/2.32.3\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: \
        keep-alive\r\nAuthorization: Bearer 0123456789abcdef0123456789abcdef\r\n\r\n";
    let body = "x".repeat(300);
    let post = format!(
        "POST /api/jobs/ HTTP/1.1\r\nHost: 127.0.0.1:8266\r\nUser-Agent: python-requests/2.32.3\r\n\
         Accept: */*\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for guarded in [false, true] {
        measure("GET, one at a time", guarded, get, 1);
        measure("POST of 300 B, one at a time", guarded, post.as_bytes(), 1);
        measure("GET, 16 in a pipeline", guarded, get, 16);
    }
}
