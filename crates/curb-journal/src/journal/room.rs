//! Telling a disk without room from a disk that fails.

use std::io::{self, Write};
use std::path::Path;

use crate::error::{AppendError, StorageError};
use crate::files;

/// Sorts an engine error by what must be done about it.
pub(crate) fn classify(error: rusqlite::Error, dir: &Path) -> AppendError {
    let error = StorageError(error);
    if error.is_full() || (error.may_be_lack_of_room() && lacks_room(dir)) {
        AppendError::Full(error)
    } else if error.is_io() {
        AppendError::Io(error)
    } else {
        AppendError::Other(error)
    }
}

/// Asks the file system itself. The engine turns "no space" into its own code, but reports a full quota as a
/// failed write, and does not pass the system's error on.
fn lacks_room(dir: &Path) -> bool {
    const PROBE_BYTES: usize = 64 << 10;
    let path = dir.join("room-probe");
    let outcome = files::private_file(&path).and_then(|mut file| {
        file.write_all(&vec![0; PROBE_BYTES])?;
        file.sync_all()
    });
    // Best effort: a probe that stays is overwritten by the next one.
    let _ = std::fs::remove_file(&path);
    outcome.is_err_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    })
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn engine_errors_are_sorted_by_what_must_be_done() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let sort = |code| {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            match classify(error, dir.path()) {
                AppendError::Full(_) => "full",
                AppendError::Io(_) => "io",
                AppendError::Other(_) => "other",
                _ => "?",
            }
        };
        assert_eq!(sort(ffi::SQLITE_FULL), "full");
        for code in [
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_IOERR_DIR_FSYNC,
            ffi::SQLITE_IOERR_READ,
            ffi::SQLITE_IOERR_CORRUPTFS,
            // There is room here, so a refused write is not for lack of it.
            ffi::SQLITE_IOERR_WRITE,
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_NOTADB,
            ffi::SQLITE_CANTOPEN,
        ] {
            assert_eq!(sort(code), "io", "{code}");
        }
        for code in [
            ffi::SQLITE_BUSY,
            ffi::SQLITE_NOMEM,
            ffi::SQLITE_READONLY,
            ffi::SQLITE_CONSTRAINT,
        ] {
            assert_eq!(sort(code), "other", "{code}");
        }
        let left: Vec<_> = std::fs::read_dir(dir.path())
            .expect("a directory")
            .collect();
        assert!(
            left.is_empty(),
            "the probe for room leaves nothing behind: {left:?}"
        );
    }
}
