//! Everything a stand-in knows. Pure but for the clock and the file of starts.

use crate::fault::Script;
use crate::job::{Job, NODE_ID, Phase};
use crate::options::Options;
use crate::plan::Plan;
use crate::request::{Asked, BadBody};
use crate::texts;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::Write;
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What a restart of the head leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Memory {
    /// Nothing: jobs, ids and packages are gone, and the session has a new name. So does Ray without
    /// a store of its own, which is the default.
    Forget,
    /// Everything, the session's name too. So does Ray with its RocksDB or Redis store. What ran is
    /// told to run on.
    Keep,
    /// The records, under a new name of the session. Ray 2.60 does not do so; whoever watches the
    /// name must still take it for another incarnation.
    KeepRenamed,
}

/// One time that a job was started. Restarts do not erase starts: the counter is not part of Ray.
#[derive(Debug, Clone, Serialize)]
pub struct Start {
    /// 1 for the first start of this stand-in.
    pub seq: u64,
    /// Under which id.
    pub id: String,
    /// In which session of the pretended head.
    pub session: String,
    /// When, in ms since 1970.
    pub at_ms: u64,
    /// Whether its entrypoint ran. Not if a package that it needs was missing.
    pub ran: bool,
    /// Whether its metadata marks it as Curb's no-op.
    pub claim: bool,
    /// Its metadata as sent.
    pub metadata: Option<Box<RawValue>>,
}

/// One request for Ray's API, whatever came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    /// When it came, in microseconds since 1970.
    pub at_us: u64,
    /// `GET`, `POST`, ...
    pub method: String,
    /// Its path, without the query.
    pub path: String,
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// The last requests that came.
#[derive(Default)]
pub(crate) struct Requests {
    count: u64,
    last: VecDeque<Request>,
}

impl Requests {
    /// So many are kept.
    const KEPT: usize = 4096;

    pub(crate) fn came(&mut self, method: &str, path: &str) {
        self.count += 1;
        if self.last.len() == Requests::KEPT {
            self.last.pop_front();
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        self.last.push_back(Request {
            at_us: since.map_or(0, |t| u64::try_from(t.as_micros()).unwrap_or(u64::MAX)),
            method: method.to_owned(),
            path: path.to_owned(),
        });
    }

    /// How many came.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Those that came after the first `before`; `None` if more came than are kept.
    pub(crate) fn after(&self, before: u64) -> Option<Vec<Request>> {
        let wanted = usize::try_from(self.count.saturating_sub(before)).ok()?;
        let skipped = self.last.len().checked_sub(wanted)?;
        Some(self.last.iter().skip(skipped).cloned().collect())
    }
}

/// An answer before it is put into HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) json: bool,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(body: impl Into<Bytes>) -> Reply {
        Reply {
            status: 200,
            json: true,
            body: body.into(),
        }
    }

    pub(crate) fn text(status: u16, text: impl Into<Bytes>) -> Reply {
        Reply {
            status,
            json: false,
            body: text.into(),
        }
    }
}

struct StartRow {
    id: Arc<str>,
    session: Arc<str>,
    at_ms: u64,
    claim: bool,
    ran: bool,
    body: Bytes,
}

/// An uploaded package: enough to tell whether the bytes arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) bytes: u64,
    pub(crate) hash: u64,
}

/// Hashes a package piece by piece; the cut between pieces does not matter.
#[derive(Default)]
pub(crate) struct PackageHasher {
    bytes: u64,
    hash: DefaultHasher,
}

impl PackageHasher {
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        for byte in piece {
            self.hash.write_u8(*byte);
        }
    }

    pub(crate) fn finish(self) -> Package {
        Package {
            bytes: self.bytes,
            hash: self.hash.finish(),
        }
    }
}

pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) script: Script,
    pub(crate) requests: Requests,
    session: Arc<str>,
    sessions: u32,
    jobs: HashMap<Arc<str>, Job>,
    packages: HashMap<String, Package>,
    starts: Vec<StartRow>,
    counts: HashMap<Arc<str>, u32>,
    starts_file: Option<File>,
    epoch_ms: u64,
    since: Instant,
}

impl World {
    pub(crate) fn new(options: Options) -> std::io::Result<World> {
        let starts_file = options
            .starts_file
            .as_ref()
            .map(|path| File::options().create(true).append(true).open(path))
            .transpose()?;
        let epoch_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
        let mut world = World {
            options,
            script: Script::default(),
            requests: Requests::default(),
            session: Arc::from(""),
            sessions: 0,
            jobs: HashMap::new(),
            packages: HashMap::new(),
            starts: Vec::new(),
            counts: HashMap::new(),
            starts_file,
            epoch_ms,
            since: Instant::now(),
        };
        world.restart(Memory::Forget);
        Ok(world)
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.epoch_ms + u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
    }

    pub(crate) fn session(&self) -> &str {
        &self.session
    }

    /// The head goes and comes back; returns the name of its session.
    pub(crate) fn restart(&mut self, memory: Memory) -> String {
        if memory != Memory::Keep {
            self.sessions += 1;
            let (epoch, pid) = (self.epoch_ms, std::process::id());
            self.session = format!("session_standin_{epoch}_{pid}_{}", self.sessions).into();
        }
        if memory == Memory::Forget {
            self.jobs.clear();
            self.packages.clear();
        }
        self.session.to_string()
    }

    pub(crate) fn version(&self) -> Reply {
        let version = json!({
            "version": "4",
            "ray_version": "2.60.0",
            "ray_commit": "57a4d1457a4d1457a4d1457a4d1457a4d1457a4d",
            "session_name": *self.session,
        });
        Reply::json(version.to_string())
    }

    pub(crate) fn submit(&mut self, body: &Bytes) -> Reply {
        let asked = match Asked::check(body) {
            Ok(asked) => asked,
            Err(BadBody::NotAnObject) => return Reply::text(500, texts::TROUBLE),
            Err(BadBody::TypeError(sentence)) => {
                return Reply::text(400, texts::type_error(&sentence));
            }
        };
        if let Some(label) = asked.bad_label {
            return Reply::text(
                500,
                texts::wrapped(
                    400,
                    &format!(
                        "ValueError: Invalid label key name `{label}`. Name must be 63 chars or less."
                    ),
                ),
            );
        }
        let id: Arc<str> = match &asked.submission_id {
            Some(id) => Arc::from(id.as_ref()),
            None => format!("raysubmit_{:016}", self.starts.len() + 1).into(),
        };
        if self.jobs.contains_key(&id) {
            return Reply::text(500, texts::already_exists(&id));
        }
        if self.jobs.len() >= self.options.max_jobs {
            return Reply::text(
                500,
                format!("the stand-in keeps at most {} jobs", self.options.max_jobs),
            );
        }
        let plan = Plan::read(&asked.entrypoint, self.options.job_time);
        let missing_package = asked
            .packages()
            .find(|name| !self.packages.contains_key(*name))
            .map(str::to_owned);
        if let Err(error) = self.record_start(&id, asked.is_claim, missing_package.is_none(), body)
        {
            return Reply::text(
                500,
                format!("the stand-in could not write its file of starts: {error}"),
            );
        }
        let now = self.now_ms();
        let begins_ms = now + u64::try_from(self.options.pending.as_millis()).unwrap_or(0);
        let reply = accepted(&id);
        self.jobs.insert(
            id,
            Job {
                body: body.clone(),
                submitted_ms: now,
                begins_ms,
                plan,
                stopped_ms: None,
                lie: None,
                last: OnceLock::new(),
                missing_package,
            },
        );
        reply
    }

    fn record_start(
        &mut self,
        id: &Arc<str>,
        claim: bool,
        ran: bool,
        body: &Bytes,
    ) -> std::io::Result<()> {
        let row = StartRow {
            id: id.clone(),
            session: self.session.clone(),
            at_ms: self.now_ms(),
            claim,
            ran,
            body: body.clone(),
        };
        if let Some(file) = &mut self.starts_file {
            let mut line = json!({"id": **id, "session": *row.session, "claim": claim, "ran": ran})
                .to_string();
            line.push('\n');
            file.write_all(line.as_bytes())?;
        }
        self.starts.push(row);
        *self.counts.entry(id.clone()).or_default() += 1;
        Ok(())
    }

    pub(crate) fn details(&self, id: &str) -> Option<Bytes> {
        self.jobs.get(id).map(|job| job.details(id, self.now_ms()))
    }

    pub(crate) fn get(&self, id: &str) -> Reply {
        self.details(id)
            .map_or_else(|| no_such_job(id), Reply::json)
    }

    /// Every record.
    pub(crate) fn records(&self) -> Vec<Bytes> {
        let now = self.now_ms();
        let of = |(id, job): (&Arc<str>, &Job)| job.details(id, now);
        self.jobs.iter().map(of).collect()
    }

    pub(crate) fn list(&self) -> Reply {
        let mut all = vec![b'['];
        for record in self.records() {
            if all.len() > 1 {
                all.push(b',');
            }
            all.extend_from_slice(&record);
        }
        all.push(b']');
        Reply::json(all)
    }

    pub(crate) fn stop(&mut self, id: &str) -> Reply {
        let (now, takes) = (
            self.now_ms(),
            u64::try_from(self.options.stop_delay.as_millis()).unwrap_or(0),
        );
        match self.jobs.get_mut(id) {
            None => no_such_job(id),
            Some(job) => Reply::json(json!({"stopped": job.stop(now, takes)}).to_string()),
        }
    }

    pub(crate) fn delete(&mut self, id: &str) -> Reply {
        let now = self.now_ms();
        let status = match self.jobs.get(id).map(|job| job.phase(now)) {
            None => return no_such_job(id),
            Some(phase) if phase.is_over() => {
                self.jobs.remove(id);
                return Reply::json(r#"{"deleted": true}"#);
            }
            Some(Phase::Pending) => "PENDING",
            Some(_) => "RUNNING",
        };
        let error = format!(
            "RuntimeError: Attempted to delete job '{id}', but it is in a non-terminal state {status}."
        );
        Reply::text(500, texts::wrapped(500, &error))
    }

    pub(crate) fn logs(&self, id: &str) -> Reply {
        match self.log(id) {
            None => no_such_job(id),
            Some((text, _ended)) => Reply::json(json!({"logs": text}).to_string()),
        }
    }

    /// The log so far and whether the job has ended; none if there is no such job.
    pub(crate) fn log(&self, id: &str) -> Option<(String, bool)> {
        let now = self.now_ms();
        self.jobs
            .get(id)
            .map(|job| (job.log(id, now), job.phase(now).is_over()))
    }

    pub(crate) fn has_job(&self, id: &str) -> bool {
        self.jobs.contains_key(id)
    }

    pub(crate) fn package(&self, name: &str) -> Option<Package> {
        self.packages.get(name).copied()
    }

    pub(crate) fn put_package(&mut self, name: &str, package: Package) {
        self.packages.insert(name.to_owned(), package);
    }

    pub(crate) fn drop_package(&mut self, name: &str) -> bool {
        self.packages.remove(name).is_some()
    }

    pub(crate) fn nodes(&self) -> Reply {
        let nodes: Vec<Value> = self
            .options
            .nodes
            .iter()
            .enumerate()
            .map(|(i, spec)| node(i, &spec.resources))
            .collect();
        let total = nodes.len();
        let listing = json!({"total": total, "num_after_truncation": total, "num_filtered": total, "result": nodes, "partial_failure_warning": "", "warnings": null});
        Reply::json(json!({"result": true, "msg": "", "data": {"result": listing}}).to_string())
    }

    pub(crate) fn forget(&mut self, id: &str) -> bool {
        self.jobs.remove(id).is_some()
    }

    pub(crate) fn lie(&mut self, id: &str, status: Option<String>) -> bool {
        self.jobs.get_mut(id).map(|job| job.lie(status)).is_some()
    }

    /// Ends a job now with this exit code; false if it is not there or has ended.
    pub(crate) fn finish(&mut self, id: &str, exit_code: i32) -> bool {
        let now = self.now_ms();
        let Some(job) = self.jobs.get_mut(id) else {
            return false;
        };
        if job.phase(now).is_over() {
            return false;
        }
        job.begins_ms = job.begins_ms.min(now);
        job.plan = Plan {
            run_ms: Some(now - job.begins_ms),
            exit_code,
        };
        true
    }

    pub(crate) fn total_starts(&self) -> usize {
        self.starts.len()
    }

    pub(crate) fn jobs(&self) -> usize {
        self.jobs.len()
    }

    pub(crate) fn starts_of(&self, id: &str) -> u32 {
        self.counts.get(id).copied().unwrap_or(0)
    }

    pub(crate) fn counts(&self) -> HashMap<String, u32> {
        self.counts
            .iter()
            .map(|(id, count)| (id.to_string(), *count))
            .collect()
    }

    pub(crate) fn starts(&self, after: usize, limit: usize) -> Vec<Start> {
        let rows = self.starts.iter().enumerate().skip(after).take(limit);
        rows.map(|(i, row)| Start {
            seq: i as u64 + 1,
            id: row.id.to_string(),
            session: row.session.to_string(),
            at_ms: row.at_ms,
            claim: row.claim,
            ran: row.ran,
            metadata: Job::metadata_of(&row.body),
        })
        .collect()
    }
}

/// `{"job_id": ID, "submission_id": ID}`; the id is escaped.
pub(crate) fn accepted(id: &str) -> Reply {
    let quoted = Value::from(id).to_string();
    let mut body = String::with_capacity(2 * quoted.len() + 32);
    for part in [
        "{\"job_id\": ",
        &quoted,
        ", \"submission_id\": ",
        &quoted,
        "}",
    ] {
        body.push_str(part);
    }
    Reply::json(body)
}

fn no_such_job(id: &str) -> Reply {
    Reply::text(404, texts::no_such_job(id))
}

fn node(index: usize, resources: &std::collections::BTreeMap<String, f64>) -> Value {
    let id = format!("{}{:02x}", &NODE_ID[..NODE_ID.len() - 2], index + 10);
    let ip = format!("127.0.0.{}", index % 250 + 1);
    let mut total = resources.clone();
    total.insert(format!("node:{ip}"), 1.0);
    if index == 0 {
        total.insert("node:__internal_head__".to_owned(), 1.0);
    }
    json!({
        "node_id": id, "node_ip": ip, "is_head_node": index == 0, "state": "ALIVE", "state_message": null, "node_name": ip,
        "resources_total": total, "labels": {"ray.io/node-id": id}, "start_time_ms": 0, "end_time_ms": 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::JobTime;

    fn world() -> World {
        World::new(Options {
            job_time: JobTime::Never,
            ..Options::default()
        })
        .unwrap()
    }

    fn submit(world: &mut World, id: &str) -> u16 {
        world
            .submit(&Bytes::from(format!(
                r#"{{"entrypoint":"true","submission_id":"{id}","metadata":{{"k":"{id}"}}}}"#
            )))
            .status
    }

    #[test]
    fn an_id_is_first_writer_wins_and_counts_once() {
        let mut world = world();
        assert_eq!(
            (submit(&mut world, "a"), submit(&mut world, "a")),
            (200, 500)
        );
        assert_eq!(world.starts_of("a"), 1);
    }

    #[test]
    fn a_delete_frees_the_id_and_the_counter_remembers() {
        let mut world = world();
        submit(&mut world, "a");
        assert_eq!(world.delete("a").status, 500, "it runs");
        assert!(world.finish("a", 0));
        assert_eq!(world.delete("a").status, 200);
        assert_eq!(submit(&mut world, "a"), 200);
        assert_eq!(world.starts_of("a"), 2);
    }

    #[test]
    fn a_restart_renames_the_session_and_forgets_only_as_told() {
        let mut world = world();
        submit(&mut world, "a");
        let first = world.session().to_owned();
        assert_eq!(world.restart(Memory::Keep), first);
        assert_ne!(world.restart(Memory::KeepRenamed), first);
        assert!(world.has_job("a"));
        world.restart(Memory::Forget);
        assert!(!world.has_job("a"));
        assert_eq!(submit(&mut world, "a"), 200);
        let starts = world.starts(0, 10);
        assert_eq!(starts.len(), 2);
        assert_ne!(starts[0].session, starts[1].session);
        assert_eq!(starts[1].metadata.as_ref().unwrap().get(), r#"{"k":"a"}"#);
    }

    #[test]
    fn a_full_stand_in_says_so() {
        let mut world = World::new(Options {
            max_jobs: 1,
            ..Options::default()
        })
        .unwrap();
        assert_eq!(
            (submit(&mut world, "a"), submit(&mut world, "b")),
            (200, 500)
        );
        assert_eq!(world.starts_of("b"), 0);
    }

    #[test]
    fn a_lie_changes_what_is_told_and_not_what_is() {
        let mut world = world();
        submit(&mut world, "a");
        assert!(world.lie("a", Some("FAILED".into())));
        let told: Value = serde_json::from_slice(&world.details("a").unwrap()).unwrap();
        assert_eq!(told["status"], "FAILED");
        assert_eq!(world.delete("a").status, 500, "it still runs");
    }

    #[test]
    fn a_package_is_the_same_however_it_was_cut() {
        let hash = |pieces: &[&[u8]]| {
            let mut hasher = PackageHasher::default();
            pieces.iter().for_each(|p| hasher.feed(p));
            hasher.finish()
        };
        assert_eq!(hash(&[b"abc", b"", b"def"]), hash(&[b"abcdef"]));
        assert_ne!(hash(&[b"abcdef"]), hash(&[b"abcdeg"]));
    }
}
