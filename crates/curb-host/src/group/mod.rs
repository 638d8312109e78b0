//! One group of processes that this process made: its limits, what it holds, its end.
//!
//! A group is one directory in each tree that has something to say of it. Files and their meaning: cgroups(7), and
//! `Documentation/admin-guide/cgroup-v1` and `cgroup-v2.rst` of the kernel.

mod again;
mod counts;
mod end;
mod files;
mod notice;
mod save;
mod set;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use curb_core::host::ladder::HeldBy;

use crate::layout::{Controller, Layout, Unified};
use crate::limits::Limits;
use crate::spawn::Doors;

pub use crate::counts::Counts;
pub(crate) use counts::{stalled_of, stat_of};
pub use notice::Notice;
pub use save::Saved;

pub(crate) use files::empty_into;
use files::{members_of, refused};

/// Groups within a group are followed so deep.
const DEPTH: usize = 8;

/// Why a limit has no group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What cannot be limited by the kernel here.
    pub controller: Controller,
    /// Why, and what would help.
    pub why: String,
}

/// A directory of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    dir: PathBuf,
    v2: bool,
}

/// A group that we made. Dropping it removes it if it is empty.
#[derive(Debug)]
pub struct Group {
    name: String,
    places: BTreeMap<Controller, Place>,
    /// In the version 2 tree, whatever it limits there.
    unified: Option<PathBuf>,
    missing: Vec<Missing>,
}

impl Group {
    /// Makes a group below our own place in each tree that these limits need, and sets them. The name must be new there.
    ///
    /// # Errors
    /// A limit was refused by the kernel. What cannot be had at all is told by [`Group::missing`] instead.
    pub fn create(layout: &Layout, name: &str, limits: &Limits) -> io::Result<Group> {
        Group::create_with(layout, name, limits, &[])
    }

    /// The same with more controllers than the limits need: those of limits that may be set later.
    ///
    /// # Errors
    /// As [`Group::create`].
    pub fn create_with(
        layout: &Layout,
        name: &str,
        limits: &Limits,
        more: &[Controller],
    ) -> io::Result<Group> {
        let mut group = Group {
            name: name.to_owned(),
            places: BTreeMap::new(),
            unified: None,
            missing: Vec::new(),
        };
        let needed = needed(layout, limits, more);
        let mut below = Vec::new();
        if let Some(unified) = &layout.v2 {
            let dir = unified.dir.join(name);
            match fs::create_dir(&dir) {
                Ok(()) => {
                    group.unified = Some(dir);
                    let in_v2 = |c: &Controller| !layout.v1.contains_key(c);
                    let wanted: Vec<Controller> = needed.iter().copied().filter(in_v2).collect();
                    below = group.enable(unified, &wanted, limits);
                }
                Err(error) if layout.v1.is_empty() => {
                    let why = refused(&dir, &error);
                    group.lack_all(limits, &why);
                }
                Err(_) => {}
            }
        }
        for controller in needed {
            group.enter_tree(layout, controller, &below, limits);
        }
        group.set(limits)?;
        Ok(group)
    }

    /// A group of this name that is there already, in any of these directories; not one that we made, hence whoever removes
    /// it must know that its supervisor is gone.
    #[must_use]
    pub(crate) fn found(name: &str, places: &BTreeSet<PathBuf>) -> Group {
        let mut group = Group {
            name: name.to_owned(),
            places: BTreeMap::new(),
            unified: None,
            missing: Vec::new(),
        };
        let dirs = places.iter().map(|p| p.join(name)).filter(|d| d.is_dir());
        let mut v1 = [
            Controller::Cpu,
            Controller::Pids,
            Controller::Cpuset,
            Controller::Io,
            Controller::Cpuacct,
        ]
        .into_iter();
        for dir in dirs {
            if dir.join("cgroup.freeze").exists() || dir.join("cgroup.kill").exists() {
                group.unified = Some(dir);
            } else if dir.join("freezer.state").exists() {
                group
                    .places
                    .insert(Controller::Freezer, Place { dir, v2: false });
            } else if dir.join("memory.limit_in_bytes").exists() {
                group
                    .places
                    .insert(Controller::Memory, Place { dir, v2: false });
            } else if let Some(any) = v1.next() {
                // What it counts does not matter any more.
                group.places.insert(any, Place { dir, v2: false });
            }
        }
        // Who waits for memory is waited for by nobody now.
        let _only_where_it_waits = group.wait_at_memory_limit(false);
        group
    }

    /// Makes version 2 controllers available below our place; gives those that are.
    fn enable(
        &mut self,
        unified: &Unified,
        wanted: &[Controller],
        limits: &Limits,
    ) -> Vec<Controller> {
        let file = unified.dir.join("cgroup.subtree_control");
        let already = fs::read_to_string(&file).unwrap_or_default();
        let mut enabled = Vec::new();
        for controller in wanted.iter().filter(|c| unified.controllers.contains(c)) {
            if already.split_whitespace().any(|c| c == controller.name()) {
                enabled.push(*controller);
                continue;
            }
            let mut written = fs::write(&file, format!("+{controller}"));
            // A group with processes of its own gives nothing to those below: if we are the only one there, we step aside.
            if matches!(&written, Err(e) if e.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()))
                && files::step_aside(&unified.dir).is_ok()
            {
                written = fs::write(&file, format!("+{controller}"));
            }
            match written {
                Ok(()) => enabled.push(*controller),
                Err(error) => self.lack(*controller, limits, refused(&file, &error)),
            }
        }
        enabled
    }

    /// Finds or makes the group's directory for a controller.
    fn enter_tree(
        &mut self,
        layout: &Layout,
        controller: Controller,
        in_v2: &[Controller],
        limits: &Limits,
    ) {
        let place = if let Some(own) = layout.v1.get(&controller) {
            let dir = own.join(&self.name);
            match fs::create_dir(&dir) {
                Ok(()) => Some(Place { dir, v2: false }),
                // Two controllers in one tree.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.has(&dir) => {
                    Some(Place { dir, v2: false })
                }
                Err(error) => {
                    self.lack(controller, limits, refused(&dir, &error));
                    None
                }
            }
        } else if let Some(dir) = self.unified.clone().filter(|_| in_v2.contains(&controller)) {
            Some(Place { dir, v2: true })
        } else {
            let why = format!("the kernel offers no `{controller}` controller here");
            self.lack(controller, limits, why);
            None
        };
        if let Some(place) = place {
            self.places.insert(controller, place);
        }
    }

    /// Notes what cannot be had, if a limit needs it and it is not told yet.
    fn lack(&mut self, controller: Controller, limits: &Limits, why: String) {
        let told = self.missing.iter().any(|m| m.controller == controller);
        if matters(controller, limits) && !told {
            self.missing.push(Missing { controller, why });
        }
    }

    fn lack_all(&mut self, limits: &Limits, why: &str) {
        for controller in Controller::ALL {
            self.lack(controller, limits, why.to_owned());
        }
    }

    fn has(&self, dir: &Path) -> bool {
        self.places.values().any(|p| p.dir == dir)
    }

    fn place(&self, controller: Controller) -> Option<&Place> {
        self.places.get(&controller)
    }

    /// The group's name, which no other of this machine has while it lives.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What cannot be limited by the kernel here, of what was asked for.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// Whether the kernel holds the group to a limit of this controller.
    #[must_use]
    pub fn holds(&self, controller: Controller) -> bool {
        match controller {
            Controller::Freezer => self.place(controller).is_some() || self.unified.is_some(),
            other => self.place(other).is_some(),
        }
    }

    /// Whether there is any directory of it: processes that enter it stay together and can be ended together.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.unified.is_some() || !self.places.is_empty()
    }

    /// Whether its directories are still there: another may have removed them.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.directories().iter().all(|dir| dir.exists())
    }

    /// What holds the group to limits on memory, CPU or processes.
    #[must_use]
    pub fn held_by(&self) -> HeldBy {
        let limiting = [Controller::Memory, Controller::Cpu, Controller::Pids];
        match limiting.into_iter().find_map(|c| self.place(c)) {
            Some(place) if place.v2 => HeldBy::GroupV2,
            Some(_) => HeldBy::GroupV1,
            None => HeldBy::Nothing,
        }
    }

    /// Files to which a process writes `0` to enter the group, one in each tree.
    #[must_use]
    pub fn doors(&self) -> Vec<PathBuf> {
        let dirs = self.directories();
        dirs.into_iter().map(|d| d.join("cgroup.procs")).collect()
    }

    /// The ways in for a process that is being started, which has one thread: no wait for others.
    pub(crate) fn entry(&self) -> Doors {
        let v1 = self.places.values().filter(|p| !p.v2);
        let v1: BTreeSet<PathBuf> = v1.map(|p| p.dir.join("tasks")).collect();
        Doors {
            birth: self.unified.clone(),
            tasks: v1.into_iter().collect(),
        }
    }

    fn directories(&self) -> BTreeSet<PathBuf> {
        let places = self.places.values().map(|p| p.dir.clone());
        places.chain(self.unified.clone()).collect()
    }

    /// The processes in it and in groups below it.
    #[must_use]
    pub fn members(&self) -> Vec<u32> {
        let mut all = Vec::new();
        if let Some(dir) = self.top() {
            members_of(dir, DEPTH, &mut all);
        }
        all
    }

    /// The directory by which it is known who is in it.
    fn top(&self) -> Option<&Path> {
        let first = self.places.values().next().map(|p| &p.dir);
        self.unified.as_ref().or(first).map(PathBuf::as_path)
    }
}

/// The controllers to enter: what a limit needs, what tells of a death (memory), and what ends all at once.
fn needed(layout: &Layout, limits: &Limits, more: &[Controller]) -> Vec<Controller> {
    let wants = |controller: &Controller| match controller {
        Controller::Memory => true,
        // The version 2 tree freezes, kills and counts CPU time by itself.
        Controller::Freezer => layout.v2.is_none() && layout.v1.contains_key(controller),
        Controller::Cpuacct => {
            layout.v2.is_none() && layout.v1.contains_key(controller) && limits.cpu_time.is_some()
        }
        other => matters(*other, limits) || more.contains(other),
    };
    Controller::ALL.into_iter().filter(wants).collect()
}

/// Whether a limit that was asked for needs the controller.
fn matters(controller: Controller, limits: &Limits) -> bool {
    match controller {
        Controller::Memory => {
            limits.memory.is_some() || limits.memory_high.is_some() || limits.swap.is_some()
        }
        Controller::Cpu => limits.cpu.is_some() || limits.cpu_weight.is_some(),
        Controller::Pids => limits.tasks.is_some(),
        Controller::Cpuset => limits.cpu_set.is_some(),
        Controller::Io => limits.io_read.is_some() || limits.io_write.is_some(),
        Controller::Freezer | Controller::Cpuacct => false,
    }
}
