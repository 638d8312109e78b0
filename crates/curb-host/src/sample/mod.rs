//! Looking at a workload: its processes, its group, the machine, GPUs; ten times a second and cheaply.
//!
//! What is dear is looked at seldom: open files, threads of processes that have many and GPUs once a second, shares of memory
//! (`smaps_rollup`, which walks all pages) so that they take at most a hundredth of the time. What looking itself costs is
//! measured ([`Sampler::cost`]).

mod gpu;
mod group;
mod machine;
mod tree;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use curb_core::host::Bytes;
use curb_core::host::baseline::MemoryAs;
use curb_core::host::sample::{Micros, ProcessKey, ProcessSample, Sample, ThreadSample, Tree};
use rustix::time::{ClockId, clock_gettime};

use crate::proc::{ProcId, Process, Procfs, Stat};

pub use gpu::GpuReader;
pub use group::GroupFiles;
pub use tree::descendants;

/// From one look at what is dear to the next.
const SELDOM: Duration = Duration::from_secs(1);
/// A process with more threads has them looked at seldom.
const FEW_THREADS: u64 = 64;
/// Shares of memory are read again after so many times what reading them took.
const SHARE_OF_TIME: u32 = 100;
/// The most processes of a workload that are looked at one by one.
const MOST_PROCESSES: usize = 4096;

/// What is wanted beyond the processes themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// Each thread's CPU time.
    pub threads: bool,
    /// Shares of memory where no group charges it.
    pub shares: bool,
}

/// What looking has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// How many looks.
    pub samples: u64,
    /// CPU time of all of them.
    pub cpu: Duration,
}

impl Cost {
    /// In thousandths of a CPU, over a span of time.
    #[must_use]
    pub fn permille_of(&self, span: Duration) -> u64 {
        let part = self.cpu.as_micros().saturating_mul(1000) / span.as_micros().max(1);
        u64::try_from(part).unwrap_or(u64::MAX)
    }
}

struct Known {
    process: Process,
    each_thread: Vec<ThreadSample>,
    threads_at: Option<Instant>,
    open_files: Option<u64>,
    files_at: Option<Instant>,
    /// What it had in memory and its share of that, when that was last read.
    share: Option<(Bytes, Bytes)>,
    /// When it is read again, and then whether it could be.
    share_again: Option<Instant>,
}

/// Looks at workloads. One a workload: it remembers what it saw seldom.
pub struct Sampler {
    procfs: Procfs,
    detail: Detail,
    page: u64,
    tick_us: u64,
    known: BTreeMap<u32, Known>,
    gpu: GpuReader,
    cost: Cost,
}

impl Sampler {
    /// Looks at this machine.
    ///
    /// # Errors
    /// `/proc` is not there.
    pub fn new(detail: Detail) -> io::Result<Sampler> {
        Ok(Sampler::with(Procfs::open()?, GpuReader::find(), detail))
    }

    /// Looks at a tree of files that looks like `/proc`.
    ///
    /// # Errors
    /// It is not there.
    pub fn at(proc: &Path, detail: Detail) -> io::Result<Sampler> {
        let gpu = GpuReader::none();
        Ok(Sampler::with(Procfs::at(proc)?, gpu, detail))
    }

    fn with(procfs: Procfs, gpu: GpuReader, detail: Detail) -> Sampler {
        Sampler {
            procfs,
            detail,
            page: rustix::param::page_size() as u64,
            tick_us: 1_000_000 / rustix::param::clock_ticks_per_second().max(1),
            known: BTreeMap::new(),
            gpu,
            cost: Cost::default(),
        }
    }

    /// Looks at these processes, and at the group that they are in. `group` is of a group that holds them and nobody else.
    /// A process that has ended meanwhile is left out.
    pub fn look(&mut self, pids: &[u32], group: Option<&GroupFiles>) -> Sample {
        let began = thread_time();
        let now = Instant::now();
        self.known.retain(|pid, _| pids.contains(pid));
        let shares = self.detail.shares && !group.is_some_and(GroupFiles::charges);
        let processes: Vec<ProcessSample> = pids
            .iter()
            .take(MOST_PROCESSES)
            .filter_map(|pid| self.process(*pid, now, shares))
            .collect();
        let sample = Sample {
            at: monotonic(),
            tree: tree_of(&processes, pids.len(), group),
            machine: machine::read(&self.procfs, self.tick_us),
            gpus: self.gpu.look(pids, now),
            processes,
        };
        self.cost.samples += 1;
        self.cost.cpu += thread_time().saturating_sub(began);
        sample
    }

    /// What looking has cost so far.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.cost
    }

    fn process(&mut self, pid: u32, now: Instant, shares: bool) -> Option<ProcessSample> {
        let stat = match self.known.get(&pid).map(|k| k.process.stat()) {
            Some(Ok(stat)) => stat,
            // New, or another has its number.
            _ => {
                let process = self.procfs.process(pid).ok()?;
                let stat = process.stat().ok()?;
                self.known.insert(pid, Known::new(process));
                stat
            }
        };
        let (page, tick_us) = (self.page, self.tick_us);
        let known = self.known.get_mut(&pid)?;
        // One that has ended and waits to be noticed holds nothing any more.
        let statm = known.process.statm().ok()?;
        let resident = Bytes(statm.resident.saturating_mul(page));
        if self.detail.threads {
            known.look_at_threads(&stat, now, tick_us);
        }
        known.look_at_files(now);
        if shares {
            known.look_at_share(resident, now);
        }
        let io = known.process.io().ok();
        Some(ProcessSample {
            id: key(known.process.id()),
            parent: stat.parent,
            cpu: time_of(&stat, tick_us),
            resident,
            shared: Bytes(statm.shared.saturating_mul(page)),
            pss: known.estimate(resident),
            threads: stat.threads,
            open_files: known.open_files,
            read: io.and_then(|io| io.read).map(|b| Bytes(b.0)),
            written: io.and_then(|io| io.written).map(|b| Bytes(b.0)),
            each_thread: known.each_thread.clone(),
            name: stat.name,
        })
    }
}

impl Known {
    fn new(process: Process) -> Known {
        Known {
            process,
            each_thread: Vec::new(),
            threads_at: None,
            open_files: None,
            files_at: None,
            share: None,
            share_again: None,
        }
    }

    fn look_at_threads(&mut self, stat: &Stat, now: Instant, tick_us: u64) {
        if stat.threads > FEW_THREADS && !due(self.threads_at, now) {
            return;
        }
        let all = self.process.threads().unwrap_or_default();
        self.each_thread = all
            .into_iter()
            .map(|(tid, stat)| ThreadSample {
                tid,
                cpu: time_of(&stat, tick_us),
                name: stat.name,
            })
            .collect();
        self.threads_at = Some(now);
    }

    fn look_at_files(&mut self, now: Instant) {
        if due(self.files_at, now) {
            self.open_files = self.process.open_files().ok().map(|n| n as u64);
            self.files_at = Some(now);
        }
    }

    fn look_at_share(&mut self, resident: Bytes, now: Instant) {
        if self.share_again.is_some_and(|again| now < again) {
            return;
        }
        let began = Instant::now();
        let pss = self.process.pss().ok().and_then(|pss| pss.all);
        self.share = pss.map(|pss| (resident, Bytes(pss.0)));
        let took = began.elapsed();
        self.share_again = Some(now + (took * SHARE_OF_TIME).max(SELDOM / 10));
    }

    /// What it shares changes seldom: its share now is what it has now, less what was others' when that was read.
    fn estimate(&self, resident: Bytes) -> Option<Bytes> {
        let (then, share) = self.share?;
        let of_others = then.0.saturating_sub(share.0);
        Some(Bytes(resident.0.saturating_sub(of_others)))
    }
}

fn due(last: Option<Instant>, now: Instant) -> bool {
    last.is_none_or(|last| now.duration_since(last) >= SELDOM)
}

fn key(id: ProcId) -> ProcessKey {
    ProcessKey {
        pid: id.pid,
        start: id.start,
    }
}

fn time_of(stat: &Stat, tick_us: u64) -> Micros {
    let ticks = stat.user_ticks.saturating_add(stat.system_ticks);
    Micros(ticks.saturating_mul(tick_us))
}

/// All of them together: by the group's own counts where it has them.
fn tree_of(processes: &[ProcessSample], count: usize, group: Option<&GroupFiles>) -> Tree {
    let sum = |of: fn(&ProcessSample) -> Option<Bytes>| {
        let parts = processes.iter().map(|p| of(p).map(|b| b.0));
        let all: Option<Vec<u64>> = parts.collect();
        all.filter(|all| !all.is_empty())
            .map(|all| Bytes(all.iter().fold(0, |a, b| a.saturating_add(*b))))
    };
    let threads = processes.iter().map(|p| p.threads).sum();
    let open_files = processes.iter().filter_map(|p| p.open_files).max();
    let (memory_as, memory) = match sum(|p| p.pss) {
        Some(pss) => (MemoryAs::Pss, Some(pss)),
        None => (MemoryAs::Rss, sum(|p| Some(p.resident))),
    };
    let mut tree = Tree {
        memory_as,
        memory,
        needed: None,
        page_cache: None,
        peak: None,
        cpu: None,
        stalled: None,
        processes: count as u64,
        threads,
        open_files,
    };
    if let Some(group) = group {
        let mapped = processes.iter().map(|p| p.shared).max();
        group.fill(&mut tree, mapped.unwrap_or_default());
    }
    tree
}

/// A clock that only goes forward.
fn monotonic() -> Micros {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_nsec / 1000).unwrap_or(0);
    Micros(seconds.saturating_mul(1_000_000).saturating_add(micros))
}

/// CPU time of this thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests;
