//! What was seen of a workload, in a bounded ring: sixteen bytes a reading.

use std::collections::VecDeque;

use curb_core::host::detect::Reading;
use curb_core::host::{Bytes, MilliCpu};

/// Memory for all rings together.
const ALL_BYTES: usize = 1 << 20;
const POINT_BYTES: usize = std::mem::size_of::<Point>();
/// Readings that one workload has at least, and at most.
const LEAST: usize = 60;
const MOST: usize = 3600;
/// Not known.
const UNKNOWN: u32 = u32::MAX;

/// One reading, small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    /// Tenths of a second since the agent started.
    at: u32,
    memory_kib: u32,
    milli_cpu: u32,
    tasks: u32,
}

/// One reading, as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Milliseconds since the agent started.
    pub at_ms: u64,
    /// Memory, rounded down to KiB.
    pub memory: Option<Bytes>,
    /// CPU since the reading before.
    pub cpu: Option<MilliCpu>,
    /// Processes and threads.
    pub tasks: Option<u64>,
}

/// The last readings of one workload.
#[derive(Debug)]
pub struct History {
    points: VecDeque<Point>,
    most: usize,
    dropped: u64,
}

impl History {
    /// Of one of so many workloads.
    #[must_use]
    pub fn new(workloads: usize) -> History {
        let share = ALL_BYTES / POINT_BYTES / workloads.max(1);
        History {
            points: VecDeque::new(),
            most: share.clamp(LEAST, MOST),
            dropped: 0,
        }
    }

    /// Takes a reading; the oldest makes room.
    pub fn push(&mut self, reading: &Reading, cpu: Option<MilliCpu>) {
        while self.points.len() >= self.most {
            self.points.pop_front();
            self.dropped += 1;
        }
        self.points.push_back(Point {
            at: small(Some(reading.at.0 / 100)),
            memory_kib: small(reading.memory.map(|b| b.0 >> 10)),
            milli_cpu: small(cpu.map(|c| c.0)),
            tasks: small(reading.tasks),
        });
    }

    /// How many had to make room until now.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The last readings, the oldest first.
    pub fn seen(&self) -> impl Iterator<Item = Seen> + '_ {
        self.points.iter().map(|p| Seen {
            at_ms: u64::from(p.at) * 100,
            memory: large(p.memory_kib).map(|kib| Bytes(kib << 10)),
            cpu: large(p.milli_cpu).map(MilliCpu),
            tasks: large(p.tasks),
        })
    }
}

/// What is too large is told as the largest that can be said.
fn small(value: Option<u64>) -> u32 {
    value.map_or(UNKNOWN, |v| u32::try_from(v).unwrap_or(UNKNOWN - 1))
}

fn large(value: u32) -> Option<u64> {
    (value != UNKNOWN).then_some(u64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use curb_core::time::Millis;

    fn reading(at: u64) -> Reading {
        Reading {
            at: Millis(at * 1000),
            memory: Some(Bytes(at << 10)),
            ..Reading::default()
        }
    }

    #[test]
    fn the_oldest_makes_room_and_is_counted() {
        // So many workloads that each has the least.
        let mut history = History::new(100_000);
        for at in 0..100 {
            history.push(&reading(at), None);
        }
        let seen: Vec<Seen> = history.seen().collect();
        assert_eq!((seen.len(), history.dropped()), (LEAST, 40));
        assert_eq!(seen[0].memory, Some(Bytes(40 << 10)));
        assert_eq!(
            (seen[0].cpu, seen[0].tasks),
            (None, None),
            "unknown is not zero"
        );
    }

    #[test]
    fn all_rings_together_stay_within_their_memory() {
        for workloads in [1, 10, 200, 1000] {
            let history = History::new(workloads);
            assert!(history.most * workloads * POINT_BYTES <= ALL_BYTES || history.most == LEAST);
        }
        assert_eq!(POINT_BYTES, 16);
    }
}
