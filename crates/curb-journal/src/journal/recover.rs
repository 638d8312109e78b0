//! Opening: the connection is set up, what an earlier process left is settled, the end of the chain is checked.

use std::path::Path;

use rusqlite::Connection;

use super::room::classify;
use crate::OpenOptions;
use crate::entry::Head;
use crate::error::{AppendError, OpenError, ReadError};
use crate::hash::Hash;
use crate::page::Page;
use crate::{query, schema};

pub(super) fn connect(dir: &Path, options: &OpenOptions) -> Result<(Connection, Head), OpenError> {
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

pub(super) struct Checkpointed {
    pub(super) busy: bool,
    pub(super) frames: u32,
    pub(super) folded: u32,
}

pub(super) fn wal_checkpoint(conn: &Connection, mode: &str) -> rusqlite::Result<Checkpointed> {
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
