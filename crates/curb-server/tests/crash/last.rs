//! What comes last: one thing at a time, where the kills before would hide a mistake.
//!
//! While the server dies ten times a second and Ray forgets all it knows every second or so, a job that runs on for ever
//! soon goes with Ray's next restart, and what a server does after its first second is never seen.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use curb_standin::{Fault, Handle, Memory, Route, Trouble};

use crate::People;
use crate::checks::CAPACITY;
use crate::clients::LONG;
use crate::server::{Server, tail_of};
use crate::support::{Answer, send};

/// So long a job is watched that must not change.
const WATCHED: Duration = Duration::from_millis(300);
/// So long the journal is held; a commit waits longer before it fails.
const HELD: Duration = Duration::from_secs(1);
/// What has to happen happens within.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than the server waits before it tries a job again.
const NEXT_ATTEMPT: Duration = Duration::from_millis(1500);

/// The way a server ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Clean,
    Killed,
}

/// The world in which it plays.
pub(crate) struct Last<'a> {
    pub(crate) addr: SocketAddr,
    pub(crate) dir: &'a Path,
    pub(crate) people: &'a People,
    pub(crate) ray: &'a Handle,
}

impl Last<'_> {
    /// Plays all of it; gives back the server that runs.
    pub(crate) async fn play(&self, mut server: Server) -> Server {
        for end in [End::Clean, End::Killed] {
            server = self.a_wish_to_stop_outlives_a_server(server, end).await;
            server = self.a_key_has_one_answer_in_every_life(server, end).await;
        }
        server = self
            .nothing_starts_before_its_grant_is_on_disk(server)
            .await;
        server = self.what_ray_forgot_is_over(server).await;
        self.what_ray_kept_goes_on(server).await
    }

    /// Ray did not take the wish, so that only the ledger knows of it.
    async fn a_wish_to_stop_outlives_a_server(&self, server: Server, end: End) -> Server {
        let id = format!("last-stop-{end:?}");
        self.runs(&id).await;
        let deaf = Fault::once(Route::Stop, Trouble::Answer { status: 500 });
        self.ray.fault(deaf.times(1_000));
        self.stop(&id).await;
        let server = self.next(server, end).await;
        self.ray.clear_faults();
        self.until(&id, &["stopped"]).await;
        server
    }

    async fn a_key_has_one_answer_in_every_life(&self, server: Server, end: End) -> Server {
        let body = |what| {
            format!(r#"{{"entrypoint":"{what}","metadata":{{"curb.key":"last-key-{end:?}"}}}}"#)
        };
        let first = self.post("/api/jobs/", &body("true")).await;
        assert_eq!(first.status, 200, "{first:?}");
        let server = self.next(server, end).await;
        let again = self.post("/api/jobs/", &body("true")).await;
        assert_eq!(
            (again.status, &again.body),
            (200, &first.body),
            "the same key, asked again"
        );
        let other = self.post("/api/jobs/", &body("false")).await;
        assert_eq!(other.status, 409, "the same key for another job: {other:?}");
        server
    }

    /// A job's turn comes while nothing can be written, and then the server is killed.
    async fn nothing_starts_before_its_grant_is_on_disk(&self, server: Server) -> Server {
        let mut running = Vec::new();
        let id = loop {
            let id = format!("last-fills-{}", running.len());
            let body = format!(r#"{{"entrypoint":"{LONG}","submission_id":"{id}"}}"#);
            let answer = self.post("/api/jobs/", &body).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            self.until(&id, &["running", "queued"]).await;
            tokio::time::sleep(WATCHED).await;
            if self.state(&id).await == "queued" {
                break id;
            }
            running.push(id);
            assert!(running.len() <= CAPACITY, "nothing waits: {running:?}");
        };
        let held = self.hold_the_journal();
        assert!(self.ray.finish(&running[0], 0), "it runs");
        tokio::time::sleep(HELD).await;
        assert_eq!(self.ray.starts_of(&id), 0, "its grant is not on disk");
        drop(server);
        drop(held);
        let server = self.started().await;
        self.until(&id, &["running"]).await;
        for id in running.iter().skip(1).chain([&id]) {
            self.stop(id).await;
            self.until(id, &["stopped"]).await;
        }
        server
    }

    /// Makes every commit wait as long as the connection is kept.
    fn hold_the_journal(&self) -> rusqlite::Connection {
        let path = self.dir.join("data").join(curb_journal::JOURNAL_FILE);
        let holder = rusqlite::Connection::open(path).expect("the database");
        // What a killed server leaves is for the next one to settle.
        let leave = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        holder.set_db_config(leave, true).expect("set");
        holder.execute_batch("BEGIN IMMEDIATE").expect("held");
        holder
    }

    /// This cluster's restart is known to end jobs: the grant is given back, and nothing is started in the job's place.
    async fn what_ray_forgot_is_over(&self, server: Server) -> Server {
        let id = "last-forgotten";
        self.runs(id).await;
        drop(server);
        self.ray.restart(Memory::Forget);
        let server = self.started().await;
        self.until(id, &["failed"]).await;
        tokio::time::sleep(NEXT_ATTEMPT).await;
        let starts = self.ray.starts();
        let of_it = starts.iter().filter(|s| s.id.starts_with(id) && !s.claim);
        assert_eq!(
            of_it.count(),
            1,
            "a job that a restart ended is not started again"
        );
        server
    }

    async fn what_ray_kept_goes_on(&self, server: Server) -> Server {
        let id = "last-kept";
        self.runs(id).await;
        drop(server);
        self.ray.restart(Memory::KeepRenamed);
        let server = self.started().await;
        self.until(id, &["running"]).await;
        self.stop(id).await;
        self.until(id, &["stopped"]).await;
        server
    }

    /// A job that runs until it is stopped, and keeps running.
    async fn runs(&self, id: &str) {
        let body = format!(r#"{{"entrypoint":"{LONG}","submission_id":"{id}"}}"#);
        let answer = self.post("/api/jobs/", &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        self.until(id, &["running"]).await;
        tokio::time::sleep(WATCHED).await;
        assert_eq!(self.state(id).await, "running", "nobody ended job {id}");
    }

    async fn stop(&self, id: &str) {
        let answer = self.post(&format!("/api/jobs/{id}/stop"), "").await;
        assert_eq!(answer.body, r#"{"stopped":true}"#, "{answer:?}");
    }

    async fn next(&self, server: Server, end: End) -> Server {
        match end {
            End::Clean => server.end(self.dir).await,
            End::Killed => drop(server),
        }
        self.started().await
    }

    async fn started(&self) -> Server {
        let mut server = Server::start(self.dir, self.addr);
        server.wait_until_up(self.addr, self.dir).await;
        server
    }

    async fn state(&self, id: &str) -> String {
        let (path, admin) = (format!("/curb/v1/jobs/{id}"), &self.people.admin);
        let answer = send(self.addr, "GET", &path, Some(admin), "", b"").await;
        let state = answer.json()["state"].as_str().map(str::to_owned);
        state.unwrap_or_else(|| panic!("{answer:?}"))
    }

    async fn until(&self, id: &str, wanted: &[&str]) {
        let end = Instant::now() + PATIENCE;
        let mut last = String::new();
        while Instant::now() < end {
            last = self.state(id).await;
            if wanted.contains(&last.as_str()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("job {id} is {last}, not {wanted:?}: {}", tail_of(self.dir));
    }

    /// Asks until the server says something else than that it is not ready (it was just started).
    async fn post(&self, path: &str, body: &str) -> Answer {
        let end = Instant::now() + PATIENCE;
        loop {
            let (ana, body) = (&self.people.ana, body.as_bytes());
            let answer = send(self.addr, "POST", path, Some(ana), "", body).await;
            if answer.status != 503 || Instant::now() >= end {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
