//! What runs on this host.

pub mod audit;
pub mod limits;
mod units;
