//! What the parts of the server share.

use curb_api::Kind;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use curb_core::time::Timestamp;
use curb_http::origin::Allowed;
use curb_journal::{ReadError, Reader};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agents::Agents;
use crate::bodies::BodyRoom;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::engine::{Engine, EngineError};
use crate::forecasts::Forecasts;
use crate::packages::PackageStore;
use crate::reply::Failure;
use crate::routes::Router;
use crate::spec::JobSpec;

/// Specs kept in memory.
const SPECS_KEPT: usize = 2048;
/// Their bytes in all.
const SPECS_BYTES: usize = 64 << 20;
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
    /// Open log tails.
    pub tails: Arc<TailCount>,
    /// Running the queue ahead.
    pub forecasts: Forecasts,
    /// Room for large request bodies.
    pub bodies: BodyRoom,
    /// What agents on the nodes told last.
    pub agents: Agents,
    /// Counts steps of ladders: who follows the log of a job looks again when it changes.
    pub steps: tokio::sync::watch::Sender<u64>,
    /// Cancelled when the server stops.
    pub stopping: CancellationToken,
    /// Tasks that must end before the engine does.
    pub tasks: TaskTracker,
    /// The table of grants.
    pub books: crate::usage::BookKeeper,
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
            tails: Arc::new(TailCount::default()),
            forecasts: Forecasts::default(),
            bodies: BodyRoom::default(),
            started: clock.now(),
            books: crate::usage::BookKeeper::new(config.data.clone()),
            config,
            engine,
            clusters,
            packages,
            clock,
            allowed,
            router: Router::new(),
            agents: Agents::default(),
            steps: tokio::sync::watch::Sender::new(0),
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
            Failure::not_found(
                "curb: what this job was asked to run is not kept any more",
                "its numbers and its end are still told: curb jobs",
            )
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
                "curb: too many requests wait for a decision",
                "try again in a moment",
                1,
            ),
            EngineError::NotWritable(why) => {
                tracing::debug!(%why, "refused while the journal is not writable");
                let mut f = Failure::unavailable(
                    "curb: the journal is not writable at the moment, so that nothing can be admitted or changed; running jobs go on",
                    "try again in a while: it recovers by itself once the journal's disk has room; operators find the cause with `curb status`",
                    5,
                );
                f.become_kind(Kind::JournalNotWritable);
                f
            }
            EngineError::Unfit(why) => Failure::new(
                http::StatusCode::PAYLOAD_TOO_LARGE,
                Kind::TooLarge,
                format!(
                    "curb: this cannot be written into the journal, so nothing was done: {why}"
                ),
                "make the request smaller: fewer labels, shorter metadata",
            ),
            EngineError::Stopping => {
                Failure::unavailable("curb: the server is stopping", "try again in a moment", 5)
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
}
