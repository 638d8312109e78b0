//! Every route, as constants that the server's router, the client and the description share.
//!
//! `{id}` stands for one canonical segment. What is not here does not exist: 404.

/// Alive: the process answers.
pub const HEALTHZ: &str = "/healthz";
/// Ready: it can decide durably. Names what is not ready.
pub const READYZ: &str = "/readyz";
/// What the server does and knows.
pub const STATUS: &str = "/curb/v1/status";
/// Would this fit, and if not, why and when?
pub const EXPLAIN: &str = "/curb/v1/explain";
/// Jobs.
pub const JOBS: &str = "/curb/v1/jobs";
/// One job.
pub const JOB: &str = "/curb/v1/jobs/{id}";
/// Stop a job.
pub const JOB_STOP: &str = "/curb/v1/jobs/{id}/stop";
/// Give back the grant of a quarantined job.
pub const JOB_RELEASE: &str = "/curb/v1/jobs/{id}/release";
/// Resource-time that was granted.
pub const USAGE: &str = "/curb/v1/usage";
/// One job: out of reach of ladders for a time.
pub const JOB_EXEMPT: &str = "/curb/v1/jobs/{id}/exempt";
/// Buckets: limits and use.
pub const QUOTAS: &str = "/curb/v1/quotas";
/// Tokens.
pub const TOKENS: &str = "/curb/v1/tokens";
/// One token.
pub const TOKEN: &str = "/curb/v1/tokens/{id}";
/// Temporary changes of limits.
pub const OVERRIDES: &str = "/curb/v1/overrides";
/// One of them.
pub const OVERRIDE: &str = "/curb/v1/overrides/{id}";
/// The policy in force.
pub const POLICY: &str = "/curb/v1/policy";
/// Check a policy without applying it.
pub const POLICY_CHECK: &str = "/curb/v1/policy/check";
/// Enforced or observed.
pub const MODE: &str = "/curb/v1/mode";
/// What enforcing would have changed.
pub const PREVIEW: &str = "/curb/v1/preview";
/// Records of the journal.
pub const JOURNAL: &str = "/curb/v1/journal";
/// What an agent saw on its node.
pub const AGENT_REPORT: &str = "/curb/v1/agent/report";
/// This description.
pub const OPENAPI: &str = "/curb/v1/openapi.json";
/// The page of a reason code.
pub const REASON: &str = "/curb/v1/reasons/{code}";

/// Ray's own API at the same address, as Ray's clients speak it.
pub mod ray {
    /// Which Ray.
    pub const VERSION: &str = "/api/version";
    /// Submit and list. The slash at the end is Ray's.
    pub const JOBS: &str = "/api/jobs/";
    /// Get and delete.
    pub const JOB: &str = "/api/jobs/{id}";
    /// Stop.
    pub const JOB_STOP: &str = "/api/jobs/{id}/stop";
    /// The log so far.
    pub const JOB_LOGS: &str = "/api/jobs/{id}/logs";
    /// The log as it is written, over a websocket.
    pub const JOB_LOGS_TAIL: &str = "/api/jobs/{id}/logs/tail";
    /// Packages of files.
    pub const PACKAGE: &str = "/api/packages/gcs/{name}";
}

/// HTTP methods in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// GET
    Get,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
}

impl Method {
    /// Upper case, as on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
        }
    }
}

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Anybody, without a token.
    Open,
    /// The agent of a node, and nobody else.
    Agent,
    /// Any signed-in user, for what is theirs; operators for all.
    User,
    /// Operators and admins.
    Operator,
    /// Admins.
    Admin,
}

/// A route with what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Method.
    pub method: Method,
    /// Path with `{parameters}`.
    pub path: &'static str,
    /// Who may.
    pub access: Access,
    /// One line.
    pub summary: &'static str,
}

const fn route(method: Method, path: &'static str, access: Access, summary: &'static str) -> Route {
    Route {
        method,
        path,
        access,
        summary,
    }
}

/// All routes.
pub const ROUTES: &[Route] = &[
    route(Method::Get, HEALTHZ, Access::Open, "Alive?"),
    route(
        Method::Get,
        READYZ,
        Access::Open,
        "Ready to decide durably? Names what is not",
    ),
    route(
        Method::Get,
        STATUS,
        Access::User,
        "Version, mode, clusters, journal, and what is hard and what is watched",
    ),
    route(
        Method::Post,
        EXPLAIN,
        Access::User,
        "Would this job fit, and if not, why and when? Changes nothing",
    ),
    route(
        Method::Get,
        JOBS,
        Access::User,
        "Jobs that the caller may see, newest first",
    ),
    route(
        Method::Get,
        JOB,
        Access::User,
        "One job, and what it waits for",
    ),
    route(
        Method::Post,
        JOB_STOP,
        Access::User,
        "Stop a job, waiting or running",
    ),
    route(
        Method::Post,
        JOB_RELEASE,
        Access::Operator,
        "Vouch that nothing of a quarantined job runs any more",
    ),
    route(
        Method::Post,
        JOB_EXEMPT,
        Access::Operator,
        "Hold a job out of reach of ladders for a time, or no longer",
    ),
    route(
        Method::Get,
        QUOTAS,
        Access::User,
        "Limits and use of the caller's buckets; `all` for operators",
    ),
    route(
        Method::Get,
        USAGE,
        Access::User,
        "Resource-time that was granted and held: the caller's own, or everybody's for operators",
    ),
    route(
        Method::Get,
        TOKENS,
        Access::Admin,
        "All tokens, without their secrets",
    ),
    route(
        Method::Post,
        TOKENS,
        Access::Admin,
        "Make a token; its text is in this answer and nowhere else",
    ),
    route(Method::Delete, TOKEN, Access::Admin, "Revoke a token"),
    route(
        Method::Get,
        OVERRIDES,
        Access::Admin,
        "Temporary changes of limits in force",
    ),
    route(
        Method::Post,
        OVERRIDES,
        Access::Admin,
        "Change limits for a time",
    ),
    route(
        Method::Delete,
        OVERRIDE,
        Access::Admin,
        "Take a change back",
    ),
    route(
        Method::Get,
        POLICY,
        Access::Operator,
        "The policy in force, or an older version of it",
    ),
    route(
        Method::Put,
        POLICY,
        Access::Admin,
        "Check a policy and put it in force",
    ),
    route(
        Method::Post,
        POLICY_CHECK,
        Access::User,
        "Check a policy and change nothing",
    ),
    route(
        Method::Get,
        MODE,
        Access::User,
        "Enforced or observed, and who said so",
    ),
    route(
        Method::Put,
        MODE,
        Access::Admin,
        "Enforce, observe, or do as the policy says",
    ),
    route(
        Method::Get,
        PREVIEW,
        Access::Operator,
        "What would have been refused or queued, had everything been enforced",
    ),
    route(
        Method::Get,
        JOURNAL,
        Access::Operator,
        "Records of the journal after a number; can wait for new ones",
    ),
    route(
        Method::Post,
        AGENT_REPORT,
        Access::Agent,
        "What an agent saw on its node; the answer says what it should look at",
    ),
    route(Method::Get, OPENAPI, Access::Open, "This description"),
    route(
        Method::Get,
        REASON,
        Access::Open,
        "What a reason code means and what to do",
    ),
    route(
        Method::Get,
        ray::VERSION,
        Access::User,
        "Ray's version, as Ray says it",
    ),
    route(Method::Post, ray::JOBS, Access::User, "Submit a job"),
    route(
        Method::Get,
        ray::JOBS,
        Access::User,
        "The caller's jobs, as Ray lists jobs",
    ),
    route(
        Method::Get,
        ray::JOB,
        Access::User,
        "A job, as Ray describes one",
    ),
    route(
        Method::Delete,
        ray::JOB,
        Access::User,
        "Hide an ended job; its id stays taken",
    ),
    route(Method::Post, ray::JOB_STOP, Access::User, "Stop a job"),
    route(
        Method::Get,
        ray::JOB_LOGS,
        Access::User,
        "A job's log so far",
    ),
    route(
        Method::Get,
        ray::JOB_LOGS_TAIL,
        Access::User,
        "A job's log as it is written (websocket)",
    ),
    route(
        Method::Get,
        ray::PACKAGE,
        Access::User,
        "Is a package there?",
    ),
    route(
        Method::Put,
        ray::PACKAGE,
        Access::User,
        "Upload a package, at most 100 MiB",
    ),
];

/// A path with its one parameter filled in.
///
/// `segment` must be canonical already (see [`is_segment`]); the client checks that before it calls this.
#[must_use]
pub fn fill(path: &str, segment: &str) -> String {
    match (path.find('{'), path.find('}')) {
        (Some(open), Some(close)) if open < close => {
            format!("{}{segment}{}", &path[..open], &path[close + 1..])
        }
        _ => path.to_owned(),
    }
}

/// Whether a text may stand as one segment of a path: 1 to 100 letters, digits and `._-`, beginning with a letter, a
/// digit or `_`, not ending with a dot.
#[must_use]
pub fn is_segment(text: &str) -> bool {
    (1..=100).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && !text.ends_with('.')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_route_is_listed_twice() {
        let all: BTreeSet<_> = ROUTES.iter().map(|r| (r.method, r.path)).collect();
        assert_eq!(all.len(), ROUTES.len());
    }

    #[test]
    fn a_parameter_is_filled_in_place() {
        assert_eq!(fill(JOB_STOP, "a.b"), "/curb/v1/jobs/a.b/stop");
        assert_eq!(fill(JOBS, "x"), JOBS);
    }

    #[test]
    fn what_could_change_a_path_is_no_segment() {
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a%2f",
            "a?b",
            "a b",
            "a\n",
            "-a",
            "a.",
            &"x".repeat(101),
        ] {
            assert!(!is_segment(bad), "{bad}");
        }
        for good in ["a", "_ray_pkg_0f.zip", "raysubmit_Ab1"] {
            assert!(is_segment(good), "{good}");
        }
    }
}
