//! A process that appends is killed at random moments. What it acknowledged must be there.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use curb_journal::writer::{Writer, WriterOptions};
use curb_journal::{Entry, Hash, Journal, OpenOptions, OwnedEntry, Reader, SideWrite, verify};

use crate::common::{T0, dir};

const CHILD: &str = "CURB_JOURNAL_TEST_KILL";
const KILLS: u64 = 200;
const TIME: Duration = Duration::from_secs(40);

/// An entry with a spec and a claimed id, whose payload carries the hash of the spec.
fn linked(n: u64) -> OwnedEntry {
    let body = format!("body of {n};")
        .into_bytes()
        .repeat(usize::try_from(n % 50).unwrap());
    let payload = format!("{{\"n\":{n},\"spec\":\"{}\"}}", Hash::of(&body));
    Entry::new(T0 + n.cast_signed(), "linked", payload.into_bytes())
        .with(SideWrite::put_spec(format!("key-{n}"), body))
        .with(SideWrite::claim_id(format!("id-{n}")))
}

/// Appends for ever and says so on stdout: "ack SEQ HASH" after each batch is durable.
fn append_for_ever(data: &Path) -> ! {
    // Small, so that kills hit checkpoints often.
    let options = OpenOptions {
        checkpoint_pages: 60,
        ..OpenOptions::default()
    };
    let journal = Journal::open_with(data, options).unwrap();
    let mut next = journal.head().seq + 1;
    let writer = Writer::spawn(
        journal,
        WriterOptions {
            commit_rows: 40,
            ..WriterOptions::default()
        },
    )
    .unwrap();
    loop {
        let batch = 1 + next % 5;
        let entries = (next..next + batch).map(linked).collect();
        let say = |outcome: Result<curb_journal::Head, _>| {
            let head = outcome.unwrap();
            let mut out = std::io::stdout().lock();
            writeln!(out, "ack {} {}", head.seq, head.hash).unwrap();
            out.flush().unwrap();
        };
        match writer.submit(entries, say) {
            Ok(()) => next += batch,
            Err(_) => std::thread::sleep(Duration::from_micros(200)),
        }
        if next % 97 < batch {
            let head = writer.head();
            let body = vec![b's'; 300_000];
            writer
                .put_snapshot(head.seq, head.hash, 1, body, |_| ())
                .unwrap();
        }
        while writer.metrics().queued_rows > 100 {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Killed also when the test fails.
struct Appender(Child);

impl Appender {
    fn start(data: &Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "kill::sigkill_at_random_moments_loses_nothing_acknowledged",
                "--nocapture",
            ])
            .env(CHILD, data)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Kills it after `delay` and gives back what it had acknowledged.
    fn kill_after(mut self, delay: Duration) -> Vec<(u64, Hash)> {
        let stdout = self.0.stdout.take().unwrap();
        let lines = std::thread::spawn(move || {
            BufReader::new(stdout)
                .lines()
                .map_while(Result::ok)
                .filter_map(|line| ack(&line))
                .collect()
        });
        std::thread::sleep(delay);
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        lines.join().unwrap()
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads a whole line; one cut off by the kill does not count.
fn ack(line: &str) -> Option<(u64, Hash)> {
    let (seq, hash) = line.strip_prefix("ack ")?.split_once(' ')?;
    Some((seq.parse().ok()?, Hash::from_hex(hash)?))
}

#[test]
fn sigkill_at_random_moments_loses_nothing_acknowledged() {
    if let Some(data) = std::env::var_os(CHILD) {
        append_for_ever(data.as_ref());
    }
    let dir = dir();
    let data = dir.path().join("data");
    let mut anchor = (0, Hash::genesis());
    let (mut kills, mut acks, mut unacknowledged) = (0, 0, 0);
    let started = Instant::now();
    // Spread over starting, appending and checkpointing without a random number: a full-period sequence.
    while kills < KILLS && started.elapsed() < TIME {
        let delay = Duration::from_micros(1_000 + (kills * 7_919) % 90_000);
        let acknowledged = Appender::start(&data).kill_after(delay);
        kills += 1;
        if acknowledged.is_empty() && !data.join(curb_journal::JOURNAL_FILE).exists() {
            continue;
        }
        // The writer's way back first: it must open whatever the kill left.
        let head = Journal::open(&data).unwrap().head();
        let reader = Reader::open(&data).unwrap();
        for (seq, hash) in &acknowledged {
            assert!(
                reader.contains(*seq, hash).unwrap(),
                "kill {kills}: {seq} was acknowledged and is lost"
            );
        }
        let report = verify(&reader, Some(anchor)).unwrap();
        assert!(report.is_sound(), "kill {kills}: {:?}", report.first_break);
        check_side(&reader, anchor.0);
        acks += acknowledged.len();
        unacknowledged += u64::from(acknowledged.last().is_some_and(|(seq, _)| *seq < head.seq));
        anchor = (head.seq, head.hash);
    }
    let reader = Reader::open(&data).unwrap();
    let report = verify(&reader, None).unwrap();
    assert!(report.is_sound(), "{report:?}");
    println!(
        "{kills} kills in {:.1} s, {acks} acknowledgements, {} records, {unacknowledged} kills between \
         commit and acknowledgement",
        started.elapsed().as_secs_f64(),
        report.records
    );
    assert!(kills >= KILLS, "only {kills} kills in {TIME:?}");
    assert!(
        acks > 500,
        "too few acknowledgements to mean anything: {acks}"
    );
}

/// Every record after `seq` has its spec, and that is the one it names, and its id. No more than that.
fn check_side(reader: &Reader, seq: u64) {
    let mut last = seq;
    for record in reader.range(seq, curb_journal::MAX_RANGE).unwrap() {
        let expected = linked(record.seq);
        assert_eq!(record.payload, &*expected.payload);
        let SideWrite::PutSpec { body, .. } = &expected.side[0] else {
            unreachable!()
        };
        let spec = reader.spec(&format!("key-{}", record.seq)).unwrap();
        assert_eq!(spec.as_deref(), Some(&**body), "record {}", record.seq);
        assert_eq!(
            reader.claimed_by(&format!("id-{}", record.seq)).unwrap(),
            Some(record.seq)
        );
        last = record.seq;
    }
    assert!(
        !reader.id_used(&format!("id-{}", last + 1)).unwrap(),
        "an id of no record"
    );
    assert!(
        reader.spec(&format!("key-{}", last + 1)).unwrap().is_none(),
        "a spec of no record"
    );
}
