//! `GET /curb/v1/status`.

use curb_core::resource::Resources;
use curb_core::subject::Role;
use curb_core::time::{Millis, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Mode;
use super::held::WatchedStatus;
use crate::schema as s;

/// What the server does and knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Of the server.
    pub version: String,
    /// The server's time.
    #[schemars(with = "s::Timestamp")]
    pub now: Timestamp,
    /// Since when it runs.
    #[schemars(with = "s::Timestamp")]
    pub started: Timestamp,
    /// Who asks, as the token says.
    pub you: Caller,
    /// Whether refusals are enforced or only recorded.
    pub mode: Mode,
    /// That somebody set the mode, whatever the policy says; missing when the policy rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode_set: Option<ModeSwitch>,
    /// Version of the policy in force; 0 when there is none.
    pub policy_version: u32,
    /// SHA-256 of its text, in hex.
    pub policy_sha256: String,
    /// The clusters, the default one first.
    pub clusters: Vec<ClusterStatus>,
    /// The journal.
    pub journal: JournalStatus,
    /// How strong the limits are.
    pub enforcement: Enforcement,
    /// What somebody should look at.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A mode that was set over what the policy says (`curb enforce`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModeSwitch {
    /// What the policy says.
    pub policy: Mode,
    /// Who set it.
    pub by: String,
    /// Why.
    pub why: String,
    /// When.
    #[schemars(with = "s::Timestamp")]
    pub at: Timestamp,
}

/// Who a token belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Caller {
    /// The user.
    pub user: String,
    /// What they may do.
    #[schemars(with = "s::Role")]
    pub role: Role,
    /// Their teams.
    #[serde(default)]
    pub teams: Vec<String>,
}

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterStatus {
    /// Its name in Curb.
    pub name: String,
    /// Whether it answered last time.
    pub reachable: bool,
    /// When it last answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<s::Timestamp>")]
    pub last_seen: Option<Timestamp>,
    /// Why it does not answer, when it does not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub problem: String,
    /// Ray's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ray_version: Option<String>,
    /// Ray's session: which incarnation of the cluster it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// What it has in all; missing while that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<s::Resources>")]
    pub capacity: Option<Resources>,
    /// When that was last read; missing when it was not since the server started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<s::Timestamp>")]
    pub capacity_seen: Option<Timestamp>,
    /// Why it cannot be read at the moment, when it cannot.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub capacity_problem: String,
    /// What granted jobs hold of it.
    #[schemars(with = "s::Resources")]
    pub held: Resources,
    /// What Ray's own scheduler says is held; missing where that is not watched (`gcs` in the configuration).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched: Option<WatchedStatus>,
    /// Jobs that wait.
    pub queued: u64,
    /// Jobs whose start is not confirmed yet.
    pub starting: u64,
    /// Jobs that run.
    pub running: u64,
    /// Jobs that Ray lost, and nobody has vouched for.
    pub quarantined: u64,
    /// Starts are paced to one in so long; 0 for no pacing.
    #[serde(default)]
    #[schemars(with = "s::Millis")]
    pub start_gap: Millis,
}

/// The journal's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JournalStatus {
    /// Whether it can be written.
    pub writable: bool,
    /// Why not, when it cannot.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub problem: String,
    /// Number of the newest durable record.
    pub seq: u64,
    /// Its hash, in hex.
    pub hash: String,
    /// How long the last commit took, in microseconds.
    pub last_commit_us: u64,
}

/// How strong the limits are, in plain sentences.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Enforcement {
    /// What cannot be passed.
    pub hard: Vec<String>,
    /// What is watched and acted on.
    pub watched: Vec<String>,
    /// What is not enforced.
    pub not: Vec<String>,
}
