//! `curb run --front` before a real server process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// Answers with what it was asked; takes its time to start; ends as a path says.
const SERVER: &str = r#"
import http.server, os, sys, time
class Model(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/crash":
            os.abort()
        if self.path == "/stop":
            os._exit(3)
        if self.path == "/eat":
            held = b"x" * (1 << 30)
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
time.sleep(float(sys.argv[2]))
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Model).serve_forever()
"#;

/// A running `curb run --front`, and where its front listens. Dropped, it is ended.
struct Run {
    child: Child,
    err: BufReader<std::process::ChildStderr>,
    at: SocketAddr,
}

impl Run {
    fn start(starts_in: &str, more: &[&str]) -> Run {
        // Free a moment ago: the system gives out another one first.
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port().to_string();
        drop(free);
        let mut child = Command::new(env!("CARGO_BIN_EXE_curb"))
            .args(["run", "--grace", "5s", "--front", &format!("0={port}")])
            .args(more)
            .args(["--", "python3", "-c", SERVER, &port, starts_in])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("curb starts");
        let mut err = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        err.read_line(&mut line).expect("a line");
        let at = line.trim_end().strip_prefix("curb: the front listens at ");
        let at = at.unwrap_or_else(|| panic!("{line}")).parse();
        Run {
            child,
            err,
            at: at.expect("an address"),
        }
    }

    /// Status and the rest of the answer.
    fn post(&self, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.at).expect("the front takes connections");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("it is taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
        (status.unwrap_or_else(|| panic!("{answer:?}")), answer)
    }

    /// Its exit code, and what it said after the first line.
    fn end(mut self) -> (Option<i32>, String) {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                break status;
            }
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut said = String::new();
        self.err.read_to_string(&mut said).expect("text");
        (status.code(), said)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // SIGTERM, so that it ends what it started; it is ours and not yet waited for.
            let pid = self.child.id().to_string();
            let _it_may_have_ended = Command::new("kill").args(["-TERM", &pid]).status();
            let _ended = self.child.wait();
        }
    }
}

#[test]
fn requests_wait_for_a_server_that_starts_and_are_passed_on_when_it_listens() {
    let run = Run::start("1", &[]);
    let (status, answer) = run.post("/echo", "hello");
    assert_eq!(status, 200, "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
}

#[test]
fn a_server_that_dies_of_a_request_is_told_to_its_client_and_its_end_passes_through() {
    for (path, code) in [("/stop", 3), ("/crash", 134)] {
        let run = Run::start("0", &[]);
        assert_eq!(run.post("/echo", "hello").0, 200);
        let (status, answer) = run.post(path, "poison");
        assert_eq!(status, 502, "{answer}");
        assert!(answer.contains("\"code\":\"server-"), "{answer}");
        let at = run.at;
        let (ended, _) = run.end();
        assert_eq!(ended, Some(code));
        assert!(
            TcpStream::connect(at).is_err(),
            "the front has gone with it"
        );
    }
}

#[test]
fn the_bounds_of_the_command_line_hold() {
    let run = Run::start("0", &["--front-body", "1KiB", "--front-deadline", "20s"]);
    assert_eq!(run.post("/echo", &"x".repeat(1024)).0, 200);
    let (status, answer) = run.post("/echo", &"x".repeat(1025));
    assert_eq!(status, 413, "{answer}");
    assert!(
        answer.contains("larger than the limit of 1 KiB"),
        "{answer}"
    );
}

#[test]
fn its_figures_are_what_a_strict_parser_takes_and_add_up() {
    let mut run = Run::start("0", &["--front-metrics", "0", "--front-body", "1KiB"]);
    let mut line = String::new();
    run.err.read_line(&mut line).expect("a line");
    let at = line
        .trim_end()
        .strip_prefix("curb: its figures are at http://");
    let at = at.and_then(|at| at.strip_suffix("/metrics"));
    let at: SocketAddr = at.unwrap_or_else(|| panic!("{line}")).parse().expect("it");
    assert!(at.ip().is_loopback() && at != run.at);
    for _ in 0..3 {
        assert_eq!(run.post("/echo", "hello").0, 200);
    }
    assert_eq!(run.post("/echo", &"x".repeat(1025)).0, 413);
    let page = |accept: &str, path: &str| {
        let mut stream = TcpStream::connect(at).expect("it is served");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{accept}\r\n");
        stream.write_all(head.as_bytes()).expect("it is taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head.to_owned(), body.to_owned())
    };
    let (head, plain) = page("", "/metrics");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    let (head, open) = page("accept: application/openmetrics-text\r\n", "/metrics");
    assert!(
        head.contains("content-type: application/openmetrics-text"),
        "{head}"
    );
    assert!(page("", "/elsewhere").0.starts_with("HTTP/1.1 404 "));
    let place = tempfile::tempdir().expect("a directory");
    for (module, text) in [
        ("prometheus_client.parser", plain),
        ("prometheus_client.openmetrics.parser", open),
    ] {
        let file = place.path().join("page.txt");
        std::fs::write(&file, &text).expect("it is written");
        let program = format!(
            r#"
import sys
from {module} import text_string_to_metric_families as parse
families = list(parse(open(sys.argv[1]).read()))
names = [f.name for f in families]
assert len(names) == len(set(names)) and len(names) == 15, names
samples = {{(s.name, *s.labels.values()): s.value for f in families for s in f.samples}}
assert samples["curb_front_requests_total", "passed"] == 3, samples
assert samples["curb_front_requests_total", "body_too_large"] == 1, samples
assert samples["curb_front_refused_total", "body-too-large"] == 1, samples
assert samples["curb_front_server_state", "up"] == 1, samples
assert samples["curb_front_server_state", "paused"] == 0, samples
assert samples["curb_front_in_flight_limit",] == 8, samples
for name in ("wait", "first_byte", "answer"):
    of = f"curb_front_{{name}}_seconds"
    assert samples[of + "_count",] == samples[of + "_bucket", "+Inf"] == 3, samples
    buckets = [s.value for f in families if f.name == of for s in f.samples if s.name.endswith("_bucket")]
    assert buckets == sorted(buckets) and len(buckets) == 16, buckets
    assert 0 < samples[of + "_sum",] < 30, samples
"#
        );
        let ran = Command::new(crate::agent::place::python())
            .args(["-c", &program])
            .arg(&file)
            .output()
            .expect("it runs");
        let err = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{module}: {err}\n{text}");
    }
}

#[test]
fn a_front_that_cannot_be_is_told_before_anything_is_run() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    for (front, code, said) in [
        (format!("{taken}=1"), 125, "the front cannot listen at"),
        (
            format!("{taken}={taken}"),
            2,
            "cannot pass requests to itself",
        ),
        (
            "8080".to_owned(),
            2,
            "write where it listens and where the server does",
        ),
    ] {
        let listens = TcpListener::bind(&taken);
        let ran = Command::new(env!("CARGO_BIN_EXE_curb"))
            .args(["run", "--front", &front, "--", "echo", "ran"])
            .output()
            .expect("curb starts");
        drop(listens);
        let err = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(code), "{err}");
        assert!(err.contains(said), "{err}");
        assert!(ran.stdout.is_empty());
    }
    let ran = Command::new(env!("CARGO_BIN_EXE_curb"))
        .args(["run", "--front-queue", "3", "--", "echo", "ran"])
        .output()
        .expect("curb starts");
    assert_eq!(ran.status.code(), Some(2));
}

/// What restarts after its memory killed it.
const LIMITS: &str = r#"
version: 1
workloads:
  - name: chat
    limits:
      memory: {value: 128MiB, why: "a small server"}
    retry: {times: 5, first: 100ms, most: 200ms, within: 10m}
    front: {listen: "127.0.0.1:1", to: "127.0.0.1:2", body: 2KiB}
"#;

impl Run {
    /// Asks until it is answered: the server is being started again.
    fn is_served(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let (status, answer) = self.post("/echo", "hello");
            if status == 200 {
                return;
            }
            assert_eq!(status, 503, "{answer}");
            assert!(answer.contains("retry-after: "), "{answer}");
            assert!(Instant::now() < until, "{answer}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_request_that_takes_all_the_memory_twice_is_refused_and_the_others_are_served() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("limits.yaml");
    std::fs::write(&file, LIMITS).expect("it is written");
    let file = file.to_str().expect("text");
    let run = Run::start("0", &["--workload", "chat", "--limits", file]);
    run.is_served();
    for _ in 0..2 {
        let (status, answer) = run.post("/eat", "poison");
        assert_eq!(status, 502, "{answer}");
        run.is_served();
    }
    let (status, answer) = run.post("/eat", "poison");
    assert_eq!(status, 422, "{answer}");
    assert!(
        answer.contains("\"code\":\"killed-the-server\""),
        "{answer}"
    );
    run.is_served();
    // The file's own bound, at the address of the command line.
    assert_eq!(run.post("/echo", &"x".repeat(2049)).0, 413);
}
