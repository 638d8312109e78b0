//! Reading a policy file: text in, a checked [`Policy`] or everything that is wrong with it out.
//!
//! ```
//! use curb_core::policy::Policy;
//!
//! let text = "version: 1\nquotas:\n  - {name: all, limits: {gpus: 4}}\n";
//! let errors = Policy::parse("policy.yaml", text).expect_err("`gpus` is no field");
//! assert!(errors[0].render().starts_with("policy.yaml:3:26: error: "));
//! ```
//!
//! [`Policy::parse`] goes in three steps: the text becomes a tree that knows where each value stands (`tree`), a walk
//! over the tree makes the values and collects what is wrong (`top`, `people`, `quota`, with the words of
//! single values in `values`), and the finished policy is checked as a whole (`check`). Errors do not stop the walk, so all are told at
//! once, by position. The text may be hostile: its size, depth, number of nodes and number of messages are bounded, and
//! each step is linear in its size.

mod amounts;
mod check;
mod diagnostic;
mod indent;
mod names;
mod people;
mod quota;
mod reader;
mod top;
mod tree;
mod values;

use sha2::{Digest, Sha256};

pub use diagnostic::{Diagnostic, Excerpt, Severity};
pub use reader::{MAX_DIAGNOSTICS, MAX_ENTRIES};
pub use tree::{MAX_BYTES, MAX_DEPTH, MAX_NODES};
pub use values::{MAX_RATE, MAX_RATE_SPAN, ROLLING, zone};

pub(super) use reader::is_string;
pub(super) use values::{DAYS, budget_step};

use super::model::Policy;
use reader::{Place, Reader};

/// The most quotas in a policy.
pub const MAX_QUOTAS: usize = 1000;
/// The most budgets, labels, alert marks, days or selectors in one place.
pub const MAX_SMALL_LIST: usize = 64;
/// The longest reason, in characters.
pub const MAX_REASON: usize = 500;
/// The largest weight.
pub const MAX_WEIGHT: i64 = 10_000;
/// The highest priority; the lowest is its negative.
pub const MAX_PRIORITY: i64 = 1000;
/// The most org units from a team's up to the root.
pub const MAX_ORG_DEPTH: usize = 32;

/// A policy as read from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The policy.
    pub policy: Policy,
    /// What is doubtful in the file, by position.
    pub warnings: Vec<Diagnostic>,
    /// SHA-256 of the text, in lower-case hexadecimal.
    pub sha256: String,
}

impl Policy {
    /// Reads a policy file. `file_name` is only for the messages.
    ///
    /// # Errors
    ///
    /// All that is wrong with it, sorted by position, with the warnings between; at least one is an error. At most
    /// [`MAX_DIAGNOSTICS`] errors and as many warnings are told, and a last line counts the others.
    pub fn parse(file_name: &str, text: &str) -> Result<Parsed, Vec<Diagnostic>> {
        let body = text.strip_prefix('\u{feff}').unwrap_or(text);
        if body.len() > MAX_BYTES {
            let mut reader = Reader::new(file_name, Vec::new());
            reader.fault(tree::Fault {
                pos: tree::Pos {
                    line: 1,
                    column: 1,
                    width: 1,
                },
                field: String::new(),
                message: format!("the file is larger than {MAX_BYTES} bytes"),
                help: None,
            });
            return Err(reader.finish());
        }
        let mut reader = Reader::new(file_name, tree::lines(body));
        let (root, faults) = tree::read(body, reader.lines());
        for fault in faults {
            reader.fault(fault);
        }
        let policy = root.and_then(|root| {
            let root = Place::root(&root);
            let (policy, clean) = top::read(&mut reader, &root)?;
            check::check(&mut reader, &root, &policy, &clean);
            Some(policy)
        });
        let failed = reader.errors() > 0;
        let found = reader.finish();
        match policy {
            Some(policy) if !failed => Ok(Parsed {
                policy,
                warnings: found,
                sha256: sha256(text),
            }),
            _ => Err(found),
        }
    }
}

fn sha256(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
