//! The file of limits as values: what `limits.yaml` means once it is read and found right.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::network::Network;
use crate::host::{Bytes, BytesPerSecond, MilliCpu, Percent, Permille};
use crate::time::Millis;

/// A whole file of limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Version of the format; 1 is the only one.
    pub version: u32,
    /// What holds for the host as a whole.
    pub host: HostBounds,
    /// The workloads, in the order of the file; their names are unique.
    pub workloads: Vec<Workload>,
}

/// What holds for the host as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostBounds {
    /// Memory of the host that no action of curb takes: `pause` raises a limit, and `retry` gives more, only so far that
    /// this much stays free.
    pub keep_free: Option<Bytes>,
    /// macOS: how much wired memory all workloads together may have.
    pub wired: Option<Bytes>,
}

/// A named group of processes and what it may take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Workload {
    /// Its name: 1 to 63 of `a-z`, `0-9` and `-`, beginning with a letter or digit.
    pub name: String,
    /// Which running processes are it. None: only what `curb run --workload` starts.
    pub matches: Option<Match>,
    /// What `curb run --workload` runs when no command is given: program and arguments.
    pub command: Option<Vec<String>>,
    /// The baseline it is compared with: a path relative to the file of limits.
    pub baseline: Option<String>,
    /// Its limits.
    pub limits: LimitSet,
    /// What is done when a limit comes near or is met, in order; each step once an exceedance.
    pub ladder: Vec<Step>,
    /// When it is ended for thrashing at its limit on memory. None: after [`thrash::ENDED_AFTER`].
    ///
    /// [`thrash::ENDED_AFTER`]: crate::host::thrash::ENDED_AFTER
    pub end_thrashing: Option<EndThrashing>,
    /// What is run at a warning: program and arguments.
    pub on_warn: Option<Vec<String>>,
    /// Whether and how it is started again after a limit ended it.
    pub retry: Option<Retry>,
    /// What is run in its place when it is given up.
    pub fallback: Option<Fallback>,
    /// The proxy in front of it.
    pub front: Option<Front>,
}

/// Which processes are a workload: all that is given must hold. Arguments, environment and title can be forged by the
/// process itself, hence they never stand alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Match {
    /// A mapped file's name begins with it: `libmlx`.
    pub library: Option<String>,
    /// The user it runs as.
    pub user: Option<User>,
    /// Its arguments, joined by spaces. Forgeable.
    pub command: Option<Glob>,
    /// The systemd unit that its control group's path names.
    pub unit: Option<String>,
    /// The beginning of the container id that its control group's path names.
    pub container: Option<String>,
    /// Variables of its environment as it was started. Forgeable.
    pub environment: BTreeMap<String, String>,
}

/// A user of the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum User {
    /// By name.
    Name(String),
    /// By number.
    Id(u32),
}

/// A pattern: `*` is any text (also none), `?` any one character, all else itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Glob(pub String);

/// One limit: a number with a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit<T> {
    /// The number.
    pub value: T,
    /// Why it is this one.
    pub why: String,
    /// Scenario and figure of the baseline that it came from, in the author's words.
    pub from: Option<String>,
    /// Who accepted it, and when.
    pub accepted: Option<Accepted>,
}

/// Who accepted a limit, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Who.
    pub by: String,
    /// The day, as `2026-11-20`.
    pub on: String,
}

/// The limits of one workload; `None` is no limit of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitSet {
    /// Memory of all its processes together, as the kernel charges it; the kernel kills above it.
    pub memory: Option<Limit<Bytes>>,
    /// Memory above which the kernel slows it down and takes back what it can.
    pub memory_high: Option<Limit<Bytes>>,
    /// Swap on top of memory. None: none is given.
    pub swap: Option<Limit<Bytes>>,
    /// CPU time of all together in each tenth of a second.
    pub cpu: Option<Limit<MilliCpu>>,
    /// Share of the CPU against others when it is short: 1 to 10000, 100 being usual.
    pub cpu_weight: Option<Limit<u32>>,
    /// The CPUs it may run on.
    pub cpu_set: Option<Limit<CpuSet>>,
    /// Processes and threads together.
    pub processes: Option<Limit<u64>>,
    /// Open files of each process.
    pub open_files: Option<Limit<u64>>,
    /// Reading from each block device.
    pub io_read: Option<Limit<BytesPerSecond>>,
    /// Writing to each block device.
    pub io_write: Option<Limit<BytesPerSecond>>,
    /// From its start to its end.
    pub duration: Option<Limit<Millis>>,
    /// CPU time of all its processes together, those that have ended included.
    pub cpu_time: Option<Limit<Millis>>,
    /// The GPUs it is shown.
    pub gpu_visible: Option<Limit<Vec<Gpu>>>,
    /// Its part of a GPU's threads under NVIDIA MPS.
    pub gpu_threads: Option<Limit<Percent>>,
    /// Memory of each GPU under NVIDIA MPS.
    pub gpu_memory: Option<Limit<Bytes>>,
    /// What MLX keeps of freed memory. MLX holds itself to it.
    pub mlx_cache: Option<Limit<Bytes>>,
    /// MLX's own memory limit. Advisory: MLX goes past it without an error.
    pub mlx_memory: Option<Limit<Bytes>>,
    /// macOS: memory that MLX keeps resident.
    pub mlx_wired: Option<Limit<Bytes>>,
}

/// CPUs by number; never empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CpuSet(pub BTreeSet<u32>);

/// A GPU as CUDA is told it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gpu {
    /// By its number on this host.
    Index(u32),
    /// By `GPU-…` or `MIG-…`.
    Uuid(String),
}

/// When a workload is ended that thrashes: that is at its limit on memory, where the kernel kills nobody, and only reads its own
/// program back from disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndThrashing {
    /// When it has for so long without a break.
    After(Millis),
    /// Never: it is told, and stays.
    Never,
}

/// One step of a ladder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What must hold.
    pub when: Condition,
    /// For how long without a break.
    pub after: Millis,
    /// What is done then.
    pub action: Action,
}

/// When a step of the ladder is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Of which limit.
    pub what: Resource,
    /// How near.
    pub reach: Reach,
}

/// A limit that a ladder can watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// `memory`
    Memory,
    /// `cpu`
    Cpu,
    /// `processes`
    Processes,
    /// `duration`
    Duration,
    /// `cpu_time`
    CpuTime,
}

/// How near to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// More than this part of the limit: 1 to 999 thousandths. Written `> 90%`.
    Above(Permille),
    /// The limit itself is met, by the kernel's own count where it has one. Written `= 100%`.
    Met,
    /// Of memory alone: it is at its limit, and only reads back from disk what was taken from it. Written `thrashing`.
    Thrashing,
}

/// What a step of a ladder does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Tell: the log, an event, a line to its stderr, `on_warn`.
    Warn,
    /// Slow it down; at least one of the two is given.
    Throttle {
        /// To this CPU quota.
        cpu: Option<MilliCpu>,
        /// By this bound on memory above which the kernel slows it down (`memory.high`; control groups of version 2).
        memory_high: Option<Bytes>,
    },
    /// Pause all of it, raise the limit on memory within what the host has left, and let it go on.
    Pause {
        /// How much more it gets, of the limit that it has.
        raise: Permille,
        /// The limit is never raised above this.
        most: Bytes,
    },
    /// Have it save its work.
    Checkpoint {
        /// How it is told.
        how: Checkpoint,
        /// How long it is waited for.
        within: Millis,
    },
    /// SIGTERM to all of it, and after the grace the kernel ends the whole group at once.
    Stop {
        /// From being asked to being ended.
        grace: Millis,
    },
}

/// How a workload is told to save its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checkpoint {
    /// By a signal, by its number on Linux.
    Signal(i32),
    /// By a program of its own and its arguments, run outside of the workload's limits.
    Hook(Vec<String>),
}

/// Whether and how a workload is started again after a limit ended it. Waits double from `first` to `most`, with jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// How often within the window; then it is given up (the circuit breaker opens).
    pub times: u32,
    /// The first wait.
    pub first: Millis,
    /// The longest wait.
    pub most: Millis,
    /// How much more memory it gets each time, of the limit that it had. Zero: none.
    pub memory: Permille,
    /// The window in which the times are counted.
    pub within: Millis,
}

/// What is run in place of a workload that is given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Limits that differ from the workload's own; those that are not given stay.
    pub limits: LimitSet,
}

/// The proxy in front of a model server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Front {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where the server listens.
    pub to: SocketAddr,
    /// Requests that the server is given at a time.
    pub in_flight: u32,
    /// Requests that wait beyond those.
    pub queue: u32,
    /// The largest body of a request.
    pub body: Bytes,
    /// Requests of one client at a time, waiting ones included.
    pub per_client: u32,
    /// From the head of a request to the last byte of its answer, waiting included.
    pub deadline: Millis,
    /// Where requests go while the server is over its limit, restarting or paused.
    pub fallback: Option<SocketAddr>,
    /// Where its figures are read, on this machine alone.
    #[serde(default)]
    pub metrics: Option<SocketAddr>,
    /// Proxies that are believed when they say who asks.
    #[serde(default)]
    pub trust: Vec<Network>,
}

impl File {
    /// The workload of that name.
    #[must_use]
    pub fn workload(&self, name: &str) -> Option<&Workload> {
        self.workloads.iter().find(|w| w.name == name)
    }
}

impl Match {
    /// Whether all that it asks for could be said by any process of itself.
    #[must_use]
    pub fn is_forgeable(&self) -> bool {
        self.library.is_none()
            && self.user.is_none()
            && self.unit.is_none()
            && self.container.is_none()
    }
}

impl Front {
    /// Requests at a time, when the file does not say.
    pub const IN_FLIGHT: u32 = 8;
    /// Waiting requests, when the file does not say.
    pub const QUEUE: u32 = 32;
    /// The largest body, when the file does not say.
    pub const BODY: Bytes = Bytes(8 << 20);
    /// The deadline, when the file does not say.
    pub const DEADLINE: Millis = Millis(120_000);
}

impl LimitSet {
    /// These limits, but for those that `over` gives.
    #[must_use]
    pub fn with(&self, over: &LimitSet) -> LimitSet {
        LimitSet {
            memory: over.memory.clone().or_else(|| self.memory.clone()),
            memory_high: over
                .memory_high
                .clone()
                .or_else(|| self.memory_high.clone()),
            swap: over.swap.clone().or_else(|| self.swap.clone()),
            cpu: over.cpu.clone().or_else(|| self.cpu.clone()),
            cpu_weight: over.cpu_weight.clone().or_else(|| self.cpu_weight.clone()),
            cpu_set: over.cpu_set.clone().or_else(|| self.cpu_set.clone()),
            processes: over.processes.clone().or_else(|| self.processes.clone()),
            open_files: over.open_files.clone().or_else(|| self.open_files.clone()),
            io_read: over.io_read.clone().or_else(|| self.io_read.clone()),
            io_write: over.io_write.clone().or_else(|| self.io_write.clone()),
            duration: over.duration.clone().or_else(|| self.duration.clone()),
            cpu_time: over.cpu_time.clone().or_else(|| self.cpu_time.clone()),
            gpu_visible: over
                .gpu_visible
                .clone()
                .or_else(|| self.gpu_visible.clone()),
            gpu_threads: over
                .gpu_threads
                .clone()
                .or_else(|| self.gpu_threads.clone()),
            gpu_memory: over.gpu_memory.clone().or_else(|| self.gpu_memory.clone()),
            mlx_cache: over.mlx_cache.clone().or_else(|| self.mlx_cache.clone()),
            mlx_memory: over.mlx_memory.clone().or_else(|| self.mlx_memory.clone()),
            mlx_wired: over.mlx_wired.clone().or_else(|| self.mlx_wired.clone()),
        }
    }
}

impl<T> Limit<T> {
    /// A limit with a reason and nothing else.
    pub fn new(value: T, why: impl Into<String>) -> Limit<T> {
        Limit {
            value,
            why: why.into(),
            from: None,
            accepted: None,
        }
    }
}

impl Glob {
    /// Whether the whole text fits the pattern. Takes at most as many steps as the two lengths multiplied.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let pattern: Vec<char> = self.0.chars().collect();
        let text: Vec<char> = text.chars().collect();
        let (mut p, mut t) = (0, 0);
        // The last `*` seen, and where the text went on behind what it took.
        let mut star: Option<(usize, usize)> = None;
        while t < text.len() {
            match pattern.get(p) {
                Some('*') => {
                    star = Some((p, t));
                    p += 1;
                }
                Some(c) if *c == '?' || *c == text[t] => {
                    p += 1;
                    t += 1;
                }
                _ => {
                    let Some((at, taken)) = star else {
                        return false;
                    };
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
            }
        }
        pattern[p..].iter().all(|c| *c == '*')
    }
}

/// Why a text names no CPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpuSetError {
    /// It is no list of numbers and ranges.
    #[error("write numbers and ranges with commas between, such as `0-3,6`")]
    Form,
    /// A range that ends before it begins.
    #[error("write `{to}-{from}`")]
    Backwards {
        /// Where it begins.
        from: u32,
        /// Where it ends.
        to: u32,
    },
    /// A number that is named before.
    #[error("CPU {0} is named twice")]
    Twice(u32),
    /// A number above [`CpuSet::HIGHEST`].
    #[error("the highest number is {highest}", highest = CpuSet::HIGHEST)]
    TooHigh,
}

impl CpuSet {
    /// The highest number that is read: more than Linux is built for.
    pub const HIGHEST: u32 = 8191;
}

impl std::str::FromStr for CpuSet {
    type Err = CpuSetError;

    /// `0-3,6`, as the kernel writes it too. Each CPU once, so that no text makes more work than there are CPUs.
    fn from_str(text: &str) -> Result<CpuSet, CpuSetError> {
        let mut set = BTreeSet::new();
        for part in text.split(',') {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let number = |t: &str| t.trim().parse::<u32>().map_err(|_| CpuSetError::Form);
            let (from, to) = (number(from)?, number(to)?);
            if from > to {
                return Err(CpuSetError::Backwards { from, to });
            }
            if to > CpuSet::HIGHEST {
                return Err(CpuSetError::TooHigh);
            }
            if let Some(twice) = (from..=to).find(|n| !set.insert(*n)) {
                return Err(CpuSetError::Twice(twice));
            }
        }
        Ok(CpuSet(set))
    }
}

impl fmt::Display for CpuSet {
    /// `0-3,6`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.iter().copied().peekable();
        let mut first = true;
        while let Some(from) = rest.next() {
            let mut to = from;
            while let Some(next) = rest.next_if(|n| to.checked_add(1) == Some(*n)) {
                to = next;
            }
            if !first {
                f.write_str(",")?;
            }
            first = false;
            match to - from {
                0 => write!(f, "{from}")?,
                _ => write!(f, "{from}-{to}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Gpu {
    /// As in `CUDA_VISIBLE_DEVICES`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gpu::Index(n) => write!(f, "{n}"),
            Gpu::Uuid(id) => f.write_str(id),
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            User::Name(name) => f.write_str(name),
            User::Id(id) => write!(f, "{id}"),
        }
    }
}

impl Resource {
    /// All, in the order of the file's reference.
    pub const ALL: [Resource; 5] = [
        Resource::Memory,
        Resource::Cpu,
        Resource::Processes,
        Resource::Duration,
        Resource::CpuTime,
    ];

    /// The name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Resource::Memory => "memory",
            Resource::Cpu => "cpu",
            Resource::Processes => "processes",
            Resource::Duration => "duration",
            Resource::CpuTime => "cpu_time",
        }
    }
}

impl fmt::Display for Condition {
    /// `memory > 90%`, `memory = 100%`, `memory thrashing`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reach {
            Reach::Above(part) => write!(f, "{} > {part}", self.what.name()),
            Reach::Met => write!(f, "{} = 100%", self.what.name()),
            Reach::Thrashing => write!(f, "{} thrashing", self.what.name()),
        }
    }
}

impl Workload {
    /// After how long it is ended for thrashing: not where that is said, or a step of its ladder stops it for it.
    #[must_use]
    pub fn ended_for_thrashing(&self) -> Option<Millis> {
        EndThrashing::after(self.end_thrashing, &self.ladder)
    }
}

impl EndThrashing {
    /// The same of what a file says and a ladder.
    #[must_use]
    pub fn after(said: Option<EndThrashing>, ladder: &[Step]) -> Option<Millis> {
        let stops =
            |s: &Step| s.when.reach == Reach::Thrashing && matches!(s.action, Action::Stop { .. });
        match said {
            Some(EndThrashing::After(time)) => Some(time),
            Some(EndThrashing::Never) => None,
            None => (!ladder.iter().any(stops)).then_some(crate::host::thrash::ENDED_AFTER),
        }
    }
}

/// Why a text does not say when a workload is ended for thrashing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndThrashingError {
    /// Before that it is not even known.
    #[error("wanted at least {0}, after which it is known that it thrashes")]
    TooShort(Millis),
    /// It is no time, or more than a day.
    #[error("wanted a time such as `30s`, a day at most, or `never`")]
    Form,
}

impl std::str::FromStr for EndThrashing {
    type Err = EndThrashingError;

    fn from_str(text: &str) -> Result<EndThrashing, EndThrashingError> {
        let least = crate::host::thrash::TOLD_AFTER;
        match (text.trim(), Millis::parse(text)) {
            ("never", _) => Ok(EndThrashing::Never),
            (_, Ok(time)) if time < least => Err(EndThrashingError::TooShort(least)),
            (_, Ok(time)) if time <= Millis::DAY => Ok(EndThrashing::After(time)),
            _ => Err(EndThrashingError::Form),
        }
    }
}

impl fmt::Display for EndThrashing {
    /// `30s`, `never`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndThrashing::After(time) => write!(f, "{time}"),
            EndThrashing::Never => f.write_str("never"),
        }
    }
}

impl Step {
    /// Whether it waits at the limit on memory for more of it.
    #[must_use]
    pub fn pauses_at_the_limit(&self) -> bool {
        matches!(self.action, Action::Pause { .. })
            && self.when.what == Resource::Memory
            && self.when.reach != Reach::Thrashing
    }
}

impl Action {
    /// The word for it in the file.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Action::Warn => "warn",
            Action::Throttle { .. } => "throttle",
            Action::Pause { .. } => "pause",
            Action::Checkpoint { .. } => "checkpoint",
            Action::Stop { .. } => "stop",
        }
    }

    /// Whether it holds still what it then gives more memory.
    #[must_use]
    pub fn is_a_pause(&self) -> bool {
        matches!(self, Action::Pause { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_the_whole_text() {
        for (pattern, text, fits) in [
            ("python* server.py*", "python3 server.py --port 1", true),
            ("python* server.py*", "vim server.py", false),
            ("server.py", "python server.py", false),
            ("*server.py", "python server.py", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("", "", true),
            ("", "a", false),
            ("**", "", true),
            ("*a*b", "xaxxab", true),
            ("*ö", "aö", true),
        ] {
            assert_eq!(Glob(pattern.into()).matches(text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        let pattern = "*a".repeat(200) + "b";
        assert!(!Glob(pattern).matches(&"a".repeat(4000)));
    }

    #[test]
    fn cpus_are_shown_as_ranges() {
        let set = |cpus: &[u32]| CpuSet(cpus.iter().copied().collect()).to_string();
        assert_eq!(set(&[0, 1, 2, 3, 6]), "0-3,6");
        assert_eq!(set(&[5]), "5");
        assert_eq!(set(&[0, 1]), "0-1");
        assert_eq!(set(&[u32::MAX - 1, u32::MAX]), "4294967294-4294967295");
        assert_eq!("0-3,6\n".trim().parse(), Ok(CpuSet([0, 1, 2, 3, 6].into())));
        assert_eq!("".parse::<CpuSet>(), Err(CpuSetError::Form));
    }

    #[test]
    fn a_fallback_keeps_the_limits_that_it_does_not_give() {
        let own = LimitSet {
            memory: Some(Limit::new(Bytes::GIB, "own")),
            processes: Some(Limit::new(64, "own")),
            ..LimitSet::default()
        };
        let over = LimitSet {
            memory: Some(Limit::new(Bytes::MIB, "less")),
            ..LimitSet::default()
        };
        let both = own.with(&over);
        assert_eq!(both.memory, over.memory);
        assert_eq!(both.processes, own.processes);
    }
}
