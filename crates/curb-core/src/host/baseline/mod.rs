//! Baselines: what a workload was measured to need, as a small file under version control, and what follows from it.
//!
//! - [`Baseline`]: one workload with its scenarios, each a set of figures ([`Figure`]) as [`Spread`]s, with its evidence.
//! - [`parse`] and [`write`]: its file. What is written reads back as the same.
//! - [`changes`]: what makes it stale, each by name. [`Baseline::basis`]: what of it may be built on.
//! - [`recommend`]: limits from baselines, each number explained.
//! - [`summary`] and [`explained`]: both for people. [`put_into`]: limits into a file of limits.
//! - [`svg`] and [`html`]: memory over time, for people.

mod chart;
mod into;
mod model;
mod read;
pub mod recommend;
mod spread;
mod stale;
mod summary;
mod write;

pub use chart::{Chart, html, ordered, svg};
pub use into::{NotPut, new_file, put_into};
pub use model::*;
pub use read::{is_name, parse};
pub use spread::{MAX_POINTS, Series, Spread, Tally};
pub use stale::{Change, Refused, changes};
pub use summary::{explained, summary, together};
pub use write::write;

#[cfg(test)]
pub(crate) mod tests;
