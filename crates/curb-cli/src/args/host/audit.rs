//! `curb audit`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `curb audit`
#[derive(Debug, Args)]
#[command(
    after_help = "Changes nothing. Without a command: host. Exit code: 1 where something of the severity of --fail-on or worse was found.\n\n\
    What could not be read is unknown: it is told, and never counted as fine or as missing."
)]
pub struct AuditArgs {
    /// For programs: all subjects with their limits, and the findings
    #[arg(long, global = true, conflicts_with = "sarif")]
    pub json: bool,
    /// The findings as SARIF 2.1.0, for code scanning
    #[arg(long, global = true)]
    pub sarif: bool,
    /// From which severity on to exit with 1
    #[arg(long, global = true, value_name = "SEVERITY", default_value = "error")]
    pub fail_on: FailOn,
    /// What to audit
    #[command(subcommand)]
    pub command: Option<AuditCommand>,
}

/// What ends an audit with 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// An error
    Error,
    /// A warning or worse
    Warning,
    /// Nothing
    Never,
}

/// What is audited.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// The machine learning processes of this host (the default)
    Host(AuditHostArgs),
    /// Compose files, merged in their order
    Compose(AuditFilesArgs),
    /// Kubernetes manifests, RayCluster, RayJob and RayService too
    Kubernetes(AuditFilesArgs),
    /// systemd units, by name or file; those that run machine learning where none is named
    Systemd(AuditSystemdArgs),
    /// The rules, or what one of them means
    Rules(AuditRulesArgs),
}

/// `curb audit host`
#[derive(Debug, Default, Args)]
pub struct AuditHostArgs {
    /// Only these processes, whatever they have loaded
    #[arg(long, value_name = "PID")]
    pub pid: Vec<u32>,
}

/// `curb audit compose`, `curb audit kubernetes`
#[derive(Debug, Args)]
pub struct AuditFilesArgs {
    /// The files; - is what comes on stdin
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// `curb audit systemd`
#[derive(Debug, Args)]
pub struct AuditSystemdArgs {
    /// Look for units below this directory instead of /
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// Names of units, or their files
    #[arg(value_name = "UNIT|FILE")]
    pub units: Vec<String>,
}

/// `curb audit rules`
#[derive(Debug, Args)]
pub struct AuditRulesArgs {
    /// The rule to explain
    pub rule: Option<String>,
}
