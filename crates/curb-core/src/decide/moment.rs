//! The present, as a value: what a decision may know besides the state.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::calendar::Calendar;
use crate::ledger::State;
use crate::time::Timestamp;

/// Whether jobs may be started on a cluster at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    /// Yes.
    #[default]
    Open,
    /// The next one at this time, so that Ray's head node is not flooded.
    Paced {
        /// When.
        next: Timestamp,
    },
    /// The cluster cannot be reached.
    Down,
}

/// The present.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The time; never before that of the last event.
    pub now: Timestamp,
    /// The gate of each cluster; one that is not named is open.
    pub gates: BTreeMap<String, Gate>,
    /// Whether every waiting job was looked at since the last event, so that none of them could start (see
    /// [`super::next`]). Where it is not so, a new submission waits its turn behind them.
    pub settled: bool,
    /// Which quotas apply.
    pub(crate) calendar: Arc<Calendar>,
    pub(crate) version: u32,
}

impl Moment {
    /// The present for a state. A clock that is behind the journal is brought up to it.
    #[must_use]
    pub fn new(state: &State, now: Timestamp) -> Moment {
        let now = now.in_calendar().max(state.now());
        Moment {
            now,
            gates: BTreeMap::new(),
            settled: true,
            calendar: Arc::new(Calendar::at(state.policy(), now)),
            version: state.policy_version(),
        }
    }

    /// The same at a later time, taking over the calendar while it is good.
    #[must_use]
    pub fn at(mut self, state: &State, now: Timestamp) -> Moment {
        let now = now.in_calendar().max(state.now());
        let back = now < self.now;
        self.now = now;
        if back || now >= self.calendar.until || self.version != state.policy_version() {
            self.calendar = Arc::new(Calendar::at(state.policy(), now));
            self.version = state.policy_version();
        }
        self
    }

    /// The gate of a cluster.
    #[must_use]
    pub fn gate(&self, cluster: &str) -> Gate {
        self.gates.get(cluster).copied().unwrap_or_default()
    }

    pub(crate) fn applies(&self, quota: usize) -> bool {
        self.calendar.active.get(quota).copied().unwrap_or(false)
    }

    /// When whether a quota applies changes next.
    pub(crate) fn change_of(&self, quota: usize) -> Option<Timestamp> {
        self.calendar.changes.get(quota).copied().flatten()
    }
}
