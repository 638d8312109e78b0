//! Files of limits: what is read from them, what is refused and how it is told, what is shown and compared.
#![allow(missing_docs)]

mod accepted;
mod differences;
mod hostile;
#[path = "../common/marks.rs"]
mod marks;
mod reference;
mod refused;
mod rendered;
mod round_trip;
mod schema;

use curb_core::host::Bytes;
use curb_core::host::limits::{CpuSet, Diagnostic, File, Host};

/// Four CPUs and 16 GiB.
pub fn host() -> Host {
    Host {
        memory: Some(Bytes(16 << 30)),
        cpus: Some(CpuSet((0..4).collect())),
    }
}

pub fn rendered(all: &[Diagnostic]) -> String {
    let all: Vec<String> = all.iter().map(Diagnostic::render).collect();
    all.join("\n")
}

/// The file of a text that has to be accepted, on a host of which nothing is known.
pub fn accepted(text: &str) -> File {
    match File::parse("limits.yaml", text, &Host::default()) {
        Ok(parsed) => parsed.file,
        Err(all) => panic!("refused:\n{text}\n{}", rendered(&all)),
    }
}

/// What is said of a text on a host, errors or warnings.
pub fn said_of(text: &str, host: &Host) -> Vec<Diagnostic> {
    match File::parse("limits.yaml", text, host) {
        Ok(parsed) => parsed.warnings,
        Err(all) => all,
    }
}

/// A file with one workload of these fields.
pub fn one(fields: &str) -> String {
    format!("version: 1\nworkloads:\n  - {{name: chat, {fields}}}\n")
}

/// A file with one workload of these limits.
pub fn limits(limits: &str) -> String {
    one(&format!("limits: {{{limits}}}"))
}

/// A file with one workload of 1 GiB and this ladder.
pub fn ladder(steps: &str) -> String {
    one(&format!(
        "limits: {{memory: {{value: 1GiB, why: w}}, cpu: {{value: 2, why: w}}, duration: {{value: 1h, why: w}}}}, ladder: [{steps}]"
    ))
}
