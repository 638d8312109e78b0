//! Org units, teams, users, job types and clusters.

use std::collections::{BTreeMap, BTreeSet};

use crate::policy::model::{ClusterRule, JobType, Org, Policy, Team, User};
use crate::policy::schema;

use super::amounts::request;
use super::names::{Known, allowed, named, reference};
use super::{MAX_PRIORITY, MAX_WEIGHT};
use crate::yaml::read::too_many;
use crate::yaml::{Place, Reader, quoted};

fn weight(r: &mut Reader<'_>, at: &Place<'_>) -> u32 {
    at.field("weight")
        .and_then(|at| r.whole(&at, "a weight", 1, MAX_WEIGHT))
        .and_then(|w| u32::try_from(w).ok())
        .unwrap_or(1)
}

pub fn orgs(r: &mut Reader<'_>, root: &Place<'_>) -> BTreeMap<String, Org> {
    named(r, root, "orgs", "org unit", |r, at| {
        r.is_map_of(
            at,
            schema::ORG,
            "the fields of an org unit, such as `{weight: 2}`",
        );
        Org {
            parent: at
                .field("parent")
                .and_then(|p| r.name(&p, "the name of an org unit")),
            weight: weight(r, at),
        }
    })
}

/// Units that only a team or another unit names.
pub fn add_named_orgs(policy: &mut Policy) {
    let parents = policy.orgs.values().filter_map(|o| o.parent.clone());
    let owners = policy.teams.values().filter_map(|t| t.org.clone());
    let named: Vec<String> = parents.chain(owners).collect();
    for name in named {
        policy.orgs.entry(name).or_insert(Org {
            parent: None,
            weight: 1,
        });
    }
}

pub fn teams(r: &mut Reader<'_>, root: &Place<'_>) -> BTreeMap<String, Team> {
    named(r, root, "teams", "team", |r, at| {
        r.is_map_of(
            at,
            schema::TEAM,
            "the fields of a team, such as `{members: [ana]}`",
        );
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
            org: at
                .field("org")
                .and_then(|o| r.name(&o, "the name of an org unit")),
            members,
            weight: weight(r, at),
        }
    })
}

pub fn users(r: &mut Reader<'_>, root: &Place<'_>, known: &Known<'_>) -> BTreeMap<String, User> {
    named(r, root, "users", "user", |r, at| {
        r.is_map_of(
            at,
            schema::USER,
            "the fields of a user, such as `{weight: 2}`",
        );
        User {
            weight: weight(r, at),
            default_team: at
                .field("default_team")
                .and_then(|t| reference(r, &t, "team", &known.teams)),
            labels: at
                .field("labels")
                .map(|l| labels(r, &l))
                .unwrap_or_default(),
        }
    })
}

fn labels(r: &mut Reader<'_>, at: &Place<'_>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    if !r.is_map(at, "labels such as `{grade: senior}`")
        || too_many(r, at, at.keys().count(), "labels")
    {
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

pub fn job_types(
    r: &mut Reader<'_>,
    root: &Place<'_>,
    known: &Known<'_>,
) -> BTreeMap<String, JobType> {
    named(r, root, "job_types", "job type", |r, at| {
        r.is_map_of(
            at,
            schema::JOB_TYPE,
            "the fields of a job type, such as `{priority: 5}`",
        );
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
            default_request: at
                .field("default_request")
                .map(|d| request(r, &d))
                .unwrap_or_default(),
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

pub fn clusters(
    r: &mut Reader<'_>,
    root: &Place<'_>,
    known: &Known<'_>,
) -> BTreeMap<String, ClusterRule> {
    named(r, root, "clusters", "cluster", |r, at| {
        r.is_map_of(
            at,
            schema::CLUSTER,
            "the fields of a cluster, such as `{allowed: {org: research}}`",
        );
        ClusterRule {
            allowed: allowed(r, at, known),
        }
    })
}
