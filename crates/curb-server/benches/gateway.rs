//! Requests a second through the door: admissions with a durable commit and a POST to a stand-in, refusals, and reads.
//!
//! Server, stand-in and 64 keep-alive clients share the machine, and here also the process.

#![expect(clippy::print_stdout, reason = "a benchmark's figures are its output")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use curb_core::subject::Role;
use curb_journal::writer::Metrics;
use curb_server::testing::{TestOptions, TestServer};
use curb_standin::{JobTime, Options, Standin};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

/// That of the `curb` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CLIENTS: usize = 64;
const FOR: Duration = Duration::from_secs(8);
/// Tenths of a second in it.
const TENTHS: usize = 80;
const OPEN: &str = "version: 1\nquotas:\n  - {name: each-user, for: {user: \"*\"}, limits: {cpu: 100000000}, per_job: {cpu: 3}}\n  - {name: all, limits: {jobs: 100000000}}\n";

/// The clients have a thread of their own, as a load generator would: what it takes is told apart from the server's.
static CLIENTS_THREAD: OnceLock<Handle> = OnceLock::new();

fn clients_thread() -> Handle {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .expect("a runtime");
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("clients".to_owned())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))
        .expect("a thread");
    handle
}

/// Sends one request and reads its whole answer; gives the status.
async fn exchange(
    stream: &mut TcpStream,
    request: &[u8],
    buffer: &mut Vec<u8>,
) -> std::io::Result<u16> {
    stream.write_all(request).await?;
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let Some(head) = buffer.windows(4).position(|w| w == b"\r\n\r\n") else {
            continue;
        };
        let text = String::from_utf8_lossy(&buffer[..head]);
        let length: usize = text
            .lines()
            .find_map(|l| l.strip_prefix("content-length: "))
            .and_then(|l| l.trim().parse().ok())
            .unwrap_or(0);
        if buffer.len() >= head + 4 + length {
            return Ok(text
                .split(' ')
                .nth(1)
                .and_then(|s| s.parse().ok())
                .unwrap_or(0));
        }
    }
}

async fn load(
    curb: &TestServer,
    what: &str,
    addr: SocketAddr,
    clients: usize,
    request: Vec<u8>,
    wanted: u16,
) -> Option<Seen> {
    if !is_chosen(what) {
        return None;
    }
    let before = Effort::now(curb);
    let (request, other) = (Arc::new(request), Arc::new(AtomicU64::new(0)));
    let tenths: Arc<[AtomicU64; TENTHS]> = Arc::new(std::array::from_fn(|_| AtomicU64::new(0)));
    let clients_thread = CLIENTS_THREAD.get_or_init(clients_thread);
    let begun = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let (request, other) = (Arc::clone(&request), Arc::clone(&other));
            let tenths = Arc::clone(&tenths);
            clients_thread.spawn(async move {
                let mut micros = Vec::new();
                let mut buffer = Vec::new();
                let Ok(mut stream) = TcpStream::connect(addr).await else {
                    return micros;
                };
                let _ = stream.set_nodelay(true);
                while begun.elapsed() < FOR {
                    let at = Instant::now();
                    match exchange(&mut stream, &request, &mut buffer).await {
                        Ok(status) if status == wanted => {
                            micros.push(at.elapsed().as_micros() as u64);
                            let tenth = (begun.elapsed().as_millis() / 100) as usize;
                            tenths[tenth.min(TENTHS - 1)].fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(_) => drop(other.fetch_add(1, Ordering::Relaxed)),
                        Err(_) => break,
                    }
                }
                micros
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap_or_default());
    }
    let seconds = begun.elapsed().as_secs_f64();
    all.sort_unstable();
    let at = |part: f64| {
        all.get(((all.len() as f64 * part) as usize).min(all.len().saturating_sub(1)))
            .copied()
            .unwrap_or(0)
    };
    println!(
        "{what}: {:.0}/s with {clients} clients, p50 {} us, p99 {} us, {} answered otherwise",
        all.len() as f64 / seconds,
        at(0.5),
        at(0.99),
        other.load(Ordering::Relaxed)
    );
    let mut tenths: Vec<u64> = tenths.iter().map(|n| n.load(Ordering::Relaxed)).collect();
    if std::env::var_os("CURB_BENCH_TENTHS").is_some() {
        println!("    in each tenth of a second: {tenths:?}");
    }
    tenths.sort_unstable();
    println!(
        "    in a tenth of a second: {} at the slowest, {} at the median",
        tenths[0],
        tenths[TENTHS / 2]
    );
    println!("    {}", Effort::now(curb).since(&before, all.len()));
    Some(Seen {
        rate: all.len() as f64 / seconds,
        p50: at(0.5) as f64,
        p99: at(0.99) as f64,
    })
}

/// What a measurement came to: a second, and microseconds.
struct Seen {
    rate: f64,
    p50: f64,
    p99: f64,
}

/// Says beside a figure whether it is what it should be.
fn aim(what: &str, met: bool) {
    let verdict = if met { "met" } else { "NOT MET" };
    println!("    aim {what}: {verdict}");
}

/// What Curb adds at the median to an answer that comes from behind it.
fn added(what: &str, direct: Option<Seen>, through: Option<&Seen>, millis: f64) {
    let Some((direct, through)) = direct.zip(through) else {
        return;
    };
    let added = (through.p50 - direct.p50) / 1000.0;
    println!("added to {what}: {added:.3} ms at the median");
    aim(&format!("{millis} ms"), added < millis);
}

/// What this process has used, and what the machine was busy with beside it: a rate says little without.
struct Effort {
    /// Hundredths of a second of all cores.
    own: u64,
    busy: u64,
    all: u64,
    journal: Metrics,
}

impl Effort {
    fn now(curb: &TestServer) -> Effort {
        let numbers = |path: &str, skip: usize| -> Vec<u64> {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().next().unwrap_or_default();
            // Past the name of the program, which may have spaces.
            let words = line.rsplit(')').next().unwrap_or_default();
            let words = words.split_whitespace().skip(skip);
            words.filter_map(|w| w.parse().ok()).collect()
        };
        // proc(5): after the name come the state and ten other words, then utime and stime.
        let own = numbers("/proc/self/stat", 11).iter().take(2).sum();
        // user nice system idle iowait irq softirq steal
        let stat = numbers("/proc/stat", 1);
        let all = stat.iter().take(8).sum();
        let idle: u64 = stat.iter().skip(3).take(2).sum();
        Effort {
            own,
            busy: all - idle,
            all,
            journal: curb.journal(),
        }
    }

    fn since(&self, before: &Effort, requests: usize) -> String {
        let (own, busy) = (self.own - before.own, self.busy - before.busy);
        let all = (self.all - before.all).max(1);
        let percent = |part: u64| part * 100 / all;
        let mut text = format!(
            "CPU {} us each (server, stand-in and clients), {} % of the machine's; {} % went to others",
            own * 10_000 / requests.max(1) as u64,
            percent(own),
            percent(busy.saturating_sub(own))
        );
        let (j, b) = (&self.journal, &before.journal);
        let commits = j.commits - b.commits;
        let rows = (j.rows - b.rows).checked_div(commits);
        let micros = (j.commit_micros - b.commit_micros).checked_div(commits);
        if let Some((rows, micros)) = rows.zip(micros) {
            text += &format!(
                "\n    {commits} commits of {rows} rows, {micros} us each; {} checkpoints, the last took {} us",
                j.checkpoints - b.checkpoints,
                j.last_checkpoint_micros
            );
        }
        text
    }
}

/// A word on the command line chooses the measurements that bear it.
fn is_chosen(what: &str) -> bool {
    let mut words = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    words.next().is_none_or(|word| what.contains(&word))
}

/// Sends one request that has to succeed.
async fn one(addr: SocketAddr, request: &[u8]) {
    let mut stream = TcpStream::connect(addr).await.expect("a connection");
    let status = exchange(&mut stream, request, &mut Vec::new()).await;
    assert_eq!(status.expect("an answer"), 200);
}

fn request(addr: SocketAddr, method: &str, path: &str, token: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nAccept: */*\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[tokio::main]
async fn main() {
    let ray = Standin::spawn(Options {
        job_time: JobTime::FromEntrypoint,
        ..Options::default()
    })
    .expect("a stand-in");
    let mut options = TestOptions::new(ray.url()).policy(OPEN);
    options.poll = Duration::from_secs(1);
    let curb = TestServer::start(options).await.expect("a server");
    curb.ready(Duration::from_secs(10))
        .await
        .expect("the cluster is seen");
    let token = curb.token("ana", Role::User).await.expect("a token");
    let addr = curb.address();
    let refused = request(
        addr,
        "POST",
        "/api/jobs/",
        &token,
        r#"{"entrypoint":"true","metadata":{"curb.cpu":"4"}}"#,
    );
    if let Some(seen) = load(&curb, "refusals", addr, CLIENTS, refused, 422).await {
        aim("20,000/s", seen.rate >= 20_000.0);
    }
    load(
        &curb,
        "status reads",
        addr,
        CLIENTS,
        request(addr, "GET", "/curb/v1/mode", &token, ""),
        200,
    )
    .await;
    let running = request(
        addr,
        "POST",
        "/api/jobs/",
        &token,
        r#"{"entrypoint":"sleep 600","submission_id":"running"}"#,
    );
    one(addr, &running).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let path = "/api/jobs/running";
    let direct = request(ray.addr(), "GET", path, "", "");
    let straight = load(
        &curb,
        "GET of a running job, straight to the stand-in",
        ray.addr(),
        1,
        direct,
        200,
    )
    .await;
    let through = request(addr, "GET", path, &token, "");
    let through = load(
        &curb,
        "GET of a running job, passed through",
        addr,
        1,
        through,
        200,
    )
    .await;
    added(
        "a GET that is passed through",
        straight,
        through.as_ref(),
        0.5,
    );
    load(
        &curb,
        "GET /api/version",
        addr,
        1,
        request(addr, "GET", "/api/version", &token, ""),
        200,
    )
    .await;
    let submit = request(
        addr,
        "POST",
        "/api/jobs/",
        &token,
        r#"{"entrypoint":"true"}"#,
    );
    let direct = request(
        ray.addr(),
        "POST",
        "/api/jobs/",
        "",
        r#"{"entrypoint":"true"}"#,
    );
    let straight = load(
        &curb,
        "POST straight to the stand-in, one client",
        ray.addr(),
        1,
        direct,
        200,
    )
    .await;
    let through = load(
        &curb,
        "admissions, one client",
        addr,
        1,
        submit.clone(),
        200,
    )
    .await;
    added("a POST", straight, through.as_ref(), 3.0);
    if let Some(seen) = load(&curb, "admissions", addr, CLIENTS, submit, 200).await {
        aim("10,000/s", seen.rate >= 10_000.0);
        aim("p99 50 ms", seen.p99 < 50_000.0);
    }
    println!("starts counted by the stand-in: {}", ray.total_starts());
    curb.stop().await;
    beside_explanations().await;
}

/// Jobs that wait while admissions are measured beside explanations.
const WAIT: usize = 150;
/// Clients of one user who ask when a job would start, one question after the other.
const ASK: usize = 32;

/// One client's admissions, alone and while another user asks all the time when a job would start: each of these
/// questions runs the queue ahead. Few jobs are open, since with many nothing is run ahead.
async fn beside_explanations() {
    if !is_chosen("beside explanations") {
        return;
    }
    let ray = Standin::spawn(Options {
        job_time: JobTime::FromEntrypoint,
        ..Options::default()
    })
    .expect("a stand-in");
    let policy = "version: 1\nquotas:\n  - {name: li, for: {user: li}, limits: {cpu: 10}}\n";
    let mut options = TestOptions::new(ray.url()).policy(policy);
    options.poll = Duration::from_millis(50);
    let curb = TestServer::start(options).await.expect("a server");
    curb.ready(Duration::from_secs(10))
        .await
        .expect("the cluster is seen");
    let addr = curb.address();
    let ana = curb.token("ana", Role::User).await.expect("a token");
    let li = curb.token("li", Role::User).await.expect("a token");
    for n in 0..WAIT {
        let body = format!(
            r#"{{"entrypoint":"sleep 600","metadata":{{"curb.cpu":"1","curb.duration":"{}m"}}}}"#,
            10 + n % 3
        );
        one(addr, &request(addr, "POST", "/api/jobs/", &li, &body)).await;
    }
    let submit = request(addr, "POST", "/api/jobs/", &ana, r#"{"entrypoint":"true"}"#);
    let ask = r#"{"entrypoint":"true","metadata":{"curb.cpu":"1","curb.duration":"1h"}}"#;
    let ask = request(addr, "POST", "/curb/v1/explain", &li, ask);
    let alone = "admissions, one client, before it is beside explanations";
    let alone = load(&curb, alone, addr, 1, submit.clone(), 200).await;
    let asked = load(
        &curb,
        "explanations beside explanations",
        addr,
        1,
        ask.clone(),
        200,
    )
    .await;
    let (beside, asking) = tokio::join!(
        load(
            &curb,
            "admissions, one client, beside explanations",
            addr,
            1,
            submit,
            200
        ),
        load(
            &curb,
            "explanations at once, beside explanations",
            addr,
            ASK,
            ask,
            200
        ),
    );
    if let Some(((alone, beside), (asked, asking))) = alone.zip(beside).zip(asked.zip(asking)) {
        println!(
            "an admission takes {:.2} ms alone and {:.2} ms beside explanations at the median; p99 {:.1} and {:.1} ms",
            alone.p50 / 1e3,
            beside.p50 / 1e3,
            alone.p99 / 1e3,
            beside.p99 / 1e3,
        );
        aim("explain in 100 ms", asked.p99 < 1e5 && asking.p99 < 1e5);
    }
    curb.stop().await;
}
