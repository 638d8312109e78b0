//! A table of wrong files. `▼` marks where each message must point; it is taken out before the file is read. What is
//! said stands in the snapshots.

use curb_core::policy::{Policy, Severity};

use crate::marks::marked;
use crate::{rendered, said_of};

/// Checks the places, and gives all messages for a snapshot.
fn transcript(severity: Severity, cases: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut misplaced = Vec::new();
    for (title, text) in cases {
        let (clean, marks) = marked(text);
        let all = said_of(&clean);
        let places: Vec<(u32, u32)> = all.iter().map(|d| (d.line, d.column)).collect();
        if places != marks {
            misplaced.push(format!(
                "{title}: wanted {marks:?}, got {places:?}\n{}",
                rendered(&all)
            ));
        }
        assert!(
            all.iter().all(|d| d.severity == severity),
            "{title}:\n{}",
            rendered(&all)
        );
        let refused = Policy::parse("policy.yaml", &clean).is_err();
        assert_eq!(refused, severity == Severity::Error, "{title}");
        out.push_str(&format!("## {title}\n\n{}\n\n", rendered(&all)));
    }
    assert!(misplaced.is_empty(), "{}", misplaced.join("\n"));
    out
}

#[test]
fn text_that_is_not_yaml_as_a_policy_wants_it_is_refused() {
    let cases = [
        ("an empty file", "▼"),
        ("comments only", "▼# nothing here yet\n"),
        ("a list in place of fields", "▼- version: 1\n"),
        ("plain text", "▼please let everybody in\n"),
        (
            "a tab in the indentation",
            "version: 1\nqueue:\n▼\thalf_life: 7d\n",
        ),
        (
            "a tab further down",
            "version: 1\nqueue:\n  half_life: 7d\n▼\tpass_bound: 1h\n",
        ),
        (
            "a field indented less than its siblings",
            "version: 1\nquotas:\n  - name: a\n    limits: {cpu: 1}\n   ▼per_job: {cpu: 2}\n",
        ),
        (
            "a field indented more than its siblings",
            "version: 1\nquotas:\n  - name: a\n    limits: {cpu: 1}\n     ▼per_job: {cpu: 2}\n",
        ),
        (
            "a field below a value",
            "version: 1\nmode: observe\n  ▼refusal: job\n",
        ),
        (
            "an item indented unlike the others",
            "version: 1\nquotas:\n  - {name: a, limits: {cpu: 1}}\n ▼- {name: b, limits: {cpu: 1}}\n",
        ),
        (
            "a bracket that is never closed",
            "version: 1\nteams:\n  vision: {org: research, members: [ana, li]\n▼mode: observe\n",
        ),
        (
            "the wrong bracket",
            "version: 1\nteams: {vision: {members: ▼[ana}}}\n",
        ),
        (
            "a quote that is never closed",
            "version: 1\nmode: ▼\"observe\n",
        ),
        (
            "a star without quotes",
            "version: 1\nquotas:\n  - name: a\n    for: {user: ▼*}\n",
        ),
        ("an alias", "version: 1\nteams: {a: {members: ▼*people}}\n"),
        (
            "an anchor and its alias",
            "version: 1\nteams:\n  a: ▼&one {members: [ana]}\n  b: ▼*one\n",
        ),
        (
            "a merge key",
            "version: 1\nteams:\n  a: {▼<<: {org: x}, members: [ana]}\n",
        ),
        ("a tag", "version: ▼!!int 1\n"),
        ("a directive", "▼%YAML 1.2\n---\nversion: 1\n"),
        ("two documents", "version: 1\n▼---\nversion: 1\n"),
        (
            "a key twice",
            "version: 1\nqueue: {half_life: 7d, ▼half_life: 1d}\n▼version: 1\n",
        ),
        ("a list as a key", "version: 1\n? ▼[a, b]\n: 1\n"),
        (
            "no value behind a name",
            "version: 1\n▼teams\nmode: observe\n",
        ),
        ("two colons", "version: 1\nmode: refusal▼: job\n"),
        (
            "a character that YAML keeps for itself",
            "version: 1\nmode: ▼@observe\n",
        ),
        (
            "nested too deep",
            "version: 1\nteams: [[[[[[[[[[[[[[[[[[[[[[[[▼[[\n",
        ),
    ];
    insta::assert_snapshot!(transcript(Severity::Error, &cases));
}

#[test]
fn fields_that_do_not_exist_or_are_missing_are_refused() {
    let cases = [
        ("no version", "▼mode: observe\n"),
        ("another version", "version: ▼2\n"),
        ("a version in quotes", "version: ▼\"1\"\n"),
        ("a slip in a field of the file", "version: 1\n▼qoutas: []\n"),
        (
            "a slip in a field of a quota",
            "version: 1\nquotas:\n  - name: a\n    ▼limit: {cpu: 1}\n",
        ),
        (
            "a field that belongs one level down",
            "version: 1\nquotas:\n  - name: a\n    ▼gpu: 2\n    ▼duration: 1h\n",
        ),
        (
            "a field that belongs one level up",
            "version: 1\nqueue:\n  half_life: 7d\n  ▼timezone: UTC\n",
        ),
        (
            "several in one file, all told",
            "version: 1\n▼timezon: UTC\nteams:\n  vision: {▼member: [ana], weight: ▼0}\nquotas:\n  - name: a\n    limits: {gpu: ▼lots, memory: ▼16Gb}\n  - ▼limits: {▼cpus: 1}\n",
        ),
        (
            "nothing where a value must be",
            "version: 1\n▼teams:\nquotas:\n  - name: a\n    limits: {▼cpu: ~}\n    ▼for:\n",
        ),
        (
            "a list where a map must be",
            "version: 1\nquotas:\n  - name: a\n    limits: ▼[cpu, 4]\n",
        ),
        (
            "a map where a list must be",
            "version: 1\nquotas: ▼{name: a}\n",
        ),
        (
            "a quota that is a text",
            "version: 1\nquotas: [▼each-user]\n",
        ),
        (
            "reclaim and budget without their field",
            "version: 1\nquotas:\n  - name: a\n    limits: {cpu: 1}\n    reclaim: ▼{}\n    budget: [▼{gpu_hours: 5}, ▼{per: day}]\n",
        ),
    ];
    insta::assert_snapshot!(transcript(Severity::Error, &cases));
}

#[test]
fn values_that_cannot_be_are_refused() {
    let quota = |body: &str| format!("version: 1\nquotas:\n  - name: a\n    {body}\n");
    let cases = [
        (
            "a mark of one node",
            quota("limits: {▼\"node:10.0.0.7\": 1}"),
        ),
        ("words of a choice", "version: 1\nmode: ▼audit\nrefusal: ▼jobs\nwhen_ray_is_down: ▼wait\nvisibility: {jobs: ▼mine, holders: ▼team}\n".to_owned()),
        ("amounts", quota("limits: {cpu: ▼-1, gpu: ▼0.0001, \"gpu:H100\": ▼two, memory: ▼99999999TiB, licence: ▼1e3}")),
        ("whole numbers", quota("limits: {jobs: ▼2.5, queued: ▼\"10\"}")),
        ("resources that are meant for others", quota("limits: {▼cpus: 1, ▼duration: 1}\n    per_job: {▼jobs: 1, ▼CPU: 4, ▼\"gpu:\": 1}")),
        ("spans of time", "version: 1\nqueue: {half_life: ▼30s, pass_bound: ▼3600}\ndefault_request: {duration: ▼1 day}\n".to_owned()),
        ("rates", "version: 1\nquotas:\n  - {name: a, submit_rate: ▼30}\n  - {name: b, submit_rate: ▼0/min}\n  - {name: c, submit_rate: ▼30/y}\n  - {name: d, submit_rate: ▼5/90d}\n".to_owned()),
        ("ladders", quota("ladder:\n      - {when: ▼used, do: stop}\n      - ▼{when: held}\n      - {when: held, after: 1m, do: stop}\n      - ▼{when: held, after: 2m, do: warn}\n      - {when: duration, after: 1m, do: warn}\n      - ▼{when: duration, after: 1s, do: stop}\n      - {when: duration, after: ▼soon, do: stop}")),
        ("budgets", quota("budget:\n      - {gpu_hours: ▼many, per: month}\n      - {▼memory_hours: 5, per: ▼year}\n      - {▼gpus: 5, per: rolling 30d}\n      - {cpu_hours: ▼-5, per: ▼rolling 5m}\n      - {gpu_hours: 1, per: day}\n      - {▼gpu_hours: 2, per: day}\n      - {gpu_hours: 1, per: week, without_duration: ▼safe}")),
        ("windows", "version: 1\nquotas:\n  - {name: a, limits: {cpu: 1}, when: {days: [▼monday], hours: ▼9-17, tz: ▼Europe/Berln}}\n  - {name: b, limits: {cpu: 1}, when: {days: ▼[], hours: ▼\"08:00-08:00\"}}\n  - {name: c, limits: {cpu: 1}, when: ▼{tz: UTC}}\n".to_owned()),
        ("zones", "version: 1\ntimezone: ▼Berlin\n".to_owned()),
        ("moments", "version: 1\nquotas:\n  - {name: a, limits: {cpu: 1}, valid: {from: ▼tomorrow, until: ▼2027-06-30T18:00:00}}\n  - {name: b, limits: {cpu: 1}, valid: {from: 2027-06-30, until: ▼2027-06-30}}\n".to_owned()),
        ("alerts", quota("limits: {cpu: 1}\n    alert_at: [90%, ▼80%, ▼101%, ▼0.5]")),
        ("names", "version: 1\nteams:\n  ▼my team: {members: [▼-x, ▼1001, ▼true]}\nquotas:\n  - name: ▼a/b\n".to_owned()),
        ("weights and priorities", "version: 1\norgs: {a: {weight: ▼1.5}}\nusers: {ana: {weight: ▼-1}}\njob_types: {t: {priority: ▼high}, u: {priority: 5, max_priority: ▼3}}\n".to_owned()),
        ("whom it is for", "version: 1\nquotas:\n  - {name: a, limits: {cpu: 1}, for: ▼all}\n  - {name: b, limits: {cpu: 1}, for: ▼{}}\n  - {name: c, limits: {cpu: 1}, for: {user: ▼[]}}\n  - {name: d, limits: {cpu: 1}, for: {user: [ana, ▼\"*\"], ▼group: x}}\n  - {name: e, limits: {cpu: 1}, for: {label: ▼{}}}\n".to_owned()),
        ("capacity", "version: 1\ncapacity: ▼all\n".to_owned()),
        ("capacity both ways", "version: 1\ncapacity: {by_cluster: {main: {cpu: 4}}, ▼cpu: 4}\n".to_owned()),
        ("capacity of nothing", "version: 1\ncapacity: {by_cluster: {main: ▼{cpu: 0}}}\n".to_owned()),
        ("fewer GPUs than of one model", "version: 1\ncapacity: {gpu: ▼2, \"gpu:H100\": 4}\n".to_owned()),
    ];
    let cases: Vec<(&str, &str)> = cases
        .iter()
        .map(|(title, text)| (*title, text.as_str()))
        .collect();
    insta::assert_snapshot!(transcript(Severity::Error, &cases));
}

#[test]
fn what_contradicts_itself_is_refused() {
    let cases = [
        (
            "names that the file does not know",
            "version: 1\nteams: {vision: {org: research, members: [ana]}}\njob_types: {training: {allowed: {org: ▼reserch}}}\ndefault_job_type: ▼trainning\nusers: {ana: {default_team: ▼visoin}}\nclusters: {main: {allowed: [{team: ▼nobody}]}}\nquotas:\n  - {name: a, limits: {cpu: 1}, for: {team: [vision, ▼vison], job_type: ▼batch}}\n",
        ),
        (
            "a job type where there are none",
            "version: 1\ndefault_job_type: ▼training\n",
        ),
        (
            "two quotas of one name",
            "version: 1\nquotas:\n  - {name: a, limits: {cpu: 1}}\n  - {name: b, limits: {cpu: 1}}\n  - {name: ▼a, limits: {gpu: 1}}\n",
        ),
        (
            "org units in a circle",
            "version: 1\norgs:\n  a: {parent: ▼b}\n  b: {parent: c}\n  c: {parent: a}\n  d: {parent: a}\n",
        ),
        (
            "an org unit above itself",
            "version: 1\norgs: {a: {parent: ▼a}}\n",
        ),
        (
            "borrowing without a limit",
            "version: 1\nquotas:\n  - {name: a, limits: {cpu: 1}, borrow: {gpu: ▼1}}\n",
        ),
        (
            "borrowing without a limit beside another mistake",
            "version: 1\nquotas:\n  - {name: a, limits: {cpu: 1}, borrow: {gpu: ▼1}, above: ▼wait}\n",
        ),
        (
            "amounts, rates and percents as people write them",
            "version: 1\nquotas:\n  - {name: a, limits: {cpu: ▼4 cores, gpu: ▼2 GPUs}, submit_rate: ▼10 per minute, alert_at: [▼0.8]}\n  - {name: b, limits: {cpu: ▼1e3, ▼nvidia.com/gpu: 2}, submit_rate: ▼5/minute, alert_at: [▼80]}\n",
        ),
        (
            "a guarantee above the limit",
            "version: 1\nquotas:\n  - {name: a, limits: {memory: 16GiB}, guarantee: {memory: ▼32GiB}}\n",
        ),
        (
            "guarantees above the capacity",
            "version: 1\ncapacity: {cpu: 8}\nquotas:\n  - {name: a, for: {user: ana}, guarantee: {cpu: 5}}\n  - {name: b, for: {user: kim}, guarantee: {cpu: ▼4}}\n",
        ),
        (
            "a guarantee for each team above the capacity",
            "version: 1\ncapacity: {gpu: 3}\nteams: {a: {members: [x]}, b: {members: [y]}}\nquotas:\n  - {name: a, for: {team: \"*\"}, guarantee: {gpu: ▼2}}\n",
        ),
    ];
    insta::assert_snapshot!(transcript(Severity::Error, &cases));
}

#[test]
fn what_is_doubtful_is_accepted_with_a_warning() {
    let cases = [
        (
            "a quota that limits nothing",
            "version: 1\nquotas:\n  - ▼{name: a}\n",
        ),
        (
            "steps for what cannot come about",
            "version: 1\nquotas:\n  - {name: a, limits: {queued: 1}, ▼ladder: [{when: limit, do: stop}]}\n  - {name: b, limits: {jobs: 1}, ▼ladder: [{when: budget, do: stop}]}\n",
        ),
        (
            "a job may ask for more than fits",
            "version: 1\nquotas:\n  - {name: a, limits: {jobs: 9, cpu: 2}, borrow: {cpu: 1}, per_job: {▼cpu: 4}}\n",
        ),
        (
            "a default above what one job may ask for",
            "version: 1\njob_types: {training: {default_request: {▼cpu: 4, ▼duration: 2d}}}\ndefault_request: {▼cpu: 3}\nquotas:\n  - {name: a, for: {user: \"*\"}, per_job: {cpu: 2, duration: 1d}}\n",
        ),
        (
            "memory without a unit",
            "version: 1\nquotas:\n  - {name: a, limits: {jobs: 9, ▼memory: 16}}\n",
        ),
        (
            "a custom resource named like another",
            "version: 1\nquotas:\n  - {name: a, limits: {▼memroy: 16}}\n",
        ),
        (
            "a default team of others",
            "version: 1\nteams: {vision: {members: [li]}}\nusers: {ana: {▼default_team: vision}}\n",
        ),
        (
            "an org unit that is probably a slip",
            "version: 1\norgs: {research: {weight: 2}}\nteams: {vision: {▼org: reserch, members: [ana]}}\n",
        ),
        (
            "a GPU's model without its prefix",
            "version: 1\nquotas:\n  - {name: a, limits: {▼H100: 2, ▼a100-80GB: 1}}\n",
        ),
        (
            "limits that a job without amounts passes",
            "version: 1\nquotas:\n  - {name: a, limits: {gpu: 2}}\n  - {name: b, ▼limits: {cpu: 2}}\n  - {name: c, budget: {memory_gib_hours: 5, per: day}}\n  - {name: d, limits: {cpu: 2, jobs: 5}}\n",
        ),
        (
            "a limit of a job type without a default",
            "version: 1\njob_types: {training: {default_request: {gpu: 1}}, inference: {default_request: {cpu: 1}}}\nquotas:\n  - {name: a, for: {job_type: inference}, limits: {cpu: 2}}\n  - {name: b, for: {job_type: training}, ▼per_job: {cpu: 2}}\n",
        ),
        (
            "a guarantee for whoever comes",
            "version: 1\nteams: {vision: {members: [ana]}}\nquotas:\n  - {name: a, for: {user: \"*\", team: vision}, ▼guarantee: {gpu: 2}}\n  - {name: b, for: {label: {grade: \"*\"}}, ▼guarantee: {gpu: 1}}\n  - {name: c, for: {team: \"*\"}, guarantee: {gpu: 1}}\n  - {name: d, for: {user: [ana, li]}, guarantee: {gpu: 1}}\n  - {name: e, for: {user: \"*\"}, guarantee: {gpu: 1}, mode: audit}\n",
        ),
        (
            "a member twice",
            "version: 1\nteams: {vision: {members: [ana, ▼ana]}}\n",
        ),
    ];
    insta::assert_snapshot!(transcript(Severity::Warning, &cases));
}

#[test]
fn a_default_request_is_what_limits_of_cpus_need() {
    for text in [
        "version: 1\ndefault_request: {cpu: 1}\nquotas: [{name: a, limits: {cpu: 2, memory: 4GiB}}]\n",
        "version: 1\ndefault_job_type: t\njob_types: {t: {default_request: {cpu: 1}}}\nquotas: [{name: a, limits: {cpu: 2}}]\n",
        "version: 1\nquotas: [{name: a, limits: {cpu: 2, jobs: 4}}]\n",
        "version: 1\nquotas: [{name: a, limits: {gpu: 2, licence: 4}}]\n",
    ] {
        assert_eq!(rendered(&said_of(text)), "", "{text}");
    }
}

#[test]
fn a_custom_resource_of_an_accelerator_is_no_slip() {
    for name in [
        "tpu",
        "npu",
        "hpu",
        "TPU",
        "licence",
        "job_slots",
        "accelerator_type:A100",
    ] {
        let text = format!("version: 1\nquotas: [{{name: a, limits: {{\"{name}\": 2}}}}]\n");
        assert_eq!(rendered(&said_of(&text)), "", "{name}");
    }
}

#[test]
fn at_most_a_hundred_errors_are_told_and_the_rest_counted() {
    let mut text = String::from("version: 1\nteams:\n");
    for i in 0..500 {
        text.push_str(&format!("  t{i}: {{weight: 0}}\n"));
    }
    let all = said_of(&text);
    assert_eq!(all.len(), 101);
    assert_eq!(all[100].message, "400 more are not shown");
}

#[test]
fn bounds_of_size_are_told() {
    let long = format!("version: 1\n# {}\n", "x".repeat(1 << 20));
    assert_eq!(
        said_of(&long)[0].message,
        "the file is larger than 1048576 bytes"
    );
    let many = format!("version: 1\nquotas: [{}]\n", "{name: a},".repeat(1001));
    assert_eq!(
        said_of(&many)[0].message,
        "1001 quotas: at most 1000 fit in a policy"
    );
    let members = format!(
        "version: 1\nteams: {{a: {{members: [{}]}}}}\n",
        "x,".repeat(10_001)
    );
    assert_eq!(said_of(&members)[0].message, "more than 10000 items");
    let nodes = format!("version: 1\nteams: [{}]\n", "1,".repeat(200_001));
    assert_eq!(
        said_of(&nodes)[0].message,
        "the file has more than 200000 values"
    );
    let reason = format!(
        "version: 1\nquotas: [{{name: a, reason: {}}}]\n",
        "x".repeat(501)
    );
    assert_eq!(
        said_of(&reason)[0].message,
        "a reason of 501 characters: at most 500"
    );
    let units: String = (0..34)
        .map(|i| format!("  u{i}: {{parent: u{}}}\n", i + 1))
        .collect();
    let deep = said_of(&format!("version: 1\norgs:\n{units}"));
    assert!(
        deep[0]
            .message
            .ends_with("32 or more levels of units above it"),
        "{}",
        rendered(&deep)
    );
}
