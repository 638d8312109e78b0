//! What "would fit now" does fit now: it can be asked for as it is shown, and starts, whatever runs and waits.

mod common;

use common::*;
use curb_core::decide::Submitted;
use curb_core::resource::{Resource, Resources};
use proptest::prelude::*;

/// A request that is charged exactly this, naming GPUs once, or not at all.
fn asking_for(w: &World, like: &Want, fits: &Resources) -> Want {
    let of_gpus = |r: &Resource| matches!(r, Resource::Gpu | Resource::GpuModel(_));
    let gpus = fits.iter().map(|(r, _)| r.clone()).filter(of_gpus);
    let names: Vec<Option<Resource>> = std::iter::once(None).chain(gpus.map(Some)).collect();
    names
        .iter()
        .map(|named| {
            let mut want = like.clone();
            let said = fits.iter();
            let said = said.filter(|(r, _)| !of_gpus(r) || Some(*r) == named.as_ref());
            want.ask.declared = said.map(|(r, a)| (r.clone(), a)).collect();
            want
        })
        .find(|want| w.submission(want).request == *fits)
        .unwrap_or_else(|| panic!("{fits} cannot be asked for"))
}

/// Whether it starts at once, if it is submitted now.
fn starts(w: &World, want: &Want) -> bool {
    let mut then = World::new("");
    then.state = w.state.clone();
    then.now = w.now;
    let (id, reply) = then.submit(&want.clone().id("smaller"));
    match reply {
        Submitted::Admitted => true,
        // Who borrows while others wait is lent it by the queue.
        Submitted::Queued(_) => !then.queued(&id),
        _ => false,
    }
}

#[test]
fn what_is_kept_for_a_job_that_may_not_be_passed_any_more_does_not_fit() {
    let mut w = World::new("queue: {pass_bound: 1h}");
    w.cluster("main", "session-1", &[("cpu", "8")]);
    w.submit(&want("ana").cpu("4").id("a1"));
    w.submit(&want("ana").cpu("8").id("big"));
    assert_eq!(
        w.explain(&want("li").cpu("6")).fits_now,
        Some(amounts(&[("cpu", "4")])),
        "it may be passed yet"
    );
    w.pass(2 * HOUR);
    for cpu in ["6", "9"] {
        let said = w.text(&want("li").cpu(cpu), "li");
        assert!(said.contains("nothing of it would fit now"), "{said}");
    }
    assert!(!starts(&w, &want("li").cpu("4")));
}

#[test]
fn where_there_is_no_room_for_the_default_nothing_fits() {
    let mut w = World::new("default_request: {cpu: 1}");
    w.cluster("main", "session-1", &[("cpu", "3"), ("gpu", "1")]);
    w.submit(&want("ana").cpu("3"));
    let said = w.text(&want("ana").gpu("1"), "ana");
    assert!(said.contains("nothing of it would fit now"), "{said}");
    let mut w = World::new("default_request: {cpu: 0}");
    w.cluster("main", "session-1", &[("cpu", "3"), ("gpu", "1")]);
    w.submit(&want("ana").cpu("3"));
    let fits = w.explain(&want("ana").cpu("1").gpu("1")).fits_now;
    assert_eq!(fits, Some(amounts(&[("gpu", "1")])), "it can do without");
}

#[test]
fn gpus_are_offered_as_a_job_can_ask_for_them() {
    let mut w = World::new("quotas:\n  - {name: few, for: everybody, limits: {gpu: 1.5}}");
    w.cluster(
        "main",
        "session-1",
        &[("gpu", "4"), ("gpu:H100", "2"), ("gpu:A100", "2")],
    );
    let two = want("ana").of("gpu:H100", "2").of("gpu:A100", "2");
    let fits = w.explain(&two).fits_now.expect("GPUs of one model");
    assert_eq!(fits.to_string(), "1.5 A100 GPU");
    assert!(starts(&w, &asking_for(&w, &two, &fits)));
    w.submit(&want("li").of("gpu:H100", "0.5"));
    let fits = w.explain(&want("ana").of("gpu:H100", "2")).fits_now;
    assert_eq!(fits.expect("the rest").to_string(), "1 H100 GPU");
}

#[test]
fn what_a_guarantee_of_its_own_lacks_fits_whoever_waits() {
    let mut w = World::new(
        "queue: {pass_bound: 10m}\nquotas:\n  - {name: li, for: {user: li}, guarantee: {cpu: 2}}",
    );
    w.cluster("main", "session-1", &[("cpu", "8")]);
    w.submit(&want("ana").cpu("4"));
    w.submit(&want("ana").cpu("6"));
    w.pass(HOUR);
    let fits = w.explain(&want("li").cpu("6")).fits_now;
    assert_eq!(fits, Some(amounts(&[("cpu", "2")])));
    assert!(starts(&w, &want("li").cpu("2")));
}

const CROWDED: &str = "\
default_request: {cpu: 1}
teams:
  vision: {org: research, members: [ana, li]}
  serving: {org: product, members: [kim]}
job_types: {training: {default_request: {gpu: 1}, priority: 1}, h100: {default_request: {\"gpu:H100\": 1}}, bare: {default_request: {cpu: 0}}}
queue: {pass_bound: 10m}
quotas:
  - {name: each-user, for: {user: \"*\"}, limits: {cpu: 7, gpu: 3, \"gpu:H100\": 2, jobs: 6}, budget: {cpu_hours: 20, per: day}}
  - {name: research, for: {org: research}, limits: {cpu: 6}, borrow: {cpu: 3}}
  - {name: product, for: {org: product}, guarantee: {cpu: 2, gpu: 1}}
  - {name: all, for: everybody, budget: {gpu_hours: 9, per: \"rolling 6h\"}}
";

const USERS: [&str; 4] = ["ana", "li", "kim", "zoe"];

type Row = (usize, u64, usize, u64, usize, Option<u64>);

/// A user, thousandths of CPU, of which GPUs how many, of which type, for how many minutes.
fn row() -> impl Strategy<Value = Row> {
    (
        0usize..4,
        0u64..9_000,
        0usize..5,
        1u64..4,
        0usize..4,
        proptest::option::weighted(0.7, 1u64..200),
    )
}

fn wanted((user, cpu, model, gpus, kind, minutes): Row) -> Want {
    let mut w = want(USERS[user]).cpu(&format!("{cpu}m"));
    let gpus = gpus.to_string();
    w = match model {
        1 => w.gpu(&gpus),
        2 => w.of("gpu:H100", &gpus),
        3 => w.of("gpu:A100", &gpus),
        4 => w.of("gpu:A100", &gpus).of("gpu:H100", "1"),
        _ => w,
    };
    if kind > 0 {
        w = w.job_type(["training", "h100", "bare"][kind - 1]);
    }
    match minutes {
        Some(m) => w.minutes(m),
        None => w,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn what_would_fit_now_starts_when_it_is_submitted(
        before in proptest::collection::vec((row(), 0i64..8), 0..14),
        asked in proptest::collection::vec(row(), 1..6),
    ) {
        let mut w = World::new(CROWDED);
        let has = [("cpu", "12"), ("gpu", "5"), ("gpu:H100", "3"), ("gpu:A100", "2")];
        w.cluster("main", "session-1", &has);
        for (row, minutes) in before {
            w.submit(&wanted(row));
            w.pass(minutes * MINUTE);
        }
        w.run_queue();
        for row in asked {
            let want = wanted(row);
            let said = w.explain(&want);
            if let Some(fits) = said.fits_now {
                let smaller = asking_for(&w, &want, &fits);
                let why = w.explain(&smaller).violations;
                prop_assert!(starts(&w, &smaller), "{} of {}: {:?}", fits, said.request, why);
            }
        }
    }

    #[test]
    fn of_cpus_no_more_than_what_would_fit_now_starts(
        before in proptest::collection::vec((row(), 0i64..8), 0..14),
        asked in row(),
    ) {
        let mut w = World::new(CROWDED);
        w.cluster("main", "session-1", &[("cpu", "12"), ("gpu", "5"), ("gpu:H100", "3"), ("gpu:A100", "2")]);
        for (row, minutes) in before {
            w.submit(&wanted(row));
            w.pass(minutes * MINUTE);
        }
        w.run_queue();
        let asked = wanted((asked.0, asked.1.max(1), 0, 1, 3 * (asked.4 % 2), asked.5));
        let said = w.explain(&asked);
        let helps = |code: &str| !matches!(code, "turn" | "jobs-limit" | "borrowing");
        if !said.violations.is_empty() && said.violations.iter().all(|v| helps(v.code.as_str())) {
            let fits = said.fits_now.map_or(0, |f| f.get(&Resource::Cpu).0);
            let more = asked.cpu(&format!("{}m", fits + 1));
            // The door may send to the queue what the queue starts at once: what it takes is what it says.
            let told = !w.explain(&more).violations.is_empty();
            prop_assert!(told || !starts(&w, &more), "{fits}m and more of {}", said.request);
        }
    }
}
