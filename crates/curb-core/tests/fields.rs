//! Each field of the policy alone decides: with it the answer is one, without it (or with another value) it is another.

mod common;

use common::*;
use curb_core::decide::Gate;
use curb_core::ledger::Event;

/// What the last of `wants` gets under a policy.
fn last(yaml: &str, wants: &[Want]) -> String {
    let mut w = World::new(yaml);
    let mut said = String::new();
    for want in wants {
        said = say(&w.submit(want).1);
    }
    said
}

#[track_caller]
fn decides(field: &str, with: &str, without: &str, wants: &[Want], expect: &str, otherwise: &str) {
    assert_eq!(last(with, wants), expect, "{field} is there");
    assert_eq!(last(without, wants), otherwise, "{field} is not there");
}

const EACH: &str = "quotas:\n  - name: each-user\n    for: {user: \"*\"}\n";
const TEAMS: &str = "teams:\n  vision: {org: research, members: [ana, li]}\n  serving: {org: product, members: [kim]}\n";

fn q(body: &str) -> String {
    format!("{EACH}    {}\n", body.replace('\n', "\n    "))
}

#[test]
fn limits_of_each_kind_of_resource() {
    let none = q("limits: {jobs: 1000}");
    for (limit, want_two) in [
        ("cpu: 3", want("ana").cpu("2")),
        ("memory: 3GiB", want("ana").of("memory", "2GiB")),
        ("gpu: 3", want("ana").gpu("2")),
        ("gpu:H100: 3", want("ana").of("gpu:H100", "2")),
        ("licence: 3", want("ana").of("licence", "2")),
    ] {
        let mut with = World::new(&q(&format!(
            "limits: {{\"{}\": {}}}",
            limit.rsplit_once(": ").unwrap().0,
            limit.rsplit_once(": ").unwrap().1
        )));
        let mut without = World::new(&none);
        for w in [&mut with, &mut without] {
            w.cluster(
                "main",
                "session-1",
                &[
                    ("cpu", "100"),
                    ("memory", "1TiB"),
                    ("gpu", "100"),
                    ("gpu:H100", "100"),
                    ("licence", "100"),
                ],
            );
            assert_eq!(say(&w.submit(&want_two).1), "admitted", "{limit}");
        }
        assert_eq!(
            say(&with.submit(&want_two).1),
            "queued concurrent-limit",
            "{limit}"
        );
        assert_eq!(say(&without.submit(&want_two).1), "admitted", "{limit}");
    }
}

#[test]
fn a_gpu_of_a_model_counts_as_a_gpu() {
    let two = [want("ana").of("gpu:H100", "2"), want("ana").gpu("2")];
    let mut w = World::new(&q("limits: {gpu: 3}"));
    w.cluster(
        "main",
        "session-1",
        &[("cpu", "100"), ("gpu", "100"), ("gpu:H100", "100")],
    );
    w.submit(&two[0]);
    assert_eq!(say(&w.submit(&two[1]).1), "queued concurrent-limit");
}

#[test]
fn running_and_queued_jobs() {
    let one = want("ana").cpu("1");
    decides(
        "jobs",
        &q("limits: {jobs: 1}"),
        &q("limits: {jobs: 2}"),
        &[one.clone(), one.clone()],
        "queued jobs-limit",
        "admitted",
    );
    decides(
        "queued",
        &q("limits: {jobs: 1, queued: 1}"),
        &q("limits: {jobs: 1, queued: 2}"),
        &[one.clone(), one.clone(), one.clone()],
        "refused 429 queued-limit",
        "queued jobs-limit",
    );
}

#[test]
fn what_one_job_may_ask_for() {
    let two = [want("ana").cpu("2").hours(2)];
    decides(
        "per_job.cpu",
        &q("per_job: {cpu: 1}"),
        &q("per_job: {cpu: 2}"),
        &two,
        "refused 422 per-job-limit",
        "admitted",
    );
    decides(
        "per_job.duration",
        &q("per_job: {duration: 1h}"),
        &q("per_job: {duration: 2h}"),
        &two,
        "refused 422 duration-limit",
        "admitted",
    );
}

#[test]
fn a_job_without_a_duration_is_given_the_longest_that_it_may_have() {
    let w = World::new(&q("per_job: {duration: 24h}"));
    assert_eq!(
        w.submission(&want("ana")).duration.map(|d| d.to_string()),
        Some("1d".into())
    );
}

#[test]
fn submissions_in_a_time() {
    let one = want("ana").cpu("1");
    decides(
        "submit_rate",
        &q("submit_rate: 2/min"),
        &q("submit_rate: 3/min"),
        &[one.clone(), one.clone(), one.clone()],
        "refused 429 submit-rate",
        "admitted",
    );
    let mut w = World::new(&q("submit_rate: 2/min"));
    for _ in 0..2 {
        assert_eq!(say(&w.submit(&one).1), "admitted");
    }
    w.pass(29_999);
    assert_eq!(say(&w.submit(&one).1), "refused 429 submit-rate");
    w.pass(1);
    assert_eq!(
        say(&w.submit(&one).1),
        "admitted",
        "half a minute later there is room for one"
    );
    assert_eq!(say(&w.submit(&one).1), "refused 429 submit-rate");
}

#[test]
fn budgets_of_each_period() {
    for per in ["day", "week", "month", "\"rolling 30d\""] {
        let with = q(&format!("budget: {{gpu_hours: 3, per: {per}}}"));
        let without = q(&format!("budget: {{gpu_hours: 4, per: {per}}}"));
        let two = want("ana").gpu("1").hours(2);
        decides(
            "budget",
            &with,
            &without,
            &[two.clone(), two.clone()],
            "queued budget",
            "admitted",
        );
        let mut w = World::new(&with);
        w.submit(&two);
        assert_eq!(
            say(&w.submit(&want("ana").gpu("1").hours(100)).1),
            "refused 422 budget",
            "{per}"
        );
    }
}

#[test]
fn a_job_that_does_not_say_how_long_it_runs_is_metered_or_refused_by_a_budget() {
    let budget = |words: &str| q(&format!("budget: {{gpu_hours: 3, per: day{words}}}"));
    let unsaid = [want("ana").gpu("1")];
    decides(
        "without_duration",
        &budget(", without_duration: refuse"),
        &budget(""),
        &unsaid,
        "refused 422 duration-needed",
        "admitted",
    );
    // As long as anything is left, however little: that is what `meter` means.
    let mut w = World::new(&budget(""));
    let (spent, _) = w.submit(&want("ana").gpu("1").hours(3));
    w.pass(3 * HOUR - 1);
    w.end(&spent);
    assert_eq!(say(&w.submit(&unsaid[0]).1), "admitted");
    w.pass(1);
    assert_eq!(say(&w.submit(&unsaid[0]).1), "queued budget");
}

#[test]
fn a_budget_that_refuses_takes_any_duration_that_somebody_says() {
    let refuse = "budget: {gpu_hours: 3, per: day, without_duration: refuse}";
    let unsaid = want("ana").gpu("1").job_type("training");
    let types = |defaults: &str| {
        format!(
            "job_types: {{training: {{default_request: {defaults}}}}}\n{}",
            q(refuse)
        )
    };
    for (yaml, expect) in [
        (types("{cpu: 1}"), "refused 422 duration-needed"),
        (types("{duration: 1h}"), "admitted"),
        (types("{duration: 4h}"), "refused 422 budget"),
        (
            format!("default_request: {{duration: 1h}}\n{}", types("{cpu: 1}")),
            "admitted",
        ),
        (
            format!(
                "{}  - {{name: short, for: everybody, per_job: {{duration: 2h}}}}\n",
                types("{cpu: 1}")
            ),
            "admitted",
        ),
    ] {
        assert_eq!(last(&yaml, std::slice::from_ref(&unsaid)), expect, "{yaml}");
    }
    // It is about the resource of the budget; a job that asks for none of it is free.
    assert_eq!(last(&q(refuse), &[want("ana").cpu("1")]), "admitted");
    let audit = q(&format!("{refuse}\nmode: audit"));
    assert_eq!(last(&audit, std::slice::from_ref(&unsaid)), "admitted");
}

#[test]
fn a_job_is_charged_the_larger_of_declared_and_entrypoint_of_each_resource_else_a_default() {
    use curb_core::resource::Resource;
    let mut w = World::new(
        "default_request: {cpu: 2, memory: 4GiB}\nquotas:\n  - {name: q, for: everybody, limits: {cpu: 50}}\n",
    );
    let has = [("cpu", "100"), ("memory", "1TiB"), ("licence", "9")];
    w.cluster("main", "session-1", &has);
    let mut charged = |declared: &[(&str, &str)], entrypoint: &[(&str, &str)]| {
        let mut want = want("ana");
        for (resource, amount) in declared {
            want = want.of(resource, amount);
        }
        want.ask.entrypoint = amounts(entrypoint).0;
        let (id, _) = w.submit(&want);
        let request = w.job(&id).new.request.clone();
        ["cpu", "memory", "licence"].map(|r| {
            let resource = Resource::parse(r).expect("a resource");
            request.get(&resource).0
        })
    };
    let gib = 1 << 30;
    let less = [("cpu", "1"), ("memory", "1GiB"), ("licence", "1")];
    let more = [("cpu", "3"), ("memory", "3GiB"), ("licence", "2")];
    assert_eq!(charged(&less, &more), [3000, 3 * gib, 2000]);
    assert_eq!(charged(&more, &less), [3000, 3 * gib, 2000]);
    assert_eq!(
        charged(
            &[("cpu", "3"), ("memory", "1GiB")],
            &[("cpu", "1"), ("memory", "2GiB")]
        ),
        [3000, 2 * gib, 0],
        "each by itself"
    );
    assert_eq!(
        charged(&less, &[]),
        [1000, gib, 1000],
        "also below a default"
    );
    assert_eq!(charged(&[], &[("cpu", "1")]), [1000, 4 * gib, 0]);
    assert_eq!(charged(&[], &[]), [2000, 4 * gib, 0]);
}

#[test]
fn a_declared_zero_is_not_less_than_a_default() {
    let yaml = |defaults: &str| {
        format!(
            "job_types: {{training: {{default_request: {defaults}}}, io: {{default_request: {{cpu: 0}}}}}}\ndefault_request: {{cpu: 2}}\n{}",
            q("limits: {cpu: 0}")
        )
    };
    let zero = want("ana").cpu("0");
    let mut entrypoint = want("ana");
    entrypoint.ask.entrypoint.insert(
        curb_core::resource::Resource::Cpu,
        curb_core::amount::Amount::ZERO,
    );
    let no = "refused 422 concurrent-limit";
    for (defaults, want, expect) in [
        ("{cpu: 4}", zero.clone().job_type("training"), no),
        ("{cpu: 4}", entrypoint.clone().job_type("training"), no),
        ("{gpu: 1}", zero.clone().job_type("training"), no),
        ("{gpu: 1}", entrypoint, no),
        ("{cpu: 0}", zero.clone().job_type("training"), "admitted"),
        ("{cpu: 4}", zero.clone().job_type("io"), "admitted"),
        ("{cpu: 4}", want("ana").job_type("io"), "admitted"),
    ] {
        assert_eq!(
            last(&yaml(defaults), std::slice::from_ref(&want)),
            expect,
            "{defaults} {want:?}"
        );
    }
    let plain = World::new(&q("limits: {cpu: 1}"));
    assert!(plain.submission(&zero).request.iter().next().is_none());
    let w = World::new(&yaml("{cpu: 4, gpu: 1}"));
    let charged = w.submission(&zero.gpu("2").job_type("training")).request;
    assert_eq!(
        charged,
        amounts(&[("cpu", "4"), ("gpu", "2")]),
        "what is above zero counts as it is"
    );
}

#[test]
fn a_job_that_runs_on_into_the_next_period_must_fit_there_as_well() {
    // NOON and eleven hours: one hour of the day is left.
    let late = |yaml: &str| {
        let mut w = World::new(yaml);
        w.pass(11 * HOUR);
        w
    };
    let day = q("budget: {cpu_hours: 6, per: day}");
    let mut w = late(&day);
    assert_eq!(
        say(&w.submit(&want("ana").cpu("3").hours(4)).1),
        "refused 422 budget",
        "all of it is never in a day"
    );
    assert_eq!(
        say(&w.submit(&want("ana").cpu("1").hours(5)).1),
        "admitted",
        "four hours of tomorrow"
    );
    assert_eq!(
        say(&w.submit(&want("ana").cpu("2").hours(2)).1),
        "admitted",
        "two more"
    );
    assert_eq!(
        say(&w.submit(&want("ana").cpu("1").hours(2)).1),
        "queued budget",
        "tomorrow is given away"
    );
    assert_eq!(
        say(&w.submit(&want("ana").cpu("1").hours(1)).1),
        "admitted",
        "this is today's"
    );
    let mut w = late(&day);
    let said = w.explain(&want("li").cpu("4").hours(3));
    assert_eq!(said.violations.len(), 1, "{said:?}");
    let fits = said.fits_now.expect("a part of it fits");
    assert_eq!(fits, amounts(&[("cpu", "2")]));
    assert_eq!(
        say(&w.submit(&want("li").cpu("2").hours(3)).1),
        "admitted",
        "what is offered fits, and more is never in a day"
    );
}

#[test]
fn a_budget_is_whole_again_in_the_next_period() {
    let mut w = World::new(&q("budget: {cpu_hours: 2, per: day}"));
    let (first, _) = w.submit(&want("ana").cpu("1").hours(2));
    w.pass(2 * HOUR);
    w.end(&first);
    let (second, said) = w.submit(&want("ana").cpu("1").hours(1));
    assert_eq!(say(&said), "queued budget");
    w.pass(9 * HOUR);
    assert!(w.run_queue().is_empty());
    w.pass(HOUR);
    assert_eq!(w.run_queue(), [second], "midnight");
}

#[test]
fn what_was_promised_and_not_used_comes_back_to_the_budget() {
    let mut w = World::new(&q("budget: {cpu_hours: 10, per: day}"));
    let (first, _) = w.submit(&want("ana").cpu("1").hours(10));
    assert_eq!(
        say(&w.submit(&want("ana").cpu("1").hours(5)).1),
        "queued budget"
    );
    w.pass(HOUR);
    assert_eq!(w.end_and_run(&first).len(), 1, "nine hours came back");
}

#[test]
fn calendar_windows() {
    // NOON is a Sunday at noon in UTC, 13:00 in Berlin.
    let one = [want("ana").cpu("1")];
    let quota = |when: &str| q(&format!("limits: {{cpu: 0}}\nwhen: {when}"));
    let always = q("limits: {cpu: 0}");
    assert_eq!(last(&always, &one), "refused 422 concurrent-limit");
    for (when, expect) in [
        (
            "{days: [sun], hours: \"08:00-20:00\", tz: UTC}",
            "queued concurrent-limit",
        ),
        (
            "{days: [mon-fri], hours: \"08:00-20:00\", tz: UTC}",
            "admitted",
        ),
        ("{days: [sun], hours: \"13:00-20:00\", tz: UTC}", "admitted"),
        (
            "{days: [sun], hours: \"13:00-20:00\", tz: Europe/Berlin}",
            "queued concurrent-limit",
        ),
        (
            "{days: [sat], hours: \"20:00-12:30\", tz: UTC}",
            "queued concurrent-limit",
        ),
    ] {
        assert_eq!(last(&quota(when), &one), expect, "{when}");
    }
    let mut w = World::new(&quota("{days: [sun], hours: \"08:00-20:00\", tz: UTC}"));
    let (id, _) = w.submit(&one[0]);
    w.pass(8 * HOUR - 1);
    assert!(w.run_queue().is_empty());
    w.pass(1);
    assert_eq!(w.run_queue(), [id], "the window closes at 20:00");
}

#[test]
fn validity() {
    let one = [want("ana").cpu("1")];
    for (valid, expect) in [
        ("{until: 2026-11-22}", "admitted"),
        ("{until: 2026-11-23}", "queued concurrent-limit"),
        ("{from: 2026-11-23}", "admitted"),
        ("{from: 2026-11-22}", "refused 422 concurrent-limit"),
    ] {
        assert_eq!(
            last(&q(&format!("limits: {{cpu: 0}}\nvalid: {valid}")), &one),
            expect,
            "{valid}"
        );
    }
}

#[test]
fn above_a_limit_is_queued_or_refused() {
    let one = want("ana").cpu("1");
    decides(
        "above",
        &q("limits: {cpu: 1}\nabove: reject"),
        &q("limits: {cpu: 1}\nabove: queue"),
        &[one.clone(), one],
        "refused 429 concurrent-limit",
        "queued concurrent-limit",
    );
}

#[test]
fn audit_and_observe_record_and_let_pass() {
    let one = want("ana").cpu("1");
    decides(
        "mode",
        &q("limits: {cpu: 0}\nmode: audit"),
        &q("limits: {cpu: 0}\nmode: enforce"),
        std::slice::from_ref(&one),
        "admitted",
        "refused 422 concurrent-limit",
    );
    let observe = format!("mode: observe\n{}", q("limits: {cpu: 0}"));
    assert_eq!(last(&observe, std::slice::from_ref(&one)), "admitted");
    let mut w = World::new(&observe);
    w.submit(&one);
    let Some(Event::Admitted { shadow, .. }) = w.journal.last().map(|r| &r.event) else {
        panic!("it was admitted")
    };
    assert_eq!(
        shadow.len(),
        1,
        "what would have been refused is in the journal"
    );
    assert!(shadow[0].refuse);
}

#[test]
fn the_subject_a_quota_is_for() {
    let full = |selector: &str| {
        format!(
            "{TEAMS}job_types: {{training: {{}}, inference: {{}}}}\nquotas:\n  - name: q\n    for: {selector}\n    limits: {{cpu: 0}}\n"
        )
    };
    let ana = want("ana")
        .cpu("1")
        .job_type("training")
        .label("site", "berlin");
    for (selector, covered) in [
        ("{user: ana}", true),
        ("{user: li}", false),
        ("{user: [li, ana]}", true),
        ("{team: vision}", true),
        ("{team: serving}", false),
        ("{org: research}", true),
        ("{org: product}", false),
        ("{job_type: training}", true),
        ("{job_type: inference}", false),
        ("{label: {site: berlin}}", true),
        ("{label: {site: paris}}", false),
        ("{cluster: main}", true),
        ("{cluster: other}", false),
        ("{user: \"*\", job_type: training}", true),
        ("{user: ana, job_type: inference}", false),
        ("everybody", true),
    ] {
        let said = last(&full(selector), std::slice::from_ref(&ana));
        let expect = if covered {
            "refused 422 concurrent-limit"
        } else {
            "admitted"
        };
        assert_eq!(said, expect, "{selector}");
    }
}

#[test]
fn a_star_gives_each_a_bucket_and_a_list_shares_one() {
    let two = [want("ana").cpu("1"), want("li").cpu("1")];
    let with = |selector: &str| {
        format!("quotas:\n  - name: q\n    for: {selector}\n    limits: {{cpu: 1}}\n")
    };
    assert_eq!(last(&with("{user: \"*\"}"), &two), "admitted");
    assert_eq!(
        last(&with("{user: [ana, li]}"), &two),
        "queued concurrent-limit"
    );
    assert_eq!(last(&with("everybody"), &two), "queued concurrent-limit");
}

#[test]
fn an_org_unit_covers_all_below_it() {
    let yaml = |org: &str| {
        format!(
            "orgs: {{acme: {{}}, research: {{parent: acme}}}}\n{TEAMS}quotas:\n  - name: q\n    for: {{org: {org}}}\n    limits: {{cpu: 0}}\n"
        )
    };
    assert_eq!(
        last(&yaml("acme"), &[want("ana").cpu("1")]),
        "refused 422 concurrent-limit"
    );
    assert_eq!(last(&yaml("acme"), &[want("kim").cpu("1")]), "admitted");
}

#[test]
fn borrowing_is_for_when_nobody_else_wants_it() {
    let yaml = |borrow: &str| {
        format!(
            "capacity: {{cpu: 4}}\n{TEAMS}quotas:\n  - {{name: research, for: {{org: research}}, limits: {{cpu: 2}}{borrow}}}\n  - {{name: product, for: {{org: product}}, limits: {{cpu: 2}}}}\n"
        )
    };
    let three = [want("ana").cpu("2"), want("li").cpu("1")];
    decides(
        "borrow",
        &yaml(", borrow: {cpu: 2}"),
        &yaml(""),
        &three,
        "admitted",
        "queued concurrent-limit",
    );
    // Kim is entitled and waits for capacity: what ends goes to kim, not to another borrower.
    let mut w = World::new(&yaml(", borrow: {cpu: 2}"));
    w.cluster("main", "session-1", &[("cpu", "4")]);
    w.submit(&want("ana").cpu("2"));
    let (borrower, _) = w.submit(&want("li").cpu("2"));
    let (more, said) = w.submit(&want("ana").cpu("1"));
    assert_eq!(say(&said), "queued concurrent-limit");
    let (kim, said) = w.submit(&want("kim").cpu("2"));
    assert_eq!(say(&said), "queued capacity");
    assert_eq!(w.end_and_run(&borrower), [kim]);
    assert!(w.queued(&more));
}

#[test]
fn reclaiming_stops_the_youngest_borrower_after_the_delay() {
    let yaml = |reclaim: &str| {
        format!(
            "capacity: {{cpu: 4}}\n{TEAMS}quotas:\n  - {{name: research, for: {{org: research}}, limits: {{cpu: 2}}, borrow: {{cpu: 2}}, reclaim: {reclaim}}}\n  - {{name: product, for: {{org: product}}, limits: {{cpu: 2}}}}\n"
        )
    };
    for (reclaim, stops) in [("{stop_after: 10m}", true), ("drain", false)] {
        let mut w = World::new(&yaml(reclaim));
        w.cluster("main", "session-1", &[("cpu", "4")]);
        w.submit(&want("ana").cpu("2"));
        let (old, _) = w.submit(&want("li").cpu("1"));
        w.pass(MINUTE);
        let (young, _) = w.submit(&want("li").cpu("1"));
        w.submit(&want("kim").cpu("1"));
        w.pass(10 * MINUTE - 1);
        w.run_queue();
        assert!(w.job(&young).stop.is_none());
        w.pass(1);
        w.run_queue();
        assert_eq!(w.job(&young).stop.is_some(), stops, "{reclaim}");
        assert!(w.job(&old).stop.is_none(), "{reclaim}: one is enough");
    }
}

#[test]
fn a_guarantee_is_kept_free() {
    let yaml = |g: &str| {
        format!(
            "capacity: {{cpu: 4}}\n{TEAMS}quotas:\n  - {{name: product, for: {{org: product}}, limits: {{cpu: 4}}{g}}}\n"
        )
    };
    let mut with = World::new(&yaml(", guarantee: {cpu: 2}"));
    with.cluster("main", "session-1", &[("cpu", "4")]);
    assert_eq!(say(&with.submit(&want("ana").cpu("2")).1), "admitted");
    assert_eq!(
        say(&with.submit(&want("ana").cpu("1")).1),
        "queued guarantee"
    );
    assert_eq!(
        say(&with.submit(&want("kim").cpu("2")).1),
        "admitted",
        "it is kim's"
    );
    let mut without = World::new(&yaml(""));
    without.cluster("main", "session-1", &[("cpu", "4")]);
    without.submit(&want("ana").cpu("2"));
    assert_eq!(say(&without.submit(&want("ana").cpu("1")).1), "admitted");
}

#[test]
fn a_guarantee_is_kept_free_only_while_its_quota_applies() {
    let mut w = World::new(&format!(
        "capacity: {{cpu: 4}}\n{TEAMS}quotas:\n  - {{name: product, for: {{org: product}}, limits: {{cpu: 4}}, guarantee: {{cpu: 2}}, valid: {{until: 2026-11-23}}}}\n"
    ));
    w.cluster("main", "session-1", &[("cpu", "4")]);
    w.submit(&want("ana").cpu("2"));
    let (waits, said) = w.submit(&want("ana").cpu("1"));
    assert_eq!(say(&said), "queued guarantee");
    w.pass(12 * HOUR);
    assert_eq!(w.run_queue(), [waits]);
}

#[test]
fn capacity_fixed_by_cluster_or_discovered() {
    let five = [want("ana").cpu("5")];
    assert_eq!(last("capacity: {cpu: 4}\n", &five), "refused 422 capacity");
    assert_eq!(
        last("capacity: {by_cluster: {main: {cpu: 4}}}\n", &five),
        "refused 422 capacity"
    );
    assert_eq!(
        last("capacity: {by_cluster: {other: {cpu: 4}}}\n", &five),
        "admitted"
    );
    assert_eq!(last("capacity: discover\n", &five), "admitted");
    assert_eq!(
        last("capacity: discover\n", &[want("ana").of("licence", "1")]),
        "refused 422 capacity"
    );
    assert_eq!(
        last(
            "capacity: discover\n",
            &[want("ana").cpu("60"), want("li").cpu("60")]
        ),
        "queued capacity"
    );
}

#[test]
fn job_types_defaults_and_who_may_use_them() {
    let yaml = |body: &str| {
        format!(
            "{TEAMS}job_types:\n  training: {body}\nquotas:\n  - {{name: q, for: {{user: \"*\"}}, limits: {{cpu: 3}}}}\n"
        )
    };
    let ana = [want("ana").job_type("training")];
    decides(
        "default_request",
        &yaml("{default_request: {cpu: 4}}"),
        &yaml("{default_request: {cpu: 3}}"),
        &ana,
        "refused 422 concurrent-limit",
        "admitted",
    );
    decides(
        "allowed",
        &yaml("{allowed: {org: product}}"),
        &yaml("{allowed: {org: research}}"),
        &ana,
        "refused 422 job-type",
        "admitted",
    );
    assert_eq!(
        last(&yaml("{}"), &[want("ana").job_type("unknown")]),
        "refused 422 job-type"
    );
    decides(
        "max_priority",
        &yaml("{priority: 1, max_priority: 5}"),
        &yaml("{priority: 1, max_priority: 9}"),
        &[want("ana").job_type("training").priority(9)],
        "refused 422 priority-limit",
        "admitted",
    );
    let default_type = format!(
        "default_job_type: training\n{}",
        yaml("{default_request: {cpu: 4}}")
    );
    assert_eq!(
        last(&default_type, &[want("ana")]),
        "refused 422 concurrent-limit"
    );
    assert_eq!(
        last(
            &format!("default_request: {{cpu: 4}}\n{}", yaml("{}")),
            &[want("ana")]
        ),
        "refused 422 concurrent-limit"
    );
    let w = World::new(&yaml("{default_request: {cpu: 1, duration: 5h}}"));
    assert_eq!(
        w.submission(&ana[0]).duration.map(|d| d.to_string()),
        Some("5h".into())
    );
}

#[test]
fn clusters_and_who_may_use_them() {
    let yaml = |who: &str| format!("{TEAMS}clusters: {{main: {{allowed: {{team: {who}}}}}}}\n");
    decides(
        "clusters",
        &yaml("serving"),
        &yaml("vision"),
        &[want("ana").cpu("1")],
        "refused 422 cluster-access",
        "admitted",
    );
}

#[test]
fn marks_of_nodes_are_places_and_other_names_that_ray_has_are_capacity() {
    let mut w = World::new("");
    let has = [("cpu", "4"), ("accelerator_type:H100", "2")];
    w.cluster("main", "s1", &has);
    let said = |w: &mut World, resource: &str, amount: &str| {
        say(&w.submit(&want("ana").of(resource, amount)).1)
    };
    for mark in ["node:__internal_head__", "node:10.0.0.7"] {
        assert_eq!(said(&mut w, mark, "0.001"), "admitted", "{mark}");
    }
    assert_eq!(said(&mut w, "accelerator_type:H100", "0.001"), "admitted");
    assert_eq!(
        said(&mut w, "accelerator_type:A100", "0.001"),
        "refused 422 capacity"
    );
    assert_eq!(said(&mut w, "licence", "1"), "refused 422 capacity");
}

#[test]
fn users_default_team_and_labels() {
    let yaml = |user: &str| {
        format!(
            "teams:\n  a: {{members: [ana]}}\n  b: {{members: [ana]}}\nusers:\n  ana: {user}\nquotas:\n  - {{name: q, for: {{team: b}}, limits: {{cpu: 0}}}}\n  - {{name: l, for: {{label: {{site: berlin}}}}, limits: {{cpu: 0}}}}\n"
        )
    };
    let one = [want("ana").cpu("1")];
    assert_eq!(
        last(&yaml("{}"), &one),
        "admitted",
        "team a is the first by name"
    );
    assert_eq!(
        last(&yaml("{default_team: b}"), &one),
        "refused 422 concurrent-limit"
    );
    assert_eq!(
        last(&yaml("{}"), &[one[0].clone().team("b")]),
        "refused 422 concurrent-limit"
    );
    assert_eq!(
        last(&yaml("{labels: {site: berlin}}"), &one),
        "refused 422 concurrent-limit"
    );
}

#[test]
fn what_happens_while_the_cluster_is_down() {
    for (when, expect) in [
        ("queue", "queued cluster-down"),
        ("refuse", "refused 503 cluster-down"),
    ] {
        let mut w = World::new(&format!("when_ray_is_down: {when}\n"));
        w.gates.insert("main".into(), Gate::Down);
        assert_eq!(say(&w.submit(&want("ana").cpu("1")).1), expect);
    }
}

#[test]
fn overrides_change_limits_for_a_time() {
    let mut w = World::new(&q("limits: {cpu: 1, jobs: 1}"));
    let add = |id: u64, amounts: i64, jobs: i64, user: &str| {
        Event::OverrideAdded(serde_json::from_value(serde_json::json!({
            "id": id, "selector": {"user": {"one_of": [user]}}, "amounts": {"cpu": amounts}, "jobs": jobs,
            "until": NOON + 2 * HOUR, "by": "root", "why": "a deadline",
        })).expect("an override"))
    };
    w.submit(&want("ana").cpu("1"));
    assert_eq!(
        say(&w.submit(&want("ana").cpu("1")).1),
        "queued concurrent-limit"
    );
    w.apply(add(1, 1000, 1, "li"));
    assert!(w.run_queue().is_empty(), "that is li's");
    w.apply(add(2, 1000, 1, "ana"));
    assert_eq!(w.run_queue().len(), 1);
    w.pass(2 * HOUR);
    assert_eq!(
        say(&w.submit(&want("ana").cpu("1")).1),
        "queued concurrent-limit",
        "it is over"
    );
    w.apply(Event::OverrideRemoved {
        id: 2,
        by: "root".into(),
    });
    assert_eq!(w.state.overrides().count(), 1);
}

#[test]
fn a_mode_that_an_operator_sets_goes_before_the_policy() {
    let mut w = World::new(&q("limits: {cpu: 0}"));
    let set = |mode: serde_json::Value| {
        serde_json::from_value::<Event>(
            serde_json::json!({"mode_set": {"mode": mode, "by": "root", "why": ""}}),
        )
        .expect("an event")
    };
    w.apply(set("audit".into()));
    assert_eq!(say(&w.submit(&want("ana").cpu("1")).1), "admitted");
    w.apply(set(serde_json::Value::Null));
    assert_eq!(
        say(&w.submit(&want("ana").cpu("1")).1),
        "refused 422 concurrent-limit"
    );
}

#[test]
fn ids_are_given_once_and_a_key_makes_a_repeat_harmless() {
    let mut w = World::new("mode: enforce\n");
    let first = want("ana").cpu("1").id("train").key("k");
    assert_eq!(say(&w.submit(&first).1), "admitted");
    assert_eq!(say(&w.submit(&first).1), "same");
    assert_eq!(say(&w.submit(&want("ana").cpu("1").id("train")).1), "taken");
    assert_eq!(
        say(&w.submit(&want("li").cpu("1").id("train").key("k")).1),
        "taken",
        "another's"
    );
}

#[test]
fn pacing_makes_a_job_wait_its_turn() {
    let mut w = World::new("mode: enforce\n");
    let next = curb_core::time::Timestamp(NOON + 2000);
    w.gates.insert("main".into(), Gate::Paced { next });
    let (id, said) = w.submit(&want("ana").cpu("1"));
    assert_eq!(say(&said), "queued start-rate");
    w.gates.clear();
    assert_eq!(w.run_queue(), [id]);
}
