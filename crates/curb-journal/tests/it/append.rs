use curb_journal::{
    AppendError, Entry, Hash, Head, Journal, MAX_BATCH_ENTRIES, MAX_KEY_BYTES, MAX_KIND_BYTES,
    MAX_PAYLOAD_BYTES, Reader, SideWrite, hash::record_hash,
};

use crate::common::{T0, TempDir, append, dir, event, report, shell};

fn open() -> (TempDir, Journal) {
    let dir = dir();
    let journal = Journal::open(dir.path()).unwrap();
    (dir, journal)
}

/// Tries a batch that must be refused and leave nothing behind.
fn refused(journal: &mut Journal, batch: &[Entry<'_>]) -> AppendError {
    let before = journal.head();
    let error = journal.append(batch).unwrap_err();
    assert_eq!(journal.head(), before, "{error}");
    let reader = Reader::open(journal.dir()).unwrap();
    assert_eq!(reader.head().unwrap(), before, "{error}");
    assert_eq!(reader.range(before.seq, 10).unwrap(), [], "{error}");
    error
}

#[test]
fn records_are_numbered_from_one_and_chained() {
    let (_dir, mut journal) = open();
    let head = journal.append(&[event(1), event(2)]).unwrap();
    let records = Reader::open(journal.dir()).unwrap().range(0, 10).unwrap();
    let first = record_hash(&Hash::genesis(), 1, T0 + 1_000, b"ended", b"{\"n\":1}");
    let second = record_hash(&first, 2, T0 + 2_000, b"queued", b"{\"n\":2}");
    assert_eq!(records.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(
        (records[0].prev_hash, records[0].hash),
        (Hash::genesis(), first)
    );
    assert_eq!((records[1].prev_hash, records[1].hash), (first, second));
    assert_eq!(
        head,
        Head {
            seq: 2,
            hash: second,
            at_ms: T0 + 2_000
        }
    );
}

#[test]
fn an_empty_batch_changes_nothing() {
    let (_dir, mut journal) = open();
    let head = append(&mut journal, 1, 3);
    assert_eq!(journal.append(&[]).unwrap(), head);
}

#[test]
fn time_may_stand_still_but_not_go_back() {
    let (_dir, mut journal) = open();
    let at = |at_ms| Entry::new(at_ms, "tick", &b"{}"[..]);
    journal.append(&[at(T0), at(T0)]).unwrap();
    let error = refused(&mut journal, &[at(T0 + 5), at(T0 + 4)]);
    assert!(matches!(
        error,
        AppendError::TimeBack { index: 1, last_ms, at_ms } if last_ms == T0 + 5 && at_ms == T0 + 4
    ));
    assert_eq!(
        error.to_string(),
        "entry 1 of the batch is 1 ms older than the record in front"
    );
    refused(&mut journal, &[at(T0 - 1)]);
    journal.append(&[at(T0)]).unwrap();
}

#[test]
fn the_time_of_the_last_record_binds_the_next_process_too() {
    let (dir, mut journal) = open();
    append(&mut journal, 1, 5);
    drop(journal);
    let mut journal = Journal::open(dir.path()).unwrap();
    assert!(matches!(
        refused(&mut journal, &[event(4)]),
        AppendError::TimeBack { index: 0, .. }
    ));
}

#[test]
fn the_extremes_of_time_are_recorded_and_verify() {
    let (dir, mut journal) = open();
    let at = |at_ms| Entry::new(at_ms, "tick", &b"{}"[..]);
    journal
        .append(&[at(i64::MIN), at(-1), at(0), at(i64::MAX)])
        .unwrap();
    let error = refused(&mut journal, &[at(i64::MIN)]);
    assert!(
        error.to_string().contains("18446744073709551615 ms older"),
        "{error}"
    );
    assert!(report(dir.path()).is_sound());
}

#[test]
fn every_size_has_its_bound_and_the_bound_itself_is_allowed() {
    let (dir, mut journal) = open();
    let kind = |n| Entry::new(T0, "k".repeat(n), &b""[..]);
    let payload = |n| Entry::new(T0, "k", vec![b'x'; n]);
    let spec = |n| event(0).with(SideWrite::put_spec("k".repeat(n), &b""[..]));
    let gone = |n| event(0).with(SideWrite::delete_spec("k".repeat(n)));
    let id = |n| event(0).with(SideWrite::claim_id("k".repeat(n)));
    let too_big = [
        kind(0),
        kind(MAX_KIND_BYTES + 1),
        payload(MAX_PAYLOAD_BYTES + 1),
        spec(0),
        spec(MAX_KEY_BYTES + 1),
        gone(0),
        gone(MAX_KEY_BYTES + 1),
        id(0),
        id(MAX_KEY_BYTES + 1),
    ];
    for entry in too_big {
        let error = refused(&mut journal, &[event(0), entry]);
        assert!(
            matches!(error, AppendError::Size { index: 1, .. }),
            "{error}"
        );
    }
    let fits = [
        kind(MAX_KIND_BYTES),
        payload(0),
        payload(MAX_PAYLOAD_BYTES),
        payload(MAX_PAYLOAD_BYTES),
        spec(MAX_KEY_BYTES),
        gone(MAX_KEY_BYTES),
        id(MAX_KEY_BYTES),
    ];
    journal.append(&fits).unwrap();
    drop(journal);
    assert_eq!(Journal::open(dir.path()).unwrap().head().seq, 7);
    assert!(report(dir.path()).is_sound());
}

#[test]
fn a_batch_over_the_bound_of_entries_is_refused_whole() {
    let (_dir, mut journal) = open();
    let batch = vec![event(1); MAX_BATCH_ENTRIES + 1];
    assert!(matches!(
        refused(&mut journal, &batch),
        AppendError::TooManyEntries { .. }
    ));
}

#[test]
fn an_id_is_claimed_once_for_ever() {
    let (dir, mut journal) = open();
    let claim = |n, id: &'static str| event(n).with(SideWrite::claim_id(id));
    journal.append(&[event(1), claim(2, "job-a")]).unwrap();
    let error = refused(
        &mut journal,
        &[event(3), claim(4, "job-b"), claim(5, "job-a")],
    );
    assert_eq!(
        error.to_string(),
        "id \"job-a\" (entry 2 of the batch) was used already, by record 2"
    );
    assert!(
        !journal.id_used("job-b").unwrap(),
        "the batch was rolled back"
    );
    drop(journal);
    let mut journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.claimed_by("job-a").unwrap(), Some(2));
    assert!(matches!(
        refused(&mut journal, &[claim(6, "job-a")]),
        AppendError::IdTaken {
            by_seq: 2,
            index: 0,
            ..
        }
    ));
    assert_eq!(journal.append(&[claim(6, "job-b")]).unwrap().seq, 3);
}

#[test]
fn one_batch_cannot_claim_an_id_twice() {
    let (_dir, mut journal) = open();
    let claim = |n| event(n).with(SideWrite::claim_id("job-a"));
    let error = refused(&mut journal, &[claim(1), claim(2)]);
    assert!(
        matches!(
            error,
            AppendError::IdTaken {
                by_seq: 1,
                index: 1,
                ..
            }
        ),
        "{error}"
    );
    assert!(!journal.id_used("job-a").unwrap());
}

#[test]
fn ids_that_look_alike_are_different_ids() {
    let (_dir, mut journal) = open();
    let ids = ["a", "A", "a ", " a", "ä", "a\u{308}", "a\0b", "a\0c"];
    for (n, id) in (1..).zip(ids) {
        journal
            .append(&[event(n).with(SideWrite::claim_id(id))])
            .unwrap();
    }
    for (n, id) in (1..).zip(ids) {
        assert_eq!(journal.claimed_by(id).unwrap(), Some(n), "{id:?}");
    }
}

#[test]
fn specs_are_written_replaced_and_erased_with_their_events() {
    let (dir, mut journal) = open();
    journal
        .append(&[event(1).with(SideWrite::put_spec("a", &b"one"[..]))])
        .unwrap();
    assert_eq!(journal.spec("a").unwrap().as_deref(), Some(&b"one"[..]));
    let both = event(2)
        .with(SideWrite::put_spec("a", &b"two"[..]))
        .with(SideWrite::put_spec("b", &b"three"[..]));
    journal.append(&[both]).unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(reader.spec("a").unwrap().as_deref(), Some(&b"two"[..]));
    let gone = event(3)
        .with(SideWrite::delete_spec("a"))
        .with(SideWrite::delete_spec("never"));
    journal.append(&[gone]).unwrap();
    assert_eq!(reader.spec("a").unwrap(), None);
    assert_eq!(reader.spec("b").unwrap().as_deref(), Some(&b"three"[..]));
    assert!(
        report(dir.path()).is_sound(),
        "erasing leaves the chain whole"
    );
}

#[test]
fn a_refused_batch_leaves_no_spec_behind() {
    let (_dir, mut journal) = open();
    journal
        .append(&[event(1).with(SideWrite::claim_id("id"))])
        .unwrap();
    let batch = [
        event(2).with(SideWrite::put_spec("a", &b"one"[..])),
        event(3).with(SideWrite::claim_id("id")),
    ];
    refused(&mut journal, &batch);
    assert_eq!(journal.spec("a").unwrap(), None);
}

#[test]
fn an_erased_body_is_gone_from_the_files_once_the_journal_is_closed() {
    let (dir, mut journal) = open();
    let secret = b"the-secret-of-ana-".repeat(1_000);
    let found = |dir: &std::path::Path| {
        std::fs::read_dir(dir).unwrap().any(|entry| {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            bytes
                .windows(18)
                .any(|window| window == b"the-secret-of-ana-")
        })
    };
    journal
        .append(&[event(1).with(SideWrite::put_spec("a", &secret))])
        .unwrap();
    assert!(found(dir.path()));
    journal
        .append(&[event(2).with(SideWrite::delete_spec("a"))])
        .unwrap();
    drop(journal);
    assert!(!found(dir.path()));
}

#[test]
fn records_cannot_be_edited_by_mistake() {
    let (dir, mut journal) = open();
    append(&mut journal, 1, 3);
    let conn = rusqlite::Connection::open(dir.path().join(curb_journal::JOURNAL_FILE)).unwrap();
    for edit in [
        "UPDATE events SET payload = x''",
        "DELETE FROM events WHERE seq = 3",
    ] {
        let error = conn.execute_batch(edit).unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}

#[test]
fn a_database_shell_that_holds_the_write_lock_costs_a_wait_not_the_journal() {
    let (dir, mut journal) = open();
    append(&mut journal, 1, 3);
    let other = shell(dir.path());
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(
        refused(&mut journal, &[event(4)]),
        AppendError::Other(_)
    ));
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(journal.append(&[event(4)]).unwrap().seq, 4);
}

#[test]
fn an_anchor_kept_elsewhere_can_be_looked_up() {
    let (_dir, mut journal) = open();
    let anchor = append(&mut journal, 1, 4);
    append(&mut journal, 5, 9);
    assert!(journal.contains(anchor.seq, &anchor.hash).unwrap());
    assert!(journal.contains(0, &Hash::genesis()).unwrap());
    assert!(!journal.contains(5, &anchor.hash).unwrap());
    assert!(!journal.contains(u64::MAX, &anchor.hash).unwrap());
}

#[test]
fn the_log_is_folded_in_as_it_grows() {
    let (_dir, mut journal) = open();
    for n in 1..=600 {
        journal.append(&[event(n)]).unwrap();
    }
    let stats = journal.stats();
    assert!(stats.checkpoints >= 2, "{stats:?}");
    assert_eq!(stats.checkpoints_deferred, 0, "{stats:?}");
}
