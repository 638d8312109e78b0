//! Giving granted jobs to Ray, once each, and finding out what became of those of which that is not known.
//!
//! A submission is sent exactly once. When its outcome is not known, its id is claimed with a job that does nothing: if
//! the claim is taken, the id is used up and the job can never start; if Ray has a record already and it bears our stamp,
//! the job is real. "Ray does not know it" proves nothing and is never taken for an answer.

use std::sync::Arc;
use std::time::Duration;

use curb_core::ledger::{AfterNotStarted, Event, Job, Phase, State};
use curb_core::policy::WhenDown;
use curb_core::subject::JobId;
use curb_ray::{
    CLAIM_KEY, JobDetails, NotSent, PackageProtocol, RayError, RequestBody, SubmitError,
    SubmitRequest,
};
use tokio::io::AsyncReadExt;

use crate::app::App;
use crate::cluster::{Cluster, Mark, session_of};
use crate::engine::{Decision, EngineError};
use crate::spec::{JobSpec, STAMP_KEY, ray_package_name};

/// After so many attempts that did not start, a job fails.
const MAX_ATTEMPTS: u32 = 20;
/// A reservation that nobody takes care of is looked into after this time.
const ORPHAN_AFTER: Duration = Duration::from_secs(5);
/// How long a submitter waits, beyond Ray's own time for an answer, to be told what became of a job of which Ray said
/// nothing. Never longer than Ray gets for one answer.
const FIND_OUT_WITHIN: Duration = Duration::from_secs(10);
/// Between two tries to claim an id, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));
/// Before a job is tried again: what stopped it will often be over then, and its attempts last.
const PAUSE: Duration = Duration::from_secs(1);
/// Between reads of a granted job's request that fail: half a minute in all.
const READ_AGAIN: [Duration; 6] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(12),
];
/// Claims under way at once on a cluster.
const CLAIMS_AT_ONCE: usize = 32;
/// How long a claim waits for its turn at the start rate before it looks again whether it is needed. It bounds how far
/// claims can push back the starts of jobs.
const TURN_WITHIN: Duration = Duration::from_secs(60);

/// One attempt to start a job.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The job.
    pub id: JobId,
    /// Which attempt, from 1.
    pub number: u32,
    /// Whose.
    pub user: String,
    /// The mark by which its record in Ray is known.
    pub stamp: String,
    /// Whether its submitter was told that it waits.
    pub promised: bool,
    /// Whether it came with an idempotency key: who got no answer asks again with it, and is to find the job running.
    pub keyed: bool,
    /// Ray's session when it was granted.
    pub session: String,
}

impl Attempt {
    /// The present attempt of a job; `None` when it holds no grant.
    #[must_use]
    pub fn of(job: &Job) -> Option<Attempt> {
        Some(Attempt {
            id: job.new.id.clone(),
            number: job.attempt,
            user: job.new.subject.user.clone(),
            stamp: job.new.stamp.clone(),
            promised: job.promised,
            keyed: job.new.key.is_some(),
            session: job.grant()?.session.clone(),
        })
    }

    /// Its id in Ray.
    #[must_use]
    pub fn ray_id(&self) -> String {
        self.id.ray_id(self.number)
    }
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Ray has it.
    Running,
    /// It did not start and waits again.
    Waiting,
    /// It did not start and is over.
    Failed {
        /// The HTTP status that says so best.
        status: u16,
        /// Why, for its owner.
        why: String,
    },
    /// Not known yet; it is being found out.
    Unknown,
    /// The journal could not be written.
    NotWritten(String),
}

/// Why an attempt did not start.
enum Because {
    /// Nothing was sent, or the outcome was lost and the id is used up: Ray could not be worked with.
    Ray(String),
    /// The server was restarted between the grant and Ray's answer.
    Restart,
    /// Ray looked at it and said no.
    Refused(u16, String),
    /// A package that it needs cannot be had: trying again changes nothing.
    Package(String),
    /// The id is taken by something that is not ours.
    Foreign,
}

/// Starts an attempt and says what became of it. Must run to its end: it is spawned, never dropped.
pub async fn start(
    app: Arc<App>,
    cluster: Arc<Cluster>,
    attempt: Attempt,
    spec: Arc<JobSpec>,
) -> Fate {
    match cluster.mark(&attempt.id, attempt.number) {
        Some(mark) => start_marked(app, cluster, attempt, spec, mark).await,
        None => Fate::Unknown,
    }
}

/// The same for who has the mark of it already.
async fn start_marked(
    app: Arc<App>,
    cluster: Arc<Cluster>,
    attempt: Attempt,
    spec: Arc<JobSpec>,
    mark: Mark,
) -> Fate {
    if let Err(no) = bring_packages(&app, &cluster, &attempt.user, &spec).await {
        let because = match no {
            NoPackage::Never(why) => Because::Package(why),
            NoPackage::NotNow(error) => {
                if is_away(&error) {
                    lost(&app, &cluster, &error.to_string());
                }
                Because::Ray(error.to_string())
            }
        };
        return Box::pin(not_started(&app, &cluster, &attempt, because)).await;
    }
    let request = match spec.to_ray(&attempt.ray_id(), &attempt.stamp, &attempt.user) {
        Ok(request) => request,
        Err(error) => {
            let why = format!("what is kept of it is not readable ({error})");
            let because = Because::Refused(500, why);
            return Box::pin(not_started(&app, &cluster, &attempt, because)).await;
        }
    };
    match cluster.ray.submit(&request).await {
        // Ray became another while it was sent: which one took it, the monitor finds out.
        Ok(_) if cluster.session() != attempt.session => {
            tracing::warn!(job = %attempt.id, "Ray's session changed while a job was given to it");
            cluster.poke.notify_one();
            Fate::Unknown
        }
        Ok(_) => confirmed(&app, &cluster, &attempt, attempt.session.clone()).await,
        Err(SubmitError::NotSent { cause, reason, .. }) => {
            let because = match cause {
                NotSent::Unreachable => {
                    lost(&app, &cluster, &reason);
                    Because::Ray(reason)
                }
                NotSent::Busy => Because::Ray(reason),
                NotSent::Unfit => Because::Refused(400, reason),
            };
            Box::pin(not_started(&app, &cluster, &attempt, because)).await
        }
        Err(SubmitError::Refused { status, reason, .. }) => {
            let because = Because::Refused(status, reason);
            Box::pin(find_out(app, cluster, attempt, because, mark)).await
        }
        Err(error @ (SubmitError::AlreadyExists { .. } | SubmitError::Unknown { .. })) => {
            tracing::warn!(job = %attempt.id, %error, "the outcome of a submission is not known; claiming its id");
            let because = Because::Ray(error.to_string());
            Box::pin(find_out(app, cluster, attempt, because, mark)).await
        }
    }
}

/// Claims the id; waits some seconds for the outcome, and goes on by itself after that.
async fn find_out(
    app: Arc<App>,
    cluster: Arc<Cluster>,
    attempt: Attempt,
    because: Because,
    mark: Mark,
) -> Fate {
    let tracker = app.tasks.clone();
    let patience = FIND_OUT_WITHIN.min(cluster.config.ray.request_timeout);
    let task = tracker.spawn(async move {
        let _mark = mark;
        claim_until_known(&app, &cluster, &attempt, because).await
    });
    match tokio::time::timeout(patience, task).await {
        Ok(Ok(fate)) => fate,
        Ok(Err(_)) | Err(_) => Fate::Unknown,
    }
}

async fn claim_until_known(
    app: &App,
    cluster: &Cluster,
    attempt: &Attempt,
    because: Because,
) -> Fate {
    let mut pause = BACKOFF.0;
    loop {
        if !is_open(app, attempt).await {
            return Fate::Unknown;
        }
        let ray_id = attempt.ray_id();
        let claimed = claim(
            app,
            cluster,
            &ray_id,
            &attempt.stamp,
            &attempt.session,
            TURN_WITHIN,
        );
        match claimed.await {
            Ok(Claim::Ours) => {
                return confirmed(app, cluster, attempt, attempt.session.clone()).await;
            }
            Ok(Claim::Won) => return not_started(app, cluster, attempt, because).await,
            Ok(Claim::Foreign) => {
                return not_started(app, cluster, attempt, Because::Foreign).await;
            }
            Err(why) => tracing::info!(job = %attempt.id, %why, "a claim is not decided yet"),
        }
        tokio::select! {
            () = app.stopping.cancelled() => return Fate::Unknown,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(BACKOFF.1);
    }
}

/// Whether the ledger still waits to learn the fate of this attempt in the session that it was made for.
async fn is_open(app: &App, attempt: &Attempt) -> bool {
    let (id, number) = (attempt.id.clone(), attempt.number);
    let reserved = move |state: &State| {
        state
            .job(&id)
            .is_some_and(|j| j.attempt == number && matches!(j.phase, Phase::Reserved(_)))
    };
    // While the engine is busy it is taken for open: the claim is harmless then.
    app.engine
        .read(move |state, _| reserved(state))
        .await
        .unwrap_or(true)
}

/// What a claim found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The id is used up by the claim: the job can never start.
    Won,
    /// The job is there.
    Ours,
    /// Something else is there: the job can never start.
    Foreign,
}

/// Claims an id in the given session of Ray.
///
/// A record that is there already is the answer. Only where there is none is the no-op job submitted; it costs Ray's head
/// as much as a start, so that it waits for its turn at the cluster's start rate, at most `patience`.
///
/// # Errors
/// Not decided: why. Try again later.
pub async fn claim(
    app: &App,
    cluster: &Cluster,
    ray_id: &str,
    stamp: &str,
    session: &str,
    patience: Duration,
) -> Result<Claim, String> {
    still(cluster, session).await?;
    let there = cluster.ray.get(ray_id).await.map_err(|e| e.to_string())?;
    let claimed = match there {
        Some(record) => whose(&record, stamp),
        None => {
            wait_for_turn(app, cluster, patience).await?;
            // The wait may have been long.
            still(cluster, session).await?;
            submit_claim(cluster, ray_id, stamp).await?
        }
    };
    // It proves something only about the incarnation that was asked.
    still(cluster, session).await?;
    Ok(claimed)
}

async fn submit_claim(cluster: &Cluster, ray_id: &str, stamp: &str) -> Result<Claim, String> {
    let claim = SubmitRequest::no_op_claim(ray_id, stamp);
    match cluster.ray.submit(&claim).await {
        Ok(_) => Ok(Claim::Won),
        Err(SubmitError::AlreadyExists { .. }) => match cluster.ray.get(ray_id).await {
            Ok(Some(record)) => Ok(whose(&record, stamp)),
            Ok(None) => Err("Ray says both that it exists and that it does not".to_owned()),
            Err(error) => Err(error.to_string()),
        },
        Err(error) => Err(error.to_string()),
    }
}

/// Whether Ray is in this session now.
async fn still(cluster: &Cluster, session: &str) -> Result<(), String> {
    let version = cluster.ray.version().await.map_err(|e| e.to_string())?;
    let now = session_of(&version);
    if now == session {
        return Ok(());
    }
    Err(format!("Ray's session is {now}, not {session}"))
}

async fn wait_for_turn(app: &App, cluster: &Cluster, patience: Duration) -> Result<(), String> {
    let turn = app.engine.turn(&cluster.name, patience).await;
    let wait = turn
        .map_err(|e| e.to_string())?
        .ok_or("others are before it at the cluster's start rate")?;
    tokio::select! {
        () = app.stopping.cancelled() => Err("the server is stopping".to_owned()),
        () = tokio::time::sleep(wait) => Ok(()),
    }
}

/// Whose record it is.
#[must_use]
pub fn whose(record: &JobDetails, stamp: &str) -> Claim {
    let mark = |key: &str| {
        record
            .metadata
            .as_ref()
            .and_then(|m| m.get(key))
            .map(String::as_str)
    };
    match (mark(STAMP_KEY), mark(CLAIM_KEY)) {
        (Some(s), None) if s == stamp => Claim::Ours,
        (None, Some(s)) if s == stamp => Claim::Won,
        _ => Claim::Foreign,
    }
}

async fn confirmed(app: &App, cluster: &Cluster, attempt: &Attempt, session: String) -> Fate {
    let event = Event::Confirmed {
        id: attempt.id.clone(),
        attempt: attempt.number,
        session,
    };
    // Should it not be written it is found out again: the reservation stays, and the id is claimed later.
    let what = format!(
        "the confirmation of job {} by cluster {}",
        attempt.id, cluster.name
    );
    app.engine.note_soon(what, vec![event]).await;
    Fate::Running
}

async fn not_started(app: &App, cluster: &Cluster, attempt: &Attempt, because: Because) -> Fate {
    let attempt = attempt.clone();
    let name = cluster.name.clone();
    let decided = app
        .engine
        .change(move |state, _| {
            let queue = state.policy().when_ray_is_down == WhenDown::Queue;
            let (then, why, status) = judge(&attempt, &because, queue, &name);
            let fate = match then {
                AfterNotStarted::Requeue => Fate::Waiting,
                _ => Fate::Failed {
                    status,
                    why: why.clone(),
                },
            };
            let event = Event::NotStarted {
                id: attempt.id.clone(),
                attempt: attempt.number,
                then,
                why,
            };
            Decision::durable(vec![event], fate)
        })
        .await;
    match decided {
        Ok(fate) => fate,
        Err(EngineError::NotWritable(why)) => Fate::NotWritten(why),
        Err(error) => Fate::NotWritten(error.to_string()),
    }
}

/// What comes of a job whose attempt did not start.
fn judge(
    attempt: &Attempt,
    because: &Because,
    queue: bool,
    cluster: &str,
) -> (AfterNotStarted, String, u16) {
    let tired = attempt.number >= MAX_ATTEMPTS;
    match because {
        Because::Ray(why) if tired => (
            AfterNotStarted::Fail,
            format!(
                "it could not be given to Ray in {MAX_ATTEMPTS} attempts; the last time: {why}"
            ),
            503,
        ),
        Because::Ray(why) if attempt.promised || queue => (
            AfterNotStarted::Requeue,
            format!("not given to Ray: {why}"),
            200,
        ),
        Because::Ray(why) => (
            AfterNotStarted::Fail,
            format!("cluster {cluster} cannot be worked with at the moment: {why}"),
            503,
        ),
        Because::Restart if (attempt.promised || attempt.keyed) && !tired => (
            AfterNotStarted::Requeue,
            "the gateway was restarted before Ray took it".to_owned(),
            200,
        ),
        Because::Restart => (
            AfterNotStarted::Fail,
            "the gateway was restarted before Ray took it; submit it again".to_owned(),
            503,
        ),
        Because::Refused(status, why) => {
            let status = if (400..500).contains(status) && !matches!(status, 401 | 403 | 404) {
                400
            } else {
                502
            };
            (
                AfterNotStarted::Fail,
                format!("Ray refused it: {why}"),
                status,
            )
        }
        Because::Package(why) => (AfterNotStarted::Fail, why.clone(), 400),
        Because::Foreign if attempt.number > 1 && !tired => (
            AfterNotStarted::Requeue,
            "its id for this attempt was taken in Ray".to_owned(),
            200,
        ),
        Because::Foreign => (
            AfterNotStarted::Fail,
            format!(
                "Ray already has a job {} that did not come through Curb; choose another submission id",
                attempt.ray_id()
            ),
            409,
        ),
    }
}

fn lost(app: &App, cluster: &Cluster, why: &str) {
    if cluster.lost(why.to_owned()) {
        tracing::warn!(cluster = %cluster.name, %why, "the cluster cannot be reached");
    }
    // Before the job waits again, so that it is not granted again at once. Busy: the monitor says it soon.
    let _ = app.engine.set_up(&cluster.name, false);
    cluster.poke.notify_one();
}

/// Why a package is not in Ray.
enum NoPackage {
    /// It cannot be had: why, for the job's owner.
    Never(String),
    /// It may be there with the next attempt.
    NotNow(RayError),
}

impl NoPackage {
    fn of(name: &str, error: RayError) -> NoPackage {
        match error {
            // 401 and 403 are between Curb and Ray, 408 and 429 pass: none is the package's fault.
            RayError::Status { status, reason, .. }
                if (400..500).contains(&status) && !matches!(status, 401 | 403 | 408 | 429) =>
            {
                NoPackage::Never(format!(
                    "Ray does not take package {name} ({status}): {reason}"
                ))
            }
            RayError::BadSegment(error) => NoPackage::Never(error.to_string()),
            error => NoPackage::NotNow(error),
        }
    }
}

/// Whether the error says that Ray is away, rather than that it or this server could not do one thing (a connection also
/// breaks when a kept package is shorter than it was).
fn is_away(error: &RayError) -> bool {
    matches!(
        error,
        RayError::Unreachable { .. } | RayError::Timeout { .. }
    )
}

/// Puts the packages that a job needs into Ray.
async fn bring_packages(
    app: &App,
    cluster: &Cluster,
    user: &str,
    spec: &JobSpec,
) -> Result<(), NoPackage> {
    let gone = |name: &str| {
        NoPackage::Never(format!(
            "package {name} is not kept any more: submit the job again with its files"
        ))
    };
    for name in &spec.packages {
        let theirs = ray_package_name(user, name);
        let there = cluster
            .ray
            .package_exists(PackageProtocol::Gcs, &theirs)
            .await
            .map_err(|e| NoPackage::of(name, e))?;
        if there {
            continue;
        }
        let (path, size) = app.packages.find(user, name).ok_or_else(|| gone(name))?;
        let file = match open(app, &path).await {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(gone(name)),
            Err(_) => {
                return Err(NoPackage::Never(format!(
                    "package {name} is kept and cannot be read from Curb's disk: tell an operator, and submit the job again"
                )));
            }
        };
        let chunks = futures_util::stream::try_unfold(file, |mut file| async move {
            let mut buffer = vec![0; 64 << 10];
            let n = file.read(&mut buffer).await?;
            buffer.truncate(n);
            Ok((n > 0).then(|| (bytes::Bytes::from(buffer), file)))
        });
        let body = RequestBody::stream(size, chunks);
        cluster
            .ray
            .put_package(PackageProtocol::Gcs, &theirs, body)
            .await
            .map_err(|e| NoPackage::of(name, e))?;
    }
    Ok(())
}

/// Opens a kept package. One that is gone stays gone; one that cannot be read for a moment is tried again as often as a
/// granted job's request, unless the server stops.
async fn open(app: &App, path: &std::path::Path) -> std::io::Result<tokio::fs::File> {
    let mut pauses = READ_AGAIN.into_iter();
    loop {
        let error = match tokio::fs::File::open(path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => error,
            known => return known,
        };
        tracing::error!(%error, path = %path.display(), "a kept package cannot be read");
        let Some(pause) = pauses.next() else {
            return Err(error);
        };
        tokio::select! {
            () = app.stopping.cancelled() => return Err(error),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Starts jobs that left the queue, as the engine tells.
pub async fn serve_queue(app: Arc<App>, mut granted: tokio::sync::mpsc::Receiver<JobId>) {
    while let Some(id) = granted.recv().await {
        let asked = id.clone();
        let job = app
            .engine
            .read(move |state, _| {
                state
                    .job(&asked)
                    .filter(|j| matches!(j.phase, Phase::Reserved(_)))
                    .cloned()
            })
            .await;
        // What is not started here is an orphan, and is looked into later.
        let Ok(Some(job)) = job else { continue };
        let app = Arc::clone(&app);
        let tracker = app.tasks.clone();
        tracker.spawn(async move { start_granted(app, job).await });
    }
}

async fn start_granted(app: Arc<App>, job: Job) {
    let Some(attempt) = Attempt::of(&job) else {
        return;
    };
    let Some(cluster) = app.cluster(&job.new.cluster).cloned() else {
        tracing::error!(job = %job.new.id, cluster = %job.new.cluster, "a job is for a cluster that is not configured");
        return;
    };
    // While its request is read, which may take a while, nobody else takes care of it.
    let Some(mark) = cluster.mark(&attempt.id, attempt.number) else {
        return;
    };
    let spec = match spec_of(&app, &attempt, &job.new.spec).await {
        Some(Ok(spec)) => spec,
        None => return,
        Some(Err(failure)) => {
            let cause = failure.cause.as_deref().unwrap_or(&failure.detail);
            tracing::error!(job = %attempt.id, %cause, "what a job was asked to run cannot be read");
            not_started(
                &app,
                &cluster,
                &attempt,
                Because::Refused(500, failure.detail.clone()),
            )
            .await;
            return;
        }
    };
    let id = attempt.id.clone();
    if attempt.number > 1 {
        tokio::select! {
            // The next process finds the reservation.
            () = app.stopping.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
        // Ray may have been replaced meanwhile: what was granted was granted by the one before.
        if cluster.session() != attempt.session || !is_open(&app, &attempt).await {
            return;
        }
    }
    let fate = start_marked(app, cluster, attempt, spec, mark).await;
    tracing::debug!(job = %id, ?fate, "a job left the queue");
}

/// What a granted job was asked to run; `None` when the server stops before that is known, so that the next process finds
/// the reservation. What cannot be read for a moment can be read a moment later: the grant is held so long.
async fn spec_of(
    app: &App,
    attempt: &Attempt,
    key: &str,
) -> Option<Result<Arc<JobSpec>, crate::reply::Failure>> {
    let mut pauses = READ_AGAIN.into_iter();
    loop {
        let failure = match app.spec(key).await {
            // It was erased: no look brings it back.
            Err(failure) if failure.status != http::StatusCode::NOT_FOUND => failure,
            known => return Some(known),
        };
        let Some(pause) = pauses.next() else {
            return Some(Err(failure));
        };
        let cause = failure.cause.as_deref().unwrap_or(&failure.detail);
        tracing::warn!(job = %attempt.id, %cause, "what a job was asked to run cannot be read now; trying again");
        tokio::select! {
            () = app.stopping.cancelled() => return None,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Looks into reservations that nobody takes care of: after a restart all there are, later those that are old enough.
pub async fn adopt_orphans(app: &Arc<App>, cluster: &Arc<Cluster>, at_start: bool) {
    let name = cluster.name.clone();
    let session = cluster.session();
    let age = if at_start {
        Duration::ZERO
    } else {
        ORPHAN_AFTER
    };
    let found = app
        .engine
        .read_durable(move |state, moment| {
            let now = moment.now;
            state
                .jobs()
                .filter(|j| j.new.cluster == name)
                .filter(|j| match &j.phase {
                    Phase::Reserved(g) => {
                        g.session == session && u128::from(now.since(g.since).0) >= age.as_millis()
                    }
                    _ => false,
                })
                .filter_map(Attempt::of)
                .collect::<Vec<_>>()
        })
        .await;
    let Ok(found) = found else { return };
    let permits = Arc::new(tokio::sync::Semaphore::new(CLAIMS_AT_ONCE));
    for attempt in found {
        let Some(mark) = cluster.mark(&attempt.id, attempt.number) else {
            continue;
        };
        let (app, cluster, permits) = (Arc::clone(app), Arc::clone(cluster), Arc::clone(&permits));
        let tracker = app.tasks.clone();
        tracker.spawn(async move {
            let _mark = mark;
            let Ok(_permit) = permits.acquire_owned().await else {
                return;
            };
            let fate = claim_until_known(&app, &cluster, &attempt, Because::Restart).await;
            tracing::info!(job = %attempt.id, ?fate, "found out what became of a start");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(number: u32, promised: bool) -> Attempt {
        Attempt {
            id: JobId::parse("j").expect("an id"),
            number,
            user: "ana".into(),
            stamp: "s".into(),
            promised,
            keyed: false,
            session: "x".into(),
        }
    }

    #[test]
    fn a_job_with_a_key_that_a_restart_cut_off_waits_again_for_whoever_asks_again() {
        let keyed = Attempt {
            keyed: true,
            ..attempt(1, false)
        };
        let (then, _, _) = judge(&keyed, &Because::Restart, false, "main");
        assert_eq!(then, AfterNotStarted::Requeue);
        let (then, _, status) = judge(&keyed, &Because::Ray("down".into()), false, "main");
        assert_eq!(
            (then, status),
            (AfterNotStarted::Fail, 503),
            "the policy refuses then"
        );
    }

    #[test]
    fn what_was_promised_waits_again_and_what_was_not_fails() {
        let then =
            |n, promised, because, queue| judge(&attempt(n, promised), &because, queue, "main");
        assert_eq!(
            then(1, true, Because::Restart, false).0,
            AfterNotStarted::Requeue
        );
        assert_eq!(
            then(1, false, Because::Restart, true).0,
            AfterNotStarted::Fail
        );
        assert_eq!(
            then(1, false, Because::Ray("x".into()), true).0,
            AfterNotStarted::Requeue
        );
        assert_eq!(
            then(1, true, Because::Ray("x".into()), false).0,
            AfterNotStarted::Requeue
        );
        let (then_, _, status) = then(1, false, Because::Ray("x".into()), false);
        assert_eq!((then_, status), (AfterNotStarted::Fail, 503));
        assert_eq!(
            then(MAX_ATTEMPTS, true, Because::Ray("x".into()), true).0,
            AfterNotStarted::Fail
        );
    }

    #[test]
    fn a_refusal_by_ray_is_the_users_or_the_clusters_but_never_a_question_of_signing_in() {
        for (ray, ours) in [
            (400, 400),
            (422, 400),
            (401, 502),
            (403, 502),
            (404, 502),
            (500, 502),
        ] {
            let (then, why, status) = judge(
                &attempt(1, true),
                &Because::Refused(ray, "no".into()),
                true,
                "main",
            );
            assert_eq!(
                (then, status),
                (AfterNotStarted::Fail, ours),
                "{ray}: {why}"
            );
        }
    }

    #[test]
    fn a_package_that_cannot_be_had_fails_its_job_at_once_and_any_other_trouble_is_tried_again() {
        let status = |status| {
            NoPackage::of(
                "p.zip",
                RayError::Status {
                    what: "upload package p.zip".into(),
                    status,
                    reason: "no".into(),
                },
            )
        };
        for never in [400, 404, 413] {
            let NoPackage::Never(why) = status(never) else {
                panic!("{never} is tried again");
            };
            let (then, why, status) =
                judge(&attempt(1, true), &Because::Package(why), true, "main");
            assert_eq!((then, status), (AfterNotStarted::Fail, 400));
            assert!(why.contains("p.zip"), "{why}");
        }
        for later in [401, 403, 408, 429, 500, 503] {
            assert!(matches!(status(later), NoPackage::NotNow(_)), "{later}");
        }
        let (what, limit) = (String::new(), Duration::from_secs(1));
        assert!(!is_away(&RayError::Busy {
            what: what.clone(),
            limit
        }));
        assert!(is_away(&RayError::Timeout { what, limit }));
    }

    #[test]
    fn a_taken_id_fails_a_first_attempt_and_only_moves_a_later_one() {
        let (then, _, status) = judge(&attempt(1, true), &Because::Foreign, true, "main");
        assert_eq!((then, status), (AfterNotStarted::Fail, 409));
        assert_eq!(
            judge(&attempt(2, true), &Because::Foreign, true, "main").0,
            AfterNotStarted::Requeue
        );
    }
}
