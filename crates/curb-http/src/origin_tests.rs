use super::*;
use http::HeaderValue;

fn api() -> Allowed {
    let hosts = [
        "127.0.0.1:8266",
        "[::1]:8266",
        "curb.example",
        "gate.example:8266",
    ];
    Allowed::bearer_api(&hosts, &["https://ui.example"], 80).unwrap()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(
            HeaderName::from_static(name),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    map
}

fn verdict(pairs: &[(&'static str, &str)]) -> Result<(), BrowserRefusal> {
    check_browser(&headers(pairs), &api())
}

fn from_good_host(name: &'static str, value: &str) -> Result<(), BrowserRefusal> {
    verdict(&[("host", "127.0.0.1:8266"), (name, value)])
}

#[test]
fn only_names_on_the_list_are_served_in_any_case_and_any_ipv6_spelling() {
    for host in [
        "127.0.0.1:8266",
        "[::1]:8266",
        "[0:0:0:0:0:0:0:1]:8266",
        "[0::1]:8266",
        "curb.example",
        "CURB.example",
        "curb.EXAMPLE:80",
        "gate.example:8266",
    ] {
        assert_eq!(verdict(&[("host", host)]), Ok(()), "{host}");
    }
}

#[test]
fn a_rebound_or_foreign_name_is_421() {
    for host in [
        "evil.example:8266",
        "127.0.0.1.evil.example:8266",
        "curb.example.evil.example",
        "evilcurb.example",
        "xcurb.example",
        "127.0.0.1",
        "127.0.0.1:80",
        "127.0.0.1:8267",
        "0.0.0.0:8266",
        "127.0.0.2:8266",
        "localhost:8266",
        "[::]:8266",
        "[::1]",
        "[::ffff:127.0.0.1]:8266",
        "gate.example",
        "192.168.0.1:8266",
    ] {
        assert_eq!(
            verdict(&[("host", host)]),
            Err(BrowserRefusal::UnknownHost),
            "{host}"
        );
    }
    assert_eq!(
        BrowserRefusal::UnknownHost.status(),
        StatusCode::MISDIRECTED_REQUEST
    );
}

#[test]
fn what_is_no_host_is_400() {
    for host in [
        "",
        ":",
        ":80",
        "curb.example.",
        "curb..example",
        ".curb.example",
        "curb.example:",
        "curb.example:0",
        "curb.example:080",
        "curb.example:65536",
        "curb.example:8o",
        "curb.example:80:80",
        "ana@curb.example",
        "curb.example/x",
        "curb.example:80/",
        "http://curb.example",
        "curb example",
        "-curb.example",
        "curb-.example",
        "[::1",
        "::1",
        "[::1]8266",
        "[::1]x:8266",
        "[fe80::1%eth0]:8266",
        "[127.0.0.1]:8266",
        "2130706433:8266",
        "127.1:8266",
        "0177.0.0.1:8266",
        "0x7f.0.0.1:8266",
        "0x7f000001:8266",
        "127.0.0.01:8266",
        "127.0.0.1,curb.example",
        "*",
    ] {
        assert_eq!(
            verdict(&[("host", host)]),
            Err(BrowserRefusal::BadHost),
            "{host:?}"
        );
    }
    assert_eq!(verdict(&[]), Err(BrowserRefusal::BadHost));
    let twice = [("host", "curb.example"), ("host", "curb.example")];
    assert_eq!(verdict(&twice), Err(BrowserRefusal::BadHost));
    assert_eq!(BrowserRefusal::BadHost.status(), StatusCode::BAD_REQUEST);
}

#[test]
fn every_origin_but_the_listed_one_is_refused() {
    for origin in [
        "https://ui.example",
        "https://ui.example:443",
        "https://UI.example",
    ] {
        assert_eq!(from_good_host("origin", origin), Ok(()), "{origin}");
    }
    for origin in [
        "null",
        "",
        "https://evil.example",
        "http://ui.example",
        "https://ui.example:444",
        "https://ui.example.evil.example",
        "https://evilui.example",
        "https://ui.example/",
        "https://ui.example?x",
        "https://ana@ui.example",
        "ftp://ui.example",
        "file://",
        "HTTPS://ui.example",
        "https://ui.example https://ui.example",
        "http://127.0.0.1:8266",
        "http://localhost:8266",
        "http://0.0.0.0:8266",
        "chrome-extension://abc",
    ] {
        assert_eq!(
            from_good_host("origin", origin),
            Err(BrowserRefusal::Origin),
            "{origin:?}"
        );
    }
    assert_eq!(BrowserRefusal::Origin.status(), StatusCode::FORBIDDEN);
}

#[test]
fn a_page_of_another_site_is_refused_even_from_a_listed_origin() {
    for site in ["cross-site", "same-site", "", "Same-Origin", "unknown"] {
        let with_origin = [
            ("host", "127.0.0.1:8266"),
            ("origin", "https://ui.example"),
            ("sec-fetch-site", site),
        ];
        assert_eq!(
            verdict(&with_origin),
            Err(BrowserRefusal::Fetch("Sec-Fetch-Site")),
            "{site:?}"
        );
    }
    for site in ["none", "same-origin"] {
        assert_eq!(from_good_host("sec-fetch-site", site), Ok(()), "{site}");
    }
}

#[test]
fn an_embedding_or_an_opaque_request_is_refused() {
    assert_eq!(
        from_good_host("sec-fetch-mode", "no-cors"),
        Err(BrowserRefusal::Fetch("Sec-Fetch-Mode"))
    );
    for dest in ["iframe", "script", "image", "object", "embed", "style"] {
        assert_eq!(
            from_good_host("sec-fetch-dest", dest),
            Err(BrowserRefusal::Fetch("Sec-Fetch-Dest")),
            "{dest}"
        );
    }
    assert_eq!(from_good_host("sec-fetch-dest", "empty"), Ok(()));
    assert_eq!(from_good_host("sec-fetch-mode", "cors"), Ok(()));
}

#[test]
fn the_user_agent_changes_nothing() {
    for agent in ["Mozilla/5.0", "python-requests/2.32", "kube-probe/1.30", ""] {
        let evil = [
            ("host", "127.0.0.1:8266"),
            ("sec-fetch-site", "cross-site"),
            ("user-agent", agent),
        ];
        assert_eq!(
            verdict(&evil),
            Err(BrowserRefusal::Fetch("Sec-Fetch-Site")),
            "{agent}"
        );
        assert_eq!(from_good_host("user-agent", agent), Ok(()), "{agent}");
    }
}

#[test]
fn a_page_with_cookies_is_the_same_rules_with_other_data() {
    let page = Allowed {
        sites: FetchRule::OneOf(&["none", "same-origin"]),
        cookie_needs_proof: true,
        ..Allowed::bearer_api(&["curb.example"], &["http://curb.example"], 80).unwrap()
    };
    let with = |pairs: &[(&'static str, &str)]| check_browser(&headers(pairs), &page);
    let bare = [("host", "curb.example"), ("cookie", "s=1")];
    assert_eq!(with(&bare), Err(BrowserRefusal::Unproven));
    assert_eq!(
        with(&[bare[0], bare[1], ("origin", "http://curb.example")]),
        Ok(())
    );
    assert_eq!(
        with(&[bare[0], bare[1], ("sec-fetch-site", "same-origin")]),
        Ok(())
    );
    assert_eq!(with(&bare[..1]), Ok(()));
}

#[test]
fn a_bad_name_in_the_configuration_is_told() {
    let error = Allowed::bearer_api(&["curb.example:0"], &[] as &[&str], 80).unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"curb.example:0\" is not a host with an optional port"
    );
    assert!(Allowed::bearer_api(&["curb.example"], &["curb.example"], 80).is_err());
}
