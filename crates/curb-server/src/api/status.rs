//! What the server does and knows, and whether it can decide.

use curb_api::Kind;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use curb_api::{
    Caller, ClusterStatus, Enforcement, JournalStatus, Mode, ModeSwitch, Status, WatchedStatus,
};
use curb_core::ledger::{Event, Phase};
use curb_core::policy::{self, Quota, Reclaim};
use curb_core::resource::{Resource, Resources};
use curb_core::time::{Millis, Timestamp};
use curb_journal::Filter;
use http::StatusCode;

use crate::app::App;
use crate::gateway::Call;
use crate::reply::{Failure, Reply, json, text};

/// What the ledger says of one cluster.
#[derive(Default)]
struct Counts {
    queued: u64,
    starting: u64,
    running: u64,
    quarantined: u64,
}

/// `GET /curb/v1/status`.
pub async fn status(call: &Call) -> Result<Reply, Failure> {
    let app = &call.app;
    let names: Vec<String> = app.clusters.keys().cloned().collect();
    let (user, role) = (call.who.user().to_owned(), call.who.0.role);
    // Numbers of the moment, which must be told also while the disk hangs.
    let (mode, set, version, sha256, teams, now, ledger, policy) = app
        .engine
        .read(move |state, moment| {
            let mut counts: std::collections::HashMap<&str, Counts> =
                std::collections::HashMap::new();
            for job in state.jobs() {
                let c = counts.entry(job.new.cluster.as_str()).or_default();
                match &job.phase {
                    Phase::Queued => c.queued += 1,
                    Phase::Reserved(_) => c.starting += 1,
                    Phase::Running(_) => c.running += 1,
                    Phase::Quarantined(_) => c.quarantined += 1,
                    Phase::Ended(_) => {}
                }
            }
            let clusters: Vec<_> = names
                .into_iter()
                .map(|name| {
                    let c = counts.remove(name.as_str()).unwrap_or_default();
                    let (capacity, held) = (state.capacity_of(&name), state.held_on(&name));
                    let over = over_said(
                        state.cluster(&name).and_then(|c| c.observed.as_ref()),
                        capacity.as_ref(),
                    );
                    (name, c, capacity, held, over)
                })
                .collect();
            let teams = state
                .policy()
                .teams_of(&user)
                .map(str::to_owned)
                .collect::<Vec<_>>();
            let mode: Mode = state.mode().into();
            let set = state.mode_set().map(|_| state.policy().mode.into());
            (
                mode,
                set,
                state.policy_version(),
                state.policy_sha256().to_owned(),
                teams,
                moment.now,
                clusters,
                Arc::clone(state.policy()),
            )
        })
        .await?;
    let mode_set = match set {
        Some(policy) => mode_switch(app, policy).await?,
        None => None,
    };
    let mut fixed = Vec::new();
    let mut clusters = Vec::with_capacity(ledger.len());
    for (name, counts, capacity, held, over) in ledger {
        fixed.extend(
            over.into_iter()
                .map(|over| format!("cluster {name}: {over}")),
        );
        let Some(cluster) = app.cluster(&name) else {
            continue;
        };
        let facts = cluster.facts();
        let gap = match cluster.config.start_rate_milli {
            0 => Millis(0),
            rate => Millis(1_000_000 / rate),
        };
        clusters.push(ClusterStatus {
            reachable: facts.reachable,
            last_seen: facts.last_seen,
            // Addresses of the inside are for those who run it.
            problem: if call.who.is_operator() {
                facts.problem
            } else {
                String::new()
            },
            ray_version: facts.version.as_ref().map(|v| v.ray_version.clone()),
            session: facts.version.as_ref().map(crate::cluster::session_of),
            capacity,
            capacity_seen: facts.nodes_read,
            capacity_problem: match (call.who.is_operator(), facts.nodes_problem.is_empty()) {
                (_, true) => String::new(),
                (true, false) => facts.nodes_problem,
                (false, false) => "Ray's list of nodes cannot be read".to_owned(),
            },
            held,
            watched: crate::truth::status(app, cluster, call.who.is_operator()),
            queued: counts.queued,
            starting: counts.starting,
            running: counts.running,
            quarantined: counts.quarantined,
            start_gap: gap,
            name,
        });
    }
    clusters.sort_by_key(|c| (c.name != app.config.default_cluster, c.name.clone()));
    let enforced = enforcement(mode, version, &policy.quotas, &polls(app));
    let head = app.engine.writer().head();
    let problem = app.engine.health().problem();
    json(&Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now,
        started: app.started,
        you: Caller {
            user: call.who.user().to_owned(),
            role,
            teams,
        },
        mode,
        mode_set,
        policy_version: version,
        policy_sha256: sha256,
        warnings: warnings(app, mode, version, &clusters)
            .into_iter()
            .chain(fixed)
            .collect(),
        clusters,
        journal: JournalStatus {
            writable: problem.is_none(),
            problem: if call.who.is_operator() {
                problem.unwrap_or_default()
            } else {
                String::new()
            },
            seq: head.seq,
            hash: head.hash.to_string(),
            last_commit_us: last_commit(app),
        },
        enforcement: Enforcement {
            watched: held_on(app).chain(enforced.watched).collect(),
            ..enforced
        },
    })
}

/// Who set the mode over the policy's, and why: the newest such record.
async fn mode_switch(app: &App, policy: Mode) -> Result<Option<ModeSwitch>, Failure> {
    let record = app
        .readers
        .run(|reader| {
            let filter = Filter {
                kinds: &["mode_set"],
                since_ms: None,
            };
            reader.last(&filter, 1)
        })
        .await?;
    Ok(record
        .first()
        .and_then(|record| match serde_json::from_slice(&record.payload) {
            Ok(Event::ModeSet { by, why, .. }) => Some(ModeSwitch {
                policy,
                by,
                why,
                at: Timestamp(record.at_ms),
            }),
            _ => None,
        }))
}

/// What of a cluster the policy's `capacity` says more of than Ray has. Custom resources may be Curb's alone.
fn over_said(said: Option<&Resources>, fixed: Option<&Resources>) -> Option<String> {
    let (said, fixed) = (said?, fixed?);
    let over: Vec<String> = fixed
        .iter()
        .filter(|(r, a)| !matches!(r, Resource::Custom(_)) && *a > said.get(r))
        .map(|(r, a)| {
            format!(
                "{} {} (Ray has {})",
                r.show(a),
                r.label(),
                r.show(said.get(r))
            )
        })
        .collect();
    (!over.is_empty()).then(|| {
        format!(
            "the policy's `capacity` is above what Ray has: {}; jobs are given to Ray that then wait there",
            over.join(", ")
        )
    })
}

fn last_commit(app: &App) -> u64 {
    app.engine.writer().metrics().last_commit_micros
}

fn warnings(app: &App, mode: Mode, version: u32, clusters: &[ClusterStatus]) -> Vec<String> {
    let mut all = Vec::new();
    if version == 0 {
        all.push("no policy is in force: everything passes. Give one with --policy FILE or `curb policy apply FILE`".to_owned());
    } else if mode == Mode::Observe {
        all.push("nothing is enforced: what would be refused is only recorded (see `curb enforce --preview`)".to_owned());
    }
    if let Some(problem) = &app
        .policy_file
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .problem
    {
        all.push(format!(
            "the policy file is not right, and the policy before it stays in force: {problem}"
        ));
    }
    for c in clusters {
        if !c.reachable {
            all.push(format!("cluster {} does not answer: its jobs wait", c.name));
        }
        if !c.capacity_problem.is_empty() {
            all.push(match (&c.capacity, c.capacity_seen) {
                (None, _) => format!("cluster {}: what it has is not known, since Ray's list of nodes cannot be read: jobs wait, unless the policy's `capacity` says it", c.name),
                (Some(_), Some(at)) => format!("cluster {}: Ray's list of nodes cannot be read; what it has is as of {at}", c.name),
                (Some(_), None) => format!("cluster {}: Ray's list of nodes cannot be read; what it has is as of an earlier run of this server", c.name),
            });
        }
        if let Some(watched) = &c.watched {
            all.extend(unseen(c, watched));
        }
        if c.quarantined > 0 {
            all.push(format!(
                "cluster {}: {} quarantined jobs hold their grants since Ray was restarted under them; look whether they still run, and `curb jobs release` those that do not",
                c.name, c.quarantined
            ));
        }
    }
    all
}

/// What somebody should look at in what Ray's scheduler says.
fn unseen(c: &ClusterStatus, watched: &WatchedStatus) -> Vec<String> {
    let mut all = Vec::new();
    if !watched.problem.is_empty() {
        let since = watched
            .as_of
            .map_or("it never was".to_owned(), |at| format!("it is as of {at}"));
        all.push(format!(
            "cluster {}: what jobs hold cannot be seen, {since}: {}",
            c.name, watched.problem
        ));
    }
    for agent in &watched.agent_list {
        if agent.silent {
            all.push(format!(
                "cluster {}: the agent on node {} is silent since {}: whose processes run there is not known",
                c.name, agent.node, agent.as_of
            ));
        } else if !agent.problem.is_empty() {
            all.push(format!(
                "cluster {}: node {}: {}",
                c.name, agent.node, agent.problem
            ));
        }
    }
    let missing = watched.missing.iter();
    all.extend(missing.map(|m| {
        format!(
            "cluster {}: what jobs hold may be more than is shown: {m}",
            c.name
        )
    }));
    if watched.unmanaged_count > 0 {
        all.push(format!(
            "cluster {}: {} in it that Curb did not grant (curb status --json: `unmanaged`); close Ray's ports to users",
            c.name,
            match watched.unmanaged_count {
                1 => "1 program".to_owned(),
                n => format!("{n} programs"),
            }
        ));
    }
    all
}

/// Quotas by name, as many as a line of a terminal takes.
fn named(quotas: &[&Quota]) -> String {
    const TOLD: usize = 6;
    let mut text: Vec<String> = quotas.iter().take(TOLD).map(|q| q.name.clone()).collect();
    if quotas.len() > TOLD {
        text.push(format!("{} more", quotas.len() - TOLD));
    }
    text.join(", ")
}

/// Where it is watched what jobs hold.
fn held_on(app: &App) -> impl Iterator<Item = String> {
    let all = app.clusters.values().filter(|c| c.config.gcs.is_some());
    all.map(|c| {
        format!(
            "what jobs of cluster {} hold in Ray's scheduler and what came past Curb, every {} s",
            c.name,
            crate::truth::EVERY.as_secs()
        )
    })
}

/// How often each cluster is looked at.
fn polls(app: &App) -> BTreeMap<String, Millis> {
    let ms = |poll: Duration| Millis(u64::try_from(poll.as_millis()).unwrap_or(u64::MAX));
    let all = app.clusters.values();
    all.map(|c| (c.name.clone(), ms(c.config.poll))).collect()
}

/// What holds, of this policy on these clusters.
fn enforcement(
    mode: Mode,
    version: u32,
    quotas: &[Quota],
    polls: &BTreeMap<String, Millis>,
) -> Enforcement {
    let mut all = Enforcement {
        not: vec![
            "what a job uses beyond what it declared: Ray schedules by declared amounts and does not confine processes".to_owned(),
            "jobs that reach Ray past Curb: close Ray's ports to users".to_owned(),
        ],
        ..Enforcement::default()
    };
    if mode == Mode::Observe || version == 0 {
        all.hard.push("who submits is proven by a token; one start for each job; every decision is in the journal".to_owned());
        all.watched
            .push("what limits would have refused or made to wait".to_owned());
        all.not.insert(
            0,
            "no limit is enforced: the policy observes, or there is none".to_owned(),
        );
        return all;
    }
    let (audited, enforced): (Vec<_>, Vec<_>) =
        quotas.iter().partition(|q| q.mode == policy::Mode::Audit);
    if enforced.is_empty() {
        all.not.insert(
            0,
            "no quota is enforced: the policy has none that is not in `mode: audit`".to_owned(),
        );
    } else {
        all.hard.push(format!(
            "admission: what jobs declare, per bucket and in all, before Ray hears of them (as far as users reach Ray only through Curb), by {}",
            named(&enforced)
        ));
    }
    all.hard
        .push("one start for each job, and none without a grant in the journal".to_owned());
    if !audited.is_empty() {
        all.watched.push(format!(
            "what quotas in `mode: audit` would have refused or made to wait: {}",
            named(&audited)
        ));
    }
    ladders(&enforced, &mut all);
    for (cluster, poll) in polls {
        all.watched.push(format!(
            "whether jobs of cluster {cluster} are over, from Ray's own records, every {poll}"
        ));
    }
    if quotas
        .iter()
        .any(|q| matches!(q.reclaim, Reclaim::StopAfter(_)))
    {
        all.watched.push(
            "borrowed capacity: taken back by stopping the youngest borrower where the policy says so".to_owned(),
        );
    }
    all
}

/// What quotas do about jobs that take more than they were granted.
fn ladders(enforced: &[&Quota], all: &mut Enforcement) {
    let words = [
        (
            policy::Excess::Duration,
            "how long a job runs",
            "runs longer than it was granted",
        ),
        (
            policy::Excess::Held,
            "what a job holds in Ray's scheduler",
            "holds more in Ray's scheduler than it was granted",
        ),
        (
            policy::Excess::Limit,
            "limits that are lowered under running jobs",
            "runs above a limit that was lowered",
        ),
        (
            policy::Excess::Budget,
            "budgets that are used up",
            "goes on though its budget is used up",
        ),
    ];
    for (excess, what, does) in words {
        let stops = |q: &&&Quota| {
            q.ladder
                .iter()
                .any(|r| r.when == excess && r.step == policy::Step::Stop)
        };
        let who: Vec<&Quota> = enforced.iter().filter(stops).copied().collect();
        if who.is_empty() {
            all.not.push(format!(
                "{what}: no quota's `ladder` stops a job that {does}; it is shown"
            ));
        } else {
            all.watched.push(format!(
                "a job that {does} is stopped, after the time that the `ladder` says, by {}",
                named(&who)
            ));
        }
    }
}

/// `GET /readyz`.
pub async fn readyz(app: &Arc<App>) -> Result<Reply, Failure> {
    let mut missing = Vec::new();
    if app.engine.health().problem().is_some() {
        missing.push("the journal is not writable".to_owned());
    }
    match app.engine.read(|state, _| state.policy_version()).await {
        Ok(0) if app.config.policy.is_some() => {
            missing.push("the policy file was not applied yet, or is not right".to_owned())
        }
        Ok(_) => {}
        Err(error) => missing.push(error.to_string()),
    }
    if app.stopping.is_cancelled() {
        missing.push("the server is stopping".to_owned());
    }
    if missing.is_empty() {
        return Ok(text("ready\n"));
    }
    Err(not_ready(&missing))
}

pub(crate) fn not_ready(missing: &[String]) -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Kind::NotReady,
        format!("curb: not ready: {}", missing.join("; ")),
        "wait; if it stays so, an operator looks at the server's log",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(yaml: &str, mode: Mode) -> Enforcement {
        let policy = policy::Policy::parse("policy.yaml", yaml)
            .expect("a policy")
            .policy;
        let polls = BTreeMap::from([("main".to_owned(), Millis(30_000))]);
        enforcement(mode, 1, &policy.quotas, &polls)
    }

    #[test]
    fn what_is_called_hard_is_what_the_policy_enforces() {
        let both = told(
            "version: 1\nquotas:\n  - {name: team, limits: {cpu: 4}}\n  - {name: trial, limits: {cpu: 2}, mode: audit}\n",
            Mode::Enforce,
        );
        assert!(both.hard[0].ends_with("by team"), "{both:?}");
        assert!(both.watched[0].ends_with("to wait: trial"), "{both:?}");
        assert!(both.watched[1].ends_with("every 30s"), "{both:?}");
        assert!(!both.watched.iter().any(|t| t.contains("borrowed")));

        let audited = told(
            "version: 1\nquotas:\n  - {name: trial, limits: {cpu: 2}, mode: audit}\n",
            Mode::Enforce,
        );
        assert!(!audited.hard.iter().any(|t| t.contains("admission")));
        assert!(audited.not[0].starts_with("no quota is enforced"));

        let lent = told(
            "version: 1\nquotas:\n  - {name: team, limits: {cpu: 4}, borrow: {cpu: 4}, reclaim: {stop_after: 5m}}\n",
            Mode::Enforce,
        );
        assert!(lent.watched.iter().any(|t| t.contains("borrowed")));

        let observed = told("version: 1\n", Mode::Observe);
        assert!(observed.not[0].starts_with("no limit is enforced"));
    }

    #[test]
    fn a_long_list_of_quotas_is_cut_and_says_so() {
        let quotas: String = (0..9)
            .map(|n| format!("  - {{name: q{n}, limits: {{cpu: 1}}}}\n"))
            .collect();
        let all = told(&format!("version: 1\nquotas:\n{quotas}"), Mode::Enforce);
        assert!(all.hard[0].ends_with("q4, q5, 3 more"), "{all:?}");
    }
}
