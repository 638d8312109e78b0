//! A control group and all above it, each level open.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use curb_core::host::audit::{Effective, Held};
use rustix::fs::{Mode, OFlags};

use crate::proc::{open_dir, read};

/// No tree is deeper than this.
const DEPTH: usize = 64;
/// Groups within a group are followed so deep when it is asked who else is in it.
const DEPTH_BELOW: usize = 6;
/// From here on a number of bytes means "none" in version 1 (a page below 2^63).
const NO_LIMIT: u64 = 1 << 62;

/// One group of the chain.
pub(super) struct Level {
    dir: OwnedFd,
    /// Its path as people know it.
    pub path: String,
}

/// The levels from the group itself up to the highest that can be seen.
pub(super) struct Chain {
    pub levels: Vec<Level>,
    /// Why there may be limits above that nobody sees from here.
    pub above: Option<String>,
}

impl Chain {
    /// Opens the group at `inside` below a tree's mount: `real` is where it is opened, `shown` how it is called.
    pub fn open(real: &Path, shown: &str, inside: &str) -> Chain {
        let mut chain = Chain {
            levels: Vec::new(),
            above: None,
        };
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let mut dir = match rustix::fs::open(real, flags, Mode::empty()) {
            Ok(dir) => dir,
            Err(error) => {
                chain.above = Some(format!("{shown}: {error}"));
                return chain;
            }
        };
        let mut path = shown.trim_end_matches('/').to_owned();
        for part in inside.split('/').filter(|p| !p.is_empty()).take(DEPTH) {
            let below = match part {
                // Outside of what is mounted here (another's name space).
                ".." | "." => Err(io::Error::other(
                    "its group is outside of what is seen from here",
                )),
                part => open_dir(dir.as_fd(), part),
            };
            let level = Level {
                dir,
                path: path.clone(),
            };
            chain.levels.insert(0, level);
            path = format!("{path}/{part}");
            dir = match below {
                Ok(below) => below,
                Err(error) => {
                    chain.above = Some(format!("{path}: {error}"));
                    return chain;
                }
            };
        }
        chain.levels.insert(0, Level { dir, path });
        chain
    }

    /// The tightest limit of all levels; each level's is what `limit` finds in it. `own` is how many groups at the lower
    /// end belong to the subject.
    pub fn tightest(
        &self,
        limit: impl Fn(&Level) -> io::Result<Option<(u64, &'static str)>>,
    ) -> Effective<u64> {
        let mut sum = match &self.above {
            Some(why) => Effective::unknown(why),
            None => Effective::Unlimited,
        };
        for (at, level) in self.levels.iter().enumerate() {
            let found = match limit(level) {
                Ok(Some((value, file))) => Effective::Held(Held {
                    shared: at > 0 && self.others_below(at),
                    ..Held::new(value, format!("{}/{file}", level.path))
                }),
                Ok(None) => Effective::Unlimited,
                Err(error) => Effective::unknown(format!("{}: {error}", level.path)),
            };
            // On a tie the nearer one is named.
            sum = match at {
                0 if matches!(found, Effective::Held(_)) => found.tighter(sum),
                _ => sum.tighter(found),
            };
        }
        sum
    }

    /// Whether a group of the chain has processes that are not in the chain's own group.
    fn others_below(&self, at: usize) -> bool {
        let own = self.levels.first().map(|l| l.dir.as_fd());
        let own_id = own
            .and_then(|fd| rustix::fs::fstat(fd).ok())
            .map(|s| s.st_ino);
        others(self.levels[at].dir.as_fd(), own_id, DEPTH_BELOW)
    }
}

fn others(dir: impl AsFd, own: Option<u64>, depth: usize) -> bool {
    if rustix::fs::fstat(&dir).ok().map(|s| s.st_ino) == own {
        return false;
    }
    let procs = read(&dir, "cgroup.procs").unwrap_or_default();
    if procs.iter().any(u8::is_ascii_digit) {
        return true;
    }
    let Ok(entries) = rustix::fs::Dir::read_from(&dir) else {
        return false;
    };
    depth > 0
        && entries.flatten().any(|entry| {
            let name = entry.file_name().to_str().unwrap_or(".");
            !name.starts_with('.')
                && open_dir(&dir, name).is_ok_and(|below| others(below, own, depth - 1))
        })
}

impl Level {
    /// The text of a file; `None` where there is no such file.
    pub fn text(&self, file: &str) -> io::Result<Option<String>> {
        match read(self.dir.as_fd(), file) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io::Error::new(error.kind(), format!("{file}: {error}"))),
        }
    }

    /// A file with one number, or `max`, which is no limit.
    pub fn limit(&self, file: &'static str) -> io::Result<Option<(u64, &'static str)>> {
        let Some(text) = self.text(file)? else {
            return Ok(None);
        };
        match text.trim() {
            "max" => Ok(None),
            text => match text.parse::<u64>() {
                Ok(value) if value >= NO_LIMIT => Ok(None),
                Ok(value) => Ok(Some((value, file))),
                Err(_) => Err(io::Error::other(format!("{file} says `{text}`"))),
            },
        }
    }

    /// A file with one number.
    pub fn number(&self, file: &str) -> Option<u64> {
        self.text(file).ok()??.trim().parse().ok()
    }

    /// The number behind a name, one such pair a line.
    pub fn field(&self, file: &str, name: &str) -> Option<u64> {
        let text = self.text(file).ok()??;
        let mut lines = text.lines().filter_map(|l| l.split_once(' '));
        lines.find(|(n, _)| *n == name)?.1.trim().parse().ok()
    }
}
