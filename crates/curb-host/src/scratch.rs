//! Directories of our own among the temporary files, and those that a killed `curb` left there.
//!
//! The name has the number and start time of who made it (`curb-hook-PID-START-NAMESPACE-N`): one is left behind only if no
//! such process lives, in the same name space of processes as ours. Only this user's own directories are looked at, and a
//! link is none.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Names that are tried for a directory.
const TRIES: u32 = 100;

/// What a directory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The module that a Python program loads, and its socket.
    Hook,
    /// What a drill needs.
    Drill,
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Kind::Hook => "curb-hook-",
            Kind::Drill => "curb-drill-",
        }
    }
}

/// A directory that nobody else can look into. Dropping it removes it with all that is in it.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one below that of temporary files.
    ///
    /// # Errors
    /// Nothing can be written there.
    pub fn new(kind: Kind) -> io::Result<Scratch> {
        Scratch::new_in(kind, &std::env::temp_dir())
    }

    /// The same, below another directory.
    ///
    /// # Errors
    /// Nothing can be written there.
    pub fn new_in(kind: Kind, parent: &Path) -> io::Result<Scratch> {
        let owner = owner()?;
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        for n in 0..TRIES {
            let dir = parent.join(format!("{}{owner}-{n}", kind.prefix()));
            match DirBuilder::new().mode(0o700).create(&dir) {
                Ok(()) => return Ok(Scratch(dir)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _nobody_needs_it = fs::remove_dir_all(&self.0);
    }
}

#[cfg(target_os = "linux")]
fn owner() -> io::Result<crate::run::Owner> {
    crate::run::Owner::this()
}

/// Nothing is swept where start times are not to be had.
#[cfg(not(target_os = "linux"))]
fn owner() -> io::Result<u32> {
    Ok(std::process::id())
}

#[cfg(target_os = "linux")]
pub(crate) use sweep::sweep;

#[cfg(target_os = "linux")]
mod sweep {
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use super::Kind;
    use crate::proc::Procfs;
    use crate::run::Owner;

    /// So many names are looked at: a start waits for it.
    const LOOKED_AT: usize = 10_000;
    /// No more are removed at a time.
    const MOST: usize = 16;

    /// Removes what killed ones left among the temporary files. What cannot be removed stays: it harms nobody.
    pub(crate) fn sweep() {
        sweep_in(&std::env::temp_dir());
    }

    /// The same below another directory.
    pub(super) fn sweep_in(parent: &Path) {
        let Ok(procfs) = Procfs::open() else { return };
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        let left = entries
            .take(LOOKED_AT)
            .filter(|e| is_left(&procfs, &e.file_name().to_string_lossy()));
        for entry in left.take(MOST) {
            let user = rustix::process::geteuid().as_raw();
            // Of the name itself, and not of what a link leads to.
            let ours =
                fs::symlink_metadata(entry.path()).is_ok_and(|m| m.is_dir() && m.uid() == user);
            if ours {
                let _it_harms_nobody = fs::remove_dir_all(entry.path());
            }
        }
    }

    fn is_left(procfs: &Procfs, name: &str) -> bool {
        let kinds = [Kind::Hook, Kind::Drill];
        let rest = kinds.iter().find_map(|k| name.strip_prefix(k.prefix()));
        // Nothing but the owner and its counter: another's longer name is another's.
        let exact = rest.is_some_and(|rest| rest.split('-').count() == 4);
        exact && Owner::of(name).is_some_and(|o| o.is_dead(procfs))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::run::Owner;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("there").flatten();
        let mut all: Vec<String> = entries
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        all.sort();
        all
    }

    #[test]
    fn only_what_a_dead_curb_left_is_removed() {
        let parent = tempfile::tempdir().expect("a directory");
        let dir = |name: &str| {
            fs::create_dir_all(parent.path().join(name).join("deep")).expect("made");
        };
        let mine = Scratch::new_in(Kind::Hook, parent.path()).expect("made");
        let second = Scratch::new_in(Kind::Drill, parent.path()).expect("made");
        let me = Owner::this().expect("/proc").to_string();
        let words: Vec<&str> = me.split('-').collect();
        let [pid, start, space] = words[..] else {
            panic!("{me}")
        };
        // This number, and another start: the process that had it is dead.
        let dead = format!("{pid}-{}-{space}", start.parse::<u64>().expect("ticks") + 1);
        dir(&format!("curb-hook-{dead}-0"));
        dir(&format!("curb-drill-{dead}-7"));
        let others = [
            format!("curb-hook-{pid}-{start}-1-0"),
            format!("curb-hook-{dead}-0-more"),
            format!("curb-hook-x-{dead}-0"),
            format!("curb-other-{dead}-0"),
            "curb-hook-1-0".to_owned(),
            "somebody's".to_owned(),
        ];
        others.iter().for_each(|name| dir(name));
        // A link of that name leads to what is not ours to remove.
        let kept = parent.path().join("somebody's");
        let link = format!("curb-hook-{dead}-1");
        std::os::unix::fs::symlink(&kept, parent.path().join(&link)).expect("made");
        fs::write(parent.path().join(format!("curb-hook-{dead}-2")), "a file").expect("written");
        sweep::sweep_in(parent.path());
        let mut expected = others.to_vec();
        expected.extend([link, format!("curb-hook-{dead}-2")]);
        for own in [&mine, &second] {
            let name = own.path().file_name().expect("a name");
            expected.push(name.to_string_lossy().into_owned());
        }
        expected.sort();
        assert_eq!(names(parent.path()), expected);
        assert!(kept.join("deep").exists());
        drop((mine, second));
        assert_eq!(names(parent.path()).len(), expected.len() - 2);
    }
}
