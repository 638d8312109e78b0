use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use curb_journal::{Filter, Journal, Reader, SideWrite, verify};

use crate::common::{T0, append, dir, event, filled};

fn numbers(records: &[curb_journal::OwnedRecord]) -> Vec<u64> {
    records.iter().map(|record| record.seq).collect()
}

#[test]
fn a_range_begins_after_its_number_and_ends_at_its_limit() {
    let (dir, _) = filled(30);
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(numbers(&reader.range(0, 3).unwrap()), [1, 2, 3]);
    assert_eq!(numbers(&reader.range(28, 10).unwrap()), [29, 30]);
    assert_eq!(numbers(&reader.range(30, 10).unwrap()), [0; 0]);
    assert_eq!(numbers(&reader.range(u64::MAX, 10).unwrap()), [0; 0]);
    assert_eq!(numbers(&reader.range(5, 0).unwrap()), [0; 0]);
}

#[test]
fn records_say_what_was_appended() {
    let (dir, head) = filled(5_000);
    let reader = Reader::open(dir.path()).unwrap();
    let mut n = 0;
    let broke: Option<()> = reader
        .for_each(0, |record| {
            n += 1;
            let expected = event(n);
            assert_eq!((record.seq, record.at_ms), (n, expected.at_ms));
            assert_eq!(
                (record.kind, record.payload),
                (&*expected.kind, &*expected.payload)
            );
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((n, broke), (head.seq, None));
}

#[test]
fn a_walk_ends_where_the_caller_breaks() {
    let (dir, _) = filled(5_000);
    let reader = Reader::open(dir.path()).unwrap();
    let broke = reader
        .for_each(10, |record| {
            if record.seq == 2_000 {
                ControlFlow::Break(record.at_ms)
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
    assert_eq!(broke, Some(event(2_000).at_ms));
}

#[test]
fn a_search_finds_kinds_since_a_time() {
    let (dir, _) = filled(3_000);
    let reader = Reader::open(dir.path()).unwrap();
    let filter = Filter {
        kinds: &["ended"],
        since_ms: Some(event(2_990).at_ms),
    };
    assert_eq!(
        numbers(&reader.search(0, &filter, 100).unwrap()),
        [2_992, 2_995, 2_998]
    );
    assert_eq!(
        numbers(&reader.search(0, &filter, 2).unwrap()),
        [2_992, 2_995]
    );
    assert_eq!(
        numbers(&reader.search(2_992, &filter, 2).unwrap()),
        [2_995, 2_998]
    );
    let several = Filter {
        kinds: &["ended", "queued"],
        since_ms: Some(event(2_995).at_ms),
    };
    assert_eq!(
        numbers(&reader.search(0, &several, 9).unwrap()),
        [2_995, 2_996, 2_998, 2_999]
    );
    let none = Filter {
        kinds: &["no-such-kind"],
        since_ms: None,
    };
    assert_eq!(numbers(&reader.search(0, &none, 9).unwrap()), [0; 0]);
}

#[test]
fn the_last_records_come_oldest_first() {
    let (dir, _) = filled(3_000);
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(
        numbers(&reader.last(&Filter::default(), 3).unwrap()),
        [2_998, 2_999, 3_000]
    );
    let ended = Filter {
        kinds: &["ended"],
        since_ms: None,
    };
    assert_eq!(numbers(&reader.last(&ended, 2).unwrap()), [2_995, 2_998]);
    assert_eq!(reader.last(&ended, 5_000).unwrap().len(), 1_000);
    let recent = Filter {
        since_ms: Some(event(2_999).at_ms),
        ..ended
    };
    assert_eq!(numbers(&reader.last(&recent, 2).unwrap()), [0; 0]);
    assert_eq!(numbers(&reader.last(&ended, 0).unwrap()), [0; 0]);
}

#[test]
fn a_time_is_found_by_halving_also_among_equal_ones() {
    let dir = dir();
    let mut journal = Journal::open(dir.path()).unwrap();
    let times = [T0, T0, T0 + 5, T0 + 5, T0 + 5, T0 + 9];
    for at_ms in times {
        journal
            .append(&[curb_journal::Entry { at_ms, ..event(0) }])
            .unwrap();
    }
    let reader = Reader::open(dir.path()).unwrap();
    let table = [
        (i64::MIN, 0),
        (T0, 0),
        (T0 + 1, 2),
        (T0 + 5, 2),
        (T0 + 6, 5),
        (T0 + 9, 5),
        (T0 + 10, 6),
        (i64::MAX, 6),
    ];
    for (at_ms, last) in table {
        assert_eq!(reader.last_before(at_ms).unwrap(), last, "{at_ms}");
    }
}

#[test]
fn a_reader_without_a_writer_leaves_the_log_as_it_is() {
    let (dir, head) = filled(10);
    let listing = || {
        let mut files: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name(), entry.metadata().unwrap().len()))
            .filter(|(name, _)| !name.to_string_lossy().ends_with("-shm"))
            .filter(|(_, len)| *len > 0)
            .collect();
        files.sort();
        files
    };
    let before = listing();
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(reader.head().unwrap(), head);
    drop(reader);
    assert_eq!(listing(), before);
}

#[test]
fn a_reader_that_stops_in_the_middle_does_not_hold_the_writers_log() {
    let dir = dir();
    let mut journal = Journal::open(dir.path()).unwrap();
    append(&mut journal, 1, 3_000);
    let reader = Reader::open(dir.path()).unwrap();
    let mut visited = 0;
    let _: Option<()> = reader
        .for_each(0, |_| {
            visited += 1;
            if visited == 500 {
                append(&mut journal, 3_001, 7_000);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(visited, 7_000, "the walk goes on to what came meanwhile");
    let stats = journal.stats();
    assert!(
        stats.checkpoints > 1 && stats.checkpoints_deferred == 0,
        "{stats:?}"
    );
}

#[test]
fn concurrent_readers_see_a_growing_sound_prefix_while_the_writer_goes_on() {
    const EVENTS: u64 = 3_000;
    let dir = dir();
    let mut journal = Journal::open(dir.path()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let reader = Reader::open(dir.path()).unwrap();
                    let (mut seen, mut looks) = (0, 0);
                    loop {
                        let last_look = done.load(Ordering::Acquire);
                        let report = verify(&reader, None).unwrap();
                        assert!(report.is_sound(), "{report:?}");
                        assert!(report.head.seq >= seen, "the prefix shrank");
                        seen = report.head.seq;
                        assert_eq!(seen % 3, 0, "half a batch was seen");
                        let (id, key) = (format!("id-{seen}"), format!("key-{seen}"));
                        assert_eq!(reader.id_used(&id).unwrap(), seen > 0);
                        assert_eq!(reader.spec(&key).unwrap().is_some(), seen > 0);
                        looks += 1;
                        if last_look {
                            return (seen, looks);
                        }
                    }
                })
            })
            .collect();
        for n in (1..=EVENTS).step_by(3) {
            let last = event(n + 2)
                .with(SideWrite::claim_id(format!("id-{}", n + 2)))
                .with(SideWrite::put_spec(format!("key-{}", n + 2), &b"body"[..]));
            journal.append(&[event(n), event(n + 1), last]).unwrap();
        }
        done.store(true, Ordering::Release);
        for reader in readers {
            let (seen, looks) = reader.join().unwrap();
            assert_eq!(seen, EVENTS);
            assert!(looks > 1);
        }
    });
}
