//! What has happened, as plain numbers for metrics and events.

use std::time::Duration;

macro_rules! outcomes {
    ($($name:ident, $word:literal, $doc:literal;)+) => {
        /// How a request ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Outcome {
            $(#[doc = $doc] $name,)+
        }

        impl Outcome {
            /// All of them.
            pub const ALL: [Outcome; [$($word),+].len()] = [$(Outcome::$name),+];

            /// A stable name, for a metric's label.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Outcome::$name => $word,)+
                }
            }
        }
    };
}

outcomes!(
    Passed, "passed", "The server answered, whatever its status, and the answer was passed on whole.";
    PassedToFallback, "passed_to_fallback", "The same with the fallback.";
    ClientLeft, "client_left", "The client went away before its answer was whole.";
    QueueFull, "queue_full", "There was no place.";
    ClientShare, "client_share", "The client had all the places that it may have.";
    BodyTooLarge, "body_too_large", "The body was over its bound.";
    BodyNotRead, "body_not_read", "The body came too slowly, or broke off.";
    Upgrade, "upgrade", "It asked for a websocket, and the server answered with something else of that kind.";
    Websocket, "websocket", "A websocket was opened, and has ended.";
    WebsocketIdle, "websocket_idle", "A websocket was ended since no message came for the deadline.";
    WebsocketBroken, "websocket_broken", "A websocket was ended since its client did not keep to the protocol.";
    NotUp, "not_up", "The server was paused, over its limit, restarting or down.";
    Starting, "starting", "The server did not listen yet.";
    Unreachable, "unreachable", "Nothing listened where the server should.";
    WaitedTooLong, "waited_too_long", "Its time was over before it was its turn.";
    ServerTooLong, "server_too_long", "Its time was over before the server had answered.";
    Died, "died", "The server died while it was in flight.";
    BrokeOff, "broke_off", "The server closed the connection before its answer was whole.";
    Suspected, "suspected", "It was in flight at deaths of the server and was not passed on.";
);

/// Upper ends of a histogram's buckets, in milliseconds; a last one has no end.
pub const BUCKETS_MS: [u64; 15] = [
    1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000,
];

/// How long things took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many took at most so long as [`BUCKETS_MS`] says and longer than the one before; the last took longer than all.
    pub buckets: [u64; BUCKETS_MS.len() + 1],
    /// The sum, in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    pub(crate) fn add(&mut self, took: Duration) {
        let bucket = BUCKETS_MS
            .iter()
            .position(|end| took <= Duration::from_millis(*end))
            .unwrap_or(BUCKETS_MS.len());
        self.buckets[bucket] += 1;
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum_us = self.sum_us.saturating_add(took);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// All that is counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub(crate) ended: [u64; Outcome::ALL.len()],
    /// From the head of a request to its turn, of those that had one.
    pub wait: Histogram,
    /// From the head of a request to the head of its answer, of answers that were passed on.
    pub first_byte: Histogram,
    /// From the head of a request to the last byte of its answer, of answers that were passed on whole.
    pub whole: Histogram,
    /// Running now.
    pub in_flight: usize,
    /// Waiting for their turn now.
    pub queued: usize,
    /// Places taken now: running, waiting, and those whose body is still being read.
    pub present: usize,
    /// Deaths of the server that were told.
    pub deaths: u64,
    /// How often it was started again.
    pub restarts: u64,
    /// Requests that were sent over another connection, of which a kept one had closed before a byte was sent.
    pub retried: u64,
    /// Requests that are remembered from deaths.
    pub suspects: usize,
}

impl Counts {
    /// How many requests ended so.
    pub fn ended(&self, outcome: Outcome) -> u64 {
        self.ended[outcome as usize]
    }

    /// How many requests ended.
    pub fn all_ended(&self) -> u64 {
        self.ended.iter().sum()
    }

    pub(crate) fn end(&mut self, outcome: Outcome) {
        self.ended[outcome as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_a_name_and_a_count_of_its_own() {
        let mut counts = Counts::default();
        for (n, outcome) in Outcome::ALL.into_iter().enumerate() {
            (0..=n).for_each(|_| counts.end(outcome));
        }
        for (n, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(counts.ended(outcome), n as u64 + 1, "{}", outcome.as_str());
            let same = Outcome::ALL
                .iter()
                .filter(|o| o.as_str() == outcome.as_str());
            assert_eq!(same.count(), 1);
        }
    }

    #[test]
    fn what_took_exactly_a_bucket_s_end_is_in_it_and_nothing_is_lost_above_the_last() {
        let mut histogram = Histogram::default();
        for took in [0, 1_000, 1_001, 300_000_000, 300_000_001] {
            histogram.add(Duration::from_micros(took));
        }
        assert_eq!(histogram.buckets[0], 2);
        assert_eq!(histogram.buckets[1], 1);
        assert_eq!(histogram.buckets[14], 1);
        assert_eq!(histogram.buckets[15], 1);
        assert_eq!((histogram.count(), histogram.sum_us), (5, 600_002_002));
    }
}
