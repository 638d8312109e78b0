//! Watching a cluster that misbehaves: what is wrong with one answer must not stop the rest.

mod support;

use std::time::Duration;

use curb_standin::{Fault, Memory, Route, Trouble};
use support::World;

/// Nobody waits in these tests.
const ROOMY: &str = "\
version: 1
default_request: {cpu: 1}
quotas:
  - name: each-user
    for: {user: \"*\"}
    limits: {cpu: 1000}
";

#[tokio::test(flavor = "multi_thread")]
async fn one_record_that_cannot_be_read_does_not_take_the_cluster_down() {
    let w = World::with(ROOMY, |_| {}).await;
    let failing = Fault::once(Route::Get, Trouble::Answer { status: 500 });
    w.ray.fault(failing.times(1_000_000).only("bad"));
    for id in ["bad", "good"] {
        assert_eq!(w.submit(&w.ana, id, "0.01").await.status, 200);
    }
    for n in 0..10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let answer = w.submit(&w.ana, &format!("later-{n}"), "0.01").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert!(w.ray.finish("good", 0));
    w.until(&w.ana, "good", "SUCCEEDED").await;
    w.until_state("bad", "running").await;
    w.ray.clear_faults();
    assert!(w.ray.finish("bad", 0));
    w.until(&w.ana, "bad", "SUCCEEDED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_cannot_be_had_is_asked_for_once_and_then_each_job_by_itself() {
    let w = World::with(ROOMY, |_| {}).await;
    let failing = Fault::once(Route::List, Trouble::Answer { status: 500 });
    w.ray.fault(failing.times(1_000_000));
    for n in 0..40 {
        let answer = w.submit(&w.ana, &format!("j-{n}"), "0.01").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    for n in [0, 17, 39] {
        assert!(w.ray.finish(&format!("j-{n}"), 0));
    }
    for n in [0, 17, 39] {
        w.until(&w.ana, &format!("j-{n}"), "SUCCEEDED").await;
    }
    let answer = w.submit(&w.ana, "one-more", "0.01").await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_quarantined_jobs_than_one_turn_takes_all_come_back() {
    let w = World::with(ROOMY, |_| {}).await;
    for n in 0..70 {
        let answer = w.submit(&w.ana, &format!("j-{n}"), "0.01").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    w.until_state("j-0", "running").await;
    let session = w.ray.restart(Memory::KeepRenamed);
    let mut looks = 0;
    while !w
        .get(&w.admin, "/curb/v1/status")
        .await
        .body
        .contains(&session)
    {
        looks += 1;
        assert!(looks < 500, "the new session was not seen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for n in 0..70 {
        w.until_state(&format!("j-{n}"), "running").await;
    }
}
