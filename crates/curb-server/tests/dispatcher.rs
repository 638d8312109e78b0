//! Giving jobs to a Ray that fails at one step of it.

mod support;

use std::time::{Duration, Instant};

use curb_standin::{Fault, Memory, Route, Trouble};
use support::{World, send};

/// Nobody waits for a quota in these tests.
const ROOMY: &str = "\
version: 1
when_ray_is_down: queue
default_request: {cpu: 1}
";

const WITH_PACKAGE: &str = r#"{"entrypoint":"x","submission_id":"p","runtime_env":{"working_dir":"gcs://_ray_pkg_0f.zip"}}"#;

async fn with_package() -> World {
    let w = World::with(ROOMY, |_| {}).await;
    let path = "/api/packages/gcs/_ray_pkg_0f.zip";
    let put = send(w.curb.address(), "PUT", path, Some(&w.ana), "", b"code").await;
    assert_eq!(put.status, 200, "{put:?}");
    w
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_ray_refuses_fails_its_job_at_once_and_says_which() {
    let w = with_package().await;
    w.ray
        .fault(Fault::once(Route::Packages, Trouble::Answer { status: 400 }).times(1000));
    let answer = w.post(&w.ana, "/api/jobs/", WITH_PACKAGE).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.contains("_ray_pkg_0f.zip"), "{answer:?}");
    assert_eq!(w.ray.total_starts(), 0);
    assert_eq!(w.submit(&w.ana, "other", "1").await.status, 200);
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_cannot_be_put_now_is_tried_again_with_a_pause() {
    let w = with_package().await;
    w.ray
        .fault(Fault::once(Route::Packages, Trouble::Answer { status: 500 }).times(3));
    let begun = Instant::now();
    let answer = w.post(&w.ana, "/api/jobs/", WITH_PACKAGE).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    w.until_state("p", "running").await;
    assert!(begun.elapsed() >= Duration::from_secs(3), "{begun:?}");
    let start = w.ray.starts().pop().expect("a start");
    assert!(start.ran, "the package was there: {start:?}");
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_another_session_took_is_not_confirmed_for_the_one_it_was_granted_in() {
    let w = World::with(ROOMY, |_| {}).await;
    let old = w.ray.session();
    w.ray
        .fault(Fault::once(Route::Submit, Trouble::Delay { ms: 1500 }));
    let submitted = w.submit(&w.ana, "a", "1");
    let restarted = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        w.ray.restart(Memory::KeepRenamed)
    };
    let (answer, new) = tokio::join!(submitted, restarted);
    assert!(matches!(answer.status, 200 | 202 | 503), "{answer:?}");
    assert_ne!(old, new);
    w.until_state("a", "running").await;
    let mut confirmed: Vec<String> = Vec::new();
    // What is shown may be on its way to disk for some milliseconds.
    for _ in 0..100 {
        let page = w
            .get(&w.admin, "/curb/v1/journal?after=0&limit=1000")
            .await
            .json();
        confirmed = page["records"]
            .as_array()
            .expect("records")
            .iter()
            .filter(|r| r["kind"] == "confirmed")
            .map(ToString::to_string)
            .collect();
        if !confirmed.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!confirmed.is_empty(), "none was written");
    for record in confirmed {
        assert!(record.contains(&new) && !record.contains(&old), "{record}");
    }
    assert_eq!(w.ray.starts_of("a"), 1);
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_granted_job_whose_request_cannot_be_read_for_a_moment_starts_when_it_can() {
    let one = "version: 1\nquotas:\n  - {name: one, limits: {jobs: 1}}\n";
    let w = World::with(one, |_| {}).await;
    assert_eq!(w.submit(&w.ana, "first", "1").await.status, 200);
    assert_eq!(w.submit(&w.ana, "second", "1").await.status, 200);
    assert_eq!(w.ray.starts_of("second"), 0, "it waits");
    // A process that has not the request in memory, and cannot open the journal a second time.
    let w = w.stopped().await.started(one, |_| {}).await;
    let journal = w.curb.data.join(curb_journal::JOURNAL_FILE);
    let away = journal.with_extension("away");
    std::fs::rename(&journal, &away).expect("out of reach");
    assert!(w.ray.finish("first", 0));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(w.ray.starts_of("second"), 0, "it cannot be read yet");
    std::fs::rename(&away, &journal).expect("back");
    let begun = Instant::now();
    while w.ray.starts_of("second") == 0 {
        assert!(begun.elapsed() < Duration::from_secs(15), "it never starts");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    w.until_state("second", "running").await;
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_cannot_be_read_for_a_moment_is_put_when_it_can_and_one_that_is_gone_is_told()
 {
    let w = with_package().await;
    let kept = walk(&w.curb.data).pop().expect("the package on disk");
    let away = kept.with_extension("away");
    std::fs::rename(&kept, &away).expect("out of reach");
    // What cannot be opened, and is there.
    std::os::unix::fs::symlink(&kept, &kept).expect("a circle");
    let back = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        std::fs::rename(&away, &kept).expect("back");
    };
    let (answer, ()) = tokio::join!(w.post(&w.ana, "/api/jobs/", WITH_PACKAGE), back);
    assert_eq!(answer.status, 200, "{answer:?}");
    let start = w.ray.starts().pop().expect("a start");
    assert!(start.ran, "the package was there: {start:?}");
    let path = "/api/packages/gcs/_ray_pkg_0e.zip";
    let put = send(w.curb.address(), "PUT", path, Some(&w.ana), "", b"more").await;
    assert_eq!(put.status, 200, "{put:?}");
    let second = walk(&w.curb.data).into_iter().find(|p| *p != kept);
    std::fs::remove_file(second.expect("another on disk")).expect("gone");
    let begun = Instant::now();
    let body = WITH_PACKAGE.replace("_0f", "_0e").replace("\"p\"", "\"q\"");
    let answer = w.post(&w.ana, "/api/jobs/", &body).await;
    assert!(
        answer.status >= 400 && answer.body.contains("not kept any more"),
        "{answer:?}"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "it is not looked for again"
    );
    w.curb.stop().await;
}

/// All kept packages below a server's data directory.
fn walk(data: &std::path::Path) -> Vec<std::path::PathBuf> {
    let (mut found, mut look) = (Vec::new(), vec![data.to_owned()]);
    while let Some(dir) = look.pop() {
        for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
            let kind = entry.file_type().expect("a kind");
            let name = entry.file_name();
            if kind.is_dir() {
                look.push(entry.path());
            } else if name.to_string_lossy().starts_with("_ray_pkg_") {
                found.push(entry.path());
            }
        }
    }
    found
}

/// Takes a submission that Ray does not answer, while it answers nothing about the job either. What its user is told.
async fn submitted_to_a_silent_ray(w: &World, id: &str, trouble: Trouble) -> support::Answer {
    w.ray.fault(Fault::once(Route::Submit, trouble));
    // Every question about it, and every claim, for as long as the faults last.
    for route in [Route::Get, Route::Submit] {
        w.ray
            .fault(Fault::once(route, Trouble::HangBefore).times(10_000));
    }
    let answer = w.submit(&w.ana, id, "1").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("30"), "{answer:?}");
    for told in [
        "curb: Ray did not answer whether it took job",
        &format!("do not submit it again before you know: ray job status {id}"),
        "curb help reason outcome-unknown",
    ] {
        assert!(answer.body.contains(told), "{told}: {answer:?}");
    }
    // Its grant is held until the truth is known, and nobody can take the id.
    assert_eq!(w.curb.held().await.expect("an answer"), "1 CPU");
    w.until_state(id, "starting").await;
    assert_eq!(w.status(&w.ana, id).await, "PENDING");
    assert_eq!(w.submit(&w.ana, id, "1").await.status, 409);
    answer
}

fn silent_soon(options: &mut curb_server::testing::TestOptions) {
    options.ray_timeout = Duration::from_millis(400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_that_ray_took_and_did_not_answer_is_told_as_unknown_and_later_found_running() {
    let w = World::with(support::POLICY, silent_soon).await;
    submitted_to_a_silent_ray(&w, "taken", Trouble::HangAfter).await;
    assert_eq!(w.ray.starts_of("taken"), 1, "it runs, and nobody knows");
    w.ray.clear_faults();
    w.until(&w.ana, "taken", "RUNNING").await;
    assert_eq!(w.ray.total_starts(), 1, "{:?}", w.ray.starts());
    assert_eq!(w.curb.held().await.expect("an answer"), "1 CPU");
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_that_never_reached_ray_is_told_as_unknown_and_later_started_under_an_id_that_is_free()
 {
    let w = World::with(support::POLICY, silent_soon).await;
    submitted_to_a_silent_ray(&w, "lost", Trouble::HangBefore).await;
    assert_eq!(w.ray.total_starts(), 0);
    w.ray.clear_faults();
    w.until(&w.ana, "lost", "RUNNING").await;
    let starts = w.ray.starts();
    let real: Vec<&str> = starts
        .iter()
        .filter(|s| !s.claim)
        .map(|s| s.id.as_str())
        .collect();
    let claims: Vec<&str> = starts
        .iter()
        .filter(|s| s.claim)
        .map(|s| s.id.as_str())
        .collect();
    assert_eq!(
        claims,
        ["lost"],
        "the id is used up before the job is started under another"
    );
    assert!(real.len() == 1 && real[0] != "lost", "{starts:?}");
    assert_eq!(w.curb.held().await.expect("an answer"), "1 CPU");
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_policy_wants_no_waiting_a_post_that_never_reached_ray_is_found_to_have_failed() {
    let policy = format!("when_ray_is_down: refuse\n{}", support::POLICY);
    let w = World::with(&policy, silent_soon).await;
    submitted_to_a_silent_ray(&w, "lost", Trouble::HangBefore).await;
    w.ray.clear_faults();
    w.until(&w.ana, "lost", "FAILED").await;
    let told = w.get(&w.ana, "/api/jobs/lost").await.json();
    let message = told["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("cannot be worked with at the moment"),
        "{told}"
    );
    assert!(
        w.ray.starts().iter().all(|s| s.claim),
        "{:?}",
        w.ray.starts()
    );
    assert_eq!(w.curb.held().await.expect("an answer"), "nothing");
    w.curb.stop().await;
}
