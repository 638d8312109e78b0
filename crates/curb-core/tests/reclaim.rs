//! What was lent is taken back from the fewest and youngest, of what is lacking, where it is lacking, and only where it
//! helps.

mod common;

use std::collections::BTreeMap;

use common::*;
use curb_core::decide::next;
use curb_core::ledger::{Event, Job};
use curb_core::resource::Resource;
use curb_core::subject::JobId;
use proptest::prelude::*;

const TEAMS: &str = "teams:\n  vision: {org: research, members: [ana, li]}\n  serving: {org: product, members: [kim]}\n";

/// Research is lent what it is told above its limits, and product has limits that stop nobody here.
fn lending(research: &str) -> World {
    World::new(&format!(
        "{TEAMS}quotas:\n  - {{name: research, for: {{org: research}}, {research}, reclaim: {{stop_after: 10m}}}}\n  - {{name: product, for: {{org: product}}, limits: {{cpu: 40, gpu: 40}}}}\n"
    ))
}

/// Those that are to be stopped when the queue has come to rest.
fn stopped(w: &mut World) -> Vec<JobId> {
    w.run_queue();
    let by_curb = |j: &&Job| j.stop.as_ref().is_some_and(|s| s.by == "curb");
    let mut ids: Vec<JobId> = w
        .state
        .jobs()
        .filter(by_curb)
        .map(|j| j.new.id.clone())
        .collect();
    ids.sort();
    ids
}

fn run(w: &mut World, want: &Want) -> JobId {
    let (id, _) = w.submit(want);
    assert!(w.holds(&id), "{id} runs");
    w.pass(MINUTE);
    id
}

#[test]
fn of_two_loans_only_the_youngest_is_stopped_where_one_is_enough_and_the_reason_says_for_what() {
    let mut w = lending("limits: {cpu: 2}, borrow: {cpu: 2}");
    w.cluster("main", "session-1", &[("cpu", "4")]);
    run(&mut w, &want("ana").cpu("2"));
    run(&mut w, &want("li").cpu("1"));
    let young = run(&mut w, &want("li").cpu("1"));
    let (kim, _) = w.submit(&want("kim").cpu("1"));
    w.pass(10 * MINUTE - 1);
    assert!(stopped(&mut w).is_empty(), "not before its time");
    w.pass(1);
    assert_eq!(stopped(&mut w), std::slice::from_ref(&young));
    assert_eq!(
        w.job(&young).stop.as_ref().map(|s| s.why.as_str()),
        Some(
            "it ran on capacity borrowed above quota research; 1 CPU on cluster main is wanted back for a job within quota product, which has waited 10m"
        )
    );
    w.pass(HOUR);
    assert_eq!(
        stopped(&mut w).len(),
        1,
        "it counts while it is being stopped"
    );
    assert_eq!(w.end_and_run(&young), [kim]);
}

#[test]
fn a_loan_on_another_cluster_stays() {
    let mut w = lending("limits: {cpu: 2}, borrow: {cpu: 4}");
    w.cluster("main", "session-1", &[("cpu", "4")]);
    w.cluster("west", "session-1", &[("cpu", "4")]);
    run(&mut w, &want("ana").cpu("2"));
    let here = run(&mut w, &want("ana").cpu("2"));
    let west = run(&mut w, &want("li").cpu("2").on("west"));
    w.submit(&want("kim").cpu("2"));
    w.pass(10 * MINUTE);
    assert_eq!(stopped(&mut w), [here], "{west} is younger but elsewhere");
}

#[test]
fn a_loan_of_something_else_stays() {
    let mut w = lending("limits: {cpu: 2, gpu: 1}, borrow: {cpu: 4, gpu: 4}");
    w.cluster("main", "session-1", &[("cpu", "8"), ("gpu", "2")]);
    run(&mut w, &want("ana").cpu("2").gpu("1"));
    let gpu = run(&mut w, &want("li").gpu("1"));
    run(&mut w, &want("li").cpu("2"));
    w.submit(&want("kim").gpu("1"));
    w.pass(10 * MINUTE);
    assert_eq!(stopped(&mut w), [gpu], "the loan of CPUs is younger");
}

#[test]
fn of_gpus_lent_as_any_only_those_of_the_lacking_model_come_back() {
    let mut w = lending("limits: {gpu: 1}, borrow: {gpu: 4}");
    let has = [
        ("cpu", "8"),
        ("gpu", "4"),
        ("gpu:H100", "2"),
        ("gpu:A100", "2"),
    ];
    w.cluster("main", "session-1", &has);
    run(&mut w, &want("ana").of("gpu:H100", "1"));
    let h100 = run(&mut w, &want("li").of("gpu:H100", "1"));
    run(&mut w, &want("li").of("gpu:A100", "1"));
    let (kim, _) = w.submit(&want("kim").of("gpu:H100", "1"));
    w.pass(10 * MINUTE);
    assert_eq!(
        stopped(&mut w),
        std::slice::from_ref(&h100),
        "the loan of an A100 is younger"
    );
    let (more, said) = w.submit(&want("ana").of("gpu:H100", "1"));
    assert_eq!(say(&said), "queued capacity");
    assert_eq!(w.end_and_run(&h100), [kim], "and not {more}");
}

#[test]
fn where_all_loans_together_are_not_enough_none_is_stopped() {
    let mut w = lending("limits: {cpu: 2}, borrow: {cpu: 2}");
    w.cluster("main", "session-1", &[("cpu", "4")]);
    run(&mut w, &want("ana").cpu("2"));
    run(&mut w, &want("li").cpu("1"));
    run(&mut w, &want("li").cpu("1"));
    w.submit(&want("kim").cpu("3"));
    w.pass(HOUR);
    assert!(stopped(&mut w).is_empty());
}

#[test]
fn what_comes_back_by_another_stop_is_not_asked_for_again() {
    let mut w = lending("limits: {cpu: 2}, borrow: {cpu: 2}");
    w.cluster("main", "session-1", &[("cpu", "4")]);
    let own = run(&mut w, &want("ana").cpu("2"));
    run(&mut w, &want("li").cpu("2"));
    let (kim, _) = w.submit(&want("kim").cpu("2"));
    w.apply(Event::StopRequested {
        id: own.clone(),
        by: "ana".into(),
        why: String::new(),
    });
    w.pass(HOUR);
    assert!(stopped(&mut w).is_empty());
    let mut restored = w.state.clone();
    assert!(next(&restored, &w.moment()).is_empty());
    restored = curb_core::ledger::State::restore(&restored.snapshot()).expect("a snapshot");
    assert!(
        next(&restored, &w.moment()).is_empty(),
        "also after a restart"
    );
    assert_eq!(w.end_and_run(&own), [kim]);
}

#[test]
fn each_who_waits_is_given_back_their_own() {
    let mut w = lending("limits: {cpu: 2}, borrow: {cpu: 3}");
    w.cluster("main", "session-1", &[("cpu", "5")]);
    run(&mut w, &want("ana").cpu("2"));
    let loans: Vec<JobId> = (0..3).map(|_| run(&mut w, &want("li").cpu("1"))).collect();
    w.submit(&want("kim").cpu("1"));
    w.pass(MINUTE);
    w.submit(&want("kim").cpu("1"));
    w.pass(9 * MINUTE);
    assert_eq!(
        stopped(&mut w),
        [loans[2].clone()],
        "the second has not waited"
    );
    w.pass(MINUTE);
    assert_eq!(stopped(&mut w), loans[1..]);
    w.pass(HOUR);
    assert_eq!(
        stopped(&mut w),
        loans[1..],
        "and nobody waits for the third"
    );
}

#[test]
fn one_large_loan_goes_before_two_small_ones_and_of_equal_ones_the_youngest() {
    let mut w = lending("limits: {cpu: 1}, borrow: {cpu: 9}");
    w.cluster("main", "session-1", &[("cpu", "8")]);
    run(&mut w, &want("ana").cpu("1"));
    run(&mut w, &want("ana").cpu("3"));
    let large = run(&mut w, &want("li").cpu("2"));
    run(&mut w, &want("li").cpu("1"));
    run(&mut w, &want("li").cpu("1"));
    w.submit(&want("kim").cpu("2"));
    w.pass(10 * MINUTE);
    assert_eq!(stopped(&mut w), [large]);
}

#[test]
fn a_bucket_that_is_within_its_limit_again_gives_nothing_back() {
    let mut w = lending("limits: {cpu: 2}, borrow: {cpu: 2}");
    w.cluster("main", "session-1", &[("cpu", "4")]);
    let own = run(&mut w, &want("ana").cpu("2"));
    run(&mut w, &want("li").cpu("2"));
    w.end(&own);
    run(&mut w, &want("kim").cpu("2"));
    w.submit(&want("kim").cpu("1"));
    w.pass(HOUR);
    assert!(stopped(&mut w).is_empty(), "li's is research's own now");
}

/// Two teams under a quota of everybody: vision is lent, serving is not.
fn sharing(all: &str, more: &str) -> World {
    sharing_with("{stop_after: 10m}", all, more)
}

fn sharing_with(reclaim: &str, all: &str, more: &str) -> World {
    let mut w = World::new(&format!(
        "teams:\n  vision: {{members: [ana, li]}}\n  serving: {{members: [kim]}}\nquotas:\n  - {{name: all, limits: {{{all}}}}}\n  - {{name: vision, for: {{team: vision}}, limits: {{gpu: 4}}, borrow: {{gpu: 8}}, reclaim: {reclaim}}}\n  - {{name: serving, for: {{team: serving}}, limits: {{gpu: 4}}}}\n{more}"
    ));
    w.cluster("main", "session-1", &[("gpu", "8")]);
    w.cluster("west", "session-1", &[("gpu", "8")]);
    w
}

#[test]
fn what_is_lent_out_of_a_quota_that_all_share_comes_back() {
    let mut w = sharing("gpu: 8", "");
    for _ in 0..4 {
        run(&mut w, &want("ana").gpu("1"));
    }
    let loans: Vec<JobId> = (0..4).map(|_| run(&mut w, &want("li").gpu("1"))).collect();
    let (kim, said) = w.submit(&want("kim").gpu("2"));
    assert_eq!(say(&said), "queued concurrent-limit");
    w.pass(10 * MINUTE - 1);
    assert!(stopped(&mut w).is_empty(), "not before its time");
    w.pass(1);
    assert_eq!(stopped(&mut w), loans[2..]);
    assert_eq!(
        w.job(&loans[3]).stop.as_ref().map(|s| s.why.as_str()),
        Some(
            "it ran on capacity borrowed above quota vision; 2 GPU of quota all is wanted back for a job within quota serving, which has waited 10m"
        )
    );
    assert!(w.end_and_run(&loans[3]).is_empty());
    assert_eq!(w.end_and_run(&loans[2]), [kim]);
}

#[test]
fn what_is_lacking_of_a_shared_quota_alone_comes_back_from_any_cluster() {
    let mut w = sharing("gpu: 8", "");
    run(&mut w, &want("ana").gpu("4"));
    let west = run(&mut w, &want("li").gpu("4").on("west"));
    w.submit(&want("kim").gpu("1"));
    w.pass(10 * MINUTE);
    assert_eq!(stopped(&mut w), [west]);
}

#[test]
fn what_somebody_entitled_waits_for_of_a_shared_quota_is_not_lent_on() {
    for reclaim in ["drain", "{stop_after: 10m}"] {
        let mut w = sharing_with(reclaim, "gpu: 8", "");
        run(&mut w, &want("ana").gpu("4"));
        let loans = [(); 2].map(|()| run(&mut w, &want("li").gpu("2").on("west")));
        let (kim, _) = w.submit(&want("kim").gpu("4"));
        w.pass(MINUTE);
        let (more, _) = w.submit(&want("li").gpu("2").on("west"));
        assert!(w.end_and_run(&loans[0]).is_empty(), "not {more}: {reclaim}");
        assert_eq!(w.end_and_run(&loans[1]), [kim], "{reclaim}");
    }
}

#[test]
fn while_it_is_being_given_back_what_is_left_of_a_shared_quota_is_not_lent() {
    let mut w = sharing("gpu: 9", "");
    run(&mut w, &want("ana").gpu("4"));
    let loan = run(&mut w, &want("li").gpu("4").on("west"));
    let (kim, _) = w.submit(&want("kim").gpu("2"));
    w.pass(10 * MINUTE);
    assert_eq!(stopped(&mut w), std::slice::from_ref(&loan));
    let (more, _) = w.submit(&want("li").gpu("1").on("west"));
    w.pass(MINUTE);
    assert!(w.run_queue().is_empty());
    assert!(w.queued(&more), "it is lent nothing");
    assert_eq!(w.end_and_run(&loan).first(), Some(&kim));
}

#[test]
fn a_team_stops_no_loan_of_its_own_and_nobody_above_their_limit_stops_one() {
    let mut w = sharing("gpu: 8", "");
    run(&mut w, &want("ana").gpu("3"));
    run(&mut w, &want("li").gpu("4"));
    run(&mut w, &want("kim").gpu("1"));
    // Without li's four vision would hold three, and one more would be within its limit.
    w.submit(&want("ana").gpu("1"));
    w.submit(&want("kim").gpu("4"));
    w.pass(HOUR);
    assert!(stopped(&mut w).is_empty());
}

#[test]
fn a_user_gets_back_out_of_the_teams_quota_what_a_colleague_was_lent() {
    let user = "  - {name: user, for: {user: \"*\"}, limits: {gpu: 2}, borrow: {gpu: 6}, reclaim: {stop_after: 10m}}\n";
    let mut w = World::new(&format!(
        "teams: {{vision: {{members: [ana, li]}}}}\nquotas:\n  - {{name: vision, for: {{team: vision}}, limits: {{gpu: 4}}}}\n{user}"
    ));
    run(&mut w, &want("ana").gpu("2"));
    let loans = [(); 2].map(|()| run(&mut w, &want("ana").gpu("1")));
    w.submit(&want("li").gpu("1"));
    w.submit(&want("ana").gpu("1"));
    w.pass(10 * MINUTE);
    assert_eq!(stopped(&mut w), loans[1..]);
}

#[test]
fn of_what_a_team_and_a_colleague_were_lent_a_user_gets_back_the_colleagues() {
    let mut w = World::new(
        "teams: {vision: {members: [ana, li, kim]}}\nquotas:\n  - {name: vision, for: {team: vision}, limits: {gpu: 4}, borrow: {gpu: 2}, reclaim: {stop_after: 10m}}\n  - {name: user, for: {user: \"*\"}, limits: {gpu: 2}, borrow: {gpu: 6}, reclaim: {stop_after: 10m}}\n",
    );
    w.cluster("main", "session-1", &[("gpu", "5")]);
    run(&mut w, &want("ana").gpu("2"));
    let anas = [(); 2].map(|()| run(&mut w, &want("ana").gpu("1")));
    let teams = run(&mut w, &want("li").gpu("1"));
    w.submit(&want("kim").gpu("1"));
    w.pass(10 * MINUTE);
    assert_eq!(stopped(&mut w), anas[1..], "{teams} is the team's own loan");
}

#[test]
fn where_a_shared_quota_lends_as_well_no_more_is_stopped_than_it_takes() {
    let mut w = sharing("gpu: 6}, borrow: {gpu: 2", "");
    run(&mut w, &want("ana").gpu("4"));
    let loans: Vec<JobId> = (0..4).map(|_| run(&mut w, &want("li").gpu("1"))).collect();
    let (kim, _) = w.submit(&want("kim").gpu("1"));
    w.pass(10 * MINUTE);
    assert_eq!(stopped(&mut w), loans[3..]);
    assert_eq!(w.end_and_run(&loans[3]), [kim]);
}

#[test]
fn where_only_what_nobody_borrowed_is_in_the_way_nothing_is_stopped() {
    let mut w = sharing(
        "gpu: 8",
        "  - {name: tight, for: {cluster: main}, limits: {gpu: 4}}\n",
    );
    run(&mut w, &want("ana").gpu("4"));
    run(&mut w, &want("li").gpu("4").on("west"));
    w.submit(&want("kim").gpu("1"));
    w.pass(HOUR);
    assert!(stopped(&mut w).is_empty());
}

#[derive(Clone, Debug)]
struct Held {
    cpu: u64,
    gpu: u64,
    west: bool,
}

fn held() -> impl Strategy<Value = Held> {
    (0u64..4, 0u64..3, prop::bool::weighted(0.2))
        .prop_filter("asks for something", |(cpu, gpu, _)| cpu + gpu > 0)
        .prop_map(|(cpu, gpu, west)| Held { cpu, gpu, west })
}

fn amount(job: &Job, r: &Resource) -> u64 {
    job.new.request.get(r).0
}

/// What is lent of some resources, from nothing but the jobs: of research above its limits, the youngest.
fn loans(w: &World, limits: &BTreeMap<Resource, u64>) -> Vec<JobId> {
    let mut research: Vec<&Job> = w
        .state
        .jobs()
        .filter(|j| j.grant().is_some() && j.new.subject.user != "kim")
        .collect();
    research.sort_by_key(|j| std::cmp::Reverse(j.seq));
    let mut over: BTreeMap<&Resource, u64> = limits
        .iter()
        .map(|(r, l)| {
            let held: u64 = research.iter().map(|j| amount(j, r)).sum();
            (r, held.saturating_sub(*l))
        })
        .collect();
    let mut lent = Vec::new();
    for job in research
        .iter()
        .filter(|j| j.grant().is_some_and(|g| g.borrowed))
    {
        let mut is = false;
        for (r, over) in &mut over {
            let a = amount(job, r);
            is |= a > 0 && *over > 0;
            *over = over.saturating_sub(a);
        }
        if is {
            lent.push(job.new.id.clone());
        }
    }
    lent
}

/// Whether kim's job starts when these have ended.
fn starts_without(w: &World, ended: &[JobId], kim: &JobId) -> bool {
    let mut then = World::new("mode: enforce\n");
    (then.state, then.now) = (w.state.clone(), w.now);
    ended.iter().for_each(|id| then.end(id));
    then.run_queue();
    then.holds(kim)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn what_is_named_is_enough_and_nothing_of_it_is_too_much(
        jobs in proptest::collection::vec(held(), 1..9), cpu in 0u64..6, gpu in 0u64..4,
    ) {
        prop_assume!(cpu + gpu > 0);
        let mut w = lending("limits: {cpu: 3, gpu: 2}, borrow: {cpu: 20, gpu: 20}");
        for name in ["main", "west"] {
            w.cluster(name, "session-1", &[("cpu", "8"), ("gpu", "4")]);
        }
        for (n, job) in jobs.iter().enumerate() {
            let want = want(["ana", "li"][n % 2]).cpu(&job.cpu.to_string()).gpu(&job.gpu.to_string());
            w.submit(&want.on(if job.west { "west" } else { "main" }));
            w.pass(MINUTE);
        }
        let (kim, _) = w.submit(&want("kim").cpu(&cpu.to_string()).gpu(&gpu.to_string()));
        prop_assume!(!w.holds(&kim));
        w.pass(10 * MINUTE);
        let mut limits = BTreeMap::from([(Resource::Cpu, 3000), (Resource::Gpu, 2000)]);
        limits.retain(|r, _| w.job(&kim).new.request.get(r).0 > 0);
        let lent = loans(&w, &limits);
        let named: Vec<JobId> = next(&w.state, &w.moment())
            .iter()
            .map(|e| match e {
                Event::StopRequested { id, .. } => id.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        prop_assert!(named.iter().all(|id| lent.contains(id)), "{named:?} of {lent:?}");
        // Every set of loans, by trying it.
        let enough: Vec<Vec<JobId>> = (0u32..1 << lent.len())
            .map(|set| (0..lent.len()).filter(|n| set >> n & 1 == 1).map(|n| lent[n].clone()).collect::<Vec<_>>())
            .filter(|set| starts_without(&w, set, &kim))
            .collect();
        let fewest = enough.iter().map(Vec::len).min();
        // Of two resources that are lacking, a loan of one may bring the other as well; nobody is stopped for that.
        let one = limits.len() == 1;
        if one {
            prop_assert_eq!(named.is_empty(), fewest.is_none(), "{:?}", &enough);
        }
        if named.is_empty() {
            return Ok(());
        }
        prop_assert!(starts_without(&w, &named, &kim));
        for without in 0..named.len() {
            let mut fewer = named.clone();
            fewer.remove(without);
            prop_assert!(!starts_without(&w, &fewer, &kim), "{:?} is too much", named[without]);
        }
        if one {
            prop_assert_eq!(Some(named.len()), fewest, "{:?}", &enough);
        }
    }

    #[test]
    fn the_same_holds_where_all_share_one_quota(
        jobs in proptest::collection::vec((1u64..4, prop::bool::weighted(0.3), prop::bool::weighted(0.2)), 1..9),
        all in 4u64..10, lends in 0u64..3, ask in 1u64..5,
    ) {
        let lends = if lends == 0 { String::new() } else { format!("}}, borrow: {{gpu: {lends}") };
        let mut w = sharing(&format!("gpu: {all}{lends}"), "");
        for (n, (gpu, west, kims)) in jobs.iter().enumerate() {
            let user = if *kims { "kim" } else { ["ana", "li"][n % 2] };
            let (id, _) = w.submit(&want(user).gpu(&gpu.to_string()).on(if *west { "west" } else { "main" }));
            if !w.holds(&id) && w.queued(&id) {
                w.apply(Event::StopRequested { id, by: user.into(), why: String::new() });
            }
            w.pass(MINUTE);
        }
        let (kim, _) = w.submit(&want("kim").gpu(&ask.to_string()));
        prop_assume!(w.queued(&kim));
        w.pass(10 * MINUTE);
        let of = |w: &World, mine: bool| -> u64 {
            let held = w.state.jobs().filter(|j| j.grant().is_some() && (j.new.subject.user == "kim") == mine);
            held.map(|j| amount(j, &Resource::Gpu)).sum()
        };
        let lent = loans(&w, &BTreeMap::from([(Resource::Gpu, 4000)]));
        let back: u64 = lent.iter().map(|id| amount(w.job(id), &Resource::Gpu)).sum();
        let entitled = of(&w, true) + ask * 1000 <= 4000
            && of(&w, true) + of(&w, false) - back + ask * 1000 <= all * 1000;
        let named: Vec<JobId> = next(&w.state, &w.moment())
            .iter()
            .map(|e| match e {
                Event::StopRequested { id, .. } => id.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        prop_assert!(named.iter().all(|id| lent.contains(id)), "{named:?} of {lent:?}");
        let fewest = (0u32..1 << lent.len())
            .map(|set| (0..lent.len()).filter(|n| set >> n & 1 == 1).map(|n| lent[n].clone()).collect::<Vec<_>>())
            .filter(|set| starts_without(&w, set, &kim))
            .map(|set| set.len())
            .min();
        let fewest = fewest.filter(|_| entitled);
        prop_assert_eq!(fewest.unwrap_or(0), named.len(), "{:?} of {:?}", &named, &lent);
        if !named.is_empty() {
            prop_assert!(starts_without(&w, &named, &kim));
        }
    }
}

#[test]
fn what_was_taken_back_goes_to_whom_it_was_taken_back_for_and_is_not_lent_again() {
    let mut w = World::new(&format!(
        "{TEAMS}job_types:\n  hot: {{priority: 5}}\nquotas:\n  - {{name: research, for: {{org: research}}, limits: {{cpu: 2}}, borrow: {{cpu: 4}}, reclaim: {{stop_after: 10m}}}}\n  - {{name: product, for: {{org: product}}, limits: {{cpu: 40}}}}\n"
    ));
    w.cluster("main", "session-1", &[("cpu", "4")]);
    run(&mut w, &want("ana").cpu("2"));
    let loan = run(&mut w, &want("ana").cpu("2"));
    let (kim, _) = w.submit(&want("kim").cpu("1"));
    let (hot, _) = w.submit(&want("ana").cpu("2").job_type("hot"));
    w.pass(10 * MINUTE);
    assert_eq!(stopped(&mut w), std::slice::from_ref(&loan));
    assert_eq!(
        w.end_and_run(&loan),
        std::slice::from_ref(&kim),
        "not the one of higher priority, which could only borrow"
    );
    assert!(!w.holds(&hot));
    // It borrows once nobody else wants it.
    assert_eq!(w.end_and_run(&kim), [hot]);
}

#[test]
fn within_a_team_priority_decides_who_borrows() {
    let mut w = World::new(&format!(
        "{TEAMS}job_types:\n  hot: {{priority: 5}}\nquotas:\n  - {{name: research, for: {{org: research}}, limits: {{cpu: 3}}, borrow: {{cpu: 4}}, reclaim: {{stop_after: 10m}}}}\n"
    ));
    w.cluster("main", "session-1", &[("cpu", "4")]);
    let first = run(&mut w, &want("ana").cpu("4"));
    w.submit(&want("li").cpu("1"));
    let (hot, _) = w.submit(&want("ana").cpu("4").job_type("hot"));
    assert_eq!(
        w.end_and_run(&first),
        [hot],
        "the small one shares the quota that lends"
    );
}

#[test]
fn all_who_could_only_borrow_step_back_until_the_one_within_the_limits_has_started() {
    let mut w = World::new(&format!(
        "{TEAMS}job_types:\n  hot: {{priority: 5}}\nquotas:\n  - {{name: research, for: {{org: research}}, limits: {{cpu: 0}}, borrow: {{cpu: 4}}}}\n  - {{name: product, for: {{org: product}}, limits: {{cpu: 40}}}}\n"
    ));
    w.cluster("main", "session-1", &[("cpu", "4")]);
    let full = run(&mut w, &want("kim").cpu("4"));
    let (big, _) = w.submit(&want("ana").cpu("4").job_type("hot"));
    // Not in kim's way by itself, and behind one that is.
    let (small, _) = w.submit(&want("li").cpu("1").job_type("hot"));
    let (kim, _) = w.submit(&want("kim").cpu("1"));
    assert_eq!(w.end_and_run(&full), [kim.clone(), small]);
    assert!(!w.holds(&big), "there is no room for it beside them");
}
