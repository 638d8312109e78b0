//! What is passed on, and in which form.

use curb_front::Outcome;

use crate::client::{Client, get, post};
use crate::model::Model;
use crate::{front, is_idle};

#[test]
fn a_request_and_its_answer_are_passed_on_as_they_are_but_for_what_is_for_one_hop() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let mut client = Client::to(front.at());
    client.send(
        "POST /v1/chat?a=%20b HTTP/1.1\r\nHost: models.example:80\r\nAuthorization: Bearer mine\r\n\
         Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nX-Forwarded-For: 10.1.1.1\r\nTE: trailers\r\n\
         Content-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"prompt\":\"\"}",
    );
    let reply = client.reply();
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.body,
        "POST /v1/chat?a=%20b HTTP/1.1 {\"prompt\":\"\"}"
    );
    assert_eq!(reply.headers["x-model"], "tiny");
    let seen = &model.seen()[0];
    let mut names: Vec<&str> = seen.headers.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "authorization",
            "content-length",
            "content-type",
            "host",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-request-id"
        ]
    );
    assert_eq!(seen.headers["host"], "models.example:80");
    assert_eq!(seen.headers["x-forwarded-for"], "127.0.0.1");
    assert_eq!(seen.headers["x-request-id"], reply.headers["x-request-id"]);
}

#[test]
fn the_server_s_own_errors_are_its_own_words() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let reply = get(front.at(), "/busy");
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (429, "the server's own words")
    );
    is_idle(&front);
    assert_eq!(front.counts().ended(Outcome::Passed), 1);
}

#[test]
fn answers_without_a_body_leave_the_connection_usable() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let mut client = Client::to(front.at());
    client.send("HEAD /weights HTTP/1.1\r\nhost: a\r\n\r\n");
    let head = client.head();
    assert_eq!(
        (head.status, head.headers["content-length"].as_str()),
        (200, "1234")
    );
    let empty = client.get("/empty").reply();
    assert_eq!(
        (empty.status, empty.headers["x-model"].as_str()),
        (204, "tiny")
    );
    assert!(!empty.headers.contains_key("content-length"));
    assert_eq!(client.get("/after").reply().status, 200);
    is_idle(&front);
    assert_eq!(front.counts().ended(Outcome::Passed), 3);
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on_by_the_front_and_the_server_never_hears_of_it() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let mut client = Client::to(front.at());
    client.send("POST /x HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(client.head().status, 100);
    assert_eq!(client.send("hello").reply().body, "POST /x HTTP/1.1 hello");
    assert!(!model.seen()[0].headers.contains_key("expect"));
}

#[test]
fn a_chunked_body_arrives_whole_and_with_one_length() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let mut client = Client::to(front.at());
    client.send("POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n");
    assert_eq!(client.reply().body, "POST /x HTTP/1.1 hello");
    let body = "y".repeat(1 << 20);
    assert_eq!(post(front.at(), "/large", &body).status, 200);
    assert_eq!(model.seen()[1].body.len(), 1 << 20);
}

#[test]
fn an_answer_that_could_be_read_in_two_ways_goes_on_in_one() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let reply = get(front.at(), "/both");
    assert_eq!(reply.body, "hello");
    assert!(!reply.headers.contains_key("content-length"));
    assert!(!reply.headers.contains_key("x-hop"));
}

#[test]
fn what_could_be_read_in_two_ways_or_is_no_http_never_reaches_the_server() {
    let model = Model::start();
    let front = front(&model, |_| {});
    for smuggled in [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET http://other/ HTTP/1.1\r\nhost: a\r\n\r\n",
        "CONNECT other:80 HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n",
    ] {
        let reply = Client::to(front.at()).send(smuggled).reply();
        assert_eq!(reply.status, 400, "{smuggled:?}");
        assert!(reply.body.contains("next: "), "{}", reply.body);
    }
    assert_eq!(model.connections(), 0);
}

#[test]
fn connections_to_the_server_are_used_again_and_a_server_that_closes_them_is_no_error() {
    let model = Model::start();
    let front = front(&model, |_| {});
    let mut client = Client::to(front.at());
    for _ in 0..20 {
        assert_eq!(client.post("/x", "hello").reply().status, 200);
    }
    assert_eq!(model.connections(), 1);
    // It closes after each of these, without a word.
    for _ in 0..20 {
        assert_eq!(client.post("/once", "hello").reply().status, 200);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert_eq!(model.count("/once"), 20);
    // What nobody uses is closed, so that a server that has only one ear is not kept from others.
    client.post("/x", "hello").reply();
    model.wait_until_no_connections();
}

#[test]
fn who_names_plain_text_is_told_in_plain_text() {
    let model = Model::start();
    let front = front(&model, |limits| limits.body = 10);
    let mut client = Client::to(front.at());
    client.send("POST / HTTP/1.1\r\nhost: a\r\naccept: text/plain\r\ncontent-length: 11\r\n\r\n");
    let reply = client.reply();
    assert_eq!(reply.status, 413);
    assert!(reply.headers["content-type"].starts_with("text/plain"));
    assert!(
        reply
            .body
            .starts_with("curb: the body is larger than the limit of 10 bytes\n  next: send less"),
        "{}",
        reply.body
    );
}
