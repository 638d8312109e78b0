//! A drop-in of a systemd service.

use super::{
    Form, IN_MPS, Parts, Rendered, Source, Taken, grace, header, mlx, seconds_up, variable,
};
use crate::amount::Amount;
use crate::host::limits::key::{Key, Row, Value};
use crate::host::limits::model::Workload;
use crate::time::Millis;

const SERVICE: &str = "Service";

pub fn render(workload: &Workload, source: Source<'_>) -> Rendered {
    let parts = Parts::of(workload, |row| take(workload, row)).and_the_rest(workload);
    let unit = workload
        .matches
        .as_ref()
        .and_then(|m| m.unit.clone())
        .filter(|u| u.ends_with(".service"))
        .unwrap_or_else(|| format!("{}.service", workload.name));
    let mut text = header(Form::Systemd, workload, source);
    text.push_str(&format!(
        "# Its place: /etc/systemd/system/{unit}.d/50-curb.conf; then: systemctl daemon-reload\n"
    ));
    parts.write_notes(&mut text);
    text.push_str("\n[Service]\n");
    parts.write(&mut text, SERVICE, "");
    if workload.limits.memory.is_some() && workload.limits.swap.is_none() {
        text.push_str("# The file gives no swap on top of memory.\nMemorySwapMax=0\n");
    }
    if let Some(grace) = grace(workload) {
        let seconds = seconds_up(grace);
        text.push_str(&format!(
            "# The grace of its ladder's stop.\nTimeoutStopSec={seconds}\n"
        ));
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
    let set = |name: &str, value: String| Taken::line(SERVICE, format!("{name}={value}"));
    match (row.key, &row.value) {
        (Key::Memory, Value::Bytes(b)) => set("MemoryMax", b.0.to_string()),
        (Key::MemoryHigh, Value::Bytes(b)) => set("MemoryHigh", b.0.to_string()),
        (Key::Swap, Value::Bytes(b)) => set("MemorySwapMax", b.0.to_string()),
        // Hundredths of a CPU are percents; thousandths are tenths of them.
        (Key::Cpu, Value::Cpu(c)) => set("CPUQuota", format!("{}%", tenth(c.0))),
        (Key::CpuWeight, Value::Weight(n)) => set("CPUWeight", n.to_string()),
        (Key::CpuSet, Value::Cpus(cpus)) => set("AllowedCPUs", cpus.to_string()),
        (Key::Processes, Value::Count(n)) => set("TasksMax", n.to_string()),
        (Key::OpenFiles, Value::Count(n)) => set("LimitNOFILE", n.to_string()),
        (Key::IoRead, Value::Rate(r)) => disk("IOReadBandwidthMax", r.0),
        (Key::IoWrite, Value::Rate(r)) => disk("IOWriteBandwidthMax", r.0),
        (Key::Duration, Value::Span(s)) => set("RuntimeMaxSec", span(*s)),
        (Key::CpuTime, _) => Taken::not(super::CPU_TIME),
        _ => match variable(workload, row) {
            Some((name, value)) => {
                let lines = vec![format!("Environment={name}={value}")];
                match row.key {
                    Key::GpuVisible => Taken::Lines(SERVICE, lines),
                    _ => Taken::Weaker(SERVICE, lines, IN_MPS.to_owned()),
                }
            }
            None => Taken::not("systemd has no word for it"),
        },
    }
}

/// systemd limits the disk of a path.
fn disk(name: &str, rate: u64) -> Taken {
    Taken::Weaker(
        SERVICE,
        vec![format!("{name}=/ {rate}")],
        "it is of the disk that has `/`: add a line for each other one".to_owned(),
    )
}

fn tenth(milli: u64) -> String {
    // A tenth of a thousandth-CPU count, exact to a decimal.
    Amount(milli.saturating_mul(100))
        .show(crate::amount::Unit::Milli)
        .to_string()
}

fn span(Millis(ms): Millis) -> String {
    match ms % 1000 {
        0 => (ms / 1000).to_string(),
        _ => format!("{ms}ms"),
    }
}
