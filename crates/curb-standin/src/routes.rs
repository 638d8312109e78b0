//! From a request's head to what it asks for.

use crate::fault::Route;
use crate::texts;
use crate::world::Reply;
use http::{HeaderMap, Method};

/// A request for Ray, understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Call<'a> {
    Submit,
    List,
    Get(&'a str),
    Delete(&'a str),
    Stop(&'a str),
    Logs(&'a str),
    Tail(&'a str),
    HasPackage(&'a str, &'a str),
    PutPackage(&'a str, &'a str),
    Version,
    Nodes,
}

impl Call<'_> {
    /// Which faults wait for it, and by which id.
    pub(crate) fn fault_key(&self) -> (Route, &str) {
        match self {
            Call::Submit => (Route::Submit, ""),
            Call::List => (Route::List, ""),
            Call::Get(id) => (Route::Get, id),
            Call::Delete(id) => (Route::Delete, id),
            Call::Stop(id) => (Route::Stop, id),
            Call::Logs(id) => (Route::Logs, id),
            Call::Tail(id) => (Route::Tail, id),
            Call::HasPackage(_, name) | Call::PutPackage(_, name) => (Route::Packages, name),
            Call::Version => (Route::Version, ""),
            Call::Nodes => (Route::Nodes, ""),
        }
    }
}

/// Ray's routing table: a path that is not there is 404, another method on one that is, 405.
pub(crate) fn find<'a>(method: &Method, path: &'a str) -> Result<Call<'a>, Reply> {
    let mut segments = path.strip_prefix("/api/").unwrap_or_default().split('/');
    let parts = [
        segments.next(),
        segments.next(),
        segments.next(),
        segments.next(),
        segments.next(),
    ];
    let by_method = |allowed: &[(Method, Call<'a>)]| -> Option<usize> {
        allowed.iter().position(|(m, _)| m == method)
    };
    let mut table: Vec<(Method, Call<'a>)> = match parts {
        // The path of most requests: no table needed.
        [Some("jobs"), Some(""), None, ..] if *method == Method::POST => return Ok(Call::Submit),
        [Some("jobs"), Some(id), None, ..] if !id.is_empty() && *method == Method::GET => {
            return Ok(Call::Get(id));
        }
        [Some("jobs"), Some(""), None, ..] => {
            vec![(Method::GET, Call::List), (Method::POST, Call::Submit)]
        }
        [Some("jobs"), Some(id), None, ..] if !id.is_empty() => vec![
            (Method::DELETE, Call::Delete(id)),
            (Method::GET, Call::Get(id)),
        ],
        [Some("jobs"), Some(id), Some("stop"), None, _] if !id.is_empty() => {
            vec![(Method::POST, Call::Stop(id))]
        }
        [Some("jobs"), Some(id), Some("logs"), None, _] if !id.is_empty() => {
            vec![(Method::GET, Call::Logs(id))]
        }
        [Some("jobs"), Some(id), Some("logs"), Some("tail"), None] if !id.is_empty() => {
            vec![(Method::GET, Call::Tail(id))]
        }
        [Some("packages"), Some(protocol), Some(name), None, _]
            if !protocol.is_empty() && !name.is_empty() =>
        {
            vec![
                (Method::GET, Call::HasPackage(protocol, name)),
                (Method::PUT, Call::PutPackage(protocol, name)),
            ]
        }
        [Some("version"), None, ..] => vec![(Method::GET, Call::Version)],
        [Some("v0"), Some("nodes"), None, ..] => vec![(Method::GET, Call::Nodes)],
        _ => return Err(Reply::text(404, texts::NOT_FOUND)),
    };
    match by_method(&table) {
        Some(hit) => Ok(table.swap_remove(hit).1),
        None => Err(Reply::text(405, texts::METHOD_NOT_ALLOWED)),
    }
}

/// Ray's guard against browsers, and its token.
pub(crate) fn guard(
    method: &Method,
    headers: &HeaderMap,
    token: Option<&str>,
) -> Result<(), Reply> {
    if let Some(token) = token {
        check_token(headers, token)?;
    }
    let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if changes && is_browser(headers) {
        return Err(Reply::text(405, texts::no_browsers(method)));
    }
    Ok(())
}

fn check_token(headers: &HeaderMap, token: &str) -> Result<(), Reply> {
    let shown = ["authorization", "x-ray-authorization"]
        .iter()
        .find_map(|name| headers.get(*name));
    let Some(shown) = shown else {
        return Err(Reply::text(401, texts::NO_TOKEN));
    };
    let shown = shown.to_str().unwrap_or_default();
    match shown.split_once(' ') {
        Some((scheme, value)) if scheme.eq_ignore_ascii_case("bearer") && value == token => Ok(()),
        _ => Err(Reply::text(403, texts::BAD_TOKEN)),
    }
}

fn is_browser(headers: &HeaderMap) -> bool {
    const TELLING: [&str; 8] = [
        "referer",
        "origin",
        "sec-fetch-mode",
        "sec-fetch-dest",
        "sec-fetch-site",
        "sec-fetch-user",
        "access-control-request-method",
        "access-control-request-headers",
    ];
    let agent = headers
        .get("user-agent")
        .is_some_and(|v| v.as_bytes().starts_with(b"Mozilla"));
    agent || TELLING.iter().any(|name| headers.contains_key(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_found_as_ray_finds_them() {
        for (method, path, call) in [
            (Method::POST, "/api/jobs/", Call::Submit),
            (Method::GET, "/api/jobs/", Call::List),
            (Method::GET, "/api/jobs/a", Call::Get("a")),
            (Method::DELETE, "/api/jobs/a", Call::Delete("a")),
            (Method::POST, "/api/jobs/a/stop", Call::Stop("a")),
            (Method::GET, "/api/jobs/a/logs", Call::Logs("a")),
            (Method::GET, "/api/jobs/a/logs/tail", Call::Tail("a")),
            (
                Method::PUT,
                "/api/packages/gcs/x.zip",
                Call::PutPackage("gcs", "x.zip"),
            ),
            (Method::GET, "/api/version", Call::Version),
            (Method::GET, "/api/v0/nodes", Call::Nodes),
        ] {
            assert_eq!(find(&method, path), Ok(call), "{path}");
        }
    }

    #[test]
    fn a_missing_slash_is_404_and_a_wrong_method_405() {
        for (method, path, status) in [
            (Method::POST, "/api/jobs", 404),
            (Method::GET, "/api/jobs/a/", 404),
            (Method::GET, "/api/jobs/a/logs/tail/x", 404),
            (Method::GET, "/nosuch", 404),
            (Method::PUT, "/api/jobs/a", 405),
            (Method::GET, "/api/jobs/a/stop", 405),
        ] {
            assert_eq!(
                find(&method, path).map_err(|reply| reply.status),
                Err(status),
                "{path}"
            );
        }
    }
}
