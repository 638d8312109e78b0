//! What runs on this host.

pub mod agent;
pub mod audit;
pub mod limits;
pub mod profile;
mod recommend;
mod units;
