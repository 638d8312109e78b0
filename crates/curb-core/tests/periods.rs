//! When a job that runs on into a budget's next periods is said to fit is when it does.

mod common;

use common::*;
use curb_core::decide::{Submitted, Violation, When, why_waiting};
use curb_core::subject::JobId;
use curb_core::time::Timestamp;
use proptest::prelude::*;

const EVENING: i64 = NOON + 8 * HOUR;

fn daily(more: &str) -> World {
    let mut w = World::new(&format!(
        "quotas:\n  - {{name: each, for: {{user: \"*\"}}, budget: {{cpu_hours: 24, per: day}}{more}}}\n"
    ));
    w.now = EVENING;
    w
}

fn in_the_way(reply: &Submitted) -> &Violation {
    match reply {
        Submitted::Queued(e) | Submitted::Refused(e) => &e.violations[0],
        other => panic!("{other:?}"),
    }
}

#[test]
fn where_tomorrow_has_not_enough_left_the_numbers_are_tomorrows_and_it_is_said() {
    let mut w = daily("");
    w.submit(&want("ana").cpu("1").hours(24));
    let ask = want("ana").cpu("4").hours(6);
    let told = w.text(&ask, "ana");
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    let numbers = "20 CPU-hours used or promised of the day from 2026-11-23, 8 CPU-hours asked, over by 4 CPU-hours.";
    assert!(told.contains(numbers), "{told}");
    // By hand: on Monday 20 are A's, 4 are left: an hour of it before midnight, and five on Tuesday.
    let at = Timestamp(EVENING + 27 * HOUR);
    let said = w.submit(&ask).1;
    let told = in_the_way(&said);
    assert_eq!(
        (&told.when, told.period),
        (&When::At(at), Some(Timestamp(EVENING + 4 * HOUR)))
    );
}

#[test]
fn who_is_refused_and_comes_again_then_is_taken_and_not_a_moment_earlier() {
    let mut w = daily(", above: reject");
    let (a, _) = w.submit(&want("ana").cpu("1").hours(24));
    let ask = want("ana").cpu("4").hours(6);
    let said = w.submit(&ask).1;
    let When::At(at) = in_the_way(&said).when else {
        panic!("{said:?}");
    };
    w.now = EVENING + 24 * HOUR;
    w.end(&a);
    w.now = at.0 - 1;
    assert!(matches!(w.submit(&ask).1, Submitted::Refused(_)));
    w.now = at.0;
    assert_eq!(say(&w.submit(&ask).1), "admitted");
}

#[test]
fn who_waits_starts_then_and_expects_to() {
    let mut w = daily("");
    let (a, _) = w.submit(&want("ana").cpu("1").hours(24));
    let (id, said) = w.submit(&want("ana").cpu("4").hours(6));
    let When::At(at) = in_the_way(&said).when else {
        panic!("{said:?}");
    };
    let expected = |w: &World| why_waiting(&w.state, &id, &w.moment()).and_then(|e| e.expected);
    assert_eq!(expected(&w), Some(at));
    w.now = EVENING + 24 * HOUR;
    w.end(&a);
    let next = curb_core::decide::next_change(&w.state, &w.moment());
    assert_eq!(next, Some(at), "the queue is looked at then");
    w.now = at.0;
    assert_eq!(w.run_queue(), [id]);
}

#[test]
fn a_budget_that_is_nearly_used_up_fits_as_soon_as_little_enough_of_the_day_is_left() {
    let mut w = daily("");
    w.now = NOON;
    let (a, _) = w.submit(&want("ana").cpu("5").hours(4));
    let said = w.submit(&want("ana").cpu("2").hours(8)).1;
    let told = in_the_way(&said);
    assert_eq!(
        told.when,
        When::At(Timestamp(NOON + 10 * HOUR)),
        "two hours for the last four"
    );
    assert_eq!(told.period, None, "it is today that has not enough");
    w.end(&a);
}

fn past(w: &mut World, ids: &[JobId], until: i64) {
    let mut ends: Vec<(i64, &JobId)> = ids
        .iter()
        .filter_map(|id| Some((w.job(id).expected_end()?.0, id)))
        .collect();
    ends.sort();
    for (end, id) in ends {
        if end <= until && w.holds(id) {
            w.now = end;
            w.end(id);
        }
    }
    w.now = until;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Against asking at every quarter of an hour: none before the moment that was told would do, and that one does.
    #[test]
    fn the_moment_that_is_told_is_the_first_at_which_the_same_is_taken(
        running in proptest::collection::vec((1u64..5, 1u64..40), 0..5),
        cpu in 1u64..8, hours in 1u64..60,
        begin in 0i64..24,
        tokyo in any::<bool>(),
    ) {
        let zone = if tokyo { "Asia/Tokyo" } else { "Europe/Berlin" };
        let mut w = World::new(&format!(
            "timezone: {zone}\nquotas:\n  - {{name: each, for: {{user: \"*\"}}, above: reject, budget: [{{cpu_hours: 40, per: day}}, {{cpu_hours: 200, per: week}}]}}\n"
        ));
        w.now = NOON + begin * HOUR;
        let ids: Vec<JobId> = running
            .iter()
            .filter_map(|(cpu, hours)| {
                let (id, said) = w.submit(&want("ana").cpu(&cpu.to_string()).hours(*hours));
                (say(&said) == "admitted").then_some(id)
            })
            .collect();
        let ask = want("ana").cpu(&cpu.to_string()).hours(hours);
        let told = w.explain(&ask);
        let at: Vec<_> = told.violations.iter().map(|v| v.when.clone()).collect();
        // One budget alone: of two the moments are each the first of its own.
        let [When::At(at)] = at.as_slice() else { return Ok(()) };
        let now = w.now;
        let mut t = now;
        while t < at.0 {
            let mut then = World::new("mode: enforce\n");
            (then.state, then.now) = (w.state.clone(), w.now);
            past(&mut then, &ids, t);
            let said = then.explain(&ask);
            prop_assert!(said.refused, "at {} of {}", (t - now) / MINUTE, (at.0 - now) / MINUTE);
            t += 15 * MINUTE;
        }
        past(&mut w, &ids, at.0);
        let said = w.explain(&ask);
        let same: Vec<_> = said.violations.iter().filter(|v| v.note == told.violations[0].note).collect();
        prop_assert!(same.is_empty(), "{same:?}");
    }
}
