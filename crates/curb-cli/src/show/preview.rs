//! What enforcing would have changed.

use curb_api::{Preview, PreviewCount};

use super::short;
use crate::term::{Cell, Ink, Table, View, wrap_indented};

/// The page of `curb enforce --preview`.
#[must_use]
pub fn preview(p: &Preview, view: &View) -> String {
    let span = p.until.since(p.since);
    let sum = if p.seen == 0 {
        format!("No job came in during the last {span}, so nothing can be said.")
    } else {
        format!(
            "Of {} jobs in the last {span}, {} would have passed untouched, {} would have waited, {} would have been refused; {} waited and {} were refused in fact.",
            p.seen, p.untouched, p.would_wait, p.would_refuse, p.waited, p.refused
        )
    };
    let mut out = wrap_indented("", &sum, view.columns());
    for (head, counts) in [("RULE", &p.by_quota), ("USER", &p.by_user)] {
        if !counts.is_empty() {
            out.push('\n');
            out.push_str(&counted(head, counts, view));
        }
    }
    if !p.samples.is_empty() {
        out.push('\n');
        out.push_str(&samples(p, view));
    }
    out
}

fn counted(head: &'static str, counts: &[PreviewCount], view: &View) -> String {
    let mut table = Table::new(&[head, "WAIT", "REFUSE"]).right(&[1, 2]);
    for c in counts {
        table.row(vec![
            Cell::new(&c.name),
            Cell::new(c.would_wait.to_string()),
            Cell::new(c.would_refuse.to_string()),
        ]);
    }
    table.render(view)
}

fn samples(p: &Preview, view: &View) -> String {
    let mut table = Table::new(&["WHEN", "JOB", "USER", "ASKED", "WOULD", "BECAUSE OF"]);
    for job in &p.samples {
        let (word, ink) = if job.refused {
            ("be refused", Ink::Red)
        } else {
            ("wait", Ink::Yellow)
        };
        let mut rules: Vec<String> = Vec::new();
        for r in &job.rules {
            let quota = r.quota.as_deref().unwrap_or("cluster");
            let rule = format!("{} {quota} ({})", r.code, r.bucket);
            // One rule may be in the way of several resources.
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        table.row(vec![
            Cell::new(view.at(job.at)),
            Cell::new(&job.id),
            Cell::new(&job.user),
            Cell::new(short(&job.request)),
            Cell::new(word).ink(ink),
            Cell::new(rules.join(", ")),
        ]);
    }
    table.render(view)
}
