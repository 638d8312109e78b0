//! `curb enforce`

use curb_api::{Mode, SetMode, WantedMode};

use crate::args::EnforceArgs;
use crate::ctx::{Ctx, block};
use crate::exit::Exit;
use crate::fail::Done;
use crate::show;

/// `curb enforce ...`
pub fn run(args: &EnforceArgs, ctx: &mut Ctx) -> Done {
    if args.preview {
        return preview(args, ctx);
    }
    let mode = if args.yes {
        WantedMode::Enforce
    } else if args.observe {
        WantedMode::Observe
    } else {
        WantedMode::Policy
    };
    let client = ctx.client(&args.remote)?;
    // clap requires --why with each of the three.
    let body = SetMode {
        mode,
        why: args.why.clone().unwrap_or_default(),
    };
    let now = block(async { Ok(client.set_mode(&body).await?) })?;
    if args.json.json {
        ctx.json(&now)?;
        return Ok(Exit::Ok);
    }
    let told = match now.mode {
        Mode::Enforce => {
            "enforced from now on: what is above a limit waits or is refused. Back: curb enforce --observe --why ..."
        }
        Mode::Observe => {
            "observed from now on: everything passes, and what would have been refused is recorded. Back: curb enforce --yes --why ..."
        }
    };
    ctx.say(told);
    Ok(Exit::Ok)
}

fn preview(args: &EnforceArgs, ctx: &mut Ctx) -> Done {
    let client = ctx.client(&args.remote)?;
    let (preview, now) = block(async {
        let preview = client.preview(args.since).await?;
        Ok((preview, client.mode().await?))
    })?;
    if args.json.json {
        ctx.json(&preview)?;
    } else {
        let text = show::preview(&preview, &ctx.view);
        ctx.print(&text)?;
        ctx.say(match now.mode {
            Mode::Enforce => "it is enforced already; only watch: curb enforce --observe --why ...",
            Mode::Observe => "enforce it: curb enforce --yes --why ...",
        });
    }
    Ok(Exit::Ok)
}
