//! Each class of failure, against a stand-in that fails on request. What matters most: which
//! failures of a submission prove that it cannot land.

mod common;

use bytes::Bytes;
use common::quick_config;
use curb_ray::{
    BadSegment, Cluster, JobStatus, PackageProtocol, RayClient, RayConfig, RayError, RequestBody,
    Secret, SubmitError, SubmitRequest, TailFrame,
};
use curb_standin::{Chaos, Fault, Handle, JobTime, Options, Route, Standin, Trouble};
use futures_util::StreamExt;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

fn standin() -> Handle {
    Standin::spawn(Options {
        job_time: JobTime::Never,
        ..Options::default()
    })
    .unwrap()
}

fn client_with(ray: &Handle, change: impl FnOnce(&mut RayConfig)) -> RayClient {
    let mut config = quick_config(ray.addr());
    change(&mut config);
    RayClient::new(config).unwrap()
}

fn client(ray: &Handle) -> RayClient {
    client_with(ray, |_| {})
}

fn job(id: &str) -> SubmitRequest {
    SubmitRequest::new(id, "true")
}

/// Submits under one trouble; returns the outcome and how often the job was started.
async fn submit_under(trouble: Trouble) -> (Result<(), SubmitError>, u32) {
    let ray = standin();
    let client = client_with(&ray, |c| c.request_timeout = Duration::from_millis(400));
    client.version().await.unwrap(); // so that a kept connection is used
    ray.fault(Fault::once(Route::Submit, trouble));
    let outcome = client.submit(&job("a")).await.map(drop);
    (outcome, ray.starts_of("a"))
}

#[tokio::test]
async fn a_refused_connection_proves_that_nothing_was_sent() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let client = RayClient::new(quick_config(closed)).unwrap();
    let error = client.submit(&job("a")).await.unwrap_err();
    assert!(
        matches!(&error, SubmitError::NotSent { reason, .. } if reason.contains("refused")),
        "{error:?}"
    );
    assert!(matches!(
        client.version().await,
        Err(RayError::Unreachable { .. })
    ));
    assert!(matches!(
        client.tail("a").await,
        Err(RayError::Unreachable { .. })
    ));
}

#[tokio::test]
async fn a_call_that_never_got_a_connection_says_nothing_about_ray() {
    let ray = standin();
    let client = client_with(&ray, |c| c.max_connections = 1);
    ray.fault(Fault::once(Route::Stop, Trouble::HangBefore));
    let holder = client.clone();
    let holds_the_connection = tokio::spawn(async move { holder.stop("a").await });
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while ray.requests() == 0 && std::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let limit = Duration::from_millis(50);
    let error = client.version_within(limit).await.unwrap_err();
    assert!(matches!(error, RayError::Busy { .. }), "{error:?}");
    holds_the_connection.abort();
    let _aborted = holds_the_connection.await;
    client.version().await.unwrap();
}

#[tokio::test]
async fn readers_of_logs_keep_nobody_from_submitting() {
    let ray = standin();
    let client = client_with(&ray, |c| {
        c.max_connections = 1;
        c.max_streams = 1;
        c.request_timeout = Duration::from_millis(300);
        c.stream_idle_timeout = Duration::from_secs(5);
    });
    client.submit(&job("a")).await.unwrap();
    let slow_reader = client.logs("a").await.unwrap();
    client.submit(&job("b")).await.unwrap();
    client.version().await.unwrap();
    assert!(matches!(client.logs("b").await, Err(RayError::Busy { .. })));
    drop(slow_reader);
    client.logs("b").await.unwrap();
}

#[tokio::test]
async fn a_connection_dropped_before_or_after_it_landed_looks_the_same_and_is_unknown() {
    for (trouble, starts) in [(Trouble::DropBefore, 0), (Trouble::DropAfter, 1)] {
        let (outcome, seen) = submit_under(trouble.clone()).await;
        assert!(
            matches!(outcome, Err(SubmitError::Unknown { status: None, .. })),
            "{trouble:?}: {outcome:?}"
        );
        assert_eq!(seen, starts, "{trouble:?}: sent once and never again");
    }
}

#[tokio::test]
async fn silence_half_an_answer_and_any_500_are_unknown() {
    for (trouble, starts) in [
        (Trouble::HangBefore, 0),
        (Trouble::HangAfter, 1),
        (Trouble::HalfAnswer, 1),
        (Trouble::Answer { status: 500 }, 0),
        (Trouble::AnswerAfter { status: 500 }, 1),
        (Trouble::AnswerAfter { status: 503 }, 1),
        (Trouble::WrongId, 1),
    ] {
        let (outcome, seen) = submit_under(trouble.clone()).await;
        assert!(
            matches!(outcome, Err(SubmitError::Unknown { .. })),
            "{trouble:?}: {outcome:?}"
        );
        assert_eq!(seen, starts, "{trouble:?}");
    }
}

#[tokio::test]
async fn an_unknown_outcome_shows_no_traceback() {
    let (outcome, _) = submit_under(Trouble::AnswerAfter { status: 500 }).await;
    let text = outcome.unwrap_err().to_string();
    assert!(
        text.contains("the stand-in was told to fail")
            && !text.contains("Traceback")
            && !text.contains('\n'),
        "{text}"
    );
}

#[tokio::test]
async fn a_won_claim_kills_a_submission_that_was_still_on_its_way() {
    let ray = standin();
    let client = client(&ray);
    ray.fault(Fault::once(Route::Submit, Trouble::LandLater { ms: 150 }));
    assert!(matches!(
        client.submit(&job("a")).await,
        Err(SubmitError::Unknown { .. })
    ));
    assert!(
        client.get("a").await.unwrap().is_none(),
        "absent now, and that proves nothing"
    );
    client
        .submit(&SubmitRequest::no_op_claim("a", "first"))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let starts = ray.starts();
    assert_eq!(starts.len(), 1, "the late one found its id used up");
    assert!(starts[0].claim);
}

#[tokio::test]
async fn a_lost_claim_says_that_the_job_is_real() {
    let ray = standin();
    let client = client(&ray);
    ray.fault(Fault::once(Route::Submit, Trouble::DropAfter));
    assert!(matches!(
        client.submit(&job("a")).await,
        Err(SubmitError::Unknown { .. })
    ));
    let claim = client
        .submit(&SubmitRequest::no_op_claim("a", "first"))
        .await;
    assert!(
        matches!(claim, Err(SubmitError::AlreadyExists { .. })),
        "{claim:?}"
    );
    assert!(ray.starts().iter().all(|start| !start.claim) && ray.starts_of("a") == 1);
}

#[tokio::test]
async fn a_late_copy_of_a_submission_starts_nothing_twice() {
    let ray = standin();
    ray.fault(Fault::once(Route::Submit, Trouble::LateCopy { ms: 50 }));
    client(&ray).submit(&job("a")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(ray.starts_of("a"), 1);
}

#[tokio::test]
async fn under_chaos_a_submission_is_started_if_and_only_if_its_outcome_allows_it() {
    let ray = Standin::spawn(Options {
        job_time: JobTime::Never,
        seed: 11,
        ..Options::default()
    })
    .unwrap();
    ray.chaos(Chaos {
        drop_before: 150,
        drop_after: 150,
        answer_500_after: 100,
        answer_503: 100,
        late_copy: 100,
        land_later: 100,
        delay: 100,
        max_ms: 20,
    });
    let client = client(&ray);
    let mut classes = [0usize; 3];
    for i in 0..200 {
        let id = format!("job-{i}");
        let starts = |ray: &Handle| ray.starts_of(&id);
        match client.submit(&job(&id)).await {
            Ok(_) => {
                classes[0] += 1;
                assert_eq!(starts(&ray), 1);
            }
            Err(SubmitError::Unknown { .. }) => classes[1] += 1,
            Err(SubmitError::NotSent { .. }) => {
                classes[2] += 1;
                assert_eq!(starts(&ray), 0);
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(
        (0..200).all(|i| ray.starts_of(&format!("job-{i}")) <= 1),
        "nothing twice"
    );
    assert!(classes[0] > 50 && classes[1] > 50, "{classes:?}");
}

#[tokio::test]
async fn a_kept_connection_that_died_is_replaced_and_a_refusing_ray_is_not_sent_to() {
    let ray = standin();
    let client = client(&ray);
    client.submit(&job("a")).await.unwrap();
    ray.refuse_connections(Duration::from_millis(400));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = client.submit(&job("b")).await.unwrap_err();
    assert!(matches!(error, SubmitError::NotSent { .. }), "{error:?}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    client.submit(&job("b")).await.unwrap();
    assert_eq!((ray.starts_of("a"), ray.starts_of("b")), (1, 1));
}

#[tokio::test]
async fn the_clusters_token_is_shown_and_its_absence_told() {
    let ray = Standin::spawn(Options {
        token: Some("s3cret".into()),
        ..Options::default()
    })
    .unwrap();
    let with = |token: Option<&str>| client_with(&ray, |c| c.token = token.map(Secret::new));
    assert!(with(Some("s3cret")).submit(&job("a")).await.is_ok());
    for (token, status) in [(None, 401), (Some("wrong"), 403)] {
        let error = with(token).submit(&job("b")).await.unwrap_err();
        assert!(
            matches!(error, SubmitError::Refused { status: s, .. } if s == status),
            "{error:?}"
        );
        assert!(
            matches!(with(token).tail("a").await, Err(RayError::Status { status: s, .. }) if s == status)
        );
    }
    assert!(with(Some("s3cret")).tail("a").await.is_ok());
}

#[tokio::test]
async fn reads_fail_with_the_class_that_fits() {
    let ray = standin();
    let client = client_with(&ray, |c| c.request_timeout = Duration::from_millis(300));
    let mut failures = Vec::new();
    for trouble in [
        Trouble::HangBefore,
        Trouble::DropBefore,
        Trouble::HalfAnswer,
        Trouble::AnswerAfter { status: 500 },
        Trouble::Answer { status: 404 },
    ] {
        ray.fault(Fault::once(Route::Version, trouble));
        failures.push(client.version().await.unwrap_err());
    }
    assert!(
        matches!(failures[0], RayError::Timeout { .. }),
        "{:?}",
        failures[0]
    );
    assert!(
        matches!(failures[1], RayError::Broken { .. }),
        "{:?}",
        failures[1]
    );
    assert!(
        matches!(failures[2], RayError::Broken { .. }),
        "{:?}",
        failures[2]
    );
    assert!(
        matches!(&failures[3], RayError::Status { status: 500, reason, .. } if reason == "the stand-in was told to fail"),
        "{:?}",
        failures[3]
    );
    assert!(
        matches!(failures[4], RayError::NotFound { .. }),
        "{:?}",
        failures[4]
    );
}

#[tokio::test]
async fn what_is_not_there_is_none_or_not_found() {
    let ray = standin();
    let client = client(&ray);
    assert!(client.get("nope").await.unwrap().is_none());
    assert!(matches!(
        client.stop("nope").await,
        Err(RayError::NotFound { .. })
    ));
    assert!(matches!(
        client.logs("nope").await,
        Err(RayError::NotFound { .. })
    ));
    assert!(matches!(
        client.tail("nope").await,
        Err(RayError::NotFound { .. })
    ));
    assert!(
        !client
            .package_exists(PackageProtocol::Gcs, "x.zip")
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn what_ray_would_take_for_a_drivers_id_is_neither_submitted_nor_asked_for() {
    let ray = standin();
    let client = client(&ray);
    for id in ["03000000", "DEADBEEF"] {
        let error = client.submit(&job(id)).await.unwrap_err();
        assert!(
            matches!(&error, SubmitError::NotSent { reason, .. } if reason.contains("driver")),
            "{error:?}"
        );
        assert!(matches!(
            client.get(id).await,
            Err(RayError::BadSegment(BadSegment::DriverId { .. }))
        ));
        assert!(matches!(
            client.stop(id).await,
            Err(RayError::BadSegment(_))
        ));
        assert!(matches!(
            client.logs(id).await,
            Err(RayError::BadSegment(_))
        ));
        assert!(matches!(
            client.tail(id).await,
            Err(RayError::BadSegment(_))
        ));
    }
    assert_eq!(ray.requests(), 0);
}

#[tokio::test]
async fn nothing_that_is_no_path_segment_is_ever_asked_for() {
    let ray = standin();
    let client = client(&ray);
    for id in ["", "..", "a/b", "a%2fb", "a?b"] {
        assert!(
            matches!(client.get(id).await, Err(RayError::BadSegment(_))),
            "{id}"
        );
        assert!(
            matches!(client.stop(id).await, Err(RayError::BadSegment(_))),
            "{id}"
        );
        assert!(
            matches!(client.logs(id).await, Err(RayError::BadSegment(_))),
            "{id}"
        );
        assert!(
            matches!(client.tail(id).await, Err(RayError::BadSegment(_))),
            "{id}"
        );
        assert!(
            matches!(
                client
                    .put_package(PackageProtocol::Gcs, id, RequestBody::whole("x"))
                    .await,
                Err(RayError::BadSegment(_))
            ),
            "{id}"
        );
    }
    assert_eq!(ray.requests(), 0);
}

#[tokio::test]
async fn answers_past_their_bound_are_refused_and_not_read() {
    let ray = standin();
    let client = client_with(&ray, |c| c.max_list_body = 300);
    client.submit(&job("a")).await.unwrap();
    client.submit(&job("b")).await.unwrap();
    assert!(matches!(
        client.list().await,
        Err(RayError::TooLarge { limit: 300, .. })
    ));
    let mut log = client.logs("a").await.unwrap().limited(10);
    assert!(matches!(
        log.next_chunk().await,
        Some(Err(RayError::TooLarge { limit: 10, .. }))
    ));
    assert!(log.next_chunk().await.is_none());
}

#[tokio::test]
async fn a_job_status_that_is_not_known_is_kept_and_is_no_end() {
    let ray = standin();
    let client = client(&ray);
    client.submit(&job("a")).await.unwrap();
    ray.lie("a", Some("SUSPENDED"));
    let job = client.get("a").await.unwrap().unwrap();
    assert_eq!(job.status, JobStatus::Other("SUSPENDED".into()));
    assert!(!job.status.is_terminal());
}

#[tokio::test]
async fn many_calls_share_few_connections() {
    let ray = standin();
    let client = client_with(&ray, |c| c.max_connections = 3);
    let calls: Vec<_> = (0..60)
        .map(|i| {
            let client = client.clone();
            tokio::spawn(async move { client.submit(&job(&format!("j{i}"))).await.map(drop) })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(ray.total_starts(), 60);
}

fn pieces(
    parts: &[&'static str],
) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send + use<> {
    let parts: Vec<_> = parts
        .iter()
        .map(|p| Ok(Bytes::from_static(p.as_bytes())))
        .collect();
    futures_util::stream::iter(parts)
}

#[tokio::test]
async fn a_package_arrives_byte_by_byte_as_it_was_streamed() {
    let ray = standin();
    let client = client(&ray);
    let body = RequestBody::stream(6, pieces(&["ab", "", "cdef"]));
    client
        .put_package(PackageProtocol::Gcs, "p.zip", body)
        .await
        .unwrap();
    assert!(ray.has_package("p.zip", b"abcdef"));
    assert!(
        client
            .package_exists(PackageProtocol::Gcs, "p.zip")
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn a_package_whose_length_was_a_lie_is_not_kept() {
    let ray = standin();
    let client = client(&ray);
    for (length, parts) in [(7, &["abc", "def"]), (5, &["abc", "def"])] {
        let outcome = client
            .put_package(
                PackageProtocol::Gcs,
                "p.zip",
                RequestBody::stream(length, pieces(parts)),
            )
            .await;
        assert!(outcome.is_err(), "{length} bytes were announced");
        assert!(
            !client
                .package_exists(PackageProtocol::Gcs, "p.zip")
                .await
                .unwrap()
        );
    }
}

#[tokio::test]
async fn a_package_past_rays_bound_is_an_error_and_not_kept() {
    let ray = standin();
    let client = client(&ray);
    let mebibyte = Bytes::from(vec![0; 1 << 20]);
    let chunks = futures_util::stream::iter((0..101).map(move |_| Ok(mebibyte.clone())));
    let outcome = client
        .put_package(
            PackageProtocol::Gcs,
            "p.zip",
            RequestBody::stream(101 << 20, chunks),
        )
        .await;
    // Whether the answer or the closed connection is seen first is up to the network.
    assert!(
        matches!(
            outcome,
            Err(RayError::Status { status: 413, .. } | RayError::Broken { .. })
        ),
        "{outcome:?}"
    );
    assert!(
        !client
            .package_exists(PackageProtocol::Gcs, "p.zip")
            .await
            .unwrap()
    );
}

async fn texts(client: &RayClient, id: &str) -> (String, Option<u16>) {
    let mut tail = client.tail(id).await.unwrap();
    let mut text = String::new();
    while let Some(frame) = tail.next().await {
        match frame.unwrap() {
            TailFrame::Text(more) => text += &more,
            TailFrame::End { code } => {
                assert!(tail.next().await.is_none(), "nothing after the end");
                return (text, code);
            }
        }
    }
    panic!("the stream ended without an end");
}

#[tokio::test]
async fn a_followed_log_ends_with_1000_after_the_last_line() {
    let ray = Standin::spawn(Options::default()).unwrap();
    let client = client(&ray);
    client
        .submit(&SubmitRequest::new("a", "echo one; sleep 0.2; echo two"))
        .await
        .unwrap();
    let (text, code) = texts(&client, "a").await;
    assert!(text.ends_with("one\ntwo\n"), "{text}");
    assert_eq!(code, Some(1000));
}

#[tokio::test]
async fn a_quiet_job_is_followed_for_as_long_as_ray_answers_pings() {
    let ray = standin();
    let client = client_with(&ray, |c| {
        c.tail_ping = Duration::from_millis(50);
        c.tail_idle_timeout = Duration::from_millis(200);
    });
    client.submit(&job("a")).await.unwrap();
    let end = tokio::spawn({
        let client = client.clone();
        async move { texts(&client, "a").await.1 }
    });
    tokio::time::sleep(Duration::from_millis(700)).await;
    ray.finish("a", 0);
    assert_eq!(end.await.unwrap(), Some(1000));
}

#[tokio::test]
async fn a_cut_log_is_an_error_or_an_end_without_a_code_and_never_1000() {
    let ray = standin();
    let client = client(&ray);
    client.submit(&job("a")).await.unwrap();
    let mut tail = client.tail("a").await.unwrap();
    assert!(matches!(tail.next().await, Some(Ok(TailFrame::Text(_)))));
    ray.refuse_connections(Duration::from_millis(1));
    let last = tail.next().await.unwrap();
    assert!(
        matches!(
            last,
            Err(RayError::Broken { .. }) | Ok(TailFrame::End { code: None })
        ),
        "{last:?}"
    );
    assert!(tail.next().await.is_none());
}

fn read_head(stream: &mut std::net::TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_peer_ends_a_followed_log_by_its_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = quick_config(listener.local_addr().unwrap());
    config.tail_ping = Duration::from_millis(50);
    config.tail_idle_timeout = Duration::from_millis(250);
    let peer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let head = read_head(&mut stream);
        let key = head
            .lines()
            .find_map(|l| {
                l.to_ascii_lowercase()
                    .starts_with("sec-websocket-key:")
                    .then(|| l[18..].trim().to_owned())
            })
            .unwrap();
        let accept = derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).unwrap();
        let mut rest = Vec::new();
        let _until_the_client_hangs_up = stream.read_to_end(&mut rest);
    });
    let mut tail = RayClient::new(config).unwrap().tail("a").await.unwrap();
    let last = tail.next().await.unwrap();
    assert!(matches!(last, Err(RayError::Timeout { .. })), "{last:?}");
    drop(tail);
    peer.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_in_the_middle_ends_by_its_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = quick_config(listener.local_addr().unwrap());
    config.stream_idle_timeout = Duration::from_millis(150);
    let peer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_head(&mut stream);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"logs\"")
            .unwrap();
        let mut rest = Vec::new();
        let _until_the_client_hangs_up = stream.read_to_end(&mut rest);
    });
    let client = RayClient::new(config).unwrap();
    let mut log = client.logs("a").await.unwrap();
    assert_eq!(
        log.next_chunk().await.unwrap().unwrap(),
        Bytes::from_static(b"{\"logs\"")
    );
    assert!(matches!(
        log.next_chunk().await,
        Some(Err(RayError::Timeout { .. }))
    ));
    drop(log);
    peer.join().unwrap();
}

#[tokio::test]
async fn the_nodes_make_up_the_cluster() {
    let ray = Standin::spawn(Options {
        nodes: vec![
            curb_standin::NodeSpec::new([
                ("CPU", 8.0),
                ("GPU", 2.0),
                ("accelerator_type:A100", 1.0),
                ("memory", 1024.0),
            ]),
            curb_standin::NodeSpec::new([("CPU", 0.5), ("ssd", 3.0)]),
        ],
        ..Options::default()
    })
    .unwrap();
    let cluster: Cluster = client(&ray).nodes().await.unwrap();
    let totals = cluster.totals();
    assert_eq!(
        (
            cluster.complete,
            totals.nodes,
            totals.cpu.0,
            totals.gpu_by_model["A100"].0,
            totals.custom["ssd"].0
        ),
        (true, 2, 8500, 2000, 3000)
    );
    assert!(cluster.nodes[0].is_head && !cluster.nodes[1].is_head);
}
