//! An explanation: the verdict first, then every limit in the way with its numbers.

use curb_api::ExplainReply;
use curb_core::decide::{Code, Holder, Verdict, Violation, When};
use curb_core::time::Timestamp;

use crate::term::{Ink, View, clean_line, wrap_indented};

/// The whole answer to `curb explain`.
#[must_use]
pub fn explain(reply: &ExplainReply, view: &View) -> String {
    let columns = view.columns();
    let (ink, verdict) = verdict(reply, view);
    let mut out = String::new();
    for (i, line) in crate::term::wrap(&verdict, columns).iter().enumerate() {
        out.push_str(&if i == 0 {
            view.ink(ink, line)
        } else {
            view.ink(ink, &format!("  {line}"))
        });
        out.push('\n');
    }
    out.push('\n');
    out.push_str(&charged(reply, columns));
    if !reply.violations.is_empty() {
        out.push('\n');
        out.push_str(&violations(&reply.violations, view));
    }
    if let Some(fits) = &reply.fits_now
        && reply.verdict != Verdict::Now
    {
        out.push('\n');
        out.push_str(&wrap_indented(
            "Would start now: ",
            &fits.to_string(),
            columns,
        ));
    }
    if !reply.recorded.is_empty() {
        out.push_str("\nOnly recorded, not enforced:\n\n");
        out.push_str(&violations(&reply.recorded, view));
    }
    out
}

fn verdict(reply: &ExplainReply, view: &View) -> (Ink, String) {
    let limits = match reply.violations.len() {
        1 => "1 limit is in the way".to_owned(),
        n => format!("{n} limits are in the way"),
    };
    match (reply.verdict, reply.refused) {
        (Verdict::Now, _) => (Ink::Green, "Now: it would start at once.".to_owned()),
        (Verdict::Later, true) => (
            Ink::Red,
            format!("Refused for now: {limits}, and the policy refuses rather than queues."),
        ),
        (Verdict::Later, false) => {
            let when = start(reply.expected, reply.unknown.as_deref(), view);
            (
                Ink::Yellow,
                format!("Later: it would wait in the queue ({limits}); {when}."),
            )
        }
        (Verdict::AfterPolicyChange, _) => (
            Ink::Red,
            format!("Not under this policy: {limits}, and waiting does not help."),
        ),
        (Verdict::Never, _) => (
            Ink::Red,
            format!("Never on this cluster: {limits}, and waiting does not help."),
        ),
    }
}

fn charged(reply: &ExplainReply, columns: usize) -> String {
    let mut asks = reply.request.to_string();
    if let Some(duration) = reply.duration {
        asks.push_str(&format!(" for {duration}"));
    }
    let mut out = wrap_indented("  asks for    ", &asks, columns);
    if let Some(subject) = &reply.subject {
        let cluster = reply
            .cluster
            .as_deref()
            .map(|c| format!(" on cluster {c}"))
            .unwrap_or_default();
        out.push_str(&wrap_indented(
            "  charged to  ",
            &format!("{subject}{cluster}"),
            columns,
        ));
    }
    out
}

/// When a job that waits should start, in the words that are used everywhere.
#[must_use]
pub fn start(expected: Option<Timestamp>, unknown: Option<&str>, view: &View) -> String {
    match (expected, unknown) {
        (Some(at), _) if at <= view.now => "expected to start at any moment".to_owned(),
        (Some(at), _) => format!("expected start about {}", view.at_and_far(at)),
        (None, Some(why)) => {
            format!("expected start cannot be said yet: {}", clean_line(why))
        }
        (None, None) => "expected start cannot be said yet".to_owned(),
    }
}

/// What sets a limit.
fn set_by(v: &Violation) -> String {
    match (&v.quota, v.code) {
        (Some(quota), _) => format!("quota {quota}"),
        (None, Code::JobType | Code::ClusterAccess | Code::PriorityLimit) => {
            "the policy".to_owned()
        }
        (None, Code::Turn) => "the queue".to_owned(),
        (None, _) => "the cluster itself".to_owned(),
    }
}

/// Limits in the way, numbered.
#[must_use]
pub fn violations(violations: &[Violation], view: &View) -> String {
    let columns = view.columns();
    let mut out = String::new();
    for (i, v) in violations.iter().enumerate() {
        let of = set_by(v);
        let head = format!("{:>3}. ", i + 1);
        let what = format!("{} ({of}, {})", v.code, v.bucket);
        out.push_str(&view_head(view, &wrap_indented(&head, &what, columns)));
        for (label, text) in details(v, view) {
            out.push_str(&wrap_indented(&format!("     {label:<8}"), &text, columns));
        }
    }
    out
}

fn view_head(view: &View, text: &str) -> String {
    let lines: Vec<_> = text.lines().map(|l| view.ink(Ink::Bold, l)).collect();
    lines.join("\n") + "\n"
}

fn details(v: &Violation, view: &View) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let names = ["limit", "used", "asked", "over by"];
    let said: Vec<_> = names
        .iter()
        .zip(v.numbers())
        .filter_map(|(name, q)| q.map(|q| format!("{name} {q}")))
        .collect();
    if !said.is_empty() {
        lines.push(("numbers", said.join(", ")));
    }
    if let Some(begin) = v.period {
        lines.push(("period", format!("the one from {}", view.at(begin))));
    }
    if !v.holders.is_empty() || v.more_holders > 0 {
        lines.push(("held by", holders(v, view)));
    }
    lines.push(("fits", when(v, view)));
    if v.rejects && v.quota.is_some() {
        lines.push(("above", "the quota refuses; it does not queue".to_owned()));
    } else if v.code == Code::ClusterDown && v.rejects {
        let text = "while a cluster is down the policy refuses; it does not queue";
        lines.push(("above", text.to_owned()));
    }
    if let Some(reason) = &v.reason {
        lines.push(("why", clean_line(reason).into_owned()));
    }
    if let Some(note) = &v.note {
        lines.push(("note", clean_line(note).into_owned()));
    }
    lines
}

fn holders(v: &Violation, view: &View) -> String {
    let mut names: Vec<String> = v.holders.iter().map(|h| holder(h, view)).collect();
    match (names.is_empty(), v.more_holders) {
        (_, 0) => {}
        // Where nobody may be named there is nothing that these come on top of.
        (true, 1) => names.push("1 job".to_owned()),
        (true, n) => names.push(format!("{n} jobs")),
        (false, n) => names.push(format!("{n} more")),
    }
    names.join("; ")
}

fn holder(h: &Holder, view: &View) -> String {
    let who = match (h.user.as_str(), &h.team) {
        ("", Some(team)) => format!("team {team}"),
        ("", None) => "somebody".to_owned(),
        (user, _) => user.to_owned(),
    };
    let job = if h.job.is_empty() {
        String::new()
    } else {
        format!(" ({})", h.job)
    };
    let until = match h.until {
        None => String::new(),
        Some(at) if at < view.now => {
            format!(", past its declared end by {}", view.age(at))
        }
        Some(at) => format!(" until {}", view.at(at)),
    };
    format!("{who}{job} {}{until}", h.holds)
}

/// What would help where only another policy would let it pass as it is.
fn instead(code: Code) -> &'static str {
    match code {
        Code::JobType | Code::ClusterAccess => "use another",
        Code::PriorityLimit => "declare a lower priority",
        Code::DurationLimit => "declare a shorter duration",
        Code::DurationNeeded => "declare a duration",
        _ => "ask for less",
    }
}

fn when(v: &Violation, view: &View) -> String {
    match &v.when {
        When::JobsEnd(Some(at)) if *at <= view.now => format!(
            "when enough of what runs ends; by what it declared that was {} ago",
            view.age(*at)
        ),
        When::JobsEnd(Some(at)) => format!(
            "when enough of what runs ends, about {}",
            view.at_and_far(*at)
        ),
        When::JobsEnd(None) => {
            "when enough of what runs ends; when that is cannot be said yet".to_owned()
        }
        When::At(at) => format!("at {}", view.at_and_far(*at)),
        When::Turn => "once those ahead have started".to_owned(),
        When::ClusterBack => "when the cluster answers again".to_owned(),
        When::CapacityKnown => "when the cluster's nodes can be read".to_owned(),
        When::PolicyChange => {
            let instead = instead(v.code);
            format!("not under this policy: {instead}, or ask an admin")
        }
        When::Never => "not on this cluster as it is: ask for less".to_owned(),
    }
}
