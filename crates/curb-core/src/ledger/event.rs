//! The events of the journal: everything that changes who may use what.
//!
//! An event says what was decided or learnt, never why it may be: [`super::State::apply`] takes it as a fact. The variants
//! are externally tagged JSON; the tag is the `kind` column of the journal. A variant or a field, once released, keeps
//! its meaning; new fields have defaults.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::decide::Shadow;
use crate::policy::{Excess, Mode, Policy, Selector, Step};
use crate::resource::{Resource, Resources};
use crate::subject::{JobId, Role, Subject};
use crate::time::{Millis, Timestamp};

/// An event with its place in the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Its number, from 1, without gaps.
    pub seq: u64,
    /// When it was decided. Never before the event ahead of it.
    pub at: Timestamp,
    /// What.
    pub event: Event,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A policy is in force from here on. Its text is kept beside the journal under its hash.
    PolicyApplied {
        /// Counts up from 1.
        version: u32,
        /// SHA-256 of the text, in hex.
        sha256: String,
        /// What it means.
        policy: Box<Policy>,
        /// Who applied it: a user, or `file` when the server read it.
        by: String,
    },
    /// Refusals and waits are enforced or only recorded, whatever the policy says; `None` returns to the policy.
    ModeSet {
        /// The mode.
        mode: Option<Mode>,
        /// Who.
        by: String,
        /// Why.
        why: String,
    },
    /// A cluster was looked at. A session other than the one before quarantines what was open there.
    ClusterObserved {
        /// The cluster's name in Curb.
        cluster: String,
        /// The name of Ray's session: which incarnation of the cluster it is.
        session: String,
        /// What it has in all; `None`: that could not be read, and what was known before stays.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        capacity: Option<Resources>,
    },
    /// A job may run now: its grant is reserved, and Ray is about to be told.
    Admitted {
        /// The job.
        job: Box<NewJob>,
        /// Whether it goes above a limit on borrowed capacity.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        borrowed: bool,
        /// Above the limits of which quotas, by name. Empty where it borrows nothing, and where an older version of Curb
        /// wrote it: then of all that may have lent it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lent_by: Vec<String>,
        /// What would have stopped it, had it been enforced.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shadow: Vec<Shadow>,
    },
    /// A job waits.
    Queued {
        /// The job.
        job: Box<NewJob>,
        /// What it waits for first: a reason code.
        code: String,
        /// What would have stopped it in rules that are only recorded.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shadow: Vec<Shadow>,
    },
    /// A waiting job may run now: its grant is reserved, and Ray is about to be told.
    Granted {
        /// The job.
        id: JobId,
        /// Whether it goes above a limit on borrowed capacity.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        borrowed: bool,
        /// Above the limits of which quotas, by name. Empty where it borrows nothing, and where an older version of Curb
        /// wrote it: then of all that may have lent it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lent_by: Vec<String>,
    },
    /// Ray has taken the job.
    Confirmed {
        /// The job.
        id: JobId,
        /// Which attempt.
        attempt: u32,
        /// In which session of Ray.
        session: String,
    },
    /// It is proven that this attempt does not run and never will: nothing was sent, or its id was claimed.
    NotStarted {
        /// The job.
        id: JobId,
        /// Which attempt.
        attempt: u32,
        /// What comes of the job.
        then: AfterNotStarted,
        /// Why, for people.
        why: String,
    },
    /// Ray says, in the session that took it, that the job is over.
    Ended {
        /// The job.
        id: JobId,
        /// How.
        outcome: Outcome,
        /// Ray's message.
        message: String,
        /// Exit code of the driver, when it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// When Ray says that it began and ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ran: Option<(Timestamp, Timestamp)>,
    },
    /// Somebody wants a job to stop. A waiting job is over with this; a running one is being stopped.
    StopRequested {
        /// The job.
        id: JobId,
        /// Who: a user, or `curb`.
        by: String,
        /// Why.
        why: String,
    },
    /// A running job takes more than it was granted, and a quota's ladder says what happens then.
    Exceeded {
        /// The job.
        id: JobId,
        /// Which attempt.
        attempt: u32,
        /// By the ladder of which quota.
        quota: String,
        /// Of what.
        excess: Excess,
        /// The evidence, for people: `holds 3 CPU in Ray, granted 1 CPU`.
        found: String,
    },
    /// It does so no longer, and nothing came of it but what was done by then.
    Within {
        /// The job.
        id: JobId,
        /// Which attempt.
        attempt: u32,
        /// By the ladder of which quota.
        quota: String,
        /// Of what.
        excess: Excess,
    },
    /// A step of a ladder was due.
    Stepped {
        /// The job.
        id: JobId,
        /// Which attempt.
        attempt: u32,
        /// By the ladder of which quota.
        quota: String,
        /// Of what.
        excess: Excess,
        /// What is done.
        step: Step,
        /// The evidence at this moment, for people.
        found: String,
        /// That it is only recorded: the quota is in `mode: audit`, or nothing is enforced.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        only_recorded: bool,
    },
    /// What was seen of what a job really held, since that was last written down.
    Metered {
        /// The job. It may be over by now.
        id: JobId,
        /// Which attempt.
        attempt: u32,
        /// What it held at least, in the resource's smallest unit times milliseconds.
        held: BTreeMap<Resource, u128>,
        /// In how long.
        watched: Millis,
    },
    /// A job is out of reach of ladders until a time, whatever it takes; a time that is past ends that.
    Exempted {
        /// The job.
        id: JobId,
        /// The first moment without it.
        until: Timestamp,
        /// Who.
        by: String,
        /// Why.
        why: String,
    },
    /// The owner does not want to see an ended job any more. Its id stays taken.
    Hidden {
        /// The job.
        id: JobId,
        /// Who.
        by: String,
        /// That a refusal which this user was told as a job is meant, and not a job. It is forgotten, and its id is free.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
    },
    /// An operator vouches that nothing of a quarantined job runs any more.
    Released {
        /// The job.
        id: JobId,
        /// Who.
        by: String,
        /// Why it is believed.
        why: String,
    },
    /// A submission was refused.
    Refused {
        /// Who asked.
        subject: Subject,
        /// On which cluster.
        cluster: String,
        /// For how much.
        request: Resources,
        /// HTTP status.
        status: u16,
        /// The binding violation and the others.
        violations: Vec<Shadow>,
        /// That it is told as a job that failed, and how; otherwise it was told at once and is kept for the audit only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        as_job: Option<Box<FailedJob>>,
    },
    /// More refusals of the same kind followed within a short time and are only counted.
    RefusalsCounted {
        /// Who asked.
        user: String,
        /// The binding violation's code.
        code: String,
        /// How many.
        count: u64,
    },
    /// A temporary change of limits.
    OverrideAdded(Override),
    /// It was taken back.
    OverrideRemoved {
        /// Which.
        id: u64,
        /// Who.
        by: String,
    },
    /// A token was made. Only its hash is kept.
    TokenCreated(Token),
    /// A token is no longer valid.
    TokenRevoked {
        /// Which.
        id: String,
        /// Who.
        by: String,
    },
}

/// A job as it was asked for and is charged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// Who it is charged to.
    pub subject: Subject,
    /// On which cluster.
    pub cluster: String,
    /// What it is charged: the larger of declared and entrypoint, or the defaults.
    pub request: Resources,
    /// How long it may run, if that is said by anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Millis>,
    /// Higher goes first.
    #[serde(default)]
    pub priority: i32,
    /// SHA-256 of the whole request, in hex: the key of its body beside the journal.
    pub spec: String,
    /// A random mark that is put in Ray's metadata, by which a record in Ray is known to be ours.
    pub stamp: String,
    /// The client's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// A refusal as it is told in the `job` style: a job that failed before it began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedJob {
    /// The id under which its submitter finds it. Ray never hears of it.
    pub id: JobId,
    /// SHA-256 of the whole request, in hex, by which the same is known when it is sent again.
    pub spec: String,
    /// The client's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The command, cut to [`FailedJob::MAX_COMMAND`].
    pub command: String,
    /// The refusal, as its submitter was told it, cut to [`FailedJob::MAX_TEXT`].
    pub text: String,
}

impl FailedJob {
    /// Bytes of the command that are kept.
    pub const MAX_COMMAND: usize = 1 << 10;
    /// Bytes of the text that are kept.
    pub const MAX_TEXT: usize = 4 << 10;

    /// With its texts cut to their bounds, between two characters.
    #[must_use]
    pub fn cut(mut self) -> FailedJob {
        for (text, most) in [
            (&mut self.command, FailedJob::MAX_COMMAND),
            (&mut self.text, FailedJob::MAX_TEXT),
        ] {
            text.truncate(text.floor_char_boundary(most));
            text.shrink_to_fit();
        }
        self
    }
}

/// What comes of a job whose attempt did not start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterNotStarted {
    /// It waits again, in its old place, for its next attempt.
    Requeue,
    /// It is over: it failed.
    Fail,
    /// It is over: it was to be stopped.
    Stop,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Exit code 0.
    Succeeded,
    /// It failed, or never started.
    Failed,
    /// It was stopped.
    Stopped,
}

/// A temporary change of limits: more or less, for whom, until when, by whom, why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Counts up from 1.
    pub id: u64,
    /// Whose buckets: those that are kept for exactly these (for `user: ana` the bucket of ana in every quota that has
    /// one for each user).
    pub selector: Selector,
    /// In one quota only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<String>,
    /// How much more or less, in the resource's smallest unit.
    pub amounts: BTreeMap<Resource, i64>,
    /// How many more or fewer running jobs.
    #[serde(default)]
    pub jobs: i64,
    /// The first moment without it.
    pub until: Timestamp,
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
}

/// A token's public part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its public id, by which it is listed and revoked.
    pub id: String,
    /// SHA-256 of the secret (which has 256 random bits, so that a plain hash is enough), in hex.
    pub hash: String,
    /// Whose.
    pub user: String,
    /// What they may do.
    pub role: Role,
    /// Labels that it adds to the user's jobs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The first moment at which it is no longer valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Who made it.
    pub by: String,
    /// When.
    pub created: Timestamp,
}

impl Event {
    /// All that [`Event::kind`] can say.
    pub const KINDS: [&str; 23] = [
        "policy_applied",
        "mode_set",
        "cluster_observed",
        "admitted",
        "queued",
        "granted",
        "confirmed",
        "not_started",
        "ended",
        "stop_requested",
        "exceeded",
        "within",
        "stepped",
        "metered",
        "exempted",
        "hidden",
        "released",
        "refused",
        "refusals_counted",
        "override_added",
        "override_removed",
        "token_created",
        "token_revoked",
    ];

    /// The tag of the variant, as in its JSON form and in the journal's `kind` column.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Event::PolicyApplied { .. } => "policy_applied",
            Event::ModeSet { .. } => "mode_set",
            Event::ClusterObserved { .. } => "cluster_observed",
            Event::Admitted { .. } => "admitted",
            Event::Queued { .. } => "queued",
            Event::Granted { .. } => "granted",
            Event::Confirmed { .. } => "confirmed",
            Event::NotStarted { .. } => "not_started",
            Event::Ended { .. } => "ended",
            Event::StopRequested { .. } => "stop_requested",
            Event::Exceeded { .. } => "exceeded",
            Event::Within { .. } => "within",
            Event::Stepped { .. } => "stepped",
            Event::Metered { .. } => "metered",
            Event::Exempted { .. } => "exempted",
            Event::Hidden { .. } => "hidden",
            Event::Released { .. } => "released",
            Event::Refused { .. } => "refused",
            Event::RefusalsCounted { .. } => "refusals_counted",
            Event::OverrideAdded(_) => "override_added",
            Event::OverrideRemoved { .. } => "override_removed",
            Event::TokenCreated(_) => "token_created",
            Event::TokenRevoked { .. } => "token_revoked",
        }
    }
}
