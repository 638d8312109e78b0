//! A program at its limit that only reads back from disk what was just taken from it: the kernel kills nobody, so curb acts.
//!
//! How it goes is the kernel's choice. Linux 6.1 (control groups of version 2, in a user-mode Linux) goes on for ever; newer ones
//! may kill it after a second, and with version 1 what others have read of a file is charged to them. Hence what holds
//! everywhere is always checked, and what was seen to come of it where it does.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};

use crate::agent::place::{Place, Running};
use crate::common::{Ran, curb, end};

/// A workload whose fields these are, within 64 MiB.
struct Chat {
    dir: TempDir,
}

impl Chat {
    fn new(fields: &str) -> Chat {
        let dir = tempfile::tempdir().expect("a directory");
        let limits = "limits: {memory: {value: 64MiB, why: \"the test's\"}}";
        let lines: String = fields.lines().map(|l| format!("    {l}\n")).collect();
        let host = "host: {keep_free: {memory: 64MiB}}";
        let text = format!("version: 1\n{host}\nworkloads:\n  - name: chat\n    {limits}\n{lines}");
        fs::write(dir.path().join("limits.yaml"), text).expect("written");
        Chat { dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Runs the program with what it is to do with a file of so many MiB.
    fn run(&self, options: &[&str], mib: usize, does: &[&str]) -> Ran {
        let (_own, file) = a_file(mib);
        let (limits, events) = (self.path("limits.yaml"), self.path("events"));
        let mut args = vec![
            "--workload",
            "chat",
            "--limits",
            &limits,
            "--events",
            &events,
        ];
        args.extend(options);
        args.extend(["--", "python3", SCRIPT, &file]);
        args.extend(does);
        end(curb(&args))
    }

    fn all(&self, kind: &str) -> Vec<Value> {
        let text = fs::read_to_string(PathBuf::from(self.path("events"))).unwrap_or_default();
        let events = text.lines().filter_map(|l| serde_json::from_str(l).ok());
        events.filter(|e: &Value| e["event"] == kind).collect()
    }

    /// Whether the kernel goes on for ever: with version 2, and unless it has killed by itself after all.
    fn goes_on_for_ever(&self) -> bool {
        let text = self.all("died")[0]["text"].to_string();
        self.all("started")[0]["held_by"] == "cgroup-v2" && !text.contains("killed it: all")
    }
}

/// A file on a disk that nobody else reads, and its path. Where nothing can be written it is our own program: nobody else reads
/// more of that than is run of it.
fn a_file(mib: usize) -> (Option<NamedTempFile>, String) {
    let Ok(mut file) = NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")) else {
        let own = std::env::current_exe().expect("our own");
        return (None, own.display().to_string());
    };
    file.write_all(&vec![1; mib << 20]).expect("written");
    file.as_file().sync_all().expect("on the disk");
    let path = file.path().display().to_string();
    (Some(file), path)
}

/// It holds 63 MiB of its own, and needs 8 MiB of the file again and again: 96 MiB are enough.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/thrash.py");
const NEEDS_MORE: [&str; 2] = ["63", "2000"];

#[test]
fn who_thrashes_is_told_ended_as_by_the_kernel_and_started_again_with_more() {
    let chat = Chat::new("retry: {times: 1, first: 100ms, most: 1s, memory: +50%}\n");
    let ran = chat.run(&["--end-thrashing", "12s"], 8, &NEEDS_MORE);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.ends_with("done\n"), "{}", ran.out);
    let died = chat.all("died");
    assert_eq!(died[0]["cause"], "memory", "{}", ran.err);
    assert_eq!(died[0]["exit_code"], 137);
    assert!(ran.err.contains("the kernel killed it"), "{}", ran.err);
    let memory = chat.all("started")[1]["memory"].as_u64();
    assert_eq!(memory, Some(96 << 20));
    if !chat.goes_on_for_ever() {
        return;
    }
    let told = &chat.all("thrashing")[0];
    let number = |event: &Value, field: &str| event[field].as_u64().expect("a number");
    assert_eq!(number(told, "limit"), 64 << 20);
    assert!(number(told, "pages_a_second") > 256, "{told}");
    assert!(
        (10_000..20_000).contains(&number(told, "lasted_ms")),
        "{told}"
    );
    assert!(number(told, "ended_in_ms") <= 2000, "{told}");
    assert!(number(&died[0], "ran_ms") > 12_000, "{}", died[0]);
    for text in [
        "it is thrashing: it is at its limit of 64 MiB, reads its own program back from disk",
        "it was thrashing: all its processes together may hold 64 MiB",
    ] {
        assert!(ran.err.contains(text), "{}", ran.err);
    }
}

#[test]
fn who_thrashes_is_given_more_by_a_step_of_its_ladder() {
    let chat = Chat::new(
        "ladder:\n  - {when: memory thrashing, after: 500ms, do: pause, raise: 50%, most: 96MiB}\n\
         retry: {times: 1, first: 100ms, most: 1s, memory: +50%}\n",
    );
    let ran = chat.run(&[], 8, &NEEDS_MORE);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.ends_with("done\n"), "{}", ran.out);
    if !chat.goes_on_for_ever() {
        return;
    }
    assert_eq!(
        chat.all("started").len(),
        1,
        "it was not ended: {}",
        ran.err
    );
    let acted = &chat.all("acted")[0];
    assert_eq!(
        (&acted["action"], &acted["outcome"]),
        (&"pause".into(), &"done".into())
    );
    // It may be done before a whole second without thrashing is over, so that the end of that is not always told.
    assert_eq!(chat.all("died")[0]["cause"], "done", "{}", ran.err);
}

#[test]
fn who_reads_a_file_larger_than_its_limit_again_and_again_does_not_thrash() {
    let chat = Chat::new("");
    let ran = chat.run(&["--memory", "32MiB"], 48, &["stream", "14"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.starts_with("passes "), "{}", ran.out);
    assert_eq!(chat.all("thrashing"), [Value::Null; 0], "{}", ran.err);
}

#[test]
fn a_workload_of_the_agents_that_thrashes_is_told_and_ended() {
    let place = Place::new();
    let word = place.word();
    place.file(
        "limits.yaml",
        &format!(
            "version: 1\nworkloads:\n  - name: chat\n    match: {{user: 0, command: \"*{word}*\"}}\n    \
             limits: {{memory: {{value: 64MiB, why: \"the test's\"}}}}\n    end_thrashing: 11s\n"
        ),
    );
    let mut agent = place.agent(&["--every", "500ms", "--also-root"]);
    agent.event("agent_started");
    let (_own, file) = a_file(8);
    let python = Path::new("python3");
    let mut chat = Running::start(python, &[SCRIPT, &file, "-1", "2000", &word], 0);
    agent.event_of("confined", chat.pid());
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let ended = agent.wait_for("its end", |e| e["event"] == "ended");
    assert!(!chat.lives());
    // With version 1 the kernel killed it, or it got all of the file.
    if !v2 || ended["oom_kills"] != 0 {
        return;
    }
    let told: Vec<Value> = agent.told();
    let of = |kind: &str| told.iter().find(|e| e["event"] == kind).expect("told");
    assert!(of("thrashing")["pages_a_second"].as_u64().expect("a rate") > 256);
    assert_eq!(of("thrashing_over")["outcome"]["ended"], "memory");
    let metric = "curb_workload_ended_for_thrashing_total{workload=\"chat\"}";
    assert_eq!(agent.metric(metric), Some(1.0));
}
