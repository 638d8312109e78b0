//! Refusals in the `job` style, through Ray's own API and Curb's.

mod support;

use curb_core::ledger::Refusals;
use serde_json::json;
use support::{Answer, POLICY, World};

fn policy() -> String {
    format!("refusal: job\n{POLICY}")
}

async fn world() -> World {
    World::with(&policy(), |_| {}).await
}

fn log(answer: &Answer) -> String {
    answer.json()["logs"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_a_failed_job_with_the_reason_in_its_log() {
    let w = world().await;
    let answer = w.submit(&w.ana, "soft", "9").await;
    assert_eq!(
        (answer.status, w.status(&w.ana, "soft").await.as_str()),
        (200, "FAILED")
    );
    let details = w.get(&w.ana, "/api/jobs/soft").await.json();
    assert_eq!(details["entrypoint"], "true", "{details}");
    assert!(log(&w.get(&w.ana, "/api/jobs/soft/logs").await).contains("9 CPU"));
    assert_eq!(w.get(&w.li, "/api/jobs/soft").await.status, 404);
    // Its id is taken, for her: to Ray's own clients it is a job that is there.
    assert_eq!(w.submit(&w.ana, "soft", "1").await.status, 409);
    // Curb's own commands know it as well.
    let view = w.get(&w.ana, "/curb/v1/jobs/soft").await.json();
    assert_eq!(
        (&view["state"], &view["entrypoint"]),
        (&json!("failed"), &json!("true"))
    );
    let page = w.get(&w.ana, "/curb/v1/jobs?state=failed").await.json();
    assert_eq!(page["jobs"][0]["id"], "soft", "{page}");
    let stop = w.post(&w.ana, "/curb/v1/jobs/soft/stop", "{}").await.json();
    assert_eq!(stop, json!({"outcome": "already_ended", "state": "failed"}));
    assert_eq!(w.ray.total_starts(), 0);
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_there_after_a_restart_and_so_are_its_reason_its_id_and_its_key() {
    let w = world().await;
    let keyed = |cpu: &str| {
        json!({"entrypoint": "true", "metadata": {"curb.cpu": cpu, "curb.key": "night-1"}})
            .to_string()
    };
    let first = w.post(&w.ana, "/api/jobs/", &keyed("9")).await;
    let id = first.json()["submission_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    assert_eq!(w.submit(&w.li, "soft", "9").await.status, 200);
    let w = w.stopped().await.started(&policy(), |_| {}).await;
    let path = format!("/api/jobs/{id}");
    assert_eq!(w.status(&w.ana, &id).await, "FAILED");
    assert!(log(&w.get(&w.ana, &format!("{path}/logs")).await).contains("9 CPU"));
    let list = w.get(&w.ops, "/api/jobs/").await.json();
    assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
    // The same again is the first answer again; other content under the key is another job under a taken id.
    let again = w.post(&w.ana, "/api/jobs/", &keyed("9")).await;
    assert_eq!(
        (again.status, again.json()["submission_id"].as_str()),
        (200, Some(id.as_str()))
    );
    let other = w.post(&w.ana, "/api/jobs/", &keyed("1")).await;
    assert_eq!(other.status, 409);
    // Another user's id was never given to Ray: it is free.
    assert_eq!(w.submit(&w.ana, "soft", "1").await.status, 200);
    assert_eq!(w.status(&w.li, "soft").await, "FAILED");
    // Deleted is gone for good.
    let deleted = w.delete(&w.ana, &path).await;
    assert_eq!(deleted.json(), json!({"deleted": true}));
    assert_eq!(w.get(&w.ana, &path).await.status, 404);
    assert_eq!(w.ray.total_starts(), 1);
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_in_a_loop_is_told_no_at_once_after_the_first_ones() {
    let w = world().await;
    let mut statuses = Vec::new();
    for n in 0..=Refusals::AT_ONCE {
        statuses.push(w.submit(&w.ana, &format!("loop-{n}"), "9").await.status);
    }
    let (told, refused) = statuses.split_at(Refusals::AT_ONCE);
    assert!(told.iter().all(|s| *s == 200), "{statuses:?}");
    assert_eq!(refused, [422]);
    assert_eq!(w.submit(&w.li, "hers", "9").await.status, 200);
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_the_cluster_is_away_is_a_503_in_this_style_too_and_the_id_stays_free() {
    let w = World::with(&format!("{}when_ray_is_down: refuse\n", policy()), |_| {}).await;
    w.ray.refuse_connections(std::time::Duration::from_secs(2));
    w.until_status("the cluster to be away", |s| {
        s["clusters"][0]["reachable"] == false
    })
    .await;
    let away = w.submit(&w.ana, "later", "1").await;
    assert_eq!(away.status, 503, "{away:?}");
    assert!(away.header("retry-after").is_some(), "{away:?}");
    assert_eq!(w.get(&w.ana, "/api/jobs/later").await.status, 404);
    w.until_status("the cluster to be back", |s| {
        s["clusters"][0]["reachable"] == true
    })
    .await;
    assert_eq!(w.submit(&w.ana, "later", "1").await.status, 200);
    w.until_state("later", "running").await;
    w.curb.stop().await;
}
