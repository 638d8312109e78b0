//! The writer: the only connection that changes the journal.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rusqlite::config::DbConfig;
#[cfg(test)]
use rusqlite::ffi;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::entry::{
    Entry, Head, MAX_BATCH_ENTRIES, MAX_KEY_BYTES, MAX_KIND_BYTES, MAX_PAYLOAD_BYTES,
    MAX_SPEC_BYTES, SideWrite,
};
use crate::error::{AppendError, OpenError, ReadError, StorageError};
use crate::hash::Hash;
use crate::lock::DirLock;
use crate::page::Page;
use crate::{JOURNAL_FILE, files, query, schema};

/// How a journal is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// How many snapshots are kept, at least 1. Default 2: one more than needed, should one be damaged.
    pub snapshot_keep: usize,
    /// The database may not grow past this many bytes (whole pages); above it appends answer
    /// [`AppendError::Full`]. Default `None`: as much as the disk has.
    pub max_bytes: Option<u64>,
    /// Fold the write-ahead log into the database after about this many pages of 4 KiB. Default 1,000:
    /// the next commit waits for it, and more at once makes the longest answers longer without making the
    /// journal faster (measured by the benchmark).
    pub checkpoint_pages: u32,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            snapshot_keep: 2,
            max_bytes: None,
            checkpoint_pages: 1_000,
        }
    }
}

/// What the journal has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Checkpoints run.
    pub checkpoints: u64,
    /// Checkpoints that found no room or were blocked by a reader. Nothing is lost, the log grows.
    pub checkpoints_deferred: u64,
    /// Frames in the write-ahead log at the last checkpoint, and how many of them could be folded in.
    pub last_checkpoint: (u32, u32),
    /// How long the last checkpoint took, sync included, in microseconds.
    pub last_checkpoint_micros: u64,
}

/// The journal of one data directory, open for writing. One process has it at a time, one thread uses it.
#[derive(Debug)]
pub struct Journal {
    pub(crate) conn: Connection,
    pub(crate) options: OpenOptions,
    dir: PathBuf,
    head: Head,
    stopped: Option<String>,
    pages_since_checkpoint: u32,
    stats: Stats,
    /// Error code that the next commits answer instead of committing.
    #[cfg(test)]
    pub(crate) failing: Option<std::ffi::c_int>,
    // Last: the lock is released after the connection is closed.
    _lock: DirLock,
}

impl Journal {
    /// Opens the journal in `dir` with default options. See [`Journal::open_with`].
    ///
    /// # Errors
    /// As [`Journal::open_with`].
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Self::open_with(dir, OpenOptions::default())
    }

    /// Opens the journal in `dir`, or makes an empty one (directory mode 0700, files 0600).
    ///
    /// # Errors
    /// Another process has it ([`OpenError::Locked`] names its pid), the file is not a journal or is from a
    /// newer program, its end is damaged, or the disk refuses. Nothing is changed then.
    pub fn open_with(dir: &Path, options: OpenOptions) -> Result<Self, OpenError> {
        schema::check_engine()?;
        let file_error = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::File {
                doing,
                path,
                source,
            }
        };
        files::private_dir(dir).map_err(file_error("create", dir))?;
        let lock = DirLock::take(dir)?;
        let path = dir.join(JOURNAL_FILE);
        files::private_file(&path).map_err(file_error("create", &path))?;
        let (conn, head) = connect(dir, &options)?;
        files::sync_dir(dir).map_err(file_error("sync", dir))?;
        Ok(Self {
            conn,
            options,
            dir: dir.to_owned(),
            head,
            stopped: None,
            pages_since_checkpoint: 0,
            stats: Stats::default(),
            #[cfg(test)]
            failing: None,
            _lock: lock,
        })
    }

    /// Closes the connection and opens it again, keeping the lock: the way back after
    /// [`AppendError::Io`]. The end of the chain is checked anew. Compare the head with the last one that
    /// was acknowledged: after an I/O error the failed batch may be there or not.
    ///
    /// # Errors
    /// As [`Journal::open_with`]; the journal is stopped then and may be reopened again later.
    pub fn reopen(&mut self) -> Result<Head, OpenError> {
        self.stopped = Some("it is being reopened".to_owned());
        let nothing = Connection::open_in_memory().map_err(|error| OpenError::Storage {
            doing: "close",
            dir: self.dir.clone(),
            source: StorageError(error),
        })?;
        // The old connection must be gone before the new one comes, or the new one would share its view.
        drop(std::mem::replace(&mut self.conn, nothing));
        match connect(&self.dir, &self.options) {
            Ok((conn, head)) => {
                (self.conn, self.head, self.stopped) = (conn, head, None);
                self.pages_since_checkpoint = 0;
                Ok(head)
            }
            Err(error) => {
                self.stopped = Some(error.to_string());
                Err(error)
            }
        }
    }

    /// The newest durable record.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// The data directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the journal has done since it was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Appends all of `batch` in one transaction, synced to the disk when this returns `Ok`. An empty batch
    /// changes nothing.
    ///
    /// # Errors
    /// Nothing of the batch is in the journal, see [`AppendError`] for what to do. (After
    /// [`AppendError::Io`] that is known only once it was reopened.)
    pub fn append(&mut self, batch: &[Entry<'_>]) -> Result<Head, AppendError> {
        self.append_groups(&[batch])?;
        self.checkpoint_if_due();
        Ok(self.head)
    }

    /// Appends several batches in one transaction and says the head after each. Does not checkpoint.
    pub(crate) fn append_groups(
        &mut self,
        groups: &[&[Entry<'_>]],
    ) -> Result<Vec<Head>, AppendError> {
        if let Some(cause) = &self.stopped {
            return Err(AppendError::Stopped {
                cause: cause.clone(),
            });
        }
        check(groups, self.head.at_ms)?;
        if groups.iter().all(|group| group.is_empty()) {
            return Ok(vec![self.head; groups.len()]);
        }
        match self.transact(groups) {
            Ok(heads) => {
                self.head = heads.last().copied().unwrap_or(self.head);
                let entries = groups.iter().flat_map(|group| group.iter());
                self.note_pages(entries.map(Entry::weight).sum());
                Ok(heads)
            }
            Err(error) => Err(self.after_failure(error)),
        }
    }

    fn transact(&mut self, groups: &[&[Entry<'_>]]) -> Result<Vec<Head>, AppendError> {
        let engine = |error| classify(error, &self.dir);
        let tx = self
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(engine)?;
        let mut heads = Vec::with_capacity(groups.len());
        let mut head = self.head;
        let mut index = 0;
        for group in groups {
            for entry in *group {
                head = write_entry(&tx, head, entry, index).map_err(|error| match error {
                    WriteError::Refused(error) => error,
                    WriteError::Engine(error) => engine(error),
                })?;
                index += 1;
            }
            heads.push(head);
        }
        write_head(&tx, &head).map_err(engine)?;
        #[cfg(test)]
        if let Some(code) = self.failing {
            return Err(engine(rusqlite::Error::SqliteFailure(
                ffi::Error::new(code),
                None,
            )));
        }
        tx.commit().map_err(engine)?;
        Ok(heads)
    }

    /// Makes sure that a failed transaction left nothing behind, or stops the journal.
    pub(crate) fn after_failure(&mut self, error: AppendError) -> AppendError {
        if !error.stops_the_journal() {
            let rolled_back =
                self.conn.is_autocommit() || self.conn.execute_batch("ROLLBACK").is_ok();
            let unchanged = || query::head(&self.conn).is_ok_and(|head| head == self.head);
            if rolled_back && unchanged() {
                return error;
            }
            self.stop(format!("a failed batch could not be rolled back: {error}"));
            return AppendError::Stopped {
                cause: self.stopped.clone().unwrap_or_default(),
            };
        }
        self.stop(chain_text(&error));
        error
    }

    fn stop(&mut self, cause: String) {
        self.stopped = Some(cause);
        // Closing would sync again. If even this is refused, closing will fail in its own way.
        let _ = self
            .conn
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }

    /// Counts the pages that a transaction put into the log, roughly: what matters is that the log is
    /// folded in every few megabytes.
    pub(crate) fn note_pages(&mut self, bytes: usize) {
        let pages = 4 + bytes / 2048;
        let pages = u32::try_from(pages).unwrap_or(u32::MAX);
        self.pages_since_checkpoint = self.pages_since_checkpoint.saturating_add(pages);
    }

    /// Folds the write-ahead log into the database if it has grown enough. Never an error for the caller:
    /// what is in the log is durable. A failing disk stops the journal, and the next append says so.
    pub(crate) fn checkpoint_if_due(&mut self) {
        if self.pages_since_checkpoint >= self.options.checkpoint_pages {
            self.checkpoint();
        }
    }

    fn checkpoint(&mut self) {
        self.pages_since_checkpoint = 0;
        self.stats.checkpoints += 1;
        let started = Instant::now();
        let outcome = wal_checkpoint(&self.conn, "PASSIVE");
        let micros = started.elapsed().as_micros();
        self.stats.last_checkpoint_micros = u64::try_from(micros).unwrap_or(u64::MAX);
        match outcome {
            Ok(done) => {
                self.stats.last_checkpoint = (done.frames, done.folded);
                self.stats.checkpoints_deferred += u64::from(done.folded < done.frames);
            }
            Err(error) => match classify(error, &self.dir) {
                error @ AppendError::Io(_) => self.stop(chain_text(&error)),
                _ => self.stats.checkpoints_deferred += 1,
            },
        }
    }

    /// The body kept under `key`.
    ///
    /// # Errors
    /// The disk or the database refuses.
    pub fn spec(&self, key: &str) -> Result<Option<Vec<u8>>, ReadError> {
        query::spec(&self.conn, key)
    }

    /// Whether `id` was ever claimed.
    ///
    /// # Errors
    /// The disk or the database refuses.
    pub fn id_used(&self, id: &str) -> Result<bool, ReadError> {
        Ok(query::claimed_by(&self.conn, id)?.is_some())
    }

    /// The number of the record that claimed `id`.
    ///
    /// # Errors
    /// The disk or the database refuses.
    pub fn claimed_by(&self, id: &str) -> Result<Option<u64>, ReadError> {
        query::claimed_by(&self.conn, id)
    }

    /// Whether record `seq` is here and has this hash; record 0 is the genesis. Ask this for an anchor that
    /// was kept elsewhere: if it is not on the chain, the journal is not the one that was anchored.
    ///
    /// # Errors
    /// The disk or the database refuses.
    pub fn contains(&self, seq: u64, hash: &Hash) -> Result<bool, ReadError> {
        Ok(query::hash_at(&self.conn, seq)?.as_ref() == Some(hash))
    }
}

fn connect(dir: &Path, options: &OpenOptions) -> Result<(Connection, Head), OpenError> {
    let conn = schema::open_writer(dir, options)?;
    settle(&conn, dir)?;
    let head = checked_head(&conn, dir)?;
    Ok((conn, head))
}

/// Folds what an earlier process left in the log into the database, and syncs that.
///
/// If the earlier one died of a failed fsync, the log may be readable here only because the system still
/// caches pages that never reached the disk. Copying them makes them new writes, and this sync counts.
fn settle(conn: &Connection, dir: &Path) -> Result<(), OpenError> {
    let storage = |source| OpenError::Storage {
        doing: "settle",
        dir: dir.to_owned(),
        source,
    };
    match wal_checkpoint(conn, "FULL") {
        Ok(done) if !done.busy => Ok(()),
        Ok(_) => Err(OpenError::Busy {
            dir: dir.to_owned(),
        }),
        Err(error) => match classify(error, dir) {
            // Without room it stays in the log, from where it is read just as well.
            AppendError::Full(_) => Ok(()),
            AppendError::Io(source) | AppendError::Other(source) => Err(storage(source)),
            other => Err(OpenError::Damaged {
                dir: dir.to_owned(),
                what: other.to_string(),
            }),
        },
    }
}

/// The stored head, if the last record is what it says and nothing comes after it.
fn checked_head(conn: &Connection, dir: &Path) -> Result<Head, OpenError> {
    let damaged = |what: String| OpenError::Damaged {
        dir: dir.to_owned(),
        what,
    };
    let read = |error: ReadError| match error {
        ReadError::Storage { doing, source } => OpenError::Storage {
            doing,
            dir: dir.to_owned(),
            source,
        },
        other => damaged(other.to_string()),
    };
    let head = query::head(conn).map_err(read)?;
    let mut page = Page::of(3);
    // The last record and the one in front of it, and whatever should not be there.
    let after =
        i64::try_from(head.seq).map_err(|_| damaged("its head is out of range".to_owned()))? - 2;
    page.load(conn, after, i64::MAX).map_err(read)?;
    let mut previous = (head.seq == 1).then(Hash::genesis);
    let mut last = (head.seq == 0).then(Head::genesis);
    for row in page.rows() {
        let record = row.to_record().map_err(read)?;
        if record.seq > head.seq {
            return Err(damaged(format!(
                "record {} comes after the head, {}",
                record.seq, head.seq
            )));
        }
        if record.seq < head.seq {
            previous = Some(record.hash);
        } else if !record.is_self_consistent() {
            return Err(damaged(format!(
                "record {} is not what its hash says",
                record.seq
            )));
        } else if previous != Some(record.prev_hash) {
            return Err(damaged(format!(
                "record {} does not follow the one in front",
                record.seq
            )));
        } else {
            last = Some(Head {
                seq: record.seq,
                hash: record.hash,
                at_ms: record.at_ms,
            });
        }
    }
    match last {
        Some(last) if last == head => Ok(head),
        Some(_) => Err(damaged(format!(
            "record {} is not the stored head",
            head.seq
        ))),
        None => Err(damaged(format!(
            "the head is record {}, which is missing",
            head.seq
        ))),
    }
}

struct Checkpointed {
    busy: bool,
    frames: u32,
    folded: u32,
}

fn wal_checkpoint(conn: &Connection, mode: &str) -> rusqlite::Result<Checkpointed> {
    conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        // -1 where there is no log yet.
        let count = |value: i64| u32::try_from(value).unwrap_or(0);
        Ok(Checkpointed {
            busy: row.get(0)?,
            frames: count(row.get(1)?),
            folded: count(row.get(2)?),
        })
    })
}

/// Everything about a batch that can be judged without the database.
fn check(groups: &[&[Entry<'_>]], mut last_ms: i64) -> Result<(), AppendError> {
    let len = groups.iter().map(|group| group.len()).sum();
    if len > MAX_BATCH_ENTRIES {
        return Err(AppendError::TooManyEntries { len });
    }
    for (index, entry) in groups.iter().flat_map(|group| group.iter()).enumerate() {
        if entry.at_ms < last_ms {
            return Err(AppendError::TimeBack {
                at_ms: entry.at_ms,
                last_ms,
                index,
            });
        }
        last_ms = entry.at_ms;
        let size = |what, len, min, max| {
            let fits = (min..=max).contains(&len);
            if fits {
                Ok(())
            } else {
                Err(AppendError::Size {
                    what,
                    len,
                    min,
                    max,
                    index,
                })
            }
        };
        size("the kind", entry.kind.len(), 1, MAX_KIND_BYTES)?;
        size("the payload", entry.payload.len(), 0, MAX_PAYLOAD_BYTES)?;
        for side in &entry.side {
            match side {
                SideWrite::PutSpec { key, body } => {
                    size("a spec's key", key.len(), 1, MAX_KEY_BYTES)?;
                    size("a spec's body", body.len(), 0, MAX_SPEC_BYTES)?;
                }
                SideWrite::DeleteSpec { key } => size("a spec's key", key.len(), 1, MAX_KEY_BYTES)?,
                SideWrite::ClaimId { id } => size("an id", id.len(), 1, MAX_KEY_BYTES)?,
            }
        }
    }
    Ok(())
}

enum WriteError {
    Refused(AppendError),
    Engine(rusqlite::Error),
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Engine(error)
    }
}

fn write_entry(
    tx: &Transaction<'_>,
    head: Head,
    entry: &Entry<'_>,
    index: usize,
) -> Result<Head, WriteError> {
    let next = head.followed_by(entry);
    let seq = next.seq.cast_signed();
    tx.prepare_cached(
        "INSERT INTO events (seq, at_ms, kind, payload, prev, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((seq, entry.at_ms, &*entry.kind, &*entry.payload, head.hash.0, next.hash.0))?;
    for side in &entry.side {
        write_side(tx, seq, side, index)?;
    }
    Ok(next)
}

fn write_side(
    tx: &Transaction<'_>,
    seq: i64,
    side: &SideWrite<'_>,
    index: usize,
) -> Result<(), WriteError> {
    match side {
        SideWrite::PutSpec { key, body } => {
            tx.prepare_cached(
                "INSERT INTO specs (key, body) VALUES (?1, ?2) \
                 ON CONFLICT (key) DO UPDATE SET body = excluded.body",
            )?
            .execute((&**key, &**body))?;
        }
        SideWrite::DeleteSpec { key } => {
            tx.prepare_cached("DELETE FROM specs WHERE key = ?1")?
                .execute([&**key])?;
        }
        SideWrite::ClaimId { id } => {
            let claimed = tx
                .prepare_cached("INSERT INTO ids (id, seq) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
                .execute((&**id, seq))?;
            if claimed == 0 {
                let by_seq: i64 = tx
                    .prepare_cached("SELECT seq FROM ids WHERE id = ?1")?
                    .query_row([&**id], |row| row.get(0))?;
                let (id, by_seq) = (id.to_string(), by_seq.unsigned_abs());
                return Err(WriteError::Refused(AppendError::IdTaken {
                    id,
                    by_seq,
                    index,
                }));
            }
        }
    }
    Ok(())
}

fn write_head(tx: &Transaction<'_>, head: &Head) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE head SET seq = ?1, hash = ?2, at_ms = ?3 WHERE one = 1")?
        .execute((head.seq.cast_signed(), head.hash.0, head.at_ms))
        .map(drop)
}

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

fn chain_text(error: &AppendError) -> String {
    match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> (tempfile::TempDir, Journal) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let journal = Journal::open(dir.path()).expect("a new journal");
        (dir, journal)
    }

    fn event(n: i64) -> Entry<'static> {
        Entry::new(n, "tick", &b"{}"[..])
    }

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

    #[test]
    fn a_failed_sync_stops_the_journal_until_it_is_reopened() {
        let (_dir, mut journal) = open();
        let head = journal.append(&[event(1)]).expect("a working disk");
        journal.failing = Some(ffi::SQLITE_IOERR_FSYNC);
        assert!(matches!(
            journal.append(&[event(2)]),
            Err(AppendError::Io(_))
        ));
        journal.failing = None;
        // The disk works again, but a sync that failed is not tried again behind anybody's back.
        let error = journal.append(&[event(2)]).expect_err("stopped");
        assert!(matches!(error, AppendError::Stopped { .. }), "{error}");
        assert_eq!(journal.head(), head);
        assert_eq!(journal.reopen().expect("a working disk"), head);
        assert_eq!(journal.append(&[event(2)]).expect("a working disk").seq, 2);
    }

    #[test]
    fn an_error_that_says_nothing_about_the_disk_costs_only_its_batch() {
        let (_dir, mut journal) = open();
        journal.failing = Some(ffi::SQLITE_NOMEM);
        assert!(matches!(
            journal.append(&[event(1)]),
            Err(AppendError::Other(_))
        ));
        journal.failing = None;
        assert_eq!(journal.append(&[event(1)]).expect("a working disk").seq, 1);
    }

    #[test]
    fn a_head_changed_behind_our_back_stops_the_journal_at_the_next_failure() {
        let (_dir, mut journal) = open();
        journal.append(&[event(1)]).expect("a working disk");
        journal
            .conn
            .execute_batch("UPDATE head SET at_ms = 77")
            .expect("our own connection");
        journal.failing = Some(ffi::SQLITE_FULL);
        assert!(matches!(
            journal.append(&[event(2)]),
            Err(AppendError::Stopped { .. })
        ));
        assert!(matches!(journal.reopen(), Err(OpenError::Damaged { .. })));
        assert!(matches!(
            journal.append(&[event(2)]),
            Err(AppendError::Stopped { .. })
        ));
    }
}
