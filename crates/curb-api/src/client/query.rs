//! Query strings.

use std::fmt::Write;

/// A query string under construction.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(String);

impl Query {
    pub(super) fn new() -> Query {
        Query::default()
    }

    /// Adds a pair, if there is a value.
    pub(super) fn with(mut self, key: &str, value: Option<impl AsRef<str>>) -> Query {
        if let Some(value) = value {
            self.0.push(if self.0.is_empty() { '?' } else { '&' });
            self.0.push_str(key);
            self.0.push('=');
            encode(&mut self.0, value.as_ref());
        }
        self
    }

    /// The path with the query.
    pub(super) fn on(&self, path: &str) -> String {
        format!("{path}{}", self.0)
    }
}

fn encode(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_add_a_pair_of_its_own() {
        let query = Query::new()
            .with("user", Some("a&b=c #é"))
            .with("x", None::<&str>)
            .with("state", Some("all"));
        assert_eq!(query.on("/j"), "/j?user=a%26b%3Dc%20%23%C3%A9&state=all");
        assert_eq!(Query::new().on("/j"), "/j");
    }
}
