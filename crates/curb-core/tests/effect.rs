//! What an override changes is said before it is in force, and one that changes nothing is refused.

mod common;

use std::collections::BTreeSet;

use common::*;
use curb_core::ledger::Override;
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
            "there is no org unit in the policy reserch",
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
