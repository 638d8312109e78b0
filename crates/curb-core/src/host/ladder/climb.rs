//! The ladder itself: from readings to orders.

use std::collections::BTreeMap;

use crate::host::Permille;
use crate::host::limits::{Action, Condition, Reach, Resource, Step};
use crate::time::Millis;

/// A condition that held goes on holding until the use has fallen this much of the limit below its mark: what swings
/// around the mark is one exceedance and not many.
pub const HYSTERESIS: Permille = Permille(50);
/// An exceedance is over when none of its conditions has held for so long.
pub const CALM: Millis = Millis(1000);
/// What the kernel counts as met is met for so long: it counts moments, we look ten times a second.
const MET_FOR: Millis = Millis(1000);

/// How much there is of what is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// Bytes, thousandths of a CPU, tasks, or milliseconds.
    pub used: u64,
    /// The limit in force, in the same unit.
    pub limit: u64,
    /// The limit was met since the last reading, or is now; by the kernel's own count where it has one.
    pub met: bool,
    /// Of memory: it only reads back what was taken from it at its limit.
    pub thrashing: bool,
}

/// What was read at one moment. What is not in it is not known: it neither begins nor ends anything.
pub type Reading = BTreeMap<Resource, Use>;

/// What was done about an exceedance, and how it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The step of the ladder, from 0.
    pub step: usize,
    /// The word for it in the file of limits.
    pub action: &'static str,
    /// What could not be done, and why.
    pub failed: Option<String>,
}

/// What the ladder wants done, or told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// An exceedance began.
    Begin {
        /// Its number: 1 and up.
        exceedance: u64,
        /// Of which limit.
        resource: Resource,
        /// What was read.
        what: Use,
    },
    /// A step is due.
    Act {
        /// Of which exceedance.
        exceedance: u64,
        /// Which step, from 0.
        step: usize,
        /// Of which limit.
        resource: Resource,
        /// What was read.
        what: Use,
        /// What to do.
        action: Action,
    },
    /// What a step did is to be undone: its exceedance is over.
    Undo {
        /// Of which exceedance.
        exceedance: u64,
        /// Which step, from 0.
        step: usize,
        /// What it did.
        action: Action,
    },
    /// An exceedance is over.
    End {
        /// Which.
        exceedance: u64,
        /// Of which limit.
        resource: Resource,
        /// The limit that was last in force: it may have been raised meanwhile.
        limit: u64,
        /// The most that was read meanwhile.
        peak: u64,
        /// From its beginning until now.
        lasted: Millis,
        /// What was done about it.
        done: Vec<Done>,
    },
}

/// The ladder of one workload while it runs.
#[derive(Clone, Debug)]
pub struct Ladder {
    steps: Vec<Rung>,
    open: BTreeMap<Resource, Open>,
    /// When each limit was last met.
    met: BTreeMap<Resource, Millis>,
    begun: u64,
    stopping: bool,
}

#[derive(Clone, Debug)]
struct Rung {
    step: Step,
    since: Option<Millis>,
}

#[derive(Clone, Debug)]
struct Open {
    number: u64,
    began: Millis,
    limit: u64,
    peak: u64,
    calm_since: Option<Millis>,
    /// The step that was taken last: none at or before it acts any more.
    taken: Option<usize>,
    /// The limit was raised since the last pause: whoever meets the new one as well may be paused again.
    raised: bool,
    /// A step that takes its time: no other begins before that.
    busy_until: Option<Millis>,
    done: Vec<Done>,
    undo: Vec<(usize, Action)>,
}

impl Ladder {
    /// A ladder of these steps, in this order.
    #[must_use]
    pub fn new(steps: Vec<Step>) -> Ladder {
        let rung = |step| Rung { step, since: None };
        Ladder {
            steps: steps.into_iter().map(rung).collect(),
            open: BTreeMap::new(),
            met: BTreeMap::new(),
            begun: 0,
            stopping: false,
        }
    }

    /// The same for the same workload started anew: the exceedances go on being counted.
    #[must_use]
    pub fn anew(&self) -> Ladder {
        let steps = self.steps.iter().map(|r| r.step.clone()).collect();
        Ladder {
            begun: self.begun,
            ..Ladder::new(steps)
        }
    }

    /// Takes in what was read, and says what to do, in order.
    pub fn read(&mut self, now: Millis, reading: &Reading) -> Vec<Order> {
        let mut orders = Vec::new();
        for (resource, what) in reading {
            if what.met {
                self.met.insert(*resource, now);
            }
            let holds = self.look(now, *resource, *what);
            match (self.open.contains_key(resource), holds) {
                (false, false) => {}
                (false, true) => orders.push(self.begin(now, *resource, *what)),
                (true, holds) => orders.extend(self.follow(now, *resource, *what, holds)),
            }
            orders.extend(self.climb(now, *resource, *what));
        }
        orders
    }

    /// Takes in what was read when nothing can be done any more: what began is told, and nothing is ordered.
    pub fn note(&mut self, now: Millis, reading: &Reading) -> Vec<Order> {
        let mut orders = Vec::new();
        for (resource, what) in reading {
            if what.met {
                self.met.insert(*resource, now);
            }
            if let Some(open) = self.open.get_mut(resource) {
                open.see(*what);
            } else if self.look(now, *resource, *what) {
                orders.push(self.begin(now, *resource, *what));
            }
        }
        orders
    }

    /// A step could not be done; the next ones are not held up by it.
    pub fn failed(&mut self, resource: Resource, step: usize, why: String) {
        if let Some(open) = self.open.get_mut(&resource) {
            open.busy_until = None;
            open.undo.retain(|(s, _)| *s != step);
            if let Some(done) = open.done.iter_mut().rfind(|d| d.step == step) {
                done.failed = Some(why);
            }
        }
    }

    /// A step that takes its time was done before that was over.
    pub fn finished(&mut self, resource: Resource) {
        if let Some(open) = self.open.get_mut(&resource) {
            open.busy_until = None;
        }
    }

    /// The limit was raised: what held of the old one is looked for anew. The exceedance goes on until nothing has held for
    /// its time, and its steps stay taken; only to pause, whoever meets the new limit as well may be paused again.
    pub fn raised(&mut self, resource: Resource) {
        self.met.remove(&resource);
        for rung in self
            .steps
            .iter_mut()
            .filter(|r| r.step.when.what == resource)
        {
            rung.since = None;
        }
        if let Some(open) = self.open.get_mut(&resource) {
            open.raised = true;
        }
    }

    /// Whether an exceedance of this limit is not over.
    #[must_use]
    pub fn is_open(&self, resource: Resource) -> bool {
        self.open.contains_key(&resource)
    }

    /// Whether something beyond a warning was done about an exceedance that is not over.
    #[must_use]
    pub fn is_over_limit(&self) -> bool {
        let mut done = self.open.values().flat_map(|o| &o.done);
        done.any(|d| d.action != Action::Warn.name())
    }

    /// Whether a stop was ordered.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// The processes have ended: so have all exceedances. There is nothing left to undo.
    pub fn close(&mut self, now: Millis) -> Vec<Order> {
        let open = std::mem::take(&mut self.open);
        let end = |(resource, open): (Resource, Open)| open.end(resource, now);
        open.into_iter().map(end).collect()
    }

    /// Whether any condition of the limit holds. That the limit itself was met counts without a step as well, but for a CPU
    /// quota: to be held back by it is what it is for.
    fn look(&mut self, now: Millis, resource: Resource, what: Use) -> bool {
        let met = self
            .met
            .get(&resource)
            .is_some_and(|at| now.0.saturating_sub(at.0) < MET_FOR.0);
        let mut any = met && resource != Resource::Cpu;
        for rung in &mut self.steps {
            if rung.step.when.what != resource {
                continue;
            }
            let held = rung.since.is_some();
            match holds(rung.step.when, what, met, held) {
                true => {
                    rung.since.get_or_insert(now);
                    any = true;
                }
                false => rung.since = None,
            }
        }
        any
    }

    fn begin(&mut self, now: Millis, resource: Resource, what: Use) -> Order {
        self.begun += 1;
        let open = Open {
            number: self.begun,
            began: now,
            limit: what.limit,
            peak: what.used,
            calm_since: None,
            taken: None,
            raised: false,
            busy_until: None,
            done: Vec::new(),
            undo: Vec::new(),
        };
        self.open.insert(resource, open);
        Order::Begin {
            exceedance: self.begun,
            resource,
            what,
        }
    }

    fn follow(&mut self, now: Millis, resource: Resource, what: Use, holds: bool) -> Vec<Order> {
        let Some(open) = self.open.get_mut(&resource) else {
            return Vec::new();
        };
        open.see(what);
        if holds {
            open.calm_since = None;
            return Vec::new();
        }
        let since = *open.calm_since.get_or_insert(now);
        if now.0.saturating_sub(since.0) < CALM.0 {
            return Vec::new();
        }
        let open = self.open.remove(&resource);
        open.map_or_else(Vec::new, |open| open.over(resource, now))
    }

    fn climb(&mut self, now: Millis, resource: Resource, what: Use) -> Vec<Order> {
        let mut orders = Vec::new();
        let Some(open) = self.open.get_mut(&resource) else {
            return orders;
        };
        for (step, rung) in self.steps.iter().enumerate() {
            let waits = open.busy_until.is_some_and(|until| now < until);
            if self.stopping || waits {
                break;
            }
            let again = open.raised && rung.step.action.is_a_pause();
            let later = again || open.taken.is_none_or(|taken| taken < step);
            let due = rung
                .since
                .is_some_and(|since| now.0.saturating_sub(since.0) >= rung.step.after.0);
            if rung.step.when.what != resource || !later || !due {
                continue;
            }
            open.take(step, now, &rung.step.action);
            self.stopping = matches!(rung.step.action, Action::Stop { .. });
            orders.push(Order::Act {
                exceedance: open.number,
                step,
                resource,
                what,
                action: rung.step.action.clone(),
            });
        }
        orders
    }
}

impl Open {
    fn see(&mut self, what: Use) {
        self.limit = what.limit;
        self.peak = self.peak.max(what.used);
    }

    fn take(&mut self, step: usize, now: Millis, action: &Action) {
        self.taken = self.taken.max(Some(step));
        if action.is_a_pause() {
            self.raised = false;
        }
        self.busy_until = match action {
            Action::Checkpoint { within, .. } => Some(Millis(now.0.saturating_add(within.0))),
            _ => None,
        };
        if matches!(action, Action::Throttle { .. }) {
            self.undo.push((step, action.clone()));
        }
        self.done.push(Done {
            step,
            action: action.name(),
            failed: None,
        });
    }

    /// What was done is undone, the last first; then it has ended.
    fn over(self, resource: Resource, now: Millis) -> Vec<Order> {
        let undo = self.undo.iter().rev().map(|(step, action)| Order::Undo {
            exceedance: self.number,
            step: *step,
            action: action.clone(),
        });
        let mut orders: Vec<Order> = undo.collect();
        orders.push(self.end(resource, now));
        orders
    }

    fn end(self, resource: Resource, now: Millis) -> Order {
        Order::End {
            exceedance: self.number,
            resource,
            limit: self.limit,
            peak: self.peak,
            lasted: Millis(now.0.saturating_sub(self.began.0)),
            done: self.done,
        }
    }
}

fn holds(when: Condition, what: Use, met: bool, held: bool) -> bool {
    match when.reach {
        Reach::Met => met,
        Reach::Thrashing => what.thrashing,
        Reach::Above(part) => {
            let slack = if held { HYSTERESIS.0 } else { 0 };
            // A limit that was just met was near as well, though nobody looked at that moment.
            what.met || what.used > Permille(part.0.saturating_sub(slack)).of(what.limit)
        }
    }
}
