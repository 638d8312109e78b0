//! What is read from files that are right.

use std::collections::BTreeSet;

use curb_core::host::limits::*;
use curb_core::host::{Bytes, BytesPerSecond, MilliCpu, Percent, Permille};
use curb_core::time::Millis;

use crate::{accepted, host, ladder, limits, one, rendered, said_of};

pub const EXAMPLES: [(&str, &str); 2] = [
    (
        "limits.yaml",
        include_str!("../../../../examples/limits.yaml"),
    ),
    (
        "limits-full.yaml",
        include_str!("../../../../examples/limits-full.yaml"),
    ),
];

#[test]
fn the_examples_are_accepted_without_a_doubt() {
    for (name, text) in EXAMPLES {
        let said = said_of(text, &Host::default());
        assert_eq!(rendered(&said), "", "{name}");
    }
}

#[test]
fn the_example_of_a_model_server_fits_the_smallest_host() {
    let small = Host {
        memory: Some(Bytes(1 << 30)),
        cpus: Some(CpuSet(BTreeSet::from([0]))),
    };
    assert_eq!(rendered(&said_of(EXAMPLES[0].1, &small)), "");
}

#[test]
fn every_limit_means_what_is_written() {
    let file = accepted(EXAMPLES[1].1);
    let set = &file.workloads[0].limits;
    assert_eq!(set.rows().len(), Key::ALL.len());
    let memory = set.memory.as_ref().expect("given");
    assert_eq!(memory.value, Bytes(1536 << 20));
    assert_eq!(memory.why, "peak p99 1.2 GiB + 25%");
    assert_eq!(memory.from.as_deref(), Some("peak, p99"));
    let accepted = memory.accepted.as_ref().expect("given");
    assert_eq!(
        (accepted.by.as_str(), accepted.on.as_str()),
        ("ana", "2026-11-20")
    );
    let value = |key| set.row(key).expect("given").value;
    for (key, expected) in [
        (Key::MemoryHigh, Value::Bytes(Bytes(1400 << 20))),
        (Key::Swap, Value::Bytes(Bytes(0))),
        (Key::Cpu, Value::Cpu(MilliCpu(2000))),
        (Key::CpuWeight, Value::Weight(200)),
        (Key::CpuSet, Value::Cpus(CpuSet([0, 1, 2, 3, 6].into()))),
        (Key::Processes, Value::Count(64)),
        (Key::OpenFiles, Value::Count(4096)),
        (Key::IoRead, Value::Rate(BytesPerSecond(100 << 20))),
        (Key::IoWrite, Value::Rate(BytesPerSecond(50 << 20))),
        (Key::Duration, Value::Span(Millis::DAY)),
        (Key::CpuTime, Value::Span(Millis(36_000_000))),
        (
            Key::GpuVisible,
            Value::Gpus(vec![Gpu::Index(0), Gpu::Index(1)]),
        ),
        (Key::GpuThreads, Value::Percent(Percent(50))),
        (Key::GpuMemory, Value::Bytes(Bytes(4 << 30))),
        (Key::MlxCache, Value::Bytes(Bytes(256 << 20))),
        (Key::MlxMemory, Value::Bytes(Bytes(1 << 30))),
        (Key::MlxWired, Value::Bytes(Bytes(8 << 30))),
    ] {
        assert_eq!(value(key), expected, "{key}");
    }
    assert_eq!(file.host.keep_free, Some(Bytes(2 << 30)));
    assert_eq!(file.host.wired, Some(Bytes(48 << 30)));
}

#[test]
fn a_ladder_means_what_is_written() {
    let file = accepted(EXAMPLES[1].1);
    let memory = |reach| Condition {
        what: Resource::Memory,
        reach,
    };
    let above = |permille| memory(Reach::Above(Permille(permille)));
    let step = |when, after, action| Step {
        when,
        after: Millis(after),
        action,
    };
    assert_eq!(
        file.workloads[0].ladder,
        [
            step(above(900), 5000, Action::Warn),
            step(
                above(950),
                10_000,
                Action::Throttle {
                    cpu: Some(MilliCpu(500)),
                    memory_high: Some(Bytes(1 << 30))
                }
            ),
            step(
                memory(Reach::Met),
                0,
                Action::Pause {
                    raise: Permille(250),
                    most: Bytes(2 << 30)
                }
            ),
            step(
                above(950),
                20_000,
                Action::Checkpoint {
                    how: Checkpoint::Signal(10),
                    within: Millis(20_000)
                }
            ),
            step(
                above(950),
                60_000,
                Action::Stop {
                    grace: Millis(30_000)
                }
            ),
            Step {
                when: Condition {
                    what: Resource::Duration,
                    reach: Reach::Above(Permille(990))
                },
                after: Millis(0),
                action: Action::Checkpoint {
                    how: Checkpoint::Hook(vec!["./save.sh".into(), "--all".into()]),
                    within: Millis(30_000)
                },
            },
            step(
                memory(Reach::Thrashing),
                5000,
                Action::Stop {
                    grace: Millis(15_000)
                }
            ),
        ]
    );
}

#[test]
fn everything_else_of_a_workload_means_what_is_written() {
    let file = accepted(EXAMPLES[1].1);
    let w = &file.workloads[0];
    let rule = w.matches.as_ref().expect("given");
    assert_eq!(rule.library.as_deref(), Some("libmlx"));
    assert_eq!(rule.user, Some(User::Name("ana".into())));
    assert_eq!(rule.command, Some(Glob("python* server.py*".into())));
    assert_eq!(rule.unit.as_deref(), Some("chat.service"));
    assert_eq!(rule.environment["CURB_WORKLOAD"], "chat");
    let words = ["python", "server.py", "--port", "8081"].map(String::from);
    assert_eq!(w.command.as_deref(), Some(&words[..]));
    assert_eq!(w.baseline.as_deref(), Some("baselines/chat.yaml"));
    assert_eq!(w.end_thrashing, Some(EndThrashing::After(Millis::MINUTE)));
    assert_eq!(w.on_warn, Some(vec!["./tell.sh".to_owned()]));
    assert_eq!(
        w.retry,
        Some(Retry {
            times: 3,
            first: Millis(1000),
            most: Millis(60_000),
            memory: Permille(250),
            within: Millis(600_000),
        })
    );
    let fallback = w.fallback.as_ref().expect("given");
    assert_eq!(fallback.command[3], "small");
    let both = w.limits.with(&fallback.limits);
    assert_eq!(both.memory.map(|l| l.value), Some(Bytes(1 << 30)));
    assert_eq!(both.processes.map(|l| l.value), Some(64));
    assert_eq!(
        w.front,
        Some(Front {
            listen: "127.0.0.1:8080".parse().expect("an address"),
            to: "127.0.0.1:8081".parse().expect("an address"),
            in_flight: 8,
            queue: 32,
            body: Bytes(8 << 20),
            per_client: 4,
            deadline: Millis(120_000),
            fallback: Some("127.0.0.1:8082".parse().expect("an address")),
            metrics: Some("127.0.0.1:9180".parse().expect("an address")),
            trust: vec![
                "127.0.0.1".parse().expect("a network"),
                "10.0.0.0/8".parse().expect("a network")
            ],
        })
    );
    let other = &file.workloads[1];
    let rule = other.matches.as_ref().expect("given");
    assert_eq!(
        (rule.user.clone(), rule.container.as_deref()),
        (Some(User::Name("li".into())), Some("4f1a"))
    );
}

#[test]
fn who_thrashes_is_ended_after_half_a_minute_unless_the_file_says_otherwise() {
    let ended = |fields: &str| accepted(fields).workloads[0].ended_for_thrashing();
    let stops = "{when: memory thrashing, do: stop}";
    assert_eq!(
        ended(&ladder("{when: memory > 90%, do: stop}")),
        Some(Millis(30_000))
    );
    assert_eq!(
        ended(&ladder("{when: memory thrashing, do: warn}")),
        Some(Millis(30_000))
    );
    assert_eq!(ended(&ladder(stops)), None, "a step stops it");
    let said = |when: &str| one(&format!("end_thrashing: {when}, limits: {{}}"));
    assert_eq!(ended(&said("never")), None);
    assert_eq!(ended(&said("10s")), Some(Millis(10_000)));
}

#[test]
fn what_is_left_out_has_the_default_of_the_reference() {
    let file = accepted(&ladder(
        "{when: memory > 92.5%, do: checkpoint, signal: SIGUSR2}, {when: memory > 95%, do: stop}",
    ));
    let steps = &file.workloads[0].ladder;
    assert_eq!(steps[0].when.reach, Reach::Above(Permille(925)));
    assert_eq!(
        steps[0].action,
        Action::Checkpoint {
            how: Checkpoint::Signal(12),
            within: Millis(30_000)
        }
    );
    assert_eq!(
        steps[1].action,
        Action::Stop {
            grace: Millis(30_000)
        }
    );
    let file = accepted(&one(
        "limits: {processes: {value: 2, why: w}}, retry: {times: 1}, front: {listen: \"127.0.0.1:0\", to: \"[::1]:8081\"}",
    ));
    let w = &file.workloads[0];
    assert_eq!(
        w.retry,
        Some(Retry {
            times: 1,
            first: Millis(1000),
            most: Millis(60_000),
            memory: Permille(0),
            within: Millis(600_000)
        })
    );
    let front = w.front.as_ref().expect("given");
    assert_eq!(
        (front.in_flight, front.queue, front.per_client),
        (8, 32, 20)
    );
    assert_eq!(
        (front.body, front.deadline, front.fallback),
        (Bytes(8 << 20), Millis(120_000), None)
    );
}

#[test]
fn values_may_be_written_as_people_do() {
    for (written, expected) in [
        (
            "memory: {value: 2G, why: w}",
            Value::Bytes(Bytes(2_000_000_000)),
        ),
        (
            "memory: {value: 1073741824, why: w}",
            Value::Bytes(Bytes(1 << 30)),
        ),
        (
            "memory: {value: \"1.5 GiB\", why: w}",
            Value::Bytes(Bytes(3 << 29)),
        ),
        ("cpu: {value: 500m, why: w}", Value::Cpu(MilliCpu(500))),
        ("cpu: {value: 0.01, why: w}", Value::Cpu(MilliCpu(10))),
        (
            "cpu_set: {value: 3, why: w}",
            Value::Cpus(CpuSet([3].into())),
        ),
        (
            "cpu_set: {value: \"0, 2-3\", why: w}",
            Value::Cpus(CpuSet([0, 2, 3].into())),
        ),
        (
            "io_read: {value: 10 MB/s, why: w}",
            Value::Rate(BytesPerSecond(10_000_000)),
        ),
        (
            "duration: {value: 1h30m, why: w}",
            Value::Span(Millis(5_400_000)),
        ),
        ("gpu_visible: {value: [], why: w}", Value::Gpus(vec![])),
        (
            "gpu_visible: {value: [GPU-1a2b], why: w}",
            Value::Gpus(vec![Gpu::Uuid("GPU-1a2b".into())]),
        ),
        ("mlx_cache: {value: 0B, why: w}", Value::Bytes(Bytes(0))),
    ] {
        let file = accepted(&limits(written));
        let rows = file.workloads[0].limits.rows();
        assert_eq!(rows[0].value, expected, "{written}");
    }
}

#[test]
fn the_hash_is_of_the_text_as_it_lies_there() {
    let parsed = File::parse("l", "\u{feff}version: 1\n", &host()).expect("right");
    assert_eq!(
        parsed.sha256,
        "1a7d036ae2bb4cd3db0ecf2457a0a4eb8875422288334295b3ace8e6119372ae"
    );
}
