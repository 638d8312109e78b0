//! Everything that can go wrong, told apart by what the caller must do next.

use std::path::PathBuf;

use rusqlite::ffi;

use crate::hash::Hash;

/// What the storage engine said. Opaque on purpose: nothing outside this crate knows that it is SQLite.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StorageError(#[from] pub(crate) rusqlite::Error);

impl StorageError {
    fn code(&self) -> Option<ffi::ErrorCode> {
        self.0.sqlite_error_code()
    }

    fn extended(&self) -> Option<i32> {
        self.0.sqlite_error().map(|error| error.extended_code)
    }

    /// No room, said by the engine itself.
    pub(crate) fn is_full(&self) -> bool {
        self.code() == Some(ffi::ErrorCode::DiskFull)
    }

    /// An I/O error that may still turn out to be a lack of room: a refused write, or a file that could not
    /// grow. A failed fsync is never one of them, since nobody knows what it left on the disk.
    pub(crate) fn may_be_lack_of_room(&self) -> bool {
        matches!(
            self.extended(),
            Some(ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_TRUNCATE)
        )
    }

    pub(crate) fn is_io(&self) -> bool {
        use ffi::ErrorCode::{CannotOpen, DatabaseCorrupt, NotADatabase, SystemIoFailure};
        matches!(
            self.code(),
            Some(SystemIoFailure | CannotOpen | DatabaseCorrupt | NotADatabase)
        )
    }
}

/// Why a journal could not be opened. The journal on disk was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process writes this journal.
    #[error(
        "the journal in {dir} is in use by {}: stop that process first, or give this one another data directory",
        .pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Locked {
        /// The data directory.
        dir: PathBuf,
        /// Who holds it, if the lock file says.
        pid: Option<u32>,
    },
    /// There is no journal there (only readers say this; the writer makes one).
    #[error(
        "there is no journal in {dir}: expected the file {} there",
        crate::JOURNAL_FILE
    )]
    Missing {
        /// The data directory.
        dir: PathBuf,
    },
    /// The linked SQLite has the WAL-reset bug (3.7.0 to 3.51.2 can corrupt a database).
    #[error(
        "SQLite {found} is too old: 3.51.3 or newer is needed, older ones can corrupt a journal"
    )]
    EngineTooOld {
        /// Its `sqlite3_libversion()`.
        found: String,
    },
    /// The file is a database of something else.
    #[error(
        "{path} is not a journal of Curb (application id {found:#x}): give another data directory"
    )]
    NotAJournal {
        /// The file.
        path: PathBuf,
        /// What it says that it is.
        found: i32,
    },
    /// Written by a newer version.
    #[error(
        "{path} has schema version {found}, this program knows up to {known}: use the newer program"
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i32,
        /// The newest that this program can read.
        known: i32,
    },
    /// The newest record and the stored head do not agree, or the newest record is not what its hash says.
    #[error(
        "the journal in {dir} is damaged at its end: {what}. Nothing was changed; \
         run `curb journal verify` on it and restore from a copy"
    )]
    Damaged {
        /// The data directory.
        dir: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// Its disk does not allow write-ahead logging (a network file system, usually).
    #[error(
        "the disk under {dir} allows journal mode {mode:?} but not write-ahead logging: \
         put the data directory on a local disk"
    )]
    NoWriteAheadLog {
        /// The data directory.
        dir: PathBuf,
        /// What it allows.
        mode: String,
    },
    /// A reader held an old view for all of the time that this waits.
    #[error(
        "a reader (a database shell?) has kept the journal in {dir} busy for 5 seconds: \
         close it and try again"
    )]
    Busy {
        /// The data directory.
        dir: PathBuf,
    },
    /// A file or directory could not be made, opened or locked.
    #[error("cannot {doing} {path}")]
    File {
        /// What was attempted.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The engine refused.
    #[error("cannot {doing} the journal in {dir}")]
    Storage {
        /// What was attempted.
        doing: &'static str,
        /// The data directory.
        dir: PathBuf,
        /// Why not.
        source: StorageError,
    },
}

/// Why a batch was not appended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// No room: the disk or the quota is full, or [`crate::OpenOptions::max_bytes`] is reached. The batch was
    /// rolled back; the journal is as before and works again once there is room.
    #[error("no room in the journal, the batch was rolled back: free space on its disk")]
    Full(#[source] StorageError),
    /// A read, write or sync failed. Whether the batch survives is known only after
    /// [`crate::Journal::reopen`]; until then every append is refused. A failed sync is never retried,
    /// because the operating system may have dropped the data and report success the second time.
    #[error("the disk under the journal failed: stop admitting, then reopen and compare the head")]
    Io(#[source] StorageError),
    /// An earlier [`AppendError::Io`] stopped this journal.
    #[error(
        "the journal stopped at an earlier I/O error ({cause}): reopen it and compare the head"
    )]
    Stopped {
        /// What the disk said then.
        cause: String,
    },
    /// An id was claimed before. Nothing of the batch was written.
    #[error("id {id:?} (entry {index} of the batch) was used already, by record {by_seq}")]
    IdTaken {
        /// The id.
        id: String,
        /// The record that claimed it. A record of this very batch if the batch claims an id twice.
        by_seq: u64,
        /// Which entry of the batch, from 0.
        index: usize,
    },
    /// An entry is older than the one in front. Nothing of the batch was written.
    #[error("entry {index} of the batch is {} ms older than the record in front", last_ms.abs_diff(*at_ms))]
    TimeBack {
        /// The entry's time.
        at_ms: i64,
        /// The time of the record in front.
        last_ms: i64,
        /// Which entry of the batch, from 0.
        index: usize,
    },
    /// Something is over its bound, or empty where it must not be. Nothing of the batch was written.
    #[error("{what} of entry {index} of the batch has {len} bytes, allowed are {min} to {max}")]
    Size {
        /// What has the wrong size.
        what: &'static str,
        /// Its size in bytes.
        len: usize,
        /// The smallest allowed.
        min: usize,
        /// The largest allowed.
        max: usize,
        /// Which entry of the batch, from 0.
        index: usize,
    },
    /// More entries than [`crate::MAX_BATCH_ENTRIES`]. Nothing was written.
    #[error(
        "a batch of {len} entries is over the bound of {} entries",
        crate::MAX_BATCH_ENTRIES
    )]
    TooManyEntries {
        /// How many there were.
        len: usize,
    },
    /// Anything else that the engine said. The batch was rolled back.
    #[error("the journal refused the batch")]
    Other(#[source] StorageError),
}

impl AppendError {
    /// The entry that is to blame, if one is; the entries in front of it are fine.
    #[must_use]
    pub fn entry_index(&self) -> Option<usize> {
        match self {
            Self::IdTaken { index, .. }
            | Self::TimeBack { index, .. }
            | Self::Size { index, .. } => Some(*index),
            _ => None,
        }
    }

    /// The same, with entries counted from entry `first` of the batch on.
    pub(crate) fn counted_from(mut self, first: usize) -> Self {
        if let Self::IdTaken { index, .. }
        | Self::TimeBack { index, .. }
        | Self::Size { index, .. } = &mut self
        {
            *index = index.saturating_sub(first);
        }
        self
    }

    /// Whether the journal must be reopened before it takes anything again.
    #[must_use]
    pub fn stops_the_journal(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Stopped { .. })
    }
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The engine refused.
    #[error("cannot {doing}")]
    Storage {
        /// What was attempted.
        doing: &'static str,
        /// Why not.
        source: StorageError,
    },
    /// A record is not of the form that the writer gives it.
    #[error("record {seq} is malformed: {what}. Run `curb journal verify`")]
    Malformed {
        /// Its number.
        seq: i64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The stored head is not of the form that the writer gives it.
    #[error("the stored head is malformed: {what}. Run `curb journal verify`")]
    MalformedHead {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A snapshot was offered for a point that is not on the chain.
    #[error(
        "record {seq} with hash {hash} is not in this journal: a snapshot must name a record of it"
    )]
    NotOnChain {
        /// The record's number.
        seq: u64,
        /// The hash that was given for it.
        hash: Hash,
    },
    /// There is no record of this number.
    #[error("there is no record {seq} in this journal")]
    NoSuchRecord {
        /// The number that was asked for.
        seq: u64,
    },
    /// The output could not be written.
    #[error("cannot write the export")]
    Output(#[source] std::io::Error),
}

/// Maps an engine error to a [`ReadError`] that says what was attempted.
pub(crate) fn reading(doing: &'static str) -> impl Fn(rusqlite::Error) -> ReadError {
    move |error| ReadError::Storage {
        doing,
        source: StorageError(error),
    }
}
