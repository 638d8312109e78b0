//! What of a request would start now: the largest part of it that could be submitted in its place and would not wait.
//!
//! How much there is room for is only where the search begins. What is offered is held against the same limits, those who
//! go first, and the defaults of the policy, as a submission of it would be.

use super::check::{Check, Fit, Hit, Kind, Place, Scope, limits_of};
use super::promise::Promised;
use super::queue::wanted;
use super::render::Render;
use super::resolve::{Ask, Submission, request};
use super::submit::{View, ask_of, bucket_of_hit, resource_of};
use super::violation::{Code, Violation};
use crate::amount::{Amount, Unit};
use crate::ledger::{Has, ResIx};
use crate::resource::{Resource, Resources};

/// Each round lowers an amount to what a limit leaves; this many limits one after the other are the rare end of it.
const ROUNDS: usize = 16;

/// The largest part of the request that would start now; `None` when none of it would.
pub(super) fn fits_now(view: &View<'_>, violations: &[Violation]) -> Option<Resources> {
    let smaller_helps = |v: &Violation| {
        matches!(
            v.code,
            Code::PerJobLimit
                | Code::ConcurrentLimit
                | Code::Budget
                | Code::Capacity
                | Code::Guarantee
                | Code::Borrowing
        )
    };
    if !violations.iter().all(smaller_helps) {
        return None;
    }
    let mut shapes = shapes(view);
    shapes.retain_mut(|shape| {
        shape.round();
        can_be_said(view, &shape.amounts)
    });
    if shapes.is_empty() {
        return None;
    }
    // A part of the request asks of no budget that the whole does not: what is kept is the same for each.
    let promised = view.promised()?;
    let mut all = shapes.into_iter();
    all.find_map(|shape| settle(view, &promised, shape))
}

/// Amounts to begin with.
struct Shape {
    amounts: Resources,
    /// All GPUs are of the models named.
    only_models: bool,
}

/// The whole request as far as there is room, then with the GPUs of a single model, then without any.
fn shapes(view: &View<'_>) -> Vec<Shape> {
    let render = Render { view };
    let (mut asked, mut amounts) = (Resources::none(), Resources::none());
    for (r, a) in view.ask {
        let resource = render.resource(*r);
        asked.set(resource.clone(), Amount(*a));
        amounts.set(resource, Amount(room(view, *r).min(*a)));
    }
    let models = models_of(&asked);
    let sum = sum_of(&asked, &models);
    let mut shapes = vec![Shape {
        amounts: amounts.clone(),
        only_models: !models.is_empty() && sum == asked.get(&Resource::Gpu),
    }];
    let without = |keep: Option<&Resource>| {
        let mut amounts = amounts.clone();
        let others = models.iter().filter(|m| Some(*m) != keep);
        others.for_each(|m| amounts.set(m.clone(), Amount::ZERO));
        amounts
    };
    let mut by_room = models.clone();
    by_room.sort_by_key(|m| std::cmp::Reverse(amounts.get(m)));
    shapes.extend(by_room.iter().map(|model| Shape {
        amounts: without(Some(model)),
        only_models: true,
    }));
    if asked.get(&Resource::Gpu) > Amount::ZERO {
        let mut none = without(None);
        none.set(Resource::Gpu, Amount::ZERO);
        shapes.push(Shape {
            amounts: none,
            only_models: false,
        });
    }
    shapes
}

fn models_of(of: &Resources) -> Vec<Resource> {
    let names = of.iter().map(|(r, _)| r.clone());
    names
        .filter(|r| matches!(r, Resource::GpuModel(_)))
        .collect()
}

fn sum_of(of: &Resources, models: &[Resource]) -> Amount {
    let each = models.iter().map(|m| of.get(m));
    each.fold(Amount::ZERO, Amount::saturating_add)
}

impl Shape {
    /// Makes it what can be asked for as it is shown: in whole units of memory, and models count as GPUs.
    fn round(&mut self) {
        let memory = self.amounts.clone();
        for (r, a) in memory.iter().filter(|(r, _)| r.unit() == Unit::Bytes) {
            let fine = match a.0 {
                a if a >= 1 << 20 => 1 << 20,
                a if a >= 1 << 10 => 1 << 10,
                _ => 1,
            };
            self.amounts.set(r.clone(), Amount(a.0 - a.0 % fine));
        }
        let models = models_of(&self.amounts);
        let mut gpus = self.amounts.get(&Resource::Gpu);
        for model in &models {
            let some = self.amounts.get(model).min(gpus);
            gpus = gpus.saturating_sub(some);
            self.amounts.set(model.clone(), some);
        }
        if self.only_models {
            let sum = sum_of(&self.amounts, &models);
            self.amounts.set(Resource::Gpu, sum);
        }
    }
}

/// Lowers amounts until nothing is in the way, if it comes to that.
fn settle(view: &View<'_>, promised: &Promised, mut shape: Shape) -> Option<Resources> {
    for _ in 0..ROUNDS {
        shape.round();
        let amounts = &shape.amounts;
        if !can_be_said(view, amounts) {
            return None;
        }
        let submission = Submission {
            request: amounts.clone(),
            ..view.submission.clone()
        };
        let ask = ask_of(view.state, &submission);
        let part = View {
            submission: &submission,
            ask: &ask,
            ..*view
        };
        let lower = in_the_way(&part, promised)?;
        if lower.is_empty() {
            return Some(shape.amounts);
        }
        for (r, most) in lower {
            let now = shape.amounts.get(&r);
            shape.amounts.set(r, now.min(Amount(most)));
        }
    }
    None
}

/// Whether it is something, and a job can declare it and is charged it: where it names nothing, a default holds, and it names GPUs once.
fn can_be_said(view: &View<'_>, amounts: &Resources) -> bool {
    if amounts.is_empty() {
        return false;
    }
    let policy = view.state.policy();
    let subject = &view.submission.subject;
    let job_type = subject
        .job_type
        .as_ref()
        .and_then(|t| policy.job_types.get(t));
    let of_gpus = |r: &Resource| matches!(r, Resource::Gpu | Resource::GpuModel(_));
    let gpus: Vec<&Resource> = amounts
        .iter()
        .map(|(r, _)| r)
        .filter(|r| of_gpus(r))
        .collect();
    let names = std::iter::once(None).chain(gpus.into_iter().map(Some));
    names.into_iter().any(|named| {
        let said = amounts
            .iter()
            .filter(|(r, _)| !of_gpus(r) || Some(*r) == named);
        let ask = Ask {
            declared: said.map(|(r, a)| (r.clone(), a)).collect(),
            ..Ask::default()
        };
        request(policy, &ask, job_type.map(|t| &t.default_request)) == *amounts
    })
}

/// What has to be lowered to what for a part of the request to start now; `None` when no smaller amount helps.
fn in_the_way(part: &View<'_>, promised: &Promised) -> Option<Vec<(Resource, u64)>> {
    let check = Check {
        kept: part.kept(promised),
        ..part.check(Scope::Enforced, part.waits.is_none())
    };
    let hits = check.all();
    if !hits.is_empty() {
        return hits.iter().map(|h| lowered(part, &check, h)).collect();
    }
    // While others wait the queue decides who is lent something: it has to have a place there, and to be lent it.
    let crowd = part.state.queued_count() > 0;
    if !crowd || !matches!(check.fits(), Fit::Yes { borrowed: true }) {
        return Some(Vec::new());
    }
    if part.waits.is_none() && !check.queue_hits().is_empty() {
        return None;
    }
    let wanted = wanted(part.state, part.moment);
    let check = Check {
        wanted: &wanted,
        ..check
    };
    let hits = check.all();
    hits.iter().map(|h| lowered(part, &check, h)).collect()
}

/// How much of which resource a limit that is in the way leaves.
fn lowered(part: &View<'_>, check: &Check<'_>, hit: &Hit) -> Option<(Resource, u64)> {
    let left = hit.limit.saturating_sub(hit.used);
    let (r, left) = match hit.kind {
        Kind::Budget(at) | Kind::TurnBudget(at) => {
            let bucket = part.bucket_at(bucket_of_hit(hit)?);
            let (r, _) = part.state.rules[bucket.quota].budgets.get(at)?;
            let (_, amount) = part.ask.iter().find(|(of, _)| of == r)?;
            let each = (hit.asked / u128::from(*amount).max(1)).max(1);
            (*r, left / each)
        }
        // What its own guarantees lack it may take whoever waits.
        Kind::Turn(r) if hit.place == Place::Cluster => {
            (r, left.max(u128::from(check.own_guarantees(r))))
        }
        kind => (resource_of(kind)?, left),
    };
    let (_, now) = part.ask.iter().find(|(of, _)| *of == r)?;
    let left = u64::try_from(left).unwrap_or(u64::MAX);
    (left < *now).then(|| (Render { view: part }.resource(r), left))
}

/// How much of a resource one more job could be given now, under all that covers it.
fn room(view: &View<'_>, r: ResIx) -> u64 {
    let state = view.state;
    let now = view.moment.now;
    let cluster = state.cluster_at(view.seat.cluster);
    let mut room = match cluster.has(r) {
        Has::This(capacity) => capacity.saturating_sub(cluster.held.get(r)),
        Has::Unread => 0,
        Has::Unmet => u64::MAX,
    };
    if let Some(left) = view.check(Scope::Enforced, false).left_by_guarantees(r) {
        room = room.min(left);
    }
    for b in &view.seat.buckets {
        let bucket = view.bucket_at(*b);
        let rule = &state.rules[bucket.quota];
        if rule.audit || !view.moment.applies(bucket.quota) {
            continue;
        }
        if let Some(limit) = limits_of(state, bucket, now).resource(r) {
            let lent = limit.saturating_add(rule.borrow.get(r).unwrap_or(0));
            room = room.min(lent.saturating_sub(bucket.held.get(r)));
        }
        if let Some(limit) = rule.per_job.get(r) {
            room = room.min(limit);
        }
        for ((resource, limit), meter) in rule.budgets.iter().zip(&bucket.meters) {
            if *resource != r {
                continue;
            }
            let reading = meter.read(now);
            let left = limit.saturating_sub(reading.used.saturating_add(reading.committed));
            let whole = reading.horizon.since(reading.begin);
            let one = match view.submission.duration {
                // Neither in what is left of the period nor in a whole one.
                Some(d) => u128::from(d.min(whole).0).max(1),
                None => 1,
            };
            let now_one = reading.would_add(now, 1, view.submission.duration).max(1);
            let fits = match view.submission.duration {
                Some(_) => u64::try_from((left / now_one).min(limit / one)).unwrap_or(u64::MAX),
                None if left > 0 => u64::MAX,
                None => 0,
            };
            room = room.min(fits);
            let later = view.submission.duration.map(|d| meter.later(now, d));
            for (_, committed, span) in later.into_iter().flatten() {
                let fits = limit.saturating_sub(committed) / span.max(1);
                room = room.min(u64::try_from(fits).unwrap_or(u64::MAX));
            }
        }
    }
    room
}
