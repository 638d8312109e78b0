//! The ladders of quotas: what happens to a running job that takes more than it was granted, and when nothing may.

mod common;

use std::collections::BTreeMap;

use common::*;
use curb_core::decide::{Seen, teeth};
use curb_core::ledger::Event;
use curb_core::policy::Step;
use curb_core::resource::Resources;
use curb_core::subject::JobId;
use proptest::prelude::*;

const SECOND: i64 = 1000;
const EACH: &str = "quotas:\n  - {name: each, for: {user: \"*\"}, limits: {cpu: 4}, ladder: [{when: held, after: 10s, do: warn}, {when: held, after: 1m, do: stop}]}\n";

/// A running job of ana's that was granted one CPU.
fn running(yaml: &str) -> (World, JobId) {
    let mut w = World::new(yaml);
    let (id, _) = w.submit(&want("ana").cpu("1").minutes(5));
    confirm(&mut w, &id);
    (w, id)
}

fn confirm(w: &mut World, id: &JobId) {
    let attempt = w.job(id).attempt;
    w.apply(Event::Confirmed {
        id: id.clone(),
        attempt,
        session: "session-1".into(),
    });
}

/// What was seen: the job holds so much.
fn holds(id: &JobId, has: &[(&str, &str)]) -> Option<BTreeMap<String, Seen>> {
    let seen: Seen = [(id.clone(), (1, amounts(has)))].into_iter().collect();
    Some([("main".to_owned(), seen)].into_iter().collect())
}

/// Looks once, records what came out, and tells it in short.
fn look(w: &mut World, seen: &Option<BTreeMap<String, Seen>>) -> Vec<String> {
    let nothing = BTreeMap::new();
    let events = teeth(&w.state, &w.moment(), seen.as_ref().unwrap_or(&nothing));
    let told = events.iter().map(tell).collect();
    events.into_iter().for_each(|e| w.apply(e));
    told
}

fn tell(event: &Event) -> String {
    match event {
        Event::Exceeded { found, .. } => format!("exceeded: {found}"),
        Event::Within { .. } => "within".into(),
        Event::Stepped {
            step,
            only_recorded,
            ..
        } => {
            let step = if *step == Step::Warn {
                "warned"
            } else {
                "stopped"
            };
            let only = if *only_recorded { " on paper" } else { "" };
            format!("{step}{only}")
        }
        Event::StopRequested { by, why, .. } => format!("{by} stops it: {why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_is_warned_and_then_stopped_each_once_and_after_its_time() {
    let (mut w, id) = running(EACH);
    let three = holds(&id, &[("cpu", "3")]);
    let found = "holds more in Ray than it was granted: 3 CPU, granted 1";
    assert_eq!(look(&mut w, &three), [format!("exceeded: {found}")]);
    w.pass(9 * SECOND);
    assert!(look(&mut w, &three).is_empty());
    w.pass(SECOND);
    assert_eq!(look(&mut w, &three), ["warned"]);
    w.pass(49 * SECOND);
    assert!(look(&mut w, &three).is_empty());
    w.pass(SECOND);
    assert_eq!(
        look(&mut w, &three),
        [
            "stopped".to_owned(),
            format!("curb stops it: it {found} for 1m (quota each)")
        ]
    );
    w.pass(HOUR);
    assert!(look(&mut w, &three).is_empty());
}

#[test]
fn who_gives_it_back_in_time_begins_anew() {
    let (mut w, id) = running(EACH);
    let (three, one) = (holds(&id, &[("cpu", "3")]), holds(&id, &[("cpu", "1")]));
    look(&mut w, &three);
    w.pass(59 * SECOND);
    assert_eq!(look(&mut w, &three), ["warned"]);
    w.pass(SECOND);
    assert_eq!(look(&mut w, &one), ["within"]);
    assert_eq!(look(&mut w, &three).len(), 1);
    w.pass(59 * SECOND);
    assert_eq!(look(&mut w, &three), ["warned"]);
}

#[test]
fn what_it_is_stopped_for_stays_said_while_it_holds_less_and_less() {
    // What is left of it afterwards, such as detached actors, is ended for that reason.
    let (mut w, id) = running(EACH);
    let three = holds(&id, &[("cpu", "3")]);
    look(&mut w, &three);
    w.pass(MINUTE);
    assert_eq!(look(&mut w, &three).len(), 3);
    assert!(look(&mut w, &holds(&id, &[("cpu", "1")])).is_empty());
    w.apply_policy("quotas:\n  - {name: each, for: {user: \"*\"}, limits: {cpu: 4}}\n");
    assert!(look(&mut w, &three).is_empty());
    assert_eq!(w.job(&id).exceedances.len(), 1);
}

#[test]
fn what_is_not_seen_begins_nothing_ends_nothing_and_stops_nobody() {
    let (mut w, id) = running(EACH);
    let three = holds(&id, &[("cpu", "3")]);
    assert!(look(&mut w, &None).is_empty());
    look(&mut w, &three);
    w.pass(HOUR);
    assert!(look(&mut w, &None).is_empty());
    // Seen of an attempt before this one.
    let other = Some(BTreeMap::from([(
        "main".to_owned(),
        Seen::from([(id.clone(), (7, amounts(&[("cpu", "9")])))]),
    )]));
    assert!(look(&mut w, &other).is_empty());
    assert_eq!(w.job(&id).exceedances.len(), 1);
    assert!(w.job(&id).stop.is_none());
}

#[test]
fn longer_than_granted_is_told_and_stopped_without_any_look_at_the_cluster() {
    let yaml = "quotas:\n  - {name: each, for: {user: \"*\"}, ladder: [{when: duration, do: warn}, {when: duration, after: 1m, do: stop}]}\n";
    let (mut w, id) = running(yaml);
    w.pass(5 * MINUTE);
    assert!(look(&mut w, &None).is_empty());
    w.pass(1);
    let found = "runs longer than the 5m that it was granted";
    assert_eq!(
        look(&mut w, &None),
        [format!("exceeded: {found}"), "warned".into()]
    );
    w.pass(MINUTE);
    assert_eq!(
        look(&mut w, &None),
        [
            "stopped".to_owned(),
            format!("curb stops it: it {found} for 1m (quota each)")
        ]
    );
    assert!(w.job(&id).stop.is_some());
}

#[test]
fn a_job_without_a_duration_never_runs_too_long() {
    let yaml =
        "quotas:\n  - {name: each, for: {user: \"*\"}, ladder: [{when: duration, do: stop}]}\n";
    let mut w = World::new(yaml);
    let (id, _) = w.submit(&want("ana").cpu("1"));
    confirm(&mut w, &id);
    w.pass(1000 * HOUR);
    assert!(look(&mut w, &None).is_empty());
}

#[test]
fn a_quota_minds_what_it_limits_and_one_that_limits_nothing_minds_all() {
    let ladder = "ladder: [{when: held, do: stop}]";
    for (limits, minds) in [
        ("limits: {gpu: 4}", false),
        ("limits: {jobs: 4}", true),
        ("per_job: {cpu: 4}", true),
        ("budget: {cpu_hours: 400, per: day}", true),
        ("limits: {\"gpu:H100\": 4}", false),
    ] {
        let (mut w, id) = running(&format!(
            "quotas:\n  - {{name: q, for: everybody, {limits}, {ladder}}}\n"
        ));
        let stopped = !look(&mut w, &holds(&id, &[("cpu", "3")])).is_empty();
        assert_eq!(stopped, minds, "{limits}");
    }
}

#[test]
fn an_audited_quota_and_one_of_others_stop_nobody() {
    let audited = EACH.replace("limits", "mode: audit, limits");
    let (mut w, id) = running(&audited);
    let three = holds(&id, &[("cpu", "3")]);
    look(&mut w, &three);
    w.pass(HOUR);
    assert_eq!(
        look(&mut w, &three),
        ["warned on paper", "stopped on paper"]
    );
    assert!(w.job(&id).stop.is_none());

    let (mut w, id) = running(&EACH.replace("user: \"*\"", "user: kim"));
    w.pass(HOUR);
    assert!(look(&mut w, &holds(&id, &[("cpu", "3")])).is_empty());
}

#[test]
fn a_ladder_that_is_taken_away_lets_go() {
    let (mut w, id) = running(EACH);
    let three = holds(&id, &[("cpu", "3")]);
    look(&mut w, &three);
    w.apply_policy("quotas:\n  - {name: each, for: {user: \"*\"}, limits: {cpu: 4}}\n");
    w.pass(HOUR);
    assert_eq!(look(&mut w, &three), ["within"]);
    assert!(w.job(&id).exceedances.is_empty());
}

#[test]
fn who_is_being_stopped_already_keeps_that_reason() {
    let (mut w, id) = running(EACH);
    let three = holds(&id, &[("cpu", "3")]);
    look(&mut w, &three);
    w.apply(Event::StopRequested {
        id: id.clone(),
        by: "ana".into(),
        why: "enough".into(),
    });
    w.pass(HOUR);
    assert_eq!(look(&mut w, &three), ["warned", "stopped"]);
    assert_eq!(w.job(&id).stop.as_ref().map(|s| s.by.as_str()), Some("ana"));
}

proptest! {
    /// Whatever is seen, in whatever order, with looks that are missed: who never holds more than granted is never touched,
    /// nobody is stopped before the delay has passed since the journal said so, and a step is taken once.
    #[test]
    fn a_job_within_its_grant_is_never_touched(
        looks in prop::collection::vec((0u64..5, 0i64..20, any::<bool>()), 1..60),
    ) {
        let (mut w, id) = running(EACH);
        let mut began: Option<i64> = None;
        let mut now = 0;
        let mut stops = 0;
        for (cpus, seconds, missed) in looks {
            w.pass(seconds * SECOND);
            now += seconds;
            let seen = if missed { None } else { holds(&id, &[("cpu", &cpus.to_string())]) };
            let told = look(&mut w, &seen);
            if missed {
                prop_assert!(told.is_empty());
                continue;
            }
            if cpus <= 1 {
                prop_assert!(told.iter().all(|t| t == "within"), "{told:?}");
                began = None;
                continue;
            }
            let since = *began.get_or_insert(now);
            if told.iter().any(|t| t.starts_with("curb stops")) {
                prop_assert!(now - since >= 60);
                stops += 1;
            }
        }
        prop_assert!(stops <= 1);
        let held: Resources = w.job(&id).new.request.clone();
        prop_assert_eq!(held, amounts(&[("cpu", "1")]));
    }
}

const SHARED: &str = "job_types: {any: {max_priority: 10}}\nquotas:\n  - {name: all, for: everybody, limits: {cpu: LIMIT}, ladder: [{when: limit, do: warn}, {when: limit, after: 1h, do: stop}]}\n";

fn shared(limit: &str) -> World {
    World::new(&SHARED.replace("LIMIT", limit))
}

fn started(w: &mut World, user: &str, cpu: &str, priority: i32) -> JobId {
    let (id, _) = w.submit(&want(user).cpu(cpu).job_type("any").priority(priority));
    confirm(w, &id);
    w.pass(MINUTE);
    id
}

fn stopped(w: &World, ids: &[&JobId]) -> Vec<bool> {
    ids.iter().map(|id| w.job(id).stop.is_some()).collect()
}

#[test]
fn a_limit_lowered_under_jobs_ends_as_few_as_it_takes_the_unimportant_and_the_young_first() {
    let mut w = shared("10");
    let old = started(&mut w, "ana", "3", 0);
    let important = started(&mut w, "li", "4", 5);
    let young = started(&mut w, "kim", "3", 0);
    assert!(look(&mut w, &None).is_empty());
    w.apply_policy(&SHARED.replace("LIMIT", "7"));
    let found = "runs above the limit that everybody has now: 10 CPU run, the limit is 7 CPU";
    assert_eq!(
        look(&mut w, &None),
        [format!("exceeded: {found}"), "warned".into()]
    );
    w.pass(59 * MINUTE);
    assert!(look(&mut w, &None).is_empty());
    w.pass(MINUTE);
    assert_eq!(
        look(&mut w, &None),
        [
            "stopped".to_owned(),
            format!("curb stops it: it {found} for 1h (quota all)")
        ]
    );
    assert_eq!(
        stopped(&w, &[&old, &important, &young]),
        [false, false, true]
    );
    // What is being stopped counts as gone: nobody else is told.
    w.pass(HOUR);
    assert!(look(&mut w, &None).is_empty());
    // It takes the important one now, whoever else goes; and with that nobody else has to.
    w.apply_policy(&SHARED.replace("LIMIT", "3"));
    look(&mut w, &None);
    w.pass(HOUR);
    look(&mut w, &None);
    assert_eq!(
        stopped(&w, &[&old, &important, &young]),
        [false, true, true]
    );
    w.apply_policy(&SHARED.replace("LIMIT", "0"));
    look(&mut w, &None);
    w.pass(HOUR);
    look(&mut w, &None);
    assert_eq!(stopped(&w, &[&old]), [true]);
}

#[test]
fn who_was_chosen_but_is_not_needed_beside_a_larger_one_is_left_alone() {
    let mut w = shared("10");
    let large = started(&mut w, "ana", "8", 0);
    let small = started(&mut w, "li", "1", 0);
    w.apply_policy(&SHARED.replace("LIMIT", "2"));
    w.pass(SECOND);
    assert_eq!(look(&mut w, &None).len(), 2);
    w.pass(HOUR);
    look(&mut w, &None);
    assert_eq!(stopped(&w, &[&large, &small]), [true, false]);
}

#[test]
fn a_limit_that_is_raised_again_in_time_ends_nobody() {
    let mut w = shared("4");
    let id = started(&mut w, "ana", "4", 0);
    w.apply_policy(&SHARED.replace("LIMIT", "2"));
    assert_eq!(look(&mut w, &None).len(), 2);
    w.pass(59 * MINUTE);
    w.apply_policy(&SHARED.replace("LIMIT", "4"));
    assert_eq!(look(&mut w, &None), ["within"]);
    w.pass(HOUR);
    assert!(look(&mut w, &None).is_empty());
    assert_eq!(stopped(&w, &[&id]), [false]);
}

#[test]
fn a_window_that_closes_and_per_job_that_is_lowered_count_as_lowered_limits() {
    // By day, 2; by night there is no such limit.
    let yaml = "job_types: {any: {max_priority: 10}}\nquotas:\n  - {name: day, for: everybody, limits: {cpu: 2}, when: {hours: \"08:00-20:00\", tz: UTC}, ladder: {when: limit, do: stop}}\n";
    let mut w = World::new(yaml);
    let night = 24 * HOUR - w.moment().now.0.rem_euclid(24 * HOUR) + 22 * HOUR;
    w.pass(night);
    let id = started(&mut w, "ana", "4", 0);
    assert!(look(&mut w, &None).is_empty());
    w.pass(10 * HOUR);
    assert_eq!(look(&mut w, &None).len(), 3);
    assert_eq!(stopped(&w, &[&id]), [true]);

    let yaml = "job_types: {any: {max_priority: 10}}\nquotas:\n  - {name: one, for: everybody, per_job: {cpu: MOST}, ladder: {when: limit, do: stop}}\n";
    let mut w = World::new(&yaml.replace("MOST", "4"));
    let (large, small) = (
        started(&mut w, "ana", "4", 0),
        started(&mut w, "ana", "2", 0),
    );
    w.apply_policy(&yaml.replace("MOST", "3"));
    assert_eq!(
        look(&mut w, &None)[0],
        "exceeded: runs above what one job may have now: 4 CPU of at most 3 CPU"
    );
    assert_eq!(stopped(&w, &[&large, &small]), [true, false]);
}

#[test]
fn a_loan_within_what_the_quota_lends_is_not_above_the_limit() {
    let yaml = "job_types: {any: {max_priority: 10}}\nquotas:\n  - {name: each, for: {user: \"*\"}, limits: {cpu: 2}, borrow: {cpu: 2}, ladder: {when: limit, do: stop}}\n";
    let mut w = World::new(yaml);
    let own = started(&mut w, "ana", "2", 0);
    let lent = started(&mut w, "ana", "2", 9);
    assert!(look(&mut w, &None).is_empty());
    w.apply_policy(&yaml.replace("borrow: {cpu: 2}", "borrow: {cpu: 1}"));
    look(&mut w, &None);
    assert_eq!(stopped(&w, &[&own, &lent]), [false, true]);
}

#[test]
fn a_budget_that_is_used_up_ends_what_goes_on_using_it_and_nothing_else() {
    let yaml = "job_types: {any: {max_priority: 10}}\nquotas:\n  - {name: b, for: {user: \"*\"}, budget: {cpu_hours: 4, per: month}, ladder: [{when: budget, do: warn}, {when: budget, after: 10m, do: stop}]}\n";
    let mut w = World::new(yaml);
    let uses = started(&mut w, "ana", "2", 0);
    let other = started(&mut w, "li", "1", 0);
    w.pass(HOUR);
    assert!(look(&mut w, &None).is_empty());
    w.pass(HOUR);
    let found = "goes on though the budget of user ana is used up: 4.067 of 4 CPU-hours";
    assert_eq!(
        look(&mut w, &None),
        [format!("exceeded: {found}"), "warned".into()]
    );
    w.pass(10 * MINUTE);
    assert_eq!(look(&mut w, &None).len(), 2);
    assert_eq!(stopped(&w, &[&uses, &other]), [true, false]);
}

#[test]
fn who_is_out_of_reach_is_let_alone_and_begins_anew_afterwards() {
    let (mut w, id) = running(EACH);
    let three = holds(&id, &[("cpu", "3")]);
    look(&mut w, &three);
    w.pass(50 * SECOND);
    assert_eq!(look(&mut w, &three), ["warned"]);
    let until = w.moment().now.after(curb_core::time::Millis::HOUR);
    w.apply(Event::Exempted {
        id: id.clone(),
        until,
        by: "olga".into(),
        why: "a restore".into(),
    });
    assert_eq!(look(&mut w, &three), ["within"]);
    w.pass(HOUR - 1);
    assert!(look(&mut w, &three).is_empty());
    w.pass(1);
    assert_eq!(look(&mut w, &three).len(), 1);
    w.pass(59 * SECOND);
    assert_eq!(look(&mut w, &three), ["warned"]);
    assert!(w.job(&id).stop.is_none());
}
