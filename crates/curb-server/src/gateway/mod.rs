//! The door: every request is checked, matched against the table of routes, signed in, and only then handled.
//!
//! Nothing of a client's request is passed on as it came. What Ray is sent is built from parsed values, under ids that
//! come from the ledger.

mod jobs;
pub(crate) mod logs;
pub(crate) mod packages;
pub(crate) mod submit;
pub(crate) mod tail;

use curb_api::Kind;
use std::sync::Arc;

use curb_api::routes::Access;
use curb_core::ledger::{Job, Refusal, State};
use curb_core::policy::Policy;
use curb_core::subject::{JobId, Role};
use curb_http::body::{BodyLimits, read_body};
use curb_http::canonical::Query;
use curb_http::checks;
use curb_http::request_id::RequestId;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;

pub use jobs::request_stop;
pub use submit::ask_of;

use crate::api;
use crate::app::App;
use crate::auth::Principal;
use crate::bodies::NoRoom;
use crate::reply::{Failure, Reply};
use crate::routes::{Endpoint, NoRoute};

/// A request after sign-in.
pub struct Call {
    /// The server's parts.
    pub app: Arc<App>,
    /// Who asks.
    pub who: Principal,
    /// The request's headers.
    pub headers: HeaderMap,
    /// Its query.
    pub query: Query,
    /// What stood for `{id}`, `{name}` or `{code}`.
    pub parameter: String,
}

/// Serves a request.
pub async fn handle(app: Arc<App>, mut request: Request<Incoming>) -> Reply {
    let id = request.extensions().get::<RequestId>().copied();
    let headers = std::mem::take(request.headers_mut());
    // The checks look at headers; a copy is cheaper than giving every part its own.
    *request.headers_mut() = headers.clone();
    let started = std::time::Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let outcome = route(&app, &headers, request).await;
    let reply = match outcome {
        Ok(reply) => reply,
        Err(failure) => failure.reply(&headers, id),
    };
    tracing::debug!(
        request = id.map(tracing::field::display),
        %method,
        %path,
        status = reply.status().as_u16(),
        micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        "request"
    );
    reply
}

async fn route(
    app: &Arc<App>,
    headers: &HeaderMap,
    request: Request<Incoming>,
) -> Result<Reply, Failure> {
    let target = checks::check(&request, &app.allowed).map_err(|p| not_checked(&p))?;
    let found = app
        .router
        .find(request.method(), target.path())
        .map_err(|why| match why {
            NoRoute::Path if differs_in_case(app, request.method(), target.path()) => {
                wrong_case(target.path())
            }
            why => {
                let mut failure = no_route(why, request.method(), target.path());
                failure.allow = (why == NoRoute::Method).then(|| app.router.methods(target.path()));
                failure
            }
        })?;
    let upgrade = headers.contains_key(http::header::UPGRADE);
    if upgrade != (found.endpoint == Endpoint::RayTail) {
        return Err(Failure::bad_request(if upgrade {
            "curb: only a job's log tail is a websocket\n  next: send this request without `Upgrade`"
        } else {
            "curb: the log tail is a websocket\n  next: send `Upgrade: websocket`, or read the log without /tail"
        }));
    }
    let parameter = found.parameter.unwrap_or_default();
    if found.access == Access::Open {
        return api::open(app, found.endpoint, &parameter, headers).await;
    }
    let who = app.engine.tokens().authenticate(headers, app.clock.now())?;
    if !who.may(found.access) {
        return Err(no_role(found.access, who.user(), who.0.role));
    }
    let call = Call {
        app: Arc::clone(app),
        who,
        headers: headers.clone(),
        query: target.query().clone(),
        parameter,
    };
    dispatch(call, found.endpoint, request).await
}

async fn dispatch(
    call: Call,
    endpoint: Endpoint,
    request: Request<Incoming>,
) -> Result<Reply, Failure> {
    match endpoint {
        Endpoint::RaySubmit => {
            let bytes = body(&call, request, None).await?;
            submit::submit(call, bytes).await
        }
        Endpoint::RayVersion => jobs::version(&call).await,
        Endpoint::RayList => jobs::list(&call).await,
        Endpoint::RayGet => jobs::get(&call).await,
        Endpoint::RayDelete => jobs::delete(&call).await,
        Endpoint::RayStop => {
            drain(&call, request).await?;
            jobs::stop(&call).await
        }
        Endpoint::RayLogs => logs::logs(&call).await,
        Endpoint::RayTail => tail::tail(call, request).await,
        Endpoint::RayPackageGet => packages::get(&call),
        Endpoint::RayPackagePut => packages::put(&call, request.into_body()).await,
        other => {
            let bytes = match other {
                Endpoint::PolicyPut | Endpoint::PolicyCheck | Endpoint::Explain => {
                    body(&call, request, None).await?
                }
                _ if request.method() == Method::GET || request.method() == Method::DELETE => {
                    bytes::Bytes::new()
                }
                Endpoint::AgentReport => body(&call, request, Some(crate::agents::MOST)).await?,
                _ => body(&call, request, Some(64 << 10)).await?,
            };
            api::signed_in(call, other, bytes).await
        }
    }
}

pub(crate) fn no_route(why: NoRoute, method: &Method, path: &str) -> Failure {
    match why {
        NoRoute::Path => Failure::not_found(
            format!("curb: there is nothing at {path}"),
            "Ray's job API is at /api/jobs/, with the slash; `curb openapi` describes Curb's own",
        ),
        NoRoute::Method => Failure::new(
            StatusCode::METHOD_NOT_ALLOWED,
            Kind::MethodNotAllowed,
            format!("curb: {method} is not done at {path}"),
            "use a method that the API's description names: curb openapi",
        ),
    }
}

/// A request that the checks refuse: who sends such a thing has nothing more to say on this connection.
pub(crate) fn not_checked(problem: &curb_http::response::Problem) -> Failure {
    let mut failure = Failure::from_problem(problem);
    failure.close = true;
    failure
}

/// Whoever tries spellings is not let try the next one on the same connection.
pub(crate) fn wrong_case(path: &str) -> Failure {
    let mut failure = Failure::new(
        StatusCode::BAD_REQUEST,
        Kind::BadRequest,
        format!("curb: {path} differs from a path of this server in upper and lower case only"),
        "write the path as documented, in lower case",
    );
    failure.close = true;
    failure
}

pub(crate) fn no_role(access: Access, user: &str, role: Role) -> Failure {
    let needed = match access {
        Access::Admin => "admin",
        Access::Agent => "agent",
        Access::User | Access::Open => "user",
        Access::Operator => "operator",
    };
    Failure::forbidden(
        format!("curb: this needs the role {needed}; yours ({user}) is {role}"),
        "ask somebody who has that role",
    )
}

/// Whether it is a path but for the case of its letters: what some servers behind a gateway would take for the same.
fn differs_in_case(app: &App, method: &Method, path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    lower != path && !matches!(app.router.find(method, &lower), Err(NoRoute::Path))
}

/// Reads a body of at most 1 MiB, or of `limit` bytes.
async fn body(
    call: &Call,
    request: Request<Incoming>,
    limit: Option<u64>,
) -> Result<bytes::Bytes, Failure> {
    let limits = BodyLimits {
        max_bytes: limit.unwrap_or(BodyLimits::JSON.max_bytes),
        ..BodyLimits::JSON
    };
    // Without a length it is taken to be as large as it may be.
    let declared = request.body().size_hint().exact();
    let bytes = declared.map_or(limits.max_bytes, |n| n.min(limits.max_bytes));
    let _room = call
        .app
        .bodies
        .acquire(call.who.user(), bytes)
        .await
        .map_err(no_room)?;
    read_body(request.into_body(), limits)
        .await
        .map_err(|e| body_failure(&e))
}

/// Reads and drops the small body of a request that needs none.
async fn drain(call: &Call, request: Request<Incoming>) -> Result<(), Failure> {
    body(call, request, Some(4 << 10)).await.map(drop)
}

pub(crate) fn no_room(why: NoRoom) -> Failure {
    let (status, whose) = match why {
        NoRoom::User => (StatusCode::TOO_MANY_REQUESTS, "you are sending"),
        NoRoom::All => (StatusCode::SERVICE_UNAVAILABLE, "others are sending"),
    };
    let most = why.most_mib();
    let mut failure = Failure::new(
        status,
        Kind::TooManyLargeBodies,
        format!("curb: {whose} as much in large requests as is taken at once ({most} MiB)"),
        "try again when some are through",
    );
    failure.retry_after = Some(5);
    failure.close = true;
    failure
}

pub(crate) fn body_failure(error: &curb_http::body::BodyError) -> Failure {
    let mut failure = Failure::from_problem(&error.problem());
    failure.close = true;
    failure
}

impl Call {
    /// The job id in the path.
    ///
    /// # Errors
    /// 404, as for any job that is not there: what cannot be an id is the id of nothing.
    pub fn job_id(&self) -> Result<JobId, Failure> {
        JobId::parse(&self.parameter).map_err(|_| no_job(&self.parameter))
    }

    /// What the id in the path stands for, if the caller may see it. A refusal never stands before a real job.
    ///
    /// # Errors
    /// 404 for what is not there, for what the caller may not see, and for what its owner deleted (operators see that
    /// still).
    pub async fn found(&self) -> Result<Found, Failure> {
        let id = self.job_id()?;
        let who = self.who.clone();
        let found = self
            .app
            .engine
            .look(move |state, _| find(state, &who, &id))
            .await?;
        found.ok_or_else(|| no_job(&self.parameter))
    }
}

/// What an id in a path stands for.
pub enum Found {
    /// A job of the ledger.
    Job(Box<Job>),
    /// A refusal that is told in the style of a job.
    Refused(Box<Refusal>),
}

fn find(state: &State, who: &Principal, id: &JobId) -> Option<Found> {
    let shown = |j: &&Job| !j.hidden || who.is_operator();
    let job = state
        .job(id)
        .filter(shown)
        .filter(|j| may_see(state.policy(), who, j));
    if let Some(job) = job {
        return Some(Found::Job(Box::new(job.clone())));
    }
    let mine = state.refusals().get(who.user(), id);
    let any = || state.refusals().newest(id).filter(|_| who.is_operator());
    let refusal = mine.or_else(any)?;
    Some(Found::Refused(Box::new(refusal.clone())))
}

/// The one answer for jobs that are not there and jobs that are not the caller's.
#[must_use]
pub fn no_job(id: &str) -> Failure {
    let shown: String = id.chars().take(120).collect();
    Failure::not_found(
        format!("curb: Job {shown} does not exist, or you may not see it"),
        "`curb jobs` lists those that you see",
    )
}

/// Whether somebody may see a job.
#[must_use]
pub fn may_see(policy: &Policy, who: &Principal, job: &Job) -> bool {
    who.is_operator() || policy.lets_see(who.user(), &job.new.subject)
}

/// Whether somebody may stop or hide a job.
#[must_use]
pub fn may_change(who: &Principal, job: &Job) -> bool {
    who.is_operator() || job.new.subject.user == who.user()
}
