//! A report of `curb audit` as text.

use std::fmt::{Display, Write};

use curb_core::host::audit::{Effective, Finding, Gpus, Report, Rule, Severity, Subject, Target};

use crate::term::{Ink, View, clean_line, wrap, wrap_indented};

/// The whole report.
#[must_use]
pub fn report(report: &Report, view: &View) -> String {
    let mut out = String::new();
    for subject in &report.subjects {
        out.push_str(&subject_text(subject, view));
        for finding in report.findings.iter().filter(|f| f.about == subject.name) {
            out.push_str(&finding_text(finding, view));
        }
        out.push('\n');
    }
    let of_none = |f: &&Finding| !report.subjects.iter().any(|s| s.name == f.about);
    for finding in report.findings.iter().filter(of_none) {
        out.push_str(&finding_text(finding, view));
        out.push('\n');
    }
    for line in &report.unread {
        out.push_str(&wrap_indented("not audited: ", line, view.columns()));
    }
    out
}

/// What it comes to, in a line.
#[must_use]
pub fn sum(report: &Report) -> String {
    let what = match report.target {
        Target::Host => (
            "group of machine learning processes",
            "groups of machine learning processes",
        ),
        Target::Compose => ("service", "services"),
        Target::Kubernetes => ("container", "containers"),
        Target::Systemd => ("unit", "units"),
    };
    let parts = [
        (Severity::Error, "error"),
        (Severity::Warning, "warning"),
        (Severity::Note, "note"),
    ];
    let counted: Vec<String> = parts
        .iter()
        .map(|(severity, name)| (report.count(*severity), name))
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}{}", if count == 1 { "" } else { "s" }))
        .collect();
    let found = match counted.is_empty() {
        true => "nothing is wrong".to_owned(),
        false => counted.join(", "),
    };
    match report.subjects.len() {
        0 if report.target == Target::Host => {
            format!("no machine learning process was found here: {found}")
        }
        1 => format!("1 {}: {found}", what.0),
        n => format!("{n} {}: {found}", what.1),
    }
}

/// The rules, one a line.
#[must_use]
pub fn rules(view: &View) -> String {
    let mut out = String::new();
    for rule in Rule::ALL {
        let head = format!("{:<21} {:<8} ", rule.id(), rule.severity().to_string());
        out.push_str(&wrap_indented(&head, rule.title(), view.columns()));
    }
    out
}

fn subject_text(subject: &Subject, view: &View) -> String {
    let mut out = view.ink(Ink::Bold, &clean_line(&subject.name));
    let mut about: Vec<String> = subject.frameworks.iter().map(ToString::to_string).collect();
    if let Some(spot) = &subject.spot {
        about.push(spot.to_string());
    }
    if !about.is_empty() {
        let _ = write!(out, "  ({})", clean_line(&about.join(", ")));
    }
    out.push('\n');
    if !subject.members.is_empty() {
        let shown = subject.members.iter().take(MOST_MEMBERS);
        let mut all: Vec<String> = shown.map(|m| format!("{} {}", m.pid, m.name)).collect();
        if subject.members.len() > MOST_MEMBERS {
            all.push(format!("and {} more", subject.members.len() - MOST_MEMBERS));
        }
        line(&mut out, "runs as", &all.join(", "), view);
    }
    if let Some(group) = &subject.group {
        line(&mut out, "group", group, view);
    }
    let used = subject.used.map(|u| format!("uses {u}"));
    limit(&mut out, "memory", &subject.memory, used.as_deref(), view);
    if subject.memory_high.as_held().is_some() {
        limit(&mut out, "slowed at", &subject.memory_high, None, view);
    }
    limit(&mut out, "swap", &subject.swap, None, view);
    limit(&mut out, "cpu", &subject.cpu, None, view);
    if let Some(set) = &subject.cpu_set {
        line(&mut out, "on CPUs", set, view);
    }
    limit(&mut out, "processes", &subject.tasks, None, view);
    if subject.members.is_empty() {
        limit(&mut out, "open files", &subject.open_files, None, view);
    }
    match subject.gpus {
        Gpus::None => {}
        Gpus::Some(n) => line(&mut out, "GPUs", &n.to_string(), view),
        Gpus::All => line(&mut out, "GPUs", "all", view),
    }
    out
}

/// Processes of a subject that are named.
const MOST_MEMBERS: usize = 8;
/// How far the values stand to the right.
const LABEL: usize = 13;

fn line(out: &mut String, label: &str, text: &str, view: &View) {
    let head = format!("  {label:<width$}", width = LABEL - 2);
    out.push_str(&wrap_indented(
        &head,
        text,
        view.width.map_or(usize::MAX, |w| w.max(40)),
    ));
}

fn limit<T: Display>(
    out: &mut String,
    label: &str,
    limit: &Effective<T>,
    used: Option<&str>,
    view: &View,
) {
    let text = match limit {
        Effective::Held(held) => {
            let used = used.map_or_else(String::new, |u| format!(", {u}"));
            let shared = if held.shared {
                ", shared with others"
            } else {
                ""
            };
            let unread = held
                .unread
                .as_ref()
                .map_or_else(String::new, |u| format!("; perhaps tighter: {u}"));
            format!("{}{used}{shared} [{}]{unread}", held.value, held.by)
        }
        Effective::Unlimited => "unlimited".to_owned(),
        Effective::Elsewhere { who } => format!("decided elsewhere: {who}"),
        Effective::Unknown { why } => format!("unknown: {why}"),
    };
    line(out, label, &text, view);
}

fn finding_text(finding: &Finding, view: &View) -> String {
    let ink = match finding.severity {
        Severity::Error => Ink::Red,
        Severity::Warning => Ink::Yellow,
        Severity::Note => Ink::Dim,
    };
    let head = view.ink(ink, &format!("{}[{}]", finding.severity, finding.rule));
    let place = finding
        .spot
        .as_ref()
        .map_or_else(String::new, |s| format!("{s}: "));
    let about = finding.message.as_str();
    let mut out = String::new();
    let body = wrap(&format!("{place}{about}"), view.columns().saturating_sub(4));
    let _ = writeln!(out, "  {head}");
    for text in body {
        let _ = writeln!(out, "    {text}");
    }
    if let Some(mend) = &finding.mend {
        out.push_str(&wrap_indented("    mend: ", &mend.how, view.columns()));
        for text in mend.text.lines() {
            let _ = writeln!(out, "      {}", clean_line(text));
        }
    }
    out
}
