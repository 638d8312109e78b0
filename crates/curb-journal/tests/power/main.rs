//! The power goes at random moments, and the disk has lost what was not synced.
//!
//! A layer under SQLite writes down every write, truncation, sync and removal ([`vfs`]). From that, the disk is made again
//! as it may be after the power went between any two of them ([`disk`]). On each such disk the journal must open, its chain
//! must be whole, and what somebody was told is durable must be there; nothing may be there that was never written. Then a
//! next life begins on one of those disks, with what it had lost.
//!
//! The moments come from a seed, which is printed; `CURB_POWER_SEED=N` gives it again.

// Tests say in their output what they did.
#![allow(clippy::print_stdout)]
#![allow(unsafe_code, reason = "a layer under SQLite is functions that C calls")]

mod dice;
mod disk;
mod vfs;

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use curb_journal::writer::{Writer, WriterHandle, WriterOptions};
use curb_journal::{
    Entry, JOURNAL_FILE, Journal, OpenOptions, OwnedEntry, Reader, SideWrite, verify,
};
use dice::Dice;
use disk::{Disk, Files};
use rusqlite::Connection;
use vfs::{Log, Step};

const LIVES: u64 = 8;
/// Moments at which the power goes, of each life.
const CUTS: usize = 50;
/// Batches that a life writes, unless the power goes before.
const BATCHES: u64 = 50;
/// Larger than a part of a snapshot, so that one can be half written.
const SNAPSHOT_BYTES: usize = 300_000;
const FORMAT: u32 = 1;
/// Of so many records, what came with them is looked at, too.
const NEWEST: u64 = 80;
const T0: i64 = 1_760_000_000_000;

fn seed() -> u64 {
    let text = std::env::var("CURB_POWER_SEED");
    let seed = text.map_or(0x5eed, |t| t.parse().expect("a whole number"));
    println!("CURB_POWER_SEED={seed}");
    seed
}

fn options() -> OpenOptions {
    // The log is folded in often, so that the power goes in the middle of it.
    OpenOptions {
        checkpoint_pages: 120,
        ..OpenOptions::default()
    }
}

/// Record `n` as it is written in a life, with a request and an id of its own.
fn entry(life: u64, n: u64) -> OwnedEntry {
    let payload = format!("{{\"life\":{life},\"n\":{n}}}");
    let size = usize::try_from(n * 37 % 900).expect("small");
    let body = payload.bytes().cycle().take(size).collect::<Vec<u8>>();
    Entry::new(T0 + n.cast_signed(), "tick", payload.into_bytes())
        .with(SideWrite::put_spec(format!("spec-{life}-{n}"), body))
        .with(SideWrite::claim_id(format!("id-{life}-{n}")))
}

fn snapshot_body(seq: u64) -> Vec<u8> {
    vec![u8::try_from(seq % 251).expect("a byte"); SNAPSHOT_BYTES]
}

/// Everything that was ever tried to be written, and what was told of it.
#[derive(Default)]
struct History {
    /// By number: the payloads, of different lives.
    tried: HashMap<u64, HashSet<Vec<u8>>>,
    /// Before this life.
    told: u64,
    told_snapshot: u64,
}

impl History {
    /// What has been told before a moment of this life.
    fn told(&self, steps: &[Step]) -> (u64, u64) {
        let (mut told, mut snapshot) = (self.told, self.told_snapshot);
        for step in steps {
            match step {
                Step::Told(seq) => told = told.max(*seq),
                Step::ToldSnapshot(seq) => snapshot = snapshot.max(*seq),
                _ => {}
            }
        }
        (told, snapshot)
    }
}

/// How a life appends: by itself, or by the thread that commits what many submit.
enum Hand {
    Own(Box<Journal>),
    Shared(WriterHandle),
}

impl Hand {
    fn append(&mut self, entries: Vec<OwnedEntry>, log: &Log) {
        match self {
            Hand::Own(journal) => {
                let head = journal.append(&entries).expect("a working disk");
                log.add(Step::Told(head.seq));
            }
            Hand::Shared(writer) => {
                let log = log.clone();
                let told = move |outcome: Result<curb_journal::Head, _>| {
                    log.add(Step::Told(outcome.expect("a working disk").seq));
                };
                writer.submit(entries, told).expect("room");
            }
        }
    }

    fn snapshot(&mut self, log: &Log) {
        let log = log.clone();
        match self {
            Hand::Own(journal) => {
                let head = journal.head();
                let body = snapshot_body(head.seq);
                journal
                    .put_snapshot(head.seq, &head.hash, FORMAT, &body)
                    .expect("a working disk");
                log.add(Step::ToldSnapshot(head.seq));
            }
            Hand::Shared(writer) => {
                let (seq, hash) = (writer.head().seq, writer.head().hash);
                let told = move |outcome: Result<(), _>| {
                    outcome.expect("a working disk");
                    log.add(Step::ToldSnapshot(seq));
                };
                writer
                    .put_snapshot(seq, hash, FORMAT, snapshot_body(seq), told)
                    .expect("room");
            }
        }
    }
}

/// Opens the journal, writes, closes it; gives what was done to the disk.
fn live(life: u64, dir: &Path, history: &mut History, dice: &mut Dice) -> Vec<Step> {
    let log = vfs::record(dir);
    let journal = Journal::open_with(dir, options()).expect("checked before");
    let mut next = journal.head().seq + 1;
    let mut hand = if life.is_multiple_of(2) {
        Hand::Own(Box::new(journal))
    } else {
        Hand::Shared(Writer::spawn(journal, WriterOptions::default()).expect("a thread"))
    };
    for batch in 1..=BATCHES {
        let end = next + 1 + dice.below(8);
        let entries: Vec<_> = (next..end).map(|n| entry(life, n)).collect();
        for (n, entry) in (next..end).zip(&entries) {
            let tried = history.tried.entry(n).or_default();
            tried.insert(entry.payload.to_vec());
        }
        hand.append(entries, &log);
        next = end;
        if batch.is_multiple_of(16) {
            hand.snapshot(&log);
        }
    }
    if let Hand::Shared(writer) = &hand {
        writer.close();
    }
    drop(hand);
    log.take()
}

fn fill(dir: &Path, files: &Files, dice: &mut Dice) {
    for (name, bytes) in files {
        std::fs::write(dir.join(name), bytes).expect("written");
    }
    // The index of the log is memory: what a crash leaves of it is worth nothing, and must be believed by nobody.
    if dice.below(3) == 0 {
        std::fs::write(dir.join("journal.sqlite-shm"), [0x5a; 32_768]).expect("written");
    }
}

/// What one disk is after the power went: as it should be, or what is wrong.
fn judge(dir: &Path, history: &History, told: (u64, u64)) -> Result<u64, String> {
    let journal =
        Journal::open_with(dir, options()).map_err(|e| format!("it does not open: {e:?}"))?;
    let head = journal.head().seq;
    if head < told.0 {
        return Err(format!("record {} was told, the head is {head}", told.0));
    }
    let reader = Reader::open(dir).map_err(|e| format!("it cannot be read: {e:?}"))?;
    let report = verify(&reader, None).map_err(|e| e.to_string())?;
    if !report.is_sound() {
        return Err(format!("the chain is broken: {:?}", report.first_break));
    }
    let wrong = reader.for_each(0, |record| {
        let tried = history.tried.get(&record.seq);
        if !tried.is_some_and(|t| t.contains(record.payload)) {
            return ControlFlow::Break(format!("nobody wrote record {}", record.seq));
        }
        if record.seq + NEWEST < head {
            return ControlFlow::Continue(());
        }
        match beside(&journal, record.payload, record.seq) {
            Ok(()) => ControlFlow::Continue(()),
            Err(wrong) => ControlFlow::Break(wrong),
        }
    });
    if let Some(wrong) = wrong.map_err(|e| e.to_string())? {
        return Err(wrong);
    }
    snapshots(&journal, told.1)?;
    Ok(head)
}

/// The request and the id that came with a record are there.
fn beside(journal: &Journal, payload: &[u8], seq: u64) -> Result<(), String> {
    let value: serde_json::Value = serde_json::from_slice(payload).expect("as it was written");
    let life = value["life"].as_u64().expect("as it was written");
    let wanted = entry(life, seq);
    let SideWrite::PutSpec { key, body } = &wanted.side[0] else {
        unreachable!("as it was written")
    };
    let spec = journal.spec(key).map_err(|e| e.to_string())?;
    let by = journal.claimed_by(&format!("id-{life}-{seq}"));
    if spec.as_deref() != Some(&**body) || by.map_err(|e| e.to_string())? != Some(seq) {
        return Err(format!("what came with record {seq} is not there"));
    }
    Ok(())
}

/// The newest snapshot is whole and no older than what was told.
fn snapshots(journal: &Journal, told: u64) -> Result<(), String> {
    let loaded = journal.load_snapshot(FORMAT).map_err(|e| e.to_string())?;
    if !loaded.skipped.is_empty() {
        return Err(format!("a snapshot is damaged: {:?}", loaded.skipped));
    }
    let Some(found) = loaded.snapshot else {
        return match told {
            0 => Ok(()),
            _ => Err(format!("the snapshot of {told} was told and is gone")),
        };
    };
    if found.seq < told || found.body != snapshot_body(found.seq) {
        return Err(format!(
            "the snapshot of {told} was told and {} is there",
            found.seq
        ));
    }
    Ok(())
}

/// Moments of a life, in order: some of them while it began, the last one in the middle of it.
fn moments(steps: &[Step], dice: &mut Dice) -> Vec<usize> {
    let first = steps.iter().position(|s| matches!(s, Step::Told(_)));
    let first = first.unwrap_or(steps.len()).max(1);
    let mut all: Vec<usize> = (0..CUTS)
        .map(|n| dice.index(if n % 5 == 0 { first } else { steps.len() + 1 }))
        .collect();
    all.sort_unstable();
    all
}

#[test]
fn whatever_a_power_cut_leaves_of_the_disk_what_was_told_is_there_and_nothing_else() {
    let mut dice = Dice(seed());
    let begun = Instant::now();
    let (mut files, mut history) = (Files::new(), History::default());
    let (mut cuts, mut lost, mut folded, mut steps_all) = (0, 0, 0, 0);
    for life in 0..LIVES {
        let home = tempfile::tempdir().expect("a directory");
        fill(home.path(), &files, &mut dice);
        let steps = live(life, home.path(), &mut history, &mut dice);
        let base = |s: &&Step| matches!(s, Step::Write(name, ..) if name == JOURNAL_FILE);
        folded += steps.iter().filter(base).count();
        steps_all += steps.len();
        let moments = moments(&steps, &mut dice);
        let goes_on = dice.index(moments.len());
        let (mut disk, mut at, mut next) = (Disk::with(&files), 0, None);
        for (n, moment) in moments.into_iter().enumerate() {
            steps[at..moment].iter().for_each(|step| disk.take(step));
            at = moment;
            let left = disk.cut(&mut dice);
            let dir = tempfile::tempdir().expect("a directory");
            fill(dir.path(), &left, &mut dice);
            let told = history.told(&steps[..at]);
            let head = judge(dir.path(), &history, told).unwrap_or_else(|wrong| {
                panic!(
                    "life {life}, the power went after step {at} of {}: {wrong}",
                    steps.len()
                )
            });
            cuts += 1;
            let tried = steps[at..]
                .iter()
                .any(|s| matches!(s, Step::Told(seq) if *seq > head));
            lost += usize::from(tried);
            if n == goes_on {
                next = Some((left, told));
            }
        }
        let told;
        (files, told) = next.expect("one of them");
        (history.told, history.told_snapshot) = told;
    }
    println!(
        "{cuts} cuts of {LIVES} lives in {:?}: {steps_all} steps, {folded} writes into the database, {lost} lost what was on \
         its way, {} records, {} told",
        begun.elapsed(),
        history.tried.len(),
        history.told,
    );
    assert!(folded > 500 && lost > 100, "too little happened");
    assert!(
        history.told > 50 && history.told_snapshot > 0,
        "too little was told"
    );
}

/// Rows of a plain database with a log, each told when it is committed, and what cuts leave of them: how many lost a row
/// that was told, and how many left a database that is broken.
fn plain(synchronous: &str) -> (usize, usize) {
    let dir = tempfile::tempdir().expect("a directory");
    let log = vfs::record(dir.path());
    let open = |dir: &Path| Connection::open(dir.join(JOURNAL_FILE));
    let conn = open(dir.path()).expect("a database");
    let settings = format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA wal_autocheckpoint = 0;
         CREATE TABLE rows (n INTEGER PRIMARY KEY, body BLOB NOT NULL);"
    );
    conn.execute_batch(&settings).expect("a table");
    for n in 1..=60u32 {
        conn.execute("INSERT INTO rows VALUES (?1, zeroblob(1500))", [n])
            .expect("a row");
        log.add(Step::Told(n.into()));
        if n % 10 == 0 {
            conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
                .expect("a checkpoint");
        }
    }
    let steps = log.take();
    let (mut disk, mut dice) = (Disk::default(), Dice(11));
    let (mut lost, mut broken, mut told) = (0, 0, 0);
    for step in &steps {
        disk.take(step);
        if let Step::Told(n) = step {
            told = *n;
        } else if dice.below(4) > 0 || told == 0 {
            continue;
        }
        let left = tempfile::tempdir().expect("a directory");
        fill(left.path(), &disk.cut(&mut dice), &mut dice);
        let conn = open(left.path()).expect("a file");
        let sound = conn.query_row("PRAGMA integrity_check", [], |r| r.get::<_, String>(0));
        if sound.as_deref() != Ok("ok") {
            broken += 1;
            continue;
        }
        let count = conn.query_row("SELECT count(*) FROM rows", [], |r| r.get::<_, i64>(0));
        // The table itself may be lost.
        lost += usize::from(count.unwrap_or(0).cast_unsigned() < told);
    }
    (lost, broken)
}

#[test]
fn the_disk_is_as_bad_as_it_should_be_only_full_syncs_withstand_it() {
    assert_eq!(plain("FULL"), (0, 0));
    let (lost, broken) = plain("NORMAL");
    assert!(lost > 20 && broken == 0, "{lost} lost, {broken} broken");
    let (lost, broken) = plain("OFF");
    assert!(lost > 20 && broken > 5, "{lost} lost, {broken} broken");
}
