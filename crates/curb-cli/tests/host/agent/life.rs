//! The agent's own life: restarts, files that change, many short processes, its pages.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::place::{Agent, Place, Running, number, python, until};

const LIMITS: &str =
    "      memory: {value: 200MiB, why: test}\n      processes: {value: 64, why: test}";

fn sleeper(place: &Place) -> Running {
    place.start(Path::new("/bin/sleep"), &["120"])
}

fn tasks_limit(place: &Place) -> Option<u64> {
    Some(number(&place.group("pids", "chat")?.join("pids.max")))
}

#[test]
fn asked_to_end_it_leaves_the_workload_running_and_limited_and_the_next_one_takes_it_up() {
    let place = Place::new();
    place.limits("", LIMITS, "");
    let mut agent = place.agent(&["--every", "100ms"]);
    agent.event("agent_started");
    let mut chat = sleeper(&place);
    agent.event_of("confined", chat.pid());
    agent.stop();
    assert!(chat.lives() && chat.cgroups().contains("curbagent-chat"));
    assert_eq!(tasks_limit(&place), Some(64));
    let mut next = place.agent(&["--every", "100ms"]);
    assert_eq!(next.event("taken_up")["group"], "curbagent-chat");
    until("it is its workload", || {
        next.metric("curb_workload_processes{workload=\"chat\"}") == Some(1.0)
    });
    assert!(chat.lives());
}

#[test]
fn killed_and_started_again_it_goes_on_where_it_was() {
    let place = Place::new();
    let ladder = "    ladder:\n      - {when: processes > 5%, do: stop, grace: 5s}";
    place.limits("", LIMITS, "");
    let mut agent = place.agent(&["--every", "100ms"]);
    let helper = agent.event("agent_started")["helper"]
        .as_u64()
        .expect("a number");
    let mut chat = place.start(
        Path::new("/bin/sh"),
        &["-c", "sleep 120 & sleep 120 & sleep 120 & sleep 120 & wait"],
    );
    agent.event_of("confined", chat.pid());
    agent.kill();
    until("the helper has ended", || {
        !Path::new(&format!("/proc/{helper}")).exists()
    });
    assert!(chat.lives() && chat.cgroups().contains("curbagent-chat"));
    assert_eq!(tasks_limit(&place), Some(64));
    // The next one acts: by a ladder that is new.
    place.limits("", LIMITS, ladder);
    let mut next = place.agent(&["--every", "100ms"]);
    next.event("taken_up");
    next.wait_for("a stop", |e| e["event"] == "acted" && e["action"] == "stop");
    next.event("ended");
    until("it has ended", || !chat.lives());
    until("its group is gone", || {
        place.group("memory", "chat").is_none()
    });
}

#[test]
fn a_file_that_is_wrong_leaves_what_was_in_force_and_a_right_one_changes_what_runs() {
    let place = Place::new();
    place.limits("", LIMITS, "");
    let mut agent = place.agent(&["--every", "100ms"]);
    agent.event("agent_started");
    let mut chat = sleeper(&place);
    agent.event_of("confined", chat.pid());
    place.file(
        "limits.yaml",
        "version: 1\nworkloads:\n  - name: chat\n    match: {usr: 7}\n",
    );
    let refused = agent.event("limits_refused");
    let first = refused["errors"][0].as_str().expect("an error");
    assert!(first.contains("limits.yaml:4:"), "{refused}");
    assert_eq!(tasks_limit(&place), Some(64));
    assert_eq!(agent.get("/readyz", "").0, 503);
    assert_eq!(agent.get("/healthz", "").0, 200);
    place.limits("", "      processes: {value: 99, why: test}", "");
    agent.wait_for("a change", |e| {
        e["event"] == "limits_changed" && e["failed"].is_null()
    });
    assert_eq!(tasks_limit(&place), Some(99));
    assert_eq!(agent.get("/readyz", "").0, 200);
    // Its rule is gone: its limits are lifted, and it runs on.
    place.file("limits.yaml", "version: 1\nworkloads: []\n");
    agent.event("let_go");
    let pids = place.group("pids", "chat").expect("there").join("pids.max");
    until("it may have any number of processes", || {
        fs::read_to_string(&pids).is_ok_and(|t| t.trim() == "max")
    });
    assert!(chat.lives());
}

#[test]
fn thousands_of_short_processes_leave_nothing_behind() {
    let place = Place::new();
    place.limits("", "      processes: {value: 200, why: test}", "");
    let mut agent = place.agent(&["--every", "100ms"]);
    let helper = agent.event("agent_started")["helper"]
        .as_u64()
        .expect("a number");
    let mut chat = place.start(
        Path::new("/bin/sh"),
        &[
            "-c",
            "sleep 1; i=0; while [ $i -lt 2000 ]; do /bin/true; i=$((i+1)); done; exec sleep 120",
        ],
    );
    agent.event_of("confined", chat.pid());
    let pid = agent.child.id();
    let before = descriptors(pid);
    until("all of them have ended", || {
        fs::read_to_string(format!("/proc/{}/cmdline", chat.pid()))
            .is_ok_and(|t| t.starts_with("sleep\x00120"))
    });
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(
        agent.metric("curb_workload_processes{workload=\"chat\"}"),
        Some(1.0)
    );
    // One descriptor a process of this machine; others may have come and gone meanwhile.
    let after = descriptors(pid);
    assert!(after <= before + 40, "{before} {after}");
    for of in [u64::from(pid), helper] {
        assert_eq!(zombies(of), 0);
    }
    let (count, started) = (
        starts(&agent),
        agent.metric("curb_workload_starts_total{workload=\"chat\"}"),
    );
    // The shell, and what it was waiting for when it was found; all others were born inside.
    assert!(count <= 2 && started == Some(1.0), "{}", agent.text());
    assert!(chat.lives());
}

fn starts(agent: &Agent) -> usize {
    let confined = |e: &serde_json::Value| e["event"] == "confined";
    agent.told().iter().filter(|e| confined(e)).count()
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("read")
        .count()
}

fn zombies(of: u64) -> usize {
    let children = format!("/proc/{of}/task/{of}/children");
    let children = fs::read_to_string(children).unwrap_or_default();
    let dead = |pid: &&str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains(") Z ")
    };
    children.split_whitespace().filter(dead).count()
}

#[test]
fn children_that_ran_before_their_parent_was_found_are_confined_with_it() {
    let place = Place::new();
    place.limits("", LIMITS, "");
    let mut chat = place.start(
        Path::new("/bin/sh"),
        &["-c", "sleep 120 & (sleep 121 & wait) & wait"],
    );
    std::thread::sleep(Duration::from_millis(300));
    let mut agent = place.agent(&["--every", "100ms"]);
    agent.event("agent_started");
    agent.event_of("confined", chat.pid());
    until("all four are in it", || {
        agent.metric("curb_workload_processes{workload=\"chat\"}") == Some(4.0)
    });
    let group = place.group("memory", "chat").expect("there");
    let members = fs::read_to_string(group.join("cgroup.procs")).expect("read");
    let members: BTreeSet<&str> = members.lines().collect();
    assert_eq!(members.len(), 4);
    assert!(chat.lives());
}

#[test]
fn the_agent_faces_the_network_without_any_privilege_and_its_helper_has_four_capabilities() {
    let place = Place::new();
    place.limits("", LIMITS, "");
    let mut agent = place.agent(&[]);
    let started = agent.event("agent_started");
    let status = |pid: u64| fs::read_to_string(format!("/proc/{pid}/status")).expect("read");
    let field = |text: &str, key: &str| {
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix(key))
            .expect("there");
        line.trim_start_matches(':').trim().to_owned()
    };
    let own = status(u64::from(agent.child.id()));
    assert_ne!(field(&own, "Uid").split('\t').next(), Some("0"));
    for set in ["CapPrm", "CapEff", "CapInh", "CapBnd", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&field(&own, set), 16), Ok(0), "{set}");
    }
    assert_eq!(field(&own, "NoNewPrivs"), "1");
    let helper = status(started["helper"].as_u64().expect("a number"));
    // CAP_DAC_READ_SEARCH is 2, CAP_KILL 5, CAP_SYS_PTRACE 19, CAP_SYS_RESOURCE 24 (for open files alone: see the filter).
    // Not every root has the last one: of these four it keeps what it had.
    let (three, fourth) = ((1 << 2) | (1 << 5) | (1 << 19), 1 << 24);
    let all = u64::from_str_radix(&field(&status(std::process::id().into()), "CapPrm"), 16);
    let four = three | (all.expect("a set") & fourth);
    assert_eq!(u64::from_str_radix(&field(&helper, "CapEff"), 16), Ok(four));
    assert_eq!(u64::from_str_radix(&field(&helper, "CapPrm"), 16), Ok(four));
    for set in ["CapInh", "CapBnd", "CapAmb"] {
        assert_eq!(
            u64::from_str_radix(&field(&helper, set), 16),
            Ok(0),
            "{set}"
        );
    }
    assert_eq!(field(&helper, "NoNewPrivs"), "1");
    if Path::new("/proc/sys/kernel/seccomp").is_dir() {
        assert_eq!(
            field(&helper, "Seccomp"),
            "2",
            "its calls of the kernel are filtered"
        );
    }
}

#[test]
fn what_it_serves_is_what_a_strict_parser_of_metrics_takes() {
    let place = Place::new();
    place.limits("", LIMITS, "");
    let mut agent = place.agent(&["--every", "100ms"]);
    agent.event("agent_started");
    let chat = sleeper(&place);
    agent.event_of("confined", chat.pid());
    std::thread::sleep(Duration::from_millis(300));
    let (status, plain) = agent.get("/metrics", "");
    let (_, open) = agent.get(
        "/metrics",
        "Accept: application/openmetrics-text; version=1.0.0\r\n",
    );
    assert_eq!(status, 200);
    for (module, text) in [
        ("prometheus_client.parser", &plain),
        ("prometheus_client.openmetrics.parser", &open),
    ] {
        let file = place.file("page.txt", text);
        let program = format!(
            "import sys\nfrom {module} import text_string_to_metric_families as parse\nn = [f.name for f in parse(open(sys.argv[1]).read())]\nassert 'curb_workload_memory_bytes' in n, n\nassert len(n) == len(set(n)) and len(n) > 20, n\n"
        );
        let ran = Command::new(python())
            .args(["-c", &program])
            .arg(&file)
            .output()
            .expect("it runs");
        assert!(
            ran.status.success(),
            "{module}: {}\n{text}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }
    let (_, workloads) = agent.get("/v1/workloads", "");
    let workloads: serde_json::Value = serde_json::from_str(&workloads).expect("JSON");
    assert_eq!(workloads[0]["processes"][0]["pid"], chat.pid());
    let (_, history) = agent.get("/v1/history?workload=chat", "");
    let history: serde_json::Value = serde_json::from_str(&history).expect("JSON");
    assert!(
        history["points"].as_array().is_some_and(|p| p.len() >= 2),
        "{history}"
    );
    assert_eq!(agent.get("/v1/history?workload=other", "").0, 404);
    assert_eq!(agent.get("/elsewhere", "").0, 404);
}

#[test]
fn one_look_tells_what_would_be_confined_and_changes_nothing() {
    let place = Place::new();
    let limits = place.limits("", LIMITS, "");
    let mut chat = sleeper(&place);
    std::thread::sleep(Duration::from_millis(100));
    let before = chat.cgroups();
    let mut once = place.curb(&["agent", "--once", "--limits"]);
    let ran = once.arg(&limits).output().expect("it runs");
    let found: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    assert_eq!(found[0]["processes"][0]["pid"], chat.pid());
    assert_eq!(chat.cgroups(), before);
    assert!(chat.lives());
}

#[test]
fn a_second_agent_in_the_same_place_is_refused() {
    let place = Place::new();
    place.limits("", LIMITS, "");
    let mut first = place.agent(&[]);
    first.event("agent_started");
    let mut second = place.agent(&[]);
    until("it ends", || {
        second.child.try_wait().expect("ours").is_some()
    });
    assert!(
        second.text().contains("another agent has its groups in"),
        "{}",
        second.text()
    );
}

#[test]
fn who_asks_it_to_end_as_soon_as_it_has_started_is_heard() {
    let place = Place::new();
    place.limits("", LIMITS, "");
    for _ in 0..5 {
        let mut agent = place.agent(&["--every", "100ms"]);
        agent.event("agent_started");
        agent.stop();
        until("it says so", || agent.text().contains("agent_stopped"));
    }
}
