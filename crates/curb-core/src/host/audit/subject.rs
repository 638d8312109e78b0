//! What is audited, as values: its limits as they really hold.

use serde::Serialize;

use super::{Container, Framework, Spot};
use crate::host::{Bytes, MilliCpu};

/// A limit as it really holds for somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Effective<T> {
    /// The tightest of all that hold.
    Held(Held<T>),
    /// Everything that could hold it was read, and nothing does.
    Unlimited,
    /// What was read does not decide it; who does.
    Elsewhere {
        /// Who decides it.
        who: String,
    },
    /// It could not be read.
    Unknown {
        /// Why.
        why: String,
    },
}

/// A limit that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held<T> {
    /// The limit.
    pub value: T,
    /// What holds it: a file of the kernel, a line of a file, a default.
    pub by: String,
    /// Others that are not part of the subject are under the same limit.
    pub shared: bool,
    /// What could not be read and could hold it tighter still.
    pub unread: Option<String>,
}

impl<T> Held<T> {
    /// Held by this, for the subject alone.
    pub fn new(value: T, by: impl Into<String>) -> Held<T> {
        Held {
            value,
            by: by.into(),
            shared: false,
            unread: None,
        }
    }
}

impl<T> Effective<T> {
    /// Held by this, for the subject alone.
    pub fn held(value: T, by: impl Into<String>) -> Effective<T> {
        Effective::Held(Held::new(value, by))
    }

    /// Not read, and why.
    pub fn unknown(why: impl Into<String>) -> Effective<T> {
        Effective::Unknown { why: why.into() }
    }

    /// Decided by somebody else.
    pub fn elsewhere(who: impl Into<String>) -> Effective<T> {
        Effective::Elsewhere { who: who.into() }
    }

    /// The limit that holds.
    pub fn as_held(&self) -> Option<&Held<T>> {
        match self {
            Effective::Held(held) => Some(held),
            _ => None,
        }
    }
}

impl<T: Ord> Effective<T> {
    /// This limit and another that holds as well: the tighter one; on a tie this one. What is not known of either stays
    /// said.
    #[must_use]
    pub fn tighter(self, other: Effective<T>) -> Effective<T> {
        match (self, other) {
            (Effective::Held(a), Effective::Held(b)) => {
                let unread = a.unread.clone().or_else(|| b.unread.clone());
                let tight = if b.value < a.value { b } else { a };
                Effective::Held(Held { unread, ..tight })
            }
            (Effective::Held(mut held), other) | (other, Effective::Held(mut held)) => {
                if let Effective::Unknown { why } = other {
                    held.unread.get_or_insert(why);
                }
                Effective::Held(held)
            }
            (unknown @ Effective::Unknown { .. }, _) | (_, unknown @ Effective::Unknown { .. }) => {
                unknown
            }
            (elsewhere @ Effective::Elsewhere { .. }, _)
            | (_, elsewhere @ Effective::Elsewhere { .. }) => elsewhere,
            (Effective::Unlimited, Effective::Unlimited) => Effective::Unlimited,
        }
    }
}

/// What a subject is, for what mends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Running processes that are in the same control groups.
    Processes,
    /// A service of a Compose file.
    Compose {
        /// Its name in the file.
        service: String,
        /// It says its limits as `mem_limit` and the like, and not below `deploy`.
        short: bool,
    },
    /// A container of a pod.
    Kubernetes {
        /// The container's name.
        container: String,
    },
    /// A systemd unit.
    Unit,
}

/// One process of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its number.
    pub pid: u32,
    /// The name it gives itself.
    pub name: String,
    /// The user it runs as.
    pub user: Option<u32>,
    /// What it has in memory.
    pub resident: Option<Bytes>,
    /// The most it ever had.
    pub resident_peak: Option<Bytes>,
    /// Files it has open.
    pub open_files: Option<u64>,
    /// Its own limit on them.
    pub most_open_files: Effective<u64>,
    /// How eagerly the kernel takes it when memory is short: -1000 never, 1000 first.
    pub oom_score: Option<i32>,
    /// Its limit on address space.
    pub address_space: Effective<Bytes>,
    /// Its limit on its own data.
    pub data: Effective<Bytes>,
}

/// The GPUs that something is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gpus {
    /// None that are told.
    #[default]
    None,
    /// So many.
    Some(u64),
    /// All of the machine.
    All,
}

/// Whose limits are looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// What it is.
    pub kind: Kind,
    /// What it is called in messages.
    pub name: String,
    /// Where it stands in a file.
    pub spot: Option<Spot>,
    /// By what it is known to do machine learning.
    pub frameworks: Vec<Framework>,
    /// Its processes, where it runs.
    pub members: Vec<Member>,
    /// The container it runs in.
    pub container: Option<Container>,
    /// The systemd unit it runs in, or is.
    pub unit: Option<String>,
    /// The path of its control group.
    pub group: Option<String>,
    /// Memory of all together.
    pub memory: Effective<Bytes>,
    /// Memory above which it is slowed down.
    pub memory_high: Effective<Bytes>,
    /// Swap on top of memory.
    pub swap: Effective<Bytes>,
    /// CPU time in each period.
    pub cpu: Effective<MilliCpu>,
    /// Share of the CPU when it is short, as the kernel's file has it.
    pub cpu_weight: Option<u64>,
    /// The CPUs it may run on.
    pub cpu_set: Option<String>,
    /// How many those are.
    pub cpus: Option<u64>,
    /// Processes and threads together.
    pub tasks: Effective<u64>,
    /// Open files of each process, where that is not known of each one.
    pub open_files: Effective<u64>,
    /// Address space, where that is not known of each one.
    pub address_space: Effective<Bytes>,
    /// Data, where that is not known of each one.
    pub data: Effective<Bytes>,
    /// How eagerly the kernel takes it, where that is not known of each one.
    pub oom_score: Option<i32>,
    /// At its limit it is paused and not killed.
    pub oom_killer_off: Option<bool>,
    /// At its limit all of it is killed, and not one process.
    pub oom_whole: Option<bool>,
    /// Processes of it that the kernel has killed at its limit.
    pub oom_kills: Option<u64>,
    /// Memory it uses now, as the holder of its limit counts it, without what can be given back at once.
    pub used: Option<Bytes>,
    /// The GPUs it is given.
    pub gpus: Gpus,
}

impl Subject {
    /// One of which nothing is limited and nothing more is known.
    #[must_use]
    pub fn new(kind: Kind, name: impl Into<String>) -> Subject {
        Subject {
            kind,
            name: name.into(),
            spot: None,
            frameworks: Vec::new(),
            members: Vec::new(),
            container: None,
            unit: None,
            group: None,
            memory: Effective::Unlimited,
            memory_high: Effective::Unlimited,
            swap: Effective::Unlimited,
            cpu: Effective::Unlimited,
            cpu_weight: None,
            cpu_set: None,
            cpus: None,
            tasks: Effective::Unlimited,
            open_files: Effective::Unlimited,
            address_space: Effective::Unlimited,
            data: Effective::Unlimited,
            oom_score: None,
            oom_killer_off: None,
            oom_whole: None,
            oom_kills: None,
            used: None,
            gpus: Gpus::None,
        }
    }

    /// The most memory that its processes had, each at its own worst.
    #[must_use]
    pub fn peak(&self) -> Option<Bytes> {
        let peaks = self.members.iter().map(|m| m.resident_peak.or(m.resident));
        let sum = peaks
            .flatten()
            .map(|b| b.0)
            .fold(0_u64, u64::saturating_add);
        (sum > 0).then_some(Bytes(sum))
    }
}

/// The machine that runs it. What is not known is not compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Its memory.
    pub memory: Option<Bytes>,
    /// Its swap.
    pub swap: Option<Bytes>,
    /// Its CPUs.
    pub cpus: Option<u64>,
}
