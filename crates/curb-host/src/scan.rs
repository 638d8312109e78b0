//! Looking over all processes again and again, at little cost.
//!
//! Of each process one descriptor stays open (`statm`). One read of it tells three things: that the process still lives (the
//! number of one that has ended may be another's by then, and the descriptor tells: `ESRCH`), how much it holds, and whether
//! files were mapped into it since it was looked at closely. So a process that does nothing new costs one call of the kernel
//! a round, and only new ones and those that loaded something are looked at closely.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, RawDir, SeekFrom};

use curb_core::time::Millis;

use crate::limits::Bytes;
use crate::proc::{ProcId, Process, Procfs};

/// The kernel tells CPU time in hundredths of a second.
const MICROS_A_TICK: u64 = 10_000;
/// So much of the list of processes is read at a time.
const LIST: usize = 32 << 10;
/// Descriptors that are left to others.
const SPARE: u64 = 128;
/// In the beginning a process is looked at in each round in which it has changed, then ever more rarely: it may go on mapping
/// files all its life.
const LOOKS_AT_ONCE: u32 = 8;
/// Of a process with more threads it is not looked how often they wait.
const THREADS: usize = 64;
/// Rounds between two looks at most.
const REST: u32 = 32;

/// A process that lives.
#[derive(Debug)]
struct Known<T> {
    pid: u32,
    /// None: there were no descriptors left; it is opened each time.
    statm: Option<OwnedFd>,
    resident: u64,
    shared: u64,
    looks: u32,
    rest: u32,
    about: T,
}

/// What was found in a round.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Round<T> {
    /// What was known of those that have ended.
    pub ended: Vec<T>,
    /// How many processes there are, threads of the kernel left out.
    pub alive: usize,
}

/// Memory of a process, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pages {
    /// In memory.
    pub resident: u64,
    /// Of these with a file behind them, or shared.
    pub shared: u64,
}

/// All processes, each with what its user wants to know of it.
#[derive(Debug)]
pub struct Scan<T> {
    dir: OwnedFd,
    procfs: Procfs,
    list: Vec<MaybeUninit<u8>>,
    numbers: Vec<u32>,
    known: Vec<Known<T>>,
    kept: u64,
    most_kept: u64,
}

impl<T> Scan<T> {
    /// Below a directory that is `/proc` or looks like it.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn at(root: &Path) -> io::Result<Scan<T>> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Scan {
            dir: rustix::fs::open(root, flags, Mode::empty())?,
            procfs: Procfs::at(root)?,
            list: vec![MaybeUninit::uninit(); LIST],
            numbers: Vec::new(),
            known: Vec::new(),
            kept: 0,
            most_kept: most_descriptors().saturating_sub(SPARE),
        })
    }

    /// What is read of single processes.
    #[must_use]
    pub fn procfs(&self) -> &Procfs {
        &self.procfs
    }

    /// One round. `look` is asked about processes that are new or have changed, with what was known of them before; what it
    /// answers is kept. Where it answers `Err`, the process has ended meanwhile and is forgotten.
    ///
    /// # Errors
    /// The list of processes cannot be read.
    pub fn round(
        &mut self,
        mut look: impl FnMut(&Process, Pages, Option<&T>) -> io::Result<T>,
    ) -> io::Result<Round<T>> {
        self.list()?;
        let mut round = Round {
            ended: Vec::new(),
            alive: 0,
        };
        let before = std::mem::take(&mut self.known);
        let mut before = before.into_iter().peekable();
        let numbers = std::mem::take(&mut self.numbers);
        self.known.reserve(numbers.len());
        for pid in &numbers {
            while let Some(gone) = before.next_if(|k| k.pid < *pid) {
                self.forget(gone, &mut round);
            }
            let known = before.next_if(|k| k.pid == *pid);
            if let Some(known) = self.refresh(*pid, known, &mut round, &mut look) {
                round.alive += usize::from(known.resident > 0);
                self.known.push(known);
            }
        }
        for gone in before {
            self.forget(gone, &mut round);
        }
        self.numbers = numbers;
        Ok(round)
    }

    /// What is known of each.
    pub fn all(&self) -> impl Iterator<Item = (u32, Pages, &T)> {
        self.known.iter().map(|k| {
            let pages = Pages {
                resident: k.resident,
                shared: k.shared,
            };
            (k.pid, pages, &k.about)
        })
    }

    /// All are looked at closely in the next round, as if they were new.
    pub fn look_again(&mut self) {
        for known in &mut self.known {
            known.shared = u64::MAX;
            known.looks = 0;
            known.rest = 0;
        }
    }

    /// What is known of one.
    #[must_use]
    pub fn about(&self, pid: u32) -> Option<&T> {
        let at = self.known.binary_search_by_key(&pid, |k| k.pid).ok()?;
        Some(&self.known[at].about)
    }

    /// Changes what is known of one.
    pub fn change(&mut self, pid: u32, change: impl FnOnce(&mut T)) {
        if let Ok(at) = self.known.binary_search_by_key(&pid, |k| k.pid) {
            change(&mut self.known[at].about);
        }
    }

    /// Memory of its own that a process has at this moment.
    #[must_use]
    pub fn own_memory(&self, pid: u32) -> Option<Bytes> {
        let at = self.known.binary_search_by_key(&pid, |k| k.pid).ok()?;
        let pages = read_pages(self.known[at].statm.as_ref()?)?;
        let own = pages.resident.saturating_sub(pages.shared);
        Some(Bytes(own.saturating_mul(page_size())))
    }

    /// All that descend from some processes at this moment, each with what was given of its ancestor, the nearest first.
    #[must_use]
    pub fn descendants<A: Copy>(&self, of: &[(u32, A)]) -> Vec<(ProcId, A)> {
        let pids = if of.is_empty() {
            Ok(Vec::new())
        } else {
            self.procfs.pids()
        };
        let mut children: BTreeMap<u32, Vec<ProcId>> = BTreeMap::new();
        for pid in pids.unwrap_or_default() {
            let Ok(process) = self.procfs.process(pid) else {
                continue;
            };
            let Ok(stat) = process.stat() else { continue };
            children.entry(stat.parent).or_default().push(process.id());
        }
        let mut all: Vec<(ProcId, A)> = Vec::new();
        let mut next: Vec<(u32, A)> = of.to_vec();
        while !next.is_empty() {
            let of_these = next.iter().flat_map(|(pid, about)| {
                let ids = children.remove(pid).unwrap_or_default();
                ids.into_iter().map(|id| (id, *about))
            });
            let found: Vec<(ProcId, A)> = of_these.collect();
            next = found.iter().map(|(id, about)| (id.pid, *about)).collect();
            all.extend(found);
        }
        all
    }

    /// How often the threads of a process have waited for something of their own accord; of many threads, not known.
    #[must_use]
    pub fn waits(&self, pid: u32) -> Option<u64> {
        self.procfs.process(pid).ok()?.waits(THREADS).ok()
    }

    fn refresh(
        &mut self,
        pid: u32,
        known: Option<Known<T>>,
        round: &mut Round<T>,
        look: &mut impl FnMut(&Process, Pages, Option<&T>) -> io::Result<T>,
    ) -> Option<Known<T>> {
        let pages = match &known {
            Some(Known {
                statm: Some(statm), ..
            }) => read_pages(statm),
            // Without a descriptor of its own nothing tells whether it is still the same: it is looked at as a new one.
            _ => None,
        };
        let mut known = match (known, pages) {
            (Some(mut known), Some(pages)) => {
                let changed = known.shared != pages.shared;
                known.resident = pages.resident;
                known.rest = known.rest.saturating_sub(1);
                if !changed || known.rest > 0 || pages.resident == 0 {
                    return Some(known);
                }
                known
            }
            (known, _) => {
                if let Some(gone) = known {
                    self.forget(gone, round);
                }
                return self.meet(pid, look);
            }
        };
        let process = self.procfs.process(pid).ok()?;
        let pages = Pages {
            resident: known.resident,
            shared: read_pages(known.statm.as_ref()?).map_or(known.shared, |p| p.shared),
        };
        match look(&process, pages, Some(&known.about)) {
            Ok(about) => {
                known.about = about;
                known.shared = pages.shared;
                known.looks = known.looks.saturating_add(1);
                known.rest = rest(known.looks);
                Some(known)
            }
            Err(_) => {
                self.forget(known, round);
                None
            }
        }
    }

    /// A process that is new.
    fn meet(
        &mut self,
        pid: u32,
        look: &mut impl FnMut(&Process, Pages, Option<&T>) -> io::Result<T>,
    ) -> Option<Known<T>> {
        let process = self.procfs.process(pid).ok()?;
        let statm = process.open("statm").ok()?;
        let pages = read_pages(&statm)?;
        let about = look(&process, pages, None).ok()?;
        let keep = self.kept < self.most_kept;
        self.kept += u64::from(keep);
        Some(Known {
            pid,
            statm: keep.then_some(statm),
            resident: pages.resident,
            shared: pages.shared,
            looks: 1,
            rest: 0,
            about,
        })
    }

    fn forget(&mut self, gone: Known<T>, round: &mut Round<T>) {
        self.kept -= u64::from(gone.statm.is_some());
        round.ended.push(gone.about);
    }

    /// The numbers of all processes, ascending, as the kernel lists them.
    fn list(&mut self) -> io::Result<()> {
        self.numbers.clear();
        rustix::fs::seek(&self.dir, SeekFrom::Start(0))?;
        let mut entries = RawDir::new(self.dir.as_fd(), &mut self.list);
        while let Some(entry) = entries.next() {
            self.numbers.extend(number(entry?.file_name().to_bytes()));
        }
        // A tree of files that only looks like /proc (tests) has an order of its own.
        if !self.numbers.is_sorted() {
            self.numbers.sort_unstable();
        }
        Ok(())
    }
}

fn rest(looks: u32) -> u32 {
    looks.saturating_sub(LOOKS_AT_ONCE).min(REST)
}

fn most_descriptors() -> u64 {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Lets this process have as many descriptors as it may; gives how many that are.
pub fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let had = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: had.maximum,
        maximum: had.maximum,
    };
    // Where it may not, it goes on with what it has.
    let _keeps_what_it_has = setrlimit(Resource::Nofile, all);
    most_descriptors()
}

fn number(name: &[u8]) -> Option<u32> {
    let digits = name.iter().all(u8::is_ascii_digit) && !name.is_empty();
    digits.then(|| std::str::from_utf8(name).ok()?.parse().ok())?
}

/// Of an open `stat`: CPU time of the process in microseconds, and its threads.
#[must_use]
pub fn cpu_and_threads(stat: &OwnedFd) -> Option<(u64, u64)> {
    let mut buffer = [0_u8; 1024];
    let length = rustix::io::pread(stat, &mut buffer, 0).ok()?;
    let close = buffer[..length].iter().rposition(|b| *b == b')')?;
    let text = std::str::from_utf8(&buffer[close + 1..length]).ok()?;
    // The state is the third field of all.
    let mut fields = text.split_ascii_whitespace().skip(14 - 3);
    let mut number = || fields.next()?.parse::<u64>().ok();
    let (user, system) = (number()?, number()?);
    let threads = fields.nth(20 - 16)?.parse().ok()?;
    let micros = user.saturating_add(system).saturating_mul(MICROS_A_TICK);
    Some((micros, threads))
}

/// Milliseconds since the machine started: the clock by which the kernel tells when processes started.
#[must_use]
pub fn since_boot() -> Millis {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let rest = u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000;
    Millis(seconds.saturating_mul(1000).saturating_add(rest))
}

/// Bytes of a page.
#[must_use]
pub fn page_size() -> u64 {
    u64::try_from(rustix::param::page_size()).unwrap_or(4096)
}

/// `size resident shared …`; None where the process has ended.
fn read_pages(statm: &OwnedFd) -> Option<Pages> {
    let mut buffer = [0_u8; 128];
    let length = rustix::io::pread(statm, &mut buffer, 0).ok()?;
    let mut words = buffer[..length].split(|b| *b == b' ').skip(1);
    let mut word = || -> Option<u64> {
        let digits = words.next()?;
        digits.iter().try_fold(0_u64, |n, b| {
            let digit = b.checked_sub(b'0').filter(|d| *d < 10)?;
            n.checked_mul(10)?.checked_add(u64::from(digit))
        })
    };
    Some(Pages {
        resident: word()?,
        shared: word()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    struct Sleeper(Child);

    impl Sleeper {
        fn start() -> Sleeper {
            let mut command = Command::new("sleep");
            command.arg("60").stdout(Stdio::null());
            Sleeper(command.spawn().expect("sleep starts"))
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            self.0.kill().expect("killed");
            self.0.wait().expect("ended");
        }
    }

    fn scan() -> Scan<u32> {
        Scan::at(Path::new("/proc")).expect("opened")
    }

    #[test]
    fn a_process_is_looked_at_when_it_comes_and_told_when_it_has_gone() {
        let mut scan = scan();
        let sleeper = Sleeper::start();
        let pid = sleeper.0.id();
        // A moment for it to become the program.
        std::thread::sleep(std::time::Duration::from_millis(50));
        let look = |p: &Process, _: Pages, _: Option<&u32>| Ok(p.id().pid);
        scan.round(look).expect("a round");
        assert!(
            scan.all()
                .any(|(p, pages, about)| p == pid && pages.resident > 0 && *about == pid)
        );
        let mut again = Vec::new();
        scan.round(|p, _, _| {
            again.push(p.id().pid);
            Ok(p.id().pid)
        })
        .expect("a round");
        assert!(
            !again.contains(&pid),
            "it does nothing, and was looked at again"
        );
        drop(sleeper);
        let round = scan.round(look).expect("a round");
        assert!(round.ended.contains(&pid));
        assert!(scan.all().all(|(p, _, _)| p != pid));
    }

    #[test]
    fn nothing_is_left_of_many_that_come_and_go() {
        let mut scan = scan();
        let descriptors = || std::fs::read_dir("/proc/self/fd").expect("read").count();
        scan.round(|p, _, _| Ok(p.id().pid)).expect("a round");
        let (known, open) = (scan.known.len(), descriptors());
        for _ in 0..40 {
            let some: Vec<Sleeper> = (0..5).map(|_| Sleeper::start()).collect();
            scan.round(|p, _, _| Ok(p.id().pid)).expect("a round");
            drop(some);
        }
        scan.round(|p, _, _| Ok(p.id().pid)).expect("a round");
        // Other tests run at the same time: a few may have come.
        assert!(
            scan.known.len() < known + 40,
            "{known} {}",
            scan.known.len()
        );
        assert!(descriptors() < open + 60, "{open} {}", descriptors());
        assert_eq!(
            scan.kept,
            scan.known.iter().filter(|k| k.statm.is_some()).count() as u64
        );
    }

    #[test]
    fn without_descriptors_left_processes_are_still_found() {
        let mut scan = scan();
        scan.most_kept = 2;
        let sleeper = Sleeper::start();
        let pid = sleeper.0.id();
        for _ in 0..3 {
            scan.round(|p, _, _| Ok(p.id().pid)).expect("a round");
            assert!(scan.all().any(|(p, _, _)| p == pid));
        }
        assert_eq!(scan.kept, 2);
    }

    #[test]
    fn numbers_only_are_processes() {
        for (name, pid) in [
            ("1", Some(1)),
            ("4194304", Some(4_194_304)),
            ("self", None),
            ("", None),
            ("1x", None),
            ("99999999999", None),
        ] {
            assert_eq!(number(name.as_bytes()), pid, "{name}");
        }
    }
}
