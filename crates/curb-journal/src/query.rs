//! Reads that the writer and the readers share.

use rusqlite::{Connection, OptionalExtension, Row, types::ValueRef};

use crate::entry::Head;
use crate::error::{ReadError, reading};
use crate::hash::Hash;

/// The head as stored, whatever the records say.
pub(crate) fn head(conn: &Connection) -> Result<Head, ReadError> {
    let row = |row: &Row<'_>| Ok((row.get(0)?, hash_column(row, 1)?, row.get(2)?));
    let (seq, hash, at_ms): (i64, Option<Hash>, i64) = conn
        .prepare_cached("SELECT seq, hash, at_ms FROM head WHERE one = 1")
        .and_then(|mut statement| statement.query_row([], row))
        .map_err(reading("read the head"))?;
    let seq = u64::try_from(seq).map_err(|_| ReadError::MalformedHead {
        what: "its number is negative",
    })?;
    let hash = hash.ok_or(ReadError::MalformedHead {
        what: "its hash is not 32 bytes",
    })?;
    Ok(Head { seq, hash, at_ms })
}

/// The stored hash of record `seq` (genesis for 0), `None` if there is no such record.
pub(crate) fn hash_at(conn: &Connection, seq: u64) -> Result<Option<Hash>, ReadError> {
    if seq == 0 {
        return Ok(Some(Hash::genesis()));
    }
    let Ok(seq) = i64::try_from(seq) else {
        return Ok(None);
    };
    conn.prepare_cached("SELECT hash FROM events WHERE seq = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([seq], |row| hash_column(row, 0))
                .optional()
        })
        .map(Option::flatten)
        .map_err(reading("read a record's hash"))
}

pub(crate) fn spec(conn: &Connection, key: &str) -> Result<Option<Vec<u8>>, ReadError> {
    conn.prepare_cached("SELECT body FROM specs WHERE key = ?1")
        .and_then(|mut statement| statement.query_row([key], |row| row.get(0)).optional())
        .map_err(reading("read a spec"))
}

pub(crate) fn claimed_by(conn: &Connection, id: &str) -> Result<Option<u64>, ReadError> {
    conn.prepare_cached("SELECT seq FROM ids WHERE id = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([id], |row| row.get::<_, i64>(0))
                .optional()
        })
        .map(|seq| seq.map(i64::unsigned_abs))
        .map_err(reading("look up an id"))
}

/// A 32-byte column, `None` if it is anything else.
pub(crate) fn hash_column(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Hash>> {
    Ok(match row.get_ref(index)? {
        ValueRef::Blob(bytes) => Hash::from_slice(bytes),
        _ => None,
    })
}
