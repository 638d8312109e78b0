//! How fast the pure core decides: submissions against 10,000 buckets with five quotas a job, and the right next job of
//! 50,000 that wait in 1,000 buckets. Plain timing, medians over rounds; one thread.
//!
//! `cargo bench -p curb-core --bench decide`

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use curb_core::amount::Amount;
use curb_core::decide::{Identity, Moment, Submission, Submitted, explain, next, submit};
use curb_core::ledger::{Event, Outcome, Recorded, State};
use curb_core::policy::{Limits, Match, Policy, Quota, Selector, Team};
use curb_core::resource::{Resource, Resources};
use curb_core::subject::{JobId, Subject};
use curb_core::time::{Millis, Timestamp};

const ROUNDS: usize = 9;

fn each() -> Option<Match> {
    Some(Match::Each)
}

fn quota(name: &str, selector: Selector, cpu: u64) -> Quota {
    Quota {
        name: name.into(),
        reason: None,
        selector,
        limits: Limits {
            resources: BTreeMap::from([
                (Resource::Cpu, Amount::whole(cpu)),
                (Resource::Gpu, Amount::whole(cpu)),
            ]),
            jobs: Some(1_000_000),
            queued: None,
        },
        borrow: Resources::none(),
        reclaim: Default::default(),
        guarantee: Resources::none(),
        per_job: Default::default(),
        submit_rate: None,
        budgets: Vec::new(),
        when: None,
        valid: Default::default(),
        above: Default::default(),
        mode: Default::default(),
        alert_at: Vec::new(),
    }
}

/// Five quotas that cover each job: everybody, org, team, user, user within job type.
fn policy(users: usize, per_user: u64) -> Policy {
    let mut teams = BTreeMap::new();
    for t in 0..users.div_ceil(10) {
        let members: BTreeSet<String> = (0..10).map(|u| format!("u{}", t * 10 + u)).collect();
        teams.insert(
            format!("t{t}"),
            Team {
                org: Some(format!("o{}", t % 7)),
                members,
                weight: 1,
            },
        );
    }
    let quotas = vec![
        quota("all", Selector::default(), 1 << 30),
        quota(
            "org",
            Selector {
                org: each(),
                ..Selector::default()
            },
            1 << 28,
        ),
        quota(
            "team",
            Selector {
                team: each(),
                ..Selector::default()
            },
            1 << 26,
        ),
        quota(
            "user",
            Selector {
                user: each(),
                ..Selector::default()
            },
            per_user,
        ),
        quota(
            "user-type",
            Selector {
                user: each(),
                job_type: each(),
                ..Selector::default()
            },
            per_user,
        ),
    ];
    Policy {
        timezone: "UTC".into(),
        teams,
        quotas,
        ..Policy::default()
    }
}

struct Run {
    state: State,
    seq: u64,
    at: i64,
}

impl Run {
    fn new(policy: Policy) -> Run {
        let mut run = Run {
            state: State::new(),
            seq: 0,
            at: 1_760_000_000_000,
        };
        run.apply(Event::PolicyApplied {
            version: 1,
            sha256: "0".repeat(64),
            policy: Box::new(policy),
            by: "bench".into(),
        });
        run
    }

    fn apply(&mut self, event: Event) {
        self.seq += 1;
        self.state.apply(&Recorded {
            seq: self.seq,
            at: Timestamp(self.at),
            event,
        });
    }
}

fn submission(user: usize, cpu: u64) -> Submission {
    let t = user / 10;
    Submission {
        subject: Subject {
            user: format!("u{user}"),
            team: Some(format!("t{t}")),
            orgs: vec![format!("o{}", t % 7)],
            job_type: Some("training".into()),
            labels: BTreeMap::new(),
        },
        cluster: "main".into(),
        request: [
            (Resource::Cpu, Amount::whole(cpu)),
            (Resource::Gpu, Amount::whole(1)),
        ]
        .into_iter()
        .collect(),
        duration: Some(Millis::HOUR),
        priority: 0,
        denials: Vec::new(),
    }
}

fn identity(n: usize) -> Identity {
    Identity {
        id: JobId::parse(&format!("job-{n}")).expect("a valid id"),
        spec: "0".repeat(64),
        stamp: "s".into(),
        key: None,
    }
}

fn median(mut v: Vec<Duration>) -> Duration {
    v.sort_unstable();
    v[v.len() / 2]
}

/// Says beside a figure whether it is what it should be.
fn aim(what: &str, met: bool) {
    let verdict = if met { "met" } else { "NOT MET" };
    println!("    aim {what}: {verdict}");
}

/// Prints the median of the rounds; gives how many a second that is.
fn report(what: &str, n: usize, rounds: Vec<Duration>) -> f64 {
    let m = median(rounds);
    println!(
        "{what:<58} {:>12.0} /s   {:>9.3} us each",
        n as f64 / m.as_secs_f64(),
        m.as_secs_f64() * 1e6 / n as f64
    );
    n as f64 / m.as_secs_f64()
}

fn decisions() {
    // 4,800 users make 4,800 user, 4,800 user-type, 480 team, 7 org and 1 bucket: 10,088.
    let users = 4_800;
    let mut run = Run::new(policy(users, 1 << 20));
    for user in 0..users {
        let (events, _) = submit(
            &run.state,
            &submission(user, 1),
            &identity(user),
            &Moment::new(&run.state, Timestamp(run.at)),
        );
        events.into_iter().for_each(|e| run.apply(e));
    }
    let moment = Moment::new(&run.state, Timestamp(run.at));
    let asks: Vec<(Submission, Identity)> = (0..20_000)
        .map(|n| (submission(n * 7 % users, 1), identity(1_000_000 + n)))
        .collect();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        for (s, i) in &asks {
            let (events, outcome) = submit(&run.state, s, i, &moment);
            assert!(outcome == Submitted::Admitted && events.len() == 1);
        }
        rounds.push(begin.elapsed());
    }
    let rate = report(
        "decide: admit, 10,088 buckets, 5 quotas a job",
        asks.len(),
        rounds,
    );
    aim("500,000/s", rate >= 500_000.0);

    let big: Vec<(Submission, Identity)> = (0..20_000)
        .map(|n| (submission(n * 7 % users, 1 << 21), identity(1_000_000 + n)))
        .collect();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        for (s, i) in &big {
            let (_, outcome) = submit(&run.state, s, i, &moment);
            assert!(matches!(outcome, Submitted::Refused(_)));
        }
        rounds.push(begin.elapsed());
    }
    report("decide: refuse with all numbers", big.len(), rounds);

    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        for (s, _) in big.iter().take(2_000) {
            assert!(explain(&run.state, s, &moment).refused);
        }
        rounds.push(begin.elapsed());
    }
    let rate = report("explain", 2_000, rounds);
    aim("100 ms each", rate > 10.0);

    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let mut copy = run.state.clone();
        let mut seq = run.seq;
        let begin = Instant::now();
        for (s, i) in &asks {
            let i = Identity {
                id: JobId::parse(&format!("{}-{round}", i.id)).expect("valid"),
                ..i.clone()
            };
            let (events, _) = submit(&copy, s, &i, &moment);
            for event in events {
                seq += 1;
                copy.apply(&Recorded {
                    seq,
                    at: Timestamp(run.at),
                    event,
                });
            }
        }
        rounds.push(begin.elapsed());
    }
    report("decide and apply: admit", asks.len(), rounds);
}

fn queue() {
    // 1,000 users with room for one job each; 50,000 wait, in two shapes.
    let users = 1_000;
    let mut run = Run::new(policy(users, 2));
    let mut n = 0;
    for round in 0..51 {
        for user in 0..users {
            let moment = Moment::new(&run.state, Timestamp(run.at));
            let cpu = 1 + (round + user as u64) % 2;
            let (events, _) = submit(&run.state, &submission(user, cpu), &identity(n), &moment);
            events.into_iter().for_each(|e| run.apply(e));
            n += 1;
            run.at += 3;
        }
    }
    println!(
        "{:<58} {:>12} waiting, {} holding",
        "queue",
        run.state.queued_count(),
        run.state.holding_count()
    );
    let mut rounds = Vec::new();
    for k in 0..2_000 {
        let holding = run
            .state
            .jobs()
            .find(|j| j.grant().is_some())
            .map(|j| j.new.id.clone())
            .expect("a job that holds something");
        run.apply(Event::Ended {
            id: holding,
            outcome: Outcome::Succeeded,
            message: String::new(),
            exit_code: Some(0),
            ran: None,
        });
        run.at += 10;
        let moment = Moment::new(&run.state, Timestamp(run.at));
        let begin = Instant::now();
        let events = next(&run.state, &moment);
        let took = begin.elapsed();
        if k >= 10 {
            rounds.push(took);
        }
        events.into_iter().for_each(|e| run.apply(e));
    }
    let mut sorted = rounds.clone();
    sorted.sort_unstable();
    println!(
        "{:<58} {:>9.3} ms median, {:.3} ms p99",
        "queue: the next job after a completion",
        sorted[sorted.len() / 2].as_secs_f64() * 1e3,
        sorted[sorted.len() * 99 / 100].as_secs_f64() * 1e3
    );
    let millisecond = Duration::from_millis(1);
    aim("1 ms at the median", sorted[sorted.len() / 2] < millisecond);
    aim("1 ms at p99", sorted[sorted.len() * 99 / 100] < millisecond);
    let begin = Instant::now();
    let bytes = run.state.snapshot();
    let wrote = begin.elapsed();
    let begin = Instant::now();
    let back = State::restore(&bytes).expect("a snapshot");
    println!(
        "{:<58} {:>9.1} MB, written in {:.0} ms, restored in {:.0} ms",
        "snapshot of that state",
        bytes.len() as f64 / 1e6,
        wrote.as_secs_f64() * 1e3,
        begin.elapsed().as_secs_f64() * 1e3
    );
    assert_eq!(back.snapshot(), bytes);
}

fn main() {
    decisions();
    queue();
}
