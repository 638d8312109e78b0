//! What goes into the journal and what comes out of it.

use std::borrow::Cow;

use crate::hash::{Hash, record_hash};

/// Longest `kind` of a record, in bytes.
pub const MAX_KIND_BYTES: usize = 64;
/// Largest payload of one record, in bytes. Anything bigger belongs in a spec, outside the chain.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;
/// Longest key of a spec and longest claimed id, in bytes.
pub const MAX_KEY_BYTES: usize = 256;
/// Largest body of a spec, in bytes.
pub const MAX_SPEC_BYTES: usize = 16 << 20;
/// Most entries in one batch.
pub const MAX_BATCH_ENTRIES: usize = 65_536;

/// The newest record of the chain; what the next one will name as its predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of the newest record. Records count from 1 without a gap, so this is also how many there
    /// are; 0 means that the journal is empty.
    pub seq: u64,
    /// Hash of the newest record, [`Hash::genesis`] if there is none.
    pub hash: Hash,
    /// Time of the newest record in milliseconds since 1970-01-01 UTC. No later record may be older.
    /// `i64::MIN` in an empty journal.
    pub at_ms: i64,
}

impl Head {
    /// The head of an empty journal.
    #[must_use]
    pub fn genesis() -> Self {
        Self {
            seq: 0,
            hash: Hash::genesis(),
            at_ms: i64::MIN,
        }
    }

    /// The head after one more record.
    pub(crate) fn followed_by(&self, entry: &Entry<'_>) -> Self {
        let seq = self.seq + 1;
        let hash = record_hash(
            &self.hash,
            seq,
            entry.at_ms,
            entry.kind.as_bytes(),
            &entry.payload,
        );
        Self {
            seq,
            hash,
            at_ms: entry.at_ms,
        }
    }
}

/// One event to append. The journal numbers it and chains it.
///
/// Borrowed or owned: an `Entry<'static>` can travel to the writer's thread (see [`OwnedEntry`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// When it was decided, in milliseconds since 1970-01-01 UTC. Must not be before the record in front.
    pub at_ms: i64,
    /// What kind of event: a short word, 1 to [`MAX_KIND_BYTES`] bytes. Readers filter by it.
    pub kind: Cow<'a, str>,
    /// The event itself, opaque to the journal, at most [`MAX_PAYLOAD_BYTES`].
    pub payload: Cow<'a, [u8]>,
    /// What is written beside the chain in the same transaction, in this order.
    pub side: Vec<SideWrite<'a>>,
}

/// An entry that borrows nothing.
pub type OwnedEntry = Entry<'static>;

impl<'a> Entry<'a> {
    /// An entry without side writes.
    pub fn new(
        at_ms: i64,
        kind: impl Into<Cow<'a, str>>,
        payload: impl Into<Cow<'a, [u8]>>,
    ) -> Self {
        Self {
            at_ms,
            kind: kind.into(),
            payload: payload.into(),
            side: Vec::new(),
        }
    }

    /// The same entry with one more side write.
    #[must_use]
    pub fn with(mut self, side: SideWrite<'a>) -> Self {
        self.side.push(side);
        self
    }

    /// Bytes that this entry holds on to while it waits.
    pub(crate) fn weight(&self) -> usize {
        let side: usize = self.side.iter().map(SideWrite::weight).sum();
        self.kind.len() + self.payload.len() + side
    }
}

/// A write beside the chain, in the transaction of the entry that names it.
///
/// These tables are outside the hash, so that a body with personal data can be erased while the chain still
/// verifies. The event should carry the body's SHA-256 ([`Hash::of`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SideWrite<'a> {
    /// Keep `body` under `key`, replacing what was there.
    PutSpec {
        /// Up to [`MAX_KEY_BYTES`].
        key: Cow<'a, str>,
        /// Up to [`MAX_SPEC_BYTES`].
        body: Cow<'a, [u8]>,
    },
    /// Erase the body under `key`. Its bytes are overwritten in the database at the next checkpoint; a copy
    /// in the write-ahead log goes when the log comes round or the journal is closed. Fine if there is none.
    DeleteSpec {
        /// The key that [`SideWrite::PutSpec`] was given.
        key: Cow<'a, str>,
    },
    /// Mark `id` as used, for ever, by this entry. If it is used already the whole batch is refused with
    /// [`crate::AppendError::IdTaken`].
    ClaimId {
        /// Up to [`MAX_KEY_BYTES`].
        id: Cow<'a, str>,
    },
}

impl<'a> SideWrite<'a> {
    /// [`SideWrite::PutSpec`]
    pub fn put_spec(key: impl Into<Cow<'a, str>>, body: impl Into<Cow<'a, [u8]>>) -> Self {
        Self::PutSpec {
            key: key.into(),
            body: body.into(),
        }
    }

    /// [`SideWrite::DeleteSpec`]
    pub fn delete_spec(key: impl Into<Cow<'a, str>>) -> Self {
        Self::DeleteSpec { key: key.into() }
    }

    /// [`SideWrite::ClaimId`]
    pub fn claim_id(id: impl Into<Cow<'a, str>>) -> Self {
        Self::ClaimId { id: id.into() }
    }

    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::PutSpec { key, body } => key.len() + body.len(),
            Self::DeleteSpec { key } => key.len(),
            Self::ClaimId { id } => id.len(),
        }
    }
}

/// One record of the journal, borrowed from a reader's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its number; the first record is 1.
    pub seq: u64,
    /// Milliseconds since 1970-01-01 UTC.
    pub at_ms: i64,
    /// What kind of event.
    pub kind: &'a str,
    /// The event as it was appended, byte for byte.
    pub payload: &'a [u8],
    /// Hash of the record in front, as stored.
    pub prev_hash: Hash,
    /// Hash of this record, as stored. Reading does not check it, [`crate::verify`] does.
    pub hash: Hash,
}

impl Record<'_> {
    /// A copy that outlives the reader's buffer.
    #[must_use]
    pub fn to_owned(&self) -> OwnedRecord {
        OwnedRecord {
            seq: self.seq,
            at_ms: self.at_ms,
            kind: self.kind.to_owned(),
            payload: self.payload.to_vec(),
            prev_hash: self.prev_hash,
            hash: self.hash,
        }
    }

    /// Whether the stored hash is the hash of what is stored.
    #[must_use]
    pub fn is_self_consistent(&self) -> bool {
        let kind = self.kind.as_bytes();
        record_hash(&self.prev_hash, self.seq, self.at_ms, kind, self.payload) == self.hash
    }
}

/// One record of the journal. See [`Record`] for the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // said at `Record`
pub struct OwnedRecord {
    pub seq: u64,
    pub at_ms: i64,
    pub kind: String,
    pub payload: Vec<u8>,
    pub prev_hash: Hash,
    pub hash: Hash,
}

impl OwnedRecord {
    /// The same, borrowed.
    #[must_use]
    pub fn as_record(&self) -> Record<'_> {
        Record {
            seq: self.seq,
            at_ms: self.at_ms,
            kind: &self.kind,
            payload: &self.payload,
            prev_hash: self.prev_hash,
            hash: self.hash,
        }
    }
}
