//! One look at a workload and its machine, and what two looks say together.
//!
//! A reading that could not be taken is `None`, never zero. Rates are a function of two samples: no clock, no state.

use std::collections::BTreeMap;

use super::baseline::MemoryAs;
use super::{Bytes, BytesPerSecond, MilliCpu, Permille};

/// Microseconds: of CPU time, or of a clock that only goes forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub u64);

/// A process by its number and its start time, in ticks since the machine started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessKey {
    /// Its number.
    pub pid: u32,
    /// When it started.
    pub start: u64,
}

/// One look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When, by a clock that only goes forward.
    pub at: Micros,
    /// All its processes together.
    pub tree: Tree,
    /// Each of them.
    pub processes: Vec<ProcessSample>,
    /// The machine.
    pub machine: MachineSample,
    /// Its GPUs.
    pub gpus: Gpus,
}

/// All processes of a workload together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree {
    /// How memory was measured.
    pub memory_as: MemoryAs,
    /// Its memory.
    pub memory: Option<Bytes>,
    /// What it cannot do without: memory that is charged less page cache, and the files that are in use, programs and
    /// libraries above all, also where another group was charged for them.
    pub needed: Option<Bytes>,
    /// Page cache that is in it.
    pub page_cache: Option<Bytes>,
    /// The most memory since the group was made or its peak was reset, by the kernel's own count: no sample misses it.
    pub peak: Option<Bytes>,
    /// CPU time of all, those that have ended included, by the group. `None`: only the processes know theirs.
    pub cpu: Option<Micros>,
    /// Time in which something of it waited for memory.
    pub stalled: Option<Micros>,
    /// Processes.
    pub processes: u64,
    /// Threads of all of them.
    pub threads: u64,
    /// Open files of the process that has most; unknown where none may be looked at.
    pub open_files: Option<u64>,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSample {
    /// Which.
    pub id: ProcessKey,
    /// Its parent's number.
    pub parent: u32,
    /// The name it gives itself: for people only.
    pub name: String,
    /// CPU time since it started.
    pub cpu: Micros,
    /// In memory, what it shares included.
    pub resident: Bytes,
    /// Of that, shared or with a file behind it.
    pub shared: Bytes,
    /// Its share of memory; read seldom.
    pub pss: Option<Bytes>,
    /// Threads.
    pub threads: u64,
    /// Open files.
    pub open_files: Option<u64>,
    /// Read from disks since it started.
    pub read: Option<Bytes>,
    /// Written to disks since it started.
    pub written: Option<Bytes>,
    /// Each thread, where they were asked for.
    pub each_thread: Vec<ThreadSample>,
}

/// One thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadSample {
    /// Its number.
    pub tid: u32,
    /// Its name.
    pub name: String,
    /// CPU time since it started.
    pub cpu: Micros,
}

/// The machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineSample {
    /// All memory.
    pub memory: Option<Bytes>,
    /// Memory that could be had without swapping.
    pub available: Option<Bytes>,
    /// CPU time in use by anybody since the machine started, over all CPUs.
    pub cpu: Option<Micros>,
}

/// The GPUs of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gpus {
    /// There is no library for them here, or it knows of none.
    NoneSeen,
    /// They could not be asked, and why.
    Unknown(String),
    /// These.
    Seen(Vec<GpuSample>),
}

/// One GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuSample {
    /// Its number.
    pub index: u32,
    /// Its model.
    pub model: String,
    /// Memory in use by anybody.
    pub used: Option<Bytes>,
    /// Memory in use by processes of the workload.
    pub own: Option<Bytes>,
    /// Part of the time in which it did something, for anybody.
    pub busy: Option<Permille>,
}

/// What two samples say together. What one of them does not know is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// CPUs in use.
    pub cpu: Option<MilliCpu>,
    /// Read from disks.
    pub read: Option<BytesPerSecond>,
    /// Written to disks.
    pub written: Option<BytesPerSecond>,
    /// Part of the time in which something of it waited for memory.
    pub stalled: Option<Permille>,
    /// CPUs in use on the whole machine.
    pub machine_cpu: Option<MilliCpu>,
    /// CPUs in use by each process.
    pub processes: BTreeMap<ProcessKey, MilliCpu>,
    /// CPUs in use by each thread, by process and number.
    pub threads: BTreeMap<(ProcessKey, u32), MilliCpu>,
}

/// What happened between two samples; `None` where the later one is not later.
#[must_use]
pub fn rates(earlier: &Sample, later: &Sample) -> Option<Rates> {
    let span = later.at.0.checked_sub(earlier.at.0).filter(|s| *s > 0)?;
    let before: BTreeMap<ProcessKey, &ProcessSample> =
        earlier.processes.iter().map(|p| (p.id, p)).collect();
    let mut rates = Rates {
        stalled: grown(earlier.tree.stalled, later.tree.stalled)
            .map(|us| Permille(u32::try_from(per(us, 1000, span).min(1000)).unwrap_or(1000))),
        machine_cpu: grown(earlier.machine.cpu, later.machine.cpu).map(|us| cpus(us, span)),
        ..Rates::default()
    };
    let (mut used, mut read, mut written) = (0_u64, Some(0_u64), Some(0_u64));
    for process in &later.processes {
        let old = before.get(&process.id);
        // One that was not there has done all it did since then.
        let own = process.cpu.0.saturating_sub(old.map_or(0, |p| p.cpu.0));
        used = used.saturating_add(own);
        rates.processes.insert(process.id, cpus(own, span));
        threads(process, old.copied(), span, &mut rates);
        let add = |sum: Option<u64>, new: Option<Bytes>, old: Option<Option<Bytes>>| {
            let old = old.map_or(Some(0), |o| o.map(|b| b.0));
            Some(sum?.saturating_add(new?.0.saturating_sub(old?)))
        };
        read = add(read, process.read, old.map(|p| p.read));
        written = add(written, process.written, old.map(|p| p.written));
    }
    let by_group = grown(earlier.tree.cpu, later.tree.cpu);
    // Without a group, and without a process, nothing is known of what has ended in between.
    let by_processes = (!later.processes.is_empty()).then_some(used);
    rates.cpu = by_group.or(by_processes).map(|us| cpus(us, span));
    let a_second = |bytes: u64| BytesPerSecond(per(bytes, 1_000_000, span));
    rates.read = read.filter(|_| by_processes.is_some()).map(a_second);
    rates.written = written.filter(|_| by_processes.is_some()).map(a_second);
    Some(rates)
}

fn threads(process: &ProcessSample, old: Option<&ProcessSample>, span: u64, rates: &mut Rates) {
    for thread in &process.each_thread {
        let before = old.and_then(|p| p.each_thread.iter().find(|t| t.tid == thread.tid));
        // A number that was used again is less than it was.
        let own = thread.cpu.0.saturating_sub(before.map_or(0, |t| t.cpu.0));
        rates
            .threads
            .insert((process.id, thread.tid), cpus(own, span));
    }
}

/// How much a counter grew; one that shrank is another's.
fn grown(earlier: Option<Micros>, later: Option<Micros>) -> Option<u64> {
    later?.0.checked_sub(earlier?.0)
}

fn per(amount: u64, unit: u64, span: u64) -> u64 {
    let rate = u128::from(amount) * u128::from(unit) / u128::from(span);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

fn cpus(used: u64, span: u64) -> MilliCpu {
    MilliCpu(per(used, 1000, span))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, start: u64, cpu_ms: u64, read: Option<u64>) -> ProcessSample {
        ProcessSample {
            id: ProcessKey { pid, start },
            parent: 1,
            name: "p".into(),
            cpu: Micros(cpu_ms * 1000),
            resident: Bytes(0),
            shared: Bytes(0),
            pss: None,
            threads: 1,
            open_files: None,
            read: read.map(Bytes),
            written: read.map(Bytes),
            each_thread: vec![ThreadSample {
                tid: pid,
                name: "t".into(),
                cpu: Micros(cpu_ms * 1000),
            }],
        }
    }

    fn sample(at_ms: u64, group_ms: Option<u64>, processes: Vec<ProcessSample>) -> Sample {
        Sample {
            at: Micros(at_ms * 1000),
            tree: Tree {
                memory_as: MemoryAs::Rss,
                memory: None,
                needed: None,
                page_cache: None,
                peak: None,
                cpu: group_ms.map(|ms| Micros(ms * 1000)),
                stalled: group_ms.map(|ms| Micros(ms * 500)),
                processes: processes.len() as u64,
                threads: 0,
                open_files: None,
            },
            processes,
            machine: MachineSample::default(),
            gpus: Gpus::NoneSeen,
        }
    }

    #[test]
    fn a_group_s_own_count_knows_also_those_that_ended_in_between() {
        let a = sample(0, Some(100), vec![process(1, 1, 50, None)]);
        let b = sample(100, Some(180), vec![process(1, 1, 60, None)]);
        let rates = rates(&a, &b).expect("later");
        assert_eq!(rates.cpu, Some(MilliCpu(800)));
        assert_eq!(rates.stalled, Some(Permille(400)));
        assert_eq!(
            rates.processes[&ProcessKey { pid: 1, start: 1 }],
            MilliCpu(100)
        );
        assert_eq!(
            rates.threads[&(ProcessKey { pid: 1, start: 1 }, 1)],
            MilliCpu(100)
        );
        assert_eq!(rates.read, None, "what may not be read is not zero");
    }

    #[test]
    fn without_a_group_the_processes_are_added_and_a_number_used_again_is_another_process() {
        let a = sample(
            0,
            None,
            vec![process(1, 1, 50, Some(10)), process(2, 2, 900, Some(5000))],
        );
        let b = sample(
            100,
            None,
            vec![process(1, 1, 60, Some(110)), process(2, 77, 20, Some(100))],
        );
        let rates = rates(&a, &b).expect("later");
        assert_eq!(rates.cpu, Some(MilliCpu(300)));
        assert_eq!(rates.read, Some(BytesPerSecond(2000)));
    }

    #[test]
    fn nothing_is_said_of_no_time_of_no_process_or_of_a_counter_that_shrank() {
        let a = sample(100, Some(100), vec![]);
        assert_eq!(rates(&a, &a), None);
        assert_eq!(rates(&a, &sample(50, Some(1), vec![])), None);
        let later = rates(&a, &sample(200, Some(10), vec![])).expect("later");
        assert_eq!((later.cpu, later.stalled, later.read), (None, None, None));
        // One process whose reads are not known makes those of all unknown.
        let (one, other) = (process(1, 1, 0, Some(0)), process(2, 1, 0, None));
        let both = sample(300, None, vec![one, other]);
        assert_eq!(rates(&a, &both).expect("later").read, None);
    }
}
