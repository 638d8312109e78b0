//! Which running jobs are above what a quota allows now: a limit that was lowered under them (in the file, by the end of an
//! override or of a window), and a budget that is used up.
//!
//! Admission never lets a job in above a limit, so that these come about only under jobs that run already.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::check::limits_of;
use super::moment::Moment;
use super::violation::{Quantity, budget_numbers};
use crate::amount::Amount;
use crate::ledger::{Bucket, Phase, ResIx, Slot, State};
use crate::subject::JobId;

/// Jobs with the evidence for people.
pub(super) type Found = BTreeMap<JobId, String>;

/// The jobs of a quota that run above its limits: those above `per_job`, and of each bucket that holds more than its limit
/// and what it may lend, as few as it takes: those on loan first, then of low priority, then the youngest. What is being
/// stopped already counts as gone.
pub(super) fn limits(state: &State, moment: &Moment, quota: usize) -> Found {
    let mut found = Found::new();
    let rule = &state.rules[quota];
    for bucket in of_quota(state, quota) {
        for slot in running(state, bucket) {
            let over = slot
                .ask
                .iter()
                .find(|(r, a)| rule.per_job.get(*r).is_some_and(|most| *a > most));
            if let Some((r, a)) = over {
                let most = rule.per_job.get(*r).unwrap_or(0);
                let text = format!(
                    "runs above what one job may have now: {} of at most {}",
                    amount(state, *r, *a),
                    amount(state, *r, most)
                );
                found.insert(slot.job.new.id.clone(), text);
            }
        }
        above(state, moment, bucket, &mut found);
    }
    found
}

/// What a bucket has more than it may.
struct Over {
    /// Of what; `None`: running jobs.
    of: Option<ResIx>,
    held: u64,
    limit: u64,
    /// How much of it is still to go; below zero when more goes than has to.
    left: i128,
}

impl Over {
    fn of(slot: &Slot, of: Option<ResIx>) -> u64 {
        let Some(r) = of else { return 1 };
        let mut ask = slot.ask.iter();
        ask.find(|(a, _)| *a == r).map_or(0, |(_, amount)| *amount)
    }

    fn tell(&self, state: &State) -> String {
        match self.of {
            Some(r) => format!(
                "{} run, the limit is {}",
                amount(state, r, self.held),
                amount(state, r, self.limit)
            ),
            None => format!(
                "{} run, the limit is {}",
                Quantity::Jobs(self.held),
                self.limit
            ),
        }
    }
}

fn above(state: &State, moment: &Moment, bucket: &Bucket, found: &mut Found) {
    let mut overs = overs(state, moment, bucket);
    if overs.is_empty() {
        return;
    }
    let is_gone = |slot: &&Slot| slot.job.stop.is_some() || found.contains_key(&slot.job.new.id);
    for slot in holding(state, bucket).filter(is_gone) {
        take(&mut overs, slot);
    }
    let mut candidates: Vec<&Slot> = running(state, bucket)
        .filter(|slot| !is_gone(slot))
        .collect();
    candidates.sort_by_key(|slot| {
        let grant = slot.job.grant();
        let lent = grant.is_some_and(|g| g.borrowed);
        let since = grant.map(|g| g.since);
        (
            !lent,
            slot.job.new.priority,
            Reverse(since),
            Reverse(slot.job.seq),
        )
    });
    let mut chosen: Vec<&Slot> = Vec::new();
    for slot in candidates {
        if overs.iter().any(|o| o.left > 0 && Over::of(slot, o.of) > 0) {
            take(&mut overs, slot);
            chosen.push(slot);
        }
    }
    spare(&mut overs, &mut chosen);
    // The same for all of them: what is over, as it is now.
    let told: Vec<String> = overs.iter().map(|o| o.tell(state)).collect();
    for slot in chosen {
        let text = format!(
            "runs above the limit that {} has now: {}",
            bucket.name(),
            told.join("; ")
        );
        found.insert(slot.job.new.id.clone(), text);
    }
}

/// Leaves out who was chosen and turned out not to be needed beside the others, the most important of them first.
fn spare(overs: &mut [Over], chosen: &mut Vec<&Slot>) {
    for at in (0..chosen.len()).rev() {
        let slot = chosen[at];
        let unneeded = |o: &Over| o.left + i128::from(Over::of(slot, o.of)) <= 0;
        if overs.iter().all(unneeded) {
            for over in overs.iter_mut() {
                over.left += i128::from(Over::of(slot, over.of));
            }
            chosen.remove(at);
        }
    }
}

fn take(overs: &mut [Over], slot: &Slot) {
    for over in overs {
        over.left -= i128::from(Over::of(slot, over.of));
    }
}

fn overs(state: &State, moment: &Moment, bucket: &Bucket) -> Vec<Over> {
    let limits = limits_of(state, bucket, moment.now);
    let rule = &state.rules[bucket.quota];
    let of_resources = rule.limits.iter().filter_map(|(r, _)| {
        let limit = limits.resource(r)?;
        Some((Some(r), bucket.held.get(r), limit, rule.borrow.get(r)))
    });
    let of_jobs = limits
        .jobs()
        .map(|limit| (None, u64::from(bucket.running), limit, None));
    of_resources
        .chain(of_jobs)
        .filter_map(|(of, held, limit, lent)| {
            let most = limit.saturating_add(lent.unwrap_or(0));
            let left = i128::from(held) - i128::from(most);
            (left > 0).then_some(Over {
                of,
                held,
                limit: most,
                left,
            })
        })
        .collect()
}

/// The jobs of a quota that go on though a budget of it is used up, of what they use.
pub(super) fn budgets(state: &State, moment: &Moment, quota: usize) -> Found {
    let mut found = Found::new();
    let rule = &state.rules[quota];
    for bucket in of_quota(state, quota) {
        for ((r, limit), meter) in rule.budgets.iter().zip(&bucket.meters) {
            let used = meter.read(moment.now).used;
            if used < *limit {
                continue;
            }
            let resource = state.names.name(*r);
            let whole = Quantity::ResourceTime {
                resource: resource.clone(),
                amount: *limit,
            };
            let (used, _, _) = budget_numbers(resource, used, *limit);
            for slot in running(state, bucket).filter(|s| Over::of(s, Some(*r)) > 0) {
                let text = format!(
                    "goes on though the budget of {} is used up: {used} of {whole}",
                    bucket.name()
                );
                found.entry(slot.job.new.id.clone()).or_insert(text);
            }
        }
    }
    found
}

fn of_quota(state: &State, quota: usize) -> impl Iterator<Item = &Bucket> {
    state.buckets.iter().filter(move |b| b.quota == quota)
}

/// Who holds something in a bucket, whatever it is doing.
fn holding<'a>(state: &'a State, bucket: &'a Bucket) -> impl Iterator<Item = &'a Slot> {
    let holders = bucket.holders.iter();
    holders.filter_map(|(_, ix)| state.slot_at(*ix))
}

fn running<'a>(state: &'a State, bucket: &'a Bucket) -> impl Iterator<Item = &'a Slot> {
    holding(state, bucket).filter(|s| matches!(s.job.phase, Phase::Running(_)))
}

fn amount(state: &State, r: ResIx, amount: u64) -> Quantity {
    Quantity::Amount {
        resource: state.names.name(r).clone(),
        amount: Amount(amount),
    }
}
