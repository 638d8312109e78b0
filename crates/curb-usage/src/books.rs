//! Following the journal.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use curb_core::ledger::{Event, Recorded};
use curb_core::time::Timestamp;
use curb_core::usage::Book;
use curb_journal::{Hash, Reader};

use crate::Error;
use crate::table::{Cursor, Table, Writing};

/// The file in the data directory.
pub const FILE: &str = "usage.sqlite";

/// Records read in one transaction: what is lost when the program ends in the middle of many.
const BATCH: u64 = 20_000;

/// The table of grants, and up to where it has read.
#[derive(Debug)]
pub struct Books {
    path: PathBuf,
    pub(crate) table: Table,
    book: Book,
    cursor: Cursor,
    /// A batch failed: what is in memory is not what is in the file.
    torn: bool,
}

impl Books {
    /// Opens the table of a data directory, or begins one. Nothing is read yet.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn open(dir: &Path) -> Result<Books, Error> {
        let path = dir.join(FILE);
        if let Some((table, cursor, book)) = Table::open(&path)? {
            return Ok(Books {
                path,
                table,
                book,
                cursor,
                torn: false,
            });
        }
        Books::anew(path)
    }

    fn anew(path: PathBuf) -> Result<Books, Error> {
        for suffix in ["", "-wal", "-shm"] {
            let mut name = path.clone().into_os_string();
            name.push(suffix);
            match std::fs::remove_file(&name) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
        match Table::open(&path)? {
            Some((table, cursor, book)) => Ok(Books {
                path,
                table,
                book,
                cursor,
                torn: false,
            }),
            None => Err(Error::File(std::io::Error::other(
                "a new file cannot be used either",
            ))),
        }
    }

    /// Reads what came into the journal since the last time, and says up to which record.
    ///
    /// # Errors
    /// The journal cannot be read or is not understood, or the table cannot be written. What was read before stays.
    pub fn catch_up(&mut self, journal: &Reader) -> Result<u64, Error> {
        if self.torn {
            let dir = self.path.parent().unwrap_or(Path::new("."));
            *self = Books::open(dir)?;
        }
        if !self.follows(journal)? {
            *self = Books::anew(self.path.clone())?;
        }
        while self.read_on(journal)? {}
        Ok(self.cursor.seq)
    }

    /// Time of the last record that was read.
    #[must_use]
    pub fn as_of(&self) -> Timestamp {
        self.book.now()
    }

    /// Whether the journal still has the record at which this stands.
    fn follows(&self, journal: &Reader) -> Result<bool, Error> {
        if self.cursor.seq == 0 {
            return Ok(true);
        }
        match <[u8; 32]>::try_from(self.cursor.hash.as_slice()) {
            Ok(hash) => Ok(journal.contains(self.cursor.seq, &Hash(hash))?),
            Err(_) => Ok(false),
        }
    }

    /// Reads one batch; says whether there may be more.
    fn read_on(&mut self, journal: &Reader) -> Result<bool, Error> {
        let (mut cursor, mut read) = (self.cursor.clone(), 0);
        self.torn = true;
        let book = &mut self.book;
        let mut writing = Writing::begin(&mut self.table)?;
        let stopped = journal.for_each(self.cursor.seq, |record| {
            if read == BATCH {
                return ControlFlow::Break(Ok(()));
            }
            let event: Event = match serde_json::from_slice(record.payload) {
                Ok(event) => event,
                Err(error) => {
                    return ControlFlow::Break(Err(Error::Unknown {
                        seq: record.seq,
                        reason: error.to_string(),
                    }));
                }
            };
            let changes = book.apply(&Recorded {
                seq: record.seq,
                at: Timestamp(record.at_ms),
                event,
            });
            for change in changes {
                if let Err(error) = writing.write(book, change) {
                    return ControlFlow::Break(Err(error));
                }
            }
            cursor = Cursor {
                seq: record.seq,
                hash: record.hash.0.to_vec(),
            };
            read += 1;
            ControlFlow::Continue(())
        })?;
        let more = match stopped {
            Some(Err(error)) => return Err(error),
            Some(Ok(())) => true,
            None => false,
        };
        if read > 0 {
            writing.finish(&cursor, book.now())?;
            self.cursor = cursor;
        }
        self.torn = false;
        Ok(more)
    }
}
