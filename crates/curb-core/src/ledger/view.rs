//! Buckets as people see them: limits in force, what is used, budgets.

use super::event::Override;
use super::meter::Reading;
use super::rules::ResIx;
use super::state::State;
use crate::amount::Amount;
use crate::decide::Moment;
use crate::policy::{Match, Mode, Period, Rate, Selector};
use crate::resource::Resource;
use crate::subject::Subject;

/// One bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketView {
    /// The quota's name.
    pub quota: String,
    /// Why the quota is there.
    pub reason: Option<String>,
    /// Which bucket of it.
    pub bucket: String,
    /// Enforced or only recorded.
    pub mode: Mode,
    /// Whether it applies at this moment.
    pub in_force: bool,
    /// Resource by resource.
    pub resources: Vec<ResourceView>,
    /// Running jobs.
    pub running: u64,
    /// How many may run.
    pub jobs_limit: Option<u64>,
    /// Waiting jobs.
    pub queued: u64,
    /// How many may wait.
    pub queued_limit: Option<u64>,
    /// How fast may be submitted, and how many could be at once now.
    pub rate: Option<(Rate, u32)>,
    /// Budgets.
    pub budgets: Vec<BudgetView>,
    /// Overrides that change its limits now.
    pub overrides: Vec<Override>,
}

/// One resource of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceView {
    /// Which.
    pub resource: Resource,
    /// Held now.
    pub used: Amount,
    /// The limit in force.
    pub limit: Option<Amount>,
    /// How far it may go above.
    pub borrow: Amount,
    /// What is kept free for it.
    pub guarantee: Amount,
}

/// One budget of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetView {
    /// Of which resource.
    pub resource: Resource,
    /// In which period.
    pub per: Period,
    /// How much, in smallest units times milliseconds.
    pub limit: u128,
    /// What has been used and promised.
    pub reading: Reading,
}

impl State {
    /// All buckets, or those that cover a user, in the order of the policy and then by name.
    #[must_use]
    pub fn bucket_views(&self, moment: &Moment, user: Option<&str>) -> Vec<BucketView> {
        let mut all: Vec<(usize, BucketView)> = self
            .buckets
            .iter()
            .filter(|b| {
                user.is_none_or(|u| self.concerns(&self.rules[b.quota].selector, &b.dims, u))
            })
            .map(|b| (b.quota, self.bucket_view(b, moment)))
            .collect();
        all.sort_by(|(a, x), (b, y)| (a, &x.bucket).cmp(&(b, &y.bucket)));
        all.into_iter().map(|(_, view)| view).collect()
    }

    /// Makes the buckets that a user's submissions would be counted in, so that they can be seen before the first job.
    /// (A bucket without use is no fact: this changes no answer.)
    pub fn make_seats(&mut self, subjects: &[(Subject, String)]) {
        for (subject, cluster) in subjects {
            self.seat(subject, cluster);
        }
    }

    /// Whether a bucket may hold a user's jobs.
    fn concerns(&self, selector: &Selector, dims: &[(String, String)], user: &str) -> bool {
        let value = |dim: &str| dims.iter().find(|(d, _)| d == dim).map(|(_, v)| v.as_str());
        let named = |m: &Option<Match>, dim: &str, mine: &[&str]| match m {
            None => true,
            Some(Match::Each) => value(dim).is_some_and(|v| mine.contains(&v)),
            Some(Match::OneOf(set)) => set.iter().any(|s| mine.contains(&s.as_str())),
        };
        let policy = self.policy();
        let teams: Vec<&str> = policy.teams_of(user).collect();
        let orgs: Vec<String> = teams
            .iter()
            .filter_map(|t| policy.teams.get(*t)?.org.as_deref())
            .flat_map(|o| policy.org_path(o))
            .collect();
        let orgs: Vec<&str> = orgs.iter().map(String::as_str).collect();
        named(&selector.user, "user", &[user])
            && named(&selector.team, "team", &teams)
            && named(&selector.org, "org", &orgs)
    }

    fn bucket_view(&self, b: &super::state::Bucket, moment: &Moment) -> BucketView {
        let rule = &self.rules[b.quota];
        let quota = &self.policy().quotas[b.quota];
        let limits = crate::decide::limits_of(self, b, moment.now);
        let resources = (0..self.names.len())
            .filter_map(|ix| ResIx::try_from(ix).ok())
            .map(|ix| ResourceView {
                resource: self.names.name(ix).clone(),
                used: Amount(b.held.get(ix)),
                limit: limits.resource(ix).map(Amount),
                borrow: Amount(rule.borrow.get(ix).unwrap_or(0)),
                guarantee: Amount(rule.guarantee.get(ix).unwrap_or(0)),
            })
            .filter(|r| r.limit.is_some() || r.used.0 > 0 || r.guarantee.0 > 0);
        let mut resources: Vec<ResourceView> = resources.collect();
        resources.sort_by(|a, b| a.resource.cmp(&b.resource));
        let budgets = quota.budgets.iter().zip(&b.meters);
        BucketView {
            quota: rule.name.clone(),
            reason: quota.reason.clone(),
            bucket: b.name(),
            mode: if self.mode() == Mode::Audit {
                Mode::Audit
            } else {
                quota.mode
            },
            in_force: moment.applies(b.quota),
            resources,
            running: u64::from(b.running),
            jobs_limit: limits.jobs(),
            queued: u64::from(b.queued),
            queued_limit: quota.limits.queued.map(u64::from),
            rate: quota.submit_rate.map(|r| (r, left(r, b.arrival, moment))),
            budgets: budgets
                .map(|(q, m)| BudgetView {
                    resource: q.resource.clone(),
                    per: q.per,
                    limit: q.amount,
                    reading: m.read(moment.now),
                })
                .collect(),
            overrides: b
                .overrides
                .iter()
                .filter_map(|id| self.override_by_id(*id))
                .filter(|o| moment.now < o.until)
                // One that names no quota changes only the limits that there are.
                .filter(|o| {
                    let limited = |r| self.names.find(r).and_then(|ix| limits.resource(ix));
                    let amounts = o.amounts.keys().any(|r| limited(r).is_some());
                    amounts || (o.jobs != 0 && limits.jobs().is_some())
                })
                .cloned()
                .collect(),
        }
    }
}

/// How many submissions a rate takes at once now.
fn left(rate: Rate, arrival: i64, moment: &Moment) -> u32 {
    let now = moment.now.0.saturating_mul(1000);
    let ahead = arrival.saturating_sub(now).max(0);
    let free = super::span_micros(rate).saturating_sub(ahead).max(0) / super::interval_micros(rate);
    u32::try_from(free).unwrap_or(u32::MAX).min(rate.count)
}
