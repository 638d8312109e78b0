//! Policy files: what is read from them, what is refused and how it is told.
#![allow(missing_docs)]

mod accepted;
mod checked;
mod hostile;
#[path = "../common/marks.rs"]
mod marks;
mod reference;
mod refused;
mod round_trip;
mod schema;

use curb_core::policy::{Diagnostic, Policy};

/// All diagnostics as a person sees them.
pub fn rendered(all: &[Diagnostic]) -> String {
    all.iter()
        .map(Diagnostic::render)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The policy of a text that has to be accepted.
pub fn accepted(text: &str) -> Policy {
    match Policy::parse("policy.yaml", text) {
        Ok(parsed) => parsed.policy,
        Err(all) => panic!("refused:\n{text}\n{}", rendered(&all)),
    }
}

/// What is said of a text, errors or warnings.
pub fn said_of(text: &str) -> Vec<Diagnostic> {
    match Policy::parse("policy.yaml", text) {
        Ok(parsed) => parsed.warnings,
        Err(all) => all,
    }
}
