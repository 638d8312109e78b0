//! Taking back what was lent: which borrowing jobs are stopped for somebody who waits within their limits.
//!
//! The queue is walked in its order, as when it looks for who starts next, but as if all that are being stopped held
//! nothing any more. Who fits then needs no further stop. For the first who does not, and has waited long enough, the
//! fewest loans are chosen that make room, of these the youngest. Where even all of them would not make room, none is
//! stopped. Of up to [`TRIED`] loans that hold something of what is lacking every set is tried; of more, the one that
//! brings the most is taken first, which is the fewest where one resource is lacking in one place, and few otherwise.
//!
//! Entitled is who is within the limits of all their buckets once such loans are taken away: loans count in buckets that
//! borrower and waiter share, as they do in the cluster's capacity. What a bucket was lent never comes back to that bucket
//! itself.
//!
//! Of a bucket that is above its limit in a resource, the loans are the youngest of its jobs that were granted on borrowed
//! capacity, as many as it takes to be within the limit. A loan makes room where it holds what is lacking: the resource
//! that was lent (or, of GPUs, one of the model that is lacking), on the cluster or in the bucket where it is lacking.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use super::check::{Check, Fit, Freed, Hit, Kind, Place, Wanted, limits_of};
use super::moment::Gate;
use super::promise::Promised;
use super::queue::{Look, Order};
use super::violation::Quantity;
use crate::amount::Amount;
use crate::ledger::{Class, Event, Grant, Job, Phase, ResIx, Seat, Slot};
use crate::policy::Reclaim;
use crate::time::{Millis, Timestamp};

/// Of each class so many jobs are looked at: those behind them have their turn when these have started.
pub(super) const MEMBERS: usize = 32;

/// So many jobs are looked at in all.
const LOOKED_AT: usize = 256;

/// So long a stop is counted on though its cluster cannot be reached.
const COUNTED_ON: Millis = Millis::MINUTE;

/// With so many loans that could help, every set of them is tried, the smallest first.
const TRIED: usize = 10;

/// So many sets of fewer loans than were chosen are tried by playing the queue ahead.
const PLAYED: usize = 16;

/// So often loans are chosen anew for somebody since those before it would take what comes back.
const ROUNDS: usize = 4;

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
    at: Where,
    amount: u128,
}

/// Where something is lacking.
#[derive(Clone, Copy)]
enum Where {
    /// On a cluster.
    Cluster(u32),
    /// On all clusters together.
    Anywhere,
    /// In a bucket.
    Bucket(u32),
}

/// What is lent, or is being given back, of buckets that several share, by the buckets that it is counted in.
pub(super) struct Lent {
    stopping: Freed,
    all: Amounts,
    /// By the first of the buckets that lent it: all of these buckets, and what it is.
    by_lenders: HashMap<u32, Vec<(Vec<u32>, Amounts)>>,
}

/// How much of what a bucket holds.
type Amounts = HashMap<(u32, ResIx), u64>;

impl Lent {
    pub(super) fn of(look: &Look<'_>) -> Lent {
        let stopping = look.being_stopped();
        let mut lenders: BTreeMap<u32, (Vec<u32>, Vec<ResIx>)> = BTreeMap::new();
        for loan in look.loans(&stopping, &Lending::All) {
            let (buckets, lent) = lenders.entry(loan.ix).or_default();
            buckets.push(loan.bucket);
            lent.extend(loan.lent);
        }
        let (mut all, mut by_lenders) = (Amounts::new(), HashMap::new());
        for (ix, (mut buckets, lent)) in lenders {
            let Some(slot) = look.state.slot_at(ix) else {
                continue;
            };
            buckets.sort_unstable();
            let alike: &mut Vec<(Vec<u32>, Amounts)> = by_lenders.entry(buckets[0]).or_default();
            let at = alike.iter().position(|(of, _)| *of == buckets);
            let at = at.unwrap_or_else(|| {
                alike.push((buckets, Amounts::new()));
                alike.len() - 1
            });
            look.add_shared(slot, &lent, &mut all);
            look.add_shared(slot, &lent, &mut alike[at].1);
        }
        Lent {
            stopping,
            all,
            by_lenders,
        }
    }

    /// How much of what a bucket holds was lent to others than those in a seat, or is being given back.
    pub(super) fn to_others(&self, seat: &Seat, b: u32, r: ResIx) -> u64 {
        let of = |amounts: &Amounts| amounts.get(&(b, r)).copied().unwrap_or(0);
        let lenders = seat.buckets.iter().filter_map(|l| self.by_lenders.get(l));
        let own = lenders
            .flatten()
            .filter(|(by, _)| by.iter().all(|l| seat.buckets.contains(l)))
            .fold(0, |sum: u64, (_, amounts)| sum.saturating_add(of(amounts)));
        let others = of(&self.all).saturating_sub(own);
        others.saturating_add(self.stopping.in_bucket(b, r))
    }
}

/// Which loans are looked for.
enum Lending<'a> {
    /// All, whether they are taken back or end by themselves.
    All,
    /// Those that are taken back, of what somebody wants.
    TakenBack(&'a Wanted),
}

/// What a class is in the way of who waits for what was lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// It waits within its limits for what is lent to others.
    Entitled,
    /// What it needs is kept for it.
    Keeps,
    /// Nothing is kept for it, but it may start first.
    Passes,
}

/// Somebody for whom loans are taken back.
struct Waiter<'a> {
    class: &'a Class,
    /// The number of its slot.
    job: u32,
    waited: Millis,
    promised: &'a Promised,
    /// What others want: of the rest it may be lent something itself.
    wanted: &'a Wanted,
}

impl<'a> Look<'a> {
    /// Stops for borrowed capacity that somebody entitled has waited for long enough.
    pub(super) fn reclaim(&mut self) -> Vec<Event> {
        if self.wanted.is_empty() {
            return Vec::new();
        }
        let freed = self.being_stopped();
        let loans = self.loans(&freed, &Lending::TakenBack(&self.wanted));
        if loans.is_empty() {
            return Vec::new();
        }
        let order = self.walk(false);
        let found = self.each_turn(&order, &freed, &self.wanted, |waiter, freed, fits| {
            (!fits).then(|| self.take_back(waiter, &loans, freed))?
        });
        found.unwrap_or_default()
    }

    /// Shows all that wait within their limits in order, each with whether it fits beside what is kept for those before it,
    /// until something is found: while all of this is free, and while this is wanted.
    fn each_turn<T>(
        &self,
        order: &[(Order, usize, Turn)],
        freed: &Freed,
        wanted: &Wanted,
        mut visit: impl FnMut(&Waiter<'_>, &Freed, bool) -> Option<T>,
    ) -> Option<T> {
        let (mut promised, mut freed) = (Promised::default(), freed.clone());
        let mut looked_at = 0;
        let keep = |class: &Class, freed: &Freed, promised: &mut Promised| {
            let check = Check {
                freed: Some(freed),
                wanted,
                ..self.check(class, &self.nothing)
            };
            self.promise_as(class, &check, promised);
        };
        for (_, ix, turn) in order {
            let class = &self.state.classes[*ix];
            match turn {
                Turn::Entitled => {}
                Turn::Keeps => {
                    keep(class, &freed, &mut promised);
                    continue;
                }
                Turn::Passes => continue,
            }
            let others = wanted.besides(*ix);
            for job in class.members.values().take(MEMBERS) {
                looked_at += 1;
                let Some(slot) = self.state.slot_at(*job) else {
                    continue;
                };
                let waiter = Waiter {
                    class,
                    job: *job,
                    waited: self.moment.now.since(slot.job.submitted),
                    promised: &promised,
                    wanted: &others,
                };
                // Those of its class before it take what its user may hold.
                if !self.as_if(&waiter, &freed).lenders().private.is_empty() {
                    break;
                }
                let fits = self.fits(&waiter, &freed);
                if let Some(found) = visit(&waiter, &freed, fits) {
                    return Some(found);
                }
                if !fits {
                    keep(class, &freed, &mut promised);
                    break;
                }
                self.give(class, &mut freed, &mut promised);
            }
            if looked_at >= LOOKED_AT {
                break;
            }
        }
        None
    }

    /// The classes in order, each with what it is here. Without those for which nothing is kept, unless `all` are wanted.
    fn walk(&mut self, all: bool) -> Vec<(Order, usize, Turn)> {
        let state = self.state;
        let (mut entitled, mut others) = (Vec::new(), Vec::new());
        for (ix, class) in state.classes.iter().enumerate() {
            if self.gate(class) == Gate::Down {
                continue;
            }
            let seat = &state.seats[class.seat as usize];
            let mut ask = class.ask.iter();
            if ask.any(|(r, _)| self.wanted.has(seat, *r)) && self.is_entitled(class) {
                entitled.push(ix);
            } else {
                others.push(ix);
            }
        }
        if entitled.is_empty() {
            return Vec::new();
        }
        let buckets = self.buckets_of(entitled.iter().copied());
        let mut order = Vec::new();
        for ix in entitled {
            order.push((self.order(&state.classes[ix]), ix, Turn::Entitled));
        }
        for ix in others {
            let class = &state.classes[ix];
            let keeps = (self.has_waited(class) || self.is_in_a_budget(class))
                && self
                    .blocked(ix)
                    .is_none_or(|first| self.concerns(ix, &first, &buckets));
            if keeps || all {
                let turn = if keeps { Turn::Keeps } else { Turn::Passes };
                order.push((self.order(class), ix, turn));
            }
        }
        order.sort_unstable();
        order
    }

    /// All that was lent, the youngest first, besides those that are being stopped.
    fn loans(&self, freed: &Freed, which: &Lending<'_>) -> Vec<Loan<'a>> {
        let state = self.state;
        let mut loans = Vec::new();
        for (b, bucket) in state.buckets.iter().enumerate() {
            let lends = state.rules[bucket.quota].borrow.iter().next().is_some();
            let after = match (state.policy().quotas[bucket.quota].reclaim, which) {
                (Reclaim::StopAfter(after), _) => after,
                (Reclaim::Drain, Lending::All) if lends => Millis(0),
                (Reclaim::Drain, _) => continue,
            };
            if bucket.running == 0 {
                continue;
            }
            if state.rules[bucket.quota].audit || !self.moment.applies(bucket.quota) {
                continue;
            }
            let mut over = self.over(b as u32, freed, which);
            if over.is_empty() {
                continue;
            }
            for (age, ix, slot) in self.borrowers(b as u32) {
                // It is a loan, and takes its part of what was lent; but nobody can stop it now.
                let stays = matches!(which, Lending::TakenBack(_)) && self.is_down(slot);
                let mut lent = Vec::new();
                for (r, a) in slot.ask.iter() {
                    if let Some((_, over)) = over.iter_mut().find(|(o, n)| o == r && *n > 0) {
                        *over = over.saturating_sub(*a);
                        lent.push(*r);
                    }
                }
                if !lent.is_empty() && !stays {
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
    fn over(&self, b: u32, freed: &Freed, which: &Lending<'_>) -> Vec<(ResIx, u64)> {
        let bucket = &self.state.buckets[b as usize];
        let limits = limits_of(self.state, bucket, self.moment.now);
        let limited = self.state.rules[bucket.quota].limits.iter();
        let names = &self.state.names;
        let wanted = |r: ResIx| match which {
            Lending::All => true,
            Lending::TakenBack(wanted) => {
                let mut wanted = wanted.resources();
                wanted.any(|w| w == r || names.are_akin(w, r))
            }
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

    /// What those hold that are being stopped. Of a cluster that cannot be reached, only as long as that may be a moment's
    /// trouble: then another loan is taken back instead.
    fn being_stopped(&self) -> Freed {
        let mut freed = Freed::default();
        for slot in self.counted_on() {
            freed.add(self.state, slot);
        }
        freed
    }

    /// The same, if any are being stopped.
    pub(super) fn coming_back(&self) -> Option<Freed> {
        self.state.stopping().next()?;
        Some(self.being_stopped())
    }

    /// Those that are being stopped and counted on to end.
    fn counted_on<'b>(&'b self) -> impl Iterator<Item = &'a Slot> + use<'a, 'b> {
        let due = |s: &&Slot| {
            self.stop_is_overdue_at(s)
                .is_none_or(|at| self.moment.now < at)
        };
        self.state.stopping().filter(due)
    }

    /// When a stop on a cluster that cannot be reached is not counted on any more.
    fn stop_is_overdue_at(&self, slot: &Slot) -> Option<Timestamp> {
        let stop = slot.job.stop.as_ref().filter(|_| self.is_down(slot))?;
        Some(stop.at.after(COUNTED_ON))
    }

    /// When the next stop is overdue.
    pub(super) fn next_overdue_stop(&self) -> Option<Timestamp> {
        let stops = self.state.stopping();
        stops
            .filter_map(|s| self.stop_is_overdue_at(s))
            .filter(|at| *at > self.moment.now)
            .min()
    }

    fn is_down(&self, slot: &Slot) -> bool {
        let cluster = self.state.seats[slot.seat as usize].cluster;
        self.moment.gate(&self.state.cluster_at(cluster).name) == Gate::Down
    }

    /// The jobs of a bucket that were granted on borrowed capacity and are not being stopped, the youngest first. Who ran
    /// above another quota's limit was lent nothing by this one.
    fn borrowers(&self, b: u32) -> Vec<((Timestamp, u64), u32, &'a Slot)> {
        let lender = &self.state.rules[self.state.buckets[b as usize].quota].name;
        let by_it = |g: &Grant| g.lent_by.is_empty() || g.lent_by.contains(lender);
        let holders = self.state.buckets[b as usize].holders.iter();
        let slots = holders.filter_map(|(_, ix)| Some((*ix, self.state.slot_at(*ix)?)));
        let mut all: Vec<_> = slots
            .filter_map(|(ix, slot)| match &slot.job.phase {
                Phase::Reserved(g) | Phase::Running(g)
                    if g.borrowed && by_it(g) && slot.job.stop.is_none() =>
                {
                    Some(((g.since, slot.job.seq), ix, slot))
                }
                _ => None,
            })
            .collect();
        all.sort_by_key(|(age, ..)| Reverse(*age));
        all
    }

    /// Adds what a job was lent of these, by limits that its user shares with others.
    fn add_shared(&self, slot: &Slot, lent: &[ResIx], amounts: &mut Amounts) {
        for b in &self.state.seats[slot.seat as usize].buckets {
            let rule = &self.state.rules[self.state.buckets[*b as usize].quota];
            let limited =
                |r: ResIx| !rule.private && rule.limits.get(r).is_some() && self.is_among(lent, r);
            for (r, a) in slot.ask.iter().filter(|(r, _)| limited(*r)) {
                let sum = amounts.entry((*b, *r)).or_insert(0);
                *sum = sum.saturating_add(*a);
            }
        }
    }

    fn as_if<'b>(&'b self, waiter: &'b Waiter<'_>, freed: &'b Freed) -> Check<'b> {
        Check {
            freed: Some(freed),
            wanted: waiter.wanted,
            ..self.check_as_it_is(waiter.class, waiter.promised)
        }
    }

    fn fits(&self, waiter: &Waiter<'_>, freed: &Freed) -> bool {
        matches!(self.as_if(waiter, freed).fits(), Fit::Yes { .. })
    }

    /// Counts what a job is to have as held by it, and kept for it of budgets.
    fn give(&self, class: &Class, freed: &mut Freed, promised: &mut Promised) {
        let seat = &self.state.seats[class.seat as usize];
        for b in &seat.buckets {
            self.promise_budgets(class, *b, true, &[], promised);
        }
        freed.start(seat, &class.ask);
    }

    /// The stops that make room for somebody; `None` when there are none that do. Those before it in the order may have a
    /// use for what comes back as well: what they would take counts as theirs.
    fn take_back(
        &self,
        waiter: &Waiter<'_>,
        loans: &[Loan<'a>],
        freed: &Freed,
    ) -> Option<Vec<Event>> {
        // What is being stopped may be enough for it, though it does not look so beside all that is kept for others.
        if self.state.stopping().next().is_some() && self.starts_without(waiter, &[]) == Some(true)
        {
            return None;
        }
        // What comes back may be enough for others as well, so that they want nothing more which it would have to borrow.
        let nothing = Wanted::default();
        [&nothing, waiter.wanted].into_iter().find_map(|wanted| {
            let waiter = Waiter { wanted, ..*waiter };
            self.take_back_while(&waiter, loans, freed)
        })
    }

    /// The same while others want what they do.
    fn take_back_while(
        &self,
        waiter: &Waiter<'_>,
        loans: &[Loan<'a>],
        freed: &Freed,
    ) -> Option<Vec<Event>> {
        let (mut promised, mut freed) = (waiter.promised.clone(), freed.clone());
        for _ in 0..ROUNDS {
            let waiter = Waiter {
                promised: &promised,
                ..*waiter
            };
            let (chosen, useful) = self.choose(&waiter, loans, &freed)?;
            if let Some(fewer) = self.fewer_that_start(&waiter, &useful, chosen.len()) {
                return self.stops(&waiter, &fewer, &freed);
            }
            let starts = self.starts_without(&waiter, &chosen);
            if starts == Some(true) {
                return self.stops(&waiter, &chosen, &freed);
            }
            let mut after = self.being_stopped();
            chosen.iter().for_each(|l| after.add(self.state, l.slot));
            // Who has less goes first: the order is another one then.
            let order = self.once_ended(chosen.iter().map(|l| l.slot)).walk(true);
            let wanted = self.wanted_after(&order, &after);
            let (fits, kept, mut left) =
                self.each_turn(&order, &after, &wanted, |at, free, fits| {
                    (at.job == waiter.job).then(|| (fits, at.promised.clone(), free.clone()))
                })?;
            if fits {
                let then = Waiter {
                    wanted: &wanted,
                    ..waiter
                };
                let left = starts.is_none() && self.is_left(&then, &order, left, kept);
                return left.then(|| self.stops(&waiter, &chosen, &freed))?;
            }
            chosen
                .iter()
                .for_each(|l| left.take_back(self.state, l.slot));
            (promised, freed) = (kept, left);
        }
        None
    }

    /// Whether somebody starts once all that are being stopped, and then these, are over; `None` where it cannot be said.
    fn starts_without(&self, waiter: &Waiter<'_>, chosen: &[Loan<'a>]) -> Option<bool> {
        let id = &self.state.slot_at(waiter.job)?.job.new.id;
        let stopped = self.counted_on().map(|s| &s.job.new.id).collect();
        let chosen = chosen.iter().map(|l| &l.slot.job.new.id).collect();
        self.starts_after(id, [stopped, chosen])
    }

    fn stops(&self, waiter: &Waiter<'_>, chosen: &[Loan<'a>], freed: &Freed) -> Option<Vec<Event>> {
        let lacks = self.lacks(waiter, freed)?;
        let stop = |l: &Loan<'a>| Event::StopRequested {
            id: l.slot.job.new.id.clone(),
            by: "curb".into(),
            why: self.why(l, waiter, &lacks),
        };
        Some(chosen.iter().map(stop).collect())
    }

    /// The same when these, and all that are being stopped, are over.
    fn once_ended(&self, chosen: impl Iterator<Item = &'a Slot>) -> Look<'a> {
        let mut then = self.anew();
        for slot in chosen.chain(self.counted_on()) {
            for n in &self.state.seats[slot.seat as usize].nodes {
                for (r, a) in slot.ask.iter() {
                    let sum = then.ended.entry((*n, *r)).or_insert(0);
                    *sum = sum.saturating_add(*a);
                }
            }
        }
        then
    }

    /// What those within their limits will want when all of this is free.
    fn wanted_after(&self, order: &[(Order, usize, Turn)], after: &Freed) -> Wanted {
        let (nothing, mut wanted) = (Wanted::default(), Wanted::default());
        let entitled = order.iter().filter(|(_, _, turn)| *turn == Turn::Entitled);
        for (_, ix, _) in entitled.take(LOOKED_AT) {
            let class = &self.state.classes[*ix];
            let check = Check {
                freed: Some(after),
                wanted: &nothing,
                ..self.check(class, &self.nothing)
            };
            if let Ok(hits) = self.lacks_only(class, &check) {
                self.mark(*ix, &hits, &mut wanted);
            }
        }
        wanted
    }

    /// Whether somebody still fits when those before it have been lent what they can of what comes back: under a quota that
    /// lends the order of the queue holds. A loan is not taken back to be lent on.
    fn is_left(
        &self,
        waiter: &Waiter<'_>,
        order: &[(Order, usize, Turn)],
        mut after: Freed,
        mut promised: Promised,
    ) -> bool {
        let is_it = |ix: usize| std::ptr::eq(&raw const self.state.classes[ix], waiter.class);
        let buckets = &self.state.seats[waiter.class.seat as usize].buckets;
        let before = order.iter().take_while(|(_, ix, _)| !is_it(*ix));
        let fits = |class: &Class, after: &Freed, promised: &Promised| {
            let one = Waiter {
                class,
                promised,
                ..*waiter
            };
            self.fits(&one, after)
        };
        for (_, ix, _) in before.filter(|(_, _, turn)| *turn == Turn::Passes) {
            let class = &self.state.classes[*ix];
            for _ in class.members.values().take(MEMBERS) {
                if !fits(class, &after, &promised) {
                    break;
                }
                let (mut then, mut with) = (after.clone(), promised.clone());
                self.give(class, &mut then, &mut with);
                // Who shares no quota that lends to it is stepped back for, unless there is room for both.
                let borrower = Waiter {
                    class,
                    promised: &promised,
                    ..*waiter
                };
                let lenders = self.as_if(&borrower, &after).lenders();
                let goes_first = lenders.is_empty() || lenders.are_among(buckets);
                if !goes_first && !fits(waiter.class, &then, &with) {
                    break;
                }
                (after, promised) = (then, with);
            }
        }
        fits(waiter.class, &after, &promised)
    }

    /// The fewest loans that make room for somebody, and all that hold something of what is lacking; `None` when there are
    /// none that do.
    fn choose(
        &self,
        waiter: &Waiter<'_>,
        loans: &[Loan<'a>],
        freed: &Freed,
    ) -> Option<(Vec<Loan<'a>>, Vec<Loan<'a>>)> {
        let own = &self.state.seats[waiter.class.seat as usize].buckets;
        let loans: Vec<Loan<'a>> = loans
            .iter()
            .filter(|l| l.after <= waiter.waited && !own.contains(&l.bucket))
            .cloned()
            .collect();
        let mut freed = freed.clone();
        let before = freed.clone();
        let (mut chosen, useful) = self.enough(waiter, &loans, &mut freed)?;
        if useful.len() <= TRIED {
            chosen = self.fewest(waiter, &useful, &before, &chosen);
        } else {
            self.drop_unneeded(waiter, &mut freed, &mut chosen);
            self.make_younger(waiter, &loans, &mut freed, &mut chosen);
            self.drop_unneeded(waiter, &mut freed, &mut chosen);
        }
        Some((chosen, useful))
    }

    /// What somebody lacks; `None` when something else than capacity is in the way.
    fn lacks(&self, waiter: &Waiter<'_>, freed: &Freed) -> Option<Vec<Lack>> {
        let cluster = self.state.seats[waiter.class.seat as usize].cluster;
        let lack = |h: &Hit| {
            let (r, at) = match (h.kind, h.place) {
                (Kind::Capacity(r) | Kind::Turn(r), Place::Cluster) => (r, Where::Cluster(cluster)),
                (Kind::Guarantee(r), Place::Cluster) => (r, Where::Anywhere),
                (Kind::Concurrent(r) | Kind::Borrowing(r) | Kind::Turn(r), Place::Bucket(b)) => {
                    (r, Where::Bucket(b))
                }
                _ => return None,
            };
            (!h.alone).then(|| Lack {
                r,
                at,
                amount: h.used.saturating_add(h.asked).saturating_sub(h.limit),
            })
        };
        self.as_if(waiter, freed).all().iter().map(lack).collect()
    }

    /// Few loans that together are enough, the one that brings the most of what is lacking, and so on, of equal ones the
    /// youngest; and all that bring something of what was lacking on the way, the youngest first.
    fn enough(
        &self,
        waiter: &Waiter<'_>,
        loans: &[Loan<'a>],
        freed: &mut Freed,
    ) -> Option<(Vec<Loan<'a>>, Vec<Loan<'a>>)> {
        let (mut chosen, mut useful): (Vec<Loan<'a>>, Vec<bool>) = (Vec::new(), Vec::new());
        useful.resize(loans.len(), false);
        while !self.fits(waiter, freed) {
            let lacks = self.lacks(waiter, freed)?;
            let mut best: Option<(u128, &Loan<'a>)> = None;
            for (loan, useful) in loans.iter().zip(&mut useful) {
                let brings = self.brings(loan, &lacks);
                *useful |= brings > 0;
                let taken = brings == 0 || chosen.iter().any(|c| c.ix == loan.ix);
                if !taken && best.is_none_or(|(b, l)| (brings, loan.age) > (b, l.age)) {
                    best = Some((brings, loan));
                }
            }
            let (_, best) = best?;
            freed.add(self.state, best.slot);
            chosen.push(best.clone());
        }
        let all = loans.iter().zip(useful).filter(|(_, useful)| *useful);
        let mut useful: Vec<Loan<'a>> = Vec::new();
        for (loan, _) in all {
            // One that two buckets lent is stopped once.
            if useful.iter().all(|u| u.ix != loan.ix) {
                useful.push(loan.clone());
            }
        }
        Some((chosen, useful))
    }

    /// The fewest loans that are enough; of such sets the one whose oldest is youngest, and so on. `enough` are some.
    fn fewest(
        &self,
        waiter: &Waiter<'_>,
        useful: &[Loan<'a>],
        freed: &Freed,
        enough: &[Loan<'a>],
    ) -> Vec<Loan<'a>> {
        let mut sets = sets(useful, enough.len());
        let found = sets.find(|set| {
            let mut tried = freed.clone();
            set.iter().for_each(|l| tried.add(self.state, l.slot));
            self.fits(waiter, &tried)
        });
        found.unwrap_or_else(|| enough.to_vec())
    }

    /// Fewer than so many loans without which somebody starts, where it does though it does not look so beside all that is
    /// kept for others.
    fn fewer_that_start(
        &self,
        waiter: &Waiter<'_>,
        useful: &[Loan<'a>],
        than: usize,
    ) -> Option<Vec<Loan<'a>>> {
        if than < 2 || useful.len() > TRIED {
            return None;
        }
        let mut fewer = sets(useful, than - 1).take(PLAYED);
        fewer.find(|set| self.starts_without(waiter, set) == Some(true))
    }

    /// How much a loan brings of what is lacking, the sum of its parts of each in 2^-20; 0 when it is none of it.
    fn brings(&self, loan: &Loan<'_>, lacks: &[Lack]) -> u128 {
        let seat = &self.state.seats[loan.slot.seat as usize];
        let part = |lack: &Lack| {
            let here = match lack.at {
                Where::Cluster(c) => c == seat.cluster,
                Where::Anywhere => true,
                Where::Bucket(b) => seat.buckets.contains(&b),
            };
            let mut ask = loan.slot.ask.iter();
            match ask.find(|(r, _)| *r == lack.r) {
                Some((r, a)) if here && self.is_among(&loan.lent, *r) => {
                    (u128::from(*a).min(lack.amount) << 20) / lack.amount.max(1)
                }
                _ => 0,
            }
        };
        lacks.iter().map(part).sum()
    }

    /// Whether a resource that somebody holds is one of those that were lent, or a model of it.
    fn is_among(&self, lent: &[ResIx], r: ResIx) -> bool {
        let names = &self.state.names;
        lent.iter().any(|l| *l == r || names.are_akin(*l, r))
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
        let shared = lacks.iter().find_map(|l| match l.at {
            Where::Bucket(b) => Some(b),
            Where::Cluster(_) | Where::Anywhere => None,
        });
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
            (counts && shared != Some(*b)).then_some(&rule.name)
        });
        // Where a quota that both share is used up, it is that which is told, and not the cluster.
        let by_guarantee = lacks.iter().all(|l| matches!(l.at, Where::Anywhere));
        let of = match shared {
            Some(b) => {
                let quota = state.buckets[b as usize].quota;
                format!("of quota {}", state.rules[quota].name)
            }
            None if by_guarantee => "beside what guarantees keep on all clusters".to_owned(),
            None => format!("on cluster {}", state.cluster_at(seat.cluster).name),
        };
        let entitled = entitles.map_or_else(
            || match shared {
                Some(_) => "that no other quota limits in it".to_owned(),
                None => "that no quota limits in it".to_owned(),
            },
            |name| format!("within quota {name}"),
        );
        format!(
            "it ran on capacity borrowed above quota {lent_by}; {} {of} is wanted back for a job {entitled}, which has waited {}",
            wanted.join(", "),
            waiter.waited
        )
    }
}

/// All sets of up to so many of some loans, the youngest of which come first: the smallest sets first, of as many the one
/// whose oldest is youngest, and so on.
fn sets<'l, 'a>(loans: &'l [Loan<'a>], most: usize) -> impl Iterator<Item = Vec<Loan<'a>>> + 'l {
    // The youngest are the lowest bits: of equally many, the smallest number has the youngest.
    let mut sets: Vec<u32> = (1..1u32 << loans.len())
        .filter(|set| set.count_ones() as usize <= most)
        .collect();
    sets.sort_by_key(|set| (set.count_ones(), *set));
    sets.into_iter().map(|set| {
        let of = (0..loans.len()).filter(|n| set >> n & 1 == 1);
        of.map(|n| loans[n].clone()).collect()
    })
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
