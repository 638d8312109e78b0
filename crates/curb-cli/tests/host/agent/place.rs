//! An agent in a place of its own: groups that only this test has, a user that only this test has, all of it gone afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A test that waits longer than that has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Trees of version 1 in which a place is made: all that the agent makes groups in, else agents of two tests would have the
/// same ones there.
const TREES: [&str; 7] = [
    "memory", "cpu", "cpuacct", "cpuset", "pids", "freezer", "blkio",
];

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Directories of groups, and files, of one test.
pub struct Place {
    pub dir: tempfile::TempDir,
    pub user: u32,
    groups: Vec<PathBuf>,
}

impl Place {
    pub fn new() -> Place {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("agent-test-{}-{}", std::process::id(), number);
        let groups: Vec<PathBuf> = own_groups()
            .into_iter()
            .map(|dir| dir.join(&name))
            .collect();
        for dir in &groups {
            fs::create_dir(dir).expect("a group can be made: these tests run as root");
            // A new set of CPUs is empty, and takes nobody in.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let (above, own) = (dir.with_file_name(file), dir.join(file));
                if let Ok(all) = fs::read_to_string(above)
                    && own.exists()
                    && !dir.join("cgroup.controllers").exists()
                {
                    fs::write(own, all).expect("as the one above");
                }
            }
        }
        let dir = tempfile::tempdir().expect("a directory");
        // The agent reads its file as an ordinary user.
        open_to_all(dir.path());
        Place {
            dir,
            // No two tests have the same, nor one that is another's plus a few.
            user: 100_000 + std::process::id() * 8 + number % 4,
            groups,
        }
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        // As an editor does: another file in its place.
        let new = self.dir.path().join(format!("{name}.new"));
        fs::write(&new, text).expect("written");
        fs::rename(&new, &path).expect("renamed");
        path
    }

    /// A workload `chat` of this test's user, with more of a rule, limits and a ladder.
    pub fn limits(&self, matches: &str, limits: &str, ladder: &str) -> PathBuf {
        let user = self.user;
        self.file(
            "limits.yaml",
            &format!(
                "version: 1\nworkloads:\n  - name: chat\n    match: {{user: {user}{matches}}}\n    limits:\n{limits}\n{ladder}\n"
            ),
        )
    }

    /// A workload `chat` of real MLX. It is root's, since an ordinary user may not be able to read this directory's Python.
    pub fn mlx_limits(&self, limits: &str, ladder: &str) -> PathBuf {
        let word = self.word();
        self.file(
            "limits.yaml",
            &format!(
                "version: 1\nworkloads:\n  - name: chat\n    match: {{user: 0, library: libmlx, command: \"*{word}*\"}}\n    limits:\n{limits}\n{ladder}\n"
            ),
        )
    }

    /// A word that only this test's processes have among their arguments.
    pub fn word(&self) -> String {
        format!("chat-{}", self.user)
    }

    /// A program of Python, as root, with this test's word.
    pub fn python(&self, text: &str) -> Running {
        Running::start(&python(), &["-c", text, &self.word()], 0)
    }

    /// A program as this test's user, in the groups that the test itself is in.
    pub fn start(&self, program: &Path, arguments: &[&str]) -> Running {
        Running::start(program, arguments, self.user)
    }

    /// The directory of the agent's group of a workload in a tree; `None` where there is none.
    pub fn group(&self, tree: &str, workload: &str) -> Option<PathBuf> {
        let here = self.groups.iter().find(|g| {
            let path = g.to_string_lossy();
            path.contains(&format!("/{tree}/"))
                || !path.contains("/memory/") && self.groups.len() == 1
        })?;
        let dir = here
            .join("curbagent.groups")
            .join(format!("curbagent-{workload}"));
        dir.is_dir().then_some(dir)
    }

    /// `curb` with these arguments, started in this test's groups.
    pub fn curb(&self, arguments: &[&str]) -> Command {
        let enter: String = self
            .groups
            .iter()
            // As its unit has it: the first time in the place itself, then in the group that an agent has gone into.
            .map(|dir| {
                let dir = dir.display();
                format!("d='{dir}/curbagent.self'; [ -d \"$d\" ] || d='{dir}'; echo 0 > \"$d/cgroup.procs\" && ")
            })
            .collect();
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("{enter}exec \"$@\""))
            .args(["sh", env!("CARGO_BIN_EXE_curb")])
            .args(arguments);
        command
    }

    pub fn agent(&self, more: &[&str]) -> Agent {
        let limits = self.dir.path().join("limits.yaml");
        let mut child = self
            .curb(&["agent", "--listen", "127.0.0.1:0", "--limits"])
            .arg(&limits)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the agent starts");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&lines);
        let from = BufReader::new(child.stderr.take().expect("a pipe"));
        std::thread::spawn(move || {
            for line in from.lines().map_while(Result::ok) {
                to.lock().expect("no panic").push(line);
            }
        });
        Agent { child, lines }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for dir in &self.groups {
            let until = Instant::now() + Duration::from_secs(5);
            while dir.exists() && Instant::now() < until {
                remove(dir);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn remove(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove(&entry.path());
        }
    }
    let _tried_again = fs::remove_dir(dir);
}

/// Where this test stands in each tree.
fn own_groups() -> Vec<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").expect("read");
    let base = Path::new("/sys/fs/cgroup");
    let path = |tree: &str| {
        let line = own.lines().find(|l| {
            l.split(':')
                .nth(1)
                .is_some_and(|c| c.split(',').any(|c| c == tree))
        })?;
        Some(
            line.splitn(3, ':')
                .nth(2)?
                .trim_start_matches('/')
                .to_owned(),
        )
    };
    if base.join("cgroup.controllers").exists() {
        let controllers = "+cpu +memory +pids";
        // At the top these can be given to groups below, whoever is in it.
        fs::write(base.join("cgroup.subtree_control"), controllers).expect("controllers are given");
        return vec![base.to_owned()];
    }
    // Two names may be one tree.
    let trees = TREES.iter().map(|tree| {
        let tree_is_at = fs::canonicalize(base.join(tree)).expect("this tree is there");
        tree_is_at.join(path(tree).expect("this tree is there"))
    });
    let mut all: Vec<PathBuf> = trees.collect::<BTreeSet<_>>().into_iter().collect();
    let unified = base.join("unified");
    if unified.is_dir() {
        all.push(unified);
    }
    all
}

pub fn open_to_all(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("changed");
}

/// The Python that has MLX.
pub fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/python")
}

/// A process of this test, ended with it.
pub struct Running(pub Child);

impl Running {
    pub fn start(program: &Path, arguments: &[&str], user: u32) -> Running {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.current_dir("/").uid(user).gid(user);
        // A group of its own, so that all of it can be ended.
        command.process_group(0);
        Running(command.spawn().expect("it starts"))
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn lives(&mut self) -> bool {
        self.0.try_wait().expect("ours").is_none()
    }

    pub fn cgroups(&self) -> String {
        fs::read_to_string(format!("/proc/{}/cgroup", self.pid())).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.lives() {
            // Not waited for yet: the number is its own, and so is that of its group.
            let group = format!("-{}", self.pid());
            let _ended = Command::new("kill")
                .args(["-s", "KILL", "--", &group])
                .status();
        }
        let _waited_for = self.0.wait();
    }
}

/// A running agent.
pub struct Agent {
    pub child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Agent {
    /// All that it has told.
    pub fn told(&self) -> Vec<Value> {
        let lines = self.lines.lock().expect("no panic");
        lines
            .iter()
            .filter_map(|l| serde_json::from_str(l).ok())
            .collect()
    }

    pub fn text(&self) -> String {
        self.lines.lock().expect("no panic").join("\n")
    }

    /// Waits for an event, and gives it.
    pub fn wait_for(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(event) = self.told().into_iter().find(&is) {
                return event;
            }
            let ended = self.child.try_wait().expect("ours");
            assert!(
                ended.is_none() && Instant::now() < until,
                "waited in vain for {what} ({ended:?}):\n{}",
                self.text()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn event(&mut self, name: &str) -> Value {
        self.wait_for(name, |e| e["event"] == name)
    }

    /// Waits for an event about a process.
    pub fn event_of(&mut self, name: &str, pid: u32) -> Value {
        self.wait_for(name, |e| e["event"] == name && e["pid"] == pid)
    }

    pub fn get(&mut self, path: &str, headers: &str) -> (u16, String) {
        let at = self.event("agent_started")["listen"]
            .as_str()
            .expect("an address")
            .to_owned();
        let mut stream = TcpStream::connect(at).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n"
        )
        .expect("sent");
        let mut all = String::new();
        stream.read_to_string(&mut all).expect("answered");
        let status = all
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .expect("a status");
        let body = all.split_once("\r\n\r\n").expect("a body").1.to_owned();
        (status, body)
    }

    /// A number of its metrics, by the beginning of the line.
    pub fn metric(&mut self, line: &str) -> Option<f64> {
        let (_, page) = self.get("/metrics", "");
        let found = page.lines().find_map(|l| l.strip_prefix(line))?;
        found.trim().parse().ok()
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&mut self) {
        let pid = self.child.id().to_string();
        Command::new("kill")
            .args(["-s", "TERM", &pid])
            .status()
            .expect("kill(1)");
        assert!(
            self.child.wait().expect("ours").success(),
            "{}",
            self.text()
        );
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("ours");
        self.child.wait().expect("ours");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|e| e.is_none()) {
            let _ended = self.child.kill();
            let _waited_for = self.child.wait();
        }
    }
}

/// Waits until something is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn number(path: &Path) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.trim().parse().expect("a number")
}
