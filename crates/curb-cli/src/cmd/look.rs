//! Commands that ask the server one question: quota, explain, status.

use curb_api::metadata::SubmitBody;

use crate::args::{ExplainArgs, QuotaArgs, StatusArgs};
use crate::ctx::{Ctx, block};
use crate::exit::Exit;
use crate::fail::{Done, Failure};
use crate::show;

/// `curb quota`
pub fn quota(args: &QuotaArgs, ctx: &mut Ctx) -> Done {
    let client = ctx.client(&args.remote)?;
    let quotas = block(async { Ok(client.quotas(args.all).await?) })?;
    if args.json.json {
        ctx.json(&quotas)?;
    } else if quotas.buckets.is_empty() {
        ctx.say("no quota covers you: nothing but the cluster itself limits your jobs");
    } else {
        let text = show::quotas(&quotas, &ctx.view);
        ctx.print(&text)?;
    }
    Ok(Exit::Ok)
}

/// `curb explain`
pub fn explain(args: &ExplainArgs, ctx: &mut Ctx) -> Done {
    let client = ctx.client(&args.remote)?;
    let body = SubmitBody {
        metadata: args.ask.metadata(),
        ..SubmitBody::default()
    };
    let reply = block(async { Ok::<_, Failure>(client.explain(&body).await?) })?;
    if args.json.json {
        ctx.json(&reply)?;
    } else {
        let text = show::explain(&reply, &ctx.view);
        ctx.print(&text)?;
    }
    Ok(match (reply.refused, reply.status) {
        // As a submission would end: no quota is in the way, but nobody is there.
        (true, 503) => Exit::Unreachable,
        (true, _) => Exit::Refused,
        _ => Exit::Ok,
    })
}

/// `curb status`
pub fn status(args: &StatusArgs, ctx: &mut Ctx) -> Done {
    let client = ctx.client(&args.remote)?;
    let status = block(async { Ok(client.status().await?) })?;
    if args.json.json {
        ctx.json(&status)?;
    } else {
        let text = show::status(&status, &args.remote.address(), &ctx.view);
        ctx.print(&text)?;
    }
    Ok(Exit::Ok)
}
