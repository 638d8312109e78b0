//! A job as the ledger knows it.

use serde::{Deserialize, Serialize};

use super::event::{NewJob, Outcome};
use crate::policy::{Excess, Step};
use crate::time::Timestamp;

/// A job and where it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// What was asked for.
    pub new: NewJob,
    /// Number of the event that brought it in: its age in the queue.
    pub seq: u64,
    /// When it came in.
    pub submitted: Timestamp,
    /// Counts up from 1 with each attempt to start it.
    pub attempt: u32,
    /// Whether its submitter was told that it waits (so that it must run some time).
    pub promised: bool,
    /// Where it stands.
    pub phase: Phase,
    /// Somebody wants it stopped: who and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopWish>,
    /// Where it takes more than it was granted, by quota and kind. Bounded by the policy: at most one for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceedances: Vec<Exceedance>,
    /// Until when no ladder acts on it, with who said so and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exempt: Option<Exemption>,
    /// While it waits: when an older job of its user last left the queue for the same cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<Timestamp>,
    /// Its owner does not want to see it any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
    /// It was taken at once, but would have had to wait if all that is only recorded had been enforced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub would_wait: bool,
}

/// Who wants a job stopped, why and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopWish {
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
    /// Since when.
    pub at: Timestamp,
}

/// That no ladder acts on a job for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exemption {
    /// The first moment without it.
    pub until: Timestamp,
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
}

/// That a running job takes more than it was granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exceedance {
    /// By the ladder of which quota.
    pub quota: String,
    /// Of what.
    pub excess: Excess,
    /// Since when.
    pub since: Timestamp,
    /// The evidence when it began, and since the last step when that was due.
    pub found: String,
    /// How far the ladder was climbed, with when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<(Step, Timestamp)>,
    /// That the steps were only recorded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_recorded: bool,
}

/// A grant: what a job was given, since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Since when it is held.
    pub since: Timestamp,
    /// Whether it went above a limit on borrowed capacity.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub borrowed: bool,
    /// Above the limits of which quotas, by name; empty where that was not recorded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lent_by: Vec<String>,
    /// Ray's session when it was reserved; the one that took it once that is known. Empty when none was known.
    pub session: String,
}

/// Where a job stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It waits in Curb; Ray has not heard of it.
    Queued,
    /// Its grant is held; whether Ray has it is not yet known.
    Reserved(Grant),
    /// Ray has it.
    Running(Grant),
    /// Ray's session changed under it: its grant is held until somebody proves that it is over.
    Quarantined(Grant),
    /// It is over. Nothing is held.
    Ended(End),
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When Curb learnt it.
    pub at: Timestamp,
    /// How.
    pub outcome: Outcome,
    /// Why, for people.
    pub message: String,
    /// Exit code of the driver, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Since when its grant was held, if it ever had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Timestamp>,
    /// When Ray says that it began and ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ran: Option<(Timestamp, Timestamp)>,
}

impl Job {
    /// The grant, while one is held.
    #[must_use]
    pub fn grant(&self) -> Option<&Grant> {
        match &self.phase {
            Phase::Reserved(g) | Phase::Running(g) | Phase::Quarantined(g) => Some(g),
            Phase::Queued | Phase::Ended(_) => None,
        }
    }

    /// Whether it is out of reach of ladders at a moment.
    #[must_use]
    pub fn is_exempt(&self, now: Timestamp) -> bool {
        self.exempt.as_ref().is_some_and(|e| now < e.until)
    }

    /// The moment at which it should be over: start and duration. `None` when it holds nothing or said nothing.
    #[must_use]
    pub fn expected_end(&self) -> Option<Timestamp> {
        Some(self.grant()?.since.after(self.new.duration?))
    }

    /// Since when it waits without an older job of its user having been started: what `pass_bound` is held against.
    #[must_use]
    pub fn passed_since(&self) -> Timestamp {
        self.served
            .map_or(self.submitted, |t| t.max(self.submitted))
    }

    /// The id of the present attempt in Ray.
    #[must_use]
    pub fn ray_id(&self) -> String {
        self.new.id.ray_id(self.attempt)
    }

    /// Whether it waits.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        matches!(self.phase, Phase::Queued)
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }
}
