//! Thousandths: the one unit of amounts between Curb and Ray.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::fmt;

/// An exact amount in thousandths of a unit (of a CPU, a GPU, a byte, a custom resource).
///
/// Ray's JSON has numbers that Python reads as floats. This type writes them as the shortest exact
/// decimal (`2`, `0.5`, `0.125`) and reads any decimal, cutting what is finer than a thousandth, so
/// no binary float is ever in between.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Milli(pub u64);

/// A number that is no amount: negative, not a number, or too large.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an amount: expected a decimal number from 0 to 18446744073709551.615")]
pub struct ParseMilliError(String);

impl Milli {
    /// `units` whole units; the largest amount if that does not fit.
    pub const fn from_units(units: u64) -> Milli {
        Milli(units.saturating_mul(1000))
    }

    /// Whole units, the rest cut off.
    pub const fn whole_units(self) -> u64 {
        self.0 / 1000
    }

    /// The sum, or the largest amount.
    #[must_use]
    pub const fn saturating_add(self, other: Milli) -> Milli {
        Milli(self.0.saturating_add(other.0))
    }

    /// Reads a JSON number: digits, an optional fraction and exponent, no sign but a plus in the
    /// exponent or a minus there. Digits finer than a thousandth are cut (an amount is never
    /// rounded up).
    pub fn parse(text: &str) -> Result<Milli, ParseMilliError> {
        parse(text).ok_or_else(|| ParseMilliError(text.chars().take(40).collect()))
    }
}

fn parse(text: &str) -> Option<Milli> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((m, e)) => (m, e.strip_prefix('+').unwrap_or(e).parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    if whole.is_empty() || !digits().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // The value is digits * 10^(exponent - fraction.len()); in thousandths, 3 places more.
    let shift = i64::from(exponent) - i64::try_from(fraction.len()).ok()? + 3;
    let count = i64::try_from(whole.len() + fraction.len()).ok()?;
    let kept = usize::try_from((count + shift.min(0)).max(0)).ok()?;
    let mut value: u64 = 0;
    for b in digits().take(kept) {
        value = value.checked_mul(10)?.checked_add(u64::from(b - b'0'))?;
    }
    for _ in 0..shift.max(0) {
        if value == 0 {
            break; // 0e999 is a long way round to zero
        }
        value = value.checked_mul(10)?;
    }
    Some(Milli(value))
}

impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1000, self.0 % 1000);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        let fraction = format!("{rest:03}");
        write!(f, "{whole}.{}", fraction.trim_end_matches('0'))
    }
}

impl Serialize for Milli {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1000) {
            return serializer.serialize_u64(self.0 / 1000);
        }
        RawValue::from_string(self.to_string())
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Milli {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Milli::parse(raw.get()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(milli: u64) -> String {
        serde_json::to_string(&Milli(milli)).unwrap()
    }

    #[test]
    fn amounts_are_written_as_the_shortest_exact_decimal() {
        let written: Vec<String> = [0, 1, 10, 100, 125, 1000, 1500, 64_000, u64::MAX]
            .map(json)
            .into();
        assert_eq!(
            written,
            [
                "0",
                "0.001",
                "0.01",
                "0.1",
                "0.125",
                "1",
                "1.5",
                "64",
                "18446744073709551.615"
            ]
        );
    }

    #[test]
    fn numbers_as_python_writes_them_are_read_exactly() {
        for (text, milli) in [
            ("4.0", 4000),
            ("17106515149.0", 17_106_515_149_000),
            ("1e+16", 10_000_000_000_000_000_000),
            ("2.5e-1", 250),
            ("0.0009", 0),
            ("0.1239", 123),
            ("0e999999", 0),
            ("1e-999999", 0),
        ] {
            assert_eq!(Milli::parse(text), Ok(Milli(milli)), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused_by_name() {
        for text in [
            "-1",
            "",
            ".5",
            "NaN",
            "1e",
            "1e+99",
            "Infinity",
            "1.2.3",
            "18446744073709551.616",
            "\"4\"",
            "null",
        ] {
            let error = Milli::parse(text).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    proptest! {
        #[test]
        fn every_amount_survives_the_way_to_ray_and_back(milli: u64) {
            prop_assert_eq!(Milli::parse(&json(milli)), Ok(Milli(milli)));
        }

        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,40}") {
            let _ = Milli::parse(&text);
        }
    }
}
