//! The journal against a plain vector that does the same.

use std::collections::{BTreeMap, BTreeSet};

use curb_journal::{
    AppendError, Entry, Hash, Journal, OwnedEntry, Reader, SideWrite, hash::record_hash,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::common::{T0, dir, report, shell};

/// What the journal should be, in the simplest form there is.
#[derive(Clone, Default)]
struct Model {
    records: Vec<(i64, String, Vec<u8>)>,
    specs: BTreeMap<String, Vec<u8>>,
    ids: BTreeSet<String>,
}

impl Model {
    /// The model after the batch, or `None` if the batch must be refused.
    fn after(&self, batch: &[OwnedEntry]) -> Option<Self> {
        let mut next = self.clone();
        for entry in batch {
            if next
                .records
                .last()
                .is_some_and(|(at_ms, ..)| entry.at_ms < *at_ms)
            {
                return None;
            }
            next.records
                .push((entry.at_ms, entry.kind.to_string(), entry.payload.to_vec()));
            for side in &entry.side {
                match side {
                    SideWrite::PutSpec { key, body } => {
                        next.specs.insert(key.to_string(), body.to_vec());
                    }
                    SideWrite::DeleteSpec { key } => {
                        next.specs.remove(&**key);
                    }
                    SideWrite::ClaimId { id } => {
                        if !next.ids.insert(id.to_string()) {
                            return None;
                        }
                    }
                }
            }
        }
        Some(next)
    }

    fn head(&self) -> (u64, Hash) {
        self.records.iter().fold(
            (0, Hash::genesis()),
            |(seq, prev), (at_ms, kind, payload)| {
                (
                    seq + 1,
                    record_hash(&prev, seq + 1, *at_ms, kind.as_bytes(), payload),
                )
            },
        )
    }
}

fn side() -> impl Strategy<Value = SideWrite<'static>> {
    let key = "[a-d]";
    prop_oneof![
        (key, vec(any::<u8>(), 0..40)).prop_map(|(key, body)| SideWrite::put_spec(key, body)),
        key.prop_map(SideWrite::delete_spec),
        "[a-z]{2}".prop_map(SideWrite::claim_id),
    ]
}

fn entry() -> impl Strategy<Value = OwnedEntry> {
    // Mostly forwards in time, sometimes back.
    let at_ms = prop_oneof![9 => 0_i64..100, 1 => -50_i64..0];
    let payload = prop_oneof![vec(any::<u8>(), 0..60), vec(any::<u8>(), 5_000..9_000)];
    (at_ms, "\\PC{1,8}", payload, vec(side(), 0..3)).prop_map(|(at_ms, kind, payload, side)| {
        OwnedEntry {
            side,
            ..Entry::new(at_ms, kind, payload)
        }
    })
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<OwnedEntry>),
    Reopen,
    Restart,
    Snapshot(Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => vec(entry(), 0..6).prop_map(Step::Append),
        1 => Just(Step::Reopen),
        1 => Just(Step::Restart),
        1 => vec(any::<u8>(), 0..50).prop_map(Step::Snapshot),
    ]
}

proptest! {
    // Each case is a directory and some dozen syncs.
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_journal_is_a_vector_that_refuses_what_must_be_refused(steps in vec(step(), 1..20)) {
        let dir = dir();
        let mut journal = Journal::open(dir.path()).unwrap();
        let mut model = Model::default();
        let mut snapshot = None;
        let mut now = T0;
        for step in steps {
            match step {
                Step::Append(mut batch) => {
                    // Relative times become absolute here, so that most batches are in order.
                    for entry in &mut batch {
                        now += entry.at_ms;
                        entry.at_ms = now;
                    }
                    let expected = model.after(&batch);
                    match (journal.append(&batch), expected) {
                        (Ok(head), Some(next)) => {
                            model = next;
                            prop_assert_eq!((head.seq, head.hash), model.head());
                        }
                        (Err(AppendError::IdTaken { .. } | AppendError::TimeBack { .. }), None) => {}
                        (got, expected) => prop_assert!(false, "{got:?}, expected {}", expected.is_some()),
                    }
                    now = now.max(model.records.last().map_or(T0, |(at_ms, ..)| *at_ms));
                }
                Step::Reopen => {
                    let head = journal.reopen().unwrap();
                    prop_assert_eq!((head.seq, head.hash), model.head());
                }
                Step::Restart => {
                    drop(journal);
                    journal = Journal::open(dir.path()).unwrap();
                    prop_assert_eq!((journal.head().seq, journal.head().hash), model.head());
                }
                Step::Snapshot(body) => {
                    let head = journal.head();
                    journal.put_snapshot(head.seq, &head.hash, 1, &body).unwrap();
                    snapshot = Some((head.seq, body));
                }
            }
        }
        let reader = Reader::open(dir.path()).unwrap();
        let records: Vec<_> = reader.range(0, 1_000).unwrap().into_iter()
            .map(|record| (record.at_ms, record.kind, record.payload)).collect();
        prop_assert_eq!(&records, &model.records);
        for key in ["a", "b", "c", "d"] {
            prop_assert_eq!(reader.spec(key).unwrap(), model.specs.get(key).cloned());
        }
        for id in &model.ids {
            prop_assert!(reader.id_used(id).unwrap());
        }
        let loaded = reader.load_snapshot(1).unwrap();
        prop_assert_eq!(loaded.snapshot.map(|found| (found.seq, found.body)), snapshot);
        prop_assert_eq!(loaded.skipped, vec![]);
        prop_assert!(report(dir.path()).is_sound());
    }

    #[test]
    fn any_change_of_any_column_of_any_record_is_found_there(
        n in 1_u64..20, column in 0_usize..5, noise in vec(any::<u8>(), 32)
    ) {
        let (dir, _) = crate::common::filled(20);
        let conn = shell(dir.path());
        let edit = [
            "at_ms = at_ms + ?1",
            "kind = kind || ?1",
            "payload = CAST(payload || ?1 AS BLOB)",
            "prev = ?1",
            "hash = ?1",
        ];
        let sql = format!("UPDATE events SET {} WHERE seq = ?2", edit[column]);
        let seq = n.cast_signed();
        let changed = match column {
            0 => conn.execute(&sql, (i64::from(noise[0]) + 1, seq)),
            1 => conn.execute(&sql, (hex::encode(&noise), seq)),
            _ => conn.execute(&sql, (noise, seq)),
        };
        prop_assert_eq!(changed.unwrap(), 1);
        let first = report(dir.path()).first_break.map(|found| found.seq);
        prop_assert_eq!(first, Some(n));
    }

    #[test]
    fn different_records_have_different_hashes(
        a in (any::<u64>(), any::<i64>(), vec(any::<u8>(), 0..6), vec(any::<u8>(), 0..6)),
        b in (any::<u64>(), any::<i64>(), vec(any::<u8>(), 0..6), vec(any::<u8>(), 0..6)),
    ) {
        let hash = |(seq, at_ms, kind, payload): &(u64, i64, Vec<u8>, Vec<u8>)| {
            record_hash(&Hash::genesis(), *seq, *at_ms, kind, payload)
        };
        prop_assert_eq!(hash(&a) == hash(&b), a == b);
        // The same bytes, divided elsewhere between kind and payload.
        let joined = [a.2.as_slice(), a.3.as_slice()].concat();
        for cut in 0..=joined.len() {
            let (kind, payload) = joined.split_at(cut);
            let divided = (a.0, a.1, kind.to_vec(), payload.to_vec());
            prop_assert_eq!(hash(&divided) == hash(&a), divided == a);
        }
    }
}
