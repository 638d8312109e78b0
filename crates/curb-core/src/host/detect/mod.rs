//! What is odd about a workload: more than its baseline for a while, growth that looks like a leak, CPU without progress,
//! starting again and again.
//!
//! Readings go in with the time they were taken at, changes come out: each anomaly begins once and ends once. No clock, no
//! floating point. What a reading does not know is no evidence: it neither begins an anomaly nor ends one.

mod leak;
mod level;
mod pinned;
mod restarts;
mod words;

use serde::{Deserialize, Serialize};

use crate::host::{Bytes, MilliCpu, Permille};
use crate::time::Millis;

use leak::Leak;
use level::Level;
use pinned::Pinned;
use restarts::Restarts;

/// One look at a workload. What could not be read is `None`, never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// When, on a clock that never goes back. A reading that is not after the one before is left out.
    pub at: Millis,
    /// Memory of all its processes together.
    pub memory: Option<Bytes>,
    /// CPU time of all together until now, in microseconds.
    pub cpu_micros: Option<u64>,
    /// Processes and threads.
    pub tasks: Option<u64>,
    /// What tells that it gets on.
    pub progress: Progress,
}

/// Counts that only grow, and that stand still in a program that turns in a circle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read and written by calls of the kernel.
    pub io_bytes: Option<u64>,
    /// How often its threads waited for something of their own accord.
    pub waits: Option<u64>,
    /// What it counts itself: tokens, steps, requests.
    pub units: Option<u64>,
}

impl Progress {
    /// Whether anything is known of it.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.io_bytes.is_some() || self.waits.is_some() || self.units.is_some()
    }
}

/// What is usual, of a baseline: the largest of its scenarios. What the baseline does not say is not compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usual {
    /// Memory at the median.
    pub memory_median: Option<Bytes>,
    /// The upper end of what memory was usual.
    pub memory_high: Option<Bytes>,
    /// The upper end of what CPU was usual.
    pub cpu_high: Option<MilliCpu>,
    /// The upper end of how many processes and threads were usual.
    pub tasks_high: Option<u64>,
}

/// When something is odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// So far above the upper end of what is usual it must be. Half of it, and it is over.
    pub level_margin: Permille,
    /// For so long, without a break.
    pub level_for: Millis,
    /// After a start, growth means nothing for so long: models are loaded then.
    pub settle: Millis,
    /// Of each such time the least memory counts, so that what is given back again is no growth. When many have passed,
    /// they are taken together two by two.
    pub window: Millis,
    /// Less growth than this is none.
    pub leak_least: Bytes,
    /// Less growth than this part of what it had is none.
    pub leak_least_part: Permille,
    /// A leak that meets the limit later than this is not told.
    pub leak_horizon: Millis,
    /// A program that does not get on uses at least this much CPU.
    pub pinned_cpu: MilliCpu,
    /// For so long, without a break.
    pub pinned_for: Millis,
    /// So many starts are odd …
    pub restarts: u32,
    /// … within this time.
    pub restarts_within: Millis,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            level_margin: Permille(100),
            level_for: Millis(60_000),
            settle: Millis(120_000),
            window: Millis(10_000),
            leak_least: Bytes(16 << 20),
            leak_least_part: Permille(50),
            leak_horizon: Millis(24 * 3_600_000),
            pinned_cpu: MilliCpu(900),
            pinned_for: Millis(600_000),
            restarts: 3,
            restarts_within: Millis(600_000),
        }
    }
}

/// What an anomaly is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// More memory than usual.
    Memory,
    /// More CPU than usual.
    Cpu,
    /// More processes and threads than usual.
    Tasks,
    /// Memory that grows and is not given back.
    Leak,
    /// CPU without progress.
    Pinned,
    /// Started again and again.
    Restarts,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 6] = [
        Kind::Memory,
        Kind::Cpu,
        Kind::Tasks,
        Kind::Leak,
        Kind::Pinned,
        Kind::Restarts,
    ];

    /// The name in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Memory => "memory",
            Kind::Cpu => "cpu",
            Kind::Tasks => "tasks",
            Kind::Leak => "leak",
            Kind::Pinned => "pinned",
            Kind::Restarts => "restarts",
        }
    }
}

/// Why something is held to be odd. Shown in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// More memory than usual.
    Memory {
        /// What it has.
        now: Bytes,
        /// The upper end of what is usual.
        usual: Bytes,
    },
    /// More CPU than usual.
    Cpu {
        /// On average in that time.
        now: MilliCpu,
        /// The upper end of what is usual.
        usual: MilliCpu,
    },
    /// More processes and threads than usual.
    Tasks {
        /// What it has.
        now: u64,
        /// The upper end of what is usual.
        usual: u64,
    },
    /// It grows.
    Leak {
        /// What it has.
        now: Bytes,
        /// In an hour, at this rate.
        per_hour: Bytes,
        /// What was looked at.
        over: Millis,
        /// When its limit is met at this rate, where it has one.
        meets: Option<Meets>,
    },
    /// It does not get on.
    Pinned {
        /// On average in that time.
        cpu: MilliCpu,
        /// Bytes read and written in that time, where known.
        io_bytes: Option<u64>,
        /// How often it waited in that time, where known.
        waits: Option<u64>,
        /// What it counted itself in that time, where known.
        units: Option<u64>,
    },
    /// It starts again and again.
    Restarts {
        /// So often …
        times: u32,
        /// … within this.
        within: Millis,
    },
}

/// When a limit is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meets {
    /// Which limit.
    pub limit: Bytes,
    /// In how long.
    pub within: Millis,
}

/// An anomaly began or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It began.
    Began {
        /// What it is of.
        kind: Kind,
        /// Since when what is odd has been going on.
        since: Millis,
        /// Why it is held to be one.
        evidence: Evidence,
    },
    /// It is over.
    Ended {
        /// What it was of.
        kind: Kind,
        /// Since when it had been going on.
        since: Millis,
        /// For how long.
        lasted: Millis,
    },
}

impl Change {
    /// What it is of.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Change::Began { kind, .. } | Change::Ended { kind, .. } => *kind,
        }
    }
}

/// What is known of one workload. Bounded: 64 points and a few numbers, however long it runs.
#[derive(Clone, Debug)]
pub struct Detector {
    settings: Settings,
    usual: Usual,
    last: Option<Reading>,
    memory: Level,
    cpu: Level,
    tasks: Level,
    leak: Leak,
    pinned: Pinned,
    restarts: Restarts,
}

impl Detector {
    /// Of a workload that was not seen before.
    #[must_use]
    pub fn new(settings: Settings, usual: Usual) -> Detector {
        Detector {
            settings,
            usual,
            last: None,
            memory: Level::default(),
            cpu: Level::default(),
            tasks: Level::default(),
            leak: Leak::new(settings.window),
            pinned: Pinned::default(),
            restarts: Restarts::default(),
        }
    }

    /// From now on another baseline holds.
    pub fn compare_with(&mut self, usual: Usual) {
        self.usual = usual;
    }

    /// Takes a reading; `limit` is the limit on memory that is in force.
    pub fn read(&mut self, reading: Reading, limit: Option<Bytes>) -> Vec<Change> {
        if self.last.is_some_and(|last| reading.at <= last.at) {
            return Vec::new();
        }
        let (at, settings, usual) = (reading.at, &self.settings, &self.usual);
        let cpu = self.last.and_then(|last| rate(&last, &reading));
        let mut changes = Vec::new();
        changes.extend(self.memory.read(
            at,
            settings,
            (reading.memory.map(|b| b.0), usual.memory_high.map(|b| b.0)),
            Kind::Memory,
        ));
        changes.extend(self.cpu.read(
            at,
            settings,
            (cpu.map(|c| c.0), usual.cpu_high.map(|c| c.0)),
            Kind::Cpu,
        ));
        changes.extend(self.tasks.read(
            at,
            settings,
            (reading.tasks, usual.tasks_high),
            Kind::Tasks,
        ));
        if let Some(memory) = reading.memory {
            let floor = usual.memory_median.unwrap_or_default();
            changes.extend(self.leak.read(at, settings, memory, floor, limit));
        }
        changes.extend(self.pinned.read(settings, &reading));
        changes.extend(self.restarts.look(at, settings));
        self.last = Some(reading);
        changes
    }

    /// It was started again: what its memory did before means nothing now.
    pub fn started(&mut self, at: Millis) -> Vec<Change> {
        let mut changes: Vec<Change> = Vec::new();
        changes.extend(self.leak.restart(at));
        changes.extend(self.pinned.end(at));
        self.last = None;
        changes.extend(self.restarts.started(at, &self.settings));
        changes
    }

    /// It has ended: all anomalies of what it did are over. That it starts again and again is not.
    pub fn stopped(&mut self, at: Millis) -> Vec<Change> {
        let mut changes: Vec<Change> = Vec::new();
        changes.extend(self.memory.end(at, Kind::Memory));
        changes.extend(self.cpu.end(at, Kind::Cpu));
        changes.extend(self.tasks.end(at, Kind::Tasks));
        changes.extend(self.leak.restart(at));
        changes.extend(self.pinned.end(at));
        self.last = None;
        changes
    }

    /// What is odd at present.
    pub fn active(&self) -> impl Iterator<Item = Kind> + '_ {
        let on = [
            self.memory.is_active(),
            self.cpu.is_active(),
            self.tasks.is_active(),
            self.leak.is_active(),
            self.pinned.is_active(),
            self.restarts.is_active(),
        ];
        Kind::ALL
            .into_iter()
            .zip(on)
            .filter_map(|(kind, on)| on.then_some(kind))
    }

    /// Of a leak that is going on: when it meets the limit at the rate that was last seen.
    #[must_use]
    pub fn meets(&self) -> Option<Meets> {
        self.leak.meets()
    }
}

/// CPU used between two readings.
fn rate(from: &Reading, to: &Reading) -> Option<MilliCpu> {
    let used = to.cpu_micros?.checked_sub(from.cpu_micros?)?;
    let span = to.at.0.checked_sub(from.at.0).filter(|span| *span > 0)?;
    // Microseconds in a millisecond are thousandths of a CPU.
    Some(MilliCpu(used / span))
}

#[cfg(test)]
mod tests;
