//! A policy as normalised YAML that reads back as the same policy.

use std::fmt::{self, Write};

use crate::amount::{Amount, Unit};
use crate::resource::Resource;
use crate::time::{Millis, Timestamp};

use super::model::{
    Above, Budget, Capacity, Defaults, Excess, Match, Mode, Period, Policy, Quota, Rate, Reclaim,
    RefusalStyle, Rung, SeeHolders, SeeJobs, Selector, Step, Validity, WhenDown, Window,
    WithoutDuration,
};
use super::parse::{DAYS, budget_step};
use crate::yaml::write::{bracket, map, name, quote, span};

/// The policy in force, for people and for [`Policy::parse`]: every choice is written, also where it is the default;
/// amounts, spans and moments are exact. (That holds for policies that the reader made; a [`Policy`] put together by hand
/// may hold what no file can say.)
#[must_use]
pub fn show(policy: &Policy) -> String {
    let mut out = String::new();
    // A `String` takes everything.
    let written = write_policy(&mut out, policy);
    debug_assert!(written.is_ok());
    out
}

fn write_policy(out: &mut String, p: &Policy) -> fmt::Result {
    writeln!(out, "version: 1")?;
    write_capacity(out, &p.capacity)?;
    let zone = if p.timezone.is_empty() {
        "UTC"
    } else {
        &p.timezone
    };
    writeln!(out, "timezone: {}", name(zone))?;
    writeln!(out, "mode: {}", mode(p.mode, "observe"))?;
    let refusal = match p.refusal {
        RefusalStyle::Http => "http",
        RefusalStyle::Job => "job",
    };
    writeln!(out, "refusal: {refusal}")?;
    let down = match p.when_ray_is_down {
        WhenDown::Queue => "queue",
        WhenDown::Refuse => "refuse",
    };
    writeln!(out, "when_ray_is_down: {down}")?;
    write_subjects(out, p)?;
    write_job_types(out, p)?;
    if let Some(default) = &p.default_job_type {
        writeln!(out, "default_job_type: {}", name(default))?;
    }
    if p.default_request != Defaults::default() {
        writeln!(out, "default_request: {}", request(&p.default_request))?;
    }
    section(out, "clusters", &p.clusters, |c| {
        list(&allowed(&c.allowed).into_iter().collect::<Vec<_>>())
    })?;
    let (half_life, bound) = (span(p.queue.half_life), span(p.queue.pass_bound));
    writeln!(
        out,
        "queue: {{half_life: {half_life}, pass_bound: {bound}}}"
    )?;
    let jobs = match p.visibility.jobs {
        SeeJobs::Own => "own",
        SeeJobs::Team => "team",
        SeeJobs::All => "all",
    };
    let holders = match p.visibility.holders {
        SeeHolders::Names => "names",
        SeeHolders::Teams => "teams",
        SeeHolders::Counts => "counts",
    };
    writeln!(out, "visibility: {{jobs: {jobs}, holders: {holders}}}")?;
    if !p.quotas.is_empty() {
        writeln!(out, "quotas:")?;
    }
    p.quotas.iter().try_for_each(|q| write_quota(out, q))
}

fn write_capacity(out: &mut String, capacity: &Capacity) -> fmt::Result {
    match capacity {
        Capacity::Discover => writeln!(out, "capacity: discover"),
        Capacity::Fixed(r) => writeln!(out, "capacity: {}", map(&amounts(r.iter()))),
        Capacity::PerCluster(by) => {
            writeln!(out, "capacity:\n  by_cluster:")?;
            by.iter().try_for_each(|(c, r)| {
                writeln!(out, "    {}: {}", name(c), map(&amounts(r.iter())))
            })
        }
    }
}

fn write_subjects(out: &mut String, p: &Policy) -> fmt::Result {
    section(out, "orgs", &p.orgs, |org| {
        let mut fields = Vec::new();
        fields.extend(org.parent.as_ref().map(|o| format!("parent: {}", name(o))));
        fields.push(format!("weight: {}", org.weight));
        map(&fields)
    })?;
    section(out, "teams", &p.teams, |team| {
        let members: Vec<String> = team.members.iter().map(|m| name(m)).collect();
        let mut fields = Vec::new();
        fields.extend(team.org.as_ref().map(|o| format!("org: {}", name(o))));
        fields.push(format!("members: {}", bracket(&members)));
        fields.push(format!("weight: {}", team.weight));
        map(&fields)
    })?;
    section(out, "users", &p.users, |user| {
        let mut fields = vec![format!("weight: {}", user.weight)];
        fields.extend(
            user.default_team
                .as_ref()
                .map(|t| format!("default_team: {}", name(t))),
        );
        if !user.labels.is_empty() {
            let labels: Vec<String> = user
                .labels
                .iter()
                .map(|(k, v)| format!("{}: {}", name(k), name(v)))
                .collect();
            fields.push(format!("labels: {}", map(&labels)));
        }
        map(&fields)
    })
}

fn write_job_types(out: &mut String, p: &Policy) -> fmt::Result {
    section(out, "job_types", &p.job_types, |t| {
        let mut fields = Vec::new();
        if t.default_request != Defaults::default() {
            fields.push(format!("default_request: {}", request(&t.default_request)));
        }
        fields.extend(allowed(&t.allowed));
        fields.push(format!("priority: {}", t.priority));
        fields.push(format!("max_priority: {}", t.max_priority));
        list(&fields)
    })
}

/// A map by name, if there is anything in it. A value that begins with a line break stands below its name.
fn section<T>(
    out: &mut String,
    title: &str,
    entries: &std::collections::BTreeMap<String, T>,
    value: impl Fn(&T) -> String,
) -> fmt::Result {
    if entries.is_empty() {
        return Ok(());
    }
    writeln!(out, "{title}:")?;
    entries.iter().try_for_each(|(key, entry)| {
        let value = value(entry);
        let gap = if value.starts_with('\n') { "" } else { " " };
        writeln!(out, "  {}:{gap}{value}", name(key))
    })
}

fn write_quota(out: &mut String, q: &Quota) -> fmt::Result {
    writeln!(out, "  - name: {}", name(&q.name))?;
    let mut field = |key: &str, value: String| writeln!(out, "    {key}: {value}");
    if let Some(reason) = &q.reason {
        field("reason", quote(reason))?;
    }
    if q.selector.is_everybody() {
        field("for", "everybody".into())?;
    } else {
        field("for", selector(&q.selector))?;
    }
    let mut limits = amounts(q.limits.resources.iter().map(|(r, a)| (r, *a)));
    limits.extend(q.limits.jobs.map(|n| format!("jobs: {n}")));
    limits.extend(q.limits.queued.map(|n| format!("queued: {n}")));
    if !limits.is_empty() {
        field("limits", map(&limits))?;
    }
    if !q.borrow.is_empty() {
        field("borrow", map(&amounts(q.borrow.iter())))?;
    }
    match q.reclaim {
        Reclaim::StopAfter(after) => field("reclaim", format!("{{stop_after: {}}}", span(after)))?,
        Reclaim::Drain if !q.borrow.is_empty() => field("reclaim", "drain".into())?,
        Reclaim::Drain => {}
    }
    if !q.guarantee.is_empty() {
        field("guarantee", map(&amounts(q.guarantee.iter())))?;
    }
    let mut per_job = amounts(q.per_job.resources.iter().map(|(r, a)| (r, *a)));
    per_job.extend(q.per_job.duration.map(|d| format!("duration: {}", span(d))));
    if !per_job.is_empty() {
        field("per_job", map(&per_job))?;
    }
    if !q.ladder.is_empty() {
        let steps: Vec<String> = q.ladder.iter().map(rung).collect();
        field("ladder", bracket(&steps))?;
    }
    if let Some(limit) = q.submit_rate {
        field("submit_rate", rate(limit))?;
    }
    if !q.budgets.is_empty() {
        let budgets: Vec<String> = q.budgets.iter().map(budget).collect();
        field("budget", bracket(&budgets))?;
    }
    if let Some(w) = &q.when {
        field("when", window(w))?;
    }
    if q.valid != Validity::default() {
        field("valid", validity(&q.valid))?;
    }
    let above = match q.above {
        Above::Queue => "queue",
        Above::Reject => "reject",
    };
    field("above", above.into())?;
    field("mode", mode(q.mode, "audit").into())?;
    if !q.alert_at.is_empty() {
        let marks: Vec<String> = q.alert_at.iter().map(|p| format!("{p}%")).collect();
        field("alert_at", bracket(&marks))?;
    }
    Ok(())
}

fn mode(mode: Mode, audit: &'static str) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Audit => audit,
    }
}

/// Fields below their map's name, or `{}`.
fn list(fields: &[String]) -> String {
    if fields.is_empty() {
        return "{}".into();
    }
    fields.iter().map(|f| format!("\n    {f}")).collect()
}

fn allowed(selectors: &[Selector]) -> Option<String> {
    let all: Vec<String> = selectors.iter().map(selector).collect();
    (!all.is_empty()).then(|| format!("allowed: {}", bracket(&all)))
}

fn selector(s: &Selector) -> String {
    let named = [
        ("user", &s.user),
        ("team", &s.team),
        ("org", &s.org),
        ("job_type", &s.job_type),
        ("cluster", &s.cluster),
    ];
    let mut fields: Vec<String> = named
        .iter()
        .filter_map(|(key, m)| Some(format!("{key}: {}", matching(m.as_ref()?))))
        .collect();
    if !s.labels.is_empty() {
        let labels: Vec<String> = s
            .labels
            .iter()
            .map(|(k, m)| format!("{}: {}", name(k), matching(m)))
            .collect();
        fields.push(format!("label: {}", map(&labels)));
    }
    map(&fields)
}

fn matching(m: &Match) -> String {
    match m {
        Match::Each => "\"*\"".into(),
        Match::OneOf(names) if names.len() == 1 => names.iter().map(|n| name(n)).collect(),
        Match::OneOf(names) => bracket(&names.iter().map(|n| name(n)).collect::<Vec<_>>()),
    }
}

fn request(d: &Defaults) -> String {
    let mut fields = amounts(d.resources.iter().map(|(r, a)| (r, *a)));
    fields.extend(d.duration.map(|d| format!("duration: {}", span(d))));
    map(&fields)
}

fn amounts<'r>(all: impl Iterator<Item = (&'r Resource, Amount)>) -> Vec<String> {
    all.map(|(r, a)| format!("{}: {}", name(&r.to_string()), amount(r, a)))
        .collect()
}

fn amount(resource: &Resource, Amount(n): Amount) -> String {
    match resource.unit() {
        Unit::Milli => Amount(n).show(Unit::Milli).to_string(),
        Unit::Bytes => {
            let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
            let exact = units
                .iter()
                .find(|(bits, _)| n > 0 && n.is_multiple_of(1 << bits));
            exact.map_or_else(
                || n.to_string(),
                |(bits, unit)| format!("{}{unit}", n >> bits),
            )
        }
    }
}

fn rate(Rate { count, per }: Rate) -> String {
    match per {
        Millis::SECOND => format!("{count}/s"),
        Millis::MINUTE => format!("{count}/min"),
        Millis::HOUR => format!("{count}/h"),
        Millis::DAY => format!("{count}/d"),
        other => format!("{count}/{}", span(other)),
    }
}

fn budget(b: &Budget) -> String {
    let key = match &b.resource {
        Resource::Memory => "memory_gib_hours".to_owned(),
        other => format!("{other}_hours"),
    };
    // The reader makes only whole steps of a thousandth of an hour.
    let milli = b.amount / budget_step(&b.resource);
    let hours = Amount(u64::try_from(milli).unwrap_or(u64::MAX)).show(Unit::Milli);
    let per = match b.per {
        Period::Day => "day".to_owned(),
        Period::Week => "week".to_owned(),
        Period::Month => "month".to_owned(),
        Period::Rolling(window) => format!("rolling {}", span(window)),
    };
    let mut fields = vec![format!("{}: {hours}", name(&key)), format!("per: {per}")];
    if b.without_duration == WithoutDuration::Refuse {
        fields.push("without_duration: refuse".into());
    }
    map(&fields)
}

fn window(w: &Window) -> String {
    let days: Vec<String> = w
        .days
        .iter()
        .zip(DAYS)
        .filter(|(on, _)| **on)
        .map(|(_, day)| day.to_owned())
        .collect();
    let clock = |m: u16| format!("{:02}:{:02}", m / 60, m % 60);
    format!(
        "{{days: {}, hours: \"{}-{}\", tz: {}}}",
        bracket(&days),
        clock(w.from),
        clock(w.to),
        name(&w.tz)
    )
}

fn validity(v: &Validity) -> String {
    let mut fields = Vec::new();
    fields.extend(v.from.map(|t| format!("from: \"{}\"", moment(t))));
    fields.extend(v.until.map(|t| format!("until: \"{}\"", moment(t))));
    map(&fields)
}

fn moment(t: Timestamp) -> String {
    t.to_jiff().to_string()
}

fn rung(rung: &Rung) -> String {
    let words = Excess::WORDS.into_iter();
    let when = words.filter(|(_, e)| *e == rung.when).map(|(word, _)| word);
    let when: String = when.collect();
    let step = match rung.step {
        Step::Warn => "warn",
        Step::Stop => "stop",
    };
    format!("{{when: {when}, after: {}, do: {step}}}", span(rung.after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_spans_are_exact() {
        assert_eq!(amount(&Resource::Memory, Amount(3 << 29)), "1536MiB");
        assert_eq!(amount(&Resource::Memory, Amount(1001)), "1001");
        assert_eq!(amount(&Resource::Memory, Amount(0)), "0");
        assert_eq!(amount(&Resource::Cpu, Amount(1500)), "1.5");
    }
}
