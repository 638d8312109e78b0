//! Records of the journal in one line each, and what a verification found.

use curb_core::ledger::Event;
use curb_core::time::{Millis, Timestamp};
use curb_journal::VerifyReport;

use super::event::{Told, tell};
use crate::term::{Ink, View, clean_line};

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
    let time = view.ink(Ink::Dim, &view.at_full(at));
    let kind = view.ink(Ink::Bold, &format!("{:<16}", clean_line(kind)));
    format!(
        "{time}  {seq:>7}  {kind}  {:<10}  {}\n",
        clean_line(&told.who),
        clean_line(&told.what)
    )
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
