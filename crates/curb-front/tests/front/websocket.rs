//! Websockets, within the same bounds; and what only looks like one.

use std::time::{Duration, Instant};

use curb_front::{Outcome, State};

use crate::client::{Client, get};
use crate::model::Model;
use crate::{front, is_idle, until};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn handshake(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n\
         sec-websocket-extensions: permessage-deflate\r\nsec-websocket-protocol: chat\r\n\r\n"
    )
}

/// A frame of a client.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | 126];
    if payload.len() < 126 {
        frame = vec![first, 0x80 | payload.len() as u8];
    } else {
        frame.extend((payload.len() as u16).to_be_bytes());
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// An open one.
fn open(front: &curb_front::Front, path: &str) -> Client {
    let mut client = Client::to(front.at());
    let head = client.send(handshake(path)).head();
    assert_eq!(head.status, 101);
    assert_eq!(head.headers["upgrade"], "websocket");
    assert_eq!(head.headers["connection"].to_lowercase(), "upgrade");
    assert_eq!(
        head.headers["sec-websocket-accept"],
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    client
}

#[test]
fn messages_pass_both_ways_and_it_is_one_request_from_its_handshake_to_its_end() {
    let model = Model::start();
    let front = front(&model, |limits| limits.in_flight = 1);
    let mut client = open(&front, "/ws");
    for text in ["a", &"b".repeat(200), &"c".repeat(60_000)] {
        client.send(masked(0x81, text.as_bytes()));
        assert_eq!(client.frame(), (0x81, text.as_bytes().to_vec()));
    }
    assert_eq!(front.counts().in_flight, 1);
    let mut waits = Client::to(front.at());
    waits.get("/waits");
    until(&front, "it waits", |counts| counts.queued == 1);
    assert_eq!(model.count("/waits"), 0);
    drop(client);
    assert_eq!(waits.reply().status, 200);
    is_idle(&front);
    let seen = &model.seen()[0];
    let mut names: Vec<&str> = seen.headers.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "connection",
            "host",
            "sec-websocket-key",
            "sec-websocket-protocol",
            "sec-websocket-version",
            "upgrade",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-request-id"
        ]
    );
    let counts = front.counts();
    assert_eq!(counts.ended(Outcome::Websocket), 1);
    // Hours of talk are no measure of how long an answer takes.
    assert_eq!((counts.first_byte.count(), counts.whole.count()), (2, 1));
}

#[test]
fn what_a_server_says_together_with_its_answer_is_not_lost() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let mut client = open(&front, "/ws-speaks-first");
    assert_eq!(client.frame(), (0x81, b"welcome".to_vec()));
}

#[test]
fn one_client_has_no_more_of_them_than_its_share() {
    let model = Model::start();
    let front = front(&model, |limits| limits.per_client = Some(2));
    let _two = [open(&front, "/ws"), open(&front, "/ws")];
    let refused = get(front.at(), "/x");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (429, "front-client-share")
    );
}

#[test]
fn a_message_that_is_larger_than_a_body_may_be_never_reaches_the_server() {
    let model = Model::start();
    let front = front(&model, |limits| limits.body = 1000);
    for parts in [
        vec![masked(0x82, &[b'z'; 1001])],
        vec![masked(0x02, &[b'z'; 600]), masked(0x80, &[b'z'; 401])],
    ] {
        let mut client = open(&front, "/ws");
        client.send(masked(0x82, &[b'y'; 1000]));
        assert_eq!(client.frame().1.len(), 1000);
        for part in parts {
            client.send(part);
        }
        assert_eq!(client.frame(), (0x88, 1009_u16.to_be_bytes().to_vec()));
        assert!(client.is_closed());
    }
    is_idle(&front);
    assert_eq!(front.counts().ended(Outcome::BodyTooLarge), 2);
    // Of each the message within the bound, and at most the part of the other that was within it.
    assert!(model.messages().iter().all(|m| m.len() <= 1000));
}

#[test]
fn a_request_within_a_websocket_is_cut_and_never_reaches_the_server() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let mut client = open(&front, "/ws");
    client.send("GET /admin HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.frame(), (0x88, 1002_u16.to_be_bytes().to_vec()));
    assert!(client.is_closed());
    is_idle(&front);
    assert_eq!(model.messages(), Vec::<Vec<u8>>::new());
    assert_eq!((model.count("/admin"), model.seen().len()), (0, 1));
    assert_eq!(front.counts().ended(Outcome::WebsocketBroken), 1);
}

#[test]
fn an_upgrade_that_could_be_read_in_two_ways_is_refused_before_the_server_hears_of_it() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let right = handshake("/ws");
    let smuggled = "GET /admin HTTP/1.1\r\nhost: a\r\n\r\n";
    for (bad, what) in [
        (format!("{right}{smuggled}"), "a request behind it"),
        (
            right.replace("upgrade: websocket", "upgrade: h2c"),
            "another protocol",
        ),
        (
            right.replace("upgrade: websocket", "upgrade: websocket, h2c"),
            "a choice",
        ),
        (
            right.replace("upgrade: websocket", "upgrade: websocket\r\nupgrade: h2c"),
            "two",
        ),
        (right.replace(", Upgrade", ""), "no connection: upgrade"),
        (right.replace("GET", "POST"), "another method"),
        (right.replace("HTTP/1.1", "HTTP/1.0"), "an old client"),
        (
            right.replace("host: a", "host: a\r\ncontent-length: 5"),
            "a body",
        ),
        (
            right.replace(
                "host: a",
                "host: a\r\ncontent-length: 0\r\ncontent-length: 5",
            ),
            "two lengths",
        ),
        (
            right.replace(
                "host: a",
                "host: a\r\ncontent-length: 0\r\ntransfer-encoding: chunked",
            ),
            "a length and chunks",
        ),
        (
            right.replace("upgrade: websocket\r\n", ""),
            "no upgrade: websocket",
        ),
    ] {
        let mut client = Client::to(front.at());
        let reply = client.send(&bad).reply();
        assert!([400, 505].contains(&reply.status), "{what}: {reply:?}");
        assert!(client.is_closed(), "{what}");
    }
    is_idle(&front);
    assert_eq!(model.connections(), 0);
}

#[test]
fn a_server_that_does_not_open_it_is_passed_on_and_what_comes_after_is_no_request() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let mut client = Client::to(front.at());
    let reply = client.send(handshake("/ws-no")).reply();
    assert_eq!((reply.status, reply.body.as_str()), (403, "not here"));
    assert!(!reply.headers.contains_key("upgrade"));
    // The front may have closed it by now.
    client.try_send("GET /admin HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(client.is_closed());
    is_idle(&front);
    assert_eq!((model.count("/admin"), model.seen().len()), (0, 1));
}

#[test]
fn a_server_that_opens_something_else_than_was_asked_for_opens_nothing() {
    let model = Model::start();
    let front = front(&model, |_| {});
    for path in ["/ws-lies", "/ws-compresses", "/ws-twice"] {
        let mut client = Client::to(front.at());
        let reply = client.send(handshake(path)).reply();
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (502, "front-upgrade"),
            "{path}"
        );
        assert!(client.is_closed());
    }
    // Nobody asked for anything.
    let reply = get(front.at(), "/ws-unasked");
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (502, "front-upgrade")
    );
    let without_a_key = handshake("/ws").replace(KEY, "no key");
    let reply = Client::to(front.at()).send(without_a_key).reply();
    assert_eq!(reply.code(), "front-upgrade");
    is_idle(&front);
    assert_eq!(front.counts().ended(Outcome::Upgrade), 5);
    model.wait_until_no_connections();
}

#[test]
fn one_that_says_nothing_ends_after_the_deadline_and_pings_do_not_keep_it_open() {
    let model = Model::start();
    let front = front(&model, |limits| {
        limits.deadline = Duration::from_millis(700)
    });
    let mut client = open(&front, "/ws");
    let begun = Instant::now();
    for _ in 0..4 {
        // Messages do.
        std::thread::sleep(Duration::from_millis(300));
        client.send(masked(0x81, b"still here"));
        assert_eq!(client.frame().1, b"still here");
    }
    assert!(begun.elapsed() > Duration::from_millis(1100));
    let quiet = Instant::now();
    let mut pings = 0;
    while front.counts().in_flight == 1 {
        client.try_send(masked(0x89, b""));
        pings += 1;
        assert!(quiet.elapsed() < Duration::from_secs(5), "it stays open");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(pings > 3 && quiet.elapsed() > Duration::from_millis(500));
    assert_eq!(client.frame(), (0x88, 1001_u16.to_be_bytes().to_vec()));
    assert_eq!(front.counts().ended(Outcome::WebsocketIdle), 1);
    model.wait_until_no_connections();
}

#[test]
fn a_server_that_dies_takes_it_with_it_and_no_handshake_is_suspected_of_that() {
    let model = Model::start();
    let front = front(&model, |_| {});
    for _ in 0..3 {
        let mut client = open(&front, "/ws");
        front.server_died();
        assert!(client.is_closed());
        is_idle(&front);
        front.state(State::Up);
    }
    assert_eq!(front.counts().ended(Outcome::Died), 3);
    // Nor one that has no answer yet.
    let mut hangs = Client::to(front.at());
    hangs.send(handshake("/hang"));
    until(&front, "the server has it", |counts| counts.in_flight == 1);
    model.wait_for_requests(4);
    front.server_died();
    assert_eq!(hangs.reply().code(), "server-died");
    front.state(State::Up);
    assert_eq!(front.counts().suspects, 0);
    let mut client = open(&front, "/ws");
    client.send(masked(0x81, b"again"));
    assert_eq!(client.frame().1, b"again");
}

#[test]
fn none_is_opened_while_the_server_is_paused_and_a_front_that_stops_ends_them() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let mut before = open(&front, "/ws");
    front.state(State::Paused {
        why: "memory".to_owned(),
        retry_after: Duration::from_secs(1),
    });
    let mut client = Client::to(front.at());
    let reply = client.send(handshake("/ws")).reply();
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (503, "server-paused")
    );
    let begun = Instant::now();
    front.stop(Duration::from_millis(200));
    assert!(before.is_closed());
    assert!(begun.elapsed() < Duration::from_secs(5));
    model.wait_until_no_connections();
}
