//! What the server does and knows.

use curb_api::{ClusterStatus, Status, WatchedStatus};
use curb_core::time::Millis;

use crate::term::{Ink, View, wrap_indented};

/// The page of `curb status`.
#[must_use]
pub fn status(status: &Status, address: &str, view: &View) -> String {
    let columns = view.columns();
    let mut out = String::new();
    let mut line = |label: &str, text: &str| {
        let text = wrap_indented(&format!("{label:<9}"), text, columns);
        out.push_str(&text.replacen(label, &view.ink(Ink::Bold, label), 1));
    };
    let teams = if status.you.teams.is_empty() {
        String::new()
    } else {
        format!(", team {}", status.you.teams.join(", "))
    };
    line(
        "server",
        &format!(
            "curb {} at {address}, up {}",
            status.version,
            status.now.since(status.started)
        ),
    );
    line(
        "you",
        &format!("{} ({}{teams})", status.you.user, status.you.role),
    );
    line("mode", &mode(status));
    line("policy", &policy(status));
    for (i, cluster) in status.clusters.iter().enumerate() {
        line(
            "cluster",
            &cluster_words(cluster, i == 0 && status.clusters.len() > 1, status),
        );
    }
    line("journal", &journal(status));
    for (label, sentences) in [
        ("hard", &status.enforcement.hard),
        ("watched", &status.enforcement.watched),
        ("not", &status.enforcement.not),
    ] {
        for sentence in sentences {
            line(label, sentence);
        }
    }
    for warning in &status.warnings {
        line("warning", warning);
    }
    out
}

fn mode(status: &Status) -> String {
    let mode = match status.mode {
        curb_api::Mode::Enforce => "enforce: what is above a limit waits or is refused",
        curb_api::Mode::Observe => {
            "observe: everything passes, what would have been refused is recorded (curb enforce --preview)"
        }
    };
    let Some(set) = &status.mode_set else {
        return mode.to_owned();
    };
    let far = status.now.since(set.at);
    format!(
        "{mode}. Set by {} {far} ago over the policy, which says {}: {} (back: curb enforce --as-policy --why ...)",
        set.by, set.policy, set.why
    )
}

fn policy(status: &Status) -> String {
    match status.policy_version {
        0 => "none: nothing is limited (curb init writes one)".to_owned(),
        version => format!(
            "version {version}, sha256 {}",
            status.policy_sha256.chars().take(12).collect::<String>()
        ),
    }
}

fn cluster_words(c: &ClusterStatus, default: bool, status: &Status) -> String {
    let default = if default { " (default)" } else { "" };
    let seen = c.last_seen.map_or("never seen".to_owned(), |at| {
        format!("seen {} ago", status.now.since(at))
    });
    let session = c
        .session
        .as_deref()
        .map(|s| format!(", {s}"))
        .unwrap_or_default();
    let state = match (c.reachable, c.problem.as_str()) {
        (true, _) => format!("answers, {seen}"),
        (false, "") => format!("DOES NOT ANSWER, {seen}"),
        (false, why) => format!("DOES NOT ANSWER, {seen}: {why}"),
    };
    let ray = c
        .ray_version
        .as_deref()
        .map(|v| format!(", Ray {v}"))
        .unwrap_or_default();
    let has = c
        .capacity
        .as_ref()
        .map_or("what it has is not known".to_owned(), |has| {
            format!("has {has}")
        });
    let pace = match c.start_gap {
        Millis(0) => "starts are not paced".to_owned(),
        gap => format!("one start in {gap}"),
    };
    let lost = match c.quarantined {
        0 => ", 0 quarantined".to_owned(),
        n => format!(", {n} quarantined (curb jobs list --state quarantined)"),
    };
    let watched = c
        .watched
        .as_ref()
        .map(|w| watched(w, status))
        .unwrap_or_default();
    format!(
        "{}{default}{ray}{session}: {state}; {has}; granted {}{watched}; {} running, {} starting, {} queued{lost}; {pace}",
        c.name, c.held, c.running, c.starting, c.queued
    )
}

/// What Ray's own scheduler says is held.
fn watched(w: &WatchedStatus, status: &Status) -> String {
    let Some(at) = w.as_of else {
        return ", what is held is not known".to_owned();
    };
    let unexplained = if w.unexplained.is_empty() {
        String::new()
    } else {
        format!(" ({} of it by nobody knows whom)", w.unexplained)
    };
    let taken = if w.taken.is_empty() {
        "nothing".to_owned()
    } else {
        w.taken.to_string()
    };
    let agents = match (w.agents, w.agents_silent) {
        (0, _) => String::new(),
        (n, 0) => format!("; {n} nodes with an agent"),
        (n, silent) => format!("; {n} nodes with an agent, {silent} of them silent"),
    };
    format!(
        ", held {taken}{unexplained} {} ago{agents}",
        status.now.since(at)
    )
}

fn journal(status: &Status) -> String {
    let j = &status.journal;
    let hash: String = j.hash.chars().take(12).collect();
    if j.writable {
        format!(
            "record {}, hash {hash}, last commit {}.{} ms",
            j.seq,
            j.last_commit_us / 1000,
            j.last_commit_us % 1000 / 100
        )
    } else {
        format!(
            "CANNOT BE WRITTEN ({}): nothing is admitted; newest record {}, hash {hash}",
            j.problem, j.seq
        )
    }
}
