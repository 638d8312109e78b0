//! What happens in the rows: a world under a policy, some submissions, and one word about the end.

use curb_core::decide::Gate;
use curb_core::ledger::Event;
use curb_core::subject::Subject;
use serde_json::json;

use crate::common::{HOUR, MINUTE, NOON, Want, World, say, want};

/// A world with a cluster of a hundred of everything.
pub fn world(yaml: &str) -> World {
    let mut w = World::new(yaml);
    let has = [
        ("cpu", "100"),
        ("memory", "100GiB"),
        ("gpu", "100"),
        ("licence", "100"),
    ];
    w.cluster("main", "session-1", &has);
    w
}

/// A request for so many of a resource.
pub fn of(resource: &str, n: u32) -> Want {
    let unit = if resource == "memory" { "GiB" } else { "" };
    want("ana").of(resource, &format!("{n}{unit}"))
}

/// A job of ana's that matches every dimension of a selector.
pub fn of_ana() -> Want {
    want("ana")
        .cpu("1")
        .job_type("training")
        .label("site", "berlin")
}

/// What the last of some submissions gets.
pub fn last(wants: Vec<Want>) -> impl Fn(&mut World) -> String {
    move |w| {
        let mut said = String::new();
        for want in &wants {
            said = say(&w.submit(want).1);
        }
        said
    }
}

/// Ana has used less than kim, and both wait: who starts?
pub fn who_is_next(w: &mut World) -> String {
    let (end, _) = w.submit(&want("zoe").cpu("97"));
    w.submit(&want("ana").cpu("1"));
    w.submit(&want("kim").cpu("2"));
    w.pass(HOUR);
    let wants = [want("kim").cpu("97"), want("ana").cpu("97")];
    let waiting = wants.map(|want| w.submit(&want).0);
    name_of(w, &end, &waiting)
}

/// Ana used much long ago, kim a little just now: who starts?
pub fn who_is_forgiven(w: &mut World) -> String {
    let (long_ago, _) = w.submit(&want("ana").cpu("90"));
    w.pass(10 * HOUR);
    w.end(&long_ago);
    w.pass(10 * HOUR);
    let (just_now, _) = w.submit(&want("kim").cpu("1"));
    w.pass(10 * MINUTE);
    w.end(&just_now);
    let (end, _) = w.submit(&want("zoe").cpu("100"));
    let waiting = [want("kim"), want("ana")].map(|want| w.submit(&want.cpu("100")).0);
    name_of(w, &end, &waiting)
}

/// Two wait, of two types: which starts?
pub fn which_type_is_next(w: &mut World) -> String {
    let (end, _) = w.submit(&want("zoe").cpu("100"));
    let waiting =
        ["inference", "training"].map(|t| w.submit(&want("ana").cpu("100").job_type(t)).0);
    let started = w.end_and_run(&end);
    assert!(waiting.contains(&started[0]) && started.len() == 1);
    w.job(&started[0])
        .new
        .subject
        .job_type
        .clone()
        .expect("a type")
}

fn name_of(
    w: &mut World,
    end: &curb_core::subject::JobId,
    waiting: &[curb_core::subject::JobId],
) -> String {
    assert!(waiting.iter().all(|id| w.queued(id)), "both wait");
    let started = w.end_and_run(end);
    assert_eq!(started.len(), 1);
    w.job(&started[0]).new.subject.user.clone()
}

/// Two CPU-hours are used up; what is said of one more after so many hours?
pub fn used_up(hours: i64) -> impl Fn(&mut World) -> String {
    move |w| {
        let (used, _) = w.submit(&want("ana").cpu("1").hours(2));
        w.pass(2 * HOUR);
        w.end(&used);
        w.pass((hours - 2) * HOUR);
        say(&w.submit(&want("ana").cpu("1").hours(1)).1)
    }
}

/// Somebody waits for what ana has borrowed: what becomes of her job within an hour?
pub fn reclaimed(w: &mut World) -> String {
    let (borrows, _) = w.submit(&want("ana").cpu("80"));
    w.submit(&want("kim").cpu("50"));
    w.pass(HOUR);
    w.run_queue();
    let stopped = w.job(&borrows).stop.is_some();
    if stopped { "stopped" } else { "runs on" }.into()
}

/// Somebody waits for nearly all that there is; may a small job pass it after two hours?
pub fn passing(w: &mut World) -> String {
    w.submit(&want("li").cpu("75").hours(9));
    w.submit(&want("kim").cpu("100").hours(1));
    w.pass(2 * HOUR);
    say(&w.submit(&want("ana").cpu("10").hours(1)).1)
}

/// One CPU more for ana, in the quota `each-user` only.
pub fn overridden(w: &mut World) -> String {
    w.apply(Event::OverrideAdded(
        serde_json::from_value(json!({
            "id": 1, "selector": {"user": {"one_of": ["ana"]}}, "quota": "each-user", "amounts": {"cpu": 1000},
            "jobs": 0, "until": NOON + HOUR, "by": "root", "why": "test",
        }))
        .expect("an override"),
    ));
    say(&w.submit(&want("ana").cpu("2")).1)
}

/// Whether the reason of the quota is told to whom it stops.
pub fn told_why(w: &mut World) -> String {
    let text = w.text(&want("ana").cpu("2"), "ana");
    let line = text.lines().find(|l| l.contains("why this limit"));
    line.unwrap_or("nothing").trim().into()
}

/// How those who hold what kim waits for are named to her.
pub fn holders(w: &mut World) -> String {
    w.submit(&want("li").cpu("100").id("train"));
    let text = w.text(&want("kim").cpu("1"), "kim");
    let line = text.lines().find_map(|l| l.trim().strip_prefix("held by "));
    line.expect("a line").into()
}

/// Whether kim sees a job of ana's.
pub fn seen(w: &mut World) -> String {
    let whose = Subject {
        user: "ana".into(),
        ..Subject::default()
    };
    w.state.policy().lets_see("kim", &whose).to_string()
}

/// How many refusals are told as jobs after one refusal.
pub fn told_as_jobs(w: &mut World) -> String {
    let said = say(&w.submit(&want("ana").cpu("2")).1);
    assert_eq!(said, "refused 422 per-job-limit");
    w.state.refusals().of("ana").count().to_string()
}

/// A submission while the cluster cannot be reached.
pub fn down(w: &mut World) -> String {
    w.gates.insert("main".into(), Gate::Down);
    say(&w.submit(&want("ana").cpu("1")).1)
}

/// A job of an hour runs for two and a half: is it stopped?
pub fn runs_too_long(w: &mut World) -> String {
    let (id, _) = w.submit(&want("ana").cpu("1").hours(1));
    w.apply(Event::Confirmed {
        id: id.clone(),
        attempt: 1,
        session: "session-1".into(),
    });
    for _ in 0..2 {
        w.pass(75 * 60_000);
        let events =
            curb_core::decide::teeth(&w.state, &w.moment(), &std::collections::BTreeMap::new());
        events.into_iter().for_each(|e| w.apply(e));
    }
    if w.job(&id).stop.is_some() {
        "stopped"
    } else {
        "runs on"
    }
    .into()
}
