//! What a supervisor tells: one object each, and in what state the workload is.

use serde::{Deserialize, Serialize};

use super::climb::Done;
use crate::host::Bytes;
use crate::host::limits::Resource;
use crate::host::thrash::Thrashing;
use crate::time::{Millis, Timestamp};

/// In what state a workload is, for who stands in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is being started.
    Starting,
    /// It runs within its limits; a warning may have been given.
    Up,
    /// More than a warning was done about a limit, and the exceedance is not over.
    OverLimit,
    /// It is held still.
    Paused,
    /// It ended at a limit and is started again after a wait.
    Restarting,
    /// The other command runs in its place.
    Fallback,
    /// It is being ended.
    Stopping,
    /// It ended at a limit and is not started any more.
    GivenUp,
    /// It has ended.
    Ended,
}

/// What holds a workload to its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HeldBy {
    /// A control group, version 1.
    #[serde(rename = "cgroup-v1")]
    GroupV1,
    /// A control group, version 2.
    #[serde(rename = "cgroup-v2")]
    GroupV2,
    /// Looking often and ending it.
    #[serde(rename = "watchdog")]
    Watchdog,
    /// Nothing: no limit was asked for that needs it.
    #[serde(rename = "nothing")]
    Nothing,
}

/// How an action, or an exceedance, came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done; or the exceedance is over and the workload runs on.
    Done,
    /// It could not be done, and why.
    Failed(String),
    /// The workload ended meanwhile, and of what.
    Ended(String),
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    #[serde(with = "rfc3339")]
    pub time: Timestamp,
    /// Which workload.
    pub workload: String,
    /// Which start of it, from 1.
    pub run: u32,
    /// The state it is in from here on.
    pub state: State,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened. Amounts are in the unit of their limit: bytes, thousandths of a CPU, tasks, milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// The state is another one; nothing else is to be told.
    Changed,
    /// Its processes run.
    Started {
        /// The first of them.
        pid: u32,
        /// Program and arguments.
        command: Vec<String>,
        /// The name of its control group.
        group: Option<String>,
        /// What holds it.
        held_by: HeldBy,
        /// Its limit on memory.
        memory: Option<Bytes>,
        /// What of its limits cannot be held here, and why.
        not_held: Vec<String>,
    },
    /// A limit came near, or was met.
    Exceeded {
        /// The number of this exceedance, from 1.
        exceedance: u64,
        /// Of which limit.
        resource: Resource,
        /// What was read.
        used: u64,
        /// The limit.
        limit: u64,
    },
    /// It is at its limit on memory, where the kernel kills nobody, and only reads its own program back from disk.
    Thrashing {
        /// Memory that it has.
        used: Bytes,
        /// Its limit.
        limit: Bytes,
        /// Pages that it reads back a second.
        pages_a_second: u64,
        /// The part of the time in which all of it stands still, in thousandths, where the kernel tells.
        stalled_permille: Option<u32>,
        /// For how long, in milliseconds.
        lasted_ms: u64,
        /// It is ended in so many milliseconds, if that does not end.
        ended_in_ms: Option<u64>,
    },
    /// It thrashes no more.
    ThrashingOver {
        /// For how long it did, in milliseconds.
        lasted_ms: u64,
        /// Whether it goes on, or was ended for it.
        outcome: Outcome,
    },
    /// The kernel killed processes of it for memory, and the command goes on.
    OomKilled {
        /// How many, since that was last told.
        kills: u64,
        /// Its limit on memory.
        limit: Option<Bytes>,
        /// Its own limit was not in the way: a group above it, or the host, had no more.
        from_above: bool,
    },
    /// A step of the ladder was taken.
    Acted {
        /// Of which exceedance.
        exceedance: u64,
        /// Which step, from 1.
        step: usize,
        /// Of which limit.
        resource: Resource,
        /// The word for it in the file of limits.
        action: String,
        /// What was read.
        used: u64,
        /// The limit.
        limit: u64,
        /// What was done exactly.
        detail: String,
        /// How it went.
        outcome: Outcome,
    },
    /// What a step did was undone.
    Undone {
        /// Of which exceedance.
        exceedance: u64,
        /// Which step, from 1.
        step: usize,
        /// The word for it in the file of limits.
        action: String,
        /// How it went.
        outcome: Outcome,
    },
    /// An exceedance is over.
    Cleared {
        /// Which.
        exceedance: u64,
        /// Of which limit.
        resource: Resource,
        /// The limit that was last in force.
        limit: u64,
        /// The most that was read meanwhile, or that the kernel counted.
        peak: u64,
        /// From its beginning to its end, in milliseconds.
        lasted_ms: u64,
        /// What was done about it, in order.
        done: Vec<String>,
        /// What came of it.
        outcome: Outcome,
    },
    /// Its first process has ended, and with it all others.
    Died {
        /// Of what, in a word.
        cause: String,
        /// The code that a shell gives. None: it was not our child.
        exit_code: Option<u8>,
        /// The most memory it had, as the kernel counted.
        memory_peak: Option<Bytes>,
        /// How many of its processes the kernel killed for memory, where that is counted.
        oom_kills: Option<u64>,
        /// How long it ran, in milliseconds.
        ran_ms: u64,
        /// Processes that were still there, and were ended.
        left_behind: usize,
        /// Of what, for people; nothing where it ended well and nothing was in its way.
        text: Option<String>,
    },
    /// It will be started again.
    Retrying {
        /// Which retry within the window, from 1.
        attempt: u32,
        /// Of how many.
        of: u32,
        /// After how long, in milliseconds.
        after_ms: u64,
        /// With this limit on memory.
        memory: Option<Bytes>,
        /// It was to get more than the host has left.
        less_than_wanted: bool,
    },
    /// The other command is started in its place.
    FellBack {
        /// Failures within the window before that.
        failures: u32,
        /// Program and arguments.
        command: Vec<String>,
    },
    /// It is not started any more.
    GaveUp {
        /// Failures within the window before that.
        failures: u32,
    },
    /// Something that a person should know.
    Note {
        /// What.
        text: String,
    },
}

impl What {
    /// That it thrashes, and is ended for that after a while.
    #[must_use]
    pub fn thrashing(how: &Thrashing, ended_after: Option<Millis>) -> What {
        What::Thrashing {
            used: how.used,
            limit: how.limit,
            pages_a_second: how.pages_a_second,
            stalled_permille: how.stalled.map(|p| p.0),
            lasted_ms: how.lasted.0,
            ended_in_ms: ended_after.map(|after| after.0.saturating_sub(how.lasted.0)),
        }
    }
}

impl Event {
    /// One line of JSON, its end included.
    ///
    /// # Errors
    /// Never in practice: there is nothing in it that JSON cannot say.
    pub fn line(&self) -> Result<String, serde_json::Error> {
        let mut line = serde_json::to_string(self)?;
        line.push('\n');
        Ok(line)
    }
}

impl Done {
    /// `throttle`, `pause (failed: …)`
    #[must_use]
    pub fn text(&self) -> String {
        match &self.failed {
            None => self.action.to_owned(),
            Some(why) => format!("{} (failed: {why})", self.action),
        }
    }
}

impl Outcome {
    /// From a result of which only the reason matters.
    #[must_use]
    pub fn of<T>(result: &Result<T, String>) -> Outcome {
        match result {
            Ok(_) => Outcome::Done,
            Err(why) => Outcome::Failed(why.clone()),
        }
    }
}

/// An amount of a resource for people.
#[must_use]
pub(super) fn amount(resource: Resource, amount: u64) -> String {
    match resource {
        Resource::Memory => Bytes(amount).to_string(),
        Resource::Cpu => format!("{} CPU", crate::host::MilliCpu(amount)),
        Resource::Processes => format!("{amount} processes and threads"),
        Resource::Duration => Millis(amount).to_string(),
        Resource::CpuTime => format!("{} of CPU time", Millis(amount)),
    }
}

mod rfc3339 {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use crate::time::Timestamp;

    pub fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        format!("{:.3}", time.to_jiff()).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(from)?;
        let time: jiff::Timestamp = text.parse().map_err(D::Error::custom)?;
        Ok(Timestamp(time.as_millisecond()))
    }
}
