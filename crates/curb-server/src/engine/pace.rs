//! Start pacing: how many jobs a cluster is given a second, so that Ray's head node lives.

use curb_core::decide::{self, Gate};
use curb_core::time::{Millis, Timestamp};

use crate::config::START_BURST;

/// The pace of one cluster, and whether there is anybody to give jobs to.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    pace: decide::Pace,
    /// Whether the cluster can be reached.
    pub(crate) up: bool,
}

impl Pace {
    /// A cluster that was not reached yet.
    pub(crate) fn new(rate_milli: u64) -> Pace {
        Pace {
            pace: decide::Pace::new(rate_milli, START_BURST),
            up: false,
        }
    }

    /// The pace for those who look ahead.
    pub(crate) fn ahead(&self) -> decide::Pace {
        self.pace
    }

    /// Whether a job may be started now.
    pub(crate) fn gate(&self, now: Timestamp) -> Gate {
        match self.pace.next(now) {
            _ if !self.up => Gate::Down,
            Some(next) => Gate::Paced { next },
            None => Gate::Open,
        }
    }

    /// The next turn of somebody who goes before whoever waits at the gate: counts the start and says how long until it
    /// may go. `None`, and nothing is counted, when that is longer than `patience`.
    pub(crate) fn turn(&mut self, now: Timestamp, patience: Millis) -> Option<Millis> {
        let wait = match self.gate(now) {
            Gate::Paced { next } => next.since(now),
            Gate::Open | Gate::Down => Millis(0),
        };
        (wait <= patience).then(|| {
            self.started(now);
            wait
        })
    }

    /// Counts a start.
    pub(crate) fn started(&mut self, now: Timestamp) {
        self.pace.started(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_burst_starts_come_at_the_rate() {
        let mut pace = Pace::new(500);
        pace.up = true;
        let mut now = Timestamp(1_000_000);
        for _ in 0..START_BURST {
            assert_eq!(pace.gate(now), Gate::Open);
            pace.started(now);
        }
        for _ in 0..3 {
            let Gate::Paced { next } = pace.gate(now) else {
                panic!("paced after the burst")
            };
            assert_eq!(next.since(now).0, 2000);
            now = next;
            assert_eq!(pace.gate(now), Gate::Open);
            pace.started(now);
        }
    }

    #[test]
    fn turns_that_are_taken_ahead_come_at_the_rate_and_starts_come_behind_them() {
        let mut pace = Pace::new(500);
        pace.up = true;
        let now = Timestamp(1_000_000);
        let long = Millis(7_000);
        let burst: Vec<_> = (0..START_BURST).map(|_| pace.turn(now, long)).collect();
        assert_eq!(burst, [Some(Millis(0)); START_BURST as usize]);
        let after: Vec<_> = (0..4).map(|_| pace.turn(now, long)).collect();
        assert_eq!(
            after,
            [
                Some(Millis(2000)),
                Some(Millis(4000)),
                Some(Millis(6000)),
                None
            ]
        );
        let next = Timestamp(now.0 + 8000);
        assert_eq!(
            pace.gate(now),
            Gate::Paced { next },
            "the refused turn does not count"
        );
    }

    #[test]
    fn a_rate_of_zero_paces_nothing_and_a_cluster_that_is_down_gets_nothing() {
        let mut pace = Pace::new(0);
        assert_eq!(pace.gate(Timestamp(5)), Gate::Down);
        pace.up = true;
        for _ in 0..1000 {
            assert_eq!(pace.gate(Timestamp(5)), Gate::Open);
            pace.started(Timestamp(5));
        }
    }
}
