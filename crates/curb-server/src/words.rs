//! What people are told of decisions, as far as they may see it.

use std::sync::Arc;

use curb_core::decide::{self, Begun, Explanation, Moment, Position};
use curb_core::explain::{Telling, Viewer};
use curb_core::ledger::State;
use curb_core::policy::Policy;
use curb_core::subject::JobId;
use curb_core::time::Timestamp;

use crate::app::App;
use crate::auth::Principal;

/// Somebody as a reader.
#[must_use]
pub fn viewer(who: &Principal) -> Viewer {
    Viewer {
        user: who.user().to_owned(),
        role: who.0.role,
    }
}

/// A decision in a few lines of at most 80 columns, and for programs, with what the reader may not know taken out.
#[must_use]
pub fn tell(
    explanation: Explanation,
    who: &Principal,
    policy: &Policy,
    now: Timestamp,
) -> (String, Explanation) {
    let viewer = viewer(who);
    let telling = Telling {
        viewer: &viewer,
        policy,
        now,
    };
    (
        telling.explanation(&explanation),
        telling.redact(explanation),
    )
}

/// What a queued job waits for, as it is at a moment: the line is found outside of the engine.
#[derive(Debug)]
pub struct Wait {
    why: Begun,
    position: Option<Position>,
    policy: Arc<Policy>,
    now: Timestamp,
}

impl Wait {
    /// Looks at a job; `None` when it does not wait.
    #[must_use]
    pub fn of(state: &State, moment: &Moment, id: &JobId) -> Option<Wait> {
        Some(Wait {
            why: decide::begin_why(state, id, moment)?,
            position: decide::position(state, moment, state.job(id)?),
            policy: Arc::clone(state.policy()),
            now: moment.now,
        })
    }

    /// What it waits for, in one line.
    pub async fn line(self, app: &App, who: &Principal) -> String {
        let viewer = viewer(who);
        let long = self.why.is_long();
        let tell = move |without: Option<&'static str>| {
            let telling = Telling {
                viewer: &viewer,
                policy: &self.policy,
                now: self.now,
            };
            telling.waiting(&finish(self.why, without), self.position)
        };
        app.forecasts.shared(long, tell).await
    }
}

/// An explanation with its expected start, or with why there is none.
#[must_use]
pub fn finish(begun: Begun, without: Option<&'static str>) -> Explanation {
    match without {
        None => begun.finish(),
        Some(why) => begun.finish_without(why),
    }
}
