//! The ledger in Ray's words.

use std::collections::BTreeMap;

use curb_core::decide::{self, Moment};
use curb_core::ledger::{Job, Outcome, Phase, Refusal, State};
use curb_core::time::Timestamp;
use curb_ray::{JobDetails, JobKind, JobStatus};

use crate::spec::{JobSpec, STAMP_KEY, USER_KEY};

/// A job as Ray would tell of it. `record` is what Ray says or said of it, `note` what Curb has to say; of one that runs:
/// that Ray does not answer. Such a one was taken by Ray, and runs unless Ray said something else.
#[must_use]
pub fn details(
    job: &Job,
    spec: Option<&JobSpec>,
    record: Option<&JobDetails>,
    note: Option<&str>,
) -> JobDetails {
    let status = match &job.phase {
        Phase::Queued | Phase::Reserved(_) => JobStatus::Pending,
        Phase::Running(_) if record.is_none() && note.is_some() => JobStatus::Running,
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
            match (note, stopping(job)) {
                (Some(note), Some(stop)) => Some(format!("curb: {note}; {stop}")),
                (Some(note), None) => Some(format!("curb: {note}")),
                (None, Some(stop)) => Some(format!("curb: {stop}")),
                (None, None) => warned(job).or(theirs),
            }
        }
        Phase::Ended(end) => Some(match stopped(job) {
            Some(stop) => format!("{} curb: {stop}", end.message),
            None => end.message.clone(),
        }),
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

/// That Ray does not answer, and since when what is told of its jobs is old.
#[must_use]
pub fn silent(last_seen: Option<Timestamp>) -> String {
    let since = last_seen.map_or_else(
        || "Ray has not answered since Curb was started".to_owned(),
        |at| format!("Ray does not answer, the last time at {at}"),
    );
    format!("{since}; this is what was known then")
}

/// Who stopped a job that ended by that, and why; `None` where its owner did so without a word.
#[must_use]
pub fn stopped(job: &Job) -> Option<String> {
    match &job.phase {
        Phase::Ended(end) if end.outcome == Outcome::Stopped && end.ran.is_some() => {
            wish(job).map(|w| format!("stopped {w}"))
        }
        _ => None,
    }
}

/// Who wants a job stopped that is not over yet, and why.
#[must_use]
pub fn stopping(job: &Job) -> Option<String> {
    if job.is_ended() {
        return None;
    }
    wish(job).map(|w| format!("being stopped {w}"))
}

fn wish(job: &Job) -> Option<String> {
    let stop = job.stop.as_ref()?;
    match (stop.by == job.new.subject.user, stop.why.is_empty()) {
        (true, true) => None,
        (_, true) => Some(format!("by {}", stop.by)),
        (_, false) => Some(format!("by {}: {}", stop.by, stop.why)),
    }
}

/// What a running job was warned of.
fn warned(job: &Job) -> Option<String> {
    let all: Vec<&str> = job
        .exceedances
        .iter()
        .filter(|e| e.step.is_some() && !e.only_recorded)
        .map(|e| e.found.as_str())
        .collect();
    (!all.is_empty()).then(|| format!("curb: warning: it {}", all.join("; it ")))
}

/// A refusal in the `job` style.
#[must_use]
pub fn refused(refusal: &Refusal) -> JobDetails {
    JobDetails {
        entrypoint: refusal.job.command.clone(),
        ..details(&refusal.as_ended(), None, None, None)
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

/// Where queued jobs stand, for lists, in which a whole explanation of each would cost too much.
pub struct Places(Option<decide::Places>);

impl Places {
    /// Of all that wait now, unless that are so many that lists do without it.
    #[must_use]
    pub fn of(state: &State, moment: &Moment) -> Places {
        let few = (1..=1000).contains(&state.queued_count());
        Places(few.then(|| decide::Places::of(state, moment)))
    }

    /// A job's place in one line; `None` when it does not wait.
    #[must_use]
    pub fn short_wait(&self, job: &Job) -> Option<String> {
        let p = self.0.as_ref()?.get(job)?;
        Some(format!("curb: queued, position {} of {}", p.position, p.of))
    }
}
