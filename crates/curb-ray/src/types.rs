//! What Ray's Jobs API says, in Ray's own words and field order.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A word of Ray's with a known set of values; a new one is kept as it came, never guessed.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
            /// A word that this version of Curb does not know.
            Other(String),
        }

        impl $name {
            /// The word as Ray writes it.
            pub fn as_str(&self) -> &str {
                match self {
                    $($name::$variant => $word,)+
                    $name::Other(word) => word,
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = Cow::<'de, str>::deserialize(deserializer)?;
                Ok(match word.as_ref() {
                    $($word => $name::$variant,)+
                    _ => $name::Other(word.into_owned()),
                })
            }
        }
    };
}

words! {
    /// Where a job is in its life.
    JobStatus {
        /// Known to Ray, its entrypoint not started.
        Pending = "PENDING",
        /// Its entrypoint runs.
        Running = "RUNNING",
        /// Ended because it was asked to.
        Stopped = "STOPPED",
        /// Ended with exit code 0.
        Succeeded = "SUCCEEDED",
        /// Ended otherwise, or could not be started.
        Failed = "FAILED",
    }
}

impl JobStatus {
    /// Whether Ray promises that the status will not change any more. An unknown word is not an end.
    pub fn is_terminal(&self) -> bool {
        matches!(
            self,
            JobStatus::Stopped | JobStatus::Succeeded | JobStatus::Failed
        )
    }
}

words! {
    /// Where a record comes from.
    JobKind {
        /// Submitted through the Jobs API.
        Submission = "SUBMISSION",
        /// A driver that connected by itself.
        Driver = "DRIVER",
    }
}

/// One record of `GET /api/jobs/…`. Written again it has the keys of Ray's own answer in Ray's order.
///
/// Ray does not return the amounts that the entrypoint asked for: Curb keeps its own record of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobDetails {
    /// Where the record comes from.
    #[serde(rename = "type")]
    pub kind: JobKind,
    /// Ray's own id of the (last) driver, once there is one.
    pub job_id: Option<String>,
    /// The id that it was submitted under; none for a driver that connected by itself.
    pub submission_id: Option<String>,
    /// The (last) driver process.
    pub driver_info: Option<DriverInfo>,
    /// Where it is in its life.
    pub status: JobStatus,
    /// The shell command.
    pub entrypoint: String,
    /// A sentence about the status.
    pub message: Option<String>,
    /// Ray's class of the failure.
    pub error_type: Option<String>,
    /// When the record was made, in ms since 1970.
    #[serde(rename = "start_time")]
    pub start_time_ms: Option<i64>,
    /// When it ended, in ms since 1970.
    #[serde(rename = "end_time")]
    pub end_time_ms: Option<i64>,
    /// What was sent along with the submission.
    pub metadata: Option<BTreeMap<String, String>>,
    /// As submitted, verbatim.
    pub runtime_env: Option<Box<RawValue>>,
    /// The agent of the node that runs the driver.
    pub driver_agent_http_address: Option<String>,
    /// The node that runs the driver.
    pub driver_node_id: Option<String>,
    /// The entrypoint's exit code, once it ended.
    pub driver_exit_code: Option<i32>,
}

/// The driver process of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverInfo {
    /// Ray's id of the driver's job.
    pub id: String,
    /// The address of its node.
    pub node_ip_address: String,
    /// Its process id (Ray writes it as a string).
    pub pid: String,
}

/// The answer of `GET /api/version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The version of the Jobs API itself (`4` in Ray 2.60).
    #[serde(rename = "version")]
    pub api_version: String,
    /// Ray's version.
    pub ray_version: String,
    /// The commit that Ray was built from.
    pub ray_commit: String,
    /// The incarnation of the head: a new one has another name. Older versions of Ray have none.
    #[serde(default)]
    pub session_name: Option<String>,
}

/// The answer to a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopReply {
    /// Whether there was something to stop. The end itself comes later: watch the status.
    pub stopped: bool,
}

/// Where a package is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PackageProtocol {
    /// In the cluster's control store: the only one that takes uploads.
    Gcs,
}

impl PackageProtocol {
    /// The word in a path and in a URI.
    pub const fn as_str(self) -> &'static str {
        match self {
            PackageProtocol::Gcs => "gcs",
        }
    }
}
