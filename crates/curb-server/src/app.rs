//! What the parts of the server share.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use curb_core::subject::JobId;
use curb_core::time::Timestamp;
use curb_http::origin::Allowed;
use curb_journal::{ReadError, Reader};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bodies::BodyRoom;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::engine::{Engine, EngineError};
use crate::packages::PackageStore;
use crate::reply::Failure;
use crate::routes::Router;
use crate::spec::JobSpec;

/// Specs kept in memory.
const SPECS_KEPT: usize = 2048;
/// Their bytes in all.
const SPECS_BYTES: usize = 64 << 20;
/// Bytes of all refusals that look like failed jobs.
const REFUSED_BYTES: usize = 32 << 20;
/// Bytes of one refusal's text, and of the command that is shown with it.
const REFUSED_TEXT: usize = 8 << 10;
/// Readers of the journal that are kept open.
const READERS_KEPT: usize = 4;

/// Everything that handlers and tasks need.
pub struct App {
    /// The configuration.
    pub config: Config,
    /// The ledger.
    pub engine: Engine,
    /// The clusters by name.
    pub clusters: BTreeMap<String, Arc<Cluster>>,
    /// What users uploaded.
    pub packages: PackageStore,
    /// The clock.
    pub clock: Clock,
    /// Names under which this listener may be asked.
    pub allowed: Allowed,
    /// The routes.
    pub router: Router,
    /// Readers of the journal.
    pub readers: Readers,
    /// Refusals that look like failed jobs.
    pub refused: RefusedJobs,
    /// Open log tails.
    pub tails: Arc<TailCount>,
    /// Room for large request bodies.
    pub bodies: BodyRoom,
    /// Cancelled when the server stops.
    pub stopping: CancellationToken,
    /// Tasks that must end before the engine does.
    pub tasks: TaskTracker,
    /// When the server started.
    pub started: Timestamp,
    /// What came of the policy file.
    pub policy_file: RwLock<PolicyFile>,
    specs: Mutex<SpecCache>,
}

/// What came of reading the policy file the last time.
#[derive(Clone, Debug, Default)]
pub struct PolicyFile {
    /// What is wrong with it; the one before stays in force.
    pub problem: Option<String>,
}

impl App {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        config: Config,
        engine: Engine,
        clusters: BTreeMap<String, Arc<Cluster>>,
        packages: PackageStore,
        clock: Clock,
        allowed: Allowed,
    ) -> App {
        App {
            readers: Readers {
                dir: config.data.clone(),
                idle: Mutex::new(Vec::new()),
            },
            refused: RefusedJobs {
                bound: config.limits.refused_jobs,
                ..RefusedJobs::default()
            },
            tails: Arc::new(TailCount::default()),
            bodies: BodyRoom::default(),
            started: clock.now(),
            config,
            engine,
            clusters,
            packages,
            clock,
            allowed,
            router: Router::new(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            policy_file: RwLock::new(PolicyFile::default()),
            specs: Mutex::new(SpecCache::default()),
        }
    }

    /// The cluster of this name.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.clusters.get(name)
    }

    /// A job's whole request.
    ///
    /// # Errors
    /// The journal cannot be read, or it is not there (then it was erased).
    pub async fn spec(&self, key: &str) -> Result<Arc<JobSpec>, Failure> {
        let mut found = self.specs(vec![key.to_owned()]).await?;
        found.remove(key).ok_or_else(|| {
            Failure::not_found("curb: what this job was asked to run is not kept any more")
        })
    }

    /// The requests of several jobs by key; those that are not kept any more are missing.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn specs(&self, keys: Vec<String>) -> Result<HashMap<String, Arc<JobSpec>>, Failure> {
        let mut found = HashMap::with_capacity(keys.len());
        let missing: Vec<String> = {
            let cache = self.specs.lock().unwrap_or_else(PoisonError::into_inner);
            keys.into_iter()
                .filter(|key| match cache.kept.get(key) {
                    Some(spec) => {
                        found.insert(key.clone(), Arc::clone(spec));
                        false
                    }
                    None => true,
                })
                .collect()
        };
        if missing.is_empty() {
            return Ok(found);
        }
        let read = move |reader: &Reader| {
            let mut read = Vec::with_capacity(missing.len());
            for key in missing {
                if let Some(body) = reader.spec(&key)? {
                    read.push((key, body));
                }
            }
            Ok(read)
        };
        for (key, body) in self.readers.run(read).await? {
            let spec = Arc::new(JobSpec::decode(&body).map_err(|e| Failure::internal(&e))?);
            self.keep_spec(key.clone(), Arc::clone(&spec));
            found.insert(key, spec);
        }
        Ok(found)
    }

    /// Keeps a spec in memory for those who ask soon.
    pub fn keep_spec(&self, key: String, spec: Arc<JobSpec>) {
        self.specs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keep(key, spec);
    }
}

/// Specs that were asked for lately. Bounded by number and by bytes.
#[derive(Debug, Default)]
struct SpecCache {
    kept: HashMap<String, Arc<JobSpec>>,
    /// The oldest first.
    order: VecDeque<String>,
    bytes: usize,
}

impl SpecCache {
    fn keep(&mut self, key: String, spec: Arc<JobSpec>) {
        let more = key.len() + spec.weight();
        if more > SPECS_BYTES || self.kept.contains_key(&key) {
            return;
        }
        while self.kept.len() >= SPECS_KEPT || self.bytes + more > SPECS_BYTES {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            if let Some(spec) = self.kept.remove(&oldest) {
                self.bytes -= oldest.len() + spec.weight();
            }
        }
        self.bytes += more;
        self.order.push_back(key.clone());
        self.kept.insert(key, spec);
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Failure {
        match error {
            EngineError::Busy => Failure::unavailable(
                "curb: too many requests wait for a decision; try again in a moment",
                1,
            ),
            EngineError::NotWritable(why) => {
                tracing::debug!(%why, "refused while the journal is not writable");
                let mut f = Failure::unavailable(
                    "curb: the journal is not writable at the moment, so that nothing can be\n\
                     admitted or changed. Running jobs go on. It recovers by itself once the\n\
                     journal's disk has room again; the operator finds the cause at /readyz\n",
                    5,
                );
                f.code = "journal-not-writable".into();
                f
            }
            EngineError::Unfit(why) => Failure::new(
                http::StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "Too large to be written",
                format!(
                    "curb: this cannot be written into the journal, so nothing was done: {why}"
                ),
            ),
            EngineError::Stopping => {
                Failure::unavailable("curb: the server is stopping; try again in a moment", 5)
            }
        }
    }
}

/// Readers of the journal, used on threads that may block.
#[derive(Debug)]
pub struct Readers {
    dir: PathBuf,
    idle: Mutex<Vec<Reader>>,
}

impl Readers {
    /// Runs a read on a thread that may block.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Failure> {
        let kept = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let dir = self.dir.clone();
        let work = tokio::task::spawn_blocking(move || {
            let reader = match kept {
                Some(reader) => reader,
                None => Reader::open(&dir).map_err(|e| crate::text_of(&e))?,
            };
            let found = read(&reader).map_err(|e| crate::text_of(&e))?;
            Ok::<_, String>((reader, found))
        });
        let outcome = work.await.map_err(|e| Failure::internal(&e))?;
        let (reader, found) = outcome.map_err(|e| Failure::internal(&e))?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < READERS_KEPT {
            idle.push(reader);
        }
        Ok(found)
    }
}

/// A refusal that looks like a failed job: it lives in memory only, and a bounded number of them.
#[derive(Debug)]
pub struct RefusedJob {
    /// Its id.
    pub id: JobId,
    /// Whose.
    pub user: String,
    /// What would have run.
    pub spec: JobSpec,
    /// The refusal.
    pub text: String,
    /// When.
    pub at: Timestamp,
}

impl RefusedJob {
    /// Without what a job that never ran needs no more, and with texts of a bounded length.
    fn trimmed(mut self) -> RefusedJob {
        cut(&mut self.text, REFUSED_TEXT);
        cut(&mut self.spec.entrypoint, REFUSED_TEXT);
        self.spec.runtime_env = None;
        self.spec.metadata.clear();
        self.spec.label_selector.clear();
        self.spec.packages.clear();
        self.spec.entrypoint_resources = curb_core::resource::Resources::none();
        self
    }

    fn weight(&self) -> usize {
        // The id is in two places.
        2 * self.id.as_str().len() + self.user.len() + self.text.len() + self.spec.weight()
    }
}

/// Cuts a text to so many bytes, between two characters, and gives its room back.
fn cut(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
    }
    text.shrink_to_fit();
}

/// By id, and in the order in which they came.
#[derive(Debug, Default)]
struct KeptRefusals {
    by_id: HashMap<JobId, Arc<RefusedJob>>,
    order: VecDeque<JobId>,
    bytes: usize,
}

impl KeptRefusals {
    fn forget(&mut self, id: &JobId) {
        if let Some(old) = self.by_id.remove(id) {
            self.bytes -= old.weight();
        }
    }
}

/// The newest refusals in the `job` style.
#[derive(Debug, Default)]
pub struct RefusedJobs {
    bound: usize,
    all: Mutex<KeptRefusals>,
}

impl RefusedJobs {
    /// Keeps one, forgetting the oldest at the bounds.
    pub fn keep(&self, job: RefusedJob) {
        let job = job.trimmed();
        let more = job.weight();
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.by_id.contains_key(&job.id) {
            all.forget(&job.id);
            all.order.retain(|other| *other != job.id);
        }
        while all.order.len() >= self.bound || all.bytes + more > REFUSED_BYTES {
            let Some(old) = all.order.pop_front() else {
                break;
            };
            all.forget(&old);
        }
        all.bytes += more;
        all.order.push_back(job.id.clone());
        all.by_id.insert(job.id.clone(), Arc::new(job));
    }

    /// One by id.
    #[must_use]
    pub fn get(&self, id: &JobId) -> Option<Arc<RefusedJob>> {
        self.all
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .by_id
            .get(id)
            .cloned()
    }

    /// Forgets one.
    pub fn remove(&self, id: &JobId) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.forget(id);
        all.order.retain(|other| other != id);
    }

    /// Those that the caller may see.
    pub fn of(&self, may_see: impl Fn(&RefusedJob) -> bool) -> Vec<Arc<RefusedJob>> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.order
            .iter()
            .filter_map(|id| all.by_id.get(id))
            .filter(|j| may_see(j))
            .cloned()
            .collect()
    }
}

/// Open log tails, in all and by user.
#[derive(Debug, Default)]
pub struct TailCount {
    total: AtomicUsize,
    by_user: Mutex<HashMap<String, usize>>,
}

/// The right to one log tail.
#[derive(Debug)]
pub struct TailPermit {
    count: Arc<TailCount>,
    user: String,
}

impl TailCount {
    /// The right to one more, unless a bound is met.
    pub fn acquire(
        self: &Arc<TailCount>,
        user: &str,
        per_user: usize,
        total: usize,
    ) -> Option<TailPermit> {
        let mut by_user = self.by_user.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = by_user.get(user).copied().unwrap_or(0);
        if mine >= per_user || self.total.load(Ordering::Relaxed) >= total {
            return None;
        }
        by_user.insert(user.to_owned(), mine + 1);
        self.total.fetch_add(1, Ordering::Relaxed);
        Some(TailPermit {
            count: Arc::clone(self),
            user: user.to_owned(),
        })
    }
}

impl Drop for TailPermit {
    fn drop(&mut self) {
        let mut by_user = self
            .count
            .by_user
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(n) = by_user.get_mut(&self.user) {
            *n -= 1;
            if *n == 0 {
                by_user.remove(&self.user);
            }
        }
        self.count.total.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(metadata: usize) -> JobSpec {
        let json = serde_json::json!({"user": "ana", "id": "a", "entrypoint": "é".repeat(20_000),
            "metadata": {"k": "x".repeat(metadata)}, "runtime_env": {"env_vars": {"A": "b"}}});
        serde_json::from_value(json).expect("a spec")
    }

    #[test]
    fn the_specs_in_memory_are_bounded_by_bytes_and_the_newest_stay() {
        let mut cache = SpecCache::default();
        for n in 0..200 {
            cache.keep(format!("k{n}"), Arc::new(spec(1 << 20)));
            let held: usize = cache.kept.iter().map(|(k, s)| k.len() + s.weight()).sum();
            assert_eq!(cache.bytes, held);
            assert!(held <= SPECS_BYTES, "{held} after {n}");
        }
        assert!(cache.kept.len() > 50 && cache.kept.len() == cache.order.len());
        assert!(cache.kept.contains_key("k199") && !cache.kept.contains_key("k0"));
        // A second time is no second copy.
        let before = cache.bytes;
        cache.keep("k199".into(), Arc::new(spec(1 << 20)));
        assert_eq!(cache.bytes, before);
    }

    #[test]
    fn refusals_that_look_like_jobs_are_bounded_by_bytes_and_keep_no_body() {
        let refused = RefusedJobs {
            bound: 100_000,
            ..RefusedJobs::default()
        };
        let id = |n: usize| JobId::parse(&format!("j{n}")).expect("an id");
        for n in 0..3000 {
            refused.keep(RefusedJob {
                id: id(n),
                user: "ana".into(),
                spec: spec(10),
                text: "ü".repeat(10_000),
                at: Timestamp(1),
            });
        }
        let newest = refused.get(&id(2999)).expect("kept");
        assert!(newest.text.len() <= REFUSED_TEXT && newest.spec.entrypoint.len() <= REFUSED_TEXT);
        assert!(newest.spec.metadata.is_empty() && newest.spec.runtime_env.is_none());
        assert!(refused.get(&id(0)).is_none());
        let held: usize = refused.of(|_| true).iter().map(|j| j.weight()).sum();
        assert!(held <= REFUSED_BYTES && held > REFUSED_BYTES / 2, "{held}");
        for n in 0..3000 {
            refused.remove(&id(n));
        }
        assert_eq!(refused.all.lock().expect("whole").bytes, 0);
    }

    #[test]
    fn a_bound_of_no_refusals_does_not_hang() {
        let refused = RefusedJobs::default();
        for text in ["a", "b"] {
            refused.keep(RefusedJob {
                id: JobId::parse("j").expect("an id"),
                user: "ana".into(),
                spec: spec(1),
                text: text.into(),
                at: Timestamp(1),
            });
        }
        assert_eq!(refused.of(|_| true).len(), 1);
    }
}
