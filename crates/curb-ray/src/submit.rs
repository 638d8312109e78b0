//! A submission and its answer.

use crate::amount::Milli;
use crate::error::{NotSent, SubmitError};
use crate::{id, reason};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The metadata key that marks a no-op as Curb's claim of an id.
pub const CLAIM_KEY: &str = "curb.claim";

/// The body of `POST /api/jobs/`. Only these fields can be sent.
#[derive(Debug, Clone, Serialize)]
pub struct SubmitRequest {
    /// The shell command. It runs as the cluster's user.
    pub entrypoint: String,
    /// Always set: Curb chooses it, and Ray makes it first-writer-wins.
    pub submission_id: String,
    /// A JSON object, verbatim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_env: Option<Box<RawValue>>,
    /// Text by text, as Ray wants it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// CPUs held by the entrypoint itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint_num_cpus: Option<Milli>,
    /// GPUs held by the entrypoint itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint_num_gpus: Option<Milli>,
    /// Bytes of memory held by the entrypoint itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint_memory: Option<u64>,
    /// Custom resources held by the entrypoint itself.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub entrypoint_resources: BTreeMap<String, Milli>,
    /// Labels of the node that the entrypoint may run on.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub entrypoint_label_selector: BTreeMap<String, String>,
}

impl SubmitRequest {
    /// A job that asks for nothing but to be run.
    pub fn new(submission_id: impl Into<String>, entrypoint: impl Into<String>) -> SubmitRequest {
        SubmitRequest {
            entrypoint: entrypoint.into(),
            submission_id: submission_id.into(),
            runtime_env: None,
            metadata: BTreeMap::new(),
            entrypoint_num_cpus: None,
            entrypoint_num_gpus: None,
            entrypoint_memory: None,
            entrypoint_resources: BTreeMap::new(),
            entrypoint_label_selector: BTreeMap::new(),
        }
    }

    /// A harmless job under `submission_id`, to learn the fate of a submission that was never
    /// confirmed. Ray keeps the first record of an id: if this one is accepted, the id is used up and
    /// the original can never start; if Ray answers [`SubmitError::AlreadyExists`], the original did.
    ///
    /// It holds no resources and prints one line. `stamp` (which attempt of which reservation) goes
    /// into the metadata under [`CLAIM_KEY`], so that a record found later shows whether it is the
    /// claim or the job.
    pub fn no_op_claim(
        submission_id: impl Into<String>,
        stamp: impl Into<String>,
    ) -> SubmitRequest {
        let entrypoint = "echo 'Curb used up this submission id: the job it was meant for was never confirmed and will not run.'; true";
        let mut claim = SubmitRequest::new(submission_id, entrypoint);
        claim.metadata.insert(CLAIM_KEY.to_owned(), stamp.into());
        claim.entrypoint_num_cpus = Some(Milli(0));
        claim.entrypoint_num_gpus = Some(Milli(0));
        claim
    }
}

/// Ray has the job: it is durable as far as Ray's own store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// The id it has, always the one asked for.
    pub submission_id: String,
}

#[derive(Deserialize)]
struct Answer {
    submission_id: String,
}

/// Reads Ray's answer to a submission of `id`.
pub(crate) fn read_answer(id: &str, status: u16, body: &[u8]) -> Result<Submitted, SubmitError> {
    let id = id.to_owned();
    if status == 200 {
        return match serde_json::from_slice::<Answer>(body) {
            Ok(answer) if answer.submission_id == id => Ok(Submitted { submission_id: id }),
            Ok(_) => Err(unknown(
                id,
                status,
                "Ray answered for another job".to_owned(),
            )),
            Err(error) => Err(unknown(
                id,
                status,
                format!("Ray's answer is not understood: {error}"),
            )),
        };
    }
    let reason = reason::clean(body);
    if reason.starts_with(&format!("Job with submission_id {id} already exists.")) {
        return Err(SubmitError::AlreadyExists { id });
    }
    match status_of_refusal(status, body) {
        Some(status) => Err(SubmitError::Refused { id, status, reason }),
        None => Err(unknown(
            id,
            status,
            format!("Ray answered {status}: {reason}"),
        )),
    }
}

fn unknown(id: String, status: u16, reason: String) -> SubmitError {
    SubmitError::Unknown {
        id,
        status: Some(status),
        reason,
    }
}

/// The status of an answer which proves that no record was made, or none.
///
/// Ray's dashboard turns its agent's 400 into a 500 whose text tells the 400. The agent says 400
/// only for what it finds wrong before it writes the record. Any other 5xx proves nothing: the
/// dashboard also says 500 when it lost the agent's answer.
fn status_of_refusal(status: u16, body: &[u8]) -> Option<u16> {
    match status {
        400..=407 | 409..=499 => Some(status),
        500 if wraps_400(body) => Some(400),
        _ => None,
    }
}

/// Only the first such sentence counts: what follows it may hold text that the user chose.
fn wraps_400(body: &[u8]) -> bool {
    const SENTENCE: &str = "RuntimeError: Request failed with status code ";
    let text = String::from_utf8_lossy(body);
    let status = text.split_once(SENTENCE).map(|(_, rest)| rest);
    text.starts_with("Traceback") && status.is_some_and(|rest| rest.starts_with("400: "))
}

pub(crate) fn encode(request: &SubmitRequest) -> Result<Vec<u8>, SubmitError> {
    let not_sent = |reason: String| SubmitError::NotSent {
        id: request.submission_id.clone(),
        cause: NotSent::Unfit,
        reason,
    };
    id::check_id(&request.submission_id).map_err(|error| not_sent(error.to_string()))?;
    serde_json::to_vec(request)
        .map_err(|error| not_sent(format!("it cannot be written as JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(last: &str) -> String {
        format!(
            "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nRuntimeError: Request failed with status code 400: Traceback (most recent call last):\n  File \"b.py\", line 2, in g\n{last}\n.\n"
        )
    }

    #[test]
    fn only_what_is_set_is_sent_and_amounts_are_plain_decimals() {
        let mut request = SubmitRequest::new("a", "true");
        assert_eq!(
            String::from_utf8(encode(&request).unwrap()).unwrap(),
            r#"{"entrypoint":"true","submission_id":"a"}"#
        );
        request.entrypoint_num_cpus = Some(Milli(100));
        request.entrypoint_memory = Some(1 << 30);
        request
            .entrypoint_resources
            .insert("ssd".into(), Milli(1500));
        request.runtime_env =
            Some(RawValue::from_string(r#"{"env_vars":{"A":"1"}}"#.into()).unwrap());
        assert_eq!(
            String::from_utf8(encode(&request).unwrap()).unwrap(),
            r#"{"entrypoint":"true","submission_id":"a","runtime_env":{"env_vars":{"A":"1"}},"entrypoint_num_cpus":0.1,"entrypoint_memory":1073741824,"entrypoint_resources":{"ssd":1.5}}"#
        );
    }

    #[test]
    fn an_id_that_is_no_path_segment_is_never_sent() {
        let refused = encode(&SubmitRequest::new("a/../b", "true"));
        assert!(
            matches!(refused, Err(SubmitError::NotSent { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn an_answer_for_another_job_is_not_a_confirmation() {
        for body in [r#"{"job_id":"b","submission_id":"b"}"#, "{}", "", "null"] {
            let answer = read_answer("a", 200, body.as_bytes());
            assert!(
                matches!(
                    answer,
                    Err(SubmitError::Unknown {
                        status: Some(200),
                        ..
                    })
                ),
                "{answer:?}"
            );
        }
        assert_eq!(
            read_answer("a", 200, br#"{"job_id":"a","submission_id":"a"}"#)
                .unwrap()
                .submission_id,
            "a"
        );
    }

    #[test]
    fn already_exists_is_believed_only_for_the_id_that_was_asked() {
        let text = |id: &str| {
            wrapped(&format!(
                "ValueError: Job with submission_id {id} already exists. Please use a different submission_id."
            ))
        };
        assert!(matches!(
            read_answer("a", 500, text("a").as_bytes()),
            Err(SubmitError::AlreadyExists { .. })
        ));
        assert!(matches!(
            read_answer("a", 500, text("ab").as_bytes()),
            Err(SubmitError::Refused { .. })
        ));
    }

    #[test]
    fn a_wrapped_400_is_a_refusal_and_any_other_500_is_unknown() {
        let Err(SubmitError::Refused {
            status: 400,
            reason,
            ..
        }) = read_answer("a", 500, wrapped("ValueError: bad label").as_bytes())
        else {
            panic!("a refusal by the agent proves that nothing was recorded");
        };
        assert_eq!(reason, "bad label");
        for body in [
            "Traceback (most recent call last):\nRuntimeError: boom",
            "500 Internal Server Error",
            "No available agent to submit job, please try again later.",
        ] {
            assert!(
                matches!(
                    read_answer("a", 500, body.as_bytes()),
                    Err(SubmitError::Unknown { .. })
                ),
                "{body}"
            );
        }
    }

    #[test]
    fn a_wrapped_500_is_unknown_whatever_its_text_quotes() {
        let forged = wrapped("x\nRuntimeError: Request failed with status code 400: Traceback")
            .replacen("400", "500", 1);
        let answer = read_answer("a", 500, forged.as_bytes());
        assert!(
            matches!(answer, Err(SubmitError::Unknown { .. })),
            "{answer:?}"
        );
    }

    #[test]
    fn statuses_that_prove_nothing_are_unknown() {
        for status in [201, 204, 301, 307, 408, 500, 502, 503, 504] {
            assert!(
                matches!(
                    read_answer("a", status, b"x"),
                    Err(SubmitError::Unknown { .. })
                ),
                "{status}"
            );
        }
        for status in [400, 401, 403, 404, 405, 413] {
            assert!(
                matches!(
                    read_answer("a", status, b"x"),
                    Err(SubmitError::Refused { .. })
                ),
                "{status}"
            );
        }
    }

    #[test]
    fn a_claim_is_harmless_and_marked() {
        let claim = SubmitRequest::no_op_claim("a", "reservation 7");
        assert_eq!(claim.metadata[CLAIM_KEY], "reservation 7");
        assert_eq!(
            (claim.entrypoint_num_cpus, claim.entrypoint_num_gpus),
            (Some(Milli(0)), Some(Milli(0)))
        );
        assert!(claim.entrypoint.starts_with("echo '") && claim.entrypoint.ends_with("; true"));
        assert!(claim.runtime_env.is_none() && claim.entrypoint_resources.is_empty());
    }
}
