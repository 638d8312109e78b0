//! Lines for a shell, before the program.

use super::{Form, IN_MPS, Parts, Rendered, Source, Taken, header, mlx, variable};
use crate::host::limits::key::Value;
use crate::host::limits::key::{Key, Row};
use crate::host::limits::model::Workload;
use crate::time::Millis;

const SHELL: &str = "shell";

pub fn render(workload: &Workload, source: Source<'_>) -> Rendered {
    let parts = Parts::of(workload, |row| take(workload, row)).and_the_rest(workload);
    let mut text = header(Form::Ulimit, workload, source);
    text.push_str("# Use: . THIS_FILE, then the program, in the same shell.\n");
    parts.write_notes(&mut text);
    text.push('\n');
    parts.write(&mut text, SHELL, "");
    Rendered {
        text,
        notes: parts.notes,
    }
}

fn take(workload: &Workload, row: &Row<'_>) -> Taken {
    if let Some(taken) = mlx(row) {
        return taken;
    }
    match (row.key, &row.value) {
        (Key::OpenFiles, Value::Count(n)) => Taken::line(SHELL, format!("ulimit -n {n}")),
        (Key::Memory | Key::MemoryHigh | Key::Swap, _) => Taken::not(
            "a shell limits address space only (-v), of each process, and frameworks that do not check allocations crash at it",
        ),
        (Key::Processes, _) => Taken::not(
            "what a shell limits (-u) is all processes of the user, others' work included",
        ),
        (Key::CpuSet, Value::Cpus(cpus)) => Taken::Not(format!(
            "a shell has no limit for it: start the program by `taskset --cpu-list {cpus}`, which it can undo"
        )),
        (Key::Duration, Value::Span(s)) => Taken::Not(format!(
            "a shell has no limit for it: start the program by `timeout {}`, which ends its first process",
            seconds(*s)
        )),
        (Key::CpuTime, _) => Taken::not(
            "it is of all processes together; what a shell limits (-t) is of each process",
        ),
        _ => match variable(workload, row) {
            Some((name, value)) => {
                let lines = vec![format!("export {name}='{value}'")];
                match row.key {
                    Key::GpuVisible => Taken::Lines(SHELL, lines),
                    _ => Taken::Weaker(SHELL, lines, IN_MPS.to_owned()),
                }
            }
            None => Taken::not("a shell has no limit for it: it takes a control group"),
        },
    }
}

/// As timeout(1) reads it.
fn seconds(Millis(ms): Millis) -> String {
    match ms % 1000 {
        0 => (ms / 1000).to_string(),
        rest => format!("{}.{rest:03}", ms / 1000),
    }
}
