//! `GET /curb/v1/quotas`.

use std::collections::BTreeMap;

use curb_core::amount::Amount;
use curb_core::policy::Period;
use curb_core::resource::Resource;
use curb_core::time::{Millis, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Mode;
use crate::schema as s;

/// Buckets, in the order of the policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quotas {
    /// The buckets.
    pub buckets: Vec<BucketView>,
    /// Whether there are more than are shown (at most [`MAX_BUCKETS`]).
    #[serde(default)]
    pub more: bool,
}

/// At most so many buckets in an answer.
pub const MAX_BUCKETS: usize = 10_000;

/// One bucket: a quota's limits for one user, team and so on, with what is used of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BucketView {
    /// The quota.
    pub quota: String,
    /// Which bucket of it: `user ana`, `org research`, `everybody`.
    pub bucket: String,
    /// Why the quota is there, as the policy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Enforced, or only recorded.
    pub mode: Mode,
    /// Whether it applies at this moment (its window is open, it is valid).
    pub in_force: bool,
    /// Amounts that are held at once.
    #[serde(default)]
    pub resources: Vec<ResourceRow>,
    /// Running jobs.
    #[serde(default)]
    pub jobs: CountRow,
    /// Queued jobs.
    #[serde(default)]
    pub queued: CountRow,
    /// How fast may be submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateRow>,
    /// Resource-time by period.
    #[serde(default)]
    pub budgets: Vec<BudgetRow>,
    /// Numbers of the temporary changes that are in these limits.
    #[serde(default)]
    pub overrides: Vec<u64>,
    /// What these change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangeRow>,
}

/// A temporary change of a bucket's limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeRow {
    /// The override's number.
    pub id: u64,
    /// How much more or less, in the resource's smallest unit.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, i64>")]
    pub amounts: BTreeMap<Resource, i64>,
    /// How many more or fewer running jobs.
    #[serde(default)]
    pub jobs: i64,
    /// The first moment without it.
    #[schemars(with = "s::Timestamp")]
    pub until: Timestamp,
    /// Why.
    pub why: String,
}

/// One resource of a bucket. Amounts are in the resource's smallest unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceRow {
    /// Which.
    #[schemars(with = "String")]
    pub resource: Resource,
    /// Held now.
    #[schemars(with = "s::Amount")]
    pub used: Amount,
    /// The limit in force, with temporary changes; missing when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<s::Amount>")]
    pub limit: Option<Amount>,
    /// How far it may go above while nobody else wants it.
    #[serde(default)]
    #[schemars(with = "s::Amount")]
    pub borrow: Amount,
    /// What is kept free for it.
    #[serde(default)]
    #[schemars(with = "s::Amount")]
    pub guarantee: Amount,
}

/// A number of jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CountRow {
    /// Now.
    pub used: u64,
    /// At most; missing when there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// A rate of submissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RateRow {
    /// So many...
    pub count: u32,
    /// ...in so long.
    #[schemars(with = "s::Millis")]
    pub per: Millis,
    /// How many may be submitted at once now.
    pub left: u32,
}

/// A budget and what is used of it, in the resource's smallest unit times milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetRow {
    /// Of which resource.
    #[schemars(with = "String")]
    pub resource: Resource,
    /// In which period.
    #[schemars(with = "s::Period")]
    pub per: Period,
    /// Used in this period, by what runs as well.
    pub used: u128,
    /// What running jobs may still use of it, as they declared. Less the two of the limit is what a new job can have.
    #[serde(default)]
    pub promised: u128,
    /// How much there is.
    pub limit: u128,
    /// When the period begins anew; missing for a rolling one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<s::Timestamp>")]
    pub resets: Option<Timestamp>,
}
