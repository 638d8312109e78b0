//! `curb limits`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use curb_core::amount::Amount;
use curb_core::host::limits::Form;

use super::memory;
use crate::args::Json;

/// `curb limits`
#[derive(Debug, Args)]
pub struct LimitsArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: LimitsCommand,
}

/// What can be done with files of limits.
#[derive(Debug, Subcommand)]
pub enum LimitsCommand {
    /// Find everything that is wrong or doubtful in a file of limits
    Check(LimitsCheckArgs),
    /// Show each limit with its reason, and what holds it
    Show(LimitsShowArgs),
    /// Tell what is different between two files of limits
    Diff(LimitsDiffArgs),
    /// Give what runs the limits of the file
    Apply(LimitsApplyArgs),
    /// Write the limits of a workload in the form of another tool
    Render(LimitsRenderArgs),
    /// Recommend limits from baselines, each number explained
    Recommend(LimitsRecommendArgs),
    /// Print the JSON Schema of the file of limits, for editors
    Schema(LimitsSchemaArgs),
}

/// The host that a file is for.
#[derive(Clone, Debug, Args)]
pub struct ForHost {
    /// Check for a host with so much memory [default: this host's]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub host_memory: Option<Amount>,
    /// Check for a host with so many CPUs [default: this host's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8192))]
    pub host_cpus: Option<u32>,
    /// Compare with no host, as for a check in CI
    #[arg(long, conflicts_with_all = ["host_memory", "host_cpus"])]
    pub any_host: bool,
}

/// `curb limits check`
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code: 0 nothing is wrong (warnings are told), 1 something is, 7 a file cannot be read."
)]
pub struct LimitsCheckArgs {
    /// The files; `-` reads stdin
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub host: ForHost,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
}

/// `curb limits show`
#[derive(Debug, Args)]
pub struct LimitsShowArgs {
    /// The file; `-` reads stdin
    pub file: PathBuf,
    /// Only this workload
    pub workload: Option<String>,
    /// As a file of limits, with every default written out
    #[arg(long, conflicts_with_all = ["json", "workload"])]
    pub yaml: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
}

/// `curb limits diff`
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code: 0 nothing is different, 1 something is, 7 a file cannot be read or is wrong.\n\n\
    What changed since the last commit: git show HEAD:limits.yaml | curb limits diff - limits.yaml\n\
    As git's own tool: git difftool --no-prompt --extcmd 'curb limits diff' -- limits.yaml"
)]
pub struct LimitsDiffArgs {
    /// The file as it was; `-` reads stdin
    pub old: PathBuf,
    /// The file as it is
    pub new: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
}

/// `curb limits apply`
#[derive(Debug, Args)]
#[command(
    after_help = "Changes the control groups of workloads that `curb run --workload` runs now: memory, memory_high, swap, cpu, \
    cpu_weight, cpu_set, processes. Everything else holds from the next start on. Where the kernel refuses one limit, all \
    stay as they were.\n\n\
    Exit code: 0 done (also where nothing runs), 1 refused, 7 the file cannot be read or is wrong for this host."
)]
pub struct LimitsApplyArgs {
    /// The file; `-` reads stdin
    pub file: PathBuf,
    /// Only this workload
    pub workload: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
}

/// `curb limits render`
#[derive(Debug, Args)]
#[command(
    after_help = "What the form cannot hold stands in it as a comment, and is told on stderr.\n\n\
    Exit code: 0 done, 1 with --strict something is not held as the file says, 7 the file cannot be read or is wrong."
)]
pub struct LimitsRenderArgs {
    /// The form
    #[arg(long, value_name = "FORM")]
    pub to: FormArg,
    /// The file; `-` reads stdin
    pub file: PathBuf,
    /// The workload [default: the only one of the file]
    pub workload: Option<String>,
    /// End with 1 where something is not held as the file says
    #[arg(long)]
    pub strict: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
}

/// A form on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormArg {
    /// A drop-in of a systemd service
    Systemd,
    /// A shell script that calls `docker run`
    Docker,
    /// A Compose file to merge with one that names the image
    Compose,
    /// A Pod, to which an image has to be added
    Kubernetes,
    /// Lines for a shell, before the program
    Ulimit,
    /// A property list of launchd (macOS)
    Launchd,
}

impl From<FormArg> for Form {
    fn from(form: FormArg) -> Form {
        match form {
            FormArg::Systemd => Form::Systemd,
            FormArg::Docker => Form::Docker,
            FormArg::Compose => Form::Compose,
            FormArg::Kubernetes => Form::Kubernetes,
            FormArg::Ulimit => Form::Ulimit,
            FormArg::Launchd => Form::Launchd,
        }
    }
}

/// `curb limits schema`
#[derive(Debug, Args)]
pub struct LimitsSchemaArgs {
    /// In draft 07, for editors that know no newer one
    #[arg(long)]
    pub draft07: bool,
}

/// `curb limits recommend`
#[derive(Debug, Args)]
#[command(
    after_help = "Without --into a file of limits goes to stdout, and the reasons to stderr. With it only the limits of these \
    workloads change in the file; those that are not recommended stay, and so does all else.\n\n\
    A baseline that was cut short or is stale (another version, model or machine) is refused by name.\n\n\
    Exit code: 0 done, 7 a baseline or the file is wrong or refused."
)]
pub struct LimitsRecommendArgs {
    /// The baselines, one a workload
    #[arg(required = true, value_name = "BASELINE")]
    pub baselines: Vec<PathBuf>,
    /// Put them into this file of limits; made if it is not there
    #[arg(long, value_name = "FILE")]
    pub into: Option<PathBuf>,
    /// For any host: do not compare with this one
    #[arg(long)]
    pub any_host: bool,
}
