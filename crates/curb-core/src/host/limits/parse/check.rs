//! What only a whole workload shows, and the host it is for: limits that contradict one another, that the host does not
//! have, or that the framework cannot start below.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{Host, called, rules, steps};
use crate::host::limits::key::Key;
use crate::host::limits::model::{File, Front, LimitSet, Workload};
use crate::host::{Bytes, MilliCpu};
use crate::yaml::{Place, Reader, Step, quoted};

use Step::{Index, Key as Field};

/// Below it a shell does not start.
pub const LEAST_MEMORY: Bytes = Bytes(1 << 20);
/// Below it MLX does not start: interpreter, framework and one small array.
pub const LEAST_MEMORY_MLX: Bytes = Bytes(64 << 20);
/// MLX starts a thread beside its first, and fails without it.
pub const LEAST_TASKS_MLX: u64 = 2;
/// What a kernel lets a process have unless it is told otherwise (`fs.nr_open`).
const USUAL_MOST_FILES: u64 = 1 << 20;

/// Checks a file that was read from `root`.
pub fn check(r: &mut Reader<'_>, root: &Place<'_>, file: &File, host: &Host) {
    keep_free(r, root, file, host);
    for (i, workload) in file.workloads.iter().enumerate() {
        root.walk(&[Field("workloads"), Index(i)], |at| {
            one(r, at, workload, file, host);
        });
    }
    unique(r, root, file);
    listeners(r, root, file);
    wired(r, root, file);
    if r.errors() == 0 {
        rules::overlap(r, root, file);
        together(r, root, file, host);
    }
}

fn keep_free(r: &mut Reader<'_>, root: &Place<'_>, file: &File, host: &Host) {
    if let (Some(keep), Some(has)) = (file.host.keep_free, host.memory)
        && keep >= has
    {
        let steps = [Field("host"), Field("keep_free"), Field("memory")];
        let message = format!("keeps {keep} free of the {has} that the host has: nothing is left");
        root.walk(&steps, |at| {
            r.error(at, &message, "keep less than the host has")
        });
    }
}

/// A workload by itself.
fn one(r: &mut Reader<'_>, at: &Place<'_>, w: &Workload, file: &File, host: &Host) {
    if let Some(rule) = &w.matches {
        at.walk(&[Field("match")], |at| rules::one(r, at, rule));
    }
    let mlx = rules::is_mlx(w);
    if let Some(limits) = at.field("limits") {
        set(r, &limits, &w.limits, &w.limits, mlx, host);
    }
    if at.field("limits").is_none() && at.field("name").is_some() {
        let message = format!("{} has no limits", called(&w.name));
        r.warn(at, &message, "give it `limits`");
    }
    steps::check(r, at, w, file, host, mlx);
    if let (Some(fallback), Some(place)) = (&w.fallback, at.field("fallback")) {
        if w.command.as_ref() == Some(&fallback.command)
            && let Some(command) = place.field("command")
        {
            let message = "the fallback is the command that is given up";
            r.error(
                &command,
                message,
                "name another one, such as a smaller model",
            );
        }
        if let Some(limits) = place.field("limits") {
            set(
                r,
                &limits,
                &fallback.limits,
                &w.limits.with(&fallback.limits),
                mlx,
                host,
            );
        }
    }
    if let (Some(f), Some(place)) = (&w.front, at.field("front")) {
        front(r, &place, f);
    }
}

/// The limits of a place: `own` are those that are written there, `all` those that hold then.
fn set(r: &mut Reader<'_>, at: &Place<'_>, own: &LimitSet, all: &LimitSet, mlx: bool, host: &Host) {
    if at.fields().next().is_none() {
        r.warn(at, "no limit is given", "give it at least `memory`");
    }
    let mut said = Set { r, at };
    said.floors(own, mlx);
    said.host(own, host);
    said.contradictions(own, all);
}

struct Set<'a, 'r, 'p> {
    r: &'a mut Reader<'r>,
    at: &'a Place<'p>,
}

impl Set<'_, '_, '_> {
    fn error(&mut self, key: Key, message: &str, help: &str) {
        let r = &mut *self.r;
        self.at.walk(&[Field(key.name()), Field("value")], |at| {
            r.error(at, message, help)
        });
    }

    fn warn(&mut self, key: Key, message: &str, help: &str) {
        let r = &mut *self.r;
        self.at.walk(&[Field(key.name()), Field("value")], |at| {
            r.warn(at, message, help)
        });
    }

    /// What is too little to start with.
    fn floors(&mut self, own: &LimitSet, mlx: bool) {
        let memory = [
            (Key::Memory, own.memory.as_ref()),
            (Key::MemoryHigh, own.memory_high.as_ref()),
        ];
        for (key, limit) in memory {
            let Some(value) = limit.map(|l| l.value) else {
                continue;
            };
            if value < LEAST_MEMORY {
                let message = format!("no program starts in {value}");
                self.error(key, &message, "the least that is taken is 1MiB");
            } else if mlx && value < LEAST_MEMORY_MLX {
                let message = format!("MLX does not start in {value}");
                let help = "it needs about 64MiB before the first weight is loaded; measure the rest with `curb profile`";
                self.error(key, &message, help);
            }
        }
        if let Some(limit) = own
            .processes
            .as_ref()
            .filter(|l| mlx && l.value < LEAST_TASKS_MLX)
        {
            let message = format!("MLX does not work with {} thread", limit.value);
            let help =
                "it starts one for each stream: allow at least 2, and what else the program starts";
            self.error(Key::Processes, &message, help);
        }
        if let Some(limit) = own
            .open_files
            .as_ref()
            .filter(|l| l.value > USUAL_MOST_FILES)
        {
            let message = format!(
                "{} open files are more than a kernel usually allows",
                limit.value
            );
            let help = format!("the most is {USUAL_MOST_FILES} unless `fs.nr_open` is raised");
            self.warn(Key::OpenFiles, &message, &help);
        }
    }

    /// What the host does not have would never bind.
    fn host(&mut self, own: &LimitSet, host: &Host) {
        let memory = [
            (Key::Memory, own.memory.as_ref()),
            (Key::MemoryHigh, own.memory_high.as_ref()),
            (Key::MlxCache, own.mlx_cache.as_ref()),
            (Key::MlxMemory, own.mlx_memory.as_ref()),
            (Key::MlxWired, own.mlx_wired.as_ref()),
        ];
        for (key, limit) in memory {
            if let (Some(limit), Some(has)) = (limit, host.memory)
                && limit.value > has
            {
                let message = format!(
                    "{} is more than the host has ({has}): it never binds",
                    limit.value
                );
                self.error(
                    key,
                    &message,
                    "lower it, or say for which host it is checked (--host-memory)",
                );
            }
        }
        let Some(cpus) = &host.cpus else { return };
        let count = cpus.0.len();
        if let Some(limit) = &own.cpu
            && limit.value > whole_cpus(count)
        {
            let message = format!(
                "{} CPUs are more than the host has ({count}): it never binds",
                limit.value
            );
            self.error(
                Key::Cpu,
                &message,
                "lower it, or say for which host it is checked (--host-cpus)",
            );
        }
        if let Some(limit) = &own.cpu_set {
            let outside: Vec<String> = limit
                .value
                .0
                .difference(&cpus.0)
                .map(u32::to_string)
                .collect();
            if !outside.is_empty() {
                let shown = outside
                    .iter()
                    .take(4)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", ");
                let more = if outside.len() > 4 { " and more" } else { "" };
                let message = format!("the host has no CPU {shown}{more}: it has {cpus}");
                self.error(Key::CpuSet, &message, "name CPUs that it has");
            }
        }
    }

    /// Limits against one another.
    fn contradictions(&mut self, own: &LimitSet, all: &LimitSet) {
        if let (Some(memory), Some(high)) = (&all.memory, &all.memory_high) {
            let key = if own.memory_high.is_some() {
                Key::MemoryHigh
            } else {
                Key::Memory
            };
            if high.value > memory.value {
                let message = format!(
                    "`memory_high` ({}) is above `memory` ({}): the kernel kills before it slows down",
                    high.value, memory.value
                );
                self.error(key, &message, "set `memory_high` below `memory`");
            } else if high.value == memory.value {
                let message = format!(
                    "`memory_high` is `memory` ({}): there is nothing between",
                    memory.value
                );
                self.warn(
                    key,
                    &message,
                    "set it some percent below `memory`, or leave it out",
                );
            }
        }
        if let (Some(memory), Some(cache)) = (&all.memory, &all.mlx_cache)
            && cache.value > memory.value
        {
            let key = if own.mlx_cache.is_some() {
                Key::MlxCache
            } else {
                Key::Memory
            };
            let message = format!(
                "`mlx_cache` ({}) is above `memory` ({}): the kernel kills before MLX gives anything back",
                cache.value, memory.value
            );
            self.error(key, &message, "set `mlx_cache` well below `memory`");
        }
        if let (Some(memory), Some(mlx)) = (&all.memory, &all.mlx_memory)
            && mlx.value > memory.value
        {
            let key = if own.mlx_memory.is_some() {
                Key::MlxMemory
            } else {
                Key::Memory
            };
            let message = format!(
                "`mlx_memory` ({}) is above `memory` ({}): MLX never drops its cache before the kernel kills",
                mlx.value, memory.value
            );
            self.warn(
                key,
                &message,
                "set it below `memory`; it is advisory in any case",
            );
        }
        if let (Some(cpu), Some(set)) = (&all.cpu, &all.cpu_set)
            && cpu.value > whole_cpus(set.value.0.len())
        {
            let key = if own.cpu.is_some() {
                Key::Cpu
            } else {
                Key::CpuSet
            };
            let message = format!(
                "`cpu` ({}) is more than the CPUs of `cpu_set` ({}): it never binds",
                cpu.value, set.value
            );
            self.error(key, &message, "lower `cpu`, or name more CPUs");
        }
        if let (Some(time), Some(duration), Some(cpu)) = (&all.cpu_time, &all.duration, &all.cpu) {
            let most = u128::from(duration.value.0) * u128::from(cpu.value.0) / 1000;
            if u128::from(time.value.0) > most {
                let key = if own.cpu_time.is_some() {
                    Key::CpuTime
                } else {
                    Key::Duration
                };
                let message = format!(
                    "`cpu_time` ({}) is more than {} CPUs give in `duration` ({}): it never binds",
                    time.value, cpu.value, duration.value
                );
                self.warn(key, &message, "lower it, or leave it out");
            }
        }
    }
}

fn whole_cpus(count: usize) -> MilliCpu {
    MilliCpu(
        u64::try_from(count)
            .unwrap_or(u64::MAX)
            .saturating_mul(1000),
    )
}

/// Whether who listens at `a` would also get what is sent to `b`.
fn same_door(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && (any || a.ip() == b.ip())
}

fn front(r: &mut Reader<'_>, at: &Place<'_>, f: &Front) {
    let say = |r: &mut Reader<'_>, field: &str, message: &str, help: &str| {
        at.walk(&[Field(field)], |at| r.error(at, message, help));
    };
    if f.to.port() == 0 {
        say(
            r,
            "to",
            "a server cannot be reached at port 0",
            "write the port it listens at",
        );
    }
    if same_door(f.listen, f.to) {
        let help = "let the server listen at a port of its own, and clients connect to `listen`";
        say(r, "to", "`to` is where the front itself listens", help);
    }
    if let Some(fallback) = f.fallback {
        if same_door(f.listen, fallback) {
            let help = "name where the smaller model listens";
            say(
                r,
                "fallback",
                "`fallback` is where the front itself listens",
                help,
            );
        } else if fallback == f.to {
            let help =
                "name where the smaller model listens, or leave it out: 503 is answered then";
            say(
                r,
                "fallback",
                "`fallback` is the server that it stands in for",
                help,
            );
        }
    }
    if let Some(metrics) = f.metrics {
        if !metrics.ip().to_canonical().is_loopback() {
            let message = format!("{metrics} can be read from other machines");
            let help =
                "write 127.0.0.1 or [::1] with a port: nobody has to prove who they are there";
            say(r, "metrics", &message, help);
        } else if [Some(f.listen), Some(f.to), f.fallback]
            .into_iter()
            .flatten()
            .any(|other| same_door(metrics, other))
        {
            let help = "give the figures a port of their own";
            say(r, "metrics", "something else of this front is there", help);
        }
    }
    let most = f.in_flight + f.queue;
    if f.per_client > most {
        let message = format!(
            "one client may have {}, of {most} in all: it never binds",
            f.per_client
        );
        let help = "lower it, or leave it out";
        at.walk(&[Field("per_client")], |at| r.warn(at, &message, help));
    }
}

fn unique(r: &mut Reader<'_>, root: &Place<'_>, file: &File) {
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, w) in file.workloads.iter().enumerate() {
        if w.name.is_empty() {
            continue;
        }
        let Some(before) = first.get(w.name.as_str()) else {
            first.insert(&w.name, i);
            continue;
        };
        let steps = [Field("workloads"), Index(*before), Field("name")];
        let line = root.walk(&steps, |at| at.line());
        let message = format!("a second workload named {}", quoted(&w.name));
        let help = format!("the first is on line {line}: each needs a name of its own");
        let steps = [Field("workloads"), Index(i), Field("name")];
        root.walk(&steps, |at| r.error(at, &message, &help));
    }
}

/// No two fronts listen at one place.
fn listeners(r: &mut Reader<'_>, root: &Place<'_>, file: &File) {
    let fronts: Vec<(usize, SocketAddr)> = file
        .workloads
        .iter()
        .enumerate()
        .filter_map(|(i, w)| Some((i, w.front.as_ref()?.listen)))
        .collect();
    // By port, so that this stays linear where all are different.
    let mut by_port: BTreeMap<u16, Vec<(usize, SocketAddr)>> = BTreeMap::new();
    for (i, listen) in fronts {
        let others = by_port.entry(listen.port()).or_default();
        if let Some((other, _)) = others.iter().find(|(_, o)| same_door(*o, listen)) {
            let name = &file.workloads[*other].name;
            let message = format!("the front of {} listens at {listen} too", called(name));
            let steps = [
                Field("workloads"),
                Index(i),
                Field("front"),
                Field("listen"),
            ];
            root.walk(&steps, |at| {
                r.error(at, &message, "give each a port of its own")
            });
        } else {
            others.push((i, listen));
        }
    }
}

/// All that is wired together, against the budget of the host.
fn wired(r: &mut Reader<'_>, root: &Place<'_>, file: &File) {
    let Some(budget) = file.host.wired else {
        return;
    };
    let each = file.workloads.iter().enumerate();
    let mut sum = 0_u64;
    for (i, limit) in each.filter_map(|(i, w)| Some((i, w.limits.mlx_wired.as_ref()?))) {
        let before = sum;
        sum = sum.saturating_add(limit.value.0);
        if sum > budget.0 {
            let message = format!(
                "wires {} on top of {}: the host's budget is {budget}",
                limit.value,
                Bytes(before)
            );
            let steps = [
                Field("workloads"),
                Index(i),
                Field("limits"),
                Field("mlx_wired"),
                Field("value"),
            ];
            root.walk(&steps, |at| {
                r.error(at, &message, "wire less, or raise `host: {wired: …}`")
            });
            return;
        }
    }
}

/// All memory together, against the host: they may not all be at their limits at once.
fn together(r: &mut Reader<'_>, root: &Place<'_>, file: &File, host: &Host) {
    let Some(has) = host.memory else { return };
    let keep = file.host.keep_free.unwrap_or_default();
    let limits = file
        .workloads
        .iter()
        .filter_map(|w| w.limits.memory.as_ref());
    let sum = limits.fold(0_u64, |sum, l| sum.saturating_add(l.value.0));
    let free = has.0.saturating_sub(keep.0);
    if sum > free {
        let kept = if keep.0 > 0 {
            format!(", of which {keep} are kept free")
        } else {
            String::new()
        };
        let message = format!(
            "all workloads together may take {}, and the host has {has}{kept}",
            Bytes(sum)
        );
        let help = "where they are at their limits at once, the kernel kills by its own choice: lower some";
        root.walk(&[Field("workloads")], |at| r.warn(at, &message, help));
    }
}
