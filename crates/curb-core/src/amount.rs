//! Exact amounts of a resource.
//!
//! An [`Amount`] is a whole number of the resource's smallest unit: thousandths for things that are counted
//! (CPUs, GPUs, custom resources) and bytes for memory. Nothing here is a float: what is compared, added and
//! stored is what was written.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How many of its smallest units make one of a counted resource (1 CPU = 1000 milli-CPU).
pub const MILLI: u64 = 1000;

/// The largest amount that can be declared: 2^53, so that a JSON reader in any language keeps it exact.
pub const MAX_AMOUNT: u64 = 1 << 53;

/// Memory that a job declares without a unit is a number of bytes from here on (1 MiB); below, the unit was forgotten.
pub const LEAST_PLAIN_BYTES: u64 = 1 << 20;

/// A whole number of a resource's smallest unit (see [`Unit`]).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Amount(pub u64);

/// What one unit of an [`Amount`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Thousandths of a counted thing.
    Milli,
    /// Bytes.
    Bytes,
}

/// Why a text is not an amount. The text of the error says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not a number in any accepted form.
    #[error("`{text}` is not an amount: write {expected}")]
    Unparsable {
        /// What was written.
        text: String,
        /// The right form.
        expected: &'static str,
    },
    /// Below zero.
    #[error("`{0}` is negative: an amount is zero or more")]
    Negative(String),
    /// More digits than the smallest unit holds.
    #[error("`{text}` is finer than {finest}: write a multiple of it")]
    TooFine {
        /// What was written.
        text: String,
        /// The smallest unit.
        finest: &'static str,
    },
    /// Memory so small that a unit was forgotten.
    #[error(
        "`{0}` would be {0} bytes of memory: put the unit behind the number, such as `{0}GiB` or `{0}MiB`"
    )]
    NoUnit(String),
    /// Past [`MAX_AMOUNT`].
    #[error("`{0}` is larger than any amount that can be declared (2^53 of the smallest unit)")]
    TooLarge(String),
}

const COUNT_FORM: &str =
    "a number of units such as `2`, `0.5`, or thousandths with the suffix m such as `500m`";
const MEMORY_FORM: &str = "a size such as `16GiB`, `512MiB`, `1.5TiB`, `64GB` or a number of bytes";

impl Amount {
    /// Zero.
    pub const ZERO: Amount = Amount(0);

    /// A whole number of a counted resource.
    #[must_use]
    pub const fn whole(n: u64) -> Amount {
        Amount(n.saturating_mul(MILLI))
    }

    /// Parses what a person writes for a counted resource: `2`, `0.5`, `500m`.
    pub fn parse_count(text: &str) -> Result<Amount, AmountError> {
        let t = text.trim();
        if let Some(milli) = t.strip_suffix('m') {
            return scaled(milli, 1, text, COUNT_FORM, "one thousandth (1m)");
        }
        scaled(t, MILLI, text, COUNT_FORM, "one thousandth (1m)")
    }

    /// Parses what a person writes for memory: `16GiB`, `512 MiB`, `64GB`, `4G` (decimal, as in Kubernetes), bytes.
    pub fn parse_memory(text: &str) -> Result<Amount, AmountError> {
        let t = text.trim();
        let split = t.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(t.len());
        let (number, suffix) = t.split_at(split);
        // `1e9` is what Ray's own users write for bytes; the letter is an exponent there.
        if let Some(value) = exponent(t) {
            return scaled(&value, 1, text, MEMORY_FORM, "one byte");
        }
        let factor = match suffix {
            "" | "B" => 1,
            "KiB" | "Ki" => 1 << 10,
            "MiB" | "Mi" => 1 << 20,
            "GiB" | "Gi" => 1 << 30,
            "TiB" | "Ti" => 1 << 40,
            "PiB" | "Pi" => 1 << 50,
            "kB" | "KB" | "k" | "K" => 1_000,
            "MB" | "M" => 1_000_000,
            "GB" | "G" => 1_000_000_000,
            "TB" | "T" => 1_000_000_000_000,
            "PB" | "P" => 1_000_000_000_000_000,
            _ => {
                return Err(AmountError::Unparsable {
                    text: text.to_owned(),
                    expected: MEMORY_FORM,
                });
            }
        };
        scaled(number.trim(), factor, text, MEMORY_FORM, "one byte")
    }

    /// Parses by the unit of the resource.
    pub fn parse(unit: Unit, text: &str) -> Result<Amount, AmountError> {
        match unit {
            Unit::Milli => Amount::parse_count(text),
            Unit::Bytes => Amount::parse_memory(text),
        }
    }

    /// Parses what a job declares: as [`Amount::parse`], but memory without a unit has to be at least
    /// [`LEAST_PLAIN_BYTES`], since `16` is hardly ever sixteen bytes.
    pub fn parse_declared(unit: Unit, text: &str) -> Result<Amount, AmountError> {
        let amount = Amount::parse(unit, text)?;
        let plain = !text.contains(|c: char| c.is_ascii_alphabetic());
        if unit == Unit::Bytes && plain && (1..LEAST_PLAIN_BYTES).contains(&amount.0) {
            return Err(AmountError::NoUnit(text.trim().to_owned()));
        }
        Ok(amount)
    }

    /// The sum, or the largest value there is.
    #[must_use]
    pub fn saturating_add(self, other: Amount) -> Amount {
        Amount(self.0.saturating_add(other.0))
    }

    /// The difference, or zero.
    #[must_use]
    pub fn saturating_sub(self, other: Amount) -> Amount {
        Amount(self.0.saturating_sub(other.0))
    }

    /// For people: `2`, `0.5`, `16 GiB`.
    #[must_use]
    pub fn show(self, unit: Unit) -> ShowAmount {
        ShowAmount { amount: self, unit }
    }
}

/// An amount with its unit, for display.
#[derive(Clone, Copy, Debug)]
pub struct ShowAmount {
    amount: Amount,
    unit: Unit,
}

impl fmt::Display for ShowAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unit {
            Unit::Milli => write_decimal(f, u128::from(self.amount.0), u128::from(MILLI), 3),
            Unit::Bytes => {
                let bytes = self.amount.0;
                let units = [
                    (1u64 << 40, "TiB"),
                    (1 << 30, "GiB"),
                    (1 << 20, "MiB"),
                    (1 << 10, "KiB"),
                    (1, "B"),
                ];
                let fits = |(factor, _): &&(u64, &str)| bytes >= *factor;
                let largest = units.iter().find(fits).unwrap_or(&units[4]);
                // Whole mebibytes are shown as they are, in a form that can be written again.
                let exact = |(factor, _): &&(u64, &str)| {
                    (u128::from(bytes) * 100).is_multiple_of(u128::from(*factor))
                };
                let mut coarse = units.iter().filter(|(f, _)| *f >= (1 << 20).min(largest.0));
                let (factor, name) = coarse
                    .find(|u| u.0 <= largest.0 && exact(u))
                    .unwrap_or(largest);
                write_decimal(f, u128::from(bytes), u128::from(*factor), 2)?;
                write!(f, " {name}")
            }
        }
    }
}

/// Writes `value / factor` with at most `places` decimals, rounded down, without trailing zeros.
pub(crate) fn write_decimal(
    f: &mut fmt::Formatter<'_>,
    value: u128,
    factor: u128,
    places: u32,
) -> fmt::Result {
    let whole = value / factor;
    let scale = 10u128.pow(places);
    let mut fraction = (value % factor) * scale / factor;
    write!(f, "{whole}")?;
    if fraction == 0 {
        return Ok(());
    }
    let mut width = places as usize;
    while fraction.is_multiple_of(10) {
        fraction /= 10;
        width -= 1;
    }
    write!(f, ".{fraction:0width$}")
}

/// Turns `1e9` or `1.5E3` into plain digits; `None` when there is no exponent or it is not a number.
fn exponent(text: &str) -> Option<String> {
    let (mantissa, exp) = text.split_once(['e', 'E'])?;
    let exp: usize = exp.strip_prefix('+').unwrap_or(exp).parse().ok()?;
    if exp > 18 || mantissa.is_empty() {
        return None;
    }
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if !whole
        .bytes()
        .chain(fraction.bytes())
        .all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let (moved, rest) = fraction.split_at(exp.min(fraction.len()));
    let zeros = "0".repeat(exp - moved.len());
    Some(if rest.is_empty() {
        format!("{whole}{moved}{zeros}")
    } else {
        format!("{whole}{moved}{zeros}.{rest}")
    })
}

/// Parses a plain decimal number and multiplies it by `factor`, exactly.
fn scaled(
    number: &str,
    factor: u64,
    text: &str,
    expected: &'static str,
    finest: &'static str,
) -> Result<Amount, AmountError> {
    let unparsable = || AmountError::Unparsable {
        text: text.to_owned(),
        expected,
    };
    if let Some(rest) = number.strip_prefix('-') {
        let negative = !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        return Err(if negative {
            AmountError::Negative(text.to_owned())
        } else {
            unparsable()
        });
    }
    let (whole, fraction) = match number.split_once('.') {
        Some((w, f)) if !w.is_empty() && !f.is_empty() => (w, f.trim_end_matches('0')),
        Some(_) => return Err(unparsable()),
        None => (number, ""),
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return Err(unparsable());
    }
    let too_large = || AmountError::TooLarge(text.to_owned());
    let whole: u128 = whole.parse().map_err(|_| too_large())?;
    let mut value = whole
        .checked_mul(u128::from(factor))
        .ok_or_else(too_large)?;
    if !fraction.is_empty() {
        let too_fine = || AmountError::TooFine {
            text: text.to_owned(),
            finest,
        };
        if fraction.len() > 15 {
            return Err(too_fine());
        }
        let scale = 10u128.pow(fraction.len() as u32);
        let part: u128 = fraction.parse().map_err(|_| unparsable())?;
        let scaled = part * u128::from(factor);
        if !scaled.is_multiple_of(scale) {
            return Err(too_fine());
        }
        value += scaled / scale;
    }
    match u64::try_from(value) {
        Ok(v) if v <= MAX_AMOUNT => Ok(Amount(v)),
        _ => Err(too_large()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_are_exact_to_a_thousandth() {
        for (text, milli) in [
            ("2", 2000),
            ("0.5", 500),
            ("500m", 500),
            ("0.001", 1),
            ("1.250", 1250),
            (" 4 ", 4000),
            ("0", 0),
        ] {
            assert_eq!(Amount::parse_count(text), Ok(Amount(milli)), "{text}");
        }
    }

    #[test]
    fn memory_knows_binary_and_decimal_suffixes() {
        for (text, bytes) in [
            ("16GiB", 16 << 30),
            ("512 MiB", 512 << 20),
            ("1.5KiB", 1536),
            ("64GB", 64_000_000_000),
            ("1024", 1024),
            ("1e9", 1_000_000_000),
            ("1.5e3", 1500),
            ("4Gi", 4 << 30),
        ] {
            assert_eq!(Amount::parse_memory(text), Ok(Amount(bytes)), "{text}");
        }
    }

    #[test]
    fn declared_memory_without_a_unit_is_bytes_only_where_it_can_be() {
        let declared = |text| Amount::parse_declared(Unit::Bytes, text);
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("16B", 16),
            ("2KiB", 2048),
            ("1e9", 1_000_000_000),
        ] {
            assert_eq!(declared(text), Ok(Amount(bytes)), "{text}");
        }
        for text in ["16", "1048575", " 16 "] {
            let error = declared(text).expect_err(text).to_string();
            assert!(error.contains("GiB`"), "{error}");
        }
        assert_eq!(
            Amount::parse_declared(Unit::Milli, "16"),
            Ok(Amount(16_000))
        );
    }

    #[test]
    fn what_is_not_an_amount_says_what_would_be_right() {
        for bad in [
            "", "lots", "1..2", ".5", "5.", "NaN", "inf", "+1", "1_000", "0x10", "--1",
        ] {
            let error = Amount::parse_count(bad).expect_err(bad);
            assert!(error.to_string().contains("write a number"), "{error}");
        }
        assert_eq!(
            Amount::parse_count("-1"),
            Err(AmountError::Negative("-1".into()))
        );
        assert!(matches!(
            Amount::parse_count("0.0001"),
            Err(AmountError::TooFine { .. })
        ));
        assert!(matches!(
            Amount::parse_memory("99999999PiB"),
            Err(AmountError::TooLarge(_))
        ));
        assert!(matches!(
            Amount::parse_count("340282366920938463463374607431768211456"),
            Err(AmountError::TooLarge(_))
        ));
    }

    proptest! {
        #[test]
        fn what_is_shown_parses_back_to_the_same_count(milli in 0..MAX_AMOUNT) {
            let shown = Amount(milli).show(Unit::Milli).to_string();
            prop_assert_eq!(Amount::parse_count(&shown), Ok(Amount(milli)));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,24}") {
            let _ = Amount::parse_count(&text);
            let _ = Amount::parse_memory(&text);
        }
    }
}
