//! A shell script that calls `docker run`.

use super::{
    Form, IN_MPS, Parts, Rendered, Source, Taken, grace, header, mlx, seconds_up, variable,
};
use crate::host::limits::key::{Key, Row, Value};
use crate::host::limits::model::Workload;

const RUN: &str = "run";

pub fn render(workload: &Workload, source: Source<'_>) -> Rendered {
    let parts = Parts::of(workload, |row| take(workload, row)).and_the_rest(workload);
    let mut text = String::from("#!/bin/sh\n");
    text.push_str(&header(Form::Docker, workload, source));
    text.push_str("# Use: sh THIS_FILE [OPTION of docker run]… IMAGE [COMMAND]…\n");
    parts.write_notes(&mut text);
    text.push('\n');
    parts.write(&mut text, RUN, "");
    if workload.limits.memory.is_some() && workload.limits.swap.is_none() {
        text.push_str("# The file gives no swap on top of memory.\n");
        let memory = workload.limits.memory.as_ref().map_or(0, |l| l.value.0);
        text.push_str(&option(&format!("--memory-swap={memory}")));
        text.push('\n');
    }
    if let Some(grace) = grace(workload) {
        text.push_str("# The grace of its ladder's stop.\n");
        text.push_str(&option(&format!("--stop-timeout={}", seconds_up(grace))));
        text.push('\n');
    }
    text.push_str("exec docker run \"$@\"\n");
    Rendered {
        text,
        notes: parts.notes,
    }
}

/// An option, put before those that are there. Its text has no quote in it.
fn option(text: &str) -> String {
    format!("set -- '{text}' \"$@\"")
}

fn take(workload: &Workload, row: &Row<'_>) -> Taken {
    if let Some(taken) = mlx(row) {
        return taken;
    }
    let set = |text: String| Taken::line(RUN, option(&text));
    match (row.key, &row.value) {
        (Key::Memory, Value::Bytes(b)) => set(format!("--memory={}", b.0)),
        (Key::MemoryHigh, _) => Taken::not(super::compose::MEMORY_HIGH),
        (Key::Swap, Value::Bytes(swap)) => match &workload.limits.memory {
            // Docker counts both together.
            Some(memory) => set(format!(
                "--memory-swap={}",
                memory.value.0.saturating_add(swap.0)
            )),
            None => Taken::not(super::compose::SWAP_ALONE),
        },
        (Key::Cpu, Value::Cpu(c)) => set(format!("--cpus={c}")),
        (Key::CpuWeight, Value::Weight(n)) => {
            set(format!("--cpu-shares={}", super::compose::shares(*n)))
        }
        (Key::CpuSet, Value::Cpus(cpus)) => set(format!("--cpuset-cpus={cpus}")),
        (Key::Processes, Value::Count(n)) => set(format!("--pids-limit={n}")),
        (Key::OpenFiles, Value::Count(n)) => set(format!("--ulimit=nofile={n}:{n}")),
        (Key::IoRead, Value::Rate(r)) => Taken::Not(format!(
            "docker wants the device: --device-read-bps=/dev/NAME:{}",
            r.0
        )),
        (Key::IoWrite, Value::Rate(r)) => Taken::Not(format!(
            "docker wants the device: --device-write-bps=/dev/NAME:{}",
            r.0
        )),
        (Key::Duration, _) => Taken::not(super::compose::DURATION),
        (Key::CpuTime, _) => Taken::not(super::CPU_TIME),
        (Key::GpuVisible, Value::Gpus(all)) if all.is_empty() => {
            set("--env=NVIDIA_VISIBLE_DEVICES=void".to_owned())
        }
        (Key::GpuVisible, Value::Gpus(all)) => {
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            // Docker reads a list with commas only within double quotes.
            set(format!("--gpus=\"device={}\"", all.join(",")))
        }
        _ => match variable(workload, row) {
            Some((name, value)) => Taken::Weaker(
                RUN,
                vec![option(&format!("--env={name}={value}"))],
                IN_MPS.to_owned(),
            ),
            None => Taken::not("docker has no option for it"),
        },
    }
}
