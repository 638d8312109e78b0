//! Commands of operators and admins.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use curb_api::token::PREFIX;
use curb_core::resource::Resource;
use curb_core::subject::Role;
use curb_core::time::Millis;

use super::ask::{millis, name};
use super::jobs::{pair, why};
use super::{Json, Remote};

/// `curb override`
#[derive(Debug, Args)]
pub struct OverrideArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: OverrideCommand,
}

/// What can be done with overrides.
#[derive(Debug, Subcommand)]
pub enum OverrideCommand {
    /// Give somebody more, or less, for a time
    Add(Box<OverrideAddArgs>),
    /// List those in force
    List(OverrideListArgs),
    /// Take one back before its time
    Remove(OverrideRemoveArgs),
}

/// `curb override add`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("whose").required(true).multiple(true).args(["user", "team", "org", "job_type"]),
    group = ArgGroup::new("change").required(true).multiple(true).args(["cpu", "gpu", "memory", "resource", "jobs"]),
    after_help = "It changes the buckets that are kept for these, alone or together with more: --user ana changes every \
    bucket of ana's own, also one of ana's by job type; --quota or --job-type narrows it.\nExample: curb override add --user ana --gpu +2 --for 48h --why 'camera-ready'"
)]
pub struct OverrideAddArgs {
    /// Buckets of this user
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub user: Option<String>,
    /// Buckets of this team
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub team: Option<String>,
    /// Buckets of this org unit
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub org: Option<String>,
    /// Buckets of this job type
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub job_type: Option<String>,
    /// Only in this quota
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub quota: Option<String>,
    /// CPUs more or less: +4, -0.5
    #[arg(long, value_name = "±N", allow_hyphen_values = true, value_parser = delta_cpu)]
    pub cpu: Option<Change>,
    /// GPUs more or less, of one model if named: +2, H100:+2
    #[arg(long, value_name = "[MODEL:]±N", allow_hyphen_values = true, value_parser = delta_gpu)]
    pub gpu: Option<Change>,
    /// Memory more or less: +64GiB
    #[arg(long, value_name = "±SIZE", allow_hyphen_values = true, value_parser = delta_memory)]
    pub memory: Option<Change>,
    /// A custom resource more or less; may be repeated
    #[arg(long, value_name = "NAME=±N", value_parser = delta_resource)]
    pub resource: Vec<Change>,
    /// Running jobs more or less
    #[arg(long, value_name = "±N", allow_hyphen_values = true, value_parser = delta_jobs)]
    pub jobs: Option<i64>,
    /// For how long: 48h, 7d
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

/// So much more or less of a resource, in its smallest unit.
pub type Change = (Resource, i64);

/// `curb override list`
#[derive(Debug, Args)]
pub struct OverrideListArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub remote: Remote,
}

/// `curb override remove`
#[derive(Debug, Args)]
pub struct OverrideRemoveArgs {
    /// Its number
    pub id: u64,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub remote: Remote,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
}

/// `curb token`
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it, once: only its hash is kept
    Create(TokenCreateArgs),
    /// List tokens, without their secrets
    List(TokenListArgs),
    /// Revoke a token
    Revoke(TokenRevokeArgs),
}

/// `curb token create`
#[derive(Debug, Args)]
#[command(
    after_help = "The first token: curb token create --user YOU --role admin --data DIR, while no server runs on DIR."
)]
pub struct TokenCreateArgs {
    /// Whose
    #[arg(long, value_name = "NAME", value_parser = name, required_unless_present = "node")]
    pub user: Option<String>,
    /// The node whose agent it is for: with --role agent, in place of --user
    #[arg(long, value_name = "NAME", value_parser = name, conflicts_with = "user")]
    pub node: Option<String>,
    /// What they may do
    #[arg(long, value_name = "ROLE", default_value = "user")]
    pub role: RoleArg,
    /// For how long it is valid: 90d [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = millis)]
    pub expires: Option<Millis>,
    /// A label of the jobs that come with it, before the same one of the user in the policy; may be repeated
    #[arg(long, value_name = "K=V", value_parser = label)]
    pub label: Vec<(String, String)>,
    /// Write straight to the journal in this directory, while no server runs on it; a new one is made if there is none
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub remote: Remote,
}

/// `curb token list`
#[derive(Debug, Args)]
pub struct TokenListArgs {
    /// Read the journal in this directory, whether a server runs on it or not
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub remote: Remote,
}

/// `curb token revoke`
#[derive(Debug, Args)]
pub struct TokenRevokeArgs {
    /// Its id: the 8 characters after `curb_`; or the whole token, of which no more than the id is sent
    #[arg(value_parser = token_id)]
    pub id: String,
    /// Even if it is the last one of an admin, after which nobody can make tokens while the server runs
    #[arg(long)]
    pub force: bool,
    /// Write straight to the journal in this directory, while no server runs on it
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub remote: Remote,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
}

/// Roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// The agent on a node (`curb agent --server`): tells what runs there, and may do nothing else
    Agent,
    /// Submits, sees and stops their own jobs
    User,
    /// Sees all jobs and stops any
    Operator,
    /// Operator, and policy, tokens and overrides
    Admin,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Role {
        match role {
            RoleArg::Agent => Role::Agent,
            RoleArg::User => Role::User,
            RoleArg::Operator => Role::Operator,
            RoleArg::Admin => Role::Admin,
        }
    }
}

/// `curb enforce`
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["preview", "yes", "observe", "as_policy"]))]
pub struct EnforceArgs {
    /// What would have been refused or made to wait
    #[arg(long)]
    pub preview: bool,
    /// With --preview: how far back
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = millis, conflicts_with_all = ["yes", "observe", "as_policy"])]
    pub since: Millis,
    /// Enforce, whatever the policy says
    #[arg(long, requires = "why")]
    pub yes: bool,
    /// Let everything pass and only record, whatever the policy says
    #[arg(long, requires = "why")]
    pub observe: bool,
    /// Do as the policy says
    #[arg(long, requires = "why")]
    pub as_policy: bool,
    /// Why; kept in the journal
    #[arg(long, value_name = "TEXT", value_parser = why, conflicts_with = "preview")]
    pub why: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub remote: Remote,
}

/// The id of a token from what people have of it: the id, `curb_` and the id, or the token itself, whose secret goes
/// nowhere from here.
#[expect(clippy::unnecessary_wraps, reason = "the form that clap takes")]
fn token_id(text: &str) -> Result<String, String> {
    let id = text.strip_prefix(PREFIX).unwrap_or(text);
    Ok(id.split('_').next().unwrap_or(id).to_owned())
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = pair(text)?;
    Ok((name(&key)?, name(&value)?))
}

/// A signed amount: the sign is required, so that `2` is not taken for "two in all".
fn delta(resource: Resource, text: &str) -> Result<Change, String> {
    let (sign, amount) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(rest), _) => (1, rest),
        (_, Some(rest)) => (-1, rest),
        _ => {
            return Err(format!(
                "write +{text} for more or -{text} for less: it changes the limit, it does not set it"
            ));
        }
    };
    let amount = curb_core::amount::Amount::parse_declared(resource.unit(), amount)
        .map_err(|e| e.to_string())?;
    let amount = i64::try_from(amount.0).map_err(|e| e.to_string())?;
    Ok((resource, sign * amount))
}

fn delta_cpu(text: &str) -> Result<Change, String> {
    delta(Resource::Cpu, text)
}

fn delta_memory(text: &str) -> Result<Change, String> {
    delta(Resource::Memory, text)
}

fn delta_gpu(text: &str) -> Result<Change, String> {
    match text.rsplit_once(':') {
        Some((model, amount)) => {
            let resource = Resource::parse(&format!("gpu:{model}")).map_err(|e| e.to_string())?;
            delta(resource, amount)
        }
        None => delta(Resource::Gpu, text),
    }
}

fn delta_resource(text: &str) -> Result<Change, String> {
    let (name, amount) = pair(text)?;
    delta(Resource::parse(&name).map_err(|e| e.to_string())?, &amount)
}

fn delta_jobs(text: &str) -> Result<i64, String> {
    if !text.starts_with(['+', '-']) {
        return Err(format!(
            "write +{text} for more or -{text} for less: it changes the limit, it does not set it"
        ));
    }
    text.parse()
        .map_err(|_| format!("`{text}` is not a whole number of jobs such as +5"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_needs_its_sign() {
        assert_eq!(delta_gpu("+2"), Ok((Resource::Gpu, 2000)));
        assert_eq!(
            delta_gpu("H100:-1"),
            Ok((Resource::GpuModel("H100".into()), -1000))
        );
        assert_eq!(delta_memory("+1KiB"), Ok((Resource::Memory, 1024)));
        assert_eq!(
            delta_resource("ssd=-0.5"),
            Ok((Resource::Custom("ssd".into()), -500))
        );
        assert_eq!(delta_jobs("-3"), Ok(-3));
        for error in [
            delta_cpu("2").err(),
            delta_gpu("H100:2").err(),
            delta_jobs("2").err(),
        ] {
            assert!(error.is_some_and(|e| e.contains("write +2")));
        }
        assert!(delta_cpu("+lots").is_err() && delta_jobs("+x").is_err());
    }
}
