//! `limits.yaml`: the limits of a host's workloads, each a number with a reason.

mod model;

pub use model::*;
