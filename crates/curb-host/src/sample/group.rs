//! What the kernel counts of a group, by the files that are there: version 1, version 2, and both.

use std::fs;
use std::path::{Path, PathBuf};

use curb_core::host::Bytes;
use curb_core::host::baseline::MemoryAs;
use curb_core::host::sample::{Micros, Tree};

use crate::group::Group;

/// The directories of one group, one in each tree, and what they can tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupFiles {
    /// Where memory is charged, and whether that is version 2.
    memory: Option<(PathBuf, bool)>,
    /// Where CPU time is counted.
    cpu: Option<Cpu>,
    /// Where waiting is counted.
    pressure: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Cpu {
    /// `cpu.stat` with `usage_usec` (version 2).
    Stat(PathBuf),
    /// `cpuacct.usage` in nanoseconds (version 1).
    Usage(PathBuf),
}

impl GroupFiles {
    /// Of a group that we made.
    #[must_use]
    pub fn of(group: &Group) -> GroupFiles {
        let doors = group.doors();
        let dirs: Vec<&Path> = doors.iter().filter_map(|d| d.parent()).collect();
        GroupFiles::at(&dirs)
    }

    /// Of the group with these directories.
    #[must_use]
    pub fn at(dirs: &[&Path]) -> GroupFiles {
        let find = |file: &str| dirs.iter().map(|d| d.join(file)).find(|path| path.exists());
        let dir_of = |path: PathBuf| path.parent().map(Path::to_path_buf);
        let v2 = find("memory.current").and_then(dir_of).map(|d| (d, true));
        let v1 = || {
            let dir = find("memory.usage_in_bytes").and_then(dir_of);
            dir.map(|d| (d, false))
        };
        let stat = dirs
            .iter()
            .map(|d| d.join("cpu.stat"))
            .find(|path| field(path, "usage_usec").is_some());
        GroupFiles {
            memory: v2.or_else(v1),
            cpu: stat
                .map(Cpu::Stat)
                .or_else(|| find("cpuacct.usage").map(Cpu::Usage)),
            pressure: find("memory.pressure"),
        }
    }

    /// Whether memory is charged to it.
    #[must_use]
    pub fn charges(&self) -> bool {
        self.memory.is_some()
    }

    /// Puts what the group knows into the place of what was added up. `mapped` is what the process that has most of it has
    /// in memory with a file behind it.
    pub(super) fn fill(&self, tree: &mut Tree, mapped: Bytes) {
        if let Some((dir, v2)) = &self.memory {
            memory(dir, *v2, mapped, tree);
        }
        tree.cpu = match &self.cpu {
            Some(Cpu::Stat(path)) => field(path, "usage_usec").map(Micros),
            Some(Cpu::Usage(path)) => number(path).map(|ns| Micros(ns / 1000)),
            None => None,
        };
        tree.stalled = self.pressure.as_deref().and_then(some_total);
    }

    /// Has the kernel count the peak anew. Not every kernel can; whether it did.
    #[must_use]
    pub fn reset_peak(&self) -> bool {
        match &self.memory {
            Some((dir, false)) => fs::write(dir.join("memory.max_usage_in_bytes"), "0").is_ok(),
            // Version 2 keeps the reset to the descriptor that asked for it: what others read stays.
            Some((_, true)) | None => false,
        }
    }
}

fn memory(dir: &Path, v2: bool, mapped: Bytes, tree: &mut Tree) {
    let (usage, peak) = match v2 {
        true => ("memory.current", "memory.peak"),
        false => ("memory.usage_in_bytes", "memory.max_usage_in_bytes"),
    };
    let Some(all) = number(&dir.join(usage)) else {
        return;
    };
    tree.memory_as = MemoryAs::Charged;
    tree.memory = Some(Bytes(all));
    tree.peak = number(&dir.join(peak)).map(Bytes);
    let stat = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
    // Version 1 has its own and, with all below it, the totals.
    let (cache, droppable) = match v2 {
        true => (line(&stat, "file"), line(&stat, "inactive_file")),
        false => (
            line(&stat, "total_cache"),
            line(&stat, "total_inactive_file"),
        ),
    };
    tree.page_cache = cache.map(Bytes);
    // Files that are in use, programs and libraries above all: those that are charged here, or all that are mapped, since who
    // touched them first pays for them, and that may be this group after the next start of the machine.
    let files_in_use = |cache: u64, droppable: u64| cache.saturating_sub(droppable).max(mapped.0);
    tree.needed = cache.zip(droppable).map(|(cache, d)| {
        Bytes(
            all.saturating_sub(cache)
                .saturating_add(files_in_use(cache, d)),
        )
    });
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The number behind a name at the beginning of a line.
fn line(text: &str, name: &str) -> Option<u64> {
    let rest = |l: &'_ str| l.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(rest)
}

fn field(path: &Path, name: &str) -> Option<u64> {
    line(&fs::read_to_string(path).ok()?, name)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=1234`, in microseconds.
fn some_total(path: &Path) -> Option<Micros> {
    let text = fs::read_to_string(path).ok()?;
    let some = text.lines().find_map(|l| l.strip_prefix("some "))?;
    let total = some.split(' ').find_map(|f| f.strip_prefix("total="))?;
    total.parse().ok().map(Micros)
}
