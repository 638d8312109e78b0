//! What the kernel has counted of a group.

use std::fs;
use std::path::Path;

use super::files::{field, field_of, number};
use super::{Group, Place};
use crate::counts::Counts;
use crate::layout::Controller;
use crate::limits::Bytes;

/// A limit of version 1 that is none: the largest number of pages, in bytes.
const NO_LIMIT_V1: u64 = 1 << 62;
/// More than is asked for at once (a huge page of 2 MiB, and what CPUs keep in hand): who holds less than that below its
/// limit was not refused by it.
const ONE_CHARGE: u64 = 4 << 20;

impl Group {
    /// What the kernel has counted until now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        if let Some(place) = self.place(Controller::Memory) {
            match place.v2 {
                true => memory_v2(place, &mut counts),
                false => memory_v1(place, &mut counts),
            }
            if counts.oom_kills.is_some_and(|n| n > 0) && never_met(place, &counts) {
                counts.killed_from_above = true;
                counts.memory_limit_above = tightest_above(place);
            }
        }
        if let Some(Place { dir, .. }) = self.place(Controller::Cpu) {
            counts.throttled = field(&dir.join("cpu.stat"), "nr_throttled");
        }
        counts.cpu_micros = self.cpu_micros();
        if let Some(Place { dir, .. }) = self.place(Controller::Pids) {
            counts.tasks = number(&dir.join("pids.current"));
            counts.fork_refusals = field(&dir.join("pids.events"), "max");
        }
        counts
    }

    fn cpu_micros(&self) -> Option<u64> {
        if let Some(unified) = &self.unified {
            return field(&unified.join("cpu.stat"), "usage_usec");
        }
        let place = self.place(Controller::Cpuacct)?;
        Some(number(&place.dir.join("cpuacct.usage"))? / 1000)
    }
}

/// Whether its own limit was never in the way: the kernel counted no time that it was met, and it never held as much. Either
/// alone is not enough: not every kernel counts what it kills for, and a limit may have been raised since.
fn never_met(place: &Place, counts: &Counts) -> bool {
    // Memory and swap together are a limit of their own in version 1, met first where no swap is given.
    let with_swap = match place.v2 {
        true => None,
        false => number(&place.dir.join("memory.memsw.failcnt")),
    };
    let met = counts.memory_limit.is_some_and(|limit| {
        counts
            .memory_peak
            .is_none_or(|peak| peak.0.saturating_add(ONE_CHARGE) >= limit.0)
    });
    counts.memory_hits == Some(0) && with_swap.unwrap_or(0) == 0 && !met
}

/// The tightest limit on memory of the groups above, as far as they are seen from here.
fn tightest_above(place: &Place) -> Option<Bytes> {
    let file = match place.v2 {
        true => "memory.max",
        false => "memory.limit_in_bytes",
    };
    let above = place.dir.ancestors().skip(1);
    above
        .filter_map(|dir| number(&dir.join(file)))
        .filter(|bytes| *bytes < NO_LIMIT_V1)
        .min()
        .map(Bytes)
}

fn memory_v2(place: &Place, counts: &mut Counts) {
    let bytes = |file: &str| number(&place.dir.join(file)).map(Bytes);
    counts.memory = bytes("memory.current");
    take_stat(&place.dir, true, counts);
    let pressure = fs::read_to_string(place.dir.join("memory.pressure"));
    counts.stalled_micros = pressure.ok().and_then(|text| stalled_of(&text));
    counts.memory_limit = bytes("memory.max");
    counts.memory_peak = bytes("memory.peak");
    if let Ok(events) = fs::read_to_string(place.dir.join("memory.events")) {
        counts.oom_kills = field_of(&events, "oom_kill");
        counts.memory_hits = field_of(&events, "max");
        counts.high_hits = field_of(&events, "high");
    }
}

fn memory_v1(place: &Place, counts: &mut Counts) {
    let bytes = |file: &str| number(&place.dir.join(file)).map(Bytes);
    counts.memory = bytes("memory.usage_in_bytes");
    take_stat(&place.dir, false, counts);
    counts.memory_limit = bytes("memory.limit_in_bytes").filter(|b| b.0 < NO_LIMIT_V1);
    counts.memory_peak = bytes("memory.max_usage_in_bytes");
    counts.memory_hits = number(&place.dir.join("memory.failcnt"));
    if let Ok(oom) = fs::read_to_string(place.dir.join("memory.oom_control")) {
        counts.oom_kills = field_of(&oom, "oom_kill");
        counts.waits_for_memory = field_of(&oom, "under_oom").map(|n| n > 0);
    }
}

fn take_stat(dir: &Path, v2: bool, counts: &mut Counts) {
    if let Ok(text) = fs::read_to_string(dir.join("memory.stat")) {
        stat_of(&text, v2, counts);
    }
}

/// What `memory.stat` tells; of version 1 with the groups below it.
pub(crate) fn stat_of(text: &str, v2: bool, counts: &mut Counts) {
    let (mut active, mut before_5_9) = (None, None);
    for line in text.lines() {
        let Some((name, value)) = line.split_once(' ') else {
            continue;
        };
        let name = match v2 {
            true => Some(name),
            false => name.strip_prefix("total_"),
        };
        let value = || value.trim().parse::<u64>().ok();
        match name {
            Some("inactive_file") => counts.memory_idle_cache = value().map(Bytes),
            Some("active_file") => active = value(),
            Some("workingset_refault_file") => counts.refaults = value(),
            Some("workingset_refault") => before_5_9 = value(),
            Some("pgmajfault") => counts.major_faults = value(),
            _ => {}
        }
    }
    counts.refaults = counts.refaults.or(before_5_9);
    let idle = counts.memory_idle_cache;
    counts.memory_cache = idle.zip(active).map(|(i, a)| Bytes(i.0.saturating_add(a)));
}

/// For how long all of a group stood still, of `memory.pressure`.
pub(crate) fn stalled_of(text: &str) -> Option<u64> {
    let full = text.lines().find_map(|line| line.strip_prefix("full "))?;
    full.split(' ')
        .find_map(|word| word.strip_prefix("total="))?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, v2: bool) -> Counts {
        let mut counts = Counts::default();
        stat_of(text, v2, &mut counts);
        counts
    }

    #[test]
    fn the_cache_and_what_is_read_back_of_it_are_told_by_both_versions() {
        let expected = Counts {
            memory_idle_cache: Some(Bytes(4096)),
            memory_cache: Some(Bytes(12288)),
            refaults: Some(7),
            major_faults: Some(3),
            ..Counts::default()
        };
        let text = "anon 1\nfile 99\nshmem 9\ninactive_file 4096\nactive_file 8192\nworkingset_refault_anon 5\nworkingset_refault_file 7\npgmajfault 3\n";
        assert_eq!(of(text, true), expected);
        let of_all: String = text.lines().map(|l| format!("total_{l}\n")).collect();
        let own = text.replace(' ', " 1");
        assert_eq!(of(&format!("{own}{of_all}"), false), expected);
        // Before Linux 5.9 the two kinds were one count.
        let old = text.replace("refault_file", "refault");
        assert_eq!(of(&old, true), expected);
    }

    #[test]
    fn what_is_not_told_is_not_known() {
        assert_eq!(
            of("inactive_file x\nactive_file 1\n", true),
            Counts::default()
        );
        assert_eq!(of("", false), Counts::default());
        assert_eq!(stalled_of("some avg10=1.00 total=5\n"), None);
    }

    #[test]
    fn only_what_stood_still_as_a_whole_counts_as_stalled() {
        let text = "some avg10=1.00 avg60=1.00 avg300=1.00 total=9\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=8123\n";
        assert_eq!(stalled_of(text), Some(8123));
    }
}
