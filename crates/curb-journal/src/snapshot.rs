//! Snapshots: somebody's state at one point of the chain, so that a start need not replay all of it.
//!
//! A snapshot is a cache: it can always be made again from the records. It is written in parts, each in a
//! transaction of its own, so that a commit waits for one part at most and not for megabytes; until the last
//! part is in, the snapshot does not count.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use crate::error::{AppendError, ReadError, reading};
use crate::hash::Hash;
use crate::journal::{Journal, classify};
use crate::query;

/// Size of a part.
const PART_BYTES: usize = 256 << 10;

/// A state at one point of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last record that the state includes.
    pub seq: u64,
    /// That record's hash.
    pub hash: Hash,
    /// What the body's encoding is; the caller's own number.
    pub format: u32,
    /// The state, as it was given.
    pub body: Vec<u8>,
}

/// What [`Journal::load_snapshot`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedSnapshot {
    /// The newest good one.
    pub snapshot: Option<Snapshot>,
    /// Newer ones that could not be used. Somebody should be told.
    pub skipped: Vec<SkippedSnapshot>,
}

/// A snapshot that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedSnapshot {
    /// The last record that it includes.
    pub seq: u64,
    /// Why it could not be used.
    pub reason: SkipReason,
}

/// Why a snapshot could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SkipReason {
    /// It has another encoding.
    #[error("it has format {0}")]
    OtherFormat(u32),
    /// Its bytes are not those that were written.
    #[error("its body does not have the SHA-256 that was stored with it")]
    BodyDamaged,
    /// It names a record that the chain does not have.
    #[error("it names a record that is not on the chain")]
    NotOnChain,
}

/// Why a snapshot was not written. The journal itself is as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The engine refused; the append error says what must be done. A half-written snapshot does not count
    /// and is removed by the next one.
    #[error("the snapshot was not written")]
    Write(#[source] AppendError),
    /// The writer failed while the snapshot was waiting or half written.
    #[error("the snapshot was abandoned because the journal failed meanwhile")]
    Abandoned,
    /// It names a record that is not on the chain, or the chain could not be read.
    #[error("the snapshot was not written")]
    Read(#[from] ReadError),
}

/// A snapshot on its way, one part a step.
#[derive(Debug)]
pub(crate) struct Task {
    id: i64,
    body: Vec<u8>,
    written: usize,
    next_part: i64,
}

/// Whether a [`Task`] needs another step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    Done,
}

impl Journal {
    /// Keeps `body` as the state after record `seq`, durable when this returns `Ok`, and removes all but the
    /// newest [`crate::OpenOptions::snapshot_keep`].
    ///
    /// # Errors
    /// Record `seq` with `hash` is not on the chain, or the disk refuses; the journal goes on without it.
    pub fn put_snapshot(
        &mut self,
        seq: u64,
        hash: &Hash,
        format: u32,
        body: &[u8],
    ) -> Result<(), SnapshotError> {
        let mut task = self.begin_snapshot(seq, hash, format, body.to_vec())?;
        while self.step_snapshot(&mut task)? == Progress::More {
            self.checkpoint_if_due();
        }
        self.checkpoint_if_due();
        Ok(())
    }

    /// The newest snapshot of this format whose bytes are whole and whose record is on the chain. Newer ones
    /// that are damaged or of another format are passed over and named.
    ///
    /// # Errors
    /// The disk or the database refuses.
    pub fn load_snapshot(&self, format: u32) -> Result<LoadedSnapshot, ReadError> {
        load(&self.conn, format)
    }

    pub(crate) fn begin_snapshot(
        &mut self,
        seq: u64,
        hash: &Hash,
        format: u32,
        body: Vec<u8>,
    ) -> Result<Task, SnapshotError> {
        if query::hash_at(&self.conn, seq)?.as_ref() != Some(hash) {
            return Err(ReadError::NotOnChain { seq, hash: *hash }.into());
        }
        let sha256 = Hash::of(&body);
        let bytes = i64::try_from(body.len()).unwrap_or(i64::MAX);
        let id = self.snapshot_write(0, |conn| {
            conn.execute(
                "INSERT INTO snapshots (seq, hash, format, bytes, sha256, complete) \
                 VALUES (?1, ?2, ?3, ?4, ?5, 0)",
                (seq.cast_signed(), hash.0, format, bytes, sha256.0),
            )?;
            Ok(conn.last_insert_rowid())
        })?;
        Ok(Task {
            id,
            body,
            written: 0,
            next_part: 0,
        })
    }

    /// Writes the next part, or marks the snapshot as complete, or removes one part of an old one.
    pub(crate) fn step_snapshot(&mut self, task: &mut Task) -> Result<Progress, SnapshotError> {
        if task.written < task.body.len() {
            let end = task.body.len().min(task.written + PART_BYTES);
            let part = &task.body[task.written..end];
            let (id, number) = (task.id, task.next_part);
            self.snapshot_write(part.len(), |conn| {
                conn.prepare_cached(
                    "INSERT INTO snapshot_chunks (snapshot, part, body) VALUES (?1, ?2, ?3)",
                )?
                .execute((id, number, part))
            })?;
            (task.written, task.next_part) = (end, number + 1);
            if end < task.body.len() {
                return Ok(Progress::More);
            }
        }
        let keep = i64::try_from(self.options.snapshot_keep.max(1)).unwrap_or(i64::MAX);
        let id = task.id;
        let removed = self.snapshot_write(PART_BYTES, |conn| {
            conn.execute(
                "UPDATE snapshots SET complete = 1 WHERE id = ?1 AND complete = 0",
                [id],
            )?;
            remove_one_old_part(conn, id, keep)
        })?;
        Ok(if removed {
            Progress::More
        } else {
            Progress::Done
        })
    }

    fn snapshot_write<T>(
        &mut self,
        bytes: usize,
        write: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, SnapshotError> {
        let result = self
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .and_then(|tx| {
                let value = write(&tx)?;
                tx.commit()?;
                Ok(value)
            });
        self.note_pages(bytes);
        let dir = self.dir().to_owned();
        result.map_err(|error| SnapshotError::Write(self.after_failure(classify(error, &dir))))
    }
}

/// Removes one part of a snapshot that is no longer kept: complete ones beyond the newest `keep`, and
/// incomplete ones that no task works on. `false` when there is nothing left to remove.
fn remove_one_old_part(conn: &Connection, current: i64, keep: i64) -> rusqlite::Result<bool> {
    let old: Option<i64> = conn
        .prepare_cached(
            "SELECT id FROM snapshots WHERE id <> ?1 AND (complete = 0 OR id NOT IN ( \
               SELECT id FROM snapshots WHERE complete = 1 ORDER BY seq DESC, id DESC LIMIT ?2)) \
             LIMIT 1",
        )?
        .query_row((current, keep), |row| row.get(0))
        .optional()?;
    let Some(old) = old else { return Ok(false) };
    let parts = conn
        .prepare_cached(
            "DELETE FROM snapshot_chunks WHERE rowid = \
               (SELECT max(rowid) FROM snapshot_chunks WHERE snapshot = ?1)",
        )?
        .execute([old])?;
    if parts == 0 {
        conn.prepare_cached("DELETE FROM snapshots WHERE id = ?1")?
            .execute([old])?;
    }
    Ok(true)
}

struct Stored {
    id: i64,
    seq: u64,
    hash: Option<Hash>,
    format: u32,
    bytes: usize,
    sha256: Option<Hash>,
}

pub(crate) fn load(conn: &Connection, format: u32) -> Result<LoadedSnapshot, ReadError> {
    // One view of the table: a writer may be removing old ones meanwhile.
    let tx = conn
        .unchecked_transaction()
        .map_err(reading("read snapshots"))?;
    let mut loaded = LoadedSnapshot::default();
    for stored in stored_snapshots(&tx).map_err(reading("read snapshots"))? {
        match load_one(&tx, &stored, format)? {
            Ok(snapshot) => {
                loaded.snapshot = Some(snapshot);
                break;
            }
            Err(reason) => loaded.skipped.push(SkippedSnapshot {
                seq: stored.seq,
                reason,
            }),
        }
    }
    Ok(loaded)
}

fn stored_snapshots(conn: &Connection) -> rusqlite::Result<Vec<Stored>> {
    conn.prepare_cached(
        "SELECT id, seq, hash, format, bytes, sha256 FROM snapshots WHERE complete = 1 \
         ORDER BY seq DESC, id DESC",
    )?
    .query_map([], |row| {
        Ok(Stored {
            id: row.get(0)?,
            seq: row.get::<_, i64>(1)?.unsigned_abs(),
            hash: query::hash_column(row, 2)?,
            format: row.get(3)?,
            bytes: usize::try_from(row.get::<_, i64>(4)?).unwrap_or(0),
            sha256: query::hash_column(row, 5)?,
        })
    })?
    .collect()
}

fn load_one(
    conn: &Connection,
    stored: &Stored,
    format: u32,
) -> Result<Result<Snapshot, SkipReason>, ReadError> {
    if stored.format != format {
        return Ok(Err(SkipReason::OtherFormat(stored.format)));
    }
    let Some(hash) = stored.hash else {
        return Ok(Err(SkipReason::NotOnChain));
    };
    if query::hash_at(conn, stored.seq)? != Some(hash) {
        return Ok(Err(SkipReason::NotOnChain));
    }
    let body = read_body(conn, stored).map_err(reading("read a snapshot"))?;
    if body.len() != stored.bytes || Some(Hash::of(&body)) != stored.sha256 {
        return Ok(Err(SkipReason::BodyDamaged));
    }
    Ok(Ok(Snapshot {
        seq: stored.seq,
        hash,
        format,
        body,
    }))
}

fn read_body(conn: &Connection, stored: &Stored) -> rusqlite::Result<Vec<u8>> {
    let mut statement =
        conn.prepare_cached("SELECT body FROM snapshot_chunks WHERE snapshot = ?1 ORDER BY part")?;
    let mut rows = statement.query([stored.id])?;
    // The stored length is not believed before it is checked: it could ask for any amount of memory.
    let mut body = Vec::with_capacity(stored.bytes.min(64 << 20));
    while let Some(row) = rows.next()? {
        body.extend_from_slice(row.get_ref(0)?.as_blob()?);
        if body.len() > stored.bytes {
            break;
        }
    }
    Ok(body)
}
