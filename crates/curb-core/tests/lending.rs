//! Capacity is lent while nobody else wants it: who could only borrow steps back, however long it has waited.

mod common;

use common::*;
use curb_core::decide::Gate;
use curb_core::ledger::{Event, Job};
use curb_core::subject::JobId;
use curb_core::time::Timestamp;

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

#[test]
fn a_borrower_does_not_pass_who_waits_only_for_the_pace_of_another_cluster() {
    for reclaim in ["drain", "{stop_after: 1s}"] {
        let mut w = World::new(&format!(
            "quotas:\n  - {{name: all, limits: {{cpu: 4}}}}\n  - {{name: each, for: {{user: \"*\"}}, limits: {{cpu: 2}}, borrow: {{cpu: 6}}, reclaim: {reclaim}}}\n"
        ));
        w.cluster("lab", "session-1", &[("cpu", "8")]);
        run(&mut w, &want("ana").cpu("2"));
        let pace = Gate::Paced {
            next: Timestamp(w.now + 9 * SECOND),
        };
        w.gates.insert("main".into(), pace);
        let (bo, said) = w.submit(&want("bo").cpu("2"));
        assert_eq!(say(&said), "queued start-rate");
        let (more, _) = w.submit(&want("ana").cpu("2").on("lab"));
        w.pass(8 * SECOND);
        w.run_queue();
        assert!(w.queued(&more), "{reclaim}: the last two are bo's");
        w.gates.clear();
        w.pass(SECOND);
        assert_eq!(w.run_queue(), [bo], "{reclaim}");
    }
}

#[test]
fn who_waits_for_a_cluster_that_is_down_keeps_no_other_from_lending() {
    let mut w = World::new(
        "quotas:\n  - {name: all, limits: {cpu: 6}}\n  - {name: each, for: {user: \"*\"}, limits: {cpu: 2}, borrow: {cpu: 6}}\n",
    );
    w.cluster("lab", "session-1", &[("cpu", "8")]);
    run(&mut w, &want("ana").cpu("2"));
    let loan = run(&mut w, &want("ana").cpu("2"));
    run(&mut w, &want("kim").cpu("1"));
    w.gates.insert("lab".into(), Gate::Down);
    let (bo, _) = w.submit(&want("bo").cpu("2").on("lab"));
    let (more, said) = w.submit(&want("ana").cpu("1"));
    assert!(w.holds(&more), "{bo} cannot start: {}", say(&said));
    w.gates.clear();
    let (last, _) = w.submit(&want("ana").cpu("1"));
    assert_eq!(
        w.end_and_run(&more),
        [],
        "now it is kept for bo, and not for {last}"
    );
    assert_eq!(w.end_and_run(&loan).first(), Some(&bo));
}

/// A quota that all share is full, half of it with two loans of ana's: one on main, and the younger one on lab.
fn lent_on_two_clusters() -> (World, JobId, JobId) {
    let mut w = World::new(&format!(
        "quotas:\n  - {{name: all, limits: {{cpu: 6}}}}\n  - {{name: each, for: {{user: \"*\"}}, {EACH}}}\n"
    ));
    w.cluster("lab", "session-1", &[("cpu", "8")]);
    run(&mut w, &want("ana").cpu("2"));
    let main = run(&mut w, &want("ana").cpu("2").minutes(60));
    w.pass(SECOND);
    let lab = run(&mut w, &want("ana").cpu("2").minutes(60).on("lab"));
    w.pass(SECOND);
    (w, main, lab)
}

#[test]
fn a_loan_on_a_cluster_that_is_down_is_left_and_another_taken_back() {
    let (mut w, main, lab) = lent_on_two_clusters();
    w.gates.insert("lab".into(), Gate::Down);
    let (li, _) = w.submit(&want("li").cpu("2"));
    w.pass(2 * SECOND);
    w.run_queue();
    assert_eq!(stops(&w), std::slice::from_ref(&main));
    assert_eq!(w.end_and_run(&main), [li], "{lab} runs on");
}

#[test]
fn a_stop_that_a_cluster_cannot_be_told_is_counted_on_for_a_minute() {
    let (mut w, main, lab) = lent_on_two_clusters();
    w.submit(&want("li").cpu("2"));
    w.pass(2 * SECOND);
    w.run_queue();
    assert_eq!(stops(&w), std::slice::from_ref(&lab));
    w.gates.insert("lab".into(), Gate::Down);
    w.pass(MINUTE - 1);
    w.run_queue();
    assert_eq!(stops(&w).len(), 1, "it may be a moment's trouble");
    let due = curb_core::decide::next_change(&w.state, &w.moment());
    assert_eq!(due, Some(Timestamp(w.now + 1)));
    w.pass(1);
    w.run_queue();
    assert_eq!(stops(&w), [lab, main]);
}

#[test]
fn who_runs_above_a_limit_that_was_lowered_was_lent_nothing_by_it() {
    let policy = |org: &str| {
        format!(
            "teams: {{t: {{org: r, members: [ana, li]}}}}\nquotas:\n  - {{name: each, for: {{user: \"*\"}}, limits: {{cpu: 2}}, borrow: {{cpu: 6}}, reclaim: drain}}\n  - {{name: org-r, for: {{org: r}}, limits: {{cpu: {org}}}, borrow: {{cpu: 1}}, reclaim: {{stop_after: 1s}}}}\n"
        )
    };
    let mut w = World::new(&policy("8"));
    w.cluster("main", "session-1", &[("cpu", "6")]);
    for _ in 0..3 {
        run(&mut w, &want("ana").cpu("2"));
        w.pass(SECOND);
    }
    w.apply_policy(&policy("2"));
    w.submit(&want("kim").cpu("2"));
    w.pass(HOUR);
    w.run_queue();
    assert!(stops(&w).is_empty(), "what each lent ends by itself");
    let restored = curb_core::ledger::State::restore(&w.state.snapshot()).expect("a snapshot");
    assert!(
        curb_core::decide::next(&restored, &w.moment()).is_empty(),
        "also after a restart"
    );
}

#[test]
fn of_several_resources_the_fewest_are_stopped() {
    let mut w = World::new(
        "quotas:\n  - {name: research, for: {user: ana}, limits: {cpu: 0, gpu: 0}, borrow: {cpu: 90, gpu: 90}, reclaim: {stop_after: 1m}}\n",
    );
    w.cluster("main", "session-1", &[("cpu", "21"), ("gpu", "21")]);
    let lent = [(9, 1), (1, 9), (7, 7), (3, 1), (1, 3)].map(|(cpu, gpu): (u64, u64)| {
        w.pass(SECOND);
        run(
            &mut w,
            &want("ana").cpu(&cpu.to_string()).gpu(&gpu.to_string()),
        )
    });
    let (kim, _) = w.submit(&want("kim").cpu("10").gpu("10"));
    w.pass(MINUTE);
    w.run_queue();
    let mut stopped = stops(&w);
    stopped.sort();
    assert_eq!(stopped, lent[..2]);
    w.end(&lent[0]);
    assert_eq!(w.end_and_run(&lent[1]), [kim]);
}

#[test]
fn where_a_guarantee_is_in_the_way_the_reason_does_not_speak_of_a_cluster_that_has_room() {
    let mut w = World::new(
        "teams: {a: {members: [ana]}, k: {members: [kim]}, s: {members: [li]}}\nquotas:\n  - {name: lent, for: {team: a}, limits: {cpu: 0}, borrow: {cpu: 8}, reclaim: {stop_after: 1m}}\n  - {name: serving, for: {team: s}, guarantee: {cpu: 3}}\n  - {name: product, for: {team: k}, limits: {cpu: 8}}\n",
    );
    w.cluster("main", "session-1", &[("cpu", "4")]);
    w.cluster("lab", "session-1", &[("cpu", "4")]);
    let (li, _) = w.submit(&want("li").cpu("1"));
    w.end(&li);
    run(&mut w, &want("ana").cpu("1"));
    let lab = run(&mut w, &want("ana").cpu("4").on("lab"));
    let (kim, said) = w.submit(&want("kim").cpu("2"));
    assert_eq!(say(&said), "queued guarantee");
    w.pass(MINUTE);
    w.run_queue();
    assert_eq!(
        w.job(&lab).stop.as_ref().map(|s| s.why.as_str()),
        Some(
            "it ran on capacity borrowed above quota lent; 2 CPU beside what guarantees keep on all clusters is wanted back for a job within quota product, which has waited 1m"
        )
    );
    assert_eq!(w.end_and_run(&lab), [kim]);
}

/// Everybody has some of their own and is lent some more; a cluster of three CPUs and three GPUs.
fn each_with(more: &str, cpu: &str) -> World {
    let mut w = World::new(&format!(
        "teams: {{t: {{org: research, members: [ana, li]}}, s: {{org: product, members: [kim]}}}}\njob_types: {{hot: {{priority: 5}}, usual: {{}}}}\nquotas:\n{more}"
    ));
    w.cluster("main", "session-1", &[("cpu", cpu), ("gpu", "3")]);
    w.cluster("lab", "session-1", &[("cpu", "3"), ("gpu", "3")]);
    w
}

#[test]
fn nothing_is_taken_back_that_somebody_before_the_one_who_waits_would_take() {
    let mut w = each_with(
        "  - {name: research, for: {org: research}, limits: {cpu: 2}, borrow: {cpu: 1}, reclaim: {stop_after: 1m}}\n",
        "3",
    );
    let gpu = run(&mut w, &want("ana").gpu("1"));
    let loan = run(&mut w, &want("ana").cpu("3").gpu("1"));
    let (hot, _) = w.submit(&want("ana").gpu("2").job_type("hot"));
    let (kim, _) = w.submit(&want("kim").cpu("1").gpu("2"));
    w.pass(10 * MINUTE);
    w.run_queue();
    assert!(
        stops(&w).is_empty(),
        "the GPU of {loan} would be {hot}'s, and {kim} would wait on"
    );
    // With enough for both it is taken back.
    assert_eq!(w.end_and_run(&gpu), std::slice::from_ref(&hot));
    w.end(&hot);
    w.run_queue();
    assert_eq!(stops(&w), std::slice::from_ref(&loan));
    assert_eq!(w.end_and_run(&loan), [kim]);
}

#[test]
fn nothing_is_taken_back_to_be_lent_to_one_who_goes_first_under_the_same_quota() {
    let mut w = each_with(
        "  - {name: each, for: {user: \"*\"}, limits: {cpu: 1}, borrow: {cpu: 2}, reclaim: {stop_after: 1m}}\n",
        "3",
    );
    let loan = run(&mut w, &want("li").cpu("3"));
    let (hot, _) = w.submit(&want("ana").cpu("3").job_type("hot"));
    let (own, _) = w.submit(&want("ana").cpu("1"));
    w.pass(10 * MINUTE);
    w.run_queue();
    assert!(
        stops(&w).is_empty(),
        "{hot} would be lent it, and not {own}"
    );
    w.apply(Event::StopRequested {
        id: hot,
        by: "ana".into(),
        why: String::new(),
    });
    w.run_queue();
    assert_eq!(stops(&w), std::slice::from_ref(&loan));
    assert_eq!(w.end_and_run(&loan), [own]);
}

#[test]
fn who_was_lent_gpus_does_not_make_a_borrower_of_cpus_one_within_the_limits() {
    let mut w = each_with(
        "  - {name: each, for: {user: \"*\"}, limits: {gpu: 0}, borrow: {gpu: 2}}\n  - {name: research, for: {org: research}, limits: {cpu: 3}, borrow: {cpu: 1}}\n",
        "4",
    );
    run(&mut w, &want("li").cpu("2").gpu("1").on("lab"));
    let full = run(&mut w, &want("kim").cpu("4"));
    let (hot, _) = w.submit(&want("ana").cpu("2").job_type("hot"));
    let (zoe, _) = w.submit(&want("zoe").cpu("3"));
    assert_eq!(w.end_and_run(&full), [zoe], "{hot} could only borrow");
}

#[test]
fn a_borrower_does_not_pass_one_whom_another_borrower_holds_up() {
    let mut w = each_with(
        "  - {name: each, for: {user: \"*\"}, limits: {gpu: 1}, borrow: {gpu: 2}}\n",
        "4",
    );
    let full = run(&mut w, &want("li").gpu("3"));
    let (kim, _) = w.submit(&want("kim").gpu("3").priority(0).job_type("hot"));
    let (lab, _) = w.submit(&want("li").gpu("3").on("lab"));
    let (own, _) = w.submit(&want("li").gpu("1"));
    assert_eq!(
        w.end_and_run(&full),
        [lab, kim],
        "{own} is within the limits until the first of these has started"
    );
}

#[test]
fn of_two_who_wait_for_the_same_the_first_is_not_held_to_borrow_nothing_by_the_second() {
    let mut w = each_with(
        "  - {name: org, for: {org: \"*\"}, limits: {cpu: 2}, borrow: {cpu: 3}, reclaim: {stop_after: 1m}}\n  - {name: main, for: {cluster: main}, limits: {cpu: 2}, borrow: {cpu: 1}, reclaim: {stop_after: 1m}}\n",
        "3",
    );
    let kim = run(&mut w, &want("kim").cpu("3").on("lab"));
    run(&mut w, &want("ana").cpu("3"));
    let (first, _) = w.submit(&want("ana").cpu("1").on("lab"));
    let (second, _) = w.submit(&want("ana").cpu("1").minutes(5).on("lab"));
    w.pass(MINUTE);
    w.run_queue();
    assert_eq!(stops(&w), std::slice::from_ref(&kim), "one is enough");
    let started = w.end_and_run(&kim);
    assert!(started.contains(&first), "{started:?}, {second}");
}
