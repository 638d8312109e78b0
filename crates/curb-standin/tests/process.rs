//! The stand-in as a process: its address line, its file of starts, and its controls over HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A process that is ended with the test.
struct Process {
    child: Child,
    addr: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _it_may_have_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Process {
    fn start(args: &[&str]) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ray-standin"))
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let addr = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap()
            .to_owned();
        Process { child, addr }
    }

    fn call(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.addr).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).map_or(0, |s| s.parse().unwrap());
        (status, text.to_owned())
    }

    fn submit(&self, id: &str) -> u16 {
        let body = format!(r#"{{"entrypoint":"true","submission_id":"{id}"}}"#);
        self.call("POST", "/api/jobs/", &body).0
    }
}

/// A path for one test, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let name = format!("ray-standin-{}-{name}", std::process::id());
        Scratch(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _it_may_never_have_been_made = std::fs::remove_file(&self.0);
    }
}

#[test]
fn starts_are_in_the_file_when_they_are_answered_and_survive_a_kill() {
    let file = Scratch::new("starts");
    let path = file.0.to_str().unwrap();
    for id in ["a", "b"] {
        let ray = Process::start(&["--starts-file", path, "--job-seconds", "never"]);
        assert_eq!((ray.submit(id), ray.submit(id)), (200, 500));
        let text = std::fs::read_to_string(path).unwrap();
        assert!(
            text.lines()
                .last()
                .unwrap()
                .starts_with(&format!(r#"{{"claim":false,"id":"{id}","ran":true"#)),
            "{text}"
        );
    } // killed
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 2);
}

#[test]
fn controls_make_it_fail_forget_and_restart() {
    let ray = Process::start(&["--job-seconds", "never"]);
    assert_eq!(
        ray.call(
            "POST",
            "/standin/fault",
            r#"{"on":"submit","do":{"kind":"answer-after","status":500}}"#
        )
        .0,
        200
    );
    assert_eq!((ray.submit("a"), ray.submit("b")), (500, 200));
    assert_eq!(
        ray.call(
            "POST",
            "/standin/fault",
            r#"{"on":"submit","do":{"kind":"drop-before"}}"#
        )
        .0,
        200
    );
    assert_eq!(ray.submit("c"), 0, "dropped without an answer");
    assert_eq!(
        ray.call("GET", "/standin/counts", "")
            .1
            .matches(":1")
            .count(),
        2
    );
    assert_eq!(
        ray.call("POST", "/standin/forget", r#"{"id":"a"}"#),
        (200, r#"{"done":true}"#.to_owned())
    );
    assert_eq!(ray.submit("a"), 200, "a forgotten id is free again");
    assert!(
        ray.call("GET", "/standin/counts", "")
            .1
            .contains(r#""a":2"#)
    );
    assert_eq!(
        ray.call("POST", "/standin/lie", r#"{"id":"a","status":"FAILED"}"#)
            .0,
        200
    );
    assert!(
        ray.call("GET", "/api/jobs/a", "")
            .1
            .contains(r#""status":"FAILED""#)
    );
    assert_eq!(
        ray.call("POST", "/standin/restart", r#"{"memory":"forget"}"#)
            .0,
        200
    );
    assert_eq!(ray.call("GET", "/api/jobs/a", "").0, 404);
    let asked = ray.call("GET", "/standin/requests?after=4", "").1;
    let asked: serde_json::Value = serde_json::from_str(&asked).expect("JSON");
    let paths: Vec<&str> = (asked.as_array().expect("a list").iter())
        .filter_map(|r| r["path"].as_str())
        .collect();
    assert_eq!(paths, ["/api/jobs/a", "/api/jobs/a"], "{asked}");
    assert_eq!(asked[0]["method"], "GET");
    let starts = ray.call("GET", "/standin/starts?after=1&limit=1", "").1;
    assert!(
        starts.contains(r#""seq":2"#) && starts.contains(r#""id":"b""#),
        "{starts}"
    );
}

#[test]
fn a_control_that_is_not_understood_changes_nothing_and_says_why() {
    let ray = Process::start(&[]);
    let (status, text) = ray.call(
        "POST",
        "/standin/fault",
        r#"{"on":"submit","do":{"kind":"explode"}}"#,
    );
    assert_eq!(status, 400);
    assert!(text.contains("explode"), "{text}");
    assert_eq!(ray.call("POST", "/standin/nothing", "").0, 404);
    assert_eq!(ray.submit("a"), 200);
}

#[test]
fn an_address_in_use_is_told_and_fails() {
    let ray = Process::start(&[]);
    let output = Command::new(env!("CARGO_BIN_EXE_ray-standin"))
        .args(["--listen", &ray.addr])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains(&ray.addr)
    );
}
