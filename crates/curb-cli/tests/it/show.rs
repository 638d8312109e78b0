//! Tables and messages as an 80-column terminal shows them.

use crate::sample::*;
use curb_api::{Mode, Preview, PreviewCount, PreviewJob, Quotas, Tokens};
use curb_cli::show;
use curb_cli::term::View;
use curb_core::decide::{Code, Shadow, Verdict, Violation};

/// At most 80 columns, and nothing that a terminal acts on.
fn shown(text: String) -> String {
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    text
}

#[test]
fn a_list_of_jobs() {
    insta::assert_snapshot!(shown(show::jobs(&jobs(), &view())));
}

#[test]
fn a_list_of_jobs_in_a_pipe_is_whole() {
    let piped = View {
        width: None,
        ..view()
    };
    insta::assert_snapshot!(show::jobs(&jobs(), &piped));
}

#[test]
fn one_job_in_each_state() {
    let pages: Vec<_> = jobs()
        .iter()
        .map(|job| shown(show::job(job, &view())))
        .collect();
    insta::assert_snapshot!(pages.join("\n----\n\n"));
}

#[test]
fn buckets_with_bars_and_budgets() {
    let quotas = Quotas {
        buckets: buckets(),
        more: true,
    };
    insta::assert_snapshot!(show::quotas(
        &quotas,
        &View {
            width: Some(110),
            ..view()
        }
    ));
}

#[test]
fn buckets_in_a_pipe_have_no_bars() {
    let quotas = Quotas {
        buckets: buckets(),
        more: false,
    };
    let text = show::quotas(
        &quotas,
        &View {
            width: None,
            ..view()
        },
    );
    assert!(!text.contains("[#"));
    insta::assert_snapshot!(text);
}

#[test]
fn it_would_start_now() {
    insta::assert_snapshot!(shown(show::explain(
        &reply(Verdict::Now, false, vec![]),
        &view()
    )));
}

#[test]
fn it_would_wait_and_this_is_why() {
    insta::assert_snapshot!(shown(show::explain(
        &reply(Verdict::Later, false, violations()),
        &view()
    )));
}

#[test]
fn it_would_be_refused_for_now() {
    let mut violations = violations();
    violations.truncate(1);
    violations[0].rejects = true;
    insta::assert_snapshot!(shown(show::explain(
        &reply(Verdict::Later, true, violations),
        &view()
    )));
}

#[test]
fn the_policy_never_lets_it() {
    insta::assert_snapshot!(shown(show::explain(
        &reply(Verdict::AfterPolicyChange, true, vec![per_job()]),
        &view()
    )));
}

#[test]
fn where_another_amount_would_not_help_nobody_is_told_to_ask_for_less() {
    for (code, next) in [
        (Code::JobType, "use another, or ask an admin"),
        (Code::ClusterAccess, "use another, or ask an admin"),
        (
            Code::PriorityLimit,
            "declare a lower priority, or ask an admin",
        ),
        (
            Code::DurationLimit,
            "declare a shorter duration, or ask an admin",
        ),
        (Code::DurationNeeded, "declare a duration, or ask an admin"),
        (Code::PerJobLimit, "ask for less, or ask an admin"),
    ] {
        let one = Violation { code, ..per_job() };
        let text = show::explain(&reply(Verdict::AfterPolicyChange, true, vec![one]), &view());
        assert!(
            text.contains(&format!("not under this policy: {next}\n")),
            "{text}"
        );
    }
}

#[test]
fn the_cluster_never_has_it() {
    insta::assert_snapshot!(shown(show::explain(
        &reply(Verdict::Never, true, vec![capacity()]),
        &view()
    )));
}

#[test]
fn what_is_only_recorded_is_told_apart() {
    let mut now = reply(Verdict::Now, false, vec![]);
    now.recorded = vec![per_job()];
    insta::assert_snapshot!(shown(show::explain(&now, &view())));
}

#[test]
fn the_status_of_a_server() {
    insta::assert_snapshot!(shown(show::status(
        &status(),
        "http://127.0.0.1:8266",
        &view()
    )));
}

#[test]
fn a_server_in_trouble_says_so_in_capitals() {
    let mut status = status();
    status.mode = Mode::Observe;
    status.policy_version = 0;
    status.clusters.truncate(1);
    status.clusters[0].reachable = false;
    status.clusters[0].problem = "connection refused".into();
    status.clusters[0].quarantined = 2;
    status.journal.writable = false;
    status.journal.problem = "disk full".into();
    status.warnings = vec!["2 jobs are quarantined".into()];
    let text = shown(show::status(&status, "http://127.0.0.1:8266", &view()));
    assert!(text.contains("DOES NOT ANSWER") && text.contains("CANNOT BE WRITTEN"));
    insta::assert_snapshot!(text);
}

#[test]
fn tokens_and_overrides() {
    let tokens = show::tokens(&Tokens { tokens: tokens() }, &view());
    let overrides = show::overrides(&overrides(), &view());
    insta::assert_snapshot!(shown(format!("{tokens}\n{overrides}")));
}

#[test]
fn a_preview_of_enforcing() {
    let mut preview = Preview {
        since: at(-7 * 24 * 60),
        until: at(0),
        seen: 412,
        untouched: 388,
        waited: 0,
        would_wait: 19,
        would_refuse: 5,
        refused: 0,
        by_quota: vec![PreviewCount {
            name: "each-user concurrent-limit".into(),
            would_wait: 19,
            would_refuse: 0,
        }],
        by_user: vec![PreviewCount {
            name: "ana".into(),
            would_wait: 12,
            would_refuse: 5,
        }],
        samples: vec![],
    };
    preview.samples = vec![PreviewJob {
        id: "train-9".into(),
        user: "ana".into(),
        at: at(-90),
        request: request(),
        refused: true,
        rules: vec![Shadow::from(&per_job())],
    }];
    let empty = Preview {
        since: at(-60),
        until: at(0),
        ..Preview::default()
    };
    insta::assert_snapshot!(shown(format!(
        "{}\n{}",
        show::preview(&preview, &view()),
        show::preview(&empty, &view())
    )));
}

#[test]
fn what_was_used_and_how_much_of_it_lay_idle() {
    let usage = usage();
    insta::assert_snapshot!(format!(
        "{}\n{}",
        show::usage(&usage, &view()),
        show::usage_csv(&usage)
    ));
}

#[test]
fn the_list_of_kinds_has_each_kind_of_event_and_no_other() {
    let sampled: std::collections::BTreeSet<_> = events().iter().map(|e| e.kind()).collect();
    let listed: std::collections::BTreeSet<_> = curb_core::ledger::Event::KINDS.into();
    assert_eq!(sampled, listed);
}

#[test]
fn each_kind_of_event_in_one_line() {
    let piped = View {
        width: None,
        ..view()
    };
    let lines: Vec<_> = events()
        .iter()
        .enumerate()
        .map(|(i, event)| {
            let payload = serde_json::to_vec(event).expect("JSON");
            show::record_line(i as u64 + 1, at(i as i64), event.kind(), &payload, &piped)
        })
        .collect();
    let unknown = show::record_line(
        99,
        at(99),
        "from_the_future",
        br#"{"from_the_future":{"x":1}}"#,
        &piped,
    );
    insta::assert_snapshot!(format!("{}{unknown}", lines.concat()));
}

#[test]
fn nothing_that_a_server_says_touches_the_terminal() {
    const HOSTILE: &str = "x\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\r\u{202e}y\nz\u{200b}\u{8}";
    let bad = || HOSTILE.to_owned();
    let mut job = jobs().remove(0);
    (job.message, job.cluster, job.entrypoint) = (bad(), bad(), Some(bad()));
    (job.subject.user, job.subject.team, job.subject.job_type) = (bad(), Some(bad()), Some(bad()));
    let mut violation = per_job();
    (violation.quota, violation.bucket, violation.note) = (Some(bad()), bad(), Some(bad()));
    violation.holders = vec![holder(HOSTILE)];
    let explained = reply(Verdict::Later, false, vec![violation.clone()]);
    if let Some(waiting) = &mut job.waiting {
        waiting.violations = vec![violation];
    }
    let mut status = status();
    (
        status.version,
        status.clusters[0].problem,
        status.clusters[0].reachable,
    ) = (bad(), bad(), false);
    (status.you.user, status.warnings, status.enforcement.hard) = (bad(), vec![bad()], vec![bad()]);
    let mut bucket = buckets().remove(0);
    (bucket.quota, bucket.bucket, bucket.changes[0].why) = (bad(), bad(), bad());
    let mut token = tokens().remove(0);
    (token.user, token.by, token.id) = (bad(), bad(), bad());
    let mut changed = overrides();
    (changed.overrides[0].why, changed.overrides[0].by) = (bad(), bad());
    let view = View {
        color: false,
        ..view()
    };
    let pages = [
        show::jobs(std::slice::from_ref(&job), &view),
        show::job(&job, &view),
        show::explain(&explained, &view),
        show::status(&status, HOSTILE, &view),
        show::quotas(
            &Quotas {
                buckets: vec![bucket],
                more: false,
            },
            &view,
        ),
        show::tokens(
            &Tokens {
                tokens: vec![token],
            },
            &view,
        ),
        show::overrides(&changed, &view),
        show::record_line(1, at(0), HOSTILE, HOSTILE.as_bytes(), &view),
    ];
    for page in pages {
        let bad: Vec<_> = page
            .chars()
            .filter(|c| *c != '\n' && (c.is_control() || "\u{202e}\u{200b}".contains(*c)))
            .collect();
        assert!(bad.is_empty(), "{bad:?} in {page:?}");
        assert!(page.contains('y'), "the text itself is shown: {page:?}");
    }
}
