//! `curb drill`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use curb_core::amount::Amount;
use curb_core::time::Millis;

/// `curb drill`
#[derive(Debug, Args)]
#[command(
    after_help = "Each limit is rehearsed in a run of its own, in a group of its own, by a stand-in: nothing of the workload itself is started, \
    signalled or told, but with --with-command. Where a run might hold more memory than the host can spare, nothing is run. What a \
    load did not come to is tried up to three times, and told as not reached then. Exit code: 1 where something did not do what the \
    file says."
)]
pub struct DrillArgs {
    /// The workload
    pub workload: String,
    /// The file of limits
    #[arg(long, value_name = "FILE", default_value = "limits.yaml")]
    pub limits: PathBuf,
    /// Rehearse with this limit on memory in place of the file's
    #[arg(long, value_name = "SIZE", value_parser = super::memory)]
    pub memory: Option<Amount>,
    /// Rehearse with the workload's own command as well: it is really run, within its own limits and ladder
    #[arg(long)]
    pub with_command: bool,
    /// What drives the workload's own command meanwhile (for sh)
    #[arg(long, value_name = "COMMAND", requires = "with_command")]
    pub load: Option<String>,
    /// For how long the workload's own command is run
    #[arg(
        long = "for",
        value_name = "TIME",
        requires = "with_command",
        default_value = "30s",
        value_parser = super::time
    )]
    pub lasts: Millis,
    /// For programs
    #[arg(long)]
    pub json: bool,
    /// The command, in place of the file's
    #[arg(last = true, value_name = "COMMAND", requires = "with_command")]
    pub command: Vec<String>,
}

/// What a stand-in does. Not for people.
#[derive(Debug, Args)]
pub struct DrillLoadArgs {
    /// What to do
    #[command(subcommand)]
    pub load: DrillLoad,
    /// For how long at most, in milliseconds
    #[arg(long, global = true, default_value_t = 1000)]
    pub lasts: u64,
}

/// What a stand-in does.
#[derive(Debug, Subcommand)]
pub enum DrillLoad {
    /// Fill memory up to so many bytes, and stay there
    MemoryTo {
        /// Bytes
        bytes: u64,
    },
    /// Fill memory beyond the limit, to so many bytes at most
    MemoryBeyond {
        /// Bytes
        most: u64,
    },
    /// Compute on so many threads
    Spin {
        /// Threads
        threads: u64,
    },
    /// Start threads, so many at most
    Threads {
        /// Threads
        most: u64,
    },
    /// Open files, so many at most
    Files {
        /// Files
        most: u64,
    },
    /// Wait
    Wait,
    /// Read back the limits that it is in
    Read,
    /// Make a file
    Told {
        /// Which
        file: PathBuf,
    },
}
