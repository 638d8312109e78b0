//! Groups that an earlier supervisor left behind, since it was itself killed: found by their names, ended and removed.
//!
//! `curb-WORKLOAD-PID-START-NAMESPACE-RUN` (RUN with a zero before it: its fallback runs in it): a group is left behind only if no process of its supervisor's number and start
//! time lives, in the same name space of processes as ours: of another's we could not tell. Groups of attached processes
//! (`curbed-…`) hold processes that were there before: these are moved to the group above, and never ended.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::group::{Group, empty_into};
use crate::layout::Layout;
use crate::proc::{ProcId, Procfs};

const STARTED: &str = "curb-";
const ATTACHED: &str = "curbed-";
pub(crate) const SUPERVISOR: &str = "curb-supervisor-";
const KILL_WITHIN: Duration = Duration::from_secs(2);
/// No more are removed at a time: a start does not wait for long.
const MOST: usize = 64;

/// Who supervises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    id: ProcId,
    /// The name space of processes that its number is of.
    space: u64,
}

impl Owner {
    /// This process.
    pub(crate) fn this() -> io::Result<Owner> {
        let id = Procfs::open()?.process(std::process::id())?.id();
        Ok(Owner {
            id,
            space: space()?,
        })
    }

    /// The name of a group for a run of a workload. No two of this machine have the same at a time.
    pub(crate) fn started(&self, workload: &str, run: u32, fallback: bool) -> String {
        let zero = if fallback { "0" } else { "" };
        format!("{STARTED}{workload}-{self}-{zero}{run}")
    }

    /// Whether a group of that name is one in which the fallback runs.
    pub(crate) fn is_fallback(name: &str) -> bool {
        let run = name.rsplit('-').next();
        name.starts_with(STARTED) && run.is_some_and(|run| run.starts_with('0'))
    }

    /// The name of a group in which a command is measured. No workload's name has a dot in it.
    pub(crate) fn measured(&self, number: u32) -> String {
        format!("{STARTED}profile.{number}-{self}-1")
    }

    /// The same for processes that were there before.
    pub(crate) fn attached(&self, workload: &str) -> String {
        format!("{ATTACHED}{workload}-{self}-1")
    }

    /// Whether that supervisor lives, as far as it can be told from here.
    pub(crate) fn lives(&self, procfs: &Procfs) -> bool {
        space().is_ok_and(|s| s == self.space) && procfs.same(self.id).is_ok()
    }

    /// Whether it has ended, of the same name space of processes as ours: of another's we cannot tell.
    pub(crate) fn is_dead(&self, procfs: &Procfs) -> bool {
        space().is_ok_and(|s| s == self.space) && procfs.same(self.id).is_err()
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.id.pid
    }

    /// Who made a group of `curb run`, by its name.
    pub(crate) fn of_group(name: &str) -> Option<Owner> {
        let ours = name.starts_with(STARTED) || name.starts_with(ATTACHED);
        ours.then(|| Owner::of(name)).flatten()
    }

    pub(crate) fn of(name: &str) -> Option<Owner> {
        let mut words = name.rsplit('-');
        let mut number = || words.next()?.parse::<u64>().ok();
        let (_run, space, start, pid) = (number()?, number()?, number()?, number()?);
        let pid = u32::try_from(pid).ok()?;
        Some(Owner {
            id: ProcId { pid, start },
            space,
        })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.id.pid, self.id.start, self.space)
    }
}

fn space() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/pid")?.ino())
}

/// Ends and removes what was left behind beside us; says what was done.
pub(crate) fn sweep(layout: &Layout) -> Vec<String> {
    let Ok(procfs) = Procfs::open() else {
        return Vec::new();
    };
    let dead = |name: &String| Owner::of(name).is_some_and(|o| o.is_dead(&procfs));
    let places = places(layout);
    let mut names: BTreeSet<String> = BTreeSet::new();
    for dir in &places {
        // Each directory is read once: a start waits for it.
        let left = left_in(dir);
        remove_supervisors(&procfs, dir, &left);
        names.extend(left.into_iter().filter(dead));
    }
    names
        .into_iter()
        .take(MOST)
        .map(|name| remove(&name, &places))
        .collect()
}

fn places(layout: &Layout) -> BTreeSet<PathBuf> {
    let v2 = layout.v2.iter().map(|u| u.dir.clone());
    layout.v1.values().cloned().chain(v2).collect()
}

fn left_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|e| e.file_name().into_string().ok());
    names
        .filter(|n| n.starts_with(STARTED) || n.starts_with(ATTACHED))
        .collect()
}

/// Where a supervisor had stepped aside, alone in its group: empty once it has ended.
fn remove_supervisors(procfs: &Procfs, dir: &Path, left: &[String]) {
    for name in left {
        let pid = name
            .strip_prefix(SUPERVISOR)
            .and_then(|pid| pid.parse().ok());
        if pid.is_some_and(|pid| procfs.process(pid).is_err()) {
            let _only_what_is_empty_goes = fs::remove_dir(dir.join(name));
        }
    }
}

fn remove(name: &str, places: &BTreeSet<PathBuf>) -> String {
    let group = Group::found(name, places);
    let lived = group.members().len();
    let what = if name.starts_with(ATTACHED) {
        for dir in places {
            empty_into(&dir.join(name), dir);
        }
        "its processes were moved to the group above"
    } else {
        group.kill(KILL_WITHIN);
        "its processes were ended"
    };
    let how = match (group.remove(), lived) {
        (Ok(()), 0) => "it is removed".to_owned(),
        (Ok(()), _) => format!("{what}, and it is removed"),
        (Err(error), _) => format!("it cannot be removed: {error}"),
    };
    format!("found the group {name}, whose supervisor was killed: {how}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_group_is_in_its_name_whatever_the_workload_is_called() {
        let owner = Owner {
            id: ProcId {
                pid: 12,
                start: 345,
            },
            space: 4_026_531_836,
        };
        for workload in ["chat", "a-1-2-3-4-5", "x"] {
            assert_eq!(Owner::of(&owner.started(workload, 3, false)), Some(owner));
            assert!(!Owner::is_fallback(&owner.started(workload, 10, false)));
            let fallback = owner.started(workload, 10, true);
            assert_eq!(Owner::of(&fallback), Some(owner));
            assert!(Owner::is_fallback(&fallback));
            assert_eq!(Owner::of(&owner.attached(workload)), Some(owner));
            assert_eq!(Owner::of(&owner.measured(7)), Some(owner));
        }
        for other in [
            "curb-supervisor-12",
            "curb-chat",
            "curb-a-b-c-d-e",
            "curb-x-1-2-3-4-",
        ] {
            assert_eq!(Owner::of(other), None, "{other}");
        }
    }
}
