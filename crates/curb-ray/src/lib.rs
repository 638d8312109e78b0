//! A typed client of the part of Ray that Curb speaks to: the Jobs REST API, packages, log
//! streams, and what is needed to see how large a cluster is.
//!
//! What must stay true here:
//!
//! - **A failed submission says what it proves.** Recovery depends on it, so [`SubmitError`] keeps
//!   "no byte left this host" ([`SubmitError::NotSent`]) apart from "it may have landed"
//!   ([`SubmitError::Unknown`]). Whatever is not proven to be harmless is `Unknown`.
//! - **Every call has a deadline and every body a bound**, all of them in [`RayConfig`].
//! - **No traceback of a refused or failed call leaves this crate.** A refusal carries one clean, bounded line. What Ray
//!   says of a job (its message, its log) is the job's own and is passed on as it is, to who may see the job.
//! - **Only canonical ids are put into a path** ([`check_id`]): what Ray decodes is what was checked.
//!
//! Deliberately absent: `DELETE /api/jobs/{id}`. Ray's submission ids are first-writer-wins, and
//! Curb's recovery rests on that. Deleting a record frees its id, after which a late or repeated
//! POST would start the job a second time. Nothing in Curb may do so, hence nothing here can.
//!
//! Connections are pooled here and not by hyper-util's legacy client, because that one does not
//! tell its caller in which phase (waiting, connecting, writing) a deadline struck, and only the
//! phase turns a timeout into a proof that nothing was sent. See `pool.rs`.

mod amount;
mod body;
mod client;
mod config;
mod error;
mod gcs;
mod id;
mod list;
mod nodes;
mod page;
mod pool;
mod reason;
mod submit;
mod tail;
mod types;

pub use amount::{Milli, ParseMilliError};
pub use body::{RayBody, RequestBody};
pub use client::RayClient;
pub use config::{ConfigError, RayConfig, Secret};
pub use error::{NotSent, RayError, SubmitError};
pub use gcs::{Gcs, GcsConfig, GcsError};
pub use id::{BadSegment, MAX_SEGMENT_BYTES, check_id};
pub use list::Listed;
pub use nodes::{Cluster, ClusterTotals, Node};
pub use page::Page;
pub use reason::{MAX_REASON_CHARS, clean_reason, without_frames};
pub use submit::{CLAIM_KEY, SubmitRequest, Submitted};
pub use tail::{Tail, TailFrame};
pub use types::{DriverInfo, JobDetails, JobKind, JobStatus, PackageProtocol, StopReply, Version};
