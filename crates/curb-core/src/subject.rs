//! Who asks: names, ids and the subject that quotas are matched against.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text cannot be a name (of a user, team, org unit, job type, label, cluster or quota).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot be a name: use 1 to 64 letters, digits and `._@-`, beginning with a letter or digit"
)]
pub struct NameError(pub String);

/// Checks the form of a name (see [`NameError`]).
pub fn check_name(text: &str) -> Result<(), NameError> {
    let ok = text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._@-".contains(&b));
    if ok {
        Ok(())
    } else {
        Err(NameError(text.to_owned()))
    }
}

/// Who asks, as the gateway has proven it: the user by the token, team and org by the policy, labels by the policy
/// and the token. Only the job type is the job's own word, and a policy says who may use which.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// The user's name.
    pub user: String,
    /// The team the job is charged to, if the user is in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// The team's org unit and all above it, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orgs: Vec<String>,
    /// The kind of job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_type: Option<String>,
    /// Labels of the user and of the token.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl fmt::Display for Subject {
    /// `user ana, team vision, job type training`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {}", self.user)?;
        if let Some(team) = &self.team {
            write!(f, ", team {team}")?;
        }
        if let Some(job_type) = &self.job_type {
            write!(f, ", job type {job_type}")?;
        }
        Ok(())
    }
}

/// The id of a job, as its user knows it. At most 100 letters, digits and `._-`, beginning with a letter or digit, so
/// that it is one canonical segment of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

/// Why a text cannot be a job's id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot be a submission id: use 1 to 100 letters, digits and `._-`, beginning with a letter or digit"
)]
pub struct JobIdError(pub String);

impl JobId {
    /// Checks the form.
    pub fn parse(text: &str) -> Result<JobId, JobIdError> {
        let ok = text.len() <= 100
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && !text.ends_with('.')
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if ok {
            Ok(JobId(text.to_owned()))
        } else {
            // The text goes into a message: bound it.
            Err(JobIdError(text.chars().take(120).collect()))
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id under which attempt `n` (from 1) is given to Ray. Ray never frees an id, so a new attempt needs a new one.
    #[must_use]
    pub fn ray_id(&self, attempt: u32) -> String {
        if attempt <= 1 {
            self.0.clone()
        } else {
            format!("{}.attempt-{attempt}", self.0)
        }
    }

    /// The job and the attempt that have this id in Ray, if any can: what [`JobId::ray_id`] made of them. A job's own id may
    /// look like an attempt of another's; then both are meant, and the longer one comes first.
    pub fn of_ray_id(text: &str) -> impl Iterator<Item = (JobId, u32)> {
        let whole = JobId::parse(text).ok().map(|id| (id, 1));
        let attempt = text.rsplit_once(".attempt-").and_then(|(id, n)| {
            let n = n.parse().ok().filter(|n| *n > 1)?;
            let id = JobId::parse(id).ok()?;
            (id.ray_id(n) == text).then_some((id, n))
        });
        whole.into_iter().chain(attempt)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> String {
        id.0
    }
}

impl TryFrom<String> for JobId {
    type Error = JobIdError;
    fn try_from(text: String) -> Result<JobId, JobIdError> {
        JobId::parse(&text)
    }
}

/// What a signed-in person may do.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// An agent on a node: tells what runs there, and may do nothing else. The token's user is the node's name.
    Agent,
    /// Submits, sees and stops their own jobs.
    #[default]
    User,
    /// Sees all jobs and stops any.
    Operator,
    /// Operator, and policy, tokens and overrides.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Agent => "agent",
            Role::User => "user",
            Role::Operator => "operator",
            Role::Admin => "admin",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_canonical_path_segment() {
        for ok in ["raysubmit_Ab12", "train-1.v2", "a"] {
            assert!(JobId::parse(ok).is_ok(), "{ok}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a%2fb",
            "-a",
            "a b",
            "é",
            "a;b",
            "a.",
            &"x".repeat(101),
        ] {
            assert!(JobId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_attempt_has_its_own_id_in_ray() {
        let id = JobId::parse("train").expect("a valid id");
        assert_eq!(id.ray_id(1), "train");
        assert_eq!(id.ray_id(2), "train.attempt-2");
    }
}
