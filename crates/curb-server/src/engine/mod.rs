//! The engine: the one thread that owns the ledger.
//!
//! A command is decided on the state, its events are applied in memory and handed to the journal's writer, and its answer
//! is let go only when the writer says that they are on disk. Many commands share one commit. While a commit is under
//! way the next commands are decided on the state ahead of it; if the commit fails, all of them fail, and the state is
//! loaded again from what is durable.

mod bounds;
mod landing;
mod metering;
mod pace;
#[cfg(test)]
mod tests;
mod thread;

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use curb_core::decide::Moment;
use curb_core::ledger::{Event, State};
use curb_core::subject::JobId;
use curb_core::time::Millis;
use curb_journal::SideWrite;
use curb_journal::writer::WriterHandle;
use tokio::sync::{oneshot, watch};

pub use thread::{EngineOptions, spawn};

use crate::auth::Tokens;

/// Commands that may wait; above it the answer is 503.
const QUEUE: usize = 8192;
/// How long an answer waits until what it rests on is durable.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// An event to be written, with what goes beside it.
#[derive(Debug)]
pub struct Draft {
    /// The event.
    pub event: Event,
    /// Side writes in the same transaction.
    pub side: Vec<SideWrite<'static>>,
}

impl From<Event> for Draft {
    fn from(event: Event) -> Draft {
        Draft {
            event,
            side: Vec::new(),
        }
    }
}

/// What a command decided.
#[derive(Debug)]
pub struct Decision<T> {
    /// What happened.
    pub events: Vec<Draft>,
    /// The answer.
    pub reply: T,
    /// Whether the answer waits until the events are durable.
    pub wait: bool,
}

impl<T> Decision<T> {
    /// Events that must be durable before the answer; without any, the answer waits until all that it rests on is.
    pub fn durable(events: Vec<Event>, reply: T) -> Decision<T> {
        Decision {
            events: events.into_iter().map(Draft::from).collect(),
            reply,
            wait: true,
        }
    }

    /// Events that are written without anybody waiting for it.
    pub fn noted(events: Vec<Event>, reply: T) -> Decision<T> {
        Decision {
            events: events.into_iter().map(Draft::from).collect(),
            reply,
            wait: false,
        }
    }
}

/// Why a command has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// Too much waits already.
    #[error("too many requests wait for a decision")]
    Busy,
    /// The journal cannot be written: nothing is decided until it can.
    #[error("the journal is not writable ({0})")]
    NotWritable(String),
    /// The journal could not hold what was decided: nothing of it has happened.
    #[error("too large for the journal ({0})")]
    Unfit(String),
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

/// A command as the thread sees it.
pub(crate) trait Task: Send {
    /// Decides; gives the events and whether the answer waits for them.
    fn decide(&mut self, state: &State, moment: &Moment) -> (Vec<Draft>, bool);
    /// Lets the answer go.
    fn done(self: Box<Self>, outcome: Result<(), EngineError>);
}

/// A look at the state.
pub(crate) type Look = Box<dyn FnOnce(&State, &Moment) + Send>;

pub(crate) enum Command {
    /// Looks at the state; served even while the journal is not writable.
    Read(Look),
    /// Looks at what is durable of it.
    Look(Box<dyn Task>),
    /// Changes it.
    Change(Box<dyn Task>),
    /// A cluster can be reached, or not.
    Up { cluster: String, up: bool },
    /// The next turn to start something on a cluster besides granted jobs.
    Turn {
        cluster: String,
        patience: Millis,
        tell: oneshot::Sender<Option<Millis>>,
    },
    /// Write what there is, take a snapshot, end.
    Stop(oneshot::Sender<()>),
}

struct Change<T, F> {
    decide: Option<F>,
    reply: Option<T>,
    tell: oneshot::Sender<Result<T, EngineError>>,
}

impl<T, F> Task for Change<T, F>
where
    T: Send,
    F: FnOnce(&State, &Moment) -> Decision<T> + Send,
{
    fn decide(&mut self, state: &State, moment: &Moment) -> (Vec<Draft>, bool) {
        let Some(decide) = self.decide.take() else {
            return (Vec::new(), false);
        };
        let decision = decide(state, moment);
        self.reply = Some(decision.reply);
        (decision.events, decision.wait)
    }

    fn done(mut self: Box<Self>, outcome: Result<(), EngineError>) {
        let reply = match outcome {
            Ok(()) => self.reply.take().ok_or(EngineError::Stopping),
            Err(e) => Err(e),
        };
        // Whoever asked may have gone: the events count all the same.
        let _ = self.tell.send(reply);
    }
}

/// Events for which nobody waits.
struct Noted {
    what: String,
    events: Vec<Draft>,
}

impl Task for Noted {
    fn decide(&mut self, _: &State, _: &Moment) -> (Vec<Draft>, bool) {
        (std::mem::take(&mut self.events), false)
    }

    fn done(self: Box<Self>, outcome: Result<(), EngineError>) {
        if let Err(error) = outcome {
            tracing::warn!(%error, "{} was not written", self.what);
        }
    }
}

/// What the engine shows without being asked.
#[derive(Debug, Default)]
pub struct Health {
    problem: RwLock<Option<String>>,
}

impl Health {
    /// Why the journal cannot be written, if it cannot.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.problem
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set_problem(&self, problem: Option<String>) {
        *self.problem.write().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

/// Told which waiting jobs were granted, once that is durable.
pub type OnGranted = Box<dyn Fn(Vec<JobId>) + Send + Sync>;

/// The way to the engine; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    commands: SyncSender<Command>,
    health: Arc<Health>,
    tokens: Arc<Tokens>,
    changed: watch::Receiver<u64>,
    writer: WriterHandle,
    thread: Arc<Mutex<Option<std::thread::JoinHandle<()>>>>,
}

impl Engine {
    /// Looks at the state as it is at the moment, ahead of the disk: for words that are of the moment anyhow, for what is
    /// decided again before it counts, and for what must be told while the disk hangs. Else see [`Engine::look`].
    ///
    /// # Errors
    /// Busy or stopping.
    pub async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&State, &Moment) -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        let (tell, told) = oneshot::channel();
        self.send(Command::Read(Box::new(move |state, moment| {
            // Whoever asked may have gone.
            let _ = tell.send(look(state, moment));
        })))?;
        told.await.map_err(|_| EngineError::Stopping)
    }

    /// Looks at the state for an answer that a crash must not belie: it comes when all that was seen is durable. While the
    /// journal is not writable, what is seen is what it holds.
    ///
    /// # Errors
    /// Busy, stopping, or what was seen does not become durable, or not in time.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&State, &Moment) -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        let (tell, told) = oneshot::channel();
        let look =
            |state: &State, moment: &Moment| Decision::durable(Vec::new(), look(state, moment));
        self.send(Command::Look(Box::new(Change {
            decide: Some(look),
            reply: None,
            tell,
        })))?;
        match tokio::time::timeout(LOOK_WITHIN, told).await {
            Ok(answer) => answer.map_err(|_| EngineError::Stopping)?,
            Err(_) => Err(EngineError::NotWritable(format!(
                "the disk has not taken for {LOOK_WITHIN:?} what an answer rests on"
            ))),
        }
    }

    /// Looks at the state, and answers only when all that was seen is durable; not at all while the journal is not
    /// writable. What is done outside on the strength of a look must use this one.
    ///
    /// # Errors
    /// Busy, stopping, or the journal is not writable.
    pub async fn read_durable<T: Send + 'static>(
        &self,
        look: impl FnOnce(&State, &Moment) -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        self.change(move |state, moment| Decision::durable(Vec::new(), look(state, moment)))
            .await
    }

    /// Decides and writes. The answer comes when the decision says: at once, or when it is durable.
    ///
    /// # Errors
    /// Busy, stopping, or the journal is not writable; then nothing has happened.
    pub async fn change<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&State, &Moment) -> Decision<T> + Send + 'static,
    ) -> Result<T, EngineError> {
        let (tell, told) = oneshot::channel();
        self.send(Command::Change(Box::new(Change {
            decide: Some(decide),
            reply: None,
            tell,
        })))?;
        told.await.map_err(|_| EngineError::Stopping)?
    }

    /// Writes what was learnt from Ray. Waits while the engine is busy, at most some seconds: what is lost here is
    /// learnt again by the next look at Ray.
    ///
    /// # Errors
    /// As [`Engine::change`].
    pub async fn note(&self, events: Vec<Event>) -> Result<(), EngineError> {
        for _ in 0..100 {
            let copy = events.clone();
            match self.change(move |_, _| Decision::noted(copy, ())).await {
                Err(EngineError::Busy) => tokio::time::sleep(Duration::from_millis(50)).await,
                other => return other,
            }
        }
        Err(EngineError::Busy)
    }

    /// The same for who goes on at once: whoever asks the engine later finds it done. What is not written is logged, as
    /// `what`.
    pub async fn note_soon(&self, what: String, events: Vec<Event>) {
        let copy = events.iter().cloned().map(Draft::from).collect();
        let task = Box::new(Noted {
            what: what.clone(),
            events: copy,
        });
        let lost = match self.send(Command::Change(task)) {
            Ok(()) => None,
            Err(EngineError::Busy) => self.note(events).await.err(),
            Err(error) => Some(error),
        };
        if let Some(error) = lost {
            tracing::warn!(%error, "{what} was not written");
        }
    }

    /// Says whether a cluster can be reached.
    pub fn set_up(&self, cluster: &str, up: bool) -> Result<(), EngineError> {
        self.send(Command::Up {
            cluster: cluster.to_owned(),
            up,
        })
    }

    /// Takes the next turn of a cluster's start rate for something that costs Ray as much as a start, and says how long
    /// until then. It goes before the jobs that wait. `None`: that would be longer than `patience`; no turn was taken.
    ///
    /// # Errors
    /// Busy or stopping.
    pub async fn turn(
        &self,
        cluster: &str,
        patience: Duration,
    ) -> Result<Option<Duration>, EngineError> {
        let (tell, told) = oneshot::channel();
        let patience = Millis(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX));
        self.send(Command::Turn {
            cluster: cluster.to_owned(),
            patience,
            tell,
        })?;
        let wait = told.await.map_err(|_| EngineError::Stopping)?;
        Ok(wait.map(|ms| Duration::from_millis(ms.0)))
    }

    /// Ends the engine: what is decided is written, a snapshot is taken, the journal is closed.
    pub async fn stop(&self) {
        let (tell, told) = oneshot::channel();
        let mut command = Command::Stop(tell);
        loop {
            match self.commands.try_send(command) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(back)) => {
                    command = back;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
        // An error means that the thread has ended, which is what is wanted.
        let _ = told.await;
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    /// Whether the journal can be written.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// The tokens.
    #[must_use]
    pub fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }

    /// Tells the number of the newest event whenever there is one.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    /// The journal's writer, for its figures.
    #[must_use]
    pub fn writer(&self) -> &WriterHandle {
        &self.writer
    }

    fn send(&self, command: Command) -> Result<(), EngineError> {
        self.commands.try_send(command).map_err(|e| match e {
            TrySendError::Full(_) => EngineError::Busy,
            TrySendError::Disconnected(_) => EngineError::Stopping,
        })
    }
}
