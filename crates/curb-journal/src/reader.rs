//! Reading beside the writer.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension};

use crate::entry::{Head, OwnedRecord, Record};
use crate::error::{OpenError, ReadError, reading};
use crate::hash::Hash;
use crate::page::Page;
use crate::snapshot::{self, LoadedSnapshot};
use crate::{query, schema};

/// Most records that [`Reader::range`] and [`Reader::last`] give at once.
pub const MAX_RANGE: usize = 10_000;

/// A connection that cannot write, for another thread or process while the writer goes on.
///
/// Every call sees a consistent prefix of the journal, and a later call never sees a shorter one. No call
/// holds a database snapshot while the caller's code runs, so a slow reader holds nothing up.
#[derive(Debug)]
pub struct Reader {
    pub(crate) conn: Connection,
    dir: PathBuf,
}

/// Which records to show.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Only these kinds; empty means all.
    pub kinds: &'a [&'a str],
    /// Only records at or after this time, milliseconds since 1970-01-01 UTC.
    pub since_ms: Option<i64>,
}

impl Filter<'_> {
    fn takes(&self, record: &Record<'_>) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&record.kind))
            && self.since_ms.is_none_or(|since| record.at_ms >= since)
    }
}

impl Reader {
    /// Opens the journal in `dir` for reading, with or without a running writer.
    ///
    /// # Errors
    /// There is none, it is not one, or it is from a newer program.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Ok(Self {
            conn: schema::open_reader(dir)?,
            dir: dir.to_owned(),
        })
    }

    /// The data directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The newest record.
    ///
    /// # Errors
    /// The disk or the database refuses.
    pub fn head(&self) -> Result<Head, ReadError> {
        query::head(&self.conn)
    }

    /// Up to `limit` (and [`MAX_RANGE`]) records after `after_seq`, in order.
    ///
    /// # Errors
    /// The disk or the database refuses, or a record is malformed.
    pub fn range(&self, after_seq: u64, limit: usize) -> Result<Vec<OwnedRecord>, ReadError> {
        self.search(after_seq, &Filter::default(), limit)
    }

    /// Up to `limit` (and [`MAX_RANGE`]) records after `after_seq` that the filter takes, in order.
    ///
    /// # Errors
    /// The disk or the database refuses, or a record is malformed.
    pub fn search(
        &self,
        after_seq: u64,
        filter: &Filter<'_>,
        limit: usize,
    ) -> Result<Vec<OwnedRecord>, ReadError> {
        let limit = limit.min(MAX_RANGE);
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        let start = after_seq.max(self.start_of(filter)?);
        self.for_each(start, |record| {
            if filter.takes(&record) {
                found.push(record.to_owned());
            }
            if found.len() < limit {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        Ok(found)
    }

    /// The newest `limit` (and [`MAX_RANGE`]) records that the filter takes, oldest first.
    ///
    /// # Errors
    /// The disk or the database refuses, or a record is malformed.
    pub fn last(&self, filter: &Filter<'_>, limit: usize) -> Result<Vec<OwnedRecord>, ReadError> {
        const STEP: i64 = 1024;
        let limit = limit.min(MAX_RANGE);
        let start = as_key(self.start_of(filter)?);
        let mut to = as_key(self.head()?.seq);
        let mut found = Vec::new();
        let mut page = Page::for_walk();
        while to > start && found.len() < limit {
            let after = (to - STEP).max(start);
            // One step may be several pages; their matches go behind each other, then the steps backwards.
            let mut step = Vec::new();
            let mut at = after;
            loop {
                page.load(&self.conn, at, to)?;
                let Some(last) = page.last_seq() else { break };
                for row in page.rows() {
                    let record = row.to_record()?;
                    if filter.takes(&record) {
                        step.push(record.to_owned());
                    }
                }
                at = last;
            }
            found.extend(step.into_iter().rev());
            to = after;
        }
        found.truncate(limit);
        found.reverse();
        Ok(found)
    }

    /// Calls `visit` for every record after `after_seq` up to the newest, in order, without holding them
    /// all, until it breaks; gives back what it broke with. The record is gone after the call.
    ///
    /// # Errors
    /// The disk or the database refuses, or a record is malformed.
    pub fn for_each<B>(
        &self,
        after_seq: u64,
        mut visit: impl FnMut(Record<'_>) -> ControlFlow<B>,
    ) -> Result<Option<B>, ReadError> {
        let mut page = Page::for_walk();
        let mut after = as_key(after_seq);
        loop {
            page.load(&self.conn, after, i64::MAX)?;
            let Some(last) = page.last_seq() else {
                return Ok(None);
            };
            for row in page.rows() {
                if let ControlFlow::Break(value) = visit(row.to_record()?) {
                    return Ok(Some(value));
                }
            }
            after = last;
        }
    }

    /// The number in front of the first record that can match the filter's time.
    fn start_of(&self, filter: &Filter<'_>) -> Result<u64, ReadError> {
        match filter.since_ms {
            None => Ok(0),
            Some(since) => self.last_before(since),
        }
    }

    /// The number of the last record before `at_ms`, 0 if there is none. A binary search: time never runs
    /// back along the chain, so it needs no index of its own.
    ///
    /// # Errors
    /// The disk or the database refuses.
    pub fn last_before(&self, at_ms: i64) -> Result<u64, ReadError> {
        let (mut before, mut not_before) = (0, self.head()?.seq + 1);
        while not_before - before > 1 {
            let middle = before + (not_before - before) / 2;
            if self.time_of(middle)? < at_ms {
                before = middle;
            } else {
                not_before = middle;
            }
        }
        Ok(before)
    }

    fn time_of(&self, seq: u64) -> Result<i64, ReadError> {
        let key = as_key(seq);
        self.conn
            .prepare_cached("SELECT at_ms FROM events WHERE seq = ?1")
            .and_then(|mut statement| statement.query_row([key], |row| row.get(0)).optional())
            .map_err(reading("read a record's time"))?
            .ok_or(ReadError::Malformed {
                seq: key,
                what: "it is missing",
            })
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
        Ok(self.claimed_by(id)?.is_some())
    }

    /// The number of the record that claimed `id`.
    ///
    /// # Errors
    /// The disk or the database refuses.
    pub fn claimed_by(&self, id: &str) -> Result<Option<u64>, ReadError> {
        query::claimed_by(&self.conn, id)
    }

    /// Whether record `seq` is here and has this hash; record 0 is the genesis.
    ///
    /// # Errors
    /// The disk or the database refuses.
    pub fn contains(&self, seq: u64, hash: &Hash) -> Result<bool, ReadError> {
        Ok(query::hash_at(&self.conn, seq)?.as_ref() == Some(hash))
    }

    /// Writes a copy of the whole database, as it is at this moment, to a file that is not there yet. The writer goes on
    /// meanwhile. The copy is synced.
    ///
    /// # Errors
    /// The disk or the database refuses, or the file is there.
    pub fn backup(&self, to: &Path) -> Result<(), ReadError> {
        let text = to.to_string_lossy();
        // A reader writes nothing; the copy is a write all the same, of another file.
        let writing = |on: bool| self.conn.pragma_update(None, "query_only", !on);
        let copied = writing(true)
            .and_then(|()| self.conn.execute("VACUUM INTO ?1", [&*text]))
            .map_err(reading("copy the database"));
        writing(false).map_err(reading("copy the database"))?;
        copied?;
        let synced = std::fs::File::open(to).and_then(|file| file.sync_all());
        synced.map_err(ReadError::Output)
    }

    /// The newest snapshot of this format that is whole and on the chain. See
    /// [`crate::Journal::load_snapshot`].
    ///
    /// # Errors
    /// The disk or the database refuses.
    pub fn load_snapshot(&self, format: u32) -> Result<LoadedSnapshot, ReadError> {
        snapshot::load(&self.conn, format)
    }
}

/// A record's number as the database has it. What does not fit is beyond every record.
pub(crate) fn as_key(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
