//! The pages that the agent serves: metrics, its health, and what it knows as JSON.

use serde_json::{Value, json};

use crate::agent::{Agent, micros};
use crate::http::{Ask, Page};
use crate::metrics;
use crate::watch::Watch;

/// A round later than this, in rounds, and the agent is not well.
const LATE_ROUNDS: u64 = 10;
/// Readings of one workload in one answer.
const MOST_POINTS: usize = 3600;

/// Answers what is asked. `every_ms` is the time between two rounds; `now_ms` the time on the wall.
pub fn answer(agent: &mut Agent, ask: &Ask, every_ms: u64, now_ms: i64) -> Page {
    match ask.path.as_str() {
        "/metrics" => {
            let begun = std::time::Instant::now();
            agent.own.scrapes += 1;
            let text = metrics::page(agent, own_process(), ask.open_metrics);
            agent.own.scrapes_micros += micros(begun.elapsed());
            let kind = if ask.open_metrics {
                metrics::OPEN
            } else {
                metrics::PLAIN
            };
            Page {
                status: 200,
                kind,
                text,
            }
        }
        "/healthz" => health(agent, every_ms, now_ms),
        "/readyz" => match (agent.own.last_round, agent.own.limits_right) {
            (None, _) => Page::plain(503, "not ready: the first look is not over\n"),
            (_, false) => Page::plain(
                503,
                "not ready: limits.yaml is wrong; what was in force before stays\n",
            ),
            (Some(_), true) => Page::plain(200, "ready\n"),
        },
        "/v1/workloads" => json_page(&workloads(agent)),
        "/v1/history" => history(agent, &ask.query),
        "/v1/events" => {
            let all: Vec<_> = agent.log.last().collect();
            json_page(&json!(all))
        }
        "/" => Page::plain(
            200,
            "curb agent\n/metrics /healthz /readyz /v1/workloads /v1/history?workload=NAME /v1/events\n",
        ),
        _ => Page::plain(404, "there is no such page; / lists them\n"),
    }
}

/// What a look found, as JSON.
#[must_use]
pub fn found(agent: &Agent) -> String {
    workloads(agent).to_string() + "\n"
}

fn workloads(agent: &Agent) -> Value {
    Value::Array(agent.watches.iter().map(workload).collect())
}

fn health(agent: &Agent, every_ms: u64, now_ms: i64) -> Page {
    let late = every_ms.saturating_mul(LATE_ROUNDS).max(5_000);
    let Some(last) = agent.own.last_round else {
        return Page::plain(200, "starting\n");
    };
    let since = u64::try_from(now_ms.saturating_sub(last.0)).unwrap_or(0);
    match since > late {
        true => Page::plain(503, format!("the last look was {since} ms ago\n")),
        false => Page::plain(200, "ok\n"),
    }
}

fn workload(watch: &Watch) -> Value {
    let members: Vec<Value> = watch
        .members
        .values()
        .map(|m| json!({"pid": m.who.pid, "only_watched": m.outside}))
        .collect();
    let counts = &watch.counts;
    let limits = watch.limits_in_force();
    json!({
        "workload": watch.name.as_str(),
        "state": metrics::state(watch.state()),
        "held_by": watch.held_by_now(),
        "not_held": watch.not_held,
        "run": watch.run,
        "processes": members,
        "memory_bytes": counts.memory.map(|b| b.0),
        "memory_peak_bytes": counts.memory_peak.map(|b| b.0),
        "memory_limit_bytes": limits.and_then(|l| l.memory.as_ref()).map(|l| l.value.0),
        "held_before_bytes": watch.held_before.0,
        "cpu_milli": watch.cpu.map(|c| c.0),
        "cpu_limit_milli": limits.and_then(|l| l.cpu.as_ref()).map(|l| l.value.0),
        "tasks": counts.tasks,
        "tasks_limit": limits.and_then(|l| l.processes.as_ref()).map(|l| l.value),
        "oom_kills": counts.oom_kills,
        "thrashing": watch.thrashes.is_some(),
        "anomalies": watch.detector.active().map(|k| k.name()).collect::<Vec<_>>(),
        "limit_met_in_ms": watch.detector.meets().map(|m| m.within.0),
    })
}

fn history(agent: &Agent, query: &str) -> Page {
    let name = query
        .split('&')
        .find_map(|part| part.strip_prefix("workload="));
    let Some(watch) = agent.watches.iter().find(|w| Some(w.name.as_str()) == name) else {
        return Page::plain(404, "there is no such workload; ask /v1/workloads\n");
    };
    let points: Vec<Value> = watch
        .history
        .seen()
        .take(MOST_POINTS)
        .map(|s| json!([s.at_ms, s.memory.map(|b| b.0), s.cpu.map(|c| c.0), s.tasks]))
        .collect();
    json_page(&json!({
        "workload": watch.name.as_str(),
        "columns": ["since_boot_ms", "memory_bytes", "cpu_milli", "tasks"],
        "points": points,
        "dropped": watch.history.dropped(),
    }))
}

fn json_page(value: &Value) -> Page {
    Page {
        status: 200,
        kind: "application/json",
        text: value.to_string() + "\n",
    }
}

/// CPU time of this process in microseconds, and its memory in bytes.
fn own_process() -> Option<(u64, u64)> {
    let procfs = curb_host::proc::Procfs::open().ok()?;
    let process = procfs.process(std::process::id()).ok()?;
    let stat = process.stat().ok()?;
    let ticks = stat.user_ticks.saturating_add(stat.system_ticks);
    let memory = stat
        .resident_pages
        .saturating_mul(curb_host::scan::page_size());
    Some((ticks.saturating_mul(10_000), memory))
}
