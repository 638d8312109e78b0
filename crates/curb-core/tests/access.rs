//! Who may use which job type and cluster, for jobs that wait: the policy in force when one would start decides.

mod common;

use common::*;
use curb_core::decide::{Code, Verdict, When, position, why_waiting};
use curb_core::explain::{Telling, Viewer};
use curb_core::ledger::{Event, State};
use curb_core::policy::Mode;
use curb_core::subject::{JobId, Role};

const TEAMS: &str = "teams:\n  serving: {members: [li]}\n  vision: {members: [ana]}\n";
const OPEN: &str = "job_types:\n  training: {}\n  inference: {}\n";
const ONLY_VISION: &str = "job_types:\n  training: {allowed: {team: vision}}\n  inference: {}\n";
const CLOSED: &str = "clusters:\n  main: {allowed: {team: vision}}\n";

fn policy(of: &str) -> String {
    format!("capacity: {{cpu: 4}}\n{TEAMS}{of}")
}

/// Li's training and ana's wait for ana's, which holds all.
fn waiting() -> (World, JobId, JobId, JobId) {
    let mut w = World::new(&policy(OPEN));
    let (all, _) = w.submit(&want("ana").cpu("4").hours(1));
    let (li, _) = w.submit(&want("li").cpu("4").hours(1).job_type("training"));
    let (ana, _) = w.submit(&want("ana").cpu("4").hours(1).job_type("training"));
    assert!(w.queued(&li) && w.queued(&ana));
    (w, all, li, ana)
}

/// The line of a waiting job in its status and log.
fn line(w: &World, id: &JobId) -> String {
    let why = why_waiting(&w.state, id, &w.moment()).expect("it waits");
    let viewer = Viewer {
        user: "li".into(),
        role: Role::User,
    };
    let telling = Telling {
        viewer: &viewer,
        policy: w.state.policy(),
        now: w.moment().now,
    };
    telling.waiting(&why, position(&w.state, &w.moment(), w.job(id)))
}

/// What a waiting job is told first: the code and the sentence.
fn told(w: &World, id: &JobId) -> (Code, String) {
    let why = why_waiting(&w.state, id, &w.moment()).expect("it waits");
    assert_eq!(why.verdict, Verdict::AfterPolicyChange, "{why:?}");
    assert_eq!((&why.expected, &why.fits_now), (&None, &None), "{why:?}");
    let first = &why.violations[0];
    assert_eq!(first.when, When::PolicyChange);
    (first.code, first.note.clone().unwrap_or_default())
}

#[test]
fn a_waiting_job_whose_user_may_no_longer_use_its_type_or_cluster_starts_when_it_may_again() {
    let cases = [
        (
            ONLY_VISION.to_owned(),
            Code::JobType,
            "user li of team serving may not use job type training",
        ),
        (
            "job_types:\n  inference: {}\n".to_owned(),
            Code::JobType,
            "there is no job type training; there are: inference",
        ),
        (
            format!("{OPEN}{CLOSED}"),
            Code::ClusterAccess,
            "user li of team serving may not use cluster main",
        ),
    ];
    for (withdrawn, code, note) in cases {
        let (mut w, all, li, ana) = waiting();
        w.apply_policy(&policy(&withdrawn));
        assert_eq!(told(&w, &li), (code, note.to_owned()));
        let started = w.end_and_run(&all);
        assert!(w.queued(&li), "{withdrawn}: it was given to Ray");
        if started.is_empty() {
            assert_eq!(told(&w, &ana).0, Code::JobType, "no type is nobody's");
        } else {
            assert_eq!(started, std::slice::from_ref(&ana), "{withdrawn}");
            assert_eq!(w.end_and_run(&ana), []);
        }
        w.apply_policy(&policy(OPEN));
        assert_eq!(w.run_queue(), [li], "{withdrawn}: it may again");
    }
}

#[test]
fn what_may_not_start_keeps_nothing_from_others_however_long_it_waits() {
    let (mut w, all, li, ana) = waiting();
    w.apply_policy(&policy(ONLY_VISION));
    w.pass(48 * HOUR);
    assert_eq!(w.end_and_run(&all), std::slice::from_ref(&ana));
    let (next, said) = w.submit(&want("kim").cpu("4").hours(1));
    assert_eq!(say(&said), "queued capacity");
    w.pass(48 * HOUR);
    assert_eq!(w.end_and_run(&ana), [next]);
    assert!(w.queued(&li));
}

#[test]
fn where_the_policy_only_observes_access_stops_nobody() {
    let (mut w, all, li, _) = waiting();
    w.apply_policy(&policy(ONLY_VISION));
    w.apply(Event::ModeSet {
        mode: Some(Mode::Audit),
        by: "test".into(),
        why: "a trial".into(),
    });
    w.end_and_run(&all);
    assert!(w.holds(&li), "what is only recorded does not stop it");
}

#[test]
fn access_withdrawn_is_so_after_a_restart() {
    let (mut w, all, li, ana) = waiting();
    w.apply_policy(&policy(ONLY_VISION));
    w.state = State::restore(&w.state.snapshot()).expect("its own snapshot");
    assert_eq!(w.end_and_run(&all), std::slice::from_ref(&ana));
    assert_eq!(told(&w, &li).0, Code::JobType);
}

#[test]
fn a_waiting_job_that_no_longer_fits_under_any_circumstances_is_told_that_no_start_is_expected() {
    let per_job = "quotas:\n  - {name: small, per_job: {cpu: 2}}\n";
    let cases = [
        (policy(ONLY_VISION), "after a policy change it may"),
        (policy(per_job), "after a policy change it may"),
        ("capacity: {cpu: 2}\n".to_owned(), "has not so much"),
    ];
    for (changed, why) in cases {
        let (mut w, _, li, _) = waiting();
        assert!(line(&w, &li).contains("expected start about"));
        w.apply_policy(&changed);
        let said = line(&w, &li);
        let (_, end) = said.split_once("; no start is expected: ").expect(&said);
        assert!(end.ends_with(why), "{said}");
        assert!(!said.contains("cannot be said yet"), "{said}");
    }
}
