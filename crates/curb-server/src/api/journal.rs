//! Records of the journal.

use std::time::Duration;

use curb_api::{JournalPage, JournalRecord, MAX_RECORDS, MAX_WAIT_S};
use curb_core::time::Timestamp;
use curb_journal::{Filter, OwnedRecord, Reader};
use serde_json::value::RawValue;

use super::parameter;
use crate::gateway::Call;
use crate::reply::{Failure, Reply, json};

/// `GET /curb/v1/journal`.
pub async fn journal(call: &Call) -> Result<Reply, Failure> {
    let after = parameter::<u64>(call, "after")?;
    let limit = parameter::<u32>(call, "limit")?
        .unwrap_or(100)
        .clamp(1, MAX_RECORDS) as usize;
    let wait = parameter::<u32>(call, "wait")?.unwrap_or(0).min(MAX_WAIT_S);
    let kinds: Vec<String> = call
        .query
        .get("kinds")
        .map(|k| {
            k.split(',')
                .filter(|k| !k.is_empty())
                .map(str::to_owned)
                .collect()
        })
        .unwrap_or_default();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(u64::from(wait));
    let mut changed = call.app.engine.changed();
    loop {
        changed.mark_unchanged();
        let kinds = kinds.clone();
        let (records, next) = call
            .app
            .readers
            .run(move |reader| page(reader, after, limit, &kinds))
            .await?;
        if !records.is_empty() || after.is_none() || tokio::time::Instant::now() >= deadline {
            let records = records.into_iter().map(record).collect::<Result<_, _>>()?;
            return json(&JournalPage { records, next });
        }
        tokio::select! {
            _ = changed.changed() => tokio::time::sleep(Duration::from_millis(50)).await,
            () = tokio::time::sleep_until(deadline) => {}
            () = call.app.stopping.cancelled() => return Err(Failure::unavailable("curb: the server is stopping", "try again in a moment", 5)),
        }
    }
}

fn page(
    reader: &Reader,
    after: Option<u64>,
    limit: usize,
    kinds: &[String],
) -> Result<(Vec<OwnedRecord>, u64), curb_journal::ReadError> {
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    let filter = Filter {
        kinds: &kinds,
        since_ms: None,
    };
    // Read before the records: what comes after it is told by the next page.
    let head = reader.head()?.seq;
    let records = match after {
        Some(after) => reader.search(after, &filter, limit)?,
        None => reader.last(&filter, limit)?,
    };
    let next = match records.last() {
        Some(last) if records.len() == limit => last.seq,
        Some(last) => last.seq.max(head),
        None => head.max(after.unwrap_or(0)),
    };
    Ok((records, next))
}

fn record(r: OwnedRecord) -> Result<JournalRecord, Failure> {
    let text = String::from_utf8(r.payload).map_err(|e| Failure::internal(&e))?;
    Ok(JournalRecord {
        seq: r.seq,
        at: Timestamp(r.at_ms),
        kind: r.kind,
        event: RawValue::from_string(text).map_err(|e| Failure::internal(&e))?,
        hash: r.hash.to_string(),
    })
}
