//! A stand-in for Ray: the Jobs API of Ray 2.60 over HTTP, without Ray behind it.
//!
//! It is for tests and benchmarks. It answers as Ray does (statuses, texts, shapes: a contract test
//! runs the same suite against both), it counts how often each id was started, and it goes wrong on
//! request: see [`Fault`]. It starts nothing: a "job" is a time span and a log that follow from the
//! text of its entrypoint (see [`Plan`]).
//!
//! Time passes lazily. A job's status is computed when somebody asks, so a million jobs cost no
//! timer and a submission costs a parse and a map entry.
//!
//! ```no_run
//! # use curb_standin::{Fault, Options, Route, Standin, Trouble};
//! let ray = Standin::spawn(Options::default())?;
//! ray.fault(Fault::once(Route::Submit, Trouble::DropAfter));
//! println!("submit to http://{}, starts so far: {}", ray.addr(), ray.total_starts());
//! # Ok::<(), std::io::Error>(())
//! ```

mod fault;
mod handle;
mod job;
mod options;
mod plan;
mod request;
mod routes;
mod server;
mod tail;
mod texts;
mod world;

mod control;

pub use fault::{Chaos, Fault, Route, Trouble};
pub use handle::{Handle, Standin};
pub use options::{JobTime, NodeSpec, Options, ParseJobTimeError};
pub use plan::Plan;
pub use world::{Memory, Request, Start};
