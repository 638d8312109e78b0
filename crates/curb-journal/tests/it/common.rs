//! What several tests need.

use std::path::Path;

use curb_journal::{Entry, Head, JOURNAL_FILE, Journal, OwnedEntry, Reader, VerifyReport, verify};
use rusqlite::Connection;
pub use tempfile::TempDir;

/// A time to start from, in milliseconds.
pub const T0: i64 = 1_760_000_000_000;

pub fn dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Event `n`: one second after the one before, with a payload that says which it is.
pub fn event(n: u64) -> OwnedEntry {
    let at_ms = T0 + i64::try_from(n).unwrap() * 1_000;
    let kind = ["granted", "ended", "queued"][usize::try_from(n % 3).unwrap()];
    Entry::new(at_ms, kind, format!("{{\"n\":{n}}}").into_bytes())
}

/// Appends events `from..=to` in batches of 7.
pub fn append(journal: &mut Journal, from: u64, to: u64) -> Head {
    let events: Vec<_> = (from..=to).map(event).collect();
    for batch in events.chunks(7) {
        journal.append(batch).unwrap();
    }
    journal.head()
}

/// A closed journal with events `1..=n`.
pub fn filled(n: u64) -> (TempDir, Head) {
    let dir = dir();
    let head = append(&mut Journal::open(dir.path()).unwrap(), 1, n);
    (dir, head)
}

/// A database shell that may do anything.
pub fn shell(dir: &Path) -> Connection {
    let conn = Connection::open(dir.join(JOURNAL_FILE)).unwrap();
    conn.execute_batch(
        "PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON;
         DROP TRIGGER IF EXISTS events_stay; DROP TRIGGER IF EXISTS events_keep_what_they_say;",
    )
    .unwrap();
    conn
}

pub fn report(dir: &Path) -> VerifyReport {
    verify(&Reader::open(dir).unwrap(), None).unwrap()
}
