//! `curb top`

use clap::{Args, ValueEnum};
use curb_core::host::top::Sort;
use curb_core::time::Millis;

/// `curb top`
#[derive(Debug, Args)]
#[command(
    after_help = "Keys: q ends, s orders by the next column, / filters (Enter keeps, Esc drops it). Where stdout is no terminal: --once.\n\n\
    Shown are the groups that curb made, and machine learning processes outside of them. LEFT is what remains below the \
    memory limit. MET is the limit that was met last, and how long ago: mem, kill (by the kernel, for memory), fork, cpu; \
    `+` where that was before curb top looked."
)]
pub struct TopArgs {
    /// Look twice, print the table, and end
    #[arg(long)]
    pub once: bool,
    /// The same for programs, as JSON
    #[arg(long)]
    pub json: bool,
    /// By what rows are ordered
    #[arg(long, value_name = "COLUMN", default_value = "memory")]
    pub sort: SortBy,
    /// Only workloads with this in their name or framework
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub filter: String,
    /// From one look to the next, 200ms to 1m
    #[arg(long, value_name = "TIME", value_parser = interval, default_value = "1s")]
    pub interval: Millis,
}

/// Columns to order by.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SortBy {
    /// The most memory first
    Memory,
    /// The least left below its limit first
    Headroom,
    /// The most CPU first
    Cpu,
    /// By name
    Name,
}

impl From<SortBy> for Sort {
    fn from(by: SortBy) -> Sort {
        match by {
            SortBy::Memory => Sort::Memory,
            SortBy::Headroom => Sort::Headroom,
            SortBy::Cpu => Sort::Cpu,
            SortBy::Name => Sort::Name,
        }
    }
}

fn interval(text: &str) -> Result<Millis, String> {
    let time = Millis::parse(text).map_err(|e| e.to_string())?;
    match (200..=60_000).contains(&time.0) {
        true => Ok(time),
        false => Err("an interval is 200ms to 1m".to_owned()),
    }
}
