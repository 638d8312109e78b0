//! How long until the watchdog looks again. Pure.

use std::time::Duration;

use crate::limits::Bytes;

/// Never more often: a look takes some hundredths of that.
const LEAST: Duration = Duration::from_millis(1);
/// The fastest growth that was seen of a framework, in bytes a millisecond (1.5 GiB a second).
const FASTEST: u64 = (3 << 29) / 1000;
/// So much above the limit may be found at the fastest growth.
const SLACK: u64 = 24 << 20;
/// Growth from rest that is reckoned with, in bytes a millisecond (128 MiB a second): no more than the next is passed.
const USUAL: u64 = (128 << 20) / 1000;

/// How long until the next look, with so much left to the limit, and growth since the last look in bytes a millisecond.
pub(crate) fn next_look(left: Bytes, growth: u64, most: Duration) -> Duration {
    // It is seen before half of what is left is taken, if it goes on at up to twice its growth.
    let expected = left.0 / 2 / growth.saturating_mul(2).max(USUAL);
    // And should it run off at its fastest.
    let worst = left.0.saturating_add(SLACK) / FASTEST;
    Duration::from_millis(expected.min(worst)).clamp(LEAST, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_millis(100);
    const LIMIT: u64 = 256 << 20;

    /// How far above the limit it is found, growing steadily from nothing, at the worst moment to begin.
    fn overshoot(bytes_a_ms: u64, begins_at: u64) -> u64 {
        let mut used = begins_at;
        let (mut wait, mut growth) = (next_look(Bytes(LIMIT - used), 0, MOST), 0);
        loop {
            let ms = u64::try_from(wait.as_millis()).expect("small");
            used += bytes_a_ms * ms;
            if used >= LIMIT {
                return used - LIMIT;
            }
            growth = growth.max(bytes_a_ms);
            wait = next_look(Bytes(LIMIT - used), growth, MOST);
        }
    }

    #[test]
    fn growth_is_found_within_what_is_promised_wherever_it_begins() {
        for begins_at in (0..LIMIT).step_by(1 << 19) {
            assert!(
                overshoot((128 << 20) / 1000, begins_at) <= 8 << 20,
                "{begins_at}"
            );
            assert!(
                overshoot((3 << 29) / 1000, begins_at) <= 32 << 20,
                "{begins_at}"
            );
        }
    }

    #[test]
    fn what_is_far_from_its_limit_is_looked_at_seldom() {
        assert_eq!(next_look(Bytes(1 << 30), 0, MOST), MOST);
        assert_eq!(next_look(Bytes(0), 0, MOST), LEAST);
        assert!(next_look(Bytes(32 << 20), 0, MOST) >= Duration::from_millis(30));
    }
}
