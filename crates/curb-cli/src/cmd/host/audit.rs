//! `curb audit`

use std::path::{Path, PathBuf};

use curb_core::host::audit::{
    Machine, Report, Rule, Severity, Target, audit_compose, audit_kubernetes, audit_systemd, check,
    one_rule, sarif, unreadable_processes,
};
use curb_host::effective::{Survey, survey};

use crate::args::{
    AuditArgs, AuditCommand, AuditHostArgs, AuditRulesArgs, AuditSystemdArgs, FailOn,
};
use crate::ctx::{Ctx, read_file};
use crate::exit::Exit;
use crate::fail::{Done, Failure};
use crate::show::audit as show;

use super::units;

/// `curb audit ...`
pub fn run(args: &AuditArgs, ctx: &mut Ctx) -> Done {
    let report = match &args.command {
        None => host(&AuditHostArgs::default())?,
        Some(AuditCommand::Host(args)) => host(args)?,
        // These files are used on other machines than this one.
        Some(AuditCommand::Compose(args)) => {
            audit_compose(&texts(&args.files)?, &Machine::default())
        }
        Some(AuditCommand::Kubernetes(args)) => {
            audit_kubernetes(&texts(&args.files)?, &Machine::default())
        }
        Some(AuditCommand::Systemd(args)) => systemd(args)?,
        Some(AuditCommand::Rules(args)) => return rules(args, ctx),
    };
    if args.sarif {
        ctx.json(&sarif(&report, env!("CARGO_PKG_VERSION")))?;
    } else if args.json {
        ctx.json(&report)?;
    } else {
        ctx.print(&show::report(&report, &ctx.view))?;
        ctx.say(&show::sum(&report));
    }
    let worst = match args.fail_on {
        FailOn::Error => Some(Severity::Error),
        FailOn::Warning => Some(Severity::Warning),
        FailOn::Never => None,
    };
    let fails = worst.is_some_and(|bar| report.worst().is_some_and(|worst| worst >= bar));
    Ok(if fails { Exit::Failed } else { Exit::Ok })
}

fn look(only: &[u32]) -> Result<Survey, Failure> {
    survey(Path::new("/"), only).map_err(|error| {
        Failure::local(format!(
            "cannot look at the processes of this host: {error}"
        ))
        .help("is /proc mounted, and may this user read it?")
    })
}

fn host(args: &AuditHostArgs) -> Result<Report, Failure> {
    let survey = look(&args.pid)?;
    if let Some(absent) = survey.absent.first() {
        return Err(Failure::local(format!("there is no process {absent}")));
    }
    let machine = survey.machine;
    let found = survey.subjects.iter().flat_map(|s| check(s, &machine));
    let mut findings: Vec<_> = found.collect();
    findings.extend(unreadable_processes(survey.unseen));
    Ok(Report::new(
        Target::Host,
        survey.subjects,
        findings,
        Vec::new(),
    ))
}

fn texts(files: &[PathBuf]) -> Result<Vec<(String, String)>, Failure> {
    let text = |path: &PathBuf| Ok((path.display().to_string(), read_file(path, "the file")?));
    files.iter().map(text).collect()
}

fn systemd(args: &AuditSystemdArgs) -> Result<Report, Failure> {
    let mut names = args.units.clone();
    let mut unread = Vec::new();
    let here = look(&[std::process::id()])?;
    if names.is_empty() {
        let running = look(&[])?;
        for subject in &running.subjects {
            let by_user = subject
                .group
                .as_deref()
                .is_some_and(|g| g.contains("user@"));
            match &subject.unit {
                Some(unit) if by_user => unread.push(format!(
                    "{unit} is run by a user's own manager: name its file to audit it"
                )),
                Some(unit) => names.push(unit.clone()),
                None => unread.push(format!("{} is in no unit", subject.name)),
            }
        }
        names.sort();
        names.dedup();
    }
    let all: Vec<_> = names
        .iter()
        .map(|name| units::find(&args.root, name))
        .collect();
    // Percentages in a unit are of the machine that it is for: of this one, where it is this one's.
    let machine = match args.root == Path::new("/") {
        true => here.machine,
        false => Machine::default(),
    };
    let mut report = audit_systemd(&all, &machine);
    report.unread.extend(unread);
    Ok(report)
}

fn rules(args: &AuditRulesArgs, ctx: &mut Ctx) -> Done {
    let Some(id) = &args.rule else {
        ctx.print(&show::rules(&ctx.view))?;
        return Ok(Exit::Ok);
    };
    let rule = Rule::by_id(id).ok_or_else(|| {
        Failure::usage(format!("there is no rule `{id}`")).help("curb audit rules lists them")
    })?;
    ctx.print(&one_rule(rule))?;
    Ok(Exit::Ok)
}
