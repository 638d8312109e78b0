//! `POST /curb/v1/explain`.

use curb_core::decide::{Explanation, Verdict, Violation};
use curb_core::resource::Resources;
use curb_core::subject::Subject;
use curb_core::time::{Millis, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema as s;

/// Whether a job would start, and if not, why and when.
///
/// The members of an explanation with the text for people beside them. (Not `flatten`ed: budgets are 128-bit numbers,
/// which a flattened member cannot hold.)
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainReply {
    /// The answer.
    #[schemars(with = "s::Verdict")]
    pub verdict: Verdict,
    /// Whether a submission would be refused, rather than started or queued.
    pub refused: bool,
    /// The HTTP status that a submission would get: 200, 422, 429 or 503.
    pub status: u16,
    /// What the job is charged.
    #[schemars(with = "s::Resources")]
    pub request: Resources,
    /// For how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<s::Millis>")]
    pub duration: Option<Millis>,
    /// All limits in the way, the binding one first.
    #[schemars(with = "Vec<s::Violation>")]
    pub violations: Vec<Violation>,
    /// Limits that are only recorded (audit, observe) and would have been in the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<s::Violation>")]
    pub recorded: Vec<Violation>,
    /// The largest part of the request that would start now; missing when nothing of it would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<s::Resources>")]
    pub fits_now: Option<Resources>,
    /// When it could start, if that can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<s::Timestamp>")]
    pub expected: Option<Timestamp>,
    /// Of a job that would wait: why it cannot be said when it would start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// Who the job would be charged to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<s::Subject>")]
    pub subject: Option<Subject>,
    /// On which cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The same for people: plain text of at most 80 columns.
    #[serde(default)]
    pub text: String,
}

impl ExplainReply {
    /// An explanation with its text.
    #[must_use]
    pub fn new(explanation: Explanation, text: String) -> ExplainReply {
        ExplainReply {
            verdict: explanation.verdict,
            refused: explanation.refused,
            status: explanation.status,
            request: explanation.request,
            duration: explanation.duration,
            violations: explanation.violations,
            recorded: explanation.recorded,
            fits_now: explanation.fits_now,
            expected: explanation.expected,
            unknown: explanation.unknown,
            subject: None,
            cluster: None,
            text,
        }
    }

    /// The same, saying who would be charged and where.
    #[must_use]
    pub fn for_subject(mut self, subject: Subject, cluster: String) -> ExplainReply {
        self.subject = Some(subject);
        self.cluster = Some(cluster);
        self
    }
}
