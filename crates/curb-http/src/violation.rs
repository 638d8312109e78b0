//! What the guard refuses, and how the peer is told.

use http::StatusCode;

/// One reason to end a connection. [`Violation::reason`] is the line that the peer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "each variant is explained by its line in `reason`"
)]
pub enum Violation {
    BareLineFeed,
    ControlByte,
    NotAscii,
    ObsoleteFold,
    RequestLine,
    Method,
    Target,
    TargetForm,
    TargetTooLong,
    Version,
    NoColon,
    SpaceBeforeColon,
    HeaderName,
    UnderscoreInName,
    HeadTooLarge,
    TooManyHeaders,
    DuplicateHeader,
    MissingHost,
    BadHost,
    LengthAndEncoding,
    ContentLength,
    TransferEncoding,
    EncodingOnOldVersion,
    Trailers,
    Upgrade,
    BytesAfterUpgrade,
    Expectation,
    ChunkSize,
    ChunkExtension,
    ChunkSizeLine,
    ChunkEnd,
    HeadTimeout,
    BodyIdle,
    BodyDeadline,
    Desync,
}

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

    /// One line for the peer, without a line end.
    pub const fn reason(self) -> &'static str {
        use Violation::*;
        match self {
            BareLineFeed => "a line in the request head ends without CR LF",
            ControlByte => "the request head has a control byte",
            NotAscii => "the request head has a byte that is not ASCII",
            ObsoleteFold => "a header line begins with a space or a tab",
            RequestLine => {
                "the request line must be: method, one space, target, one space, version"
            }
            Method => "the method must be 1 to 16 upper-case letters, and not CONNECT",
            Target => "the request target has a character that must be percent-encoded",
            TargetForm => "the request target must be a path beginning with '/'",
            TargetTooLong => "the request target is too long",
            Version => "only HTTP/1.1 and HTTP/1.0 are spoken here",
            NoColon => "a header line has no colon",
            SpaceBeforeColon => "a header has a space before its colon",
            HeaderName => "a header name has a character that is not allowed",
            UnderscoreInName => "a header name has an underscore",
            HeadTooLarge => "the request head is too large",
            TooManyHeaders => "the request has too many headers",
            DuplicateHeader => "a header that may occur once is given twice",
            MissingHost => "the request has no Host header",
            BadHost => "the Host header is not a host with an optional port",
            LengthAndEncoding => "the request has both Content-Length and Transfer-Encoding",
            ContentLength => "Content-Length must be one plain decimal number",
            TransferEncoding => "Transfer-Encoding must be exactly 'chunked'",
            EncodingOnOldVersion => "HTTP/1.0 has no Transfer-Encoding",
            Trailers => "trailers are not accepted",
            Upgrade => {
                "the only upgrade is: GET, HTTP/1.1, 'Connection: upgrade', 'Upgrade: websocket', no body"
            }
            BytesAfterUpgrade => "bytes were sent after an upgrade request, before its answer",
            Expectation => "the only expectation is '100-continue'",
            ChunkSize => "a chunk size must be 1 to 8 hex digits",
            ChunkExtension => "chunk extensions are not accepted",
            ChunkSizeLine => "a chunk size must be followed by CR LF",
            ChunkEnd => "a chunk must be followed by CR LF",
            HeadTimeout => "the request head did not arrive in time",
            BodyIdle => "the request body stopped arriving",
            BodyDeadline => "the request body did not arrive in time",
            Desync => "the request could not be read in one way only",
        }
    }

    /// A stable kebab-case name, for logs and metrics.
    pub const fn code(self) -> &'static str {
        match self.status() {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "head-too-large",
            StatusCode::URI_TOO_LONG => "target-too-long",
            StatusCode::HTTP_VERSION_NOT_SUPPORTED => "http-version",
            StatusCode::EXPECTATION_FAILED => "expectation",
            StatusCode::REQUEST_TIMEOUT => "request-timeout",
            _ => "bad-framing",
        }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Violation {}
