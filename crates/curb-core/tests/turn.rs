//! Nobody starves: what `queue.pass_bound` promises, in the queue and at the door, and on budgets.

mod common;

use common::*;
use curb_core::decide::{Gate, When};
use curb_core::ledger::Phase;
use curb_core::subject::JobId;
use curb_core::time::Timestamp;
use proptest::prelude::*;

const SECOND: i64 = 1000;

/// Ends what is due, and notes what has started since.
struct Runs(Vec<(i64, JobId)>);

impl Runs {
    fn step(&mut self, w: &mut World) {
        self.0.sort();
        while self.0.first().is_some_and(|(t, _)| *t <= w.now) {
            let (_, id) = self.0.remove(0);
            w.end(&id);
        }
        w.run_queue();
        self.note(w);
    }

    fn note(&mut self, w: &World) {
        let new: Vec<_> = w
            .state
            .jobs()
            .filter(|j| j.grant().is_some() && !self.0.iter().any(|(_, id)| *id == j.new.id))
            .map(|j| (j.expected_end().expect("a duration").0, j.new.id.clone()))
            .collect();
        self.0.extend(new);
    }
}

/// When a job was granted, if it was.
fn granted(w: &World, id: &JobId) -> Option<i64> {
    match &w.job(id).phase {
        Phase::Ended(e) => e.granted.map(|g| g.0),
        _ => w.job(id).grant().map(|g| g.since.0),
    }
}

#[test]
fn newcomers_do_not_pass_a_job_that_has_waited_the_bound_whatever_their_share() {
    let mut w = World::new("capacity: {cpu: 4}\nqueue: {pass_bound: 5s}\n");
    w.cluster("main", "session-1", &[("cpu", "4")]);
    let mut runs = Runs(Vec::new());
    w.submit(&want("ana").cpu("2").minutes(1));
    let (ana, said) = w.submit(&want("ana").cpu("4").minutes(1));
    assert_eq!(say(&said), "queued capacity");
    let came = w.now;
    for n in 0..60 {
        w.pass(4 * SECOND);
        runs.step(&mut w);
        w.submit(&want(&format!("fresh-{n}")).cpu("1").minutes(1));
        runs.note(&w);
    }
    let waited = granted(&w, &ana).expect("it has started") - came;
    assert!(
        waited <= 5 * SECOND + MINUTE + 4 * SECOND,
        "{} s",
        waited / SECOND
    );
}

#[test]
fn a_low_priority_is_not_passed_for_ever_either() {
    let yaml = "capacity: {cpu: 1}\nqueue: {pass_bound: 10m}\njob_types:\n  low: {priority: 0}\n  high: {priority: 10}\n";
    let mut w = World::new(yaml);
    w.cluster("main", "session-1", &[("cpu", "1")]);
    let mut runs = Runs(Vec::new());
    w.submit(&want("li").cpu("1").minutes(1).job_type("high"));
    let (low, _) = w.submit(&want("ana").cpu("1").minutes(1).job_type("low"));
    runs.note(&w);
    for minute in 0..20 {
        w.submit(&want("li").cpu("1").minutes(1).job_type("high"));
        w.pass(MINUTE);
        runs.step(&mut w);
        assert_eq!(granted(&w, &low).is_some(), minute >= 9, "minute {minute}");
    }
}

#[test]
fn who_is_served_all_the_time_does_not_go_first_for_having_submitted_early() {
    // Ana put a hundred jobs in long ago and they run one after the other; li comes, and gets a turn by fair share.
    let mut w = World::new("capacity: {cpu: 1}\nqueue: {pass_bound: 10m}\n");
    w.cluster("main", "session-1", &[("cpu", "1")]);
    let mut runs = Runs(Vec::new());
    for _ in 0..100 {
        w.submit(&want("ana").cpu("1").minutes(1));
    }
    runs.note(&w);
    for _ in 0..30 {
        w.pass(MINUTE);
        runs.step(&mut w);
    }
    let (li, _) = w.submit(&want("li").cpu("1").minutes(1));
    w.pass(MINUTE);
    runs.step(&mut w);
    assert!(w.holds(&li), "ana has had thirty turns");
}

#[test]
fn a_guarantee_is_kept_from_nobody_by_one_who_waits() {
    let yaml = "capacity: {cpu: 4}\nqueue: {pass_bound: 1m}\nteams: {serving: {members: [kim]}}\nquotas:\n  - {name: serving, for: {team: serving}, guarantee: {cpu: 1}}\n";
    let mut w = World::new(yaml);
    w.cluster("main", "session-1", &[("cpu", "4")]);
    w.submit(&want("li").cpu("2").hours(5));
    let (ana, _) = w.submit(&want("ana").cpu("3").hours(1));
    w.pass(HOUR);
    assert!(w.queued(&ana));
    let (kim, said) = w.submit(&want("kim").cpu("1").hours(1));
    assert!(w.holds(&kim), "{}", say(&said));
}

#[test]
fn a_job_is_not_passed_on_a_budget_that_both_need() {
    let yaml = "capacity: {cpu: 4}\nquotas:\n  - {name: each, for: {user: \"*\"}, budget: {cpu_hours: 3, per: day}}\n";
    let mut w = World::new(yaml);
    w.cluster("main", "session-1", &[("cpu", "4")]);
    let (block, _) = w.submit(&want("li").cpu("3").minutes(30));
    let (first, _) = w.submit(&want("ana").cpu("4").minutes(30));
    assert!(w.queued(&first), "the cluster is full");
    let (small, _) = w.submit(&want("ana").cpu("1").minutes(30));
    assert!(w.holds(&small), "there is enough for both");
    let (second, said) = w.submit(&want("ana").cpu("1").hours(1));
    assert_eq!(say(&said), "queued capacity");
    let (tiny, said) = w.submit(&want("ana").cpu("500m").hours(2));
    assert!(w.queued(&tiny), "{}", say(&said));
    w.pass(30 * MINUTE);
    assert!(w.end_and_run(&small).is_empty());
    assert!(
        w.queued(&second) && w.queued(&tiny),
        "there is room on the cluster, but the first needs that of the budget"
    );
    assert_eq!(w.end_and_run(&block), [first]);
    assert!(w.queued(&second) && w.queued(&tiny));
}

#[test]
fn what_the_budget_has_for_all_is_kept_from_nobody() {
    let yaml = "capacity: {cpu: 4}\nquotas:\n  - {name: each, for: {user: \"*\"}, budget: {cpu_hours: 3, per: day}}\n";
    let mut w = World::new(yaml);
    w.cluster("main", "session-1", &[("cpu", "4")]);
    w.submit(&want("li").cpu("3").minutes(30));
    let (first, _) = w.submit(&want("ana").cpu("2").minutes(30));
    let (second, said) = w.submit(&want("ana").cpu("1").minutes(30));
    assert!(w.queued(&first) && w.holds(&second), "{}", say(&said));
}

#[test]
fn a_job_that_waits_for_its_budget_keeps_nothing_from_others() {
    let yaml = "capacity: {cpu: 4, gpu: 4}\nqueue: {pass_bound: 1m}\nteams: {t: {members: [ana, li]}}\nquotas:\n  - {name: team, for: {team: t}, limits: {cpu: 4}, budget: {gpu_hours: 2, per: day}}\n";
    let mut w = World::new(yaml);
    w.cluster("main", "session-1", &[("cpu", "4"), ("gpu", "4")]);
    let (used, _) = w.submit(&want("ana").gpu("1").hours(1));
    let (waits, said) = w.submit(&want("ana").cpu("4").gpu("2").hours(1));
    assert_eq!(say(&said), "queued budget");
    w.pass(HOUR);
    w.end(&used);
    let (li, said) = w.submit(&want("li").cpu("4").hours(1));
    assert!(w.holds(&li) && w.queued(&waits), "{}", say(&said));
}

#[test]
fn positions_tell_who_goes_first() {
    let mut w = World::new("capacity: {cpu: 4}\nqueue: {pass_bound: 5m}\n");
    w.cluster("main", "session-1", &[("cpu", "4")]);
    w.submit(&want("ana").cpu("4").hours(9));
    let (ana, _) = w.submit(&want("ana").cpu("4").minutes(1));
    let (li, _) = w.submit(&want("li").cpu("4").minutes(1));
    let place = |w: &World, id: &JobId| {
        let moment = w.moment();
        let one = curb_core::decide::position(&w.state, &moment, w.job(id));
        let all = curb_core::decide::Places::of(&w.state, &moment);
        assert_eq!(one, all.get(w.job(id)));
        one.map(|p| (p.position, p.of))
    };
    assert_eq!(
        (place(&w, &ana), place(&w, &li)),
        (Some((2, 2)), Some((1, 2)))
    );
    w.pass(6 * MINUTE);
    assert_eq!(
        (place(&w, &ana), place(&w, &li)),
        (Some((1, 2)), Some((2, 2)))
    );
    let (kim, _) = w.submit(&want("kim").cpu("4").minutes(1));
    assert_eq!(place(&w, &kim), Some((3, 3)));
}

/// Policies of different kinds; in all of them ana's job can fit.
const POLICIES: [&str; 5] = [
    "",
    "quotas:\n  - {name: each-user, for: {user: \"*\"}, limits: {cpu: 4}}\n",
    "quotas:\n  - {name: each-user, for: {user: \"*\"}, limits: {cpu: 4}}\n  - {name: all, for: everybody, limits: {cpu: 5, jobs: 4}}\n",
    "teams: {serving: {members: [kim]}}\nquotas:\n  - {name: serving, for: {team: serving}, guarantee: {cpu: 2}}\n",
    "quotas:\n  - {name: all, for: everybody, limits: {cpu: 4}, borrow: {cpu: 2}}\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    /// The bound: who could fit waits at most `pass_bound`, and then until what runs has ended three times over.
    #[test]
    fn a_stream_of_newcomers_delays_nobody_past_the_bound(
        kind in 0usize..5,
        cpu in 1u64..=4,
        bound in 1i64..6,
        every in 2i64..30,
        low in any::<bool>(),
        dice in proptest::collection::vec((1u64..=2, 1u64..=5), 40..41),
    ) {
        let longest = 5;
        let yaml = format!(
            "capacity: {{cpu: 6}}\nqueue: {{pass_bound: {bound}m}}\njob_types: {{low: {{}}, high: {{priority: 5}}}}\n{}",
            POLICIES[kind]
        );
        let mut w = World::new(&yaml);
        w.cluster("main", "session-1", &[("cpu", "6")]);
        let mut runs = Runs(Vec::new());
        // Ana has used the cluster, and it is full.
        w.submit(&want("ana").cpu("3").minutes(longest).job_type("low"));
        for n in 0..3 {
            w.submit(&want(&format!("early-{n}")).cpu("1").minutes(longest).job_type("high"));
        }
        runs.note(&w);
        let (ana, said) = w.submit(&want("ana").cpu(&cpu.to_string()).minutes(longest).job_type("low"));
        prop_assert!(!say(&said).starts_with("refused"), "{}", say(&said));
        let came = w.now;
        let most = bound * MINUTE + 3 * longest as i64 * MINUTE + every * SECOND;
        let mut n = 0;
        while granted(&w, &ana).is_none() {
            prop_assert!(w.now - came <= most, "{} s of {} s", (w.now - came) / SECOND, most / SECOND);
            w.pass(every * SECOND);
            runs.step(&mut w);
            let (cpu, minutes) = dice[n % dice.len()];
            let user = if n % 3 == 0 { "kim".to_owned() } else { format!("fresh-{n}") };
            let kind = if low { "low" } else { "high" };
            w.submit(&want(&user).cpu(&cpu.to_string()).minutes(minutes).job_type(kind));
            runs.note(&w);
            n += 1;
        }
    }
}

fn expected(w: &World, id: &JobId) -> Option<i64> {
    let why = curb_core::decide::why_waiting(&w.state, id, &w.moment()).expect("it waits");
    assert!(why.expected.is_some() != why.unknown.is_some());
    why.expected.map(|t| t.0 - w.now)
}

#[test]
fn expected_starts_respect_those_ahead() {
    let mut w = World::new("capacity: {cpu: 4}\n");
    w.cluster("main", "session-1", &[("cpu", "4")]);
    w.submit(&want("ana").cpu("4").minutes(1));
    let waits: Vec<JobId> = (0..13)
        .map(|_| w.submit(&want("ana").cpu("4").minutes(1)).0)
        .collect();
    for (n, id) in (1..).zip(&waits) {
        assert_eq!(expected(&w, id), Some(n * MINUTE));
    }
    let next = w.explain(&want("ana").cpu("4").minutes(1));
    assert_eq!(next.expected.map(|t| t.0 - w.now), Some(14 * MINUTE));
    let all = curb_core::decide::Waits::of(&w.state, &w.moment());
    let last = all
        .why(&w.state, &waits[12], &w.moment())
        .expect("waits")
        .finish();
    assert_eq!(last.expected.map(|t| t.0 - w.now), Some(13 * MINUTE));
}

#[test]
fn whoever_decides_does_not_run_the_queue_ahead_and_runs_it_once_for_all_that_wait() {
    let mut w = World::new("capacity: {cpu: 4}\n");
    w.cluster("main", "session-1", &[("cpu", "4")]);
    let waits: Vec<JobId> = (0..14)
        .map(|_| w.submit(&want("ana").cpu("4").minutes(1)).0)
        .skip(1)
        .collect();
    let moment = w.moment();
    let begin = |id| curb_core::decide::begin_why(&w.state, id, &moment).expect("it waits");
    let (first, last) = (begin(&waits[0]), begin(&waits[12]));
    assert!(first.is_long() && last.is_long(), "nothing is run yet");
    let told = first.clone().finish_without("busy");
    assert_eq!(
        (told.expected, told.unknown.as_deref()),
        (None, Some("busy"))
    );
    assert!(first.finish().expected.is_some());
    assert!(!last.is_long(), "it was run for all of them");
    let told = last.finish_without("busy");
    assert_eq!(told.expected.map(|t| t.0 - w.now), Some(13 * MINUTE));
}

#[test]
fn what_cannot_be_said_is_not_said() {
    let mut w = World::new("capacity: {cpu: 4}\n");
    w.cluster("main", "session-1", &[("cpu", "4")]);
    let (running, _) = w.submit(&want("ana").cpu("4"));
    let (id, _) = w.submit(&want("ana").cpu("4").minutes(1));
    assert_eq!(expected(&w, &id), None, "who runs did not say for how long");
    w.end_and_run(&running);
    let (behind, _) = w.submit(&want("ana").cpu("4").minutes(1));
    assert_eq!(expected(&w, &behind), Some(MINUTE));
    w.pass(2 * MINUTE);
    assert_eq!(expected(&w, &behind), None, "it is past its declared end");
    w.gates.insert("main".into(), curb_core::decide::Gate::Down);
    let why = curb_core::decide::why_waiting(&w.state, &behind, &w.moment()).expect("it waits");
    assert_eq!(
        why.unknown.as_deref(),
        Some("its cluster cannot be reached")
    );
}

#[test]
fn lent_capacity_that_is_taken_back_is_counted_on() {
    let yaml = "capacity: {cpu: 4}\nteams:\n  a: {members: [ana]}\n  b: {members: [li]}\nquotas:\n  - {name: a, for: {team: a}, limits: {cpu: 2}, borrow: {cpu: 2}, reclaim: {stop_after: 20m}}\n  - {name: b, for: {team: b}, limits: {cpu: 2}}\n";
    let mut w = World::new(yaml);
    w.cluster("main", "session-1", &[("cpu", "4")]);
    w.submit(&want("ana").cpu("2").hours(9));
    w.submit(&want("ana").cpu("2").hours(9));
    let (li, said) = w.submit(&want("li").cpu("2").hours(1));
    assert!(w.queued(&li), "{}", say(&said));
    assert_eq!(expected(&w, &li), Some(20 * MINUTE));
}

#[test]
fn an_expected_start_is_not_earlier_than_the_turn_that_pacing_gives() {
    // One start in two seconds after five at once, as the server's default is.
    let mut w = World::new("capacity: {cpu: 100}\n");
    let mut pace = curb_core::decide::Pace::new(500, 5);
    let mut next = None;
    for _ in 0..5 {
        assert_eq!(next, None);
        pace.started(w.moment().now);
        next = pace.next(w.moment().now);
    }
    let paced = curb_core::decide::Gate::Paced {
        next: next.expect("the burst is used up"),
    };
    w.gates.insert("main".into(), paced);
    w.paces.insert("main".into(), pace);
    let waits: Vec<JobId> = (0..55)
        .map(|_| w.submit(&want("ana").cpu("1").hours(9)).0)
        .collect();
    for (position, id) in (1..).zip(&waits) {
        assert_eq!(expected(&w, id), Some(position * 2000), "{position}");
    }
    let comer = w.explain(&want("li").cpu("1").hours(9));
    let at = comer.expected.map(|t| t.0 - w.now);
    assert!((2000..=56 * 2000).contains(&at.expect("a start")), "{at:?}");
    // After a while without starts as many may come at once as the burst has.
    let (far, id) = (w.now + HOUR, &waits[5]);
    w.now = far;
    w.gates.clear();
    assert_eq!(expected(&w, &waits[4]), Some(0));
    assert_eq!(expected(&w, id), Some(2000));
}

#[test]
fn of_those_that_wait_for_the_pace_only_the_first_is_told_the_next_start() {
    let mut w = World::new("capacity: {cpu: 100}\n");
    w.cluster("lab", "session-1", &[("cpu", "9")]);
    let next = Timestamp(w.now + SECOND);
    for cluster in ["main", "lab"] {
        w.gates.insert(cluster.into(), Gate::Paced { next });
    }
    let alone = w.explain(&want("ana").cpu("1"));
    assert_eq!(alone.violations[0].when, When::At(next), "nobody is before");
    let waits: Vec<JobId> = (0..3).map(|_| w.submit(&want("ana").cpu("1")).0).collect();
    let whens = |w: &World| -> Vec<When> {
        let of = |id| curb_core::decide::why_waiting(&w.state, id, &w.moment()).expect("it waits");
        waits
            .iter()
            .map(|id| of(id).violations[0].when.clone())
            .collect()
    };
    assert_eq!(whens(&w), [When::At(next), When::Turn, When::Turn]);
    let all = curb_core::decide::Waits::of(&w.state, &w.moment());
    let listed = waits.iter().map(|id| all.why(&w.state, id, &w.moment()));
    let listed = listed.map(|begun| begun.expect("it waits").finish().violations[0].when.clone());
    assert_eq!(
        listed.collect::<Vec<_>>(),
        whens(&w),
        "a list says the same"
    );
    let comer = w.explain(&want("li").cpu("1"));
    assert_eq!(comer.violations[0].when, When::Turn);
    assert!(
        w.text(&want("li").cpu("1"), "li")
            .contains("once those ahead have started")
    );
    let elsewhere = w.explain(&want("li").cpu("1").on("lab"));
    assert_eq!(
        elsewhere.violations[0].when,
        When::At(next),
        "of another cluster"
    );
}

/// What a waiting job is told instead of a start.
fn unknown(w: &World, id: &JobId) -> Option<String> {
    let why = curb_core::decide::why_waiting(&w.state, id, &w.moment()).expect("it waits");
    why.unknown
}

#[test]
fn who_waits_alone_is_not_told_that_others_are_ahead() {
    let yaml =
        "quotas:\n  - {name: b, for: {user: ana}, budget: {cpu_hours: 2, per: rolling 1h}}\n";
    let mut w = World::new(yaml);
    w.submit(&want("ana").cpu("2").minutes(30));
    w.pass(2 * HOUR);
    let (id, said) = w.submit(&want("ana").cpu("2").hours(1));
    assert_eq!(say(&said), "queued budget");
    assert_eq!(
        unknown(&w, &id).as_deref(),
        Some("some that run are past their declared end")
    );
}

#[test]
fn of_more_jobs_than_are_looked_at_the_first_are_told_their_start() {
    let mut w = World::new("capacity: {cpu: 4}\nqueue: {pass_bound: 30d}\n");
    w.cluster("main", "session-1", &[("cpu", "4")]);
    w.submit(&want("ana").cpu("4").minutes(1));
    let waits: Vec<JobId> = (0..597)
        .map(|n| want("ana").cpu("4").minutes(1).priority(-(n % 2)))
        .map(|one| w.submit(&one).0)
        .collect();
    // The even ones go first, and 199 of each of the two kinds are looked at.
    let (first, second): (Vec<_>, Vec<_>) = (0..).zip(&waits).partition(|(n, _)| n % 2 == 0);
    for (n, (_, id)) in (1..=199).zip(&first).step_by(9) {
        assert_eq!(expected(&w, id), Some(n * MINUTE), "{n}");
    }
    for (_, id) in [first[199], first[298], second[0], second[297]] {
        assert_eq!(
            unknown(&w, id).as_deref(),
            Some("more jobs are ahead than are looked at")
        );
    }
    // Who comes now stands behind them all.
    let comer = w.explain(&want("ana").cpu("4").minutes(1).priority(-1));
    assert_eq!(comer.expected, None);
    let before_all = w.explain(&want("li").cpu("4").minutes(1));
    assert_eq!(before_all.expected.map(|t| t.0 - w.now), Some(MINUTE));
}
