//! How long a journal of a million events takes to verify and to recover, from its beginning and from a snapshot; and what
//! a server with 50,000 waiting jobs takes of memory.
//!
//! `cargo bench -p curb-server --bench recover`

#![expect(clippy::print_stdout, reason = "a benchmark's figures are its output")]

use std::path::Path;
use std::time::Instant;

use curb_core::ledger::{Event, NewJob, Outcome, Recorded, SNAPSHOT_FORMAT, State};
use curb_core::policy::Policy;
use curb_core::resource::{Resource, Resources};
use curb_core::subject::{JobId, Subject};
use curb_core::time::{Millis, Timestamp};
use curb_journal::{Entry, Journal, Reader, verify};

const EVENTS: u64 = 1_000_000;
const WAITING: u64 = 50_000;
const USERS: u64 = 1_000;
const POLICY: &str = "version: 1\ncapacity: {cpu: 100}\nquotas:\n  - {name: each-user, for: {user: \"*\"}, limits: {cpu: 4, jobs: 100000}}\n  - {name: all, limits: {cpu: 1000000}}\n";

fn job(n: u64) -> Box<NewJob> {
    let request: Resources = [(Resource::Cpu, curb_core::amount::Amount::whole(1 + n % 2))]
        .into_iter()
        .collect();
    Box::new(NewJob {
        id: JobId::parse(&format!("raysubmit_{n:016}")).expect("a valid id"),
        subject: Subject {
            user: format!("user{}", n % USERS),
            job_type: Some("training".into()),
            ..Subject::default()
        },
        cluster: "main".into(),
        request,
        duration: Some(Millis::HOUR),
        priority: 0,
        spec: format!("{n:064x}"),
        stamp: format!("{n:032x}"),
        key: None,
    })
}

/// The events that begin every journal here.
fn beginning() -> Vec<Event> {
    let policy = Policy::parse("bench.yaml", POLICY)
        .expect("a policy")
        .policy;
    vec![
        Event::PolicyApplied {
            version: 1,
            sha256: "0".repeat(64),
            policy: Box::new(policy),
            by: "bench".into(),
        },
        Event::ClusterObserved {
            cluster: "main".into(),
            session: "session".into(),
            capacity: Some(
                [(Resource::Cpu, curb_core::amount::Amount::whole(100))]
                    .into_iter()
                    .collect(),
            ),
        },
    ]
}

/// Three events a job: admitted, confirmed, ended.
fn lives() -> impl Iterator<Item = Event> {
    (0..).flat_map(|n| {
        let new = job(n);
        let id = new.id.clone();
        [
            Event::Admitted {
                job: new,
                borrowed: false,
                lent_by: Vec::new(),
                shadow: Vec::new(),
            },
            Event::Confirmed {
                id: id.clone(),
                attempt: 1,
                session: "session".into(),
            },
            Event::Ended {
                id,
                outcome: Outcome::Succeeded,
                message: "Job finished successfully.".into(),
                exit_code: Some(0),
                ran: None,
            },
        ]
    })
}

/// Writes events and folds them; gives the state at the end.
fn fill(dir: &Path, events: impl Iterator<Item = Event>) -> (Journal, State) {
    let mut journal = Journal::open(dir).expect("a journal");
    let (mut state, mut batch) = (State::new(), Vec::new());
    let at = 1_795_000_000_000;
    for event in events {
        let payload = serde_json::to_vec(&event).expect("JSON");
        batch.push(Entry::new(at, event.kind(), payload));
        let seq = state.seq() + 1;
        state.apply(&Recorded {
            seq,
            at: Timestamp(at),
            event,
        });
        if batch.len() == 1000 {
            journal.append(&batch).expect("appended");
            batch.clear();
        }
    }
    journal.append(&batch).expect("appended");
    (journal, state)
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib / 1024.0)
}

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> (T, f64) {
    let begun = Instant::now();
    let out = run();
    let seconds = begun.elapsed().as_secs_f64();
    println!("{what:<64} {seconds:>8.2} s");
    (out, seconds)
}

/// Says beside a figure whether it is what it should be.
fn aim(what: &str, met: bool) {
    let verdict = if met { "met" } else { "NOT MET" };
    println!("    aim {what}: {verdict}");
}

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let events = beginning().into_iter().chain(lives()).take(EVENTS as usize);
    let ((mut journal, state), _) = timed("1,000,000 events written and folded", || {
        fill(dir.path(), events)
    });
    let reader = Reader::open(dir.path()).expect("a reader");
    let (report, verifying) = timed("verified", || verify(&reader, None).expect("read"));
    assert_eq!((report.records, report.first_break), (EVENTS, None));
    let (loaded, recovering) = timed(
        "recovered from the beginning (chain checked, folded)",
        || curb_server::load(dir.path()).expect("recovered"),
    );
    let both = verifying + recovering;
    println!("{:<64} {both:>8.2} s", "verified and recovered");
    aim("10 s", both < 10.0);
    assert_eq!(loaded.replayed, EVENTS);
    assert_eq!(loaded.state.snapshot(), state.snapshot(), "to the byte");
    let head = journal.head();
    journal
        .put_snapshot(head.seq, &head.hash, SNAPSHOT_FORMAT, &state.snapshot())
        .expect("a snapshot");
    let (loaded, seconds) = timed("recovered from a snapshot", || {
        curb_server::load(dir.path()).expect("recovered")
    });
    aim("1 s", seconds < 1.0);
    assert_eq!((loaded.from_snapshot, loaded.replayed), (EVENTS, 0));
    drop((journal, loaded, state, reader));

    let before = resident_mib();
    let waiting = (0..WAITING).map(|n| Event::Queued {
        job: job(n),
        code: "capacity".into(),
        shadow: Vec::new(),
    });
    let dir = tempfile::tempdir().expect("a directory");
    let (_journal, state) = fill(dir.path(), beginning().into_iter().chain(waiting));
    println!(
        "{:<64} {:>8.0} MiB",
        format!(
            "{} waiting jobs of {USERS} users in memory",
            state.queued_count()
        ),
        resident_mib() - before
    );
}
