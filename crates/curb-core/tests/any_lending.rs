//! Lending and taking back under whatever policy: several quotas that lend or do not, some only recorded or not yet valid,
//! two resources, two clusters that go down, are paced or are back, jobs that have waited past the bound. What must hold is
//! counted from the jobs alone.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::*;
use curb_core::decide::{Gate, next};
use curb_core::ledger::{Event, Job};
use curb_core::resource::Resource;
use curb_core::subject::JobId;
use curb_core::time::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const USERS: [&str; 4] = ["ana", "li", "kim", "zoe"];
const CLUSTERS: [&str; 2] = ["main", "lab"];
const RESOURCES: [Resource; 2] = [Resource::Cpu, Resource::Gpu];
const TEAMS: &str = "teams:\n  vision: {org: research, members: [ana, li]}\n  serving: {org: product, members: [kim]}\n";

/// Whom a quota covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    User,
    Org,
    All,
    Main,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Live {
    Enforced,
    Audit,
    Later,
}

/// By resource, whole CPUs and GPUs: the limit, and how far above it may be borrowed.
type Bound = Option<(u64, u64)>;

#[derive(Clone, Debug)]
struct Rule {
    covers: For,
    bounds: [Bound; 2],
    /// Minutes; `None` drains.
    stop_after: Option<u64>,
    live: Live,
}

impl Rule {
    fn yaml(&self, n: usize) -> String {
        let of = |pick: fn((u64, u64)) -> u64| -> String {
            let all = RESOURCES.iter().zip(self.bounds);
            let all = all.filter_map(|(r, b)| Some(format!("{r}: {}", pick(b?))));
            all.collect::<Vec<_>>().join(", ")
        };
        let covers = match self.covers {
            For::User => "{user: \"*\"}",
            For::Org => "{org: \"*\"}",
            For::All => "everybody",
            For::Main => "{cluster: main}",
        };
        let reclaim = self
            .stop_after
            .map_or("drain".to_owned(), |m| format!("{{stop_after: {m}m}}"));
        let live = match self.live {
            Live::Enforced => "",
            Live::Audit => ", mode: audit",
            Live::Later => ", valid: {from: 2030-01-01}",
        };
        format!(
            "  - {{name: q{n}, for: {covers}, limits: {{{}}}, borrow: {{{}}}, reclaim: {reclaim}{live}}}\n",
            of(|b| b.0),
            of(|b| b.1)
        )
    }

    /// The bucket in which it counts a job.
    fn bucket(&self, job: &Job) -> Option<String> {
        let user = &job.new.subject.user;
        if self.live != Live::Enforced {
            return None;
        }
        match self.covers {
            For::User => Some(user.clone()),
            For::Org => match user.as_str() {
                "ana" | "li" => Some("research".into()),
                "kim" => Some("product".into()),
                _ => None,
            },
            For::All => Some("all".into()),
            For::Main => (job.new.cluster == "main").then(|| "main".into()),
        }
    }
}

fn bound() -> impl Strategy<Value = Bound> {
    prop_oneof![1 => Just(None), 4 => (0u64..4, 0u64..5).prop_map(Some)]
}

fn rule() -> impl Strategy<Value = Rule> {
    let covers = prop_oneof![
        4 => Just(For::User), 3 => Just(For::Org), 2 => Just(For::All), 1 => Just(For::Main)
    ];
    let live =
        prop_oneof![6 => Just(Live::Enforced), 1 => Just(Live::Audit), 1 => Just(Live::Later)];
    let reclaim = prop_oneof![1 => Just(None), 3 => (1u64..4).prop_map(Some)];
    (covers, bound(), bound(), reclaim, live).prop_map(|(covers, cpu, gpu, stop_after, live)| {
        // What all share has room for some.
        let wide = |b: Bound, by| b.map(|(limit, borrow)| (limit + by, borrow));
        let by = if covers == For::User { 0 } else { 2 };
        Rule {
            covers,
            bounds: [wide(cpu, by), wide(gpu, by)],
            stop_after,
            live,
        }
    })
}

#[derive(Clone, Debug)]
struct Setting {
    rules: Vec<Rule>,
    has: [[u64; 2]; 2],
    /// Minutes.
    pass_bound: u64,
}

fn setting() -> impl Strategy<Value = Setting> {
    let has = || (3u64..8, 2u64..6).prop_map(|(cpu, gpu)| [cpu, gpu]);
    let bound = prop_oneof![Just(2u64), Just(8), Just(60 * 24)];
    (proptest::collection::vec(rule(), 1..4), has(), has(), bound).prop_map(
        |(rules, main, lab, pass_bound)| Setting {
            rules,
            has: [main, lab],
            pass_bound,
        },
    )
}

#[derive(Clone, Debug)]
enum Step {
    Submit {
        user: usize,
        ask: [u64; 2],
        lab: bool,
        hot: bool,
    },
    /// One of those that run.
    End(usize),
    Pass(i64),
    Turn(usize, Door),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Open,
    Down,
    Paced,
}

fn step() -> impl Strategy<Value = Step> {
    let ask = (0u64..4, 0u64..3).prop_filter("something", |(c, g)| c + g > 0);
    prop_oneof![
        8 => (0usize..4, ask, prop::bool::weighted(0.3), prop::bool::weighted(0.3)).prop_map(
            |(user, (cpu, gpu), lab, hot)| Step::Submit { user, ask: [cpu, gpu], lab, hot }
        ),
        3 => (0usize..16).prop_map(Step::End),
        4 => (1i64..240).prop_map(|s| Step::Pass(s * 1000)),
        1 => (0usize..2, prop_oneof![2 => Just(Door::Open), 1 => Just(Door::Down), 1 => Just(Door::Paced)])
            .prop_map(|(c, door)| Step::Turn(c, door)),
    ]
}

fn amount(job: &Job, r: usize) -> u64 {
    job.new.request.get(&RESOURCES[r]).0 / 1000
}

/// A world, with what is known of it beside it.
struct Test {
    w: World,
    rules: Vec<Rule>,
    has: [[u64; 2]; 2],
    bound: i64,
}

impl Test {
    fn new(s: &Setting) -> Test {
        let quotas: String = s.rules.iter().enumerate().map(|(n, r)| r.yaml(n)).collect();
        let mut w = World::new(&format!(
            "{TEAMS}queue: {{pass_bound: {}m}}\njob_types: {{usual: {{}}, hot: {{priority: 5}}}}\nquotas:\n{quotas}",
            s.pass_bound
        ));
        for (name, [cpu, gpu]) in CLUSTERS.iter().zip(s.has) {
            let (cpu, gpu) = (cpu.to_string(), gpu.to_string());
            w.cluster(name, "session-1", &[("cpu", &cpu), ("gpu", &gpu)]);
        }
        Test {
            w,
            rules: s.rules.clone(),
            has: s.has,
            bound: s.pass_bound as i64 * MINUTE,
        }
    }

    fn door(&self, job: &Job) -> Gate {
        let gate = self.w.gates.get(&job.new.cluster).copied();
        gate.unwrap_or(Gate::Open)
    }

    fn holding(&self) -> impl Iterator<Item = &Job> {
        self.w.state.jobs().filter(|j| j.grant().is_some())
    }

    fn waiting(&self) -> Vec<&Job> {
        let mut all: Vec<&Job> = self.w.state.jobs().filter(|j| j.is_queued()).collect();
        all.sort_by_key(|j| j.seq);
        all
    }

    fn on(&self, cluster: &str, r: usize) -> u64 {
        let here = self.holding().filter(|j| j.new.cluster == cluster);
        here.map(|j| amount(j, r)).sum()
    }

    fn capacity(&self, cluster: &str, r: usize) -> u64 {
        self.has[usize::from(cluster != "main")][r]
    }

    /// What is held in the bucket in which a rule counts a job, by those that count.
    fn held(&self, rule: &Rule, of: &Job, r: usize, counts: impl Fn(&Job) -> bool) -> u64 {
        let bucket = rule.bucket(of);
        let there = self.holding().filter(|j| rule.bucket(j) == bucket);
        there.filter(|j| counts(j)).map(|j| amount(j, r)).sum()
    }

    /// Whether a job is within all limits, with what those hold that count.
    fn is_within(&self, job: &Job, counts: impl Fn(&Job) -> bool) -> bool {
        self.rules.iter().all(|rule| {
            rule.bucket(job).is_none()
                || (0..2).all(|r| match (rule.bounds[r], amount(job, r)) {
                    (None, _) | (_, 0) => true,
                    (Some((limit, _)), asked) => self.held(rule, job, r, &counts) + asked <= limit,
                })
        })
    }

    fn has_room(&self, job: &Job) -> bool {
        (0..2).all(|r| {
            let (asked, on) = (amount(job, r), &job.new.cluster);
            asked == 0 || self.on(on, r) + asked <= self.capacity(on, r)
        })
    }

    /// Within the limits, and there is room for it.
    fn fits(&self, job: &Job) -> bool {
        self.is_within(job, |_| true) && self.has_room(job)
    }

    /// Somebody keeps something from those behind.
    fn somebody_has_waited(&self) -> bool {
        let since = |j: &&Job| self.w.now - j.passed_since().0 >= self.bound;
        self.waiting().iter().any(since)
    }

    /// All that hold something or wait, for whoever reads why a case failed.
    fn told(&self) -> String {
        let mut all: Vec<&Job> = self.holding().chain(self.waiting()).collect();
        all.sort_by_key(|j| j.seq);
        let line = |j: &&Job| {
            let why = j.stop.as_ref().map(|s| s.why.as_str());
            let lent = j.grant().map(|g| g.lent_by.join(" "));
            let asks = [0, 1].map(|r| amount(j, r));
            let (new, since) = (&j.new, (self.w.now - j.submitted.0) / 1000);
            let kind = new.subject.job_type.as_deref().unwrap_or_default();
            format!(
                "{} {} {asks:?} {} {kind} {since}s lent {lent:?} stop {why:?}\n",
                new.id, new.subject.user, new.cluster
            )
        };
        all.iter().map(line).collect()
    }

    /// No limit and no cluster is passed.
    fn check_sums(&self) -> Result<(), TestCaseError> {
        for (r, resource) in RESOURCES.iter().enumerate() {
            for cluster in CLUSTERS {
                prop_assert!(
                    self.on(cluster, r) <= self.capacity(cluster, r),
                    "{} of {}",
                    resource,
                    cluster
                );
            }
            for (n, rule) in self.rules.iter().enumerate() {
                let Some((limit, borrow)) = rule.bounds[r] else {
                    continue;
                };
                let mut sums: BTreeMap<String, u64> = BTreeMap::new();
                for job in self.holding() {
                    if let Some(bucket) = rule.bucket(job) {
                        *sums.entry(bucket).or_default() += amount(job, r);
                    }
                }
                for (bucket, sum) in sums {
                    prop_assert!(
                        sum <= limit + borrow,
                        "{} of q{}, {}: {}",
                        resource,
                        n,
                        bucket,
                        sum
                    );
                }
            }
        }
        Ok(())
    }

    /// A job has just been started: whether it is a loan says the journal; no loan took what somebody else could have had
    /// within their limits, except from who shares all quotas that lend it.
    fn check_start(&self, id: &JobId, before: &Test) -> Result<(), TestCaseError> {
        let job = self.w.job(id);
        let grant = job.grant().expect("it was started");
        prop_assert_eq!(
            grant.borrowed,
            !before.is_within(job, |_| true),
            "{} borrows",
            id
        );
        let lenders: BTreeSet<usize> = (0..self.rules.len())
            .filter(|n| grant.lent_by.contains(&format!("q{n}")))
            .collect();
        prop_assert_eq!(grant.borrowed, !lenders.is_empty());
        if !grant.borrowed || before.somebody_has_waited() {
            return Ok(());
        }
        for other in before.waiting() {
            let shares = lenders.iter().all(|n| {
                let rule = &self.rules[*n];
                rule.bucket(other).is_some() && rule.bucket(other) == rule.bucket(job)
            });
            if other.new.id == *id || shares || before.door(other) == Gate::Down {
                continue;
            }
            let passed = before.fits(other) && !self.fits(other);
            prop_assert!(
                !passed,
                "{id} was lent what {} could have had",
                other.new.id
            );
        }
        Ok(())
    }

    /// What is lent now and can be taken back after a wait, by rule: the youngest that were lent something by it, as many
    /// as make up what is above its limit; with the resources that each was lent.
    fn loans(&self, waiter: &Job) -> BTreeMap<JobId, BTreeSet<usize>> {
        let mut all: BTreeMap<JobId, BTreeSet<usize>> = BTreeMap::new();
        let waited = self.w.now - waiter.submitted.0;
        for (n, rule) in self.rules.iter().enumerate() {
            if rule.stop_after.is_none_or(|m| m as i64 * MINUTE > waited) {
                continue;
            }
            let buckets: BTreeSet<String> = self.holding().filter_map(|j| rule.bucket(j)).collect();
            for bucket in buckets {
                if rule.bucket(waiter).as_ref() == Some(&bucket) {
                    continue;
                }
                let here: Vec<&Job> = self
                    .holding()
                    .filter(|j| j.stop.is_none() && rule.bucket(j).as_ref() == Some(&bucket))
                    .collect();
                let mut over: Vec<u64> = (0..2)
                    .map(|r| {
                        let held: u64 = here.iter().map(|j| amount(j, r)).sum();
                        rule.bounds[r].map_or(0, |(limit, _)| held.saturating_sub(limit))
                    })
                    .collect();
                let name = format!("q{n}");
                let mut lent: Vec<&Job> = here
                    .into_iter()
                    .filter(|j| j.grant().is_some_and(|g| g.lent_by.contains(&name)))
                    .collect();
                lent.sort_by_key(|j| std::cmp::Reverse((j.grant().map(|g| g.since), j.seq)));
                for job in lent {
                    for (r, over) in over.iter_mut().enumerate() {
                        let a = amount(job, r);
                        if a > 0 && *over > 0 && self.door(job) != Gate::Down {
                            all.entry(job.new.id.clone()).or_default().insert(r);
                        }
                        *over = over.saturating_sub(a);
                    }
                }
            }
        }
        all
    }

    /// Of these, what holds and was lent something that a waiter lacks where it lacks it.
    fn useful(&self, waiter: &Job) -> Vec<JobId> {
        let gone = |j: &Job| j.stop.is_none();
        let lacks_here = |r: usize| {
            let on = &waiter.new.cluster;
            let here = self.holding().filter(|j| gone(j) && j.new.cluster == *on);
            let held: u64 = here.map(|j| amount(j, r)).sum();
            amount(waiter, r) > 0 && held + amount(waiter, r) > self.capacity(on, r)
        };
        let lacks_of = |rule: &Rule, r: usize| {
            let Some((limit, _)) = rule.bounds[r] else {
                return false;
            };
            let held = self.held(rule, waiter, r, gone);
            rule.bucket(waiter).is_some()
                && amount(waiter, r) > 0
                && held + amount(waiter, r) > limit
        };
        let helps = |id: &JobId, lent: &BTreeSet<usize>| {
            let loan = self.w.job(id);
            lent.iter().any(|r| {
                let here = loan.new.cluster == waiter.new.cluster && lacks_here(*r);
                let shared = |rule: &&Rule| rule.bucket(loan) == rule.bucket(waiter);
                here || self
                    .rules
                    .iter()
                    .filter(shared)
                    .any(|rule| lacks_of(rule, *r))
            })
        };
        let loans = self.loans(waiter).into_iter();
        loans
            .filter(|(id, lent)| helps(id, lent))
            .map(|(id, _)| id)
            .collect()
    }

    /// Whether a job starts once these, and all that are being stopped, are over.
    fn starts_without(&self, ended: &[JobId], waiter: &JobId) -> bool {
        self.without(ended).holds(waiter)
    }

    fn without(&self, ended: &[JobId]) -> World {
        let mut then = World::new("mode: enforce\n");
        (then.state, then.now) = (self.w.state.clone(), self.w.now);
        then.gates.clone_from(&self.w.gates);
        let stopping = |j: &&Job| j.stop.is_some() && self.door(j) != Gate::Down;
        let ids: BTreeSet<JobId> = self
            .holding()
            .filter(stopping)
            .map(|j| j.new.id.clone())
            .collect();
        for id in ids
            .iter()
            .chain(ended.iter().filter(|id| !ids.contains(*id)))
        {
            then.end(id);
        }
        // Until further loans would be stopped.
        for _ in 0..1000 {
            let events = next(&then.state, &then.moment());
            let starts = |e: &Event| matches!(e, Event::Granted { .. });
            if events.is_empty() || !events.iter().all(starts) {
                break;
            }
            events.into_iter().for_each(|e| then.apply(e));
        }
        then
    }

    /// Whether somebody who shares all quotas that lend to them is started instead when these are over: there the order of the
    /// queue holds, and it moves with each start, by the shares of who was started.
    fn is_passed(&self, waiter: &Job, ended: &[JobId]) -> bool {
        let then = self.without(ended);
        let shares = |j: &Job| {
            let lenders = &j.grant().expect("it was started").lent_by;
            let rules = self.rules.iter().enumerate();
            let mut lenders = rules.filter(|(n, _)| lenders.contains(&format!("q{n}")));
            lenders.all(|(_, rule)| rule.bucket(j) == rule.bucket(waiter))
        };
        let mut started = then
            .state
            .jobs()
            .filter(|j| j.grant().is_some() && !self.w.holds(&j.new.id));
        started.any(shares)
    }

    /// These are to be stopped: they are loans, there is somebody within their limits who has waited long enough and starts
    /// when they are gone, and no fewer would do.
    fn check_stops(&self, named: &[JobId]) -> Result<(), TestCaseError> {
        let paced = self
            .w
            .gates
            .values()
            .any(|g| matches!(g, Gate::Paced { .. }));
        for id in named {
            let grant = self.w.job(id).grant();
            prop_assert!(grant.is_some_and(|g| g.borrowed), "{} is no loan", id);
            prop_assert!(
                self.door(self.w.job(id)) != Gate::Down,
                "{} cannot be stopped",
                id
            );
        }
        if paced {
            return Ok(());
        }
        // What a bucket was lent itself does not come back to it.
        let stays = |waiter: &Job, j: &Job| {
            let Some(g) = j.grant().filter(|g| g.borrowed) else {
                return true;
            };
            let rules = self.rules.iter().enumerate();
            let mut lenders = rules.filter(|(n, _)| g.lent_by.contains(&format!("q{n}")));
            lenders.all(|(_, rule)| rule.bucket(j) == rule.bucket(waiter))
        };
        // Who waits still when what is being stopped already is over, and what they lack then.
        let mut then = self.snapshot();
        then.w = self.without(&[]);
        let runs_on = |id: &JobId| self.w.holds(id) && self.w.job(id).stop.is_none();
        let (mut tried, mut passed) = (Vec::new(), false);
        for waiter in then.waiting() {
            let id = &waiter.new.id;
            if !then.is_within(waiter, |j| stays(waiter, j)) {
                continue;
            }
            if !self.starts_without(named, id) {
                passed |= self.is_passed(waiter, named);
                continue;
            }
            // Where something is kept for others it may be that which is lacking.
            let useful = if then.somebody_has_waited() {
                then.loans(waiter).into_keys().collect()
            } else {
                then.useful(waiter)
            };
            let useful: Vec<JobId> = useful.into_iter().filter(runs_on).collect();
            if !named.iter().all(|n| useful.contains(n)) || useful.len() > 8 {
                tried.push((id.clone(), useful, 0));
                continue;
            }
            let sets = (0u32..1 << useful.len()).map(|set| {
                let of = (0..useful.len()).filter(|n| set >> n & 1 == 1);
                of.map(|n| useful[n].clone()).collect::<Vec<_>>()
            });
            let fewer = sets.filter(|set| set.len() < named.len());
            let fewest = fewer
                .filter(|set| self.starts_without(set, id))
                .map(|s| s.len())
                .min();
            match fewest {
                None => return Ok(()),
                Some(n) => tried.push((id.clone(), useful, n)),
            }
        }
        let all = self.told();
        prop_assert!(
            passed,
            "{:?} are stopped for nobody: {:?}\n{}",
            named,
            tried,
            all
        );
        Ok(())
    }

    fn snapshot(&self) -> Test {
        let mut w = World::new("mode: enforce\n");
        (w.state, w.now) = (self.w.state.clone(), self.w.now);
        w.gates.clone_from(&self.w.gates);
        Test {
            w,
            rules: self.rules.clone(),
            has: self.has,
            bound: self.bound,
        }
    }

    /// Lets the queue move until it rests, each event checked.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..1000 {
            let events = next(&self.w.state, &self.w.moment());
            if events.is_empty() {
                return self.check_rest();
            }
            let before = self.snapshot();
            let mut named = Vec::new();
            for event in &events {
                match event {
                    Event::StopRequested { id, .. } => named.push(id.clone()),
                    Event::Granted { .. } => {}
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            if !named.is_empty() {
                self.check_stops(&named)?;
            }
            for event in events {
                let started = match &event {
                    Event::Granted { id, .. } => Some(id.clone()),
                    _ => None,
                };
                self.w.apply(event);
                if let Some(id) = started {
                    self.check_start(&id, &before)?;
                }
            }
            self.check_sums()?;
        }
        prop_assert!(false, "the queue does not come to rest");
        Ok(())
    }

    /// Nobody is left waiting who could start.
    fn check_rest(&self) -> Result<(), TestCaseError> {
        let waiting = self.waiting();
        if !self.somebody_has_waited() {
            for job in &waiting {
                let could = self.door(job) == Gate::Open && self.fits(job);
                prop_assert!(!could, "{} could start", job.new.id);
            }
        }
        if let [only] = waiting[..] {
            let lent = |rule: &Rule, r: usize| match (rule.bounds[r], amount(only, r)) {
                (None, _) | (_, 0) => true,
                (Some((limit, borrow)), a) => {
                    self.held(rule, only, r, |_| true) + a <= limit + borrow
                }
            };
            let mut rules = self.rules.iter().filter(|rule| rule.bucket(only).is_some());
            let could = self.door(only) == Gate::Open
                && self.has_room(only)
                && rules.all(|rule| (0..2).all(|r| lent(rule, r)));
            prop_assert!(!could, "{} alone could start", only.new.id);
        }
        Ok(())
    }

    /// Ends what is being stopped where it can be told; its owner submits the same again at once.
    fn end_stopped(&mut self) -> Result<(), TestCaseError> {
        let mut rounds = 0;
        loop {
            let stopping = |j: &&Job| j.stop.is_some() && self.door(j) != Gate::Down;
            let Some(job) = self.holding().filter(stopping).min_by_key(|j| j.seq) else {
                return Ok(());
            };
            let (id, new) = (job.new.id.clone(), job.new.clone());
            rounds += 1;
            prop_assert!(rounds <= 40, "loans are stopped without end");
            self.w.end(&id);
            self.settle()?;
            let kind = new
                .subject
                .job_type
                .clone()
                .unwrap_or_else(|| "usual".into());
            let mut again = want(&new.subject.user)
                .on(&new.cluster)
                .job_type(&kind)
                .minutes(60);
            for r in &RESOURCES {
                again = again.of(&r.to_string(), &(new.request.get(r).0 / 1000).to_string());
            }
            self.submit(&again)?;
        }
    }

    fn submit(&mut self, want: &Want) -> Result<(), TestCaseError> {
        let before = self.snapshot();
        // As the world does, but for the queue, which is looked at event by event.
        let seen = self.w.journal.len();
        self.w.submit_only(want);
        for rec in &self.w.journal[seen..] {
            if let Event::Admitted { job, .. } = &rec.event {
                let mut early = before.snapshot();
                early.w.now = before.w.now;
                self.check_start(&job.id, &early)?;
            }
        }
        self.check_sums()?;
        self.settle()
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Submit {
                user,
                ask,
                lab,
                hot,
            } => {
                let [cpu, gpu] = ask.map(|a| a.to_string());
                let kind = if *hot { "hot" } else { "usual" };
                let want = want(USERS[*user])
                    .cpu(&cpu)
                    .gpu(&gpu)
                    .job_type(kind)
                    .minutes(60);
                self.submit(&want.on(CLUSTERS[usize::from(*lab)]))?;
            }
            Step::End(n) => {
                let mut open: Vec<(u64, JobId)> =
                    self.holding().map(|j| (j.seq, j.new.id.clone())).collect();
                open.sort();
                if !open.is_empty() {
                    self.w.end(&open[n % open.len()].1);
                }
            }
            Step::Pass(ms) => self.w.pass(*ms),
            Step::Turn(c, door) => {
                let next = Timestamp(self.w.now + 30_000);
                let gate = match door {
                    Door::Open => Gate::Open,
                    Door::Down => Gate::Down,
                    Door::Paced => Gate::Paced { next },
                };
                self.w.gates.insert(CLUSTERS[*c].into(), gate);
            }
        }
        self.settle()?;
        self.end_stopped()
    }

    /// Everything opens, what runs ends, one after the other: all that wait are started.
    fn drain(&mut self) -> Result<(), TestCaseError> {
        self.w.gates.clear();
        for _ in 0..400 {
            self.settle()?;
            self.end_stopped()?;
            let Some(id) = self
                .holding()
                .min_by_key(|j| j.seq)
                .map(|j| j.new.id.clone())
            else {
                break;
            };
            self.w.end(&id);
            self.w.pass(MINUTE);
        }
        let left: Vec<&JobId> = self.waiting().iter().map(|j| &j.new.id).collect();
        prop_assert!(left.is_empty(), "{:?} never start", left);
        Ok(())
    }
}

/// The same cases each time: what is found with others is worth a test of its own. Whoever looks for it says how many with
/// `PROPTEST_CASES`, and gets others each time.
#[expect(
    clippy::disallowed_methods,
    reason = "the test asks how many cases are wanted; nothing of the core does"
)]
fn cases() -> ProptestConfig {
    let config = ProptestConfig {
        max_shrink_iters: 4_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_some() {
        return config;
    }
    ProptestConfig {
        cases: 400,
        rng_seed: RngSeed::Fixed(20),
        ..config
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_limit_is_passed_nobody_entitled_is_passed_and_what_is_stopped_helps_somebody(
        setting in setting(), steps in proptest::collection::vec(step(), 1..40),
    ) {
        let mut test = Test::new(&setting);
        for step in &steps {
            test.step(step)?;
        }
        test.drain()?;
    }
}
