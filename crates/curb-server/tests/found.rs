//! What an id in a path stands for, and how many may read logs at once.

mod support;

use curb_standin::{Fault, Route, Trouble};
use support::{POLICY, World, send};

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_never_stands_before_a_real_job_of_the_same_id() {
    let w = World::with(&format!("refusal: job\n{POLICY}"), |_| {}).await;
    // Li is told no under an id that Ray never hears of: it is free for others.
    assert_eq!(w.submit(&w.li, "x", "9").await.status, 200);
    assert_eq!(w.status(&w.ops, "x").await, "FAILED");
    assert_eq!(w.submit(&w.ana, "x", "1").await.status, 200);
    w.until_state("x", "running").await;
    w.until(&w.ops, "x", "RUNNING").await;
    let list = w.get(&w.ops, "/api/jobs/").await.json();
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    let log = w.get(&w.ops, "/api/jobs/x/logs").await.body;
    assert!(!log.contains("curb: refused"), "{log}");
    // She sees no job of others: to her the id is her own refusal.
    assert_eq!(w.status(&w.li, "x").await, "FAILED");
    let stopped = w.post(&w.li, "/api/jobs/x/stop", "").await.json();
    assert_eq!(stopped, serde_json::json!({"stopped": false}));
    let stopped = w.post(&w.ops, "/api/jobs/x/stop", "").await.json();
    assert_eq!(stopped, serde_json::json!({"stopped": true}));
    w.until_state("x", "stopped").await;
    let (addr, path) = (w.curb.address(), "/api/jobs/x");
    let deleted = send(addr, "DELETE", path, Some(&w.ops), "", b"").await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
    assert_eq!(w.get(&w.ana, path).await.status, 404);
    assert_eq!(w.status(&w.li, "x").await, "FAILED");
    // She deletes hers, and the id is ana's all the same.
    let deleted = send(addr, "DELETE", path, Some(&w.li), "", b"").await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
    assert_eq!(w.get(&w.li, path).await.status, 404);
    assert_eq!(w.submit(&w.li, "x", "1").await.status, 409);
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_logs_are_bounded_per_user_and_a_reader_that_ended_makes_room() {
    let w = World::with(POLICY, |o| o.limits.tails_per_user = 1).await;
    assert_eq!(w.submit(&w.ana, "x", "1").await.status, 200);
    w.until_state("x", "running").await;
    let slow = Fault::once(Route::Logs, Trouble::Delay { ms: 1000 });
    w.ray.fault(slow);
    let path = "/api/jobs/x/logs";
    let second = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        (w.get(&w.ana, path).await, w.get(&w.ops, path).await)
    };
    let (first, (second, of_another)) = tokio::join!(w.get(&w.ana, path), second);
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(second.status, 429, "{second:?}");
    assert_eq!(of_another.status, 200, "{of_another:?}");
    assert_eq!(w.get(&w.ana, path).await.status, 200);
    w.curb.stop().await;
}
