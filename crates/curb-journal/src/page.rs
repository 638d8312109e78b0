//! A run of records in one buffer.
//!
//! Reading in pages keeps every database snapshot short: whoever consumes records slowly (an export into a
//! pipe, a person scrolling) holds no snapshot, and the writer can always fold its log in. Since records are
//! only ever appended, page after page is still one consistent prefix.

use std::ops::Range;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use crate::entry::Record;
use crate::error::{ReadError, reading};
use crate::hash::Hash;

/// A page of a walk over many records ends when it holds this much or this many.
const WALK_BYTES: usize = 256 << 10;
const WALK_ROWS: usize = 1024;

#[derive(Debug)]
struct Meta {
    seq: i64,
    at_ms: Option<i64>,
    kind: Option<Range<usize>>,
    payload: Option<Range<usize>>,
    prev: Option<Hash>,
    hash: Option<Hash>,
}

/// Records as they are stored, malformed ones included.
#[derive(Debug)]
pub(crate) struct Page {
    bytes: Vec<u8>,
    rows: Vec<Meta>,
    max_bytes: usize,
    max_rows: usize,
}

/// One stored record. A field is `None` if the column is not what the writer puts there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawRecord<'a> {
    pub(crate) seq: i64,
    pub(crate) at_ms: Option<i64>,
    pub(crate) kind: Option<&'a [u8]>,
    pub(crate) payload: Option<&'a [u8]>,
    pub(crate) prev: Option<Hash>,
    pub(crate) hash: Option<Hash>,
}

impl Page {
    /// A page that is loaded again and again to walk over many records.
    pub(crate) fn for_walk() -> Self {
        Self {
            bytes: Vec::new(),
            rows: Vec::new(),
            max_bytes: WALK_BYTES,
            max_rows: WALK_ROWS,
        }
    }

    /// A page for exactly `max_rows` records, whatever their size.
    pub(crate) fn of(max_rows: usize) -> Self {
        Self {
            bytes: Vec::new(),
            rows: Vec::new(),
            max_bytes: usize::MAX,
            max_rows,
        }
    }

    /// Replaces the content by the next records with `after < seq <= to`. An empty page means that there
    /// are no more.
    pub(crate) fn load(&mut self, conn: &Connection, after: i64, to: i64) -> Result<(), ReadError> {
        self.bytes.clear();
        self.rows.clear();
        self.fill(conn, after, to).map_err(reading("read records"))
    }

    fn fill(&mut self, conn: &Connection, after: i64, to: i64) -> rusqlite::Result<()> {
        let mut statement = conn.prepare_cached(
            "SELECT seq, at_ms, kind, payload, prev, hash FROM events \
             WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3",
        )?;
        let limit = i64::try_from(self.max_rows).unwrap_or(i64::MAX);
        let mut rows = statement.query((after, to, limit))?;
        while let Some(row) = rows.next()? {
            self.push(row)?;
            if self.bytes.len() >= self.max_bytes {
                break;
            }
        }
        Ok(())
    }

    fn push(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let at_ms = match row.get_ref(1)? {
            ValueRef::Integer(at_ms) => Some(at_ms),
            _ => None,
        };
        let kind = match row.get_ref(2)? {
            ValueRef::Text(text) => Some(self.keep(text)),
            _ => None,
        };
        let payload = match row.get_ref(3)? {
            ValueRef::Blob(blob) => Some(self.keep(blob)),
            _ => None,
        };
        let hash = |index| crate::query::hash_column(row, index);
        let (prev, hash) = (hash(4)?, hash(5)?);
        self.rows.push(Meta {
            seq: row.get(0)?,
            at_ms,
            kind,
            payload,
            prev,
            hash,
        });
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    pub(crate) fn rows(&self) -> impl DoubleEndedIterator<Item = RawRecord<'_>> {
        self.rows.iter().map(|row| RawRecord {
            seq: row.seq,
            at_ms: row.at_ms,
            kind: row.kind.clone().map(|range| &self.bytes[range]),
            payload: row.payload.clone().map(|range| &self.bytes[range]),
            prev: row.prev,
            hash: row.hash,
        })
    }

    pub(crate) fn last_seq(&self) -> Option<i64> {
        self.rows.last().map(|row| row.seq)
    }
}

impl<'a> RawRecord<'a> {
    /// The record as the writer meant it. Does not check its hash.
    pub(crate) fn to_record(self) -> Result<Record<'a>, ReadError> {
        let malformed = |what| ReadError::Malformed {
            seq: self.seq,
            what,
        };
        let text = |bytes| str::from_utf8(bytes).ok();
        Ok(Record {
            seq: u64::try_from(self.seq).map_err(|_| malformed("its number is negative"))?,
            at_ms: self
                .at_ms
                .ok_or_else(|| malformed("its time is not a number"))?,
            kind: self
                .kind
                .and_then(text)
                .ok_or_else(|| malformed("its kind is not text"))?,
            payload: self
                .payload
                .ok_or_else(|| malformed("its payload is not a blob"))?,
            prev_hash: self
                .prev
                .ok_or_else(|| malformed("its predecessor is not a hash"))?,
            hash: self
                .hash
                .ok_or_else(|| malformed("its hash is not a hash"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Entry, Journal};

    #[test]
    fn a_page_is_bounded_in_bytes_however_many_records_there_are() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut journal = Journal::open(dir.path()).expect("a new journal");
        let event = || Entry::new(0, "big", vec![b'x'; 100_000]);
        let batch: Vec<_> = std::iter::repeat_with(event).take(20).collect();
        journal.append(&batch).expect("a working disk");
        let (mut page, mut after, mut pages) = (Page::for_walk(), 0, 0);
        loop {
            page.load(&journal.conn, after, i64::MAX)
                .expect("a journal");
            let Some(last) = page.last_seq() else { break };
            assert!(
                page.bytes.len() < WALK_BYTES + 100_003,
                "{}",
                page.bytes.len()
            );
            (after, pages) = (last, pages + 1);
        }
        assert_eq!((after, pages), (20, 7));
    }
}
