//! The layer in front of every route: one spelling of the path, then `Host`, `Origin` and
//! `Sec-Fetch-*`. Security headers go on every response, the refusals included.
//!
//! What passes carries its [`CanonicalPath`] in the request's extensions.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header;
use http::{HeaderValue, Request, Response, StatusCode};
use tower::{Layer, Service};

use crate::canonical::{CanonicalPath, PathError};
use crate::origin::{Allowed, check_browser};
use crate::request_id::RequestId;
use crate::response::{Problem, secure};

/// Puts [`Checked`] around a service.
#[derive(Debug, Clone)]
pub struct CheckLayer {
    allowed: Arc<Allowed>,
}

impl CheckLayer {
    /// A layer with these rules.
    pub fn new(allowed: Allowed) -> Self {
        Self {
            allowed: Arc::new(allowed),
        }
    }
}

impl<S> Layer<S> for CheckLayer {
    type Service = Checked<S>;

    fn layer(&self, inner: S) -> Checked<S> {
        Checked {
            inner,
            allowed: Arc::clone(&self.allowed),
        }
    }
}

/// A service that only sees requests which passed the checks.
#[derive(Debug, Clone)]
pub struct Checked<S> {
    inner: S,
    allowed: Arc<Allowed>,
}

impl<S, B, R> Service<Request<B>> for Checked<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: From<Bytes> + Send + 'static,
{
    type Response = Response<R>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<R>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match check(&request, &self.allowed) {
            Ok(path) => {
                request.extensions_mut().insert(path);
                let answer = self.inner.call(request);
                Box::pin(async move {
                    let mut response = answer.await?;
                    secure(response.headers_mut());
                    Ok(response)
                })
            }
            Err(problem) => {
                let response = refuse(&request, problem).map(R::from);
                Box::pin(std::future::ready(Ok(response)))
            }
        }
    }
}

/// Checks one request; what fails is told as a problem.
pub fn check<B>(request: &Request<B>, allowed: &Allowed) -> Result<CanonicalPath, Problem> {
    let target = request.uri().path_and_query().map_or("", |t| t.as_str());
    let path = CanonicalPath::parse(target).map_err(path_problem)?;
    check_browser(request.headers(), allowed).map_err(|refusal| refusal.problem())?;
    Ok(path)
}

fn path_problem(error: PathError) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "bad-path",
        "The path is not in its one form",
    )
    .line(error.to_string())
    .next("use plain path segments (no `..`, `//` or escapes), each parameter once")
}

/// A refusal here ends the connection: who sends such a request has nothing more to say.
fn refuse<B>(request: &Request<B>, problem: Problem) -> Response<Bytes> {
    let id = request.extensions().get::<RequestId>().copied();
    let mut response = problem.for_request(id).respond_to(request.headers());
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
