//! When those that wait will start, found by letting the queue run ahead: the same [`super::next`] on a copy of what is
//! open, with every job ending when it declared that it would.
//!
//! Pure and bounded. Where jobs did not say how long they run, or there are too many, nothing is claimed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::moment::{Gate, Moment};
use super::queue::{next, next_change};
use crate::ledger::{Event, NewJob, Outcome, Recorded, State};
use crate::subject::JobId;
use crate::time::{Millis, Timestamp};

/// So many looks at classes of waiting jobs: well below a millisecond's worth of an optimised build.
const MOST_LOOKS: usize = 2_000;
/// Further ahead nothing is said.
const HORIZON: Millis = Millis(366 * Millis::DAY.0);

/// When a waiting job is expected to start, or why that cannot be said yet.
pub(crate) type Expected = Result<Timestamp, &'static str>;

/// So many steps of time without a start are not those ahead, but something that does not end.
const STALLED: usize = 64;

const TOO_MANY_OPEN: &str = "more jobs are open than are looked at";
pub(crate) const TOO_MANY: &str = "more jobs are ahead than are looked at";
pub(crate) const DOWN: &str = "its cluster cannot be reached";
/// Of a job that waits until the size of its cluster is known.
pub(crate) const UNREAD: &str = "what its cluster has is not known yet";
const OVERDUE: &str = "some that run are past their declared end";
const UNDECLARED: &str = "not all that run or are ahead said for how long";
const OPEN_END: &str = "it depends on what is used until then";

/// What the queue will do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forecast {
    starts: HashMap<JobId, Timestamp>,
    otherwise: &'static str,
    down: Vec<String>,
}

impl Forecast {
    /// Where nothing is looked at.
    pub(crate) fn too_many(moment: &Moment) -> Forecast {
        Forecast {
            otherwise: TOO_MANY_OPEN,
            down: moment
                .gates
                .iter()
                .filter(|(_, gate)| **gate == Gate::Down)
                .map(|(name, _)| name.clone())
                .collect(),
            ..Forecast::default()
        }
    }

    /// Lets the queue run ahead on a copy of what is open, with somebody who comes now at its end. If not all of it is
    /// there, only as far as the `first` starts.
    pub(crate) fn of(
        open: State,
        first: Option<usize>,
        moment: &Moment,
        comer: Option<NewJob>,
    ) -> Forecast {
        let mut found = Forecast::too_many(moment);
        let wanted = comer.as_ref().map(|job| job.id.clone());
        let mut run = Run {
            state: open,
            moment: moment.clone(),
            ends: BinaryHeap::new(),
            first: first.unwrap_or(usize::MAX),
            overdue: false,
            undeclared: false,
        };
        run.note_those_that_run();
        if let Some(job) = comer {
            run.apply(Event::Queued {
                job: Box::new(job),
                code: String::new(),
                shadow: Vec::new(),
            });
        }
        found.otherwise = run.ahead(&mut found.starts, wanted.as_ref());
        found
    }

    /// What is expected of a job.
    pub(crate) fn get(&self, id: &JobId, cluster: &str) -> Expected {
        match self.starts.get(id) {
            Some(at) => Ok(*at),
            None if self.down.iter().any(|down| down == cluster) => Err(DOWN),
            None => Err(self.otherwise),
        }
    }
}

struct Run {
    state: State,
    moment: Moment,
    ends: BinaryHeap<Reverse<(Timestamp, JobId)>>,
    /// So many starts can be foreseen.
    first: usize,
    overdue: bool,
    undeclared: bool,
}

impl Run {
    fn apply(&mut self, event: Event) {
        let rec = Recorded {
            seq: self.state.seq() + 1,
            at: self.moment.now,
            event,
        };
        self.state.apply(&rec);
    }

    fn end(&mut self, id: JobId) {
        self.apply(Event::Ended {
            id,
            outcome: Outcome::Succeeded,
            message: String::new(),
            exit_code: None,
            ran: None,
        });
    }

    fn note_those_that_run(&mut self) {
        for job in self.state.jobs().filter(|j| j.grant().is_some()) {
            match job.expected_end() {
                Some(end) if end > self.moment.now => {
                    self.ends.push(Reverse((end, job.new.id.clone())));
                }
                Some(_) => self.overdue = true,
                None => self.undeclared = true,
            }
        }
    }

    /// Runs until all have started, or the one that is asked about. Says why others have not.
    fn ahead(
        &mut self,
        starts: &mut HashMap<JobId, Timestamp>,
        wanted: Option<&JobId>,
    ) -> &'static str {
        let last = self.moment.now.after(HORIZON);
        let (mut looks, mut idle) = (0, 0);
        loop {
            loop {
                looks += 1 + self.state.classes.len();
                if starts.len() >= self.first || (looks > MOST_LOOKS && idle < STALLED) {
                    return TOO_MANY;
                }
                if looks > MOST_LOOKS {
                    return self.stalled();
                }
                let events = next(&self.state, &self.moment);
                if events.is_empty() {
                    break;
                }
                for event in events {
                    self.take(event, starts);
                }
                idle = 0;
                if wanted.is_some_and(|id| starts.contains_key(id)) {
                    return OPEN_END;
                }
            }
            let Some(at) = self.next_time().filter(|at| *at <= last) else {
                return self.stalled();
            };
            self.go_to(at);
            idle += 1;
        }
    }

    /// Why time alone starts nobody.
    fn stalled(&self) -> &'static str {
        match (self.overdue, self.undeclared) {
            (true, _) => OVERDUE,
            (_, true) => UNDECLARED,
            _ => OPEN_END,
        }
    }

    fn take(&mut self, event: Event, starts: &mut HashMap<JobId, Timestamp>) {
        match &event {
            Event::Granted { id, .. } => {
                let id = id.clone();
                self.apply(event);
                starts.insert(id.clone(), self.moment.now);
                let cluster = self.state.job(&id).map(|j| j.new.cluster.clone());
                // The next start on its cluster is not before its turn.
                cluster.iter().for_each(|c| self.moment.started(c));
                match self.state.job(&id).and_then(|j| j.expected_end()) {
                    Some(end) => self.ends.push(Reverse((end, id))),
                    None => self.undeclared = true,
                }
            }
            // Lent capacity is taken back: it will not take long.
            Event::StopRequested { id, .. } => self.end(id.clone()),
            _ => self.apply(event),
        }
    }

    fn next_time(&self) -> Option<Timestamp> {
        if self.state.queued_count() == 0 {
            return None;
        }
        let paced = self.moment.gates.values().filter_map(|gate| match gate {
            Gate::Paced { next } if *next > self.moment.now => Some(*next),
            _ => None,
        });
        let end = self.ends.peek().map(|Reverse((at, _))| *at);
        let change = next_change(&self.state, &self.moment);
        paced.chain(end).chain(change).min()
    }

    fn go_to(&mut self, at: Timestamp) {
        self.moment = self.moment.clone().at(&self.state, at);
        for gate in self.moment.gates.values_mut() {
            if matches!(gate, Gate::Paced { next } if *next <= at) {
                *gate = Gate::Open;
            }
        }
        while let Some(Reverse((end, _))) = self.ends.peek()
            && *end <= at
            && let Some(Reverse((_, id))) = self.ends.pop()
        {
            self.end(id);
        }
    }
}
