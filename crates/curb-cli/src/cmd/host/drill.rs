//! `curb drill`: each limit of a workload in a throw-away `curb run --workload`.

mod load;

use std::ffi::OsString;
use std::fs::File as OpenFile;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use curb_core::host::drill::{
    Drill, Load, Mark, Rehearsal, Report, Seen, StandIns, Verdict, drill, judge,
};
use curb_core::host::ladder::Event;
use curb_core::host::limits::{File, Workload, show};
use curb_core::host::{Bytes, Permille};
use curb_host::layout::Layout;
use curb_host::proc::Procfs;
use curb_host::scratch::{Kind, Scratch};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::args::DrillArgs;
use crate::cmd::host::limits::{named, read};
use crate::ctx::Ctx;
use crate::exit::Exit;
use crate::fail::{Done, Failure};
use crate::term::{Ink, clean_line, wrap_indented};

pub use load::load;

/// From being asked to end until it is killed: a stand-in needs none of it.
const GRACE: &str = "5s";
/// The same for the workload's own command: frameworks answer late.
const OWN_GRACE: &str = "30s";
/// A run whose load did not come to what it was to show is tried so often.
const TRIES: u32 = 3;
/// What a run may take longer than its load does, before it is ended.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether a run has ended.
const PAUSE: Duration = Duration::from_millis(20);
/// What is read of what a run says, at most.
const MOST_SAID: u64 = 1 << 20;

/// `curb drill`
pub fn run(args: &DrillArgs, ctx: &mut Ctx) -> Done {
    let file = read(&args.limits)?.file;
    let workload = named(&file, &args.limits, &args.workload)?;
    let stage = Stage::new()?;
    let (_, cpus) = curb_host::host::machine();
    let memory = args.memory.map(|m| Bytes(m.0));
    let own = own_command(args, workload)?;
    let own = own.as_deref().map(|command| (command, args.lasts));
    let plan = drill(&file, workload, memory, cpus, &stage.stand_ins(), own);
    spare(&plan, &file, &args.workload)?;
    let mut all = Vec::new();
    for rehearsal in &plan.rehearsals {
        let (verdicts, said) = stage.rehearse_until_reached(rehearsal, args.load.as_deref())?;
        if !args.json {
            ctx.print(&told(rehearsal, &verdicts, &said, ctx))?;
        }
        all.push((rehearsal, verdicts));
    }
    let of = |mark| {
        let verdicts = all.iter().flat_map(|(_, v)| v);
        verdicts.filter(|v| v.mark == mark).count()
    };
    let (passed, failed, short) = (of(Mark::Pass), of(Mark::Fail), of(Mark::NotReached));
    if args.json {
        let runs: Vec<_> = all
            .iter()
            .map(|(r, v)| json!({"name": r.name, "notes": r.notes, "verdicts": v}))
            .collect();
        ctx.json(
            &json!({"workload": args.workload, "rehearsals": runs, "left_out": plan.left_out}),
        )?;
    } else {
        for text in &plan.left_out {
            ctx.print(&wrap_indented("not rehearsed: ", text, ctx.view.columns()))?;
        }
        ctx.say(&format!(
            "{}: {passed} passed, {failed} failed, {short} not reached",
            args.workload
        ));
    }
    Ok(if failed == 0 { Exit::Ok } else { Exit::Failed })
}

/// The command that is run in place of a stand-in, where that is asked for.
fn own_command(args: &DrillArgs, workload: &Workload) -> Result<Option<Vec<String>>, Failure> {
    if !args.with_command {
        return Ok(None);
    }
    let given = Some(args.command.clone()).filter(|c| !c.is_empty());
    let command = given.or_else(|| workload.command.clone());
    let none = || {
        Failure::usage(format!("{} has no command in its file", workload.name)).help(format!(
            "give one: curb drill {} --with-command -- COMMAND",
            workload.name
        ))
    };
    command.ok_or_else(none).map(Some)
}

/// A drill never takes memory that the host does not have to spare.
fn spare(plan: &Drill, file: &File, workload: &str) -> Result<(), Failure> {
    let Some(wanted) = plan.memory else {
        return Ok(());
    };
    let (memory, _) = curb_host::host::machine();
    // Without a word of the file a twentieth of the host is left alone.
    let twentieth = Bytes(memory.map_or(0, |m| Permille(50).of(m.0)));
    let keep = file.host.keep_free.unwrap_or(twentieth);
    let layout = Layout::read(Path::new("/")).unwrap_or_default();
    let left = curb_host::host::memory_left(&layout, keep);
    let enough = left.is_some_and(|left| left >= wanted);
    if enough {
        return Ok(());
    }
    let has = left.map_or_else(
        || "what it has left is not known".to_owned(),
        |l| format!("it has {l} left"),
    );
    Err(Failure::local(format!(
        "the drill of {workload} may come to hold {wanted}, and this host cannot spare that: {has}, {keep} being kept free. Nothing was run"
    ))
    .help(format!("rehearse with a smaller limit: curb drill {workload} --memory 64MiB")))
}

/// Where the drill's files are, and the program that stands in.
struct Stage {
    dir: Scratch,
    curb: PathBuf,
    /// Whether we were asked to end.
    asked: Arc<AtomicBool>,
}

impl Stage {
    fn new() -> Result<Stage, Failure> {
        let fail =
            |what: &str, error: std::io::Error| Failure::local(format!("cannot {what}: {error}"));
        let curb = std::env::current_exe().map_err(|e| fail("find this program", e))?;
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&asked))
                .map_err(|e| fail("watch for signals", e))?;
        }
        // From here on a signal ends no directory's owner before it is removed.
        let dir = Scratch::new(Kind::Drill);
        Ok(Stage {
            asked,
            dir: dir.map_err(|e| fail("make a directory for the drill", e))?,
            curb,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// In place of the workload's own commands.
    fn stand_ins(&self) -> StandIns {
        let words = |all: &[&str]| {
            let own = [self.curb.display().to_string(), "drill-load".to_owned()];
            own.into_iter()
                .chain(all.iter().map(|w| (*w).to_owned()))
                .collect()
        };
        let told = self.path("told").display().to_string();
        StandIns {
            told: words(&["told", &told]),
            quiet: words(&["wait", "--lasts", "0"]),
        }
    }

    /// A run whose stand-in did not come to all that it was to show (a busy machine) is tried again.
    fn rehearse_until_reached(
        &self,
        rehearsal: &Rehearsal,
        load: Option<&str>,
    ) -> Result<(Vec<Verdict>, String), Failure> {
        let mut told = self.rehearse(rehearsal, load)?;
        for _ in 1..TRIES {
            let short = told.0.iter().any(|v| v.mark == Mark::NotReached);
            let failed = told.0.iter().any(|v| v.mark == Mark::Fail);
            // What a command of its own does is its own, and what is read is the same the next time.
            let same = matches!(rehearsal.load, Load::OwnCommand | Load::Read);
            if failed || !short || same {
                break;
            }
            told = self.rehearse(rehearsal, load)?;
        }
        Ok(told)
    }

    /// One run from its start to its end, judged; and what it said.
    fn rehearse(
        &self,
        rehearsal: &Rehearsal,
        load: Option<&str>,
    ) -> Result<(Vec<Verdict>, String), Failure> {
        for name in ["told", "events", "said", "report"] {
            let _not_there_at_first = std::fs::remove_file(self.path(name));
        }
        let fail = |error: std::io::Error| {
            Failure::local(format!("cannot rehearse {}: {error}", rehearsal.name))
        };
        std::fs::write(self.path("limits.yaml"), show(&rehearsal.file)).map_err(fail)?;
        let mut child = self
            .command(rehearsal)
            .map_err(fail)?
            .spawn()
            .map_err(fail)?;
        let lasts = Duration::from_millis(rehearsal.lasts.0);
        if rehearsal.load == Load::OwnCommand {
            let load = load.map(Driver::start).transpose().map_err(fail)?;
            let ended = self
                .ended(&mut child, Instant::now() + lasts)
                .map_err(fail)?;
            drop(load);
            if !ended {
                ask(&child);
            }
        }
        let until = Instant::now() + lasts + PATIENCE;
        let late = !self.ended(&mut child, until).map_err(fail)?;
        if late {
            stop(&mut child);
        }
        if self.asked.load(Ordering::Relaxed) {
            let message = "interrupted: what it ran was ended, and its files are removed";
            return Err(Failure::new(Exit::Interrupted, message));
        }
        let said = self.text("said");
        let seen = Seen {
            events: self
                .text("events")
                .lines()
                .filter_map(|l| serde_json::from_str::<Event>(l).ok())
                .collect(),
            report: self
                .text("report")
                .lines()
                .rev()
                .find_map(|l| serde_json::from_str::<Report>(l).ok()),
            told: self.path("told").exists(),
            late,
            said: said.clone(),
        };
        Ok((judge(rehearsal, &seen), said))
    }

    /// Whether it has ended by then. It has not if we were asked to end meanwhile.
    fn ended(&self, child: &mut Child, until: Instant) -> std::io::Result<bool> {
        ended(child, until, || self.asked.load(Ordering::Relaxed))
    }

    fn command(&self, rehearsal: &Rehearsal) -> std::io::Result<Command> {
        let name = rehearsal
            .file
            .workloads
            .first()
            .map_or("", |w| w.name.as_str());
        let grace = match rehearsal.load {
            Load::OwnCommand => OWN_GRACE,
            _ => GRACE,
        };
        let mut command = Command::new(&self.curb);
        command
            .args(["run", "--workload", name, "--grace", grace, "--limits"])
            .arg(self.path("limits.yaml"))
            .arg("--events")
            .arg(self.path("events"))
            .stdin(Stdio::null())
            .stdout(OpenFile::create(self.path("report"))?)
            .stderr(OpenFile::create(self.path("said"))?);
        if rehearsal.load != Load::OwnCommand {
            command
                .arg("--")
                .arg(&self.curb)
                .args(["drill-load", "--lasts", &rehearsal.lasts.0.to_string()])
                .args(stand_in(rehearsal));
        }
        Ok(command)
    }

    fn text(&self, name: &str) -> String {
        let mut text = Vec::new();
        if let Ok(file) = OpenFile::open(self.path(name)) {
            // What cannot be read was not seen, and the judge says so.
            let _ =
                std::io::Read::read_to_end(&mut std::io::Read::take(file, MOST_SAID), &mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// The stand-in's arguments.
fn stand_in(rehearsal: &Rehearsal) -> Vec<OsString> {
    let workload = rehearsal.file.workloads.first();
    let limit = workload
        .and_then(|w| w.limits.memory.as_ref())
        .map_or(0, |l| l.value.0);
    let (what, n) = match &rehearsal.load {
        Load::MemoryTo(part) => ("memory-to", part.of(limit)),
        // A cap of its own, for the case that nothing holds it.
        Load::MemoryBeyond => ("memory-beyond", most(rehearsal).saturating_add(64 << 20)),
        Load::Spin(n) => ("spin", *n),
        Load::Threads(n) => ("threads", *n),
        Load::Files(n) => ("files", *n),
        Load::Wait => return vec!["wait".into()],
        Load::Read => return vec!["read".into()],
        Load::OwnCommand => return Vec::new(),
    };
    vec![what.into(), n.to_string().into()]
}

/// The most memory that the rehearsal expects.
fn most(rehearsal: &Rehearsal) -> u64 {
    let most = rehearsal.expects.iter().filter_map(|e| match e {
        curb_core::host::drill::Expect::MemoryAtMost(most) => Some(most.0),
        _ => None,
    });
    most.max().unwrap_or(0)
}

/// Whether it has ended by then, and before it is to be left.
fn ended(child: &mut Child, until: Instant, leave: impl Fn() -> bool) -> std::io::Result<bool> {
    loop {
        if child.try_wait()?.is_some() {
            return Ok(true);
        }
        if leave() || Instant::now() >= until {
            return Ok(false);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Asks our own child to end.
fn ask(child: &Child) {
    let process = Procfs::open().and_then(|all| all.process(child.id()));
    if let Ok(handle) = process.and_then(|p| p.handle()) {
        let _it_has_ended = handle.signal(rustix::process::Signal::TERM);
    }
}

/// What drives a command of its own: a shell in a process group of its own, all of which ends with this.
struct Driver(Child);

impl Driver {
    fn start(text: &str) -> std::io::Result<Driver> {
        let mut command = Command::new("sh");
        command.args(["-c", text]).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null()).spawn().map(Driver)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Not waited for yet: the number is its own, and so is that of its group.
        let group = rustix::process::Pid::from_child(&self.0);
        let _it_has_ended =
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _it_has_ended = self.0.wait();
    }
}

/// Asks our own child to end, which ends what it runs; then ends it.
fn stop(child: &mut Child) {
    ask(child);
    let until = Instant::now() + Duration::from_secs(20);
    if !matches!(ended(child, until, || false), Ok(true)) {
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn told(rehearsal: &Rehearsal, verdicts: &[Verdict], said: &str, ctx: &Ctx) -> String {
    let view = &ctx.view;
    let mut out = format!("{}\n", view.ink(Ink::Bold, &clean_line(&rehearsal.name)));
    for note in &rehearsal.notes {
        out.push_str(&wrap_indented("  note  ", note, view.columns()));
    }
    for verdict in verdicts {
        let (head, ink) = match verdict.mark {
            Mark::Pass => ("  pass  ", Ink::Green),
            Mark::Fail => ("  FAIL  ", Ink::Red),
            Mark::NotReached => ("  not reached  ", Ink::Yellow),
        };
        let text = format!("{} ({})", verdict.what, verdict.seen);
        let lines = wrap_indented(head, &text, view.columns());
        out.push_str(&lines.replacen(head, &view.ink(ink, head), 1));
    }
    if verdicts.iter().any(|v| v.mark == Mark::Fail) {
        for line in said.lines().take(20) {
            out.push_str(&format!("  said  {}\n", clean_line(line)));
        }
    }
    out.push('\n');
    out
}
