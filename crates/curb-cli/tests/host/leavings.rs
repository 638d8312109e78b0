//! What a killed `curb` leaves, and who removes it; and processes that `curb` itself is one of.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{Curb, curb, end, groups_of, lines, lives, run, signal, start, wait_until};

/// A command of `curb` whose temporary files are in a directory of the test's own.
fn command(temporary: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_curb"));
    command
        .args(args)
        .env("TMPDIR", temporary)
        .stdin(Stdio::null());
    command
}

/// Starts it, and waits until it has made a directory of that kind.
fn with_files(temporary: &Path, kind: &str, command: Command) -> Curb {
    let child = start(command);
    wait_until("it has made its directory", || {
        let name = format!("curb-{kind}-{}-", child.id());
        names(temporary).iter().any(|n| n.starts_with(&name))
    });
    child
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("there").flatten();
    entries
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn what_a_killed_profile_leaves_is_removed_by_the_next_run() {
    let dir = tempfile::tempdir().expect("a directory");
    // Of groups another test's run may be the next one: `supervise` has them.
    let profile = command(dir.path(), &["profile", "--no-group", "--", "sleep", "600"]);
    let mut profile = with_files(dir.path(), "hook", profile);
    profile.kill().expect("killed");
    profile.wait().expect("it ended");
    assert_eq!(names(dir.path()).len(), 1, "left behind");
    // As long as its owner lives, nobody touches it.
    let living = command(dir.path(), &["profile", "--", "sleep", "600"]);
    let living = with_files(dir.path(), "hook", living);
    let next = start(command(dir.path(), &["run", "--", "true"]));
    assert_eq!(end(next).code, Some(0));
    let left = names(dir.path());
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].starts_with(&format!("curb-hook-{}-", living.id())));
    // Its group bears its number and start as those of `curb run` do, so that it is found in the same way.
    let group = groups_of(living.id()).pop().expect("it made one");
    let name = group
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let ours = format!("curb-profile.1-{}-", living.id());
    assert!(
        name.starts_with(&ours) && name.split('-').count() == 6,
        "{name}"
    );
    signal(&living, "TERM");
    assert_eq!(end(living).code, Some(130));
    assert_eq!(names(dir.path()), [""; 0], "by SIGTERM at once");
}

#[test]
fn a_drill_that_is_asked_to_end_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = "version: 1\nworkloads:\n  - {name: long, command: [x], limits: {duration: {value: 1h, why: w}}}\n";
    let file = dir.path().join("limits.yaml");
    fs::write(&file, text).expect("written");
    let temporary = tempfile::tempdir().expect("a directory");
    let mut drill = command(temporary.path(), &["drill", "long", "--limits"]);
    drill.arg(&file);
    let drill = with_files(temporary.path(), "drill", drill);
    signal(&drill, "TERM");
    let ran = end(drill);
    assert_eq!(ran.code, Some(130), "{}", ran.err);
    assert_eq!(names(temporary.path()), [""; 0]);
}

#[test]
fn a_run_that_holds_its_own_parent_leaves_itself_out_and_says_so() {
    // The shell is taken in and stopped; curb, which it started, tells of it, and removes the group.
    let script = format!(
        "{} run --pid $$ --memory 64MiB --duration 1s --grace 1s & echo $!; wait; sleep 600",
        env!("CARGO_BIN_EXE_curb")
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdin(Stdio::null());
    let mut shell = start(command);
    let line = lines(&mut shell).next().expect("a line").expect("read");
    let pid: u32 = line.parse().expect("a number");
    let shell_pid = shell.id();
    let ran = end(shell);
    wait_until("curb has ended", || !lives(pid));
    assert_eq!(groups_of(pid).len(), 0);
    let told =
        format!("curb itself, process {pid}, descends from process {shell_pid}: it is left out");
    assert!(ran.err.contains(&told), "{}", ran.err);
    assert!(
        ran.err.contains("it was stopped: it may run 1s"),
        "{}",
        ran.err
    );
}

#[test]
fn a_thread_of_the_kernel_is_refused_in_words() {
    let ran = run(&["--pid", "2", "--memory", "64MiB"]);
    assert_eq!(ran.code, Some(125));
    assert!(
        ran.err.contains("process 2: it is a thread of the kernel"),
        "{}",
        ran.err
    );
}

#[test]
fn more_open_files_than_can_be_given_are_refused_before_anything_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let marker = dir.path().join("ran");
    let touch = marker.to_str().expect("text");
    let ran = run(&["--open-files", "9999999999", "--", "touch", touch]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(
        ran.err
            .contains("open files of 9999999999 are more than curb may give here")
            && (ran.err.contains("the kernel gives nobody more than")
                || ran.err.contains("its own hard limit is")),
        "{}",
        ran.err
    );
    // Without the right to pass a hard limit it is that one.
    let script = format!(
        "ulimit -n 512; exec setpriv --bounding-set=-sys_resource {} run --open-files $0 -- touch {touch}",
        env!("CARGO_BIN_EXE_curb")
    );
    let limited = |files: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &script, files]).stdin(Stdio::null());
        end(start(command))
    };
    let ran = limited("513");
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(
        ran.err.contains("its own hard limit is 512; give less"),
        "{}",
        ran.err
    );
    assert!(!marker.exists(), "nothing ran");
    assert_eq!(limited("512").code, Some(0));
    assert!(marker.exists());
}

#[test]
fn who_ends_with_the_code_of_a_kill_by_itself_is_told_so() {
    let ran = run(&["--memory", "64MiB", "--", "sh", "-c", "exit 137"]);
    assert_eq!(ran.code, Some(137));
    assert!(
        ran.err.contains("it ended with 137 by itself: no signal ended it, and the kernel killed none of its processes"),
        "{}",
        ran.err
    );
    assert_eq!(run(&["--", "sh", "-c", "exit 136"]).err, "");
}

#[test]
fn a_worker_that_the_kernel_killed_is_told_while_the_command_lives_and_at_its_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let (events, go_on) = (dir.path().join("events"), dir.path().join("go on"));
    let program = format!(
        "
import os, time
if os.fork() == 0:
    held = [bytearray(b'a') * (1 << 20) for _ in range(300)]
    os._exit(0)
os.wait()
while not os.path.exists({go_on:?}): time.sleep(0.02)
"
    );
    let child = curb(&[
        "--memory",
        "64MiB",
        "--events",
        events.to_str().expect("text"),
        "--",
        "python3",
        "-c",
        &program,
    ]);
    let all = || -> Vec<serde_json::Value> {
        let text = fs::read_to_string(&events).unwrap_or_default();
        text.lines()
            .filter_map(|l| serde_json::from_str(l).ok())
            .collect()
    };
    wait_until("it is told", || {
        all().iter().any(|e| e["event"] == "oom_killed")
    });
    fs::write(&go_on, "").expect("written");
    let ran = end(child);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let told = "the kernel killed 1 of its processes for memory: together they may hold 64 MiB, and needed more; the command goes on";
    assert_eq!(ran.err.matches(told).count(), 1, "{}", ran.err);
    let at_the_end = "the kernel killed 1 of its processes for memory while it ran: together they may hold 64 MiB";
    assert!(ran.err.contains(at_the_end), "{}", ran.err);
    let died = all()
        .into_iter()
        .find(|e| e["event"] == "died")
        .expect("it did");
    assert_eq!(
        (&died["cause"], &died["oom_kills"]),
        (&"done".into(), &1.into())
    );
}

#[test]
fn to_stop_what_is_not_attached_makes_no_sense() {
    let ran = run(&["--stop", "--", "true"]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.err
            .contains("--stop says what becomes of a process of --pid"),
        "{}",
        ran.err
    );
}
