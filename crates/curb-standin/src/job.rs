//! One submission: what was asked, and what its record says at a moment.

use crate::plan::Plan;
use bytes::Bytes;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The metadata key with which Curb marks a no-op that claims an id.
pub(crate) const CLAIM_KEY: &str = "curb.claim";

/// The body of a submission as it lies in the request: nothing is copied.
#[derive(Deserialize)]
pub(crate) struct Asked<'a> {
    #[serde(borrow, default)]
    entrypoint: Option<&'a RawValue>,
    #[serde(borrow, default)]
    submission_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    job_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    runtime_env: Option<&'a RawValue>,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    entrypoint_num_cpus: Option<&'a RawValue>,
    #[serde(borrow, default)]
    entrypoint_num_gpus: Option<&'a RawValue>,
    #[serde(borrow, default)]
    entrypoint_memory: Option<&'a RawValue>,
    #[serde(borrow, default)]
    entrypoint_resources: Option<&'a RawValue>,
    #[serde(borrow, default)]
    entrypoint_label_selector: Option<&'a RawValue>,
}

/// A submission that passed Ray's checks of types.
pub(crate) struct Checked<'a> {
    pub(crate) entrypoint: Cow<'a, str>,
    pub(crate) submission_id: Option<Cow<'a, str>>,
    pub(crate) is_claim: bool,
    pub(crate) bad_label: Option<String>,
}

/// What is wrong with a body, and by which of Ray's ways it is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadBody {
    /// Not a JSON object: aiohttp's bare 500.
    NotAnObject,
    /// The dashboard's 400.
    TypeError(String),
}

/// The keys that Ray takes; any other is an error by name.
const KEYS: [&str; 10] = [
    "entrypoint",
    "submission_id",
    "job_id",
    "runtime_env",
    "metadata",
    "entrypoint_num_cpus",
    "entrypoint_num_gpus",
    "entrypoint_memory",
    "entrypoint_resources",
    "entrypoint_label_selector",
];

impl<'a> Asked<'a> {
    /// Reads and checks a body as Ray's dashboard does.
    pub(crate) fn check(body: &'a [u8]) -> Result<Checked<'a>, BadBody> {
        let asked: Asked<'a> = serde_json::from_slice(body).map_err(|_| BadBody::NotAnObject)?;
        if let Some(key) = unknown_key(body) {
            return Err(type_error(format!(
                "JobSubmitRequest.__init__() got an unexpected keyword argument '{key}'"
            )));
        }
        let Some(entrypoint) = asked.entrypoint else {
            return Err(type_error(
                "JobSubmitRequest.__init__() missing 1 required positional argument: 'entrypoint'"
                    .to_owned(),
            ));
        };
        asked.check_numbers()?;
        if asked.runtime_env.is_some_and(|v| !v.get().starts_with('{')) {
            return Err(wrong_type("runtime_env must be a dict", asked.runtime_env));
        }
        let metadata = asked
            .metadata
            .map(|v| map_of(v, "metadata", true))
            .transpose()?
            .unwrap_or_default();
        let labels = asked
            .entrypoint_label_selector
            .map(|v| map_of(v, "entrypoint_label_selector", true))
            .transpose()?
            .unwrap_or_default();
        if let Some(resources) = asked.entrypoint_resources {
            map_of(resources, "entrypoint_resources", false)?;
        }
        let submission_id = string(
            asked.submission_id,
            "submission_id must be a string if provided",
        )?;
        let job_id = string(asked.job_id, "job_id must be a string if provided")?;
        let Some(entrypoint) = string(Some(entrypoint), "entrypoint must be a string")? else {
            return Err(BadBody::NotAnObject);
        };
        Ok(Checked {
            entrypoint,
            submission_id: submission_id.or(job_id),
            is_claim: metadata.is_claim,
            bad_label: labels.bad_label,
        })
    }

    fn check_numbers(&self) -> Result<(), BadBody> {
        for (value, complaint) in [
            (
                self.entrypoint_num_cpus,
                "entrypoint_num_cpus must be a number",
            ),
            (
                self.entrypoint_num_gpus,
                "entrypoint_num_gpus must be a number",
            ),
            (
                self.entrypoint_memory,
                "entrypoint_memory must be an integer",
            ),
        ] {
            let whole = complaint.ends_with("integer");
            let fits = |text: &str| {
                text.starts_with(|c: char| c.is_ascii_digit() || c == '-')
                    && !(whole && text.contains(['.', 'e', 'E']))
            };
            if value.is_some_and(|v| !fits(v.get())) {
                return Err(wrong_type(complaint, value));
            }
        }
        Ok(())
    }
}

fn type_error(sentence: String) -> BadBody {
    BadBody::TypeError(sentence)
}

fn wrong_type(complaint: &str, value: Option<&RawValue>) -> BadBody {
    let python = match value.map_or('n', |v| v.get().chars().next().unwrap_or('n')) {
        '"' => "str",
        '{' => "dict",
        '[' => "list",
        't' | 'f' => "bool",
        _ if value.is_some_and(|v| v.get().contains(['.', 'e', 'E'])) => "float",
        _ => "int",
    };
    type_error(format!("{complaint}, got <class '{python}'>"))
}

fn string<'a>(
    value: Option<&'a RawValue>,
    complaint: &str,
) -> Result<Option<Cow<'a, str>>, BadBody> {
    let Some(raw) = value else { return Ok(None) };
    let text = raw.get();
    if !text.starts_with('"') {
        return Err(wrong_type(complaint, value));
    }
    let inside = &text[1..text.len() - 1];
    if !inside.contains('\\') {
        return Ok(Some(Cow::Borrowed(inside)));
    }
    serde_json::from_str(text)
        .map(|s: String| Some(Cow::Owned(s)))
        .map_err(|_| BadBody::NotAnObject)
}

/// The first key that Ray's dataclass has not. `null` values are dropped by Ray before it looks.
fn unknown_key(body: &[u8]) -> Option<String> {
    struct Find(Option<String>);
    struct Keys;
    impl<'de> Visitor<'de> for Keys {
        type Value = Find;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Find, A::Error> {
            let mut found = None;
            while let Some(key) = map.next_key::<Text<'de>>()? {
                let value = map.next_value::<Option<IgnoredAny>>()?;
                if value.is_some() && found.is_none() && !KEYS.contains(&key.0.as_ref()) {
                    found = Some(key.0.into_owned());
                }
            }
            Ok(Find(found))
        }
    }
    serde_json::Deserializer::from_slice(body)
        .deserialize_map(Keys)
        .ok()
        .and_then(|find| find.0)
}

/// A string, borrowed where it can be.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrow)
    }
}

#[derive(Default)]
struct Seen {
    is_claim: bool,
    bad_label: Option<String>,
}

/// Checks a dict of strings (or of numbers) and notes what matters in it.
fn map_of(raw: &RawValue, field: &'static str, of_strings: bool) -> Result<Seen, BadBody> {
    if !raw.get().starts_with('{') {
        return Err(wrong_type(&format!("{field} must be a dict"), Some(raw)));
    }
    struct Dict<'f> {
        field: &'f str,
        of_strings: bool,
    }
    impl<'de> Visitor<'de> for Dict<'_> {
        type Value = Seen;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Seen, A::Error> {
            let mut seen = Seen::default();
            while let Some(key) = map.next_key::<Text<'de>>()? {
                let value = map.next_value::<&'de RawValue>()?;
                let (fits, kind) = match self.of_strings {
                    true => (value.get().starts_with('"'), "strings"),
                    false => (
                        value
                            .get()
                            .starts_with(|c: char| c.is_ascii_digit() || c == '-'),
                        "numbers",
                    ),
                };
                if !fits {
                    let BadBody::TypeError(sentence) = wrong_type(
                        &format!("{} values must be {kind}", self.field),
                        Some(value),
                    ) else {
                        continue;
                    };
                    return Err(A::Error::custom(sentence));
                }
                seen.is_claim |= key.0 == CLAIM_KEY;
                if seen.bad_label.is_none() && !is_label_name(&key.0) {
                    seen.bad_label = Some(key.0.into_owned());
                }
            }
            Ok(seen)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    deserializer
        .deserialize_map(Dict { field, of_strings })
        .map_err(|error| {
            let text = error.to_string();
            type_error(
                text.split(" at line ")
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            )
        })
}

/// Ray's rule for the name of a label, without its optional prefix.
fn is_label_name(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or(key);
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    name.len() <= 63
        && edge(name.chars().next())
        && edge(name.chars().last())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// One accepted submission.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// The request as it came; checked before.
    pub(crate) body: Bytes,
    pub(crate) submitted_ms: u64,
    pub(crate) begins_ms: u64,
    pub(crate) plan: Plan,
    pub(crate) stopped_ms: Option<u64>,
    pub(crate) lie: Option<String>,
}

/// What a record says at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Pending,
    Running,
    Ended { at_ms: u64, exit: Option<i32> },
}

impl Job {
    pub(crate) fn phase(&self, now_ms: u64) -> Phase {
        let own_end = self
            .plan
            .run_ms
            .map(|run| self.begins_ms.saturating_add(run));
        match (self.stopped_ms, own_end) {
            (Some(at_ms), _) if at_ms <= now_ms => Phase::Ended { at_ms, exit: None },
            (None, Some(at_ms)) if at_ms <= now_ms => Phase::Ended {
                at_ms,
                exit: Some(self.plan.exit_code),
            },
            _ if self.begins_ms <= now_ms => Phase::Running,
            _ => Phase::Pending,
        }
    }

    /// Asks it to end; false if it had ended.
    pub(crate) fn stop(&mut self, now_ms: u64, takes_ms: u64) -> bool {
        if matches!(self.phase(now_ms), Phase::Ended { .. }) {
            return false;
        }
        self.stopped_ms
            .get_or_insert(now_ms.saturating_add(takes_ms));
        true
    }

    fn asked(&self) -> Option<Asked<'_>> {
        serde_json::from_slice(&self.body).ok()
    }

    pub(crate) fn entrypoint(&self) -> String {
        self.asked()
            .and_then(|a| serde_json::from_str(a.entrypoint?.get()).ok())
            .unwrap_or_default()
    }

    /// Its log so far, with the lines that Ray itself writes first.
    pub(crate) fn log(&self, id: &str, now_ms: u64) -> String {
        let setup =
            "2026-01-01 00:00:00,000\tINFO job_manager.py:581 -- Runtime env is setting up.\n";
        let until = match self.phase(now_ms) {
            Phase::Pending => return setup.to_owned(),
            Phase::Running => now_ms,
            Phase::Ended { at_ms, .. } => at_ms,
        };
        let Some(elapsed) = until.checked_sub(self.begins_ms) else {
            return setup.to_owned(); // stopped before it began
        };
        let entrypoint = self.entrypoint();
        format!(
            "{setup}Running entrypoint for job {id}: {entrypoint}\n{}",
            Plan::output(&entrypoint, elapsed)
        )
    }

    /// Its record as JSON.
    pub(crate) fn details(&self, id: &str, now_ms: u64) -> Vec<u8> {
        let Some(asked) = self.asked() else {
            return b"null".to_vec();
        };
        let phase = self.phase(now_ms);
        let log = || self.log(id, now_ms);
        let (status, message, error_type) = describe(phase, log, &asked);
        let (end_time, exit) = match phase {
            Phase::Ended { at_ms, exit } => (Some(at_ms), exit),
            _ => (None, None),
        };
        let began = phase != Phase::Pending && end_time.is_none_or(|end| end >= self.begins_ms);
        let details = Details {
            kind: "SUBMISSION",
            job_id: None,
            submission_id: id,
            driver_info: None,
            status: self.lie.as_deref().unwrap_or(status),
            entrypoint: asked.entrypoint,
            message,
            error_type,
            start_time: self.submitted_ms,
            end_time,
            metadata: asked.metadata,
            runtime_env: asked.runtime_env,
            driver_agent_http_address: began.then_some("http://127.0.0.1:52365"),
            driver_node_id: began.then_some(NODE_ID),
            driver_exit_code: exit,
        };
        serde_json::to_vec(&details).unwrap_or_default()
    }

    /// The metadata in a body that was checked before.
    pub(crate) fn metadata_of(body: &[u8]) -> Option<Box<RawValue>> {
        serde_json::from_slice::<Asked<'_>>(body)
            .ok()?
            .metadata
            .map(ToOwned::to_owned)
    }
}

/// The id of the head node of every stand-in.
pub(crate) const NODE_ID: &str = "57a4d14500000000000000000000000000000000000000000000000a";

fn describe(
    phase: Phase,
    log: impl Fn() -> String,
    asked: &Asked<'_>,
) -> (&'static str, String, Option<&'static str>) {
    match phase {
        Phase::Pending => ("PENDING", pending_message(asked), None),
        Phase::Running => ("RUNNING", "Job is currently running.".to_owned(), None),
        Phase::Ended { exit: None, .. } => {
            ("STOPPED", "Job was intentionally stopped.".to_owned(), None)
        }
        Phase::Ended { exit: Some(0), .. } => {
            ("SUCCEEDED", "Job finished successfully.".to_owned(), None)
        }
        Phase::Ended {
            exit: Some(code), ..
        } => (
            "FAILED",
            format!(
                "Job entrypoint command failed with exit code {code}, last available logs (truncated to 20,000 chars):\n{}",
                log()
            ),
            Some("JOB_ENTRYPOINT_COMMAND_ERROR"),
        ),
    }
}

fn pending_message(asked: &Asked<'_>) -> String {
    let positive =
        |v: Option<&RawValue>| v.is_some_and(|v| v.get().chars().any(|c| ('1'..='9').contains(&c)));
    let filled = |v: Option<&RawValue>| v.is_some_and(|v| v.get().contains('"'));
    let mut message = "Job has not started yet.".to_owned();
    if positive(asked.entrypoint_num_cpus)
        || positive(asked.entrypoint_num_gpus)
        || positive(asked.entrypoint_memory)
        || filled(asked.entrypoint_resources)
    {
        message += " It may be waiting for resources (CPUs, GPUs, memory, custom resources) to become available.";
    }
    if filled(asked.runtime_env) {
        message += " It may be waiting for the runtime environment to be set up.";
    }
    message
}

#[derive(Serialize)]
struct Details<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    job_id: Option<&'a str>,
    submission_id: &'a str,
    driver_info: Option<&'a str>,
    status: &'a str,
    entrypoint: Option<&'a RawValue>,
    message: String,
    error_type: Option<&'a str>,
    start_time: u64,
    end_time: Option<u64>,
    metadata: Option<&'a RawValue>,
    runtime_env: Option<&'a RawValue>,
    driver_agent_http_address: Option<&'a str>,
    driver_node_id: Option<&'a str>,
    driver_exit_code: Option<i32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(body: &str) -> String {
        match Asked::check(body.as_bytes()) {
            Err(BadBody::TypeError(sentence)) => sentence,
            Err(BadBody::NotAnObject) => "not an object".to_owned(),
            Ok(_) => "fine".to_owned(),
        }
    }

    #[test]
    fn bodies_are_refused_with_rays_sentences() {
        for (body, sentence) in [
            (
                r#"{"entrypoint":"true","bogus":1}"#,
                "JobSubmitRequest.__init__() got an unexpected keyword argument 'bogus'",
            ),
            (
                r#"{"submission_id":"a"}"#,
                "JobSubmitRequest.__init__() missing 1 required positional argument: 'entrypoint'",
            ),
            (
                r#"{"entrypoint":3}"#,
                "entrypoint must be a string, got <class 'int'>",
            ),
            (
                r#"{"entrypoint":"x","runtime_env":"y"}"#,
                "runtime_env must be a dict, got <class 'str'>",
            ),
            (
                r#"{"entrypoint":"x","metadata":{"a":1}}"#,
                "metadata values must be strings, got <class 'int'>",
            ),
            (
                r#"{"entrypoint":"x","entrypoint_memory":1.5}"#,
                "entrypoint_memory must be an integer, got <class 'float'>",
            ),
            ("nojson", "not an object"),
            ("[]", "not an object"),
        ] {
            assert_eq!(complaint(body), sentence, "{body}");
        }
    }

    #[test]
    fn nulls_count_as_absent() {
        assert_eq!(
            complaint(r#"{"entrypoint":"x","submission_id":null,"bogus":null,"metadata":null}"#),
            "fine"
        );
    }

    #[test]
    fn escapes_are_read_and_claims_seen() {
        let checked = Asked::check(br#"{"entrypoint":"echo \"a\"","submission_id":"\u0061","metadata":{"curb.claim":"1"}}"#).ok().unwrap();
        assert_eq!(
            (
                checked.entrypoint.as_ref(),
                checked.submission_id.as_deref(),
                checked.is_claim
            ),
            ("echo \"a\"", Some("a"), true)
        );
    }

    fn job(run_ms: Option<u64>) -> Job {
        let body = Bytes::from_static(br#"{"entrypoint":"echo hi; exit 3"}"#);
        Job {
            body,
            submitted_ms: 100,
            begins_ms: 200,
            plan: Plan {
                run_ms,
                exit_code: 3,
            },
            stopped_ms: None,
            lie: None,
        }
    }

    #[test]
    fn a_job_is_pending_then_running_then_ended() {
        let job = job(Some(50));
        let seen: Vec<Phase> = [199, 200, 249, 250].map(|now| job.phase(now)).into();
        assert_eq!(
            seen,
            [
                Phase::Pending,
                Phase::Running,
                Phase::Running,
                Phase::Ended {
                    at_ms: 250,
                    exit: Some(3)
                }
            ]
        );
    }

    #[test]
    fn a_stop_takes_its_time_and_a_second_one_changes_nothing() {
        let mut job = job(None);
        assert!(job.stop(300, 40) && job.stop(310, 40));
        assert_eq!(
            (job.phase(339), job.phase(340)),
            (
                Phase::Running,
                Phase::Ended {
                    at_ms: 340,
                    exit: None
                }
            )
        );
        assert!(!job.stop(400, 40), "it had ended");
    }
}
