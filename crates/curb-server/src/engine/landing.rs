//! What is done when a batch is on disk, or is known never to be.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use curb_core::ledger::State;
use curb_core::subject::JobId;
use curb_journal::writer::{SubmitError, WriterHandle};
use curb_journal::{AppendError, Head, OwnedEntry};
use tokio::runtime::Handle;

use super::{EngineError, Health, OnGranted, Task};

/// How long a batch is held back while the writer's queue is full. A disk that takes nothing for so long is broken.
const BUSY_FOR: Duration = Duration::from_secs(30);
/// Between two attempts to hand over a batch.
const PAUSE: Duration = Duration::from_millis(1);

/// Batches that are on their way to disk.
#[derive(Default)]
pub(super) struct Flight {
    pub(super) count: AtomicUsize,
    pub(super) failure: Mutex<Option<String>>,
}

/// Whom a batch's outcome concerns.
pub(super) struct Landing {
    pub(super) waiting: Vec<Box<dyn Task>>,
    pub(super) granted: Vec<JobId>,
    pub(super) snapshot: Option<State>,
    pub(super) flight: Arc<Flight>,
    pub(super) on_granted: Arc<OnGranted>,
    pub(super) writer: WriterHandle,
    pub(super) health: Arc<Health>,
    pub(super) runtime: Option<Handle>,
}

/// From so many on, answers are let go by a task of the runtime.
const MANY: usize = 4;

/// Lets answers go. Each wakes a task, which from a thread outside of the runtime is a call of the kernel: for many at
/// once one task is woken, which wakes the others from within.
fn let_go(runtime: Option<Handle>, waiting: Vec<Box<dyn Task>>) {
    let many = waiting.len() >= MANY;
    let all = move || waiting.into_iter().for_each(|task| task.done(Ok(())));
    match runtime.filter(|_| many) {
        // A runtime that is going away drops the task: whoever asked is told that the server stops.
        Some(runtime) => drop(runtime.spawn(async move { all() })),
        None => all(),
    }
}

impl Landing {
    /// The commit came back.
    fn land(self, outcome: Result<Head, Arc<AppendError>>) {
        let flight = Arc::clone(&self.flight);
        match outcome {
            Ok(head) => {
                let_go(self.runtime, self.waiting);
                if !self.granted.is_empty() {
                    (self.on_granted)(self.granted);
                }
                if let Some(state) = self.snapshot {
                    super::thread::take_snapshot(self.writer, state, head.hash);
                }
            }
            Err(error) => {
                let text = crate::text_of(&*error);
                // At once: the thread itself may sleep until its next tick.
                self.health.set_problem(Some(text.clone()));
                for task in self.waiting {
                    task.done(Err(EngineError::NotWritable(text.clone())));
                }
                flight
                    .failure
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert(text);
            }
        }
        // Last: who sees no batch on its way also sees whether one failed.
        flight.count.fetch_sub(1, Ordering::AcqRel);
    }

    /// The writer never took it.
    fn refused(self, why: &str) {
        self.flight.count.fetch_sub(1, Ordering::AcqRel);
        for task in self.waiting {
            task.done(Err(EngineError::NotWritable(why.to_owned())));
        }
    }
}

/// Hands a batch to the writer, waiting while its queue is full.
///
/// # Errors
/// Why the writer did not take it; those who wait were told.
pub(super) fn hand_over(
    writer: &WriterHandle,
    entries: Vec<OwnedEntry>,
    landing: Landing,
) -> Result<(), String> {
    landing.flight.count.fetch_add(1, Ordering::AcqRel);
    // Only this thread submits, so that a queue that has room keeps it.
    let until = Instant::now() + BUSY_FOR;
    while !writer.has_room(&entries) && Instant::now() < until {
        std::thread::sleep(PAUSE);
    }
    // The writer drops the callback of a batch that it does not take: what it would do must survive that.
    let slot = Arc::new(Mutex::new(Some(landing)));
    let theirs = Arc::clone(&slot);
    let taken = writer.submit(entries, move |outcome| {
        let landing = theirs.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(landing) = landing {
            landing.land(outcome);
        }
    });
    let Err(error) = taken else { return Ok(()) };
    let text = match &error {
        SubmitError::Failed(cause) => crate::text_of(&**cause),
        other => other.to_string(),
    };
    let landing = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(landing) = landing {
        landing.refused(&text);
    }
    Err(text)
}
