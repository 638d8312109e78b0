//! The calls.

use crate::body::{RayBody, RequestBody, read_all};
use crate::config::{ConfigError, RayConfig};
use crate::error::{NotSent, RayError, SubmitError};
use crate::id::{check_id, check_segment};
use crate::list::Listed;
use crate::nodes::{self, Cluster, MAX_NODES};
use crate::page::{self, Page};
use crate::pool::{Lease, NotSentCause, Pool, SendFailure};
use crate::reason;
use crate::submit::{SubmitRequest, Submitted, encode, read_answer};
use crate::tail::{self, Tail};
use crate::types::{JobDetails, PackageProtocol, StopReply, Version};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A client of one Ray cluster. Cloning is cheap and shares the connections.
///
/// Needs a Tokio runtime with time and IO. Every future may be dropped at any time; for a
/// submission, that leaves its outcome unknown.
#[derive(Clone)]
pub struct RayClient {
    pool: Pool,
    /// For what may be read slowly: see [`RayConfig::max_streams`].
    streams: Pool,
    config: Arc<RayConfig>,
}

impl fmt::Debug for RayClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RayClient")
            .field("base", &self.config.base)
            .finish_non_exhaustive()
    }
}

impl RayClient {
    /// A client; connects on first use.
    pub fn new(config: RayConfig) -> Result<RayClient, ConfigError> {
        Ok(RayClient {
            pool: Pool::new(&config, config.max_connections)?,
            streams: Pool::new(&config, config.max_streams)?,
            config: Arc::new(config),
        })
    }

    /// The configuration it was made from.
    pub fn config(&self) -> &RayConfig {
        &self.config
    }

    /// Which Ray it is, and which incarnation of its head.
    pub async fn version(&self) -> Result<Version, RayError> {
        self.version_within(self.config.request_timeout).await
    }

    /// The same for who cannot wait as long as other calls do: by a deadline of its own, so that it is still told
    /// whether Ray was late or whether no connection was free.
    pub async fn version_within(&self, limit: Duration) -> Result<Version, RayError> {
        let what = "ask Ray for its version";
        let request = self.request(what, Method::GET, "/api/version", RequestBody::empty())?;
        let max = self.config.max_body;
        let body = self.exchange(&self.pool, what, request, limit, max).await?;
        parse(what, &body)
    }

    /// Submits a job, once: it is never sent a second time by this client.
    pub async fn submit(&self, request: &SubmitRequest) -> Result<Submitted, SubmitError> {
        let id = &request.submission_id;
        let body = encode(request)?;
        let request =
            build(Method::POST, "/api/jobs/", RequestBody::whole(body)).map_err(|error| {
                SubmitError::NotSent {
                    id: id.clone(),
                    cause: NotSent::Unfit,
                    reason: error.to_string(),
                }
            })?;
        let deadline = Instant::now() + self.config.request_timeout;
        let (response, lease) =
            self.pool
                .send(request, deadline)
                .await
                .map_err(|failure| match failure {
                    SendFailure::NotSent { reason, cause } => SubmitError::NotSent {
                        id: id.clone(),
                        cause: match cause {
                            NotSentCause::Busy => NotSent::Busy,
                            NotSentCause::Stale | NotSentCause::NoConnection => {
                                NotSent::Unreachable
                            }
                        },
                        reason,
                    },
                    SendFailure::Lost { reason, .. } => SubmitError::Unknown {
                        id: id.clone(),
                        status: None,
                        reason,
                    },
                })?;
        let status = response.status().as_u16();
        match read_all(response.into_body(), lease, self.config.max_body, deadline).await {
            Ok(body) => read_answer(id, status, &body),
            Err(failure) => Err(SubmitError::Unknown {
                id: id.clone(),
                status: Some(status),
                reason: format!("Ray's answer {status} was not read to its end: {failure:?}"),
            }),
        }
    }

    /// The record of `id`, or none if Ray says that there is none (which proves nothing about a
    /// submission that is still on its way).
    pub async fn get(&self, id: &str) -> Result<Option<JobDetails>, RayError> {
        check_id(id)?;
        let what = format!("get job {id}");
        match self
            .get_json(&what, &format!("/api/jobs/{id}"), self.config.max_body)
            .await
        {
            Ok(job) => Ok(Some(job)),
            Err(RayError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every record, drivers too. Ray has no paging: bounded by `max_list_body`.
    pub async fn list(&self) -> Result<Vec<JobDetails>, RayError> {
        self.get_json("list the jobs", "/api/jobs/", self.config.max_list_body)
            .await
    }

    /// The records of `wanted` submission ids out of Ray's whole list, which is read on a thread of its own: with a long
    /// history it is tens of megabytes. Bounded by `max_list_body`.
    pub async fn list_of(&self, wanted: HashSet<String>) -> Result<Listed, RayError> {
        let what = "list the jobs";
        let request = self.request(what, Method::GET, "/api/jobs/", RequestBody::empty())?;
        let (limit, max) = (self.config.request_timeout, self.config.max_list_body);
        let body = self.exchange(&self.pool, what, request, limit, max).await?;
        let malformed = |reason: String| RayError::Malformed {
            what: what.to_owned(),
            reason,
        };
        match tokio::task::spawn_blocking(move || Listed::read(&body, &wanted)).await {
            Ok(read) => read.map_err(|error| malformed(error.to_string())),
            Err(error) => Err(malformed(error.to_string())),
        }
    }

    /// Asks Ray to end a job. Ray only passes a signal on: the end shows in the status later.
    pub async fn stop(&self, id: &str) -> Result<StopReply, RayError> {
        check_id(id)?;
        let what = format!("stop job {id}");
        let path = format!("/api/jobs/{id}/stop");
        let body = self
            .call(
                &what,
                Method::POST,
                &path,
                RequestBody::empty(),
                self.config.max_body,
            )
            .await?;
        parse(&what, &body)
    }

    /// The log so far, as Ray's JSON (`{"logs": "…"}`), streamed. Bound it with
    /// [`RayBody::limited`].
    pub async fn logs(&self, id: &str) -> Result<RayBody, RayError> {
        check_id(id)?;
        let what = format!("read the log of job {id}");
        let request = self.request(
            &what,
            Method::GET,
            &format!("/api/jobs/{id}/logs"),
            RequestBody::empty(),
        )?;
        let deadline = Instant::now() + self.config.request_timeout;
        let (response, lease) = self
            .send(
                &self.streams,
                &what,
                request,
                deadline,
                self.config.request_timeout,
            )
            .await?;
        if response.status() != 200 {
            return Err(self.refusal(&what, response, lease, deadline).await);
        }
        Ok(RayBody::new(
            what,
            response.into_body(),
            lease,
            self.config.stream_idle_timeout,
        ))
    }

    /// A page of the dashboard, streamed, whatever its status. Which pages may be asked for is the
    /// caller's to decide; here only targets pass that Ray reads as they are written.
    pub async fn page(&self, target: &str, accept: &str) -> Result<Page, RayError> {
        let what = "read a page of the dashboard";
        if !page::is_plain(target) {
            return Err(RayError::Malformed {
                what: what.to_owned(),
                reason: "the target has characters that must not be passed on".to_owned(),
            });
        }
        let mut request = self.request(what, Method::GET, target, RequestBody::empty())?;
        if let Ok(accept) = HeaderValue::from_str(accept) {
            request.headers_mut().insert(ACCEPT, accept);
        }
        let limit = self.config.request_timeout;
        let (response, lease) = self
            .send(&self.streams, what, request, Instant::now() + limit, limit)
            .await?;
        let header = |name: http::HeaderName| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        Ok(Page {
            status: response.status().as_u16(),
            content_type: header(CONTENT_TYPE),
            content_encoding: header(http::header::CONTENT_ENCODING),
            body: RayBody::new(
                what.to_owned(),
                response.into_body(),
                lease,
                self.config.stream_idle_timeout,
            ),
        })
    }

    /// Follows the log of a job until Ray closes the stream.
    pub async fn tail(&self, id: &str) -> Result<Tail, RayError> {
        check_id(id)?;
        tail::open(&self.pool, &self.config, id).await
    }

    /// Whether Ray has a package. Asking also keeps Ray from dropping it for a while.
    pub async fn package_exists(
        &self,
        protocol: PackageProtocol,
        name: &str,
    ) -> Result<bool, RayError> {
        check_segment("package name", name)?;
        let what = format!("look for package {name}");
        let path = package_path(protocol, name);
        match self
            .call(
                &what,
                Method::GET,
                &path,
                RequestBody::empty(),
                self.config.max_body,
            )
            .await
        {
            Ok(_) => Ok(true),
            Err(RayError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Uploads a package. Ray overwrites what it has under the name: whoever calls this decides
    /// that the first write wins.
    pub async fn put_package(
        &self,
        protocol: PackageProtocol,
        name: &str,
        body: RequestBody,
    ) -> Result<(), RayError> {
        check_segment("package name", name)?;
        let what = format!("upload package {name}");
        let mut request = self.request(&what, Method::PUT, &package_path(protocol, name), body)?;
        request.headers_mut().insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        let limit = self.config.upload_timeout;
        let deadline = Instant::now() + limit;
        let (response, lease) = self
            .send(&self.streams, &what, request, deadline, limit)
            .await?;
        if response.status() != 200 {
            return Err(self.refusal(&what, response, lease, deadline).await);
        }
        let max = self.config.max_body;
        read_all(response.into_body(), lease, max, deadline)
            .await
            .map(drop)
            .map_err(|f| f.into_ray_error(&what, max, limit))
    }

    /// The nodes of the cluster with what each has in all.
    pub async fn nodes(&self) -> Result<Cluster, RayError> {
        let what = "list the nodes";
        let path = format!("/api/v0/nodes?detail=true&limit={MAX_NODES}");
        let body = self
            .call(
                what,
                Method::GET,
                &path,
                RequestBody::empty(),
                self.config.max_list_body,
            )
            .await?;
        nodes::read(&body).map_err(|reason| RayError::Malformed {
            what: what.to_owned(),
            reason,
        })
    }

    async fn get_json<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
        max: usize,
    ) -> Result<T, RayError> {
        let body = self
            .call(what, Method::GET, path, RequestBody::empty(), max)
            .await?;
        parse(what, &body)
    }

    /// One call that is answered by 200 and at most `max` bytes. A GET whose kept connection turned
    /// out to be gone before anything was written is sent on the next one.
    async fn call(
        &self,
        what: &str,
        method: Method,
        path: &str,
        body: RequestBody,
        max: usize,
    ) -> Result<Bytes, RayError> {
        let request = self.request(what, method, path, body)?;
        let limit = self.config.request_timeout;
        self.exchange(&self.pool, what, request, limit, max).await
    }

    async fn exchange(
        &self,
        pool: &Pool,
        what: &str,
        request: Request<RequestBody>,
        limit: Duration,
        max: usize,
    ) -> Result<Bytes, RayError> {
        let deadline = Instant::now() + limit;
        let (response, lease) = self.send(pool, what, request, deadline, limit).await?;
        if response.status() != 200 {
            return Err(self.refusal(what, response, lease, deadline).await);
        }
        read_all(response.into_body(), lease, max, deadline)
            .await
            .map_err(|f| f.into_ray_error(what, max, limit))
    }

    fn request(
        &self,
        what: &str,
        method: Method,
        path: &str,
        body: RequestBody,
    ) -> Result<Request<RequestBody>, RayError> {
        build(method, path, body).map_err(|error| RayError::Malformed {
            what: what.to_owned(),
            reason: error.to_string(),
        })
    }

    async fn send(
        &self,
        pool: &Pool,
        what: &str,
        request: Request<RequestBody>,
        deadline: Instant,
        limit: Duration,
    ) -> Result<(Response<Incoming>, Lease), RayError> {
        let spare = spare_of(&request);
        let mut outcome = pool.send(request, deadline).await;
        let stale = matches!(
            outcome,
            Err(SendFailure::NotSent {
                cause: NotSentCause::Stale,
                ..
            })
        );
        if let (true, Some(spare)) = (stale, spare) {
            outcome = pool.send(spare, deadline).await;
        }
        outcome.map_err(|failure| self.explain(what, failure, limit))
    }

    fn explain(&self, what: &str, failure: SendFailure, limit: Duration) -> RayError {
        let what = what.to_owned();
        match failure {
            SendFailure::NotSent {
                cause: NotSentCause::Busy,
                ..
            } => RayError::Busy { what, limit },
            SendFailure::NotSent { reason, .. } => RayError::Unreachable {
                what,
                address: self.pool.address(),
                reason,
            },
            SendFailure::Lost { late: true, .. } => RayError::Timeout { what, limit },
            SendFailure::Lost { reason, .. } => RayError::Broken { what, reason },
        }
    }

    /// The error behind an answer that is not 200.
    async fn refusal(
        &self,
        what: &str,
        response: Response<Incoming>,
        lease: Lease,
        deadline: Instant,
    ) -> RayError {
        let status = response.status().as_u16();
        let body = read_all(response.into_body(), lease, self.config.max_body, deadline).await;
        let reason = body.map_or_else(
            |failure| format!("its text was not read: {failure:?}"),
            |body| reason::clean(&body),
        );
        refused(what, status, reason)
    }
}

/// Ray says 404 both for a record that is not there and for a route it does not have; the latter
/// only with its router's own words.
pub(crate) fn refused(what: &str, status: u16, reason: String) -> RayError {
    let what = what.to_owned();
    match status {
        404 if reason != "404: Not Found" => RayError::NotFound { what },
        _ => RayError::Status {
            what,
            status,
            reason,
        },
    }
}

fn build(
    method: Method,
    path: &str,
    body: RequestBody,
) -> Result<Request<RequestBody>, http::Error> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(ACCEPT, HeaderValue::from_static("application/json"));
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    request.body(body)
}

/// A second copy of a request that may be sent again: a GET without a body.
fn spare_of(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    if request.method() != Method::GET {
        return None;
    }
    let mut spare = Request::new(RequestBody::empty());
    *spare.uri_mut() = request.uri().clone();
    *spare.headers_mut() = request.headers().clone();
    Some(spare)
}

fn package_path(protocol: PackageProtocol, name: &str) -> String {
    format!("/api/packages/{}/{name}", protocol.as_str())
}

fn parse<T: DeserializeOwned>(what: &str, body: &[u8]) -> Result<T, RayError> {
    serde_json::from_slice(body).map_err(|error| RayError::Malformed {
        what: what.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_submission_that_never_got_a_connection_is_not_sent_and_says_nothing_about_ray() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", silent.local_addr().unwrap());
        let mut config = RayConfig::new(base.parse().unwrap());
        config.max_connections = 1;
        let patient = RayClient::new(config.clone()).unwrap();
        config.request_timeout = Duration::from_millis(50);
        let hasty = RayClient {
            config: Arc::new(config),
            ..patient.clone()
        };
        let holds_the_connection = tokio::spawn(async move { patient.version().await });
        let accepted = silent.accept().await.unwrap();
        let error = hasty
            .submit(&SubmitRequest::new("a", "true"))
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                SubmitError::NotSent {
                    cause: NotSent::Busy,
                    ..
                }
            ),
            "{error:?}"
        );
        holds_the_connection.abort();
        drop(accepted);
    }
}
