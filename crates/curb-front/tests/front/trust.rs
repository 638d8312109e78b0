//! Clients behind a proxy.

use curb_front::Front;

use crate::client::Client;
use crate::front;
use crate::model::Model;

/// Asks as a proxy at 127.0.0.`proxy` for somebody.
fn asks(front: &Front, proxy: u8, path: &str, who: &str) -> Client {
    let mut client = Client::from(proxy, front.at());
    client.send(format!(
        "GET {path} HTTP/1.1\r\nhost: a\r\nx-forwarded-for: {who}\r\nx-forwarded-proto: https\r\n\r\n"
    ));
    client
}

#[test]
fn clients_behind_a_proxy_that_is_believed_have_a_share_each_and_are_told_apart_to_the_server() {
    let model = Model::start();
    let front = front(&model, |limits| {
        limits.per_client = Some(1);
        limits.trust = vec!["127.0.0.2".parse().expect("a network")];
    });
    let mut first = asks(&front, 2, "/gate?1", "198.51.100.1");
    model.wait_for_requests(1);
    // What a client writes itself stands before what the proxy adds, and changes nothing.
    let mut again = asks(&front, 2, "/gate?2", "203.0.113.9, 198.51.100.1");
    let refused = again.reply();
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (429, "front-client-share")
    );
    let mut other = asks(&front, 2, "/gate?3", "198.51.100.2");
    model.wait_for_requests(2);
    model.release(2);
    assert_eq!((first.reply().status, other.reply().status), (200, 200));
    let mut told: Vec<(String, String)> = model
        .seen()
        .iter()
        .map(|seen| {
            let of = |name: &str| seen.headers[name].clone();
            (of("x-forwarded-for"), of("x-forwarded-proto"))
        })
        .collect();
    told.sort();
    let wanted = ["198.51.100.1", "198.51.100.2"].map(|ip| (ip.to_owned(), "https".to_owned()));
    assert_eq!(told, wanted);
}

#[test]
fn who_is_not_believed_is_one_client_whatever_it_says() {
    let model = Model::start();
    let front = front(&model, |limits| {
        limits.per_client = Some(1);
        limits.trust = vec!["127.0.0.2".parse().expect("a network")];
    });
    let mut first = asks(&front, 3, "/gate", "198.51.100.1");
    model.wait_for_requests(1);
    let refused = asks(&front, 3, "/gate", "198.51.100.2").reply();
    assert_eq!(refused.code(), "front-client-share");
    model.release(1);
    assert_eq!(first.reply().status, 200);
    let seen = &model.seen()[0];
    assert_eq!(seen.headers["x-forwarded-for"], "127.0.0.3");
    assert_eq!(seen.headers["x-forwarded-proto"], "http");
}
