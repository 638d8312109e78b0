//! Which trees of groups there are, and what they hold a group to.

use std::io;
use std::path::{Path, PathBuf};

use curb_core::host::audit::{Effective, Held, Subject};
use curb_core::host::top::Counts;
use curb_core::host::{Bytes, MilliCpu};

use super::chain::{Chain, Level};
use crate::layout::{Mount, mount};
use crate::proc::Procfs;

/// The trees of groups that are mounted.
pub(super) struct Places {
    mounts: Vec<Mount>,
    root: PathBuf,
}

/// What the kernel counts of a group. What is not known, or would be the whole machine's, is `None`.
#[derive(Debug, Default)]
pub(super) struct Use {
    pub memory: Option<Bytes>,
    pub cpu_micros: Option<u64>,
    pub tasks: Option<u64>,
    pub counts: Counts,
}

/// The tree that a controller is in.
struct Tree {
    chain: Chain,
    v2: bool,
}

/// The paths of a process's groups, as its `cgroup` file has them.
pub(super) fn paths(group: &str) -> Vec<&str> {
    group
        .lines()
        .filter_map(|l| l.splitn(3, ':').nth(2))
        .collect()
}

/// The path that tells most: the deepest; the first of those.
pub(super) fn telling<'a>(paths: &[&'a str]) -> &'a str {
    let depth = |p: &&str| p.split('/').filter(|part| !part.is_empty()).count();
    let deepest = paths.iter().map(depth).max().unwrap_or(0);
    paths
        .iter()
        .find(|p| depth(p) == deepest)
        .copied()
        .unwrap_or("/")
}

impl Places {
    pub fn read(root: &Path, procfs: &Procfs) -> io::Result<Places> {
        let mounts = procfs.machine("self/mountinfo")?;
        Ok(Places {
            mounts: mounts.lines().filter_map(mount).collect(),
            root: root.to_owned(),
        })
    }

    /// Fills in what the trees hold the group to.
    pub fn limits(&self, group: &str, subject: &mut Subject) {
        let memory = self.tree("memory", group);
        subject.memory = bytes(memory.limit("memory.max", "memory.limit_in_bytes"));
        subject.memory_high = match memory.v2 {
            true => bytes(memory.limit("memory.high", "")),
            false => Effective::Unlimited,
        };
        subject.swap = memory.swap(&subject.memory);
        memory.out_of_memory(subject);
        let cpu = self.tree("cpu", group);
        subject.cpu = cpu.quota();
        subject.cpu_weight = cpu
            .chain
            .levels
            .first()
            .and_then(|own| own.number(if cpu.v2 { "cpu.weight" } else { "cpu.shares" }));
        subject.tasks = self.tree("pids", group).limit("pids.max", "pids.max");
    }

    /// What the kernel counts of the group itself.
    pub fn use_of(&self, group: &str) -> Use {
        let (memory, cpu, pids) = (
            self.tree("memory", group),
            self.tree("cpu", group),
            self.tree("pids", group),
        );
        let mut all = Use::default();
        if let Some(own) = memory.own() {
            let (now, file, hits) = match memory.v2 {
                true => (
                    "memory.current",
                    "memory.events",
                    own.field("memory.events", "max"),
                ),
                false => (
                    "memory.usage_in_bytes",
                    "memory.oom_control",
                    own.number("memory.failcnt"),
                ),
            };
            all.memory = own.number(now).map(Bytes);
            all.counts.killed = own.field(file, "oom_kill");
            all.counts.memory = hits;
        }
        if let Some(own) = cpu.own() {
            all.counts.cpu = own.field("cpu.stat", "nr_throttled");
        }
        if let Some(own) = pids.own() {
            all.tasks = own.number("pids.current");
            all.counts.forks = own.field("pids.events", "max");
        }
        // The version 2 tree counts CPU time whatever it limits.
        let unified = self.tree("", group);
        all.cpu_micros = unified
            .own()
            .and_then(|own| own.field("cpu.stat", "usage_usec"));
        all
    }

    /// The tree of a controller; of none, the version 2 tree.
    fn tree(&self, controller: &str, group: &str) -> Tree {
        let is = |m: &&Mount| {
            let names = m.v1.as_ref();
            names.is_some_and(|all| all.iter().any(|n| n == controller))
        };
        let v1 = self.mounts.iter().find(is);
        let v2 = self.mounts.iter().find(|m| m.v1.is_none());
        let in_line = |names: &str| match v1 {
            Some(_) => names.split(',').any(|n| n == controller),
            None => names.is_empty(),
        };
        let path = group.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (names, path) = (parts.next()?, parts.next()?);
            in_line(names).then_some(path)
        });
        let chain = match (v1.or(v2), path) {
            (Some(mount), Some(path)) => self.chain(mount, path),
            _ => Chain {
                levels: Vec::new(),
                above: Some(format!(
                    "no tree of control groups with `{controller}` is mounted here"
                )),
            },
        };
        Tree {
            chain,
            v2: v1.is_none(),
        }
    }

    fn chain(&self, mount: &Mount, path: &str) -> Chain {
        let inside = match mount.root.as_str() {
            "/" => Some(path),
            root => path
                .strip_prefix(root)
                .filter(|r| r.is_empty() || r.starts_with('/')),
        };
        let shown = mount.at.to_string_lossy();
        let Some(inside) = inside else {
            let above = format!("its group {path} is outside of what is mounted at {shown}");
            return Chain {
                levels: Vec::new(),
                above: Some(above),
            };
        };
        let real = self
            .root
            .join(mount.at.strip_prefix("/").unwrap_or(&mount.at));
        let mut chain = Chain::open(&real, &shown, inside);
        if chain.above.is_none() && !is_root(mount, chain.levels.last()) {
            let above = format!("what is above {shown} cannot be seen from here");
            chain.above = Some(above);
        }
        chain
    }
}

/// The root of the machine's tree has a file that no other group has (version 1), or lacks one that all others have.
fn is_root(mount: &Mount, top: Option<&Level>) -> bool {
    let has = |file: &str| {
        let text = top.map(|level| level.text(file));
        matches!(text, Some(Ok(Some(_)) | Err(_)))
    };
    mount.root == "/"
        && match mount.v1 {
            Some(_) => has("release_agent"),
            None => !has("cgroup.events"),
        }
}

fn bytes(limit: Effective<u64>) -> Effective<Bytes> {
    map(limit, Bytes)
}

fn map<A, B>(limit: Effective<A>, make: impl Fn(A) -> B) -> Effective<B> {
    match limit {
        Effective::Held(held) => Effective::Held(Held {
            value: make(held.value),
            by: held.by,
            shared: held.shared,
            unread: held.unread,
        }),
        Effective::Unlimited => Effective::Unlimited,
        Effective::Elsewhere { who } => Effective::Elsewhere { who },
        Effective::Unknown { why } => Effective::Unknown { why },
    }
}

impl Tree {
    /// The group itself, unless it is the root, whose counts are those of the whole machine.
    fn own(&self) -> Option<&Level> {
        self.chain
            .levels
            .first()
            .filter(|_| self.chain.levels.len() > 1)
    }

    fn limit(&self, v2: &'static str, v1: &'static str) -> Effective<u64> {
        let file = if self.v2 { v2 } else { v1 };
        self.chain.tightest(|level| self.at(level, file))
    }

    /// The limit of one level. A group of version 1 that is not hierarchical holds nothing below it to its limit.
    fn at(&self, level: &Level, file: &'static str) -> io::Result<Option<(u64, &'static str)>> {
        let own = self
            .chain
            .levels
            .first()
            .is_some_and(|l| l.path == level.path);
        let flat = !self.v2 && !own && level.number("memory.use_hierarchy") == Some(0);
        if flat && file.starts_with("memory.") {
            return Ok(None);
        }
        level.limit(file)
    }

    /// Swap on top of memory. Version 1 limits both together.
    fn swap(&self, memory: &Effective<Bytes>) -> Effective<Bytes> {
        if self.v2 {
            return bytes(self.limit("memory.swap.max", ""));
        }
        let together = self.limit("", "memory.memsw.limit_in_bytes");
        let memory = memory.as_held().map_or(0, |h| h.value.0);
        map(together, |both| Bytes(both.saturating_sub(memory)))
    }

    fn quota(&self) -> Effective<MilliCpu> {
        let quota = self.chain.tightest(|level| match self.v2 {
            true => max_of(level),
            false => cfs_of(level),
        });
        map(quota, MilliCpu)
    }

    fn out_of_memory(&self, subject: &mut Subject) {
        let Some(own) = self.chain.levels.first() else {
            return;
        };
        if self.v2 {
            subject.oom_kills = own.field("memory.events", "oom_kill");
            let whole = self
                .chain
                .levels
                .iter()
                .filter_map(|l| l.number("memory.oom.group"));
            subject.oom_whole = whole.reduce(u64::max).map(|n| n > 0);
        } else {
            subject.oom_kills = own.field("memory.oom_control", "oom_kill");
            let off = own.field("memory.oom_control", "oom_kill_disable");
            subject.oom_killer_off = off.map(|n| n > 0);
        }
        let holder = subject.memory.as_held().and_then(|held| {
            self.chain.levels.iter().find(|l| {
                let rest = held.by.strip_prefix(&l.path);
                rest.is_some_and(|r| r.rfind('/') == Some(0))
            })
        });
        let (now, idle) = match self.v2 {
            true => ("memory.current", "inactive_file"),
            false => ("memory.usage_in_bytes", "total_inactive_file"),
        };
        subject.used = holder.and_then(|level| {
            let idle = level.field("memory.stat", idle).unwrap_or(0);
            Some(Bytes(level.number(now)?.saturating_sub(idle)))
        });
    }
}

/// `max 100000`, `200000 100000`
fn max_of(level: &Level) -> io::Result<Option<(u64, &'static str)>> {
    let Some(text) = level.text("cpu.max")? else {
        return Ok(None);
    };
    let mut parts = text.split_whitespace();
    let (quota, period) = (
        parts.next(),
        parts.next().and_then(|p| p.parse::<u64>().ok()),
    );
    match (quota, quota.and_then(|q| q.parse::<u64>().ok()), period) {
        (Some("max"), _, _) => Ok(None),
        (_, Some(quota), Some(period)) if period > 0 => {
            Ok(Some((quota.saturating_mul(1000) / period, "cpu.max")))
        }
        _ => Err(io::Error::other(format!("cpu.max says `{}`", text.trim()))),
    }
}

fn cfs_of(level: &Level) -> io::Result<Option<(u64, &'static str)>> {
    let Some(text) = level.text("cpu.cfs_quota_us")? else {
        return Ok(None);
    };
    if text.trim().starts_with('-') {
        return Ok(None);
    }
    let period = level.number("cpu.cfs_period_us").filter(|p| *p > 0);
    match (text.trim().parse::<u64>().ok(), period) {
        (Some(quota), Some(period)) => Ok(Some((
            quota.saturating_mul(1000) / period,
            "cpu.cfs_quota_us",
        ))),
        _ => Err(io::Error::other(format!(
            "cpu.cfs_quota_us says `{}`",
            text.trim()
        ))),
    }
}
