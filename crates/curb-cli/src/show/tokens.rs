//! Tokens and overrides.

use std::collections::BTreeMap;

use curb_api::{Overrides, Tokens};
use curb_core::amount::Amount;
use curb_core::ledger::Override;
use curb_core::policy::{Match, Selector};
use curb_core::resource::Resource;

use crate::term::{Cell, Ink, Table, View};

/// The table of `curb token list`.
#[must_use]
pub fn tokens(tokens: &Tokens, view: &View) -> String {
    let mut table = Table::new(&["ID", "USER", "ROLE", "MADE", "BY", "EXPIRES", "LABELS"]);
    for token in &tokens.tokens {
        let expired = token.expires.is_some_and(|at| at <= view.now);
        let expires = match token.expires {
            None => Cell::new("never"),
            Some(at) if expired => Cell::new(format!("expired {}", view.at(at))).ink(Ink::Red),
            Some(at) => Cell::new(view.at(at)),
        };
        let labels: Vec<_> = token
            .labels
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        table.row(vec![
            Cell::new(&token.id),
            Cell::new(&token.user),
            Cell::new(token.role.to_string()),
            Cell::new(view.at(token.created)),
            Cell::new(&token.by),
            expires,
            Cell::new(labels.join(" ")),
        ]);
    }
    table.render(view)
}

/// The table of `curb override list`.
#[must_use]
pub fn overrides(overrides: &Overrides, view: &View) -> String {
    let mut table =
        Table::new(&["ID", "WHOSE", "QUOTA", "CHANGE", "UNTIL", "BY", "WHY"]).right(&[0]);
    for o in &overrides.overrides {
        table.row(vec![
            Cell::new(o.id.to_string()),
            Cell::new(whose(&o.selector)),
            Cell::new(o.quota.as_deref().unwrap_or("every")),
            Cell::new(change(o)),
            Cell::new(view.at(o.until)),
            Cell::new(&o.by),
            Cell::new(&o.why),
        ]);
    }
    table.render(view)
}

/// A selector in words: `user ana, job type training`.
#[must_use]
pub fn whose(selector: &Selector) -> String {
    let one = |name: &str, m: &Option<Match>| m.as_ref().map(|m| format!("{name} {}", matched(m)));
    let mut parts: Vec<String> = [
        one("user", &selector.user),
        one("team", &selector.team),
        one("org", &selector.org),
        one("job type", &selector.job_type),
        one("cluster", &selector.cluster),
    ]
    .into_iter()
    .flatten()
    .collect();
    parts.extend(
        selector
            .labels
            .iter()
            .map(|(key, m)| format!("label {key}={}", matched(m))),
    );
    if parts.is_empty() {
        "everybody".to_owned()
    } else {
        parts.join(", ")
    }
}

fn matched(m: &Match) -> String {
    match m {
        Match::Each => "*".to_owned(),
        Match::OneOf(names) => names
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("|"),
    }
}

/// What an override changes: `+2 GPU, -1 job`.
#[must_use]
pub fn change(o: &Override) -> String {
    changed(&o.amounts, o.jobs)
}

/// Amounts and jobs more or less: `+2 GPU, -1 job`.
pub fn changed(amounts: &BTreeMap<Resource, i64>, jobs: i64) -> String {
    let sign = |n: i64| if n < 0 { '-' } else { '+' };
    let mut parts: Vec<String> = amounts
        .iter()
        .map(|(r, n)| {
            format!(
                "{}{} {}",
                sign(*n),
                r.show(Amount(n.unsigned_abs())),
                r.label()
            )
        })
        .collect();
    if jobs != 0 {
        parts.push(format!("{}{} jobs", sign(jobs), jobs.unsigned_abs()));
    }
    parts.join(", ")
}
