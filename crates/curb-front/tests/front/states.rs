//! What the supervisor says, and what clients are told.

use std::time::{Duration, Instant};

use curb_front::{Front, Outcome, State};

use crate::client::{Client, get};
use crate::model::Model;
use crate::{front, is_idle, limits, until};

fn soon() -> Duration {
    Duration::from_secs(7)
}

#[test]
fn while_the_server_cannot_answer_clients_are_told_why_at_once_and_when_to_come_back() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let (why, retry_after) = ("its memory is at 95% of 4 GiB".to_owned(), soon());
    for (state, code) in [
        (
            State::Paused {
                why: why.clone(),
                retry_after,
            },
            "server-paused",
        ),
        (
            State::OverLimit {
                why: why.clone(),
                retry_after,
            },
            "server-over-limit",
        ),
        (
            State::Restarting {
                why: why.clone(),
                retry_after,
            },
            "server-restarting",
        ),
        (
            State::Stopping {
                why: why.clone(),
                retry_after,
            },
            "server-stopping",
        ),
    ] {
        front.state(state);
        let reply = get(front.at(), "/x");
        assert_eq!((reply.status, reply.code().as_str()), (503, code));
        assert_eq!(reply.retry_after(), Some(7));
        let json = reply.json();
        assert_eq!(json["retry_after"], 7);
        assert!(json["detail"].as_str().unwrap().contains(&why), "{json}");
        assert!(
            json["detail"].as_str().unwrap().contains("\n  next: "),
            "{json}"
        );
        assert_eq!(json["type"], format!("urn:curb:reason:{code}"));
    }
    front.state(State::Down { why });
    let reply = get(front.at(), "/x");
    assert_eq!((reply.status, reply.code().as_str()), (503, "server-down"));
    assert_eq!(reply.retry_after(), None);
    assert_eq!(model.connections(), 0);
    front.state(State::Up);
    assert_eq!(get(front.at(), "/x").status, 200);
    assert_eq!(front.counts().ended(Outcome::NotUp), 5);
}

#[test]
fn who_waits_already_goes_on_waiting_through_a_pause_and_has_its_turn_after_it() {
    let model = Model::start();
    let front = front(&model, |limits| limits.in_flight = 1);
    let mut first = Client::to(front.at());
    first.get("/gate");
    model.wait_for_requests(1);
    let mut second = Client::to(front.at());
    second.get("/second");
    until(&front, "it waits", |counts| counts.queued == 1);
    front.state(State::Paused {
        why: "its memory limit is being raised".into(),
        retry_after: soon(),
    });
    model.release(1);
    // What the server has is finished; what waits is not given to it.
    assert_eq!(first.reply().status, 200);
    assert_eq!(model.count("/second"), 0);
    assert_eq!(front.counts().queued, 1);
    front.state(State::Up);
    assert_eq!(second.reply().status, 200);
}

#[test]
fn who_waits_is_told_when_nobody_comes_back() {
    let model = Model::start();
    let front = front(&model, |limits| limits.in_flight = 1);
    let mut first = Client::to(front.at());
    first.get("/hang");
    model.wait_for_requests(1);
    let mut second = Client::to(front.at());
    second.get("/second");
    until(&front, "it waits", |counts| counts.queued == 1);
    front.state(State::Down {
        why: "it died 5 times in 10 minutes".into(),
    });
    let reply = second.reply();
    assert_eq!((reply.status, reply.code().as_str()), (503, "server-down"));
    assert!(reply.body.contains("it died 5 times in 10 minutes"));
}

#[test]
fn a_pause_that_outlasts_who_waits_is_what_it_is_told() {
    let model = Model::start();
    let front = front(&model, |limits| {
        limits.in_flight = 1;
        limits.deadline = Duration::from_millis(600);
    });
    let mut first = Client::to(front.at());
    first.get("/hang");
    model.wait_for_requests(1);
    let mut second = Client::to(front.at());
    second.get("/second");
    until(&front, "it waits", |counts| counts.queued == 1);
    front.state(State::Paused {
        why: "frozen".into(),
        retry_after: soon(),
    });
    let reply = second.reply();
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (503, "server-paused")
    );
}

#[test]
fn a_server_that_does_not_listen_yet_is_waited_for() {
    let model = Model::start();
    let at = model.at;
    let front = front(&model, |_| {});
    model.die();
    let mut client = Client::to(front.at());
    client.get("/x");
    std::thread::sleep(Duration::from_millis(200));
    let _model = Model::start_at(at);
    assert_eq!(client.reply().status, 200);
}

#[test]
fn a_server_that_is_not_there_is_told_apart_from_one_that_starts() {
    let model = Model::start();
    let mut limits = limits(model.at);
    limits.start_patience = Duration::from_millis(200);
    limits.start_within = Duration::from_secs(2);
    model.die();
    let front = Front::start(limits).unwrap();
    front.state(State::Up);
    let begun = Instant::now();
    let reply = get(front.at(), "/x");
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (503, "server-starting")
    );
    assert_eq!(reply.retry_after(), Some(5));
    assert!(begun.elapsed() >= Duration::from_millis(150));
    std::thread::sleep(Duration::from_secs(2));
    let reply = get(front.at(), "/x");
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (502, "server-unreachable")
    );
    assert!(
        reply.body.contains("has never taken a connection"),
        "{}",
        reply.body
    );
    assert!(reply.body.contains("--front"));
}

#[test]
fn a_server_that_stopped_listening_while_its_command_lives_is_told_as_that() {
    let model = Model::start();
    let front = front(&model, |_| {});
    assert_eq!(get(front.at(), "/x").status, 200);
    model.die();
    let reply = get(front.at(), "/x");
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (502, "server-unreachable")
    );
    assert!(reply.body.contains("any more"), "{}", reply.body);
}

#[test]
fn the_fallback_takes_over_whenever_the_server_cannot_and_gives_back_when_it_can() {
    let (model, small) = (Model::start(), Model::start());
    let front = front(&model, |limits| limits.fallback = Some(small.at));
    assert_eq!(get(front.at(), "/a").status, 200);
    front.state(State::Restarting {
        why: "it died".into(),
        retry_after: soon(),
    });
    assert_eq!(get(front.at(), "/b").status, 200);
    front.state(State::Fallback);
    assert_eq!(get(front.at(), "/c").status, 200);
    front.state(State::Up);
    assert_eq!(get(front.at(), "/d").status, 200);
    assert_eq!(
        (model.count("/a"), model.count("/d"), model.seen().len()),
        (1, 1, 2)
    );
    assert_eq!(
        (small.count("/b"), small.count("/c"), small.seen().len()),
        (1, 1, 2)
    );
    is_idle(&front);
    assert_eq!(front.counts().ended(Outcome::PassedToFallback), 2);
    // Neither answers: it is told about both.
    small.die();
    front.state(State::Paused {
        why: "frozen".into(),
        retry_after: soon(),
    });
    let reply = get(front.at(), "/e");
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (503, "server-paused")
    );
    assert!(reply.body.contains("the fallback at"), "{}", reply.body);
}

#[test]
fn a_server_that_was_started_and_does_not_listen_yet_has_its_requests_taken_by_the_fallback() {
    let (gone, small) = (Model::start(), Model::start());
    let at = gone.at;
    drop(gone);
    let mut limits = limits(at);
    limits.fallback = Some(small.at);
    let front = Front::start(limits).expect("it starts");
    front.state(State::Up);
    assert_eq!(get(front.at(), "/x").status, 200);
    assert_eq!(small.count("/x"), 1);
    is_idle(&front);
    assert_eq!(front.counts().ended(Outcome::PassedToFallback), 1);
    let model = Model::start_at(at);
    assert_eq!(get(front.at(), "/y").status, 200);
    assert_eq!((small.count("/y"), model.count("/y")), (0, 1));
}

#[test]
fn a_fallback_in_the_server_s_place_is_asked_at_the_server_s_address() {
    let model = Model::start();
    let front = front(&model, |_| {});
    front.state(State::Fallback);
    assert_eq!(get(front.at(), "/x").status, 200);
    // Also where another address is named at which nobody listens.
    let gone = Model::start();
    gone.die();
    let front = crate::front(&model, |limits| limits.fallback = Some(gone.at));
    front.state(State::Fallback);
    assert_eq!(get(front.at(), "/x").status, 200);
}

#[test]
fn who_comes_before_the_server_is_started_waits_for_it_and_not_for_ever() {
    let model = Model::start();
    let mut limits = limits(model.at);
    limits.start_patience = Duration::from_millis(300);
    let front = Front::start(limits).unwrap();
    let reply = get(front.at(), "/x");
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (503, "server-starting")
    );
    assert_eq!(model.connections(), 0);
    let mut client = Client::to(front.at());
    client.get("/x");
    until(&front, "it waits", |counts| counts.queued == 1);
    front.state(State::Up);
    assert_eq!(client.reply().status, 200);
}

#[test]
fn a_front_that_stops_lets_those_that_are_here_end_and_refuses_the_rest() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let (at, control) = (front.at(), front.control());
    let mut first = Client::to(at);
    first.get("/gate");
    model.wait_for_requests(1);
    let stopping = std::thread::spawn(move || front.stop(Duration::from_secs(10)));
    let end = Instant::now() + Duration::from_secs(10);
    // One that came in the moment before is closed without an answer.
    while Client::to(at)
        .get("/x")
        .status()
        .is_none_or(|status| status != 503)
    {
        assert!(Instant::now() < end);
    }
    model.release(1);
    assert_eq!(first.reply().status, 200);
    stopping.join().unwrap();
    assert_eq!(control.counts().in_flight, 0);
    assert!(std::net::TcpStream::connect(at).is_err());
}

#[test]
fn a_front_that_stops_before_the_server_was_started_tells_who_waits() {
    let model = Model::start();
    let front = Front::start(limits(model.at)).unwrap();
    let mut client = Client::to(front.at());
    client.get("/x");
    until(&front, "it waits", |counts| counts.queued == 1);
    front.stop(Duration::from_secs(10));
    let reply = client.reply();
    assert_eq!((reply.status, reply.code().as_str()), (503, "server-down"));
}

#[test]
fn an_address_that_is_taken_is_an_error_before_anything_starts() {
    let model = Model::start();
    let mut limits = limits(model.at);
    limits.listen = model.at;
    limits.to.set_port(1);
    let error = Front::start(limits).expect_err("it is taken").to_string();
    assert!(
        error.starts_with(&format!("the front cannot listen at {}: ", model.at)),
        "{error}"
    );
}
