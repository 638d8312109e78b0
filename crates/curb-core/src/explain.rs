//! What people are told: refusals, waiting lines, each violation as a sentence. Plain text of at most 78 columns, since
//! Ray's client prints a body as it comes, below a traceback.

use std::fmt::Write as _;

use crate::decide::{Code, Explanation, Holder, Position, Quantity, Verdict, Violation, When};
use crate::policy::{Policy, SeeHolders};
use crate::subject::Role;
use crate::time::Timestamp;

/// Lines are broken at this column.
const WIDTH: usize = 78;

/// Who reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// The user's name.
    pub user: String,
    /// What they may see.
    pub role: Role,
}

/// How things are said: to whom, under which policy, at which time.
#[derive(Clone, Copy, Debug)]
pub struct Telling<'a> {
    /// To whom.
    pub viewer: &'a Viewer,
    /// Its visibility rules and its zone hold.
    pub policy: &'a Policy,
    /// The present.
    pub now: Timestamp,
}

impl Telling<'_> {
    /// The whole answer to a submission that was not admitted, or to "would it start?".
    #[must_use]
    pub fn explanation(&self, e: &Explanation) -> String {
        let mut out = String::new();
        let code = e.violations.first().map_or(Code::Turn, |v| v.code);
        let what = match (e.verdict, e.refused) {
            (Verdict::Now, _) => "would start now".to_owned(),
            (Verdict::Later, true) => format!("refused ({code}): {}", because(code)),
            (Verdict::Later, false) => format!("would wait ({code}): {}", because(code)),
            (Verdict::AfterPolicyChange, _) => {
                format!("refused ({code}): it never fits under this policy")
            }
            (Verdict::Never, _) => format!("refused ({code}): it never fits on this cluster"),
        };
        let _ = writeln!(out, "curb: {what}");
        let _ = write!(out, "  asked: {}", e.request);
        match e.duration {
            Some(d) => drop(writeln!(out, " for {d}")),
            None => out.push('\n'),
        }
        for v in &e.violations {
            push_wrapped(&mut out, "  - ", &self.sentence(v));
            if let Some(reason) = &v.reason {
                push_wrapped(&mut out, "    ", &format!("why this limit: {reason}"));
            }
            if let Some(holders) = self.holders(v) {
                push_wrapped(&mut out, "    ", &format!("held by {holders}"));
            }
            // That no waiting helps has been said above.
            if !v.is_hopeless() {
                push_wrapped(&mut out, "    ", &format!("fits {}", self.when_of(v)));
            }
        }
        if e.verdict == Verdict::Later
            && !e.refused
            && let Some(expected) = self.expectation(e)
        {
            push_wrapped(&mut out, "  ", &expected);
        }
        match &e.fits_now {
            Some(fits) => push_wrapped(&mut out, "  ", &format!("would fit now: {fits}")),
            None if e.violations.is_empty() || !e.violations.iter().all(less_helps) => {}
            None => out.push_str("  nothing of it would fit now\n"),
        }
        if e.refused {
            let unknown = e.violations.first().and_then(|v| v.note.as_deref());
            let next = match (code, unknown) {
                (Code::JobType, Some(note)) if note.starts_with("there is no") => {
                    "name a job type that there is, or none"
                }
                _ => next_step(e.verdict, code),
            };
            push_wrapped(&mut out, "  next: ", next);
        }
        for v in &e.recorded {
            push_wrapped(&mut out, "  recorded only: ", &self.sentence(v));
        }
        if !e.violations.is_empty() {
            let _ = writeln!(
                out,
                "  more: curb help reason {code}, or /curb/v1/reasons/{code}"
            );
        }
        out
    }

    /// A line for a job that waits: where it stands, for what, until when.
    #[must_use]
    pub fn waiting(&self, e: &Explanation, position: Option<Position>) -> String {
        let mut line = String::from("curb: queued");
        if let Some(p) = position {
            let _ = write!(line, ", position {} of {}", p.position, p.of);
        }
        match e.violations.first() {
            Some(v) => {
                let _ = write!(line, "; {}", self.sentence(v).trim_end_matches('.'));
                if let Some(holders) = self.holders(v) {
                    let _ = write!(line, "; held by {holders}");
                }
                if e.violations.len() > 1 {
                    let _ = write!(
                        line,
                        "; and {} more",
                        plural(e.violations.len() - 1, "limit")
                    );
                }
            }
            None => line.push_str("; nothing is in its way, and it starts when its turn comes"),
        }
        match self.expectation(e) {
            _ if e.violations.is_empty() && e.expected.is_none() => {}
            Some(expected) => line.push_str(&format!("; {expected}")),
            None => {}
        }
        line
    }

    /// A violation as a sentence with its numbers.
    #[must_use]
    pub fn sentence(&self, v: &Violation) -> String {
        let place = match &v.quota {
            Some(q) => format!("{q} ({})", v.bucket),
            None => v.bucket.clone(),
        };
        let numbers = v.numbers();
        let [limit, used, asked, over] = numbers.map(|n| n.unwrap_or_else(|| "?".to_owned()));
        let note = v.note.as_deref().unwrap_or_default();
        let text = match v.code {
            Code::JobType | Code::ClusterAccess => return sentence_case(note),
            Code::PerJobLimit => {
                format!("{place} allows one job {limit}; {asked} asked, over by {over}")
            }
            Code::DurationLimit => {
                format!("{place} lets one job run for {limit}; {asked} asked, over by {over}")
            }
            Code::DurationNeeded => format!(
                "{place} has a budget of {limit} {note}, which takes only jobs that say how long they run; this one does not"
            ),
            Code::PriorityLimit => {
                format!("{place}: the highest priority is {limit}; {asked} asked: {note}")
            }
            Code::ConcurrentLimit => {
                let lowered = lowered(note);
                format!(
                    "{place} allows {limit} at once{lowered}; {used} in use, {asked} asked, over by {over}"
                )
            }
            Code::JobsLimit => {
                let lowered = lowered(note);
                format!("{place} allows {limit} running at once{lowered}; {used} running")
            }
            Code::QueuedLimit => format!("{place} allows {limit} waiting; {used} waiting"),
            Code::SubmitRate => format!("{place} takes submissions at a rate of {limit}"),
            Code::Budget => {
                let of = self.period(v);
                format!(
                    "{place} has a budget of {limit} {note}; {used} used or promised{of}, {asked} asked, over by {over}"
                )
            }
            Code::Capacity if !note.is_empty() => format!("{place}: {note}; {asked} asked"),
            Code::Capacity => {
                format!("{place} has {limit} in all; {used} held, {asked} asked, over by {over}")
            }
            Code::CapacityUnknown => {
                format!("{place} has not said yet what it has in all; {asked} asked")
            }
            Code::Guarantee if v.used.is_none() => format!(
                "{place}: {note}, which leaves {limit} in all; {asked} asked, over by {over}"
            ),
            Code::Guarantee => format!(
                "{place}: {note}, which leaves {limit} in all; {used} held, {asked} asked, over by {over}"
            ),
            Code::Borrowing => format!(
                "{place} is at its limit of {limit}, and somebody within theirs waits for what it would borrow"
            ),
            Code::Turn => match &v.limit {
                Some(_) => {
                    format!("{place}: what is free is kept for a job that has waited longer")
                }
                None => format!("{place}: others have waited longer and go first"),
            },
            Code::StartRate => {
                format!("{place}: starts are paced, so that Ray's head node is not flooded")
            }
            Code::ClusterDown => format!("{place} cannot be reached by Curb"),
        };
        text + "."
    }

    /// Of which period the numbers of a budget are, if not of the present one: ` of the day from 2026-11-23`.
    #[must_use]
    pub fn period(&self, v: &Violation) -> String {
        let Some(begin) = v.period else {
            return String::new();
        };
        let note = v.note.as_deref().unwrap_or_default();
        let span = note.strip_prefix("per ").unwrap_or("period");
        let tz = crate::policy::zone(&self.policy.timezone).unwrap_or(jiff::tz::TimeZone::UTC);
        let day = begin.to_jiff().to_zoned(tz).strftime("%Y-%m-%d");
        format!(" of the {span} from {day}")
    }

    /// When a job that waits should start, in the words that are used everywhere; `None` when it is not for now.
    #[must_use]
    pub fn expectation(&self, e: &Explanation) -> Option<String> {
        match (e.expected, &e.unknown) {
            (Some(t), _) if t <= self.now => Some("expected to start at any moment".to_owned()),
            (Some(t), _) => Some(format!("expected start about {}", self.about(t))),
            (None, Some(why)) if matches!(e.verdict, Verdict::Now | Verdict::Later) => {
                Some(format!("expected start cannot be said yet: {why}"))
            }
            (None, Some(why)) => Some(format!("no start is expected: {why}")),
            (None, None) => None,
        }
    }

    /// When the limit of a violation could be met, in words.
    #[must_use]
    pub fn when_of(&self, v: &Violation) -> String {
        let lowered = matches!(v.code, Code::ConcurrentLimit | Code::JobsLimit);
        match (&v.when, &v.note) {
            (When::At(_), Some(note)) if lowered => {
                format!("{}, when {note} ends", self.when(&v.when))
            }
            _ => self.when(&v.when),
        }
    }

    /// When a limit could be met, in words.
    #[must_use]
    pub fn when(&self, when: &When) -> String {
        match when {
            When::JobsEnd(Some(t)) if *t <= self.now => format!(
                "when enough of what runs ends; by what it declared that was {} ago",
                self.now.since(*t)
            ),
            When::JobsEnd(Some(t)) => {
                format!("when enough of what runs ends: {}", self.about(*t))
            }
            When::JobsEnd(None) => {
                "when enough of what runs ends; when that is cannot be said yet".into()
            }
            When::At(t) => format!("at {}", self.about(*t)),
            When::Turn => "once those ahead have started".into(),
            When::ClusterBack => "when the cluster is back".into(),
            When::CapacityKnown => "once Ray's list of nodes can be read".into(),
            When::PolicyChange => "only under another policy".into(),
            When::Never => "never on this cluster as it is".into(),
        }
    }

    /// `2026-11-22 14:20 UTC (in 12m)`, in the policy's zone.
    #[must_use]
    pub fn about(&self, t: Timestamp) -> String {
        let tz = crate::policy::zone(&self.policy.timezone).unwrap_or(jiff::tz::TimeZone::UTC);
        let at = t.to_jiff().to_zoned(tz);
        let at = at.strftime("%Y-%m-%d %H:%M %Z");
        if t > self.now {
            format!("{at} (in {})", t.since(self.now))
        } else {
            format!("{at} (now due)")
        }
    }

    /// Who holds what is asked for, as far as the viewer may know.
    fn holders(&self, v: &Violation) -> Option<String> {
        if v.holders.is_empty() {
            return None;
        }
        if self.see() == SeeHolders::Counts {
            let all = v.holders.len() as u64 + v.more_holders;
            return Some(plural(usize::try_from(all).unwrap_or(usize::MAX), "job"));
        }
        let mut text = v
            .holders
            .iter()
            .map(|h| self.holder(h))
            .collect::<Vec<_>>()
            .join(", ");
        if v.more_holders > 0 {
            let _ = write!(text, " and {} more", v.more_holders);
        }
        Some(text)
    }

    fn holder(&self, h: &Holder) -> String {
        let own = h.user == self.viewer.user;
        let who = match (own, self.see(), &h.team) {
            (true, _, _) => format!("you ({})", h.job),
            (false, SeeHolders::Names, _) => format!("{} ({})", h.user, h.job),
            (false, _, Some(team)) => format!("team {team}"),
            (false, _, None) => "somebody in no team".to_owned(),
        };
        let until = match h.until {
            None => String::new(),
            Some(t) if t < self.now => {
                format!(", past its declared end by {}", self.now.since(t))
            }
            Some(t) => format!(" until {}", self.clock(t)),
        };
        match &h.holds {
            Quantity::Jobs(_) => format!("{who}{until}"),
            holds => format!("{who} {holds}{until}"),
        }
    }

    fn clock(&self, t: Timestamp) -> String {
        let tz = crate::policy::zone(&self.policy.timezone).unwrap_or(jiff::tz::TimeZone::UTC);
        let zoned = t.to_jiff().to_zoned(tz.clone());
        let same_day = zoned.date() == self.now.to_jiff().to_zoned(tz).date();
        let form = if same_day { "%H:%M" } else { "%Y-%m-%d %H:%M" };
        zoned.strftime(form).to_string()
    }

    fn see(&self) -> SeeHolders {
        if self.viewer.role >= Role::Operator {
            SeeHolders::Names
        } else {
            self.policy.visibility.holders
        }
    }

    /// The same explanation for programs, with what the viewer may not know taken out.
    #[must_use]
    pub fn redact(&self, mut e: Explanation) -> Explanation {
        for v in e.violations.iter_mut().chain(&mut e.recorded) {
            match self.see() {
                SeeHolders::Names => {}
                SeeHolders::Counts => {
                    v.more_holders += v.holders.len() as u64;
                    v.holders.clear();
                }
                SeeHolders::Teams => {
                    for h in v.holders.iter_mut().filter(|h| h.user != self.viewer.user) {
                        h.user.clear();
                        h.job.clear();
                    }
                }
            }
        }
        e
    }
}

/// Why a job cannot start at this moment, in a few words.
fn because(code: Code) -> &'static str {
    match code {
        Code::SubmitRate => "too many submissions in a short time",
        Code::QueuedLimit => "too many jobs wait already",
        Code::Turn | Code::Borrowing => "others go first",
        Code::StartRate => "starts are paced",
        Code::ClusterDown => "the cluster cannot be reached",
        Code::CapacityUnknown => "it is not known yet what the cluster has",
        Code::Guarantee => "what is free is kept for others",
        Code::Capacity => "the cluster is full now",
        _ => "it is above a limit now",
    }
}

/// Whether asking for less could help.
fn less_helps(v: &Violation) -> bool {
    matches!(
        v.code,
        Code::PerJobLimit
            | Code::ConcurrentLimit
            | Code::Budget
            | Code::Capacity
            | Code::Guarantee
            | Code::Borrowing
    )
}

/// What a person whose job was refused may do.
fn next_step(verdict: Verdict, code: Code) -> &'static str {
    match (verdict, code) {
        (Verdict::Later, Code::ClusterDown) => "try again in a while; nothing was started",
        (Verdict::Later, Code::SubmitRate) => "try again then",
        (Verdict::Later, _) => {
            "try again then, or ask for less: `curb explain` tells without submitting"
        }
        (_, Code::JobType | Code::ClusterAccess) => {
            "use another, or ask an administrator to let you use this one"
        }
        (_, Code::PriorityLimit) => "declare a lower priority, or none",
        (_, Code::DurationNeeded) => {
            "say how long it runs, at the most: metadata `curb.duration`, such as `2h`"
        }
        (_, Code::DurationLimit) => {
            "declare a shorter duration, or ask an administrator for another policy"
        }
        (_, Code::ConcurrentLimit | Code::JobsLimit) => {
            "ask for less, or ask an administrator for an override or another policy"
        }
        (Verdict::Never, _) => "ask for less, or for another cluster",
        _ => "ask for less, or ask an administrator for another policy",
    }
}

/// Of a limit that an override lowers: by which.
fn lowered(note: &str) -> String {
    if note.is_empty() {
        String::new()
    } else {
        format!(" (lowered by {note})")
    }
}

fn plural(n: usize, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        _ => format!("{n} {what}s"),
    }
}

fn sentence_case(text: &str) -> String {
    format!("{text}.")
}

/// Appends words, breaking lines at [`WIDTH`]; the lines after the first are indented as deep as the first's text.
fn push_wrapped(out: &mut String, lead: &str, text: &str) {
    let indent = " ".repeat(lead.len());
    let mut line = lead.to_owned();
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            line.clone_from(&indent);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_break_and_stay_below_eighty_columns() {
        let mut out = String::new();
        push_wrapped(&mut out, "  - ", &"seven77 ".repeat(40));
        assert!(out.lines().count() > 3);
        assert!(out.lines().all(|l| l.len() <= WIDTH), "{out}");
        assert!(out.lines().skip(1).all(|l| l.starts_with("    seven77")));
    }
}
