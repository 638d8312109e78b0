//! Watching a cluster that misbehaves: what is wrong with one answer must not stop the rest.

mod support;

use std::time::Duration;

use curb_standin::{Fault, JobTime, Memory, Options, Route, Standin, Trouble};
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

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_nodes_that_cannot_be_read_leaves_the_cluster_up_with_what_was_known() {
    let w = World::with(ROOMY, |_| {}).await;
    let unreadable = Fault::once(Route::Nodes, Trouble::Answer { status: 500 });
    w.ray.fault(unreadable.times(1_000_000));
    // The server reads it every ten seconds, and anew when Ray's session changes.
    let session = w.ray.restart(Memory::KeepRenamed);
    let status = w.until_status("the new session", |s| {
        s["clusters"][0]["session"] == *session && s["clusters"][0]["reachable"] == true
    });
    let status = status.await;
    assert_eq!(status["clusters"][0]["capacity"]["cpu"], 4000, "{status}");
    assert!(
        status["warnings"]
            .to_string()
            .contains("list of nodes cannot be read; what it has is as of"),
        "{status}"
    );
    assert_eq!(w.submit(&w.ana, "a", "4").await.status, 200);
    w.until(&w.ana, "a", "RUNNING").await;
    let large = w.submit(&w.ana, "large", "5").await;
    assert_eq!(large.status, 422, "{large:?}");
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_ray_ever_said_what_it_has_jobs_wait_and_none_is_refused_as_too_large() {
    let ray = support::standin();
    let unreadable = Fault::once(Route::Nodes, Trouble::Answer { status: 500 });
    ray.fault(unreadable.times(1_000_000));
    let w = World::before(ray, ROOMY, |_| {}).await;
    for (id, cpu) in [("a", "1"), ("large", "500")] {
        let answer = w.submit(&w.ana, id, cpu).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(w.status(&w.ana, id).await, "PENDING");
    }
    let job = w.get(&w.ana, "/curb/v1/jobs/a").await.json();
    assert_eq!(
        job["waiting"]["violations"][0]["code"], "capacity-unknown",
        "{job}"
    );
    let status = w.get(&w.admin, "/curb/v1/status").await.json();
    assert_eq!(status["clusters"][0]["reachable"], true, "{status}");
    assert_eq!(
        status["clusters"][0]["capacity"],
        serde_json::Value::Null,
        "{status}"
    );
    assert_eq!(w.ray.total_starts(), 0);
    w.ray.clear_faults();
    w.until(&w.ana, "a", "RUNNING").await;
    assert_eq!(w.submit(&w.ana, "larger", "501").await.status, 422);
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ray_that_serves_no_jobs_is_away_whatever_its_version_says() {
    let ray = support::standin();
    for route in [Route::Nodes, Route::Get] {
        ray.fault(Fault::once(route, Trouble::Answer { status: 500 }).times(1_000_000));
    }
    let mut options = curb_server::testing::TestOptions::new(ray.url()).policy(ROOMY);
    options.poll = Duration::from_millis(50);
    let curb = curb_server::testing::TestServer::start(options)
        .await
        .expect("a server");
    assert!(curb.ready(Duration::from_millis(700)).await.is_err());
    ray.clear_faults();
    curb.ready(Duration::from_secs(10))
        .await
        .expect("it is back");
    curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_ray_has_taken_and_not_begun_is_said_to_be_so() {
    let ray = Standin::spawn(Options {
        job_time: JobTime::Never,
        pending: Duration::from_secs(3600),
        ..Options::default()
    })
    .expect("a stand-in");
    let w = World::before(ray, ROOMY, |_| {}).await;
    assert_eq!(w.submit(&w.ana, "waits", "1").await.status, 200);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let told = loop {
        let view = w.get(&w.ana, "/curb/v1/jobs/waits").await.json();
        let message = view["message"].as_str().unwrap_or_default().to_owned();
        if message.starts_with("Ray has not begun it yet (PENDING)") {
            break view;
        }
        assert!(tokio::time::Instant::now() < deadline, "{view}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(told["state"], "running", "its grant is held");
    let listed = w.get(&w.ana, "/curb/v1/jobs").await.json();
    assert_eq!(listed["jobs"][0]["message"], told["message"]);
    assert_eq!(w.status(&w.ana, "waits").await, "PENDING");
    w.curb.stop().await;
}
