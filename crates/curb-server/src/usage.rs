//! Use over time: what jobs are seen to hold goes into the journal, and a table of all grants follows the journal.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use curb_core::ledger::{Event, Phase};
use curb_core::time::Millis;
use curb_core::truth::HeldMeter;
use curb_journal::Reader;
use curb_usage::{Books, Query, Sums};
use tokio::sync::Mutex;

use crate::app::App;
use crate::engine::Decision;
use crate::reply::Failure;
use crate::truth::Seen;

/// The table is brought up to date so often, so that a question has little to read.
const EVERY: Duration = Duration::from_secs(60);
/// So many grants are written down in one turn.
const A_TURN: usize = 1_000;

/// The table of grants of a data directory, opened when it is first needed.
#[derive(Clone, Debug)]
pub struct BookKeeper {
    dir: PathBuf,
    books: Arc<Mutex<Option<(Books, Reader)>>>,
}

impl BookKeeper {
    /// Of a data directory.
    #[must_use]
    pub fn new(dir: PathBuf) -> BookKeeper {
        BookKeeper {
            dir,
            books: Arc::default(),
        }
    }

    /// Reads on in the journal up to its end, then uses the table; with it comes the number of the last record. On a thread
    /// that may block, one at a time: whoever waits takes no such thread from others.
    async fn with<T: Send + 'static>(
        &self,
        then: impl FnOnce(&Books) -> Result<T, curb_usage::Error> + Send + 'static,
    ) -> Result<(T, u64), String> {
        let keeper = self.clone();
        let mut books = Arc::clone(&self.books).lock_owned().await;
        let work = tokio::task::spawn_blocking(move || {
            let done = keeper.read_on(&mut books, then);
            if done.is_err() {
                // Opened anew the next time: what is wrong may be with what is kept open.
                *books = None;
            }
            done
        });
        work.await.map_err(|e| crate::text_of(&e))?
    }

    fn read_on<T>(
        &self,
        kept: &mut Option<(Books, Reader)>,
        then: impl FnOnce(&Books) -> Result<T, curb_usage::Error>,
    ) -> Result<(T, u64), String> {
        if kept.is_none() {
            let reader = Reader::open(&self.dir).map_err(|e| crate::text_of(&e))?;
            let books = Books::open(&self.dir).map_err(|e| crate::text_of(&e))?;
            *kept = Some((books, reader));
        }
        let Some((books, reader)) = kept else {
            return Err("the table of grants is not open".to_owned());
        };
        let seq = books.catch_up(reader).map_err(|e| crate::text_of(&e))?;
        let found = then(books).map_err(|e| crate::text_of(&e))?;
        Ok((found, seq))
    }

    /// Sums of all that is in the journal, and the number of its last record.
    ///
    /// # Errors
    /// The journal cannot be read, or the table not be written.
    pub async fn sums(&self, query: Query) -> Result<(Sums, u64), Failure> {
        let sums = self.with(move |books| books.sums(&query)).await;
        sums.map_err(|why| {
            tracing::warn!(%why, "use cannot be summed up");
            Failure::unavailable(
                "curb: use cannot be summed up at the moment",
                "try again in a while; what is wrong is in the server's log",
                30,
            )
        })
    }
}

/// Keeps the table up to date until the server stops.
pub async fn keep(app: Arc<App>) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first one at once is for whoever starts: not while there is so much else to do.
    tick.reset();
    let mut failing = false;
    loop {
        tokio::select! {
            () = app.stopping.cancelled() => return,
            _ = tick.tick() => {}
        }
        let done = app.books.with(|_| Ok(())).await;
        let failed_before = std::mem::replace(&mut failing, done.is_err());
        if let Err(why) = done
            && !failed_before
        {
            tracing::warn!(%why, "the table of grants is not kept up to date until this is over");
        }
    }
}

/// Counts what the jobs of a cluster were seen to hold, and writes down what is due.
pub async fn meter(app: &App, cluster: &str, meter: &mut HeldMeter, seen: &Seen, every: Millis) {
    let (name, at) = (cluster.to_owned(), seen.at);
    let running = app
        .engine
        .read(move |state, _| {
            state
                .jobs()
                .filter(|j| j.new.cluster == name)
                .filter(|j| matches!(&j.phase, Phase::Running(g) if g.since < at))
                .map(|j| (j.new.id.clone(), j.attempt))
                .collect::<Vec<_>>()
        })
        .await;
    // Without an answer the server is stopping.
    let Ok(running) = running else { return };
    meter.saw(at, running, &seen.held.jobs);
    write_down(app, meter, every).await;
}

/// Writes down what jobs held that are over, or were watched for so long.
pub async fn write_down(app: &App, meter: &mut HeldMeter, every: Millis) {
    let due = meter.due(every, A_TURN);
    if due.is_empty() {
        return;
    }
    let events: Vec<Event> = due
        .iter()
        .map(|((id, attempt), metered)| Event::Metered {
            id: id.clone(),
            attempt: *attempt,
            held: metered.held.clone(),
            watched: metered.watched,
        })
        .collect();
    let written = app
        .engine
        .change(move |_, _| Decision::durable(events, ()))
        .await;
    if written.is_err() {
        meter.put_back(due);
    }
}
