//! What makes a baseline stale, and what of it may be built on.

use std::fmt;

use super::model::{Baseline, EDGE, Evidence, Machine, ModelFile, Scenario};

/// Kernels and virtual machines keep different parts of memory to themselves: within this part it is the same machine.
const SAME_MEMORY_PERMILLE: u64 = 50;

/// Something that is not as it was when a baseline was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Another version of an interpreter or a framework.
    Framework {
        /// Which.
        name: String,
        /// Its version then.
        was: String,
        /// Its version now.
        is: String,
    },
    /// Another version of the program, as it was given.
    Version {
        /// Then.
        was: String,
        /// Now.
        is: String,
    },
    /// Another program, or other code in its file.
    Program {
        /// Its name then.
        was: String,
        /// Its name now.
        is: String,
    },
    /// Another file of the model, or another content.
    Model {
        /// Which file.
        file: String,
        /// What about it.
        how: &'static str,
    },
    /// Another class of machine.
    Machine {
        /// In what.
        what: &'static str,
        /// Then.
        was: String,
        /// Now.
        is: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Framework { name, was, is } => write!(f, "{name} was {was} and is {is}"),
            Change::Version { was, is } => write!(f, "the program's version was {was} and is {is}"),
            Change::Program { was, is } if was == is => {
                write!(f, "the program's file {was} has changed")
            }
            Change::Program { was, is } => write!(f, "the program was {was} and is {is}"),
            Change::Model { file, how } => write!(f, "the model's file {file} {how}"),
            Change::Machine { what, was, is } => {
                write!(f, "the machine's {what} was {was} and is {is}")
            }
        }
    }
}

/// Why no limit follows from a baseline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is another workload's.
    #[error("it is a baseline of workload `{got}`, and not of `{wanted}`")]
    OtherWorkload {
        /// Whose was wanted.
        wanted: String,
        /// Whose it is.
        got: String,
    },
    /// A scenario was not measured to its end.
    #[error(
        "its scenario `{scenario}` was cut short: {why}; profile that again (`curb profile --scenario {scenario}`)"
    )]
    CutShort {
        /// Which.
        scenario: String,
        /// Why.
        why: String,
    },
    /// Something has changed since.
    #[error(
        "its scenario `{scenario}` is stale: {}; profile that again (`curb profile --scenario {scenario}`)",
        .why.join(", ")
    )]
    Stale {
        /// Which.
        scenario: String,
        /// What, each by name.
        why: Vec<String>,
    },
    /// There is nothing in it that a limit could follow from.
    #[error(
        "it has no scenario with memory but `{EDGE}`, which sets no limit; profile the usual and the busiest use (`curb profile --scenario peak`)"
    )]
    NothingMeasured,
}

/// What differs, of what both know. What only one of them knows is no change: it may only not have been read.
#[must_use]
pub fn changes(was: &Evidence, is: &Evidence) -> Vec<Change> {
    let mut all = Vec::new();
    if was == &Evidence::default() || is == &Evidence::default() {
        return all;
    }
    program(was, is, &mut all);
    for (name, old) in &was.frameworks {
        if let Some(new) = is.frameworks.get(name).filter(|new| *new != old) {
            all.push(Change::Framework {
                name: name.clone(),
                was: old.clone(),
                is: new.clone(),
            });
        }
    }
    // Where no file is known now, the model was not looked for.
    if !was.model.is_empty() && !is.model.is_empty() {
        model(&was.model, &is.model, &mut all);
    }
    machine(&was.machine, &is.machine, &mut all);
    all
}

fn program(was: &Evidence, is: &Evidence, all: &mut Vec<Change>) {
    let (old, new) = (&was.program, &is.program);
    if let (Some(a), Some(b)) = (&old.version, &new.version)
        && a != b
    {
        all.push(Change::Version {
            was: a.clone(),
            is: b.clone(),
        });
    }
    let known = !old.name.is_empty() && !new.name.is_empty();
    let other_code = matches!((&old.sha256, &new.sha256), (Some(a), Some(b)) if a != b);
    // Who gives versions says by them what counts as another program.
    let by_version = old.version.is_some() && new.version.is_some();
    if known && (old.name != new.name || (other_code && !by_version)) {
        all.push(Change::Program {
            was: old.name.clone(),
            is: new.name.clone(),
        });
    }
}

fn model(was: &[ModelFile], is: &[ModelFile], all: &mut Vec<Change>) {
    let mut push = |file: &ModelFile, how| {
        all.push(Change::Model {
            file: file.file.clone(),
            how,
        });
    };
    for old in was {
        match is.iter().find(|new| new.file == old.file) {
            None => push(old, "is no longer there"),
            Some(new) if new.bytes != old.bytes => push(old, "has another size"),
            Some(new) if new.of == old.of && new.sha256 != old.sha256 => {
                push(old, "has another content");
            }
            Some(_) => {}
        }
    }
    for new in is {
        if !was.iter().any(|old| old.file == new.file) {
            push(new, "is new");
        }
    }
}

fn machine(was: &Machine, is: &Machine, all: &mut Vec<Change>) {
    let mut push = |what, was: String, is: String| all.push(Change::Machine { what, was, is });
    if was.system != is.system {
        push("system", was.system.clone(), is.system.clone());
    }
    if let (Some(a), Some(b)) = (&was.cpu, &is.cpu)
        && a != b
    {
        push("CPU", a.clone(), b.clone());
    }
    if was.cpus != is.cpus {
        push("number of CPUs", was.cpus.to_string(), is.cpus.to_string());
    }
    let (a, b) = (was.memory_kib, is.memory_kib);
    if u128::from(a.abs_diff(b)) * 1000 > u128::from(a.max(b)) * u128::from(SAME_MEMORY_PERMILLE) {
        let size = |kib: u64| crate::host::Bytes(kib.saturating_mul(1024)).to_string();
        push("memory", size(a), size(b));
    }
    if let (Some(a), Some(b)) = (&was.gpus, &is.gpus)
        && a != b
    {
        let list = |gpus: &[String]| match gpus {
            [] => "none".to_owned(),
            some => some.join(" + "),
        };
        push("GPUs", list(a), list(b));
    }
}

impl Baseline {
    /// The scenarios that a limit may follow from, and `edge` if it is there. `now` is what is known of the present; what of
    /// it has changed makes every scenario stale.
    ///
    /// # Errors
    /// The first scenario that was cut short or is stale, or that there is none.
    pub fn basis(&self, now: &Evidence) -> Result<Vec<(&str, &Scenario)>, Refused> {
        let since: Vec<String> = changes(&self.evidence, now)
            .iter()
            .map(ToString::to_string)
            .collect();
        for (name, scenario) in &self.scenarios {
            if let Some(why) = &scenario.cut_short {
                return Err(Refused::CutShort {
                    scenario: name.clone(),
                    why: why.clone(),
                });
            }
            let why: Vec<String> = scenario.stale.iter().chain(&since).cloned().collect();
            if !why.is_empty() {
                return Err(Refused::Stale {
                    scenario: name.clone(),
                    why,
                });
            }
        }
        let all: Vec<_> = self
            .scenarios
            .iter()
            .map(|(n, s)| (n.as_str(), s))
            .collect();
        let usable = |(name, s): &(&str, &Scenario)| *name != EDGE && s.need_kib().is_some();
        match all.iter().any(usable) {
            true => Ok(all),
            false => Err(Refused::NothingMeasured),
        }
    }
}
