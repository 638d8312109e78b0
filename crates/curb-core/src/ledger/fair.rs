//! Fair share: present and past use of a part of the tree (org unit, team, user), against its weight.
//!
//! The share of a node is the largest over all resources (dominant resource, Ghodsi et al., NSDI 2011) of
//!
//! ```text
//! (held + average) / (capacity x weight)
//! ```
//!
//! where `average` is the exponential moving average of what was held, with the policy's half-life. The node with the
//! smaller share goes first; siblings are compared first at the top of the tree (as in Slurm's fair tree). All of it is in
//! whole numbers, so that every build orders alike.

use serde::{Deserialize, Serialize};

use crate::time::{Millis, Timestamp};

/// `2^-(2^-k)` for k = 1, 2, … in 32-bit fixed point.
const ROOTS: [u64; 24] = [
    3_037_000_500,
    3_611_622_603,
    3_938_502_376,
    4_112_874_773,
    4_202_935_003,
    4_248_701_965,
    4_271_771_996,
    4_283_353_945,
    4_289_156_690,
    4_292_061_010,
    4_293_513_907,
    4_294_240_540,
    4_294_603_903,
    4_294_785_595,
    4_294_876_445,
    4_294_921_870,
    4_294_944_583,
    4_294_955_939,
    4_294_961_618,
    4_294_964_457,
    4_294_965_876,
    4_294_966_586,
    4_294_966_941,
    4_294_967_119,
];

const ONE: u64 = 1 << 32;

/// `2^-(elapsed / half_life)` in 32-bit fixed point.
fn decay(elapsed: Millis, half_life: Millis) -> u64 {
    let half = half_life.0.max(1);
    let whole = elapsed.0 / half;
    if whole >= 32 {
        return 0;
    }
    let mut fraction = u128::from(elapsed.0 % half);
    let mut factor = ONE;
    for root in ROOTS {
        fraction *= 2;
        if fraction >= u128::from(half) {
            fraction -= u128::from(half);
            // Both are below 2^33: the product fits.
            factor = ((u128::from(factor) * u128::from(root)) >> 32) as u64;
        }
        if fraction == 0 {
            break;
        }
    }
    factor >> whole
}

/// How many bits of an average lie below one unit.
const FRACTION_BITS: u32 = 16;

/// What a node holds of one resource, and its moving average.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Held now.
    #[serde(skip)]
    pub held: u64,
    /// The average up to `at`, in 2^-16 of the smallest unit.
    pub average: u128,
    /// Up to when.
    pub at: Timestamp,
}

impl Usage {
    fn average_at(&self, now: Timestamp, half_life: Millis) -> u128 {
        let d = u128::from(decay(now.since(self.at), half_life));
        let held = u128::from(self.held) << FRACTION_BITS;
        // average x d + held x (1 - d); amounts are below 2^53, so that 2^(53+16+32) fits.
        ((self.average * d) + held * (u128::from(ONE) - d)) >> 32
    }

    /// Counts up to a moment, then changes what is held.
    pub fn change(&mut self, now: Timestamp, half_life: Millis, held: u64) {
        self.average = self.average_at(now, half_life);
        self.at = now.max(self.at);
        self.held = held;
    }

    /// This resource's share: `(held + average) / (capacity x weight)` in 2^-16, saturating.
    #[must_use]
    pub fn share(&self, now: Timestamp, half_life: Millis, capacity: u64, weight: u32) -> u64 {
        let sum = (u128::from(self.held) << FRACTION_BITS) + self.average_at(now, half_life);
        let of = u128::from(capacity.max(1)) * u128::from(weight.max(1));
        u64::try_from((sum << FRACTION_BITS) / of).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WEEK: Millis = Millis(7 * 86_400_000);

    #[test]
    fn after_a_half_life_half_is_left() {
        assert_eq!(decay(Millis(0), WEEK), ONE);
        assert_eq!(decay(WEEK, WEEK), ONE / 2);
        assert_eq!(decay(Millis(2 * WEEK.0), WEEK), ONE / 4);
        let sqrt = decay(Millis(WEEK.0 / 2), WEEK);
        assert!(sqrt.abs_diff(3_037_000_500) < 100, "{sqrt}");
        assert_eq!(decay(Millis(u64::MAX), WEEK), 0);
        assert_eq!(
            decay(Millis(5), Millis(0)),
            ONE >> 5,
            "a zero half-life does not divide by zero"
        );
    }

    #[test]
    fn the_average_goes_to_what_is_held() {
        let mut u = Usage::default();
        u.change(Timestamp(0), WEEK, 4000);
        let average = u.average_at(Timestamp(i64::try_from(20 * WEEK.0).expect("small")), WEEK);
        assert!((average >> FRACTION_BITS) >= 3999);
    }

    #[test]
    fn twice_the_weight_is_half_the_share() {
        let mut u = Usage::default();
        u.change(Timestamp(0), WEEK, 4000);
        let one = u.share(Timestamp(5), WEEK, 64_000, 1);
        assert_eq!(u.share(Timestamp(5), WEEK, 64_000, 2), one / 2);
    }

    proptest! {
        #[test]
        fn decay_never_rises_with_time(a in 0u64..1 << 42, b in 0u64..1 << 42, h in 1u64..1 << 40) {
            let (early, late) = (a.min(b), a.max(b));
            // Rounding down in each of 24 steps may cost a few units in the last place.
            prop_assert!(decay(Millis(late), Millis(h)) <= decay(Millis(early), Millis(h)) + 24);
        }
    }
}
