//! What was measured, for people.

use std::fmt::Write as _;

use crate::host::{Bytes, MilliCpu};
use crate::time::Millis;

use super::model::{Baseline, Ended, Figure, Parts, Scenario};
use super::recommend::Recommendation;

/// A scenario in a few lines. Writing to a String cannot fail.
#[must_use]
pub fn summary(baseline: &Baseline, scenario: &str) -> String {
    let Some(one) = baseline.scenarios.get(scenario) else {
        return String::new();
    };
    let mut out = format!("{}, scenario {scenario}: {}\n", baseline.workload, run(one));
    let mut line = |name: &str, text: Option<String>| {
        if let Some(text) = text {
            let _ = writeln!(out, "  {name:<10} {text}");
        }
    };
    line("memory", memory(one));
    line("made of", one.parts.as_ref().map(parts));
    line("mlx", mlx(one));
    line("cpu", cpu(one));
    line("threads", threads(one));
    line("has", counts(one));
    line("disk", disk(one));
    line("gpu", Some(gpu(baseline, one)));
    line("machine", machine(one));
    for note in &one.notes {
        line("note", Some(note.clone()));
    }
    for why in &one.stale {
        line("stale", Some(why.clone()));
    }
    line("CUT SHORT", one.cut_short.clone());
    out
}

fn run(one: &Scenario) -> String {
    let took = one.figure(Figure::Duration).map_or(0, |d| d.p50);
    let runs = match one.runs {
        1 => "1 run".to_owned(),
        n => format!("{n} runs"),
    };
    let ended = match one.ended {
        Ended::Itself => "to its own end",
        Ended::Asked => "while it was watched",
    };
    format!(
        "{runs}, {} each {ended}, {} samples every {}",
        seconds(took),
        one.samples,
        Millis(one.every.0)
    )
}

fn seconds(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => Millis(ms).to_string(),
    }
}

/// In KiB, with a tenth.
fn size(kib: u64) -> String {
    let (unit, name) = match kib {
        0..1024 => return format!("{kib} KiB"),
        1024..1_048_576 => (1024, "MiB"),
        _ => (1_048_576, "GiB"),
    };
    format!("{}.{} {name}", kib / unit, kib % unit * 10 / unit)
}

fn memory(one: &Scenario) -> Option<String> {
    let need = one.figure(Figure::Needed).or(one.figure(Figure::Memory))?;
    let mut text = format!(
        "needed at most {} (half of the time {}, p99 {})",
        size(need.p100),
        size(need.p50),
        size(need.p99)
    );
    if let (Some(all), Some(cache)) = (one.figure(Figure::Memory), one.figure(Figure::PageCache)) {
        let _ = write!(
            text,
            "; charged at most {}, of that at most {} page cache",
            size(all.p100),
            size(cache.p100)
        );
    }
    let _ = write!(text, "; {}", one.memory_as.words());
    Some(text)
}

fn parts(parts: &Parts) -> String {
    let named = [
        ("interpreter", Some(parts.interpreter_kib)),
        ("framework", parts.framework_kib),
        ("model", parts.model_kib),
        ("work", parts.work_kib),
    ];
    let told: Vec<String> = named
        .iter()
        .map(|(name, kib)| match kib {
            Some(kib) => format!("{name} {}", size(*kib)),
            None => format!("{name} not told"),
        })
        .collect();
    told.join(", ")
}

fn mlx(one: &Scenario) -> Option<String> {
    let most = |figure| one.figure(figure).map(|f| size(f.p100));
    Some(format!(
        "arrays at most {}, kept of what was freed {}, peak of arrays {}",
        most(Figure::MlxActive)?,
        most(Figure::MlxCache)?,
        most(Figure::MlxPeak)?
    ))
}

fn cpu(one: &Scenario) -> Option<String> {
    let cpu = one.figure(Figure::Cpu)?;
    let time = one.figure(Figure::CpuTime);
    let time = time.map_or_else(String::new, |t| format!("; CPU time {}", seconds(t.p100)));
    Some(format!(
        "{} CPUs half of the time, p99 {}, at most {}{time}",
        MilliCpu(cpu.p50),
        MilliCpu(cpu.p99),
        MilliCpu(cpu.p100)
    ))
}

/// The busiest threads, with their part of all CPU time that was seen of threads.
fn threads(one: &Scenario) -> Option<String> {
    let sum: u64 = one.threads_by_cpu.iter().map(|t| t.cpu_ms).sum();
    let named = one.threads_by_cpu.iter().take(4);
    let named: Vec<String> = named
        .map(|t| format!("{} {}", t.name, seconds(t.cpu_ms)))
        .collect();
    (sum > 0).then(|| format!("most CPU time: {}", named.join(", ")))
}

fn counts(one: &Scenario) -> Option<String> {
    let files = one.figure(Figure::OpenFiles);
    let files = files.map_or_else(|| "not known".to_owned(), |f| f.p100.to_string());
    Some(format!(
        "at most: processes {}, threads {}, open files of one process {files}",
        one.figure(Figure::Processes)?.p100,
        one.figure(Figure::Threads)?.p100
    ))
}

fn disk(one: &Scenario) -> Option<String> {
    let most = |figure| one.figure(figure).map(|f| size(f.p100));
    let (read, written) = (most(Figure::Read)?, most(Figure::Write)?);
    Some(format!("read at most {read}/s, written {written}/s"))
}

fn gpu(baseline: &Baseline, one: &Scenario) -> String {
    match (
        &baseline.evidence.machine.gpus,
        one.figure(Figure::GpuMemory),
    ) {
        (None, _) => "unknown".to_owned(),
        (Some(gpus), _) if gpus.is_empty() => "none seen".to_owned(),
        (Some(gpus), memory) => {
            let memory = memory.map_or_else(|| "not known".to_owned(), |m| size(m.p100));
            let busy = one.figure(Figure::GpuUse);
            let busy = busy.map_or_else(
                || "not known".to_owned(),
                |b| format!("{}%", b.p100.div_ceil(10)),
            );
            format!("{} seen; memory at most {memory}, busy {busy}", gpus.len())
        }
    }
}

fn machine(one: &Scenario) -> Option<String> {
    let (cpu, memory) = (
        one.figure(Figure::MachineCpu)?,
        one.figure(Figure::MachineMemory)?,
    );
    Some(format!(
        "all on it together: {} CPUs half of the time, memory at most {}",
        MilliCpu(cpu.p50),
        size(memory.p100)
    ))
}

/// A recommendation for people: each limit with its reason.
#[must_use]
pub fn explained(made: &Recommendation) -> String {
    let mut out = format!("{}\n", made.workload);
    for row in made.limits.rows() {
        let _ = writeln!(
            out,
            "  {:<12} {:<9} {}",
            row.key.to_string(),
            row.value.written(),
            row.why
        );
    }
    for note in &made.notes {
        let _ = writeln!(out, "  note: {note}");
    }
    out
}

/// What several workloads need together, against a host.
#[must_use]
pub fn together(all: &[Recommendation], memory: Option<Bytes>) -> Option<String> {
    let limits = all.iter().filter_map(|r| r.limits.memory.as_ref());
    let sum = limits.fold(0_u64, |sum, l| sum.saturating_add(l.value.0));
    let memory = memory.filter(|_| all.len() > 1)?;
    let room = if sum > memory.0 {
        "more than this host has: they cannot all be at their limits at once"
    } else {
        "this host has room for all of them at their limits"
    };
    Some(format!(
        "together at most {} of {}: {room}",
        size(sum / 1024),
        size(memory.0 / 1024)
    ))
}
