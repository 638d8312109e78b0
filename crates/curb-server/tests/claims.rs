//! What a restart of Curb costs Ray.

mod support;

use curb_standin::{Fault, Route, Trouble};
use support::{World, send};

/// Nobody waits for a quota in these tests.
const ROOMY: &str = "\
version: 1
when_ray_is_down: queue
default_request: {cpu: 1}
";

#[tokio::test(flavor = "multi_thread")]
async fn claims_after_a_restart_come_at_the_start_rate_and_a_record_that_is_there_needs_none() {
    let w = World::with(ROOMY, |_| {}).await;
    // Ray takes one and never says so; of the others it hears nothing.
    w.ray
        .fault(Fault::once(Route::Submit, Trouble::HangAfter).only("taken"));
    w.ray
        .fault(Fault::once(Route::Submit, Trouble::HangBefore).times(1000));
    let (addr, token) = (w.curb.address(), w.ana.clone());
    let clients: Vec<_> = ["taken", "a", "b", "c", "d", "e", "f", "g"]
        .map(|id| {
            let (token, body) = (
                token.clone(),
                format!(
                    r#"{{"entrypoint":"x","submission_id":"{id}","metadata":{{"curb.cpu":"0.1"}}}}"#
                ),
            );
            tokio::spawn(async move {
                send(
                    addr,
                    "POST",
                    "/api/jobs/",
                    Some(&token),
                    "",
                    body.as_bytes(),
                )
                .await
            })
        })
        .into();
    for id in ["taken", "a", "g"] {
        w.until_state(id, "starting").await;
    }
    let stopped = w.stopped().await;
    clients.iter().for_each(tokio::task::JoinHandle::abort);
    stopped.ray.clear_faults();
    let w = stopped.started(ROOMY, |o| o.start_rate_milli = 4000).await;
    w.until_state("taken", "running").await;
    for id in ["a", "b", "c", "d", "e", "f", "g"] {
        w.until_state(id, "failed").await;
    }
    let claims: Vec<_> = w.ray.starts().into_iter().filter(|s| s.claim).collect();
    assert_eq!(claims.len(), 7, "{claims:?}");
    // Five at once, and then one in 250 ms.
    let spread = claims[6].at_ms - claims[0].at_ms;
    assert!((450..5000).contains(&spread), "{spread} ms");
    assert_eq!(w.ray.starts_of("taken"), 1);
    w.curb.stop().await;
}
