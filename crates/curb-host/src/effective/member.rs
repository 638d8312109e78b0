//! What is limited for a process alone: resource limits, its score.

use curb_core::host::Bytes;
use curb_core::host::audit::{Effective, Member};

use crate::proc::Process;

/// One process and the CPUs it may run on; `None` if it has ended.
pub(super) fn read(process: &Process) -> Option<(Member, Option<String>)> {
    let stat = process.stat().ok()?;
    let status = process.status().unwrap_or_default();
    let limits = process.text("limits").map_err(|e| e.to_string());
    let soft = |name: &str, of: &str| limit(limits.as_deref(), name, of, process.id().pid);
    let cpus = process
        .text("status")
        .ok()
        .and_then(|t| line(&t, "Cpus_allowed_list:"));
    let score = process.text("oom_score_adj").ok();
    let bytes = |b: Option<crate::limits::Bytes>| b.map(|b| Bytes(b.0));
    let member = Member {
        pid: process.id().pid,
        name: stat.name,
        user: status.user,
        resident: bytes(status.resident),
        resident_peak: bytes(status.resident_peak),
        open_files: process
            .open_files()
            .ok()
            .and_then(|n| u64::try_from(n).ok()),
        most_open_files: soft("Max open files", "ulimit -n"),
        oom_score: score.and_then(|t| t.trim().parse().ok()),
        address_space: in_bytes(soft("Max address space", "ulimit -v")),
        data: in_bytes(soft("Max data size", "ulimit -d")),
    };
    Some((member, cpus))
}

fn line(text: &str, key: &str) -> Option<String> {
    let rest = text.lines().find_map(|l| l.strip_prefix(key))?;
    Some(rest.trim().to_owned())
}

fn in_bytes(limit: Effective<u64>) -> Effective<Bytes> {
    match limit {
        Effective::Held(held) => Effective::held(Bytes(held.value), held.by),
        Effective::Unlimited => Effective::Unlimited,
        Effective::Elsewhere { who } => Effective::Elsewhere { who },
        Effective::Unknown { why } => Effective::Unknown { why },
    }
}

/// The soft limit: it is the one that a program meets. `Max open files    1024    4096    files`
fn limit(text: Result<&str, &String>, name: &str, of: &str, pid: u32) -> Effective<u64> {
    let text = match text {
        Ok(text) => text,
        Err(why) => return Effective::unknown(format!("/proc/{pid}/limits: {why}")),
    };
    let value = line(text, name);
    let soft = value.as_deref().and_then(|v| v.split_whitespace().next());
    match (soft, soft.and_then(|s| s.parse().ok())) {
        (Some("unlimited"), _) => Effective::Unlimited,
        (_, Some(most)) => Effective::held(most, format!("{of} of pid {pid}")),
        _ => Effective::unknown(format!("/proc/{pid}/limits says nothing of `{name}`")),
    }
}
