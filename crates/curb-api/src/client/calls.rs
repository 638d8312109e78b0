//! One function for each route.

use std::time::Duration;

use bytes::Bytes;
use curb_core::time::{Millis, Timestamp};
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::config::ClientConfig;
use super::error::ClientError;
use super::http1::{Call, call};
use super::query::Query;
use crate::headers;
use crate::metadata::{SubmitBody, Submitted};
use crate::routes::{self, fill, is_segment};
use crate::types::*;

/// A client of one server. Needs a Tokio runtime with time and IO.
#[derive(Clone, Debug)]
pub struct Client {
    config: ClientConfig,
}

type Answer<T> = Result<T, ClientError>;

impl Client {
    /// A client; connects with each call.
    ///
    /// # Errors
    /// The address or the token cannot be used.
    pub fn new(config: ClientConfig) -> Answer<Client> {
        config.authority()?;
        config.bearer()?;
        Ok(Client { config })
    }

    /// How it was made.
    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// What the server does and knows.
    pub async fn status(&self) -> Answer<Status> {
        self.get("ask for the status", routes::STATUS.to_owned())
            .await
    }

    /// Would this job fit?
    pub async fn explain(&self, body: &SubmitBody) -> Answer<ExplainReply> {
        self.send(
            "explain this job",
            Method::POST,
            routes::EXPLAIN.to_owned(),
            body,
        )
        .await
    }

    /// Submits a job over Ray's own route, as Ray's client would. Sent once.
    pub async fn submit(&self, body: &SubmitBody) -> Answer<Submitted> {
        self.send(
            "submit the job",
            Method::POST,
            routes::ray::JOBS.to_owned(),
            body,
        )
        .await
    }

    /// A page of jobs.
    pub async fn jobs(&self, query: &JobQuery) -> Answer<JobPage> {
        let target = Query::new()
            .with("state", Some(query.state.as_str()))
            .with("user", query.user.as_deref())
            .with("cluster", query.cluster.as_deref())
            .with("limit", query.limit.map(|n| n.to_string()))
            .with("after", query.after.as_deref());
        self.get("list the jobs", target.on(routes::JOBS)).await
    }

    /// Resource-time that was granted and held.
    pub async fn usage(&self, query: &UsageQuery) -> Answer<Usage> {
        let millis = |at: Option<Timestamp>| at.map(|t| t.0.to_string());
        let target = Query::new()
            .with("by", query.by.as_deref())
            .with("since", millis(query.since))
            .with("until", millis(query.until))
            .with("user", query.user.as_deref())
            .with("team", query.team.as_deref())
            .with("limit", query.limit.map(|n| n.to_string()));
        self.get("sum up use", target.on(routes::USAGE)).await
    }

    /// One job.
    pub async fn job(&self, id: &str) -> Answer<JobView> {
        self.get(&format!("show job {id}"), at(routes::JOB, "job", id)?)
            .await
    }

    /// Stops a job.
    pub async fn stop(&self, id: &str, body: &StopRequest) -> Answer<StopReply> {
        self.send(
            &format!("stop job {id}"),
            Method::POST,
            at(routes::JOB_STOP, "job", id)?,
            body,
        )
        .await
    }

    /// Gives back what a quarantined job holds.
    pub async fn release(&self, id: &str, body: &ReleaseRequest) -> Answer<JobView> {
        self.send(
            &format!("release job {id}"),
            Method::POST,
            at(routes::JOB_RELEASE, "job", id)?,
            body,
        )
        .await
    }

    /// Holds a job out of reach of ladders for a time.
    pub async fn exempt(&self, id: &str, body: &ExemptRequest) -> Answer<JobView> {
        self.send(
            &format!("exempt job {id}"),
            Method::POST,
            at(routes::JOB_EXEMPT, "job", id)?,
            body,
        )
        .await
    }

    /// Buckets: the caller's own, or all.
    pub async fn quotas(&self, all: bool) -> Answer<Quotas> {
        let query = Query::new().with("all", all.then_some("true"));
        self.get("read the quotas", query.on(routes::QUOTAS)).await
    }

    /// All tokens.
    pub async fn tokens(&self) -> Answer<Tokens> {
        self.get("list the tokens", routes::TOKENS.to_owned()).await
    }

    /// Makes a token.
    pub async fn create_token(&self, body: &NewToken) -> Answer<CreatedToken> {
        self.send(
            "make a token",
            Method::POST,
            routes::TOKENS.to_owned(),
            body,
        )
        .await
    }

    /// Revokes a token; the last one of an admin only with `force`.
    pub async fn revoke_token(&self, id: &str, force: bool) -> Answer<()> {
        let query = Query::new().with("force", force.then_some("true"));
        let target = query.on(&at(routes::TOKEN, "token", id)?);
        self.delete(&format!("revoke token {id}"), target).await
    }

    /// The temporary changes in force.
    pub async fn overrides(&self) -> Answer<Overrides> {
        self.get("list the overrides", routes::OVERRIDES.to_owned())
            .await
    }

    /// Changes limits for a time.
    pub async fn add_override(&self, body: &NewOverride) -> Answer<MadeOverride> {
        self.send(
            "add the override",
            Method::POST,
            routes::OVERRIDES.to_owned(),
            body,
        )
        .await
    }

    /// Takes a change back.
    pub async fn remove_override(&self, id: u64) -> Answer<()> {
        self.delete(
            &format!("remove override {id}"),
            fill(routes::OVERRIDE, &id.to_string()),
        )
        .await
    }

    /// Tells what an agent saw on its node.
    pub async fn report(&self, body: &NodeReport) -> Answer<ReportReply> {
        self.send(
            "tell what runs on this node",
            Method::POST,
            routes::AGENT_REPORT.to_owned(),
            body,
        )
        .await
    }

    /// The policy in force, or an older version.
    pub async fn policy(&self, version: Option<u32>) -> Answer<PolicyView> {
        let query = Query::new().with("version", version.map(|v| v.to_string()));
        self.get("read the policy", query.on(routes::POLICY)).await
    }

    /// Puts a policy in force.
    pub async fn apply_policy(&self, text: &str) -> Answer<PolicyApplied> {
        self.send_yaml("apply the policy", Method::PUT, routes::POLICY, text)
            .await
    }

    /// Checks a policy with the server's eyes: its clusters, its version.
    pub async fn check_policy(&self, text: &str) -> Answer<PolicyCheck> {
        self.send_yaml("check the policy", Method::POST, routes::POLICY_CHECK, text)
            .await
    }

    /// Enforced or observed?
    pub async fn mode(&self) -> Answer<ModeView> {
        self.get("read the mode", routes::MODE.to_owned()).await
    }

    /// Enforce or observe.
    pub async fn set_mode(&self, body: &SetMode) -> Answer<ModeView> {
        self.send("set the mode", Method::PUT, routes::MODE.to_owned(), body)
            .await
    }

    /// What enforcing would have changed in the last `since`.
    pub async fn preview(&self, since: Millis) -> Answer<Preview> {
        let query = Query::new().with("since", Some(format!("{}ms", since.0)));
        self.get("read the preview", query.on(routes::PREVIEW))
            .await
    }

    /// Records of the journal.
    pub async fn journal(&self, query: &JournalQuery) -> Answer<JournalPage> {
        let kinds = (!query.kinds.is_empty()).then(|| query.kinds.join(","));
        let target = Query::new()
            .with("after", query.after.map(|n| n.to_string()))
            .with("limit", query.limit.map(|n| n.to_string()))
            .with("kinds", kinds)
            .with("wait", query.wait_s.map(|n| n.to_string()));
        let patience = Duration::from_secs(u64::from(query.wait_s.unwrap_or(0).min(MAX_WAIT_S)));
        self.json(
            "read the journal",
            Method::GET,
            target.on(routes::JOURNAL),
            None,
            patience,
        )
        .await
    }

    /// The page of a reason code.
    pub async fn reason(&self, code: &str) -> Answer<String> {
        let target = at(routes::REASON, "reason", code)?;
        let body = self
            .raw(
                "read the page of the reason",
                Method::GET,
                target,
                None,
                Duration::ZERO,
            )
            .await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    async fn get<T: DeserializeOwned>(&self, doing: &str, target: String) -> Answer<T> {
        self.json(doing, Method::GET, target, None, Duration::ZERO)
            .await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        doing: &str,
        method: Method,
        target: String,
        body: &impl Serialize,
    ) -> Answer<T> {
        let body = serde_json::to_vec(body)
            .map_err(|error| self.malformed(doing, format!("the request: {error}")))?;
        self.json(
            doing,
            method,
            target,
            Some((headers::JSON, body.into())),
            Duration::ZERO,
        )
        .await
    }

    async fn send_yaml<T: DeserializeOwned>(
        &self,
        doing: &str,
        method: Method,
        path: &str,
        text: &str,
    ) -> Answer<T> {
        let body = Bytes::copy_from_slice(text.as_bytes());
        self.json(
            doing,
            method,
            path.to_owned(),
            Some((headers::YAML, body)),
            Duration::ZERO,
        )
        .await
    }

    async fn delete(&self, doing: &str, target: String) -> Answer<()> {
        self.raw(doing, Method::DELETE, target, None, Duration::ZERO)
            .await
            .map(drop)
    }

    async fn json<T: DeserializeOwned>(
        &self,
        doing: &str,
        method: Method,
        target: String,
        body: Option<(&'static str, Bytes)>,
        patience: Duration,
    ) -> Answer<T> {
        let body = self.raw(doing, method, target, body, patience).await?;
        serde_json::from_slice(&body).map_err(|error| self.malformed(doing, error.to_string()))
    }

    async fn raw(
        &self,
        doing: &str,
        method: Method,
        target: String,
        body: Option<(&'static str, Bytes)>,
        patience: Duration,
    ) -> Answer<Bytes> {
        call(
            &self.config,
            Call {
                doing,
                method,
                target,
                body,
                patience,
            },
        )
        .await
    }

    fn malformed(&self, doing: &str, reason: String) -> ClientError {
        ClientError::Malformed {
            doing: doing.to_owned(),
            address: self.config.address.clone(),
            reason,
        }
    }
}

fn at(path: &str, what: &'static str, id: &str) -> Answer<String> {
    if is_segment(id) {
        return Ok(fill(path, id));
    }
    Err(ClientError::BadId {
        what,
        id: id.chars().take(100).collect(),
    })
}
