//! The command line.

mod admin;
mod ask;
mod front;
mod host;
mod jobs;
mod local;
mod usage;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use admin::*;
pub use ask::AskArgs;
pub use front::FrontArgs;
pub use host::*;
pub use jobs::*;
pub use local::*;
pub use usage::*;

/// Quotas in front of Ray: who may use how much, decided when a job is submitted
#[derive(Debug, Parser)]
#[command(
    name = "curb",
    version,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "Results go to stdout, all talk to stderr. Exit codes: curb help exit-codes"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What curb can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at a Ray cluster and write a policy for it that refuses nothing yet
    Init(InitArgs),
    /// Run the server in front of Ray
    Serve(ServeArgs),
    /// Submit a job, follow its log, and end as the job ends
    Submit(SubmitArgs),
    /// List, show, stop and release jobs
    Jobs(JobsArgs),
    /// Your limits and what is used of them
    Quota(QuotaArgs),
    /// Resource-time that was granted, and how much of it lay idle
    Usage(UsageArgs),
    /// Would this job fit, and if not, why and when? Submits nothing
    Explain(ExplainArgs),
    /// Change limits for a time
    Override(OverrideArgs),
    /// Make, list and revoke tokens
    Token(TokenArgs),
    /// Check, show and apply policies
    Policy(PolicyArgs),
    /// Turn enforcement on or off, or see what it would change
    Enforce(EnforceArgs),
    /// Verify, follow and export the journal
    Journal(JournalArgs),
    /// What the server does and knows, what is hard and what is watched
    Status(StatusArgs),
    /// Run a command on this host within limits that the kernel holds
    Run(RunArgs),
    /// Find workloads on this host, confine them, watch them and act at their limits, for good
    Agent(AgentArgs),
    /// Check, show and compare files of limits for workloads of a host
    Limits(LimitsArgs),
    /// Are limits in place? For the processes of this host, or in files
    Audit(AuditArgs),
    /// Measure what a command on this host needs, as a baseline for its limits
    Profile(ProfileArgs),
    /// Watch the workloads of this host: use, limits, what is left
    Top(TopArgs),
    /// Rehearse a workload's limits: does each of them do what the file says?
    Drill(DrillArgs),
    /// A stand-in of `curb drill`
    #[command(hide = true)]
    DrillLoad(DrillLoadArgs),
    /// Write completions for a shell to stdout
    Completions(CompletionsArgs),
    /// Write the man pages to a directory
    Man(ManArgs),
    /// Write the description of the HTTP API (OpenAPI 3.1) to stdout
    Openapi,
    /// This help, that of a command, `exit-codes`, or `reason CODE`
    Help(HelpArgs),
}

/// How to reach the server.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Server")]
pub struct Remote {
    /// Where the server is [env: CURB_ADDRESS] [default: http://127.0.0.1:8266]
    #[arg(long, value_name = "URL")]
    address: Option<String>,
    /// A file with your token [env: CURB_TOKEN_FILE] [default: what CURB_TOKEN says]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

// The environment is read here and not by clap, which would name what it finds there in the usage of every error.
impl Remote {
    /// Where the server is: the flag, else `CURB_ADDRESS`, else the default.
    #[must_use]
    pub fn address(&self) -> String {
        self.address
            .clone()
            .or_else(|| variable("CURB_ADDRESS"))
            .unwrap_or_else(|| curb_api::client::DEFAULT_ADDRESS.to_owned())
    }

    /// The file with the token: the flag, else `CURB_TOKEN_FILE`.
    #[must_use]
    pub fn token_file(&self) -> Option<PathBuf> {
        let from_environment = || variable("CURB_TOKEN_FILE").map(PathBuf::from);
        self.token_file.clone().or_else(from_environment)
    }
}

/// A variable of the environment that says something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.trim().is_empty())
}

/// For programs.
#[derive(Clone, Copy, Debug, Args)]
pub struct Json {
    /// For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)
    #[arg(long)]
    pub json: bool,
}

/// `curb help`
#[derive(Debug, Args)]
pub struct HelpArgs {
    /// A command such as `jobs stop`, `exit-codes`, `reason`, or `reason CODE`
    #[arg(value_name = "COMMAND")]
    pub topic: Vec<String>,
}

/// `curb completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_parser = clap::value_parser!(clap_complete::Shell), hide_possible_values = true, help = "Which shell: bash, zsh or fish")]
    pub shell: clap_complete::Shell,
}

/// `curb man`
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Where to write them; made if it is not there
    pub dir: PathBuf,
}
