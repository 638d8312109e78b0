//! What a command died of, by the kernel's own evidence. Pure: from what was seen to what is said.

use std::time::Duration;

use curb_core::host::limits::Resource;
use curb_core::host::thrash::Thrashing;

use crate::counts::Counts;
use crate::limits::{Limits, size};

/// How the command's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With a code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// It was not our child: nobody told us.
    Unknown,
}

impl Exit {
    /// What a shell gives for it: 128 and the number for a signal.
    #[must_use]
    pub fn shell_code(self) -> u8 {
        let code = match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
            Exit::Unknown => 0,
        };
        u8::try_from(code & 0xff).unwrap_or(u8::MAX)
    }
}

impl Exit {
    /// The same where it is known.
    #[must_use]
    pub fn known_code(self) -> Option<u8> {
        (self != Exit::Unknown).then(|| self.shell_code())
    }
}

/// Why we ended it, if we did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OurStop {
    /// Its time was over.
    Duration,
    /// Its CPU time was used up.
    CpuTime,
    /// A step of its ladder, for this limit.
    Ladder(Resource),
    /// It was at its limit on memory, where the kernel killed nobody, and only read its own program back from disk.
    Thrashing(Thrashing),
    /// It passed this limit where no control group holds it.
    Watchdog(Resource),
    /// We were asked to end (SIGTERM, SIGHUP), and passed that on.
    Asked,
    /// We were asked to end, and gave it back as it was before us.
    LetGo,
}

/// What a command died of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It ended by itself, with this code.
    Itself(i32),
    /// The kernel killed it: the group's memory was at its limit.
    Memory,
    /// The kernel killed another process of the group for its memory, and the command ended after that.
    MemoryOfAnother,
    /// The kernel killed it, or another process of the group, for the memory of a group above or of the host.
    MemoryAbove,
    /// We stopped it.
    Stopped(OurStop),
    /// An address that is not there: in frameworks that do not check allocations, often memory that was refused.
    Segfault,
    /// Another signal, not from us.
    Signal(i32),
    /// It was not our child, and the kernel counted nothing that would tell.
    Unknown,
}

impl Cause {
    /// In a word, for programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Cause::Itself(0) => "done",
            Cause::Itself(_) => "failed",
            Cause::Memory => "memory",
            Cause::MemoryOfAnother => "memory_of_another",
            Cause::MemoryAbove => "memory_above",
            Cause::Stopped(OurStop::Duration) => "duration",
            Cause::Stopped(OurStop::CpuTime) => "cpu_time",
            Cause::Stopped(OurStop::Ladder(_)) => "ladder",
            Cause::Stopped(OurStop::Watchdog(_)) => "watchdog",
            // As the kernel would have, had it not gone on taking back what was wanted at once.
            Cause::Stopped(OurStop::Thrashing(_)) => "memory",
            Cause::Stopped(OurStop::Asked | OurStop::LetGo) => "asked",
            Cause::Segfault => "segfault",
            Cause::Signal(_) => "signal",
            Cause::Unknown => "unknown",
        }
    }

    /// Whether a limit ended it that a new start may keep to: not that its time was over.
    #[must_use]
    pub fn is_a_limit(self) -> bool {
        match self {
            Cause::Memory | Cause::MemoryOfAnother | Cause::MemoryAbove => true,
            Cause::Stopped(stop) => matches!(
                stop,
                OurStop::Ladder(_) | OurStop::Watchdog(_) | OurStop::Thrashing(_)
            ),
            _ => false,
        }
    }
}

/// All that is known of an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// How the process ended.
    pub exit: Exit,
    /// Of what.
    pub cause: Cause,
    /// What the kernel counted.
    pub counts: Counts,
    /// How long it ran.
    pub ran: Duration,
    /// Processes of it that were still there when the command had ended, and were ended too.
    pub left_behind: usize,
    /// Why we ended it, if we did.
    pub stop: Option<OurStop>,
}

const MORE_MEMORY: &str = "next: give it more (--memory, or the file of limits), or less to do at once (a smaller batch or context)";
const SIGKILL: i32 = 9;
/// What a shell gives for a program that was ended by SIGKILL.
const KILLED_BY_A_SHELL_S_WORD: i32 = 137;
const SIGSEGV: i32 = 11;

/// What it was. The kernel's count of kills speaks first: whoever was killed by it says nothing any more.
#[must_use]
pub fn cause(exit: Exit, counts: &Counts, stop: Option<OurStop>) -> Cause {
    let killed_for_memory = counts.oom_kills.is_some_and(|n| n > 0);
    match (exit, stop) {
        (Exit::Signal(SIGKILL), None) if killed_for_memory && counts.killed_from_above => {
            Cause::MemoryAbove
        }
        (Exit::Signal(SIGKILL), None) if killed_for_memory => Cause::Memory,
        (_, Some(stop)) => Cause::Stopped(stop),
        (Exit::Unknown, None) if killed_for_memory && counts.killed_from_above => {
            Cause::MemoryAbove
        }
        (Exit::Unknown, None) if killed_for_memory => Cause::Memory,
        (Exit::Unknown, None) => Cause::Unknown,
        (Exit::Code(0), None) => Cause::Itself(0),
        (_, None) if killed_for_memory && counts.killed_from_above => Cause::MemoryAbove,
        (_, None) if killed_for_memory => Cause::MemoryOfAnother,
        (Exit::Signal(SIGSEGV), None) => Cause::Segfault,
        (Exit::Signal(signal), None) => Cause::Signal(signal),
        (Exit::Code(code), None) => Cause::Itself(code),
    }
}

impl Ending {
    /// It lost processes, and came to a good end all the same.
    fn survived(&self, kills: u64, memory: &str, peak: &str) -> String {
        match self.counts.killed_from_above {
            true => format!(
                "the kernel killed {kills} of its processes for memory while it ran, since a group above it, or the host, had no more; \
                 the command went on, and ended well"
            ),
            false => format!(
                "the kernel killed {kills} of its processes for memory while it ran: together they may hold {memory}, \
                 and needed more{peak}; the command went on, and ended well"
            ),
        }
    }

    /// What a person is told: nothing where it ended well and nothing was in its way.
    #[must_use]
    pub fn text(&self, limits: &Limits) -> Option<String> {
        let peak = self
            .counts
            .memory_peak
            .map_or_else(String::new, |p| format!(" (peak {})", size(p.0)));
        let memory = limits
            .memory
            .map_or_else(|| "its memory limit".to_owned(), |m| size(m.0));
        let kills = self.counts.oom_kills.unwrap_or(0);
        let mut lines: Vec<String> = Vec::new();
        match self.cause {
            Cause::Itself(0) if kills > 0 => lines.push(self.survived(kills, &memory, &peak)),
            Cause::Itself(KILLED_BY_A_SHELL_S_WORD) => {
                let counted = match self.counts.oom_kills {
                    Some(0) => ", and the kernel killed none of its processes for memory",
                    _ => {
                        "; whether the kernel killed one of its processes for memory is not told here"
                    }
                };
                lines.push(format!(
                    "it ended with {KILLED_BY_A_SHELL_S_WORD} by itself: no signal ended it{counted}. A shell ends with that where \
                     what it ran was killed"
                ));
            }
            Cause::Itself(_) => {}
            Cause::Memory => {
                lines.push(format!(
                    "the kernel killed it: all its processes together may hold {memory}, and needed more{peak}"
                ));
                lines.push(MORE_MEMORY.to_owned());
            }
            Cause::MemoryOfAnother => {
                lines.push(format!(
                    "the kernel killed {kills} of its processes: together they may hold {memory}, and needed more{peak}; the command ended after that"
                ));
                lines.push(
                    "next: give it more (--memory, or the file of limits), or fewer processes at once".to_owned(),
                );
            }
            Cause::MemoryAbove => {
                let who = match self.exit {
                    Exit::Code(_) => format!("{kills} of its processes"),
                    _ => "it".to_owned(),
                };
                let above = self.counts.memory_limit_above.map_or_else(
                    || {
                        "the host, or a group above that is not seen from here, had no more"
                            .to_owned()
                    },
                    |most| {
                        format!(
                            "a group above had no more; the tightest may hold {}",
                            size(most.0)
                        )
                    },
                );
                let own = limits.memory.map_or_else(String::new, |m| {
                    format!(", and not for its own limit of {}", size(m.0))
                });
                lines.push(format!(
                    "the kernel killed {who} for memory{own}: {above}{peak}"
                ));
                lines.push(
                    "next: give more to what it runs in (a container, a job, another curb run), or hold it to less than that"
                        .to_owned(),
                );
            }
            Cause::Stopped(OurStop::Duration) => {
                let most = limits
                    .duration
                    .map_or_else(|| "its time".to_owned(), |d| format!("{d:?}"));
                lines.push(format!("it was stopped: it may run {most}"));
                lines.push("next: give it longer (--duration, or the file of limits)".to_owned());
            }
            Cause::Stopped(OurStop::CpuTime) => {
                let most = limits.cpu_time.map_or_else(
                    || "its CPU time".to_owned(),
                    |d| format!("{d:?} of CPU time"),
                );
                lines.push(format!(
                    "it was stopped: it may use {most}, all its processes together"
                ));
                lines.push("next: give it more (--cpu-time, or the file of limits)".to_owned());
            }
            Cause::Stopped(OurStop::Ladder(resource)) => {
                let what = resource.name();
                lines.push(format!(
                    "it was stopped by its ladder, for its limit on {what}{}",
                    match resource {
                        Resource::Memory => format!(" of {memory}{peak}"),
                        _ => String::new(),
                    }
                ));
                lines.push("next: give it more, or less to do at once; the ladder is in the file of limits".to_owned());
            }
            Cause::Stopped(OurStop::Thrashing(how)) => {
                lines.push(format!(
                    "the kernel killed it, at curb's word: it was thrashing: all its processes together may hold {memory}{peak}, and for {} \
                     they did nothing but read their own program back from disk, {} pages a second",
                    how.lasted, how.pages_a_second
                ));
                lines.push(MORE_MEMORY.to_owned());
            }
            Cause::Stopped(OurStop::Watchdog(Resource::Memory)) => {
                lines.push(format!(
                    "it was ended by the watchdog: all its processes together may hold {memory}, and held more"
                ));
                lines.push(MORE_MEMORY.to_owned());
            }
            Cause::Stopped(OurStop::Watchdog(_)) => {
                let most = limits
                    .tasks
                    .map_or_else(|| "its limit".to_owned(), |n| n.to_string());
                lines.push(format!(
                    "it was ended by the watchdog: it may have {most} processes and threads at once, and had more"
                ));
                lines.push("next: give it more (--processes, or the file of limits)".to_owned());
            }
            Cause::Stopped(OurStop::LetGo) => {
                lines.push(
                    "curb was asked to end: it goes on as it was before, without limits of curb"
                        .to_owned(),
                );
            }
            Cause::Stopped(OurStop::Asked) => {
                lines.push("it was stopped: curb was asked to end".to_owned());
            }
            Cause::Unknown => {
                lines.push(
                    "it has ended; with which code is not known, since curb did not start it"
                        .to_owned(),
                );
            }
            Cause::Segfault => {
                lines.push(
                    "it died of a segmentation fault, and not of a limit of the group".to_owned(),
                );
                lines.push("next: look at its last lines; where a limit on address space (ulimit -v) is set, take it away: frameworks that do not check allocations crash at it".to_owned());
            }
            Cause::Signal(SIGKILL) if self.counts.oom_kills.is_none() => {
                lines.push(format!(
                    "it was ended by signal {SIGKILL}, which was not sent by curb; whether the system did it for memory is not told here{peak}"
                ));
            }
            Cause::Signal(signal) => {
                lines.push(format!(
                    "it was ended by signal {signal}, which was not sent by curb, and not for its memory"
                ));
            }
        }
        if let Some(refused) = self.counts.fork_refusals.filter(|n| *n > 0)
            && let Some(tasks) = limits.tasks
        {
            lines.push(format!(
                "{} it was refused a process or thread: it may have {tasks} at once",
                match refused {
                    1 => "once".to_owned(),
                    n => format!("{n} times"),
                }
            ));
        }
        if self.left_behind > 0 {
            lines.push(format!(
                "{} of its processes were still there when it ended; they were ended too",
                self.left_behind
            ));
        }
        (!lines.is_empty()).then(|| lines.join("\n  "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Bytes;
    use curb_core::time::Millis;

    fn counts(oom_kills: Option<u64>) -> Counts {
        Counts {
            oom_kills,
            memory_peak: Some(Bytes(256 << 20)),
            ..Counts::default()
        }
    }

    #[test]
    fn deaths_are_told_apart_by_evidence_and_not_by_the_code_alone() {
        let none = counts(Some(0));
        let some = counts(Some(1));
        for (exit, counts, stop, expected) in [
            (Exit::Code(0), none, None, Cause::Itself(0)),
            (Exit::Code(3), none, None, Cause::Itself(3)),
            // A program may end with 137 by itself.
            (Exit::Code(137), none, None, Cause::Itself(137)),
            (Exit::Signal(9), some, None, Cause::Memory),
            // Somebody else's SIGKILL.
            (Exit::Signal(9), none, None, Cause::Signal(9)),
            // Nobody counted: nothing is claimed.
            (Exit::Signal(9), counts(None), None, Cause::Signal(9)),
            (Exit::Code(1), some, None, Cause::MemoryOfAnother),
            // It lost a worker and went on to a good end.
            (Exit::Code(0), some, None, Cause::Itself(0)),
            (Exit::Signal(11), none, None, Cause::Segfault),
            (
                Exit::Signal(9),
                none,
                Some(OurStop::Duration),
                Cause::Stopped(OurStop::Duration),
            ),
            (
                Exit::Code(0),
                none,
                Some(OurStop::Asked),
                Cause::Stopped(OurStop::Asked),
            ),
        ] {
            assert_eq!(
                cause(exit, &counts, stop),
                expected,
                "{exit:?} {counts:?} {stop:?}"
            );
        }
    }

    #[test]
    fn who_was_ended_for_thrashing_died_of_its_memory_and_is_told_how() {
        let how = Thrashing {
            since: Millis(1000),
            lasted: Millis(30_000),
            used: Bytes(256 << 20),
            limit: Bytes(256 << 20),
            pages_a_second: 15_600,
            stalled: None,
        };
        let stop = OurStop::Thrashing(how);
        let cause = cause(Exit::Signal(9), &counts(Some(0)), Some(stop));
        assert_eq!((cause.word(), cause.is_a_limit()), ("memory", true));
        let ending = Ending {
            exit: Exit::Signal(9),
            cause,
            counts: counts(Some(0)),
            ran: Duration::from_secs(60),
            left_behind: 0,
            stop: Some(stop),
        };
        let limits = Limits {
            memory: Some(Bytes(256 << 20)),
            ..Limits::default()
        };
        assert_eq!(
            ending.text(&limits).as_deref(),
            Some(
                "the kernel killed it, at curb's word: it was thrashing: all its processes together may hold 256 MiB (peak 256 MiB), \
                 and for 30s they did nothing but read their own program back from disk, 15600 pages a second\n  \
                 next: give it more (--memory, or the file of limits), or less to do at once (a smaller batch or context)"
            )
        );
    }

    #[test]
    fn codes_are_those_that_a_shell_gives() {
        assert_eq!(Exit::Code(0).shell_code(), 0);
        assert_eq!(Exit::Code(300).shell_code(), 44);
        assert_eq!(Exit::Signal(9).shell_code(), 137);
        assert_eq!(Exit::Signal(15).shell_code(), 143);
    }

    #[test]
    fn a_good_end_says_nothing_and_a_death_says_which_limit_and_what_to_do() {
        let limits = Limits {
            memory: Some(Bytes(256 << 20)),
            tasks: Some(4),
            ..Limits::default()
        };
        let mut ending = Ending {
            exit: Exit::Code(0),
            cause: Cause::Itself(0),
            counts: counts(Some(0)),
            ran: Duration::from_secs(1),
            left_behind: 0,
            stop: None,
        };
        assert_eq!(ending.text(&limits), None);
        (ending.exit, ending.cause) = (Exit::Signal(9), Cause::Memory);
        ending.counts.fork_refusals = Some(2);
        ending.left_behind = 1;
        assert_eq!(
            ending.text(&limits).as_deref(),
            Some(
                "the kernel killed it: all its processes together may hold 256 MiB, and needed more (peak 256 MiB)\n  \
                 next: give it more (--memory, or the file of limits), or less to do at once (a smaller batch or context)\n  \
                 2 times it was refused a process or thread: it may have 4 at once\n  \
                 1 of its processes were still there when it ended; they were ended too"
            )
        );
    }
}
