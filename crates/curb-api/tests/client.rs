//! The client against a socket that answers what a test says.

use std::time::Duration;

use curb_api::client::{Client, ClientConfig, ClientError, TokenText};
use curb_api::{JobQuery, JournalQuery, StateFilter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers one connection with `answer` and returns what it was sent.
async fn exchange(answer: &'static [u8]) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        while !heard.windows(4).any(|w| w == b"\r\n\r\n") {
            let n = stream.read(&mut buffer).await.expect("a request");
            assert!(n > 0, "the client went away");
            heard.extend_from_slice(&buffer[..n]);
        }
        stream.write_all(answer).await.expect("written");
        if answer.is_empty() {
            // Say nothing until the client gives up.
            let _ = stream.read(&mut buffer).await;
        }
        String::from_utf8(heard).expect("text")
    });
    (address, served)
}

fn client(address: &str) -> Client {
    let mut config = ClientConfig::new(address, Some(TokenText::new("curb_secret\n")));
    config.request_timeout = Duration::from_millis(500);
    config.max_body = 1000;
    Client::new(config).expect("a client")
}

#[tokio::test]
async fn a_call_says_who_asks_and_that_json_is_wanted() {
    let (address, served) =
        exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"jobs\":[]}").await;
    let query = JobQuery {
        state: StateFilter::All,
        user: Some("a&b".into()),
        limit: Some(5),
        ..JobQuery::default()
    };
    let page = client(&address).jobs(&query).await.expect("a page");
    assert!(page.jobs.is_empty() && page.next.is_none());
    let heard = served.await.expect("served").to_lowercase();
    assert!(
        heard.starts_with("get /curb/v1/jobs?state=all&user=a%26b&limit=5 http/1.1\r\n"),
        "{heard}"
    );
    assert!(
        heard.contains("authorization: bearer curb_secret\r\n"),
        "{heard}"
    );
    assert!(heard.contains("accept: application/json\r\n"), "{heard}");
}

#[tokio::test]
async fn a_problem_is_read_with_its_code_and_detail() {
    let answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/problem+json\r\nContent-Length: 38\r\n\r\n{\"code\":\"token\",\"detail\":\"it expired\"}";
    let (address, _served) = exchange(answer).await;
    let error = client(&address).status().await.expect_err("refused");
    let problem = error.problem().expect("a problem");
    assert_eq!((problem.status, problem.code.as_str()), (401, "token"));
    assert_eq!(error.to_string(), "cannot ask for the status: it expired");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let (address, _served) = exchange(b"").await;
    let error = client(&address).status().await.expect_err("late");
    assert!(matches!(error, ClientError::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_hangs_up_in_the_middle_is_a_broken_connection() {
    let (address, _served) = exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{").await;
    let error = client(&address).status().await.expect_err("cut");
    assert!(matches!(error, ClientError::Broken { .. }), "{error:?}");
}

#[tokio::test]
async fn an_answer_over_the_bound_is_not_read() {
    let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n".to_vec();
    answer.resize(answer.len() + 1001, b' ');
    let (address, _served) = exchange(answer.leak()).await;
    let error = client(&address).status().await.expect_err("too large");
    assert!(
        matches!(error, ClientError::TooLarge { limit: 1000, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_answer_of_another_kind_is_not_understood() {
    let (address, _served) = exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<htm>").await;
    let error = client(&address).status().await.expect_err("not JSON");
    assert!(matches!(error, ClientError::Malformed { .. }), "{error:?}");
}

#[tokio::test]
async fn nobody_there_means_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let error = client(&address).status().await.expect_err("nobody");
    assert!(
        matches!(error, ClientError::Unreachable { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_id_that_would_change_the_path_is_never_sent() {
    let client = client("http://127.0.0.1:1");
    for id in ["", "..", "a/../b", "a?x=1", "a%2fb", "a b"] {
        let error = client.job(id).await.expect_err(id);
        assert!(matches!(error, ClientError::BadId { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn waiting_for_records_is_allowed_its_time() {
    let (address, served) =
        exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 23\r\n\r\n{\"records\":[],\"next\":7}").await;
    let query = JournalQuery {
        after: Some(7),
        kinds: vec!["ended".into(), "queued".into()],
        wait_s: Some(1),
        limit: None,
    };
    let page = client(&address).journal(&query).await.expect("a page");
    assert_eq!(page.next, 7);
    let heard = served.await.expect("served");
    assert!(
        heard.starts_with("GET /curb/v1/journal?after=7&kinds=ended%2Cqueued&wait=1 "),
        "{heard}"
    );
}
