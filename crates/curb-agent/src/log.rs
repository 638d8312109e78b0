//! What the agent tells: one line an event, as JSON or in words, on stderr; and the last of them, kept for who asks.

use std::collections::VecDeque;
use std::io::Write;

use serde::Serialize;

use curb_core::host::Bytes;
use curb_core::host::detect::{Evidence, Kind};
use curb_core::host::ladder;
use curb_core::time::{Millis, Timestamp};

/// The last events that are kept.
const KEPT: usize = 256;
/// Lines in each second at most, on average and at once; more are counted and told in one.
const MOST_A_SECOND: u64 = 200;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// What happened to the agent, or was found by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// It runs.
    AgentStarted {
        /// Its version.
        version: &'static str,
        /// The user that what faces the network runs as.
        user: u32,
        /// Its capabilities: none, where it was root before.
        capabilities: String,
        /// The helper's process, and what it still may.
        helper: u32,
        /// The user that the helper runs as.
        helper_user: u32,
        /// The helper's capabilities.
        helper_capabilities: String,
        /// The helper's calls of the kernel are filtered.
        helper_filtered: bool,
        /// Where it answers.
        listen: String,
    },
    /// It ends, and workloads go on within their limits.
    AgentStopped,
    /// `limits.yaml` is in force.
    LimitsRead {
        /// The file.
        file: String,
        /// Workloads that have a rule.
        rules: usize,
        /// What is odd in it.
        warnings: Vec<String>,
    },
    /// `limits.yaml` is wrong: what was in force stays.
    LimitsRefused {
        /// The file.
        file: String,
        /// What is wrong in it.
        errors: Vec<String>,
    },
    /// A baseline cannot be used; nothing is compared with it.
    NoBaseline {
        /// Why.
        why: String,
    },
    /// A process is this workload.
    Found {
        /// Its number.
        pid: u32,
        /// Its user.
        user: Option<u32>,
        /// By what of the rule.
        by: String,
    },
    /// It is inside of its limits.
    Confined {
        /// Its number.
        pid: u32,
        /// The group.
        group: String,
        /// Memory that it had before and that is not counted in the group.
        held_before: Option<Bytes>,
    },
    /// It is only watched.
    NotConfined {
        /// Its number.
        pid: u32,
        /// Why.
        why: String,
    },
    /// A limit cannot be held here.
    NotHeld {
        /// Which, and why.
        why: String,
    },
    /// A group of an earlier agent goes on.
    TakenUp {
        /// The group.
        group: String,
        /// Its processes.
        processes: usize,
    },
    /// Its rule is gone: its limits are lifted.
    LetGo {
        /// The group.
        group: String,
    },
    /// Limits were changed while it runs.
    LimitsChanged {
        /// What could not be changed, and why.
        failed: Option<String>,
    },
    /// All its processes have ended.
    Ended {
        /// The most memory it had.
        memory_peak: Option<Bytes>,
        /// Processes that the kernel killed since memory was at its limit.
        oom_kills: Option<u64>,
    },
    /// The kernel killed of it since its memory was at its limit.
    OomKilled {
        /// So many since the last look.
        processes: u64,
        /// Its limit.
        limit: Option<Bytes>,
    },
    /// Something is odd.
    AnomalyBegan {
        /// What.
        kind: Kind,
        /// The evidence.
        evidence: Evidence,
        /// The evidence in words.
        text: String,
    },
    /// It is over.
    AnomalyEnded {
        /// What.
        kind: Kind,
        /// How long it lasted, in milliseconds.
        lasted_ms: u64,
    },
    /// Something failed.
    Trouble {
        /// What was attempted, and why it failed.
        text: String,
    },
    /// So many lines were left out.
    LeftOut {
        /// How many.
        lines: u64,
    },
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Event {
    /// Of a ladder: as `curb run` tells it.
    Ladder(ladder::Event),
    /// Of the agent.
    Agent {
        /// When, RFC 3339 in UTC.
        time: String,
        /// Which workload.
        #[serde(skip_serializing_if = "Option::is_none")]
        workload: Option<String>,
        /// What happened.
        #[serde(flatten)]
        what: What,
    },
}

/// Writes events.
pub struct Log {
    format: Format,
    to: Box<dyn Write>,
    last: VecDeque<Event>,
    second: u64,
    written: u64,
    left_out: u64,
    left_out_ever: u64,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl Log {
    /// To a place.
    pub fn new(format: Format, to: Box<dyn Write>) -> Log {
        Log {
            format,
            to,
            last: VecDeque::new(),
            second: 0,
            written: 0,
            left_out: 0,
            left_out_ever: 0,
        }
    }

    /// Of the agent, or of one workload.
    pub fn tell(&mut self, now: Timestamp, workload: Option<&str>, what: What) {
        self.write(
            now,
            Event::Agent {
                time: format!("{:.3}", now.to_jiff()),
                workload: workload.map(str::to_owned),
                what,
            },
        );
    }

    /// Of a ladder.
    pub fn ladder(&mut self, event: ladder::Event) {
        self.write(event.time, Event::Ladder(event));
    }

    /// The last events, the oldest first.
    pub fn last(&self) -> impl Iterator<Item = &Event> {
        self.last.iter()
    }

    /// Lines that were left out until now.
    #[must_use]
    pub fn lines_left_out(&self) -> u64 {
        self.left_out_ever
    }

    fn write(&mut self, now: Timestamp, event: Event) {
        let second = now.0.unsigned_abs() / 1000;
        if second != self.second {
            (self.second, self.written) = (second, 0);
            if self.left_out > 0 {
                let lines = std::mem::take(&mut self.left_out);
                self.tell(now, None, What::LeftOut { lines });
            }
        }
        self.written += 1;
        if self.written > MOST_A_SECOND {
            self.left_out += 1;
            self.left_out_ever += 1;
            return;
        }
        if let Some(line) = self.line(&event) {
            // Nobody reads: the agent goes on all the same.
            let _nobody_reads = self.to.write_all(line.as_bytes());
        }
        if self.last.len() >= KEPT {
            self.last.pop_front();
        }
        self.last.push_back(event);
    }

    fn line(&self, event: &Event) -> Option<String> {
        match self.format {
            Format::Json => Some(serde_json::to_string(event).ok()? + "\n"),
            Format::Text => {
                let (time, words) = match event {
                    Event::Ladder(e) => (
                        format!("{:.3}", e.time.to_jiff()),
                        format!("{}: {}", e.workload, e.words()?),
                    ),
                    Event::Agent {
                        time,
                        workload,
                        what,
                    } => {
                        let who = workload.as_ref().map(|w| format!("{w}: "));
                        (time.clone(), who.unwrap_or_default() + &words(what))
                    }
                };
                // What others wrote never moves a cursor.
                let clean = |c: char| if c.is_control() { ' ' } else { c };
                let words: String = words.chars().map(clean).collect();
                Some(format!("{time} {words}\n"))
            }
        }
    }
}

fn words(what: &What) -> String {
    match what {
        What::AgentStarted {
            version,
            user,
            helper,
            helper_capabilities,
            listen,
            ..
        } => format!(
            "curb agent {version} as user {user} on http://{listen}; its helper is process {helper} with {helper_capabilities}"
        ),
        What::AgentStopped => "the agent ends; workloads go on within their limits".to_owned(),
        What::LimitsRead {
            file,
            rules,
            warnings,
        } => {
            let mut text = format!("{file} is in force: {rules} rules");
            for warning in warnings {
                text.push_str(&format!("; warning: {warning}"));
            }
            text
        }
        What::LimitsRefused { file, errors } => {
            format!(
                "{file} is wrong, what was in force stays: {}",
                errors.join("; ")
            )
        }
        What::NoBaseline { why } => format!("not compared with its baseline: {why}"),
        What::Found { pid, by, .. } => format!("process {pid} is it, by {by}"),
        What::Confined {
            pid,
            group,
            held_before,
        } => {
            let before =
                held_before.map(|b| format!("; {b} that it had before are not counted there"));
            format!(
                "process {pid} is in group {group}{}",
                before.unwrap_or_default()
            )
        }
        What::NotConfined { pid, why } => format!("process {pid} is only watched: {why}"),
        What::NotHeld { why } => format!("not held: {why}"),
        What::TakenUp { group, processes } => {
            format!("group {group} goes on with {processes} processes")
        }
        What::LetGo { group } => {
            format!("its rule is gone: the limits of group {group} are lifted")
        }
        What::LimitsChanged { failed: None } => "its limits were changed".to_owned(),
        What::LimitsChanged { failed: Some(why) } => {
            format!("its limits could not all be changed: {why}")
        }
        What::Ended { memory_peak, .. } => {
            let peak = memory_peak
                .map(|b| format!(", peak {b}"))
                .unwrap_or_default();
            format!("all its processes have ended{peak}")
        }
        What::OomKilled { processes, limit } => {
            let limit = limit.map(|b| format!(" of {b}")).unwrap_or_default();
            format!(
                "the kernel killed {processes} of its processes: memory was at its limit{limit}"
            )
        }
        What::AnomalyBegan { kind, text, .. } => format!("anomaly ({}): {text}", kind.name()),
        What::AnomalyEnded { kind, lasted_ms } => {
            format!(
                "anomaly ({}) is over after {}",
                kind.name(),
                Millis(*lasted_ms)
            )
        }
        What::Trouble { text } => text.clone(),
        What::LeftOut { lines } => format!("{lines} lines were left out in the last second"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[derive(Clone, Default)]
    struct Paper(Rc<RefCell<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines(format: Format, events: &[(i64, What)]) -> Vec<String> {
        let paper = Paper::default();
        let mut log = Log::new(format, Box::new(paper.clone()));
        for (at, what) in events {
            log.tell(Timestamp(*at), Some("chat"), what.clone());
        }
        let text = String::from_utf8(paper.0.borrow().clone()).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_line_is_one_json_object_with_time_workload_and_event() {
        let trouble = What::Trouble {
            text: "a\nb".to_owned(),
        };
        let all = lines(Format::Json, &[(1_000, trouble)]);
        assert_eq!(
            all,
            [
                r#"{"time":"1970-01-01T00:00:01.000Z","workload":"chat","event":"trouble","text":"a\nb"}"#
            ]
        );
    }

    #[test]
    fn in_words_what_others_wrote_moves_no_cursor() {
        let trouble = What::Trouble {
            text: "a\n\u{1b}[2Jb".to_owned(),
        };
        assert_eq!(
            lines(Format::Text, &[(1_000, trouble)]),
            ["1970-01-01T00:00:01.000Z chat: a  [2Jb"]
        );
    }

    #[test]
    fn too_many_lines_in_a_second_are_counted_and_told_in_one() {
        let one = |at| (at, What::AgentStopped);
        let mut events: Vec<_> = (0..500).map(|_| one(1_000)).collect();
        events.push(one(2_000));
        let all = lines(Format::Json, &events);
        assert_eq!(all.len(), 202);
        assert!(
            all[200].contains(r#""event":"left_out","lines":300"#),
            "{}",
            all[200]
        );
    }
}
