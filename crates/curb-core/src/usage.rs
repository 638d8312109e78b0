//! Resource-time by grant: who had what for how long, as the journal says it.
//!
//! A fold of its own over the same events as [`crate::ledger::State`], which forgets what is over. It keeps only what is open;
//! what it learns of grants it tells as [`Change`]s, for a table that holds them all. Total, as the ledger's.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::ledger::{AfterNotStarted, Event, NewJob, Recorded};
use crate::resource::{Resource, Resources};
use crate::subject::{JobId, Subject};
use crate::time::{Millis, Timestamp};

/// Amounts of resources for a time, in the resource's smallest unit times milliseconds.
pub type ResourceTime = BTreeMap<Resource, u128>;

/// A job that is not over, as far as its use is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Who it is charged to.
    pub subject: Subject,
    /// On which cluster.
    pub cluster: String,
    /// What it is charged.
    pub request: Resources,
    /// Which attempt.
    pub attempt: u32,
    /// Whether it holds its grant; else it waits.
    pub granted: bool,
    /// Somebody wants it stopped: it does not wait again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopping: bool,
}

/// What an event means to a table of grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A job that is not over is as the book has it now.
    Keep(JobId),
    /// It is over.
    Forget(JobId),
    /// A grant begins.
    Begin {
        /// Whose.
        job: JobId,
        /// Which attempt.
        attempt: u32,
        /// When.
        at: Timestamp,
    },
    /// A grant ends.
    End {
        /// Whose.
        job: JobId,
        /// Which attempt.
        attempt: u32,
        /// When.
        at: Timestamp,
    },
    /// More was seen of what a grant really held.
    Saw {
        /// Whose.
        job: JobId,
        /// Which attempt.
        attempt: u32,
        /// How much, of what.
        held: ResourceTime,
        /// In how long.
        watched: Millis,
    },
}

/// The jobs that are not over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    now: Timestamp,
    open: HashMap<JobId, Open>,
}

impl Book {
    /// A book as it was left.
    #[must_use]
    pub fn restored(now: Timestamp, open: HashMap<JobId, Open>) -> Book {
        Book { now, open }
    }

    /// Time of the last event.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// A job that is not over.
    #[must_use]
    pub fn open(&self, job: &JobId) -> Option<&Open> {
        self.open.get(job)
    }

    /// Takes an event as a fact.
    pub fn apply(&mut self, rec: &Recorded) -> Vec<Change> {
        self.now = self.now.max(rec.at.in_calendar());
        match &rec.event {
            Event::Admitted { job, .. } => self.bring_in(job, true),
            Event::Queued { job, .. } => self.bring_in(job, false),
            Event::Granted { id, .. } => self.grant(id),
            Event::NotStarted {
                id, attempt, then, ..
            } => self.not_started(id, *attempt, then),
            Event::Ended { id, .. } | Event::Released { id, .. } => self.end(id),
            Event::StopRequested { id, .. } => self.stop(id),
            Event::Metered {
                id,
                attempt,
                held,
                watched,
            } => vec![Change::Saw {
                job: id.clone(),
                attempt: *attempt,
                held: held.clone(),
                watched: *watched,
            }],
            _ => Vec::new(),
        }
    }

    fn bring_in(&mut self, job: &NewJob, granted: bool) -> Vec<Change> {
        if self.open.contains_key(&job.id) {
            return Vec::new();
        }
        self.open.insert(
            job.id.clone(),
            Open {
                subject: job.subject.clone(),
                cluster: job.cluster.clone(),
                request: job.request.clone(),
                attempt: 1,
                granted,
                stopping: false,
            },
        );
        let mut changes = vec![Change::Keep(job.id.clone())];
        if granted {
            changes.push(self.begins(&job.id, 1));
        }
        changes
    }

    fn grant(&mut self, id: &JobId) -> Vec<Change> {
        let Some(open) = self.open.get_mut(id).filter(|o| !o.granted) else {
            return Vec::new();
        };
        open.granted = true;
        let attempt = open.attempt;
        vec![Change::Keep(id.clone()), self.begins(id, attempt)]
    }

    fn not_started(&mut self, id: &JobId, attempt: u32, then: &AfterNotStarted) -> Vec<Change> {
        let held = |o: &&mut Open| o.granted && o.attempt == attempt;
        let Some(open) = self.open.get_mut(id).filter(held) else {
            return Vec::new();
        };
        if *then != AfterNotStarted::Requeue || open.stopping {
            return self.end(id);
        }
        open.granted = false;
        open.attempt = attempt.saturating_add(1);
        vec![self.ends(id, attempt), Change::Keep(id.clone())]
    }

    fn stop(&mut self, id: &JobId) -> Vec<Change> {
        match self.open.get_mut(id) {
            None => Vec::new(),
            Some(open) if open.granted => {
                open.stopping = true;
                vec![Change::Keep(id.clone())]
            }
            Some(_) => self.end(id),
        }
    }

    fn end(&mut self, id: &JobId) -> Vec<Change> {
        let Some(open) = self.open.remove(id) else {
            return Vec::new();
        };
        let mut changes = vec![Change::Forget(id.clone())];
        if open.granted {
            changes.push(self.ends(id, open.attempt));
        }
        changes
    }

    fn begins(&self, job: &JobId, attempt: u32) -> Change {
        Change::Begin {
            job: job.clone(),
            attempt,
            at: self.now,
        }
    }

    fn ends(&self, job: &JobId, attempt: u32) -> Change {
        Change::End {
            job: job.clone(),
            attempt,
            at: self.now,
        }
    }
}

/// By what use is summed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// Users.
    User,
    /// Teams.
    Team,
    /// Org units, each with all below it.
    Org,
    /// Job types.
    JobType,
    /// Clusters.
    Cluster,
    /// Values of a label.
    Label(String),
    /// Single jobs.
    Job,
}

/// Why a text is not a [`By`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "use cannot be summed up by `{0}`: write user, team, org, job_type, cluster, job or label:KEY"
)]
pub struct ByError(pub String);

impl std::str::FromStr for By {
    type Err = ByError;
    fn from_str(text: &str) -> Result<By, ByError> {
        Ok(match text {
            "user" => By::User,
            "team" => By::Team,
            "org" => By::Org,
            "job_type" | "job-type" | "type" => By::JobType,
            "cluster" => By::Cluster,
            "job" => By::Job,
            _ => match text.strip_prefix("label:") {
                Some(key) if !key.is_empty() => By::Label(key.to_owned()),
                _ => return Err(ByError(text.to_owned())),
            },
        })
    }
}

impl std::fmt::Display for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            By::User => f.write_str("user"),
            By::Team => f.write_str("team"),
            By::Org => f.write_str("org"),
            By::JobType => f.write_str("job_type"),
            By::Cluster => f.write_str("cluster"),
            By::Label(key) => write!(f, "label:{key}"),
            By::Job => f.write_str("job"),
        }
    }
}

impl By {
    /// Under which names a job is counted: one, or for org units all that it is below; `None` for what has no such name.
    /// Not for [`By::Job`], whose name the subject does not tell.
    #[must_use]
    pub fn names<'a>(&self, subject: &'a Subject, cluster: &'a str) -> Vec<Option<&'a str>> {
        let one = |name: Option<&'a String>| vec![name.map(String::as_str)];
        match self {
            By::User => vec![Some(&subject.user)],
            By::Team => one(subject.team.as_ref()),
            By::Org if subject.orgs.is_empty() => vec![None],
            By::Org => subject.orgs.iter().map(|o| Some(o.as_str())).collect(),
            By::JobType => one(subject.job_type.as_ref()),
            By::Cluster => vec![Some(cluster)],
            By::Label(key) => one(subject.labels.get(key)),
            By::Job => Vec::new(),
        }
    }
}

/// What was used under one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many jobs.
    pub jobs: u64,
    /// Granted.
    pub granted: ResourceTime,
    /// Of what was granted: while it was looked at what the jobs really held.
    pub watched: ResourceTime,
    /// What they held then.
    pub held: ResourceTime,
}

impl Sum {
    /// Adds grants of the same request: how long in all, and how long of that it was looked at what they held.
    pub fn add(&mut self, request: &Resources, granted: u64, watched: u64) {
        for (resource, amount) in request.iter() {
            for (to, span) in [(&mut self.granted, granted), (&mut self.watched, watched)] {
                if span > 0 {
                    let more = u128::from(amount.0) * u128::from(span);
                    let sum = to.entry(resource.clone()).or_insert(0);
                    *sum = sum.saturating_add(more);
                }
            }
        }
    }

    /// Adds what was held, as far as it lies in `part` of `whole`.
    pub fn add_held(&mut self, held: &ResourceTime, part: u64, whole: u64) {
        for (resource, amount) in held {
            let more = match whole {
                0 => *amount,
                _ => share(*amount, part, whole),
            };
            let sum = self.held.entry(resource.clone()).or_insert(0);
            *sum = sum.saturating_add(more);
        }
    }
}

/// `amount * part / whole`, rounded down, without overflow on the way.
#[must_use]
pub fn share(amount: u128, part: u64, whole: u64) -> u128 {
    let (part, whole) = (u128::from(part), u128::from(whole.max(1)));
    let rest = (amount % whole).saturating_mul(part) / whole;
    (amount / whole).saturating_mul(part).saturating_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_to_be_stopped_does_not_wait_again() {
        let id = JobId::parse("a").expect("an id");
        let open = Open {
            subject: Subject::default(),
            cluster: "main".into(),
            request: Resources::none(),
            attempt: 1,
            granted: true,
            stopping: false,
        };
        let mut book = Book::restored(Timestamp(0), [(id.clone(), open)].into());
        let stop = Event::StopRequested {
            id: id.clone(),
            by: "ana".into(),
            why: String::new(),
        };
        let requeue = Event::NotStarted {
            id: id.clone(),
            attempt: 1,
            then: AfterNotStarted::Requeue,
            why: String::new(),
        };
        let mut take = |seq: u64, event| {
            book.apply(&Recorded {
                seq,
                at: Timestamp(seq.cast_signed()),
                event,
            })
        };
        assert_eq!(take(1, stop), [Change::Keep(id.clone())]);
        let at = Timestamp(2);
        let ends = Change::End {
            job: id.clone(),
            attempt: 1,
            at,
        };
        assert_eq!(take(2, requeue), [Change::Forget(id.clone()), ends]);
        assert_eq!(book.open(&id), None);
    }

    #[test]
    fn a_share_is_exact_and_does_not_overflow() {
        assert_eq!(share(10, 1, 3), 3);
        assert_eq!(share(u128::MAX, 7, 7), u128::MAX);
        assert_eq!(share(5, 3, 0), 15);
    }
}
