//! Bad input and everyday use at the door, against a stand-in for Ray.

mod support;

use std::collections::HashSet;
use std::time::Duration;

use curb_core::subject::Role;
use curb_server::testing::{TestOptions, TestServer};
use curb_standin::{Fault, JobTime, Memory, Options, Route, Standin, Trouble};
use support::{POLICY, World, raw, send};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_admitted_and_its_end_gives_the_next_one_its_turn() {
    let w = World::new().await;
    let answer = w.submit(&w.ana, "a", "2").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, r#"{"job_id":"a","submission_id":"a"}"#)
    );
    assert_eq!(w.submit(&w.ana, "b", "1").await.status, 200);
    let job = w.get(&w.ana, "/api/jobs/b").await.json();
    assert_eq!(job["status"], "PENDING");
    assert!(
        job["message"]
            .as_str()
            .unwrap_or_default()
            .starts_with("curb: queued, position 1 of 1"),
        "{job}"
    );
    assert!(!w.ray.has_job("b"));
    assert!(w.ray.finish("a", 0));
    w.until(&w.ana, "b", "RUNNING").await;
    assert_eq!(w.status(&w.ana, "a").await, "SUCCEEDED");
    assert_eq!((w.ray.starts_of("a"), w.ray.starts_of("b")), (1, 1));
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_a_wrong_one_an_expired_one_and_a_revoked_one_are_401_and_nothing_reaches_ray() {
    let (w, _) = World::unwatched().await;
    assert_eq!(w.submit(&w.ana, "hers", "1").await.status, 200);
    let short = w
        .curb
        .token_until("ana", Role::User, Some(1))
        .await
        .expect("a token");
    let made = w
        .post(&w.admin, "/curb/v1/tokens", r#"{"user":"ana"}"#)
        .await
        .json();
    let (id, revoked) = (
        made["id"].as_str().expect("an id"),
        made["token"].as_str().expect("a token"),
    );
    let addr = w.curb.address();
    assert_eq!(
        send(
            addr,
            "DELETE",
            &format!("/curb/v1/tokens/{id}"),
            Some(&w.admin),
            "",
            b""
        )
        .await
        .status,
        200
    );
    tokio::time::sleep(Duration::from_millis(5)).await;
    let before = w.ray.requests();
    for token in [
        None,
        Some("curb_wrong"),
        Some(short.as_str()),
        Some(revoked),
    ] {
        for (method, path, body) in [
            ("POST", "/api/jobs/", &br#"{"entrypoint":"true"}"#[..]),
            ("GET", "/api/jobs/", b""),
            ("GET", "/api/jobs/hers", b""),
            ("GET", "/api/jobs/hers/logs", b""),
            ("POST", "/api/jobs/hers/stop", b""),
            ("DELETE", "/api/jobs/hers", b""),
            ("GET", "/api/version", b""),
            ("PUT", "/api/packages/gcs/a.zip", b"code"),
        ] {
            let answer = send(addr, method, path, token, "", body).await;
            assert_eq!(answer.status, 401, "{method} {path}: {answer:?}");
            assert!(
                answer.body.contains("Authorization: Bearer")
                    && answer.body.contains("RAY_AUTH_TOKEN"),
                "{answer:?}"
            );
            assert!(answer.body.lines().all(|l| l.len() <= 80), "{answer:?}");
        }
    }
    assert_eq!(w.ray.requests_after(before), []);
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn someone_elses_job_is_answered_as_one_that_is_not_there() {
    let w = World::new().await;
    assert_eq!(w.submit(&w.ana, "mine", "1").await.status, 200);
    for (method, path) in [
        ("GET", "/api/jobs/{}"),
        ("DELETE", "/api/jobs/{}"),
        ("POST", "/api/jobs/{}/stop"),
        ("GET", "/api/jobs/{}/logs"),
        ("GET", "/curb/v1/jobs/{}"),
        ("POST", "/curb/v1/jobs/{}/stop"),
    ] {
        let addr = w.curb.address();
        let theirs = send(
            addr,
            method,
            &path.replace("{}", "mine"),
            Some(&w.li),
            "",
            b"",
        )
        .await;
        let unknown = send(
            addr,
            method,
            &path.replace("{}", "none"),
            Some(&w.li),
            "",
            b"",
        )
        .await;
        assert_eq!(theirs.status, 404, "{method} {path}");
        assert_eq!(
            theirs.body,
            unknown.body.replace("none", "mine"),
            "{method} {path}"
        );
    }
    assert_eq!(
        w.get(&w.li, "/api/jobs/").await.json(),
        serde_json::json!([])
    );
    assert_eq!(w.get(&w.ops, "/api/jobs/mine").await.status, 200);
    assert_eq!(w.status(&w.ana, "mine").await, "RUNNING");
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_list_has_every_job_once_in_order_and_a_refusal_after_them() {
    let policy = "version: 1\nrefusal: job\nquotas:\n  - {name: each-user, for: {user: \"*\"}, limits: {jobs: 1}, per_job: {cpu: 3}}\n";
    let w = World::with(policy, |_| {}).await;
    let none = w.get(&w.ana, "/api/jobs/").await;
    assert_eq!((none.status, none.body.as_str()), (200, "[]"));
    // More than are read of the ledger in one go.
    for ten in 0..53 {
        let ids: Vec<String> = (0..10).map(|n| format!("job-{}", ten * 10 + n)).collect();
        let sent = ids.iter().map(|id| w.submit(&w.ana, id, "1"));
        for answer in futures_util::future::join_all(sent).await {
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
    assert_eq!(w.submit(&w.ana, "too-big", "4").await.status, 200);
    let list = w.get(&w.ana, "/api/jobs/").await.json();
    let list = list.as_array().expect("a list");
    let ids: HashSet<&str> = list
        .iter()
        .filter_map(|j| j["submission_id"].as_str())
        .collect();
    assert_eq!((list.len(), ids.len()), (531, 531), "each once");
    let places: Vec<usize> = list
        .iter()
        .filter_map(|j| {
            j["message"]
                .as_str()?
                .strip_prefix("curb: queued, position ")
        })
        .filter_map(|told| told.split(' ').next()?.parse().ok())
        .collect();
    assert_eq!(places, (1..530).collect::<Vec<usize>>(), "the oldest first");
    assert_eq!(list[530]["submission_id"], "too-big");
    assert!(
        list.iter()
            .all(|j| j["entrypoint"] == list[0]["entrypoint"])
    );
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_only_ray_knows_lead_nowhere() {
    let (w, _) = World::unwatched().await;
    let ray = w.ray.addr();
    let body = br#"{"entrypoint":"sleep 9","submission_id":"theirs"}"#;
    assert_eq!(
        send(ray, "POST", "/api/jobs/", None, "", body).await.status,
        200
    );
    let before = w.ray.requests();
    let addr = w.curb.address();
    for id in ["theirs", "01000000"] {
        for (method, path) in [
            ("GET", "/api/jobs/{}"),
            ("POST", "/api/jobs/{}/stop"),
            ("DELETE", "/api/jobs/{}"),
            ("GET", "/api/jobs/{}/logs"),
            ("GET", "/curb/v1/jobs/{}"),
            ("POST", "/curb/v1/jobs/{}/stop"),
            ("POST", "/curb/v1/jobs/{}/release"),
        ] {
            let path = path.replace("{}", id);
            let body = br#"{"why":"a test"}"#;
            let answer = send(addr, method, &path, Some(&w.admin), "", body).await;
            assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
        }
    }
    assert_eq!(w.ray.requests_after(before), []);
    let taken = w.submit(&w.ana, "theirs", "1").await;
    assert_eq!(taken.status, 409, "{taken:?}");
    assert_eq!(w.curb.held().await.expect("an answer"), "nothing");
    let asked = w.ray.requests_after(before);
    assert!(
        asked.iter().all(|r| !r.path.ends_with("/stop")) && !asked.is_empty(),
        "{asked:?}"
    );
    let theirs = send(ray, "GET", "/api/jobs/theirs", None, "", b"").await;
    assert_eq!(theirs.json()["status"], "RUNNING", "{theirs:?}");
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn amounts_and_keys_that_are_wrong_are_400_with_the_key() {
    let w = World::new().await;
    for (body, key) in [
        (
            r#"{"entrypoint":"x","metadata":{"curb.cpu":"-1"}}"#,
            "curb.cpu",
        ),
        (
            r#"{"entrypoint":"x","metadata":{"curb.cpu":"NaN"}}"#,
            "curb.cpu",
        ),
        (
            r#"{"entrypoint":"x","metadata":{"curb.memory":"99999999999999999GiB"}}"#,
            "curb.memory",
        ),
        (
            r#"{"entrypoint":"x","metadata":{"curb.gpus":"1"}}"#,
            "curb.gpus",
        ),
        (
            r#"{"entrypoint":"x","metadata":{"Curb.cpu":"1"}}"#,
            "did you mean `curb.cpu`?",
        ),
        (
            r#"{"entrypoint":"x","metadata":{"curb.memory":"16"}}"#,
            "`16GiB`",
        ),
        (
            r#"{"entrypoint":"x","metadata":{"curb.duration":"0s"}}"#,
            "curb.duration",
        ),
        (
            r#"{"entrypoint":"x","metadata":{"curb.cpu":"lots","curb.gpus":"1"}}"#,
            "\n  metadata `curb.gpus`: is not known",
        ),
        (
            r#"{"entrypoint":"x","metadata":{"curb.team":"serving"}}"#,
            "curb.team",
        ),
        (
            r#"{"entrypoint":"x","metadata":{"curb.cluster":"elsewhere"}}"#,
            "curb.cluster",
        ),
        (
            r#"{"entrypoint":"x","entrypoint_num_cpus":NaN}"#,
            "entrypoint_num_cpus",
        ),
        (
            r#"{"entrypoint":"x","entrypoint_num_cpus":-1}"#,
            "entrypoint_num_cpus",
        ),
        (r#"{"entrypoint":"x","runtime_env":{"what":1}}"#, "what"),
        (
            r#"{"entrypoint":"x","runtime_env":{"working_dir":"gcs://never_uploaded.zip"}}"#,
            "never_uploaded.zip",
        ),
        (r#"{"entrypoint":"x","retry_policy":{}}"#, "retry_policy"),
        (
            r#"{"entrypoint":"x","submission_id":"03000000"}"#,
            "8 hex digits",
        ),
        (r#"{"entrypoint":"x","job_id":"0A00000F"}"#, "8 hex digits"),
        ("nonsense", "body"),
    ] {
        let answer = w.post(&w.ana, "/api/jobs/", body).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(answer.body.contains(key), "{body}: {answer:?}");
        assert!(!answer.body.contains("Traceback"), "{answer:?}");
    }
    assert_eq!(w.ray.total_starts(), 0);
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submission_of_85000_resources_is_400_and_the_next_one_is_served() {
    let w = World::new().await;
    let many: serde_json::Value = (0..85_000).map(|i| (format!("r{i:x}"), 1)).collect();
    let body = serde_json::json!({"entrypoint": "x", "entrypoint_resources": many}).to_string();
    assert!(
        body.len() <= 1 << 20,
        "the body's own bound is not what is tried"
    );
    let answer = w.post(&w.ana, "/api/jobs/", &body).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.contains("entrypoint_resources"), "{answer:?}");
    assert_eq!(w.submit(&w.ana, "next", "1").await.status, 200);
    assert_eq!(w.status(&w.ana, "next").await, "RUNNING");
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_over_their_bounds_are_413() {
    let w = World::with(POLICY, |o| o.limits.package = 1 << 20).await;
    let addr = w.curb.address();
    let big = vec![b' '; (1 << 20) + 1];
    assert_eq!(
        send(addr, "POST", "/api/jobs/", Some(&w.ana), "", &big)
            .await
            .status,
        413
    );
    let put = |name: &'static str, body: Vec<u8>| {
        let token = w.ana.clone();
        async move {
            send(
                addr,
                "PUT",
                &format!("/api/packages/gcs/{name}"),
                Some(&token),
                "",
                &body,
            )
            .await
            .status
        }
    };
    assert_eq!(put("a.zip", vec![0; (1 << 20) + 1]).await, 413);
    assert_eq!(put("a.zip", vec![0; 1 << 20]).await, 200);
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_id_is_409_and_the_same_again_with_its_key_is_the_first_answer() {
    let w = World::new().await;
    assert_eq!(w.submit(&w.ana, "x", "1").await.status, 200);
    assert_eq!(w.submit(&w.ana, "x", "1").await.status, 409);
    assert_eq!(w.submit(&w.li, "x", "1").await.status, 409);
    let body = r#"{"entrypoint":"true","metadata":{"curb.key":"k1"}}"#;
    let first = w.post(&w.ana, "/api/jobs/", body).await;
    assert_eq!(first.status, 200);
    let again = w.post(&w.ana, "/api/jobs/", body).await;
    assert_eq!((again.status, again.body), (200, first.body.clone()));
    let other = r#"{"entrypoint":"false","metadata":{"curb.key":"k1"}}"#;
    assert_eq!(w.post(&w.ana, "/api/jobs/", other).await.status, 409);
    let of_li = w.post(&w.li, "/api/jobs/", body).await;
    assert!(
        of_li.status == 200 && of_li.body != first.body,
        "a key is its user's own: {of_li:?}"
    );
    assert_eq!(w.ray.total_starts(), 3);
    let gone = w.submit(&w.ana, "x", "1").await;
    assert!(
        gone.body.contains("an id is used once, for ever"),
        "{gone:?}"
    );
    let keyed = |cpu: &str| {
        let metadata = serde_json::json!({"curb.key": "k2", "curb.cpu": cpu});
        serde_json::json!({"entrypoint": "true", "metadata": metadata}).to_string()
    };
    assert_eq!(
        w.post(&w.ana, "/api/jobs/", &keyed("0.1")).await.status,
        200
    );
    let other = w.post(&w.ana, "/api/jobs/", &keyed("0.2")).await;
    assert_eq!(other.status, 409);
    assert!(other.body.contains("the key `k2`"), "{other:?}");
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_finds_its_first_answer_also_when_the_ledger_has_forgotten_the_job() {
    let w = World::new().await;
    let body = r#"{"entrypoint":"true","metadata":{"curb.key":"k1"}}"#;
    let first = w.post(&w.ana, "/api/jobs/", body).await;
    let id = first.json()["submission_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    w.until(&w.ana, &id, "RUNNING").await;
    assert!(w.ray.finish(&id, 0));
    w.until(&w.ana, &id, "SUCCEEDED").await;
    w.curb.forget_ended().await.expect("written");
    assert_eq!(w.get(&w.ana, &format!("/api/jobs/{id}")).await.status, 404);
    let again = w.post(&w.ana, "/api/jobs/", body).await;
    assert_eq!((again.status, again.body), (200, first.body));
    let other = r#"{"entrypoint":"false","metadata":{"curb.key":"k1"}}"#;
    assert_eq!(w.post(&w.ana, "/api/jobs/", other).await.status, 409);
    assert_eq!(w.ray.total_starts(), 1);
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_file_that_changes_while_the_server_starts_is_seen() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("policy.yaml");
    // A pipe is read only when somebody writes: so the file can be replaced in the middle of the first reading.
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.expect("mkfifo").success());
    let (place, next) = (path.clone(), dir.path().join("next.yaml"));
    let later = POLICY.replace("cpu: 2, jobs", "cpu: 1, jobs");
    std::fs::write(&next, &later).expect("written");
    let replaced = std::thread::spawn(move || {
        let mut pipe = std::fs::OpenOptions::new()
            .write(true)
            .open(&place)
            .expect("the server reads");
        std::fs::rename(&next, &place).expect("replaced");
        std::io::Write::write_all(&mut pipe, POLICY.as_bytes()).expect("read");
    });
    let w = World::with(POLICY, |o| o.policy_file = Some(path)).await;
    replaced.join().expect("replaced");
    let mut looks = 0;
    while w.get(&w.admin, "/curb/v1/status").await.json()["policy_version"] != 2 {
        looks += 1;
        assert!(looks < 100, "the change was missed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_that_are_not_canonical_are_400_and_nothing_reaches_ray() {
    let (w, before) = World::unwatched().await;
    let addr = w.curb.address();
    for path in [
        "/api/jobs//",
        "/api/../api/jobs/",
        "/api/%6aobs/",
        "/api/jobs/%2e%2e/version",
        "/api/jobs/a%2fb",
        "/api/jobs/a;x",
        "/api/./jobs/",
        "/api/jobs/a\\b",
        "/api/jobs/a..",
        "//api/jobs/",
        "/API/jobs/",
        "/api/Jobs/",
        "/Curb/v1/tokens",
    ] {
        let body = br#"{"entrypoint":"x"}"#;
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let answer = send(addr, method, path, Some(&w.ana), "", body).await;
            assert_eq!(answer.status, 400, "{method} {path}: {answer:?}");
            assert_eq!(answer.header("connection"), Some("close"), "{path}");
        }
    }
    for path in [
        "/api/jobs",
        "/api/jobs/A/B",
        "/api/serve/applications/",
        "/nodes",
        "/api/v0/tasks",
        "/",
    ] {
        let body = br#"{"entrypoint":"x"}"#;
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let answer = send(addr, method, path, Some(&w.ana), "", body).await;
            assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
        }
    }
    let two_lengths = format!(
        "POST /api/jobs/ HTTP/1.1\r\nHost: {addr}\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}"
    );
    assert_eq!(raw(addr, two_lengths.as_bytes()).await.status, 400);
    assert_eq!(w.ray.requests_after(before), []);
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_other_sites_and_other_host_names_are_turned_away() {
    let w = World::new().await;
    let addr = w.curb.address();
    for (extra, status) in [
        ("Origin: http://evil.example\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("User-Agent: Mozilla/5.0\r\n", 200),
    ] {
        let answer = send(addr, "GET", "/api/jobs/", Some(&w.ana), extra, b"").await;
        assert_eq!(answer.status, status, "{extra}: {answer:?}");
    }
    let rebound = format!(
        "GET /api/jobs/ HTTP/1.1\r\nHost: evil.example:{}\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        addr.port(),
        w.ana
    );
    assert_eq!(raw(addr, rebound.as_bytes()).await.status, 421);
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_ray_is_down_jobs_wait_and_start_when_it_is_back() {
    let w = World::new().await;
    w.ray.refuse_connections(Duration::from_millis(700));
    let answer = w.submit(&w.ana, "patient", "1").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(w.status(&w.ana, "patient").await, "PENDING");
    assert_eq!(w.get(&w.ana, "/api/version").await.status, 200);
    w.until(&w.ana, "patient", "RUNNING").await;
    let real = w
        .ray
        .starts()
        .into_iter()
        .filter(|s| s.id.starts_with("patient") && !s.claim)
        .count();
    assert_eq!(real, 1);
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_curb_stamps_may_be_sent_back_and_means_nothing() {
    let w = World::new().await;
    assert_eq!(w.submit(&w.ana, "first", "1").await.status, 200);
    let mut told = w.get(&w.ana, "/api/jobs/first").await.json()["metadata"].clone();
    assert_eq!(told["curb.user"], "ana");
    told["curb.user"] = "li".into();
    told["curb.stamp"] = "mine".into();
    let body =
        serde_json::json!({"entrypoint": "true", "submission_id": "again", "metadata": told});
    let answer = w.post(&w.ana, "/api/jobs/", &body.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let again = w.get(&w.ana, "/api/jobs/again").await.json();
    assert_eq!(again["metadata"]["curb.user"], "ana");
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_ray_is_down_a_running_job_stays_running_and_its_message_says_so() {
    let w = World::new().await;
    assert_eq!(w.submit(&w.ana, "run", "1").await.status, 200);
    w.until(&w.ana, "run", "RUNNING").await;
    w.ray.refuse_connections(Duration::from_secs(3));
    let job = w.get(&w.ana, "/api/jobs/run").await.json();
    assert_eq!(job["status"], "RUNNING");
    let message = job["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("curb: Ray does not answer, the last time at 20"),
        "{message}"
    );
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stopped_a_job_and_why_is_in_its_message() {
    let w = World::new().await;
    for id in ["ops", "own"] {
        assert_eq!(w.submit(&w.ana, id, "1").await.status, 200);
        w.until(&w.ana, id, "RUNNING").await;
    }
    let path = "/curb/v1/jobs/ops/stop";
    let stopped = w
        .post(&w.ops, path, r#"{"why":"the nodes are needed"}"#)
        .await;
    assert_eq!(stopped.status, 200, "{stopped:?}");
    assert_eq!(w.post(&w.ana, "/api/jobs/own/stop", "").await.status, 200);
    w.until(&w.ana, "ops", "STOPPED").await;
    w.until(&w.ana, "own", "STOPPED").await;
    let message = |id: &'static str| {
        let (w, path) = (&w, format!("/api/jobs/{id}"));
        async move { w.get(&w.ana, &path).await.json()["message"].to_string() }
    };
    let (ops, own) = (message("ops").await, message("own").await);
    assert!(
        ops.contains("curb: stopped by ops: the nodes are needed"),
        "{ops}"
    );
    assert!(!own.contains("curb:"), "the owner knows: {own}");
    let list = w.get(&w.ana, "/api/jobs/").await.body;
    assert!(
        list.contains("stopped by ops: the nodes are needed"),
        "{list}"
    );
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_token_of_an_admin_is_revoked_only_by_force() {
    let w = World::new().await;
    let tokens = w.get(&w.admin, "/curb/v1/tokens").await.json();
    let admins: Vec<String> = tokens["tokens"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|t| t["role"] == "admin")
        .map(|t| t["id"].as_str().expect("an id").to_owned())
        .collect();
    let own = curb_api::token::id_of(&w.admin).expect("an id").to_owned();
    let revoke = |path: String| {
        let w = &w;
        async move { send(w.curb.address(), "DELETE", &path, Some(&w.admin), "", b"").await }
    };
    for id in admins.iter().filter(|id| **id != own) {
        assert_eq!(revoke(format!("/curb/v1/tokens/{id}")).await.status, 200);
    }
    let answer = revoke(format!("/curb/v1/tokens/{own}")).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.body.contains("last token of an admin"), "{answer:?}");
    assert_eq!(w.get(&w.admin, "/curb/v1/tokens").await.status, 200);
    assert_eq!(
        revoke(format!("/curb/v1/tokens/{own}?force=true"))
            .await
            .status,
        200
    );
    assert_eq!(w.get(&w.admin, "/curb/v1/tokens").await.status, 401);
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_says_who_set_the_mode_over_the_policy_and_what_the_policy_invents() {
    let policy = format!("capacity: {{cpu: 6400}}\n{POLICY}");
    let w = World::with(&policy, |_| {}).await;
    let status = w.get(&w.admin, "/curb/v1/status").await.json();
    assert!(status["mode_set"].is_null(), "{status}");
    let warnings = status["warnings"].to_string();
    assert!(
        warnings.contains("above what Ray has: 6400 CPU (Ray has "),
        "{warnings}"
    );
    let body = br#"{"mode":"observe","why":"a quiet week"}"#;
    let set = send(
        w.curb.address(),
        "PUT",
        "/curb/v1/mode",
        Some(&w.admin),
        "",
        body,
    )
    .await;
    assert_eq!(set.status, 200, "{set:?}");
    let set = w.get(&w.ana, "/curb/v1/status").await.json()["mode_set"].clone();
    assert_eq!(set["by"], "root");
    assert_eq!(
        (&set["why"], &set["policy"]),
        (&"a quiet week".into(), &"enforce".into())
    );
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_ray_that_was_never_seen_clients_learn_a_version_where_jobs_may_wait_for_it() {
    for (rule, status) in [("queue", 200), ("refuse", 503)] {
        let policy = format!("when_ray_is_down: {rule}\n{POLICY}");
        // Nobody listens on the port of a stand-in that is gone.
        let gone = Standin::spawn(Options::default())
            .expect("a stand-in")
            .url();
        let options = TestOptions::new(gone).policy(&policy);
        let curb = TestServer::start(options).await.expect("a server");
        let token = curb.token("ana", Role::User).await.expect("a token");
        let answer = send(curb.address(), "GET", "/api/version", Some(&token), "", b"").await;
        assert_eq!(answer.status, status, "{answer:?}");
        if status == 200 {
            assert_eq!(answer.json()["version"], "4");
        }
        curb.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_ray_is_down_a_policy_may_have_submissions_refused_with_503() {
    let policy = format!("when_ray_is_down: refuse\n{POLICY}");
    let w = World::with(&policy, |_| {}).await;
    w.ray.refuse_connections(Duration::from_millis(800));
    let answer = w.submit(&w.ana, "impatient", "1").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(w.curb.held().await.expect("an answer"), "nothing");
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_becomes_of_a_submission_on_its_way_it_is_started_once_or_not_at_all() {
    for (n, trouble) in [
        Trouble::Answer { status: 500 },
        Trouble::Answer { status: 503 },
        Trouble::AnswerAfter { status: 500 },
        Trouble::DropBefore,
        Trouble::DropAfter,
        Trouble::HalfAnswer,
        Trouble::WrongId,
        Trouble::LateCopy { ms: 50 },
        Trouble::LandLater { ms: 300 },
    ]
    .into_iter()
    .enumerate()
    {
        let w = World::new().await;
        let id = format!("t{n}");
        w.ray.fault(Fault::once(Route::Submit, trouble.clone()));
        let answer = w.submit(&w.ana, &id, "1").await;
        assert_eq!(answer.status, 200, "{trouble:?}: {answer:?}");
        w.until(&w.ana, &id, "RUNNING").await;
        // What was on its way has landed by now.
        tokio::time::sleep(Duration::from_millis(400)).await;
        let starts: Vec<_> = w.ray.starts().into_iter().filter(|s| !s.claim).collect();
        assert_eq!(starts.len(), 1, "{trouble:?}: {starts:?}");
        assert_eq!(
            w.curb.held().await.expect("an answer"),
            "1 CPU",
            "{trouble:?}"
        );
        w.curb.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_ray_quarantines_what_ran_until_an_operator_vouches_for_it() {
    let w = World::new().await;
    assert_eq!(w.submit(&w.ana, "r", "1").await.status, 200);
    w.ray.restart(Memory::Forget);
    w.until_state("r", "quarantined").await;
    assert_eq!(w.curb.held().await.expect("an answer"), "1 CPU");
    let release = r#"{"why":"the head's machine was rebooted"}"#;
    assert_eq!(
        w.post(&w.ana, "/curb/v1/jobs/r/release", release)
            .await
            .status,
        403
    );
    assert_eq!(
        w.post(&w.ops, "/curb/v1/jobs/r/release", release)
            .await
            .status,
        200
    );
    assert_eq!(w.status(&w.ana, "r").await, "FAILED");
    assert_eq!(w.curb.held().await.expect("an answer"), "nothing");
    assert_eq!(w.ray.starts_of("r"), 1);
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_ray_that_keeps_its_jobs_gives_them_back() {
    let w = World::new().await;
    assert_eq!(w.submit(&w.ana, "k", "1").await.status, 200);
    w.ray.restart(Memory::Keep);
    w.until_state("k", "running").await;
    assert!(w.ray.finish("k", 0));
    w.until_state("k", "succeeded").await;
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_restart_is_known_to_end_jobs_grants_come_back_by_themselves() {
    let w = World::with(POLICY, |o| o.restart_ends_jobs = true).await;
    assert_eq!(w.submit(&w.ana, "e", "1").await.status, 200);
    w.ray.restart(Memory::Forget);
    w.until_state("e", "failed").await;
    assert_eq!(w.curb.held().await.expect("an answer"), "nothing");
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_reads_well_as_text_and_has_its_numbers_as_json() {
    let w = World::new().await;
    let answer = w.submit(&w.ana, "big", "9").await;
    assert_eq!(answer.status, 422);
    assert!(
        answer
            .header("content-type")
            .is_some_and(|t| t.starts_with("text/plain"))
    );
    assert!(
        answer.body.lines().all(|l| l.len() <= 80) && answer.body.contains("9 CPU"),
        "{}",
        answer.body
    );
    let body = br#"{"entrypoint":"x","metadata":{"curb.cpu":"9"}}"#;
    let json = send(
        w.curb.address(),
        "POST",
        "/api/jobs/",
        Some(&w.ana),
        "Accept: application/problem+json\r\n",
        body,
    )
    .await;
    // The first Accept header of the request is */*: the named type wins all the same.
    assert_eq!(
        (json.status, &json.json()["verdict"]),
        (422, &serde_json::json!("never"))
    );
    let explained = w
        .post(
            &w.ana,
            "/curb/v1/explain",
            r#"{"metadata":{"curb.cpu":"2"}}"#,
        )
        .await
        .json();
    assert_eq!(explained["verdict"], "now");
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_a_waiting_job_at_once_and_a_running_one_through_ray() {
    let w = World::new().await;
    assert_eq!(w.submit(&w.ana, "run", "2").await.status, 200);
    assert_eq!(w.submit(&w.ana, "wait", "2").await.status, 200);
    assert_eq!(
        w.post(&w.ana, "/api/jobs/wait/stop", "").await.json(),
        serde_json::json!({"stopped": true})
    );
    assert_eq!(w.status(&w.ana, "wait").await, "STOPPED");
    let logs = w.get(&w.ana, "/api/jobs/wait/logs").await.json();
    assert!(
        logs["logs"]
            .as_str()
            .unwrap_or_default()
            .contains("stopped by ana"),
        "{logs}"
    );
    assert_eq!(
        w.post(&w.ana, "/api/jobs/run/stop", "").await.json(),
        serde_json::json!({"stopped": true})
    );
    w.until_state("run", "stopped").await;
    assert_eq!(
        w.post(&w.ana, "/api/jobs/run/stop", "").await.json(),
        serde_json::json!({"stopped": false})
    );
    assert_eq!(
        send(
            w.curb.address(),
            "DELETE",
            "/api/jobs/run",
            Some(&w.ana),
            "",
            b""
        )
        .await
        .status,
        200
    );
    assert_eq!(w.get(&w.ana, "/api/jobs/run").await.status, 404);
    assert!(w.ray.has_job("run"), "the id stays taken in Ray");
    assert_eq!(w.submit(&w.ana, "run", "1").await.status, 409);
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_package_is_kept_by_curb_and_put_into_ray_under_its_users_name_when_the_job_starts() {
    let w = World::new().await;
    let addr = w.curb.address();
    let path = "/api/packages/gcs/_ray_pkg_0f.zip";
    assert_eq!(w.get(&w.ana, path).await.status, 404);
    assert_eq!(
        send(addr, "PUT", path, Some(&w.ana), "", b"good code")
            .await
            .status,
        200
    );
    assert_eq!(
        send(addr, "PUT", path, Some(&w.ana), "", b"other code")
            .await
            .status,
        200
    );
    assert_eq!(w.get(&w.ana, path).await.status, 200);
    assert_eq!(w.get(&w.li, path).await.status, 404);
    assert!(!w.ray.has_package("_ray_pkg_0f.zip", b"good code"));
    let body = r#"{"entrypoint":"x","submission_id":"p","runtime_env":{"working_dir":"gcs://_ray_pkg_0f.zip"}}"#;
    assert_eq!(w.post(&w.li, "/api/jobs/", body).await.status, 400);
    assert_eq!(w.post(&w.ana, "/api/jobs/", body).await.status, 200);
    let start = w.ray.starts().pop().expect("a start");
    assert!(start.ran, "the package was there: {start:?}");
    let shown = w.get(&w.ana, "/api/jobs/p").await.json();
    assert_eq!(shown["runtime_env"]["working_dir"], "gcs://_ray_pkg_0f.zip");
    assert!(shown["metadata"].get("curb.stamp").is_none());
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_back_or_ahead_breaks_nothing() {
    let w = World::new().await;
    assert_eq!(w.submit(&w.ana, "now", "1").await.status, 200);
    w.curb.shift_clock(-3_600_000);
    assert_eq!(w.submit(&w.ana, "past", "1").await.status, 200);
    w.curb.shift_clock(48 * 3_600_000);
    assert_eq!(w.submit(&w.ana, "future", "1").await.status, 200);
    let page = w
        .get(&w.admin, "/curb/v1/journal?after=0&limit=1000")
        .await
        .json();
    let times: Vec<i64> = page["records"]
        .as_array()
        .expect("records")
        .iter()
        .filter_map(|r| r["at"].as_i64())
        .collect();
    assert!(times.len() > 5 && times.is_sorted(), "{times:?}");
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_policy_file_is_in_force_within_seconds_and_a_broken_one_changes_nothing() {
    let w = World::new().await;
    let path = w.curb.policy_file().expect("a file").to_owned();
    std::fs::write(&path, POLICY.replace("cpu: 2, jobs", "cpu: 1, jobs")).expect("written");
    let version = |w: &World| {
        let (addr, token) = (w.curb.address(), w.admin.clone());
        async move {
            send(addr, "GET", "/curb/v1/status", Some(&token), "", b"")
                .await
                .json()
        }
    };
    for _ in 0..100 {
        if version(&w).await["policy_version"] == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(version(&w).await["policy_version"], 2);
    std::fs::write(&path, "version: 1\nquotas: [{nam: x}]\n").expect("written");
    let mut warned = false;
    for _ in 0..100 {
        warned = version(&w).await["warnings"]
            .to_string()
            .contains("(and 1 more: curb policy check");
        if warned {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(warned);
    assert_eq!(version(&w).await["policy_version"], 2);
    let put = send(
        w.curb.address(),
        "PUT",
        "/curb/v1/policy",
        Some(&w.admin),
        "",
        POLICY.as_bytes(),
    )
    .await;
    assert_eq!(put.status, 409);
    assert!(put.body.contains("reads its policy from"), "{put:?}");
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn concurrent_submitters_never_get_more_than_the_bucket_has() {
    let ray = Standin::spawn(Options {
        job_time: JobTime::Never,
        ..Options::default()
    })
    .expect("a stand-in");
    let policy = POLICY.replace("per_job: {cpu: 3, duration: 24h}", "above: reject");
    let w = World::before(ray, &policy, |_| {}).await;
    let (addr, token) = (w.curb.address(), w.ana.clone());
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let token = token.clone();
            tokio::spawn(async move {
                let body = format!(r#"{{"entrypoint":"true","submission_id":"c{n}"}}"#);
                send(
                    addr,
                    "POST",
                    "/api/jobs/",
                    Some(&token),
                    "",
                    body.as_bytes(),
                )
                .await
                .status
            })
        })
        .collect();
    let mut taken = 0;
    for task in tasks {
        match task.await.expect("an answer") {
            200 => taken += 1,
            429 => {}
            other => panic!("status {other}"),
        }
    }
    assert_eq!((taken, w.ray.total_starts()), (2, 2));
    assert_eq!(w.curb.held().await.expect("an answer"), "2 CPU");
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_is_there_after_a_clean_restart() {
    let w = World::new().await;
    for id in ["before", "waits"] {
        assert_eq!(w.submit(&w.ana, id, "2").await.status, 200);
    }
    let w = w.stopped().await.started(POLICY, |_| {}).await;
    assert_eq!(w.status(&w.ana, "waits").await, "PENDING");
    assert!(w.ray.finish("before", 0));
    w.until(&w.ana, "waits", "RUNNING").await;
    assert_eq!(
        (w.ray.starts_of("before"), w.ray.starts_of("waits")),
        (1, 1)
    );
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_job_yet_sees_the_buckets_that_the_first_one_will_be_in() {
    let policy = format!(
        "{POLICY}  - name: whole-team\n    for: {{team: vision}}\n    limits: {{cpu: 4}}\n"
    );
    let w = World::with(&policy, |_| {}).await;
    assert_eq!(w.submit(&w.li, "hers", "2").await.status, 200);
    let quotas = w.get(&w.ana, "/curb/v1/quotas").await.json();
    let rows: Vec<(&str, u64)> = quotas["buckets"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|b| {
            let name = b["quota"].as_str().expect("a name");
            (name, b["jobs"]["used"].as_u64().expect("a number"))
        })
        .collect();
    // Her own is empty; the team's is the one that li's job is in.
    assert_eq!(rows, [("each-user", 0), ("whole-team", 1)], "{quotas}");
    assert_eq!(w.submit(&w.ana, "mine", "1").await.status, 200);
    let again = w.get(&w.ana, "/curb/v1/quotas").await.json();
    let used: Vec<&serde_json::Value> = again["buckets"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|b| &b["jobs"]["used"])
        .collect();
    assert_eq!(used, [1, 2], "{again}");
    w.curb.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_sees_beside_a_limit_what_an_override_adds_until_when_and_why() {
    let w = World::new().await;
    let wish = r#"{"selector":{"user":{"one_of":["ana"]}},"amounts":{"cpu":1000},"jobs":0,"for":3600000,"why":"camera-ready"}"#;
    let made = w.post(&w.admin, "/curb/v1/overrides", wish).await;
    assert_eq!(made.status, 200, "{made:?}");
    let seen = w.get(&w.ana, "/curb/v1/quotas").await.json();
    let bucket = &seen["buckets"][0];
    assert_eq!(bucket["overrides"], serde_json::json!([1]), "{seen}");
    let change = &bucket["changes"][0];
    assert_eq!(
        change["amounts"],
        serde_json::json!({"cpu": 1000}),
        "{seen}"
    );
    assert_eq!(change["why"], "camera-ready");
    assert_eq!(change["until"], made.json()["until"]);
    assert!(
        change["by"].is_null() && change["selector"].is_null(),
        "{change}"
    );
    let others = w.get(&w.li, "/curb/v1/quotas").await.json();
    assert!(others["buckets"][0]["changes"].is_null(), "{others}");
}
