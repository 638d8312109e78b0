//! One request from its place to its end. Dropped, it gives its place back, wherever it was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use crate::counts::Outcome;
use crate::desk::Place;
use crate::reply::Refusal;
use crate::shared::{Called, Shared};
use crate::state::{State, Target};
use crate::suspects::Fingerprint;

pub(crate) struct Flight {
    pub(crate) shared: Arc<Shared>,
    pub(crate) place: Place,
    begun: Instant,
    deadline: Instant,
    deaths_before: u64,
    ended: bool,
}

impl Flight {
    pub(crate) fn new(shared: Arc<Shared>, place: Place) -> Self {
        let begun = Instant::now();
        Self {
            deadline: begun + shared.limits.deadline,
            shared,
            place,
            begun,
            deaths_before: 0,
            ended: false,
        }
    }

    pub(crate) fn deadline(&self) -> tokio::time::Instant {
        self.deadline.into()
    }

    pub(crate) fn took(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Waits for its turn; `alone`: with nobody beside it.
    pub(crate) async fn turn(&self, alone: bool) -> Result<(), Refusal> {
        let mut called = self.shared.wait(self.place, alone);
        let (deadline, patience) = (self.deadline(), self.patience());
        for until in [patience.min(deadline), deadline] {
            match tokio::time::timeout_at(until, &mut called).await {
                Ok(Ok(Called::Turn)) => {
                    self.shared.has_its_turn(self.took());
                    return Ok(());
                }
                Ok(Ok(Called::Shut) | Err(_)) => {
                    return Err(Refusal::NotUp(self.shared.state()));
                }
                Err(_) if self.shared.state() == State::Starting => break,
                Err(_) => {}
            }
        }
        Err(self.shared.waited(self.took()))
    }

    /// Until when a server is waited for that does not listen yet.
    pub(crate) fn patience(&self) -> tokio::time::Instant {
        (self.begun + self.shared.limits.start_patience).into()
    }

    /// The server has it from now on, or may have.
    pub(crate) fn sent(&mut self, target: Target, print: Option<Fingerprint>, over: AbortHandle) {
        self.deaths_before = self.shared.deaths();
        self.shared
            .sent(self.place, target, print, self.deadline, over);
    }

    /// Whether the server died while it had this, or it is told within a moment that it did.
    pub(crate) async fn server_died(&self) -> bool {
        self.shared.died_since(self.deaths_before).await
    }

    /// The connection broke in the middle of an answer.
    pub(crate) fn broke_off(&mut self) {
        let died = self.shared.deaths() != self.deaths_before;
        self.end(if died {
            Outcome::Died
        } else {
            Outcome::BrokeOff
        });
    }

    pub(crate) fn end(&mut self, outcome: Outcome) {
        if !std::mem::replace(&mut self.ended, true) {
            self.shared.leave(self.place, outcome, self.begun.elapsed());
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.end(Outcome::ClientLeft);
    }
}
