//! `curb policy`

use std::path::Path;

use curb_api::{Finding, PolicyCheck, PolicyView};
use curb_core::policy::{self, Policy};
use serde::Serialize;

use crate::args::{
    PolicyApplyArgs, PolicyArgs, PolicyCheckArgs, PolicyCommand, PolicySchemaArgs, PolicyShowArgs,
};
use crate::ctx::{Ctx, block, read_file};
use crate::exit::Exit;
use crate::fail::{Done, Failure};

/// `curb policy ...`
pub fn run(args: &PolicyArgs, ctx: &mut Ctx) -> Done {
    match &args.command {
        PolicyCommand::Check(args) => check(args, ctx),
        PolicyCommand::Schema(args) => schema(args, ctx),
        PolicyCommand::Show(args) => show(args, ctx),
        PolicyCommand::Apply(args) => apply(args, ctx),
    }
}

/// What was found in one file.
#[derive(Serialize)]
pub struct Checked {
    /// The file, as it was named.
    pub file: String,
    /// What was found.
    #[serde(flatten)]
    pub check: PolicyCheck,
}

fn check(args: &PolicyCheckArgs, ctx: &mut Ctx) -> Done {
    let mut all = Vec::new();
    for path in &args.files {
        let text = read_file(path, "the policy")?;
        all.push(Checked {
            file: path.display().to_string(),
            check: read(path, &text),
        });
    }
    report(&all, args.json.json, ctx)
}

/// Tells what was found in files, and ends with 1 where one of them is wrong.
pub fn report(all: &[Checked], json: bool, ctx: &mut Ctx) -> Done {
    if json {
        ctx.json(&all)?;
    } else {
        for checked in all {
            tell(checked, ctx)?;
        }
    }
    let sound = all.iter().all(|c| c.check.ok);
    Ok(if sound { Exit::Ok } else { Exit::Failed })
}

/// What is found is the result of a check, hence stdout; the sum is talk.
fn tell(checked: &Checked, ctx: &mut Ctx) -> Result<(), Failure> {
    for finding in &checked.check.findings {
        ctx.print(&format!("{}\n\n", finding.rendered))?;
    }
    let of = |wanted| {
        checked
            .check
            .findings
            .iter()
            .filter(|f| f.severity == wanted)
            .count()
    };
    let (errors, warnings) = (
        of(curb_api::Severity::Error),
        of(curb_api::Severity::Warning),
    );
    let sum = match (errors, warnings) {
        (0, 0) => "nothing is wrong".to_owned(),
        (e, w) => format!("{}, {}", counted(e, "error"), counted(w, "warning")),
    };
    ctx.say(&format!("{}: {sum}", checked.file));
    Ok(())
}

fn counted(n: usize, what: &str) -> String {
    if n == 1 {
        format!("1 {what}")
    } else {
        format!("{n} {what}s")
    }
}

fn read(path: &Path, text: &str) -> PolicyCheck {
    match Policy::parse(&path.display().to_string(), text) {
        Ok(parsed) => PolicyCheck {
            ok: true,
            findings: parsed.warnings.iter().map(Finding::from).collect(),
        },
        Err(errors) => PolicyCheck {
            ok: false,
            findings: errors.iter().map(Finding::from).collect(),
        },
    }
}

fn schema(args: &PolicySchemaArgs, ctx: &mut Ctx) -> Done {
    let schema = if args.draft07 {
        policy::schema_draft07()
    } else {
        policy::schema()
    };
    ctx.print(&format!("{schema:#}\n"))?;
    Ok(Exit::Ok)
}

fn show(args: &PolicyShowArgs, ctx: &mut Ctx) -> Done {
    if let Some(path) = &args.file {
        let text = read_file(path, "the policy")?;
        let parsed = parse(path, &text)?;
        if args.json.json {
            ctx.json(&parsed)?;
        } else {
            ctx.print(&policy::show(&parsed))?;
        }
        return Ok(Exit::Ok);
    }
    let client = ctx.client(&args.remote)?;
    let (view, newest) = block(async {
        let view = client.policy(args.version).await?;
        let newest = match args.version {
            Some(_) => client.policy(None).await?.version,
            None => view.version,
        };
        Ok((view, newest))
    })?;
    if args.json.json {
        ctx.json(&view)?;
        return Ok(Exit::Ok);
    }
    let (version, by) = (view.version, &view.by);
    let since = ctx.view.at_and_far(view.applied);
    ctx.say(&if version == newest {
        format!("policy version {version}, in force since {since}, applied by {by}")
    } else {
        format!("policy version {version}, applied {since} by {by}; in force is version {newest}")
    });
    let text = if args.server {
        view.text
    } else {
        written_out(view, ctx)
    };
    ctx.print(&crate::term::clean_text(&text))?;
    Ok(Exit::Ok)
}

/// The server's policy with every default. What this program does not understand is shown as it was written.
fn written_out(view: PolicyView, ctx: &mut Ctx) -> String {
    match Policy::parse("policy", &view.text) {
        Ok(parsed) => policy::show(&parsed.policy),
        Err(_) => {
            ctx.say("as it was written: this curb is of another version than the server and cannot read it");
            view.text
        }
    }
}

fn parse(path: &Path, text: &str) -> Result<Policy, Failure> {
    let name = path.display().to_string();
    match Policy::parse(&name, text) {
        Ok(parsed) => Ok(parsed.policy),
        Err(errors) => {
            let all: Vec<_> = errors.iter().map(policy::Diagnostic::render).collect();
            Err(Failure::local(format!(
                "the policy cannot be used\n{}",
                all.join("\n\n")
            )))
        }
    }
}

fn apply(args: &PolicyApplyArgs, ctx: &mut Ctx) -> Done {
    let text = read_file(&args.file, "the policy")?;
    // The server has the last word; what is wrong is told from here, with the file's name.
    parse(&args.file, &text)?;
    let client = ctx.client(&args.remote)?;
    let applied = block(async { Ok(client.apply_policy(&text).await?) })?;
    if args.json.json {
        ctx.json(&applied)?;
        return Ok(Exit::Ok);
    }
    for warning in &applied.warnings {
        ctx.say(&warning.rendered);
    }
    if applied.changed {
        ctx.say(&format!("policy version {} is in force", applied.version));
    } else {
        ctx.say(&format!(
            "nothing changed: this is policy version {} already",
            applied.version
        ));
    }
    Ok(Exit::Ok)
}
