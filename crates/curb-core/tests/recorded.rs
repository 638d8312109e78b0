//! What is only recorded is recorded as it would have been decided.

mod common;

use common::*;
use curb_core::ledger::{Event, SNAPSHOT_FORMAT, State};
use curb_core::policy::Mode;

const EACH: &str = "quotas:\n  - name: each-user\n    for: {user: \"*\"}\n";

fn observed(body: &str) -> World {
    World::new(&format!("mode: observe\n{EACH}    {body}\n"))
}

fn enforce(w: &mut World) {
    w.apply(Event::ModeSet {
        mode: Some(Mode::Enforce),
        by: "root".into(),
        why: String::new(),
    });
}

/// What is in the journal with the last job that came in: `refused` or `waits`, and the code.
fn shadow(w: &World) -> Vec<String> {
    let of = |rec: &curb_core::ledger::Recorded| match &rec.event {
        Event::Admitted { shadow, .. } | Event::Queued { shadow, .. } => Some(shadow.clone()),
        _ => None,
    };
    let last = w.journal.iter().rev().find_map(of).expect("a job");
    last.iter()
        .map(|s| format!("{} {}", if s.refuse { "refused" } else { "waits" }, s.code))
        .collect()
}

fn shadows(w: &mut World, wants: &[Want]) -> Vec<Vec<String>> {
    wants
        .iter()
        .map(|want| {
            w.submit(want);
            shadow(w)
        })
        .collect()
}

#[test]
fn a_rate_that_is_observed_counts_as_if_it_were_enforced() {
    let mut w = observed("submit_rate: 2/min");
    let twelve = vec![want("ana").cpu("1"); 12];
    let seen = shadows(&mut w, &twelve);
    let none: Vec<String> = Vec::new();
    assert_eq!(seen[..2], [none.clone(), none.clone()]);
    assert!(
        seen[2..].iter().all(|s| s == &["refused submit-rate"]),
        "{seen:?}"
    );
    w.pass(MINUTE / 2);
    // Two of twelve count, so that one has come back.
    assert_eq!(
        shadows(&mut w, &twelve[..2]),
        [none, vec!["refused submit-rate".into()]]
    );
    enforce(&mut w);
    assert_eq!(say(&w.submit(&twelve[0]).1), "refused 429 submit-rate");
    w.pass(MINUTE / 2);
    assert_eq!(
        say(&w.submit(&twelve[0]).1),
        "admitted",
        "never more than a minute of debt"
    );
}

#[test]
fn a_rate_in_audit_counts_as_if_it_were_enforced() {
    let two = format!(
        "{EACH}    submit_rate: 2/min\n    mode: audit\n  - name: all\n    submit_rate: 100/min\n"
    );
    let mut w = World::new(&two);
    for _ in 0..12 {
        assert_eq!(say(&w.submit(&want("ana").cpu("1")).1), "admitted");
    }
    let left = |w: &World| {
        let views = w.state.bucket_views(&w.moment(), None);
        let all: Vec<u32> = views.iter().filter_map(|v| Some(v.rate?.1)).collect();
        all
    };
    assert_eq!(
        left(&w),
        [0, 88],
        "what was taken counts where it is enforced"
    );
    w.pass(MINUTE / 2);
    assert_eq!(left(&w)[0], 1);
}

#[test]
fn what_another_limit_would_have_refused_does_not_count_in_an_observed_rate() {
    let mut w = observed("submit_rate: 2/min\n    per_job: {cpu: 4}");
    let large = vec![want("ana").cpu("5"); 5];
    let seen = shadows(&mut w, &large);
    assert!(
        seen.iter().all(|s| s == &["refused per-job-limit"]),
        "{seen:?}"
    );
    enforce(&mut w);
    let small = want("ana").cpu("1");
    assert_eq!(say(&w.submit(&small).1), "admitted");
    assert_eq!(say(&w.submit(&small).1), "admitted");
    assert_eq!(say(&w.submit(&small).1), "refused 429 submit-rate");
}

#[test]
fn a_rate_counts_only_while_its_quota_applies() {
    // Noon of 2026-11-22; the quota begins an hour later.
    for when in [
        "valid: {from: 2026-11-22T13:00:00Z}",
        "when: {hours: \"13:00-14:00\"}",
    ] {
        let mut w = World::new(&format!("{EACH}    submit_rate: 2/h\n    {when}\n"));
        for _ in 0..5 {
            assert_eq!(say(&w.submit(&want("ana").cpu("1")).1), "admitted");
        }
        w.pass(HOUR);
        assert_eq!(
            say(&w.submit(&want("ana").cpu("1")).1),
            "admitted",
            "{when}"
        );
    }
}

#[test]
fn a_rate_that_becomes_shorter_is_in_debt_for_no_longer_than_itself() {
    let mut w = World::new(&format!("{EACH}    submit_rate: 2/d\n"));
    w.submit(&want("ana").cpu("1"));
    w.submit(&want("ana").cpu("1"));
    w.apply_policy(&format!("{EACH}    submit_rate: 2/min\n"));
    assert_eq!(
        say(&w.submit(&want("ana").cpu("1")).1),
        "refused 429 submit-rate"
    );
    w.pass(MINUTE / 2);
    assert_eq!(say(&w.submit(&want("ana").cpu("1")).1), "admitted");
    assert_eq!(
        SNAPSHOT_FORMAT, 4,
        "snapshots of the older count are not read"
    );
}

#[test]
fn the_limit_on_waiting_jobs_is_recorded_where_all_is_observed() {
    let mut w = observed("limits: {cpu: 2, queued: 1}");
    let two = want("ana").cpu("2");
    let (first, _) = w.submit(&two);
    let seen = shadows(&mut w, &[two.clone(), two.clone()]);
    let waits = || vec!["waits concurrent-limit".to_owned()];
    let refused = || {
        vec![
            "waits concurrent-limit".to_owned(),
            "refused queued-limit".to_owned(),
        ]
    };
    assert_eq!(
        seen,
        [waits(), refused()],
        "one would wait, and one more is too many"
    );
    // What would have been refused would wait for nothing; the one that would have waited starts in the first's place.
    let doubtful: Vec<_> = w.state.jobs().filter(|j| j.would_wait).collect();
    assert_eq!(doubtful.len(), 1);
    let refused_one = w.journal.iter().rev().find_map(|r| match &r.event {
        Event::Admitted { job, .. } => Some(job.id.clone()),
        _ => None,
    });
    w.end(&refused_one.expect("it was admitted"));
    w.end(&first);
    assert_eq!(shadows(&mut w, &[two.clone(), two]), [waits(), refused()]);
    let restored = State::restore(&w.state.snapshot()).expect("a snapshot");
    assert_eq!(restored.snapshot(), w.state.snapshot());
    w.state = restored;
    assert_eq!(shadows(&mut w, &[want("ana").cpu("1")]), [refused()]);
}

#[test]
fn the_limit_on_waiting_jobs_of_a_quota_in_audit_is_recorded() {
    let mut w = World::new(&format!(
        "{EACH}    limits: {{queued: 1}}\n    mode: audit\n  - name: all\n    limits: {{cpu: 2}}\n"
    ));
    let two = want("ana").cpu("2");
    let seen = shadows(&mut w, &[two.clone(), two.clone(), two.clone()]);
    assert_eq!(
        seen,
        [vec![], vec![], vec!["refused queued-limit".to_owned()]]
    );
    assert_eq!(
        say(&w.submit(&two).1),
        "queued concurrent-limit",
        "and enforced is nothing of it"
    );
    let recorded: Vec<String> = w
        .explain(&two)
        .recorded
        .iter()
        .map(|v| v.code.to_string())
        .collect();
    assert_eq!(recorded, ["queued-limit"]);
}

#[test]
fn a_limit_on_waiting_jobs_of_zero_is_recorded_for_each_that_would_wait() {
    let mut w = observed("limits: {cpu: 2, queued: 0}");
    let seen = shadows(
        &mut w,
        &[
            want("ana").cpu("2"),
            want("ana").cpu("1"),
            want("ana").cpu("3"),
        ],
    );
    assert_eq!(seen[0], [""; 0]);
    assert_eq!(seen[1], ["waits concurrent-limit", "refused queued-limit"]);
    assert_eq!(
        seen[2],
        ["refused concurrent-limit"],
        "what can never fit does not wait"
    );
}
