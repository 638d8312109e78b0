//! `curb audit`: are limits in place now, and if not, how bad is it and what mends it?
//!
//! Whatever is looked at (the processes of a host, a Compose file, Kubernetes manifests, systemd units) becomes
//! [`Subject`]s, whose limits are [`Effective`]: held, not there, decided elsewhere, or unknown. One set of rules
//! ([`check`]) is run over them; what only a reader of files can see (a value that is none, a field in the wrong place)
//! its reader finds by itself. What could not be read is unknown: never fine, and never missing.
//!
//! Reading is somebody else's work: files come as text, processes as values.

mod check;
mod compose;
mod finding;
mod kubernetes;
mod limit_range;
mod member;
mod mend;
mod merge;
mod ml;
mod page;
mod quantity;
mod rules;
mod sarif;
mod subject;
mod systemd;
mod unit_file;
mod yaml;

pub use check::{check, unreadable_processes};
pub use compose::{audit as audit_compose, count_cpus};
pub use finding::{Finding, Mend, Report, Severity, Spot, Target};
pub use kubernetes::audit as audit_kubernetes;
pub use member::{Container, container_of, unit_of};
pub use ml::{Framework, frameworks};
pub use page::{one_rule, page};
pub use rules::Rule;
pub use sarif::sarif;
pub use subject::{Effective, Gpus, Held, Kind, Machine, Member, Subject};
pub use systemd::{Unit, UnitText, audit as audit_systemd, slice_chain, slice_of};

#[cfg(test)]
mod tests;
