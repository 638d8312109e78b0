//! Reading a file of limits: text in, a checked [`File`] or everything that is wrong with it out.
//!
//! ```
//! use curb_core::host::limits::{File, Host};
//!
//! let text = "version: 1\nworkloads:\n  - name: chat\n    limits: {memory: 4GiB}\n";
//! let errors = File::parse("limits.yaml", text, &Host::default()).expect_err("no reason is given");
//! assert!(errors[0].render().starts_with("limits.yaml:4:22: error: "));
//! ```
//!
//! A walk over the tree makes the values and collects what is wrong with each (`workload`, `limits`, `ladder`, with
//! the words of single values in `values`); then the whole is checked: each workload against itself (`check`), against
//! the host, and against the others (`rules`). Errors do not stop the walk, so all are told at once, by position.

mod check;
mod ladder;
mod limits;
mod rules;
mod steps;
mod values;
mod workload;

pub(super) use values::SIGNALS;

use super::fields::{self, home_of};
use super::model::{CpuSet, File, HostBounds};
use crate::host::Bytes;
use crate::yaml::{self, Diagnostic, Kind, Place, Reader, quoted};

/// The most workloads in a file.
pub const MAX_WORKLOADS: usize = 1000;
/// The most steps of a ladder.
pub const MAX_LADDER: usize = 32;
/// The most words of a command.
pub const MAX_ARGUMENTS: usize = 256;
/// The longest reason, in characters.
pub const MAX_WHY: usize = 500;
/// The longest other text, in characters.
pub const MAX_TEXT: usize = 4096;
/// The largest weight of CPU, as control groups of version 2 have it.
pub const MAX_WEIGHT: u32 = 10_000;
/// The host that a file is for; what is not known is not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// All its memory.
    pub memory: Option<Bytes>,
    /// Its CPUs by number.
    pub cpus: Option<CpuSet>,
}

/// A file of limits as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The limits.
    pub file: File,
    /// What is doubtful in the file, by position.
    pub warnings: Vec<Diagnostic>,
    /// SHA-256 of the text, in lower-case hexadecimal.
    pub sha256: String,
}

/// What this kind of file is called.
const KIND: Kind = Kind {
    a: "a file of limits",
    star: "to mean any text in a pattern, put the whole pattern in quotes",
    star_alone: "put a pattern that begins with `*` in quotes",
    home_of,
};

impl File {
    /// Reads a file of limits for a host. `file_name` is only for the messages.
    ///
    /// # Errors
    ///
    /// All that is wrong with it, sorted by position, with the warnings between; at least one is an error. At most
    /// [`crate::policy::MAX_DIAGNOSTICS`] errors and as many warnings are told, and a last line counts the others.
    pub fn parse(file_name: &str, text: &str, host: &Host) -> Result<Parsed, Vec<Diagnostic>> {
        let (file, warnings) = yaml::parse(&KIND, file_name, text, |r, root| {
            let file = read(r, root)?;
            check::check(r, root, &file, host);
            Some(file)
        })?;
        Ok(Parsed {
            file,
            warnings,
            sha256: yaml::sha256(text),
        })
    }
}

fn read(r: &mut Reader<'_>, root: &Place<'_>) -> Option<File> {
    let wanted = "the fields of a file of limits, such as `version: 1`";
    if !r.is_map_of(root, fields::TOP, wanted) {
        return None;
    }
    r.version_1(root);
    Some(File {
        version: 1,
        host: root.field("host").map(|h| host(r, &h)).unwrap_or_default(),
        workloads: root
            .field("workloads")
            .map(|w| workloads(r, &w))
            .unwrap_or_default(),
    })
}

fn host(r: &mut Reader<'_>, at: &Place<'_>) -> HostBounds {
    r.is_map_of(at, fields::HOST, "`{keep_free: {memory: 2GiB}}`");
    let keep_free = at.field("keep_free").and_then(|keep| {
        r.is_map_of(&keep, fields::KEEP_FREE, "`{memory: 2GiB}`");
        match keep.field("memory") {
            Some(memory) => values::some_bytes(r, &memory),
            None => {
                r.missing(&keep, "memory", "such as `{memory: 2GiB}`");
                None
            }
        }
    });
    HostBounds {
        keep_free,
        wired: at.field("wired").and_then(|w| values::some_bytes(r, &w)),
    }
}

fn workloads(r: &mut Reader<'_>, at: &Place<'_>) -> Vec<super::model::Workload> {
    if !r.is_list(at, "a list of workloads") {
        return Vec::new();
    }
    let count = at.items().count();
    if count > MAX_WORKLOADS {
        let message = format!("{count} workloads: at most {MAX_WORKLOADS} fit in a file");
        r.error_at_key(at, &message, "make it several files");
        return Vec::new();
    }
    at.items().map(|one| workload::read(r, &one)).collect()
}

/// A workload's name in messages.
fn called(name: &str) -> String {
    if name.is_empty() {
        "this workload".to_owned()
    } else {
        quoted(name)
    }
}
