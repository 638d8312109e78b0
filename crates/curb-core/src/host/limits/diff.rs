//! What changed between two files of limits.

use std::fmt;

use serde::Serialize;

use super::key::{Key, Row};
use super::model::{Accepted, File, LimitSet, Step, Workload};
use super::show::step;

/// Which way a value went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// There was none.
    Added,
    /// There is none any more.
    Removed,
    /// It lets more pass.
    Loosened,
    /// It lets less pass.
    Tightened,
    /// Neither: other CPUs, another reason, another rule.
    Changed,
}

/// One thing that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The workload; none for the file's own fields.
    pub workload: Option<String>,
    /// Which field: `limits.memory`, `limits.memory.why`, `ladder`, `match`.
    pub field: String,
    /// Which way.
    pub way: Way,
    /// What it was, for people.
    pub old: Option<String>,
    /// What it is, for people.
    pub new: Option<String>,
    /// Why it is what it is now, where it is a limit and its value changed.
    pub why: Option<String>,
    /// Whether the reason stayed as it was, though the value changed.
    pub same_why: bool,
    /// Who accepted the new value.
    pub accepted: Option<Accepted>,
}

/// All that is different, workload by workload in the order of the new file, then those that are gone.
#[must_use]
pub fn diff(old: &File, new: &File) -> Vec<Change> {
    let mut all = Vec::new();
    whole(
        &mut all,
        None,
        "host.keep_free.memory",
        old.host.keep_free,
        new.host.keep_free,
    );
    whole(&mut all, None, "host.wired", old.host.wired, new.host.wired);
    for to in &new.workloads {
        match old.workload(&to.name) {
            Some(from) => workload(&mut all, from, to),
            None => all.push(plain(
                Some(&to.name),
                "workload",
                Way::Added,
                None,
                Some(count(to)),
            )),
        }
    }
    for from in &old.workloads {
        if new.workload(&from.name).is_none() {
            let was = Some(count(from));
            all.push(plain(Some(&from.name), "workload", Way::Removed, was, None));
        }
    }
    all
}

fn count(w: &Workload) -> String {
    match w.limits.rows().len() {
        1 => "1 limit".to_owned(),
        n => format!("{n} limits"),
    }
}

fn plain(
    workload: Option<&str>,
    field: &str,
    way: Way,
    old: Option<String>,
    new: Option<String>,
) -> Change {
    Change {
        workload: workload.map(str::to_owned),
        field: field.to_owned(),
        way,
        old,
        new,
        why: None,
        same_why: false,
        accepted: None,
    }
}

/// A field of which only old and new can be told.
fn whole<T: PartialEq + fmt::Display>(
    all: &mut Vec<Change>,
    workload: Option<&str>,
    field: &str,
    old: Option<T>,
    new: Option<T>,
) {
    if old == new {
        return;
    }
    let way = match (&old, &new) {
        (None, _) => Way::Added,
        (_, None) => Way::Removed,
        _ => Way::Changed,
    };
    let text = |v: Option<T>| v.map(|v| v.to_string());
    all.push(plain(workload, field, way, text(old), text(new)));
}

fn workload(all: &mut Vec<Change>, old: &Workload, new: &Workload) {
    let name = Some(new.name.as_str());
    limits(all, name, "limits", &old.limits, &new.limits);
    ladder(all, name, old, new);
    for (field, text) in OTHERS {
        whole(all, name, field, text(old), text(new));
    }
    let small = |w: &Workload| {
        w.fallback
            .as_ref()
            .map(|f| f.limits.clone())
            .unwrap_or_default()
    };
    limits(all, name, "fallback.limits", &small(old), &small(new));
}

/// Step by step: what the two have in common at their beginning and at their end stays.
fn ladder(all: &mut Vec<Change>, name: Option<&str>, old: &Workload, new: &Workload) {
    let (mut from, mut to) = (&old.ladder[..], &new.ladder[..]);
    while let ([a, rest_a @ ..], [b, rest_b @ ..]) = (from, to)
        && a == b
    {
        (from, to) = (rest_a, rest_b);
    }
    while let ([rest_a @ .., a], [rest_b @ .., b]) = (from, to)
        && a == b
    {
        (from, to) = (rest_a, rest_b);
    }
    let text = |s: Option<&Step>| s.map(step);
    for i in 0..from.len().max(to.len()) {
        whole(all, name, "ladder", text(from.get(i)), text(to.get(i)));
    }
}

type Other = (&'static str, fn(&Workload) -> Option<String>);

/// The fields besides limits and ladder, as the file has them.
const OTHERS: [Other; 8] = [
    ("match", |w| w.matches.as_ref().map(super::show::matching)),
    ("command", |w| {
        w.command.as_ref().map(|c| super::show::argv(c))
    }),
    ("baseline", |w| w.baseline.clone()),
    ("end_thrashing", |w| w.end_thrashing.map(|e| e.to_string())),
    ("on_warn", |w| {
        w.on_warn.as_ref().map(|c| super::show::argv(c))
    }),
    ("retry", |w| w.retry.as_ref().map(super::show::retry)),
    ("fallback.command", |w| {
        w.fallback.as_ref().map(|f| super::show::argv(&f.command))
    }),
    ("front", |w| w.front.as_ref().map(super::show::front)),
];

fn limits(all: &mut Vec<Change>, name: Option<&str>, field: &str, old: &LimitSet, new: &LimitSet) {
    for key in Key::ALL {
        let (from, to) = (old.row(key), new.row(key));
        let field = format!("{field}.{key}");
        match (from, to) {
            (None, None) => {}
            (Some(from), Some(to)) => one(all, name, &field, &from, &to),
            (None, Some(to)) => all.push(Change {
                why: Some(to.why.to_owned()),
                accepted: to.accepted.cloned(),
                ..plain(name, &field, Way::Added, None, Some(to.value.to_string()))
            }),
            (Some(from), None) => {
                let was = Some(from.value.to_string());
                all.push(plain(name, &field, Way::Removed, was, None));
            }
        }
    }
}

fn one(all: &mut Vec<Change>, name: Option<&str>, field: &str, from: &Row<'_>, to: &Row<'_>) {
    if from.value != to.value {
        let way = match to.value.looser_than(&from.value) {
            Some(true) => Way::Loosened,
            Some(false) => Way::Tightened,
            None => Way::Changed,
        };
        // Exact, where people's form is the same for both.
        let (mut old, mut new) = (from.value.to_string(), to.value.to_string());
        if old == new {
            (old, new) = (from.value.written(), to.value.written());
        }
        all.push(Change {
            why: Some(to.why.to_owned()),
            same_why: from.why == to.why,
            accepted: to.accepted.cloned(),
            ..plain(name, field, way, Some(old), Some(new))
        });
        return;
    }
    if from.why != to.why {
        let (old, new) = (Some(from.why.to_owned()), Some(to.why.to_owned()));
        all.push(plain(name, &format!("{field}.why"), Way::Changed, old, new));
    }
    let of = |field: &str, part: &str| format!("{field}.{part}");
    whole(all, name, &of(field, "from"), from.from, to.from);
    let accepted = |row: &Row<'_>| row.accepted.map(|a| format!("{} on {}", a.by, a.on));
    whole(
        all,
        name,
        &of(field, "accepted"),
        accepted(from),
        accepted(to),
    );
}
