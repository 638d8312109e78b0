//! `curb drill` on this machine's kernel, with the real binary as its stand-in.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LIMITS: &str = r#"version: 1
workloads:
  - name: chat
    command: [this-must-not-be-run]
    on_warn: [this-must-not-be-run]
    limits:
      memory: {value: 64MiB, why: "a test"}
      processes: {value: 24, why: "a test"}
      open_files: {value: 64, why: "a test"}
      duration: {value: 1h, why: "a test"}
    ladder:
      - {when: memory > 80%, after: 500ms, do: warn}
      - {when: memory > 80%, after: 1s, do: checkpoint, signal: USR1, within: 100ms}
    retry: {times: 1, first: 1s, most: 2s, within: 10m}
"#;

struct Drilled {
    code: Option<i32>,
    out: String,
    err: String,
}

fn drill(text: &str, args: &[&str]) -> Drilled {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("limits.yaml"), text).expect("written");
    let out = Command::new(env!("CARGO_BIN_EXE_curb"))
        .arg("drill")
        .args(args)
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .output()
        .expect("curb starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Drilled {
        code: out.status.code(),
        out: text(out.stdout),
        err: text(out.stderr),
    }
}

/// Without the breaks of lines that are too long for a terminal.
fn in_a_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn each_limit_does_what_the_file_says_and_the_real_commands_are_left_alone() {
    let told = drill(LIMITS, &["chat"]);
    assert_eq!(told.code, Some(0), "{}{}", told.out, told.err);
    for line in [
        "memory near its limit of 64 MiB",
        "memory beyond its limit of 64 MiB",
        "pass  on_warn is run",
        "pass  the kernel ends it at its limit, and that is told",
        "pass  it is started again once (once)",
        "pass  it is given up then",
        "pass  it gets 24 at most (it got 24, and no more)",
        "pass  it is stopped for that (it ended: duration)",
    ] {
        assert!(told.out.contains(line), "{line}:\n{}{}", told.out, told.err);
    }
    assert!(
        !told.out.contains("FAIL") && !told.out.contains("must-not-be-run"),
        "{}",
        told.out
    );
}

#[test]
fn steps_before_a_limit_on_time_or_processes_are_rehearsed_and_what_ends_nothing_is_read_back() {
    let text = r#"version: 1
workloads:
  - name: chat
    command: [this-must-not-be-run]
    limits:
      memory: {value: 256MiB, why: "a test"}
      cpu_weight: {value: 50, why: "a test"}
      cpu_set: {value: "0", why: "a test"}
      processes: {value: 24, why: "a test"}
      duration: {value: 1h, why: "a test"}
    ladder:
      - {when: duration > 20%, do: warn}
      - {when: duration > 99.9%, after: 1h, do: warn}
      - {when: processes > 50%, do: warn}
"#;
    let told = drill(text, &["chat"]);
    assert_eq!(told.code, Some(0), "{}{}", told.out, told.err);
    let out = in_a_line(&told.out);
    for line in [
        "running longer than 1h",
        "pass  step 1: {when: duration > 20%, do: warn}",
        "pass  it is stopped for that (it ended: duration)",
        "pass  step 1: {when: processes > 50%, do: warn}",
        "pass  cpu_weight is 50 as the kernel has it (it is)",
        "pass  cpu_set is 0 as the kernel has it (it is)",
        "not rehearsed: step 2, {when: duration > 99.9%, after: 1h, do: warn}: the limit comes",
    ] {
        assert!(
            out.contains(&in_a_line(line)),
            "{line}:\n{}{}",
            told.out,
            told.err
        );
    }
    assert!(told.err.contains("0 failed"), "{}", told.err);
}

#[test]
fn the_command_of_the_workload_itself_is_driven_and_ended_only_where_that_is_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    // It takes memory when it is told to, by a file; asked to end it says so.
    let program = r#"
import os, signal, sys, time
dir = sys.argv[1]
signal.signal(signal.SIGTERM, lambda *_: (open(dir + "/ended", "w").close(), sys.exit(0)))
open(dir + "/began", "w").close()
while not os.path.exists(dir + "/go"): time.sleep(0.01)
held = b"a" * (80 << 20)
while True: time.sleep(0.01)
"#;
    let own = dir.path().display().to_string();
    let text = r#"version: 1
workloads:
  - name: chat
    on_warn: [this-must-not-be-run]
    limits:
      memory: {value: 96MiB, why: "a test"}
      processes: {value: 64, why: "a test"}
    ladder:
      - {when: memory > 70%, do: warn}
      - {when: processes > 90%, do: warn}
"#;
    let load = format!("until [ -e {own}/began ]; do sleep 0.05; done; touch {own}/go");
    let args = [
        "chat",
        "--with-command",
        "--for",
        "10s",
        "--load",
        &load,
        "--",
    ];
    let told = drill(
        text,
        &[&args[..], &["python3", "-c", program, &own]].concat(),
    );
    let out = in_a_line(&told.out);
    assert_eq!(told.code, Some(0), "{out}{}", told.err);
    let from = out.find("its own command").expect("it was run");
    for line in [
        "pass  step 1: {when: memory > 70%, do: warn}",
        "not reached  step 2: {when: processes > 90%, do: warn} (its processes did not come near",
        "pass  on_warn is run",
        "not reached  it is killed",
        "pass  it ends within its grace when it is asked to (it ended: asked)",
    ] {
        let line = in_a_line(line).replace("it is killed", "the kernel ends it at its limit");
        assert!(out[from..].contains(&line), "{line}:\n{out}{}", told.err);
    }
    assert!(dir.path().join("ended").exists());
    // Without the word there is nothing to run it with.
    let told = drill(text, &["chat", "--", "python3"]);
    assert_eq!(told.code, Some(2), "{}", told.err);
    let told = drill(text, &["chat", "--with-command"]);
    assert_eq!(told.code, Some(2), "{}", told.err);
    assert!(
        told.err.contains("has no command in its file"),
        "{}",
        told.err
    );
}

#[test]
fn what_the_host_cannot_spare_is_refused_with_numbers_before_anything_runs() {
    let meminfo = std::fs::read_to_string("/proc/meminfo").expect("read");
    let total = meminfo
        .lines()
        .find_map(|l| l.strip_prefix("MemTotal:"))
        .expect("there");
    let kib: u64 = total
        .trim()
        .trim_end_matches(" kB")
        .trim()
        .parse()
        .expect("a number");
    let text = LIMITS.replace("64MiB", &format!("{}MiB", kib >> 10));
    let told = drill(&text, &["chat"]);
    assert_eq!(
        (told.code, told.out.as_str()),
        (Some(7), ""),
        "{}",
        told.err
    );
    assert!(
        told.err.contains("cannot spare that") && told.err.contains("Nothing was run"),
        "{}",
        told.err
    );
    assert!(told.err.contains("--memory 64MiB"), "{}", told.err);
    let told = drill(LIMITS, &["nobody"]);
    assert_eq!(told.code, Some(2), "{}", told.err);
    assert!(!Path::new("/sys/fs/cgroup/memory/curb-chat").exists());
}

#[test]
fn a_drill_that_is_interrupted_ends_what_it_runs_and_leaves_no_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits = dir.path().join("limits.yaml");
    std::fs::write(&limits, LIMITS).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_curb"));
    command.args(["drill", "chat", "--limits"]).arg(&limits);
    command
        .env("TMPDIR", dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let child = command.spawn().expect("it starts");
    let stage = || {
        let entries = std::fs::read_dir(dir.path()).expect("read").flatten();
        let names: Vec<_> = entries
            .map(|e| e.file_name().into_string().expect("text"))
            .collect();
        names.into_iter().find(|n| n.starts_with("curb-drill-"))
    };
    // A run has begun when it has written its first event.
    let begun = || stage().is_some_and(|s| dir.path().join(s).join("events").exists());
    let until = Instant::now() + Duration::from_secs(30);
    while !begun() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(begun(), "no run has begun");
    let pid =
        rustix::process::Pid::from_raw(i32::try_from(child.id()).expect("small")).expect("one");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("our own child");
    let out = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(130), "{said}");
    assert!(said.contains("interrupted"), "{said}");
    assert_eq!(stage(), None);
}
