//! Starting, running and ending the server.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use curb_api::token;
use curb_core::ledger::{Event, Token};
use curb_core::subject::{JobId, Role};
use curb_http::listener::{ServeOptions, serve};
use curb_http::origin::Allowed;
use curb_journal::writer::{Writer, WriterOptions};
use curb_journal::{Journal, OpenError};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

use crate::app::App;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::{Config, LogFormat};
use crate::engine::{self, Decision, EngineOptions};
use crate::packages::PackageStore;
use crate::recover::{self, LoadError};
use crate::{collect, dashboard, dispatcher, gateway, monitor, policy_file, teeth, truth, usage};

/// Granted jobs that wait for the dispatcher; what does not fit is found again by the monitor.
const GRANTED_QUEUE: usize = 16_384;
/// How long tasks may take to end after the last connection.
const TASKS_WITHIN: Duration = Duration::from_secs(5);
/// Never logged, whatever `CURB_LOG` says: its trace has whole requests to Ray, and with them Ray's own token.
const SILENCED: &str = "tungstenite::handshake::client=off";
/// The file with the first administrator's token.
const ADMIN_TOKEN_FILE: &str = "admin.token";

/// Why the server did not start, or ended. The texts are for people.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// The state cannot be had from it.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The policy is not right.
    #[error(
        "{0}\ncurb: the server was not started: correct the policy (`curb policy check FILE` tells the same)"
    )]
    Policy(String),
    /// The address is taken or not ours.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A setting is wrong.
    #[error("{0}")]
    Setting(String),
    /// The system refuses something.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was attempted.
        doing: String,
        /// Why not.
        source: std::io::Error,
    },
}

impl ServeError {
    fn system(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> ServeError {
        let doing = doing.into();
        move |source| ServeError::System { doing, source }
    }
}

/// Runs the server until SIGTERM or SIGINT. This is what `curb serve` calls, on a multi-threaded Tokio runtime.
///
/// # Errors
/// It could not be started.
pub async fn run(config: Config) -> Result<(), ServeError> {
    log_to_stderr(config.log);
    let running = Running::start(config, Clock::default()).await?;
    let reload = Arc::clone(&running.reload);
    let (mut term, mut int, mut hup) = signals()?;
    let told = async {
        loop {
            tokio::select! {
                _ = term.recv() => return "SIGTERM",
                _ = int.recv() => return "SIGINT",
                _ = hup.recv() => reload.notify_one(),
            }
        }
    };
    let signal = told.await;
    tracing::info!(%signal, "stopping: no new connections; open requests may end");
    running.stop().await;
    Ok(())
}

type Signals = (
    tokio::signal::unix::Signal,
    tokio::signal::unix::Signal,
    tokio::signal::unix::Signal,
);

fn signals() -> Result<Signals, ServeError> {
    use tokio::signal::unix::{SignalKind, signal};
    let on = |kind| signal(kind).map_err(ServeError::system("receive signals"));
    Ok((
        on(SignalKind::terminate())?,
        on(SignalKind::interrupt())?,
        on(SignalKind::hangup())?,
    ))
}

fn log_to_stderr(format: LogFormat) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("CURB_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let filter = filter.add_directive(SILENCED.parse().expect("a fixed text is a directive"));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr())
        && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr);
    // A second initialisation (in tests) leaves the first.
    let _ = match format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

/// A server that runs.
pub(crate) struct Running {
    pub(crate) app: Arc<App>,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) reload: Arc<Notify>,
    close: tokio_util::sync::CancellationToken,
    listener: tokio::task::JoinHandle<()>,
    pub(crate) dashboard: Option<(tokio::task::JoinHandle<()>, std::net::SocketAddr)>,
}

impl Running {
    /// Opens everything and begins to serve.
    pub(crate) async fn start(config: Config, clock: Clock) -> Result<Running, ServeError> {
        // First the address: who cannot listen has nothing to open.
        let (listener, address) = bind(config.listen).await?;
        let allowed = names(&config.hosts, address)?;
        let dashboard = match config.dashboard_listen {
            Some(wanted) => Some(bind(wanted).await?),
            None => None,
        };
        let shown = dashboard.as_ref().map(|(_, at)| *at);
        for open in [Some(address), shown].into_iter().flatten() {
            if !open.ip().is_loopback() {
                tracing::warn!(
                    address = %open,
                    "this is no loopback address, and tokens travel to it in clear: put a proxy that speaks TLS in front (docs/configuration.md)"
                );
            }
        }
        let dir = config.data.clone();
        // Without a journal no policy of an earlier day can stand in for a wrong file: nothing is made for it either.
        if let Some(path) = &config.policy
            && !dir.join(curb_journal::JOURNAL_FILE).exists()
        {
            policy_file::check(path).await.map_err(ServeError::Policy)?;
        }
        let (journal, loaded) = tokio::task::spawn_blocking(move || open(&dir))
            .await
            .map_err(|e| ServeError::Setting(format!("the journal could not be opened: {e}")))??;
        tracing::info!(
            events = loaded.state.seq(),
            from_snapshot = loaded.from_snapshot,
            replayed = loaded.replayed,
            "the journal is loaded"
        );
        clock.not_before(loaded.state.now());
        let writer = Writer::spawn(journal, WriterOptions::default())
            .map_err(ServeError::system("start the journal's thread"))?;
        let packages = PackageStore::open(
            &config.data,
            config.limits.packages_per_user,
            config.limits.packages_total,
        )
        .map_err(ServeError::system(format!(
            "open the package store in {}",
            config.data.display()
        )))?;
        let (granted, inbox) = mpsc::channel::<JobId>(GRANTED_QUEUE);
        let engine = engine::spawn(EngineOptions {
            dir: config.data.clone(),
            state: loaded.state,
            writer,
            start_rates: config
                .clusters
                .iter()
                .map(|(n, c)| (n.clone(), c.start_rate_milli))
                .collect(),
            clock: clock.clone(),
            on_granted: Box::new(move |ids| {
                for id in ids {
                    // What does not fit is an orphan, and is found by the monitor.
                    let _ = granted.try_send(id);
                }
            }),
        })
        .map_err(ServeError::system("start the engine's thread"))?;
        let clusters = clusters(&config)?;
        let app = Arc::new(App::new(config, engine, clusters, packages, clock, allowed));
        // Before it is read: a change between the two must be seen.
        let policy_stamp = match &app.config.policy {
            Some(path) => Some((path.clone(), policy_file::stamp(path).await)),
            None => None,
        };
        if let Err(error) = prepare(&app).await {
            app.engine.stop().await;
            return Err(error);
        }
        let reload = Arc::new(Notify::new());
        spawn_tasks(&app, inbox, policy_stamp, &reload);
        let close = tokio_util::sync::CancellationToken::new();
        let dashboard = match dashboard {
            Some((listener, address)) => {
                let task = show_dashboard(Arc::clone(&app), listener, address, close.clone());
                Some((tokio::spawn(task), address))
            }
            None => None,
        };
        let listener = tokio::spawn(listen(Arc::clone(&app), listener, close.clone()));
        tracing::info!(%address, "curb serves");
        Ok(Running {
            app,
            address,
            reload,
            close,
            listener,
            dashboard,
        })
    }

    /// Drains, writes what there is, takes a snapshot.
    pub(crate) async fn stop(self) {
        self.app.stopping.cancel();
        self.close.cancel();
        // A panic of the listener ends it as well.
        let _ = self.listener.await;
        if let Some((task, _)) = self.dashboard {
            let _ = task.await;
        }
        self.app.tasks.close();
        if tokio::time::timeout(TASKS_WITHIN, self.app.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                "some tasks did not end in time; what they were doing is found out at the next start"
            );
        }
        self.app.engine.stop().await;
        tracing::info!("stopped");
    }
}

async fn bind(
    address: std::net::SocketAddr,
) -> Result<(TcpListener, std::net::SocketAddr), ServeError> {
    let refused = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok((listener, address))
}

fn open(dir: &Path) -> Result<(Journal, recover::Loaded), ServeError> {
    // The journal first: it makes the directory and takes its lock.
    let journal = Journal::open(dir)?;
    let loaded = recover::load(dir)?;
    Ok((journal, loaded))
}

fn clusters(config: &Config) -> Result<BTreeMap<String, Arc<Cluster>>, ServeError> {
    config
        .clusters
        .iter()
        .map(|(name, c)| {
            let cluster = Cluster::new(name, c.clone(), &config.data)
                .map_err(|e| ServeError::Setting(format!("cluster {name}: {e}")))?;
            Ok((name.clone(), Arc::new(cluster)))
        })
        .collect()
}

/// The names under which a listener may be asked for: its address, localhost, and those of the configuration.
pub(crate) fn names(more: &[String], address: std::net::SocketAddr) -> Result<Allowed, ServeError> {
    let port = address.port();
    let mut hosts = vec![address.to_string()];
    for name in ["localhost", "127.0.0.1", "[::1]"] {
        hosts.push(format!("{name}:{port}"));
    }
    for host in more {
        hosts.push(host.clone());
        if !host.contains(':') {
            hosts.push(format!("{host}:{port}"));
        }
    }
    let origins: [&str; 0] = [];
    Allowed::bearer_api(&hosts, &origins, 80)
        .map_err(|e| ServeError::Setting(format!("hosts: {e}")))
}

/// What must be so before the first request.
async fn prepare(app: &Arc<App>) -> Result<(), ServeError> {
    match app.config.policy.clone() {
        Some(path) => {
            if let Err(problem) = policy_file::read(app, &path).await {
                let version = app
                    .engine
                    .read(|state, _| state.policy_version())
                    .await
                    .unwrap_or(0);
                if version == 0 {
                    return Err(ServeError::Policy(problem));
                }
                tracing::error!(
                    "the policy file is not right; version {version} from the journal stays:\n{problem}"
                );
            }
        }
        None => {
            let version = app
                .engine
                .read(|state, _| state.policy_version())
                .await
                .unwrap_or(0);
            if version == 0 {
                tracing::warn!(
                    "NO POLICY: everything passes and nothing is limited. Start with --policy FILE, or `curb policy apply FILE`; `curb init --ray URL` writes a first one"
                );
            }
        }
    }
    first_token(app).await
}

/// Makes the first administrator's token when there is none, and says where it is.
async fn first_token(app: &Arc<App>) -> Result<(), ServeError> {
    if app.engine.tokens().has_admin(app.clock.now()) {
        return Ok(());
    }
    let mut random = [0u8; token::RANDOM_BYTES];
    getrandom::fill(&mut random)
        .map_err(|e| ServeError::Setting(format!("the system gives no random bytes: {e}")))?;
    let made = token::make(&random);
    let path = app.config.data.join(ADMIN_TOKEN_FILE);
    write_private(&path, &made.text)
        .map_err(ServeError::system(format!("write {}", path.display())))?;
    let (id, hash) = (made.id, token::hash(&made.text));
    let created = app
        .engine
        .change(move |_, moment| {
            let token = Token {
                id,
                hash,
                user: "admin".into(),
                role: Role::Admin,
                labels: BTreeMap::new(),
                expires: None,
                by: "curb".into(),
                created: moment.now,
            };
            Decision::durable(vec![Event::TokenCreated(token)], ())
        })
        .await;
    if let Err(error) = created {
        return Err(ServeError::Setting(format!(
            "the first token could not be written to the journal: {error}"
        )));
    }
    tracing::warn!(
        file = %path.display(),
        "there was no administrator yet: a token for user admin is in this file, which only you can read. \
         `export CURB_TOKEN=$(cat FILE)`, make tokens for people with `curb token create --user NAME`, then delete it. \
         (While the server is stopped: `curb token create --data DIR --user NAME --role admin`)"
    );
    Ok(())
}

fn write_private(path: &PathBuf, text: &str) -> std::io::Result<()> {
    let _ = std::fs::remove_file(path);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

fn spawn_tasks(
    app: &Arc<App>,
    granted: mpsc::Receiver<JobId>,
    policy: Option<(PathBuf, policy_file::Stamp)>,
    reload: &Arc<Notify>,
) {
    // Not tracked: it lives as long as the engine, and what it starts is tracked.
    tokio::spawn(dispatcher::serve_queue(Arc::clone(app), granted));
    for cluster in app.clusters.values() {
        let watch = monitor::watch(Arc::clone(app), Arc::clone(cluster));
        app.tasks.spawn(watch);
        if let Some(gcs) = cluster.config.gcs.clone() {
            let watch = truth::watch(Arc::clone(app), Arc::clone(cluster), gcs);
            app.tasks.spawn(watch);
        }
    }
    if let Some((path, seen)) = policy {
        app.tasks.spawn(policy_file::follow(
            Arc::clone(app),
            path,
            seen,
            Arc::clone(reload),
        ));
    }
    app.tasks.spawn(teeth::climb(Arc::clone(app)));
    app.tasks.spawn(usage::keep(Arc::clone(app)));
    app.tasks.spawn(collect::now_and_then(Arc::clone(app)));
}

async fn listen(app: Arc<App>, listener: TcpListener, close: tokio_util::sync::CancellationToken) {
    let options = ServeOptions {
        max_connections: app.config.limits.connections,
        drain: app.config.limits.drain,
        ..ServeOptions::default()
    };
    let service = tower::service_fn(move |request| {
        let app = Arc::clone(&app);
        async move { Ok::<_, std::convert::Infallible>(gateway::handle(app, request).await) }
    });
    let served = serve(listener, service, options, close.cancelled_owned()).await;
    tracing::info!(
        drained = served.drained,
        cut = served.cut,
        "connections are closed"
    );
}

/// Ray's dashboard for operators, on its own address.
async fn show_dashboard(
    app: Arc<App>,
    listener: TcpListener,
    address: std::net::SocketAddr,
    close: tokio_util::sync::CancellationToken,
) {
    let allowed = match dashboard::allowed(&app.config.hosts, address) {
        Ok(allowed) => Arc::new(allowed),
        Err(error) => {
            tracing::error!(%error, "the dashboard is not shown");
            return;
        }
    };
    let sessions = Arc::new(dashboard::Sessions::default());
    let options = ServeOptions {
        max_connections: 256,
        drain: app.config.limits.drain,
        ..ServeOptions::default()
    };
    let service = tower::service_fn(move |request| {
        let (app, allowed) = (Arc::clone(&app), Arc::clone(&allowed));
        let answer = dashboard::handle(app, allowed, Arc::clone(&sessions), request);
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    tracing::info!(%address, "Ray's dashboard is shown to operators");
    serve(listener, service, options, close.cancelled_owned()).await;
}
