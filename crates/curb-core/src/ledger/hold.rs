//! Who holds and who waits: the counts in buckets, meters, shares and classes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fair::Usage;
use super::job::Job;
use super::rules::{Held, ResIx, Rule};
use super::state::{Class, ClassKey, ENDED_KEPT, Slot, State};
use crate::time::Timestamp;

/// What happens to what a job holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It is held from now on.
    Begin,
    /// It is held no more.
    End,
    /// It was held before the tables were built again.
    Restore,
}

impl State {
    /// A job begins to hold its grant.
    pub(super) fn hold(&mut self, job: u32) {
        self.change_held(job, Change::Begin);
    }

    /// A job holds nothing any more.
    pub(super) fn unhold(&mut self, job: u32) {
        self.change_held(job, Change::End);
    }

    pub(super) fn change_held(&mut self, ix: u32, change: Change) {
        let begin = change != Change::End;
        let Some(slot) = self.slots.get(ix as usize).and_then(Option::as_ref) else {
            return;
        };
        let end = slot.job.expected_end();
        let order = (end.unwrap_or(Timestamp(i64::MAX)), ix);
        let ask = Arc::clone(&slot.ask);
        let seat = &self.seats[slot.seat as usize];
        for b in &seat.buckets {
            let bucket = &mut self.buckets[*b as usize];
            let rule = &self.rules[bucket.quota];
            let unmet_before = unmet(rule, &bucket.held);
            for (meter, (r, _)) in bucket.meters.iter_mut().zip(&rule.budgets) {
                if let Some((_, amount)) = ask.iter().find(|(a, _)| a == r) {
                    if begin {
                        meter.hold(self.now, *amount, end);
                    } else {
                        meter.release(self.now, *amount, end);
                    }
                }
            }
            if begin {
                bucket.held.add(&ask);
                bucket.running = bucket.running.saturating_add(1);
                bucket.holders.insert(order);
            } else {
                bucket.held.sub(&ask);
                bucket.running = bucket.running.saturating_sub(1);
                bucket.holders.remove(&order);
            }
            if let Some(before) = unmet_before {
                let after = unmet(rule, &bucket.held).unwrap_or_default();
                self.unmet.sub(&before);
                self.unmet.add(&after);
            }
        }
        let half_life = self.policy.queue.half_life;
        for n in &seat.nodes {
            let usage = &mut self.nodes[*n as usize].usage;
            for (r, amount) in ask.iter() {
                let at = usize::from(*r);
                if usage.len() <= at {
                    let fresh = Usage {
                        at: self.now,
                        ..Usage::default()
                    };
                    usage.resize(at + 1, fresh);
                }
                let held = usage[at].held;
                let held = if begin {
                    held.saturating_add(*amount)
                } else {
                    held.saturating_sub(*amount)
                };
                if change == Change::Restore {
                    // The average was kept as of a moment since when the same was held.
                    usage[at].held = held;
                } else {
                    usage[at].change(self.now, half_life, held);
                }
            }
        }
        let cluster = &mut self.clusters[seat.cluster as usize];
        if begin {
            cluster.held.add(&ask);
            self.total.add(&ask);
            self.holding += 1;
        } else {
            cluster.held.sub(&ask);
            self.total.sub(&ask);
            self.holding = self.holding.saturating_sub(1);
        }
    }

    /// A job begins to wait.
    pub(super) fn enqueue(&mut self, ix: u32) {
        let Some(slot) = self.slots.get(ix as usize).and_then(Option::as_ref) else {
            return;
        };
        let seq = slot.job.seq;
        let key = class_key(slot);
        for b in &self.seats[slot.seat as usize].buckets {
            let b = &mut self.buckets[*b as usize];
            b.queued = b.queued.saturating_add(1);
        }
        self.waiting.insert((seq, ix));
        let class = match self.class_index.get(&key) {
            Some(c) => *c,
            None => {
                self.classes.push(Class {
                    seat: key.0,
                    ask: Arc::clone(&key.1),
                    duration: key.2,
                    priority: key.3,
                    members: BTreeMap::new(),
                });
                let c = (self.classes.len() - 1) as u32;
                self.class_index.insert(key, c);
                c
            }
        };
        self.classes[class as usize].members.insert(seq, ix);
    }

    /// A job waits no more.
    pub(super) fn dequeue(&mut self, ix: u32) {
        let Some(slot) = self.slots.get(ix as usize).and_then(Option::as_ref) else {
            return;
        };
        let seq = slot.job.seq;
        let key = class_key(slot);
        for b in &self.seats[slot.seat as usize].buckets {
            let b = &mut self.buckets[*b as usize];
            b.queued = b.queued.saturating_sub(1);
        }
        self.waiting.remove(&(seq, ix));
        if let Some(class) = self.class_index.get(&key).copied() {
            let members = &mut self.classes[class as usize].members;
            let first = members.first_key_value().is_some_and(|(s, _)| *s == seq);
            members.remove(&seq);
            match members.first_key_value().map(|(_, next)| *next) {
                None => self.drop_class(class, &key),
                // What it says of its class is handed on.
                Some(next) if first => {
                    let served = self.slot_at(ix).and_then(|s| s.job.served);
                    self.note_served(next, served);
                }
                Some(_) => {}
            }
        }
    }

    /// A job starts: its user's younger ones of no higher priority that wait for the same cluster have had a turn. It is
    /// noted with the first of each class, which speaks for those behind it.
    pub(super) fn served(&mut self, ix: u32) {
        let Some(slot) = self.slot_at(ix) else { return };
        let seat = &self.seats[slot.seat as usize];
        let (user, cluster, seq) = (seat.nodes.last().copied(), seat.cluster, slot.job.seq);
        let priority = slot.job.new.priority;
        let younger: Vec<u32> = self
            .classes
            .iter()
            .filter(|c| {
                let seat = &self.seats[c.seat as usize];
                c.priority <= priority
                    && seat.cluster == cluster
                    && seat.nodes.last().copied() == user
            })
            .filter_map(|c| c.members.first_key_value())
            .filter(|(first, _)| **first > seq)
            .map(|(_, ix)| *ix)
            .collect();
        let now = Some(self.now);
        for ix in younger {
            self.note_served(ix, now);
        }
    }

    fn note_served(&mut self, ix: u32, at: Option<Timestamp>) {
        if let Some(slot) = self.slot_mut(ix) {
            slot.job.served = slot.job.served.max(at);
        }
    }

    /// Empty classes go, so that looking at all classes costs what there is to look at.
    fn drop_class(&mut self, class: u32, key: &ClassKey) {
        self.class_index.remove(key);
        self.classes.swap_remove(class as usize);
        if let Some(moved) = self.classes.get(class as usize) {
            let key = (
                moved.seat,
                Arc::clone(&moved.ask),
                moved.duration,
                moved.priority,
            );
            self.class_index.insert(key, class);
        }
    }

    /// Puts a job into the tables, without holding or waiting.
    pub(super) fn insert(&mut self, job: Job) -> u32 {
        let seat = self.seat(&job.new.subject, &job.new.cluster);
        let ask = self.names.ask(&job.new.request);
        let id = job.new.id.clone();
        let slot = Some(Slot { job, seat, ask });
        let ix = match self.free.pop() {
            Some(ix) => {
                self.slots[ix as usize] = slot;
                ix
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        self.index.insert(id, ix);
        ix
    }

    /// Forgets the oldest ended jobs past the bound.
    pub(super) fn trim_ended(&mut self) {
        while self.ended.len() > ENDED_KEPT {
            let Some(ix) = self.ended.pop_front() else {
                return;
            };
            if let Some(slot) = self.slots[ix as usize].take() {
                self.index.remove(&slot.job.new.id);
                self.free.push(ix);
            }
        }
    }
}

/// What a bucket's guarantee lacks; `None` for a rule without one.
fn unmet(rule: &Rule, held: &Held) -> Option<Vec<(ResIx, u64)>> {
    if rule.audit {
        return None;
    }
    let lacks: Vec<(ResIx, u64)> = rule
        .guarantee
        .iter()
        .map(|(ix, g)| (ix, g.saturating_sub(held.get(ix))))
        .collect();
    (!lacks.is_empty()).then_some(lacks)
}

fn class_key(slot: &Slot) -> ClassKey {
    let new = &slot.job.new;
    (slot.seat, Arc::clone(&slot.ask), new.duration, new.priority)
}
