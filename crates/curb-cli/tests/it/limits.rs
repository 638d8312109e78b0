//! `curb limits`: files of limits, as a user sees what is made of them.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

struct Ran {
    code: i32,
    out: String,
    err: String,
}

/// In a directory, with what comes on stdin.
fn curb_with(dir: &Path, args: &[&str], stdin: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_curb"))
        .arg("limits")
        .args(args)
        .current_dir(dir)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("curb starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    // Whoever does not read stdin closes it.
    let _not_read = pipe.write_all(stdin.as_bytes());
    drop(pipe);
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().expect("it ends");
    Ran {
        code: status.code().expect("it was not killed"),
        out: String::from_utf8(stdout).expect("text"),
        err: String::from_utf8(stderr).expect("text"),
    }
}

fn curb(dir: &TempDir, args: &[&str]) -> Ran {
    curb_with(dir.path(), args, "")
}

fn here(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).expect("written");
    }
    dir
}

const EXAMPLE: &str = include_str!("../../../../examples/limits.yaml");
const FULL: &str = include_str!("../../../../examples/limits-full.yaml");
const WRONG: &str = "version: 1\nworkloads:\n  - name: chat\n    match: {library: libmlx}\n    limits:\n      memory: {value: 32MiB, why: small}\n      cpus: {value: 64, why: many}\n";

#[test]
fn the_examples_are_right_and_nothing_is_printed_but_talk() {
    let dir = here(&[("limits.yaml", EXAMPLE), ("full.yaml", FULL)]);
    let ran = curb(
        &dir,
        &[
            "check",
            "--host-memory",
            "64GiB",
            "--host-cpus",
            "8",
            "limits.yaml",
            "full.yaml",
        ],
    );
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
    assert_eq!(
        ran.err,
        "limits.yaml: nothing is wrong\nfull.yaml: nothing is wrong\n"
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once_by_line_and_column() {
    let dir = here(&[("limits.yaml", WRONG)]);
    let ran = curb(&dir, &["check", "limits.yaml"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.out
            .contains("limits.yaml:6:23: error: MLX does not start in 32 MiB"),
        "{}",
        ran.out
    );
    assert!(
        ran.out
            .contains("limits.yaml:7:7: error: unknown field `cpus`"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("help: did you mean `cpu`?"), "{}", ran.out);
    assert_eq!(ran.err, "limits.yaml: 2 errors, 0 warnings\n");
}

#[test]
fn what_is_found_is_told_to_programs_as_the_check_of_a_policy_tells_it() {
    let dir = here(&[("limits.yaml", WRONG)]);
    let ran = curb(&dir, &["check", "--json", "limits.yaml"]);
    let all: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!((ran.code, all[0]["ok"].as_bool()), (1, Some(false)));
    let first = &all[0]["findings"][0];
    assert_eq!(
        (first["line"].as_u64(), first["column"].as_u64()),
        (Some(6), Some(23))
    );
    assert_eq!(first["field"], "workloads[0].limits.memory.value");
}

#[test]
fn a_file_is_checked_for_this_host_unless_another_is_said() {
    let much = "version: 1\nworkloads: [{name: a, limits: {memory: {value: 4096TiB, why: w}}}]\n";
    let dir = here(&[("limits.yaml", much)]);
    let ran = curb(&dir, &["check", "limits.yaml"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.out.contains("4096 TiB is more than the host has"),
        "{}",
        ran.out
    );
    assert_eq!(curb(&dir, &["check", "--any-host", "limits.yaml"]).code, 0);
    assert_eq!(
        curb(&dir, &["check", "--host-memory", "5000TiB", "limits.yaml"]).code,
        0
    );
    let ran = curb(
        &dir,
        &["check", "--any-host", "--host-cpus", "2", "limits.yaml"],
    );
    assert_eq!(ran.code, 2, "one of them is meant: {}", ran.err);
}

#[test]
fn a_file_that_cannot_be_read_is_told_by_name() {
    let dir = here(&[]);
    for args in [
        &["check", "none.yaml"][..],
        &["show", "none.yaml"],
        &["diff", "none.yaml", "none.yaml"],
    ] {
        let ran = curb(&dir, args);
        assert_eq!(ran.code, 7);
        assert!(
            ran.err.contains("cannot read the file of limits none.yaml"),
            "{}",
            ran.err
        );
    }
}

#[test]
fn limits_are_shown_with_their_reasons_and_what_holds_them() {
    let dir = here(&[("full.yaml", FULL)]);
    let ran = curb(&dir, &["show", "full.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    insta::assert_snapshot!(ran.out);
}

#[test]
fn only_an_advisory_limit_is_called_advisory() {
    let dir = here(&[("limits.yaml", EXAMPLE)]);
    let ran = curb(&dir, &["show", "limits.yaml"]);
    assert!(!ran.out.contains("advisory"), "{}", ran.out);
}

#[test]
fn one_workload_is_shown_alone_and_a_wrong_name_is_told_with_those_there_are() {
    let dir = here(&[("full.yaml", FULL)]);
    let ran = curb(&dir, &["show", "full.yaml", "sandbox"]);
    assert!(
        ran.out.starts_with("sandbox\n") && !ran.out.contains("chat"),
        "{}",
        ran.out
    );
    let ran = curb(&dir, &["show", "full.yaml", "caht"]);
    assert_eq!(ran.code, 2);
    assert_eq!(
        ran.err,
        "error: there is no workload `caht` in full.yaml\nhelp: there are: chat, sandbox\n"
    );
}

#[test]
fn what_is_shown_as_yaml_is_the_same_file() {
    let dir = here(&[("full.yaml", FULL)]);
    let shown = curb(&dir, &["show", "--yaml", "full.yaml"]).out;
    let ran = curb_with(dir.path(), &["diff", "full.yaml", "-"], &shown);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
}

#[test]
fn limits_are_shown_to_programs_in_whole_numbers() {
    let dir = here(&[("limits.yaml", EXAMPLE)]);
    let ran = curb(&dir, &["show", "--json", "limits.yaml"]);
    let all: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    let memory = &all["workloads"][0]["limits"][0];
    assert_eq!(
        (memory["key"].as_str(), memory["value"].as_u64()),
        (Some("memory"), Some(384 << 20))
    );
    assert_eq!(
        (memory["holds"].as_str(), memory["takes"].as_str()),
        (Some("kernel"), Some("at_once"))
    );
    assert_eq!(all["sha256"].as_str().map(str::len), Some(64));
}

#[test]
fn what_is_different_is_told_with_its_direction_and_ends_with_1() {
    let new = EXAMPLE
        .replace("{value: 384MiB, why: \"the scenario peak with a third to spare; edge is meant to meet it\", from: \"peak, p99\"}",
                 "{value: 448MiB, why: \"peak grew by a sixth with the new model\", from: \"peak, p99\", accepted: {by: ana, on: 2026-11-20}}")
        .replace("open_files: {value: 1024,", "open_files: {value: 512,")
        .replace("    retry:", "    on_warn: [./tell.sh]\n    retry:");
    let dir = here(&[("old.yaml", EXAMPLE), ("new.yaml", &new)]);
    let ran = curb(&dir, &["diff", "old.yaml", "new.yaml"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    insta::assert_snapshot!(ran.out);
    let ran = curb(&dir, &["diff", "--json", "old.yaml", "new.yaml"]);
    let all: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(
        (all[0]["field"].as_str(), all[0]["way"].as_str()),
        (Some("limits.memory"), Some("loosened"))
    );
    assert_eq!(all[1]["same_why"].as_bool(), Some(true), "{all:#}");
}

#[test]
fn the_schema_is_printed_in_both_drafts() {
    let dir = here(&[]);
    for (args, draft) in [
        (&["schema"][..], "2020-12"),
        (&["schema", "--draft07"], "draft-07"),
    ] {
        let ran = curb(&dir, args);
        let schema: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
        assert!(
            schema["$schema"]
                .as_str()
                .is_some_and(|s| s.contains(draft))
        );
    }
}

#[test]
fn a_file_of_somebody_elses_making_does_nothing_to_a_terminal() {
    let text = "version: 1\nworkloads: [{name: \"a\\e[31m\", limits: {cpu: {value: \"1\\e]0;x\\a\", why: w}}}]\n";
    let dir = here(&[("limits.yaml", text)]);
    for json in [&["check", "limits.yaml"][..], &["show", "limits.yaml"]] {
        let ran = curb(&dir, json);
        assert!(
            ran.code != 0 && !ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'),
            "{}{}",
            ran.out,
            ran.err
        );
    }
}
