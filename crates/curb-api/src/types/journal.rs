//! `GET /curb/v1/journal`.

use curb_core::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::schema as s;

/// Query of `GET /curb/v1/journal`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalQuery {
    /// `after=`: only records with a larger number. If not said: the newest ones.
    pub after: Option<u64>,
    /// `limit=`: at most [`MAX_RECORDS`].
    pub limit: Option<u32>,
    /// `kinds=`, separated by commas.
    pub kinds: Vec<String>,
    /// `wait=`: when there is nothing yet, wait so many seconds for something, at most [`MAX_WAIT_S`].
    pub wait_s: Option<u32>,
}

/// At most so many records in an answer.
pub const MAX_RECORDS: u32 = 1000;
/// At most so many seconds are waited for a record.
pub const MAX_WAIT_S: u32 = 30;

/// Records, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct JournalPage {
    /// The records.
    pub records: Vec<JournalRecord>,
    /// What to give as `after` for what follows, whether there is something yet or not.
    pub next: u64,
}

/// One record.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct JournalRecord {
    /// Its number, from 1, without gaps in the journal.
    pub seq: u64,
    /// When it was decided.
    #[schemars(with = "s::Timestamp")]
    pub at: Timestamp,
    /// Which kind of event.
    pub kind: String,
    /// The event, as it was written.
    #[schemars(with = "serde_json::Value")]
    pub event: Box<RawValue>,
    /// Hash of the record, in hex: it covers the record and all before it.
    pub hash: String,
}
