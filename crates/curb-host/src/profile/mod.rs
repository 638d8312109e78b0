//! Measuring what a command needs, in one or more scenarios, for a baseline.
//!
//! The command runs in a group of its own without limits, so that the kernel charges its memory to that group; where no group
//! can be made, the processes below it are added up instead, and the result says so. A *load* drives a server while it is
//! looked at: it runs outside of the group. What is measured of a scenario is what lies between the load's start and its end;
//! what the command needs before it is ready is a scenario of its own (`start`).
//!
//! A run that did not come to its proper end is measured all the same, and says that it was cut short: no limit follows from
//! such a scenario.

mod collect;
mod evidence;
mod ready;
mod run;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use curb_core::host::baseline::{Baseline, START, Scenario};
use curb_core::time::{Millis, Timestamp};

use crate::layout::Layout;
use crate::run::sweep;
use crate::sample::Cost;

pub use evidence::{fingerprint, now_of};
pub use ready::Ready;

/// The shortest time between two samples.
pub const LEAST_EVERY: Duration = Duration::from_millis(10);
/// How long a server may take until it is ready.
pub const READY_WITHIN: Duration = Duration::from_secs(120);

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The workload's name.
    pub workload: String,
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// What is measured one after the other while it runs; at least one.
    pub phases: Vec<Phase>,
    /// When a server is ready for the first phase. `None`: the command is no server, it is measured from its beginning.
    pub ready: Option<Ready>,
    /// How often all of it is run.
    pub repeat: u32,
    /// From one sample to the next.
    pub every: Duration,
    /// From being asked to end until it is killed.
    pub grace: Duration,
    /// Whether a control group is made for it, where one can be made.
    pub group: bool,
    /// Files of the model, beside those that are found among the arguments.
    pub model: Vec<PathBuf>,
    /// The program's version, as its user has it.
    pub version: Option<String>,
}

/// One thing that is measured.
#[derive(Clone, Debug)]
pub struct Phase {
    /// The scenario that it belongs to; several phases of one scenario are measured together.
    pub scenario: String,
    /// What drives the server: a line for `sh`. The phase is over when that has ended.
    pub load: Option<String>,
    /// How long at most. Without it, and without a load: until the command ends.
    pub lasts: Option<Duration>,
}

/// What is told while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A run begins, of so many.
    Run(u32, u32),
    /// A phase of this scenario begins.
    Phase(String),
    /// It is asked to end.
    Ending,
    /// Something that a person should know.
    Note(String),
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Profiled {
    /// The scenarios that were measured, with their evidence.
    pub baseline: Baseline,
    /// What looking has cost.
    pub cost: Cost,
    /// How long all runs took together.
    pub took: Duration,
    /// Whether curb was told to stop.
    pub interrupted: bool,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// There is no such program.
    #[error("{0}: no such program")]
    NotFound(String),
    /// It is there and cannot be run.
    #[error("{program}: cannot be run: {why}")]
    NotRunnable {
        /// Which.
        program: String,
        /// Why.
        why: io::Error,
    },
    /// A file of the model cannot be read.
    #[error("the model's file {file} cannot be read: {why}")]
    Model {
        /// Which.
        file: String,
        /// Why.
        why: io::Error,
    },
    /// A call of the kernel failed.
    #[error("{what}: {why}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        why: io::Error,
    },
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> ProfileError {
    move |why| ProfileError::System { what, why }
}

/// Measures a command. `now` is what the baseline is dated with.
///
/// # Errors
/// It could not be run. That it failed, or did not come to its end, is in the result ([`Scenario::cut_short`]).
pub fn profile(
    plan: &Plan,
    now: Timestamp,
    tell: &mut dyn FnMut(Progress),
) -> Result<Profiled, ProfileError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(system("cannot watch for signals"))?;
    // What killed ones left behind is removed by whoever comes next.
    crate::scratch::sweep();
    if let Ok(layout) = Layout::read(Path::new("/")) {
        for text in sweep(&layout) {
            tell(Progress::Note(text));
        }
    }
    // Before anything runs: who measures for an hour is not told after it that a file is missing.
    let mut evidence = evidence::of(plan)?;
    let began = std::time::Instant::now();
    let mut runs = Vec::new();
    for number in 1..=plan.repeat.max(1) {
        tell(Progress::Run(number, plan.repeat.max(1)));
        let run = runtime.block_on(run::once(plan, number, tell))?;
        let stop = run.interrupted;
        runs.push(run);
        if stop {
            break;
        }
    }
    evidence.machine.gpus = runs.last().and_then(|run| evidence::models_of(&run.gpus));
    for run in &runs {
        evidence.frameworks.extend(run.frameworks.clone());
    }
    let cost = runs.iter().fold(Cost::default(), |sum, run| Cost {
        samples: sum.samples + run.cost.samples,
        cpu: sum.cpu + run.cost.cpu,
    });
    let interrupted = runs.iter().any(|run| run.interrupted);
    let baseline = Baseline {
        workload: plan.workload.clone(),
        evidence,
        scenarios: scenarios(plan, now, runs),
    };
    Ok(Profiled {
        baseline,
        cost,
        took: began.elapsed(),
        interrupted,
    })
}

/// All runs of each scenario together.
fn scenarios(plan: &Plan, now: Timestamp, runs: Vec<run::Run>) -> BTreeMap<String, Scenario> {
    let mut sums: BTreeMap<String, collect::Sum> = BTreeMap::new();
    for run in runs {
        let mut of_run: BTreeMap<String, collect::Collector> = BTreeMap::new();
        for (name, part) in run.parts {
            match of_run.get_mut(&name) {
                Some(collected) => collected.then(part),
                None => {
                    of_run.insert(name, part);
                }
            }
        }
        for (name, collected) in of_run {
            sums.entry(name)
                .or_default()
                .add(collected, &run.marks, &run.notes);
        }
    }
    let every = Millis(u64::try_from(plan.every.as_millis()).unwrap_or(u64::MAX));
    // What was measured of a start is of no use where nothing came after it.
    sums.retain(|name, sum| name != START || sum.has_samples());
    sums.into_iter()
        .map(|(name, sum)| (name, sum.scenario(now, every)))
        .collect()
}
