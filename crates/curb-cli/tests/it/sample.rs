//! A small cluster at one moment, for snapshots.

use curb_api::{BucketView, HeldSpan, JobHeldView, WatchedStatus, *};
use curb_cli::term::View;
use curb_core::amount::Amount;
use curb_core::decide::{Code, Explanation, Holder, Quantity, Shadow, Verdict, Violation, When};
use curb_core::ledger::*;
use curb_core::policy::{Excess, Match, Mode as PolicyMode, Period, Policy, Selector, Step};
use curb_core::resource::{Resource, Resources};
use curb_core::subject::{JobId, Role, Subject};
use curb_core::time::{Millis, Timestamp};

/// Sunday 2026-11-22, 14:00 UTC.
const NOW: i64 = 1_795_356_000_000;

pub fn view() -> View {
    View {
        width: Some(80),
        color: false,
        now: Timestamp(NOW),
        zone: Some(jiff::tz::TimeZone::UTC),
    }
}

/// So many minutes from now.
pub fn at(minutes: i64) -> Timestamp {
    Timestamp(NOW + minutes * 60_000)
}

pub fn request() -> Resources {
    [
        (Resource::Cpu, Amount(4000)),
        (Resource::Memory, Amount(16 << 30)),
        (Resource::GpuModel("H100".into()), Amount(2000)),
    ]
    .into_iter()
    .collect()
}

fn subject(user: &str) -> Subject {
    Subject {
        user: user.into(),
        team: Some("vision".into()),
        orgs: vec!["research".into(), "acme".into()],
        job_type: Some("training".into()),
        ..Subject::default()
    }
}

fn gpus(n: u64) -> Option<Quantity> {
    Some(Quantity::Amount {
        resource: Resource::Gpu,
        amount: Amount(n * 1000),
    })
}

pub fn holder(user: &str) -> Holder {
    Holder {
        user: user.into(),
        team: Some("vision".into()),
        job: "train-7".into(),
        holds: gpus(2).expect("some"),
        until: Some(at(80)),
    }
}

pub fn violations() -> Vec<Violation> {
    let concurrent = Violation {
        code: Code::ConcurrentLimit,
        quota: Some("each-user".into()),
        bucket: "user ana".into(),
        limit: gpus(2),
        used: gpus(2),
        asked: gpus(2),
        over: gpus(2),
        when: When::JobsEnd(Some(at(80))),
        rejects: false,
        holders: vec![
            holder("ana"),
            Holder {
                user: String::new(),
                until: None,
                ..holder("")
            },
        ],
        more_holders: 3,
        reason: None,
        note: None,
        period: None,
    };
    let budget = Violation {
        code: Code::Budget,
        quota: Some("team-month".into()),
        bucket: "team vision".into(),
        limit: Some(Quantity::ResourceTime {
            resource: Resource::Gpu,
            amount: 500 * 3_600_000_000,
        }),
        used: Some(Quantity::ResourceTime {
            resource: Resource::Gpu,
            amount: 499 * 3_600_000_000,
        }),
        asked: None,
        over: None,
        when: When::At(at(9 * 24 * 60)),
        holders: vec![],
        more_holders: 0,
        reason: None,
        ..concurrent.clone()
    };
    vec![concurrent, budget]
}

pub fn per_job() -> Violation {
    Violation {
        code: Code::PerJobLimit,
        quota: Some("each-user".into()),
        bucket: "user ana".into(),
        limit: gpus(2),
        used: None,
        asked: gpus(3),
        over: gpus(1),
        when: When::PolicyChange,
        rejects: false,
        holders: vec![],
        more_holders: 0,
        reason: None,
        note: Some("Two at most, so that everybody has a chance during the day; ask for more a week ahead.".into()),
        period: None,
    }
}

pub fn capacity() -> Violation {
    Violation {
        code: Code::Capacity,
        quota: None,
        bucket: "cluster main".into(),
        when: When::Never,
        note: None,
        ..per_job()
    }
}

pub fn reply(verdict: Verdict, refused: bool, violations: Vec<Violation>) -> ExplainReply {
    let half = [(Resource::Cpu, Amount(2000))].into_iter().collect();
    let explanation = Explanation {
        verdict,
        refused,
        status: 200,
        request: request(),
        duration: Some(Millis(2 * 3_600_000)),
        expected: (verdict == Verdict::Later && !refused).then(|| at(80)),
        unknown: None,
        fits_now: (verdict != Verdict::Now).then_some(half),
        violations,
        recorded: vec![],
    };
    ExplainReply::new(explanation, String::new()).for_subject(subject("ana"), "main".into())
}

fn job(id: &str, state: JobState) -> JobView {
    let holds = matches!(
        state,
        JobState::Starting | JobState::Running | JobState::Quarantined
    );
    JobView {
        id: JobId::parse(id).expect("an id"),
        subject: subject("ana"),
        cluster: "main".into(),
        state,
        request: request(),
        holds: if holds { request() } else { Resources::none() },
        held: None,
        used: None,
        duration: Some(Millis(2 * 3_600_000)),
        priority: 0,
        attempt: u32::from(state != JobState::Queued),
        borrowed: false,
        submitted: at(-65),
        started: (state != JobState::Queued).then(|| at(-40)),
        expected_end: holds.then(|| at(80)),
        ended: state.is_ended().then(|| at(-5)),
        message: String::new(),
        exit_code: None,
        stop: None,
        exempt: None,
        entrypoint: None,
        waiting: None,
    }
}

/// One in each state, and one that is being stopped.
pub fn jobs() -> Vec<JobView> {
    let mut queued = job("raysubmit_Qu8Kd31x", JobState::Queued);
    queued.entrypoint = Some("python train.py --epochs 10".into());
    queued.waiting = Some(Waiting {
        position: 3,
        of: 11,
        expected: Some(at(80)),
        unknown: None,
        violations: violations(),
    });
    let mut running = job("train-7", JobState::Running);
    let cpus = |n| [(Resource::Cpu, Amount(n))].into_iter().collect();
    running.held = Some(JobHeldView {
        held: HeldSpan {
            least: cpus(2000),
            most: cpus(3000),
        },
        drivers: 1,
        actors: 4,
        detached: 1,
        tasks: 1,
        unproven: 1,
        as_of: Timestamp(NOW - 2000),
    });
    running.used = Some(JobUsedView {
        cpu: Amount(1730),
        memory: Amount(3 << 30),
        memory_as: MemoryAs::Private,
        processes: 12,
        nodes: 2,
        unseen: 1,
        as_of: Timestamp(NOW - 1000),
    });
    running.borrowed = true;
    let mut stopping = job("train-8", JobState::Running);
    stopping.stop = Some(StopWish {
        by: "kim".into(),
        why: "it hangs".into(),
        at: at(-1),
    });
    let mut failed = job("train-3", JobState::Failed);
    (failed.message, failed.exit_code, failed.attempt) = (
        "Job entrypoint command failed with exit code 1".into(),
        Some(1),
        2,
    );
    let mut stopped = job("train-2", JobState::Stopped);
    stopped.message = "stopped by ana".into();
    let mut plain = job("plain", JobState::Succeeded);
    (
        plain.subject.team,
        plain.subject.job_type,
        plain.request,
        plain.duration,
    ) = (None, None, Resources::none(), None);
    vec![
        queued,
        job("train-6", JobState::Starting),
        running,
        stopping,
        job("train-5", JobState::Quarantined),
        failed,
        stopped,
        plain,
    ]
}

pub fn buckets() -> Vec<BucketView> {
    let row = |resource, used, limit| ResourceRow {
        resource,
        used: Amount(used),
        limit,
        borrow: Amount::ZERO,
        guarantee: Amount::ZERO,
    };
    let mut gpu = row(Resource::Gpu, 1500, Some(Amount(2000)));
    gpu.borrow = Amount(1000);
    let mut memory = row(Resource::Memory, 16 << 30, Some(Amount(16 << 30)));
    memory.guarantee = Amount(8 << 30);
    let user = BucketView {
        quota: "each-user".into(),
        bucket: "user ana".into(),
        reason: None,
        mode: Mode::Enforce,
        in_force: true,
        resources: vec![row(Resource::Cpu, 500, None), memory, gpu],
        jobs: CountRow {
            used: 1,
            limit: Some(10),
        },
        queued: CountRow {
            used: 0,
            limit: None,
        },
        rate: Some(RateRow {
            count: 60,
            per: Millis::MINUTE,
            left: 58,
        }),
        budgets: vec![],
        overrides: vec![1],
        changes: vec![ChangeRow {
            id: 1,
            amounts: [(Resource::Gpu, 1000)].into(),
            jobs: -2,
            until: at(48 * 60),
            why: "camera-ready".into(),
        }],
    };
    let budget = BudgetRow {
        resource: Resource::Gpu,
        per: Period::Month,
        used: 400 * 3_600_000_000,
        promised: 50 * 3_600_000_000,
        limit: 500 * 3_600_000_000,
        resets: Some(at(9 * 24 * 60)),
    };
    let rolling = BudgetRow {
        resource: Resource::Memory,
        per: Period::Rolling(Millis(30 * 86_400_000)),
        used: (1 << 30) * 1_800_000,
        promised: 0,
        limit: 0,
        resets: None,
    };
    let team = BucketView {
        quota: "team-month".into(),
        bucket: "team vision".into(),
        mode: Mode::Observe,
        in_force: false,
        resources: vec![],
        jobs: CountRow::default(),
        rate: None,
        budgets: vec![budget, rolling],
        ..user.clone()
    };
    vec![user, team]
}

pub fn status() -> Status {
    let main = ClusterStatus {
        name: "main".into(),
        reachable: true,
        last_seen: Some(Timestamp(NOW - 2000)),
        problem: String::new(),
        ray_version: Some("2.60.0".into()),
        session: Some("session_2026-11-22_10-00-00_1".into()),
        capacity: Some(request()),
        capacity_seen: Some(Timestamp(NOW - 9000)),
        capacity_problem: String::new(),
        held: [(Resource::Cpu, Amount(2000))].into_iter().collect(),
        watched: Some(WatchedStatus {
            as_of: Some(Timestamp(NOW - 1000)),
            problem: String::new(),
            missing: vec![],
            taken: [(Resource::Cpu, Amount(3500))].into_iter().collect(),
            unexplained: [(Resource::Cpu, Amount(500))].into_iter().collect(),
            unmanaged_count: 1,
            unmanaged: vec![],
            agents: 3,
            agents_silent: 1,
            agent_list: vec![],
        }),
        queued: 3,
        starting: 1,
        running: 2,
        quarantined: 0,
        start_gap: Millis(2000),
    };
    let second = ClusterStatus {
        name: "lab".into(),
        capacity: None,
        watched: None,
        start_gap: Millis(0),
        held: Resources::none(),
        ..main.clone()
    };
    Status {
        version: "0.1.0".into(),
        now: at(0),
        started: at(-182),
        you: Caller { user: "ana".into(), role: Role::User, teams: vec!["vision".into()] },
        mode: Mode::Enforce,
        mode_set: None,
        policy_version: 3,
        policy_sha256: "ab12".repeat(16),
        clusters: vec![main, second],
        journal: JournalStatus { writable: true, problem: String::new(), seq: 1204, hash: "cd34".repeat(16), last_commit_us: 812 },
        enforcement: Enforcement {
            hard: vec!["Admission: nothing starts through this address above a limit.".into()],
            watched: vec!["What a job logically holds in Ray.".into()],
            not: vec!["What hostile code does inside the cluster: give such tenants a cluster of their own.".into()],
        },
        warnings: vec![],
    }
}

pub fn tokens() -> Vec<TokenView> {
    let token = TokenView {
        id: "a4dqobyh".into(),
        user: "ana".into(),
        role: Role::Admin,
        labels: Default::default(),
        expires: None,
        by: "local".into(),
        created: at(-600),
    };
    let mut expired = TokenView {
        id: "b7k2mmzq".into(),
        user: "li".into(),
        role: Role::User,
        expires: Some(at(-10)),
        by: "ana".into(),
        ..token.clone()
    };
    expired.labels.insert("project".into(), "x".into());
    let valid = TokenView {
        id: "c2c2c2c2".into(),
        expires: Some(at(60 * 24 * 90)),
        labels: Default::default(),
        ..expired.clone()
    };
    vec![token, expired, valid]
}

fn change() -> Override {
    let selector = Selector {
        user: Some(Match::OneOf(["ana".to_owned()].into())),
        job_type: Some(Match::Each),
        ..Selector::default()
    };
    Override {
        id: 1,
        selector,
        quota: None,
        amounts: [(Resource::Gpu, 2000), (Resource::Memory, -(64 << 30))].into(),
        jobs: -1,
        until: at(48 * 60),
        by: "kim".into(),
        why: "camera-ready".into(),
    }
}

pub fn overrides() -> Overrides {
    Overrides {
        overrides: vec![
            change(),
            Override {
                id: 2,
                selector: Selector::default(),
                quota: Some("each-user".into()),
                amounts: [(Resource::Cpu, 500)].into(),
                jobs: 0,
                ..change()
            },
        ],
    }
}

/// One of each kind.
pub fn events() -> Vec<Event> {
    let id = JobId::parse("train-7").expect("an id");
    let job = Box::new(NewJob {
        id: id.clone(),
        subject: subject("ana"),
        cluster: "main".into(),
        request: request(),
        duration: Some(Millis::HOUR),
        priority: 0,
        spec: "s".into(),
        stamp: "t".into(),
        key: None,
    });
    let shadow = vec![Shadow::from(&per_job())];
    let by = || "kim".to_owned();
    let token = Token {
        id: "a4dqobyh".into(),
        hash: "h".into(),
        user: "li".into(),
        role: Role::User,
        labels: Default::default(),
        expires: None,
        by: by(),
        created: at(0),
    };
    vec![
        Event::PolicyApplied {
            version: 3,
            sha256: "ab12".repeat(16),
            policy: Box::<Policy>::default(),
            by: "file".into(),
        },
        Event::ModeSet {
            mode: Some(PolicyMode::Audit),
            by: by(),
            why: "too strict".into(),
        },
        Event::ModeSet {
            mode: None,
            by: by(),
            why: "back".into(),
        },
        Event::ClusterObserved {
            cluster: "main".into(),
            session: "session_1".into(),
            capacity: Some(request()),
        },
        Event::Admitted {
            job: job.clone(),
            borrowed: true,
            lent_by: vec!["research".into()],
            shadow: shadow.clone(),
        },
        Event::Queued {
            job,
            code: "concurrent-limit".into(),
            shadow: vec![],
        },
        Event::Granted {
            id: id.clone(),
            borrowed: false,
            lent_by: vec![],
        },
        Event::Confirmed {
            id: id.clone(),
            attempt: 1,
            session: "session_1".into(),
        },
        Event::NotStarted {
            id: id.clone(),
            attempt: 1,
            then: AfterNotStarted::Requeue,
            why: "Ray was restarted".into(),
        },
        Event::Ended {
            id: id.clone(),
            outcome: Outcome::Failed,
            message: "exit".into(),
            exit_code: Some(3),
            ran: None,
        },
        Event::StopRequested {
            id: id.clone(),
            by: by(),
            why: "it hangs".into(),
        },
        Event::Exceeded {
            id: id.clone(),
            attempt: 1,
            quota: "each-user".into(),
            excess: Excess::Held,
            found: "holds more in Ray than it was granted: 3 CPU, granted 1".into(),
        },
        Event::Stepped {
            id: id.clone(),
            attempt: 1,
            quota: "each-user".into(),
            excess: Excess::Held,
            step: Step::Stop,
            found: "holds more in Ray than it was granted: 3 CPU, granted 1".into(),
            only_recorded: true,
        },
        Event::Within {
            id: id.clone(),
            attempt: 1,
            quota: "each-user".into(),
            excess: Excess::Held,
        },
        Event::Metered {
            id: id.clone(),
            attempt: 1,
            held: [(Resource::Cpu, 2000 * 600_000)].into_iter().collect(),
            watched: Millis(600_000),
        },
        Event::Exempted {
            id: id.clone(),
            until: Timestamp(1_800_000_000_000),
            by: by(),
            why: "a restore that must not stop".into(),
        },
        Event::Hidden {
            id: id.clone(),
            by: by(),
            refused: None,
        },
        Event::Released {
            id,
            by: by(),
            why: "the node is gone".into(),
        },
        Event::Refused {
            subject: subject("ana"),
            cluster: "main".into(),
            request: request(),
            status: 422,
            violations: shadow,
            as_job: None,
        },
        Event::RefusalsCounted {
            user: "ana".into(),
            code: "submit-rate".into(),
            count: 12,
        },
        Event::OverrideAdded(change()),
        Event::OverrideRemoved { id: 1, by: by() },
        Event::TokenCreated(token),
        Event::TokenRevoked {
            id: "a4dqobyh".into(),
            by: by(),
        },
    ]
}

/// What two users used, one of them watched.
pub fn usage() -> Usage {
    let hour: u128 = 3_600_000;
    let cpu = |n: u128| (Resource::Cpu, n * 1000 * hour);
    let memory = |n: u128| (Resource::Memory, (n << 30) * hour);
    let ana = UsageSum {
        jobs: 12,
        granted: [cpu(124), memory(512)].into(),
        watched: [cpu(100), memory(400)].into(),
        held: [cpu(31)].into(),
    };
    let nobody = UsageSum {
        jobs: 1,
        granted: [cpu(2)].into(),
        ..UsageSum::default()
    };
    Usage {
        by: "team".into(),
        since: Timestamp(1_800_000_000_000),
        until: Timestamp(1_800_360_000_000),
        seq: 77,
        total: UsageSum {
            jobs: 13,
            granted: [cpu(126), memory(512)].into(),
            ..ana.clone()
        },
        rows: vec![
            UsageRow {
                name: Some("vision, \"old\"".into()),
                sum: ana,
            },
            UsageRow {
                name: None,
                sum: nobody,
            },
        ],
        more: true,
    }
}
