//! The engine over a real journal, at its bounds.

use std::collections::BTreeMap;
use std::path::Path;

use curb_journal::writer::{Writer, WriterOptions};
use curb_journal::{Journal, MAX_PAYLOAD_BYTES};

use super::*;
use crate::clock::Clock;

fn engine(dir: &Path, options: WriterOptions) -> Engine {
    let journal = Journal::open(dir).expect("a journal");
    let state = crate::recover::load(dir).expect("readable").state;
    spawn(EngineOptions {
        dir: dir.to_owned(),
        state,
        writer: Writer::spawn(journal, options).expect("a writer"),
        start_rates: BTreeMap::new(),
        clock: Clock::default(),
        on_granted: Box::new(|_| {}),
    })
    .expect("a thread")
}

fn said(why: usize) -> Event {
    Event::ModeSet {
        mode: None,
        by: "ops".into(),
        why: "x".repeat(why),
    }
}

#[tokio::test]
async fn a_decision_that_the_journal_cannot_hold_is_refused_alone_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let engine = engine(dir.path(), WriterOptions::default());
    let large = vec![said(1), said(MAX_PAYLOAD_BYTES)];
    let refused = engine.change(|_, _| Decision::durable(large, ())).await;
    assert!(matches!(refused, Err(EngineError::Unfit(_))), "{refused:?}");
    let seq = engine.read(|state, _| state.seq()).await.expect("served");
    assert_eq!(seq, 0, "the event in front of the large one was applied");
    engine
        .change(|_, _| Decision::durable(vec![said(1)], ()))
        .await
        .expect("the next one is served");
    assert_eq!(engine.health().problem(), None);
    engine.stop().await;
    let state = crate::recover::load(dir.path()).expect("readable").state;
    assert_eq!(state.seq(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_is_busy_is_waited_for_and_nothing_is_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let narrow = WriterOptions {
        queue_rows: 1,
        queue_bytes: 1,
        queue_batches: 1,
        commit_rows: 1,
    };
    let engine = engine(dir.path(), narrow);
    // Somebody else holds the database for a moment: a commit waits, and what is behind it fills the queue.
    let path = dir.path().join(curb_journal::JOURNAL_FILE);
    let holder = rusqlite::Connection::open(&path).expect("the database");
    holder.execute_batch("BEGIN IMMEDIATE").expect("held");
    let mut all = Vec::new();
    for _ in 0..8 {
        let engine = engine.clone();
        all.push(tokio::spawn(async move {
            engine
                .change(|_, _| Decision::durable(vec![said(1)], ()))
                .await
        }));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(
        engine.writer().metrics().queued_batches,
        1,
        "one is written, one waits in the queue, and there is no room for the others"
    );
    assert!(all.iter().all(|one| !one.is_finished()));
    holder.execute_batch("ROLLBACK").expect("given back");
    let count = all.len() as u64;
    for one in all {
        one.await.expect("no panic").expect("written");
    }
    assert_eq!(engine.health().problem(), None);
    engine.stop().await;
    let state = crate::recover::load(dir.path()).expect("readable").state;
    assert_eq!(state.seq(), count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_bounded_by_its_bytes() {
    let dir = tempfile::tempdir().expect("a directory");
    let one_batch_a_commit = WriterOptions {
        commit_rows: 1,
        ..WriterOptions::default()
    };
    let engine = engine(dir.path(), one_batch_a_commit);
    let (hold, held) = std::sync::mpsc::sync_channel::<()>(1);
    // All of them wait in the inbox while the thread looks at this, and are then taken in one turn.
    let looking = engine.clone();
    let look = tokio::spawn(async move { looking.read(move |_, _| held.recv().is_ok()).await });
    let all: Vec<_> = (0..40)
        .map(|_| {
            let engine = engine.clone();
            tokio::spawn(async move {
                engine
                    .change(|_, _| Decision::durable(vec![said(1_000_000)], ()))
                    .await
            })
        })
        .collect();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    hold.send(()).expect("still looking");
    look.await.expect("no panic").expect("served");
    for one in all {
        one.await.expect("no panic").expect("written");
    }
    // 40 MB in batches of at most 8 MiB.
    let writer = engine.writer().metrics();
    assert!((5..=40).contains(&writer.commits), "{writer:?}");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_events_comes_after_what_it_rests_on_is_durable() {
    let dir = tempfile::tempdir().expect("a directory");
    let engine = engine(dir.path(), WriterOptions::default());
    for n in 1..=50 {
        let first = {
            let engine = engine.clone();
            tokio::spawn(async move {
                engine
                    .change(|_, _| Decision::noted(vec![said(1)], ()))
                    .await
            })
        };
        first.await.expect("no panic").expect("noted");
        let seen = engine
            .change(|state, _| Decision::durable(Vec::new(), state.seq()))
            .await
            .expect("an answer");
        assert_eq!(seen, n);
        assert!(engine.writer().head().seq >= seen, "it was not durable");
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_rests_on_a_failed_commit_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let engine = engine(dir.path(), WriterOptions::default());
    let path = dir.path().join(curb_journal::JOURNAL_FILE);
    let holder = rusqlite::Connection::open(&path).expect("the database");
    holder.execute_batch("BEGIN IMMEDIATE").expect("held");
    engine
        .change(|_, _| Decision::noted(vec![said(1)], ()))
        .await
        .expect("noted");
    let seen = engine
        .change(|state, _| Decision::durable(Vec::new(), state.seq()))
        .await;
    assert!(matches!(seen, Err(EngineError::NotWritable(_))), "{seen:?}");
    holder.execute_batch("ROLLBACK").expect("given back");
    engine.stop().await;
}
