//! Limits on memory that a pause raises: one exceedance over several raises, lowered again, and what a retry begins with.

use std::fs;
use std::process::Command;

use crate::common::{Curb, end, groups_of, signal, start, wait_until};
use crate::ladder::Workload;

const HOST: &str = "host: {keep_free: {memory: 64MiB}}\n";
const MIB: u64 = 1 << 20;

/// A program of Python as the workload `chat`.
fn chat(workload: &Workload, program: &str) -> Curb {
    let mut command = Command::new(env!("CARGO_BIN_EXE_curb"));
    command
        .args(["run", "--workload", "chat", "--grace", "5s", "--limits"])
        .arg(workload.path("limits.yaml"))
        .arg("--events")
        .arg(workload.path("events"))
        .args(["--", "python3", "-c", program])
        .stdin(std::process::Stdio::null());
    start(command)
}

/// The limit on memory of its group, as the kernel has it.
fn limit(curb: &Curb) -> u64 {
    let read = |name: &str| {
        let mut groups = groups_of(curb.id()).into_iter();
        groups.find_map(|g| fs::read_to_string(g.join(name)).ok())
    };
    let text = read("memory.limit_in_bytes").or_else(|| read("memory.max"));
    let text = text.unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

fn count(workload: &Workload, action: &str) -> usize {
    let all = workload.all("acted");
    let done = all
        .iter()
        .filter(|e| e["action"] == action && e["outcome"] == "done");
    done.count()
}

#[test]
fn a_rise_over_several_raises_is_one_exceedance_and_warned_of_once() {
    // Above half of its limit from the first raise to its end: never calm, however slow the machine is.
    let ladder = "ladder:\n  - {when: memory > 50%, do: warn}\n  - {when: memory = 100%, do: pause, raise: 50%, most: 288MiB}\n";
    let limits = "limits: {memory: {value: 128MiB, why: \"the test's\"}}\non_warn: [sh, -c, \"echo told >> DIR/told\"]\n";
    let workload = Workload::new(HOST, &format!("{limits}{ladder}"));
    let ran = end(chat(
        &workload,
        "held = [bytearray(b'a') * (1 << 20) for _ in range(220)]",
    ));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(count(&workload, "pause"), 2, "{}", ran.err);
    assert_eq!(workload.all("exceeded").len(), 1, "{}", ran.err);
    assert_eq!(count(&workload, "warn"), 1, "{}", ran.err);
    let told = fs::read_to_string(workload.path("told")).unwrap_or_default();
    assert_eq!(told, "told\n");
    let cleared = workload.all("cleared");
    assert_eq!(cleared.len(), 1);
    assert_eq!(cleared[0]["limit"], 288 * MIB, "the limit in force");
    let done = cleared[0]["done"].to_string();
    assert_eq!(done, r#"["warn","pause","pause"]"#);
}

#[test]
fn a_raised_limit_is_lowered_again_when_its_use_has_fallen_and_raised_again_when_it_grows() {
    let ladder = "ladder:\n  - {when: memory = 100%, do: pause, raise: 100%, most: 256MiB}\n";
    let limits = "limits: {memory: {value: 64MiB, why: \"the test's\"}}\n";
    let workload = Workload::new(HOST, &format!("{limits}{ladder}"));
    let again = workload.path("again");
    let program = format!(
        "
import os, time
held = bytearray(b'a') * (100 << 20)
del held
while not os.path.exists({again:?}): time.sleep(0.05)
held = bytearray(b'a') * (100 << 20)
time.sleep(600)
"
    );
    let child = chat(&workload, &program);
    wait_until("it is given more", || limit(&child) == 128 * MIB);
    wait_until("its use has fallen, and its limit after it", || {
        limit(&child) == 64 * MIB
    });
    fs::write(&again, "").expect("written");
    wait_until("it is given more again", || limit(&child) == 128 * MIB);
    wait_until("that is told", || count(&workload, "pause") == 2);
    signal(&child, "TERM");
    let ran = end(child);
    assert_eq!(ran.code, Some(143), "{}", ran.err);
    let told = "curb chat: its limit on memory is lowered from 128 MiB to 64 MiB again: it uses";
    assert!(ran.err.contains(told), "{}", ran.err);
    assert!(
        !ran.err.contains("while it ran"),
        "nobody else changed it: {}",
        ran.err
    );
}

#[test]
fn a_retry_begins_with_the_limits_of_the_start_and_gets_no_more_than_a_pause_would_give() {
    let ladder = "ladder:\n  - {when: memory = 100%, do: pause, raise: 100%, most: 128MiB}\n";
    let limits = "limits: {memory: {value: 64MiB, why: \"the test's\"}}\n";
    let retry = "retry: {times: 2, first: 100ms, most: 100ms, memory: +50%, within: 10m}\n";
    let workload = Workload::new(HOST, &format!("{limits}{ladder}{retry}"));
    let ran = end(chat(
        &workload,
        "held = [bytearray(b'a') * (1 << 20) for _ in range(300)]",
    ));
    assert_eq!(ran.code, Some(137), "{}", ran.err);
    let started: Vec<u64> = workload
        .all("started")
        .iter()
        .map(|e| e["memory"].as_u64().expect("bytes") / MIB)
        .collect();
    assert_eq!(started, [64, 96, 128], "{}", ran.err);
    for raise in ["from 64 MiB to 128 MiB", "from 96 MiB to 128 MiB"] {
        let told = format!("its limit on memory raised {raise}");
        assert_eq!(ran.err.matches(&told).count(), 1, "{}", ran.err);
    }
}
