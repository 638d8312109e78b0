//! Refusals in the journal: each of the first few, then only their number, so that a client in a loop cannot fill it.

use std::collections::HashMap;

use curb_core::ledger::Event;
use curb_core::time::Timestamp;

/// So many of one user and one reason in a second are written out.
const WRITTEN_OUT: u64 = 5;
/// How long refusals are counted together, in milliseconds.
const WINDOW_MS: i64 = 1000;

#[derive(Debug, Default)]
pub(crate) struct RefusalMeter {
    since: i64,
    seen: HashMap<(String, String), u64>,
}

impl RefusalMeter {
    /// Whether this event is to be written. A refusal that is not is counted.
    pub(crate) fn keeps(&mut self, event: &Event) -> bool {
        // What was told as a job must be there; the ledger bounds how often that is.
        let Event::Refused {
            subject,
            violations,
            as_job: None,
            ..
        } = event
        else {
            return true;
        };
        let code = violations.first().map_or("", |v| v.code.as_str());
        let key = (subject.user.clone(), code.to_owned());
        let n = self.seen.entry(key).or_default();
        *n += 1;
        *n <= WRITTEN_OUT
    }

    /// The counts of the window that has passed.
    pub(crate) fn flush(&mut self, now: Timestamp) -> Vec<Event> {
        // A clock that was set back ends the window as well.
        if (self.since..self.since.saturating_add(WINDOW_MS)).contains(&now.0) {
            return Vec::new();
        }
        self.since = now.0;
        let seen = std::mem::take(&mut self.seen);
        let mut counted: Vec<_> = seen.into_iter().filter(|(_, n)| *n > WRITTEN_OUT).collect();
        counted.sort();
        counted
            .into_iter()
            .map(|((user, code), n)| Event::RefusalsCounted {
                user,
                code,
                count: n - WRITTEN_OUT,
            })
            .collect()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.seen.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use curb_core::resource::Resources;
    use curb_core::subject::Subject;

    use super::*;

    fn refused(user: &str) -> Event {
        let subject = Subject {
            user: user.into(),
            ..Subject::default()
        };
        Event::Refused {
            subject,
            cluster: "main".into(),
            request: Resources::none(),
            status: 429,
            violations: vec![],
            as_job: None,
        }
    }

    #[test]
    fn the_first_five_are_written_and_the_rest_is_counted() {
        let mut meter = RefusalMeter::default();
        assert!(meter.flush(Timestamp(10_000)).is_empty());
        let kept = (0..100).filter(|_| meter.keeps(&refused("ana"))).count();
        assert_eq!(kept, 5);
        assert!(meter.keeps(&refused("li")));
        assert!(meter.flush(Timestamp(10_500)).is_empty());
        let counted = meter.flush(Timestamp(11_000));
        assert!(
            matches!(&counted[..], [Event::RefusalsCounted { user, count: 95, .. }] if user == "ana")
        );
        assert!(meter.flush(Timestamp(12_000)).is_empty() && meter.is_idle());
    }
}
