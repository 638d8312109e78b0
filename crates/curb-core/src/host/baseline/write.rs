//! A baseline as text: stable order, one figure a line, so that a change of one is a line in a diff.

use std::fmt::Write as _;

use crate::yaml::write::{bracket, map, name, quote, span};

use super::model::{Baseline, Ended, Evidence, Figure, Of, Scenario, ThreadCpu};

/// Points of a series on one line.
const A_LINE: usize = 16;

/// The text of a baseline. [`super::parse`] reads it back as the same.
#[must_use]
pub fn write(baseline: &Baseline) -> String {
    let mut out = format!(
        "# What the workload needs, measured by `curb profile`. Whole numbers, in the unit that their name ends with.\n\
         version: 1\nworkload: {}\n",
        name(&baseline.workload)
    );
    evidence(&mut out, &baseline.evidence);
    let none = if baseline.scenarios.is_empty() {
        " {}"
    } else {
        ""
    };
    push(&mut out, 0, "scenarios", none.trim_start());
    for (title, one) in &baseline.scenarios {
        push(&mut out, 1, &name(title), "");
        scenario(&mut out, one);
    }
    out
}

fn push(out: &mut String, depth: usize, key: &str, value: &str) {
    let indent = depth * 2;
    let space = if value.is_empty() { "" } else { " " };
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{:indent$}{key}:{space}{value}", "");
}

fn evidence(out: &mut String, evidence: &Evidence) {
    let Evidence {
        program,
        frameworks,
        model,
        machine,
    } = evidence;
    push(out, 0, "evidence", "");
    let mut fields = vec![format!("name: {}", quote(&program.name))];
    fields.extend(
        program
            .version
            .iter()
            .map(|v| format!("version: {}", quote(v))),
    );
    fields.extend(program.sha256.iter().map(|s| format!("sha256: \"{s}\"")));
    push(out, 1, "program", &map(&fields));
    let versions: Vec<String> = frameworks
        .iter()
        .map(|(n, v)| format!("{}: {}", name(n), quote(v)))
        .collect();
    push(out, 1, "frameworks", &map(&versions));
    push(out, 1, "model", if model.is_empty() { "[]" } else { "" });
    for file in model {
        let of = match file.of {
            Of::All => "all",
            Of::Ends => "ends",
        };
        let _ = writeln!(
            out,
            "    - {{file: {}, bytes: {}, sha256: \"{}\", of: {of}}}",
            quote(&file.file),
            file.bytes,
            file.sha256
        );
    }
    let mut fields = vec![format!("system: {}", quote(&machine.system))];
    fields.extend(machine.cpu.iter().map(|c| format!("cpu: {}", quote(c))));
    fields.push(format!("cpus: {}", machine.cpus));
    fields.push(format!("memory_kib: {}", machine.memory_kib));
    if let Some(gpus) = &machine.gpus {
        let gpus: Vec<String> = gpus.iter().map(|g| quote(g)).collect();
        fields.push(format!("gpus: {}", bracket(&gpus)));
    }
    push(out, 1, "machine", &map(&fields));
}

fn scenario(out: &mut String, scenario: &Scenario) {
    let mut field = |key: &str, value: &str| push(out, 2, key, value);
    field("measured", &quote(&scenario.measured.to_string()));
    field("runs", &scenario.runs.to_string());
    field("samples", &scenario.samples.to_string());
    field("every", &span(scenario.every));
    field("memory_as", scenario.memory_as.name());
    let ended = match scenario.ended {
        Ended::Itself => "itself",
        Ended::Asked => "asked",
    };
    field("ended", ended);
    if let Some(why) = &scenario.cut_short {
        field("cut_short", &quote(why));
    }
    for (key, list) in [("stale", &scenario.stale), ("notes", &scenario.notes)] {
        if !list.is_empty() {
            let items: Vec<String> = list.iter().map(|t| quote(t)).collect();
            field(key, &bracket(&items));
        }
    }
    if let Some(parts) = &scenario.parts {
        let mut fields = vec![format!("interpreter: {}", parts.interpreter_kib)];
        let rest = [
            ("framework", parts.framework_kib),
            ("model", parts.model_kib),
            ("work", parts.work_kib),
        ];
        fields.extend(
            rest.iter()
                .filter_map(|(n, v)| v.map(|v| format!("{n}: {v}"))),
        );
        field("parts_kib", &map(&fields));
    }
    if !scenario.threads_by_cpu.is_empty() {
        let one = |t: &ThreadCpu| {
            map(&[
                format!("name: {}", quote(&t.name)),
                format!("cpu_ms: {}", t.cpu_ms),
            ])
        };
        let all: Vec<String> = scenario.threads_by_cpu.iter().map(one).collect();
        field("threads_by_cpu", &bracket(&all));
    }
    let numbers =
        |all: &[u64]| bracket(&all.iter().map(ToString::to_string).collect::<Vec<String>>());
    field("run_peaks_kib", &numbers(&scenario.run_peaks_kib));
    for figure in Figure::ALL {
        if let Some(spread) = scenario.figures.get(figure) {
            let fields: Vec<String> = super::Spread::NAMES
                .iter()
                .zip(spread.numbers())
                .map(|(n, v)| format!("{n}: {v}"))
                .collect();
            field(figure.name(), &map(&fields));
        }
    }
    series(out, scenario);
}

fn series(out: &mut String, scenario: &Scenario) {
    push(out, 2, "series", "");
    push(out, 3, "every", &span(scenario.series.every()));
    let points = scenario.series.points();
    if points.is_empty() {
        return push(out, 3, "memory_kib", "[]");
    }
    push(out, 3, "memory_kib", "[");
    let lines = points.len().div_ceil(A_LINE);
    for (i, line) in points.chunks(A_LINE).enumerate() {
        let text: String = line
            .iter()
            .map(|p| p.map_or_else(|| "~".to_owned(), |v| v.to_string()))
            .collect::<Vec<String>>()
            .join(", ");
        let end = if i + 1 == lines { "]" } else { "," };
        let _ = writeln!(out, "        {text}{end}");
    }
}
