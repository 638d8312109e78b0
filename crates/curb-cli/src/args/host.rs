//! What runs on this host.

mod agent;
mod audit;
mod drill;
mod limits;
mod profile;
mod top;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use curb_core::amount::{Amount, Unit};
use curb_core::host::limits::{EndThrashing, EndThrashingError};
use curb_core::time::Millis;

pub use agent::*;
pub use audit::*;
pub use drill::*;
pub use limits::*;
pub use profile::ProfileArgs;
pub use top::*;

/// On macOS longer: a large program that is killed may leave wired memory behind for good.
const GRACE: &str = if cfg!(target_os = "macos") {
    "2m"
} else {
    "30s"
};

/// `curb run`
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code: that of the command (128 and the number of a signal that ended it); 125 curb could not run it, \
    126 it cannot be run, 127 there is no such program. Ctrl-C and other signals reach the command.\n\n\
    Limits are for the command with all that it starts, and are held by the kernel (control groups, version 1 or 2); \
    where no group can be made, a watchdog holds memory and processes, and says so. \
    What is still there when the command ends is ended too."
)]
pub struct RunArgs {
    /// A workload of the file of limits: its limits, its ladder, and its command if none is given here
    #[arg(long, value_name = "NAME")]
    pub workload: Option<String>,
    /// The file of limits
    #[arg(
        long,
        value_name = "FILE",
        default_value = "limits.yaml",
        requires = "workload"
    )]
    pub limits: PathBuf,
    /// Memory of all its processes together, such as 4GiB; what goes beyond is killed by the kernel
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<Amount>,
    /// CPUs, such as 2, 0.5 or 500m; what goes beyond waits
    #[arg(long, value_name = "N", value_parser = cpu)]
    pub cpu: Option<Amount>,
    /// Processes and threads at once; what goes beyond is refused
    #[arg(long, value_name = "N")]
    pub processes: Option<u64>,
    /// Open files of each process
    #[arg(long, value_name = "N")]
    pub open_files: Option<u64>,
    /// How long it may run, such as 30m or 24h; then it is asked to end
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub duration: Option<Millis>,
    /// CPU time that all its processes may use together, such as 10h; then it is asked to end
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub cpu_time: Option<Millis>,
    /// When it is ended for thrashing: it is at its limit on memory and only reads its own program back from disk; 10s at
    /// least, or `never` [default: as the file of limits says, else 30s]
    #[arg(long, value_name = "TIME", value_parser = end_thrashing)]
    pub end_thrashing: Option<EndThrashing>,
    /// From being asked to end until it is killed
    #[arg(long, value_name = "TIME", value_parser = time, default_value = GRACE)]
    pub grace: Millis,
    /// Write each event as a line of JSON to a file, or to stdout (`-`)
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Hold a process that runs already, with all that descends from it; it is given back when curb is asked to end
    #[arg(long, value_name = "PID", conflicts_with = "command")]
    pub pid: Option<u32>,
    /// With --pid: end it when curb is asked to end
    #[arg(long, requires = "pid")]
    pub stop: bool,
    /// Make no control group: look often, and end it where it passes a limit
    #[arg(long)]
    pub watchdog: bool,
    /// A proxy in front of its server.
    #[command(flatten)]
    pub front: super::FrontArgs,
    /// The command and its arguments
    #[arg(last = true, required_unless_present_any = ["pid", "workload"], value_name = "CMD")]
    pub command: Vec<OsString>,
}

fn memory(text: &str) -> Result<Amount, String> {
    Amount::parse_declared(Unit::Bytes, text).map_err(|e| e.to_string())
}

fn cpu(text: &str) -> Result<Amount, String> {
    Amount::parse_count(text).map_err(|e| e.to_string())
}

fn end_thrashing(text: &str) -> Result<EndThrashing, String> {
    text.parse().map_err(|e: EndThrashingError| e.to_string())
}

fn time(text: &str) -> Result<Millis, String> {
    Millis::parse(text).map_err(|e| e.to_string())
}
