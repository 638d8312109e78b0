//! What only the whole policy shows: names used twice, circles, amounts that contradict one another.

use std::collections::{BTreeMap, BTreeSet};

use crate::amount::Amount;
use crate::policy::model::{Capacity, Defaults, Excess, Match, Mode, Policy, Quota, Selector};
use crate::resource::Resource;
use crate::time::{Millis, Timestamp};

use super::MAX_ORG_DEPTH;
use super::top::Clean;
use crate::yaml::{Place, Reader, Step, quoted};

use Step::{Index, Key};

/// Checks a policy that was read from `root`. `clean` says of each quota what of it was right so far: only that is
/// compared, so that one slip is told once.
pub fn check(r: &mut Reader<'_>, root: &Place<'_>, policy: &Policy, clean: &[Clean]) {
    org_tree(r, root, policy);
    org_slips(r, root, policy);
    default_teams(r, root, policy);
    unique_names(r, root, policy);
    for (i, quota) in policy.quotas.iter().enumerate() {
        if clean.get(i).is_some_and(|c| c.amounts) {
            one_quota(r, root, i, quota);
            for_whoever_comes(r, root, i, quota);
        }
        if clean.get(i).is_some_and(|c| c.all) && limits_nothing(quota) {
            let message = format!("quota {} limits nothing", quoted(&quota.name));
            let help =
                "give it `limits`, `guarantee`, `per_job`, `submit_rate`, `budget` or a `ladder`";
            warn(r, root, &[Key("quotas"), Index(i)], &message, help);
        }
        if clean.get(i).is_some_and(|c| c.all) {
            idle_steps(r, root, i, quota);
        }
    }
    defaults(r, root, policy, clean);
    if clean.iter().all(|c| c.all) {
        guarantees(r, root, policy);
    }
    if r.errors() == 0 {
        undeclared(r, root, policy);
    }
}

fn error(r: &mut Reader<'_>, root: &Place<'_>, steps: &[Step<'_>], message: &str, help: &str) {
    root.walk(steps, |at| r.error(at, message, help));
}

fn warn(r: &mut Reader<'_>, root: &Place<'_>, steps: &[Step<'_>], message: &str, help: &str) {
    root.walk(steps, |at| r.warn(at, message, help));
}

/// No unit is above itself, and none is too deep.
fn org_tree(r: &mut Reader<'_>, root: &Place<'_>, policy: &Policy) {
    let names: Vec<&str> = policy.orgs.keys().map(String::as_str).collect();
    let parents: Vec<Option<usize>> = policy
        .orgs
        .values()
        .map(|o| {
            o.parent
                .as_deref()
                .and_then(|p| names.binary_search(&p).ok())
        })
        .collect();
    let mut in_circle = vec![false; names.len()];
    let mut too_deep = None;
    for start in 0..names.len() {
        let mut path = vec![start];
        let mut at = start;
        while let Some(parent) = parents[at] {
            if parent == start {
                break;
            }
            if path.len() >= MAX_ORG_DEPTH {
                too_deep = too_deep.or(Some(start));
                break;
            }
            path.push(parent);
            at = parent;
        }
        if parents[at] == Some(start) && !in_circle[start] {
            path.iter().for_each(|i| in_circle[*i] = true);
            circle(r, root, &names, &path);
        }
    }
    // In or below a circle every unit is too deep as well; that is told by the circle.
    if let Some(name) = too_deep.map(|i| names[i])
        && !in_circle.contains(&true)
    {
        let message = format!(
            "{} has {MAX_ORG_DEPTH} or more levels of units above it",
            quoted(name)
        );
        error(
            r,
            root,
            &[Key("orgs"), Key(name), Key("parent")],
            &message,
            "use fewer levels",
        );
    }
}

fn circle(r: &mut Reader<'_>, root: &Place<'_>, names: &[&str], path: &[usize]) {
    let around = path.iter().chain(path.first());
    let circle: Vec<String> = around.map(|i| quoted(names[*i])).collect();
    let message = format!("org units are in a circle: {}", circle.join(" below "));
    let steps = [Key("orgs"), Key(names[path[0]]), Key("parent")];
    error(
        r,
        root,
        &steps,
        &message,
        "leave out the `parent` of the topmost one",
    );
}

/// A unit that is not listed and is named like a listed one is probably a slip.
fn org_slips(r: &mut Reader<'_>, root: &Place<'_>, policy: &Policy) {
    let Some(orgs) = root.field("orgs") else {
        return;
    };
    let listed: BTreeSet<&str> = orgs.keys().collect();
    let parents = policy
        .orgs
        .iter()
        .filter_map(|(name, o)| Some(("orgs", name, "parent", o.parent.as_deref()?)));
    let owners = policy
        .teams
        .iter()
        .filter_map(|(name, t)| Some(("teams", name, "org", t.org.as_deref()?)));
    for (section, name, field, unit) in parents.chain(owners) {
        if listed.contains(unit) {
            continue;
        }
        if let Some(near) = r.nearest(unit, listed.iter().copied()) {
            let message = format!("org unit {} is not listed in `orgs`", quoted(unit));
            let help = format!("did you mean `{near}`?");
            warn(
                r,
                root,
                &[Key(section), Key(name), Key(field)],
                &message,
                &help,
            );
        }
    }
}

/// A default team of which the user is no member is charged only if the sign-in says so.
fn default_teams(r: &mut Reader<'_>, root: &Place<'_>, policy: &Policy) {
    for (user, said) in &policy.users {
        let Some(team) = &said.default_team else {
            continue;
        };
        if policy
            .teams
            .get(team)
            .is_some_and(|t| !t.members.contains(user))
        {
            let message = format!(
                "{} is no member of {} in this file",
                quoted(user),
                quoted(team)
            );
            let help = "it means nothing until the team has this user among its `members`";
            warn(
                r,
                root,
                &[Key("users"), Key(user), Key("default_team")],
                &message,
                help,
            );
        }
    }
}

fn unique_names(r: &mut Reader<'_>, root: &Place<'_>, policy: &Policy) {
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, quota) in policy.quotas.iter().enumerate() {
        if quota.name.is_empty() {
            continue;
        }
        if let Some(before) = first.insert(&quota.name, i) {
            first.insert(&quota.name, before);
            let line = root.walk(&[Key("quotas"), Index(before), Key("name")], |at| {
                at.node.pos.line
            });
            let message = format!("a second quota named {}", quoted(&quota.name));
            let help = format!("the first is on line {line}: each needs a name of its own");
            error(
                r,
                root,
                &[Key("quotas"), Index(i), Key("name")],
                &message,
                &help,
            );
        }
    }
}

/// A quota's amounts against one another.
fn one_quota(r: &mut Reader<'_>, root: &Place<'_>, i: usize, q: &Quota) {
    for (resource, _) in q.borrow.iter() {
        if !q.limits.resources.contains_key(resource) {
            let name = resource.to_string();
            let message = format!("borrows {name}, which `limits` does not limit");
            let help = format!(
                "add `{name}` to `limits`, or leave it out here: without a limit there is nothing to borrow"
            );
            error(
                r,
                root,
                &[Key("quotas"), Index(i), Key("borrow"), Key(&name)],
                &message,
                &help,
            );
        }
    }
    for (resource, amount) in q.guarantee.iter() {
        if let Some(limit) = q.limits.resources.get(resource).filter(|l| amount > **l) {
            let message = format!(
                "guarantees {} {}, above the limit of {}",
                resource.show(amount),
                resource.label(),
                resource.show(*limit)
            );
            let name = resource.to_string();
            let steps = [Key("quotas"), Index(i), Key("guarantee"), Key(&name)];
            error(r, root, &steps, &message, "guarantee at most the limit");
        }
    }
    for (resource, amount) in &q.per_job.resources {
        let Some(limit) = q.limits.resources.get(resource) else {
            continue;
        };
        let most = limit.saturating_add(q.borrow.get(resource));
        if *amount > most {
            let name = resource.to_string();
            let message = format!(
                "one job may ask for {} {}, which never fits: `limits` and `borrow` are {} together",
                resource.show(*amount),
                resource.label(),
                resource.show(most)
            );
            let steps = [Key("quotas"), Index(i), Key("per_job"), Key(&name)];
            warn(r, root, &steps, &message, "lower it, or raise the limit");
        }
    }
}

/// What is guaranteed to each of those whom the file does not name is kept for whoever was ever seen.
fn for_whoever_comes(r: &mut Reader<'_>, root: &Place<'_>, i: usize, q: &Quota) {
    if q.guarantee.is_empty() || q.mode != Mode::Enforce {
        return;
    }
    let s = &q.selector;
    let open = [("user", &s.user), ("cluster", &s.cluster)];
    let open = open
        .into_iter()
        .filter_map(|(dim, m)| Some((dim, m.as_ref()?)));
    let mut open = open.chain(s.labels.values().map(|m| ("label", m)));
    let Some((dim, _)) = open.find(|(_, m)| **m == Match::Each) else {
        return;
    };
    let message = format!(
        "guarantees to each {dim} that ever comes: from the first job of each on, the amount is kept for them for good, and less is left for all others"
    );
    let steps = [Key("quotas"), Index(i), Key("guarantee")];
    let help = "guarantee it to a team, an org unit or users by name";
    warn(r, root, &steps, &message, help);
}

/// Steps of a ladder for what cannot come about in this quota.
fn idle_steps(r: &mut Reader<'_>, root: &Place<'_>, i: usize, q: &Quota) {
    let limited = !q.limits.resources.is_empty()
        || q.limits.jobs.is_some()
        || !q.per_job.resources.is_empty();
    let idle = [
        (Excess::Limit, limited, "limit", "`limits` or `per_job`"),
        (
            Excess::Budget,
            !q.budgets.is_empty(),
            "budget",
            "a `budget`",
        ),
    ];
    for (excess, possible, word, what) in idle {
        if !possible && q.ladder.iter().any(|rung| rung.when == excess) {
            let message = format!(
                "quota {} has a step for `{word}`, and nothing that it could be for",
                quoted(&q.name)
            );
            let help = format!("give it {what}, or put the step into the quota that has one");
            let steps = [Key("quotas"), Index(i), Key("ladder")];
            warn(r, root, &steps, &message, &help);
        }
    }
}

fn limits_nothing(q: &Quota) -> bool {
    q.limits.resources.is_empty()
        && q.ladder.is_empty()
        && q.limits.jobs.is_none()
        && q.limits.queued.is_none()
        && q.guarantee.is_empty()
        && q.per_job.resources.is_empty()
        && q.per_job.duration.is_none()
        && q.submit_rate.is_none()
        && q.budgets.is_empty()
}

/// What a job is taken to ask for must be what each quota that covers it lets one job ask for. The lowest is compared.
fn defaults(r: &mut Reader<'_>, root: &Place<'_>, policy: &Policy, clean: &[Clean]) {
    let mut untyped = Lowest::default();
    let mut typed = Lowest::default();
    let mut by_type: BTreeMap<&str, Lowest<'_>> = BTreeMap::new();
    let sound = policy.quotas.iter().zip(clean).filter(|(_, c)| c.all);
    for (quota, _) in sound {
        match &quota.selector.job_type {
            None => {
                untyped.take(quota);
                typed.take(quota);
            }
            Some(Match::Each) => typed.take(quota),
            Some(Match::OneOf(types)) => {
                for name in types {
                    by_type.entry(name).or_default().take(quota);
                }
            }
        }
    }
    for (name, job_type) in &policy.job_types {
        let steps = [Key("job_types"), Key(name), Key("default_request")];
        let own = by_type.get(name.as_str());
        let who = || format!("a job of type {} that declares nothing", quoted(name));
        default_fits(
            r,
            root,
            &job_type.default_request,
            &steps,
            &who,
            &[Some(&typed), own],
        );
    }
    let who = || "a job that declares nothing".to_owned();
    let steps = [Key("default_request")];
    default_fits(
        r,
        root,
        &policy.default_request,
        &steps,
        &who,
        &[Some(&untyped)],
    );
}

/// The lowest that quotas let one job have, and which quota says so.
#[derive(Default)]
struct Lowest<'q> {
    amounts: BTreeMap<&'q Resource, (Amount, &'q str)>,
    duration: Option<(Millis, &'q str)>,
}

impl<'q> Lowest<'q> {
    fn take(&mut self, quota: &'q Quota) {
        for (resource, amount) in &quota.per_job.resources {
            let new = (*amount, quota.name.as_str());
            let low = self.amounts.entry(resource).or_insert(new);
            *low = new.min(*low);
        }
        if let Some(duration) = quota.per_job.duration {
            let new = (duration, quota.name.as_str());
            self.duration = Some(self.duration.map_or(new, |low| new.min(low)));
        }
    }
}

fn default_fits(
    r: &mut Reader<'_>,
    root: &Place<'_>,
    default: &Defaults,
    steps: &[Step<'_>],
    who: &dyn Fn() -> String,
    lows: &[Option<&Lowest<'_>>],
) {
    let help = |quota: &str| {
        format!(
            "quota {} covers it: lower this, or raise its `per_job`",
            quoted(quota)
        )
    };
    for (resource, amount) in &default.resources {
        let low = lows
            .iter()
            .flatten()
            .filter_map(|l| l.amounts.get(resource))
            .min();
        if let Some((most, quota)) = low.filter(|(most, _)| *amount > *most) {
            let message = format!(
                "{} asks for {} {}, above the {} that one job may have",
                who(),
                resource.show(*amount),
                resource.label(),
                resource.show(*most)
            );
            let name = resource.to_string();
            let steps: Vec<Step<'_>> = steps.iter().copied().chain([Key(&name)]).collect();
            warn(r, root, &steps, &message, &help(quota));
        }
    }
    let low = lows.iter().flatten().filter_map(|l| l.duration).min();
    if let (Some(asked), Some((most, quota))) = (default.duration, low)
        && asked > most
    {
        let message = format!(
            "{} asks for {asked}, above the {most} that one job may run",
            who()
        );
        let steps: Vec<Step<'_>> = steps.iter().copied().chain([Key("duration")]).collect();
        warn(r, root, &steps, &message, &help(quota));
    }
}

/// A job that declares nothing, and for which no default speaks, is counted as nothing: it passes limits that were meant
/// for it. GPUs and custom resources are left out, since most jobs need none of them.
fn undeclared(r: &mut Reader<'_>, root: &Place<'_>, policy: &Policy) {
    let passed = |q: &&(usize, &Quota)| passes_undeclared(policy, q.1).is_some();
    let quotas: Vec<(usize, &Quota)> = policy.quotas.iter().enumerate().collect();
    let Some((i, quota)) = quotas.iter().find(passed) else {
        return;
    };
    let Some((field, resource)) = passes_undeclared(policy, quota) else {
        return;
    };
    let all = quotas.iter().filter(passed).count();
    let message = match all {
        1 => "a job that declares nothing is counted as nothing here, and passes".to_owned(),
        n => format!(
            "a job that declares nothing is counted as nothing here, and passes {n} such quotas"
        ),
    };
    let help = match resource {
        Resource::Memory => {
            "add `default_request: {memory: 2GiB}` to the file, or `jobs` to `limits`"
        }
        _ => "add `default_request: {cpu: 1}` to the file, or `jobs` to `limits`",
    };
    warn(
        r,
        root,
        &[Key("quotas"), Index(*i), Key(field)],
        &message,
        help,
    );
}

/// Whether a job that declares nothing is counted nowhere in a quota that limits CPUs or memory: the field that limits
/// them, and which of the two.
fn passes_undeclared(policy: &Policy, q: &Quota) -> Option<(&'static str, Resource)> {
    if q.limits.jobs.is_some() {
        return None;
    }
    let limits = |r: &Resource| {
        let field = [
            ("limits", q.limits.resources.contains_key(r)),
            ("per_job", q.per_job.resources.contains_key(r)),
            ("budget", q.budgets.iter().any(|b| b.resource == *r)),
        ];
        field
            .into_iter()
            .find(|(_, has)| *has)
            .map(|(field, _)| field)
    };
    let limited: Vec<(&'static str, Resource)> = [Resource::Cpu, Resource::Memory]
        .into_iter()
        .filter_map(|r| Some((limits(&r)?, r)))
        .collect();
    let counted = limited.iter().any(|(_, r)| has_default(policy, q, r));
    limited.into_iter().next().filter(|_| !counted)
}

/// Whether every job in a quota asks for some of a resource, declared or not.
fn has_default(policy: &Policy, q: &Quota, r: &Resource) -> bool {
    let some = |d: &Defaults| d.resources.get(r).is_some_and(|a| *a > Amount::ZERO);
    if some(&policy.default_request) {
        return true;
    }
    let of_type = |name: &String| {
        policy
            .job_types
            .get(name)
            .is_some_and(|t| some(&t.default_request))
    };
    match &q.selector.job_type {
        Some(Match::OneOf(types)) => types.iter().all(of_type),
        // A job that names no type has one only where there is a default type.
        _ => policy.default_job_type.is_some() && policy.job_types.keys().all(of_type),
    }
}

/// What all guarantees keep free at once must be there. Only what is certain is compared: amounts that the file fixes,
/// and quotas that are enforced and have no window.
fn guarantees(r: &mut Reader<'_>, root: &Place<'_>, policy: &Policy) {
    let kept: Vec<(usize, &Quota, u64)> = policy
        .quotas
        .iter()
        .enumerate()
        .filter(|(_, q)| !q.guarantee.is_empty() && q.when.is_none() && q.mode == Mode::Enforce)
        .map(|(i, q)| (i, q, buckets(policy, &q.selector)))
        .collect();
    let mut resources: BTreeMap<&Resource, Vec<(usize, &Quota, u128)>> = BTreeMap::new();
    for (i, quota, count) in kept {
        for (resource, amount) in quota.guarantee.iter() {
            let all = u128::from(amount.0) * u128::from(count);
            if let Some((key, _)) = quota.guarantee.0.get_key_value(resource) {
                resources.entry(key).or_default().push((i, quota, all));
            }
        }
    }
    for (resource, quotas) in resources {
        let Some(capacity) = total(policy, resource) else {
            continue;
        };
        let Some((sum, last)) = peak(&quotas).filter(|(sum, _)| *sum > capacity) else {
            continue;
        };
        let show = |a: u128| {
            resource
                .show(Amount(u64::try_from(a).unwrap_or(u64::MAX)))
                .to_string()
        };
        let message = format!(
            "guarantees of {} {} together, above the capacity of {}",
            show(sum),
            resource.label(),
            show(capacity)
        );
        let name = resource.to_string();
        let steps = [Key("quotas"), Index(last), Key("guarantee"), Key(&name)];
        error(
            r,
            root,
            &steps,
            &message,
            "a guarantee counts once for each bucket: lower one of them",
        );
    }
}

/// The most that is kept at once, and the quota that begins last of those.
fn peak(quotas: &[(usize, &Quota, u128)]) -> Option<(u128, usize)> {
    // Ends before beginnings at the same moment: `until` is the first moment after.
    let mut edges: Vec<(Timestamp, bool, usize, u128)> = Vec::new();
    for (i, q, amount) in quotas {
        edges.push((
            q.valid.from.unwrap_or(Timestamp(i64::MIN)),
            true,
            *i,
            *amount,
        ));
        if let Some(until) = q.valid.until {
            edges.push((until, false, *i, *amount));
        }
    }
    edges.sort_unstable();
    let (mut sum, mut most) = (0u128, None);
    for (_, begins, i, amount) in edges {
        if begins {
            sum += amount;
            if most.is_none_or(|(m, _)| sum > m) {
                most = Some((sum, i));
            }
        } else {
            sum = sum.saturating_sub(amount);
        }
    }
    most
}

/// How many buckets a selector has for certain: one, or one for each name that the file gives.
fn buckets(policy: &Policy, s: &Selector) -> u64 {
    let each = |m: &Option<Match>| *m == Some(Match::Each);
    let dims = [&s.user, &s.team, &s.org, &s.job_type, &s.cluster];
    if !dims.iter().any(|m| each(m)) && s.labels.values().all(|m| *m != Match::Each) {
        return 1;
    }
    let only = |dim: Selector| *s == dim;
    let count = if only(Selector {
        user: Some(Match::Each),
        ..Selector::default()
    }) {
        let members: BTreeSet<&String> = policy.teams.values().flat_map(|t| &t.members).collect();
        members.len()
    } else if only(Selector {
        team: Some(Match::Each),
        ..Selector::default()
    }) {
        policy
            .teams
            .values()
            .filter(|t| !t.members.is_empty())
            .count()
    } else {
        0
    };
    count as u64
}

/// What all clusters have together, where the file alone says it.
fn total(policy: &Policy, resource: &Resource) -> Option<u128> {
    let amount = |r: &crate::resource::Resources| r.0.get(resource).map(|a| u128::from(a.0));
    match &policy.capacity {
        Capacity::Discover => None,
        // For every cluster: how many there are is known when the policy names several.
        Capacity::Fixed(each) => Some(amount(each)? * policy.clusters.len().max(1) as u128),
        Capacity::PerCluster(by) if policy.clusters.keys().all(|c| by.contains_key(c)) => {
            by.values().map(amount).sum()
        }
        Capacity::PerCluster(_) => None,
    }
}
