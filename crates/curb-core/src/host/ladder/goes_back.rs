//! A limit on memory that was raised, until it is lowered again.

use crate::host::limits::{Reach, Resource, Step};
use crate::host::{Bytes, Permille};
use crate::time::Millis;

use super::climb::HYSTERESIS;

/// Its use has to stay low for so long: what comes and goes with each request is not answered by raising and lowering.
const LOW_FOR: Millis = Millis(10_000);
/// Where no step of the ladder begins lower, this part of the limit is near it.
const NEAR: Permille = Permille(900);

/// When a limit that was raised goes back to what it was: once its use would have been well below every mark of the ladder
/// for a while, also under the lower limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoesBack {
    to: Bytes,
    low: u64,
    since: Option<Millis>,
}

impl GoesBack {
    /// Back to that limit, under a ladder of these steps.
    #[must_use]
    pub fn new(to: Bytes, steps: &[Step]) -> GoesBack {
        let marks = steps.iter().map(|s| s.when).filter_map(|when| {
            let of_memory = when.what == Resource::Memory;
            match when.reach {
                Reach::Above(part) if of_memory => Some(part.0),
                _ => None,
            }
        });
        let lowest = marks.min().unwrap_or(NEAR.0).min(NEAR.0);
        GoesBack {
            to,
            low: Permille(lowest.saturating_sub(HYSTERESIS.0)).of(to.0),
            since: None,
        }
    }

    /// What it goes back to.
    #[must_use]
    pub fn to(&self) -> Bytes {
        self.to
    }

    /// Whether it is time. `used` is what cannot be taken back from it (none: not known, hence not low); `calm`: nothing is
    /// being done about its memory. Once it was, it has to be low for as long again.
    pub fn is_due(&mut self, now: Millis, used: Option<u64>, calm: bool) -> bool {
        if !calm || used.is_none_or(|used| used > self.low) {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        let due = now.0.saturating_sub(since.0) >= LOW_FOR.0;
        if due {
            self.since = None;
        }
        due
    }
}
