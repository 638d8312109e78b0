//! One module for each command.

pub mod docs;
pub mod enforce;
pub mod front;
pub mod host;
pub mod init;
pub mod jobs;
pub mod journal;
pub mod look;
pub mod overrides;
pub mod policy;
pub mod run;
pub mod serve;
pub mod submit;
pub mod token;
pub mod usage;
