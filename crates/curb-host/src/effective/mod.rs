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
use curb_core::host::top::{CpuUsed, MemoryFrom, Reading};

use crate::proc::{Process, Procfs};
use crate::run::SUPERVISOR;
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
    start: u64,
    ticks: u64,
    threads: u64,
}

/// Which processes are looked at.
#[derive(Clone, Copy, Debug)]
enum Pick<'a> {
    /// Those with a framework.
    Learning,
    /// Those with a framework, and those in groups that curb made.
    Workloads,
    /// These.
    Only(&'a [u32]),
}

/// Surveys the processes below `root` (which is `/` but in tests): those of `only`, or all with a framework where that is
/// empty.
///
/// # Errors
/// `/proc` cannot be read.
pub fn survey(root: &Path, only: &[u32]) -> io::Result<Survey> {
    let pick = match only {
        [] => Pick::Learning,
        only => Pick::Only(only),
    };
    let procfs = Procfs::at(&root.join("proc"))?;
    let places = Places::read(root, &procfs)?;
    let mut survey = Survey {
        machine: machine(root, &procfs),
        ..Survey::default()
    };
    for (group, found) in collect(&procfs, pick, &mut survey)? {
        survey.subjects.push(subject(&places, &group, found));
    }
    survey.subjects.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(survey)
}

/// Looks at the workloads below `root` (which is `/` but in tests): the groups that curb made, and processes with a
/// framework outside of them; and at the machine.
///
/// # Errors
/// `/proc` cannot be read.
pub fn workloads(root: &Path) -> io::Result<(Vec<Reading>, Machine)> {
    let procfs = Procfs::at(&root.join("proc"))?;
    let places = Places::read(root, &procfs)?;
    let mut survey = Survey::default();
    let groups = collect(&procfs, Pick::Workloads, &mut survey)?;
    let readings = groups.into_iter().map(|(group, found)| {
        let processes: BTreeMap<(u32, u64), u64> = found
            .iter()
            .map(|f| ((f.member.pid, f.start), f.ticks))
            .collect();
        let threads = found.iter().map(|f| f.threads).sum();
        let subject = subject(&places, &group, found);
        reading(&places, group, subject, processes, threads)
    });
    Ok((readings.collect(), machine(root, &procfs)))
}

/// What is told of a group for `curb top`. Of a group that is a workload's own the kernel's counts are told; of processes
/// that are in a group with others, their own.
fn reading(
    places: &Places,
    group: String,
    subject: Subject,
    processes: BTreeMap<(u32, u64), u64>,
    threads: u64,
) -> Reading {
    let own = subject.container.is_some() || subject.unit.is_some() || ours(&group).is_some();
    let use_ = match own {
        true => places.use_of(&group),
        false => place::Use::default(),
    };
    let resident = subject
        .members
        .iter()
        .map(|m| m.resident.map(|b| b.0))
        .sum::<Option<u64>>();
    Reading {
        name: subject.name,
        frameworks: subject.frameworks,
        processes: processes.len() as u64,
        memory: use_.memory.or(resident.map(Bytes)),
        memory_from: match use_.memory {
            Some(_) => MemoryFrom::Group,
            None => MemoryFrom::Resident,
        },
        memory_limit: subject.memory,
        cpu: use_
            .cpu_micros
            .map_or(CpuUsed::Processes(processes), CpuUsed::Group),
        cpu_limit: subject.cpu,
        tasks: use_.tasks.or(Some(threads)),
        tasks_limit: subject.tasks,
        counts: use_.counts,
        key: group,
    }
}

/// How the names of groups that curb makes for workloads begin: of `curb run`, of `curb run --pid`, of the agent.
const MADE: [&str; 3] = ["curb-", "curbed-", "curbagent-"];

/// The nearest of a group and those above it that curb made for a workload, in whichever tree it is.
fn ours(group: &str) -> Option<&str> {
    let paths = place::paths(group);
    let is_ours = |part: &&str| {
        MADE.iter().any(|made| part.starts_with(made)) && !part.starts_with(SUPERVISOR)
    };
    let mut nearest = paths.iter().filter_map(|p| p.rsplit('/').find(is_ours));
    nearest.next()
}

/// The processes that are picked, by group.
fn collect(
    procfs: &Procfs,
    pick: Pick<'_>,
    survey: &mut Survey,
) -> io::Result<BTreeMap<String, Vec<Found>>> {
    let pids = match pick {
        Pick::Only(only) => only.to_vec(),
        _ => procfs.pids()?,
    };
    let own = std::process::id();
    let mut groups: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    for pid in pids.into_iter().take(MOST_PROCESSES) {
        let Ok(process) = procfs.process(pid) else {
            if matches!(pick, Pick::Only(_)) {
                survey.absent.push(pid);
            }
            continue;
        };
        let loaded = match process.mapped_files() {
            // A name that is no text is a name: nobody hides behind it.
            Ok(files) => {
                let names: Vec<_> = files.iter().map(|f| f.to_string_lossy()).collect();
                frameworks(names.iter().map(AsRef::as_ref))
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                survey.unseen += 1;
                Vec::new()
            }
            // It has ended.
            Err(_) => continue,
        };
        let Ok(group) = process.text("cgroup") else {
            continue;
        };
        let picked = match pick {
            Pick::Only(_) => true,
            Pick::Learning => !loaded.is_empty() && pid != own,
            Pick::Workloads => pid != own && (!loaded.is_empty() || ours(&group).is_some()),
        };
        // Read last: that it answers means that all of the above was this process.
        if picked && let Some(found) = look(&process, loaded) {
            groups.entry(group).or_default().push(found);
        }
    }
    Ok(groups)
}

fn look(process: &Process, frameworks: Vec<Framework>) -> Option<Found> {
    let (member, cpu_set) = member::read(process)?;
    let stat = process.stat().ok()?;
    Some(Found {
        member,
        frameworks,
        cpu_set,
        start: stat.start,
        ticks: stat.user_ticks.saturating_add(stat.system_ticks),
        threads: stat.threads,
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
    subject.name = name(&subject, ours(group));
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

/// What people know it by: its container, the group that curb made (several may be within one session's unit), its unit, else
/// its first process.
fn name(subject: &Subject, ours: Option<&str>) -> String {
    if let Some(container) = &subject.container {
        return container.to_string();
    }
    if let Some(name) = ours.or(subject.unit.as_deref()) {
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
