//! Files that people write: YAML without its traps, read into a tree that knows where each value stands, and everything
//! that is wrong with it told at once, by line and column, with what would be right.
//!
//! What a file of one kind may hold stands in tables of fields ([`Field`]), from which the reader takes the names and the
//! published JSON Schema takes names, types and descriptions. The text may be hostile: its size, depth, number of nodes
//! and number of messages are bounded, and each step is linear in its size.

mod diagnostic;
pub mod form;
mod indent;
pub mod read;
mod reader;
mod tree;
pub mod values;
pub mod write;

use sha2::{Digest, Sha256};

pub use diagnostic::{Diagnostic, Excerpt, Severity, clip, quoted};
pub use form::Field;
pub use reader::{MAX_DIAGNOSTICS, MAX_ENTRIES, Place, Reader, Step, is_string};
pub use tree::{MAX_BYTES, MAX_DEPTH, MAX_NODES, Value};

/// A kind of file, for the messages.
pub struct Kind {
    /// What it is, with its article: `a policy`.
    pub a: &'static str,
    /// What to write in place of an alias.
    pub star: &'static str,
    /// What to write in place of a `*` alone.
    pub star_alone: &'static str,
    /// In which map a field lives, for who wrote it elsewhere.
    pub home_of: fn(&str) -> Option<&'static str>,
}

/// What was made of a file, and what is doubtful in it, by position.
pub type Taken<T> = (T, Vec<Diagnostic>);

/// Reads a file of a kind by a walk over its tree. `file_name` is only for the messages.
///
/// # Errors
/// All that is wrong with it, by position, with the warnings between; at least one is an error. At most
/// [`MAX_DIAGNOSTICS`] errors and as many warnings are told, and a last line counts the others.
pub fn parse<T>(
    kind: &'static Kind,
    file_name: &str,
    text: &str,
    walk: impl FnOnce(&mut Reader<'_>, &Place<'_>) -> Option<T>,
) -> Result<Taken<T>, Vec<Diagnostic>> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    if body.len() > MAX_BYTES {
        let mut reader = Reader::new(kind, file_name, Vec::new());
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
    let mut reader = Reader::new(kind, file_name, tree::lines(body));
    let (root, faults) = tree::read(kind, body, reader.lines());
    for fault in faults {
        reader.fault(fault);
    }
    let made = root.and_then(|root| walk(&mut reader, &Place::root(&root)));
    let failed = reader.errors() > 0;
    let found = reader.finish();
    match made {
        Some(made) if !failed => Ok((made, found)),
        _ => Err(found),
    }
}

/// SHA-256 of a text, in lower-case hexadecimal.
pub fn sha256(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
