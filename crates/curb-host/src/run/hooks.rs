//! Programs of the user's that are run at a step of the ladder: outside of the workload's limits, bounded in time and number.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use curb_core::host::limits::Resource;
use rustix::process::{Pid, Signal, WaitStatus, kill_process_group};

/// So many at a time; a step whose program would be one more has failed.
const MOST: usize = 8;

/// What it is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It tells somebody; nobody waits for it.
    Warn,
    /// The workload saves its work by it; the ladder waits.
    Checkpoint(Resource),
}

#[derive(Debug)]
struct Hook {
    pid: Pid,
    purpose: Purpose,
    program: String,
    until: Instant,
}

/// Those that run.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    running: Vec<Hook>,
}

/// One that ended.
pub(crate) struct Ended {
    /// What it was run for.
    pub purpose: Purpose,
    /// What went wrong, if anything did.
    pub wrong: Option<String>,
}

impl Hooks {
    /// Starts one.
    pub(crate) fn start(
        &mut self,
        argv: &[String],
        variables: &[(&'static str, String)],
        purpose: Purpose,
        within: Duration,
    ) -> Result<(), String> {
        let (program, arguments) = argv.split_first().ok_or("no program is named")?;
        if self.running.len() >= MOST {
            return Err(format!("{MOST} such programs still run"));
        }
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        // What it prints is talk: the workload's own output stays clean.
        command.stdout(io::stderr()).process_group(0);
        command.envs(variables.iter().map(|(k, v)| (*k, v.as_str())));
        let child = command.spawn().map_err(|e| format!("{program}: {e}"))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        self.running.push(Hook {
            pid: pid.ok_or("its number is none")?,
            purpose,
            program: program.clone(),
            until: Instant::now() + within,
        });
        Ok(())
    }

    /// Takes note that a child of ours has ended, if it is one of these.
    pub(crate) fn ended(&mut self, pid: Pid, status: WaitStatus) -> Option<Ended> {
        let at = self.running.iter().position(|h| h.pid == pid)?;
        let hook = self.running.swap_remove(at);
        let program = &hook.program;
        let wrong = match (status.exit_status(), status.terminating_signal()) {
            (Some(0), _) => None,
            (Some(code), _) => Some(format!("{program} ended with {code}")),
            (None, signal) => Some(format!(
                "{program} was ended by signal {}",
                signal.unwrap_or(0)
            )),
        };
        Some(Ended {
            purpose: hook.purpose,
            wrong,
        })
    }

    /// When the next one has had its time.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.running.iter().map(|h| h.until).min()
    }

    /// Ends those that have had their time, with what they started.
    pub(crate) fn end_overdue(&mut self, now: Instant) {
        for hook in self.running.iter_mut().filter(|h| h.until <= now) {
            let _it_may_have_ended = kill_process_group(hook.pid, Signal::KILL);
            // It is heard of when it has been waited for; until then it is not tried ten times a second.
            hook.until = now + Duration::from_secs(1);
        }
    }

    /// Ends all of them.
    pub(crate) fn end_all(&mut self) {
        for hook in &self.running {
            let _it_may_have_ended = kill_process_group(hook.pid, Signal::KILL);
        }
    }

    /// Their numbers.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let raw = |h: &Hook| h.pid.as_raw_nonzero().get().unsigned_abs();
        self.running.iter().map(raw).collect()
    }
}
