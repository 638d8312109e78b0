//! The clock, in one place. Tests can move it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use curb_core::time::Timestamp;

/// The system's clock, with an offset that only tests change.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let ms = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        };
        Timestamp(ms.saturating_add(self.0.load(Ordering::Relaxed)))
    }

    /// Moves the clock, ahead or back, in milliseconds.
    pub fn shift(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}
