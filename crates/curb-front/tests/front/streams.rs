//! Both ways as it comes, and no faster than it is taken.

use std::time::{Duration, Instant};

use curb_front::Outcome;

use crate::client::Client;
use crate::model::Model;
use crate::{front, is_idle, until};

#[test]
fn each_token_is_passed_on_when_it_comes_and_not_when_the_next_does() {
    let mut model = Model::start();
    let front = front(&model, |_| {});
    let mut client = Client::to(front.at());
    client.post("/stream", "{\"stream\":true}");
    let head = client.head();
    assert_eq!(head.headers["content-type"], "text/event-stream");
    for n in 0..50 {
        let token = format!("data: {n}\n\n");
        let sent = Instant::now();
        model.piece(&token);
        assert_eq!(client.chunk(), Some(token));
        assert!(sent.elapsed() < Duration::from_secs(2));
    }
    model.no_more_pieces();
    assert_eq!(client.chunk().as_deref(), Some(""));
    is_idle(&front);
    let counts = front.counts();
    assert_eq!(counts.ended(Outcome::Passed), 1);
    assert_eq!((counts.first_byte.count(), counts.whole.count()), (1, 1));
}

#[test]
fn a_large_body_is_streamed_to_the_server_while_it_still_comes() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let mut client = Client::to(front.at());
    let half = "z".repeat(500_000);
    client.send(format!(
        "POST /up HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n{half}"
    ));
    until(
        &front,
        "it has its turn before its body is whole",
        |counts| counts.in_flight == 1,
    );
    while model.connections() == 0 {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(client.send(&half).reply().status, 200);
    assert_eq!(model.seen()[0].body.len(), 1_000_000);
    // Chunks that pause are passed on too.
    client.send("POST /up HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
    until(&front, "it has its turn", |counts| counts.in_flight == 1);
    assert_eq!(
        client.send("0\r\n\r\n").reply().body,
        "POST /up HTTP/1.1 hello"
    );
}

#[test]
fn a_server_that_gives_faster_than_its_client_takes_is_held_back() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let mut client = Client::to(front.at());
    client.get("/flood");
    assert_eq!(client.head().status, 200);
    // It waits half a second for somebody to take more of its gigabyte, and gives up: what it got rid of lies in buffers
    // of the kernel and the front.
    model.wait_until_left(1);
    drop(client);
    is_idle(&front);
    assert_eq!(front.counts().ended(Outcome::Passed), 0);
}

#[test]
fn a_client_that_takes_almost_nothing_loses_its_place_at_the_deadline() {
    let model = Model::start();
    let front = front(&model, |limits| {
        limits.in_flight = 1;
        limits.deadline = Duration::from_millis(500);
    });
    let mut client = Client::to(front.at());
    client.get("/flood");
    assert_eq!(client.head().status, 200);
    until(&front, "its place is free", |counts| counts.in_flight == 0);
    assert_eq!(Client::to(front.at()).get("/x").reply().status, 200);
    // Once it goes, it is not counted again.
    drop(client);
    model.wait_until_no_connections();
    is_idle(&front);
    let counts = front.counts();
    assert_eq!(counts.ended(Outcome::ServerTooLong), 1);
    assert_eq!(counts.all_ended(), 2);
}

/// How long a stream that does not end is passed on.
fn stream_within(deadline: Duration) -> Duration {
    let model = Model::start();
    let front = front(&model, |limits| limits.deadline = deadline);
    let mut client = Client::to(front.at());
    let begun = Instant::now();
    client.post("/stream", "{}");
    assert_eq!(client.head().status, 200);
    model.piece("first");
    assert_eq!(client.chunk().as_deref(), Some("first"));
    assert_eq!(client.chunk(), None);
    begun.elapsed()
}

#[test]
fn an_answer_that_is_streamed_is_cut_at_the_deadline_and_not_when_somebody_looks() {
    let deadline = Duration::from_millis(400);
    // Who looks for late ones comes half a second later at the earliest. One of three is prompt, also on a busy machine.
    let took: Vec<Duration> = (0..3).map(|_| stream_within(deadline)).collect();
    assert!(took.iter().all(|took| *took >= deadline), "{took:?}");
    let prompt = deadline + Duration::from_millis(450);
    assert!(took.iter().any(|took| *took < prompt), "{took:?}");
}

#[test]
fn an_answer_that_the_server_cuts_short_is_cut_short_for_the_client() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let mut client = Client::to(front.at());
    client.get("/cut");
    assert_eq!(client.head().status, 200);
    assert_eq!(client.chunk().as_deref(), Some("part"));
    assert_eq!(client.chunk(), None);
    is_idle(&front);
    assert_eq!(front.counts().ended(Outcome::BrokeOff), 1);
}

#[test]
fn a_server_that_answers_before_it_has_read_everything_is_not_given_the_rest_as_another_request() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let mut client = Client::to(front.at());
    client.send("POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n");
    client.send("z".repeat(100_000));
    let reply = client.reply();
    assert_eq!((reply.status, reply.body.as_str()), (401, "who are you?"));
    is_idle(&front);
    // Its connection is cut, and others go on.
    model.wait_until_left(1);
    drop(client);
    assert_eq!(Client::to(front.at()).get("/x").reply().status, 200);
    assert_eq!(front.counts().ended(Outcome::Passed), 2);
}

#[test]
fn an_answer_of_an_old_server_ends_with_its_connection_and_the_client_s_goes_on() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let mut client = Client::to(front.at());
    for _ in 0..2 {
        assert_eq!(client.get("/old").reply().body, "hello");
    }
}
