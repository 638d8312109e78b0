//! The ledger's state: what the journal's events add up to.
//!
//! The jobs, clusters, overrides, tokens, budgets' meters, rates and moving averages are the state proper; all else (what a
//! bucket holds, who waits in which class) is counted from them and is rebuilt when a policy is applied or a snapshot is
//! restored. No answer depends on the numbers that things happen to have in the tables here.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::event::{Override, Token};
use super::fair::Usage;
use super::job::{Job, Phase};
use super::meter::{Carried, Meter};
use super::refusals::Refusals;
use super::rules::{
    Ask, Denied, Dims, Held, Names, ResIx, Rule, Table, bucket_name, bucket_of, denied,
};
use crate::policy::{Capacity, Match, Mode, Period, Policy};
use crate::resource::{Resource, Resources};
use crate::subject::{JobId, Subject};
use crate::time::Timestamp;

/// Ended jobs that are kept in memory. Older ones are in the journal only; their ids stay taken.
pub const ENDED_KEPT: usize = 10_000;

/// The ledger.
#[derive(Clone, Debug)]
pub struct State {
    pub(super) seq: u64,
    pub(super) now: Timestamp,
    pub(super) policy: Arc<Policy>,
    pub(super) policy_version: u32,
    pub(super) policy_sha256: String,
    pub(super) mode: Option<Mode>,
    pub(super) clusters: Vec<Cluster>,
    pub(super) slots: Vec<Option<Slot>>,
    pub(super) free: Vec<u32>,
    pub(super) index: HashMap<JobId, u32>,
    pub(super) ended: VecDeque<u32>,
    /// Refusals that are told as failed jobs.
    pub(super) refusals: Refusals,
    pub(super) overrides: BTreeMap<u64, Override>,
    pub(super) last_override: u64,
    pub(super) tokens: BTreeMap<String, Token>,
    pub(super) token_hashes: HashMap<String, String>,
    pub(crate) names: Names,
    pub(crate) rules: Arc<Vec<Rule>>,
    pub(crate) buckets: Vec<Bucket>,
    /// The buckets of quotas with a guarantee.
    pub(crate) guaranteed: Vec<u32>,
    pub(super) bucket_index: HashMap<BucketKey, u32>,
    pub(crate) seats: Vec<Seat>,
    pub(super) seat_index: HashMap<Subject, Vec<(u32, u32)>>,
    pub(crate) nodes: Vec<Node>,
    pub(super) node_index: HashMap<String, u32>,
    pub(crate) classes: Vec<Class>,
    pub(super) class_index: HashMap<ClassKey, u32>,
    /// All that wait, oldest first.
    pub(crate) waiting: BTreeSet<(u64, u32)>,
    /// All that hold something and are being stopped.
    pub(super) stopping: BTreeSet<u32>,
    /// Of every resource: what is kept free for guarantees that are not used up.
    pub(crate) unmet: Held,
    /// Of every resource: what is guaranteed in all, used or not.
    pub(crate) guarantees: Held,
    /// Of every resource: what is held on all clusters.
    pub(crate) total: Held,
    /// Jobs in each phase that holds something.
    pub(super) holding: u64,
}

/// A cluster as it was last seen.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its name in Curb.
    pub name: String,
    /// Ray's session; empty when it was never seen.
    pub session: String,
    /// What it has, as Ray said last; `None`: it never did.
    pub observed: Option<Resources>,
    /// What is known that it has: what the policy fixes, and what Ray said of the rest.
    pub(crate) capacity: Table,
    pub(crate) held: Held,
}

/// What a cluster has of one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Has {
    /// So much; 0 where it is not there at all.
    This(u64),
    /// The cluster was met, but it did not say what it has.
    Unread,
    /// The cluster was never met: nothing is compared, and its gate is shut.
    Unmet,
}

impl Cluster {
    pub(crate) fn has(&self, r: ResIx) -> Has {
        match self.capacity.get(r) {
            Some(amount) => Has::This(amount),
            None if self.observed.is_some() => Has::This(0),
            None if self.session.is_empty() => Has::Unmet,
            None => Has::Unread,
        }
    }
}

/// A job in the tables.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) job: Job,
    pub(crate) seat: u32,
    pub(crate) ask: Ask,
}

/// A quota's name and the part of it.
pub(super) type BucketKey = (String, Dims);

/// One instance of a quota.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pub(crate) quota: usize,
    pub(crate) dims: Dims,
    pub(crate) held: Held,
    pub(crate) running: u32,
    pub(crate) queued: u32,
    /// Who holds something, by expected end.
    pub(crate) holders: BTreeSet<(Timestamp, u32)>,
    /// One a budget of the quota.
    pub(crate) meters: Vec<Meter>,
    /// Of the submit rate: the theoretical arrival time of the next one, in microseconds (GCRA, ITU-T I.371).
    pub(crate) arrival: i64,
    /// Overrides that are for this bucket.
    pub(crate) overrides: Vec<u64>,
}

/// A subject on a cluster: which buckets cover it, and its way in the tree.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) cluster: u32,
    pub(crate) buckets: Vec<u32>,
    pub(crate) nodes: Vec<u32>,
    /// What the policy in force does not let the subject use at all.
    pub(crate) denied: Denied,
}

/// A part of the tree that shares are compared by.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) key: String,
    pub(crate) weight: u32,
    pub(crate) usage: Vec<Usage>,
}

/// Jobs that wait and are alike in all that matters to whether they fit: only the oldest needs a look.
#[derive(Clone, Debug)]
pub(crate) struct Class {
    pub(crate) seat: u32,
    pub(crate) ask: Ask,
    pub(crate) duration: Option<crate::time::Millis>,
    pub(crate) priority: i32,
    pub(crate) members: BTreeMap<u64, u32>,
}

pub(super) type ClassKey = (u32, Ask, Option<crate::time::Millis>, i32);

/// What a bucket has to keep when the tables are rebuilt.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Kept {
    pub(super) arrival: i64,
    pub(super) meters: Vec<(Resource, Period, Carried)>,
}

/// What is kept of buckets, by [`super::rebuild`]'s key.
pub(super) type KeptBuckets = BTreeMap<String, Kept>;

/// What is kept of nodes, by name.
pub(super) type KeptNodes = BTreeMap<String, Vec<(Resource, super::fair::Usage)>>;

impl Default for State {
    fn default() -> State {
        State::new()
    }
}

impl State {
    /// The state before the first event: no quotas, nothing runs.
    #[must_use]
    pub fn new() -> State {
        let policy = Policy {
            timezone: "UTC".into(),
            ..Policy::default()
        };
        State {
            seq: 0,
            now: Timestamp(0),
            policy: Arc::new(policy),
            policy_version: 0,
            policy_sha256: String::new(),
            mode: None,
            clusters: Vec::new(),
            slots: Vec::new(),
            free: Vec::new(),
            index: HashMap::new(),
            ended: VecDeque::new(),
            refusals: Refusals::default(),
            overrides: BTreeMap::new(),
            last_override: 0,
            tokens: BTreeMap::new(),
            token_hashes: HashMap::new(),
            names: Names::default(),
            rules: Arc::new(Vec::new()),
            buckets: Vec::new(),
            guaranteed: Vec::new(),
            bucket_index: HashMap::new(),
            seats: Vec::new(),
            seat_index: HashMap::new(),
            nodes: Vec::new(),
            node_index: HashMap::new(),
            classes: Vec::new(),
            class_index: HashMap::new(),
            waiting: BTreeSet::new(),
            stopping: BTreeSet::new(),
            unmet: Held::default(),
            guarantees: Held::default(),
            total: Held::default(),
            holding: 0,
        }
    }

    // ---- what others may read -------------------------------------------------------------------------------------

    /// Number of the last event.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Time of the last event.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Its version; 0 before the first.
    #[must_use]
    pub fn policy_version(&self) -> u32 {
        self.policy_version
    }

    /// The hash of its text.
    #[must_use]
    pub fn policy_sha256(&self) -> &str {
        &self.policy_sha256
    }

    /// Whether decisions are enforced: as set by an operator, else as the policy says.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode.unwrap_or(self.policy.mode)
    }

    /// What an operator has set, if anything.
    #[must_use]
    pub fn mode_set(&self) -> Option<Mode> {
        self.mode
    }

    /// The clusters that were seen or used.
    pub fn clusters(&self) -> impl Iterator<Item = &Cluster> {
        self.clusters.iter()
    }

    /// A cluster by name.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|c| c.name == name)
    }

    /// A job by id: open ones, and the last [`ENDED_KEPT`] that ended.
    #[must_use]
    pub fn job(&self, id: &JobId) -> Option<&Job> {
        self.slot(id).map(|(_, s)| &s.job)
    }

    /// All jobs that [`State::job`] knows, in no particular order.
    pub fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.slots.iter().flatten().map(|s| &s.job)
    }

    /// The refusals that are told as failed jobs.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// How many jobs wait.
    #[must_use]
    pub fn queued_count(&self) -> usize {
        self.waiting.len()
    }

    /// How many jobs hold something.
    #[must_use]
    pub fn holding_count(&self) -> u64 {
        self.holding
    }

    /// The token with this hash.
    #[must_use]
    pub fn token_by_hash(&self, hash: &str) -> Option<&Token> {
        self.tokens.get(self.token_hashes.get(hash)?)
    }

    /// All tokens that were not revoked, by id.
    pub fn tokens(&self) -> impl Iterator<Item = &Token> {
        self.tokens.values()
    }

    /// All overrides that were not removed, by id; those past their end too.
    pub fn overrides(&self) -> impl Iterator<Item = &Override> {
        self.overrides.values()
    }

    /// The id that the next override gets.
    #[must_use]
    pub fn next_override(&self) -> u64 {
        self.last_override + 1
    }

    /// What a cluster has of each resource as far as that is known.
    #[must_use]
    pub fn capacity_of(&self, name: &str) -> Option<Resources> {
        let c = self.cluster(name).filter(|c| c.observed.is_some())?;
        Some(
            c.capacity
                .iter()
                .map(|(ix, v)| (self.names.name(ix).clone(), crate::amount::Amount(v)))
                .collect(),
        )
    }

    /// What is held on a cluster.
    #[must_use]
    pub fn held_on(&self, name: &str) -> Resources {
        let Some(c) = self.cluster(name) else {
            return Resources::none();
        };
        (0..self.names.len())
            .filter_map(|ix| ResIx::try_from(ix).ok())
            .map(|ix| {
                (
                    self.names.name(ix).clone(),
                    crate::amount::Amount(c.held.get(ix)),
                )
            })
            .collect()
    }

    // ---- the tables -----------------------------------------------------------------------------------------------

    pub(crate) fn slot(&self, id: &JobId) -> Option<(u32, &Slot)> {
        let ix = *self.index.get(id)?;
        Some((ix, self.slots.get(ix as usize)?.as_ref()?))
    }

    pub(crate) fn slot_at(&self, ix: u32) -> Option<&Slot> {
        self.slots.get(ix as usize)?.as_ref()
    }

    pub(super) fn slot_mut(&mut self, ix: u32) -> Option<&mut Slot> {
        self.slots.get_mut(ix as usize)?.as_mut()
    }

    pub(crate) fn cluster_at(&self, ix: u32) -> &Cluster {
        &self.clusters[ix as usize]
    }

    /// Those that hold something and are being stopped, where that is sure to come back: not in quarantine.
    pub(crate) fn stopping(&self) -> impl Iterator<Item = &Slot> {
        let slots = self.stopping.iter().filter_map(|ix| self.slot_at(*ix));
        slots.filter(|s| matches!(s.job.phase, Phase::Reserved(_) | Phase::Running(_)))
    }

    pub(super) fn cluster_number(&mut self, name: &str) -> u32 {
        if let Some(ix) = self.clusters.iter().position(|c| c.name == name) {
            return ix as u32;
        }
        self.clusters.push(Cluster {
            name: name.to_owned(),
            session: String::new(),
            observed: None,
            capacity: Table::default(),
            held: Held::default(),
        });
        let ix = (self.clusters.len() - 1) as u32;
        self.set_capacity(ix);
        ix
    }

    /// Takes over what the policy and Ray say that a cluster has.
    pub(super) fn set_capacity(&mut self, ix: u32) {
        let cluster = &self.clusters[ix as usize];
        let fixed = match &self.policy.capacity {
            Capacity::Discover => None,
            Capacity::Fixed(r) => Some(r),
            Capacity::PerCluster(by) => by.get(&cluster.name),
        };
        let mut table = Table::default();
        for (r, a) in cluster.observed.iter().flat_map(Resources::iter) {
            table.set(self.names.number(r), a.0);
        }
        for (r, a) in fixed.into_iter().flat_map(Resources::iter) {
            table.set(self.names.number(r), a.0);
        }
        let cluster = &mut self.clusters[ix as usize];
        cluster.capacity = table;
    }

    /// Looks up the seat of a subject on a cluster.
    pub(crate) fn find_seat(&self, subject: &Subject, cluster: &str) -> Option<u32> {
        let seats = self.seat_index.get(subject)?;
        seats
            .iter()
            .find(|(c, _)| self.clusters[*c as usize].name == cluster)
            .map(|(_, seat)| *seat)
    }

    /// The seat of a subject on a cluster, made when it is new.
    pub(crate) fn seat(&mut self, subject: &Subject, cluster: &str) -> u32 {
        if let Some(ix) = self.find_seat(subject, cluster) {
            return ix;
        }
        let rules = Arc::clone(&self.rules);
        let mut buckets = Vec::new();
        for (quota, rule) in rules.iter().enumerate() {
            if let Some(dims) = bucket_of(&rule.selector, subject, cluster) {
                buckets.push(self.bucket(quota, rule, dims));
            }
        }
        let seat = Seat {
            cluster: self.cluster_number(cluster),
            buckets,
            nodes: self.path(subject),
            denied: denied(&self.policy, subject, cluster),
        };
        self.seats.push(seat);
        let ix = (self.seats.len() - 1) as u32;
        let on = self.seats[ix as usize].cluster;
        self.seat_index
            .entry(subject.clone())
            .or_default()
            .push((on, ix));
        ix
    }

    /// The seat that a subject without one would get, with the buckets that would be made for it. Those have numbers past
    /// the ones that are there. `None` when the cluster was never seen.
    pub(crate) fn sketch_seat(
        &self,
        subject: &Subject,
        cluster: &str,
    ) -> Option<(Seat, Vec<Bucket>)> {
        let number = self.clusters.iter().position(|c| c.name == cluster)?;
        let mut made = Vec::new();
        let mut buckets = Vec::new();
        for (quota, rule) in self.rules.iter().enumerate() {
            let Some(dims) = bucket_of(&rule.selector, subject, cluster) else {
                continue;
            };
            let key = (rule.name.clone(), dims);
            buckets.push(match self.bucket_index.get(&key) {
                Some(ix) => *ix,
                None => {
                    made.push(self.new_bucket(quota, rule, key.1));
                    (self.buckets.len() + made.len() - 1) as u32
                }
            });
        }
        let seat = Seat {
            cluster: number as u32,
            buckets,
            nodes: Vec::new(),
            denied: denied(&self.policy, subject, cluster),
        };
        Some((seat, made))
    }

    pub(super) fn bucket(&mut self, quota: usize, rule: &Rule, dims: Dims) -> u32 {
        let key = (rule.name.clone(), dims);
        if let Some(ix) = self.bucket_index.get(&key) {
            return *ix;
        }
        let bucket = self.new_bucket(quota, rule, key.1.clone());
        for (ix, amount) in rule.guarantee.iter() {
            if !rule.audit {
                self.unmet.add(&[(ix, amount)]);
                self.guarantees.add(&[(ix, amount)]);
            }
        }
        self.buckets.push(bucket);
        let ix = (self.buckets.len() - 1) as u32;
        if rule.guarantee.iter().next().is_some() {
            self.guaranteed.push(ix);
        }
        self.bucket_index.insert(key, ix);
        ix
    }

    pub(super) fn new_bucket(&self, quota: usize, rule: &Rule, dims: Dims) -> Bucket {
        let budgets = &self.policy.quotas[quota].budgets;
        Bucket {
            quota,
            held: Held::default(),
            running: 0,
            queued: 0,
            holders: BTreeSet::new(),
            meters: budgets
                .iter()
                .map(|b| Meter::new(b.per, &self.policy.timezone, self.now))
                .collect(),
            arrival: 0,
            overrides: self
                .overrides
                .values()
                .filter(|o| is_for(o, &rule.name, &dims))
                .map(|o| o.id)
                .collect(),
            dims,
        }
    }

    /// The way of a subject in the tree: org units from the top, team, user.
    fn path(&mut self, subject: &Subject) -> Vec<u32> {
        let policy = Arc::clone(&self.policy);
        path_of(&policy, subject)
            .map(|(key, weight)| self.node(key, weight))
            .collect()
    }

    /// The same; `None` for a part that nobody has used.
    pub(crate) fn known_path(&self, subject: &Subject) -> Vec<Option<u32>> {
        path_of(&self.policy, subject)
            .map(|(key, _)| self.node_index.get(&key).copied())
            .collect()
    }

    pub(super) fn node(&mut self, key: String, weight: u32) -> u32 {
        if let Some(ix) = self.node_index.get(&key) {
            self.nodes[*ix as usize].weight = weight;
            return *ix;
        }
        self.nodes.push(Node {
            key: key.clone(),
            weight,
            usage: Vec::new(),
        });
        let ix = (self.nodes.len() - 1) as u32;
        self.node_index.insert(key, ix);
        ix
    }
}

/// The names and weights of a subject's way in the tree.
fn path_of<'a>(
    policy: &'a Policy,
    subject: &'a Subject,
) -> impl Iterator<Item = (String, u32)> + 'a {
    let orgs = subject.orgs.iter().rev().map(|org| {
        let weight = policy.orgs.get(org).map_or(1, |o| o.weight);
        (format!("org {org}"), weight)
    });
    let team = subject.team.iter().map(|team| {
        let weight = policy.teams.get(team).map_or(1, |t| t.weight);
        (format!("team {team}"), weight)
    });
    let weight = policy.users.get(&subject.user).map_or(1, |u| u.weight);
    let team_of = subject.team.as_deref().unwrap_or("");
    let user = (format!("user {team_of}/{}", subject.user), weight);
    orgs.chain(team).chain([user])
}

/// Whether an override is for a bucket: every dimension that it names is one of the bucket's, with that value.
pub(super) fn is_for(o: &Override, quota: &str, dims: &[(String, String)]) -> bool {
    if o.quota.as_deref().is_some_and(|q| q != quota) {
        return false;
    }
    let s = &o.selector;
    let has = |dim: &str, m: &Option<Match>| match m {
        None => true,
        Some(Match::Each) => dims.iter().any(|(d, _)| d == dim),
        Some(Match::OneOf(set)) => dims.iter().any(|(d, v)| d == dim && set.contains(v)),
    };
    has("user", &s.user)
        && has("team", &s.team)
        && has("org", &s.org)
        && has("job_type", &s.job_type)
        && has("cluster", &s.cluster)
        && s.labels
            .iter()
            .all(|(k, m)| has(&format!("label {k}"), &Some(m.clone())))
}

impl Bucket {
    pub(crate) fn name(&self) -> String {
        bucket_name(&self.dims)
    }
}

impl State {
    /// A copy to try things on: with the jobs that wait or hold something, and nothing of what is over. `None` when there
    /// are too many of them, or of what they are counted in, for a quick copy.
    ///
    /// With more that wait than fit beside those that hold something, it has the oldest of each class, so many as the
    /// number says that comes with it: whoever starts first, up to that many, is among them.
    pub(crate) fn open_only(&self, most: usize) -> Option<(State, Option<usize>)> {
        let counted = self
            .buckets
            .len()
            .max(self.seats.len())
            .max(self.nodes.len());
        let holding = usize::try_from(self.holding).unwrap_or(usize::MAX);
        let room = most.checked_sub(holding)?;
        if counted > 4 * most || self.waiting.len() > 10 * most {
            return None;
        }
        let first = (self.waiting.len() > room).then(|| room / self.classes.len().max(1));
        if first == Some(0) {
            return None;
        }
        let of_each = first.unwrap_or(usize::MAX);
        let members = self.classes.iter();
        let waits: HashSet<u32> = members
            .flat_map(|c| c.members.values().take(of_each).copied())
            .collect();
        let mut copy = State {
            seq: self.seq,
            now: self.now,
            policy: Arc::clone(&self.policy),
            policy_version: self.policy_version,
            mode: self.mode,
            clusters: self.clusters.clone(),
            overrides: self.overrides.clone(),
            last_override: self.last_override,
            names: self.names.clone(),
            rules: Arc::clone(&self.rules),
            buckets: self.buckets.clone(),
            guaranteed: self.guaranteed.clone(),
            bucket_index: self.bucket_index.clone(),
            seats: self.seats.clone(),
            seat_index: self.seat_index.clone(),
            nodes: self.nodes.clone(),
            node_index: self.node_index.clone(),
            class_index: self.class_index.clone(),
            unmet: self.unmet.clone(),
            guarantees: self.guarantees.clone(),
            total: self.total.clone(),
            holding: self.holding,
            ..State::new()
        };
        let mut number: HashMap<u32, u32> = HashMap::new();
        for (ix, slot) in self.slots.iter().enumerate() {
            let Some(slot) = slot.as_ref().filter(|s| !s.job.is_ended()) else {
                continue;
            };
            if slot.job.is_queued() && !waits.contains(&(ix as u32)) {
                continue;
            }
            let new = copy.slots.len() as u32;
            number.insert(ix as u32, new);
            copy.index.insert(slot.job.new.id.clone(), new);
            copy.slots.push(Some(slot.clone()));
        }
        let new = |ix: &u32| number.get(ix).copied();
        copy.waiting = self
            .waiting
            .iter()
            .filter_map(|(seq, ix)| Some((*seq, new(ix)?)))
            .collect();
        copy.stopping = self.stopping.iter().filter_map(new).collect();
        let class = |c: &Class| Class {
            seat: c.seat,
            ask: Arc::clone(&c.ask),
            duration: c.duration,
            priority: c.priority,
            members: c
                .members
                .iter()
                .take(of_each)
                .filter_map(|(seq, ix)| Some((*seq, new(ix)?)))
                .collect(),
        };
        copy.classes = self.classes.iter().map(class).collect();
        for bucket in &mut copy.buckets {
            bucket.holders = std::mem::take(&mut bucket.holders)
                .into_iter()
                .filter_map(|(end, ix)| Some((end, new(&ix)?)))
                .collect();
        }
        Some((copy, first))
    }

    /// How much [`State::open_only`] had to copy.
    pub(crate) fn parts(&self) -> usize {
        self.slots.len() + self.buckets.len() + self.seats.len() + self.nodes.len()
    }

    pub(crate) fn override_by_id(&self, id: u64) -> Option<&Override> {
        self.overrides.get(&id)
    }
}
