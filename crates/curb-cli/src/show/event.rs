//! An event of the journal in words: who, and what.

use curb_core::decide::{Quantity, Shadow};
use curb_core::ledger::{AfterNotStarted, Event, NewJob, Outcome};
use curb_core::policy::Step;

use super::short;
use super::tokens::{change, whose};

/// An event in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Who did it, or to whom it happened.
    pub who: String,
    /// What happened.
    pub what: String,
}

/// Puts an event in words.
#[must_use]
pub fn tell(event: &Event) -> Told {
    let (who, what) = match event {
        Event::PolicyApplied {
            version,
            sha256,
            by,
            ..
        } => (
            by.as_str(),
            format!("policy version {version}, sha256 {}", first(sha256)),
        ),
        Event::ModeSet { mode, by, why } => {
            let mode = mode.map_or("as the policy says".to_owned(), |m| {
                curb_api::Mode::from(m).to_string()
            });
            (by.as_str(), format!("mode {mode}: {why}"))
        }
        Event::ClusterObserved {
            cluster,
            session,
            capacity,
        } => (
            "curb",
            match capacity {
                Some(all) => format!("cluster {cluster} has {}, session {session}", short(all)),
                None => {
                    format!("cluster {cluster}, session {session}; its nodes could not be read")
                }
            },
        ),
        Event::Admitted {
            job,
            borrowed,
            shadow,
            ..
        } => {
            let lent = if *borrowed { ", borrowed" } else { "" };
            return told(
                job,
                format!(
                    "{} starts with {}{lent}{}",
                    job.id,
                    asks(job),
                    shadows(shadow)
                ),
            );
        }
        Event::Queued { job, code, shadow } => {
            return told(
                job,
                format!(
                    "{} waits ({code}), asks {}{}",
                    job.id,
                    asks(job),
                    shadows(shadow)
                ),
            );
        }
        Event::Granted { id, borrowed, .. } => (
            "curb",
            format!(
                "{id} may start{}",
                if *borrowed { ", borrowed" } else { "" }
            ),
        ),
        Event::Confirmed {
            id,
            attempt,
            session,
        } => (
            "ray",
            format!("{id} taken, attempt {attempt}, session {session}"),
        ),
        Event::NotStarted {
            id,
            attempt,
            then,
            why,
        } => (
            "curb",
            format!(
                "{id} attempt {attempt} did not start, {}: {why}",
                after(then)
            ),
        ),
        Event::Ended {
            id,
            outcome,
            message,
            exit_code,
            ..
        } => {
            let code = exit_code
                .map(|c| format!(", exit code {c}"))
                .unwrap_or_default();
            (
                "ray",
                format!("{id} {}{code}: {message}", outcome_word(*outcome)),
            )
        }
        Event::StopRequested { id, by, why } => (by.as_str(), format!("stop {id}: {why}")),
        Event::Exceeded {
            id, quota, found, ..
        } => ("curb", format!("{id} {found} (quota {quota})")),
        Event::Within { id, quota, .. } => (
            "curb",
            format!("{id} is within its grant again (quota {quota})"),
        ),
        Event::Stepped {
            id,
            quota,
            step,
            found,
            only_recorded,
            ..
        } => {
            let step = match (step, only_recorded) {
                (Step::Warn, false) => "warned",
                (Step::Warn, true) => "would be warned",
                (Step::Stop, false) => "to be stopped",
                (Step::Stop, true) => "would be stopped",
            };
            ("curb", format!("{id} {step}: it {found} (quota {quota})"))
        }
        Event::Hidden { id, by, .. } => (by.as_str(), format!("hide {id}")),
        Event::Metered {
            id, held, watched, ..
        } => {
            let held: Vec<_> = held
                .iter()
                .map(|(resource, amount)| {
                    Quantity::ResourceTime {
                        resource: resource.clone(),
                        amount: *amount,
                    }
                    .to_string()
                })
                .collect();
            let held = if held.is_empty() {
                "nothing".to_owned()
            } else {
                held.join(", ")
            };
            ("curb", format!("{id} held {held} in {watched}"))
        }
        Event::Exempted { id, until, by, why } => (
            by.as_str(),
            format!("{id} is out of reach of ladders until {until}: {why}"),
        ),
        Event::Released { id, by, why } => (by.as_str(), format!("release {id}: {why}")),
        Event::Refused {
            subject,
            cluster,
            request,
            status,
            violations,
            ..
        } => {
            let codes: Vec<_> = violations.iter().map(rule).collect();
            (
                subject.user.as_str(),
                format!(
                    "refused ({status}) {} on {cluster}: {}",
                    short(request),
                    codes.join(", ")
                ),
            )
        }
        Event::RefusalsCounted { user, code, count } => (
            user.as_str(),
            format!("refused {count} times more ({code})"),
        ),
        Event::OverrideAdded(o) => (
            o.by.as_str(),
            format!(
                "override {} for {}: {} until {}: {}",
                o.id,
                whose(&o.selector),
                change(o),
                o.until,
                o.why
            ),
        ),
        Event::OverrideRemoved { id, by } => (by.as_str(), format!("override {id} taken back")),
        Event::TokenCreated(t) => (
            t.by.as_str(),
            format!("token {} for {} ({})", t.id, t.user, t.role),
        ),
        Event::TokenRevoked { id, by } => (by.as_str(), format!("token {id} revoked")),
    };
    Told {
        who: who.to_owned(),
        what,
    }
}

fn told(job: &NewJob, what: String) -> Told {
    Told {
        who: job.subject.user.clone(),
        what,
    }
}

fn asks(job: &NewJob) -> String {
    let duration = job
        .duration
        .map(|d| format!(" for {d}"))
        .unwrap_or_default();
    format!("{}{duration} on {}", short(&job.request), job.cluster)
}

fn shadows(shadow: &[Shadow]) -> String {
    if shadow.is_empty() {
        return String::new();
    }
    let rules: Vec<_> = shadow.iter().map(rule).collect();
    format!("; only recorded: {}", rules.join(", "))
}

fn rule(s: &Shadow) -> String {
    format!("{} {}", s.code, s.quota.as_deref().unwrap_or("cluster"))
}

fn after(then: &AfterNotStarted) -> &'static str {
    match then {
        AfterNotStarted::Requeue => "it waits again",
        AfterNotStarted::Fail => "it failed",
        AfterNotStarted::Stop => "it was to be stopped",
    }
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed => "failed",
        Outcome::Stopped => "was stopped",
    }
}

fn first(hash: &str) -> String {
    hash.chars().take(12).collect()
}
