//! The real server, killed at random moments while clients submit and Ray misbehaves.
//!
//! After all of it: whoever was told that a job was taken finds it; no job was started twice, and none without a grant in
//! the journal; nothing is held when all jobs are over.

mod support;

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use curb_core::ledger::Event;
use curb_journal::Reader;
use curb_standin::{Chaos, Handle, JobTime, Options, Standin};
use support::send;

const KILLS: usize = 300;
const CLIENTS: usize = 4;
const POLICY: &str = "\
version: 1
default_request: {cpu: 1}
queue: {pass_bound: 1s}
quotas:
  - name: everybody
    limits: {cpu: 3, queued: 40}
";

/// A killed process is waited for, also when the test fails.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn binary() -> PathBuf {
    let exe = std::env::current_exe().expect("this test's path");
    let path = exe
        .parent()
        .and_then(Path::parent)
        .expect("target/PROFILE")
        .join("examples")
        .join("curb-serve");
    assert!(
        path.exists(),
        "{} is not built: run the tests with their examples",
        path.display()
    );
    path
}

fn start(dir: &Path, addr: SocketAddr) -> Server {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join("log"))
        .expect("a log");
    let child = Command::new(binary())
        .args(["--config", dir.join("curb.yaml").to_str().expect("a path")])
        .args(["--listen", &addr.to_string()])
        .env_clear()
        .env("CURB_LOG", "info")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the server starts");
    Server(child)
}

async fn wait_until_up(addr: SocketAddr, server: &mut Server, dir: &Path) {
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        if tokio::net::TcpStream::connect(addr).await.is_ok()
            && send(addr, "GET", "/healthz", None, "", b"").await.status == 200
        {
            return;
        }
        if let Ok(Some(status)) = server.0.try_wait() {
            panic!(
                "the server ended by itself ({status}): {}",
                tail_of(&dir.join("log"))
            );
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    panic!("the server is not up: {}", tail_of(&dir.join("log")));
}

fn tail_of(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// A small generator: the kills' moments are random, and the same for a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

#[derive(Default)]
struct Told {
    taken: Mutex<Vec<String>>,
    asked: AtomicU64,
    refused: AtomicU64,
}

async fn client(n: usize, addr: SocketAddr, token: String, told: Arc<Told>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let id = format!("c{n}-{}", told.asked.fetch_add(1, Ordering::Relaxed));
        let body = format!(r#"{{"entrypoint":"sleep 0.02","submission_id":"{id}"}}"#);
        let answer = tokio::time::timeout(
            Duration::from_secs(15),
            send_quietly(addr, &token, body.as_bytes()),
        )
        .await
        .ok()
        .flatten();
        match answer {
            Some(200) => told.taken.lock().expect("not poisoned").push(id),
            Some(_) => {
                told.refused.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// `None` when the server went away.
async fn send_quietly(addr: SocketAddr, token: &str, body: &[u8]) -> Option<u16> {
    tokio::net::TcpStream::connect(addr).await.ok()?;
    let answer = send(addr, "POST", "/api/jobs/", Some(token), "", body).await;
    (answer.status != 0).then_some(answer.status)
}

fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_300_kills_lose_nothing_that_was_acknowledged_and_start_nothing_twice() {
    let ray = Standin::spawn(Options {
        job_time: JobTime::FromEntrypoint,
        seed: 7,
        ..Options::default()
    })
    .expect("a stand-in");
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path();
    std::fs::write(dir.join("policy.yaml"), POLICY).expect("written");
    let config = format!(
        "data: {0}/data\npolicy: {0}/policy.yaml\nclusters:\n  main: {{ray: '{1}', start_rate: 0, poll: 50ms}}\n",
        dir.display(),
        ray.url()
    );
    std::fs::write(dir.join("curb.yaml"), config).expect("written");
    ray.chaos(Chaos {
        drop_before: 20,
        drop_after: 30,
        answer_500_after: 20,
        answer_503: 20,
        late_copy: 30,
        land_later: 20,
        delay: 50,
        max_ms: 60,
    });
    let addr = free_address();
    let mut server = start(dir, addr);
    wait_until_up(addr, &mut server, dir).await;
    let token = std::fs::read_to_string(dir.join("data/admin.token"))
        .expect("the first token")
        .trim()
        .to_owned();
    let (told, stop) = (Arc::new(Told::default()), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            tokio::spawn(client(
                n,
                addr,
                token.clone(),
                Arc::clone(&told),
                Arc::clone(&stop),
            ))
        })
        .collect();
    let mut dice = Dice(0x5eed);
    let begun = Instant::now();
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(5 + dice.below(150))).await;
        drop(server);
        server = start(dir, addr);
        // Some kills come before it is up.
        if dice.below(4) > 0 {
            wait_until_up(addr, &mut server, dir).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("a client");
    }
    let killing = begun.elapsed();
    ray.clear_faults();
    wait_until_up(addr, &mut server, dir).await;
    settle(addr, &token, dir).await;
    let taken = told.taken.lock().expect("not poisoned").clone();
    let ended = check_jobs(addr, &token, &taken).await;
    drop(server);
    let granted = check_journal(&dir.join("data"), &taken);
    let (starts, claims) = check_starts(&ray, &granted);
    println!(
        "{KILLS} kills in {killing:?}: {} asked, {} taken, {} turned away, {starts} starts, {claims} claims, ended: {ended:?}",
        told.asked.load(Ordering::Relaxed),
        taken.len(),
        told.refused.load(Ordering::Relaxed),
    );
    assert!(
        taken.len() > KILLS / 2,
        "too few jobs were taken for this to show anything: {}",
        taken.len()
    );
}

/// Waits until nothing waits and nothing is held.
async fn settle(addr: SocketAddr, token: &str, dir: &Path) {
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
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it does not settle: {last}\n{}", tail_of(&dir.join("log")));
}

/// Every job that was acknowledged is there and over.
async fn check_jobs(addr: SocketAddr, token: &str, taken: &[String]) -> BTreeMap<String, usize> {
    let mut ended = BTreeMap::new();
    for id in taken {
        let answer = send(
            addr,
            "GET",
            &format!("/curb/v1/jobs/{id}"),
            Some(token),
            "",
            b"",
        )
        .await;
        assert_eq!(
            answer.status, 200,
            "job {id} was acknowledged and is gone: {answer:?}"
        );
        let state = answer.json()["state"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        *ended.entry(state).or_insert(0) += 1;
    }
    ended
}

/// Which jobs were granted, by the journal, whose chain is whole.
fn check_journal(data: &Path, taken: &[String]) -> HashSet<String> {
    let reader = Reader::open(data).expect("a journal");
    let report = curb_journal::verify(&reader, None).expect("readable");
    assert!(report.is_sound(), "{report:?}");
    let (mut granted, mut known) = (HashSet::new(), HashSet::new());
    reader
        .for_each(0, |record| {
            match serde_json::from_slice::<Event>(record.payload).expect("an event") {
                Event::Admitted { job, .. } => {
                    granted.insert(job.id.to_string());
                    known.insert(job.id.to_string());
                }
                Event::Queued { job, .. } => drop(known.insert(job.id.to_string())),
                Event::Granted { id, .. } => drop(granted.insert(id.to_string())),
                _ => {}
            }
            ControlFlow::<()>::Continue(())
        })
        .expect("readable");
    for id in taken {
        assert!(
            known.contains(id),
            "job {id} was acknowledged and is not in the journal"
        );
    }
    granted
}

/// No id was started twice, no job was started under two ids, none was started without a grant.
fn check_starts(ray: &Handle, granted: &HashSet<String>) -> (usize, usize) {
    let mut by_id: BTreeMap<String, usize> = BTreeMap::new();
    let mut by_job: BTreeMap<String, usize> = BTreeMap::new();
    let mut claims = 0;
    for start in ray.starts() {
        *by_id.entry(start.id.clone()).or_default() += 1;
        if start.claim {
            claims += 1;
            continue;
        }
        let job = start
            .id
            .split(".attempt-")
            .next()
            .unwrap_or_default()
            .to_owned();
        assert!(
            granted.contains(&job),
            "{} was started without a grant in the journal",
            start.id
        );
        *by_job.entry(job).or_default() += 1;
    }
    for (id, n) in &by_id {
        assert_eq!(*n, 1, "id {id} was started {n} times");
    }
    for (job, n) in &by_job {
        assert_eq!(*n, 1, "job {job} was started {n} times, under several ids");
    }
    (by_job.len(), claims)
}
