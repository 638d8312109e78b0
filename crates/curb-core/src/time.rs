//! Instants and spans, in whole milliseconds.
//!
//! Nothing in this crate reads a clock: the present is always an argument.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// A span of time in milliseconds, never negative.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Timestamp {
    /// The last moment that calendars here know: the end of the year 9998.
    pub const LAST: Timestamp = Timestamp(253_370_764_799_999);

    /// This moment, brought into what calendars know: from 1970 to [`Timestamp::LAST`].
    #[must_use]
    pub fn in_calendar(self) -> Timestamp {
        self.clamp(Timestamp(0), Timestamp::LAST)
    }

    /// The time from `earlier` to this; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> Millis {
        Millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This instant and `span` more.
    #[must_use]
    pub fn after(self, span: Millis) -> Timestamp {
        Timestamp(
            self.0
                .saturating_add(i64::try_from(span.0).unwrap_or(i64::MAX)),
        )
    }

    /// This instant less `span`.
    #[must_use]
    pub fn before(self, span: Millis) -> Timestamp {
        Timestamp(
            self.0
                .saturating_sub(i64::try_from(span.0).unwrap_or(i64::MAX)),
        )
    }

    /// As a `jiff` timestamp; instants outside of what it can say are brought to its ends.
    #[must_use]
    pub fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        })
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, to the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}", self.to_jiff())
    }
}

/// Why a text is not a span of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MillisError {
    /// It is none.
    #[error(
        "`{0}` is not a duration: write a number with a unit, such as `30s`, `15m`, `24h`, `7d`, `2w`, or several together (`1h30m`)"
    )]
    Unparsable(String),
    /// It is longer than [`Millis::MAX`].
    #[error("`{0}` is too long: at most ten years (3650d)")]
    TooLong(String),
}

impl Millis {
    /// One second.
    pub const SECOND: Millis = Millis(1_000);
    /// One minute.
    pub const MINUTE: Millis = Millis(60_000);
    /// One hour.
    pub const HOUR: Millis = Millis(3_600_000);
    /// One day of 24 hours.
    pub const DAY: Millis = Millis(86_400_000);

    /// The longest span that can be declared: ten years of 365 days.
    pub const MAX: Millis = Millis(10 * 365 * 86_400_000);

    /// Parses `30s`, `15m`, `24h`, `7d`, `2w`, `500ms`, `1h30m`. Days have 24 hours.
    pub fn parse(text: &str) -> Result<Millis, MillisError> {
        let bad = || MillisError::Unparsable(text.to_owned());
        let too_long = || MillisError::TooLong(text.to_owned());
        let mut rest = text.trim();
        let mut total: u64 = 0;
        if rest.is_empty() {
            return Err(bad());
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, tail) = tail.split_at(letters);
            let factor = match unit {
                "ms" => 1,
                "s" | "sec" => 1_000,
                "m" | "min" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                "w" => 7 * 86_400_000,
                _ => return Err(bad()),
            };
            if number.is_empty() {
                return Err(bad());
            }
            let number: u64 = number.parse().map_err(|_| too_long())?;
            total = number
                .checked_mul(factor)
                .and_then(|part| total.checked_add(part))
                .filter(|t| *t <= Millis::MAX.0)
                .ok_or_else(too_long)?;
            rest = tail.trim_start();
        }
        Ok(Millis(total))
    }
}

impl fmt::Display for Millis {
    /// The two largest units that matter: `2d 3h`, `1h 30m`, `45s`, `120ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.0 / 1000;
        let (d, h, m) = (s / 86_400, s / 3600 % 24, s / 60 % 60);
        let two = |f: &mut fmt::Formatter<'_>, a: u64, x: &str, b: u64, y: &str| match b {
            0 => write!(f, "{a}{x}"),
            _ => write!(f, "{a}{x} {b}{y}"),
        };
        match (d, h, m) {
            (0, 0, 0) if s == 0 && self.0 > 0 => write!(f, "{}ms", self.0),
            (0, 0, 0) => write!(f, "{s}s"),
            (0, 0, m) => two(f, m, "m", s % 60, "s"),
            (0, h, m) => two(f, h, "h", m, "m"),
            (d, h, _) => two(f, d, "d", h, "h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, ms) in [
            ("24h", 86_400_000),
            ("1h30m", 5_400_000),
            ("90d", 90 * 86_400_000),
            ("1h 30m", 5_400_000),
            ("500ms", 500),
            ("2w", 14 * 86_400_000),
        ] {
            assert_eq!(Millis::parse(text), Ok(Millis(ms)), "{text}");
        }
        for bad in [
            "",
            "h",
            "24",
            "-1h",
            "1.5h",
            "1y",
            "99999999999999999999h",
            "10000w",
            "1h-",
        ] {
            assert!(Millis::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_too_long_is_told_apart_from_what_is_no_duration() {
        for text in ["9999d", "99999999999999999999h", "3650d1ms"] {
            let error = Millis::parse(text).expect_err(text).to_string();
            assert!(error.contains("at most ten years"), "{error}");
        }
        for text in ["h", "1y", "99999999999999999999"] {
            let error = Millis::parse(text).expect_err(text).to_string();
            assert!(error.contains("is not a duration"), "{error}");
        }
    }

    #[test]
    fn durations_show_two_units() {
        for (ms, text) in [
            (5_400_000, "1h 30m"),
            (86_400_000, "1d"),
            (45_000, "45s"),
            (120, "120ms"),
            (0, "0s"),
            (62_000, "1m 2s"),
        ] {
            assert_eq!(Millis(ms).to_string(), text);
        }
    }

    #[test]
    fn time_before_time_is_zero_not_negative() {
        assert_eq!(Timestamp(5).since(Timestamp(9)), Millis(0));
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00Z");
    }
}
