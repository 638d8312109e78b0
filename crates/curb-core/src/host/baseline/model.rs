//! A baseline as values: what one workload was measured to need, in each of its scenarios, and with what.

use std::collections::BTreeMap;

use crate::time::{Millis, Timestamp};

use super::{Series, Spread};

/// The scenario in which more is asked than was planned for: it shows what a limit must stop, and sets none.
pub const EDGE: &str = "edge";
/// From the start of a server until it is ready.
pub const START: &str = "start";

/// The measured use of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    /// The workload: 1 to 63 of `a-z`, `0-9` and `-`.
    pub workload: String,
    /// With what the latest scenario was measured. Where an older one was measured with something else, it says so itself
    /// ([`Scenario::stale`]).
    pub evidence: Evidence,
    /// By name.
    pub scenarios: BTreeMap<String, Scenario>,
}

/// With what something was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The program.
    pub program: Program,
    /// Versions of interpreter and frameworks, as they told them.
    pub frameworks: BTreeMap<String, String>,
    /// The files of the model, by name.
    pub model: Vec<ModelFile>,
    /// The machine.
    pub machine: Machine,
}

/// A program. Its arguments are not kept: they may hold secrets, and a baseline is shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// The file's name: the script where an interpreter runs one.
    pub name: String,
    /// Its version, if it was given.
    pub version: Option<String>,
    /// SHA-256 of the file; unknown where it could not be read.
    pub sha256: Option<String>,
}

/// How much of a file went into its fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Every byte.
    All,
    /// Its size, its first and its last 4 MiB: for files that take too long to read.
    Ends,
}

/// A file of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFile {
    /// Its name, as it was given or found.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256.
    pub sha256: String,
    /// Of what.
    pub of: Of,
}

/// What kind of machine it was: what must be alike for figures to hold. No name and no address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// `Linux x86_64`
    pub system: String,
    /// The CPU's model, where it is told.
    pub cpu: Option<String>,
    /// How many CPUs.
    pub cpus: u64,
    /// Memory in KiB.
    pub memory_kib: u64,
    /// Models of its GPUs. `None`: whether there are any could not be read.
    pub gpus: Option<Vec<String>>,
}

/// How memory was measured. Only figures of one kind can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryAs {
    /// As the kernel charges it to the control group: what a limit is held against.
    Charged,
    /// The sum of each process's proportional share.
    Pss,
    /// The sum of what each process has resident: what they share is counted for each.
    Rss,
}

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself: its duration says something.
    Itself,
    /// It was asked to end when what it was measured for was over.
    Asked,
}

/// One scenario of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// When it was measured (to the second).
    pub measured: Timestamp,
    /// How many runs its figures are of.
    pub runs: u32,
    /// How many samples all runs have together.
    pub samples: u64,
    /// The time from one sample to the next.
    pub every: Millis,
    /// How memory was measured.
    pub memory_as: MemoryAs,
    /// How its runs ended.
    pub ended: Ended,
    /// What was measured, each in its own unit. What is not in it is not known.
    pub figures: BTreeMap<Figure, Spread>,
    /// The most memory that each run needed, in KiB.
    pub run_peaks_kib: Vec<u64>,
    /// What its memory is made of, where the program told.
    pub parts: Option<Parts>,
    /// The threads that used most CPU time, the most first, all of a name together: [`THREADS`] at most. Empty: not known.
    pub threads_by_cpu: Vec<ThreadCpu>,
    /// What a reader should know: `hook: not there`.
    pub notes: Vec<String>,
    /// Why its figures are no basis for a limit: it was interrupted, or failed.
    pub cut_short: Option<String>,
    /// What has changed since, each by name.
    pub stale: Vec<String>,
    /// Memory in KiB over the run that needed most.
    pub series: Series,
}

/// So many names of threads are kept of a scenario.
pub const THREADS: usize = 8;

/// CPU time of all threads of one name, of all runs together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadCpu {
    /// The name that they gave themselves: it says nothing of who they are.
    pub name: String,
    /// CPU time while they were watched, in milliseconds.
    pub cpu_ms: u64,
}

/// What one process's resident memory is made of, in KiB, by the marks that it set on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// The interpreter and what the program loaded before the framework.
    pub interpreter_kib: u64,
    /// What importing the framework added.
    pub framework_kib: Option<u64>,
    /// What the weights added.
    pub model_kib: Option<u64>,
    /// What the most of the work added.
    pub work_kib: Option<u64>,
}

macro_rules! figures {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),* $(,)?) => {
        /// What is measured. Its name ends with its unit, if it has one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Figure { $($(#[$doc])* $variant),* }

        impl Figure {
            /// All, in the order of the file.
            pub const ALL: &'static [Figure] = &[$(Figure::$variant),*];

            /// Its name in the file.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Figure::$variant => $name),* }
            }
        }
    };
}

figures! {
    /// Wall clock of a whole run, in milliseconds.
    Duration = "duration_ms",
    /// CPU time of a whole run, in milliseconds.
    CpuTime = "cpu_time_ms",
    /// Memory of all together, as `memory_as` says.
    Memory = "memory_kib",
    /// What a limit must leave room for: memory that is charged less page cache, and the files that are in use, programs
    /// and libraries above all, also where another group was charged for them because it touched them first.
    Needed = "needed_kib",
    /// Page cache that is in it.
    PageCache = "page_cache_kib",
    /// CPUs in use between two samples, in thousandths.
    Cpu = "cpu_milli",
    /// Processes at once.
    Processes = "processes",
    /// Threads of all together at once.
    Threads = "threads",
    /// Open files of the process that has most.
    OpenFiles = "open_files",
    /// Read from disks.
    Read = "read_kib_per_s",
    /// Written to disks.
    Write = "write_kib_per_s",
    /// Part of the time in which something of it waited for memory, in thousandths.
    Stalled = "stalled_permille",
    /// What MLX holds in arrays.
    MlxActive = "mlx_active_kib",
    /// What MLX keeps of freed memory.
    MlxCache = "mlx_cache_kib",
    /// The most that MLX held in arrays.
    MlxPeak = "mlx_peak_kib",
    /// GPU memory of its processes, over all GPUs.
    GpuMemory = "gpu_memory_kib",
    /// Use of the busiest GPU by anybody, in thousandths.
    GpuUse = "gpu_use_permille",
    /// CPUs in use on the whole machine, in thousandths.
    MachineCpu = "machine_cpu_milli",
    /// Memory in use on the whole machine: all less what is available.
    MachineMemory = "machine_memory_kib",
}

impl MemoryAs {
    /// All.
    pub const ALL: [MemoryAs; 3] = [MemoryAs::Charged, MemoryAs::Pss, MemoryAs::Rss];

    /// The word in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            MemoryAs::Charged => "charged",
            MemoryAs::Pss => "pss",
            MemoryAs::Rss => "rss",
        }
    }

    /// For people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            MemoryAs::Charged => "as the kernel charges it to the control group",
            MemoryAs::Pss => "proportional set size, sampled seldom",
            MemoryAs::Rss => "resident set size; what processes share is counted for each",
        }
    }
}

impl Scenario {
    /// A figure, if it is known.
    #[must_use]
    pub fn figure(&self, figure: Figure) -> Option<&Spread> {
        self.figures.get(&figure)
    }

    /// The most that a limit must leave room for, in KiB: what was needed, or else all of its memory.
    #[must_use]
    pub fn need_kib(&self) -> Option<u64> {
        let spread = self.figure(Figure::Needed).or(self.figure(Figure::Memory));
        spread.map(|s| s.p100)
    }
}

impl Baseline {
    /// Takes what was measured just now into a baseline: each scenario replaces the one of its name, and those that were
    /// measured with something else are told so.
    ///
    /// # Errors
    /// The other is of another workload.
    pub fn merge(&mut self, newer: Baseline) -> Result<(), super::Refused> {
        if self.workload != newer.workload {
            return Err(super::Refused::OtherWorkload {
                wanted: newer.workload,
                got: self.workload.clone(),
            });
        }
        let changes = super::changes(&self.evidence, &newer.evidence);
        for (name, scenario) in &mut self.scenarios {
            if !newer.scenarios.contains_key(name) {
                let unsaid: Vec<String> = changes
                    .iter()
                    .map(ToString::to_string)
                    .filter(|c| !scenario.stale.contains(c))
                    .collect();
                scenario.stale.extend(unsaid);
            }
        }
        self.evidence = newer.evidence;
        self.scenarios.extend(newer.scenarios);
        Ok(())
    }
}
