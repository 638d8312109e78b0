//! The checks in front of an axum router: one spelling of the path, known hosts, no foreign page.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::any;
use curb_http::canonical::CanonicalPath;
use curb_http::checks::CheckLayer;
use curb_http::listener::serve;
use curb_http::origin::Allowed;
use curb_http::response::wrapped;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::common::{PATIENCE, Reply, parse_reply};
use crate::patient;

struct Gate {
    addr: std::net::SocketAddr,
    calls: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gate {
    async fn start() -> Self {
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = calls.clone();
        let handler = move || {
            counter.fetch_add(1, Ordering::SeqCst);
            async { "ok" }
        };
        let allowed = Allowed::bearer_api(&["gate:8266"], &["https://ui.example"], 80).unwrap();
        let routes = Router::new().fallback(any(handler));
        let app = tower::ServiceBuilder::new()
            .layer(CheckLayer::new(allowed))
            .service(routes);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            serve(listener, app, patient(), std::future::pending()).await;
        });
        Self { addr, calls, task }
    }

    async fn ask(&self, method: &str, target: &str, headers: &str) -> Reply {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let head = format!("{method} {target} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        let read = stream.read_to_end(&mut all);
        tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
        parse_reply(&all).expect("a response").0
    }
}

const HOST: &str = "Host: gate:8266\r\n";

#[tokio::test]
async fn a_path_that_is_not_canonical_is_a_400_and_no_route_sees_it() {
    let gate = Gate::start().await;
    let long = format!("/{}", "a".repeat(2048));
    let targets = [
        "//api/jobs/",
        "/api//jobs/",
        "/api/jobs//",
        "/./api",
        "/api/.",
        "/api/./jobs",
        "/..",
        "/../api",
        "/api/..",
        "/api/../jobs",
        "/api/jobs/../../x",
        "/%2e%2e/api",
        "/%2E%2E/api",
        "/.%2e/x",
        "/api/%2e",
        "/api%2fjobs",
        "/api%2Fjobs",
        "/api%5cjobs",
        "/api%5Cjobs",
        "/api%252fjobs",
        "/%252e%252e/",
        "/api%00",
        "/api/%",
        "/%c0%ae%c0%ae/",
        "/%ef%bc%8f",
        "/%61pi/jobs/",
        "/api;x",
        "/api/;/jobs",
        "/api/jobs;a=b/",
        "/api/jobs.",
        "/api./jobs",
        "/api/...",
        "/a,b",
        "/a=b",
        "/a&b",
        "/a'b",
        "/a(b)",
        "/a*",
        "/a!",
        "/a$b",
        "/?",
        "/?&",
        "/?a&&b",
        "/?=b",
        "/?a=1&a=2",
        "/?a=%",
        "/?a=%zz",
        "/?a=%00",
        "/?a=%0d%0aX:%20y",
        "/?a;b",
        "/?a?b",
        "/?a=%ff",
        &long,
    ];
    for target in targets {
        let reply = gate.ask("GET", target, HOST).await;
        assert_eq!(reply.status, 400, "{target}");
        let why = CanonicalPath::parse(target).expect_err("not canonical");
        let said = format!(
            "{}  next: use plain path segments (no `..`, `//` or escapes), each parameter once\n  \
             more: curb help reason bad-path, or /curb/v1/reasons/bad-path\n",
            wrapped(&format!("curb: {why}"))
        );
        assert_eq!(reply.text(), said, "{target}");
        assert_eq!(reply.header("connection"), Some("close"), "{target}");
    }
    assert_eq!(gate.calls.load(Ordering::SeqCst), 0);
    for target in [
        "/",
        "/api/jobs/",
        "/api/version",
        "/api/packages/gcs/_ray_pkg_b6.zip",
        "/x?a=%20b",
    ] {
        let reply = gate.ask("GET", target, HOST).await;
        assert_eq!(
            (reply.status, reply.header("x-content-type-options")),
            (200, Some("nosniff")),
            "{target}"
        );
    }
    assert_eq!(gate.calls.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn no_foreign_page_and_no_rebound_name_reaches_a_route_with_any_method() {
    let gate = Gate::start().await;
    let mut tried = 0;
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        for (status, headers) in [
            (421, "Host: evil.example:8266\r\n"),
            (421, "Host: 127.0.0.1:8266\r\n"),
            (421, "Host: 0.0.0.0:8266\r\n"),
            (421, "Host: gate\r\n"),
            (400, "Host: gate.:8266\r\n"),
            (403, "Host: gate:8266\r\nOrigin: null\r\n"),
            (403, "Host: gate:8266\r\nOrigin: http://gate:8266\r\n"),
            (
                403,
                "Host: gate:8266\r\nOrigin: https://ui.example.evil\r\n",
            ),
            (403, "Host: gate:8266\r\nSec-Fetch-Site: cross-site\r\n"),
            (
                403,
                "Host: gate:8266\r\nSec-Fetch-Site: same-site\r\nUser-Agent: curl/8\r\n",
            ),
            (
                403,
                "Host: gate:8266\r\nOrigin: https://ui.example\r\nSec-Fetch-Site: cross-site\r\n",
            ),
            (403, "Host: gate:8266\r\nSec-Fetch-Mode: no-cors\r\n"),
            (403, "Host: gate:8266\r\nSec-Fetch-Dest: iframe\r\n"),
        ] {
            let reply = gate.ask(method, "/api/jobs/", headers).await;
            assert_eq!(reply.status, status, "{method} {headers:?}");
            tried += 1;
        }
    }
    assert_eq!((tried, gate.calls.load(Ordering::SeqCst)), (78, 0));
    let reply = gate
        .ask(
            "DELETE",
            "/api/jobs/x",
            "Host: GATE:8266\r\nOrigin: https://ui.example\r\n",
        )
        .await;
    assert_eq!((reply.status, gate.calls.load(Ordering::SeqCst)), (200, 1));
}

#[tokio::test]
async fn a_refusal_is_json_for_who_asks_for_json() {
    let gate = Gate::start().await;
    let reply = gate
        .ask(
            "GET",
            "/a//b",
            "Host: gate:8266\r\nAccept: application/json\r\n",
        )
        .await;
    assert_eq!(
        reply.header("content-type"),
        Some("application/problem+json")
    );
    let problem: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(
        (problem["code"].as_str(), problem["status"].as_u64()),
        (Some("bad-path"), Some(400))
    );
    assert_eq!(problem["request_id"].as_str(), reply.header("x-request-id"));
}
