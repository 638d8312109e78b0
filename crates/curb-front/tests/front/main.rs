//! A front before a model server that misbehaves, over real sockets on loopback.

mod bounds;
mod client;
mod deaths;
mod leaving;
mod model;
mod passes;
mod states;
mod streams;
mod trust;
mod websocket;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use curb_front::{Counts, Front, FrontLimits, State};

use crate::model::{Model, PATIENCE};

fn limits(to: SocketAddr) -> FrontLimits {
    FrontLimits::new(SocketAddr::from(([127, 0, 0, 1], 0)), to)
}

/// A front before it, up, with what `change` makes of the defaults.
fn front(model: &Model, change: impl FnOnce(&mut FrontLimits)) -> Front {
    let mut limits = limits(model.at);
    change(&mut limits);
    let front = Front::start(limits).expect("it starts");
    front.state(State::Up);
    front
}

/// Looks until it is so.
#[track_caller]
fn until(front: &Front, what: &str, is_so: impl Fn(&Counts) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so(&front.counts()) {
        assert!(Instant::now() < end, "{what}: {:?}", front.counts());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Nothing is held for anybody.
#[track_caller]
fn is_idle(front: &Front) {
    until(front, "nobody is here", |counts| {
        (counts.in_flight, counts.queued, counts.present) == (0, 0, 0)
    });
}
