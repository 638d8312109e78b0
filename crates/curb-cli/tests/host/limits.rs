//! `curb limits apply` against this machine's kernel: what runs gets the new limits, all of them or none.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use curb_host::group::Group;
use curb_host::layout::{Controller, Layout};
use curb_host::limits::{Bytes, CpuSet, Limits};
use curb_host::live;

const MIB: u64 = 1 << 20;

/// A group as `curb run --workload` makes it, with this process as its supervisor and a shell in it.
struct Made {
    group: Option<Group>,
    shell: Child,
    stdin: ChildStdin,
}

/// A workload's name that no other test of this machine has.
fn workload() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("test-{}-x{n}", std::process::id())
}

/// When this process was started, as the kernel counts it.
fn started() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("stat");
    let since = stat.rsplit(')').next().and_then(|s| s.split(' ').nth(20));
    since.and_then(|s| s.parse().ok()).expect("the 22nd word")
}

fn name(workload: &str, started: u64, run: u32) -> String {
    let space = std::fs::metadata("/proc/self/ns/pid").expect("a name space");
    format!(
        "curb-{workload}-{}-{started}-{}-{run}",
        std::process::id(),
        space.ino()
    )
}

fn made(name: &str, limits: &Limits) -> Made {
    let layout = Layout::read(Path::new("/")).expect("control groups");
    let more = [Controller::Memory, Controller::Cpu, Controller::Pids];
    let group = Group::create_with(&layout, name, limits, &more).expect("a group");
    let mut shell = Command::new("sh")
        .args([
            "-c",
            "read go; x=$(head -c 30000000 /dev/zero | tr '\\0' a); echo ready; read go",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let stdin = shell.stdin.take().expect("a pipe");
    for door in group.doors() {
        std::fs::write(&door, shell.id().to_string()).expect("it enters");
    }
    Made {
        group: Some(group),
        shell,
        stdin,
    }
}

impl Made {
    fn group(&self) -> &Group {
        self.group.as_ref().expect("there until it is dropped")
    }

    fn limit_on_memory(&self) -> Option<Bytes> {
        self.group().counts().memory_limit
    }

    /// It holds 30 MB from here on.
    fn fill(&mut self) {
        self.stdin.write_all(b"go\n").expect("it reads");
        let mut line = String::new();
        let out = self.shell.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("it says");
        assert_eq!(line, "ready\n");
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _it_may_have_ended = self.shell.kill();
        let _taken_in = self.shell.wait();
        if let Some(mut group) = self.group.take() {
            let _removed = group.remove_within(Duration::from_secs(2));
        }
    }
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// `curb limits apply`, with the file on stdin.
fn apply(file: &str, more: &[&str]) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_curb"))
        .args(["limits", "apply", "-"])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("curb starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(file.as_bytes()).expect("it reads");
    drop(pipe);
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().expect("it ends");
    Ran {
        code: status.code(),
        out: String::from_utf8(stdout).expect("text"),
        err: String::from_utf8(stderr).expect("text"),
    }
}

fn file(workload: &str, limits: &str) -> String {
    format!("version: 1\nworkloads:\n  - {{name: {workload}, limits: {{{limits}}}}}\n")
}

fn some_memory(mib: u64) -> Limits {
    Limits {
        memory: Some(Bytes(mib * MIB)),
        tasks: Some(50),
        ..Limits::default()
    }
}

#[test]
fn what_runs_gets_the_limits_of_the_file_and_what_the_kernel_took_is_told() {
    let workload = workload();
    let one = made(&name(&workload, started(), 1), &some_memory(64));
    let two = made(&name(&workload, started(), 2), &some_memory(64));
    let text = file(
        &workload,
        "memory: {value: 96MiB, why: w}, cpu: {value: 0.5, why: w}, processes: {value: 40, why: w}, open_files: {value: 99, why: w}, duration: {value: 1h, why: w}",
    );
    let ran = apply(&text, &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for made in [&one, &two] {
        assert_eq!(made.limit_on_memory(), Some(Bytes(96 * MIB)));
        let told = format!("{}: pids.max: 50 -> 40\n", made.group().name());
        assert!(ran.out.contains(&told), "{}", ran.out);
        assert!(
            ran.out.contains(&format!("{} -> {}\n", 64 * MIB, 96 * MIB)),
            "{}",
            ran.out
        );
    }
    assert!(
        ran.err.contains(&format!(
            "{workload}: from its next start on: open_files, duration"
        )),
        "{}",
        ran.err
    );
    let again = apply(&text, &[]);
    assert_eq!(
        (again.code, again.out.as_str()),
        (Some(0), ""),
        "{}",
        again.err
    );
    assert!(
        again
            .err
            .contains("its limits are those of the file already"),
        "{}",
        again.err
    );
}

#[test]
fn a_fallback_that_runs_gets_its_own_limits_and_of_the_workload_what_it_does_not_say() {
    let workload = workload();
    let normal = name(&workload, started(), 1);
    let fallback = format!("{}-02", normal.strip_suffix("-1").expect("run 1"));
    let own = made(&normal, &some_memory(64));
    let small = made(&fallback, &some_memory(64));
    let text = format!(
        "version: 1\nworkloads:\n  - name: {workload}\n    limits: {{memory: {{value: 96MiB, why: w}}, processes: {{value: 40, why: w}}}}\n    \
         retry: {{times: 1, first: 1s, most: 1s, within: 10m}}\n    \
         fallback: {{command: [x], limits: {{memory: {{value: 32MiB, why: w}}}}}}\n"
    );
    let ran = apply(&text, &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(own.limit_on_memory(), Some(Bytes(96 * MIB)));
    assert_eq!(small.limit_on_memory(), Some(Bytes(32 * MIB)));
    for made in [&own, &small] {
        let told = format!("{}: pids.max: 50 -> 40\n", made.group().name());
        assert!(ran.out.contains(&told), "{}", ran.out);
    }
}

#[test]
fn a_limit_below_what_is_held_is_refused_and_nothing_is_changed() {
    let workload = workload();
    let mut made = made(&name(&workload, started(), 1), &some_memory(96));
    made.fill();
    let before = made.group().save();
    let text = file(
        &workload,
        "memory: {value: 16MiB, why: w}, processes: {value: 40, why: w}",
    );
    let ran = apply(&text, &[&workload]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.err);
    assert!(
        ran.err.contains("a limit was refused") && ran.err.contains("it holds"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("nothing was changed"), "{}", ran.err);
    assert_eq!(made.group().save(), before);
    assert!(made.shell.try_wait().expect("ours").is_none(), "it lives");
}

#[test]
fn where_the_kernel_refuses_one_in_the_middle_all_groups_are_as_they_were() {
    let workload = workload();
    // In version 1 nobody enters a group of CPUs that names none.
    let with_cpus = Limits {
        cpu_set: Some(CpuSet([0].into())),
        ..some_memory(64)
    };
    let each = [1, 2, 3].map(|run| made(&name(&workload, started(), run), &with_cpus));
    let before = each.each_ref().map(|m| m.group().save());
    let layout = Layout::read(Path::new("/")).expect("control groups");
    let found = |m: &Made| Group::find(&layout, m.group().name()).expect("it is there");
    // More weight than version 2 takes, and a CPU that no machine has for version 1; both after memory was changed.
    let impossible = Limits {
        cpu_weight: Some(20_000),
        cpu_set: Some(CpuSet([8000].into())),
        ..some_memory(80)
    };
    let wanted = [
        (found(&each[0]), some_memory(80)),
        (found(&each[1]), impossible),
        (found(&each[2]), some_memory(80)),
    ];
    let refused = live::apply(&wanted).expect_err("no kernel takes that");
    assert_eq!(refused.group, each[1].group().name());
    assert_eq!(refused.left, Vec::<String>::new());
    assert!(
        refused.why.iter().any(|w| w.starts_with("cpu_")),
        "{refused}"
    );
    for (made, before) in each.iter().zip(before) {
        assert_eq!(made.group().save(), before);
    }
    // The same without the impossible is taken: it was for that alone.
    let possible = each.each_ref().map(|m| (found(m), some_memory(80)));
    let changed = live::apply(&possible).expect("taken");
    assert!(
        changed
            .iter()
            .filter(|c| c.new == (80 * MIB).to_string())
            .count()
            >= 3,
        "{changed:?}"
    );
}

#[test]
fn a_limit_that_its_group_was_made_without_holds_from_the_next_start_on_and_is_told() {
    let workload = workload();
    let made = made(&name(&workload, started(), 1), &some_memory(64));
    let cpus = made.group().holds(Controller::Cpuset);
    let text = file(
        &workload,
        "memory: {value: 96MiB, why: w}, cpu_set: {value: 0, why: w}",
    );
    let ran = apply(&text, &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(made.limit_on_memory(), Some(Bytes(96 * MIB)));
    let told = ran.err.contains("from its next start on: cpu_set");
    assert_eq!(told, !cpus, "{}", ran.err);
}

#[test]
fn a_workload_of_which_nothing_runs_is_told_and_no_failure() {
    let workload = workload();
    let ran = apply(&file(&workload, "memory: {value: 96MiB, why: w}"), &[]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""));
    assert_eq!(
        ran.err,
        format!("{workload}: nothing of it runs; its limits hold from its next start on\n")
    );
}

#[test]
fn a_group_whose_supervisor_is_gone_is_left_alone() {
    let workload = workload();
    // This process's number, and another's start: a number that is used again.
    let made = made(&name(&workload, started() - 1, 1), &some_memory(64));
    let ran = apply(&file(&workload, "memory: {value: 96MiB, why: w}"), &[]);
    assert!(ran.err.contains("nothing of it runs"), "{}", ran.err);
    // Whoever cleans up behind dead supervisors may have taken it away meanwhile.
    assert!(made.limit_on_memory().is_none_or(|m| m == Bytes(64 * MIB)));
}

#[test]
fn a_file_that_is_wrong_for_this_host_changes_nothing() {
    let workload = workload();
    let made = made(&name(&workload, started(), 1), &some_memory(64));
    let ran = apply(&file(&workload, "memory: {value: 4096TiB, why: w}"), &[]);
    assert_eq!(ran.code, Some(7));
    assert!(ran.err.contains("more than the host has"), "{}", ran.err);
    assert_eq!(made.limit_on_memory(), Some(Bytes(64 * MIB)));
}

#[test]
fn programs_are_told_what_was_changed() {
    let workload = workload();
    let made = made(&name(&workload, started(), 1), &some_memory(64));
    let ran = apply(
        &file(
            &workload,
            "memory: {value: 96MiB, why: w}, swap: {value: 0B, why: w}",
        ),
        &["--json"],
    );
    let all: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(all["runs"][0]["groups"][0], made.group().name());
    let news: Vec<&str> = all["changed"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|c| c["new"].as_str())
        .collect();
    assert!(
        news.contains(&(96 * MIB).to_string().as_str()),
        "{}",
        ran.out
    );
}

#[test]
fn the_supervisor_of_what_runs_goes_by_the_new_limit_on_memory() {
    let workload = workload();
    let text = |mib: u64| file(&workload, &format!("memory: {{value: {mib}MiB, why: w}}"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_curb"));
    command
        .args(["run", "--workload", &workload, "--limits", "-", "--"])
        .args(["sh", "-c", "echo up; sleep 60"])
        .stdin(Stdio::piped());
    let mut curb = crate::common::start(command);
    let mut pipe = curb.stdin.take().expect("a pipe");
    pipe.write_all(text(64).as_bytes()).expect("it reads");
    drop(pipe);
    let up = crate::common::lines(&mut curb).next();
    assert_eq!(up.and_then(Result::ok).as_deref(), Some("up"));
    let ran = apply(&text(96), &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        ran.out.contains(&format!("{} -> {}\n", 64 * MIB, 96 * MIB)),
        "{} {}",
        ran.out,
        ran.err
    );
    // It looks many times a second.
    std::thread::sleep(Duration::from_millis(1500));
    crate::common::signal(&curb, "TERM");
    let ran = crate::common::end(curb);
    let told = "its limit on memory was changed from 64 MiB to 96 MiB while it ran";
    assert!(ran.err.contains(told), "{}", ran.err);
}
