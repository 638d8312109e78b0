//! Each limit of the file on what runs already, and each step of the ladder; and what is not done, told.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::place::{Agent, Place, Running, python, until};

const QUICK: &[&str] = &["--every", "100ms"];

fn shell(place: &Place, text: &str) -> Running {
    place.start(Path::new("/bin/sh"), &["-c", text])
}

fn acted<'a>(action: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |e| e["event"] == "acted" && e["action"] == action
}

/// Soft and hard.
fn open_files(pid: u32) -> (String, String) {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
    let line = text.lines().find(|l| l.starts_with("Max open files"));
    let mut words = line.expect("there").split_whitespace().skip(3);
    let mut next = || words.next().expect("a number").to_owned();
    (next(), next())
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect()
}

/// Where the workload may write.
fn writable(place: &Place, name: &str) -> PathBuf {
    let dir = place.dir.path().join(name);
    fs::create_dir(&dir).expect("made");
    std::os::unix::fs::chown(&dir, Some(place.user), Some(place.user)).expect("root may");
    dir
}

fn once(agent: &Agent, why: &str) -> bool {
    let told = agent.told();
    let same = |e: &&Value| {
        e["event"] == "not_held" && e["why"].as_str().is_some_and(|w| w.starts_with(why))
    };
    told.iter().filter(same).count() == 1
}

#[test]
fn open_files_are_lowered_for_all_processes_of_the_workload_and_for_no_other() {
    let place = Place::new();
    // The helper's own user's: it needs no capability for these.
    let rule = |most: u32| {
        let word = place.word();
        let of = format!(
            "version: 1\nworkloads:\n  - name: chat\n    match: {{user: 0, command: \"*{word}*\"}}\n    limits:\n      open_files: {{value: {most}, why: test}}\n"
        );
        place.file("limits.yaml", &of)
    };
    rule(64);
    // One child has less of its own, and one is born later.
    let text = format!(
        ": {}; (ulimit -n 32; exec sleep 120) & sleep 121 & sleep 2; sleep 122",
        place.word()
    );
    let chat = Running::start(Path::new("/bin/sh"), &["-c", &text], 0);
    let stranger = Running::start(Path::new("/bin/sleep"), &["120"], 0);
    let before = open_files(stranger.pid());
    until("its children run", || children(chat.pid()).len() == 3);
    let mut agent = place.agent(&[QUICK, &["--also-root"]].concat());
    agent.event_of("confined", chat.pid());
    let lowered = ("64".to_owned(), "64".to_owned());
    until("it is lowered", || open_files(chat.pid()) == lowered);
    let of_children = || -> Vec<String> {
        let mut all: Vec<String> = children(chat.pid())
            .into_iter()
            .map(|pid| open_files(pid).1)
            .collect();
        all.sort();
        all
    };
    until("and of its children", || {
        of_children() == ["32", "64", "64"]
    });
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(of_children(), ["32", "64", "64"], "of the one born later");
    assert_eq!(open_files(stranger.pid()), before);
    assert!(!agent.text().contains("open_files:"), "{}", agent.text());
    // More than that is not given back: it is told to nobody that it was.
    rule(128);
    agent.event("limits_changed");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(open_files(chat.pid()), lowered);
}

#[test]
fn open_files_of_another_user_are_lowered_by_a_capability_or_it_is_told_that_they_are_not() {
    let place = Place::new();
    place.limits("", "      open_files: {value: 64, why: test}", "");
    let mut agent = place.agent(QUICK);
    let started = agent.event("agent_started");
    let capabilities = started["helper_capabilities"].as_str().expect("text");
    let chat = place.start(Path::new("/bin/sleep"), &["120"]);
    agent.event_of("confined", chat.pid());
    if capabilities.contains("CAP_SYS_RESOURCE") {
        until("it is lowered", || open_files(chat.pid()).1 == "64");
        return;
    }
    let told = agent.event("not_held")["why"].to_string();
    assert!(
        told.contains("open_files: ") && told.contains("CAP_SYS_RESOURCE"),
        "{told}"
    );
    let metric = "curb_workload_limits_not_held{workload=\"chat\",limit=\"open_files\"}";
    assert_eq!(agent.metric(metric), Some(1.0));
}

#[test]
fn reading_and_writing_are_limited_on_the_disk_that_it_works_on_and_set_free_again() {
    let place = Place::new();
    let limits = "      processes: {value: 64, why: test}\n";
    let io =
        "      io_read: {value: 64MiB/s, why: test}\n      io_write: {value: 32MiB/s, why: test}\n";
    place.limits("", &format!("{limits}{io}"), "");
    let mut agent = place.agent(QUICK);
    agent.event("agent_started");
    let chat = place.start(Path::new("/bin/sleep"), &["120"]);
    agent.event_of("confined", chat.pid());
    let set = || -> Option<String> {
        let dir = place.group("blkio", "chat")?;
        let of = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
        let (v1, v2) = (
            of("blkio.throttle.write_bps_device") + &of("blkio.throttle.read_bps_device"),
            of("io.max"),
        );
        Some((v1 + &v2).replace("rbps=", "").replace("wbps=", ""))
    };
    let (read, write) = ((64 << 20).to_string(), (32 << 20).to_string());
    // A kernel without it, or a root that is on no disk: that is told.
    until("it is set, or told", || {
        once(&agent, "reading and writing")
            || once(&agent, "io")
            || set().is_some_and(|s| s.contains(&read) && s.contains(&write))
    });
    place.limits("", limits, "");
    agent.event("limits_changed");
    until("it is set free", || {
        !set().unwrap_or_default().contains(&write)
    });
}

#[test]
fn a_workload_runs_on_the_cpus_that_it_is_given_and_on_no_other() {
    let place = Place::new();
    place.limits("", "      cpu_set: {value: \"0\", why: test}", "");
    let mut agent = place.agent(QUICK);
    agent.event("agent_started");
    let chat = place.start(Path::new("/bin/sleep"), &["120"]);
    agent.event_of("confined", chat.pid());
    let allowed = || {
        let status = fs::read_to_string(format!("/proc/{}/status", chat.pid())).expect("read");
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix("Cpus_allowed_list:"));
        line.expect("there").trim().to_owned()
    };
    until("it is on CPU 0", || allowed() == "0");
}

#[test]
fn a_workload_that_has_had_its_time_is_asked_to_end_and_then_ended() {
    let place = Place::new();
    for (limits, resource, text) in [
        (
            "duration: {value: 1s, why: test}",
            "duration",
            "trap '' TERM; sleep 120",
        ),
        (
            "cpu_time: {value: 1s, why: test}",
            "cpu_time",
            "while :; do :; done",
        ),
    ] {
        let ladder =
            format!("    ladder:\n      - {{when: {resource} = 100%, do: stop, grace: 1s}}");
        place.limits("", &format!("      {limits}"), &ladder);
        let mut agent = place.agent(QUICK);
        agent.event("agent_started");
        let mut chat = shell(&place, text);
        let stop = agent.wait_for("a stop", acted("stop"));
        assert_eq!(
            (&stop["resource"], &stop["outcome"]),
            (&resource.into(), &"done".into())
        );
        until("it has ended", || !chat.lives());
        agent.event("ended");
        agent.stop();
    }
}

/// Takes a mebibyte at a time up to so many.
fn eats(most: u32) -> String {
    format!(
        "import time\nkeep = []\nfor _ in range({most}):\n    keep.append(bytearray(1 << 20))\n    time.sleep(0.02)\ntime.sleep(120)"
    )
}

#[test]
fn at_its_limit_on_memory_it_is_held_still_given_more_and_goes_on() {
    let place = Place::new();
    let ladder = "    ladder:\n      - {when: memory > 90%, do: pause, raise: 100%, most: 128MiB}";
    place.limits("", "      memory: {value: 64MiB, why: test}", ladder);
    let mut agent = place.agent(QUICK);
    agent.event("agent_started");
    let mut chat = place.start(&python_for_all(), &["-c", &eats(90)]);
    let pause = agent.wait_for("a pause", acted("pause"));
    assert_eq!(pause["outcome"], "done", "{pause}");
    let detail = pause["detail"].as_str().expect("text");
    assert!(detail.contains("raised from 64 MiB to 128 MiB"), "{detail}");
    until("it has what it needs", || {
        agent
            .metric("curb_workload_memory_bytes{workload=\"chat\"}")
            .is_some_and(|b| b > f64::from(90 << 20))
    });
    assert!(chat.lives(), "{}", agent.text());
    let limit = agent.metric("curb_workload_memory_limit_bytes{workload=\"chat\"}");
    assert_eq!(limit, Some(f64::from(128 << 20)));
    let steps = "curb_workload_exceedances_total{workload=\"chat\",kind=\"memory\",step=\"pause\"}";
    assert_eq!(agent.metric(steps), Some(1.0));
}

/// One that an ordinary user can run.
fn python_for_all() -> PathBuf {
    fs::canonicalize("/usr/bin/python3").unwrap_or_else(|_| python())
}

#[test]
fn it_is_told_to_save_its_work_before_it_is_stopped_and_its_helpers_do_not_end_of_that() {
    let place = Place::new();
    let ladder = "    ladder:\n      - {when: processes > 5%, do: checkpoint, signal: USR1, within: 1s}\n      - {when: processes > 5%, after: 2s, do: stop, grace: 5s}";
    place.limits("", "      processes: {value: 40, why: test}", ladder);
    let saved = writable(&place, "saved").join("work");
    let mut agent = place.agent(QUICK);
    agent.event("agent_started");
    // The children know nothing of USR1: they would end of it.
    let mut chat = shell(
        &place,
        &format!(
            "trap 'pgrep -c -P $$ sleep > {0}.new; mv {0}.new {0}' USR1; sleep 120 & sleep 121 & sleep 122 & while :; do wait; done",
            saved.display()
        ),
    );
    let checkpoint = agent.wait_for("a checkpoint", acted("checkpoint"));
    assert_eq!(checkpoint["outcome"], "done", "{checkpoint}");
    assert!(
        checkpoint["detail"]
            .as_str()
            .is_some_and(|d| d == format!("signal 10 to process {}", chat.pid())),
        "{checkpoint}"
    );
    until("it has saved", || saved.exists());
    assert_eq!(fs::read_to_string(&saved).expect("read").trim(), "3");
    agent.wait_for("a stop", acted("stop"));
    until("it has ended", || !chat.lives());
}

#[test]
fn a_signal_to_save_is_not_sent_to_a_program_that_would_die_of_it() {
    let place = Place::new();
    let ladder =
        "    ladder:\n      - {when: processes > 5%, do: checkpoint, signal: USR1, within: 1s}";
    place.limits("", "      processes: {value: 16, why: test}", ladder);
    let mut agent = place.agent(QUICK);
    agent.event("agent_started");
    let mut chat = place.start(Path::new("/bin/sleep"), &["120"]);
    let told = agent.wait_for("a checkpoint", acted("checkpoint"));
    let why = told["outcome"]["failed"].as_str().unwrap_or_default();
    assert!(why.contains("has no handler for it"), "{told}");
    assert!(chat.lives());
}

#[test]
fn what_cannot_be_set_on_what_runs_is_told_once_and_counted() {
    let place = Place::new();
    let limits = "      processes: {value: 64, why: test}\n      gpu_visible: {value: [0], why: test}\n      mlx_cache: {value: 256MiB, why: test}";
    let more = "    retry: {times: 3}\n    fallback: {command: [sleep, \"1\"]}";
    place.limits("", limits, more);
    let mut agent = place.agent(QUICK);
    agent.event("agent_started");
    let chat = place.start(Path::new("/bin/sleep"), &["120"]);
    agent.event_of("confined", chat.pid());
    until("all of it is told", || {
        ["gpu_visible", "mlx_cache", "retry", "fallback"]
            .iter()
            .all(|name| once(&agent, name))
    });
    let not_held = |limit: &str| {
        format!("curb_workload_limits_not_held{{workload=\"chat\",limit=\"{limit}\"}}")
    };
    for name in ["gpu_visible", "mlx_cache", "retry", "fallback"] {
        assert_eq!(agent.metric(&not_held(name)), Some(1.0), "{name}");
    }
    assert_eq!(agent.metric(&not_held("processes")), None);
    // Started again it is the same, and no news.
    drop(chat);
    agent.event("ended");
    let chat = place.start(Path::new("/bin/sleep"), &["121"]);
    agent.event_of("confined", chat.pid());
    std::thread::sleep(Duration::from_millis(300));
    assert!(
        once(&agent, "gpu_visible") && once(&agent, "retry"),
        "{}",
        agent.text()
    );
}

#[test]
fn a_workload_that_is_started_again_and_again_is_odd() {
    let place = Place::new();
    place.limits("", "      processes: {value: 64, why: test}", "");
    let mut agent = place.agent(QUICK);
    agent.event("agent_started");
    for n in 1..=3 {
        let chat = place.start(Path::new("/bin/sleep"), &["120"]);
        agent.event_of("confined", chat.pid());
        let odd = agent.told().iter().any(|e| e["event"] == "anomaly_began");
        assert!(!odd || n == 3, "{}", agent.text());
        drop(chat);
        until("it is seen to have ended", || {
            let ended = |e: &&Value| e["event"] == "ended";
            agent.told().iter().filter(ended).count() == n
        });
    }
    let odd = agent.event("anomaly_began");
    assert_eq!(odd["kind"], "restarts", "{odd}");
    let metric = "curb_workload_anomaly{workload=\"chat\",kind=\"restarts\"}";
    assert_eq!(agent.metric(metric), Some(1.0));
    let starts = "curb_workload_starts_total{workload=\"chat\"}";
    assert_eq!(agent.metric(starts), Some(3.0));
}

#[test]
fn of_two_rules_that_mean_one_process_the_first_in_the_file_has_it() {
    let place = Place::new();
    let (user, word) = (place.user, place.word());
    let rule = |name: &str, more: &str| {
        format!(
            "  - name: {name}\n    match: {{user: {user}{more}}}\n    limits:\n      processes: {{value: 64, why: test}}\n"
        )
    };
    let narrow = format!(", command: \"*{word}*\"");
    for (first, second) in [("narrow", "wide"), ("wide", "narrow")] {
        let of = |name: &str| rule(name, if name == "narrow" { &narrow } else { "" });
        let (one, two) = (of(first), of(second));
        place.file(
            "limits.yaml",
            &format!("version: 1\nworkloads:\n{one}{two}"),
        );
        let mut agent = place.agent(QUICK);
        agent.event("agent_started");
        let chat = shell(&place, &format!(": {word}; sleep 120; :"));
        agent.event_of("confined", chat.pid());
        let groups = chat.cgroups();
        assert!(groups.contains(&format!("curbagent-{first}")), "{groups}");
        assert!(!groups.contains(&format!("curbagent-{second}")), "{groups}");
        drop(chat);
        agent.event("ended");
        agent.stop();
    }
}

#[test]
fn a_program_saves_what_the_workload_has_without_privileges_and_within_its_time() {
    let place = Place::new();
    let out = place.dir.path().join("out");
    fs::create_dir(&out).expect("made");
    // The agent's own user, which is nobody in particular, writes there.
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o777);
    fs::set_permissions(&out, mode).expect("changed");
    let at = out.display();
    let text = format!(
        "#!/bin/sh\necho $$ $(id -u) $CURB_PID $CURB_WORKLOAD $CURB_ACTION >{at}/new; mv {at}/new {at}/said; exec sleep 120\n"
    );
    let hook = place.file("save.sh", &text);
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    fs::set_permissions(&hook, mode).expect("changed");
    let ladder = format!(
        "    ladder:\n      - {{when: processes > 5%, do: checkpoint, hook: [{}], within: 1s}}\n      - {{when: processes > 5%, do: stop, grace: 1s}}",
        hook.display()
    );
    place.limits("", "      processes: {value: 16, why: test}", &ladder);
    let mut agent = place.agent(QUICK);
    agent.event("agent_started");
    let mut chat = place.start(Path::new("/bin/sleep"), &["120"]);
    let saved = agent.wait_for("a checkpoint", acted("checkpoint"));
    assert_eq!(saved["outcome"], "done", "{saved}");
    until("it was run", || out.join("said").exists());
    let said = fs::read_to_string(out.join("said")).expect("read");
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_ne!(words[1], "0", "as root: {said}");
    let pid = chat.pid().to_string();
    assert_eq!(words[2..], [pid.as_str(), "chat", "checkpoint"], "{said}");
    // It would take two minutes: it is ended when its time is over, and what comes after it was waited for.
    agent.wait_for("a stop", acted("stop"));
    until("it was ended", || {
        !Path::new(&format!("/proc/{}", words[0])).exists()
    });
    until("the workload was stopped", || !chat.lives());
}
