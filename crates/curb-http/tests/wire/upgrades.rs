//! Upgrades: one well-formed kind, and silence until its answer.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{PATIENCE, TestServer};
use crate::{Case, End, SMUGGLED, patient, refused, run_all};

fn ws(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_whole_websocket_upgrade_is_one() {
    let mut cases: Vec<Case> = Vec::new();
    for (name, head) in [
        (
            "h2c",
            "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n",
        ),
        (
            "TLS",
            "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: TLS/1.0\r\n\r\n",
        ),
        (
            "list",
            "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
        ),
        (
            "versioned",
            "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket/13\r\n\r\n",
        ),
        (
            "empty",
            "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade:\r\n\r\n",
        ),
        (
            "two",
            "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n\r\n",
        ),
        (
            "without Connection",
            "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n",
        ),
        (
            "Connection alone",
            "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\n\r\n",
        ),
        (
            "Connection in a list alone",
            "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, UPGRADE\r\n\r\n",
        ),
        (
            "POST",
            "POST /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        ),
        (
            "HTTP/1.0",
            "GET /ws HTTP/1.0\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        ),
        (
            "with a length",
            "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx",
        ),
        (
            "with chunks",
            "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
    ] {
        cases.extend(refused(&format!("upgrade: {name}"), 400, head));
    }
    // Bytes in the same segment: the service never sees the request.
    for path in ["/ws", "/ws-slow", "/ws-no"] {
        cases.extend(
            refused(path, 400, ws(path) + "x")
                .into_iter()
                .filter(|c| !c.drip),
        );
    }
    let no = |name: &str, send: String, statuses: &[u16], seen: &str| Case {
        name: name.to_owned(),
        send: send.into_bytes(),
        statuses: statuses.to_vec(),
        seen: vec![seen.to_owned()],
        end: End::Closed,
        drip: false,
    };
    cases.push(no(
        "a refused upgrade ends the connection",
        ws("/ws-no"),
        &[403],
        "GET /ws-no",
    ));
    let plain = "GET /switch-always HTTP/1.1\r\nHost: h\r\n\r\n".to_owned();
    cases.push(no(
        "a 101 that nobody asked for",
        plain,
        &[500],
        "GET /switch-always",
    ));
    run_all(cases, 40).await;
}

#[tokio::test]
async fn bytes_before_the_101_are_a_400_and_no_tunnel() {
    let server = TestServer::start(patient()).await;
    for early in [SMUGGLED, "x", "\u{81}\u{5}"] {
        let mut client = server.connect().await;
        client.send(ws("/ws-slow")).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.send(early).await;
        let replies = client.replies_to_end().await;
        assert_eq!(
            replies.iter().map(|r| r.status).collect::<Vec<_>>(),
            [400],
            "{early:?}"
        );
        assert_eq!(
            replies[0].text(),
            "curb: bytes were sent after an upgrade request, before its answer\n  \
             next: use a usual HTTP client; if you do, look for a proxy between that\n        \
             changes requests\n  \
             more: curb help reason bad-framing, or /curb/v1/reasons/bad-framing\n"
        );
        assert_eq!(server.recorder.seen(client.local).len(), 1);
    }
}

#[tokio::test]
async fn a_service_whose_101_does_not_go_out_is_told_that_it_gets_no_tunnel() {
    let server = TestServer::start(patient()).await;
    for (already, (path, early, status)) in [("/ws-slow", "x", 400), ("/ws-greedy", "", 403)]
        .into_iter()
        .enumerate()
    {
        let mut client = server.connect().await;
        client.send(ws(path)).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.send(early).await;
        let replies = client.replies_to_end().await;
        assert_eq!((replies.len(), replies[0].status), (1, status), "{path}");
        let told = async {
            while server.recorder.declined() == already {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, told).await;
        assert!(in_time.is_ok(), "{path}: it waits for a tunnel for ever");
    }
    assert_eq!(server.recorder.declined(), 2);
}

#[tokio::test]
async fn a_tunnel_carries_any_bytes_both_ways() {
    let server = TestServer::start(patient()).await;
    let mut client = server.connect().await;
    client.send(ws("/ws")).await;
    assert_eq!(client.reply().await.unwrap().status, 101);
    for message in [&b"\0\r\n\r\nGET"[..], SMUGGLED.as_bytes(), &[0xff; 700]] {
        client.stream.write_all(message).await.unwrap();
        let mut echo = vec![0; message.len()];
        client.stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(echo, message);
    }
    assert_eq!(server.recorder.seen(client.local).len(), 1);
}

#[tokio::test]
async fn a_service_that_declines_gets_no_tunnel_even_if_it_took_the_upgrade() {
    let server = TestServer::start(patient()).await;
    let mut client = server.connect().await;
    client.send(ws("/ws-greedy")).await;
    assert_eq!(client.reply().await.map(|r| r.status), Some(403));
    client.send("echo me").await;
    // Closed, and not a byte of an echo.
    assert!(client.replies_to_end().await.is_empty());
}
