//! What runs on this host.

pub mod limits;
