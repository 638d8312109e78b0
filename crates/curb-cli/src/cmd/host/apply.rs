//! `curb limits apply`: other limits for what runs.

use std::collections::BTreeSet;
use std::path::Path;

use curb_core::host::limits::{Key, Workload};
use curb_core::time::Millis;
use curb_host::group::Group;
use curb_host::limits::Limits;
use curb_host::live::{self, Asked, Changed, Unasked};
use curb_host::machine::machine;
use serde::Serialize;

use super::limits::{named, read_for};
use crate::args::LimitsApplyArgs;
use crate::ctx::Ctx;
use crate::exit::Exit;
use crate::fail::{Done, Failure};

/// Limits that the kernel changes on what runs. The others are curb's own to watch, or set when a process starts.
const AT_ONCE: [Key; 7] = [
    Key::Memory,
    Key::MemoryHigh,
    Key::Swap,
    Key::Cpu,
    Key::CpuWeight,
    Key::CpuSet,
    Key::Processes,
];

/// What was done, for programs.
#[derive(Serialize)]
struct Applied {
    /// Workloads of the file that run, with their groups.
    runs: Vec<Runs>,
    /// Workloads that do not.
    rests: Vec<String>,
    /// What the kernel took that was different before.
    changed: Vec<Shown>,
}

#[derive(Serialize)]
struct Runs {
    workload: String,
    groups: Vec<String>,
    /// Limits of the file that hold from the next start on.
    at_start: Vec<Key>,
    /// Why a supervisor could not be asked to go by the file's limits on time.
    #[serde(skip_serializing_if = "Option::is_none")]
    unasked: Option<String>,
}

#[derive(Serialize)]
struct Shown {
    group: String,
    file: String,
    old: String,
    new: String,
}

impl From<Changed> for Shown {
    fn from(c: Changed) -> Shown {
        Shown {
            group: c.group,
            file: c.file,
            old: c.old,
            new: c.new,
        }
    }
}

/// `curb limits apply FILE [WORKLOAD]`
pub fn run(args: &LimitsApplyArgs, ctx: &mut Ctx) -> Done {
    let file = read_for(&args.file, &machine(Path::new("/")))?.file;
    let workloads: Vec<&Workload> = match &args.workload {
        Some(name) => vec![named(&file, &args.file, name)?],
        None => file.workloads.iter().collect(),
    };
    let mut each: Vec<(Group, Limits)> = Vec::new();
    let (mut runs, mut rests) = (Vec::new(), Vec::new());
    for workload in workloads {
        let groups = live::groups(&workload.name).map_err(|e| {
            Failure::local(format!("cannot find what runs of {}: {e}", workload.name))
        })?;
        if groups.is_empty() {
            rests.push(workload.name.clone());
            continue;
        }
        runs.push(Runs {
            workload: workload.name.clone(),
            groups: groups.iter().map(|g| g.name().to_owned()).collect(),
            at_start: Vec::new(),
            unasked: None,
        });
        each.extend(groups.into_iter().map(|g| {
            let limits = limits_of(workload, &g);
            (g, limits)
        }));
    }
    live::may_change(&each).map_err(refused)?;
    let (asked, unasked) = live::ask(&each).map_err(refused)?;
    let changed = live::apply(&each).map_err(|mut refusal| {
        refusal.left.extend(live::take_back(&asked));
        refused(refusal)
    })?;
    for run in &mut runs {
        let workload = named(&file, &args.file, &run.workload)?;
        let of_it = |(g, _): &&(Group, Limits)| run.groups.iter().any(|name| name == g.name());
        let groups: Vec<&(Group, Limits)> = each.iter().filter(of_it).collect();
        run.at_start = at_start(workload, &groups, &asked);
        run.unasked = unasked_of(&groups, &unasked);
    }
    let changed = changed.into_iter().map(Shown::from);
    let changed = changed.chain(asked.iter().flat_map(times)).collect();
    let applied = Applied {
        runs,
        rests,
        changed,
    };
    if args.json.json {
        ctx.json(&applied)?;
    } else {
        tell(&applied, ctx)?;
    }
    Ok(Exit::Ok)
}

/// The limits that the file has for what runs in a group: for a fallback those of the fallback, on top of the workload's.
fn limits_of(workload: &Workload, group: &Group) -> Limits {
    let fallback = workload
        .fallback
        .as_ref()
        .filter(|_| live::is_fallback(group));
    match fallback {
        Some(fallback) => Limits::from(&workload.limits.with(&fallback.limits)),
        None => Limits::from(&workload.limits),
    }
}

/// Limits that no running process can be given, where they are others than it was started with; and those that these groups
/// were made without.
fn at_start(workload: &Workload, groups: &[&(Group, Limits)], asked: &[Asked]) -> Vec<Key> {
    let mut keys: BTreeSet<Key> = BTreeSet::new();
    for (group, limits) in groups {
        keys.extend(live::lacking(group, limits));
        match asked.iter().find(|a| a.group == group.name()) {
            Some(asked) => keys.extend(&asked.at_start),
            // What it was started with is not known.
            None => keys.extend(
                workload
                    .limits
                    .rows()
                    .into_iter()
                    .map(|row| row.key)
                    .filter(|key| !AT_ONCE.contains(key)),
            ),
        }
    }
    keys.into_iter().collect()
}

/// Why a supervisor could not be asked, where the file has limits for it to go by.
fn unasked_of(groups: &[&(Group, Limits)], unasked: &[Unasked]) -> Option<String> {
    let of = |(group, limits): &&&(Group, Limits)| {
        let timed = limits.duration.is_some() || limits.cpu_time.is_some();
        unasked.iter().find(|u| timed && u.group == group.name())
    };
    let found = groups.iter().find_map(|g| of(&g))?;
    Some(format!(
        "its supervisor, process {}, cannot be asked: {}",
        found.pid, found.why
    ))
}

/// What a supervisor took that was different before.
fn times(asked: &Asked) -> Vec<Shown> {
    let text = |limit: Option<Millis>| limit.map_or("none".to_owned(), |ms| ms.to_string());
    let each = [
        ("duration", asked.before.duration, asked.now.duration),
        ("cpu_time", asked.before.cpu_time, asked.now.cpu_time),
    ];
    let changed = each.into_iter().filter(|(_, old, new)| old != new);
    let shown = changed.map(|(name, old, new)| Shown {
        group: asked.group.clone(),
        file: name.to_owned(),
        old: text(old),
        new: text(new),
    });
    shown.collect()
}

fn refused(refused: live::Refused) -> Failure {
    let message = format!("a limit was refused: {refused}");
    if refused.left.is_empty() {
        let help = match refused.denied {
            true => "nothing was changed; run this as the user that started `curb run`, or as root",
            false => "nothing was changed; lower what it uses first, or choose another limit",
        };
        return Failure::new(Exit::Failed, message).help(help);
    }
    let left = refused.left.join("; ");
    let help = "apply the file that was in force before";
    Failure::new(
        Exit::Failed,
        format!("{message}\nnot put back as it was: {left}"),
    )
    .help(help)
}

fn tell(applied: &Applied, ctx: &mut Ctx) -> Result<(), Failure> {
    for c in &applied.changed {
        ctx.print(&format!(
            "{}: {}: {} -> {}\n",
            c.group, c.file, c.old, c.new
        ))?;
    }
    for runs in &applied.runs {
        if applied
            .changed
            .iter()
            .all(|c| !runs.groups.contains(&c.group))
        {
            ctx.say(&format!(
                "{}: its limits are those of the file already",
                runs.workload
            ));
        }
        if let Some(why) = &runs.unasked {
            ctx.say(&format!("{}: {why}", runs.workload));
        }
        if !runs.at_start.is_empty() {
            let keys: Vec<&str> = runs.at_start.iter().map(|k| k.name()).collect();
            ctx.say(&format!(
                "{}: from its next start on: {}",
                runs.workload,
                keys.join(", ")
            ));
        }
    }
    for name in &applied.rests {
        ctx.say(&format!(
            "{name}: nothing of it runs; its limits hold from its next start on"
        ));
    }
    Ok(())
}
