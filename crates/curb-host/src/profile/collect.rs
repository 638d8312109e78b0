//! From samples to figures. Pure: what a run and what all runs together come to.

use std::collections::{BTreeMap, BTreeSet};

use curb_core::host::baseline::{
    Ended, Figure, MemoryAs, Parts, Scenario, Series, THREADS, Tally, ThreadCpu,
};
use curb_core::host::sample::{Gpus, ProcessKey, Sample, rates};
use curb_core::time::{Millis, Timestamp};

use crate::hook::{Message, MlxCounters, Said};

/// One part of one run.
#[derive(Clone, Debug)]
pub(super) struct Collector {
    tallies: BTreeMap<Figure, Tally>,
    series: Series,
    memory_as: Option<MemoryAs>,
    last: Option<Sample>,
    /// The kernel's own peak when this part began, unless it counts anew from there.
    peak_before: Option<u64>,
    /// The most that was seen in samples, in KiB.
    most_memory: u64,
    most_needed: Option<u64>,
    /// The most that each process had in memory, in KiB.
    residents: BTreeMap<u32, u64>,
    mlx_peak_before: BTreeMap<u32, u64>,
    threads: Threads,
    pub(super) ended: Ended,
    pub(super) cut_short: Option<String>,
    cpu_ms: Option<(u64, u64)>,
    span_ms: u64,
}

fn kib(bytes: u64) -> u64 {
    bytes.div_ceil(1024)
}

impl Collector {
    /// `peak_before`: what the kernel's peak was, in bytes, where it could not be reset.
    pub(super) fn new(every: Millis, peak_before: Option<u64>) -> Collector {
        Collector {
            tallies: BTreeMap::new(),
            series: Series::new(every),
            memory_as: None,
            last: None,
            peak_before,
            most_memory: 0,
            most_needed: None,
            residents: BTreeMap::new(),
            mlx_peak_before: BTreeMap::new(),
            threads: Threads::default(),
            ended: Ended::Asked,
            cut_short: None,
            cpu_ms: None,
            span_ms: 0,
        }
    }

    fn add(&mut self, figure: Figure, value: Option<u64>) {
        if let Some(value) = value {
            self.tallies.entry(figure).or_default().add(value);
        }
    }

    /// One more look, and what MLX said last in each process.
    pub(super) fn take(&mut self, sample: Sample, mlx: &BTreeMap<u32, MlxCounters>) {
        let tree = &sample.tree;
        let memory = tree.memory.map(|b| kib(b.0));
        let needed = tree.needed.or(tree.memory).map(|b| kib(b.0));
        self.add(Figure::Memory, memory);
        self.add(Figure::Needed, needed);
        self.add(Figure::PageCache, tree.page_cache.map(|b| kib(b.0)));
        self.series.push(needed);
        self.most_memory = self.most_memory.max(memory.unwrap_or(0));
        self.most_needed = self.most_needed.max(needed);
        if memory.is_some() {
            self.memory_as = Some(worse(self.memory_as, tree.memory_as));
            // Of an empty group nothing is to be learned about counts.
            self.add(Figure::Processes, Some(tree.processes));
            self.add(Figure::Threads, Some(tree.threads));
            self.add(Figure::OpenFiles, tree.open_files);
        }
        for process in &sample.processes {
            let most = self.residents.entry(process.id.pid).or_default();
            *most = (*most).max(kib(process.resident.0));
        }
        self.threads.take(&sample);
        self.machine(&sample);
        self.gpus(&sample.gpus);
        self.mlx(mlx);
        self.rates(&sample);
        self.last = Some(sample);
    }

    fn machine(&mut self, sample: &Sample) {
        let machine = &sample.machine;
        let used = machine.memory.zip(machine.available);
        let used = used.map(|(all, free)| kib(all.0.saturating_sub(free.0)));
        self.add(Figure::MachineMemory, used);
    }

    fn gpus(&mut self, gpus: &Gpus) {
        let Gpus::Seen(gpus) = gpus else { return };
        let own: Option<Vec<u64>> = gpus.iter().map(|g| g.own.map(|b| kib(b.0))).collect();
        self.add(Figure::GpuMemory, own.map(|all| all.iter().sum()));
        let busiest = gpus.iter().filter_map(|g| g.busy).max();
        self.add(Figure::GpuUse, busiest.map(|b| u64::from(b.0)));
    }

    fn mlx(&mut self, mlx: &BTreeMap<u32, MlxCounters>) {
        if mlx.is_empty() {
            return;
        }
        let sum = |of: fn(&MlxCounters) -> u64| kib(mlx.values().map(of).sum());
        self.add(Figure::MlxActive, Some(sum(|c| c.active.0)));
        self.add(Figure::MlxCache, Some(sum(|c| c.cache.0)));
        let mut peak = 0;
        for (pid, counters) in mlx {
            // It counts from the process's start: what was before this part is not of it.
            let before = *self.mlx_peak_before.entry(*pid).or_insert(counters.peak.0);
            let fresh = counters.peak.0 > before;
            peak += if fresh {
                counters.peak.0
            } else {
                counters.active.0
            };
        }
        self.add(Figure::MlxPeak, Some(kib(peak)));
    }

    fn rates(&mut self, sample: &Sample) {
        let Some(rates) = self.last.as_ref().and_then(|last| rates(last, sample)) else {
            return;
        };
        if let Some(last) = &self.last {
            let us = sample.at.0.saturating_sub(last.at.0);
            self.span_ms += us / 1000;
            let used = rates.cpu.map(|c| c.0.saturating_mul(us) / 1_000_000);
            if let Some(used) = used {
                let sum = self.cpu_ms.map_or(0, |(_, sum)| sum);
                self.cpu_ms = Some((0, sum + used));
            }
        }
        self.add(Figure::Cpu, rates.cpu.map(|c| c.0));
        self.add(Figure::Read, rates.read.map(|r| kib(r.0)));
        self.add(Figure::Write, rates.written.map(|w| kib(w.0)));
        self.add(Figure::Stalled, rates.stalled.map(|s| u64::from(s.0)));
        self.add(Figure::MachineCpu, rates.machine_cpu.map(|c| c.0));
    }

    /// The part is over: the kernel's own peak says what no sample caught.
    pub(super) fn finish(&mut self, peak: Option<u64>, took: std::time::Duration) {
        let own = peak.filter(|peak| self.peak_before.is_none_or(|before| *peak > before));
        if let Some(peak) = own.map(kib)
            && self.memory_as == Some(MemoryAs::Charged)
        {
            let unseen = peak.saturating_sub(self.most_memory);
            if let Some(tally) = self.tallies.get_mut(&Figure::Memory) {
                tally.raise(peak);
            }
            if let (Some(tally), Some(needed)) =
                (self.tallies.get_mut(&Figure::Needed), self.most_needed)
            {
                tally.raise(needed.saturating_add(unseen));
            }
        }
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.add(Figure::Duration, Some(took));
        let cpu = self.cpu_ms.map(|(_, sum)| sum);
        self.add(Figure::CpuTime, cpu);
        self.last = None;
    }

    /// A later part of the same scenario in the same run.
    pub(super) fn then(&mut self, later: Collector) {
        let whole = |a: &Collector, figure| a.tallies.get(&figure).and_then(Tally::most);
        let both = [Figure::Duration, Figure::CpuTime].map(|figure| {
            let sum = whole(self, figure)
                .zip(whole(&later, figure))
                .map(|(a, b)| a + b);
            (figure, sum)
        });
        for (figure, tally) in later.tallies {
            self.tallies.entry(figure).or_default().merge(&tally);
        }
        for (figure, sum) in both {
            if let Some(sum) = sum {
                let mut tally = Tally::default();
                tally.add(sum);
                self.tallies.insert(figure, tally);
            }
        }
        for point in later.series.points() {
            self.series.push(*point);
        }
        if let Some(how) = later.memory_as {
            self.memory_as = Some(worse(self.memory_as, how));
        }
        for (pid, most) in later.residents {
            let own = self.residents.entry(pid).or_default();
            *own = (*own).max(most);
        }
        self.threads.add(&later.threads);
        self.ended = later.ended;
        self.cut_short = self.cut_short.take().or(later.cut_short);
    }

    fn most(&self) -> u64 {
        let of = |figure| self.tallies.get(&figure).and_then(Tally::most);
        of(Figure::Needed).or(of(Figure::Memory)).unwrap_or(0)
    }
}

/// Figures of two kinds are told as the one that says less.
fn worse(a: Option<MemoryAs>, b: MemoryAs) -> MemoryAs {
    let rank = |how: MemoryAs| MemoryAs::ALL.iter().position(|h| *h == how);
    a.filter(|a| rank(*a) > rank(b)).unwrap_or(b)
}

/// No more names of threads are told apart: a program may give each a name of its own.
const NAMES: usize = 256;
/// What threads of further names are added up under.
const OTHERS: &str = "(others)";

/// CPU time of threads, by name.
#[derive(Clone, Debug, Default)]
struct Threads {
    /// What each thread had at the last look.
    last: Option<BTreeMap<(ProcessKey, u32), u64>>,
    /// Microseconds.
    by_name: BTreeMap<String, u64>,
}

impl Threads {
    /// What each has used since the last look; one that was not there then, all that it has.
    fn take(&mut self, sample: &Sample) {
        let mut now = BTreeMap::new();
        for process in &sample.processes {
            for thread in &process.each_thread {
                let key = (process.id, thread.tid);
                now.insert(key, thread.cpu.0);
                let Some(last) = &self.last else { continue };
                let used = thread
                    .cpu
                    .0
                    .saturating_sub(last.get(&key).copied().unwrap_or(0));
                Threads::count(&mut self.by_name, &thread.name, used);
            }
        }
        self.last = Some(now);
    }

    fn add(&mut self, other: &Threads) {
        for (name, used) in &other.by_name {
            Threads::count(&mut self.by_name, name, *used);
        }
    }

    fn count(by_name: &mut BTreeMap<String, u64>, name: &str, used: u64) {
        if used == 0 {
            return;
        }
        let fits = by_name.len() < NAMES || by_name.contains_key(name);
        let sum = by_name
            .entry(if fits { name } else { OTHERS }.to_owned())
            .or_default();
        *sum = sum.saturating_add(used);
    }

    /// Those that used most, the most first. Names are the program's own: what is no plain character of them is left out.
    fn most(self) -> Vec<ThreadCpu> {
        let plain = |name: &str| -> String {
            let plain: String = name
                .chars()
                .map(|c| {
                    if c.is_ascii_graphic() || c == ' ' {
                        c
                    } else {
                        '?'
                    }
                })
                .collect();
            Some(plain.trim().to_owned())
                .filter(|n| !n.is_empty())
                .unwrap_or_else(|| "?".to_owned())
        };
        let mut all: Vec<(u64, String)> =
            self.by_name.iter().map(|(n, us)| (*us, plain(n))).collect();
        all.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let all = all.into_iter().map(|(us, name)| ThreadCpu {
            name,
            cpu_ms: us / 1000,
        });
        all.filter(|t| t.cpu_ms > 0).take(THREADS).collect()
    }
}

/// All runs of a scenario.
#[derive(Debug, Default)]
pub(super) struct Sum {
    tallies: BTreeMap<Figure, Tally>,
    run_peaks: Vec<u64>,
    largest: Option<(u64, Series, Option<Parts>)>,
    memory_as: Option<MemoryAs>,
    ended: Option<Ended>,
    cut_short: Option<String>,
    notes: BTreeSet<String>,
    threads: Threads,
}

impl Sum {
    pub(super) fn has_samples(&self) -> bool {
        self.tallies.contains_key(&Figure::Needed)
    }

    pub(super) fn add(&mut self, run: Collector, marks: &[Message], notes: &[String]) {
        let most = run.most();
        self.run_peaks.push(most);
        self.threads.add(&run.threads);
        if self.largest.as_ref().is_none_or(|(old, ..)| most > *old) {
            let parts = parts(marks, &run.residents);
            self.largest = Some((most, run.series, parts));
        }
        for (figure, tally) in &run.tallies {
            self.tallies.entry(*figure).or_default().merge(tally);
        }
        if let Some(how) = run.memory_as {
            self.memory_as = Some(worse(self.memory_as, how));
        }
        // One that had to be asked says that none has a duration of its own.
        if self.ended != Some(Ended::Asked) {
            self.ended = Some(run.ended);
        }
        self.cut_short = self.cut_short.take().or(run.cut_short);
        self.notes.extend(notes.iter().cloned());
    }

    pub(super) fn scenario(self, now: Timestamp, every: Millis) -> Scenario {
        let (_, series, parts) = self.largest.unwrap_or((0, Series::new(every), None));
        let samples = self.tallies.get(&Figure::Memory).map_or(0, Tally::count);
        let nothing = (samples == 0).then(|| "it ended before it was looked at once".to_owned());
        let figures = self.tallies.iter();
        Scenario {
            // To the second, as the file has it.
            measured: Timestamp(now.0 - now.0.rem_euclid(1000)),
            runs: u32::try_from(self.run_peaks.len()).unwrap_or(u32::MAX),
            samples,
            every,
            memory_as: self.memory_as.unwrap_or(MemoryAs::Rss),
            ended: self.ended.unwrap_or(Ended::Asked),
            figures: figures
                .filter_map(|(f, tally)| Some((*f, tally.spread()?)))
                .collect(),
            run_peaks_kib: self.run_peaks,
            parts,
            threads_by_cpu: self.threads.most(),
            notes: self.notes.into_iter().collect(),
            cut_short: self.cut_short.or(nothing),
            stale: Vec::new(),
            series,
        }
    }
}

/// What the memory of the process that imported a framework is made of; of the first interpreter, if none did.
pub(super) fn parts(said: &[Message], residents: &BTreeMap<u32, u64>) -> Option<Parts> {
    let marks: Vec<(u32, &str, u64)> = said
        .iter()
        .filter_map(|message| match &message.said {
            Said::Mark {
                name,
                resident: Some(resident),
                ..
            } => Some((message.pid, name.as_str(), kib(resident.0))),
            _ => None,
        })
        .collect();
    let first = |wanted: &str| marks.iter().find(|(_, name, _)| *name == wanted);
    let pid = first("importing").or_else(|| first("interpreter"))?.0;
    let own: Vec<(&str, u64)> = marks
        .iter()
        .filter(|(p, ..)| *p == pid)
        .map(|(_, name, kib)| (*name, *kib))
        .collect();
    let weights_at = own.iter().position(|(name, _)| *name == "weights");
    let before_weights = &own[..weights_at.unwrap_or(own.len())];
    let at = |marks: &[(&str, u64)], wanted: &str| {
        let found = marks.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, kib)| *kib)
    };
    let interpreter = at(&own, "importing").or_else(|| at(&own, "interpreter"))?;
    let imported = before_weights
        .iter()
        .rfind(|(name, _)| *name == "imported")
        .map(|(_, kib)| *kib);
    let weights = weights_at.map(|i| own[i].1);
    let loaded = weights.or(imported).unwrap_or(interpreter);
    Some(Parts {
        interpreter_kib: interpreter,
        framework_kib: imported.map(|kib| kib.saturating_sub(interpreter)),
        model_kib: weights.zip(imported).map(|(w, i)| w.saturating_sub(i)),
        work_kib: residents.get(&pid).map(|most| most.saturating_sub(loaded)),
    })
}

#[cfg(test)]
mod tests;
