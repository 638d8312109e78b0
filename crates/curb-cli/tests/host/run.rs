//! `curb run` against this machine's kernel: each limit binds, each death is told apart, nothing is left.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::{curb, end, run};

#[test]
fn the_command_s_own_end_passes_through_and_nothing_is_said_of_it() {
    for (command, code) in [
        (&["--", "true"][..], 0),
        (&["--", "sh", "-c", "exit 3"], 3),
        (&["--memory", "256MiB", "--", "sh", "-c", "exit 136"], 136),
    ] {
        let ran = run(command);
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (Some(code), ""),
            "{command:?}"
        );
    }
    let ran = run(&["--", "sh", "-c", "echo out; echo err >&2; kill -15 $$"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(143), "out\n"));
    assert!(
        ran.err.starts_with("err\ncurb: it was ended by signal 15"),
        "{}",
        ran.err
    );
}

#[test]
fn a_program_that_is_not_there_is_127_and_one_that_cannot_be_run_126() {
    let ran = run(&["--", "curb-no-such-program"]);
    assert_eq!(ran.code, Some(127));
    assert_eq!(ran.err, "error: curb-no-such-program: no such program\n");
    let ran = run(&["--", "/etc/passwd"]);
    assert_eq!(ran.code, Some(126));
    assert!(
        ran.err.starts_with("error: /etc/passwd: cannot be run"),
        "{}",
        ran.err
    );
}

#[test]
fn limits_that_make_no_sense_are_refused_before_anything_runs() {
    for (args, said) in [
        (&["--memory", "16", "--", "echo", "ran"][..], "16"),
        (
            &["--memory", "64KiB", "--", "echo", "ran"],
            "too small: at least 1 MiB",
        ),
        (
            &["--memory", "900TiB", "--", "echo", "ran"],
            "more than this machine has",
        ),
        (
            &["--cpu", "5000", "--", "echo", "ran"],
            "more than this machine has",
        ),
        (
            &["--processes", "0", "--", "echo", "ran"],
            "processes of 0 is too small",
        ),
        (&["--duration", "0s", "--", "echo", "ran"], "0s"),
        (&["--memory", "64MiB"], "CMD"),
    ] {
        let ran = run(args);
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (Some(2), ""),
            "{args:?}: {}",
            ran.err
        );
        assert!(ran.err.contains(said), "{args:?}: {}", ran.err);
    }
}

#[test]
fn memory_beyond_the_limit_is_the_kernels_kill_and_is_told_with_its_numbers() {
    let ran = run(&[
        "--memory",
        "64MiB",
        "--",
        "python3",
        "-c",
        "x = b'a' * (1 << 29)",
    ]);
    assert_eq!(ran.code, Some(137));
    assert!(
        ran.err.contains("curb: the kernel killed it: all its processes together may hold 64 MiB, and needed more (peak 64 MiB)\n  next: "),
        "{}",
        ran.err
    );
}

#[test]
fn the_limit_that_killed_it_is_told_where_one_is_within_another() {
    let curb = env!("CARGO_BIN_EXE_curb");
    let grows = "x = b'a' * (1 << 29)";
    let within = |outer: &str, inner: &str| {
        run(&[
            "--memory", outer, "--", curb, "run", "--memory", inner, "--", "python3", "-c", grows,
        ])
    };
    let ran = within("64MiB", "128MiB");
    assert!(
        ran.err.contains("and not for its own limit of 128 MiB: a group above had no more; the tightest may hold 64 MiB"),
        "{}",
        ran.err
    );
    // What is to be done is not to raise the inner limit. (On version 2 the outer one counts the kill too, and says its own.)
    let mut lines = ran.err.lines();
    lines.find(|l| l.contains("and not for its own limit"));
    let next = lines.next().unwrap_or_default();
    assert!(
        next.contains("next: give more to what it runs in"),
        "{}",
        ran.err
    );
    let ran = within("128MiB", "64MiB");
    assert!(
        ran.err
            .contains("all its processes together may hold 64 MiB, and needed more"),
        "{}",
        ran.err
    );
}

#[test]
fn a_worker_that_is_killed_for_memory_is_told_when_the_command_ends_after_it() {
    let ran = run(&[
        "--memory",
        "64MiB",
        "--",
        "sh",
        "-c",
        "python3 -c \"x = b'a' * (1 << 29)\" || exit 9",
    ]);
    assert_eq!(ran.code, Some(9));
    assert!(
        ran.err.contains("the kernel killed 1 of its processes"),
        "{}",
        ran.err
    );
}

#[test]
fn cpu_beyond_the_limit_waits() {
    // The median of many short spans: where the machine stands still for a moment, one of them says so and the next make up for it.
    let busy = "import time\n\
        def span():\n    wall, cpu = time.monotonic(), time.process_time()\n\
        \x20   while time.monotonic() < wall + 0.3: pass\n\
        \x20   return (time.process_time() - cpu) / (time.monotonic() - wall)\n\
        print(sorted(span() for _ in range(9))[4])";
    let ran = run(&["--cpu", "0.2", "--", "python3", "-c", busy]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let share: f64 = ran.out.trim().parse().expect("a share of a CPU");
    assert!(share < 0.35, "a fifth of a CPU, about: {share}");
}

#[test]
fn processes_beyond_the_limit_are_refused_and_counted() {
    let many = "import os, sys, time\nfor i in range(20):\n    try: pid = os.fork()\n    except OSError: sys.exit(4)\n    if pid == 0: time.sleep(60); os._exit(0)\n";
    let ran = run(&["--processes", "8", "--", "python3", "-c", many]);
    assert_eq!(ran.code, Some(4), "{}", ran.err);
    assert!(
        ran.err
            .contains("once it was refused a process or thread: it may have 8 at once"),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("7 of its processes were still there"),
        "{}",
        ran.err
    );
}

#[test]
fn open_files_are_limited_for_each_process_and_cannot_be_raised() {
    let ran = run(&[
        "--open-files",
        "64",
        "--",
        "sh",
        "-c",
        "ulimit -n; ulimit -Hn",
    ]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (Some(0), "64\n64\n"),
        "{}",
        ran.err
    );
}

#[test]
fn who_ignores_being_asked_to_end_is_killed_after_its_grace() {
    // Long enough for the program to have said that it ignores it.
    let begun = Instant::now();
    let ran = run(&[
        "--duration",
        "3s",
        "--grace",
        "300ms",
        "--",
        "python3",
        "-c",
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(60)",
    ]);
    assert_eq!(ran.code, Some(137));
    assert!(
        ran.err.contains("curb: it was stopped: it may run 3s"),
        "{}",
        ran.err
    );
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn what_steps_out_of_its_session_is_still_inside_and_ends_with_the_command() {
    let escape = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        print(os.getpid(), flush=True)\n        time.sleep(600)\n    os._exit(0)\nos.wait()\ntime.sleep(0.3)\n";
    let ran = run(&["--", "python3", "-c", escape]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let pid = ran.out.trim();
    assert!(pid.parse::<u32>().is_ok(), "{pid}");
    assert!(!Path::new("/proc").join(pid).exists(), "{pid} lives on");
    assert!(
        ran.err.contains("1 of its processes were still there"),
        "{}",
        ran.err
    );
}

#[test]
fn sigterm_reaches_the_command_and_its_answer_passes_through() {
    let child = curb(&[
        "--",
        "python3",
        "-c",
        "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\nprint('up', flush=True)\nwhile True: time.sleep(60)",
    ]);
    let pid = child.id();
    let mut child = child;
    let mut out = child.stdout.take().expect("a pipe");
    let mut up = [0; 3];
    std::io::Read::read_exact(&mut out, &mut up).expect("it is up");
    // Our own child, not yet waited for.
    let sent = Command::new("kill").arg(pid.to_string()).status();
    assert!(sent.expect("kill(1)").success());
    let ran = end(child);
    assert_eq!(ran.code, Some(7));
    assert!(ran.err.contains("curb was asked to end"), "{}", ran.err);
}

#[test]
fn hundreds_of_short_commands_leave_no_group() {
    for _ in 0..100 {
        let ran = run(&["--memory", "64MiB", "--processes", "4", "--", "true"]);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    }
}
