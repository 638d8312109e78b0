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
