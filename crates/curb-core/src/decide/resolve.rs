//! Who a job is charged to and what it asks for: from what the gateway has proven, what the job declares, and the policy.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::violation::{Code, Quantity, Violation, When};
use crate::amount::Amount;
use crate::ledger::{State, covers, denied};
use crate::policy::Policy;
use crate::resource::{Resource, Resources};
use crate::subject::Subject;
use crate::time::Millis;

/// What is known of a request before the policy is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Whose token it came with.
    pub user: String,
    /// The token's labels.
    pub labels: BTreeMap<String, String>,
    /// The team that the job names.
    pub team: Option<String>,
    /// The type that the job names.
    pub job_type: Option<String>,
    /// The cluster: as the job names it, or the default one.
    pub cluster: String,
    /// What the job declares that it uses in all. A zero is not less than a default.
    pub declared: BTreeMap<Resource, Amount>,
    /// What Ray is asked to reserve for its entrypoint.
    pub entrypoint: BTreeMap<Resource, Amount>,
    /// How long it says it runs.
    pub duration: Option<Millis>,
    /// The priority that it wants.
    pub priority: Option<i32>,
}

/// A request made whole by the policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    /// Who it is charged to.
    pub subject: Subject,
    /// On which cluster.
    pub cluster: String,
    /// How much.
    pub request: Resources,
    /// For how long, if anybody says.
    pub duration: Option<Millis>,
    /// Higher goes first.
    pub priority: i32,
    /// What the subject may not do at all (a job type, a cluster, a priority).
    pub denials: Vec<Violation>,
}

/// A request that names what it cannot name. It is a bad request, not a violation of a limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct ResolveError {
    /// The metadata key.
    pub key: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Makes a request whole.
pub fn resolve(state: &State, ask: &Ask) -> Result<Submission, ResolveError> {
    let policy = state.policy();
    let mut denials = Vec::new();
    let team = team(policy, ask)?;
    let mut subject = Subject {
        user: ask.user.clone(),
        orgs: team
            .as_ref()
            .and_then(|t| policy.teams.get(t)?.org.as_deref())
            .map_or_else(Vec::new, |org| policy.org_path(org)),
        team,
        job_type: None,
        labels: policy
            .users
            .get(&ask.user)
            .map_or_else(BTreeMap::new, |u| u.labels.clone()),
    };
    subject.labels.extend(ask.labels.clone());
    let named = ask.job_type.as_ref().or(policy.default_job_type.as_ref());
    let job_type = named.and_then(|name| Some((name, policy.job_types.get(name)?)));
    if let Some((name, _)) = job_type {
        subject.job_type = Some(name.clone());
    } else if let Some(name) = named
        && !policy.job_types.is_empty()
    {
        denials.push(type_denial(policy, &subject, name));
    }
    let denied = denied(policy, &subject, &ask.cluster);
    if let (true, Some((name, _))) = (denied.job_type, job_type) {
        denials.push(type_denial(policy, &subject, name));
    }
    if denied.cluster {
        denials.push(cluster_denial(&subject, &ask.cluster));
    }
    let (base, highest) = job_type.map_or((0, 0), |(_, t)| {
        (t.priority, t.max_priority.max(t.priority))
    });
    let priority = ask.priority.unwrap_or(base);
    if priority > highest {
        denials.push(Violation {
            limit: Some(Quantity::Priority(highest)),
            asked: Some(Quantity::Priority(priority)),
            ..denial(
                Code::PriorityLimit,
                subject.job_type.as_ref().map_or_else(
                    || "jobs without a type".to_owned(),
                    |t| format!("job type {t}"),
                ),
                format!("declare a priority of {highest} or lower, or none"),
            )
        });
    }
    let request = request(policy, ask, job_type.map(|(_, t)| &t.default_request));
    let duration = ask
        .duration
        .or_else(|| job_type.and_then(|(_, t)| t.default_request.duration))
        .or(policy.default_request.duration)
        .or_else(|| shortest_duration(policy, &subject, &ask.cluster));
    Ok(Submission {
        subject,
        cluster: ask.cluster.clone(),
        request,
        duration,
        priority: priority.min(highest),
        denials,
    })
}

fn team(policy: &Policy, ask: &Ask) -> Result<Option<String>, ResolveError> {
    let mine: Vec<&str> = policy.teams_of(&ask.user).collect();
    if let Some(team) = &ask.team {
        if mine.contains(&team.as_str()) {
            return Ok(Some(team.clone()));
        }
        let message = if mine.is_empty() {
            format!("you are in no team, so that `{team}` cannot be charged; leave the key out")
        } else {
            format!(
                "you are not in team `{team}`; your teams: {}",
                mine.join(", ")
            )
        };
        return Err(ResolveError {
            key: "curb.team",
            message,
        });
    }
    let default = policy
        .users
        .get(&ask.user)
        .and_then(|u| u.default_team.clone())
        .filter(|t| mine.contains(&t.as_str()));
    Ok(default.or_else(|| mine.first().map(|t| (*t).to_owned())))
}

/// Resource by resource: the larger of declared and entrypoint, else the type's default, else the policy's.
///
/// A zero is not less than a default. The limits, budgets and capacity of a resource are not looked at for a job that is
/// charged none of it: a zero would pass where the smallest amount is refused, for a job that runs like any other. (Ray's
/// own zero, at the entrypoint, only says that the driver itself reserves nothing.) Who needs none of a resource uses a
/// type whose default for it is zero; who may use which type is the policy's word.
///
/// The marks that Ray puts on single nodes are places and no amounts: Ray itself knows whether the node is there.
pub(super) fn request(
    policy: &Policy,
    ask: &Ask,
    type_default: Option<&crate::policy::Defaults>,
) -> Resources {
    let mut all = Resources::none();
    let defaults = type_default.map(|d| &d.resources);
    for source in [Some(&policy.default_request.resources), defaults]
        .into_iter()
        .flatten()
    {
        for (r, a) in source {
            all.set(r.clone(), *a);
        }
    }
    let mut said: BTreeMap<&Resource, Amount> = BTreeMap::new();
    for (r, a) in ask.declared.iter().chain(&ask.entrypoint) {
        let at = said.entry(r).or_insert(*a);
        *at = (*at).max(*a);
    }
    let counts = |r: &Resource, a: Amount| a > Amount::ZERO && !r.is_name_of_a_node();
    for (r, a) in said.into_iter().filter(|(r, a)| counts(r, *a)) {
        all.set(r.clone(), a);
    }
    all.with_gpu_total()
}

/// The shortest that a quota lets one job run: what a job that says nothing is given.
fn shortest_duration(policy: &Policy, subject: &Subject, cluster: &str) -> Option<Millis> {
    policy
        .quotas
        .iter()
        .filter(|q| q.per_job.duration.is_some() && covers(&q.selector, subject, cluster))
        .filter_map(|q| q.per_job.duration)
        .min()
}

fn subject_of(subject: &Subject) -> String {
    match &subject.team {
        Some(team) => format!("user {} of team {team}", subject.user),
        None => format!("user {} (in no team)", subject.user),
    }
}

/// That a subject may not use a job type.
pub(super) fn type_denial(policy: &Policy, subject: &Subject, name: &str) -> Violation {
    let note = if policy.job_types.contains_key(name) {
        format!("{} may not use job type {name}", subject_of(subject))
    } else {
        let known: Vec<&str> = policy.job_types.keys().map(String::as_str).collect();
        format!(
            "there is no job type {name}; there are: {}",
            known.join(", ")
        )
    };
    denial(Code::JobType, format!("job type {name}"), note)
}

/// That a subject may not use a cluster.
pub(super) fn cluster_denial(subject: &Subject, cluster: &str) -> Violation {
    denial(
        Code::ClusterAccess,
        format!("cluster {cluster}"),
        format!("{} may not use cluster {cluster}", subject_of(subject)),
    )
}

fn denial(code: Code, bucket: String, note: String) -> Violation {
    Violation {
        code,
        quota: None,
        bucket,
        limit: None,
        used: None,
        asked: None,
        over: None,
        when: When::PolicyChange,
        rejects: true,
        holders: Vec::new(),
        more_holders: 0,
        period: None,
        reason: None,
        note: Some(note),
    }
}
