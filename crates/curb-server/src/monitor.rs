//! Watching the clusters: whether they are there, which incarnation they are, what they have, and which jobs are over.
//!
//! An end is believed only between two equal readings of the session that took the job. Whatever cannot be read changes
//! nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use curb_core::amount::Amount;
use curb_core::ledger::{Event, Job, Outcome, Phase};
use curb_core::resource::{Resource, Resources};
use curb_core::subject::JobId;
use curb_core::time::Timestamp;
use curb_ray::{ClusterTotals, JobDetails, JobStatus, Listed, RayError, Version, without_frames};
use futures_util::stream::{self, StreamExt};

use crate::app::App;
use crate::cluster::{Cluster, session_of};
use crate::dispatcher::{Claim, adopt_orphans, claim, whose};

/// Up to so many open jobs are always asked for one by one.
const ASK_EACH: usize = 24;
/// Above it, Ray's whole list is read when it has fewer than so many records for each open job: Ray has no paging, and
/// looks up every record that it ever made.
const RECORDS_FOR_ONE: usize = 8;
/// At most so many are asked for in one look; the next look goes on where this one ended.
const ASK_AT_MOST: usize = 512;
/// Questions to Ray at once.
const AT_ONCE: usize = 8;
/// How often the cluster's size is looked at.
const CAPACITY_EVERY: Duration = Duration::from_secs(10);
/// How long Ray may take to list its nodes, so that the rest of a look is not late.
const NODES_WITHIN: Duration = Duration::from_secs(5);
/// How often that is tried again after it failed, while it is known from before.
const UNREAD_EVERY: Duration = Duration::from_secs(20);
/// An id by which Ray is asked whether it serves jobs at all.
const NOBODYS_JOB: &str = "curb-asks-whether-jobs-are-served";
/// How often a wish to stop is passed on again.
const STOP_EVERY: Duration = Duration::from_secs(3);
/// How often quarantined jobs and orphans are looked into.
const SLOW_EVERY: Duration = Duration::from_secs(5);
/// After a list that could not be had, jobs are asked for one by one for so long.
const NO_LIST_FOR: Duration = Duration::from_secs(600);
/// After a list Ray and this host rest so many times as long as it took, so that lists take a tenth of the time at most.
const LIST_REST: u32 = 9;
/// But never longer, so that the end of a job is seen in time.
const LIST_REST_AT_MOST: Duration = Duration::from_secs(10);
/// Ends that are written at once; between two such pieces the engine answers others.
const ENDS_AT_ONCE: usize = 256;
/// At most so many quarantined jobs are looked into at a time; the next time goes on where this one ended.
const QUARANTINED_AT_MOST: usize = 64;
/// How long a quarantined job's claim waits for its turn at the start rate: the look that asks holds up the next one. Who
/// gets no turn is looked into again.
const TURN_WITHIN: Duration = Duration::from_secs(2);
/// How long Ray may take to say its version.
const VERSION_WITHIN: Duration = Duration::from_secs(5);

/// An open job as the monitor needs it.
#[derive(Clone, Debug)]
struct Open {
    id: JobId,
    ray_id: String,
    stamp: String,
    session: String,
    attempt: u32,
    quarantined: bool,
    stop: bool,
}

impl Open {
    fn of(job: &Job) -> Option<Open> {
        let quarantined = match &job.phase {
            Phase::Running(_) => false,
            Phase::Quarantined(_) => true,
            _ => return None,
        };
        Some(Open {
            id: job.new.id.clone(),
            ray_id: job.ray_id(),
            stamp: job.new.stamp.clone(),
            session: job.grant()?.session.clone(),
            attempt: job.attempt,
            quarantined,
            stop: job.stop.is_some(),
        })
    }
}

struct Watch {
    app: Arc<App>,
    cluster: Arc<Cluster>,
    /// The session, and what it has if that could be read.
    known: Option<(String, Option<Resources>)>,
    capacity_due: Instant,
    slow_due: Instant,
    adopted: bool,
    stops: HashMap<JobId, Instant>,
    /// How long Ray's list was when it was last read in this session.
    list_len: Option<usize>,
    /// Until then Ray's list is not asked for: it was too large or too slow.
    no_list_until: Option<Instant>,
    /// Until then it rests after the last one.
    list_due: Instant,
    /// Where the next look goes on.
    turn: usize,
    /// Where the next look into quarantined jobs goes on.
    quarantined_turn: usize,
    /// Jobs whose record cannot be read, of which that was said.
    unreadable: HashSet<JobId>,
}

/// Whether an error tells of Ray as a whole, or of one question only.
fn is_of_the_cluster(error: &RayError) -> bool {
    matches!(
        error,
        RayError::Unreachable { .. } | RayError::Timeout { .. } | RayError::Broken { .. }
    )
}

/// Watches a cluster until the server stops.
pub async fn watch(app: Arc<App>, cluster: Arc<Cluster>) {
    let now = Instant::now();
    let mut watch = Watch {
        cluster: Arc::clone(&cluster),
        known: None,
        capacity_due: now,
        slow_due: now,
        adopted: false,
        stops: HashMap::new(),
        list_len: None,
        no_list_until: None,
        list_due: now,
        turn: 0,
        quarantined_turn: 0,
        unreadable: HashSet::new(),
        app: Arc::clone(&app),
    };
    loop {
        match watch.look().await {
            Ok(()) => {}
            Err(error @ RayError::Busy { .. }) => {
                tracing::warn!(cluster = %cluster.name, %error, "the cluster was not looked at this time");
            }
            Err(error) => watch.away(&error.to_string()),
        }
        tokio::select! {
            () = app.stopping.cancelled() => return,
            () = cluster.poke.notified() => {
                // A flood of pokes must not become a flood of questions.
                tokio::time::sleep(cluster.config.poll.min(Duration::from_millis(100))).await;
            }
            () = tokio::time::sleep(cluster.config.poll) => {}
        }
    }
}

impl Watch {
    fn away(&mut self, why: &str) {
        if self.cluster.lost(why.to_owned()) {
            tracing::warn!(cluster = %self.cluster.name, %why, "the cluster cannot be reached");
        }
        // Busy: it is said again with the next look.
        let _ = self.app.engine.set_up(&self.cluster.name, false);
    }

    async fn version(&self) -> Result<Version, RayError> {
        self.cluster.ray.version_within(VERSION_WITHIN).await
    }

    async fn look(&mut self) -> Result<(), RayError> {
        let before = self.version().await?;
        let session = session_of(&before);
        let was_away = !self.cluster.facts().reachable;
        self.observe(&session).await?;
        self.cluster.seen(before, self.app.clock.now());
        if !self.adopted {
            // Before the gate opens: what is reserved now was reserved by an earlier process.
            adopt_orphans(&self.app, &self.cluster, true).await;
            self.adopted = true;
        }
        if was_away {
            tracing::info!(cluster = %self.cluster.name, %session, "the cluster answers");
        }
        // Busy: it is said again with the next look.
        let _ = self.app.engine.set_up(&self.cluster.name, true);
        let open = self.open_jobs().await;
        self.pass_on_stops(&open).await;
        let records = self.records(&open, &session).await?;
        if session_of(&self.version().await?) != session {
            // What was read may be of either incarnation: it is read again.
            self.cluster.poke.notify_one();
            return Ok(());
        }
        self.settle(&open, records, &session).await;
        if Instant::now() >= self.slow_due {
            self.slow_due = Instant::now() + SLOW_EVERY;
            self.quarantined(&open, &session).await;
            adopt_orphans(&self.app, &self.cluster, false).await;
            let ids: HashSet<JobId> = open.iter().map(|o| o.id.clone()).collect();
            self.cluster.forget_all_but(&ids);
            self.stops.retain(|id, _| ids.contains(id));
            self.unreadable.retain(|id| ids.contains(id));
        }
        Ok(())
    }

    /// Tells the ledger which session it is and what it has, when that is news.
    async fn observe(&mut self, session: &str) -> Result<(), RayError> {
        let same = self.known.as_ref().is_some_and(|(s, _)| s == session);
        if same && Instant::now() < self.capacity_due {
            return Ok(());
        }
        self.capacity_due = Instant::now() + CAPACITY_EVERY;
        let capacity = self.capacity(same).await?;
        let news = Some((session.to_owned(), capacity.clone()));
        if self.known == news {
            return Ok(());
        }
        let name = self.cluster.name.clone();
        let (s, c) = (session.to_owned(), capacity);
        let told = self
            .app
            .engine
            .change(move |state, _| {
                let known = state
                    .cluster(&name)
                    .is_some_and(|k| k.session == s && (c.is_none() || k.observed == c));
                let event = Event::ClusterObserved {
                    cluster: name,
                    session: s,
                    capacity: c,
                };
                crate::engine::Decision::durable(if known { vec![] } else { vec![event] }, ())
            })
            .await;
        match told {
            Ok(()) => {
                self.known = news;
                self.list_len = None;
                self.no_list_until = None;
                // What a new session quarantined is looked into at once.
                self.slow_due = Instant::now();
            }
            Err(error) => {
                return Err(RayError::Malformed {
                    what: "note what the cluster is".into(),
                    reason: error.to_string(),
                });
            }
        }
        Ok(())
    }

    /// What the cluster has; `None` when that was never read. A list of nodes that cannot be read (Ray's state API may be
    /// slow or broken where its jobs API is well) is no news: what was known stays.
    async fn capacity(&mut self, same: bool) -> Result<Option<Resources>, RayError> {
        let before = self.known.as_ref().and_then(|(_, c)| c.clone());
        let asked = tokio::time::timeout(NODES_WITHIN, self.cluster.ray.nodes()).await;
        let error = match asked {
            Ok(Ok(nodes)) => {
                if self.cluster.nodes_read(self.app.clock.now()) {
                    tracing::info!(cluster = %self.cluster.name, "Ray's list of nodes can be read again");
                }
                return Ok(match before {
                    // A cut answer is no news of less.
                    Some(before) if !nodes.complete && same => Some(before),
                    _ => Some(capacity_of(&nodes.totals())),
                });
            }
            Ok(Err(error @ RayError::Unreachable { .. })) => return Err(error),
            Ok(Err(error)) => error,
            Err(_) => RayError::Timeout {
                what: "list nodes".into(),
                limit: NODES_WITHIN,
            },
        };
        // Up is what serves jobs: an id that is nobody's is not there.
        self.cluster.ray.get(NOBODYS_JOB).await?;
        if before.is_some() {
            self.capacity_due = Instant::now() + UNREAD_EVERY;
        } else {
            // Jobs wait for it.
            self.capacity_due = Instant::now();
        }
        if self.cluster.nodes_unread(error.to_string()) {
            tracing::warn!(cluster = %self.cluster.name, %error, "Ray's list of nodes cannot be read; what is known of the cluster's size stays");
        }
        Ok(before)
    }

    async fn open_jobs(&self) -> Vec<Open> {
        let name = self.cluster.name.clone();
        let open = self.app.engine.read_durable(move |state, _| {
            state
                .jobs()
                .filter(|j| j.new.cluster == name)
                .filter_map(Open::of)
                .collect()
        });
        open.await.unwrap_or_default()
    }

    async fn pass_on_stops(&mut self, open: &[Open]) {
        let now = Instant::now();
        let due: Vec<(JobId, String)> = open
            .iter()
            .filter(|o| o.stop && !o.quarantined)
            .filter(|o| {
                self.stops
                    .get(&o.id)
                    .is_none_or(|at| now.duration_since(*at) >= STOP_EVERY)
            })
            .map(|o| (o.id.clone(), o.ray_id.clone()))
            .collect();
        for (id, _) in &due {
            self.stops.insert(id.clone(), now);
        }
        let ray = &self.cluster.ray;
        stream::iter(due)
            .for_each_concurrent(AT_ONCE, |(id, ray_id)| async move {
                if let Err(error) = ray.stop(&ray_id).await {
                    tracing::info!(job = %id, %error, "a wish to stop was not passed on; it is tried again");
                }
            })
            .await;
    }

    /// What Ray says of the jobs that its present session took.
    async fn records(
        &mut self,
        open: &[Open],
        session: &str,
    ) -> Result<Vec<(JobId, JobDetails)>, RayError> {
        let mut mine: Vec<(JobId, String)> = open
            .iter()
            .filter(|o| !o.quarantined && o.session == session)
            .map(|o| (o.id.clone(), o.ray_id.clone()))
            .collect();
        let may_list = self.no_list_until.is_none_or(|at| Instant::now() >= at);
        if may_list && list_is_cheaper(mine.len(), self.list_len) {
            let begun = Instant::now();
            if begun < self.list_due {
                return Ok(Vec::new());
            }
            let wanted = mine.iter().map(|(_, ray_id)| ray_id.clone()).collect();
            let list = self.cluster.ray.list_of(wanted).await;
            self.list_due = Instant::now() + (begun.elapsed() * LIST_REST).min(LIST_REST_AT_MOST);
            match list {
                Ok(list) => return Ok(self.listed(mine, list)),
                Err(error @ (RayError::Unreachable { .. } | RayError::Busy { .. })) => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::warn!(cluster = %self.cluster.name, %error, "Ray's list of jobs could not be read; asking job by job");
                    self.no_list_until = Some(Instant::now() + NO_LIST_FOR);
                }
            }
        }
        mine.sort();
        take_turn(&mut mine, &mut self.turn, ASK_AT_MOST);
        let ray = &self.cluster.ray;
        let found: Vec<_> = stream::iter(mine)
            .map(|(id, ray_id)| async move { (id, ray.get(&ray_id).await) })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut records = Vec::with_capacity(found.len());
        for (id, record) in found {
            match record {
                Ok(Some(record)) => {
                    self.unreadable.remove(&id);
                    records.push((id, record));
                }
                Ok(None) => {}
                Err(error @ RayError::Busy { .. }) => return Err(error),
                Err(error) if is_of_the_cluster(&error) => return Err(error),
                // One job's record says nothing about the others.
                Err(error) => self.cannot_read(&id, &error),
            }
        }
        Ok(records)
    }

    fn cannot_read(&mut self, id: &JobId, error: &dyn std::fmt::Display) {
        if self.unreadable.insert(id.clone()) {
            tracing::warn!(job = %id, %error, "Ray's record of a job cannot be read; the job is taken for running until it can");
        }
    }

    fn listed(&mut self, mine: Vec<(JobId, String)>, list: Listed) -> Vec<(JobId, JobDetails)> {
        self.list_len = Some(list.total);
        let mut by_ray_id: HashMap<String, JobId> =
            mine.into_iter().map(|(id, ray_id)| (ray_id, id)).collect();
        for (ray_id, error) in &list.unreadable {
            if let Some(id) = by_ray_id.get(ray_id) {
                self.cannot_read(&id.clone(), error);
            }
        }
        let of = |record: JobDetails| {
            let id = by_ray_id.remove(record.submission_id.as_ref()?)?;
            Some((id, record))
        };
        list.records.into_iter().filter_map(of).collect()
    }

    /// Takes over the ends that Ray tells.
    async fn settle(&self, open: &[Open], records: Vec<(JobId, JobDetails)>, session: &str) {
        let by_id: HashMap<&JobId, &Open> = open.iter().map(|o| (&o.id, o)).collect();
        let mut ends = Vec::new();
        for (id, record) in records {
            let Some(o) = by_id.get(&id) else { continue };
            if whose(&record, &o.stamp) != Claim::Ours {
                tracing::warn!(job = %id, "Ray's record of a running job does not bear its stamp; it is not believed");
                continue;
            }
            if let Some(event) = ended(&o.id, &record) {
                ends.push((event, o.attempt));
            } else {
                self.cluster.remember(&id, record);
            }
        }
        while !ends.is_empty() {
            let rest = ends.split_off(ends.len().min(ENDS_AT_ONCE));
            if let Err(error) = self
                .note_ends(std::mem::replace(&mut ends, rest), session)
                .await
            {
                tracing::warn!(%error, "ends of jobs were not written; they are read again");
                return;
            }
        }
    }

    /// Writes ends, but only of jobs that are still in that session: what was decided meanwhile is not overwritten.
    async fn note_ends(
        &self,
        ends: Vec<(Event, u32)>,
        session: &str,
    ) -> Result<(), crate::engine::EngineError> {
        let session = session.to_owned();
        let noted = self.app.engine.change(move |state, _| {
            let fits = |id: &JobId, attempt: u32| {
                state.job(id).is_some_and(|j| {
                    j.attempt == attempt
                        && matches!(&j.phase, Phase::Running(g) if g.session == session)
                })
            };
            let events = ends
                .into_iter()
                .filter(|(e, attempt)| matches!(e, Event::Ended { id, .. } if fits(id, *attempt)))
                .map(|(e, _)| e)
                .collect();
            crate::engine::Decision::noted(events, ())
        });
        noted.await
    }

    /// Jobs of an earlier session: back if Ray has kept them, over if the cluster's restart is known to end jobs.
    async fn quarantined(&mut self, open: &[Open], session: &str) {
        let mut due: Vec<Open> = open.iter().filter(|o| o.quarantined).cloned().collect();
        due.sort_by(|a, b| a.id.cmp(&b.id));
        take_turn(&mut due, &mut self.quarantined_turn, QUARANTINED_AT_MOST);
        let (app, cluster) = (&self.app, &self.cluster);
        let mut fates = stream::iter(due)
            .map(|o| async move { fate_of(app, cluster, &o, session).await })
            .buffer_unordered(AT_ONCE);
        let mut events = Vec::new();
        while let Some(fate) = fates.next().await {
            match fate {
                Ok(event) => events.extend(event),
                // The others would wait as long, for nothing.
                Err(error) if is_of_the_cluster(&error) => break,
                Err(error) => tracing::debug!(%error, "a quarantined job could not be looked into"),
            }
        }
        drop(fates);
        if events.is_empty() {
            return;
        }
        // What was read is of this session only if it is still this session.
        if !matches!(self.version().await, Ok(version) if session_of(&version) == session) {
            return;
        }
        for event in &events {
            tracing::info!(?event, "a quarantined job is settled");
        }
        if let Err(error) = self.app.engine.note(events).await {
            tracing::warn!(%error, "what became of quarantined jobs was not written; they are looked into again");
        }
    }
}

/// What became of a quarantined job; `None` when that is not known yet.
async fn fate_of(
    app: &App,
    cluster: &Cluster,
    o: &Open,
    session: &str,
) -> Result<Option<Event>, RayError> {
    match cluster.ray.get(&o.ray_id).await? {
        Some(record) if whose(&record, &o.stamp) == Claim::Ours => Ok(Some(Event::Confirmed {
            id: o.id.clone(),
            attempt: o.attempt,
            session: session.to_owned(),
        })),
        _ if !cluster.config.restart_ends_jobs => Ok(None),
        // So that a submission that is still on its way cannot land in the new incarnation.
        _ => match claim(app, cluster, &o.ray_id, &o.stamp, session, TURN_WITHIN).await {
            Ok(Claim::Won | Claim::Foreign) => Ok(Some(Event::Released {
                id: o.id.clone(),
                by: "curb".into(),
                why: "Ray was restarted, which on this cluster ends every job (restart_ends_jobs)"
                    .into(),
            })),
            Ok(Claim::Ours) | Err(_) => Ok(None),
        },
    }
}

/// Keeps at most `most`, from where the last turn ended.
fn take_turn<T>(all: &mut Vec<T>, turn: &mut usize, most: usize) {
    if all.len() <= most {
        return;
    }
    let from = *turn % all.len();
    all.rotate_left(from);
    all.truncate(most);
    *turn = from + most;
}

/// Whether Ray's whole list costs it less than one question for each open job.
fn list_is_cheaper(open: usize, list_len: Option<usize>) -> bool {
    open > ASK_EACH && list_len.is_none_or(|len| len / RECORDS_FOR_ONE < open)
}

/// The end of a job, if the record tells one.
fn ended(id: &JobId, record: &JobDetails) -> Option<Event> {
    let outcome = match record.status {
        JobStatus::Succeeded => Outcome::Succeeded,
        JobStatus::Failed => Outcome::Failed,
        JobStatus::Stopped => Outcome::Stopped,
        _ => return None,
    };
    let time = |ms: Option<i64>| ms.filter(|ms| *ms > 0).map(Timestamp);
    Some(Event::Ended {
        id: id.clone(),
        outcome,
        message: told_by(record),
        exit_code: record.driver_exit_code,
        ran: time(record.start_time_ms).zip(time(record.end_time_ms)),
    })
}

/// Characters of a message of Ray's that are kept.
const MESSAGE_KEPT: usize = 4096;

/// What Ray says of a job: of a program that failed with the end of its log, which is its owner's; else without where in Ray's
/// own code something went wrong.
fn told_by(record: &JobDetails) -> String {
    let message = record.message.as_deref().unwrap_or_default();
    if record.error_type.as_deref() == Some("JOB_ENTRYPOINT_COMMAND_ERROR") {
        return message.chars().take(MESSAGE_KEPT).collect();
    }
    without_frames(message, MESSAGE_KEPT)
}

/// Ray's totals in the ledger's words.
fn capacity_of(totals: &ClusterTotals) -> Resources {
    let mut all = Resources::none();
    all.set(Resource::Cpu, Amount(totals.cpu.0));
    all.set(Resource::Gpu, Amount(totals.gpu.0));
    all.set(Resource::Memory, Amount(totals.memory_bytes));
    for (model, amount) in &totals.gpu_by_model {
        if let Ok(r) = Resource::parse(&format!("gpu:{model}")) {
            all.set(r, Amount(amount.0));
        }
    }
    for (name, amount) in &totals.custom {
        // A name that cannot be asked for needs no capacity.
        if let Ok(r @ Resource::Custom(_)) = Resource::parse(name) {
            all.set(r, Amount(amount.0));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_reach_everybody_and_never_take_more_than_they_may() {
        let (mut turn, mut seen) = (0, HashSet::new());
        for _ in 0..4 {
            let mut all: Vec<usize> = (0..150).collect();
            take_turn(&mut all, &mut turn, 64);
            assert_eq!(all.len(), 64);
            seen.extend(all);
        }
        assert_eq!(seen.len(), 150);
        let mut few = vec![1, 2];
        take_turn(&mut few, &mut turn, 64);
        assert_eq!(few, [1, 2]);
    }

    #[test]
    fn what_is_wrong_with_one_answer_says_nothing_about_the_cluster() {
        let what = || "get job a".to_owned();
        let limit = Duration::from_secs(1);
        for one in [
            RayError::TooLarge {
                what: what(),
                limit: 1,
            },
            RayError::Malformed {
                what: what(),
                reason: String::new(),
            },
            RayError::Status {
                what: what(),
                status: 500,
                reason: String::new(),
            },
            RayError::Busy {
                what: what(),
                limit,
            },
        ] {
            assert!(!is_of_the_cluster(&one), "{one}");
        }
        assert!(is_of_the_cluster(&RayError::Timeout {
            what: what(),
            limit
        }));
    }

    #[test]
    fn a_long_history_in_ray_is_not_read_for_a_few_open_jobs() {
        assert!(!list_is_cheaper(10, None));
        assert!(list_is_cheaper(100, None));
        assert!(list_is_cheaper(100, Some(150)));
        assert!(!list_is_cheaper(100, Some(100_000)));
    }

    #[test]
    fn where_in_rays_code_it_failed_is_left_out_and_the_log_of_a_program_is_whole() {
        let traceback = "it failed\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\n    g()\nOSError: gone";
        let record = |error_type: &str| -> JobDetails {
            serde_json::from_value(serde_json::json!({
                "type": "SUBMISSION", "submission_id": "a", "status": "FAILED", "entrypoint": "true",
                "message": traceback, "error_type": error_type,
            }))
            .expect("a record")
        };
        assert_eq!(
            told_by(&record("RUNTIME_ENV_SETUP_FAILURE")),
            "it failed\nOSError: gone"
        );
        assert_eq!(told_by(&record("JOB_ENTRYPOINT_COMMAND_ERROR")), traceback);
    }
}
