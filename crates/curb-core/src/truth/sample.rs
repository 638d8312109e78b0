//! One look at what a Ray cluster's scheduler says: who is there, and what each holds.
//!
//! A sample is what Ray said and no more. What can be concluded from it is in [`super::account`].

use std::collections::BTreeMap;

use crate::amount::{Amount, MAX_AMOUNT, MILLI, Unit};
use crate::resource::{Resource, Resources};

/// Ray counts in ten-thousandths of a resource (its `fixed_point.h`), finer than a policy's thousandths: a thousand actors
/// of 0.0001 CPU are a tenth of a CPU and not a whole one, hence sums are made at Ray's grain.
pub const GRAIN: u128 = 10_000;

/// An amount at Ray's grain: ten-thousandths of a counted thing, or of a byte of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grains(pub u128);

/// Amounts of several resources at Ray's grain. None of it is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held(BTreeMap<Resource, Grains>);

impl Held {
    /// Nothing.
    pub const NOTHING: Held = Held(BTreeMap::new());

    /// Adds `amount` of `resource`.
    pub fn add(&mut self, resource: Resource, amount: Grains) {
        if amount.0 > 0 {
            let sum = self.0.entry(resource).or_default();
            sum.0 = sum.0.saturating_add(amount.0);
        }
    }

    /// Adds all of `other`.
    pub fn add_all(&mut self, other: &Held) {
        for (resource, amount) in &other.0 {
            match self.0.get_mut(resource) {
                Some(sum) => sum.0 = sum.0.saturating_add(amount.0),
                None => {
                    self.0.insert(resource.clone(), *amount);
                }
            }
        }
    }

    /// What is in `self` beyond `other`, resource by resource; never below zero.
    #[must_use]
    pub fn beyond(&self, other: &Held) -> Held {
        let more = |(resource, amount): (&Resource, &Grains)| {
            let rest = amount.0.saturating_sub(other.get(resource).0);
            (rest > 0).then(|| (resource.clone(), Grains(rest)))
        };
        Held(self.0.iter().filter_map(more).collect())
    }

    /// How much of `resource`.
    #[must_use]
    pub fn get(&self, resource: &Resource) -> Grains {
        self.0.get(resource).copied().unwrap_or_default()
    }

    /// In a policy's own grain. `up`: to the next larger whole unit of it, for a bound from above.
    #[must_use]
    pub fn amounts(&self, up: bool) -> Resources {
        let mut all = Resources::default();
        for (resource, amount) in &self.0 {
            let unit = match resource.unit() {
                Unit::Milli => GRAIN / u128::from(MILLI),
                Unit::Bytes => GRAIN,
            };
            let whole = if up {
                amount.0.div_ceil(unit)
            } else {
                amount.0 / unit
            };
            let amount = Amount(u64::try_from(whole).map_or(MAX_AMOUNT, |n| n.min(MAX_AMOUNT)));
            if amount > Amount::ZERO {
                all.set(resource.clone(), amount);
            }
        }
        all
    }

    /// Whether it is nothing.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// Resource by resource, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&Resource, Grains)> {
        self.0.iter().map(|(resource, amount)| (resource, *amount))
    }
}

impl FromIterator<(Resource, Grains)> for Held {
    fn from_iter<I: IntoIterator<Item = (Resource, Grains)>>(all: I) -> Held {
        let mut held = Held::default();
        for (resource, amount) in all {
            held.add(resource, amount);
        }
        held
    }
}

/// Ray's number of a driver, its "job" (4 bytes; `01000000` in text). Not the id of a submission: one submission has any
/// number of drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DriverId(pub [u8; 4]);

impl DriverId {
    /// Nobody's: of a worker that was started before anybody asked for one.
    pub const NIL: DriverId = DriverId([0xff; 4]);
}

/// Ray's id of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 28]);

/// Ray's id of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub [u8; 24]);

/// Ray's id of an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActorId(pub [u8; 16]);

macro_rules! hex_text {
    ($($id:ident),*) => {$(
        impl std::fmt::Display for $id {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    )*};
}
hex_text!(DriverId, NodeId, TaskId, ActorId);

/// A node that takes work, or may again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Ray's id.
    pub id: NodeId,
    /// Its address. Two nodes may have one.
    pub address: String,
    /// What it has in all.
    pub total: Held,
    /// What of it is not held.
    pub available: Held,
}

/// A program that has joined the cluster, as Ray's table of jobs has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// Ray's number of it.
    pub id: DriverId,
    /// Whether it still runs.
    pub alive: bool,
    /// The address of the host where it runs.
    pub address: String,
    /// Its process there.
    pub pid: u32,
    /// The submission that it says it belongs to. **Its own word**: it can say any, or none.
    pub claims: Option<String>,
    /// The command, as it says.
    pub entrypoint: String,
}

/// In which state of its life an actor is, as far as it matters for what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Waits for its resources: holds nothing.
    Waiting,
    /// Lives: holds what it requires.
    Alive,
    /// Is started again: holds nothing until it lives.
    Restarting,
}

/// An actor that has not died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Ray's id.
    pub id: ActorId,
    /// The driver that made it.
    pub driver: DriverId,
    /// Its state.
    pub life: Life,
    /// Its name, if it has one.
    pub name: String,
    /// The name space of its name.
    pub namespace: String,
    /// Where it lives.
    pub node: Option<NodeId>,
    /// Its process there.
    pub pid: u32,
    /// Whether it outlives its driver.
    pub detached: bool,
    /// Whether it lives inside of a placement group, which holds for it.
    pub in_group: bool,
    /// What it holds while it lives.
    pub required: Held,
}

/// A reservation of several bundles of resources at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The driver that made it.
    pub driver: DriverId,
    /// Whether it outlives its driver.
    pub detached: bool,
    /// What it holds, and where. A bundle without a node waits.
    pub bundles: Vec<(Option<NodeId>, Held)>,
}

/// A task that Ray says runs and that is no actor's. It may wait for another's result: Ray gives its CPUs to others meanwhile
/// and says of it that it runs all the same (seen with Ray 2.60: `state` stays `RUNNING` in `ray.get`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Ray's id.
    pub id: TaskId,
    /// The task that called it. One that the driver itself called has the driver's, which is in no list.
    pub parent: TaskId,
    /// The driver that it belongs to.
    pub driver: DriverId,
    /// Where it runs.
    pub node: Option<NodeId>,
    /// Its worker's process there, as that says.
    pub pid: Option<u32>,
    /// Whether it runs inside of a placement group.
    pub in_group: bool,
    /// Whether it makes an actor: it holds what the actor will hold, until that lives.
    pub makes_actor: bool,
    /// What it holds while it runs.
    pub required: Held,
}

/// Work that nobody has taken yet, of all drivers together: Ray does not say whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// What one piece asks for.
    pub shape: Held,
    /// How many of it.
    pub count: u64,
}

/// What a sample does not have: why its sums may be short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Events about tasks that workers dropped since they started, by Ray's own count.
    pub dropped_events: u64,
    /// Rows that were there and beyond the bound of the answer.
    pub cut: u64,
    /// Rows that could not be read: another version of Ray.
    pub unreadable: u64,
}

/// What the scheduler said at one moment, or nearly: the answers are a few milliseconds apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// The cluster's id by its control store. Another one is another cluster, or this one without its memory.
    pub cluster: Vec<u8>,
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// Its drivers, those that have ended too.
    pub drivers: Vec<Driver>,
    /// Actors that have not died.
    pub actors: Vec<Actor>,
    /// Placement groups that hold or wait.
    pub groups: Vec<Group>,
    /// Running tasks.
    pub tasks: Vec<Task>,
    /// Work that waits.
    pub demand: Vec<Demand>,
    /// What is missing.
    pub gaps: Gaps,
}
