//! Who owns the agent's side of the helper: what they can do with it, and what not.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use serde_json::{Value, json};

use super::place::{Place, Running, until};

/// A helper whose other side is ours.
pub struct Helper {
    child: Child,
    connection: Option<OwnedFd>,
}

impl Helper {
    pub fn start(place: &Place) -> Helper {
        Helper::start_by(|its| {
            let mut command = place.curb(&["agent-helper"]);
            command.stdin(Stdio::from(its));
            command
        })
    }

    /// By a command line that has the helper's side of the connection.
    pub fn start_by(command: impl FnOnce(OwnedFd) -> Command) -> Helper {
        let (ours, its) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .expect("a connection");
        let child = command(its).spawn().expect("it starts");
        let helper = Helper {
            child,
            connection: Some(ours),
        };
        assert!(helper.read().contains("ready"));
        helper
    }

    fn read(&self) -> String {
        let mut bytes = vec![0; 1 << 16];
        let fd = self.connection.as_ref().expect("open");
        let (length, _) = recv(fd, &mut bytes[..], RecvFlags::empty()).expect("an answer");
        String::from_utf8(bytes[..length].to_vec()).expect("text")
    }

    pub fn say(&self, bytes: &[u8]) -> Value {
        let fd = self.connection.as_ref().expect("open");
        send(fd, bytes, SendFlags::NOSIGNAL).expect("sent");
        serde_json::from_str(&self.read()).expect("JSON")
    }

    pub fn ask(&self, verb: &Value) -> Value {
        self.say(verb.to_string().as_bytes())
    }

    pub fn make(&self, group: &str) -> Value {
        self.say(
            format!(
                r#"{{"make":{{"group":"{group}","limits":{},"wait":false}}}}"#,
                no_limits()
            )
            .as_bytes(),
        )
    }

    pub fn adopt(&self, group: &str, pid: u32, start: u64) -> Value {
        self.say(
            format!(r#"{{"adopt":{{"group":"{group}","who":{{"pid":{pid},"start":{start}}}}}}}"#)
                .as_bytes(),
        )
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It ends when nobody asks any more.
        self.connection = None;
        self.child.wait().expect("ours");
    }
}

/// As the agent writes them, with nothing limited.
fn no_limits() -> String {
    let set = curb_core::host::limits::LimitSet::default();
    serde_json::to_string(&set).expect("JSON")
}

pub fn start_of(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("read");
    let rest = stat.rsplit(") ").next().expect("fields");
    rest.split(' ')
        .nth(19)
        .and_then(|n| n.parse().ok())
        .expect("a number")
}

pub fn is_refused(answer: &Value) -> bool {
    answer.get("refused").is_some()
}

pub fn sleeper(user: u32) -> Running {
    Running::start(Path::new("/bin/sleep"), &["120"], user)
}

#[test]
fn groups_that_it_did_not_make_and_processes_outside_of_its_own_cannot_be_touched() {
    let place = Place::new();
    let helper = Helper::start(&place);
    let mut stranger = sleeper(place.user);
    for verb in [
        json!({"kill": {"group": "system"}}),
        json!({"signal": {"group": "system", "signal": 15}}),
        json!({"freeze": {"group": "init"}}),
        json!({"remove": {"group": "system"}}),
        json!({"kill": {"group": ".."}}),
        json!({"kill": {"group": "../.."}}),
        json!({"kill": {"group": "/"}}),
        json!({"kill": {"group": ""}}),
        json!({"signal": {"pid": stranger.pid(), "signal": 9}}),
        json!({"kill": {"pid": stranger.pid()}}),
        json!({"exec": {"command": ["sh"]}}),
    ] {
        let answer = helper.ask(&verb);
        assert!(is_refused(&answer), "{verb}: {answer}");
    }
    // A group of its own that is empty can be killed, and that hits nobody.
    assert_eq!(helper.make("mine"), json!("done"));
    assert_eq!(
        helper.say(br#"{"kill":{"group":"mine"}}"#),
        json!({"count": {"processes": 0}})
    );
    assert!(is_refused(
        &helper.say(br#"{"signal":{"group":"mine","signal":9}}"#)
    ));
    assert!(is_refused(&helper.make("mine")), "it was made already");
    assert!(stranger.lives());
    assert_eq!(helper.say(br#"{"remove":{"group":"mine"}}"#), json!("done"));
}

#[test]
fn only_the_process_that_was_meant_is_taken_and_never_one_of_root_or_of_the_system() {
    let place = Place::new();
    let helper = Helper::start(&place);
    assert_eq!(helper.make("mine"), json!("done"));
    let own = std::process::id();
    // The first process, nobody, ourselves (root), who asks, the helper.
    for pid in [1, 0, own, helper.child.id()] {
        let start = if pid == 0 { 0 } else { start_of(pid) };
        assert!(is_refused(&helper.adopt("mine", pid, start)), "{pid}");
    }
    // A part of the kernel, where one can be seen.
    if Path::new("/proc/2/stat").exists() {
        assert!(is_refused(&helper.adopt("mine", 2, start_of(2))));
    }
    let mut sleeper = sleeper(place.user);
    let start = start_of(sleeper.pid());
    // Its number with another start is another process: of the past, or of the future.
    for wrong in [start - 1, start + 1, 0, u64::MAX] {
        assert_eq!(helper.adopt("mine", sleeper.pid(), wrong), json!("gone"));
    }
    assert!(!sleeper.cgroups().contains("curbagent"));
    assert_eq!(helper.adopt("mine", sleeper.pid(), start), json!("done"));
    assert!(sleeper.cgroups().contains("curbagent-mine"));
    // It is in a group: another cannot take it.
    assert_eq!(helper.make("other"), json!("done"));
    assert!(is_refused(&helper.adopt("other", sleeper.pid(), start)));
    assert!(
        is_refused(&helper.say(br#"{"remove":{"group":"mine"}}"#)),
        "it is not empty"
    );
    assert!(sleeper.lives());
    assert_eq!(
        helper.say(br#"{"signal":{"group":"mine","signal":15}}"#),
        json!({"count": {"processes": 1}})
    );
    until("it was asked to end, and did", || !sleeper.lives());
}

#[test]
fn a_process_in_another_agents_group_of_the_same_name_is_not_taken_from_it() {
    let (place, elsewhere) = (Place::new(), Place::new());
    let (helper, other) = (Helper::start(&place), Helper::start(&elsewhere));
    let sleeper = sleeper(place.user);
    let (pid, start) = (sleeper.pid(), start_of(sleeper.pid()));
    for one in [&helper, &other] {
        assert_eq!(one.make("chat"), json!("done"));
    }
    assert_eq!(helper.adopt("chat", pid, start), json!("done"));
    let before = sleeper.cgroups();
    assert!(is_refused(&other.adopt("chat", pid, start)));
    assert_eq!(sleeper.cgroups(), before);
    // Its own agent may say it twice.
    assert_eq!(helper.adopt("chat", pid, start), json!("done"));
}

#[test]
fn what_it_is_told_of_a_process_is_yes_or_no_and_nothing_else() {
    let place = Place::new();
    let helper = Helper::start(&place);
    let sleeper = sleeper(place.user);
    let who = json!({"pid": sleeper.pid(), "start": start_of(sleeper.pid())});
    let (pid, start) = (sleeper.pid(), start_of(sleeper.pid()));
    let of = format!(r#""who":{{"pid":{pid},"start":{start}}}"#);
    std::thread::sleep(Duration::from_millis(100));
    let libraries =
        helper.say(format!(r#"{{"libraries":{{{of},"names":["libmlx","libc"]}}}}"#).as_bytes());
    assert_eq!(libraries, json!({"found": {"places": [1]}}));
    let path = std::env::var("PATH").expect("set");
    let variable = |value: &str| {
        helper.say(
            format!(
                r#"{{"variable":{{{of},"name":"PATH","value":{}}}}}"#,
                json!(value)
            )
            .as_bytes(),
        )
    };
    assert_eq!(variable(&path), json!({"is": {"yes": true}}));
    assert_eq!(
        variable(&path[..path.len() - 1]),
        json!({"is": {"yes": false}}),
        "not by its beginning"
    );
    let read = helper.ask(&json!({"read": {"who": who, "file": "environ"}}));
    assert!(is_refused(&read), "{read}");
}

#[test]
fn messages_that_are_too_long_or_nonsense_are_refused_and_it_goes_on() {
    let place = Place::new();
    let helper = Helper::start(&place);
    for length in [8193, 9000, 60_000] {
        assert!(is_refused(&helper.say(&vec![b'['; length])));
    }
    for bytes in [
        &b"\0"[..],
        b"{",
        b"null",
        b"\xff\xfe",
        b"[[[[[[[[[[",
        b"{\"kill\":{\"group\":\"a\"}} ",
    ] {
        assert!(is_refused(&helper.say(bytes)));
    }
    assert_eq!(helper.say(br#""list""#), json!({"groups": {"names": []}}));
}

#[test]
fn a_number_that_another_process_has_since_is_not_taken_for_the_workload() {
    let place = Place::new();
    place.limits("", "      processes: {value: 64, why: test}", "");
    let mut agent = place.agent(&["--every", "100ms"]);
    agent.event("agent_started");
    let chat = place.start(Path::new("/bin/sleep"), &["120"]);
    let pid = chat.pid();
    agent.event_of("confined", pid);
    drop(chat);
    // The next process gets the number that comes after the last: of another user, hence of no workload.
    let mut another = None;
    for _ in 0..200 {
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).expect("root may");
        let next = sleeper(place.user + 4);
        if next.pid() == pid {
            another = Some(next);
            break;
        }
    }
    let mut another = another.expect("the number was used again");
    agent.event("ended");
    std::thread::sleep(Duration::from_millis(500));
    assert!(
        another.lives() && !another.cgroups().contains("curbagent"),
        "{}",
        another.cgroups()
    );
    assert_eq!(
        agent.metric("curb_workload_processes{workload=\"chat\"}"),
        Some(0.0)
    );
    agent.stop();
    assert!(another.lives());
}

#[test]
fn an_agent_that_is_not_root_confines_nothing_that_is_not_its_users_and_says_why() {
    let place = Place::new();
    place.limits("", "      processes: {value: 64, why: test}", "");
    let mut sleeper = sleeper(place.user);
    let ran = Command::new("setpriv")
        .args([
            "--reuid",
            "60999",
            "--regid",
            "60999",
            "--clear-groups",
            "timeout",
            "2",
        ])
        .args([
            env!("CARGO_BIN_EXE_curb"),
            "agent",
            "--no-listen",
            "--every",
            "100ms",
            "--limits",
        ])
        .arg(place.dir.path().join("limits.yaml"))
        .output()
        .expect("setpriv(1)");
    let told = String::from_utf8_lossy(&ran.stderr);
    assert!(
        told.contains(r#""event":"not_confined""#)
            && told.contains("no control group can be made here"),
        "{told}"
    );
    assert!(sleeper.lives() && !sleeper.cgroups().contains("curbagent"));
}

#[test]
fn a_file_of_limits_that_everybody_may_write_or_replace_is_not_obeyed() {
    use std::os::unix::fs::PermissionsExt;
    let set = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
    };
    let place = Place::new();
    let file = place.limits("", "      processes: {value: 64, why: test}", "");
    let mut agent = place.agent(&["--every", "100ms"]);
    agent.event("limits_read");
    // Another file, which is obeyed as little as it would stop nobody.
    place.limits("", "      processes: {value: 1, why: mine}", "");
    let told = |agent: &super::place::Agent, what: &str| {
        let refused = |e: &Value| {
            e["event"] == "limits_refused"
                && e["errors"][0].as_str().is_some_and(|w| w.contains(what))
        };
        agent.told().iter().any(refused)
    };
    agent.wait_for("the change", |e| {
        e["event"] == "limits_read" && e["rules"] == 1
    });
    set(&file, 0o666);
    fs::write(&file, fs::read(&file).expect("read")).expect("written");
    until("it is refused", || told(&agent, "everybody may write it"));
    assert_eq!(agent.get("/readyz", "").0, 503);
    // Its directory; and a pipe, at which one would wait for ever.
    set(&file, 0o644);
    set(place.dir.path(), 0o777);
    fs::write(&file, fs::read(&file).expect("read")).expect("written");
    until("it is refused", || {
        told(&agent, "everybody may put another file in its place")
    });
    set(place.dir.path(), 0o755);
    fs::remove_file(&file).expect("removed");
    let made = Command::new("mkfifo").arg(&file).status();
    assert!(made.expect("mkfifo(1)").success());
    until("it is refused", || told(&agent, "it is no file"));
    assert_eq!(agent.get("/healthz", "").0, 200);
    agent.stop();
}

/// The most memory that an agent ever had, in KiB, when it has looked a few times.
fn most_memory(agent: &mut super::place::Agent) -> u64 {
    until("it has looked", || {
        agent
            .metric("curb_agent_rounds_total")
            .is_some_and(|n| n > 3.0)
    });
    let status = fs::read_to_string(format!("/proc/{}/status", agent.child.id()));
    let status = status.expect("it runs");
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.expect("there").trim().trim_end_matches(" kB");
    kib.parse().expect("a number")
}

#[test]
fn very_many_arguments_and_names_that_are_no_text_make_the_agent_neither_large_nor_blind() {
    let place = Place::new();
    let word = place.word();
    place.limits(
        &format!(", command: \"*{word}*\""),
        "      processes: {value: 64, why: test}",
        "",
    );
    let mut agent = place.agent(&["--every", "100ms"]);
    let before = most_memory(&mut agent);
    agent.stop();
    // Its name and its first word are what terminals and parsers choke on.
    let program = format!(
        "open('/proc/self/comm', 'wb').write(b'e) R 1\\n\\x1b[31m\\xff'); import time; time.sleep(120) # {word}"
    );
    let many = "import os, sys; os.execv('/usr/bin/python3', [b'py\\x1b[2J\\xff)\\n', '-c', sys.argv[1]] + [''] * 200000)";
    let chat = place.start(Path::new("/usr/bin/python3"), &["-c", many, &program]);
    let of = |name: &str| fs::read(format!("/proc/{}/{name}", chat.pid())).unwrap_or_default();
    until("it has all its arguments, and its name", || {
        of("cmdline").len() > 200_000 && of("comm").starts_with(b"e) R")
    });
    let mut agent = place.agent(&["--every", "100ms"]);
    agent.event_of("confined", chat.pid());
    let after = most_memory(&mut agent);
    assert!(after < before + 3 * 1024, "{before} KiB, then {after} KiB");
    let (_, page) = agent.get("/metrics", "");
    assert!(!page.contains('\u{1b}') && !agent.text().contains('\u{1b}'));
}
