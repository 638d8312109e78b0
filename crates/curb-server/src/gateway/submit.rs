//! `POST /api/jobs/`: from a body to a decision to Ray.

use curb_api::Kind;
use std::sync::Arc;

use bytes::Bytes;
use curb_core::decide::{self, Ask, Code, Explanation, Identity, ResolveError, Submitted};
use curb_core::ledger::{Event, FailedJob};
use curb_core::policy::Policy;
use curb_core::subject::JobId;
use curb_core::time::Timestamp;
use curb_http::request_id::random_bytes;
use curb_journal::SideWrite;
use http::{HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

use super::{Call, no_job};
use crate::app::App;
use crate::auth::Principal;
use crate::dispatcher::{self, Attempt, Fate};
use crate::engine::{Decision, Draft};
use crate::reply::{Failure, Reply, X_JOB_ID, answer};
use crate::request::Submission;
use crate::spec::{EncodedSpec, JobSpec};
use crate::words;

/// Characters of generated ids: those that Ray uses, without the ones that are taken for each other.
/// In the order of their codes, so that ids that begin with a time sort by it.
const ID_CHARS: &[u8; 56] = b"1234567ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// Characters of an id that tell its time, in ms since 1970: enough for 3,000 years.
const ID_TIME_CHARS: u32 = 8;
/// Characters of an id that are random.
const ID_RANDOM_CHARS: usize = 8;

/// What the decision said, with what is needed to go on.
enum Outcome {
    Admitted(Attempt),
    Queued,
    Refused(Box<Explanation>, Arc<Policy>, Timestamp),
    /// It was refused, and is told as a job that failed.
    Told,
    Same,
    Taken,
    BadRequest(ResolveError),
}

/// What is known of a submission's idempotency key.
struct Key {
    /// What is kept of it with the job.
    receipt: Option<String>,
    /// The key, if the client chose no id besides.
    without_id: Option<String>,
}

/// Submits a job.
pub async fn submit(call: Call, body: Bytes) -> Result<Reply, Failure> {
    let mut parsed = Submission::parse(&body, true).map_err(|e| bad_request(&e))?;
    drop(body);
    let app = &call.app;
    let ask = ask_of(app, &call.who, &parsed)?;
    check_packages(app, &call.who, &parsed.spec)?;
    let chosen = parsed.id.take();
    let id = match (&chosen, &parsed.key) {
        (Some(id), _) => id.clone(),
        // The same key gives the same id, so that the ledger finds the first answer again.
        (None, Some(key)) => id_of_key(call.who.user(), key)?,
        (None, None) => new_id(app.clock.now())?,
    };
    parsed.spec.user = call.who.user().to_owned();
    parsed.spec.id = id.as_str().to_owned();
    // Who gave a key knows nothing of the id that was made of it.
    let without_id = parsed.key.clone().filter(|_| chosen.is_none());
    let encoded = parsed.spec.encode().map_err(|e| Failure::internal(&e))?;
    let key = Key {
        receipt: parsed
            .key
            .as_deref()
            .map(|key| receipt_of(call.who.user(), key, &encoded.key)),
        without_id,
    };
    if (chosen.is_some() || parsed.key.is_some()) && was_used(&call, &id, &key).await? {
        return Ok(accepted(&id));
    }
    let identity = Identity {
        id,
        spec: encoded.key.clone(),
        stamp: random_hex()?,
        key: parsed.key.take(),
    };
    let (app, who) = (Arc::clone(app), call.who.clone());
    // On a task of its own: a client that goes away must not leave a grant that nobody starts.
    let tracker = app.tasks.clone();
    // In a box: the runtime moves what it is given three times, and this is kilobytes.
    let work = Box::pin(decide_and_start(
        app,
        who,
        ask,
        identity,
        encoded,
        parsed.spec,
        key,
    ));
    let work = tracker.spawn(work);
    work.await.map_err(|e| Failure::internal(&e))?
}

/// What the ledger is asked.
///
/// # Errors
/// The cluster that it names is not one.
pub fn ask_of(app: &App, who: &Principal, parsed: &Submission) -> Result<Ask, Failure> {
    let cluster = parsed
        .cluster
        .clone()
        .unwrap_or_else(|| app.config.default_cluster.clone());
    if !app.clusters.contains_key(&cluster) {
        let known: Vec<&str> = app.clusters.keys().map(String::as_str).collect();
        return Err(Failure::bad_request(format!(
            "curb: metadata `curb.cluster`: there is no cluster {cluster}; there are: {}",
            known.join(", ")
        )));
    }
    Ok(Ask {
        user: who.user().to_owned(),
        labels: who.0.labels.clone(),
        team: parsed.team.clone(),
        job_type: parsed.job_type.clone(),
        cluster,
        declared: parsed.declared.clone(),
        entrypoint: parsed.spec.entrypoint_resources.0.clone(),
        duration: parsed.duration,
        priority: parsed.priority,
    })
}

/// The status of a refusal since the cluster is away.
const AWAY: u16 = 503;

async fn decide_and_start(
    app: Arc<App>,
    who: Principal,
    ask: Ask,
    identity: Identity,
    encoded: EncodedSpec,
    spec: JobSpec,
    by_key: Key,
) -> Result<Reply, Failure> {
    let (id, cluster, key) = (
        identity.id.clone(),
        ask.cluster.clone(),
        encoded.key.clone(),
    );
    let without_id = by_key.without_id.clone();
    let (reader, command) = (who.clone(), spec.entrypoint.clone());
    let outcome = app
        .engine
        .change(move |state, moment| {
            let submission = match decide::resolve(state, &ask) {
                Ok(submission) => submission,
                Err(error) => return Decision::durable(Vec::new(), Outcome::BadRequest(error)),
            };
            let (events, said) = decide::submit(state, &submission, &identity, moment);
            let keep = |events: Vec<_>, reply| {
                let mut drafts: Vec<Draft> = events.into_iter().map(Draft::from).collect();
                if let Some(first) = drafts.first_mut() {
                    first
                        .side
                        .push(SideWrite::put_spec(encoded.key, encoded.body));
                    first
                        .side
                        .push(SideWrite::claim_id(identity.id.as_str().to_owned()));
                    if let Some(receipt) = by_key.receipt {
                        let put =
                            SideWrite::put_spec(receipt_key(&identity.id), receipt.into_bytes());
                        first.side.push(put);
                    }
                }
                Decision {
                    events: drafts,
                    reply,
                    wait: true,
                }
            };
            match said {
                Submitted::Admitted => {
                    let attempt = Attempt {
                        id: identity.id.clone(),
                        number: 1,
                        user: submission.subject.user.clone(),
                        stamp: identity.stamp.clone(),
                        promised: false,
                        keyed: identity.key.is_some(),
                        session: state
                            .cluster(&submission.cluster)
                            .map_or_else(String::new, |c| c.session.clone()),
                    };
                    keep(events, Outcome::Admitted(attempt))
                }
                Submitted::Queued(_) => keep(events, Outcome::Queued),
                // That the cluster is away is no verdict on the job: whoever sends it again later is to find its id free.
                Submitted::Refused(explanation)
                    if explanation.status != AWAY
                        && decide::told_as_job(state, reader.user(), moment) =>
                {
                    let (text, _) = words::tell(*explanation, &reader, state.policy(), moment.now);
                    Decision::durable(as_job(events, &identity, command, text), Outcome::Told)
                }
                Submitted::Refused(explanation) => {
                    // Told without waiting for the disk: a refusal takes nothing and promises nothing. Should a crash
                    // take what it rests on, the same request fits when it is sent again.
                    // The words are found on the request's own thread.
                    let policy = Arc::clone(state.policy());
                    Decision::noted(events, Outcome::Refused(explanation, policy, moment.now))
                }
                // The first answer may still be on its way to disk.
                Submitted::Same => Decision::durable(Vec::new(), Outcome::Same),
                Submitted::Taken => Decision::durable(Vec::new(), Outcome::Taken),
            }
        })
        .await?;
    match outcome {
        Outcome::Admitted(attempt) => {
            let Some(cluster) = app.cluster(&cluster).cloned() else {
                return Err(Failure::internal(&format!("cluster {cluster} is gone")));
            };
            let fate = dispatcher::start(app, cluster, attempt, Arc::new(spec)).await;
            after_start(&id, fate)
        }
        Outcome::Queued => {
            app.keep_spec(key, Arc::new(spec));
            Ok(accepted(&id))
        }
        Outcome::Same | Outcome::Told => Ok(accepted(&id)),
        Outcome::Taken => Err(taken(&id, without_id.as_deref())),
        Outcome::BadRequest(error) => Err(Failure::bad_request(format!(
            "curb: metadata `{}`: {}",
            error.key, error.message
        ))),
        Outcome::Refused(explanation, policy, now) => {
            let (text, explanation) = words::tell(*explanation, &who, &policy, now);
            Err(refused(explanation, text, now))
        }
    }
}

/// A refusal's events, with what is told of it as a job.
fn as_job(
    mut events: Vec<Event>,
    identity: &Identity,
    command: String,
    text: String,
) -> Vec<Event> {
    for event in &mut events {
        if let Event::Refused { as_job, .. } = event {
            let job = FailedJob {
                id: identity.id.clone(),
                spec: identity.spec.clone(),
                key: identity.key.clone(),
                command: command.clone(),
                text: text.clone(),
            };
            *as_job = Some(Box::new(job.cut()));
        }
    }
    events
}

pub(crate) fn after_start(id: &JobId, fate: Fate) -> Result<Reply, Failure> {
    match fate {
        Fate::Running | Fate::Waiting => Ok(accepted(id)),
        Fate::Failed { status, why } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            let mut failure = Failure::new(
                status,
                Kind::NotStarted,
                format!("curb: job {id} was not started: {why}"),
                if status.is_server_error() {
                    "submit it again in a while, under another id or none: this one is used up"
                } else {
                    "mend what is named and submit it again, under another id or none: this one is used up"
                },
            );
            failure.retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(10);
            Err(failure)
        }
        Fate::Unknown => {
            let mut failure = Failure::unavailable(
                format!("curb: Ray did not answer whether it took job {id}; Curb is finding out"),
                format!("do not submit it again before you know: ray job status {id}"),
                30,
            );
            failure.become_kind(Kind::OutcomeUnknown);
            failure.extensions.insert("job".into(), id.as_str().into());
            Err(failure)
        }
        Fate::NotWritten(why) => Err(crate::engine::EngineError::NotWritable(why).into()),
    }
}

/// The answer of Ray's own API to a submission.
fn accepted(id: &JobId) -> Reply {
    // An id has no character that JSON would escape.
    let body = format!(r#"{{"job_id":"{id}","submission_id":"{id}"}}"#);
    let mut reply = answer(StatusCode::OK, "application/json", body);
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        reply.headers_mut().insert(X_JOB_ID, value);
    }
    reply
}

/// A refusal by quota.
fn refused(explanation: Explanation, text: String, now: Timestamp) -> Failure {
    let status = StatusCode::from_u16(explanation.status).unwrap_or(StatusCode::TOO_MANY_REQUESTS);
    let code = explanation
        .violations
        .first()
        .map_or(Code::Turn, |v| v.code);
    let mut failure = Failure::refusal(status, code, text);
    failure.retry_after = match (status, explanation.expected) {
        (StatusCode::SERVICE_UNAVAILABLE, _) => Some(10),
        // Rounded up, so that whoever waits so long is not a moment early.
        (StatusCode::TOO_MANY_REQUESTS, Some(at)) => {
            u32::try_from(at.since(now).0.div_ceil(1000).max(1)).ok()
        }
        _ => None,
    };
    failure.explanation = Some(Box::new(explanation));
    failure
}

pub(crate) fn bad_request(error: &crate::request::BadRequest) -> Failure {
    let mut failure = Failure::bad_request(format!("curb: {error}"));
    failure
        .extensions
        .insert("key".into(), error.key.as_str().into());
    failure
}

pub(crate) fn taken(id: &JobId, by_key: Option<&str>) -> Failure {
    match by_key {
        Some(key) => Failure::conflict(
            format!(
                "curb: the key `{key}` (curb.key) was used before, for a submission with another content: job {id}"
            ),
            "use another key, or send the same content again to get that job's id",
        ),
        None => Failure::conflict(
            format!(
                "curb: job with submission_id {id} already exists, or did\n  an id is used once, for ever, also when its job was deleted"
            ),
            "use a different submission_id, or none: then one is made",
        ),
    }
}

/// An id that the ledger does not remember may still have been used long ago. `true`: by the same request with the same
/// key, so that its first answer is the answer again.
async fn was_used(call: &Call, id: &JobId, key: &Key) -> Result<bool, Failure> {
    let (wanted, user) = (id.clone(), call.who.user().to_owned());
    let remembered = call
        .app
        .engine
        .read(move |state, _| {
            state.job(&wanted).is_some() || state.refusals().get(&user, &wanted).is_some()
        })
        .await?;
    // The ledger judges what it remembers: the same again, or another. (It is ahead of the disk, so that it never forgets
    // what the disk has; nothing is told on the strength of this look.)
    if remembered {
        return Ok(false);
    }
    let wanted = id.clone();
    let (used, kept) = call
        .app
        .readers
        .run(move |reader| {
            if !reader.id_used(wanted.as_str())? {
                return Ok((false, None));
            }
            Ok((true, reader.spec(&receipt_key(&wanted))?))
        })
        .await?;
    match (used, key.receipt.as_deref(), kept) {
        (false, ..) => Ok(false),
        (true, Some(now), Some(then)) if then == now.as_bytes() => Ok(true),
        (true, ..) => Err(taken(id, key.without_id.as_deref())),
    }
}

/// Where the receipt of a submission with a key is kept: beside the specs, whose keys are all hex.
fn receipt_key(id: &JobId) -> String {
    format!("key:{id}")
}

/// What identifies a submission with a key for as long as the journal lives, also when the ledger has forgotten the job.
fn receipt_of(user: &str, key: &str, spec: &str) -> String {
    let hash = Sha256::new()
        .chain_update(user.as_bytes())
        .chain_update([0])
        .chain_update(key.as_bytes())
        .chain_update([0])
        .chain_update(spec.as_bytes())
        .finalize();
    hex::encode(hash)
}

fn check_packages(app: &App, who: &Principal, spec: &JobSpec) -> Result<(), Failure> {
    for name in &spec.packages {
        if !app.packages.has(who.user(), name) {
            return Err(Failure::bad_request(format!(
                "curb: runtime_env names gcs://{name}, which you have not uploaded here\n  next: submit again from the files: Ray's client uploads working_dir and py_modules by itself"
            )));
        }
    }
    Ok(())
}

/// An id like Ray's own. It begins with its time, so that what is kept by id grows at one end: with ids at random each
/// new job would dirty pages all over the tables, and each of them has to be synced.
fn new_id(now: Timestamp) -> Result<JobId, Failure> {
    let mut text = String::from("raysubmit_");
    let ms = now.0.unsigned_abs();
    let base = ID_CHARS.len() as u64;
    text.extend((0..ID_TIME_CHARS).rev().map(|place| {
        let digit = ms / base.pow(place) % base;
        char::from(ID_CHARS[usize::try_from(digit).unwrap_or(0)])
    }));
    let whole = text.len() + ID_RANDOM_CHARS;
    while text.len() < whole {
        let random = random_bytes().map_err(|e| Failure::internal(&e))?;
        // 256 is no multiple of 56: bytes past the last multiple are drawn again, so that all characters are as likely.
        let fair = random.into_iter().filter(|b| *b < 224);
        let chars = fair.map(|b| char::from(ID_CHARS[usize::from(b) % ID_CHARS.len()]));
        let missing = whole - text.len();
        text.extend(chars.take(missing));
    }
    JobId::parse(&text).map_err(|e| Failure::internal(&e))
}

fn id_of_key(user: &str, key: &str) -> Result<JobId, Failure> {
    let hash = Sha256::new()
        .chain_update(user.as_bytes())
        .chain_update([0])
        .chain_update(key.as_bytes())
        .finalize();
    let id = format!("raysubmit_k{}", hex::encode(&hash[..16]));
    JobId::parse(&id).map_err(|_| no_job(&id))
}

fn random_hex() -> Result<String, Failure> {
    let random = random_bytes().map_err(|e| Failure::internal(&e))?;
    Ok(hex::encode(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_ids_look_like_rays_own_differ_and_sort_by_their_time() {
        let id = |ms| new_id(Timestamp(ms)).expect("an id");
        let now = 1_795_000_000_000;
        let (a, b) = (id(now), id(now));
        assert!(a.as_str().starts_with("raysubmit_") && a.as_str().len() == 26);
        assert_ne!(a, b);
        for later in [now + 1, now + 57, now + 1_000_000, now * 2] {
            assert!(a < id(later) && b < id(later), "{a} {later}");
        }
    }

    #[test]
    fn the_same_key_of_the_same_user_is_the_same_id() {
        let id = |user, key| id_of_key(user, key).expect("an id");
        assert_eq!(id("ana", "k"), id("ana", "k"));
        assert_ne!(id("ana", "k"), id("li", "k"));
        assert_ne!(id("a", "bk"), id("ab", "k"));
    }
}
