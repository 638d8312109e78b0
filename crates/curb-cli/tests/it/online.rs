//! Commands against a server that answers what a test says: what the user sees, and the exit code.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use curb_api::{JobState, Problem};
use curb_core::decide::Verdict;
use tokio_tungstenite::tungstenite::Message;

use crate::sample;

/// What one request is answered with.
enum Answer {
    Json(u16, String),
    Problem(Box<Problem>),
    /// Frames over a websocket, then the close; `false`: hang up without one.
    Tail(Vec<&'static str>, bool),
}

type Script = Vec<(&'static str, Answer)>;

/// A server that expects these requests in this order.
struct Server {
    address: String,
    heard: Arc<Mutex<Vec<String>>>,
    left: Arc<Mutex<VecDeque<(&'static str, Answer)>>>,
}

impl Server {
    fn start(script: Script) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let left = Arc::new(Mutex::new(VecDeque::from(script)));
        let (hears, answers) = (heard.clone(), left.clone());
        // The thread ends with the script, or with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some((expected, answer)) = answers.lock().expect("alive").pop_front() else {
                    return;
                };
                serve(stream, expected, answer, &hears);
            }
        });
        Server {
            address,
            heard,
            left,
        }
    }

    fn curb(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_curb"))
            .args(args)
            .env_clear()
            .env("TZ", "UTC")
            .env("CURB_ADDRESS", &self.address)
            .env("CURB_TOKEN", "curb_secret")
            .output()
            .expect("curb runs")
    }

    /// Everything was asked; what was sent.
    fn done(self) -> Vec<String> {
        assert_eq!(
            self.left.lock().expect("alive").len(),
            0,
            "not everything was asked for"
        );
        self.heard.lock().expect("alive").clone()
    }
}

fn serve(mut stream: TcpStream, expected: &str, answer: Answer, heard: &Mutex<Vec<String>>) {
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("set");
    if let Answer::Tail(frames, clean) = answer {
        let mut socket = tokio_tungstenite::tungstenite::accept(stream).expect("a websocket");
        for frame in frames {
            socket.send(Message::text(frame)).expect("sent");
        }
        if clean {
            socket.close(None).expect("closed");
            while socket.read().is_ok() {}
        }
        return;
    }
    let request = read(&mut stream);
    let line = request.lines().next().unwrap_or_default().to_owned();
    heard.lock().expect("alive").push(request);
    let (status, kind, body) = match answer {
        Answer::Json(status, body) => (status, "application/json", body),
        Answer::Problem(problem) => (
            problem.status,
            "application/problem+json",
            serde_json::to_string(&problem).expect("JSON"),
        ),
        Answer::Tail(..) => return,
    };
    let (status, body) = if line.starts_with(expected) {
        (status, body)
    } else {
        (500, format!("expected {expected}, got {line}"))
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream
        .write_all((head + &body).as_bytes())
        .expect("written");
}

fn read(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 65536];
    loop {
        let n = stream.read(&mut buffer).expect("a request");
        all.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&all);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .to_lowercase()
            .lines()
            .find_map(|l| {
                l.strip_prefix("content-length: ")
                    .and_then(|n| n.parse().ok())
            })
            .unwrap_or(0);
        if body.len() >= length || n == 0 {
            return text.into_owned();
        }
    }
}

fn submitted() -> Answer {
    Answer::Json(
        200,
        r#"{"job_id":"train-1","submission_id":"train-1"}"#.to_owned(),
    )
}

/// What `curb submit` asks first: whether it was refused in the `job` style.
fn taken() -> (&'static str, Answer) {
    ("GET /curb/v1/jobs/train-1 ", job(JobState::Running))
}

fn job(state: JobState) -> Answer {
    let mut job = sample::jobs()
        .into_iter()
        .find(|j| j.state == state)
        .expect("a sample");
    job.stop = None;
    Answer::Json(200, serde_json::to_string(&job).expect("JSON"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn refusal(status: u16, detail: &str) -> Answer {
    let mut problem = Problem::new(status, "per-job-limit", "The job was refused", detail);
    problem.verdict = Some(Verdict::AfterPolicyChange);
    Answer::Problem(Box::new(problem))
}

#[test]
fn a_job_is_followed_from_the_queue_to_its_end() {
    let tail = vec![
        "curb: queued, position 2 of 3\n",
        "curb: queued, position 1 of 2\ncurb: started after 3s\n",
        "epoch 1\nepo",
        "ch 2\n",
    ];
    let server = Server::start(vec![
        ("POST /api/jobs/ ", submitted()),
        taken(),
        ("GET /api/jobs/train-1/logs/tail", Answer::Tail(tail, true)),
        ("GET /curb/v1/jobs/train-1 ", job(JobState::Succeeded)),
    ]);
    let ran = server.curb(&[
        "submit",
        "--gpu",
        "H100:2",
        "--job-type",
        "training",
        "--env",
        "A=1",
        "--",
        "python",
        "a b.py",
    ]);
    let err = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(0), "{err}");
    assert_eq!(text(&ran.stdout), "epoch 1\nepoch 2\n");
    assert!(
        err.contains(
            "curb: queued, position 2 of 3\ncurb: queued, position 1 of 2\ncurb: started after 3s\n"
        ),
        "{err}"
    );
    assert!(err.ends_with("job train-1 succeeded after 35m\n"), "{err}");
    let heard = server.done();
    let (_, body) = heard[0].split_once("\r\n\r\n").expect("a body");
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let expected = serde_json::json!({
        "entrypoint": "python 'a b.py'",
        "runtime_env": {"env_vars": {"A": "1"}},
        "metadata": {"curb.gpu": "H100:2", "curb.job_type": "training"},
    });
    assert_eq!(body, expected);
}

#[test]
fn a_job_that_fails_ends_with_1_and_says_why() {
    let server = Server::start(vec![
        ("POST /api/jobs/ ", submitted()),
        taken(),
        (
            "GET /api/jobs/train-1/logs/tail",
            Answer::Tail(vec!["Traceback\n"], true),
        ),
        ("GET /curb/v1/jobs/train-1 ", job(JobState::Failed)),
    ]);
    let ran = server.curb(&["submit", "--", "false"]);
    let err = text(&ran.stderr);
    assert_eq!(
        (ran.status.code(), text(&ran.stdout).as_str()),
        (Some(1), "Traceback\n")
    );
    assert!(
        err.contains("job train-1 failed after 35m, exit code 1\nJob entrypoint command failed"),
        "{err}"
    );
    server.done();
}

#[test]
fn a_lost_connection_shows_no_line_twice() {
    let server = Server::start(vec![
        ("POST /api/jobs/ ", submitted()),
        taken(),
        ("GET tail", Answer::Tail(vec!["one\ntwo\n"], false)),
        ("GET /curb/v1/jobs/train-1 ", job(JobState::Running)),
        (
            "GET tail",
            Answer::Tail(vec!["one\n", "two\nthree\n"], true),
        ),
        ("GET /curb/v1/jobs/train-1 ", job(JobState::Succeeded)),
    ]);
    let ran = server.curb(&["submit", "--", "x"]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    assert_eq!(text(&ran.stdout), "one\ntwo\nthree\n");
    server.done();
}

#[test]
fn a_refusal_is_the_servers_text_and_ends_with_3() {
    for status in [422, 429] {
        let server = Server::start(vec![(
            "POST /api/jobs/ ",
            refusal(status, "Refused: 3 GPU asked.\n  limit 2 GPU\n\u{1b}[2J"),
        )]);
        let ran = server.curb(&["submit", "--gpu", "3", "--", "x"]);
        assert_eq!(
            (ran.status.code(), text(&ran.stdout).as_str()),
            (Some(3), "")
        );
        assert_eq!(
            text(&ran.stderr),
            "error: Refused: 3 GPU asked.\n  limit 2 GPU\n[2J\n"
        );
        server.done();
    }
}

#[test]
fn a_refusal_that_is_told_as_a_job_ends_with_3_too() {
    let text_of_it = "curb: refused (per-job-limit)\n  asked: 3 GPU\n";
    let refused = || {
        let mut job = sample::jobs()
            .into_iter()
            .find(|j| j.state == JobState::Failed)
            .expect("a sample");
        (job.attempt, job.started, job.exit_code) = (0, None, None);
        job.message = text_of_it.to_owned();
        job
    };
    for args in [
        &["submit", "--", "x"][..],
        &["submit", "--no-wait", "--", "x"],
        &["submit", "--json", "--", "x"],
    ] {
        let body = serde_json::to_string(&refused()).expect("JSON");
        let server = Server::start(vec![
            ("POST /api/jobs/ ", submitted()),
            ("GET /curb/v1/jobs/train-1 ", Answer::Json(200, body)),
        ]);
        let ran = server.curb(args);
        let err = text(&ran.stderr);
        assert_eq!(ran.status.code(), Some(3), "{err}");
        assert!(
            err.starts_with("error: refused (per-job-limit)\n  asked: 3 GPU\nhelp: "),
            "{err}"
        );
        if args.contains(&"--json") {
            let told: curb_api::JobView = serde_json::from_slice(&ran.stdout).expect("JSON");
            assert_eq!(told, refused());
        } else {
            assert_eq!(text(&ran.stdout), "");
        }
        server.done();
    }
}

#[test]
fn whoever_asked_for_json_gets_the_refusal_as_json() {
    let server = Server::start(vec![("POST /api/jobs/ ", refusal(422, "Refused: 3 GPU."))]);
    let ran = server.curb(&["submit", "--json", "--", "x"]);
    assert_eq!(ran.status.code(), Some(3));
    let told: Problem = serde_json::from_slice(&ran.stdout).expect("JSON");
    assert_eq!(
        (told.status, told.code.as_str(), told.verdict),
        (422, "per-job-limit", Some(Verdict::AfterPolicyChange))
    );
    assert_eq!(text(&ran.stderr), "error: Refused: 3 GPU.\n");
    server.done();
}

#[test]
fn a_job_that_cannot_be_looked_at_was_submitted_all_the_same() {
    let server = Server::start(vec![
        ("POST /api/jobs/ ", submitted()),
        ("GET /curb/v1/jobs/train-1 ", refusal(503, "later")),
    ]);
    let ran = server.curb(&["submit", "--no-wait", "--", "x"]);
    assert_eq!(
        (ran.status.code(), text(&ran.stdout).as_str()),
        (Some(0), "train-1\n")
    );
    server.done();
}

#[test]
fn a_job_that_waits_says_for_what_also_to_whom_does_not_wait_for_it() {
    let waiting = || {
        let mut job = sample::jobs()
            .into_iter()
            .find(|j| j.state == JobState::Queued)
            .expect("a sample");
        job.message = "waits: each-user (user ana) allows 2 GPU at once".to_owned();
        Answer::Json(200, serde_json::to_string(&job).expect("JSON"))
    };
    for (args, out) in [
        (&["submit", "--no-wait", "--", "x"][..], "train-1\n"),
        (&["submit", "--no-wait", "--json", "--", "x"], ""),
    ] {
        let server = Server::start(vec![
            ("POST /api/jobs/ ", submitted()),
            ("GET /curb/v1/jobs/train-1 ", waiting()),
        ]);
        let ran = server.curb(args);
        assert_eq!(ran.status.code(), Some(0));
        if out.is_empty() {
            let told: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("JSON");
            assert_eq!(told["submission_id"], "train-1");
            assert_eq!(told["state"], "queued");
            assert!(
                told["message"]
                    .as_str()
                    .is_some_and(|m| m.starts_with("waits: "))
            );
        } else {
            assert_eq!(text(&ran.stdout), out);
            let err = text(&ran.stderr);
            assert!(err.starts_with("waits: each-user"), "{err}");
        }
        server.done();
    }
}

#[test]
fn with_json_the_log_is_on_stderr_as_it_is() {
    let server = Server::start(vec![
        ("POST /api/jobs/ ", submitted()),
        taken(),
        ("GET tail", Answer::Tail(vec!["a\tb\nep", "och 1\n"], true)),
        ("GET /curb/v1/jobs/train-1 ", job(JobState::Succeeded)),
    ]);
    let ran = server.curb(&["submit", "--json", "--", "x"]);
    let err = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(0), "{err}");
    assert!(err.contains("a\tb\nepoch 1\njob train-1"), "{err}");
    server.done();
}

#[test]
fn the_policy_in_force_is_shown_with_every_default_or_as_it_was_written() {
    let written = "# mine\nversion: 1\n";
    let view = |version: u32| {
        let view = curb_api::PolicyView {
            version,
            sha256: "x".into(),
            applied: curb_core::time::Timestamp(1_795_356_000_000),
            by: "ana".into(),
            text: written.into(),
        };
        Answer::Json(200, serde_json::to_string(&view).expect("JSON"))
    };
    let server = Server::start(vec![("GET /curb/v1/policy ", view(2))]);
    let ran = server.curb(&["policy", "show"]);
    let (out, err) = (text(&ran.stdout), text(&ran.stderr));
    assert!(
        out.contains("capacity: discover") && !out.contains("mine"),
        "{out}"
    );
    assert!(err.contains("policy version 2, in force since"), "{err}");
    server.done();

    let server = Server::start(vec![("GET /curb/v1/policy ", view(2))]);
    let ran = server.curb(&["policy", "show", "--server"]);
    assert_eq!(text(&ran.stdout), written);
    server.done();

    let server = Server::start(vec![
        ("GET /curb/v1/policy?version=1 ", view(1)),
        ("GET /curb/v1/policy ", view(2)),
    ]);
    let ran = server.curb(&["policy", "show", "--version", "1"]);
    let err = text(&ran.stderr);
    assert!(
        err.contains("policy version 1, applied") && err.contains("in force is version 2"),
        "{err}"
    );
    server.done();
}

#[test]
fn without_waiting_only_the_id_is_on_stdout() {
    let server = Server::start(vec![("POST /api/jobs/ ", submitted()), taken()]);
    let ran = server.curb(&[
        "submit",
        "--no-wait",
        "--id",
        "train-1",
        "--key",
        "k",
        "--",
        "x",
    ]);
    assert_eq!(
        (ran.status.code(), text(&ran.stdout).as_str()),
        (Some(0), "train-1\n")
    );
    let heard = server.done();
    assert!(
        heard[0].contains(r#""submission_id":"train-1""#) && heard[0].contains(r#""curb.key":"k""#),
        "{}",
        heard[0]
    );
}

#[test]
fn files_are_sent_once_and_named_by_their_content() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("main.py"), "print(1)").expect("written");
    let dir_name = dir.path().to_str().expect("UTF-8");
    let found = |status| {
        (
            "GET /api/packages/gcs/_ray_pkg_",
            Answer::Json(status, String::new()),
        )
    };
    let fresh = Server::start(vec![
        found(404),
        (
            "PUT /api/packages/gcs/_ray_pkg_",
            Answer::Json(200, String::new()),
        ),
        ("POST /api/jobs/ ", submitted()),
        taken(),
    ]);
    let ran = fresh.curb(&[
        "submit",
        "--no-wait",
        "--working-dir",
        dir_name,
        "--",
        "python",
        "main.py",
    ]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    let heard = fresh.done();
    let name = heard[0]
        .split(['/', ' '])
        .find(|w| w.starts_with("_ray_pkg_"))
        .expect("a name")
        .to_owned();
    assert!(
        heard[2].contains(&format!(r#""working_dir":"gcs://{name}""#)),
        "{}",
        heard[2]
    );

    let known = Server::start(vec![found(200), ("POST /api/jobs/ ", submitted()), taken()]);
    let ran = known.curb(&[
        "submit",
        "--no-wait",
        "--working-dir",
        dir_name,
        "--",
        "python",
        "main.py",
    ]);
    assert!(text(&ran.stderr).contains("is there already"));
    known.done();
}

#[test]
fn an_explanation_ends_with_3_only_when_the_job_would_be_refused() {
    for (verdict, refused, code) in [
        (Verdict::Now, false, 0),
        (Verdict::Later, false, 0),
        (Verdict::Later, true, 3),
        (Verdict::Never, true, 3),
    ] {
        let reply = sample::reply(verdict, refused, vec![sample::per_job()]);
        let body = serde_json::to_string(&reply).expect("JSON");
        let server = Server::start(vec![("POST /curb/v1/explain ", Answer::Json(200, body))]);
        let ran = server.curb(&["explain", "--gpu", "3", "--json"]);
        assert_eq!(ran.status.code(), Some(code), "{verdict:?} {refused}");
        let back: curb_api::ExplainReply = serde_json::from_slice(&ran.stdout).expect("JSON");
        assert_eq!(back, reply);
        server.done();
    }
}

#[test]
fn while_ray_is_down_explain_ends_as_a_submission_would() {
    let mut reply = sample::reply(Verdict::Later, true, vec![sample::per_job()]);
    reply.status = 503;
    let body = serde_json::to_string(&reply).expect("JSON");
    let server = Server::start(vec![("POST /curb/v1/explain ", Answer::Json(200, body))]);
    assert_eq!(server.curb(&["explain", "--json"]).status.code(), Some(5));
    server.done();
}

#[test]
fn a_cluster_that_is_not_there_is_told_apart_from_an_empty_one() {
    let status = || Answer::Json(200, serde_json::to_string(&sample::status()).expect("JSON"));
    let none = || Answer::Json(200, r#"{"jobs":[]}"#.to_owned());
    for (cluster, code, told) in [("nope", 8, "there are: main, lab"), ("lab", 0, "no jobs")] {
        let server = Server::start(vec![
            ("GET /curb/v1/jobs?state=open&cluster=", none()),
            ("GET /curb/v1/status ", status()),
        ]);
        let ran = server.curb(&["jobs", "--cluster", cluster]);
        let err = text(&ran.stderr);
        assert_eq!(ran.status.code(), Some(code), "{err}");
        assert!(err.contains(told), "{err}");
        server.done();
    }
}

#[test]
fn a_log_that_was_shown_is_not_repeated_with_the_message() {
    let mut failed = sample::jobs()
        .into_iter()
        .find(|j| j.state == JobState::Failed)
        .expect("a sample");
    failed.message = "Job entrypoint command failed with exit code 1, last available logs (truncated to 20,000 chars):\nTraceback\n".into();
    for (log, told) in [(vec!["Traceback\n"], false), (vec![], true)] {
        let body = serde_json::to_string(&failed).expect("JSON");
        let server = Server::start(vec![
            ("POST /api/jobs/ ", submitted()),
            taken(),
            ("GET tail", Answer::Tail(log, true)),
            ("GET /curb/v1/jobs/train-1 ", Answer::Json(200, body)),
        ]);
        let ran = server.curb(&["submit", "--", "false"]);
        let err = text(&ran.stderr);
        assert!(
            err.contains("Job entrypoint command failed with exit code 1"),
            "{err}"
        );
        assert_eq!(err.contains("Traceback"), told, "{err}");
        server.done();
    }
}

#[test]
fn who_is_not_signed_in_is_told_which_variable_to_set() {
    let server = Server::start(vec![(
        "GET /curb/v1/jobs?state=open&limit=100 ",
        Answer::Problem(Box::new(Problem::new(
            401,
            "token",
            "not signed in",
            "no token",
        ))),
    )]);
    let ran = server.curb(&["jobs"]);
    assert_eq!(ran.status.code(), Some(4));
    assert!(
        text(&ran.stderr).contains("set CURB_TOKEN"),
        "{}",
        text(&ran.stderr)
    );
    let heard = server.done();
    assert!(
        heard[0]
            .to_lowercase()
            .contains("authorization: bearer curb_secret")
    );
}

#[test]
fn what_the_server_cannot_do_ends_with_the_code_for_it() {
    for (status, code) in [(403, 4), (404, 8), (409, 8), (500, 8), (503, 5)] {
        let server = Server::start(vec![(
            "POST /curb/v1/jobs/x/stop ",
            Answer::Problem(Box::new(Problem::new(status, "x", "x", "no"))),
        )]);
        let ran = server.curb(&["jobs", "stop", "x", "--why", "it hangs"]);
        assert_eq!(
            ran.status.code(),
            Some(code),
            "{status}: {}",
            text(&ran.stderr)
        );
        let heard = server.done();
        assert!(heard[0].ends_with(r#"{"why":"it hangs"}"#), "{}", heard[0]);
    }
}

#[test]
fn an_override_says_whose_buckets_and_by_how_much() {
    let made = serde_json::to_string(&sample::overrides().overrides[0]).expect("JSON");
    let server = Server::start(vec![("POST /curb/v1/overrides ", Answer::Json(201, made))]);
    let ran = server.curb(&[
        "override",
        "add",
        "--user",
        "ana",
        "--gpu",
        "+2",
        "--memory",
        "-1GiB",
        "--jobs",
        "-1",
        "--for",
        "48h",
        "--why",
        "camera-ready",
    ]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    let heard = server.done();
    let (_, body) = heard[0].split_once("\r\n\r\n").expect("a body");
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let expected = serde_json::json!({
        "selector": {"user": {"one_of": ["ana"]}},
        "amounts": {"gpu": 2000, "memory": -1_073_741_824},
        "jobs": -1,
        "for": 172_800_000,
        "why": "camera-ready",
    });
    assert_eq!(body, expected);
}

#[test]
fn a_policy_that_the_server_refuses_ends_with_7() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("p.yaml");
    std::fs::write(&path, "version: 1\n").expect("written");
    let mut problem = Problem::new(
        422,
        "policy",
        "the policy cannot be used",
        "unknown cluster",
    );
    problem.findings = vec![curb_api::Finding {
        severity: curb_api::Severity::Error,
        line: 1,
        column: 1,
        field: "clusters".into(),
        message: "unknown".into(),
        help: String::new(),
        rendered: String::new(),
    }];
    let server = Server::start(vec![(
        "PUT /curb/v1/policy ",
        Answer::Problem(Box::new(problem)),
    )]);
    let ran = server.curb(&["policy", "apply", path.to_str().expect("UTF-8")]);
    assert_eq!(ran.status.code(), Some(7), "{}", text(&ran.stderr));
    server.done();
}
