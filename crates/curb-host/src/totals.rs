//! What a group holds and has used, read again and again: its files stay open, and one buffer serves all of them.
//!
//! Any user may read these files: who watches needs no privilege. A file that is not there is a value that is not known.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::group::{Counts, stalled_of, stat_of};
use crate::layout::{Controller, Layout};
use crate::limits::Bytes;

/// Longer than any file that is read here.
const LONGEST: usize = 8 << 10;

/// The open files of one group.
#[derive(Debug)]
pub struct Totals {
    memory: Option<OwnedFd>,
    peak: Option<OwnedFd>,
    limit: Option<OwnedFd>,
    hits: Option<OwnedFd>,
    kills: Option<OwnedFd>,
    cpu: Option<OwnedFd>,
    cpu_stat: Option<OwnedFd>,
    tasks: Option<OwnedFd>,
    refusals: Option<OwnedFd>,
    stat: Option<OwnedFd>,
    pressure: Option<OwnedFd>,
    v2_memory: bool,
    v2_cpu: bool,
}

impl Totals {
    /// Opens the files of a group that is there.
    ///
    /// # Errors
    /// There is no such group.
    pub fn open(layout: &Layout, name: &str) -> io::Result<Totals> {
        let v1 = |c: Controller| layout.v1.get(&c).map(|dir| dir.join(name));
        let unified = layout.v2.as_ref().map(|u| u.dir.join(name));
        let memory_v1 = v1(Controller::Memory).filter(|d| d.is_dir());
        let in_v2 = |file: &str| unified.as_deref().and_then(|dir| open(dir, file));
        let in_v1 = |c: Controller, file: &str| v1(c).and_then(|dir| open(&dir, file));
        let v2_memory = memory_v1.is_none();
        let memory = |old: &str, new: &str| match v2_memory {
            true => in_v2(new),
            false => in_v1(Controller::Memory, old),
        };
        let cpu_v2 = in_v2("cpu.stat");
        let v2_cpu = cpu_v2.is_some();
        let totals = Totals {
            memory: memory("memory.usage_in_bytes", "memory.current"),
            peak: memory("memory.max_usage_in_bytes", "memory.peak"),
            limit: memory("memory.limit_in_bytes", "memory.max"),
            hits: memory("memory.failcnt", "memory.events"),
            kills: memory("memory.oom_control", "memory.events"),
            stat: memory("memory.stat", "memory.stat"),
            pressure: in_v2("memory.pressure").filter(|_| v2_memory),
            cpu: cpu_v2.or_else(|| in_v1(Controller::Cpuacct, "cpuacct.usage")),
            cpu_stat: in_v1(Controller::Cpu, "cpu.stat").or_else(|| in_v2("cpu.stat")),
            tasks: in_v1(Controller::Pids, "pids.current").or_else(|| in_v2("pids.current")),
            refusals: in_v1(Controller::Pids, "pids.events").or_else(|| in_v2("pids.events")),
            v2_memory,
            v2_cpu,
        };
        let any = totals.memory.is_some() || totals.cpu.is_some() || totals.tasks.is_some();
        match any {
            true => Ok(totals),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// One look.
    #[must_use]
    pub fn read(&self) -> Counts {
        let mut buffer = [0_u8; LONGEST];
        let mut number = |fd: &Option<OwnedFd>| number(text(fd, &mut buffer)?);
        let memory = number(&self.memory);
        let peak = number(&self.peak);
        let limit = number(&self.limit);
        let tasks = number(&self.tasks);
        let hits_v1 = if self.v2_memory {
            None
        } else {
            number(&self.hits)
        };
        let cpu_v1 = if self.v2_cpu { None } else { number(&self.cpu) };
        let mut field = |fd: &Option<OwnedFd>, name: &str| field(text(fd, &mut buffer)?, name);
        Counts {
            memory: memory.map(Bytes),
            memory_peak: peak.map(Bytes),
            // Version 1 says "no limit" by the largest number of whole pages.
            memory_limit: limit.filter(|l| *l < (1 << 62)).map(Bytes),
            memory_hits: match self.v2_memory {
                true => field(&self.hits, "max"),
                false => hits_v1,
            },
            oom_kills: field(&self.kills, "oom_kill"),
            cpu_micros: match self.v2_cpu {
                true => field(&self.cpu, "usage_usec"),
                false => cpu_v1.map(|nanos| nanos / 1000),
            },
            throttled: field(&self.cpu_stat, "nr_throttled"),
            tasks,
            fork_refusals: field(&self.refusals, "max"),
            high_hits: match self.v2_memory {
                true => field(&self.hits, "high"),
                false => None,
            },
            waits_for_memory: match self.v2_memory {
                true => None,
                false => field(&self.kills, "under_oom").map(|n| n != 0),
            },
            ..Counts::default()
        }
    }

    /// Adds what there is of page cache, and what is read back of it. Dearer than the rest.
    pub fn add_cache(&self, counts: &mut Counts) {
        let mut buffer = [0_u8; LONGEST];
        if let Some(text) = text(&self.stat, &mut buffer) {
            stat_of(text, self.v2_memory, counts);
        }
        counts.stalled_micros = text(&self.pressure, &mut buffer).and_then(stalled_of);
    }
}

fn open(dir: &Path, file: &str) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(dir.join(file), flags, Mode::empty()).ok()
}

fn text<'a>(fd: &Option<OwnedFd>, buffer: &'a mut [u8]) -> Option<&'a str> {
    let length = rustix::io::pread(fd.as_ref()?, &mut *buffer, 0).ok()?;
    std::str::from_utf8(&buffer[..length]).ok()
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(n, _)| *n == name)?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Unified;
    use std::fs;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        }
        root
    }

    #[test]
    fn a_group_of_version_2_is_read_from_one_tree() {
        let root = tree(&[
            ("g/memory.current", "1048576\n"),
            ("g/memory.peak", "2097152\n"),
            ("g/memory.max", "max\n"),
            (
                "g/memory.events",
                "low 0\nhigh 3\nmax 7\noom 1\noom_kill 2\n",
            ),
            (
                "g/memory.stat",
                "anon 1\ninactive_file 4096\nworkingset_refault_file 7\n",
            ),
            ("g/memory.pressure", "full avg10=0.00 total=12\n"),
            (
                "g/cpu.stat",
                "usage_usec 123\nuser_usec 100\nnr_throttled 9\n",
            ),
            ("g/pids.current", "5\n"),
            ("g/pids.events", "max 1\n"),
        ]);
        let layout = Layout {
            v2: Some(Unified {
                dir: root.path().to_owned(),
                controllers: Vec::new(),
            }),
            ..Layout::default()
        };
        let totals = Totals::open(&layout, "g").expect("there");
        assert_eq!(
            totals.read(),
            Counts {
                memory: Some(Bytes(1 << 20)),
                memory_peak: Some(Bytes(2 << 20)),
                memory_limit: None,
                memory_hits: Some(7),
                oom_kills: Some(2),
                cpu_micros: Some(123),
                throttled: Some(9),
                tasks: Some(5),
                fork_refusals: Some(1),
                high_hits: Some(3),
                waits_for_memory: None,
                ..Counts::default()
            }
        );
        let mut near = Counts::default();
        totals.add_cache(&mut near);
        assert_eq!(near.memory_idle_cache, Some(Bytes(4096)));
        assert_eq!((near.refaults, near.stalled_micros), (Some(7), Some(12)));
    }

    #[test]
    fn a_group_of_version_1_is_read_from_several_and_what_is_not_there_is_not_known() {
        let root = tree(&[
            ("memory/g/memory.usage_in_bytes", "4096\n"),
            ("memory/g/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/g/memory.failcnt", "3\n"),
            (
                "memory/g/memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n",
            ),
            ("cpuacct/g/cpuacct.usage", "5000000\n"),
        ]);
        let mut layout = Layout::default();
        layout
            .v1
            .insert(Controller::Memory, root.path().join("memory"));
        layout
            .v1
            .insert(Controller::Cpuacct, root.path().join("cpuacct"));
        let counts = Totals::open(&layout, "g").expect("there").read();
        assert_eq!(counts.memory, Some(Bytes(4096)));
        assert_eq!(
            (counts.memory_limit, counts.memory_hits, counts.oom_kills),
            (None, Some(3), Some(4))
        );
        assert_eq!(counts.cpu_micros, Some(5000));
        assert_eq!(
            (counts.tasks, counts.memory_peak, counts.throttled),
            (None, None, None)
        );
        assert!(Totals::open(&layout, "other").is_err());
    }
}
