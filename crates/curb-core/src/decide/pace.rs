//! Start pacing: how many jobs a cluster is given a second, so that Ray's head node lives.

use crate::time::Timestamp;

/// The pace of one cluster, as a generic cell rate algorithm (ITU-T I.371).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between two starts, in microseconds; 0 for no pacing.
    interval: i64,
    /// How far the next start may be ahead of when it is due, in microseconds.
    ahead: i64,
    /// When the next start would be due if they came evenly, in microseconds.
    due: i64,
}

impl Pace {
    /// A pace of so many starts in a thousand seconds (0: none is paced), of which so many may come at once.
    #[must_use]
    pub fn new(rate_milli: u64, burst: u32) -> Pace {
        let interval = match rate_milli {
            0 => 0,
            rate => i64::try_from(1_000_000_000 / rate)
                .unwrap_or(i64::MAX)
                .max(1),
        };
        Pace {
            interval,
            ahead: interval.saturating_mul(i64::from(burst.max(1)) - 1),
            due: 0,
        }
    }

    /// When the next job may be started, if not now. Rounded up: then it may.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let opens = self.due.saturating_sub(self.ahead);
        let paced = self.interval > 0 && micros(now) < opens;
        paced.then(|| Timestamp(opens.saturating_add(999) / 1000))
    }

    /// Counts a start.
    pub fn started(&mut self, now: Timestamp) {
        self.due = self.due.max(micros(now)).saturating_add(self.interval);
    }
}

fn micros(t: Timestamp) -> i64 {
    t.0.saturating_mul(1000)
}
