//! What people are told of decisions, as far as they may see it.

use curb_core::decide::{self, Explanation, Moment};
use curb_core::explain::{Telling, Viewer};
use curb_core::ledger::State;
use curb_core::policy::Policy;
use curb_core::subject::JobId;
use curb_core::time::Timestamp;

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

/// What a queued job waits for, in one line; `None` when it does not wait.
#[must_use]
pub fn waiting(state: &State, moment: &Moment, id: &JobId, who: &Principal) -> Option<String> {
    let explanation = decide::why_waiting(state, id, moment)?;
    let position = decide::position(state, moment, state.job(id)?);
    let viewer = viewer(who);
    Some(
        Telling {
            viewer: &viewer,
            policy: state.policy(),
            now: moment.now,
        }
        .waiting(&explanation, position),
    )
}
