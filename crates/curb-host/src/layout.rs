//! Where control groups are mounted, and where this process stands in them.
//!
//! Read from `/proc/self/mountinfo` (proc(5)) and `/proc/self/cgroup` (cgroups(7)). A machine has version 2 alone, version
//! 1 alone, or both (hybrid: limits in version 1, and an empty version 2 tree beside them, which still freezes and kills).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// What the kernel can limit or do for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// Memory.
    Memory,
    /// CPU time.
    Cpu,
    /// Processes and threads.
    Pids,
    /// Stopping all at once (version 1; version 2 can always).
    Freezer,
    /// On which CPUs.
    Cpuset,
    /// Reading from and writing to disks.
    Io,
    /// Counting CPU time (version 1; version 2 always does).
    Cpuacct,
}

impl Controller {
    /// All of them.
    pub const ALL: [Controller; 7] = [
        Controller::Memory,
        Controller::Cpu,
        Controller::Pids,
        Controller::Freezer,
        Controller::Cpuset,
        Controller::Io,
        Controller::Cpuacct,
    ];

    /// The kernel's name, in version 1.
    #[must_use]
    pub fn name_v1(self) -> &'static str {
        match self {
            Controller::Io => "blkio",
            other => other.name(),
        }
    }

    /// The kernel's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Cpu => "cpu",
            Controller::Pids => "pids",
            Controller::Freezer => "freezer",
            Controller::Cpuset => "cpuset",
            Controller::Io => "io",
            Controller::Cpuacct => "cpuacct",
        }
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where this process stands in each tree of groups. Directories are as this process sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Controllers of version 1, with our own directory in each tree.
    pub v1: BTreeMap<Controller, PathBuf>,
    /// The version 2 tree, if there is one.
    pub v2: Option<Unified>,
}

/// Our place in the version 2 tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unified {
    /// Our own directory.
    pub dir: PathBuf,
    /// Controllers that may be had below it (`cgroup.controllers`).
    pub controllers: Vec<Controller>,
}

/// A mount of a tree of groups.
pub(crate) struct Mount {
    /// Which part of the tree is mounted.
    pub(crate) root: String,
    pub(crate) at: PathBuf,
    /// Version 1 controllers; `None` for version 2.
    pub(crate) v1: Option<Vec<String>>,
}

impl Layout {
    /// Reads the layout of this process, below `root` (which is `/` but in tests).
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn read(root: &Path) -> std::io::Result<Layout> {
        let mounts = std::fs::read_to_string(root.join("proc/self/mountinfo"))?;
        let own = std::fs::read_to_string(root.join("proc/self/cgroup"))?;
        let mut layout = Layout::parse(&mounts, &own);
        if root == Path::new("/") {
            layout.v1.retain(|_, dir| !is_of_another_kind(dir));
            layout.v2 = layout.v2.filter(|u| !is_of_another_kind(&u.dir));
        }
        for dir in layout.v1.values_mut() {
            *dir = below(root, dir);
        }
        if let Some(unified) = &mut layout.v2 {
            unified.dir = below(root, &unified.dir);
            let text = std::fs::read_to_string(unified.dir.join("cgroup.controllers"));
            unified.controllers = controllers(&text.unwrap_or_default());
        }
        Ok(layout)
    }

    /// From the texts of `mountinfo` and `cgroup`; the controllers of version 2 are not in them.
    #[must_use]
    pub fn parse(mountinfo: &str, cgroup: &str) -> Layout {
        let mounts: Vec<Mount> = mountinfo.lines().filter_map(mount).collect();
        let mut layout = Layout::default();
        for line in cgroup.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(names), Some(path)) = (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            if names.is_empty() {
                let mount = mounts.iter().find(|m| m.v1.is_none());
                layout.v2 = mount.map(|m| Unified {
                    dir: own_directory(m, path),
                    controllers: Vec::new(),
                });
                continue;
            }
            for controller in Controller::ALL {
                if !names.split(',').any(|n| n == controller.name_v1()) {
                    continue;
                }
                let has = |m: &&Mount| {
                    m.v1.as_ref()
                        .is_some_and(|all| all.iter().any(|n| n == controller.name_v1()))
                };
                if let Some(mount) = mounts.iter().find(has) {
                    layout.v1.insert(controller, own_directory(mount, path));
                }
            }
        }
        layout
    }
}

/// One line: `36 35 98:0 /root /mount/point options... - type source options`.
pub(crate) fn mount(line: &str) -> Option<Mount> {
    let (head, tail) = line.split_once(" - ")?;
    let mut head = head.split(' ').skip(3);
    let (root, at) = (unescape(head.next()?), unescape(head.next()?));
    let mut tail = tail.split(' ');
    let v1 = match tail.next()? {
        "cgroup2" => None,
        "cgroup" => Some(tail.nth(1)?.split(',').map(str::to_owned).collect()),
        _ => return None,
    };
    Some(Mount {
        root,
        at: PathBuf::from(at),
        v1,
    })
}

/// Spaces and the like are written as three octal digits (proc(5)).
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        let octal = rest
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|d| std::str::from_utf8(d).ok())
            .and_then(|d| u8::from_str_radix(d, 8).ok());
        match octal {
            Some(byte) => {
                out.push(byte);
                bytes = &rest[3..];
            }
            None => {
                out.push(*first);
                bytes = rest;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Our directory below a mount. Where the kernel names a place outside of what is mounted (a container that sees only its
/// own part), the mount's own root is the nearest that we can reach.
fn own_directory(mount: &Mount, path: &str) -> PathBuf {
    let inside = match mount.root.as_str() {
        "/" => Some(path),
        root => path
            .strip_prefix(root)
            .filter(|rest| rest.is_empty() || rest.starts_with('/')),
    };
    let inside = inside.unwrap_or("/").trim_start_matches('/');
    if inside.split('/').any(|part| part == "..") {
        return mount.at.clone();
    }
    match inside {
        "" => mount.at.clone(),
        inside => mount.at.join(inside),
    }
}

fn controllers(text: &str) -> Vec<Controller> {
    let names: Vec<&str> = text.split_whitespace().collect();
    Controller::ALL
        .into_iter()
        .filter(|c| names.contains(&c.name()))
        .collect()
}

/// Whether something else was mounted over a tree of groups: files in it that look like the kernel's say what their owner
/// likes, such as who is a member and is to be ended. What cannot be asked is met, and told, when it is used.
fn is_of_another_kind(dir: &Path) -> bool {
    // linux/magic.h: CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC
    const KINDS: [u64; 2] = [0x0027_e0eb, 0x6367_7270];
    let kind = rustix::fs::statfs(dir).map(|s| u64::try_from(s.f_type));
    matches!(kind, Ok(kind) if !kind.is_ok_and(|k| KINDS.contains(&k)))
}

fn below(root: &Path, dir: &Path) -> PathBuf {
    root.join(dir.strip_prefix("/").unwrap_or(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "\
26 24 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
27 26 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
28 26 0:24 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory
29 26 0:25 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
32 26 0:29 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio
30 26 0:26 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
";

    #[test]
    fn each_tree_of_version_1_has_a_place_of_its_own() {
        let own = "12:memory:/user/ana\n11:pids:/\n9:blkio:/disk\n3:cpu,cpuacct:/batch\n1:name=systemd:/x\n";
        let layout = Layout::parse(V1, own);
        let at = |c| layout.v1.get(&c).and_then(|p| p.to_str());
        assert_eq!(
            at(Controller::Memory),
            Some("/sys/fs/cgroup/memory/user/ana")
        );
        assert_eq!(
            at(Controller::Cpu),
            Some("/sys/fs/cgroup/cpu,cpuacct/batch")
        );
        assert_eq!(at(Controller::Pids), Some("/sys/fs/cgroup/pids"));
        assert_eq!(at(Controller::Io), Some("/sys/fs/cgroup/blkio/disk"));
        assert_eq!(at(Controller::Cpuacct), at(Controller::Cpu));
        assert_eq!(at(Controller::Freezer), None);
        assert_eq!(layout.v2, None);
    }

    #[test]
    fn version_2_is_one_tree_and_a_hybrid_has_both() {
        let v2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let layout = Layout::parse(v2, "0::/user.slice/session-1.scope\n");
        let dir = layout.v2.map(|u| u.dir);
        assert_eq!(
            dir,
            Some(PathBuf::from("/sys/fs/cgroup/user.slice/session-1.scope"))
        );
        let both = format!("{V1}31 26 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
        let layout = Layout::parse(&both, "12:memory:/a\n0::/\n");
        assert_eq!(layout.v1.len(), 1);
        let dir = layout.v2.map(|u| u.dir);
        assert_eq!(dir, Some(PathBuf::from("/sys/fs/cgroup/unified")));
    }

    #[test]
    fn a_container_that_sees_its_own_part_only_uses_what_it_sees() {
        let mounted = |root: &str| {
            format!("40 30 0:24 {root} /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n")
        };
        let memory = |root: &str, path: &str| {
            let own = format!("12:memory:{path}\n");
            let layout = Layout::parse(&mounted(root), &own);
            layout.v1[&Controller::Memory]
                .to_string_lossy()
                .into_owned()
        };
        let at = "/sys/fs/cgroup/memory";
        assert_eq!(memory("/docker/abc", "/docker/abc"), at);
        assert_eq!(memory("/docker/abc", "/docker/abc/x"), format!("{at}/x"));
        // Another's place, or one above the mount: nothing of it can be reached.
        assert_eq!(memory("/docker/abc", "/docker/abcdef"), at);
        assert_eq!(memory("/", "/../outside"), at);
    }

    #[test]
    fn lines_that_are_no_mounts_of_groups_and_odd_names_are_read_for_what_they_are() {
        let odd = "1 2 3\n\n5 4 0:9 / /with\\040space rw - cgroup2 none rw\n9 9 0:1 / /proc rw - proc proc rw\n";
        let layout = Layout::parse(odd, "0::/a\nnonsense\n7:memory\n");
        let dir = layout.v2.map(|u| u.dir);
        assert_eq!(dir, Some(PathBuf::from("/with space/a")));
        assert_eq!(layout.v1, BTreeMap::new());
    }

    #[test]
    fn what_the_tree_below_gives_is_read_from_it() {
        let root = tempfile::tempdir().expect("a directory");
        let make = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        make(
            "proc/self/mountinfo",
            "30 24 0:26 / /cg rw - cgroup2 cgroup2 rw\n",
        );
        make("proc/self/cgroup", "0::/job\n");
        make("cg/job/cgroup.controllers", "cpuset cpu io memory pids\n");
        let unified = Layout::read(root.path()).expect("read").v2.expect("one");
        assert_eq!(unified.dir, root.path().join("cg/job"));
        assert_eq!(
            unified.controllers,
            [
                Controller::Memory,
                Controller::Cpu,
                Controller::Pids,
                Controller::Cpuset,
                Controller::Io
            ]
        );
    }
}
