//! What may be limited, as values with units.

use std::fmt;
use std::time::Duration;

pub use curb_core::host::limits::CpuSet;
use curb_core::host::limits::{Gpu, Limit, LimitSet};
pub use curb_core::host::{Bytes, BytesPerSecond, MilliCpu, Percent};
use curb_core::time::Millis;

/// The limits of one group of processes; `None` is no limit of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory of all together, page cache of their files included, as the kernel charges it.
    pub memory: Option<Bytes>,
    /// Memory above which the kernel slows it down and takes back what it can.
    pub memory_high: Option<Bytes>,
    /// Swap on top of memory. `None` beside a limit on memory: none is given.
    pub swap: Option<Bytes>,
    /// CPU time of all together in each tenth of a second.
    pub cpu: Option<MilliCpu>,
    /// Share of the CPU against others when it is short: 1 to 10000, 100 being usual.
    pub cpu_weight: Option<u32>,
    /// The CPUs it may run on.
    pub cpu_set: Option<CpuSet>,
    /// Processes and threads together: the kernel counts both as tasks.
    pub tasks: Option<u64>,
    /// Open files of each process.
    pub open_files: Option<u64>,
    /// Reading from each disk that it works on.
    pub io_read: Option<BytesPerSecond>,
    /// Writing to each disk that it works on.
    pub io_write: Option<BytesPerSecond>,
    /// From the start of the command to its end.
    pub duration: Option<Duration>,
    /// CPU time of all its processes together.
    pub cpu_time: Option<Duration>,
    /// What it is told by its environment.
    pub told: Told,
}

/// Limits that a process is told by its environment, and that libraries of it keep to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The GPUs that CUDA shows it.
    pub gpu_visible: Option<Vec<Gpu>>,
    /// Its part of a GPU's threads, kept to by NVIDIA's MPS.
    pub gpu_threads: Option<Percent>,
    /// Its memory of each GPU, kept to by NVIDIA's MPS.
    pub gpu_memory: Option<Bytes>,
    /// What MLX keeps of freed memory.
    pub mlx_cache: Option<Bytes>,
    /// MLX's own memory limit, which it goes past without an error.
    pub mlx_memory: Option<Bytes>,
    /// What MLX keeps resident; of macOS only.
    pub mlx_wired: Option<Bytes>,
}

impl Told {
    /// The variables of CUDA and MPS, with their values. MLX has none: the hook sets its limits.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let mut all = Vec::new();
        if let Some(gpus) = &self.gpu_visible {
            let list: Vec<String> = gpus.iter().map(Gpu::to_string).collect();
            all.push(("CUDA_VISIBLE_DEVICES", list.join(",")));
        }
        if let Some(Percent(part)) = self.gpu_threads {
            all.push(("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", part.to_string()));
        }
        if let Some(Bytes(most)) = self.gpu_memory {
            // For each device by its number among those that it is shown; MPS takes whole megabytes.
            let devices = self.gpu_visible.as_ref().map_or(1, |g| g.len().max(1));
            let each: Vec<String> = (0..devices)
                .map(|n| format!("{n}={}M", most >> 20))
                .collect();
            all.push(("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", each.join(",")));
        }
        all
    }
}

impl From<&LimitSet> for Limits {
    fn from(set: &LimitSet) -> Limits {
        let time = |limit: &Option<Limit<Millis>>| {
            let value = limit.as_ref().map(|l| l.value);
            value.map(|Millis(ms)| Duration::from_millis(ms))
        };
        Limits {
            memory: value(&set.memory),
            memory_high: value(&set.memory_high),
            swap: value(&set.swap),
            cpu: value(&set.cpu),
            cpu_weight: value(&set.cpu_weight),
            cpu_set: value(&set.cpu_set),
            tasks: value(&set.processes),
            open_files: value(&set.open_files),
            io_read: value(&set.io_read),
            io_write: value(&set.io_write),
            duration: time(&set.duration),
            cpu_time: time(&set.cpu_time),
            told: Told {
                gpu_visible: value(&set.gpu_visible),
                gpu_threads: value(&set.gpu_threads),
                gpu_memory: value(&set.gpu_memory),
                mlx_cache: value(&set.mlx_cache),
                mlx_memory: value(&set.mlx_memory),
                mlx_wired: value(&set.mlx_wired),
            },
        }
    }
}

fn value<T: Clone>(limit: &Option<Limit<T>>) -> Option<T> {
    limit.as_ref().map(|l| l.value.clone())
}

/// Why limits make no sense on this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLimit {
    /// Less than any program needs.
    #[error("{what} of {given} is too small: at least {least}")]
    TooSmall {
        /// Which limit.
        what: &'static str,
        /// What was asked for.
        given: String,
        /// The least that is taken.
        least: &'static str,
    },
    /// The kernel would never slow it down: it would be ended before.
    #[error("memory_high of {high} is above memory of {most}: it would never be reached")]
    HighAboveMost {
        /// Where it is slowed down.
        high: String,
        /// The limit.
        most: String,
    },
    /// More open files than this process can give another.
    #[error("open files of {given} are more than curb may give here: {ceiling}")]
    OverCeiling {
        /// What was asked for.
        given: u64,
        /// What it may give, and how that is raised.
        ceiling: FilesCeiling,
    },
    /// More than there is: it would never bind.
    #[error("{what} of {given} is more than this machine has ({has}), so that it would never bind")]
    OverMachine {
        /// Which limit.
        what: &'static str,
        /// What was asked for.
        given: String,
        /// What the machine has.
        has: String,
    },
}

/// The least memory: below it a shell does not start.
pub const LEAST_MEMORY: Bytes = Bytes(1 << 20);
/// The least CPU: the kernel takes no quota below a millisecond in each tenth of a second.
pub const LEAST_CPU: MilliCpu = MilliCpu(10);

impl Limits {
    /// Whether the limits make sense on a machine with so much memory and so many CPUs.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self, memory: Option<Bytes>, cpus: Option<u64>) -> Result<(), BadLimit> {
        if let Some(limit) = self.memory {
            if limit < LEAST_MEMORY {
                return Err(BadLimit::TooSmall {
                    what: "memory",
                    given: size(limit.0),
                    least: "1 MiB",
                });
            }
            if let Some(has) = memory.filter(|has| limit > *has) {
                return Err(BadLimit::OverMachine {
                    what: "memory",
                    given: size(limit.0),
                    has: size(has.0),
                });
            }
        }
        if let Some(limit) = self.cpu {
            if limit < LEAST_CPU {
                return Err(BadLimit::TooSmall {
                    what: "cpu",
                    given: cpu(limit),
                    least: "0.01",
                });
            }
            if let Some(has) = cpus.filter(|has| limit.0 > has.saturating_mul(1000)) {
                return Err(BadLimit::OverMachine {
                    what: "cpu",
                    given: cpu(limit),
                    has: format!("{has} CPUs"),
                });
            }
        }
        for (what, given) in [("processes", self.tasks), ("open files", self.open_files)] {
            let least = if what == "processes" { 1 } else { 3 };
            if let Some(given) = given.filter(|given| *given < least) {
                return Err(BadLimit::TooSmall {
                    what,
                    given: given.to_string(),
                    least: if least == 1 {
                        "1"
                    } else {
                        "3 (the standard streams)"
                    },
                });
            }
        }
        for (what, given) in [("duration", self.duration), ("cpu time", self.cpu_time)] {
            if given.is_some_and(|d| d.is_zero()) {
                return Err(BadLimit::TooSmall {
                    what,
                    given: "0s".to_owned(),
                    least: "1ms",
                });
            }
        }
        self.check_against_each_other()
    }
}

/// How many open files a process may be given by this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilesCeiling {
    /// Its own hard limit.
    Hard(u64),
    /// What the kernel gives anybody.
    Kernel(u64),
}

impl FilesCeiling {
    fn most(self) -> u64 {
        match self {
            FilesCeiling::Hard(most) | FilesCeiling::Kernel(most) => most,
        }
    }
}

impl fmt::Display for FilesCeiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilesCeiling::Hard(most) => write!(
                f,
                "its own hard limit is {most}; give less, or raise that where curb is started (ulimit -Hn as root, \
                 LimitNOFILE= of a unit)"
            ),
            FilesCeiling::Kernel(most) => write!(
                f,
                "the kernel gives nobody more than {most}; give less, or raise that (sysctl fs.nr_open)"
            ),
        }
    }
}

impl Limits {
    /// Whether a process can be given so many open files. `None`: what it can be given is not known.
    ///
    /// # Errors
    /// It cannot.
    pub fn check_open_files(&self, ceiling: Option<FilesCeiling>) -> Result<(), BadLimit> {
        match (self.open_files, ceiling) {
            (Some(given), Some(ceiling)) if given > ceiling.most() => {
                Err(BadLimit::OverCeiling { given, ceiling })
            }
            _ => Ok(()),
        }
    }
}

impl Limits {
    fn check_against_each_other(&self) -> Result<(), BadLimit> {
        if let (Some(high), Some(most)) = (self.memory_high, self.memory)
            && high > most
        {
            return Err(BadLimit::HighAboveMost {
                high: size(high.0),
                most: size(most.0),
            });
        }
        Ok(())
    }
}

/// Bytes for people: `256 MiB`, `1.5 GiB`, `12345 B`; exact where it can be said shortly.
#[must_use]
pub fn size(bytes: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        let one = 1_u64 << shift;
        if bytes >= one {
            let (whole, rest) = (bytes / one, bytes % one);
            // One digit, rounded down: a peak is never told larger than it was.
            let tenth = u128::from(rest) * 10 / u128::from(one);
            return match tenth {
                0 => format!("{whole} {unit}"),
                tenth => format!("{whole}.{tenth} {unit}"),
            };
        }
    }
    format!("{bytes} B")
}

/// CPUs for people: `2`, `0.5`, `1.25`.
#[must_use]
pub fn cpu(amount: MilliCpu) -> String {
    let (whole, rest) = (amount.0 / 1000, amount.0 % 1000);
    match rest {
        0 => whole.to_string(),
        rest => format!("{whole}.{}", format!("{rest:03}").trim_end_matches('0')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_cpus_read_as_people_write_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1 << 20, "1 MiB"),
            (268_435_456, "256 MiB"),
            ((1 << 30) + (1 << 29), "1.5 GiB"),
            ((1 << 30) - 1, "1023.9 MiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (milli, text) in [(2000, "2"), (500, "0.5"), (1250, "1.25"), (10, "0.01")] {
            assert_eq!(cpu(MilliCpu(milli)), text);
        }
    }

    #[test]
    fn limits_that_could_not_hold_are_refused_by_name() {
        let check = |limits: Limits| {
            limits
                .check(Some(Bytes(8 << 30)), Some(4))
                .err()
                .map(|e| e.to_string())
        };
        let limits = Limits::default;
        assert_eq!(check(limits()), None);
        for (wrong, said) in [
            (
                Limits {
                    memory: Some(Bytes(0)),
                    ..limits()
                },
                "memory of 0 B is too small",
            ),
            (
                Limits {
                    memory: Some(Bytes(9 << 30)),
                    ..limits()
                },
                "more than this machine has (8 GiB)",
            ),
            (
                Limits {
                    cpu: Some(MilliCpu(5)),
                    ..limits()
                },
                "cpu of 0.005 is too small",
            ),
            (
                Limits {
                    cpu: Some(MilliCpu(4001)),
                    ..limits()
                },
                "more than this machine has (4 CPUs)",
            ),
            (
                Limits {
                    tasks: Some(0),
                    ..limits()
                },
                "processes of 0 is too small",
            ),
            (
                Limits {
                    open_files: Some(2),
                    ..limits()
                },
                "open files of 2 is too small",
            ),
            (
                Limits {
                    duration: Some(Duration::ZERO),
                    ..limits()
                },
                "duration of 0s is too small",
            ),
        ] {
            let told = check(wrong).expect("refused");
            assert!(told.contains(said), "{told}");
        }
        let files = Limits {
            open_files: Some(5000),
            ..limits()
        };
        assert_eq!(files.check_open_files(None), Ok(()));
        assert_eq!(
            files.check_open_files(Some(FilesCeiling::Hard(5000))),
            Ok(())
        );
        let told = |ceiling| {
            let refused = files.check_open_files(Some(ceiling));
            refused.expect_err("too many").to_string()
        };
        assert!(told(FilesCeiling::Hard(4096)).starts_with(
            "open files of 5000 are more than curb may give here: its own hard limit is 4096; give less"
        ));
        assert!(told(FilesCeiling::Kernel(4999)).contains("sysctl fs.nr_open"));
        // What the machine has is not known: nothing is compared.
        let much = Limits {
            memory: Some(Bytes(1 << 50)),
            ..limits()
        };
        assert_eq!(much.check(None, None), Ok(()));
    }
}
