//! From the journal to the state: the newest snapshot, then every record after it, with the chain checked on the way.

use std::ops::ControlFlow;
use std::path::Path;

use curb_core::ledger::{Event, Recorded, RestoreError, SNAPSHOT_FORMAT, State};
use curb_core::time::Timestamp;
use curb_journal::{Hash, OpenError, ReadError, Reader};

/// What was loaded.
#[derive(Debug)]
pub struct Loaded {
    /// The state at the head.
    pub state: State,
    /// The record that the snapshot ended with; 0 when there was none.
    pub from_snapshot: u64,
    /// Records read after it.
    pub replayed: u64,
}

/// Why the state cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The journal cannot be opened.
    #[error("the journal cannot be opened")]
    Open(#[from] OpenError),
    /// It cannot be read.
    #[error("the journal cannot be read")]
    Read(#[from] ReadError),
    /// The chain is broken.
    #[error(
        "record {seq} of the journal {what}: nothing is started on it. Run `curb journal verify`, and restore the directory from a copy"
    )]
    Broken {
        /// Which record.
        seq: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// An event that this program does not know.
    #[error(
        "record {seq} of the journal ({kind}) is not understood ({reason}): use the version of curb that wrote it, or a newer one"
    )]
    Unknown {
        /// Which record.
        seq: u64,
        /// Its kind.
        kind: String,
        /// Why.
        reason: String,
    },
    /// A snapshot that is whole but not understood.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

/// Loads the state at the journal's head. The writer may be running, as long as nothing is appended meanwhile that the
/// caller does not know of.
///
/// # Errors
/// The journal cannot be read, its chain is broken, or an event is not understood.
pub fn load(dir: &Path) -> Result<Loaded, LoadError> {
    let reader = Reader::open(dir)?;
    let found = reader.load_snapshot(SNAPSHOT_FORMAT)?;
    for skipped in &found.skipped {
        tracing::warn!(seq = skipped.seq, reason = ?skipped.reason, "a snapshot was passed over");
    }
    let (mut state, mut hash) = (State::new(), Hash::genesis());
    if let Some(snapshot) = found.snapshot {
        match State::restore(&snapshot.body) {
            Ok(restored) if restored.seq() == snapshot.seq => {
                (state, hash) = (restored, snapshot.hash)
            }
            Ok(_) => tracing::warn!(
                seq = snapshot.seq,
                "a snapshot is for another record; reading from the beginning"
            ),
            Err(error) => {
                tracing::warn!(seq = snapshot.seq, %error, "a snapshot is not understood; reading from the beginning")
            }
        }
    }
    let from_snapshot = state.seq();
    let mut replayed = 0;
    let broken = reader.for_each(from_snapshot, |record| {
        let bad = |what| {
            ControlFlow::Break(LoadError::Broken {
                seq: record.seq,
                what,
            })
        };
        if record.seq != state.seq() + 1 {
            return bad("does not follow the one before it (a gap)");
        }
        if record.prev_hash != hash {
            return bad("does not name the hash of the one before it");
        }
        if !record.is_self_consistent() {
            return bad("is not what its hash says");
        }
        let event: Event = match serde_json::from_slice(record.payload) {
            Ok(event) => event,
            Err(error) => {
                let (kind, reason) = (record.kind.to_owned(), error.to_string());
                return ControlFlow::Break(LoadError::Unknown {
                    seq: record.seq,
                    kind,
                    reason,
                });
            }
        };
        state.apply(&Recorded {
            seq: record.seq,
            at: Timestamp(record.at_ms),
            event,
        });
        hash = record.hash;
        replayed += 1;
        ControlFlow::Continue(())
    })?;
    match broken {
        Some(error) => Err(error),
        None => Ok(Loaded {
            state,
            from_snapshot,
            replayed,
        }),
    }
}
