//! `curb profile`: what a command needs, as a baseline.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use curb_core::host::baseline::recommend::{Host, recommend};
use curb_core::host::baseline::{self, Baseline, Chart, Scenario};
use curb_core::time::Millis;
use curb_host::profile::{
    LEAST_EVERY, Phase, Plan, ProfileError, Profiled, Progress, Ready, profile,
};
use serde_json::json;

use crate::args::ProfileArgs;
use crate::ctx::{Ctx, read_file};
use crate::exit::Exit;
use crate::fail::Failure;

const COULD_NOT: u8 = 125;
const NOT_RUNNABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
/// A server that is not driven is watched so long.
const UNDRIVEN: Duration = Duration::from_secs(10);
/// The largest baseline that is read.
const WHAT: &str = "the baseline";

/// `curb profile ... -- CMD`
pub fn run(args: &ProfileArgs, ctx: &mut Ctx) -> Result<ExitCode, Failure> {
    let plan = plan(args)?;
    // Read before anything runs: who measures for an hour is not told then that the file was wrong.
    let old = match &args.baseline {
        Some(path) if path.exists() => Some(read(path)?),
        _ => None,
    };
    if let Some(old) = old.as_ref().filter(|old| old.workload != plan.workload) {
        let path = args.baseline.as_deref().unwrap_or(Path::new(""));
        return Err(other_workload(path, old, &plan));
    }
    tell_of_doubles(&plan, ctx);
    let now = ctx.view.now;
    let measured = match profile(&plan, now, &mut |progress| say(ctx, progress)) {
        Ok(measured) => measured,
        Err(error) => {
            let code = match &error {
                ProfileError::NotFound(_) => NOT_FOUND,
                ProfileError::NotRunnable { .. } => NOT_RUNNABLE,
                ProfileError::Model { .. } => Exit::Local as u8,
                ProfileError::System { .. } => COULD_NOT,
            };
            ctx.complain(&Failure::local(error.to_string()));
            return Ok(ExitCode::from(code));
        }
    };
    print(args, &measured, ctx)?;
    let whole = keep(args, old, &measured, ctx)?;
    draw(args, &whole, ctx)?;
    let short = measured
        .baseline
        .scenarios
        .values()
        .any(|s| s.cut_short.is_some());
    Ok(match (measured.interrupted, short) {
        (true, _) => Exit::Interrupted.into(),
        (false, true) => Exit::Failed.into(),
        (false, false) => Exit::Ok.into(),
    })
}

/// Who gives one name twice may have meant another (--load is of --scenario, `average` where that is not given).
fn tell_of_doubles(plan: &Plan, ctx: &mut Ctx) {
    let mut seen: Vec<&str> = Vec::new();
    for phase in &plan.phases {
        if seen.contains(&phase.scenario.as_str()) {
            ctx.say(&format!(
                "curb: scenario {} is given more than once: its parts are measured one after the other, and count as one. \
                 --load is the load of --scenario (average, where none is named)",
                phase.scenario
            ));
            return;
        }
        seen.push(&phase.scenario);
    }
}

fn other_workload(path: &Path, old: &Baseline, plan: &Plan) -> Failure {
    let refused = baseline::Refused::OtherWorkload {
        wanted: plan.workload.clone(),
        got: old.workload.clone(),
    };
    Failure::local(format!("{}: {refused}", path.display()))
        .help("name another file, or the workload that it is of (--workload)")
}

/// A baseline that has to be right.
pub fn read(path: &Path) -> Result<Baseline, Failure> {
    let text = read_file(path, WHAT)?;
    baseline::parse(&path.display().to_string(), &text).map_err(|errors| {
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::local(format!("the baseline cannot be used\n{}", all.join("\n\n")))
    })
}

fn span(Millis(ms): Millis) -> Duration {
    Duration::from_millis(ms)
}

fn plan(args: &ProfileArgs) -> Result<Plan, Failure> {
    let server = args.load.is_some() || args.ready.is_some() || !args.then.is_empty();
    let lasts = args.lasts.map(span);
    if lasts.is_some_and(|l| l.is_zero()) {
        return Err(Failure::usage("--for 0s measures nothing"));
    }
    let phase = |scenario: &str, load: Option<&str>| -> Result<Phase, Failure> {
        check_name("scenario", scenario)?;
        if scenario == baseline::START && server {
            return Err(Failure::usage(
                "scenario `start` is what a server needs until it is ready: name this one otherwise",
            ));
        }
        let undriven = (server && load.is_none()).then_some(UNDRIVEN);
        Ok(Phase {
            scenario: scenario.to_owned(),
            load: load.map(str::to_owned),
            lasts: lasts.or(undriven),
        })
    };
    let mut phases = vec![phase(&args.scenario, args.load.as_deref())?];
    for then in &args.then {
        let (name, load) = match then.split_once('=') {
            Some((name, load)) => (name, Some(load)),
            None => (then.as_str(), None),
        };
        phases.push(phase(name, load)?);
    }
    let every = span(args.every);
    if every < LEAST_EVERY {
        return Err(Failure::usage(format!(
            "--every is at least {LEAST_EVERY:?}"
        )));
    }
    let workload = match &args.workload {
        Some(name) => name.clone(),
        None => named_after(args.command.first()),
    };
    check_name("workload", &workload)?;
    Ok(Plan {
        workload,
        command: args.command.clone(),
        phases,
        ready: server.then(|| ready(args.ready.as_deref())).transpose()?,
        repeat: args.repeat,
        every,
        grace: span(args.grace),
        group: !args.no_group,
        model: args.model.clone(),
        version: args.program_version.clone(),
    })
}

fn check_name(what: &str, name: &str) -> Result<(), Failure> {
    match baseline::is_name(name) {
        true => Ok(()),
        false => Err(Failure::usage(format!(
            "`{name}` is no name of a {what}: 1 to 63 of a-z, 0-9 and -, such as `chat`"
        ))),
    }
}

/// Of the program's file, what a name may hold.
fn named_after(program: Option<&std::ffi::OsString>) -> String {
    let stem = program.and_then(|p| Path::new(p).file_stem());
    let text = stem
        .map(|s| s.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let fits = |c: char| {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            c
        } else {
            '-'
        }
    };
    let name: String = text.chars().take(58).map(fits).collect();
    let name = name.trim_matches('-');
    match baseline::is_name(name) {
        // `true` and the like are no names in YAML.
        false if !name.is_empty() => format!("run-{name}"),
        _ => name.to_owned(),
    }
}

fn ready(text: Option<&str>) -> Result<Ready, Failure> {
    match text {
        None | Some("listens") => Ok(Ready::Listens),
        Some(text) if text.contains("://") => {
            Ready::url(text).map_err(|why| Failure::usage(format!("--ready {text}: {why}")))
        }
        Some(text) => Millis::parse(text).map(|t| Ready::After(span(t))).map_err(|_| {
            Failure::usage(format!(
                "--ready {text}: wanted a URL such as http://127.0.0.1:8081/healthz, a time such as 5s, or `listens`"
            ))
        }),
    }
}

fn say(ctx: &mut Ctx, progress: Progress) {
    match progress {
        Progress::Run(_, 1) | Progress::Ending => {}
        Progress::Run(n, of) => ctx.say(&format!("curb: run {n} of {of}")),
        Progress::Note(text) => ctx.say(&format!("curb: {text}")),
        Progress::Phase(scenario) => ctx.say(&format!("curb: scenario {scenario}")),
    }
}

fn print(args: &ProfileArgs, measured: &Profiled, ctx: &mut Ctx) -> Result<(), Failure> {
    let cost = measured.cost.permille_of(measured.took);
    if args.json.json {
        return ctx.json(&as_json(measured, cost));
    }
    for (name, _) in baseline::ordered(&measured.baseline) {
        ctx.print(&baseline::summary(&measured.baseline, name))?;
    }
    ctx.say(&format!(
        "curb: {} looks took {}.{}% of one CPU",
        measured.cost.samples,
        cost / 10,
        cost % 10
    ));
    Ok(())
}

fn as_json(measured: &Profiled, cost: u64) -> serde_json::Value {
    let one = |s: &Scenario| {
        let figures: serde_json::Map<String, serde_json::Value> = s
            .figures
            .iter()
            .map(|(figure, spread)| (figure.name().to_owned(), json!(spread)))
            .collect();
        json!({
            "runs": s.runs, "samples": s.samples, "every_ms": s.every.0, "memory_as": s.memory_as.name(),
            "cut_short": s.cut_short, "notes": s.notes, "run_peaks_kib": s.run_peaks_kib, "figures": figures,
            "parts_kib": s.parts.map(|p| json!({
                "interpreter": p.interpreter_kib, "framework": p.framework_kib,
                "model": p.model_kib, "work": p.work_kib,
            })),
        })
    };
    let scenarios = measured.baseline.scenarios.iter();
    let scenarios: serde_json::Map<String, serde_json::Value> =
        scenarios.map(|(name, s)| (name.clone(), one(s))).collect();
    json!({
        "workload": measured.baseline.workload, "scenarios": scenarios,
        "frameworks": measured.baseline.evidence.frameworks,
        "looks": measured.cost.samples, "looks_cost_permille_of_a_cpu": cost,
    })
}

/// Puts it into the file. What was cut short does not take the place of what was measured well.
fn keep(
    args: &ProfileArgs,
    old: Option<Baseline>,
    measured: &Profiled,
    ctx: &mut Ctx,
) -> Result<Baseline, Failure> {
    let mut newer = measured.baseline.clone();
    let Some(path) = &args.baseline else {
        return Ok(newer);
    };
    let known = |name: &str| old.as_ref().is_some_and(|o| o.scenarios.contains_key(name));
    newer.scenarios.retain(|name, s| {
        let kept = s.cut_short.is_none() || !known(name);
        if !kept {
            ctx.say(&format!(
                "curb: scenario {name} was cut short: the one in {} stays",
                path.display()
            ));
        }
        kept
    });
    if newer.scenarios.is_empty() {
        return Ok(old.unwrap_or_default());
    }
    let whole = match old {
        Some(mut old) => {
            let merged = old.merge(newer);
            merged.map_err(|why| Failure::local(format!("{}: {why}", path.display())))?;
            old
        }
        None => newer,
    };
    write(path, &baseline::write(&whole))?;
    Ok(whole)
}

/// Writes a file as a whole: who looks meanwhile, or when the disk is full, finds the old one.
pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::local(format!("{} cannot be written: {error}", path.display()))
    };
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".part-{}", std::process::id()));
    let written = std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, path));
    if written.is_err() {
        let _nothing_of_it_stays = std::fs::remove_file(&part);
    }
    written.map_err(failed)
}

fn draw(args: &ProfileArgs, whole: &Baseline, ctx: &mut Ctx) -> Result<(), Failure> {
    if args.html.is_none() && args.svg.is_none() {
        return Ok(());
    }
    let made = recommend(whole, &whole.evidence, &Host::default());
    let limit = made
        .ok()
        .and_then(|made| made.limits.memory)
        .map(|l| l.value);
    if limit.is_none() {
        ctx.say("curb: the chart shows no limit, since none follows from this baseline yet");
    }
    let chart = Chart {
        baseline: whole,
        limit,
    };
    if let Some(path) = &args.html {
        write(path, &baseline::html(&chart))?;
    }
    if let Some(path) = &args.svg {
        write(path, &baseline::svg(&chart))?;
    }
    Ok(())
}
