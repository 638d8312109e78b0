//! Policies: the values ([`model`]) and how the file is read.

mod model;

pub use model::*;
