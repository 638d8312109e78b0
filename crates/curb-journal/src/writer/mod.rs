//! Group commit: many threads submit, one thread writes, one sync serves all who wait.
//!
//! While a commit syncs, batches queue up; the next commit takes them all. Answers come in the order of
//! submission, on the writer's thread, after the sync.
//!
//! The state in memory is ahead of the disk by what is queued. So when a commit fails, everything behind it
//! fails too (it was decided on events that never became durable), and the writer takes nothing more until
//! [`WriterHandle::resume`] has looked at the journal again and the caller has gone back to what is durable.

mod metrics;
mod thread;

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

pub use metrics::{COMMIT_BOUNDS_MICROS, Metrics};

use crate::entry::{Head, OwnedEntry};
use crate::error::{AppendError, OpenError};
use crate::hash::Hash;
use crate::journal::Journal;
use crate::snapshot::SnapshotError;

/// Bounds of the writer.
#[derive(Clone, Copy, Debug)]
pub struct WriterOptions {
    /// Entries that may wait, over all batches; above it `submit` answers [`SubmitError::Busy`]. A single
    /// batch over the bound is taken while nothing else waits. Default 16,384.
    pub queue_rows: usize,
    /// Bytes that may wait. Same rule. Default 64 MiB.
    pub queue_bytes: usize,
    /// Batches that may wait (an empty batch is one, too). Default 16,384.
    pub queue_batches: usize,
    /// A commit takes whole batches up to about this many entries. Default 1,024.
    pub commit_rows: usize,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            queue_rows: 16_384,
            queue_bytes: 64 << 20,
            queue_batches: 16_384,
            commit_rows: 1_024,
        }
    }
}

/// Why a batch was not taken. Its callback is dropped without being called.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The queue is full: answer "try again" to whoever asked.
    #[error("the journal's queue is full ({rows} entries, {bytes} bytes wait): try again shortly")]
    Busy {
        /// Entries that wait.
        rows: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// A commit failed, and nobody has resumed the writer yet.
    #[error("the journal does not take anything until it is resumed")]
    Failed(#[source] Arc<AppendError>),
    /// The writer was closed.
    #[error("the journal is closed")]
    Closed,
}

/// Why the writer could not be resumed. It stays as it is and may be resumed again later.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// The journal could not be reopened.
    #[error("the journal could not be reopened")]
    Open(#[source] OpenError),
    /// What was acknowledged is not in the journal: the disk lost it, or somebody exchanged the file.
    #[error("record {} was acknowledged, but the reopened journal does not have it: its head is {}", .acknowledged.seq, .found.seq)]
    Lost {
        /// The last head that a callback was told.
        acknowledged: Head,
        /// What was found.
        found: Head,
    },
    /// The chain could not be read after reopening.
    #[error("the reopened journal could not be read: {0}")]
    Read(String),
    /// The writer was closed.
    #[error("the journal is closed")]
    Closed,
}

/// Where the journal stands after [`WriterHandle::resume`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Resumed {
    /// The newest record now.
    pub head: Head,
    /// The last head that was acknowledged before.
    pub acknowledged: Head,
}

impl Resumed {
    /// Whether the batch that failed is in the journal after all: an I/O error hit after it was written.
    /// State must then be read from the journal again.
    #[must_use]
    pub fn has_unacknowledged(&self) -> bool {
        self.head != self.acknowledged
    }
}

/// Told when a batch is durable, or why it is not. Runs on the writer's thread: it should be short and must
/// not wait for the writer.
type OnDurable = Box<dyn FnOnce(Result<Head, Arc<AppendError>>) + Send>;
type OnSnapshot = Box<dyn FnOnce(Result<(), SnapshotError>) + Send>;
type OnResume = Box<dyn FnOnce(Result<Resumed, ResumeError>) + Send>;

struct Batch {
    entries: Vec<OwnedEntry>,
    bytes: usize,
    on_durable: OnDurable,
}

struct SnapshotRequest {
    seq: u64,
    hash: Hash,
    format: u32,
    body: Vec<u8>,
    on_done: OnSnapshot,
}

#[derive(Clone, Debug)]
enum Condition {
    Running,
    Failed(Arc<AppendError>),
}

struct State {
    batches: VecDeque<Batch>,
    rows: usize,
    bytes: usize,
    // At most one waits: a newer request replaces an older one, which is of no use any more.
    snapshot: Option<SnapshotRequest>,
    resume: Vec<OnResume>,
    condition: Condition,
    closing: bool,
    ended: bool,
    head: Head,
    metrics: Metrics,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    options: WriterOptions,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that could panic, so a poisoned lock is no reason
        // to take the journal down.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts a journal on a thread of its own.
#[derive(Debug)]
pub struct Writer;

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn spawn(journal: Journal, options: WriterOptions) -> std::io::Result<WriterHandle> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                batches: VecDeque::new(),
                rows: 0,
                bytes: 0,
                snapshot: None,
                resume: Vec::new(),
                condition: Condition::Running,
                closing: false,
                ended: false,
                head: journal.head(),
                metrics: Metrics::default(),
            }),
            work: Condvar::new(),
            options,
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || thread::run(journal, &theirs))?;
        let owner = Owner {
            shared,
            thread: Mutex::new(Some(thread)),
        };
        Ok(WriterHandle {
            owner: Arc::new(owner),
        })
    }
}

/// Closes the writer when the last handle is gone.
struct Owner {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        // No join: the last handle may be dropped by a callback, on the very thread that would be awaited.
        self.shared.lock().closing = true;
        self.shared.work.notify_all();
    }
}

/// The way to the writer's thread; cheap to clone. When the last one is dropped the thread writes what is
/// queued and ends; [`WriterHandle::close`] also waits for that.
#[derive(Clone)]
pub struct WriterHandle {
    owner: Arc<Owner>,
}

impl std::fmt::Debug for WriterHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriterHandle")
            .field("head", &self.head())
            .finish_non_exhaustive()
    }
}

impl WriterHandle {
    fn shared(&self) -> &Shared {
        &self.owner.shared
    }

    /// Queues a batch; never waits. `on_durable` is called once, on the writer's thread, in the order of
    /// submission: with the head after this batch when it is synced, or with the error of the commit that
    /// failed. An empty batch is answered when everything in front of it is durable.
    ///
    /// # Errors
    /// The batch was not taken and `on_durable` is dropped uncalled.
    pub fn submit(
        &self,
        entries: Vec<OwnedEntry>,
        on_durable: impl FnOnce(Result<Head, Arc<AppendError>>) + Send + 'static,
    ) -> Result<(), SubmitError> {
        let bytes = entries.iter().map(OwnedEntry::weight).sum();
        let batch = Batch {
            entries,
            bytes,
            on_durable: Box::new(on_durable),
        };
        let mut state = self.shared().lock();
        if state.closing || state.ended {
            return Err(SubmitError::Closed);
        }
        if let Condition::Failed(error) = &state.condition {
            return Err(SubmitError::Failed(Arc::clone(error)));
        }
        if !self.fits(&state, batch.entries.len(), batch.bytes) {
            state.metrics.busy += 1;
            return Err(SubmitError::Busy {
                rows: state.rows,
                bytes: state.bytes,
            });
        }
        state.rows += batch.entries.len();
        state.bytes += batch.bytes;
        state.batches.push_back(batch);
        drop(state);
        self.shared().work.notify_one();
        Ok(())
    }

    /// Whether [`WriterHandle::submit`] would take these entries now, or say why it takes nothing any more. It stays so
    /// for who is the only one to submit.
    #[must_use]
    pub fn has_room(&self, entries: &[OwnedEntry]) -> bool {
        let bytes = entries.iter().map(OwnedEntry::weight).sum();
        let mut state = self.shared().lock();
        let takes_nothing =
            state.closing || state.ended || matches!(state.condition, Condition::Failed(_));
        let room = takes_nothing || self.fits(&state, entries.len(), bytes);
        // Whoever asks first would else have been turned away.
        state.metrics.busy += u64::from(!room);
        room
    }

    fn fits(&self, state: &State, rows: usize, bytes: usize) -> bool {
        let options = &self.shared().options;
        state.batches.is_empty()
            || (state.batches.len() < options.queue_batches
                && state.rows + rows <= options.queue_rows
                && state.bytes + bytes <= options.queue_bytes)
    }

    /// Submits and waits until the batch is durable. Not for the writer's own callbacks.
    ///
    /// # Errors
    /// It was not taken, or its commit failed.
    pub fn submit_and_wait(&self, entries: Vec<OwnedEntry>) -> Result<Head, SubmitError> {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        self.submit(entries, move |outcome| {
            // If nobody waits any more, nobody needs the answer.
            let _ = tell.send(outcome);
        })?;
        told.recv()
            .map_err(|_| SubmitError::Closed)?
            .map_err(SubmitError::Failed)
    }

    /// Writes a snapshot between commits, a part at a time, so that no commit waits for long. A request that
    /// is still waiting when a newer one comes is dropped, its callback with it.
    ///
    /// A snapshot that cannot be written does not fail the writer, unless the disk itself fails.
    ///
    /// # Errors
    /// The writer is closed or failed.
    pub fn put_snapshot(
        &self,
        seq: u64,
        hash: Hash,
        format: u32,
        body: Vec<u8>,
        on_done: impl FnOnce(Result<(), SnapshotError>) + Send + 'static,
    ) -> Result<(), SubmitError> {
        let request = SnapshotRequest {
            seq,
            hash,
            format,
            body,
            on_done: Box::new(on_done),
        };
        let mut state = self.shared().lock();
        if state.closing || state.ended {
            return Err(SubmitError::Closed);
        }
        if let Condition::Failed(error) = &state.condition {
            return Err(SubmitError::Failed(Arc::clone(error)));
        }
        let replaced = state.snapshot.replace(request);
        drop(state);
        // Outside the lock: dropping it runs somebody's code.
        drop(replaced);
        self.shared().work.notify_one();
        Ok(())
    }

    /// Reopens the journal, checks that the last acknowledged record is in it, and takes batches again.
    /// Waits for the writer's thread, so it is not for its callbacks. On a writer that has not failed this
    /// changes nothing and says where it stands.
    ///
    /// # Errors
    /// The writer stays failed; see [`ResumeError`].
    pub fn resume(&self) -> Result<Resumed, ResumeError> {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let mut state = self.shared().lock();
        if state.closing || state.ended {
            return Err(ResumeError::Closed);
        }
        state.resume.push(Box::new(move |outcome| {
            // If nobody waits any more, nobody needs the answer.
            let _ = tell.send(outcome);
        }));
        drop(state);
        self.shared().work.notify_one();
        told.recv().map_err(|_| ResumeError::Closed)?
    }

    /// The newest acknowledged record.
    #[must_use]
    pub fn head(&self) -> Head {
        self.shared().lock().head
    }

    /// The error that the writer failed with, if it has failed and was not resumed.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<AppendError>> {
        match &self.shared().lock().condition {
            Condition::Running => None,
            Condition::Failed(error) => Some(Arc::clone(error)),
        }
    }

    /// The counters right now.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let state = self.shared().lock();
        Metrics {
            queued_batches: state.batches.len(),
            queued_rows: state.rows,
            queued_bytes: state.bytes,
            ..state.metrics
        }
    }

    /// Takes nothing more, writes what is queued, closes the journal and waits until all of that is done.
    /// Other handles then answer [`SubmitError::Closed`]. Called on the writer's own thread (by a callback)
    /// it does not wait.
    pub fn close(&self) {
        self.shared().lock().closing = true;
        self.shared().work.notify_all();
        let thread = self
            .owner
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic of the writer's thread has already answered everybody with "closed".
            let _ = thread.join();
        }
    }
}
