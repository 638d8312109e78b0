//! Commands that work with files, a cluster or the journal's directory.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use super::{Json, Remote};

/// `curb init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The cluster's dashboard, such as http://ray-head:8265
    #[arg(long, value_name = "URL", env = "CURB_RAY", hide_env_values = true)]
    pub ray: String,
    /// Where to write the policy; what is there is never overwritten
    #[arg(long, value_name = "FILE", default_value = "curb.yaml")]
    pub out: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
}

/// `curb serve`
#[derive(Debug, Args)]
#[command(
    after_help = "A flag goes before the environment, the environment before the file, the file before the default.\n\
    SIGHUP reads the policy file again. SIGTERM drains: open requests are finished, running jobs go on in Ray, queued ones wait in the journal."
)]
pub struct ServeArgs {
    /// A configuration file (YAML) [env: CURB_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where clients connect [env: CURB_LISTEN] [default: 127.0.0.1:8266]
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<String>,
    /// The directory of journal and packages [env: CURB_DATA] [default: curb-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The policy; then the file rules, and the API cannot change it [env: CURB_POLICY]
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// The Ray cluster `main`; its token is in CURB_RAY_TOKEN [env: CURB_RAY]
    #[arg(long, value_name = "URL")]
    pub ray: Option<String>,
    /// Address of that cluster's control store (GCS), to watch what jobs hold [env: CURB_GCS] [default: not watched]
    #[arg(long, value_name = "HOST:PORT")]
    pub gcs: Option<String>,
    /// Starts a second that a cluster is given, 0 for no pacing [env: CURB_START_RATE] [default: 0.5]
    #[arg(long, value_name = "N")]
    pub start_rate: Option<f64>,
    /// Where operators may read Ray's dashboard [env: CURB_DASHBOARD_LISTEN] [default: nowhere]
    #[arg(long, value_name = "IP:PORT")]
    pub dashboard_listen: Option<String>,
    /// A host name that clients call this server by; may be given more than once [env: CURB_HOSTS, with commas]
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// Log lines as text or json [env: CURB_LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORM")]
    pub log: Option<String>,
}

/// `curb policy`
#[derive(Debug, Args)]
pub struct PolicyArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: PolicyCommand,
}

/// What can be done with policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Find everything that is wrong or doubtful in a policy file
    Check(PolicyCheckArgs),
    /// Print the JSON Schema of the policy file, for editors
    Schema(PolicySchemaArgs),
    /// Print a policy with every default written out: a file, or the one in force
    Show(PolicyShowArgs),
    /// Put a policy in force on the server
    Apply(PolicyApplyArgs),
}

/// `curb policy check`
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code: 0 nothing is wrong (warnings are told), 1 something is, 7 a file cannot be read."
)]
pub struct PolicyCheckArgs {
    /// The files; `-` reads stdin
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
}

/// `curb policy schema`
#[derive(Debug, Args)]
pub struct PolicySchemaArgs {
    /// In draft 07, for editors that know no newer one
    #[arg(long)]
    pub draft07: bool,
}

/// `curb policy show`
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").args(["file", "server"]))]
pub struct PolicyShowArgs {
    /// A file [default: the policy in force]
    pub file: Option<PathBuf>,
    /// The server's policy as it was written, without the defaults
    #[arg(long)]
    pub server: bool,
    /// An older version of the server's
    #[arg(long, value_name = "N", conflicts_with = "file")]
    pub version: Option<u32>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub remote: Remote,
}

/// `curb policy apply`
#[derive(Debug, Args)]
pub struct PolicyApplyArgs {
    /// The file
    pub file: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub remote: Remote,
}

/// `curb journal`
#[derive(Debug, Args)]
pub struct JournalArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: JournalCommand,
}

/// What can be done with the journal.
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Walk the whole chain of hashes and tell the first thing that is wrong
    Verify(JournalVerifyArgs),
    /// Show the newest records, and go on as they come
    Tail(JournalTailArgs),
    /// Write all records as lines that anybody can verify with SHA-256 alone
    Export(JournalExportArgs),
    /// Copy the journal and the packages to a new directory, beside a running server
    Backup(JournalBackupArgs),
}

/// Where the journal is.
#[derive(Clone, Debug, Args)]
pub struct DataDir {
    /// The server's data directory; works beside a running server
    #[arg(
        long,
        value_name = "DIR",
        env = "CURB_DATA",
        hide_env_values = true,
        default_value = "curb-data"
    )]
    pub data: PathBuf,
}

/// `curb journal verify`
#[derive(Debug, Args)]
#[command(after_help = "Exit code: 0 every record is what was written, 6 the journal is damaged.")]
pub struct JournalVerifyArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub dir: DataDir,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
}

/// `curb journal tail`
#[derive(Debug, Args)]
pub struct JournalTailArgs {
    /// Go on until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// So many of the newest first
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub lines: u32,
    /// Only this kind, such as ended or refused; may be repeated
    #[arg(long, value_name = "KIND", value_parser = kind)]
    pub kind: Vec<String>,
    /// Read the journal in this directory instead of asking the server; works beside a running one
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// For programs: one JSON object a record
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub remote: Remote,
}

/// `curb journal backup`
#[derive(Debug, Args)]
#[command(
    after_help = "The copy is a data directory as it was at one moment: `curb serve --data DIR` starts on it.\n\
    Exit code: 0 the copy is whole and its chain is sound, 6 the journal is damaged."
)]
pub struct JournalBackupArgs {
    /// The directory to make; what is there is never overwritten
    #[arg(value_name = "NEW_DIR")]
    pub to: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub dir: DataDir,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
}

/// A kind of event that there is.
fn kind(text: &str) -> Result<String, String> {
    let known = curb_core::ledger::Event::KINDS;
    if known.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "there is no such kind; there are: {}",
        known.join(", ")
    ))
}

/// `curb journal export`
#[derive(Debug, Args)]
#[command(after_help = "Exit code: 0 done, 6 all is written but the chain is damaged.")]
pub struct JournalExportArgs {
    /// Write to this file, which must not be there yet [default: stdout]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub dir: DataDir,
}
