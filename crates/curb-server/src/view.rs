//! The ledger in Ray's words.

use std::collections::BTreeMap;

use curb_core::decide::{self, Moment};
use curb_core::ledger::{Job, Outcome, Phase, State};
use curb_ray::{JobDetails, JobKind, JobStatus};

use crate::app::RefusedJob;
use crate::spec::{JobSpec, STAMP_KEY, USER_KEY};

/// A job as Ray would tell of it. `record` is what Ray says or said of it, `note` what Curb has to say.
#[must_use]
pub fn details(
    job: &Job,
    spec: Option<&JobSpec>,
    record: Option<&JobDetails>,
    note: Option<&str>,
) -> JobDetails {
    let status = match &job.phase {
        Phase::Queued | Phase::Reserved(_) => JobStatus::Pending,
        Phase::Running(_) | Phase::Quarantined(_) => {
            record.map_or(JobStatus::Pending, |r| r.status.clone())
        }
        Phase::Ended(end) => match end.outcome {
            Outcome::Succeeded => JobStatus::Succeeded,
            Outcome::Failed => JobStatus::Failed,
            Outcome::Stopped => JobStatus::Stopped,
        },
    };
    let message = match &job.phase {
        Phase::Queued => Some(note.unwrap_or("curb: queued").to_owned()),
        Phase::Reserved(_) => Some("curb: it is being given to Ray".to_owned()),
        Phase::Quarantined(_) => Some(
            "curb: Ray was restarted under this job. Its grant is held until Ray shows it again or an operator releases it"
                .to_owned(),
        ),
        Phase::Running(_) => {
            let theirs = record.and_then(|r| r.message.clone());
            note.map(|n| format!("curb: {n}")).or(theirs)
        }
        Phase::Ended(end) => Some(end.message.clone()),
    };
    let (start, end, exit) = match &job.phase {
        Phase::Ended(end) => {
            let (from, to) = end
                .ran
                .unwrap_or((end.granted.unwrap_or(job.submitted), end.at));
            (from.0, Some(to.0), end.exit_code)
        }
        _ => (
            record
                .and_then(|r| r.start_time_ms)
                .unwrap_or(job.submitted.0),
            record.and_then(|r| r.end_time_ms),
            None,
        ),
    };
    JobDetails {
        kind: JobKind::Submission,
        job_id: record.and_then(|r| r.job_id.clone()),
        submission_id: Some(job.new.id.as_str().to_owned()),
        driver_info: record.and_then(|r| r.driver_info.clone()),
        status,
        entrypoint: spec.map_or_else(
            || "(not kept any more)".to_owned(),
            |s| s.entrypoint.clone(),
        ),
        message,
        error_type: record.and_then(|r| r.error_type.clone()),
        start_time_ms: Some(start),
        end_time_ms: end,
        metadata: Some(metadata(spec, &job.new.subject.user)),
        runtime_env: Some(runtime_env(spec)),
        driver_agent_http_address: None,
        driver_node_id: record.and_then(|r| r.driver_node_id.clone()),
        driver_exit_code: record.and_then(|r| r.driver_exit_code).or(exit),
    }
}

/// A refusal in the `job` style.
#[must_use]
pub fn refused(job: &RefusedJob) -> JobDetails {
    JobDetails {
        kind: JobKind::Submission,
        job_id: None,
        submission_id: Some(job.id.as_str().to_owned()),
        driver_info: None,
        status: JobStatus::Failed,
        entrypoint: job.spec.entrypoint.clone(),
        message: Some(job.text.clone()),
        error_type: None,
        start_time_ms: Some(job.at.0),
        end_time_ms: Some(job.at.0),
        metadata: Some(metadata(Some(&job.spec), &job.user)),
        runtime_env: Some(runtime_env(Some(&job.spec))),
        driver_agent_http_address: None,
        driver_node_id: None,
        driver_exit_code: None,
    }
}

fn metadata(spec: Option<&JobSpec>, user: &str) -> BTreeMap<String, String> {
    let mut all = spec.map_or_else(BTreeMap::new, |s| s.metadata.clone());
    // The stamp tells our records from others': it is nobody's business.
    all.remove(STAMP_KEY);
    all.insert(USER_KEY.to_owned(), user.to_owned());
    all
}

fn runtime_env(spec: Option<&JobSpec>) -> Box<serde_json::value::RawValue> {
    spec.and_then(|s| s.runtime_env.clone()).unwrap_or_else(|| {
        serde_json::value::RawValue::from_string("{}".to_owned()).expect("two braces are JSON")
    })
}

/// Where a queued job stands, for lists, in which a whole explanation of each would cost too much.
#[must_use]
pub fn short_wait(state: &State, moment: &Moment, job: &Job) -> Option<String> {
    // The position is a walk over all classes of waiting jobs: for long queues lists do without it.
    if !job.is_queued() || state.queued_count() > 1000 {
        return None;
    }
    decide::position(state, moment, job)
        .map(|p| format!("curb: queued, position {} of {}", p.position, p.of))
}
