//! Groups of a workload that run now, whoever supervises them, and other limits for them: all of them or none.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use curb_core::host::ladder::HeldBy;
use curb_core::host::limits::Key;

use crate::ask::{self, Reply, Times};
use crate::group::{Group, Saved};
use crate::layout::{Controller, Layout};
use crate::limits::Limits;
use crate::proc::Procfs;
use crate::run::Owner;

/// No more groups of one workload are looked for.
const MOST: usize = 1000;

/// One limit of a group that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The group.
    pub group: String,
    /// The kernel's file.
    pub file: String,
    /// What was in it.
    pub old: String,
    /// What is in it, as the kernel gives it back: memory in whole pages.
    pub new: String,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{group}: {}", why.join("; "))]
pub struct Refused {
    /// The group of which a limit was refused.
    pub group: String,
    /// Which, and why.
    pub why: Vec<String>,
    /// What could not be put back as it was; nothing, as a rule.
    pub left: Vec<String>,
    /// This process has not the right to change it.
    pub denied: bool,
}

/// A supervisor that was asked for other limits on time, and took them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its group.
    pub group: String,
    /// What was asked for.
    pub now: Times,
    /// What its limits on time were before.
    pub before: Times,
    /// Limits that the command was started without, or with another value, and that only a start can give it.
    pub at_start: BTreeSet<Key>,
    owner: Owner,
}

/// A supervisor that cannot be asked, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unasked {
    /// Its group.
    pub group: String,
    /// Its number.
    pub pid: u32,
    /// Why.
    pub why: String,
}

/// What of these limits the kernel cannot hold a group to that runs already: it was made without the controller, or there is
/// none of that kind here.
#[must_use]
pub fn lacking(group: &Group, limits: &Limits) -> Vec<Key> {
    let holds = |controller| group.holds(controller);
    let v2 = holds(Controller::Memory) && group.held_by() == HeldBy::GroupV2;
    let each = [
        (
            Key::Memory,
            limits.memory.is_some(),
            holds(Controller::Memory),
        ),
        (Key::MemoryHigh, limits.memory_high.is_some(), v2),
        (Key::Swap, limits.swap.is_some(), holds(Controller::Memory)),
        (Key::Cpu, limits.cpu.is_some(), holds(Controller::Cpu)),
        (
            Key::CpuWeight,
            limits.cpu_weight.is_some(),
            holds(Controller::Cpu),
        ),
        (
            Key::CpuSet,
            limits.cpu_set.is_some(),
            holds(Controller::Cpuset),
        ),
        (
            Key::Processes,
            limits.tasks.is_some(),
            holds(Controller::Pids),
        ),
    ];
    let lacks = each.into_iter().filter(|(_, asked, held)| *asked && !held);
    lacks.map(|(key, _, _)| key).collect()
}

/// The groups of a workload that `curb run` started or attached to, and whose supervisor lives.
///
/// # Errors
/// `/proc` or the mounts cannot be read.
pub fn groups(workload: &str) -> io::Result<Vec<Group>> {
    let procfs = Procfs::open()?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for pid in procfs.pids()? {
        // Who has ended meanwhile is in no group.
        let Ok(own) = procfs.process(pid).and_then(|p| p.text("cgroup")) else {
            continue;
        };
        let Some((name, above)) = above_group(&own, workload) else {
            continue;
        };
        if found.len() < MOST && Owner::of(&name).is_some_and(|o| o.lives(&procfs)) {
            found.entry(name).or_insert(above);
        }
    }
    let each = found
        .into_iter()
        .filter_map(|(name, above)| Group::find(&Layout::parse(&mounts, &above), &name));
    Ok(each.collect())
}

/// Whether a workload's fallback runs in that group, by its name: `curb run` gave it that, and no program can change it.
#[must_use]
pub fn is_fallback(group: &Group) -> bool {
    Owner::is_fallback(group.name())
}

/// From the groups of a process: the name of the workload's group that it is in, and the same text as seen from the place
/// above that group.
fn above_group(cgroup: &str, workload: &str) -> Option<(String, String)> {
    let mut name: Option<&str> = None;
    let mut above = String::new();
    for line in cgroup.lines() {
        let (head, path) = line.rsplit_once(':').filter(|(_, p)| p.starts_with('/'))?;
        let mut steps = Path::new(path).ancestors();
        let group = steps.find(|step| {
            let last = step.file_name().and_then(|n| n.to_str());
            last.is_some_and(|n| is_of(n, workload))
        });
        let Some(group) = group else { continue };
        name = name.or(group.file_name().and_then(|n| n.to_str()));
        let place = group.parent().map_or("/".into(), |p| p.to_string_lossy());
        above.push_str(&format!("{head}:{place}\n"));
    }
    Some((name?.to_owned(), above))
}

/// `curb-WORKLOAD-PID-START-NAMESPACE-RUN`, or `curbed-…`: the workload's name is all but the last four.
fn is_of(group: &str, workload: &str) -> bool {
    let rest = group
        .strip_prefix("curb-")
        .or_else(|| group.strip_prefix("curbed-"));
    let rest = rest.and_then(|r| r.strip_prefix(workload)?.strip_prefix('-'));
    rest.is_some_and(|r| r.split('-').count() == 4) && Owner::of(group).is_some()
}

/// Asks the supervisors of groups to go by the limits on time from now on, all of them or none.
///
/// # Errors
/// One of them refused: it would be ended at once, say. The others go by what they had before.
pub fn ask(each: &[(Group, Limits)]) -> Result<(Vec<Asked>, Vec<Unasked>), Refused> {
    let (mut asked, mut unasked) = (Vec::new(), Vec::new());
    for (group, limits) in each {
        let Some(owner) = Owner::of_group(group.name()) else {
            continue;
        };
        let now = Times::from(limits);
        let name = group.name().to_owned();
        match ask::times(&owner, &now) {
            Ok(Reply::Took { before, started }) => asked.push(Asked {
                group: name,
                now,
                before,
                at_start: different(&started, &ask::only_at_start(limits)),
                owner,
            }),
            Ok(Reply::Refused(why)) => {
                return Err(Refused {
                    group: name,
                    why: vec![why],
                    left: take_back(&asked),
                    denied: false,
                });
            }
            Err(why) => unasked.push(Unasked {
                group: name,
                pid: owner.pid(),
                why: why.to_string(),
            }),
        }
    }
    Ok((asked, unasked))
}

/// The limits that are not the same in both.
fn different(
    started: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
) -> BTreeSet<Key> {
    let differs = |key: &Key| started.get(key.name()) != wanted.get(key.name());
    Key::ALL.into_iter().filter(differs).collect()
}

/// Has supervisors go by their limits before again; gives what could not be put back.
#[must_use]
pub fn take_back(asked: &[Asked]) -> Vec<String> {
    let back = asked.iter().filter_map(|a| {
        let why = match ask::times(&a.owner, &a.before) {
            Ok(Reply::Took { .. }) => return None,
            Ok(Reply::Refused(why)) => why,
            Err(why) => why.to_string(),
        };
        Some(format!("{}: its limits on time: {why}", a.group))
    });
    back.collect()
}

/// Whether this process may change the limits of all these groups: told before any is changed.
///
/// # Errors
/// Of one of them it may not.
pub fn may_change(each: &[(Group, Limits)]) -> Result<(), Refused> {
    for (group, _) in each {
        if let Some(file) = group.not_ours() {
            return Err(Refused {
                group: group.name().to_owned(),
                why: vec![format!("{}: permission denied", file.display())],
                left: Vec::new(),
                denied: true,
            });
        }
    }
    Ok(())
}

/// Gives groups other limits. Where the kernel refuses one of them, all are put back as they were.
///
/// # Errors
/// A limit was refused: which one, and why.
pub fn apply(each: &[(Group, Limits)]) -> Result<Vec<Changed>, Refused> {
    let mut before: Vec<(&Group, Saved)> = Vec::new();
    for (group, limits) in each {
        before.push((group, group.save()));
        let why = group.change(limits);
        if !why.is_empty() {
            let left = before
                .iter()
                .flat_map(|(group, saved)| group.put_back(saved));
            return Err(Refused {
                group: group.name().to_owned(),
                why,
                left: left.collect(),
                denied: false,
            });
        }
    }
    let changed = before.iter().flat_map(|(group, saved)| {
        let now = group.save();
        let each = saved.differences(&now).into_iter();
        each.map(|(file, old, new)| Changed {
            group: group.name().to_owned(),
            file,
            old,
            new,
        })
    });
    Ok(changed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "curb-chat-12-345-4026531836-1";

    #[test]
    fn a_workloads_group_is_known_by_its_whole_name() {
        assert!(is_of(NAME, "chat"));
        assert!(is_of("curbed-chat-12-345-4026531836-1", "chat"));
        for other in ["cha", "chat-12", "hat", "chat-12-345", ""] {
            assert!(!is_of(NAME, other), "{other}");
        }
        assert!(is_of("curb-chat-2-12-345-4026531836-1", "chat-2"));
        assert!(!is_of("curb-chat-2-12-345-4026531836-1", "chat"));
        assert!(!is_of("curb-chat-1-2-3", "chat"));
    }

    #[test]
    fn a_group_is_found_from_a_process_deep_in_it() {
        let text = format!("9:memory:/a/{NAME}/deep\n3:cpu,cpuacct:/{NAME}\n2:cpuset:/\n0::/b\n");
        let (name, above) = above_group(&text, "chat").expect("found");
        assert_eq!(name, NAME);
        assert_eq!(above, "9:memory:/a\n3:cpu,cpuacct:/\n");
        assert_eq!(above_group(&text, "other"), None);
        assert_eq!(above_group("0::/\n", "chat"), None);
    }
}
