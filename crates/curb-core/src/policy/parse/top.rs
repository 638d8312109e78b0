//! The file's own fields.

use jiff::tz::TimeZone;

use crate::policy::model::{
    Capacity, Mode, Policy, QueueRules, RefusalStyle, SeeHolders, SeeJobs, Visibility, WhenDown,
};
use crate::policy::schema;
use crate::resource::{Resource, Resources};
use crate::time::Millis;

use super::amounts::{amounts, request};
use super::names::{Known, known, named, reference};
use super::people::{add_named_orgs, clusters, job_types, orgs, teams, users};
use super::{MAX_QUOTAS, quota, values};
use crate::yaml::read::span;
use crate::yaml::{Place, Reader, Value, quoted};

/// What of a quota was read as it was meant, so that one slip is told once.
#[derive(Clone, Copy)]
pub struct Clean {
    /// Its amounts: they can be compared with one another.
    pub amounts: bool,
    /// All of it.
    pub all: bool,
}

/// Reads the whole file. Beside the policy: for each quota, what of it is right.
pub fn read(r: &mut Reader<'_>, root: &Place<'_>) -> Option<(Policy, Vec<Clean>)> {
    if !r.is_map_of(
        root,
        schema::TOP,
        "the fields of a policy, such as `version: 1`",
    ) {
        return None;
    }
    r.version_1(root);
    let (timezone, zone) = timezone(r, root);
    let known = known(root, timezone, zone);
    let mut policy = Policy {
        timezone: known.timezone.clone(),
        orgs: orgs(r, root),
        teams: teams(r, root),
        users: users(r, root, &known),
        job_types: job_types(r, root, &known),
        clusters: clusters(r, root, &known),
        ..Policy::default()
    };
    add_named_orgs(&mut policy);
    settings(r, root, &known, &mut policy);
    let clean = quotas(r, root, &known, &mut policy);
    Some((policy, clean))
}

/// Reads a zone; the name is given as IANA writes it.
pub fn read_zone(r: &mut Reader<'_>, at: &Place<'_>) -> Option<(String, TimeZone)> {
    let text = r.string(at, "a time zone such as `Europe/Berlin`")?;
    if let Some(zone) = values::zone(text) {
        let name = zone.iana_name().unwrap_or(text).to_owned();
        return Some((name, zone));
    }
    let names = values::zone_names();
    // People write the city alone.
    let city = names.iter().map(String::as_str).find(|zone| {
        zone.rsplit_once('/')
            .is_some_and(|(_, city)| city.eq_ignore_ascii_case(text))
    });
    let near = city.or_else(|| r.nearest(text, names.iter().map(String::as_str)));
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => "write the name of an IANA zone, such as `UTC` or `Europe/Berlin`".to_owned(),
    };
    r.error(at, &format!("unknown time zone {}", quoted(text)), &help);
    None
}

fn timezone(r: &mut Reader<'_>, root: &Place<'_>) -> (String, TimeZone) {
    root.field("timezone")
        .and_then(|at| read_zone(r, &at))
        .unwrap_or_else(|| ("UTC".to_owned(), TimeZone::UTC))
}

fn settings(r: &mut Reader<'_>, root: &Place<'_>, known: &Known<'_>, policy: &mut Policy) {
    if let Some(at) = root.field("capacity") {
        policy.capacity = capacity(r, &at);
    }
    policy.mode = mode(
        r,
        root,
        "observe",
        "audit",
        "the whole policy is put in `observe`",
    );
    let refusal = [("http", RefusalStyle::Http), ("job", RefusalStyle::Job)];
    policy.refusal = choice(r, root, "refusal", &refusal);
    let down = [("queue", WhenDown::Queue), ("refuse", WhenDown::Refuse)];
    policy.when_ray_is_down = choice(r, root, "when_ray_is_down", &down);
    policy.default_job_type = root
        .field("default_job_type")
        .and_then(|at| reference(r, &at, "job type", &known.job_types));
    if let Some(at) = root.field("default_request") {
        policy.default_request = request(r, &at);
    }
    if let Some(at) = root.field("queue") {
        policy.queue = queue(r, &at);
    }
    if let Some(at) = root.field("visibility") {
        policy.visibility = visibility(r, &at);
    }
}

/// One of a few words, or the default.
pub fn choice<T: Copy + Default>(
    r: &mut Reader<'_>,
    at: &Place<'_>,
    field: &str,
    words: &[(&str, T)],
) -> T {
    at.field(field)
        .and_then(|at| r.choice(&at, words))
        .unwrap_or_default()
}

/// A mode: its word for "do not enforce" differs between the file and a quota, and is easily mixed up.
pub fn mode(r: &mut Reader<'_>, at: &Place<'_>, word: &str, other: &str, help: &str) -> Mode {
    let Some(field) = at.field("mode") else {
        return Mode::Enforce;
    };
    if matches!(&field.node.value, Value::Scalar { text, .. } if text == other) {
        r.error(
            &field,
            &format!("wanted one of enforce, {word}, got `{other}`"),
            help,
        );
        return Mode::Audit;
    }
    choice(
        r,
        at,
        "mode",
        &[("enforce", Mode::Enforce), (word, Mode::Audit)],
    )
}

fn capacity(r: &mut Reader<'_>, at: &Place<'_>) -> Capacity {
    if let Value::Scalar { text, .. } = &at.node.value {
        if text != "discover" {
            r.wanted(
                at,
                "`discover` or amounts such as `{cpu: 64, memory: 512GiB}`",
            );
        }
        return Capacity::Discover;
    }
    let Some(by_cluster) = at.field("by_cluster") else {
        return Capacity::Fixed(cluster_amounts(r, at));
    };
    for (name, other) in at.fields() {
        if name != "by_cluster" {
            r.error_at_key(
                &other,
                &format!("{} stands beside `by_cluster`", quoted(name)),
                "write amounts for every cluster, or amounts by cluster, not both",
            );
        }
    }
    let all = named(r, at, "by_cluster", "cluster", cluster_amounts);
    if all.is_empty() {
        r.error(
            &by_cluster,
            "no cluster is named",
            "write `discover` to take what Ray says",
        );
    }
    Capacity::PerCluster(all)
}

/// What a cluster has; GPUs by model count as GPUs.
fn cluster_amounts(r: &mut Reader<'_>, at: &Place<'_>) -> Resources {
    let before = r.errors();
    let given: Resources = amounts(r, at, &[]).into_iter().collect();
    if given.is_empty() && before == r.errors() {
        r.error(
            at,
            "a cluster that has nothing",
            "write at least one amount above 0, or `discover`",
        );
    }
    let all = given.clone().with_gpu_total();
    if let Some(gpu) = at.field("gpu")
        && before == r.errors()
        && all != given
    {
        let models = Resource::Gpu.show(all.get(&Resource::Gpu));
        r.error(
            &gpu,
            &format!("the models together are {models} GPUs, more than `gpu` says"),
            "`gpu` counts GPUs of every model: write the sum, or leave it out",
        );
    }
    all
}

fn queue(r: &mut Reader<'_>, at: &Place<'_>) -> QueueRules {
    let mut rules = QueueRules::default();
    if !r.is_map_of(
        at,
        schema::QUEUE,
        "the rules of the queue, such as `{half_life: 7d}`",
    ) {
        return rules;
    }
    if let Some(span) = at
        .field("half_life")
        .and_then(|f| span(r, &f, Millis::MINUTE))
    {
        rules.half_life = span;
    }
    if let Some(span) = at
        .field("pass_bound")
        .and_then(|f| span(r, &f, Millis::SECOND))
    {
        rules.pass_bound = span;
    }
    rules
}

fn visibility(r: &mut Reader<'_>, at: &Place<'_>) -> Visibility {
    if !r.is_map_of(
        at,
        schema::VISIBILITY,
        "who sees what, such as `{jobs: team}`",
    ) {
        return Visibility::default();
    }
    let jobs = [
        ("own", SeeJobs::Own),
        ("team", SeeJobs::Team),
        ("all", SeeJobs::All),
    ];
    let holders = [
        ("names", SeeHolders::Names),
        ("teams", SeeHolders::Teams),
        ("counts", SeeHolders::Counts),
    ];
    Visibility {
        jobs: choice(r, at, "jobs", &jobs),
        holders: choice(r, at, "holders", &holders),
    }
}

fn quotas(
    r: &mut Reader<'_>,
    root: &Place<'_>,
    known: &Known<'_>,
    policy: &mut Policy,
) -> Vec<Clean> {
    let Some(at) = root.field("quotas") else {
        return Vec::new();
    };
    if !r.is_list(&at, "a list of quotas, each beginning with `- name:`") {
        return Vec::new();
    }
    let count = at.items().count();
    if count > MAX_QUOTAS {
        r.error_at_key(
            &at,
            &format!("{count} quotas: at most {MAX_QUOTAS} fit in a policy"),
            "",
        );
        return Vec::new();
    }
    let mut clean = Vec::with_capacity(count);
    for item in at.items() {
        let before = r.errors();
        let (quota, amounts) = quota::quota(r, &item, known);
        policy.quotas.push(quota);
        clean.push(Clean {
            amounts,
            all: before == r.errors(),
        });
    }
    clean
}
