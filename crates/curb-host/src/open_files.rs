//! How many files processes that run may have open: lowered, and never raised.
//!
//! The kernel sets this for a process by its number alone. Hence each is known by number and start time, its own directory
//! in `/proc` is open meanwhile, and is read again after that: if it still answers, the number was its own all the time. If
//! it does not, whoever has the number since gets back what it had.

use std::io;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::group::Group;
use crate::proc::{Process, Procfs};

/// Who forks while its family is gone through is met in the next round.
const ROUNDS: usize = 20;
/// So many reasons at most.
const MOST_TOLD: usize = 4;

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lowered {
    /// So many processes had more before.
    pub processes: u64,
    /// Why others could not be set.
    pub failed: Vec<String>,
}

/// Every process of a group may have at most so many files open, with all that it starts from here on. Who has less already
/// keeps that.
#[must_use]
pub fn lower(procfs: &Procfs, group: &Group, most: u64) -> Lowered {
    let mut lowered = Lowered::default();
    for _ in 0..ROUNDS {
        let before = lowered.processes;
        lowered.failed.clear();
        for pid in group.members() {
            match lower_one(procfs, group, pid, most) {
                Ok(changed) => lowered.processes += u64::from(changed),
                Err(why) if lowered.failed.len() < MOST_TOLD => {
                    lowered.failed.push(format!("process {pid}: {why}"));
                }
                Err(_) => {}
            }
        }
        if lowered.processes == before {
            break;
        }
    }
    lowered
}

/// Whether it had more. Nothing is done to who has ended, or has left.
fn lower_one(procfs: &Procfs, group: &Group, pid: u32, most: u64) -> io::Result<bool> {
    let Ok(process) = procfs.process(pid) else {
        return Ok(false);
    };
    let Some(had) = limit(&process) else {
        return Ok(false);
    };
    let less = |had: Option<u64>| Some(had.map_or(most, |had| had.min(most)));
    let (current, maximum) = (less(had.current), less(had.maximum));
    if (current, maximum) == (had.current, had.maximum) || !group.is_member(pid) {
        return Ok(false);
    }
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let before = match prlimit(raw, Resource::Nofile, Rlimit { current, maximum }) {
        Err(rustix::io::Errno::SRCH) => return Ok(false),
        Err(error @ rustix::io::Errno::PERM) => {
            let kind = io::Error::from(error).kind();
            let why = "it is another user's, and the helper has no CAP_SYS_RESOURCE";
            return Err(io::Error::new(kind, why));
        }
        other => other?,
    };
    if process.stat().is_err() {
        // The number may be another's since.
        let _best_effort = prlimit(raw, Resource::Nofile, before);
        return Ok(false);
    }
    Ok(true)
}

/// From `/proc/PID/limits`: `Max open files            1024                 4096                 files`.
fn limit(process: &Process) -> Option<Rlimit> {
    let text = process.text("limits").ok()?;
    parse(&text)
}

fn parse(text: &str) -> Option<Rlimit> {
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix("Max open files"))?;
    let mut words = line.split_whitespace();
    let mut next = || match words.next()? {
        "unlimited" => Some(None),
        number => Some(Some(number.parse().ok()?)),
    };
    Some(Rlimit {
        current: next()?,
        maximum: next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_numbers_are_read_and_no_others() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max processes             7                    8                    processes \n\
                    Max open files            1024                 unlimited            files     \n";
        let read = parse(text).expect("there");
        assert_eq!((read.current, read.maximum), (Some(1024), None));
        assert!(parse("Max open files            x                 1            files").is_none());
        assert!(parse("Max processes             7                    8").is_none());
    }
}
