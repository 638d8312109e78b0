//! `GET /curb/v1/preview`.

use curb_core::decide::Shadow;
use curb_core::resource::Resources;
use curb_core::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema as s;

/// What enforcing would have changed for the jobs that came in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Preview {
    /// From when on.
    #[schemars(with = "s::Timestamp")]
    pub since: Timestamp,
    /// Until when.
    #[schemars(with = "s::Timestamp")]
    pub until: Timestamp,
    /// Submissions seen.
    pub seen: u64,
    /// Those that no rule was in the way of.
    pub untouched: u64,
    /// Those that in fact waited, by what is enforced, and that no other rule was in the way of.
    #[serde(default)]
    pub waited: u64,
    /// Those that would have waited first.
    pub would_wait: u64,
    /// Those that would have been refused.
    pub would_refuse: u64,
    /// Those that were in fact refused, by what is enforced.
    pub refused: u64,
    /// By the rule in the way, most often first.
    pub by_quota: Vec<PreviewCount>,
    /// By user, most often first.
    pub by_user: Vec<PreviewCount>,
    /// Some of the jobs, newest first, at most 20.
    pub samples: Vec<PreviewJob>,
}

/// How many of something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreviewCount {
    /// The quota (or `cluster`) with its reason code, or the user.
    pub name: String,
    /// Would have waited.
    pub would_wait: u64,
    /// Would have been refused.
    pub would_refuse: u64,
}

/// One job that would have been stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PreviewJob {
    /// Its id.
    pub id: String,
    /// Whose.
    pub user: String,
    /// When it came in.
    #[schemars(with = "s::Timestamp")]
    pub at: Timestamp,
    /// What it asked for.
    #[schemars(with = "s::Resources")]
    pub request: Resources,
    /// Refused, rather than made to wait.
    pub refused: bool,
    /// The rules in the way.
    #[schemars(with = "Vec<s::Shadow>")]
    pub rules: Vec<Shadow>,
}
