//! What the kernel has counted of a group.

use std::fs;

use super::files::{field, field_of, number};
use super::{Group, Place};
use crate::layout::Controller;
use crate::limits::Bytes;

/// A limit of version 1 that is none: the largest number of pages, in bytes.
const NO_LIMIT_V1: u64 = 1 << 62;

/// What the kernel has counted of a group. `None` is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Memory at present.
    pub memory: Option<Bytes>,
    /// Of that, page cache that has not been used for long: given back as soon as another needs it.
    pub memory_idle_cache: Option<Bytes>,
    /// The limit on memory that is in force.
    pub memory_limit: Option<Bytes>,
    /// The most memory at once.
    pub memory_peak: Option<Bytes>,
    /// Processes that the kernel killed since the group's memory was at its limit.
    pub oom_kills: Option<u64>,
    /// Whether it waits for memory now, being killed for it switched off (version 1).
    pub waits_for_memory: Option<bool>,
    /// How often the memory limit was met and something was given back instead.
    pub memory_hits: Option<u64>,
    /// How often it was slowed down for more memory than `memory_high` (version 2).
    pub high_hits: Option<u64>,
    /// CPU time of all together, those that have ended included, in microseconds.
    pub cpu_micros: Option<u64>,
    /// Periods in which the CPU quota held it back.
    pub throttled: Option<u64>,
    /// Processes and threads at present.
    pub tasks: Option<u64>,
    /// Forks that the limit on processes refused.
    pub fork_refusals: Option<u64>,
}

impl Group {
    /// What the kernel has counted until now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        if let Some(place) = self.place(Controller::Memory) {
            match place.v2 {
                true => memory_v2(place, &mut counts),
                false => memory_v1(place, &mut counts),
            }
        }
        if let Some(Place { dir, .. }) = self.place(Controller::Cpu) {
            counts.throttled = field(&dir.join("cpu.stat"), "nr_throttled");
        }
        counts.cpu_micros = self.cpu_micros();
        if let Some(Place { dir, .. }) = self.place(Controller::Pids) {
            counts.tasks = number(&dir.join("pids.current"));
            counts.fork_refusals = field(&dir.join("pids.events"), "max");
        }
        counts
    }

    fn cpu_micros(&self) -> Option<u64> {
        if let Some(unified) = &self.unified {
            return field(&unified.join("cpu.stat"), "usage_usec");
        }
        let place = self.place(Controller::Cpuacct)?;
        Some(number(&place.dir.join("cpuacct.usage"))? / 1000)
    }
}

fn memory_v2(place: &Place, counts: &mut Counts) {
    let bytes = |file: &str| number(&place.dir.join(file)).map(Bytes);
    counts.memory = bytes("memory.current");
    counts.memory_idle_cache = field(&place.dir.join("memory.stat"), "inactive_file").map(Bytes);
    counts.memory_limit = bytes("memory.max");
    counts.memory_peak = bytes("memory.peak");
    if let Ok(events) = fs::read_to_string(place.dir.join("memory.events")) {
        counts.oom_kills = field_of(&events, "oom_kill");
        counts.memory_hits = field_of(&events, "max");
        counts.high_hits = field_of(&events, "high");
    }
}

fn memory_v1(place: &Place, counts: &mut Counts) {
    let bytes = |file: &str| number(&place.dir.join(file)).map(Bytes);
    counts.memory = bytes("memory.usage_in_bytes");
    let stat = place.dir.join("memory.stat");
    counts.memory_idle_cache = field(&stat, "total_inactive_file").map(Bytes);
    counts.memory_limit = bytes("memory.limit_in_bytes").filter(|b| b.0 < NO_LIMIT_V1);
    counts.memory_peak = bytes("memory.max_usage_in_bytes");
    counts.memory_hits = number(&place.dir.join("memory.failcnt"));
    if let Ok(oom) = fs::read_to_string(place.dir.join("memory.oom_control")) {
        counts.oom_kills = field_of(&oom, "oom_kill");
        counts.waits_for_memory = field_of(&oom, "under_oom").map(|n| n > 0);
    }
}
