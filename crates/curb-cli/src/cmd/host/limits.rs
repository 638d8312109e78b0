//! `curb limits`

use std::path::Path;

use curb_api::{Finding, PolicyCheck};
use curb_core::host::Bytes;
use curb_core::host::limits::{
    self, CpuSet, Diagnostic, File, Form, Host, LimitSet, Note, Parsed, Row, Source, Workload, diff,
};
use curb_host::machine::machine;
use serde::Serialize;

use crate::args::{
    ForHost, LimitsArgs, LimitsCheckArgs, LimitsCommand, LimitsDiffArgs, LimitsRenderArgs,
    LimitsSchemaArgs, LimitsShowArgs,
};
use crate::cmd::policy::{Checked, report};
use crate::ctx::{Ctx, read_file};
use crate::exit::Exit;
use crate::fail::{Done, Failure};
use crate::show;

/// What the file is called where it cannot be read.
const WHAT: &str = "the file of limits";

/// `curb limits ...`
pub fn run(args: &LimitsArgs, ctx: &mut Ctx) -> Done {
    match &args.command {
        LimitsCommand::Check(args) => check(args, ctx),
        LimitsCommand::Show(args) => show(args, ctx),
        LimitsCommand::Diff(args) => difference(args, ctx),
        LimitsCommand::Apply(args) => super::apply::run(args, ctx),
        LimitsCommand::Render(args) => render(args, ctx),
        LimitsCommand::Recommend(args) => super::recommend::run(args, ctx),
        LimitsCommand::Schema(args) => schema(args, ctx),
    }
}

fn check(args: &LimitsCheckArgs, ctx: &mut Ctx) -> Done {
    let host = host(&args.host);
    let mut all = Vec::new();
    for path in &args.files {
        let text = read_file(path, WHAT)?;
        let file = path.display().to_string();
        let (ok, said) = match File::parse(&file, &text, &host) {
            Ok(parsed) => (true, parsed.warnings),
            Err(errors) => (false, errors),
        };
        let findings = said.iter().map(Finding::from).collect();
        let check = PolicyCheck { ok, findings };
        all.push(Checked { file, check });
    }
    report(&all, args.json.json, ctx)
}

/// The host that is meant: the one of the flags, filled up with this one, or none.
fn host(args: &ForHost) -> Host {
    if args.any_host {
        return Host::default();
    }
    let here = machine(Path::new("/"));
    Host {
        memory: args.host_memory.map(|m| Bytes(m.0)).or(here.memory),
        cpus: args
            .host_cpus
            .map(|n| CpuSet((0..n).collect()))
            .or(here.cpus),
    }
}

/// A file that has to be right, whatever host it is for. Its warnings are for `check`.
pub fn read(path: &Path) -> Result<Parsed, Failure> {
    read_for(path, &Host::default())
}

/// A file that has to be right for a host.
pub fn read_for(path: &Path, host: &Host) -> Result<Parsed, Failure> {
    let text = read_file(path, WHAT)?;
    File::parse(&path.display().to_string(), &text, host).map_err(|errors| {
        let all: Vec<String> = errors.iter().map(Diagnostic::render).collect();
        Failure::local(format!(
            "the file of limits cannot be used\n{}",
            all.join("\n\n")
        ))
    })
}

/// The workload of that name, or a failure that names those there are.
pub fn named<'f>(file: &'f File, path: &Path, name: &str) -> Result<&'f Workload, Failure> {
    file.workload(name).ok_or_else(|| {
        let names: Vec<&str> = file.workloads.iter().map(|w| w.name.as_str()).collect();
        let failure = Failure::usage(format!(
            "there is no workload `{name}` in {}",
            path.display()
        ));
        match names.len() {
            0 => failure.help("the file has no workloads"),
            1..=20 => failure.help(format!("there are: {}", names.join(", "))),
            n => failure.help(format!("there are {n}: curb limits show lists them")),
        }
    })
}

fn show(args: &LimitsShowArgs, ctx: &mut Ctx) -> Done {
    let Parsed {
        mut file, sha256, ..
    } = read(&args.file)?;
    if args.yaml {
        ctx.print(&limits::show(&file))?;
        return Ok(Exit::Ok);
    }
    if let Some(name) = &args.workload {
        let one = named(&file, &args.file, name)?.clone();
        file.workloads = vec![one];
    }
    if args.json.json {
        ctx.json(&shown(&file, &sha256))?;
    } else {
        ctx.print(&show::limits(&file, &ctx.view.clone()))?;
    }
    Ok(Exit::Ok)
}

/// A file for programs: beside the values themselves, what holds each.
#[derive(Serialize)]
struct Shown<'a> {
    sha256: &'a str,
    host: limits::HostBounds,
    workloads: Vec<ShownWorkload<'a>>,
}

#[derive(Serialize)]
struct ShownWorkload<'a> {
    name: &'a str,
    limits: Vec<ShownLimit<'a>>,
    fallback_limits: Vec<ShownLimit<'a>>,
    /// All of it, as it was read.
    workload: &'a Workload,
}

#[derive(Serialize)]
struct ShownLimit<'a> {
    #[serde(flatten)]
    row: Row<'a>,
    /// As the file has it, with its unit.
    written: String,
    holds: limits::Hold,
    takes: limits::Takes,
}

fn shown<'a>(file: &'a File, sha256: &'a str) -> Shown<'a> {
    fn rows(set: &LimitSet) -> Vec<ShownLimit<'_>> {
        let each = set.rows().into_iter().map(|row| ShownLimit {
            written: row.value.written(),
            holds: row.key.hold(),
            takes: row.key.takes(),
            row,
        });
        each.collect()
    }
    let each = file.workloads.iter().map(|w| ShownWorkload {
        name: &w.name,
        limits: rows(&w.limits),
        fallback_limits: w
            .fallback
            .as_ref()
            .map(|f| rows(&f.limits))
            .unwrap_or_default(),
        workload: w,
    });
    Shown {
        sha256,
        host: file.host,
        workloads: each.collect(),
    }
}

fn difference(args: &LimitsDiffArgs, ctx: &mut Ctx) -> Done {
    let (old, new) = (read(&args.old)?, read(&args.new)?);
    let changes = diff(&old.file, &new.file);
    if args.json.json {
        ctx.json(&changes)?;
    } else {
        ctx.print(&show::changes(&changes, &ctx.view.clone()))?;
    }
    Ok(if changes.is_empty() {
        Exit::Ok
    } else {
        Exit::Failed
    })
}

/// A rendered text for programs.
#[derive(Serialize)]
struct Made<'a> {
    workload: &'a str,
    to: &'static str,
    text: &'a str,
    notes: &'a [Note],
}

fn render(args: &LimitsRenderArgs, ctx: &mut Ctx) -> Done {
    let Parsed { file, sha256, .. } = read(&args.file)?;
    let workload = match (&args.workload, &file.workloads[..]) {
        (Some(name), _) => named(&file, &args.file, name)?,
        (None, [only]) => only,
        (None, all) => {
            let names: Vec<&str> = all.iter().take(20).map(|w| w.name.as_str()).collect();
            let message = format!(
                "{} has {} workloads: which one?",
                args.file.display(),
                all.len()
            );
            return Err(
                Failure::usage(message).help(format!("name one, such as {}", names.join(", ")))
            );
        }
    };
    let form = Form::from(args.to);
    let path = args.file.display().to_string();
    let source = Source {
        file: &path,
        sha256: &sha256,
    };
    let made = limits::render(form, workload, source);
    if args.json.json {
        ctx.json(&Made {
            workload: &workload.name,
            to: form.name(),
            text: &made.text,
            notes: &made.notes,
        })?;
    } else {
        // For a tool and not for eyes: as it is.
        ctx.raw(made.text.as_bytes())?;
    }
    for note in &made.notes {
        ctx.say(&format!("{}: {note}", workload.name));
    }
    let whole = made.notes.is_empty() || !args.strict;
    Ok(if whole { Exit::Ok } else { Exit::Failed })
}

fn schema(args: &LimitsSchemaArgs, ctx: &mut Ctx) -> Done {
    let schema = if args.draft07 {
        limits::schema_draft07()
    } else {
        limits::schema()
    };
    ctx.print(&format!("{schema:#}\n"))?;
    Ok(Exit::Ok)
}
