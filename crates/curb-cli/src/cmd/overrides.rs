//! `curb override`

use std::collections::{BTreeMap, BTreeSet};

use curb_api::NewOverride;
use curb_core::policy::{Match, Selector};
use curb_core::resource::Resource;
use serde_json::json;

use crate::args::{OverrideAddArgs, OverrideArgs, OverrideCommand};
use crate::ctx::{Ctx, block};
use crate::exit::Exit;
use crate::fail::{Done, Failure};
use crate::show;

/// `curb override ...`
pub fn run(args: &OverrideArgs, ctx: &mut Ctx) -> Done {
    match &args.command {
        OverrideCommand::Add(args) => add(args, ctx),
        OverrideCommand::List(args) => {
            let client = ctx.client(&args.remote)?;
            let overrides = block(async { Ok(client.overrides().await?) })?;
            if args.json.json {
                ctx.json(&overrides)?;
            } else if overrides.overrides.is_empty() {
                ctx.say("no override is in force");
            } else {
                let text = show::overrides(&overrides, &ctx.view);
                ctx.print(&text)?;
            }
            Ok(Exit::Ok)
        }
        OverrideCommand::Remove(args) => {
            let client = ctx.client(&args.remote)?;
            block(async { Ok(client.remove_override(args.id).await?) })?;
            if args.json.json {
                ctx.json(&json!({"id": args.id, "removed": true}))?;
            } else {
                ctx.say(&format!("override {} is taken back", args.id));
            }
            Ok(Exit::Ok)
        }
    }
}

fn add(args: &OverrideAddArgs, ctx: &mut Ctx) -> Done {
    let body = wanted(args)?;
    let client = ctx.client(&args.remote)?;
    let made = block(async { Ok(client.add_override(&body).await?) })?;
    if args.json.json {
        ctx.json(&made)?;
        return Ok(Exit::Ok);
    }
    let until = ctx.view.at_and_far(made.made.until);
    let id = made.made.id;
    ctx.say(&format!(
        "override {id} is in force until {until}; take it back: curb override remove {id}"
    ));
    for change in &made.changes {
        ctx.say(&format!("  {change}"));
    }
    Ok(Exit::Ok)
}

fn wanted(args: &OverrideAddArgs) -> Result<NewOverride, Failure> {
    let one = |name: &Option<String>| {
        name.as_ref()
            .map(|n| Match::OneOf(BTreeSet::from([n.clone()])))
    };
    let selector = Selector {
        user: one(&args.user),
        team: one(&args.team),
        org: one(&args.org),
        job_type: one(&args.job_type),
        ..Selector::default()
    };
    let mut amounts: BTreeMap<Resource, i64> = BTreeMap::new();
    let given = [&args.cpu, &args.gpu, &args.memory]
        .into_iter()
        .flatten()
        .chain(&args.resource);
    for (resource, change) in given {
        if amounts.insert(resource.clone(), *change).is_some() {
            return Err(Failure::usage(format!(
                "`{resource}` is given twice: give one change for each resource"
            )));
        }
    }
    Ok(NewOverride {
        selector,
        quota: args.quota.clone(),
        amounts,
        jobs: args.jobs.unwrap_or(0),
        span: args.span,
        why: args.why.clone(),
    })
}
