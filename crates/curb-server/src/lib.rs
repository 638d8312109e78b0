//! The control plane of Curb: the engine that decides, the gateway in front of Ray, the dispatcher that starts jobs, the
//! monitor that watches them, the package store and Curb's own API.
//!
//! A request's way: `gateway` checks and signs it in, `request` reads it, `engine` decides it and makes it durable,
//! `dispatcher` gives it to Ray, `monitor` learns of its end. Nothing here decides by itself: that is `curb_core::decide`.

mod agents;
mod api;
mod app;
mod auth;
mod bodies;
mod clock;
mod cluster;
mod collect;
pub mod config;
mod dashboard;
mod dispatcher;
mod engine;
#[cfg(test)]
mod errors;
mod forecasts;
mod gateway;
mod monitor;
mod packages;
mod policy_file;
mod reasons;
mod recover;
mod reply;
mod request;
mod routes;
mod serve;
mod spec;
mod teeth;
pub mod testing;
mod truth;
mod usage;
mod view;
mod words;

pub use config::{Config, ConfigError, Flags};
pub use reasons::page as reason_page;
pub use recover::{LoadError, Loaded, load};
pub use serve::{ServeError, run};

/// An error and its causes in one line.
pub(crate) fn text_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// What fuzzers feed: bytes in, nothing out, no panic.
pub mod fuzz {
    /// The body of a submission.
    pub fn submission(data: &[u8]) {
        // Whether it is refused or read does not matter here.
        let _ = crate::request::Submission::parse(data, true);
    }
}
