//! Watching what jobs really hold: each cluster's control store is asked every two seconds, and what it says is put in
//! Curb's words by Curb's own records.
//!
//! Admission does not wait for it and does not rest on it. What cannot be read changes nothing: the last that was seen stays,
//! with its age.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use curb_api::{
    HeldSpan, JobHeldView, JobUsedView, JobView, MemoryAs, UnmanagedKind, UnmanagedView,
    WatchedStatus,
};
use curb_core::amount::Amount;
use curb_core::decide::is_stopped_for;
use curb_core::ledger::{Job, Phase, State};
use curb_core::subject::JobId;
use curb_core::time::{Millis, Timestamp};
use curb_core::truth::{
    self, Account, Attributed, DriverId, Gaps, HeldMeter, JobHeld, Owner, Proofs, Sample, Span,
    Unmanaged, What,
};
use curb_ray::{Gcs, GcsConfig, GcsError};

use crate::agents::{self, Told};
use crate::app::App;
use crate::cluster::Cluster;
use crate::usage;

/// How often a control store is asked.
pub const EVERY: Duration = Duration::from_secs(2);
/// After a look it rests at least so many times as long as the look took, so that a large or slow cluster is not asked
/// without a pause.
const REST: u32 = 9;
/// What a job held is written into the journal so often: so much of it is not known after a crash.
const METER_EVERY: Millis = Millis(5 * 60_000);
/// So many of what Curb did not grant are told one by one.
const UNMANAGED_TOLD: usize = 50;
/// So many actors are ended in one look; the rest in the next.
const KILLS_A_LOOK: usize = 100;
/// So many characters of a command are told.
const ENTRYPOINT_TOLD: usize = 200;

/// What was seen the last time.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// When: the time before the first question.
    pub at: Timestamp,
    /// Who held what.
    pub held: Attributed,
    /// What the sample did not have.
    pub gaps: Gaps,
    /// What each job's processes use, where agents tell.
    pub used: BTreeMap<JobId, JobUsedView>,
}

/// What is known of what is held on one cluster.
#[derive(Debug, Default)]
pub struct Truth {
    now: RwLock<(Option<Arc<Seen>>, String)>,
    /// Processes about which agents are asked, by address.
    asked: RwLock<Arc<BTreeMap<String, Vec<u32>>>>,
    /// Whose drivers are, by descent.
    proofs: Mutex<Proofs>,
}

impl Truth {
    /// The last that was seen, and why there was nothing newer (empty: it is the newest).
    #[must_use]
    pub fn last(&self) -> (Option<Arc<Seen>>, String) {
        self.now
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The processes about which agents are asked, by address.
    #[must_use]
    pub fn asked(&self) -> Arc<BTreeMap<String, Vec<u32>>> {
        Arc::clone(&self.asked.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn prove(&self, sample: &Sample, account: &Account, told: &[Told], now: Timestamp) -> Proofs {
        let ask = Arc::new(truth::asked(sample, account));
        *self.asked.write().unwrap_or_else(PoisonError::into_inner) = ask;
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.look(sample, account, &agents::hosts(told, &sample.cluster, now));
        proofs.clone()
    }

    fn saw(&self, seen: Seen) -> bool {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        now.0 = Some(Arc::new(seen));
        !std::mem::take(&mut now.1).is_empty()
    }

    fn missed(&self, why: String) -> bool {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut now.1, why).is_empty()
    }
}

/// Watches what is held on a cluster until the server stops.
pub async fn watch(app: Arc<App>, cluster: Arc<Cluster>, config: GcsConfig) {
    let mut meter = HeldMeter::default();
    let gcs = match Gcs::new(config) {
        Ok(gcs) => gcs,
        Err(error) => {
            cluster.truth.missed(error.to_string());
            tracing::error!(cluster = %cluster.name, %error, "what jobs hold is not watched");
            return;
        }
    };
    loop {
        let began = Instant::now();
        match look(&app, &cluster, &gcs).await {
            Ok(seen) => {
                usage::meter(&app, &cluster.name, &mut meter, &seen, METER_EVERY).await;
                if cluster.truth.saw(seen) {
                    tracing::info!(cluster = %cluster.name, "what jobs hold can be seen again");
                }
            }
            Err(error) => {
                if cluster.truth.missed(error.clone()) {
                    tracing::warn!(cluster = %cluster.name, %error, "what jobs hold cannot be seen; what was seen before stays, with its age");
                }
            }
        }
        let took = began.elapsed();
        let rest = EVERY
            .saturating_sub(took)
            .max(took.saturating_mul(REST).min(EVERY * 15));
        tokio::select! {
            () = app.stopping.cancelled() => {
                usage::write_down(&app, &mut meter, Millis(0)).await;
                return;
            }
            () = tokio::time::sleep(rest) => {}
        }
    }
}

/// What a cluster's status says of it; `None` where it is not watched.
#[must_use]
pub fn status(app: &App, cluster: &Cluster, operator: bool) -> Option<WatchedStatus> {
    cluster.config.gcs.as_ref()?;
    let (seen, problem) = cluster.truth.last();
    let agents = agents::views(&app.agents.of(&cluster.name), app.clock.now());
    let held = seen.as_ref().map(|s| s.held.clone()).unwrap_or_default();
    let told = held
        .unmanaged
        .iter()
        .filter(|_| operator)
        .take(UNMANAGED_TOLD);
    Some(WatchedStatus {
        as_of: seen.as_ref().map(|s| s.at),
        // Addresses of the inside are for those who run it.
        problem: match (operator, problem.is_empty()) {
            (_, true) => String::new(),
            (true, false) => problem,
            (false, false) => "Ray's control store does not answer".to_owned(),
        },
        missing: seen.as_ref().map(|s| missing(&s.gaps)).unwrap_or_default(),
        taken: held.taken.amounts(true),
        unexplained: held.unexplained.amounts(true),
        unmanaged_count: held.unmanaged.len() as u64,
        unmanaged: told.map(unmanaged).collect(),
        agents: agents.len() as u64,
        agents_silent: agents.iter().filter(|a| a.silent).count() as u64,
        agent_list: if operator { agents } else { Vec::new() },
    })
}

/// Why sums may be short. Events that workers dropped at some time are no reason to doubt the sums of now.
fn missing(gaps: &Gaps) -> Vec<String> {
    let mut all = Vec::new();
    if gaps.cut > 0 {
        all.push(format!(
            "{} rows were beyond the bound of an answer",
            gaps.cut
        ));
    }
    if gaps.unreadable > 0 {
        all.push(format!(
            "{} rows or amounts could not be read: another version of Ray than Curb knows",
            gaps.unreadable
        ));
    }
    all
}

fn span(held: &Span) -> HeldSpan {
    HeldSpan {
        least: held.least.amounts(false),
        most: held.most.amounts(true),
    }
}

fn unmanaged(one: &Unmanaged) -> UnmanagedView {
    let (kind, id, process, entrypoint) = match &one.what {
        What::Submission { id } => (
            UnmanagedKind::Submission,
            id.clone(),
            String::new(),
            String::new(),
        ),
        What::Driver {
            id,
            alive,
            address,
            pid,
            entrypoint,
            ..
        } => {
            let kind = if *alive {
                UnmanagedKind::Driver
            } else {
                UnmanagedKind::Leftover
            };
            let entrypoint = entrypoint.chars().take(ENTRYPOINT_TOLD).collect();
            (
                kind,
                id.to_string(),
                format!("{address} pid {pid}"),
                entrypoint,
            )
        }
    };
    UnmanagedView {
        kind,
        id,
        of: one.of.clone(),
        forges: one.forges.clone(),
        process,
        entrypoint,
        held: span(&one.held),
    }
}

/// What each job holds on all clusters that are watched, for lists.
pub fn of_jobs(app: &App) -> impl Fn(&JobView) -> Option<JobHeldView> + use<> {
    let all: HashMap<String, Arc<Seen>> = app
        .clusters
        .iter()
        .filter_map(|(name, c)| Some((name.clone(), c.truth.last().0?)))
        .collect();
    move |job| {
        let seen = all.get(&job.cluster)?;
        if job.state.is_ended() {
            return None;
        }
        let nothing = JobHeld::default();
        let held = match seen.held.jobs.get(&job.id) {
            Some(held) => held,
            // It ran when this was seen, and held nothing. One that was started since was not looked at.
            None if job.started.is_some_and(|at| at < seen.at) => &nothing,
            None => return None,
        };
        Some(JobHeldView {
            held: span(&held.held),
            drivers: held.drivers.len() as u64,
            actors: held.actors,
            detached: held.detached,
            tasks: held.tasks,
            unproven: held.unproven,
            as_of: seen.at,
        })
    }
}

/// What the processes of each job use, for lists.
pub fn use_of_jobs(app: &App) -> impl Fn(&JobView) -> Option<JobUsedView> + use<> {
    let all: HashMap<String, Arc<Seen>> = app
        .clusters
        .iter()
        .filter_map(|(name, c)| Some((name.clone(), c.truth.last().0?)))
        .collect();
    move |job| {
        let seen = all.get(&job.cluster)?;
        let running = !job.state.is_ended();
        seen.used.get(&job.id).filter(|_| running).cloned()
    }
}

async fn look(app: &App, cluster: &Cluster, gcs: &Gcs) -> Result<Seen, String> {
    let at = app.clock.now();
    let sample = gcs.sample().await.map_err(|e: GcsError| e.to_string())?;
    // A large cluster takes its time: not on a thread that answers others.
    let (sample, account) = tokio::task::spawn_blocking(move || {
        let account = truth::account(&sample);
        (sample, account)
    })
    .await
    .map_err(|e| format!("adding up what is held failed: {e}"))?;
    let ids = truth::named(&sample, &account);
    let name = cluster.name.clone();
    let owners = app
        .engine
        .read(move |state, _| owners(state, &name, ids))
        .await
        .map_err(|e| e.to_string())?;
    let whose = |id: &str| owners.get(id).cloned().unwrap_or(Owner::Nobody);
    let told = app.agents.of(&cluster.name);
    let proofs = cluster.truth.prove(&sample, &account, &told, at);
    let held = truth::attribute(&sample, &account, &proofs, whose);
    let used = used(&sample, &held, &told, at);
    end_leftovers(app, cluster, gcs, &sample, &held).await;
    Ok(Seen {
        at,
        held,
        gaps: sample.gaps,
        used,
    })
}

/// What each job's processes use, by what the agents told that are not silent.
fn used(
    sample: &Sample,
    held: &Attributed,
    told: &[Told],
    now: Timestamp,
) -> BTreeMap<JobId, JobUsedView> {
    let mut all: BTreeMap<JobId, JobUsedView> = BTreeMap::new();
    let fresh = || told.iter().filter(|t| !t.is_silent(now));
    let cluster_id = hex::encode(&sample.cluster);
    for one in fresh() {
        let mut here: BTreeSet<&JobId> = BTreeSet::new();
        for group in &one.report.groups {
            let raylet = one.report.raylets.get(group.raylet as usize);
            let Some(raylet) = raylet.filter(|r| r.cluster_id == cluster_id) else {
                continue;
            };
            let at = |pid| (raylet.address.clone(), pid);
            let supervised = group.root.and_then(|pid| held.processes.get(&at(pid)));
            let driver = || held.owners.get(&agents::driver(group.driver.as_deref()?)?);
            let Some(job) = supervised.or_else(driver) else {
                continue;
            };
            let entry = all.entry(job.clone()).or_insert_with(|| JobUsedView {
                as_of: one.at,
                memory_as: MemoryAs::Group,
                ..JobUsedView::default()
            });
            entry.cpu = Amount(entry.cpu.0.saturating_add(group.cpu.0));
            entry.memory = Amount(entry.memory.0.saturating_add(group.memory.0));
            entry.memory_as = entry.memory_as.min(group.memory_as);
            entry.processes = entry.processes.saturating_add(group.processes);
            entry.as_of = entry.as_of.min(one.at);
            entry.nodes += u64::from(here.insert(job));
        }
    }
    let raylets = fresh().flat_map(|t| &t.report.raylets);
    let of_it = raylets.filter(|r| r.cluster_id == cluster_id);
    let seen: BTreeSet<&str> = of_it.map(|r| r.address.as_str()).collect();
    let nodes: BTreeSet<&str> = sample.nodes.iter().map(|n| n.address.as_str()).collect();
    let unseen = nodes.difference(&seen).count() as u64;
    all.values_mut().for_each(|view| view.unseen = unseen);
    all
}

/// Detached actors outlive their job by design, in Ray. Where Curb itself stopped the job by a ladder, they are part of what
/// it was stopped for, and end as well.
async fn end_leftovers(
    app: &App,
    cluster: &Cluster,
    gcs: &Gcs,
    sample: &Sample,
    held: &Attributed,
) {
    let left: Vec<(DriverId, JobId)> = held
        .unmanaged
        .iter()
        .filter_map(|one| match (&one.what, &one.of) {
            (
                What::Driver {
                    id, alive: false, ..
                },
                Some(job),
            ) => Some((*id, job.clone())),
            _ => None,
        })
        .collect();
    if left.is_empty() {
        return;
    }
    let condemned = app
        .engine
        .read_durable(move |state, _| {
            let stopped = |job: &Job| job.is_ended() && job.exceedances.iter().any(is_stopped_for);
            left.into_iter()
                .filter(|(_, id)| state.job(id).is_some_and(stopped))
                .collect::<Vec<_>>()
        })
        .await
        .unwrap_or_default();
    for (driver, job) in condemned {
        let actors = sample
            .actors
            .iter()
            .filter(|a| a.driver == driver && a.detached);
        for actor in actors.take(KILLS_A_LOOK) {
            match gcs.kill_actor(actor.id).await {
                Ok(()) => {
                    tracing::warn!(cluster = %cluster.name, %job, actor = %actor.id, name = ?actor.name, "a detached actor of a job that was stopped is ended")
                }
                Err(error) => {
                    tracing::warn!(cluster = %cluster.name, %job, actor = %actor.id, %error, "a detached actor of a job that was stopped could not be ended; it is tried again")
                }
            }
        }
    }
}

/// Whose the submissions of these ids are on a cluster.
fn owners(state: &State, cluster: &str, ids: Vec<String>) -> HashMap<String, Owner> {
    let whose = |id: &str| {
        let mut past = None;
        for (job_id, attempt) in JobId::of_ray_id(id) {
            let Some(job) = state.job(&job_id).filter(|j| j.new.cluster == cluster) else {
                continue;
            };
            if job.attempt == attempt && holds(job) {
                return Some(Owner::Job(job_id, attempt));
            }
            past = past.or(Some(Owner::Past(job_id)));
        }
        past
    };
    ids.into_iter()
        .filter_map(|id| Some((whose(&id)?, id)))
        .map(|(o, id)| (id, o))
        .collect()
}

fn holds(job: &Job) -> bool {
    matches!(
        job.phase,
        Phase::Reserved(_) | Phase::Running(_) | Phase::Quarantined(_)
    )
}
