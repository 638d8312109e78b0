//! Texts of single values that more than one kind of file has.
//!
//! Each reader gives the value, or what was wanted in the words of the person who wrote the file.

use crate::time::Millis;

use super::quoted;

/// Why a text is not what was wanted.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    pub message: String,
    pub help: String,
}

/// An error with a help, which may be empty.
pub fn wrong<T>(message: String, help: &str) -> Result<T, Wrong> {
    Err(Wrong {
        message,
        help: help.to_owned(),
    })
}

/// A span of time within bounds.
pub fn span(text: &str, least: Millis, most: Millis) -> Result<Millis, Wrong> {
    let Ok(span) = Millis::parse(text) else {
        let help = if text.bytes().all(|b| b.is_ascii_digit()) {
            "put the unit behind the number: s, m, h, d or w"
        } else {
            ""
        };
        return wrong(
            format!(
                "wanted a span of time such as `30s`, `15m`, `24h`, `7d` or `1h30m`, got {}",
                quoted(text)
            ),
            help,
        );
    };
    if span < least || span > most {
        return wrong(
            format!(
                "wanted a span of time from {least} to {most}, got {}",
                quoted(text)
            ),
            "",
        );
    }
    Ok(span)
}

/// `80%`.
pub fn percent(text: &str) -> Result<u8, Wrong> {
    let number = text.strip_suffix('%').map(str::trim_end);
    match number.and_then(|n| n.parse::<u8>().ok()) {
        Some(n) if (1..=100).contains(&n) => Ok(n),
        _ => wrong(
            format!(
                "wanted whole percents from `1%` to `100%`, got {}",
                quoted(text)
            ),
            &percent_help(text),
        ),
    }
}

/// `0.8` and `80` are `80%`.
fn percent_help(text: &str) -> String {
    let hundredths = |digits: &str| match digits.len() {
        1 => digits.parse::<u8>().ok().map(|n| n * 10),
        2 => digits.parse().ok(),
        _ => None,
    };
    let percent = match text.strip_prefix("0.") {
        Some(digits) => hundredths(digits),
        None => text.parse().ok(),
    };
    match percent {
        Some(n @ 1..=100) => format!("write `{n}%`"),
        _ => String::new(),
    }
}
