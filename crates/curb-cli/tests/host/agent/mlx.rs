//! Real MLX: found, confined, watched, stopped.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::place::{Place, Running, number, python, until};

/// MLX arrays of a MiB each, so many, so many seconds apart; then it rests.
fn grow(blocks: u32, pause: &str) -> String {
    format!(
        "import time\nimport mlx.core as mx\nkeep = []\nfor i in range({blocks}):\n    x = mx.full((1 << 18,), 1.0)\n    mx.eval(x)\n    keep.append(x)\n    time.sleep({pause})\ntime.sleep(120)\n"
    )
}

const LIMITS: &str =
    "      memory: {value: 300MiB, why: test}\n      processes: {value: 64, why: test}";

#[test]
fn real_mlx_is_found_by_library_and_user_and_confined_on_sight_and_the_metrics_are_the_kernels() {
    let place = Place::new();
    place.mlx_limits(LIMITS, "");
    let mut agent = place.agent(&["--also-root", "--every", "200ms"]);
    agent.event("agent_started");
    // One that says of itself what it likes, by title, arguments and environment, without the library; another user's that
    // says so; and real MLX of the right user that is another program.
    let word = place.word();
    let title = "import ctypes, os, time\nctypes.CDLL(None).prctl(15, b'mlx libmlx.so', 0, 0, 0)\nos.environ['CURB_WORKLOAD'] = 'chat'\ntime.sleep(120)";
    let mut forged = Running::start(&python(), &["-c", title, &word, "libmlx.so"], 0);
    let exec = format!("exec -a 'python {word} libmlx.so' sleep 120");
    let mut others = Running::start(Path::new("/bin/bash"), &["-c", &exec], place.user);
    let mut another = Running::start(&python(), &["-c", &grow(1, "0")], 0);
    let mut chat = place.python(&grow(64, "0.01"));
    let found = agent.event_of("found", chat.pid());
    assert_eq!(found["by"], "library libmlx, user 0, command");
    let confined = agent.event_of("confined", chat.pid());
    assert!(
        chat.cgroups().contains("curbagent-chat"),
        "{}",
        chat.cgroups()
    );
    let before = confined["held_before"].as_u64().unwrap_or(0);
    let (limit, usage) = match place.group("memory", "chat") {
        Some(dir) if dir.join("memory.max").exists() => {
            (dir.join("memory.max"), dir.join("memory.current"))
        }
        Some(dir) => (
            dir.join("memory.limit_in_bytes"),
            dir.join("memory.usage_in_bytes"),
        ),
        None => panic!("no group"),
    };
    let page = 4096;
    let right = (300 << 20) - before;
    until("the limit is less what it had before", || {
        number(&limit).abs_diff(right) < page
    });
    // Once it rests: what is told is what the kernel counts, and what it had before on top.
    until("all of it is there", || number(&usage) + before > 60 << 20);
    std::thread::sleep(Duration::from_secs(1));
    let told = agent
        .metric("curb_workload_memory_bytes{workload=\"chat\"}")
        .expect("told");
    let kernel = number(&usage);
    let most = (kernel + before) as f64;
    assert!(
        told >= kernel as f64 * 0.98 && told <= most * 1.02,
        "{told} {kernel} {before}"
    );
    let rss = resident(chat.pid());
    assert!(
        told <= rss * 1.1 && told >= rss * 0.6,
        "{told}, and its own memory is {rss}"
    );
    // What it starts for a moment (an interpreter asks its system a thing or two) is its own as well.
    until("it is one process", || {
        agent.metric("curb_workload_processes{workload=\"chat\"}") == Some(1.0)
    });
    assert_eq!(
        agent.metric("curb_workload_memory_limit_bytes{workload=\"chat\"}"),
        Some(f64::from(300 << 20))
    );
    for (what, process) in [
        ("forged", &mut forged),
        ("another user's", &mut others),
        ("another program", &mut another),
    ] {
        assert!(process.lives());
        assert!(
            !process.cgroups().contains("curbagent"),
            "{what} was taken: {}",
            agent.text()
        );
    }
    assert!(chat.lives());
}

fn resident(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).expect("read");
    let pages: u64 = text
        .split(' ')
        .nth(1)
        .and_then(|n| n.parse().ok())
        .expect("a number");
    (pages * 4096) as f64
}

#[test]
fn a_leak_of_real_mlx_is_told_with_the_time_at_which_it_meets_its_limit() {
    let place = Place::new();
    place.mlx_limits("      memory: {value: 2GiB, why: test}", "");
    let mut agent = place.agent(&[
        "--every",
        "100ms",
        "--leak-window",
        "300ms",
        "--settle",
        "500ms",
    ]);
    agent.event("agent_started");
    // About 20 MiB a second.
    let _chat = place.python(&grow(600, "0.05"));
    let leak = agent.wait_for("a leak", |e| {
        e["event"] == "anomaly_began" && e["kind"] == "leak"
    });
    let evidence = &leak["evidence"]["leak"];
    let per_second = evidence["per_hour"].as_u64().expect("a rate") / 3600;
    assert!((8 << 20..40 << 20).contains(&per_second), "{leak}");
    assert_eq!(evidence["meets"]["limit"], 2_u64 << 30);
    let within = evidence["meets"]["within"].as_u64().expect("a time");
    assert!((30_000..300_000).contains(&within), "{leak}");
    assert!(
        leak["text"]
            .as_str()
            .is_some_and(|t| t.contains("it meets its limit of 2 GiB in")),
        "{leak}"
    );
    assert_eq!(
        agent.metric("curb_workload_anomaly{workload=\"chat\",kind=\"leak\"}"),
        Some(1.0)
    );
    assert!(
        agent
            .metric("curb_workload_memory_limit_met_in_seconds{workload=\"chat\"}")
            .is_some()
    );
}

#[test]
fn real_mlx_that_goes_beyond_is_warned_of_slowed_down_and_stopped_by_its_ladder() {
    let place = Place::new();
    let ladder = "    ladder:
      - {when: memory > 40%, do: warn}
      - {when: memory > 50%, do: throttle, cpu: 0.5}
      - {when: memory > 60%, do: stop, grace: 10s}
    on_warn: [./tell.sh]";
    place.mlx_limits(LIMITS, ladder);
    let tell = place.file("tell.sh", "#!/bin/sh\nenv | grep ^CURB_ >told\n");
    let told = place.file("told", "");
    writable(&told);
    make_runnable(&tell);
    let mut agent = place.agent(&["--also-root", "--every", "100ms"]);
    agent.event("agent_started");
    let mut chat = place.python(&grow(280, "0.05"));
    for action in ["warn", "throttle", "stop"] {
        let acted = agent.wait_for(action, |e| e["event"] == "acted" && e["action"] == action);
        assert_eq!(acted["outcome"], "done", "{acted}");
        assert_eq!(acted["workload"], "chat");
    }
    let ended = chat.0.wait().expect("ours");
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(
        ended.signal(),
        Some(15),
        "it was asked to end, and did: {ended:?}"
    );
    agent.event("ended");
    let cleared = agent.event("cleared");
    assert_eq!(
        cleared["done"],
        serde_json::json!(["warn", "throttle", "stop"])
    );
    let line = "curb_workload_exceedances_total{workload=\"chat\",kind=\"memory\",step=\"stop\"}";
    assert_eq!(agent.metric(line), Some(1.0));
    until("the callback ran", || {
        fs::read_to_string(&told).is_ok_and(|t| t.contains("CURB_WORKLOAD=chat"))
    });
    until("its group is gone", || {
        place.group("memory", "chat").is_none()
    });
}

fn writable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).expect("changed");
}

fn make_runnable(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("changed");
}

#[test]
fn real_mlx_that_the_kernel_kills_at_its_limit_is_told_as_that() {
    let place = Place::new();
    place.mlx_limits("      memory: {value: 150MiB, why: test}", "");
    let mut agent = place.agent(&["--also-root", "--every", "100ms"]);
    agent.event("agent_started");
    let mut chat = place.python(&grow(400, "0.02"));
    let ended = chat.0.wait().expect("ours");
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(ended.signal(), Some(9), "{ended:?}\n{}", agent.text());
    let end = agent.event("ended");
    assert!(end["oom_kills"].as_u64().is_some_and(|n| n >= 1), "{end}");
    assert!(
        agent
            .metric("curb_workload_oom_kills_total{workload=\"chat\"}")
            .is_some_and(|n| n >= 1.0)
    );
}
