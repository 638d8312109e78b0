//! Buckets: what is used of which limit.

use curb_api::{BucketView, BudgetRow, ChangeRow, Mode, Quotas};
use curb_core::amount::Amount;
use curb_core::decide::budget_numbers;
use curb_core::resource::Resource;

use super::journal::records_head;
use super::tokens::changed;
use crate::term::{Cell, Ink, Table, View, clean_line, wrap_indented};

/// The table of `curb quota`.
#[must_use]
pub fn quotas(quotas: &Quotas, view: &View) -> String {
    let mut table = Table::new(&["QUOTA", "BUCKET", "RESOURCE", "USED", "LIMIT", "LEFT", ""])
        .right(&[3, 4, 5])
        .whole(&[1]);
    for bucket in &quotas.buckets {
        for row in rows(bucket, view) {
            table.row(row.cells(bucket, view));
        }
    }
    let mut out = table.render(view);
    let mut times = quotas
        .buckets
        .iter()
        .any(|b| b.budgets.iter().any(|b| b.resets.is_some()));
    for bucket in &quotas.buckets {
        for change in &bucket.changes {
            times = true;
            let line = format!(
                "{} of {}: {} until {} (override {}): {}",
                bucket.quota,
                bucket.bucket,
                changed(&change.amounts, change.jobs),
                view.at(change.until),
                change.id,
                change.why
            );
            let width = view.width.unwrap_or(usize::MAX);
            out.push_str(&wrap_indented("- ", &clean_line(&line), width));
        }
    }
    if times {
        out.push_str(&format!("{}\n", records_head(view)));
    }
    if quotas.more {
        out.push_str("There are more buckets than are shown.\n");
    }
    out
}

/// One limit of a bucket.
struct Row {
    name: String,
    used: String,
    limit: String,
    left: String,
    /// Used of the limit, in percent; `None` without a limit.
    percent: Option<u32>,
    note: String,
}

impl Row {
    fn cells(self, bucket: &BucketView, view: &View) -> Vec<Cell> {
        let mut notes: Vec<String> = Vec::new();
        if let Some(percent) = self.percent
            && percent > 0
            && view.width.is_some()
        {
            notes.push(bar(percent));
        }
        notes.extend(Some(self.note).filter(|n| !n.is_empty()));
        if bucket.mode == Mode::Observe {
            notes.push("only recorded".to_owned());
        }
        if !bucket.in_force {
            notes.push("not in force now".to_owned());
        }
        let ink = match self.percent {
            Some(100..) => Ink::Red,
            Some(80..) => Ink::Yellow,
            _ => Ink::Plain,
        };
        vec![
            Cell::new(&bucket.quota),
            Cell::new(&bucket.bucket),
            Cell::new(self.name),
            Cell::new(self.used).ink(ink),
            Cell::new(self.limit),
            Cell::new(self.left),
            Cell::new(notes.join(", ")),
        ]
    }
}

fn rows(bucket: &BucketView, view: &View) -> Vec<Row> {
    let mut rows = Vec::new();
    for r in &bucket.resources {
        let show = |a: Amount| r.resource.show(a).to_string();
        let extra = |name: &str, a: Amount| {
            if a == Amount::ZERO {
                String::new()
            } else {
                format!("{name} {}", show(a))
            }
        };
        let notes = [
            extra("may borrow", r.borrow),
            extra("guaranteed", r.guarantee),
        ];
        rows.push(Row {
            name: r.resource.to_string(),
            used: show(r.used),
            limit: r.limit.map_or("-".to_owned(), |l| {
                let by = |c: &ChangeRow| c.amounts.get(&r.resource).copied().unwrap_or(0);
                with_changes(l.0, &show(l), bucket.changes.iter().map(by), |n| {
                    show(Amount(n))
                })
            }),
            left: r
                .limit
                .map_or("-".to_owned(), |l| show(l.saturating_sub(r.used))),
            percent: r
                .limit
                .map(|l| percent(u128::from(r.used.0), u128::from(l.0))),
            note: notes
                .into_iter()
                .filter(|n| !n.is_empty())
                .collect::<Vec<_>>()
                .join(", "),
        });
    }
    for (name, count) in [("jobs", bucket.jobs), ("queued", bucket.queued)] {
        let Some(limit) = count.limit else { continue };
        rows.push(Row {
            name: name.to_owned(),
            used: count.used.to_string(),
            limit: with_changes(
                limit,
                &limit.to_string(),
                bucket
                    .changes
                    .iter()
                    .map(|c| if name == "jobs" { c.jobs } else { 0 }),
                |n| n.to_string(),
            ),
            left: limit.saturating_sub(count.used).to_string(),
            percent: Some(percent(u128::from(count.used), u128::from(limit))),
            note: String::new(),
        });
    }
    if let Some(rate) = bucket.rate {
        rows.push(Row {
            name: "submissions".to_owned(),
            used: "-".to_owned(),
            limit: format!("{} in {}", rate.count, rate.per),
            left: rate.left.to_string(),
            percent: None,
            note: String::new(),
        });
    }
    rows.extend(bucket.budgets.iter().map(|b| budget(b, view)));
    rows
}

/// A limit with what the overrides in it add and take: `3 (2 +1)`.
fn with_changes(
    limit: u64,
    shown: &str,
    changes: impl Iterator<Item = i64>,
    show: impl Fn(u64) -> String,
) -> String {
    let changes: Vec<i64> = changes.filter(|n| *n != 0).collect();
    let sum: i128 = changes.iter().map(|n| i128::from(*n)).sum();
    // Of a limit that stopped at zero it cannot be told what it would be without.
    let base = u64::try_from(i128::from(limit) - sum)
        .ok()
        .filter(|_| limit > 0);
    let (Some(base), false) = (base, changes.is_empty()) else {
        return shown.to_owned();
    };
    let parts = changes.iter().map(|n| {
        let sign = if *n < 0 { '-' } else { '+' };
        format!(" {sign}{}", show(n.unsigned_abs()))
    });
    format!("{shown} ({}{})", show(base), parts.collect::<String>())
}

fn budget(b: &BudgetRow, view: &View) -> Row {
    let name = match &b.resource {
        Resource::Memory => "memory GiB-hours".to_owned(),
        other => format!("{other}-hours"),
    };
    // What is promised to running jobs is as good as used: what is left is what a new job can have.
    let (used, limit, left) =
        budget_numbers(&b.resource, b.used.saturating_add(b.promised), b.limit);
    let promised = (b.promised > 0).then(|| {
        let (promised, _, _) = budget_numbers(&b.resource, b.promised, b.limit);
        format!("of it {promised} promised to what runs")
    });
    let anew = b.resets.map(|at| format!("anew {}", view.at(at)));
    Row {
        name: format!("{name}/{}", b.per),
        used,
        limit,
        left,
        percent: Some(percent(b.used.saturating_add(b.promised), b.limit)),
        note: promised
            .into_iter()
            .chain(anew)
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// Of a limit of zero everything is used.
fn percent(used: u128, limit: u128) -> u32 {
    if limit == 0 {
        return 100;
    }
    u32::try_from(used.saturating_mul(100) / limit).unwrap_or(u32::MAX)
}

/// `[####......]`, with the number for those who cannot see it.
fn bar(percent: u32) -> String {
    let full = (percent.min(100) as usize).div_ceil(10);
    format!("[{}{}] {percent}%", "#".repeat(full), ".".repeat(10 - full))
}
