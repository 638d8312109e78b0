//! One quota.

use crate::policy::model::{
    Above, Budget, Excess, Limits, PerJob, Quota, Reclaim, Rung, Selector, Step, Validity, Window,
    WithoutDuration,
};
use crate::policy::schema;
use crate::time::Millis;

use super::amounts::amounts;
use super::names::{Known, selector};
use super::top::{choice, mode, read_zone};
use super::values;
use super::{MAX_REASON, MAX_SMALL_LIST};
use crate::yaml::read::{sentence, span, too_many, value};
use crate::yaml::{Place, Reader, Value, quoted};

/// Reads a quota. What is wrong is reported, and left at its default. Beside it: whether its amounts are what was
/// written, so that they can be compared with one another.
pub fn quota(r: &mut Reader<'_>, at: &Place<'_>, known: &Known<'_>) -> (Quota, bool) {
    let before = r.errors();
    r.is_map_of(
        at,
        schema::QUOTA,
        "a quota, such as `{name: all, limits: {gpu: 4}}`",
    );
    let fields_known = r.errors() == before;
    let before = r.errors();
    let limits = at
        .field("limits")
        .map(|f| limits(r, &f))
        .unwrap_or_default();
    let borrow = resources(r, at, "borrow");
    let guarantee = resources(r, at, "guarantee");
    let per_job = at
        .field("per_job")
        .map(|f| per_job(r, &f))
        .unwrap_or_default();
    let amounts_known = fields_known && r.errors() == before;
    let above = [("queue", Above::Queue), ("reject", Above::Reject)];
    let quota = Quota {
        name: name(r, at),
        reason: at
            .field("reason")
            .and_then(|f| sentence(r, &f, "a reason", MAX_REASON)),
        selector: at
            .field("for")
            .map(|f| covers(r, &f, known))
            .unwrap_or_default(),
        limits,
        borrow,
        reclaim: at
            .field("reclaim")
            .map(|f| reclaim(r, &f))
            .unwrap_or_default(),
        guarantee,
        per_job,
        submit_rate: at
            .field("submit_rate")
            .and_then(|f| value(r, &f, "a rate such as `30/min`", values::rate)),
        budgets: at
            .field("budget")
            .map(|f| budgets(r, &f))
            .unwrap_or_default(),
        when: at.field("when").and_then(|f| window(r, &f, known)),
        valid: at
            .field("valid")
            .map(|f| validity(r, &f, known))
            .unwrap_or_default(),
        above: choice(r, at, "above", &above),
        ladder: at
            .field("ladder")
            .map(|f| ladder(r, &f))
            .unwrap_or_default(),
        mode: mode(r, at, "audit", "observe", "a quota is put in `audit`"),
        alert_at: at
            .field("alert_at")
            .map(|f| alerts(r, &f))
            .unwrap_or_default(),
    };
    (quota, amounts_known)
}

fn name(r: &mut Reader<'_>, at: &Place<'_>) -> String {
    match at.field("name") {
        Some(field) => r.name(&field, "the name of a quota"),
        None => {
            if matches!(at.node.value, Value::Map(_)) {
                r.error(
                    at,
                    "this quota has no `name`",
                    "add `name:`, unique in the file",
                );
            }
            None
        }
    }
    .unwrap_or_default()
}

fn covers(r: &mut Reader<'_>, at: &Place<'_>, known: &Known<'_>) -> Selector {
    match &at.node.value {
        Value::Scalar { text, .. } if text == "everybody" => Selector::default(),
        Value::Map(_) => selector(r, at, known),
        _ => {
            r.wanted(
                at,
                "who it is for: `{user: \"*\"}`, `{team: vision}` or such, or `everybody`",
            );
            Selector::default()
        }
    }
}

fn limits(r: &mut Reader<'_>, at: &Place<'_>) -> Limits {
    Limits {
        jobs: count(r, at, "jobs", "a number of running jobs"),
        queued: count(r, at, "queued", "a number of queued jobs"),
        resources: amounts(r, at, schema::LIMITS),
    }
}

fn count(r: &mut Reader<'_>, at: &Place<'_>, field: &str, what: &str) -> Option<u32> {
    let at = at.field(field)?;
    let n = r.whole(&at, what, 0, i64::from(u32::MAX))?;
    u32::try_from(n).ok()
}

fn resources(r: &mut Reader<'_>, at: &Place<'_>, field: &str) -> crate::resource::Resources {
    at.field(field)
        .map(|f| amounts(r, &f, &[]).into_iter().collect())
        .unwrap_or_default()
}

fn per_job(r: &mut Reader<'_>, at: &Place<'_>) -> PerJob {
    PerJob {
        resources: amounts(r, at, schema::REQUEST),
        duration: at
            .field("duration")
            .and_then(|d| span(r, &d, Millis::SECOND)),
    }
}

fn reclaim(r: &mut Reader<'_>, at: &Place<'_>) -> Reclaim {
    let wanted = "`drain` or `{stop_after: 10m}`";
    match &at.node.value {
        Value::Scalar { text, .. } if text == "drain" => return Reclaim::Drain,
        Value::Map(_) => {}
        _ => {
            r.wanted(at, wanted);
            return Reclaim::Drain;
        }
    }
    r.is_map_of(at, schema::RECLAIM, wanted);
    match at.field("stop_after") {
        Some(field) => span(r, &field, Millis::SECOND).map_or(Reclaim::Drain, Reclaim::StopAfter),
        None => {
            r.error(
                at,
                "missing field `stop_after`",
                "write `{stop_after: 10m}`, or `drain`",
            );
            Reclaim::Drain
        }
    }
}

fn ladder(r: &mut Reader<'_>, at: &Place<'_>) -> Vec<Rung> {
    let each = at.one_or_many();
    if too_many(r, at, each.len(), "steps") {
        return Vec::new();
    }
    let mut all: Vec<Rung> = Vec::new();
    for one in &each {
        let Some(rung) = rung(r, one) else { continue };
        let same = |other: &Rung| other.when == rung.when;
        if all
            .iter()
            .any(|other| same(other) && other.step >= rung.step)
        {
            r.error(
                one,
                "a step that an earlier one goes as far as",
                "put them in the order warn, stop, each once",
            );
        } else if all
            .iter()
            .any(|other| same(other) && other.after > rung.after)
        {
            r.error(
                one,
                "a step that comes before an earlier one",
                "give it an `after` that is not shorter than that of the step before it",
            );
        } else {
            all.push(rung);
        }
    }
    all
}

fn rung(r: &mut Reader<'_>, at: &Place<'_>) -> Option<Rung> {
    let before = r.errors();
    r.is_map_of(
        at,
        schema::RUNG,
        "a step such as `{when: held, after: 1m, do: stop}`",
    );
    for field in ["when", "do"] {
        if at.field(field).is_none() && matches!(at.node.value, Value::Map(_)) {
            let message = format!("missing field `{field}`");
            r.error(
                at,
                &message,
                "write a step as `{when: held, after: 1m, do: stop}`",
            );
        }
    }
    let step = [("warn", Step::Warn), ("stop", Step::Stop)];
    let when = at.field("when").and_then(|f| r.choice(&f, &Excess::WORDS));
    let step = at.field("do").and_then(|f| r.choice(&f, &step));
    let after = at.field("after").and_then(|f| span(r, &f, Millis(0)));
    (r.errors() == before).then_some(Rung {
        when: when?,
        after: after.unwrap_or(Millis(0)),
        step: step?,
    })
}

fn budgets(r: &mut Reader<'_>, at: &Place<'_>) -> Vec<Budget> {
    let mut all: Vec<Budget> = Vec::new();
    let each = at.one_or_many();
    if too_many(r, at, each.len(), "budgets") {
        return all;
    }
    for one in &each {
        budget(r, one, &mut all);
    }
    too_many(r, at, all.len(), "budgets");
    all
}

/// One map of resource-hours and a period.
fn budget(r: &mut Reader<'_>, at: &Place<'_>, all: &mut Vec<Budget>) {
    if !r.is_map(at, "a budget such as `{gpu_hours: 500, per: month}`") {
        return;
    }
    let per = match at.field("per") {
        Some(field) => value(r, &field, "a period such as `month`", values::period),
        None => {
            r.error(
                at,
                "missing field `per`",
                "add `per: day`, `week`, `month` or `rolling 30d`",
            );
            None
        }
    };
    let words = [
        ("meter", WithoutDuration::Meter),
        ("refuse", WithoutDuration::Refuse),
    ];
    let without_duration = choice(r, at, "without_duration", &words);
    let mut named = false;
    let is_field = |key: &str| schema::BUDGET.iter().any(|f| f.name == key);
    for (key, entry) in at.fields().filter(|(key, _)| !is_field(key)) {
        named = true;
        // Past the bound, which the caller reports, nothing more is compared.
        if all.len() > MAX_SMALL_LIST {
            return;
        }
        let resource = match values::budget_resource(key) {
            Some(Ok(resource)) => resource,
            Some(Err(wrong)) => {
                r.error_at_key(&entry, &wrong.message, &wrong.help);
                continue;
            }
            None => {
                not_in_hours(r, &entry, key);
                continue;
            }
        };
        let amount = value(r, &entry, "a number of hours", |t| {
            values::hours(&resource, t)
        });
        let (Some(amount), Some(per)) = (amount, per) else {
            continue;
        };
        if all.iter().any(|b| b.resource == resource && b.per == per) {
            let message = format!("a second budget of {} per {per}", resource.label());
            r.error_at_key(&entry, &message, "keep one of them");
            continue;
        }
        all.push(Budget {
            resource,
            amount,
            per,
            without_duration,
        });
    }
    if !named {
        r.error(
            at,
            "a budget of nothing",
            "add what it limits, such as `gpu_hours: 500`",
        );
    }
}

/// A key of a budget that is none of its fields and does not end in `_hours`.
fn not_in_hours(r: &mut Reader<'_>, at: &Place<'_>, key: &str) {
    let alias = schema::NOT_RESOURCES.iter().find(|(name, _)| *name == key);
    match alias.map_or(key, |(_, meant)| meant) {
        resource @ ("cpu" | "gpu") => {
            let help = format!("a budget is in hours: did you mean `{resource}_hours`?");
            r.error_at_key(at, &format!("unknown field {}", quoted(key)), &help);
        }
        _ => r.unknown(
            at,
            key,
            &[
                "per",
                "without_duration",
                "cpu_hours",
                "memory_gib_hours",
                "gpu_hours",
            ],
        ),
    }
}

fn window(r: &mut Reader<'_>, at: &Place<'_>, known: &Known<'_>) -> Option<Window> {
    if !r.is_map_of(
        at,
        schema::WINDOW,
        "a window such as `{days: [mon-fri], hours: \"08:00-20:00\"}`",
    ) {
        return None;
    }
    if at.field("days").is_none() && at.field("hours").is_none() {
        r.error(
            at,
            "a window without days and hours",
            "add `days` or `hours`, or leave `when` out",
        );
    }
    let days = match at.field("days") {
        Some(field) => days(r, &field),
        None => [true; 7],
    };
    let hours = at
        .field("hours")
        .and_then(|f| value(r, &f, "hours such as `08:00-20:00`", values::clock_hours));
    let tz = at
        .field("tz")
        .and_then(|f| read_zone(r, &f))
        .map_or_else(|| known.timezone.clone(), |(name, _)| name);
    let (from, to) = hours.unwrap_or((0, 1440));
    Some(Window { days, from, to, tz })
}

fn days(r: &mut Reader<'_>, at: &Place<'_>) -> [bool; 7] {
    let mut set = [false; 7];
    let each = at.one_or_many();
    if each.is_empty() {
        r.error(
            at,
            "the window is empty: it names no day",
            "name a day, or leave `days` out for all",
        );
    }
    if too_many(r, at, each.len(), "days") {
        return set;
    }
    for one in &each {
        value(r, one, "days such as `mon-fri`", |t| {
            values::days(t, &mut set)
        });
    }
    set
}

fn validity(r: &mut Reader<'_>, at: &Place<'_>, known: &Known<'_>) -> Validity {
    let mut valid = Validity::default();
    if !r.is_map_of(
        at,
        schema::VALID,
        "`{from: 2027-01-01, until: 2027-06-30}`, or one of them",
    ) {
        return valid;
    }
    let mut moment = |field: &str| {
        let at = at.field(field)?;
        value(r, &at, "a date such as `2027-06-30`", |t| {
            values::moment(t, &known.zone)
        })
    };
    valid.from = moment("from");
    valid.until = moment("until");
    if let (Some(from), Some(until), Some(field)) = (valid.from, valid.until, at.field("until"))
        && until <= from
    {
        r.error(
            &field,
            &format!("`until` ({until}) is not after `from` ({from})"),
            "`until` is the first moment at which it does not apply any more",
        );
    }
    valid
}

fn alerts(r: &mut Reader<'_>, at: &Place<'_>) -> Vec<u8> {
    let mut all: Vec<u8> = Vec::new();
    if !r.is_list(at, "a list of percents such as `[80%, 90%]`")
        || too_many(r, at, at.items().count(), "alerts")
    {
        return all;
    }
    for item in at.items() {
        let Some(percent) = value(r, &item, "percents such as `80%`", values::percent) else {
            continue;
        };
        if let Some(last) = all.last().filter(|last| percent <= **last) {
            r.error(
                &item,
                &format!("`{percent}%` does not come after `{last}%`"),
                "write them in ascending order",
            );
            continue;
        }
        all.push(percent);
    }
    all
}
