//! What runs on this host.

#[cfg(target_os = "linux")]
pub mod agent;
#[cfg(target_os = "linux")]
mod apply;
#[cfg(target_os = "linux")]
pub mod audit;
#[cfg(target_os = "linux")]
pub mod drill;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
pub mod limits;
#[cfg(target_os = "linux")]
pub mod profile;
#[cfg(target_os = "linux")]
mod recommend;
#[cfg(target_os = "linux")]
pub mod top;
#[cfg(target_os = "linux")]
mod units;

#[cfg(not(target_os = "linux"))]
pub use elsewhere::{agent, audit, drill, profile, top};
#[cfg(not(target_os = "linux"))]
use elsewhere::{apply, recommend};
