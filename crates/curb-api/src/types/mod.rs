//! One type for each body.
//!
//! Unknown fields are ignored when reading an answer, so that an older client reads a newer server; they are refused
//! when reading a request, so that a misspelt wish is not silently dropped.

mod agents;
mod explain;
mod held;
mod jobs;
mod journal;
mod overrides;
mod policy;
mod preview;
mod quotas;
mod status;
mod tokens;
mod usage;

pub use agents::*;
pub use explain::*;
pub use held::*;
pub use jobs::*;
pub use journal::*;
pub use overrides::*;
pub use policy::*;
pub use preview::*;
pub use quotas::*;
pub use status::*;
pub use tokens::*;
pub use usage::*;
