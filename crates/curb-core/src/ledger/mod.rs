//! The ledger: a pure fold of the journal's events.

mod apply;
mod effect;
mod event;
mod fair;
mod hold;
mod job;
mod meter;
mod rebuild;
mod refusals;
mod rules;
mod snapshot;
mod state;
mod view;

pub use event::*;
pub use job::*;
pub use meter::{Carried, Meter, Reading};
pub use refusals::{Refusal, Refusals};
pub use rules::covers;
pub use snapshot::{RestoreError, SNAPSHOT_FORMAT};
pub use state::{Cluster, ENDED_KEPT, State};
pub use view::{BucketView, BudgetView, ResourceView};

pub(crate) use apply::{arrive, interval_micros, span_micros};
pub(crate) use rules::{ResIx, Rule, denied};
pub(crate) use state::{Bucket, Class, Has, Seat, Slot};
