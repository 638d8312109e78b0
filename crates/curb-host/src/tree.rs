//! The processes of a workload where no control group keeps them together: found by descent, known by number and start time.
//!
//! What `curb run` starts is its descendant for good: who is left behind by a double fork becomes its child (it is a
//! subreaper), in whatever session. Of a process that was there before, descendants are found by looking, and who was seen
//! once is remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use rustix::process::Signal;

use crate::limits::Bytes;
use crate::proc::{ProcId, Process, Procfs, Pss};

/// A tree is followed so deep, and so many processes of it at most.
const MOST: usize = 100_000;
/// Signals are sent in so many rounds until nobody new is found: who forks meanwhile is met in the next.
const ROUNDS: usize = 50;

/// Where the tree begins.
#[derive(Clone, Debug)]
pub(crate) enum Root {
    /// All that this process started, but for those (helpers of its own).
    Own(BTreeSet<u32>),
    /// That process.
    Of(ProcId),
}

/// The processes of a workload.
#[derive(Debug)]
pub(crate) struct Tree {
    procfs: Procfs,
    root: Root,
    /// CPU ticks of each that was seen, ended ones included.
    seen: BTreeMap<ProcId, u64>,
    /// CPU ticks of those that have ended.
    gone_ticks: u64,
    page: u64,
    ticks_a_second: u64,
    /// Whether the kernel lists the children of each thread; else all processes are looked at for their parent.
    lists: bool,
}

/// What all of them have together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// Memory, by pages in memory of each: what several share is counted for each.
    pub memory: Bytes,
    /// How many processes.
    pub processes: u64,
    /// Processes and threads.
    pub tasks: u64,
    /// CPU time in microseconds, those that have ended included as they were last seen.
    pub cpu_micros: u64,
}

impl Tree {
    pub(crate) fn new(root: Root) -> io::Result<Tree> {
        let own = std::process::id();
        Ok(Tree {
            lists: std::path::Path::new(&format!("/proc/{own}/task/{own}/children")).exists(),
            procfs: Procfs::open()?,
            root,
            seen: BTreeMap::new(),
            gone_ticks: 0,
            page: rustix::param::page_size() as u64,
            ticks_a_second: rustix::param::clock_ticks_per_second(),
        })
    }

    /// These are not of the workload, nor is what they start.
    pub(crate) fn leave_out(&mut self, helpers: impl IntoIterator<Item = u32>) {
        // Below another process they are left out as we are, with all that is below us.
        if let Root::Own(all) = &mut self.root {
            *all = helpers.into_iter().collect();
        }
    }

    /// All that live now.
    pub(crate) fn processes(&mut self) -> Vec<Process> {
        let mut found: BTreeMap<ProcId, Process> = BTreeMap::new();
        let mut next: Vec<u32> = Vec::new();
        let own = std::process::id();
        let kin = Kin::read(&self.procfs, self.lists);
        match &self.root {
            Root::Own(out) => {
                let parent = self.procfs.process(own);
                let children = parent.map(|p| kin.children(&p)).unwrap_or_default();
                next.extend(children.into_iter().filter(|pid| !out.contains(pid)));
            }
            Root::Of(id) => {
                // Remembered ones may have become another's children.
                let known = self.seen.keys().chain(std::iter::once(id));
                for process in known.filter_map(|id| self.procfs.same(*id).ok()) {
                    next.extend(kin.children(&process));
                    found.insert(process.id(), process);
                }
            }
        }
        while let Some(pid) = next.pop() {
            // Who supervises its own parent, say, is no part of what it supervises.
            if pid == own {
                continue;
            }
            let Ok(process) = self.procfs.process(pid) else {
                continue;
            };
            if found.len() >= MOST || found.contains_key(&process.id()) {
                continue;
            }
            next.extend(kin.children(&process));
            found.insert(process.id(), process);
        }
        found.into_values().filter(lives).collect()
    }

    /// What they have together now.
    ///
    /// These are of it as well, wherever they come from: those that a group holds together.
    pub(crate) fn sum(&mut self, members: &[u32]) -> Sum {
        let mut processes = self.processes();
        let known: BTreeSet<u32> = processes.iter().map(|p| p.id().pid).collect();
        let more = members.iter().filter(|pid| !known.contains(pid));
        processes.extend(
            more.filter_map(|pid| self.procfs.process(*pid).ok())
                .filter(lives),
        );
        let mut sum = Sum::default();
        let mut now: BTreeMap<ProcId, u64> = BTreeMap::new();
        for process in &processes {
            // One that ends meanwhile has nothing any more.
            let Ok(stat) = process.stat() else { continue };
            sum.memory.0 = sum
                .memory
                .0
                .saturating_add(stat.resident_pages.saturating_mul(self.page));
            sum.processes += 1;
            sum.tasks = sum.tasks.saturating_add(stat.threads);
            now.insert(process.id(), stat.user_ticks + stat.system_ticks);
        }
        for (id, ticks) in &self.seen {
            if !now.contains_key(id) {
                self.gone_ticks = self.gone_ticks.saturating_add(*ticks);
            }
        }
        let ticks = now.values().sum::<u64>().saturating_add(self.gone_ticks);
        sum.cpu_micros = ticks.saturating_mul(1_000_000) / self.ticks_a_second.max(1);
        self.seen = now;
        sum
    }

    /// What they have together, what several share counted once. Dear. `None`: of some it may not be known.
    pub(crate) fn shared_once(&mut self) -> Option<Bytes> {
        let mut sum = 0_u64;
        for process in self.processes() {
            match process.pss() {
                Ok(Pss { all: Some(all), .. }) => sum = sum.saturating_add(all.0),
                // It has ended meanwhile, or is about to: its memory goes before it does.
                _ if !lives(&process) || process.stat().is_ok_and(|s| s.resident_pages == 0) => {}
                _ => return None,
            }
        }
        Some(Bytes(sum))
    }

    /// Sends a signal to each of them, again and again while new ones are found; how many got it.
    pub(crate) fn signal(&mut self, signal: Signal) -> usize {
        let mut told: BTreeSet<ProcId> = BTreeSet::new();
        for _ in 0..ROUNDS {
            let before = told.len();
            for process in self.processes() {
                if told.contains(&process.id()) {
                    continue;
                }
                if let Ok(handle) = process.handle()
                    && handle.signal(signal).is_ok()
                {
                    told.insert(process.id());
                }
            }
            if told.len() == before {
                break;
            }
        }
        told.len()
    }
}

/// It has not ended: one that its parent has not noticed yet has.
fn lives(process: &Process) -> bool {
    process.stat().is_ok_and(|s| !matches!(s.state, 'Z' | 'X'))
}

/// Who is whose child.
enum Kin {
    /// The kernel lists them.
    Listed,
    /// Found by each one's parent.
    ByParent(BTreeMap<u32, Vec<u32>>),
}

impl Kin {
    fn read(procfs: &Procfs, lists: bool) -> Kin {
        if lists {
            return Kin::Listed;
        }
        let mut all: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for pid in procfs.pids().unwrap_or_default() {
            if let Ok(stat) = procfs.process(pid).and_then(|p| p.stat()) {
                all.entry(stat.parent).or_default().push(pid);
            }
        }
        Kin::ByParent(all)
    }

    /// The children of all threads of a process.
    fn children(&self, process: &Process) -> Vec<u32> {
        match self {
            Kin::ByParent(all) => all.get(&process.id().pid).cloned().unwrap_or_default(),
            Kin::Listed => {
                let of = |tid| {
                    process
                        .text(&format!("task/{tid}/children"))
                        .unwrap_or_default()
                };
                let threads = process.thread_ids().unwrap_or_default();
                let texts: Vec<String> = threads.into_iter().map(of).collect();
                let words = texts.iter().flat_map(|t| t.split_whitespace());
                words.filter_map(|pid| pid.parse().ok()).collect()
            }
        }
    }
}
