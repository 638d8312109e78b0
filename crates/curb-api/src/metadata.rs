//! How a job says what it asks for: keys of its metadata, and Ray's submission body.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Every key of Curb begins with this; one that is not in [`KEYS`] is an error.
pub const PREFIX: &str = "curb.";
/// The kind of job.
pub const JOB_TYPE: &str = "curb.job_type";
/// CPUs in all: `2`, `500m`.
pub const CPU: &str = "curb.cpu";
/// GPUs in all: `2`, or `H100:2`.
pub const GPU: &str = "curb.gpu";
/// Memory in all: `16GiB`.
pub const MEMORY: &str = "curb.memory";
/// Custom resources in all: `name=2,other=0.5`, or a JSON object.
pub const RESOURCES: &str = "curb.resources";
/// How long it may run: `2h`.
pub const DURATION: &str = "curb.duration";
/// A whole number; higher goes first.
pub const PRIORITY: &str = "curb.priority";
/// The team that it is charged to, one of the user's.
pub const TEAM: &str = "curb.team";
/// The cluster that it runs on.
pub const CLUSTER: &str = "curb.cluster";
/// The client's idempotency key: the same key with the same content is the same job.
pub const KEY: &str = "curb.key";

/// All keys that a job may set.
pub const KEYS: [&str; 10] = [
    JOB_TYPE, CPU, GPU, MEMORY, RESOURCES, DURATION, PRIORITY, TEAM, CLUSTER, KEY,
];

/// Body of Ray's `POST /api/jobs/`, and of `POST /curb/v1/explain` (where the entrypoint may be missing).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitBody {
    /// The shell command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<String>,
    /// The id that the job should have; one is made if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submission_id: Option<String>,
    /// Ray's runtime environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_env: Option<Map<String, Value>>,
    /// Any text by text; the keys of this module say what the job asks for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// CPUs that the entrypoint itself holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint_num_cpus: Option<f64>,
    /// GPUs that the entrypoint itself holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint_num_gpus: Option<f64>,
    /// Bytes of memory that the entrypoint itself holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint_memory: Option<u64>,
    /// Custom resources that the entrypoint itself holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint_resources: Option<BTreeMap<String, f64>>,
    /// Labels of the node that the entrypoint may run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint_label_selector: Option<BTreeMap<String, String>>,
}

/// Answer to Ray's `POST /api/jobs/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Submitted {
    /// The job's id.
    pub submission_id: String,
}
