//! `GET /api/jobs/{id}/logs`: Ray's log of what Ray has run, Curb's own words for what it has not.

use curb_api::Kind;
use curb_core::ledger::{Job, Phase};
use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt;

use super::{Call, Found};
use crate::reply::{Failure, OutBody, Reply, answer, json};
use crate::words;

/// Where a job's log is.
pub enum Source {
    /// In Ray, under this id.
    Ray {
        /// The cluster.
        cluster: String,
        /// The id there.
        ray_id: String,
    },
    /// Curb has all there is to say.
    Curb(String),
    /// Nothing yet: it waits, or is being started.
    Later,
}

/// Where the log of a job is.
#[must_use]
pub fn source(job: &Job) -> Source {
    let ray = || Source::Ray {
        cluster: job.new.cluster.clone(),
        ray_id: job.ray_id(),
    };
    match &job.phase {
        Phase::Queued | Phase::Reserved(_) => Source::Later,
        Phase::Running(_) | Phase::Quarantined(_) => ray(),
        Phase::Ended(end) if end.ran.is_some() => ray(),
        Phase::Ended(end) => Source::Curb(format!("curb: {}\n", end.message)),
    }
}

/// The log so far.
pub async fn logs(call: &Call) -> Result<Reply, Failure> {
    let id = call.job_id()?;
    let job = match call.found().await? {
        Found::Job(job) => job,
        Found::Refused(refused) => {
            return json(&serde_json::json!({ "logs": refused.job.text }));
        }
    };
    match source(&job) {
        Source::Curb(text) => json(&serde_json::json!({ "logs": text })),
        Source::Later => {
            let wait = call
                .app
                .engine
                .read(move |state, moment| words::Wait::of(state, moment, &id))
                .await?;
            let line = match wait {
                Some(wait) => wait.line(&call.app, &call.who).await,
                None => "curb: it is being given to Ray".to_owned(),
            };
            json(&serde_json::json!({ "logs": format!("{line}\n") }))
        }
        Source::Ray { cluster, ray_id } => {
            let Some(cluster) = call.app.cluster(&cluster) else {
                return Err(Failure::not_found(
                    "curb: the job's cluster is not configured any more",
                    "ask an operator: the cluster's log is reached again when it is configured again",
                ));
            };
            let limits = &call.app.config.limits;
            // Half of the connections for what is read slowly stay free for packages, and nobody takes all the rest.
            let most = (cluster.ray.config().max_streams / 2).clamp(1, limits.tails_total.max(1));
            let each = limits.tails_per_user.min((most / 4).max(1));
            let permit = cluster
                .readers
                .acquire(call.who.user(), each, most)
                .ok_or_else(|| too_many_readers(each))?;
            let body = cluster
                .ray
                .logs(&ray_id)
                .await
                .map_err(|e| log_failure(&e))?;
            let mut reply = answer(StatusCode::OK, "application/json", "");
            // The permit lives as long as the body, read to its end or not.
            *reply.body_mut() = OutBody::stream(body.map_frame(move |frame| {
                let _held = &permit;
                frame
            }));
            reply
                .headers_mut()
                .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            Ok(reply)
        }
    }
}

pub(crate) fn too_many_readers(most: usize) -> Failure {
    let mut failure = Failure::new(
        StatusCode::TOO_MANY_REQUESTS,
        Kind::TooManyLogs,
        format!("curb: too many logs are read at once (at most {most} by one user)"),
        "try again when one has been read",
    );
    failure.retry_after = Some(10);
    failure
}

/// Why Ray did not give a log.
pub fn log_failure(error: &curb_ray::RayError) -> Failure {
    tracing::info!(%error, "a log could not be read");
    match error {
        curb_ray::RayError::NotFound { .. } => Failure::not_found(
            "curb: Ray does not have this job's log any more",
            "how the job ended is still told: ray job status, or curb jobs",
        ),
        _ => Failure::unavailable(
            "curb: the log is kept by Ray, which does not give it at the moment",
            "try again later",
            5,
        ),
    }
}
