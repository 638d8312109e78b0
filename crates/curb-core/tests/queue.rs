//! The order of the queue: priority, fair share, age; passing and its bound.

mod common;

use common::*;

const TYPES: &str = "job_types:\n  low: {priority: 0}\n  high: {priority: 10}\n";

#[test]
fn higher_priority_goes_first_then_the_older() {
    let mut w = World::new(&format!("capacity: {{cpu: 1}}\n{TYPES}"));
    w.cluster("main", "session-1", &[("cpu", "1")]);
    let (running, _) = w.submit(&want("ana").cpu("1"));
    let (low, _) = w.submit(&want("li").cpu("1").job_type("low"));
    let (high, _) = w.submit(&want("kim").cpu("1").job_type("high"));
    assert_eq!(w.end_and_run(&running), std::slice::from_ref(&high));
    assert_eq!(w.end_and_run(&high), [low]);
}

#[test]
fn who_used_less_goes_first() {
    let mut w = World::new("capacity: {cpu: 2}\n");
    w.cluster("main", "session-1", &[("cpu", "2")]);
    let (first, _) = w.submit(&want("ana").cpu("2"));
    w.pass(HOUR);
    let (more, _) = w.submit(&want("ana").cpu("2"));
    let (li, _) = w.submit(&want("li").cpu("2"));
    assert_eq!(
        w.end_and_run(&first),
        std::slice::from_ref(&li),
        "ana has used the cluster for an hour"
    );
    assert_eq!(w.end_and_run(&li), [more]);
}

#[test]
fn the_share_is_that_of_the_dominant_resource_and_not_the_sum_of_all() {
    let mut w = World::new("mode: enforce\n");
    w.cluster("main", "session-1", &[("cpu", "10"), ("gpu", "10")]);
    // Ana has 40 and 40 of a hundred, li 50 and none: the sums would put li first, and age does.
    w.submit(&want("ana").cpu("4").gpu("4"));
    w.submit(&want("li").cpu("5"));
    let (last, _) = w.submit(&want("kim").cpu("1"));
    let (li, _) = w.submit(&want("li").cpu("1"));
    let (ana, _) = w.submit(&want("ana").cpu("1"));
    assert_eq!(w.end_and_run(&last), [ana]);
    assert!(w.queued(&li));
}

#[test]
fn past_the_bound_a_job_that_its_users_limit_stops_is_not_passed_by_the_same_user() {
    for (waited, passes) in [(59 * MINUTE, true), (60 * MINUTE, false)] {
        let mut w = World::new(
            "queue: {pass_bound: 1h}\nquotas:\n  - {name: each-user, for: {user: \"*\"}, limits: {cpu: 2}}\n",
        );
        let running = [want("ana").cpu("1"), want("ana").cpu("1")].map(|one| w.submit(&one).0);
        let (big, _) = w.submit(&want("ana").cpu("2"));
        let (small, _) = w.submit(&want("ana").cpu("1"));
        w.pass(waited);
        let started = w.end_and_run(&running[0]);
        assert_eq!(started.contains(&small), passes, "{waited}");
        assert!(w.queued(&big));
        if !passes {
            assert_eq!(w.end_and_run(&running[1]), [big]);
        }
    }
}

#[test]
fn past_use_fades_with_the_half_life() {
    for (half_life, first_to_go) in [("1h", "kim"), ("365d", "li")] {
        let mut w = World::new(&format!(
            "capacity: {{cpu: 10}}\nqueue: {{half_life: {half_life}}}\n"
        ));
        w.cluster("main", "session-1", &[("cpu", "10")]);
        // Kim used 10 CPU for 30 hours long ago, li for 24 hours lately.
        let (a, _) = w.submit(&want("kim").cpu("10"));
        w.pass(30 * HOUR);
        let (b, _) = {
            w.end(&a);
            w.submit(&want("li").cpu("10"))
        };
        w.pass(24 * HOUR);
        w.end(&b);
        let (block, _) = w.submit(&want("ana").cpu("10"));
        w.pass(MINUTE);
        let (kim, _) = w.submit(&want("kim").cpu("10"));
        let (li, _) = w.submit(&want("li").cpu("10"));
        let started = w.end_and_run(&block);
        let expect = if first_to_go == "kim" { kim } else { li };
        assert_eq!(started, [expect], "{half_life}");
    }
}

#[test]
fn weight_doubles_the_share() {
    // Shares of two teams with weights 2 and 1 under steady demand: starts go 2 to 1.
    let yaml = "capacity: {cpu: 3}\nteams:\n  big: {members: [ana], weight: 2}\n  small: {members: [li], weight: 1}\n";
    let mut w = World::new(yaml);
    w.cluster("main", "session-1", &[("cpu", "3")]);
    let (block, _) = w.submit(&want("nobody").cpu("3"));
    for _ in 0..300 {
        w.submit(&want("ana").cpu("1"));
        w.submit(&want("li").cpu("1"));
    }
    let mut running = w.end_and_run(&block);
    let mut of_ana = 0;
    for _ in 0..300 {
        w.pass(MINUTE);
        let done = running.remove(0);
        for id in w.end_and_run(&done) {
            of_ana += usize::from(w.job(&id).new.subject.user == "ana");
            running.push(id);
        }
    }
    assert!(
        (190..=210).contains(&of_ana),
        "{of_ana} of 300 for a weight of 2 in 3"
    );
}

#[test]
fn org_units_are_compared_before_users() {
    // Three users of one org and one of another: the two orgs get half each.
    let yaml = "capacity: {cpu: 4}\nteams:\n  a: {org: many, members: [u1, u2, u3]}\n  b: {org: one, members: [solo]}\n";
    let mut w = World::new(yaml);
    w.cluster("main", "session-1", &[("cpu", "4")]);
    let (block, _) = w.submit(&want("nobody").cpu("4"));
    for _ in 0..20 {
        for user in ["u1", "u2", "u3", "solo"] {
            w.submit(&want(user).cpu("1"));
        }
    }
    let started = w.end_and_run(&block);
    let solo = started
        .iter()
        .filter(|id| w.job(id).new.subject.user == "solo")
        .count();
    assert_eq!((started.len(), solo), (4, 2));
}

#[test]
fn small_jobs_pass_a_blocked_one_until_it_has_waited_the_bound() {
    let mut w = World::new("capacity: {cpu: 4}\nqueue: {pass_bound: 1h}\n");
    w.cluster("main", "session-1", &[("cpu", "4")]);
    let mut small = Vec::new();
    for _ in 0..4 {
        small.push(w.submit(&want("li").cpu("1").minutes(30)).0);
    }
    let (big, said) = w.submit(&want("ana").cpu("4"));
    assert_eq!(say(&said), "queued capacity");
    // Small ones keep coming and keep passing.
    for round in 0..4 {
        w.pass(14 * MINUTE);
        let done = small.remove(0);
        w.end(&done);
        let (id, said) = w.submit(&want("li").cpu("1").minutes(30));
        w.run_queue();
        assert!(
            w.holds(&id) && w.queued(&big),
            "round {round}: {}",
            say(&said)
        );
        small.push(id);
    }
    // From here on nothing passes it: when what runs has ended, it starts.
    w.pass(5 * MINUTE);
    let (late, _) = w.submit(&want("li").cpu("1").minutes(30));
    for done in small {
        assert!(
            w.queued(&late),
            "it would pass a job that has waited the bound"
        );
        w.end(&done);
        w.run_queue();
    }
    assert!(w.holds(&big));
    assert!(w.queued(&late));
}

#[test]
fn a_job_that_its_own_limits_stop_keeps_nothing_from_others() {
    let yaml = "capacity: {cpu: 4}\nqueue: {pass_bound: 1h}\nquotas:\n  - {name: each-user, for: {user: \"*\"}, limits: {cpu: 2}}\n";
    let mut w = World::new(yaml);
    w.cluster("main", "session-1", &[("cpu", "4")]);
    let (first, _) = w.submit(&want("ana").cpu("2"));
    let (waits, _) = w.submit(&want("ana").cpu("2"));
    w.pass(5 * HOUR);
    let (li, _) = w.submit(&want("li").cpu("2"));
    assert!(
        w.holds(&li),
        "the cluster has room, and ana's wait is of ana's own making"
    );
    let (own_small, _) = w.submit(&want("ana").cpu("1"));
    assert!(w.queued(&own_small));
    w.end(&li);
    assert_eq!(w.end_and_run(&first), [waits]);
}

#[test]
fn the_bound_holds_whatever_small_jobs_come() {
    // Bound on the wait of a job that is first in its order: pass_bound, then at most the longest run three times over.
    let yaml = "job_types: {big: {priority: 1}}\ncapacity: {cpu: 6}\nqueue: {pass_bound: 1h}\nteams:\n  t: {members: [ana, li, kim]}\nquotas:\n  - {name: each-user, for: {user: \"*\"}, limits: {cpu: 4}}\n  - {name: team, for: {team: t}, limits: {cpu: 5}}\n";
    for seed in 0..20u64 {
        let mut w = World::new(yaml);
        w.cluster("main", "session-1", &[("cpu", "6")]);
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut dice = move |n: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % n
        };
        let mut ends: Vec<(i64, curb_core::subject::JobId)> = Vec::new();
        let mut big = None;
        let longest = 30;
        for minute in 0..600i64 {
            w.pass(MINUTE);
            ends.sort();
            while ends.first().is_some_and(|(t, _)| *t <= w.now) {
                let (_, id) = ends.remove(0);
                w.end(&id);
            }
            if minute == 30 {
                big = Some((
                    w.now,
                    w.submit(&want("ana").cpu("4").minutes(longest).job_type("big"))
                        .0,
                ));
            }
            let user = ["ana", "li", "kim"][dice(3) as usize];
            w.submit(&want(user).cpu("1").minutes(1 + dice(longest)));
            w.run_queue();
            let new: Vec<_> = w
                .state
                .jobs()
                .filter(|j| j.grant().is_some() && !ends.iter().any(|(_, id)| *id == j.new.id))
                .map(|j| (j.expected_end().expect("a duration").0, j.new.id.clone()))
                .collect();
            ends.extend(new);
        }
        let (came, id) = big.expect("it was submitted");
        let job = w.job(&id);
        let started = job.grant().map(|g| g.since.0).or(match &job.phase {
            curb_core::ledger::Phase::Ended(e) => e.granted.map(|g| g.0),
            _ => None,
        });
        let waited = started.expect("it started") - came;
        assert!(
            waited <= HOUR + 3 * longest as i64 * MINUTE,
            "seed {seed}: {} min",
            waited / MINUTE
        );
    }
}

#[test]
fn positions_count_those_ahead_in_the_order() {
    let mut w = World::new(&format!("capacity: {{cpu: 1}}\n{TYPES}"));
    w.cluster("main", "session-1", &[("cpu", "1")]);
    w.submit(&want("ana").cpu("1"));
    let (a, _) = w.submit(&want("li").cpu("1").job_type("low"));
    let (b, _) = w.submit(&want("kim").cpu("1").job_type("high"));
    let place = |w: &World, id| {
        curb_core::decide::position(&w.state, &w.moment(), w.job(id)).map(|p| (p.position, p.of))
    };
    assert_eq!(place(&w, &b), Some((1, 2)));
    assert_eq!(place(&w, &a), Some((2, 2)));
}
