//! Every step of the ladder with a real MLX program, and what comes after a limit ended it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Curb, Ran, curb, end, groups_of, wait_until};

/// A workload of a file of limits, with what `curb` tells of it.
pub struct Workload {
    dir: TempDir,
}

/// The Python that has MLX.
pub fn mlx_python() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join(".venv/bin/python");
    assert!(
        python.exists(),
        "no {}: `make env` makes it",
        python.display()
    );
    python.display().to_string()
}

impl Workload {
    /// The fields of the workload `chat`, as lines of YAML.
    pub fn new(host: &str, fields: &str) -> Workload {
        let dir = tempfile::tempdir().expect("a directory");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/mlx_load.py");
        let fields = fields
            .replace("PYTHON", &mlx_python())
            .replace("SCRIPT", script)
            .replace("DIR", &dir.path().display().to_string());
        let lines: String = fields.lines().map(|l| format!("    {l}\n")).collect();
        let text = format!("version: 1\n{host}workloads:\n  - name: chat\n{lines}");
        fs::write(dir.path().join("limits.yaml"), text).expect("written");
        Workload { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts it; the program does what the steps say.
    pub fn start(&self, steps: &str) -> Curb {
        let (file, events) = (self.path("limits.yaml"), self.path("events"));
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/mlx_load.py");
        let python = mlx_python();
        let mut args = vec![
            "--workload",
            "chat",
            "--limits",
            file.to_str().expect("text"),
        ];
        args.extend([
            "--events",
            events.to_str().expect("text"),
            "--grace",
            "5s",
            "--",
        ]);
        args.extend([python.as_str(), script]);
        args.extend(steps.split(' ').filter(|s| !s.is_empty()));
        curb(&args)
    }

    pub fn run(&self, steps: &str) -> Ran {
        end(self.start(steps))
    }

    pub fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("events")).unwrap_or_default();
        text.lines()
            .filter_map(|l| serde_json::from_str(l).ok())
            .collect()
    }

    /// The events of one kind.
    pub fn all(&self, kind: &str) -> Vec<Value> {
        let mut events = self.events();
        events.retain(|e| e["event"] == kind);
        events
    }

    /// Each step that was taken, with how it went.
    fn acted(&self) -> Vec<String> {
        let word = |e: &Value| format!("{} {}", e["action"].as_str().expect("one"), e["outcome"]);
        self.all("acted").iter().map(word).collect()
    }

    fn wait_for(&self, kind: &str) -> Value {
        wait_until(kind, || !self.all(kind).is_empty());
        self.all(kind).remove(0)
    }
}

const MEMORY: &str = "limits: {memory: {value: 256MiB, why: \"the test's\"}}\n";

#[test]
fn a_warning_is_told_to_a_program_and_the_exceedance_ends() {
    let chat = Workload::new(
        "",
        &format!(
            "{MEMORY}ladder:\n  - {{when: memory > 50%, after: 200ms, do: warn}}\non_warn: [sh, -c, \"env | grep ^CURB_ | sort > DIR/told\"]\n"
        ),
    );
    let ran = chat.run("+160 ~1 - ~1.5");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(chat.acted(), ["warn \"done\""], "{}", ran.err);
    let cleared = &chat.all("cleared")[0];
    assert_eq!(
        (&cleared["outcome"], &cleared["done"][0]),
        (&"done".into(), &"warn".into())
    );
    let (peak, lasted) = (
        cleared["peak"].as_u64().expect("bytes"),
        cleared["lasted_ms"].as_u64().expect("ms"),
    );
    assert!(peak > 160 << 20 && lasted > 900, "{cleared}");
    let told = fs::read_to_string(chat.path("told")).expect("it was told");
    for line in [
        "CURB_ACTION=warn",
        "CURB_EXCEEDANCE=1",
        "CURB_LIMIT=268435456",
        "CURB_RESOURCE=memory",
        "CURB_WORKLOAD=chat",
    ] {
        assert!(told.contains(line), "{told}");
    }
    assert!(
        ran.err
            .contains("curb chat: memory is below its limit again"),
        "{}",
        ran.err
    );
}

#[test]
fn a_warning_whose_program_is_broken_is_told_and_harms_nobody() {
    let chat = Workload::new(
        "",
        &format!(
            "{MEMORY}ladder:\n  - {{when: memory > 50%, do: warn}}\non_warn: [DIR/no-such-program]\n"
        ),
    );
    let ran = chat.run("+160 ~0.5");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        ran.err.contains("curb chat: warn: could not be done"),
        "{}",
        ran.err
    );
}

/// The CPU quota of the workload's group, as the kernel has it.
fn quota(curb: u32) -> String {
    let groups = groups_of(curb);
    let file = |name: &str| {
        groups
            .iter()
            .find_map(|g| fs::read_to_string(g.join(name)).ok())
    };
    let text = file("cpu.cfs_quota_us")
        .or_else(|| file("cpu.max"))
        .expect("a quota");
    text.split_whitespace().next().expect("a word").to_owned()
}

#[test]
fn a_throttle_holds_the_cpu_while_the_exceedance_lasts_and_is_undone_after_it() {
    let chat = Workload::new(
        "",
        &format!("{MEMORY}ladder:\n  - {{when: memory > 50%, do: throttle, cpu: 0.2}}\n"),
    );
    let child = chat.start("+160 ~1 - ~2.5");
    let curb = child.id();
    let acted = chat.wait_for("acted");
    assert_eq!(acted["state"], "over_limit");
    assert_eq!(quota(curb), "20000");
    chat.wait_for("undone");
    assert!(["-1", "max"].contains(&quota(curb).as_str()));
    let ran = end(child);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(chat.events().last().expect("one")["state"], "ended");
    let cleared = chat.wait_for("cleared");
    assert_eq!(cleared["outcome"], "done");
}

#[test]
fn at_its_limit_it_is_held_still_and_given_more_as_long_as_there_is() {
    let limits = "limits: {memory: {value: 128MiB, why: \"the test's\"}}\n";
    let chat = Workload::new(
        "host: {keep_free: {memory: 64MiB}}\n",
        &format!(
            "{limits}ladder:\n  - {{when: memory = 100%, do: pause, raise: 50%, most: 288MiB}}\n"
        ),
    );
    let ran = chat.run("+220");
    assert_eq!(ran.code, Some(0), "{} {:?}", ran.err, chat.events());
    assert!(
        ran.err
            .contains("its limit on memory raised from 128 MiB to 192 MiB"),
        "{}",
        ran.err
    );
    assert!(
        ran.err
            .contains("its limit on memory raised from 192 MiB to 288 MiB"),
        "{}",
        ran.err
    );
    assert!(chat.events().iter().any(|e| e["state"] == "paused"));
    // More than the most it may get is killed by the kernel, as ever.
    let ran = chat.run("+400");
    assert_eq!(ran.code, Some(137), "{}", ran.err);
    assert!(ran.err.contains("the kernel killed it"), "{}", ran.err);
}

#[test]
fn a_death_while_it_is_paused_is_a_death() {
    // The host never has that much to give: the pause waits for it.
    let text = fs::read_to_string("/proc/meminfo").expect("meminfo");
    let kib: u64 = text
        .split_whitespace()
        .nth(1)
        .expect("a number")
        .parse()
        .expect("a number");
    let host = format!(
        "host: {{keep_free: {{memory: {}KiB}}}}\n",
        kib - (200 << 10)
    );
    let limits = "limits: {memory: {value: 128MiB, why: \"the test's\"}}\n";
    let ladder = "ladder:\n  - {when: memory = 100%, do: pause, raise: 50%, most: 192MiB}\n";
    let chat = Workload::new(&host, &format!("{limits}{ladder}"));
    let child = chat.start("+220");
    wait_until("it is paused", || {
        chat.events().iter().any(|e| e["state"] == "paused")
    });
    let pid = chat.wait_for("started")["pid"].to_string();
    // The child of curb, which has not waited for it: its number is its own.
    let killed = std::process::Command::new("kill")
        .args(["-9", &pid])
        .status();
    assert!(killed.expect("kill(1)").success());
    let ran = end(child);
    assert_eq!(ran.code, Some(137), "{}", ran.err);
    assert!(
        ran.err
            .contains("it was ended by signal 9, which was not sent by curb"),
        "{}",
        ran.err
    );
}

#[test]
fn it_saves_its_work_and_is_stopped_after_the_time_for_it() {
    let ladder = "ladder:\n  - {when: memory > 50%, do: checkpoint, signal: USR1, within: 1s}\n  - {when: memory > 50%, do: stop, grace: 5s}\n";
    let chat = Workload::new("", &format!("{MEMORY}{ladder}"));
    let saved = chat.path("saved.npy");
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_curb"));
    child
        .env("SAVE_TO", &saved)
        .args(["run", "--workload", "chat", "--limits"])
        .arg(chat.path("limits.yaml"));
    child
        .arg("--events")
        .arg(chat.path("events"))
        .arg("--")
        .arg(mlx_python());
    child
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/host/mlx_load.py"
        ))
        .args(["+160", "~60"]);
    let ran = child.output().expect("it ends");
    assert_eq!(ran.status.code(), Some(143));
    assert!(saved.exists(), "it saved its work");
    assert_eq!(chat.acted(), ["checkpoint \"done\"", "stop \"done\""]);
    let at = |n: usize| -> String {
        chat.all("acted")[n]["time"]
            .as_str()
            .expect("a time")
            .to_owned()
    };
    let seconds = |t: String| -> f64 { t[17..23].parse().expect("seconds") };
    let between = (seconds(at(1)) - seconds(at(0))).rem_euclid(60.0);
    assert!((1.0..4.0).contains(&between), "{between}");
    assert_eq!(chat.all("died")[0]["cause"], "ladder");
}

#[test]
fn a_program_without_a_handler_is_not_ended_by_the_signal_that_should_have_it_save_its_work() {
    let limits = "limits: {memory: {value: 128MiB, why: \"the test's\"}}\n";
    let ladder = "ladder:\n  - {when: memory > 50%, do: checkpoint, signal: USR1, within: 1s}\n";
    let chat = Workload::new("", &format!("{limits}{ladder}"));
    let holds = "import time; x = bytearray(b'a') * (90 << 20); time.sleep(2); print('lived')";
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_curb"));
    child
        .args(["run", "--workload", "chat", "--limits"])
        .arg(chat.path("limits.yaml"))
        .arg("--events")
        .arg(chat.path("events"))
        .args(["--", "python3", "-c", holds]);
    let ran = child.output().expect("it ends");
    assert_eq!(ran.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "lived\n");
    let outcome = chat.all("acted")[0]["outcome"].to_string();
    assert!(
        outcome.contains("signal 10 is not sent") && outcome.contains("has no handler for it"),
        "{outcome}"
    );
}

#[test]
fn after_the_kernel_killed_it_it_is_started_again_with_more() {
    let limits = "limits: {memory: {value: 128MiB, why: \"the test's\"}}\n";
    let retry = "retry: {times: 3, first: 100ms, most: 1s, memory: +50%, within: 10m}\n";
    let chat = Workload::new(
        "host: {keep_free: {memory: 64MiB}}\n",
        &format!("{limits}{retry}"),
    );
    let ran = chat.run("+220");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let started: Vec<u64> = chat
        .all("started")
        .iter()
        .map(|e| e["memory"].as_u64().expect("bytes") >> 20)
        .collect();
    assert_eq!(started, [128, 192, 288]);
    let states: Vec<String> = chat
        .events()
        .iter()
        .map(|e| e["state"].as_str().expect("one").to_owned())
        .collect();
    assert!(states.contains(&"restarting".to_owned()));
    assert_eq!(
        ran.err.matches("the kernel killed it").count(),
        2,
        "{}",
        ran.err
    );
}

#[test]
fn what_fails_too_often_is_replaced_by_the_smaller_command() {
    let limits = "limits: {memory: {value: 128MiB, why: \"the test's\"}}\n";
    let retry = "retry: {times: 1, first: 100ms, most: 1s, within: 10m}\n";
    let fallback = "fallback: {command: [PYTHON, SCRIPT, +16]}\n";
    let chat = Workload::new("", &format!("{limits}{retry}{fallback}"));
    let ran = chat.run("+220");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.ends_with("up\n+16\n"), "{}", ran.out);
    assert_eq!(chat.all("fell_back")[0]["failures"], 2);
    let last = chat.all("started").pop().expect("one");
    assert_eq!(
        (&last["state"], &last["run"]),
        (&"fallback".into(), &3.into())
    );
    // By its group's name `curb limits apply` knows that the fallback's limits are its own.
    let group = last["group"].as_str().expect("its name");
    assert!(group.ends_with("-03"), "{group}");
}

#[test]
fn what_fails_too_often_is_given_up() {
    let limits = "limits: {memory: {value: 128MiB, why: \"the test's\"}}\n";
    let retry = "retry: {times: 2, first: 100ms, most: 100ms, within: 10m}\n";
    let chat = Workload::new("", &format!("{limits}{retry}"));
    let ran = chat.run("+220");
    assert_eq!(ran.code, Some(137), "{}", ran.err);
    assert!(
        ran.err
            .ends_with("curb chat: ended at a limit 3 times: giving up\n"),
        "{}",
        ran.err
    );
    assert_eq!(chat.all("started").len(), 3);
    assert_eq!(chat.events().last().expect("one")["state"], "given_up");
}

#[test]
fn mlx_that_answers_sigterm_late_has_its_grace() {
    // Its handler runs when the computation returns.
    let limits = "limits: {duration: {value: 2s, why: \"the test's\"}}\n";
    let chat = Workload::new("", limits);
    let begun = std::time::Instant::now();
    let ran = chat.run("*1 ~30");
    assert_eq!(ran.code, Some(143), "{}", ran.err);
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(
        ran.err.contains("it was stopped: it may run 2s"),
        "{}",
        ran.err
    );
}

#[test]
fn a_baseline_that_does_not_tell_of_the_workload_any_more_is_told_and_stops_nothing() {
    use curb_core::host::baseline::{self, Baseline, Evidence, Machine};
    let chat = Workload::new(
        "",
        "limits: {memory: {value: 128MiB, why: w}}\nbaseline: chat.yaml\n",
    );
    let limits = chat.path("limits.yaml");
    let run = || {
        let file = limits.to_str().expect("text");
        end(curb(&[
            "--workload",
            "chat",
            "--limits",
            file,
            "--",
            "sh",
            "-c",
            "sleep 0.2; exit 3",
        ]))
    };
    let ran = run();
    assert_eq!(ran.code, Some(3), "{}", ran.err);
    assert!(
        ran.err
            .contains("curb chat: note: its limits rest on the baseline chat.yaml, and"),
        "{}",
        ran.err
    );
    let mut of_another_machine = Baseline {
        workload: "chat".to_owned(),
        evidence: Evidence {
            machine: Machine {
                system: "Plan 9".to_owned(),
                cpus: 1,
                memory_kib: 1,
                ..Machine::default()
            },
            ..Evidence::default()
        },
        scenarios: Default::default(),
    };
    let write = |baseline: &Baseline| {
        fs::write(chat.path("chat.yaml"), baseline::write(baseline)).expect("written");
    };
    let scenario = include_str!("scenario.yaml");
    let whole = baseline::write(&of_another_machine)
        .replace("scenarios: {}", &format!("scenarios:\n{scenario}"));
    fs::write(chat.path("chat.yaml"), &whole).expect("written");
    let ran = run();
    assert_eq!(ran.code, Some(3), "{}", ran.err);
    assert!(
        ran.err
            .contains("its scenario `peak` is stale: the machine's"),
        "{}",
        ran.err
    );
    of_another_machine.workload = "other".to_owned();
    write(&of_another_machine);
    let ran = run();
    assert!(
        ran.err.contains("it is a baseline of workload `other`"),
        "{}",
        ran.err
    );
}
