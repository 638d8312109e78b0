//! Data to text: pure functions of the data and a [`crate::term::View`].

pub mod audit;
mod event;
mod explain;
mod jobs;
mod journal;
mod limits;
mod preview;
mod quota;
mod status;
mod tokens;
pub mod top;
mod usage;

pub use event::{Told, tell};
pub use explain::explain;
pub use jobs::{first_line, job, jobs, reason, short};
pub use journal::{record_line, records_head, verify};
pub use limits::{changes, limits};
pub use preview::preview;
pub use quota::quotas;
pub use status::status;
pub use tokens::{overrides, tokens};
pub use usage::{UsageLine, usage, usage_csv, usage_lines};
