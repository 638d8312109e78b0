//! Ray's dashboard for signed-in operators, on an address of its own.
//!
//! Its pages are Ray's own code, so they must not share an origin with Curb's API. Only GET and HEAD pass, only paths
//! that a list names, and nothing of the client's headers. A browser signs in once with a token and gets a session that
//! lives in memory; what it may do is what the token may do, looked up on every request.

use curb_api::Kind;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use curb_api::routes::Access;
use curb_http::body::{BodyLimits, read_body};
use curb_http::checks;
use curb_http::origin::{Allowed, FetchRule};
use curb_http::request_id::RequestId;
use http::header::{self, AUTHORIZATION, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::body::Incoming;

use crate::app::App;
use crate::auth::Principal;
use crate::gateway;
use crate::reply::{Failure, OutBody, Reply, answer};

/// Where a browser signs in.
const SIGN_IN: &str = "/curb/sign-in";
/// The session's cookie.
const COOKIE: &str = "curb_dashboard";
/// Sessions at once; the oldest ends when there are more.
const MAX_SESSIONS: usize = 1000;
/// A session ends after this time.
const SESSION: Duration = Duration::from_secs(8 * 3600);
/// The largest page.
const MAX_PAGE: usize = 64 << 20;

/// Paths that may be read. A pattern's `*` is one segment; its last `**` any number. What profiles processes, reads log
/// files or reaches into a node is deliberately not here.
const READABLE: [&str; 33] = [
    "/",
    "/favicon.ico",
    "/static/**",
    "/api/version",
    "/api/authentication_mode",
    "/api/jobs/",
    "/api/jobs/*",
    "/api/cluster_status",
    "/api/component_activities",
    "/api/grafana_health",
    "/api/prometheus_health",
    "/api/serve/applications/",
    "/api/v0/actors",
    "/api/v0/actors/summarize",
    "/api/v0/cluster_events",
    "/api/v0/cluster_metadata",
    "/api/v0/jobs",
    "/api/v0/nodes",
    "/api/v0/objects",
    "/api/v0/objects/summarize",
    "/api/v0/placement_groups",
    "/api/v0/runtime_envs",
    "/api/v0/tasks",
    "/api/v0/tasks/summarize",
    "/api/v0/tasks/timeline",
    "/api/v0/workers",
    "/cluster_id",
    "/events",
    "/logical/actors",
    "/nodes",
    "/nodes/*",
    "/timezone",
    "/usage_stats_enabled",
];

const PAGE: &str = "<!doctype html><meta charset=utf-8><title>Curb: sign in</title>\
<style>body{font:16px sans-serif;max-width:32em;margin:4em auto}input{width:100%;padding:.5em;margin:.5em 0}</style>\
<h1>Ray's dashboard</h1><p>For operators. Sign in with your Curb token.</p>\
<form method=post action=/curb/sign-in><input type=password name=token autocomplete=off autofocus aria-label=Token>\
<button>Sign in</button></form>\n";

struct Session {
    since: Instant,
    /// As the token was sent, so that it is judged again on every request.
    headers: HeaderMap,
}

/// The sessions of browsers.
#[derive(Default)]
pub struct Sessions(Mutex<HashMap<String, Session>>);

impl Sessions {
    fn open(&self, headers: HeaderMap) -> Result<String, Failure> {
        let mut random = [0u8; 32];
        getrandom::fill(&mut random).map_err(|e| Failure::internal(&e))?;
        let id = hex::encode(random);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, s| s.since.elapsed() < SESSION);
        if all.len() >= MAX_SESSIONS
            && let Some(oldest) = all
                .iter()
                .min_by_key(|(_, s)| s.since)
                .map(|(id, _)| id.clone())
        {
            all.remove(&oldest);
        }
        all.insert(
            id.clone(),
            Session {
                since: Instant::now(),
                headers,
            },
        );
        Ok(id)
    }

    fn find(&self, id: &str) -> Option<HeaderMap> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(id)
            .filter(|s| s.since.elapsed() < SESSION)
            .map(|s| s.headers.clone())
    }
}

/// What the dashboard's listener lets in: browsers, from its own pages only.
///
/// # Errors
/// A host name is wrong.
pub fn allowed(hosts: &[String], address: SocketAddr) -> Result<Allowed, String> {
    let mut allowed = crate::serve::names(hosts, address).map_err(|e| e.to_string())?;
    let port = address.port();
    let own = [
        format!("http://{address}"),
        format!("http://localhost:{port}"),
    ];
    // A browser tells the address that it sees: where a proxy stands in front it is the proxy's, often https.
    let named = hosts.iter().flat_map(|host| {
        let with_port = (!host.contains(':')).then(|| format!("{host}:{port}"));
        let hosts = [Some(host.clone()), with_port].into_iter().flatten();
        hosts.flat_map(|h| [format!("http://{h}"), format!("https://{h}")])
    });
    allowed.origins = own
        .into_iter()
        .chain(named)
        .filter_map(|o| curb_http::origin::Origin::parse(&o))
        .collect();
    allowed.modes = FetchRule::OneOf(&["navigate", "no-cors", "cors", "same-origin"]);
    allowed.dests = FetchRule::OneOf(&[
        "document", "empty", "script", "style", "image", "font", "manifest",
    ]);
    allowed.cookie_needs_proof = false;
    Ok(allowed)
}

/// Serves a request of the dashboard's listener.
pub async fn handle(
    app: Arc<App>,
    allowed: Arc<Allowed>,
    sessions: Arc<Sessions>,
    request: Request<Incoming>,
) -> Reply {
    let id = request.extensions().get::<RequestId>().copied();
    let headers = request.headers().clone();
    match serve(&app, &allowed, &sessions, request).await {
        Ok(reply) => reply,
        Err(failure) => failure.reply(&headers, id),
    }
}

async fn serve(
    app: &App,
    allowed: &Allowed,
    sessions: &Sessions,
    request: Request<Incoming>,
) -> Result<Reply, Failure> {
    let target = checks::check(&request, allowed).map_err(|p| gateway::not_checked(&p))?;
    if differs_in_case(target.path()) {
        return Err(gateway::wrong_case(target.path()));
    }
    if target.path() == SIGN_IN {
        return match *request.method() {
            Method::GET => Ok(page(StatusCode::OK)),
            Method::POST => sign_in(app, sessions, request).await,
            _ => Err(Failure::not_found(
                "curb: signing in is done with GET and POST",
                "open this address in a browser",
            )),
        };
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut failure = Failure::new(
            StatusCode::METHOD_NOT_ALLOWED,
            Kind::MethodNotAllowed,
            "curb: the dashboard is for reading",
            "submit and stop jobs through Curb: ray job submit, ray job stop",
        );
        failure.allow = Some("GET, HEAD".to_owned());
        return Err(failure);
    }
    let who = match who(app, sessions, request.headers()) {
        Ok(who) => who,
        Err(_) if wants_page(request.headers()) => return Ok(redirect(SIGN_IN, None)),
        Err(failure) => return Err(failure),
    };
    if !who.may(Access::Operator) {
        return Err(only_operators());
    }
    if !is_readable(target.path()) {
        return Err(Failure::not_found(
            "curb: this page of the dashboard is not shown here",
            "go back to its first page",
        ));
    }
    let raw = request.uri().path_and_query().map_or("/", |t| t.as_str());
    let cluster = app
        .cluster(&app.config.default_cluster)
        .ok_or_else(|| Failure::internal(&"the default cluster is gone"))?;
    let accept = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|a| a.to_str().ok())
        .unwrap_or("*/*");
    let accept = if accept.contains("text/html") {
        "text/html"
    } else {
        "*/*"
    };
    let theirs = cluster.ray.page(raw, accept).await.map_err(|error| {
        tracing::info!(%error, "a page of the dashboard was not read");
        Failure::unavailable(
            "curb: Ray's dashboard does not answer at the moment",
            "try again in a moment; whether Ray is well: curb status",
            5,
        )
    })?;
    if theirs.status != 200 {
        // Ray's own error texts are tracebacks.
        return Err(answered(theirs.status));
    }
    let mut reply = answer(StatusCode::OK, "application/octet-stream", "");
    let out = reply.headers_mut();
    if let Some(value) = theirs
        .content_type
        .and_then(|t| HeaderValue::from_str(&t).ok())
    {
        out.insert(header::CONTENT_TYPE, value);
    }
    if let Some(value) = theirs
        .content_encoding
        .and_then(|t| HeaderValue::from_str(&t).ok())
    {
        out.insert(header::CONTENT_ENCODING, value);
    }
    loosen(out);
    if request.method() == Method::GET {
        *reply.body_mut() = OutBody::stream(theirs.body.limited(MAX_PAGE));
    }
    Ok(reply)
}

fn who(app: &App, sessions: &Sessions, headers: &HeaderMap) -> Result<Principal, Failure> {
    let session = cookie(headers).and_then(|id| sessions.find(id));
    app.engine
        .tokens()
        .authenticate(session.as_ref().unwrap_or(headers), app.clock.now())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(header::COOKIE)?.to_str().ok()?;
    text.split(';')
        .find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

fn wants_page(headers: &HeaderMap) -> bool {
    let mut sent = headers.get_all(header::ACCEPT).iter();
    sent.any(|a| a.to_str().is_ok_and(|a| a.contains("text/html")))
}

async fn sign_in(
    app: &App,
    sessions: &Sessions,
    request: Request<Incoming>,
) -> Result<Reply, Failure> {
    let limits = BodyLimits {
        max_bytes: 4096,
        ..BodyLimits::JSON
    };
    let body = read_body(request.into_body(), limits)
        .await
        .map_err(|e| Failure::from_problem(&e.problem()))?;
    let text = std::str::from_utf8(&body).unwrap_or_default();
    let form = curb_http::canonical::Query::parse(text).map_err(|_| {
        Failure::bad_request("curb: the form is not understood\n  next: send one field, `token`")
    })?;
    let token = form.get("token").unwrap_or_default().trim();
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| Failure::bad_request("curb: the token has strange characters\n  next: paste it as `curb token create` printed it"))?;
    headers.insert(AUTHORIZATION, value);
    let who = app
        .engine
        .tokens()
        .authenticate(&headers, app.clock.now())?;
    if !who.may(Access::Operator) {
        return Err(only_operators());
    }
    Ok(redirect("/", Some(&sessions.open(headers)?)))
}

fn only_operators() -> Failure {
    Failure::forbidden(
        "curb: the dashboard shows everybody's work: only operators read it",
        "see your own jobs with `curb jobs`, or ask an operator",
    )
}

pub(crate) fn answered(status: u16) -> Failure {
    let ours = match status {
        404 => StatusCode::NOT_FOUND,
        _ => StatusCode::BAD_GATEWAY,
    };
    Failure::new(
        ours,
        Kind::Dashboard,
        format!("curb: Ray's dashboard answered {status} to this"),
        "go back to its first page; whether Ray is well: curb status",
    )
}

fn page(status: StatusCode) -> Reply {
    let mut reply = answer(
        status,
        "text/html; charset=utf-8",
        Bytes::from_static(PAGE.as_bytes()),
    );
    let csp = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    reply.headers_mut().insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(csp),
    );
    reply
}

fn redirect(to: &'static str, session: Option<&str>) -> Reply {
    let mut reply = answer(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", "");
    reply
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_static(to));
    if let Some(id) = session
        && let Ok(value) = HeaderValue::from_str(&format!(
            "{COOKIE}={id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}",
            SESSION.as_secs()
        ))
    {
        reply.headers_mut().insert(header::SET_COOKIE, value);
    }
    reply
}

/// Ray's pages are scripts of their own origin, with styles and images inside.
fn loosen(headers: &mut HeaderMap) {
    let csp = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
               font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'";
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(csp),
    );
}

/// Whether it is a path of this listener but for the case of its letters.
fn differs_in_case(path: &str) -> bool {
    let there = |path: &str| path == SIGN_IN || is_readable(path);
    !there(path) && there(&path.to_ascii_lowercase())
}

/// Whether the list names this path.
fn is_readable(path: &str) -> bool {
    READABLE.iter().any(|pattern| {
        if let Some(prefix) = pattern.strip_suffix("**") {
            return path.starts_with(prefix) && path.len() > prefix.len();
        }
        let (mut want, mut have) = (pattern.split('/'), path.split('/'));
        loop {
            match (want.next(), have.next()) {
                (None, None) => return true,
                (Some("*"), Some(segment)) if !segment.is_empty() => {}
                (Some(a), Some(b)) if a == b => {}
                _ => return false,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_profiles_processes_or_reads_files_is_not_readable() {
        for path in [
            "/",
            "/static/js/main.js",
            "/nodes/abc",
            "/api/jobs/",
            "/api/jobs/x",
            "/api/v0/tasks",
        ] {
            assert!(is_readable(path), "{path}");
        }
        for path in [
            "/worker/cpu_profile",
            "/worker/traceback",
            "/task/cpu_profile",
            "/memory_profile",
            "/log_proxy",
            "/api/v0/logs",
            "/api/v0/logs/file",
            "/api/v0/logs/stream",
            "/api/jobs/x/logs",
            "/api/packages/gcs/x.zip",
            "/test/dump",
            "/static/",
            "/nodes/",
            "/nodes/a/b",
            "/api/job_agent/jobs/",
            "/api/gcs_healthz",
        ] {
            assert!(!is_readable(path), "{path}");
        }
    }

    #[test]
    fn a_session_is_found_by_its_own_cookie_only() {
        let sessions = Sessions::default();
        let id = sessions.open(HeaderMap::new()).expect("a session");
        assert!(sessions.find(&id).is_some() && sessions.find("x").is_none());
        let mut headers = HeaderMap::new();
        headers.insert(
            header::COOKIE,
            format!("a=b; {COOKIE}={id}").parse().expect("a header"),
        );
        assert_eq!(cookie(&headers), Some(id.as_str()));
    }
}
