//! Whether the baseline that a workload's limits rest on still tells of it. It is told, and stops nothing: the limits hold.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use curb_core::host::baseline::Refused;
use curb_core::host::limits::{File, Host};
use curb_host::profile::now_of;

use crate::cmd::host::profile;
use crate::ctx::{Ctx, read_file};

/// When the command has ended first, a look that is not over by then is given up: it hashes the model's files.
const LEAVE_AFTER: Duration = Duration::from_secs(1);

/// Looks beside the command, which does not wait for that.
pub(super) fn look(limits: PathBuf, workload: String) -> Option<Receiver<()>> {
    let (done, looking) = sync_channel(1);
    let work = move || {
        if let Some(text) = wrong(&limits, &workload) {
            Ctx::new().say(&format!("curb {workload}: note: {text}"));
        }
        let _nobody_waits_any_more = done.send(());
    };
    // Without a thread nothing is told, which is no reason not to run.
    std::thread::Builder::new()
        .name("baseline".to_owned())
        .spawn(work)
        .ok()?;
    Some(looking)
}

/// Gives a look that is under way a moment to be told.
pub(super) fn wait_for(looking: Option<Receiver<()>>) {
    if let Some(looking) = looking {
        let _given_up_or_over = looking.recv_timeout(LEAVE_AFTER);
    }
}

/// What is wrong with it, in words.
fn wrong(limits: &Path, workload: &str) -> Option<String> {
    let text = read_file(limits, "the file of limits").ok()?;
    let parsed = File::parse(&limits.display().to_string(), &text, &Host::default()).ok()?;
    let workload = parsed
        .file
        .workloads
        .into_iter()
        .find(|w| w.name == workload)?;
    let name = workload.baseline?;
    let path = limits.parent().unwrap_or(Path::new("")).join(&name);
    let about = |why: String| format!("its limits rest on the baseline {name}, and {why}");
    let baseline = match profile::read(&path) {
        Ok(baseline) => baseline,
        Err(failure) => return Some(about(failure.message)),
    };
    if baseline.workload != workload.name {
        let got = baseline.workload;
        let refused = Refused::OtherWorkload {
            wanted: workload.name,
            got,
        };
        return Some(about(refused.to_string()));
    }
    baseline
        .basis(&now_of(&baseline.evidence))
        .err()
        .map(|refused| about(refused.to_string()))
}
