//! What is checked about a batch, and how it is written.

use rusqlite::Transaction;

use crate::entry::{
    Entry, Head, MAX_BATCH_ENTRIES, MAX_KEY_BYTES, MAX_KIND_BYTES, MAX_PAYLOAD_BYTES,
    MAX_SPEC_BYTES, SideWrite,
};
use crate::error::AppendError;

/// Everything about a batch that can be judged without the database.
pub(super) fn check(groups: &[&[Entry<'_>]], mut last_ms: i64) -> Result<(), AppendError> {
    let len = groups.iter().map(|group| group.len()).sum();
    if len > MAX_BATCH_ENTRIES {
        return Err(AppendError::TooManyEntries { len });
    }
    for (index, entry) in groups.iter().flat_map(|group| group.iter()).enumerate() {
        if entry.at_ms < last_ms {
            return Err(AppendError::TimeBack {
                at_ms: entry.at_ms,
                last_ms,
                index,
            });
        }
        last_ms = entry.at_ms;
        let size = |what, len, min, max| {
            let fits = (min..=max).contains(&len);
            if fits {
                Ok(())
            } else {
                Err(AppendError::Size {
                    what,
                    len,
                    min,
                    max,
                    index,
                })
            }
        };
        size("the kind", entry.kind.len(), 1, MAX_KIND_BYTES)?;
        size("the payload", entry.payload.len(), 0, MAX_PAYLOAD_BYTES)?;
        for side in &entry.side {
            match side {
                SideWrite::PutSpec { key, body } => {
                    size("a spec's key", key.len(), 1, MAX_KEY_BYTES)?;
                    size("a spec's body", body.len(), 0, MAX_SPEC_BYTES)?;
                }
                SideWrite::DeleteSpec { key } => size("a spec's key", key.len(), 1, MAX_KEY_BYTES)?,
                SideWrite::ClaimId { id } => size("an id", id.len(), 1, MAX_KEY_BYTES)?,
            }
        }
    }
    Ok(())
}

pub(super) enum WriteError {
    Refused(AppendError),
    Engine(rusqlite::Error),
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Engine(error)
    }
}

pub(super) fn write_entry(
    tx: &Transaction<'_>,
    head: Head,
    entry: &Entry<'_>,
    index: usize,
) -> Result<Head, WriteError> {
    let next = head.followed_by(entry);
    let seq = next.seq.cast_signed();
    tx.prepare_cached(
        "INSERT INTO events (seq, at_ms, kind, payload, prev, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((seq, entry.at_ms, &*entry.kind, &*entry.payload, head.hash.0, next.hash.0))?;
    for side in &entry.side {
        write_side(tx, seq, side, index)?;
    }
    Ok(next)
}

fn write_side(
    tx: &Transaction<'_>,
    seq: i64,
    side: &SideWrite<'_>,
    index: usize,
) -> Result<(), WriteError> {
    match side {
        SideWrite::PutSpec { key, body } => {
            tx.prepare_cached(
                "INSERT INTO specs (key, body) VALUES (?1, ?2) \
                 ON CONFLICT (key) DO UPDATE SET body = excluded.body",
            )?
            .execute((&**key, &**body))?;
        }
        SideWrite::DeleteSpec { key } => {
            tx.prepare_cached("DELETE FROM specs WHERE key = ?1")?
                .execute([&**key])?;
        }
        SideWrite::ClaimId { id } => {
            let claimed = tx
                .prepare_cached("INSERT INTO ids (id, seq) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
                .execute((&**id, seq))?;
            if claimed == 0 {
                let by_seq: i64 = tx
                    .prepare_cached("SELECT seq FROM ids WHERE id = ?1")?
                    .query_row([&**id], |row| row.get(0))?;
                let (id, by_seq) = (id.to_string(), by_seq.unsigned_abs());
                return Err(WriteError::Refused(AppendError::IdTaken {
                    id,
                    by_seq,
                    index,
                }));
            }
        }
    }
    Ok(())
}

pub(super) fn write_head(tx: &Transaction<'_>, head: &Head) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE head SET seq = ?1, hash = ?2, at_ms = ?3 WHERE one = 1")?
        .execute((head.seq.cast_signed(), head.hash.0, head.at_ms))
        .map(drop)
}
