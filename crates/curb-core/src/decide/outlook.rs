//! What is open at a moment, kept apart from the ledger, so that the queue can be run ahead on it by somebody else than
//! the one who owns the ledger; and the explanations that this completes.

use std::sync::{Arc, OnceLock};

use super::forecast::{Expected, Forecast, TOO_MANY};
use super::moment::Moment;
use super::violation::{Explanation, Verdict};
use crate::ledger::{NewJob, State};
use crate::subject::JobId;
use crate::time::{Millis, Timestamp};

/// With more jobs open than this nothing is said.
const MOST_OPEN: usize = 400;
/// How long one is used at the most: a thousand log tails ask each second.
const GOOD_FOR: Millis = Millis(1_000);
/// After a copy of so many parts (jobs, buckets, seats) no other is made for a millisecond: copying them takes about a
/// fiftieth of that, so that whoever owns the ledger gives a fiftieth of its time to it, however much is asked.
const PARTS_A_MS: usize = 25;

const NOT_UNDER_THIS_POLICY: &str =
    "this policy does not let it start; after a policy change it may";
const NOT_ON_THIS_CLUSTER: &str = "its cluster as it is has not so much";

/// Why a job that waits does not start at any time, if it is so.
pub(super) fn hopeless(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::AfterPolicyChange => Some(NOT_UNDER_THIS_POLICY),
        Verdict::Never => Some(NOT_ON_THIS_CLUSTER),
        Verdict::Now | Verdict::Later => None,
    }
}

const JUST_CAME: &str = "it has only just come; ask again in a moment";

/// What is open at a moment.
#[derive(Debug)]
pub struct Outlook {
    at: Timestamp,
    seq: u64,
    /// For how long no other is made, whoever asks.
    rest: Millis,
    moment: Moment,
    /// What is open, and how many starts of it can be foreseen if that is not all; `None`: there is more than is looked
    /// at.
    open: Option<(State, Option<usize>)>,
    /// What the queue will do with those that are in it: found by the first who wants to know.
    forecast: OnceLock<Forecast>,
}

impl Outlook {
    pub(super) fn of(state: &State, moment: &Moment) -> Outlook {
        let open = state.open_only(MOST_OPEN);
        let parts = open.as_ref().map_or(0, |(open, _)| open.parts());
        Outlook {
            at: moment.now,
            seq: state.seq(),
            rest: Millis((parts / PARTS_A_MS) as u64),
            moment: moment.alone(),
            open,
            forecast: OnceLock::new(),
        }
    }

    /// Whether it serves at a time for who wants to know of what came with event `seq`.
    pub(super) fn serves(&self, now: Timestamp, seq: u64) -> bool {
        let age = now.since(self.at);
        self.at <= now && age < GOOD_FOR && (seq <= self.seq || age < self.rest)
    }

    /// Whether to say when the jobs in it start takes no time any more: it was found before, or there is too much.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.open.is_none() || self.forecast.get().is_some()
    }

    fn start_of(&self, id: &JobId, cluster: &str) -> Expected {
        let Some((open, first)) = &self.open else {
            return Forecast::too_many(&self.moment).get(id, cluster);
        };
        if open.job(id).is_none() {
            return Err(first.map_or(JUST_CAME, |_| TOO_MANY));
        }
        let run = || Forecast::of(open.clone(), *first, &self.moment, None);
        self.forecast.get_or_init(run).get(id, cluster)
    }

    fn start_of_comer(&self, job: NewJob) -> Expected {
        let (id, cluster) = (job.id.clone(), job.cluster.clone());
        match &self.open {
            Some((open, first)) => Forecast::of(open.clone(), *first, &self.moment, Some(job)),
            None => Forecast::too_many(&self.moment),
        }
        .get(&id, &cluster)
    }
}

/// An explanation without the expected start, and what finds it: on any thread, in up to some milliseconds.
#[derive(Clone, Debug)]
pub struct Begun {
    told: Explanation,
    of: Option<Of>,
}

#[derive(Clone, Debug)]
struct Of {
    outlook: Arc<Outlook>,
    who: Who,
}

#[derive(Clone, Debug)]
enum Who {
    Waits { id: JobId, cluster: String },
    Comes(Box<NewJob>),
}

impl Begun {
    /// One of which no start is expected.
    pub(super) fn whole(told: Explanation) -> Begun {
        Begun { told, of: None }
    }

    /// Of a job that waits.
    pub(super) fn waits(
        told: Explanation,
        outlook: Arc<Outlook>,
        id: JobId,
        cluster: String,
    ) -> Begun {
        let who = Who::Waits { id, cluster };
        Begun {
            told,
            of: Some(Of { outlook, who }),
        }
    }

    /// Of a job that would wait.
    pub(super) fn comes(told: Explanation, outlook: Arc<Outlook>, job: NewJob) -> Begun {
        let who = Who::Comes(Box::new(job));
        Begun {
            told,
            of: Some(Of { outlook, who }),
        }
    }

    /// Whether the queue has to be run ahead to finish it.
    #[must_use]
    pub fn is_long(&self) -> bool {
        self.of.as_ref().is_some_and(|of| match of.who {
            Who::Waits { .. } => !of.outlook.is_ready(),
            Who::Comes(_) => of.outlook.open.is_some(),
        })
    }

    /// The whole explanation.
    #[must_use]
    pub fn finish(self) -> Explanation {
        let mut told = self.told;
        if let Some(Of { outlook, who }) = self.of {
            told.expect(match who {
                Who::Waits { id, cluster } => outlook.start_of(&id, &cluster),
                Who::Comes(job) => outlook.start_of_comer(*job),
            });
        }
        told
    }

    /// The explanation without an expected start, where one would have to be found, for a reason that is told instead.
    #[must_use]
    pub fn finish_without(self, why: &'static str) -> Explanation {
        if !self.is_long() {
            return self.finish();
        }
        let mut told = self.told;
        told.expect(Err(why));
        told
    }
}
