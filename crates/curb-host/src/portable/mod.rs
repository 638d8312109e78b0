//! A command under a watchdog, on hosts whose kernel has no control groups: macOS.
//!
//! What differs between such hosts is one trait, [`Platform`]; the rest is the same everywhere, and is tested on Linux with a
//! platform of its own. Signals go by number, since there is no descriptor of a process there: each is sent only to a number
//! whose start time was read to be the same just before. Who was never seen between two looks and has left the tree by then
//! is not found: no process can be made the parent of what is left behind.

#[cfg(target_os = "macos")]
mod macos;
mod supervise;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use curb_core::host::limits::Resource;
use rustix::process::{Pid, Signal, kill_process};

use crate::ending::OurStop;
use crate::limits::{Bytes, Limits};

#[cfg(target_os = "macos")]
pub use macos::Mac;
pub use supervise::run;

/// No more of a tree is followed.
const MOST: usize = 100_000;
/// What a tree may hold beyond its limit while it is given time to end: a quarter.
const BEYOND: u64 = 4;

/// Which process: a number is used again, with its start it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// Its number.
    pub pid: u32,
    /// When it started, in a unit of the platform's.
    pub start: u64,
}

/// One look at a process that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Who it is.
    pub id: Id,
    /// What the platform charges it with.
    pub memory: Bytes,
    /// CPU time of it until now.
    pub cpu: Duration,
    /// Its threads.
    pub threads: u64,
}

/// What differs between hosts without control groups.
pub trait Platform {
    /// What is run in place of a command, so that the kernel holds its first process to a limit on memory; `None` if there
    /// is no such thing.
    fn launch(&self, command: &[OsString], memory: Bytes) -> Option<Vec<OsString>>;
    /// The processes whose parent has that number.
    fn children(&self, pid: u32) -> Vec<u32>;
    /// The process that has that number now, if it lives and may be looked at.
    fn look(&self, pid: u32) -> Option<Seen>;
    /// The most memory that programs may wire, as the machine is set; `None`: not known, or no such bound.
    fn wired(&self) -> Option<Bytes>;

    /// Sends a signal to that process, if its number is still its own.
    ///
    /// # Errors
    /// It has ended, or may not be signalled.
    fn signal(&self, id: Id, signal: Signal) -> io::Result<()> {
        let same = self.look(id.pid).is_some_and(|seen| seen.id == id);
        let pid = i32::try_from(id.pid).ok().and_then(Pid::from_raw);
        let pid = pid.filter(|_| same).ok_or(rustix::io::Errno::SRCH)?;
        Ok(kill_process(pid, signal)?)
    }
}

/// What a tree has together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    memory: Bytes,
    /// Processes and threads.
    tasks: u64,
    /// Those that have ended included, as they were last seen.
    cpu: Duration,
}

/// The processes of a command, by descent; who was seen once is remembered, whoever is its parent by then.
#[derive(Debug, Default)]
struct Tree {
    seen: BTreeMap<Id, Duration>,
    gone: Duration,
}

impl Tree {
    /// All that live of the tree of `root` now, and what they have together.
    fn look(&mut self, platform: &impl Platform, root: Id) -> (Vec<Id>, Sum) {
        let mut found: BTreeMap<Id, Seen> = BTreeMap::new();
        let known = self.seen.keys().copied().chain([root]);
        let same = |id: Id| platform.look(id.pid).filter(|seen| seen.id == id);
        let mut next: Vec<Seen> = known.filter_map(same).collect();
        while let Some(seen) = next.pop() {
            if found.len() >= MOST || found.insert(seen.id, seen).is_some() {
                continue;
            }
            let children = platform.children(seen.id.pid);
            next.extend(children.into_iter().filter_map(|pid| platform.look(pid)));
        }
        for (id, cpu) in &self.seen {
            if !found.contains_key(id) {
                self.gone = self.gone.saturating_add(*cpu);
            }
        }
        self.seen = found.values().map(|s| (s.id, s.cpu)).collect();
        let mut sum = Sum {
            cpu: self.gone,
            ..Sum::default()
        };
        for seen in found.values() {
            sum.memory.0 = sum.memory.0.saturating_add(seen.memory.0);
            sum.tasks = sum.tasks.saturating_add(seen.threads.max(1));
            sum.cpu = sum.cpu.saturating_add(seen.cpu);
        }
        (found.into_keys().collect(), sum)
    }
}

/// What is to be done about a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// It is asked to end, for that.
    Ask(OurStop),
    /// It is ended at once.
    End(OurStop),
}

/// What is to be done: a tree at a limit is asked to end first, since a large one that is killed may leave wired memory
/// behind that only a restart of the machine gives back; one that goes on growing is ended.
fn order(limits: &Limits, sum: Sum, ran: Duration) -> Option<Order> {
    if let Some(most) = limits.memory {
        let stop = OurStop::Watchdog(Resource::Memory);
        if sum.memory.0 >= most.0.saturating_add(most.0 / BEYOND) {
            return Some(Order::End(stop));
        }
        if sum.memory >= most {
            return Some(Order::Ask(stop));
        }
    }
    if limits.tasks.is_some_and(|most| sum.tasks > most) {
        return Some(Order::End(OurStop::Watchdog(Resource::Processes)));
    }
    if limits.cpu_time.is_some_and(|most| sum.cpu >= most) {
        return Some(Order::Ask(OurStop::CpuTime));
    }
    let over = limits.duration.is_some_and(|most| ran >= most);
    over.then_some(Order::Ask(OurStop::Duration))
}

/// What of these limits cannot be held, in words.
fn not_held(limits: &Limits) -> Vec<String> {
    let asked = [
        ("cpu", limits.cpu.is_some()),
        ("cpu_weight", limits.cpu_weight.is_some()),
        ("cpu_set", limits.cpu_set.is_some()),
        ("memory_high", limits.memory_high.is_some()),
        ("swap", limits.swap.is_some()),
        ("io_read", limits.io_read.is_some()),
        ("io_write", limits.io_write.is_some()),
    ];
    let asked = asked.into_iter().filter(|(_, asked)| *asked);
    asked
        .map(|(name, _)| format!("{name}: there are no control groups here"))
        .collect()
}

/// What a program may wire, against what the machine lets programs wire: MLX fails to set more. The budget of the file of
/// limits, which counts all its workloads together, is checked when that is read.
fn wired_beyond(asked: Option<Bytes>, machine: Option<Bytes>) -> Option<String> {
    let (asked, machine) = (asked?, machine?);
    (asked > machine).then(|| {
        format!(
            "mlx_wired: {asked} are more than the machine lets programs wire ({machine}); root raises that by \
             sysctl iogpu.wired_limit_mb"
        )
    })
}

/// The command with the launch limit of macOS before it: `taskpolicy -m` holds the first process to so many MiB, by the
/// kernel's own count.
#[cfg_attr(not(target_os = "macos"), allow(dead_code))]
fn by_taskpolicy(
    taskpolicy: &Path,
    command: &[OsString],
    Bytes(memory): Bytes,
) -> Option<Vec<OsString>> {
    // It would take such a program for an option of its own.
    let program = command
        .first()
        .filter(|p| !p.as_encoded_bytes().starts_with(b"-"))?;
    let mebibytes = memory.div_ceil(1 << 20).to_string();
    let before = [
        taskpolicy.as_os_str(),
        OsStr::new("-m"),
        OsStr::new(&mebibytes),
        program,
    ];
    let before = before.into_iter().map(OsStr::to_os_string);
    Some(before.chain(command[1..].iter().cloned()).collect())
}

/// Ticks of a clock that has so many nanoseconds to so many ticks.
#[cfg_attr(not(target_os = "macos"), allow(dead_code))]
fn ticks(count: u64, nanoseconds: u32, ticks: u32) -> Duration {
    let all = u128::from(count) * u128::from(nanoseconds) / u128::from(ticks.max(1));
    Duration::from_nanos(u64::try_from(all).unwrap_or(u64::MAX))
}

/// The file that a program's name means, as a shell would look for it: what starts others does not say that it is not there.
fn program(name: &OsStr, path: Option<&OsStr>) -> Option<PathBuf> {
    if name.as_encoded_bytes().contains(&b'/') {
        return Some(PathBuf::from(name)).filter(|p| p.exists());
    }
    let dirs = std::env::split_paths(path?);
    dirs.map(|dir| dir.join(name)).find(|p| p.is_file())
}

#[cfg(test)]
mod tests;
