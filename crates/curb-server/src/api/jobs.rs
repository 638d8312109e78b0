//! Jobs, explanations and buckets.

use std::collections::HashSet;
use std::sync::Arc;

use curb_api::{
    BucketView, BudgetRow, ChangeRow, CountRow, DEFAULT_JOBS, ExemptRequest, ExplainReply, JobPage,
    JobState, JobView, MAX_BUCKETS, MAX_JOBS, Quotas, RateRow, ReleaseRequest, ResourceRow,
    StateFilter, StopOutcome, StopReply, StopRequest, Waiting,
};
use curb_core::decide::{self, Ask, Begun, Moment, Position, Stopped, Waits};
use curb_core::explain::Telling;
use curb_core::ledger::{self, Event, Job, Override, Phase, Recorded, Refusal, State};
use curb_core::policy::{Mode, Policy};
use curb_core::time::{Millis, Timestamp};
use curb_ray::JobStatus;

use super::{parameter, read, why};
use crate::app::App;
use crate::auth::Principal;
use crate::engine::Decision;
use crate::gateway::{Call, Found, ask_of, may_see, no_job};
use crate::reply::{Failure, Reply, json};
use crate::request::Submission;
use crate::words;

/// `POST /curb/v1/explain`.
pub async fn explain(call: &Call, body: &[u8]) -> Result<Reply, Failure> {
    let parsed =
        Submission::parse(body, false).map_err(|e| Failure::bad_request(format!("curb: {e}")))?;
    let ask = ask_of(&call.app, &call.who, &parsed)?;
    let begun = call
        .app
        .engine
        // A forecast: it holds for the moment and promises nothing.
        .read(move |state, moment| {
            let submission = decide::resolve(state, &ask)?;
            let begun = decide::begin_explain(state, &submission, moment);
            let policy = Arc::clone(state.policy());
            Ok::<_, decide::ResolveError>((submission, begun, policy, moment.now))
        })
        .await?;
    let (submission, begun, policy, now) = begun
        .map_err(|e| Failure::bad_request(format!("curb: metadata `{}`: {}", e.key, e.message)))?;
    let who = call.who.clone();
    let long = begun.is_long();
    let tell = move |without| words::tell(words::finish(begun, without), &who, &policy, now);
    let (text, explanation) = call.app.forecasts.own(call.who.user(), long, tell).await;
    json(&ExplainReply::new(explanation, text).for_subject(submission.subject, submission.cluster))
}

/// `GET /curb/v1/jobs`.
pub async fn list(call: &Call) -> Result<Reply, Failure> {
    let filter: StateFilter = match call.query.get("state") {
        None => StateFilter::default(),
        Some(text) => text
            .parse()
            .map_err(|e: curb_api::StateFilterError| Failure::bad_request(format!("curb: {e}")))?,
    };
    let limit = parameter::<u32>(call, "limit")?
        .unwrap_or(DEFAULT_JOBS)
        .clamp(1, MAX_JOBS) as usize;
    let after = parameter::<u64>(call, "after")?.unwrap_or(u64::MAX);
    let user = call.query.get("user").map(str::to_owned);
    let cluster = call.query.get("cluster").map(str::to_owned);
    let who = call.who.clone();
    let (found, next, told_by) = call
        .app
        .engine
        .look(move |state, moment| {
            let wanted = |j: &&Job| {
                j.seq < after
                    && !j.hidden
                    && filter.wants(JobState::of(&j.phase))
                    && user.as_ref().is_none_or(|u| j.new.subject.user == *u)
                    && cluster.as_ref().is_none_or(|c| j.new.cluster == *c)
                    && may_see(state.policy(), &who, j)
            };
            let refused: Vec<Job> = refusals(state, &who).map(Refusal::as_ended).collect();
            let all = state.jobs().chain(&refused);
            let mut found: Vec<&Job> = all.filter(wanted).collect();
            found.sort_by_key(|j| std::cmp::Reverse(j.seq));
            let more = found.len() > limit;
            found.truncate(limit);
            let next = found.last().filter(|_| more).map(|j| j.seq.to_string());
            // A whole explanation of each would hold up everybody in a long list.
            let waiting = found.iter().filter(|j| j.is_queued()).count();
            let waits = (1..=200)
                .contains(&waiting)
                .then(|| Waits::of(state, moment));
            let found: Vec<Listed> = found
                .into_iter()
                .map(|job| Listed {
                    view: view_of(state, job, moment),
                    why: waits
                        .as_ref()
                        .and_then(|w| Some((w.why(state, &job.new.id, moment)?, w.position(job)))),
                })
                .collect();
            (found, next, (Arc::clone(state.policy()), moment.now))
        })
        .await?;
    let long = found.iter().any(Listed::is_long);
    let (who, (policy, now)) = (call.who.clone(), told_by);
    let held = crate::truth::of_jobs(&call.app);
    let used = crate::truth::use_of_jobs(&call.app);
    let app = Arc::clone(&call.app);
    let tell = move |without| {
        let told = found.into_iter().map(|listed| {
            let mut view = listed.told(&who, &policy, now, without, true);
            tell_of_ray(&app, &mut view);
            JobView {
                held: held(&view),
                used: used(&view),
                ..view
            }
        });
        JobPage {
            jobs: told.collect(),
            next,
        }
    };
    json(&call.app.forecasts.shared(long, tell).await)
}

/// A job with what it takes more than it was granted.
fn view_of(state: &State, job: &Job, moment: &Moment) -> JobView {
    let mut view = JobView::of(job);
    if let Some(told) = decide::told_of_exceedances(job, state.policy(), moment.now) {
        view.message = told;
    }
    view
}

/// Says of a job that Ray has taken and not begun, if nothing else is to be said of it: its grant is held meanwhile.
fn tell_of_ray(app: &App, view: &mut JobView) {
    if view.state != JobState::Running || !view.message.is_empty() {
        return;
    }
    let Some(record) = app.cluster(&view.cluster).and_then(|c| c.recall(&view.id)) else {
        return;
    };
    let of_this_attempt = record.submission_id.as_deref() == Some(&view.id.ray_id(view.attempt));
    if record.status == JobStatus::Pending && of_this_attempt {
        let why = record.message.as_deref().unwrap_or_default().trim();
        let colon = if why.is_empty() { "" } else { ": " };
        view.message = format!("Ray has not begun it yet (PENDING){colon}{why}");
    }
}

/// A job as it is listed, before the words are found for why it waits.
struct Listed {
    view: JobView,
    why: Option<(Begun, Option<Position>)>,
}

impl Listed {
    fn is_long(&self) -> bool {
        self.why.as_ref().is_some_and(|(why, _)| why.is_long())
    }

    fn told(
        self,
        who: &Principal,
        policy: &Policy,
        now: Timestamp,
        without: Option<&'static str>,
        short: bool,
    ) -> JobView {
        let mut view = self.view;
        let Some((begun, position)) = self.why else {
            return view;
        };
        let explanation = words::finish(begun, without);
        let viewer = words::viewer(who);
        let telling = Telling {
            viewer: &viewer,
            policy,
            now,
        };
        view.message = telling.waiting(&explanation, position);
        let mut explanation = telling.redact(explanation);
        if short {
            explanation.violations.truncate(1);
        }
        view.waiting = position.map(|p| Waiting {
            position: p.position as u64,
            of: p.of as u64,
            expected: explanation.expected,
            unknown: explanation.unknown,
            violations: explanation.violations,
        });
        view
    }
}

/// The refusals that the caller may see.
fn refusals<'a>(state: &'a State, who: &'a Principal) -> impl Iterator<Item = &'a Refusal> {
    let all = state.refusals().iter().filter(|_| who.is_operator());
    let own = state.refusals().of(who.user());
    all.chain(own.filter(|_| !who.is_operator()))
}

/// `GET /curb/v1/jobs/{id}`.
pub async fn get(call: &Call) -> Result<Reply, Failure> {
    let job = match call.found().await? {
        Found::Job(job) => job,
        Found::Refused(refusal) => {
            let mut view = JobView::of(&refusal.as_ended());
            view.entrypoint = Some(refusal.job.command);
            return json(&view);
        }
    };
    let spec = call
        .app
        .specs(vec![job.new.spec.clone()])
        .await?
        .remove(&job.new.spec);
    let (listed, policy, now) = call
        .app
        .engine
        .read(move |state, moment| {
            let why = decide::begin_why(state, &job.new.id, moment)
                .map(|why| (why, decide::position(state, moment, &job)));
            let view = view_of(state, &job, moment);
            (Listed { view, why }, Arc::clone(state.policy()), moment.now)
        })
        .await?;
    let (who, long) = (call.who.clone(), listed.is_long());
    let tell = move |without| listed.told(&who, &policy, now, without, false);
    let mut view = call.app.forecasts.shared(long, tell).await;
    view.entrypoint = spec.map(|s| s.entrypoint.clone());
    tell_of_ray(&call.app, &mut view);
    view.held = crate::truth::of_jobs(&call.app)(&view);
    view.used = crate::truth::use_of_jobs(&call.app)(&view);
    json(&view)
}

/// `POST /curb/v1/jobs/{id}/stop`.
pub async fn stop(call: &Call, body: &[u8]) -> Result<Reply, Failure> {
    let wish: StopRequest = if body.is_empty() {
        StopRequest::default()
    } else {
        read(body)?
    };
    let reason = match &wish.why {
        Some(text) => why(text)?,
        None => String::new(),
    };
    let outcome = match crate::gateway::request_stop(call, reason).await? {
        Stopped::Cancelled => StopOutcome::Cancelled,
        Stopped::Stopping => StopOutcome::Stopping,
        Stopped::AlreadyEnded => StopOutcome::AlreadyEnded,
        Stopped::Unknown => return Err(no_job(&call.parameter)),
    };
    let state = match call.found().await? {
        Found::Job(job) => JobState::of(&job.phase),
        Found::Refused(_) => JobState::Failed,
    };
    json(&StopReply { outcome, state })
}

/// What came of a wish to release.
enum Release {
    Done,
    NoJob,
    Over,
    /// It waits, starts or runs.
    Open,
}

/// `POST /curb/v1/jobs/{id}/release`.
pub async fn release(call: &Call, body: &[u8]) -> Result<Reply, Failure> {
    let wish: ReleaseRequest = read(body)?;
    let reason = why(&wish.why)?;
    let (id, by) = (call.job_id()?, call.who.user().to_owned());
    let released = call
        .app
        .engine
        .change(move |state, _| match state.job(&id).map(|j| &j.phase) {
            None => Decision::durable(Vec::new(), Release::NoJob),
            Some(Phase::Quarantined(_)) => Decision::durable(
                vec![Event::Released {
                    id,
                    by,
                    why: reason,
                }],
                Release::Done,
            ),
            // What ended it may be on its way to disk.
            Some(Phase::Ended(_)) => Decision::durable(Vec::new(), Release::Over),
            Some(_) => Decision::durable(Vec::new(), Release::Open),
        })
        .await?;
    match released {
        Release::NoJob => Err(no_job(&call.parameter)),
        Release::Over => Err(Failure::conflict(
            "curb: the job is over and holds nothing",
            format!("look at it: curb jobs show {}", call.parameter),
        )),
        Release::Open => Err(Failure::conflict(
            "curb: the job is not quarantined: only Ray's own word ends it, or a stop",
            format!("stop it: curb jobs stop {}", call.parameter),
        )),
        Release::Done => get(call).await,
    }
}

/// `POST /curb/v1/jobs/{id}/exempt`.
pub async fn exempt(call: &Call, body: &[u8]) -> Result<Reply, Failure> {
    let wish: ExemptRequest = read(body)?;
    let reason = why(&wish.why)?;
    if wish.span > Millis::MAX {
        return Err(Failure::bad_request(
            "curb: `for` must be at most ten years; 0 ends it",
        ));
    }
    let (id, by) = (call.job_id()?, call.who.user().to_owned());
    let done = call
        .app
        .engine
        .change(move |state, moment| {
            let Some(job) = state.job(&id) else {
                return Decision::durable(Vec::new(), None);
            };
            if job.is_ended() {
                return Decision::durable(Vec::new(), Some(false));
            }
            let until = moment.now.after(wish.span);
            Decision::durable(
                vec![Event::Exempted {
                    id,
                    until,
                    by,
                    why: reason,
                }],
                Some(true),
            )
        })
        .await?;
    match done {
        None => Err(no_job(&call.parameter)),
        Some(false) => Err(Failure::conflict(
            "curb: the job is over: no ladder acts on it any more",
            "see how it ended: curb jobs show JOB".to_owned(),
        )),
        Some(true) => get(call).await,
    }
}

/// `GET /curb/v1/quotas`.
pub async fn quotas(call: &Call) -> Result<Reply, Failure> {
    let all = parameter::<bool>(call, "all")?.unwrap_or(false);
    let asked = call.query.get("user").map(str::to_owned);
    if (all || asked.as_deref().is_some_and(|u| u != call.who.user())) && !call.who.is_operator() {
        return Err(Failure::forbidden(
            "curb: only operators see other users' buckets",
            "leave `user` and `all` (--all) out to see your own, or ask an operator",
        ));
    }
    let user = (!all).then(|| asked.unwrap_or_else(|| call.who.user().to_owned()));
    let wanted = user.clone();
    let (mut views, rules) = call
        .app
        .engine
        .look(move |state, moment| {
            let views = state.bucket_views(moment, wanted.as_deref());
            (views, wanted.map(|_| Rules::of(state, moment)))
        })
        .await?;
    if let (Some(user), Some(rules)) = (&user, rules) {
        let clusters: Vec<String> = call.app.clusters.keys().cloned().collect();
        let unused = rules.views(user, &call.who.0.labels, &clusters);
        add_unused(&mut views, unused, &rules.policy);
    }
    let more = views.len() > MAX_BUCKETS;
    json(&Quotas {
        buckets: views.into_iter().take(MAX_BUCKETS).map(bucket).collect(),
        more,
    })
}

/// What decides how a bucket looks that no job has been in, without the jobs: the ledger itself is large, and its thread
/// has others to serve.
struct Rules {
    policy: Arc<Policy>,
    version: u32,
    mode: Option<Mode>,
    overrides: Vec<Override>,
    moment: Moment,
}

impl Rules {
    fn of(state: &State, moment: &Moment) -> Rules {
        Rules {
            policy: Arc::clone(state.policy()),
            version: state.policy_version(),
            mode: state.mode_set(),
            overrides: state.overrides().cloned().collect(),
            moment: moment.clone(),
        }
    }

    /// The buckets that a user's first jobs would be counted in, as they would be if nobody had used any.
    fn views(
        &self,
        user: &str,
        labels: &std::collections::BTreeMap<String, String>,
        clusters: &[String],
    ) -> Vec<ledger::BucketView> {
        let applied = Event::PolicyApplied {
            version: self.version,
            sha256: String::new(),
            policy: Box::new((*self.policy).clone()),
            by: String::new(),
        };
        let mode = Event::ModeSet {
            mode: self.mode,
            by: String::new(),
            why: String::new(),
        };
        let overrides = self.overrides.iter().cloned().map(Event::OverrideAdded);
        let mut state = State::new();
        for (seq, event) in (1..).zip([applied, mode].into_iter().chain(overrides)) {
            state.apply(&Recorded {
                seq,
                at: self.moment.now,
                event,
            });
        }
        let seats = seats(&state, user, labels, clusters);
        state.make_seats(&seats);
        state.bucket_views(&self.moment, Some(user))
    }
}

/// Puts the buckets that are not there yet between those that are, in the order of the policy and then by name.
fn add_unused(
    views: &mut Vec<ledger::BucketView>,
    unused: Vec<ledger::BucketView>,
    policy: &Policy,
) {
    let there: HashSet<(String, String)> = views
        .iter()
        .map(|v| (v.quota.clone(), v.bucket.clone()))
        .collect();
    let new = unused
        .into_iter()
        .filter(|v| !there.contains(&(v.quota.clone(), v.bucket.clone())));
    views.extend(new);
    let place = |name: &str| policy.quotas.iter().position(|q| q.name == name);
    views.sort_by_cached_key(|v| (place(&v.quota), v.bucket.clone()));
}

/// The subjects that a user can submit as.
fn seats(
    state: &State,
    user: &str,
    labels: &std::collections::BTreeMap<String, String>,
    clusters: &[String],
) -> Vec<(curb_core::subject::Subject, String)> {
    let policy = state.policy();
    let types = policy
        .job_types
        .keys()
        .map(|t| Some(t.clone()))
        .chain([None]);
    let teams: Vec<Option<String>> = match policy
        .teams_of(user)
        .map(|t| Some(t.to_owned()))
        .collect::<Vec<_>>()
    {
        none if none.is_empty() => vec![None],
        some => some,
    };
    let mut found = Vec::new();
    for job_type in types {
        for team in &teams {
            for cluster in clusters {
                let ask = Ask {
                    user: user.to_owned(),
                    labels: labels.clone(),
                    team: team.clone(),
                    job_type: job_type.clone(),
                    cluster: cluster.clone(),
                    ..Ask::default()
                };
                // What the policy does not let them submit has no bucket of theirs.
                if let Ok(s) = decide::resolve(state, &ask)
                    && s.denials.is_empty()
                {
                    found.push((s.subject, s.cluster));
                }
            }
        }
    }
    found
}

fn bucket(b: ledger::BucketView) -> BucketView {
    BucketView {
        quota: b.quota,
        bucket: b.bucket,
        reason: b.reason,
        mode: b.mode.into(),
        in_force: b.in_force,
        resources: b
            .resources
            .into_iter()
            .map(|r| ResourceRow {
                resource: r.resource,
                used: r.used,
                limit: r.limit,
                borrow: r.borrow,
                guarantee: r.guarantee,
            })
            .collect(),
        jobs: CountRow {
            used: b.running,
            limit: b.jobs_limit,
        },
        queued: CountRow {
            used: b.queued,
            limit: b.queued_limit,
        },
        rate: b.rate.map(|(rate, left)| RateRow {
            count: rate.count,
            per: rate.per,
            left,
        }),
        budgets: b
            .budgets
            .into_iter()
            .map(|x| BudgetRow {
                resets: resets(&x),
                resource: x.resource,
                per: x.per,
                used: x.reading.used,
                promised: x.reading.committed,
                limit: x.limit,
            })
            .collect(),
        overrides: b.overrides.iter().map(|o| o.id).collect(),
        changes: b.overrides.into_iter().map(change).collect(),
    }
}

/// What a bucket's holder has to know of an override.
fn change(o: Override) -> ChangeRow {
    ChangeRow {
        id: o.id,
        amounts: o.amounts,
        jobs: o.jobs,
        until: o.until,
        why: o.why,
    }
}

/// A rolling budget has no moment at which it begins anew.
fn resets(b: &ledger::BudgetView) -> Option<curb_core::time::Timestamp> {
    (!matches!(b.per, curb_core::policy::Period::Rolling(_))).then_some(b.reading.resets)
}
