//! Building the tables again from the jobs: when a policy is applied, and when a snapshot is restored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::apply::span_micros;
use super::fair::Usage;
use super::hold::Change;
use super::job::Phase;
use super::meter::Meter;
use super::rules::{Dims, Held, Names, ResIx, Rule, bucket_of, rules};
use super::state::{Kept, KeptBuckets, KeptNodes, State};
use crate::policy::{Match, Policy, Rate};
use crate::resource::Resource;
use crate::subject::Subject;
use crate::time::Timestamp;

impl State {
    /// What has to be kept of buckets and nodes when the tables are rebuilt.
    pub(super) fn kept(&self) -> (KeptBuckets, KeptNodes) {
        let mut buckets = BTreeMap::new();
        for b in &self.buckets {
            let rule = &self.rules[b.quota];
            let budgets = &self.policy.quotas[b.quota].budgets;
            let meters = b
                .meters
                .iter()
                .zip(budgets)
                .map(|(m, q)| {
                    let mut m = m.clone();
                    m.advance(self.now);
                    (q.resource.clone(), q.per, m.carried().clone())
                })
                .collect::<Vec<_>>();
            // One with a guarantee keeps something from others by being there.
            let guaranteed = rule.guarantee.iter().next().is_some();
            if b.arrival == 0 && meters.is_empty() && !guaranteed {
                continue;
            }
            let kept = Kept {
                arrival: b.arrival,
                meters,
            };
            buckets.insert(kept_key(&rule.name, &b.dims), kept);
        }
        let mut nodes = BTreeMap::new();
        for n in &self.nodes {
            let usage: Vec<(Resource, Usage)> = n
                .usage
                .iter()
                .enumerate()
                .filter(|(_, u)| u.average > 0 || u.held > 0)
                .filter_map(|(ix, u)| Some((ResIx::try_from(ix).ok()?, u)))
                .map(|(ix, u)| (self.names.name(ix).clone(), *u))
                .collect();
            if !usage.is_empty() {
                nodes.insert(n.key.clone(), usage);
            }
        }
        (buckets, nodes)
    }

    /// Builds all tables again from the jobs, under the policy in force.
    pub(super) fn rebuild(&mut self, kept: &KeptBuckets, nodes: &KeptNodes) {
        self.names = Names::default();
        self.rules = Arc::new(rules(&mut self.names, &self.policy));
        self.buckets.clear();
        self.guaranteed.clear();
        self.bucket_index.clear();
        self.seats.clear();
        self.seat_index.clear();
        self.nodes.clear();
        self.node_index.clear();
        self.classes.clear();
        self.class_index.clear();
        self.waiting.clear();
        self.stopping.clear();
        self.unmet = Held::default();
        self.guarantees = Held::default();
        self.total = Held::default();
        self.holding = 0;
        for ix in 0..self.clusters.len() {
            self.clusters[ix].held = Held::default();
            self.set_capacity(ix as u32);
        }
        self.restore_nodes(nodes);
        self.restore_kept(kept);
        self.make_guaranteed();
        for ix in 0..self.slots.len() {
            let Some(mut slot) = self.slots[ix].take() else {
                continue;
            };
            slot.seat = self.seat(&slot.job.new.subject, &slot.job.new.cluster);
            slot.ask = self.names.ask(&slot.job.new.request);
            let phase = slot.job.phase.clone();
            if slot.job.stop.is_some() && slot.job.grant().is_some() {
                self.stopping.insert(ix as u32);
            }
            self.slots[ix] = Some(slot);
            match phase {
                Phase::Queued => self.enqueue(ix as u32),
                Phase::Ended(_) => {}
                _ => self.change_held(ix as u32, Change::Restore),
            }
        }
    }

    fn restore_nodes(&mut self, nodes: &KeptNodes) {
        for (key, usages) in nodes {
            let ix = self.node(key.clone(), 1);
            for (r, usage) in usages {
                let at = usize::from(self.names.number(r));
                if self.nodes[ix as usize].usage.len() <= at {
                    let fresh = Usage {
                        at: self.now,
                        ..Usage::default()
                    };
                    self.nodes[ix as usize].usage.resize(at + 1, fresh);
                }
                self.nodes[ix as usize].usage[at] = Usage { held: 0, ..*usage };
            }
        }
    }

    fn restore_kept(&mut self, kept: &KeptBuckets) {
        let rules = Arc::clone(&self.rules);
        for (key, kept) in kept {
            let Some((name, dims)) = parse_kept_key(key) else {
                continue;
            };
            let Some(quota) = rules.iter().position(|r| r.name == name) else {
                continue;
            };
            let ix = self.bucket(quota, &rules[quota], dims);
            let budgets = self.policy.quotas[quota].budgets.clone();
            let tz = self.policy.timezone.clone();
            let bucket = &mut self.buckets[ix as usize];
            // A rate that has become shorter is not in debt for longer than it is itself.
            bucket.arrival = match rules[quota].rate {
                Some(rate) => kept.arrival.min(full_micros(rate, self.now)),
                None => kept.arrival,
            };
            for (at, b) in budgets.iter().enumerate() {
                let old = kept
                    .meters
                    .iter()
                    .find(|(r, per, _)| *r == b.resource && *per == b.per);
                if let Some((_, _, carried)) = old {
                    bucket.meters[at] = Meter::restore(b.per, &tz, carried.clone());
                }
            }
        }
    }

    /// Buckets that something is kept free for must be there before anybody uses them: those of the subjects that the
    /// policy names.
    fn make_guaranteed(&mut self) {
        let rules = Arc::clone(&self.rules);
        let policy = Arc::clone(&self.policy);
        for (quota, rule) in rules.iter().enumerate() {
            if rule.guarantee.iter().next().is_none() {
                continue;
            }
            let clusters: Vec<String> = self.clusters.iter().map(|c| c.name.clone()).collect();
            for dims in named_buckets(&policy, rule, &clusters) {
                self.bucket(quota, rule, dims);
            }
        }
    }
}

/// How far ahead a rate is that takes nothing more now.
fn full_micros(rate: Rate, now: Timestamp) -> i64 {
    now.0.saturating_mul(1000).saturating_add(span_micros(rate))
}

/// The buckets of a rule that the policy itself names, on the clusters that are known.
fn named_buckets(policy: &Policy, rule: &Rule, clusters: &[String]) -> Vec<Dims> {
    let s = &rule.selector;
    let named = [&s.user, &s.team, &s.org, &s.job_type, &s.cluster];
    let each = named
        .iter()
        .filter(|m| matches!(m, Some(Match::Each)))
        .count();
    if each == 0 && s.labels.values().all(|m| *m != Match::Each) {
        // One bucket: any subject that is covered has it. Its dimensions are the selector's own.
        let subject = Subject {
            user: first(&s.user),
            team: s.team.as_ref().map(|_| first(&s.team)),
            orgs: s.org.iter().map(|_| first(&s.org)).collect(),
            job_type: s.job_type.as_ref().map(|_| first(&s.job_type)),
            labels: s
                .labels
                .iter()
                .map(|(k, m)| (k.clone(), first(&Some(m.clone()))))
                .collect(),
        };
        return bucket_of(s, &subject, &first(&s.cluster))
            .into_iter()
            .collect();
    }
    let mut all = BTreeSet::new();
    for (name, team) in &policy.teams {
        let orgs = team
            .org
            .as_ref()
            .map_or_else(Vec::new, |o| policy.org_path(o));
        for member in &team.members {
            for job_type in policy.job_types.keys().map(Some).chain([None]) {
                let subject = Subject {
                    user: member.clone(),
                    team: Some(name.clone()),
                    orgs: orgs.clone(),
                    job_type: job_type.cloned(),
                    labels: policy
                        .users
                        .get(member)
                        .map_or_else(BTreeMap::new, |u| u.labels.clone()),
                };
                let named = first(&s.cluster);
                for cluster in clusters.iter().chain([&named]).filter(|c| !c.is_empty()) {
                    all.extend(bucket_of(s, &subject, cluster));
                }
                if s.cluster.is_none() {
                    all.extend(bucket_of(s, &subject, ""));
                }
            }
        }
    }
    all.into_iter().collect()
}

fn first(m: &Option<Match>) -> String {
    match m {
        Some(Match::OneOf(set)) => set.first().cloned().unwrap_or_default(),
        _ => String::new(),
    }
}

/// A bucket's place in a snapshot: JSON of quota and dimensions, so that no character needs care.
fn kept_key(quota: &str, dims: &Dims) -> String {
    serde_json::json!([quota, dims]).to_string()
}

fn parse_kept_key(key: &str) -> Option<(String, Dims)> {
    serde_json::from_str(key).ok()
}
