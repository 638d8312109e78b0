//! Real MLX processes, with limits and without; also on control groups of version 2 (`scripts/test_cgroup2.sh`).

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin};

use super::*;

/// Holds some memory of MLX until its stdin is closed; tells its number when it does.
const HOLD: &str = "\
import os, sys
import mlx.core as mx
a = mx.zeros((8, 1024, 1024))
mx.eval(a)
print(os.getpid(), flush=True)
sys.stdin.read()
";

/// A process of MLX; it ends when this is dropped.
struct Mlx {
    child: Child,
    input: Option<ChildStdin>,
    pid: u32,
}

fn python() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/python");
    assert!(
        python.exists(),
        "{} is made by scripts/env.sh",
        python.display()
    );
    python
}

fn start(wrapper: &[&str]) -> Mlx {
    let python = python();
    let mut words: Vec<&std::ffi::OsStr> = wrapper.iter().map(|w| (*w).as_ref()).collect();
    words.extend([python.as_os_str(), "-c".as_ref(), HOLD.as_ref()]);
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    out.read_line(&mut line).expect("it tells its number");
    let input = child.stdin.take();
    let pid = line.trim().parse();
    let mlx = Mlx {
        child,
        input,
        pid: *pid.as_ref().unwrap_or(&0),
    };
    pid.expect("a number");
    mlx
}

impl Drop for Mlx {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

impl Mlx {
    /// What the audit of the whole host says of it, and which rules it breaks.
    fn audited(&self) -> (Value, Vec<String>) {
        let told = audit(Path::new("/"), &["--json", "--fail-on", "never"], "");
        assert_eq!(told.code, Some(0), "{}", told.err);
        let report = told.json();
        let subjects = report["subjects"].as_array().expect("a list");
        let is = |s: &&Value| {
            let members = s["members"].as_array().expect("a list");
            members.iter().any(|m| m["pid"] == self.pid)
        };
        let subject = subjects
            .iter()
            .find(is)
            .expect("it is found by what it has loaded")
            .clone();
        assert!(
            subject["frameworks"]
                .as_array()
                .is_some_and(|f| f.contains(&"mlx".into())),
            "{subject}"
        );
        let rules = rules(&report, subject["name"].as_str().expect("a name"));
        (subject, rules)
    }
}

#[test]
fn mlx_within_limits_is_found_with_each_of_them_and_is_fine() {
    let curb = env!("CARGO_BIN_EXE_curb");
    let mlx = start(&[
        curb,
        "run",
        "--memory",
        "512MiB",
        "--cpu",
        "0.9",
        "--processes",
        "64",
        "--open-files",
        "4096",
        "--",
    ]);
    let (subject, rules) = mlx.audited();
    assert_eq!(rules, Vec::<String>::new(), "{subject:#}");
    assert!(
        subject["name"]
            .as_str()
            .is_some_and(|n| n.starts_with("curb-run-")),
        "{subject:#}"
    );
    assert_eq!(subject["memory"]["value"], 512 << 20);
    assert_eq!(subject["cpu"]["value"], 900);
    assert_eq!(subject["tasks"]["value"], 64);
    assert_eq!(subject["members"][0]["most_open_files"]["value"], 4096);
    for limit in ["memory", "cpu", "tasks"] {
        let by = subject[limit]["by"].as_str().expect("a file");
        assert!(
            by.starts_with("/sys/fs/cgroup") && by.contains("/curb-run-"),
            "{by}"
        );
        assert!(Path::new(by).is_file(), "{by}");
    }
    let used = subject["used"].as_u64().expect("known");
    assert!(
        (32 << 20..512 << 20).contains(&used),
        "32 MiB are held: {used}"
    );
}

#[test]
fn mlx_without_limits_of_its_own_is_an_error_or_unknown_and_never_fine() {
    let mlx = start(&["env"]);
    let (subject, rules) = mlx.audited();
    let some = [
        "memory-unlimited",
        "memory-shared",
        "memory-over-machine",
        "limit-unknown",
    ];
    assert!(
        rules.iter().any(|r| some.contains(&r.as_str())),
        "{rules:?} {subject:#}"
    );
    assert_eq!(subject["members"][0]["address_space"]["state"], "unlimited");
}

#[test]
fn a_limit_on_address_space_is_found_with_the_command_that_takes_it_away() {
    let mlx = start(&["prlimit", "--as=8000000000:unlimited", "--"]);
    let (_, rules) = mlx.audited();
    assert!(
        rules.contains(&"address-space-limited".to_owned()),
        "{rules:?}"
    );
    let told = audit(Path::new("/"), &["host", "--pid", &mlx.pid.to_string()], "");
    assert_eq!(told.code, Some(1));
    let command = format!("prlimit --pid {} --as=unlimited:unlimited", mlx.pid);
    assert!(told.out.contains(&command), "{}", told.out);
    let mut words = command.split(' ');
    let mended = Command::new(words.next().expect("a program"))
        .args(words)
        .status();
    assert!(mended.expect("prlimit(1)").success());
    let (_, rules) = mlx.audited();
    assert!(
        !rules.contains(&"address-space-limited".to_owned()),
        "{rules:?}"
    );
}

/// Maps a file that is called as MLX's is, in a directory and under a name that terminals and parsers choke on.
const HIDES: &str = r#"
import ctypes, os, sys
where = sys.argv[1].encode() + b"/\x1b[2J\xff\n)"
os.mkdir(where)
with open(where + b"/libmlx.so", "wb") as f:
    f.write(bytes(4096))
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap(None, 4096, 5, 2, os.open(where + b"/libmlx.so", os.O_RDONLY), 0)
open("/proc/self/comm", "wb").write(b"e) R 1\n\x1b[31m\xff")
print(os.getpid(), flush=True)
sys.stdin.read()
"#;

#[test]
fn nobody_hides_behind_names_that_are_no_text_and_none_of_them_reaches_the_terminal() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut child = Command::new("python3")
        .args(["-c", HIDES])
        .arg(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    out.read_line(&mut line).expect("it tells its number");
    let pid = line.trim().to_owned();
    let ran = |words: &[&str]| {
        let ran = Command::new(env!("CARGO_BIN_EXE_curb"))
            .args(words)
            .output();
        String::from_utf8(ran.expect("curb").stdout).expect("text, whatever is in it")
    };
    let all: Vec<String> = [
        &["audit"][..],
        &["audit", "--json"],
        &["audit", "--sarif"],
        &["top", "--once"],
    ]
    .iter()
    .map(|words| ran(words))
    .collect();
    drop(child.stdin.take());
    child.wait().expect("ours");
    assert!(all[0].contains(&pid) && all[1].contains(&pid), "{}", all[0]);
    for text in &all {
        let odd = text.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(odd, None, "{text}");
    }
}
