//! What mends a finding: a command line, or lines for the file, for whatever runs the subject.

use super::{Kind, Rule, Subject};
use crate::host::Bytes;

/// Limits are proposed in steps of this.
const STEP: u64 = 64 << 20;

/// How, and the text.
pub(super) fn mend(rule: Rule, subject: &Subject) -> Option<(String, String)> {
    match &subject.kind {
        Kind::Processes => processes(rule, subject),
        Kind::Compose { service, short } => compose(rule, subject, service, *short),
        Kind::Kubernetes { container } => kubernetes(rule, container),
        Kind::Unit => unit(rule, subject),
    }
}

/// A limit on memory for a beginning: what its processes had at most and a quarter more.
fn proposal(subject: &Subject) -> Option<u64> {
    let peak = subject.peak().max(subject.used)?.0;
    let more = peak.saturating_add(peak / 4).max(1);
    more.div_ceil(STEP).checked_mul(STEP)
}

fn mebibytes(bytes: u64) -> u64 {
    bytes >> 20
}

const MEASURED: &str =
    "its peak until now and a quarter more; `curb profile` measures what it needs";
const YOURS: &str = "4 GiB stands for what it needs; `curb profile` measures that";

fn processes(rule: Rule, subject: &Subject) -> Option<(String, String)> {
    let memory = proposal(subject);
    let pid = subject.members.first().map(|m| m.pid);
    // What is wrong with a single process is mended there, whatever it runs in.
    match rule {
        Rule::AddressSpaceLimited => {
            let of = |m: &&super::Member| m.address_space.as_held().is_some();
            let what = if subject.members.iter().any(|m| of(&m)) {
                "as"
            } else {
                "data"
            };
            return Some((
                "run (as root where the hard limit is lowered as well), and take the `ulimit` away from what starts it".into(),
                format!("prlimit --pid {} --{what}=unlimited:unlimited", pid?),
            ));
        }
        Rule::OomExempt | Rule::OomProtected => {
            return Some(("run".into(), format!("choom -n 0 -p {}", pid?)));
        }
        Rule::OpenFilesNear => {
            let near = |m: &&super::Member| {
                let most = m.most_open_files.as_held().map(|h| h.value);
                most.zip(m.open_files)
                    .is_some_and(|(most, open)| open.saturating_mul(10) > most.saturating_mul(9))
            };
            let member = subject.members.iter().find(near)?;
            let more = member.most_open_files.as_held()?.value.saturating_mul(4);
            return Some((
                "run".into(),
                format!("prlimit --pid {} --nofile={more}:{more}", member.pid),
            ));
        }
        _ => {}
    }
    if let Some(container) = &subject.container {
        let id = container.short();
        return match container.runtime.as_str() {
            "docker" | "podman" => updated(rule, subject, &container.runtime, id, memory),
            "kubernetes" => kubernetes(rule, "the container"),
            _ => None,
        };
    }
    if let Some(name) = &subject.unit {
        let by_user = subject
            .group
            .as_deref()
            .is_some_and(|g| g.contains("user@"));
        let user = if by_user { " --user" } else { "" };
        let set = |property: String, why: &str| {
            Some((
                format!("run ({why})"),
                format!("systemctl{user} set-property {name} {property}"),
            ))
        };
        return match rule {
            Rule::MemoryUnlimited
            | Rule::MemoryHighAlone
            | Rule::MemoryShared
            | Rule::MemoryOverMachine => {
                set(format!("MemoryMax={}M", mebibytes(memory?)), MEASURED)
            }
            Rule::SwapUnlimited => set("MemorySwapMax=0".into(), "no swap on top"),
            Rule::CpuUnlimited => set(
                "CPUQuota=200%".into(),
                "200% is two CPUs: give it your figure",
            ),
            Rule::ProcessesUnlimited => set("TasksMax=512".into(), "512 stands for what it needs"),
            _ => None,
        };
    }
    let started = |option: String, why: &str| {
        Some((
            format!("start it with ({why})"),
            format!("curb run {option} -- COMMAND"),
        ))
    };
    match rule {
        Rule::MemoryUnlimited
        | Rule::MemoryHighAlone
        | Rule::MemoryShared
        | Rule::MemoryOverMachine => {
            started(format!("--memory {}MiB", mebibytes(memory?)), MEASURED)
        }
        Rule::SwapUnlimited => {
            let limit = subject.memory.as_held()?.value;
            started(
                format!("--memory {}MiB", mebibytes(limit.0)),
                "it gets no swap on top",
            )
        }
        Rule::CpuUnlimited => started("--cpu 2".into(), "2 stands for what it needs"),
        Rule::ProcessesUnlimited => {
            started("--processes 512".into(), "512 stands for what it needs")
        }
        _ => None,
    }
}

fn updated(
    rule: Rule,
    subject: &Subject,
    tool: &str,
    id: &str,
    memory: Option<u64>,
) -> Option<(String, String)> {
    let run = |options: String, why: &str| {
        Some((
            format!("run ({why})"),
            format!("{tool} update {options} {id}"),
        ))
    };
    match rule {
        Rule::MemoryUnlimited
        | Rule::MemoryHighAlone
        | Rule::MemoryShared
        | Rule::MemoryOverMachine => {
            let most = mebibytes(memory?);
            run(format!("--memory {most}m --memory-swap {most}m"), MEASURED)
        }
        Rule::SwapUnlimited => {
            let most = subject.memory.as_held()?.value.0;
            run(
                format!("--memory {most} --memory-swap {most}"),
                "no swap on top",
            )
        }
        Rule::CpuUnlimited => run("--cpus 2".into(), "2 stands for what it needs"),
        Rule::ProcessesUnlimited => run("--pids-limit 512".into(), "512 stands for what it needs"),
        _ => None,
    }
}

fn compose(rule: Rule, subject: &Subject, service: &str, short: bool) -> Option<(String, String)> {
    let below = |lines: &str, why: &str| {
        Some((
            format!("below `services.{service}` ({why})"),
            lines.to_owned(),
        ))
    };
    let limits = |long: &str, brief: &str, why: &str| match short {
        true => below(brief, why),
        false => below(
            &format!("deploy:\n  resources:\n    limits:\n      {long}"),
            why,
        ),
    };
    match rule {
        Rule::MemoryUnlimited => limits("memory: 4G", "mem_limit: 4g", YOURS),
        Rule::CpuUnlimited => limits("cpus: \"2\"", "cpus: 2", "2 stands for what it needs"),
        Rule::ProcessesUnlimited => limits(
            "pids: 512",
            "pids_limit: 512",
            "512 stands for what it needs",
        ),
        Rule::SwapUnlimited => {
            let Bytes(bytes) = subject.memory.as_held()?.value;
            below(
                &format!("memswap_limit: {bytes}"),
                "the same as its memory: no swap on top",
            )
        }
        Rule::OomExempt | Rule::OomProtected => below("oom_score_adj: 0", "as the others"),
        Rule::OomKillerOff => below("oom_kill_disable: false", "the kernel kills at the limit"),
        Rule::GpuAll => below(
            "deploy:\n  resources:\n    reservations:\n      devices:\n        - driver: nvidia\n          count: 1\n          capabilities: [gpu]",
            "in place of what gives it all; 1 stands for what it needs",
        ),
        _ => None,
    }
}

fn kubernetes(rule: Rule, container: &str) -> Option<(String, String)> {
    let limit = |line: &str, why: &str| {
        Some((
            format!("in the pod template, for `{container}` ({why})"),
            format!("resources:\n  limits:\n    {line}"),
        ))
    };
    match rule {
        Rule::MemoryUnlimited | Rule::MemoryHighAlone | Rule::MemoryShared => {
            limit("memory: 4Gi", YOURS)
        }
        Rule::CpuUnlimited => limit("cpu: \"2\"", "2 stands for what it needs"),
        _ => None,
    }
}

fn unit(rule: Rule, subject: &Subject) -> Option<(String, String)> {
    let name = subject.unit.as_deref().unwrap_or(&subject.name);
    let line = |line: &str, why: &str| {
        Some((
            format!("systemctl edit {name}, and write ({why})"),
            format!("[Service]\n{line}"),
        ))
    };
    match rule {
        Rule::MemoryUnlimited | Rule::MemoryHighAlone | Rule::MemoryShared => {
            line("MemoryMax=4G", YOURS)
        }
        Rule::SwapUnlimited => line("MemorySwapMax=0", "no swap on top"),
        Rule::CpuUnlimited => line("CPUQuota=200%", "200% is two CPUs: give it your figure"),
        Rule::ProcessesUnlimited => line("TasksMax=512", "512 stands for what it needs"),
        Rule::OomExempt | Rule::OomProtected => line("OOMScoreAdjust=0", "as the others"),
        Rule::OomPart => line(
            "OOMPolicy=kill",
            "all of it ends, and is started again as a whole",
        ),
        Rule::AddressSpaceLimited => {
            let what = if subject.address_space.as_held().is_some() {
                "LimitAS"
            } else {
                "LimitDATA"
            };
            line(&format!("{what}=infinity"), "limit MemoryMax= in its place")
        }
        _ => None,
    }
}
