//! A disk without room for the journal, below a whole server: nothing is admitted, what runs is left alone, and when there
//! is room again it goes on by itself.

mod support;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{World, send};

const PLACE: &str = "CURB_SERVER_TEST_SMALL_DISK";
const NAME: &str =
    "while_the_disk_is_full_nothing_is_admitted_what_runs_is_left_alone_and_room_is_all_it_needs";

/// Runs this test once more in a mount namespace of its own, in which `place` is a file system of 8 MiB. `None` where
/// that is not allowed.
fn on_a_small_disk(place: &Path) -> Option<bool> {
    let unshare = |also: &[&str]| {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private"])
            .args(also);
        command
    };
    let mount = "mount -t tmpfs -o size=8m tmpfs \"$CURB_SERVER_TEST_SMALL_DISK\"";
    let allowed = |also: &[&str]| {
        let mut tried = unshare(also);
        tried.args(["sh", "-c", mount]).env(PLACE, place);
        tried.stderr(Stdio::null());
        tried.status().is_ok_and(|status| status.success())
    };
    // Root may; others may where they may have a user namespace.
    let also = [&[][..], &["--user", "--map-root-user"]]
        .into_iter()
        .find(|also| allowed(also))?;
    let status = unshare(also)
        .args(["sh", "-c", &format!("{mount} && exec \"$@\""), "sh"])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", NAME, "--nocapture"])
        .env(PLACE, place)
        .status();
    Some(status.expect("unshare").success())
}

#[test]
fn while_the_disk_is_full_nothing_is_admitted_what_runs_is_left_alone_and_room_is_all_it_needs() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let built = builder.worker_threads(2).enable_all().build();
        built.expect("a runtime")
    };
    if let Some(place) = std::env::var_os(PLACE) {
        return runtime().block_on(with_a_full_disk(PathBuf::from(place)));
    }
    let place = tempfile::tempdir().expect("a directory");
    match on_a_small_disk(place.path()) {
        Some(passed) => assert!(passed, "it failed on the small disk, see above"),
        None => {
            assert!(
                std::env::var_os("CURB_TEST_REQUIRE_MOUNT").is_none(),
                "CURB_TEST_REQUIRE_MOUNT is set, but no file system can be mounted here"
            );
            println!(
                "did not run on a full disk: mounting a small one needs root or a user namespace"
            );
        }
    }
}

/// Takes all the room that is left.
fn fill(path: &Path) {
    let mut file = File::create(path).expect("a file");
    for piece in [1 << 16, 1 << 12, 1] {
        let zeros = vec![0; piece];
        while file.write_all(&zeros).is_ok() {}
    }
}

async fn probe(w: &World, path: &str) -> u16 {
    send(w.curb.address(), "GET", path, None, "", b"")
        .await
        .status
}

/// What was submitted while the disk filled up.
#[derive(Default)]
struct Submitted {
    taken: Vec<String>,
    refused: Vec<String>,
}

/// Whether nothing can be admitted, now and for a while: a batch may be too large for what another fits into.
async fn stays_unready(w: &World) -> bool {
    for _ in 0..30 {
        if probe(w, "/readyz").await != 503 {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    true
}

/// Submits jobs that wait until there is no room, not even in the write-ahead log, which has some of its own.
async fn submit_until_full(w: &World, ballast: &Path) -> Submitted {
    let mut jobs = Submitted::default();
    for n in 0..400 {
        let id = format!("w{n}");
        // Large ones at first, so that it is soon full; then small ones.
        let note = "x".repeat([30_000, 3_000, 0][jobs.refused.len().min(2)]);
        let metadata = serde_json::json!({"curb.cpu": "1", "note": note});
        let body =
            serde_json::json!({"entrypoint": "true", "submission_id": id, "metadata": metadata});
        let answer = w.post(&w.ana, "/api/jobs/", &body.to_string()).await;
        if answer.status == 200 {
            jobs.taken.push(id);
            continue;
        }
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(
            answer.body.contains("journal is not writable")
                && answer.header("retry-after").is_some(),
            "{answer:?}"
        );
        jobs.refused.push(id);
        // What a checkpoint gave back is not to be had either.
        fill(&ballast.join(n.to_string()));
        if stays_unready(w).await {
            return jobs;
        }
    }
    panic!("400 jobs later the disk is not full");
}

async fn with_a_full_disk(place: PathBuf) {
    let policy = support::POLICY.replace("jobs: 10, queued: 5", "jobs: 2");
    let data = place.join("data");
    let w = World::with(&policy, |o| o.data = Some(data.clone())).await;
    for id in ["runs", "ends"] {
        assert_eq!(w.submit(&w.ana, id, "1").await.status, 200);
        w.until(&w.ana, id, "RUNNING").await;
    }
    let ballast = place.join("ballast");
    std::fs::create_dir(&ballast).expect("a directory");
    fill(&ballast.join("first"));
    let Submitted { taken, refused } = submit_until_full(&w, &ballast).await;
    assert!(w.ray.starts().len() == 2, "{:?}", w.ray.starts());
    let before = w.ray.requests();
    assert_eq!(probe(&w, "/readyz").await, 503);
    assert_eq!(probe(&w, "/healthz").await, 200);
    let status = w.get(&w.admin, "/curb/v1/status").await.body;
    assert!(status.contains("disk is full"), "{status}");
    // While it lasts: a job ends, whose end cannot be written; its place is not given to another.
    assert!(w.ray.finish("ends", 0));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(w.submit(&w.li, "of-li", "1").await.status, 503);
    assert_eq!(probe(&w, "/readyz").await, 503);
    assert_eq!(w.status(&w.ana, "runs").await, "RUNNING");
    assert_eq!(w.curb.held().await.expect("an answer"), "2 CPU");
    let asked = w.ray.requests_after(before);
    assert!(
        !asked.is_empty() && asked.iter().all(|r| r.method == "GET"),
        "Ray is only watched: {asked:?}"
    );
    std::fs::remove_dir_all(&ballast).expect("room");
    let begun = Instant::now();
    while probe(&w, "/readyz").await != 200 {
        assert!(
            begun.elapsed() < Duration::from_secs(15),
            "it does not recover"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    w.until(&w.ana, "ends", "SUCCEEDED").await;
    assert_eq!(w.submit(&w.li, "of-li", "1").await.status, 200);
    for id in &refused {
        let answer = w.get(&w.ana, &format!("/api/jobs/{id}")).await;
        assert_eq!(answer.status, 404, "{id}: {answer:?}");
    }
    let first = taken.first().expect("some were taken, and are there");
    w.until(&w.ana, first, "RUNNING").await;
    for id in &taken[1..] {
        assert_eq!(w.status(&w.ana, id).await, "PENDING", "{id}");
    }
    assert_eq!((w.ray.starts_of("runs"), w.ray.starts_of(first)), (1, 1));
    let live = w.curb.snapshot().await.expect("a state");
    let replayed = curb_server::load(&data).expect("a sound journal");
    assert_eq!(
        String::from_utf8_lossy(&live),
        String::from_utf8_lossy(&replayed.state.snapshot())
    );
    w.curb.stop().await;
}
