//! The hardened HTTP/1.1 front of Curb: a listener and the checks that every request passes
//! before a route sees it.
//!
//! The pieces, from the socket upwards:
//!
//! 1. [`listener`] accepts connections, bounds them, and drives hyper (HTTP/1 only).
//! 2. The guard (`guard.rs`) sits between the socket and hyper. It follows message boundaries by itself and
//!    lets only bytes through that have exactly one reading. What it refuses becomes a response
//!    in its place in the pipeline, and the connection ends there.
//! 3. [`checks`] is the layer in front of the routes: canonical path, `Host`, `Origin`,
//!    `Sec-Fetch-*`, security headers.
//! 4. [`body`], [`response`], [`upgrade`], [`upstream`], [`request_id`] are what handlers use.
//!
//! What must stay true: a request reaches a service only if the guard approved its head, in the
//! same order, with the same framing that hyper saw; anything else is refused (see
//! [`listener::serve`]).

mod alarm;
mod answer;
pub mod body;
pub mod canonical;
pub mod checks;
pub mod chunked;
pub mod fuzz;
mod guard;
pub mod head;
mod hold;
mod link;
pub mod listener;
pub mod origin;
pub mod request_id;
pub mod response;
pub mod upgrade;
pub mod upstream;
pub mod violation;
