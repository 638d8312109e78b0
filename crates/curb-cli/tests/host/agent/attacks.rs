//! Attacks on what the agent and its helper go by: groups that are none, a name that leads elsewhere, a number that is
//! another's, a namespace in which one is root.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::hostile::{Helper, is_refused, sleeper, start_of};
use super::place::{Place, Running, until};

const LIMITS: &str = "      processes: {value: 64, why: test}";

fn set(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
}

/// Directories and files with the names of the kernel's, in every place where the helper looks for its groups.
fn fake_groups(below: &Path, member: u32) {
    let own = fs::read_to_string("/proc/self/cgroup").expect("read");
    let base = Path::new("/sys/fs/cgroup");
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (names, path) = (parts.next().expect("names"), parts.next().expect("a path"));
        let trees: Vec<String> = match names {
            "" if base.join("cgroup.controllers").exists() => vec![String::new()],
            "" => vec!["unified".into()],
            names => names
                .split(',')
                .map(str::to_owned)
                .chain([names.to_owned()])
                .collect(),
        };
        for tree in trees {
            let place = below.join(tree).join(path.trim_start_matches('/'));
            let group = place.join("curbagent.groups/curbagent-chat");
            fs::create_dir_all(&group).expect("made");
            for dir in [&place, &place.join("curbagent.groups"), &group] {
                for (file, text) in [
                    ("cgroup.procs", format!("{member}\n")),
                    ("tasks", format!("{member}\n")),
                    ("cgroup.controllers", "cpu memory pids\n".into()),
                    ("cgroup.subtree_control", "cpu memory pids\n".into()),
                    ("cgroup.freeze", "0\n".into()),
                    ("freezer.state", "THAWED\n".into()),
                    ("memory.limit_in_bytes", "1000000000\n".into()),
                    ("memory.max", "1000000000\n".into()),
                ] {
                    fs::write(dir.join(file), text).expect("written");
                }
            }
        }
    }
}

#[test]
fn files_that_only_look_like_groups_make_it_neither_end_nor_take_anybody() {
    let place = Place::new();
    let mut innocent = sleeper(place.user + 4);
    let fake = place.dir.path().join("fake");
    fs::create_dir(&fake).expect("made");
    fake_groups(&fake, innocent.pid());
    // Only the helper has it there: the mount is in a namespace of its own.
    let helper = Helper::start_by(|its: OwnedFd| {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c"])
            .arg("mount --bind \"$1\" /sys/fs/cgroup && exec \"$2\" agent-helper")
            .arg("sh")
            .arg(&fake)
            .arg(env!("CARGO_BIN_EXE_curb"))
            .stdin(its);
        command
    });
    assert_eq!(
        helper.ask(&json!("list")),
        json!({"groups": {"names": []}}),
        "a group that it did not make"
    );
    for verb in [
        &br#"{"kill":{"group":"chat"}}"#[..],
        br#"{"signal":{"group":"chat","signal":9}}"#,
        br#"{"freeze":{"group":"chat"}}"#,
    ] {
        assert!(is_refused(&helper.say(verb)));
    }
    // Nothing is held there, and nobody is told that it is.
    let made = helper.make("mine");
    assert!(made.get("failed").is_some(), "{made}");
    let (pid, start) = (innocent.pid(), start_of(innocent.pid()));
    assert!(is_refused(&helper.adopt("mine", pid, start)));
    drop(helper);
    assert!(innocent.lives());
}

/// A process with a number that was another's: made by clone3(2), of this user, in the groups of the test.
fn with_the_number(pid: u32, user: u32) -> Running {
    let program = format!(
        "import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
wanted = (ctypes.c_int32 * 1)({pid})
args = (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17, 0, 0, 0, ctypes.addressof(wanted), 1, 0)
made = libc.syscall(435, args, ctypes.sizeof(args))
if made == 0:
    libc.prctl(1, 9)
    os.setgid({user})
    os.setuid({user})
    os.execv('/bin/sleep', ['sleep', '120'])
os.waitpid(made, 0)
"
    );
    Running::start(Path::new("/usr/bin/python3"), &["-c", &program], 0)
}

#[test]
fn a_process_that_took_the_number_of_a_member_between_look_and_act_is_not_touched() {
    let place = Place::new();
    let helper = Helper::start(&place);
    assert_eq!(helper.make("mine"), json!("done"));
    let member = sleeper(place.user);
    let (pid, start) = (member.pid(), start_of(member.pid()));
    assert_eq!(helper.adopt("mine", pid, start), json!("done"));
    drop(member);
    // Start times are told in hundredths of a second.
    std::thread::sleep(Duration::from_millis(50));
    // Of the same user, so that only the time of its start tells it from the member.
    let _parent = with_the_number(pid, place.user);
    let is_sleep =
        || fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c.starts_with("sleep"));
    until("the number is another's", is_sleep);
    let tell = |start: u64| {
        let who = format!(r#""who":{{"pid":{pid},"start":{start}}}"#);
        helper.say(format!(r#"{{"tell":{{"group":"mine",{who},"signal":15}}}}"#).as_bytes())
    };
    assert_eq!(tell(start), json!("gone"));
    assert_eq!(helper.adopt("mine", pid, start), json!("gone"));
    let nobody = json!({"count": {"processes": 0}});
    let all = |verb: &str| helper.say(verb.as_bytes());
    assert_eq!(all(r#"{"signal":{"group":"mine","signal":15}}"#), nobody);
    assert_eq!(all(r#"{"kill":{"group":"mine"}}"#), nobody);
    // Named as what it is, it is still no member.
    let now = start_of(pid);
    assert_ne!(now, start);
    let why = tell(now)["refused"]["why"].to_string();
    assert!(why.contains("is not in group mine"), "{why}");
    assert!(is_sleep(), "it goes on");
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it lives");
    assert!(!groups.contains("curbagent"), "{groups}");
}

#[test]
fn who_is_root_in_a_namespace_of_its_own_is_to_the_agent_the_user_that_started_it() {
    let place = Place::new();
    let word = place.word();
    let text = format!(": {word}; while :; do sleep 1; done");
    let arguments = ["--user", "--map-root-user", "sh", "-c", &text];
    // Root's rule does not mean it.
    place.file(
        "limits.yaml",
        &format!(
            "version: 1\nworkloads:\n  - name: chat\n    match: {{user: 0, command: \"*{word}*\"}}\n    limits:\n{LIMITS}\n"
        ),
    );
    let mut inside = place.start(Path::new("/usr/bin/unshare"), &arguments);
    let maps = format!("/proc/{}/uid_map", inside.pid());
    until("it is root in a namespace of its own", || {
        let map = fs::read_to_string(&maps).unwrap_or_default();
        let words: Vec<&str> = map.split_whitespace().collect();
        words.len() == 3 && words[0] == "0" && words[1] == place.user.to_string()
    });
    let mut agent = place.agent(&["--every", "100ms", "--also-root"]);
    let looked = |agent: &mut super::place::Agent| {
        until("it has looked", || {
            agent
                .metric("curb_agent_rounds_total")
                .is_some_and(|n| n > 5.0)
        });
    };
    looked(&mut agent);
    agent.stop();
    assert!(!agent.text().contains("\"found\""), "{}", agent.text());
    assert!(inside.lives() && !inside.cgroups().contains("curbagent"));
    // The rule of who started it does, without any word about root.
    place.limits(&format!(", command: \"*{word}*\""), LIMITS, "");
    let mut agent = place.agent(&["--every", "100ms"]);
    agent.event_of("confined", inside.pid());
    assert!(inside.lives() && inside.cgroups().contains("curbagent-chat"));
}

#[test]
fn a_name_that_leads_where_everybody_may_write_is_not_obeyed() {
    let place = Place::new();
    let file = place.limits("", LIMITS, "");
    let open = place.dir.path().join("open");
    let within = open.join("within");
    fs::create_dir_all(&within).expect("made");
    set(&within, 0o755);
    set(&open, 0o777);
    let refused = |what: &str| {
        let mut agent = place.agent(&["--every", "100ms"]);
        let status = agent.child.wait().expect("ours");
        assert!(!status.success(), "{what}");
        // What it said is read beside this.
        until(what, || {
            let told = agent.text();
            told.contains("everybody may put another file in its place")
        });
    };
    // A link to a file that is nobody else's, in a directory that is.
    fs::rename(&file, open.join("real.yaml")).expect("moved");
    std::os::unix::fs::symlink(open.join("real.yaml"), &file).expect("a link");
    refused("a link to a file");
    // A link to a directory that can be put aside as a whole, by who may write the one above it.
    fs::rename(open.join("real.yaml"), within.join("limits.yaml")).expect("moved");
    fs::remove_file(&file).expect("removed");
    std::os::unix::fs::symlink(within.join("limits.yaml"), &file).expect("a link");
    refused("a directory below one that is everybody's");
    // With that mended it is obeyed.
    set(&open, 0o755);
    let mut agent = place.agent(&["--every", "100ms"]);
    agent.event("agent_started");
    agent.stop();
}
