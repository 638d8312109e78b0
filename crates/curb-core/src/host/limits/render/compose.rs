//! A Compose file that is merged with one that names the image.

use super::{
    Form, IN_MPS, Parts, Rendered, Source, Taken, grace, header, mlx, seconds_up, variable,
};
use crate::host::limits::key::{Key, Row, Value};
use crate::host::limits::model::{Gpu, Workload};

const SERVICE: &str = "service";
const ENVIRONMENT: &str = "environment";
const DEVICES: &str = "devices";

pub const MEMORY_HIGH: &str =
    "docker has no bound above which the kernel slows down (its reservation is another thing)";
pub const SWAP_ALONE: &str = "docker limits swap only together with `memory`";
pub const DURATION: &str =
    "docker ends nothing after a time: run the command in the container by `timeout`";

pub fn render(workload: &Workload, source: Source<'_>) -> Rendered {
    let parts = Parts::of(workload, |row| take(workload, row)).and_the_rest(workload);
    let name = &workload.name;
    let mut text = header(Form::Compose, workload, source);
    text.push_str("# Use: docker compose --file compose.yaml --file THIS_FILE up\n");
    parts.write_notes(&mut text);
    // A name of digits alone would be a number.
    text.push_str(&format!("\nservices:\n  \"{name}\":\n"));
    let begun = text.len();
    parts.write(&mut text, SERVICE, "    ");
    if let Some(memory) = workload
        .limits
        .memory
        .as_ref()
        .filter(|_| workload.limits.swap.is_none())
    {
        let memory = memory.value.0;
        text.push_str("    # The file gives no swap on top of memory.\n");
        text.push_str(&format!("    memswap_limit: {memory}\n"));
    }
    if let Some(grace) = grace(workload) {
        text.push_str("    # The grace of its ladder's stop.\n");
        text.push_str(&format!("    stop_grace_period: {}s\n", seconds_up(grace)));
    }
    if parts.has(ENVIRONMENT) {
        text.push_str("    environment:\n");
        parts.write(&mut text, ENVIRONMENT, "      ");
    }
    if parts.has(DEVICES) {
        text.push_str("    deploy:\n      resources:\n        reservations:\n          devices:\n");
        parts.write(&mut text, DEVICES, "            ");
    }
    if text.len() == begun {
        // A service must be a map.
        text.truncate(begun - 1);
        text.push_str(" {}\n");
    }
    Rendered {
        text,
        notes: parts.notes,
    }
}

fn take(workload: &Workload, row: &Row<'_>) -> Taken {
    if let Some(taken) = mlx(row) {
        return taken;
    }
    let set = |text: String| Taken::line(SERVICE, text);
    let device = |way: &str, rate: u64| {
        Taken::Not(format!(
            "docker wants the device: blkio_config: {{device_{way}_bps: [{{path: /dev/NAME, rate: {rate}}}]}}"
        ))
    };
    match (row.key, &row.value) {
        (Key::Memory, Value::Bytes(b)) => set(format!("mem_limit: {}", b.0)),
        (Key::MemoryHigh, _) => Taken::not(MEMORY_HIGH),
        (Key::Swap, Value::Bytes(swap)) => match &workload.limits.memory {
            // Docker counts both together.
            Some(memory) => set(format!(
                "memswap_limit: {}",
                memory.value.0.saturating_add(swap.0)
            )),
            None => Taken::not(SWAP_ALONE),
        },
        (Key::Cpu, Value::Cpu(c)) => set(format!("cpus: {c}")),
        (Key::CpuWeight, Value::Weight(n)) => set(format!("cpu_shares: {}", shares(*n))),
        (Key::CpuSet, Value::Cpus(cpus)) => set(format!("cpuset: \"{cpus}\"")),
        (Key::Processes, Value::Count(n)) => set(format!("pids_limit: {n}")),
        (Key::OpenFiles, Value::Count(n)) => {
            set(format!("ulimits: {{nofile: {{soft: {n}, hard: {n}}}}}"))
        }
        (Key::IoRead, Value::Rate(r)) => device("read", r.0),
        (Key::IoWrite, Value::Rate(r)) => device("write", r.0),
        (Key::Duration, _) => Taken::not(DURATION),
        (Key::CpuTime, _) => Taken::not(super::CPU_TIME),
        (Key::GpuVisible, Value::Gpus(all)) if all.is_empty() => {
            Taken::line(ENVIRONMENT, "NVIDIA_VISIBLE_DEVICES: void".to_owned())
        }
        (Key::GpuVisible, Value::Gpus(all)) => Taken::Lines(DEVICES, devices(all)),
        _ => match variable(workload, row) {
            Some((name, value)) => Taken::Weaker(
                ENVIRONMENT,
                vec![format!("{name}: \"{value}\"")],
                IN_MPS.to_owned(),
            ),
            None => Taken::not("compose has no field for it"),
        },
    }
}

fn devices(all: &[Gpu]) -> Vec<String> {
    let ids: Vec<String> = all.iter().map(|g| format!("\"{g}\"")).collect();
    vec![
        "- driver: nvidia".to_owned(),
        format!("  device_ids: [{}]", ids.join(", ")),
        "  capabilities: [gpu]".to_owned(),
    ]
}

/// Docker's shares for a weight: 1024 is what a container has that says nothing, as 100 is for a weight.
pub fn shares(weight: u32) -> u64 {
    (u64::from(weight) * 1024).div_ceil(100).clamp(2, 262_144)
}
