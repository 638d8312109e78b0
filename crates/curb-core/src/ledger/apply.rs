//! Applying an event. Total: an event that fits nothing (an unknown job, a phase that is past) changes nothing, so that a
//! journal written by any version can be folded.

use std::sync::Arc;

use super::event::{AfterNotStarted, Event, FailedJob, NewJob, Outcome, Recorded};
use super::job::{End, Exceedance, Exemption, Grant, Job, Phase, StopWish};
use super::refusals::Refusal;
use super::state::{State, is_for};
use crate::calendar::applies_at;
use crate::decide::Shadow;
use crate::policy::{Mode, Rate};
use crate::subject::JobId;
use crate::time::Timestamp;

impl State {
    /// Takes an event as a fact.
    pub fn apply(&mut self, rec: &Recorded) {
        self.seq = rec.seq;
        self.now = self.now.max(rec.at.in_calendar());
        match &rec.event {
            Event::PolicyApplied {
                version,
                sha256,
                policy,
                ..
            } => {
                let (buckets, nodes) = self.kept();
                self.policy = Arc::new((**policy).clone());
                self.policy_version = *version;
                self.policy_sha256.clone_from(sha256);
                self.rebuild(&buckets, &nodes);
            }
            Event::ModeSet { mode, .. } => self.mode = *mode,
            Event::ClusterObserved {
                cluster,
                session,
                capacity,
            } => self.observe(cluster, session, capacity.as_ref()),
            Event::Admitted {
                job,
                borrowed,
                lent_by,
                shadow,
            } => {
                if let Some(ix) = self.bring_in(job, false, shadow) {
                    self.grant(ix, *borrowed, lent_by);
                }
            }
            Event::Queued { job, shadow, .. } => {
                if let Some(ix) = self.bring_in(job, true, shadow) {
                    self.enqueue(ix);
                }
            }
            Event::Granted {
                id,
                borrowed,
                lent_by,
            } => {
                if let Some(ix) = self.find(id, |p| matches!(p, Phase::Queued)) {
                    self.dequeue(ix);
                    self.served(ix);
                    self.grant(ix, *borrowed, lent_by);
                }
            }
            Event::Confirmed {
                id,
                attempt,
                session,
            } => self.confirm(id, *attempt, session),
            Event::NotStarted {
                id,
                attempt,
                then,
                why,
            } => self.not_started(id, *attempt, then, why),
            Event::Ended {
                id,
                outcome,
                message,
                exit_code,
                ran,
            } => self.end(id, *outcome, message, *exit_code, *ran),
            Event::StopRequested { id, by, why } => self.stop_requested(id, by, why),
            Event::Exceeded {
                id,
                attempt,
                quota,
                excess,
                found,
            } => {
                let since = self.now;
                self.exceedances(id, *attempt, |all| {
                    if !all.iter().any(|e| e.quota == *quota && e.excess == *excess) {
                        all.push(Exceedance {
                            quota: quota.clone(),
                            excess: *excess,
                            since,
                            found: found.clone(),
                            step: None,
                            only_recorded: false,
                        });
                    }
                });
            }
            Event::Within {
                id,
                attempt,
                quota,
                excess,
            } => self.exceedances(id, *attempt, |all| {
                all.retain(|e| e.quota != *quota || e.excess != *excess);
            }),
            Event::Stepped {
                id,
                attempt,
                quota,
                excess,
                step,
                found,
                only_recorded,
            } => {
                let now = self.now;
                self.exceedances(id, *attempt, |all| {
                    for e in all
                        .iter_mut()
                        .filter(|e| e.quota == *quota && e.excess == *excess)
                    {
                        e.step = Some((*step, now));
                        e.found.clone_from(found);
                        e.only_recorded = *only_recorded;
                    }
                });
            }
            Event::Exempted { id, until, by, why } => {
                let now = self.now;
                if let Some(ix) = self.find(id, |p| !matches!(p, Phase::Ended(_)))
                    && let Some(slot) = self.slot_mut(ix)
                {
                    slot.job.exempt = (now < *until).then(|| Exemption {
                        until: *until,
                        by: by.clone(),
                        why: why.clone(),
                    });
                }
            }
            Event::Hidden {
                id,
                refused: Some(user),
                ..
            } => self.refusals.forget(user, id),
            Event::Hidden { id, .. } => {
                if let Some(ix) = self.find(id, |p| matches!(p, Phase::Ended(_)))
                    && let Some(slot) = self.slot_mut(ix)
                {
                    slot.job.hidden = true;
                }
            }
            Event::Released { id, by, why } => {
                if self
                    .find(id, |p| matches!(p, Phase::Quarantined(_)))
                    .is_some()
                {
                    let message = format!("released by {by}: {why}");
                    self.end(id, Outcome::Failed, &message, None, None);
                }
            }
            Event::OverrideAdded(o) => {
                self.last_override = self.last_override.max(o.id);
                self.overrides.insert(o.id, o.clone());
                let rules = Arc::clone(&self.rules);
                for b in &mut self.buckets {
                    if is_for(o, &rules[b.quota].name, &b.dims) {
                        b.overrides.push(o.id);
                    }
                }
            }
            Event::OverrideRemoved { id, .. } => {
                self.overrides.remove(id);
                for b in &mut self.buckets {
                    b.overrides.retain(|o| o != id);
                }
            }
            Event::TokenCreated(token) => {
                self.token_hashes
                    .insert(token.hash.clone(), token.id.clone());
                self.tokens.insert(token.id.clone(), token.clone());
            }
            Event::TokenRevoked { id, .. } => {
                if let Some(token) = self.tokens.remove(id) {
                    self.token_hashes.remove(&token.hash);
                }
            }
            Event::Refused {
                subject,
                cluster,
                request,
                as_job: Some(job),
                ..
            } => self.refusals.keep(Refusal {
                seq: self.seq,
                at: self.now,
                subject: subject.clone(),
                cluster: cluster.clone(),
                request: request.clone(),
                job: FailedJob::clone(job),
            }),
            // Kept for the audit and for the books; they change nothing.
            Event::Refused { as_job: None, .. }
            | Event::RefusalsCounted { .. }
            | Event::Metered { .. } => {}
        }
    }

    /// The number of a job in a phase.
    fn find(&self, id: &JobId, phase: impl Fn(&Phase) -> bool) -> Option<u32> {
        self.slot(id)
            .filter(|(_, s)| phase(&s.job.phase))
            .map(|(ix, _)| ix)
    }

    /// A job that is new; `None` when its id is taken.
    fn bring_in(&mut self, new: &NewJob, promised: bool, shadow: &[Shadow]) -> Option<u32> {
        if self.index.contains_key(&new.id) {
            return None;
        }
        // A real job of the same user stands in the place of a refusal.
        self.refusals.forget(&new.subject.user, &new.id);
        let ix = self.insert(Job {
            new: new.clone(),
            seq: self.seq,
            submitted: self.now,
            attempt: 1,
            promised,
            phase: Phase::Queued,
            stop: None,
            served: None,
            hidden: false,
            exceedances: Vec::new(),
            exempt: None,
            would_wait: !shadow.is_empty() && !shadow.iter().any(|s| s.refuse),
        });
        self.count_submission(ix, shadow);
        Some(ix)
    }

    /// Counts a submission that was taken in the rates that cover it: in each as if it were enforced, so that what it
    /// says does not change when it is. What would have been refused then does not count, and what there is no room for
    /// neither, so that a rate is never further ahead than the whole of it.
    fn count_submission(&mut self, ix: u32, shadow: &[Shadow]) {
        let Some(seat) = self.slot_at(ix).map(|s| s.seat as usize) else {
            return;
        };
        for at in 0..self.seats[seat].buckets.len() {
            let b = self.seats[seat].buckets[at] as usize;
            let quota = self.buckets[b].quota;
            let Some(rate) = self.rules[quota].rate else {
                continue;
            };
            if !applies_at(&self.policy.quotas[quota], self.now) || self.would_refuse(quota, shadow)
            {
                continue;
            }
            let bucket = &mut self.buckets[b];
            if let Ok(next) = arrive(rate, bucket.arrival, self.now) {
                bucket.arrival = next;
            }
        }
    }

    /// Whether a submission that was taken would have been refused, had a quota been enforced that is only recorded.
    fn would_refuse(&self, quota: usize, shadow: &[Shadow]) -> bool {
        let recorded = self.mode() == Mode::Audit || self.rules[quota].audit;
        let audits = |name: &String| self.rules.iter().any(|r| r.audit && r.name == *name);
        let counts = |s: &Shadow| match &s.quota {
            // Another quota that is only recorded would go on refusing nothing.
            Some(name) => *name == self.rules[quota].name || !audits(name),
            None => true,
        };
        recorded && shadow.iter().any(|s| s.refuse && counts(s))
    }

    fn grant(&mut self, ix: u32, borrowed: bool, lent_by: &[String]) {
        let since = self.now;
        let Some(slot) = self.slot_at(ix) else { return };
        let cluster = self.seats[slot.seat as usize].cluster;
        let session = self.cluster_at(cluster).session.clone();
        if let Some(slot) = self.slot_mut(ix) {
            slot.job.phase = Phase::Reserved(Grant {
                since,
                borrowed,
                lent_by: lent_by.to_vec(),
                session,
            });
        }
        self.hold(ix);
    }

    fn confirm(&mut self, id: &JobId, attempt: u32, session: &str) {
        let open = |p: &Phase| matches!(p, Phase::Reserved(_) | Phase::Quarantined(_));
        let Some(ix) = self.find(id, open) else {
            return;
        };
        let Some(seat) = self.slot_at(ix).map(|s| s.seat as usize) else {
            return;
        };
        let present = self.cluster_at(self.seats[seat].cluster).session.clone();
        let Some(slot) = self.slot_mut(ix).filter(|s| s.job.attempt == attempt) else {
            return;
        };
        if let Phase::Reserved(g) | Phase::Quarantined(g) = &slot.job.phase {
            let grant = Grant {
                session: session.to_owned(),
                ..g.clone()
            };
            // Word of a session that is over (it came late) proves nothing of the present one.
            slot.job.phase = if present.is_empty() || session == present {
                Phase::Running(grant)
            } else {
                Phase::Quarantined(grant)
            };
        }
    }

    fn not_started(&mut self, id: &JobId, attempt: u32, then: &AfterNotStarted, why: &str) {
        let open = |p: &Phase| matches!(p, Phase::Reserved(_) | Phase::Quarantined(_));
        let Some(ix) = self.find(id, open) else {
            return;
        };
        if self.slot_at(ix).is_none_or(|s| s.job.attempt != attempt) {
            return;
        }
        let stopping = self.slot_at(ix).is_some_and(|s| s.job.stop.is_some());
        match then {
            AfterNotStarted::Requeue if !stopping => {
                self.unhold(ix);
                if let Some(slot) = self.slot_mut(ix) {
                    slot.job.phase = Phase::Queued;
                    slot.job.attempt = slot.job.attempt.saturating_add(1);
                    slot.job.promised = true;
                }
                self.enqueue(ix);
            }
            AfterNotStarted::Fail if !stopping => self.end(id, Outcome::Failed, why, None, None),
            _ => self.end(id, Outcome::Stopped, why, None, None),
        }
    }

    fn stop_requested(&mut self, id: &JobId, by: &str, why: &str) {
        let Some(ix) = self.find(id, |p| !matches!(p, Phase::Ended(_))) else {
            return;
        };
        if self.slot_at(ix).is_some_and(|s| s.job.is_queued()) {
            let message = if why.is_empty() {
                format!("stopped by {by} while it waited")
            } else {
                format!("stopped by {by} while it waited: {why}")
            };
            self.end(id, Outcome::Stopped, &message, None, None);
            return;
        }
        let at = self.now;
        if let Some(slot) = self.slot_mut(ix)
            && slot.job.stop.is_none()
        {
            slot.job.stop = Some(StopWish {
                by: by.to_owned(),
                why: why.to_owned(),
                at,
            });
            self.stopping.insert(ix);
        }
    }

    /// Changes what is said of a job that holds a grant for this attempt.
    fn exceedances(&mut self, id: &JobId, attempt: u32, change: impl FnOnce(&mut Vec<Exceedance>)) {
        let Some(ix) = self.find(id, |p| matches!(p, Phase::Running(_))) else {
            return;
        };
        if let Some(slot) = self.slot_mut(ix)
            && slot.job.attempt == attempt
        {
            change(&mut slot.job.exceedances);
        }
    }

    fn end(
        &mut self,
        id: &JobId,
        outcome: Outcome,
        message: &str,
        exit_code: Option<i32>,
        ran: Option<(Timestamp, Timestamp)>,
    ) {
        let Some(ix) = self.find(id, |p| !matches!(p, Phase::Ended(_))) else {
            return;
        };
        let granted = self
            .slot_at(ix)
            .and_then(|s| s.job.grant())
            .map(|g| g.since);
        match granted {
            Some(_) => {
                self.stopping.remove(&ix);
                self.unhold(ix);
            }
            None => self.dequeue(ix),
        }
        let at = self.now;
        if let Some(slot) = self.slot_mut(ix) {
            slot.job.phase = Phase::Ended(End {
                at,
                outcome,
                message: message.to_owned(),
                exit_code,
                granted,
                ran,
            });
        }
        self.ended.push_back(ix);
        self.trim_ended();
    }

    fn observe(
        &mut self,
        name: &str,
        session: &str,
        capacity: Option<&crate::resource::Resources>,
    ) {
        let ix = self.cluster_number(name);
        let cluster = &mut self.clusters[ix as usize];
        let changed = !cluster.session.is_empty() && cluster.session != session;
        cluster.session = session.to_owned();
        if capacity.is_some() {
            cluster.observed = capacity.cloned();
        }
        self.set_capacity(ix);
        if !changed {
            return;
        }
        for slot in self.slots.iter_mut().flatten() {
            if slot.job.new.cluster != name {
                continue;
            }
            if let Phase::Reserved(g) | Phase::Running(g) = &slot.job.phase
                && g.session != session
            {
                slot.job.phase = Phase::Quarantined(g.clone());
            }
        }
    }
}

/// How far apart the submissions of a rate are, in microseconds, at least 1.
pub(crate) fn interval_micros(rate: Rate) -> i64 {
    (span_micros(rate) / i64::from(rate.count.max(1))).max(1)
}

/// The time in which a rate takes all that it takes at once, in microseconds.
pub(crate) fn span_micros(rate: Rate) -> i64 {
    let per = i64::try_from(rate.per.0).unwrap_or(i64::MAX);
    per.saturating_mul(1000)
}

/// Takes a submission into a rate: the theoretical arrival time of the next one, in microseconds, or how many microseconds
/// too early it comes.
pub(crate) fn arrive(rate: Rate, arrival: i64, now: Timestamp) -> Result<i64, i64> {
    let now = now.0.saturating_mul(1000);
    let next = arrival.max(now).saturating_add(interval_micros(rate));
    let early = next.saturating_sub(now).saturating_sub(span_micros(rate));
    if early > 0 { Err(early) } else { Ok(next) }
}
