//! What the guard refuses, and how the peer is told.

use http::StatusCode;

use crate::guard::Deadlines;
use crate::head::HeadLimits;
use crate::response::{Problem, size_text};

/// The bounds that a connection is held to; refusals name the one that was met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Bounds on a request head.
    pub head: HeadLimits,
    /// Deadlines of the connection.
    pub deadlines: Deadlines,
}

macro_rules! violations {
    ($($name:ident, $reason:literal;)+) => {
        /// One reason to end a connection. [`Violation::reason`] is the line that the peer reads.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Violation {
            $(#[doc = $reason] $name,)+
        }

        impl Violation {
            /// All of them.
            pub const ALL: &'static [Violation] = &[$(Violation::$name,)+];

            /// One line for the peer, without a line end.
            pub const fn reason(self) -> &'static str {
                match self {
                    $(Violation::$name => $reason,)+
                }
            }
        }
    };
}

violations!(
    BareLineFeed, "a line in the request head ends without CR LF";
    ControlByte, "the request head has a control byte";
    NotAscii, "the request head has a byte that is not ASCII";
    ObsoleteFold, "a header line begins with a space or a tab";
    RequestLine, "the request line must be: method, one space, target, one space, version";
    Method, "the method must be 1 to 16 upper-case letters, and not CONNECT";
    Target, "the request target has a character that must be percent-encoded";
    TargetForm, "the request target must be a path beginning with '/'";
    TargetTooLong, "the request target is too long";
    Version, "only HTTP/1.1 and HTTP/1.0 are spoken here";
    NoColon, "a header line has no colon";
    SpaceBeforeColon, "a header has a space before its colon";
    HeaderName, "a header name has a character that is not allowed";
    UnderscoreInName, "a header name has an underscore";
    HeadTooLarge, "the request head is too large";
    TooManyHeaders, "the request has too many headers";
    DuplicateHeader, "a header that may occur once is given twice";
    MissingHost, "the request has no Host header";
    BadHost, "the Host header is not a host with an optional port";
    LengthAndEncoding, "the request has both Content-Length and Transfer-Encoding";
    ContentLength, "Content-Length must be one plain decimal number";
    TransferEncoding, "Transfer-Encoding must be exactly 'chunked'";
    EncodingOnOldVersion, "HTTP/1.0 has no Transfer-Encoding";
    Trailers, "trailers are not accepted";
    Upgrade, "the only upgrade is: GET, HTTP/1.1, 'Connection: upgrade', 'Upgrade: websocket', no body";
    BytesAfterUpgrade, "bytes were sent after an upgrade request, before its answer";
    Expectation, "the only expectation is '100-continue'";
    ChunkSize, "a chunk size must be 1 to 8 hex digits";
    ChunkExtension, "chunk extensions are not accepted";
    ChunkSizeLine, "a chunk size must be followed by CR LF";
    ChunkEnd, "a chunk must be followed by CR LF";
    HeadTimeout, "the request head did not arrive in time";
    BodyIdle, "the request body stopped arriving";
    BodyDeadline, "the request body did not arrive in time";
    Desync, "the request could be read in two ways";
);

impl Violation {
    /// The status that fits.
    pub const fn status(self) -> StatusCode {
        use Violation::*;
        match self {
            HeadTooLarge | TooManyHeaders => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            TargetTooLong => StatusCode::URI_TOO_LONG,
            Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Expectation => StatusCode::EXPECTATION_FAILED,
            HeadTimeout | BodyIdle | BodyDeadline => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// A stable kebab-case name, which has a page; for logs and metrics as well.
    pub const fn code(self) -> &'static str {
        self.kind().0
    }

    /// The code, and what to do about it.
    const fn kind(self) -> (&'static str, &'static str) {
        match self.status() {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => (
                "head-too-large",
                "send fewer or shorter headers; cookies of other sites are not needed",
            ),
            StatusCode::URI_TOO_LONG => ("target-too-long", "shorten the path or the query"),
            StatusCode::HTTP_VERSION_NOT_SUPPORTED => (
                "http-version",
                "use HTTP/1.1, or a proxy in front that does",
            ),
            StatusCode::EXPECTATION_FAILED => ("expectation", "leave the Expect header out"),
            StatusCode::REQUEST_TIMEOUT => (
                "request-timeout",
                "send it again; if the line is slow, send less at once",
            ),
            _ => (
                "bad-framing",
                "use a usual HTTP client; if you do, look for a proxy between that changes requests",
            ),
        }
    }

    /// The bound that was met, if it is one.
    fn bound(self, bounds: &Bounds) -> Option<String> {
        let Bounds { head, deadlines } = bounds;
        let at_most = |size: usize| format!("at most {} are taken", size_text(size as u64));
        Some(match self {
            Self::TargetTooLong => at_most(head.max_target_bytes),
            Self::HeadTooLarge => at_most(head.max_bytes),
            Self::TooManyHeaders => format!("at most {} are taken", head.max_headers),
            Self::HeadTimeout => format!("it may take {:?}", deadlines.head),
            Self::BodyIdle => format!("no byte of it came for {:?}", deadlines.body_idle),
            Self::BodyDeadline => format!("it may take {:?}", deadlines.body_total),
            _ => return None,
        })
    }

    /// The refusal for the client of a connection that was held to `bounds`.
    pub fn problem(self, bounds: &Bounds) -> Problem {
        let (code, next) = self.kind();
        let what = match self.bound(bounds) {
            Some(bound) => format!("{}: {bound}", self.reason()),
            None => self.reason().to_owned(),
        };
        Problem::new(self.status(), code, "The request cannot be read")
            .line(what)
            .next(next)
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Violation {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bound_that_was_met_is_named_as_it_is_set() {
        let bounds = Bounds {
            head: HeadLimits {
                max_bytes: 1001,
                max_headers: 102,
                max_target_bytes: 1003,
            },
            deadlines: Deadlines {
                head: Duration::from_secs(104),
                body_idle: Duration::from_secs(105),
                body_total: Duration::from_secs(106),
                ..Deadlines::default()
            },
        };
        let told: Vec<(Violation, String)> = Violation::ALL
            .iter()
            .map(|v| (*v, v.problem(&bounds).detail[0].clone()))
            .filter(|(v, what)| what != v.reason())
            .collect();
        let after = |v: Violation, bound: &str| (v, format!("{v}: {bound}"));
        assert_eq!(
            told,
            [
                after(Violation::TargetTooLong, "at most 1003 bytes are taken"),
                after(Violation::HeadTooLarge, "at most 1001 bytes are taken"),
                after(Violation::TooManyHeaders, "at most 102 are taken"),
                after(Violation::HeadTimeout, "it may take 104s"),
                after(Violation::BodyIdle, "no byte of it came for 105s"),
                after(Violation::BodyDeadline, "it may take 106s"),
            ]
        );
    }
}
