//! Which client headers go on to an upstream: those that a rule names, with a value it knows.
//!
//! Everything else stays here: credentials, cookies, `x-*`, hop-by-hop headers, and whatever
//! `Connection` names. The caller adds the cluster's own credential afterwards.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

/// One header that may pass.
#[derive(Debug, Clone)]
pub struct HeaderRule {
    name: HeaderName,
    values: &'static [&'static str],
}

impl HeaderRule {
    /// A header that passes with one of these values, compared without regard to case. What is
    /// sent on is the rule's spelling, never the client's bytes. `None` for a header that must
    /// never pass, whatever a rule says.
    pub fn new(name: HeaderName, values: &'static [&'static str]) -> Option<Self> {
        may_pass(&name).then_some(Self { name, values })
    }
}

/// Headers of which no rule can be made: credentials, hop-by-hop, framing, identity.
const NEVER: [HeaderName; 17] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
    header::COOKIE,
    header::HOST,
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::FORWARDED,
    header::VIA,
    header::ORIGIN,
];

fn may_pass(name: &HeaderName) -> bool {
    let text = name.as_str();
    !NEVER.contains(name)
        && !text.starts_with("x-")
        && !text.starts_with("sec-")
        && !text.contains('_')
}

/// What Ray's Jobs API looks at: the body's type and the answer's.
pub fn ray_rules() -> Vec<HeaderRule> {
    const TYPES: &[&str] = &[
        "application/json",
        "application/octet-stream",
        "application/zip",
    ];
    const ANSWERS: &[&str] = &["*/*", "application/json", "text/plain"];
    [(header::CONTENT_TYPE, TYPES), (header::ACCEPT, ANSWERS)]
        .into_iter()
        .filter_map(|(name, values)| HeaderRule::new(name, values))
        .collect()
}

/// Builds the headers of an upstream request from the client's. A header given twice, one with an
/// unknown value, and one that `Connection` names do not pass.
pub fn upstream_headers(client: &HeaderMap, rules: &[HeaderRule]) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(rules.len());
    for rule in rules {
        let mut sent = client.get_all(&rule.name).iter();
        let (Some(value), None) = (sent.next(), sent.next()) else {
            continue;
        };
        let Ok(value) = value.to_str() else { continue };
        let known = rule
            .values
            .iter()
            .find(|known| known.eq_ignore_ascii_case(value.trim()));
        if let Some(known) = known.filter(|_| !named_by_connection(client, &rule.name)) {
            out.insert(rule.name.clone(), HeaderValue::from_static(known));
        }
    }
    out
}

fn named_by_connection(client: &HeaderMap, name: &HeaderName) -> bool {
    client
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|v| v.as_bytes().split(|&b| b == b','))
        .any(|token| {
            token
                .trim_ascii()
                .eq_ignore_ascii_case(name.as_str().as_bytes())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(client: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        for (name, value) in client {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let mut out: Vec<_> = upstream_headers(&headers, &ray_rules())
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned()))
            .collect();
        out.sort();
        out
    }

    #[test]
    fn nothing_passes_but_what_a_rule_names() {
        for name in [
            "authorization",
            "x-ray-authorization",
            "proxy-authorization",
            "cookie",
            "host",
            "x-forwarded-for",
            "x-forwarded-user",
            "x-real-ip",
            "x-user",
            "x-request-id",
            "forwarded",
            "via",
            "connection",
            "keep-alive",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "content-length",
            "expect",
            "user-agent",
            "origin",
            "referer",
            "accept-encoding",
            "sec-fetch-site",
            "range",
            "x_forwarded_user",
        ] {
            assert!(
                passed(&[(name, "application/json")]).is_empty(),
                "{name} passed"
            );
        }
    }

    #[test]
    fn a_known_value_passes_in_the_spelling_of_the_rule() {
        assert_eq!(
            passed(&[("content-type", "Application/JSON"), ("accept", "*/*")]),
            [
                ("accept".into(), "*/*".into()),
                ("content-type".into(), "application/json".into())
            ]
        );
    }

    #[test]
    fn an_unknown_or_doubled_value_does_not_pass() {
        assert!(passed(&[("content-type", "text/html")]).is_empty());
        assert!(passed(&[("content-type", "application/json; charset=utf-7")]).is_empty());
        assert!(passed(&[("accept", "*/*"), ("accept", "*/*")]).is_empty());
    }

    #[test]
    fn what_connection_names_does_not_pass() {
        for connection in ["accept", "close, Accept", "ACCEPT ,x"] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
            headers.insert(header::CONNECTION, HeaderValue::from_static(connection));
            assert!(
                upstream_headers(&headers, &ray_rules()).is_empty(),
                "{connection}"
            );
        }
    }

    #[test]
    fn no_rule_can_be_made_for_a_credential_or_an_identity() {
        for name in NEVER.iter().chain([
            &HeaderName::from_static("x-user"),
            &HeaderName::from_static("sec-fetch-site"),
        ]) {
            assert!(HeaderRule::new(name.clone(), &["a"]).is_none(), "{name}");
        }
    }
}
