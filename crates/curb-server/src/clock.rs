//! The clock, in one place. Tests can move it.
//!
//! What it says never runs back and never stands still: when the system's clock is set back (or an earlier run of the
//! server was ahead of it), time goes on here at nine tenths of its speed until the system's has caught up. So rates refill
//! and budgets begin anew whatever somebody does to the clock. A system clock that is ahead is believed at once.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use curb_core::time::Timestamp;

/// The system's clock made steady, with an offset that only tests change.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset: Arc<AtomicI64>,
    last: Arc<Mutex<Option<Last>>>,
}

/// What was said last, in microseconds, and when by the steady clock of the machine.
#[derive(Clone, Copy, Debug)]
struct Last {
    said: i64,
    at: Instant,
}

impl Clock {
    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let wall = wall_micros().saturating_add(self.offset.load(Ordering::Relaxed) * 1000);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Instant::now();
        let said = match *last {
            None => wall,
            Some(before) => next(before.said, micros(at - before.at), wall),
        };
        *last = Some(Last { said, at });
        Timestamp(said / 1000)
    }

    /// From here on nothing earlier than this is said.
    pub fn not_before(&self, time: Timestamp) {
        let now = self.now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if now < time
            && let Some(last) = last.as_mut()
        {
            last.said = time.0.saturating_mul(1000);
        }
    }

    /// Moves the system's clock as it is seen here, ahead or back, in milliseconds.
    pub fn shift(&self, ms: i64) {
        self.offset.fetch_add(ms, Ordering::Relaxed);
    }
}

/// What is said next, `elapsed` after `said`, when the system's clock says `wall`; all in microseconds.
fn next(said: i64, elapsed: i64, wall: i64) -> i64 {
    wall.max(said.saturating_add(elapsed / 10 * 9))
}

fn micros(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

fn wall_micros() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => micros(since),
        Err(before) => -micros(before.duration()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_goes_on_more_slowly_until_it_is_caught_up() {
        let (mut said, mut wall) = (1_000_000_000, 1_000_000_000 - 10_000_000);
        let mut steps = 0;
        while said > wall {
            let before = said;
            wall += 1_000_000;
            said = next(said, 1_000_000, wall);
            assert!(said > before, "it never stands still");
            steps += 1;
        }
        assert_eq!(steps, 100, "ten seconds are caught up in a hundred");
    }

    #[test]
    fn a_clock_that_is_set_ahead_is_believed() {
        assert_eq!(next(5_000, 10, 9_000_000), 9_000_000);
    }

    #[test]
    fn after_a_jump_ahead_and_back_time_still_passes() {
        let clock = Clock::default();
        clock.shift(3_600_000);
        let ahead = clock.now();
        clock.shift(-3_600_000);
        let then = clock.now();
        assert!(then >= ahead);
        std::thread::sleep(std::time::Duration::from_millis(50));
        let passed = clock.now().since(then).0;
        assert!((40..5_000).contains(&passed), "{passed} ms of 50");
    }

    #[test]
    fn the_journal_of_a_run_that_was_ahead_is_not_gone_behind() {
        let clock = Clock::default();
        let ahead = Timestamp(clock.now().0 + 60_000);
        clock.not_before(ahead);
        assert!(clock.now() >= ahead);
    }
}
