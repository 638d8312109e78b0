//! What people read, for every reason code: pinned, so that a change of words is seen.

mod common;

use common::*;
use curb_core::decide::{Code, Gate, position, why_waiting};
use curb_core::explain::{Telling, Viewer};
use curb_core::subject::{JobId, Role};
use curb_core::time::Timestamp;

const TEAMS: &str = "teams:\n  vision: {org: research, members: [ana, li]}\n  serving: {org: product, members: [kim]}\njob_types:\n  training: {allowed: {org: research}, priority: 1, max_priority: 5}\n  inference: {}\n";

fn quota(body: &str) -> String {
    format!(
        "{TEAMS}quotas:\n  - name: each-user\n    for: {{user: \"*\"}}\n    {}\n",
        body.replace('\n', "\n    ")
    )
}

/// A world in which `want` meets exactly the code.
fn scene(code: Code) -> (World, Want) {
    let ana = want("ana").cpu("2").hours(2);
    let world = |yaml: &str| World::new(yaml);
    match code {
        Code::JobType => (world(TEAMS), want("kim").cpu("1").job_type("training")),
        Code::ClusterAccess => (
            world(&format!(
                "{TEAMS}clusters: {{main: {{allowed: {{team: serving}}}}}}\n"
            )),
            ana,
        ),
        Code::PerJobLimit => (world(&quota("per_job: {cpu: 1}")), ana),
        Code::DurationLimit => (world(&quota("per_job: {duration: 1h}")), ana),
        Code::DurationNeeded => (
            world(&quota(
                "reason: Hours are bought, and none are lent\nbudget: {cpu_hours: 6, per: month, without_duration: refuse}",
            )),
            want("ana").cpu("2"),
        ),
        Code::PriorityLimit => (world(TEAMS), ana.job_type("training").priority(9)),
        Code::ConcurrentLimit => {
            let mut w = world(&quota("limits: {cpu: 3}"));
            w.submit(&ana);
            (w, ana)
        }
        Code::JobsLimit => {
            let mut w = world(&quota("limits: {jobs: 1}"));
            w.submit(&ana);
            (w, ana)
        }
        Code::QueuedLimit => {
            let mut w = world(&quota("limits: {jobs: 1, queued: 1}"));
            w.submit(&ana);
            w.submit(&ana);
            (w, ana)
        }
        Code::SubmitRate => {
            let mut w = world(&quota("submit_rate: 1/min"));
            w.submit(&ana);
            (w, ana)
        }
        Code::Budget => {
            let mut w = world(&quota("budget: {cpu_hours: 6, per: month}"));
            w.submit(&ana);
            (w, ana)
        }
        Code::Capacity => {
            let mut w = world("capacity: {cpu: 3}\n");
            w.submit(&want("li").cpu("2").hours(1));
            (w, ana)
        }
        Code::CapacityUnknown => {
            let mut w = world("mode: enforce\n");
            w.cluster_unread("new", "session-1");
            (w, ana.on("new"))
        }
        Code::Guarantee => {
            let w = world(&format!(
                "capacity: {{cpu: 3}}\n{TEAMS}quotas:\n  - {{name: product, for: {{org: product}}, limits: {{cpu: 3}}, guarantee: {{cpu: 2}}}}\n"
            ));
            let mut w = w;
            w.submit(&want("li").cpu("1").hours(1));
            (w, want("ana").cpu("1").hours(1))
        }
        Code::Borrowing | Code::Turn => {
            // Somebody has waited past the bound for what is free.
            let mut w = world("capacity: {cpu: 4}\nqueue: {pass_bound: 1h}\n");
            w.submit(&want("li").cpu("3").hours(9));
            w.submit(&want("kim").cpu("4").hours(1));
            w.pass(2 * HOUR);
            (w, want("ana").cpu("1").hours(1))
        }
        Code::StartRate => {
            let mut w = world("mode: enforce\n");
            w.gates.insert(
                "main".into(),
                Gate::Paced {
                    next: Timestamp(NOON + 2000),
                },
            );
            (w, ana)
        }
        Code::ClusterDown => {
            let mut w = world("when_ray_is_down: refuse\n");
            w.gates.insert("main".into(), Gate::Down);
            (w, ana)
        }
    }
}

#[test]
fn every_reason_code_has_its_message() {
    let mut all = String::new();
    for code in Code::ALL {
        if code == Code::Borrowing {
            // Met in the queue only: `a_borrower_is_told_that_somebody_entitled_waits`.
            continue;
        }
        let (w, want) = scene(code);
        let text = w.text(&want, &want.ask.user);
        let first = w.explain(&want).violations.first().map(|v| v.code);
        assert_eq!(first, Some(code), "{text}");
        assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
        assert!(!text.contains('?'), "a number is missing: {text}");
        all.push_str(&format!("== {code}\n{text}\n"));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn every_reason_code_has_its_form_for_programs() {
    let mut all = String::new();
    for code in Code::ALL {
        if code == Code::Borrowing {
            // Met in the queue only, which has no answer to a program.
            continue;
        }
        let (w, want) = scene(code);
        let viewer = Viewer {
            user: want.ask.user.clone(),
            role: Role::User,
        };
        let telling = Telling {
            viewer: &viewer,
            policy: w.state.policy(),
            now: Timestamp(w.now),
        };
        let told = telling.redact(w.explain(&want));
        let json = serde_json::to_value(&told).expect("JSON");
        assert_eq!(json["violations"][0]["code"], code.as_str(), "{json}");
        all.push_str(&format!("== {code}\n{json:#}\n\n"));
    }
    insta::assert_snapshot!(all);
}

fn line(w: &World, id: &JobId, user: &str, role: Role) -> String {
    let viewer = Viewer {
        user: user.into(),
        role,
    };
    let telling = Telling {
        viewer: &viewer,
        policy: w.state.policy(),
        now: Timestamp(w.now),
    };
    let moment = w.moment();
    let why = why_waiting(&w.state, id, &moment).expect("it waits");
    telling.waiting(&why, position(&w.state, &moment, w.job(id)))
}

#[test]
fn who_is_stopped_is_told_why_the_limit_is_there_within_a_bound() {
    let reason = "Grants of the institute are counted in whole nodes. ".repeat(6);
    let yaml = quota(&format!(
        "reason: \"{}\"\nlimits: {{cpu: 1}}",
        reason.trim()
    ));
    let w = World::new(&yaml);
    let want = want("ana").cpu("2");
    let told = w.explain(&want).violations[0]
        .reason
        .clone()
        .expect("a reason");
    assert!(told.chars().count() <= 160 && told.ends_with("…"), "{told}");
    assert!(reason.starts_with(told.trim_end_matches('…')), "{told}");
    let text = w.text(&want, "ana");
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    insta::assert_snapshot!(text);
    let other = World::new(&quota("limits: {cpu: 1}"));
    assert!(!other.text(&want, "ana").contains("why this limit"));
}

#[test]
fn a_waiting_job_is_told_where_it_stands_and_for_what() {
    let mut all = String::new();
    for holders in ["names", "teams", "counts"] {
        let mut w = World::new(&format!(
            "visibility: {{holders: {holders}}}\ncapacity: {{cpu: 4}}\n{TEAMS}"
        ));
        w.submit(&want("li").cpu("3").hours(1));
        w.submit(&want("kim").cpu("1"));
        let (id, _) = w.submit(&want("ana").cpu("2"));
        all.push_str(&format!(
            "{holders}: {}\n",
            line(&w, &id, "ana", Role::User)
        ));
        all.push_str(&format!(
            "{holders}, operator: {}\n",
            line(&w, &id, "root", Role::Operator)
        ));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_borrower_is_told_that_somebody_entitled_waits() {
    let yaml = format!(
        "capacity: {{cpu: 4}}\n{TEAMS}quotas:\n  - {{name: research, for: {{org: research}}, limits: {{cpu: 2}}, borrow: {{cpu: 2}}}}\n  - {{name: product, for: {{org: product}}, limits: {{cpu: 3}}}}\n"
    );
    let mut w = World::new(&yaml);
    w.cluster("main", "session-1", &[("cpu", "4")]);
    w.submit(&want("ana").cpu("2"));
    w.submit(&want("kim").cpu("1"));
    w.submit(&want("kim").cpu("2"));
    let (id, said) = w.submit(&want("li").cpu("1"));
    assert!(w.queued(&id), "{}", say(&said));
    insta::assert_snapshot!(line(&w, &id, "li", Role::User));
}

#[test]
fn what_a_viewer_may_not_know_is_in_no_form_of_the_answer() {
    for (holders, hidden) in [
        ("teams", vec!["li-secret"]),
        ("counts", vec!["li-secret", "vision"]),
    ] {
        let mut w = World::new(&format!(
            "visibility: {{holders: {holders}}}\ncapacity: {{cpu: 4}}\n{TEAMS}"
        ));
        w.submit(&want("li").cpu("4").hours(1).id("li-secret"));
        let ask = want("kim").cpu("2");
        let viewer = Viewer {
            user: "kim".into(),
            role: Role::User,
        };
        let telling = Telling {
            viewer: &viewer,
            policy: w.state.policy(),
            now: Timestamp(w.now),
        };
        let e = w.explain(&ask);
        let json = serde_json::to_string(&telling.redact(e.clone())).expect("JSON");
        let text = telling.explanation(&e);
        for secret in hidden {
            assert!(
                !json.contains(secret) && !text.contains(secret),
                "{holders}: {secret}\n{json}\n{text}"
            );
        }
        assert!(!json.contains("\"li\""), "{json}");
    }
}
