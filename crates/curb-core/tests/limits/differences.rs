//! What is told of two files of limits.

use curb_core::host::limits::{Change, Way, diff};

use crate::accepted::EXAMPLES;
use crate::{accepted, limits, one};

fn between(old: &str, new: &str) -> Vec<Change> {
    diff(&accepted(old), &accepted(new))
}

fn way(old: &str, new: &str) -> (String, Way) {
    let all = between(&limits(old), &limits(new));
    assert_eq!(all.len(), 1, "{all:#?}");
    (all[0].field.clone(), all[0].way)
}

#[test]
fn the_same_file_is_not_different() {
    for (_, text) in EXAMPLES {
        assert_eq!(between(text, text), []);
    }
}

#[test]
fn each_value_is_told_loosened_or_tightened() {
    for (key, less, more) in [
        ("memory", "1GiB", "2GiB"),
        ("cpu", "0.5", "1"),
        ("cpu_weight", "1", "100"),
        ("cpu_set", "\"0-1\"", "\"0-3\""),
        ("processes", "2", "3"),
        ("open_files", "10", "11"),
        ("io_read", "1MiB/s", "2MiB/s"),
        ("duration", "1h", "61m"),
        ("gpu_visible", "[1]", "[0, 1]"),
        ("gpu_threads", "10%", "50%"),
        ("swap", "0B", "1B"),
    ] {
        let of = |value: &str| format!("{key}: {{value: {value}, why: w}}");
        assert_eq!(
            way(&of(less), &of(more)),
            (format!("limits.{key}"), Way::Loosened)
        );
        assert_eq!(
            way(&of(more), &of(less)),
            (format!("limits.{key}"), Way::Tightened)
        );
    }
}

#[test]
fn other_cpus_are_neither_more_nor_less() {
    let (_, way) = way(
        "cpu_set: {value: \"0-1\", why: w}",
        "cpu_set: {value: \"1-2\", why: w}",
    );
    assert_eq!(way, Way::Changed);
}

#[test]
fn a_limit_that_comes_or_goes_is_told_with_its_reason() {
    let all = between(
        &limits("cpu: {value: 1, why: w}"),
        &limits("memory: {value: 1GiB, why: measured}"),
    );
    let told: Vec<_> = all
        .iter()
        .map(|c| (c.field.as_str(), c.way, c.why.as_deref()))
        .collect();
    assert_eq!(
        told,
        [
            ("limits.memory", Way::Added, Some("measured")),
            ("limits.cpu", Way::Removed, None)
        ]
    );
}

#[test]
fn a_new_value_with_the_old_reason_is_marked() {
    let of = |value: &str, why: &str| limits(&format!("memory: {{value: {value}, why: {why}}}"));
    let all = between(&of("1GiB", "measured"), &of("2GiB", "measured"));
    assert!(all[0].same_why);
    let all = between(&of("1GiB", "measured"), &of("2GiB", "measured again"));
    assert!(!all[0].same_why && all[0].why.as_deref() == Some("measured again"));
}

#[test]
fn a_new_reason_for_an_old_value_is_told() {
    assert_eq!(
        way("cpu: {value: 1, why: a}", "cpu: {value: 1, why: b}"),
        ("limits.cpu.why".into(), Way::Changed)
    );
}

#[test]
fn values_that_look_alike_are_told_exactly() {
    let of = |value: &str| limits(&format!("memory: {{value: {value}, why: w}}"));
    let all = between(&of("1073741824"), &of("1073741825"));
    assert_ne!(all[0].old, all[0].new);
}

#[test]
fn who_accepted_it_since_is_told() {
    let all = between(
        &limits("cpu: {value: 1, why: w}"),
        &limits("cpu: {value: 1, why: w, accepted: {by: ana, on: 2026-11-20}}"),
    );
    assert_eq!(
        (all[0].field.as_str(), all[0].new.as_deref()),
        ("limits.cpu.accepted", Some("ana on 2026-11-20"))
    );
}

#[test]
fn a_ladder_is_compared_step_by_step() {
    let (warn, stop) = (
        "{when: memory > 90%, do: warn}",
        "{when: memory > 98%, do: stop}",
    );
    let between_them = "{when: memory > 95%, do: throttle, cpu: 0.5}";
    let two = crate::ladder(&format!("{warn}, {stop}"));
    let three = crate::ladder(&format!("{warn}, {between_them}, {stop}"));
    let all = between(&two, &three);
    assert_eq!(all.len(), 1, "{all:#?}");
    assert_eq!(
        (all[0].way, all[0].new.as_deref()),
        (Way::Added, Some(between_them))
    );
    let all = between(&three, &two);
    assert_eq!(
        (all.len(), all[0].way, all[0].old.as_deref()),
        (1, Way::Removed, Some(between_them))
    );
}

#[test]
fn who_accepted_a_new_value_is_told_with_it_and_not_again() {
    let of = |value: &str, more: &str| limits(&format!("cpu: {{value: {value}, why: w{more}}}"));
    let all = between(
        &of("1", ""),
        &of("2", ", accepted: {by: ana, on: 2026-11-20}"),
    );
    assert_eq!(all.len(), 1, "{all:#?}");
    assert_eq!(all[0].accepted.as_ref().map(|a| a.by.as_str()), Some("ana"));
}

#[test]
fn workloads_and_all_their_other_fields_are_compared() {
    let full = EXAMPLES[1].1;
    let all = between(&one("limits: {processes: {value: 2, why: w}}"), full);
    let fields: Vec<&str> = all.iter().map(|c| c.field.as_str()).collect();
    for field in [
        "host.keep_free.memory",
        "host.wired",
        "match",
        "command",
        "baseline",
        "ladder",
        "end_thrashing",
        "on_warn",
        "retry",
        "fallback.command",
        "fallback.limits.memory",
        "front",
        "workload",
    ] {
        assert!(fields.contains(&field), "{field} in {fields:?}");
    }
    let gone = between(full, &one("limits: {processes: {value: 2, why: w}}"));
    assert!(gone.iter().any(|c| c.field == "workload"
        && c.way == Way::Removed
        && c.workload.as_deref() == Some("sandbox")));
}
