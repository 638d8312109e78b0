//! One group of processes that this process made: its limits, what it holds, its end.
//!
//! A group is one directory in each tree that has something to say of it. Files and their meaning: cgroups(7), and
//! `Documentation/admin-guide/cgroup-v1` and `cgroup-v2.rst` of the kernel.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use curb_core::host::ladder::HeldBy;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::layout::{Controller, Layout, Unified};
use crate::limits::{Bytes, Limits};

/// CPU quotas are for this period (the kernel's own default).
const PERIOD_MICROS: u64 = 100_000;
/// Groups within a group are followed so deep.
const DEPTH: usize = 8;
/// The kernel needs a moment to let go of a group whose last process has ended.
const REMOVE_WITHIN: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(2);

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
    memory: Option<Place>,
    cpu: Option<Place>,
    pids: Option<Place>,
    freezer: Option<Place>,
    /// In the version 2 tree, whatever it limits there.
    unified: Option<PathBuf>,
    missing: Vec<Missing>,
}

/// What the kernel has counted of a group. `None` is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Memory at present.
    pub memory: Option<Bytes>,
    /// The most memory at once.
    pub memory_peak: Option<Bytes>,
    /// Processes that the kernel killed since the group's memory was at its limit.
    pub oom_kills: Option<u64>,
    /// How often the memory limit was met and something was given back instead.
    pub memory_hits: Option<u64>,
    /// Periods in which the CPU quota held it back.
    pub throttled: Option<u64>,
    /// Forks that the limit on processes refused.
    pub fork_refusals: Option<u64>,
}

impl Group {
    /// Makes a group below our own place in each tree, and sets its limits. The name must be new there.
    ///
    /// # Errors
    /// A limit was refused by the kernel. What cannot be had at all is told by [`Group::missing`] instead.
    pub fn create(layout: &Layout, name: &str, limits: &Limits) -> io::Result<Group> {
        let mut group = Group {
            name: name.to_owned(),
            memory: None,
            cpu: None,
            pids: None,
            freezer: None,
            unified: None,
            missing: Vec::new(),
        };
        let in_v1 = |c| layout.v1.contains_key(&c);
        let wanted: Vec<Controller> = [Controller::Memory, Controller::Cpu, Controller::Pids]
            .into_iter()
            .filter(|c| !in_v1(*c))
            .collect();
        let mut below = Vec::new();
        if let Some(unified) = &layout.v2 {
            let dir = unified.dir.join(name);
            if fs::create_dir(&dir).is_ok() {
                group.unified = Some(dir);
                below = group.enable(unified, &wanted);
            }
        }
        for controller in Controller::ALL {
            group.enter_tree(layout, controller, &below, limits);
        }
        group.set(limits)?;
        Ok(group)
    }

    /// Makes version 2 controllers available below our place; gives those that are.
    fn enable(&mut self, unified: &Unified, wanted: &[Controller]) -> Vec<Controller> {
        let file = unified.dir.join("cgroup.subtree_control");
        let mut enabled = Vec::new();
        for controller in wanted.iter().filter(|c| unified.controllers.contains(c)) {
            let mut written = fs::write(&file, format!("+{controller}"));
            // A group with processes of its own gives nothing to those below: if we are the only one there, we step aside.
            if matches!(&written, Err(e) if e.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()))
                && step_aside(&unified.dir).is_ok()
            {
                written = fs::write(&file, format!("+{controller}"));
            }
            match written {
                Ok(()) => enabled.push(*controller),
                Err(error) => self.missing.push(Missing {
                    controller: *controller,
                    why: refused(&file, &error),
                }),
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
                    if matters(controller, limits) {
                        self.missing.push(Missing {
                            controller,
                            why: refused(&dir, &error),
                        });
                    }
                    None
                }
            }
        } else {
            let unified = self.unified.clone().filter(|_| in_v2.contains(&controller));
            let told = self.missing.iter().any(|m| m.controller == controller);
            if unified.is_none() && matters(controller, limits) && !told {
                self.missing.push(Missing {
                    controller,
                    why: format!("the kernel offers no `{controller}` controller here"),
                });
            }
            unified.map(|dir| Place { dir, v2: true })
        };
        match controller {
            Controller::Memory => self.memory = place,
            Controller::Cpu => self.cpu = place,
            Controller::Pids => self.pids = place,
            Controller::Freezer => self.freezer = place,
        }
    }

    fn has(&self, dir: &Path) -> bool {
        self.places().any(|p| p.dir == dir)
    }

    fn places(&self) -> impl Iterator<Item = &Place> {
        [&self.memory, &self.cpu, &self.pids, &self.freezer]
            .into_iter()
            .flatten()
    }

    fn set(&self, limits: &Limits) -> io::Result<()> {
        if let (Some(place), Some(Bytes(most))) = (&self.memory, limits.memory) {
            let (limit, with_swap) = if place.v2 {
                ("memory.max", ("memory.swap.max", 0))
            } else {
                (
                    "memory.limit_in_bytes",
                    ("memory.memsw.limit_in_bytes", most),
                )
            };
            write(&place.dir.join(limit), most)?;
            // Not there where the kernel was built or started without counting swap.
            let swap = place.dir.join(with_swap.0);
            if swap.exists() {
                write(&swap, with_swap.1)?;
            }
        }
        if let (Some(place), Some(cpu)) = (&self.cpu, limits.cpu) {
            let quota = cpu.0.saturating_mul(PERIOD_MICROS) / 1000;
            if place.v2 {
                let file = place.dir.join("cpu.max");
                fs::write(&file, format!("{quota} {PERIOD_MICROS}")).map_err(at(&file))?;
            } else {
                write(&place.dir.join("cpu.cfs_period_us"), PERIOD_MICROS)?;
                write(&place.dir.join("cpu.cfs_quota_us"), quota)?;
            }
        }
        if let (Some(place), Some(most)) = (&self.pids, limits.tasks) {
            write(&place.dir.join("pids.max"), most)?;
        }
        Ok(())
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
            Controller::Memory => self.memory.is_some(),
            Controller::Cpu => self.cpu.is_some(),
            Controller::Pids => self.pids.is_some(),
            Controller::Freezer => self.freezer.is_some() || self.unified.is_some(),
        }
    }

    /// What holds the group.
    #[must_use]
    pub fn held_by(&self) -> HeldBy {
        let mut limited = [&self.memory, &self.cpu, &self.pids].into_iter().flatten();
        match limited.next() {
            Some(place) if place.v2 => HeldBy::GroupV2,
            Some(_) => HeldBy::GroupV1,
            None => HeldBy::Nothing,
        }
    }

    /// Files to which a process writes `0` to enter the group, one in each tree.
    #[must_use]
    pub fn doors(&self) -> Vec<PathBuf> {
        self.directories()
            .into_iter()
            .map(|dir| dir.join("cgroup.procs"))
            .collect()
    }

    fn directories(&self) -> BTreeSet<PathBuf> {
        self.places()
            .map(|p| p.dir.clone())
            .chain(self.unified.clone())
            .collect()
    }

    /// What the kernel has counted until now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        if let Some(Place { dir, v2 }) = &self.memory {
            let bytes = |file: &str| number(&dir.join(file)).map(Bytes);
            if *v2 {
                counts.memory = bytes("memory.current");
                counts.memory_peak = bytes("memory.peak");
                counts.oom_kills = field(&dir.join("memory.events"), "oom_kill");
                counts.memory_hits = field(&dir.join("memory.events"), "max");
            } else {
                counts.memory = bytes("memory.usage_in_bytes");
                counts.memory_peak = bytes("memory.max_usage_in_bytes");
                counts.oom_kills = field(&dir.join("memory.oom_control"), "oom_kill");
                counts.memory_hits = number(&dir.join("memory.failcnt"));
            }
        }
        if let Some(Place { dir, .. }) = &self.cpu {
            counts.throttled = field(&dir.join("cpu.stat"), "nr_throttled");
        }
        if let Some(Place { dir, .. }) = &self.pids {
            counts.fork_refusals = field(&dir.join("pids.events"), "max");
        }
        counts
    }

    /// The processes in it and in groups below it.
    #[must_use]
    pub fn members(&self) -> Vec<u32> {
        let dirs = self.directories();
        let Some(dir) = self.unified.as_ref().or(dirs.first()) else {
            return Vec::new();
        };
        let mut all = Vec::new();
        members_of(dir, DEPTH, &mut all);
        all
    }

    /// Sends a signal to each process in it, and says how many got it.
    ///
    /// Each is signalled through a descriptor that was opened first and checked after: a number that was given to another
    /// process meanwhile is left alone.
    pub fn signal(&self, signal: Signal) -> usize {
        let send = |pid: u32| -> Option<()> {
            let id = Pid::from_raw(i32::try_from(pid).ok()?)?;
            let fd = pidfd_open(id, PidfdFlags::empty()).ok()?;
            self.is_member(pid).then_some(())?;
            pidfd_send_signal(&fd, signal).ok()
        };
        self.members().into_iter().filter_map(send).count()
    }

    fn is_member(&self, pid: u32) -> bool {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.splitn(3, ':').nth(2))
            .any(|path| path.split('/').any(|part| part == self.name))
    }

    /// Ends every process in it at once, and waits until it is empty; whether it became so within the time.
    pub fn kill(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        let at_once = self.unified.as_ref().map(|dir| dir.join("cgroup.kill"));
        loop {
            let killed = at_once
                .as_ref()
                .is_some_and(|file| fs::write(file, "1").is_ok());
            if !killed {
                // One that forks faster than it is killed is held still first.
                self.freeze(true);
                self.signal(Signal::KILL);
                self.freeze(false);
            }
            if self.members().is_empty() {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Stops all of it, or lets it go on; best effort.
    pub fn freeze(&self, on: bool) {
        // What fails here is found by those who look whether it worked.
        if let Some(Place { dir, .. }) = &self.freezer {
            let _ = fs::write(
                dir.join("freezer.state"),
                if on { "FROZEN" } else { "THAWED" },
            );
        } else if let Some(dir) = &self.unified {
            let _ = fs::write(dir.join("cgroup.freeze"), if on { "1" } else { "0" });
        }
    }

    /// Removes it. What lives in it must be ended first.
    ///
    /// # Errors
    /// Something still lives in it.
    pub fn remove(mut self) -> io::Result<()> {
        self.take_down(REMOVE_WITHIN)
    }

    fn take_down(&mut self, within: Duration) -> io::Result<()> {
        let until = Instant::now() + within;
        for dir in self.directories() {
            loop {
                match remove_tree(&dir, DEPTH) {
                    Ok(()) => break,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                    Err(error) if Instant::now() >= until => return Err(at(&dir)(error)),
                    Err(_) => std::thread::sleep(PAUSE),
                }
            }
        }
        (self.memory, self.cpu, self.pids) = (None, None, None);
        (self.freezer, self.unified) = (None, None);
        Ok(())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Only what is empty goes away; who wants to know calls `remove`.
        let _ = self.take_down(Duration::ZERO);
    }
}

/// Whether a limit that was asked for needs the controller.
fn matters(controller: Controller, limits: &Limits) -> bool {
    match controller {
        Controller::Memory => limits.memory.is_some(),
        Controller::Cpu => limits.cpu.is_some(),
        Controller::Pids => limits.tasks.is_some(),
        Controller::Freezer => false,
    }
}

/// Moves this process, if it is the only one in a group, into a group below it.
fn step_aside(dir: &Path) -> io::Result<()> {
    let own = std::process::id().to_string();
    let members = fs::read_to_string(dir.join("cgroup.procs"))?;
    if members.lines().any(|pid| pid != own) {
        return Err(io::Error::other("others are in the group"));
    }
    let leaf = dir.join(format!("curb-supervisor-{own}"));
    match fs::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::write(leaf.join("cgroup.procs"), own)
}

fn refused(file: &Path, error: &io::Error) -> String {
    let file = file.display();
    match error
        .raw_os_error()
        .map(rustix::io::Errno::from_raw_os_error)
    {
        Some(rustix::io::Errno::BUSY) => format!(
            "{file}: other processes are in the same group; start curb in a group of its own: systemd-run --user --scope -p Delegate=yes curb run ..."
        ),
        Some(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM | rustix::io::Errno::ROFS) => {
            format!(
                "{file}: {error}; a group that this user may write is given by: systemd-run --user --scope -p Delegate=yes curb run ..."
            )
        }
        _ => format!("{file}: {error}"),
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn write(file: &Path, value: u64) -> io::Result<()> {
    fs::write(file, value.to_string()).map_err(at(file))
}

/// A file that holds one number.
fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The number behind a name, one such pair a line.
fn field(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(n, _)| *n == name)?.1.trim().parse().ok()
}

fn members_of(dir: &Path, depth: usize, all: &mut Vec<u32>) {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    all.extend(text.lines().filter_map(|pid| pid.parse::<u32>().ok()));
    if depth == 0 {
        return;
    }
    for below in groups_below(dir) {
        members_of(&below, depth - 1, all);
    }
}

fn groups_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .map(|e| e.path())
        .collect()
}

fn remove_tree(dir: &Path, depth: usize) -> io::Result<()> {
    if depth > 0 {
        for below in groups_below(dir) {
            remove_tree(&below, depth - 1)?;
        }
    }
    fs::remove_dir(dir)
}
