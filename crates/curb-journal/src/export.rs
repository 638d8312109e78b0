//! The chain as JSON lines that anybody can verify with SHA-256 and nothing else.
//!
//! The first line says what follows:
//!
//! ```json
//! {"format":"curb-journal-export-1","after_seq":0,"after_hash":"<64 hex>"}
//! ```
//!
//! Each further line is one record, in order, without a gap:
//!
//! ```json
//! {"seq":1,"at_ms":1700000000000,"kind":"granted","payload":"{\"job\":\"a\"}","prev":"<64 hex>","hash":"<64 hex>"}
//! ```
//!
//! `payload` is a JSON string whose UTF-8 bytes are the payload, byte for byte; if the payload is not UTF-8,
//! `payload_hex` stands in its place. To verify: `prev` of the first record is `after_hash`, `prev` of every
//! other is the `hash` in front, `seq` counts up by one, and `hash` is the SHA-256 described at
//! [`crate::hash::record_hash`]. With `after_seq` 0, `after_hash` is the genesis: the SHA-256 of
//! [`crate::hash::GENESIS_TAG`].

use std::io::{BufWriter, Write};
use std::ops::ControlFlow;

use serde::Serialize;

use crate::entry::{Head, Record};
use crate::error::ReadError;
use crate::hash::Hash;
use crate::query;
use crate::reader::Reader;

/// What the first line calls the format.
pub const EXPORT_FORMAT: &str = "curb-journal-export-1";

#[derive(Serialize)]
struct FirstLine {
    format: &'static str,
    after_seq: u64,
    after_hash: String,
}

/// One record as a line of the export.
#[derive(Debug, Serialize)]
pub struct HashLine<'a> {
    seq: u64,
    at_ms: i64,
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_hex: Option<String>,
    prev: String,
    hash: String,
}

impl<'a> HashLine<'a> {
    /// The line of this record.
    #[must_use]
    pub fn of(record: &Record<'a>) -> Self {
        let text = str::from_utf8(record.payload).ok();
        Self {
            seq: record.seq,
            at_ms: record.at_ms,
            kind: record.kind,
            payload: text,
            payload_hex: text.is_none().then(|| hex::encode(record.payload)),
            prev: record.prev_hash.to_hex(),
            hash: record.hash.to_hex(),
        }
    }

    /// Writes the line, with its newline.
    ///
    /// # Errors
    /// The output refuses.
    pub fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.write_all(b"\n")
    }
}

/// Writes all records after `after_seq`, up to the newest, to `out`. Gives back the last record written (the
/// point it began after if there was none): keep its hash elsewhere and the next export proves that nothing
/// before it was changed.
///
/// Reading does not verify; use [`crate::verify`] for a judgement on this machine.
///
/// # Errors
/// There is no record `after_seq`, the database refuses, a record is malformed, or the output refuses.
pub fn export(reader: &Reader, after_seq: u64, out: impl Write) -> Result<Head, ReadError> {
    let mut out = BufWriter::with_capacity(64 << 10, out);
    let after_hash = query::hash_at(&reader.conn, after_seq)?
        .ok_or(ReadError::NoSuchRecord { seq: after_seq })?;
    let mut last = Head {
        seq: after_seq,
        hash: after_hash,
        at_ms: i64::MIN,
    };
    write_first(&mut out, after_seq, after_hash).map_err(ReadError::Output)?;
    let outcome = reader.for_each(after_seq, |record| {
        last = Head {
            seq: record.seq,
            hash: record.hash,
            at_ms: record.at_ms,
        };
        match HashLine::of(&record).write(&mut out) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    })?;
    if let Some(error) = outcome {
        return Err(ReadError::Output(error));
    }
    out.flush().map_err(ReadError::Output)?;
    Ok(last)
}

fn write_first(out: &mut impl Write, after_seq: u64, after_hash: Hash) -> std::io::Result<()> {
    let line = FirstLine {
        format: EXPORT_FORMAT,
        after_seq,
        after_hash: after_hash.to_hex(),
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}
