//! A journal that cannot be written: nothing is admitted, what runs goes on, and it recovers by itself.

mod support;

use std::time::{Duration, Instant};

use support::{World, send};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_journal_is_not_writable_nothing_is_admitted_and_afterwards_nothing_was_lost() {
    let w = World::new().await;
    let addr = w.curb.address();
    assert_eq!(w.submit(&w.ana, "before", "1").await.status, 200);
    w.until(&w.ana, "before", "RUNNING").await;
    let before = w.curb.snapshot().await.expect("a state");
    // Somebody else holds the database: every commit fails for as long as that lasts.
    let path = w.curb.data.join(curb_journal::JOURNAL_FILE);
    let holder = rusqlite::Connection::open(&path).expect("the database");
    holder.execute_batch("BEGIN IMMEDIATE").expect("held");
    let answer = w.submit(&w.ana, "during", "1").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(
        answer.body.contains("journal is not writable") && answer.header("retry-after").is_some(),
        "{answer:?}"
    );
    assert_eq!(
        send(addr, "GET", "/readyz", None, "", b"").await.status,
        503
    );
    assert_eq!(
        send(addr, "GET", "/healthz", None, "", b"").await.status,
        200
    );
    assert_eq!(w.status(&w.ana, "before").await, "RUNNING");
    // Not even a claim: what is not durable has no effect outside.
    assert_eq!(w.ray.starts_of("during"), 0, "{:?}", w.ray.starts());
    holder.execute_batch("ROLLBACK").expect("given back");
    let begun = Instant::now();
    while send(addr, "GET", "/readyz", None, "", b"").await.status != 200 {
        assert!(
            begun.elapsed() < Duration::from_secs(15),
            "it does not recover"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(w.get(&w.ana, "/api/jobs/during").await.status, 404);
    assert_eq!(w.submit(&w.ana, "after", "1").await.status, 200);
    assert_eq!(w.ray.total_starts(), 2, "{:?}", w.ray.starts());
    assert!(w.curb.snapshot().await.expect("a state").len() > before.len());
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_the_same_directory_is_refused_and_told_who_has_it() {
    let w = World::new().await;
    let mut options = curb_server::testing::TestOptions::new(w.ray.url());
    options.data = Some(w.curb.data.clone());
    let error = curb_server::testing::TestServer::start(options)
        .await
        .err()
        .expect("refused")
        .to_string();
    assert!(
        error.contains(&format!("process {}", std::process::id())),
        "{error}"
    );
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaying_the_journal_gives_the_live_state_to_the_byte() {
    let w = World::new().await;
    for (n, cpu) in ["1", "2", "9", "1", "2"].into_iter().enumerate() {
        w.submit(&w.ana, &format!("j{n}"), cpu).await;
        w.submit(&w.li, &format!("l{n}"), cpu).await;
    }
    assert!(w.ray.finish("j0", 1));
    w.until_state("j0", "failed").await;
    w.post(&w.ana, "/api/jobs/j1/stop", "").await;
    w.post(&w.admin, "/curb/v1/overrides", r#"{"selector":{"user":{"one_of":["ana"]}},"amounts":{"cpu":1000},"for":60000,"why":"a test"}"#).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let live = w.curb.snapshot().await.expect("a state");
    let replayed = curb_server::load(&w.curb.data).expect("a journal");
    assert_eq!(replayed.from_snapshot, 0);
    assert!(replayed.replayed > 10);
    assert_eq!(
        String::from_utf8_lossy(&live),
        String::from_utf8_lossy(&replayed.state.snapshot())
    );
    let data = w.curb.data.clone();
    let _dir = w.curb.stop_keeping().await;
    let reloaded = curb_server::load(&data).expect("a journal");
    assert!(
        reloaded.from_snapshot > 0 && reloaded.replayed == 0,
        "a clean stop leaves a snapshot"
    );
}

/// Makes every commit wait, and then fail, as long as the connection is kept.
fn hang(w: &World) -> rusqlite::Connection {
    let path = w.curb.data.join(curb_journal::JOURNAL_FILE);
    let holder = rusqlite::Connection::open(&path).expect("the database");
    holder.execute_batch("BEGIN IMMEDIATE").expect("held");
    holder
}

async fn until_ready(addr: std::net::SocketAddr) {
    let begun = Instant::now();
    while send(addr, "GET", "/readyz", None, "", b"").await.status != 200 {
        assert!(
            begun.elapsed() < Duration::from_secs(15),
            "it does not recover"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_told_that_is_not_on_disk_while_the_disk_hangs() {
    let w = World::new().await;
    let addr = w.curb.address();
    for id in ["over", "runs"] {
        assert_eq!(w.submit(&w.ana, id, "1").await.status, 200);
    }
    w.until(&w.ana, "runs", "RUNNING").await;
    assert!(w.ray.finish("over", 0));
    w.until(&w.ana, "over", "SUCCEEDED").await;
    let holder = hang(&w);
    let (ana, admin) = (w.ana.clone(), w.admin.clone());
    let ask = |token: &str, method: &'static str, path: &'static str, body: &'static str| {
        let token = token.to_owned();
        tokio::spawn(
            async move { send(addr, method, path, Some(&token), "", body.as_bytes()).await },
        )
    };
    let job = r#"{"entrypoint":"x","submission_id":"during"}"#;
    let mut waiting = vec![
        ask(&ana, "POST", "/api/jobs/", job),
        ask(&ana, "DELETE", "/api/jobs/over", ""),
        ask(
            &admin,
            "PUT",
            "/curb/v1/mode",
            r#"{"mode":"observe","why":"a test"}"#,
        ),
    ];
    tokio::time::sleep(Duration::from_millis(100)).await;
    // All of them are decided, and none is on disk: nobody is told of them, neither yes nor no.
    waiting.extend([
        ask(&ana, "GET", "/api/jobs/during", ""),
        ask(&ana, "POST", "/api/jobs/", job),
        ask(&ana, "POST", "/api/jobs/during/stop", ""),
        ask(&ana, "GET", "/api/jobs/over", ""),
        ask(&admin, "GET", "/curb/v1/mode", ""),
        ask(&ana, "GET", "/api/jobs/", ""),
    ]);
    for one in waiting {
        let answer = one.await.expect("an answer");
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(
            answer.body.contains("journal is not writable"),
            "{answer:?}"
        );
    }
    // The commit has failed: from now on what is told is what the journal holds, though it cannot be written.
    assert_eq!(w.status(&w.ana, "runs").await, "RUNNING");
    assert_eq!(w.get(&w.ana, "/api/jobs/during").await.status, 404);
    assert_eq!(w.get(&w.ana, "/api/jobs/over").await.status, 200);
    let mode = w.get(&w.admin, "/curb/v1/mode").await.json();
    assert_eq!(mode["mode"], "enforce", "{mode}");
    assert_eq!(
        send(addr, "GET", "/readyz", None, "", b"").await.status,
        503
    );
    holder.execute_batch("ROLLBACK").expect("given back");
    until_ready(addr).await;
    assert_eq!(w.get(&w.ana, "/api/jobs/during").await.status, 404);
    assert_eq!(w.ray.total_starts(), 2, "{:?}", w.ray.starts());
    w.curb.stop().await;
}
