//! A Pod, to which an image has to be added.

use super::{
    Form, IN_MPS, Parts, Rendered, Source, Taken, comment, grace, header, mlx, seconds_up, variable,
};
use crate::host::limits::key::{Key, Row, Value};
use crate::host::limits::model::Workload;

const POD: &str = "pod";
const LIMITS: &str = "limits";
const ENV: &str = "env";

pub fn render(workload: &Workload, source: Source<'_>) -> Rendered {
    let parts = Parts::of(workload, |row| take(workload, row)).and_the_rest(workload);
    let name = &workload.name;
    let mut text = header(Form::Kubernetes, workload, source);
    text.push_str(&comment(
        "",
        "Add the image, or take the fields into a template of a Deployment or Job.",
    ));
    parts.write_notes(&mut text);
    text.push_str("\napiVersion: v1\nkind: Pod\nmetadata:\n");
    text.push_str(&format!("  name: \"{name}\"\n  annotations:\n"));
    text.push_str(&format!(
        "    curb/limits-sha256: \"{}\"\nspec:\n",
        source.sha256
    ));
    parts.write(&mut text, POD, "  ");
    if let Some(grace) = grace(workload) {
        text.push_str("  # The grace of its ladder's stop.\n");
        text.push_str(&format!(
            "  terminationGracePeriodSeconds: {}\n",
            seconds_up(grace)
        ));
    }
    text.push_str(&format!("  containers:\n    - name: \"{name}\"\n"));
    if parts.has(LIMITS) {
        text.push_str("      resources:\n        limits:\n");
        parts.write(&mut text, LIMITS, "          ");
    }
    if parts.has(ENV) {
        text.push_str("      env:\n");
        parts.write(&mut text, ENV, "        ");
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
    let set = |text: String| Taken::line(LIMITS, text);
    match (row.key, &row.value) {
        (Key::Memory, Value::Bytes(b)) => set(format!("memory: \"{}\"", quantity(b.0))),
        (Key::Cpu, Value::Cpu(c)) if c.0.is_multiple_of(1000) => {
            set(format!("cpu: \"{}\"", c.0 / 1000))
        }
        (Key::Cpu, Value::Cpu(c)) => set(format!("cpu: \"{}m\"", c.0)),
        (Key::MemoryHigh, _) => {
            Taken::not("the kubelet sets it by itself, and only with its feature MemoryQoS")
        }
        (Key::Swap, _) => Taken::not("the kubelet decides on swap for the whole node"),
        (Key::CpuWeight, _) => Taken::not("it follows from the CPUs that the container requests"),
        (Key::CpuSet, _) => Taken::not(
            "the kubelet's CPU manager picks CPUs, with its policy `static` and whole CPUs",
        ),
        (Key::Processes, _) => {
            Taken::not("it is a setting of the node: `podPidsLimit` of the kubelet")
        }
        (Key::OpenFiles, _) => Taken::not("it is a setting of the node's container runtime"),
        (Key::IoRead | Key::IoWrite, _) => Taken::not("Kubernetes does not limit the use of disks"),
        (Key::Duration, Value::Span(s)) => Taken::line(
            POD,
            format!("activeDeadlineSeconds: {}", (s.0 / 1000).max(1)),
        ),
        (Key::CpuTime, _) => Taken::not("Kubernetes does not limit the time of the CPU"),
        (Key::GpuVisible, Value::Gpus(all)) => {
            let line = format!("nvidia.com/gpu: \"{}\"", all.len());
            match all.len() {
                0 => Taken::Lines(LIMITS, vec![line]),
                _ => Taken::Weaker(
                    LIMITS,
                    vec![line],
                    "how many is said; which ones, the device plugin decides".to_owned(),
                ),
            }
        }
        _ => match variable(workload, row) {
            Some((name, value)) => Taken::Weaker(
                ENV,
                vec![format!("- name: {name}"), format!("  value: \"{value}\"")],
                IN_MPS.to_owned(),
            ),
            None => Taken::not("Kubernetes has no field for it"),
        },
    }
}

/// Bytes as Kubernetes writes them, exact.
fn quantity(bytes: u64) -> String {
    let units = [(40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")];
    let exact = units
        .iter()
        .find(|(bits, _)| bytes.is_multiple_of(1 << bits));
    exact.map_or_else(
        || bytes.to_string(),
        |(bits, unit)| format!("{}{unit}", bytes >> bits),
    )
}
