//! What this machine has, and what of it is left.

use std::path::Path;

use curb_core::host::Permille;

use rustix::process::{Resource, getrlimit};

use crate::layout::{Controller, Layout};
use crate::limits::{Bytes, FilesCeiling};
use crate::privilege::standing;

/// Without a word of the file of limits, this part of the host's memory is left alone by what raises a limit.
const KEEP_FREE: Permille = Permille(50);
/// The bit of CAP_SYS_RESOURCE.
const SYS_RESOURCE: u64 = 1 << 24;
/// Groups above our own are followed so far.
const LEVELS: usize = 32;

/// What this machine has: memory, and how many CPUs.
#[must_use]
pub fn machine() -> (Option<Bytes>, Option<u64>) {
    let here = crate::machine::machine(Path::new("/"));
    let cpus = here.cpus.and_then(|c| u64::try_from(c.0.len()).ok());
    (here.memory, cpus)
}

/// How many open files a process that is started here may be given: our own hard limit, and with the right to pass that,
/// what the kernel gives anybody.
#[must_use]
pub fn most_open_files() -> Option<FilesCeiling> {
    let hard = getrlimit(Resource::Nofile).maximum;
    let kernel = number(Path::new("/proc/sys/fs/nr_open"));
    let may_pass = standing().is_ok_and(|s| s.capabilities & SYS_RESOURCE != 0) && is_first_space();
    match (hard, kernel) {
        (Some(hard), Some(kernel)) if hard < kernel && !may_pass => Some(FilesCeiling::Hard(hard)),
        (Some(hard), None) if !may_pass => Some(FilesCeiling::Hard(hard)),
        (_, kernel) => kernel.map(FilesCeiling::Kernel),
    }
}

/// The right to pass hard limits counts in the first name space of users alone.
fn is_first_space() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// What no action of ours takes of the host: what the file of limits says, else a twentieth of its memory.
#[must_use]
pub fn keep_free(given: Option<Bytes>) -> Bytes {
    given.unwrap_or_else(|| {
        let (memory, _) = machine();
        Bytes(KEEP_FREE.of(memory.map_or(0, |m| m.0)))
    })
}

/// How much more memory a group of ours could have now: what the machine has available, and what the groups that we are in
/// have left, less what is to stay free.
#[must_use]
pub fn memory_left(layout: &Layout, keep_free: Bytes) -> Option<Bytes> {
    let available = meminfo("MemAvailable:")?;
    let above = above(layout).map_or(available, |left| left.min(available));
    Some(Bytes(above.0.saturating_sub(keep_free.0)))
}

/// What the groups that we are in have left; the least of them. `None`: none has a limit that we can see.
fn above(layout: &Layout) -> Option<Bytes> {
    let (dir, limit, usage) = match (layout.v1.get(&Controller::Memory), &layout.v2) {
        (Some(dir), _) => (
            dir.as_path(),
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
        ),
        (None, Some(unified)) => (unified.dir.as_path(), "memory.max", "memory.current"),
        (None, None) => return None,
    };
    let left = |dir: &Path| {
        let limit = number(&dir.join(limit))?;
        Some(limit.saturating_sub(number(&dir.join(usage))?))
    };
    let all = dir.ancestors().take(LEVELS).filter_map(left);
    all.min().map(Bytes)
}

fn number(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn meminfo(key: &str) -> Option<Bytes> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1024).map(Bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_word_of_the_file_a_twentieth_of_the_host_stays_free() {
        let (memory, _) = machine();
        let all = memory.expect("/proc/meminfo").0;
        let kept = keep_free(None).0;
        assert!(kept > 0 && kept.abs_diff(all / 20) <= 20, "{kept} of {all}");
        assert_eq!(keep_free(Some(Bytes(7))), Bytes(7));
    }
}
