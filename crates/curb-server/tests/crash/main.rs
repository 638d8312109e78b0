//! The real server, killed at random moments while clients submit, repeat, stop and delete, operators change the policy
//! and add overrides, and Ray misbehaves and is restarted, with its memory or without.
//!
//! After all of it: whoever was told something finds it so; no job was started twice, and none without a grant in the
//! journal; a key has one job; nothing is held when all jobs are over; the journal's chain is whole, and from its
//! beginning it gives the same state as from the newest snapshot.
//!
//! What the test is worth was tried: each of these mistakes was made in the product once, and found by it.
//!
//! | mistake | found by |
//! | --- | --- |
//! | a reservation is taken back because Ray does not know it, without claiming its id | a job started several times |
//! | a submission whose outcome is unknown counts as not started | an attempt that was given up and was started |
//! | what a change of Ray's session left open is queued again | what Ray forgot is not over; a job started several times |
//! | a record that says RUNNING gives the grant back | a job that runs on is told to be over |
//! | answers go out before the journal has them | a job that was acknowledged and is gone |
//! | jobs leave the queue before that is on disk | a start while nothing can be written |
//! | reservations of an earlier process are not looked into | it does not settle: a hold leaked |
//! | a wish to stop is missing in the snapshot, or is not passed on after a start | a job that was to stop and runs |
//! | the key is not kept with its job | the same key, asked again in the next life |
//! | deletions are answered before they are on disk, or missing in the snapshot | a job that was deleted and is back |
//! | overrides are missing in the snapshot | an override that was acknowledged and is gone |
//! | the policy is missing in the snapshot | more jobs run at once than there is room for |
//! | no snapshot at a clean end | no server ended in good order |
//!
//! That a key outlives what the ledger remembers (10,000 ended jobs) is beyond it: see `tests/gateway.rs`.
//!
//! The moments come from a seed, which is printed. `CURB_CRASH_SEED=N` gives it again (what the clients do in between
//! depends on the machine as well).

mod checks;
mod clients;
mod last;
mod server;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clients::Shared;
use curb_standin::{Chaos, Handle, JobTime, Memory, Options, Standin};
use last::Last;
use server::{Server, free_address};
use support::send;

const KILLS: usize = 300;
/// The policies that are in force in turns: one under which much waits, one that queues while Ray is down.
const POLICIES: [&str; 2] = [
    "version: 1
default_request: {cpu: 1}
queue: {pass_bound: 1s}
quotas:
  - {name: each-user, for: {user: \"*\"}, limits: {cpu: 3, queued: 40}}
",
    "version: 1
default_request: {cpu: 1}
when_ray_is_down: queue
quotas:
  - {name: each-user, for: {user: \"*\"}, limits: {cpu: 4, jobs: 3, queued: 20}}
",
];

/// A small generator: the kills' moments are random, and the same for a seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// The tokens of those who ask.
pub(crate) struct People {
    pub(crate) admin: String,
    pub(crate) ana: String,
}

fn seed() -> u64 {
    match std::env::var("CURB_CRASH_SEED") {
        Ok(text) => text.parse().expect("CURB_CRASH_SEED is a whole number"),
        Err(_) => 0x5eed,
    }
}

fn misbehaving_ray(seed: u64) -> Handle {
    let ray = Standin::spawn(Options {
        job_time: JobTime::FromEntrypoint,
        seed,
        restart_cuts: true,
        ..Options::default()
    })
    .expect("a stand-in");
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
    ray
}

fn configure(dir: &Path, ray: &Handle) {
    std::fs::write(dir.join("policy.yaml"), POLICIES[0]).expect("written");
    let config = format!(
        "data: {0}/data\npolicy: {0}/policy.yaml\nclusters:\n  main: {{ray: '{1}', start_rate: 0, poll: 50ms, restart_ends_jobs: true}}\n",
        dir.display(),
        ray.url()
    );
    std::fs::write(dir.join("curb.yaml"), config).expect("written");
}

async fn people(addr: SocketAddr, dir: &Path) -> People {
    let admin = std::fs::read_to_string(dir.join("data/admin.token")).expect("the first token");
    let admin = admin.trim().to_owned();
    let path = "/curb/v1/tokens";
    let made = send(addr, "POST", path, Some(&admin), "", br#"{"user":"ana"}"#).await;
    let ana = made.json()["token"].as_str().expect("a token").to_owned();
    People { admin, ana }
}

/// What happens to Ray now and then.
fn trouble_of_ray(ray: &Handle, dice: &mut Dice) {
    match dice.below(24) {
        0 => drop(ray.restart(Memory::Forget)),
        1 => drop(ray.restart(Memory::KeepRenamed)),
        2 => {
            ray.restart(Memory::Keep);
            ray.refuse_connections(Duration::from_millis(dice.below(100)));
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_300_kills_lose_nothing_that_was_acknowledged_and_start_nothing_twice() {
    let seed = seed();
    println!("CURB_CRASH_SEED={seed}");
    let ray = misbehaving_ray(seed);
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path();
    configure(dir, &ray);
    let addr = free_address();
    let mut server = Server::start(dir, addr);
    server.wait_until_up(addr, dir).await;
    let people = people(addr, dir).await;
    let shared = Shared::new(addr, people.ana.clone());
    let clients = clients::start(&shared, seed);
    let begun = Instant::now();
    let mut dice = Dice(seed);
    for kill in 1..=KILLS {
        tokio::time::sleep(Duration::from_millis(5 + dice.below(150))).await;
        trouble_of_ray(&ray, &mut dice);
        if dice.one_in(20) {
            std::fs::write(dir.join("policy.yaml"), POLICIES[kill % 2]).expect("written");
        }
        if dice.one_in(50) {
            server.end(dir).await;
        } else {
            drop(server);
        }
        trouble_of_ray(&ray, &mut dice);
        server = Server::start(dir, addr);
        // Some kills come before it is up.
        if dice.below(4) > 0 {
            server.wait_until_up(addr, dir).await;
            if dice.one_in(10) {
                clients::overrides(&shared, &people.admin).await;
                let told = shared.told().clone();
                checks::along_the_way(addr, &people, &ray, &told, &mut dice).await;
            }
        }
    }
    shared.stop();
    for client in clients {
        client.await.expect("a client");
    }
    let killing = begun.elapsed();
    ray.clear_faults();
    server.wait_until_up(addr, dir).await;
    let last = Last {
        addr,
        dir,
        people: &people,
        ray: &ray,
    };
    let told = shared.told().clone();
    // Those whose stop was acknowledged end without a word more.
    for id in told.long.difference(&told.stopped) {
        let path = format!("/api/jobs/{id}/stop");
        let answer = send(addr, "POST", &path, Some(&people.ana), "", b"").await;
        assert!(matches!(answer.status, 200 | 404), "{id}: {answer:?}");
    }
    checks::settle(addr, &people.admin, dir, &ray).await;
    server = last.play(server).await;
    checks::settle(addr, &people.admin, dir, &ray).await;
    let ended = checks::acknowledged(addr, &people, &told).await;
    drop(server);
    let journal = checks::journal(&dir.join("data"), &told);
    let (starts, claims) = checks::starts(&ray, &journal);
    println!(
        "{KILLS} kills in {killing:?}: {} asked, {} taken, {} turned away, {} stopped, {} deleted, {} keys, {} overrides, \
         {} policies, {} sessions of Ray, {starts} starts, {claims} claims, ended: {ended:?}",
        shared.asked.load(Ordering::Relaxed),
        told.taken.len(),
        shared.refused.load(Ordering::Relaxed),
        told.stopped.len(),
        told.deleted.len(),
        told.keys.len(),
        told.overrides.len(),
        journal.policies,
        journal.sessions.len(),
    );
    // Too little of anything would show nothing.
    for (what, n, least) in [
        ("jobs taken", told.taken.len(), KILLS / 2),
        ("stops", told.stopped.len(), 10),
        ("deletions", told.deleted.len(), 10),
        ("keys", told.keys.len(), 10),
        ("overrides", told.overrides.len(), 5),
        ("policies", journal.policies, 4),
        ("sessions of Ray", journal.sessions.len(), 5),
    ] {
        assert!(n >= least, "only {n} {what}");
    }
}
