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
