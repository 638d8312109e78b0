//! Processes that the kernel killed for memory while the command lived on.

use std::time::{Duration, Instant};

use curb_core::host::ladder::What;
use rustix::process::Signal;

use super::once::{Main, Once};
use crate::counts::Counts;
use crate::proc::Procfs;

/// Whoever was killed has that long to be gone: only then the others are told to live on.
const LIVES_ON: Duration = Duration::from_millis(500);

/// The kernel's kills, as far as they were told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kills {
    told: u64,
    seen: Option<Instant>,
}

impl Once<'_> {
    /// Tells of kills that the command has survived; of its own death is told at its end.
    pub(super) fn mind_kills(&mut self, counts: &Counts) {
        let all = counts.oom_kills.unwrap_or(0);
        let kills = all.saturating_sub(self.kills.told);
        if kills == 0 || self.stop.is_some() || self.gone_by.is_some() {
            return;
        }
        let seen = *self.kills.seen.get_or_insert_with(Instant::now);
        if seen.elapsed() < LIVES_ON || self.is_dying() {
            return;
        }
        self.kills = Kills {
            told: all,
            seen: None,
        };
        self.teller.tell(What::OomKilled {
            kills,
            limit: self.limits.memory,
            from_above: counts.killed_from_above,
        });
    }

    /// A large program that was killed takes its time: the signal waits, or its memory is gone and it is not yet.
    fn is_dying(&self) -> bool {
        let number = Signal::KILL.as_raw();
        let process = match &self.main {
            // Not waited for yet: the number is its own.
            Main::Child(_) => Procfs::open().and_then(|p| p.process(self.main_pid())),
            Main::Other(handle) => Procfs::open().and_then(|p| p.same(handle.id())),
        };
        let status = process.and_then(|p| p.status());
        status.map_or(true, |s| {
            s.resident.is_none() || s.waits(number) != Some(false)
        })
    }
}
