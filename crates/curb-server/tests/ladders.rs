//! Ladders of quotas against what the ledger itself knows: limits that are lowered under running jobs, and jobs that an
//! operator holds out of reach.

mod support;

use support::World;

const BEFORE: &str = "\
version: 1
quotas:
  - {name: each, for: {user: \"*\"}, limits: {cpu: 4}, ladder: [{when: limit, do: warn}, {when: limit, after: 1s, do: stop}]}
";

impl World {
    /// Two CPUs less for ana, for a while.
    async fn lower(&self) {
        let less = r#"{"selector":{"user":{"one_of":["ana"]}},"amounts":{"cpu":-2000},"for":600000,"why":"a test"}"#;
        let answer = self.post(&self.admin, "/curb/v1/overrides", less).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    async fn exempt(&self, token: &str, id: &str, millis: u64) -> u16 {
        let body = format!(r#"{{"for":{millis},"why":"a restore that must not stop"}}"#);
        let path = format!("/curb/v1/jobs/{id}/exempt");
        self.post(token, &path, &body).await.status
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_lowered_under_running_jobs_is_drained_but_for_what_an_operator_holds_out_of_reach()
{
    let w = World::with(BEFORE, |_| {}).await;
    for id in ["old", "young"] {
        assert_eq!(w.submit(&w.ana, id, "2").await.status, 200);
        w.until(&w.ana, id, "RUNNING").await;
    }
    assert_eq!(
        w.exempt(&w.ana, "young", 1000).await,
        403,
        "not by its owner"
    );
    assert_eq!(w.exempt(&w.ops, "nosuch", 1000).await, 404);
    assert_eq!(w.exempt(&w.ops, "young", 600_000).await, 200);
    let view = w.get(&w.ana, "/curb/v1/jobs/young").await.json();
    assert_eq!(view["exempt"]["by"], "ops", "{view}");

    // The young one would go; it is out of reach, and so everything stays as it is.
    w.lower().await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(w.status(&w.ana, "young").await, "RUNNING");

    assert_eq!(w.exempt(&w.ops, "young", 0).await, 200);
    w.until(&w.ana, "young", "STOPPED").await;
    let message = w.get(&w.ana, "/api/jobs/young").await.json()["message"].to_string();
    assert!(
        message
            .contains("runs above the limit that user ana has now: 4 CPU run, the limit is 2 CPU"),
        "{message}"
    );
    assert_eq!(w.status(&w.ana, "old").await, "RUNNING");
    assert_eq!(w.exempt(&w.ops, "young", 1000).await, 409, "it is over");
    w.curb.stop().await;
}
