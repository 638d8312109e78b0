//! A policy made ready for deciding: names of resources as small numbers, limits as tables.

use std::collections::{BTreeMap, HashMap};

use crate::amount::Amount;
use crate::policy::{Match, Mode, Policy, Quota, Rate, Selector, WithoutDuration};
use crate::resource::{Resource, Resources};
use crate::subject::Subject;

/// The number of a resource in [`Names`].
pub(crate) type ResIx = u16;

/// What a job asks for, by number of resource, ascending, without zeros.
pub(crate) type Ask = std::sync::Arc<[(ResIx, u64)]>;

/// So many names of resources are counted; names in the policy always are.
const MAX_NAMES: usize = 4096;

/// Numbers for names of resources. Which number a name has depends on who asked first and is never shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    list: Vec<Resource>,
    index: HashMap<Resource, ResIx>,
}

impl Names {
    pub(crate) fn number(&mut self, r: &Resource) -> ResIx {
        if let Some(ix) = self.index.get(r) {
            return *ix;
        }
        let ix = ResIx::try_from(self.list.len()).unwrap_or(ResIx::MAX);
        self.list.push(r.clone());
        self.index.insert(r.clone(), ix);
        ix
    }

    pub(crate) fn find(&self, r: &Resource) -> Option<ResIx> {
        self.index.get(r).copied()
    }

    pub(crate) fn name(&self, ix: ResIx) -> &Resource {
        &self.list[usize::from(ix)]
    }

    /// Whether one of two resources is part of the other: GPUs of a model, and GPUs of any.
    pub(crate) fn are_akin(&self, a: ResIx, b: ResIx) -> bool {
        let name = |ix: ResIx| self.list.get(usize::from(ix));
        matches!(
            (name(a), name(b)),
            (Some(Resource::Gpu), Some(Resource::GpuModel(_)))
                | (Some(Resource::GpuModel(_)), Some(Resource::Gpu))
        )
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn ask(&mut self, request: &Resources) -> Ask {
        let mut ask: Vec<(ResIx, u64)> = request
            .iter()
            .filter(|(_, a)| *a > Amount::ZERO)
            // Where nothing is enforced, jobs may name what no cluster and no quota knows: it is counted only as long as
            // there are not too many such names.
            .filter_map(|(r, a)| {
                let counted = self.len() < MAX_NAMES || self.find(r).is_some();
                counted.then(|| (self.number(r), a.0))
            })
            .collect();
        ask.sort_unstable();
        ask.into()
    }
}

/// A table by number of resource; what is not in it is not limited.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table(Vec<Option<u64>>);

impl Table {
    pub(crate) fn get(&self, ix: ResIx) -> Option<u64> {
        self.0.get(usize::from(ix)).copied().flatten()
    }

    pub(crate) fn set(&mut self, ix: ResIx, value: u64) {
        let at = usize::from(ix);
        if self.0.len() <= at {
            self.0.resize(at + 1, None);
        }
        self.0[at] = Some(value);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ResIx, u64)> + '_ {
        self.0
            .iter()
            .enumerate()
            .filter_map(|(ix, v)| Some((ResIx::try_from(ix).ok()?, (*v)?)))
    }
}

/// A table of what is held, by number of resource; what is not in it is zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Held(Vec<u64>);

impl Held {
    pub(crate) fn get(&self, ix: ResIx) -> u64 {
        self.0.get(usize::from(ix)).copied().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, ask: &[(ResIx, u64)]) {
        for (ix, amount) in ask {
            let at = usize::from(*ix);
            if self.0.len() <= at {
                self.0.resize(at + 1, 0);
            }
            self.0[at] = self.0[at].saturating_add(*amount);
        }
    }

    pub(crate) fn sub(&mut self, ask: &[(ResIx, u64)]) {
        for (ix, amount) in ask {
            if let Some(held) = self.0.get_mut(usize::from(*ix)) {
                *held = held.saturating_sub(*amount);
            }
        }
    }
}

/// A quota made ready.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) selector: Selector,
    pub(crate) limits: Table,
    pub(crate) borrow: Table,
    pub(crate) guarantee: Table,
    pub(crate) per_job: Table,
    pub(crate) rate: Option<Rate>,
    pub(crate) budgets: Vec<(ResIx, u128)>,
    /// Of each budget: whether it takes only jobs that say how long they run.
    pub(crate) needs_duration: Vec<bool>,
    pub(crate) audit: bool,
    /// Its buckets are kept for one user each.
    pub(crate) private: bool,
}

fn table(names: &mut Names, amounts: &BTreeMap<Resource, Amount>) -> Table {
    let mut t = Table::default();
    for (r, a) in amounts {
        t.set(names.number(r), a.0);
    }
    t
}

impl Rule {
    pub(crate) fn new(names: &mut Names, q: &Quota) -> Rule {
        Rule {
            name: q.name.clone(),
            selector: q.selector.clone(),
            limits: table(names, &q.limits.resources),
            borrow: table(names, &q.borrow.0),
            guarantee: table(names, &q.guarantee.0),
            per_job: table(names, &q.per_job.resources),
            rate: q.submit_rate,
            budgets: q
                .budgets
                .iter()
                .map(|b| (names.number(&b.resource), b.amount))
                .collect(),
            needs_duration: q
                .budgets
                .iter()
                .map(|b| b.without_duration == WithoutDuration::Refuse)
                .collect(),
            audit: q.mode == Mode::Audit,
            private: match &q.selector.user {
                Some(Match::Each) => true,
                Some(Match::OneOf(users)) => users.len() == 1,
                None => false,
            },
        }
    }
}

/// All quotas of a policy, made ready.
pub(crate) fn rules(names: &mut Names, policy: &Policy) -> Vec<Rule> {
    policy.quotas.iter().map(|q| Rule::new(names, q)).collect()
}

/// Which part of a rule a subject is counted in.
pub(crate) type Dims = Vec<(String, String)>;

/// Whether a selector covers a subject on a cluster, and if so in which bucket.
pub(crate) fn bucket_of(selector: &Selector, subject: &Subject, cluster: &str) -> Option<Dims> {
    let mut dims = Dims::new();
    let mut one = |dim: &str, m: &Option<Match>, value: Option<&str>| -> bool {
        let Some(m) = m else { return true };
        let Some(value) = value else { return false };
        match m {
            Match::Each => dims.push((dim.into(), value.into())),
            Match::OneOf(set) if set.contains(value) => {
                dims.push((dim.into(), join(set)));
            }
            Match::OneOf(_) => return false,
        }
        true
    };
    if !one("user", &selector.user, Some(&subject.user))
        || !one("team", &selector.team, subject.team.as_deref())
        || !one("org", &selector.org, org_for(&selector.org, subject))
        || !one("job_type", &selector.job_type, subject.job_type.as_deref())
        || !one("cluster", &selector.cluster, Some(cluster))
    {
        return None;
    }
    for (key, m) in &selector.labels {
        let value = subject.labels.get(key).map(String::as_str);
        if !one(&format!("label {key}"), &Some(m.clone()), value) {
            return None;
        }
    }
    Some(dims)
}

/// Whether a selector covers a subject.
#[must_use]
pub fn covers(selector: &Selector, subject: &Subject, cluster: &str) -> bool {
    bucket_of(selector, subject, cluster).is_some()
}

/// Whether one of some selectors covers a subject; where there are none, everybody is.
fn allowed(selectors: &[Selector], subject: &Subject, cluster: &str) -> bool {
    selectors.is_empty() || selectors.iter().any(|s| covers(s, subject, cluster))
}

/// What a subject may not use on a cluster, whatever it asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Denied {
    /// Its job type: not for it, or not defined any more.
    pub(crate) job_type: bool,
    /// The cluster.
    pub(crate) cluster: bool,
}

/// Holds a subject on a cluster against who may use which job type and cluster.
pub(crate) fn denied(policy: &Policy, subject: &Subject, cluster: &str) -> Denied {
    let barred = |name: &String| match policy.job_types.get(name) {
        Some(rule) => !allowed(&rule.allowed, subject, cluster),
        // Where no types are defined, any word is as good as none.
        None => !policy.job_types.is_empty(),
    };
    Denied {
        job_type: subject.job_type.as_ref().is_some_and(barred),
        cluster: policy
            .clusters
            .get(cluster)
            .is_some_and(|rule| !allowed(&rule.allowed, subject, cluster)),
    }
}

/// The org unit of a subject that a selector means: the nearest for each, the nearest that is named for some.
fn org_for<'a>(m: &Option<Match>, subject: &'a Subject) -> Option<&'a str> {
    match m {
        Some(Match::OneOf(set)) => subject.orgs.iter().find(|o| set.contains(*o)),
        _ => subject.orgs.first(),
    }
    .map(String::as_str)
}

pub(super) fn join(set: &std::collections::BTreeSet<String>) -> String {
    set.iter().map(String::as_str).collect::<Vec<_>>().join("+")
}

/// A bucket's name for people: `user ana, job type training`; `everybody` without dimensions.
pub(crate) fn bucket_name(dims: &[(String, String)]) -> String {
    if dims.is_empty() {
        return "everybody".into();
    }
    dims.iter()
        .map(|(d, v)| format!("{} {v}", d.replace('_', " ")))
        .collect::<Vec<_>>()
        .join(", ")
}
