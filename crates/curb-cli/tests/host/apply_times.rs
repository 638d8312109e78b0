//! `curb limits apply` and what curb itself holds: limits on time of a command that runs.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::common::{Curb, Ran, curb_with_file, end, lives, start, wait_until};

fn file(limits: &str) -> String {
    format!("version: 1\nworkloads:\n  - {{name: timed, limits: {{{limits}}}}}\n")
}

/// Holds 40 MiB, and waits.
const HOLDS: &str = "
import time
held = bytearray(b'a') * (40 << 20)
print('up', flush=True)
time.sleep(600)
";

/// A workload of its own name that waits, with these limits.
fn timed(name: &str, limits: &str) -> Curb {
    let text = file(limits).replace("timed", name);
    let mut child = curb_with_file(
        &["run", "--workload", name, "--limits", "-", "--grace", "5s"],
        &["--", "python3", "-c", HOLDS],
        &text,
    );
    let up = crate::common::lines(&mut child).next();
    assert_eq!(up.and_then(Result::ok).as_deref(), Some("up"));
    child
}

fn apply(name: &str, limits: &str) -> Ran {
    let text = file(limits).replace("timed", name);
    end(curb_with_file(&["limits", "apply", "-"], &[], &text))
}

fn own_name(test: &str) -> String {
    format!("{test}-{}", std::process::id())
}

#[test]
fn a_duration_of_what_runs_is_made_longer_and_shorter_and_it_ends_by_the_new_one() {
    let begun = Instant::now();
    let name = own_name("longer");
    let child = timed(
        &name,
        "duration: {value: 1h, why: w}, open_files: {value: 99, why: w}",
    );
    let ran = apply(
        &name,
        "duration: {value: 2h, why: w}, open_files: {value: 99, why: w}",
    );
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains(": duration: 1h -> 2h\n"), "{}", ran.out);
    assert_eq!(ran.err, "", "open_files is what it was started with");
    let again = apply(
        &name,
        "duration: {value: 2h, why: w}, open_files: {value: 98, why: w}",
    );
    assert_eq!(again.out, "", "{}", again.err);
    let told = format!("{name}: from its next start on: open_files\n");
    assert!(again.err.ends_with(&told), "{}", again.err);
    // Longer than it has run, however slow this machine is.
    let soon = begun.elapsed().as_secs() + 8;
    let ran = apply(
        &name,
        &format!("duration: {{value: {soon}s, why: w}}, open_files: {{value: 99, why: w}}"),
    );
    assert!(
        ran.out.contains(": duration: 2h -> "),
        "{} {}",
        ran.out,
        ran.err
    );
    let ran = end(child);
    assert_eq!(ran.code, Some(143), "{}", ran.err);
    let told = format!("it was stopped: it may run {soon}s");
    assert!(ran.err.contains(&told), "{}", ran.err);
    assert!(
        ran.err
            .contains("its duration was changed from 1h to 2h while it ran"),
        "{}",
        ran.err
    );
}

#[test]
fn a_limit_on_time_that_is_over_already_is_refused_and_all_the_others_stay() {
    let name = own_name("over");
    let mut child = timed(
        &name,
        "memory: {value: 64MiB, why: w}, duration: {value: 1h, why: w}",
    );
    let begun = Instant::now();
    wait_until("it has run for a second", || {
        begun.elapsed().as_millis() > 1000
    });
    let ran = apply(
        &name,
        "memory: {value: 96MiB, why: w}, duration: {value: 1s, why: w}",
    );
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.err);
    assert!(ran.err.contains("duration: it has run for"), "{}", ran.err);
    assert!(
        ran.err.contains("with 1s it would be ended at once"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("nothing was changed"), "{}", ran.err);
    assert!(child.try_wait().expect("ours").is_none(), "it lives");
    // What the kernel refuses takes the new limit on time back with it.
    let ran = apply(
        &name,
        "memory: {value: 16MiB, why: w}, duration: {value: 2h, why: w}",
    );
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.err);
    let ran = apply(
        &name,
        "memory: {value: 64MiB, why: w}, duration: {value: 1h, why: w}",
    );
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (Some(0), ""),
        "as it was: {}",
        ran.err
    );
    crate::common::signal(&child, "TERM");
    assert_eq!(end(child).code, Some(143));
}

#[test]
fn cpu_time_is_limited_while_it_runs_and_taken_away_again() {
    let name = own_name("cpu");
    let child = timed(&name, "processes: {value: 9, why: w}");
    let ran = apply(
        &name,
        "processes: {value: 9, why: w}, cpu_time: {value: 1h, why: w}",
    );
    assert!(
        ran.out.contains(": cpu_time: none -> 1h\n"),
        "{} {}",
        ran.out,
        ran.err
    );
    let ran = apply(&name, "processes: {value: 9, why: w}");
    assert!(
        ran.out.contains(": cpu_time: 1h -> none\n"),
        "{} {}",
        ran.out,
        ran.err
    );
    crate::common::signal(&child, "TERM");
    assert_eq!(end(child).code, Some(143));
}

#[test]
fn whose_groups_they_are_not_is_told_who_may_change_them() {
    let name = own_name("denied");
    let child = timed(&name, "memory: {value: 64MiB, why: w}");
    // A copy where everybody may run it: the directories above this program may be closed to others.
    let dir = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .expect("a directory");
    let copy = dir.path().join("curb");
    std::fs::copy(env!("CARGO_BIN_EXE_curb"), &copy).expect("copied");
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&copy)
        .args(["limits", "apply", "-"])
        .current_dir("/")
        .stdin(Stdio::piped());
    let mut apply = start(command);
    let text = file("memory: {value: 96MiB, why: w}").replace("timed", &name);
    let mut pipe = apply.stdin.take().expect("a pipe");
    pipe.write_all(text.as_bytes()).expect("it reads");
    drop(pipe);
    let ran = end(apply);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("permission denied"), "{}", ran.err);
    let help = "run this as the user that started `curb run`, or as root";
    assert!(ran.err.contains(help), "{}", ran.err);
    assert!(!ran.err.contains("lower what it uses"), "{}", ran.err);
    assert!(lives(child.id()));
    crate::common::signal(&child, "TERM");
    assert_eq!(end(child).code, Some(143));
}
