//! What happens to a running job that takes more than it was granted: the ladders of the quotas that cover it.
//!
//! A function of the ledger, of what was seen, and of the time. Each ladder goes by itself: its delays run from the moment at
//! which the journal says that the job began to take more, so that a restart of Curb neither forgives nor hurries. Evidence
//! that is missing or old begins nothing, ends nothing and moves nothing.

use std::collections::BTreeMap;

use super::above;
use super::moment::Moment;
use crate::ledger::{Event, Exceedance, Job, Phase, State, covers};
use crate::policy::{Excess, Mode, Quota, Rung, Step};
use crate::resource::{Resource, Resources};
use crate::subject::JobId;
use crate::time::Millis;

/// What was seen of a cluster just now: what each job holds at least. Who is not in it holds nothing.
pub type Seen = BTreeMap<JobId, (u32, Resources)>;

/// What is to be recorded now. `seen`: by cluster, and only where it is fresh. The wishes to stop are among the events.
#[must_use]
pub fn teeth(state: &State, moment: &Moment, seen: &BTreeMap<String, Seen>) -> Vec<Event> {
    let quotas = &state.policy().quotas;
    if quotas.iter().all(|q| q.ladder.is_empty())
        && !state.jobs().any(|j| !j.exceedances.is_empty())
    {
        return Vec::new();
    }
    let found = Above::of(state, moment);
    let mut events = Vec::new();
    for job in state
        .jobs()
        .filter(|j| matches!(j.phase, Phase::Running(_)))
    {
        let look = Look {
            state,
            moment,
            job,
            seen,
            above: &found,
        };
        for (ix, quota) in quotas.iter().enumerate() {
            let covered = covers(&quota.selector, &job.new.subject, &job.new.cluster);
            if covered && moment.applies(ix) {
                for excess in Excess::ALL {
                    look.at(ix, quota, excess, &mut events);
                }
            }
        }
        look.gone(quotas, &mut events);
    }
    events
}

struct Look<'a> {
    state: &'a State,
    moment: &'a Moment,
    job: &'a Job,
    seen: &'a BTreeMap<String, Seen>,
    above: &'a Above,
}

/// Who is above what quotas allow now, by number of quota; only of quotas whose ladder asks for it.
struct Above {
    limits: BTreeMap<usize, above::Found>,
    budgets: BTreeMap<usize, above::Found>,
}

impl Above {
    fn of(state: &State, moment: &Moment) -> Above {
        let asked = |excess: Excess| {
            let quotas = state.policy().quotas.iter().enumerate();
            quotas.filter(move |(ix, q)| {
                moment.applies(*ix) && q.ladder.iter().any(|r| r.when == excess)
            })
        };
        Above {
            limits: asked(Excess::Limit)
                .map(|(ix, _)| (ix, above::limits(state, moment, ix)))
                .collect(),
            budgets: asked(Excess::Budget)
                .map(|(ix, _)| (ix, above::budgets(state, moment, ix)))
                .collect(),
        }
    }
}

/// Whether a job takes more than it was granted.
enum Found {
    /// Not.
    No,
    /// That is not known.
    Unknown,
    /// It does, with the evidence for people.
    Yes(String),
}

impl Look<'_> {
    fn at(&self, ix: usize, quota: &Quota, excess: Excess, events: &mut Vec<Event>) {
        let rungs: Vec<&Rung> = quota.ladder.iter().filter(|r| r.when == excess).collect();
        if rungs.is_empty() {
            return;
        }
        let (id, attempt) = (self.job.new.id.clone(), self.job.attempt);
        let known = self.known(&quota.name, excess);
        match (self.found(ix, quota, excess), known) {
            (Found::Unknown, _) | (Found::No, None) => {}
            // While it is being stopped it holds less and less: what it is stopped for stays said.
            (Found::No, Some(e)) if is_stopped_for(e) => {}
            (Found::No, Some(_)) => events.push(Event::Within {
                id,
                attempt,
                quota: quota.name.clone(),
                excess,
            }),
            (Found::Yes(found), None) => {
                events.push(Event::Exceeded {
                    id,
                    attempt,
                    quota: quota.name.clone(),
                    excess,
                    found: found.clone(),
                });
                let due = rungs.iter().filter(|r| r.after == Millis(0));
                due.for_each(|r| self.step(quota, excess, r.step, Millis(0), &found, events));
            }
            (Found::Yes(found), Some(exceedance)) => {
                let lasted = self.moment.now.since(exceedance.since);
                let reached = exceedance.step.map(|(step, _)| step);
                let due = rungs
                    .iter()
                    .filter(|r| r.after <= lasted && Some(r.step) > reached);
                due.for_each(|r| self.step(quota, excess, r.step, lasted, &found, events));
            }
        }
    }

    /// Exceedances whose quota does not cover the job any more, or has no such step any more.
    fn gone(&self, quotas: &[Quota], events: &mut Vec<Event>) {
        for e in self.job.exceedances.iter().filter(|e| !is_stopped_for(e)) {
            let still = quotas.iter().enumerate().any(|(ix, q)| {
                q.name == e.quota
                    && q.ladder.iter().any(|r| r.when == e.excess)
                    && covers(&q.selector, &self.job.new.subject, &self.job.new.cluster)
                    && self.moment.applies(ix)
            });
            if !still {
                events.push(Event::Within {
                    id: self.job.new.id.clone(),
                    attempt: self.job.attempt,
                    quota: e.quota.clone(),
                    excess: e.excess,
                });
            }
        }
    }

    fn known(&self, quota: &str, excess: Excess) -> Option<&Exceedance> {
        let mut all = self.job.exceedances.iter();
        all.find(|e| e.quota == quota && e.excess == excess)
    }

    fn step(
        &self,
        quota: &Quota,
        excess: Excess,
        step: Step,
        lasted: Millis,
        found: &str,
        events: &mut Vec<Event>,
    ) {
        let id = self.job.new.id.clone();
        let only_recorded = quota.mode == Mode::Audit || self.state.mode() != Mode::Enforce;
        events.push(Event::Stepped {
            id: id.clone(),
            attempt: self.job.attempt,
            quota: quota.name.clone(),
            excess,
            step,
            found: found.to_owned(),
            only_recorded,
        });
        // Somebody's wish to stop it comes first, and its reason with it.
        let stopped = self.job.stop.is_some()
            || events
                .iter()
                .any(|e| matches!(e, Event::StopRequested { id: other, .. } if *other == id));
        if step == Step::Stop && !only_recorded && !stopped {
            let lasted = if lasted == Millis(0) {
                String::new()
            } else {
                format!(" for {lasted}")
            };
            events.push(Event::StopRequested {
                id,
                by: "curb".into(),
                why: format!("it {found}{lasted} (quota {})", quota.name),
            });
        }
    }

    fn found(&self, ix: usize, quota: &Quota, excess: Excess) -> Found {
        // Whoever is out of reach begins anew when that is over.
        if self.job.is_exempt(self.moment.now) {
            return Found::No;
        }
        let among = |all: &BTreeMap<usize, above::Found>| {
            let found = all.get(&ix).and_then(|all| all.get(&self.job.new.id));
            found.cloned().map_or(Found::No, Found::Yes)
        };
        match excess {
            Excess::Duration => self.duration(),
            Excess::Held => self.held(quota),
            Excess::Limit => among(&self.above.limits),
            Excess::Budget => among(&self.above.budgets),
        }
    }

    fn duration(&self) -> Found {
        let (Some(end), Some(granted)) = (self.job.expected_end(), self.job.new.duration) else {
            return Found::No;
        };
        if self.moment.now <= end {
            return Found::No;
        }
        Found::Yes(format!(
            "runs longer than the {granted} that it was granted"
        ))
    }

    fn held(&self, quota: &Quota) -> Found {
        let Some(seen) = self.seen.get(&self.job.new.cluster) else {
            return Found::Unknown;
        };
        let held = match seen.get(&self.job.new.id) {
            None => return Found::No,
            // Of another attempt: seen before this one.
            Some((attempt, _)) if *attempt != self.job.attempt => return Found::Unknown,
            Some((_, held)) => held,
        };
        let over: Vec<String> = held
            .iter()
            .filter(|(r, _)| is_limited(quota, r))
            .filter_map(|(r, held)| {
                let granted = self.granted(r);
                (held > granted).then(|| {
                    format!(
                        "{} {}, granted {}",
                        r.show(held),
                        r.label(),
                        r.show(granted)
                    )
                })
            })
            .collect();
        if over.is_empty() {
            return Found::No;
        }
        Found::Yes(format!(
            "holds more in Ray than it was granted: {}",
            over.join("; ")
        ))
    }

    fn granted(&self, resource: &Resource) -> crate::amount::Amount {
        self.job.new.request.get(resource)
    }
}

/// Whether the job is being stopped, or was, for this exceedance: its ladder came to its end.
#[must_use]
pub fn is_stopped_for(exceedance: &Exceedance) -> bool {
    let stopped = exceedance.step.is_some_and(|(step, _)| step == Step::Stop);
    stopped && !exceedance.only_recorded
}

/// Whether a quota limits a resource in any way; one that limits none of them means all.
fn is_limited(quota: &Quota, resource: &Resource) -> bool {
    let mut named = quota
        .limits
        .resources
        .keys()
        .chain(quota.per_job.resources.keys())
        .chain(quota.budgets.iter().map(|b| &b.resource))
        .peekable();
    let same = |other: &Resource| {
        other == resource || matches!((other, resource), (Resource::GpuModel(_), Resource::Gpu))
    };
    named.peek().is_none() || named.any(same)
}

/// What a job's owner is told of what it takes more than it was granted: the evidence, and what happens next.
#[must_use]
pub fn told_of_exceedances(
    job: &Job,
    policy: &crate::policy::Policy,
    now: crate::time::Timestamp,
) -> Option<String> {
    let told = |e: &Exceedance| {
        let quota = policy.quotas.iter().find(|q| q.name == e.quota);
        let rungs = quota
            .into_iter()
            .flat_map(|q| &q.ladder)
            .filter(|r| r.when == e.excess);
        let reached = e.step.map(|(step, _)| step);
        let stop = rungs
            .into_iter()
            .find(|r| r.step == Step::Stop && Some(r.step) > reached);
        let audit = quota.is_some_and(|q| q.mode == Mode::Audit);
        let next = match stop {
            _ if e.only_recorded || audit => " (only recorded)".to_owned(),
            Some(stop) => {
                let left = Millis(stop.after.0.saturating_sub(now.since(e.since).0));
                format!("; it is stopped in {left} unless that ends")
            }
            None => String::new(),
        };
        format!("it {} (quota {}){next}", e.found, e.quota)
    };
    // Who is being stopped is told that.
    let all: Vec<String> = job
        .exceedances
        .iter()
        .filter(|_| job.stop.is_none())
        .map(told)
        .collect();
    (!all.is_empty()).then(|| all.join("; "))
}
