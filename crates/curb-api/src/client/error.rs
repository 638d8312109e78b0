//! What can go wrong with a call, and what to do next.

use std::time::Duration;

use crate::problem::Problem;

/// Why a call failed. [`ClientError::next_step`] says what to do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address is not one.
    #[error("`{address}` is not the address of a Curb server: {why}")]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The token cannot be sent in a header.
    #[error("the token is too long, or has characters that no header can carry")]
    Token,
    /// An id cannot stand in a path.
    #[error("`{id}` cannot be the id of a {what}")]
    BadId {
        /// What it should be the id of.
        what: &'static str,
        /// As it was given, shortened.
        id: String,
    },
    /// No connection; nothing was sent.
    #[error("cannot {doing}: no connection to {address}: {reason}")]
    Unreachable {
        /// What was attempted.
        doing: String,
        /// Where.
        address: String,
        /// Why not.
        reason: String,
    },
    /// No whole answer in time; whether the server did it is not known.
    #[error("cannot {doing}: {address} did not answer within {} s", limit.as_secs_f32())]
    Timeout {
        /// What was attempted.
        doing: String,
        /// Where.
        address: String,
        /// The deadline that passed.
        limit: Duration,
    },
    /// The connection broke; whether the server did it is not known.
    #[error("cannot {doing}: the connection to {address} broke: {reason}")]
    Broken {
        /// What was attempted.
        doing: String,
        /// Where.
        address: String,
        /// How.
        reason: String,
    },
    /// The answer is larger than the bound.
    #[error("cannot {doing}: the answer is larger than {limit} bytes")]
    TooLarge {
        /// What was attempted.
        doing: String,
        /// The bound.
        limit: usize,
    },
    /// The answer is not what it should be.
    #[error("cannot {doing}: the answer of {address} is not understood: {reason}")]
    Malformed {
        /// What was attempted.
        doing: String,
        /// Where.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server said no.
    #[error("cannot {doing}: {}", told(problem))]
    Refused {
        /// What was attempted.
        doing: String,
        /// What the server said.
        problem: Box<Problem>,
    },
}

fn told(problem: &Problem) -> String {
    let (what, _) = problem.parts();
    let text = [what, &problem.title].into_iter().find(|t| !t.is_empty());
    // In Ray's client the server has to say who speaks; here that is known.
    text.map_or_else(
        || format!("the server answered {}", problem.status),
        |text| text.strip_prefix("curb: ").unwrap_or(text).to_owned(),
    )
}

impl ClientError {
    /// The HTTP status, when the server answered.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            ClientError::Refused { problem, .. } => Some(problem.status),
            _ => None,
        }
    }

    /// What the server said, when it said no.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            ClientError::Refused { problem, .. } => Some(problem),
            _ => None,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn next_step(&self) -> Option<String> {
        let text = match self {
            ClientError::Address { .. } => "set CURB_ADDRESS or --address to http://HOST:PORT".to_owned(),
            ClientError::Token => "set CURB_TOKEN to the text that `curb token create` printed, and nothing else".to_owned(),
            ClientError::BadId { .. } => "ids have 1 to 100 letters, digits and `._-`".to_owned(),
            ClientError::Unreachable { address, .. } => {
                format!("is `curb serve` running at {address}? Another address: set CURB_ADDRESS or --address")
            }
            ClientError::Timeout { .. } | ClientError::Broken { .. } => {
                "it may have been done all the same: look (`curb jobs`, `curb status`) before you repeat it".to_owned()
            }
            ClientError::TooLarge { .. } => "ask for less (--limit)".to_owned(),
            ClientError::Malformed { address, .. } => format!("is {address} a Curb server of this version? `curl {address}/readyz` tells"),
            ClientError::Refused { problem, .. } => return next_step_of(problem),
        };
        Some(text)
    }
}

fn next_step_of(problem: &Problem) -> Option<String> {
    if let (_, Some(next)) = problem.parts() {
        return Some(next.to_owned());
    }
    let text = match problem.status {
        401 if problem.detail.contains("CURB_TOKEN") => return None,
        401 => {
            "set CURB_TOKEN to a token that is valid; an admin makes one: `curb token create --user YOU`"
        }
        403 => "ask somebody with the role for it; `curb status` says who you are",
        421 => "use the address that the server was told to answer to (its --host)",
        // Curb names every error of its own.
        404 | 405 if problem.code.is_empty() => {
            "is that the address of a Curb server, and not of Ray itself? Set CURB_ADDRESS or --address"
        }
        503 => "try again in a while; `curb status` and /readyz say what is missing",
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, detail: &str) -> ClientError {
        let problem = Box::new(Problem::new(status, "x", "title", detail));
        ClientError::Refused {
            doing: "list the jobs".into(),
            problem,
        }
    }

    #[test]
    fn a_401_says_which_variable_to_set() {
        let error = refused(401, "no token");
        assert_eq!(error.to_string(), "cannot list the jobs: no token");
        assert!(error.next_step().is_some_and(|t| t.contains("CURB_TOKEN")));
    }

    #[test]
    fn what_the_server_says_is_not_said_twice() {
        let error = refused(
            401,
            "curb: the token has expired. Set CURB_TOKEN to a new one.\n",
        );
        assert_eq!(
            error.to_string(),
            "cannot list the jobs: the token has expired. Set CURB_TOKEN to a new one."
        );
        assert_eq!(error.next_step(), None);
    }

    #[test]
    fn the_servers_own_next_step_is_told_once_and_instead_of_a_general_one() {
        let detail = "curb: the journal is full\n  and busy\n  next: wait for its disk\n";
        let error = refused(503, detail);
        assert_eq!(
            error.to_string(),
            "cannot list the jobs: the journal is full\n  and busy"
        );
        assert_eq!(error.next_step().as_deref(), Some("wait for its disk"));
        assert!(
            refused(503, "curb: the journal is full")
                .next_step()
                .is_some_and(|t| t.starts_with("try again in a while"))
        );
    }

    #[test]
    fn a_404_that_is_not_curbs_asks_whether_it_is_curb() {
        let other = ClientError::Refused {
            doing: "list the jobs".into(),
            problem: Box::new(Problem::read(404, "text/plain", b"404: Not Found")),
        };
        assert!(
            other
                .next_step()
                .is_some_and(|t| t.contains("not of Ray itself"))
        );
        assert_eq!(refused(404, "no such job").next_step(), None);
    }

    #[test]
    fn a_refused_connection_asks_whether_the_server_runs() {
        let error = ClientError::Unreachable {
            doing: "list the jobs".into(),
            address: "http://a:1".into(),
            reason: "refused".into(),
        };
        assert!(
            error
                .next_step()
                .is_some_and(|t| t.starts_with("is `curb serve` running at http://a:1?"))
        );
    }

    #[test]
    fn a_problem_without_words_still_tells_its_status() {
        let mut problem = Problem::read(500, "", b"");
        problem.title.clear();
        let error = ClientError::Refused {
            doing: "x".into(),
            problem: Box::new(problem),
        };
        assert_eq!(error.to_string(), "cannot x: the server answered 500");
    }
}
