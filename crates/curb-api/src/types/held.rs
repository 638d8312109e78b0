//! What Ray's scheduler says is held, beside what was granted.

use curb_core::resource::Resources;
use curb_core::subject::JobId;
use curb_core::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agents::AgentView;
use crate::schema as s;

/// What is held, between two bounds: what tasks hold is not known to the last bit, since one that waits for a result has
/// given its CPUs back and Ray does not say so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldSpan {
    /// Not less than this.
    #[schemars(with = "s::Resources")]
    pub least: Resources,
    /// Not more than this.
    #[schemars(with = "s::Resources")]
    pub most: Resources,
}

/// What a job holds in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobHeldView {
    /// All of it.
    #[serde(flatten)]
    pub held: HeldSpan,
    /// Its drivers: programs of it that joined the cluster.
    pub drivers: u64,
    /// Its actors that live.
    pub actors: u64,
    /// Those of them that outlive their driver.
    pub detached: u64,
    /// Its tasks that run.
    pub tasks: u64,
    /// Drivers that say they belong to it and whose agents have not told yet whether they do: what these hold is in `most`
    /// alone.
    #[serde(default)]
    pub unproven: u64,
    /// When it was seen.
    #[schemars(with = "s::Timestamp")]
    pub as_of: Timestamp,
}

/// Something in the cluster that Curb did not grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnmanagedView {
    /// What it is.
    pub kind: UnmanagedKind,
    /// Ray's id of it: of a submission, or of a driver (8 hex digits).
    pub id: String,
    /// The job that it says it belonged to, which is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub of: Option<JobId>,
    /// The running job that it says it belongs to, and that its process does not descend from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub forges: Option<JobId>,
    /// Of a driver: the host and the process, `HOST pid N`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub process: String,
    /// Of a driver: its command, as it says, cut to 200 characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub entrypoint: String,
    /// What it holds.
    pub held: HeldSpan,
}

/// What kind of thing came past the gate, or stayed behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnmanagedKind {
    /// A submission that Ray took from somebody else than Curb.
    Submission,
    /// A program that joined the cluster.
    Driver,
    /// What a program left: detached actors of one that has ended.
    Leftover,
}

/// What a cluster's control store says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WatchedStatus {
    /// When it was last seen; missing when it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<s::Timestamp>")]
    pub as_of: Option<Timestamp>,
    /// Why there is nothing newer, when there is not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub problem: String,
    /// What could not be read of it, in sentences: then the sums may be short.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// What the nodes say is taken.
    #[schemars(with = "s::Resources")]
    pub taken: Resources,
    /// What of it nobody is known to hold.
    #[schemars(with = "s::Resources")]
    pub unexplained: Resources,
    /// How many things in it Curb did not grant.
    pub unmanaged_count: u64,
    /// What they are, at most 50 of them; only for operators.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmanaged: Vec<UnmanagedView>,
    /// Nodes on which agents tell which process is whose.
    #[serde(default)]
    pub agents: u64,
    /// Agents that have not told for too long: what is on their nodes is not known.
    #[serde(default)]
    pub agents_silent: u64,
    /// The agents; only for operators.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agent_list: Vec<AgentView>,
}
