//! The error body: RFC 9457, for those who ask for JSON.

use curb_core::decide::{Explanation, Verdict, Violation};
use curb_core::resource::Resources;
use curb_core::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::headers::PROBLEM_JSON;
use crate::schema as s;
use crate::types::Finding;

/// What went wrong, for a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// A page about this kind of problem, relative to the server's address.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The kind in a few words, always the same for a code.
    #[serde(default)]
    pub title: String,
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// A stable kebab-case word; for refusals by quota the reason code of the binding limit.
    #[serde(default)]
    pub code: String,
    /// What happened this time, which limit was met, what to do next. Plain text, may have several lines.
    #[serde(default)]
    pub detail: String,
    /// Names the request in the server's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// When it could start, when a quota refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<s::Verdict>")]
    pub verdict: Option<Verdict>,
    /// All limits in the way, when a quota refused; the binding one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<s::Violation>")]
    pub violations: Vec<Violation>,
    /// The largest part of the request that would start now, when a quota refused and there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<s::Resources>")]
    pub fits_now: Option<Resources>,
    /// When it could start, if that can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<s::Timestamp>")]
    pub expected: Option<Timestamp>,
    /// What is wrong with a policy, when one was refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Anything else.
    #[serde(flatten)]
    pub extensions: Map<String, Value>,
}

impl Problem {
    /// A problem of a status and a code.
    #[must_use]
    pub fn new(status: u16, code: &str, title: &str, detail: impl Into<String>) -> Problem {
        Problem {
            kind: format!("/curb/v1/reasons/{code}"),
            title: title.to_owned(),
            status,
            code: code.to_owned(),
            detail: detail.into(),
            request_id: None,
            verdict: None,
            violations: Vec::new(),
            fits_now: None,
            expected: None,
            findings: Vec::new(),
            extensions: Map::new(),
        }
    }

    /// A refusal by quota. The code is that of the binding limit.
    #[must_use]
    pub fn refusal(explanation: &Explanation, text: String) -> Problem {
        let code = explanation
            .violations
            .first()
            .map_or("refused", |v| v.code.as_str());
        let mut problem = Problem::new(explanation.status, code, "The job was refused", text);
        problem.verdict = Some(explanation.verdict);
        problem.violations.clone_from(&explanation.violations);
        problem.fits_now.clone_from(&explanation.fits_now);
        problem.expected = explanation.expected;
        problem
    }

    /// Whether a quota refused.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.verdict.is_some()
    }

    /// What happened, and what to do next if the detail ends with that. A refusal by quota is one story.
    #[must_use]
    pub fn parts(&self) -> (&str, Option<&str>) {
        let detail = self.detail.trim_end();
        match detail.rsplit_once("\n  next: ") {
            Some((what, next)) if !self.is_refusal() => (what, Some(next)),
            _ => (detail, None),
        }
    }

    /// Reads an error body of any kind: RFC 9457, or text as it is.
    #[must_use]
    pub fn read(status: u16, content_type: &str, body: &[u8]) -> Problem {
        if content_type.starts_with(PROBLEM_JSON)
            && let Ok(mut problem) = serde_json::from_slice::<Problem>(body)
        {
            problem.status = status;
            return problem;
        }
        let mut problem = Problem::new(status, "", "", String::from_utf8_lossy(body).trim_end());
        problem.kind.clear();
        problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_is_plain_text_is_kept_as_it_is() {
        let problem = Problem::read(503, "text/plain", b"no journal\n");
        assert_eq!(
            (problem.status, problem.detail.as_str()),
            (503, "no journal")
        );
    }

    #[test]
    fn json_that_is_no_problem_is_kept_as_text() {
        let problem = Problem::read(500, "application/problem+json", b"[1]");
        assert_eq!(problem.detail, "[1]");
    }

    #[test]
    fn the_status_on_the_wire_wins() {
        let body = br#"{"status": 200, "code": "budget", "detail": "d", "more": 1}"#;
        let problem = Problem::read(429, "application/problem+json", body);
        assert_eq!((problem.status, problem.code.as_str()), (429, "budget"));
        assert_eq!(problem.extensions["more"], 1);
    }
}
