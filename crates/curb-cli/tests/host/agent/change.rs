//! A file that changes under what runs; and pages that tell of no limit that is not in force.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::place::{Agent, Place, Running, until};

const QUICK: &[&str] = &["--every", "100ms"];
const STOP: &str = "    ladder:\n      - {when: memory = 100%, do: stop, grace: 1s}";
const LIMIT: &str = "curb_workload_memory_limit_bytes{workload=\"chat\"}";

fn memory(mib: u64) -> String {
    format!("      memory: {{value: {mib}MiB, why: test}}")
}

/// One that an ordinary user can run.
fn python_for_all() -> PathBuf {
    std::fs::canonicalize("/usr/bin/python3").expect("the system has one")
}

/// So many MiB at once, then it rests.
fn holds(mib: u64) -> String {
    format!("import time\nkeep = b'x' * ({mib} << 20)\ntime.sleep(120)")
}

fn resident(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

/// The `nth` change, counted from 1.
fn change(agent: &mut Agent, nth: usize) -> Value {
    let changed = |told: Vec<Value>| -> Vec<Value> {
        let is = |e: &Value| e["event"] == "limits_changed";
        told.into_iter().filter(is).collect()
    };
    until("the change is told", || changed(agent.told()).len() >= nth);
    changed(agent.told())[nth - 1].clone()
}

fn goes_on(agent: &Agent, chat: &mut Running) {
    std::thread::sleep(Duration::from_secs(1));
    let over = |e: &Value| e["event"] == "exceeded" || e["event"] == "acted";
    let told = agent.told().iter().any(over);
    assert!(chat.lives() && !told, "{}", agent.text());
}

#[test]
fn a_limit_below_what_it_held_before_it_was_found_is_refused_and_it_goes_on() {
    let place = Place::new();
    place.limits("", &memory(200), STOP);
    let mut chat = place.start(&python_for_all(), &["-c", &holds(40)]);
    until("it holds that", || resident(chat.pid()) > 40 << 20);
    let mut agent = place.agent(QUICK);
    let confined = agent.event_of("confined", chat.pid());
    let before = confined["held_before"].as_u64().unwrap_or(0);
    assert!(before > 40 << 20, "{confined}");
    place.limits("", &memory(20), STOP);
    let refused = change(&mut agent, 1);
    let why = refused["failed"].as_str().unwrap_or_default();
    assert!(
        why.starts_with("memory: it holds ") && why.contains("200 MiB"),
        "{refused}"
    );
    goes_on(&agent, &mut chat);
    assert_eq!(agent.metric(LIMIT), Some(f64::from(200 << 20)));
    // One that has room for it all the same is taken, from what stayed.
    place.limits("", &memory(100), STOP);
    assert_eq!(change(&mut agent, 2)["failed"], Value::Null);
    assert_eq!(agent.metric(LIMIT), Some(f64::from(100 << 20)));
    goes_on(&agent, &mut chat);
}

#[test]
fn a_limit_below_what_it_took_in_its_group_is_refused_also_by_the_agent_that_comes_after() {
    let place = Place::new();
    place.limits("", &memory(200), STOP);
    let mut agent = place.agent(QUICK);
    agent.event("agent_started");
    let late = format!("import time\ntime.sleep(2)\n{}", holds(60));
    let mut chat = place.start(&python_for_all(), &["-c", &late]);
    agent.event_of("confined", chat.pid());
    until("it holds that in its group", || {
        let used = agent.metric("curb_workload_memory_bytes{workload=\"chat\"}");
        used.is_some_and(|b| b > f64::from(60 << 20))
    });
    place.limits("", &memory(20), STOP);
    let refused = change(&mut agent, 1);
    assert!(refused["failed"].is_string(), "{refused}");
    goes_on(&agent, &mut chat);
    agent.stop();
    let mut next = place.agent(QUICK);
    next.event("taken_up");
    next.event("agent_started");
    goes_on(&next, &mut chat);
    let limit = next.metric(LIMIT).expect("told");
    assert!(limit > f64::from(190 << 20), "{limit}");
}

#[test]
fn of_what_could_not_be_confined_no_page_tells_a_limit() {
    let place = Place::new();
    let word = place.word();
    let rule = format!(
        "version: 1\nworkloads:\n  - name: chat\n    match: {{user: 0, command: \"*{word}*\"}}\n    limits:\n      memory: {{value: 300MiB, why: test}}\n      cpu: {{value: 1, why: test}}\n      processes: {{value: 64, why: test}}\n"
    );
    place.file("limits.yaml", &rule);
    let text = format!(": {word}; sleep 120; :");
    let chat = Running::start(Path::new("/bin/sh"), &["-c", &text], 0);
    let limits = [
        "memory_limit_bytes",
        "cpu_limit_cpus",
        "tasks_limit",
        "confined",
    ];
    let metrics = |agent: &mut Agent| {
        limits.map(|of| agent.metric(&format!("curb_workload_{of}{{workload=\"chat\"}}")))
    };
    let json = |agent: &mut Agent| -> Value {
        let (_, page) = agent.get("/v1/workloads", "");
        let all: Value = serde_json::from_str(&page).expect("JSON");
        all[0].clone()
    };
    let mut agent = place.agent(QUICK);
    agent.event_of("not_confined", chat.pid());
    assert_eq!(metrics(&mut agent), [None, None, None, Some(0.0)]);
    let page = json(&mut agent);
    assert_eq!(page["held_by"], "nothing", "{page}");
    for limit in ["memory_limit_bytes", "cpu_limit_milli", "tasks_limit"] {
        assert!(page[limit].is_null(), "{page}");
    }
    agent.stop();
    let mut agent = place.agent(&[QUICK, &["--also-root"]].concat());
    agent.event_of("confined", chat.pid());
    let held = [f64::from(300 << 20), 1.0, 64.0, 1.0].map(Some);
    until("all of it is told", || metrics(&mut agent) == held);
    let page = json(&mut agent);
    assert_ne!(page["held_by"], "nothing", "{page}");
    assert_eq!(page["memory_limit_bytes"], 300 << 20);
}

#[test]
fn a_kill_by_the_kernel_that_ends_the_workload_is_told_as_one() {
    let place = Place::new();
    place.limits("", &memory(64), "");
    let mut agent = place.agent(&["--every", "500ms"]);
    agent.event("agent_started");
    let late = format!("import time\ntime.sleep(2)\n{}", holds(200));
    let chat = place.start(&python_for_all(), &["-c", &late]);
    agent.event_of("confined", chat.pid());
    let ended = agent.event("ended");
    assert_eq!(ended["oom_kills"], 1, "{ended}");
    let told = agent.told();
    let kills: Vec<&Value> = told.iter().filter(|e| e["event"] == "oom_killed").collect();
    assert_eq!(kills.len(), 1, "{}", agent.text());
    assert_eq!(kills[0]["processes"], 1);
}
