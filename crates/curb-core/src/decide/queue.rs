//! The order of the queue, and who starts next.
//!
//! Order: priority, then fair share (see the ledger's `fair`), then age. A job that does not fit may be passed by jobs
//! behind it until it has waited the policy's `pass_bound`; from then on what it needs counts as held for all behind it, so
//! that they start only where they leave it room. To waste nothing, that is kept for it from the inside out: while its own
//! user's limits stop it, only in these; while a shared quota stops it, in these and in quotas; else on the cluster too.
//! So once a job is first in its order and has waited the bound, it starts at the latest when what then runs has ended
//! three times over (user's limits, quotas, cluster), however many smaller jobs come.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::check::{Check, Fit, Hit, Kind, Place, Promised, Scope, Wanted};
use super::moment::{Gate, Moment};
use crate::ledger::{Class, Event, Job, Phase, ResIx, State};
use crate::policy::{Mode, Reclaim};
use crate::time::{Millis, Timestamp};

/// A class's place in the order: smaller goes first.
type Place4 = (Reverse<i32>, Vec<u64>, u64);

/// What a look at the whole queue found.
struct Look<'a> {
    state: &'a State,
    moment: &'a Moment,
    wanted: Wanted,
    shares: HashMap<u32, u64>,
    nothing: Promised,
}

/// The next step of the queue, or nothing when nobody who waits can start now. Apply it and ask again.
#[must_use]
pub fn next(state: &State, moment: &Moment) -> Vec<Event> {
    if state.queued_count() == 0 {
        return Vec::new();
    }
    let mut look = Look::new(state, moment);
    if state.mode() == Mode::Enforce {
        look.find_wanted();
    }
    if let Some((job, borrowed)) = look.pick() {
        return vec![Event::Granted {
            id: job.new.id.clone(),
            borrowed,
        }];
    }
    look.reclaim()
}

impl<'a> Look<'a> {
    fn new(state: &'a State, moment: &'a Moment) -> Look<'a> {
        Look {
            state,
            moment,
            wanted: Wanted::new(),
            shares: HashMap::new(),
            nothing: Promised::default(),
        }
    }
}

/// Resources of which somebody within their limits waits for capacity, by cluster.
pub(crate) fn wanted(state: &State, moment: &Moment) -> Wanted {
    let mut look = Look::new(state, moment);
    look.find_wanted();
    look.wanted
}

impl Look<'_> {
    fn check<'b>(&'b self, class: &'b Class, promised: &'b Promised) -> Check<'b> {
        Check {
            state: self.state,
            moment: self.moment,
            seat: &self.state.seats[class.seat as usize],
            made: &[],
            ask: &class.ask,
            duration: class.duration,
            scope: Scope::Enforced,
            submitting: false,
            promised,
            wanted: &self.wanted,
        }
    }

    fn open(&self, class: &Class) -> bool {
        let seat = &self.state.seats[class.seat as usize];
        self.moment.gate(&self.state.cluster_at(seat.cluster).name) == Gate::Open
    }

    /// Marks resources of which somebody within their limits waits for capacity: these are not lent to others.
    fn find_wanted(&mut self) {
        let lends = |r: &crate::policy::Quota| !r.borrow.is_empty();
        if !self.state.policy().quotas.iter().any(lends) {
            return;
        }
        let mut wanted = Wanted::new();
        for class in &self.state.classes {
            let hits = self.check(class, &self.nothing).all();
            let by_cluster = |h: &Hit| match h.kind {
                Kind::Capacity(r) | Kind::Guarantee(r) if !h.alone => Some(r),
                _ => None,
            };
            if hits.is_empty()
                || !hits.iter().all(|h| by_cluster(h).is_some())
                || self.borrows(class)
            {
                continue;
            }
            let cluster = self.state.seats[class.seat as usize].cluster;
            for r in hits.iter().filter_map(by_cluster) {
                wanted.insert((cluster, r));
            }
        }
        self.wanted = wanted;
    }

    /// Whether a class would go above a limit of its own.
    fn borrows(&self, class: &Class) -> bool {
        let seat = &self.state.seats[class.seat as usize];
        seat.buckets.iter().any(|b| {
            let bucket = &self.state.buckets[*b as usize];
            let limits = super::check::limits_of(self.state, bucket, self.moment.now);
            let counts = self.moment.applies(bucket.quota) && !self.state.rules[bucket.quota].audit;
            counts
                && class.ask.iter().any(|(r, a)| {
                    limits
                        .resource(*r)
                        .is_some_and(|l| bucket.held.get(*r).saturating_add(*a) > l)
                })
        })
    }

    /// The first in the order that fits.
    fn pick(&mut self) -> Option<(&'_ Job, bool)> {
        let state = self.state;
        let bound = state.policy().queue.pass_bound;
        let mut fitting = Vec::new();
        let mut waited = Vec::new();
        for (ix, class) in state.classes.iter().enumerate() {
            if !self.open(class) {
                continue;
            }
            match self.check(class, &self.nothing).fits() {
                Fit::Yes { .. } => fitting.push(ix),
                // What can never fit, by whichever limit, keeps nothing from others.
                Fit::No if self.head_waited(class) >= bound && self.could_fit(class) => {
                    waited.push(ix);
                }
                Fit::No => {}
            }
        }
        if fitting.is_empty() {
            return None;
        }
        let mut order: Vec<(Place4, usize, bool)> =
            Vec::with_capacity(fitting.len() + waited.len());
        for ix in fitting {
            order.push((self.place(&state.classes[ix]), ix, true));
        }
        for ix in waited {
            order.push((self.place(&state.classes[ix]), ix, false));
        }
        order.sort_unstable();
        let mut promised = Promised::default();
        for (_, ix, fits) in order {
            let class = &state.classes[ix];
            if !fits {
                self.promise(class, &mut promised);
                continue;
            }
            if let Fit::Yes { borrowed } = self.check(class, &promised).fits() {
                let job = class.members.values().next()?;
                return Some((&state.slot_at(*job)?.job, borrowed));
            }
        }
        None
    }

    fn could_fit(&self, class: &Class) -> bool {
        self.check(class, &self.nothing)
            .all()
            .iter()
            .all(|h| !h.alone)
    }

    fn head_waited(&self, class: &Class) -> Millis {
        class
            .members
            .values()
            .next()
            .and_then(|ix| self.state.slot_at(*ix))
            .map_or(Millis(0), |s| self.moment.now.since(s.job.submitted))
    }

    /// Counts what a blocked job needs as held, from the inside out.
    fn promise(&self, class: &Class, promised: &mut Promised) {
        let hits = self.check(class, &self.nothing).all();
        let private = |b: &u32| {
            let rule = self.state.buckets[*b as usize].quota;
            self.state.rules[rule].private
        };
        let in_private = hits
            .iter()
            .any(|h| matches!(h.place, Place::Bucket(b) if private(&b)));
        let in_quota = hits.iter().any(|h| matches!(h.place, Place::Bucket(_)));
        let seat = &self.state.seats[class.seat as usize];
        for b in &seat.buckets {
            if in_private && !private(b) {
                continue;
            }
            for (r, a) in class.ask.iter() {
                let sum = promised.buckets.entry((*b, *r)).or_insert(0);
                *sum = sum.saturating_add(*a);
            }
            *promised.jobs.entry(*b).or_insert(0) += 1;
        }
        if !in_quota {
            for (r, a) in class.ask.iter() {
                let sum = promised.clusters.entry((seat.cluster, *r)).or_insert(0);
                *sum = sum.saturating_add(*a);
            }
        }
    }

    /// A class's place in the order.
    fn place(&mut self, class: &Class) -> Place4 {
        let nodes = &self.state.seats[class.seat as usize].nodes;
        let path = nodes.iter().map(|n| self.share(*n)).collect();
        let age = class.members.keys().next().copied().unwrap_or(u64::MAX);
        (Reverse(class.priority), path, age)
    }

    /// A node's dominant share.
    fn share(&mut self, n: u32) -> u64 {
        if let Some(share) = self.shares.get(&n) {
            return *share;
        }
        let node = &self.state.nodes[n as usize];
        let half_life = self.state.policy().queue.half_life;
        let share = node
            .usage
            .iter()
            .enumerate()
            .filter_map(|(ix, u)| Some((ResIx::try_from(ix).ok()?, u)))
            .filter_map(|(ix, u)| {
                let capacity = self.total_capacity(ix)?;
                Some(u.share(self.moment.now, half_life, capacity, node.weight))
            })
            .max()
            .unwrap_or(0);
        self.shares.insert(n, share);
        share
    }

    /// What all clusters have of a resource; `None` when none is known to have it.
    fn total_capacity(&self, r: ResIx) -> Option<u64> {
        let sum = self
            .state
            .clusters()
            .filter_map(|c| c.capacity.get(r))
            .fold(0u64, u64::saturating_add);
        (sum > 0).then_some(sum)
    }

    /// Stops for borrowed capacity that somebody entitled has waited for long enough.
    fn reclaim(&self) -> Vec<Event> {
        if self.wanted.is_empty() {
            return Vec::new();
        }
        let longest = self
            .state
            .classes
            .iter()
            .filter(|c| {
                let cluster = self.state.seats[c.seat as usize].cluster;
                !self.borrows(c)
                    && c.ask
                        .iter()
                        .any(|(r, _)| self.wanted.contains(&(cluster, *r)))
            })
            .map(|c| self.head_waited(c))
            .max()
            .unwrap_or_default();
        for (b, bucket) in self.state.buckets.iter().enumerate() {
            let quota = &self.state.policy().quotas[bucket.quota];
            let Reclaim::StopAfter(after) = quota.reclaim else {
                continue;
            };
            if longest < after || !self.above_own_limit(bucket) {
                continue;
            }
            if let Some(job) = self.youngest_borrower(b) {
                return vec![Event::StopRequested {
                    id: job.new.id.clone(),
                    by: "curb".into(),
                    why: format!(
                        "it ran on capacity borrowed above quota {}; somebody entitled has waited {longest} for it",
                        quota.name
                    ),
                }];
            }
        }
        Vec::new()
    }

    /// Whether a bucket holds more than its limit in a wanted resource, not counting jobs that are being stopped.
    fn above_own_limit(&self, bucket: &crate::ledger::Bucket) -> bool {
        let limits = super::check::limits_of(self.state, bucket, self.moment.now);
        self.wanted.iter().any(|(_, r)| {
            let stopping: u64 = bucket
                .holders
                .iter()
                .filter_map(|(_, ix)| self.state.slot_at(*ix))
                .filter(|s| s.job.stop.is_some())
                .flat_map(|s| s.ask.iter())
                .filter(|(a, _)| a == r)
                .map(|(_, amount)| *amount)
                .sum();
            limits
                .resource(*r)
                .is_some_and(|l| bucket.held.get(*r).saturating_sub(stopping) > l)
        })
    }

    fn youngest_borrower(&self, bucket: usize) -> Option<&Job> {
        self.state.buckets[bucket]
            .holders
            .iter()
            .filter_map(|(_, ix)| self.state.slot_at(*ix))
            .map(|s| &s.job)
            .filter(|j| j.stop.is_none())
            .filter(|j| match &j.phase {
                Phase::Reserved(g) | Phase::Running(g) => g.borrowed,
                _ => false,
            })
            .max_by_key(|j| (j.grant().map(|g| g.since), j.seq))
    }
}

/// Where a waiting job stands among those of its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub position: usize,
    /// Of so many.
    pub of: usize,
}

/// The position of a waiting job in the order of its cluster's queue.
#[must_use]
pub fn position(state: &State, moment: &Moment, job: &Job) -> Option<Position> {
    if !job.is_queued() {
        return None;
    }
    let (_, slot) = state.slot(&job.new.id)?;
    let cluster = state.seats[slot.seat as usize].cluster;
    let mut look = Look::new(state, moment);
    let nodes = &state.seats[slot.seat as usize].nodes;
    let path: Vec<u64> = nodes.iter().map(|n| look.share(*n)).collect();
    let mine: Place4 = (Reverse(job.new.priority), path, job.seq);
    let (mut ahead, mut of) = (0, 0);
    for class in &state.classes {
        if state.seats[class.seat as usize].cluster != cluster {
            continue;
        }
        of += class.members.len();
        let theirs = look.place(class);
        ahead += match (&theirs.0, &theirs.1).cmp(&(&mine.0, &mine.1)) {
            std::cmp::Ordering::Less => class.members.len(),
            std::cmp::Ordering::Equal => class.members.range(..mine.2).count(),
            std::cmp::Ordering::Greater => 0,
        };
    }
    Some(Position {
        position: ahead + 1,
        of,
    })
}

/// The places of all waiting jobs, each among those of its cluster, found in one walk.
#[derive(Clone, Debug)]
pub struct Places {
    by_number: HashMap<u64, Position>,
}

impl Places {
    /// Looks at all that wait.
    #[must_use]
    pub fn of(state: &State, moment: &Moment) -> Places {
        let mut look = Look::new(state, moment);
        let mut order: Vec<(u32, Reverse<i32>, Vec<u64>, usize)> = state
            .classes
            .iter()
            .enumerate()
            .map(|(ix, class)| {
                let (priority, path, _) = look.place(class);
                let cluster = state.seats[class.seat as usize].cluster;
                (cluster, priority, path, ix)
            })
            .collect();
        order.sort_unstable();
        let mut by_number = HashMap::with_capacity(state.queued_count());
        for cluster in order.chunk_by(|a, b| a.0 == b.0) {
            let members = |c: &(u32, Reverse<i32>, Vec<u64>, usize)| &state.classes[c.3].members;
            let of = cluster.iter().map(|c| members(c).len()).sum();
            let mut ahead = 0;
            // Among classes that are alike in priority and share, age decides.
            for alike in cluster.chunk_by(|a, b| (&a.1, &a.2) == (&b.1, &b.2)) {
                let mut ages: Vec<u64> = alike
                    .iter()
                    .flat_map(|c| members(c).keys().copied())
                    .collect();
                ages.sort_unstable();
                let places = ages.iter().zip(ahead + 1..);
                by_number.extend(places.map(|(seq, position)| (*seq, Position { position, of })));
                ahead += ages.len();
            }
        }
        Places { by_number }
    }

    /// The place of a job; `None` when it did not wait.
    #[must_use]
    pub fn get(&self, job: &Job) -> Option<Position> {
        let place = self.by_number.get(&job.seq).copied();
        place.filter(|_| job.is_queued())
    }
}

/// Whether somebody on a cluster has waited past the bound, so that a new job has to be put in the order.
pub(crate) fn somebody_waited(state: &State, moment: &Moment, cluster: u32) -> bool {
    let bound = state.policy().queue.pass_bound;
    let look = Look::new(state, moment);
    state
        .classes
        .iter()
        .filter(|c| state.seats[c.seat as usize].cluster == cluster)
        .any(|c| look.head_waited(c) >= bound)
}

/// When time alone may next change what can start: a window, a budget's period, an override's end, the passing bound.
#[must_use]
pub fn next_change(state: &State, moment: &Moment) -> Option<Timestamp> {
    let after = |t: Timestamp| (t > moment.now).then_some(t);
    let calendar = after(moment.calendar.until).filter(|t| t.0 < i64::MAX);
    let overrides = state.overrides().filter_map(|o| after(o.until)).min();
    let budgets = state
        .buckets
        .iter()
        .flat_map(|b| &b.meters)
        .filter_map(|m| after(m.read(moment.now).resets))
        .min();
    let bound = state
        .waiting
        .first()
        .and_then(|(_, ix)| state.slot_at(*ix))
        .and_then(|s| after(s.job.submitted.after(state.policy().queue.pass_bound)));
    [calendar, overrides, budgets, bound]
        .into_iter()
        .flatten()
        .min()
}
