//! One call over one connection.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::config::{Authority, ClientConfig};
use super::error::ClientError;
use crate::problem::Problem;

/// What to send.
pub(super) struct Call<'a> {
    /// For messages: `list the jobs`.
    pub(super) doing: &'a str,
    pub(super) method: Method,
    /// Path and query, canonical.
    pub(super) target: String,
    /// Media type and bytes.
    pub(super) body: Option<(&'static str, Bytes)>,
    /// Allowed beside the request's own time, for calls that wait on purpose.
    pub(super) patience: Duration,
}

pub(super) async fn call(config: &ClientConfig, call: Call<'_>) -> Result<Bytes, ClientError> {
    let limit = config.request_timeout + call.patience;
    let exchange = Exchange {
        config,
        doing: call.doing,
        authority: config.authority()?,
        limit,
        deadline: Instant::now() + limit,
    };
    let request = exchange.request(&call)?;
    let response = exchange.send(request).await?;
    exchange.read(response).await
}

struct Exchange<'a> {
    config: &'a ClientConfig,
    doing: &'a str,
    authority: Authority,
    limit: Duration,
    deadline: Instant,
}

impl Exchange<'_> {
    fn request(&self, call: &Call<'_>) -> Result<Request<Full<Bytes>>, ClientError> {
        let (media, body) = match &call.body {
            Some((media, body)) => (Some(*media), body.clone()),
            None => (None, Bytes::new()),
        };
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(&call.target)
            .header(HOST, &self.authority.text)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("curb/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|error| self.malformed(error.to_string()))?;
        let headers = request.headers_mut();
        if let Some(media) = media {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
        }
        if let Some(bearer) = self.config.bearer()? {
            headers.insert(AUTHORIZATION, bearer);
        }
        Ok(request)
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientError> {
        let stream = self.dial().await?;
        let handshake = http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = self
            .in_time(handshake)
            .await?
            .map_err(|error| self.broken(&error))?;
        // Ends by itself once the answer is read or given up.
        tokio::spawn(async move {
            let _told_to_the_request = connection.await;
        });
        self.in_time(sender.send_request(request))
            .await?
            .map_err(|error| self.broken(&error))
    }

    async fn dial(&self) -> Result<TcpStream, ClientError> {
        let unreachable = |reason: String| ClientError::Unreachable {
            doing: self.doing.to_owned(),
            address: self.address(),
            reason,
        };
        let until = self
            .deadline
            .min(Instant::now() + self.config.connect_timeout);
        let target = (self.authority.host.as_str(), self.authority.port);
        let stream = timeout_at(until, TcpStream::connect(target))
            .await
            .map_err(|_| {
                unreachable(format!(
                    "nothing within {} s",
                    self.config.connect_timeout.as_secs_f32()
                ))
            })?
            .map_err(|error| unreachable(error.to_string()))?;
        stream
            .set_nodelay(true)
            .map_err(|error| unreachable(error.to_string()))?;
        Ok(stream)
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        let status = response.status();
        let kind = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let body = self.collect(response.into_body()).await?;
        if status.is_success() {
            return Ok(body);
        }
        let problem = Box::new(Problem::read(status.as_u16(), &kind, &body));
        Err(ClientError::Refused {
            doing: self.doing.to_owned(),
            problem,
        })
    }

    async fn collect(&self, mut body: Incoming) -> Result<Bytes, ClientError> {
        let mut all = BytesMut::new();
        while let Some(frame) = self.in_time(body.frame()).await? {
            let Ok(data) = frame.map_err(|error| self.broken(&error))?.into_data() else {
                continue;
            };
            if all.len() + data.len() > self.config.max_body {
                return Err(ClientError::TooLarge {
                    doing: self.doing.to_owned(),
                    limit: self.config.max_body,
                });
            }
            all.extend_from_slice(&data);
        }
        Ok(all.freeze())
    }

    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, ClientError> {
        timeout_at(self.deadline, work)
            .await
            .map_err(|_| ClientError::Timeout {
                doing: self.doing.to_owned(),
                address: self.address(),
                limit: self.limit,
            })
    }

    fn broken(&self, error: &hyper::Error) -> ClientError {
        let mut reason = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            reason = format!("{reason}: {error}");
            cause = error.source();
        }
        ClientError::Broken {
            doing: self.doing.to_owned(),
            address: self.address(),
            reason,
        }
    }

    fn malformed(&self, reason: String) -> ClientError {
        ClientError::Malformed {
            doing: self.doing.to_owned(),
            address: self.address(),
            reason,
        }
    }

    fn address(&self) -> String {
        format!("http://{}", self.authority.text)
    }
}
