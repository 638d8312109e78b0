//! Who a browser says it is: `Host`, `Origin` and `Sec-Fetch-*`, judged by rules that are data.
//!
//! A job API that runs what it is sent must not be reachable from a web page that a developer
//! happens to visit, by DNS rebinding or otherwise. `User-Agent` is never looked at: pages can
//! set it.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::{self, HeaderName};
use http::{HeaderMap, StatusCode};

use crate::response::Problem;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// A host and port in one spelling: lower case, IP addresses in their shortest form, the port
/// always told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    host: String,
    port: u16,
}

/// An origin in one spelling: `http` or `https`, host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    https: bool,
    at: HostPort,
}

/// A name in the configuration that is no host, or no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not {1}")]
pub struct BadName(String, &'static str);

impl HostPort {
    /// Parses `name`, `name:port`, `1.2.3.4:port`, `[::1]:port`. Without a port it is
    /// `default_port`. A trailing dot, user info, or any other spelling is no host.
    pub fn parse(text: &str, default_port: u16) -> Option<Self> {
        let (host, rest) = if let Some(inner) = text.strip_prefix('[') {
            let (address, rest) = inner.split_once(']')?;
            (format!("[{}]", address.parse::<Ipv6Addr>().ok()?), rest)
        } else {
            let end = text.find(':').unwrap_or(text.len());
            (parse_name(&text[..end])?, &text[end..])
        };
        let port = match rest.strip_prefix(':') {
            Some(port) => parse_port(port)?,
            None if rest.is_empty() => default_port,
            None => return None,
        };
        Some(Self { host, port })
    }
}

fn parse_name(name: &str) -> Option<String> {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return None;
    }
    // A last label of digits is an IPv4 address in one of its many spellings: one is enough.
    let numeric = |l: &str| {
        l.bytes().all(|b| b.is_ascii_digit()) || l.starts_with("0x") || l.starts_with("0X")
    };
    if name.rsplit('.').next().is_some_and(numeric) {
        return name.parse::<Ipv4Addr>().ok().map(|a| a.to_string());
    }
    Some(name.to_ascii_lowercase())
}

fn parse_port(text: &str) -> Option<u16> {
    let plain =
        !text.starts_with('0') && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

impl Origin {
    /// Parses `http://host[:port]` or `https://host[:port]`, with nothing behind it. `null` and
    /// other schemes are no origin.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let https = match scheme {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let at = HostPort::parse(rest, if https { 443 } else { 80 })?;
        Some(Self { https, at })
    }
}

/// What may stand in one `Sec-Fetch-*` header. The header's absence is always allowed here: only
/// browsers send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchRule {
    /// Any value.
    Any,
    /// One of these.
    OneOf(&'static [&'static str]),
}

/// The rules of one listener, as data: an API with bearer tokens and a page with cookies differ
/// only here.
#[derive(Debug, Clone)]
pub struct Allowed {
    /// Names under which this listener may be asked for.
    pub hosts: Vec<HostPort>,
    /// Origins that may call; any other value of `Origin`, `null` included, is refused.
    pub origins: Vec<Origin>,
    /// The port that a `Host` without one means (80, or 443 behind TLS).
    pub default_port: u16,
    /// Values of `Sec-Fetch-Site`.
    pub sites: FetchRule,
    /// Values of `Sec-Fetch-Mode`.
    pub modes: FetchRule,
    /// Values of `Sec-Fetch-Dest`.
    pub dests: FetchRule,
    /// Whether a request with a cookie must prove by `Origin` or `Sec-Fetch-Site` where it comes
    /// from. For pages with sessions.
    pub cookie_needs_proof: bool,
}

impl Allowed {
    /// An API for programs that send a bearer token: no page of another site or subdomain may
    /// call it, and nothing may embed it.
    pub fn bearer_api<H: AsRef<str>, O: AsRef<str>>(
        hosts: &[H],
        origins: &[O],
        default_port: u16,
    ) -> Result<Self, BadName> {
        let host = |h: &H| {
            let text = h.as_ref();
            HostPort::parse(text, default_port)
                .ok_or_else(|| BadName(text.to_owned(), "a host with an optional port"))
        };
        let origin = |o: &O| {
            let text = o.as_ref();
            Origin::parse(text)
                .ok_or_else(|| BadName(text.to_owned(), "an origin such as https://host:port"))
        };
        Ok(Self {
            hosts: hosts.iter().map(host).collect::<Result<_, _>>()?,
            origins: origins.iter().map(origin).collect::<Result<_, _>>()?,
            default_port,
            sites: FetchRule::OneOf(&["none", "same-origin"]),
            modes: FetchRule::OneOf(&["cors", "same-origin", "navigate", "websocket"]),
            dests: FetchRule::OneOf(&["empty", "document", "websocket"]),
            cookie_needs_proof: false,
        })
    }
}

/// Why a request is refused by where it says it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BrowserRefusal {
    /// `Host` is missing, doubled, or no host.
    #[error("the Host header is not a host with an optional port")]
    BadHost,
    /// `Host` is not one of this server's names.
    #[error("this server is not known under the name in the Host header")]
    UnknownHost,
    /// `Origin` is not on the list.
    #[error("requests from this Origin are not accepted")]
    Origin,
    /// A `Sec-Fetch-*` header says that another site, or an embedding, made the request.
    #[error("requests that a page of another site makes are not accepted ({0})")]
    Fetch(&'static str),
    /// A cookie came without a word of where the request comes from.
    #[error("a request with a cookie must carry Origin or Sec-Fetch-Site")]
    Unproven,
}

impl BrowserRefusal {
    /// 400, 421 or 403.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadHost => StatusCode::BAD_REQUEST,
            Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::Origin | Self::Fetch(_) | Self::Unproven => StatusCode::FORBIDDEN,
        }
    }

    /// The refusal for the client.
    pub fn problem(self) -> Problem {
        let (code, title, next) = match self {
            Self::BadHost => (
                "bad-host",
                "The Host header is not valid",
                "send one Host header: a name or an address, with or without a port",
            ),
            Self::UnknownHost => (
                "unknown-host",
                "The server is not known under that name",
                "use one of its names, or have the operator add this one (curb serve --host NAME, or CURB_HOSTS)",
            ),
            Self::Origin | Self::Fetch(_) | Self::Unproven => (
                "cross-site",
                "Requests of other web pages are not taken",
                "use the command line or a client library: no page of another site is let in",
            ),
        };
        Problem::new(self.status(), code, title)
            .line(self.to_string())
            .next(next)
    }
}

/// Judges `Host`, `Origin` and `Sec-Fetch-*` of one request.
pub fn check_browser(headers: &HeaderMap, allowed: &Allowed) -> Result<(), BrowserRefusal> {
    let host = single(headers, &header::HOST).map_err(|_| BrowserRefusal::BadHost)?;
    let host = host
        .and_then(|h| HostPort::parse(h, allowed.default_port))
        .ok_or(BrowserRefusal::BadHost)?;
    if !allowed.hosts.contains(&host) {
        return Err(BrowserRefusal::UnknownHost);
    }
    let origin = single(headers, &header::ORIGIN).map_err(|_| BrowserRefusal::Origin)?;
    if let Some(text) = origin {
        let known = Origin::parse(text).is_some_and(|o| allowed.origins.contains(&o));
        if !known {
            return Err(BrowserRefusal::Origin);
        }
    }
    let site = check_fetch(headers, &SEC_FETCH_SITE, "Sec-Fetch-Site", allowed.sites)?;
    check_fetch(headers, &SEC_FETCH_MODE, "Sec-Fetch-Mode", allowed.modes)?;
    check_fetch(headers, &SEC_FETCH_DEST, "Sec-Fetch-Dest", allowed.dests)?;
    let proven = origin.is_some() || site;
    if allowed.cookie_needs_proof && headers.contains_key(header::COOKIE) && !proven {
        return Err(BrowserRefusal::Unproven);
    }
    Ok(())
}

/// Whether the header is there; an error if its value breaks the rule.
fn check_fetch(
    headers: &HeaderMap,
    name: &HeaderName,
    shown: &'static str,
    rule: FetchRule,
) -> Result<bool, BrowserRefusal> {
    let value = single(headers, name).map_err(|_| BrowserRefusal::Fetch(shown))?;
    match (value, rule) {
        (None, _) => Ok(false),
        (Some(_), FetchRule::Any) => Ok(true),
        (Some(v), FetchRule::OneOf(known)) if known.contains(&v) => Ok(true),
        (Some(_), FetchRule::OneOf(_)) => Err(BrowserRefusal::Fetch(shown)),
    }
}

struct NotOneText;

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, NotOneText> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| NotOneText),
        _ => Err(NotOneText),
    }
}

#[cfg(test)]
#[path = "origin_tests.rs"]
mod tests;
