//! Errors over the wire: each names its code, and the page that it names is there.

mod support;

use serde_json::Value;
use support::{Answer, World, raw, send};

/// The page that a text sends its reader to, as the server shows it.
async fn page_of(w: &World, text: &str) -> Answer {
    let path = text
        .split_whitespace()
        .find(|word| word.starts_with("/curb/v1/reasons/"))
        .unwrap_or_else(|| panic!("no page is named: {text}"));
    send(w.curb.address(), "GET", path, None, "", b"").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_two_readings_is_told_what_was_wrong_and_where_to_read_on() {
    let w = World::new().await;
    let addr = w.curb.address();
    for (bytes, status, code) in [
        ("GET / HTTP/1.1\r\nHost: h\r\nA_B: 1\r\n\r\n".to_owned(), 400, "bad-framing"),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            400,
            "bad-framing",
        ),
        ("GET / HTTP/1.1\r\nHost: h\r\nExpect: tea\r\n\r\n".to_owned(), 417, "expectation"),
        ("GET / HTTP/3.0\r\nHost: h\r\n\r\n".to_owned(), 505, "http-version"),
        (
            format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n", "a".repeat(70_000)),
            431,
            "head-too-large",
        ),
    ] {
        let answer = raw(addr, bytes.as_bytes()).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body.starts_with("curb: "), "{answer:?}");
        assert!(answer.body.contains("\n  next: "), "{answer:?}");
        let page = page_of(&w, &answer.body).await;
        assert_eq!(page.status, 200, "{code}");
        assert!(page.body.starts_with(&format!("# {code}\n")), "{page:?}");
    }
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_and_json_say_the_same_and_name_the_same_page() {
    let w = World::new().await;
    let addr = w.curb.address();
    for (method, path, token, status) in [
        ("GET", "/curb/v1/jobs", None, 401),
        ("GET", "/curb/v1/tokens", Some(&w.ana), 403),
        ("GET", "/api/jobs/nothing", Some(&w.ana), 404),
        ("PATCH", "/api/jobs/", Some(&w.ana), 405),
        ("GET", "/api/jobs/../jobs/", Some(&w.ana), 400),
    ] {
        let ask =
            |head: &'static str| send(addr, method, path, token.map(String::as_str), head, b"");
        let text = ask("").await;
        let told = ask("Accept: application/problem+json\r\n").await;
        let json: Value = told.json();
        assert_eq!(
            (text.status, &json["status"]),
            (status, &Value::from(status))
        );
        let page = json["type"].as_str().expect("a page");
        assert!(text.body.contains(page), "{text:?} {json}");
        assert_eq!(page_of(&w, page).await.status, 200);
        let words = |t: &str| t.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let detail = words(json["detail"].as_str().expect("a detail"));
        assert!(words(&text.body).starts_with(&detail), "{text:?} {json}");
    }
    w.curb.stop().await;
}
