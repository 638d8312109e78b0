//! Processes that were there before: taken into a group of ours, and given back.
//!
//! A group is entered by number alone; the kernel has no other way. Hence each process is known by number and start time,
//! its own directory in `/proc` is open while it is moved, and is read again after that: if it still answers, the number
//! was its own all the time. If it does not, the number may be another's, and whoever has it now and was moved with it is
//! put where its parent is, which is where it came to be a moment before.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::group::Group;
use crate::layout::{Controller, Layout};
use crate::proc::{ProcId, Process, Procfs};
use crate::run::Owner;
use crate::tree::{Root, Tree};

/// Who forks while its family is moved is met in the next round.
const ROUNDS: usize = 50;
/// A parent's parent, and so on, is looked for so far.
const GENERATIONS: usize = 64;

/// Where a process is in each tree of groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Places {
    v1: BTreeMap<Controller, PathBuf>,
    v2: Option<PathBuf>,
}

/// Where attached processes were before.
#[derive(Debug)]
pub struct Origins {
    procfs: Procfs,
    mounts: String,
    first: ProcId,
    of: BTreeMap<ProcId, Places>,
}

impl Origins {
    /// Nobody has been moved yet.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn new(first: ProcId) -> io::Result<Origins> {
        Ok(Origins {
            procfs: Procfs::open()?,
            mounts: fs::read_to_string("/proc/self/mountinfo")?,
            first,
            of: BTreeMap::new(),
        })
    }

    /// Moves the first process and all that descend from it into the group, until none of them is outside.
    ///
    /// # Errors
    /// The kernel refused to move one, or they fork faster than they can be moved. Those that were moved stay in the group.
    pub fn take_in(&mut self, group: &Group) -> io::Result<usize> {
        let mut tree = Tree::new(Root::Of(self.first))?;
        let mut moved: BTreeSet<ProcId> = BTreeSet::new();
        for _ in 0..ROUNDS {
            let all = tree.processes();
            let outside: Vec<&Process> = all.iter().filter(|p| !moved.contains(&p.id())).collect();
            if outside.is_empty() {
                return Ok(moved.len());
            }
            for process in outside {
                // One that was born inside is there already.
                if !group.is_member(process.id().pid) {
                    self.must_be_free(process, group)?;
                    self.move_in(process, group)?;
                }
                moved.insert(process.id());
            }
            // Who is remembered is found again, also when its parent has ended.
            tree.sum(&[]);
        }
        Err(io::Error::other(
            "it starts processes faster than they can be moved",
        ))
    }

    /// Two that hold one process would each undo what the other does.
    fn must_be_free(&self, process: &Process, group: &Group) -> io::Result<()> {
        let Ok(text) = process.text("cgroup") else {
            // It has ended.
            return Ok(());
        };
        // What holds us as well holds it on: our group is below.
        let ours = self.procfs.process(std::process::id());
        let ours = ours.and_then(|p| p.text("cgroup")).unwrap_or_default();
        let Some((other, owner)) = held(&text).find(|(name, owner)| {
            *name != group.name()
                && !held(&ours).any(|(around, _)| around == *name)
                && owner.lives(&self.procfs)
        }) else {
            return Ok(());
        };
        Err(io::Error::other(format!(
            "process {} is held by another curb already: process {}, which made the group {other}; end that one first",
            process.id().pid,
            owner.pid()
        )))
    }

    fn move_in(&mut self, process: &Process, group: &Group) -> io::Result<()> {
        let Ok(text) = process.text("cgroup") else {
            // It has ended.
            return Ok(());
        };
        let places = places(&self.mounts, &text);
        self.of.insert(process.id(), places);
        enter(&self.procfs, process, &group.doors(), |other| {
            self.put_where_its_parent_is(other, group);
        })
    }

    fn put_where_its_parent_is(&self, other: &Process, group: &Group) {
        let parent = other.stat().and_then(|s| self.procfs.process(s.parent));
        let Ok(text) = parent.and_then(|p| p.text("cgroup")) else {
            return;
        };
        let back = doors(&places(&self.mounts, &text), group);
        let _it_may_have_ended = enter(&self.procfs, other, &back, |_| {});
    }

    /// Moves all that is in the group back to where it was; who was born in it, to where its parent was.
    pub fn give_back(&self, group: &Group) {
        for _ in 0..ROUNDS {
            let members = group.members();
            if members.is_empty() {
                return;
            }
            for process in members
                .into_iter()
                .filter_map(|pid| self.procfs.process(pid).ok())
            {
                let back = doors(self.origin(&process), group);
                let _it_may_have_ended = enter(&self.procfs, &process, &back, |_| {});
            }
        }
    }

    /// Where it was, or the nearest of its parents that was moved, or the first of all.
    fn origin(&self, process: &Process) -> &Places {
        static NOWHERE: Places = Places {
            v1: BTreeMap::new(),
            v2: None,
        };
        let mut id = process.id();
        let mut parent = process.stat().map(|s| s.parent);
        for _ in 0..GENERATIONS {
            if let Some(places) = self.of.get(&id) {
                return places;
            }
            let Ok(next) = parent.and_then(|pid| self.procfs.process(pid)) else {
                break;
            };
            id = next.id();
            parent = next.stat().map(|s| s.parent);
        }
        self.of.get(&self.first).unwrap_or(&NOWHERE)
    }
}

/// The groups of `curb run` that the text of a process's `cgroup` names, and who made them.
fn held(text: &str) -> impl Iterator<Item = (&str, Owner)> {
    let names = text.lines().flat_map(|line| line.split('/'));
    names.filter_map(|name| Some((name, Owner::of_group(name)?)))
}

/// Where a process is, by the text of its `cgroup`, as this process sees the trees.
fn places(mounts: &str, text: &str) -> Places {
    let layout = Layout::parse(mounts, text);
    Places {
        v1: layout.v1,
        v2: layout.v2.map(|u| u.dir),
    }
}

/// The doors back out of a group's directories: only of trees in which it has one.
fn doors(back: &Places, group: &Group) -> Vec<PathBuf> {
    let all = back.v1.values().chain(&back.v2);
    let ours = group.doors();
    let same_tree = |dir: &&PathBuf| ours.iter().any(|door| tree_of(door) == tree_of(dir));
    let unique: BTreeSet<PathBuf> = all
        .filter(same_tree)
        .map(|d| d.join("cgroup.procs"))
        .collect();
    unique.into_iter().collect()
}

/// Moves one process, with all its threads, into a group, and no other; whether it was the one that was meant.
///
/// # Errors
/// The kernel refused. It is as it was, or in some of the group's trees only.
pub fn take_one(process: &Process, group: &Group) -> io::Result<bool> {
    Origins::new(process.id())?.move_in(process, group)?;
    Ok(process.stat().is_ok())
}

/// Which tree a directory or file is in: all of one tree are on one file system.
fn tree_of(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|m| m.dev())
}

/// Moves one process, and makes sure that it was that one: `undo` is for another that has its number since.
fn enter(
    procfs: &Procfs,
    process: &Process,
    doors: &[PathBuf],
    undo: impl Fn(&Process),
) -> io::Result<()> {
    if process.stat().is_err() {
        return Ok(());
    }
    for door in doors {
        let written = fs::write(door, process.id().pid.to_string());
        if process.stat().is_err() {
            // It has ended, and the number may be another's since.
            if let Ok(other) = procfs.process(process.id().pid) {
                undo(&other);
            }
            return Ok(());
        }
        written.map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", door.display())))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process that waits; ended when it is dropped.
    struct Sleeper(Child);

    impl Sleeper {
        fn start() -> Sleeper {
            let child = Command::new("sleep")
                .arg("600")
                .stdin(Stdio::null())
                .spawn();
            Sleeper(child.expect("sleep(1)"))
        }

        fn end(&mut self) {
            let _it_may_have_ended = self.0.kill();
            let _it_has_ended = self.0.wait();
        }

        /// One that has this number: the kernel is told which it gave last, and others on this machine may come first.
        fn with_number(pid: u32) -> Sleeper {
            for _ in 0..1000 {
                fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string())
                    .expect("the right to choose the next number: root in this name space");
                let sleeper = Sleeper::start();
                if sleeper.0.id() == pid {
                    return sleeper;
                }
            }
            panic!("others were always first to get the number {pid}");
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            self.end();
        }
    }

    fn groups(pid: u32) -> String {
        fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it lives")
    }

    #[test]
    fn who_got_the_number_of_one_that_ended_is_neither_moved_nor_signalled() {
        let procfs = Procfs::open().expect("/proc");
        let mut first = Sleeper::start();
        let pid = first.0.id();
        let known = procfs.process(pid).expect("it lives");
        let handle = known.handle().expect("it lives");
        first.end();
        // Start times are told in hundredths of a second: only what is held open tells two apart within one.
        std::thread::sleep(std::time::Duration::from_millis(30));
        let other = Sleeper::with_number(pid);
        let (before, dir) = (groups(pid), tempfile::tempdir().expect("a directory"));
        let door = dir.path().join("door");
        enter(&procfs, &known, std::slice::from_ref(&door), |_| {
            panic!("nobody was moved")
        })
        .expect("nothing to do");
        assert!(!door.exists(), "its number was not written");
        assert!(handle.signal(rustix::process::Signal::KILL).is_err());
        assert!(procfs.same(known.id()).is_err());
        assert_eq!(groups(pid), before);
        drop(other);
    }

    #[test]
    fn who_gets_the_number_while_it_is_written_is_found_and_put_back() {
        let procfs = Procfs::open().expect("/proc");
        let mut first = Sleeper::start();
        let pid = first.0.id();
        let known = procfs.process(pid).expect("it lives");
        let dir = tempfile::tempdir().expect("a directory");
        let door = dir.path().join("door");
        // Writing waits here until somebody reads: the moment between the look before and the one after.
        let made = Command::new("mkfifo").arg(&door).status();
        assert!(made.expect("mkfifo(1)").success());
        let undone = RefCell::new(None);
        let other = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                // It has been looked at by then, and the writing waits.
                std::thread::sleep(std::time::Duration::from_millis(500));
                first.end();
                let other = Sleeper::with_number(pid);
                let text = fs::read_to_string(&door).expect("read");
                assert_eq!(text, pid.to_string());
                other
            });
            enter(&procfs, &known, std::slice::from_ref(&door), |other| {
                *undone.borrow_mut() = Some(other.id());
            })
            .expect("done");
            reader.join().expect("read")
        });
        let now = procfs.process(other.0.id()).expect("it lives").id();
        assert_eq!(now.pid, pid);
        assert_ne!(now, known.id());
        assert_eq!(
            undone.into_inner(),
            Some(now),
            "the one that has the number now"
        );
    }
}
