//! Submitting, explaining, stopping.

use std::sync::{Arc, OnceLock};

use super::check::{Check, Fit, Hit, Kind, Place, Scope, Wanted};
use super::moment::{Gate, Moment};
use super::outlook::{Begun, Outlook, hopeless};
use super::promise::{Kept, Promised};
use super::queue::{Ahead, Comer, Places, Position, ahead, position, wanted};
use super::render::Render;
use super::resolve::Submission;
use super::smaller::fits_now;
use super::violation::{Code, Explanation, Shadow, Verdict, Violation, When};
use crate::ledger::{Bucket, Event, Job, NewJob, ResIx, Seat, State};
use crate::policy::{Mode, RefusalStyle, WhenDown};
use crate::subject::JobId;

/// What identifies a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The id that it is to have.
    pub id: JobId,
    /// SHA-256 of its whole request, in hex.
    pub spec: String,
    /// A random mark.
    pub stamp: String,
    /// The client's idempotency key.
    pub key: Option<String>,
}

/// What comes of a submission.
#[derive(Clone, Debug, PartialEq)]
pub enum Submitted {
    /// Its grant is reserved: give it to Ray.
    Admitted,
    /// It waits. When it is expected to start is not said here: [`begin_why`] says it for whoever asks.
    Queued(Box<Explanation>),
    /// It was refused.
    Refused(Box<Explanation>),
    /// The same was submitted before with the same key: that job is the answer.
    Same,
    /// The id is taken by another.
    Taken,
}

fn nothing() -> &'static (Promised, Wanted) {
    static NOTHING: OnceLock<(Promised, Wanted)> = OnceLock::new();
    NOTHING.get_or_init(Default::default)
}

/// Decides a submission.
#[must_use]
pub fn submit(
    state: &State,
    submission: &Submission,
    identity: &Identity,
    moment: &Moment,
) -> (Vec<Event>, Submitted) {
    let refusal = state
        .refusals()
        .get(&submission.subject.user, &identity.id)
        .map(|r| same(identity, r.job.key.as_ref(), &r.job.spec));
    if refusal == Some(true) {
        return (Vec::new(), Submitted::Same);
    }
    if let Some(job) = state.job(&identity.id) {
        return (Vec::new(), again(job, submission, identity));
    }
    if refusal.is_some() {
        return (Vec::new(), Submitted::Taken);
    }
    seen(state, submission, moment, |view| decide(view, identity))
}

fn decide(view: &View<'_>, identity: &Identity) -> (Vec<Event>, Submitted) {
    let (state, moment, submission) = (view.state, view.moment, view.submission);
    let recorded = view.recorded();
    let denied = state.mode() == Mode::Enforce && !submission.denials.is_empty();
    let gate = moment.gate(&submission.cluster);
    let fit = view.check(Scope::Enforced, true).fits();
    let job = || Box::new(new_job(submission, identity));
    if let (Fit::Yes { borrowed }, false, Gate::Open) = (fit, denied, gate) {
        let crowd = state.queued_count() > 0;
        let in_turn = !crowd || (moment.settled && !borrowed);
        if in_turn && view.others_first().is_empty() {
            let lent_by = if borrowed {
                view.check(Scope::Enforced, false).lent_by()
            } else {
                Vec::new()
            };
            let event = Event::Admitted {
                job: job(),
                borrowed,
                lent_by,
                shadow: shadows(&view.with_queue(recorded, false)),
            };
            return (vec![event], Submitted::Admitted);
        }
    }
    let mut explanation = Box::new(view.explain(recorded));
    if explanation.refused {
        let event = Event::Refused {
            subject: submission.subject.clone(),
            cluster: submission.cluster.clone(),
            request: submission.request.clone(),
            status: explanation.status,
            violations: explanation.violations.iter().map(Shadow::from).collect(),
            as_job: None,
        };
        return (vec![event], Submitted::Refused(explanation));
    }
    let code = explanation
        .violations
        .first()
        .map_or(Code::Turn, |v| v.code)
        .to_string();
    let event = Event::Queued {
        job: job(),
        code,
        shadow: shadows(&explanation.recorded),
    };
    // There is one place that says it, and it has no time for that here.
    explanation.expected = None;
    (vec![event], Submitted::Queued(explanation))
}

fn shadows(violations: &[Violation]) -> Vec<Shadow> {
    violations.iter().map(Shadow::from).collect()
}

/// Answers "would it start, and if not, why and when" without submitting.
#[must_use]
pub fn explain(state: &State, submission: &Submission, moment: &Moment) -> Explanation {
    begin_explain(state, submission, moment).finish()
}

/// As [`explain`], without running the queue ahead for the expected start.
#[must_use]
pub fn begin_explain(state: &State, submission: &Submission, moment: &Moment) -> Begun {
    let told = seen(state, submission, moment, |view| {
        let recorded = view.recorded();
        view.explain(recorded)
    });
    let waits = told.verdict == Verdict::Later && !told.refused;
    let Some(id) = JobId::parse("curb-explain").ok().filter(|_| waits) else {
        return Begun::whole(told);
    };
    let identity = Identity {
        id,
        spec: String::new(),
        stamp: String::new(),
        key: None,
    };
    let outlook = moment.outlook(state, state.seq());
    Begun::comes(told, outlook, new_job(submission, &identity))
}

/// Why a waiting job waits. `None` when it does not wait. When it is expected to start may be of up to a second ago.
#[must_use]
pub fn why_waiting(state: &State, id: &JobId, moment: &Moment) -> Option<Explanation> {
    begin_why(state, id, moment).map(Begun::finish)
}

/// As [`why_waiting`], without running the queue ahead for the expected start.
#[must_use]
pub fn begin_why(state: &State, id: &JobId, moment: &Moment) -> Option<Begun> {
    let job = state.job(id).filter(|j| j.is_queued())?;
    let outlook = moment.outlook(state, job.seq);
    let paced = matches!(moment.gate(&job.new.cluster), Gate::Paced { .. });
    let first = !paced || position(state, moment, job).is_none_or(|p| p.position == 1);
    let wanted = wanted(state, moment);
    why(state, id, moment, &wanted, &outlook, first)
}

/// What all that wait have to be told, for lists: what is the same for each is found once.
#[derive(Clone, Debug)]
pub struct Waits {
    wanted: Wanted,
    places: Places,
    outlook: Arc<Outlook>,
}

impl Waits {
    /// Looks at all that wait.
    #[must_use]
    pub fn of(state: &State, moment: &Moment) -> Waits {
        let newest = state.waiting.last().map_or(0, |(seq, _)| *seq);
        Waits {
            wanted: wanted(state, moment),
            places: Places::of(state, moment),
            outlook: moment.outlook(state, newest),
        }
    }

    /// As [`begin_why`], for the same state and moment.
    #[must_use]
    pub fn why(&self, state: &State, id: &JobId, moment: &Moment) -> Option<Begun> {
        let first = state.job(id).and_then(|job| self.position(job));
        let first = first.is_none_or(|p| p.position == 1);
        why(state, id, moment, &self.wanted, &self.outlook, first)
    }

    /// As [`super::position`].
    #[must_use]
    pub fn position(&self, job: &Job) -> Option<Position> {
        self.places.get(job)
    }
}

fn why(
    state: &State,
    id: &JobId,
    moment: &Moment,
    wanted: &Wanted,
    outlook: &Arc<Outlook>,
    first: bool,
) -> Option<Begun> {
    let (_, slot) = state.slot(id)?;
    if !slot.job.is_queued() {
        return None;
    }
    let new = &slot.job.new;
    let submission = Submission {
        subject: new.subject.clone(),
        cluster: new.cluster.clone(),
        request: new.request.clone(),
        duration: new.duration,
        priority: new.priority,
        denials: Vec::new(),
    };
    let view = View {
        state,
        moment,
        submission: &submission,
        seat: &state.seats[slot.seat as usize],
        made: &[],
        ask: &slot.ask,
        waits: Some(&slot.job),
    };
    let check = Check {
        wanted,
        ..view.check(Scope::Enforced, false)
    };
    let mut violations = view.violations(&check.all());
    view.gate_and_turn(&mut violations, first);
    let mut told = view.explanation(violations, Vec::new());
    // However long the queue is run ahead, it does not start.
    if let Some(why) = hopeless(told.verdict) {
        told.expect(Err(why));
        return Some(Begun::whole(told));
    }
    let (id, cluster) = (id.clone(), new.cluster.clone());
    Some(Begun::waits(told, Arc::clone(outlook), id, cluster))
}

/// What comes of a wish to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It waited, and is over.
    Cancelled,
    /// It is being stopped.
    Stopping,
    /// It was over already.
    AlreadyEnded,
    /// There is no such job.
    Unknown,
}

/// Decides a wish to stop a job.
#[must_use]
pub fn stop(state: &State, id: &JobId, by: &str, why: &str) -> (Vec<Event>, Stopped) {
    let Some(job) = state.job(id) else {
        return (Vec::new(), Stopped::Unknown);
    };
    if job.is_ended() {
        return (Vec::new(), Stopped::AlreadyEnded);
    }
    let event = Event::StopRequested {
        id: id.clone(),
        by: by.to_owned(),
        why: why.to_owned(),
    };
    let outcome = if job.is_queued() {
        Stopped::Cancelled
    } else {
        Stopped::Stopping
    };
    // A wish that is there already needs no second event.
    let events = if job.stop.is_some() {
        vec![]
    } else {
        vec![event]
    };
    (events, outcome)
}

fn again(job: &Job, submission: &Submission, identity: &Identity) -> Submitted {
    let mine = job.new.subject.user == submission.subject.user;
    if mine && same(identity, job.new.key.as_ref(), &job.new.spec) {
        Submitted::Same
    } else {
        Submitted::Taken
    }
}

/// Whether a submission is one that was made before: the same content under the same key.
fn same(identity: &Identity, key: Option<&String>, spec: &str) -> bool {
    identity.key.is_some() && identity.key.as_ref() == key && identity.spec == spec
}

/// Whether a refusal of this user is told as a job that failed, rather than at once: as the policy says, as long as there
/// are not too many.
#[must_use]
pub fn told_as_job(state: &State, user: &str, moment: &Moment) -> bool {
    state.policy().refusal == RefusalStyle::Job && state.refusals().room_for(user, moment.now)
}

fn new_job(submission: &Submission, identity: &Identity) -> NewJob {
    NewJob {
        id: identity.id.clone(),
        subject: submission.subject.clone(),
        cluster: submission.cluster.clone(),
        request: submission.request.clone(),
        duration: submission.duration,
        priority: submission.priority,
        spec: identity.spec.clone(),
        stamp: identity.stamp.clone(),
        key: identity.key.clone(),
    }
}

/// Looks at a submission from its seat, or from the one that it would get: a subject that was never seen changes nothing.
fn seen<T>(
    state: &State,
    submission: &Submission,
    moment: &Moment,
    then: impl Fn(&View<'_>) -> T,
) -> T {
    let look = |state: &State, seat: &Seat, made: &[Bucket]| {
        let ask = ask_of(state, submission);
        then(&View {
            state,
            moment,
            submission,
            seat,
            made,
            ask: &ask,
            waits: None,
        })
    };
    if let Some(ix) = state.find_seat(&submission.subject, &submission.cluster) {
        return look(state, &state.seats[ix as usize], &[]);
    }
    if let Some((seat, made)) = state.sketch_seat(&submission.subject, &submission.cluster) {
        return look(state, &seat, &made);
    }
    // Nothing was ever heard of the cluster or put on it: there is little to copy.
    let mut copy = state.clone();
    let ix = copy.seat(&submission.subject, &submission.cluster);
    look(&copy, &copy.seats[ix as usize], &[])
}

/// The request by number of resource. A resource that nothing has named before is not limited and held by nobody, but the
/// cluster may be known not to have it: it gets a number past all others, each its own.
pub(super) fn ask_of(state: &State, submission: &Submission) -> Vec<(ResIx, u64)> {
    let mut past = state.names.len();
    let mut ask: Vec<(ResIx, u64)> = submission
        .request
        .iter()
        .filter(|(_, a)| a.0 > 0)
        .map(|(r, a)| {
            let number = state.names.find(r).unwrap_or_else(|| {
                past += 1;
                ResIx::try_from(past - 1).unwrap_or(ResIx::MAX)
            });
            (number, a.0)
        })
        .collect();
    ask.sort_unstable();
    ask
}

/// A submission seen in a state at a moment.
pub(super) struct View<'a> {
    pub(super) state: &'a State,
    pub(super) moment: &'a Moment,
    pub(super) submission: &'a Submission,
    pub(super) seat: &'a Seat,
    /// Buckets that the seat would be given, with numbers past those of the state.
    pub(super) made: &'a [Bucket],
    pub(super) ask: &'a [(ResIx, u64)],
    /// Of a job that waits: the job.
    pub(super) waits: Option<&'a Job>,
}

impl View<'_> {
    pub(super) fn bucket_at(&self, ix: u32) -> &Bucket {
        let ix = ix as usize;
        let there = &self.state.buckets;
        there
            .get(ix)
            .unwrap_or_else(|| &self.made[ix - there.len()])
    }

    pub(super) fn check(&self, scope: Scope, submitting: bool) -> Check<'_> {
        let (promised, wanted) = nothing();
        Check {
            state: self.state,
            moment: self.moment,
            seat: self.seat,
            made: self.made,
            ask: self.ask,
            duration: self.submission.duration,
            scope,
            submitting,
            kept: Kept::from_borrower(promised),
            wanted,
            freed: None,
            readings: None,
        }
    }

    fn violations(&self, hits: &[Hit]) -> Vec<Violation> {
        let render = Render { view: self };
        hits.iter().map(|h| render.violation(h)).collect()
    }

    /// What is in the way in rules that are only recorded.
    fn recorded(&self) -> Vec<Violation> {
        if !self.records() {
            return Vec::new();
        }
        let hits = self.check(Scope::Recorded, true).all();
        let mut all = self.violations(&hits);
        if self.state.mode() == Mode::Audit {
            all.extend(self.submission.denials.iter().cloned());
        }
        all
    }

    /// Whether some of what covers it is only recorded.
    fn records(&self) -> bool {
        let audits = |b: &u32| self.state.rules[self.bucket_at(*b).quota].audit;
        self.state.mode() == Mode::Audit || self.seat.buckets.iter().any(audits)
    }

    /// What is recorded, with the limits on waiting jobs if it waits or would have to.
    fn with_queue(&self, mut recorded: Vec<Violation>, waits: bool) -> Vec<Violation> {
        let would_wait = waits || !recorded.is_empty();
        if would_wait && self.records() && !recorded.iter().any(Violation::refuses) {
            let hits = self.check(Scope::Recorded, true).queue_hits();
            recorded.extend(self.violations(&hits));
        }
        recorded
    }

    fn explain(&self, recorded: Vec<Violation>) -> Explanation {
        let enforcing = self.state.mode() == Mode::Enforce;
        let hits = self.check(Scope::Enforced, true).all();
        let mut violations = self.violations(&hits);
        if enforcing {
            violations.extend(self.submission.denials.iter().cloned());
        }
        self.gate_and_turn(&mut violations, self.is_alone());
        // Only a job that has to wait needs a place in the queue.
        if (!violations.is_empty() || self.waits_for_a_loan())
            && !violations.iter().any(Violation::refuses)
        {
            let hits = self.check(Scope::Enforced, true).queue_hits();
            violations.extend(self.violations(&hits));
        }
        let waits = !violations.is_empty() || self.waits_for_a_loan();
        let recorded = if violations.iter().any(Violation::refuses) {
            recorded
        } else {
            self.with_queue(recorded, waits)
        };
        self.explanation(violations, recorded)
    }

    /// Whether it fits only on borrowed capacity while others wait: the queue decides who is lent it, so that it has to go
    /// there even if it starts at once.
    fn waits_for_a_loan(&self) -> bool {
        let fit = self.check(Scope::Enforced, true).fits();
        self.state.queued_count() > 0 && matches!(fit, Fit::Yes { borrowed: true })
    }

    /// Whether nobody else waits for the cluster.
    fn is_alone(&self) -> bool {
        let here = |c: &crate::ledger::Class| {
            self.state.seats[c.seat as usize].cluster == self.seat.cluster
        };
        !self.state.classes.iter().any(here)
    }

    /// What is in the way besides limits: the gate, and those who go first. The next start of a cluster whose starts are
    /// paced is that of the `first` in its queue.
    fn gate_and_turn(&self, violations: &mut Vec<Violation>, first: bool) {
        let cluster = &self.submission.cluster;
        match self.moment.gate(cluster) {
            Gate::Open if violations.is_empty() => violations.extend(self.others_first()),
            Gate::Open => {}
            Gate::Paced { next } => {
                let when = if first { When::At(next) } else { When::Turn };
                violations.push(self.plain(Code::StartRate, when, false));
            }
            Gate::Down => {
                let refuse = self.state.policy().when_ray_is_down == WhenDown::Refuse;
                violations.push(self.plain(Code::ClusterDown, When::ClusterBack, refuse));
            }
        }
    }

    /// Those who go first and what is kept for them, if it would take some of that: it has to wait its turn.
    fn others_first(&self) -> Vec<Violation> {
        if self.state.queued_count() == 0 {
            return Vec::new();
        }
        let behind = || vec![self.plain(Code::Turn, When::Turn, false)];
        if !self.moment.settled {
            return behind();
        }
        match self.ahead() {
            Ahead::Nobody => Vec::new(),
            Ahead::Many => behind(),
            Ahead::Some(promised) => {
                let check = Check {
                    kept: self.kept(&promised),
                    ..self.check(Scope::Enforced, true)
                };
                self.violations(&check.all())
            }
        }
    }

    fn ahead(&self) -> Ahead {
        let comer = Comer {
            seat: self.seat,
            subject: &self.submission.subject,
            ask: self.ask,
            priority: self.submission.priority,
            waits: self.waits,
        };
        ahead(self.state, self.moment, &comer)
    }

    /// What is kept for those who go first; `None` where there are more of them than are looked at.
    pub(super) fn promised(&self) -> Option<Promised> {
        if self.state.queued_count() == 0 {
            return Some(Promised::default());
        }
        match self.ahead() {
            Ahead::Nobody => Some(Promised::default()),
            Ahead::Some(promised) => Some(*promised),
            Ahead::Many => None,
        }
    }

    /// What is kept for others, as it matters to this one.
    pub(super) fn kept<'b>(&self, promised: &'b Promised) -> Kept<'b> {
        if self.check(Scope::Enforced, false).lenders().is_empty() {
            Kept::from_entitled(promised, &self.seat.buckets)
        } else {
            Kept::from_borrower(promised)
        }
    }

    fn plain(&self, code: Code, when: When, rejects: bool) -> Violation {
        Violation {
            code,
            quota: None,
            bucket: format!("cluster {}", self.submission.cluster),
            limit: None,
            used: None,
            asked: None,
            over: None,
            when,
            rejects,
            holders: Vec::new(),
            more_holders: 0,
            period: None,
            reason: None,
            note: None,
        }
    }

    fn explanation(&self, mut violations: Vec<Violation>, recorded: Vec<Violation>) -> Explanation {
        violations.sort_by_key(binding_first);
        let verdict = match violations.first().map(|v| &v.when) {
            None => Verdict::Now,
            Some(When::Never) => Verdict::Never,
            Some(When::PolicyChange) => Verdict::AfterPolicyChange,
            Some(_) => Verdict::Later,
        };
        let refused = violations.iter().any(Violation::refuses);
        let status = match violations.iter().find(|v| v.refuses()) {
            None => 200,
            Some(v) if v.is_hopeless() => 422,
            Some(v) if v.code == Code::ClusterDown => 503,
            Some(_) => 429,
        };
        Explanation {
            verdict,
            refused,
            status,
            request: self.submission.request.clone(),
            duration: self.submission.duration,
            expected: expected(&violations),
            unknown: None,
            fits_now: if violations.is_empty() {
                None
            } else {
                fits_now(self, &violations)
            },
            violations,
            recorded,
        }
    }
}

/// The binding violation first: what no waiting helps, then what refuses, then what lasts longest.
fn binding_first(v: &Violation) -> (u8, bool, std::cmp::Reverse<i64>) {
    let (hopeless, at) = match &v.when {
        When::Never => (0, 0),
        When::PolicyChange => (1, 0),
        When::ClusterBack | When::CapacityKnown => (2, i64::MAX),
        When::JobsEnd(Some(t)) | When::At(t) => (2, t.0),
        When::JobsEnd(None) => (2, i64::MAX - 1),
        When::Turn => (2, i64::MIN),
    };
    (hopeless, !v.rejects, std::cmp::Reverse(at))
}

/// When all of them could be over, if each can say.
fn expected(violations: &[Violation]) -> Option<crate::time::Timestamp> {
    violations
        .iter()
        .map(|v| match &v.when {
            When::JobsEnd(t) => *t,
            When::At(t) => Some(*t),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()?
        .into_iter()
        .max()
}

/// Where a hit is, for those who render it.
pub(super) fn bucket_of_hit(hit: &Hit) -> Option<u32> {
    match hit.place {
        Place::Bucket(b) => Some(b),
        Place::Cluster => None,
    }
}

/// Whether a hit is about a resource, and which.
pub(super) fn resource_of(kind: Kind) -> Option<ResIx> {
    match kind {
        Kind::PerJob(r)
        | Kind::Concurrent(r)
        | Kind::Capacity(r)
        | Kind::Unread(r)
        | Kind::Guarantee(r)
        | Kind::Borrowing(r)
        | Kind::Turn(r) => Some(r),
        _ => None,
    }
}
