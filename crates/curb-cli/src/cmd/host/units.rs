//! Finding the files of a systemd unit (systemd.unit(5)).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use curb_core::host::audit::{Unit, UnitText, slice_chain, slice_of};

use crate::ctx::read_file;

/// Where units are, the first before the others. What `systemctl set-property` was given comes before all else.
const DIRECTORIES: [&str; 8] = [
    "etc/systemd/system.control",
    "run/systemd/system.control",
    "run/systemd/transient",
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];
/// No unit has more drop-ins than this.
const MOST_DROP_INS: usize = 256;

/// A unit by its name or its file, with its drop-ins and the slices above it.
pub(super) fn find(root: &Path, name: &str) -> Unit {
    let mut directories: Vec<PathBuf> = DIRECTORIES.iter().map(|d| root.join(d)).collect();
    let path = Path::new(name);
    let mut unit = Unit::default();
    if name.contains('/') || path.is_file() {
        let file = path.file_name().map(|n| n.to_string_lossy().into_owned());
        unit.name = file.unwrap_or_else(|| name.to_owned());
        // What lies beside it comes first.
        let beside = path.parent().filter(|p| !p.as_os_str().is_empty());
        directories.insert(0, beside.unwrap_or(Path::new(".")).to_owned());
        add(&mut unit, path);
        // A file that is named is audited with what lies beside it, and not with what is installed here.
        drop_ins(&mut unit, &directories[..1]);
    } else {
        unit.name = match name.contains('.') {
            true => name.to_owned(),
            false => format!("{name}.service"),
        };
        if file(&mut unit, &directories) {
            drop_ins(&mut unit, &directories);
        }
    }
    for slice in slice_chain(&slice_of(&unit.files)) {
        let mut above = Unit {
            name: slice,
            ..Unit::default()
        };
        // A slice needs no file of its own.
        file(&mut above, &directories);
        drop_ins(&mut above, &directories);
        if !above.files.is_empty() {
            unit.unread.append(&mut above.unread);
            unit.slices.push(above);
        }
    }
    unit
}

/// The unit's file (that of its template, if it has none of its own); whether there is one.
fn file(unit: &mut Unit, directories: &[PathBuf]) -> bool {
    let names = [Some(unit.name.clone()), template(&unit.name)];
    let found = names.iter().flatten().find_map(|name| {
        let at = |d: &PathBuf| Some(d.join(name)).filter(|p| p.exists());
        directories.iter().find_map(at)
    });
    if let Some(path) = &found {
        add(unit, path);
    }
    found.is_some()
}

/// `chat@.service` of `chat@1.service`.
fn template(name: &str) -> Option<String> {
    let (bare, kind) = name.rsplit_once('.')?;
    let (head, _) = bare.split_once('@')?;
    Some(format!("{head}@.{kind}"))
}

/// Drop-ins for all of its kind, for those whose names begin alike, and for itself. Of several with one name the first
/// directory's counts; they are read in the order of their names.
fn drop_ins(unit: &mut Unit, directories: &[PathBuf]) {
    let Some((bare, kind)) = unit.name.rsplit_once('.') else {
        return;
    };
    let mut names = vec![kind.to_owned()];
    let dashes = bare.match_indices('-').map(|(at, _)| at);
    names.extend(dashes.map(|at| format!("{}-.{kind}", &bare[..at])));
    names.extend(template(&unit.name));
    names.push(unit.name.clone());
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    // The last that is put in stays: the nearest directory of the nearest name.
    for name in &names {
        for directory in directories.iter().rev() {
            let below = directory.join(format!("{name}.d"));
            let entries = match std::fs::read_dir(&below) {
                Ok(entries) => entries,
                Err(error) => {
                    if error.kind() != std::io::ErrorKind::NotFound {
                        unit.unread.push(format!("{}: {error}", below.display()));
                    }
                    continue;
                }
            };
            for entry in entries.flatten().take(MOST_DROP_INS) {
                let file = entry.file_name().to_string_lossy().into_owned();
                if file.ends_with(".conf") {
                    found.insert(file, entry.path());
                }
            }
        }
    }
    for path in found.into_values() {
        add(unit, &path);
    }
}

fn add(unit: &mut Unit, path: &Path) {
    match read_file(path, "the unit") {
        Ok(text) => unit.files.push(UnitText {
            path: path.display().to_string(),
            text,
        }),
        Err(failure) => unit.unread.push(failure.message),
    }
}
