//! Somebody edits the database, or the disk does. The verifier must find it and say where.

use std::path::Path;

use curb_journal::{Break, BreakKind, Head, Reader, VerifyReport, hash::record_hash, verify};

use crate::common::{TempDir, filled, report, shell};

const N: u64 = 40;

fn tampered(edit: &str) -> (TempDir, VerifyReport) {
    let (dir, _) = filled(N);
    shell(dir.path()).execute_batch(edit).unwrap();
    let report = report(dir.path());
    (dir, report)
}

fn found(edit: &str) -> (Break, u64) {
    let (_dir, report) = tampered(edit);
    let first = report
        .first_break
        .unwrap_or_else(|| panic!("not found: {edit}"));
    (first, report.consistent_after)
}

fn at(seq: u64, kind: BreakKind) -> Break {
    Break { seq, kind }
}

#[test]
fn an_untouched_journal_is_sound() {
    let (dir, head) = filled(N);
    let report = report(dir.path());
    assert!(report.is_sound());
    assert_eq!((report.head, report.records, report.breaks), (head, N, 0));
    assert!(report.bytes > 0);
}

#[test]
fn an_empty_journal_is_sound() {
    let (dir, _) = filled(0);
    let report = report(dir.path());
    assert!(report.is_sound());
    assert_eq!(report.head, Head::genesis());
}

#[test]
fn a_changed_payload_is_found_at_its_record() {
    let edit = "UPDATE events SET payload = x'7b7d' WHERE seq = 17";
    assert_eq!(found(edit), (at(17, BreakKind::ContentChanged), N - 17));
}

#[test]
fn a_changed_kind_or_time_is_found_at_its_record() {
    for column in ["kind = 'revoked'", "at_ms = at_ms + 1", "at_ms = at_ms - 1"] {
        let edit = format!("UPDATE events SET {column} WHERE seq = 9");
        assert_eq!(found(&edit).0, at(9, BreakKind::ContentChanged), "{column}");
    }
}

#[test]
fn a_changed_last_record_is_found() {
    let edit = format!("UPDATE events SET payload = x'00' WHERE seq = {N}");
    assert_eq!(found(&edit), (at(N, BreakKind::ContentChanged), 0));
}

#[test]
fn a_changed_hash_is_told_from_changed_content() {
    let edit = "UPDATE events SET hash = zeroblob(32) WHERE seq = 17";
    assert_eq!(found(edit), (at(17, BreakKind::HashChanged), N - 17));
    let edit = format!("UPDATE events SET hash = zeroblob(32) WHERE seq = {N}");
    assert_eq!(found(&edit), (at(N, BreakKind::HashChanged), 0));
}

#[test]
fn a_changed_predecessor_is_found_at_its_record() {
    let edit = "UPDATE events SET prev = zeroblob(32) WHERE seq = 17";
    assert_eq!(found(edit), (at(17, BreakKind::PredecessorChanged), N - 17));
    let edit = "UPDATE events SET prev = zeroblob(32) WHERE seq = 1";
    assert_eq!(found(edit), (at(1, BreakKind::PredecessorChanged), N - 1));
}

#[test]
fn a_removed_record_is_a_gap_at_its_number() {
    let edit = "DELETE FROM events WHERE seq = 17";
    assert_eq!(
        found(edit),
        (at(17, BreakKind::Missing { next: 18 }), N - 17)
    );
    let edit = "DELETE FROM events WHERE seq BETWEEN 1 AND 3";
    assert_eq!(found(edit), (at(1, BreakKind::Missing { next: 4 }), N - 3));
}

#[test]
fn a_cut_off_end_is_found_by_the_stored_head() {
    let edit = "DELETE FROM events WHERE seq > 30";
    assert_eq!(found(edit), (at(31, BreakKind::EndMissing { head: N }), 0));
    assert_eq!(
        found("DELETE FROM events").0,
        at(1, BreakKind::EndMissing { head: N })
    );
}

#[test]
fn an_end_cut_off_together_with_the_head_is_found_by_an_anchor() {
    let (dir, anchor) = filled(N);
    let edit = "DELETE FROM events WHERE seq > 30;
        UPDATE head SET (seq, hash, at_ms) = (SELECT seq, hash, at_ms FROM events WHERE seq = 30)";
    shell(dir.path()).execute_batch(edit).unwrap();
    assert!(
        report(dir.path()).is_sound(),
        "a chain alone cannot see this"
    );
    let reader = Reader::open(dir.path()).unwrap();
    let report = verify(&reader, Some((anchor.seq, anchor.hash))).unwrap();
    assert_eq!(
        report.first_break,
        Some(at(N, BreakKind::EndMissing { head: 30 }))
    );
}

#[test]
fn exchanged_records_are_found_at_the_first_of_them() {
    let edit = "UPDATE events SET seq = 1000 WHERE seq = 11;
        UPDATE events SET seq = 11 WHERE seq = 12; UPDATE events SET seq = 12 WHERE seq = 1000";
    assert_eq!(found(edit), (at(11, BreakKind::ContentChanged), N - 12));
}

#[test]
fn a_record_doubled_in_the_middle_is_found_where_it_was_put() {
    let edit = "UPDATE events SET seq = -seq WHERE seq > 20;
        UPDATE events SET seq = 1 - seq WHERE seq < 0;
        INSERT INTO events SELECT 21, at_ms, kind, payload, prev, hash FROM events WHERE seq = 20;
        UPDATE head SET seq = seq + 1";
    assert_eq!(found(edit), (at(21, BreakKind::ContentChanged), 0));
}

#[test]
fn a_record_added_behind_the_head_is_found() {
    let edit =
        "INSERT INTO events SELECT 41, at_ms, kind, payload, prev, hash FROM events WHERE seq = 40";
    assert_eq!(found(edit).0, at(41, BreakKind::Surplus { head: 40 }));
}

#[test]
fn a_record_in_front_of_the_first_is_found() {
    for seq in ["0", "-5", "-9223372036854775807"] {
        let edit = format!(
            "INSERT INTO events SELECT {seq}, at_ms, kind, payload, prev, hash FROM events WHERE seq = 1"
        );
        assert_eq!(
            found(&edit),
            (at(0, BreakKind::Surplus { head: N }), N),
            "{seq}"
        );
    }
}

#[test]
fn a_head_that_names_another_hash_is_found() {
    let edit = "UPDATE head SET hash = zeroblob(32)";
    assert_eq!(found(edit).0, at(N, BreakKind::NotTheHead));
}

#[test]
fn columns_that_the_writer_never_writes_are_named() {
    let table = [
        ("hash = zeroblob(31)", "its hash is not a hash"),
        ("prev = x''", "its predecessor is not a hash"),
        ("kind = CAST(x'ff' AS TEXT)", "its kind is not text"),
    ];
    for (column, what) in table {
        let edit = format!("UPDATE events SET {column} WHERE seq = 5");
        let what = what.to_owned();
        assert_eq!(
            found(&edit).0,
            at(5, BreakKind::Malformed { what }),
            "{column}"
        );
    }
}

/// Rewrites record `seq` with other content and a hash that fits, as somebody would who knows the format.
fn forge(dir: &Path, seq: u64, at_ms: i64) {
    let record = Reader::open(dir)
        .unwrap()
        .range(seq - 1, 1)
        .unwrap()
        .remove(0);
    let hash = record_hash(&record.prev_hash, seq, at_ms, b"forged", b"{}");
    let written = shell(dir)
        .execute(
            "UPDATE events SET at_ms = ?1, kind = 'forged', payload = ?2, hash = ?3 WHERE seq = ?4",
            (at_ms, &b"{}"[..], hash.0, seq.cast_signed()),
        )
        .unwrap();
    assert_eq!(written, 1);
}

#[test]
fn a_forged_record_is_given_away_by_the_one_behind_it() {
    let (dir, _) = filled(N);
    let at_ms = Reader::open(dir.path()).unwrap().range(16, 1).unwrap()[0].at_ms;
    forge(dir.path(), 17, at_ms);
    let report = report(dir.path());
    assert_eq!(report.first_break, Some(at(18, BreakKind::DoesNotFollow)));
    assert_eq!(report.breaks, 1);
}

#[test]
fn a_forged_last_record_is_given_away_by_the_head() {
    let (dir, head) = filled(N);
    forge(dir.path(), N, head.at_ms);
    assert_eq!(
        report(dir.path()).first_break,
        Some(at(N, BreakKind::NotTheHead))
    );
}

#[test]
fn time_that_runs_back_is_found_even_if_all_hashes_fit() {
    let (dir, head) = filled(N);
    forge(dir.path(), N, head.at_ms - 5_000);
    let report = report(dir.path());
    assert_eq!(
        report.first_break,
        Some(at(N, BreakKind::TimeRunsBack { back_ms: 4_000 }))
    );
}

#[test]
fn several_breaks_are_counted_and_the_first_is_told() {
    let edit =
        "UPDATE events SET payload = x'00' WHERE seq IN (5, 25); DELETE FROM events WHERE seq = 15";
    let (_dir, report) = tampered(edit);
    assert_eq!(report.first_break, Some(at(5, BreakKind::ContentChanged)));
    assert_eq!(report.breaks, 3);
    assert_eq!(report.consistent_after, N - 5 - 2);
    assert_eq!(report.records, N - 1);
}

#[test]
fn a_walk_from_an_anchor_does_not_look_in_front_of_it() {
    let (dir, head) = filled(N);
    let anchor = Reader::open(dir.path()).unwrap().range(19, 1).unwrap()[0].hash;
    shell(dir.path())
        .execute_batch("UPDATE events SET payload = x'00' WHERE seq = 5")
        .unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    let report = verify(&reader, Some((20, anchor))).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.records, N - 20);
    let wrong = verify(&reader, Some((20, head.hash))).unwrap();
    assert_eq!(wrong.first_break, Some(at(20, BreakKind::DoesNotFollow)));
}

#[test]
fn a_page_of_the_file_overwritten_is_found() {
    let (dir, _) = filled(3_000);
    let path = dir.path().join(curb_journal::JOURNAL_FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    // A page well inside the table of events.
    let page = 4096 * (bytes.len() / 4096 / 2);
    bytes[page..page + 4096].fill(0xa5);
    std::fs::write(&path, &bytes).unwrap();
    let report = report(dir.path());
    assert!(!report.is_sound());
}

#[test]
fn every_single_flipped_bit_in_a_records_bytes_is_found() {
    let (dir, _) = filled(3);
    let conn = shell(dir.path());
    let original: Vec<u8> = conn
        .query_row("SELECT payload FROM events WHERE seq = 2", [], |row| {
            row.get(0)
        })
        .unwrap();
    for bit in 0..original.len() * 8 {
        let mut changed = original.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        conn.execute("UPDATE events SET payload = ?1 WHERE seq = 2", [changed])
            .unwrap();
        let found = report(dir.path()).first_break;
        assert_eq!(found, Some(at(2, BreakKind::ContentChanged)), "bit {bit}");
    }
}
