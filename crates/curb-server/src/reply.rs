//! Answers: bodies, and failures as one type that becomes text for people or JSON for programs in one place.

use std::fmt::Display;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use curb_api::{Finding, Kind};
use curb_core::decide::{Code, Explanation};
use curb_http::request_id::RequestId;
use curb_http::response::{Format, footer, secure, wrapped};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde::Serialize;

/// Any error of a streamed body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer.
pub enum OutBody {
    /// All of it.
    Whole(Full<Bytes>),
    /// As it comes.
    Stream(UnsyncBoxBody<Bytes, BoxError>),
}

impl OutBody {
    /// A streamed body.
    pub fn stream<B>(body: B) -> OutBody
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        OutBody::Stream(body.map_err(Into::into).boxed_unsync())
    }
}

impl From<Full<Bytes>> for OutBody {
    fn from(body: Full<Bytes>) -> OutBody {
        OutBody::Whole(body)
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            OutBody::Whole(b) => Pin::new(b).poll_frame(cx).map_err(|never| match never {}),
            OutBody::Stream(b) => Pin::new(b).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            OutBody::Whole(b) => b.is_end_stream(),
            OutBody::Stream(b) => b.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            OutBody::Whole(b) => b.size_hint(),
            OutBody::Stream(b) => b.size_hint(),
        }
    }
}

/// An answer.
pub type Reply = Response<OutBody>;

/// An answer with a body of a type.
#[must_use]
pub fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut response = Response::new(OutBody::Whole(Full::new(body.into())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    secure(headers);
    response
}

/// 200 with JSON.
///
/// # Errors
/// The value has no JSON form (none of ours is such).
pub fn json(value: &impl Serialize) -> Result<Reply, Failure> {
    let body = serde_json::to_vec(value).map_err(|e| Failure::internal(&e))?;
    Ok(answer(StatusCode::OK, "application/json", body))
}

/// 200 with a JSON array whose members are written one by one, so that a long one is in memory as text alone.
#[derive(Debug, Default)]
pub struct Array(Vec<u8>);

impl Array {
    /// Adds a member.
    ///
    /// # Errors
    /// The value has no JSON form (none of ours is such).
    pub fn push(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        self.0.push(if self.0.is_empty() { b'[' } else { b',' });
        serde_json::to_writer(&mut self.0, value).map_err(|e| Failure::internal(&e))
    }

    /// The whole of it.
    #[must_use]
    pub fn answer(mut self) -> Reply {
        if self.0.is_empty() {
            self.0.push(b'[');
        }
        self.0.push(b']');
        answer(StatusCode::OK, "application/json", self.0)
    }
}

/// 200 with text.
#[must_use]
pub fn text(body: impl Into<Bytes>) -> Reply {
    answer(StatusCode::OK, "text/plain; charset=utf-8", body)
}

/// Why a request is not done. Boxed: it travels in results that are nearly always `Ok`.
#[derive(Clone, Debug)]
pub struct Failure(Box<Told>);

impl std::ops::Deref for Failure {
    type Target = Told;
    fn deref(&self) -> &Told {
        &self.0
    }
}

impl std::ops::DerefMut for Failure {
    fn deref_mut(&mut self) -> &mut Told {
        &mut self.0
    }
}

/// What a failure tells: what happened, which limit was met, what to do next.
#[derive(Clone, Debug)]
pub struct Told {
    /// HTTP status.
    pub status: StatusCode,
    /// Stable kebab-case code: that of a [`Kind`], or of the limit that refused.
    pub code: &'static str,
    /// The kind in a few words.
    pub title: &'static str,
    /// The text for people; ends without a line feed or with one.
    pub detail: String,
    /// In how many seconds to try again.
    pub retry_after: Option<u32>,
    /// The whole reason, when a quota refused.
    pub explanation: Option<Box<Explanation>>,
    /// What is wrong with a policy.
    pub findings: Vec<Finding>,
    /// Whether the connection ends with this answer.
    pub close: bool,
    /// With 405: the methods that there are, with commas.
    pub allow: Option<String>,
    /// Members for programs.
    pub extensions: serde_json::Map<String, serde_json::Value>,
    /// What went wrong inside. It is for the log, which names it together with the request.
    pub cause: Option<String>,
}

impl Failure {
    /// A failure of a status: what happened to what, and what to do next.
    pub fn new(status: StatusCode, kind: Kind, what: impl Display, next: impl Display) -> Failure {
        Failure::said(status, kind, format!("{what}\n  next: {next}"))
    }

    /// A failure whose text says already what to do, or what would be right.
    pub fn said(status: StatusCode, kind: Kind, detail: impl Into<String>) -> Failure {
        Failure(Box::new(Told {
            status,
            code: kind.code(),
            title: kind.title(),
            detail: detail.into(),
            retry_after: None,
            explanation: None,
            findings: Vec::new(),
            close: false,
            allow: None,
            extensions: serde_json::Map::new(),
            cause: None,
        }))
    }

    /// A refusal by a limit.
    pub fn refusal(status: StatusCode, code: Code, detail: impl Into<String>) -> Failure {
        let mut failure = Failure::said(status, Kind::Conflict, detail);
        (failure.code, failure.title) = (code.as_str(), "The job was refused");
        failure
    }

    /// Makes it one of another kind.
    pub fn become_kind(&mut self, kind: Kind) {
        (self.code, self.title) = (kind.code(), kind.title());
    }

    /// 400; the text says what would be right.
    pub fn bad_request(detail: impl Into<String>) -> Failure {
        Failure::said(StatusCode::BAD_REQUEST, Kind::BadRequest, detail)
    }

    /// 404.
    pub fn not_found(what: impl Display, next: impl Display) -> Failure {
        Failure::new(StatusCode::NOT_FOUND, Kind::NotFound, what, next)
    }

    /// 409.
    pub fn conflict(what: impl Display, next: impl Display) -> Failure {
        Failure::new(StatusCode::CONFLICT, Kind::Conflict, what, next)
    }

    /// 403.
    pub fn forbidden(what: impl Display, next: impl Display) -> Failure {
        Failure::new(StatusCode::FORBIDDEN, Kind::Forbidden, what, next)
    }

    /// 503 with a time to come back.
    pub fn unavailable(what: impl Display, next: impl Display, retry_after: u32) -> Failure {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let mut f = Failure::new(status, Kind::Unavailable, what, next);
        f.retry_after = Some(retry_after);
        f
    }

    /// 500; the cause goes to the log when it is answered, with the request's id, and not to the client.
    pub fn internal(cause: &dyn Display) -> Failure {
        let mut failure = Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            Kind::Internal,
            "curb: something went wrong inside, and it is in the server's log",
            "give an operator the request's id",
        );
        failure.cause = Some(cause.to_string());
        failure
    }

    /// What a check of `curb-http` refused.
    #[must_use]
    pub fn from_problem(problem: &curb_http::response::Problem) -> Failure {
        // A test walks the codes that `curb-http` has.
        let kind = Kind::find(&problem.code).unwrap_or(Kind::BadRequest);
        Failure::said(problem.status, kind, problem.said())
    }

    /// The answer, in the form that the request prefers.
    #[must_use]
    pub fn reply(self, request: &HeaderMap, id: Option<RequestId>) -> Reply {
        let told = *self.0;
        if let Some(cause) = &told.cause {
            tracing::error!(request = id.map(tracing::field::display), %cause, "an internal error");
        }
        let mut detail = told.detail;
        let mut reply = match Format::preferred(request) {
            Format::Json => {
                let trimmed = detail.trim_end().to_owned();
                let mut problem =
                    curb_api::Problem::new(told.status.as_u16(), told.code, told.title, trimmed);
                problem.request_id = id.map(|i| i.to_string());
                if let Some(e) = told.explanation {
                    problem.verdict = Some(e.verdict);
                    problem.violations = e.violations;
                    problem.fits_now = e.fits_now;
                    problem.expected = e.expected;
                }
                problem.findings = told.findings;
                problem.extensions = told.extensions;
                let body = serde_json::to_vec(&problem).unwrap_or_else(|_| b"{}".to_vec());
                answer(told.status, curb_api::headers::PROBLEM_JSON, body)
            }
            Format::Text => {
                // A refusal is in lines already and says where to read on; a policy's findings show the file's own lines.
                if told.explanation.is_none() {
                    if told.findings.is_empty() {
                        detail = wrapped(&detail);
                    } else if !detail.ends_with('\n') {
                        detail.push('\n');
                    }
                    detail.push_str(&footer(told.code, told.status, id));
                }
                answer(told.status, curb_api::headers::TEXT, detail)
            }
        };
        let headers = reply.headers_mut();
        headers.insert(header::VARY, HeaderValue::from_static("accept"));
        if let Some(seconds) = told.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if told.status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"curb\""),
            );
        }
        if let Some(methods) = told.allow.and_then(|m| HeaderValue::try_from(m).ok()) {
            headers.insert(header::ALLOW, methods);
        }
        if told.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }
}

/// The header that names a job whose answer is a refusal or unknown.
pub const X_JOB_ID: HeaderName = HeaderName::from_static("x-curb-job");
