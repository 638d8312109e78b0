//! What this machine has, for checks against it.

use std::fs;
use std::path::Path;

use curb_core::host::Bytes;
use curb_core::host::limits::Host;

/// Memory and CPUs that are online, as the kernel tells them below `root` (`/`). What it does not tell is not known; on
/// macOS, that is both.
#[must_use]
pub fn machine(root: &Path) -> Host {
    let online = fs::read_to_string(root.join("sys/devices/system/cpu/online"));
    let memory = fs::read_to_string(root.join("proc/meminfo"));
    Host {
        memory: memory.ok().and_then(|text| total(&text)),
        cpus: online.ok().and_then(|text| text.trim().parse().ok()),
    }
}

fn total(meminfo: &str) -> Option<Bytes> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1024).map(Bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_cpus_are_those_that_the_kernel_tells() {
        let root = tempfile::tempdir().expect("a directory");
        let file = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("below the root")).expect("made");
            fs::write(path, text).expect("written");
        };
        file("proc/meminfo", "MemTotal:       16384 kB\nMemFree:  1 kB\n");
        file("sys/devices/system/cpu/online", "0-1,3\n");
        let host = machine(root.path());
        assert_eq!(host.memory, Some(Bytes(16 << 20)));
        assert_eq!(host.cpus.map(|c| c.to_string()).as_deref(), Some("0-1,3"));
    }

    #[test]
    fn what_is_not_told_is_not_known() {
        let root = tempfile::tempdir().expect("a directory");
        assert_eq!(machine(root.path()), Host::default());
    }
}
