//! Ray's job routes, answered from the ledger and, for what runs, from Ray.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use curb_core::decide::{self, Moment};
use curb_core::ledger::{Event, Job, Phase, Refusal, State};
use curb_core::policy::WhenDown;
use curb_core::subject::JobId;
use curb_ray::{JobDetails, JobStatus, Version};

use super::{Call, Found, may_change, may_see, no_job};
use crate::app::App;
use crate::auth::Principal;
use crate::engine::Decision;
use crate::reply::{Array, Failure, Reply, json};
use crate::view;

/// How long Ray may take to tell of a running job before what it last said is told.
const RAY_WITHIN: Duration = Duration::from_secs(2);

/// How long an answer waits for the ledger, or a list for Ray, to come up to date.
const SETTLES_WITHIN: Duration = Duration::from_millis(1500);

/// Ended jobs in a list: the newest.
const ENDED_LISTED: usize = 1000;

/// Jobs of a list that are read in one go: others are served in between.
const LISTED_AT_ONCE: usize = 500;

/// At most so many jobs of a list are asked about again.
const REFRESHED: usize = 32;

/// `GET /api/version`, as Ray said it last: clients ask it first, also while Ray is away.
pub async fn version(call: &Call) -> Result<Reply, Failure> {
    let cluster = call.app.cluster(&call.app.config.default_cluster);
    if let Some(version) = cluster.and_then(|c| c.last_version()) {
        return json(&version);
    }
    // Where jobs may wait for a Ray that was never seen, clients have to be able to submit them.
    let queues = call
        .app
        .engine
        .read(|state, _| state.policy().when_ray_is_down == WhenDown::Queue)
        .await?;
    if queues {
        return json(&known_version());
    }
    Err(Failure::unavailable(
        "curb: Ray has not been reached yet",
        "try again in a moment",
        5,
    ))
}

/// What Curb itself speaks: the Jobs API of the Ray that it was made for.
fn known_version() -> Version {
    Version {
        api_version: "4".to_owned(),
        ray_version: "2.60.0".to_owned(),
        ray_commit: "unknown: Curb has not reached Ray yet".to_owned(),
        session_name: None,
    }
}

/// `GET /api/jobs/`.
pub async fn list(call: &Call) -> Result<Reply, Failure> {
    let who = call.who.clone();
    let (chosen, refused) = call
        .app
        .engine
        .look(move |state, _| (chosen(state, &who), refused(state, &who)))
        .await?;
    let mut all = Array::default();
    let mut refreshing = Refreshing::new();
    for some in chosen.chunks(LISTED_AT_ONCE) {
        let some = some.to_vec();
        let part = call
            .app
            .engine
            .look(move |state, moment| with_places(state, moment, &some));
        // Written at once: only the text of a long list is ever in memory as a whole.
        list_some(&call.app, &part.await?, &mut refreshing, &mut all).await?;
    }
    let real: HashSet<&JobId> = chosen.iter().collect();
    let mut told = HashSet::new();
    let newest_first = refused.iter().rev();
    let shown = newest_first.filter(|r| !real.contains(&r.job.id) && told.insert(&r.job.id));
    for refusal in shown {
        all.push(&view::refused(refusal))?;
    }
    Ok(all.answer())
}

/// Adds some jobs with their requests and with what Ray says or said of them.
async fn list_some(
    app: &App,
    jobs: &[(Job, Option<String>)],
    refreshing: &mut Refreshing,
    all: &mut Array,
) -> Result<(), Failure> {
    refresh(app, jobs, refreshing).await;
    let keys = jobs.iter().map(|(j, _)| j.new.spec.clone()).collect();
    let specs = app.specs(keys).await?;
    for (job, wait) in jobs {
        let cluster = app.cluster(&job.new.cluster);
        let record = cluster.and_then(|c| c.recall(&job.new.id));
        let silent = cluster
            .filter(|_| matches!(job.phase, Phase::Running(_)))
            .map(|c| c.facts())
            .filter(|facts| !facts.reachable)
            .map(|facts| view::silent(facts.last_seen));
        all.push(&view::details(
            job,
            specs.get(&job.new.spec).map(Arc::as_ref),
            record.as_deref(),
            wait.as_deref().or(silent.as_deref()),
        ))?;
    }
    Ok(())
}

/// What is left of the time and the questions that one list may cost Ray.
struct Refreshing {
    questions: usize,
    until: tokio::time::Instant,
}

impl Refreshing {
    fn new() -> Refreshing {
        Refreshing {
            questions: REFRESHED,
            until: tokio::time::Instant::now() + SETTLES_WITHIN,
        }
    }
}

/// The jobs of a list by age: what is open, and the newest that ended.
fn chosen(state: &State, who: &Principal) -> Vec<JobId> {
    let policy = state.policy();
    let (mut ended, mut seen): (Vec<&Job>, Vec<&Job>) = state
        .jobs()
        .filter(|j| !j.hidden && may_see(policy, who, j))
        .partition(|j| j.is_ended());
    ended.sort_unstable_by_key(|j| std::cmp::Reverse(j.seq));
    seen.extend(ended.into_iter().take(ENDED_LISTED));
    seen.sort_unstable_by_key(|j| j.seq);
    seen.into_iter().map(|j| j.new.id.clone()).collect()
}

/// The newest refusals that the caller may see, oldest first.
fn refused(state: &State, who: &Principal) -> Vec<Refusal> {
    let refusals = state.refusals();
    if !who.is_operator() {
        return refusals.of(who.user()).cloned().collect();
    }
    let mut newest: Vec<Refusal> = refusals.iter().rev().take(ENDED_LISTED).cloned().collect();
    newest.reverse();
    newest
}

/// Some jobs with their places in the queue.
fn with_places(state: &State, moment: &Moment, ids: &[JobId]) -> Vec<(Job, Option<String>)> {
    let places = view::Places::of(state, moment);
    let jobs = ids.iter().filter_map(|id| state.job(id));
    jobs.filter(|j| !j.hidden)
        .map(|j| (j.clone(), places.short_wait(j)))
        .collect()
}

/// `GET /api/jobs/{id}`.
pub async fn get(call: &Call) -> Result<Reply, Failure> {
    let job = match call.found().await? {
        Found::Job(job) => job,
        Found::Refused(refused) => return json(&view::refused(&refused)),
    };
    if job.hidden {
        return Err(no_job(&call.parameter));
    }
    json(&details(&call.app, call, &job).await?)
}

/// The job once the ledger has it as ended, if that comes to pass soon.
async fn settled(app: &App, id: &JobId) -> Option<Job> {
    let deadline = tokio::time::Instant::now() + SETTLES_WITHIN;
    let mut changed = app.engine.changed();
    loop {
        let id = id.clone();
        let ended = app
            .engine
            .look(move |state, _| state.job(&id).filter(|j| j.is_ended()).cloned())
            .await
            .ok()?;
        if ended.is_some() {
            return ended;
        }
        tokio::time::timeout_at(deadline, changed.changed())
            .await
            .ok()?
            .ok()?;
    }
}

/// Asks Ray again about jobs that run as far as the ledger knows, but of which Ray last said less.
async fn refresh(app: &App, jobs: &[(Job, Option<String>)], left: &mut Refreshing) {
    let stale = jobs.iter().filter_map(|(job, _)| {
        let Phase::Running(grant) = &job.phase else {
            return None;
        };
        let cluster = app.cluster(&job.new.cluster)?;
        let running = |r: &JobDetails| r.status == JobStatus::Running;
        let stale = cluster.session() == grant.session
            && !cluster.recall(&job.new.id).is_some_and(|r| running(&r));
        stale.then_some((cluster, job))
    });
    let stale: Vec<_> = stale.take(left.questions).collect();
    left.questions -= stale.len();
    let asked = stale.into_iter().map(|(cluster, job)| async move {
        if let Ok(Some(record)) = cluster.ray.get(&job.ray_id()).await
            && crate::dispatcher::whose(&record, &job.new.stamp) == crate::dispatcher::Claim::Ours
        {
            cluster.remember(&job.new.id, record);
        }
    });
    let all = futures_util::future::join_all(asked);
    // Without an answer in time, what was said last is told.
    let _ = tokio::time::timeout_at(left.until, all).await;
}

/// A job in Ray's words: of one that runs, what Ray says now or said last.
pub async fn details(app: &App, call: &Call, job: &Job) -> Result<JobDetails, Failure> {
    let spec = app
        .specs(vec![job.new.spec.clone()])
        .await?
        .remove(&job.new.spec);
    let spec = spec.as_deref();
    match &job.phase {
        Phase::Running(grant) => {
            let Some(cluster) = app.cluster(&job.new.cluster) else {
                return Ok(view::details(
                    job,
                    spec,
                    None,
                    Some("its cluster is not configured any more"),
                ));
            };
            let asked = tokio::time::timeout(RAY_WITHIN, cluster.ray.get(&job.ray_id())).await;
            if let Ok(Ok(Some(record))) = asked
                && crate::dispatcher::whose(&record, &job.new.stamp)
                    == crate::dispatcher::Claim::Ours
                && cluster.session() == grant.session
            {
                if record.status.is_terminal() {
                    cluster.poke.notify_one();
                    // Who is told that it is over must find it over in all that they ask next.
                    if let Some(ended) = settled(app, &job.new.id).await {
                        return Ok(view::details(&ended, spec, None, None));
                    }
                }
                return Ok(view::details(
                    job,
                    spec,
                    Some(&*cluster.remember(&job.new.id, record)),
                    None,
                ));
            }
            let last = cluster.recall(&job.new.id);
            let silent = view::silent(cluster.facts().last_seen);
            Ok(view::details(job, spec, last.as_deref(), Some(&silent)))
        }
        Phase::Queued => {
            let id = job.new.id.clone();
            let wait = app
                .engine
                .read(move |state, moment| crate::words::Wait::of(state, moment, &id))
                .await?;
            let line = match wait {
                Some(wait) => Some(wait.line(app, &call.who).await),
                None => None,
            };
            Ok(view::details(job, spec, None, line.as_deref()))
        }
        _ => Ok(view::details(job, spec, None, None)),
    }
}

/// `POST /api/jobs/{id}/stop`.
pub async fn stop(call: &Call) -> Result<Reply, Failure> {
    let stopped = request_stop(call, String::new()).await?;
    let stopped = matches!(
        stopped,
        decide::Stopped::Cancelled | decide::Stopped::Stopping
    );
    json(&serde_json::json!({ "stopped": stopped }))
}

/// Writes the wish to stop the job in the path and passes it on to Ray.
pub async fn request_stop(call: &Call, why: String) -> Result<decide::Stopped, Failure> {
    let job = match call.found().await? {
        Found::Job(job) => job,
        Found::Refused(_) => return Ok(decide::Stopped::AlreadyEnded),
    };
    if !may_change(&call.who, &job) {
        return Err(Failure::forbidden(
            "curb: you can see this job, but only its owner or an operator stops it",
            "ask its owner or an operator",
        ));
    }
    let (id, by) = (job.new.id.clone(), call.who.user().to_owned());
    let stopped = call
        .app
        .engine
        .change(move |state, _| {
            let (events, stopped) = decide::stop(state, &id, &by, &why);
            Decision::durable(events, stopped)
        })
        .await?;
    if stopped == decide::Stopped::Unknown {
        return Err(no_job(&call.parameter));
    }
    if stopped == decide::Stopped::Stopping
        && let Some(cluster) = call.app.cluster(&job.new.cluster)
    {
        if matches!(job.phase, Phase::Running(_)) {
            let passed = tokio::time::timeout(RAY_WITHIN, cluster.ray.stop(&job.ray_id())).await;
            if !matches!(passed, Ok(Ok(_))) {
                tracing::info!(job = %job.new.id, "a wish to stop was not passed on at once; the monitor repeats it");
            }
        }
        cluster.poke.notify_one();
    }
    Ok(stopped)
}

/// `DELETE /api/jobs/{id}`: hides an ended job. Its id stays taken, in Curb and in Ray.
pub async fn delete(call: &Call) -> Result<Reply, Failure> {
    let job = match call.found().await? {
        Found::Job(job) => job,
        Found::Refused(refused) => return forget(call, *refused).await,
    };
    if !may_change(&call.who, &job) {
        return Err(Failure::forbidden(
            "curb: you can see this job, but only its owner or an operator deletes it",
            "ask its owner or an operator",
        ));
    }
    let (id, by) = (job.new.id.clone(), call.who.user().to_owned());
    let hidden = call
        .app
        .engine
        .change(move |state, _| hide(state.job(&id), by))
        .await?;
    if hidden {
        json(&serde_json::json!({"deleted": true}))
    } else {
        Err(Failure::bad_request(format!(
            "curb: job {} is not over\n  next: stop it, or wait until it ends",
            call.parameter
        )))
    }
}

/// Forgets a refusal. Its id is free for its submitter again, since Ray never heard of it.
async fn forget(call: &Call, refused: Refusal) -> Result<Reply, Failure> {
    let by = call.who.user().to_owned();
    call.app
        .engine
        .change(move |state, _| {
            let (id, user) = (refused.job.id, refused.subject.user);
            let event = Event::Hidden {
                refused: Some(user.clone()),
                id: id.clone(),
                by,
            };
            let there = state.refusals().get(&user, &id).is_some();
            Decision::durable(there.then_some(event).into_iter().collect(), ())
        })
        .await?;
    json(&serde_json::json!({"deleted": true}))
}

fn hide(job: Option<&Job>, by: String) -> Decision<bool> {
    match job {
        Some(job) if job.is_ended() => {
            let id: JobId = job.new.id.clone();
            let events = if job.hidden {
                vec![]
            } else {
                vec![Event::Hidden {
                    id,
                    by,
                    refused: None,
                }]
            };
            Decision::durable(events, true)
        }
        _ => Decision::durable(Vec::new(), false),
    }
}
