//! Limits for processes on a host, as values: the file of limits, baselines, the ladder, what is detected.
//!
//! Nothing in here touches a kernel, a file or a clock: what the host is, what was measured and what time it is are
//! arguments.

pub mod audit;
pub mod baseline;
pub mod detect;
pub mod drill;
pub mod ladder;
pub mod limits;
pub mod sample;
pub mod thrash;
pub mod top;
mod units;

pub use units::{Bytes, BytesPerSecond, MilliCpu, Percent, Permille};
