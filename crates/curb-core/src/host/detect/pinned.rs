//! CPU without progress.
//!
//! Conservative: a long computation without input and output is honest work. Everything that is known of its progress must
//! stand still, and something must be known; a log line a minute is progress.

use super::level::ended;
use super::{Change, Evidence, Kind, Progress, Reading, Settings, rate};
use crate::host::MilliCpu;
use crate::time::Millis;

/// So many waits a second are no progress: the kernel's own timers make some.
const IDLE_WAITS_PER_SECOND: u64 = 2;
/// So many stretches with progress, or without CPU, end it.
const ENOUGH: u32 = 2;

/// Between two readings that know something of the progress.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pinned {
    /// The last reading that knew.
    last: Option<Reading>,
    /// The reading from which on it has not got on.
    from: Option<Reading>,
    active: Option<Millis>,
    moving: u32,
}

impl Pinned {
    pub fn read(&mut self, settings: &Settings, reading: &Reading) -> Option<Change> {
        if !reading.progress.is_known() || reading.cpu_micros.is_none() {
            return None;
        }
        let last = self.last.replace(*reading)?;
        let busy = rate(&last, reading).is_some_and(|cpu| cpu >= settings.pinned_cpu);
        if busy && stands(&last, reading) {
            self.moving = 0;
            let from = *self.from.get_or_insert(last);
            let long = reading.at.0.saturating_sub(from.at.0) >= settings.pinned_for.0;
            if self.active.is_some() || !long {
                return None;
            }
            self.active = Some(from.at);
            return Some(Change::Began {
                kind: Kind::Pinned,
                since: from.at,
                evidence: evidence(&from, reading),
            });
        }
        self.moving += 1;
        if self.active.is_none() || self.moving >= ENOUGH {
            self.from = None;
            self.moving = 0;
            let since = self.active.take()?;
            return Some(ended(Kind::Pinned, since, reading.at));
        }
        None
    }

    pub fn is_active(&self) -> bool {
        self.active.is_some()
    }

    pub fn end(&mut self, at: Millis) -> Option<Change> {
        let pinned = std::mem::take(self);
        let since = pinned.active?;
        Some(ended(Kind::Pinned, since, at))
    }
}

/// What was counted between two readings. A count that went back is of other processes, and not known.
fn between(from: &Progress, to: &Progress) -> Progress {
    let grown = |a: Option<u64>, b: Option<u64>| b?.checked_sub(a?);
    Progress {
        io_bytes: grown(from.io_bytes, to.io_bytes),
        waits: grown(from.waits, to.waits),
        units: grown(from.units, to.units),
    }
}

fn stands(from: &Reading, to: &Reading) -> bool {
    let grown = between(&from.progress, &to.progress);
    let seconds = to.at.0.saturating_sub(from.at.0) / 1000;
    let idle = IDLE_WAITS_PER_SECOND.saturating_mul(seconds.max(1));
    grown.is_known()
        && grown.io_bytes.unwrap_or(0) == 0
        && grown.units.unwrap_or(0) == 0
        && grown.waits.unwrap_or(0) <= idle
}

fn evidence(from: &Reading, to: &Reading) -> Evidence {
    let grown = between(&from.progress, &to.progress);
    Evidence::Pinned {
        cpu: rate(from, to).unwrap_or(MilliCpu(0)),
        io_bytes: grown.io_bytes,
        waits: grown.waits,
        units: grown.units,
    }
}
