//! What runs between the birth of a child and its exec.
//!
//! Other threads of ours may hold any lock at that moment, and are not there in the child to let go of it: it makes only
//! calls that are safe in a signal handler (signal-safety(7)), on what was made before, and neither allocates nor locks.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::null;

use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getppid, set_parent_process_death_signal, setrlimit,
};
use rustix::stdio::{dup2_stdin, dup2_stdout};
use rustix::thread::{CpuSet as Affinity, sched_setaffinity};

/// `struct clone_args` of the kernel's second version, the first with a group: eleven numbers.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A program's arguments and variables, as exec takes them.
pub(super) struct Words {
    /// What the pointers point at.
    _texts: (Vec<CString>, Vec<CString>),
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
}

impl Words {
    pub(super) fn new(arguments: Vec<CString>, environment: Vec<CString>) -> Words {
        let ended = |texts: &[CString]| {
            let all = texts.iter().map(|t| t.as_ptr());
            all.chain([null()]).collect()
        };
        Words {
            arguments: ended(&arguments),
            environment: ended(&environment),
            _texts: (arguments, environment),
        }
    }
}

/// All that the child needs.
pub(super) struct Child<'a> {
    pub doors: Vec<File>,
    pub words: Words,
    pub stdin: Option<&'a OwnedFd>,
    pub stdout: Option<&'a OwnedFd>,
    pub cpus: Option<Affinity>,
    pub open_files: Option<u64>,
    pub parent: Pid,
    /// Where it says why it could not become the program; closed by exec.
    pub tell: &'a OwnedFd,
}

impl Child<'_> {
    /// Makes a child, in a group of the version 2 tree if one is given, that becomes the program or says why not.
    ///
    /// # Errors
    /// There is no child.
    pub(super) fn be_born(&self, group: Option<&File>) -> io::Result<Pid> {
        // SAFETY: in the child only `become_program` runs, which does nothing but what is safe there (see above), and never
        // returns.
        let raw = match unsafe { fork(group) } {
            0 => self.become_program(),
            raw => raw,
        };
        // Below zero there is none, and no number either.
        match Pid::from_raw(raw.max(0)) {
            Some(pid) => Ok(pid),
            None => Err(io::Error::last_os_error()),
        }
    }

    fn become_program(&self) -> ! {
        let errno = match self.take_on() {
            Err(errno) => errno,
            Ok(()) => {
                let (arguments, environment) = (&self.words.arguments, &self.words.environment);
                // SAFETY: both end with a null, and point at texts that end with a zero and that `words` owns. There is a
                // first argument. `execvpe` allocates nothing and takes no lock (glibc, musl).
                unsafe {
                    libc::execvpe(arguments[0], arguments.as_ptr(), environment.as_ptr());
                }
                last_errno()
            }
        };
        let _who_asked_may_have_ended =
            rustix::io::write(self.tell, &errno.raw_os_error().to_ne_bytes());
        // SAFETY: ends the process at once, without anything of the parent's being run.
        unsafe { libc::_exit(127) }
    }

    fn take_on(&self) -> Result<(), Errno> {
        if let Some(fd) = self.stdin {
            dup2_stdin(fd)?;
        }
        if let Some(fd) = self.stdout {
            dup2_stdout(fd)?;
        }
        for door in &self.doors {
            // `0` is whoever writes it.
            rustix::io::write(door.as_fd(), b"0")?;
        }
        if let Some(cpus) = &self.cpus {
            sched_setaffinity(None, cpus)?;
        }
        if let Some(most) = self.open_files {
            let limit = Rlimit {
                current: Some(most),
                maximum: Some(most),
            };
            setrlimit(Resource::Nofile, limit)?;
        }
        usual_signals();
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // Who supervises it may have ended just before that.
        match getppid() == Some(self.parent) {
            true => Ok(()),
            false => Err(Errno::SRCH),
        }
    }
}

/// Programs expect no signal to be blocked, and to be ended by a broken pipe, which Rust's start-up has ignored.
fn usual_signals() {
    // SAFETY: both are safe in a signal handler; the set is initialized by `sigemptyset` before it is read.
    unsafe {
        let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

fn last_errno() -> Errno {
    let raw = io::Error::last_os_error().raw_os_error();
    Errno::from_raw_os_error(raw.unwrap_or(libc::EIO))
}

/// As fork(2): 0 in the child, -1 and `errno` if there is none. With a group the child is born into it.
///
/// # Safety
/// The child may do nothing but what is safe in a signal handler, until it execs or ends.
unsafe fn fork(group: Option<&File>) -> i32 {
    let Some(group) = group else {
        // SAFETY: as the caller's.
        return unsafe { libc::fork() };
    };
    let arguments = CloneArgs {
        flags: CLONE_INTO_CGROUP,
        exit_signal: u64::from(libc::SIGCHLD.unsigned_abs()),
        cgroup: u64::from(group.as_raw_fd().unsigned_abs()),
        ..CloneArgs::default()
    };
    // SAFETY: the arguments are those of clone3(2), of the size that is given, and live until it returns. Without a stack or
    // shared memory of its own the child goes on here, in a copy of all of ours.
    let raw = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const arguments,
            size_of::<CloneArgs>(),
        )
    };
    i32::try_from(raw).unwrap_or(-1)
}
