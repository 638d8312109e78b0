//! `curb limits recommend`

use std::collections::BTreeSet;
use std::path::Path;

use curb_core::host::baseline::recommend::{Host, Recommendation, recommend};
use curb_core::host::baseline::{self, Evidence};
use curb_host::layout::{Controller, Layout};
use curb_host::profile::now_of;

use crate::args::LimitsRecommendArgs;
use crate::ctx::{Ctx, read_file};
use crate::exit::Exit;
use crate::fail::{Done, Failure};

use super::profile;

/// Prints limits with their reasons, or puts them into a file.
pub fn run(args: &LimitsRecommendArgs, ctx: &mut Ctx) -> Done {
    let host = host();
    let mut all = Vec::new();
    let mut seen = BTreeSet::new();
    for path in &args.baselines {
        let (made, name) = one(path, args, &host)?;
        if !seen.insert(made.workload.clone()) {
            return Err(Failure::usage(format!(
                "{}: there was a baseline of workload `{}` before it",
                path.display(),
                made.workload
            )));
        }
        all.push((made, Some(name)));
    }
    let recommended: Vec<Recommendation> = all.iter().map(|(made, _)| made.clone()).collect();
    let explained: String = recommended.iter().map(baseline::explained).collect();
    let together = baseline::together(&recommended, host.memory);
    let talk = explained + &together.map(|t| t + "\n").unwrap_or_default();
    match &args.into {
        None => {
            // The reasons stand beside the numbers in the file; what else there is to know is talk.
            ctx.say(&talk);
            ctx.print(&baseline::new_file(&all))?;
        }
        Some(path) if !path.exists() => {
            profile::write(path, &baseline::new_file(&all))?;
            ctx.print(&talk)?;
        }
        Some(path) => {
            let text = read_file(path, "the file of limits")?;
            let name = path.display().to_string();
            let new = baseline::put_into(&name, &text, &all).map_err(|why| {
                Failure::local(format!("{name}: the limits cannot be put into it\n{why}"))
            })?;
            profile::write(path, &new)?;
            ctx.print(&talk)?;
        }
    }
    Ok(Exit::Ok)
}

/// The recommendation from a baseline, and what its file is called in the file of limits.
fn one(
    path: &Path,
    args: &LimitsRecommendArgs,
    host: &Host,
) -> Result<(Recommendation, String), Failure> {
    let measured = profile::read(path)?;
    let now = match args.any_host {
        true => Evidence::default(),
        false => now_of(&measured.evidence),
    };
    let host = match args.any_host {
        true => Host::default(),
        false => *host,
    };
    let made = recommend(&measured, &now, &host).map_err(|why| {
        Failure::local(format!("{}: {why}", path.display()))
            .help("for limits of another host than this one: --any-host")
    })?;
    // Relative to the file of limits, where it is below it.
    let base = args.into.as_deref().and_then(Path::parent);
    let below = base.and_then(|base| path.strip_prefix(base).ok());
    Ok((made, below.unwrap_or(path).display().to_string()))
}

/// This host. Slowing down before the limit is there where memory is held by version 2.
fn host() -> Host {
    let (memory, cpus) = curb_host::host::machine();
    let layout = Layout::read(Path::new("/")).ok();
    let memory_high = layout.is_some_and(|layout| {
        let unified = layout
            .v2
            .is_some_and(|v2| v2.controllers.contains(&Controller::Memory));
        unified && !layout.v1.contains_key(&Controller::Memory)
    });
    Host {
        memory,
        cpus,
        memory_high,
    }
}
