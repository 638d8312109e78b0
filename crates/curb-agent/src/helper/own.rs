//! The groups that the helper made, and what may be done with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::process::Signal;

use curb_core::host::limits::LimitSet;
use curb_host::group::Group;
use curb_host::layout::{Controller, Layout};
use curb_host::limits::{BytesPerSecond, Limits};
use curb_host::proc::{ProcId, Process, Procfs};

use super::Orders;
use crate::homes::Homes;
use crate::rules::Place;
use crate::wire::{Answer, Name, Verb, Who};

/// Its groups begin with this; it looks at no others.
pub const PREFIX: &str = "curbagent-";
/// All of them are below one group of this name. It is made while there are privileges, and belongs to the helper's user:
/// no capability is needed to make groups in it.
pub(crate) const HOME: &str = "curbagent.groups";
/// Where agent and helper go where a group with processes gives nothing to those below (version 2).
pub(crate) const ASIDE: &str = "curbagent.self";
/// So many groups at most.
const MOST_GROUPS: usize = 1024;
/// What is to end is looked at for so long; the caller asks again.
const KILL_WITHIN: Duration = Duration::from_millis(200);
const REMOVE_PATIENCE: Duration = Duration::from_millis(50);
/// The disks of so many processes of a group are looked for.
const MOST_WORKING: usize = 256;
/// What may be limited later is prepared when a group is made.
const PREPARED: [Controller; 4] = [
    Controller::Cpu,
    Controller::Pids,
    Controller::Cpuacct,
    Controller::Freezer,
];

/// The groups of one helper.
#[derive(Debug)]
pub struct Own {
    layout: Layout,
    procfs: Procfs,
    groups: BTreeMap<Name, Group>,
    homes: Homes,
    orders: Orders,
    /// Never touched: itself, and who asks.
    never: [u32; 2],
    /// One helper a place.
    _lock: Option<OwnedFd>,
}

impl Own {
    /// Finds its place and the groups that an earlier helper left there.
    ///
    /// # Errors
    /// Another helper has this place, or it cannot be read.
    pub fn begin(root: &Path, orders: Orders) -> io::Result<Own> {
        let place = place(root)?;
        let lock = lock(&place)?;
        step_aside(&place);
        make_home(&place);
        let layout = home(&place);
        let mut own = Own {
            procfs: Procfs::at(&root.join("proc"))?,
            groups: BTreeMap::new(),
            homes: Homes::of_this_process()?,
            orders,
            never: [std::process::id(), std::os::unix::process::parent_id()],
            layout,
            _lock: lock,
        };
        for name in own.left_here() {
            if let Some(group) = Group::find(&own.layout, &directory(&name)) {
                own.groups.insert(name, group);
            }
        }
        Ok(own)
    }

    /// Does what is asked, or says why not.
    pub fn answer(&mut self, verb: &Verb) -> Answer {
        match verb {
            Verb::List => Answer::Groups {
                names: self.groups.keys().cloned().collect(),
            },
            Verb::Make {
                group,
                limits,
                wait,
            } => self.make(group, limits, *wait),
            Verb::Limit {
                group,
                limits,
                wait,
            } => self.with(group, |g| {
                let failed = g.change(&Limits::from(&**limits));
                // Version 1 alone can wait; elsewhere the memory limit ends what meets it.
                let _only_there = g.wait_at_memory_limit(*wait);
                but(failed)
            }),
            Verb::Adopt { group, who } => self.adopt(group, *who),
            Verb::Freeze { group } => self.with(group, |g| done(g.freeze(true))),
            Verb::Thaw { group } => self.with(group, |g| done(g.freeze(false))),
            Verb::Signal { group, signal } => self.signal(group, *signal),
            Verb::Tell { group, who, signal } => self.tell(group, *who, *signal),
            Verb::Files { group, most } => self.with(group, |g| {
                let lowered = curb_host::open_files::lower(&self.procfs, g, *most);
                match lowered.failed.is_empty() {
                    true => Answer::Count {
                        processes: lowered.processes,
                    },
                    false => failed(lowered.failed.join("; ")),
                }
            }),
            Verb::Disks { group, read, write } => self.disks(group, *read, *write),
            Verb::Kill { group } => self.with(group, |g| {
                g.kill(KILL_WITHIN);
                count(g.members().len())
            }),
            Verb::Remove { group } => self.remove(group),
            Verb::Libraries { who, names } => self.of(*who, |p| {
                let files = p.mapped_files()?;
                let has = |name: &String| {
                    files.iter().any(|f| {
                        let file = f.file_name().map(|n| n.to_string_lossy());
                        file.is_some_and(|f| f.starts_with(name.as_str()))
                    })
                };
                let places = (0..names.len()).filter(|i| has(&names[*i])).collect();
                Ok(Answer::Found { places })
            }),
            Verb::Variable { who, name, value } => self.of(*who, |p| {
                let found = p.variable(name)?;
                let yes = found.is_some_and(|v| v.to_str() == Some(value.as_str()));
                Ok(Answer::Is { yes })
            }),
            Verb::Io { who } => self.of(*who, |p| {
                let io = p.io()?;
                let both = io.read_called.zip(io.written_called);
                let bytes = both.map(|(r, w)| r.0.saturating_add(w.0));
                Ok(Answer::Io { bytes })
            }),
        }
    }

    /// Nobody asks any more: nothing is left waiting for an answer that nobody gives.
    pub fn alone(&mut self) {
        for group in self.groups.values() {
            let _version_1_alone_can_wait = group.wait_at_memory_limit(false);
            let _best_effort = group.freeze(false);
        }
    }

    fn make(&mut self, name: &Name, limits: &LimitSet, wait: bool) -> Answer {
        if self.groups.contains_key(name) {
            return refused(format!("there is a group {} already", name.as_str()));
        }
        if self.groups.len() >= MOST_GROUPS {
            return refused(format!("there are {MOST_GROUPS} groups already"));
        }
        let limits = Limits::from(limits);
        match Group::create_with(&self.layout, &directory(name), &limits, &PREPARED) {
            Err(error) => failed(format!("make group {}: {error}", name.as_str())),
            Ok(group) if !group.is_any() => failed(format!(
                "no control group can be made here: {}",
                missing(&group).join("; ")
            )),
            Ok(group) => {
                if wait {
                    let _version_1_alone_can_wait = group.wait_at_memory_limit(true);
                }
                let missing = missing(&group);
                self.groups.insert(name.clone(), group);
                but(missing)
            }
        }
    }

    /// A process into a group, if it is the one that was meant and may be touched.
    fn adopt(&mut self, name: &Name, who: Who) -> Answer {
        let Some(group) = self.groups.get(name) else {
            return no_group(name);
        };
        let id = ProcId {
            pid: who.pid,
            start: who.start,
        };
        let Ok(process) = self.procfs.same(id) else {
            return Answer::Gone;
        };
        if let Err(why) = self.may_be_touched(&process, &directory(name)) {
            return refused(why);
        }
        match curb_host::attach::take_one(&process, group) {
            Ok(true) => Answer::Done,
            Ok(false) => Answer::Gone,
            Err(error) => failed(format!("move process {} into its group: {error}", who.pid)),
        }
    }

    fn may_be_touched(&self, process: &Process, into: &str) -> Result<(), String> {
        let pid = process.id().pid;
        let unreadable = |e: io::Error| format!("process {pid} cannot be looked at: {e}");
        if self.never.contains(&pid) || pid <= 1 {
            return Err(format!("process {pid} is never touched"));
        }
        let user = process.status().map_err(unreadable)?.user;
        if user.is_none_or(|u| u == 0) && !self.orders.also_root {
            return Err(format!(
                "process {pid} is root's: the agent confines such only if it is started with --also-root"
            ));
        }
        // What has no memory of its own is a part of the kernel, or has ended.
        if process.statm().map_err(unreadable)?.resident == 0 {
            return Err(format!("process {pid} is no program"));
        }
        let groups = process.text("cgroup").map_err(unreadable)?;
        match Place::parse(&groups).ours {
            Some(other) if other != into || !self.homes.have(&groups) => {
                Err(format!("process {pid} is in group {other} already"))
            }
            _ => Ok(()),
        }
    }

    /// Limits reading and writing of a group on the disks that its processes work on.
    fn disks(&self, name: &Name, read: Option<u64>, write: Option<u64>) -> Answer {
        let Some(group) = self.groups.get(name) else {
            return no_group(name);
        };
        group.lift_io();
        let limits = Limits {
            io_read: read.map(BytesPerSecond),
            io_write: write.map(BytesPerSecond),
            ..Limits::default()
        };
        if read.is_none() && write.is_none() {
            return Answer::Done;
        }
        if !group.holds(Controller::Io) {
            return failed("the kernel offers no limit on reading and writing here".to_owned());
        }
        let members = group.members();
        let disks: BTreeSet<_> = members
            .iter()
            .take(MOST_WORKING)
            .filter_map(|pid| curb_host::devices::of_process(&self.procfs.process(*pid).ok()?))
            .collect();
        if disks.is_empty() {
            return failed("it works on no disk of its own".to_owned());
        }
        but(group.set_io(&limits, &disks))
    }

    fn signal(&mut self, name: &Name, signal: i32) -> Answer {
        let Some(signal) = Signal::from_named_raw(signal) else {
            return refused(format!("there is no signal {signal}"));
        };
        self.with(name, |g| count(g.signal(signal)))
    }

    /// A signal to one process, which is in the group and minds it: else it would save nothing, and most would end it.
    fn tell(&self, name: &Name, who: Who, number: i32) -> Answer {
        let (Some(group), Some(signal)) = (self.groups.get(name), Signal::from_named_raw(number))
        else {
            return no_group(name);
        };
        self.of(who, |process| {
            let handle = process.handle()?;
            if !group.is_member(who.pid) {
                let why = format!("process {} is not in group {}", who.pid, name.as_str());
                return Ok(refused(why));
            }
            if process.status()?.minds(number) == Some(false) {
                return Ok(refused(format!(
                    "signal {number} is not sent: process {} has no handler for it, and would save nothing, or die of it; \
                     have the program handle it, or save its work by a hook",
                    who.pid
                )));
            }
            handle.signal(signal)?;
            Ok(count(1))
        })
    }

    fn remove(&mut self, name: &Name) -> Answer {
        let Some(group) = self.groups.get(name) else {
            return no_group(name);
        };
        if !group.members().is_empty() {
            return refused(format!("group {} is not empty", name.as_str()));
        }
        let Some(mut group) = self.groups.remove(name) else {
            return no_group(name);
        };
        match group.remove_within(REMOVE_PATIENCE) {
            Ok(()) => Answer::Done,
            Err(error) => {
                self.groups.insert(name.clone(), group);
                failed(format!("remove group {}: {error}", name.as_str()))
            }
        }
    }

    fn with(&self, name: &Name, act: impl FnOnce(&Group) -> Answer) -> Answer {
        self.groups.get(name).map_or_else(|| no_group(name), act)
    }

    /// A look at one process; what is seen is of the one that was meant, or nothing.
    fn of(&self, who: Who, look: impl FnOnce(&Process) -> io::Result<Answer>) -> Answer {
        let id = ProcId {
            pid: who.pid,
            start: who.start,
        };
        let Ok(process) = self.procfs.same(id) else {
            return Answer::Gone;
        };
        match look(&process) {
            Ok(answer) => answer,
            Err(_) if self.procfs.same(id).is_err() => Answer::Gone,
            Err(error) => failed(format!("look at process {}: {error}", who.pid)),
        }
    }

    /// Names of groups that are in its place.
    fn left_here(&self) -> Vec<Name> {
        let mut names: Vec<Name> = places(&self.layout)
            .iter()
            .flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten())
            .filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir()))
            .filter_map(|entry| Name::new(entry.file_name().to_str()?.strip_prefix(PREFIX)?))
            .collect();
        names.sort_unstable();
        names.dedup();
        names.truncate(MOST_GROUPS);
        names
    }
}

/// The place of the agent: the groups that it was started in. On version 2 a manager of services, or an earlier agent, may have
/// put it into the one below that is for the agent itself, since a group with processes gives nothing to those below.
///
/// # Errors
/// `/proc` cannot be read.
pub fn place(root: &Path) -> io::Result<Layout> {
    let mut place = Layout::read(root)?;
    if let Some(unified) = place.v2.as_mut().filter(|u| u.dir.ends_with(ASIDE)) {
        unified.dir.pop();
        unified.controllers = controllers_of(&unified.dir);
    }
    Ok(place)
}

fn controllers_of(dir: &Path) -> Vec<Controller> {
    let text = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    let has = |c: &Controller| text.split_whitespace().any(|name| name == c.name());
    Controller::ALL.into_iter().filter(has).collect()
}

/// Where groups of the agent are, below a place.
#[must_use]
pub fn home(place: &Layout) -> Layout {
    let mut home = place.clone();
    for dir in home.v1.values_mut() {
        dir.push(HOME);
    }
    if let Some(unified) = &mut home.v2 {
        unified.dir.push(HOME);
        unified.controllers = controllers_of(&unified.dir);
    }
    home
}

/// What cannot be made here is told when a group is to be made in it.
fn make_home(place: &Layout) {
    for (controller, dir) in &place.v1 {
        let home = dir.join(HOME);
        let _may_be_there = fs::create_dir(&home);
        if *controller == Controller::Cpuset {
            // Nothing can be in a group without CPUs and memory nodes.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let all = fs::read_to_string(dir.join(file)).unwrap_or_default();
                let _told_later = fs::write(home.join(file), all.trim());
            }
        }
    }
    if let Some(unified) = &place.v2 {
        let _may_be_there = fs::create_dir(unified.dir.join(HOME));
        for controller in &unified.controllers {
            let file = unified.dir.join("cgroup.subtree_control");
            let _told_later = fs::write(file, format!("+{controller}"));
        }
    }
}

fn directory(name: &Name) -> String {
    format!("{PREFIX}{}", name.as_str())
}

fn places(layout: &Layout) -> Vec<PathBuf> {
    let v2 = layout.v2.iter().map(|u| u.dir.clone());
    layout.v1.values().cloned().chain(v2).collect()
}

/// Held as long as the helper lives.
fn lock(layout: &Layout) -> io::Result<Option<OwnedFd>> {
    let memory = layout.v1.get(&Controller::Memory);
    let Some(dir) = memory.or(layout.v2.as_ref().map(|u| &u.dir)) else {
        return Ok(None);
    };
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let dir_fd = rustix::fs::open(dir, flags, Mode::empty())?;
    match flock(&dir_fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(dir_fd)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(io::Error::other(format!(
            "another agent has its groups in {}: only one can run there",
            dir.display()
        ))),
        Err(error) => Err(error.into()),
    }
}

/// Where nobody but the agent and its helper is in their own group (a service of its own), both go into one below it.
fn step_aside(layout: &Layout) {
    let Some(unified) = layout.v2.as_ref().filter(|u| !u.controllers.is_empty()) else {
        return;
    };
    let ours = [std::process::id(), std::os::unix::process::parent_id()];
    let members = fs::read_to_string(unified.dir.join("cgroup.procs")).unwrap_or_default();
    // Who started the helper may be elsewhere, and stays there.
    let members: Vec<u32> = members.lines().filter_map(|m| m.parse().ok()).collect();
    let alone = members.iter().all(|pid| ours.contains(pid));
    // The top of the tree has no file of its own type, and needs none of this.
    if !alone || members.is_empty() || !unified.dir.join("cgroup.type").exists() {
        return;
    }
    let leaf = unified.dir.join(ASIDE);
    let _is_there_already = fs::create_dir(&leaf);
    for pid in members {
        // Where that fails, making a group says what is in the way.
        let _told_later = fs::write(leaf.join("cgroup.procs"), pid.to_string());
    }
}

fn missing(group: &Group) -> Vec<String> {
    let missing = group.missing().iter();
    missing
        .map(|m| format!("{}: {}", m.controller, m.why))
        .collect()
}

fn but(missing: Vec<String>) -> Answer {
    match missing.is_empty() {
        true => Answer::Done,
        false => Answer::DoneBut { missing },
    }
}

fn done(result: io::Result<()>) -> Answer {
    match result {
        Ok(()) => Answer::Done,
        Err(error) => failed(error.to_string()),
    }
}

fn count(processes: usize) -> Answer {
    Answer::Count {
        processes: u64::try_from(processes).unwrap_or(u64::MAX),
    }
}

fn refused(why: String) -> Answer {
    Answer::Refused { why }
}

fn failed(why: String) -> Answer {
    Answer::Failed { why }
}

fn no_group(name: &Name) -> Answer {
    refused(format!("there is no group {} of its own", name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place of an agent whose group is this one, below a root where `service` has controllers to give.
    fn place_in(group: &str) -> (PathBuf, Vec<Controller>) {
        let root = tempfile::tempdir().expect("a directory");
        let file = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("one above")).expect("made");
            fs::write(path, text).expect("written");
        };
        let mount = "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        file("proc/self/mountinfo", mount);
        file("proc/self/cgroup", &format!("0::{group}\n"));
        file("sys/fs/cgroup/service/cgroup.controllers", "memory pids\n");
        file(
            "sys/fs/cgroup/service/curbagent.self/cgroup.controllers",
            "",
        );
        let unified = place(root.path()).expect("read").v2.expect("there");
        let dir = unified.dir.strip_prefix(root.path()).expect("below it");
        (dir.to_owned(), unified.controllers)
    }

    #[test]
    fn put_into_its_own_group_it_has_its_place_above_that_with_what_there_is_to_give() {
        let both = vec![Controller::Memory, Controller::Pids];
        let service = PathBuf::from("sys/fs/cgroup/service");
        for group in ["/service/curbagent.self", "/service"] {
            let (dir, mut controllers) = place_in(group);
            controllers.sort();
            assert_eq!(
                (dir, controllers),
                (service.clone(), both.clone()),
                "{group}"
            );
        }
    }
}
