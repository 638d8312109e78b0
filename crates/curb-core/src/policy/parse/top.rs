//! The file's own fields, and the people, types and clusters in it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;

use crate::amount::Amount;
use crate::policy::model::{
    Capacity, ClusterRule, Defaults, JobType, Match, Mode, Org, Policy, QueueRules, RefusalStyle,
    SeeHolders, SeeJobs, Selector, Team, User, Visibility, WhenDown,
};
use crate::policy::schema;
use crate::resource::{Resource, Resources};
use crate::time::Millis;

use super::diagnostic::quoted;
use super::reader::{Place, Reader};
use super::tree::Value;
use super::values::{self, Wrong};
use super::{MAX_PRIORITY, MAX_QUOTAS, MAX_SMALL_LIST, MAX_WEIGHT, quota};

/// What the file knows, for the references in it.
pub struct Known<'p> {
    pub teams: BTreeSet<&'p str>,
    pub orgs: BTreeSet<&'p str>,
    pub job_types: BTreeSet<&'p str>,
    pub timezone: String,
    pub zone: TimeZone,
}

/// Reads the whole file. Beside the policy: for each quota, whether nothing was wrong with it.
pub fn read(r: &mut Reader<'_>, root: &Place<'_>) -> Option<(Policy, Vec<bool>)> {
    if !r.is_map_of(root, schema::TOP, "the fields of a policy, such as `version: 1`") {
        return None;
    }
    version(r, root);
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

fn version(r: &mut Reader<'_>, root: &Place<'_>) {
    let Some(at) = root.field("version") else {
        r.error(root, "missing field `version`", "begin the file with `version: 1`");
        return;
    };
    match &at.node.value {
        Value::Scalar { text, plain: true } if text == "1" => {}
        Value::Scalar { text, plain: true } if text.bytes().all(|b| b.is_ascii_digit()) => r.error(
            &at,
            &format!("version {} of the format is not known", quoted(text)),
            "this program reads `version: 1`",
        ),
        _ => r.wanted(&at, "the version of the format, which is `1`"),
    }
}

/// Reads a zone; the name is given as IANA writes it.
pub fn read_zone(r: &mut Reader<'_>, at: &Place<'_>) -> Option<(String, TimeZone)> {
    let text = r.string(at, "a time zone such as `Europe/Berlin`")?;
    if let Some(zone) = values::zone(text) {
        let name = zone.iana_name().unwrap_or(text).to_owned();
        return Some((name, zone));
    }
    let names = values::zone_names();
    let near = r.nearest(text, names.iter().map(String::as_str));
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

/// The names that the file gives, before anything of them is read: a mistake in a team is not told again at each of
/// its users.
fn known<'p>(root: &'p Place<'p>, timezone: String, zone: TimeZone) -> Known<'p> {
    let keys = |name: &str| -> BTreeSet<&'p str> {
        match root.field(name).map(|at| &at.node.value) {
            Some(Value::Map(entries)) => entries.iter().map(|e| e.key.as_str()).collect(),
            _ => BTreeSet::new(),
        }
    };
    let mut orgs = keys("orgs");
    for (section, field) in [("orgs", "parent"), ("teams", "org")] {
        if let Some(Value::Map(entries)) = root.field(section).map(|at| &at.node.value) {
            for entry in entries {
                if let Value::Map(fields) = &entry.node.value
                    && let Some(Value::Scalar { text, .. }) =
                        fields.iter().find(|f| f.key == field).map(|f| &f.node.value)
                {
                    orgs.insert(text);
                }
            }
        }
    }
    Known { teams: keys("teams"), orgs, job_types: keys("job_types"), timezone, zone }
}

/// Takes a value's text apart, and reports what is wrong with it.
pub fn value<T>(
    r: &mut Reader<'_>,
    at: &Place<'_>,
    form: &str,
    read: impl FnOnce(&str) -> Result<T, Wrong>,
) -> Option<T> {
    let text = r.text(at, form)?;
    read(text)
        .map_err(|wrong| r.error(at, &wrong.message, &wrong.help))
        .ok()
}

/// A span of time within bounds.
pub fn span(r: &mut Reader<'_>, at: &Place<'_>, least: Millis) -> Option<Millis> {
    value(r, at, "a span of time such as `24h`", |t| values::span(t, least, Millis::MAX))
}

/// A name that the file must know.
pub fn reference(
    r: &mut Reader<'_>,
    at: &Place<'_>,
    what: &str,
    known: &BTreeSet<&str>,
) -> Option<String> {
    let name = r.name(at, what)?;
    if !known.contains(name.as_str()) {
        let names: Vec<&str> = known.iter().copied().collect();
        let help = if names.is_empty() {
            format!("the file has no {} at all", plural(what))
        } else {
            r.suggest(&name, &names)
        };
        r.error(at, &format!("{what} {} is not in this file", quoted(&name)), &help);
    }
    Some(name)
}

/// `a team` -> `teams`, as the file calls them.
fn plural(what: &str) -> &'static str {
    match what {
        "team" => "`teams`",
        "org unit" => "`orgs`",
        _ => "`job_types`",
    }
}

/// The entries of a map by name, each read by `read`.
fn named<T>(
    r: &mut Reader<'_>,
    root: &Place<'_>,
    section: &str,
    what: &str,
    mut read: impl FnMut(&mut Reader<'_>, &Place<'_>) -> T,
) -> BTreeMap<String, T> {
    let mut all = BTreeMap::new();
    let Some(at) = root.field(section) else {
        return all;
    };
    if !r.is_map(&at, &format!("{what}s by name")) {
        return all;
    }
    for (name, entry) in at.fields() {
        if r.name_ok(&entry, name, &format!("the name of a {what}"), true) {
            all.insert(name.to_owned(), read(r, &entry));
        }
    }
    all
}

fn weight(r: &mut Reader<'_>, at: &Place<'_>) -> u32 {
    at.field("weight")
        .and_then(|at| r.whole(&at, "a weight", 1, MAX_WEIGHT))
        .and_then(|w| u32::try_from(w).ok())
        .unwrap_or(1)
}

fn orgs(r: &mut Reader<'_>, root: &Place<'_>) -> BTreeMap<String, Org> {
    named(r, root, "orgs", "org unit", |r, at| {
        r.is_map_of(at, schema::ORG, "the fields of an org unit, such as `{weight: 2}`");
        Org {
            parent: at.field("parent").and_then(|p| r.name(&p, "the name of an org unit")),
            weight: weight(r, at),
        }
    })
}

/// Units that only a team or another unit names.
fn add_named_orgs(policy: &mut Policy) {
    let parents = policy.orgs.values().filter_map(|o| o.parent.clone());
    let owners = policy.teams.values().filter_map(|t| t.org.clone());
    let named: Vec<String> = parents.chain(owners).collect();
    for name in named {
        policy.orgs.entry(name).or_insert(Org { parent: None, weight: 1 });
    }
}

fn teams(r: &mut Reader<'_>, root: &Place<'_>) -> BTreeMap<String, Team> {
    named(r, root, "teams", "team", |r, at| {
        r.is_map_of(at, schema::TEAM, "the fields of a team, such as `{members: [ana]}`");
        let mut members = BTreeSet::new();
        if let Some(list) = at.field("members")
            && r.is_list(&list, "a list of users such as `[ana, li]`")
        {
            for item in list.items() {
                if let Some(user) = r.name(&item, "the name of a user")
                    && let Some(user) = members.replace(user)
                {
                    r.warn(&item, &format!("{} is a member already", quoted(&user)), "");
                }
            }
        }
        Team {
            org: at.field("org").and_then(|o| r.name(&o, "the name of an org unit")),
            members,
            weight: weight(r, at),
        }
    })
}

fn users(r: &mut Reader<'_>, root: &Place<'_>, known: &Known<'_>) -> BTreeMap<String, User> {
    named(r, root, "users", "user", |r, at| {
        r.is_map_of(at, schema::USER, "the fields of a user, such as `{weight: 2}`");
        User {
            weight: weight(r, at),
            default_team: at
                .field("default_team")
                .and_then(|t| reference(r, &t, "team", &known.teams)),
            labels: at.field("labels").map(|l| labels(r, &l)).unwrap_or_default(),
        }
    })
}

fn labels(r: &mut Reader<'_>, at: &Place<'_>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    if !r.is_map(at, "labels such as `{grade: senior}`") || too_many(r, at, at.keys().count(), "labels") {
        return all;
    }
    for (key, entry) in at.fields() {
        let key_ok = r.name_ok(&entry, key, "a label", true);
        if let Some(value) = r.name(&entry, "the value of a label")
            && key_ok
        {
            all.insert(key.to_owned(), value);
        }
    }
    all
}

/// Whether there are more than a small list may have; an error if so.
pub fn too_many(r: &mut Reader<'_>, at: &Place<'_>, count: usize, what: &str) -> bool {
    let over = count > MAX_SMALL_LIST;
    if over {
        r.error_at_key(at, &format!("{count} {what}: at most {MAX_SMALL_LIST} fit here"), "");
    }
    over
}

fn job_types(r: &mut Reader<'_>, root: &Place<'_>, known: &Known<'_>) -> BTreeMap<String, JobType> {
    named(r, root, "job_types", "job type", |r, at| {
        r.is_map_of(at, schema::JOB_TYPE, "the fields of a job type, such as `{priority: 5}`");
        let priority = priority(r, at, "priority").unwrap_or(0);
        let max_priority = self::priority(r, at, "max_priority").unwrap_or(priority);
        if let Some(max) = at.field("max_priority")
            && max_priority < priority
        {
            r.error(
                &max,
                &format!("`max_priority` {max_priority} is below `priority` {priority}"),
                "it is the highest that a job may declare: write at least the priority",
            );
        }
        JobType {
            default_request: at.field("default_request").map(|d| request(r, &d)).unwrap_or_default(),
            allowed: allowed(r, at, known),
            priority,
            max_priority,
        }
    })
}

fn priority(r: &mut Reader<'_>, at: &Place<'_>, field: &str) -> Option<i32> {
    let at = at.field(field)?;
    let value = r.whole(&at, "a priority", -MAX_PRIORITY, MAX_PRIORITY)?;
    i32::try_from(value).ok()
}

fn clusters(r: &mut Reader<'_>, root: &Place<'_>, known: &Known<'_>) -> BTreeMap<String, ClusterRule> {
    named(r, root, "clusters", "cluster", |r, at| {
        r.is_map_of(at, schema::CLUSTER, "the fields of a cluster, such as `{allowed: {org: research}}`");
        ClusterRule { allowed: allowed(r, at, known) }
    })
}

fn allowed(r: &mut Reader<'_>, at: &Place<'_>, known: &Known<'_>) -> Vec<Selector> {
    let Some(at) = at.field("allowed") else {
        return Vec::new();
    };
    let each = at.one_or_many();
    if each.is_empty() {
        r.error(&at, "nobody is named", "leave `allowed` out to let everybody in");
    }
    if too_many(r, &at, each.len(), "selectors") {
        return Vec::new();
    }
    each.iter().map(|one| selector(r, one, known)).collect()
}

/// Who a rule is about: dimensions, each with what it matches.
pub fn selector(r: &mut Reader<'_>, at: &Place<'_>, known: &Known<'_>) -> Selector {
    let mut out = Selector::default();
    if !r.is_map_of(at, schema::SELECTOR, "who it is for, such as `{user: \"*\"}` or `{team: vision}`") {
        return out;
    }
    if at.keys().next().is_none() {
        r.error(at, "nobody is named", "leave the field out to mean everybody");
    }
    let free = |r: &mut Reader<'_>, at: &Place<'_>, what: &str| matching(r, at, what, None);
    out.user = at.field("user").and_then(|at| free(r, &at, "user"));
    out.cluster = at.field("cluster").and_then(|at| free(r, &at, "cluster"));
    out.team = at.field("team").and_then(|at| matching(r, &at, "team", Some(&known.teams)));
    out.org = at.field("org").and_then(|at| matching(r, &at, "org unit", Some(&known.orgs)));
    out.job_type = at
        .field("job_type")
        .and_then(|at| matching(r, &at, "job type", Some(&known.job_types)));
    if let Some(label) = at.field("label")
        && r.is_map(&label, "labels such as `{grade: senior}`")
        && !too_many(r, &label, label.keys().count(), "labels")
    {
        if label.keys().next().is_none() {
            r.error(&label, "no label is named", "write `{key: value}`, or leave `label` out");
        }
        for (key, value) in label.fields() {
            let key_ok = r.name_ok(&value, key, "a label", true);
            if let Some(found) = matching(r, &value, "label", None)
                && key_ok
            {
                out.labels.insert(key.to_owned(), found);
            }
        }
    }
    out
}

/// A name, a list of names, or `"*"`.
fn matching(
    r: &mut Reader<'_>,
    at: &Place<'_>,
    what: &str,
    known: Option<&BTreeSet<&str>>,
) -> Option<Match> {
    if let Value::Scalar { text, .. } = &at.node.value
        && text == "*"
    {
        return Some(Match::Each);
    }
    let list = matches!(at.node.value, Value::List(_));
    if list && !r.is_list(at, "a list") {
        return None;
    }
    let each = at.one_or_many();
    if each.is_empty() {
        r.error(at, &format!("the list names no {what}"), "name one, or write \"*\" for each");
        return None;
    }
    let mut names = BTreeSet::new();
    for one in &each {
        if let Value::Scalar { text, .. } = &one.node.value
            && text == "*"
        {
            r.error(one, "`*` stands alone, not in a list", "write \"*\" in place of the list");
            continue;
        }
        let name = match known {
            Some(known) => reference(r, one, what, known),
            None => r.name(one, &format!("the name of a {what}")),
        };
        if let Some(name) = name
            && let Some(name) = names.replace(name)
        {
            r.warn(one, &format!("{} is in the list already", quoted(&name)), "");
        }
    }
    (!names.is_empty()).then_some(Match::OneOf(names))
}

/// A resource by its name in the file; an error at the key if it is none.
pub fn resource(r: &mut Reader<'_>, at: &Place<'_>, name: &str) -> Option<Resource> {
    if let Some((_, meant)) = schema::NOT_RESOURCES.iter().find(|(n, _)| *n == name) {
        let help = match (*meant, schema::home_of(meant)) {
            (meant, Some(home)) if meant == name => format!("`{name}` is a field of {home}"),
            ("by_cluster", _) => "`by_cluster` is a field of `capacity`".to_owned(),
            (meant, _) => format!("did you mean `{meant}`?"),
        };
        r.error_at_key(at, &format!("{} is not a resource", quoted(name)), &help);
        return None;
    }
    match Resource::parse(name) {
        Ok(resource) => Some(resource),
        Err(_) => {
            let help = "use cpu, memory, gpu, gpu:MODEL, or a custom name of at most 64 letters, digits and `._:/-`";
            r.error_at_key(at, &format!("{} cannot name a resource", quoted(name)), help);
            None
        }
    }
}

/// Amounts of a map, but for the fields of `others`. Zero is kept.
pub fn amounts(
    r: &mut Reader<'_>,
    at: &Place<'_>,
    others: &[schema::Field],
) -> BTreeMap<Resource, Amount> {
    let mut all = BTreeMap::new();
    if !r.is_map(at, "amounts such as `{cpu: 4, memory: 16GiB}`") {
        return all;
    }
    for (name, entry) in at.fields() {
        if others.iter().any(|f| f.name == name) {
            continue;
        }
        let Some(resource) = resource(r, &entry, name) else {
            continue;
        };
        let before = r.errors();
        let form = values::amount_form(&resource);
        let found = value(r, &entry, &form, |t| values::amount(&resource, t));
        doubtful(r, &entry, name, &resource, found, before);
        if let Some(amount) = found {
            all.insert(resource, amount);
        }
    }
    all
}

/// Warns of what is right in form and hardly meant.
fn doubtful(
    r: &mut Reader<'_>,
    at: &Place<'_>,
    name: &str,
    resource: &Resource,
    found: Option<Amount>,
    errors_before: usize,
) {
    // Four letters and more: shorter names are all alike (`tpu` is no slip of `cpu`).
    if matches!(resource, Resource::Custom(_)) && name.len() > 3 {
        let near = r.nearest(name, ["memory", "jobs", "queued", "duration"]);
        if let Some(near) = near.filter(|_| errors_before == r.errors() || found.is_none()) {
            let message = format!("{} is taken for a custom resource of the cluster", quoted(name));
            r.warn(at, &message, &format!("did you mean `{near}`?"));
        }
    }
    if *resource == Resource::Memory
        && let Some(Amount(bytes @ 1..=1_048_575)) = found
    {
        let message = format!("this is {bytes} bytes of memory");
        r.warn(at, &message, "put the unit behind the number: `16GiB`");
    }
}

/// Amounts and a duration.
pub fn request(r: &mut Reader<'_>, at: &Place<'_>) -> Defaults {
    let amounts = amounts(r, at, schema::REQUEST);
    Defaults {
        resources: amounts.into_iter().collect(),
        duration: at.field("duration").and_then(|d| span(r, &d, Millis::SECOND)),
    }
}

fn settings(r: &mut Reader<'_>, root: &Place<'_>, known: &Known<'_>, policy: &mut Policy) {
    if let Some(at) = root.field("capacity") {
        policy.capacity = capacity(r, &at);
    }
    let mode = [("enforce", Mode::Enforce), ("observe", Mode::Audit)];
    policy.mode = choice(r, root, "mode", &mode);
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

fn capacity(r: &mut Reader<'_>, at: &Place<'_>) -> Capacity {
    if let Value::Scalar { text, .. } = &at.node.value {
        if text != "discover" {
            r.wanted(at, "`discover` or amounts such as `{cpu: 64, memory: 512GiB}`");
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
        r.error(&by_cluster, "no cluster is named", "write `discover` to take what Ray says");
    }
    Capacity::PerCluster(all)
}

/// What a cluster has; GPUs by model count as GPUs.
fn cluster_amounts(r: &mut Reader<'_>, at: &Place<'_>) -> Resources {
    let before = r.errors();
    let given: Resources = amounts(r, at, &[]).into_iter().collect();
    if given.is_empty() && before == r.errors() {
        r.error(at, "a cluster that has nothing", "write at least one amount above 0, or `discover`");
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
    if !r.is_map_of(at, schema::QUEUE, "the rules of the queue, such as `{half_life: 7d}`") {
        return rules;
    }
    if let Some(span) = at.field("half_life").and_then(|f| span(r, &f, Millis::MINUTE)) {
        rules.half_life = span;
    }
    if let Some(span) = at.field("pass_bound").and_then(|f| span(r, &f, Millis::SECOND)) {
        rules.pass_bound = span;
    }
    rules
}

fn visibility(r: &mut Reader<'_>, at: &Place<'_>) -> Visibility {
    if !r.is_map_of(at, schema::VISIBILITY, "who sees what, such as `{jobs: team}`") {
        return Visibility::default();
    }
    let jobs = [("own", SeeJobs::Own), ("team", SeeJobs::Team), ("all", SeeJobs::All)];
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

fn quotas(r: &mut Reader<'_>, root: &Place<'_>, known: &Known<'_>, policy: &mut Policy) -> Vec<bool> {
    let Some(at) = root.field("quotas") else {
        return Vec::new();
    };
    if !r.is_list(&at, "a list of quotas, each beginning with `- name:`") {
        return Vec::new();
    }
    let count = at.items().count();
    if count > MAX_QUOTAS {
        r.error_at_key(&at, &format!("{count} quotas: at most {MAX_QUOTAS} fit in a policy"), "");
        return Vec::new();
    }
    let mut clean = Vec::with_capacity(count);
    for item in at.items() {
        let before = r.errors();
        policy.quotas.push(quota::quota(r, &item, known));
        clean.push(before == r.errors());
    }
    clean
}
