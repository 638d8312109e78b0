//! `curb profile` and `curb limits recommend` with a real MLX server, and with what goes wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn repo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The interpreter with MLX.
fn python() -> String {
    let python = repo().join(".venv/bin/python");
    assert!(python.exists(), "no {}: run `make env`", python.display());
    python.display().to_string()
}

fn example(name: &str) -> String {
    repo()
        .join("examples/host")
        .join(name)
        .display()
        .to_string()
}

struct Place(tempfile::TempDir);

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn start(&self, args: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_curb"))
            .args(args)
            .current_dir(self.0.path())
            .env_remove("PYTHONPATH")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("curb starts")
    }

    fn run(&self, args: &[&str]) -> Ran {
        end(self.start(args))
    }

    fn profile(&self, args: &[&str]) -> Ran {
        self.run(&[&["profile", "--every", "20ms"], args].concat())
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
}

/// Waits for the end, and checks that no group is left behind.
fn end(child: Child) -> Ran {
    let pid = child.id();
    let done = child.wait_with_output().expect("it ends");
    let left = crate::common::groups_of(pid);
    assert_eq!(left, Vec::<PathBuf>::new(), "groups are left behind");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran {
        code: done.status.code(),
        out: text(done.stdout),
        err: text(done.stderr),
    }
}

/// A port that nobody listens on just now.
fn port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("known").port()
}

/// The p100 of a figure of a scenario, from the file.
fn most(baseline: &str, scenario: &str, figure: &str) -> Option<u64> {
    let from = baseline.split_once(&format!("\n  {scenario}:\n"))?.1;
    let lines = from.lines().take_while(|l| l.starts_with("    "));
    let line = lines
        .map(str::trim)
        .find_map(|l| l.strip_prefix(&format!("{figure}: ")))?;
    let rest = line.split_once("p100: ")?.1;
    rest.split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

#[test]
fn a_real_server_in_four_scenarios_gives_a_baseline_limits_and_a_chart() {
    let place = Place::new();
    let chat = example("chat.py");
    let python = python();
    let made = Command::new(&python)
        .args([&chat, "--make-model", "chat.safetensors"])
        .current_dir(place.0.path())
        .status()
        .expect("python runs");
    assert!(made.success());
    let port = port().to_string();
    let load = |scenario: &str, requests: u32| {
        let load = example("load.py");
        format!(
            "{python} {load} --url http://127.0.0.1:{port} --scenario {scenario} --requests {requests}"
        )
    };
    let (average, peak, edge) = (load("average", 6), load("peak", 4), load("edge", 2));
    let then = [("average", &average), ("peak", &peak), ("edge", &edge)];
    let then: Vec<String> = then.iter().map(|(n, l)| format!("{n}={l}")).collect();
    let ready = format!("http://127.0.0.1:{port}/healthz");
    let ran = place.profile(&[
        "--workload",
        "chat",
        "--scenario",
        "idle",
        "--load",
        "sleep 0.5",
        "--ready",
        &ready,
        "--repeat",
        "2",
        "--then",
        &then[0],
        "--then",
        &then[1],
        "--then",
        &then[2],
        "--baseline",
        "baselines/chat.yaml",
        "--html",
        "chat.html",
        "--svg",
        "chat.svg",
        "--",
        &python,
        &chat,
        "--model",
        "chat.safetensors",
        "--port",
        &port,
    ]);
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.out, ran.err);
    let text = place.read("baselines/chat.yaml");
    let need: Vec<u64> = ["start", "idle", "average", "peak", "edge"]
        .iter()
        .map(|s| most(&text, s, "needed_kib").unwrap_or_else(|| panic!("{s}\n{text}")))
        .collect();
    // Python, MLX and weights take some 30 MiB; each scenario holds more than the one before.
    assert!((15_000..90_000).contains(&need[1]), "{need:?}");
    assert!(need[2] < need[3] && need[3] + 40_000 < need[4], "{need:?}");
    let peak = most(&text, "peak", "mlx_peak_kib").expect("the hook told");
    assert!(
        peak > most(&text, "idle", "mlx_active_kib").expect("told") * 3,
        "{text}"
    );
    assert!(
        text.contains("frameworks: {mlx: \"0.") && text.contains("python: \"3."),
        "{text}"
    );
    assert!(
        text.contains("- {file: \"chat.safetensors\", bytes: "),
        "{text}"
    );
    assert!(
        !text.contains(&*place.0.path().to_string_lossy()),
        "no path of this machine"
    );
    for said in [
        "scenario edge: 2 runs",
        "made of    interpreter ",
        "framework ",
        "model ",
    ] {
        assert!(ran.out.contains(said), "{said}\n{}", ran.out);
    }
    let chart = place.read("chat.svg");
    assert!(
        chart.contains("recommended limit") && chart.contains("class=\"over\""),
        "{chart}"
    );
    assert!(
        place
            .read("chat.html")
            .contains("<h1>Baseline of chat</h1>")
    );

    let ran = place.run(&[
        "limits",
        "recommend",
        "baselines/chat.yaml",
        "--into",
        "limits.yaml",
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        ran.out.contains("scenario peak needed at most "),
        "{}",
        ran.out
    );
    assert!(
        ran.out
            .contains("more than the limit, so that it is what will be stopped"),
        "{}",
        ran.out
    );
    let check = place.run(&["limits", "check", "limits.yaml"]);
    assert_eq!(check.code, Some(0), "{}{}", check.out, check.err);

    // Another model under the same name: stale, by name.
    place.write("chat.safetensors", "other weights");
    let ran = place.run(&["limits", "recommend", "baselines/chat.yaml"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(7), ""));
    assert!(
        ran.err
            .contains("is stale: the model's file chat.safetensors has another size"),
        "{}",
        ran.err
    );
}

#[test]
fn a_program_that_ends_by_itself_is_measured_to_its_end_with_all_it_starts() {
    let place = Place::new();
    let script = "x=$(head -c 50000000 /dev/zero | tr '\\0' x); sleep 0.3 & sleep 0.4; wait";
    let ran = place.profile(&[
        "--workload",
        "job",
        "--repeat",
        "2",
        "--baseline",
        "job.yaml",
        "--",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let text = place.read("job.yaml");
    assert!(
        text.contains("ended: itself") && text.contains("memory_as: charged"),
        "{text}"
    );
    assert!(
        most(&text, "average", "needed_kib").expect("measured") > 48_000,
        "{text}"
    );
    assert!(
        most(&text, "average", "processes").expect("measured") >= 2,
        "{text}"
    );
    assert!(
        (300..5000).contains(&most(&text, "average", "duration_ms").expect("measured")),
        "{text}"
    );
    assert!(text.contains("hook: not there (no Python"), "{text}");
    let ran = place.run(&["limits", "recommend", "job.yaml"]);
    assert!(
        ran.out.contains("duration: {value: 2m, why:"),
        "{}",
        ran.out
    );
}

#[test]
fn without_a_group_its_processes_are_added_up_with_those_it_left_and_without_its_load() {
    let place = Place::new();
    // Who is left behind by a double fork has another parent and another session.
    let script =
        "(setsid sh -c 'x=$(head -c 40000000 /dev/zero | tr \"\\0\" x); sleep 325' &) ; sleep 60";
    let load = "x=$(head -c 90000000 /dev/zero | tr '\\0' x); sleep 1";
    let args = [
        "--no-group",
        "--workload",
        "job",
        "--baseline",
        "job.yaml",
        "--grace",
        "1s",
    ];
    let ran = place.profile(
        &[
            &args[..],
            &["--ready", "500ms", "--load", load, "--", "sh", "-c", script],
        ]
        .concat(),
    );
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    let text = place.read("job.yaml");
    assert!(
        text.contains("memory_as: pss") && text.contains("no control group was made"),
        "{text}"
    );
    let most = most(&text, "average", "needed_kib").expect("measured");
    assert!(
        (38_000..80_000).contains(&most),
        "with who was left, without the load: {text}"
    );
    assert!(!running("sleep 325"), "it is ended with the rest");
}

/// Whether a process with these arguments is there.
fn running(arguments: &str) -> bool {
    let all = fs::read_dir("/proc").expect("there").flatten();
    let mut lines = all.filter_map(|e| fs::read_to_string(e.path().join("cmdline")).ok());
    lines.any(|line| line.trim_end_matches('\0').replace('\0', " ") == arguments)
}

#[test]
fn what_is_cut_short_or_fails_is_told_so_and_takes_no_good_one_s_place() {
    let place = Place::new();
    let good = place.profile(&[
        "--workload",
        "job",
        "--baseline",
        "job.yaml",
        "--",
        "sleep",
        "0.3",
    ]);
    assert_eq!(good.code, Some(0), "{}", good.err);
    let before = place.read("job.yaml");
    let ran = place.profile(&[
        "--workload",
        "job",
        "--baseline",
        "job.yaml",
        "--",
        "sh",
        "-c",
        "sleep 0.2; exit 3",
    ]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.out.contains("CUT SHORT  the command ended with code 3"),
        "{}",
        ran.out
    );
    assert!(ran.err.contains("the one in job.yaml stays"), "{}", ran.err);
    assert_eq!(place.read("job.yaml"), before);
    // In a file of its own it is kept, and refused by name.
    let ran = place.profile(&[
        "--workload",
        "job",
        "--baseline",
        "bad.yaml",
        "--",
        "sh",
        "-c",
        "sleep 0.2; exit 3",
    ]);
    assert_eq!(ran.code, Some(1));
    let ran = place.run(&["limits", "recommend", "bad.yaml"]);
    assert_eq!(ran.code, Some(7));
    assert!(
        ran.err
            .contains("scenario `average` was cut short: the command ended with code 3"),
        "{}",
        ran.err
    );

    let server = [
        "--ready",
        "50ms",
        "--load",
        "sleep 0.2; exit 4",
        "--",
        "sleep",
        "60",
    ];
    let ran = place.profile(&server);
    assert!(
        ran.out.contains("CUT SHORT  its load ended with code 4"),
        "{}",
        ran.out
    );
    let server = [
        "--ready", "50ms", "--load", "sleep 60", "--", "sleep", "0.3",
    ];
    let ran = place.profile(&server);
    assert!(
        ran.out
            .contains("the command ended with code 0 before it was asked to"),
        "{}",
        ran.out
    );
    assert_eq!(ran.code, Some(1));
}

#[test]
fn ctrl_c_ends_the_command_its_load_and_says_that_it_was_cut_short() {
    let place = Place::new();
    let mark = place.path("load-pid").display().to_string();
    let load = format!("echo $$ > {mark}; exec sleep 321");
    let child = place.start(&[
        "profile", "--ready", "10ms", "--load", &load, "--", "sleep", "322",
    ]);
    let until = Instant::now() + Duration::from_secs(20);
    let load = loop {
        match fs::read_to_string(&mark)
            .ok()
            .and_then(|t| t.trim().parse::<u32>().ok())
        {
            Some(pid) => break pid,
            None => assert!(Instant::now() < until, "the load never started"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    // Our own child, by its number.
    let curb = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &curb])
            .status()
            .expect("kill")
            .success()
    );
    let ran = end(child);
    assert_eq!(ran.code, Some(130), "{}{}", ran.out, ran.err);
    assert!(
        ran.out.contains("CUT SHORT  it was interrupted (SIGINT)"),
        "{}",
        ran.out
    );
    let gone = || {
        let stat = fs::read_to_string(format!("/proc/{load}/cmdline")).unwrap_or_default();
        !stat.contains("321")
    };
    while !gone() {
        assert!(Instant::now() < until, "the load is still there");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn one_that_ignores_being_asked_and_one_that_is_left_behind_are_ended() {
    let place = Place::new();
    let script = "trap '' TERM; setsid sleep 323 & sleep 324";
    let began = Instant::now();
    let ran = place.profile(&[
        "--for", "300ms", "--grace", "300ms", "--", "sh", "-c", script,
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(began.elapsed() < Duration::from_secs(20));
    assert!(ran.out.contains("while it was watched"), "{}", ran.out);
    assert!(
        !running("sleep 323") && !running("sleep 324"),
        "nothing of it is left"
    );
}

#[test]
fn nonsense_is_refused_before_anything_runs() {
    let place = Place::new();
    for (args, code, said) in [
        (
            &["--", "curb-no-such-program"][..],
            127,
            "curb-no-such-program: no such program",
        ),
        (&["--", "/etc/passwd"], 126, "/etc/passwd: cannot be run"),
        (
            &["--scenario", "Peak!", "--", "touch", "ran"],
            2,
            "`Peak!` is no name of a scenario",
        ),
        (
            &["--workload", "a b", "--", "touch", "ran"],
            2,
            "`a b` is no name of a workload",
        ),
        (
            &["--every", "1ms", "--", "touch", "ran"],
            2,
            "--every is at least 10ms",
        ),
        (
            &["--for", "0s", "--", "touch", "ran"],
            2,
            "measures nothing",
        ),
        (
            &["--ready", "https://x/", "--", "touch", "ran"],
            2,
            "only `http://` is asked",
        ),
        (
            &["--then", "start=true", "--", "touch", "ran"],
            2,
            "scenario `start` is what a server needs",
        ),
        (
            &["--model", "no.safetensors", "--", "touch", "ran"],
            7,
            "no.safetensors cannot be read",
        ),
        (&["--repeat", "0", "--", "touch", "ran"], 2, "--repeat"),
    ] {
        let ran = place.run(&[&["profile"], args].concat());
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (Some(code), ""),
            "{args:?}: {}",
            ran.err
        );
        assert!(ran.err.contains(said), "{args:?}: {}", ran.err);
        assert!(!place.path("ran").exists(), "{args:?}");
    }
    place.write("other.yaml", "version: 1\nworkload: other\n");
    let ran = place.profile(&[
        "--workload",
        "job",
        "--baseline",
        "other.yaml",
        "--",
        "touch",
        "ran",
    ]);
    assert_eq!(ran.code, Some(7));
    assert!(
        ran.err
            .contains("other.yaml:1:1: error: `evidence` is missing"),
        "{}",
        ran.err
    );
    let good = place.profile(&[
        "--workload",
        "other",
        "--baseline",
        "good.yaml",
        "--",
        "sleep",
        "0.2",
    ]);
    assert_eq!(good.code, Some(0), "{}", good.err);
    let ran = place.profile(&[
        "--workload",
        "job",
        "--baseline",
        "good.yaml",
        "--",
        "touch",
        "ran",
    ]);
    assert_eq!(ran.code, Some(7));
    assert!(
        ran.err
            .contains("good.yaml: it is a baseline of workload `other`, and not of `job`"),
        "{}",
        ran.err
    );
    assert!(!place.path("ran").exists());
    let ran = place.run(&["limits", "recommend", "good.yaml", "good.yaml"]);
    assert!(
        ran.err
            .contains("there was a baseline of workload `other` before it"),
        "{}",
        ran.err
    );
}

#[test]
fn what_is_ended_by_its_time_or_named_twice_is_told() {
    let profile = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_curb"));
        command.arg("profile").args(args);
        let ran = command.output().expect("it ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (ran.status.code(), text(&ran.stdout), text(&ran.stderr))
    };
    let server = ["--ready", "100ms", "--", "sleep", "600"];
    let mut args = vec![
        "--scenario",
        "peak",
        "--load",
        "sleep 600",
        "--for",
        "500ms",
    ];
    args.extend(server);
    let (code, out, err) = profile(&args);
    assert_eq!(code, Some(0), "{err}");
    let told = "the load of scenario peak was ended: it still ran when the time of --for was over";
    assert!(err.contains(told) && out.contains(told), "{out}{err}");
    let mut args = vec!["--load", "sleep 0.3", "--then", "average=sleep 0.3"];
    args.extend(server);
    let (code, out, err) = profile(&args);
    assert_eq!(code, Some(0), "{err}");
    assert!(
        err.contains("scenario average is given more than once"),
        "{err}"
    );
    assert!(!out.contains("was ended"), "{out}");
    // A program whose name is none in YAML is measured all the same.
    let dir = tempfile::tempdir().expect("a directory");
    let sleep = dir.path().join("true");
    std::fs::copy("/bin/sleep", &sleep).expect("copied");
    let (code, out, err) = profile(&["--", sleep.to_str().expect("text"), "0.5"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("run-true, scenario average"), "{out}");
}
