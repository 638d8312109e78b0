//! Bodies that break a rule: the service sees an error, and nothing behind them is served.

use crate::common::{TestServer, quick};
use crate::{Case, End, SMUGGLED, patient, run_all};

fn chunked(path: &str, body: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}{SMUGGLED}")
        .into_bytes()
}

fn case(name: String, send: Vec<u8>, statuses: &[u16], seen: &str, drip: bool) -> Case {
    let (statuses, seen) = (statuses.to_vec(), vec![seen.to_owned()]);
    Case {
        name,
        send,
        statuses,
        seen,
        end: End::Closed,
        drip,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_odd_chunk_is_a_400_and_the_end() {
    let mut cases = Vec::new();
    for body in [
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5\t\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "05\r\nhello\r\n0\r\n\r\n",
        "5,5\r\nhello\r\n0\r\n\r\n",
        "5;x\r\nhello\r\n0\r\n\r\n",
        "5;x=y\r\nhello\r\n0\r\n\r\n",
        "5;x=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
        "5 ;x\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\rhello\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "5\0\r\nhello\r\n0\r\n\r\n",
        "\u{ff15}\r\nhello\r\n0\r\n\r\n",
        "123456789\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "00000000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n00\r\n\r\n",
        "5\r\nhello\r\n0;x\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\r\n\r\n",
        "5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
        "5\r\nhello\r\n0\r\n X: y\r\n\r\n",
        "5\r\nhello\r\n0 \r\n\r\n",
        "5\r\nhello\r\n0\r\n\rx",
        "5\r\nhello\r\n\r\n0\r\n\r\n",
        "5.0\r\nhello\r\n0\r\n\r\n",
    ] {
        for drip in [false, true] {
            cases.push(case(
                format!("chunks {body:?}, dripped {drip}"),
                chunked("/x", body),
                &[400],
                "POST /x",
                drip,
            ));
        }
    }
    run_all(cases, 70).await;
}

#[tokio::test]
async fn a_service_that_does_not_read_an_odd_body_still_ends_the_connection() {
    let server = TestServer::start(patient()).await;
    for body in [
        "5;x\r\n",
        "5\r\nhello!",
        "0\r\nX: y\r\n\r\n",
        "5\nhello",
        "g\r\n",
    ] {
        let mut client = server.connect().await;
        client.send(chunked("/early", body)).await;
        let replies = client.replies_to_end().await;
        // Its own answer, or the refusal if the fault was found before the answer began.
        assert!(
            matches!(replies[..], [ref r] if r.status == 401 || r.status == 400),
            "{body:?}: {replies:?}"
        );
        assert_eq!(server.recorder.seen(client.local).len(), 1, "{body:?}");
    }
}

#[tokio::test]
async fn the_service_sees_an_error_and_the_peer_the_reason() {
    let server = TestServer::start(patient()).await;
    let mut client = server.connect().await;
    client
        .send(chunked("/x", "5;evil\r\nhello\r\n0\r\n\r\n"))
        .await;
    let replies = client.replies_to_end().await;
    assert_eq!(
        replies[0].text(),
        "curb: chunk extensions are not accepted\n  \
         next: use a usual HTTP client; if you do, look for a proxy between that\n        \
         changes requests\n  \
         more: curb help reason bad-framing, or /curb/v1/reasons/bad-framing\n"
    );
    let seen = server.recorder.seen(client.local);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].body, Err(400));
}

#[tokio::test]
async fn a_large_upload_that_is_refused_early_still_gets_its_answer() {
    let server = TestServer::start(patient()).await;
    let mut client = server.connect().await;
    let length = 64 * 1024 * 1024;
    client
        .send(format!(
            "PUT /early HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n"
        ))
        .await;
    let piece = vec![b'x'; 1024 * 1024];
    for _ in 0..64 {
        client.send(&piece).await;
    }
    let replies = client.replies_to_end().await;
    assert_eq!(replies.iter().map(|r| r.status).collect::<Vec<_>>(), [401]);
}

#[tokio::test]
async fn bytes_of_an_expected_body_are_never_a_request() {
    let server = TestServer::start(quick()).await;
    let mut client = server.connect().await;
    let length = SMUGGLED.len();
    let head = format!(
        "POST /early HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    );
    client.send(head).await;
    assert_eq!(client.reply().await.unwrap().status, 401);
    client.send(SMUGGLED).await;
    assert!(client.reply().await.is_none());
    assert_eq!(server.recorder.seen(client.local).len(), 1);
}

#[tokio::test]
async fn a_body_that_ends_too_soon_is_an_error_for_the_service() {
    let server = TestServer::start(patient()).await;
    for request in [
        "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf",
        "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
        "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let mut client = server.connect().await;
        client.send(request).await;
        tokio::io::AsyncWriteExt::shutdown(&mut client.stream)
            .await
            .unwrap();
        client.replies_to_end().await;
        let seen = server.recorder.seen(client.local);
        assert_eq!(seen.len(), 1, "{request:?}");
        assert_eq!(seen[0].body, Err(400), "{request:?}");
    }
}
