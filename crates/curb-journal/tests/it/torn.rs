//! Power fails in the middle of a write: the log ends anywhere, or in garbage.

use std::fs;
use std::path::Path;

use curb_journal::{JOURNAL_FILE, Journal, OpenOptions};

use crate::common::{TempDir, dir, event, report};

const LOG: &str = "journal.sqlite-wal";

/// What the disk held after some appends: the files, and after each append how long the log was and which
/// record was acknowledged.
struct Disk {
    database: Vec<u8>,
    log: Vec<u8>,
    acknowledged: Vec<(usize, u64)>,
}

fn written() -> Disk {
    let dir = dir();
    // No folding in: everything stays in the log.
    let options = OpenOptions {
        checkpoint_pages: u32::MAX,
        ..OpenOptions::default()
    };
    let mut journal = Journal::open_with(dir.path(), options).unwrap();
    let mut acknowledged = Vec::new();
    for n in (1..=60).step_by(2) {
        let head = journal.append(&[event(n), event(n + 1)]).unwrap();
        let log = fs::read(dir.path().join(LOG)).unwrap();
        acknowledged.push((used(&log), head.seq));
    }
    // Copied while it is open: closing would fold the log in.
    let read = |name| fs::read(dir.path().join(name)).unwrap();
    Disk {
        database: read(JOURNAL_FILE),
        log: read(LOG),
        acknowledged,
    }
}

/// How much of the log is in use: a log that starts over overwrites the old one, whose frames bear other
/// salts. (Form of the file: https://www.sqlite.org/fileformat2.html#walformat)
fn used(log: &[u8]) -> usize {
    const HEADER: usize = 32;
    const FRAME: usize = 24 + 4096;
    let salts = &log[16..24];
    let frames = log[HEADER..]
        .chunks_exact(FRAME)
        .take_while(|frame| &frame[8..16] == salts);
    HEADER + FRAME * frames.count()
}

fn after_power_loss(database: &[u8], log: &[u8]) -> TempDir {
    let dir = dir();
    fs::write(dir.path().join(JOURNAL_FILE), database).unwrap();
    fs::write(dir.path().join(LOG), log).unwrap();
    dir
}

/// Opens, verifies and goes on; gives back the newest record found.
fn recovered(dir: &Path) -> u64 {
    let mut journal = Journal::open(dir).unwrap();
    let seq = journal.head().seq;
    let found = report(dir);
    assert!(found.is_sound(), "{found:?}");
    assert_eq!(journal.append(&[event(1_000)]).unwrap().seq, seq + 1);
    seq
}

#[test]
fn a_log_torn_at_any_point_loses_nothing_that_was_acknowledged_before_it() {
    let disk = written();
    let len = used(&disk.log);
    // Every boundary and its neighbours, and a prime step in between.
    let mut cuts: Vec<_> = (0..len).step_by(2_503).collect();
    cuts.extend(
        disk.acknowledged
            .iter()
            .flat_map(|(at, _)| [at - 1, *at, (at + 1).min(len)]),
    );
    for cut in cuts {
        let dir = after_power_loss(&disk.database, &disk.log[..cut]);
        let seq = recovered(dir.path());
        let acknowledged = disk.acknowledged.iter().rev().find(|(at, _)| *at <= cut);
        let expected = acknowledged.map_or(0, |(_, seq)| *seq);
        assert_eq!(seq, expected, "cut at {cut} of {len}");
    }
}

#[test]
fn garbage_behind_a_torn_point_is_not_believed() {
    let disk = written();
    for (at, seq) in disk.acknowledged.iter().step_by(3) {
        for filler in [0x00, 0xff, 0x5a] {
            let mut log = disk.log.clone();
            log[*at..].fill(filler);
            let dir = after_power_loss(&disk.database, &log);
            assert_eq!(recovered(dir.path()), *seq, "garbage from {at}");
        }
    }
}

#[test]
fn a_sector_that_never_reached_the_disk_ends_the_log_there() {
    let disk = written();
    for (at, seq) in disk.acknowledged.iter().step_by(3) {
        let mut log = disk.log.clone();
        // The sector behind this point is as it was before; everything later did arrive.
        let end = (at + 512).min(log.len());
        log[*at..end].fill(0);
        let dir = after_power_loss(&disk.database, &log);
        assert_eq!(recovered(dir.path()), *seq, "sector lost at {at}");
    }
}

#[test]
fn opening_copies_what_an_earlier_process_left_in_the_log_into_the_database() {
    let disk = written();
    let dir = after_power_loss(&disk.database, &disk.log);
    let opened = Journal::open(dir.path()).unwrap();
    // The database alone, as if the log's own pages had never reached the disk.
    let database = fs::read(dir.path().join(JOURNAL_FILE)).unwrap();
    let alone = after_power_loss(&database, &[]);
    assert_eq!(recovered(alone.path()), opened.head().seq);
    assert_eq!(opened.head().seq, 60);
}
