//! What supervising costs, and how fast it acts: figures, with the machine they were taken on, by `make bench-host`.
//!
//! `CURB` names the binary that is measured. Each figure is the median of many, and the 95th of a hundred.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use curb_host::group::Group;
use curb_host::layout::Layout;
use curb_host::limits::Limits;
use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};

const STARTS: usize = 100;
const KILLS: usize = 30;
/// Processes of a group that is ended.
const MEMBERS: usize = 16;
const MIB: u64 = 1 << 20;

fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("stamp") => println(&now().to_string()),
        Some("grow") => grow(arguments.next().and_then(|a| a.parse().ok()).unwrap_or(0)),
        _ => all(),
    }
}

fn println(line: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _nobody_reads = writeln!(out, "{line}");
}

fn all() {
    let curb = std::env::var_os("CURB").expect("CURB names the binary that is measured");
    let own = std::env::current_exe().expect("this program's path");
    let stamp = |mut command: Command| -> Duration {
        let begun = now();
        let out = command.output().expect("it runs");
        let text = String::from_utf8_lossy(&out.stdout);
        let at: u64 = text.trim().parse().expect("a time");
        Duration::from_nanos(at.saturating_sub(begun))
    };
    let direct = figures(STARTS, || {
        let mut command = Command::new(&own);
        command.arg("stamp");
        stamp(command)
    });
    let inside = |more: &[&str]| {
        let mut command = Command::new(&curb);
        command.arg("run").args(more).arg("--").arg(&own);
        command.arg("stamp");
        command
    };
    tell("start of a program, alone", &direct);
    for (what, limits) in [
        ("start within curb run, no limit", &[][..]),
        (
            "start within curb run, memory, CPU and processes",
            &["--memory", "256MiB", "--cpu", "1", "--processes", "64"],
        ),
        (
            "start within curb run, watchdog",
            &["--watchdog", "--memory", "256MiB"],
        ),
    ] {
        let within = figures(STARTS, || stamp(inside(limits)));
        tell(what, &within);
        println(&format!(
            "  added, at the median: {:.2} ms",
            ms(within.0) - ms(direct.0)
        ));
    }
    within_runc(&own, &direct, &stamp);
    whole(&curb);
    ends();
    for rate in [128_u64, 1536] {
        let over: Vec<u64> = (0..5).map(|_| overshoot(&curb, &own, rate)).collect();
        println(&format!(
            "watchdog, 256 MiB, growing by {rate} MiB/s: above the limit, in MiB: {over:?}"
        ));
    }
}

/// A container of runc's of this machine's own files, with the same limits: what else starts a program within groups.
fn within_runc(own: &Path, direct: &(Duration, Duration), stamp: &dyn Fn(Command) -> Duration) {
    let made = Bundle::new(own);
    let n = std::cell::Cell::new(0);
    let container = || {
        n.set(n.get() + 1);
        let mut command = Command::new("runc");
        let name = format!("curb-bench-{}-{}", std::process::id(), n.get());
        command.args(["run", "--bundle"]).arg(&made.0).arg(name);
        command
    };
    if let Err(why) = Command::new("runc").arg("--version").output() {
        println(&format!("start within runc: NOT MEASURED: runc: {why}"));
        return;
    }
    let within = figures(STARTS, || stamp(container()));
    tell("start within runc, memory, CPU and processes", &within);
    println(&format!(
        "  added, at the median: {:.2} ms",
        ms(within.0) - ms(direct.0)
    ));
}

/// The files of a container; removed when dropped.
struct Bundle(PathBuf);

impl Bundle {
    fn new(own: &Path) -> Bundle {
        let dir = std::env::temp_dir().join(format!("curb-bench-runc-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("root")).expect("a directory");
        let programs = own.parent().expect("a directory").display().to_string();
        let bound: Vec<String> = ["/usr", "/lib", "/lib64", &programs]
            .into_iter()
            .filter(|d| Path::new(d).exists())
            .map(|d| format!(r#"{{"destination":"{d}","source":"{d}","type":"bind","options":["rbind","ro"]}}"#))
            .collect();
        let text = format!(
            r#"{{"ociVersion":"1.0.2","process":{{"user":{{"uid":0,"gid":0}},"args":["{}","stamp"],"env":["PATH=/usr/bin"],"cwd":"/"}},
"root":{{"path":"root"}},"mounts":[{{"destination":"/proc","type":"proc","source":"proc"}},{}],
"linux":{{"cgroupsPath":"/curb-bench-runc-{}","resources":{{"memory":{{"limit":268435456,"swap":268435456}},
"cpu":{{"quota":100000,"period":100000}},"pids":{{"limit":64}}}},"namespaces":[{{"type":"mount"}},{{"type":"pid"}}]}}}}"#,
            own.display(),
            bound.join(","),
            std::process::id()
        );
        std::fs::write(dir.join("config.json"), text).expect("written");
        Bundle(dir)
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _what_is_left_is_small = std::fs::remove_dir_all(&self.0);
    }
}

/// `true` from before its start until it is waited for, alone and with all that `curb run` does before and after it.
fn whole(curb: &std::ffi::OsStr) {
    let took = |program: &std::ffi::OsStr, arguments: &[&str]| {
        figures(STARTS, || {
            let begun = now();
            let mut command = Command::new(program);
            assert!(command.args(arguments).status().expect("it runs").success());
            Duration::from_nanos(now().saturating_sub(begun))
        })
    };
    let alone = took("true".as_ref(), &[]);
    tell("true, from start to end", &alone);
    let within = took(curb, &["run", "--", "true"]);
    tell("curb run -- true, from start to end", &within);
    println(&format!(
        "  added, at the median: {:.2} ms",
        ms(within.0) - ms(alone.0)
    ));
}

/// How fast a decision reaches processes, and how fast they are gone.
fn ends() {
    let ended = |members: usize, how: fn(&Group)| {
        let all: Vec<_> = (0..KILLS).map(|n| kill(n, members, how)).collect();
        let (signalled, empty): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        (middle(signalled), middle(empty))
    };
    let term = |group: &Group| {
        group.signal(Signal::TERM);
    };
    // With one process, its signal is the first; with more, reading the list of them comes before it.
    let (first, _) = ended(1, Group::kill_once);
    tell("decision to the first signal (kill)", &first);
    let (first, _) = ended(1, term);
    tell("decision to the first signal (SIGTERM, by pidfd)", &first);
    let (signalled, empty) = ended(MEMBERS, Group::kill_once);
    tell(&format!("decision to all {MEMBERS} signalled"), &signalled);
    tell(&format!("decision to an empty group of {MEMBERS}"), &empty);
}

/// How long until all are signalled, and until the group is empty.
fn kill(n: usize, members: usize, how: impl Fn(&Group)) -> (Duration, Duration) {
    let layout = Layout::read(Path::new("/")).expect("groups");
    let name = format!("curb-bench-{}-{n}", std::process::id());
    let group = Group::create(&layout, &name, &Limits::default()).expect("a group");
    let mut children: Vec<Child> = (0..members).map(|_| member(&group)).collect();
    let begun = Instant::now();
    how(&group);
    let signalled = begun.elapsed();
    while !group.members().is_empty() {
        for child in &mut children {
            let _not_all_at_once = child.try_wait();
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    let empty = begun.elapsed();
    for child in &mut children {
        child.wait().expect("it ended");
    }
    group.remove().expect("removed");
    (signalled, empty)
}

/// A process of the group that holds 4 MiB.
fn member(group: &Group) -> Child {
    let doors: Vec<String> = group
        .doors()
        .iter()
        .map(|d| format!("echo 0 > {}", d.display()))
        .collect();
    let text = format!(
        "{}; x=$(head -c 4194304 /dev/zero | tr '\\0' a); echo in; exec sleep 600",
        doors.join("; ")
    );
    let mut child = Command::new("sh")
        .args(["-c", &text])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sh");
    let mut line = String::new();
    let out = child.stdout.as_mut().expect("a pipe");
    BufReader::new(out).read_line(&mut line).expect("it is in");
    child
}

/// How far above 256 MiB a program got that tells what it has, in MiB.
fn overshoot(curb: &std::ffi::OsStr, own: &Path, rate: u64) -> u64 {
    let mut command = Command::new(curb);
    command
        .args(["run", "--watchdog", "--memory", "256MiB", "--"])
        .arg(own);
    let out = command
        .args(["grow", &rate.to_string()])
        .output()
        .expect("it runs");
    assert_eq!(
        out.status.code(),
        Some(137),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let text = String::from_utf8_lossy(&out.stdout);
    let bytes: u64 = text.lines().last().expect("a line").parse().expect("bytes");
    (bytes / MIB).saturating_sub(256)
}

/// Grows steadily by so many MiB a second, and tells after each what it has in memory.
fn grow(rate: u64) {
    let (mut held, begun) = (Vec::new(), Instant::now());
    for n in 1..2048_u64 {
        held.push(vec![1_u8; usize::try_from(MIB).unwrap_or(0)]);
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: u64 = statm
            .split(' ')
            .nth(1)
            .and_then(|p| p.parse().ok())
            .unwrap_or(0);
        println(&(pages * 4096).to_string());
        let due = Duration::from_micros(n * 1_000_000 / rate.max(1));
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    assert_eq!(held.len(), 2047);
}

fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

fn figures(times: usize, mut one: impl FnMut() -> Duration) -> (Duration, Duration) {
    middle((0..times).map(|_| one()).collect())
}

fn middle(mut all: Vec<Duration>) -> (Duration, Duration) {
    all.sort_unstable();
    (all[all.len() / 2], all[all.len() * 95 / 100])
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn tell(what: &str, (median, p95): &(Duration, Duration)) {
    println(&format!(
        "{what}: {:.3} ms (95th of 100: {:.3} ms)",
        ms(*median),
        ms(*p95)
    ));
}
