//! A property list of launchd (macOS).

use super::{Form, Note, Parts, Rendered, Source, Taken, grace, mlx, provenance, seconds_up, told};
use crate::host::limits::key::{Key, Row, Value};
use crate::host::limits::model::Workload;

const JOB: &str = "job";
const RUN: &str = "run";

pub fn render(workload: &Workload, source: Source<'_>) -> Rendered {
    let mut parts = Parts::of(workload, |row| take(workload, row)).and_the_rest(workload);
    let command = workload
        .command
        .as_deref()
        .filter(|c| c.iter().all(|w| w.chars().all(in_xml)));
    if workload.command.is_some() && command.is_none() {
        parts.notes.push(Note {
            field: "command".to_owned(),
            in_part: false,
            why: "it has characters that no property list can hold".to_owned(),
        });
    }
    let name = &workload.name;
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    text.push_str("<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n");
    for line in provenance(Form::Launchd, workload, source) {
        text.push_str(&comment("", &line));
    }
    text.push_str(&comment("", "Not tried on a Mac."));
    for note in &parts.notes {
        text.push_str(&comment("", &told(note)));
    }
    text.push_str("<plist version=\"1.0\">\n<dict>\n");
    text.push_str(&format!(
        "  <key>Label</key>\n  <string>curb.{name}</string>\n"
    ));
    if let Some(command) = command {
        text.push_str("  <key>ProgramArguments</key>\n  <array>\n");
        for part in parts.section(RUN) {
            text.push_str(&comment("    ", &format!("{}: {}", part.key, part.why)));
            text.extend(part.lines.iter().map(|l| format!("    {l}\n")));
        }
        text.extend(command.iter().map(|word| format!("    {}\n", string(word))));
        text.push_str("  </array>\n");
    }
    for part in parts.section(JOB) {
        text.push_str(&comment("  ", &format!("{}: {}", part.key, part.why)));
        text.extend(part.lines.iter().map(|l| format!("  {l}\n")));
    }
    if let Some(grace) = grace(workload) {
        text.push_str(&comment("  ", "The grace of its ladder's stop."));
        let seconds = seconds_up(grace);
        text.push_str(&format!(
            "  <key>ExitTimeOut</key>\n  <integer>{seconds}</integer>\n"
        ));
    }
    text.push_str("</dict>\n</plist>\n");
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
        (Key::Memory, Value::Bytes(b)) if workload.command.is_some() => {
            // In whole mebibytes, never more than the file says.
            let most = (b.0 >> 20).max(1).to_string();
            let words = ["/usr/sbin/taskpolicy", "-m", &most].map(string);
            Taken::Weaker(
                RUN,
                words.to_vec(),
                "it is of the program's own process and not of what it starts".to_owned(),
            )
        }
        (Key::Memory, _) => Taken::not(
            "macOS limits it at the start, by `taskpolicy -m`: give the workload a `command`",
        ),
        (Key::OpenFiles, Value::Count(n)) => Taken::Lines(JOB, files(*n)),
        (Key::Processes, _) => {
            Taken::not("what macOS limits (NumberOfProcesses) is all processes of the user")
        }
        (Key::CpuTime, _) => Taken::not(super::CPU_TIME),
        (Key::GpuVisible | Key::GpuThreads | Key::GpuMemory, _) => {
            Taken::not("there is no CUDA on macOS")
        }
        _ => Taken::not("macOS has no limit for it"),
    }
}

fn files(n: u64) -> Vec<String> {
    let mut lines = Vec::new();
    for kind in ["SoftResourceLimits", "HardResourceLimits"] {
        lines.push(format!("<key>{kind}</key>"));
        lines.push("<dict>".to_owned());
        lines.push("  <key>NumberOfFiles</key>".to_owned());
        lines.push(format!("  <integer>{n}</integer>"));
        lines.push("</dict>".to_owned());
    }
    lines
}

/// Whether XML can hold a character at all.
fn in_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r')
        || !(c.is_ascii_control() || matches!(c, '\u{fffe}' | '\u{ffff}'))
}

/// A word as XML has it.
fn string(word: &str) -> String {
    let mut out = String::from("<string>");
    for c in word.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            c => out.push(c),
        }
    }
    out + "</string>"
}

/// XML ends a comment at two hyphens.
fn comment(margin: &str, text: &str) -> String {
    let mut line = String::new();
    for c in text.chars() {
        if c == '-' && line.ends_with('-') {
            line.push(' ');
        }
        line.push(if c.is_control() || !in_xml(c) { ' ' } else { c });
    }
    format!("{margin}<!-- {line} -->\n")
}
