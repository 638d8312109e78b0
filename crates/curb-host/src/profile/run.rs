//! One run of the command, looked at from its start to its end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use curb_core::host::baseline::{Ended, START};
use curb_core::host::sample::Gpus;
use curb_core::time::Millis;
use rustix::process::{
    Pid, Signal, WaitOptions, kill_process, kill_process_group, set_child_subreaper,
};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use crate::group::Group;
use crate::hook::{Hook, Message, MlxCounters, MlxLimits, Said};
use crate::layout::Layout;
use crate::limits::Limits;
use crate::proc::Procfs;
use crate::run::Owner;
use crate::sample::{Cost, Detail, GroupFiles, Sampler, descendants};
use crate::spawn::{Entry, spawn};

use super::collect::Collector;
use super::{Phase, Plan, ProfileError, Progress, READY_WITHIN, system};

/// After SIGKILL a process may still be busy in the kernel.
const KILL_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks whether what was asked to end has ended.
const LOOK: Duration = Duration::from_millis(10);
/// Counters of MLX that are older say nothing of now.
const FRESH: Duration = Duration::from_secs(1);
/// The most marks that are kept.
const MARKS: usize = 10_000;

/// What one run has shown.
#[derive(Debug)]
pub(super) struct Run {
    /// Each part with the scenario that it belongs to, in order.
    pub parts: Vec<(String, Collector)>,
    pub marks: Vec<Message>,
    pub frameworks: BTreeMap<String, String>,
    pub notes: Vec<String>,
    pub gpus: Gpus,
    pub cost: Cost,
    pub interrupted: bool,
}

/// How a process of ours ended, in words; `None` is well.
type End = Option<String>;

struct Watched<'a> {
    plan: &'a Plan,
    procfs: Procfs,
    sampler: Sampler,
    group: Option<(Group, GroupFiles)>,
    hook: Option<Hook>,
    main: Pid,
    /// The command's end, once it has come.
    end: Option<End>,
    load: Option<Pid>,
    load_end: Option<End>,
    marks: Vec<Message>,
    mlx: BTreeMap<u32, (Instant, MlxCounters)>,
    notes: Vec<String>,
    gpus: Gpus,
    began: Instant,
}

/// Why a part is over.
enum Over {
    /// What it was for has been measured.
    Well,
    /// The command ended by itself.
    Itself,
    /// Something went wrong.
    Short(String),
    /// Curb was told to stop.
    Interrupted(String),
}

pub(super) async fn once(
    plan: &Plan,
    number: u32,
    tell: &mut dyn FnMut(Progress),
) -> Result<Run, ProfileError> {
    // What the command leaves behind becomes ours, and is waited for.
    set_child_subreaper(Some(Pid::INIT)).map_err(|e| ProfileError::System {
        what: "cannot become the parent of what is left behind",
        why: e.into(),
    })?;
    let mut stop = Stop::watch().map_err(system("cannot watch for signals"))?;
    let mut watched = start(plan, number)?;
    let every = u64::try_from(plan.every.as_millis()).unwrap_or(u64::MAX);
    let mut ticks = tokio::time::interval(plan.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut parts = Vec::new();
    let mut interrupted = false;
    let steps = steps(plan);
    for (index, step) in steps.iter().enumerate() {
        let name = step.phase.map_or(START, |phase| phase.scenario.as_str());
        tell(Progress::Phase(name.to_owned()));
        let before = watched.begin_part(index == 0);
        let mut collector = Collector::new(Millis(every), before);
        let began = Instant::now();
        let over = watched
            .part(step, &mut collector, &mut ticks, &mut stop)
            .await;
        let peak = watched.peak();
        collector.finish(peak, began.elapsed());
        if watched.end_load() && matches!(over, Over::Well) {
            let text = format!(
                "the load of scenario {name} was ended: it still ran when the time of --for was over"
            );
            tell(Progress::Note(text.clone()));
            watched.notes.push(text);
        }
        let go_on = match over {
            Over::Well => true,
            Over::Itself => {
                collector.ended = Ended::Itself;
                false
            }
            Over::Short(why) => {
                collector.cut_short = Some(why);
                false
            }
            Over::Interrupted(why) => {
                interrupted = true;
                collector.cut_short = Some(why);
                false
            }
        };
        parts.push((name.to_owned(), collector));
        if !go_on {
            break;
        }
    }
    tell(Progress::Ending);
    watched.stop(plan.grace).await;
    watched.finish(parts, interrupted)
}

/// One thing to watch: a phase, or what comes before the first (`None`).
struct Step<'a> {
    phase: Option<&'a Phase>,
    server: bool,
}

fn steps(plan: &Plan) -> Vec<Step<'_>> {
    let server = plan.ready.is_some();
    let start = server.then_some(Step {
        phase: None,
        server,
    });
    let phases = plan.phases.iter().map(|phase| Step {
        phase: Some(phase),
        server,
    });
    start.into_iter().chain(phases).collect()
}

struct Stop {
    child: Stream,
    end: Stream,
    interrupt: Stream,
    hang_up: Stream,
}

impl Stop {
    fn watch() -> io::Result<Stop> {
        Ok(Stop {
            child: signal(SignalKind::child())?,
            end: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

fn start(plan: &Plan, number: u32) -> Result<Watched<'_>, ProfileError> {
    let procfs = Procfs::open().map_err(system("cannot read /proc"))?;
    let detail = Detail {
        threads: true,
        shares: true,
    };
    let sampler = Sampler::new(detail).map_err(system("cannot read /proc"))?;
    let mut notes = Vec::new();
    let group = match plan.group.then(|| make_group(number)).transpose() {
        Ok(Some(group)) => Some(group),
        Ok(None) => {
            notes.push(
                "no control group was made, as was asked for: its processes were added up"
                    .to_owned(),
            );
            None
        }
        Err(why) => {
            notes.push(format!(
                "no control group could be made ({why}): its processes were added up"
            ));
            None
        }
    };
    let hook = match Hook::install() {
        Ok(hook) => Some(hook),
        Err(why) => {
            notes.push(format!("hook: not there (it cannot be written: {why})"));
            None
        }
    };
    let began = Instant::now();
    let main = spawn_command(plan, group.as_ref().map(|(g, _)| g), hook.as_ref())?;
    Ok(Watched {
        plan,
        procfs,
        sampler,
        group,
        hook,
        main,
        end: None,
        load: None,
        load_end: None,
        marks: Vec::new(),
        mlx: BTreeMap::new(),
        notes,
        gpus: Gpus::NoneSeen,
        began,
    })
}

fn make_group(number: u32) -> io::Result<(Group, GroupFiles)> {
    let layout = Layout::read(Path::new("/"))?;
    let name = Owner::this()?.measured(number);
    let group = Group::create(&layout, &name, &Limits::default())?;
    let files = GroupFiles::of(&group);
    if group.doors().is_empty() {
        return Err(io::Error::other(
            "there is none that this user may write to",
        ));
    }
    Ok((group, files))
}

fn spawn_command(
    plan: &Plan,
    group: Option<&Group>,
    hook: Option<&Hook>,
) -> Result<Pid, ProfileError> {
    let Some(program) = plan.command.first() else {
        return Err(ProfileError::NotFound(String::new()));
    };
    let path = std::env::var_os("PYTHONPATH");
    let variables = hook.map(|h| h.environment(path.as_deref(), &MlxLimits::default()));
    let nothing = File::open("/dev/null").map_err(system("cannot keep its input from it"))?;
    let entry = Entry {
        doors: group.map(Group::entry).unwrap_or_default(),
        stdin: Some(nothing.into()),
        stdout: Some(to_stderr().map_err(system("cannot pass its output on"))?),
        ..Entry::default()
    };
    spawn(&plan.command, &variables.unwrap_or_default(), &entry).map_err(|why| {
        let program = program.to_string_lossy().into_owned();
        match why.kind() {
            io::ErrorKind::NotFound => ProfileError::NotFound(program),
            _ => ProfileError::NotRunnable { program, why },
        }
    })
}

/// Curb's own stdout is for what was measured.
fn to_stderr() -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)?)
}

impl Watched<'_> {
    /// Has the kernel count its peak anew, or gives what it was. The first part begins with nothing.
    fn begin_part(&mut self, first: bool) -> Option<u64> {
        let (_, files) = self.group.as_ref()?;
        if first || files.reset_peak() {
            return None;
        }
        self.peak()
    }

    fn peak(&self) -> Option<u64> {
        let (group, _) = self.group.as_ref()?;
        group.counts().memory_peak.map(|b| b.0)
    }

    /// The command's processes.
    fn pids(&self) -> Vec<u32> {
        if let Some((group, _)) = &self.group {
            let mut pids = group.members();
            pids.sort_unstable();
            return pids;
        }
        // What it left behind has become ours: all that is below us, but for the load.
        let mut pids = descendants(&self.procfs, &[std::process::id()]);
        if let Some(load) = self.load {
            let load = load.as_raw_nonzero().get().unsigned_abs();
            let of_load = descendants(&self.procfs, &[load]);
            pids.retain(|pid| *pid != load && !of_load.contains(pid));
        }
        pids
    }

    fn look(&mut self, collector: &mut Collector) -> Vec<u32> {
        let pids = self.pids();
        let files = self.group.as_ref().map(|(_, files)| files);
        let sample = self.sampler.look(&pids, files);
        self.gpus = sample.gpus.clone();
        self.hear();
        let mlx: BTreeMap<u32, MlxCounters> = self
            .mlx
            .iter()
            .filter(|(pid, (at, _))| at.elapsed() < FRESH && pids.contains(pid))
            .map(|(pid, (_, counters))| (*pid, *counters))
            .collect();
        // After the last process nothing is to be learned: what is still charged is cache.
        if !sample.processes.is_empty() {
            collector.take(sample, &mlx);
        }
        pids
    }

    fn hear(&mut self) {
        let said = self.hook.as_ref().map(Hook::received).unwrap_or_default();
        for message in said {
            if let Said::Mlx(counters) = message.said {
                self.mlx.insert(message.pid, (Instant::now(), counters));
            } else if self.marks.len() < MARKS {
                self.marks.push(message);
            }
        }
        // Whoever sends under many numbers fills nothing.
        if self.mlx.len() > MARKS {
            self.mlx.clear();
        }
    }

    /// Takes in what has ended.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let end = match (status.exit_status(), status.terminating_signal()) {
                (Some(0), _) => None,
                (Some(code), _) => Some(format!("with code {code}")),
                (None, signal) => Some(format!("by signal {}", signal.unwrap_or(0))),
            };
            if pid == self.main {
                self.end = Some(end);
            } else if Some(pid) == self.load {
                self.load_end = Some(end);
            }
        }
    }

    async fn part(
        &mut self,
        step: &Step<'_>,
        collector: &mut Collector,
        ticks: &mut tokio::time::Interval,
        stop: &mut Stop,
    ) -> Over {
        if let Some(load) = step.phase.and_then(|p| p.load.as_ref())
            && let Err(why) = self.start_load(load, step.phase.map_or("", |p| &p.scenario))
        {
            return Over::Short(format!("its load could not be started: {why}"));
        }
        let began = Instant::now();
        loop {
            let signal = tokio::select! {
                _ = ticks.tick() => {
                    let pids = self.look(collector);
                    if let Some(over) = self.over(step, began, &pids).await {
                        return over;
                    }
                    continue;
                }
                _ = stop.child.recv() => {
                    self.reap();
                    match self.over(step, began, &[]).await {
                        Some(over) => return over,
                        None => continue,
                    }
                }
                _ = stop.end.recv() => "SIGTERM",
                _ = stop.interrupt.recv() => "SIGINT",
                _ = stop.hang_up.recv() => "SIGHUP",
            };
            return Over::Interrupted(format!("it was interrupted ({signal})"));
        }
    }

    /// Whether a part is over. `pids` are those that were just looked at, if they were.
    async fn over(&mut self, step: &Step<'_>, began: Instant, pids: &[u32]) -> Option<Over> {
        if let Some(end) = self.end.clone() {
            return Some(match (step.server, end) {
                (false, None) => Over::Itself,
                (false, Some(how)) => Over::Short(format!("the command ended {how}")),
                (true, how) => {
                    let how = how.unwrap_or_else(|| "with code 0".to_owned());
                    Over::Short(format!("the command ended {how} before it was asked to"))
                }
            });
        }
        let Some(phase) = step.phase else {
            return self.ready(pids).await;
        };
        if let Some(end) = self.load_end.take() {
            self.load = None;
            return Some(match end {
                None => Over::Well,
                Some(how) => Over::Short(format!("its load ended {how}")),
            });
        }
        let time_is_over = phase.lasts.is_some_and(|lasts| began.elapsed() >= lasts);
        time_is_over.then_some(Over::Well)
    }

    async fn ready(&self, pids: &[u32]) -> Option<Over> {
        let ready = self.plan.ready.as_ref()?;
        if ready.is_so(self.began, pids).await {
            return Some(Over::Well);
        }
        (self.began.elapsed() > READY_WITHIN).then(|| {
            let words = ready.words();
            Over::Short(format!(
                "it was not ready after {} s: {words}",
                READY_WITHIN.as_secs()
            ))
        })
    }

    /// The load leads a process group of its own, by which all of it can be ended.
    fn start_load(&mut self, line: &str, scenario: &str) -> io::Result<()> {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", line])
            .stdin(Stdio::null())
            .process_group(0);
        command.env("CURB_WORKLOAD", &self.plan.workload);
        command.env("CURB_SCENARIO", scenario);
        command.stdout(to_stderr()?);
        let child = command.spawn()?;
        let raw = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        self.load = raw;
        self.load_end = None;
        Ok(())
    }

    /// Ends a load that is still there; whether there was one. It is our own child and was not waited for: its number is nobody else's.
    fn end_load(&mut self) -> bool {
        self.reap();
        let Some(load) = self.load.take() else {
            return false;
        };
        let runs = self.load_end.take().is_none();
        if runs {
            let _it_may_have_ended = kill_process_group(load, Signal::KILL);
        }
        runs
    }

    /// Asks the command to end, and ends what does not.
    async fn stop(&mut self, grace: Duration) {
        let until = Instant::now() + grace;
        self.reap();
        if self.end.is_none() {
            let _it_may_have_ended = kill_process(self.main, Signal::TERM);
        }
        while self.end.is_none() && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
            self.reap();
            self.hear();
        }
        // What the command has left behind is asked as well, once it has gone.
        self.signal(Signal::TERM);
        while !self.pids().is_empty() && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
            self.reap();
        }
        self.kill_all().await;
        self.hear();
    }

    fn signal(&self, signal: Signal) {
        match &self.group {
            Some((group, _)) => {
                group.signal(signal);
            }
            None => {
                for pid in self.pids() {
                    let handle = self.procfs.process(pid).and_then(|p| p.handle());
                    // Below us it still is: only then it is of the command.
                    if let Ok(handle) = handle
                        && self.pids().contains(&pid)
                    {
                        let _it_may_have_ended = handle.signal(signal);
                    }
                }
            }
        }
    }

    async fn kill_all(&mut self) {
        let until = Instant::now() + KILL_WITHIN;
        if self.pids().is_empty() {
            return;
        }
        if let Some((group, _)) = &self.group {
            group.kill(KILL_WITHIN);
        }
        while !self.pids().is_empty() && Instant::now() < until {
            self.signal(Signal::KILL);
            tokio::time::sleep(LOOK).await;
            self.reap();
        }
    }

    fn finish(
        mut self,
        parts: Vec<(String, Collector)>,
        interrupted: bool,
    ) -> Result<Run, ProfileError> {
        let frameworks = frameworks(&self.marks);
        if self.hook.is_some() && self.marks.is_empty() {
            let why = "no Python, or started with -S, -I or -E";
            self.notes.push(format!("hook: not there ({why})"));
        }
        if let Gpus::Unknown(why) = &self.gpus {
            self.notes.push(format!("GPUs: unknown ({why})"));
        }
        if let Some((group, _)) = self.group {
            // It has no limit of ours: a group above it has, or the host had no more.
            if let Some(kills) = group.counts().oom_kills.filter(|n| *n > 0) {
                self.notes.push(format!(
                    "the kernel killed {kills} of its processes for memory, which curb does not limit here: the figures are too low"
                ));
            }
            group
                .remove()
                .map_err(system("cannot remove the control group"))?;
        }
        Ok(Run {
            parts,
            marks: self.marks,
            frameworks,
            notes: self.notes,
            gpus: self.gpus,
            cost: self.sampler.cost(),
            interrupted,
        })
    }
}

/// Versions of the interpreter and of what was imported, as they were told.
fn frameworks(marks: &[Message]) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for message in marks {
        let Said::Mark {
            name,
            module,
            version: Some(version),
            ..
        } = &message.said
        else {
            continue;
        };
        let of = match (name.as_str(), module) {
            ("interpreter", _) => "python".to_owned(),
            ("imported", Some(module)) => {
                let first = module.split('.').next().unwrap_or_default();
                first.to_owned()
            }
            _ => continue,
        };
        let plain = !of.is_empty() && of.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if plain && all.len() < 32 {
            all.entry(of).or_insert_with(|| version.clone());
        }
    }
    all
}
