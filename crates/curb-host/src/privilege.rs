//! Giving up privileges, for good: what a process gives up here neither it nor what it runs gets back.
//!
//! Called while the process has one thread only: the kernel keeps these for each thread, and what is started later inherits.

use std::collections::BTreeMap;
use std::io;

use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits,
    set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// What a process may still do, in the kernel's own words (`/proc/self/status`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The user it runs as.
    pub user: u32,
    /// Its capabilities, as a set of bits.
    pub capabilities: u64,
    /// Those that a program it runs may have.
    pub bounding: u64,
    /// A program it runs gets no more than it has itself.
    pub no_new_privileges: bool,
    /// Calls of the kernel are filtered.
    pub filtered: bool,
}

/// Takes note of what the kernel tells a process of itself only as long as it has not changed who it is: before Linux 6.4 it is in
/// `/proc/self/auxv` alone, which is then root's, and the size of a page would be asked for in vain (and with a panic).
fn note_what_is_hidden_later() {
    let _it_is_kept = rustix::param::page_size();
}

/// Becomes an ordinary user without any capability. The number of the group is its only group.
///
/// # Errors
/// It may not: only root may. Nothing may be assumed then; end the process.
pub fn become_user(user: u32, group: u32) -> io::Result<()> {
    if user == 0 {
        return Err(io::Error::other("root is no ordinary user"));
    }
    keep_nothing_to_inherit()?;
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    set_thread_groups(&[group])?;
    set_thread_res_gid(group, group, group)?;
    // With the last of the three user numbers no longer 0 the kernel takes all capabilities.
    set_thread_res_uid(user, user, user)?;
    no_more(CapabilitySet::empty())
}

/// Keeps these capabilities, as far as they were there, and no others; also where the process goes on as root.
///
/// # Errors
/// The kernel refused. Nothing may be assumed then; end the process.
pub fn keep_only(capabilities: CapabilitySet) -> io::Result<()> {
    keep_nothing_to_inherit()?;
    no_more(capabilities)
}

/// What is run from here on gets no capability, whoever owns its file and whatever bits it has.
fn keep_nothing_to_inherit() -> io::Result<()> {
    note_what_is_hidden_later();
    set_no_new_privs(true)?;
    clear_ambient_capability_set()?;
    let own = rustix::thread::capabilities(None)?;
    if !own.effective.contains(CapabilitySet::SETPCAP) {
        // An ordinary user has none to give up; the bounding set means nothing without privileges to gain.
        return Ok(());
    }
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED;
    set_capabilities_secure_bits(bits)?;
    for bit in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        match remove_capability_from_bounding_set(one) {
            // The kernel has no capability of this number, nor of a higher one.
            Err(rustix::io::Errno::INVAL) => break,
            other => other?,
        }
    }
    Ok(())
}

fn no_more(capabilities: CapabilitySet) -> io::Result<()> {
    let had = rustix::thread::capabilities(None)?;
    let keep = had.permitted & capabilities;
    set_capabilities(
        None,
        CapabilitySets {
            effective: keep,
            permitted: keep,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

/// A call of the kernel that is answered with one value of one argument only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneUse {
    /// Its number.
    pub call: i64,
    /// Which argument, from 0.
    pub argument: u8,
    /// Its value.
    pub value: u32,
}

/// From here on only these calls of the kernel are answered; all others fail with `EPERM`.
///
/// # Errors
/// The kernel has no filters, or refused this one.
pub fn only_these_calls(calls: &[i64], some_uses: &[OneUse]) -> io::Result<()> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        calls.iter().map(|call| (*call, Vec::new())).collect();
    for one in some_uses {
        let (length, is) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq);
        let condition = SeccompCondition::new(one.argument, length, is, one.value.into());
        let condition = condition.map_err(io::Error::other)?;
        let rule = SeccompRule::new(vec![condition]).map_err(io::Error::other)?;
        rules.entry(one.call).or_default().push(rule);
    }
    let otherwise = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, otherwise, SeccompAction::Allow, arch)
        .map_err(io::Error::other)?;
    let program: BpfProgram = filter.try_into().map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

/// What a helper needs that reads below `/proc` and writes below the control groups: no new program, no socket, no memory of
/// others, no new name space, no module, no mount.
#[must_use]
pub fn calls_of_a_helper() -> Vec<i64> {
    let mut calls = vec![
        // One connection, opened before.
        libc::SYS_recvfrom,
        libc::SYS_recvmsg,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_ppoll,
        // Files.
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_pread64,
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_close,
        libc::SYS_fstat,
        libc::SYS_newfstatat,
        libc::SYS_statx,
        libc::SYS_lseek,
        libc::SYS_getdents64,
        libc::SYS_readlinkat,
        libc::SYS_mkdirat,
        libc::SYS_unlinkat,
        libc::SYS_faccessat,
        libc::SYS_faccessat2,
        libc::SYS_fcntl,
        libc::SYS_ioctl,
        // Processes.
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_send_signal,
        // Own memory, time, end.
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_futex,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_getrandom,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_restart_syscall,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_tgkill,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    #[cfg(target_arch = "x86_64")]
    calls.extend([
        libc::SYS_poll,
        libc::SYS_open,
        libc::SYS_stat,
        libc::SYS_mkdir,
        libc::SYS_rmdir,
        libc::SYS_access,
        libc::SYS_readlink,
    ]);
    calls
}

/// And of these calls one use: of a process's limits on resources that on open files (`RLIMIT_NOFILE`) alone can be set.
#[must_use]
pub fn one_use_of_a_helper() -> OneUse {
    OneUse {
        call: libc::SYS_prlimit64,
        argument: 1,
        value: libc::RLIMIT_NOFILE,
    }
}

/// How this process stands now.
///
/// # Errors
/// `/proc` cannot be read.
pub fn standing() -> io::Result<Standing> {
    Ok(parse_standing(&std::fs::read_to_string(
        "/proc/self/status",
    )?))
}

fn parse_standing(text: &str) -> Standing {
    let value = |key: &str| -> &str {
        let line = text.lines().find_map(|l| l.strip_prefix(key));
        line.and_then(|l| l.strip_prefix(':'))
            .unwrap_or_default()
            .trim()
    };
    let bits = |key| u64::from_str_radix(value(key), 16).unwrap_or(u64::MAX);
    let user = value("Uid").split_whitespace().nth(1);
    Standing {
        user: user.and_then(|u| u.parse().ok()).unwrap_or(0),
        capabilities: bits("CapPrm") | bits("CapEff"),
        bounding: bits("CapBnd"),
        no_new_privileges: value("NoNewPrivs") == "1",
        filtered: value("Seccomp") == "2",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_may_is_read_as_the_kernel_says_it() {
        let text = "Name:\tx\nUid:\t0\t1000\t0\t0\nCapPrm:\t0000000000080020\nCapEff:\t0000000000000020\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";
        assert_eq!(
            parse_standing(text),
            Standing {
                user: 1000,
                capabilities: 0x80020,
                bounding: 0,
                no_new_privileges: true,
                filtered: true
            }
        );
        // What is not said is taken for the worst.
        let unknown = parse_standing("");
        assert_eq!((unknown.user, unknown.capabilities), (0, u64::MAX));
        assert!(!unknown.no_new_privileges && !unknown.filtered);
    }

    #[test]
    fn a_helper_may_not_run_programs_nor_open_sockets_nor_touch_the_memory_of_others() {
        let calls = calls_of_a_helper();
        for call in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_ptrace,
            libc::SYS_process_vm_writev,
            libc::SYS_process_vm_readv,
            libc::SYS_kill,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_mount,
            libc::SYS_init_module,
            libc::SYS_bpf,
            libc::SYS_setuid,
            libc::SYS_capset,
            libc::SYS_fchownat,
            libc::SYS_fchmodat,
            libc::SYS_linkat,
            libc::SYS_symlinkat,
            libc::SYS_renameat2,
        ] {
            assert!(!calls.contains(&call), "call {call}");
        }
    }
}
