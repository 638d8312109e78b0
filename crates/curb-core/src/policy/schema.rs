//! The fields of a policy file: one table for each map, from which the reader takes the names and the JSON Schema takes
//! names, types and descriptions. What is not in a table does not exist.

mod form;

use super::model::Excess;
use serde_json::json;

pub use form::{schema, schema_draft07};

use super::parse::{MAX_REASON, MAX_SMALL_LIST};
use crate::yaml::form::{Field, field, object, words};
use form::*;

/// The file.
pub(super) const TOP: &[Field] = &[
    field(
        "version",
        || json!({"const": 1}),
        "Version of this format. Required; 1 is the only one.",
    ),
    field(
        "capacity",
        capacity,
        "How much a cluster has: `discover` (what Ray says), amounts for every cluster, or `by_cluster`. Default: discover.",
    ),
    field(
        "timezone",
        zone,
        "IANA zone in which days, weeks and months of budgets begin; the default of windows and dates. Default: UTC.",
    ),
    field(
        "mode",
        || words(&["enforce", "observe"]),
        "`enforce`: decide and act. `observe`: decide and record, let everything pass. Default: enforce.",
    ),
    field(
        "refusal",
        || words(&["http", "job"]),
        "How a refusal reaches the user. `http`: an HTTP error. `job`: accepted, then FAILED with the reason in its log. Default: http.",
    ),
    field(
        "when_ray_is_down",
        || words(&["queue", "refuse"]),
        "What happens to submissions while a cluster cannot be reached: they wait, or get 503. Default: queue.",
    ),
    field(
        "orgs",
        || map_of(|| object(ORG, &[])),
        "Org units by name. A unit that only a team or a parent names need not be listed.",
    ),
    field("teams", || map_of(|| object(TEAM, &[])), "Teams by name."),
    field(
        "users",
        || map_of(|| object(USER, &[])),
        "Users of whom something is to be said. A user need not be listed.",
    ),
    field(
        "job_types",
        || map_of(|| object(JOB_TYPE, &[])),
        "Job types by name.",
    ),
    field(
        "default_job_type",
        name,
        "The type of a job that names none. Default: no type.",
    ),
    field(
        "default_request",
        request,
        "What a job that declares nothing, and whose type says nothing, is taken to ask for. Default: nothing.",
    ),
    field(
        "clusters",
        || map_of(|| object(CLUSTER, &[])),
        "Who may use which cluster, by the cluster's name. A cluster that is not named is open to all.",
    ),
    field("queue", || object(QUEUE, &[]), "Rules of the queue."),
    field("visibility", || object(VISIBILITY, &[]), "Who sees what."),
    field(
        "quotas",
        quotas,
        "The quotas. A job must fit every bucket that covers it.",
    ),
];

/// An org unit.
pub(super) const ORG: &[Field] = &[
    field("parent", name, "The unit above it. Default: none."),
    field(
        "weight",
        weight,
        "Its share of its parent, against its siblings. Default: 1.",
    ),
];

/// A team.
pub(super) const TEAM: &[Field] = &[
    field("org", name, "The org unit it belongs to. Default: none."),
    field(
        "members",
        names,
        "Its members. A user may be in several teams. Default: nobody.",
    ),
    field(
        "weight",
        weight,
        "Its share of its org unit, against the unit's other teams. Default: 1.",
    ),
];

/// What is said of a user.
pub(super) const USER: &[Field] = &[
    field(
        "weight",
        weight,
        "The user's share of the team. Default: 1.",
    ),
    field(
        "default_team",
        name,
        "The team that a job is charged to when it names none. Default: the user's first team by name.",
    ),
    field(
        "labels",
        || json!({"type": "object", "additionalProperties": name(), "propertyNames": name(), "maxProperties": MAX_SMALL_LIST}),
        "Labels of all the user's jobs, for selectors.",
    ),
];

/// A job type.
pub(super) const JOB_TYPE: &[Field] = &[
    field(
        "default_request",
        request,
        "What a job of this type is taken to ask for where it says nothing. Default: nothing.",
    ),
    field(
        "allowed",
        selectors,
        "Who may use it: one selector, or a list of which one must match. Default: everybody.",
    ),
    field(
        "priority",
        priority,
        "Priority of its jobs; higher goes first. Default: 0.",
    ),
    field(
        "max_priority",
        priority,
        "The highest priority that a job may declare for itself. Default: `priority`.",
    ),
];

/// Who may use a cluster.
pub(super) const CLUSTER: &[Field] = &[field(
    "allowed",
    selectors,
    "Who may use it: one selector, or a list of which one must match. Default: everybody.",
)];

/// Rules of the queue.
pub(super) const QUEUE: &[Field] = &[
    field(
        "half_life",
        span,
        "Past use counts half as much after this time, in the fair share. From 1m. Default: 7d.",
    ),
    field(
        "pass_bound",
        span,
        "A job that has waited longer goes first, whatever its priority, and no other may pass it where it is blocked. From 1s. Default: 1h.",
    ),
];

/// Who sees what.
pub(super) const VISIBILITY: &[Field] = &[
    field(
        "jobs",
        || words(&["own", "team", "all"]),
        "Whose jobs a user can see. Default: own.",
    ),
    field(
        "holders",
        || words(&["names", "teams", "counts"]),
        "How those who hold what a job waits for are named to others. Default: teams.",
    ),
];

/// A quota.
pub(super) const QUOTA: &[Field] = &[
    field("name", name, "Its name, unique in the file. Required."),
    field(
        "reason",
        || json!({"type": "string", "maxLength": MAX_REASON}),
        "Why it is there, in a sentence; it is told to those whom it stops.",
    ),
    field(
        "for",
        covers,
        "Which subjects it covers, and how they are put in buckets. Every dimension that is named must match. `everybody`, or no `for`: all in one bucket.",
    ),
    field(
        "limits",
        limits,
        "What all in a bucket may hold at once. A resource that is not named is unlimited; 0 means none.",
    ),
    field(
        "borrow",
        amounts,
        "How far a bucket may go above its limits while nobody else wants it. Default: not at all.",
    ),
    field(
        "guarantee",
        amounts,
        "Capacity that is kept free for each bucket, whether it uses it or not. Default: none.",
    ),
    field(
        "reclaim",
        reclaim,
        "How borrowed amounts come back: `drain` (what runs ends by itself) or `{stop_after: 10m}` (the youngest borrowing jobs are stopped once somebody entitled has waited so long). Default: drain.",
    ),
    field(
        "per_job",
        request,
        "The most that one job may ask for. What is not named is unlimited. A job that declares no duration is given this one.",
    ),
    field(
        "submit_rate",
        || json!({"type": "string", "pattern": r"^\s*[0-9]+\s*/\s*([0-9]+\s*)?[a-z].*$"}),
        "How many submissions a bucket may make: `30/min`, `5/s`, `30/10s`. Refused ones do not count.",
    ),
    field(
        "budget",
        budgets,
        "Resource-time a bucket may use in a period: `{gpu_hours: 500, per: month}`, or a list of such.",
    ),
    field(
        "when",
        || object(WINDOW, &[]),
        "When in the week it applies. Default: always.",
    ),
    field(
        "valid",
        || object(VALID, &[]),
        "From and until when it applies. Default: always.",
    ),
    field(
        "above",
        || words(&["queue", "reject"]),
        "What happens to a job that is above a limit now but could fit later: it waits, or is refused. Default: queue.",
    ),
    field(
        "ladder",
        ladder,
        "What happens to a running job that takes more than it was granted: steps such as `{when: held, after: 1m, do: stop}`, in their order. Default: nothing, it is shown only.",
    ),
    field(
        "mode",
        || words(&["enforce", "audit"]),
        "`audit`: decide and record, do not enforce. Default: enforce.",
    ),
    field(
        "alert_at",
        || json!({"type": "array", "items": {"type": "string", "pattern": r"^[0-9]{1,3}\s*%$"}, "maxItems": MAX_SMALL_LIST}),
        "At which parts of a limit to alert: `[80%, 90%]`, ascending. Default: none.",
    ),
];

/// Dimensions of a selector.
pub(super) const SELECTOR: &[Field] = &[
    field(
        "user",
        matching,
        "Users: a name, a list of names (who share a bucket), or \"*\" (each has a bucket).",
    ),
    field("team", matching, "Teams of the file."),
    field(
        "org",
        matching,
        "Org units of the file; a unit covers all below it.",
    ),
    field("job_type", matching, "Job types of the file."),
    field("cluster", matching, "Clusters."),
    field(
        "label",
        || json!({"type": "object", "additionalProperties": matching(), "propertyNames": name(), "minProperties": 1, "maxProperties": MAX_SMALL_LIST}),
        "Labels by key.",
    ),
];

/// Amounts of resources; any other name is a custom resource of the cluster.
pub(super) const AMOUNTS: &[Field] = &[
    field("cpu", count, "Logical CPUs: `2`, `0.5`, `500m`."),
    field(
        "memory",
        memory,
        "Memory: `16GiB`, `512MiB`, `64GB`, or a number of bytes.",
    ),
    field(
        "gpu",
        count,
        "GPUs of any model: `2`, `0.5`. Write `gpu:H100` for a model.",
    ),
];

/// What `limits` has besides amounts.
pub(super) const LIMITS: &[Field] = &[
    field("jobs", whole, "Running jobs."),
    field("queued", whole, "Queued jobs."),
];

/// What a request and `per_job` have besides amounts.
pub(super) const REQUEST: &[Field] = &[field(
    "duration",
    span,
    "How long a job may run: `30m`, `24h`. From 1s.",
)];

/// How borrowed amounts come back.
pub(super) const RECLAIM: &[Field] = &[field(
    "stop_after",
    span,
    "How long somebody entitled waits before the youngest borrowing jobs are stopped. From 1s.",
)];

/// A step of a ladder.
pub(super) const RUNG: &[Field] = &[
    field(
        "when",
        || words(&Excess::WORDS.map(|(word, _)| word)),
        "Of what more was taken than granted: `held` in Ray's scheduler, of something that the quota limits (of anything, if it limits no resource), or `duration`; or what is no longer within the quota: `limit` that was lowered under it (in the file, or by the end of an override or a window), `budget` that is used up. Required.",
    ),
    field("after", span, "How long it has to last. Default: 0s."),
    field(
        "do",
        || words(&["warn", "stop"]),
        "What is done: `warn` (the job's log and message say so) or `stop`. Required.",
    ),
];

/// What a budget has besides `<resource>_hours`.
pub(super) const BUDGET: &[Field] = &[
    field(
        "per",
        period,
        "The period: day, week (from Monday), month, or `rolling 30d`. Required.",
    ),
    field(
        "without_duration",
        || words(&["meter", "refuse"]),
        "A job of which nobody says how long it runs: it starts while anything is left and is metered as it runs, or it is refused. Default: meter.",
    ),
];

/// A window.
pub(super) const WINDOW: &[Field] = &[
    field(
        "days",
        days,
        "Days on which it begins: `[mon-fri, sun]`. Default: every day.",
    ),
    field(
        "hours",
        || json!({"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"}),
        "Hours, such as \"08:00-20:00\". May pass midnight: \"22:00-06:00\" ends on the next day. Default: the whole day.",
    ),
    field("tz", zone, "IANA zone. Default: `timezone` of the file."),
];

/// From and until when.
pub(super) const VALID: &[Field] = &[
    field(
        "from",
        moment,
        "The first moment: RFC 3339, or a date, which is midnight at its start in `timezone`.",
    ),
    field(
        "until",
        moment,
        "The first moment after it: RFC 3339, or a date, which is midnight at its start in `timezone`.",
    ),
];

/// Clusters by name, in `capacity`.
pub(super) const CAPACITY: &[Field] = &[field(
    "by_cluster",
    || map_of(|| some(amounts())),
    "Amounts by the cluster's name; a cluster that is not named is discovered.",
)];

/// Names that would be taken for a custom resource and are meant for something else, and what to write.
pub(super) const NOT_RESOURCES: &[(&str, &str)] = &[
    ("CPU", "cpu"),
    ("CPUs", "cpu"),
    ("cpus", "cpu"),
    ("num_cpus", "cpu"),
    ("vcpu", "cpu"),
    ("vcpus", "cpu"),
    ("GPU", "gpu"),
    ("GPUs", "gpu"),
    ("gpus", "gpu"),
    ("num_gpus", "gpu"),
    ("nvidia.com/gpu", "gpu"),
    ("amd.com/gpu", "gpu"),
    ("Memory", "memory"),
    ("mem", "memory"),
    ("ram", "memory"),
    ("object_store_memory", "memory"),
    ("job", "jobs"),
    ("max_jobs", "jobs"),
    ("jobs", "jobs"),
    ("queued", "queued"),
    ("duration", "duration"),
    ("by_cluster", "by_cluster"),
];

/// In which map a field lives, for who wrote it elsewhere.
pub(super) fn home_of(name: &str) -> Option<&'static str> {
    let homes: [(&[Field], &str); 15] = [
        (LIMITS, "`limits` of a quota"),
        (REQUEST, "`per_job` and `default_request`"),
        (
            AMOUNTS,
            "`limits`, `borrow`, `guarantee`, `per_job`, `capacity` and `default_request`",
        ),
        (SELECTOR, "`for` of a quota and of `allowed`"),
        (WINDOW, "`when` of a quota"),
        (VALID, "`valid` of a quota"),
        (BUDGET, "`budget` of a quota"),
        (RECLAIM, "`reclaim` of a quota"),
        (RUNG, "`ladder` of a quota"),
        (QUEUE, "`queue`"),
        (QUOTA, "a quota: see its indentation"),
        (JOB_TYPE, "a job type"),
        (TEAM, "a team"),
        (ORG, "an org unit"),
        (TOP, "the file itself: write it without indentation"),
    ];
    let lives_in = |(table, _): &&(&[Field], &str)| table.iter().any(|f| f.name == name);
    homes.iter().find(lives_in).map(|(_, home)| *home)
}

/// Names of all fields, for the test that the reference tells each one.
#[must_use]
pub fn field_names() -> Vec<&'static str> {
    let tables = [
        TOP, ORG, TEAM, USER, JOB_TYPE, CLUSTER, QUEUE, VISIBILITY, QUOTA, SELECTOR, AMOUNTS,
        LIMITS, REQUEST, RECLAIM, RUNG, BUDGET, WINDOW, VALID, CAPACITY,
    ];
    tables
        .iter()
        .flat_map(|t| t.iter().map(|f| f.name))
        .collect()
}
