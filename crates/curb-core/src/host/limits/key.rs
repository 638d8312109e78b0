//! The limits by name: what holds each, when it takes effect, and all of a workload as rows.

use std::cmp::Ordering;
use std::fmt;

use serde::Serialize;

use super::model::{Accepted, CpuSet, Gpu, Limit, LimitSet};
use crate::host::{Bytes, BytesPerSecond, MilliCpu, Percent};
use crate::time::Millis;
use crate::yaml::write;

/// A limit's name in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // each is told by `does`
pub enum Key {
    Memory,
    MemoryHigh,
    Swap,
    Cpu,
    CpuWeight,
    CpuSet,
    Processes,
    OpenFiles,
    IoRead,
    IoWrite,
    Duration,
    CpuTime,
    GpuVisible,
    GpuThreads,
    GpuMemory,
    MlxCache,
    MlxMemory,
    MlxWired,
}

/// How firm a limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// The kernel refuses, slows down or kills; the process cannot go past it.
    Kernel,
    /// curb looks and acts: the process may be past it for the time of a look.
    Watched,
    /// The GPU's driver holds processes that were started under it.
    Driver,
    /// The framework holds itself to it; other code in the process need not.
    Framework,
    /// It asks; nothing holds the process to it.
    Advisory,
}

/// When a changed limit takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Takes {
    /// On what runs.
    AtOnce,
    /// At the next start of the workload.
    AtStart,
}

impl Hold {
    /// The word in tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Hold::Kernel => "kernel",
            Hold::Watched => "watched",
            Hold::Driver => "driver",
            Hold::Framework => "framework",
            Hold::Advisory => "advisory",
        }
    }
}

impl Takes {
    /// The words in tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Takes::AtOnce => "at once",
            Takes::AtStart => "at start",
        }
    }
}

impl Key {
    /// All, in the order of the file's reference.
    pub const ALL: [Key; 18] = [
        Key::Memory,
        Key::MemoryHigh,
        Key::Swap,
        Key::Cpu,
        Key::CpuWeight,
        Key::CpuSet,
        Key::Processes,
        Key::OpenFiles,
        Key::IoRead,
        Key::IoWrite,
        Key::Duration,
        Key::CpuTime,
        Key::GpuVisible,
        Key::GpuThreads,
        Key::GpuMemory,
        Key::MlxCache,
        Key::MlxMemory,
        Key::MlxWired,
    ];

    /// The name in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Key::Memory => "memory",
            Key::MemoryHigh => "memory_high",
            Key::Swap => "swap",
            Key::Cpu => "cpu",
            Key::CpuWeight => "cpu_weight",
            Key::CpuSet => "cpu_set",
            Key::Processes => "processes",
            Key::OpenFiles => "open_files",
            Key::IoRead => "io_read",
            Key::IoWrite => "io_write",
            Key::Duration => "duration",
            Key::CpuTime => "cpu_time",
            Key::GpuVisible => "gpu_visible",
            Key::GpuThreads => "gpu_threads",
            Key::GpuMemory => "gpu_memory",
            Key::MlxCache => "mlx_cache",
            Key::MlxMemory => "mlx_memory",
            Key::MlxWired => "mlx_wired",
        }
    }

    /// How firm it is.
    #[must_use]
    pub const fn hold(self) -> Hold {
        match self {
            Key::Memory
            | Key::MemoryHigh
            | Key::Swap
            | Key::Cpu
            | Key::CpuWeight
            | Key::CpuSet
            | Key::Processes
            | Key::OpenFiles
            | Key::IoRead
            | Key::IoWrite => Hold::Kernel,
            Key::Duration | Key::CpuTime => Hold::Watched,
            Key::GpuThreads | Key::GpuMemory => Hold::Driver,
            Key::GpuVisible | Key::MlxCache | Key::MlxWired => Hold::Framework,
            Key::MlxMemory => Hold::Advisory,
        }
    }

    /// When a changed one takes effect.
    #[must_use]
    pub const fn takes(self) -> Takes {
        match self {
            Key::OpenFiles
            | Key::GpuVisible
            | Key::GpuThreads
            | Key::GpuMemory
            | Key::MlxCache
            | Key::MlxMemory
            | Key::MlxWired => Takes::AtStart,
            _ => Takes::AtOnce,
        }
    }

    /// What happens at it, in a few words.
    #[must_use]
    pub const fn does(self) -> &'static str {
        match self {
            Key::Memory => "the kernel kills a process of it",
            Key::MemoryHigh => "the kernel slows it down and takes memory back",
            Key::Swap => "no more of it is swapped out",
            Key::Cpu => "it waits",
            Key::CpuWeight => "it gets its share when the CPU is short",
            Key::CpuSet => "it runs nowhere else",
            Key::Processes => "fork and new threads are refused",
            Key::OpenFiles => "opening is refused",
            Key::IoRead | Key::IoWrite => "it waits",
            Key::Duration | Key::CpuTime => "curb stops it",
            Key::GpuVisible => "CUDA shows it no others",
            Key::GpuThreads => "MPS gives it no more of the GPU",
            Key::GpuMemory => "MPS refuses the allocation",
            Key::MlxCache => "MLX gives freed memory back",
            Key::MlxMemory => "MLX drops its cache, and goes past it without an error",
            Key::MlxWired => "MLX keeps no more resident (macOS)",
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The value of any limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Bytes.
    Bytes(Bytes),
    /// CPUs, in thousandths.
    Cpu(MilliCpu),
    /// A weight.
    Weight(u32),
    /// A number of things.
    Count(u64),
    /// CPUs by number.
    Cpus(CpuSet),
    /// Bytes in each second.
    Rate(BytesPerSecond),
    /// A span of time, in milliseconds.
    Span(Millis),
    /// GPUs.
    Gpus(Vec<Gpu>),
    /// Whole hundredths.
    Percent(Percent),
}

impl Value {
    /// As it is written in the file: exact, and safe as a plain value of YAML.
    #[must_use]
    pub fn written(&self) -> String {
        match self {
            Value::Bytes(b) => write::bytes(b.0),
            Value::Cpu(c) => c.to_string(),
            Value::Weight(n) => n.to_string(),
            Value::Count(n) => n.to_string(),
            Value::Cpus(set) => write::name(&set.to_string()),
            Value::Rate(r) => format!("{}/s", write::bytes(r.0)),
            Value::Span(s) => write::span(*s),
            Value::Gpus(all) => {
                let all: Vec<String> = all
                    .iter()
                    .map(|g| match g {
                        Gpu::Index(n) => n.to_string(),
                        Gpu::Uuid(id) => write::name(id),
                    })
                    .collect();
                write::bracket(&all)
            }
            Value::Percent(p) => p.to_string(),
        }
    }

    /// Whether this one lets more pass than another of the same limit; none where neither does (other CPUs, other GPUs).
    #[must_use]
    pub fn looser_than(&self, other: &Value) -> Option<bool> {
        let order = match (self, other) {
            (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
            (Value::Cpu(a), Value::Cpu(b)) => a.cmp(b),
            (Value::Weight(a), Value::Weight(b)) => a.cmp(b),
            (Value::Count(a), Value::Count(b)) => a.cmp(b),
            (Value::Rate(a), Value::Rate(b)) => a.cmp(b),
            (Value::Span(a), Value::Span(b)) => a.cmp(b),
            (Value::Percent(a), Value::Percent(b)) => a.cmp(b),
            (Value::Cpus(a), Value::Cpus(b)) if a.0.is_superset(&b.0) => Ordering::Greater,
            (Value::Cpus(a), Value::Cpus(b)) if b.0.is_superset(&a.0) => Ordering::Less,
            (Value::Gpus(a), Value::Gpus(b)) if b.iter().all(|g| a.contains(g)) => {
                Ordering::Greater
            }
            (Value::Gpus(a), Value::Gpus(b)) if a.iter().all(|g| b.contains(g)) => Ordering::Less,
            _ => return None,
        };
        Some(order == Ordering::Greater)
    }
}

impl fmt::Display for Value {
    /// For people: `1.5 GiB`, `2`, `50%`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bytes(b) => b.fmt(f),
            Value::Rate(r) => r.fmt(f),
            Value::Span(s) => s.fmt(f),
            Value::Cpus(set) => set.fmt(f),
            Value::Gpus(all) if all.is_empty() => f.write_str("none"),
            Value::Gpus(all) => {
                let all: Vec<String> = all.iter().map(Gpu::to_string).collect();
                f.write_str(&all.join(","))
            }
            other => f.write_str(&other.written()),
        }
    }
}

/// One limit of a workload, whatever its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row<'a> {
    /// Which.
    pub key: Key,
    /// Its value.
    pub value: Value,
    /// Why it is this one.
    pub why: &'a str,
    /// What of the baseline it came from.
    pub from: Option<&'a str>,
    /// Who accepted it, and when.
    pub accepted: Option<&'a Accepted>,
}

impl LimitSet {
    /// All limits that are given, in the order of [`Key::ALL`].
    #[must_use]
    pub fn rows(&self) -> Vec<Row<'_>> {
        Key::ALL.into_iter().filter_map(|k| self.row(k)).collect()
    }

    /// One limit, if it is given.
    #[must_use]
    pub fn row(&self, key: Key) -> Option<Row<'_>> {
        fn row<'a, T: Clone>(
            key: Key,
            limit: &'a Option<Limit<T>>,
            value: fn(T) -> Value,
        ) -> Option<Row<'a>> {
            limit.as_ref().map(|l| Row {
                key,
                value: value(l.value.clone()),
                why: &l.why,
                from: l.from.as_deref(),
                accepted: l.accepted.as_ref(),
            })
        }
        match key {
            Key::Memory => row(key, &self.memory, Value::Bytes),
            Key::MemoryHigh => row(key, &self.memory_high, Value::Bytes),
            Key::Swap => row(key, &self.swap, Value::Bytes),
            Key::Cpu => row(key, &self.cpu, Value::Cpu),
            Key::CpuWeight => row(key, &self.cpu_weight, Value::Weight),
            Key::CpuSet => row(key, &self.cpu_set, Value::Cpus),
            Key::Processes => row(key, &self.processes, Value::Count),
            Key::OpenFiles => row(key, &self.open_files, Value::Count),
            Key::IoRead => row(key, &self.io_read, Value::Rate),
            Key::IoWrite => row(key, &self.io_write, Value::Rate),
            Key::Duration => row(key, &self.duration, Value::Span),
            Key::CpuTime => row(key, &self.cpu_time, Value::Span),
            Key::GpuVisible => row(key, &self.gpu_visible, Value::Gpus),
            Key::GpuThreads => row(key, &self.gpu_threads, Value::Percent),
            Key::GpuMemory => row(key, &self.gpu_memory, Value::Bytes),
            Key::MlxCache => row(key, &self.mlx_cache, Value::Bytes),
            Key::MlxMemory => row(key, &self.mlx_memory, Value::Bytes),
            Key::MlxWired => row(key, &self.mlx_wired, Value::Bytes),
        }
    }

    /// Whether any of MLX's own limits is given.
    #[must_use]
    pub fn is_mlx(&self) -> bool {
        self.mlx_cache.is_some() || self.mlx_memory.is_some() || self.mlx_wired.is_some()
    }
}
