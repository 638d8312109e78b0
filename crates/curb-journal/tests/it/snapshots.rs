use curb_journal::{
    Hash, Journal, OpenOptions, ReadError, Reader, SkipReason, SkippedSnapshot, SnapshotError,
};

use crate::common::{TempDir, append, dir, report, shell};

const FORMAT: u32 = 7;

/// A journal with 30 events and snapshots at 10, 20 and 30, of which the newest two are kept.
fn with_snapshots() -> (TempDir, Journal) {
    let dir = dir();
    let mut journal = Journal::open(dir.path()).unwrap();
    for n in [10, 20, 30] {
        let head = append(&mut journal, n - 9, n);
        journal
            .put_snapshot(n, &head.hash, FORMAT, &body(n))
            .unwrap();
    }
    (dir, journal)
}

/// Bigger than one part, and not a multiple of it.
fn body(n: u64) -> Vec<u8> {
    format!("state at {n};").into_bytes().repeat(50_000)
}

fn skipped(seq: u64, reason: SkipReason) -> SkippedSnapshot {
    SkippedSnapshot { seq, reason }
}

fn damage(dir: &std::path::Path, edit: &str) -> (Option<u64>, Vec<SkippedSnapshot>) {
    assert_eq!(shell(dir).execute(edit, []).unwrap(), 1, "{edit}");
    let loaded = Reader::open(dir).unwrap().load_snapshot(FORMAT).unwrap();
    (loaded.snapshot.map(|snapshot| snapshot.seq), loaded.skipped)
}

#[test]
fn the_newest_snapshot_is_loaded_whole() {
    let (dir, journal) = with_snapshots();
    let head = journal.head();
    drop(journal);
    let loaded = Journal::open(dir.path())
        .unwrap()
        .load_snapshot(FORMAT)
        .unwrap();
    let snapshot = loaded.snapshot.unwrap();
    assert_eq!(
        (snapshot.seq, snapshot.hash, snapshot.format),
        (30, head.hash, FORMAT)
    );
    assert!(snapshot.body == body(30));
    assert_eq!(loaded.skipped, []);
}

#[test]
fn a_journal_without_snapshots_has_none() {
    let dir = dir();
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.load_snapshot(FORMAT).unwrap(), Default::default());
}

#[test]
fn only_the_newest_are_kept_and_the_parts_of_the_others_are_gone() {
    let (dir, _journal) = with_snapshots();
    let conn = shell(dir.path());
    let kept: String = conn
        .query_row(
            "SELECT group_concat(seq) FROM (SELECT seq FROM snapshots ORDER BY seq)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(kept, "20,30");
    let strays: i64 = conn
        .query_row(
            "SELECT count(*) FROM snapshot_chunks WHERE snapshot NOT IN (SELECT id FROM snapshots)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(strays, 0);
}

#[test]
fn as_many_are_kept_as_was_asked_and_never_none() {
    for (asked, kept) in [(0, 1), (1, 1), (3, 3)] {
        let dir = dir();
        let options = OpenOptions {
            snapshot_keep: asked,
            ..OpenOptions::default()
        };
        let mut journal = Journal::open_with(dir.path(), options).unwrap();
        for n in 1..=5 {
            let head = append(&mut journal, n, n);
            journal.put_snapshot(n, &head.hash, FORMAT, b"s").unwrap();
        }
        let count: i64 = shell(dir.path())
            .query_row("SELECT count(*) FROM snapshots", [], |row| row.get(0))
            .unwrap();
        assert_eq!(count, kept, "{asked}");
    }
}

#[test]
fn a_snapshot_of_nothing_is_a_snapshot() {
    let dir = dir();
    let mut journal = Journal::open(dir.path()).unwrap();
    journal
        .put_snapshot(0, &Hash::genesis(), FORMAT, b"")
        .unwrap();
    let snapshot = journal.load_snapshot(FORMAT).unwrap().snapshot.unwrap();
    assert_eq!((snapshot.seq, snapshot.body.len()), (0, 0));
}

#[test]
fn a_damaged_snapshot_is_passed_over_for_an_older_one_and_named() {
    for edit in [
        "UPDATE snapshot_chunks SET body = zeroblob(length(body)) \
         WHERE snapshot = (SELECT max(id) FROM snapshots) AND part = 1",
        "UPDATE snapshot_chunks SET body = x'' \
         WHERE snapshot = (SELECT max(id) FROM snapshots) AND part = 0",
        "DELETE FROM snapshot_chunks WHERE snapshot = (SELECT max(id) FROM snapshots) AND part = 2",
        "UPDATE snapshots SET sha256 = zeroblob(32) WHERE seq = 30",
        "UPDATE snapshots SET bytes = 9000000000000000000 WHERE seq = 30",
        "UPDATE snapshots SET bytes = 1 WHERE seq = 30",
        "UPDATE snapshots SET bytes = -1 WHERE seq = 30",
    ] {
        let (dir, _journal) = with_snapshots();
        let expected = (Some(20), vec![skipped(30, SkipReason::BodyDamaged)]);
        assert_eq!(damage(dir.path(), edit), expected, "{edit}");
    }
}

#[test]
fn a_snapshot_of_another_chain_is_passed_over() {
    for edit in [
        "UPDATE snapshots SET hash = zeroblob(32) WHERE seq = 30",
        "UPDATE snapshots SET hash = x'' WHERE seq = 30",
    ] {
        let (dir, _journal) = with_snapshots();
        let expected = (Some(20), vec![skipped(30, SkipReason::NotOnChain)]);
        assert_eq!(damage(dir.path(), edit), expected, "{edit}");
    }
    let (dir, _journal) = with_snapshots();
    let edit = "UPDATE snapshots SET seq = 31 WHERE seq = 30";
    assert_eq!(
        damage(dir.path(), edit),
        (Some(20), vec![skipped(31, SkipReason::NotOnChain)])
    );
}

#[test]
fn a_half_written_snapshot_does_not_count_and_is_cleared_away_by_the_next() {
    let (dir, mut journal) = with_snapshots();
    assert_eq!(
        damage(
            dir.path(),
            "UPDATE snapshots SET complete = 0 WHERE seq = 30"
        ),
        (Some(20), vec![])
    );
    let head = append(&mut journal, 31, 31);
    journal.put_snapshot(31, &head.hash, FORMAT, b"s").unwrap();
    let kept: String = shell(dir.path())
        .query_row(
            "SELECT group_concat(seq) FROM (SELECT seq FROM snapshots ORDER BY seq)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(kept, "20,31");
}

#[test]
fn when_all_are_damaged_there_is_none_and_all_are_named() {
    let (dir, journal) = with_snapshots();
    shell(dir.path())
        .execute_batch("UPDATE snapshot_chunks SET body = x'00'")
        .unwrap();
    let loaded = journal.load_snapshot(FORMAT).unwrap();
    assert_eq!(loaded.snapshot, None);
    let reasons = [
        skipped(30, SkipReason::BodyDamaged),
        skipped(20, SkipReason::BodyDamaged),
    ];
    assert_eq!(loaded.skipped, reasons);
}

#[test]
fn another_format_is_passed_over_and_named() {
    let (_dir, mut journal) = with_snapshots();
    let head = append(&mut journal, 31, 31);
    journal
        .put_snapshot(31, &head.hash, FORMAT + 1, b"newer")
        .unwrap();
    let loaded = journal.load_snapshot(FORMAT).unwrap();
    assert_eq!(loaded.snapshot.unwrap().seq, 30);
    assert_eq!(
        loaded.skipped,
        [skipped(31, SkipReason::OtherFormat(FORMAT + 1))]
    );
    assert_eq!(
        journal
            .load_snapshot(FORMAT + 1)
            .unwrap()
            .snapshot
            .unwrap()
            .body,
        b"newer"
    );
}

#[test]
fn a_snapshot_must_name_a_record_of_this_chain() {
    let (_dir, mut journal) = with_snapshots();
    let head = journal.head();
    for (seq, hash) in [
        (29, head.hash),
        (31, head.hash),
        (30, Hash::genesis()),
        (u64::MAX, head.hash),
    ] {
        let error = journal.put_snapshot(seq, &hash, FORMAT, b"s").unwrap_err();
        assert!(
            matches!(error, SnapshotError::Read(ReadError::NotOnChain { .. })),
            "{seq} {error}"
        );
    }
    assert_eq!(
        journal.load_snapshot(FORMAT).unwrap().snapshot.unwrap().seq,
        30
    );
}

#[test]
fn snapshots_leave_the_chain_alone() {
    let (dir, mut journal) = with_snapshots();
    assert!(report(dir.path()).is_sound());
    assert_eq!(append(&mut journal, 31, 40).seq, 40);
    assert!(report(dir.path()).is_sound());
}
