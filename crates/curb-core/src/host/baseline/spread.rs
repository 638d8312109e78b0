//! How a figure is spread over its samples, in whole numbers and bounded memory.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::host::Permille;
use crate::time::Millis;

/// Samples are told apart to so many leading bits: a quantile is at most one part in 128 above its sample.
const BITS: u32 = 8;

/// The most points of a [`Series`]; beyond, two become one.
pub const MAX_POINTS: usize = 240;

/// Quantiles of a figure by nearest rank, rounded up to the sample that they are (`p0` and `p100` are exact), and its mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// The least.
    pub p0: u64,
    /// Half of the samples are at most this.
    pub p50: u64,
    /// Nine in ten.
    pub p90: u64,
    /// Nineteen in twenty.
    pub p95: u64,
    /// Ninety-nine in a hundred.
    pub p99: u64,
    /// The most.
    pub p100: u64,
    /// The mean, rounded down.
    pub mean: u64,
}

impl Spread {
    /// The names of its numbers, in the order of [`Spread::numbers`].
    pub const NAMES: [&'static str; 7] = ["p0", "p50", "p90", "p95", "p99", "p100", "mean"];

    /// Its numbers, ascending but for the mean, which is last.
    #[must_use]
    pub fn numbers(&self) -> [u64; 7] {
        [
            self.p0, self.p50, self.p90, self.p95, self.p99, self.p100, self.mean,
        ]
    }

    /// From its numbers, if they can be those of any samples.
    #[must_use]
    pub fn of_numbers(numbers: [u64; 7]) -> Option<Spread> {
        let [p0, p50, p90, p95, p99, p100, mean] = numbers;
        let spread = Spread {
            p0,
            p50,
            p90,
            p95,
            p99,
            p100,
            mean,
        };
        let ascending = numbers[..6].is_sorted();
        (ascending && (p0..=p100).contains(&mean)).then_some(spread)
    }
}

/// Samples of a figure, counted. Neither the order of samples nor that of merging matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: BTreeMap<u64, u64>,
    count: u64,
    sum: u128,
    least: Option<u64>,
    most: Option<u64>,
}

impl Tally {
    /// One more sample.
    pub fn add(&mut self, value: u64) {
        *self.counts.entry(bucket(value)).or_default() += 1;
        self.count += 1;
        self.sum += u128::from(value);
        self.saw(value);
    }

    /// All samples of another as well.
    pub fn merge(&mut self, other: &Tally) {
        for (bucket, count) in &other.counts {
            *self.counts.entry(*bucket).or_default() += count;
        }
        self.count += other.count;
        self.sum += other.sum;
        for value in other.least.into_iter().chain(other.most) {
            self.saw(value);
        }
    }

    /// A value that no sample caught but that is known to have been there (the kernel's own peak): it can move the extremes,
    /// and weighs nothing in between.
    pub fn raise(&mut self, value: u64) {
        if self.count > 0 {
            self.saw(value);
        }
    }

    fn saw(&mut self, value: u64) {
        self.least = Some(self.least.map_or(value, |l| l.min(value)));
        self.most = Some(self.most.map_or(value, |m| m.max(value)));
    }

    /// How many samples there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The most, if there is a sample.
    #[must_use]
    pub fn most(&self) -> Option<u64> {
        self.most
    }

    /// How they are spread; `None` without a sample.
    #[must_use]
    pub fn spread(&self) -> Option<Spread> {
        let (least, most) = (self.least?, self.most?);
        let at = |part: u32| self.quantile(Permille(part)).clamp(least, most);
        let mean = u64::try_from(self.sum / u128::from(self.count)).unwrap_or(u64::MAX);
        Some(Spread {
            p0: least,
            p50: at(500),
            p90: at(900),
            p95: at(950),
            p99: at(990),
            p100: most,
            mean,
        })
    }

    /// The largest value of the bucket with the sample of that rank.
    fn quantile(&self, Permille(part): Permille) -> u64 {
        let rank = (u128::from(self.count) * u128::from(part)).div_ceil(1000);
        let mut seen = 0_u128;
        for (bucket, count) in &self.counts {
            seen += u128::from(*count);
            if seen >= rank {
                return *bucket;
            }
        }
        0
    }
}

/// The largest value that has the same leading bits.
fn bucket(value: u64) -> u64 {
    let low = (u64::BITS - value.leading_zeros()).saturating_sub(BITS);
    value | ((1 << low) - 1)
}

/// A figure over time, of bounded length: when it is full, each two neighbours become their greater one. A time in which it
/// could not be read is a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    every: Millis,
    points: Vec<Option<u64>>,
    /// Samples that make one point, and those that the last one already has.
    each: u32,
    of_last: u32,
}

impl Series {
    /// Without a point; samples will come at this interval.
    #[must_use]
    pub fn new(every: Millis) -> Series {
        Series {
            every,
            points: Vec::new(),
            each: 1,
            of_last: 1,
        }
    }

    /// From points that were kept.
    #[must_use]
    pub fn of_points(every: Millis, points: Vec<Option<u64>>) -> Series {
        Series {
            every,
            points,
            each: 1,
            of_last: 1,
        }
    }

    /// One more sample.
    pub fn push(&mut self, value: Option<u64>) {
        if self.of_last < self.each
            && let Some(last) = self.points.last_mut()
        {
            *last = (*last).max(value);
            self.of_last += 1;
            return;
        }
        if self.points.len() >= MAX_POINTS {
            self.points = self
                .points
                .chunks(2)
                .map(|two| two.iter().copied().max().flatten())
                .collect();
            self.each = self.each.saturating_mul(2);
            self.every = Millis(self.every.0.saturating_mul(2));
        }
        self.points.push(value);
        self.of_last = 1;
    }

    /// The time from one point to the next.
    #[must_use]
    pub fn every(&self) -> Millis {
        self.every
    }

    /// The points; `None` is a gap.
    #[must_use]
    pub fn points(&self) -> &[Option<u64>] {
        &self.points
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tally(values: &[u64]) -> Tally {
        let mut tally = Tally::default();
        values.iter().for_each(|v| tally.add(*v));
        tally
    }

    #[test]
    fn no_samples_have_no_spread_and_one_sample_is_all_of_it() {
        assert_eq!(tally(&[]).spread(), None);
        let mut raised = tally(&[]);
        raised.raise(7);
        assert_eq!(raised.spread(), None, "a peak alone is no sample");
        let one = tally(&[1000]).spread().expect("one");
        assert_eq!(one.numbers(), [1000; 7]);
    }

    #[test]
    fn a_peak_between_two_samples_counts_as_the_most_and_as_nothing_else() {
        let mut tally = tally(&[10, 20, 30]);
        tally.raise(500);
        let spread = tally.spread().expect("three");
        assert_eq!((spread.p50, spread.p99, spread.p100), (20, 30, 500));
        assert_eq!((spread.mean, tally.count()), (20, 3));
    }

    #[test]
    fn a_long_series_keeps_its_peaks_and_its_bound() {
        let mut series = Series::new(Millis(100));
        for i in 0..100_000_u64 {
            series.push((i % 7 != 0).then_some(if i == 54_321 { 9999 } else { i % 50 }));
        }
        assert!(series.points().len() <= MAX_POINTS && series.points().len() > MAX_POINTS / 2 - 1);
        let covered = series.every().0 * series.points().len() as u64;
        assert!((10_000_000..10_000_000 + series.every().0).contains(&covered));
        let peaks = series.points().iter().filter(|p| **p == Some(9999)).count();
        assert_eq!(peaks, 1);
        let gaps: Vec<_> = [None, None, Some(1)]
            .into_iter()
            .fold(Series::new(Millis(1)), |mut s, v| {
                s.push(v);
                s
            })
            .points()
            .to_vec();
        assert_eq!(gaps, [None, None, Some(1)], "a gap is no zero");
    }

    proptest! {
        #[test]
        fn quantiles_ascend_and_are_at_most_a_128th_above_their_sample(
            mut values in prop::collection::vec(any::<u64>().prop_map(|v| v >> (v % 60)), 1..400),
        ) {
            let spread = tally(&values).spread().expect("some");
            prop_assert!(Spread::of_numbers(spread.numbers()).is_some(), "{:?}", spread);
            values.sort_unstable();
            let rank = |part: usize| values[(values.len() * part).div_ceil(1000).max(1) - 1];
            for (part, got) in [(500, spread.p50), (900, spread.p90), (950, spread.p95), (990, spread.p99)] {
                let sample = rank(part);
                prop_assert!(got >= sample && got <= sample.saturating_add(sample / 128 + 1), "{} {} {}", part, got, sample);
            }
            prop_assert_eq!((spread.p0, spread.p100), (values[0], values[values.len() - 1]));
        }

        #[test]
        fn neither_order_nor_grouping_of_runs_matters(
            runs in prop::collection::vec(prop::collection::vec(0..5_000_000_u64, 0..40), 1..6),
        ) {
            let all: Vec<u64> = runs.concat();
            let merge = |runs: &[Vec<u64>]| runs.iter().fold(Tally::default(), |mut sum, run| {
                sum.merge(&tally(run));
                sum
            });
            let backwards: Vec<Vec<u64>> = runs.iter().rev().cloned().collect();
            prop_assert_eq!(merge(&runs), tally(&all));
            prop_assert_eq!(merge(&backwards), tally(&all));
        }
    }
}
