//! What runs on this host.

pub mod agent;
mod apply;
pub mod audit;
pub mod drill;
pub mod limits;
pub mod profile;
mod recommend;
pub mod top;
mod units;
