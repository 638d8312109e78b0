//! Walking the chain and saying where it breaks.

use crate::entry::Head;
use crate::error::ReadError;
use crate::hash::{Hash, record_hash};
use crate::page::{Page, RawRecord};
use crate::query;
use crate::reader::{Reader, as_key};

/// What a walk over the chain found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct VerifyReport {
    /// The walk began after this record, which was taken for good.
    pub after_seq: u64,
    /// The head as it was stored when the walk began.
    pub head: Head,
    /// Records walked over.
    pub records: u64,
    /// Bytes of kinds and payloads that were hashed.
    pub bytes: u64,
    /// The first place where something is wrong. `None`: every record is what was appended.
    pub first_break: Option<Break>,
    /// How many places are wrong, the first one included.
    pub breaks: u64,
    /// Records after the first break that are what their own hash says: what can still be read and trusted
    /// to be unchanged, though not to follow what is in front.
    pub consistent_after: u64,
    /// The walk could not go on after the first break, because the database itself is unreadable there.
    pub cut_short: bool,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.first_break.is_none()
    }
}

/// One place where the chain does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// The number of the record that is wrong or missing.
    pub seq: u64,
    /// What is wrong.
    pub kind: BreakKind,
}

impl std::fmt::Display for Break {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "record {}: {}", self.seq, self.kind)
    }
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BreakKind {
    /// Records are missing here.
    #[error("missing; the next one there is {next}")]
    Missing {
        /// The first record that is there.
        next: u64,
    },
    /// The stored head names a record that is not there: the end of the journal was cut off.
    #[error("missing, and everything up to the stored head, {head}")]
    EndMissing {
        /// The number in the stored head.
        head: u64,
    },
    /// Its payload, kind or time is not what was appended.
    #[error("its content was changed")]
    ContentChanged,
    /// Its content fits the chain, its own hash does not.
    #[error("its stored hash was changed")]
    HashChanged,
    /// Its content and hash fit, the hash that it stores for the record in front does not.
    #[error("its stored predecessor was changed")]
    PredecessorChanged,
    /// It is what its hash says, but follows another record than the one in front: history was rewritten
    /// before it or exchanged.
    #[error("it does not follow the record in front of it")]
    DoesNotFollow,
    /// It is older than the record in front.
    #[error("its time is {back_ms} ms before the record in front")]
    TimeRunsBack {
        /// By how much, in milliseconds.
        back_ms: u64,
    },
    /// A column is not of the form that the writer gives it.
    #[error("malformed: {what}")]
    Malformed {
        /// What is wrong with it.
        what: String,
    },
    /// There is a record where none can be: in front of the first or behind the stored head.
    #[error("it should not be there: the chain is records 1 to {head}")]
    Surplus {
        /// The number in the stored head.
        head: u64,
    },
    /// The last record is not the one that the stored head names.
    #[error("it is not the one that the stored head names")]
    NotTheHead,
    /// The database cannot be read here.
    #[error("unreadable: {what}")]
    Unreadable {
        /// What the engine said.
        what: String,
    },
}

/// Walks the chain from the genesis, or after record `from.0` with hash `from.1` that the caller trusts, up
/// to the head at the time of the call.
///
/// # Errors
/// Only if the stored head cannot be read at all; everything that is wrong with the records is in the report.
pub fn verify(reader: &Reader, from: Option<(u64, Hash)>) -> Result<VerifyReport, ReadError> {
    let head = reader.head()?;
    let mut walk = Walk::new(from, head);
    if let Some((seq, hash)) = from {
        walk.check_anchor(reader, seq, &hash)?;
    }
    let mut page = Page::for_walk();
    // From the genesis, start below every number: a record 0 or -1 must not hide.
    let mut after = from.map_or(i64::MIN, |(seq, _)| as_key(seq));
    loop {
        if let Err(error) = page.load(&reader.conn, after, as_key(head.seq)) {
            walk.unreadable(&error);
            break;
        }
        let Some(last) = page.last_seq() else { break };
        page.rows().for_each(|row| walk.visit(&row));
        after = last;
    }
    if !walk.report.cut_short {
        walk.end(reader)?;
    }
    walk.tell_changed_hash(reader);
    Ok(walk.report)
}

struct Walk {
    report: VerifyReport,
    /// Number of the next record.
    expected: u64,
    /// Stored hash of the record in front, `None` after one that has none.
    prev: Option<Hash>,
    last_ms: i64,
}

impl Walk {
    fn new(from: Option<(u64, Hash)>, head: Head) -> Self {
        let (after_seq, hash) = from.unwrap_or((0, Hash::genesis()));
        let report = VerifyReport {
            after_seq,
            head,
            records: 0,
            bytes: 0,
            first_break: None,
            breaks: 0,
            consistent_after: 0,
            cut_short: false,
        };
        Self {
            report,
            expected: after_seq + 1,
            prev: Some(hash),
            last_ms: i64::MIN,
        }
    }

    fn found(&mut self, seq: u64, kind: BreakKind) {
        self.report.breaks += 1;
        self.report.first_break.get_or_insert(Break { seq, kind });
    }

    fn check_anchor(&mut self, reader: &Reader, seq: u64, hash: &Hash) -> Result<(), ReadError> {
        match query::hash_at(&reader.conn, seq)? {
            Some(found) if found == *hash => {}
            Some(_) => self.found(seq, BreakKind::DoesNotFollow),
            None => self.found(
                seq,
                BreakKind::EndMissing {
                    head: self.report.head.seq,
                },
            ),
        }
        Ok(())
    }

    fn unreadable(&mut self, error: &ReadError) {
        let what = match error {
            ReadError::Storage { source, .. } => source.to_string(),
            other => other.to_string(),
        };
        self.found(self.expected, BreakKind::Unreadable { what });
        self.report.cut_short = true;
    }

    fn visit(&mut self, row: &RawRecord<'_>) {
        self.report.records += 1;
        let Ok(seq @ 1..) = u64::try_from(row.seq) else {
            return self.found(
                0,
                BreakKind::Surplus {
                    head: self.report.head.seq,
                },
            );
        };
        let gap = seq != self.expected;
        if gap {
            self.found(self.expected, BreakKind::Missing { next: seq });
        }
        let own = own_hash(row, seq);
        let self_consistent = own.is_some() && own == row.hash;
        // Whatever is broken so far is in front of this record.
        if self.report.first_break.is_some() && self_consistent {
            self.report.consistent_after += 1;
        }
        if let Some(kind) = self.judge(row, seq, gap, self_consistent) {
            self.found(seq, kind);
        }
        let hashed = row.kind.map_or(0, <[u8]>::len) + row.payload.map_or(0, <[u8]>::len);
        self.report.bytes += hashed as u64;
        self.expected = seq + 1;
        self.prev = row.hash;
        self.last_ms = row
            .at_ms
            .map_or(self.last_ms, |at_ms| at_ms.max(self.last_ms));
    }

    /// What is wrong with this one record, given that the one in front is as it is.
    fn judge(
        &self,
        row: &RawRecord<'_>,
        seq: u64,
        gap: bool,
        self_consistent: bool,
    ) -> Option<BreakKind> {
        if let Err(error) = row.to_record() {
            return Some(BreakKind::Malformed {
                what: what_of(error),
            });
        }
        let follows = gap || self.prev.is_none() || row.prev == self.prev;
        match (self_consistent, follows) {
            (true, true) => {}
            (true, false) => return Some(BreakKind::DoesNotFollow),
            (false, true) => return Some(BreakKind::ContentChanged),
            (false, false) => {
                let with_prev = RawRecord {
                    prev: self.prev,
                    ..*row
                };
                let fits = own_hash(&with_prev, seq) == row.hash;
                let kinds = [BreakKind::ContentChanged, BreakKind::PredecessorChanged];
                return kinds.into_iter().nth(usize::from(fits));
            }
        }
        let at_ms = row.at_ms?;
        let back_ms = self.last_ms.abs_diff(at_ms);
        (at_ms < self.last_ms).then_some(BreakKind::TimeRunsBack { back_ms })
    }

    fn end(&mut self, reader: &Reader) -> Result<(), ReadError> {
        let head = self.report.head;
        let last = self.expected - 1;
        if last < head.seq {
            self.found(self.expected, BreakKind::EndMissing { head: head.seq });
        } else if self.prev != Some(head.hash) {
            self.found(head.seq, BreakKind::NotTheHead);
        }
        // Beyond the head there may only be what was appended since, with a head that says so.
        let mut page = Page::of(1);
        page.load(&reader.conn, as_key(head.seq), i64::MAX)?;
        if let Some(next) = page.last_seq().map(i64::unsigned_abs)
            && reader.head()?.seq < next
        {
            self.found(next, BreakKind::Surplus { head: head.seq });
        }
        Ok(())
    }

    /// A record whose hash does not fit its content: which of the two was changed? The next record knows the
    /// hash that it had.
    fn tell_changed_hash(&mut self, reader: &Reader) {
        let Some(Break {
            seq,
            kind: BreakKind::ContentChanged,
        }) = self.report.first_break
        else {
            return;
        };
        let mut page = Page::of(2);
        if page.load(&reader.conn, as_key(seq - 1), i64::MAX).is_err() {
            return;
        }
        let mut rows = page.rows();
        let Some(row) = rows.next() else { return };
        let remembered = match rows.next() {
            Some(next) if next.seq.unsigned_abs() == seq + 1 => next.prev,
            _ if self.report.head.seq == seq => Some(self.report.head.hash),
            _ => None,
        };
        if remembered.is_some() && remembered == own_hash(&row, seq) {
            self.report.first_break = Some(Break {
                seq,
                kind: BreakKind::HashChanged,
            });
        }
    }
}

fn own_hash(row: &RawRecord<'_>, seq: u64) -> Option<Hash> {
    Some(record_hash(
        &row.prev?,
        seq,
        row.at_ms?,
        row.kind?,
        row.payload?,
    ))
}

fn what_of(error: ReadError) -> String {
    match error {
        ReadError::Malformed { what, .. } => what.to_owned(),
        other => other.to_string(),
    }
}
