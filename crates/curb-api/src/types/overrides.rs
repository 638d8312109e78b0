//! `/curb/v1/overrides`.

use std::collections::BTreeMap;

use curb_core::ledger::Override;
use curb_core::policy::Selector;
use curb_core::resource::Resource;
use curb_core::time::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema as s;

/// Body of `POST /curb/v1/overrides`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOverride {
    /// Whose buckets: those that are kept for these, alone or together with more.
    #[schemars(with = "s::Selector")]
    pub selector: Selector,
    /// In one quota only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<String>,
    /// How much more or less, in the resource's smallest unit.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, i64>")]
    pub amounts: BTreeMap<Resource, i64>,
    /// How many more or fewer running jobs.
    #[serde(default)]
    pub jobs: i64,
    /// For how long, in milliseconds.
    #[serde(rename = "for")]
    #[schemars(with = "s::Millis")]
    pub span: Millis,
    /// Why; kept in the journal. Must not be empty.
    pub why: String,
}

/// An override that was made, with what it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MadeOverride {
    /// What was made.
    #[serde(flatten)]
    #[schemars(with = "s::Override")]
    pub made: Override,
    /// The limits that are others now, at most twenty: quota, bucket, before and after.
    #[serde(default)]
    pub changes: Vec<String>,
}

/// The changes in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Overrides {
    /// By number.
    #[schemars(with = "Vec<s::Override>")]
    pub overrides: Vec<Override>,
}
