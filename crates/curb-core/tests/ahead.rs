//! The queue is played ahead before a loan is taken back: nothing is stopped that does not let somebody start, nothing is
//! lent that would be taken back at once.

mod common;

use common::*;
use curb_core::decide::Gate;
use curb_core::ledger::{Event, Job};
use curb_core::subject::JobId;
use curb_core::time::Timestamp;

const TEAMS: &str = "teams:\n  vision: {org: research, members: [ana, li]}\n  serving: {org: product, members: [kim]}\n";

fn world(quotas: &str, capacity: (&str, &str)) -> World {
    let mut w = World::new(&format!(
        "{TEAMS}job_types: {{usual: {{}}, hot: {{priority: 5}}}}\nqueue: {{pass_bound: 8m}}\nquotas:\n{quotas}"
    ));
    for cluster in ["main", "lab"] {
        w.cluster(
            cluster,
            "session-1",
            &[("cpu", capacity.0), ("gpu", capacity.1)],
        );
    }
    w
}

fn run(w: &mut World, want: &Want) -> JobId {
    let (id, said) = w.submit(want);
    assert!(w.holds(&id), "{id} runs: {}", say(&said));
    id
}

fn wait(w: &mut World, want: &Want) -> JobId {
    let (id, said) = w.submit(want);
    assert!(w.queued(&id), "{id} waits: {}", say(&said));
    id
}

fn stops(w: &World) -> Vec<&JobId> {
    let stops = w.journal.iter().filter_map(|rec| match &rec.event {
        Event::StopRequested { id, .. } => Some(id),
        _ => None,
    });
    stops.collect()
}

/// Ends what is to be stopped, the oldest first; its owner submits the same again at once.
fn end_and_submit_again(w: &mut World) {
    for _ in 0..20 {
        w.run_queue();
        let stopping = |j: &&Job| j.stop.is_some() && j.grant().is_some();
        let Some(job) = w.state.jobs().filter(stopping).min_by_key(|j| j.seq) else {
            return;
        };
        let (id, new) = (job.new.id.clone(), job.new.clone());
        let mut again = want(&new.subject.user).on(&new.cluster);
        for (r, a) in new.request.iter() {
            again.ask.declared.insert(r.clone(), a);
        }
        w.end_and_run(&id);
        w.submit(&again);
    }
    panic!("loans are stopped without end: {:?}", stops(w));
}

#[test]
fn while_two_loans_are_stopped_for_a_job_neither_half_of_what_it_needs_is_lent_again() {
    let mut w = world(
        "  - {name: each, for: {user: \"*\"}, limits: {cpu: 1, gpu: 2}, borrow: {cpu: 2, gpu: 1}, reclaim: {stop_after: 1m}}\n",
        ("3", "3"),
    );
    run(&mut w, &want("ana").gpu("1"));
    run(&mut w, &want("kim").cpu("3"));
    let entitled = wait(&mut w, &want("li").cpu("1").gpu("1"));
    run(&mut w, &want("ana").gpu("2"));
    w.pass(MINUTE);
    end_and_submit_again(&mut w);
    assert!(w.holds(&entitled), "{:?}", stops(&w));
    assert_eq!(stops(&w).len(), 2);
}

#[test]
fn nothing_is_lent_that_would_be_taken_back_at_once_for_somebody_under_one_of_the_quotas_that_lend()
{
    let mut w = world(
        "  - {name: all, limits: {cpu: 2}, borrow: {cpu: 1}}\n  - {name: orgs, for: {org: \"*\"}, limits: {cpu: 2}, borrow: {cpu: 1}, reclaim: {stop_after: 3m}}\n",
        ("3", "2"),
    );
    let first = run(&mut w, &want("zoe").cpu("2"));
    let entitled = wait(&mut w, &want("zoe").cpu("2"));
    w.pass(3 * MINUTE);
    let borrows = wait(&mut w, &want("ana").cpu("3").on("lab"));
    let next = Timestamp(w.now + MINUTE);
    w.gates.insert("main".into(), Gate::Paced { next });
    w.end_and_run(&first);
    assert!(w.queued(&borrows) && w.queued(&entitled));
    assert_eq!(stops(&w), Vec::<&JobId>::new());
    w.gates.clear();
    w.run_queue();
    assert!(w.holds(&entitled) && w.queued(&borrows));
}

#[test]
fn who_is_above_an_orgs_limit_since_others_of_it_borrowed_still_steps_back_for_another_org() {
    let mut w = world(
        "  - {name: each, for: {user: \"*\"}, limits: {gpu: 2}, borrow: {gpu: 2}}\n  - {name: orgs, for: {org: \"*\"}, limits: {gpu: 4}, borrow: {gpu: 2}}\n",
        ("5", "4"),
    );
    run(&mut w, &want("li").gpu("2"));
    run(&mut w, &want("li").gpu("1").on("lab"));
    let ends = run(&mut w, &want("ana").gpu("1"));
    run(&mut w, &want("li").gpu("1").on("lab"));
    let above = wait(&mut w, &want("ana").gpu("2").job_type("hot"));
    let within = wait(&mut w, &want("kim").gpu("2"));
    w.end_and_run(&ends);
    assert!(w.holds(&within) && w.queued(&above));
}

#[test]
fn a_loan_is_not_taken_back_so_that_the_same_user_may_borrow() {
    let mut w = world(
        "  - {name: each, for: {user: \"*\"}, limits: {cpu: 2}, borrow: {cpu: 4}, reclaim: {stop_after: 1m}}\n  - {name: main, for: {cluster: main}, limits: {cpu: 5}, borrow: {cpu: 1}}\n",
        ("6", "3"),
    );
    let ana = run(&mut w, &want("ana").cpu("3"));
    let li = run(&mut w, &want("li").cpu("3"));
    let first = wait(&mut w, &want("kim").cpu("2"));
    let second = wait(&mut w, &want("kim").cpu("2").gpu("1"));
    w.pass(MINUTE);
    w.run_queue();
    assert_eq!(
        stops(&w),
        [&li],
        "one makes room for the one within the limits"
    );
    w.end_and_run(&li);
    assert!(w.holds(&first) && w.queued(&second) && w.holds(&ana));
    assert_eq!(stops(&w), [&li]);
}

#[test]
fn one_loan_is_stopped_where_the_one_who_waits_starts_then_though_others_want_the_rest() {
    let mut w = world(
        "  - {name: orgs, for: {org: \"*\"}, limits: {cpu: 2}, borrow: {cpu: 1}, reclaim: {stop_after: 1m}}\n  - {name: all, limits: {cpu: 4}, borrow: {cpu: 2}}\n",
        ("3", "3"),
    );
    run(&mut w, &want("kim").cpu("3").on("lab"));
    let young = run(&mut w, &want("ana").cpu("3"));
    wait(&mut w, &want("li").cpu("1").gpu("2"));
    let entitled = wait(&mut w, &want("zoe").cpu("2"));
    w.pass(8 * MINUTE);
    end_and_submit_again(&mut w);
    assert!(w.holds(&entitled), "{:?}", stops(&w));
    assert_eq!(stops(&w), [&young]);
}
