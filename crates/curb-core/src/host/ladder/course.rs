//! After a death: again, the fallback, or giving up.

use std::collections::VecDeque;

use crate::host::limits::Retry;
use crate::host::{Bytes, Permille};
use crate::time::Millis;

/// How a run ended, as far as it matters for what is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// A limit ended it, that a new start (or a smaller command) may keep to. Not its wall clock: that was all its time.
    pub by_limit: bool,
    /// More memory of its own may help: not where a group above it, or the host, had no more.
    pub more_helps: bool,
    /// The limit on memory that it was started with, whatever a pause made of it.
    pub memory: Option<Bytes>,
    /// The most memory that its ladder lets it have.
    pub most: Option<Bytes>,
    /// What the host could give now that it has ended, what is to stay free already taken off. None: not known, hence nothing.
    pub host_left: Option<Bytes>,
}

/// What is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It ended for a reason of its own: so do we.
    Over,
    /// It is started again.
    Again {
        /// Which retry within the window, from 1.
        attempt: u32,
        /// Of how many.
        of: u32,
        /// After this wait.
        after: Millis,
        /// With this limit on memory. None: it has none.
        memory: Option<Bytes>,
        /// It was to get more than the host has left.
        less_than_wanted: bool,
    },
    /// The other command is started in its place.
    Fallback {
        /// Failures within the window before that.
        failures: u32,
    },
    /// Nothing is started any more.
    GiveUp {
        /// Failures within the window before that.
        failures: u32,
    },
}

/// What was tried, and what may be.
#[derive(Clone, Debug)]
pub struct Course {
    retry: Option<Retry>,
    fallback: bool,
    /// When retries were, or will be, started: never more than `times` within the window.
    starts: VecDeque<Millis>,
}

impl Course {
    /// Nothing has been tried yet.
    #[must_use]
    pub fn new(retry: Option<Retry>, fallback: bool) -> Course {
        Course {
            retry,
            fallback,
            starts: VecDeque::new(),
        }
    }

    /// What is next. The jitter is a random number of thousandths, 0 to 1000.
    pub fn after(&mut self, now: Millis, death: Death, jitter: Permille) -> Next {
        if !death.by_limit {
            return Next::Over;
        }
        let failures = match self.again(now, death, jitter) {
            Ok(again) => return again,
            Err(failures) => failures,
        };
        if self.fallback {
            self.fallback = false;
            self.starts.clear();
            return Next::Fallback { failures };
        }
        Next::GiveUp { failures }
    }

    fn again(&mut self, now: Millis, death: Death, jitter: Permille) -> Result<Next, u32> {
        let Some(retry) = self.retry else {
            return Err(1);
        };
        let before = self.within(now, retry.within);
        let after = back_off(retry, before, jitter);
        let start = Millis(now.0.saturating_add(after.0));
        let tried = self.within(start, retry.within);
        if tried >= retry.times {
            return Err(tried.saturating_add(1));
        }
        self.starts.push_back(start);
        let (memory, less_than_wanted) = more(retry, death);
        Ok(Next::Again {
            attempt: tried + 1,
            of: retry.times,
            after,
            memory,
            less_than_wanted,
        })
    }

    /// How many starts there are in the window that ends now; those before it are forgotten.
    fn within(&mut self, now: Millis, window: Millis) -> u32 {
        let over = |start: &Millis| now.0.saturating_sub(start.0) >= window.0;
        while self.starts.front().is_some_and(over) {
            self.starts.pop_front();
        }
        u32::try_from(self.starts.len()).unwrap_or(u32::MAX)
    }
}

/// Twice as long each time, never above the longest; of that between a half and all.
fn back_off(retry: Retry, before: u32, jitter: Permille) -> Millis {
    let factor = 1_u64.checked_shl(before).unwrap_or(u64::MAX);
    let whole = retry.first.0.saturating_mul(factor).min(retry.most.0);
    let half = whole / 2;
    Millis(half + Permille(jitter.0.min(1000)).of(whole - half))
}

fn more(retry: Retry, death: Death) -> (Option<Bytes>, bool) {
    let Some(Bytes(had)) = death.memory else {
        return (None, false);
    };
    let wanted = match death.more_helps {
        true => retry.memory.more_than(had),
        false => had,
    };
    let most = death.most.map_or(u64::MAX, |most| most.0);
    let wanted = wanted.min(most).saturating_sub(had);
    // It holds nothing any more: all that it may hold has to be there.
    let room = death.host_left.map_or(0, |left| left.0.saturating_sub(had));
    let given = wanted.min(room);
    (Some(Bytes(had.saturating_add(given))), given < wanted)
}
