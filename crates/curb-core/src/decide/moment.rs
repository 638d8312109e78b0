//! The present, as a value: what a decision may know besides the state.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::outlook::Outlook;
use super::pace::Pace;
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
    /// How fast jobs are started on each cluster; one that is not named is not paced. Only foresight needs it: at the
    /// moment itself the gate decides.
    pub paces: Arc<BTreeMap<String, Pace>>,
    /// Whether every waiting job was looked at since the last event, so that none of them could start (see
    /// [`super::next`]). Where it is not so, a new submission waits its turn behind them.
    pub settled: bool,
    /// Which quotas apply.
    pub(crate) calendar: Arc<Calendar>,
    pub(crate) version: u32,
    /// It is one of a queue that is run ahead already: what its stops lead to is not played ahead again.
    pub(super) foreseen: bool,
    /// The last outlook, shared by all later moments that come of this one.
    outlook: Arc<Mutex<Option<Arc<Outlook>>>>,
}

impl Moment {
    /// The present for a state. A clock that is behind the journal is brought up to it.
    #[must_use]
    pub fn new(state: &State, now: Timestamp) -> Moment {
        let now = now.in_calendar().max(state.now());
        Moment {
            now,
            gates: BTreeMap::new(),
            paces: Arc::default(),
            settled: true,
            calendar: Arc::new(Calendar::at(state.policy(), now)),
            version: state.policy_version(),
            foreseen: false,
            outlook: Arc::default(),
        }
    }

    /// What is open, for somebody who wants to know of what came with event `seq`: as it was within the last second, and
    /// if it can be had without copying too often, since that event.
    pub(crate) fn outlook(&self, state: &State, seq: u64) -> Arc<Outlook> {
        // An outlook is whole or not there, whatever panicked.
        let mut kept = self.outlook.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = &*kept
            && kept.serves(self.now, seq)
        {
            return Arc::clone(kept);
        }
        let outlook = Arc::new(Outlook::of(state, self));
        *kept = Some(Arc::clone(&outlook));
        outlook
    }

    /// The same for running the queue ahead, sharing no outlook with it.
    pub(super) fn alone(&self) -> Moment {
        Moment {
            foreseen: true,
            outlook: Arc::default(),
            ..self.clone()
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

    /// The same under a policy that has changed, or another state.
    #[must_use]
    pub fn anew(self, state: &State, now: Timestamp) -> Moment {
        Moment {
            gates: self.gates,
            paces: self.paces,
            ..Moment::new(state, now)
        }
    }

    /// Counts a start on a cluster, and shuts its gate until the next.
    pub(super) fn started(&mut self, cluster: &str) {
        if self.gate(cluster) == Gate::Down || !self.paces.contains_key(cluster) {
            return;
        }
        let now = self.now;
        if let Some(pace) = Arc::make_mut(&mut self.paces).get_mut(cluster) {
            pace.started(now);
            let gate = match pace.next(now) {
                Some(next) => Gate::Paced { next },
                None => Gate::Open,
            };
            self.gates.insert(cluster.to_owned(), gate);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlook_serves_for_a_second_but_not_who_came_after_it() {
        let state = State::default();
        let first = Moment::new(&state, Timestamp(1_000));
        let found = first.outlook(&state, state.seq());
        let same = |moment: &Moment, seq| Arc::ptr_eq(&found, &moment.outlook(&state, seq));
        let soon = first.clone().at(&state, Timestamp(1_999));
        assert!(same(&soon, 0), "a thousand tails cost one copy");
        let late = first.clone().at(&state, Timestamp(2_000));
        assert!(!same(&late, 0), "its second is over");
        let found = late.outlook(&state, 0);
        assert!(!Arc::ptr_eq(&found, &late.outlook(&state, 1)));
    }
}
