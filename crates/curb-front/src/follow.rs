//! A front that follows what a supervisor tells of its workload.

use std::time::Duration;

use curb_core::host::ladder::{Event, State as Told, What};
use curb_core::host::limits::Resource;

use crate::front::Control;
use crate::state::State;

/// When it is worth coming back while a limit is being dealt with.
const LIMIT: Duration = Duration::from_secs(5);
/// While it stands still or is being started: that does not take long, or takes the server's own time.
const SOON: Duration = Duration::from_secs(1);

/// What an event means for the front.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Means {
    died: bool,
    state: Option<State>,
}

/// Steers a front by a supervisor's events: to be given each of them, in order.
#[derive(Debug)]
pub struct Follower {
    control: Control,
    reader: Reader,
}

impl Follower {
    /// Steers this one.
    pub fn new(control: Control) -> Self {
        Self {
            control,
            reader: Reader::default(),
        }
    }

    /// Does what the event means. Never waits.
    pub fn on(&mut self, event: &Event) {
        let means = self.reader.read(event);
        if means.died {
            self.control.server_died();
        }
        if let Some(state) = means.state {
            self.control.state(state);
        }
    }
}

/// Pure: from events to what they mean.
#[derive(Debug, Default)]
struct Reader {
    /// The limit that was met last, in words, and which.
    exceeded: Option<(String, Resource)>,
    ended: Option<String>,
    wait: Option<Duration>,
}

impl Reader {
    fn read(&mut self, event: &Event) -> Means {
        match &event.what {
            What::Started { .. } => *self = Reader::default(),
            What::Exceeded { resource, .. } => {
                let words = event.words();
                let words = words.unwrap_or_else(|| resource.name().to_owned());
                // A client asked one server, and did not name it.
                let name = format!("{}: ", event.workload);
                let words = words.strip_prefix(&name).unwrap_or(&words);
                self.exceeded = Some((words.to_owned(), *resource));
            }
            What::Cleared { .. } => self.exceeded = None,
            What::Retrying { after_ms, .. } => self.wait = Some(Duration::from_millis(*after_ms)),
            What::Died { cause, .. } => {
                self.ended = Some(ended(cause).to_owned());
                return Means {
                    died: self.is_to_blame(cause),
                    state: Some(State::Restarting {
                        why: ended(cause).to_owned(),
                        retry_after: SOON,
                    }),
                };
            }
            _ => {}
        }
        Means {
            died: false,
            state: Some(self.state(event)),
        }
    }

    /// Whether what it had in hand may be why it died: not where somebody asked it to end, or its time was over.
    fn is_to_blame(&self, cause: &str) -> bool {
        let of_time = |(_, resource): &(String, Resource)| {
            matches!(resource, Resource::Duration | Resource::CpuTime)
        };
        match cause {
            "done" | "asked" | "duration" | "cpu_time" => false,
            "ladder" | "watchdog" => !self.exceeded.as_ref().is_some_and(of_time),
            _ => true,
        }
    }

    fn state(&self, event: &Event) -> State {
        let limit = || {
            let met = self.exceeded.as_ref().map(|(words, _)| words.clone());
            met.unwrap_or_else(|| "a limit was met".to_owned())
        };
        let ended = || {
            let ended = self.ended.clone();
            ended.unwrap_or_else(|| "it is being started".to_owned())
        };
        match event.state {
            Told::Up => State::Up,
            Told::Fallback => State::Fallback,
            Told::OverLimit => State::OverLimit {
                why: limit(),
                retry_after: LIMIT,
            },
            Told::Paused => State::Paused {
                why: limit(),
                retry_after: SOON,
            },
            Told::Starting => State::Starting,
            Told::Restarting => State::Restarting {
                why: ended(),
                retry_after: self.wait.unwrap_or_default().max(SOON),
            },
            Told::Stopping => State::Stopping {
                why: self.exceeded.as_ref().map_or_else(
                    || "it was asked to end".to_owned(),
                    |(words, _)| words.clone(),
                ),
                retry_after: LIMIT,
            },
            Told::GivenUp => State::Down {
                why: format!("{}, too often", ended()),
            },
            Told::Ended => State::Down { why: ended() },
        }
    }
}

/// The word that an event has for a death, for people who asked a model something.
fn ended(cause: &str) -> &'static str {
    match cause {
        "memory" | "memory_of_another" | "memory_above" => "the kernel killed it for its memory",
        "segfault" => "it crashed (segmentation fault)",
        "signal" => "it was killed by a signal",
        "ladder" | "watchdog" => "it was ended at a limit",
        "duration" | "cpu_time" => "its time was over",
        "asked" => "it was asked to end",
        "done" => "it ended by itself",
        _ => "it ended with an error",
    }
}

#[cfg(test)]
mod tests {
    use curb_core::host::ladder::HeldBy;
    use curb_core::time::Timestamp;

    use super::*;

    fn event(state: Told, what: What) -> Event {
        Event {
            time: Timestamp(0),
            workload: "chat".to_owned(),
            run: 1,
            state,
            what,
        }
    }

    fn exceeded(resource: Resource, used: u64, limit: u64) -> What {
        What::Exceeded {
            exceedance: 1,
            resource,
            used,
            limit,
        }
    }

    fn retrying(after_ms: u64) -> What {
        What::Retrying {
            attempt: 1,
            of: 3,
            after_ms,
            memory: None,
            less_than_wanted: false,
        }
    }

    fn started() -> What {
        What::Started {
            pid: 7,
            command: Vec::new(),
            group: None,
            held_by: HeldBy::GroupV2,
            memory: None,
            not_held: Vec::new(),
        }
    }

    fn died(cause: &str) -> What {
        let died = serde_json::json!({
            "time": "2026-11-22T00:00:00Z", "workload": "chat", "run": 1, "state": "up", "event": "died",
            "cause": cause, "exit_code": 137, "memory_peak": null, "ran_ms": 5, "left_behind": 0, "text": null,
        });
        let event: Event = serde_json::from_value(died).expect("an event");
        event.what
    }

    #[test]
    fn clients_are_told_which_limit_it_is_and_when_it_is_started_again() {
        let mut reader = Reader::default();
        let up = event(Told::Up, started());
        assert_eq!(reader.read(&up).state, Some(State::Up));
        let memory = exceeded(Resource::Memory, 95 << 20, 100 << 20);
        reader.read(&event(Told::Up, memory));
        let over = reader.read(&event(Told::OverLimit, What::Changed));
        let why = "memory is at 95 MiB of 100 MiB".to_owned();
        let retry_after = LIMIT;
        assert_eq!(over.state, Some(State::OverLimit { why, retry_after }));
        let dead = reader.read(&event(Told::OverLimit, died("memory")));
        assert!(dead.died);
        let again = reader.read(&event(Told::Restarting, retrying(8000)));
        let restarting = State::Restarting {
            why: "the kernel killed it for its memory".to_owned(),
            retry_after: Duration::from_secs(8),
        };
        assert_eq!(again.state, Some(restarting));
        let starts = reader.read(&event(Told::Starting, What::Changed));
        assert_eq!(starts.state, Some(State::Starting));
        assert_eq!(reader.read(&up).state, Some(State::Up));
        let given_up = reader.read(&event(Told::GivenUp, What::GaveUp { failures: 3 }));
        assert!(matches!(given_up.state, Some(State::Down { .. })));
        let fallback = reader.read(&event(Told::Fallback, started()));
        assert_eq!(fallback.state, Some(State::Fallback));
    }

    #[test]
    fn what_it_had_in_hand_is_suspected_only_of_deaths_that_it_can_have_caused() {
        for (cause, met, blamed) in [
            ("memory", None, true),
            ("memory_of_another", None, true),
            ("segfault", None, true),
            ("signal", None, true),
            ("failed", None, true),
            ("unknown", None, true),
            ("done", None, false),
            ("asked", None, false),
            ("duration", None, false),
            ("cpu_time", None, false),
            ("ladder", Some(Resource::Memory), true),
            ("ladder", Some(Resource::Duration), false),
            ("watchdog", Some(Resource::CpuTime), false),
        ] {
            let mut reader = Reader::default();
            if let Some(resource) = met {
                reader.read(&event(Told::Up, exceeded(resource, 2, 1)));
            }
            let means = reader.read(&event(Told::Stopping, died(cause)));
            assert_eq!(means.died, blamed, "{cause} {met:?}");
            // Dead it is, whoever is to blame: a state of a moment ago is not believed.
            assert!(matches!(means.state, Some(State::Restarting { .. })));
        }
    }
}
