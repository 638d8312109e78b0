//! The limits of a workload in the words of other tools: systemd, docker, compose, Kubernetes, a shell, launchd.
//!
//! Each form takes what it can hold. What it cannot is written there as a comment with the reason, and told beside the
//! text ([`Rendered::notes`]): nothing is left out without a word.

mod compose;
mod docker;
mod kubernetes;
mod launchd;
mod systemd;
mod ulimit;

use serde::Serialize;

use super::key::{Key, Row, Value};
use super::model::{Action, Gpu, Workload};
use crate::time::Millis;

/// A tool's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// A drop-in of a systemd service.
    Systemd,
    /// A shell script that calls `docker run`.
    Docker,
    /// A Compose file that is merged with one that names the image.
    Compose,
    /// A Pod.
    Kubernetes,
    /// Lines for a shell, before the program.
    Ulimit,
    /// A property list of launchd (macOS).
    Launchd,
}

impl Form {
    /// All of them.
    pub const ALL: [Form; 6] = [
        Form::Systemd,
        Form::Docker,
        Form::Compose,
        Form::Kubernetes,
        Form::Ulimit,
        Form::Launchd,
    ];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Form::Systemd => "systemd",
            Form::Docker => "docker",
            Form::Compose => "compose",
            Form::Kubernetes => "kubernetes",
            Form::Ulimit => "ulimit",
            Form::Launchd => "launchd",
        }
    }
}

/// Where a rendered text comes from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The file of limits.
    pub file: &'a str,
    /// SHA-256 of its text.
    pub sha256: &'a str,
}

/// A text for another tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// What of the file it does not hold, or holds in a weaker way.
    pub notes: Vec<Note>,
}

/// Something that the form does not hold as the file says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The field of the workload: `cpu_time`, `ladder`.
    pub field: String,
    /// Whether something of it is there; else nothing is.
    pub in_part: bool,
    /// Why, and what to do instead.
    pub why: String,
}

/// A workload in a tool's form.
#[must_use]
pub fn render(form: Form, workload: &Workload, source: Source<'_>) -> Rendered {
    match form {
        Form::Systemd => systemd::render(workload, source),
        Form::Docker => docker::render(workload, source),
        Form::Compose => compose::render(workload, source),
        Form::Kubernetes => kubernetes::render(workload, source),
        Form::Ulimit => ulimit::render(workload, source),
        Form::Launchd => launchd::render(workload, source),
    }
}

/// What a form makes of one limit.
enum Taken {
    /// These lines, in that section of the form.
    Lines(&'static str, Vec<String>),
    /// These lines, which hold it in a weaker way.
    Weaker(&'static str, Vec<String>, String),
    /// Nothing, and why.
    Not(String),
}

impl Taken {
    fn line(section: &'static str, line: String) -> Taken {
        Taken::Lines(section, vec![line])
    }

    fn not(why: &str) -> Taken {
        Taken::Not(why.to_owned())
    }
}

/// A limit's lines, with its reason.
struct Part {
    section: &'static str,
    key: Key,
    why: String,
    lines: Vec<String>,
}

/// All that a form makes of a workload's limits.
struct Parts {
    parts: Vec<Part>,
    notes: Vec<Note>,
}

impl Parts {
    /// Asks the form for each limit in turn.
    fn of(workload: &Workload, take: impl Fn(&Row<'_>) -> Taken) -> Parts {
        let mut all = Parts {
            parts: Vec::new(),
            notes: Vec::new(),
        };
        for row in workload.limits.rows() {
            let (section, lines, note) = match take(&row) {
                Taken::Lines(section, lines) => (section, lines, None),
                Taken::Weaker(section, lines, why) => (section, lines, Some((true, why))),
                Taken::Not(why) => ("", Vec::new(), Some((false, why))),
            };
            all.notes.extend(note.map(|(in_part, why)| Note {
                field: row.key.name().to_owned(),
                in_part,
                why,
            }));
            if !lines.is_empty() {
                all.parts.push(Part {
                    section,
                    key: row.key,
                    why: row.why.to_owned(),
                    lines,
                });
            }
        }
        all
    }

    /// Notes that a form has no word for what is no limit.
    fn and_the_rest(mut self, workload: &Workload) -> Parts {
        let run = format!(
            "curb's own: `curb run --workload {}` does it",
            workload.name
        );
        for (field, there) in [
            ("ladder", !workload.ladder.is_empty()),
            ("on_warn", workload.on_warn.is_some()),
            ("retry", workload.retry.is_some()),
            ("fallback", workload.fallback.is_some()),
            ("front", workload.front.is_some()),
        ] {
            if there {
                self.notes.push(Note {
                    field: field.to_owned(),
                    in_part: false,
                    why: run.clone(),
                });
            }
        }
        self
    }

    /// The parts of a section, in the order of the limits.
    fn section<'p>(&'p self, section: &str) -> impl Iterator<Item = &'p Part> {
        self.parts.iter().filter(move |p| p.section == section)
    }

    /// Whether there is anything in a section.
    fn has(&self, section: &str) -> bool {
        self.section(section).next().is_some()
    }

    /// A section's lines, each limit below its reason, `#` being how a comment begins.
    fn write(&self, out: &mut String, section: &str, margin: &str) {
        for part in self.section(section) {
            out.push_str(&comment(margin, &format!("{}: {}", part.key, part.why)));
            for line in &part.lines {
                out.push_str(&format!("{margin}{line}\n"));
            }
        }
    }

    /// What is not held, as comments.
    fn write_notes(&self, out: &mut String) {
        for note in &self.notes {
            out.push_str(&comment("", &told(note)));
        }
    }
}

/// A note as one line.
fn told(note: &Note) -> String {
    let what = if note.in_part {
        "is held in part"
    } else {
        "is not held"
    };
    format!("{} {what}: {}", note.field, note.why)
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&told(self))
    }
}

/// A line of comment. It cannot run on into the next line, whatever is in it.
fn comment(margin: &str, text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| {
            if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
                ' '
            } else {
                c
            }
        })
        .collect();
    let line = line.trim_end_matches(['\\', ' ']);
    format!("{margin}# {line}\n")
}

/// Where the text comes from, in lines.
fn provenance(form: Form, workload: &Workload, source: Source<'_>) -> [String; 3] {
    [
        format!(
            "Made by `curb limits render --to {}` of the workload {} in {}",
            form.name(),
            workload.name,
            crate::yaml::clip(source.file, 200)
        ),
        format!("(SHA-256 {}).", source.sha256),
        "Change the limits there and make it again; each number has its reason above it."
            .to_owned(),
    ]
}

/// Where the text comes from, as comments with `#`.
fn header(form: Form, workload: &Workload, source: Source<'_>) -> String {
    provenance(form, workload, source)
        .iter()
        .map(|line| comment("", line))
        .collect()
}

/// From being asked to stop to being killed, if the ladder says.
fn grace(workload: &Workload) -> Option<Millis> {
    workload.ladder.iter().find_map(|step| match step.action {
        Action::Stop { grace } => Some(grace),
        _ => None,
    })
}

/// Whole seconds, at least the span: a grace is not cut short.
fn seconds_up(Millis(ms): Millis) -> u64 {
    ms.div_ceil(1000)
}

/// What a GPU's limits are to a program: variables of its environment. None for other limits.
fn variable(workload: &Workload, row: &Row<'_>) -> Option<(&'static str, String)> {
    match (&row.key, &row.value) {
        (Key::GpuVisible, Value::Gpus(all)) => {
            let all: Vec<String> = all.iter().map(Gpu::to_string).collect();
            Some(("CUDA_VISIBLE_DEVICES", all.join(",")))
        }
        (Key::GpuThreads, Value::Percent(p)) => {
            Some(("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", p.0.to_string()))
        }
        (Key::GpuMemory, Value::Bytes(b)) => {
            let shown = workload.limits.gpu_visible.as_ref();
            // Each by its number among those that are shown; one where nobody says how many.
            let count = shown.map_or(1, |g| g.value.len()).max(1);
            let all: Vec<String> = (0..count).map(|n| format!("{n}={}M", b.0 >> 20)).collect();
            Some(("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", all.join(",")))
        }
        _ => None,
    }
}

/// Why MLX's own limits are nowhere but in a program's code, and the line that sets each.
fn mlx(row: &Row<'_>) -> Option<Taken> {
    let call = match row.key {
        Key::MlxCache => "set_cache_limit",
        Key::MlxMemory => "set_memory_limit",
        Key::MlxWired => "set_wired_limit",
        _ => return None,
    };
    let Value::Bytes(bytes) = row.value else {
        return None;
    };
    Some(Taken::Not(format!(
        "MLX reads it from no variable: call `mx.{call}({})` in the program, or start it by `curb run`",
        bytes.0
    )))
}

const IN_MPS: &str = "only where NVIDIA's MPS runs and the program can reach it";

/// What a limit on time of the CPU is in tools that know only the one of a process.
const CPU_TIME: &str =
    "it is of all processes together; what there is here (RLIMIT_CPU) is of each process";
