//! Limits with their reasons.

use super::values;
use super::{MAX_TEXT, MAX_WEIGHT, MAX_WHY};
use crate::host::limits::fields;
use crate::host::limits::key::Key;
use crate::host::limits::model::{Accepted, Limit, LimitSet};
use crate::time::Millis;
use crate::yaml::read::sentence;
use crate::yaml::{Place, Reader, Value, quoted};

/// More tasks than any Linux has (`PID_MAX_LIMIT`).
const MAX_PROCESSES: i64 = 1 << 22;
/// More open files than any process is given (`sysctl_nr_open_max` of 64-bit machines, rounded down).
const MAX_FILES: i64 = 1 << 30;

/// The limits of a workload or of its fallback.
pub fn read(r: &mut Reader<'_>, at: &Place<'_>) -> LimitSet {
    let wanted = "limits such as `memory: {value: 4GiB, why: \"…\"}`";
    if !r.is_map_of(at, fields::LIMITS, wanted) {
        return LimitSet::default();
    }
    let second =
        |r: &mut Reader<'_>, at: &Place<'_>| values::span(r, at, Millis::SECOND, Millis::MAX);
    LimitSet {
        memory: limit(r, at, Key::Memory, values::some_bytes),
        memory_high: limit(r, at, Key::MemoryHigh, values::some_bytes),
        swap: limit(r, at, Key::Swap, values::bytes),
        cpu: limit(r, at, Key::Cpu, values::cpu),
        cpu_weight: limit(r, at, Key::CpuWeight, |r, at| {
            let most = i64::from(MAX_WEIGHT);
            let n = r.whole(at, "a share of the CPU", 1, most)?;
            u32::try_from(n).ok()
        }),
        cpu_set: limit(r, at, Key::CpuSet, values::cpu_set),
        processes: limit(r, at, Key::Processes, |r, at| {
            let n = r.whole(at, "a number of processes and threads", 1, MAX_PROCESSES)?;
            u64::try_from(n).ok()
        }),
        open_files: limit(r, at, Key::OpenFiles, |r, at| {
            // The standard streams are three.
            let n = r.whole(at, "a number of open files", 3, MAX_FILES)?;
            u64::try_from(n).ok()
        }),
        io_read: limit(r, at, Key::IoRead, values::rate),
        io_write: limit(r, at, Key::IoWrite, values::rate),
        duration: limit(r, at, Key::Duration, second),
        cpu_time: limit(r, at, Key::CpuTime, second),
        gpu_visible: limit(r, at, Key::GpuVisible, values::gpus),
        gpu_threads: limit(r, at, Key::GpuThreads, values::percent),
        gpu_memory: limit(r, at, Key::GpuMemory, |r, at| {
            let bytes = values::some_bytes(r, at)?;
            if !bytes.0.is_multiple_of(1 << 20) {
                r.error(
                    at,
                    "MPS takes whole MiB",
                    "write such as `4GiB` or `512MiB`",
                );
                return None;
            }
            Some(bytes)
        }),
        mlx_cache: limit(r, at, Key::MlxCache, values::bytes),
        mlx_memory: limit(r, at, Key::MlxMemory, values::some_bytes),
        mlx_wired: limit(r, at, Key::MlxWired, values::some_bytes),
    }
}

/// One limit with its reason.
fn limit<T>(
    r: &mut Reader<'_>,
    limits: &Place<'_>,
    key: Key,
    read: impl FnOnce(&mut Reader<'_>, &Place<'_>) -> Option<T>,
) -> Option<Limit<T>> {
    let at = limits.field(key.name())?;
    if let Value::Scalar { text, .. } = &at.node.value {
        let message = format!("{} has no reason", quoted(key.name()));
        let help = format!("write `{{value: {}, why: \"…\"}}`", quotable(text));
        r.error(&at, &message, &help);
        return None;
    }
    if !r.is_map_of(
        &at,
        fields::LIMIT,
        "a limit such as `{value: 4GiB, why: \"…\"}`",
    ) {
        return None;
    }
    let value = match at.field("value") {
        Some(field) => read(r, &field),
        None => {
            r.missing(&at, "value", "write `{value: …, why: \"…\"}`");
            None
        }
    };
    let why = match at.field("why") {
        Some(field) => sentence(r, &field, "a reason", MAX_WHY),
        None => {
            let help = "say why it is this number: `why: \"peak p99 1.2 GiB + 25%\"`";
            r.missing(&at, "why", help);
            None
        }
    };
    let from = at
        .field("from")
        .and_then(|f| sentence(r, &f, "what it came from", MAX_TEXT));
    let accepted = at.field("accepted").and_then(|a| accepted(r, &a));
    Some(Limit {
        value: value?,
        why: why?,
        from,
        accepted,
    })
}

/// What was written, short and on one line, to be written again.
fn quotable(text: &str) -> String {
    let plain = text.chars().count() <= 40 && !text.chars().any(char::is_control);
    if plain {
        text.to_owned()
    } else {
        "…".to_owned()
    }
}

fn accepted(r: &mut Reader<'_>, at: &Place<'_>) -> Option<Accepted> {
    let wanted = "`{by: ana, on: 2026-11-20}`";
    if !r.is_map_of(at, fields::ACCEPTED, wanted) {
        return None;
    }
    for field in ["by", "on"] {
        if at.field(field).is_none() {
            r.missing(at, field, &format!("write {wanted}"));
        }
    }
    let by = at
        .field("by")
        .and_then(|f| values::text(r, &f, "who accepted it"));
    let on = at.field("on").and_then(|f| values::day(r, &f));
    Some(Accepted { by: by?, on: on? })
}
