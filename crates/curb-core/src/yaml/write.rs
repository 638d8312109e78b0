//! Values as YAML that reads back as the same.

use crate::time::Millis;

use super::is_string;

/// A map on one line.
pub fn map(fields: &[String]) -> String {
    format!("{{{}}}", fields.join(", "))
}

/// A list on one line.
pub fn bracket(items: &[String]) -> String {
    format!("[{}]", items.join(", "))
}

/// A span, exact: `1d12h`, `1m30s`, `500ms`.
pub fn span(Millis(ms): Millis) -> String {
    let parts = [
        (ms / 86_400_000, "d"),
        (ms / 3_600_000 % 24, "h"),
        (ms / 60_000 % 60, "m"),
        (ms / 1000 % 60, "s"),
        (ms % 1000, "ms"),
    ];
    let text: String = parts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, unit)| format!("{n}{unit}"))
        .collect();
    if text.is_empty() { "0s".into() } else { text }
}

/// An amount of bytes, exact, with its unit: `1536MiB`, `1001B`.
pub fn bytes(n: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let exact = units
        .iter()
        .find(|(bits, _)| n > 0 && n.is_multiple_of(1 << bits));
    exact.map_or_else(
        || format!("{n}B"),
        |(bits, unit)| format!("{}{unit}", n >> bits),
    )
}

/// A name, in quotes where YAML would take it for something else.
pub fn name(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-./@".contains(&b));
    if plain && is_string(text) {
        text.to_owned()
    } else {
        quote(text)
    }
}

/// Text in double quotes, every doubtful character escaped.
pub fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            ' '..='~' => out.push(c),
            c if c.is_alphanumeric() => out.push(c),
            c => {
                let escaped = format!("\\U{:08x}", u32::from(c));
                out.push_str(&escaped);
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_yaml_takes_for_something_else_are_quoted() {
        for (text, shown) in [
            ("ana", "ana"),
            ("li@example.org", "li@example.org"),
            ("true", "\"true\""),
            ("1e3", "\"1e3\""),
            ("gpu:H100", "\"gpu:H100\""),
            ("Europe/Berlin", "Europe/Berlin"),
        ] {
            assert_eq!(name(text), shown);
        }
    }

    #[test]
    fn spans_and_bytes_are_exact() {
        assert_eq!(span(Millis(129_600_000)), "1d12h");
        assert_eq!(span(Millis(90_500)), "1m30s500ms");
        assert_eq!(bytes(3 << 29), "1536MiB");
        assert_eq!(bytes(1001), "1001B");
        assert_eq!(bytes(0), "0B");
    }
}
