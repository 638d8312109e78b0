//! What is lent above a quota comes back when somebody entitled waits for it.

mod support;

use curb_core::subject::Role;
use support::World;

const LENDING: &str = "\
version: 1
capacity: {cpu: 4}
teams:
  vision: {org: research, members: [ana, li]}
  serving: {org: product, members: [kim]}
quotas:
  - {name: research, for: {org: research}, limits: {cpu: 2}, borrow: {cpu: 2}, reclaim: {stop_after: 1s}}
  - {name: product, for: {org: product}, limits: {cpu: 2}}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loan_is_stopped_for_somebody_entitled_who_then_starts_and_its_owner_learns_why() {
    let w = World::with(LENDING, |_| {}).await;
    let kim = w.curb.token("kim", Role::User).await.expect("a token");
    for (token, id, cpu) in [
        (&w.ana, "own", "2"),
        (&w.li, "old", "1"),
        (&w.li, "young", "1"),
    ] {
        assert_eq!(w.submit(token, id, cpu).await.status, 200, "{id}");
        w.until(token, id, "RUNNING").await;
    }
    assert_eq!(w.submit(&kim, "wanted", "1").await.status, 200);
    assert_eq!(w.status(&kim, "wanted").await, "PENDING");
    // Nothing more is lent meanwhile.
    assert_eq!(w.submit(&w.li, "more", "1").await.status, 200);
    w.until(&w.li, "young", "STOPPED").await;
    w.until(&kim, "wanted", "RUNNING").await;
    let message = w.get(&w.li, "/api/jobs/young").await.json()["message"].to_string();
    assert!(
        message.contains("borrowed above quota research; 1 CPU on cluster main is wanted back for a job within quota product"),
        "{message}"
    );
    assert_eq!(w.status(&w.li, "old").await, "RUNNING", "one is enough");
    assert_eq!(w.status(&w.ana, "own").await, "RUNNING");
    assert_eq!(w.status(&w.li, "more").await, "PENDING");
    assert_eq!((w.ray.starts_of("wanted"), w.ray.starts_of("more")), (1, 0));
    w.curb.stop().await;
}
