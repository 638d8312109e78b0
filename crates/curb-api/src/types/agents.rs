//! What agents on the nodes tell, and what of it is told on.

use curb_core::amount::Amount;
use curb_core::time::{Millis, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema as s;

/// Body of `POST /curb/v1/agent/report`: what an agent saw on its node. Everything in it that adds up is counted from the
/// agent's start, so that a report that was lost takes nothing with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeReport {
    /// The node's name: the one that the token was made for.
    pub node: String,
    /// The cluster that the node belongs to; the only one if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// A random name of this run of the agent.
    pub epoch: String,
    /// When this run began, by the node's clock: a later run comes after an earlier one.
    #[schemars(with = "s::Timestamp")]
    pub started: Timestamp,
    /// Number of the report in this run: larger than the one before.
    pub seq: u64,
    /// The raylets that run there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub raylets: Vec<RayletSeen>,
    /// What the processes of each program use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupUse>,
    /// Where the processes are that the server asked about. One that is not here has ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placed: Vec<PlacedProcess>,
    /// Groups beyond the bound of a report.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut: u64,
}

/// A raylet, as its own command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RayletSeen {
    /// The node's address in Ray.
    pub address: String,
    /// The id of the cluster that it belongs to, in hex: several may have a raylet on one host, and their drivers the same numbers.
    pub cluster_id: String,
    /// Whether Ray's own resource isolation owns the control groups of its processes.
    #[serde(default)]
    pub isolated: bool,
}

/// What the processes of one program in Ray use on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupUse {
    /// Which of the report's raylets started them, from 0.
    pub raylet: u32,
    /// The driver that the raylet started the processes for (8 hex digits); missing for Ray's own helpers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// The process at the root, where this is one that the server asked about (a submission's supervisor) or one that the
    /// raylet started for nobody yet (driver `ffffffff`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<u32>,
    /// When that started, in ticks of the node's clock.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start: u64,
    /// How many processes.
    pub processes: u64,
    /// CPUs used since the report before, on average, in thousandths.
    #[schemars(with = "s::Amount")]
    pub cpu: Amount,
    /// CPU time used in all, as far as it was seen.
    #[schemars(with = "s::Millis")]
    pub cpu_time: Millis,
    /// Memory in bytes.
    #[schemars(with = "s::Amount")]
    pub memory: Amount,
    /// How that was measured.
    pub memory_as: MemoryAs,
}

/// How memory was measured.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum MemoryAs {
    /// What is no file's and not shared, process by process: not more than what they really take.
    #[default]
    Private,
    /// What the kernel charges their control group with.
    Group,
}

/// Where a process is that the server asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlacedProcess {
    /// Its number.
    pub pid: u32,
    /// Which of the report's raylets started it, or what it descends from; missing where it descends from none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raylet: Option<u32>,
    /// The number of the process that the raylet started, if that still runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<u32>,
    /// The driver that it was started for (8 hex digits).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
}

/// What the server answers to a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportReply {
    /// When the next report should come.
    #[schemars(with = "s::Millis")]
    pub every: Millis,
    /// Processes whose place the server wants to know, in each report from now on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ask: Vec<u32>,
}

/// What the processes of a job use on all nodes that have an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobUsedView {
    /// CPUs, in thousandths.
    #[schemars(with = "s::Amount")]
    pub cpu: Amount,
    /// Memory in bytes.
    #[schemars(with = "s::Amount")]
    pub memory: Amount,
    /// How that was measured; where nodes differ, the one that tells less.
    pub memory_as: MemoryAs,
    /// Processes.
    pub processes: u64,
    /// Nodes on which they run.
    pub nodes: u64,
    /// Nodes of the cluster of which nobody tells at the moment: what runs there is not in it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unseen: u64,
    /// When the oldest part of it was seen.
    #[schemars(with = "s::Timestamp")]
    pub as_of: Timestamp,
}

/// An agent, as `curb status` tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentView {
    /// The node's name.
    pub node: String,
    /// Its addresses in Ray.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// When it last reported.
    #[schemars(with = "s::Timestamp")]
    pub as_of: Timestamp,
    /// Whether that is too long ago: what is on the node is not known then.
    pub silent: bool,
    /// What is wrong with its reports, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub problem: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}
