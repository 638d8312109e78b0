//! The limits of a group as the kernel has them: to be compared, and to be put back.

use std::fs;
use std::path::PathBuf;

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

use super::Group;
use super::files::write;
use crate::layout::Controller;

/// Files with limits, in each version. Nothing else of a group is a choice of ours.
const V1: [(Controller, &[&str]); 4] = [
    (
        Controller::Memory,
        &["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"],
    ),
    (Controller::Cpu, &["cpu.cfs_quota_us", "cpu.shares"]),
    (Controller::Cpuset, &["cpuset.cpus"]),
    (Controller::Pids, &["pids.max"]),
];
const V2: [(Controller, &[&str]); 4] = [
    (
        Controller::Memory,
        &["memory.max", "memory.high", "memory.swap.max"],
    ),
    (Controller::Cpu, &["cpu.max", "cpu.weight"]),
    (Controller::Cpuset, &["cpuset.cpus"]),
    (Controller::Pids, &["pids.max"]),
];

/// What was in the files of a group's limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved(Vec<(PathBuf, String)>);

impl Group {
    /// Its limits as the kernel has them now. Files that are not there are not in it.
    #[must_use]
    pub fn save(&self) -> Saved {
        let mut all = Vec::new();
        for (files, v2) in [(&V1, false), (&V2, true)] {
            for (controller, names) in files {
                let Some(place) = self.place(*controller).filter(|p| p.v2 == v2) else {
                    continue;
                };
                let paths = names.iter().map(|name| place.dir.join(name));
                all.extend(paths.filter_map(|path| {
                    let text = fs::read_to_string(&path).ok()?.trim().to_owned();
                    Some((path, text))
                }));
            }
        }
        Saved(all)
    }

    /// A file of its limits that this process may not write, if there is one.
    #[must_use]
    pub fn not_ours(&self) -> Option<PathBuf> {
        let Saved(all) = self.save();
        let denied = |path: &PathBuf| {
            let may = accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS);
            may == Err(Errno::ACCESS)
        };
        all.into_iter().map(|(path, _)| path).find(denied)
    }

    /// Writes limits back as they were; gives what of it the kernel refused.
    #[must_use]
    pub fn put_back(&self, saved: &Saved) -> Vec<String> {
        // Memory alone and memory with swap bound one another: which may be written first depends on the direction.
        for _ in 0..2 {
            for (path, old, _) in saved.files_that_differ(&self.save()) {
                let _again_in_the_next_round = write(&path, old);
            }
        }
        let left = saved.files_that_differ(&self.save()).into_iter();
        left.map(|(path, old, now)| format!("{}: is {now}, was {old}", path.display()))
            .collect()
    }
}

impl Saved {
    fn files_that_differ(&self, now: &Saved) -> Vec<(PathBuf, String, String)> {
        let each = self.0.iter().filter_map(|(path, old)| {
            let (_, new) = now.0.iter().find(|(p, _)| p == path)?;
            (old != new).then(|| (path.clone(), old.clone(), new.clone()))
        });
        each.collect()
    }

    /// What is different later: the file's name, what was in it, what is in it.
    #[must_use]
    pub fn differences(&self, later: &Saved) -> Vec<(String, String, String)> {
        let each = self.files_that_differ(later).into_iter();
        each.map(|(path, old, new)| {
            let name = path.file_name().unwrap_or_default();
            (name.to_string_lossy().into_owned(), old, new)
        })
        .collect()
    }
}
