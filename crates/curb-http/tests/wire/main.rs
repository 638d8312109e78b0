//! Raw bytes in, verdict out: each case is what is sent, what is answered, and what the service
//! saw. Every refused head is tried three ways: with a request smuggled behind it, behind a good
//! request in the same segment, and in single bytes.

#[path = "../common/mod.rs"]
mod common;

mod accepted;
mod bodies;
mod heads;
mod paths;
mod upgrades;

use common::{Client, Reply, TestServer, quick};
use curb_http::listener::ServeOptions;
use curb_http::violation::{Bounds, Violation};
use std::time::Duration;
use tokio::task::JoinSet;

pub(crate) const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
pub(crate) const FIRST: &str = "GET /first HTTP/1.1\r\nHost: h\r\n\r\n";

/// What happens to the connection after the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    Open,
}

#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) send: Vec<u8>,
    /// Statuses in order.
    pub(crate) statuses: Vec<u16>,
    /// `METHOD target` of what the service saw, in order.
    pub(crate) seen: Vec<String>,
    pub(crate) end: End,
    /// Whether the bytes go out one by one.
    pub(crate) drip: bool,
}

/// Deadlines far away: a case must be decided by its bytes.
pub(crate) fn patient() -> ServeOptions {
    let mut options = quick();
    options.deadlines.head = Duration::from_secs(15);
    options.deadlines.idle = Duration::from_secs(15);
    options.deadlines.body_idle = Duration::from_secs(15);
    options.deadlines.body_total = Duration::from_secs(15);
    options
}

/// The three ways to send a head that is refused with `status`.
pub(crate) fn refused(name: &str, status: u16, head: impl AsRef<[u8]>) -> [Case; 3] {
    let head = head.as_ref();
    let case = |way: &str, send: Vec<u8>, statuses: &[u16], seen: &[&str], drip| Case {
        name: format!("{name} ({way})"),
        send,
        statuses: statuses.to_vec(),
        seen: seen.iter().map(|s| (*s).to_owned()).collect(),
        end: End::Closed,
        drip,
    };
    let smuggling = [head, SMUGGLED.as_bytes()].concat();
    let pipelined = [FIRST.as_bytes(), &smuggling].concat();
    [
        case("alone", smuggling, &[status], &[], false),
        case(
            "pipelined",
            pipelined,
            &[200, status],
            &["GET /first"],
            false,
        ),
        case("dripped", head.to_vec(), &[status], &[], true),
    ]
}

async fn send(client: &mut Client, case: &Case) {
    if !case.drip {
        return client.send(&case.send).await;
    }
    for byte in &case.send {
        client.send([*byte]).await;
        tokio::task::yield_now().await;
    }
}

async fn run(server: &TestServer, mut client: Client, case: Case) -> Result<(), String> {
    send(&mut client, &case).await;
    let replies: Vec<Reply> = match case.end {
        End::Closed => client.replies_to_end().await,
        End::Open => {
            let mut replies = Vec::new();
            for _ in 0..case.statuses.len() {
                replies.extend(client.reply().await);
            }
            replies
        }
    };
    let statuses: Vec<u16> = replies.iter().map(|r| r.status).collect();
    let seen: Vec<String> = server
        .recorder
        .seen(client.local)
        .iter()
        .map(|s| format!("{} {}", s.method, s.target))
        .collect();
    let mut faults = Vec::new();
    if statuses != case.statuses {
        faults.push(format!(
            "answered {statuses:?}, expected {:?}",
            case.statuses
        ));
    }
    if seen != case.seen {
        faults.push(format!("service saw {seen:?}, expected {:?}", case.seen));
    }
    if case.end == End::Open && !client.is_alive().await {
        faults.push("the connection was closed".to_owned());
    }
    for reply in replies
        .iter()
        .filter(|r| r.status >= 400 && r.header("connection") == Some("close"))
    {
        let ours = reply.header("x-content-type-options") == Some("nosniff");
        if ours && !is_the_guards(reply) {
            faults.push(format!("not a reason of the guard: {:?}", reply.text()));
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(format!("{}: {}", case.name, faults.join("; ")))
    }
}

/// Whether the whole text is what the guard says of one violation that has this status.
fn is_the_guards(reply: &Reply) -> bool {
    let options = patient();
    let bounds = Bounds {
        head: options.head,
        deadlines: options.deadlines,
    };
    let fits = |v: &&Violation| u16::from(v.status()) == reply.status;
    let mut said = Violation::ALL.iter().filter(fits);
    said.any(|v| v.problem(&bounds).to_text() == reply.text())
        || reply.status == 500 && is_an_upgrade_that_nobody_asked_for(reply)
}

fn is_an_upgrade_that_nobody_asked_for(reply: &Reply) -> bool {
    let id = reply.header("x-request-id").expect("an id");
    let said = format!(
        "curb: the connection was to change its protocol, which nobody asked for\n  \
         next: give an operator the request's id: the log has more under it\n  \
         more: curb help reason internal, or /curb/v1/reasons/internal\n  \
         request: {id}\n"
    );
    reply.text() == said
}

/// Runs cases side by side against one server.
pub(crate) async fn run_all(cases: Vec<Case>, at_least: usize) {
    assert!(cases.len() >= at_least, "only {} cases", cases.len());
    let server = std::sync::Arc::new(TestServer::start(patient()).await);
    let mut running: JoinSet<Result<(), String>> = JoinSet::new();
    let mut faults = Vec::new();
    for case in cases {
        if running.len() >= 64 {
            faults.extend(running.join_next().await.and_then(|r| r.unwrap().err()));
        }
        let (server, client) = (server.clone(), server.connect().await);
        running.spawn(async move { run(&server, client, case).await });
    }
    while let Some(result) = running.join_next().await {
        faults.extend(result.unwrap().err());
    }
    assert!(
        faults.is_empty(),
        "{} cases went wrong:\n{}",
        faults.len(),
        faults.join("\n")
    );
}
