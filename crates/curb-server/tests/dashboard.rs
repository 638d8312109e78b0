//! Ray's dashboard, on its own address, for operators only.

mod support;

use support::{POLICY, World, raw, send};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_operators_read_the_dashboard_and_only_the_pages_that_are_listed() {
    let w = World::with(POLICY, |o| o.dashboard = true).await;
    let addr = w.curb.dashboard().expect("a dashboard");
    let get = |token: Option<String>, path: &'static str| async move {
        send(addr, "GET", path, token.as_deref(), "", b"")
            .await
            .status
    };
    assert_eq!(get(None, "/api/version").await, 401);
    assert_eq!(get(Some(w.ana.clone()), "/api/version").await, 403);
    assert_eq!(get(Some(w.ops.clone()), "/api/version").await, 200);
    assert_eq!(get(Some(w.ops.clone()), "/worker/cpu_profile").await, 404);
    assert_eq!(get(Some(w.ops.clone()), "/api/v0/logs/file").await, 404);
    assert_eq!(
        get(Some(w.ops.clone()), "/static/../api/version").await,
        400
    );
    for odd in [
        "//",
        "/static/../api/version",
        "/api%2fversion",
        "/%2e/",
        "/Api/jobs/",
        "/curb/Sign-in",
    ] {
        for token in [None, Some(&w.ops)] {
            let auth = token.map_or_else(String::new, |t| format!("Authorization: Bearer {t}\r\n"));
            // Asked to stay open, and followed by another that is in order: there is one answer, and it says so.
            let request = format!("GET {odd} HTTP/1.1\r\nHost: {addr}\r\n{auth}\r\n");
            let next =
                format!("GET /api/version HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
            let answer = raw(addr, format!("{request}{next}").as_bytes()).await;
            assert_eq!(
                (answer.status, answer.header("connection")),
                (400, Some("close")),
                "{odd}"
            );
            assert!(!answer.body.contains("HTTP/1.1"), "{odd}: {}", answer.body);
        }
    }
    for method in ["POST", "PUT", "DELETE"] {
        let answer = send(addr, method, "/api/jobs/", Some(&w.ops), "", b"{}").await;
        assert_eq!(answer.status, 405, "{method}");
    }
    assert_eq!(w.ray.total_starts(), 0);
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_signs_in_with_a_token_and_its_session_ends_with_the_token() {
    let w = World::with(POLICY, |o| o.dashboard = true).await;
    let addr = w.curb.dashboard().expect("a dashboard");
    let page = send(addr, "GET", "/", None, "Accept: text/html\r\n", b"").await;
    assert_eq!(
        (page.status, page.header("location")),
        (303, Some("/curb/sign-in"))
    );
    let made = w
        .post(
            &w.admin,
            "/curb/v1/tokens",
            r#"{"user":"ops","role":"operator"}"#,
        )
        .await
        .json();
    let (id, token) = (
        made["id"].as_str().expect("an id"),
        made["token"].as_str().expect("a token"),
    );
    let form = format!("token={token}");
    let evil = send(
        addr,
        "POST",
        "/curb/sign-in",
        None,
        "Origin: http://evil.example\r\n",
        form.as_bytes(),
    )
    .await;
    assert_eq!(evil.status, 403);
    let signed = send(addr, "POST", "/curb/sign-in", None, "", form.as_bytes()).await;
    assert_eq!(signed.status, 303, "{signed:?}");
    let cookie = signed.header("set-cookie").expect("a session").to_owned();
    assert!(
        cookie.contains("HttpOnly")
            && cookie.contains("SameSite=Strict")
            && !cookie.contains(token)
    );
    let with = format!(
        "Cookie: {}\r\n",
        cookie.split(';').next().unwrap_or_default()
    );
    assert_eq!(
        send(addr, "GET", "/api/version", None, &with, b"")
            .await
            .status,
        200
    );
    assert_eq!(
        send(w.curb.address(), "GET", "/api/version", None, &with, b"")
            .await
            .status,
        401
    );
    let revoked = send(
        w.curb.address(),
        "DELETE",
        &format!("/curb/v1/tokens/{id}"),
        Some(&w.admin),
        "",
        b"",
    )
    .await;
    assert_eq!(revoked.status, 200);
    assert_eq!(
        send(addr, "GET", "/api/version", None, &with, b"")
            .await
            .status,
        401
    );
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_signs_in_under_every_name_of_the_server_and_under_no_other() {
    let w = World::with(POLICY, |o| {
        o.dashboard = true;
        o.hosts = vec!["curb.example.org".to_owned()];
    })
    .await;
    let addr = w.curb.dashboard().expect("a dashboard");
    let port = addr.port();
    let form = format!("token={}", w.ops);
    for (origin, status) in [
        (format!("http://curb.example.org:{port}"), 303),
        // A proxy that speaks TLS is in front.
        ("https://curb.example.org".to_owned(), 303),
        (format!("http://{addr}"), 303),
        (format!("http://localhost:{port}"), 303),
        ("https://curb.example.org.evil.example".to_owned(), 403),
        (format!("https://curb.example.org:{}", port ^ 1), 403),
        ("null".to_owned(), 403),
    ] {
        let headers = format!("Origin: {origin}\r\n");
        let answer = send(
            addr,
            "POST",
            "/curb/sign-in",
            None,
            &headers,
            form.as_bytes(),
        )
        .await;
        assert_eq!(answer.status, status, "{origin}: {answer:?}");
    }
    w.curb.stop().await;
}
