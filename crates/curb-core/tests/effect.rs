//! What an override changes is said before it is in force, and one that changes nothing is refused.

mod common;

use std::collections::BTreeSet;

use common::*;
use curb_core::ledger::{Event, Override};
use curb_core::policy::{Match, Selector};
use curb_core::resource::Resource;
use curb_core::time::Timestamp;

const POLICY: &str = "teams: {vision: {org: research, members: [ana]}}\njob_types: {training: {}}\nquotas:\n  - {name: each, for: {user: \"*\"}, limits: {cpu: 2, jobs: 4}}\n  - {name: trains, for: {user: \"*\", job_type: training}, limits: {cpu: 1}}\n  - {name: research, for: {org: research}, limits: {memory: 8GiB}}\n";

fn one(name: &str) -> Option<Match> {
    Some(Match::OneOf(BTreeSet::from([name.to_owned()])))
}

fn change(selector: Selector, resource: Resource, by: i64) -> Override {
    Override {
        id: 1,
        selector,
        quota: None,
        amounts: [(resource, by)].into(),
        jobs: 0,
        until: Timestamp(NOON + HOUR),
        by: "root".into(),
        why: "a test".into(),
    }
}

fn user(name: &str) -> Selector {
    Selector {
        user: one(name),
        ..Selector::default()
    }
}

#[test]
fn an_override_names_the_limits_that_it_changes() {
    let mut w = World::new(POLICY);
    let o = change(user("ana"), Resource::Cpu, 1000);
    let said = w
        .state
        .changes_by(&o, &w.moment())
        .expect("it changes some");
    assert_eq!(
        said,
        [
            "each (once it is used): cpu 2 -> 3",
            "trains (once it is used): cpu 1 -> 2"
        ]
    );
    w.submit(&want("ana").cpu("1").job_type("training"));
    let said = w
        .state
        .changes_by(&o, &w.moment())
        .expect("it changes some");
    assert_eq!(
        said,
        [
            "each (user ana): cpu 2 -> 3",
            "trains (user ana, job type training): cpu 1 -> 2"
        ]
    );
}

#[test]
fn an_override_that_changes_nothing_is_refused() {
    let w = World::new(POLICY);
    let org = |name: &str| Selector {
        org: one(name),
        ..Selector::default()
    };
    let team = Selector {
        team: one("vision"),
        ..Selector::default()
    };
    for (o, says) in [
        (
            change(org("reserch"), Resource::Memory, 5),
            "there is no org unit reserch in the policy",
        ),
        (
            change(user("anna"), Resource::Cpu, 5),
            "there is no user anna",
        ),
        (change(user("ana"), Resource::Gpu, 5), "no quota limits gpu"),
        (change(team, Resource::Cpu, 5), "no quota limits cpu"),
        (
            change(org("research"), Resource::Cpu, 5),
            "no quota limits cpu",
        ),
    ] {
        let said = w.state.changes_by(&o, &w.moment()).expect_err(says);
        assert!(said.contains(says), "{said}");
    }
    let o = change(org("research"), Resource::Memory, 1 << 30);
    assert!(w.state.changes_by(&o, &w.moment()).is_ok());
}

#[test]
fn what_is_in_force_already_counts_in_a_bucket_that_is_yet_to_be_made() {
    let mut w = World::new(POLICY);
    let set = |w: &mut World, id: u64, by: i64| {
        let mut o = change(user("ana"), Resource::Cpu, by);
        o.id = id;
        w.apply(Event::OverrideAdded(o));
    };
    set(&mut w, 1, 2000);
    let mut more = change(user("ana"), Resource::Cpu, 1000);
    more.id = 2;
    let said = w.state.changes_by(&more, &w.moment());
    assert_eq!(
        said.expect("it changes some"),
        [
            "each (once it is used): cpu 4 -> 5",
            "trains (once it is used): cpu 3 -> 4"
        ]
    );
    let mut other = change(user("li"), Resource::Cpu, 1000);
    other.id = 3;
    w.submit(&want("li").cpu("1"));
    let said = w.state.changes_by(&other, &w.moment());
    assert_eq!(said.expect("hers"), ["each (user li): cpu 2 -> 3"]);
}

#[test]
fn a_limit_that_others_take_below_zero_is_not_said_to_rise_from_it() {
    let mut w = World::new(POLICY);
    w.submit(&want("ana").cpu("1"));
    let mut less = change(user("ana"), Resource::Cpu, -99_000);
    less.jobs = -9;
    w.apply(Event::OverrideAdded(less));
    let mut more = change(user("ana"), Resource::Cpu, 1000);
    more.id = 2;
    more.jobs = 1;
    let said = w.state.changes_by(&more, &w.moment());
    assert_eq!(
        said.expect("it counts once the other has ended"),
        [
            "each (user ana): cpu stays 0, others take away more",
            "each (user ana): jobs stays 0, others take away more"
        ]
    );
    // Enough of it is told as what it makes: 2 - 99 + 98.
    let mut enough = change(user("ana"), Resource::Cpu, 98_000);
    enough.id = 3;
    let said = w.state.changes_by(&enough, &w.moment());
    assert_eq!(said.expect("a rise"), ["each (user ana): cpu 0 -> 1"]);
    // And still less of nothing changes nothing.
    let mut none = change(user("ana"), Resource::Cpu, -1000);
    none.id = 4;
    w.state
        .changes_by(&none, &w.moment())
        .expect_err("nothing would change");
}

#[test]
fn an_override_is_listed_where_it_changes_a_limit_and_nowhere_else() {
    let mut w = World::new(
        "quotas:\n  - {name: each, for: {user: \"*\"}, limits: {cpu: 2}}\n  - {name: rate, for: {user: \"*\"}, submit_rate: 5/s}\n  - {name: count, for: {user: \"*\"}, limits: {jobs: 3}}\n",
    );
    w.submit(&want("ana").cpu("1"));
    w.apply(Event::OverrideAdded(change(
        user("ana"),
        Resource::Cpu,
        3000,
    )));
    let listed = |w: &World| -> Vec<String> {
        let views = w.state.bucket_views(&w.moment(), Some("ana"));
        let with = views.into_iter().filter(|v| !v.overrides.is_empty());
        with.map(|v| v.quota).collect()
    };
    assert_eq!(listed(&w), ["each"]);
    let mut jobs = change(user("ana"), Resource::Gpu, 1000);
    (jobs.id, jobs.jobs) = (2, 1);
    w.apply(Event::OverrideAdded(jobs));
    assert_eq!(listed(&w), ["each", "count"]);
}
