//! Why a job cannot start now: one value a limit, with the numbers.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::forecast::{DOWN, UNREAD};
use crate::amount::{Amount, MILLI, Unit, write_decimal};
use crate::resource::{Resource, Resources};
use crate::time::{Millis, Timestamp};

/// The stable code of a reason. Each has a page in `docs/reasons/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The job type is not defined, or the subject may not use it.
    JobType,
    /// The subject may not use the cluster.
    ClusterAccess,
    /// More than one job may ask for.
    PerJobLimit,
    /// Longer than one job may run.
    DurationLimit,
    /// It does not say how long it runs, and a budget takes only jobs that do.
    DurationNeeded,
    /// A higher priority than the job type allows.
    PriorityLimit,
    /// More than the bucket may hold at once.
    ConcurrentLimit,
    /// More running jobs than the bucket may have.
    JobsLimit,
    /// More queued jobs than the bucket may have.
    QueuedLimit,
    /// Submitted too fast.
    SubmitRate,
    /// The budget of the period is used up, or would be.
    Budget,
    /// The cluster has not so much free, or at all.
    Capacity,
    /// What the cluster has could not be read yet.
    CapacityUnknown,
    /// What is free is kept for others' guarantees.
    Guarantee,
    /// It would have to borrow what somebody entitled waits for.
    Borrowing,
    /// Somebody has waited past the bound for the same.
    Turn,
    /// Starts are paced, so that Ray's head node lives.
    StartRate,
    /// The cluster cannot be reached.
    ClusterDown,
}

impl Code {
    /// All codes.
    pub const ALL: [Code; 18] = [
        Code::JobType,
        Code::ClusterAccess,
        Code::PerJobLimit,
        Code::DurationLimit,
        Code::DurationNeeded,
        Code::PriorityLimit,
        Code::ConcurrentLimit,
        Code::JobsLimit,
        Code::QueuedLimit,
        Code::SubmitRate,
        Code::Budget,
        Code::Capacity,
        Code::CapacityUnknown,
        Code::Guarantee,
        Code::Borrowing,
        Code::Turn,
        Code::StartRate,
        Code::ClusterDown,
    ];

    /// The text form, as in the documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Code::JobType => "job-type",
            Code::ClusterAccess => "cluster-access",
            Code::PerJobLimit => "per-job-limit",
            Code::DurationLimit => "duration-limit",
            Code::DurationNeeded => "duration-needed",
            Code::PriorityLimit => "priority-limit",
            Code::ConcurrentLimit => "concurrent-limit",
            Code::JobsLimit => "jobs-limit",
            Code::QueuedLimit => "queued-limit",
            Code::SubmitRate => "submit-rate",
            Code::Budget => "budget",
            Code::Capacity => "capacity",
            Code::CapacityUnknown => "capacity-unknown",
            Code::Guarantee => "guarantee",
            Code::Borrowing => "borrowing",
            Code::Turn => "turn",
            Code::StartRate => "start-rate",
            Code::ClusterDown => "cluster-down",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A number with what it counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// An amount of a resource.
    Amount {
        /// Of what.
        resource: Resource,
        /// How much.
        amount: Amount,
    },
    /// A number of jobs.
    Jobs(u64),
    /// A span of time.
    Time(Millis),
    /// An amount of a resource for a time, in the resource's smallest unit times milliseconds.
    ResourceTime {
        /// Of what.
        resource: Resource,
        /// How much.
        amount: u128,
    },
    /// So many in so long.
    Rate {
        /// How many.
        count: u32,
        /// In how long.
        per: Millis,
    },
    /// A priority.
    Priority(i32),
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Quantity::Amount { resource, amount } => {
                write!(f, "{} {}", resource.show(*amount), resource.label())
            }
            Quantity::Jobs(1) => f.write_str("1 job"),
            Quantity::Jobs(n) => write!(f, "{n} jobs"),
            Quantity::Time(t) => write!(f, "{t}"),
            Quantity::ResourceTime { resource, amount } => {
                f.write_str(&hours(resource, *amount, 3, Round::Down))
            }
            Quantity::Rate { count, per } => write!(f, "{count} in {per}"),
            Quantity::Priority(p) => write!(f, "{p}"),
        }
    }
}

/// Which way a number is rounded that has more digits than are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// What is there, or left.
    Down,
    /// What is used, or too much.
    Up,
}

/// One resource for an hour, in its smallest unit times milliseconds, and what that is called.
fn hour_of(resource: &Resource) -> (u128, String) {
    let (unit, name) = match resource.unit() {
        Unit::Milli => (u128::from(MILLI), resource.label()),
        Unit::Bytes => (1u128 << 30, "memory GiB".to_owned()),
    };
    (unit * u128::from(Millis::HOUR.0), name)
}

/// Resource-time in hours without its name, with at most so many decimals.
fn hours_number(resource: &Resource, amount: u128, places: u32, round: Round) -> String {
    let (hour, _) = hour_of(resource);
    let scale = 10u128.pow(places);
    let scaled = amount.saturating_mul(scale);
    let shown = match round {
        Round::Down => scaled / hour,
        Round::Up => scaled.div_ceil(hour),
    };
    decimal(shown, places)
}

fn decimal(shown: u128, places: u32) -> String {
    struct Shown(u128, u32);
    impl fmt::Display for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write_decimal(f, self.0, 10u128.pow(self.1), self.1)
        }
    }
    Shown(shown, places).to_string()
}

fn hours(resource: &Resource, amount: u128, places: u32, round: Round) -> String {
    named(&hours_number(resource, amount, places, round), resource)
}

fn named(number: &str, resource: &Resource) -> String {
    let (_, name) = hour_of(resource);
    let s = if number == "1" { "" } else { "s" };
    format!("{number} {name}-hour{s}")
}

/// Used, limit and left of a budget in hours, without their name, so that they add up as they are shown and what is left
/// is really left.
#[must_use]
pub fn budget_numbers(resource: &Resource, used: u128, limit: u128) -> (String, String, String) {
    let (hour, _) = hour_of(resource);
    let places = places(hour, limit, &[used]);
    let scaled = |amount: u128| amount.saturating_mul(10u128.pow(places));
    let whole = scaled(limit) / hour;
    let used = scaled(used).div_ceil(hour);
    let left = whole.saturating_sub(used);
    let shown = |n| decimal(n, places);
    (shown(used), shown(whole), shown(left))
}

/// How many decimals it takes to show amounts as they are; three where that does not do, more where a limit needs them.
fn places(hour: u128, limit: u128, others: &[u128]) -> u32 {
    let exact = |amount: u128, places: u32| {
        amount
            .saturating_mul(10u128.pow(places))
            .is_multiple_of(hour)
    };
    let all = |p: &u32| exact(limit, *p) && others.iter().all(|o| exact(*o, *p));
    (0..=3)
        .find(all)
        .or_else(|| (3..=6).find(|p| exact(limit, *p)))
        .unwrap_or(6)
}

/// When a limit could be met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// When running jobs end; at about this time if they end as they said.
    JobsEnd(Option<Timestamp>),
    /// At this moment: a budget's new period, a window's end, a rate's next turn, a quota's end.
    At(Timestamp),
    /// Once others that are ahead have started.
    Turn,
    /// When the cluster is back.
    ClusterBack,
    /// When Ray has said what the cluster has.
    CapacityKnown,
    /// Not under this policy.
    PolicyChange,
    /// Not on this cluster as it is.
    Never,
}

/// Somebody who holds what is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// User.
    pub user: String,
    /// Team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Which job.
    pub job: String,
    /// How much of the resource in question (of running jobs: 1).
    pub holds: Quantity,
    /// When it should end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// One limit that a request would break, or that it waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The stable reason code.
    pub code: Code,
    /// The quota, unless it is the cluster itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<String>,
    /// Which bucket of it: `user ana`, `org research`, `everybody`, `cluster main`.
    pub bucket: String,
    /// The limit in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Quantity>,
    /// What is used of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Quantity>,
    /// What this job asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Quantity>,
    /// By how much that is too much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Quantity>,
    /// When it could fit.
    pub when: When,
    /// Whether the quota refuses rather than queues.
    pub rejects: bool,
    /// Who holds it, largest first, at most [`MAX_HOLDERS`]; not filtered for a viewer yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<Holder>,
    /// How many more hold it.
    #[serde(default)]
    pub more_holders: u64,
    /// Why the quota is there, as the policy says, cut to [`MAX_REASON`] characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What else is to be said (which job types there are, which clusters are open).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Of a budget that has enough left in the present period: the begin of the period that has not, and to which the
    /// numbers belong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Timestamp>,
}

/// So many characters of a quota's reason are told with a violation.
pub const MAX_REASON: usize = 160;

/// At most so many holders are listed with a violation.
pub const MAX_HOLDERS: usize = 5;

/// A violation in short, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadow {
    /// The reason code.
    pub code: Code,
    /// The quota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// Limit, used, asked, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Quantity>,
    /// What was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Quantity>,
    /// What was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Quantity>,
    /// What would have come of it: refused, or queued.
    pub refuse: bool,
}

impl From<&Violation> for Shadow {
    fn from(v: &Violation) -> Shadow {
        Shadow {
            code: v.code,
            quota: v.quota.clone(),
            bucket: v.bucket.clone(),
            limit: v.limit.clone(),
            used: v.used.clone(),
            asked: v.asked.clone(),
            refuse: v.refuses(),
        }
    }
}

impl Violation {
    /// Limit, used, asked and over in words that add up as they are shown. Of a budget, what is used or asked is rounded
    /// up, so that nothing is over by less than it looks.
    #[must_use]
    pub fn numbers(&self) -> [Option<String>; 4] {
        let all = [&self.limit, &self.used, &self.asked, &self.over];
        if let (
            Some(Quantity::ResourceTime {
                resource,
                amount: limit,
            }),
            Some(Quantity::ResourceTime { amount: used, .. }),
            Some(Quantity::ResourceTime { amount: asked, .. }),
            Some(_),
        ) = (&self.limit, &self.used, &self.asked, &self.over)
        {
            let (hour, _) = hour_of(resource);
            let places = places(hour, *limit, &[*used, *asked]);
            let scaled = |amount: &u128| amount.saturating_mul(10u128.pow(places));
            let limit = scaled(limit) / hour;
            let (used, asked) = (scaled(used).div_ceil(hour), scaled(asked).div_ceil(hour));
            let over = used.saturating_add(asked).saturating_sub(limit);
            return [limit, used, asked, over].map(|n| Some(named(&decimal(n, places), resource)));
        }
        all.map(|q| q.as_ref().map(ToString::to_string))
    }

    /// Whether it is refused rather than queued.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.rejects || self.is_hopeless()
    }

    /// Whether no waiting helps.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        matches!(self.when, When::PolicyChange | When::Never)
    }
}

/// The answer to "may it start?".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It may start now.
    Now,
    /// When something ends, opens or is reset.
    Later,
    /// Only under another policy.
    AfterPolicyChange,
    /// The cluster does not have so much.
    Never,
}

/// A decision with its whole reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The answer.
    pub verdict: Verdict,
    /// Whether a submission would be refused (rather than started or queued).
    pub refused: bool,
    /// The HTTP status of the answer to a submission: 200, 422, 429 or 503.
    pub status: u16,
    /// What it is charged.
    pub request: Resources,
    /// For how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Millis>,
    /// All limits in the way, the binding one first.
    pub violations: Vec<Violation>,
    /// Limits that are only recorded (audit, observe) and would have been in the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recorded: Vec<Violation>,
    /// The largest part of the request that would start now; `None` when nothing of it would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fits_now: Option<Resources>,
    /// When it could start, if that can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Timestamp>,
    /// Of a job that waits or would wait: why it cannot be said when it will start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

impl Explanation {
    /// Takes over what the queue is expected to do.
    pub(crate) fn expect(&mut self, expected: Result<Timestamp, &'static str>) {
        match expected {
            Ok(at) => (self.expected, self.unknown) = (Some(at), None),
            Err(why) => {
                let unread = self
                    .violations
                    .iter()
                    .any(|v| v.code == Code::CapacityUnknown);
                // Only that the cluster is away comes before it: then nobody can read what it has.
                let waits = matches!(self.verdict, Verdict::Now | Verdict::Later);
                let why = if unread && waits && why != DOWN {
                    UNREAD
                } else {
                    why
                };
                (self.expected, self.unknown) = (None, Some(why.to_owned()));
            }
        }
    }
}
