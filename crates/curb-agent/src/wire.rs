//! What the agent may ask of the helper, and what it is answered: one message each, as JSON, of bounded length.
//!
//! The helper trusts nothing that comes in: a message is taken only if it says exactly what a [`Verb`] can say, in the one
//! way in which it is written here. What can be checked without the kernel is checked in [`Verb::decode`].

use serde::{Deserialize, Serialize};

use curb_core::host::limits::LimitSet;
use curb_core::host::{Bytes, MilliCpu};

/// A message longer than this is none.
pub const LONGEST: usize = 8 << 10;
/// A name is that long at most: as in `limits.yaml`.
const LONGEST_NAME: usize = 63;
/// So many library names are asked for at a time.
pub const MOST_LIBRARIES: usize = 64;
/// Library names, variables and their values are this long at most.
pub const LONGEST_TEXT: usize = 1 << 10;
/// With fewer open files nothing goes on.
const LEAST_FILES: u64 = 8;
/// Signals that a workload may be sent: HUP, INT, QUIT, USR1, USR2, TERM, CONT. To end it at once there is a verb of its own.
pub const SIGNALS: [i32; 7] = [1, 2, 3, 10, 12, 15, 18];

/// The name of a workload, and of its group: 1 to 63 of `a-z`, `0-9` and `-`, beginning with a letter or digit. Nothing in
/// it can lead out of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The name, if it is one.
    #[must_use]
    pub fn new(text: &str) -> Option<Name> {
        let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let right = (1..=LONGEST_NAME).contains(&text.len())
            && text.bytes().all(known)
            && !text.starts_with('-');
        right.then(|| Name(text.to_owned()))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Name, String> {
        Name::new(&text).ok_or_else(|| format!("no name of a workload: {text:?}"))
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

/// A process, by number and start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Who {
    /// Its number.
    pub pid: u32,
    /// When it started, in ticks since the machine did.
    pub start: u64,
}

/// What the helper can be asked for. There is no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// The groups that it has.
    List,
    /// A group of this name, with these limits; nothing is in it.
    Make {
        /// Which.
        group: Name,
        /// Its limits.
        limits: Box<LimitSet>,
        /// Who meets the limit on memory waits there to be given more, where the kernel can (version 1), and is not ended.
        wait: bool,
    },
    /// Other limits for a group. What is not given is no longer limited.
    Limit {
        /// Which.
        group: Name,
        /// Its limits from here on.
        limits: Box<LimitSet>,
        /// As in [`Verb::Make`].
        wait: bool,
    },
    /// A process, with all its threads, into a group.
    Adopt {
        /// Which.
        group: Name,
        /// The process.
        who: Who,
    },
    /// A group held still.
    Freeze {
        /// Which.
        group: Name,
    },
    /// A group going on.
    Thaw {
        /// Which.
        group: Name,
    },
    /// A signal to all in a group, one of [`SIGNALS`].
    Signal {
        /// Which.
        group: Name,
        /// Its number.
        signal: i32,
    },
    /// A signal to one process of a group, one of [`SIGNALS`].
    Tell {
        /// Which group.
        group: Name,
        /// The process.
        who: Who,
        /// Its number.
        signal: i32,
    },
    /// All in a group, and what they start from here on, may have at most so many files open each. Who has less keeps that:
    /// it is lowered, never raised.
    Files {
        /// Which.
        group: Name,
        /// How many.
        most: u64,
    },
    /// Bytes a second that a group may read from, and write to, each disk that its processes work on; of what is not given
    /// the limit is taken away.
    Disks {
        /// Which.
        group: Name,
        /// Reading.
        read: Option<u64>,
        /// Writing.
        write: Option<u64>,
    },
    /// All in a group ended at once.
    Kill {
        /// Which.
        group: Name,
    },
    /// A group that is empty removed.
    Remove {
        /// Which.
        group: Name,
    },
    /// Which of these libraries a process has mapped, by the beginning of their file's name.
    Libraries {
        /// The process.
        who: Who,
        /// The beginnings of names.
        names: Vec<String>,
    },
    /// Whether a process was started with a variable of exactly this value.
    Variable {
        /// The process.
        who: Who,
        /// The variable.
        name: String,
        /// Its value.
        value: String,
    },
    /// What a process has read and written.
    Io {
        /// The process.
        who: Who,
    },
}

/// What the helper answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The first word: it has begun, and this is what it still may.
    Ready {
        /// Its number.
        pid: u32,
        /// Its user.
        user: u32,
        /// Its capabilities.
        capabilities: u64,
        /// Its calls of the kernel are filtered.
        filtered: bool,
    },
    /// It was done.
    Done,
    /// It was done, as far as the kernel can here; what is missing is said.
    DoneBut {
        /// What is not limited, and why.
        missing: Vec<String>,
    },
    /// The groups.
    Groups {
        /// Their names.
        names: Vec<Name>,
    },
    /// To so many processes; or so many are left.
    Count {
        /// How many.
        processes: u64,
    },
    /// Of the names, those that were found; by their place in the question.
    Found {
        /// Places, ascending.
        places: Vec<usize>,
    },
    /// Yes or no.
    Is {
        /// Which.
        yes: bool,
    },
    /// Bytes.
    Io {
        /// Read and written by calls of the kernel, together.
        bytes: Option<u64>,
    },
    /// The process has ended, or is another one by now.
    Gone,
    /// It is nothing that may be asked for.
    Refused {
        /// Why.
        why: String,
    },
    /// It was tried and failed.
    Failed {
        /// What was attempted on what, and why it failed.
        why: String,
    },
}

impl Verb {
    /// Its word, for logs.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Verb::List => "list",
            Verb::Make { .. } => "make",
            Verb::Limit { .. } => "limit",
            Verb::Adopt { .. } => "adopt",
            Verb::Freeze { .. } => "freeze",
            Verb::Thaw { .. } => "thaw",
            Verb::Signal { .. } => "signal",
            Verb::Tell { .. } => "tell",
            Verb::Files { .. } => "files",
            Verb::Disks { .. } => "disks",
            Verb::Kill { .. } => "kill",
            Verb::Remove { .. } => "remove",
            Verb::Libraries { .. } => "libraries",
            Verb::Variable { .. } => "variable",
            Verb::Io { .. } => "io",
        }
    }

    /// As it is sent.
    ///
    /// # Errors
    /// It would be too long.
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        let bytes = serde_json::to_vec(self).map_err(|e| e.to_string())?;
        match bytes.len() {
            0..=LONGEST => Ok(bytes),
            length => Err(format!(
                "a message of {length} bytes is longer than {LONGEST}"
            )),
        }
    }

    /// What was sent, if it is one of the things that can be asked for.
    ///
    /// # Errors
    /// Why it is not.
    pub fn decode(bytes: &[u8]) -> Result<Verb, String> {
        if bytes.len() > LONGEST {
            return Err(format!("longer than {LONGEST} bytes"));
        }
        let verb: Verb = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        // There is one way to say a thing. Unknown fields, repeated ones and odd spaces end here.
        if verb.encode().ok().as_deref() != Some(bytes) {
            return Err("it is not written as it must be".to_owned());
        }
        verb.check()?;
        Ok(verb)
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Verb::Make { limits, .. } | Verb::Limit { limits, .. } => check_limits(limits),
            Verb::Files { most, .. } if *most < LEAST_FILES => {
                Err(format!("open files of {most} are below {LEAST_FILES}"))
            }
            Verb::Disks { read, write, .. } if *read == Some(0) || *write == Some(0) => {
                Err("a limit of 0 on reading or writing is none".to_owned())
            }
            Verb::Signal { signal, .. } | Verb::Tell { signal, .. }
                if !SIGNALS.contains(signal) =>
            {
                Err(format!("signal {signal} is none that may be sent"))
            }
            Verb::Adopt { who, .. } | Verb::Tell { who, .. } | Verb::Io { who } => check_who(*who),
            Verb::Libraries { who, names } => {
                check_who(*who)?;
                if names.is_empty() || names.len() > MOST_LIBRARIES {
                    return Err(format!("1 to {MOST_LIBRARIES} names are looked for"));
                }
                names.iter().try_for_each(|name| check_text(name))
            }
            Verb::Variable { who, name, value } => {
                check_who(*who)?;
                check_text(name)?;
                match value.len() {
                    0..=LONGEST_TEXT => Ok(()),
                    _ => Err(format!("a value is at most {LONGEST_TEXT} bytes")),
                }
            }
            _ => Ok(()),
        }
    }
}

fn check_who(who: Who) -> Result<(), String> {
    match who.pid {
        0 | 1 => Err(format!("process {} is never touched", who.pid)),
        _ => Ok(()),
    }
}

fn check_text(text: &str) -> Result<(), String> {
    let right = (1..=LONGEST_TEXT).contains(&text.len()) && !text.contains(['/', '\0', '=']);
    match right {
        true => Ok(()),
        false => Err("a name is 1 to 1024 bytes without `/` and `=`".to_owned()),
    }
}

/// What no kernel could mean.
fn check_limits(limits: &LimitSet) -> Result<(), String> {
    let least = |what: &str, value: Option<u64>, least: u64| match value {
        Some(value) if value < least => Err(format!("{what} of {value} is below {least}")),
        _ => Ok(()),
    };
    let bytes = |l: &Option<curb_core::host::limits::Limit<Bytes>>| l.as_ref().map(|l| l.value.0);
    let milli =
        |l: &Option<curb_core::host::limits::Limit<MilliCpu>>| l.as_ref().map(|l| l.value.0);
    least("memory", bytes(&limits.memory), 1 << 20)?;
    least("memory_high", bytes(&limits.memory_high), 1 << 20)?;
    least("cpu", milli(&limits.cpu), 10)?;
    least("processes", limits.processes.as_ref().map(|l| l.value), 1)
}

impl Answer {
    /// As it is sent. What would be too long is a failure that says so.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match serde_json::to_vec(self) {
            Ok(bytes) if bytes.len() <= LONGEST => bytes,
            _ => br#"{"failed":{"why":"the answer is too long"}}"#.to_vec(),
        }
    }

    /// What was answered.
    ///
    /// # Errors
    /// It is no answer.
    pub fn decode(bytes: &[u8]) -> Result<Answer, String> {
        if bytes.len() > LONGEST {
            return Err(format!("longer than {LONGEST} bytes"));
        }
        serde_json::from_slice(bytes).map_err(|e| e.to_string())
    }
}

/// The limits that the kernel holds, without the words for people: what the helper is told.
#[must_use]
pub fn bare(set: &LimitSet) -> LimitSet {
    fn one<T: Clone>(
        limit: &Option<curb_core::host::limits::Limit<T>>,
    ) -> Option<curb_core::host::limits::Limit<T>> {
        let limit = limit.as_ref()?;
        Some(curb_core::host::limits::Limit::new(limit.value.clone(), ""))
    }
    LimitSet {
        memory: one(&set.memory),
        memory_high: one(&set.memory_high),
        swap: one(&set.swap),
        cpu: one(&set.cpu),
        cpu_weight: one(&set.cpu_weight),
        cpu_set: one(&set.cpu_set),
        processes: one(&set.processes),
        io_read: one(&set.io_read),
        io_write: one(&set.io_write),
        ..LimitSet::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use curb_core::host::limits::Limit;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    fn every_verb() -> Vec<Verb> {
        let group = name("chat-1");
        let who = Who { pid: 42, start: 7 };
        let limits = Box::new(LimitSet {
            memory: Some(Limit::new(Bytes(1 << 30), "")),
            processes: Some(Limit::new(64, "")),
            ..LimitSet::default()
        });
        vec![
            Verb::List,
            Verb::Make {
                group: group.clone(),
                limits: limits.clone(),
                wait: true,
            },
            Verb::Limit {
                group: group.clone(),
                limits,
                wait: false,
            },
            Verb::Adopt {
                group: group.clone(),
                who,
            },
            Verb::Freeze {
                group: group.clone(),
            },
            Verb::Thaw {
                group: group.clone(),
            },
            Verb::Signal {
                group: group.clone(),
                signal: 15,
            },
            Verb::Tell {
                group: group.clone(),
                who,
                signal: 10,
            },
            Verb::Files {
                group: group.clone(),
                most: 4096,
            },
            Verb::Disks {
                group: group.clone(),
                read: Some(1 << 20),
                write: None,
            },
            Verb::Kill {
                group: group.clone(),
            },
            Verb::Remove { group },
            Verb::Libraries {
                who,
                names: vec!["libmlx".to_owned()],
            },
            Verb::Variable {
                who,
                name: "CURB".to_owned(),
                value: "x=y/z".to_owned(),
            },
            Verb::Io { who },
        ]
    }

    #[test]
    fn what_is_sent_is_what_is_read() {
        for verb in every_verb() {
            let bytes = verb.encode().expect("short");
            assert_eq!(Verb::decode(&bytes), Ok(verb));
        }
    }

    #[test]
    fn a_name_never_leads_out_of_a_directory() {
        for text in [
            "",
            ".",
            "..",
            "a/b",
            "../x",
            "a b",
            "A",
            "-a",
            "a.b",
            "ä",
            "a\0",
            "a\n",
            &"a".repeat(64),
        ] {
            assert_eq!(Name::new(text), None, "{text:?}");
        }
        for text in ["a", "0", "chat-1", &"a".repeat(63)] {
            assert!(Name::new(text).is_some(), "{text:?}");
        }
    }

    #[test]
    fn what_is_nothing_that_may_be_asked_for_is_refused() {
        for text in [
            "",
            "[]",
            "{}",
            r#""reboot""#,
            r#"{"exec":{"command":"sh"}}"#,
            // Another's group, by its path; a path in a library's name.
            r#"{"kill":{"group":"../system.slice"}}"#,
            r#"{"kill":{"group":"/"}}"#,
            r#"{"libraries":{"who":{"pid":42,"start":1},"names":["/etc/shadow"]}}"#,
            // The first process, and none at all.
            r#"{"adopt":{"group":"chat","who":{"pid":1,"start":0}}}"#,
            r#"{"adopt":{"group":"chat","who":{"pid":0,"start":0}}}"#,
            r#"{"adopt":{"group":"chat","who":{"pid":-1,"start":0}}}"#,
            r#"{"tell":{"group":"chat","who":{"pid":42,"start":1},"signal":9}}"#,
            r#"{"tell":{"group":"chat","who":{"pid":1,"start":0},"signal":15}}"#,
            // Nothing could be opened any more; nothing could be read.
            r#"{"files":{"group":"chat","most":7}}"#,
            r#"{"files":{"group":"chat","most":-1}}"#,
            r#"{"disks":{"group":"chat","read":0,"write":null}}"#,
            r#"{"disks":{"group":"chat"}}"#,
            // Ending it at once is a verb of its own, stopping it as well.
            r#"{"signal":{"group":"chat","signal":9}}"#,
            r#"{"signal":{"group":"chat","signal":19}}"#,
            r#"{"signal":{"group":"chat","signal":0}}"#,
            // Two ways to say it: a field that is not known, one that is given twice, spaces, more behind it.
            r#"{"kill":{"group":"chat","all":true}}"#,
            r#"{"kill":{"group":"chat","group":"other"}}"#,
            r#"{"kill": {"group":"chat"}}"#,
            r#"{"kill":{"group":"chat"}}{"kill":{"group":"other"}}"#,
            r#"{"limit":{"group":"chat","limits":{"memory":{"value":1}}}}"#,
        ] {
            assert!(Verb::decode(text.as_bytes()).is_err(), "{text}");
        }
        let tiny = LimitSet {
            memory: Some(Limit::new(Bytes(4096), "")),
            ..LimitSet::default()
        };
        let verb = Verb::Limit {
            group: name("chat"),
            limits: Box::new(tiny),
            wait: false,
        };
        assert!(Verb::decode(&verb.encode().expect("short")).is_err());
    }

    #[test]
    fn what_is_too_long_is_neither_sent_nor_read() {
        let verb = Verb::Variable {
            who: Who { pid: 2, start: 0 },
            name: "A".to_owned(),
            value: "x".repeat(LONGEST),
        };
        assert!(verb.encode().is_err());
        assert!(Verb::decode(&vec![b' '; LONGEST + 1]).is_err());
        let long = Answer::Failed {
            why: "x".repeat(LONGEST),
        };
        let said = Answer::decode(&long.encode()).expect("an answer");
        assert_eq!(
            said,
            Answer::Failed {
                why: "the answer is too long".to_owned()
            }
        );
    }

    proptest! {
        /// Whatever the agent's side sends: it is read as what it says, or refused.
        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(verb) = Verb::decode(&bytes) {
                prop_assert_eq!(verb.encode(), Ok(bytes));
            }
        }

        /// One byte changed in a right message: refused, or another right message, and never one with a wrong name.
        #[test]
        fn a_changed_byte_never_gets_past_the_checks(which in 0_usize..15, at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let mut bytes = every_verb()[which].encode().expect("short");
            let at = at.index(bytes.len());
            bytes[at] = to;
            if let Ok(verb) = Verb::decode(&bytes) {
                prop_assert_eq!(verb.encode(), Ok(bytes));
                prop_assert_eq!(verb.check(), Ok(()));
            }
        }
    }
}
