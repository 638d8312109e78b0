//! Every kind of error as the server writes it, as text for people and as JSON for programs: pinned, so that a change of
//! words is seen. The catalogue is walked: a kind without an example does not compile.
//!
//! Refusals by a limit are pinned where they are made, in `curb-core`.

use std::net::SocketAddr;
use std::time::Duration;

use curb_api::routes::Access;
use curb_api::{Finding, Kind};
use curb_core::subject::{JobId, Role};
use curb_http::body::BodyError;
use curb_http::checks;
use curb_http::request_id::RequestId;
use curb_http::response::{DOCS_BASE, WIDTH};
use curb_http::violation::{Bounds, Violation};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::BodyExt as _;
use serde_json::Value;

use crate::agents;
use crate::api::{policy, status};
use crate::bodies::NoRoom;
use crate::dispatcher::Fate;
use crate::engine::EngineError;
use crate::gateway::{self, logs, packages, submit, tail};
use crate::packages::StoreError;
use crate::reply::Failure;
use crate::request::Submission;
use crate::routes::NoRoute;
use crate::{auth, dashboard, serve};

/// What the server says of a kind, made by what makes it when it serves.
fn examples(kind: Kind) -> Vec<Failure> {
    let id = JobId::parse("train-7").expect("an id");
    let fate = |fate| submit::after_start(&id, fate).err().expect("no success");
    let failed = |status, why: &str| {
        fate(Fate::Failed {
            status,
            why: why.into(),
        })
    };
    let limit = 2 << 30;
    match kind {
        Kind::BadRequest => vec![
            misread(
                r#"{"entrypoint": "true", "metadata": {"curb.gpu": "many", "curb.priority": "high"}}"#,
            ),
            misread(r#"{"entrypoint": "true", "entrypoint_num_cpu": 1}"#),
            misread(r#"{"entrypoint": "#),
        ],
        Kind::BadFraming
        | Kind::HeadTooLarge
        | Kind::TargetTooLong
        | Kind::HttpVersion
        | Kind::Expectation
        | Kind::RequestTimeout => guarded(kind),
        Kind::BadPath => vec![
            checked("/curb/v1/../v1/jobs", &[]),
            checked("/api/jobs/a%20b", &[]),
            checked("/curb/v1/jobs?limit=1&limit=2", &[]),
        ],
        Kind::BadHost => vec![checked("/", &[])],
        Kind::UnknownHost => vec![checked("/", &[("host", "other.example")])],
        Kind::CrossSite => vec![checked(
            "/",
            &[
                ("host", "127.0.0.1:8266"),
                ("origin", "http://evil.example"),
            ],
        )],
        Kind::BodyTooLarge => vec![
            gateway::body_failure(&BodyError::TooLarge { limit: 1 << 20 }),
            packages::upload_failure(&BodyError::TooLarge { limit: 100 << 20 }),
        ],
        Kind::BodyTooSlow => {
            let after = Duration::from_secs(10);
            vec![
                gateway::body_failure(&BodyError::Idle { after }),
                gateway::body_failure(&BodyError::Deadline { after }),
            ]
        }
        Kind::BodyBroken => vec![gateway::body_failure(&BodyError::Broken("SECRET".into()))],
        Kind::TooManyLargeBodies => [NoRoom::User, NoRoom::All].map(gateway::no_room).into(),
        Kind::NotSignedIn => vec![auth::bearer(&HeaderMap::new()).expect_err("no token")],
        Kind::Forbidden => vec![gateway::no_role(Access::Admin, "ana", Role::User)],
        Kind::AgentNode => vec![
            agents::other_node("node-1", "node-2"),
            agents::no_cluster(""),
            agents::no_cluster("east"),
        ],
        Kind::AgentOld => [true, false]
            .map(|same| agents::old_report("node-1", same))
            .into(),
        Kind::NotFound => vec![
            gateway::no_route(NoRoute::Path, &Method::GET, "/nodes"),
            gateway::no_job("train-7"),
        ],
        Kind::MethodNotAllowed => vec![gateway::no_route(
            NoRoute::Method,
            &Method::PATCH,
            "/api/jobs/",
        )],
        Kind::Conflict => vec![
            submit::taken(&id, None),
            submit::taken(&id, Some("night-1")),
        ],
        Kind::TooLarge => vec![EngineError::Unfit("1100000 bytes; at most 1048576".into()).into()],
        Kind::BadPolicy => {
            vec![policy::parse(b"version: 1\nquotaz:\n  - name: a\n").expect_err("a slip")]
        }
        Kind::NotStarted => vec![
            failed(
                400,
                "Ray refused it: the runtime_env names no conda environment",
            ),
            failed(
                503,
                "cluster main cannot be worked with at the moment: no answer",
            ),
        ],
        Kind::OutcomeUnknown => vec![fate(Fate::Unknown)],
        Kind::JournalNotWritable => vec![EngineError::NotWritable("SECRET".into()).into()],
        Kind::NotReady => vec![status::not_ready(&[
            "the journal is not writable".into(),
            "the policy file was not applied yet, or is not right".into(),
        ])],
        Kind::Unavailable => vec![EngineError::Busy.into(), EngineError::Stopping.into()],
        Kind::TooManyLogs => vec![logs::too_many_readers(4)],
        Kind::TooManyTails => vec![tail::too_many_tails(50)],
        Kind::PackagesOfUserFull => [StoreError::UserFull { limit }, StoreError::TooMany]
            .map(packages::store_failure)
            .into(),
        Kind::PackagesFull => vec![packages::store_failure(StoreError::Full { limit })],
        Kind::PackagesNotWritable => {
            let cause = std::io::Error::other("SECRET");
            vec![packages::store_failure(StoreError::Disk(cause))]
        }
        Kind::Dashboard => [404, 500].map(dashboard::answered).into(),
        Kind::Internal => vec![Failure::internal(&"SECRET")],
    }
}

fn misread(body: &str) -> Failure {
    submit::bad_request(&Submission::parse(body.as_bytes(), true).expect_err("a slip"))
}

fn guarded(kind: Kind) -> Vec<Failure> {
    let all = Violation::ALL.iter().filter(|v| v.code() == kind.code());
    all.map(|v| Failure::from_problem(&v.problem(&Bounds::default())))
        .collect()
}

fn checked(target: &str, headers: &[(&'static str, &str)]) -> Failure {
    let allowed = serve::names(&[], SocketAddr::from(([127, 0, 0, 1], 8266))).expect("names");
    let mut request = Request::builder().uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(()).expect("a request");
    Failure::from_problem(&checks::check(&request, &allowed).expect_err("refused"))
}

/// An answer's status line, what else its head tells the client, and its body.
fn written(failure: &Failure, accept: &'static str) -> (String, String) {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    let id = RequestId::from_bytes([7; 16]);
    let reply = failure.clone().reply(&headers, Some(id));
    let mut head = reply.status().to_string();
    for name in [header::RETRY_AFTER, header::CONNECTION] {
        if let Some(value) = reply.headers().get(&name) {
            head.push_str(&format!("; {name}: {}", value.to_str().expect("text")));
        }
    }
    let body = reply.into_body().collect().now_or_never();
    let body = body
        .expect("all of it is there")
        .expect("a body")
        .to_bytes();
    (head, String::from_utf8(body.to_vec()).expect("text"))
}

fn judge(kind: Kind, failure: &Failure, text: &str) {
    assert_eq!((failure.code, failure.title), (kind.code(), kind.title()));
    assert!(text.starts_with("curb: "), "{text}");
    assert!(
        text.contains(&format!("{DOCS_BASE}{}", kind.code())),
        "{text}"
    );
    assert!(!text.contains("SECRET"), "the cause is for the log: {text}");
    // These name the key and the form that would be right.
    let shows = [Kind::BadRequest, Kind::BadPolicy].contains(&kind);
    assert!(shows || text.contains("\n  next: "), "what now? {text}");
    // A policy's own lines are shown as they are.
    let fits = |l: &str| kind == Kind::BadPolicy || l.chars().count() <= WIDTH;
    assert!(text.lines().all(fits), "wider than {WIDTH}: {text}");
}

#[test]
fn every_kind_of_error_says_what_happened_and_what_to_do_in_both_forms() {
    let mut all = String::new();
    for &kind in Kind::ALL {
        let examples = examples(kind);
        assert!(!examples.is_empty(), "{kind:?}: nothing makes it");
        for failure in &examples {
            let (head, text) = written(failure, "*/*");
            judge(kind, failure, &text);
            all.push_str(&format!("== {}: {head}\n{text}", kind.code()));
            let (_, json) = written(failure, "application/json");
            let json: Value = serde_json::from_str(&json).expect("JSON");
            assert!(!json.to_string().contains("SECRET"), "{json}");
            assert_eq!(json["type"], format!("{DOCS_BASE}{}", kind.code()));
            if guarded(kind).is_empty() {
                all.push_str(&format!("{json:#}\n"));
            }
            all.push('\n');
        }
    }
    insta::assert_snapshot!(all);
}

#[test]
fn whatever_the_guard_and_the_checks_refuse_is_in_the_catalogue() {
    for violation in Violation::ALL {
        let problem = violation
            .problem(&Bounds::default())
            .for_request(Some(RequestId::from_bytes([7; 16])));
        assert!(Kind::find(&problem.code).is_some(), "{violation:?}");
        // What goes over the wire is what is pinned above.
        let (_, text) = written(&Failure::from_problem(&problem), "*/*");
        assert_eq!(problem.to_text(), text);
    }
    assert_eq!(format!("{DOCS_BASE}{{code}}"), curb_api::routes::REASON);
}

#[test]
fn a_policy_that_is_wrong_is_shown_with_its_own_lines_unbroken() {
    let mut failure = Failure::bad_request("curb: x");
    let line = format!("  | {}  ^", "y".repeat(90));
    failure.detail = format!("curb: the policy is not right:\n{line}");
    failure.findings = vec![finding()];
    assert!(written(&failure, "*/*").1.contains(&line));
    failure.findings.clear();
    assert!(!written(&failure, "*/*").1.contains(&line));
}

fn finding() -> Finding {
    let failure = policy::parse(b"version: 1\nquotaz:\n  - name: a\n").expect_err("a slip");
    failure.findings[0].clone()
}
