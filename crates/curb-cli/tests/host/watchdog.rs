//! Where no control group holds a command: looking often, and ending it.

use std::process::Command;

use crate::common::{lives, python, run};

fn watched<'a>(limits: &[&'a str], program: &'a str) -> Vec<&'a str> {
    let mut args = vec!["--watchdog"];
    args.extend(limits);
    args.extend(python(program));
    args
}

/// Grows by so many MiB a second (0: as fast as it can) and tells after each what it has in memory, in bytes.
const GROW: &str = "
import mmap, sys, time
rate, step, held = RATE, STEP << 20, []
begun, done = time.monotonic(), 0
while done < 2 << 30:
    m = mmap.mmap(-1, step)
    for at in range(0, step, 4096): m[at] = 1
    held.append(m); done += step
    sys.stdout.write(open('/proc/self/statm').read().split()[1] + '\\n'); sys.stdout.flush()
    early = done / (rate << 20) - (time.monotonic() - begun) if rate else 0
    if early > 0: time.sleep(early)
";

/// How far above 256 MiB it got, in MiB, by its own last word.
fn overshoot(rate: u64, step: u64) -> u64 {
    let program = GROW
        .replace("RATE", &rate.to_string())
        .replace("STEP", &step.to_string());
    let ran = run(&watched(&["--memory", "256MiB"], &program));
    assert_eq!(ran.code, Some(137), "{}", ran.err);
    assert!(
        ran.err
            .contains("it was ended by the watchdog: all its processes together may hold 256 MiB"),
        "{}",
        ran.err
    );
    let pages: u64 = ran
        .out
        .lines()
        .last()
        .expect("a line")
        .parse()
        .expect("a number");
    ((pages * 4096) >> 20).saturating_sub(256)
}

#[test]
fn memory_is_held_late_but_held_and_that_is_said_at_the_start() {
    let ran = run(&watched(
        &["--memory", "64MiB"],
        "x = b'a' * (300 << 20)\nimport time; time.sleep(60)",
    ));
    assert_eq!(ran.code, Some(137));
    assert!(
        ran.err
            .starts_with("curb: no control group holds it: a watchdog looks"),
        "{}",
        ran.err
    );
}

#[test]
fn steady_growth_is_found_soon_after_the_limit() {
    // `make bench-host` measures it on a quiet machine (aims: 16 MiB and 64 MiB); here others run beside it.
    let steady = overshoot(128, 1);
    assert!(steady <= 48, "{steady} MiB above at 128 MiB/s");
    let fast = overshoot(1536, 8);
    assert!(fast <= 192, "{fast} MiB above at 1.5 GiB/s");
}

#[test]
fn who_steps_out_of_its_session_and_its_family_is_followed() {
    let escape = "
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(0.3)
        x = bytearray(b'a') * (200 << 20)
        time.sleep(60)
    os._exit(0)
os.wait()
time.sleep(60)
";
    let ran = run(&watched(&["--memory", "96MiB"], escape));
    assert_eq!(ran.code, Some(137), "{}", ran.err);
    let pid: u32 = ran.out.trim().parse().expect("a number");
    assert!(!lives(pid), "{pid} lives on");
}

#[test]
fn what_several_processes_share_is_counted_once() {
    let share = "
import os, time
x = bytearray(b'a') * (40 << 20)
for _ in range(5):
    if os.fork() == 0: time.sleep(1.5); os._exit(0)
for _ in range(5): os.wait()
";
    let ran = run(&watched(&["--memory", "128MiB"], share));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}

#[test]
fn more_processes_than_it_may_have_end_all_of_them() {
    let many = "
import os, sys, time
for _ in range(40):
    if os.fork() == 0: time.sleep(60); os._exit(0)
time.sleep(60)
";
    let ran = run(&watched(&["--processes", "16"], many));
    assert_eq!(ran.code, Some(137), "{}", ran.err);
    assert!(
        ran.err
            .contains("it may have 16 processes and threads at once, and had more"),
        "{}",
        ran.err
    );
}

#[test]
fn what_it_cannot_hold_is_said_by_name() {
    let ran = run(&[
        "--watchdog",
        "--cpu",
        "0.5",
        "--memory",
        "64MiB",
        "--",
        "true",
    ]);
    assert_eq!(ran.code, Some(0));
    assert!(
        ran.err.contains("not held: cpu: there is no control group"),
        "{}",
        ran.err
    );
}

#[test]
fn cpu_time_of_the_whole_tree_ends_it_with_and_without_a_group() {
    let busy = "
import os, time
end = time.monotonic() + 20
for _ in range(2): os.fork()
while time.monotonic() < end: pass
";
    for more in [&[][..], &["--watchdog"]] {
        let mut args = vec!["--cpu-time", "700ms", "--grace", "200ms"];
        args.extend(more);
        args.extend(python(busy));
        let ran = run(&args);
        assert_eq!(ran.code, Some(143), "{}", ran.err);
        assert!(
            ran.err
                .contains("it may use 700ms of CPU time, all its processes together"),
            "{}",
            ran.err
        );
    }
}

#[test]
fn an_ordinary_user_without_a_group_of_its_own_gets_the_watchdog() {
    // Nobody may write a group here: no permission, and no force.
    let curb = env!("CARGO_BIN_EXE_curb");
    let command = Command::new("setpriv")
        .args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            curb,
            "run",
            "--memory",
            "64MiB",
            "--processes",
            "8",
            "--",
        ])
        .args(["python3", "-c", "x = b'a' * (300 << 20)"])
        .output()
        .expect("setpriv(1)");
    let err = String::from_utf8_lossy(&command.stderr);
    assert_eq!(command.status.code(), Some(137), "{err}");
    assert!(err.contains("a watchdog looks at its processes"), "{err}");
    assert!(
        err.contains("not held: memory by the kernel: /sys/fs/cgroup"),
        "the file that may not be written: {err}"
    );
    assert!(
        err.contains("systemd-run --user --scope -p Delegate=yes curb run"),
        "{err}"
    );
}
