//! Capacity is lent while nobody else wants it: who could only borrow steps back, however long it has waited.

mod common;

use common::*;
use curb_core::ledger::{Event, Job};
use curb_core::subject::JobId;

const SECOND: i64 = 1000;

/// Everybody has two CPUs of their own and is lent six more, which come back after two seconds.
const EACH: &str = "limits: {cpu: 2}, borrow: {cpu: 6}, reclaim: {stop_after: 2s}";

fn full_of_users(quota: &str) -> World {
    let mut w = World::new(&format!(
        "queue: {{pass_bound: 60s}}\nteams: {{t: {{org: r, members: [ana, kim, li, zoe, tim]}}}}\nquotas:\n  - {{name: each, for: {quota}, {EACH}}}\n"
    ));
    w.cluster("main", "session-1", &[("cpu", "8")]);
    w
}

fn run(w: &mut World, want: &Want) -> JobId {
    let (id, said) = w.submit(want);
    assert!(w.holds(&id), "{id} runs: {}", say(&said));
    id
}

/// All that Curb has wished to stop, in the order of the journal.
fn stops(w: &World) -> Vec<JobId> {
    let stops = w.journal.iter().filter_map(|rec| match &rec.event {
        Event::StopRequested { id, by, .. } if by == "curb" => Some(id.clone()),
        _ => None,
    });
    stops.collect()
}

/// Ends at once what is to be stopped, until the queue rests.
fn settle(w: &mut World) {
    for _ in 0..100 {
        w.run_queue();
        let stopping = |j: &&Job| j.stop.is_some() && j.grant().is_some();
        let Some(id) = w.state.jobs().find(stopping).map(|j| j.new.id.clone()) else {
            return;
        };
        w.end(&id);
    }
    panic!("loans are stopped without end");
}

#[test]
fn a_borrower_that_has_waited_the_bound_keeps_nothing_from_who_is_within_their_limits() {
    for quota in ["{user: \"*\"}", "{user: \"*\", org: r}"] {
        let mut w = full_of_users(quota);
        run(&mut w, &want("ana").cpu("2"));
        let loan = run(&mut w, &want("ana").cpu("2"));
        for user in ["kim", "li"] {
            run(&mut w, &want(user).cpu("2"));
        }
        let (b, _) = w.submit(&want("ana").cpu("4"));
        w.pass(70 * SECOND);
        let (zoe, _) = w.submit(&want("zoe").cpu("2"));
        w.pass(2 * SECOND);
        settle(&mut w);
        assert_eq!(stops(&w), [loan], "{quota}");
        assert!(
            w.holds(&zoe),
            "what was taken back for her is hers: {quota}"
        );
        assert!(w.queued(&b), "{quota}");
    }
}

#[test]
fn what_is_free_is_not_kept_for_a_borrower_from_who_comes_within_their_limits() {
    let mut w = full_of_users("{user: \"*\"}");
    let first = ["ana", "kim", "li", "zoe"].map(|user| run(&mut w, &want(user).cpu("2")));
    let (b, _) = w.submit(&want("ana").cpu("4"));
    w.pass(70 * SECOND);
    assert!(
        w.end_and_run(&first[2]).is_empty(),
        "two are too few for {b}"
    );
    let (tim, said) = w.submit(&want("tim").cpu("2"));
    assert!(w.holds(&tim), "{}", say(&said));
    // It is lent nothing that others who borrow could have, either: these do not pass it.
    assert!(w.end_and_run(&first[3]).is_empty());
    let (small, said) = w.submit(&want("tim").cpu("1"));
    assert!(w.queued(&small), "{}", say(&said));
    assert_eq!(w.end_and_run(&first[1]), [b]);
}

#[test]
fn under_the_quota_that_lends_nobody_passes_a_borrower_that_has_waited_the_bound() {
    let mut w = World::new(
        "queue: {pass_bound: 60s}\nteams:\n  r: {members: [ana, li]}\n  p: {members: [kim]}\nquotas:\n  - {name: research, for: {team: r}, limits: {cpu: 4}, borrow: {cpu: 4}}\n",
    );
    w.cluster("main", "session-1", &[("cpu", "8")]);
    run(&mut w, &want("kim").cpu("4"));
    let own = run(&mut w, &want("li").cpu("3"));
    let (big, _) = w.submit(&want("ana").cpu("4"));
    w.pass(MINUTE);
    let (small, said) = w.submit(&want("li").cpu("1"));
    assert!(w.queued(&small), "within the limit, but {}", say(&said));
    let (kim, said) = w.submit(&want("kim").cpu("1"));
    assert!(w.holds(&kim), "another team: {}", say(&said));
    w.end(&kim);
    assert_eq!(w.end_and_run(&own), [big]);
}

/// Four jobs of high priority that could only borrow, one that runs so already, and one within its limits.
fn greedy(all: &str) -> (World, JobId, JobId) {
    let mut w = World::new(&format!(
        "job_types: {{hot: {{priority: 10}}, usual: {{}}}}\nquotas:\n  - {{name: each, for: {{user: \"*\"}}, {EACH}}}\n{all}"
    ));
    w.cluster("main", "session-1", &[("cpu", "6")]);
    run(&mut w, &want("ana").cpu("2"));
    let loan = run(&mut w, &want("ana").cpu("2"));
    run(&mut w, &want("kim").cpu("2"));
    for _ in 0..4 {
        w.submit(&want("ana").cpu("2").job_type("hot"));
    }
    let (bo, _) = w.submit(&want("bo").cpu("2"));
    (w, loan, bo)
}

#[test]
fn a_shared_quota_that_could_lend_but_does_not_leaves_stepping_back_as_it_is() {
    let shared =
        |more: &str| format!("  - {{name: all, limits: {{cpu: 100}}, borrow: {{cpu: 1}}{more}}}\n");
    let full =
        |more: &str| format!("  - {{name: all, limits: {{cpu: 1}}, borrow: {{cpu: 1}}{more}}}\n");
    for all in [
        String::new(),
        shared(""),
        shared(", mode: audit"),
        shared(", valid: {from: 2030-01-01}"),
        full(", mode: audit"),
        full(", valid: {from: 2030-01-01}"),
    ] {
        let (mut w, loan, bo) = greedy(&all);
        w.pass(2 * SECOND);
        settle(&mut w);
        assert_eq!(stops(&w), [loan], "one for one: {all}");
        assert!(w.holds(&bo), "{all}");
        w.pass(HOUR);
        settle(&mut w);
        assert_eq!(stops(&w).len(), 1, "{all}");
    }
}
