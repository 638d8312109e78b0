//! How much jobs held over time, from looks at what they hold.

use std::collections::BTreeMap;

use super::attribute::JobHeld;
use crate::resource::Resources;
use crate::subject::JobId;
use crate::time::{Millis, Timestamp};
use crate::usage::ResourceTime;

/// Between looks that are further apart it is not known what was held.
const APART: Millis = Millis(15_000);

/// An attempt of a job.
type Key = (JobId, u32);

/// What was seen of a grant since it was last written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metered {
    /// What it held, at least.
    pub held: ResourceTime,
    /// In how long.
    pub watched: Millis,
}

/// Adds up what one cluster's jobs hold.
#[derive(Clone, Debug, Default)]
pub struct HeldMeter {
    last: Option<Timestamp>,
    running: BTreeMap<Key, Resources>,
    sums: BTreeMap<Key, Metered>,
}

impl HeldMeter {
    /// Takes in a look. `running`: the attempts that hold a grant and had it already when the look began. What one held at the
    /// look before counts until this one, if it runs still: of those that ended since, nobody knows when they let go.
    pub fn saw(
        &mut self,
        at: Timestamp,
        running: impl IntoIterator<Item = Key>,
        held: &BTreeMap<JobId, JobHeld>,
    ) {
        let now: BTreeMap<Key, Resources> = running
            .into_iter()
            .map(|key| {
                let of = held.get(&key.0).filter(|h| h.attempt == key.1);
                let amounts = of.map(|h| h.held.least.amounts(false));
                (key, amounts.unwrap_or_default())
            })
            .collect();
        let passed = self.last.map_or(Millis(0), |last| at.since(last));
        if passed.0 > 0 && passed <= APART {
            for (key, before) in &self.running {
                if now.contains_key(key) {
                    let sum = self.sums.entry(key.clone()).or_default();
                    add(sum, before, passed);
                }
            }
        }
        (self.last, self.running) = (Some(at), now);
    }

    /// What is to be written down now: of grants that are over, and of those that were watched for so long. At most so many;
    /// they are forgotten with this.
    pub fn due(&mut self, every: Millis, most: usize) -> Vec<(Key, Metered)> {
        let due = self
            .sums
            .iter()
            .filter(|(key, sum)| sum.watched >= every || !self.running.contains_key(*key));
        let keys: Vec<Key> = due.map(|(key, _)| key.clone()).take(most).collect();
        keys.into_iter()
            .filter_map(|key| self.sums.remove_entry(&key))
            .collect()
    }

    /// Counts again what could not be written down.
    pub fn put_back(&mut self, all: Vec<(Key, Metered)>) {
        for (key, more) in all {
            let sum = self.sums.entry(key).or_default();
            sum.watched = Millis(sum.watched.0.saturating_add(more.watched.0));
            for (resource, amount) in more.held {
                let to = sum.held.entry(resource).or_insert(0);
                *to = to.saturating_add(amount);
            }
        }
    }
}

fn add(sum: &mut Metered, held: &Resources, passed: Millis) {
    sum.watched = Millis(sum.watched.0.saturating_add(passed.0));
    for (resource, amount) in held.iter() {
        let to = sum.held.entry(resource.clone()).or_insert(0);
        *to = to.saturating_add(u128::from(amount.0) * u128::from(passed.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Resource;
    use crate::truth::{GRAIN, Grains, Held, Span};

    fn id(name: &str) -> Key {
        (JobId::parse(name).expect("an id"), 1)
    }

    /// So many CPUs, of the first attempt.
    fn holds(name: &str, cpus: u128) -> BTreeMap<JobId, JobHeld> {
        let mut least = Held::default();
        least.add(Resource::Cpu, Grains(cpus * GRAIN));
        let held = Span {
            most: least.clone(),
            least,
        };
        let job = JobHeld {
            attempt: 1,
            held,
            ..JobHeld::default()
        };
        [(id(name).0, job)].into()
    }

    /// `watched` and CPU, in milliseconds, of all that is due.
    fn due(meter: &mut HeldMeter, every: u64) -> Vec<(u64, u128)> {
        let all = meter.due(Millis(every), 10).into_iter();
        all.map(|(_, m)| {
            (
                m.watched.0,
                m.held.get(&Resource::Cpu).copied().unwrap_or(0),
            )
        })
        .collect()
    }

    #[test]
    fn what_is_held_counts_from_one_look_to_the_next_while_the_job_runs() {
        let mut meter = HeldMeter::default();
        meter.saw(Timestamp(1_000), [id("a")], &holds("a", 2));
        assert_eq!(due(&mut meter, 0), [], "one look says nothing of time");
        meter.saw(Timestamp(3_000), [id("a")], &holds("a", 4));
        meter.saw(Timestamp(4_000), [id("a")], &BTreeMap::new());
        assert_eq!(
            due(&mut meter, 3_000),
            [(3_000, 2_000 * 2_000 + 4_000 * 1_000)]
        );
        meter.saw(Timestamp(6_000), [id("a")], &BTreeMap::new());
        assert_eq!(due(&mut meter, 10_000), [], "not yet");
        meter.saw(Timestamp(8_000), [], &BTreeMap::new());
        assert_eq!(
            due(&mut meter, 10_000),
            [(2_000, 0)],
            "it is over: held nothing, and was watched"
        );
        assert_eq!(due(&mut meter, 0), []);
    }

    #[test]
    fn a_gap_between_looks_is_not_counted_nor_is_what_another_attempt_held() {
        let mut meter = HeldMeter::default();
        meter.saw(Timestamp(0), [id("a")], &holds("a", 2));
        meter.saw(Timestamp(15_001), [id("a")], &holds("a", 2));
        assert_eq!(due(&mut meter, 0), []);
        let second = (id("a").0, 2);
        meter.saw(Timestamp(16_000), [second.clone()], &holds("a", 2));
        meter.saw(Timestamp(17_000), [second], &holds("a", 2));
        assert_eq!(due(&mut meter, 0), [(1_000, 0)]);
    }

    #[test]
    fn what_could_not_be_written_down_counts_again() {
        let mut meter = HeldMeter::default();
        meter.saw(Timestamp(0), [id("a")], &holds("a", 1));
        meter.saw(Timestamp(1_000), [id("a")], &holds("a", 1));
        let taken = meter.due(Millis(0), 10);
        meter.saw(Timestamp(3_000), [id("a")], &holds("a", 1));
        meter.put_back(taken);
        assert_eq!(due(&mut meter, 0), [(3_000, 3_000 * 1_000)]);
    }
}
