//! Clients that go away, and what is left of them.

use std::time::Duration;

use curb_front::Outcome;

use crate::client::Client;
use crate::model::Model;
use crate::{front, is_idle, until};

#[test]
fn a_client_that_goes_away_while_it_waits_is_never_passed_on() {
    let model = Model::start();
    let front = front(&model, |limits| limits.in_flight = 1);
    let mut first = Client::to(front.at());
    first.get("/gate");
    model.wait_for_requests(1);
    let mut gone = Client::to(front.at());
    gone.post("/gone", "hello");
    until(&front, "it waits", |counts| counts.queued == 1);
    drop(gone);
    until(&front, "it is gone", |counts| counts.queued == 0);
    model.release(1);
    assert_eq!(first.reply().status, 200);
    is_idle(&front);
    assert_eq!(model.count("/gone"), 0);
    assert_eq!(front.counts().ended(Outcome::ClientLeft), 1);
}

#[test]
fn a_client_that_goes_away_while_the_server_thinks_takes_its_request_with_it() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let mut client = Client::to(front.at());
    client.post("/hang", "hello");
    model.wait_for_requests(1);
    drop(client);
    model.wait_until_left(1);
    is_idle(&front);
    assert_eq!(front.counts().ended(Outcome::ClientLeft), 1);
}

#[test]
fn a_client_that_goes_away_in_the_middle_of_an_answer_ends_it_at_the_server() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let mut client = Client::to(front.at());
    client.get("/stream");
    model.piece("data: 1\n\n");
    client.head();
    client.chunk();
    drop(client);
    until(&front, "it is gone", |counts| counts.present == 0);
    // The server learns it when it writes on.
    for _ in 0..100 {
        model.piece("data: 2\n\n");
        std::thread::sleep(Duration::from_millis(1));
    }
    model.wait_until_left(1);
    assert_eq!(front.counts().ended(Outcome::ClientLeft), 1);
}

#[test]
fn a_client_that_goes_away_in_the_middle_of_its_body_leaves_nothing() {
    let model = Model::start();
    let front = front(&model, |_| {});
    for length in [1000, 1_000_000] {
        let mut client = Client::to(front.at());
        let part = "z".repeat(length / 2);
        client.send(format!(
            "POST /up HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{part}"
        ));
        until(&front, "it is here", |counts| counts.present == 1);
        drop(client);
        is_idle(&front);
    }
    assert_eq!(model.count("/up"), 0);
    model.wait_until_no_connections();
}

/// Memory of this process, in KiB: both ends and the front are in it.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

/// Four clients at once: most are answered, some leave, some are broken off.
fn some_rounds(at: std::net::SocketAddr, requests: usize) {
    let one = move || {
        let mut client = Client::to(at);
        for n in 0..requests / 4 {
            match n % 250 {
                0 => {
                    client.get("/close");
                    assert_eq!(client.reply().status, 502);
                }
                1..10 => {
                    client.get("/hang");
                    client = Client::to(at);
                }
                _ => {
                    client.post("/x", &n.to_string());
                    assert_eq!(client.reply().status, 200);
                }
            }
        }
    };
    let clients: Vec<_> = (0..4).map(|_| std::thread::spawn(one)).collect();
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
}

#[test]
fn ten_thousand_requests_leave_nothing_behind() {
    let model = Model::start();
    let front = front(&model, |limits| limits.per_client = Some(40));
    some_rounds(front.at(), 1000);
    is_idle(&front);
    let before = resident();
    some_rounds(front.at(), 10_000);
    is_idle(&front);
    let counts = front.counts();
    assert_eq!(counts.ended(Outcome::Passed), 44 * 240);
    assert_eq!(counts.ended(Outcome::BrokeOff), 44);
    // Who leaves at once may do so before it was read.
    let left = counts.ended(Outcome::ClientLeft);
    assert_eq!(counts.all_ended(), 44 * 241 + left);
    assert!(left <= 44 * 9, "{left}");
    model.wait_until_no_connections();
    // The server remembers all that it saw, which is in it.
    let after = resident();
    assert!(after < before + 20_000, "{before} KiB, then {after} KiB");
}
