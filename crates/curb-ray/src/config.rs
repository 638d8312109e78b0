//! Where Ray is, how to show who we are, and every bound of the client.

use http::Uri;
use std::fmt;
use std::time::Duration;

/// A value that is never shown: `Debug` and `Display` print a placeholder.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(value: impl Into<String>) -> Secret {
        Secret(value.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a [`RayConfig`] cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The address is not `http://host:port`.
    #[error(
        "`{0}` is not the address of a Ray dashboard: expected http://HOST:PORT and nothing after it"
    )]
    Address(String),
    /// The token has bytes that no header can carry.
    #[error(
        "the cluster's token has characters that cannot be sent in a header: expected printable ASCII"
    )]
    Token,
    /// A bound is zero, which would refuse every request.
    #[error("`{0}` is zero: every request would be refused; give it a positive value")]
    Zero(&'static str),
}

/// How to reach one Ray cluster, with a bound for everything that could grow or wait.
#[derive(Debug, Clone)]
pub struct RayConfig {
    /// `http://host:port` of the dashboard (Ray speaks no TLS there by itself).
    pub base: Uri,
    /// The cluster's own token, sent as `Authorization: Bearer`.
    pub token: Option<Secret>,
    /// For the TCP connection. What fails in this phase has sent nothing.
    pub connect_timeout: Duration,
    /// For a whole call: waiting for a connection, connecting, sending, and reading the answer.
    pub request_timeout: Duration,
    /// For a whole upload of a package.
    pub upload_timeout: Duration,
    /// The longest silence inside a streamed answer (logs).
    pub stream_idle_timeout: Duration,
    /// The largest answer, in bytes, that is read into memory for a single object: a job's record carries its whole
    /// `runtime_env`, its metadata and a message, none of which Ray bounds.
    pub max_body: usize,
    /// The largest list of jobs or nodes, in bytes (Ray has no paging of jobs: about 600 each).
    pub max_list_body: usize,
    /// Connections open at once for calls; more calls wait within their deadline.
    pub max_connections: usize,
    /// Connections open at once for logs, packages and pages of the dashboard. Who reads slowly keeps one for long, so
    /// they have connections of their own: calls never wait for them.
    pub max_streams: usize,
    /// How long an unused connection is kept. Ray's server closes them after 75 s: stay below.
    pub idle_timeout: Duration,
    /// How often an open log tail is probed with a ping.
    pub tail_ping: Duration,
    /// After how much silence (neither text nor an answer to a ping) a log tail is given up.
    pub tail_idle_timeout: Duration,
    /// The largest single frame of a log tail, in bytes (Ray sends one line whole).
    pub max_tail_frame: usize,
}

impl RayConfig {
    /// The defaults for a cluster at `base`.
    pub fn new(base: Uri) -> RayConfig {
        RayConfig {
            base,
            token: None,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(30),
            upload_timeout: Duration::from_secs(120),
            stream_idle_timeout: Duration::from_secs(60),
            max_body: 8 << 20,
            max_list_body: 64 << 20,
            max_connections: 64,
            max_streams: 64,
            idle_timeout: Duration::from_secs(30),
            tail_ping: Duration::from_secs(10),
            tail_idle_timeout: Duration::from_secs(35),
            max_tail_frame: 8 << 20,
        }
    }

    /// Host and port, once everything has been checked.
    pub(crate) fn check(&self) -> Result<(String, u16), ConfigError> {
        for (name, zero) in [
            ("connect_timeout", self.connect_timeout.is_zero()),
            ("request_timeout", self.request_timeout.is_zero()),
            ("upload_timeout", self.upload_timeout.is_zero()),
            ("stream_idle_timeout", self.stream_idle_timeout.is_zero()),
            ("max_body", self.max_body == 0),
            ("max_list_body", self.max_list_body == 0),
            ("max_connections", self.max_connections == 0),
            ("max_streams", self.max_streams == 0),
            ("tail_ping", self.tail_ping.is_zero()),
            ("tail_idle_timeout", self.tail_idle_timeout.is_zero()),
            ("max_tail_frame", self.max_tail_frame == 0),
        ] {
            if zero {
                return Err(ConfigError::Zero(name));
            }
        }
        let refused = || ConfigError::Address(self.base.to_string());
        let plain = self.base.scheme_str() == Some("http")
            && matches!(self.base.path(), "" | "/")
            && self.base.query().is_none();
        let authority = self
            .base
            .authority()
            .filter(|a| plain && !a.as_str().contains('@'))
            .ok_or_else(refused)?;
        let port = authority.port_u16().ok_or_else(refused)?;
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        Ok((host.to_owned(), port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base: &str) -> Result<(String, u16), ConfigError> {
        RayConfig::new(base.parse().unwrap()).check()
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        assert_eq!(
            check("http://127.0.0.1:8265"),
            Ok(("127.0.0.1".into(), 8265))
        );
        assert_eq!(check("http://[::1]:8265/"), Ok(("::1".into(), 8265)));
    }

    #[test]
    fn what_is_more_than_an_address_is_refused() {
        for base in [
            "http://ray",
            "https://ray:8265",
            "http://ray:8265/x",
            "http://ray:8265/?a=b",
            "http://u:p@ray:8265",
            "/x",
        ] {
            assert!(
                matches!(check(base), Err(ConfigError::Address(_))),
                "{base}"
            );
        }
    }

    #[test]
    fn a_bound_of_zero_is_refused_by_name() {
        let mut config = RayConfig::new("http://ray:8265".parse().unwrap());
        config.max_connections = 0;
        assert_eq!(config.check(), Err(ConfigError::Zero("max_connections")));
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert!(!format!("{:?}", Secret::new("hunter2")).contains("hunter2"));
    }
}
