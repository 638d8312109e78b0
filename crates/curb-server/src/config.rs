//! What the server is started with: a file, the environment and flags, brought together once.
//!
//! Precedence: a flag over the environment over the file over the default. Everything is checked before anything is
//! opened, and an error names where the wrong value came from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use curb_core::subject::check_name;
use curb_core::time::Millis;
use curb_http::origin::Allowed;
use curb_ray::{Gcs, GcsConfig, RayConfig, Secret};
use serde::Deserialize;

/// Starts a second that a cluster is given unless said otherwise: a small Ray head drains about one job in two seconds.
pub const DEFAULT_START_RATE: f64 = 0.5;
/// So many starts may follow each other at once before the rate counts.
pub const START_BURST: u32 = 5;
/// The cluster that `--ray` names.
pub const DEFAULT_CLUSTER: &str = "main";

/// Everything the server needs to know, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// The directory of journal and packages.
    pub data: PathBuf,
    /// The policy file, if there is one: then the file rules and the API cannot change it.
    pub policy: Option<PathBuf>,
    /// The Ray clusters by name; at least one.
    pub clusters: BTreeMap<String, ClusterConfig>,
    /// The cluster of a job that names none.
    pub default_cluster: String,
    /// Host names (with or without port) that clients may use besides the listen address and localhost.
    pub hosts: Vec<String>,
    /// Where operators may read Ray's dashboard; `None`: nowhere.
    pub dashboard_listen: Option<SocketAddr>,
    /// How log lines are written.
    pub log: LogFormat,
    /// Bounds.
    pub limits: Limits,
}

/// One Ray cluster.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// How to reach it.
    pub ray: RayConfig,
    /// Starts in a thousand seconds; 0 for no pacing.
    pub start_rate_milli: u64,
    /// Whether a restart of Ray is known to end every process of its jobs, so that their grants may be given back.
    pub restart_ends_jobs: bool,
    /// How often it is looked at.
    pub poll: Duration,
    /// Its control store, which says what jobs hold; `None`: that is not watched.
    pub gcs: Option<GcsConfig>,
}

/// How log lines are written to stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Bounds of what clients may make the server hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest body of a submission, in bytes.
    pub submit_body: usize,
    /// The largest package, in bytes (Ray's own bound).
    pub package: u64,
    /// All packages of one user, in bytes.
    pub packages_per_user: u64,
    /// All packages, in bytes.
    pub packages_total: u64,
    /// A package that nothing needs is kept this long.
    pub package_age: Duration,
    /// Log tails open at once by one user.
    pub tails_per_user: usize,
    /// Log tails open at once.
    pub tails_total: usize,
    /// Connections open at once.
    pub connections: usize,
    /// How long open requests may take after SIGTERM.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            submit_body: 1 << 20,
            package: 100 << 20,
            packages_per_user: 2 << 30,
            packages_total: 20 << 30,
            package_age: Duration::from_secs(24 * 3600),
            tails_per_user: 50,
            tails_total: 1000,
            connections: 4096,
            drain: Duration::from_secs(10),
        }
    }
}

/// What the command line said. `None`: nothing.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`: the file.
    pub config: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<String>,
    /// `--data`
    pub data: Option<PathBuf>,
    /// `--policy`
    pub policy: Option<PathBuf>,
    /// `--ray`: the address of the cluster `main`.
    pub ray: Option<String>,
    /// `--gcs`: the address of that cluster's control store.
    pub gcs: Option<String>,
    /// `--start-rate`: starts a second for clusters that say nothing else.
    pub start_rate: Option<f64>,
    /// `--dashboard-listen`
    pub dashboard_listen: Option<String>,
    /// `--host`: names that clients call this server by, besides those of the file and of `CURB_HOSTS`.
    pub hosts: Vec<String>,
    /// `--log`: `text` or `json`.
    pub log: Option<String>,
}

/// Why the server cannot be started like this. The text is for people and names where the value came from.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the configuration file {path} is wrong: {message}")]
    File {
        /// The file.
        path: PathBuf,
        /// What and where.
        message: String,
    },
    /// A value is wrong.
    #[error("{what} (from {from}): {message}")]
    Value {
        /// Which setting.
        what: String,
        /// Where it came from.
        from: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// Nothing says which Ray to use.
    #[error(
        "no Ray cluster is configured: give --ray http://HOST:8265, set CURB_RAY, or name one under `clusters:` in the configuration file"
    )]
    NoCluster,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    listen: Option<String>,
    data: Option<PathBuf>,
    policy: Option<PathBuf>,
    ray: Option<String>,
    gcs: Option<String>,
    start_rate: Option<f64>,
    hosts: Vec<String>,
    dashboard_listen: Option<String>,
    log: Option<LogFormat>,
    clusters: BTreeMap<String, FileCluster>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileCluster {
    ray: String,
    #[serde(default)]
    gcs: Option<String>,
    #[serde(default)]
    token_file: Option<PathBuf>,
    #[serde(default)]
    start_rate: Option<f64>,
    #[serde(default)]
    restart_ends_jobs: bool,
    #[serde(default)]
    default: bool,
    #[serde(default)]
    poll: Option<String>,
}

/// A value and where it came from.
struct From<T>(T, String);

impl Config {
    /// Brings flags, environment (`env` is asked by name) and file together.
    ///
    /// # Errors
    /// The first thing that is wrong, with where it came from.
    pub fn resolve(
        flags: &Flags,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigError> {
        let env = |name: &str| env(name).filter(|v| !v.is_empty());
        let path = flags
            .config
            .clone()
            .or_else(|| env("CURB_CONFIG").map(PathBuf::from));
        let (file, file_name) = match &path {
            Some(path) => (read_file(path)?, path.display().to_string()),
            None => (File::default(), "the defaults".to_owned()),
        };
        let pick = |flag: Option<String>, flag_name: &str, var: &str, file: Option<String>| {
            flag.map(|v| From(v, flag_name.to_owned()))
                .or_else(|| env(var).map(|v| From(v, var.to_owned())))
                .or_else(|| file.map(|v| From(v, file_name.clone())))
        };
        let path_text = |p: &PathBuf| p.to_string_lossy().into_owned();
        let listen = pick(
            flags.listen.clone(),
            "--listen",
            "CURB_LISTEN",
            file.listen.clone(),
        )
        .unwrap_or_else(|| From("127.0.0.1:8266".into(), "the defaults".into()));
        let listen = socket_addr("listen", &listen)?;
        let dashboard_listen = pick(
            flags.dashboard_listen.clone(),
            "--dashboard-listen",
            "CURB_DASHBOARD_LISTEN",
            file.dashboard_listen.clone(),
        )
        .map(|v| socket_addr("dashboard_listen", &v))
        .transpose()?;
        let data = pick(
            flags.data.as_ref().map(path_text),
            "--data",
            "CURB_DATA",
            file.data.as_ref().map(path_text),
        )
        .map_or_else(|| PathBuf::from("curb-data"), |v| PathBuf::from(v.0));
        let policy = pick(
            flags.policy.as_ref().map(path_text),
            "--policy",
            "CURB_POLICY",
            file.policy.as_ref().map(path_text),
        )
        .map(|v| PathBuf::from(v.0));
        let start_rate = pick(
            flags.start_rate.map(|r| r.to_string()),
            "--start-rate",
            "CURB_START_RATE",
            file.start_rate.map(|r| r.to_string()),
        );
        let start_rate_milli = match &start_rate {
            Some(From(text, from)) => rate_milli("start_rate", from, text)?,
            None => rate_milli(
                "start_rate",
                "the defaults",
                &DEFAULT_START_RATE.to_string(),
            )?,
        };
        let log = match pick(flags.log.clone(), "--log", "CURB_LOG_FORMAT", None) {
            Some(v) => log_format(&v)?,
            None => file.log.unwrap_or_default(),
        };
        let variable = env("CURB_HOSTS").unwrap_or_default();
        let listed = variable.split(',').map(str::trim).filter(|h| !h.is_empty());
        let hosts = [
            host_names(&file_name, file.hosts.iter().map(String::as_str))?,
            host_names("--host", flags.hosts.iter().map(String::as_str))?,
            host_names("CURB_HOSTS", listed)?,
        ]
        .concat();
        let ray = pick(flags.ray.clone(), "--ray", "CURB_RAY", file.ray.clone());
        let gcs = pick(flags.gcs.clone(), "--gcs", "CURB_GCS", file.gcs.clone());
        let (clusters, default_cluster) = clusters(
            &file,
            &file_name,
            ray,
            gcs,
            env(RAY_TOKEN),
            start_rate_milli,
        )?;
        Ok(Config {
            listen,
            data,
            policy,
            clusters,
            default_cluster,
            hosts,
            dashboard_listen,
            log,
            limits: Limits::default(),
        })
    }
}

fn read_file(path: &Path) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    serde_saphyr::from_str(&text).map_err(|e| ConfigError::File {
        path: path.to_owned(),
        message: in_words(&e.to_string()),
    })
}

/// What the reader of YAML says, in one line, and with the field that was probably meant.
fn in_words(said: &str) -> String {
    let first = said.lines().next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let near = first
        .split_once("unknown field `")
        .and_then(|(_, rest)| rest.split_once('`'))
        .and_then(|(written, rest)| nearest(written, rest));
    match near {
        Some(near) => format!("{first}: did you mean `{near}`?"),
        None => first.to_owned(),
    }
}

/// The one of the fields in a message that is at most two slips away.
fn nearest<'a>(written: &str, message: &'a str) -> Option<&'a str> {
    let (_, fields) = message.split_once("expected one of ")?;
    fields
        .split([',', ' '])
        .map(|field| field.trim_matches('`'))
        .map(|field| (strsim::osa_distance(written, field), field))
        .filter(|(slips, _)| *slips <= 2)
        .min()
        .map(|(_, field)| field)
}

fn clusters(
    file: &File,
    file_name: &str,
    ray: Option<From<String>>,
    gcs: Option<From<String>>,
    token: Option<String>,
    rate: u64,
) -> Result<(BTreeMap<String, ClusterConfig>, String), ConfigError> {
    let mut all = BTreeMap::new();
    let mut defaults = BTreeSet::new();
    for (name, c) in &file.clusters {
        let what = |field: &str| format!("clusters.{name}.{field}");
        check_name(name).map_err(|e| value("clusters", file_name, e.to_string()))?;
        let mut ray = ray_config(&what("ray"), file_name, &c.ray)?;
        if let Some(path) = &c.token_file {
            ray.token = Some(read_token(&what("token_file"), file_name, path)?);
        }
        let start_rate_milli = match c.start_rate {
            Some(r) => rate_milli(&what("start_rate"), file_name, &r.to_string())?,
            None => rate,
        };
        let poll = match &c.poll {
            Some(text) => poll_time(&what("poll"), file_name, text)?,
            None => Duration::from_secs(1),
        };
        if c.default {
            defaults.insert(name.clone());
        }
        let restart_ends_jobs = c.restart_ends_jobs;
        let gcs = match &c.gcs {
            Some(text) => Some(gcs_config(&what("gcs"), file_name, text)?),
            None => None,
        };
        all.insert(
            name.clone(),
            ClusterConfig {
                ray,
                start_rate_milli,
                restart_ends_jobs,
                poll,
                gcs,
            },
        );
    }
    let named = ray.is_some();
    if let Some(From(address, from)) = ray {
        let parsed = ray_config("ray", &from, &address)?;
        match all.get_mut(DEFAULT_CLUSTER) {
            // The file describes the cluster, the flag only says where it is now.
            Some(known) => known.ray.base = parsed.base,
            None => {
                let poll = Duration::from_secs(1);
                let new = ClusterConfig {
                    ray: parsed,
                    start_rate_milli: rate,
                    restart_ends_jobs: false,
                    poll,
                    gcs: None,
                };
                all.insert(DEFAULT_CLUSTER.to_owned(), new);
            }
        }
    }
    if let Some(From(address, from)) = gcs {
        let parsed = gcs_config("gcs", &from, &address)?;
        match all.get_mut(DEFAULT_CLUSTER) {
            Some(known) => known.gcs = Some(parsed),
            None => {
                let message = format!(
                    "it is of the cluster {DEFAULT_CLUSTER}, which `ray` names, and there is none"
                );
                return Err(value("gcs", &from, message));
            }
        }
    }
    let default = match (defaults.len(), all.len()) {
        (_, 0) => return Err(ConfigError::NoCluster),
        (1, _) => defaults.into_iter().next(),
        (0, 1) => all.keys().next().cloned(),
        (0, _) if all.contains_key(DEFAULT_CLUSTER) => Some(DEFAULT_CLUSTER.to_owned()),
        _ => None,
    };
    let default = default.ok_or_else(|| {
        let names: Vec<_> = all.keys().map(String::as_str).collect();
        value(
            "clusters",
            file_name,
            format!("exactly one of {} needs `default: true`", names.join(", ")),
        )
    })?;
    // Never to a cluster that nobody meant: to the one that `ray` names, else to the default one.
    let of_token = if named { DEFAULT_CLUSTER } else { &default };
    if let (Some(token), Some(cluster)) = (token, all.get_mut(of_token)) {
        cluster.ray.token = Some(secret("the token of Ray", RAY_TOKEN, &token)?);
    }
    for cluster in all.values_mut() {
        // It is one cluster, with one token.
        if let Some(gcs) = &mut cluster.gcs {
            gcs.token.clone_from(&cluster.ray.token);
        }
    }
    Ok((all, default))
}

/// The variable with a cluster's token.
const RAY_TOKEN: &str = "CURB_RAY_TOKEN";

fn value(what: &str, from: &str, message: String) -> ConfigError {
    ConfigError::Value {
        what: what.to_owned(),
        from: from.to_owned(),
        message,
    }
}

fn socket_addr(what: &str, v: &From<String>) -> Result<SocketAddr, ConfigError> {
    let text = v.0.replace("localhost:", "127.0.0.1:");
    text.parse().map_err(|_| {
        value(
            what,
            &v.1,
            format!(
                "`{}` is not an address: write IP:PORT such as 127.0.0.1:8266",
                v.0
            ),
        )
    })
}

/// Names that clients call the server by, each as a `Host` header has it.
fn host_names<'a>(
    from: &str,
    names: impl Iterator<Item = &'a str>,
) -> Result<Vec<String>, ConfigError> {
    let checked = |name: &str| {
        let origins: [&str; 0] = [];
        match Allowed::bearer_api(&[name], &origins, 80) {
            Ok(_) => Ok(name.to_owned()),
            Err(_) => Err(value(
                "hosts",
                from,
                format!(
                    "`{name}` is no name of a host: write it as clients do, such as curb.example.org or curb.example.org:8266, without http://"
                ),
            )),
        }
    };
    names.map(checked).collect()
}

fn ray_config(what: &str, from: &str, text: &str) -> Result<RayConfig, ConfigError> {
    let bad = |m: String| value(what, from, m);
    let text = text.trim_end_matches('/');
    let uri = text.parse().map_err(|_| {
        bad(format!(
            "`{text}` is not an address: write http://HOST:8265"
        ))
    })?;
    let config = RayConfig::new(uri);
    // The client's own check has the final word: nothing is started with an address that it refuses.
    curb_ray::RayClient::new(config.clone()).map_err(|e| bad(e.to_string()))?;
    Ok(config)
}

fn gcs_config(what: &str, from: &str, text: &str) -> Result<GcsConfig, ConfigError> {
    Gcs::check(text).map_err(|e| value(what, from, e.to_string()))?;
    Ok(GcsConfig::new(text))
}

fn read_token(what: &str, from: &str, path: &Path) -> Result<Secret, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| value(what, from, format!("cannot read {}: {e}", path.display())))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(value(what, from, format!("{} is empty", path.display())));
    }
    secret(what, from, token)
}

/// A token of Ray, if a header can carry it.
fn secret(what: &str, from: &str, token: &str) -> Result<Secret, ConfigError> {
    if token.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        return Ok(Secret::new(token));
    }
    let message = "it has characters that no header can carry: expected one line of plain ASCII";
    Err(value(what, from, message.to_owned()))
}

fn rate_milli(what: &str, from: &str, text: &str) -> Result<u64, ConfigError> {
    let bad = || {
        // A number may have hundreds of digits.
        let shown: String = text.chars().take(24).collect();
        value(
            what,
            from,
            format!(
                "`{shown}` is not a rate: write starts a second from 0.001 to 100000, such as 0.5, or 0 for no pacing"
            ),
        )
    };
    let rate: f64 = text.parse().map_err(|_| bad())?;
    if !(0.0..=100_000.0).contains(&rate) || (rate > 0.0 && rate < 0.001) {
        return Err(bad());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 100,000,000, checked above"
    )]
    Ok((rate * 1000.0).round() as u64)
}

fn poll_time(what: &str, from: &str, text: &str) -> Result<Duration, ConfigError> {
    let span = Millis::parse(text).map_err(|e| value(what, from, e.to_string()))?;
    if !(50..=60_000).contains(&span.0) {
        return Err(value(
            what,
            from,
            format!("`{text}` is out of bounds: write 50ms to 60s"),
        ));
    }
    Ok(Duration::from_millis(span.0))
}

fn log_format(v: &From<String>) -> Result<LogFormat, ConfigError> {
    match v.0.as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(value(
            "log",
            &v.1,
            format!("`{other}` is not a log format: write text or json"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(file: &str, flags: Flags, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("curb.yaml");
        std::fs::write(&path, file).expect("a file");
        let flags = Flags {
            config: Some(path),
            ..flags
        };
        Config::resolve(&flags, |name| {
            env.iter()
                .find(|(k, _)| *k == name)
                .map(|(_, v)| (*v).to_owned())
        })
    }

    #[test]
    fn names_of_the_server_come_from_file_flags_and_environment_together() {
        let flags = Flags {
            hosts: vec!["curb".into()],
            ..Flags::default()
        };
        let config = resolve(
            "ray: http://r:1\nhosts: [a.example]\n",
            flags,
            &[("CURB_HOSTS", "b, c")],
        )
        .expect("a configuration");
        assert_eq!(config.hosts, ["a.example", "curb", "b", "c"]);
    }

    #[test]
    fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
        let file = "listen: 127.0.0.1:1\nray: http://a:1\ndata: filedata\n";
        let c = resolve(file, Flags::default(), &[]).expect("fine");
        assert_eq!((c.listen.port(), c.data.to_str()), (1, Some("filedata")));
        let c = resolve(file, Flags::default(), &[("CURB_LISTEN", "127.0.0.1:2")]).expect("fine");
        assert_eq!(c.listen.port(), 2);
        let flags = Flags {
            listen: Some("127.0.0.1:3".into()),
            ..Flags::default()
        };
        let c = resolve(file, flags, &[("CURB_LISTEN", "127.0.0.1:2")]).expect("fine");
        assert_eq!(c.listen.port(), 3);
        let c = resolve("ray: http://a:1", Flags::default(), &[]).expect("fine");
        assert_eq!(
            (c.listen.port(), c.clusters["main"].start_rate_milli),
            (8266, 500)
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_where_it_came_from() {
        for (file, env, wanted) in [
            ("listn: x", None, "line 1"),
            ("listn: x", None, "did you mean `listen`?"),
            (
                "clusters: {a: {ray: 'http://a:1', polls: 1s}}",
                None,
                "did you mean `poll`?",
            ),
            ("ray: http://a:1\nlisten: nowhere", None, "listen (from"),
            ("ray: ftp://a", None, "ray (from"),
            ("", None, "no Ray cluster"),
            ("ray: http://a:1\nstart_rate: -1", None, "start_rate (from"),
            (
                "ray: http://a:1",
                Some(("CURB_START_RATE", "fast")),
                "start_rate (from CURB_START_RATE)",
            ),
            (
                "clusters: {a: {ray: 'http://a:1'}, b: {ray: 'http://b:1'}}",
                None,
                "needs `default: true`",
            ),
            (
                "clusters: {a: {ray: 'http://a:1', token_file: /nowhere/at/all}}",
                None,
                "clusters.a.token_file",
            ),
            (
                "clusters: {a: {ray: 'http://a:1', poll: 1h}}",
                None,
                "50ms to 60s",
            ),
            (
                "ray: http://a:1\nhosts: ['http://curb']",
                None,
                "hosts (from",
            ),
            (
                "ray: http://a:1",
                Some(("CURB_HOSTS", "curb, a b")),
                "hosts (from CURB_HOSTS): `a b`",
            ),
            (
                "ray: http://a:1",
                Some(("CURB_RAY_TOKEN", "two\nlines")),
                "(from CURB_RAY_TOKEN)",
            ),
        ] {
            let env: Vec<_> = env.into_iter().collect();
            let text = resolve(file, Flags::default(), &env)
                .expect_err(file)
                .to_string();
            assert!(text.contains(wanted), "{file}: {text}");
        }
    }

    #[test]
    fn the_example_has_every_field_and_is_taken() {
        let example = include_str!("../../../examples/serve.yaml");
        let c = resolve(example, Flags::default(), &[]).expect("fine");
        assert_eq!(
            (c.listen.port(), c.dashboard_listen.map(|d| d.port())),
            (8266, Some(8267))
        );
        assert_eq!(
            (c.default_cluster.as_str(), c.clusters.len(), c.hosts.len()),
            ("main", 2, 2)
        );
        assert_eq!(
            (
                c.clusters["main"].start_rate_milli,
                c.clusters["lab"].start_rate_milli
            ),
            (2000, 500)
        );
        assert!(c.clusters["lab"].restart_ends_jobs && c.policy.is_some());
        let reference = include_str!("../../../docs/configuration.md");
        let fields = "listen data policy ray start_rate hosts dashboard_listen log clusters token_file restart_ends_jobs default poll";
        for field in fields.split(' ') {
            assert!(
                reference.contains(&format!("`{field}`")),
                "docs/configuration.md does not tell `{field}`"
            );
            // `ray` alone is the short form of a cluster.
            assert!(
                example.contains(&format!("{field}:")),
                "the example does not use `{field}`"
            );
        }
    }

    #[test]
    fn the_token_of_the_environment_is_for_the_cluster_that_ray_names_else_for_the_default_one() {
        let two =
            "clusters:\n  a: {ray: 'http://a:1', default: true}\n  main: {ray: 'http://m:1'}\n";
        let with = |env: &[(&str, &str)]| -> Vec<String> {
            let c = resolve(two, Flags::default(), env).expect("fine");
            let has = |(name, c): (&String, &ClusterConfig)| {
                c.ray.token.as_ref().map(|_| name.to_owned())
            };
            c.clusters.iter().filter_map(has).collect()
        };
        assert!(with(&[]).is_empty());
        assert_eq!(with(&[("CURB_RAY_TOKEN", "x")]), ["a"]);
        let both = [("CURB_RAY_TOKEN", "x"), ("CURB_RAY", "http://m:2")];
        assert_eq!(with(&both), ["main"]);
    }

    #[test]
    fn several_clusters_have_one_default() {
        let file = "clusters:\n  a: {ray: 'http://a:1', default: true, restart_ends_jobs: true, start_rate: 0}\n  b: {ray: 'http://b:1'}\n";
        let c = resolve(file, Flags::default(), &[]).expect("fine");
        assert_eq!(c.default_cluster, "a");
        assert!(c.clusters["a"].restart_ends_jobs && c.clusters["a"].start_rate_milli == 0);
    }
}
