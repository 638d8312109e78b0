//! What the writer counts.

/// Upper bounds of the histogram's buckets in microseconds; a last bucket takes what is slower.
pub const COMMIT_BOUNDS_MICROS: [u64; 12] = [
    250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 125_000, 500_000, 2_000_000,
];

/// A copy of the writer's counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Transactions committed.
    pub commits: u64,
    /// Entries in them.
    pub rows: u64,
    /// Transactions that failed.
    pub failures: u64,
    /// Batches refused because the queue was full.
    pub busy: u64,
    /// How long the last commit took, sync included, in microseconds.
    pub last_commit_micros: u64,
    /// The sum over all commits, in microseconds.
    pub commit_micros: u64,
    /// Commits by duration: bucket `n` counts those of at most `COMMIT_BOUNDS_MICROS[n]` that no earlier
    /// bucket counts, the last one all that were slower.
    pub histogram: [u64; COMMIT_BOUNDS_MICROS.len() + 1],
    /// Batches that wait right now.
    pub queued_batches: usize,
    /// Entries in them.
    pub queued_rows: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Snapshots written.
    pub snapshots: u64,
    /// Checkpoints run.
    pub checkpoints: u64,
    /// Checkpoints that found no room or were blocked by a reader.
    pub checkpoints_deferred: u64,
    /// How long the last checkpoint took, in microseconds. The next commit waited for it.
    pub last_checkpoint_micros: u64,
    /// Callbacks that panicked. The writer goes on, but somebody did not hear their answer.
    pub callback_panics: u64,
}

impl Metrics {
    pub(super) fn committed(&mut self, rows: usize, micros: u64) {
        self.commits += 1;
        self.rows += rows as u64;
        self.last_commit_micros = micros;
        self.commit_micros = self.commit_micros.saturating_add(micros);
        let bucket = COMMIT_BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.histogram[bucket] += 1;
    }

    /// The bound of the bucket that holds the given share (0 to 1) of all commits: "99 % of commits took at
    /// most this". `None` before the first commit and for what is slower than every bound.
    #[must_use]
    pub fn commit_micros_at(&self, share: f64) -> Option<u64> {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss
        )]
        let wanted = (share.clamp(0.0, 1.0) * self.commits as f64).ceil() as u64;
        let mut seen = 0;
        for (count, bound) in self.histogram.iter().zip(COMMIT_BOUNDS_MICROS) {
            seen += count;
            if seen >= wanted.max(1) {
                return Some(bound);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_on_a_bound_counts_in_that_bounds_bucket_and_a_slow_one_in_the_last() {
        let mut metrics = Metrics::default();
        metrics.committed(1, 250);
        metrics.committed(2, 251);
        metrics.committed(3, 3_000_000);
        assert_eq!(
            (
                metrics.histogram[0],
                metrics.histogram[1],
                metrics.histogram[12]
            ),
            (1, 1, 1)
        );
        assert_eq!(
            (metrics.commits, metrics.rows, metrics.last_commit_micros),
            (3, 6, 3_000_000)
        );
        assert_eq!(metrics.commit_micros_at(0.3), Some(250));
        assert_eq!(metrics.commit_micros_at(0.66), Some(500));
        assert_eq!(metrics.commit_micros_at(1.0), None);
    }
}
