//! What can go wrong with a call to Ray, as types that a caller can act on.

use crate::id::BadSegment;
use std::time::Duration;

/// A call other than a submission failed. The text says what was attempted on what.
#[derive(Debug, thiserror::Error)]
pub enum RayError {
    /// No connection to Ray: nothing was sent. Retry later.
    #[error("could not {what}: Ray is not reachable at {address}: {reason}")]
    Unreachable {
        /// What was attempted.
        what: String,
        /// `host:port` of Ray.
        address: String,
        /// One line from the operating system or the pool.
        reason: String,
    },
    /// All connections that this client may have were in use until the deadline: nothing was sent, and nothing is said
    /// about Ray. Retry later.
    #[error("could not {what}: all connections from here to Ray were in use for {} ms", limit.as_millis())]
    Busy {
        /// What was attempted.
        what: String,
        /// The deadline that was met.
        limit: Duration,
    },
    /// Ray gave no (complete) answer in time. For a call that changes something, its effect is unknown.
    #[error("could not {what}: Ray gave no complete answer within {} ms", limit.as_millis())]
    Timeout {
        /// What was attempted.
        what: String,
        /// The deadline that was met.
        limit: Duration,
    },
    /// The connection broke before the whole answer was there. The effect of a change is unknown.
    #[error("could not {what}: the connection to Ray broke: {reason}")]
    Broken {
        /// What was attempted.
        what: String,
        /// One line about how it broke.
        reason: String,
    },
    /// Ray has no such object.
    #[error("could not {what}: Ray says that it does not exist")]
    NotFound {
        /// What was attempted.
        what: String,
    },
    /// Ray answered with another status than the call has.
    #[error("could not {what}: Ray answered {status}: {reason}")]
    Status {
        /// What was attempted.
        what: String,
        /// The HTTP status.
        status: u16,
        /// One clean line of Ray's answer, never a traceback.
        reason: String,
    },
    /// Ray's answer is not what its API promises.
    #[error("could not {what}: Ray's answer is not understood: {reason}")]
    Malformed {
        /// What was attempted.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Ray's answer passed its bound.
    #[error("could not {what}: Ray's answer is larger than {limit} bytes")]
    TooLarge {
        /// What was attempted.
        what: String,
        /// The bound, in bytes.
        limit: usize,
    },
    /// The id or name is not put into a path (see [`BadSegment`]): nothing was sent.
    #[error(transparent)]
    BadSegment(#[from] BadSegment),
}

/// Why a submission was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSent {
    /// There was no connection to Ray.
    Unreachable,
    /// All connections that this client may have were in use until the deadline: nothing is said about Ray.
    Busy,
    /// The request itself cannot be sent, however often it is tried.
    Unfit,
}

/// A submission was not confirmed. Which variant it is decides what recovery may do.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// Proof that it cannot land: no byte of the request left this host (not connected, or waited
    /// for a connection until the deadline, or the request could not be built).
    #[error("job {id} was not sent to Ray: {reason}")]
    NotSent {
        /// The submission id.
        id: String,
        /// Which of these.
        cause: NotSent,
        /// One line.
        reason: String,
    },
    /// Ray has a record under this id already: an earlier request of this id landed.
    #[error("Ray already has a job {id}")]
    AlreadyExists {
        /// The submission id.
        id: String,
    },
    /// Ray read the request and refused it: no record was made and this request will start nothing.
    #[error("Ray refused job {id} with {status}: {reason}")]
    Refused {
        /// The submission id.
        id: String,
        /// The HTTP status (what Ray's agent said where the dashboard only wrapped it).
        status: u16,
        /// One clean line of Ray's answer, never a traceback.
        reason: String,
    },
    /// Sent, and no usable answer: it may have landed, may land later, or may never. Only a claim of
    /// the id tells (see [`crate::SubmitRequest::no_op_claim`]).
    #[error("it is unknown whether job {id} reached Ray: {reason}")]
    Unknown {
        /// The submission id.
        id: String,
        /// The HTTP status, if there was one.
        status: Option<u16>,
        /// One line.
        reason: String,
    },
}
