//! Amounts on a host, each with its unit in its type.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::amount::{Amount, Unit};

/// Bytes of memory or of files.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// Thousandths of one CPU's time.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MilliCpu(pub u64);

/// Bytes in each second.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct BytesPerSecond(pub u64);

/// Whole hundredths.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Percent(pub u8);

/// Thousandths: a part of a limit (900 is 90%), or a growth of it (250 is a quarter more).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Permille(pub u32);

impl Bytes {
    /// One mebibyte.
    pub const MIB: Bytes = Bytes(1 << 20);
    /// One gibibyte.
    pub const GIB: Bytes = Bytes(1 << 30);
}

impl Permille {
    /// All of it.
    pub const WHOLE: Permille = Permille(1000);

    /// This part of an amount, rounded down; what no longer fits is the largest value.
    #[must_use]
    pub fn of(self, amount: u64) -> u64 {
        let part = u128::from(amount) * u128::from(self.0) / 1000;
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    /// An amount and this much of it on top; what no longer fits is the largest value.
    #[must_use]
    pub fn more_than(self, amount: u64) -> u64 {
        amount.saturating_add(self.of(amount))
    }
}

impl fmt::Display for Bytes {
    /// `1.5 GiB`: at most two decimals, rounded down.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Amount(self.0).show(Unit::Bytes).fmt(f)
    }
}

impl fmt::Display for MilliCpu {
    /// `2`, `0.5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Amount(self.0).show(Unit::Milli).fmt(f)
    }
}

impl fmt::Display for BytesPerSecond {
    /// `100 MiB/s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", Bytes(self.0))
    }
}

impl fmt::Display for Percent {
    /// `50%`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl fmt::Display for Permille {
    /// `90%`, `92.5%`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 % 10 {
            0 => write!(f, "{}%", self.0 / 10),
            tenth => write!(f, "{}.{tenth}%", self.0 / 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_an_amount_is_rounded_down_and_never_overflows() {
        assert_eq!(Permille(900).of(1001), 900);
        assert_eq!(Permille(250).more_than(400), 500);
        assert_eq!(Permille(5000).of(u64::MAX), u64::MAX);
        assert_eq!(Permille(250).more_than(u64::MAX), u64::MAX);
    }

    #[test]
    fn each_unit_is_shown_with_its_name() {
        assert_eq!(Bytes(3 << 29).to_string(), "1.5 GiB");
        assert_eq!(MilliCpu(500).to_string(), "0.5");
        assert_eq!(BytesPerSecond(100 << 20).to_string(), "100 MiB/s");
        assert_eq!(Percent(50).to_string(), "50%");
        assert_eq!(Permille(925).to_string(), "92.5%");
        assert_eq!(Permille(1000).to_string(), "100%");
    }
}
