//! Bounds that a client cannot exceed.

use std::time::{Duration, Instant};

use curb_front::Outcome;

use crate::client::{Client, get};
use crate::model::Model;
use crate::{front, is_idle, until};

#[test]
fn the_server_never_has_more_than_it_may_and_the_others_wait_in_a_queue_that_is_bounded() {
    let model = Model::start();
    let front = front(&model, |limits| {
        (limits.in_flight, limits.queue, limits.per_client) = (2, 3, Some(9));
    });
    let mut clients: Vec<Client> = (0..5).map(|_| Client::to(front.at())).collect();
    for client in &mut clients {
        client.get("/gate");
    }
    until(&front, "they are here", |counts| {
        (counts.in_flight, counts.queued) == (2, 3)
    });
    let refused = get(front.at(), "/gate");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "front-queue-full")
    );
    assert!(refused.retry_after() >= Some(1));
    assert_eq!(
        refused.json()["detail"],
        "curb: 5 requests are in flight or waiting, and no more are taken\n  next: come back after the time in Retry-After"
    );
    model.wait_for_requests(2);
    model.release(5);
    for client in &mut clients {
        assert_eq!(client.reply().body, "through");
    }
    assert_eq!((model.most_running(), model.count("/gate")), (2, 5));
    is_idle(&front);
    assert_eq!(front.counts().ended(Outcome::QueueFull), 1);
}

#[test]
fn one_client_cannot_take_all_and_whoever_else_comes_is_next() {
    let model = Model::start();
    let front = front(&model, |limits| {
        (limits.in_flight, limits.queue, limits.per_client) = (1, 9, Some(4));
    });
    let mut greedy: Vec<Client> = (0..4).map(|_| Client::from(2, front.at())).collect();
    for (n, client) in greedy.iter_mut().enumerate() {
        client.post(&format!("/gate?a{n}"), "");
        until(&front, "it is here", |counts| counts.present == n + 1);
    }
    model.wait_for_requests(1);
    let refused = Client::from(2, front.at()).get("/gate").reply();
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (429, "front-client-share")
    );
    let mut modest = Client::from(3, front.at());
    modest.get("/gate?b0");
    until(&front, "it is here", |counts| counts.present == 5);
    for _ in 0..5 {
        model.release(1);
    }
    greedy
        .iter_mut()
        .for_each(|client| assert_eq!(client.reply().status, 200));
    assert_eq!(modest.reply().status, 200);
    let order: Vec<String> = model
        .seen()
        .iter()
        .map(|seen| seen.line[..].to_owned())
        .collect();
    let order: Vec<&str> = order
        .iter()
        .map(|line| line.split(['?', ' ']).nth(2).unwrap())
        .collect();
    // The other one passed three that had come before it.
    assert_eq!(order, ["a0", "b0", "a1", "a2", "a3"]);
}

#[test]
fn a_body_that_is_announced_too_large_is_refused_before_it_is_sent() {
    let model = Model::start();
    let front = front(&model, |limits| limits.body = 1000);
    let mut client = Client::to(front.at());
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 1001\r\n\r\n");
    let reply = client.reply();
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (413, "body-too-large")
    );
    assert_eq!(model.connections(), 0);
}

#[test]
fn a_body_that_grows_too_large_in_chunks_is_refused_when_it_does() {
    let model = Model::start();
    let front = front(&model, |limits| limits.body = 300_000);
    for chunks in [30, 1] {
        // Small ones that are streamed on already, or one that is not.
        let chunk = "z".repeat(300_001 / chunks + 1);
        let mut client = Client::to(front.at());
        client.send("POST /grows HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
        for _ in 0..chunks {
            client.send(format!("{:x}\r\n{chunk}\r\n", chunk.len()));
        }
        let reply = client.reply();
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (413, "body-too-large")
        );
    }
    is_idle(&front);
    // It never was a whole request for the server.
    assert_eq!(model.count("/grows"), 0);
    model.wait_until_no_connections();
}

#[test]
fn a_body_of_exactly_the_bound_passes() {
    let model = Model::start();
    let front = front(&model, |limits| limits.body = 100_000);
    let body = "z".repeat(100_000);
    assert_eq!(Client::to(front.at()).post("/x", &body).reply().status, 200);
    let mut client = Client::to(front.at());
    client.send("POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send(format!("186a0\r\n{body}\r\n0\r\n\r\n"));
    assert_eq!(client.reply().status, 200);
}

#[test]
fn who_waits_longer_than_the_deadline_is_told_that_the_server_never_had_it() {
    let model = Model::start();
    let front = front(&model, |limits| {
        limits.in_flight = 1;
        limits.deadline = Duration::from_millis(600);
    });
    let mut first = Client::to(front.at());
    first.get("/hang");
    model.wait_for_requests(1);
    std::thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    let mut second = Client::to(front.at());
    second.get("/hang?second");
    // It runs when the first is given up, and has the rest of its own time.
    let reply = first.reply();
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (504, "front-deadline")
    );
    assert_eq!(second.reply().status, 504);
    assert!(begun.elapsed() >= Duration::from_millis(600));
    let counts = front.counts();
    assert_eq!(counts.ended(Outcome::ServerTooLong), 2);
    model.wait_until_left(2);
}

#[test]
fn the_deadline_in_the_queue_and_the_deadline_at_the_server_are_told_apart() {
    let model = Model::start();
    let front = front(&model, |limits| {
        limits.in_flight = 1;
        limits.deadline = Duration::from_millis(500);
    });
    // Its reader takes nothing, so that it keeps its turn beyond its time, until somebody looks.
    let mut floods = Client::to(front.at());
    floods.get("/flood");
    assert_eq!(floods.head().status, 200);
    let mut waits = Client::to(front.at());
    let reply = waits.get("/waits").reply();
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (503, "front-deadline")
    );
    assert!(reply.retry_after().is_some());
    assert!(reply.body.contains("never passed to the server"));
    is_idle(&front);
    assert_eq!(model.count("/waits"), 0);
    let counts = front.counts();
    assert_eq!(counts.ended(Outcome::WaitedTooLong), 1);
    assert_eq!(counts.ended(Outcome::ServerTooLong), 1);
}

#[test]
fn a_head_that_drips_in_is_ended_and_told_apart_and_takes_no_place() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let mut client = Client::to(front.at());
    let begun = Instant::now();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n");
    while begun.elapsed() < Duration::from_secs(9) {
        client.send("x-a: b\r\n");
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(front.counts().present, 0);
    }
    let reply = client.reply();
    assert_eq!(reply.status, 408);
    assert!(
        reply
            .body
            .contains("the request head did not arrive in time: it may take 10s"),
        "{}",
        reply.body
    );
    assert_eq!(model.connections(), 0);
}

#[test]
fn a_body_that_does_not_come_holds_no_turn_and_ends_with_the_deadline() {
    let model = Model::start();
    let front = front(&model, |limits| {
        limits.in_flight = 1;
        limits.deadline = Duration::from_millis(500);
    });
    let mut slow = Client::to(front.at());
    slow.send("POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhel");
    until(&front, "it is here", |counts| counts.present == 1);
    assert_eq!(get(front.at(), "/fast").status, 200);
    let reply = slow.reply();
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (408, "body-too-slow")
    );
    assert_eq!(model.count("/slow"), 0);
    is_idle(&front);
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let mut client = Client::to(front.at());
    client.send(format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "y".repeat(20_000)
    ));
    assert_eq!(client.reply().status, 431);
    assert_eq!(model.connections(), 0);
}

#[test]
fn who_opens_connections_without_end_does_not_keep_others_out() {
    let model = Model::start();
    let front = front(&model, |limits| (limits.in_flight, limits.queue) = (1, 1));
    // 260 in all, half of them for one address.
    let mut idle: Vec<Client> = (0..130).map(|_| Client::from(2, front.at())).collect();
    assert_eq!(idle[129].get("/x").reply().status, 200);
    let mut one_more = Client::from(2, front.at());
    assert_eq!(one_more.reply().status, 503);
    assert_eq!(Client::from(3, front.at()).get("/x").reply().status, 200);
    drop(idle);
    until(&front, "the place is free again", |_| {
        let mut again = Client::from(2, front.at());
        again.get("/x").reply().status == 200
    });
}
