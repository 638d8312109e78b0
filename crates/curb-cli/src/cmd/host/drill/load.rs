//! The stand-in of a drill: it takes memory, CPU, threads or files, and says what it got.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use curb_core::host::Bytes;
use curb_core::host::audit::Effective;
use curb_core::host::drill::Report;
use curb_host::effective::survey;
use curb_host::layout::{Controller, Layout};
use curb_host::proc::Procfs;

use crate::args::{DrillLoad, DrillLoadArgs};
use crate::ctx::Ctx;
use crate::exit::Exit;
use crate::fail::{Done, Failure};

/// How much memory is taken at a time.
const STEP: u64 = 1 << 20;
/// The least that is taken at a time near the goal.
const LEAST: u64 = 64 << 10;
/// Between two steps: so that a limit is come near and not jumped over.
const PAUSE: Duration = Duration::from_millis(5);
/// Over which the most CPU is looked for: several periods of a quota.
const WINDOW: Duration = Duration::from_millis(500);
/// A thread needs little: it only waits.
const STACK: usize = 64 << 10;

/// `curb drill-load`
pub fn load(args: &DrillLoadArgs, ctx: &mut Ctx) -> Done {
    // What a checkpoint sends must not end it.
    let caught = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGUSR1, signal_hook::consts::SIGUSR2] {
        signal_hook::flag::register(signal, Arc::clone(&caught))
            .map_err(|e| Failure::local(format!("cannot catch a signal: {e}")))?;
    }
    let until = Instant::now() + Duration::from_millis(args.lasts);
    match &args.load {
        DrillLoad::MemoryTo { bytes } => fill(until, |used| used < *bytes),
        DrillLoad::MemoryBeyond { most } => beyond(until, *most),
        DrillLoad::Spin { threads } => say(spin(until, *threads)?, ctx)?,
        DrillLoad::Threads { most } => {
            let (report, threads) = spawn(until, *most);
            say(report, ctx)?;
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
            drop(threads);
        }
        DrillLoad::Files { most } => say(open(*most), ctx)?,
        DrillLoad::Wait => std::thread::sleep(until.saturating_duration_since(Instant::now())),
        DrillLoad::Read => say(read_back(), ctx)?,
        DrillLoad::Told { file } => {
            std::fs::write(file, "told\n")
                .map_err(|e| Failure::local(format!("cannot write {}: {e}", file.display())))?;
        }
    }
    Ok(Exit::Ok)
}

fn say(report: Report, ctx: &mut Ctx) -> Result<(), Failure> {
    let line = serde_json::to_string(&report).map_err(|e| Failure::local(e.to_string()))?;
    ctx.raw(format!("{line}\n").as_bytes())
}

/// Takes memory while it is wanted at what is used, and holds it until then.
fn fill(until: Instant, more: impl Fn(u64) -> bool) {
    let mut held = Vec::new();
    while Instant::now() < until {
        let used = used();
        if used.is_some_and(&more) {
            let size = if more(used.unwrap_or(0) + 4 * STEP) {
                STEP
            } else {
                LEAST
            };
            held.push(touched(size));
        }
        std::thread::sleep(PAUSE);
    }
    drop(held);
}

/// Takes memory without looking, up to a cap.
fn beyond(until: Instant, most: u64) {
    let mut held = Vec::new();
    while Instant::now() < until {
        if (held.len() as u64) < most / STEP {
            held.push(touched(STEP));
        }
        std::thread::sleep(PAUSE);
    }
    drop(held);
}

/// Memory that is really there: each page is written to.
fn touched(size: u64) -> Vec<u8> {
    vec![0x5a; usize::try_from(size).unwrap_or(usize::MAX)]
}

/// What our group holds, as its limit counts it; else what we hold ourselves.
fn used() -> Option<u64> {
    let own = std::process::id();
    let survey = survey(Path::new("/"), &[own]).ok()?;
    let subject = survey.subjects.first()?;
    let in_group = subject
        .group
        .as_deref()
        .is_some_and(|g| g.contains("curb-"));
    let resident = subject.members.first().and_then(|m| m.resident);
    subject.used.filter(|_| in_group).or(resident).map(|b| b.0)
}

/// What the kernel holds us to, as the drill's judge compares it.
fn read_back() -> Report {
    let mut report = Report::default();
    let own = survey(Path::new("/"), &[std::process::id()]);
    let Some(subject) = own.ok().and_then(|s| s.subjects.into_iter().next()) else {
        return report;
    };
    let v1 =
        Layout::read(Path::new("/")).is_ok_and(|layout| layout.v1.contains_key(&Controller::Cpu));
    let weight = subject.cpu_weight.map(|n| match v1 {
        // Shares: 1024 of them are a weight of 100.
        true => (n * 100).div_ceil(1024),
        false => n,
    });
    let number = |limit: &Effective<Bytes>| limit.as_held().map(|h| h.value.0.to_string());
    let all = [
        ("memory_high", number(&subject.memory_high)),
        ("swap", number(&subject.swap)),
        ("cpu_weight", weight.map(|n| n.to_string())),
        ("cpu_set", subject.cpu_set),
    ];
    let read = all
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    report.read = read.collect();
    report
}

/// Computes on all threads until then, or until it is asked to end.
fn spin(until: Instant, threads: u64) -> Result<Report, Failure> {
    let asked = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&asked))
        .map_err(|e| Failure::local(format!("cannot catch a signal: {e}")))?;
    let (begun, before) = (Instant::now(), cpu_ms());
    let go = Arc::new(AtomicBool::new(true));
    let spinners: Vec<_> = (0..threads.min(1024))
        .map(|_| {
            let go = Arc::clone(&go);
            std::thread::spawn(move || {
                let mut n = 0_u64;
                while go.load(Ordering::Relaxed) {
                    n = std::hint::black_box(n.wrapping_mul(31).wrapping_add(7));
                }
            })
        })
        .collect();
    let (mut most_cpu, mut window) = (0, (begun, before));
    while Instant::now() < until && !asked.load(Ordering::Relaxed) {
        std::thread::sleep(PAUSE);
        let span = window.0.elapsed();
        if span >= WINDOW {
            let now = cpu_ms();
            let used = now.saturating_sub(window.1).saturating_mul(1000);
            most_cpu = u64::max(most_cpu, used / millis(span).max(1));
            window = (Instant::now(), now);
        }
    }
    let report = Report {
        most_cpu,
        cpu_ms: cpu_ms().saturating_sub(before),
        wall_ms: millis(begun.elapsed()),
        ..Report::default()
    };
    go.store(false, Ordering::Relaxed);
    for spinner in spinners {
        // A thread that only counts does not panic.
        let _ = spinner.join();
    }
    Ok(report)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Our own CPU time: ticks are hundredths of a second.
fn cpu_ms() -> u64 {
    let own = Procfs::open().and_then(|all| all.process(std::process::id()));
    let stat = own.and_then(|p| p.stat());
    stat.map_or(0, |s| (s.user_ticks + s.system_ticks) * 10)
}

/// Starts threads that wait until then.
fn spawn(until: Instant, most: u64) -> (Report, Vec<std::thread::JoinHandle<()>>) {
    let mut threads = Vec::new();
    let mut refused = false;
    while (threads.len() as u64) < most && !refused {
        let waits = move || std::thread::sleep(until.saturating_duration_since(Instant::now()));
        match std::thread::Builder::new().stack_size(STACK).spawn(waits) {
            Ok(thread) => threads.push(thread),
            Err(_) => refused = true,
        }
    }
    let report = Report {
        // And the first one, which is this.
        got: threads.len() as u64 + 1,
        refused,
        ..Report::default()
    };
    (report, threads)
}

/// Opens files until that is refused.
fn open(most: u64) -> Report {
    let mut files = Vec::new();
    let mut refused = false;
    while (files.len() as u64) < most && !refused {
        match std::fs::File::open("/dev/null") {
            Ok(file) => files.push(file),
            Err(_) => refused = true,
        }
    }
    Report {
        // And the standard streams.
        got: files.len() as u64 + 3,
        refused,
        ..Report::default()
    }
}
