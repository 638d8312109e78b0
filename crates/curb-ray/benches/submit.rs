//! How many submissions a second the client and the stand-in manage together on one machine, which
//! bounds what any benchmark of Curb between the two can show. `cargo bench -p curb-ray`.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use curb_ray::{RayClient, RayConfig, SubmitRequest};
use curb_standin::{JobTime, Options, Standin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 64;
const JOBS: usize = 60_000;
const RUNS: usize = 5;

fn percentile(sorted: &[Duration], share: usize) -> Duration {
    sorted[(sorted.len() - 1) * share / 100]
}

async fn run(clients: usize, jobs: usize) -> (f64, Vec<Duration>) {
    let options = Options {
        job_time: JobTime::Fixed(Duration::ZERO),
        ..Options::default()
    };
    let ray = Standin::spawn(options).expect("a free port on loopback");
    let mut config = RayConfig::new(ray.url().parse().expect("the stand-in's own address"));
    config.max_connections = clients;
    let client = RayClient::new(config).expect("the defaults are valid");
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|_| tokio::spawn(submit_all(client.clone(), next.clone(), jobs)))
        .collect();
    let mut times = Vec::with_capacity(jobs);
    for task in tasks {
        times.extend(task.await.expect("no submission fails"));
    }
    let rate = jobs as f64 / started.elapsed().as_secs_f64();
    assert_eq!(ray.total_starts(), jobs);
    times.sort_unstable();
    (rate, times)
}

async fn submit_all(client: RayClient, next: Arc<AtomicUsize>, jobs: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    loop {
        let i = next.fetch_add(1, Ordering::Relaxed);
        if i >= jobs {
            return times;
        }
        let mut request =
            SubmitRequest::new(format!("curb-{i:016x}"), "python train.py --epochs 3");
        request.metadata.insert("curb.user".into(), "ana".into());
        request
            .metadata
            .insert("curb.grant".into(), format!("{i:032x}"));
        let begun = Instant::now();
        client.submit(&request).await.expect("the stand-in accepts");
        times.push(begun.elapsed());
    }
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for (clients, jobs) in [(1, JOBS / 6), (CLIENTS, JOBS)] {
        let mut runs: Vec<_> = (0..RUNS)
            .map(|_| runtime.block_on(run(clients, jobs)))
            .collect();
        runs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (rate, times) = &runs[RUNS / 2];
        println!(
            "submit, {clients:>2} at once: {rate:>6.0}/s (median of {RUNS}, {:.0} to {:.0}), p50 {:?}, p99 {:?}",
            runs[0].0,
            runs[RUNS - 1].0,
            percentile(times, 50),
            percentile(times, 99)
        );
    }
}
