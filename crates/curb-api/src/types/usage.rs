//! Resource-time that was granted, and what was held of it.

use curb_core::time::Timestamp;
use curb_core::usage::ResourceTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema as s;

/// Most names in one answer.
pub const MAX_USAGE: u32 = 10_000;
/// Names in an answer if nothing else is asked.
pub const DEFAULT_USAGE: u32 = 1_000;

/// Answer of `GET /curb/v1/usage`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// By what: `user`, `team`, `org`, `job_type`, `cluster`, `job` or `label:KEY`.
    pub by: String,
    /// From when.
    #[schemars(with = "s::Timestamp")]
    pub since: Timestamp,
    /// Until when; what runs counts until then.
    #[schemars(with = "s::Timestamp")]
    pub until: Timestamp,
    /// Up to which record of the journal.
    pub seq: u64,
    /// By name, the largest first: by GPUs, then by CPUs.
    pub rows: Vec<UsageRow>,
    /// Whether there are more names than were asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// All together, also what has no row.
    pub total: UsageSum,
}

/// What was used under one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UsageRow {
    /// The name; missing for what has none (a job without a team, a type, a label).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What was used.
    pub sum: UsageSum,
}

/// What was used. Resource-time is in the resource's smallest unit (a thousandth; a byte of memory) times milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UsageSum {
    /// How many jobs were granted something.
    pub jobs: u64,
    /// Granted, whether it was used or not.
    #[schemars(with = "std::collections::BTreeMap<String, u128>")]
    pub granted: ResourceTime,
    /// Of what was granted: while it was looked at what the jobs really held.
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, u128>")]
    pub watched: ResourceTime,
    /// What they held then in Ray's scheduler, at least. What is missing to `watched` was granted and lay idle.
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, u128>")]
    pub held: ResourceTime,
}

impl From<curb_core::usage::Sum> for UsageSum {
    fn from(sum: curb_core::usage::Sum) -> UsageSum {
        UsageSum {
            jobs: sum.jobs,
            granted: sum.granted,
            watched: sum.watched,
            held: sum.held,
        }
    }
}

/// What is asked of use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageQuery {
    /// By what; users if not said.
    pub by: Option<String>,
    /// From when; 30 days ago if not said.
    pub since: Option<Timestamp>,
    /// Until when; now if not said.
    pub until: Option<Timestamp>,
    /// Only this user's.
    pub user: Option<String>,
    /// Only this team's.
    pub team: Option<String>,
    /// At most so many names.
    pub limit: Option<u32>,
}
