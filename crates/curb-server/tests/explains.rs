//! Asking when a job would start costs those nothing who submit.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::World;

const POLICY: &str = "\
version: 1
quotas:
  - {name: li, for: {user: li}, limits: {cpu: 3}}
";
const WAIT: usize = 200;
const ASK: usize = 40;

/// Jobs of li's that wait one behind the other, of different lengths, so that running the queue ahead takes its time.
async fn busy() -> World {
    let w = World::with(POLICY, |_| {}).await;
    for n in 0..WAIT {
        let body = format!(
            r#"{{"entrypoint":"true","submission_id":"w{n}","metadata":{{"curb.cpu":"1","curb.duration":"{}m"}}}}"#,
            10 + n % 3
        );
        assert_eq!(w.post(&w.li, "/api/jobs/", &body).await.status, 200);
    }
    w
}

const QUESTION: &str = r#"{"entrypoint":"true","metadata":{"curb.cpu":"1","curb.duration":"1h"}}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_questions_at_once_all_the_time_hold_up_nobody_and_each_is_answered() {
    let w = Arc::new(busy().await);
    let one = w.post(&w.li, "/curb/v1/explain", QUESTION).await.json();
    assert!(one["expected"].is_u64(), "{one}");
    let over = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> = (0..ASK)
        .map(|_| tokio::spawn(ask_on(Arc::clone(&w), Arc::clone(&over))))
        .collect();
    let mut quickest = Duration::MAX;
    for n in 0..6 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let began = Instant::now();
        let admitted = w.submit(&w.ana, &format!("beside-{n}"), "0.1").await;
        assert_eq!(admitted.status, 200, "{admitted:?}");
        quickest = quickest.min(began.elapsed());
    }
    over.store(true, Ordering::Relaxed);
    let (mut told, mut busy) = (0, 0);
    for one in asking {
        let (t, b) = one.await.expect("each is answered");
        (told, busy) = (told + t, busy + b);
    }
    eprintln!("{told} told, {busy} not; an admission beside took {quickest:?}");
    assert!(told > 0 && busy > 0, "{told} told, {busy} not");
    assert!(quickest < Duration::from_millis(120), "{quickest:?}");
}

/// Asks until it is over: how often it was told when, and how often that too many ask.
async fn ask_on(w: Arc<World>, over: Arc<AtomicBool>) -> (usize, usize) {
    let (mut told, mut busy) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        let answer = w.post(&w.li, "/curb/v1/explain", QUESTION).await.json();
        // What is in the way is told in any case.
        assert_eq!(answer["verdict"], "later", "{answer}");
        assert_eq!(answer["violations"][0]["code"], "concurrent-limit");
        let why = answer["unknown"].as_str().unwrap_or_default();
        if answer["expected"].is_u64() {
            told += 1;
        } else {
            assert!(why.contains("too many ask"), "{answer}");
            busy += 1;
        }
    }
    (told, busy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_log_list_and_answer_tell_the_same_expected_start() {
    let w = busy().await;
    let id = format!("w{}", WAIT - 1);
    let job = w.get(&w.li, &format!("/curb/v1/jobs/{id}")).await.json();
    let expected = job["waiting"]["expected"].as_u64().expect("a start");
    let list = w.get(&w.li, "/curb/v1/jobs?state=queued").await.json();
    let listed = list["jobs"].as_array().expect("a list").iter();
    let listed = listed
        .clone()
        .find(|j| j["id"] == id.as_str())
        .expect("it is listed");
    assert_eq!(listed["waiting"]["expected"], expected, "{listed}");
    let said = |text: &str| {
        let (_, rest) = text.split_once("expected start about ").unwrap_or_default();
        // Without how far it is, which a second changes.
        rest.split(" (in").next().unwrap_or_default().to_owned()
    };
    let message = said(job["message"].as_str().expect("a message"));
    assert!(!message.is_empty(), "{job}");
    let ray = w.get(&w.li, &format!("/api/jobs/{id}")).await.json();
    assert_eq!(
        said(ray["message"].as_str().unwrap_or_default()),
        message,
        "{ray}"
    );
    let log = w.get(&w.li, &format!("/api/jobs/{id}/logs")).await.json();
    assert_eq!(
        said(log["logs"].as_str().unwrap_or_default()),
        message,
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_jobs_that_only_pacing_holds_each_is_told_the_start_of_its_own_turn() {
    let w = World::with("version: 1\n", |o| o.start_rate_milli = 500).await;
    for n in 0..40 {
        assert_eq!(w.submit(&w.li, &format!("p{n}"), "0.01").await.status, 200);
    }
    let list = w.get(&w.li, "/curb/v1/jobs?state=queued").await.json();
    let mut starts: Vec<(u64, u64)> = list["jobs"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|j| &j["waiting"])
        .map(|w| (w["position"].as_u64(), w["expected"].as_u64()))
        .map(|(p, at)| (p.expect("a place"), at.expect("a start")))
        .collect();
    starts.sort_unstable();
    assert!(starts.len() >= 20, "most of them wait: {starts:?}");
    for two in starts.windows(2) {
        assert_eq!(two[1].1 - two[0].1, 2000, "{starts:?}");
    }
}
