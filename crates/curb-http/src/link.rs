//! What the guard below hyper and the service above it tell each other about one connection.
//!
//! hyper serves the requests of a connection one after the other, so the guard's verdicts and the
//! service's calls pair up in order. A call without a verdict means that the two readings of the
//! byte stream differ; it is refused, never served.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::head::Head;
use crate::violation::Violation;

/// Verdicts that may wait for the service. hyper reads at most one head ahead, so this is never
/// met; if it were, the connection ends instead of growing.
const MAX_WAITING: usize = 8;

/// What the guard decided about one request of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The head passed; `seq` counts the connection's requests from 1.
    Pass { seq: u64, head: Head },
    /// The head was refused. hyper was given a stand-in request, to answer in its place.
    Refuse(Violation),
}

/// What becomes of a service's response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// It goes out.
    Send,
    /// The request's body, or what followed it, broke a rule meanwhile: this goes out instead.
    Replace(Violation),
}

#[derive(Debug)]
struct Inner {
    verdicts: VecDeque<Verdict>,
    failed: Option<(u64, Violation)>,
    switched: bool,
    declined: bool,
    last_answer: Instant,
}

/// The shared state of one connection.
#[derive(Debug)]
pub(crate) struct Link {
    inner: Mutex<Inner>,
    in_flight: AtomicUsize,
}

/// Counts a request as in flight until its response body is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Link>);

impl Link {
    pub(crate) fn new() -> Arc<Self> {
        let inner = Inner {
            verdicts: VecDeque::new(),
            failed: None,
            switched: false,
            declined: false,
            last_answer: Instant::now(),
        };
        Arc::new(Self {
            inner: Mutex::new(inner),
            in_flight: AtomicUsize::new(0),
        })
    }

    /// Nothing panics while the lock is held, so a poisoned lock still guards sound data.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guard hands a request to hyper. False if too many wait already.
    #[must_use]
    pub(crate) fn push(&self, verdict: Verdict) -> bool {
        let mut inner = self.inner();
        if inner.verdicts.len() == MAX_WAITING {
            return false;
        }
        inner.verdicts.push_back(verdict);
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        true
    }

    /// The service was called: which verdict is this?
    pub(crate) fn take(self: &Arc<Self>) -> (Option<Verdict>, InFlight) {
        (
            self.inner().verdicts.pop_front(),
            InFlight(Arc::clone(self)),
        )
    }

    /// The guard found a fault in what follows the head of request `seq`.
    pub(crate) fn fail(&self, seq: u64, violation: Violation) {
        self.inner().failed.get_or_insert((seq, violation));
    }

    /// The service answered request `seq`. With `upgrade` the request asked for one, with `switch`
    /// the answer is a 101.
    pub(crate) fn settle(&self, seq: u64, upgrade: bool, switch: bool) -> Settled {
        let mut inner = self.inner();
        let settled = match inner.failed {
            Some((failed, violation)) if failed == seq => Settled::Replace(violation),
            _ => Settled::Send,
        };
        let switched = switch && settled == Settled::Send;
        inner.switched |= switched;
        inner.declined |= upgrade && !switched;
        settled
    }

    /// Whether an upgrade was asked for and not granted.
    pub(crate) fn declined(&self) -> bool {
        self.inner().declined
    }

    /// Whether a 101 was let through.
    pub(crate) fn switched(&self) -> bool {
        self.inner().switched
    }

    /// Since when nothing is in flight; `None` while something is.
    pub(crate) fn quiet_since(&self) -> Option<Instant> {
        let inner = self.inner();
        (self.in_flight.load(Ordering::Acquire) == 0).then_some(inner.last_answer)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.inner().last_answer = Instant::now();
        // Saturating: a call without a verdict was never counted.
        let _ = self
            .0
            .in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1));
    }
}
