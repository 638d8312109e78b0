//! Which strings may become one segment of a path on Ray.

/// The longest id or package name that is put into a path.
pub const MAX_SEGMENT_BYTES: usize = 200;

/// Why a string is not put into a path on Ray.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSegment {
    /// It is no canonical path segment.
    #[error(
        "{what} `{shown}` is not usable in a path: 1 to {MAX_SEGMENT_BYTES} of A-Z a-z 0-9 . _ - and not only dots"
    )]
    NotCanonical {
        /// What it was to be: a submission id, a package name.
        what: &'static str,
        /// Its beginning, escaped.
        shown: String,
    },
    /// It could be the id that Ray gives to a driver.
    #[error(
        "submission id `{id}` is not usable: Ray takes 8 hex digits for the id of a driver, so it could name another user's job; choose another id"
    )]
    DriverId {
        /// The id.
        id: String,
    },
}

/// The length of Ray's ids of drivers: 4 bytes in hex, counted up from `01000000`.
const DRIVER_ID_LENGTH: usize = 8;

/// Checks that `id` is one canonical path segment: what Ray's router decodes is what was checked.
///
/// Ray itself takes any string; with a `/`, a `%` or a `..` inside, a request for one job's record
/// could become a request for another route.
///
/// Nor may it be 8 hex digits: Ray looks `/api/jobs/{id}` up among its drivers' own ids first, and these are counted up,
/// so that such a submission id could be made to stand for another job. Ray writes them in small letters; capitals are
/// refused as well, so that nothing depends on how it compares.
///
/// # Errors
/// Which of the two it is not.
pub fn check_id(id: &str) -> Result<(), BadSegment> {
    check_segment("submission id", id)?;
    if is_driver_id(id) {
        return Err(BadSegment::DriverId { id: id.to_owned() });
    }
    Ok(())
}

/// Whether Ray could have given this id to a driver.
fn is_driver_id(id: &str) -> bool {
    id.len() == DRIVER_ID_LENGTH && id.bytes().all(|b| b.is_ascii_hexdigit())
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
    Err(BadSegment::NotCanonical { what, shown })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_as_ray_and_curb_make_them_are_canonical() {
        for id in [
            "raysubmit_Zh7QkVpa3YdJ8sCq",
            "0200000",
            "020000000",
            "0200000g",
            "02000000-2",
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
    fn what_ray_would_take_for_a_drivers_id_is_refused_and_the_text_says_why() {
        for id in ["03000000", "00000000", "deadbeef", "DEADBEEF", "0aB1c2D3"] {
            let error = check_id(id).unwrap_err();
            assert_eq!(error, BadSegment::DriverId { id: id.to_owned() });
            assert!(error.to_string().contains("driver"), "{error}");
        }
        assert_eq!(check_segment("package name", "03000000"), Ok(()));
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
