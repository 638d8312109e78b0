//! The rows.

use serde_json::{Value, json};

use crate::Row;
use crate::common::{World, want};
use crate::scenes::*;

const NO: &str = "refused 422 concurrent-limit";
const YES: &str = "admitted";

/// Resources, and how the schema calls them.
const RESOURCES: [(&str, &str); 4] = [
    ("cpu", "cpu"),
    ("memory", "memory"),
    ("gpu", "gpu"),
    ("licence", "*"),
];

fn row(
    path: &str,
    base: Value,
    at: &str,
    one: (Value, &str),
    other: (Value, &str),
    scene: impl Fn(&mut World) -> String + 'static,
) -> Row {
    Row {
        path: path.into(),
        base,
        at: at.into(),
        one: (one.0, one.1.into()),
        other: ((!other.0.is_null()).then_some(other.0), other.1.into()),
        scene: Box::new(scene),
    }
}

/// A policy of one quota for each user.
fn quota(fields: Value) -> Value {
    let mut quota = json!({"name": "q", "for": {"user": "*"}});
    for (key, value) in fields.as_object().expect("fields") {
        quota[key] = value.clone();
    }
    json!({"quotas": [quota]})
}

/// The same with more fields in the file.
fn and(mut policy: Value, fields: Value) -> Value {
    for (key, value) in fields.as_object().expect("fields") {
        policy[key] = value.clone();
    }
    policy
}

fn none() -> Value {
    Value::Null
}

/// All of them.
pub fn all() -> Vec<Row> {
    let mut all = amounts();
    all.extend(selectors());
    all.extend(file());
    all.extend(people());
    all.extend(quotas());
    all.extend(times());
    all
}

/// Every resource in every place where there are amounts.
fn amounts() -> Vec<Row> {
    let each = |(resource, name): (&'static str, &'static str)| {
        let unit = if resource == "memory" { "GiB" } else { "" };
        let n = move |n: u32| json!(format!("{n}{unit}"));
        let two = move || last(vec![of(resource, 2)]);
        let nothing = || last(vec![want("ana").job_type("training")]);
        let limited = |n: Value| quota(json!({"limits": {resource: n}}));
        let typed = json!({"job_types": {"training": {"default_request": {}}}});
        let product = json!({
            "teams": {"serving": {"org": "product", "members": ["kim"]}},
            "quotas": [{"name": "q", "for": {"org": "product"}, "limits": {resource: n(100)}, "guarantee": {}}],
        });
        let path = |home: &str| format!("{home}.{name}");
        let at = |home: &str| format!("{home}/{resource}");
        vec![
            row(
                &path("quotas.limits"),
                quota(json!({"limits": {}})),
                &at("/quotas/0/limits"),
                (n(1), NO),
                (n(3), YES),
                two(),
            ),
            row(
                &path("quotas.per_job"),
                quota(json!({"per_job": {}})),
                &at("/quotas/0/per_job"),
                (n(1), "refused 422 per-job-limit"),
                (n(3), YES),
                two(),
            ),
            row(
                &path("quotas.borrow"),
                quota(json!({"limits": {resource: n(1)}, "borrow": {}})),
                &at("/quotas/0/borrow"),
                (n(1), YES),
                (none(), NO),
                two(),
            ),
            row(
                &path("quotas.guarantee"),
                product,
                &at("/quotas/0/guarantee"),
                (n(99), "refused 422 guarantee"),
                (n(1), YES),
                two(),
            ),
            row(
                &path("capacity"),
                json!({"capacity": {}}),
                &at("/capacity"),
                (n(1), "refused 422 capacity"),
                (n(3), YES),
                two(),
            ),
            row(
                &path("capacity.by_cluster.*"),
                json!({"capacity": {"by_cluster": {"main": {}}}}),
                &at("/capacity/by_cluster/main"),
                (n(1), "refused 422 capacity"),
                (n(3), YES),
                two(),
            ),
            row(
                &path("default_request"),
                and(limited(n(2)), json!({"default_request": {}})),
                &at("/default_request"),
                (n(3), NO),
                (n(1), YES),
                nothing(),
            ),
            row(
                &path("job_types.*.default_request"),
                and(limited(n(2)), typed),
                &at("/job_types/training/default_request"),
                (n(3), NO),
                (n(1), YES),
                nothing(),
            ),
        ]
    };
    RESOURCES.into_iter().flat_map(each).collect()
}

/// Every dimension in every place where somebody is selected.
fn selectors() -> Vec<Row> {
    let world = json!({
        "teams": {"vision": {"org": "research", "members": ["ana"]}, "serving": {"org": "product", "members": ["kim"]}},
    });
    let types = |training: Value| json!({"job_types": {"training": training, "inference": {}}});
    let dims = [
        ("user", "user", "ana", "li"),
        ("team", "team", "vision", "serving"),
        ("org", "org", "research", "product"),
        ("job_type", "job_type", "training", "inference"),
        ("cluster", "cluster", "main", "other"),
        ("label.*", "label/site", "berlin", "paris"),
    ];
    let each = |(name, key, mine, theirs): (&str, &str, &'static str, &'static str)| {
        let selector = if name == "label.*" {
            json!({"label": {}})
        } else {
            json!({})
        };
        let covered = json!({"quotas": [{"name": "q", "for": selector, "limits": {"cpu": 0}}]});
        let allowed = json!({"allowed": selector});
        let clusters = json!({"clusters": {"main": allowed}});
        let open = |more: Value| and(and(world.clone(), types(json!({}))), more);
        let ana = || last(vec![of_ana()]);
        let (mine, theirs) = (json!(mine), json!(theirs));
        vec![
            row(
                &format!("quotas.for.{name}"),
                open(covered),
                &format!("/quotas/0/for/{key}"),
                (mine.clone(), NO),
                (theirs.clone(), YES),
                ana(),
            ),
            row(
                &format!("job_types.*.allowed.{name}"),
                and(world.clone(), types(allowed)),
                &format!("/job_types/training/allowed/{key}"),
                (mine.clone(), YES),
                (theirs.clone(), "refused 422 job-type"),
                ana(),
            ),
            row(
                &format!("clusters.*.allowed.{name}"),
                open(clusters),
                &format!("/clusters/main/allowed/{key}"),
                (mine, YES),
                (theirs, "refused 422 cluster-access"),
                ana(),
            ),
        ]
    };
    dims.into_iter().flat_map(each).collect()
}

/// Fields of the file itself, of the queue, of what is seen, of types.
fn file() -> Vec<Row> {
    let closed = || quota(json!({"limits": {"cpu": 0}}));
    let one = || last(vec![want("ana").cpu("1")]);
    let typed =
        json!({"job_types": {"training": {"default_request": {"cpu": 4}}, "inference": {}}});
    let training = |fields: Value| json!({"job_types": {"training": fields, "inference": {}}});
    vec![
        row(
            "mode",
            closed(),
            "/mode",
            (json!("observe"), YES),
            (json!("enforce"), NO),
            one(),
        ),
        row(
            "refusal",
            quota(json!({"per_job": {"cpu": 1}})),
            "/refusal",
            (json!("job"), "1"),
            (json!("http"), "0"),
            told_as_jobs,
        ),
        row(
            "when_ray_is_down",
            json!({}),
            "/when_ray_is_down",
            (json!("refuse"), "refused 503 cluster-down"),
            (json!("queue"), "queued cluster-down"),
            down,
        ),
        row(
            "timezone",
            quota(json!({"budget": {"cpu_hours": 2, "per": "day"}})),
            "/timezone",
            (json!("UTC"), YES),
            (json!("Pacific/Auckland"), "queued budget"),
            used_up(12),
        ),
        row(
            "default_job_type",
            and(quota(json!({"limits": {"cpu": 3}})), typed),
            "/default_job_type",
            (json!("training"), NO),
            (json!("inference"), YES),
            last(vec![want("ana")]),
        ),
        row(
            "job_types.*.priority",
            training(json!({"max_priority": 9})),
            "/job_types/training/priority",
            (json!(5), "training"),
            (none(), "inference"),
            which_type_is_next,
        ),
        row(
            "job_types.*.max_priority",
            training(json!({"priority": 1})),
            "/job_types/training/max_priority",
            (json!(5), "refused 422 priority-limit"),
            (json!(9), YES),
            last(vec![of_ana().priority(9)]),
        ),
        row(
            "queue.half_life",
            json!({"queue": {}}),
            "/queue/half_life",
            (json!("1m"), "ana"),
            (json!("100d"), "kim"),
            who_is_forgiven,
        ),
        row(
            "queue.pass_bound",
            json!({"queue": {}}),
            "/queue/pass_bound",
            (json!("1h"), "queued turn"),
            (json!("3h"), YES),
            passing,
        ),
        row(
            "visibility.jobs",
            json!({"visibility": {}}),
            "/visibility/jobs",
            (json!("all"), "true"),
            (json!("own"), "false"),
            seen,
        ),
        row(
            "visibility.holders",
            json!({"visibility": {}}),
            "/visibility/holders",
            (json!("names"), "li (train) 100 CPU"),
            (json!("counts"), "1 job"),
            holders,
        ),
    ]
}

/// Who belongs where, and whose turn it is.
fn people() -> Vec<Row> {
    let closed =
        |selector: Value| json!({"quotas": [{"name": "q", "for": selector, "limits": {"cpu": 0}}]});
    let one = || last(vec![want("ana").cpu("1")]);
    let research = json!({"teams": {"vision": {"org": "research", "members": ["ana"]}}});
    let teams = json!({"teams": {"vision": {"org": "research", "members": ["ana"]}, "serving": {"org": "product", "members": ["kim"]}}});
    let siblings = json!({"teams": {"vision": {"org": "research", "members": ["ana"]}, "serving": {"org": "research", "members": ["kim"]}}});
    let mates = json!({"teams": {"vision": {"members": ["ana", "kim"]}}});
    let two = json!({"teams": {"a": {"members": ["ana"]}, "b": {"members": ["ana"]}}, "users": {"ana": {}}});
    let light = || (none(), "ana");
    let heavy = || (json!(10), "kim");
    vec![
        row(
            "orgs.*.parent",
            and(
                and(closed(json!({"org": "acme"})), research),
                json!({"orgs": {"acme": {}, "research": {}}}),
            ),
            "/orgs/research/parent",
            (json!("acme"), NO),
            (none(), YES),
            one(),
        ),
        row(
            "orgs.*.weight",
            and(teams, json!({"orgs": {"product": {}}})),
            "/orgs/product/weight",
            heavy(),
            light(),
            who_is_next,
        ),
        row(
            "teams.*.weight",
            siblings,
            "/teams/serving/weight",
            heavy(),
            light(),
            who_is_next,
        ),
        row(
            "users.*.weight",
            and(mates, json!({"users": {"kim": {}}})),
            "/users/kim/weight",
            heavy(),
            light(),
            who_is_next,
        ),
        row(
            "teams.*.org",
            and(
                closed(json!({"org": "research"})),
                json!({"orgs": {"research": {}}, "teams": {"vision": {"members": ["ana"]}}}),
            ),
            "/teams/vision/org",
            (json!("research"), NO),
            (none(), YES),
            one(),
        ),
        row(
            "teams.*.members",
            and(
                closed(json!({"team": "vision"})),
                json!({"teams": {"vision": {}}}),
            ),
            "/teams/vision/members",
            (json!(["ana"]), NO),
            (json!(["li"]), YES),
            one(),
        ),
        row(
            "users.*.default_team",
            and(closed(json!({"team": "b"})), two),
            "/users/ana/default_team",
            (json!("b"), NO),
            (none(), YES),
            one(),
        ),
        row(
            "users.*.labels.*",
            and(
                closed(json!({"label": {"site": "berlin"}})),
                json!({"users": {"ana": {"labels": {}}}}),
            ),
            "/users/ana/labels/site",
            (json!("berlin"), NO),
            (json!("paris"), YES),
            one(),
        ),
    ]
}

/// The other fields of a quota.
fn quotas() -> Vec<Row> {
    let one = || want("ana").cpu("1");
    let borrowing = json!({
        "teams": {"vision": {"org": "research", "members": ["ana"]}, "serving": {"org": "product", "members": ["kim"]}},
        "quotas": [
            {"name": "research", "for": {"org": "research"}, "limits": {"cpu": 50}, "borrow": {"cpu": 50}, "reclaim": {}},
            {"name": "product", "for": {"org": "product"}, "limits": {"cpu": 50}},
        ],
    });
    let unnamed = json!({"quotas": [{"for": {"user": "*"}, "limits": {"cpu": 1}}]});
    vec![
        row(
            "quotas.name",
            unnamed,
            "/quotas/0/name",
            (json!("each-user"), YES),
            (json!("other"), NO),
            overridden,
        ),
        row(
            "quotas.reason",
            quota(json!({"limits": {"cpu": 1}})),
            "/quotas/0/reason",
            (json!("All share it"), "why this limit: All share it"),
            (none(), "nothing"),
            told_why,
        ),
        row(
            "quotas.limits.jobs",
            quota(json!({"limits": {}})),
            "/quotas/0/limits/jobs",
            (json!(1), "queued jobs-limit"),
            (json!(2), YES),
            last(vec![one(), one()]),
        ),
        row(
            "quotas.limits.queued",
            quota(json!({"limits": {"jobs": 1}})),
            "/quotas/0/limits/queued",
            (json!(1), "refused 429 queued-limit"),
            (json!(2), "queued jobs-limit"),
            last(vec![one(), one(), one()]),
        ),
        row(
            "quotas.reclaim.stop_after",
            borrowing,
            "/quotas/0/reclaim/stop_after",
            (json!("10m"), "stopped"),
            (json!("3h"), "runs on"),
            reclaimed,
        ),
        row(
            "quotas.ladder.when",
            quota(json!({"ladder": {"do": "stop"}})),
            "/quotas/0/ladder/when",
            (json!("duration"), "stopped"),
            (json!("held"), "runs on"),
            runs_too_long,
        ),
        row(
            "quotas.ladder.after",
            quota(json!({"ladder": {"when": "duration", "do": "stop"}})),
            "/quotas/0/ladder/after",
            (json!("1h"), "stopped"),
            (json!("2h"), "runs on"),
            runs_too_long,
        ),
        row(
            "quotas.ladder.do",
            quota(json!({"ladder": {"when": "duration"}})),
            "/quotas/0/ladder/do",
            (json!("stop"), "stopped"),
            (json!("warn"), "runs on"),
            runs_too_long,
        ),
        row(
            "quotas.submit_rate",
            quota(json!({})),
            "/quotas/0/submit_rate",
            (json!("2/min"), "refused 429 submit-rate"),
            (json!("3/min"), YES),
            last(vec![one(), one(), one()]),
        ),
        row(
            "quotas.above",
            quota(json!({"limits": {"cpu": 1}})),
            "/quotas/0/above",
            (json!("reject"), "refused 429 concurrent-limit"),
            (json!("queue"), "queued concurrent-limit"),
            last(vec![one(), one()]),
        ),
        row(
            "quotas.mode",
            quota(json!({"limits": {"cpu": 0}})),
            "/quotas/0/mode",
            (json!("audit"), YES),
            (json!("enforce"), NO),
            last(vec![one()]),
        ),
    ]
}

/// Durations, budgets, windows, dates.
fn times() -> Vec<Row> {
    let two_hours = || last(vec![want("ana").cpu("1").hours(2)]);
    let training = || last(vec![want("ana").cpu("1").job_type("training")]);
    let budget = |fields: Value| quota(json!({"budget": fields}));
    let hours = || budget(json!({"cpu_hours": 2, "per": "day"}));
    let closed = |key: &str, fields: Value| quota(json!({"limits": {"cpu": 0}, key: fields}));
    let over = "refused 422 budget";
    // It is closed now, and open when the window ends.
    let later = "queued concurrent-limit";
    let one = || last(vec![want("ana").cpu("1")]);
    let typed = json!({"job_types": {"training": {"default_request": {}}}});
    vec![
        row(
            "quotas.per_job.duration",
            quota(json!({"per_job": {}})),
            "/quotas/0/per_job/duration",
            (json!("1h"), "refused 422 duration-limit"),
            (json!("3h"), YES),
            two_hours(),
        ),
        row(
            "default_request.duration",
            and(hours(), json!({"default_request": {}})),
            "/default_request/duration",
            (json!("3h"), over),
            (json!("1h"), YES),
            one(),
        ),
        row(
            "job_types.*.default_request.duration",
            and(hours(), typed),
            "/job_types/training/default_request/duration",
            (json!("3h"), over),
            (json!("1h"), YES),
            training(),
        ),
        row(
            "quotas.budget.^.+_hours$",
            budget(json!({"per": "day"})),
            "/quotas/0/budget/cpu_hours",
            (json!(1), over),
            (json!(3), YES),
            two_hours(),
        ),
        row(
            "quotas.budget.per",
            budget(json!({"cpu_hours": 2})),
            "/quotas/0/budget/per",
            (json!("day"), YES),
            (json!("month"), "queued budget"),
            used_up(14),
        ),
        row(
            "quotas.budget.without_duration",
            hours(),
            "/quotas/0/budget/without_duration",
            (json!("refuse"), "refused 422 duration-needed"),
            (json!("meter"), YES),
            one(),
        ),
        row(
            "quotas.when.days",
            closed("when", json!({})),
            "/quotas/0/when/days",
            (json!(["sun"]), later),
            (json!(["mon-sat"]), YES),
            one(),
        ),
        row(
            "quotas.when.hours",
            closed("when", json!({})),
            "/quotas/0/when/hours",
            (json!("08:00-20:00"), later),
            (json!("13:00-20:00"), YES),
            one(),
        ),
        row(
            "quotas.when.tz",
            closed("when", json!({"hours": "13:00-20:00"})),
            "/quotas/0/when/tz",
            (json!("Europe/Berlin"), later),
            (json!("UTC"), YES),
            one(),
        ),
        row(
            "quotas.valid.from",
            closed("valid", json!({})),
            "/quotas/0/valid/from",
            (json!("2026-11-22"), NO),
            (json!("2026-11-23"), YES),
            one(),
        ),
        row(
            "quotas.valid.until",
            closed("valid", json!({})),
            "/quotas/0/valid/until",
            (json!("2026-11-23"), later),
            (json!("2026-11-22"), YES),
            one(),
        ),
    ]
}
