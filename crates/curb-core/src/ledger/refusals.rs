//! Refusals that are told as failed jobs.
//!
//! They hold nothing, wait for nothing and were never given to Ray. So they have a table of their own: however many there
//! are, they take no place from a real job, and an id in it is taken for its submitter only. The table is bounded for each
//! user, in all, and by age; what is in it is a function of the events alone.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::event::{FailedJob, NewJob, Outcome};
use super::job::{End, Job, Phase};
use crate::resource::Resources;
use crate::subject::{JobId, Subject};
use crate::time::{Millis, Timestamp};

/// A refusal that is told as a failed job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Number of its event.
    pub seq: u64,
    /// When it was refused.
    pub at: Timestamp,
    /// Who asked.
    pub subject: Subject,
    /// On which cluster it was to run.
    pub cluster: String,
    /// How much was asked.
    pub request: Resources,
    /// What is told.
    pub job: FailedJob,
}

impl Refusal {
    /// As a job that failed before it held anything.
    #[must_use]
    pub fn as_ended(&self) -> Job {
        Job {
            new: NewJob {
                id: self.job.id.clone(),
                subject: self.subject.clone(),
                cluster: self.cluster.clone(),
                request: self.request.clone(),
                duration: None,
                priority: 0,
                spec: self.job.spec.clone(),
                stamp: String::new(),
                key: self.job.key.clone(),
            },
            seq: self.seq,
            submitted: self.at,
            attempt: 1,
            promised: false,
            phase: Phase::Ended(End {
                at: self.at,
                outcome: Outcome::Failed,
                message: self.job.text.clone(),
                exit_code: None,
                granted: None,
                ran: None,
            }),
            stop: None,
            served: None,
            hidden: false,
            would_wait: false,
            exceedances: Vec::new(),
            exempt: None,
        }
    }
}

/// The newest refusals that are told as failed jobs.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    all: BTreeMap<u64, Refusal>,
    /// Numbers by id and then user: an id may be refused to several users.
    by_id: HashMap<JobId, BTreeMap<String, u64>>,
    /// Numbers by user, oldest first.
    by_user: HashMap<String, VecDeque<u64>>,
}

impl Refusals {
    /// So many of one user are kept: the newest.
    pub const PER_USER: usize = 100;
    /// So many are kept in all: the newest. With the bounds of [`FailedJob`], that is at most 30 MiB.
    pub const TOTAL: usize = 5_000;
    /// How long one is kept.
    pub const AGE: Millis = Millis(30 * Millis::DAY.0);
    /// So many of one user in [`Refusals::WITHIN`] are told as jobs; more are told at once, as an error. So a client in a
    /// loop cannot fill the journal.
    pub const AT_ONCE: usize = 60;
    /// See [`Refusals::AT_ONCE`].
    pub const WITHIN: Millis = Millis::MINUTE;

    /// What this user was told under this id.
    #[must_use]
    pub fn get(&self, user: &str, id: &JobId) -> Option<&Refusal> {
        self.all.get(self.by_id.get(id)?.get(user)?)
    }

    /// The newest under this id, whoever's it is.
    #[must_use]
    pub fn newest(&self, id: &JobId) -> Option<&Refusal> {
        self.all.get(self.by_id.get(id)?.values().max()?)
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Refusal> {
        self.all.values()
    }

    /// Those of one user, oldest first.
    pub fn of<'a>(&'a self, user: &str) -> impl Iterator<Item = &'a Refusal> {
        let numbers = self.by_user.get(user).into_iter().flatten();
        numbers.filter_map(|seq| self.all.get(seq))
    }

    /// Whether one more of this user may be told as a job at this time.
    #[must_use]
    pub fn room_for(&self, user: &str, now: Timestamp) -> bool {
        let Some(mine) = self.by_user.get(user) else {
            return true;
        };
        let Some(nth) = mine.len().checked_sub(Refusals::AT_ONCE) else {
            return true;
        };
        // What a user deleted does not count any more: that is as often as somebody may submit and stop.
        let oldest = mine.get(nth).and_then(|seq| self.all.get(seq));
        oldest.is_none_or(|r| now.since(r.at) >= Refusals::WITHIN)
    }

    /// Keeps one, and forgets what is past the bounds.
    pub(super) fn keep(&mut self, refusal: Refusal) {
        let now = refusal.at;
        self.forget(&refusal.subject.user, &refusal.job.id);
        let mine = self.by_user.get(&refusal.subject.user);
        let full = mine.filter(|mine| mine.len() >= Refusals::PER_USER);
        if let Some(seq) = full.and_then(|mine| mine.front().copied()) {
            self.drop_number(seq);
        }
        while let Some((seq, oldest)) = self.all.first_key_value() {
            if self.all.len() < Refusals::TOTAL && now.since(oldest.at) < Refusals::AGE {
                break;
            }
            let seq = *seq;
            self.drop_number(seq);
        }
        self.put(refusal);
    }

    /// Puts one in as it is.
    pub(super) fn put(&mut self, refusal: Refusal) {
        let (seq, user) = (refusal.seq, refusal.subject.user.clone());
        let id = refusal.job.id.clone();
        self.by_id.entry(id).or_default().insert(user.clone(), seq);
        self.by_user.entry(user).or_default().push_back(seq);
        self.all.insert(seq, refusal);
    }

    /// Forgets one.
    pub(super) fn forget(&mut self, user: &str, id: &JobId) {
        let number = self.by_id.get(id).and_then(|users| users.get(user));
        if let Some(seq) = number.copied() {
            self.drop_number(seq);
        }
    }

    fn drop_number(&mut self, seq: u64) {
        let Some(refusal) = self.all.remove(&seq) else {
            return;
        };
        if let Some(users) = self.by_id.get_mut(&refusal.job.id) {
            users.remove(&refusal.subject.user);
            if users.is_empty() {
                self.by_id.remove(&refusal.job.id);
            }
        }
        if let Some(mine) = self.by_user.get_mut(&refusal.subject.user) {
            mine.retain(|other| *other != seq);
            if mine.is_empty() {
                self.by_user.remove(&refusal.subject.user);
            }
        }
    }
}
