//! Which handler serves a request. Built from the one table of routes; what is not in it does not exist.

use curb_api::routes::{self as r, Access, Method as M, ROUTES, Route};
use http::Method;

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(
    missing_docs,
    reason = "each is explained by its line in curb_api::routes::ROUTES"
)]
pub enum Endpoint {
    Healthz,
    Readyz,
    Status,
    Explain,
    Jobs,
    Job,
    JobStop,
    JobRelease,
    JobExempt,
    Quotas,
    Usage,
    TokenList,
    TokenCreate,
    TokenRevoke,
    OverrideList,
    OverrideAdd,
    OverrideRemove,
    PolicyGet,
    PolicyPut,
    PolicyCheck,
    ModeGet,
    ModePut,
    Preview,
    Journal,
    AgentReport,
    OpenApi,
    Reason,
    RayVersion,
    RaySubmit,
    RayList,
    RayGet,
    RayDelete,
    RayStop,
    RayLogs,
    RayTail,
    RayPackageGet,
    RayPackagePut,
}

impl Endpoint {
    /// The endpoint of a row of the table; `None` for one that no handler serves.
    #[must_use]
    pub fn of(method: M, path: &str) -> Option<Endpoint> {
        Some(match (method, path) {
            (M::Get, r::HEALTHZ) => Endpoint::Healthz,
            (M::Get, r::READYZ) => Endpoint::Readyz,
            (M::Get, r::STATUS) => Endpoint::Status,
            (M::Post, r::EXPLAIN) => Endpoint::Explain,
            (M::Get, r::JOBS) => Endpoint::Jobs,
            (M::Get, r::JOB) => Endpoint::Job,
            (M::Post, r::JOB_STOP) => Endpoint::JobStop,
            (M::Post, r::JOB_RELEASE) => Endpoint::JobRelease,
            (M::Post, r::JOB_EXEMPT) => Endpoint::JobExempt,
            (M::Get, r::QUOTAS) => Endpoint::Quotas,
            (M::Get, r::USAGE) => Endpoint::Usage,
            (M::Get, r::TOKENS) => Endpoint::TokenList,
            (M::Post, r::TOKENS) => Endpoint::TokenCreate,
            (M::Delete, r::TOKEN) => Endpoint::TokenRevoke,
            (M::Get, r::OVERRIDES) => Endpoint::OverrideList,
            (M::Post, r::OVERRIDES) => Endpoint::OverrideAdd,
            (M::Delete, r::OVERRIDE) => Endpoint::OverrideRemove,
            (M::Get, r::POLICY) => Endpoint::PolicyGet,
            (M::Put, r::POLICY) => Endpoint::PolicyPut,
            (M::Post, r::POLICY_CHECK) => Endpoint::PolicyCheck,
            (M::Get, r::MODE) => Endpoint::ModeGet,
            (M::Put, r::MODE) => Endpoint::ModePut,
            (M::Get, r::PREVIEW) => Endpoint::Preview,
            (M::Get, r::JOURNAL) => Endpoint::Journal,
            (M::Post, r::AGENT_REPORT) => Endpoint::AgentReport,
            (M::Get, r::OPENAPI) => Endpoint::OpenApi,
            (M::Get, r::REASON) => Endpoint::Reason,
            (M::Get, r::ray::VERSION) => Endpoint::RayVersion,
            (M::Post, r::ray::JOBS) => Endpoint::RaySubmit,
            (M::Get, r::ray::JOBS) => Endpoint::RayList,
            (M::Get, r::ray::JOB) => Endpoint::RayGet,
            (M::Delete, r::ray::JOB) => Endpoint::RayDelete,
            (M::Post, r::ray::JOB_STOP) => Endpoint::RayStop,
            (M::Get, r::ray::JOB_LOGS) => Endpoint::RayLogs,
            (M::Get, r::ray::JOB_LOGS_TAIL) => Endpoint::RayTail,
            (M::Get, r::ray::PACKAGE) => Endpoint::RayPackageGet,
            (M::Put, r::ray::PACKAGE) => Endpoint::RayPackagePut,
            _ => return None,
        })
    }
}

struct Row {
    method: &'static str,
    segments: Vec<&'static str>,
    slash: bool,
    endpoint: Endpoint,
    access: Access,
}

/// The routes, ready to be matched.
pub struct Router {
    rows: Vec<Row>,
}

/// A request's route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What serves it.
    pub endpoint: Endpoint,
    /// Who may.
    pub access: Access,
    /// What stood for `{id}`, `{name}` or `{code}`.
    pub parameter: Option<String>,
}

/// Why a request has no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// The path is not one.
    Path,
    /// The path is, for another method.
    Method,
}

impl Default for Router {
    fn default() -> Self {
        Self::new()
    }
}

impl Router {
    /// From the table.
    #[must_use]
    pub fn new() -> Router {
        let row = |route: &'static Route| {
            Some(Row {
                method: route.method.as_str(),
                segments: segments(route.path).collect(),
                slash: route.path.ends_with('/'),
                endpoint: Endpoint::of(route.method, route.path)?,
                access: route.access,
            })
        };
        Router {
            rows: ROUTES.iter().filter_map(row).collect(),
        }
    }

    /// The route of a canonical path.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, method: &Method, path: &str) -> Result<Found, NoRoute> {
        let mut why = NoRoute::Path;
        for row in self.at(path) {
            if !row.methods().any(|m| m == method.as_str()) {
                why = NoRoute::Method;
                continue;
            }
            let at = row.segments.iter().position(|s| s.starts_with('{'));
            let parameter = at.and_then(|at| segments(path).nth(at));
            return Ok(Found {
                endpoint: row.endpoint,
                access: row.access,
                parameter: parameter.map(str::to_owned),
            });
        }
        Err(why)
    }

    /// The methods that a path has, with commas, as the header `Allow` names them.
    #[must_use]
    pub fn methods(&self, path: &str) -> String {
        let all: Vec<_> = self.at(path).flat_map(Row::methods).collect();
        all.join(", ")
    }

    /// The rows of a path, one for each method.
    fn at<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| {
            let mut wanted = row.segments.iter();
            row.slash == path.ends_with('/')
                && segments(path).all(|have| {
                    wanted
                        .next()
                        .is_some_and(|want| want.starts_with('{') || *want == have)
                })
                && wanted.next().is_none()
        })
    }
}

impl Row {
    /// What it answers to. Who only looks whether a server lives asks for no body.
    fn methods(&self) -> impl Iterator<Item = &'static str> {
        let looks = matches!(self.endpoint, Endpoint::Healthz | Endpoint::Readyz);
        [self.method].into_iter().chain(looks.then_some("HEAD"))
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|s| !s.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_has_a_handler() {
        for route in ROUTES {
            assert!(
                Endpoint::of(route.method, route.path).is_some(),
                "{} {}",
                route.method.as_str(),
                route.path
            );
        }
        assert_eq!(Router::new().rows.len(), ROUTES.len());
    }

    #[test]
    fn every_row_is_found_by_its_own_path_and_no_other() {
        let router = Router::new();
        for route in ROUTES {
            let path = route
                .path
                .replace("{id}", "x1")
                .replace("{name}", "x1")
                .replace("{code}", "x1");
            let method: Method = route.method.as_str().parse().expect("a method");
            let found = router.find(&method, &path).expect(&path);
            assert_eq!(Some(found.endpoint), Endpoint::of(route.method, route.path));
            let other = if path.ends_with('/') {
                path.trim_end_matches('/').to_owned()
            } else {
                format!("{path}/")
            };
            assert_eq!(
                router
                    .find(&method, &other)
                    .map(|f| f.endpoint)
                    .ok()
                    .filter(|e| *e == found.endpoint),
                None,
                "{other}"
            );
            assert!(router.find(&Method::PATCH, &path).is_err());
        }
    }

    #[test]
    fn who_looks_whether_the_server_lives_may_ask_for_no_body_and_nobody_else_may() {
        let router = Router::new();
        for (path, methods) in [
            (r::HEALTHZ, "GET, HEAD"),
            (r::READYZ, "GET, HEAD"),
            (r::ray::JOBS, "POST, GET"),
            ("/curb/v1/jobs/x1", "GET"),
            ("/api/jobs", ""),
        ] {
            assert_eq!(router.methods(path), methods, "{path}");
            let head = router.find(&Method::HEAD, path).is_ok();
            assert_eq!(head, methods.contains("HEAD"), "{path}");
        }
    }

    #[test]
    fn what_ray_has_and_the_table_has_not_does_not_exist() {
        let router = Router::new();
        for path in [
            "/",
            "/api/serve/applications/",
            "/api/v0/logs/file",
            "/worker/cpu_profile",
            "/api/jobs",
            "/nodes",
            "/a/b/c/d/e/f/g/h/i/j",
        ] {
            assert_eq!(
                router.find(&Method::GET, path),
                Err(NoRoute::Path),
                "{path}"
            );
        }
    }
}
