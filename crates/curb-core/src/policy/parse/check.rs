//! What only the whole policy shows: names used twice, circles, amounts that contradict one another.

use std::collections::{BTreeMap, BTreeSet};

use crate::amount::Amount;
use crate::policy::model::{Capacity, Defaults, Match, Mode, Policy, Quota, Selector};
use crate::resource::Resource;
use crate::time::Timestamp;

use super::diagnostic::quoted;
use super::reader::{Place, Reader, Step};
use super::MAX_ORG_DEPTH;

use Step::{Index, Key};

/// Checks a policy that was read from `root`. `clean` says of each quota whether nothing was wrong with it so far: only
/// then are its amounts compared, so that one slip is told once.
pub fn check(r: &mut Reader<'_>, root: &Place<'_>, policy: &Policy, clean: &[bool]) {
    org_tree(r, root, policy);
    org_slips(r, root, policy);
    default_teams(r, root, policy);
    unique_names(r, root, policy);
    for (i, quota) in policy.quotas.iter().enumerate() {
        if clean.get(i) == Some(&true) {
            one_quota(r, root, i, quota);
        }
    }
    defaults(r, root, policy, clean);
    if clean.iter().all(|c| *c) {
        guarantees(r, root, policy);
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
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for name in policy.orgs.keys() {
        let mut path = vec![name.as_str()];
        let mut at = name.as_str();
        while let Some(parent) = policy.orgs.get(at).and_then(|o| o.parent.as_deref()) {
            if parent == name || path.len() > MAX_ORG_DEPTH {
                break;
            }
            path.push(parent);
            at = parent;
        }
        let steps = [Key("orgs"), Key(name), Key("parent")];
        let back = policy.orgs.get(at).and_then(|o| o.parent.as_deref()) == Some(name.as_str());
        if back && !told.contains(name.as_str()) {
            told.extend(&path);
            path.push(name);
            let circle: Vec<String> = path.iter().map(|p| quoted(p)).collect();
            let message = format!("org units are in a circle: {}", circle.join(" below "));
            error(r, root, &steps, &message, "leave out the `parent` of the topmost one");
        } else if !back && path.len() > MAX_ORG_DEPTH && told.is_empty() {
            let message = format!("{} has more than {MAX_ORG_DEPTH} levels of units above it", quoted(name));
            error(r, root, &steps, &message, "use fewer levels");
        }
    }
}

/// A unit that is not listed and is named like a listed one is probably a slip.
fn org_slips(r: &mut Reader<'_>, root: &Place<'_>, policy: &Policy) {
    let Some(orgs) = root.field("orgs") else { return };
    let listed: BTreeSet<&str> = orgs.keys().collect();
    let parents = policy.orgs.iter().filter_map(|(name, o)| Some(("orgs", name, "parent", o.parent.as_deref()?)));
    let owners = policy.teams.iter().filter_map(|(name, t)| Some(("teams", name, "org", t.org.as_deref()?)));
    for (section, name, field, unit) in parents.chain(owners) {
        if listed.contains(unit) {
            continue;
        }
        if let Some(near) = r.nearest(unit, listed.iter().copied()) {
            let message = format!("org unit {} is not listed in `orgs`", quoted(unit));
            let help = format!("did you mean `{near}`?");
            warn(r, root, &[Key(section), Key(name), Key(field)], &message, &help);
        }
    }
}

/// A default team of which the user is no member is charged only if the sign-in says so.
fn default_teams(r: &mut Reader<'_>, root: &Place<'_>, policy: &Policy) {
    for (user, said) in &policy.users {
        let Some(team) = &said.default_team else { continue };
        if policy.teams.get(team).is_some_and(|t| !t.members.contains(user)) {
            let message = format!("{} is no member of {} in this file", quoted(user), quoted(team));
            let help = "it counts only where the sign-in puts the user in that team";
            warn(r, root, &[Key("users"), Key(user), Key("default_team")], &message, help);
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
            let line = root.walk(&[Key("quotas"), Index(before), Key("name")], |at| at.node.pos.line);
            let message = format!("a second quota named {}", quoted(&quota.name));
            let help = format!("the first is on line {line}: each needs a name of its own");
            error(r, root, &[Key("quotas"), Index(i), Key("name")], &message, &help);
        }
    }
}

/// A quota's amounts against one another.
fn one_quota(r: &mut Reader<'_>, root: &Place<'_>, i: usize, q: &Quota) {
    for (resource, _) in q.borrow.iter() {
        if !q.limits.resources.contains_key(resource) {
            let name = resource.to_string();
            let message = format!("borrows {name}, which `limits` does not limit");
            let help = format!("add `{name}` to `limits`, or leave it out here: without a limit there is nothing to borrow");
            error(r, root, &[Key("quotas"), Index(i), Key("borrow"), Key(&name)], &message, &help);
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
        let Some(limit) = q.limits.resources.get(resource) else { continue };
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
    if limits_nothing(q) {
        let message = format!("quota {} limits nothing", quoted(&q.name));
        let help = "give it `limits`, `guarantee`, `per_job`, `submit_rate` or `budget`";
        warn(r, root, &[Key("quotas"), Index(i)], &message, help);
    }
}

fn limits_nothing(q: &Quota) -> bool {
    q.limits.resources.is_empty()
        && q.limits.jobs.is_none()
        && q.limits.queued.is_none()
        && q.guarantee.is_empty()
        && q.per_job.resources.is_empty()
        && q.per_job.duration.is_none()
        && q.submit_rate.is_none()
        && q.budgets.is_empty()
}

/// What a job is taken to ask for must be what a quota lets one job ask for.
fn defaults(r: &mut Reader<'_>, root: &Place<'_>, policy: &Policy, clean: &[bool]) {
    for (name, job_type) in &policy.job_types {
        let steps = [Key("job_types"), Key(name), Key("default_request")];
        let who = format!("a job of type {} that declares nothing", quoted(name));
        let covers = |s: &Selector| match &s.job_type {
            Some(Match::OneOf(types)) => types.contains(name),
            Some(Match::Each) | None => true,
        };
        default_fits(r, root, policy, clean, (&job_type.default_request, &steps, &who), &covers);
        if r.is_full() {
            return;
        }
    }
    let steps = [Key("default_request")];
    let untyped = |s: &Selector| s.job_type.is_none();
    let about: About<'_> = (&policy.default_request, &steps, "a job that declares nothing");
    default_fits(r, root, policy, clean, about, &untyped);
}

/// A default, where it stands, and who asks for it.
type About<'s> = (&'s Defaults, &'s [Step<'s>], &'s str);

fn default_fits(
    r: &mut Reader<'_>,
    root: &Place<'_>,
    policy: &Policy,
    clean: &[bool],
    (default, steps, who): About<'_>,
    covers: &dyn Fn(&Selector) -> bool,
) {
    if default.resources.is_empty() && default.duration.is_none() {
        return;
    }
    for (i, quota) in policy.quotas.iter().enumerate() {
        if clean.get(i) != Some(&true) || !covers(&quota.selector) {
            continue;
        }
        let help = format!("quota {} covers it: lower this, or raise its `per_job`", quoted(&quota.name));
        for (resource, amount) in default.resources.iter() {
            if let Some(most) = quota.per_job.resources.get(resource).filter(|m| amount > **m) {
                let message = format!(
                    "{who} asks for {} {}, above the {} that one job may have",
                    resource.show(amount),
                    resource.label(),
                    resource.show(*most)
                );
                let name = resource.to_string();
                let steps: Vec<Step<'_>> = steps.iter().copied().chain([Key(&name)]).collect();
                warn(r, root, &steps, &message, &help);
            }
        }
        if let (Some(asked), Some(most)) = (default.duration, quota.per_job.duration)
            && asked > most
        {
            let message = format!("{who} asks for {asked}, above the {most} that one job may run");
            let steps: Vec<Step<'_>> = steps.iter().copied().chain([Key("duration")]).collect();
            warn(r, root, &steps, &message, &help);
        }
        if r.is_full() {
            return;
        }
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
        let Some(capacity) = total(policy, resource) else { continue };
        let Some((sum, last)) = peak(&quotas).filter(|(sum, _)| *sum > capacity) else { continue };
        let show = |a: u128| resource.show(Amount(u64::try_from(a).unwrap_or(u64::MAX))).to_string();
        let message = format!(
            "guarantees of {} {} together, above the capacity of {}",
            show(sum),
            resource.label(),
            show(capacity)
        );
        let name = resource.to_string();
        let steps = [Key("quotas"), Index(last), Key("guarantee"), Key(&name)];
        error(r, root, &steps, &message, "a guarantee counts once for each bucket: lower one of them");
    }
}

/// The most that is kept at once, and the quota that begins last of those.
fn peak(quotas: &[(usize, &Quota, u128)]) -> Option<(u128, usize)> {
    // Ends before beginnings at the same moment: `until` is the first moment after.
    let mut edges: Vec<(Timestamp, bool, usize, u128)> = Vec::new();
    for (i, q, amount) in quotas {
        edges.push((q.valid.from.unwrap_or(Timestamp(i64::MIN)), true, *i, *amount));
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
    let count = if only(Selector { user: Some(Match::Each), ..Selector::default() }) {
        let members: BTreeSet<&String> = policy.teams.values().flat_map(|t| &t.members).collect();
        members.len()
    } else if only(Selector { team: Some(Match::Each), ..Selector::default() }) {
        policy.teams.values().filter(|t| !t.members.is_empty()).count()
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
