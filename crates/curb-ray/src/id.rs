//! Which strings may become one segment of a path on Ray.

/// The longest id or package name that is put into a path.
pub const MAX_SEGMENT_BYTES: usize = 200;

/// Why a string is no canonical path segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} `{shown}` is not usable in a path: 1 to {MAX_SEGMENT_BYTES} of A-Z a-z 0-9 . _ - and not only dots"
)]
pub struct BadSegment {
    what: &'static str,
    shown: String,
}

/// Checks that `id` is one canonical path segment: what Ray's router decodes is what was checked.
///
/// Ray itself takes any string; with a `/`, a `%` or a `..` inside, a request for one job's record
/// could become a request for another route.
pub fn check_id(id: &str) -> Result<(), BadSegment> {
    check_segment("submission id", id)
}

pub(crate) fn check_segment(what: &'static str, segment: &str) -> Result<(), BadSegment> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let canonical = (1..=MAX_SEGMENT_BYTES).contains(&segment.len())
        && segment.bytes().all(plain)
        && segment.bytes().any(|b| b != b'.');
    if canonical {
        return Ok(());
    }
    // Debug escapes keep control characters out of logs and terminals.
    let shown = segment
        .chars()
        .take(40)
        .flat_map(char::escape_debug)
        .collect();
    Err(BadSegment { what, shown })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_as_ray_and_curb_make_them_are_canonical() {
        for id in [
            "raysubmit_Zh7QkVpa3YdJ8sCq",
            "02000000",
            "curb-1a.b_c",
            "a",
            &"x".repeat(200),
        ] {
            assert_eq!(check_id(id), Ok(()));
        }
    }

    #[test]
    fn whatever_a_router_could_read_differently_is_refused() {
        for id in [
            "",
            ".",
            "..",
            "...",
            "a/b",
            "a%2fb",
            "%2e",
            "a b",
            "a;b",
            "a?b",
            "a#b",
            "a\\b",
            "a\0",
            "a\n",
            "ä",
            "+",
            "a:b",
            &"x".repeat(201),
        ] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn the_message_shows_no_raw_control_character() {
        let message = check_id("a\x1b[2Jb").unwrap_err().to_string();
        assert!(
            message.contains("\\u{1b}") && !message.contains('\x1b'),
            "{message}"
        );
    }
}
