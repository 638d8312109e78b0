//! Calendar arithmetic: which quotas apply at a moment, and where a budget's period begins and ends.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{ToSpan, Zoned};

use crate::policy::{Period, Policy, Quota, Window};
use crate::time::{Millis, Timestamp};

/// Which quotas apply until when. Good for any moment before `until`, under the policy version it was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// Whether each quota applies, in the policy's order.
    pub active: Vec<bool>,
    /// When that of each quota changes next; `None`: never.
    pub changes: Vec<Option<Timestamp>>,
    /// The first of these changes.
    pub until: Timestamp,
}

impl Calendar {
    /// The calendar of a policy at a moment.
    #[must_use]
    pub fn at(policy: &Policy, now: Timestamp) -> Calendar {
        let (active, changes): (Vec<bool>, Vec<Option<Timestamp>>) = policy
            .quotas
            .iter()
            .map(|quota| quota_at(quota, now))
            .unzip();
        let until = changes.iter().flatten().min().copied();
        Calendar {
            active,
            changes,
            until: until.unwrap_or(Timestamp(i64::MAX)),
        }
    }
}

/// Whether a quota applies at a moment.
pub(crate) fn applies_at(quota: &Quota, now: Timestamp) -> bool {
    let always = quota.when.is_none() && quota.valid == Default::default();
    always || quota_at(quota, now).0
}

/// Whether a quota applies at a moment, and when that changes next.
fn quota_at(quota: &Quota, now: Timestamp) -> (bool, Option<Timestamp>) {
    let valid = quota.valid.from.is_none_or(|from| from <= now)
        && quota.valid.until.is_none_or(|until| now < until);
    let edges = [quota.valid.from, quota.valid.until];
    let mut next = edges.into_iter().flatten().filter(|t| *t > now).min();
    let mut open = true;
    if let Some(window) = &quota.when {
        let (inside, change) = window_at(window, now);
        open = inside;
        // What a window does before the quota is valid or after it ended does not matter.
        next = [next, change].into_iter().flatten().min();
    }
    (valid && open, next)
}

/// The zone of that name; UTC when it is unknown (the policy reader refuses unknown ones).
fn zone(name: &str) -> TimeZone {
    crate::policy::zone(name).unwrap_or(TimeZone::UTC)
}

/// The moment of a minute of a day in a zone; minute 1440 is the next midnight. A time that a clock change skips is the
/// first after it.
fn minute_of(date: Date, minute: u16, tz: &TimeZone) -> Option<Timestamp> {
    let date = if minute >= 1440 {
        date.tomorrow().ok()?
    } else {
        date
    };
    let minute = minute % 1440;
    let hour = i8::try_from(minute / 60).ok()?;
    let at = date.at(hour, i8::try_from(minute % 60).ok()?, 0, 0);
    Some(stamp(&at.to_zoned(tz.clone()).ok()?))
}

fn stamp(z: &Zoned) -> Timestamp {
    Timestamp(z.timestamp().as_millisecond())
}

fn index(day: Weekday) -> usize {
    usize::try_from(day.to_monday_zero_offset()).unwrap_or(0)
}

/// Whether a moment is inside a window, and when that changes next. Windows of adjacent days that touch are one.
#[must_use]
pub fn window_at(window: &Window, now: Timestamp) -> (bool, Option<Timestamp>) {
    let tz = zone(&window.tz);
    let today = now.to_jiff().to_zoned(tz.clone()).date();
    let mut spans: Vec<(Timestamp, Timestamp)> = Vec::new();
    // Yesterday's may reach into today; nine days ahead hold the next change of any weekly pattern.
    for offset in -1..=9 {
        let Ok(date) = today.checked_add(offset.days()) else {
            continue;
        };
        if !window.days[index(date.weekday())] {
            continue;
        }
        let end_date = if window.to <= window.from {
            date.tomorrow().unwrap_or(date)
        } else {
            date
        };
        let from = minute_of(date, window.from, &tz);
        let to = minute_of(end_date, window.to, &tz);
        if let (Some(from), Some(to)) = (from, to) {
            match spans.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ if from < to => spans.push((from, to)),
                _ => {}
            }
        }
    }
    match spans.iter().find(|(_, to)| now < *to) {
        // A span that reaches past what was looked at has no end that matters now.
        Some((from, to)) if *from <= now => (
            true,
            (to.since(now) < Millis(9 * Millis::DAY.0)).then_some(*to),
        ),
        Some((from, _)) => (false, Some(*from)),
        None => (false, None),
    }
}

/// The begin and end of the calendar period that a moment is in. A rolling period has none: begin and end are those of
/// its [`slot`].
#[must_use]
pub fn period_at(period: Period, tz_name: &str, now: Timestamp) -> (Timestamp, Timestamp) {
    let tz = zone(tz_name);
    let today = now.to_jiff().to_zoned(tz.clone()).date();
    let (first, next) = match period {
        Period::Day => (today, today.tomorrow().unwrap_or(today)),
        Period::Week => {
            let back = i64::try_from(index(today.weekday())).unwrap_or(0);
            let monday = today.checked_sub(back.days()).unwrap_or(today);
            (monday, monday.checked_add(7.days()).unwrap_or(monday))
        }
        Period::Month => {
            let first = today.first_of_month();
            (first, first.checked_add(1.month()).unwrap_or(first))
        }
        Period::Rolling(span) => {
            let width = slot(span);
            let k = now.0.div_euclid(width);
            return (
                Timestamp(k.saturating_mul(width)),
                Timestamp(k.saturating_add(1).saturating_mul(width)),
            );
        }
    };
    let begin = minute_of(first, 0, &tz).unwrap_or(now);
    let end = minute_of(next, 0, &tz).unwrap_or(Timestamp(i64::MAX));
    (begin, end.max(begin.after(Millis(1))))
}

/// A rolling period is counted in this many slots and the present one; the oldest counts wholly until its end has left
/// the window.
pub const SLOTS: usize = 64;

/// The width of a slot of a rolling period, in milliseconds, at least 1.
#[must_use]
pub fn slot(span: Millis) -> i64 {
    i64::try_from(span.0.div_ceil(SLOTS as u64))
        .unwrap_or(i64::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let t: jiff::Timestamp = text.parse().expect("a timestamp");
        Timestamp(t.as_millisecond())
    }

    fn office_hours() -> Window {
        Window {
            days: [true, true, true, true, true, false, false],
            from: 8 * 60,
            to: 20 * 60,
            tz: "Europe/Berlin".into(),
        }
    }

    #[test]
    fn a_window_opens_and_closes_in_its_own_zone() {
        // Friday 2026-11-20; Berlin is one hour ahead of UTC.
        let w = office_hours();
        assert_eq!(
            window_at(&w, at("2026-11-20T06:59:59Z")),
            (false, Some(at("2026-11-20T07:00:00Z")))
        );
        assert_eq!(
            window_at(&w, at("2026-11-20T07:00:00Z")),
            (true, Some(at("2026-11-20T19:00:00Z")))
        );
        assert_eq!(
            window_at(&w, at("2026-11-20T19:00:00Z")),
            (false, Some(at("2026-11-23T07:00:00Z")))
        );
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_begins_on() {
        let w = Window {
            days: [false, false, false, false, true, false, false],
            from: 22 * 60,
            to: 6 * 60,
            tz: "UTC".into(),
        };
        assert!(
            window_at(&w, at("2026-11-21T05:59:00Z")).0,
            "Saturday early"
        );
        assert!(!window_at(&w, at("2026-11-20T05:59:00Z")).0, "Friday early");
    }

    #[test]
    fn a_window_of_all_the_week_never_closes() {
        let w = Window {
            days: [true; 7],
            from: 0,
            to: 1440,
            tz: "UTC".into(),
        };
        assert_eq!(window_at(&w, at("2026-11-20T05:59:00Z")), (true, None));
    }

    #[test]
    fn daylight_saving_moves_the_window_with_the_clock() {
        // Clocks go forward on 2026-03-29 in Berlin.
        let w = Window {
            days: [true; 7],
            ..office_hours()
        };
        assert_eq!(
            window_at(&w, at("2026-03-28T12:00:00Z")).1,
            Some(at("2026-03-28T19:00:00Z"))
        );
        assert_eq!(
            window_at(&w, at("2026-03-29T12:00:00Z")).1,
            Some(at("2026-03-29T18:00:00Z"))
        );
    }

    #[test]
    fn periods_begin_at_local_midnight_monday_and_the_first() {
        let now = at("2026-11-22T10:00:00Z");
        let tz = "Europe/Berlin";
        assert_eq!(
            period_at(Period::Day, tz, now),
            (at("2026-11-21T23:00:00Z"), at("2026-11-22T23:00:00Z"))
        );
        assert_eq!(
            period_at(Period::Week, tz, now).0,
            at("2026-11-15T23:00:00Z")
        );
        assert_eq!(
            period_at(Period::Month, tz, now),
            (at("2026-10-31T23:00:00Z"), at("2026-11-30T23:00:00Z"))
        );
    }

    #[test]
    fn absurd_moments_do_not_panic() {
        for now in [i64::MIN, -1, 0, i64::MAX] {
            for period in [
                Period::Day,
                Period::Week,
                Period::Month,
                Period::Rolling(Millis::DAY),
            ] {
                let (a, b) = period_at(period, "America/New_York", Timestamp(now));
                assert!(a <= b);
            }
            let _ = window_at(&office_hours(), Timestamp(now));
        }
    }
}
