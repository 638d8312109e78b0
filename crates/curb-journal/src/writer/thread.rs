//! What the writer's thread does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::{
    Batch, Condition, OnResume, OnSnapshot, ResumeError, Resumed, Shared, SnapshotRequest, State,
};
use crate::entry::{Head, MAX_BATCH_ENTRIES, OwnedEntry};
use crate::error::AppendError;
use crate::journal::Journal;
use crate::snapshot::{Progress, SnapshotError, Task};

/// Between two parts of a snapshot while there are commits: a part takes several times as long as a commit, and those who
/// wait for a commit are told nothing while a part is written.
const PART_EVERY: Duration = Duration::from_millis(20);

/// One thing to do.
enum Work {
    Commit(Vec<Batch>),
    Resume(Vec<OnResume>),
    Snapshot(SnapshotRequest),
    SnapshotStep,
    End,
}

pub(super) fn run(journal: Journal, shared: &Arc<Shared>) {
    let _ended = Ended(shared);
    let mut thread = Thread {
        journal,
        shared,
        snapshot: None,
        part_due: Instant::now(),
        committed: false,
    };
    while thread.turn() {}
}

/// Says that nobody will answer any more, also if the thread panics.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.ended = true;
        (state.rows, state.bytes) = (0, 0);
        let left = (
            std::mem::take(&mut state.batches),
            std::mem::take(&mut state.resume),
            state.snapshot.take(),
        );
        // Outside the lock, since a dropped callback is somebody's code: it tells those who wait that there
        // will be no answer.
        drop(state);
        drop(left);
    }
}

struct Thread<'a> {
    // First: the directory's lock is released before anybody hears that the thread ended.
    journal: Journal,
    shared: &'a Shared,
    snapshot: Option<(Task, OnSnapshot)>,
    /// When the snapshot's next part is written, whatever else there is to do.
    part_due: Instant,
    /// Whether there was a commit since its last part.
    committed: bool,
}

impl Thread<'_> {
    /// Does one thing; `false` when there is nothing left to do, ever.
    fn turn(&mut self) -> bool {
        match self.next_work() {
            Work::Commit(batches) => self.commit(batches),
            Work::Resume(waiting) => self.resume(waiting),
            Work::Snapshot(request) => self.begin_snapshot(request),
            Work::SnapshotStep => self.step_snapshot(),
            Work::End => return false,
        }
        // After the answers: nobody waits for the log to be folded in.
        self.journal.checkpoint_if_due();
        let stats = self.journal.stats();
        let mut state = self.shared.lock();
        state.metrics.checkpoints = stats.checkpoints;
        state.metrics.checkpoints_deferred = stats.checkpoints_deferred;
        state.metrics.last_checkpoint_micros = stats.last_checkpoint_micros;
        true
    }

    /// Waits for something to do. Commits go first; a snapshot gets a part in from time to time, so that neither can
    /// starve the other.
    fn next_work(&mut self) -> Work {
        let mut state = self.shared.lock();
        loop {
            if !state.resume.is_empty() {
                return Work::Resume(std::mem::take(&mut state.resume));
            }
            let until_part = self.part_due.saturating_duration_since(Instant::now());
            if self.snapshot.is_some() && (until_part.is_zero() || state.closing) {
                return Work::SnapshotStep;
            }
            if !state.batches.is_empty() {
                return Work::Commit(take_batches(&mut state, self.shared.options.commit_rows));
            }
            if let Some(request) = state.snapshot.take() {
                return Work::Snapshot(request);
            }
            if state.closing {
                return Work::End;
            }
            let work = &self.shared.work;
            state = if self.snapshot.is_some() {
                let waited = work.wait_timeout(state, until_part);
                waited.unwrap_or_else(PoisonError::into_inner).0
            } else {
                work.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    fn commit(&mut self, mut batches: Vec<Batch>) {
        self.committed = true;
        let Err(error) = self.commit_all(&mut batches) else {
            return;
        };
        // If one entry is to blame, the batches in front of it were decided on a state that holds: they are
        // committed without it. Asked once; another error then fails them as well.
        let good = error
            .entry_index()
            .map_or(0, |index| whole_batches_before(&batches, index));
        let good_rows: usize = batches[..good]
            .iter()
            .map(|batch| batch.entries.len())
            .sum();
        let bad = batches.split_off(good);
        let error = match self.commit_all(&mut batches) {
            Ok(()) => error.counted_from(good_rows),
            Err(error) => error,
        };
        batches.extend(bad);
        self.fail(batches, error);
    }

    /// Commits the batches in one transaction, answers and removes them. On an error they stay.
    fn commit_all(&mut self, batches: &mut Vec<Batch>) -> Result<(), AppendError> {
        if batches.is_empty() {
            return Ok(());
        }
        let groups: Vec<&[OwnedEntry]> = batches
            .iter()
            .map(|batch| batch.entries.as_slice())
            .collect();
        let rows: usize = groups.iter().map(|group| group.len()).sum();
        let started = Instant::now();
        let heads = self.journal.append_groups(&groups)?;
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut state = self.shared.lock();
        state.head = self.journal.head();
        if rows > 0 {
            state.metrics.committed(rows, micros);
        }
        drop(state);
        for (batch, head) in batches.drain(..).zip(heads) {
            self.answer(batch, Ok(head));
        }
        Ok(())
    }

    fn answer(&self, batch: Batch, outcome: Result<Head, Arc<AppendError>>) {
        self.call(|| (batch.on_durable)(outcome));
    }

    /// Runs somebody's callback; its panic is counted, and does not take the journal down.
    fn call(&self, callback: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(callback)).is_err() {
            self.shared.lock().metrics.callback_panics += 1;
        }
    }

    /// Fails these batches and everything behind them, and takes nothing more.
    fn fail(&mut self, batches: Vec<Batch>, error: AppendError) {
        let error = Arc::new(error);
        let mut state = self.shared.lock();
        state.condition = Condition::Failed(Arc::clone(&error));
        state.metrics.failures += 1;
        (state.rows, state.bytes) = (0, 0);
        let queued = std::mem::take(&mut state.batches);
        let waiting = state.snapshot.take();
        drop(state);
        for batch in batches.into_iter().chain(queued) {
            self.answer(batch, Err(Arc::clone(&error)));
        }
        let running = self.snapshot.take().map(|(_, on_done)| on_done);
        for on_done in running
            .into_iter()
            .chain(waiting.map(|request| request.on_done))
        {
            self.call(|| on_done(Err(SnapshotError::Abandoned)));
        }
    }

    fn resume(&mut self, waiting: Vec<OnResume>) {
        for on_resume in waiting {
            let outcome = self.try_resume();
            self.call(|| on_resume(outcome));
        }
    }

    fn try_resume(&mut self) -> Result<Resumed, ResumeError> {
        let state = self.shared.lock();
        let acknowledged = state.head;
        if matches!(state.condition, Condition::Running) {
            return Ok(Resumed {
                head: acknowledged,
                acknowledged,
            });
        }
        drop(state);
        let head = self.journal.reopen().map_err(ResumeError::Open)?;
        let there = self
            .journal
            .contains(acknowledged.seq, &acknowledged.hash)
            .map_err(|error| ResumeError::Read(error.to_string()))?;
        if !there {
            return Err(ResumeError::Lost {
                acknowledged,
                found: head,
            });
        }
        let mut state = self.shared.lock();
        state.condition = Condition::Running;
        state.head = head;
        Ok(Resumed { head, acknowledged })
    }

    fn begin_snapshot(&mut self, request: SnapshotRequest) {
        let SnapshotRequest {
            seq,
            hash,
            format,
            body,
            on_done,
        } = request;
        match self.journal.begin_snapshot(seq, &hash, format, body) {
            Ok(task) => self.snapshot = Some((task, on_done)),
            Err(error) => self.call(|| on_done(Err(error))),
        }
    }

    fn step_snapshot(&mut self) {
        let Some((mut task, on_done)) = self.snapshot.take() else {
            return;
        };
        match self.journal.step_snapshot(&mut task) {
            Ok(Progress::More) => {
                self.snapshot = Some((task, on_done));
                self.part_due = Instant::now();
                if std::mem::take(&mut self.committed) {
                    self.part_due += PART_EVERY;
                }
            }
            Ok(Progress::Done) => {
                self.shared.lock().metrics.snapshots += 1;
                self.call(|| on_done(Ok(())));
            }
            Err(error) => self.call(|| on_done(Err(error))),
        }
    }
}

/// Takes whole batches from the front: at least one, and no more than fit a commit.
fn take_batches(state: &mut State, commit_rows: usize) -> Vec<Batch> {
    let mut taken = Vec::new();
    let mut rows = 0;
    while let Some(next) = state.batches.front() {
        if !taken.is_empty() && rows + next.entries.len() > commit_rows.min(MAX_BATCH_ENTRIES) {
            break;
        }
        let Some(batch) = state.batches.pop_front() else {
            break;
        };
        rows += batch.entries.len();
        state.rows -= batch.entries.len();
        state.bytes -= batch.bytes;
        taken.push(batch);
    }
    taken
}

/// How many batches end at or before entry `index` of all of them.
fn whole_batches_before(batches: &[Batch], index: usize) -> usize {
    let mut end = 0;
    batches
        .iter()
        .take_while(|batch| {
            end += batch.entries.len();
            end <= index
        })
        .count()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::writer::{SubmitError, Writer, WriterOptions};
    use crate::{AppendError, Entry, Journal};

    #[test]
    fn after_a_failed_sync_nothing_is_taken_until_resume_has_reopened_the_journal() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut journal = Journal::open(dir.path()).expect("a new journal");
        let event = |n| vec![Entry::new(n, "tick", &b"{}"[..])];
        let head = journal.append(&event(1)).expect("a working disk");
        journal.failing = Some(rusqlite::ffi::SQLITE_IOERR_FSYNC);
        let writer = Writer::spawn(journal, WriterOptions::default()).expect("a thread");

        let failed = |outcome| match outcome {
            Err(SubmitError::Failed(error)) => error,
            other => panic!("not failed: {other:?}"),
        };
        let first = failed(writer.submit_and_wait(event(2)));
        assert!(matches!(*first, AppendError::Io(_)), "{first}");
        let second = failed(writer.submit_and_wait(event(2)));
        assert!(
            Arc::ptr_eq(&first, &second),
            "the same error until it is resumed"
        );

        let resumed = writer.resume().expect("a working disk");
        assert_eq!((resumed.head, resumed.acknowledged), (head, head));
        // Still failing: it fails anew instead of remembering.
        let third = failed(writer.submit_and_wait(event(2)));
        assert!(matches!(*third, AppendError::Io(_)) && !Arc::ptr_eq(&first, &third));
        assert_eq!(writer.metrics().failures, 2);
    }
}
