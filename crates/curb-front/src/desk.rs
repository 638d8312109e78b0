//! Who may run, who waits, and who comes next. Pure.
//!
//! Everybody who is here has a place: arriving (the body is still being read), waiting, or running. Places are bounded in
//! all and for each client. Of those who wait, the client with the fewest running comes next, then the one who started
//! something the longest ago; within a client it is first in, first out. So one client that asks for much waits behind its
//! own requests, not in front of another's.
//!
//! Who may have killed the server runs *alone*: it begins when nobody else runs, and nobody begins until it has left.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// How many may be here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Most that run at once.
    pub in_flight: usize,
    /// Most that arrive or wait beside them.
    pub queue: usize,
    /// Most places of one client, running ones included.
    pub per_client: usize,
}

/// A place at the desk. Never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u64);

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// All places are taken.
    Queue,
    /// This client has all that it may have.
    Client,
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It runs from now on.
    Run(Place),
    /// It ran already and waited for all others to leave: now it is alone.
    Alone(Place),
}

/// Whether one who runs is alone from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Solitude {
    /// It is.
    Now,
    /// It will be told ([`Turn::Alone`]).
    Later,
    /// Another is alone, or waits to be; or it does not run (any more).
    Taken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Arriving,
    Waiting { alone: bool },
    Running,
}

#[derive(Debug, Default)]
struct Seat {
    places: usize,
    running: usize,
    /// When it started something last, in starts; 0 is never.
    last_start: u64,
    waiting: VecDeque<Place>,
}

/// The desk, for clients that are told apart by `C`.
#[derive(Debug)]
pub struct Desk<C> {
    room: Room,
    places: HashMap<Place, (C, Stage)>,
    /// Only of clients that are here.
    clients: HashMap<C, Seat>,
    given: u64,
    starts: u64,
    running: usize,
    waiting: usize,
    alone: Option<Place>,
    wants_alone: Option<Place>,
    closed: bool,
}

impl<C: Copy + Eq + Hash> Desk<C> {
    /// An empty one. `closed`: nobody begins until [`Desk::close`] says otherwise.
    pub fn new(room: Room, closed: bool) -> Self {
        Self {
            room,
            places: HashMap::new(),
            clients: HashMap::new(),
            given: 0,
            starts: 0,
            running: 0,
            waiting: 0,
            alone: None,
            wants_alone: None,
            closed,
        }
    }

    /// Gives a place to one who arrives.
    ///
    /// # Errors
    /// There is none.
    pub fn enter(&mut self, client: C) -> Result<Place, Full> {
        let of_client = self.clients.get(&client).map_or(0, |seat| seat.places);
        if of_client >= self.room.per_client {
            return Err(Full::Client);
        }
        if self.places.len() >= self.room.in_flight + self.room.queue {
            return Err(Full::Queue);
        }
        self.given += 1;
        let place = Place(self.given);
        self.places.insert(place, (client, Stage::Arriving));
        self.clients.entry(client).or_default().places += 1;
        Ok(place)
    }

    /// One who arrived waits for its turn from now on; `alone`: and will have nobody beside it.
    pub fn wait(&mut self, place: Place, alone: bool) {
        let Some((client, stage)) = self.places.get_mut(&place) else {
            return;
        };
        if *stage != Stage::Arriving {
            return;
        }
        *stage = Stage::Waiting { alone };
        self.waiting += 1;
        if let Some(seat) = self.clients.get_mut(client) {
            seat.waiting.push_back(place);
        }
    }

    /// One who runs finds that it should be alone.
    pub fn seclude(&mut self, place: Place) -> Solitude {
        if !matches!(self.places.get(&place), Some((_, Stage::Running))) {
            return Solitude::Taken;
        }
        if self.alone == Some(place) {
            return Solitude::Now;
        }
        if self.alone.is_some() || self.wants_alone.is_some_and(|other| other != place) {
            return Solitude::Taken;
        }
        if self.running <= 1 {
            self.alone = Some(place);
            return Solitude::Now;
        }
        self.wants_alone = Some(place);
        Solitude::Later
    }

    /// Who comes next, if somebody does: to be asked until it says `None`.
    pub fn call_next(&mut self) -> Option<Turn> {
        if let Some(place) = self.wants_alone {
            if self.running > 1 {
                return None;
            }
            self.wants_alone = None;
            self.alone = Some(place);
            return Some(Turn::Alone(place));
        }
        if self.closed || self.alone.is_some() || self.running >= self.room.in_flight {
            return None;
        }
        let (client, place) = self
            .clients
            .iter()
            .filter_map(|(client, seat)| {
                let first = *seat.waiting.front()?;
                Some(((seat.running, seat.last_start, first), (*client, first)))
            })
            .min_by_key(|(order, _)| *order)?
            .1;
        let (_, stage) = self.places.get_mut(&place)?;
        if *stage == (Stage::Waiting { alone: true }) {
            // Nobody overtakes it: else it would wait for ever where there is always somebody.
            if self.running > 0 {
                return None;
            }
            self.alone = Some(place);
        }
        *stage = Stage::Running;
        self.starts += 1;
        self.running += 1;
        self.waiting -= 1;
        if let Some(seat) = self.clients.get_mut(&client) {
            seat.waiting.pop_front();
            seat.running += 1;
            seat.last_start = self.starts;
        }
        Some(Turn::Run(place))
    }

    /// Gives a place back, wherever its holder was. Doing so twice changes nothing; gives whether it was there.
    pub fn leave(&mut self, place: Place) -> bool {
        let Some((client, stage)) = self.places.remove(&place) else {
            return false;
        };
        for mark in [&mut self.alone, &mut self.wants_alone] {
            if *mark == Some(place) {
                *mark = None;
            }
        }
        let Some(seat) = self.clients.get_mut(&client) else {
            return true;
        };
        match stage {
            Stage::Arriving => {}
            Stage::Waiting { .. } => {
                seat.waiting.retain(|other| *other != place);
                self.waiting -= 1;
            }
            Stage::Running => {
                seat.running -= 1;
                self.running -= 1;
            }
        }
        seat.places -= 1;
        if seat.places == 0 {
            self.clients.remove(&client);
        }
        true
    }

    /// Whether nobody begins for now.
    pub fn close(&mut self, closed: bool) {
        self.closed = closed;
    }

    /// All that wait, in no order.
    pub fn all_waiting(&self) -> Vec<Place> {
        let waiting = self.clients.values().flat_map(|seat| &seat.waiting);
        waiting.copied().collect()
    }

    /// How many run.
    pub fn running(&self) -> usize {
        self.running
    }

    /// How many wait for their turn; those who still arrive are not counted.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many are here.
    pub fn present(&self) -> usize {
        self.places.len()
    }

    /// How many clients are here.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;
