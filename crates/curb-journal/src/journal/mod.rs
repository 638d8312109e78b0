//! The writer: the only connection that changes the journal.

mod batch;
mod recover;
mod room;

use std::path::{Path, PathBuf};
use std::time::Instant;

use rusqlite::config::DbConfig;
#[cfg(test)]
use rusqlite::ffi;
use rusqlite::{Connection, TransactionBehavior};

use self::batch::{WriteError, check, write_entry, write_head};
use self::recover::{connect, wal_checkpoint};
pub(crate) use self::room::classify;
use crate::entry::{Entry, Head};
use crate::error::{AppendError, OpenError, ReadError, StorageError};
use crate::hash::Hash;
use crate::lock::DirLock;
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
