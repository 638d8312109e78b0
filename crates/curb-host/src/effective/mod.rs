//! The limits that really hold for running processes: of their own group and all above it, and their own.
//!
//! Read only. Groups are opened one level after the other from where their tree is mounted, links refused; a file that is
//! not there is no limit at that level, one that cannot be read is unknown. The result is values ([`Survey`]) that
//! `curb_core::host::audit` judges.

mod chain;
mod member;
mod place;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use curb_core::host::Bytes;
use curb_core::host::audit::{
    Effective, Framework, Kind, Machine, Member, Subject, container_of, count_cpus, frameworks,
    unit_of,
};

use crate::proc::{Process, Procfs};
use place::Places;

/// At most so many processes are looked into.
const MOST_PROCESSES: usize = 100_000;

/// What runs on a host, and under which limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Processes with a framework of machine learning (or those that were asked for), by control group.
    pub subjects: Vec<Subject>,
    /// The machine.
    pub machine: Machine,
    /// Processes whose libraries could not be seen.
    pub unseen: usize,
    /// Numbers that were asked for and are no process.
    pub absent: Vec<u32>,
}

/// What is known of one process that is looked at.
struct Found {
    member: Member,
    frameworks: Vec<Framework>,
    cpu_set: Option<String>,
}

/// Surveys the processes below `root` (which is `/` but in tests): those of `only`, or all with a framework where that is
/// empty.
///
/// # Errors
/// `/proc` cannot be read.
pub fn survey(root: &Path, only: &[u32]) -> io::Result<Survey> {
    let procfs = Procfs::at(&root.join("proc"))?;
    let places = Places::read(root, &procfs)?;
    let mut survey = Survey {
        machine: machine(root, &procfs),
        ..Survey::default()
    };
    let pids = match only {
        [] => procfs.pids()?,
        only => only.to_vec(),
    };
    let own = std::process::id();
    let mut groups: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    for pid in pids.into_iter().take(MOST_PROCESSES) {
        let Ok(process) = procfs.process(pid) else {
            if !only.is_empty() {
                survey.absent.push(pid);
            }
            continue;
        };
        let loaded = match process.mapped_files() {
            Ok(files) => frameworks(files.iter().filter_map(|f| f.to_str())),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                survey.unseen += 1;
                Vec::new()
            }
            // It has ended.
            Err(_) => continue,
        };
        if (loaded.is_empty() || pid == own) && only.is_empty() {
            continue;
        }
        // Its group is asked last: it ended meanwhile, or this is still the same process.
        if let (Some(found), Ok(group)) = (look(&process, loaded), process.text("cgroup")) {
            groups.entry(group).or_default().push(found);
        }
    }
    for (group, found) in groups {
        survey.subjects.push(subject(&places, &group, found));
    }
    survey.subjects.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(survey)
}

fn look(process: &Process, frameworks: Vec<Framework>) -> Option<Found> {
    let (member, cpu_set) = member::read(process)?;
    Some(Found {
        member,
        frameworks,
        cpu_set,
    })
}

/// All processes of one group, with the limits that hold for it.
fn subject(places: &Places, group: &str, found: Vec<Found>) -> Subject {
    let mut loaded: Vec<Framework> = found.iter().flat_map(|f| f.frameworks.clone()).collect();
    loaded.sort_unstable();
    loaded.dedup();
    // The widest set is told: what any of them may use.
    let count = |set: &Option<String>| set.as_deref().and_then(count_cpus);
    let widest = found.iter().max_by_key(|f| count(&f.cpu_set));
    let cpu_set = widest.and_then(|f| f.cpu_set.clone());
    let paths = place::paths(group);
    let path = place::telling(&paths);
    let mut subject = Subject::new(Kind::Processes, "");
    subject.members = found.into_iter().map(|f| f.member).collect();
    subject.container = paths.iter().find_map(|p| container_of(p));
    subject.unit = paths.iter().find_map(|p| unit_of(p)).map(str::to_owned);
    subject.name = name(&subject, path);
    subject.group = Some(path.to_owned());
    subject.frameworks = loaded;
    subject.cpus = count(&cpu_set);
    subject.cpu_set = cpu_set;
    subject.open_files = Effective::elsewhere("each process");
    subject.address_space = Effective::elsewhere("each process");
    subject.data = Effective::elsewhere("each process");
    places.limits(group, &mut subject);
    subject
}

/// What people know it by: its container, its unit, the group that curb made, else its first process.
fn name(subject: &Subject, path: &str) -> String {
    let ours = path.rsplit('/').find(|part| part.starts_with("curb-"));
    if let Some(container) = &subject.container {
        return container.to_string();
    }
    if let Some(name) = subject.unit.as_deref().or(ours) {
        return name.to_owned();
    }
    subject.members.first().map_or_else(String::new, |first| {
        format!("{} (pid {})", first.name, first.pid)
    })
}

/// The machine: memory, swap and CPUs; what cannot be read is not known.
#[must_use]
pub fn machine(root: &Path, procfs: &Procfs) -> Machine {
    let meminfo = procfs.machine("meminfo").unwrap_or_default();
    let kib = |key: &str| {
        let rest = meminfo
            .lines()
            .find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))?;
        let number = rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
        number.checked_mul(1024).map(Bytes)
    };
    let online = std::fs::read_to_string(root.join("sys/devices/system/cpu/online"));
    Machine {
        memory: kib("MemTotal"),
        swap: kib("SwapTotal"),
        cpus: online.ok().and_then(|text| count_cpus(&text)),
    }
}

#[cfg(test)]
mod tests;
