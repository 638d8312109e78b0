//! What the supervisor says of the server, and where a request goes because of it. Pure.

use std::time::Duration;

/// How the model server is, by the word of whoever supervises it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is being started: who comes waits for it a while.
    Starting,
    /// It has been started, and may need a while until it listens.
    Up,
    /// It stands still (frozen), and will go on.
    Paused {
        /// For people: why.
        why: String,
        /// When it is worth coming back.
        retry_after: Duration,
    },
    /// It has met a limit: what it has is finished, nothing new is given to it.
    OverLimit {
        /// For people: which.
        why: String,
        /// When it is worth coming back.
        retry_after: Duration,
    },
    /// It has ended and will be started again.
    Restarting {
        /// For people: why.
        why: String,
        /// When it is worth coming back.
        retry_after: Duration,
    },
    /// It is being ended, and what comes after that is not known yet: what it has is finished, if it can.
    Stopping {
        /// For people: why.
        why: String,
        /// When it is worth coming back.
        retry_after: Duration,
    },
    /// The fallback runs in its place: at its own address if it has one and answers there, else at the server's.
    Fallback,
    /// It is not there and will not come back by itself.
    Down {
        /// For people: why.
        why: String,
    },
}

/// Whom a request is passed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// The model server.
    Primary,
    /// The fallback at an address of its own.
    Fallback,
}

/// What becomes of a request that comes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// It is passed on.
    To(Target),
    /// It waits.
    Wait,
    /// It is told why not. Who waits already keeps waiting.
    Hold,
    /// It is told why not, and so are those who wait.
    Shut,
}

impl State {
    /// Where requests go, with or without a fallback at an address of its own.
    pub fn route(&self, has_fallback: bool) -> Route {
        match self {
            State::Up => Route::To(Target::Primary),
            State::Fallback if !has_fallback => Route::To(Target::Primary),
            _ if has_fallback => Route::To(Target::Fallback),
            State::Starting => Route::Wait,
            State::Down { .. } => Route::Shut,
            _ => Route::Hold,
        }
    }

    /// Whether it may be this one's death when the supervisor tells of one: a fallback that it runs may listen at either
    /// address; one that it does not run is at its own.
    pub(crate) fn supervises(&self, target: Target) -> bool {
        *self == State::Fallback || target == Target::Primary
    }

    /// All the names.
    pub const WORDS: [&str; 8] = [
        "starting",
        "up",
        "paused",
        "over_limit",
        "restarting",
        "stopping",
        "fallback",
        "down",
    ];

    /// A stable name, for events and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Up => "up",
            State::Paused { .. } => "paused",
            State::OverLimit { .. } => "over_limit",
            State::Restarting { .. } => "restarting",
            State::Stopping { .. } => "stopping",
            State::Fallback => "fallback",
            State::Down { .. } => "down",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_keeps_the_server_from_answering_the_fallback_takes_over_where_there_is_one() {
        let (why, retry_after) = (String::new(), Duration::from_secs(1));
        let not_up = [
            State::Paused {
                why: why.clone(),
                retry_after,
            },
            State::OverLimit {
                why: why.clone(),
                retry_after,
            },
            State::Restarting {
                why: why.clone(),
                retry_after,
            },
            State::Stopping {
                why: why.clone(),
                retry_after,
            },
        ];
        for state in not_up {
            assert_eq!(state.route(false), Route::Hold, "{state:?}");
            assert_eq!(state.route(true), Route::To(Target::Fallback), "{state:?}");
        }
        assert_eq!(State::Starting.route(false), Route::Wait);
        assert_eq!(State::Starting.route(true), Route::To(Target::Fallback));
        let down = State::Down { why };
        assert_eq!(down.route(false), Route::Shut);
        assert_eq!(down.route(true), Route::To(Target::Fallback));
        for has_fallback in [false, true] {
            assert_eq!(State::Up.route(has_fallback), Route::To(Target::Primary));
        }
        assert_eq!(State::Fallback.route(false), Route::To(Target::Primary));
        assert_eq!(State::Fallback.route(true), Route::To(Target::Fallback));
    }
}
