//! What the engine's thread does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use curb_core::decide::{self, Gate, Moment};
use curb_core::ledger::{Event, Recorded, SNAPSHOT_FORMAT, State};
use curb_core::subject::JobId;
use curb_core::time::{Millis, Timestamp};
use curb_journal::OwnedEntry;
use curb_journal::writer::WriterHandle;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::bounds::{Prepared, prepare, weight};
use super::landing::{Flight, Landing, hand_over};
use super::metering::RefusalMeter;
use super::pace::Pace;
use super::{Command, Draft, Engine, EngineError, Health, OnGranted, QUEUE, Task};
use crate::auth::Tokens;
use crate::clock::Clock;
use crate::recover;

/// Commands decided before their events are handed to the writer.
const BATCH: usize = 256;
/// Entries after which a batch is handed over, also in the middle of a turn.
const BATCH_ROWS: usize = 4096;
/// Bytes after which it is.
const BATCH_BYTES: usize = 8 << 20;
/// Batches on their way to disk; above it the thread waits, and the commands with it.
const IN_FLIGHT: usize = 64;
/// After a turn of so many commands the thread waits a little before the next: those who ask then wake it once, not each
/// of them, and more of them share a commit, which takes far longer than this.
const CROWD: usize = 8;
/// How long it waits then.
const GATHER: Duration = Duration::from_micros(200);
/// How long events that nobody waits for may wait for company on their way to disk.
const NOTED_FOR: Duration = Duration::from_millis(5);
/// Jobs taken from the queue in one turn.
const STARTS_A_TURN: usize = 64;
/// Looks that wait while the journal is loaded again.
const HELD: usize = 1024;
/// How often it is seen whether it is.
const MEND_LOOK: Duration = Duration::from_millis(5);
/// Events between two snapshots: what a start replays at most, in well under a second.
const SNAPSHOT_EVERY: u64 = 150_000;
/// How often time itself is looked at.
const TICK: Duration = Duration::from_secs(1);

/// What the engine is started with.
pub struct EngineOptions {
    /// The data directory.
    pub dir: PathBuf,
    /// The state at the journal's head.
    pub state: State,
    /// The journal's writer.
    pub writer: WriterHandle,
    /// Starts in a thousand seconds, by cluster.
    pub start_rates: BTreeMap<String, u64>,
    /// The clock.
    pub clock: Clock,
    /// Told about granted jobs once that is durable.
    pub on_granted: OnGranted,
}

/// Starts the thread.
///
/// # Errors
/// The system gives no thread.
pub fn spawn(options: EngineOptions) -> std::io::Result<Engine> {
    let (commands, inbox) = sync_channel(QUEUE);
    let (tell, changed) = watch::channel(options.state.seq());
    let health = Arc::new(Health::default());
    let tokens = Arc::new(Tokens::default());
    tokens.publish(&options.state);
    let writer = options.writer.clone();
    let moment = Moment::new(&options.state, options.clock.now());
    let thread = Thread {
        inbox,
        moment,
        paces: options
            .start_rates
            .iter()
            .map(|(name, rate)| (name.clone(), Pace::new(*rate)))
            .collect(),
        snapshot_at: options.state.seq() + SNAPSHOT_EVERY,
        state: options.state,
        dir: options.dir,
        writer: options.writer,
        clock: options.clock,
        on_granted: Arc::new(options.on_granted),
        runtime: Handle::try_current().ok(),
        flight: Arc::new(Flight::default()),
        batch: Batch::default(),
        meter: RefusalMeter::default(),
        health: Arc::clone(&health),
        tokens: Arc::clone(&tokens),
        tell,
        look: true,
        broken: false,
        reloaded: false,
        held: Vec::new(),
        mending: None,
        mend_due: Instant::now(),
        next_tick: Instant::now(),
    };
    let thread = std::thread::Builder::new()
        .name("engine".into())
        .spawn(move || thread.run())?;
    let thread = Arc::new(Mutex::new(Some(thread)));
    Ok(Engine {
        commands,
        health,
        tokens,
        changed,
        writer,
        thread,
    })
}

/// What one commit will carry.
#[derive(Default)]
struct Batch {
    entries: Vec<OwnedEntry>,
    /// Bytes of the entries.
    bytes: usize,
    waiting: Vec<Box<dyn Task>>,
    granted: Vec<JobId>,
    /// When it is handed over at the latest.
    due: Option<Instant>,
}

impl Batch {
    /// Whether it goes to disk now: somebody waits for it, or its time has come.
    fn is_due(&self) -> bool {
        !self.waiting.is_empty()
            || !self.granted.is_empty()
            || self.due.is_some_and(|due| Instant::now() >= due)
    }
}

struct Thread {
    inbox: Receiver<Command>,
    state: State,
    moment: Moment,
    paces: BTreeMap<String, Pace>,
    dir: PathBuf,
    writer: WriterHandle,
    clock: Clock,
    on_granted: Arc<OnGranted>,
    /// Of those who asked, if the engine was started on one.
    runtime: Option<Handle>,
    flight: Arc<Flight>,
    batch: Batch,
    meter: RefusalMeter,
    health: Arc<Health>,
    tokens: Arc<Tokens>,
    tell: watch::Sender<u64>,
    /// Something may have made room: the queue must be looked at before anything new is decided.
    look: bool,
    /// The journal failed and was not loaded again yet.
    broken: bool,
    /// What is in memory is what the journal holds; of interest while it is broken.
    reloaded: bool,
    /// Looks that wait for that.
    held: Vec<Box<dyn Task>>,
    /// Somebody is at it.
    mending: Option<Receiver<Step>>,
    /// When that is looked at next.
    mend_due: Instant,
    next_tick: Instant,
    snapshot_at: u64,
}

impl Thread {
    fn run(mut self) {
        let mut taken = 0;
        loop {
            if taken >= CROWD {
                std::thread::sleep(GATHER);
            }
            taken = 0;
            let command = match self.inbox.recv_timeout(self.patience()) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.check_failure();
            self.advance();
            self.try_to_mend();
            let mut next = command;
            let mut stop = None;
            for _ in 0..BATCH {
                match next.take() {
                    Some(Command::Stop(tell)) => {
                        stop = Some(tell);
                        break;
                    }
                    Some(command) => self.take(command),
                    None => break,
                }
                taken += 1;
                next = self.inbox.try_recv().ok();
            }
            // The last one of a full batch.
            match next {
                Some(Command::Stop(tell)) => stop = Some(tell),
                Some(command) => self.take(command),
                None => {}
            }
            self.look_at_queue();
            if self.batch.is_due() {
                self.flush();
            }
            if let Some(tell) = stop {
                self.end();
                let _ = tell.send(());
                return;
            }
        }
        self.end();
    }

    /// How long to wait for a command.
    fn patience(&self) -> Duration {
        let tick = self.next_tick.saturating_duration_since(Instant::now());
        if self.look && !self.broken {
            return Duration::ZERO;
        }
        if self.broken {
            let mend = self.mend_due.saturating_duration_since(Instant::now());
            return mend.min(tick);
        }
        let paced = self.moment.gates.values().filter_map(|g| match g {
            Gate::Paced { next } if self.state.queued_count() > 0 => {
                Some(Duration::from_millis(next.since(self.clock.now()).0 + 1))
            }
            _ => None,
        });
        let due = self
            .batch
            .due
            .map(|due| due.saturating_duration_since(Instant::now()));
        paced.chain(due).chain([tick]).min().unwrap_or(tick)
    }

    /// Brings the moment up to now; on a tick, lets time itself change things.
    fn advance(&mut self) {
        let now = self.clock.now();
        // `at` keeps the calendar of the old moment while it is good.
        self.moment = self.moment.clone().at(&self.state, now);
        self.open_gates();
        if Instant::now() < self.next_tick {
            return;
        }
        self.next_tick = Instant::now() + TICK;
        self.look = true;
        if !self.broken && !self.meter.is_idle() {
            let counted = self.meter.flush(self.moment.now);
            self.record(counted.into_iter().map(Draft::from).collect());
        }
    }

    fn open_gates(&mut self) {
        for (name, pace) in &self.paces {
            foresee(&mut self.moment, name, pace);
            let gate = pace.gate(self.moment.now);
            let before = self.moment.gates.get(name).copied();
            if before != Some(gate) {
                if gate == Gate::Open && before.is_some() {
                    self.look = true;
                }
                self.moment.gates.insert(name.clone(), gate);
            }
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Read(look) => look(&self.state, &self.moment),
            Command::Up { cluster, up } => {
                if let Some(pace) = self.paces.get_mut(&cluster) {
                    pace.up = up;
                }
                self.open_gates();
            }
            Command::Turn {
                cluster,
                patience,
                tell,
            } => {
                let now = self.moment.now;
                let pace = self.paces.get_mut(&cluster);
                // A cluster without a pace is not paced. Whoever asked may have gone: a turn is lost.
                let _ = tell.send(pace.map_or(Some(Millis(0)), |p| p.turn(now, patience)));
                self.open_gates();
            }
            Command::Look(task) => self.show(task),
            Command::Change(task) if self.broken => task.done(Err(self.not_writable())),
            Command::Change(task) => self.change(task),
            // Handled by the loop.
            Command::Stop(_) => {}
        }
    }

    /// Shows the state to whoever answers on the strength of it.
    fn show(&mut self, mut task: Box<dyn Task>) {
        let ahead = !self.batch.entries.is_empty() || self.flight.count.load(Ordering::Acquire) > 0;
        if !ahead {
            self.check_failure();
        }
        if self.broken && !self.reloaded {
            // What is in memory may never have happened.
            if self.held.len() < HELD {
                self.held.push(task);
            } else {
                task.done(Err(self.not_writable()));
            }
            return;
        }
        // It has no events.
        let _ = task.decide(&self.state, &self.moment);
        if ahead && !self.broken {
            self.batch.waiting.push(task);
        } else {
            task.done(Ok(()));
        }
    }

    fn change(&mut self, mut task: Box<dyn Task>) {
        self.look_at_queue();
        self.moment.settled = !self.look;
        let (events, wait) = task.decide(&self.state, &self.moment);
        let events: Vec<Draft> = events
            .into_iter()
            .filter(|d| self.meter.keeps(&d.event))
            .collect();
        let prepared = match prepare(events, self.moment.now) {
            Ok(prepared) => prepared,
            Err(error) => {
                task.done(Err(error));
                return;
            }
        };
        // Without events of its own an answer waits for those that it rests on.
        let ahead = !self.batch.entries.is_empty() || self.flight.count.load(Ordering::Acquire) > 0;
        if !ahead {
            // The last batch may have failed since this turn began: its outcome is written before it counts as landed.
            self.check_failure();
        }
        let wait = wait && (ahead || !prepared.is_empty());
        if self.broken {
            task.done(Err(self.not_writable()));
            return;
        }
        self.enter(prepared);
        if self.broken {
            task.done(Err(self.not_writable()));
        } else if wait {
            self.batch.waiting.push(task);
        } else {
            task.done(Ok(()));
        }
    }

    /// Applies the engine's own events and puts them into the batch.
    fn record(&mut self, events: Vec<Draft>) {
        match prepare(events, self.moment.now) {
            Ok(prepared) => self.enter(prepared),
            Err(error) => {
                tracing::error!(%error, "what the engine itself decided is left undone");
                self.look = false;
            }
        }
    }

    /// Applies events that the journal can hold and puts them into the batch.
    fn enter(&mut self, prepared: Vec<Prepared>) {
        let bytes: usize = prepared.iter().map(|p| weight(&p.entry)).sum();
        let rows = self.batch.entries.len() + prepared.len();
        if rows > BATCH_ROWS || self.batch.bytes + bytes > BATCH_BYTES {
            self.flush();
            // What was decided rests on what has just failed.
            if self.broken {
                return;
            }
        }
        self.batch.bytes += bytes;
        if !prepared.is_empty() {
            self.batch
                .due
                .get_or_insert_with(|| Instant::now() + NOTED_FOR);
        }
        for Prepared { event, entry } in prepared {
            self.batch.entries.push(entry);
            self.note(&event);
            let rec = Recorded {
                seq: self.state.seq() + 1,
                at: self.moment.now,
                event,
            };
            self.state.apply(&rec);
            match &rec.event {
                // Ahead of the disk: nobody has been told a new token before it is durable, and a revoked one is
                // refused a moment early at worst.
                Event::TokenCreated(_) | Event::TokenRevoked { .. } => {
                    self.tokens.publish(&self.state)
                }
                Event::PolicyApplied { .. } => {
                    let now = self.moment.now;
                    self.moment = self.moment.clone().anew(&self.state, now);
                }
                _ => {}
            }
        }
    }

    /// What an event means to pacing, the dispatcher and the queue.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Admitted { job, .. } => {
                let cluster = job.cluster.clone();
                self.started(&cluster);
            }
            Event::Granted { id, .. } => {
                self.batch.granted.push(id.clone());
                if let Some(cluster) = self.state.job(id).map(|j| j.new.cluster.clone()) {
                    self.started(&cluster);
                }
            }
            Event::Queued { .. }
            | Event::Refused { .. }
            | Event::RefusalsCounted { .. }
            | Event::Confirmed { .. }
            | Event::Exceeded { .. }
            | Event::Within { .. }
            | Event::Stepped { .. }
            | Event::Hidden { .. }
            | Event::TokenCreated(_)
            | Event::TokenRevoked { .. } => {}
            Event::PolicyApplied { .. }
            | Event::ModeSet { .. }
            | Event::ClusterObserved { .. }
            | Event::NotStarted { .. }
            | Event::Ended { .. }
            | Event::StopRequested { .. }
            | Event::Released { .. }
            | Event::Exempted { .. }
            | Event::Metered { .. }
            | Event::OverrideAdded(_)
            | Event::OverrideRemoved { .. } => self.look = true,
        }
    }

    fn started(&mut self, cluster: &str) {
        if let Some(pace) = self.paces.get_mut(cluster) {
            pace.started(self.moment.now);
            foresee(&mut self.moment, cluster, pace);
            self.moment
                .gates
                .insert(cluster.to_owned(), pace.gate(self.moment.now));
        }
    }

    /// Starts what waits and fits. Bounded: what is left is done in the next turn.
    fn look_at_queue(&mut self) {
        if !self.look || self.broken {
            return;
        }
        for _ in 0..STARTS_A_TURN {
            if self.state.queued_count() == 0 {
                self.look = false;
                return;
            }
            let events = decide::next(&self.state, &self.moment);
            if events.is_empty() {
                self.look = false;
                return;
            }
            self.record(events.into_iter().map(Draft::from).collect());
            if !self.look || self.broken {
                return;
            }
        }
    }

    /// Hands the batch to the writer.
    fn flush(&mut self) {
        if self.batch.entries.is_empty() && self.batch.waiting.is_empty() {
            return;
        }
        while self.flight.count.load(Ordering::Acquire) >= IN_FLIGHT {
            std::thread::sleep(Duration::from_micros(200));
        }
        let batch = std::mem::take(&mut self.batch);
        let snapshot = (self.state.seq() >= self.snapshot_at).then(|| {
            self.snapshot_at = self.state.seq() + SNAPSHOT_EVERY;
            self.state.clone()
        });
        let landing = Landing {
            waiting: batch.waiting,
            granted: batch.granted,
            snapshot,
            flight: Arc::clone(&self.flight),
            on_granted: Arc::clone(&self.on_granted),
            writer: self.writer.clone(),
            health: Arc::clone(&self.health),
            runtime: self.runtime.clone(),
        };
        match hand_over(&self.writer, batch.entries, landing) {
            Ok(()) => {
                self.tell.send_replace(self.state.seq());
            }
            Err(text) => self.fail(text),
        }
    }

    fn check_failure(&mut self) {
        let failure = self
            .flight
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(text) = failure {
            self.fail(text);
        }
    }

    /// The state in memory is ahead of the disk for good: nothing is decided on it any more.
    fn fail(&mut self, text: String) {
        if !self.broken {
            tracing::error!(reason = %text, "the journal is not writable: nothing is admitted until it is");
        }
        if !self.broken {
            (self.reloaded, self.mend_due) = (false, Instant::now());
        }
        self.broken = true;
        self.health.set_problem(Some(text.clone()));
        let batch = std::mem::take(&mut self.batch);
        for task in batch.waiting {
            task.done(Err(EngineError::NotWritable(text.clone())));
        }
    }

    fn not_writable(&self) -> EngineError {
        EngineError::NotWritable(
            self.health
                .problem()
                .unwrap_or_else(|| "it failed".to_owned()),
        )
    }

    /// Goes back to what is durable, on another thread: looks go on meanwhile.
    fn try_to_mend(&mut self) {
        if !self.broken || Instant::now() < self.mend_due {
            return;
        }
        self.mend_due = Instant::now() + MEND_LOOK;
        let Some(steps) = self.mending.take() else {
            self.begin_to_mend();
            return;
        };
        loop {
            match steps.try_recv() {
                Ok(Step::Read(state)) => self.take_back(*state),
                Ok(Step::Writable) => return self.mended(),
                Ok(Step::Failed(problem)) => {
                    self.health.set_problem(Some(problem));
                    self.answer_held();
                    self.mend_due = Instant::now() + TICK;
                    return;
                }
                Err(TryRecvError::Empty) => {
                    self.mending = Some(steps);
                    return;
                }
                // It is begun anew.
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }

    fn begin_to_mend(&mut self) {
        if self.flight.count.load(Ordering::Acquire) > 0 {
            return;
        }
        self.check_failure();
        let (tell, told) = sync_channel(2);
        let (writer, dir) = (self.writer.clone(), self.dir.clone());
        let spawned = std::thread::Builder::new()
            .name("mend".into())
            .spawn(move || {
                let failed = mend(&writer, &dir, &tell).err().map(Step::Failed);
                // When the engine has ended nobody needs the outcome.
                let _ = tell.send(failed.unwrap_or(Step::Writable));
            });
        match spawned {
            Ok(_) => self.mending = Some(told),
            Err(error) => self.health.set_problem(Some(error.to_string())),
        }
    }

    /// The state is what the journal holds again, whether that can be written or not.
    fn take_back(&mut self, state: State) {
        self.state = state;
        let now = self.clock.now();
        self.moment = self.moment.clone().anew(&self.state, now);
        self.tokens.publish(&self.state);
        self.reloaded = true;
        self.tell.send_replace(self.state.seq());
        self.answer_held();
    }

    /// Lets those look who waited for what is durable, or tells them that it could not be read.
    fn answer_held(&mut self) {
        for mut task in std::mem::take(&mut self.held) {
            if self.reloaded {
                let _ = task.decide(&self.state, &self.moment);
                task.done(Ok(()));
            } else {
                task.done(Err(self.not_writable()));
            }
        }
    }

    fn mended(&mut self) {
        tracing::warn!(seq = self.state.seq(), "the journal is writable again");
        (self.broken, self.look) = (false, true);
        self.health.set_problem(None);
    }

    /// Writes what there is, takes a snapshot, closes the journal.
    fn end(&mut self) {
        if !self.broken {
            let mut counted = self.meter.flush(Timestamp(i64::MAX));
            counted.truncate(1000);
            self.record(counted.into_iter().map(Draft::from).collect());
        }
        self.flush();
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.flight.count.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.check_failure();
        let head = self.writer.head();
        if !self.broken && head.seq == self.state.seq() && head.seq > 0 {
            let (tell, told) = sync_channel(1);
            let body = self.state.snapshot();
            let sent = self.writer.put_snapshot(
                head.seq,
                head.hash,
                SNAPSHOT_FORMAT,
                body,
                move |outcome| {
                    let _ = tell.send(outcome.is_ok());
                },
            );
            if sent.is_ok() {
                let done = told.recv_timeout(Duration::from_secs(30));
                tracing::info!(
                    seq = head.seq,
                    written = done == Ok(true),
                    "snapshot at the end"
                );
            }
        }
        self.writer.close();
    }
}

/// What the thread that mends tells.
enum Step {
    /// What the journal holds.
    Read(Box<State>),
    /// It can be written again.
    Writable,
    /// It cannot be read, or not be written: why.
    Failed(String),
}

/// Tells what is durable, opens the journal again, and proves by a snapshot that it can be written.
fn mend(
    writer: &WriterHandle,
    dir: &std::path::Path,
    tell: &std::sync::mpsc::SyncSender<Step>,
) -> Result<(), String> {
    // Reading needs no writer, which may be long in coming back.
    let state = recover::load(dir).map_err(|e| crate::text_of(&e))?.state;
    let (read, body) = (state.seq(), state.snapshot());
    // When the engine has ended nobody needs it.
    let _ = tell.send(Step::Read(Box::new(state)));
    let resumed = writer.resume().map_err(|e| crate::text_of(&e))?;
    let (seq, hash) = (resumed.head.seq, resumed.head.hash);
    if read != seq {
        return Err(format!(
            "the journal's head is {seq}, but only {read} could be read"
        ));
    }
    if seq == 0 {
        return Ok(());
    }
    let (done, told) = sync_channel(1);
    writer
        .put_snapshot(seq, hash, SNAPSHOT_FORMAT, body, move |outcome| {
            // Nobody waits any more after the time below.
            let _ = done.send(outcome.map_err(|e| crate::text_of(&e)));
        })
        .map_err(|e| crate::text_of(&e))?;
    match told.recv_timeout(Duration::from_secs(60)) {
        Ok(outcome) => outcome,
        Err(_) => Err("a write did not come back within a minute".to_owned()),
    }
}

pub(super) fn take_snapshot(writer: WriterHandle, state: State, hash: curb_journal::Hash) {
    let seq = state.seq();
    let spawned = std::thread::Builder::new().name("snapshot".into()).spawn(move || {
        let body = state.snapshot();
        drop(state);
        let bytes = body.len();
        let sent = writer.put_snapshot(seq, hash, SNAPSHOT_FORMAT, body, move |outcome| match outcome {
            Ok(()) => tracing::info!(seq, bytes, "snapshot written"),
            Err(error) => tracing::warn!(seq, %error, "a snapshot was not written; the journal goes on without it"),
        });
        if let Err(error) = sent {
            tracing::warn!(seq, %error, "a snapshot was not taken; the journal goes on without it");
        }
    });
    if let Err(error) = spawned {
        tracing::warn!(%error, "no thread for a snapshot; the journal goes on without it");
    }
}

/// Tells those who look ahead how fast a cluster is given jobs, if that has changed.
fn foresee(moment: &mut Moment, cluster: &str, pace: &Pace) {
    let pace = pace.ahead();
    if moment.paces.get(cluster) != Some(&pace) {
        Arc::make_mut(&mut moment.paces).insert(cluster.to_owned(), pace);
    }
}
