//! `curb top`: what workloads use, from one look to the next. Looks go in, rows come out; time is an argument.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::audit::{Effective, Framework};
use super::{Bytes, MilliCpu, Permille};
use crate::time::{Millis, Timestamp};

/// Looks that are kept for the trend.
pub const HISTORY: usize = 60;
/// Ticks of the clock in a second, as `stat` counts CPU time (proc(5): fixed for what programs see).
const TICKS: u64 = 100;

/// Where an amount of memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryFrom {
    /// The group's own files: what the kernel charges it, caches of its files included.
    Group,
    /// Its processes' resident sizes added up: what they share is counted more than once.
    Resident,
}

/// A limit that a workload can meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Met {
    /// A process was killed for memory.
    Killed,
    /// Memory was at its limit.
    Memory,
    /// A fork was refused.
    Forks,
    /// The CPU quota held it back.
    Cpu,
}

/// What the kernel has counted of a workload's limits; `None` is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Processes killed for memory.
    pub killed: Option<u64>,
    /// How often memory was at its limit.
    pub memory: Option<u64>,
    /// Forks that were refused.
    pub forks: Option<u64>,
    /// Periods in which the quota held it back.
    pub cpu: Option<u64>,
}

impl Counts {
    /// Each with what it counts, the worst first.
    fn all(&self) -> [(Met, Option<u64>); 4] {
        [
            (Met::Killed, self.killed),
            (Met::Memory, self.memory),
            (Met::Forks, self.forks),
            (Met::Cpu, self.cpu),
        ]
    }
}

/// CPU time that was used until a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CpuUsed {
    /// Of the whole group, those that have ended included, in microseconds.
    Group(u64),
    /// Of each process by number and start time, in ticks.
    Processes(BTreeMap<(u32, u64), u64>),
}

/// One workload at one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Which group: stays the same from look to look.
    pub key: String,
    /// What people know it by.
    pub name: String,
    /// What its processes have loaded.
    pub frameworks: Vec<Framework>,
    /// How many processes were seen.
    pub processes: u64,
    /// Memory.
    pub memory: Option<Bytes>,
    /// Where that is from.
    pub memory_from: MemoryFrom,
    /// The limit on it.
    pub memory_limit: Effective<Bytes>,
    /// CPU time used.
    pub cpu: CpuUsed,
    /// The limit on it.
    pub cpu_limit: Effective<MilliCpu>,
    /// Processes and threads.
    pub tasks: Option<u64>,
    /// The limit on them.
    pub tasks_limit: Effective<u64>,
    /// What the kernel has counted.
    pub counts: Counts,
}

/// A limit that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Exceeded {
    /// Which.
    pub what: Met,
    /// When it was seen; `None`: before anybody looked.
    pub at: Option<Timestamp>,
    /// How often until now.
    pub count: u64,
}

/// One workload as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The last look.
    pub reading: Reading,
    /// CPUs in use since the look before.
    pub cpu: Option<MilliCpu>,
    /// Memory at each look, the newest last; `None` is not known.
    pub history: VecDeque<Option<Bytes>>,
    /// The last limit that was met.
    pub exceeded: Option<Exceeded>,
}

impl Row {
    /// What is left below the memory limit.
    #[must_use]
    pub fn headroom(&self) -> Option<Bytes> {
        let limit = self.reading.memory_limit.as_held()?.value;
        Some(Bytes(limit.0.saturating_sub(self.reading.memory?.0)))
    }

    /// The part of the memory limit that is left.
    #[must_use]
    pub fn headroom_part(&self) -> Option<Permille> {
        let limit = self.reading.memory_limit.as_held()?.value.0;
        let part = u128::from(self.headroom()?.0) * 1000 / u128::from(limit.max(1));
        u32::try_from(part).ok().map(Permille)
    }

    /// The trend of memory, each look from 0 to 1000: of the limit, or of the most that was seen where there is none.
    #[must_use]
    pub fn trend(&self) -> Vec<Option<Permille>> {
        let limit = self.reading.memory_limit.as_held().map(|h| h.value.0);
        let most = self.history.iter().flatten().map(|b| b.0).max();
        let whole = limit.or(most).unwrap_or(0).max(1);
        let part = |b: &Bytes| {
            let part = u128::from(b.0) * 1000 / u128::from(whole);
            Permille(u32::try_from(part.min(1000)).unwrap_or(1000))
        };
        self.history.iter().map(|b| b.as_ref().map(part)).collect()
    }
}

/// By what rows are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// The most memory first.
    #[default]
    Memory,
    /// The least left below its limit first; those without a limit last.
    Headroom,
    /// The most CPU first.
    Cpu,
    /// By name.
    Name,
}

impl Sort {
    /// The next one.
    #[must_use]
    pub fn next(self) -> Sort {
        match self {
            Sort::Memory => Sort::Headroom,
            Sort::Headroom => Sort::Cpu,
            Sort::Cpu => Sort::Name,
            Sort::Name => Sort::Memory,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Sort::Memory => "memory",
            Sort::Headroom => "headroom",
            Sort::Cpu => "cpu",
            Sort::Name => "name",
        }
    }
}

/// All workloads from look to look.
#[derive(Clone, Debug, Default)]
pub struct Board {
    rows: BTreeMap<String, Row>,
}

impl Board {
    /// Takes a look: `since` is how long ago the one before was, if there was one. Who is not in it any more is gone.
    pub fn take(&mut self, now: Timestamp, since: Option<Millis>, looks: Vec<Reading>) {
        let mut before = std::mem::take(&mut self.rows);
        for reading in looks {
            let old = before.remove(&reading.key);
            let row = next(old, now, since, reading);
            self.rows.insert(row.reading.key.clone(), row);
        }
    }

    /// The rows whose name or framework has the text in it, in order.
    #[must_use]
    pub fn rows(&self, sort: Sort, filter: &str) -> Vec<&Row> {
        let wanted = filter.to_lowercase();
        let fits = |row: &&Row| {
            let frameworks = row.reading.frameworks.iter().map(ToString::to_string);
            let mut words = frameworks.chain([row.reading.name.clone()]);
            words.any(|w| w.to_lowercase().contains(&wanted))
        };
        let mut rows: Vec<&Row> = self.rows.values().filter(fits).collect();
        let memory = |row: &Row| std::cmp::Reverse(row.reading.memory);
        rows.sort_by(|a, b| {
            let order = match sort {
                Sort::Memory => memory(a).cmp(&memory(b)),
                Sort::Cpu => b.cpu.cmp(&a.cpu),
                Sort::Headroom => {
                    let left = |row: &Row| row.headroom_part().map_or(u32::MAX, |p| p.0);
                    left(a).cmp(&left(b)).then(memory(a).cmp(&memory(b)))
                }
                Sort::Name => std::cmp::Ordering::Equal,
            };
            order.then_with(|| a.reading.name.cmp(&b.reading.name))
        });
        rows
    }
}

fn next(old: Option<Row>, now: Timestamp, since: Option<Millis>, reading: Reading) -> Row {
    let cpu = old
        .as_ref()
        .zip(since)
        .and_then(|(old, since)| rate(&old.reading.cpu, &reading.cpu, since));
    let exceeded = exceeded(old.as_ref(), now, &reading.counts);
    let mut history = old.map(|row| row.history).unwrap_or_default();
    history.push_back(reading.memory);
    while history.len() > HISTORY {
        history.pop_front();
    }
    Row {
        reading,
        cpu,
        history,
        exceeded,
    }
}

/// CPUs in use. Of processes only those count that were there at both looks: a number that is another's now has another
/// start time.
fn rate(before: &CpuUsed, now: &CpuUsed, since: Millis) -> Option<MilliCpu> {
    let micros = match (before, now) {
        (CpuUsed::Group(before), CpuUsed::Group(now)) => now.checked_sub(*before)?,
        (CpuUsed::Processes(before), CpuUsed::Processes(now)) => {
            let grown =
                |(id, ticks): (&(u32, u64), &u64)| before.get(id).map(|b| ticks.saturating_sub(*b));
            let ticks: u64 = now.iter().filter_map(grown).sum();
            ticks.saturating_mul(1_000_000 / TICKS)
        }
        _ => return None,
    };
    // Microseconds in a millisecond are thousandths of a CPU.
    micros.checked_div(since.0).map(MilliCpu)
}

/// The worst of what was counted since the look before; else what was known before.
fn exceeded(old: Option<&Row>, now: Timestamp, counts: &Counts) -> Option<Exceeded> {
    let Some(old) = old else {
        let first = counts
            .all()
            .into_iter()
            .find(|(_, n)| n.is_some_and(|n| n > 0));
        return first.map(|(what, count)| Exceeded {
            what,
            at: None,
            count: count.unwrap_or(0),
        });
    };
    let before = old.reading.counts.all();
    let more = counts
        .all()
        .into_iter()
        .zip(before)
        .find(|((_, now), (_, before))| now.zip(*before).is_some_and(|(now, before)| now > before));
    match more {
        Some(((what, count), _)) => Some(Exceeded {
            what,
            at: Some(now),
            count: count.unwrap_or(0),
        }),
        None => old.exceeded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(key: &str, memory: u64) -> Reading {
        Reading {
            key: key.to_owned(),
            name: key.to_owned(),
            frameworks: vec![Framework::Mlx],
            processes: 1,
            memory: Some(Bytes(memory)),
            memory_from: MemoryFrom::Group,
            memory_limit: Effective::held(Bytes(1000), "memory.max"),
            cpu: CpuUsed::Group(0),
            cpu_limit: Effective::Unlimited,
            tasks: Some(2),
            tasks_limit: Effective::held(64, "pids.max"),
            counts: Counts::default(),
        }
    }

    const SECOND: Option<Millis> = Some(Millis(1000));

    #[test]
    fn cpu_is_what_was_used_between_two_looks_by_the_same_processes() {
        let mut board = Board::default();
        let with = |cpu: CpuUsed| Reading {
            cpu,
            ..look("a", 1)
        };
        let of = |all: &[(u32, u64, u64)]| {
            CpuUsed::Processes(all.iter().map(|(p, s, t)| ((*p, *s), *t)).collect())
        };
        board.take(
            Timestamp(0),
            None,
            vec![with(of(&[(7, 1, 500), (8, 1, 900)]))],
        );
        assert_eq!(board.rows(Sort::Memory, "")[0].cpu, None);
        // 7 used half a second; 8 is another process now, and 9 is new.
        board.take(
            Timestamp(1000),
            SECOND,
            vec![with(of(&[(7, 1, 550), (8, 2, 950), (9, 1, 10)]))],
        );
        assert_eq!(board.rows(Sort::Memory, "")[0].cpu, Some(MilliCpu(500)));
        board.take(
            Timestamp(2000),
            SECOND,
            vec![with(CpuUsed::Group(5_000_000))],
        );
        assert_eq!(board.rows(Sort::Memory, "")[0].cpu, None);
        board.take(
            Timestamp(4000),
            Some(Millis(2000)),
            vec![with(CpuUsed::Group(8_000_000))],
        );
        assert_eq!(board.rows(Sort::Memory, "")[0].cpu, Some(MilliCpu(1500)));
        // A group that was made anew under the same name.
        board.take(Timestamp(5000), SECOND, vec![with(CpuUsed::Group(1))]);
        assert_eq!(board.rows(Sort::Memory, "")[0].cpu, None);
    }

    #[test]
    fn a_limit_that_was_met_is_dated_only_where_it_was_seen() {
        let mut board = Board::default();
        let with = |memory: u64, killed: u64| Reading {
            counts: Counts {
                memory: Some(memory),
                killed: Some(killed),
                ..Counts::default()
            },
            ..look("a", 1)
        };
        let mut seen = |at: i64, memory, killed| {
            board.take(Timestamp(at), SECOND, vec![with(memory, killed)]);
            board.rows(Sort::Memory, "")[0].exceeded
        };
        let exceeded = |what, at: Option<i64>, count| {
            Some(Exceeded {
                what,
                at: at.map(Timestamp),
                count,
            })
        };
        assert_eq!(seen(0, 3, 0), exceeded(Met::Memory, None, 3));
        assert_eq!(seen(1, 3, 0), exceeded(Met::Memory, None, 3));
        assert_eq!(seen(2, 5, 1), exceeded(Met::Killed, Some(2), 1));
        assert_eq!(seen(3, 6, 1), exceeded(Met::Memory, Some(3), 6));
    }

    #[test]
    fn rows_are_ordered_and_filtered_as_asked() {
        let mut board = Board::default();
        let free = Reading {
            memory_limit: Effective::Unlimited,
            frameworks: vec![Framework::Torch],
            ..look("free", 5000)
        };
        board.take(
            Timestamp(0),
            None,
            vec![look("half", 500), look("full", 990), free],
        );
        let names = |sort, filter: &str| {
            let rows = board.rows(sort, filter);
            rows.iter()
                .map(|r| r.reading.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(Sort::Memory, ""), ["free", "full", "half"]);
        assert_eq!(names(Sort::Headroom, ""), ["full", "half", "free"]);
        assert_eq!(names(Sort::Name, ""), ["free", "full", "half"]);
        assert_eq!(names(Sort::Name, "TORCH"), ["free"]);
        assert_eq!(names(Sort::Name, "nothing"), [""; 0]);
        let full = board.rows(Sort::Headroom, "")[0];
        assert_eq!(
            (full.headroom(), full.headroom_part()),
            (Some(Bytes(10)), Some(Permille(10)))
        );
        board.take(Timestamp(1), SECOND, Vec::new());
        assert_eq!(board.rows(Sort::Name, "").len(), 0);
    }

    #[test]
    fn the_trend_is_of_the_limit_and_has_gaps_where_nothing_was_known() {
        let mut board = Board::default();
        for memory in [Some(250), None, Some(2000)] {
            let reading = Reading {
                memory: memory.map(Bytes),
                ..look("a", 0)
            };
            board.take(Timestamp(0), SECOND, vec![reading]);
        }
        let trend = board.rows(Sort::Name, "")[0].trend();
        assert_eq!(trend, [Some(Permille(250)), None, Some(Permille(1000))]);
        for _ in 0..200 {
            board.take(Timestamp(0), SECOND, vec![look("a", 1)]);
        }
        assert_eq!(board.rows(Sort::Name, "")[0].history.len(), HISTORY);
    }
}
