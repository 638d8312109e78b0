//! Processes as the kernel tells of them (proc(5)).
//!
//! A [`Process`] holds the directory of its process open: once that has ended, every reading of it fails (`ESRCH`), also if
//! another has got its number since. Files are opened below that directory and links are not followed. Who it is is a number
//! and a start time ([`ProcId`]); only a [`Handle`] (a pidfd whose process was checked after it was opened) can signal.

mod handle;
mod text;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, StatxFlags, openat, readlinkat};
use rustix::path::Arg;

pub use handle::Handle;
pub use text::{Io, Pss, Stat, Statm, Status};

/// What is read of one file at most: environments and maps can be long, and are written by others.
const MOST: usize = 4 << 20;
/// What is looked at of a command line.
const MOST_COMMAND: usize = 64 << 10;

/// Which process: a number is used again, with its start time it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcId {
    /// Its number, in our name space.
    pub pid: u32,
    /// When it started, in ticks of the clock since the machine did (`stat`, field 22).
    pub start: u64,
}

impl fmt::Display for ProcId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pid)
    }
}

/// All processes of this machine, or of a tree of files that looks like it (tests).
#[derive(Debug)]
pub struct Procfs {
    dir: OwnedFd,
}

/// One process. Its readings fail once it has ended.
#[derive(Debug)]
pub struct Process {
    dir: OwnedFd,
    id: ProcId,
}

impl Procfs {
    /// `/proc`.
    ///
    /// # Errors
    /// It is not there, or not readable.
    pub fn open() -> io::Result<Procfs> {
        Procfs::at(Path::new("/proc"))
    }

    /// A directory that looks like `/proc`.
    ///
    /// # Errors
    /// It is not there, or not readable.
    pub fn at(dir: &Path) -> io::Result<Procfs> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(dir, flags, Mode::empty())?;
        Ok(Procfs { dir })
    }

    /// The numbers of all processes, ascending.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn pids(&self) -> io::Result<Vec<u32>> {
        numbers(self.dir.as_fd())
    }

    /// The process that has this number now.
    ///
    /// # Errors
    /// There is none, or it may not be looked at.
    pub fn process(&self, pid: u32) -> io::Result<Process> {
        let dir = open_dir(self.dir.as_fd(), &pid.to_string())?;
        let stat = Stat::parse(&read(dir.as_fd(), "stat")?)?;
        let id = ProcId {
            pid,
            start: stat.start,
        };
        Ok(Process { dir, id })
    }

    /// This process, if it is still the one that has the number.
    ///
    /// # Errors
    /// It has ended (also where another has its number), or may not be looked at.
    pub fn same(&self, id: ProcId) -> io::Result<Process> {
        let process = self.process(id.pid)?;
        match process.id == id {
            true => Ok(process),
            false => Err(rustix::io::Errno::SRCH.into()),
        }
    }

    /// A file of the machine, such as `meminfo` or `pressure/memory`.
    ///
    /// # Errors
    /// It is not there, or not readable.
    pub fn machine(&self, name: &str) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&read(self.dir.as_fd(), name)?).into_owned())
    }
}

impl Process {
    /// Who it is.
    #[must_use]
    pub fn id(&self) -> ProcId {
        self.id
    }

    /// Its name, state, parent, CPU time, threads, memory.
    ///
    /// # Errors
    /// It has ended.
    pub fn stat(&self) -> io::Result<Stat> {
        Stat::parse(&self.bytes("stat")?)
    }

    /// Its memory, in pages; cheap.
    ///
    /// # Errors
    /// It has ended.
    pub fn statm(&self) -> io::Result<Statm> {
        Statm::parse(&self.bytes("statm")?)
    }

    /// Its user and group, the most memory it had, what that is made of.
    ///
    /// # Errors
    /// It has ended.
    pub fn status(&self) -> io::Result<Status> {
        Ok(Status::parse(&self.bytes("status")?))
    }

    /// Whether it is a thread of the kernel: it has no program, and no memory of its own.
    #[must_use]
    pub fn is_of_the_kernel(&self) -> bool {
        let nothing = self.bytes("cmdline").is_ok_and(|line| line.is_empty());
        let lives = self.stat().is_ok_and(|s| !matches!(s.state, 'Z' | 'X'));
        nothing && lives && self.status().is_ok_and(|s| s.resident.is_none())
    }

    /// What it has read and written.
    ///
    /// # Errors
    /// It has ended, or is another user's.
    pub fn io(&self) -> io::Result<Io> {
        Ok(Io::parse(&self.bytes("io")?))
    }

    /// Its share of memory that several processes have. Dear: the kernel walks all its pages (16 ms for 1 GiB).
    ///
    /// # Errors
    /// It has ended, or is another user's.
    pub fn pss(&self) -> io::Result<Pss> {
        Ok(Pss::parse(&self.bytes("smaps_rollup")?))
    }

    /// How many files it has open.
    ///
    /// # Errors
    /// It has ended, or is another user's.
    pub fn open_files(&self) -> io::Result<usize> {
        Ok(numbers(open_dir(self.dir.as_fd(), "fd")?.as_fd())?.len())
    }

    /// Its threads, each as [`Stat`] (CPU time and state are the thread's own).
    ///
    /// # Errors
    /// It has ended.
    pub fn threads(&self) -> io::Result<Vec<(u32, Stat)>> {
        let tasks = open_dir(self.dir.as_fd(), "task")?;
        let one = |tid: u32| {
            let dir = open_dir(tasks.as_fd(), &tid.to_string()).ok()?;
            // One that ended since is no thread any more.
            Some((tid, Stat::parse(&read(dir.as_fd(), "stat").ok()?).ok()?))
        };
        Ok(numbers(tasks.as_fd())?
            .into_iter()
            .filter_map(one)
            .collect())
    }

    /// The numbers of its threads, ascending.
    ///
    /// # Errors
    /// It has ended.
    pub fn thread_ids(&self) -> io::Result<Vec<u32>> {
        numbers(open_dir(self.dir.as_fd(), "task")?)
    }

    /// How often its threads have waited for something of their own accord, all together.
    ///
    /// # Errors
    /// It has ended, or has more threads than `most`.
    pub fn waits(&self, most: usize) -> io::Result<u64> {
        let tasks = open_dir(self.dir.as_fd(), "task")?;
        let threads = numbers(tasks.as_fd())?;
        if threads.len() > most {
            return Err(io::Error::other("it has too many threads to look at each"));
        }
        let mut all = 0_u64;
        for tid in threads {
            let dir = open_dir(tasks.as_fd(), &tid.to_string())?;
            let waits = text::waits(&read(dir.as_fd(), "status")?);
            all = all.saturating_add(waits.unwrap_or(0));
        }
        Ok(all)
    }

    /// The files that are mapped into it, each once.
    ///
    /// # Errors
    /// It has ended, or is another user's.
    pub fn mapped_files(&self) -> io::Result<Vec<PathBuf>> {
        Ok(text::mapped_files(&self.bytes("maps")?))
    }

    /// Its program and arguments, as it says: it can write there what it likes.
    ///
    /// # Errors
    /// It has ended.
    pub fn arguments(&self) -> io::Result<Vec<OsString>> {
        Ok(split_nul(&self.bytes("cmdline")?))
    }

    /// The beginning of its arguments, with spaces between; what is no text is replaced. There may be a million of them: they
    /// are neither taken apart nor read to their end.
    ///
    /// # Errors
    /// It has ended.
    pub fn command_line(&self) -> io::Result<String> {
        let mut bytes = read_some(self.dir.as_fd(), "cmdline", MOST_COMMAND)?;
        let ends = bytes.len() < MOST_COMMAND;
        if ends && bytes.last() == Some(&0) {
            bytes.pop();
        }
        bytes
            .iter_mut()
            .filter(|b| **b == 0)
            .for_each(|b| *b = b' ');
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A variable of the environment it was started with, as it says: it can write there what it likes.
    ///
    /// # Errors
    /// It has ended, or is another user's.
    pub fn variable(&self, name: &str) -> io::Result<Option<OsString>> {
        let all = split_nul(&self.bytes("environ")?);
        let found = all.iter().find_map(|entry| {
            let rest = entry.as_bytes().strip_prefix(name.as_bytes())?;
            rest.strip_prefix(b"=").map(OsStr::from_bytes)
        });
        Ok(found.map(OsStr::to_owned))
    }

    /// The program that it runs. A file that was removed ends with ` (deleted)`.
    ///
    /// # Errors
    /// It has ended, is a thread of the kernel, or is another user's.
    pub fn program(&self) -> io::Result<PathBuf> {
        self.link("exe")
    }

    /// Where it works.
    ///
    /// # Errors
    /// It has ended, or is another user's.
    pub fn working_directory(&self) -> io::Result<PathBuf> {
        self.link("cwd")
    }

    /// The numbers of the device that its working directory is on. The file system is not asked: it may be one that a user
    /// serves, and never answer.
    ///
    /// # Errors
    /// It has ended, or is another user's.
    pub fn working_device(&self) -> io::Result<(u32, u32)> {
        let known = rustix::fs::statx(
            &self.dir,
            "cwd",
            AtFlags::STATX_DONT_SYNC,
            StatxFlags::empty(),
        )?;
        Ok((known.stx_dev_major, known.stx_dev_minor))
    }

    /// A file of it as text, such as `cgroup`, `limits`, `mountinfo`.
    ///
    /// # Errors
    /// It has ended, or the file is not readable.
    pub fn text(&self, name: &str) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes(name)?).into_owned())
    }

    /// A file of it, to be read again and again (from its beginning, by `pread`): once the process has ended, that fails.
    ///
    /// # Errors
    /// It has ended, or the file is not readable.
    pub fn open(&self, name: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(openat(&self.dir, name, flags, Mode::empty())?)
    }

    /// What can signal it, and tells when it has ended.
    ///
    /// # Errors
    /// It has ended.
    pub fn handle(&self) -> io::Result<Handle> {
        Handle::open(self)
    }

    /// A file of one of its threads as text, such as `children` below `task`.
    ///
    /// # Errors
    /// The thread has ended, or the kernel has no such file.
    pub fn text_below(&self, dir: &str, of: u32, name: &str) -> io::Result<String> {
        let dir = open_dir(self.dir.as_fd(), dir)?;
        let one = open_dir(dir.as_fd(), &of.to_string())?;
        Ok(String::from_utf8_lossy(&read(one.as_fd(), name)?).into_owned())
    }

    fn bytes(&self, name: &str) -> io::Result<Vec<u8>> {
        read(self.dir.as_fd(), name)
    }

    fn link(&self, name: &str) -> io::Result<PathBuf> {
        let target = readlinkat(&self.dir, name, Vec::new())?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }
}

pub(crate) fn open_dir(at: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(openat(at, name, flags, Mode::empty())?)
}

pub(crate) fn read(at: impl AsFd, name: impl Arg) -> io::Result<Vec<u8>> {
    read_some(at, name, MOST)
}

/// At most so many bytes of it.
fn read_some(at: impl AsFd, name: impl Arg, most: usize) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(at, name, flags, Mode::empty())?;
    let mut bytes = vec![0; 4096];
    let mut length = 0;
    loop {
        let got = rustix::io::read(&file, &mut bytes[length..])?;
        length += got;
        if got == 0 || length >= most {
            bytes.truncate(length);
            return Ok(bytes);
        }
        if length == bytes.len() {
            bytes.resize((2 * length).min(most), 0);
        }
    }
}

pub(crate) fn numbers(dir: impl AsFd) -> io::Result<Vec<u32>> {
    let mut all = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = std::str::from_utf8(entry.file_name().to_bytes()).unwrap_or_default();
        all.extend(name.parse::<u32>().ok());
    }
    all.sort_unstable();
    Ok(all)
}

fn split_nul(bytes: &[u8]) -> Vec<OsString> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    let parts = bytes.split(|b| *b == 0);
    parts.map(|p| OsStr::from_bytes(p).to_owned()).collect()
}

#[cfg(test)]
mod tests;
