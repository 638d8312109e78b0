//! The machine as a whole.

use curb_core::host::Bytes;
use curb_core::host::sample::{MachineSample, Micros};

use crate::proc::Procfs;

/// Fields of the first line of `/proc/stat` that are work: user, nice, system, irq, softirq, steal. Not idle and iowait;
/// guest time is in user time.
const WORK: [usize; 6] = [0, 1, 2, 5, 6, 7];

pub(super) fn read(procfs: &Procfs, tick_us: u64) -> MachineSample {
    let meminfo = procfs.machine("meminfo").unwrap_or_default();
    let stat = procfs.machine("stat").unwrap_or_default();
    MachineSample {
        memory: kib(&meminfo, "MemTotal:"),
        available: kib(&meminfo, "MemAvailable:"),
        cpu: busy(&stat, tick_us),
    }
}

fn kib(text: &str, name: &str) -> Option<Bytes> {
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Bytes(kib.checked_mul(1024)?))
}

fn busy(stat: &str, tick_us: u64) -> Option<Micros> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line
        .split_ascii_whitespace()
        .map_while(|f| f.parse().ok())
        .collect();
    let parts: Option<Vec<u64>> = WORK.iter().map(|i| fields.get(*i).copied()).collect();
    Some(Micros(parts?.iter().sum::<u64>().checked_mul(tick_us)?))
}
