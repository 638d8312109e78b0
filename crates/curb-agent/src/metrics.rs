//! What is counted, as Prometheus text or OpenMetrics. Everything is in memory already: a scrape looks at nothing.
//!
//! Names end with their unit, counters with `_total`. Labels are a workload's name, and words of bounded sets. Workloads
//! beyond [`MOST_LABELLED`] are added up as `other`.

use std::fmt::Write;

use curb_core::host::detect::Kind;
use curb_core::host::ladder::State;
use curb_core::host::limits::Resource;

use crate::agent::{Agent, Own};
use crate::watch::Watch;

/// So many workloads have a label of their own.
pub const MOST_LABELLED: usize = 200;
/// The label of all others together.
const OTHER: &str = "other";

/// Text, and what it is.
pub const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";
/// See [`PLAIN`].
pub const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A number as it is written: whole, or microseconds as seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Whole(u64),
    Micros(u64),
    Milli(u64),
}

/// A page that is being written.
struct Page {
    text: String,
    open: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Gauge,
    Counter,
}

impl Page {
    /// Begins a family. The name of a counter is given without `_total`.
    fn family(&mut self, name: &str, kind: Type, help: &str) {
        let total = if kind == Type::Counter && !self.open {
            "_total"
        } else {
            ""
        };
        let word = if kind == Type::Counter {
            "counter"
        } else {
            "gauge"
        };
        let _never_fails = write!(
            self.text,
            "# HELP {name}{total} {help}\n# TYPE {name}{total} {word}\n"
        );
    }

    fn sample(&mut self, name: &str, kind: Type, labels: &[(&str, &str)], value: Value) {
        self.text.push_str(name);
        if kind == Type::Counter {
            self.text.push_str("_total");
        }
        for (i, (key, value)) in labels.iter().enumerate() {
            self.text.push(if i == 0 { '{' } else { ',' });
            // Names of workloads and our own words: nothing in them needs escaping, and what would is left out.
            let clean = value
                .chars()
                .filter(|c| !c.is_control() && !matches!(c, '"' | '\\'));
            let _never_fails = write!(self.text, "{key}=\"{}\"", clean.collect::<String>());
        }
        self.text
            .push_str(if labels.is_empty() { " " } else { "} " });
        let _never_fails = match value {
            Value::Whole(n) => writeln!(self.text, "{n}"),
            Value::Micros(n) => writeln!(self.text, "{}.{:06}", n / 1_000_000, n % 1_000_000),
            Value::Milli(n) => writeln!(self.text, "{}.{:03}", n / 1000, n % 1000),
        };
    }

    /// A family of one number without labels.
    fn one(&mut self, name: &str, kind: Type, help: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.family(name, kind, help);
            self.sample(name, kind, &[], value);
        }
    }

    /// A family of one number a workload. What is not known is not there.
    fn each(
        &mut self,
        watches: &[Watch],
        name: &str,
        kind: Type,
        help: &str,
        value: impl Fn(&Watch) -> Option<Value>,
    ) {
        self.each_with(watches, name, kind, help, "", |w| {
            value(w).map(|v| (String::new(), v)).into_iter().collect()
        });
    }

    /// A family of several numbers a workload, told apart by a label of their own. Where several labels are needed, they are
    /// given as `first\0second`.
    fn each_with(
        &mut self,
        watches: &[Watch],
        name: &str,
        kind: Type,
        help: &str,
        label: &str,
        values: impl Fn(&Watch) -> Vec<(String, Value)>,
    ) {
        self.family(name, kind, help);
        let labels: Vec<&str> = label.split(',').filter(|l| !l.is_empty()).collect();
        let mut other: std::collections::BTreeMap<String, Value> = Default::default();
        for (i, watch) in watches.iter().enumerate() {
            for (label, value) in values(watch) {
                if i >= MOST_LABELLED {
                    other
                        .entry(label)
                        .and_modify(|v| *v = add(*v, value))
                        .or_insert(value);
                    continue;
                }
                self.labelled(name, kind, watch.name.as_str(), &labels, &label, value);
            }
        }
        for (label, value) in other {
            self.labelled(name, kind, OTHER, &labels, &label, value);
        }
    }

    fn labelled(
        &mut self,
        name: &str,
        kind: Type,
        workload: &str,
        keys: &[&str],
        words: &str,
        value: Value,
    ) {
        let mut labels = vec![("workload", workload)];
        labels.extend(keys.iter().copied().zip(words.split('\0')));
        self.sample(name, kind, &labels, value);
    }
}

fn add(a: Value, b: Value) -> Value {
    match (a, b) {
        (Value::Whole(a), Value::Whole(b)) => Value::Whole(a.saturating_add(b)),
        (Value::Micros(a), Value::Micros(b)) => Value::Micros(a.saturating_add(b)),
        (Value::Milli(a), Value::Milli(b)) => Value::Milli(a.saturating_add(b)),
        (a, _) => a,
    }
}

/// The whole page.
#[must_use]
pub fn page(agent: &Agent, process: Option<(u64, u64)>, open: bool) -> String {
    let mut page = Page {
        text: String::with_capacity(16 << 10),
        open,
    };
    workloads(&mut page, &agent.watches);
    exceedances(&mut page, &agent.watches);
    anomalies(&mut page, &agent.watches);
    own(&mut page, agent, process);
    if open {
        page.text.push_str("# EOF\n");
    }
    page.text
}

fn workloads(page: &mut Page, all: &[Watch]) {
    use Type::{Counter, Gauge};
    let runs = |w: &Watch| !w.members.is_empty();
    page.each(
        all,
        "curb_workload_up",
        Gauge,
        "Whether it has processes.",
        |w| Some(Value::Whole(u64::from(runs(w)))),
    );
    page.each(
        all,
        "curb_workload_confined",
        Gauge,
        "Whether its processes are in a control group of the agent's, all of them.",
        |w| Some(Value::Whole(u64::from(w.is_confined()))),
    );
    page.each_with(
        all,
        "curb_workload_limits_not_held",
        Gauge,
        "Limits of the file, and what else it says, that the agent does not hold: 1 for each.",
        "limit",
        |w| {
            let held_not = w.names_not_held().into_iter().filter(|_| runs(w));
            held_not
                .map(|name| (name.to_owned(), Value::Whole(1)))
                .collect()
        },
    );
    page.each_with(
        all,
        "curb_workload_state",
        Gauge,
        "In what state it is: 1 for that one.",
        "state",
        |w| vec![(state(w.state()).to_owned(), Value::Whole(1))],
    );
    page.each(
        all,
        "curb_workload_processes",
        Gauge,
        "Its processes at the last look.",
        |w| u64::try_from(w.members.len()).ok().map(Value::Whole),
    );
    page.each(
        all,
        "curb_workload_tasks",
        Gauge,
        "Its processes and threads, as the kernel counts them.",
        |w| w.counts.tasks.filter(|_| runs(w)).map(Value::Whole),
    );
    page.each(
        all,
        "curb_workload_tasks_limit",
        Gauge,
        "How many processes and threads it may have, where that is in force.",
        |w| {
            let limit = w.limits_in_force()?.processes.as_ref()?;
            Some(Value::Whole(limit.value))
        },
    );
    page.each(all, "curb_workload_memory_bytes", Gauge, "Its memory: what the kernel charges its group with, else what its processes have resident.", |w| {
        w.counts.memory.filter(|_| runs(w)).map(|b| Value::Whole(b.0))
    });
    page.each(
        all,
        "curb_workload_memory_peak_bytes",
        Gauge,
        "The most memory it had at once, as the kernel counts.",
        |w| w.counts.memory_peak.map(|b| Value::Whole(b.0)),
    );
    page.each(
        all,
        "curb_workload_memory_limit_bytes",
        Gauge,
        "Its limit on memory, in force.",
        |w| {
            let limit = w.limits_in_force()?.memory.as_ref()?;
            Some(Value::Whole(limit.value.0))
        },
    );
    page.each(
        all,
        "curb_workload_cpu_limit_cpus",
        Gauge,
        "Its CPU quota, in force.",
        |w| {
            let limit = w.limits_in_force()?.cpu.as_ref()?;
            Some(Value::Milli(limit.value.0))
        },
    );
    page.each(
        all,
        "curb_workload_cpu_seconds",
        Counter,
        "CPU time that it has used.",
        |w| sum(w.figures.before.cpu_micros, w.counts.cpu_micros).map(Value::Micros),
    );
    page.each(
        all,
        "curb_workload_throttled_periods",
        Counter,
        "Periods of a tenth of a second in which its CPU quota held it back.",
        |w| sum(w.figures.before.throttled, w.counts.throttled).map(Value::Whole),
    );
    page.each(
        all,
        "curb_workload_oom_kills",
        Counter,
        "Its processes that the kernel killed since memory was at its limit.",
        |w| sum(w.figures.before.oom_kills, w.counts.oom_kills).map(Value::Whole),
    );
    page.each(
        all,
        "curb_workload_thrashing",
        Gauge,
        "Whether it is at its limit on memory and only reads its own program back from disk: 1, else 0.",
        |w| Some(Value::Whole(u64::from(w.thrashes.is_some()))),
    );
    page.each(
        all,
        "curb_workload_ended_for_thrashing",
        Counter,
        "How often it was ended for that.",
        |w| Some(Value::Whole(w.figures.ended_for_thrashing)),
    );
    page.each(
        all,
        "curb_workload_fork_refusals",
        Counter,
        "Forks that its limit on processes refused.",
        |w| sum(w.figures.before.fork_refusals, w.counts.fork_refusals).map(Value::Whole),
    );
    page.each(
        all,
        "curb_workload_starts",
        Counter,
        "How often it was started.",
        |w| Some(Value::Whole(w.figures.starts)),
    );
}

fn exceedances(page: &mut Page, all: &[Watch]) {
    page.each_with(
        all,
        "curb_workload_exceedances",
        Type::Counter,
        "Exceedances of its limits by limit (kind): those that began (step `begin`), and the steps of its ladder that were taken.",
        "kind,step",
        |w| {
            let begun = Resource::ALL.iter().map(|r| {
                let count = w.figures.exceedances.get(r).copied().unwrap_or(0);
                (format!("{}\0begin", r.name()), Value::Whole(count))
            });
            let steps = w.figures.steps.iter();
            let steps = steps.map(|((r, s), n)| (format!("{}\0{s}", r.name()), Value::Whole(*n)));
            begun.chain(steps).collect()
        },
    );
}

fn anomalies(page: &mut Page, all: &[Watch]) {
    page.each_with(
        all,
        "curb_workload_anomaly",
        Type::Gauge,
        "What is odd about it now: 1, else 0.",
        "kind",
        |w| {
            let active: Vec<Kind> = w.detector.active().collect();
            let one = |k: Kind| {
                (
                    k.name().to_owned(),
                    Value::Whole(u64::from(active.contains(&k))),
                )
            };
            Kind::ALL.into_iter().map(one).collect()
        },
    );
    page.each_with(
        all,
        "curb_workload_anomalies",
        Type::Counter,
        "Anomalies that began.",
        "kind",
        |w| {
            let count = |k: Kind| w.figures.anomalies.get(&k).copied().unwrap_or(0);
            Kind::ALL
                .into_iter()
                .map(|k| (k.name().to_owned(), Value::Whole(count(k))))
                .collect()
        },
    );
    page.each(
        all,
        "curb_workload_memory_limit_met_in_seconds",
        Type::Gauge,
        "Of memory that grows like a leak: in how long it meets its limit at this rate.",
        |w| w.detector.meets().map(|m| Value::Milli(m.within.0)),
    );
}

fn own(page: &mut Page, agent: &Agent, process: Option<(u64, u64)>) {
    use Type::{Counter, Gauge};
    let own: &Own = &agent.own;
    page.family("curb_agent_build_info", Gauge, "The agent's version.");
    page.sample(
        "curb_agent_build_info",
        Gauge,
        &[("version", env!("CARGO_PKG_VERSION"))],
        Value::Whole(1),
    );
    let whole = |n: u64| Some(Value::Whole(n));
    page.one(
        "curb_agent_processes",
        Gauge,
        "Processes on this host at the last look.",
        whole(own.processes),
    );
    page.one(
        "curb_agent_rounds",
        Counter,
        "Looks at all processes and workloads.",
        whole(own.rounds),
    );
    page.one(
        "curb_agent_round_seconds",
        Counter,
        "Time that these took together.",
        Some(Value::Micros(own.rounds_micros)),
    );
    let last = own.last_round.and_then(|t| u64::try_from(t.0).ok());
    page.one(
        "curb_agent_last_round_timestamp_seconds",
        Gauge,
        "When the last of them ended.",
        last.map(Value::Milli),
    );
    page.one(
        "curb_agent_scrapes",
        Counter,
        "Pages of metrics until now.",
        whole(own.scrapes),
    );
    page.one(
        "curb_agent_scrape_seconds",
        Counter,
        "Time that making these took together.",
        Some(Value::Micros(own.scrapes_micros)),
    );
    page.one(
        "curb_agent_cpu_seconds",
        Counter,
        "CPU time of the agent, its helper left out.",
        process.map(|(cpu, _)| Value::Micros(cpu)),
    );
    page.one(
        "curb_agent_resident_memory_bytes",
        Gauge,
        "Memory of the agent, its helper left out.",
        process.and_then(|(_, b)| whole(b)),
    );
    page.one("curb_agent_limits_right", Gauge, "Whether limits.yaml was right when it was last read; if not, what was in force before stays.", whole(u64::from(own.limits_right)));
    let read = own.limits_read.and_then(|t| u64::try_from(t.0).ok());
    page.one(
        "curb_agent_limits_read_timestamp_seconds",
        Gauge,
        "When limits.yaml was last read and right.",
        read.map(Value::Milli),
    );
    page.one(
        "curb_agent_limits_refused",
        Counter,
        "How often limits.yaml was read and wrong.",
        whole(own.limits_refused),
    );
    let (asked, refused) = agent.helper_counts();
    page.one(
        "curb_agent_helper_calls",
        Counter,
        "What the helper was asked.",
        whole(asked),
    );
    page.one(
        "curb_agent_helper_refusals",
        Counter,
        "What the helper refused.",
        whole(refused),
    );
    let dropped = agent.watches.iter().map(|w| w.history.dropped()).sum();
    page.one(
        "curb_agent_history_dropped_samples",
        Counter,
        "Readings that made room in the bounded history.",
        whole(dropped),
    );
    page.one(
        "curb_agent_log_lines_dropped",
        Counter,
        "Lines of the log that were left out, there being too many.",
        whole(agent.log.lines_left_out()),
    );
    let more = agent.watches.len().saturating_sub(MOST_LABELLED);
    page.one(
        "curb_agent_workloads_without_label",
        Gauge,
        "Workloads that are added up as `other`.",
        u64::try_from(more).ok().map(Value::Whole),
    );
}

fn sum(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
    }
}

/// The state's word.
#[must_use]
pub fn state(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Up => "up",
        State::OverLimit => "over_limit",
        State::Paused => "paused",
        State::Restarting => "restarting",
        State::Fallback => "fallback",
        State::Stopping => "stopping",
        State::GivenUp => "given_up",
        State::Ended => "ended",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Name;
    use curb_core::host::Bytes;
    use curb_core::host::detect::{Settings, Usual};
    use curb_core::host::limits::Workload;

    fn watches(n: usize) -> Vec<Watch> {
        let one = |i: usize| {
            let name = Name::new(&format!("w{i}")).expect("a name");
            let mut watch = Watch::new(
                &Workload::default(),
                name,
                Settings::default(),
                Usual::default(),
                n,
            );
            watch.figures.starts = 2;
            watch.figures.steps.insert((Resource::Memory, "warn"), 3);
            watch
        };
        (0..n).map(one).collect()
    }

    fn write(n: usize, open: bool) -> String {
        let mut page = Page {
            text: String::new(),
            open,
        };
        workloads(&mut page, &watches(n));
        exceedances(&mut page, &watches(n));
        anomalies(&mut page, &watches(n));
        page.text
    }

    #[test]
    fn counters_end_with_total_and_families_are_named_as_each_format_wants() {
        let plain = write(1, false);
        assert!(plain.contains("# TYPE curb_workload_starts_total counter\ncurb_workload_starts_total{workload=\"w0\"} 2\n"), "{plain}");
        let open = write(1, true);
        assert!(open.contains("# TYPE curb_workload_starts counter\ncurb_workload_starts_total{workload=\"w0\"} 2\n"), "{open}");
        assert!(
            plain.contains(
                "curb_workload_exceedances_total{workload=\"w0\",kind=\"memory\",step=\"warn\"} 3\n"
            ),
            "{plain}"
        );
        assert!(plain.contains(
            "curb_workload_exceedances_total{workload=\"w0\",kind=\"cpu\",step=\"begin\"} 0\n"
        ));
    }

    #[test]
    fn what_is_not_known_is_not_there_and_not_zero() {
        let text = write(1, false);
        assert!(!text.contains("curb_workload_memory_bytes{"), "{text}");
        assert!(!text.contains("curb_workload_cpu_seconds_total{"));
    }

    #[test]
    fn workloads_beyond_the_bound_are_added_up() {
        let text = write(MOST_LABELLED + 5, false);
        assert!(text.contains("curb_workload_starts_total{workload=\"other\"} 10\n"));
        assert!(!text.contains(&format!("workload=\"w{MOST_LABELLED}\"")));
        let most = text
            .lines()
            .filter(|l| l.starts_with("curb_workload_starts_total"))
            .count();
        assert_eq!(most, MOST_LABELLED + 1);
    }

    #[test]
    fn numbers_are_written_without_loss() {
        let mut page = Page {
            text: String::new(),
            open: false,
        };
        page.sample(
            "a",
            Type::Gauge,
            &[("b", "c\"\\\nd")],
            Value::Micros(1_000_001),
        );
        page.sample("a", Type::Gauge, &[], Value::Milli(12_045));
        assert_eq!(page.text, "a{b=\"cd\"} 1.000001\na 12.045\n");
        assert_eq!(Bytes(0).0, 0);
    }
}
