//! The order of the queue, and who starts next.
//!
//! Order: first those that have waited the policy's `pass_bound` without an older job of their user being started
//! meanwhile, the longest first; then priority, fair share (see the ledger's `fair`), age.
//!
//! A job that does not fit may be passed by others until it has waited the bound. From then on what it needs counts as
//! held for all behind it, so that they start only where they leave it room. To waste nothing, that is kept for it from
//! the inside out: while its own user's limits stop it, only in these; while a shared quota stops it, in these and in
//! quotas; else on the cluster too. A budget is freed by time and not by jobs that end: while one stops it, nothing else
//! is kept for it. So a job within its limits that could fit and has waited the bound, and before which nobody else within
//! theirs has waited it, starts at the latest when what runs then has ended three times over (user's limits, quotas,
//! cluster), whoever comes.
//!
//! A job that could start only above its limits has that bound against others that would borrow, and against those under
//! all quotas that would lend. Who else is within their limits goes before it, however long it has waited: from them
//! nothing is kept for it. Whether something is lent at all has no bound.
//!
//! On a budget nobody is passed at all: what an earlier job in the order needs of it is kept, bound or not.

use std::cell::{Cell, OnceCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use super::check::{Check, Fit, Freed, Hit, Kind, Place, Readings, Scope, Wanted, limits_of};
use super::moment::{Gate, Moment};
use super::promise::{Kept, Lenders, Promised};
use super::reclaim::{Lent, next_reclaim};
use crate::ledger::{Class, Event, Job, ResIx, Rule, Seat, State};
use crate::policy::Mode;
use crate::subject::Subject;
use crate::time::Timestamp;

/// A class's place in the order: smaller goes first.
pub(super) type Place4 = (Reverse<i32>, Vec<u64>, u64);

/// A job's place in the whole order: those that have waited the bound before the others, the longest first.
pub(super) type Order = (bool, Timestamp, Place4);

/// A class in the order by its number; of one that fits while nothing is kept for others, whether it borrows.
type Ranked = (Order, usize, Option<bool>);

/// At the door so many classes are looked at to say whether one of them goes first.
const LOOKED_AT: usize = 256;

/// In one look so many borrowers are held against those that wait for the pace of a cluster, each against each.
const PAIRS: usize = 4_096;

/// What a look at the whole queue found.
pub(super) struct Look<'a> {
    pub(super) state: &'a State,
    pub(super) moment: &'a Moment,
    pub(super) wanted: Wanted,
    shares: HashMap<u32, u64>,
    /// By node of the tree: what is to count as not held any more in its share.
    pub(super) ended: HashMap<(u32, ResIx), u64>,
    pub(super) nothing: Promised,
    readings: Readings,
    /// By number of class: the first limit in its way; empty until they were looked at.
    blocked: Vec<Option<Hit>>,
    /// All that is lent, found when it is first asked for.
    lent: OnceCell<Lent>,
    /// How often the queue was played ahead.
    pub(super) plays: Cell<usize>,
}

/// The next step of the queue, or nothing when nobody who waits can start now. Apply it and ask again.
#[must_use]
pub fn next(state: &State, moment: &Moment) -> Vec<Event> {
    if state.queued_count() == 0 {
        return Vec::new();
    }
    let mut look = Look::of_next(state, moment);
    match look.start() {
        Some((_, start)) => vec![start],
        None => look.reclaim(),
    }
}

impl<'a> Look<'a> {
    /// With what is wanted, and in which order others wait to be found anew.
    pub(super) fn anew(&self) -> Look<'a> {
        Look {
            wanted: self.wanted.clone(),
            blocked: self.blocked.clone(),
            ..Look::new(self.state, self.moment)
        }
    }

    /// As who starts next is looked for.
    pub(super) fn of_next(state: &'a State, moment: &'a Moment) -> Look<'a> {
        let mut look = Look::new(state, moment);
        if state.mode() == Mode::Enforce {
            look.find_wanted();
        }
        look
    }

    /// Who starts next, with the number of their class.
    pub(super) fn start(&mut self) -> Option<(usize, Event)> {
        let (ix, borrowed) = self.pick()?;
        let class = &self.state.classes[ix];
        let lent_by = if borrowed {
            self.check(class, &self.nothing).lent_by()
        } else {
            Vec::new()
        };
        let id = self.head(class)?.new.id.clone();
        Some((
            ix,
            Event::Granted {
                id,
                borrowed,
                lent_by,
            },
        ))
    }

    fn new(state: &'a State, moment: &'a Moment) -> Look<'a> {
        Look {
            state,
            moment,
            wanted: Wanted::default(),
            shares: HashMap::new(),
            ended: HashMap::new(),
            nothing: Promised::default(),
            readings: Readings::default(),
            blocked: Vec::new(),
            lent: OnceCell::new(),
            plays: Cell::new(0),
        }
    }
}

/// What somebody within their limits waits for.
pub(crate) fn wanted(state: &State, moment: &Moment) -> Wanted {
    let mut look = Look::new(state, moment);
    look.find_wanted();
    look.wanted
}

impl Look<'_> {
    /// A class against the limits, as somebody who borrows: all that is kept for others counts.
    pub(super) fn check<'b>(&'b self, class: &'b Class, promised: &'b Promised) -> Check<'b> {
        self.check_with(class, Kept::from_borrower(promised))
    }

    /// The same, as it is.
    pub(super) fn check_as_it_is<'b>(
        &'b self,
        class: &'b Class,
        promised: &'b Promised,
    ) -> Check<'b> {
        let buckets = &self.state.seats[class.seat as usize].buckets;
        let kept = if promised.lends() && self.is_entitled(class) {
            Kept::from_entitled(promised, buckets)
        } else {
            Kept::from_borrower(promised)
        };
        self.check_with(class, kept)
    }

    fn check_with<'b>(&'b self, class: &'b Class, kept: Kept<'b>) -> Check<'b> {
        Check {
            state: self.state,
            moment: self.moment,
            seat: &self.state.seats[class.seat as usize],
            made: &[],
            ask: &class.ask,
            duration: class.duration,
            scope: Scope::Enforced,
            submitting: false,
            kept,
            wanted: &self.wanted,
            freed: None,
            readings: Some(&self.readings),
        }
    }

    pub(super) fn gate(&self, class: &Class) -> Gate {
        let seat = &self.state.seats[class.seat as usize];
        self.moment.gate(&self.state.cluster_at(seat.cluster).name)
    }

    /// Marks what somebody within their limits waits for, of capacity or of a quota that others share: it is not lent to
    /// others.
    fn find_wanted(&mut self) {
        let lends = |r: &crate::policy::Quota| !r.borrow.is_empty();
        if !self.state.policy().quotas.iter().any(lends) {
            return;
        }
        let mut wanted = Wanted::default();
        let mut blocked = Vec::with_capacity(self.state.classes.len());
        let coming = self.coming_back();
        for (ix, class) in self.state.classes.iter().enumerate() {
            // Who cannot start wherever they wait keeps nothing from others.
            if self.gate(class) == Gate::Down {
                blocked.push(None);
                continue;
            }
            let hits = match self.lacks_only(class, &self.check(class, &self.nothing)) {
                Ok(hits) => hits,
                Err(other) => {
                    blocked.push(Some(other));
                    continue;
                }
            };
            blocked.push(hits.first().copied());
            if hits.is_empty() || !self.is_entitled(class) {
                continue;
            }
            self.mark(ix, &hits, &mut wanted);
            if let Some(coming) = &coming {
                self.mark_what_is_coming(ix, coming, &mut wanted);
            }
        }
        self.wanted = wanted;
        self.blocked = blocked;
    }

    /// Marks all that a class asks for as wanted, if it starts once what is being stopped is over: else what it does not
    /// lack now would be lent before the last of it is, and be taken back again.
    fn mark_what_is_coming(&self, ix: usize, coming: &Freed, wanted: &mut Wanted) {
        let class = &self.state.classes[ix];
        let check = Check {
            freed: Some(coming),
            ..self.check(class, &self.nothing)
        };
        if matches!(check.fits(), Fit::No { .. }) {
            return;
        }
        let seat = &self.state.seats[class.seat as usize];
        for (r, _) in class.ask.iter() {
            wanted.add_capacity(seat.cluster, *r, ix);
            for b in seat.buckets.iter().filter(|b| self.limits_shared(**b, *r)) {
                wanted.add_of_bucket(*b, *r, ix);
            }
        }
    }

    /// Whether a bucket that several users share limits a resource now.
    fn limits_shared(&self, b: u32, r: ResIx) -> bool {
        !self.is_private(b) && self.held_and_limit(b, r).is_some()
    }

    /// What a class lacks of capacity or of quotas that others share.
    ///
    /// # Errors
    /// The first limit of another kind that is in its way.
    pub(super) fn lacks_only(&self, class: &Class, check: &Check<'_>) -> Result<Vec<Hit>, Hit> {
        check.all_like(|h: &Hit| {
            by_cluster(h).is_some()
                || by_bucket(h).is_some_and(|(b, r)| self.is_within(class, b, r, h.asked))
        })
    }

    /// Marks what a class lacks as wanted.
    pub(super) fn mark(&self, ix: usize, hits: &[Hit], wanted: &mut Wanted) {
        let cluster = self.state.seats[self.state.classes[ix].seat as usize].cluster;
        for r in hits.iter().filter_map(by_cluster) {
            wanted.add_capacity(cluster, r, ix);
        }
        for (b, r) in hits.iter().filter_map(by_bucket) {
            wanted.add_of_bucket(b, r, ix);
        }
    }

    /// The first limit in the way of a class.
    pub(super) fn blocked(&self, ix: usize) -> Option<Hit> {
        match self.fit(ix) {
            Fit::Yes { .. } => None,
            Fit::No { first } => Some(first),
        }
    }

    /// Whether a class fits while nothing is kept for others.
    fn fit(&self, ix: usize) -> Fit {
        // What was in the way before it was known what is wanted is so still.
        if let Some(Some(first)) = self.blocked.get(ix) {
            return Fit::No { first: *first };
        }
        self.check(&self.state.classes[ix], &self.nothing).fits()
    }

    fn is_private(&self, b: u32) -> bool {
        let quota = self.state.buckets[b as usize].quota;
        self.state.rules[quota].private
    }

    /// Whether what would be kept for a class can be in the way of somebody in these buckets: what a limit of its own user
    /// stops is kept something in its user's buckets only.
    pub(super) fn concerns(&self, ix: usize, first: &Hit, buckets: &HashSet<u32>) -> bool {
        match first.place {
            Place::Bucket(b) if self.is_private(b) => {
                let seat = self.state.classes[ix].seat as usize;
                let mut own = self.state.seats[seat].buckets.iter();
                own.any(|b| buckets.contains(b) && self.is_private(*b))
            }
            _ => true,
        }
    }

    /// The buckets of some classes.
    pub(super) fn buckets_of(&self, classes: impl Iterator<Item = usize>) -> HashSet<u32> {
        let seats = classes.map(|ix| self.state.classes[ix].seat as usize);
        seats
            .flat_map(|s| self.state.seats[s].buckets.iter().copied())
            .collect()
    }

    /// Whether a class is within the limits of all its buckets, once what others were lent, and would give back to it, is
    /// taken away.
    pub(super) fn is_entitled(&self, class: &Class) -> bool {
        let seat = &self.state.seats[class.seat as usize];
        let all = |within: &dyn Fn(u32, ResIx, u128) -> bool| {
            seat.buckets.iter().all(|b| {
                let mut ask = class.ask.iter();
                ask.all(|(r, a)| within(*b, *r, u128::from(*a)))
            })
        };
        // What was lent takes a walk over all that run to find: whom it cannot help needs none.
        all(&|b, r, asked| self.may_be_within(b, r, asked))
            && all(&|b, r, asked| self.is_within(class, b, r, asked))
    }

    /// The limit of a bucket that is in force, and what is held of it.
    pub(super) fn held_and_limit(&self, b: u32, r: ResIx) -> Option<(u64, u128)> {
        let bucket = &self.state.buckets[b as usize];
        let counts = self.moment.applies(bucket.quota) && !self.state.rules[bucket.quota].audit;
        let limits = limits_of(self.state, bucket, self.moment.now);
        let limit = counts.then(|| limits.resource(r)).flatten()?;
        Some((bucket.held.get(r), u128::from(limit)))
    }

    /// Whether somebody is within a limit, if enough of what is held was lent to others.
    fn may_be_within(&self, b: u32, r: ResIx, asked: u128) -> bool {
        self.held_and_limit(b, r).is_none_or(|(held, limit)| {
            // What its user's own limits count is never others'.
            let held = if self.is_private(b) { held } else { 0 };
            u128::from(held).saturating_add(asked) <= limit
        })
    }

    /// Whether a class is within the limit of one bucket and resource.
    fn is_within(&self, class: &Class, b: u32, r: ResIx, asked: u128) -> bool {
        let Some((held, limit)) = self.held_and_limit(b, r) else {
            return true;
        };
        let fits = |held: u64| u128::from(held).saturating_add(asked) <= limit;
        fits(held)
            || (self.may_be_within(b, r, asked) && {
                let lent = self.lent.get_or_init(|| Lent::of(self));
                let seat = &self.state.seats[class.seat as usize];
                fits(held.saturating_sub(lent.to_others(seat, b, r)))
            })
    }

    /// Who would have to lend something to a class for it to start, as this check sees it; nobody, if it is within its
    /// limits once what others were lent is taken away.
    fn lenders_as(&self, class: &Class, check: &Check<'_>) -> Lenders {
        let lenders = check.lenders();
        // Above a limit of its user's own it is whatever others were lent.
        if lenders.private.is_empty() && !lenders.is_empty() && self.is_entitled(class) {
            return Lenders::default();
        }
        lenders
    }

    /// The first in the order that fits. Of those that do not, only such are put in the order as can be in its way.
    ///
    /// Who would start on borrowed capacity steps back for those behind who fit within their limits and would not fit after
    /// it, whatever its priority: capacity is lent while nobody else wants it. Else what was taken back for somebody would
    /// be lent again to the next in the order, and taken back again.
    fn pick(&mut self) -> Option<(usize, bool)> {
        let state = self.state;
        let budgets = state.rules.iter().any(|r| !r.budgets.is_empty());
        let (mut fit, mut others, mut paced) = (Vec::new(), Vec::new(), Vec::new());
        for (ix, class) in state.classes.iter().enumerate() {
            let gate = self.gate(class);
            if gate == Gate::Down {
                continue;
            }
            match self.fit(ix) {
                Fit::Yes { borrowed } if gate == Gate::Open => fit.push((ix, borrowed)),
                // It will start in a moment: what it is to have is kept all the same.
                Fit::Yes { borrowed } => {
                    others.push((ix, None));
                    paced.push((ix, borrowed));
                }
                Fit::No { first } => others.push((ix, Some(first))),
            }
        }
        if fit.is_empty() {
            return None;
        }
        let buckets = self.buckets_of(fit.iter().map(|(ix, _)| *ix));
        let mut order: Vec<Ranked> = Vec::new();
        for (ix, borrowed) in fit {
            order.push((self.order(&state.classes[ix]), ix, Some(borrowed)));
        }
        for (ix, first) in others {
            let class = &state.classes[ix];
            let concerns = first.is_none_or(|first| self.concerns(ix, &first, &buckets));
            if concerns && (self.has_waited(class) || (budgets && self.is_in_a_budget(class))) {
                order.push((self.order(class), ix, None));
            }
        }
        order.sort_unstable();
        let mut promised = Promised::default();
        let (mut steps_back, mut looked_at) = (None, 0);
        let mut waits_for_paced = |class: &Class, promised: &Promised| {
            looked_at += paced.len().min(LOOKED_AT);
            let some = paced.iter().copied().take(LOOKED_AT);
            // With too many to ask, nothing is lent until fewer wait for the pace.
            looked_at > PAIRS || self.is_in_the_way(class, some, promised)
        };
        for (at, (_, ix, fits)) in order.iter().enumerate() {
            let class = &state.classes[*ix];
            match fits.map(|_| self.fits_beside(class, &promised)) {
                // Who waits only for the pace of another cluster is waited for.
                Some(Fit::Yes { borrowed: true })
                    if !paced.is_empty() && waits_for_paced(class, &promised) =>
                {
                    self.promise(class, &mut promised);
                }
                // Once one steps back so do all that borrow, until the one has started for whom it did: to ask of each of
                // them would be to look at all behind each of all.
                Some(Fit::Yes { borrowed: true })
                    if match steps_back {
                        Some(_) => true,
                        None => self.is_in_the_way(class, fit_in(&order[at + 1..]), &promised),
                    } =>
                {
                    steps_back.get_or_insert(*ix);
                    self.keep_place(class, &mut promised);
                }
                Some(Fit::Yes { borrowed }) => return Some((*ix, borrowed)),
                Some(Fit::No { .. }) | None => self.promise(class, &mut promised),
            }
        }
        let first = steps_back?;
        // Of those that it stepped back for none could start: others are before them.
        self.pick_singly(&order, &paced).or(Some((first, true)))
    }

    /// The first that fits, where each that would borrow is asked whether it is in somebody's way: one that stepped back only
    /// since another did may be who keeps the one from starting for whom that was.
    fn pick_singly(&self, order: &[Ranked], paced: &[(usize, bool)]) -> Option<(usize, bool)> {
        let mut promised = Promised::default();
        let mut looked_at = 0;
        for (at, (_, ix, fits)) in order.iter().enumerate() {
            let class = &self.state.classes[*ix];
            match fits.map(|_| self.fits_beside(class, &promised)) {
                Some(Fit::Yes { borrowed: true }) => {
                    looked_at += paced.len() + order.len() - at;
                    if looked_at > PAIRS {
                        return None;
                    }
                    let some = fit_in(&order[at + 1..]).chain(paced.iter().copied());
                    if !self.is_in_the_way(class, some, &promised) {
                        return Some((*ix, true));
                    }
                }
                Some(Fit::Yes { borrowed: false }) => return Some((*ix, false)),
                Some(Fit::No { .. }) | None => self.promise(class, &mut promised),
            }
        }
        None
    }

    /// Whether a class fits beside what is kept for others.
    fn fits_beside(&self, class: &Class, promised: &Promised) -> Fit {
        match self.check(class, promised).fits() {
            // Who borrows nothing is not held up by borrowers. It is seldom that this has to be asked.
            Fit::No { first } if promised.lends() && first.is_turn() => {
                self.check_as_it_is(class, promised).fits()
            }
            fit => fit,
        }
    }

    /// Whether a class that borrows would take from one of those what that one could have within its limits. Who is under
    /// all quotas that lend has no better right to the loan. On budgets the order holds: they are not lent.
    fn is_in_the_way(
        &self,
        class: &Class,
        behind: impl Iterator<Item = (usize, bool)>,
        promised: &Promised,
    ) -> bool {
        let state = self.state;
        let lenders = self.check(class, &self.nothing).lenders();
        let wants_the_same = |(ix, _): &(usize, bool)| {
            let theirs = &state.classes[*ix];
            let of_the_same = |r: &u16| class.ask.iter().any(|(own, _)| own == r);
            theirs.ask.iter().any(|(r, _)| of_the_same(r))
                && !lenders.are_among(&state.seats[theirs.seat as usize].buckets)
        };
        let mut behind = behind.filter(wants_the_same).peekable();
        if behind.peek().is_none() {
            return false;
        }
        let seat = &state.seats[class.seat as usize];
        let mut before = promised.clone();
        for b in &seat.buckets {
            self.promise_budgets(class, *b, false, &[], &mut before);
        }
        let mut after = before.clone();
        after.keep(&Lenders::default(), |needs| {
            for b in &seat.buckets {
                needs.add_in_bucket(*b, &class.ask);
            }
            needs.add_on_cluster(seat.cluster, &class.ask);
        });
        // Above its limits only by what others were lent, it has the same right as who is so, too. That takes a walk over
        // all that run to find: it is asked last.
        let entitled = OnceCell::new();
        let has_better = |theirs: &Class, borrowed: bool| {
            !borrowed
                || (!*entitled.get_or_init(|| self.is_entitled(class)) && self.is_entitled(theirs))
        };
        behind.any(|(ix, _)| {
            let theirs = &state.classes[ix];
            match self.fits_beside(theirs, &before) {
                Fit::Yes { borrowed } => {
                    matches!(self.fits_beside(theirs, &after), Fit::No { .. })
                        && has_better(theirs, borrowed)
                }
                Fit::No { .. } => false,
            }
        })
    }

    /// Keeps what one that steps back needs from those who have no better right to it.
    fn keep_place(&self, class: &Class, promised: &mut Promised) {
        let seat = &self.state.seats[class.seat as usize];
        for b in &seat.buckets {
            self.promise_budgets(class, *b, false, &[], promised);
        }
        let lenders = self.check(class, &self.nothing).lenders();
        promised.keep(&lenders, |needs| {
            for b in &seat.buckets {
                needs.add_in_bucket(*b, &class.ask);
            }
            needs.add_on_cluster(seat.cluster, &class.ask);
        });
    }

    fn head<'b>(&'b self, class: &Class) -> Option<&'b Job> {
        let ix = class.members.values().next()?;
        Some(&self.state.slot_at(*ix)?.job)
    }

    /// Whether the first of a class has waited so long that nobody may pass it.
    pub(super) fn has_waited(&self, class: &Class) -> bool {
        let bound = self.state.policy().queue.pass_bound;
        self.head(class)
            .is_some_and(|job| self.moment.now.since(job.passed_since()) >= bound)
    }

    pub(super) fn is_in_a_budget(&self, class: &Class) -> bool {
        let seat = &self.state.seats[class.seat as usize];
        seat.buckets.iter().any(|b| {
            let bucket = &self.state.buckets[*b as usize];
            asks_of_a_budget(&self.state.rules[bucket.quota], &class.ask)
        })
    }

    /// Counts what a job that does not start now needs as held: of budgets; if it has waited the bound, of all else as
    /// well, from the inside out. What can never fit, by whichever limit, keeps nothing from others.
    pub(super) fn promise(&self, class: &Class, promised: &mut Promised) {
        self.promise_as(class, &self.check(class, &self.nothing), promised);
    }

    /// The same as this check sees it.
    pub(super) fn promise_as(&self, class: &Class, check: &Check<'_>, promised: &mut Promised) {
        let hits = check.all();
        if hits.iter().any(|h| h.alone) {
            return;
        }
        let waited = self.has_waited(class);
        let time = hits.iter().any(|h| matches!(h.kind, Kind::Budget(_)));
        let in_private = hits
            .iter()
            .any(|h| matches!(h.place, Place::Bucket(b) if self.is_private(b)));
        let in_quota = hits.iter().any(|h| matches!(h.place, Place::Bucket(_)));
        let seat = &self.state.seats[class.seat as usize];
        let is_kept = |b: &&u32| !in_private || self.is_private(**b);
        let kept: Vec<u32> = seat.buckets.iter().filter(is_kept).copied().collect();
        for b in &kept {
            self.promise_budgets(class, *b, waited, &hits, promised);
        }
        if !waited {
            return;
        }
        promised.keep(&self.lenders_as(class, check), |needs| {
            for b in kept.iter().filter(|_| !time) {
                needs.add_in_bucket(*b, &class.ask);
            }
            if !in_quota {
                needs.add_on_cluster(seat.cluster, &class.ask);
            }
        });
    }

    /// Of the budgets of a bucket. One that stops the job now is reset before it starts, whoever uses what is left until
    /// then; but one that rolls only gains what others leave.
    pub(super) fn promise_budgets(
        &self,
        class: &Class,
        b: u32,
        waited: bool,
        hits: &[Hit],
        promised: &mut Promised,
    ) {
        let bucket = &self.state.buckets[b as usize];
        let rule = &self.state.rules[bucket.quota];
        for (at, ((r, _), meter)) in rule.budgets.iter().zip(&bucket.meters).enumerate() {
            let Some((_, amount)) = class.ask.iter().find(|(a, _)| a == r) else {
                continue;
            };
            let here = |h: &Hit| h.place == Place::Bucket(b) && h.kind == Kind::Budget(at);
            if hits.iter().any(here) && !(waited && meter.rolls()) {
                continue;
            }
            let now = self.moment.now;
            let reading = self.readings.get(b, at, meter, now);
            let asked = reading.would_add(now, *amount, class.duration);
            promised.keep_budget(b, at, asked);
        }
    }

    /// When a job that only a budget stops may next be within it: that may be before a new period begins. Of many classes
    /// only the first are asked; the others start when somebody looks at the queue for another reason, a new period at the
    /// latest.
    fn next_in_budget(&self) -> Option<Timestamp> {
        let classes = self.state.classes.iter();
        let asked = classes.filter(|c| c.duration.is_some() && self.is_in_a_budget(c));
        asked
            .take(LOOKED_AT)
            .filter_map(|class| {
                let hits = self.check(class, &self.nothing).all();
                let times = hits.iter().map(|h| self.fits_in_budget(class, h));
                times.collect::<Option<Vec<_>>>()?.into_iter().max()
            })
            .filter(|at| *at > self.moment.now)
            .min()
    }

    fn fits_in_budget(&self, class: &Class, hit: &Hit) -> Option<Timestamp> {
        let (Place::Bucket(b), Kind::Budget(at), false) = (hit.place, hit.kind, hit.alone) else {
            return None;
        };
        let bucket = &self.state.buckets[b as usize];
        let (r, limit) = self.state.rules[bucket.quota].budgets.get(at)?;
        let (_, amount) = class.ask.iter().find(|(of, _)| of == r)?;
        let meter = bucket.meters.get(at).filter(|m| !m.rolls())?;
        meter.fits_at(self.moment.now, *amount, class.duration, *limit)
    }

    /// The places of all that wait for a cluster.
    fn places(&mut self, classes: &[&Class], by_number: &mut HashMap<u64, Position>) {
        let of = classes.iter().map(|c| c.members.len()).sum();
        // The first of a class may go before its place, but those behind it do not.
        let mut first: Vec<Order> = Vec::new();
        for class in classes {
            if self.has_waited(class) {
                first.push(self.order(class));
            }
        }
        first.sort_unstable();
        let first: Vec<u64> = first.into_iter().map(|(_, _, (_, _, seq))| seq).collect();
        let before: HashSet<u64> = first.iter().copied().collect();
        let mut rest: Vec<(Reverse<i32>, Vec<u64>, usize)> = classes
            .iter()
            .enumerate()
            .map(|(ix, class)| {
                let (priority, path, _) = self.place(class);
                (priority, path, ix)
            })
            .collect();
        rest.sort_unstable();
        let mut ahead = 0;
        let mut put = |seqs: &[u64]| {
            let places = seqs.iter().zip(ahead + 1..);
            by_number.extend(places.map(|(seq, position)| (*seq, Position { position, of })));
            ahead += seqs.len();
        };
        put(&first);
        // Among classes that are alike in priority and share, age decides.
        for alike in rest.chunk_by(|a, b| (&a.0, &a.1) == (&b.0, &b.1)) {
            let mut ages: Vec<u64> = alike
                .iter()
                .flat_map(|(_, _, ix)| classes[*ix].members.keys().copied())
                .filter(|seq| !before.contains(seq))
                .collect();
            ages.sort_unstable();
            put(&ages);
        }
    }

    /// The place of somebody in the whole order.
    fn order_of(&mut self, comer: &Comer<'_>) -> Order {
        let first = |c: &&Class| {
            comer
                .waits
                .is_some_and(|j| c.members.keys().next() == Some(&j.seq))
        };
        if let Some(class) = self.state.classes.iter().find(first) {
            return self.order(class);
        }
        let nodes = self.state.known_path(comer.subject);
        let path = nodes.iter().map(|n| n.map_or(0, |n| self.share(n)));
        let path = path.collect();
        let age = comer.waits.map_or(u64::MAX, |j| j.seq);
        (true, Timestamp(0), (Reverse(comer.priority), path, age))
    }

    /// The place of the first of a class in the whole order.
    pub(super) fn order(&mut self, class: &Class) -> Order {
        let since = self
            .has_waited(class)
            .then(|| self.head(class).map(Job::passed_since))
            .flatten();
        match since {
            Some(since) => {
                let age = class.members.keys().next().copied().unwrap_or(u64::MAX);
                (false, since, (Reverse(0), Vec::new(), age))
            }
            None => (true, Timestamp(0), self.place(class)),
        }
    }

    /// A class's place in the order.
    fn place(&mut self, class: &Class) -> Place4 {
        let nodes = &self.state.seats[class.seat as usize].nodes;
        let path = nodes.iter().map(|n| self.share(*n)).collect();
        let age = class.members.keys().next().copied().unwrap_or(u64::MAX);
        (Reverse(class.priority), path, age)
    }

    /// A node's dominant share.
    fn share(&mut self, n: u32) -> u64 {
        if let Some(share) = self.shares.get(&n) {
            return *share;
        }
        let node = &self.state.nodes[n as usize];
        let half_life = self.state.policy().queue.half_life;
        let share = node
            .usage
            .iter()
            .enumerate()
            .filter_map(|(ix, u)| Some((ResIx::try_from(ix).ok()?, u)))
            .filter_map(|(ix, u)| {
                let capacity = self.total_capacity(ix)?;
                let mut u = *u;
                if let Some(ended) = self.ended.get(&(n, ix)) {
                    u.change(self.moment.now, half_life, u.held.saturating_sub(*ended));
                }
                Some(u.share(self.moment.now, half_life, capacity, node.weight))
            })
            .max()
            .unwrap_or(0);
        self.shares.insert(n, share);
        share
    }

    /// What all clusters have of a resource; `None` when none is known to have it.
    fn total_capacity(&self, r: ResIx) -> Option<u64> {
        let sum = self
            .state
            .clusters()
            .filter_map(|c| c.capacity.get(r))
            .fold(0u64, u64::saturating_add);
        (sum > 0).then_some(sum)
    }
}

/// Where a waiting job stands among those of its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub position: usize,
    /// Of so many.
    pub of: usize,
}

/// The position of a waiting job in the order of its cluster's queue.
#[must_use]
pub fn position(state: &State, moment: &Moment, job: &Job) -> Option<Position> {
    if !job.is_queued() {
        return None;
    }
    let (_, slot) = state.slot(&job.new.id)?;
    let cluster = state.seats[slot.seat as usize].cluster;
    let mut look = Look::new(state, moment);
    let seat = &state.seats[slot.seat as usize];
    let comer = Comer {
        seat,
        subject: &job.new.subject,
        ask: &slot.ask,
        priority: job.new.priority,
        waits: Some(job),
    };
    let mine = look.order_of(&comer);
    let path: Vec<u64> = seat.nodes.iter().map(|n| look.share(*n)).collect();
    let place: Place4 = (Reverse(job.new.priority), path, job.seq);
    let here = |c: &&Class| state.seats[c.seat as usize].cluster == cluster;
    let (mut ahead, mut of) = (0, 0);
    for class in state.classes.iter().filter(here) {
        of += class.members.len();
        let first = look.order(class);
        // The first of a class may go before its place, but those behind it do not.
        ahead += usize::from(first < mine);
        if !mine.0 {
            continue;
        }
        let theirs = look.place(class);
        ahead += match (&theirs.0, &theirs.1).cmp(&(&place.0, &place.1)) {
            std::cmp::Ordering::Less => class.members.len() - 1,
            std::cmp::Ordering::Equal => {
                let older = class.members.range(..place.2).count();
                older.saturating_sub(1)
            }
            std::cmp::Ordering::Greater => 0,
        };
    }
    Some(Position {
        position: ahead + 1,
        of,
    })
}

/// The places of all waiting jobs, each among those of its cluster, found in one walk.
#[derive(Clone, Debug)]
pub struct Places {
    by_number: HashMap<u64, Position>,
}

impl Places {
    /// Looks at all that wait.
    #[must_use]
    pub fn of(state: &State, moment: &Moment) -> Places {
        let mut look = Look::new(state, moment);
        let mut by_number = HashMap::with_capacity(state.queued_count());
        let mut clusters: BTreeMap<u32, Vec<&Class>> = BTreeMap::new();
        for class in &state.classes {
            let cluster = state.seats[class.seat as usize].cluster;
            clusters.entry(cluster).or_default().push(class);
        }
        for classes in clusters.into_values() {
            look.places(&classes, &mut by_number);
        }
        Places { by_number }
    }

    /// The place of a job; `None` when it did not wait.
    #[must_use]
    pub fn get(&self, job: &Job) -> Option<Position> {
        let place = self.by_number.get(&job.seq).copied();
        place.filter(|_| job.is_queued())
    }
}

/// Who waits and goes before a job that comes now.
pub(crate) enum Ahead {
    /// Nobody that it could be in the way of.
    Nobody,
    /// Some, for whom this is kept.
    Some(Box<Promised>),
    /// More than are looked at: it has to be put in the order with them.
    Many,
}

/// Somebody who is to be put in the order: one who comes now, or one who waits.
pub(crate) struct Comer<'a> {
    pub(crate) seat: &'a Seat,
    pub(crate) subject: &'a Subject,
    pub(crate) ask: &'a [(ResIx, u64)],
    pub(crate) priority: i32,
    /// Of one who waits: the job.
    pub(crate) waits: Option<&'a Job>,
}

/// Who waits and goes before somebody: those that have waited the bound for what it would take, and those before it in the
/// order that need of a budget what it would use.
pub(crate) fn ahead(state: &State, moment: &Moment, comer: &Comer<'_>) -> Ahead {
    let mut look = Look::new(state, moment);
    let (seat, ask) = (comer.seat, comer.ask);
    let mine = look.order_of(comer);
    // Buckets that would be made for it hold nobody.
    let there: Vec<u32> = seat
        .buckets
        .iter()
        .copied()
        .filter(|b| state.buckets.get(*b as usize).is_some_and(|b| b.queued > 0))
        .collect();
    let budgets: Vec<u32> = there
        .iter()
        .copied()
        .filter(|b| asks_of_a_budget(&state.rules[state.buckets[*b as usize].quota], ask))
        .collect();
    let matters = |class: &&Class| {
        let theirs = &state.seats[class.seat as usize];
        let shares = |buckets: &[u32]| theirs.buckets.iter().any(|b| buckets.contains(b));
        shares(&budgets)
            || (look.has_waited(class) && (theirs.cluster == seat.cluster || shares(&there)))
    };
    let all: Vec<&Class> = state
        .classes
        .iter()
        .filter(matters)
        .take(LOOKED_AT + 1)
        .collect();
    if all.len() > LOOKED_AT {
        return Ahead::Many;
    }
    let mut promised = Promised::default();
    for class in all {
        if look.order(class) < mine {
            look.promise(class, &mut promised);
        }
    }
    if promised.is_empty() {
        Ahead::Nobody
    } else {
        Ahead::Some(Box::new(promised))
    }
}

/// What is lacking of a cluster, or of all of them.
fn by_cluster(h: &Hit) -> Option<ResIx> {
    match h.kind {
        Kind::Capacity(r) | Kind::Guarantee(r) if !h.alone => Some(r),
        _ => None,
    }
}

/// What is lacking of a bucket.
fn by_bucket(h: &Hit) -> Option<(u32, ResIx)> {
    match (h.place, h.kind) {
        (Place::Bucket(b), Kind::Concurrent(r)) if !h.alone => Some((b, r)),
        _ => None,
    }
}

/// Those that fit while nothing is kept for others, and whether they borrow.
fn fit_in(order: &[Ranked]) -> impl Iterator<Item = (usize, bool)> {
    order
        .iter()
        .filter_map(|(_, ix, fits)| Some((*ix, (*fits)?)))
}

fn asks_of_a_budget(rule: &Rule, ask: &[(ResIx, u64)]) -> bool {
    let mut budgets = rule.budgets.iter();
    budgets.any(|(r, _)| ask.iter().any(|(a, _)| a == r))
}

/// When time alone may next change what can start: a window, a budget's period, an override's end, the passing bound, what
/// was lent being taken back.
#[must_use]
pub fn next_change(state: &State, moment: &Moment) -> Option<Timestamp> {
    let after = |t: Timestamp| (t > moment.now).then_some(t);
    let calendar = after(moment.calendar.until).filter(|t| t.0 < i64::MAX);
    let overrides = state.overrides().filter_map(|o| after(o.until)).min();
    let budgets = state
        .buckets
        .iter()
        .flat_map(|b| &b.meters)
        .filter_map(|m| after(m.resets(moment.now)))
        .min();
    let look = Look::new(state, moment);
    let bound = state
        .classes
        .iter()
        .filter_map(|class| look.head(class))
        .filter_map(|job| after(job.passed_since().after(state.policy().queue.pass_bound)))
        .min();
    let reclaimed = next_reclaim(&look);
    let overdue = look.next_overdue_stop();
    let fits = look.next_in_budget();
    [
        calendar, overrides, budgets, bound, reclaimed, overdue, fits,
    ]
    .into_iter()
    .flatten()
    .min()
}
