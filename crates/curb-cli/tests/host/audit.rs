//! `curb audit` by the real binary: files as they are given, processes as they run.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

mod files;
mod live;

struct Audited {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Audited {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err))
    }
}

/// `curb audit` in a directory.
fn audit(dir: &Path, args: &[&str], stdin: &str) -> Audited {
    let mut child = Command::new(env!("CARGO_BIN_EXE_curb"))
        .arg("audit")
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("curb starts");
    let mut input = child.stdin.take().expect("a pipe");
    // It need not read it.
    let _ = std::io::Write::write_all(&mut input, stdin.as_bytes());
    drop(input);
    let ended = child.wait_with_output().expect("it ends");
    Audited {
        code: ended.status.code(),
        out: String::from_utf8(ended.stdout).expect("text"),
        err: String::from_utf8(ended.stderr).expect("text"),
    }
}

/// The rules that were found about something.
fn rules(report: &Value, about: &str) -> Vec<String> {
    let all = report["findings"].as_array().expect("a list").iter();
    all.filter(|f| f["about"] == about)
        .map(|f| f["rule"].as_str().expect("an id").to_owned())
        .collect()
}
