//! What the policy promises, under arbitrary histories: budgets to the unit, guarantees, loans, the queue's length, the rate
//! of submissions, and clusters that do not touch each other.

mod common;

use std::collections::BTreeMap;

use common::*;
use curb_core::amount::Amount;
use curb_core::decide::{Submitted, Verdict};
use curb_core::ledger::{BucketView, BudgetView, Event, Phase, State};
use curb_core::resource::Resource;
use curb_core::subject::JobId;
use curb_core::time::{Millis, Timestamp};
use proptest::prelude::*;

const DAY: i64 = 24 * HOUR;
const USERS: [&str; 3] = ["ana", "li", "kim"];

fn views(w: &World, quota: &str) -> Vec<BucketView> {
    let all = w.state.bucket_views(&w.moment(), None);
    all.into_iter().filter(|v| v.quota == quota).collect()
}

fn used(view: &BucketView, at: usize) -> &BudgetView {
    &view.budgets[at]
}

// ---- budgets --------------------------------------------------------------------------------------------------------

const BUDGETS: &str = "\
queue: {pass_bound: 365d}
quotas:
  - name: each-user
    for: {user: \"*\"}
    budget:
      - {cpu_hours: 6, per: day, without_duration: refuse}
      - {cpu_hours: 8, per: rolling 2d, without_duration: refuse}
";

#[derive(Clone, Debug)]
enum Work {
    Submit {
        user: usize,
        milli: u64,
        minutes: u64,
    },
    EndEarly(usize),
    Pass(i64),
}

fn work() -> impl Strategy<Value = Work> {
    prop_oneof![
        3 => (0usize..3, 1u64..4000, 1u64..300)
            .prop_map(|(user, milli, minutes)| Work::Submit { user, milli, minutes }),
        1 => (0usize..32).prop_map(Work::EndEarly),
        3 => (1i64..8 * HOUR).prop_map(Work::Pass),
    ]
}

/// Many long jobs, and little else.
fn crowd() -> impl Strategy<Value = Work> {
    let long = (0usize..3, 1000u64..4000, 100u64..600);
    prop_oneof![
        9 => long.prop_map(|(user, milli, minutes)| Work::Submit { user, milli, minutes }),
        1 => work(),
    ]
}

/// Lets time pass; each job ends at the latest when it said.
fn pass(w: &mut World, ms: i64) {
    let until = w.now + ms;
    for _ in 0..10_000 {
        let next = w
            .state
            .jobs()
            .filter_map(|j| Some((j.expected_end()?.0, j.seq, j.new.id.clone())))
            .min();
        match next {
            Some((end, _, id)) if end <= until => {
                w.now = end.max(w.now);
                w.end_and_run(&id);
            }
            _ => break,
        }
    }
    w.now = until;
    w.run_queue();
}

fn run(w: &mut World, work: &Work) {
    match work {
        Work::Submit {
            user,
            milli,
            minutes,
        } => {
            let want = want(USERS[*user])
                .cpu(&format!("{milli}m"))
                .minutes(*minutes);
            w.submit(&want);
        }
        Work::EndEarly(n) => {
            let mut open: Vec<(u64, JobId)> = w
                .state
                .jobs()
                .filter(|j| j.grant().is_some())
                .map(|j| (j.seq, j.new.id.clone()))
                .collect();
            open.sort();
            if !open.is_empty() {
                w.end_and_run(&open[n % open.len()].1);
            }
        }
        Work::Pass(ms) => pass(w, *ms),
    }
}

/// What a user's jobs have used since a moment: from nothing but the jobs.
fn counted(w: &World, user: &str, since: i64) -> u128 {
    let of = |j: &curb_core::ledger::Job| {
        let (from, to) = match &j.phase {
            Phase::Ended(end) => (end.granted?.0, end.at.0),
            _ => (j.grant()?.since.0, w.now),
        };
        let span = u128::try_from(to - from.max(since)).unwrap_or(0);
        Some(u128::from(j.new.request.get(&Resource::Cpu).0) * span)
    };
    w.state
        .jobs()
        .filter(|j| j.new.subject.user == user)
        .filter_map(of)
        .sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_budget_is_never_passed_and_is_the_exact_sum_of_what_ran(
        steps in proptest::collection::vec(work(), 1..60),
    ) {
        let mut w = World::new(BUDGETS);
        for step in &steps {
            run(&mut w, step);
            let midnight = w.now - w.now.rem_euclid(DAY);
            for view in views(&w, "each-user") {
                for at in 0..2 {
                    let b = used(&view, at);
                    let all = b.reading.used + b.reading.committed;
                    prop_assert!(all <= b.limit, "{} {}: {all} > {}", view.bucket, b.per, b.limit);
                }
                let user = view.bucket.trim_start_matches("user ");
                prop_assert_eq!(used(&view, 0).reading.used, counted(&w, user, midnight));
            }
        }
    }

    #[test]
    fn what_was_used_stays_used_over_a_change_of_policy_and_a_restart(
        steps in proptest::collection::vec(work(), 1..30),
        more in proptest::collection::vec(work(), 0..10),
    ) {
        let mut w = World::new(BUDGETS);
        steps.iter().for_each(|step| run(&mut w, step));
        let used = |w: &World| -> BTreeMap<String, Vec<u128>> {
            let read = |v: BucketView| (v.bucket.clone(), v.budgets.iter().map(|b| b.reading.used).collect());
            views(w, "each-user").into_iter().map(read).filter(|(_, u): &(_, Vec<u128>)| u.iter().any(|n| *n > 0)).collect()
        };
        let before = used(&w);
        w.apply_policy(&BUDGETS.replace("cpu_hours: 6", "cpu_hours: 7"));
        prop_assert_eq!(used(&w), before.clone(), "the number changed, not what was used");
        w.state = State::restore(&w.state.snapshot()).expect("a snapshot");
        prop_assert_eq!(used(&w), before);
        more.iter().for_each(|step| run(&mut w, step));
        for view in views(&w, "each-user") {
            let user = view.bucket.trim_start_matches("user ").to_owned();
            let midnight = w.now - w.now.rem_euclid(DAY);
            prop_assert_eq!(view.budgets[0].reading.used, counted(&w, &user, midnight));
        }
    }

    #[test]
    fn in_which_order_jobs_end_at_one_moment_changes_no_budget(
        order in Just((0..6usize).collect::<Vec<_>>()).prop_shuffle(), ms in 1i64..DAY,
    ) {
        let run = |order: &[usize]| {
            let mut w = World::new("quotas:\n  - {name: q, for: everybody, budget: {cpu_hours: 1000, per: day}}\n");
            let ids: Vec<JobId> = (1..=8).map(|n| w.submit(&want("ana").cpu(&n.to_string()).hours(n)).0).collect();
            w.now += ms;
            order.iter().for_each(|n| w.end(&ids[*n]));
            views(&w, "q")[0].budgets[0].reading
        };
        prop_assert_eq!(run(&order), run(&[0, 1, 2, 3, 4, 5]));
    }
}

// ---- guarantees, loans, the queue -----------------------------------------------------------------------------------

const SHARED: &str = "\
capacity: {cpu: 12}
queue: {pass_bound: 365d}
teams:
  vision: {org: research, members: [ana, li]}
  serving: {org: product, members: [kim]}
quotas:
  - {name: each-user, for: {user: \"*\"}, limits: {queued: 3}}
  - {name: research, for: {org: research}, limits: {cpu: 5}, borrow: {cpu: 4}}
  - {name: product, for: {org: product}, limits: {cpu: 8}, guarantee: {cpu: 4}}
";

fn cpu_held(w: &World, quota: &str) -> u64 {
    let held = |v: &BucketView| {
        v.resources
            .iter()
            .find(|r| r.resource == Resource::Cpu)
            .map(|r| r.used.0)
    };
    views(w, quota).iter().filter_map(held).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_is_guaranteed_can_be_had_at_any_time(steps in proptest::collection::vec(work(), 1..50)) {
        let mut w = World::new(SHARED);
        w.cluster("main", "session-1", &[("cpu", "12")]);
        for step in &steps {
            run(&mut w, step);
            let lacks = 4000u64.saturating_sub(cpu_held(&w, "product"));
            if lacks > 0 {
                let said = w.explain(&want("kim").cpu(&format!("{lacks}m")).minutes(5));
                prop_assert_eq!(said.verdict, Verdict::Now, "{:?}", said.violations);
            }
        }
    }

    #[test]
    fn a_loan_is_marked_as_one_and_stays_within_what_may_be_borrowed(
        steps in proptest::collection::vec(work(), 1..50),
    ) {
        let mut w = World::new(SHARED);
        w.cluster("main", "session-1", &[("cpu", "12")]);
        for step in &steps {
            run(&mut w, step);
            prop_assert!(cpu_held(&w, "research") <= 9000);
            prop_assert!(cpu_held(&w, "product") <= 8000);
        }
        // Once more from the journal, event by event: a grant is borrowed if and only if it ends above the limit.
        let mut again = World::new(SHARED);
        again.state = State::new();
        for rec in &w.journal {
            again.state.apply(rec);
            again.now = rec.at.0;
            let (id, borrowed) = match &rec.event {
                Event::Admitted { job, borrowed, .. } => (&job.id, *borrowed),
                Event::Granted { id, borrowed, .. } => (id, *borrowed),
                _ => continue,
            };
            let team = again.job(id).new.subject.team.clone();
            let above = team.as_deref() == Some("vision") && cpu_held(&again, "research") > 5000;
            prop_assert_eq!(borrowed, above, "{}", id);
        }
    }

    #[test]
    fn no_more_wait_than_may_wait_and_none_is_refused_for_it_before(
        steps in proptest::collection::vec(crowd(), 1..50),
    ) {
        let mut w = World::new(SHARED);
        w.cluster("main", "session-1", &[("cpu", "12")]);
        for step in &steps {
            let waiting = |w: &World| -> BTreeMap<String, u64> {
                views(w, "each-user").into_iter().map(|v| (v.bucket, v.queued)).collect()
            };
            let before = waiting(&w);
            let refused = w.journal.len();
            run(&mut w, step);
            prop_assert!(waiting(&w).values().all(|n| *n <= 3));
            for rec in &w.journal[refused..] {
                if let Event::Refused { subject, violations, .. } = &rec.event
                    && violations.iter().any(|v| v.code.as_str() == "queued-limit")
                {
                    prop_assert_eq!(before.get(&format!("user {}", subject.user)), Some(&3));
                }
            }
        }
    }

    #[test]
    fn submissions_pass_at_their_rate_and_not_one_less(
        gaps in proptest::collection::vec(0i64..20_000, 1..80), count in 1u32..6,
    ) {
        let mut w = World::new(&format!("quotas:\n  - {{name: q, for: everybody, submit_rate: {count}/min}}\n"));
        let interval = 60_000 / i64::from(count);
        let mut taken: Vec<i64> = Vec::new();
        for gap in gaps {
            w.now += gap;
            let (now, before) = (w.now, taken.len() as i64);
            // With one more, some span that ends now would hold more than a burst and what came in since.
            let too_many = taken.iter().enumerate().any(|(i, t)| {
                before - i as i64 + 1 > i64::from(count) + (now - t) / interval
            });
            let said = w.submit(&want("ana").cpu("1m")).1;
            prop_assert_eq!(matches!(said, Submitted::Refused(_)), too_many, "{:?} at {}", taken, now);
            if !too_many {
                taken.push(now);
            }
        }
    }

    #[test]
    fn two_clusters_have_room_of_their_own_and_share_a_limit(
        steps in proptest::collection::vec((any::<bool>(), 1u64..4000, any::<bool>(), 0usize..32, 0u8..12), 1..60),
    ) {
        let mut w = World::new("quotas:\n  - {name: all, for: everybody, limits: {cpu: 9}}\n  - {name: each, for: {cluster: \"*\"}, limits: {cpu: 7}}\n");
        w.cluster("main", "session-1", &[("cpu", "8")]);
        w.cluster("west", "session-1", &[("cpu", "6")]);
        for (n, (west, milli, ends, which, restarts)) in steps.into_iter().enumerate() {
            let on = if west { "west" } else { "main" };
            w.submit(&want("ana").cpu(&format!("{milli}m")).on(on));
            if ends {
                run(&mut w, &Work::EndEarly(which));
            }
            if restarts == 0 {
                let has = if west { "6" } else { "8" };
                let other = if west { "main" } else { "west" };
                let lost = |w: &World, c: &str| w.state.jobs().filter(|j| j.new.cluster == c && matches!(j.phase, Phase::Quarantined(_))).count();
                let before = lost(&w, other);
                w.cluster(on, &format!("session-{}", n + 2), &[("cpu", has)]);
                prop_assert_eq!(lost(&w, other), before, "a restart is one cluster's own");
            }
            let mut total = 0;
            for (cluster, most) in [("main", 7000u64), ("west", 6000)] {
                let jobs = w.state.jobs().filter(|j| j.grant().is_some() && j.new.cluster == cluster);
                let sum: u64 = jobs.map(|j| j.new.request.get(&Resource::Cpu).0).sum();
                prop_assert_eq!(w.state.held_on(cluster).get(&Resource::Cpu), Amount(sum));
                prop_assert!(sum <= most, "{cluster}: {sum}");
                total += sum;
            }
            prop_assert!(total <= 9000, "{total}");
            prop_assert_eq!(cpu_held(&w, "all"), total);
        }
    }
}

#[test]
fn a_policy_that_forgets_a_budget_and_takes_it_back_begins_anew() {
    // What no quota counts is not kept: that is told in the reference.
    let mut w = World::new(BUDGETS);
    w.submit(&want("ana").cpu("1").hours(2));
    pass(&mut w, 3 * HOUR);
    assert!(views(&w, "each-user")[0].budgets[0].reading.used > 0);
    w.apply_policy("mode: enforce\n");
    w.apply_policy(BUDGETS);
    let after = views(&w, "each-user")
        .first()
        .map_or(0, |v| v.budgets[0].reading.used);
    assert_eq!(after, 0);
    assert_eq!(Millis::DAY.0, DAY.unsigned_abs());
    assert!(w.state.now() <= Timestamp(w.now));
}
