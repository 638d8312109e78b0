//! A table of all grants, derived from the journal, and sums of it.
//!
//! The table is a file of its own beside the journal and holds nothing that the journal does not: it may be deleted at any
//! time and is then made again. It remembers up to which record it has read, and that record's hash; where the journal has
//! another one there (it was restored from a copy), or where the file is damaged or from another version, it begins anew.

#![forbid(unsafe_code)]

mod books;
mod sums;
mod table;

pub use books::{Books, FILE};
pub use sums::{Named, Query, Sums};

/// Why use cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table cannot be read or written.
    #[error("the table of grants cannot be used")]
    Table(#[from] rusqlite::Error),
    /// The journal cannot be read.
    #[error("the journal cannot be read")]
    Journal(#[from] curb_journal::ReadError),
    /// A file cannot be removed to make the table anew.
    #[error("the table of grants cannot be made anew")]
    File(#[from] std::io::Error),
    /// An event that this program does not know.
    #[error("record {seq} of the journal is not understood ({reason})")]
    Unknown {
        /// Which record.
        seq: u64,
        /// Why.
        reason: String,
    },
}
