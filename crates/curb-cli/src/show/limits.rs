//! Limits of workloads and what changed between two files of them.

use curb_core::host::limits::{
    Change, File, Hold, Key, LimitSet, Match, Takes, Way, Workload, step,
};

use crate::term::{Cell, Ink, Table, View};

/// Each workload with its limits, and what it does at them.
#[must_use]
pub fn limits(file: &File, view: &View) -> String {
    if file.workloads.is_empty() {
        return "no workloads\n".to_owned();
    }
    let mut parts: Vec<String> = file.workloads.iter().map(|w| workload(w, view)).collect();
    let notes = notes(file);
    if !notes.is_empty() {
        parts.push(notes);
    }
    parts.join("\n")
}

fn workload(w: &Workload, view: &View) -> String {
    let mut out = format!("{}\n", view.ink(Ink::Bold, &w.name));
    let mut line = |head: &str, text: String| out.push_str(&format!("  {head:<9} {text}\n"));
    if let Some(rule) = &w.matches {
        line("match", matching(rule));
    }
    if let Some(command) = &w.command {
        line("command", command.join(" "));
    }
    if let Some(path) = &w.baseline {
        line("baseline", path.clone());
    }
    out.push_str(&table(&w.limits, view));
    if !w.ladder.is_empty() {
        out.push_str("  ladder\n");
    }
    for s in &w.ladder {
        out.push_str(&format!("    {}\n", step(s).trim_matches(['{', '}'])));
    }
    if let Some(fallback) = &w.fallback {
        out.push_str(&format!("  fallback  {}\n", fallback.command.join(" ")));
        if fallback.limits != LimitSet::default() {
            out.push_str(&table(&fallback.limits, view));
        }
    }
    out
}

fn matching(rule: &Match) -> String {
    let mut all: Vec<String> = Vec::new();
    let mut one = |what: &str, value: Option<String>| {
        all.extend(value.map(|v| format!("{what} {v}")));
    };
    one("library", rule.library.clone());
    one("user", rule.user.as_ref().map(ToString::to_string));
    one("unit", rule.unit.clone());
    one("container", rule.container.clone());
    one("command", rule.command.as_ref().map(|g| g.0.clone()));
    for (name, value) in &rule.environment {
        one("variable", Some(format!("{name}={value}")));
    }
    all.join(", ")
}

fn table(set: &LimitSet, view: &View) -> String {
    if *set == LimitSet::default() {
        return "  no limits\n".to_owned();
    }
    let heads = ["  LIMIT", "VALUE", "HOLDS", "CHANGES", "ACCEPTED", "WHY"];
    let mut table = Table::new(&heads).right(&[1]).whole(&[1]);
    for row in set.rows() {
        let hold = row.key.hold();
        let ink = if hold == Hold::Advisory {
            Ink::Yellow
        } else {
            Ink::Plain
        };
        let accepted = row.accepted.map(|a| format!("{} {}", a.by, a.on));
        let from = row.from.map(|f| format!(" (from {f})")).unwrap_or_default();
        table.row(vec![
            Cell::new(format!("  {}", row.key)),
            Cell::new(row.value.to_string()),
            Cell::new(hold.word()).ink(ink),
            Cell::new(row.key.takes().word()),
            Cell::new(accepted.unwrap_or_else(|| "-".to_owned())),
            Cell::new(format!("{}{from}", row.why)),
        ]);
    }
    table.render(view)
}

/// What the words in the tables mean, where they are not the strongest.
fn notes(file: &File) -> String {
    let keys: Vec<Key> = file
        .workloads
        .iter()
        .flat_map(|w| w.limits.rows())
        .map(|row| row.key)
        .collect();
    let mut out = String::new();
    for (hold, says) in [
        (
            Hold::Watched,
            "watched: curb looks and acts; it may be past the limit for the time of a look",
        ),
        (Hold::Driver, "driver: held by NVIDIA's MPS, where it runs"),
        (
            Hold::Framework,
            "framework: held by the framework itself; other code in the process need not",
        ),
        (
            Hold::Advisory,
            "advisory: nothing holds it; MLX goes past it without an error",
        ),
    ] {
        if keys.iter().any(|k| k.hold() == hold) {
            out.push_str(says);
            out.push('\n');
        }
    }
    if keys.iter().any(|k| k.takes() == Takes::AtStart) {
        out.push_str("at start: a changed value holds from the next start on\n");
    }
    out
}

/// What is different, a change in a few lines.
#[must_use]
pub fn changes(all: &[Change], view: &View) -> String {
    all.iter().map(|c| change(c, view)).collect()
}

fn change(c: &Change, view: &View) -> String {
    let (ink, word) = match c.way {
        Way::Added => (Ink::Green, "added"),
        Way::Removed => (Ink::Red, "removed"),
        Way::Loosened => (Ink::Yellow, "loosened"),
        Way::Tightened => (Ink::Green, "tightened"),
        Way::Changed => (Ink::Plain, "changed"),
    };
    let word = view.ink(ink, word);
    let subject = match &c.workload {
        Some(name) => format!("{name}: {}", c.field),
        None => c.field.clone(),
    };
    let long = |v: &Option<String>| v.as_ref().is_some_and(|v| v.chars().count() > 40);
    let mut out = match (&c.old, &c.new) {
        (Some(old), Some(new)) if long(&c.old) || long(&c.new) => {
            format!("{subject} {word}\n  - {old}\n  + {new}\n")
        }
        (Some(old), Some(new)) => format!("{subject} {word}: {old} -> {new}\n"),
        (Some(value), None) | (None, Some(value)) => format!("{subject} {word}: {value}\n"),
        (None, None) => format!("{subject} {word}\n"),
    };
    if let Some(why) = &c.why {
        let old = if c.same_why {
            " (the reason of the old value)"
        } else {
            ""
        };
        out.push_str(&format!("  why: {why}{old}\n"));
    }
    if let Some(accepted) = &c.accepted {
        out.push_str(&format!("  accepted: {} on {}\n", accepted.by, accepted.on));
    }
    out
}
