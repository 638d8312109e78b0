//! Starting again and again.

use std::collections::VecDeque;

use super::level::ended;
use super::{Change, Evidence, Kind, Settings};
use crate::time::Millis;

/// So many starts are remembered at most.
const MOST: usize = 64;

#[derive(Clone, Debug, Default)]
pub(super) struct Restarts {
    starts: VecDeque<Millis>,
    active: Option<Millis>,
}

impl Restarts {
    pub fn started(&mut self, at: Millis, settings: &Settings) -> Option<Change> {
        let over = self.look(at, settings);
        if self.starts.len() == MOST {
            self.starts.pop_front();
        }
        self.starts.push_back(at);
        let times = u32::try_from(self.starts.len()).unwrap_or(u32::MAX);
        if over.is_some() || self.active.is_some() || times < settings.restarts.max(1) {
            return over;
        }
        let since = *self.starts.front()?;
        self.active = Some(since);
        Some(Change::Began {
            kind: Kind::Restarts,
            since,
            evidence: Evidence::Restarts {
                times,
                within: Millis(at.0.saturating_sub(since.0)),
            },
        })
    }

    /// It is over once nothing was started for the whole time.
    pub fn look(&mut self, at: Millis, settings: &Settings) -> Option<Change> {
        let within = settings.restarts_within.0;
        let old = |start: &Millis| at.0.saturating_sub(start.0) > within;
        while self.starts.front().is_some_and(old) {
            self.starts.pop_front();
        }
        if !self.starts.is_empty() {
            return None;
        }
        let since = self.active.take()?;
        Some(ended(Kind::Restarts, since, at))
    }

    pub fn is_active(&self) -> bool {
        self.active.is_some()
    }
}
