//! From a limit in the way to a violation with all its numbers.

use super::check::{Hit, Kind, limits_of};
use super::resolve::{cluster_denial, type_denial};
use super::submit::{View, bucket_of_hit, resource_of};
use super::violation::{Code, Holder, MAX_HOLDERS, MAX_REASON, Quantity, Violation, When};
use crate::amount::Amount;
use crate::ledger::{Bucket, Job, ResIx};
use crate::policy::Above;
use crate::resource::Resource;
use crate::time::{Millis, Timestamp};

/// At most so many holders are looked at to say who holds something and when enough of them have ended.
const LOOKED_AT: usize = 2_000;

pub(super) struct Render<'a> {
    pub(super) view: &'a View<'a>,
}

impl Render<'_> {
    pub(super) fn violation(&self, hit: &Hit) -> Violation {
        let state = self.view.state;
        let submission = self.view.submission;
        match (hit.kind, &submission.subject.job_type) {
            (Kind::JobType, Some(name)) => {
                return type_denial(state.policy(), &submission.subject, name);
            }
            (Kind::ClusterAccess, _) => {
                return cluster_denial(&submission.subject, &submission.cluster);
            }
            _ => {}
        }
        let bucket = bucket_of_hit(hit).map(|b| self.view.bucket_at(b));
        let quota = bucket.map(|b| &state.policy().quotas[b.quota]);
        let code = code(hit.kind);
        let rejects = match code {
            Code::SubmitRate | Code::QueuedLimit => true,
            _ => quota.is_some_and(|q| q.above == Above::Reject),
        };
        let (holders, more_holders) = self.holders(hit, bucket);
        let limit = self.quantity(hit, hit.limit);
        let over = (hit.used + hit.asked).saturating_sub(hit.limit);
        let asks = !matches!(hit.kind, Kind::Rate | Kind::DurationNeeded(_));
        let unread = matches!(hit.kind, Kind::Unread(_));
        // Of what guarantees never leave, what is held now says nothing.
        let never_left = hit.alone && matches!(hit.kind, Kind::Guarantee(_));
        let of_one_job = never_left || matches!(hit.kind, Kind::PerJob(_) | Kind::Duration);
        let counted = asks && !unread && !of_one_job;
        Violation {
            code,
            quota: quota.map(|q| q.name.clone()),
            bucket: bucket.map_or_else(
                || format!("cluster {}", self.view.submission.cluster),
                Bucket::name,
            ),
            limit: (!unread).then_some(limit),
            used: counted.then(|| self.quantity(hit, hit.used)),
            asked: asks.then(|| self.quantity(hit, hit.asked)),
            over: (asks && !unread).then(|| self.quantity(hit, over)),
            when: self.when(hit, bucket),
            rejects,
            holders,
            more_holders,
            reason: quota.and_then(|q| q.reason.as_deref()).map(short),
            note: self.note(hit, bucket),
            period: hit.period,
        }
    }

    pub(super) fn resource(&self, r: ResIx) -> Resource {
        let names = &self.view.state.names;
        if usize::from(r) < names.len() {
            return names.name(r).clone();
        }
        // Nothing has named it before: it is one of those of the request that have no number.
        let unnamed = self.view.submission.request.iter().filter(|(_, a)| a.0 > 0);
        unnamed
            .map(|(r, _)| r)
            .filter(|r| names.find(r).is_none())
            .nth(usize::from(r) - names.len())
            .cloned()
            .unwrap_or(Resource::Cpu)
    }

    fn quantity(&self, hit: &Hit, value: u128) -> Quantity {
        let small = u64::try_from(value).unwrap_or(u64::MAX);
        match hit.kind {
            Kind::Duration => Quantity::Time(Millis(small)),
            Kind::Jobs | Kind::Queued | Kind::TurnJobs => Quantity::Jobs(small),
            Kind::Rate => {
                let rate = bucket_of_hit(hit)
                    .and_then(|b| self.view.state.rules[self.view.bucket_at(b).quota].rate);
                Quantity::Rate {
                    count: rate.map_or(0, |r| r.count),
                    per: rate.map_or(Millis(0), |r| r.per),
                }
            }
            Kind::Budget(at) | Kind::TurnBudget(at) | Kind::DurationNeeded(at) => {
                let budget = bucket_of_hit(hit).and_then(|b| {
                    let quota = self.view.bucket_at(b).quota;
                    self.view.state.policy().quotas[quota].budgets.get(at)
                });
                Quantity::ResourceTime {
                    resource: budget.map_or(Resource::Cpu, |b| b.resource.clone()),
                    amount: value,
                }
            }
            kind => Quantity::Amount {
                resource: self.resource(resource_of(kind).unwrap_or(ResIx::MAX)),
                amount: Amount(small),
            },
        }
    }

    fn when(&self, hit: &Hit, bucket: Option<&Bucket>) -> When {
        let now = self.view.moment.now;
        let change = bucket
            .and_then(|b| self.view.moment.change_of(b.quota))
            .filter(|t| *t > now);
        if hit.alone {
            return match (hit.kind, change) {
                (Kind::Capacity(_), _) => When::Never,
                // The rule will not apply then, or apply otherwise: asking again then is worth it.
                (_, Some(at)) => When::At(at),
                (_, None) => When::PolicyChange,
            };
        }
        let when = match hit.kind {
            Kind::JobType
            | Kind::ClusterAccess
            | Kind::PerJob(_)
            | Kind::Duration
            | Kind::DurationNeeded(_) => When::PolicyChange,
            Kind::Rate => {
                let wait = u64::try_from(hit.used).unwrap_or(u64::MAX);
                When::At(now.after(Millis(wait.max(1))))
            }
            Kind::Budget(at) => self.when_in_budget(at, hit, bucket),
            Kind::Queued
            | Kind::Turn(_)
            | Kind::TurnJobs
            | Kind::TurnBudget(_)
            | Kind::Borrowing(_) => When::Turn,
            Kind::Unread(_) => When::CapacityKnown,
            Kind::Concurrent(_) | Kind::Jobs | Kind::Capacity(_) | Kind::Guarantee(_) => {
                self.when_free(hit, bucket)
            }
        };
        match (&when, change) {
            (When::JobsEnd(Some(t)) | When::At(t), Some(at)) if at < *t => When::At(at),
            (When::JobsEnd(None), Some(at)) => When::At(at),
            _ => when,
        }
    }

    /// When the same would be within a budget.
    fn when_in_budget(&self, at: usize, hit: &Hit, bucket: Option<&Bucket>) -> When {
        let found = bucket.and_then(|b| {
            let (r, _) = self.view.state.rules[b.quota].budgets.get(at)?;
            let (_, amount) = self.view.ask.iter().find(|(of, _)| of == r)?;
            Some((b.meters.get(at)?, *amount))
        });
        let Some((meter, amount)) = found else {
            return When::PolicyChange;
        };
        let duration = self.view.submission.duration;
        meter
            .fits_at(self.view.moment.now, amount, duration, hit.limit)
            .map_or(When::JobsEnd(None), When::At)
    }

    /// When enough of what is held has ended, or an override that lowers the limit.
    fn when_free(&self, hit: &Hit, bucket: Option<&Bucket>) -> When {
        let first = When::JobsEnd(self.enough_end(hit, bucket));
        self.lifted(hit, bucket)
            .into_iter()
            .map(|(at, limit)| {
                let hit = &Hit { limit, ..*hit };
                if hit.used.saturating_add(hit.asked) <= limit {
                    return When::At(at);
                }
                match self.enough_end(hit, bucket) {
                    Some(end) if end <= at => When::At(at),
                    end => When::JobsEnd(end),
                }
            })
            .fold(first, |best, when| match (&best, &when) {
                (When::JobsEnd(None), _) => when,
                (When::JobsEnd(Some(a)) | When::At(a), When::JobsEnd(Some(b)) | When::At(b))
                    if b < a =>
                {
                    when
                }
                _ => best,
            })
    }

    /// When overrides of a bucket end, and what a limit is from then on.
    fn lifted(&self, hit: &Hit, bucket: Option<&Bucket>) -> Vec<(Timestamp, u128)> {
        let state = self.view.state;
        let Some(bucket) = bucket else {
            return Vec::new();
        };
        let limits = limits_of(state, bucket, self.view.moment.now);
        let then = |at: Timestamp| {
            let limits = limits_of(state, bucket, at);
            match hit.kind {
                Kind::Concurrent(r) => {
                    let lent = state.rules[bucket.quota].borrow.get(r).unwrap_or(0);
                    limits.resource(r).map(|l| l.saturating_add(lent))
                }
                Kind::Jobs => limits.jobs(),
                _ => None,
            }
        };
        let all = limits.ends().filter_map(|at| Some((at, then(at)?)));
        all.map(|(at, limit)| (at, u128::from(limit))).collect()
    }

    /// The override that lowers a limit and whose end is waited for.
    fn lowered_by(&self, hit: &Hit, bucket: &Bucket) -> Option<String> {
        let When::At(at) = self.when_free(hit, Some(bucket)) else {
            return None;
        };
        let mut all = bucket.overrides.iter();
        let id = all.find(|id| {
            let found = self.view.state.override_by_id(**id);
            found.is_some_and(|o| o.until == at)
        })?;
        Some(format!("override {id}"))
    }

    /// When so much has ended that it fits, if those who end by then have said when. What has said when and is past it is
    /// not known to end at all.
    fn enough_end(&self, hit: &Hit, bucket: Option<&Bucket>) -> Option<Timestamp> {
        if hit.asked > hit.limit {
            return None;
        }
        let mut to_free = (hit.used + hit.asked).saturating_sub(hit.limit);
        for job in self.holding(hit, bucket).take(LOOKED_AT) {
            let freed = match hit.kind {
                Kind::Guarantee(r) if self.is_kept(job, r) => 0,
                _ => self.held_by(job, hit),
            };
            if freed == 0 {
                continue;
            }
            let end = job.expected_end()?;
            to_free = to_free.saturating_sub(u128::from(freed));
            if to_free == 0 {
                return Some(end);
            }
        }
        None
    }

    /// Whether what a job leaves is kept for others at once, since it holds it by a guarantee of theirs.
    fn is_kept(&self, job: &Job, r: ResIx) -> bool {
        let state = self.view.state;
        let Some((_, slot)) = state.slot(&job.new.id) else {
            return false;
        };
        let others = state.seats[slot.seat as usize]
            .buckets
            .iter()
            .filter(|b| !self.view.seat.buckets.contains(b));
        others.map(|b| &state.buckets[*b as usize]).any(|b| {
            let rule = &state.rules[b.quota];
            let on = !rule.audit && self.view.moment.applies(b.quota);
            on && rule.guarantee.get(r).is_some_and(|g| b.held.get(r) <= g)
        })
    }

    /// What is kept by whose guarantee, at most three of them: `the guarantee of serving keeps 1 CPU`.
    fn kept_by(&self, hit: &Hit, r: ResIx) -> String {
        let state = self.view.state;
        let mine = |b: &u32| self.view.seat.buckets.contains(b);
        let mut by_quota: Vec<(usize, u64)> = Vec::new();
        for b in state.guaranteed.iter().filter(|b| !mine(b)) {
            let bucket = &state.buckets[*b as usize];
            let rule = &state.rules[bucket.quota];
            let on = !rule.audit && self.view.moment.applies(bucket.quota);
            let Some(g) = rule.guarantee.get(r).filter(|_| on) else {
                continue;
            };
            let lacks = if hit.alone {
                g
            } else {
                g.saturating_sub(bucket.held.get(r))
            };
            match by_quota.iter_mut().find(|(q, _)| *q == bucket.quota) {
                Some((_, sum)) => *sum = sum.saturating_add(lacks),
                None => by_quota.push((bucket.quota, lacks)),
            }
        }
        by_quota.retain(|(_, sum)| *sum > 0);
        by_quota.sort_by_key(|(quota, sum)| (std::cmp::Reverse(*sum), *quota));
        let more = by_quota.len().saturating_sub(3);
        let mut parts: Vec<String> = by_quota
            .iter()
            .take(3)
            .map(|(quota, sum)| {
                let amount = self.quantity(hit, u128::from(*sum));
                format!(
                    "the guarantee of {} keeps {amount}",
                    state.rules[*quota].name
                )
            })
            .collect();
        if more > 0 {
            parts.push(format!("{more} others keep more"));
        }
        parts.join(" and ")
    }

    /// Who holds something of it, the first to end first.
    fn holding<'b>(
        &'b self,
        hit: &Hit,
        bucket: Option<&'b Bucket>,
    ) -> Box<dyn Iterator<Item = &'b Job> + 'b> {
        let state = self.view.state;
        match bucket {
            Some(b) => Box::new(
                b.holders
                    .iter()
                    .filter_map(|(_, ix)| state.slot_at(*ix))
                    .map(|s| &s.job),
            ),
            None if matches!(hit.kind, Kind::Capacity(_) | Kind::Guarantee(_)) => {
                let cluster = &self.view.submission.cluster;
                let anywhere = matches!(hit.kind, Kind::Guarantee(_));
                let mut jobs: Vec<&Job> = state
                    .jobs()
                    .filter(|j| j.grant().is_some() && (anywhere || j.new.cluster == *cluster))
                    .take(LOOKED_AT)
                    .collect();
                jobs.sort_by_key(|j| (j.expected_end().unwrap_or(Timestamp(i64::MAX)), j.seq));
                Box::new(jobs.into_iter())
            }
            None => Box::new(std::iter::empty()),
        }
    }

    fn held_by(&self, job: &Job, hit: &Hit) -> u64 {
        match resource_of(hit.kind) {
            Some(r) => job.new.request.get(&self.resource(r)).0,
            None => 1,
        }
    }

    fn holders(&self, hit: &Hit, bucket: Option<&Bucket>) -> (Vec<Holder>, u64) {
        if !matches!(
            hit.kind,
            Kind::Concurrent(_) | Kind::Jobs | Kind::Capacity(_) | Kind::Guarantee(_)
        ) || hit.alone
        {
            return (Vec::new(), 0);
        }
        let mut all: Vec<(u64, &Job)> = self
            .holding(hit, bucket)
            .take(LOOKED_AT)
            .map(|j| (self.held_by(j, hit), j))
            .filter(|(held, _)| *held > 0)
            .collect();
        all.sort_by_key(|(held, j)| (std::cmp::Reverse(*held), j.seq));
        let more = all.len().saturating_sub(MAX_HOLDERS) as u64;
        let holders = all
            .into_iter()
            .take(MAX_HOLDERS)
            .map(|(held, j)| Holder {
                user: j.new.subject.user.clone(),
                team: j.new.subject.team.clone(),
                job: j.new.id.to_string(),
                holds: self.quantity(hit, u128::from(held)),
                until: j.expected_end(),
            })
            .collect();
        (holders, more)
    }

    fn note(&self, hit: &Hit, bucket: Option<&Bucket>) -> Option<String> {
        match hit.kind {
            Kind::Budget(at) | Kind::DurationNeeded(at) => {
                let b = bucket?;
                let budget = self.view.state.policy().quotas[b.quota].budgets.get(at)?;
                Some(format!("per {}", budget.per))
            }
            Kind::Concurrent(_) | Kind::Jobs if !hit.alone => self.lowered_by(hit, bucket?),
            Kind::Guarantee(r) => Some(self.kept_by(hit, r)),
            Kind::Capacity(r) if hit.limit == 0 => {
                Some(format!("the cluster has no {}", self.resource(r).label()))
            }
            _ => None,
        }
    }
}

/// A reason cut to its bound, at a word if there is one.
fn short(reason: &str) -> String {
    if reason.chars().count() <= MAX_REASON {
        return reason.to_owned();
    }
    let cut: String = reason.chars().take(MAX_REASON - 1).collect();
    let whole = cut.rfind(' ').filter(|at| *at > cut.len() / 2);
    format!("{}…", cut[..whole.unwrap_or(cut.len())].trim_end())
}

fn code(kind: Kind) -> Code {
    match kind {
        Kind::JobType => Code::JobType,
        Kind::ClusterAccess => Code::ClusterAccess,
        Kind::PerJob(_) => Code::PerJobLimit,
        Kind::Duration => Code::DurationLimit,
        Kind::Concurrent(_) => Code::ConcurrentLimit,
        Kind::Jobs => Code::JobsLimit,
        Kind::Queued => Code::QueuedLimit,
        Kind::Rate => Code::SubmitRate,
        Kind::Budget(_) => Code::Budget,
        Kind::DurationNeeded(_) => Code::DurationNeeded,
        Kind::Capacity(_) => Code::Capacity,
        Kind::Unread(_) => Code::CapacityUnknown,
        Kind::Guarantee(_) => Code::Guarantee,
        Kind::Borrowing(_) => Code::Borrowing,
        Kind::Turn(_) | Kind::TurnJobs | Kind::TurnBudget(_) => Code::Turn,
    }
}
