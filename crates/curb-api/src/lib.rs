//! Curb's own API: what goes over the wire, where, and a client that speaks it.
//!
//! - [`routes`] and [`headers`]: the paths and names, as constants that server, client and description share.
//! - [`types`]: one type for each body. Values of `curb-core` (resources, violations, explanations) go over the wire in
//!   their own JSON form: amounts in the resource's smallest unit (thousandths, bytes), times in milliseconds since
//!   1970, spans in milliseconds.
//! - [`problem`]: the error body (RFC 9457).
//! - [`metadata`]: the keys by which a job says what it asks for, and Ray's submission body.
//! - [`token`]: how a token is made and hashed. The only place.
//! - [`openapi`]: the description, built from [`routes::ROUTES`].
//! - [`client`]: deadlines on every call, a bound on every body, errors that say what to do next.
//!
//! Nothing here decides anything.

pub mod client;
pub mod headers;
mod kind;
pub mod metadata;
pub mod openapi;
pub mod problem;
pub mod routes;
mod schema;
pub mod token;
pub mod types;

pub use kind::Kind;
pub use problem::Problem;
pub use types::*;
