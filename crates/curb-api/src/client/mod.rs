//! The client of Curb's own API.
//!
//! One TCP connection for a call, as Ray's own client does it: a command line makes one or two calls. Every call has a
//! deadline and every answer a bound; nothing is retried.

mod calls;
mod config;
mod error;
mod http1;
mod query;

pub use calls::Client;
pub use config::{ClientConfig, DEFAULT_ADDRESS, TokenText};
pub use error::ClientError;
