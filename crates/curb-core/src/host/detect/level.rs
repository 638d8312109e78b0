//! More than what is usual, for a while.

use super::{Change, Evidence, Kind, Settings};
use crate::host::{Bytes, MilliCpu};
use crate::time::Millis;

/// One value against the upper end of what is usual.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Level {
    /// Above since, without a break.
    above: Option<Millis>,
    /// Since when it has been odd, once that was told.
    active: Option<Millis>,
    /// While it is told: back since, without a break.
    back: Option<Millis>,
}

impl Level {
    /// `(now, usual)`: what is not known changes nothing.
    pub fn read(
        &mut self,
        at: Millis,
        settings: &Settings,
        (now, usual): (Option<u64>, Option<u64>),
        kind: Kind,
    ) -> Option<Change> {
        let Some(usual) = usual else {
            // The baseline is gone: there is nothing to be above of.
            return self.end(at, kind);
        };
        let now = now?;
        let margin = settings.level_margin.of(usual);
        if let Some(since) = self.active {
            if now > usual.saturating_add(margin / 2) {
                self.back = None;
                return None;
            }
            let back = *self.back.get_or_insert(at);
            if at.0.saturating_sub(back.0) < settings.level_for.0 {
                return None;
            }
            *self = Level::default();
            // It was over when it came back, not when that was believed.
            return Some(ended(kind, since, back));
        }
        if now <= usual.saturating_add(margin) {
            self.above = None;
            return None;
        }
        let since = *self.above.get_or_insert(at);
        if at.0.saturating_sub(since.0) < settings.level_for.0 {
            return None;
        }
        self.active = Some(since);
        Some(Change::Began {
            kind,
            since,
            evidence: evidence(kind, now, usual),
        })
    }

    pub fn is_active(&self) -> bool {
        self.active.is_some()
    }

    pub fn end(&mut self, at: Millis, kind: Kind) -> Option<Change> {
        let level = std::mem::take(self);
        level.active.map(|since| ended(kind, since, at))
    }
}

pub(super) fn ended(kind: Kind, since: Millis, at: Millis) -> Change {
    Change::Ended {
        kind,
        since,
        lasted: Millis(at.0.saturating_sub(since.0)),
    }
}

fn evidence(kind: Kind, now: u64, usual: u64) -> Evidence {
    match kind {
        Kind::Cpu => Evidence::Cpu {
            now: MilliCpu(now),
            usual: MilliCpu(usual),
        },
        Kind::Tasks => Evidence::Tasks { now, usual },
        _ => Evidence::Memory {
            now: Bytes(now),
            usual: Bytes(usual),
        },
    }
}
