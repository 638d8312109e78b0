//! The kinds of errors that are not refusals by a limit (these have the reason codes of `curb-core`). Each has a stable
//! code, a title, and a page at `/curb/v1/reasons/{code}`.

macro_rules! kinds {
    ($($name:ident, $code:literal, $title:literal;)+) => {
        /// What kind of error it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(#[doc = $title] $name,)+
        }

        impl Kind {
            /// All kinds.
            pub const ALL: &'static [Kind] = &[$(Kind::$name,)+];

            /// The stable code.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self {
                    $(Kind::$name => $code,)+
                }
            }

            /// The kind in a few words, always the same for a code.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self {
                    $(Kind::$name => $title,)+
                }
            }
        }
    };
}

kinds!(
    BadRequest, "bad-request", "The request is not understood";
    BadFraming, "bad-framing", "The request is not plain HTTP";
    HeadTooLarge, "head-too-large", "The head of the request is too large";
    TargetTooLong, "target-too-long", "The path is too long";
    HttpVersion, "http-version", "This version of HTTP is not spoken here";
    Expectation, "expectation", "What the request expects is not done here";
    RequestTimeout, "request-timeout", "The request did not arrive in time";
    BadPath, "bad-path", "The path is not in its one form";
    BadHost, "bad-host", "The Host header is not valid";
    UnknownHost, "unknown-host", "The server is not known under that name";
    CrossSite, "cross-site", "Requests of other web pages are not taken";
    BodyTooLarge, "body-too-large", "The body is too large";
    BodyTooSlow, "body-too-slow", "The body did not arrive in time";
    BodyBroken, "body-broken", "The body could not be read";
    TooManyLargeBodies, "too-many-large-bodies", "Too many large requests";
    NotSignedIn, "not-signed-in", "Not signed in";
    Forbidden, "forbidden", "Your token may not do this";
    NotFound, "not-found", "There is no such thing";
    MethodNotAllowed, "method-not-allowed", "Not with this method";
    Conflict, "conflict", "It is not as the request takes it to be";
    TooLarge, "too-large", "Too large to be written";
    BadPolicy, "bad-policy", "The policy is not right";
    NotStarted, "not-started", "The job was not started";
    OutcomeUnknown, "outcome-unknown", "It is not known yet whether the job started";
    JournalNotWritable, "journal-not-writable", "The journal cannot be written";
    NotReady, "not-ready", "Not ready";
    Unavailable, "unavailable", "Not at the moment";
    TooManyLogs, "too-many-logs", "Too many logs are read";
    TooManyTails, "too-many-tails", "Too many logs are followed";
    PackagesOfUserFull, "packages-of-user-full", "There is no room for more packages of yours";
    PackagesFull, "packages-full", "There is no room for more packages";
    PackagesNotWritable, "packages-not-writable", "The package could not be kept";
    AgentNode, "agent-other-node", "The report is of another node";
    AgentOld, "agent-old-report", "The report is older than what is known";
    Dashboard, "dashboard", "Ray does not show this";
    Internal, "internal", "Something is wrong with Curb itself";
);

impl Kind {
    /// The kind of a code.
    #[must_use]
    pub fn find(code: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|k| k.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_code_is_given_twice_and_none_is_that_of_a_limit() {
        let kinds = Kind::ALL.iter().map(|k| k.code());
        let limits = curb_core::decide::Code::ALL.iter().map(|c| c.as_str());
        let all: BTreeSet<&str> = kinds.clone().chain(limits.clone()).collect();
        assert_eq!(all.len(), kinds.count() + limits.count());
        for kind in Kind::ALL {
            assert_eq!(Kind::find(kind.code()), Some(*kind));
        }
    }
}
