//! One verdict: what can never fit is refused as such whatever runs, and what can fit some day is not.

mod common;

use common::*;
use curb_core::decide::{Verdict, When};
use curb_core::ledger::{Event, Override};
use curb_core::policy::Selector;
use curb_core::time::Timestamp;
use proptest::prelude::*;

fn lower(w: &mut World, cpu: i64, jobs: i64, ms: i64) {
    w.apply(Event::OverrideAdded(Override {
        id: 13,
        selector: Selector::default(),
        quota: Some("each".into()),
        amounts: [(curb_core::resource::Resource::Cpu, cpu * 1000)].into(),
        jobs,
        until: Timestamp(w.now + ms),
        why: "a test".into(),
        by: "root".into(),
    }));
}

#[test]
fn an_override_that_ends_makes_a_job_wait_and_refuses_nothing() {
    let yaml = "quotas:\n  - {name: each, for: {user: \"*\"}, limits: {cpu: 3, jobs: 1}}\n";
    let mut w = World::new(yaml);
    lower(&mut w, -2, -1, 10_000);
    let text = w.text(&want("ana").cpu("2"), "ana");
    assert!(text.contains("in 10s), when override 13 ends"), "{text}");
    let (id, said) = w.submit(&want("ana").cpu("2"));
    assert!(say(&said).starts_with("queued"), "{}", say(&said));
    w.pass(9_999);
    w.run_queue();
    assert!(w.queued(&id));
    w.pass(1);
    w.run_queue();
    assert!(w.holds(&id));
    assert!(w.explain(&want("ana").cpu("4")).verdict == Verdict::AfterPolicyChange);
}

#[test]
fn an_override_that_ends_before_the_jobs_that_hold_does_is_what_is_waited_for() {
    let yaml = "quotas:\n  - {name: each, for: {user: \"*\"}, limits: {cpu: 3}}\n";
    let mut w = World::new(yaml);
    w.submit(&want("ana").cpu("1").hours(1));
    lower(&mut w, -1, 0, MINUTE);
    let e = w.explain(&want("ana").cpu("2"));
    assert_eq!(e.violations[0].when, When::At(Timestamp(w.now + MINUTE)));
    w.submit(&want("ana").cpu("1").minutes(30));
    let e = w.explain(&want("ana").cpu("2"));
    let half = When::JobsEnd(Some(Timestamp(w.now + 30 * MINUTE)));
    assert_eq!(e.violations[0].when, half);
}

#[test]
fn what_a_guarantee_never_leaves_is_refused_idle_or_busy() {
    let yaml = "capacity: {cpu: 4}\nteams: {serving: {members: [kim]}}\nquotas:\n  - {name: serving, for: {team: serving}, guarantee: {cpu: 1}}\n";
    let mut w = World::new(yaml);
    w.cluster("main", "session-1", &[("cpu", "4")]);
    let want_all = want("ana").cpu("4").hours(1);
    assert_eq!(w.explain(&want_all).verdict, Verdict::AfterPolicyChange);
    w.submit(&want("li").cpu("1").hours(1));
    assert_eq!(w.explain(&want_all).verdict, Verdict::AfterPolicyChange);
    w.submit(&want("kim").cpu("1").hours(1));
    assert_eq!(w.explain(&want_all).verdict, Verdict::AfterPolicyChange);
}

#[test]
fn what_a_guarantee_never_leaves_is_told_without_what_is_held() {
    let yaml = "capacity: {cpu: 10}\nteams: {bg: {members: [kim]}}\nquotas:\n  - {name: bg, for: {team: bg}, guarantee: {cpu: 3}}\n";
    let mut w = World::new(yaml);
    w.submit(&want("li").cpu("6"));
    let told = w.text(&want("ana").cpu("8"), "ana");
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        told.contains("keeps 3 CPU, which leaves 7 CPU in all; 8 CPU asked, over by 1 CPU."),
        "{told}"
    );
    assert!(!told.contains("0 CPU held"), "{told}");
    let found = w.explain(&want("ana").cpu("8")).violations;
    let guarantee = found.iter().find(|v| v.code.as_str() == "guarantee");
    assert_eq!(guarantee.expect("it is in the way").used, None);
}

#[test]
fn who_waits_for_a_guarantee_is_told_whose_and_who_holds_the_rest() {
    let yaml = "capacity: {cpu: 4}\nteams: {serving: {members: [kim]}}\nquotas:\n  - {name: serving, for: {team: serving}, guarantee: {cpu: 1}}\n";
    let mut w = World::new(yaml);
    w.cluster("main", "session-1", &[("cpu", "4")]);
    w.submit(&want("li").cpu("2").hours(1));
    let e = w.explain(&want("ana").cpu("2"));
    let v = &e.violations[0];
    assert_eq!(v.code, curb_core::decide::Code::Guarantee);
    assert_eq!(v.when, When::JobsEnd(Some(Timestamp(w.now + HOUR))));
    assert_eq!(v.holders.len(), 1);
    let text = w.text(&want("ana").cpu("2"), "ana");
    assert!(
        text.contains("the guarantee of serving keeps 1 CPU"),
        "{text}"
    );
}

const POLICY: &str = "\
capacity: {cpu: 8, gpu: 4}
teams:
  vision: {org: research, members: [ana, li]}
  serving: {org: product, members: [kim]}
quotas:
  - {name: each-user, for: {user: \"*\"}, limits: {cpu: 6, jobs: 3}, per_job: {gpu: 3}, budget: {cpu_hours: 20, per: day}}
  - {name: research, for: {org: research}, limits: {cpu: 5}, borrow: {cpu: 2}}
  - {name: product, for: {org: product}, guarantee: {cpu: 2, gpu: 1}}
  - {name: nights, for: everybody, limits: {gpu: 2}, when: {hours: \"20:00-23:00\"}}
";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_verdict_never_is_the_same_under_any_load(
        load in proptest::collection::vec((0usize..3, 1u64..6, 0u64..3, 1u64..12, 0i64..180), 0..12),
        user in 0usize..3,
        cpu in 1u64..9,
        gpu in 0u64..5,
        hours in proptest::option::of(1u64..30),
    ) {
        let users = ["ana", "li", "kim"];
        let mut ask = want(users[user]).cpu(&cpu.to_string()).gpu(&gpu.to_string());
        if let Some(h) = hours {
            ask = ask.hours(h);
        }
        let hopeless = |w: &World| {
            matches!(w.explain(&ask).verdict, Verdict::Never | Verdict::AfterPolicyChange)
        };
        let world = || {
            let mut w = World::new(POLICY);
            w.cluster("main", "session-1", &[("cpu", "8"), ("gpu", "4")]);
            w
        };
        let mut busy = world();
        for (user, cpu, gpu, hours, minutes) in load {
            busy.submit(&want(users[user]).cpu(&cpu.to_string()).gpu(&gpu.to_string()).hours(hours));
            busy.pass(minutes * MINUTE);
            let mut idle = world();
            idle.now = busy.now;
            prop_assert_eq!(hopeless(&idle), hopeless(&busy));
        }
    }
}

#[test]
fn the_numbers_of_a_budget_add_up_as_they_are_shown() {
    let yaml = "quotas:\n  - {name: each, for: {user: \"*\"}, budget: {cpu_hours: 2, per: day}}\n";
    let mut w = World::new(yaml);
    w.submit(&want("ana").cpu("100m").minutes(6));
    w.pass(6 * MINUTE);
    w.end(&curb_core::subject::JobId::parse("job-1").expect("an id"));
    let e = w.explain(&want("ana").cpu("2").hours(1));
    let numbers = e.violations[0].numbers().map(|n| n.expect("a number"));
    assert_eq!(
        numbers.join(", "),
        "2 CPU-hours, 0.01 CPU-hours, 2 CPU-hours, 0.01 CPU-hours"
    );
    // Two minutes are a thirtieth of an hour: what is used is rounded up, or nothing would be over.
    let mut w = World::new(yaml);
    w.submit(&want("ana").cpu("1m").minutes(2));
    w.pass(2 * MINUTE);
    w.end(&curb_core::subject::JobId::parse("job-1").expect("an id"));
    let e = w.explain(&want("ana").cpu("2").hours(1));
    let numbers = e.violations[0].numbers().map(|n| n.expect("a number"));
    assert_eq!(
        numbers.join(", "),
        "2 CPU-hours, 0.001 CPU-hours, 2 CPU-hours, 0.001 CPU-hours"
    );
}

#[test]
fn what_would_fit_now_can_be_asked_for_as_it_is_shown() {
    let mut w = World::new("{}\n".replace("{}", "capacity: {memory: 64GB}").as_str());
    w.cluster("main", "session-1", &[("memory", "64GB")]);
    w.submit(&want("li").of("memory", "39999999999"));
    let fits = w
        .explain(&want("ana").of("memory", "60GiB"))
        .fits_now
        .expect("something fits");
    let shown = fits.to_string();
    let text = shown
        .strip_suffix(" memory")
        .expect("memory")
        .replace(' ', "");
    let (id, _) = w.submit(&want("ana").of("memory", &text));
    assert!(w.holds(&id), "{shown}");
}

#[test]
fn gpus_of_two_models_are_told_apart_where_there_are_none() {
    let mut w = World::new("capacity: {cpu: 4}\n");
    w.cluster("main", "session-1", &[("cpu", "4")]);
    let text = w.text(&want("ana").of("gpu:H100", "2"), "ana");
    assert!(text.contains("asked: 2 H100 GPU\n"), "{text}");
    assert!(
        text.contains("no H100 GPU;") && text.contains("no GPU;"),
        "{text}"
    );
}

proptest! {
    #[test]
    fn numbers_of_budgets_always_add_up(used in 0u128..1 << 60, asked in 1u128..1 << 60, limit in 0u128..1 << 60) {
        use curb_core::decide::{Quantity, budget_numbers};
        prop_assume!(used + asked > limit);
        let resource = curb_core::resource::Resource::Cpu;
        let of = |amount| Some(Quantity::ResourceTime { resource: resource.clone(), amount });
        let w = World::new("capacity: {cpu: 1}\n");
        let mut v = w.explain(&want("ana").cpu("9")).violations[0].clone();
        (v.limit, v.used, v.asked) = (of(limit), of(used), of(asked));
        v.over = of(used + asked - limit);
        let micro = |text: &str| {
            let number = text.split(' ').next().expect("a number");
            let (whole, part) = number.split_once('.').unwrap_or((number, ""));
            let part = format!("{part:0<6}");
            whole.parse::<u128>().expect("digits") * 1_000_000 + part.parse::<u128>().expect("digits")
        };
        let [l, u, a, o] = v.numbers().map(|n| micro(&n.expect("a number")));
        prop_assert_eq!(u + a - l, o);
        prop_assert!(o > 0);
        let (u, l, left) = budget_numbers(&resource, used, limit);
        prop_assert_eq!(micro(&left), micro(&l).saturating_sub(micro(&u)));
    }
}
