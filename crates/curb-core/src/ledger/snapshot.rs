//! The state as bytes. Two states that came from the same events give the same bytes, however they came there.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::{Override, Token};
use super::fair::Usage;
use super::job::Job;
use super::refusals::Refusal;
use super::state::{Kept, State};
use crate::policy::{Mode, Policy};
use crate::resource::{Resource, Resources};
use crate::time::Timestamp;

/// The form of a snapshot, and of the fold that made it. A snapshot of another form is not read; the journal is folded from
/// its beginning instead.
pub const SNAPSHOT_FORMAT: u32 = 4;

#[derive(Serialize, Deserialize)]
struct Snapshot {
    seq: u64,
    now: Timestamp,
    policy: Arc<Policy>,
    policy_version: u32,
    policy_sha256: String,
    mode: Option<Mode>,
    clusters: BTreeMap<String, (String, Option<Resources>)>,
    /// By age.
    open: Vec<Job>,
    /// In the order in which they ended.
    ended: Vec<Job>,
    /// In the order in which they came.
    refusals: Vec<Refusal>,
    overrides: BTreeMap<u64, Override>,
    last_override: u64,
    tokens: BTreeMap<String, Token>,
    buckets: BTreeMap<String, Kept>,
    nodes: BTreeMap<String, Vec<(Resource, Usage)>>,
}

/// Why bytes are not a snapshot.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot is not readable: {0}")]
pub struct RestoreError(#[from] serde_json::Error);

impl State {
    /// The state as bytes of JSON.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let (buckets, mut nodes) = self.kept();
        for usages in nodes.values_mut() {
            usages.sort_by(|a, b| a.0.cmp(&b.0));
        }
        let mut open: Vec<Job> = self.jobs().filter(|j| !j.is_ended()).cloned().collect();
        open.sort_by_key(|j| j.seq);
        let snapshot = Snapshot {
            seq: self.seq,
            now: self.now,
            policy: Arc::clone(&self.policy),
            policy_version: self.policy_version,
            policy_sha256: self.policy_sha256.clone(),
            mode: self.mode,
            clusters: self
                .clusters
                .iter()
                .map(|c| (c.name.clone(), (c.session.clone(), c.observed.clone())))
                .collect(),
            open,
            ended: self
                .ended
                .iter()
                .filter_map(|ix| Some(self.slot_at(*ix)?.job.clone()))
                .collect(),
            refusals: self.refusals.iter().cloned().collect(),
            overrides: self.overrides.clone(),
            last_override: self.last_override,
            tokens: self.tokens.clone(),
            buckets,
            nodes,
        };
        serde_json::to_vec(&snapshot).unwrap_or_default()
    }

    /// The state that gave these bytes.
    pub fn restore(bytes: &[u8]) -> Result<State, RestoreError> {
        let s: Snapshot = serde_json::from_slice(bytes)?;
        let mut state = State::new();
        state.seq = s.seq;
        state.now = s.now;
        state.policy = s.policy;
        state.policy_version = s.policy_version;
        state.policy_sha256 = s.policy_sha256;
        state.mode = s.mode;
        state.overrides = s.overrides;
        s.refusals.into_iter().for_each(|r| state.refusals.put(r));
        state.last_override = s.last_override;
        for token in s.tokens.values() {
            state
                .token_hashes
                .insert(token.hash.clone(), token.id.clone());
        }
        state.tokens = s.tokens;
        for (name, (session, observed)) in s.clusters {
            let ix = state.cluster_number(&name) as usize;
            state.clusters[ix].session = session;
            state.clusters[ix].observed = observed;
        }
        // The jobs go in without tables; rebuilding makes the tables from them.
        for job in s.open {
            state.insert(job);
        }
        for job in s.ended {
            let ix = state.insert(job);
            state.ended.push_back(ix);
        }
        state.rebuild(&s.buckets, &s.nodes);
        Ok(state)
    }
}
