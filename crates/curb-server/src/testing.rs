//! A server in this process, for tests: on a free port, in a directory of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use curb_api::token;
use curb_core::ledger::{ENDED_KEPT, Event, NewJob, Token};
use curb_core::resource::Resources;
use curb_core::subject::{JobId, Role, Subject};
use curb_ray::RayConfig;

use crate::clock::Clock;
use crate::config::{ClusterConfig, Config, Limits, LogFormat};
use crate::engine::Decision;
use crate::serve::{Running, ServeError};

/// A running server. Stop it with [`TestServer::stop`]; dropped, it is simply gone, as in a crash.
pub struct TestServer {
    running: Running,
    /// Its data directory.
    pub data: PathBuf,
    /// Its clock, which tests may move.
    clock: Clock,
    _dir: Option<tempfile::TempDir>,
}

/// How a test server is set up.
#[derive(Clone, Debug)]
pub struct TestOptions {
    /// Ray's address: `http://127.0.0.1:PORT`.
    pub ray: String,
    /// The policy's text; without it nothing is limited.
    pub policy: Option<String>,
    /// An existing file to read the policy from instead.
    pub policy_file: Option<PathBuf>,
    /// Starts in a thousand seconds; 0 for no pacing.
    pub start_rate_milli: u64,
    /// Whether a restart of Ray ends jobs.
    pub restart_ends_jobs: bool,
    /// How often the cluster is looked at.
    pub poll: Duration,
    /// How long a call to Ray may take.
    pub ray_timeout: Duration,
    /// Whether Ray's dashboard is shown as well.
    pub dashboard: bool,
    /// Further host names under which clients call it.
    pub hosts: Vec<String>,
    /// Bounds.
    pub limits: Limits,
    /// An existing data directory; a fresh one if not said.
    pub data: Option<PathBuf>,
}

impl TestOptions {
    /// A server in front of this Ray, with no pacing and a quick monitor.
    #[must_use]
    pub fn new(ray: impl Into<String>) -> TestOptions {
        TestOptions {
            ray: ray.into(),
            policy: None,
            hosts: Vec::new(),
            policy_file: None,
            start_rate_milli: 0,
            restart_ends_jobs: false,
            poll: Duration::from_millis(100),
            ray_timeout: Duration::from_secs(5),
            dashboard: false,
            limits: Limits {
                drain: Duration::from_secs(2),
                ..Limits::default()
            },
            data: None,
        }
    }

    /// The same with a policy.
    #[must_use]
    pub fn policy(mut self, text: impl Into<String>) -> TestOptions {
        self.policy = Some(text.into());
        self
    }
}

/// The events of a job that was stopped before it started.
fn ended_while_it_waited(id: &JobId) -> Vec<Event> {
    let job = NewJob {
        id: id.clone(),
        subject: Subject {
            user: "kim".into(),
            ..Subject::default()
        },
        cluster: "main".into(),
        request: Resources::none(),
        duration: None,
        priority: 0,
        spec: String::new(),
        stamp: String::new(),
        key: None,
    };
    let queued = Event::Queued {
        job: Box::new(job),
        code: "turn".into(),
        shadow: Vec::new(),
    };
    let stopped = Event::StopRequested {
        id: id.clone(),
        by: "kim".into(),
        why: String::new(),
    };
    vec![queued, stopped]
}

impl TestServer {
    /// Starts a server and makes sure that it has seen its cluster, if that answers.
    ///
    /// # Errors
    /// It could not be started.
    pub async fn start(options: TestOptions) -> Result<TestServer, ServeError> {
        let clock = Clock::default();
        let (dir, data) = match options.data {
            Some(data) => (None, data),
            None => {
                let dir = tempfile::tempdir().map_err(|source| ServeError::System {
                    doing: "make a directory".into(),
                    source,
                })?;
                let data = dir.path().join("data");
                (Some(dir), data)
            }
        };
        let policy = match &options.policy {
            _ if options.policy_file.is_some() => options.policy_file,
            Some(text) => {
                let path = data.with_extension("policy.yaml");
                std::fs::write(&path, text).map_err(|source| ServeError::System {
                    doing: "write a policy".into(),
                    source,
                })?;
                Some(path)
            }
            None => None,
        };
        let base = options
            .ray
            .parse()
            .map_err(|_| ServeError::Setting(format!("{} is no address", options.ray)))?;
        let mut ray = RayConfig::new(base);
        ray.request_timeout = options.ray_timeout;
        ray.connect_timeout = Duration::from_secs(1);
        let cluster = ClusterConfig {
            ray,
            start_rate_milli: options.start_rate_milli,
            restart_ends_jobs: options.restart_ends_jobs,
            poll: options.poll,
            gcs: None,
        };
        let config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data: data.clone(),
            policy,
            clusters: BTreeMap::from([("main".to_owned(), cluster)]),
            default_cluster: "main".into(),
            hosts: options.hosts,
            dashboard_listen: options
                .dashboard
                .then(|| SocketAddr::from(([127, 0, 0, 1], 0))),
            log: LogFormat::Text,
            limits: options.limits,
        };
        let running = Running::start(config, clock.clone()).await?;
        Ok(TestServer {
            running,
            data,
            clock,
            _dir: dir,
        })
    }

    /// Waits until the cluster was seen.
    ///
    /// # Errors
    /// It was not, within `patience`.
    pub async fn ready(&self, patience: Duration) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + patience;
        while tokio::time::Instant::now() < deadline {
            let open = self.running.app.engine.read(|_, moment| {
                moment
                    .gates
                    .values()
                    .all(|g| !matches!(g, curb_core::decide::Gate::Down))
            });
            if matches!(open.await, Ok(true)) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(format!("the cluster was not seen within {patience:?}"))
    }

    /// What the journal's writer has counted so far.
    #[must_use]
    pub fn journal(&self) -> curb_journal::writer::Metrics {
        self.running.app.engine.writer().metrics()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.running.address
    }

    /// Where Ray's dashboard is shown, if it is.
    #[must_use]
    pub fn dashboard(&self) -> Option<SocketAddr> {
        self.running.dashboard.as_ref().map(|(_, address)| *address)
    }

    /// Its address for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.running.address)
    }

    /// The policy file, if it has one.
    #[must_use]
    pub fn policy_file(&self) -> Option<&Path> {
        self.running.app.config.policy.as_deref()
    }

    /// Moves the server's clock, ahead or back, in milliseconds.
    pub fn shift_clock(&self, ms: i64) {
        self.clock.shift(ms);
    }

    /// Makes a token.
    ///
    /// # Errors
    /// The journal is not writable.
    pub async fn token(&self, user: &str, role: Role) -> Result<String, String> {
        self.token_until(user, role, None).await
    }

    /// Makes a token that expires after so many milliseconds.
    ///
    /// # Errors
    /// The journal is not writable.
    pub async fn token_until(
        &self,
        user: &str,
        role: Role,
        expires_in_ms: Option<u64>,
    ) -> Result<String, String> {
        let mut random = [0u8; token::RANDOM_BYTES];
        getrandom::fill(&mut random).map_err(|e| e.to_string())?;
        let made = token::make(&random);
        let (id, hash, user) = (made.id, token::hash(&made.text), user.to_owned());
        let done = self.running.app.engine.change(move |_, moment| {
            let token = Token {
                id,
                hash,
                user,
                role,
                labels: BTreeMap::new(),
                expires: expires_in_ms.map(|ms| moment.now.after(curb_core::time::Millis(ms))),
                by: "test".into(),
                created: moment.now,
            };
            Decision::durable(vec![Event::TokenCreated(token)], ())
        });
        done.await.map_err(|e| e.to_string())?;
        Ok(made.text)
    }

    /// The ledger's whole state as bytes.
    ///
    /// # Errors
    /// The server is stopping.
    pub async fn snapshot(&self) -> Result<Vec<u8>, String> {
        self.running
            .app
            .engine
            .read(|state, _| state.snapshot())
            .await
            .map_err(|e| e.to_string())
    }

    /// Removes packages that no job needs, whatever their age; says how many.
    pub async fn collect_packages(&self) -> usize {
        crate::collect::collect(&self.running.app, Duration::ZERO).await
    }

    /// Fills the ledger's memory of ended jobs with others, so that it forgets those that ended before.
    ///
    /// # Errors
    /// The journal is not writable.
    pub async fn forget_ended(&self) -> Result<(), String> {
        const AT_ONCE: usize = 500;
        for part in 0..=ENDED_KEPT / AT_ONCE {
            let others = (0..AT_ONCE).flat_map(|n| {
                let id = JobId::parse(&format!("other-{part}-{n}"));
                id.map_or(Vec::new(), |id| ended_while_it_waited(&id))
            });
            let events = others.collect();
            let written = self
                .running
                .app
                .engine
                .change(|_, _| Decision::durable(events, ()));
            written.await.map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// What is held on the cluster, as text; `nothing` when all was given back.
    ///
    /// # Errors
    /// The server is stopping.
    pub async fn held(&self) -> Result<String, String> {
        self.running
            .app
            .engine
            .read(|state, _| state.held_on("main").to_string())
            .await
            .map_err(|e| e.to_string())
    }

    /// Drains and stops it; the data directory is gone with it if it was made for it.
    pub async fn stop(self) {
        self.running.stop().await;
    }

    /// Drains and stops it, and keeps the directory.
    pub async fn stop_keeping(self) -> Option<tempfile::TempDir> {
        self.running.stop().await;
        self._dir
    }
}
