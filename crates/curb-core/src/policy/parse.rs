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
//! [`Policy::parse`] goes in three steps: the text becomes a tree that knows where each value stands (`yaml`), a walk
//! over the tree makes the values and collects what is wrong (`top`, `people`, `quota`, with the words of
//! single values in `values`), and the finished policy is checked as a whole (`check`). Errors do not stop the walk, so all are told at
//! once, by position. The text may be hostile: its size, depth, number of nodes and number of messages are bounded, and
//! each step is linear in its size.

mod amounts;
mod check;
mod names;
mod people;
mod quota;
mod top;
mod values;

pub use crate::yaml::{
    Diagnostic, Excerpt, MAX_BYTES, MAX_DEPTH, MAX_DIAGNOSTICS, MAX_ENTRIES, MAX_NODES, Severity,
};
pub use values::{MAX_RATE, MAX_RATE_SPAN, ROLLING, zone};

pub(super) use values::{DAYS, budget_step};

use super::model::Policy;
use super::schema::home_of;
use crate::yaml::{self, Kind};

/// What this kind of file is called.
const KIND: Kind = Kind {
    a: "a policy",
    star: "to mean everybody, write \"*\" in quotes",
    star_alone: "to mean everybody, each with a bucket of their own, write \"*\" in quotes",
    home_of,
};

/// The most quotas in a policy.
pub const MAX_QUOTAS: usize = 1000;
/// The most budgets, labels, alert marks, days or selectors in one place.
pub const MAX_SMALL_LIST: usize = yaml::read::MAX_SMALL_LIST;
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
        let (policy, warnings) = yaml::parse(&KIND, file_name, text, |reader, root| {
            let (policy, clean) = top::read(reader, root)?;
            check::check(reader, root, &policy, &clean);
            Some(policy)
        })?;
        Ok(Parsed {
            policy,
            warnings,
            sha256: yaml::sha256(text),
        })
    }
}
