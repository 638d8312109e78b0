//! What goes wrong around a command that is supervised.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::common::{
    PATIENCE, curb, end, groups_of, lines, lives, python, run, signal, start, wait_until,
};

#[test]
fn events_are_lines_of_json_in_their_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("events");
    let path = file.to_str().expect("text");
    let mut args = vec!["--events", path, "--memory", "64MiB"];
    args.extend(python("x = b'a' * (1 << 29)"));
    let ran = run(&args);
    assert_eq!(ran.code, Some(137));
    let text = fs::read_to_string(&file).expect("events");
    let events: Vec<serde_json::Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    let kinds: Vec<&str> = events
        .iter()
        .map(|e| e["event"].as_str().expect("a kind"))
        .collect();
    assert_eq!(
        kinds,
        [
            "changed", "started", "exceeded", "cleared", "died", "changed"
        ]
    );
    let cleared = &events[3];
    assert_eq!(cleared["resource"], "memory");
    assert_eq!(
        (&cleared["limit"], &cleared["peak"]),
        (&(64 << 20).into(), &(64 << 20).into())
    );
    assert_eq!(cleared["outcome"]["ended"], "memory");
    assert_eq!(events[4]["exit_code"], 137);
    assert_eq!(events[5]["state"], "ended");
}

#[test]
fn a_full_disk_loses_events_and_not_the_command() {
    let ran = run(&[
        "--events",
        "/dev/full",
        "--",
        "sh",
        "-c",
        "echo out; exit 3",
    ]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(3), "out\n"));
    assert!(
        ran.err
            .contains("/dev/full: events are lost: No space left on device"),
        "{}",
        ran.err
    );
    assert_eq!(ran.err.matches("events are lost").count(), 1, "said once");
    let ran = run(&["--events", "/no/such/dir/events", "--", "echo", "ran"]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (Some(2), ""),
        "before anything runs"
    );
}

#[test]
fn when_curb_is_killed_its_command_ends_and_the_next_run_removes_what_is_left() {
    // Its own child ends with it; a grandchild that stepped aside stays in the group, within its limits.
    let escape = "
import os, time
pid = os.fork()
if pid == 0:
    os.setsid()
    time.sleep(600)
print(os.getpid(), pid, flush=True)
time.sleep(600)
";
    let mut args = vec!["--memory", "64MiB"];
    args.extend(python(escape));
    let mut child = curb(&args);
    let line = lines(&mut child).next().expect("a line").expect("read");
    let pids: Vec<u32> = line
        .split(' ')
        .map(|p| p.parse().expect("a number"))
        .collect();
    child.kill().expect("killed");
    child.wait().expect("it ended");
    wait_until("the command ends with it", || !lives(pids[0]));
    // What it left goes on within its limits; or another test's run was the next one, and has ended it.
    let held = !groups_of(child.id()).is_empty();
    assert!(held || !lives(pids[1]), "it lives, and nothing holds it");
    let ran = run(&["--", "true"]);
    let swept = || groups_of(child.id()).is_empty() && !lives(pids[1]);
    // Another test's run may have been the next one.
    wait_until("it is ended and removed", swept);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}

#[test]
fn a_group_that_is_removed_under_us_is_told_and_the_watchdog_takes_over() {
    let grows = "
import time
print('up', flush=True)
time.sleep(1.5)
x = bytearray(b'a') * (200 << 20)
time.sleep(60)
";
    let mut args = vec!["--memory", "64MiB"];
    args.extend(python(grows));
    let mut child = curb(&args);
    lines(&mut child).next().expect("a line").expect("read");
    let groups: Vec<PathBuf> = groups_of(child.id());
    assert!(!groups.is_empty());
    for group in groups {
        let above = group.parent().expect("a group above").join("cgroup.procs");
        for pid in fs::read_to_string(group.join("cgroup.procs"))
            .expect("read")
            .lines()
        {
            fs::write(&above, pid).expect("moved");
        }
        wait_until("it is removed", || fs::remove_dir(&group).is_ok());
    }
    let ran = end(child);
    assert_eq!(ran.code, Some(137), "{}", ran.err);
    assert!(
        ran.err
            .contains("its control group was removed by somebody else"),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("it was ended by the watchdog"),
        "{}",
        ran.err
    );
}

#[test]
fn a_fork_bomb_stays_small_and_ends_with_its_time() {
    let bomb = "
import os
while True:
    try: os.fork()
    except OSError: pass
";
    let begun = Instant::now();
    let mut args = vec!["--processes", "32", "--duration", "1s", "--grace", "100ms"];
    args.extend(python(bomb));
    let ran = run(&args);
    assert_eq!(ran.code, Some(143), "{}", ran.err);
    assert!(
        ran.err.contains("it was stopped: it may run 1s"),
        "{}",
        ran.err
    );
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn who_answers_late_but_in_time_ends_by_itself() {
    let late = "
import signal, sys, time
def end(*_): time.sleep(2); print('saved', flush=True); sys.exit(5)
signal.signal(signal.SIGTERM, end)
time.sleep(60)
";
    let mut args = vec!["--duration", "1s", "--grace", "20s"];
    args.extend(python(late));
    let ran = run(&args);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (Some(5), "saved\n"),
        "{}",
        ran.err
    );
}

#[test]
fn thousands_of_children_that_are_left_to_curb_leave_no_zombie_and_no_descriptor() {
    // Each is orphaned, hence adopted by curb, and ends at once.
    let orphans = "
import os, sys
for n in range(3000):
    pid = os.fork()
    if pid == 0:
        if os.fork() == 0: os._exit(0)
        os._exit(0)
    os.waitpid(pid, 0)
    if n in (100, 2999): print(n, flush=True); sys.stdin.readline()
";
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_curb"));
    command
        .args(["run", "--memory", "256MiB"])
        .args(python(orphans));
    command.stdin(std::process::Stdio::piped());
    let mut child = start(command);
    let curb = child.id();
    let mut said = lines(&mut child);
    let mut go_on = child.stdin.take().expect("a pipe");
    let mut descriptors = Vec::new();
    for _ in 0..2 {
        said.next().expect("a line").expect("read");
        wait_until("no zombie is left", || zombies_of(curb) == 0);
        descriptors.push(
            fs::read_dir(format!("/proc/{curb}/fd"))
                .expect("it lives")
                .count(),
        );
        std::io::Write::write_all(&mut go_on, b"\n").expect("it reads");
    }
    assert_eq!(
        descriptors[0], descriptors[1],
        "descriptors after 100 and after 3000"
    );
    let ran = end(child);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}

fn zombies_of(parent: u32) -> usize {
    let is_one = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let mut words = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        words.next() == Some("Z") && words.next() == Some(&parent.to_string())
    };
    let names = fs::read_dir("/proc").expect("proc").flatten();
    names
        .filter_map(|e| e.file_name().to_string_lossy().parse().ok())
        .filter(|p| is_one(*p))
        .count()
}

#[test]
fn asked_twice_it_still_has_its_grace_and_the_code_is_the_command_s() {
    let stubborn = "
import signal, sys, time
count = []
def asked(*_):
    count.append(1)
    if len(count) == 2: sys.exit(9)
signal.signal(signal.SIGTERM, asked)
print('up', flush=True)
while True: time.sleep(0.05)
";
    let mut child = curb(&python(stubborn));
    lines(&mut child).next().expect("a line").expect("read");
    signal(&child, "TERM");
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, "TERM");
    let ran = end(child);
    assert_eq!(ran.code, Some(9), "{}", ran.err);
}
