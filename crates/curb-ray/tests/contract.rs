//! One suite, two Rays: the stand-in always, and a real Ray 2.60 at `CURB_TEST_RAY`
//! (`http://HOST:PORT`). What passes on both is what the stand-in may be trusted with.
//!
//! Without `CURB_TEST_RAY` the tests against real Ray say so in their last line, and fail if
//! `CURB_TEST_REQUIRE_RAY=1`.

#![allow(clippy::print_stdout, reason = "a test that did not run must say so")]

mod common;

use common::{quick_config, raw, wait_for};
use curb_ray::{
    JobKind, JobStatus, Milli, PackageProtocol, RayClient, RayError, RequestBody, SubmitError,
    SubmitRequest, TailFrame,
};
use curb_standin::{Handle, Options, Standin};
use futures_util::StreamExt;
use serde_json::Value;
use serde_json::value::RawValue;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A Ray to try, real or not.
struct Target {
    addr: SocketAddr,
    client: RayClient,
    _standin: Option<Handle>,
}

impl Target {
    fn new(addr: SocketAddr, standin: Option<Handle>) -> Target {
        let mut config = quick_config(addr);
        config.request_timeout = Duration::from_secs(60); // a real Ray on a busy machine
        Target {
            addr,
            client: RayClient::new(config).unwrap(),
            _standin: standin,
        }
    }

    fn standin() -> Option<Target> {
        let options = Options {
            pending: Duration::from_millis(30),
            stop_delay: Duration::from_millis(30),
            ..Options::default()
        };
        let handle = Standin::spawn(options).unwrap();
        Some(Target::new(handle.addr(), Some(handle)))
    }

    fn real() -> Option<Target> {
        let Ok(url) = std::env::var("CURB_TEST_RAY") else {
            assert_ne!(
                std::env::var("CURB_TEST_REQUIRE_RAY").as_deref(),
                Ok("1"),
                "CURB_TEST_REQUIRE_RAY=1, but CURB_TEST_RAY names no Ray"
            );
            println!("did not run against real Ray: CURB_TEST_RAY=http://HOST:PORT is not set");
            return None;
        };
        let authority = url.trim_start_matches("http://").trim_end_matches('/');
        let addr = authority
            .to_socket_addrs()
            .unwrap_or_else(|e| panic!("CURB_TEST_RAY={url}: {e}"))
            .next()
            .unwrap();
        Some(Target::new(addr, None))
    }

    fn raw(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        raw(self.addr, method, path, &[], body)
    }

    async fn submit(&self, request: &SubmitRequest) {
        self.client.submit(request).await.unwrap();
    }

    async fn end_of(&self, id: &str) -> curb_ray::JobDetails {
        wait_for(&self.client, id, |job| job.status.is_terminal()).await
    }
}

/// An id that no earlier run used: a real Ray remembers them.
fn fresh(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos();
    format!(
        "{name}-{now:x}-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Each test once against the stand-in and once against real Ray.
macro_rules! contract {
    ($($name:ident)+) => {
        mod stand_in {
            $(#[tokio::test] async fn $name() { super::$name(super::Target::standin().unwrap()).await; })+
        }
        mod real_ray {
            $(#[tokio::test] async fn $name() {
                if let Some(target) = super::Target::real() {
                    super::$name(target).await;
                }
            })+
        }
    };
}

contract! {
    the_version_names_the_session
    a_job_succeeds_and_its_record_says_how
    a_failing_job_tells_its_exit_code_and_last_lines
    a_running_job_stops_once
    an_id_is_first_writer_wins_for_jobs_and_claims
    a_deleted_record_frees_its_id_which_is_why_curb_never_deletes
    a_running_record_cannot_be_deleted
    what_does_not_exist_is_404_with_rays_sentence
    bodies_that_are_wrong_are_refused_with_rays_statuses
    refusals_by_the_agent_come_as_a_500_that_the_client_understands
    browsers_and_wrong_methods_are_405
    a_followed_log_ends_with_1000_after_the_last_line
    packages_are_absent_then_there
    a_job_without_its_package_fails_before_it_begins
    the_nodes_are_told_with_their_resources
    the_list_has_what_was_submitted
}

async fn the_version_names_the_session(ray: Target) {
    let version = ray.client.version().await.unwrap();
    assert_eq!(
        (version.api_version.as_str(), version.ray_version.as_str()),
        ("4", "2.60.0")
    );
    assert!(version.session_name.unwrap().starts_with("session_"));
    assert_eq!(version.ray_commit.len(), 40);
}

const KEYS: [&str; 15] = [
    "type",
    "job_id",
    "submission_id",
    "driver_info",
    "status",
    "entrypoint",
    "message",
    "error_type",
    "start_time",
    "end_time",
    "metadata",
    "runtime_env",
    "driver_agent_http_address",
    "driver_node_id",
    "driver_exit_code",
];

/// The keys of a flat-looking record in the order in which they were written.
fn keys_in_order(record: &str) -> Vec<&str> {
    let mut found: Vec<(usize, &str)> = KEYS
        .iter()
        .filter_map(|k| Some((record.find(&format!("\"{k}\":"))?, *k)))
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, k)| k).collect()
}

async fn a_job_succeeds_and_its_record_says_how(ray: Target) {
    let id = fresh("ok");
    let mut request = SubmitRequest::new(&id, "echo it is done");
    request.metadata.insert("k".into(), "v".into());
    request.entrypoint_num_cpus = Some(Milli(500));
    request.runtime_env = Some(RawValue::from_string(r#"{"env_vars":{"A":"1"}}"#.into()).unwrap());
    ray.submit(&request).await;
    let early = ray.client.get(&id).await.unwrap().unwrap();
    if early.status == JobStatus::Pending {
        assert_eq!(
            early.message.as_deref(),
            Some(
                "Job has not started yet. It may be waiting for resources (CPUs, GPUs, memory, custom resources) to become available. It may be waiting for the runtime environment to be set up."
            )
        );
        assert_eq!(
            (
                early.end_time_ms,
                early.driver_node_id,
                early.driver_exit_code
            ),
            (None, None, None)
        );
    }
    let job = ray.end_of(&id).await;
    assert_eq!(
        (&job.kind, &job.status, job.submission_id.as_deref()),
        (
            &JobKind::Submission,
            &JobStatus::Succeeded,
            Some(id.as_str())
        )
    );
    assert_eq!(
        (
            job.message.as_deref(),
            job.error_type.as_deref(),
            job.driver_exit_code
        ),
        (Some("Job finished successfully."), None, Some(0))
    );
    assert_eq!(job.entrypoint, "echo it is done");
    assert_eq!(job.metadata.as_ref().unwrap()["k"], "v");
    let env: Value = serde_json::from_str(job.runtime_env.as_ref().unwrap().get()).unwrap();
    assert_eq!(env["env_vars"]["A"], "1");
    assert!(job.start_time_ms.unwrap() > 1_600_000_000_000 && job.end_time_ms >= job.start_time_ms);
    assert!(
        job.driver_agent_http_address.is_some() && job.driver_node_id.as_ref().unwrap().len() == 56
    );
    let (status, record) = ray.raw("GET", &format!("/api/jobs/{id}"), "");
    assert_eq!((status, keys_in_order(&record)), (200, KEYS.to_vec()));
    assert_eq!(
        keys_in_order(&serde_json::to_string(&job).unwrap()),
        KEYS,
        "written again, it is the same record"
    );
    let mut log = ray.client.logs(&id).await.unwrap().limited(100_000);
    let mut text = Vec::new();
    while let Some(chunk) = log.next_chunk().await {
        text.extend_from_slice(&chunk.unwrap());
    }
    let log: Value = serde_json::from_slice(&text).unwrap();
    let log = log["logs"].as_str().unwrap();
    assert!(
        log.contains("it is done\n")
            && log.contains(&format!(
                "Running entrypoint for job {id}: echo it is done\n"
            )),
        "{log}"
    );
}

async fn a_failing_job_tells_its_exit_code_and_last_lines(ray: Target) {
    let id = fresh("bad");
    ray.submit(&SubmitRequest::new(&id, "echo oops; exit 3"))
        .await;
    let job = ray.end_of(&id).await;
    assert_eq!(
        (&job.status, job.error_type.as_deref(), job.driver_exit_code),
        (
            &JobStatus::Failed,
            Some("JOB_ENTRYPOINT_COMMAND_ERROR"),
            Some(3)
        )
    );
    let message = job.message.unwrap();
    assert!(message.starts_with("Job entrypoint command failed with exit code 3, last available logs (truncated to 20,000 chars):\n"), "{message}");
    assert!(message.contains("oops"), "{message}");
}

async fn a_running_job_stops_once(ray: Target) {
    let id = fresh("stop");
    ray.submit(&SubmitRequest::new(&id, "sleep 300")).await;
    let job = wait_for(&ray.client, &id, |job| job.status == JobStatus::Running).await;
    assert_eq!(job.message.as_deref(), Some("Job is currently running."));
    assert!(ray.client.stop(&id).await.unwrap().stopped);
    let job = ray.end_of(&id).await;
    assert_eq!(
        (&job.status, job.error_type.as_deref(), job.driver_exit_code),
        (&JobStatus::Stopped, None, None)
    );
    assert_eq!(
        job.message.as_deref(),
        Some("Job was intentionally stopped.")
    );
    // Ray ends the supervisor a moment after it wrote the status.
    for _ in 0..100 {
        if !ray.client.stop(&id).await.unwrap().stopped {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("a stopped job can still be stopped after ten seconds");
}

async fn an_id_is_first_writer_wins_for_jobs_and_claims(ray: Target) {
    let (job, claim) = (fresh("job"), fresh("claim"));
    ray.submit(&SubmitRequest::new(&job, "true")).await;
    let lost = ray
        .client
        .submit(&SubmitRequest::no_op_claim(&job, "s"))
        .await;
    assert!(
        matches!(lost, Err(SubmitError::AlreadyExists { .. })),
        "{lost:?}"
    );

    ray.submit(&SubmitRequest::no_op_claim(&claim, "s")).await;
    let late = ray
        .client
        .submit(&SubmitRequest::new(&claim, "echo the real one"))
        .await;
    assert!(
        matches!(late, Err(SubmitError::AlreadyExists { .. })),
        "{late:?}"
    );
    let record = ray.end_of(&claim).await;
    assert_eq!(
        (
            &record.status,
            record.metadata.unwrap()[curb_ray::CLAIM_KEY].as_str()
        ),
        (&JobStatus::Succeeded, "s")
    );

    let (status, text) = ray.raw(
        "POST",
        "/api/jobs/",
        &format!(r#"{{"entrypoint":"true","submission_id":"{job}"}}"#),
    );
    assert_eq!(status, 500);
    assert!(text.starts_with("Traceback") && text.contains(&format!("ValueError: Job with submission_id {job} already exists. Please use a different submission_id.")), "{text}");
}

async fn a_deleted_record_frees_its_id_which_is_why_curb_never_deletes(ray: Target) {
    let id = fresh("again");
    ray.submit(&SubmitRequest::new(&id, "true")).await;
    ray.end_of(&id).await;
    assert_eq!(
        ray.raw("DELETE", &format!("/api/jobs/{id}"), ""),
        (200, r#"{"deleted": true}"#.to_owned())
    );
    assert!(ray.client.get(&id).await.unwrap().is_none());
    ray.submit(&SubmitRequest::new(&id, "true")).await;
    ray.end_of(&id).await;
}

async fn a_running_record_cannot_be_deleted(ray: Target) {
    let id = fresh("busy");
    ray.submit(&SubmitRequest::new(&id, "sleep 300")).await;
    let (status, text) = ray.raw("DELETE", &format!("/api/jobs/{id}"), "");
    assert_eq!(status, 500);
    assert!(
        text.contains(&format!(
            "RuntimeError: Attempted to delete job '{id}', but it is in a non-terminal state "
        )),
        "{text}"
    );
    ray.client.stop(&id).await.unwrap();
    ray.end_of(&id).await;
}

async fn what_does_not_exist_is_404_with_rays_sentence(ray: Target) {
    let nope = "Job nope does not exist";
    for (method, path, text) in [
        ("GET", "/api/jobs/nope", nope),
        ("GET", "/api/jobs/nope/logs", nope),
        ("GET", "/api/jobs/nope/logs/tail", nope),
        ("POST", "/api/jobs/nope/stop", nope),
        ("DELETE", "/api/jobs/nope", nope),
        (
            "GET",
            "/api/packages/gcs/nope.zip",
            "Package gcs://nope.zip does not exist",
        ),
        ("GET", "/nope", "404: Not Found"),
        ("POST", "/api/jobs", "404: Not Found"),
        ("GET", "/api/jobs/nope/", "404: Not Found"),
    ] {
        assert_eq!(
            ray.raw(method, path, ""),
            (404, text.to_owned()),
            "{method} {path}"
        );
    }
    assert!(ray.client.get("nope").await.unwrap().is_none());
    for error in [
        ray.client.stop("nope").await.map(drop).unwrap_err(),
        ray.client.logs("nope").await.map(drop).unwrap_err(),
        ray.client.tail("nope").await.map(drop).unwrap_err(),
    ] {
        assert!(matches!(error, RayError::NotFound { .. }), "{error:?}");
    }
}

async fn bodies_that_are_wrong_are_refused_with_rays_statuses(ray: Target) {
    let trouble = "500 Internal Server Error\n\nServer got itself in trouble";
    for (body, status, end) in [
        (
            r#"{"entrypoint":"true","bogus":1}"#,
            400,
            "TypeError: JobSubmitRequest.__init__() got an unexpected keyword argument 'bogus'\n",
        ),
        (
            r#"{"submission_id":"a"}"#,
            400,
            "TypeError: JobSubmitRequest.__init__() missing 1 required positional argument: 'entrypoint'\n",
        ),
        (
            r#"{"entrypoint":3}"#,
            400,
            "TypeError: entrypoint must be a string, got <class 'int'>\n",
        ),
        (
            r#"{"entrypoint":"x","submission_id":7}"#,
            400,
            "TypeError: submission_id must be a string if provided, got <class 'int'>\n",
        ),
        (
            r#"{"entrypoint":"x","runtime_env":"y"}"#,
            400,
            "TypeError: runtime_env must be a dict, got <class 'str'>\n",
        ),
        (
            r#"{"entrypoint":"x","metadata":[]}"#,
            400,
            "TypeError: metadata must be a dict, got <class 'list'>\n",
        ),
        (
            r#"{"entrypoint":"x","metadata":{"a":1}}"#,
            400,
            "TypeError: metadata values must be strings, got <class 'int'>\n",
        ),
        (
            r#"{"entrypoint":"x","entrypoint_num_cpus":"1"}"#,
            400,
            "TypeError: entrypoint_num_cpus must be a number, got <class 'str'>\n",
        ),
        (
            r#"{"entrypoint":"x","entrypoint_memory":1.5}"#,
            400,
            "TypeError: entrypoint_memory must be an integer, got <class 'float'>\n",
        ),
        (
            r#"{"entrypoint":"x","entrypoint_resources":{"a":"1"}}"#,
            400,
            "TypeError: entrypoint_resources values must be numbers, got <class 'str'>\n",
        ),
        ("nojson", 500, trouble),
        ("[]", 500, trouble),
    ] {
        let (seen, text) = ray.raw("POST", "/api/jobs/", body);
        assert_eq!(seen, status, "{body}: {text}");
        assert!(text.ends_with(end), "{body}: {text}");
    }
}

async fn refusals_by_the_agent_come_as_a_500_that_the_client_understands(ray: Target) {
    let mut request = SubmitRequest::new(fresh("label"), "true");
    request
        .entrypoint_label_selector
        .insert("a b".into(), "c".into());
    let error = ray.client.submit(&request).await.unwrap_err();
    let SubmitError::Refused {
        status: 400,
        reason,
        ..
    } = &error
    else {
        panic!("{error:?}")
    };
    assert!(
        reason.starts_with("Invalid label key name `a b`."),
        "{reason}"
    );
    assert!(
        ray.client
            .get(&request.submission_id)
            .await
            .unwrap()
            .is_none(),
        "refused means that no record was made"
    );
}

async fn browsers_and_wrong_methods_are_405(ray: Target) {
    for (method, header) in [
        ("POST", ("User-Agent", "Mozilla/5.0")),
        ("DELETE", ("Origin", "http://evil")),
        ("PUT", ("Sec-Fetch-Site", "none")),
    ] {
        let (status, text) = raw(ray.addr, method, "/api/jobs/", &[header], "{}");
        assert_eq!(
            (status, text),
            (
                405,
                format!("'{method}' method not allowed for browser traffic.")
            )
        );
    }
    assert_eq!(
        ray.raw("PUT", "/api/jobs/a", ""),
        (405, "405: Method Not Allowed".to_owned())
    );
}

async fn a_followed_log_ends_with_1000_after_the_last_line(ray: Target) {
    let id = fresh("tail");
    ray.submit(&SubmitRequest::new(&id, "echo first; sleep 1; echo last"))
        .await;
    let follow = |client: RayClient, id: String| async move {
        let mut tail = client.tail(&id).await.unwrap();
        let (mut text, mut end) = (String::new(), None);
        while let Some(frame) = tail.next().await {
            match frame.unwrap() {
                TailFrame::Text(more) => text += &more,
                TailFrame::End { code } => end = code,
            }
        }
        (text, end)
    };
    let (text, end) = follow(ray.client.clone(), id.clone()).await;
    assert_eq!(end, Some(1000));
    assert!(
        text.contains("first\n") && text.ends_with("last\n"),
        "{text}"
    );
    // Once more when it has ended: the whole log at once.
    ray.end_of(&id).await;
    assert_eq!(follow(ray.client.clone(), id).await, (text, Some(1000)));
}

async fn packages_are_absent_then_there(ray: Target) {
    let name = format!("{}.zip", fresh("curb-0123456789ab-_ray_pkg_b6c5"));
    let has = || ray.client.package_exists(PackageProtocol::Gcs, &name);
    assert!(!has().await.unwrap());
    ray.client
        .put_package(PackageProtocol::Gcs, &name, RequestBody::whole("PK"))
        .await
        .unwrap();
    assert!(has().await.unwrap());
    assert_eq!(
        ray.raw("GET", &format!("/api/packages/gcs/{name}"), ""),
        (200, String::new()),
        "it is never given back"
    );
    let (status, text) = ray.raw("GET", "/api/packages/s3/x.zip", "");
    assert_eq!(
        (status, text.as_str()),
        (
            500,
            "500 Internal Server Error\n\nServer got itself in trouble"
        )
    );
    assert_eq!(ray.raw("PUT", "/api/packages/s3/x.zip", "PK").0, 500);
}

async fn a_job_without_its_package_fails_before_it_begins(ray: Target) {
    let id = fresh("nopkg");
    let mut request = SubmitRequest::new(&id, "echo never");
    request.runtime_env =
        Some(RawValue::from_string(r#"{"working_dir":"gcs://not_there.zip"}"#.into()).unwrap());
    ray.submit(&request).await;
    let job = ray.end_of(&id).await;
    assert_eq!(
        (&job.status, job.error_type.as_deref()),
        (&JobStatus::Failed, Some("RUNTIME_ENV_SETUP_FAILURE"))
    );
    assert_eq!((job.driver_node_id, job.driver_exit_code), (None, None));
    let message = job.message.unwrap();
    assert!(
        message.contains("gcs://not_there.zip") && message.contains("Traceback"),
        "{message}"
    );
    let line = curb_ray::clean_reason(&message);
    assert!(
        line.starts_with("Failed to download runtime_env file package gcs://not_there.zip"),
        "{line}"
    );
}

async fn the_nodes_are_told_with_their_resources(ray: Target) {
    let cluster = ray.client.nodes().await.unwrap();
    assert!(cluster.complete);
    let head = cluster.nodes.iter().find(|n| n.is_head).unwrap();
    assert!(head.is_alive() && head.id.len() == 56);
    for name in [
        "CPU",
        "memory",
        "object_store_memory",
        "node:__internal_head__",
    ] {
        assert!(head.resources[name].0 > 0, "{name} in {:?}", head.resources);
    }
    let totals = cluster.totals();
    assert!(totals.cpu.0 > 0 && totals.memory_bytes > 0);
    assert!(
        totals
            .custom
            .keys()
            .all(|name| !name.starts_with("node:") && name != "object_store_memory"),
        "{:?}",
        totals.custom
    );
}

async fn the_list_has_what_was_submitted(ray: Target) {
    let id = fresh("list");
    ray.submit(&SubmitRequest::new(&id, "true")).await;
    let listed = ray.client.list().await.unwrap();
    assert!(
        listed
            .iter()
            .any(|job| job.submission_id.as_deref() == Some(&id))
    );
    ray.end_of(&id).await;
}
