//! A file of limits as normalised YAML that reads back as the same file.

use std::fmt::{self, Write};

use super::key::Row;
use super::model::{
    Action, Checkpoint, EndThrashing, Fallback, File, Front, HostBounds, LimitSet, Match, Retry,
    Step, User, Workload,
};
use super::parse::SIGNALS;
use crate::host::Permille;
use crate::yaml::write::{bracket, bytes, map, name, quote, span};

/// The file for people and for [`File::parse`]: every choice is written, also where it is the default; all values are
/// exact. (That holds for files that the reader made; a [`File`] put together by hand may hold what no file can say.)
#[must_use]
pub fn show(file: &File) -> String {
    let mut out = String::new();
    // A `String` takes everything.
    let written = write_file(&mut out, file);
    debug_assert!(written.is_ok());
    out
}

fn write_file(out: &mut String, file: &File) -> fmt::Result {
    writeln!(out, "version: 1")?;
    write_host(out, &file.host)?;
    if !file.workloads.is_empty() {
        writeln!(out, "workloads:")?;
    }
    file.workloads.iter().try_for_each(|w| workload(out, w))
}

fn write_host(out: &mut String, host: &HostBounds) -> fmt::Result {
    if *host == HostBounds::default() {
        return Ok(());
    }
    writeln!(out, "host:")?;
    if let Some(memory) = host.keep_free {
        writeln!(out, "  keep_free: {{memory: {}}}", bytes(memory.0))?;
    }
    if let Some(wired) = host.wired {
        writeln!(out, "  wired: {}", bytes(wired.0))?;
    }
    Ok(())
}

fn workload(out: &mut String, w: &Workload) -> fmt::Result {
    writeln!(out, "  - name: {}", name(&w.name))?;
    let mut field = |key: &str, value: String| writeln!(out, "    {key}: {value}");
    if let Some(rule) = &w.matches {
        field("match", matching(rule))?;
    }
    if let Some(command) = &w.command {
        field("command", argv(command))?;
    }
    if let Some(path) = &w.baseline {
        field("baseline", name(path))?;
    }
    if w.limits != LimitSet::default() {
        writeln!(out, "    limits:")?;
        limits(out, &w.limits, "      ")?;
    }
    if !w.ladder.is_empty() {
        writeln!(out, "    ladder:")?;
        for s in &w.ladder {
            writeln!(out, "      - {}", step(s))?;
        }
    }
    let mut field = |key: &str, value: String| writeln!(out, "    {key}: {value}");
    match w.end_thrashing {
        Some(EndThrashing::After(time)) => field("end_thrashing", span(time))?,
        Some(EndThrashing::Never) => field("end_thrashing", "never".to_owned())?,
        None => {}
    }
    if let Some(command) = &w.on_warn {
        field("on_warn", argv(command))?;
    }
    if let Some(r) = &w.retry {
        field("retry", retry(r))?;
    }
    if let Some(f) = &w.fallback {
        fallback(out, f)?;
    }
    if let Some(f) = &w.front {
        writeln!(out, "    front: {}", front(f))?;
    }
    Ok(())
}

fn limits(out: &mut String, set: &LimitSet, margin: &str) -> fmt::Result {
    set.rows()
        .iter()
        .try_for_each(|row| writeln!(out, "{margin}{}: {}", row.key, limit(row)))
}

fn limit(row: &Row<'_>) -> String {
    let mut fields = vec![
        format!("value: {}", row.value.written()),
        format!("why: {}", quote(row.why)),
    ];
    fields.extend(row.from.map(|from| format!("from: {}", quote(from))));
    fields.extend(row.accepted.map(|a| {
        let by = name(&a.by);
        format!("accepted: {{by: {by}, on: {}}}", a.on)
    }));
    map(&fields)
}

pub(super) fn matching(rule: &Match) -> String {
    let mut fields = Vec::new();
    let mut field = |key: &str, value: Option<String>| {
        fields.extend(value.map(|v| format!("{key}: {v}")));
    };
    field("library", rule.library.as_deref().map(name));
    field(
        "user",
        rule.user.as_ref().map(|u| match u {
            User::Name(user) => name(user),
            User::Id(id) => id.to_string(),
        }),
    );
    field("command", rule.command.as_ref().map(|g| quote(&g.0)));
    field("unit", rule.unit.as_deref().map(name));
    field("container", rule.container.as_deref().map(name));
    if !rule.environment.is_empty() {
        let all: Vec<String> = rule
            .environment
            .iter()
            .map(|(key, value)| format!("{}: {}", name(key), name(value)))
            .collect();
        field("environment", Some(map(&all)));
    }
    map(&fields)
}

pub(super) fn argv(command: &[String]) -> String {
    bracket(&command.iter().map(|w| name(w)).collect::<Vec<_>>())
}

/// One step of a ladder, as it is written.
#[must_use]
pub fn step(s: &Step) -> String {
    let mut fields = vec![format!("when: {}", s.when)];
    if s.after.0 > 0 {
        fields.push(format!("after: {}", span(s.after)));
    }
    fields.push(format!("do: {}", s.action.name()));
    match &s.action {
        Action::Warn => {}
        Action::Throttle { cpu, memory_high } => {
            fields.extend(cpu.map(|c| format!("cpu: {c}")));
            fields.extend(memory_high.map(|m| format!("memory_high: {}", bytes(m.0))));
        }
        Action::Pause { raise, most } => {
            fields.push(format!("raise: {raise}"));
            fields.push(format!("most: {}", bytes(most.0)));
        }
        Action::Checkpoint { how, within } => {
            fields.push(match how {
                Checkpoint::Signal(number) => format!("signal: {}", signal(*number)),
                Checkpoint::Hook(hook) => format!("hook: {}", argv(hook)),
            });
            fields.push(format!("within: {}", span(*within)));
        }
        Action::Stop { grace } => fields.push(format!("grace: {}", span(*grace))),
    }
    map(&fields)
}

fn signal(number: i32) -> String {
    let named = SIGNALS.iter().find(|(_, n)| *n == number);
    named.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

pub(super) fn retry(r: &Retry) -> String {
    let mut fields = vec![
        format!("times: {}", r.times),
        format!("first: {}", span(r.first)),
        format!("most: {}", span(r.most)),
    ];
    if r.memory > Permille(0) {
        fields.push(format!("memory: +{}", r.memory));
    }
    fields.push(format!("within: {}", span(r.within)));
    map(&fields)
}

fn fallback(out: &mut String, f: &Fallback) -> fmt::Result {
    writeln!(out, "    fallback:")?;
    writeln!(out, "      command: {}", argv(&f.command))?;
    if f.limits == LimitSet::default() {
        return Ok(());
    }
    writeln!(out, "      limits:")?;
    limits(out, &f.limits, "        ")
}

pub(super) fn front(f: &Front) -> String {
    let mut fields = vec![
        format!("listen: \"{}\"", f.listen),
        format!("to: \"{}\"", f.to),
        format!("in_flight: {}", f.in_flight),
        format!("queue: {}", f.queue),
        format!("body: {}", bytes(f.body.0)),
        format!("per_client: {}", f.per_client),
        format!("deadline: {}", span(f.deadline)),
    ];
    fields.extend(f.fallback.map(|a| format!("fallback: \"{a}\"")));
    fields.extend(f.metrics.map(|a| format!("metrics: \"{a}\"")));
    if !f.trust.is_empty() {
        let trust: Vec<String> = f.trust.iter().map(|n| format!("\"{n}\"")).collect();
        fields.push(format!("trust: [{}]", trust.join(", ")));
    }
    map(&fields)
}
