//! Commands of somebody who submits jobs.

use clap::{Args, Subcommand};
use curb_api::StateFilter;
use curb_core::subject::JobId;

use curb_core::time::Millis;

use super::ask::{millis, name};
use super::{AskArgs, Json, Remote};

/// `curb submit`
#[derive(Debug, Args)]
#[command(
    after_help = "Ctrl-C stops following; the job goes on. Exit code: 0 succeeded, 1 failed or stopped, 3 refused.\n\
    Ray's own client works as well: RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$CURB_TOKEN ray job submit --address URL -- CMD"
)]
pub struct SubmitArgs {
    /// What to run
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<String>,
    /// The id that the job should have
    #[arg(long, value_parser = job_id)]
    pub id: Option<String>,
    /// Do not follow the log: print the id and end
    #[arg(long)]
    pub no_wait: bool,
    /// Take the files below this directory along (less what .gitignore and .rayignore say); or a URI that Ray knows
    #[arg(long, value_name = "DIR")]
    pub working_dir: Option<String>,
    /// A variable of the job's environment; may be repeated
    #[arg(long, value_name = "K=V", value_parser = pair)]
    pub env: Vec<(String, String)>,
    /// The same key with the same content is the same job: safe to repeat
    #[arg(long, value_name = "TEXT")]
    pub key: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub ask: AskArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub remote: Remote,
}

/// `curb explain`
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code: 0 it would start now or later, 3 it would be refused, 5 Ray does not answer and the policy refuses meanwhile."
)]
pub struct ExplainArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub ask: AskArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub remote: Remote,
}

/// `curb jobs`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct JobsArgs {
    /// What to do; list if not said.
    #[command(subcommand)]
    pub command: Option<JobsCommand>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub list: JobsListArgs,
}

/// What can be done with jobs.
#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// List jobs: those that are not over, newest first
    List(JobsListArgs),
    /// Show one job: where it stands, what it waits for, who holds that
    Show(JobShowArgs),
    /// Stop a job, waiting or running
    Stop(JobStopArgs),
    /// Give back what a quarantined job holds: you vouch that nothing of it runs any more
    Release(JobReleaseArgs),
    /// Hold a job out of reach of ladders for a time (for operators)
    Exempt(JobExemptArgs),
}

/// `curb jobs list`
#[derive(Clone, Debug, Args)]
pub struct JobsListArgs {
    /// open, all, queued, starting, running, quarantined, succeeded, failed or stopped
    #[arg(long, value_name = "STATE", default_value = "open", value_parser = state)]
    pub state: StateFilter,
    /// Those that are over as well: the same as --state all
    #[arg(long, conflicts_with = "state")]
    pub all: bool,
    /// Only this user's
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub user: Option<String>,
    /// Only on this cluster
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub cluster: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = curb_api::DEFAULT_JOBS, value_parser = clap::value_parser!(u32).range(1..=i64::from(curb_api::MAX_JOBS)))]
    pub limit: u32,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub remote: Remote,
}

/// `curb jobs show`
#[derive(Debug, Args)]
pub struct JobShowArgs {
    /// The job
    pub id: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub remote: Remote,
}

/// `curb jobs stop`
#[derive(Debug, Args)]
pub struct JobStopArgs {
    /// The job
    pub id: String,
    /// Why; the owner sees it
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub remote: Remote,
}

/// `curb jobs release`
#[derive(Debug, Args)]
pub struct JobReleaseArgs {
    /// The job
    pub id: String,
    /// Why you believe that nothing of it runs any more; kept in the journal
    #[arg(long, value_name = "TEXT", value_parser = why)]
    pub why: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub remote: Remote,
}

/// `curb jobs exempt`
#[derive(Debug, Args)]
#[command(
    after_help = "Nothing that its quotas' ladders say happens to it meanwhile; afterwards their delays begin anew. Others can still \
    stop it, and what it borrowed is still taken back.\nExample: curb jobs exempt JOB --for 2h --why 'a restore that must not stop'"
)]
pub struct JobExemptArgs {
    /// The job
    pub id: String,
    /// For how long from now: 2h, 3d; 0s ends it
    #[arg(long = "for", value_name = "TIME", value_parser = millis)]
    pub span: Millis,
    /// Why; kept in the journal
    #[arg(long, value_name = "TEXT", value_parser = why)]
    pub why: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub remote: Remote,
}

/// `curb quota`
#[derive(Debug, Args)]
pub struct QuotaArgs {
    /// Everybody's buckets (for operators)
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub remote: Remote,
}

/// `curb status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub remote: Remote,
}

fn state(text: &str) -> Result<StateFilter, String> {
    text.parse()
        .map_err(|e: curb_api::StateFilterError| e.to_string())
}

fn job_id(text: &str) -> Result<String, String> {
    JobId::parse(text)
        .map(|_| text.to_owned())
        .map_err(|e| e.to_string())
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

pub(super) fn why(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("say why: it is kept in the journal".to_owned()),
        text => Ok(text.to_owned()),
    }
}
