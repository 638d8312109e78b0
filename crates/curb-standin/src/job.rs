//! One submission: what was asked, and what its record says at a moment.

use crate::plan::Plan;
use crate::request::Asked;
use crate::texts;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::OnceLock;

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
    /// The package whose absence kept it from starting.
    pub(crate) missing_package: Option<String>,
    /// Its record once it is over, which does not change any more: lists are long.
    pub(crate) last: OnceLock<Bytes>,
}

/// What a record says at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Pending,
    Running,
    Ended {
        at_ms: u64,
        exit: Option<i32>,
    },
    /// Its runtime environment could not be made: the entrypoint never ran.
    NeverBegan {
        at_ms: u64,
    },
}

impl Phase {
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Phase::Ended { .. } | Phase::NeverBegan { .. })
    }
}

impl Job {
    pub(crate) fn phase(&self, now_ms: u64) -> Phase {
        let own_end = self
            .plan
            .run_ms
            .map(|run| self.begins_ms.saturating_add(run));
        match (self.stopped_ms, own_end) {
            (Some(at_ms), _) if at_ms <= now_ms => Phase::Ended { at_ms, exit: None },
            (None, Some(at_ms)) if at_ms <= now_ms && self.missing_package.is_none() => {
                Phase::Ended {
                    at_ms,
                    exit: Some(self.plan.exit_code),
                }
            }
            (None, _) if self.missing_package.is_some() && self.begins_ms <= now_ms => {
                Phase::NeverBegan {
                    at_ms: self.begins_ms,
                }
            }
            _ if self.begins_ms <= now_ms => Phase::Running,
            _ => Phase::Pending,
        }
    }

    /// Asks it to end; false if it had ended.
    pub(crate) fn stop(&mut self, now_ms: u64, takes_ms: u64) -> bool {
        if self.phase(now_ms).is_over() {
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
            Phase::NeverBegan { .. } => return String::new(),
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

    /// Tells another status, or the truth again.
    pub(crate) fn lie(&mut self, status: Option<String>) {
        self.lie = status;
        self.last = OnceLock::new();
    }

    /// Its record as JSON.
    pub(crate) fn details(&self, id: &str, now_ms: u64) -> Bytes {
        if let Some(last) = self.last.get() {
            return last.clone();
        }
        let record = Bytes::from(self.record(id, now_ms));
        if self.phase(now_ms).is_over() {
            return self.last.get_or_init(|| record).clone();
        }
        record
    }

    fn record(&self, id: &str, now_ms: u64) -> Vec<u8> {
        let Some(asked) = self.asked() else {
            return b"null".to_vec();
        };
        let phase = self.phase(now_ms);
        let log = || self.log(id, now_ms);
        let (status, message, error_type) =
            describe(phase, log, &asked, self.missing_package.as_deref());
        let (end_time, exit) = match phase {
            Phase::Ended { at_ms, exit } => (Some(at_ms), exit),
            Phase::NeverBegan { at_ms } => (Some(at_ms), None),
            _ => (None, None),
        };
        let began = !matches!(phase, Phase::Pending | Phase::NeverBegan { .. })
            && end_time.is_none_or(|end| end >= self.begins_ms);
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
    missing: Option<&str>,
) -> (&'static str, String, Option<&'static str>) {
    match phase {
        Phase::Pending => ("PENDING", pending_message(asked), None),
        Phase::Running => ("RUNNING", "Job is currently running.".to_owned(), None),
        Phase::NeverBegan { .. } => (
            "FAILED",
            texts::no_runtime_env(missing.unwrap_or_default()),
            Some("RUNTIME_ENV_SETUP_FAILURE"),
        ),
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
            last: OnceLock::new(),
            missing_package: None,
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
    fn without_its_package_a_job_never_begins() {
        let job = Job {
            missing_package: Some("a.zip".into()),
            ..job(Some(50))
        };
        assert_eq!(
            (job.phase(199), job.phase(200)),
            (Phase::Pending, Phase::NeverBegan { at_ms: 200 })
        );
        assert_eq!(job.log("a", 900), "");
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
