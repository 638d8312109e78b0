//! `curb jobs`

use curb_api::client::Client;
use curb_api::{
    ExemptRequest, JobQuery, JobState, ReleaseRequest, StateFilter, StopOutcome, StopRequest,
};

use crate::args::{
    JobExemptArgs, JobReleaseArgs, JobShowArgs, JobStopArgs, JobsArgs, JobsCommand, JobsListArgs,
};
use crate::ctx::{Ctx, block};
use crate::exit::Exit;
use crate::fail::{Done, Failure};
use crate::show;

/// `curb jobs ...`
pub fn run(args: JobsArgs, ctx: &mut Ctx) -> Done {
    match args.command.unwrap_or(JobsCommand::List(args.list)) {
        JobsCommand::List(args) => list(&args, ctx),
        JobsCommand::Show(args) => one(&args, ctx),
        JobsCommand::Stop(args) => stop(&args, ctx),
        JobsCommand::Release(args) => release(&args, ctx),
        JobsCommand::Exempt(args) => exempt(&args, ctx),
    }
}

fn list(args: &JobsListArgs, ctx: &mut Ctx) -> Done {
    let client = ctx.client(&args.remote)?;
    let query = JobQuery {
        state: if args.all {
            StateFilter::All
        } else {
            args.state
        },
        user: args.user.clone(),
        cluster: args.cluster.clone(),
        limit: Some(args.limit),
        after: None,
    };
    let page = block(async { Ok(client.jobs(&query).await?) })?;
    if args.json.json {
        ctx.json(&page)?;
        return Ok(Exit::Ok);
    }
    if page.jobs.is_empty() {
        if let Some(wanted) = &args.cluster {
            known_cluster(&client, wanted)?;
        }
        let hint = if query.state == StateFilter::Open {
            "; those that are over: curb jobs --all"
        } else {
            ""
        };
        ctx.say(&format!("no jobs ({}){hint}", query.state.as_str()));
        return Ok(Exit::Ok);
    }
    let text = show::jobs(&page.jobs, &ctx.view);
    ctx.print(&text)?;
    if page.next.is_some() {
        ctx.say(&format!(
            "these are the newest {}; more: --limit N, --user, --state",
            page.jobs.len()
        ));
    }
    Ok(Exit::Ok)
}

/// An empty list may be that of a cluster that is not there.
fn known_cluster(client: &Client, wanted: &str) -> Result<(), Failure> {
    let status = block(async { Ok(client.status().await?) })?;
    let names: Vec<_> = status.clusters.iter().map(|c| c.name.as_str()).collect();
    if names.contains(&wanted) {
        return Ok(());
    }
    Err(
        Failure::new(Exit::Other, format!("there is no cluster {wanted}"))
            .help(format!("there are: {}", names.join(", "))),
    )
}

fn one(args: &JobShowArgs, ctx: &mut Ctx) -> Done {
    let client = ctx.client(&args.remote)?;
    let job = block(async { Ok(client.job(&args.id).await?) })?;
    if args.json.json {
        ctx.json(&job)?;
    } else {
        let text = show::job(&job, &ctx.view);
        ctx.print(&text)?;
    }
    Ok(Exit::Ok)
}

fn stop(args: &JobStopArgs, ctx: &mut Ctx) -> Done {
    let client = ctx.client(&args.remote)?;
    let body = StopRequest {
        why: args.why.clone(),
    };
    let reply = block(async { Ok(client.stop(&args.id, &body).await?) })?;
    if args.json.json {
        ctx.json(&reply)?;
        return Ok(Exit::Ok);
    }
    let told = match reply.outcome {
        StopOutcome::Cancelled => "it waited, and will not run".to_owned(),
        StopOutcome::Stopping => {
            "it is being stopped; `curb jobs show` tells when it is over".to_owned()
        }
        StopOutcome::AlreadyEnded => format!("nothing to do: it is over already ({})", reply.state),
    };
    ctx.say(&format!("job {}: {told}", args.id));
    Ok(Exit::Ok)
}

fn release(args: &JobReleaseArgs, ctx: &mut Ctx) -> Done {
    let client = ctx.client(&args.remote)?;
    let body = ReleaseRequest {
        why: args.why.clone(),
    };
    let job = block(async { Ok(client.release(&args.id, &body).await?) })?;
    if args.json.json {
        ctx.json(&job)?;
        return Ok(Exit::Ok);
    }
    let what = if job.state == JobState::Quarantined {
        "is still quarantined"
    } else {
        "holds nothing any more"
    };
    ctx.say(&format!(
        "job {} {what} ({}); it is in the journal under your name",
        args.id, job.state
    ));
    Ok(Exit::Ok)
}

fn exempt(args: &JobExemptArgs, ctx: &mut Ctx) -> Done {
    let client = ctx.client(&args.remote)?;
    let body = ExemptRequest {
        span: args.span,
        why: args.why.clone(),
    };
    let job = block(async { Ok(client.exempt(&args.id, &body).await?) })?;
    if args.json.json {
        ctx.json(&job)?;
        return Ok(Exit::Ok);
    }
    let what = match &job.exempt {
        Some(exempt) => format!(
            "is out of reach of ladders until {}",
            ctx.view.at_and_far(exempt.until)
        ),
        None => "is within reach of ladders".to_owned(),
    };
    ctx.say(&format!(
        "job {} {what}; it is in the journal under your name",
        args.id
    ));
    Ok(Exit::Ok)
}
