//! The policy as values: what `policy.yaml` means once it is read and found right.
//!
//! Everything here is checked: names exist, amounts are exact, windows and zones are known. The journal keeps this form
//! (as JSON) beside the text that it came from, so that an old policy means the same to a newer program.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::amount::Amount;
use crate::resource::{Resource, Resources};
use crate::subject::Subject;
use crate::time::{Millis, Timestamp};

/// A whole policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// How much each cluster has.
    pub capacity: Capacity,
    /// IANA zone in which days, weeks and months of budgets begin, and the default of windows. `UTC` if not said.
    pub timezone: String,
    /// Whether refusals and waits are enforced or only recorded.
    pub mode: Mode,
    /// How a refusal reaches the user.
    pub refusal: RefusalStyle,
    /// What happens to submissions while the cluster cannot be reached.
    pub when_ray_is_down: WhenDown,
    /// Org units by name.
    pub orgs: BTreeMap<String, Org>,
    /// Teams by name.
    pub teams: BTreeMap<String, Team>,
    /// Users that need something said of them. A user need not be listed.
    pub users: BTreeMap<String, User>,
    /// Job types by name.
    pub job_types: BTreeMap<String, JobType>,
    /// The type of a job that names none.
    pub default_job_type: Option<String>,
    /// What a job that declares nothing and whose type says nothing is taken to ask for.
    pub default_request: Defaults,
    /// Who may use which cluster; a cluster that is not named is open to all.
    pub clusters: BTreeMap<String, ClusterRule>,
    /// Rules of the queue.
    pub queue: QueueRules,
    /// Who sees what.
    pub visibility: Visibility,
    /// The quotas, in the order of the file.
    pub quotas: Vec<Quota>,
}

/// How much a cluster has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capacity {
    /// What Ray says.
    #[default]
    Discover,
    /// These amounts, for every cluster.
    Fixed(Resources),
    /// These amounts by cluster; a cluster that is not named is discovered.
    PerCluster(BTreeMap<String, Resources>),
}

/// Enforced, or decided and recorded only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Decide and act.
    #[default]
    Enforce,
    /// Decide and record; let it pass. (`observe` for the whole policy, `audit` for one quota.)
    Audit,
}

/// How a refusal reaches the user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalStyle {
    /// An HTTP error whose body says why. Ray's client prints it below a traceback and exits with 1.
    #[default]
    Http,
    /// Accepted, then FAILED with the reason in the log: no traceback, but `--no-wait` says "submitted".
    Job,
}

/// What happens to submissions while a cluster cannot be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenDown {
    /// They are queued and start when it is back.
    #[default]
    Queue,
    /// They get 503 with `Retry-After`.
    Refuse,
}

/// An org unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Org {
    /// The unit above it.
    pub parent: Option<String>,
    /// Its share of its parent, against its siblings. At least 1.
    pub weight: u32,
}

/// A team.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Team {
    /// The org unit it belongs to.
    pub org: Option<String>,
    /// Its members. A user may be in several teams.
    pub members: BTreeSet<String>,
    /// Its share of its org unit. At least 1.
    pub weight: u32,
}

/// What is said of one user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user's share of the team. At least 1.
    pub weight: u32,
    /// The team that jobs are charged to when the job names none (`curb.team`); else the first by name.
    pub default_team: Option<String>,
    /// Labels of all the user's jobs.
    pub labels: BTreeMap<String, String>,
}

/// What a job is taken to ask for where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Defaults {
    /// Amounts. A zero is a default as well: of a type, it goes before the file's.
    pub resources: BTreeMap<Resource, Amount>,
    /// How long it runs.
    pub duration: Option<Millis>,
}

/// A kind of job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobType {
    /// For what the job does not declare.
    pub default_request: Defaults,
    /// Who may use it; nobody named means everybody.
    pub allowed: Vec<Selector>,
    /// The priority of its jobs; higher goes first.
    pub priority: i32,
    /// The highest a job may declare for itself. Lower than `priority` is always allowed.
    pub max_priority: i32,
}

/// Who may use a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterRule {
    /// Who may use it; nobody named means everybody.
    pub allowed: Vec<Selector>,
}

/// Rules of the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueRules {
    /// Past use counts half as much after this time.
    pub half_life: Millis,
    /// A job that has waited longer goes first, whatever its priority, and no other may pass it where it is blocked.
    pub pass_bound: Millis,
}

impl Default for QueueRules {
    fn default() -> Self {
        QueueRules {
            half_life: Millis(7 * Millis::DAY.0),
            pass_bound: Millis::HOUR,
        }
    }
}

/// Who sees what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Visibility {
    /// Whose jobs a user can see (only the own ones can be stopped).
    pub jobs: SeeJobs,
    /// How those who hold what a job waits for are named.
    pub holders: SeeHolders,
}

/// Whose jobs a user sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeeJobs {
    /// Their own.
    #[default]
    Own,
    /// Those of their teams.
    Team,
    /// All.
    All,
}

/// How holders are named to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeeHolders {
    /// By the user's name.
    Names,
    /// By the team's name.
    #[default]
    Teams,
    /// By number only.
    Counts,
}

/// A rule: which subjects it covers, what it limits, what happens above it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Its name, unique in the policy.
    pub name: String,
    /// Why it is there, for people.
    #[serde(default)]
    pub reason: Option<String>,
    /// Which subjects it covers and how they are put in buckets.
    pub selector: Selector,
    /// What all in a bucket may hold at once.
    #[serde(default)]
    pub limits: Limits,
    /// How far a bucket may go above its limits while nobody else wants it.
    #[serde(default)]
    pub borrow: Resources,
    /// How borrowed amounts come back when somebody entitled waits for them.
    #[serde(default)]
    pub reclaim: Reclaim,
    /// Capacity that is kept free for a bucket, whether it uses it or not.
    #[serde(default)]
    pub guarantee: Resources,
    /// The most that one job may ask for.
    #[serde(default)]
    pub per_job: PerJob,
    /// How many submissions a bucket may make. Refused ones do not count.
    #[serde(default)]
    pub submit_rate: Option<Rate>,
    /// Resource-time a bucket may use in a period.
    #[serde(default)]
    pub budgets: Vec<Budget>,
    /// When in the week it applies; always if not said.
    #[serde(default)]
    pub when: Option<Window>,
    /// From and until when it applies.
    #[serde(default)]
    pub valid: Validity,
    /// What happens to a job that is above a limit now but could fit later.
    #[serde(default)]
    pub above: Above,
    /// What happens to a running job that takes more than it was granted, step by step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ladder: Vec<Rung>,
    /// Enforced or recorded only.
    #[serde(default)]
    pub mode: Mode,
    /// At which parts of a limit to alert, in percent, ascending.
    #[serde(default)]
    pub alert_at: Vec<u8>,
}

/// One step of a quota's ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// Of what more was taken.
    pub when: Excess,
    /// How long it has to last.
    pub after: Millis,
    /// What is done.
    pub step: Step,
}

/// Of what a running job can take more than it was granted, or than it may have now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Excess {
    /// It holds more in Ray's scheduler, of something that the quota limits.
    Held,
    /// It runs longer.
    Duration,
    /// The limit was lowered under it: in the file, or since a window or an override ended.
    Limit,
    /// It goes on though a budget is used up.
    Budget,
}

impl Excess {
    /// All kinds, with the words for them in the file.
    pub const WORDS: [(&str, Excess); 4] = [
        ("held", Excess::Held),
        ("duration", Excess::Duration),
        ("limit", Excess::Limit),
        ("budget", Excess::Budget),
    ];
    /// All kinds.
    pub const ALL: [Excess; 4] = [
        Excess::Held,
        Excess::Duration,
        Excess::Limit,
        Excess::Budget,
    ];
}

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Its owner is told where they look: in the job's log and its message.
    Warn,
    /// It is stopped.
    Stop,
}

/// Which subjects a rule covers. Every dimension that is named must match; none named covers everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Selector {
    /// Users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Match>,
    /// Teams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<Match>,
    /// Org units; a unit covers all below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub org: Option<Match>,
    /// Job types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_type: Option<Match>,
    /// Clusters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Match>,
    /// Labels by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Match>,
}

/// What a dimension of a selector matches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    /// Any value, and each has a bucket of its own (`"*"`). A subject without a value is not covered.
    Each,
    /// One of these values, and all of them share a bucket.
    OneOf(BTreeSet<String>),
}

/// What all in a bucket may hold at once. A resource that is not named is unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Amounts; zero means none at all.
    pub resources: BTreeMap<Resource, Amount>,
    /// Running jobs.
    pub jobs: Option<u32>,
    /// Queued jobs.
    pub queued: Option<u32>,
}

/// The most that one job may ask for. What is not named is unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PerJob {
    /// Amounts.
    pub resources: BTreeMap<Resource, Amount>,
    /// How long it may run. A job that declares no duration is given this one.
    pub duration: Option<Millis>,
}

/// How borrowed amounts come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reclaim {
    /// Nothing new is lent, and what runs ends by itself.
    #[default]
    Drain,
    /// The youngest borrowing jobs are stopped once somebody entitled has waited this long.
    StopAfter(Millis),
}

/// At most `count` in any span of `per`, after a burst of `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// How many; at least 1.
    pub count: u32,
    /// In how long; at least 1 ms.
    pub per: Millis,
}

/// Resource-time that a bucket may use in a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Which resource.
    pub resource: Resource,
    /// How much, in the resource's smallest unit times milliseconds (1 GPU-hour = 1000 x 3,600,000).
    pub amount: u128,
    /// In which period.
    pub per: Period,
    /// What comes of a job of which nobody says how long it runs.
    #[serde(default, skip_serializing_if = "WithoutDuration::is_default")]
    pub without_duration: WithoutDuration,
}

/// What a budget does with a job of which nobody says how long it runs, so that what it will use is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithoutDuration {
    /// It starts while anything is left, and is metered as it runs: it may use more than is left.
    #[default]
    Meter,
    /// It is refused: only what can be known to finish within the budget starts.
    Refuse,
}

impl WithoutDuration {
    fn is_default(&self) -> bool {
        *self == WithoutDuration::default()
    }
}

/// The period of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// A calendar day in the policy's zone.
    Day,
    /// A calendar week from Monday.
    Week,
    /// A calendar month.
    Month,
    /// The last so many milliseconds, at every moment.
    Rolling(Millis),
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Period::Day => f.write_str("day"),
            Period::Week => f.write_str("week"),
            Period::Month => f.write_str("month"),
            Period::Rolling(span) => write!(f, "rolling {span}"),
        }
    }
}

/// A part of the week.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Days on which it begins, Monday first; at least one is true.
    pub days: [bool; 7],
    /// Minute of the day at which it begins (0 to 1439).
    pub from: u16,
    /// Minute of the day at which it ends (1 to 1440); at or before `from` means on the next day.
    pub to: u16,
    /// IANA zone.
    pub tz: String,
}

/// From and until when a quota applies. Open ends are always and for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Validity {
    /// The first moment.
    pub from: Option<Timestamp>,
    /// The first moment after it.
    pub until: Option<Timestamp>,
}

/// What happens to a job that is above a limit now but could fit later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Above {
    /// It waits in the queue.
    #[default]
    Queue,
    /// It is refused.
    Reject,
}

impl Policy {
    /// The user's teams, by name.
    pub fn teams_of<'a>(&'a self, user: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.teams
            .iter()
            .filter(move |(_, t)| t.members.contains(user))
            .map(|(name, _)| name.as_str())
    }

    /// Whether a user may see the jobs of a subject. Operators see all, whatever the policy says.
    #[must_use]
    pub fn lets_see(&self, user: &str, whose: &Subject) -> bool {
        let together = |team: &String| self.teams_of(user).any(|mine| mine == team);
        whose.user == user
            || match self.visibility.jobs {
                SeeJobs::Own => false,
                SeeJobs::All => true,
                SeeJobs::Team => whose.team.as_ref().is_some_and(together),
            }
    }

    /// An org unit and all above it, nearest first. A cycle cannot be: the reader refuses one; the walk is bounded all
    /// the same.
    #[must_use]
    pub fn org_path(&self, org: &str) -> Vec<String> {
        let mut path = vec![org.to_owned()];
        let mut at = org;
        while let Some(parent) = self.orgs.get(at).and_then(|o| o.parent.as_deref()) {
            if path.len() >= 32 || path.iter().any(|p| p == parent) {
                break;
            }
            path.push(parent.to_owned());
            at = parent;
        }
        path
    }
}

impl Selector {
    /// Whether nothing is named, so that it covers everybody.
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        *self == Selector::default()
    }
}
