//! What of a message's head is for the next hop, and what is for this one alone. Pure.

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Headers that concern one hop only (RFC 9110, section 7.6.1, and what is used like them).
const ONE_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Headers by which a proxy tells who asked. A client's own are not believed.
const WHO_ASKED: [HeaderName; 6] = [
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-real-ip"),
];

/// Takes out what is for this hop alone, and what `Connection` names besides. `Content-Length` and `Host` stay, whatever
/// is named: without them a message would be read differently.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .filter(|name| *name != header::CONTENT_LENGTH && *name != header::HOST)
        .collect();
    for name in ONE_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

/// A request's headers as the server gets them. The client's `Host` stays, so that the server can check it.
pub(crate) fn for_server(headers: &mut HeaderMap, client: IpAddr) {
    strip(headers);
    // We have answered that ourselves: the body comes at once.
    headers.remove(header::EXPECT);
    WHO_ASKED.iter().for_each(|name| drop(headers.remove(name)));
    let [_, forwarded_for, forwarded_host, forwarded_proto, ..] = WHO_ASKED;
    if let Ok(client) = HeaderValue::from_str(&client.to_string()) {
        headers.insert(forwarded_for, client);
    }
    if let Some(host) = headers.get(header::HOST).cloned() {
        headers.insert(forwarded_host, host);
    }
    headers.insert(forwarded_proto, HeaderValue::from_static("http"));
}

/// An answer's headers as the client gets them. `sized`: its length is known from its framing, or it has no body at all.
pub(crate) fn for_client(headers: &mut HeaderMap, sized: bool) {
    strip(headers);
    if !sized {
        // What came in chunks goes on in chunks, whatever length was claimed beside them.
        headers.remove(header::CONTENT_LENGTH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in of {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<String> {
        let mut names: Vec<String> = headers.keys().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_for_one_hop_stays_here_and_so_does_what_connection_names() {
        let mut map = headers(&[
            ("connection", "close, X-Secret , content-length"),
            ("connection", "host"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic x"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("x-secret", "1"),
            ("content-length", "3"),
            ("authorization", "Bearer of-the-model-server"),
            ("host", "models.example"),
            ("expect", "100-continue"),
        ]);
        for_server(&mut map, IpAddr::from([192, 0, 2, 7]));
        assert_eq!(
            names(&map),
            [
                "authorization",
                "content-length",
                "host",
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-proto"
            ]
        );
    }

    #[test]
    fn who_asked_is_told_by_us_and_not_by_the_client() {
        let mut map = headers(&[
            ("host", "a"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("forwarded", "for=10.0.0.1"),
            ("x-real-ip", "10.0.0.1"),
            ("x-forwarded-host", "evil"),
        ]);
        for_server(&mut map, IpAddr::from([192, 0, 2, 7]));
        assert_eq!(map["x-forwarded-for"], "192.0.2.7");
        assert_eq!(map.get_all("x-forwarded-for").iter().count(), 1);
        assert_eq!(map["x-forwarded-host"], "a");
        assert!(!map.contains_key("forwarded") && !map.contains_key("x-real-ip"));
    }

    #[test]
    fn a_length_beside_chunks_is_not_passed_on() {
        let answer = [("content-length", "5"), ("transfer-encoding", "chunked")];
        let mut map = headers(&answer);
        for_client(&mut map, false);
        assert!(map.is_empty());
        let mut map = headers(&answer[..1]);
        for_client(&mut map, true);
        assert_eq!(names(&map), ["content-length"]);
    }
}
