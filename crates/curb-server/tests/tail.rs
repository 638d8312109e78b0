//! Following a log: while a job waits, what it waits for; then its own output.

mod support;

use std::time::Duration;

use curb_standin::{JobTime, Options, Standin};
use futures_util::StreamExt;
use support::{POLICY, World, raw};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

type Socket = WebSocketStream<TcpStream>;

async fn follow(w: &World, token: &str, id: &str) -> Socket {
    let addr = w.curb.address();
    let mut request = format!("ws://{addr}/api/jobs/{id}/logs/tail")
        .into_client_request()
        .expect("a request");
    let value = format!("Bearer {token}").parse().expect("a header");
    request.headers_mut().insert("authorization", value);
    let stream = TcpStream::connect(addr).await.expect("connected");
    let (socket, _) = tokio_tungstenite::client_async(request, stream)
        .await
        .expect("upgraded");
    socket
}

/// All text until the close, and its code.
async fn to_the_end(mut socket: Socket) -> (String, Option<u16>) {
    let mut text = String::new();
    let all = async {
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Text(t) => text.push_str(&t),
                Message::Close(frame) => return frame.map(|f| f.code.into()),
                _ => {}
            }
        }
        None
    };
    let code = tokio::time::timeout(Duration::from_secs(20), all)
        .await
        .expect("it ends");
    (text, code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_jobs_tail_tells_its_place_then_its_admission_then_its_own_output() {
    let ray = Standin::spawn(Options {
        job_time: JobTime::FromEntrypoint,
        ..Options::default()
    })
    .expect("a stand-in");
    let w = World::before(ray, POLICY, |_| {}).await;
    let first = r#"{"entrypoint":"sleep 1.5","submission_id":"first","metadata":{"curb.cpu":"2"}}"#;
    assert_eq!(w.post(&w.ana, "/api/jobs/", first).await.status, 200);
    let second = r#"{"entrypoint":"echo done; sleep 0.1","submission_id":"second","metadata":{"curb.cpu":"2"}}"#;
    assert_eq!(w.post(&w.ana, "/api/jobs/", second).await.status, 200);
    let (text, code) = to_the_end(follow(&w, &w.ana, "second").await).await;
    assert!(
        text.starts_with("curb: queued, position 1 of 1; each-user (user ana)"),
        "{text}"
    );
    assert!(
        text.contains("held by you (first)") && text.contains("curb: admitted after"),
        "{text}"
    );
    assert!(text.contains("Running entrypoint for job second"), "{text}");
    assert_eq!(code, Some(1000), "{text}");
    assert_eq!(w.status(&w.ana, "second").await, "SUCCEEDED");
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_cancelled_while_it_waits_says_so_and_ends_the_tail() {
    let w = World::new().await;
    assert_eq!(w.submit(&w.ana, "first", "2").await.status, 200);
    assert_eq!(w.submit(&w.ana, "second", "2").await.status, 200);
    let socket = follow(&w, &w.ana, "second").await;
    assert_eq!(
        w.post(&w.ana, "/api/jobs/second/stop", "").await.status,
        200
    );
    let (text, code) = to_the_end(socket).await;
    assert!(text.contains("stopped by ana while it waited"), "{text}");
    assert_eq!(code, Some(1000));
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_an_operator_stops_ends_its_tail_with_who_and_why() {
    let w = World::new().await;
    assert_eq!(w.submit(&w.ana, "run", "1").await.status, 200);
    w.until(&w.ana, "run", "RUNNING").await;
    let socket = follow(&w, &w.ana, "run").await;
    let body = r#"{"why":"the nodes are needed"}"#;
    let stopped = w.post(&w.ops, "/curb/v1/jobs/run/stop", body).await;
    assert_eq!(stopped.status, 200, "{stopped:?}");
    let (text, code) = to_the_end(socket).await;
    assert!(
        text.ends_with("stopped by ops: the nodes are needed\n"),
        "{text}"
    );
    assert_eq!(code, Some(1000));
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_token_ends_a_tail_within_seconds() {
    let w = World::new().await;
    let made = w
        .post(&w.admin, "/curb/v1/tokens", r#"{"user":"ana"}"#)
        .await
        .json();
    let (id, token) = (
        made["id"].as_str().expect("an id"),
        made["token"].as_str().expect("a token").to_owned(),
    );
    assert_eq!(w.submit(&token, "long", "1").await.status, 200);
    let socket = follow(&w, &token, "long").await;
    let path = format!("/curb/v1/tokens/{id}");
    assert_eq!(
        support::send(w.curb.address(), "DELETE", &path, Some(&w.admin), "", b"")
            .await
            .status,
        200
    );
    let begun = std::time::Instant::now();
    let (_, code) = to_the_end(socket).await;
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
    assert_ne!(code, Some(1000));
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tails_of_one_user_are_bounded_and_given_back() {
    let w = World::with(POLICY, |o| o.limits.tails_per_user = 2).await;
    assert_eq!(w.submit(&w.ana, "a", "1").await.status, 200);
    let (one, _two) = (follow(&w, &w.ana, "a").await, follow(&w, &w.ana, "a").await);
    let addr = w.curb.address();
    let third = format!(
        "GET /api/jobs/a/logs/tail HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        w.ana
    );
    assert_eq!(raw(addr, third.as_bytes()).await.status, 429);
    drop(one);
    let mut status = 0;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        let stream = TcpStream::connect(addr).await.expect("connected");
        let mut request = format!("ws://{addr}/api/jobs/a/logs/tail")
            .into_client_request()
            .expect("a request");
        request.headers_mut().insert(
            "authorization",
            format!("Bearer {}", w.ana).parse().expect("a header"),
        );
        if tokio_tungstenite::client_async(request, stream)
            .await
            .is_ok()
        {
            status = 101;
            break;
        }
    }
    assert_eq!(status, 101, "a closed tail gives its place back");
    w.curb.stop().await;
}
