//! Resource-time that was granted, and what was held of it.

use std::collections::BTreeSet;

use curb_api::{Usage, UsageSum};
use curb_core::resource::Resource;

use super::journal::records_head;
use crate::term::{Cell, Table, View};

/// A resource of a name, in thousandths of its hour (of a GiB-hour, for memory).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageLine {
    /// The name; `None` for what has none.
    pub name: Option<String>,
    /// How many jobs the name has in all.
    pub jobs: u64,
    /// The resource.
    pub resource: String,
    /// Granted.
    pub granted: i64,
    /// Granted while it was looked at what was held.
    pub watched: i64,
    /// Held then.
    pub held: i64,
}

/// The table of `curb usage`.
#[must_use]
pub fn usage(usage: &Usage, view: &View) -> String {
    let head = match usage.by.as_str() {
        "user" => "USER",
        "team" => "TEAM",
        "org" => "ORG",
        "job_type" => "JOB TYPE",
        "cluster" => "CLUSTER",
        "job" => "JOB",
        _ => "LABEL",
    };
    let mut table = Table::new(&[head, "JOBS", "RESOURCE", "GRANTED", "HELD", "IDLE"])
        .right(&[1, 3, 4, 5])
        .whole(&[0]);
    let named = usage
        .rows
        .iter()
        .map(|row| (row.name.as_deref().unwrap_or("-"), &row.sum));
    for (name, sum) in named.chain([("all", &usage.total)]) {
        for (r, granted) in &sum.granted {
            let (held, idle) = held(sum, r);
            let cells = [
                name.to_owned(),
                sum.jobs.to_string(),
                words(r),
                decimal(hours(r, *granted, 10), 1),
                held,
                idle,
            ];
            table.row(cells.iter().map(Cell::new).collect());
        }
    }
    let mut out = table.render(view);
    out.push_str(&format!(
        "{} to {}; {}\n",
        view.at_full(usage.since),
        view.at_full(usage.until),
        records_head(view)
    ));
    if usage.total.watched.values().all(|w| *w == 0) {
        out.push_str("What was held of it is not known: Ray's control store is not watched (curb serve --gcs).\n");
    }
    if usage.more {
        out.push_str("There are more names than are shown; `all` has them.\n");
    }
    out
}

fn words(r: &Resource) -> String {
    match r {
        Resource::Memory => "memory GiB-hours".to_owned(),
        _ => format!("{}-hours", r.label()),
    }
}

/// What was held while that was looked at, and how much of what was granted then was not, in percent.
fn held(sum: &UsageSum, r: &Resource) -> (String, String) {
    let watched = sum.watched.get(r).copied().unwrap_or(0);
    if watched == 0 {
        return ("?".to_owned(), "?".to_owned());
    }
    let held = sum.held.get(r).copied().unwrap_or(0);
    let idle = watched.saturating_sub(held).saturating_mul(100) / watched;
    (decimal(hours(r, held, 10), 1), format!("{idle}%"))
}

/// Resource-time in hours times `scale`, rounded down.
fn hours(r: &Resource, amount: u128, scale: u128) -> u128 {
    let unit: u128 = match r {
        Resource::Memory => 1 << 30,
        _ => 1000,
    };
    amount.saturating_mul(scale) / (unit * 3_600_000)
}

fn decimal(scaled: u128, places: usize) -> String {
    let digits = format!("{scaled:0>width$}", width = places + 1);
    let (whole, part) = digits.split_at(digits.len() - places);
    format!("{whole}.{part}")
}

/// A line for each name and resource.
#[must_use]
pub fn usage_lines(usage: &Usage) -> Vec<UsageLine> {
    let line = |name: &Option<String>, sum: &UsageSum, r: &Resource| {
        let of = |times: &curb_core::usage::ResourceTime| {
            let amount = times.get(r).copied().unwrap_or(0);
            i64::try_from(hours(r, amount, 1000)).unwrap_or(i64::MAX)
        };
        UsageLine {
            name: name.clone(),
            jobs: sum.jobs,
            resource: r.to_string(),
            granted: of(&sum.granted),
            watched: of(&sum.watched),
            held: of(&sum.held),
        }
    };
    let rows = usage.rows.iter();
    rows.flat_map(|row| {
        let resources: BTreeSet<&Resource> =
            row.sum.granted.keys().chain(row.sum.held.keys()).collect();
        let lines: Vec<_> = resources
            .into_iter()
            .map(|r| line(&row.name, &row.sum, r))
            .collect();
        lines
    })
    .collect()
}

/// The same as comma-separated values (RFC 4180).
#[must_use]
pub fn usage_csv(usage: &Usage) -> String {
    let quoted = |text: &str| {
        if text.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text.to_owned()
        }
    };
    let mut out = format!(
        "{},jobs,resource,granted_hours,watched_hours,held_hours\r\n",
        quoted(&usage.by)
    );
    for line in usage_lines(usage) {
        let shown = |n: i64| decimal(u128::from(n.unsigned_abs()), 3);
        out.push_str(&format!(
            "{},{},{},{},{},{}\r\n",
            quoted(line.name.as_deref().unwrap_or("")),
            line.jobs,
            quoted(&line.resource),
            shown(line.granted),
            shown(line.watched),
            shown(line.held)
        ));
    }
    out
}
