//! What must hold, along the way and after all of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use curb_core::ledger::{Event, Recorded, State};
use curb_core::time::Timestamp;
use curb_journal::Reader;
use curb_standin::Handle;

use crate::clients::Told;
use crate::server::tail_of;
use crate::support::send;
use crate::{Dice, People};

/// By so much the stand-in's clock may be behind the server's: it counts on from when it was started.
const CLOCKS_DIFFER_MS: i64 = 10;
/// What the stand-in has in all, in CPUs; a job takes one.
pub(crate) const CAPACITY: usize = 4;

/// Between two kills: what was acknowledged is there, what was deleted is not, and Ray runs no more than was granted.
pub(crate) async fn along_the_way(
    addr: SocketAddr,
    people: &People,
    ray: &Handle,
    told: &Told,
    dice: &mut Dice,
) {
    let mut one_of = |all: &[String]| {
        let n = dice.below(all.len().max(1) as u64);
        all.get(usize::try_from(n).expect("small")).cloned()
    };
    if let Some(id) = one_of(&told.taken) {
        let path = format!("/curb/v1/jobs/{id}");
        let answer = send(addr, "GET", &path, Some(&people.admin), "", b"").await;
        let lost = "was acknowledged and is gone";
        assert!(
            matches!(answer.status, 200 | 503),
            "job {id} {lost}: {answer:?}"
        );
    }
    if let Some(id) = one_of(&told.deleted) {
        let path = format!("/api/jobs/{id}");
        let answer = send(addr, "GET", &path, Some(&people.ana), "", b"").await;
        assert!(
            matches!(answer.status, 404 | 503),
            "job {id} was deleted: {answer:?}"
        );
    }
    let list = send(ray.addr(), "GET", "/api/jobs/", None, "", b"").await;
    if list.status == 0 {
        // It refuses connections for a moment.
        return;
    }
    let all = list.json();
    let running = all.as_array().expect("a list");
    let running = running.iter().filter(|j| j["status"] == "RUNNING").count();
    assert!(running <= CAPACITY, "{running} jobs run at once: {all}");
}

/// Waits until nothing waits and nothing is held; then Ray runs nothing either.
pub(crate) async fn settle(addr: SocketAddr, token: &str, dir: &Path, ray: &Handle) {
    let end = Instant::now() + Duration::from_secs(60);
    let mut last = serde_json::Value::Null;
    while Instant::now() < end {
        let answer = send(addr, "GET", "/curb/v1/status", Some(token), "", b"").await;
        last = answer.json()["clusters"][0].clone();
        let idle = ["queued", "starting", "running", "quarantined"]
            .iter()
            .all(|k| last[*k] == 0);
        if idle {
            assert_eq!(last["held"], serde_json::json!({}), "a hold leaked");
            nothing_runs(ray).await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it does not settle: {last}\n{}", tail_of(dir));
}

/// What holds nothing runs nothing. A claim may still be on its way out.
async fn nothing_runs(ray: &Handle) {
    let end = Instant::now() + Duration::from_secs(5);
    let mut running = Vec::new();
    while Instant::now() < end {
        let list = send(ray.addr(), "GET", "/api/jobs/", None, "", b"").await;
        let all = list.json();
        let open =
            |j: &&serde_json::Value| matches!(j["status"].as_str(), Some("RUNNING" | "PENDING"));
        let jobs = all.as_array().expect("a list").iter();
        running = jobs
            .filter(open)
            .map(|j| j["submission_id"].to_string())
            .collect();
        if running.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nothing is held, and Ray runs {running:?}");
}

/// All that was acknowledged is as it was acknowledged.
pub(crate) async fn acknowledged(
    addr: SocketAddr,
    people: &People,
    told: &Told,
) -> BTreeMap<String, usize> {
    let mut ended = BTreeMap::new();
    for id in &told.taken {
        let path = format!("/curb/v1/jobs/{id}");
        let answer = send(addr, "GET", &path, Some(&people.admin), "", b"").await;
        assert_eq!(
            answer.status, 200,
            "job {id} was acknowledged and is gone: {answer:?}"
        );
        let state = answer.json()["state"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        // One that never ends by itself.
        assert!(
            !told.long.contains(id) || state != "succeeded",
            "job {id} was never over by itself, and is told to be"
        );
        *ended.entry(state).or_insert(0) += 1;
    }
    assert!(told.wrong.is_empty(), "{:?}", told.wrong);
    for id in &told.deleted {
        let path = format!("/api/jobs/{id}");
        let answer = send(addr, "GET", &path, Some(&people.ana), "", b"").await;
        assert_eq!(
            answer.status, 404,
            "job {id} was deleted and is back: {answer:?}"
        );
    }
    for (key, ids) in &told.keys {
        assert_eq!(
            ids.len(),
            1,
            "key {key} was answered with several jobs: {ids:?}"
        );
    }
    let answer = send(
        addr,
        "GET",
        "/curb/v1/overrides",
        Some(&people.admin),
        "",
        b"",
    )
    .await;
    let list = answer.json();
    let there: HashSet<u64> = list["overrides"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|o| o["id"].as_u64())
        .collect();
    for id in &told.overrides {
        assert!(
            there.contains(id),
            "override {id} was acknowledged and is gone: {list}"
        );
    }
    ended
}

/// What the journal says.
#[derive(Default)]
pub(crate) struct Journal {
    /// Jobs that were granted, and when first, in ms since 1970.
    pub(crate) granted: HashMap<String, i64>,
    /// Attempts that were given up, by their ids in Ray.
    pub(crate) given_up: HashSet<String>,
    known: HashSet<String>,
    keys: HashMap<String, usize>,
    pub(crate) policies: usize,
    pub(crate) sessions: HashSet<String>,
}

impl Journal {
    fn take(&mut self, event: &Event, at_ms: i64) {
        match event {
            Event::Admitted { job, .. } | Event::Queued { job, .. } => {
                self.known.insert(job.id.to_string());
                if let Some(key) = &job.key {
                    *self.keys.entry(key.clone()).or_default() += 1;
                }
            }
            Event::NotStarted { id, attempt, .. } => {
                let attempt = match attempt {
                    1 => id.to_string(),
                    n => format!("{id}.attempt-{n}"),
                };
                self.given_up.insert(attempt);
            }
            Event::PolicyApplied { .. } => self.policies += 1,
            Event::ClusterObserved { session, .. } => drop(self.sessions.insert(session.clone())),
            _ => {}
        }
        let granted = match event {
            Event::Admitted { job, .. } => &job.id,
            Event::Granted { id, .. } => id,
            _ => return,
        };
        self.granted.entry(granted.to_string()).or_insert(at_ms);
    }
}

/// The chain is whole; folded from its beginning it gives the state that a start from the newest snapshot gives; all that
/// was acknowledged is in it, and each key once.
pub(crate) fn journal(data: &Path, told: &Told) -> Journal {
    let reader = Reader::open(data).expect("a journal");
    let report = curb_journal::verify(&reader, None).expect("readable");
    assert!(report.is_sound(), "{report:?}");
    let (mut journal, mut state) = (Journal::default(), State::new());
    reader
        .for_each(0, |record| {
            let event: Event = serde_json::from_slice(record.payload).expect("an event");
            journal.take(&event, record.at_ms);
            state.apply(&Recorded {
                seq: record.seq,
                at: Timestamp(record.at_ms),
                event,
            });
            ControlFlow::<()>::Continue(())
        })
        .expect("readable");
    let loaded = curb_server::load(data).expect("readable");
    assert!(loaded.from_snapshot > 0, "no server ended in good order");
    assert!(
        loaded.state.snapshot() == state.snapshot(),
        "from the snapshot at {} it is another state than from the beginning",
        loaded.from_snapshot
    );
    for id in &told.taken {
        assert!(
            journal.known.contains(id),
            "job {id} was acknowledged and is not in the journal"
        );
    }
    for (key, times) in &journal.keys {
        assert_eq!(*times, 1, "key {key} made several jobs");
    }
    journal
}

/// No id was started twice, no job was started under two ids, none was started without a grant, and no attempt that was
/// given up, then or later. A restart that forgets makes an id free again in Ray: even so nothing but a claim may use it.
pub(crate) fn starts(ray: &Handle, journal: &Journal) -> (usize, usize) {
    let mut by_id: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut by_job: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut claims = 0;
    for start in ray.starts() {
        *by_id
            .entry((start.id.clone(), start.session.clone()))
            .or_default() += 1;
        if start.claim {
            claims += 1;
            continue;
        }
        let job = start.id.split(".attempt-").next().unwrap_or_default();
        let granted = journal.granted.get(job).copied().unwrap_or(i64::MAX);
        // A grant that a crash took is followed by another: a start on the strength of the first is before it.
        assert!(
            granted <= start.at_ms.cast_signed() + CLOCKS_DIFFER_MS,
            "{} was started at {} without a grant in the journal before it; the first: {granted}",
            start.id,
            start.at_ms
        );
        assert!(
            !journal.given_up.contains(&start.id),
            "{} was started, and its amounts were given back as if it had not been",
            start.id
        );
        by_job
            .entry(job.to_owned())
            .or_default()
            .push(format!("{} in {}", start.id, start.session));
    }
    for (id, n) in &by_id {
        assert_eq!(*n, 1, "id {id:?} was started {n} times");
    }
    for (job, all) in &by_job {
        assert_eq!(all.len(), 1, "job {job} was started several times: {all:?}");
    }
    (by_job.len(), claims)
}
