//! Resource-time in a period: what a budget counts.
//!
//! All amounts are in the resource's smallest unit times milliseconds, in 128 bits: 2^53 units for 2^43 ms (270 years) are
//! 2^96, so that nothing here can overflow; sums saturate all the same. Use is the exact integral of what is held. A job
//! that said how long it runs also commits the rest of its time, so that a budget is not given away twice.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::calendar::{SLOTS, period_at, slot};
use crate::policy::Period;
use crate::time::{Millis, Timestamp};

/// So many periods are looked ahead: a year of days, so that the longest of each kind is among them.
const LATER: usize = 400;

/// What has been used in the present period, and what runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    period: Period,
    tz: String,
    carried: Carried,
    /// Held now, all together: what use grows by in a millisecond.
    rate: u128,
    /// What is held by jobs with a known end, by that end.
    ends: BTreeMap<Timestamp, u128>,
}

/// The part of a meter that cannot be counted again from the jobs that run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Up to when use is counted.
    pub at: Timestamp,
    /// Begin of the present period (or slot).
    pub begin: Timestamp,
    /// Its end.
    pub end: Timestamp,
    /// Use in it up to `at`.
    pub used: u128,
    /// Of a rolling period: use in the slots before, oldest first. As many as make up a window: the oldest counts wholly
    /// until its end has left the window, so that never less is counted than was used in it.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub slots: VecDeque<u128>,
}

/// What a meter says at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Used in the present period.
    pub used: u128,
    /// What running jobs may still use in it, as far as they said how long they run.
    pub committed: u128,
    /// Begin of the period; of a rolling one the present, since all that is ahead counts.
    pub begin: Timestamp,
    /// When the period ends, or the oldest slot is dropped.
    pub resets: Timestamp,
    /// When the next one ends (how far a job may be charged to this period).
    pub horizon: Timestamp,
}

impl Meter {
    /// An empty meter at a moment.
    #[must_use]
    pub fn new(period: Period, tz: &str, now: Timestamp) -> Meter {
        let (begin, end) = period_at(period, tz, now);
        Meter {
            period,
            tz: tz.to_owned(),
            carried: Carried {
                at: now,
                begin,
                end,
                used: 0,
                slots: VecDeque::new(),
            },
            rate: 0,
            ends: BTreeMap::new(),
        }
    }

    /// A meter with what was carried over, and nothing running. A zone that changed moves the period's edges only.
    #[must_use]
    pub fn restore(period: Period, tz: &str, carried: Carried) -> Meter {
        Meter {
            period,
            tz: tz.to_owned(),
            carried,
            rate: 0,
            ends: BTreeMap::new(),
        }
    }

    /// The part that has to be kept.
    #[must_use]
    pub fn carried(&self) -> &Carried {
        &self.carried
    }

    /// Whether what was used is forgotten little by little rather than all at once.
    #[must_use]
    pub fn rolls(&self) -> bool {
        matches!(self.period, Period::Rolling(_))
    }

    /// Counts use up to a moment. Going back changes nothing.
    pub fn advance(&mut self, now: Timestamp) {
        let c = &mut self.carried;
        while now >= c.end {
            c.used = c
                .used
                .saturating_add(self.rate.saturating_mul(span(c.at, c.end)));
            let (used, ended) = (c.used, c.end);
            c.at = ended;
            c.used = 0;
            if let Period::Rolling(total) = self.period {
                c.slots.push_back(used);
                while c.slots.len() > SLOTS {
                    c.slots.pop_front();
                }
                // Nothing of a window that has wholly passed counts, however long nobody looked.
                let gap = now.since(ended).0 / u64::try_from(slot(total)).unwrap_or(1);
                if gap > 2 * SLOTS as u64 {
                    c.slots.clear();
                    if self.rate > 0 {
                        let each = self
                            .rate
                            .saturating_mul(u128::try_from(slot(total)).unwrap_or(1));
                        c.slots.extend(std::iter::repeat_n(each, SLOTS));
                    }
                    (c.begin, c.end) = period_at(self.period, &self.tz, now);
                    c.at = c.begin;
                    continue;
                }
                (c.begin, c.end) = period_at(self.period, &self.tz, ended);
            } else {
                // Straight to the present period: those between are over and count for nothing.
                (c.begin, c.end) = period_at(self.period, &self.tz, now);
                c.at = c.begin.max(ended);
            }
        }
        if now > c.at {
            c.used = c
                .used
                .saturating_add(self.rate.saturating_mul(span(c.at, now)));
            c.at = now;
        }
        let later = self
            .ends
            .split_off(&Timestamp(self.carried.at.0.saturating_add(1)));
        self.ends = later;
    }

    /// A job begins to hold `amount` until (it says) `end`.
    pub fn hold(&mut self, now: Timestamp, amount: u64, end: Option<Timestamp>) {
        self.advance(now);
        self.rate = self.rate.saturating_add(u128::from(amount));
        if let Some(end) = end.filter(|e| *e > now) {
            let at = self.ends.entry(end).or_insert(0);
            *at = at.saturating_add(u128::from(amount));
        }
    }

    /// It holds it no more. `end` is what [`Meter::hold`] was told.
    pub fn release(&mut self, now: Timestamp, amount: u64, end: Option<Timestamp>) {
        self.advance(now);
        self.rate = self.rate.saturating_sub(u128::from(amount));
        if let Some(end) = end
            && let Some(at) = self.ends.get_mut(&end)
        {
            *at = at.saturating_sub(u128::from(amount));
            if *at == 0 {
                self.ends.remove(&end);
            }
        }
    }

    /// The first moment at which a job with this amount and duration would be within `limit`, in all periods that it would
    /// reach into, by what is used and promised now and if nothing more is used. `None` when no passing of time alone will
    /// do, as far as it is looked ahead.
    #[must_use]
    pub fn fits_at(
        &self,
        now: Timestamp,
        amount: u64,
        duration: Option<Millis>,
        limit: u128,
    ) -> Option<Timestamp> {
        let reading = self.read(now);
        let Period::Rolling(total) = self.period else {
            return self.fits_in_periods(now, &reading, amount, duration, limit);
        };
        let asked = reading.would_add(now, amount, duration);
        let window = i64::try_from(SLOTS).ok()?;
        let mut copy = self.clone();
        copy.advance(now);
        let width = slot(total);
        let room = limit.checked_sub(asked)?;
        let mut used = reading.used.saturating_add(reading.committed);
        // The oldest slot leaves at the end of the present one, once all are there.
        let missing = i64::try_from(SLOTS.saturating_sub(copy.carried.slots.len())).ok()?;
        let first = copy
            .carried
            .end
            .0
            .saturating_add(missing.saturating_mul(width));
        for (n, slot) in copy.carried.slots.iter().enumerate() {
            used = used.saturating_sub(*slot);
            if used <= room {
                let n = i64::try_from(n).ok()?;
                return Some(Timestamp(first.saturating_add(n.saturating_mul(width))));
            }
        }
        let last = copy.carried.end.0;
        (copy.rate == 0).then(|| Timestamp(last.saturating_add(window.saturating_mul(width))))
    }

    /// The same where periods begin anew. A job that starts later takes less of the period in which it starts, and more of
    /// the next: of the first period that has not enough left, no start helps before only as much of it is ahead as it has.
    fn fits_in_periods(
        &self,
        now: Timestamp,
        reading: &Reading,
        amount: u64,
        duration: Option<Millis>,
        limit: u128,
    ) -> Option<Timestamp> {
        let (mut begin, mut end) = (reading.begin, reading.horizon);
        let mut taken = reading.used.saturating_add(reading.committed);
        let mut at = now;
        for _ in 0..LATER {
            let left = limit.saturating_sub(taken);
            match duration {
                Some(d) if at.after(d) <= begin => return Some(at),
                Some(d) => {
                    let has = span(at.max(begin), at.after(d).min(end));
                    let may = left / u128::from(amount.max(1));
                    if has > may {
                        at = Timestamp(end.0.saturating_sub(i64::try_from(may).ok()?));
                    }
                }
                None if left > 0 => return Some(at.max(begin)),
                None => {}
            }
            begin = end;
            (_, end) = period_at(self.period, &self.tz, begin);
            taken = self.committed_in(begin, end);
        }
        None
    }

    /// What those that run and said for how long will use between two moments that are ahead.
    fn committed_in(&self, begin: Timestamp, end: Timestamp) -> u128 {
        let ends = self.ends.range(Timestamp(begin.0.saturating_add(1))..);
        ends.fold(0u128, |sum, (e, amount)| {
            sum.saturating_add(amount.saturating_mul(span(begin, (*e).min(end))))
        })
    }

    /// When the period ends, or the oldest slot is dropped: [`Reading::resets`] without the rest.
    #[must_use]
    pub fn resets(&self, now: Timestamp) -> Timestamp {
        if now < self.carried.end {
            self.carried.end
        } else {
            self.read(now).resets
        }
    }

    /// The periods after the present one that a job of this duration would reach into: the begin of each, what is committed
    /// in it already, and how long the job would run in it, in milliseconds. None for a rolling period, which counts all
    /// that is ahead.
    #[must_use]
    pub fn later(&self, now: Timestamp, duration: Millis) -> Vec<(Timestamp, u128, u128)> {
        let mut later = Vec::new();
        let over = now.after(duration);
        let mut begin = self.resets(now);
        while !matches!(self.period, Period::Rolling(_)) && begin < over && later.len() < LATER {
            let (_, end) = period_at(self.period, &self.tz, begin);
            let committed = self.committed_in(begin, end);
            later.push((begin, committed, span(begin, over.min(end))));
            begin = end;
        }
        later
    }

    /// What it says at a moment (not before the last one it was told).
    #[must_use]
    pub fn read(&self, now: Timestamp) -> Reading {
        if now >= self.carried.end {
            // Rare: once a period. A copy keeps the arithmetic in one place.
            let mut copy = self.clone();
            copy.advance(now);
            return copy.read(now);
        }
        let c = &self.carried;
        let before = c.slots.iter().fold(0u128, |sum, s| sum.saturating_add(*s));
        let used = c
            .used
            .saturating_add(self.rate.saturating_mul(span(c.at, now)))
            .saturating_add(before);
        let (begin, horizon) = match self.period {
            Period::Rolling(total) => (now, now.after(total)),
            _ => (c.begin, c.end),
        };
        let committed = self.ends.range(Timestamp(now.0.saturating_add(1))..).fold(
            0u128,
            |sum, (end, amount)| {
                sum.saturating_add(amount.saturating_mul(span(now, (*end).min(horizon))))
            },
        );
        Reading {
            used,
            committed,
            begin,
            resets: c.end,
            horizon,
        }
    }
}

impl Reading {
    /// What a job would add in this period: its amount for its duration, as far as that lies in the period. A job that
    /// does not say how long it runs adds one unit-millisecond, so that it starts only while something is left.
    #[must_use]
    pub fn would_add(&self, now: Timestamp, amount: u64, duration: Option<Millis>) -> u128 {
        match duration {
            Some(d) => u128::from(amount) * span(now, now.after(d).min(self.horizon)),
            None => u128::from(amount > 0),
        }
    }
}

fn span(from: Timestamp, to: Timestamp) -> u128 {
    u128::from(to.since(from).0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const H: i64 = 3_600_000;
    const D: i64 = 24 * H;

    #[test]
    fn use_is_the_exact_integral_of_what_is_held() {
        let mut m = Meter::new(Period::Day, "UTC", Timestamp(0));
        m.hold(Timestamp(H), 2000, None);
        m.hold(Timestamp(2 * H), 1000, None);
        m.release(Timestamp(3 * H), 2000, None);
        let used = m.read(Timestamp(4 * H)).used;
        assert_eq!(used, (2000 + 3000 + 1000) * H as u128);
    }

    #[test]
    fn a_new_day_begins_with_nothing_used_and_goes_on_counting_what_runs() {
        let mut m = Meter::new(Period::Day, "UTC", Timestamp(0));
        m.hold(Timestamp(22 * H), 1000, None);
        assert_eq!(m.read(Timestamp(D - 1)).used, 1000 * (2 * H as u128 - 1));
        assert_eq!(m.read(Timestamp(D)).used, 0);
        assert_eq!(m.read(Timestamp(D + H)).used, 1000 * H as u128);
        m.advance(Timestamp(5 * D + H));
        assert_eq!(m.read(Timestamp(5 * D + H)).used, 1000 * H as u128);
    }

    #[test]
    fn a_job_commits_the_rest_of_its_time_within_the_period() {
        let mut m = Meter::new(Period::Day, "UTC", Timestamp(0));
        let end = Some(Timestamp(30 * H));
        m.hold(Timestamp(20 * H), 1000, end);
        let r = m.read(Timestamp(21 * H));
        assert_eq!(r.committed, 1000 * 3 * H as u128, "only until midnight");
        assert_eq!(m.read(Timestamp(25 * H)).committed, 1000 * 5 * H as u128);
        assert_eq!(
            m.read(Timestamp(31 * H)).committed,
            0,
            "overdue commits nothing"
        );
        m.release(Timestamp(31 * H), 1000, end);
        assert_eq!(m.read(Timestamp(32 * H)).used, 1000 * 7 * H as u128);
    }

    #[test]
    fn a_rolling_window_forgets_slot_by_slot() {
        let mut m = Meter::new(Period::Rolling(Millis(64 * 1000)), "UTC", Timestamp(0));
        m.hold(Timestamp(0), 1, None);
        m.release(Timestamp(10_000), 1, None);
        assert_eq!(m.read(Timestamp(60_000)).used, 10_000);
        assert_eq!(m.read(Timestamp(64_999)).used, 10_000);
        // The window begins at 4 500: half of the slot from 4 000 is in it, and all of that counts.
        assert_eq!(m.read(Timestamp(68_500)).used, 6_000);
        assert_eq!(m.read(Timestamp(90_000)).used, 0);
    }

    #[test]
    fn what_was_used_within_a_rolling_window_is_not_forgotten_before_it_has_left() {
        let mut m = Meter::new(Period::Rolling(Millis(D as u64)), "UTC", Timestamp(0));
        m.hold(Timestamp(0), 5, None);
        m.release(Timestamp(2 * H), 5, None);
        let now = D + 46 * H / 60;
        let truly = 5 * (2 * H - 46 * H / 60) as u128;
        let slot = 5 * slot(Millis(D as u64)) as u128;
        let said = m.read(Timestamp(now)).used;
        assert!((truly..=truly + slot).contains(&said), "{said} of {truly}");
        let month = 30 * D;
        let mut m = Meter::new(Period::Rolling(Millis(month as u64)), "UTC", Timestamp(0));
        m.hold(Timestamp(0), 10, None);
        m.release(Timestamp(10 * H), 10, None);
        assert_eq!(m.read(Timestamp(month)).used, 100 * H as u128);
    }

    #[test]
    fn a_rolling_window_tells_when_enough_of_it_is_forgotten() {
        let mut m = Meter::new(Period::Rolling(Millis(64 * 1000)), "UTC", Timestamp(0));
        m.hold(Timestamp(0), 1, None);
        m.release(Timestamp(10_000), 1, None);
        let now = Timestamp(20_500);
        let at = m
            .fits_at(now, 1, Some(Millis(5_000)), 11_000)
            .expect("it will fit");
        assert!(
            m.read(Timestamp(at.0 - 1)).used > 6_000,
            "not before {at:?}"
        );
        assert!(m.read(at).used <= 6_000);
        assert_eq!(
            m.fits_at(now, 1, Some(Millis(12_000)), 11_000),
            None,
            "more than all of it"
        );
    }

    #[test]
    fn a_rolling_window_nobody_looked_at_for_years_is_full_of_what_runs() {
        let mut m = Meter::new(Period::Rolling(Millis(64 * 1000)), "UTC", Timestamp(0));
        m.hold(Timestamp(0), 2, None);
        let used = m.read(Timestamp(1_000_000_000_000)).used;
        assert!((2 * 64_000..=2 * 65_000).contains(&used), "{used}");
    }

    proptest! {
        #[test]
        fn a_rolling_budget_counts_what_was_used_in_its_window_and_at_most_a_slot_more(
            // Seconds between the steps, the amount held, and for how many seconds.
            held in proptest::collection::vec((0i64..9_000, 1u64..50, 1i64..20_000), 1..12),
            span in 3_600_000u64..40_000_000,
            begin in 0i64..100_000_000,
            looks in proptest::collection::vec(0i64..90_000_000, 1..12),
        ) {
            let mut m = Meter::new(Period::Rolling(Millis(span)), "UTC", Timestamp(begin));
            let mut at = begin;
            let mut jobs = Vec::new();
            let mut steps = Vec::new();
            for (gap, amount, seconds) in held {
                at += gap * 1000;
                let end = at + seconds * 1000 + 7;
                jobs.push((at, end, amount));
                steps.extend([(at, true, amount), (end, false, amount)]);
            }
            steps.sort_unstable();
            let mut looks: Vec<i64> = looks.iter().map(|l| begin + l).collect();
            looks.sort_unstable();
            let mut steps = steps.into_iter().peekable();
            for now in looks {
                while let Some((t, begins, amount)) = steps.next_if(|(t, ..)| *t <= now) {
                    if begins {
                        m.hold(Timestamp(t), amount, None);
                    } else {
                        m.release(Timestamp(t), amount, None);
                    }
                }
                let used_since = |from: i64| -> u128 {
                    let within = |(b, e, a): &(i64, i64, u64)| {
                        let ms = (*e).min(now) - (*b).max(from);
                        u128::try_from(ms).unwrap_or(0) * u128::from(*a)
                    };
                    jobs.iter().map(within).sum()
                };
                let window = span as i64;
                let said = m.read(Timestamp(now)).used;
                prop_assert!(said >= used_since(now - window), "less than was used");
                // A window that is no multiple of a slot is rounded up by less than a millisecond a slot.
                let most = window + slot(Millis(span)) + SLOTS as i64;
                prop_assert!(said <= used_since(now - most), "more than a slot too much");
                if let Some(at) = m.fits_at(Timestamp(now), 0, None, said / 2) {
                    let mut later = m.clone();
                    later.rate = 0;
                    prop_assert!(later.read(at).used <= said / 2, "not when it was said");
                }
            }
        }

        #[test]
        fn looking_in_between_changes_nothing(
            looks in proptest::collection::vec(0i64..6 * D, 0..12),
            amount in 1u64..5000,
        ) {
            for period in [Period::Day, Period::Week, Period::Rolling(Millis(2 * D as u64))] {
                let mut a = Meter::new(period, "Europe/Berlin", Timestamp(0));
                a.hold(Timestamp(H), amount, Some(Timestamp(4 * D)));
                let mut b = a.clone();
                let mut sorted = looks.clone();
                sorted.sort_unstable();
                for t in sorted {
                    b.advance(Timestamp(t));
                }
                prop_assert_eq!(a.read(Timestamp(6 * D)), b.read(Timestamp(6 * D)));
            }
        }
    }
}
