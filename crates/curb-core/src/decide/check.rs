//! Holding a request against every limit that covers it.
//!
//! One walk ([`Check::walk`]) finds the limits in the way. The quick answer stops at the first; the explanation collects
//! them all. Both see the same limits in the same order, since they are the same code.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::ControlFlow;

use super::moment::Moment;
use super::promise::{Kept, Lenders};
use crate::ledger::{Bucket, Has, Meter, Reading, ResIx, Seat, Slot, State};
use crate::policy::Mode;
use crate::time::{Millis, Timestamp};

/// Where a limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a bucket, by number.
    Bucket(u32),
    /// On the cluster.
    Cluster,
}

/// Which kind of limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The subject may not use its job type.
    JobType,
    /// The subject may not use the cluster.
    ClusterAccess,
    PerJob(ResIx),
    Duration,
    Concurrent(ResIx),
    Jobs,
    Queued,
    Rate,
    Budget(usize),
    DurationNeeded(usize),
    Capacity(ResIx),
    /// What the cluster has of it could not be read yet.
    Unread(ResIx),
    Guarantee(ResIx),
    Borrowing(ResIx),
    Turn(ResIx),
    TurnJobs,
    TurnBudget(usize),
}

/// A limit in the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    /// In the resource's smallest unit, jobs, milliseconds or resource-time, by kind.
    pub(crate) limit: u128,
    pub(crate) used: u128,
    pub(crate) asked: u128,
    /// Even alone it would not fit.
    pub(crate) alone: bool,
    /// Of a budget that has enough left now: the begin of the period that has not.
    pub(crate) period: Option<Timestamp>,
}

impl Hit {
    /// Whether it is not in the way by itself, but since something is kept for others.
    pub(crate) fn is_turn(&self) -> bool {
        matches!(
            self.kind,
            Kind::Turn(_) | Kind::TurnJobs | Kind::TurnBudget(_)
        )
    }
}

/// What some jobs hold that is counted as if they held nothing, less what others would hold that hold nothing yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Freed {
    buckets: HashMap<(u32, ResIx), i64>,
    jobs: HashMap<u32, i64>,
    clusters: HashMap<(u32, ResIx), i64>,
    total: HashMap<ResIx, i64>,
}

/// What is held, with what was freed of it taken away.
fn less(held: u64, freed: i64) -> u64 {
    if freed < 0 {
        held.saturating_add(freed.unsigned_abs())
    } else {
        held.saturating_sub(freed.unsigned_abs())
    }
}

impl Freed {
    /// Counts a job as if it held nothing.
    pub(crate) fn add(&mut self, state: &State, slot: &Slot) {
        self.change(&state.seats[slot.seat as usize], &slot.ask, 1);
    }

    /// Counts one that was added as what it is again.
    pub(crate) fn take_back(&mut self, state: &State, slot: &Slot) {
        self.change(&state.seats[slot.seat as usize], &slot.ask, -1);
    }

    /// Counts a job that waits as if it held what it asks for.
    pub(crate) fn start(&mut self, seat: &Seat, ask: &[(ResIx, u64)]) {
        self.change(seat, ask, -1);
    }

    fn change(&mut self, seat: &Seat, ask: &[(ResIx, u64)], sign: i64) {
        let add = |to: &mut i64, amount: u64| {
            let amount = i64::try_from(amount).unwrap_or(i64::MAX);
            *to = to.saturating_add(amount.saturating_mul(sign));
        };
        for (r, a) in ask {
            add(self.clusters.entry((seat.cluster, *r)).or_insert(0), *a);
            add(self.total.entry(*r).or_insert(0), *a);
        }
        for b in &seat.buckets {
            add(self.jobs.entry(*b).or_insert(0), 1);
            for (r, a) in ask {
                add(self.buckets.entry((*b, *r)).or_insert(0), *a);
            }
        }
    }

    /// Of what a bucket holds, as far as that is less.
    pub(crate) fn in_bucket(&self, b: u32, r: ResIx) -> u64 {
        let freed = self.buckets.get(&(b, r)).copied().unwrap_or(0);
        freed.max(0).unsigned_abs()
    }
}

/// What somebody within their limits waits for: nothing of it is lent meanwhile.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Capacity, by number of cluster; and which class alone wants it, or [`SEVERAL`].
    clusters: HashMap<(u32, ResIx), usize>,
    /// What others have of a quota that they share with who waits, by number of bucket; and which class alone wants it.
    buckets: HashMap<(u32, ResIx), usize>,
}

/// More than one class.
const SEVERAL: usize = usize::MAX;

impl Wanted {
    /// A class wants capacity of a cluster.
    pub(crate) fn add_capacity(&mut self, cluster: u32, r: ResIx, class: usize) {
        let by = self.clusters.entry((cluster, r)).or_insert(class);
        *by = if *by == class { class } else { SEVERAL };
    }

    /// A class wants what is used up of a bucket.
    pub(crate) fn add_of_bucket(&mut self, b: u32, r: ResIx, class: usize) {
        let by = self.buckets.entry((b, r)).or_insert(class);
        *by = if *by == class { class } else { SEVERAL };
    }

    /// What other classes than this one want.
    pub(crate) fn besides(&self, class: usize) -> Wanted {
        let mut others = self.clone();
        others.clusters.retain(|_, by| *by != class);
        others.buckets.retain(|_, by| *by != class);
        others
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.clusters.is_empty() && self.buckets.is_empty()
    }

    /// Whether somebody wants of a resource what somebody in this seat would have.
    pub(crate) fn has(&self, seat: &Seat, r: ResIx) -> bool {
        let mut buckets = seat.buckets.iter();
        self.clusters.contains_key(&(seat.cluster, r))
            || (!self.buckets.is_empty() && buckets.any(|b| self.buckets.contains_key(&(*b, r))))
    }

    /// All resources that somebody wants, some of them twice.
    pub(crate) fn resources(&self) -> impl Iterator<Item = ResIx> {
        let keys = self.clusters.keys().chain(self.buckets.keys());
        keys.map(|(_, r)| *r)
    }
}

/// Of at most so many jobs it is asked whether they would wait; of more, all would.
const LOOKED_AT: usize = 256;

/// What budgets say at one moment of one state, each read once: a budget of everybody sums up all that run.
#[derive(Debug, Default)]
pub(crate) struct Readings(RefCell<HashMap<(u32, usize), Reading>>);

impl Readings {
    /// Of a bucket's budget by number.
    pub(crate) fn get(&self, b: u32, at: usize, meter: &Meter, now: Timestamp) -> Reading {
        let mut read = self.0.borrow_mut();
        *read.entry((b, at)).or_insert_with(|| meter.read(now))
    }
}

/// Which limits to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those that are enforced.
    Enforced,
    /// Those that are only recorded.
    Recorded,
}

/// A request against the limits.
pub(crate) struct Check<'a> {
    pub(crate) state: &'a State,
    pub(crate) moment: &'a Moment,
    pub(crate) seat: &'a Seat,
    /// Buckets that the seat would be given, with numbers past those of the state.
    pub(crate) made: &'a [Bucket],
    pub(crate) ask: &'a [(ResIx, u64)],
    pub(crate) duration: Option<Millis>,
    pub(crate) scope: Scope,
    /// It is being submitted: limits on submitting count as well.
    pub(crate) submitting: bool,
    /// What is kept for others, counted as if it were held.
    pub(crate) kept: Kept<'a>,
    /// What entitled jobs wait for: nothing of it is lent.
    pub(crate) wanted: &'a Wanted,
    /// Jobs that are counted as if they held nothing.
    pub(crate) freed: Option<&'a Freed>,
    /// Where many are looked at in the same state and moment: what budgets said before.
    pub(crate) readings: Option<&'a Readings>,
}

/// What the quick answer is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fit {
    /// It fits.
    Yes {
        /// On borrowed capacity.
        borrowed: bool,
    },
    /// It does not.
    No {
        /// The first limit in the way.
        first: Hit,
    },
}

impl Check<'_> {
    fn bucket_at(&self, ix: u32) -> &Bucket {
        let ix = ix as usize;
        let there = &self.state.buckets;
        there
            .get(ix)
            .unwrap_or_else(|| &self.made[ix - there.len()])
    }

    /// What a bucket holds of a resource.
    fn held(&self, b: u32, bucket: &Bucket, r: ResIx) -> u64 {
        let freed = self.freed.and_then(|f| f.buckets.get(&(b, r)));
        less(bucket.held.get(r), freed.copied().unwrap_or(0))
    }

    /// What is held of a resource on all clusters together.
    fn held_anywhere(&self, r: ResIx) -> u64 {
        let freed = self.freed.and_then(|f| f.total.get(&r));
        less(self.state.total.get(r), freed.copied().unwrap_or(0))
    }

    /// Whether it fits now.
    pub(crate) fn fits(&self) -> Fit {
        let mut blocked = None;
        let borrowed = self.walk(&mut |hit| {
            blocked = Some(hit);
            ControlFlow::Break(())
        });
        match blocked {
            Some(first) => Fit::No { first },
            None => Fit::Yes { borrowed },
        }
    }

    /// All limits in the way as long as `like` holds of them, or the first of which it does not.
    pub(crate) fn all_like(&self, like: impl Fn(&Hit) -> bool) -> Result<Vec<Hit>, Hit> {
        let (mut hits, mut unlike) = (Vec::new(), None);
        self.walk(&mut |hit| {
            if like(&hit) {
                hits.push(hit);
                return ControlFlow::Continue(());
            }
            unlike = Some(hit);
            ControlFlow::Break(())
        });
        unlike.map_or(Ok(hits), Err)
    }

    /// All limits in the way.
    pub(crate) fn all(&self) -> Vec<Hit> {
        let mut hits = Vec::new();
        self.walk(&mut |hit| {
            hits.push(hit);
            ControlFlow::Continue(())
        });
        hits
    }

    /// Shows each limit in the way to `see` until it has seen enough. Returns whether it would borrow.
    fn walk(&self, see: &mut dyn FnMut(Hit) -> ControlFlow<()>) -> bool {
        let mut borrowed = false;
        let observing = self.state.mode() == Mode::Audit;
        if !observing && self.scope == Scope::Enforced && self.access(see).is_break() {
            return borrowed;
        }
        for b in &self.seat.buckets {
            let bucket = self.bucket_at(*b);
            let rule = &self.state.rules[bucket.quota];
            let recorded = observing || rule.audit;
            if recorded != (self.scope == Scope::Recorded) || !self.moment.applies(bucket.quota) {
                continue;
            }
            if self.bucket(*b, bucket, &mut borrowed, see).is_break() {
                return borrowed;
            }
        }
        // The cluster itself is as much observed as the policy is.
        if observing == (self.scope == Scope::Recorded) {
            let _ = self.cluster(see);
        }
        borrowed
    }

    /// Whether the subject may still use its job type and the cluster. Of one that is being submitted
    /// [`super::resolve`] has said it.
    fn access(&self, see: &mut dyn FnMut(Hit) -> ControlFlow<()>) -> ControlFlow<()> {
        let denied = self.seat.denied;
        for (is, kind) in [
            (denied.job_type, Kind::JobType),
            (denied.cluster, Kind::ClusterAccess),
        ] {
            if is && !self.submitting {
                see(Hit {
                    period: None,
                    place: Place::Cluster,
                    kind,
                    limit: 0,
                    used: 0,
                    asked: 0,
                    alone: true,
                })?;
            }
        }
        ControlFlow::Continue(())
    }

    /// The buckets above whose limits it would be on what they may lend, whether it fits or not.
    pub(crate) fn lenders(&self) -> Lenders {
        let mut lenders = Lenders::default();
        for b in &self.seat.buckets {
            let bucket = self.bucket_at(*b);
            let rule = &self.state.rules[bucket.quota];
            if rule.audit || rule.borrow.is_empty() || !self.moment.applies(bucket.quota) {
                continue;
            }
            let limits = self.limits_of(bucket);
            let mut ask = self.ask.iter();
            let lends = ask.any(|(r, a)| {
                let limit = rule.borrow.get(*r).and_then(|_| limits.resource(*r));
                limit.is_some_and(|l| self.held(*b, bucket, *r).saturating_add(*a) > l)
            });
            if lends && rule.private {
                lenders.private.push(*b);
            } else if lends {
                lenders.shared.push(*b);
            }
        }
        lenders.private.sort_unstable();
        lenders.shared.sort_unstable();
        lenders
    }

    /// The quotas above whose limits it would be, by name.
    pub(crate) fn lent_by(&self) -> Vec<String> {
        let Lenders { shared, private } = self.lenders();
        let all = shared.into_iter().chain(private);
        let name = |b: u32| self.state.rules[self.bucket_at(b).quota].name.clone();
        let mut names: Vec<String> = all.map(name).collect();
        names.sort();
        names
    }

    fn kept_of(&self, of: impl Fn(&Kept<'_>) -> u64) -> u64 {
        if self.kept.is_empty() {
            0
        } else {
            of(&self.kept)
        }
    }

    fn bucket(
        &self,
        b: u32,
        bucket: &Bucket,
        borrowed: &mut bool,
        see: &mut dyn FnMut(Hit) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let rule = &self.state.rules[bucket.quota];
        let place = Place::Bucket(b);
        let limits = self.limits_of(bucket);
        if let (Some(limit), Some(asked)) = (self.quota(bucket).per_job.duration, self.duration)
            && asked > limit
        {
            see(Hit {
                period: None,
                place,
                kind: Kind::Duration,
                limit: u128::from(limit.0),
                used: 0,
                asked: u128::from(asked.0),
                alone: true,
            })?;
        }
        for (r, asked) in self.ask {
            let hit = |kind, limit: u64, used: u64| Hit {
                period: None,
                place,
                kind,
                limit: u128::from(limit),
                used: u128::from(used),
                asked: u128::from(*asked),
                alone: false,
            };
            if let Some(limit) = rule.per_job.get(*r)
                && *asked > limit
            {
                see(Hit {
                    alone: true,
                    ..hit(Kind::PerJob(*r), limit, 0)
                })?;
            }
            let Some(limit) = limits.resource(*r) else {
                continue;
            };
            let held = self.held(b, bucket, *r);
            let after = held.saturating_add(*asked);
            let lent = limit.saturating_add(rule.borrow.get(*r).unwrap_or(0));
            if after > lent {
                see(Hit {
                    alone: *asked > lent && !limits.allows_later(*r, *asked),
                    ..hit(Kind::Concurrent(*r), lent, held)
                })?;
                continue;
            }
            // Where something is promised nobody borrows, either: the one who waits may not be lent it.
            let kept = self.kept_of(|kept| kept.in_bucket(b, *r));
            if kept > 0 && after.saturating_add(kept) > limit {
                see(hit(Kind::Turn(*r), limit, held.saturating_add(kept)))?;
            }
            if after > limit {
                if self.is_wanted(*r) {
                    see(hit(Kind::Borrowing(*r), limit, held))?;
                }
                *borrowed = true;
            }
        }
        self.jobs(b, bucket, &limits, see)?;
        self.budgets(b, bucket, see)?;
        if self.submitting {
            self.submission(b, bucket, see)?;
        }
        ControlFlow::Continue(())
    }

    /// Whether somebody entitled waits for what would be borrowed of a resource: for the resource itself, or, where GPUs
    /// of any model are lent, for the model that is asked for.
    fn is_wanted(&self, r: ResIx) -> bool {
        let here = |r: ResIx| self.wanted.has(self.seat, r);
        !self.wanted.is_empty()
            && (here(r)
                || self
                    .ask
                    .iter()
                    .any(|(other, _)| here(*other) && self.state.names.are_akin(r, *other)))
    }

    fn jobs(
        &self,
        b: u32,
        bucket: &Bucket,
        limits: &Limits<'_>,
        see: &mut dyn FnMut(Hit) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some(limit) = limits.jobs() else {
            return ControlFlow::Continue(());
        };
        let freed = self.freed.and_then(|f| f.jobs.get(&b));
        let running = less(u64::from(bucket.running), freed.copied().unwrap_or(0));
        let kept = self.kept_of(|kept| kept.jobs_in(b));
        let hit = |kind, used: u64| Hit {
            period: None,
            place: Place::Bucket(b),
            kind,
            limit: u128::from(limit),
            used: u128::from(used),
            asked: 1,
            alone: limit == 0 && !limits.allows_a_job_later(),
        };
        if running + 1 > limit {
            see(hit(Kind::Jobs, running))?;
        } else if running + 1 + kept > limit {
            see(hit(Kind::TurnJobs, running + kept))?;
        }
        ControlFlow::Continue(())
    }

    fn budgets(
        &self,
        b: u32,
        bucket: &Bucket,
        see: &mut dyn FnMut(Hit) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let rule = &self.state.rules[bucket.quota];
        for (at, ((r, limit), meter)) in rule.budgets.iter().zip(&bucket.meters).enumerate() {
            let Some((_, amount)) = self.ask.iter().find(|(a, _)| a == r) else {
                continue;
            };
            if self.duration.is_none() && rule.needs_duration[at] {
                see(Hit {
                    period: None,
                    place: Place::Bucket(b),
                    kind: Kind::DurationNeeded(at),
                    limit: *limit,
                    used: 0,
                    asked: 0,
                    alone: true,
                })?;
                continue;
            }
            let reading = self.reading(b, at, meter);
            let asked = reading.would_add(self.moment.now, *amount, self.duration);
            let used = reading.used.saturating_add(reading.committed);
            let after = used.saturating_add(asked);
            let hit = |kind, used, alone| Hit {
                period: None,
                place: Place::Bucket(b),
                kind,
                limit: *limit,
                used,
                asked,
                alone,
            };
            // Shortly before a period ends little of a job is charged to it; what no whole period holds is refused then
            // as well, so that the answer hangs neither on the hour nor on what is used.
            if self.never_in_budget(*amount, *limit, &reading) {
                let asked = asked.max(self.in_a_whole_period(*amount, &reading));
                see(Hit {
                    asked,
                    ..hit(Kind::Budget(at), used, true)
                })?;
            } else if after > *limit {
                see(hit(Kind::Budget(at), used, false))?;
            } else if let kept @ 1.. = self.kept.of_budget(b, at)
                && after.saturating_add(kept) > *limit
            {
                let used = used.saturating_add(kept);
                see(hit(Kind::TurnBudget(at), used, false))?;
            } else if let Some((begin, used, asked)) = self.over_later(meter, *amount, *limit) {
                see(Hit {
                    asked,
                    period: Some(begin),
                    ..hit(Kind::Budget(at), used, false)
                })?;
            }
        }
        ControlFlow::Continue(())
    }

    fn reading(&self, b: u32, at: usize, meter: &Meter) -> Reading {
        let now = self.moment.now;
        match self.readings {
            Some(readings) => readings.get(b, at, meter, now),
            None => meter.read(now),
        }
    }

    /// What is promised and asked in the first later period that has not so much left: what runs on is charged there.
    fn over_later(
        &self,
        meter: &Meter,
        amount: u64,
        limit: u128,
    ) -> Option<(Timestamp, u128, u128)> {
        let later = meter.later(self.moment.now, self.duration?);
        later.into_iter().find_map(|(begin, committed, span)| {
            let asked = u128::from(amount).saturating_mul(span);
            (committed.saturating_add(asked) > limit).then_some((begin, committed, asked))
        })
    }

    /// Whether a job would not fit in a whole period of its own, either.
    fn never_in_budget(&self, amount: u64, limit: u128, reading: &crate::ledger::Reading) -> bool {
        match self.duration {
            Some(_) => self.in_a_whole_period(amount, reading) > limit,
            None => limit == 0,
        }
    }

    /// What a job uses of a period at whose begin it starts.
    fn in_a_whole_period(&self, amount: u64, reading: &crate::ledger::Reading) -> u128 {
        let whole = reading.horizon.since(reading.begin);
        self.duration
            .map_or(0, |d| u128::from(amount) * u128::from(d.min(whole).0))
    }

    fn submission(
        &self,
        b: u32,
        bucket: &Bucket,
        see: &mut dyn FnMut(Hit) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let rule = &self.state.rules[bucket.quota];
        if let Some(rate) = rule.rate
            && let Err(early) = crate::ledger::arrive(rate, bucket.arrival, self.moment.now)
        {
            see(Hit {
                period: None,
                place: Place::Bucket(b),
                kind: Kind::Rate,
                limit: u128::from(rate.count),
                // How long until the next may come, in milliseconds, rounded up.
                used: u128::from(early.unsigned_abs().div_ceil(1000)),
                asked: 1,
                alone: false,
            })?;
        }
        ControlFlow::Continue(())
    }

    /// The limit on waiting jobs, which only matters to a job that has to wait.
    pub(crate) fn queue_hits(&self) -> Vec<Hit> {
        let mut hits = Vec::new();
        let observing = self.state.mode() == Mode::Audit;
        for b in &self.seat.buckets {
            let bucket = self.bucket_at(*b);
            let recorded = observing || self.state.rules[bucket.quota].audit;
            if recorded != (self.scope == Scope::Recorded) || !self.moment.applies(bucket.quota) {
                continue;
            }
            let Some(limit) = self.quota(bucket).limits.queued else {
                continue;
            };
            let mut queued = bucket.queued;
            if recorded {
                queued = queued.saturating_add(self.would_wait_in(bucket));
            }
            if queued.saturating_add(1) > limit {
                hits.push(Hit {
                    period: None,
                    place: Place::Bucket(*b),
                    kind: Kind::Queued,
                    limit: u128::from(limit),
                    used: u128::from(queued),
                    asked: 1,
                    // There is room once those ahead have started, and none is needed then.
                    alone: false,
                });
            }
        }
        hits
    }

    /// How many jobs of a bucket run now and would wait, if what is only recorded were enforced: those that were taken
    /// though they would have had to wait, less those for which there has been room since, the oldest first.
    fn would_wait_in(&self, bucket: &Bucket) -> u32 {
        let holders = bucket.holders.iter();
        let mut doubtful: Vec<&Slot> = holders
            .filter_map(|(_, ix)| self.state.slot_at(*ix))
            .filter(|slot| slot.job.would_wait)
            .collect();
        let all = u32::try_from(doubtful.len()).unwrap_or(u32::MAX);
        if doubtful.len() > LOOKED_AT {
            return all;
        }
        doubtful.sort_by_key(|slot| slot.job.seq);
        let mut freed = Freed::default();
        for slot in &doubtful {
            freed.add(self.state, slot);
        }
        let mut starts = 0;
        for slot in doubtful {
            let check = Check {
                seat: &self.state.seats[slot.seat as usize],
                made: &[],
                ask: &slot.ask,
                duration: slot.job.new.duration,
                submitting: false,
                freed: Some(&freed),
                kept: self.kept.clone(),
                ..*self
            };
            // What it uses is in the budgets already.
            let waits = |h: &Hit| !matches!(h.kind, Kind::Budget(_)) || h.used > h.limit;
            if !check.all().iter().any(waits) {
                freed.take_back(self.state, slot);
                starts += 1;
            }
        }
        all - starts
    }

    fn cluster(&self, see: &mut dyn FnMut(Hit) -> ControlFlow<()>) -> ControlFlow<()> {
        let cluster = self.state.cluster_at(self.seat.cluster);
        for (r, asked) in self.ask {
            let here = (self.seat.cluster, *r);
            let freed = self.freed.and_then(|f| f.clusters.get(&here));
            let held = less(cluster.held.get(*r), freed.copied().unwrap_or(0));
            let hit = |kind, limit: u64, used: u64, alone| Hit {
                period: None,
                place: Place::Cluster,
                kind,
                limit: u128::from(limit),
                used: u128::from(used),
                asked: u128::from(*asked),
                alone,
            };
            let capacity = match cluster.has(*r) {
                Has::This(capacity) => capacity,
                Has::Unmet => continue,
                Has::Unread => {
                    see(hit(Kind::Unread(*r), 0, held, false))?;
                    continue;
                }
            };
            let after = held.saturating_add(*asked);
            if after > capacity {
                let never = *asked > capacity;
                see(hit(Kind::Capacity(*r), capacity, held, never))?;
                // Whether it can ever fit is the same question however full the cluster is now.
                if !never {
                    self.guarantee(*r, *asked, true, see)?;
                }
                continue;
            }
            let kept = self.kept_of(|kept| kept.on_cluster(self.seat.cluster, *r));
            if kept > 0 && after.saturating_add(kept) > capacity && *asked > self.own_guarantees(*r)
            {
                let used = held.saturating_add(kept);
                see(hit(Kind::Turn(*r), capacity, used, false))?;
            }
            self.guarantee(*r, *asked, false, see)?;
        }
        ControlFlow::Continue(())
    }

    /// Capacity that is kept for others. Over all clusters together, since a guarantee is not tied to one.
    fn guarantee(
        &self,
        r: ResIx,
        asked: u64,
        only_never: bool,
        see: &mut dyn FnMut(Hit) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if self.state.guarantees.get(r) == 0 {
            return ControlFlow::Continue(());
        }
        let held = self.held_anywhere(r);
        let hit = |kind, limit: u64, used: u64, alone| Hit {
            period: None,
            place: Place::Cluster,
            kind,
            limit: u128::from(limit),
            used: u128::from(used),
            asked: u128::from(asked),
            alone,
        };
        let at_best = self.total(r).saturating_sub(self.always_kept(r));
        if asked > at_best {
            return see(hit(Kind::Guarantee(r), at_best, 0, true));
        }
        let unmet = self.unmet(r);
        if unmet == 0 || only_never {
            return ControlFlow::Continue(());
        }
        let free_for_us = self.besides_guarantees(r, unmet);
        let after = held.saturating_add(asked);
        if after > free_for_us {
            return see(hit(Kind::Guarantee(r), free_for_us, held, false));
        }
        let kept = self.kept_of(|kept| kept.everywhere(r));
        if kept > 0 && after.saturating_add(kept) > free_for_us && asked > self.own_guarantees(r) {
            let used = held.saturating_add(kept);
            return see(hit(Kind::Turn(r), free_for_us, used, false));
        }
        ControlFlow::Continue(())
    }

    fn total(&self, r: ResIx) -> u64 {
        self.state
            .clusters()
            .map(|c| c.capacity.get(r).unwrap_or(0))
            .fold(0, u64::saturating_add)
    }

    /// What guarantees of its own lack: it may take that much whoever waits.
    pub(crate) fn own_guarantees(&self, r: ResIx) -> u64 {
        self.seat
            .buckets
            .iter()
            .map(|b| self.lacks(*b, self.bucket_at(*b), r))
            .fold(0, u64::saturating_add)
    }

    /// What others' guarantees take from it at all times, whoever runs: they lack it, or somebody holds it by them.
    fn always_kept(&self, r: ResIx) -> u64 {
        let always = |quota: usize| {
            let rule = &self.state.rules[quota];
            !rule.audit && self.moment.applies(quota) && self.moment.change_of(quota).is_none()
        };
        let of = |bucket: &Bucket| match self.state.rules[bucket.quota].guarantee.get(r) {
            Some(g) if always(bucket.quota) => g,
            _ => 0,
        };
        let rules = self.state.rules.iter().enumerate();
        let mut some = rules.filter(|(_, q)| q.guarantee.get(r).is_some() && !q.audit);
        let all = if some.all(|(quota, _)| always(quota)) {
            // The sum over all is kept ready.
            self.state.guarantees.get(r)
        } else {
            let buckets = self.state.guaranteed.iter();
            buckets
                .map(|b| of(&self.state.buckets[*b as usize]))
                .fold(0, u64::saturating_add)
        };
        let there = self.state.buckets.len();
        let known = self.seat.buckets.iter().filter(|b| (**b as usize) < there);
        let mine = known
            .map(|b| of(self.bucket_at(*b)))
            .fold(0, u64::saturating_add);
        all.saturating_sub(mine)
    }

    /// What there is of a resource in all, less what others' guarantees lack.
    fn besides_guarantees(&self, r: ResIx, unmet: u64) -> u64 {
        let own = self.own_guarantees(r);
        self.total(r).saturating_sub(unmet.saturating_sub(own))
    }

    /// How much of a resource others' guarantees leave; `None` when they take nothing.
    pub(crate) fn left_by_guarantees(&self, r: ResIx) -> Option<u64> {
        let unmet = self.unmet(r);
        (unmet > 0).then(|| {
            self.besides_guarantees(r, unmet)
                .saturating_sub(self.held_anywhere(r))
        })
    }

    /// What all guarantees that apply now lack of a resource.
    fn unmet(&self, r: ResIx) -> u64 {
        let guaranteed = |quota: &usize| self.state.rules[*quota].guarantee.get(r).is_some();
        let mut quotas = (0..self.state.rules.len()).filter(guaranteed);
        if self.freed.is_none() && quotas.all(|quota| self.moment.applies(quota)) {
            // The sum over all is kept ready.
            return self.state.unmet.get(r);
        }
        let buckets = self.state.guaranteed.iter();
        buckets
            .map(|b| self.lacks(*b, &self.state.buckets[*b as usize], r))
            .fold(0, u64::saturating_add)
    }

    /// What a bucket's guarantee lacks of a resource, if it applies.
    fn lacks(&self, b: u32, bucket: &Bucket, r: ResIx) -> u64 {
        let rule = &self.state.rules[bucket.quota];
        match rule.guarantee.get(r) {
            Some(g) if !rule.audit && self.moment.applies(bucket.quota) => {
                g.saturating_sub(self.held(b, bucket, r))
            }
            _ => 0,
        }
    }

    fn quota(&self, bucket: &Bucket) -> &crate::policy::Quota {
        &self.state.policy().quotas[bucket.quota]
    }

    fn limits_of<'b>(&'b self, bucket: &'b Bucket) -> Limits<'b> {
        limits_of(self.state, bucket, self.moment.now)
    }
}

/// A bucket's limits in force at a moment: the quota's, more or less the overrides.
pub(crate) struct Limits<'a> {
    state: &'a State,
    bucket: &'a Bucket,
    now: Timestamp,
}

pub(crate) fn limits_of<'a>(state: &'a State, bucket: &'a Bucket, now: Timestamp) -> Limits<'a> {
    Limits { state, bucket, now }
}

impl Limits<'_> {
    /// Of a resource; `None`: unlimited.
    pub(crate) fn resource(&self, r: ResIx) -> Option<u64> {
        self.resource_with(r, 0)
    }

    /// Of a resource, were there `more` of it (or less) by one more override; `None`: unlimited. Overrides are added up
    /// before the limit stops at zero, so that it is not what `more` would make of the limit in force.
    pub(crate) fn resource_with(&self, r: ResIx, more: i64) -> Option<u64> {
        let base = self.state.rules[self.bucket.quota].limits.get(r)?;
        if self.bucket.overrides.is_empty() {
            return Some(base.saturating_add_signed(more));
        }
        let name = self.state.names.name(r);
        Some(self.changed(base, more, |o| o.amounts.get(name).copied().unwrap_or(0)))
    }

    /// Of running jobs; `None`: unlimited.
    pub(crate) fn jobs(&self) -> Option<u64> {
        self.jobs_with(0)
    }

    /// Of running jobs, were there `more` of them (or less) by one more override; `None`: unlimited.
    pub(crate) fn jobs_with(&self, more: i64) -> Option<u64> {
        let base = self.state.policy().quotas[self.bucket.quota].limits.jobs?;
        Some(self.changed(u64::from(base), more, |o| o.jobs))
    }

    /// Whether so much of a resource is allowed at once when overrides have ended, some or all.
    fn allows_later(&self, r: ResIx, asked: u64) -> bool {
        let lent = self.state.rules[self.bucket.quota]
            .borrow
            .get(r)
            .unwrap_or(0);
        self.ends().any(|at| {
            let then = limits_of(self.state, self.bucket, at).resource(r);
            then.is_none_or(|limit| asked <= limit.saturating_add(lent))
        })
    }

    /// Whether a job may run when overrides have ended, some or all.
    fn allows_a_job_later(&self) -> bool {
        self.ends()
            .any(|at| limits_of(self.state, self.bucket, at).jobs() != Some(0))
    }

    /// When overrides that count now end, the first first.
    pub(crate) fn ends(&self) -> impl Iterator<Item = Timestamp> {
        let mut ends: Vec<Timestamp> = self
            .bucket
            .overrides
            .iter()
            .filter_map(|id| self.state.override_by_id(*id))
            .map(|o| o.until)
            .filter(|until| *until > self.now)
            .collect();
        ends.sort_unstable();
        ends.into_iter()
    }

    fn changed(&self, base: u64, more: i64, by: impl Fn(&crate::ledger::Override) -> i64) -> u64 {
        let change: i64 = self
            .bucket
            .overrides
            .iter()
            .filter_map(|id| self.state.override_by_id(*id))
            .filter(|o| self.now < o.until)
            .map(by)
            .fold(more, i64::saturating_add);
        base.saturating_add_signed(change)
    }
}
