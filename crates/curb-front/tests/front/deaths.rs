//! Requests that kill the server.

use std::time::Duration;

use curb_front::{Front, Outcome, State};

use crate::client::{Client, post};
use crate::model::Model;
use crate::{front, is_idle, until};

/// The server dies, and another is started at its address.
fn die_and_restart(front: &Front, model: Model) -> Model {
    let at = model.at;
    model.die();
    front.server_died();
    let model = Model::start_at(at);
    front.state(State::Up);
    model
}

#[test]
fn a_server_that_closes_before_it_answers_is_asked_once() {
    let model = Model::start();
    let front = front(&model, |_| {});
    for method in ["POST", "GET"] {
        let mut client = Client::to(front.at());
        // On a connection that was used before as well.
        client.get("/x").reply();
        client.send(format!("{method} /close HTTP/1.1\r\nhost: a\r\n\r\n"));
        let reply = client.reply();
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (502, "server-broke-off")
        );
    }
    assert_eq!(model.count("/close"), 2);
    is_idle(&front);
    assert_eq!(front.counts().ended(Outcome::BrokeOff), 2);
    assert_eq!(front.counts().suspects, 0);
}

#[test]
fn who_is_in_flight_at_a_death_is_told_so_and_a_stream_is_cut() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let (mut thinks, mut streams) = (Client::to(front.at()), Client::to(front.at()));
    thinks.post("/hang", "a");
    streams.post("/stream", "b");
    model.piece("data: 1\n\n");
    streams.head();
    assert_eq!(streams.chunk().as_deref(), Some("data: 1\n\n"));
    model.wait_for_requests(2);
    model.die();
    front.server_died();
    let reply = thinks.reply();
    assert_eq!((reply.status, reply.code().as_str()), (502, "server-died"));
    assert_eq!(streams.chunk(), None);
    is_idle(&front);
    let counts = front.counts();
    assert_eq!((counts.deaths, counts.suspects), (1, 2));
    // Nobody said that it is up again.
    assert_eq!(post(front.at(), "/x", "").code(), "server-restarting");
}

#[test]
fn a_death_ends_all_that_was_in_flight_also_where_somebody_still_holds_its_connections() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let mut client = Client::to(front.at());
    client.post("/hang", "a");
    model.wait_for_requests(1);
    // As where a child of the server inherited them.
    front.server_died();
    assert_eq!(client.reply().code(), "server-died");
    model.wait_until_left(1);
}

#[test]
fn a_death_that_is_told_later_than_the_connections_broke_counts_for_those_that_were_on_them() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let mut client = Client::to(front.at());
    client.post("/hang", "a");
    model.wait_for_requests(1);
    model.die();
    let reply = client.reply();
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (502, "server-broke-off")
    );
    front.server_died();
    assert_eq!(front.counts().suspects, 1);
}

#[test]
fn a_request_that_killed_the_server_twice_is_not_passed_on_a_third_time() {
    let mut model = Model::start();
    let front = front(&model, |_| {});
    for death in 1..=2 {
        let mut client = Client::to(front.at());
        client.post("/hang", "poison");
        model.wait_for_requests(1);
        assert_eq!(front.counts().suspects, death - 1);
        model = die_and_restart(&front, model);
        assert_eq!(client.reply().code(), "server-died");
        is_idle(&front);
        // Death after death it is the same one.
        assert_eq!(front.counts().suspects, 1);
        if death == 1 {
            assert_eq!(post(front.at(), "/x", "another").status, 200);
            model = die_and_restart_quietly(&front, model);
        }
    }
    let reply = post(front.at(), "/hang", "poison");
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (422, "killed-the-server")
    );
    assert!(
        reply.body.contains("the server died 2 times"),
        "{}",
        reply.body
    );
    assert!((590..=600).contains(&reply.retry_after().unwrap()));
    assert_eq!(model.seen().len(), 0);
    // Another one is.
    assert_eq!(post(front.at(), "/x", "poison").status, 200);
    assert_eq!(front.counts().ended(Outcome::Suspected), 1);
}

/// A restart that is nobody's fault.
fn die_and_restart_quietly(front: &Front, model: Model) -> Model {
    let at = model.at;
    front.state(State::Restarting {
        why: "an update".into(),
        retry_after: Duration::from_secs(1),
    });
    model.die();
    let model = Model::start_at(at);
    front.state(State::Up);
    model
}

#[test]
fn suspects_run_alone_so_that_the_innocent_are_cleared() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let mut clients: Vec<Client> = (0..2).map(|_| Client::to(front.at())).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.post("/gate", &format!("suspect {n}"));
    }
    model.wait_for_requests(2);
    let model = die_and_restart(&front, model);
    clients
        .iter_mut()
        .for_each(|client| assert_eq!(client.reply().code(), "server-died"));
    // One that has nothing to do with it runs already; others come.
    let mut before = Client::to(front.at());
    before.post("/gate", "before");
    model.wait_for_requests(1);
    for (n, client) in clients.iter_mut().enumerate() {
        client.post("/gate", &format!("suspect {n}"));
        until(&front, "it waits", |counts| counts.queued == n + 1);
    }
    let mut after = Client::to(front.at());
    after.post("/gate", "after");
    until(&front, "all wait", |counts| counts.queued == 3);
    for left in [3, 2, 1, 0] {
        until(&front, "the next one runs alone", |counts| {
            (counts.in_flight, counts.queued) == (1, left)
        });
        model.release(1);
    }
    let all = clients.iter_mut().chain([&mut before, &mut after]);
    all.for_each(|client| assert_eq!(client.reply().status, 200));
    assert_eq!(model.most_running(), 1);
    is_idle(&front);
    assert_eq!(front.counts().suspects, 0);
}

#[test]
fn a_large_request_that_killed_the_server_is_found_before_its_last_byte_is_passed_on() {
    let mut model = Model::start();
    let front = front(&model, |_| {});
    let body = "poison ".repeat(50_000);
    for _ in 0..2 {
        let mut client = Client::to(front.at());
        client.post("/hang", &body);
        model.wait_for_requests(1);
        model = die_and_restart(&front, model);
        assert_eq!(client.reply().code(), "server-died");
    }
    let reply = post(front.at(), "/hang", &body);
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (422, "killed-the-server")
    );
    // In chunks it is the same request.
    let mut client = Client::to(front.at());
    client.send("POST /hang HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    for chunk in body.as_bytes().chunks(10_000) {
        client
            .send(format!("{:x}\r\n", chunk.len()))
            .send(chunk)
            .send("\r\n");
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.reply().code(), "killed-the-server");
    model.wait_until_no_connections();
    assert_eq!(model.seen().len(), 0);
    is_idle(&front);
}

#[test]
fn a_large_suspect_waits_until_it_is_alone_before_its_last_byte_is_passed_on() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let body = "suspect".repeat(50_000);
    let mut suspect = Client::to(front.at());
    suspect.post("/gate", &body);
    model.wait_for_requests(1);
    let model = die_and_restart(&front, model);
    assert_eq!(suspect.reply().code(), "server-died");
    let mut other = Client::to(front.at());
    other.post("/gate", "other");
    model.wait_for_requests(1);
    suspect.post("/gate", &body);
    until(&front, "both run", |counts| counts.in_flight == 2);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(model.seen().len(), 1);
    let mut later = Client::to(front.at());
    later.post("/later", "");
    until(&front, "nobody begins meanwhile", |counts| {
        counts.queued == 1
    });
    model.release(1);
    assert_eq!(other.reply().status, 200);
    model.wait_for_requests(2);
    assert_eq!(model.count("/later"), 0);
    model.release(1);
    assert_eq!(suspect.reply().status, 200);
    assert_eq!(later.reply().status, 200);
    is_idle(&front);
    assert_eq!(front.counts().suspects, 0);
}

#[test]
fn a_death_of_the_server_is_not_held_against_what_the_fallback_has() {
    let (model, small) = (Model::start(), Model::start());
    let front = front(&model, |limits| limits.fallback = Some(small.at));
    let mut at_server = Client::to(front.at());
    at_server.post("/hang", "a");
    model.wait_for_requests(1);
    front.state(State::OverLimit {
        why: "memory".into(),
        retry_after: Duration::from_secs(1),
    });
    let mut at_fallback = Client::to(front.at());
    at_fallback.post("/gate", "b");
    small.wait_for_requests(1);
    model.die();
    front.server_died();
    assert_eq!(at_server.reply().code(), "server-died");
    small.release(1);
    assert_eq!(at_fallback.reply().status, 200);
    assert_eq!(front.counts().suspects, 1);
}
