//! Records of the journal in one line each, and what a verification found.

use curb_core::ledger::Event;
use curb_core::time::{Millis, Timestamp};
use curb_journal::VerifyReport;

use super::event::{Told, tell};
use crate::term::{Ink, View, clean_line, cut};

/// An event that is not understood is shown up to so many characters.
const UNKNOWN_SHOWN: usize = 200;

/// Time, number, kind, who, what.
#[must_use]
pub fn record_line(seq: u64, at: Timestamp, kind: &str, payload: &[u8], view: &View) -> String {
    let told = match serde_json::from_slice::<Event>(payload) {
        Ok(event) => tell(&event),
        Err(_) => Told {
            who: "?".to_owned(),
            what: String::from_utf8_lossy(payload)
                .chars()
                .take(UNKNOWN_SHOWN)
                .collect(),
        },
    };
    let kind = format!("{:<16}", clean_line(kind));
    let (who, what) = (clean_line(&told.who), clean_line(&told.what));
    // In a pipe the line is whole and says the zone; a terminal's line fits, and the zone is in the head.
    let time = match view.width {
        None => view.at_full(at),
        Some(_) => view.at_second(at),
    };
    let head = time.chars().count() + 7 + kind.chars().count() + who.chars().count().max(10) + 8;
    let what = match view.width {
        None => what.into_owned(),
        Some(columns) => cut(&what, columns.saturating_sub(head).max(LEAST_WHAT)),
    };
    let (time, kind) = (view.ink(Ink::Dim, &time), view.ink(Ink::Bold, &kind));
    format!("{time}  {seq:>7}  {kind}  {who:<10}  {what}\n")
}

/// What happened is never cut to fewer columns.
const LEAST_WHAT: usize = 20;

/// The head above records on a terminal, and the foot of other tables: in which zone the times are.
#[must_use]
pub fn records_head(view: &View) -> String {
    view.ink(Ink::Dim, &format!("times are {} of UTC", view.offset()))
}

/// What `curb journal verify` found.
#[must_use]
pub fn verify(report: &VerifyReport, took: Millis, view: &View) -> String {
    let head = &report.head;
    let walked = format!(
        "{} records, {} bytes, in {took}",
        report.records, report.bytes
    );
    let Some(first) = &report.first_break else {
        let ok = view.ink(Ink::Green, "sound");
        return format!(
            "{ok}: {walked}\nhead: record {}, hash {}\n",
            head.seq,
            head.hash.to_hex()
        );
    };
    let bad = view.ink(Ink::Red, "DAMAGED");
    let cut = if report.cut_short {
        "; the database cannot be read past it"
    } else {
        ""
    };
    format!(
        "{bad}: {}\n{} places are wrong in all; {} records after the first are unchanged in themselves{cut}\nwalked: {walked}\nhead: record {}, hash {}\n",
        clean_line(&first.to_string()),
        report.breaks,
        report.consistent_after,
        head.seq,
        head.hash.to_hex()
    )
}
