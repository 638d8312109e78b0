//! `limits.yaml`: the limits of a host's workloads, each a number with a reason.

mod key;
mod model;

pub use key::{Hold, Key, Row, Takes, Value};
pub use model::*;
