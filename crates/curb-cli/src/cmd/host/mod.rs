//! What runs on this host.

pub mod agent;
pub mod audit;
pub mod limits;
mod units;
pub mod profile;
mod recommend;
