//! `curb agent`

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use curb_core::time::Millis;

/// `curb agent`
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct AgentArgs {
    /// The file of limits: which processes are which workload, and what they may take. Read again when it changes
    #[arg(long, value_name = "FILE", required_unless_present = "server")]
    pub limits: Option<PathBuf>,
    /// On a node of Ray: tell the Curb at this address which processes are whose job's, and what they use
    #[arg(long, value_name = "URL", conflicts_with_all = ["limits", "watch_only", "once", "also_root", "also_kept", "user", "listen", "no_listen"])]
    pub server: Option<String>,
    /// The file with the agent's token (curb token create --role agent --node NAME); read again when the server refuses it
    #[arg(long, value_name = "FILE", requires = "server")]
    pub token_file: Option<PathBuf>,
    /// The node's name, as the token has it [default: the host's]
    #[arg(long, value_name = "NAME", requires = "server")]
    pub node: Option<String>,
    /// The cluster that the node belongs to [default: the server's only one]
    #[arg(long, value_name = "NAME", requires = "server")]
    pub cluster: Option<String>,
    /// Where /metrics, /healthz and /readyz are answered
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9266")]
    pub listen: SocketAddr,
    /// Answer nowhere
    #[arg(long, conflicts_with = "listen")]
    pub no_listen: bool,
    /// How events are written to stderr, one a line
    #[arg(long, value_name = "FORM", default_value = "json")]
    pub log: AgentLog,
    /// From one look to the next
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = every)]
    pub every: Millis,
    /// The user to become where it is started by root [default: curb-agent, else nobody]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Confine processes of root too
    #[arg(long)]
    pub also_root: bool,
    /// Confine processes of services and containers too: they are taken out of the groups in which these keep them
    #[arg(long)]
    pub also_kept: bool,
    /// Confine nothing: find, watch and tell
    #[arg(long)]
    pub watch_only: bool,
    /// Look once, write what was found to stdout as JSON, and change nothing
    #[arg(long)]
    pub once: bool,
    /// Of such a time the least memory counts when it is looked for growth; twelve of them must have grown
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = every)]
    pub leak_window: Millis,
    /// After a start memory may grow for so long: models are loaded then
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = settle)]
    pub settle: Millis,
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AgentLog {
    /// One JSON object a line
    Json,
    /// In words
    Text,
}

const AFTER: &str = "It becomes an ordinary user without capabilities; a helper process that it starts before keeps those that \
confining takes, and answers nothing else. When it ends, workloads go on within their limits, and the next one takes them up. \
Manual: docs/agent.md";

fn every(text: &str) -> Result<Millis, String> {
    let time = settle(text)?;
    match time.0 {
        100..=3_600_000 => Ok(time),
        _ => Err("from 100ms to 1h".to_owned()),
    }
}

fn settle(text: &str) -> Result<Millis, String> {
    Millis::parse(text).map_err(|e| e.to_string())
}
