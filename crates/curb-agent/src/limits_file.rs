//! `limits.yaml`, read again when it changes.

use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use curb_core::host::baseline::{self, Baseline, Figure};
use curb_core::host::detect::Usual;
use curb_core::host::limits::{Diagnostic, File, Host, Severity, Workload};
use curb_core::host::{Bytes, MilliCpu};

/// A file of limits, and a baseline, is at most this long.
const LONGEST: u64 = 1 << 20;
/// Everybody may write it.
const OTHERS_WRITE: u32 = 0o002;
/// In such a directory files are removed and renamed by their owners alone.
const STICKY: u32 = 0o1000;

/// What tells that a file was changed: written, or replaced by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

/// The file, and what is in force of it.
#[derive(Debug)]
pub struct LimitsFile {
    path: PathBuf,
    stamp: Option<Stamp>,
    file: File,
}

/// What reading it gave.
#[derive(Debug)]
pub enum Reading {
    /// It has not changed.
    Same,
    /// It was read, and is in force from now on.
    New {
        /// What is odd in it.
        warnings: Vec<String>,
    },
    /// It is wrong; what was in force stays.
    Wrong {
        /// What is wrong.
        errors: Vec<String>,
    },
}

impl LimitsFile {
    /// A file that was not read yet.
    #[must_use]
    pub fn new(path: PathBuf) -> LimitsFile {
        LimitsFile {
            path,
            stamp: None,
            file: File::default(),
        }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in force.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where paths in it begin.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    /// Reads it, if it has changed or `always`.
    pub fn read(&mut self, host: &Host, always: bool) -> Reading {
        let stamp = stamp(&self.path);
        if !always && stamp == self.stamp {
            return Reading::Same;
        }
        self.stamp = stamp;
        let text = match text(&self.path, true) {
            Ok(text) => text,
            Err(why) => return Reading::Wrong { errors: vec![why] },
        };
        let name = self.path.display().to_string();
        match File::parse(&name, &text, host) {
            Ok(parsed) => {
                self.file = parsed.file;
                let warnings = parsed.warnings.iter().map(short).collect();
                Reading::New { warnings }
            }
            Err(all) => {
                let errors = all.iter().filter(|d| d.severity == Severity::Error);
                Reading::Wrong {
                    errors: errors.map(short).collect(),
                }
            }
        }
    }

    /// What is usual for a workload, of its baseline; nothing, where it has none.
    ///
    /// # Errors
    /// The baseline cannot be used: why.
    pub fn usual(&self, workload: &Workload) -> Result<Usual, String> {
        let Some(path) = &workload.baseline else {
            return Ok(Usual::default());
        };
        let path = self.directory().join(path);
        let text = text(&path, false)?;
        let name = path.display().to_string();
        let baseline = baseline::parse(&name, &text).map_err(|all| {
            all.first()
                .map_or_else(|| format!("{name}: it is no baseline"), short)
        })?;
        if baseline.workload != workload.name {
            return Err(format!("{name} is the baseline of {}", baseline.workload));
        }
        Ok(usual(&baseline))
    }
}

/// The largest of all scenarios but those that show what a limit must stop.
fn usual(baseline: &Baseline) -> Usual {
    let scenarios = || {
        let all = baseline.scenarios.iter();
        let sound =
            all.filter(|(name, s)| name.as_str() != baseline::EDGE && s.cut_short.is_none());
        sound.map(|(_, s)| s)
    };
    let high = |figure| {
        scenarios()
            .filter_map(|s| s.figure(figure))
            .map(|s| s.p99)
            .max()
    };
    let threads = high(Figure::Threads);
    Usual {
        memory_median: scenarios()
            .filter_map(|s| s.figure(Figure::Memory))
            .map(|s| s.p50)
            .max()
            .map(|kib| Bytes(kib << 10)),
        memory_high: high(Figure::Memory).map(|kib| Bytes(kib << 10)),
        cpu_high: high(Figure::Cpu).map(MilliCpu),
        tasks_high: threads,
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some(Stamp {
        inode: meta.ino(),
        size: meta.size(),
        changed: (meta.mtime(), meta.mtime_nsec()),
    })
}

/// The text of a file; `obeyed`: of one that says what is done, so that not everybody may write it.
fn text(path: &Path, obeyed: bool) -> Result<String, String> {
    let unreadable = |e: std::io::Error| format!("{}: {e}", path.display());
    // A pipe in its place is not waited for.
    let mut open = fs::OpenOptions::new();
    let open = open
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = open.open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(format!("{}: it is no file", path.display()));
    }
    if obeyed {
        not_everybody_s(path, &file, &meta)?;
    }
    let mut text = String::new();
    file.take(LONGEST + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    match u64::try_from(text.len()) {
        Ok(length) if length <= LONGEST => Ok(text),
        _ => Err(format!("{}: longer than {} bytes", path.display(), LONGEST)),
    }
}

/// Whoever may write the file, or put another in its place, has the agent do what they like to processes of others.
fn not_everybody_s(path: &Path, file: &fs::File, meta: &fs::Metadata) -> Result<(), String> {
    if meta.mode() & OTHERS_WRITE != 0 {
        let path = path.display();
        return Err(format!(
            "{path}: everybody may write it, and so have the agent stop what they like: chmod o-w {path}"
        ));
    }
    let given = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let unknown = |e: std::io::Error| format!("{}: {e}", path.display());
    // Where the name is, and where the file is that links led to.
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    let opened = fs::read_link(link).map_err(unknown)?;
    let given = fs::canonicalize(given).map_err(unknown)?;
    for dir in given.ancestors().chain(opened.ancestors().skip(1)) {
        let mode = fs::metadata(dir)
            .map_err(|e| format!("{}: {e}", dir.display()))?
            .mode();
        if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
            let dir = dir.display();
            return Err(format!(
                "{}: everybody may put another file in its place: chmod o-w {dir}",
                path.display()
            ));
        }
    }
    Ok(())
}

/// `file:line:column: what`
fn short(d: &Diagnostic) -> String {
    format!("{}:{}:{}: {}", d.file, d.line, d.column, d.message)
}
