//! Every route with every role, from the one table of routes. A route without an expectation fails.

mod support;

use curb_api::routes::{Access, ROUTES};
use curb_core::subject::Role;
use support::{World, send};

/// A body with which a request of somebody who may do it is understood.
fn body(path: &str) -> &'static str {
    match path {
        "/curb/v1/agent/report" => r#"{"node":"node-1","epoch":"x","started":1,"seq":1}"#,
        "/curb/v1/tokens" => r#"{"user":"kim"}"#,
        "/curb/v1/overrides" => {
            r#"{"selector":{"user":{"one_of":["ana"]}},"amounts":{"cpu":1000},"for":60000,"why":"a test"}"#
        }
        "/curb/v1/mode" => r#"{"mode":"policy","why":"a test"}"#,
        "/curb/v1/policy" | "/curb/v1/policy/check" => "version: 1\n",
        "/curb/v1/explain" | "/api/jobs/" => r#"{"entrypoint":"true"}"#,
        p if p.ends_with("/exempt") => r#"{"for":60000,"why":"a test"}"#,
        p if p.ends_with("/release") => r#"{"why":"a test"}"#,
        _ => "",
    }
}

const AGENT: u8 = 9;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_lets_in_whom_its_row_names_and_nobody_else() {
    let w = World::new().await;
    let addr = w.curb.address();
    let agent = w.curb.token("node-1", Role::Agent).await.expect("a token");
    let roles = [
        (None, 0),
        (Some(&w.ana), 1),
        (Some(&w.ops), 2),
        (Some(&w.admin), 3),
        // An agent's, which is above nobody and below everybody.
        (Some(&agent), AGENT),
    ];
    let mut seen = 0;
    for route in ROUTES {
        let path = route
            .path
            .replace("{id}", "none")
            .replace("{name}", "none.zip")
            .replace("{code}", "budget");
        let needed = match route.access {
            Access::Open => 0,
            Access::Agent => AGENT,
            Access::User => 1,
            Access::Operator => 2,
            Access::Admin => 3,
        };
        let websocket = if path.ends_with("/tail") {
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        } else {
            ""
        };
        for (token, rank) in roles {
            let body = if route.method.as_str() == "GET" {
                ""
            } else {
                body(&path)
            };
            let answer = if websocket.is_empty() {
                send(
                    addr,
                    route.method.as_str(),
                    &path,
                    token.map(String::as_str),
                    "",
                    body.as_bytes(),
                )
                .await
            } else {
                let auth =
                    token.map_or_else(String::new, |t| format!("Authorization: Bearer {t}\r\n"));
                support::raw(
                    addr,
                    format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\n{websocket}{auth}\r\n")
                        .as_bytes(),
                )
                .await
            };
            let what = format!(
                "{} {} as rank {rank}: {answer:?}",
                route.method.as_str(),
                route.path
            );
            let agents = rank == AGENT || needed == AGENT;
            if needed == 0 || (agents && rank == needed) || (!agents && rank >= needed) {
                assert!(
                    !matches!(answer.status, 0 | 401 | 403 | 405 | 500..),
                    "{what}"
                );
            } else if rank == 0 {
                assert_eq!(answer.status, 401, "{what}");
            } else {
                assert_eq!(answer.status, 403, "{what}");
            }
            seen += 1;
        }
    }
    assert_eq!(seen, ROUTES.len() * roles.len());
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn methods_that_no_row_names_are_405_and_paths_that_no_row_names_are_404() {
    let w = World::new().await;
    for route in ROUTES {
        let path = route
            .path
            .replace("{id}", "none")
            .replace("{name}", "none.zip")
            .replace("{code}", "budget");
        let answer = send(w.curb.address(), "PATCH", &path, Some(&w.admin), "", b"").await;
        assert_eq!(answer.status, 405, "{path}: {answer:?}");
        let answer = send(
            w.curb.address(),
            route.method.as_str(),
            &format!("/x{path}"),
            Some(&w.admin),
            "",
            b"",
        )
        .await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
    w.curb.stop().await;
}
