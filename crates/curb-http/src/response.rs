//! Refusals that people and programs can read: plain text by default, RFC 9457 JSON when asked.
//!
//! Ray's clients send `Accept: */*` and show the body under a traceback, so the default is a few
//! lines of text. JSON is sent only to who names it.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Map, Value};

use crate::request_id::{RequestId, X_REQUEST_ID};

/// Where the page of a code is found; the code is appended. Relative, so that a server whose
/// address only its operator knows can serve its own pages.
pub const DOCS_BASE: &str = "/curb/v1/reasons/";

/// Columns of a text for people.
pub const WIDTH: usize = 80;

/// Media ranges of an `Accept` header that are looked at; the rest is ignored.
const MAX_RANGES: usize = 32;

/// How a refusal is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; charset=utf-8`.
    Text,
    /// `application/problem+json`.
    Json,
}

impl Format {
    /// Chooses by the request's `Accept`: JSON if `application/problem+json` or
    /// `application/json` is named with a higher weight than plain text. A range that names a
    /// type outranks a wildcard of the same weight. Text if there is no header or no sense in it.
    pub fn preferred(headers: &HeaderMap) -> Self {
        let mut json = 0;
        // The weight of plain text, by how precisely the range names it.
        let mut text = [0; 3];
        let mut named = [false; 3];
        let values = headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|v| v.to_str().ok());
        for range in values.flat_map(|v| v.split(',')).take(MAX_RANGES) {
            let (media, weight) = parse_range(range);
            let rank = match media.as_str() {
                "application/json" | "application/problem+json" => {
                    json = json.max(weight);
                    continue;
                }
                "text/plain" => 2,
                "text/*" => 1,
                "*/*" => 0,
                _ => continue,
            };
            text[rank] = text[rank].max(weight);
            named[rank] = true;
        }
        let rank = (0..3).rev().find(|&r| named[r]);
        let text_weight = rank.map_or(0, |r| text[r]);
        let wildcard_only = rank == Some(0);
        if json > text_weight || (json > 0 && json == text_weight && wildcard_only) {
            Self::Json
        } else {
            Self::Text
        }
    }
}

/// The lower-case media type and its weight in thousandths.
fn parse_range(range: &str) -> (String, u16) {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default().to_ascii_lowercase();
    let weight = parts
        .find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")))
        .map_or(1000, parse_weight);
    (media, weight)
}

/// `0`, `1`, `0.5`, `0.333`: thousandths. What is no weight counts as 0.
fn parse_weight(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return 0;
    }
    let thousandths = format!("{fraction:0<3}").parse().unwrap_or(0);
    match whole {
        "0" => thousandths,
        "1" if thousandths == 0 => 1000,
        _ => 0,
    }
}

/// One refusal: what happened, which limit was met, what to do next.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// A stable kebab-case name; a page of the docs has it as its name.
    pub code: Cow<'static, str>,
    /// One short sentence, the same for every occurrence of the code.
    pub title: Cow<'static, str>,
    /// What is particular to this occurrence, a line each (80 columns read well).
    pub detail: Vec<String>,
    /// Extension members for programs. They never override the members above.
    pub extensions: Map<String, Value>,
    /// The request that was refused.
    pub request_id: Option<RequestId>,
}

impl Problem {
    /// A problem without details.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        title: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code: code.into(),
            title: title.into(),
            detail: Vec::new(),
            extensions: Map::new(),
            request_id: None,
        }
    }

    /// Adds a line of detail.
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.detail.push(line.into());
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn next(self, step: impl std::fmt::Display) -> Self {
        self.line(format!("  next: {step}"))
    }

    /// Adds an extension member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extensions.insert(name.to_owned(), value.into());
        self
    }

    /// Names the request.
    #[must_use]
    pub fn for_request(mut self, id: Option<RequestId>) -> Self {
        self.request_id = id;
        self
    }

    /// The `type` member: the page that explains the code.
    pub fn type_uri(&self) -> String {
        format!("{DOCS_BASE}{}", self.code)
    }

    /// What happened and what to do next; the title where there is nothing more to say.
    pub fn said(&self) -> String {
        if self.detail.is_empty() {
            return format!("curb: {}", self.title);
        }
        format!("curb: {}", self.detail.join("\n"))
    }

    /// The refusal as lines of text: what happened, what to do, then where to read on.
    pub fn to_text(&self) -> String {
        let mut text = wrapped(&self.said());
        text.push_str(&footer(&self.code, self.status, self.request_id));
        text
    }

    /// The refusal as an RFC 9457 object.
    pub fn to_json(&self) -> Value {
        let mut members = self.extensions.clone();
        members.insert("type".into(), self.type_uri().into());
        members.insert("title".into(), self.title.as_ref().into());
        members.insert("status".into(), self.status.as_u16().into());
        members.insert("code".into(), self.code.as_ref().into());
        members.insert("detail".into(), self.said().into());
        if let Some(id) = self.request_id {
            members.insert("request_id".into(), id.to_string().into());
        }
        Value::Object(members)
    }

    /// The response, with security headers and the request id.
    pub fn respond(&self, format: Format) -> Response<Bytes> {
        let (kind, body) = match format {
            Format::Text => ("text/plain; charset=utf-8", self.to_text()),
            Format::Json => ("application/problem+json", self.to_json().to_string()),
        };
        let mut response = plain(self.status, kind, body, self.request_id);
        response
            .headers_mut()
            .insert(header::VARY, HeaderValue::from_static("accept"));
        response
    }

    /// The response in the form that the request's `Accept` prefers.
    pub fn respond_to(&self, request: &HeaderMap) -> Response<Bytes> {
        self.respond(Format::preferred(request))
    }
}

/// A text in lines of at most [`WIDTH`] columns, each ended; a line's further parts are indented as
/// the line is, or below the text of a `next:`.
pub fn wrapped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for line in text.trim_end().lines() {
        let lead = line.len() - line.trim_start().len();
        let indent = match line.trim_start() {
            step if step.starts_with("next: ") || step.starts_with("more: ") => {
                lead + "next: ".len()
            }
            _ => lead,
        };
        let mut columns = lead;
        out.push_str(&line[..lead]);
        for (n, word) in line.split_whitespace().enumerate() {
            let wide = word.chars().count();
            if n > 0 && columns + 1 + wide > WIDTH {
                out.push('\n');
                out.push_str(&" ".repeat(indent));
                columns = indent;
            } else if n > 0 {
                out.push(' ');
                columns += 1;
            }
            out.push_str(word);
            columns += wide;
        }
        out.push('\n');
    }
    out
}

/// A size for people: whole KiB, MiB or GiB where it is that, else bytes.
pub fn size_text(size: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let whole = |(_, power): &(&str, u32)| size > 0 && size.trailing_zeros() >= *power;
    match units.into_iter().find(whole) {
        Some((unit, power)) => format!("{} {unit}", size >> power),
        None => format!("{size} bytes"),
    }
}

/// The last lines of a text for people: where the code is explained and, where only the server's log
/// knows more, under which name it has it.
pub fn footer(code: &str, status: StatusCode, id: Option<RequestId>) -> String {
    let mut text = wrapped(&format!(
        "  more: curb help reason {code}, or {DOCS_BASE}{code}"
    ));
    // A version of HTTP that is not spoken is the client's own affair, whatever its number.
    let ours = status.is_server_error() && status != StatusCode::HTTP_VERSION_NOT_SUPPORTED;
    if let Some(id) = id.filter(|_| ours) {
        text.push_str(&format!("  request: {id}\n"));
    }
    text
}

/// A response with a body, security headers and the request id.
fn plain(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
    id: Option<RequestId>,
) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    secure(headers);
    if let Some(id) = id {
        headers.insert(X_REQUEST_ID, id.header_value());
    }
    response
}

/// Headers that every response of an API carries. `nosniff` is always set; the others keep a
/// value that the handler chose.
const IF_ABSENT: [(HeaderName, &str); 4] = [
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Adds the security headers of an API response.
pub fn secure(headers: &mut HeaderMap) {
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    for (name, value) in IF_ABSENT {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format_for(accept: &[&str]) -> Format {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, HeaderValue::from_str(value).unwrap());
        }
        Format::preferred(&headers)
    }

    #[test]
    fn json_is_sent_only_to_who_names_it_with_a_higher_preference() {
        use Format::{Json, Text};
        for (accept, format) in [
            (&[][..], Text),
            (&["*/*"], Text),
            (&["text/plain"], Text),
            (&["application/*"], Text),
            (&["text/html, */*;q=0.8"], Text),
            (&["nonsense;;;q=,"], Text),
            (&["application/json;q=0"], Text),
            (&["application/json;q=zero"], Text),
            (&["application/json;q=0.5, text/plain"], Text),
            (&["application/json;q=0.5, */*"], Text),
            (&["application/json, text/plain, */*"], Text),
            (&["application/json;q=0.3, text/*;q=0.3"], Text),
            (&["application/json"], Json),
            (&["APPLICATION/JSON"], Json),
            (&["application/problem+json"], Json),
            (&["application/json, */*;q=0.5"], Json),
            (&["application/json, */*"], Json),
            (&["application/json, text/plain;q=0.9"], Json),
            (&["text/plain;q=0.1", "application/json;q=0.2"], Json),
            (&["text/plain;q=0, */*, application/json;q=0.1"], Json),
        ] {
            assert_eq!(format_for(accept), format, "{accept:?}");
        }
    }

    #[test]
    fn only_the_first_32_ranges_are_looked_at() {
        let flood = format!("{}application/json", "text/html,".repeat(32));
        assert_eq!(format_for(&[&flood]), Format::Text);
    }

    fn example() -> Problem {
        Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "over-quota",
            "The job does not fit now.",
        )
        .line("each-user (ana): gpu 2 of 2 in use, 1 asked")
        .next("try again after 14:00")
        .with("over_by", 1)
        .with("status", 999)
        .for_request(Some(RequestId::from_bytes([7; 16])))
    }

    #[test]
    fn the_text_tells_what_happened_what_to_do_and_where_to_read_on() {
        assert_eq!(
            example().to_text(),
            "curb: each-user (ana): gpu 2 of 2 in use, 1 asked\n  \
               next: try again after 14:00\n  \
               more: curb help reason over-quota, or /curb/v1/reasons/over-quota\n"
        );
    }

    #[test]
    fn only_what_the_server_did_wrong_names_its_place_in_the_log() {
        let mut problem = example();
        assert!(!problem.to_text().contains("request:"));
        problem.status = StatusCode::INTERNAL_SERVER_ERROR;
        let last = "  request: 07070707070707070707070707070707\n";
        assert!(problem.to_text().ends_with(last));
        problem.status = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
        assert!(!problem.to_text().contains("request:"));
        problem.detail.clear();
        assert!(problem.to_text().starts_with("curb: The job does not fit"));
    }

    #[test]
    fn a_size_is_said_in_the_largest_unit_that_it_is_a_whole_number_of() {
        let said = [0, 1023, 1024, 1536, 100 << 20, (1 << 20) + 1, 3 << 30].map(size_text);
        assert_eq!(
            said,
            [
                "0 bytes",
                "1023 bytes",
                "1 KiB",
                "1536 bytes",
                "100 MiB",
                "1048577 bytes",
                "3 GiB"
            ]
        );
    }

    #[test]
    fn long_lines_break_at_words_below_the_text_that_they_go_on_with() {
        let long = "seven77 ".repeat(30);
        let text = wrapped(&format!("curb: {long}\n  next: {long}\n\n"));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|l| l.len() <= WIDTH), "{text}");
        let next = lines.iter().position(|l| l.starts_with("  next: seven77"));
        let next = next.expect("the step");
        assert!(lines[1..next].iter().all(|l| l.starts_with("seven77")));
        assert!(lines[next + 1].starts_with("        seven77"), "{text}");
        let word = "x".repeat(200);
        assert_eq!(wrapped(&word), format!("{word}\n"));
        assert_eq!(wrapped("é".repeat(79).as_str()).lines().count(), 1);
    }

    #[test]
    fn an_extension_never_overrides_a_member_of_the_standard() {
        assert_eq!(
            example().to_json(),
            serde_json::json!({
                "type": "/curb/v1/reasons/over-quota",
                "title": "The job does not fit now.",
                "status": 429,
                "code": "over-quota",
                "detail": "curb: each-user (ana): gpu 2 of 2 in use, 1 asked\n  next: try again after 14:00",
                "over_by": 1,
                "request_id": "07070707070707070707070707070707",
            })
        );
    }

    #[test]
    fn every_refusal_carries_the_security_headers_and_its_request_id() {
        let response = example().respond(Format::Json);
        let get = |name: &str| response.headers()[name].to_str().unwrap();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(get("content-type"), "application/problem+json");
        assert_eq!(get("x-content-type-options"), "nosniff");
        assert_eq!(get("cache-control"), "no-store");
        assert!(get("content-security-policy").starts_with("default-src 'none'"));
        assert_eq!(get("x-request-id"), "07070707070707070707070707070707");
    }

    #[test]
    fn a_page_keeps_its_own_policy_but_never_loses_nosniff() {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'self'"),
        );
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("off"),
        );
        secure(&mut headers);
        assert_eq!(
            headers[header::CONTENT_SECURITY_POLICY],
            "default-src 'self'"
        );
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    }
}
