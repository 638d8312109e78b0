//! `/curb/v1/jobs`.

use std::fmt;

use curb_core::decide::Violation;
use curb_core::ledger::{Exemption, Job, Outcome, Phase, StopWish};
use curb_core::resource::Resources;
use curb_core::subject::{JobId, Subject};
use curb_core::time::{Millis, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agents::JobUsedView;
use super::held::JobHeldView;
use crate::schema as s;

/// Where a job stands, in one word.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It waits in Curb; Ray has not heard of it.
    Queued,
    /// Its grant is held; whether Ray has it is not yet known.
    Starting,
    /// Ray has it.
    Running,
    /// Ray's session changed under it: its grant is held until somebody proves that it is over.
    Quarantined,
    /// Over, with exit code 0.
    Succeeded,
    /// Over: it failed, or never started.
    Failed,
    /// Over: it was stopped.
    Stopped,
}

impl JobState {
    /// All states.
    pub const ALL: [JobState; 7] = [
        JobState::Queued,
        JobState::Starting,
        JobState::Running,
        JobState::Quarantined,
        JobState::Succeeded,
        JobState::Failed,
        JobState::Stopped,
    ];

    /// The state that a phase is shown as.
    #[must_use]
    pub fn of(phase: &Phase) -> JobState {
        match phase {
            Phase::Queued => JobState::Queued,
            Phase::Reserved(_) => JobState::Starting,
            Phase::Running(_) => JobState::Running,
            Phase::Quarantined(_) => JobState::Quarantined,
            Phase::Ended(end) => match end.outcome {
                Outcome::Succeeded => JobState::Succeeded,
                Outcome::Failed => JobState::Failed,
                Outcome::Stopped => JobState::Stopped,
            },
        }
    }

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            JobState::Queued => "queued",
            JobState::Starting => "starting",
            JobState::Running => "running",
            JobState::Quarantined => "quarantined",
            JobState::Succeeded => "succeeded",
            JobState::Failed => "failed",
            JobState::Stopped => "stopped",
        }
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_ended(self) -> bool {
        matches!(
            self,
            JobState::Succeeded | JobState::Failed | JobState::Stopped
        )
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which jobs to list: a state, `open` (not over) or `all`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StateFilter {
    /// Those that are not over.
    #[default]
    Open,
    /// All that the server still knows.
    All,
    /// Those in one state.
    Only(JobState),
}

/// Why a text is not a [`StateFilter`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a state of jobs: write open, all, queued, starting, running, quarantined, succeeded, failed or stopped"
)]
pub struct StateFilterError(pub String);

impl StateFilter {
    /// The word that is sent as `state=`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StateFilter::Open => "open",
            StateFilter::All => "all",
            StateFilter::Only(state) => state.as_str(),
        }
    }

    /// Whether a job in this state is wanted.
    #[must_use]
    pub fn wants(self, state: JobState) -> bool {
        match self {
            StateFilter::Open => !state.is_ended(),
            StateFilter::All => true,
            StateFilter::Only(only) => only == state,
        }
    }
}

impl std::str::FromStr for StateFilter {
    type Err = StateFilterError;
    fn from_str(text: &str) -> Result<StateFilter, StateFilterError> {
        match text {
            "open" => Ok(StateFilter::Open),
            "all" => Ok(StateFilter::All),
            _ => JobState::ALL
                .into_iter()
                .find(|s| s.as_str() == text)
                .map(StateFilter::Only)
                .ok_or_else(|| StateFilterError(text.chars().take(40).collect())),
        }
    }
}

/// Query of `GET /curb/v1/jobs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobQuery {
    /// `state=`; open ones if not said.
    pub state: StateFilter,
    /// `user=`; for operators, and where the policy lets users see others' jobs.
    pub user: Option<String>,
    /// `cluster=`.
    pub cluster: Option<String>,
    /// `limit=`; at most [`MAX_JOBS`], [`DEFAULT_JOBS`] if not said.
    pub limit: Option<u32>,
    /// `after=`: [`JobPage::next`] of the page before.
    pub after: Option<String>,
}

/// So many jobs in a page, unless a limit is given.
pub const DEFAULT_JOBS: u32 = 100;
/// At most so many jobs in a page.
pub const MAX_JOBS: u32 = 1000;

/// A page of jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobPage {
    /// The jobs, newest first.
    pub jobs: Vec<JobView>,
    /// What to give as `after` for the next page; missing when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobView {
    /// Its id.
    #[schemars(with = "String")]
    pub id: JobId,
    /// Who it is charged to.
    #[schemars(with = "s::Subject")]
    pub subject: Subject,
    /// On which cluster.
    pub cluster: String,
    /// Where it stands.
    pub state: JobState,
    /// What it asked for and is charged.
    #[schemars(with = "s::Resources")]
    pub request: Resources,
    /// What it holds now: all it asked for while it is starting, running or quarantined, else nothing.
    #[serde(default)]
    #[schemars(with = "s::Resources")]
    pub holds: Resources,
    /// What Ray's own scheduler says that it holds; missing where that is not watched, or was not seen since it was
    /// started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<JobHeldView>,
    /// What its processes use, as agents on the nodes see; missing where no node has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<JobUsedView>,
    /// How long it may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<s::Millis>")]
    pub duration: Option<Millis>,
    /// Higher goes first.
    #[serde(default)]
    pub priority: i32,
    /// Which attempt to start it this is, from 1; 0 before the first.
    #[serde(default)]
    pub attempt: u32,
    /// Whether it runs on borrowed capacity, and may be stopped when its owner wants it back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub borrowed: bool,
    /// When it came in.
    #[schemars(with = "s::Timestamp")]
    pub submitted: Timestamp,
    /// Since when it holds (or held) what it was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<s::Timestamp>")]
    pub started: Option<Timestamp>,
    /// When it should be over, if it said how long it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<s::Timestamp>")]
    pub expected_end: Option<Timestamp>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<s::Timestamp>")]
    pub ended: Option<Timestamp>,
    /// What is to be said about it: how it ended, or what it waits for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Exit code of the driver, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Somebody wants it stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<s::StopWish>")]
    pub stop: Option<StopWish>,
    /// Until when it is out of reach of ladders, by whom and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<s::Exemption>")]
    pub exempt: Option<Exemption>,
    /// What it runs; only in the answer for one job, and only for those who may see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<String>,
    /// What it waits for, while it is queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// What a queued job waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    /// Its place in the queue, from 1.
    pub position: u64,
    /// How many wait.
    pub of: u64,
    /// When it could start, if that can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<s::Timestamp>")]
    pub expected: Option<Timestamp>,
    /// Why that cannot be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// The limits in the way, the binding one first. In a list only that one.
    #[schemars(with = "Vec<s::Violation>")]
    pub violations: Vec<Violation>,
}

impl JobView {
    /// Whether it was refused and is only told as a job (`refusal: job` in the policy): it failed, and nobody ever tried to
    /// start it.
    #[must_use]
    pub fn was_refused(&self) -> bool {
        self.state == JobState::Failed && self.attempt == 0
    }

    /// A job as the ledger has it. What needs more than the ledger ([`JobView::entrypoint`], [`JobView::waiting`]) is
    /// left out.
    #[must_use]
    pub fn of(job: &Job) -> JobView {
        let grant = job.grant();
        let end = match &job.phase {
            Phase::Ended(end) => Some(end),
            _ => None,
        };
        JobView {
            id: job.new.id.clone(),
            subject: job.new.subject.clone(),
            cluster: job.new.cluster.clone(),
            state: JobState::of(&job.phase),
            request: job.new.request.clone(),
            holds: grant.map(|_| job.new.request.clone()).unwrap_or_default(),
            held: None,
            used: None,
            duration: job.new.duration,
            priority: job.new.priority,
            attempt: job.attempt,
            borrowed: grant.is_some_and(|g| g.borrowed),
            submitted: job.submitted,
            started: grant.map(|g| g.since).or(end.and_then(|e| e.granted)),
            expected_end: job.expected_end(),
            ended: end.map(|e| e.at),
            message: end.map(|e| e.message.clone()).unwrap_or_default(),
            exit_code: end.and_then(|e| e.exit_code),
            stop: job.stop.clone(),
            exempt: job.exempt.clone(),
            entrypoint: None,
            waiting: None,
        }
    }
}

/// Body of `POST /curb/v1/jobs/{id}/stop`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopRequest {
    /// Why; kept in the journal and shown to the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What came of a wish to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopOutcome {
    /// It waited, and will not run.
    Cancelled,
    /// It runs, and is being stopped.
    Stopping,
    /// It was over already.
    AlreadyEnded,
}

/// Answer to a wish to stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StopReply {
    /// What came of it.
    pub outcome: StopOutcome,
    /// Where the job stands now.
    pub state: JobState,
}

/// Body of `POST /curb/v1/jobs/{id}/release`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// Why it is believed that nothing of the job runs any more. Must not be empty; kept in the journal.
    pub why: String,
}

/// Body of `POST /curb/v1/jobs/{id}/exempt`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExemptRequest {
    /// For how long, in milliseconds, from now; 0 ends it.
    #[serde(rename = "for")]
    #[schemars(with = "s::Millis")]
    pub span: Millis,
    /// Why. Must not be empty; kept in the journal.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_for_jobs_reads_back() {
        for word in ["open", "all"]
            .into_iter()
            .chain(JobState::ALL.map(JobState::as_str))
        {
            assert_eq!(
                word.parse::<StateFilter>().map(StateFilter::as_str),
                Ok(word)
            );
        }
        assert!("pending".parse::<StateFilter>().is_err());
    }

    #[test]
    fn open_is_all_but_what_is_over() {
        for state in JobState::ALL {
            assert_eq!(StateFilter::Open.wants(state), !state.is_ended());
            assert!(StateFilter::All.wants(state) && StateFilter::Only(state).wants(state));
        }
    }
}
