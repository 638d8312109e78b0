//! What the server knows of one Ray cluster besides the ledger: how to reach it and what it last said.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use curb_core::subject::JobId;
use curb_core::time::Timestamp;
use curb_ray::{JobDetails, JobStatus, RayClient, Version};
use tokio::sync::Notify;

use crate::app::TailCount;
use crate::config::ClusterConfig;
use crate::truth::Truth;

/// A cluster.
#[derive(Debug)]
pub struct Cluster {
    /// Its name in Curb.
    pub name: String,
    /// Its client.
    pub ray: RayClient,
    /// Its settings.
    pub config: ClusterConfig,
    /// Wakes the monitor before its time.
    pub poke: Notify,
    /// Who reads a log of it as a whole at the moment.
    pub readers: Arc<TailCount>,
    /// What is held on it, as its control store says.
    pub truth: Truth,
    facts: RwLock<Facts>,
    /// What it said that it is before this server started.
    earlier: Option<Version>,
    /// Where that is kept.
    version_file: PathBuf,
    /// Attempts that somebody here takes care of.
    in_flight: Mutex<HashSet<(JobId, u32)>>,
    /// What Ray last said of open jobs.
    records: Mutex<HashMap<JobId, Arc<JobDetails>>>,
}

/// What is known of it at the moment.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Whether it answered the last time.
    pub reachable: bool,
    /// When it last answered.
    pub last_seen: Option<Timestamp>,
    /// Why it does not answer.
    pub problem: String,
    /// What it says that it is; kept while it is away.
    pub version: Option<Version>,
    /// When its list of nodes was last read.
    pub nodes_read: Option<Timestamp>,
    /// Why its list of nodes cannot be read; empty while it can.
    pub nodes_problem: String,
}

/// Marks an attempt as taken care of until it is dropped.
#[derive(Debug)]
pub struct Mark {
    cluster: Arc<Cluster>,
    key: (JobId, u32),
}

impl Drop for Mark {
    fn drop(&mut self) {
        lock(&self.cluster.in_flight).remove(&self.key);
    }
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    // These tables are whole between any two statements that could panic.
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    /// A cluster that was not looked at yet.
    ///
    /// # Errors
    /// The address or a bound is wrong.
    pub fn new(
        name: &str,
        config: ClusterConfig,
        data: &Path,
    ) -> Result<Cluster, curb_ray::ConfigError> {
        let version_file = data.join(format!("ray-version.{name}.json"));
        let earlier = std::fs::read(&version_file)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        Ok(Cluster {
            earlier,
            version_file,
            name: name.to_owned(),
            ray: RayClient::new(config.ray.clone())?,
            config,
            poke: Notify::new(),
            readers: Arc::new(TailCount::default()),
            truth: Truth::default(),
            facts: RwLock::new(Facts::default()),
            in_flight: Mutex::new(HashSet::new()),
            records: Mutex::new(HashMap::new()),
        })
    }

    /// What is known at the moment.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.facts
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Ray's session as it was last seen; empty when it was never seen or has no name for it.
    #[must_use]
    pub fn session(&self) -> String {
        let facts = self.facts.read().unwrap_or_else(PoisonError::into_inner);
        facts.version.as_ref().map_or_else(String::new, session_of)
    }

    /// What it says that it is, or said before this server started: good for a client that asks, not for a decision.
    #[must_use]
    pub fn last_version(&self) -> Option<Version> {
        self.facts().version.or_else(|| self.earlier.clone())
    }

    /// It answered.
    pub fn seen(&self, version: Version, now: Timestamp) {
        let mut facts = self.facts.write().unwrap_or_else(PoisonError::into_inner);
        if facts.version.as_ref() != Some(&version) {
            self.keep(&version);
        }
        (facts.reachable, facts.last_seen) = (true, Some(now));
        facts.problem.clear();
        facts.version = Some(version);
    }

    /// Its list of nodes was read. `true` when that is news.
    pub fn nodes_read(&self, now: Timestamp) -> bool {
        let mut facts = self.facts.write().unwrap_or_else(PoisonError::into_inner);
        facts.nodes_read = Some(now);
        !std::mem::take(&mut facts.nodes_problem).is_empty()
    }

    /// It could not be read. `true` when that is news.
    pub fn nodes_unread(&self, problem: String) -> bool {
        let mut facts = self.facts.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut facts.nodes_problem, problem);
        before.is_empty()
    }

    /// Keeps a version for clients that ask while Ray is away and Curb was restarted. Losing it costs them a wait.
    fn keep(&self, version: &Version) {
        let kept = serde_json::to_vec(version)
            .map_err(std::io::Error::other)
            .and_then(|text| std::fs::write(&self.version_file, text));
        if let Err(error) = kept {
            tracing::debug!(cluster = %self.name, %error, "the version of Ray was not kept");
        }
    }

    /// It did not. `true` when that is news.
    pub fn lost(&self, problem: String) -> bool {
        let mut facts = self.facts.write().unwrap_or_else(PoisonError::into_inner);
        let news = facts.reachable || facts.problem.is_empty();
        (facts.reachable, facts.problem) = (false, problem);
        news
    }

    /// Takes care of an attempt; `None` when somebody does already.
    pub fn mark(self: &Arc<Cluster>, id: &JobId, attempt: u32) -> Option<Mark> {
        let key = (id.clone(), attempt);
        let new = lock(&self.in_flight).insert(key.clone());
        new.then(|| Mark {
            cluster: Arc::clone(self),
            key,
        })
    }

    /// Keeps what Ray said of an open job. Answers overtake each other: a job that was seen running is not shown as
    /// pending again, since Ray never goes back to that under one id.
    pub fn remember(&self, id: &JobId, record: JobDetails) -> Arc<JobDetails> {
        let mut records = lock(&self.records);
        if let Some(old) = records.get(id)
            && old.submission_id == record.submission_id
            && record.status == JobStatus::Pending
            && old.status != JobStatus::Pending
        {
            return Arc::clone(old);
        }
        let record = Arc::new(record);
        records.insert(id.clone(), Arc::clone(&record));
        record
    }

    /// What Ray last said of an open job.
    #[must_use]
    pub fn recall(&self, id: &JobId) -> Option<Arc<JobDetails>> {
        lock(&self.records).get(id).cloned()
    }

    /// Forgets the jobs that are not open any more.
    pub fn forget_all_but(&self, open: &HashSet<JobId>) {
        lock(&self.records).retain(|id, _| open.contains(id));
    }
}

/// The name of an incarnation of Ray. A Ray too old to name its sessions has one for ever.
#[must_use]
pub fn session_of(version: &Version) -> String {
    version
        .session_name
        .clone()
        .unwrap_or_else(|| "unnamed".to_owned())
}
