//! What the tests of this program share: starting `curb run`, and making sure that nothing of it is left.

use std::io::{BufRead, BufReader};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A test that waits longer than that has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A `curb run` that is ended where a test fails before it has ended.
pub struct Curb(Option<Child>);

impl Deref for Curb {
    type Target = Child;

    fn deref(&self) -> &Child {
        self.0.as_ref().expect("not waited for yet")
    }
}

impl DerefMut for Curb {
    fn deref_mut(&mut self) -> &mut Child {
        self.0.as_mut().expect("not waited for yet")
    }
}

impl Drop for Curb {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _it_may_have_ended = child.kill();
            let _it_has_ended = child.wait();
        }
    }
}

/// `curb run` with these arguments.
pub fn curb(args: &[&str]) -> Curb {
    let mut command = Command::new(env!("CARGO_BIN_EXE_curb"));
    command.arg("run").args(args).stdin(Stdio::null());
    start(command)
}

/// Starts a command line of `curb`, its output for the test.
pub fn start(mut command: Command) -> Curb {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    Curb(Some(child.expect("curb starts")))
}

/// `curb` with these arguments, the file of limits on its standard input, and then these.
pub fn curb_with_file(args: &[&str], more: &[&str], file: &str) -> Curb {
    let mut command = Command::new(env!("CARGO_BIN_EXE_curb"));
    command.args(args).args(more).stdin(Stdio::piped());
    let mut child = start(command);
    let mut pipe = child.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut pipe, file.as_bytes()).expect("it reads");
    child
}

/// How it ended.
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Waits for the end, and checks that no group is left behind.
pub fn end(mut curb: Curb) -> Ran {
    let child = curb.0.take().expect("not waited for yet");
    let pid = child.id();
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().expect("it ends");
    assert_eq!(
        groups_of(pid),
        Vec::<PathBuf>::new(),
        "groups are left behind"
    );
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let all = text(stderr);
    // Each `curb run` removes, and tells, what killed ones left: by chance that of another test.
    let own = all.split_inclusive('\n');
    let own = own.filter(|line| !line.contains(": found the group curb"));
    Ran {
        code: status.code(),
        out: text(stdout),
        err: own.collect(),
    }
}

pub fn run(args: &[&str]) -> Ran {
    end(curb(args))
}

/// The groups that a `curb` of this number made.
pub fn groups_of(pid: u32) -> Vec<PathBuf> {
    let of_it = format!("-{pid}-");
    let mut found = Vec::new();
    find(Path::new("/sys/fs/cgroup"), 6, &mut |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ours = name.starts_with("curb-") || name.starts_with("curbed-");
        if ours && name.contains(&of_it) {
            found.push(path.to_owned());
        }
    });
    found
}

fn find(dir: &Path, depth: usize, each: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            each(&entry.path());
            if depth > 0 {
                find(&entry.path(), depth - 1, each);
            }
        }
    }
}

/// A program of Python that runs it as `python3 -c`.
pub fn python(text: &str) -> Vec<&str> {
    vec!["--", "python3", "-c", text]
}

/// Waits until something is so.
pub fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process of this number is there and has not ended.
pub fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|s| s.chars().next());
    state.is_some_and(|s| !matches!(s, 'Z' | 'X'))
}

/// The lines of its output as they come.
pub fn lines(child: &mut Child) -> std::io::Lines<BufReader<ChildStdout>> {
    BufReader::new(child.stdout.take().expect("a pipe")).lines()
}

/// A signal to a child of ours, not yet waited for.
pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status();
    assert!(sent.expect("kill(1)").success());
}
