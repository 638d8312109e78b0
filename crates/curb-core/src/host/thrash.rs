//! Whether a workload that is at its limit on memory gets on, or only reads its own program back from disk.
//!
//! At its limit the kernel first takes back what it can: page cache, and with it the text of the program itself. Where next to
//! nothing else is left to take, what was taken is wanted at once, and is read back from disk, which takes the place of
//! something else. Each time the kernel "succeeds", hence it kills nobody, and the program stands still for ever.
//!
//! What others go by: systemd-oomd ends a group whose `memory.pressure` is above 60% for 30 s, Facebook's oomd takes `full`
//! pressure of the kind for 10 to 30 s. Both need pressure stall information, which kernels and version 1 may not have, and
//! which does not see all of it: only pages that the kernel takes for the working set count, and of a cache of a few pages
//! none is. Hence two signs, of which either suffices; and for both a read-back rate that no program which works has with so
//! little cache.

use super::{Bytes, Permille};
use crate::time::Millis;

/// Rates are taken over at least so long.
const WINDOW: Millis = Millis(1_000);
/// It is told after so long, without a break ...
pub const TOLD_AFTER: Millis = Millis(10_000);
/// ... and never on fewer windows than these, however rarely it is looked at.
const LEAST_WINDOWS: u32 = 5;
/// Unless somebody says otherwise it is ended after so long: systemd-oomd's 30 s.
pub const ENDED_AFTER: Millis = Millis(30_000);
/// At its limit: within a hundredth of it, or the kernel counts that it was met.
const AT_LIMIT: Permille = Permille(990);
/// The least rate that counts: 1 MiB a second in pages of 4 KiB. A disk that turns reads back more than that.
const LEAST_PAGES: u64 = 256;
/// Stalled for at least this part of the time, all of it together: systemd-oomd's and oomd's 60%.
const STALLED: Permille = Permille(600);
/// And of its limit at most this part is cache: who reads a file that is larger than its limit has filled it with cache.
const STALLED_CACHE: Permille = Permille(125);
/// Where the kernel does not tell, or not all of it: next to no cache is left ...
const NO_CACHE: Permille = Permille(31);
/// ... all of which is read back so many times a second ...
const TURNS: u64 = 4;
/// ... by faults, so many a second, and not by reading a file. (One fault was seen to read 32 pages back, and 355.)
const LEAST_FAULTS: u64 = 8;

/// What was counted at one moment. `None` is not known. Counts only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// When.
    pub at: Millis,
    /// Memory at present.
    pub used: Option<Bytes>,
    /// The limit in force.
    pub limit: Option<Bytes>,
    /// How often the limit was met and something was given back instead.
    pub hits: Option<u64>,
    /// Page cache of files, what is in memory alone (shared memory) left out.
    pub cache: Option<Bytes>,
    /// Pages of files that were read back after they had been given up.
    pub refaults: Option<u64>,
    /// Faults that waited for a disk.
    pub major_faults: Option<u64>,
    /// For how long all of it stood still for want of memory, in microseconds.
    pub stalled: Option<u64>,
}

/// It thrashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thrashing {
    /// Since when.
    pub since: Millis,
    /// For how long, at the last look.
    pub lasted: Millis,
    /// Memory at the last look.
    pub used: Bytes,
    /// The limit.
    pub limit: Bytes,
    /// Pages that it read back a second, of late.
    pub pages_a_second: u64,
    /// Of that time it stood still, where that is known.
    pub stalled: Option<Permille>,
}

/// Looks, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Thrash {
    from: Option<Look>,
    since: Option<Millis>,
    windows: u32,
    now: Option<Thrashing>,
}

impl Thrash {
    /// Takes in a look, and says whether it thrashes.
    pub fn read(&mut self, look: Look) -> Option<Thrashing> {
        let Some(from) = self.from else {
            self.from = Some(look);
            return None;
        };
        let span = look.at.0.saturating_sub(from.at.0);
        if span < WINDOW.0 {
            return self.now;
        }
        self.from = Some(look);
        let Some((pages_a_second, stalled)) = stands_still(&from, &look, span) else {
            *self = Thrash {
                from: Some(look),
                ..Thrash::default()
            };
            return None;
        };
        let since = *self.since.get_or_insert(from.at);
        self.windows = self.windows.saturating_add(1);
        let lasted = Millis(look.at.0.saturating_sub(since.0));
        self.now = (lasted >= TOLD_AFTER && self.windows >= LEAST_WINDOWS).then_some(Thrashing {
            since,
            lasted,
            used: look.used.unwrap_or_default(),
            limit: look.limit.unwrap_or_default(),
            pages_a_second,
            stalled,
        });
        self.now
    }
}

/// Whether it only read back what it had just given up, and how fast: pages a second, and which part of the time it is known to
/// have stood still. What is not known is no sign of it.
fn stands_still(from: &Look, to: &Look, span: u64) -> Option<(u64, Option<Permille>)> {
    let rate = |from: Option<u64>, to: Option<u64>| {
        Some(to?.checked_sub(from?)?.saturating_mul(1000) / span)
    };
    let (used, limit) = (to.used?, to.limit?);
    let hits = rate(from.hits, to.hits);
    let at_limit = used.0 >= AT_LIMIT.of(limit.0) || to.hits > from.hits && hits.is_some();
    // Older kernels do not count what is read back: each fault that waits for a disk reads a page at least.
    let faults = rate(from.major_faults, to.major_faults);
    let pages = match to.refaults {
        Some(_) => rate(from.refaults, to.refaults)?,
        None => faults?,
    };
    if !at_limit || pages < LEAST_PAGES {
        return None;
    }
    let stalled = rate(from.stalled, to.stalled)
        .map(|micros| Permille(u32::try_from(micros / 1000).unwrap_or(u32::MAX).min(1000)));
    let cache = to.cache?.0.max(from.cache?.0);
    let is_stalled = stalled >= Some(STALLED) && cache <= STALLED_CACHE.of(limit.0);
    let turns = cache <= NO_CACHE.of(limit.0)
        && pages.saturating_mul(PAGE) >= cache.saturating_mul(TURNS)
        && faults >= Some(LEAST_FAULTS);
    (is_stalled || turns).then_some((pages, stalled))
}

/// Pages are at least so large; where they are larger, more is read back than is counted here.
const PAGE: u64 = 4 << 10;

#[cfg(test)]
mod tests;
