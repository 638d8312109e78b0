//! Playing the queue ahead: whether somebody starts once some jobs are over.
//!
//! Whom a loan is taken back for is found by what is held and what is kept. What the queue will do then is another matter:
//! each start moves the shares, and with them the order, and what fits beside it. So before a loan is stopped the queue is
//! run as it will be, on a copy, by the code that will run it.

use super::moment::{Gate, Moment};
use super::queue::Look;
use crate::ledger::{Class, Event, Outcome, Recorded, ResIx, Seat, Slot, State};
use crate::subject::JobId;

/// With more jobs open than this the queue is not played ahead.
const MOST_OPEN: usize = 400;

/// So many starts are played.
const STARTS: usize = 64;

/// So many classes are looked at, over all starts.
const LOOKS: usize = 10_000;

/// So often the queue is played in one look at it: whoever owns the ledger waits for it.
const PLAYS: usize = 16;

impl Look<'_> {
    /// Whether a job that waits is started within its limits once these are over, and after what starts then these as well,
    /// if nobody comes; `None` where too much is open to say. Whoever is paced counts as one who may start.
    pub(super) fn starts_after(&self, id: &JobId, over: [Vec<&JobId>; 2]) -> Option<bool> {
        let plays = self.plays.get();
        if self.moment.foreseen || plays >= PLAYS {
            return None;
        }
        self.plays.set(plays + 1);
        let (mut then, known) = self.state.open_only(MOST_OPEN)?;
        let mut moment = self.moment.alone();
        moment.gates.retain(|_, gate| *gate == Gate::Down);
        let (mut starts, mut looks) = (known.unwrap_or(STARTS).min(STARTS), LOOKS);
        for over in over {
            for id in over {
                end(&mut then, self.moment, id);
            }
            loop {
                looks = looks.checked_sub(then.classes.len())?;
                let mut look = Look::of_next(&then, &moment);
                let Some((ix, event)) = look.start() else {
                    break;
                };
                if starts_it(&event, id) {
                    return Some(look.is_within_besides_loans(&then.classes[ix]));
                }
                starts = starts.checked_sub(1)?;
                record(&mut then, &moment, event);
            }
        }
        Some(false)
    }

    /// Whether a class is within all its limits when what others were lent is not counted, by quotas that do not lend to it
    /// too: those before it may have taken what was free within them.
    fn is_within_besides_loans(&self, class: &Class) -> bool {
        let seat = &self.state.seats[class.seat as usize];
        seat.buckets.iter().all(|b| {
            let mut ask = class.ask.iter();
            ask.all(|(r, asked)| {
                let Some((_, limit)) = self.held_and_limit(*b, *r) else {
                    return true;
                };
                let counted = self.besides_loans(seat, *b, *r);
                u128::from(counted).saturating_add(u128::from(*asked)) <= limit
            })
        })
    }

    fn besides_loans(&self, seat: &Seat, b: u32, r: ResIx) -> u64 {
        let holders = self.state.buckets[b as usize].holders.iter();
        let slots = holders.filter_map(|(_, ix)| self.state.slot_at(*ix));
        slots
            .filter(|slot| !self.was_lent_by_others(slot, seat))
            .flat_map(|slot| slot.ask.iter())
            .filter(|(of, _)| *of == r)
            .fold(0, |sum, (_, a)| sum.saturating_add(*a))
    }

    /// Whether a job was lent something by a bucket in which those in a seat are not.
    fn was_lent_by_others(&self, slot: &Slot, seat: &Seat) -> bool {
        let Some(grant) = slot.job.grant().filter(|g| g.borrowed) else {
            return false;
        };
        let theirs = &self.state.seats[slot.seat as usize].buckets;
        let others = theirs.iter().filter(|b| !seat.buckets.contains(b));
        let mut names = others.map(|b| {
            let quota = self.state.buckets[*b as usize].quota;
            &self.state.rules[quota].name
        });
        names.any(|name| grant.lent_by.contains(name))
    }
}

fn starts_it(event: &Event, id: &JobId) -> bool {
    matches!(event, Event::Granted { id: started, .. } if started == id)
}

fn end(state: &mut State, moment: &Moment, id: &JobId) {
    let ended = Event::Ended {
        id: id.clone(),
        outcome: Outcome::Stopped,
        message: String::new(),
        exit_code: None,
        ran: None,
    };
    record(state, moment, ended);
}

fn record(state: &mut State, moment: &Moment, event: Event) {
    let rec = Recorded {
        seq: state.seq() + 1,
        at: moment.now,
        event,
    };
    state.apply(&rec);
}
