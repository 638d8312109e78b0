use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use curb_journal::writer::{
    Metrics, ResumeError, SubmitError, Writer, WriterHandle, WriterOptions,
};
use curb_journal::{
    AppendError, Head, Journal, OpenOptions, OwnedEntry, Reader, SideWrite, SnapshotError,
};

use crate::common::{TempDir, dir, event, report, shell};

type Outcome = Result<Head, Arc<AppendError>>;

fn spawn_with(options: WriterOptions) -> (TempDir, WriterHandle) {
    let dir = dir();
    let journal = Journal::open(dir.path()).unwrap();
    (dir, Writer::spawn(journal, options).unwrap())
}

fn spawn() -> (TempDir, WriterHandle) {
    spawn_with(WriterOptions::default())
}

/// Submits and keeps the answer for later.
fn submit(writer: &WriterHandle, batch: Vec<OwnedEntry>) -> Receiver<Outcome> {
    let (tell, told) = sync_channel(1);
    writer
        .submit(batch, move |outcome| tell.send(outcome).unwrap())
        .unwrap();
    told
}

/// Holds the writer's thread in a callback until the guard is dropped, so that what is submitted meanwhile
/// is queued for certain.
struct Held(Arc<Barrier>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.wait();
    }
}

fn hold(writer: &WriterHandle) -> Held {
    let (entered, release) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (theirs_in, theirs_out) = (Arc::clone(&entered), Arc::clone(&release));
    writer
        .submit(vec![], move |_| {
            theirs_in.wait();
            theirs_out.wait();
        })
        .unwrap();
    entered.wait();
    Held(release)
}

fn claim(n: u64, id: &'static str) -> OwnedEntry {
    event(n).with(SideWrite::claim_id(id))
}

#[test]
fn each_batch_is_answered_with_its_own_head_in_the_order_of_submission() {
    let (dir, writer) = spawn();
    let answers = Arc::new(Mutex::new(Vec::new()));
    let held = hold(&writer);
    for n in (1..=9).step_by(3) {
        let answers = Arc::clone(&answers);
        writer
            .submit(vec![event(n), event(n + 1), event(n + 2)], move |outcome| {
                answers.lock().unwrap().push(outcome.unwrap());
            })
            .unwrap();
    }
    drop(held);
    writer.close();
    let answers = answers.lock().unwrap();
    assert_eq!(
        answers.iter().map(|head| head.seq).collect::<Vec<_>>(),
        [3, 6, 9]
    );
    let reader = Reader::open(dir.path()).unwrap();
    for head in &*answers {
        assert!(reader.contains(head.seq, &head.hash).unwrap());
    }
    assert_eq!(
        writer.metrics().commits,
        1,
        "one commit for all that had queued"
    );
    assert_eq!(writer.metrics().rows, 9);
}

#[test]
fn an_answer_means_that_a_reader_sees_the_record() {
    let (dir, writer) = spawn();
    let reader = Reader::open(dir.path()).unwrap();
    for n in 1..=50 {
        let head = writer.submit_and_wait(vec![event(n)]).unwrap();
        assert_eq!(reader.head().unwrap(), head);
        assert_eq!(writer.head(), head);
    }
}

#[test]
fn an_empty_batch_is_answered_behind_everything_in_front_of_it() {
    let (_dir, writer) = spawn();
    let held = hold(&writer);
    let first = submit(&writer, vec![event(1)]);
    let flushed = submit(&writer, vec![]);
    drop(held);
    assert_eq!(
        flushed.recv().unwrap().unwrap(),
        first.recv().unwrap().unwrap()
    );
}

#[test]
fn a_commit_takes_no_more_than_its_bound_but_at_least_one_batch() {
    let (_dir, writer) = spawn_with(WriterOptions {
        commit_rows: 4,
        ..WriterOptions::default()
    });
    let held = hold(&writer);
    let batch = |from, to| (from..=to).map(event).collect::<Vec<_>>();
    let answers = [
        submit(&writer, batch(1, 10)),
        submit(&writer, batch(11, 13)),
        submit(&writer, batch(14, 14)),
        submit(&writer, batch(15, 15)),
    ];
    drop(held);
    for (answer, seq) in answers.iter().zip([10, 13, 14, 15]) {
        assert_eq!(answer.recv().unwrap().unwrap().seq, seq);
    }
    assert_eq!(writer.metrics().commits, 3);
}

#[test]
fn a_full_queue_answers_busy_at_once_and_takes_again_when_it_has_room() {
    for options in [
        WriterOptions {
            queue_rows: 4,
            ..WriterOptions::default()
        },
        WriterOptions {
            queue_batches: 2,
            ..WriterOptions::default()
        },
        WriterOptions {
            queue_bytes: 30,
            ..WriterOptions::default()
        },
    ] {
        let (_dir, writer) = spawn_with(options);
        let held = hold(&writer);
        let taken = [
            submit(&writer, vec![event(1), event(2)]),
            submit(&writer, vec![]),
        ];
        let refused = writer.submit(vec![event(3), event(4), event(5)], |_| unreachable!());
        assert!(
            matches!(refused, Err(SubmitError::Busy { rows: 2, .. })),
            "{options:?}"
        );
        let Metrics {
            busy,
            queued_rows,
            queued_batches,
            ..
        } = writer.metrics();
        assert_eq!((busy, queued_rows, queued_batches), (1, 2, 2));
        drop(held);
        for answer in taken {
            answer.recv().unwrap().unwrap();
        }
        assert_eq!(
            writer
                .submit_and_wait(vec![event(3), event(4), event(5)])
                .unwrap()
                .seq,
            5
        );
        let Metrics {
            queued_rows,
            queued_batches,
            queued_bytes,
            ..
        } = writer.metrics();
        assert_eq!((queued_rows, queued_batches, queued_bytes), (0, 0, 0));
    }
}

#[test]
fn a_batch_bigger_than_the_queue_is_taken_when_nothing_waits() {
    let (_dir, writer) = spawn_with(WriterOptions {
        queue_rows: 2,
        ..WriterOptions::default()
    });
    assert_eq!(
        writer
            .submit_and_wait((1..=5).map(event).collect())
            .unwrap()
            .seq,
        5
    );
}

#[test]
fn a_refused_entry_fails_its_batch_and_everything_behind_it_but_nothing_in_front() {
    let (dir, writer) = spawn();
    writer.submit_and_wait(vec![claim(1, "a")]).unwrap();
    let held = hold(&writer);
    let front = submit(&writer, vec![event(2), event(3)]);
    let bad = submit(&writer, vec![event(4), claim(5, "a")]);
    let behind = submit(&writer, vec![event(6)]);
    drop(held);
    assert_eq!(front.recv().unwrap().unwrap().seq, 3);
    for answer in [bad, behind] {
        let error = answer.recv().unwrap().unwrap_err();
        assert!(
            matches!(
                &*error,
                AppendError::IdTaken {
                    by_seq: 1,
                    index: 1,
                    ..
                }
            ),
            "{error}"
        );
    }
    assert!(matches!(
        writer.submit(vec![], |_| ()),
        Err(SubmitError::Failed(_))
    ));
    assert!(writer.failure().is_some());
    assert_eq!(writer.metrics().failures, 1);
    assert_eq!(Reader::open(dir.path()).unwrap().head().unwrap().seq, 3);

    let resumed = writer.resume().unwrap();
    assert_eq!((resumed.head.seq, resumed.has_unacknowledged()), (3, false));
    assert!(writer.failure().is_none());
    assert_eq!(writer.submit_and_wait(vec![event(7)]).unwrap().seq, 4);
    assert!(report(dir.path()).is_sound());
}

#[test]
fn what_was_queued_behind_a_failing_commit_fails_with_the_same_error() {
    let (_dir, writer) = spawn_with(WriterOptions {
        commit_rows: 1,
        ..WriterOptions::default()
    });
    writer.submit_and_wait(vec![event(5)]).unwrap();
    let held = hold(&writer);
    let answers: Vec<_> = [4, 6, 7].map(|n| submit(&writer, vec![event(n)])).into();
    drop(held);
    let errors: Vec<_> = answers
        .iter()
        .map(|answer| answer.recv().unwrap().unwrap_err())
        .collect();
    assert!(matches!(
        &*errors[0],
        AppendError::TimeBack { index: 0, .. }
    ));
    assert!(errors.iter().all(|error| Arc::ptr_eq(error, &errors[0])));
    assert_eq!(writer.head().seq, 1);
}

#[test]
fn a_full_disk_fails_the_writer_and_room_and_resume_bring_it_back() {
    let dir = dir();
    let options = OpenOptions {
        max_bytes: Some(300_000),
        ..OpenOptions::default()
    };
    let journal = Journal::open_with(dir.path(), options).unwrap();
    let writer = Writer::spawn(journal, WriterOptions::default()).unwrap();
    let big = |n| vec![event(n).with(SideWrite::put_spec("big", vec![7; 500_000]))];
    let before = writer.submit_and_wait(vec![event(1)]).unwrap();
    let error = writer.submit_and_wait(big(2)).unwrap_err();
    assert!(
        matches!(&error, SubmitError::Failed(e) if matches!(**e, AppendError::Full(_))),
        "{error:?}"
    );
    let resumed = writer.resume().unwrap();
    assert_eq!((resumed.head, resumed.acknowledged), (before, before));
    assert_eq!(writer.submit_and_wait(vec![event(3)]).unwrap().seq, 2);
    assert!(report(dir.path()).is_sound());
}

#[test]
fn resume_refuses_a_journal_that_lost_what_was_acknowledged() {
    let (dir, writer) = spawn();
    writer
        .submit_and_wait((1..=5).map(event).collect())
        .unwrap();
    writer.submit_and_wait(vec![event(1)]).unwrap_err();
    let cut = "DELETE FROM events WHERE seq = 5;
        UPDATE head SET (seq, hash, at_ms) = (SELECT seq, hash, at_ms FROM events WHERE seq = 4)";
    shell(dir.path()).execute_batch(cut).unwrap();
    let error = writer.resume().unwrap_err();
    assert!(
        matches!(error, ResumeError::Lost { acknowledged, found } if acknowledged.seq == 5 && found.seq == 4),
        "{error}"
    );
    assert!(
        matches!(writer.submit(vec![], |_| ()), Err(SubmitError::Failed(_))),
        "it stays failed"
    );
}

#[test]
fn resume_tells_of_records_that_nobody_was_told_of() {
    let (dir, writer) = spawn();
    let acknowledged = writer
        .submit_and_wait((1..=5).map(event).collect())
        .unwrap();
    writer.submit_and_wait(vec![event(1)]).unwrap_err();
    // As after a sync that failed although its data arrived.
    let hash = |n: u64, prev: &curb_journal::Hash| {
        let entry = event(n);
        curb_journal::hash::record_hash(prev, 6, entry.at_ms, entry.kind.as_bytes(), &entry.payload)
    };
    let (entry, next) = (event(6), hash(6, &acknowledged.hash));
    let conn = shell(dir.path());
    conn.execute(
        "INSERT INTO events VALUES (6, ?1, ?2, ?3, ?4, ?5)",
        (
            entry.at_ms,
            &*entry.kind,
            &*entry.payload,
            acknowledged.hash.0,
            next.0,
        ),
    )
    .unwrap();
    conn.execute(
        "UPDATE head SET seq = 6, hash = ?1, at_ms = ?2",
        (next.0, entry.at_ms),
    )
    .unwrap();
    let resumed = writer.resume().unwrap();
    assert!(resumed.has_unacknowledged());
    assert_eq!((resumed.head.seq, resumed.acknowledged), (6, acknowledged));
    assert_eq!(writer.submit_and_wait(vec![event(7)]).unwrap().seq, 7);
    assert!(report(dir.path()).is_sound());
}

#[test]
fn resume_of_a_writer_that_runs_says_where_it_stands() {
    let (_dir, writer) = spawn();
    let head = writer.submit_and_wait(vec![event(1)]).unwrap();
    let resumed = writer.resume().unwrap();
    assert_eq!((resumed.head, resumed.acknowledged), (head, head));
}

#[test]
fn closing_writes_what_is_queued_and_gives_the_directory_back() {
    let (dir, writer) = spawn();
    let held = hold(&writer);
    let queued = submit(&writer, vec![event(1)]);
    let other = writer.clone();
    let closing = std::thread::spawn(move || other.close());
    while writer.submit(vec![], |_| ()).is_ok() {
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(held);
    closing.join().unwrap();
    assert_eq!(queued.recv().unwrap().unwrap().seq, 1);
    assert!(matches!(
        writer.submit(vec![], |_| ()),
        Err(SubmitError::Closed)
    ));
    assert!(matches!(writer.resume(), Err(ResumeError::Closed)));
    assert_eq!(Journal::open(dir.path()).unwrap().head().seq, 1);
}

#[test]
fn dropping_the_last_handle_writes_what_is_queued() {
    let (dir, writer) = spawn();
    let held = hold(&writer);
    let queued = submit(&writer, vec![event(1)]);
    drop(writer);
    drop(held);
    assert_eq!(queued.recv().unwrap().unwrap().seq, 1);
    let opened = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        Journal::open(dir.path()).is_ok_and(|journal| journal.head().seq == 1)
    });
    assert!(opened, "the thread ends by itself");
}

#[test]
fn a_callback_may_submit_close_and_drop_the_last_handle() {
    let (dir, writer) = spawn();
    let (tell, told) = sync_channel(1);
    let theirs = writer.clone();
    writer
        .submit(vec![event(1)], move |_| {
            let (handle, inner) = (theirs, tell);
            handle
                .submit(vec![event(2)], move |outcome| inner.send(outcome).unwrap())
                .unwrap();
            handle.close();
        })
        .unwrap();
    drop(writer);
    assert_eq!(told.recv().unwrap().unwrap().seq, 2);
    assert_eq!(Reader::open(dir.path()).unwrap().head().unwrap().seq, 2);
}

#[test]
fn a_callback_that_panics_is_counted_and_does_not_stop_the_others() {
    let (_dir, writer) = spawn();
    let held = hold(&writer);
    writer
        .submit(vec![event(1)], |_| panic!("this panic is part of the test"))
        .unwrap();
    let next = submit(&writer, vec![event(2)]);
    drop(held);
    assert_eq!(next.recv().unwrap().unwrap().seq, 2);
    assert_eq!(writer.metrics().callback_panics, 1);
    assert_eq!(writer.submit_and_wait(vec![event(3)]).unwrap().seq, 3);
}

#[test]
fn concurrent_submitters_are_all_answered_and_share_commits() {
    const THREADS: u64 = 16;
    const EACH: u64 = 100;
    let (dir, writer) = spawn();
    let sum = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    // One time for all: their order is not known.
                    let head = writer.submit_and_wait(vec![event(1)]).unwrap();
                    sum.fetch_add(head.seq, Ordering::Relaxed);
                }
            });
        }
    });
    let total = THREADS * EACH;
    assert_eq!(
        sum.into_inner(),
        total * (total + 1) / 2,
        "each number was answered once"
    );
    let metrics = writer.metrics();
    assert_eq!(metrics.rows, total);
    assert_eq!(metrics.histogram.iter().sum::<u64>(), metrics.commits);
    assert!(metrics.commits < total / 2, "{metrics:?}");
    writer.close();
    let report = report(dir.path());
    assert!(report.is_sound());
    assert_eq!(report.records, total);
}

#[test]
fn a_snapshot_is_written_while_commits_go_on() {
    let (dir, writer) = spawn();
    let head = writer.submit_and_wait(vec![event(1)]).unwrap();
    let body = vec![42; 5 << 20];
    let (tell, told) = sync_channel(1);
    let held = hold(&writer);
    writer
        .put_snapshot(head.seq, head.hash, 1, body.clone(), move |outcome| {
            tell.send(outcome).unwrap()
        })
        .unwrap();
    drop(held);
    let mut commits = 0;
    let outcome = loop {
        if let Ok(outcome) = told.try_recv() {
            break outcome;
        }
        commits += 1;
        assert!(commits < 10_000, "the snapshot starves");
        writer.submit_and_wait(vec![event(2)]).unwrap();
    };
    outcome.unwrap();
    assert!(
        commits > 3,
        "commits did not wait for the whole snapshot: {commits}"
    );
    assert_eq!(writer.metrics().snapshots, 1);
    let snapshot = Reader::open(dir.path())
        .unwrap()
        .load_snapshot(1)
        .unwrap()
        .snapshot
        .unwrap();
    assert!(snapshot.seq == 1 && snapshot.body == body);
}

#[test]
fn a_waiting_snapshot_gives_way_to_a_newer_one() {
    let (dir, writer) = spawn();
    let first = writer.submit_and_wait(vec![event(1)]).unwrap();
    let second = writer.submit_and_wait(vec![event(2)]).unwrap();
    let held = hold(&writer);
    let (tell, told) = sync_channel(2);
    let also = tell.clone();
    writer
        .put_snapshot(first.seq, first.hash, 1, b"old".to_vec(), move |_| {
            also.send(1).unwrap()
        })
        .unwrap();
    writer
        .put_snapshot(second.seq, second.hash, 1, b"new".to_vec(), move |_| {
            tell.send(2).unwrap()
        })
        .unwrap();
    drop(held);
    assert_eq!(told.recv(), Ok(2));
    assert!(told.recv().is_err(), "the old one's callback was dropped");
    let loaded = Reader::open(dir.path()).unwrap().load_snapshot(1).unwrap();
    assert_eq!(loaded.snapshot.unwrap().body, b"new");
}

#[test]
fn a_snapshot_of_nowhere_is_refused_without_failing_the_writer() {
    let (_dir, writer) = spawn();
    let head = writer.submit_and_wait(vec![event(1)]).unwrap();
    let (tell, told) = sync_channel(1);
    writer
        .put_snapshot(9, head.hash, 1, b"s".to_vec(), move |outcome| {
            tell.send(outcome).unwrap()
        })
        .unwrap();
    assert!(matches!(told.recv().unwrap(), Err(SnapshotError::Read(_))));
    assert_eq!(writer.submit_and_wait(vec![event(2)]).unwrap().seq, 2);
}

#[test]
fn a_failing_commit_abandons_the_snapshot_behind_it() {
    let (_dir, writer) = spawn();
    let head = writer.submit_and_wait(vec![event(5)]).unwrap();
    let held = hold(&writer);
    let bad = submit(&writer, vec![event(1)]);
    let (tell, told) = sync_channel(1);
    writer
        .put_snapshot(head.seq, head.hash, 1, b"s".to_vec(), move |outcome| {
            tell.send(outcome).unwrap()
        })
        .unwrap();
    drop(held);
    bad.recv().unwrap().unwrap_err();
    assert!(matches!(
        told.recv().unwrap(),
        Err(SnapshotError::Abandoned)
    ));
}
