//! `/curb/v1/policy` and `/curb/v1/mode`.

use curb_core::policy::Diagnostic;
use curb_core::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema as s;

/// A policy that is or was in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyView {
    /// Counts up from 1.
    pub version: u32,
    /// SHA-256 of the text, in hex.
    pub sha256: String,
    /// Since when.
    #[schemars(with = "s::Timestamp")]
    pub applied: Timestamp,
    /// Who applied it.
    pub by: String,
    /// The text as it was written.
    pub text: String,
}

/// Answer to `PUT /curb/v1/policy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyApplied {
    /// The version that is in force now.
    pub version: u32,
    /// SHA-256 of the text, in hex.
    pub sha256: String,
    /// Whether anything changed; the same text again changes nothing.
    pub changed: bool,
    /// What the reader warns of.
    #[serde(default)]
    pub warnings: Vec<Finding>,
}

/// Answer to `POST /curb/v1/policy/check`, and the `findings` of a refused policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyCheck {
    /// Whether it could be put in force.
    pub ok: bool,
    /// All that is wrong or doubtful, in the order of the text.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong or doubtful in a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// `error` or `warning`.
    pub severity: Severity,
    /// From 1.
    pub line: u64,
    /// From 1.
    pub column: u64,
    /// Which field, as a path with dots.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help: String,
    /// All of it for people, with the line of the text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rendered: String,
}

impl From<&Diagnostic> for Finding {
    fn from(d: &Diagnostic) -> Finding {
        Finding {
            severity: match d.severity {
                curb_core::policy::Severity::Error => Severity::Error,
                curb_core::policy::Severity::Warning => Severity::Warning,
            },
            line: u64::from(d.line),
            column: u64::from(d.column),
            field: d.field.clone(),
            message: d.message.clone(),
            help: d.help.clone().unwrap_or_default(),
            rendered: d.render(),
        }
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy cannot be used.
    Error,
    /// It can, but may not mean what was meant.
    Warning,
}

/// Whether refusals and waits are enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They are.
    Enforce,
    /// All jobs pass; what would have been refused is recorded.
    Observe,
}

impl From<curb_core::policy::Mode> for Mode {
    fn from(mode: curb_core::policy::Mode) -> Mode {
        match mode {
            curb_core::policy::Mode::Enforce => Mode::Enforce,
            curb_core::policy::Mode::Audit => Mode::Observe,
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Mode::Enforce => "enforce",
            Mode::Observe => "observe",
        })
    }
}

/// Answer to `GET` and `PUT /curb/v1/mode`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModeView {
    /// The mode in force.
    pub mode: Mode,
    /// What the policy says.
    pub policy: Mode,
    /// Whether somebody set it, whatever the policy says.
    pub set: bool,
}

/// Body of `PUT /curb/v1/mode`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetMode {
    /// What it should be.
    pub mode: WantedMode,
    /// Why; kept in the journal. Must not be empty.
    pub why: String,
}

/// What the mode should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WantedMode {
    /// Enforce, whatever the policy says.
    Enforce,
    /// Observe, whatever the policy says.
    Observe,
    /// As the policy says.
    Policy,
}
