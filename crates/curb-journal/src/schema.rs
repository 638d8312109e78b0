//! The tables, and how a connection to them is set up.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::{OpenError, StorageError};
use crate::hash::Hash;
use crate::{JOURNAL_FILE, OpenOptions};

/// "CURB": tells a journal from any other SQLite file.
pub(crate) const APPLICATION_ID: i32 = 0x4355_5242;
/// The newest schema that this code reads and the one that it writes.
pub(crate) const SCHEMA_VERSION: i32 = 1;
/// First SQLite without the WAL-reset bug (3.7.0 to 3.51.2: a writer and a checkpointer on two connections
/// could corrupt the database).
const OLDEST_ENGINE: i32 = 3_051_003;
/// Only a foreign tool can make us wait: the writer is one connection, and readers do not block it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// A write-ahead log that outgrew this is cut back at the next restart of the log.
const WAL_KEEP_BYTES: i64 = 64 << 20;
/// Statements are few and all of them are kept prepared.
const STATEMENT_CACHE: usize = 32;

// `prev` repeats the hash of the row in front. It costs 32 bytes a row and lets a verifier judge what follows
// a damaged record instead of giving up there. `head` finds a cut-off tail, which no chain can see by itself.
// The triggers keep a person with a database shell from editing history by mistake, not by intent.
const TABLES: &str = "
CREATE TABLE events (
    seq     INTEGER PRIMARY KEY CHECK (seq >= 1),
    at_ms   INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    payload BLOB NOT NULL,
    prev    BLOB NOT NULL CHECK (length(prev) = 32),
    hash    BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE TRIGGER events_keep_what_they_say BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER events_stay BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TABLE head (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    seq   INTEGER NOT NULL,
    hash  BLOB NOT NULL CHECK (length(hash) = 32),
    at_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE specs (
    key  TEXT NOT NULL PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE ids (
    id  TEXT NOT NULL PRIMARY KEY,
    seq INTEGER NOT NULL REFERENCES events (seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE snapshots (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    seq      INTEGER NOT NULL,
    hash     BLOB NOT NULL CHECK (length(hash) = 32),
    format   INTEGER NOT NULL,
    bytes    INTEGER NOT NULL,
    sha256   BLOB NOT NULL CHECK (length(sha256) = 32),
    complete INTEGER NOT NULL CHECK (complete IN (0, 1))
) STRICT;
CREATE TABLE snapshot_chunks (
    snapshot INTEGER NOT NULL REFERENCES snapshots (id),
    part     INTEGER NOT NULL,
    body     BLOB NOT NULL,
    PRIMARY KEY (snapshot, part)
) STRICT;
";

pub(crate) fn check_engine() -> Result<(), OpenError> {
    if rusqlite::version_number() < OLDEST_ENGINE {
        return Err(OpenError::EngineTooOld {
            found: rusqlite::version().to_owned(),
        });
    }
    Ok(())
}

fn storage(dir: &Path, doing: &'static str) -> impl Fn(rusqlite::Error) -> OpenError {
    move |error| OpenError::Storage {
        doing,
        dir: dir.to_owned(),
        source: StorageError(error),
    }
}

/// The one connection that writes and checkpoints. The caller holds the directory's lock and has made the
/// file.
pub(crate) fn open_writer(dir: &Path, options: &OpenOptions) -> Result<Connection, OpenError> {
    let conn = connect(dir)?;
    let mode: String = conn
        .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
        .map_err(storage(dir, "switch on write-ahead logging for"))?;
    if mode != "wal" {
        return Err(OpenError::NoWriteAheadLog {
            dir: dir.to_owned(),
            mode,
        });
    }
    configure_writer(&conn, options).map_err(storage(dir, "configure"))?;
    if identity(&conn, dir)? == Identity::Empty {
        create(&conn).map_err(storage(dir, "create"))?;
    }
    Ok(conn)
}

/// A connection that cannot write, for any number of threads and processes beside the writer.
pub(crate) fn open_reader(dir: &Path) -> Result<Connection, OpenError> {
    if !dir.join(JOURNAL_FILE).is_file() {
        return Err(OpenError::Missing {
            dir: dir.to_owned(),
        });
    }
    // Opened for writing all the same: after a crash even a reader must rebuild the index of the log.
    let conn = connect(dir)?;
    configure_reader(&conn).map_err(storage(dir, "configure"))?;
    if identity(&conn, dir)? == Identity::Empty {
        return Err(OpenError::Missing {
            dir: dir.to_owned(),
        });
    }
    Ok(conn)
}

fn connect(dir: &Path) -> Result<Connection, OpenError> {
    check_engine()?;
    // No mutex: `Connection` is not `Sync`, so only one thread at a time can hold it.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let conn =
        Connection::open_with_flags(dir.join(JOURNAL_FILE), flags).map_err(storage(dir, "open"))?;
    conn.busy_timeout(BUSY_TIMEOUT)
        .map_err(storage(dir, "configure"))?;
    Ok(conn)
}

fn configure_common(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // Finds a damaged page when it is read, not when its content is believed.
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "mmap_size", 0)
        .or_else(|error| match error {
            // The pragma answers with a row, which is not news.
            rusqlite::Error::ExecuteReturnedResults => Ok(()),
            other => Err(other),
        })?;
    // Checkpoints are called by the writer, when nobody waits for an answer.
    set_and_ignore_answer(conn, "wal_autocheckpoint", 0)
}

fn configure_writer(conn: &Connection, options: &OpenOptions) -> rusqlite::Result<()> {
    configure_common(conn)?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    // On macOS plain fsync leaves data in the drive's cache. Elsewhere these two change nothing.
    conn.pragma_update(None, "fullfsync", true)?;
    conn.pragma_update(None, "checkpoint_fullfsync", true)?;
    conn.pragma_update(None, "foreign_keys", true)?;
    // What is deleted is overwritten: a body is deleted because somebody wants it gone.
    set_and_ignore_answer(conn, "secure_delete", 1)?;
    set_and_ignore_answer(conn, "journal_size_limit", WAL_KEEP_BYTES)?;
    conn.pragma_update(None, "cache_size", -8192)?; // 8 MiB
    if let Some(max_bytes) = options.max_bytes {
        let page: i64 = conn.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = i64::try_from(max_bytes).unwrap_or(i64::MAX) / page.max(1);
        set_and_ignore_answer(
            conn,
            "max_page_count",
            pages.clamp(1, i64::from(u32::MAX) - 1),
        )?;
    }
    Ok(())
}

fn configure_reader(conn: &Connection) -> rusqlite::Result<()> {
    configure_common(conn)?;
    conn.pragma_update(None, "query_only", true)?;
    // The last one to leave folds the log into the database. Only the writer's connection may do that.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}

fn set_and_ignore_answer(conn: &Connection, pragma: &str, value: i64) -> rusqlite::Result<()> {
    conn.pragma_update_and_check(None, pragma, value, |_| Ok(()))
}

#[derive(PartialEq)]
enum Identity {
    Empty,
    Journal,
}

fn identity(conn: &Connection, dir: &Path) -> Result<Identity, OpenError> {
    let read = |pragma| {
        conn.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0))
            .map_err(storage(dir, "read the header of"))
    };
    let path = || dir.join(JOURNAL_FILE);
    let (application, version) = (read("application_id")?, read("user_version")?);
    match (application, version) {
        (APPLICATION_ID, SCHEMA_VERSION) => Ok(Identity::Journal),
        (APPLICATION_ID, found) => Err(OpenError::NewerSchema {
            path: path(),
            found,
            known: SCHEMA_VERSION,
        }),
        (0, 0) if is_empty(conn).map_err(storage(dir, "read the schema of"))? => {
            Ok(Identity::Empty)
        }
        (found, _) => Err(OpenError::NotAJournal {
            path: path(),
            found,
        }),
    }
}

fn is_empty(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row(
        "SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)",
        [],
        |row| row.get(0),
    )
}

fn create(conn: &Connection) -> rusqlite::Result<()> {
    let tx = conn.unchecked_transaction()?;
    tx.execute_batch(TABLES)?;
    tx.execute(
        "INSERT INTO head (one, seq, hash, at_ms) VALUES (1, 0, ?1, ?2)",
        (Hash::genesis().0, i64::MIN),
    )?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    tx.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(conn: &Connection, pragma: &str) -> i64 {
        conn.pragma_query_value(None, pragma, |row| row.get(0))
            .expect("a pragma")
    }

    #[test]
    fn the_writer_syncs_every_commit_and_folds_the_log_in_only_when_told() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let journal = crate::Journal::open(dir.path()).expect("a new journal");
        let mode: String = journal
            .conn
            .pragma_query_value(None, "journal_mode", |row| row.get(0))
            .expect("a pragma");
        assert_eq!(mode, "wal");
        let expected = [
            ("synchronous", 2),
            ("fullfsync", 1),
            ("checkpoint_fullfsync", 1),
            ("wal_autocheckpoint", 0),
            ("foreign_keys", 1),
            ("secure_delete", 1),
            ("trusted_schema", 0),
            ("cell_size_check", 1),
            ("query_only", 0),
            ("busy_timeout", 5_000),
            ("mmap_size", 0),
            ("application_id", i64::from(APPLICATION_ID)),
            ("user_version", i64::from(SCHEMA_VERSION)),
        ];
        for (pragma, value) in expected {
            assert_eq!(number(&journal.conn, pragma), value, "{pragma}");
        }
    }

    #[test]
    fn a_reader_cannot_write_and_never_folds_the_log_in() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let _journal = crate::Journal::open(dir.path()).expect("a new journal");
        let reader = crate::Reader::open(dir.path()).expect("a journal");
        assert_eq!(number(&reader.conn, "query_only"), 1);
        assert_eq!(number(&reader.conn, "wal_autocheckpoint"), 0);
        let no_checkpoint = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        assert!(reader.conn.db_config(no_checkpoint).expect("a setting"));
        reader
            .conn
            .execute_batch("DELETE FROM ids")
            .expect_err("it is read-only");
    }

    #[test]
    fn the_handles_can_go_where_they_are_needed() {
        fn send<T: Send>() {}
        fn shared<T: Send + Sync + Clone + 'static>() {}
        send::<crate::Journal>();
        send::<crate::Reader>();
        shared::<crate::writer::WriterHandle>();
    }
}
