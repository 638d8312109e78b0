//! From the command line to the end: the helper first, then without privileges.

use std::cell::RefCell;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use curb_core::host::detect::Settings;
use curb_host::privilege;

use crate::agent::{Agent, AgentSettings, wall};
use crate::hands::Hands;
use crate::http;
use crate::log::{Format, Log, What};
use crate::pages;

/// What the command line says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// The file of limits.
    pub limits: PathBuf,
    /// Where it answers. None: nowhere.
    pub listen: Option<SocketAddr>,
    /// How it tells.
    pub format: Format,
    /// From one look to the next.
    pub every: Duration,
    /// The user that it becomes where it is root.
    pub user: Option<String>,
    /// Processes of root may be confined as well.
    pub also_root: bool,
    /// Processes of services and containers are taken out of where they are kept.
    pub also_kept: bool,
    /// Nothing is confined.
    pub watch_only: bool,
    /// One look, what was found on stdout, and nothing is changed.
    pub once: bool,
    /// When something is odd.
    pub detect: Settings,
}

/// The user that it becomes where nobody says which.
const USERS: [&str; 2] = ["curb-agent", "nobody"];

/// Where the options are for a process that has read its command line already.
pub(crate) const READ_ALREADY: &str = "CURB_AGENT_OPTIONS";

/// Becomes the same program once more, with the same command line and with what was read of it: what reading a command line
/// and printing help takes in memory is then not kept for good. Where that fails, it goes on as it is.
fn become_small(options: &Options) {
    let Ok(json) = serde_json::to_string(options) else {
        return;
    };
    let mut words = std::env::args_os();
    let mut again = std::process::Command::new("/proc/self/exe");
    if let Some(name) = words.next() {
        again.arg0(name);
    }
    let _why_it_stays_as_it_is = again.args(words).env(READ_ALREADY, json).exec();
}

/// Runs the agent in a process that has read its command line before; nothing, where this is no such process.
#[must_use]
pub fn read_already() -> Option<io::Result<()>> {
    let json = std::env::var(READ_ALREADY).ok()?;
    let options = serde_json::from_str(&json).ok()?;
    Some(run_here(&options))
}

/// Runs until it is asked to end.
///
/// # Errors
/// It could not begin, or its helper is gone.
pub fn run(options: &Options) -> io::Result<()> {
    if !options.once {
        become_small(options);
    }
    run_here(options)
}

/// Runs until it is asked to end.
///
/// # Errors
/// It could not begin, or its helper is gone.
fn run_here(options: &Options) -> io::Result<()> {
    curb_host::scan::raise_open_files();
    let layout = crate::helper::place(std::path::Path::new("/"))?;
    let root = privilege::standing()?.user == 0;
    let identity = match (root, &options.user) {
        (true, wanted) => Some(identity(wanted.as_deref())?),
        (false, None) => None,
        (false, Some(user)) => {
            return Err(io::Error::other(format!(
                "only root can become {user}: leave --user out, or start it as root"
            )));
        }
    };
    // Bound while there may be a privilege for it; nothing is read from it before that is gone.
    let listener = options
        .listen
        .filter(|_| !options.once)
        .map(bind)
        .transpose()?;
    let mut arguments = Vec::new();
    if options.also_root {
        arguments.push("--also-root");
    }
    let hands = Hands::start(&arguments)?;
    match identity {
        Some((user, group)) => privilege::become_user(user, group)?,
        None => privilege::keep_only(rustix::thread::CapabilitySet::empty())?,
    }
    let log = Log::new(options.format, Box::new(io::stderr()));
    let settings = AgentSettings {
        watch_only: options.watch_only || options.once,
        also_kept: options.also_kept,
        detect: options.detect,
    };
    let listen = listener.as_ref().and_then(|l| l.local_addr().ok());
    // The helper has made it by now.
    let layout = crate::helper::home(&layout);
    let agent = Agent::begin(&options.limits, settings, layout, hands, log)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, serve(agent, listener, listen, options))
}

fn identity(wanted: Option<&str>) -> io::Result<(u32, u32)> {
    let names: Vec<&str> = match wanted {
        Some(name) => vec![name],
        None => USERS.to_vec(),
    };
    let found = names
        .iter()
        .find_map(|name| curb_host::users::numbers(name));
    match found {
        Some((0, _)) => Err(io::Error::other(
            "the agent faces the network and does not run as root: choose another --user",
        )),
        Some(identity) => Ok(identity),
        None => Err(io::Error::other(format!(
            "this host has no user {}: make one, or choose another with --user",
            names.join(" or ")
        ))),
    }
}

fn bind(at: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(at)
        .map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {at}: {e}")))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn serve(
    mut agent: Agent,
    listener: Option<std::net::TcpListener>,
    listen: Option<SocketAddr>,
    options: &Options,
) -> io::Result<()> {
    if options.once {
        tell_start(&mut agent, listen)?;
        agent.round().map_err(io::Error::other)?;
        return io::stdout().write_all(pages::found(&agent).as_bytes());
    }
    // Before it says that it has started: whoever reads that may ask it to end at once.
    let mut end = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tell_start(&mut agent, listen)?;
    let every_ms = u64::try_from(options.every.as_millis()).unwrap_or(u64::MAX);
    let agent = Rc::new(RefCell::new(agent));
    if let Some(listener) = listener {
        let asked = Rc::clone(&agent);
        let answer =
            move |ask: &http::Ask| pages::answer(&mut asked.borrow_mut(), ask, every_ms, wall().0);
        let listener = TcpListener::from_std(listener)?;
        tokio::task::spawn_local(http::serve(listener, Rc::new(RefCell::new(answer))));
    }
    let mut rounds = tokio::time::interval(options.every);
    // After a pause of the machine it goes on from there, and does not catch up.
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = rounds.tick() => agent.borrow_mut().round().map_err(io::Error::other)?,
            _ = hang_up.recv() => agent.borrow_mut().reload(true).map_err(io::Error::other)?,
            _ = end.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    agent
        .borrow_mut()
        .log
        .tell(wall(), None, What::AgentStopped);
    Ok(())
}

fn tell_start(agent: &mut Agent, listen: Option<SocketAddr>) -> io::Result<()> {
    let own = privilege::standing()?;
    let helper = agent.hands.standing();
    let what = What::AgentStarted {
        version: env!("CARGO_PKG_VERSION"),
        user: own.user,
        capabilities: names(own.capabilities),
        helper: helper.pid,
        helper_user: helper.user,
        helper_capabilities: names(helper.capabilities),
        helper_filtered: helper.filtered,
        listen: listen.map_or_else(|| "nothing".to_owned(), |at| at.to_string()),
    };
    agent.log.tell(wall(), None, what);
    Ok(())
}

/// Capabilities by name.
fn names(bits: u64) -> String {
    let set = rustix::thread::CapabilitySet::from_bits_retain(bits);
    let names: Vec<String> = set
        .iter_names()
        .map(|(name, _)| format!("CAP_{name}"))
        .collect();
    match names.is_empty() {
        true => "no capability".to_owned(),
        false => names.join(", "),
    }
}
