//! The texts of the kernel's files, parsed. Pure.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::limits::Bytes;

/// `stat` of a process or a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The name it gives itself, 15 bytes at most: for people, never for identity.
    pub name: String,
    /// `R` running, `S` and `D` waiting, `T` stopped, `Z` ended and not noticed yet.
    pub state: char,
    /// Its parent's number.
    pub parent: u32,
    /// Its session.
    pub session: u32,
    /// CPU time in its own code, in ticks.
    pub user_ticks: u64,
    /// CPU time in the kernel, in ticks.
    pub system_ticks: u64,
    /// Faults that had to read from a disk.
    pub major_faults: u64,
    /// Threads.
    pub threads: u64,
    /// When it started, in ticks since the machine did.
    pub start: u64,
    /// Pages in memory.
    pub resident_pages: u64,
}

/// `statm`, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statm {
    /// Address space.
    pub size: u64,
    /// In memory.
    pub resident: u64,
    /// Of these, with a file behind them or shared.
    pub shared: u64,
}

/// `status`, in part. What is not in it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The user it runs as (effective).
    pub user: Option<u32>,
    /// The group it runs as (effective).
    pub group: Option<u32>,
    /// In memory.
    pub resident: Option<Bytes>,
    /// The most there ever was in memory.
    pub resident_peak: Option<Bytes>,
    /// In memory, of its own.
    pub anonymous: Option<Bytes>,
    /// In memory, with a file behind it.
    pub file: Option<Bytes>,
    /// In memory, shared.
    pub shared: Option<Bytes>,
    /// Swapped out.
    pub swapped: Option<Bytes>,
    /// Threads.
    pub threads: Option<u64>,
    /// Signals for which it has a handler, a bit each (signal 1 is the lowest).
    pub caught: Option<u64>,
    /// Signals that it was sent and has not taken yet, a bit each.
    pub pending: Option<u64>,
    /// Signals that wait until it asks for them (sigwait(3), signalfd(2)), a bit each.
    pub blocked: Option<u64>,
}

/// `io`: what it has read and written since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Io {
    /// From a disk.
    pub read: Option<Bytes>,
    /// To a disk.
    pub written: Option<Bytes>,
    /// By calls, wherever it came from.
    pub read_called: Option<Bytes>,
    /// By calls, wherever it went to.
    pub written_called: Option<Bytes>,
}

/// `smaps_rollup`: what is shared is counted by share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pss {
    /// All.
    pub all: Option<Bytes>,
    /// Of its own memory.
    pub anonymous: Option<Bytes>,
    /// With a file behind it.
    pub file: Option<Bytes>,
    /// Swapped out.
    pub swapped: Option<Bytes>,
}

fn broken(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{what} is not as proc(5) has it"),
    )
}

impl Stat {
    /// `12 (name) S 1 12 12 0 …`; the name may hold spaces and brackets.
    pub(crate) fn parse(bytes: &[u8]) -> io::Result<Stat> {
        let error = || broken("stat");
        let open = bytes.iter().position(|b| *b == b'(').ok_or_else(error)?;
        let close = bytes.iter().rposition(|b| *b == b')').ok_or_else(error)?;
        let name = bytes.get(open + 1..close).ok_or_else(error)?;
        let rest = std::str::from_utf8(&bytes[close + 1..]).map_err(|_| error())?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The state is the third field of all.
        let number = |field: usize| fields.get(field - 3).and_then(|f| f.parse::<u64>().ok());
        let small = |field: usize| number(field).and_then(|n| u32::try_from(n).ok());
        let state = fields.first().and_then(|f| f.chars().next());
        Ok(Stat {
            name: String::from_utf8_lossy(name).into_owned(),
            state: state.ok_or_else(error)?,
            parent: small(4).ok_or_else(error)?,
            session: small(6).ok_or_else(error)?,
            major_faults: number(12).ok_or_else(error)?,
            user_ticks: number(14).ok_or_else(error)?,
            system_ticks: number(15).ok_or_else(error)?,
            threads: number(20).ok_or_else(error)?,
            start: number(22).ok_or_else(error)?,
            resident_pages: number(24).ok_or_else(error)?,
        })
    }
}

impl Statm {
    pub(crate) fn parse(bytes: &[u8]) -> io::Result<Statm> {
        let text = std::str::from_utf8(bytes).map_err(|_| broken("statm"))?;
        let mut numbers = text.split_ascii_whitespace().map(str::parse::<u64>);
        let mut next = || numbers.next().and_then(Result::ok);
        match (next(), next(), next()) {
            (Some(size), Some(resident), Some(shared)) => Ok(Statm {
                size,
                resident,
                shared,
            }),
            _ => Err(broken("statm")),
        }
    }
}

/// The rest of the line that begins with `key:`.
fn line<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let rest = |l: &'a str| l.strip_prefix(key)?.strip_prefix(':').map(str::trim);
    text.lines().find_map(rest)
}

fn kib(text: &str, key: &str) -> Option<Bytes> {
    let number = line(text, key)?.strip_suffix("kB")?.trim();
    number.parse::<u64>().ok()?.checked_mul(1024).map(Bytes)
}

fn plain(text: &str, key: &str) -> Option<u64> {
    line(text, key)?.parse().ok()
}

fn signals(text: &str, key: &str) -> Option<u64> {
    u64::from_str_radix(line(text, key)?, 16).ok()
}

/// `voluntary_ctxt_switches` of a thread's `status`.
pub(crate) fn waits(bytes: &[u8]) -> Option<u64> {
    plain(&String::from_utf8_lossy(bytes), "voluntary_ctxt_switches")
}

impl Status {
    pub(crate) fn parse(bytes: &[u8]) -> Status {
        let text = String::from_utf8_lossy(bytes);
        // Real, effective, saved, file system.
        let second = |key| line(&text, key)?.split_whitespace().nth(1)?.parse().ok();
        Status {
            user: second("Uid"),
            group: second("Gid"),
            resident: kib(&text, "VmRSS"),
            resident_peak: kib(&text, "VmHWM"),
            anonymous: kib(&text, "RssAnon"),
            file: kib(&text, "RssFile"),
            shared: kib(&text, "RssShmem"),
            swapped: kib(&text, "VmSwap"),
            threads: plain(&text, "Threads"),
            caught: signals(&text, "SigCgt"),
            pending: signals(&text, "SigPnd")
                .zip(signals(&text, "ShdPnd"))
                .map(|(own, all)| own | all),
            blocked: signals(&text, "SigBlk"),
        }
    }

    /// Whether a signal was sent to it that it has not taken yet; none where that is not told.
    #[must_use]
    pub fn waits(&self, signal: i32) -> Option<bool> {
        let bit = u32::try_from(signal).ok()?.checked_sub(1)?;
        Some(self.pending?.checked_shr(bit)? & 1 == 1)
    }

    /// Whether it does something of its own with a signal; none where that is not told.
    #[must_use]
    pub fn minds(&self, signal: i32) -> Option<bool> {
        let bit = u32::try_from(signal).ok()?.checked_sub(1)?;
        let all = self.caught? | self.blocked?;
        Some(all.checked_shr(bit)? & 1 == 1)
    }
}

impl Io {
    pub(crate) fn parse(bytes: &[u8]) -> Io {
        let text = String::from_utf8_lossy(bytes);
        let of = |key| plain(&text, key).map(Bytes);
        Io {
            read: of("read_bytes"),
            written: of("write_bytes"),
            read_called: of("rchar"),
            written_called: of("wchar"),
        }
    }
}

impl Pss {
    pub(crate) fn parse(bytes: &[u8]) -> Pss {
        let text = String::from_utf8_lossy(bytes);
        Pss {
            all: kib(&text, "Pss"),
            anonymous: kib(&text, "Pss_Anon"),
            file: kib(&text, "Pss_File"),
            swapped: kib(&text, "SwapPss"),
        }
    }
}

/// The sixth field of `maps`, where it is a path.
pub(crate) fn mapped_files(bytes: &[u8]) -> Vec<PathBuf> {
    let path = |line: &[u8]| {
        let at = line.iter().position(|b| *b == b'/')?;
        Some(PathBuf::from(OsStr::from_bytes(&line[at..])))
    };
    let lines = bytes.split(|b| *b == b'\n');
    let all: BTreeSet<PathBuf> = lines.filter_map(path).collect();
    all.into_iter().collect()
}
