//! `curb run --pid`: a process that runs already is held, and given back.

use std::process::{Child, Command, Stdio};

use crate::common::{curb, end, lines, lives, signal, wait_until};

/// A process that has nothing to do with curb; ended when it is dropped.
struct Other(Child);

impl Other {
    fn python(text: &str) -> Other {
        let child = Command::new("python3")
            .args(["-c", text])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        Other(child.expect("python3"))
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    fn groups(&self) -> String {
        groups(self.0.id())
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _it_may_have_ended = self.0.kill();
        let _it_has_ended = self.0.wait();
    }
}

fn groups(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it lives")
}

#[test]
fn a_family_is_taken_in_and_given_back_and_who_stands_beside_it_is_not_touched() {
    // The child ends with its parent: it has our streams.
    let family = "
import ctypes, os, signal, time
pid = os.fork()
if pid == 0: ctypes.CDLL(None).prctl(1, signal.SIGKILL); time.sleep(60); os._exit(0)
print(pid, flush=True)
time.sleep(60)
";
    let mut parent = Other::python(family);
    let beside = Other::python("import time; time.sleep(60)");
    let before = parent.groups();
    let child: u32 = lines(&mut parent.0)
        .next()
        .expect("a line")
        .expect("read")
        .parse()
        .expect("a number");
    let holder = curb(&[
        "--memory",
        "256MiB",
        "--processes",
        "16",
        "--pid",
        &parent.pid(),
    ]);
    wait_until("both are in a group of ours", || {
        parent.groups().contains("/curbed-run-") && groups(child).contains("/curbed-run-")
    });
    assert_eq!(beside.groups(), before);
    signal(&holder, "TERM");
    let ran = end(holder);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        ran.err.contains("it goes on as it was before"),
        "{}",
        ran.err
    );
    assert_eq!(parent.groups(), before);
    assert_eq!(groups(child), before);
    assert!(lives(child) && lives(parent.0.id()) && lives(beside.0.id()));
}

#[test]
fn memory_that_it_had_before_counts_as_well() {
    let grows = "
import sys, time
x = bytearray(b'a') * (100 << 20)
print('up', flush=True)
time.sleep(1)
y = bytearray(b'a') * (60 << 20)
time.sleep(60)
";
    let mut other = Other::python(grows);
    lines(&mut other.0).next().expect("a line").expect("read");
    let ran = end(curb(&["--memory", "140MiB", "--pid", &other.pid()]));
    assert!(
        ran.err.contains("it was ended by the watchdog"),
        "{}",
        ran.err
    );
    assert!(!lives(other.0.id()));
}

#[test]
fn with_stop_it_ends_with_curb() {
    let other = Other::python("import time; time.sleep(60)");
    let holder = curb(&[
        "--processes",
        "16",
        "--stop",
        "--grace",
        "2s",
        "--pid",
        &other.pid(),
    ]);
    wait_until("it is in a group of ours", || {
        other.groups().contains("/curbed-run-")
    });
    signal(&holder, "TERM");
    let ran = end(holder);
    assert!(!lives(other.0.id()), "{}", ran.err);
    assert!(
        ran.err.contains("it was stopped: curb was asked to end") && !ran.err.contains("goes on"),
        "{}",
        ran.err
    );
}

#[test]
fn who_is_held_already_is_left_to_the_one_that_holds_it() {
    let mut first = curb(&[
        "--memory",
        "64MiB",
        "--",
        "python3",
        "-c",
        "import os, time; print(os.getpid(), flush=True); time.sleep(60)",
    ]);
    let held: u32 = lines(&mut first)
        .next()
        .expect("a line")
        .expect("read")
        .parse()
        .expect("a number");
    let before = groups(held);
    let ran = end(curb(&["--memory", "256MiB", "--pid", &held.to_string()]));
    let says = format!("is held by another curb already: process {},", first.id());
    assert_eq!(ran.code, Some(125), "{}", ran.err);
    assert!(ran.err.contains(&says), "{}", ran.err);
    assert_eq!(groups(held), before);
    signal(&first, "TERM");
    end(first);
    // The same where the first took it in, too.
    let other = Other::python("import time; time.sleep(60)");
    let first = curb(&["--processes", "16", "--pid", &other.pid()]);
    wait_until("it is in a group of ours", || {
        other.groups().contains("/curbed-run-")
    });
    let ran = end(curb(&["--processes", "32", "--pid", &other.pid()]));
    let says = format!("is held by another curb already: process {},", first.id());
    assert_eq!(ran.code, Some(125), "{}", ran.err);
    assert!(ran.err.contains(&says), "{}", ran.err);
    signal(&first, "TERM");
    end(first);
}

#[test]
fn its_own_end_is_seen_and_its_code_is_not_made_up() {
    let other = Other::python("import time; time.sleep(0.5); raise SystemExit(7)");
    let ran = end(curb(&["--memory", "64MiB", "--pid", &other.pid()]));
    assert_eq!(ran.code, Some(0));
    assert!(
        ran.err
            .contains("with which code is not known, since curb did not start it"),
        "{}",
        ran.err
    );
}

#[test]
fn who_is_not_there_and_who_is_not_to_be_held_is_refused() {
    let gone = {
        let other = Other::python("pass");
        other.pid()
    };
    let ran = end(curb(&["--memory", "64MiB", "--pid", &gone]));
    assert_eq!(ran.code, Some(125));
    assert!(
        ran.err.contains(&format!("error: process {gone}: ")),
        "{}",
        ran.err
    );
    let ran = end(curb(&["--memory", "64MiB", "--pid", "1"]));
    assert_eq!(ran.code, Some(125));
    assert!(
        ran.err.contains("it is not for curb to hold"),
        "{}",
        ran.err
    );
}
