//! Resource-time that was granted, as it is answered.

mod support;

use support::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_granted_is_summed_up_by_who_had_it_and_only_operators_see_others() {
    let w = World::new().await;
    assert_eq!(w.submit(&w.ana, "a", "2").await.status, 200);
    assert_eq!(w.submit(&w.li, "l", "1").await.status, 200);
    for (token, id) in [(&w.ana, "a"), (&w.li, "l")] {
        w.until(token, id, "RUNNING").await;
    }
    assert!(w.ray.finish("a", 0));
    w.until_state("a", "succeeded").await;

    let all = w.get(&w.ops, "/curb/v1/usage?by=user").await.json();
    let names: Vec<_> = all["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|r| r["name"].clone())
        .collect();
    assert_eq!(names.len(), 2, "{all}");
    let of = |answer: &serde_json::Value, name: &str| {
        let rows = answer["rows"].as_array().cloned().unwrap_or_default();
        let row = rows.into_iter().find(|r| r["name"] == name);
        row.and_then(|r| r["sum"]["granted"]["cpu"].as_u64())
            .unwrap_or(0)
    };
    let (ana, li) = (of(&all, "ana"), of(&all, "li"));
    assert!(
        ana > 0 && ana % 2000 == 0,
        "2 CPU for whole milliseconds: {ana}"
    );
    assert!(li > 0 && li % 1000 == 0, "what runs counts until now: {li}");
    assert_eq!(all["total"]["granted"]["cpu"].as_u64(), Some(ana + li));
    assert_eq!(all["total"]["jobs"], 2);

    // What is over stays as it is; what runs goes on.
    let later = w.get(&w.ops, "/curb/v1/usage?by=user").await.json();
    assert_eq!(of(&later, "ana"), ana);
    assert!(of(&later, "li") >= li);

    let own = w.get(&w.li, "/curb/v1/usage?by=job").await.json();
    assert_eq!(
        (
            own["rows"].as_array().map(Vec::len),
            &own["rows"][0]["name"]
        ),
        (Some(1), &"l".into())
    );
    assert_eq!(w.get(&w.li, "/curb/v1/usage?user=ana").await.status, 403);
    for bad in [
        "by=colour",
        "since=yesterday",
        "since=9999999999999999",
        "by=label:",
    ] {
        let answer = w.get(&w.ops, &format!("/curb/v1/usage?{bad}")).await;
        assert_eq!(answer.status, 400, "{bad}: {answer:?}");
    }
    w.curb.stop().await;
}
