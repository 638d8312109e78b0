//! How long a question about use takes: `cargo bench -p curb-usage`. A journal of `CURB_BENCH_EVENTS` events (default 1,000,000:
//! a third of that many jobs, of 1,000 users in 50 teams, over 30 days; each was looked at) is read into the table once, then
//! summed up. Plain timing, medians of seven runs.

#![allow(clippy::print_stdout)]

use std::time::Instant;

use curb_core::amount::Amount;
use curb_core::ledger::{Event, NewJob, Outcome};
use curb_core::resource::{Resource, Resources};
use curb_core::subject::{JobId, Subject};
use curb_core::time::{Millis, Timestamp};
use curb_core::usage::By;
use curb_journal::{Entry, Journal, OwnedEntry, Reader};
use curb_usage::{Books, Query};

const DAYS_30: u64 = 30 * 86_400_000;
const RUNS: usize = 7;

fn events(n: u64, jobs: u64) -> [Event; 3] {
    let id = JobId::parse(&format!("job-{n:08}")).expect("an id");
    let (user, team) = (n % 1000, n % 50);
    let mut request = Resources::none();
    request.set(Resource::Cpu, Amount(1000 * (1 + n % 8)));
    request.set(Resource::Memory, Amount((1 + n % 4) << 30));
    let job = NewJob {
        id: id.clone(),
        subject: Subject {
            user: format!("user-{user}"),
            team: Some(format!("team-{team}")),
            orgs: vec![format!("unit-{}", team % 5), "acme".into()],
            ..Subject::default()
        },
        cluster: "main".into(),
        request,
        duration: None,
        priority: 0,
        spec: "0".repeat(64),
        stamp: "0".repeat(16),
        key: None,
    };
    let admitted = Event::Admitted {
        job: Box::new(job),
        borrowed: false,
        lent_by: Vec::new(),
        shadow: Vec::new(),
    };
    let span = DAYS_30 / jobs;
    let metered = Event::Metered {
        id: id.clone(),
        attempt: 1,
        held: [(Resource::Cpu, u128::from(900 * span))].into(),
        watched: Millis(span),
    };
    let ended = Event::Ended {
        id,
        outcome: Outcome::Succeeded,
        message: String::new(),
        exit_code: Some(0),
        ran: None,
    };
    [admitted, metered, ended]
}

fn main() {
    let all: u64 = std::env::var("CURB_BENCH_EVENTS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1_000_000);
    let jobs = all / 3;
    let dir = tempfile::TempDir::new().expect("a directory");
    let mut journal = Journal::open(dir.path()).expect("a journal");
    let mut batch: Vec<OwnedEntry> = Vec::new();
    for n in 0..jobs {
        let at = (n * (DAYS_30 / jobs)).cast_signed();
        for event in events(n, jobs) {
            let payload = serde_json::to_vec(&event).expect("JSON");
            batch.push(Entry::new(at, event.kind(), payload));
        }
        if batch.len() >= 4096 || n + 1 == jobs {
            journal.append(&batch).expect("written");
            batch.clear();
        }
    }
    let reader = Reader::open(dir.path()).expect("a reader");
    let mut books = Books::open(dir.path()).expect("a table");
    let began = Instant::now();
    books.catch_up(&reader).expect("read");
    println!(
        "{} events read into an empty table: {:.2} s",
        jobs * 3,
        began.elapsed().as_secs_f64()
    );
    for by in [By::Team, By::User, By::Org, By::Job] {
        let query = Query {
            by: by.clone(),
            since: Timestamp(0),
            until: Timestamp(DAYS_30.cast_signed()),
            user: None,
            team: None,
            limit: 1000,
        };
        let mut took: Vec<f64> = (0..RUNS)
            .map(|_| {
                let began = Instant::now();
                books.catch_up(&reader).expect("read");
                books.sums(&query).expect("sums");
                began.elapsed().as_secs_f64()
            })
            .collect();
        took.sort_by(f64::total_cmp);
        println!(
            "by {by} over 30 days: {:.3} s (slowest {:.3} s)",
            took[RUNS / 2],
            took[RUNS - 1]
        );
    }
}
