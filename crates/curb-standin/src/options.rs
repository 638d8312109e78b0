//! How a stand-in behaves until it is told otherwise.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// How long jobs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobTime {
    /// As long as the entrypoint's `sleep`s say.
    FromEntrypoint,
    /// All the same time, whatever the entrypoint says.
    Fixed(Duration),
    /// Until stopped.
    Never,
}

/// A job time that is neither seconds, `never` nor `entrypoint`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no job time: expected seconds such as 0 or 2.5, `never`, or `entrypoint`")]
pub struct ParseJobTimeError(String);

impl FromStr for JobTime {
    type Err = ParseJobTimeError;

    fn from_str(text: &str) -> Result<JobTime, ParseJobTimeError> {
        match text {
            "never" => Ok(JobTime::Never),
            "entrypoint" => Ok(JobTime::FromEntrypoint),
            seconds => seconds
                .parse()
                .ok()
                .and_then(|s| Duration::try_from_secs_f64(s).ok())
                .map(JobTime::Fixed)
                .ok_or_else(|| ParseJobTimeError(text.to_owned())),
        }
    }
}

/// One node of the pretended cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSpec {
    /// Logical resources by Ray's names (`CPU`, `GPU`, `memory`, `accelerator_type:A100`, custom).
    pub resources: BTreeMap<String, f64>,
}

impl NodeSpec {
    /// A node with these resources.
    pub fn new<'a>(resources: impl IntoIterator<Item = (&'a str, f64)>) -> NodeSpec {
        NodeSpec {
            resources: resources
                .into_iter()
                .map(|(name, amount)| (name.to_owned(), amount))
                .collect(),
        }
    }
}

/// How a stand-in behaves until it is told otherwise.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// How long jobs run.
    pub job_time: JobTime,
    /// How long a job is PENDING first (a real Ray on two cores: 1 to 3 s).
    pub pending: Duration,
    /// How long a stopped job takes to be STOPPED (Ray: up to 3 s).
    pub stop_delay: Duration,
    /// How often a followed log looks for more (Ray: 1 s).
    pub tail_poll: Duration,
    /// Added to every submission's answer (Ray: about 30 ms when idle).
    pub submit_latency: Duration,
    /// What clients must send as `Authorization: Bearer`; none lets all in, as Ray does by default.
    pub token: Option<String>,
    /// The nodes of the pretended cluster.
    pub nodes: Vec<NodeSpec>,
    /// Decides what [`crate::Chaos`] does to which request.
    pub seed: u64,
    /// A file to which each start is appended as a line of JSON before it is answered.
    pub starts_file: Option<PathBuf>,
    /// Records kept; submissions past it are answered by 500.
    pub max_jobs: usize,
    /// A restart with a new session loses the submissions that are on their way to the head, as connections to a process
    /// that has died do. Otherwise they land in the next incarnation, as through a proxy that keeps them.
    pub restart_cuts: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            job_time: JobTime::FromEntrypoint,
            pending: Duration::ZERO,
            stop_delay: Duration::ZERO,
            tail_poll: Duration::from_millis(20),
            submit_latency: Duration::ZERO,
            token: None,
            nodes: vec![NodeSpec::new([
                ("CPU", 4.0),
                ("memory", 8_589_934_592.0),
                ("object_store_memory", 1_073_741_824.0),
            ])],
            seed: 0,
            starts_file: None,
            max_jobs: 2_000_000,
            restart_cuts: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_times_are_seconds_or_two_words() {
        assert_eq!("never".parse(), Ok(JobTime::Never));
        assert_eq!("entrypoint".parse(), Ok(JobTime::FromEntrypoint));
        assert_eq!("0".parse(), Ok(JobTime::Fixed(Duration::ZERO)));
        assert_eq!(
            "2.5".parse(),
            Ok(JobTime::Fixed(Duration::from_millis(2500)))
        );
        for bad in ["", "-1", "soon", "NaN", "1e99"] {
            assert!(bad.parse::<JobTime>().is_err(), "{bad}");
        }
    }
}
