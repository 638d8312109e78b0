//! Invariants of the ledger under arbitrary histories: never over a limit, what is granted is what is open, release twice
//! is once, the fold gives the same bytes from the start and from any snapshot, time never runs back, nothing panics.

mod common;

use std::collections::BTreeMap;

use common::*;
use curb_core::amount::Amount;
use curb_core::decide::{self, Moment, Submitted};
use curb_core::ledger::{AfterNotStarted, Event, Job, Outcome, Phase, Recorded, State};
use curb_core::policy::{Match, Mode, Quota};
use curb_core::resource::Resource;
use curb_core::subject::JobId;
use curb_core::time::{Millis, Timestamp};
use curb_core::usage::{Book, Change};
use proptest::prelude::*;

const POLICY: &str = "\
refusal: job
capacity: {cpu: 12, gpu: 6}
teams:
  vision: {org: research, members: [ana, li]}
  serving: {org: product, members: [kim]}
job_types: {training: {priority: 1}, inference: {}}
queue: {half_life: 1d, pass_bound: 10m}
quotas:
  - {name: each-user, for: {user: \"*\"}, limits: {cpu: 4, gpu: 2, jobs: 4, queued: 6}, budget: {gpu_hours: 40, per: day}}
  - {name: research, for: {org: research}, limits: {cpu: 6, gpu: 3}, borrow: {cpu: 2}, reclaim: {stop_after: 20m}}
  - {name: training, for: {job_type: training}, limits: {cpu: 5}, when: {days: [mon-fri], hours: \"08:00-20:00\", tz: Europe/Berlin}}
  - {name: product, for: {org: product}, limits: {cpu: 8}, guarantee: {cpu: 2}, submit_rate: 30/min}
  - {name: watched, for: everybody, limits: {cpu: 1}, mode: audit}
  - {name: rolling, for: {team: \"*\"}, budget: {cpu_hours: 300, per: \"rolling 2d\"}}
";

/// The same with tighter numbers: a policy that is applied under what runs.
const TIGHTER: &str = "\
capacity: {cpu: 8, gpu: 6}
teams:
  vision: {org: research, members: [ana]}
  serving: {org: product, members: [kim, li]}
job_types: {training: {priority: 1}, inference: {}}
quotas:
  - {name: each-user, for: {user: \"*\"}, limits: {cpu: 2, gpu: 2, jobs: 2, queued: 6}, budget: {gpu_hours: 20, per: day}}
  - {name: research, for: {org: research}, limits: {cpu: 3, gpu: 3}}
";

#[derive(Clone, Debug)]
enum Op {
    Submit {
        user: usize,
        cpu: u64,
        gpu: u64,
        minutes: Option<u64>,
        kind: usize,
    },
    Confirm(usize),
    NotStarted(usize, bool),
    End(usize),
    EndTwice(usize),
    Stop(usize),
    Release(usize),
    Restart(usize),
    Pass(i64),
    Override(usize, i64),
    Policy(bool),
    Mode(bool),
    /// An event about a job that never was.
    Stray,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0usize..4, 0u64..5000, 0u64..3, proptest::option::of(1u64..600), 0usize..3)
            .prop_map(|(user, cpu, gpu, minutes, kind)| Op::Submit { user, cpu, gpu, minutes, kind }),
        4 => (0usize..64).prop_map(Op::Confirm),
        1 => (0usize..64, any::<bool>()).prop_map(|(i, b)| Op::NotStarted(i, b)),
        4 => (0usize..64).prop_map(Op::End),
        1 => (0usize..64).prop_map(Op::EndTwice),
        1 => (0usize..64).prop_map(Op::Stop),
        1 => (0usize..64).prop_map(Op::Release),
        1 => (0usize..3).prop_map(Op::Restart),
        // Clocks jump, back as well.
        4 => (-3_600_000i64..7_200_000).prop_map(Op::Pass),
        1 => (0usize..3, -2000i64..2000).prop_map(|(u, a)| Op::Override(u, a)),
        1 => any::<bool>().prop_map(Op::Policy),
        1 => any::<bool>().prop_map(Op::Mode),
        1 => Just(Op::Stray),
    ]
}

fn pick(w: &World, n: usize, fits: impl Fn(&Job) -> bool) -> Option<JobId> {
    let mut all: Vec<&Job> = w.state.jobs().filter(|j| fits(j)).collect();
    all.sort_by_key(|j| j.seq);
    (!all.is_empty()).then(|| all[n % all.len()].new.id.clone())
}

fn step(w: &mut World, op: &Op, restarts: &mut usize) {
    match op {
        Op::Submit {
            user,
            cpu,
            gpu,
            minutes,
            kind,
        } => {
            let mut want = want(["ana", "li", "kim", "zoe"][*user])
                .cpu(&format!("{cpu}m"))
                .gpu(&gpu.to_string());
            want.ask.duration = minutes.map(|m| Millis(m * 60_000));
            want.ask.job_type = [
                None,
                Some("training".to_owned()),
                Some("inference".to_owned()),
            ][*kind]
                .clone();
            w.submit(&want);
        }
        Op::Confirm(n) => {
            if let Some(id) = pick(w, *n, |j| matches!(j.phase, Phase::Reserved(_))) {
                let attempt = w.job(&id).attempt;
                let session = w.state.cluster("main").expect("seen").session.clone();
                w.apply(Event::Confirmed {
                    id,
                    attempt,
                    session,
                });
            }
        }
        Op::NotStarted(n, requeue) => {
            if let Some(id) = pick(w, *n, |j| matches!(j.phase, Phase::Reserved(_))) {
                let attempt = w.job(&id).attempt;
                let then = if *requeue {
                    AfterNotStarted::Requeue
                } else {
                    AfterNotStarted::Fail
                };
                w.apply(Event::NotStarted {
                    id,
                    attempt,
                    then,
                    why: "test".into(),
                });
            }
        }
        Op::End(n) | Op::EndTwice(n) => {
            if let Some(id) = pick(w, *n, |j| matches!(j.phase, Phase::Running(_))) {
                w.end(&id);
                if matches!(op, Op::EndTwice(_)) {
                    let before = held(&w.state);
                    w.end(&id);
                    assert_eq!(
                        held(&w.state),
                        before,
                        "to release twice is to release once"
                    );
                }
            }
        }
        Op::Stop(n) => {
            if let Some(id) = pick(w, *n, |j| !j.is_ended()) {
                let (events, _) = decide::stop(&w.state, &id, "ana", "");
                events.into_iter().for_each(|e| w.apply(e));
            }
        }
        Op::Release(n) => {
            if let Some(id) = pick(w, *n, |j| matches!(j.phase, Phase::Quarantined(_))) {
                w.apply(Event::Released {
                    id,
                    by: "root".into(),
                    why: "looked".into(),
                });
            }
        }
        Op::Restart(n) => {
            *restarts += usize::from(*n == 0);
            let session = format!("session-{}", 1 + *restarts);
            match n % 3 {
                2 => w.cluster_unread("main", &session),
                _ => w.cluster("main", &session, &[("cpu", "12"), ("gpu", "6")]),
            }
        }
        Op::Pass(ms) => w.now += ms,
        Op::Override(user, amount) => {
            let id = w.state.next_override();
            let until = w.now + HOUR;
            let user = ["ana", "li", "kim"][*user];
            w.apply(Event::OverrideAdded(
                serde_json::from_value(serde_json::json!({
                    "id": id, "selector": {"user": {"one_of": [user]}}, "amounts": {"cpu": amount},
                    "jobs": 0, "until": until, "by": "root", "why": "test",
                }))
                .expect("an override"),
            ));
        }
        Op::Policy(tight) => w.apply_policy(if *tight { TIGHTER } else { POLICY }),
        Op::Mode(observe) => w.apply(Event::ModeSet {
            mode: observe.then_some(Mode::Audit),
            by: "root".into(),
            why: "test".into(),
        }),
        Op::Stray => {
            let id = JobId::parse("never-was").expect("valid");
            w.apply(Event::Granted {
                id: id.clone(),
                borrowed: false,
                lent_by: Vec::new(),
            });
            w.apply(Event::Confirmed {
                id: id.clone(),
                attempt: 1,
                session: "s".into(),
            });
            w.apply(Event::Ended {
                id,
                outcome: Outcome::Failed,
                message: String::new(),
                exit_code: None,
                ran: None,
            });
        }
    }
    w.run_queue();
}

/// An independent count: what every bucket of every quota holds, from nothing but the jobs and the policy.
fn held(state: &State) -> BTreeMap<(String, String), BTreeMap<String, u64>> {
    let mut all: BTreeMap<(String, String), BTreeMap<String, u64>> = BTreeMap::new();
    for job in state.jobs().filter(|j| j.grant().is_some()) {
        for quota in &state.policy().quotas {
            if let Some(bucket) = bucket(quota, job) {
                let at = all.entry((quota.name.clone(), bucket)).or_default();
                for (r, a) in job.new.request.iter() {
                    *at.entry(r.to_string()).or_default() += a.0;
                }
                *at.entry("jobs".into()).or_default() += 1;
            }
        }
    }
    all
}

fn bucket(quota: &Quota, job: &Job) -> Option<String> {
    let s = &job.new.subject;
    let mut name = Vec::new();
    let dims = [
        ("user", &quota.selector.user, Some(&s.user)),
        ("team", &quota.selector.team, s.team.as_ref()),
        ("org", &quota.selector.org, s.orgs.first()),
        ("job type", &quota.selector.job_type, s.job_type.as_ref()),
    ];
    for (dim, m, value) in dims {
        match (m, value) {
            (None, _) => {}
            (Some(Match::Each), Some(v)) => name.push(format!("{dim} {v}")),
            (Some(Match::OneOf(set)), Some(v)) if set.contains(v) => {
                name.push(format!("{dim} {v}"))
            }
            _ => return None,
        }
    }
    Some(if name.is_empty() {
        "everybody".into()
    } else {
        name.join(", ")
    })
}

/// What the ledger itself says, in the same form.
fn ledger_says(w: &World) -> BTreeMap<(String, String), BTreeMap<String, u64>> {
    let mut all = BTreeMap::new();
    for view in w.state.bucket_views(&w.moment(), None) {
        let mut row: BTreeMap<String, u64> = view
            .resources
            .iter()
            .filter(|r| r.used.0 > 0)
            .map(|r| (r.resource.to_string(), r.used.0))
            .collect();
        if view.running > 0 {
            row.insert("jobs".into(), view.running);
            all.insert((view.quota, view.bucket), row);
        }
    }
    all
}

/// After a grant, no enforced bucket that covers the job is above limit, borrow and overrides.
fn nothing_above(state: &State, job: &JobId) -> Result<(), TestCaseError> {
    let moment = Moment::new(state, state.now());
    let job = state.job(job).expect("it is there");
    for view in state.bucket_views(&moment, None) {
        let quota = state
            .policy()
            .quotas
            .iter()
            .find(|q| q.name == view.quota)
            .expect("named");
        if view.mode != Mode::Enforce
            || !view.in_force
            || bucket(quota, job).as_deref() != Some(&view.bucket)
        {
            continue;
        }
        for r in &view.resources {
            let asked = job.new.request.get(&r.resource);
            if let Some(limit) = r.limit.filter(|_| asked > Amount::ZERO) {
                let most = limit.saturating_add(r.borrow);
                prop_assert!(
                    r.used <= most,
                    "{} {} {}: {:?} > {:?}",
                    view.quota,
                    view.bucket,
                    r.resource,
                    r.used,
                    most
                );
            }
        }
        if let Some(limit) = view.jobs_limit {
            prop_assert!(view.running <= limit);
        }
    }
    if state.mode() == Mode::Enforce {
        let (held, has) = (
            state.held_on("main"),
            state.capacity_of("main").expect("seen"),
        );
        for (r, asked) in job.new.request.iter() {
            prop_assert!(
                asked == Amount::ZERO || held.get(r) <= has.get(r),
                "{r}: above the cluster"
            );
        }
    }
    Ok(())
}

fn granted_in(rec: &Recorded) -> Option<&JobId> {
    match &rec.event {
        Event::Granted { id, .. } => Some(id),
        Event::Admitted { job, .. } => Some(&job.id),
        _ => None,
    }
}

/// CPU-time by user, as the ledger's states in turn say it.
fn by_states(journal: &[Recorded]) -> BTreeMap<String, u128> {
    let (mut state, mut sums) = (State::new(), BTreeMap::new());
    for rec in journal {
        let before = state.now();
        let open: Vec<(String, u64)> = state
            .jobs()
            .filter(|j| j.grant().is_some())
            .map(|j| {
                (
                    j.new.subject.user.clone(),
                    j.new.request.get(&Resource::Cpu).0,
                )
            })
            .collect();
        state.apply(rec);
        let passed = u128::from(state.now().since(before).0);
        for (user, cpu) in open {
            *sums.entry(user).or_insert(0) += u128::from(cpu) * passed;
        }
    }
    sums.retain(|_, sum| *sum > 0);
    sums
}

/// Whose a grant was, how many CPUs in thousandths, from when to when.
type Grant = (String, u64, Timestamp, Option<Timestamp>);

/// The same, as the book tells of grants that begin and end.
fn by_book(journal: &[Recorded]) -> BTreeMap<String, u128> {
    let mut book = Book::default();
    let mut grants: BTreeMap<(JobId, u32), Grant> = BTreeMap::new();
    for rec in journal {
        for change in book.apply(rec) {
            match change {
                Change::Begin { job, attempt, at } => {
                    let open = book.open(&job).expect("it is open");
                    let (user, cpu) = (
                        open.subject.user.clone(),
                        open.request.get(&Resource::Cpu).0,
                    );
                    let new = grants.insert((job, attempt), (user, cpu, at, None));
                    assert!(new.is_none(), "each grant begins once");
                }
                Change::End { job, attempt, at } => {
                    let grant = grants.get_mut(&(job, attempt)).expect("it began");
                    assert!(grant.3.replace(at).is_none(), "and ends once");
                }
                _ => {}
            }
        }
    }
    let mut sums = BTreeMap::new();
    for (user, cpu, began, ended) in grants.into_values() {
        let span = ended.unwrap_or(book.now()).since(began).0;
        *sums.entry(user).or_insert(0) += u128::from(cpu) * u128::from(span);
    }
    sums.retain(|_, sum| *sum > 0);
    sums
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_the_invariants(ops in proptest::collection::vec(op(), 1..90), cut in 0usize..400) {
        let mut w = World::new(POLICY);
        let mut restarts = 0;
        let mut folded = State::new();
        w.journal.iter().for_each(|rec| folded.apply(rec));
        for op in &ops {
            let seen = w.journal.len();
            step(&mut w, op, &mut restarts);
            prop_assert_eq!(ledger_says(&w), held(&w.state), "what is granted is what is open");
            // Each grant, in the state that it made.
            for rec in &w.journal[seen..] {
                folded.apply(rec);
                let holds = |id: &&JobId| folded.job(id).is_some_and(|j| j.grant().is_some());
                if let Some(id) = granted_in(rec).filter(holds) {
                    nothing_above(&folded, id)?;
                }
            }
            let views = w.state.bucket_views(&w.moment(), None);
            for v in &views {
                for b in &v.budgets {
                    prop_assert!(b.reading.resets >= b.reading.begin);
                }
            }
        }
        // Time in the journal never runs back, whatever the clock did.
        prop_assert!(w.journal.windows(2).all(|p| p[0].at <= p[1].at && p[0].seq + 1 == p[1].seq));
        // The same bytes from the start, and from a snapshot in the middle.
        let live = w.state.snapshot();
        let mut again = State::new();
        let cut = cut % w.journal.len();
        let mut middle = Vec::new();
        for (n, rec) in w.journal.iter().enumerate() {
            // Through JSON, as the journal keeps it.
            let text = serde_json::to_string(&rec.event).expect("an event is JSON");
            let event: Event = serde_json::from_str(&text).expect("and comes back");
            prop_assert_eq!(&event, &rec.event);
            again.apply(&Recorded { seq: rec.seq, at: rec.at, event });
            if n == cut {
                middle = again.snapshot();
            }
        }
        prop_assert_eq!(text(&again.snapshot()), text(&live));
        let mut resumed = State::restore(&middle).expect("a snapshot");
        for rec in &w.journal[cut + 1..] {
            resumed.apply(rec);
        }
        prop_assert_eq!(text(&resumed.snapshot()), text(&live));
        prop_assert_eq!(by_book(&w.journal), by_states(&w.journal), "resource-time is what was granted for as long as it was");
    }

    #[test]
    fn what_is_held_does_not_depend_on_the_order_of_ends(order in Just((0..6usize).collect::<Vec<_>>()).prop_shuffle()) {
        let run = |order: &[usize]| {
            let mut w = World::new("quotas:\n  - {name: q, for: everybody, limits: {cpu: 50}}\n");
            let ids: Vec<JobId> = (1..=8).map(|n| w.submit(&want("ana").cpu(&n.to_string())).0).collect();
            for n in order {
                w.end(&ids[*n]);
            }
            ledger_says(&w)
        };
        prop_assert_eq!(run(&order), run(&[0, 1, 2, 3, 4, 5]));
    }

    #[test]
    fn explaining_says_what_submitting_does(
        before in proptest::collection::vec((0usize..4, 1u64..4000), 0..12),
        user in 0usize..4, cpu in 1u64..9000, gpu in 0u64..4,
    ) {
        let mut w = World::new(POLICY);
        for (user, cpu) in before {
            w.submit(&want(["ana", "li", "kim", "zoe"][user]).cpu(&format!("{cpu}m")).minutes(30));
        }
        let want = want(["ana", "li", "kim", "zoe"][user]).cpu(&format!("{cpu}m")).gpu(&gpu.to_string());
        let mut said = w.explain(&want);
        // When it starts is found by running ahead, for which a submission has no time.
        (said.expected, said.unknown) = (None, None);
        let (_, done) = w.submit(&want);
        match done {
            Submitted::Admitted => prop_assert!(said.violations.is_empty()),
            Submitted::Queued(mut e) | Submitted::Refused(mut e) => {
                e.expected = None;
                prop_assert_eq!(*e, said);
            }
            Submitted::Same | Submitted::Taken => prop_assert!(false),
        }
    }

    #[test]
    fn what_would_fit_now_does_fit_now(
        before in proptest::collection::vec((0usize..4, 1u64..3000), 0..8),
        user in 0usize..4, cpu in 1u64..20_000, gpu in 0u64..9,
    ) {
        let mut w = World::new(POLICY);
        for (user, cpu) in before {
            w.submit(&want(["ana", "li", "kim", "zoe"][user]).cpu(&format!("{cpu}m")).minutes(30));
        }
        let who = ["ana", "li", "kim", "zoe"][user];
        let said = w.explain(&want(who).cpu(&format!("{cpu}m")).gpu(&gpu.to_string()).minutes(30));
        if let Some(fits) = said.fits_now {
            let mut smaller = want(who).minutes(30);
            smaller.ask.declared = [Resource::Cpu, Resource::Gpu].into_iter().map(|r| { let a = fits.get(&r); (r, a) }).collect();
            let again = w.explain(&smaller);
            let only_borrowing = again.violations.iter().all(|v| v.code.as_str() == "borrowing" || v.code.as_str() == "turn");
            prop_assert!(only_borrowing, "{:?}", again.violations);
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_changed_session_quarantines_what_was_open_and_its_grant_stays_held() {
    let mut w = World::new("quotas:\n  - {name: q, for: everybody, limits: {cpu: 2}}\n");
    let (a, _) = w.submit(&want("ana").cpu("2"));
    w.apply(Event::Confirmed {
        id: a.clone(),
        attempt: 1,
        session: "session-1".into(),
    });
    let (b, _) = w.submit(&want("li").cpu("2"));
    w.cluster("main", "session-2", &[("cpu", "100")]);
    assert!(matches!(w.job(&a).phase, Phase::Quarantined(_)));
    assert!(
        w.run_queue().is_empty(),
        "nothing is given back by a restart"
    );
    w.apply(Event::Released {
        id: a,
        by: "root".into(),
        why: "the node is gone".into(),
    });
    assert_eq!(w.run_queue(), [b]);
}

#[test]
fn a_look_without_capacity_tells_the_session_and_keeps_what_was_known() {
    let mut w = World::new("mode: enforce\n");
    w.cluster("main", "session-1", &[("cpu", "4")]);
    let (a, _) = w.submit(&want("ana").cpu("2"));
    w.cluster_unread("main", "session-2");
    assert!(matches!(w.job(&a).phase, Phase::Quarantined(_)));
    assert_eq!(w.state.capacity_of("main"), Some(amounts(&[("cpu", "4")])));
    let (_, said) = w.submit(&want("li").cpu("3"));
    assert!(matches!(said, Submitted::Queued(_)), "{said:?}");
    let restored = State::restore(&w.state.snapshot()).expect("readable");
    assert_eq!(text(&restored.snapshot()), text(&w.state.snapshot()));
}

#[test]
fn what_a_cluster_never_said_is_waited_for_and_not_refused() {
    for policy in ["mode: enforce\n", "when_ray_is_down: refuse\n"] {
        let mut w = World::new(policy);
        w.cluster_unread("new", "session-1");
        assert_eq!(w.state.capacity_of("new"), None, "unknown is not zero");
        let (small, said) = w.submit(&want("ana").cpu("1").on("new"));
        assert!(matches!(said, Submitted::Queued(_)), "{said:?}");
        let (large, said) = w.submit(&want("li").cpu("1000").on("new"));
        assert!(matches!(said, Submitted::Queued(_)), "{said:?}");
        assert!(w.run_queue().is_empty());
        let restored = State::restore(&w.state.snapshot()).expect("readable");
        assert_eq!(restored.capacity_of("new"), None);
        w.cluster("new", "session-1", &[("cpu", "4")]);
        assert_eq!(w.run_queue(), [small]);
        assert!(w.queued(&large));
        let (_, said) = w.submit(&want("li").cpu("1000").on("new"));
        assert!(matches!(said, Submitted::Refused(_)), "{said:?}");
    }
}

#[test]
fn what_the_policy_says_that_a_cluster_has_needs_no_look() {
    let mut w = World::new("capacity: {by_cluster: {new: {cpu: 4}}}\n");
    w.cluster_unread("new", "session-1");
    let (a, _) = w.submit(&want("ana").cpu("3").on("new"));
    assert!(w.holds(&a));
    let (_, said) = w.submit(&want("ana").cpu("5").on("new"));
    assert!(matches!(said, Submitted::Refused(_)), "{said:?}");
    let (b, _) = w.submit(&want("ana").gpu("1").on("new"));
    assert!(w.queued(&b), "of GPUs the policy says nothing");
    // Observing, nothing waits for it.
    let mut w = World::new("mode: observe\n");
    w.cluster_unread("new", "session-1");
    let (a, _) = w.submit(&want("ana").cpu("3").on("new"));
    assert!(w.holds(&a));
}

#[test]
fn late_word_of_an_old_session_does_not_bring_a_job_back_from_quarantine() {
    let mut w = World::new("mode: enforce\n");
    let (a, _) = w.submit(&want("ana").cpu("2"));
    w.cluster("main", "session-2", &[("cpu", "100")]);
    let confirm = |session: &str| Event::Confirmed {
        id: a.clone(),
        attempt: 1,
        session: session.into(),
    };
    w.apply(confirm("session-1"));
    assert!(matches!(w.job(&a).phase, Phase::Quarantined(_)));
    w.apply(confirm("session-2"));
    assert!(matches!(w.job(&a).phase, Phase::Running(_)));
}

#[test]
fn a_subject_that_was_never_seen_is_decided_like_one_that_was() {
    let mut w = World::new(POLICY);
    w.submit(&want("ana").cpu("3").minutes(30));
    for cpu in ["1", "3", "5", "9"] {
        let fresh = w.explain(&want("li").cpu(cpu).gpu("1").minutes(30));
        let mut known = World::new(POLICY);
        known.submit(&want("ana").cpu("3").minutes(30));
        let (id, _) = known.submit(&want("li").cpu("100m").minutes(1));
        known.end(&id);
        let mut seen = known.explain(&want("li").cpu(cpu).gpu("1").minutes(30));
        seen.recorded.clear();
        let fresh = curb_core::decide::Explanation {
            recorded: Vec::new(),
            ..fresh
        };
        assert_eq!(fresh, seen, "{cpu}");
    }
}

#[test]
fn a_requeued_job_keeps_its_place_and_gets_a_new_id_in_ray() {
    let mut w = World::new("capacity: {cpu: 1}\n");
    w.cluster("main", "session-1", &[("cpu", "1")]);
    let (first, _) = w.submit(&want("ana").cpu("1"));
    let (second, _) = w.submit(&want("ana").cpu("1"));
    w.apply(Event::NotStarted {
        id: first.clone(),
        attempt: 1,
        then: AfterNotStarted::Requeue,
        why: "claimed".into(),
    });
    assert_eq!(
        w.run_queue(),
        std::slice::from_ref(&first),
        "it is older than {second}"
    );
    assert_eq!(w.job(&first).ray_id(), "job-1.attempt-2");
    // A late word about the first attempt changes nothing.
    w.apply(Event::Confirmed {
        id: first.clone(),
        attempt: 1,
        session: "session-1".into(),
    });
    assert!(matches!(w.job(&first).phase, Phase::Reserved(_)));
}

#[test]
fn a_clock_far_in_the_past_or_future_breaks_nothing() {
    for at in [i64::MIN, -1, i64::MAX] {
        let mut w = World::new(POLICY);
        let (id, _) = w.submit(&want("kim").cpu("1").gpu("1"));
        w.now = at;
        w.submit(&want("ana").cpu("1").gpu("1"));
        w.end(&id);
        w.now = NOON;
        w.submit(&want("li").cpu("1"));
        assert!(w.state.now() >= Timestamp(NOON));
        assert_eq!(
            State::restore(&w.state.snapshot())
                .expect("a snapshot")
                .snapshot(),
            w.state.snapshot()
        );
    }
}
