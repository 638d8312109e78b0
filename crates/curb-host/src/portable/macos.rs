//! macOS. Nothing here was run on one: it is type-checked (`make lint`), from the headers of Apple's libproc.
#![allow(unsafe_code)]

use std::ffi::{OsString, c_int, c_void};
use std::path::Path;
use std::process::Command;

use super::{Bytes, Id, MOST, Platform, Seen, by_taskpolicy, ticks};

const TASKPOLICY: &str = "/usr/sbin/taskpolicy";
const SYSCTL: &str = "/usr/sbin/sysctl";
/// Children that are asked for at first.
const FIRST: usize = 1024;

/// This machine.
#[derive(Debug)]
pub struct Mac {
    nanoseconds: u32,
    ticks: u32,
}

impl Mac {
    /// This machine, with its clock's unit.
    #[must_use]
    #[allow(deprecated)] // for another library, which would be one more for two numbers
    pub fn new() -> Mac {
        let mut info = libc::mach_timebase_info { numer: 1, denom: 1 };
        // SAFETY: it writes two numbers to where it is pointed at.
        unsafe { libc::mach_timebase_info(&raw mut info) };
        Mac {
            nanoseconds: info.numer,
            ticks: info.denom,
        }
    }
}

impl Default for Mac {
    fn default() -> Mac {
        Mac::new()
    }
}

impl Platform for Mac {
    fn launch(&self, command: &[OsString], memory: Bytes) -> Option<Vec<OsString>> {
        let taskpolicy = Some(Path::new(TASKPOLICY)).filter(|p| p.exists())?;
        by_taskpolicy(taskpolicy, command, memory)
    }

    fn children(&self, pid: u32) -> Vec<u32> {
        let Ok(parent) = c_int::try_from(pid) else {
            return Vec::new();
        };
        let mut room = FIRST;
        loop {
            let mut pids: Vec<c_int> = vec![0; room];
            let bytes = c_int::try_from(size_of_val(pids.as_slice())).unwrap_or(c_int::MAX);
            // SAFETY: it writes at most so many bytes of numbers to where it is pointed at.
            unsafe { libc::proc_listchildpids(parent, pids.as_mut_ptr().cast::<c_void>(), bytes) };
            // What it gives has been a count of bytes and one of numbers: what it has written is clear.
            let found: Vec<u32> = pids
                .iter()
                .filter_map(|p| u32::try_from(*p).ok())
                .filter(|p| *p > 0)
                .collect();
            if found.len() < room || room >= MOST {
                return found;
            }
            room *= 2;
        }
    }

    fn look(&self, pid: u32) -> Option<Seen> {
        let number = c_int::try_from(pid).ok()?;
        // SAFETY: a structure of numbers, all of which may be zero.
        let mut usage: libc::rusage_info_v2 = unsafe { std::mem::zeroed() };
        let at = (&raw mut usage).cast::<libc::rusage_info_t>();
        // SAFETY: it writes a structure of the flavour that is named, to where it is pointed at.
        let answer = unsafe { libc::proc_pid_rusage(number, libc::RUSAGE_INFO_V2, at) };
        // One that has ended and was not waited for has an end.
        if answer != 0 || usage.ri_proc_exit_abstime != 0 {
            return None;
        }
        let used = usage.ri_user_time.saturating_add(usage.ri_system_time);
        Some(Seen {
            id: Id {
                pid,
                start: usage.ri_proc_start_abstime,
            },
            memory: Bytes(usage.ri_phys_footprint),
            cpu: ticks(used, self.nanoseconds, self.ticks),
            threads: threads(number).unwrap_or(1),
        })
    }

    fn wired(&self) -> Option<Bytes> {
        let out = Command::new(SYSCTL)
            .args(["-n", "iogpu.wired_limit_mb"])
            .output()
            .ok()?;
        let mebibytes: u64 = String::from_utf8_lossy(&out.stdout).trim().parse().ok()?;
        // 0: the system's own choice, which it does not tell.
        mebibytes.checked_mul(1 << 20).filter(|b| *b > 0).map(Bytes)
    }
}

fn threads(pid: c_int) -> Option<u64> {
    // SAFETY: a structure of numbers, all of which may be zero.
    let mut info: libc::proc_taskinfo = unsafe { std::mem::zeroed() };
    let size = c_int::try_from(size_of::<libc::proc_taskinfo>()).ok()?;
    let at = (&raw mut info).cast::<c_void>();
    // SAFETY: it writes at most so many bytes, a structure of the kind that is named, to where it is pointed at.
    let written = unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDTASKINFO, 0, at, size) };
    (written == size).then_some(u64::try_from(info.pti_threadnum).ok()?)
}
