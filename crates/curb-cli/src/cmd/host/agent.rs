//! `curb agent`, and the helper that it starts.

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use curb_agent::helper::{self, Orders};
use curb_agent::log::Format;
use curb_agent::node::Node;
use curb_agent::run::{Options, run as run_agent};
use curb_api::client::{Client, ClientConfig, TokenText};
use curb_core::host::detect::Settings;

use crate::args::{AgentArgs, AgentLog};
use crate::ctx::{Ctx, block, read_file};
use crate::exit::Exit;
use crate::fail::{Done, Failure};

/// `curb agent ...`
pub fn run(args: &AgentArgs, ctx: &mut Ctx) -> Done {
    if let Some(server) = &args.server {
        return tell(server, args, ctx);
    }
    let limits = args.limits.clone().unwrap_or_default();
    let options = Options {
        limits,
        listen: (!args.no_listen).then_some(args.listen),
        format: match args.log {
            AgentLog::Json => Format::Json,
            AgentLog::Text => Format::Text,
        },
        every: Duration::from_millis(args.every.0),
        user: args.user.clone(),
        also_root: args.also_root,
        also_kept: args.also_kept,
        watch_only: args.watch_only,
        once: args.once,
        detect: Settings {
            window: args.leak_window,
            settle: args.settle,
            ..Settings::default()
        },
    };
    run_agent(&options).map_err(|error| Failure::local(error.to_string()))?;
    Ok(Exit::Ok)
}

/// `curb agent --server URL`
fn tell(server: &str, args: &AgentArgs, ctx: &mut Ctx) -> Done {
    let node = Node {
        name: args.node.clone().unwrap_or_else(host_name),
        cluster: args.cluster.clone(),
        epoch: epoch()?,
    };
    let path = args.token_file.clone().ok_or_else(|| {
        Failure::new(Exit::Usage, "an agent that tells a server needs a token of its own")
            .help("--token-file FILE; an administrator makes one: curb token create --role agent --node NAME")
    })?;
    let connect = || {
        let text = read_file(&path, "the token file").map_err(|f| f.message)?;
        let mut config = ClientConfig::new(server, Some(TokenText::new(&text)));
        config.request_timeout = DEADLINE;
        Client::new(config).map_err(|e| e.to_string())
    };
    // What is wrong from the start is told at once.
    connect().map_err(Failure::local)?;
    ctx.say(&format!("curb agent: node {}, for {server}", node.name));
    block(async {
        let say = |line: &str| ctx.say(&format!("curb agent: {line}"));
        curb_agent::node::run(node, connect, say)
            .await
            .map_err(|error| Failure::local(error.to_string()))
    })?;
    Ok(Exit::Ok)
}

/// For a report: the next tells all that it told.
const DEADLINE: Duration = Duration::from_secs(10);

fn host_name() -> String {
    let system = rustix::system::uname();
    system.nodename().to_string_lossy().into_owned()
}

fn epoch() -> Result<String, Failure> {
    let mut random = [0; 8];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::local(format!("the system gives no random bytes: {error}")))?;
    Ok(hex::encode(random))
}

/// The agent whose command line was read before, or its helper, if that is what this process was started as.
#[must_use]
pub fn without_command_line(ctx: impl FnOnce() -> Ctx) -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    let word = words.next()?;
    if word == "agent" {
        let ended = curb_agent::run::read_already()?;
        return Some(match ended {
            Ok(()) => Exit::Ok.into(),
            Err(error) => {
                ctx().complain(&Failure::local(error.to_string()));
                Exit::Local.into()
            }
        });
    }
    if word != curb_agent::hands::COMMAND {
        return None;
    }
    // Its connection is its standard input.
    let orders = Orders {
        also_root: words.any(|w| w == "--also-root"),
    };
    let connection = std::io::stdin().as_fd().try_clone_to_owned();
    let ended = connection.and_then(|connection| helper::run(&connection, orders));
    Some(match ended {
        Ok(()) => Exit::Ok.into(),
        // It has told who asked.
        Err(_) => Exit::Local.into(),
    })
}
