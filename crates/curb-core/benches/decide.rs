//! How fast the pure core decides: submissions against 10,000 buckets with five quotas a job, and the right next job of
//! 50,000 that wait in 1,000 buckets. Plain timing, medians over rounds; one thread.
//!
//! `cargo bench -p curb-core --bench decide`

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use curb_core::amount::Amount;
use curb_core::decide::{
    Identity, Moment, Submission, Submitted, Waits, begin_explain, explain, next, submit,
    why_waiting,
};
use curb_core::ledger::{Event, Outcome, Recorded, State};
use curb_core::policy::{Budget, Limits, Match, Period, Policy, Quota, Reclaim, Selector, Team};
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
        ladder: Vec::new(),
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

/// Jobs of one user that wait, by age: number and CPUs.
type Line = VecDeque<(usize, u64)>;

/// A queue with a record of its own of who waits and who holds something, from nothing but the answers.
struct Scene {
    run: Run,
    waiting: Vec<Line>,
    /// User, number, CPUs.
    holding: Vec<(usize, usize, u64)>,
    /// CPUs of a user.
    room: u64,
}

impl Scene {
    /// 51 rounds of one job for each of 1,000 users, who each have room for two CPUs.
    fn fill(policy: Policy, job: impl Fn(usize, usize) -> Submission) -> Scene {
        let users = 1_000;
        let mut scene = Scene {
            run: Run::new(policy),
            waiting: vec![Line::new(); users],
            holding: Vec::new(),
            room: 2,
        };
        for n in 0..51 * users {
            let user = n % users;
            let submission = job(n / users, user);
            let cpu = submission.request.get(&Resource::Cpu).0 / 1000;
            let run = &mut scene.run;
            let moment = Moment::new(&run.state, Timestamp(run.at));
            let (events, said) = submit(&run.state, &submission, &identity(n), &moment);
            match said {
                Submitted::Admitted => scene.holding.push((user, n, cpu)),
                Submitted::Queued(_) => scene.waiting[user].push_back((n, cpu)),
                other => panic!("{other:?}"),
            }
            events.into_iter().for_each(|e| run.apply(e));
            run.at += 3;
        }
        scene
    }

    fn end(&mut self, at: usize) -> usize {
        let (user, n, _) = self.holding.swap_remove(at);
        self.run.apply(Event::Ended {
            id: identity(n).id,
            outcome: Outcome::Succeeded,
            message: String::new(),
            exit_code: Some(0),
            ran: None,
        });
        self.run.at += 10;
        user
    }

    /// Who of a user is to start: the oldest that fits in what the user has room for.
    fn right(&self, user: usize) -> Option<usize> {
        let held: u64 = self
            .holding
            .iter()
            .filter(|h| h.0 == user)
            .map(|h| h.2)
            .sum();
        self.waiting[user]
            .iter()
            .position(|(_, cpu)| held + cpu <= self.room)
    }

    /// Asks for the next one, and checks the answer: nobody but a job of `user` can have room.
    fn next(&mut self, user: usize) -> (bool, Duration) {
        let moment = Moment::new(&self.run.state, Timestamp(self.run.at));
        let begin = Instant::now();
        let events = next(&self.run.state, &moment);
        let took = begin.elapsed();
        let right = self.right(user);
        match (right, events.as_slice()) {
            (None, []) => return (false, took),
            (Some(at), [Event::Granted { id, .. }]) => {
                let (n, cpu) = self.waiting[user].remove(at).expect("it waits");
                assert_eq!(*id, identity(n).id, "the right one starts");
                self.holding.push((user, n, cpu));
            }
            (right, events) => panic!("{right:?} of u{user}, and not {events:?}"),
        }
        events.into_iter().for_each(|e| self.run.apply(e));
        (true, took)
    }

    /// Ends 2,000 jobs, one after the other; what each look took that found somebody, and that found nobody any more.
    fn measure(&mut self, what: &str) {
        println!(
            "{:<58} {:>12} waiting, {} holding",
            format!("queue{what}"),
            self.run.state.queued_count(),
            self.run.state.holding_count()
        );
        let (mut found, mut none) = (Vec::new(), Vec::new());
        for k in 0..2_000 {
            let user = self.end(k * 7_919 % self.holding.len());
            loop {
                let (some, took) = self.next(user);
                match (k >= 10, some) {
                    (true, true) => found.push(took),
                    (true, false) => none.push(took),
                    _ => {}
                }
                if !some {
                    break;
                }
            }
        }
        assert!(found.len() > 1_000, "{} have started", found.len());
        let title = format!("queue{what}: the next job after a completion");
        let (median, p99) = spread(&title, found);
        aim("1 ms at the median", median < Duration::from_millis(1));
        aim("1 ms at p99", p99 < Duration::from_millis(1));
        spread(&format!("queue{what}: that there is no further one"), none);
        self.explanations(what);
    }

    /// What it costs to tell those who wait what they wait for.
    fn explanations(&self, what: &str) {
        let run = &self.run;
        let moment = Moment::new(&run.state, Timestamp(run.at));
        let ids: Vec<JobId> = self
            .waiting
            .iter()
            .filter_map(|line| Some(identity(line.front()?.0).id))
            .take(200)
            .collect();
        let (mut lists, mut tells, mut asks) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let begin = Instant::now();
            let waits = Waits::of(&run.state, &moment);
            for id in &ids {
                assert!(waits.why(&run.state, id, &moment).is_some());
            }
            lists.push(begin.elapsed());
            let begin = Instant::now();
            assert!(why_waiting(&run.state, &ids[0], &moment).is_some());
            tells.push(begin.elapsed());
            let begin = Instant::now();
            let told = explain(&run.state, &submission(7, 1), &moment);
            assert!(!told.violations.is_empty());
            asks.push(begin.elapsed());
        }
        spread(&format!("queue{what}: why 200 of them wait"), lists);
        spread(&format!("queue{what}: why one of them waits"), tells);
        let (_, worst) = spread(&format!("queue{what}: explain"), asks);
        aim("100 ms", worst < Duration::from_millis(100));
    }
}

/// Prints median and p99.
fn spread(what: &str, mut took: Vec<Duration>) -> (Duration, Duration) {
    took.sort_unstable();
    let (median, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    println!(
        "{what:<58} {:>9.3} ms median, {:.3} ms p99",
        median.as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3
    );
    (median, p99)
}

/// The jobs of a user ask for one CPU and for two in turn.
fn queue() {
    let mut scene = Scene::fill(policy(1_000, 2), |round, user| {
        submission(user, 1 + (round + user) as u64 % 2)
    });
    scene.measure("");
    let run = &scene.run;
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

/// The same with all that makes a look longer: each runs on what its org borrows, three budgets cover each job, every job
/// but the last has waited the bound, and somebody entitled waits for a licence of which none is left.
fn busy_queue() {
    let mut policy = policy(1_000, 2);
    policy.queue.pass_bound = Millis(60_000);
    let org = &mut policy.quotas[1];
    org.limits.resources = BTreeMap::from([(Resource::Cpu, Amount::whole(20))]);
    org.borrow = [(Resource::Cpu, Amount::whole(1 << 28))]
        .into_iter()
        .collect();
    org.reclaim = Reclaim::StopAfter(Millis(60_000));
    let budget = |resource, per| Budget {
        resource,
        amount: 1 << 80,
        per,
        without_duration: Default::default(),
    };
    policy.quotas[0].budgets = vec![budget(Resource::Cpu, Period::Month)];
    policy.quotas[3].budgets = vec![
        budget(Resource::Gpu, Period::Day),
        budget(Resource::Cpu, Period::Rolling(Millis(30 * Millis::DAY.0))),
    ];
    let mut scene = Scene::fill(policy, |round, user| Submission {
        // Two classes a user.
        duration: Some(Millis(Millis::HOUR.0 * (10 + 10 * (round as u64 % 2)))),
        ..submission(user, 2)
    });
    let licence = Resource::parse("licence").expect("a name");
    let run = &mut scene.run;
    run.apply(Event::ClusterObserved {
        cluster: "main".into(),
        session: "session-1".into(),
        capacity: Some(
            [
                (Resource::Cpu, Amount::whole(1 << 20)),
                (Resource::Gpu, Amount::whole(1 << 20)),
                (licence.clone(), Amount::whole(1)),
            ]
            .into_iter()
            .collect(),
        ),
    });
    for n in 0..20 {
        let mut submission = submission(2_000 + n, 1);
        submission.subject.orgs.clear();
        submission.request = [(licence.clone(), Amount::whole(1))].into_iter().collect();
        let moment = Moment::new(&run.state, Timestamp(run.at));
        let (events, _) = submit(&run.state, &submission, &identity(900_000 + n), &moment);
        events.into_iter().for_each(|e| run.apply(e));
    }
    run.at += 120_000;
    let moment = Moment::new(&run.state, Timestamp(run.at));
    let first = next(&run.state, &moment);
    assert!(
        matches!(first.as_slice(), [Event::Granted { .. }]),
        "the one licence is given out"
    );
    first.into_iter().for_each(|e| run.apply(e));
    scene.measure(", loans and budgets");
}

/// What a question costs with some hundred jobs open and 5,000 waiting: the part that the server's engine does. So many wait
/// that the queue is not run ahead, and what is open is not copied for it.
fn questions() {
    for open in [200, 399, 400] {
        // 20 users to a team; each has room for as many as are open of theirs.
        let users = 20;
        let mut scene = Scene {
            run: Run::new(policy(users, open as u64 / users as u64 * 2)),
            waiting: Vec::new(),
            holding: Vec::new(),
            room: 0,
        };
        let run = &mut scene.run;
        run.apply(Event::ClusterObserved {
            cluster: "main".into(),
            session: "session-1".into(),
            capacity: Some(
                [
                    (Resource::Cpu, Amount::whole(open as u64)),
                    (Resource::Gpu, Amount::whole(open as u64)),
                ]
                .into_iter()
                .collect(),
            ),
        });
        for n in 0..open + 5_000 {
            let submission = submission(n % users, 1);
            let moment = Moment::new(&run.state, Timestamp(run.at));
            let (events, _) = submit(&run.state, &submission, &identity(n), &moment);
            events.into_iter().for_each(|e| run.apply(e));
            run.at += 3;
        }
        let state = &run.state;
        assert_eq!(
            (state.holding_count(), state.queued_count()),
            (open as u64, 5_000)
        );
        let (mut engine, mut beside) = (Vec::new(), Vec::new());
        for n in 0..200 {
            let moment = Moment::new(state, Timestamp(run.at));
            let ask = submission(n % users, 1);
            let begin = Instant::now();
            let begun = begin_explain(state, &ask, &moment);
            engine.push(begin.elapsed());
            let begin = Instant::now();
            assert!(!begun.finish().violations.is_empty());
            beside.push(begin.elapsed());
        }
        let title = format!("explain, {open} open, 5,000 waiting: for the engine");
        let (_, worst) = spread(&title, engine);
        aim("5 ms", worst < Duration::from_millis(5));
        spread("    its expected start, beside the engine", beside);
    }
}

/// What it costs to choose a loan to take back: the queue is played ahead for it. 360 jobs run, of 20 users who may have one
/// CPU each and borrow; 20 others who may have one wait for it, behind so many that would borrow.
fn taking_back() {
    for borrowers in [10, 300, 3_000] {
        let mut each = quota(
            "each",
            Selector {
                user: each(),
                ..Selector::default()
            },
            1,
        );
        let much = [Resource::Cpu, Resource::Gpu].map(|r| (r, Amount::whole(400)));
        each.borrow = much.clone().into_iter().collect();
        each.reclaim = Reclaim::StopAfter(Millis(1_000));
        let policy = Policy {
            timezone: "UTC".into(),
            quotas: vec![each, quota("all", Selector::default(), 360)],
            ..Policy::default()
        };
        let mut run = Run::new(policy);
        run.apply(Event::ClusterObserved {
            cluster: "main".into(),
            session: "session-1".into(),
            capacity: Some(much.into_iter().collect()),
        });
        for n in 0..360 + borrowers + 20 {
            // Those who are entitled come last, and are other users.
            let user = if n < 360 + borrowers { n % 20 } else { n };
            let moment = Moment::new(&run.state, Timestamp(run.at));
            let (events, _) = submit(&run.state, &submission(user, 1), &identity(n), &moment);
            let admitted = events.iter().any(|e| matches!(e, Event::Admitted { .. }));
            events.into_iter().for_each(|e| run.apply(e));
            if admitted {
                run.apply(Event::Confirmed {
                    id: identity(n).id,
                    attempt: 1,
                    session: "session-1".into(),
                });
            }
            run.at += 10;
        }
        assert_eq!(
            (run.state.holding_count(), run.state.queued_count()),
            (360, borrowers + 20)
        );
        run.at += 5_000;
        let (mut took, mut stops) = (Vec::new(), 0);
        while stops < 20 {
            let moment = Moment::new(&run.state, Timestamp(run.at));
            let begin = Instant::now();
            let events = next(&run.state, &moment);
            let all = events.iter();
            let chosen = all.filter(|e| matches!(e, Event::StopRequested { .. }));
            let chosen = chosen.count();
            assert!(chosen > 0, "a loan is taken back: {events:?}");
            took.push(begin.elapsed());
            stops += chosen;
            events.into_iter().for_each(|e| run.apply(e));
        }
        let moment = Moment::new(&run.state, Timestamp(run.at));
        assert_eq!(next(&run.state, &moment), [], "one for each who waits");
        took.sort();
        println!(
            "loans to take back, of 360 with {borrowers} waiting to borrow: {stops} in {} looks, {:.2} ms median, {:.2} ms slowest",
            took.len(),
            took[took.len() / 2].as_secs_f64() * 1e3,
            took[took.len() - 1].as_secs_f64() * 1e3
        );
    }
}

fn main() {
    taking_back();
    decisions();
    questions();
    queue();
    busy_queue();
}
