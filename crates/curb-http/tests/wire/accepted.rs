//! What must pass, and stay open.

use crate::common::{Seen, TestServer};
use crate::{Case, End, patient, run_all};

fn case(name: &str, send: &str, statuses: &[u16], seen: &[&str], end: End) -> [Case; 2] {
    [false, true].map(|drip| Case {
        name: format!("{name}, dripped {drip}"),
        send: send.as_bytes().to_vec(),
        statuses: statuses.to_vec(),
        seen: seen.iter().map(|s| (*s).to_owned()).collect(),
        end,
        drip,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_requests_pass_in_any_pieces() {
    let mut cases = Vec::new();
    for (name, send, statuses, seen, end) in [
        (
            "smallest",
            "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
            &[200][..],
            &["GET /"][..],
            End::Open,
        ),
        (
            "no space after colon",
            "GET / HTTP/1.1\r\nHost:h\r\n\r\n",
            &[200],
            &["GET /"],
            End::Open,
        ),
        (
            "spaces around value",
            "GET / HTTP/1.1\r\nHost: \t h \t\r\n\r\n",
            &[200],
            &["GET /"],
            End::Open,
        ),
        (
            "empty value",
            "GET / HTTP/1.1\r\nHost: h\r\nA:\r\n\r\n",
            &[200],
            &["GET /"],
            End::Open,
        ),
        (
            "query",
            "GET /x?a=%20&b HTTP/1.1\r\nHost: h\r\n\r\n",
            &[200],
            &["GET /x?a=%20&b"],
            End::Open,
        ),
        (
            "IPv6 host",
            "GET / HTTP/1.1\r\nHost: [::1]:8266\r\n\r\n",
            &[200],
            &["GET /"],
            End::Open,
        ),
        (
            "length 0",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
            &[200],
            &["POST /"],
            End::Open,
        ),
        (
            "a body",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
            &[200],
            &["POST /"],
            End::Open,
        ),
        (
            "a body on GET",
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
            &[200],
            &["GET /"],
            End::Open,
        ),
        (
            "chunks",
            "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n",
            &[200],
            &["PUT /"],
            End::Open,
        ),
        (
            "no chunk",
            "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            &[200],
            &["PUT /"],
            End::Open,
        ),
        (
            "close",
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            &[200],
            &["GET /"],
            End::Closed,
        ),
        (
            "HTTP/1.0",
            "GET / HTTP/1.0\r\nHost: h\r\n\r\n",
            &[200],
            &["GET /"],
            End::Closed,
        ),
        (
            "HTTP/1.0 with a body",
            "POST / HTTP/1.0\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi",
            &[200],
            &["POST /"],
            End::Closed,
        ),
        (
            "HTTP/1.0 kept alive",
            "GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
            &[200],
            &["GET /"],
            End::Open,
        ),
        (
            "three in a row",
            "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhiGET /3 HTTP/1.1\r\nHost: h\r\n\r\n",
            &[200, 200, 200],
            &["GET /1", "POST /2", "GET /3"],
            End::Open,
        ),
        (
            "a slow one first",
            "GET /slow HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
            &[200, 200],
            &["GET /slow", "GET /2"],
            End::Open,
        ),
        (
            "behind a denied one with a body",
            "POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi",
            &[401],
            &["POST /early"],
            End::Open,
        ),
    ] {
        cases.extend(case(name, send, statuses, seen, end));
    }
    // Whether hyper drains a denied request's body or closes depends on the pieces it came in:
    // the dripped form may do either, so it is not claimed.
    cases.retain(|c| c.name != "behind a denied one with a body, dripped true");
    run_all(cases, 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_head_and_100_headers_pass() {
    let head = |a: usize| format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n", "b".repeat(a));
    let fit = 16 * 1024 - head(0).len();
    let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(99));
    let long = format!("/{}", "x".repeat(8 * 1024 - 1));
    let seen = format!("GET {long}");
    let target = format!("GET {long} HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut cases = Vec::new();
    cases.extend(case("16 KiB", &head(fit), &[200], &["GET /"], End::Open));
    cases.extend(case("100 headers", &many, &[200], &["GET /"], End::Open));
    cases.extend(case("8 KiB target", &target, &[200], &[&seen], End::Open));
    run_all(cases, 6).await;
}

#[tokio::test]
async fn a_body_is_asked_for_with_100_continue() {
    let server = TestServer::start(patient()).await;
    let mut client = server.connect().await;
    client
        .send("POST /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.unwrap().status, 100);
    client.send("hello").await;
    let reply = client.reply().await.unwrap();
    assert_eq!((reply.status, reply.text()), (200, "hello"));
    assert!(client.is_alive().await);
}

#[tokio::test]
async fn a_large_body_arrives_byte_for_byte() {
    let server = TestServer::start(patient()).await;
    let body: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
    for framing in ["length", "chunks"] {
        let mut client = server.connect().await;
        let mut send = Vec::new();
        if framing == "length" {
            send.extend_from_slice(
                format!(
                    "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                )
                .as_bytes(),
            );
            send.extend_from_slice(&body);
        } else {
            send.extend_from_slice(
                b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
            );
            for piece in body.chunks(77_777) {
                send.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                send.extend_from_slice(piece);
                send.extend_from_slice(b"\r\n");
            }
            send.extend_from_slice(b"0\r\n\r\n");
        }
        client.send(send).await;
        assert_eq!(client.reply().await.unwrap().status, 200, "{framing}");
        let expected = Seen {
            method: "POST".into(),
            target: "/x".into(),
            body: Ok(body.clone()),
        };
        assert!(
            server.recorder.seen(client.local) == [expected],
            "{framing}: the body was changed"
        );
        assert!(client.is_alive().await);
    }
}

#[tokio::test]
async fn the_request_id_is_ours_and_never_the_clients() {
    let server = TestServer::start(patient()).await;
    let mut client = server.connect().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        client
            .send("GET /echo-id HTTP/1.1\r\nHost: h\r\nX-Request-Id: forged\r\n\r\n")
            .await;
        let reply = client.reply().await.unwrap();
        assert_eq!(reply.text(), "client id seen: false");
        ids.push(reply.header("x-request-id").unwrap().to_owned());
    }
    client.send("GET  / HTTP/1.1\r\n\r\n").await;
    ids.push(
        client
            .reply()
            .await
            .unwrap()
            .header("x-request-id")
            .unwrap()
            .to_owned(),
    );
    assert!(ids.iter().all(|id| id.len() == 32 && id != "forged"));
    assert!(ids[0] != ids[1] && ids[1] != ids[2]);
}
