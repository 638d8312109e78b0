//! What of a message's head is for the next hop, and what is for this one alone. Pure.

use std::net::{IpAddr, SocketAddr};

use curb_core::host::limits::Network;

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

/// Who asks: the other end of the connection. Where that is a proxy that is believed, it is the last address in
/// `X-Forwarded-For` that is no such proxy: what stands before it was written by somebody who is not believed.
pub(crate) fn client(peer: IpAddr, headers: &HeaderMap, trust: &[Network]) -> IpAddr {
    let believed = |address: IpAddr| trust.iter().any(|network| network.has(address));
    let mut client = peer;
    let [_, forwarded_for, ..] = &WHO_ASKED;
    let lines: Vec<&HeaderValue> = headers.get_all(forwarded_for).iter().collect();
    let mut hops = lines
        .iter()
        .rev()
        .flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    while believed(client)
        && let Some(hop) = hops.next()
        && let Some(address) = hop_address(hop)
    {
        client = address;
    }
    client
}

/// An address as proxies write it: some with a port.
fn hop_address(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    let bare = hop.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let address = bare.unwrap_or(hop).parse().ok();
    address.or_else(|| Some(hop.parse::<SocketAddr>().ok()?.ip()))
}

/// How a client came to a proxy that is believed, by its word.
fn believed_proto(headers: &HeaderMap) -> Option<HeaderValue> {
    let [_, _, _, proto, ..] = &WHO_ASKED;
    let mut words = headers.get_all(proto).iter();
    let (word, None) = (words.next()?, words.next()) else {
        return None;
    };
    matches!(word.as_bytes(), b"http" | b"https").then(|| word.clone())
}

/// A request's headers as the server gets them. The client's `Host` stays, so that the server can check it. `believed`:
/// a proxy that is believed brings it.
pub(crate) fn for_server(headers: &mut HeaderMap, client: IpAddr, believed: bool) {
    strip(headers);
    let proto = believed.then(|| believed_proto(headers)).flatten();
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
    let plain = HeaderValue::from_static("http");
    headers.insert(forwarded_proto, proto.unwrap_or(plain));
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
        for_server(&mut map, IpAddr::from([192, 0, 2, 7]), false);
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
        for_server(&mut map, IpAddr::from([192, 0, 2, 7]), false);
        assert_eq!(map["x-forwarded-for"], "192.0.2.7");
        assert_eq!(map.get_all("x-forwarded-for").iter().count(), 1);
        assert_eq!(map["x-forwarded-host"], "a");
        assert!(!map.contains_key("forwarded") && !map.contains_key("x-real-ip"));
    }

    #[test]
    fn a_client_is_the_last_hop_that_is_no_proxy_of_ours_and_only_our_proxies_are_asked() {
        let trust: Vec<Network> = ["10.0.0.0/8", "::1"]
            .iter()
            .map(|n| n.parse().expect("a network"))
            .collect();
        let who = |peer: &str, lines: &[&'static str]| {
            let mut map = HeaderMap::new();
            for line in lines {
                map.append("x-forwarded-for", HeaderValue::from_static(line));
            }
            let peer = peer.parse().expect("an address");
            client(peer, &map, &trust).to_string()
        };
        for (peer, lines, is) in [
            // Nobody else is believed, whatever they say.
            ("192.0.2.9", &["10.0.0.1"][..], "192.0.2.9"),
            ("192.0.2.9", &["10.0.0.1, 203.0.113.5"], "192.0.2.9"),
            // One proxy, two proxies; what a client has put before that is its own word.
            ("10.0.0.1", &["203.0.113.5"], "203.0.113.5"),
            (
                "10.0.0.1",
                &["198.51.100.7, 203.0.113.5 , 10.0.0.2"],
                "203.0.113.5",
            ),
            (
                "10.0.0.1",
                &["198.51.100.7", "203.0.113.5,10.0.0.2"],
                "203.0.113.5",
            ),
            ("::1", &["2001:db8::5"], "2001:db8::5"),
            ("10.0.0.1", &["203.0.113.5:4711"], "203.0.113.5"),
            ("10.0.0.1", &["[2001:db8::5]:4711"], "2001:db8::5"),
            ("10.0.0.1", &["[2001:db8::5]"], "2001:db8::5"),
            // What is no address ends it there: what stands before it cannot be believed.
            ("10.0.0.1", &["203.0.113.5, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.5, , 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["203.0.113.5, 10.0.0.2 10.0.0.3"], "10.0.0.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            // All of them are ours: the first is as far as we know.
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("::ffff:10.0.0.1", &["203.0.113.5"], "203.0.113.5"),
        ] {
            assert_eq!(who(peer, lines), is, "{peer} {lines:?}");
        }
    }

    #[test]
    fn how_a_client_came_is_believed_of_a_proxy_that_is_and_only_if_it_says_it_once() {
        for (lines, believed, is) in [
            (&["https"][..], true, "https"),
            (&["https"], false, "http"),
            (&["https", "https"], true, "http"),
            (&["https, http"], true, "http"),
            (&["javascript"], true, "http"),
            (&[], true, "http"),
        ] {
            let mut map = HeaderMap::new();
            for line in lines {
                map.append("x-forwarded-proto", HeaderValue::from_static(line));
            }
            for_server(&mut map, IpAddr::from([192, 0, 2, 7]), believed);
            assert_eq!(map["x-forwarded-proto"], is, "{lines:?} {believed}");
        }
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
