//! The package store at its bounds, and while it cannot be written.

mod support;

use support::{Answer, World, send};

const QUEUES: &str = "\
version: 1
default_request: {cpu: 1}
quotas:
  - {name: each-user, for: {user: \"*\"}, limits: {cpu: 1, queued: 5}}
";

async fn put(w: &World, name: &str, bytes: usize) -> Answer {
    let path = format!("/api/packages/gcs/{name}");
    send(
        w.curb.address(),
        "PUT",
        &path,
        Some(&w.ana),
        "",
        &vec![7; bytes],
    )
    .await
}

async fn submit_with(w: &World, id: &str, package: &str) -> Answer {
    let body = format!(
        r#"{{"entrypoint":"x","submission_id":"{id}","runtime_env":{{"working_dir":"gcs://{package}"}}}}"#
    );
    w.post(&w.ana, "/api/jobs/", &body).await
}

async fn has(w: &World, name: &str) -> bool {
    let answer = w.get(&w.ana, &format!("/api/packages/gcs/{name}")).await;
    answer.status == 200
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_written_stops_no_job_that_needs_nothing_new_from_it() {
    let w = World::with("version: 1\ndefault_request: {cpu: 1}\n", |_| {}).await;
    assert_eq!(put(&w, "here.zip", 10).await.status, 200);
    // Where uploads begin there is no directory any more: every one of them fails, as on a full disk.
    let partial = w.curb.data.join("packages/.partial");
    std::fs::remove_dir_all(&partial).expect("removed");
    let answer = put(&w, "new.zip", 10).await;
    assert_eq!(answer.status, 507, "{answer:?}");
    let words: Vec<&str> = answer.body.split_whitespace().collect();
    let words = words.join(" ");
    for part in [
        "curb: the package could not be kept: the store's disk does not take it.",
        "Jobs that need no package, or whose packages are here already, are not affected",
        "next: submit again when the operator has made room",
        "more: curb help reason packages-not-writable,",
    ] {
        assert!(words.contains(part), "{part}: {answer:?}");
    }
    assert_eq!(w.submit(&w.ana, "none", "1").await.status, 200);
    let with = submit_with(&w, "with", "here.zip").await;
    assert_eq!(with.status, 200, "{with:?}");
    let ready = send(w.curb.address(), "GET", "/readyz", None, "", b"").await;
    assert_eq!(ready.status, 200, "{ready:?}");
    std::fs::create_dir(&partial).expect("made");
    assert_eq!(
        put(&w, "new.zip", 10).await.status,
        200,
        "without a restart"
    );
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_waiting_job_needs_is_kept_until_it_is_over_or_deleted() {
    let w = World::with(QUEUES, |_| {}).await;
    assert_eq!(w.submit(&w.ana, "first", "1").await.status, 200);
    for name in ["needed.zip", "idle.zip"] {
        assert_eq!(put(&w, name, 10).await.status, 200);
    }
    let waits = submit_with(&w, "waits", "needed.zip").await;
    assert_eq!(waits.status, 200, "{waits:?}");
    assert_eq!(w.status(&w.ana, "waits").await, "PENDING");
    assert_eq!(w.curb.collect_packages().await, 1);
    assert!(has(&w, "needed.zip").await && !has(&w, "idle.zip").await);
    // It waits: it cannot be deleted, only stopped.
    let path = "/api/jobs/waits";
    let early = send(w.curb.address(), "DELETE", path, Some(&w.ana), "", b"").await;
    assert_eq!(early.status, 400, "{early:?}");
    assert_eq!(w.curb.collect_packages().await, 0);
    assert_eq!(w.post(&w.ana, "/api/jobs/waits/stop", "").await.status, 200);
    let deleted = send(w.curb.address(), "DELETE", path, Some(&w.ana), "", b"").await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
    assert_eq!(w.curb.collect_packages().await, 1);
    assert!(!has(&w, "needed.zip").await);
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_gives_up_what_nothing_needs_and_refuses_only_when_all_is_needed() {
    let w = World::with(QUEUES, |o| {
        o.limits.packages_per_user = 100;
        o.limits.package_age = std::time::Duration::ZERO;
    })
    .await;
    assert_eq!(w.submit(&w.ana, "first", "1").await.status, 200);
    assert_eq!(put(&w, "needed.zip", 60).await.status, 200);
    assert_eq!(submit_with(&w, "waits", "needed.zip").await.status, 200);
    assert_eq!(put(&w, "old.zip", 40).await.status, 200);
    let answer = put(&w, "new.zip", 40).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!has(&w, "old.zip").await && has(&w, "needed.zip").await);
    let answer = put(&w, "large.zip", 41).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    assert!(answer.body.contains("more than 100 bytes"), "{answer:?}");
    assert!(has(&w, "needed.zip").await);
    w.curb.stop().await;
}
