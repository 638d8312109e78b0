//! Peers that are slow, silent or many; and the end of the server.

mod common;

use std::time::{Duration, Instant};

use common::{Client, PATIENCE, TestServer, quick};
use curb_http::listener::{ServeOptions, Served};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn statuses(client: &mut Client) -> Vec<u16> {
    client
        .replies_to_end()
        .await
        .iter()
        .map(|r| r.status)
        .collect()
}

#[tokio::test]
async fn a_late_header_closes_the_connection_with_408() {
    let server = TestServer::start(quick()).await;
    let mut client = server.connect().await;
    let start = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n").await;
    assert_eq!(statuses(&mut client).await, [408]);
    assert!(
        start.elapsed() >= Duration::from_millis(350),
        "{:?}",
        start.elapsed()
    );
    assert!(server.recorder.seen(client.local).is_empty());
}

#[tokio::test]
async fn a_header_that_drips_for_ever_is_cut_at_the_deadline() {
    let server = TestServer::start(quick()).await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: h\r\nA: ").await;
    let start = Instant::now();
    for _ in 0..100 {
        client.send("b").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        if start.elapsed() > Duration::from_millis(600) {
            break;
        }
    }
    assert_eq!(statuses(&mut client).await, [408]);
}

#[tokio::test]
async fn a_late_second_head_is_told_behind_the_first_answer() {
    let server = TestServer::start(quick()).await;
    let mut client = server.connect().await;
    client
        .send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\nGET /second HT")
        .await;
    assert_eq!(statuses(&mut client).await, [200, 408]);
    assert_eq!(server.recorder.seen(client.local).len(), 1);
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed_without_a_word() {
    let server = TestServer::start(quick()).await;
    let mut client = server.connect().await;
    assert_eq!(statuses(&mut client).await, [0_u16; 0]);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_idle_bound_and_not_before() {
    let server = TestServer::start(quick()).await;
    let mut client = server.connect().await;
    assert!(client.is_alive().await);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(
        client.is_alive().await,
        "a kept-alive connection was closed early"
    );
    let start = Instant::now();
    assert!(client.reply().await.is_none());
    // The guard's 800 ms, not hyper's timer behind it, which rings 1.4 s later.
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(700), "{waited:?}");
    assert!(waited < Duration::from_millis(2100), "{waited:?}");
}

#[tokio::test]
async fn a_request_longer_than_the_idle_bound_is_not_idle() {
    let mut options = quick();
    options.deadlines.idle = Duration::from_millis(50);
    let server = TestServer::start(options).await;
    let mut client = server.connect().await;
    client.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(client.reply().await.map(|r| r.status), Some(200));
}

#[tokio::test]
async fn a_body_that_stops_is_a_408_and_an_error_for_the_service() {
    let server = TestServer::start(quick()).await;
    for body in [
        "Content-Length: 9\r\n\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n9\r\nhalf",
        "Content-Length: 9\r\n\r\n",
    ] {
        let mut client = server.connect().await;
        client
            .send(format!("POST /x HTTP/1.1\r\nHost: h\r\n{body}"))
            .await;
        assert_eq!(statuses(&mut client).await, [408], "{body:?}");
        assert_eq!(
            server.recorder.seen(client.local)[0].body,
            Err(400),
            "{body:?}"
        );
    }
}

#[tokio::test]
async fn a_body_that_drips_for_ever_is_cut_at_the_deadline() {
    let server = TestServer::start(quick()).await;
    let mut client = server.connect().await;
    client
        .send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n")
        .await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1400) {
        client.send("b").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(statuses(&mut client).await, [408]);
}

#[tokio::test]
async fn a_reader_that_takes_nothing_loses_its_connection() {
    let mut options = quick();
    options.max_connections = 1;
    let server = TestServer::start(options).await;
    let mut client = server.connect().await;
    client.send("GET /big HTTP/1.1\r\nHost: h\r\n\r\n").await;
    // It reads a little, then never again. Its place is free soon.
    let mut little = [0; 1000];
    client.stream.read_exact(&mut little).await.unwrap();
    let freed = async {
        loop {
            let mut next = server.connect().await;
            next.send("GET /alive HTTP/1.1\r\nHost: h\r\n\r\n").await;
            if next.reply().await.is_some_and(|r| r.status == 200) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, freed)
        .await
        .expect("the slow reader's place is freed");
}

#[tokio::test]
async fn a_reader_that_is_merely_slow_gets_everything() {
    let server = TestServer::start(quick()).await;
    let mut client = server.connect().await;
    client
        .send("GET /big HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        .await;
    let (mut total, mut piece) = (0, vec![0; 4 * 1024 * 1024]);
    loop {
        let read = tokio::time::timeout(PATIENCE, client.stream.read(&mut piece));
        match read.await.unwrap().unwrap() {
            0 => break,
            n => total += n,
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    assert!(total > 64 * 1024 * 1024, "{total} bytes");
}

#[tokio::test]
async fn one_connection_too_many_is_told_503_and_the_others_go_on() {
    let options = ServeOptions {
        max_connections: 3,
        ..quick()
    };
    let server = TestServer::start(options).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = server.connect().await;
        assert!(client.is_alive().await);
        clients.push(client);
    }
    let mut fourth = server.connect().await;
    fourth.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let reply = fourth.reply().await.expect("a 503");
    assert_eq!(
        (reply.status, reply.text(), reply.header("retry-after")),
        (
            503,
            "curb: the server has too many open connections\n  \
             next: try again in a moment\n  \
             more: curb help reason unavailable, or /curb/v1/reasons/unavailable\n",
            Some("1")
        )
    );
    assert!(fourth.reply().await.is_none());
    assert!(clients[0].is_alive().await);
    drop(clients);
    // Places come back.
    let again = async { while !server.connect().await.is_alive().await {} };
    tokio::time::timeout(PATIENCE, again)
        .await
        .expect("a place is free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn normal_requests_go_on_among_2000_idle_and_slow_connections() {
    let mut options = quick();
    options.deadlines.head = Duration::from_secs(20);
    options.deadlines.body_idle = Duration::from_secs(20);
    options.deadlines.body_total = Duration::from_secs(20);
    let server = TestServer::start(options).await;
    let mut idle = Vec::new();
    for i in 0..2000 {
        let mut client = server.connect().await;
        match i % 3 {
            0 => {}
            1 => client.send("GET / HTTP/1.1\r\nHost:").await,
            _ => {
                client
                    .send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf")
                    .await
            }
        }
        idle.push(client);
    }
    let mut times = Vec::new();
    let mut client = server.connect().await;
    for _ in 0..500 {
        let start = Instant::now();
        assert!(client.is_alive().await);
        times.push(start.elapsed());
    }
    times.sort();
    assert!(
        times[495] < Duration::from_millis(100),
        "p99 is {:?}",
        times[495]
    );
    assert_eq!(idle.len(), 2000);
}

#[tokio::test]
async fn shutdown_lets_a_request_finish_closes_idle_connections_and_tells_new_ones() {
    let mut server = TestServer::start(quick()).await;
    let (mut idle, mut fresh, mut busy) = (
        server.connect().await,
        server.connect().await,
        server.connect().await,
    );
    assert!(idle.is_alive().await);
    busy.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let start = Instant::now();
    server.begin_stop();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut late = server.connect().await;
    late.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let told = late.reply().await.expect("a 503");
    assert_eq!(
        (told.status, told.text(), told.header("retry-after")),
        (
            503,
            "curb: the server is stopping\n  \
             next: try again in a moment\n  \
             more: curb help reason unavailable, or /curb/v1/reasons/unavailable\n",
            Some("5")
        )
    );
    assert_eq!(busy.reply().await.map(|r| r.status), Some(200));
    assert!(
        busy.reply().await.is_none()
            && idle.reply().await.is_none()
            && fresh.reply().await.is_none()
    );
    assert_eq!(server.stop().await, Served { drained: 3, cut: 0 });
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn shutdown_cuts_what_is_left_at_the_drain_deadline_tunnels_included() {
    let options = ServeOptions {
        drain: Duration::from_millis(300),
        ..quick()
    };
    let mut server = TestServer::start(options).await;
    let (mut hung, mut tunnel) = (server.connect().await, server.connect().await);
    hung.send("GET /hang HTTP/1.1\r\nHost: h\r\n\r\n").await;
    tunnel
        .send("GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    assert_eq!(tunnel.reply().await.map(|r| r.status), Some(101));
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.begin_stop();
    tunnel.stream.write_all(b"still here").await.unwrap();
    let mut echo = [0; 10];
    tunnel.stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"still here");
    assert!(hung.reply().await.is_none() && tunnel.reply().await.is_none());
    assert_eq!(server.stop().await, Served { drained: 0, cut: 2 });
}
