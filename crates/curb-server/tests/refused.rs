//! Refusals in the `job` style, through Ray's own API and Curb's.

mod support;

use std::time::Duration;

use curb_core::ledger::Refusals;
use curb_server::testing::{TestOptions, TestServer};
use serde_json::json;
use support::{Answer, POLICY, World, send};

async fn world() -> World {
    World::with(&format!("refusal: job\n{POLICY}"), |_| {}).await
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
    let data = w.curb.data.clone();
    let (ray, ana, li, ops) = (w.ray, w.ana, w.li, w.ops);
    let dir = w.curb.stop_keeping().await;
    let mut options = TestOptions::new(ray.url()).policy(format!("refusal: job\n{POLICY}"));
    options.data = Some(data);
    let curb = TestServer::start(options).await.expect("a server");
    curb.ready(Duration::from_secs(10)).await.expect("seen");
    let addr = curb.address();
    let get = |token: String, path: String| async move {
        send(addr, "GET", &path, Some(&token), "", b"").await
    };
    let post = |token: String, body: String| async move {
        send(
            addr,
            "POST",
            "/api/jobs/",
            Some(&token),
            "",
            body.as_bytes(),
        )
        .await
    };
    let path = format!("/api/jobs/{id}");
    assert_eq!(
        get(ana.clone(), path.clone()).await.json()["status"],
        "FAILED"
    );
    assert!(log(&get(ana.clone(), format!("{path}/logs")).await).contains("9 CPU"));
    let list = get(ops, "/api/jobs/".into()).await.json();
    assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
    // The same again is the first answer again; other content under the key is another job under a taken id.
    let again = post(ana.clone(), keyed("9")).await;
    assert_eq!(
        (again.status, again.json()["submission_id"].as_str()),
        (200, Some(id.as_str()))
    );
    assert_eq!(post(ana.clone(), keyed("1")).await.status, 409);
    // Another user's id was never given to Ray: it is free.
    let body =
        json!({"entrypoint": "true", "submission_id": "soft", "metadata": {"curb.cpu": "1"}});
    assert_eq!(post(ana.clone(), body.to_string()).await.status, 200);
    assert_eq!(
        get(li.clone(), "/api/jobs/soft".into()).await.json()["status"],
        "FAILED"
    );
    // Deleted is gone for good.
    let deleted = send(addr, "DELETE", &path, Some(&ana), "", b"").await;
    assert_eq!(deleted.json(), json!({"deleted": true}));
    assert_eq!(get(ana.clone(), path.clone()).await.status, 404);
    assert_eq!(ray.total_starts(), 1);
    curb.stop().await;
    drop(dir);
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
