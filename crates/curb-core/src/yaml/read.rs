//! Values of places: a reader of texts at a place, with what is wrong reported there.

use crate::time::Millis;

use super::values::{self, Wrong};
use super::{Place, Reader};

/// The most items in one of the short lists of a file.
pub const MAX_SMALL_LIST: usize = 64;

/// Takes a value's text apart, and reports what is wrong with it.
pub fn value<T>(
    r: &mut Reader<'_>,
    at: &Place<'_>,
    form: &str,
    read: impl FnOnce(&str) -> Result<T, Wrong>,
) -> Option<T> {
    let text = r.text(at, form)?;
    read(text)
        .map_err(|wrong| r.error(at, &wrong.message, &wrong.help))
        .ok()
}

/// A span of time within bounds.
pub fn span(r: &mut Reader<'_>, at: &Place<'_>, least: Millis) -> Option<Millis> {
    value(r, at, "a span of time such as `24h`", |t| {
        values::span(t, least, Millis::MAX)
    })
}

/// A sentence; line breaks in it become spaces.
pub fn sentence(r: &mut Reader<'_>, at: &Place<'_>, what: &str, most: usize) -> Option<String> {
    let text = r.string(at, "a sentence")?;
    let length = text.chars().count();
    if length > most {
        r.error(
            at,
            &format!("{what} of {length} characters: at most {most}"),
            "make it shorter",
        );
        return None;
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    if line.is_empty() || line.chars().any(char::is_control) {
        r.error(
            at,
            &format!("{what} is a sentence without control characters"),
            "write it in words",
        );
        return None;
    }
    Some(line)
}

/// Whether there are more than a small list may have; an error if so.
pub fn too_many(r: &mut Reader<'_>, at: &Place<'_>, count: usize, what: &str) -> bool {
    let over = count > MAX_SMALL_LIST;
    if over {
        r.error_at_key(
            at,
            &format!("{count} {what}: at most {MAX_SMALL_LIST} fit here"),
            "",
        );
    }
    over
}
