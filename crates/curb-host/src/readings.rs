//! From what was counted to what the ladder is given. Pure.

use std::time::Duration;

use curb_core::host::ladder::{Reading, Use};
use curb_core::host::limits::Resource;
use curb_core::host::thrash::{Look, Thrash, Thrashing};
use curb_core::time::Millis;

use crate::group::Counts;
use crate::limits::{Bytes, Limits};

/// CPU use is told over at least so long: shorter, a quota's own period of a tenth of a second would show.
const CPU_OVER: Duration = Duration::from_millis(500);
/// A limit counts as met only where the memory that is in use is near it: page cache fills a group to its limit as well, and
/// is given back without harm.
const NEAR_PER_MILLE: u64 = 950;

/// What was counted at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Since the command started.
    pub at: Duration,
    /// What the kernel, or the watchdog, has counted.
    pub counts: Counts,
}

/// What the next reading is compared with.
#[derive(Clone, Debug, Default)]
pub struct Before {
    last: Option<Sample>,
    /// Where CPU use is measured from, and what it was when last told.
    cpu_from: Option<Sample>,
    cpu_milli: Option<u64>,
    /// Where it is slowed down short of the limit so that it can be paused there (version 2 kills at the limit itself): to be
    /// slowed down is to meet the limit then.
    pub slowed_at: Option<Bytes>,
    thrash: Thrash,
    thrashing: Option<Thrashing>,
}

impl Before {
    /// The reading of a sample, against those before it. What was not counted, or is not limited, is not in it.
    pub fn reading(&mut self, sample: Sample, limits: &Limits) -> Reading {
        let last = self.last.replace(sample).unwrap_or_default();
        self.measure_cpu(sample);
        let limit = sample.counts.memory_limit.or(limits.memory);
        self.thrashing = self.thrash.read(look(&sample, limit));
        let thrashing = self.thrashing.is_some();
        let mut reading = Reading::new();
        reading.extend(
            memory(&last.counts, &sample.counts, limits, self.slowed_at)
                .map(|u| (Resource::Memory, Use { thrashing, ..u })),
        );
        reading.extend(self.cpu(&last, &sample, limits).map(|u| (Resource::Cpu, u)));
        reading
            .extend(tasks(&last.counts, &sample.counts, limits).map(|u| (Resource::Processes, u)));
        let time = |limit: Option<Duration>, used: Option<u64>| {
            let (limit, used) = (ms(limit?), used?);
            let met = used >= limit;
            Some(Use {
                used,
                limit,
                met,
                thrashing: false,
            })
        };
        let ran = time(limits.duration, Some(ms(sample.at)));
        reading.extend(ran.map(|u| (Resource::Duration, u)));
        let cpu = time(
            limits.cpu_time,
            sample.counts.cpu_micros.map(|us| us / 1000),
        );
        reading.extend(cpu.map(|u| (Resource::CpuTime, u)));
        reading
    }

    /// Whether it thrashed at the last reading.
    #[must_use]
    pub fn thrashing(&self) -> Option<Thrashing> {
        self.thrashing
    }

    fn measure_cpu(&mut self, sample: Sample) {
        let Some(from) = self.cpu_from else {
            self.cpu_from = Some(sample);
            return;
        };
        let span = sample.at.saturating_sub(from.at);
        if span < CPU_OVER {
            return;
        }
        let used = sample.counts.cpu_micros.zip(from.counts.cpu_micros);
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.cpu_milli =
            used.map(|(now, then)| now.saturating_sub(then).saturating_mul(1000) / micros);
        self.cpu_from = Some(sample);
    }

    fn cpu(&self, last: &Sample, now: &Sample, limits: &Limits) -> Option<Use> {
        Some(Use {
            used: self.cpu_milli?,
            limit: limits.cpu?.0,
            met: rose(last.counts.throttled, now.counts.throttled),
            thrashing: false,
        })
    }
}

fn memory(last: &Counts, now: &Counts, limits: &Limits, slowed_at: Option<Bytes>) -> Option<Use> {
    let limit = now.memory_limit.or(limits.memory)?.0;
    let used = now
        .memory?
        .0
        .saturating_sub(now.memory_idle_cache.map_or(0, |b| b.0));
    let near = |mark: u64| {
        used >= u64::try_from(u128::from(mark) * u128::from(NEAR_PER_MILLE) / 1000)
            .unwrap_or(u64::MAX)
    };
    let hit = rose(last.memory_hits, now.memory_hits) && near(limit);
    let slowed = rose(last.high_hits, now.high_hits) && slowed_at.is_some_and(|Bytes(h)| near(h));
    let killed = rose(last.oom_kills, now.oom_kills);
    let met = used >= limit || hit || slowed || killed || now.waits_for_memory == Some(true);
    Some(Use {
        used,
        limit,
        met,
        thrashing: false,
    })
}

fn tasks(last: &Counts, now: &Counts, limits: &Limits) -> Option<Use> {
    let (used, limit) = (now.tasks?, limits.tasks?);
    // To have as many as it may is no harm: that one was refused is.
    let met = rose(last.fork_refusals, now.fork_refusals) || used > limit;
    Some(Use {
        used,
        limit,
        met,
        thrashing: false,
    })
}

fn look(sample: &Sample, limit: Option<Bytes>) -> Look {
    let counts = &sample.counts;
    Look {
        at: Millis(ms(sample.at)),
        used: counts.memory,
        limit,
        hits: counts.memory_hits,
        cache: counts.memory_cache,
        refaults: counts.refaults,
        major_faults: counts.major_faults,
        stalled: counts.stalled_micros,
    }
}

fn rose(last: Option<u64>, now: Option<u64>) -> bool {
    now.is_some_and(|now| now > last.unwrap_or(0))
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MilliCpu;

    fn limits() -> Limits {
        Limits {
            memory: Some(Bytes(1000)),
            cpu: Some(MilliCpu(500)),
            tasks: Some(4),
            duration: Some(Duration::from_secs(10)),
            ..Limits::default()
        }
    }

    fn sample(at: u64, counts: Counts) -> Sample {
        Sample {
            at: Duration::from_millis(at),
            counts,
        }
    }

    fn read(before: &mut Before, at: u64, counts: Counts) -> Reading {
        before.reading(sample(at, counts), &limits())
    }

    #[test]
    fn what_was_not_counted_is_not_known_and_is_no_zero() {
        let reading = read(&mut Before::default(), 100, Counts::default());
        let known: Vec<Resource> = reading.into_keys().collect();
        assert_eq!(known, [Resource::Duration]);
    }

    #[test]
    fn page_cache_fills_a_group_to_its_limit_and_that_is_not_met() {
        let mut before = Before::default();
        let cached = Counts {
            memory: Some(Bytes(1000)),
            memory_idle_cache: Some(Bytes(700)),
            memory_hits: Some(5),
            ..Counts::default()
        };
        let told = read(&mut before, 0, cached)[&Resource::Memory];
        assert_eq!((told.used, told.met), (300, false));
        let full = Counts {
            memory: Some(Bytes(999)),
            memory_idle_cache: Some(Bytes(10)),
            memory_hits: Some(6),
            ..Counts::default()
        };
        assert!(read(&mut before, 100, full)[&Resource::Memory].met);
        let again = read(&mut before, 200, full)[&Resource::Memory];
        assert!(!again.met, "it was met once");
    }

    #[test]
    fn who_only_reads_its_program_back_at_its_limit_is_told_as_thrashing() {
        let mut before = Before::default();
        let mut at = |s: u64| {
            let counts = Counts {
                memory: Some(Bytes(1000)),
                memory_hits: Some(s * 100),
                memory_cache: Some(Bytes(10)),
                refaults: Some(s * 5000),
                major_faults: Some(s * 100),
                ..Counts::default()
            };
            let reading = read(&mut before, s * 1000, counts);
            (reading[&Resource::Memory].thrashing, before.thrashing())
        };
        assert!((0..10).all(|s| at(s) == (false, None)));
        let (thrashing, told) = at(10);
        assert!(thrashing);
        assert_eq!(told.expect("told").pages_a_second, 5000);
    }

    #[test]
    fn a_kill_by_the_kernel_is_a_limit_met_whatever_is_left() {
        let killed = Counts {
            memory: Some(Bytes(3)),
            oom_kills: Some(1),
            ..Counts::default()
        };
        assert!(read(&mut Before::default(), 0, killed)[&Resource::Memory].met);
    }

    #[test]
    fn the_limit_that_is_in_force_counts_and_not_the_one_we_once_set() {
        let counts = Counts {
            memory: Some(Bytes(900)),
            memory_limit: Some(Bytes(2000)),
            ..Counts::default()
        };
        assert_eq!(
            read(&mut Before::default(), 0, counts)[&Resource::Memory].limit,
            2000
        );
    }

    #[test]
    fn cpu_is_told_in_thousandths_over_half_a_second() {
        let mut before = Before::default();
        let at = |us: u64| Counts {
            cpu_micros: Some(us),
            throttled: Some(us / 1000),
            ..Counts::default()
        };
        assert_eq!(read(&mut before, 0, at(0)).get(&Resource::Cpu), None);
        assert_eq!(read(&mut before, 100, at(90_000)).get(&Resource::Cpu), None);
        let told = read(&mut before, 500, at(250_000))[&Resource::Cpu];
        assert_eq!((told.used, told.limit, told.met), (500, 500, true));
    }

    #[test]
    fn all_tasks_that_it_may_have_are_no_exceedance_but_a_refused_fork_is() {
        let mut before = Before::default();
        let counts = |refusals| Counts {
            tasks: Some(4),
            fork_refusals: Some(refusals),
            ..Counts::default()
        };
        assert!(!read(&mut before, 0, counts(0))[&Resource::Processes].met);
        assert!(read(&mut before, 100, counts(1))[&Resource::Processes].met);
    }
}
