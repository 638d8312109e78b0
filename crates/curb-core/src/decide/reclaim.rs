//! Taking back what was lent: which borrowing jobs are stopped for somebody who waits within their limits.
//!
//! The queue is walked in its order, as when it looks for who starts next, but as if all that are being stopped held
//! nothing any more. Who fits then needs no further stop. For the first who does not, and has waited long enough, the
//! fewest loans are chosen that make room, of these the youngest. Where even all of them would not make room, none is
//! stopped.
//!
//! Of a bucket that is above its limit in a resource, the loans are the youngest of its jobs that were granted on borrowed
//! capacity, as many as it takes to be within the limit. A loan makes room where it holds what is lacking: the resource
//! that was lent (or, of GPUs, one of the model that is lacking), on the cluster where it is lacking.

use std::cmp::Reverse;

use super::check::{Check, Fit, Freed, Hit, Kind, Place, Promised, limits_of};
use super::moment::Gate;
use super::queue::{Look, Order};
use super::violation::Quantity;
use crate::amount::Amount;
use crate::ledger::{Class, Event, Job, Phase, ResIx, Slot};
use crate::policy::Reclaim;
use crate::time::{Millis, Timestamp};

/// Of each class so many jobs are looked at: those behind them have their turn when these have started.
pub(super) const MEMBERS: usize = 32;

/// So many jobs are looked at in all.
const LOOKED_AT: usize = 256;

/// So often a chosen loan is tried to be replaced by a younger one.
const SWAPS: usize = 1_000;

/// A job that was lent something above a limit of a bucket.
#[derive(Clone)]
struct Loan<'a> {
    ix: u32,
    slot: &'a Slot,
    bucket: u32,
    /// In which resources.
    lent: Vec<ResIx>,
    /// How long somebody has to have waited for it.
    after: Millis,
    /// Younger is more.
    age: (Timestamp, u64),
}

/// What somebody lacks of a resource.
#[derive(Clone, Copy)]
struct Lack {
    r: ResIx,
    /// On one cluster; `None`: wherever it is.
    cluster: Option<u32>,
    amount: u128,
}

/// Somebody for whom loans are taken back.
struct Waiter<'a> {
    class: &'a Class,
    waited: Millis,
    promised: &'a Promised,
}

impl<'a> Look<'a> {
    /// Stops for borrowed capacity that somebody entitled has waited for long enough.
    pub(super) fn reclaim(&mut self) -> Vec<Event> {
        if self.wanted.is_empty() {
            return Vec::new();
        }
        let freed = self.state.being_stopped();
        let loans = self.loans(&freed);
        if loans.is_empty() {
            return Vec::new();
        }
        let mut promised = Promised::default();
        let mut looked_at = 0;
        for (_, ix, entitled) in self.walk() {
            let class = &self.state.classes[ix];
            if !entitled {
                self.promise(class, &mut promised);
                continue;
            }
            for job in class.members.values().take(MEMBERS) {
                looked_at += 1;
                let Some(slot) = self.state.slot_at(*job) else {
                    continue;
                };
                let waiter = Waiter {
                    class,
                    waited: self.moment.now.since(slot.job.submitted),
                    promised: &promised,
                };
                if !self.fits(&waiter, &freed) {
                    if let Some(events) = self.take_back(&waiter, &loans, &freed) {
                        return events;
                    }
                    self.promise(class, &mut promised);
                    break;
                }
                self.give(class, &mut promised);
            }
            if looked_at >= LOOKED_AT {
                break;
            }
        }
        Vec::new()
    }

    /// The classes in order, and whether each waits for capacity within its limits. Without those that are not in the way
    /// of such a one.
    fn walk(&mut self) -> Vec<(Order, usize, bool)> {
        let state = self.state;
        let (mut entitled, mut others) = (Vec::new(), Vec::new());
        for (ix, class) in state.classes.iter().enumerate() {
            let cluster = state.seats[class.seat as usize].cluster;
            if self.gate(class) == Gate::Down {
                continue;
            }
            let mut ask = class.ask.iter();
            if ask.any(|(r, _)| self.wanted.contains(&(cluster, *r))) && !self.borrows(class) {
                entitled.push(ix);
            } else {
                others.push(ix);
            }
        }
        let buckets = self.buckets_of(entitled.iter().copied());
        let mut order = Vec::new();
        for ix in entitled {
            order.push((self.order(&state.classes[ix]), ix, true));
        }
        for ix in others {
            let class = &state.classes[ix];
            let first = self.blocked(ix);
            if first.is_none_or(|first| self.concerns(ix, &first, &buckets))
                && (self.has_waited(class) || self.is_in_a_budget(class))
            {
                order.push((self.order(class), ix, false));
            }
        }
        order.sort_unstable();
        order
    }

    /// All that may be taken back from somebody, the youngest first, besides those that are being stopped.
    fn loans(&self, freed: &Freed) -> Vec<Loan<'a>> {
        let state = self.state;
        let mut loans = Vec::new();
        for (b, bucket) in state.buckets.iter().enumerate() {
            let Reclaim::StopAfter(after) = state.policy().quotas[bucket.quota].reclaim else {
                continue;
            };
            if state.rules[bucket.quota].audit || !self.moment.applies(bucket.quota) {
                continue;
            }
            let mut over = self.over(b as u32, freed);
            if over.is_empty() {
                continue;
            }
            for (age, ix, slot) in self.borrowers(b as u32) {
                let mut lent = Vec::new();
                for (r, a) in slot.ask.iter() {
                    if let Some((_, over)) = over.iter_mut().find(|(o, n)| o == r && *n > 0) {
                        *over = over.saturating_sub(*a);
                        lent.push(*r);
                    }
                }
                if !lent.is_empty() {
                    loans.push(Loan {
                        ix,
                        slot,
                        bucket: b as u32,
                        lent,
                        after,
                        age,
                    });
                }
            }
        }
        loans.sort_by_key(|l| Reverse(l.age));
        loans
    }

    /// By how much a bucket is above its limits in what is wanted, on whichever cluster.
    fn over(&self, b: u32, freed: &Freed) -> Vec<(ResIx, u64)> {
        let bucket = &self.state.buckets[b as usize];
        let limits = limits_of(self.state, bucket, self.moment.now);
        let limited = self.state.rules[bucket.quota].limits.iter();
        let names = &self.state.names;
        let wanted = |r: ResIx| {
            let mut wanted = self.wanted.iter();
            wanted.any(|(_, w)| *w == r || names.are_akin(*w, r))
        };
        limited
            .filter(|(r, _)| wanted(*r))
            .filter_map(|(r, _)| {
                let held = bucket.held.get(r).saturating_sub(freed.in_bucket(b, r));
                Some((r, held.saturating_sub(limits.resource(r)?)))
            })
            .filter(|(_, over)| *over > 0)
            .collect()
    }

    /// The jobs of a bucket that were granted on borrowed capacity and are not being stopped, the youngest first.
    fn borrowers(&self, b: u32) -> Vec<((Timestamp, u64), u32, &'a Slot)> {
        let holders = self.state.buckets[b as usize].holders.iter();
        let slots = holders.filter_map(|(_, ix)| Some((*ix, self.state.slot_at(*ix)?)));
        let mut all: Vec<_> = slots
            .filter_map(|(ix, slot)| match &slot.job.phase {
                Phase::Reserved(g) | Phase::Running(g) if g.borrowed && slot.job.stop.is_none() => {
                    Some(((g.since, slot.job.seq), ix, slot))
                }
                _ => None,
            })
            .collect();
        all.sort_by_key(|(age, ..)| Reverse(*age));
        all
    }

    fn as_if<'b>(&'b self, waiter: &'b Waiter<'_>, freed: &'b Freed) -> Check<'b> {
        Check {
            freed: Some(freed),
            ..self.check(waiter.class, waiter.promised)
        }
    }

    fn fits(&self, waiter: &Waiter<'_>, freed: &Freed) -> bool {
        matches!(self.as_if(waiter, freed).fits(), Fit::Yes { .. })
    }

    /// Counts what a job is to have as held by it.
    fn give(&self, class: &Class, promised: &mut Promised) {
        let seat = &self.state.seats[class.seat as usize];
        for b in &seat.buckets {
            self.promise_budgets(class, *b, true, &[], promised);
            for (r, a) in class.ask.iter() {
                let sum = promised.buckets.entry((*b, *r)).or_insert(0);
                *sum = sum.saturating_add(*a);
            }
            *promised.jobs.entry(*b).or_insert(0) += 1;
        }
        for (r, a) in class.ask.iter() {
            let sum = promised.clusters.entry((seat.cluster, *r)).or_insert(0);
            *sum = sum.saturating_add(*a);
        }
    }

    /// The stops that make room for somebody; `None` when there are none that do.
    fn take_back(
        &self,
        waiter: &Waiter<'_>,
        loans: &[Loan<'a>],
        freed: &Freed,
    ) -> Option<Vec<Event>> {
        let lacks = self.lacks(waiter, freed)?;
        let loans: Vec<Loan<'a>> = loans
            .iter()
            .filter(|l| l.after <= waiter.waited)
            .cloned()
            .collect();
        let mut freed = freed.clone();
        let mut chosen = self.enough(waiter, &loans, &mut freed)?;
        self.make_younger(waiter, &loans, &mut freed, &mut chosen);
        self.drop_unneeded(waiter, &mut freed, &mut chosen);
        let stop = |l: &Loan<'a>| Event::StopRequested {
            id: l.slot.job.new.id.clone(),
            by: "curb".into(),
            why: self.why(l, waiter, &lacks),
        };
        Some(chosen.iter().map(stop).collect())
    }

    /// What somebody lacks; `None` when something else than capacity is in the way.
    fn lacks(&self, waiter: &Waiter<'_>, freed: &Freed) -> Option<Vec<Lack>> {
        let cluster = self.state.seats[waiter.class.seat as usize].cluster;
        let lack = |h: &Hit| {
            let (r, cluster) = match h.kind {
                Kind::Capacity(r) | Kind::Turn(r) => (r, Some(cluster)),
                Kind::Guarantee(r) => (r, None),
                _ => return None,
            };
            (h.place == Place::Cluster && !h.alone).then(|| Lack {
                r,
                cluster,
                amount: h.used.saturating_add(h.asked).saturating_sub(h.limit),
            })
        };
        self.as_if(waiter, freed).all().iter().map(lack).collect()
    }

    /// Few loans that together are enough: the one that brings the most of what is lacking, and so on; of equal ones the
    /// youngest.
    fn enough(
        &self,
        waiter: &Waiter<'_>,
        loans: &[Loan<'a>],
        freed: &mut Freed,
    ) -> Option<Vec<Loan<'a>>> {
        let mut chosen: Vec<Loan<'a>> = Vec::new();
        while !self.fits(waiter, freed) {
            let lacks = self.lacks(waiter, freed)?;
            let best = loans
                .iter()
                .filter(|l| chosen.iter().all(|c| c.ix != l.ix))
                .map(|l| (self.brings(l, &lacks), l))
                .filter(|(brings, _)| *brings > 0)
                .max_by_key(|(brings, l)| (*brings, l.age));
            let (_, best) = best?;
            freed.add(self.state, best.slot);
            chosen.push(best.clone());
        }
        Some(chosen)
    }

    /// How much a loan brings of what is lacking, the sum of its parts of each in 2^-20; 0 when it is none of it.
    fn brings(&self, loan: &Loan<'_>, lacks: &[Lack]) -> u128 {
        let cluster = self.state.seats[loan.slot.seat as usize].cluster;
        let part = |lack: &Lack| {
            let here = lack.cluster.is_none_or(|c| c == cluster);
            let mut ask = loan.slot.ask.iter();
            match ask.find(|(r, _)| *r == lack.r) {
                Some((r, a)) if here && self.is_lent(loan, *r) => {
                    (u128::from(*a).min(lack.amount) << 20) / lack.amount.max(1)
                }
                _ => 0,
            }
        };
        lacks.iter().map(part).sum()
    }

    /// Whether a resource that a loan holds was lent with it.
    fn is_lent(&self, loan: &Loan<'_>, r: ResIx) -> bool {
        let names = &self.state.names;
        let mut lent = loan.lent.iter();
        lent.any(|l| *l == r || names.are_akin(*l, r))
    }

    /// Puts younger loans in the place of older ones where they do as well.
    fn make_younger(
        &self,
        waiter: &Waiter<'_>,
        loans: &[Loan<'a>],
        freed: &mut Freed,
        chosen: &mut [Loan<'a>],
    ) {
        let mut swaps = 0;
        chosen.sort_by_key(|l| l.age);
        for at in 0..chosen.len() {
            let old = chosen[at].clone();
            freed.take_back(self.state, old.slot);
            let lacks = self.lacks(waiter, freed).unwrap_or_default();
            let better = loans
                .iter()
                .take_while(|l| l.age > old.age)
                .filter(|l| chosen.iter().all(|c| c.ix != l.ix))
                .take(SWAPS - swaps)
                .find(|l| {
                    swaps += 1;
                    let mut tried = freed.clone();
                    tried.add(self.state, l.slot);
                    self.brings(l, &lacks) > 0 && self.fits(waiter, &tried)
                });
            chosen[at] = better.cloned().unwrap_or(old);
            freed.add(self.state, chosen[at].slot);
        }
    }

    /// Leaves out what is not needed, the oldest first.
    fn drop_unneeded(&self, waiter: &Waiter<'_>, freed: &mut Freed, chosen: &mut Vec<Loan<'a>>) {
        chosen.sort_by_key(|l| l.age);
        chosen.retain(|l| {
            freed.take_back(self.state, l.slot);
            let needed = !self.fits(waiter, freed);
            if needed {
                freed.add(self.state, l.slot);
            }
            needed
        });
    }

    /// Why a loan is taken back, for its owner: what is wanted, by which quota, and since when.
    fn why(&self, loan: &Loan<'_>, waiter: &Waiter<'_>, lacks: &[Lack]) -> String {
        let state = self.state;
        let seat = &state.seats[waiter.class.seat as usize];
        let lent_by = &state.rules[state.buckets[loan.bucket as usize].quota].name;
        let lacked = |r: ResIx| lacks.iter().any(|l| l.r == r);
        let wanted = waiter.class.ask.iter().filter(|(r, _)| lacked(*r));
        let wanted: Vec<String> = wanted
            .map(|(r, a)| {
                let quantity = Quantity::Amount {
                    resource: state.names.name(*r).clone(),
                    amount: Amount(*a),
                };
                quantity.to_string()
            })
            .collect();
        let entitles = seat.buckets.iter().find_map(|b| {
            let quota = state.buckets[*b as usize].quota;
            let rule = &state.rules[quota];
            let says = |l: &Lack| rule.limits.get(l.r).or(rule.guarantee.get(l.r)).is_some();
            let counts = !rule.audit && self.moment.applies(quota) && lacks.iter().any(says);
            counts.then_some(&rule.name)
        });
        let entitled = entitles.map_or_else(
            || "that no quota limits in it".to_owned(),
            |name| format!("within quota {name}"),
        );
        format!(
            "it ran on capacity borrowed above quota {lent_by}; {} on cluster {} is wanted back for a job {entitled}, which has waited {}",
            wanted.join(", "),
            state.cluster_at(seat.cluster).name,
            waiter.waited
        )
    }
}

/// When somebody who waits may next have waited long enough for a loan to be taken back.
pub(super) fn next_reclaim(look: &Look<'_>) -> Option<Timestamp> {
    let (state, now) = (look.state, look.moment.now);
    let quotas = state.policy().quotas.iter();
    let mut spans: Vec<Millis> = quotas
        .filter_map(|q| match q.reclaim {
            Reclaim::StopAfter(span) => Some(span),
            Reclaim::Drain => None,
        })
        .collect();
    spans.sort_unstable();
    spans.dedup();
    let first = |span: &Millis| {
        let waiting = state.classes.iter().flat_map(|c| {
            let members = c.members.values().take(MEMBERS);
            let jobs = members.filter_map(|ix| Some(&state.slot_at(*ix)?.job));
            let mut due = jobs.map(|job: &Job| job.submitted.after(*span));
            due.find(|t| *t > now)
        });
        waiting.min()
    };
    spans.iter().filter_map(first).min()
}
