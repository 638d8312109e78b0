//! A framework that answers SIGTERM late: MLX was measured to take 9.9 s, since a handler of Python runs only when an evaluation
//! has returned.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{end, lines, signal, start};
use crate::ladder::mlx_python;

/// What was measured.
const LATE: Duration = Duration::from_millis(9_900);
/// How long the evaluation lasts at least, so that it is asked in good time before its end.
const EVALUATES: &str = "14";

#[test]
fn mlx_in_a_long_evaluation_answers_after_ten_seconds_and_is_waited_for() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_curb"));
    command
        .args(["run", "--memory", "1GiB", "--grace", "10m", "--"])
        .arg(mlx_python())
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/host/mlx_late.py"
        ))
        .arg(EVALUATES)
        .stdin(Stdio::null());
    let mut child = start(command);
    let mut said = lines(&mut child);
    let mut next = || said.next().and_then(Result::ok).unwrap_or_default();
    assert_eq!(next(), "evaluates");
    let asked = Instant::now();
    signal(&child, "TERM");
    assert_eq!(next(), "answered");
    assert!(asked.elapsed() >= LATE, "{:?}", asked.elapsed());
    let ran = end(child);
    assert_eq!(ran.code, Some(7), "its own end: {}", ran.err);
    assert!(ran.err.contains("curb was asked to end"), "{}", ran.err);
}

#[test]
fn whose_grace_is_shorter_than_its_evaluation_is_ended_by_the_kernel() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_curb"));
    command
        .args(["run", "--memory", "1GiB", "--grace", "2s", "--"])
        .arg(mlx_python())
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/host/mlx_late.py"
        ))
        .arg("120")
        .stdin(Stdio::null());
    let mut child = start(command);
    let mut said = lines(&mut child);
    let mut next = || said.next().and_then(Result::ok).unwrap_or_default();
    assert_eq!(next(), "evaluates");
    signal(&child, "TERM");
    assert_eq!(next(), "", "it never answered");
    assert_eq!(end(child).code, Some(137));
}
