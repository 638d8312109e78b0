//! What holds the processes of one run: a control group where there is one, the watchdog where there is none.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::time::{Duration, Instant};

use curb_core::host::ladder::HeldBy;
use rustix::process::Signal;

use crate::devices;
use crate::group::{Group, Notice};
use crate::layout::{Controller, Layout};
use crate::limits::{Bytes, Limits, MilliCpu};
use crate::readings::Sample;
use crate::spawn::Doors;
use crate::tree::{Root, Sum, Tree};

/// What several processes share is looked for at most so often: the kernel walks all their pages for it.
const SHARED_EVERY: Duration = Duration::from_millis(250);

/// The processes of one run, and what holds them.
#[derive(Debug)]
pub(crate) struct Body {
    group: Option<Group>,
    tree: Tree,
    /// Which limits only the watchdog holds.
    watched: Watched,
    /// What cannot be held here, in words.
    not_held: Vec<String>,
    /// The last look at what several share, and when.
    shared: Option<(Instant, Bytes)>,
}

/// Which limits only the watchdog holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watched {
    pub memory: bool,
    pub tasks: bool,
}

impl Body {
    /// Makes what holds a command to its limits. `forced`: no group, though one could be made.
    ///
    /// # Errors
    /// The kernel refused a limit that it offers, or `/proc` is not there.
    pub(crate) fn make(
        layout: &Layout,
        name: &str,
        limits: &Limits,
        more: &[Controller],
        root: Root,
        forced: bool,
    ) -> io::Result<Body> {
        let group = match forced {
            true => None,
            false => Some(Group::create_with(layout, name, limits, more)?),
        };
        let holds = |c| group.as_ref().is_some_and(|g| g.holds(c));
        let watched = Watched {
            memory: limits.memory.is_some() && !holds(Controller::Memory),
            tasks: limits.tasks.is_some() && !holds(Controller::Pids),
        };
        let mut body = Body {
            not_held: not_held(group.as_ref(), limits),
            group: group.filter(Group::is_any),
            tree: Tree::new(root)?,
            watched,
            shared: None,
        };
        body.mind_affinity(limits);
        Ok(body)
    }

    /// Limits reading from and writing to the disks that the command works on.
    pub(crate) fn limit_io(&mut self, limits: &Limits, command: &[OsString]) {
        let asked = limits.io_read.is_some() || limits.io_write.is_some();
        let Some(group) = self
            .group
            .as_ref()
            .filter(|g| asked && g.holds(Controller::Io))
        else {
            return;
        };
        let disks: BTreeSet<_> = devices::behind(command);
        let mut wrong = group.set_io(limits, &disks);
        if disks.is_empty() {
            wrong.push("its working directory is on no disk of its own".to_owned());
        }
        let told = wrong
            .into_iter()
            .map(|w| format!("reading and writing: {w}"));
        self.not_held.extend(told);
    }

    fn mind_affinity(&mut self, limits: &Limits) {
        if limits.cpu_set.is_some() && !self.holds(Controller::Cpuset) {
            self.not_held.push(
                "cpu_set: by no control group; it is started on these CPUs and could leave them"
                    .to_owned(),
            );
        }
    }

    /// Its processes were there before: what they have was charged elsewhere, and is looked at; what only a start can give
    /// them they do not get.
    pub(crate) fn is_of_others(&mut self, limits: &Limits) {
        self.watched.memory = limits.memory.is_some();
        if limits.memory.is_some() && self.holds(Controller::Memory) {
            self.not_held.push(
                "memory that it had before, by the kernel: a watchdog looks at it as well"
                    .to_owned(),
            );
        }
        if limits.open_files.is_some() {
            self.not_held
                .push("open_files: it is set when a program is started".to_owned());
        }
        for (name, _) in limits.told.variables() {
            self.not_held
                .push(format!("{name}: it is set when a program is started"));
        }
    }

    pub(crate) fn holds(&self, controller: Controller) -> bool {
        self.group.as_ref().is_some_and(|g| g.holds(controller))
    }

    pub(crate) fn group(&self) -> Option<&Group> {
        self.group.as_ref()
    }

    pub(crate) fn watched(&self) -> Watched {
        self.watched
    }

    pub(crate) fn not_held(&self) -> &[String] {
        &self.not_held
    }

    pub(crate) fn held_by(&self) -> HeldBy {
        let only_watched = (self.watched.memory && !self.holds(Controller::Memory))
            || (self.watched.tasks && !self.holds(Controller::Pids));
        if only_watched {
            return HeldBy::Watchdog;
        }
        self.group.as_ref().map_or(HeldBy::Nothing, Group::held_by)
    }

    pub(crate) fn entry(&self) -> Doors {
        self.group.as_ref().map(Group::entry).unwrap_or_default()
    }

    pub(crate) fn notice(&self) -> Option<Notice> {
        // Where the kernel does not tell, we look.
        self.group.as_ref()?.notice().ok()
    }

    /// These are our own helpers, and not of the workload.
    pub(crate) fn leave_out(&mut self, helpers: Vec<u32>) {
        self.tree.leave_out(helpers);
    }

    /// The group is gone, though we did not remove it: from now on the watchdog holds what can be held.
    pub(crate) fn lost_its_group(&mut self, limits: &Limits) -> bool {
        if self.group.as_ref().is_none_or(Group::is_there) {
            return false;
        }
        self.group = None;
        self.watched = Watched {
            memory: limits.memory.is_some(),
            tasks: limits.tasks.is_some(),
        };
        true
    }

    /// What was counted until now.
    pub(crate) fn sample(&mut self, at: Duration, limits: &Limits) -> Sample {
        let mut counts = self.group.as_ref().map(Group::counts).unwrap_or_default();
        let needs_cpu = counts.cpu_micros.is_none() && limits.cpu_time.is_some();
        if self.watched.memory || self.watched.tasks || needs_cpu {
            let members = self.group.as_ref().map(Group::members);
            let sum = self.tree.sum(&members.unwrap_or_default());
            if self.watched.memory {
                counts.memory = Some(self.memory(sum, limits));
            }
            if self.watched.tasks {
                counts.tasks = Some(sum.tasks);
            }
            counts.cpu_micros = counts.cpu_micros.or(Some(sum.cpu_micros));
        }
        Sample { at, counts }
    }

    /// What several processes share is counted once, where it decides; that is looked for sparingly.
    fn memory(&mut self, sum: Sum, limits: &Limits) -> Bytes {
        let over = limits.memory.is_some_and(|most| sum.memory >= most);
        if !over || sum.processes < 2 {
            return sum.memory;
        }
        if let Some((at, shared)) = self.shared
            && at.elapsed() < SHARED_EVERY
        {
            // As much is shared as a moment ago.
            return Bytes(sum.memory.0.saturating_sub(shared.0));
        }
        let Some(once) = self.tree.shared_once() else {
            return sum.memory;
        };
        self.shared = Some((Instant::now(), Bytes(sum.memory.0.saturating_sub(once.0))));
        once
    }

    /// Sends a signal to all of it; how many got it.
    pub(crate) fn signal(&mut self, signal: Signal) -> usize {
        match &self.group {
            Some(group) => group.signal(signal),
            None => self.tree.signal(signal),
        }
    }

    /// Ends all of it, and does not wait for that. Who has left the group is found by descent.
    pub(crate) fn kill(&mut self) {
        if let Some(group) = &self.group {
            group.kill_once();
        }
        self.tree.signal(Signal::KILL);
    }

    /// How many live.
    pub(crate) fn alive(&mut self) -> usize {
        match &self.group {
            Some(group) => group.members().len().max(self.tree.processes().len()),
            None => self.tree.processes().len(),
        }
    }

    /// Holds all of it still, or lets it go on.
    pub(crate) fn freeze(&mut self, on: bool) -> Result<(), String> {
        if let Some(group) = &self.group {
            return group.freeze(on).map_err(|e| e.to_string());
        }
        self.tree
            .signal(if on { Signal::STOP } else { Signal::CONT });
        Ok(())
    }

    pub(crate) fn set_memory(&self, most: Bytes, swap: Option<Bytes>) -> Result<(), String> {
        match &self.group {
            Some(group) => group
                .set_memory(most, swap.unwrap_or(Bytes(0)))
                .map_err(|e| e.to_string()),
            // The watchdog is told by the limits themselves.
            None => Ok(()),
        }
    }

    pub(crate) fn set_memory_high(&self, high: Option<Bytes>) -> Result<(), String> {
        let group = self.group.as_ref().ok_or("no control group holds it")?;
        group.set_memory_high(high).map_err(|e| e.to_string())
    }

    pub(crate) fn set_cpu(&self, cpu: Option<MilliCpu>) -> Result<(), String> {
        match &self.group {
            Some(group) if group.holds(Controller::Cpu) => {
                group.set_cpu(cpu).map_err(|e| e.to_string())
            }
            _ => Err("no control group here limits CPU time".to_owned()),
        }
    }

    /// Whether it waits at its limit on memory, or is killed there; a choice that only version 1 has.
    pub(crate) fn wait_at_limit(&self, wait: bool) -> bool {
        let group = self.group.as_ref();
        group.is_some_and(|g| g.wait_at_memory_limit(wait).is_ok())
    }

    /// Removes the group. What lives in it must have ended.
    pub(crate) fn remove(self) -> io::Result<()> {
        match self.group {
            Some(group) => group.remove(),
            None => Ok(()),
        }
    }
}

/// What of these limits cannot be held here, in words.
fn not_held(group: Option<&Group>, limits: &Limits) -> Vec<String> {
    let why = |controller: Controller| {
        let missing = group.map_or(&[][..], Group::missing);
        let found = missing.iter().find(|m| m.controller == controller);
        found.map_or_else(|| "there is no control group".to_owned(), |m| m.why.clone())
    };
    let holds = |controller| group.is_some_and(|g| g.holds(controller));
    let asked = [
        ("cpu", limits.cpu.is_some(), Controller::Cpu),
        ("cpu_weight", limits.cpu_weight.is_some(), Controller::Cpu),
        ("swap", limits.swap.is_some(), Controller::Memory),
        ("io_read", limits.io_read.is_some(), Controller::Io),
        ("io_write", limits.io_write.is_some(), Controller::Io),
    ];
    let mut all: Vec<String> = asked
        .into_iter()
        .filter(|(_, asked, controller)| *asked && !holds(*controller))
        .map(|(name, _, controller)| format!("{name}: {}", why(controller)))
        .collect();
    let is_v2 = group.is_some_and(|g| g.held_by() == HeldBy::GroupV2);
    if limits.memory_high.is_some() && !(is_v2 && holds(Controller::Memory)) {
        all.push("memory_high: it needs control groups of version 2".to_owned());
    }
    if limits.memory.is_some() && !holds(Controller::Memory) && group.is_some() {
        all.push(format!("memory by the kernel: {}", why(Controller::Memory)));
    }
    if limits.told.mlx_wired.is_some() {
        all.push("mlx_wired: MLX wires memory on macOS only".to_owned());
    }
    if limits.tasks.is_some() && !holds(Controller::Pids) && group.is_some() {
        all.push(format!(
            "processes by the kernel: {}",
            why(Controller::Pids)
        ));
    }
    all
}
