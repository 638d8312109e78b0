//! The journal: an append-only, hash-chained event log in SQLite.
//!
//! This is the only crate that speaks SQL. It knows nothing of what the events mean: a payload is bytes
//! (JSON, by convention), and state is somebody else's fold over them.
//!
//! - [`Journal`] is the one writer of a data directory: one process, one connection that writes and
//!   checkpoints. [`Journal::append`] returns when the batch is synced to the disk.
//! - [`writer::Writer`] puts a journal on a thread of its own and commits what many threads submit together.
//! - [`Reader`] reads beside the writer, from any thread or process, without ever holding it up.
//! - [`verify`] walks the chain; [`export()`] writes it as lines that anybody can verify with SHA-256 alone.
//!
//! What must stay true: a record is never changed or removed; numbers have no gap; the hash encoding (see
//! [`hash::record_hash`]) never changes; time never runs back; whoever was told `Ok` finds the record after
//! any crash.
//!
//! What is deliberately absent: no update or delete of records, no retry of a failed sync, no repair. A
//! damaged journal is reported, not mended.
#![forbid(unsafe_code)]

mod entry;
mod error;
pub mod export;
mod files;
pub mod hash;
mod journal;
mod lock;
mod page;
mod query;
mod reader;
mod schema;
mod snapshot;
mod verify;
pub mod writer;

pub use entry::{
    Entry, Head, MAX_BATCH_ENTRIES, MAX_KEY_BYTES, MAX_KIND_BYTES, MAX_PAYLOAD_BYTES,
    MAX_SPEC_BYTES, OwnedEntry, OwnedRecord, Record, SideWrite,
};
pub use error::{AppendError, OpenError, ReadError, StorageError};
pub use export::{HashLine, export};
pub use hash::Hash;
pub use journal::{Journal, OpenOptions, Stats};
pub use lock::LOCK_FILE;
pub use reader::{Filter, MAX_RANGE, Reader};
pub use snapshot::{LoadedSnapshot, SkipReason, SkippedSnapshot, Snapshot, SnapshotError};
pub use verify::{Break, BreakKind, VerifyReport, verify};

/// Name of the database in the data directory.
pub const JOURNAL_FILE: &str = "journal.sqlite";
