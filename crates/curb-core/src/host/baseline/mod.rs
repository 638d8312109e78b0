//! Baselines: what a workload was measured to need, as a small file under version control, and what follows from it.
//!
//! - [`Baseline`]: one workload with its scenarios, each a set of figures ([`Figure`]) as [`Spread`]s, with its evidence.
//! - [`parse`] and [`write`]: its file. What is written reads back as the same.
//! - [`changes`]: what makes it stale, each by name. [`Baseline::basis`]: what of it may be built on.
//! - [`recommend`]: limits from baselines, each number explained.
//! - [`svg`] and [`html`]: memory over time, for people.

mod chart;
mod model;
mod read;
pub mod recommend;
mod spread;
mod stale;
mod write;

pub use chart::{Chart, html, svg};
pub use model::*;
pub use read::parse;
pub use spread::{MAX_POINTS, Series, Spread, Tally};
pub use stale::{Change, Refused, changes};
pub use write::write;

#[cfg(test)]
pub(crate) mod tests;
