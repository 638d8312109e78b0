//! Who uses the server while it is killed. They keep what it acknowledged, and only that.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::Dice;
use crate::support::{Answer, send};

/// Who submits the same at the same time with the same key.
const KEYED: usize = 3;
/// Who submits other jobs.
const SUBMITTERS: usize = 4;
/// A job that ends by itself, and one that has to be stopped.
const SHORT: &str = "sleep 0.02";
pub(crate) const LONG: &str = "sleep 600";

/// What the server acknowledged.
#[derive(Clone, Default)]
pub(crate) struct Told {
    /// Jobs that were taken.
    pub(crate) taken: Vec<String>,
    /// Jobs that have to be stopped: asked for, whatever came of it.
    pub(crate) long: BTreeSet<String>,
    /// Wishes to stop that were taken.
    pub(crate) stopped: BTreeSet<String>,
    /// Jobs that were deleted.
    pub(crate) deleted: Vec<String>,
    /// The ids that each key was answered with.
    pub(crate) keys: BTreeMap<String, BTreeSet<String>>,
    /// Overrides.
    pub(crate) overrides: Vec<u64>,
    /// Answers that nobody should have been given.
    pub(crate) wrong: Vec<String>,
}

/// What all of them share.
pub(crate) struct Shared {
    addr: SocketAddr,
    token: String,
    told: Mutex<Told>,
    pub(crate) asked: AtomicU64,
    pub(crate) refused: AtomicU64,
    stop: AtomicBool,
}

impl Shared {
    pub(crate) fn new(addr: SocketAddr, token: String) -> Arc<Shared> {
        Arc::new(Shared {
            addr,
            token,
            told: Mutex::default(),
            asked: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        })
    }

    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().expect("not poisoned")
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// `None` when the server went away.
    async fn ask(&self, method: &str, path: &str, body: &str) -> Option<Answer> {
        tokio::net::TcpStream::connect(self.addr).await.ok()?;
        let asked = send(
            self.addr,
            method,
            path,
            Some(&self.token),
            "",
            body.as_bytes(),
        );
        let answer = tokio::time::timeout(Duration::from_secs(15), asked)
            .await
            .ok()?;
        // What was cut in the middle is no answer.
        let whole = answer
            .header("content-length")
            .and_then(|l| l.parse::<usize>().ok())
            .is_none_or(|l| l == answer.body.len());
        (answer.status != 0 && whole).then_some(answer)
    }

    /// Asks until there is an answer that is not 503, as long as the test lasts.
    async fn insist(&self, method: &str, path: &str) -> Option<Answer> {
        while self.goes_on() {
            match self.ask(method, path, "").await {
                Some(answer) if answer.status != 503 => return Some(answer),
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        None
    }

    async fn submit(&self, body: &str) -> Option<Answer> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = self.ask("POST", "/api/jobs/", body).await;
        match &answer {
            Some(a) if a.status == 200 => {}
            // Ids are asked for once, and keys always with the same content.
            Some(a) if a.status == 409 => self.told().wrong.push(format!("{body}: {a:?}")),
            Some(_) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
        answer.filter(|a| a.status == 200)
    }
}

/// Starts all of them.
pub(crate) fn start(shared: &Arc<Shared>, seed: u64) -> Vec<JoinHandle<()>> {
    let mut all: Vec<_> = (0..SUBMITTERS)
        .map(|n| tokio::spawn(submits(Arc::clone(shared), n)))
        .collect();
    all.extend((0..KEYED).map(|_| tokio::spawn(repeats(Arc::clone(shared)))));
    all.push(tokio::spawn(stops(Arc::clone(shared), Dice(seed ^ 1))));
    all.push(tokio::spawn(deletes(Arc::clone(shared), Dice(seed ^ 2))));
    all
}

async fn submits(shared: Arc<Shared>, n: usize) {
    let mut count = 0;
    while shared.goes_on() {
        count += 1;
        let id = format!("c{n}-{count}");
        let body = format!(r#"{{"entrypoint":"{SHORT}","submission_id":"{id}"}}"#);
        if shared.submit(&body).await.is_some() {
            shared.told().taken.push(id);
        }
    }
}

/// The same request with the same key from several clients at once, until one of them was told that it is taken.
async fn repeats(shared: Arc<Shared>) {
    while shared.goes_on() {
        let key = format!("key-{}", shared.told().keys.len());
        let body = format!(r#"{{"entrypoint":"{SHORT}","metadata":{{"curb.key":"{key}"}}}}"#);
        if let Some(answer) = shared.submit(&body).await {
            let id = answer.json()["submission_id"]
                .as_str()
                .expect("an id")
                .to_owned();
            let mut told = shared.told();
            told.taken.push(id.clone());
            told.keys.entry(key).or_default().insert(id);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Jobs that end only when they are stopped.
async fn stops(shared: Arc<Shared>, mut dice: Dice) {
    let mut count = 0;
    while shared.goes_on() {
        count += 1;
        let id = format!("long-{count}");
        shared.told().long.insert(id.clone());
        let body = format!(r#"{{"entrypoint":"{LONG}","submission_id":"{id}"}}"#);
        if shared.submit(&body).await.is_some() {
            shared.told().taken.push(id.clone());
        }
        tokio::time::sleep(Duration::from_millis(dice.below(100))).await;
        let path = format!("/api/jobs/{id}/stop");
        if let Some(answer) = shared.insist("POST", &path).await
            && answer.status == 200
        {
            shared.told().stopped.insert(id);
        }
    }
}

/// Deletes jobs that are over.
async fn deletes(shared: Arc<Shared>, mut dice: Dice) {
    while shared.goes_on() {
        tokio::time::sleep(Duration::from_millis(20 + dice.below(200))).await;
        let id = {
            let told = shared.told();
            let n = dice.below(told.taken.len().max(1) as u64);
            told.taken.get(usize::try_from(n).expect("small")).cloned()
        };
        let Some(id) = id else { continue };
        let path = format!("/api/jobs/{id}");
        if let Some(answer) = shared.insist("DELETE", &path).await
            && answer.status == 200
        {
            shared.told().deleted.push(id);
        }
    }
}

/// An override, if the server takes it.
pub(crate) async fn overrides(shared: &Shared, admin: &str) {
    let body = r#"{"selector":{"user":{"one_of":["ana"]}},"amounts":{"cpu":1000},"for":3600000,"why":"a crash test"}"#;
    let answer = send(
        shared.addr,
        "POST",
        "/curb/v1/overrides",
        Some(admin),
        "",
        body.as_bytes(),
    )
    .await;
    if answer.status == 200 {
        let id = answer.json()["id"].as_u64().expect("a number");
        shared.told().overrides.push(id);
    }
}
