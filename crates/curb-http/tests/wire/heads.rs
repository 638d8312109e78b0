//! Heads that are refused.

use crate::{Case, refused, run_all};

fn get(headers: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: h\r\n{headers}\r\n")
}

fn post(headers: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: h\r\n{headers}\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_ways_to_tell_a_length_are_none() {
    let mut cases: Vec<Case> = Vec::new();
    for (name, headers) in [
        (
            "length, then encoding",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        ),
        (
            "encoding, then length",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        ),
        (
            "length 0 and encoding",
            "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        ),
        (
            "case tricks",
            "content-LENGTH: 5\r\ntransfer-ENCODING: chunked\r\n",
        ),
        ("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n"),
        (
            "two equal lengths",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
        ),
        (
            "two equal lengths apart",
            "Content-Length: 5\r\nA: b\r\ncontent-length: 5\r\n",
        ),
        (
            "two encodings",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ),
        (
            "encoding, identity",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        ),
        (
            "identity, encoding",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        ),
    ] {
        cases.extend(refused(name, 400, post(headers)));
    }
    run_all(cases, 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_is_one_plain_number_or_nothing() {
    let mut cases: Vec<Case> = Vec::new();
    for value in [
        "+5",
        "-5",
        "0x5",
        "5,5",
        "5, 5",
        "5,6",
        "5;5",
        "5 5",
        "05",
        "00",
        "0005",
        "5.0",
        "5e0",
        "1_0",
        "five",
        "",
        " ",
        "\"5\"",
        "(5)",
        "5a",
        "a5",
        "18446744073709551616",
        "99999999999999999999",
        "9223372036854775808",
        "5\t6",
        "0b1",
        "0o5",
        "5%",
        "'5'",
    ] {
        let head = post(&format!("Content-Length: {value}\r\n"));
        cases.extend(refused(&format!("length {value:?}"), 400, head));
    }
    run_all(cases, 80).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encoding_is_exactly_chunked() {
    let mut cases: Vec<Case> = Vec::new();
    for value in [
        "Chunked",
        "CHUNKED",
        "chunkeD",
        "xchunked",
        "chunkedx",
        "chunked,",
        ",chunked",
        "chunked, chunked",
        "chunked, identity",
        "identity, chunked",
        "identity",
        "gzip",
        "gzip, chunked",
        "chunked;q=1",
        "chunked ;",
        "\"chunked\"",
        "'chunked'",
        "chunk",
        "chunked chunked",
        "",
        "cow",
        "compress",
        "deflate, chunked",
        "x: chunked",
        "chunked\tx",
        "chunked\t,",
    ] {
        let head = post(&format!("Transfer-Encoding: {value}\r\n"));
        cases.extend(refused(&format!("encoding {value:?}"), 400, head));
    }
    for (name, head) in [
        (
            "space before the colon",
            "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n",
        ),
        (
            "tab before the colon",
            "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding\t: chunked\r\n\r\n",
        ),
        (
            "folded",
            "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n chunked\r\n\r\n",
        ),
        (
            "folded behind another",
            "POST /x HTTP/1.1\r\nHost: h\r\nA: b\r\n Transfer-Encoding: chunked\r\n\r\n",
        ),
        (
            "underscore",
            "POST /x HTTP/1.1\r\nHost: h\r\nTransfer_Encoding: chunked\r\n\r\n",
        ),
        (
            "vertical tab",
            "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
        ),
        (
            "NUL",
            "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\0\r\n\r\n",
        ),
        (
            "bare CR",
            "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\rX: y\r\n\r\n",
        ),
        (
            "bare LF",
            "POST /x HTTP/1.1\r\nHost: h\r\nA: b\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            "on HTTP/1.0",
            "POST /x HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            "on HTTP/1.0, kept alive",
            "POST /x HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
    ] {
        cases.extend(refused(name, 400, head));
    }
    run_all(cases, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_line_has_one_reading() {
    let mut cases: Vec<Case> = Vec::new();
    for (name, headers) in [
        ("space before colon", "A : b\r\n"),
        ("tab before colon", "A\t: b\r\n"),
        ("space in name", "A b: c\r\n"),
        ("space at line begin", " A: b\r\n"),
        ("tab at line begin", "\tA: b\r\n"),
        ("fold", "A: b\r\n c\r\n"),
        ("fold by tab", "A: b\r\n\tc\r\n"),
        ("no colon", "Ab\r\n"),
        ("empty name", ": b\r\n"),
        ("NUL in name", "A\0: b\r\n"),
        ("NUL in value", "A: b\0c\r\n"),
        ("bell in value", "A: b\x07\r\n"),
        ("DEL in value", "A: b\x7f\r\n"),
        ("escape in value", "A: \x1b[2J\r\n"),
        ("bare CR in value", "A: b\rc\r\n"),
        ("bare CR at end", "A: b\r\r\n"),
        ("bare LF", "A: b\nC: d\r\n"),
        ("bare LF at end", "A: b\n"),
        ("CR in name", "A\r: b\r\n"),
        ("UTF-8 in value", "A: \u{e9}\r\n"),
        ("UTF-8 in name", "\u{e9}: a\r\n"),
        ("comma in name", "A,b: c\r\n"),
        ("slash in name", "A/b: c\r\n"),
        ("quote in name", "A\"b: c\r\n"),
        ("paren in name", "A(b): c\r\n"),
        ("at in name", "A@b: c\r\n"),
        ("bracket in name", "A[b]: c\r\n"),
        ("brace in name", "{A}: c\r\n"),
        ("equals in name", "A=b: c\r\n"),
        ("question in name", "A?: c\r\n"),
        ("semicolon in name", "A;b: c\r\n"),
        ("underscore: user", "X_Forwarded_User: ana\r\n"),
        ("underscore: length", "Content_Length: 5\r\n"),
        (
            "two Authorization",
            "Authorization: Bearer a\r\nauthorization: Bearer b\r\n",
        ),
        (
            "two Ray authorizations",
            "X-Ray-Authorization: Bearer a\r\nX-Ray-Authorization: Bearer b\r\n",
        ),
        ("two Cookie", "Cookie: a=1\r\nCookie: b=2\r\n"),
        ("two Origin", "Origin: null\r\nOrigin: http://h\r\n"),
        (
            "two Content-Type",
            "Content-Type: a/b\r\nContent-Type: c/d\r\n",
        ),
        (
            "two Sec-Fetch-Site",
            "Sec-Fetch-Site: none\r\nSec-Fetch-Site: none\r\n",
        ),
        ("trailer announced", "Trailer: X\r\n"),
    ] {
        cases.extend(refused(name, 400, get(headers)));
    }
    let latin = [
        b"GET /x HTTP/1.1\r\nHost: h\r\nA: \xff\r\n\r\n".to_vec(),
        b"GET /x HTTP/1.1\r\nHost: h\r\n\x80: a\r\n\r\n".to_vec(),
    ];
    for head in latin {
        cases.extend(refused("a byte over 0x7f", 400, head));
    }
    for expectation in ["200-ok", "100-continue, x", "", "100"] {
        let head = post(&format!("Expect: {expectation}\r\nContent-Length: 0\r\n"));
        cases.extend(refused(&format!("expect {expectation:?}"), 417, head));
    }
    run_all(cases, 130).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_line_has_one_reading() {
    let mut cases: Vec<Case> = Vec::new();
    for (status, line) in [
        (400, "GET  /x HTTP/1.1"),
        (400, "GET /x  HTTP/1.1"),
        (400, " GET /x HTTP/1.1"),
        (400, "GET /x HTTP/1.1 "),
        (400, "GET\t/x HTTP/1.1"),
        (400, "GET /x\tHTTP/1.1"),
        (400, "GET /x"),
        (400, "GET"),
        (400, ""),
        (400, "GET /x y HTTP/1.1"),
        (400, "get /x HTTP/1.1"),
        (400, "Get /x HTTP/1.1"),
        (400, "G\u{c9}T /x HTTP/1.1"),
        (400, "G-T /x HTTP/1.1"),
        (400, "GETGETGETGETGETGET /x HTTP/1.1"),
        (400, "\0GET /x HTTP/1.1"),
        (400, "GET /\0 HTTP/1.1"),
        (400, "GET /\x7f HTTP/1.1"),
        (400, "GET /\r HTTP/1.1"),
        (400, "CONNECT h:80 HTTP/1.1"),
        (400, "CONNECT /x HTTP/1.1"),
        (400, "GET http://h/x HTTP/1.1"),
        (400, "GET HTTP://evil/x HTTP/1.1"),
        (400, "GET https://h/x HTTP/1.1"),
        (400, "GET h:80 HTTP/1.1"),
        (400, "GET x HTTP/1.1"),
        (400, "GET * HTTP/1.1"),
        (400, "OPTIONS * HTTP/1.1"),
        (400, "GET ?x HTTP/1.1"),
        (400, "GET #x HTTP/1.1"),
        (400, "GET /x#y HTTP/1.1"),
        (400, "GET /x\\y HTTP/1.1"),
        (400, "GET /x\"y HTTP/1.1"),
        (400, "GET /<x> HTTP/1.1"),
        (400, "GET /{x} HTTP/1.1"),
        (400, "GET /x|y HTTP/1.1"),
        (400, "GET /x^y HTTP/1.1"),
        (400, "GET /x`y HTTP/1.1"),
        (400, "GET /[x] HTTP/1.1"),
        (400, "GET /\u{e9} HTTP/1.1"),
        (400, "GET /x HTTP"),
        (400, "GET /x http/1.1"),
        (400, "GET /x HTTPS/1.1"),
        (400, "GET /x JUNK/1.1"),
        (505, "GET /x HTTP/0.9"),
        (505, "GET /x HTTP/1.2"),
        (505, "GET /x HTTP/2.0"),
        (505, "GET /x HTTP/3"),
        (505, "GET /x HTTP/1"),
        (505, "GET /x HTTP/11"),
        (505, "GET /x HTTP/1.10"),
        (505, "GET /x HTTP/01.1"),
        (505, "GET /x HTTP/1.01"),
        (505, "PRI * HTTP/2.0"),
    ] {
        let head = format!("{line}\r\nHost: h\r\n\r\n");
        cases.extend(refused(&format!("line {line:?}"), status, head));
    }
    cases.extend(refused(
        "bare LF after the request line",
        400,
        "GET /x HTTP/1.1\nHost: h\r\n\r\n",
    ));
    cases.extend(refused(
        "bare LF throughout",
        400,
        "GET /x HTTP/1.1\nHost: h\n\n",
    ));
    cases.extend(refused(
        "an empty line first",
        400,
        "\r\nGET /x HTTP/1.1\r\nHost: h\r\n\r\n",
    ));
    cases.extend(refused(
        "a TLS hello",
        400,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ));
    run_all(cases, 150).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_one_host() {
    let mut cases: Vec<Case> = Vec::new();
    for (name, headers) in [
        ("none", "A: b\r\n"),
        ("no header at all", ""),
        ("two", "Host: h\r\nHost: evil\r\n"),
        ("two equal", "Host: h\r\nhost: h\r\n"),
        ("two apart", "Host: h\r\nA: b\r\nHOST: h\r\n"),
        ("empty", "Host:\r\n"),
        ("blank", "Host:  \r\n"),
        ("list", "Host: h, evil\r\n"),
        ("user", "Host: ana@h\r\n"),
        ("path", "Host: h/x\r\n"),
        ("query", "Host: h?x\r\n"),
        ("space", "Host: h evil\r\n"),
        ("percent", "Host: h%00\r\n"),
        ("backslash", "Host: h\\evil\r\n"),
        ("quoted", "Host: \"h\"\r\n"),
    ] {
        for version in ["1.1", "1.0"] {
            let head = format!("GET /x HTTP/{version}\r\n{headers}\r\n");
            cases.extend(refused(&format!("host: {name}, HTTP/{version}"), 400, head));
        }
    }
    run_all(cases, 90).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_is_bounded() {
    let mut cases: Vec<Case> = Vec::new();
    let big = |n: usize| get(&format!("A: {}\r\n", "b".repeat(n)));
    let many = |n: usize| get(&"A: b\r\n".repeat(n - 1));
    let long = |n: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(n - 1));
    let fit = big(0).len();
    for (name, status, head) in [
        ("one byte too many", 431, big(16 * 1024 - fit + 1)),
        ("64 KiB in one header", 431, big(64 * 1024)),
        (
            "64 KiB in one name",
            431,
            get(&format!("{}: b\r\n", "a".repeat(64 * 1024))),
        ),
        ("101 headers", 431, many(101)),
        ("10,000 headers", 431, many(10_000)),
        ("a target of 8 KiB and one", 414, long(8 * 1024 + 1)),
        ("a target of 64 KiB", 414, long(64 * 1024)),
    ] {
        // Dripping 64 KiB byte by byte shows nothing that the small ones do not.
        let small = head.len() < 20 * 1024;
        cases.extend(
            refused(name, status, head)
                .into_iter()
                .filter(|c| small || !c.drip),
        );
    }
    run_all(cases, 15).await;
}
