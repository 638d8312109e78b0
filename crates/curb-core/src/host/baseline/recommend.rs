//! Limits from a baseline: conservative to begin with, each number explained.
//!
//! | limit | formula | from |
//! | --- | --- | --- |
//! | memory | the most that any scenario but `edge` needed, and 15% more (25% after one run only; what runs differ by, divided by their number less one, if that is more), at least 64 MiB more | the margin of Kubernetes' VPA, on the peak in place of its 90th percentile: a model server that meets its limit once is killed once |
//! | memory_high | halfway from the most that was needed to the limit | above all that was seen, since MLX all but stands still where the kernel takes back from it |
//! | swap | none | weights that are swapped out stall every request |
//! | cpu | the most between two samples and 15% more, in tenths | as memory; at most what the machine has |
//! | processes | one and a half times the most threads, and 16 more | the kernel counts threads; a refused one is an exception in the middle of work |
//! | open_files | twice the most of one process, at least 256 | a limit against leaks, not against use |
//! | mlx_cache | the most that MLX kept | so that it changes nothing that was measured; it bounds what was not |
//! | duration, cpu_time | twice the longest run, at least a minute more | only where runs end by themselves |
//! | gpu_memory | the most and 15% more | as memory |

use std::fmt;

use crate::host::limits::{Limit, LimitSet};
use crate::host::{Bytes, MilliCpu, Permille};
use crate::time::Millis;

use super::model::{Baseline, EDGE, Ended, Evidence, Figure, MemoryAs, Scenario};
use super::stale::Refused;

/// On top of the most that was seen.
pub const MARGIN: Permille = Permille(150);
/// On top of it where it was measured once only, so that nobody knows by how much runs differ.
pub const MARGIN_ONE_RUN: Permille = Permille(250);
/// Runs that differ by more than this say that something else was measured.
pub const MARGIN_MOST: Permille = Permille(500);
/// A margin on memory is at least this.
pub const LEAST_MARGIN: Bytes = Bytes(64 << 20);
/// Of the host's memory, this part is left to all else.
pub const KEEP_FREE: Permille = Permille(100);

const MINUTE: u64 = 60_000;

/// What is known of the machine that the limits are for. `None` is unknown, and then not held against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Its memory.
    pub memory: Option<Bytes>,
    /// Its CPUs.
    pub cpus: Option<u64>,
    /// Whether its kernel can slow a group down before its limit (control groups of version 2).
    pub memory_high: bool,
}

/// Limits of one workload, and what to know about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recommendation {
    /// Of which workload.
    pub workload: String,
    /// The limits, each with its reason and where it came from.
    pub limits: LimitSet,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// Recommends limits. `now` is what is known of the present: what has changed since makes the baseline stale.
///
/// # Errors
/// The baseline is cut short, stale, or has nothing to build on.
pub fn recommend(
    baseline: &Baseline,
    now: &Evidence,
    host: &Host,
) -> Result<Recommendation, Refused> {
    let basis = baseline.basis(now)?;
    let planned: Vec<(&str, &Scenario)> = basis
        .iter()
        .copied()
        .filter(|(name, _)| *name != EDGE)
        .collect();
    let mut made = Recommendation {
        workload: baseline.workload.clone(),
        limits: LimitSet::default(),
        notes: Vec::new(),
    };
    memory(&mut made, &planned, baseline.scenarios.get(EDGE), host);
    cpu(&mut made, &planned, host, baseline.evidence.machine.cpus);
    counts(&mut made, &planned);
    time(&mut made, &planned);
    devices(&mut made, &planned);
    Ok(made)
}

/// The scenario in which a figure was greatest, and what it was.
fn most<'s>(
    planned: &[(&'s str, &Scenario)],
    of: impl Fn(&Scenario) -> Option<u64>,
) -> Option<(&'s str, u64)> {
    let all = planned.iter().filter_map(|(name, s)| Some((*name, of(s)?)));
    all.max_by_key(|(_, value)| *value)
}

fn p100(figure: Figure) -> impl Fn(&Scenario) -> Option<u64> {
    move |s| s.figure(figure).map(|spread| spread.p100)
}

/// A limit with its reason and its source.
fn limit<T>(value: T, why: String, from: impl fmt::Display) -> Limit<T> {
    Limit {
        from: Some(from.to_string()),
        ..Limit::new(value, why)
    }
}

/// By how much runs differ, of the greatest.
fn between_runs(scenario: &Scenario) -> Permille {
    let peaks = &scenario.run_peaks_kib;
    let (least, most) = (peaks.iter().min(), peaks.iter().max());
    let part = |least: u64, most: u64| (most - least).saturating_mul(1000) / most.max(1);
    let part = least.zip(most).map_or(0, |(l, m)| part(*l, *m));
    Permille(u32::try_from(part).unwrap_or(u32::MAX))
}

/// How much more than the most is given, and why so much.
fn margin(scenario: &Scenario) -> (Permille, String) {
    let differ = between_runs(scenario);
    if scenario.runs <= 1 {
        return (
            MARGIN_ONE_RUN,
            format!("{MARGIN_ONE_RUN} more, since it was measured once only"),
        );
    }
    // By how much the next run may be above all so far: two that differ say little of the third, ten say more.
    let may = Permille(differ.0 / (scenario.runs - 1));
    if may > MARGIN {
        let given = may.min(MARGIN_MOST);
        return (
            given,
            format!(
                "{given} more, since its {} runs differ by {differ}",
                scenario.runs
            ),
        );
    }
    (MARGIN, format!("{MARGIN} more"))
}

fn up_to(value: u64, step: u64) -> u64 {
    value.div_ceil(step).saturating_mul(step)
}

fn kib(value: u64) -> Bytes {
    Bytes(value.saturating_mul(1024))
}

/// For people: rounded up to a tenth.
fn show(bytes: Bytes) -> String {
    let (shift, unit) = match bytes.0 >= 10 << 30 {
        true => (30, "GiB"),
        false => (20, "MiB"),
    };
    let tenths = bytes.0.saturating_mul(10).div_ceil(1 << shift);
    match tenths % 10 {
        0 => format!("{} {unit}", tenths / 10),
        tenth => format!("{}.{tenth} {unit}", tenths / 10),
    }
}

fn memory(
    made: &mut Recommendation,
    planned: &[(&str, &Scenario)],
    edge: Option<&Scenario>,
    host: &Host,
) {
    let Some((name, need)) = most(planned, Scenario::need_kib) else {
        return;
    };
    let Some((_, scenario)) = planned.iter().find(|(n, _)| *n == name) else {
        return;
    };
    let (part, why_part) = margin(scenario);
    let need = kib(need);
    let extra = part.of(need.0).max(LEAST_MARGIN.0);
    let value = Bytes(up_to(need.0.saturating_add(extra), Bytes::MIB.0));
    let floor = match extra == LEAST_MARGIN.0 && part.of(need.0) < extra {
        true => format!(" ({part} more would be less)"),
        false => String::new(),
    };
    let more = match floor.is_empty() {
        true => why_part,
        false => format!("{} more, the least margin{floor}", show(LEAST_MARGIN)),
    };
    let runs = match scenario.runs {
        1 => "1 run".to_owned(),
        n => format!("{n} runs"),
    };
    let why = format!(
        "scenario {name} needed at most {} ({runs}); {more}",
        show(need)
    );
    made.limits.memory = Some(limit(value, why, format!("{name} p100")));
    if host.memory_high {
        let half = Bytes(up_to(need.0 + (value.0 - need.0) / 2, Bytes::MIB.0));
        let why = format!(
            "halfway from the most that was needed ({}) to the limit",
            show(need)
        );
        made.limits.memory_high = Some(limit(half, why, format!("{name} p100")));
    }
    made.limits.swap = Some(limit(
        Bytes(0),
        "what is swapped out stalls every request that needs it".to_owned(),
        "no scenario",
    ));
    memory_notes(made, scenario, edge, value, host);
}

fn memory_notes(
    made: &mut Recommendation,
    scenario: &Scenario,
    edge: Option<&Scenario>,
    value: Bytes,
    host: &Host,
) {
    if let Some(edge) = edge.and_then(Scenario::need_kib).map(kib) {
        made.notes.push(match edge > value {
            true => format!(
                "edge needs {}: more than the limit, so that it is what will be stopped",
                show(edge)
            ),
            false => format!(
                "edge needs {} and fits: the limit would not be met by it",
                show(edge)
            ),
        });
    } else {
        made.notes
            .push("there is no scenario edge: what meets the limit was not seen".to_owned());
    }
    if scenario.memory_as != MemoryAs::Charged {
        made.notes.push(format!(
            "memory was measured as {}, and the kernel may charge more: profile where a control group can be made",
            scenario.memory_as.words()
        ));
    }
    if let Some(memory) = host.memory {
        let keep = KEEP_FREE.of(memory.0);
        let room = memory.0.saturating_sub(keep);
        made.notes.push(match value.0 > room {
            true => format!(
                "this host has {} and {} of it is best left to all else: it has no room for {}",
                show(memory),
                show(Bytes(keep)),
                show(value)
            ),
            false => format!(
                "this host's {} have room for {} of it",
                show(memory),
                room / value.0.max(1)
            ),
        });
    }
}

fn cpu(made: &mut Recommendation, planned: &[(&str, &Scenario)], host: &Host, cpus_measured: u64) {
    let Some((name, used)) = most(planned, p100(Figure::Cpu)) else {
        return;
    };
    let wanted = up_to(MARGIN.more_than(used).max(100), 100);
    let whole = host.cpus.map_or(u64::MAX, |cpus| cpus.saturating_mul(1000));
    let value = MilliCpu(wanted.min(whole));
    let cut = match wanted > whole {
        true => ", at most what this host has",
        false => "",
    };
    let why = format!(
        "scenario {name} used at most {} CPUs between two samples; {MARGIN} more, in tenths{cut}",
        MilliCpu(used)
    );
    made.limits.cpu = Some(limit(value, why, format!("{name} p100")));
    let busy = |s: &Scenario| {
        Some((
            s.figure(Figure::MachineCpu)?.p50,
            s.figure(Figure::Cpu)?.p50,
        ))
    };
    let (all, own) = planned
        .iter()
        .filter_map(|(_, s)| busy(s))
        .max_by_key(|(all, own)| all.saturating_sub(*own))
        .unwrap_or_default();
    let measured_on = cpus_measured.saturating_mul(1000);
    // With nine tenths of it in use by others it may have had to wait.
    if measured_on > 0 && all.saturating_mul(10) >= measured_on.saturating_mul(9) && all > own * 2 {
        made.notes.push(format!(
            "{} of {cpus_measured} CPUs were in use while it was measured, most of that by others: alone it may use more than {} CPUs",
            MilliCpu(all),
            MilliCpu(used)
        ));
    }
}

fn counts(made: &mut Recommendation, planned: &[(&str, &Scenario)]) {
    if let Some((name, threads)) = most(planned, p100(Figure::Threads)) {
        let value = threads.saturating_add(threads.div_ceil(2)) + 16;
        let why = format!(
            "scenario {name} had at most {threads} threads, which the kernel counts; half as many more, and 16"
        );
        made.limits.processes = Some(limit(value, why, format!("{name} p100")));
    }
    if let Some((name, files)) = most(planned, p100(Figure::OpenFiles)) {
        let value = files.saturating_mul(2).max(256);
        let why = format!(
            "a process of scenario {name} had at most {files} files open; twice that, at least 256"
        );
        made.limits.open_files = Some(limit(value, why, format!("{name} p100")));
    }
}

/// Only what ends by itself has a duration: a server's is how long it was watched.
fn time(made: &mut Recommendation, planned: &[(&str, &Scenario)]) {
    if planned.iter().any(|(_, s)| s.ended != Ended::Itself) {
        return;
    }
    let twice = |ms: u64| Millis(up_to((ms.saturating_mul(2)).max(ms + MINUTE), MINUTE));
    if let Some((name, ms)) = most(planned, p100(Figure::Duration)) {
        let why = format!(
            "a run of scenario {name} took at most {}; twice that, at least a minute more",
            Millis(ms)
        );
        made.limits.duration = Some(limit(twice(ms), why, format!("{name} p100")));
    }
    if let Some((name, ms)) = most(planned, p100(Figure::CpuTime)) {
        let why = format!(
            "a run of scenario {name} took at most {} of CPU time; twice that, at least a minute more",
            Millis(ms)
        );
        made.limits.cpu_time = Some(limit(twice(ms), why, format!("{name} p100")));
    }
}

fn devices(made: &mut Recommendation, planned: &[(&str, &Scenario)]) {
    if let Some((name, cache)) = most(planned, p100(Figure::MlxCache)).filter(|(_, c)| *c > 0) {
        let value = Bytes(up_to(kib(cache).0, Bytes::MIB.0));
        let why = format!(
            "MLX kept at most {} of freed memory in scenario {name}; MLX holds itself to this",
            show(kib(cache))
        );
        made.limits.mlx_cache = Some(limit(value, why, format!("{name} p100")));
    }
    if let Some((name, used)) = most(planned, p100(Figure::GpuMemory)).filter(|(_, u)| *u > 0) {
        let value = Bytes(up_to(MARGIN.more_than(kib(used).0), Bytes::MIB.0));
        let why = format!(
            "scenario {name} used at most {} of GPU memory; {MARGIN} more",
            show(kib(used))
        );
        made.limits.gpu_memory = Some(limit(value, why, format!("{name} p100")));
    }
}
