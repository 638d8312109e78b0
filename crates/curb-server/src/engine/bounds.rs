//! What the journal can hold, checked before anything is applied: one request must never make a commit fail that carries
//! others.

use curb_core::ledger::Event;
use curb_core::time::Timestamp;
use curb_journal::{
    MAX_BATCH_ENTRIES, MAX_KEY_BYTES, MAX_KIND_BYTES, MAX_PAYLOAD_BYTES, MAX_SPEC_BYTES,
    OwnedEntry, SideWrite,
};

use super::{Draft, EngineError};

/// An event with the entry that it will be.
pub(super) struct Prepared {
    pub(super) event: Event,
    pub(super) entry: OwnedEntry,
}

/// Turns a decision's events into entries; all of them or none.
pub(super) fn prepare(drafts: Vec<Draft>, now: Timestamp) -> Result<Vec<Prepared>, EngineError> {
    if drafts.len() > MAX_BATCH_ENTRIES {
        return Err(EngineError::Unfit(format!(
            "{} events at once; at most {MAX_BATCH_ENTRIES} are written together",
            drafts.len()
        )));
    }
    drafts.into_iter().map(|draft| one(draft, now)).collect()
}

fn one(draft: Draft, now: Timestamp) -> Result<Prepared, EngineError> {
    let kind = draft.event.kind();
    let payload = serde_json::to_vec(&draft.event).map_err(|error| {
        // Cannot be for these types; were it so, the state must not have it either.
        EngineError::Unfit(format!(
            "event {kind} could not be written as JSON: {error}"
        ))
    })?;
    fits("its kind", kind.len(), 1, MAX_KIND_BYTES)?;
    fits(
        &format!("event {kind}"),
        payload.len(),
        0,
        MAX_PAYLOAD_BYTES,
    )?;
    for side in &draft.side {
        match side {
            SideWrite::PutSpec { key, body } => {
                fits("a spec's key", key.len(), 1, MAX_KEY_BYTES)?;
                fits("a spec", body.len(), 0, MAX_SPEC_BYTES)?;
            }
            SideWrite::DeleteSpec { key } => fits("a spec's key", key.len(), 1, MAX_KEY_BYTES)?,
            SideWrite::ClaimId { id } => fits("an id", id.len(), 1, MAX_KEY_BYTES)?,
        }
    }
    let mut entry = OwnedEntry::new(now.0, kind, payload);
    entry.side = draft.side;
    Ok(Prepared {
        event: draft.event,
        entry,
    })
}

fn fits(what: &str, len: usize, least: usize, most: usize) -> Result<(), EngineError> {
    if (least..=most).contains(&len) {
        return Ok(());
    }
    Err(EngineError::Unfit(format!(
        "{what} has {len} bytes; {least} to {most} are taken"
    )))
}

/// Bytes that an entry holds on to while it waits.
pub(super) fn weight(entry: &OwnedEntry) -> usize {
    let side = entry.side.iter().map(|side| match side {
        SideWrite::PutSpec { key, body } => key.len() + body.len(),
        SideWrite::DeleteSpec { key } => key.len(),
        SideWrite::ClaimId { id } => id.len(),
    });
    entry.kind.len() + entry.payload.len() + side.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(why: usize, side: Vec<SideWrite<'static>>) -> Draft {
        let event = Event::ModeSet {
            mode: None,
            by: "ops".into(),
            why: "x".repeat(why),
        };
        Draft { event, side }
    }

    #[test]
    fn what_the_journal_would_refuse_is_refused_before_it() {
        let good = prepare(
            vec![draft(10, vec![SideWrite::put_spec("k", vec![0; 100])])],
            Timestamp(1),
        )
        .expect("fits");
        assert!(weight(&good[0].entry) > 111);
        for bad in [
            draft(MAX_PAYLOAD_BYTES, vec![]),
            draft(1, vec![SideWrite::claim_id("")]),
            draft(1, vec![SideWrite::claim_id("x".repeat(257))]),
            draft(1, vec![SideWrite::put_spec("x".repeat(257), vec![])]),
            draft(1, vec![SideWrite::delete_spec("")]),
            draft(
                1,
                vec![SideWrite::put_spec("k", vec![0; MAX_SPEC_BYTES + 1])],
            ),
        ] {
            // One that fits in front of it does not go alone.
            let all = vec![draft(1, vec![]), bad];
            assert!(matches!(
                prepare(all, Timestamp(1)),
                Err(EngineError::Unfit(_))
            ));
        }
    }
}
