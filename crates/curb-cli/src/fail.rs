//! A command that did not do what it should: what, with which exit code, and what to do next.

use std::fmt;

use curb_api::Problem;
use curb_api::client::ClientError;
use curb_ray::RayError;

use crate::exit::Exit;

/// Why a command ended without its result.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What was attempted on what, and what was in the way. May have several lines.
    pub message: String,
    /// What to do next.
    pub help: Option<String>,
    /// Nobody reads any more (the pipe is closed): say nothing.
    pub silent: bool,
    /// What the server said, for programs.
    pub problem: Option<Box<Problem>>,
}

/// What commands return.
pub type Done = Result<Exit, Failure>;

impl Failure {
    /// A failure without a next step.
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure {
            exit,
            message: message.into(),
            help: None,
            silent: false,
            problem: None,
        }
    }

    /// The same, with a next step.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Failure {
        self.help = Some(help.into());
        self
    }

    /// A wrong command line.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    /// A wrong local file or setting.
    pub fn local(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Local, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<std::io::Error> for Failure {
    /// Output that cannot be written. A closed pipe is how `| head` ends: no error.
    fn from(error: std::io::Error) -> Failure {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Failure {
                exit: Exit::Ok,
                message: String::new(),
                help: None,
                silent: true,
                problem: None,
            };
        }
        Failure::local(format!("cannot write the output: {error}"))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let mut failure = Failure::new(exit_of(&error), error.to_string());
        failure.help = error.next_step();
        if let Some(problem) = error.problem() {
            failure.problem = Some(Box::new(problem.clone()));
            if problem.is_refusal() {
                // The server's text is the whole story, in lines of its own.
                failure.message = problem
                    .detail
                    .trim_end()
                    .trim_start_matches("curb: ")
                    .to_owned();
            }
            if let Some(id) = &problem.request_id
                && problem.status >= 500
            {
                let first = failure.help.take().map(|h| h + "; ").unwrap_or_default();
                failure.help = Some(format!(
                    "{first}the server's log tells more under request {id}"
                ));
            }
        }
        failure
    }
}

fn exit_of(error: &ClientError) -> Exit {
    match error {
        ClientError::Address { .. } | ClientError::Token | ClientError::BadId { .. } => Exit::Usage,
        ClientError::Unreachable { .. }
        | ClientError::Timeout { .. }
        | ClientError::Broken { .. } => Exit::Unreachable,
        ClientError::Refused { problem, .. } => match problem.status {
            _ if !problem.findings.is_empty() => Exit::Local,
            401 | 403 => Exit::NotAllowed,
            502..=504 => Exit::Unreachable,
            429 => Exit::Refused,
            _ if problem.is_refusal() => Exit::Refused,
            _ => Exit::Other,
        },
        _ => Exit::Other,
    }
}

impl From<RayError> for Failure {
    fn from(error: RayError) -> Failure {
        let exit = match &error {
            RayError::Unreachable { .. }
            | RayError::Timeout { .. }
            | RayError::Busy { .. }
            | RayError::Broken { .. } => Exit::Unreachable,
            RayError::Status {
                status: 401 | 403, ..
            } => Exit::NotAllowed,
            RayError::Status {
                status: 500..=599, ..
            } => Exit::Unreachable,
            _ => Exit::Other,
        };
        Failure::new(exit, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, verdict: Option<curb_core::decide::Verdict>) -> Failure {
        let mut problem = Problem::new(
            status,
            "budget",
            "The job was refused",
            "You asked too much.\n",
        );
        problem.verdict = verdict;
        problem.request_id = Some("r1".into());
        ClientError::Refused {
            doing: "submit the job".into(),
            problem: Box::new(problem),
        }
        .into()
    }

    #[test]
    fn each_kind_of_answer_has_its_exit_code() {
        let never = Some(curb_core::decide::Verdict::Never);
        for (status, verdict, exit) in [
            (401, None, Exit::NotAllowed),
            (403, None, Exit::NotAllowed),
            (404, None, Exit::Other),
            (409, None, Exit::Other),
            (422, never, Exit::Refused),
            (422, None, Exit::Other),
            (429, None, Exit::Refused),
            (503, None, Exit::Unreachable),
            (500, None, Exit::Other),
        ] {
            assert_eq!(refused(status, verdict).exit, exit, "{status}");
        }
    }

    #[test]
    fn a_refusal_is_told_in_the_servers_own_words() {
        let failure = refused(422, Some(curb_core::decide::Verdict::Never));
        assert_eq!(failure.message, "You asked too much.");
        assert_eq!(
            refused(404, None).message,
            "cannot submit the job: You asked too much."
        );
    }

    #[test]
    fn an_inner_error_names_the_request_for_the_log() {
        assert_eq!(
            refused(500, None).help.as_deref(),
            Some("the server's log tells more under request r1")
        );
        assert!(
            refused(503, None)
                .help
                .is_some_and(|h| h.contains("try again") && h.contains("r1"))
        );
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        let failure = Failure::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(failure.silent && failure.exit == Exit::Ok);
    }
}
