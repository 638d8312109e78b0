//! Ray restarts while a job is being given to it: before it took the job or after, with its memory or without, and with a
//! request that lands only in the next incarnation. No job runs twice, none without its grant, and no grant is lost.

mod support;

use std::time::Duration;

use curb_standin::{Fault, Memory, Route, Trouble};
use support::{Answer, World, send, standin};
use tokio::task::JoinHandle;

const ROOMY: &str = "version: 1\ndefault_request: {cpu: 1}\n";

/// Whether the cluster's configuration says that a restart ends all jobs.
async fn world(restart_ends_jobs: bool) -> World {
    World::before(standin(), ROOMY, |o| {
        o.restart_ends_jobs = restart_ends_jobs
    })
    .await
}

/// A submission under way, for which Ray has these troubles: the first for the job, the others for claims of its id.
async fn submitting(w: &World, troubles: impl IntoIterator<Item = Trouble>) -> JoinHandle<Answer> {
    for trouble in troubles {
        w.ray.fault(Fault::once(Route::Submit, trouble).only("a"));
    }
    let (addr, token, before) = (w.curb.address(), w.ana.clone(), w.ray.requests());
    let body = br#"{"entrypoint":"x","submission_id":"a"}"#;
    let task =
        tokio::spawn(async move { send(addr, "POST", "/api/jobs/", Some(&token), "", body).await });
    w.until_state("a", "starting").await;
    let mut looks = 0;
    while w.ray.requests() == before {
        looks += 1;
        assert!(looks < 1000, "Ray was not asked");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    task
}

/// How often the job itself was started, and how often its id was claimed.
fn starts(w: &World) -> (usize, usize) {
    let all = w.ray.starts();
    let claims = all.iter().filter(|s| s.claim).count();
    (all.len() - claims, claims)
}

/// It stays quarantined and holds its grant until an operator vouches that it is over.
async fn only_an_operator_releases(w: &World) {
    w.until_state("a", "quarantined").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    w.until_state("a", "quarantined").await;
    assert_eq!(w.curb.held().await.expect("told"), "1 CPU");
    let why = r#"{"why":"the node was rebooted"}"#;
    let answer = w.post(&w.admin, "/curb/v1/jobs/a/release", why).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    w.until_state("a", "failed").await;
    assert_eq!(w.curb.held().await.expect("told"), "nothing");
}

async fn ended_by_the_restart(w: &World) {
    w.until_state("a", "failed").await;
    assert_eq!(w.curb.held().await.expect("told"), "nothing");
    let status = w.get(&w.ana, "/api/jobs/a").await;
    assert!(status.body.contains("Ray was restarted"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_reaches_the_new_incarnation_is_confirmed_for_that_one() {
    let w = world(false).await;
    let post = submitting(&w, [Trouble::Delay { ms: 1500 }]).await;
    let new = w.ray.restart(Memory::Forget);
    post.await.expect("an answer");
    w.until_state("a", "running").await;
    assert_eq!(starts(&w), (1, 0));
    assert_eq!(w.ray.starts()[0].session, new);
    assert_eq!(w.curb.held().await.expect("told"), "1 CPU");
    assert!(w.ray.finish("a", 0));
    w.until_state("a", "succeeded").await;
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_reaches_the_new_incarnation_after_the_claim_starts_nothing() {
    let w = world(true).await;
    let post = submitting(&w, [Trouble::Delay { ms: 2500 }]).await;
    w.ray.restart(Memory::Forget);
    ended_by_the_restart(&w).await;
    assert_eq!(starts(&w), (0, 1));
    let answer = post.await.expect("an answer");
    assert_eq!(answer.status, 503, "{answer:?}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(starts(&w), (0, 1), "the late request was refused by Ray");
    w.until_state("a", "failed").await;
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_the_old_incarnation_took_before_it_forgot_is_not_started_again() {
    for restart_ends_jobs in [false, true] {
        let w = world(restart_ends_jobs).await;
        let post = submitting(&w, [Trouble::HangAfter]).await;
        assert_eq!(starts(&w), (1, 0), "it was taken, and the answer is lost");
        w.ray.restart(Memory::Forget);
        w.ray.refuse_connections(Duration::from_millis(200));
        if restart_ends_jobs {
            ended_by_the_restart(&w).await;
            assert_eq!(starts(&w), (1, 1));
        } else {
            only_an_operator_releases(&w).await;
            assert_eq!(starts(&w), (1, 0));
        }
        assert_eq!(post.await.expect("an answer").status, 503);
        w.curb.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_ray_took_and_kept_over_its_restart_is_found_running() {
    for memory in [Memory::Keep, Memory::KeepRenamed] {
        let w = world(true).await;
        let post = submitting(&w, [Trouble::HangAfter]).await;
        w.ray.restart(memory);
        w.ray.refuse_connections(Duration::from_millis(200));
        w.until_state("a", "running").await;
        assert_eq!(starts(&w), (1, 0), "{memory:?}");
        assert_eq!(w.curb.held().await.expect("told"), "1 CPU");
        assert!(matches!(post.await.expect("an answer").status, 200 | 503));
        assert!(w.ray.finish("a", 0));
        w.until_state("a", "succeeded").await;
        w.curb.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_lands_late_in_the_new_incarnation_is_taken_back_or_finds_its_id_claimed() {
    for restart_ends_jobs in [false, true] {
        let w = world(restart_ends_jobs).await;
        // The claim in the old incarnation is never answered.
        let troubles = [Trouble::LandLater { ms: 3000 }, Trouble::HangBefore];
        let post = submitting(&w, troubles).await;
        w.ray.restart(Memory::Forget);
        if restart_ends_jobs {
            ended_by_the_restart(&w).await;
            tokio::time::sleep(Duration::from_millis(3500)).await;
            assert_eq!(starts(&w), (0, 1), "it found its id claimed");
            w.until_state("a", "failed").await;
        } else {
            w.until_state("a", "running").await;
            assert_eq!(
                starts(&w),
                (1, 0),
                "it runs, and its grant was held all the time"
            );
            assert_eq!(w.curb.held().await.expect("told"), "1 CPU");
        }
        assert_eq!(post.await.expect("an answer").status, 503);
        w.curb.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_a_restart_overtakes_proves_nothing() {
    let w = world(false).await;
    // The job's POST is lost, and the claim is under way to the old incarnation when the new one takes over.
    let troubles = [Trouble::DropBefore, Trouble::Delay { ms: 1500 }];
    let post = submitting(&w, troubles).await;
    w.ray.restart(Memory::Forget);
    only_an_operator_releases(&w).await;
    assert_eq!(starts(&w).0, 0);
    assert_eq!(post.await.expect("an answer").status, 503);
    w.curb.stop().await;
}
