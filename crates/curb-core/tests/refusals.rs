//! Refusals that are told as failed jobs: whose their ids are, how many are kept, and that the fold has them.

mod common;

use common::*;
use curb_core::decide::Submitted;
use curb_core::ledger::{Event, FailedJob, Phase, Refusals, State};
use curb_core::subject::JobId;
use curb_core::time::Timestamp;

const POLICY: &str =
    "refusal: job\nquotas:\n  - {name: q, for: {user: \"*\"}, per_job: {cpu: 1}}\n";

fn id(text: &str) -> JobId {
    JobId::parse(text).expect("a valid id")
}

fn told(w: &World, user: &str) -> Vec<String> {
    w.state
        .refusals()
        .of(user)
        .map(|r| r.job.id.to_string())
        .collect()
}

/// Refuses one to a user, without the policy being asked.
fn refuse(w: &mut World, user: &str, name: &str) {
    let (_, said) = w.submit(&want(user).cpu("2").id(name));
    assert!(matches!(said, Submitted::Refused(_)), "{name}: {said:?}");
}

#[test]
fn a_refused_id_is_taken_for_its_submitter_and_free_for_others() {
    let mut w = World::new(POLICY);
    refuse(&mut w, "ana", "train");
    assert_eq!(say(&w.submit(&want("ana").cpu("1").id("train")).1), "taken");
    refuse(&mut w, "li", "train");
    assert_eq!(
        say(&w.submit(&want("kim").cpu("1").id("train")).1),
        "admitted"
    );
    assert_eq!((told(&w, "ana").len(), told(&w, "li").len()), (1, 1));
    assert_eq!(w.job(&id("train")).new.subject.user, "kim");
    // Whom it is taken from is told so, and not that it was refused to them before.
    assert_eq!(say(&w.submit(&want("ana").cpu("1").id("train")).1), "taken");
}

#[test]
fn the_same_key_and_content_is_answered_as_the_first_time() {
    let mut w = World::new(POLICY);
    let first = want("ana").cpu("2").id("train").key("k");
    assert_eq!(say(&w.submit(&first).1), "refused 422 per-job-limit");
    let events = w.journal.len();
    assert_eq!(say(&w.submit(&first).1), "same");
    assert_eq!(
        say(&w.submit(&want("ana").cpu("2").id("train").key("other")).1),
        "taken"
    );
    // Also when the id has become somebody else's.
    assert_eq!(
        say(&w.submit(&want("kim").cpu("1").id("train")).1),
        "admitted"
    );
    assert_eq!(say(&w.submit(&first).1), "same");
    assert_eq!(w.journal.len(), events + 1, "repeats write nothing");
}

#[test]
fn what_its_submitter_deletes_is_gone_and_its_id_is_free() {
    let mut w = World::new(POLICY);
    refuse(&mut w, "ana", "train");
    refuse(&mut w, "li", "train");
    w.apply(Event::Hidden {
        id: id("train"),
        by: "ana".into(),
        refused: Some("ana".into()),
    });
    assert_eq!((told(&w, "ana").len(), told(&w, "li").len()), (0, 1));
    assert_eq!(
        say(&w.submit(&want("ana").cpu("1").id("train")).1),
        "admitted"
    );
}

#[test]
fn a_real_job_of_the_same_user_stands_in_the_place_of_a_refusal() {
    let mut w = World::new(POLICY);
    refuse(&mut w, "ana", "train");
    let Some(Event::Refused { subject, .. }) = w.journal.last().map(|r| r.event.clone()) else {
        panic!("it was refused")
    };
    // A journal of another version may hold this: the fold is total.
    w.submit(&want("ana").cpu("1").id("other"));
    let Some(Event::Admitted { job, .. }) = w.journal.last().map(|r| r.event.clone()) else {
        panic!("it was admitted")
    };
    let mut job = *job;
    job.id = id("train");
    assert_eq!(job.subject, subject);
    w.apply(Event::Admitted {
        job: Box::new(job),
        borrowed: false,
        lent_by: Vec::new(),
        shadow: vec![],
    });
    assert!(told(&w, "ana").is_empty());
    assert!(matches!(w.job(&id("train")).phase, Phase::Reserved(_)));
}

#[test]
fn so_many_in_a_minute_are_told_as_jobs_and_no_more() {
    let mut w = World::new(POLICY);
    for n in 0..Refusals::AT_ONCE + 20 {
        refuse(&mut w, "ana", &format!("train-{n}"));
    }
    assert_eq!(told(&w, "ana").len(), Refusals::AT_ONCE);
    refuse(&mut w, "li", "mine");
    assert_eq!(
        told(&w, "li").len(),
        1,
        "another user has a bound of their own"
    );
    w.pass(i64::try_from(Refusals::WITHIN.0).expect("a minute") - 1);
    refuse(&mut w, "ana", "too-early");
    w.pass(1);
    refuse(&mut w, "ana", "later");
    assert_eq!(told(&w, "ana").last().map(String::as_str), Some("later"));
    assert_eq!(told(&w, "ana").len(), Refusals::AT_ONCE + 1);
}

#[test]
fn the_newest_of_each_user_are_kept() {
    let mut w = World::new(POLICY);
    refuse(&mut w, "li", "old");
    for n in 0..Refusals::PER_USER + 5 {
        w.pass(MINUTE);
        refuse(&mut w, "ana", &format!("train-{n}"));
    }
    let mine = told(&w, "ana");
    assert_eq!(mine.len(), Refusals::PER_USER);
    assert_eq!((mine[0].as_str(), told(&w, "li").len()), ("train-5", 1));
    assert!(w.state.refusals().get("ana", &id("train-4")).is_none());
    assert!(w.state.refusals().newest(&id("train-4")).is_none());
}

#[test]
fn in_all_the_newest_are_kept_and_none_for_ever() {
    let mut w = World::new(POLICY);
    for n in 0..Refusals::TOTAL + 10 {
        refuse(&mut w, &format!("u{}", n / 50), &format!("train-{n}"));
    }
    assert_eq!(w.state.refusals().iter().count(), Refusals::TOTAL);
    assert!(w.state.refusals().newest(&id("train-9")).is_none());
    assert!(w.state.refusals().newest(&id("train-10")).is_some());
    w.pass(i64::try_from(Refusals::AGE.0).expect("some days"));
    refuse(&mut w, "ana", "last");
    assert_eq!(w.state.refusals().iter().count(), 1);
}

#[test]
fn they_take_no_place_from_real_jobs_and_hold_nothing() {
    let mut w = World::new(POLICY);
    let (real, _) = w.submit(&want("ana").cpu("1"));
    w.end(&real);
    for n in 0..200 {
        refuse(&mut w, "ana", &format!("train-{n}"));
    }
    assert!(w.job(&real).is_ended());
    assert_eq!((w.state.holding_count(), w.state.queued_count()), (0, 0));
    assert_eq!(w.state.jobs().count(), 1);
}

#[test]
fn texts_are_cut_between_characters() {
    let long = FailedJob {
        id: id("a"),
        spec: String::new(),
        key: None,
        command: "é".repeat(5000),
        text: format!("x{}", "ü".repeat(5000)),
    };
    let cut = long.cut();
    assert_eq!(cut.command.len(), FailedJob::MAX_COMMAND);
    assert_eq!(cut.text.len(), FailedJob::MAX_TEXT - 1);
}

#[test]
fn the_fold_gives_the_same_bytes_from_the_start_and_from_any_snapshot() {
    let mut w = World::new(POLICY);
    for n in 0..130 {
        w.pass(30_000);
        w.submit(
            &want(["ana", "li"][n % 2])
                .cpu("2")
                .id(&format!("train-{}", n / 3)),
        );
        if n % 7 == 0 {
            w.apply(Event::Hidden {
                id: id(&format!("train-{}", n / 3)),
                by: "root".into(),
                refused: Some(["ana", "li"][n % 2].into()),
            });
        }
    }
    let live = w.state.snapshot();
    let mut again = State::new();
    for rec in &w.journal {
        // Through JSON, as the journal keeps it, and through a snapshot at every step.
        let text = serde_json::to_string(rec).expect("a record is JSON");
        again.apply(&serde_json::from_str(&text).expect("and comes back"));
        again = State::restore(&again.snapshot()).expect("a snapshot");
    }
    assert_eq!(
        String::from_utf8_lossy(&again.snapshot()),
        String::from_utf8_lossy(&live)
    );
    assert!(again.refusals().iter().eq(w.state.refusals().iter()));
    assert!(again.refusals().iter().count() > 50);
    let now = Timestamp(w.now);
    for user in ["ana", "li"] {
        assert!(again.refusals().of(user).eq(w.state.refusals().of(user)));
        let room = w.state.refusals().room_for(user, now);
        assert_eq!(again.refusals().room_for(user, now), room);
    }
}
