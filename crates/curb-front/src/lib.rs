//! A proxy in front of a model server, with bounds that a client cannot exceed.
//!
//! A model server is dear, slow and easily killed: one request too large takes it down with all that it was doing. The
//! front takes requests in its place. It bounds how many the server has at once, how many wait, how large they are, how
//! much of all that one client may have, and how long it may take; it answers by itself, and at once, while the server
//! cannot ([`state::State`]); it streams both ways and holds little; and a request that was in flight when the server died
//! is tried alone the next time, and refused when the server dies of it again ([`suspects`]).
//!
//! From the socket upwards: the hardened listener of `curb-http`; [`exchange`](self) decides about one request, by the
//! pure parts ([`desk`]: who runs and who waits; [`suspects`]; [`state`]); `pool` has the connections to the server. All of
//! it runs on one thread, in whatever process starts it ([`Front::start`]); a [`Control`] steers it from any other.
//!
//! What must stay true here:
//!
//! - No request reaches the server twice. Another connection is tried only where not one byte was sent.
//! - Every place, connection and byte that a request holds is given back when its future is dropped, for whatever reason.
//! - What is held is bounded: 64 KiB of each request before its turn and some buffers of 64 KiB while it is streamed.

mod counts;
pub mod desk;
mod download;
mod exchange;
mod figures;
mod flight;
mod follow;
mod frames;
mod front;
mod headers;
mod limits;
mod pool;
mod reply;
mod shared;
pub mod state;
pub mod suspects;
mod tunnel;
mod upload;

pub use counts::{BUCKETS_MS, Counts, Histogram, Outcome};
pub use follow::Follower;
pub use front::{Control, Front, FrontError};
pub use limits::{BadFront, FrontLimits};
pub use state::State;
