//! `curb profile`

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use curb_core::time::Millis;

use super::time;
use crate::args::Json;

/// `curb profile`
#[derive(Debug, Args)]
#[command(
    after_help = "Without --load, --then and --ready the command is measured from its beginning to its own end (or for the time \
    of --for). With one of them it is a server: what it needs until it is ready is scenario `start`; then each scenario is \
    driven by its load in turn, and at last it is asked to end. Loads are lines for sh, run outside of what is measured.\n\n\
    Results go to stdout; the output of the command and of its loads goes to stderr.\n\n\
    Exit code: 0 measured, 1 a scenario was cut short (no limit follows from it), 2 the command line is wrong, 7 a file is \
    wrong, 125 it could not be measured, 126 the command cannot be run, 127 there is no such program, 130 Ctrl-C."
)]
pub struct ProfileArgs {
    /// The workload's name [default: that of the program]
    #[arg(long, value_name = "NAME")]
    pub workload: Option<String>,
    /// The scenario: idle, average, peak, edge (more than planned: it sets no limit) or any other name
    #[arg(long, value_name = "NAME", default_value = "average")]
    pub scenario: String,
    /// How often all of it is run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeat: u32,
    /// How long each scenario is measured at most [default for a server without a load: 10s]
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    pub lasts: Option<Millis>,
    /// What drives the server: a line for sh; the scenario is over when it ends
    #[arg(long, value_name = "CMD")]
    pub load: Option<String>,
    /// A further scenario on the same server, with its load; may be given often
    #[arg(long, value_name = "NAME[=CMD]")]
    pub then: Vec<String>,
    /// When the server is ready: a URL that answers with 200, a time, or `listens` [default: listens]
    #[arg(long, value_name = "URL|TIME")]
    pub ready: Option<String>,
    /// From one look to the next
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "100ms")]
    pub every: Millis,
    /// From being asked to end until it is killed
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "30s")]
    pub grace: Millis,
    /// Make no control group: add up what its processes have
    #[arg(long)]
    pub no_group: bool,
    /// Put the scenarios into this baseline; made if it is not there
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// A file of the model, beside those that are found among the arguments; may be given often
    #[arg(long, value_name = "FILE")]
    pub model: Vec<PathBuf>,
    /// The program's version; without it, its file says whether it is another
    #[arg(long, value_name = "TEXT")]
    pub program_version: Option<String>,
    /// Write a page with chart and figures
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write the chart
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}
