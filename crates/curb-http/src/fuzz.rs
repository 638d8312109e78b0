//! Harness functions over plain bytes: what a fuzzer calls, and what the property tests call with
//! a corpus. Each panics if a promise of this crate is broken.

use crate::canonical::CanonicalPath;
use crate::chunked::ChunkReader;
use crate::head::{Head, HeadLimits, HeadReader};
use crate::origin::{HostPort, Origin};
use crate::violation::Violation;

/// Reads a head from `bytes` as if they arrived one by one, and at once. Both must agree.
pub fn head(bytes: &[u8]) -> Result<Option<Head>, Violation> {
    let limits = HeadLimits::default();
    let at_once = HeadReader::new(limits).read(bytes);
    let mut reader = HeadReader::new(limits);
    let mut piecewise = Ok(None);
    for end in 0..=bytes.len() {
        piecewise = reader.read(&bytes[..end]);
        if !matches!(piecewise, Ok(None)) {
            break;
        }
    }
    assert_eq!(
        at_once.is_ok(),
        piecewise.is_ok(),
        "pieces changed the verdict on a head"
    );
    if at_once.is_ok() {
        assert_eq!(at_once, piecewise, "pieces changed the reading of a head");
    }
    at_once
}

/// Follows a chunked body at once and byte by byte. Both must agree.
pub fn chunked(bytes: &[u8]) -> (usize, Option<Violation>) {
    let mut whole = ChunkReader::default();
    let at_once = whole.read(bytes);
    let (mut reader, mut taken, mut bad) = (ChunkReader::default(), 0, None);
    for byte in bytes.chunks(1) {
        let progress = reader.read(byte);
        taken += progress.taken;
        bad = progress.bad;
        if bad.is_some() || reader.is_done() {
            break;
        }
    }
    assert_eq!(
        (at_once.taken, at_once.bad),
        (taken, bad),
        "pieces changed the reading of chunks"
    );
    assert!(
        at_once.taken <= bytes.len(),
        "more bytes were taken than there are"
    );
    (taken, bad)
}

/// Parses a request target. What passes is its own canonical form.
pub fn target(text: &str) {
    let Ok(target) = CanonicalPath::parse(text) else {
        return;
    };
    let path = target.path();
    assert!(
        text.starts_with(path) && path.starts_with('/'),
        "the path was changed"
    );
    assert!(
        !path.contains("//") && !path.contains('%') && !path.contains('\\'),
        "not canonical: {path}"
    );
    assert!(
        target
            .segments()
            .all(|s| s != "." && s != ".." && !s.ends_with('.')),
        "dots: {path}"
    );
    let again = CanonicalPath::parse(path);
    assert_eq!(
        again.as_ref().map(CanonicalPath::path),
        Ok(path),
        "a canonical path was refused"
    );
}

/// Parses names that browsers send. What passes is one spelling.
pub fn names(text: &str) {
    if let Some(host) = HostPort::parse(text, 80) {
        assert_eq!(
            HostPort::parse(&text.to_ascii_uppercase(), 80).as_ref(),
            Some(&host)
        );
    }
    if Origin::parse(text).is_some() {
        assert!(text.starts_with("http://") || text.starts_with("https://"));
    }
}
