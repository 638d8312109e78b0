//! What was counted of a workload, as values.

use crate::limits::Bytes;

/// What the kernel has counted of a group. `None` is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Memory at present.
    pub memory: Option<Bytes>,
    /// Of that, page cache that has not been used for long: given back as soon as another needs it.
    pub memory_idle_cache: Option<Bytes>,
    /// Of that, page cache of files in all; what is in memory alone (shared memory) is no part of it.
    pub memory_cache: Option<Bytes>,
    /// Pages of files that were read back after they had been given up for want of memory.
    pub refaults: Option<u64>,
    /// Faults that waited for a disk.
    pub major_faults: Option<u64>,
    /// For how long all of it stood still for want of memory, in microseconds (pressure stall information; version 2).
    pub stalled_micros: Option<u64>,
    /// The limit on memory that is in force.
    pub memory_limit: Option<Bytes>,
    /// The most memory at once.
    pub memory_peak: Option<Bytes>,
    /// Processes that the kernel killed since the group's memory was at its limit.
    pub oom_kills: Option<u64>,
    /// The kernel killed in it for want of memory of a group above or of the host: its own limit was never met.
    pub killed_from_above: bool,
    /// The tightest limit on memory of the groups above; looked for where that limit may have killed.
    pub memory_limit_above: Option<Bytes>,
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
