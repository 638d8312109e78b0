//! Who is told what happens to a workload while it is supervised.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use curb_core::host::ladder::{Event, State, What};
use curb_core::time::Timestamp;

/// Told of each event, on the supervisor's thread, in order: what takes time must be handed on.
pub trait Observer: Send {
    /// Something happened; [`Event::state`] is the state from here on.
    fn on(&mut self, event: &Event);
}

impl<F: FnMut(&Event) + Send> Observer for F {
    fn on(&mut self, event: &Event) {
        self(event);
    }
}

/// Events as lines of JSON, one write each. A line that cannot be written is lost, and said: the workload goes on.
pub struct Lines {
    to: Box<dyn Write + Send>,
    name: String,
    lost: u64,
    complain: Box<dyn FnMut(String) + Send>,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Lines {
    /// Lines to a writer of that name.
    pub fn new(
        to: Box<dyn Write + Send>,
        name: String,
        complain: impl FnMut(String) + Send + 'static,
    ) -> Lines {
        let complain = Box::new(complain);
        Lines {
            to,
            name,
            lost: 0,
            complain,
        }
    }

    /// Lines at the end of a file, which is made if it is not there.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn append(file: &Path, complain: impl FnMut(String) + Send + 'static) -> io::Result<Lines> {
        let to = File::options().append(true).create(true).open(file)?;
        Ok(Lines::new(
            Box::new(to),
            file.display().to_string(),
            complain,
        ))
    }
}

impl Observer for Lines {
    fn on(&mut self, event: &Event) {
        let line = event.line().map_err(io::Error::from);
        let written = line.and_then(|line| {
            self.to.write_all(line.as_bytes())?;
            self.to.flush()
        });
        match written {
            Ok(()) if self.lost > 0 => {
                let (name, lost) = (&self.name, self.lost);
                let text = format!("{name}: events are written again; {lost} were lost");
                (self.complain)(text);
                self.lost = 0;
            }
            Ok(()) => {}
            Err(error) => {
                self.lost += 1;
                if self.lost == 1 {
                    let name = &self.name;
                    (self.complain)(format!(
                        "{name}: events are lost: {error}; the command goes on"
                    ));
                }
            }
        }
    }
}

/// Tells all observers, and keeps what each event says of the workload as a whole.
pub(crate) struct Teller {
    workload: String,
    run: u32,
    state: State,
    observers: Vec<Box<dyn Observer>>,
}

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Teller")
            .field("workload", &self.workload)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Teller {
    pub(crate) fn new(workload: String, observers: Vec<Box<dyn Observer>>) -> Teller {
        Teller {
            workload,
            run: 0,
            state: State::Starting,
            observers,
        }
    }

    /// Another start of it begins.
    pub(crate) fn starts(&mut self) {
        self.run = self.run.saturating_add(1);
        self.state = State::Starting;
        self.tell(What::Changed);
    }

    /// Which start of it this is, from 1.
    #[cfg(target_os = "linux")]
    pub(crate) fn run(&self) -> u32 {
        self.run
    }

    /// The state from the next event on.
    #[cfg(target_os = "linux")]
    pub(crate) fn set_state(&mut self, state: State) {
        self.state = state;
    }

    /// Tells an event that changes the state.
    pub(crate) fn become_with(&mut self, state: State, what: What) {
        self.state = state;
        self.tell(what);
    }

    /// The state is another one from now on; tells so if it was not this one.
    pub(crate) fn become_state(&mut self, state: State) {
        if self.state != state {
            self.become_with(state, What::Changed);
        }
    }

    /// Tells an event.
    pub(crate) fn tell(&mut self, what: What) {
        let event = Event {
            time: now(),
            workload: self.workload.clone(),
            run: self.run,
            state: self.state,
            what,
        };
        for observer in &mut self.observers {
            observer.on(&event);
        }
    }
}

/// The present, for people: the ladder has a clock of its own, which nobody sets.
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let ms = since.map_or(0, |d| d.as_millis());
    Timestamp(i64::try_from(ms).unwrap_or(i64::MAX))
}
