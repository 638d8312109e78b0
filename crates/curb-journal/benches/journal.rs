//! How fast the journal is: `cargo bench -p curb-journal --bench journal`, or only what has a word in its
//! name: `… --bench journal -- admissions`.
//!
//! Plain timing, medians of several runs. Events have payloads of about 300 bytes. The journal lives in
//! `CURB_BENCH_DIR` or the system's temporary directory: what a commit costs is what that disk's sync costs,
//! so the cost of a bare write and sync of 4 KiB is printed beside it. `CURB_BENCH_EVENTS` (default
//! 1,000,000) is the size of the journal that is verified.

#![allow(clippy::print_stdout, clippy::cast_precision_loss)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // of figures that are printed

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use curb_journal::writer::{Writer, WriterHandle, WriterOptions};
use curb_journal::{Entry, Journal, OpenOptions, OwnedEntry, Reader, SideWrite, export, verify};

const RUNS: usize = 5;

fn event(n: u64) -> OwnedEntry {
    let payload = format!("{{\"n\":{n:>8},\"text\":\"{}\"}}", "x".repeat(270));
    Entry::new(n.cast_signed(), "granted", payload.into_bytes())
}

/// An admission as the server writes one: the event, the request beside it, the id.
fn admission(n: u64) -> OwnedEntry {
    event(n)
        .with(SideWrite::put_spec(
            format!("job-{n:016x}"),
            vec![b'{'; 600],
        ))
        .with(SideWrite::claim_id(format!(
            "raysubmit_{:016x}",
            n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        )))
}

fn temp() -> tempfile::TempDir {
    match std::env::var_os("CURB_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    }
    .expect("a temporary directory")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs it several times; prints the median of what it gives, and all of them.
fn several(name: &str, unit: &str, mut run: impl FnMut() -> f64) {
    if !is_wanted(name) {
        return;
    }
    let values: Vec<f64> = (0..RUNS).map(|_| run()).collect();
    let all: Vec<String> = values.iter().map(|value| format!("{value:.0}")).collect();
    println!(
        "{name:<58} {:>10.0} {unit:<7} [{}]",
        median(values.clone()),
        all.join(" ")
    );
}

/// Whether the command line names a part of this name, or nothing at all. (Cargo adds options of its own.)
fn is_wanted(name: &str) -> bool {
    let mut words = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .peekable();
    words.peek().is_none() || words.any(|word| name.contains(&word))
}

fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

fn bare_sync() -> f64 {
    let dir = temp();
    let mut file = std::fs::File::create(dir.path().join("file")).expect("a file");
    let started = Instant::now();
    for _ in 0..200 {
        file.write_all(&[7; 4096])
            .and_then(|()| file.sync_data())
            .expect("a working disk");
    }
    per_second(200, started.elapsed())
}

fn append(batch: u64, commits: u64, make: fn(u64) -> OwnedEntry) -> f64 {
    let dir = temp();
    let mut journal = Journal::open(dir.path()).expect("a journal");
    let batches: Vec<Vec<_>> = (0..commits)
        .map(|c| (c * batch..(c + 1) * batch).map(make).collect())
        .collect();
    let started = Instant::now();
    for batch in &batches {
        journal.append(batch).expect("a working disk");
    }
    per_second(batch * commits, started.elapsed())
}

/// `waiting` submissions are always under way; each is answered before its successor comes.
fn group_commit(waiting: usize, total: u64, checkpoint_pages: u32) -> f64 {
    let dir = temp();
    let options = OpenOptions {
        checkpoint_pages,
        ..OpenOptions::default()
    };
    let journal = Journal::open_with(dir.path(), options).expect("a journal");
    let writer = Writer::spawn(journal, WriterOptions::default()).expect("a thread");
    let next = AtomicU64::new(0);
    let started = Instant::now();
    let mut micros: Vec<u128> = std::thread::scope(|scope| {
        let submitters: Vec<_> = (0..waiting)
            .map(|_| scope.spawn(|| submit_until(&writer, &next, total)))
            .collect();
        submitters
            .into_iter()
            .flat_map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    let elapsed = started.elapsed();
    micros.sort_unstable();
    let at = |share: f64| micros[((micros.len() - 1) as f64 * share) as usize];
    let metrics = writer.metrics();
    println!(
        "    answered in {} us at the median, {} us at 99 %, {} us at 99.9 %, {} us at most; {} rows a commit of \
         {} us; {} checkpoints, the last took {} us",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        metrics.rows / metrics.commits.max(1),
        metrics.commit_micros / metrics.commits.max(1),
        metrics.checkpoints,
        metrics.last_checkpoint_micros,
    );
    writer.close();
    per_second(total, elapsed)
}

fn submit_until(writer: &WriterHandle, next: &AtomicU64, total: u64) -> Vec<u128> {
    let mut micros = Vec::new();
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= total {
            return micros;
        }
        // All at one time: the order among the threads is not known.
        let entry = OwnedEntry {
            at_ms: 0,
            ..admission(n)
        };
        let started = Instant::now();
        writer.submit_and_wait(vec![entry]).expect("a working disk");
        micros.push(started.elapsed().as_micros());
    }
}

fn fill(dir: &Path, events: u64) -> Duration {
    let mut journal = Journal::open(dir).expect("a journal");
    let started = Instant::now();
    for from in (0..events).step_by(4096) {
        let batch: Vec<_> = (from..events.min(from + 4096)).map(event).collect();
        journal.append(&batch).expect("a working disk");
    }
    started.elapsed()
}

fn large_journal(events: u64) {
    let dir = temp();
    let filled = fill(dir.path(), events);
    println!(
        "{:<58} {:>10.2} s",
        format!("fill {events} events, 4096 a commit"),
        filled.as_secs_f64()
    );
    let reader = Reader::open(dir.path()).expect("a journal");
    several(&format!("verify {events} events"), "ms", || {
        let started = Instant::now();
        let report = verify(&reader, None).expect("a readable journal");
        assert!(report.is_sound() && report.records == events);
        started.elapsed().as_secs_f64() * 1e3
    });
    several(&format!("read {events} events"), "ms", || {
        let (started, mut bytes) = (Instant::now(), 0);
        let _: Option<()> = reader
            .for_each(0, |record| {
                bytes += record.payload.len();
                std::ops::ControlFlow::Continue(())
            })
            .expect("a readable journal");
        assert!(bytes > 0);
        started.elapsed().as_secs_f64() * 1e3
    });
    several(&format!("export {events} events"), "ms", || {
        let started = Instant::now();
        export(&reader, 0, std::io::sink()).expect("a readable journal");
        started.elapsed().as_secs_f64() * 1e3
    });
    drop(reader);
    let body: Vec<u8> = (0..32_u32 << 20).map(|n| (n % 251) as u8).collect();
    several(
        &format!("write a snapshot of 32 MiB beside {events} events"),
        "ms",
        || {
            let mut journal = Journal::open(dir.path()).expect("a journal");
            let head = journal.head();
            let started = Instant::now();
            journal
                .put_snapshot(head.seq, &head.hash, 1, &body)
                .expect("a working disk");
            started.elapsed().as_secs_f64() * 1e3
        },
    );
    several(
        "open that journal and load the snapshot of 32 MiB",
        "ms",
        || {
            let started = Instant::now();
            let journal = Journal::open(dir.path()).expect("a journal");
            let loaded = journal.load_snapshot(1).expect("a readable journal");
            assert!(
                loaded
                    .snapshot
                    .is_some_and(|snapshot| snapshot.body.len() == body.len())
            );
            started.elapsed().as_secs_f64() * 1e3
        },
    );
}

fn main() {
    several("bare write + fdatasync of 4 KiB", "/s", bare_sync);
    several("append, 1 event a commit", "rows/s", || {
        append(1, 300, event)
    });
    several("append, 64 events a commit", "rows/s", || {
        append(64, 300, event)
    });
    several("append, 256 events a commit", "rows/s", || {
        append(256, 200, event)
    });
    several(
        "append, 64 admissions (event, spec, id) a commit",
        "rows/s",
        || append(64, 300, admission),
    );
    several("append, 256 admissions a commit", "rows/s", || {
        append(256, 200, admission)
    });
    let usual = OpenOptions::default().checkpoint_pages;
    several("group commit, 1 submitter, admissions", "rows/s", || {
        group_commit(1, 300, usual)
    });
    several("group commit, 64 submitters, admissions", "rows/s", || {
        group_commit(64, 40_000, usual)
    });
    for pages in [250, 4_000, 16_000] {
        let name = format!("group commit, 64, checkpoint after {pages} pages");
        several(&name, "rows/s", || group_commit(64, 40_000, pages));
    }
    let events = std::env::var("CURB_BENCH_EVENTS")
        .ok()
        .and_then(|text| text.parse().ok());
    if is_wanted("large journal: verify, read, export, snapshot") {
        large_journal(events.unwrap_or(1_000_000));
    }
}
