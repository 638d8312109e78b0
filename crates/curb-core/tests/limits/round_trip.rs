//! What is shown of a file of limits reads back as the same file.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use curb_core::host::limits::*;
use curb_core::host::{Bytes, BytesPerSecond, MilliCpu, Percent, Permille};
use curb_core::time::Millis;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use crate::accepted;
use crate::accepted::EXAMPLES;

fn text() -> BoxedStrategy<String> {
    prop_oneof![
        "[a-z]{1,8}( [a-z0-9%+.,:#'\"{}-]{1,8}){0,3}",
        select(vec![
            "null",
            "1",
            "no",
            "~",
            "- x",
            "{a: b}",
            "é – ß",
            "a\u{200b}b",
            "\\"
        ])
        .prop_map(str::to_owned)
    ]
    .boxed()
}

fn word() -> BoxedStrategy<String> {
    prop_oneof![
        "[ -~]{1,12}",
        select(vec!["a\nb", "\t", "true", "0x1", "*", "&a", "é"]).prop_map(str::to_owned)
    ]
    .prop_filter("a program has a name", |w| !w.trim().is_empty())
    .boxed()
}

fn argv() -> BoxedStrategy<Vec<String>> {
    vec(word(), 1..4).boxed()
}

fn size() -> BoxedStrategy<Bytes> {
    prop_oneof![
        (64u64..4096).prop_map(|m| m << 20),
        (64u64 << 20)..(1 << 53)
    ]
    .prop_map(Bytes)
    .boxed()
}

fn span() -> BoxedStrategy<Millis> {
    prop_oneof![1000u64..10_000_000, (1u64..500).prop_map(|h| h * 3_600_000)]
        .prop_map(Millis)
        .boxed()
}

/// What a step or a request waits at most is a day.
fn short() -> BoxedStrategy<Millis> {
    (1000u64..=86_400_000).prop_map(Millis).boxed()
}

fn limit<T: std::fmt::Debug + 'static>(
    value: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Option<Limit<T>>> {
    let accepted = of((text(), 1u32..28).prop_map(|(by, day)| Accepted {
        by,
        on: format!("2026-11-{day:02}"),
    }));
    of(
        (value, text(), of(text()), accepted).prop_map(|(value, why, from, accepted)| Limit {
            value,
            // A reader takes runs of blanks for one.
            why: why.split_whitespace().collect::<Vec<_>>().join(" "),
            from: from.map(|f| f.split_whitespace().collect::<Vec<_>>().join(" ")),
            accepted,
        }),
    )
    .boxed()
}

fn kernel() -> BoxedStrategy<LimitSet> {
    let cpus = btree_set(0u32..100, 1..8).prop_map(CpuSet);
    let rate = || (4096u64..1 << 40).prop_map(BytesPerSecond);
    (
        (limit(size()), limit(prop_oneof![Just(Bytes(0)), size()])),
        (
            limit((10u64..1000).prop_map(MilliCpu)),
            limit(1u32..=10_000),
            limit(cpus),
        ),
        (limit(2u64..1 << 22), limit(3u64..1 << 20)),
        (limit(rate()), limit(rate()), limit(span()), limit(span())),
    )
        .prop_map(
            |(
                (memory, swap),
                (cpu, cpu_weight, cpu_set),
                (processes, open_files),
                (io_read, io_write, duration, cpu_time),
            )| LimitSet {
                memory,
                swap,
                cpu,
                cpu_weight,
                cpu_set,
                processes,
                open_files,
                io_read,
                io_write,
                duration,
                cpu_time,
                ..LimitSet::default()
            },
        )
        .boxed()
}

fn set() -> BoxedStrategy<LimitSet> {
    let gpu = prop_oneof![
        (0u32..9).prop_map(Gpu::Index),
        "GPU-[a-f0-9]{4}-[a-f0-9]{4}".prop_map(Gpu::Uuid)
    ];
    let gpus = btree_set(gpu, 0..4).prop_map(|s| s.into_iter().collect());
    let whole = (1u64..1000).prop_map(|m| Bytes(m << 20));
    let small = || (0u64..64 << 20).prop_map(Bytes);
    (
        kernel(),
        limit(gpus),
        limit((1u8..=100).prop_map(Percent)),
        limit(whole),
        limit(small()),
        limit(size()),
    )
        .prop_map(
            |(set, gpu_visible, gpu_threads, gpu_memory, mlx_cache, mlx_wired)| LimitSet {
                gpu_visible,
                gpu_threads,
                gpu_memory,
                mlx_cache,
                mlx_wired,
                ..set
            },
        )
        .boxed()
}

fn rule() -> BoxedStrategy<Match> {
    let user = prop_oneof![
        "[a-z_][a-z0-9_.-]{0,8}".prop_map(User::Name),
        any::<u32>().prop_map(User::Id)
    ];
    let environment = btree_map("[A-Z_]{1,6}", text(), 0..3);
    let library = "[m-z][a-z0-9.]{2,8}";
    (
        library,
        of(user),
        of("[a-z*? ]{0,6}[a-z]"),
        of("[a-z]{1,8}\\.service"),
        of("[a-f0-9]{1,12}"),
        environment,
    )
        .prop_map(
            |(library, user, command, unit, container, environment)| Match {
                library: Some(library),
                user,
                command: command.map(Glob),
                unit,
                container,
                environment,
            },
        )
        .boxed()
}

fn ladder() -> BoxedStrategy<Vec<Step>> {
    // In order by construction: each later part of the limit is higher.
    vec(
        (
            short(),
            prop_oneof![
                Just(Action::Warn),
                (10u64..100).prop_map(|c| Action::Throttle {
                    cpu: Some(MilliCpu(c)),
                    memory_high: None
                }),
                (select(vec![1, 2, 10, 12, 15, 33, 64]), short()).prop_map(|(n, within)| {
                    Action::Checkpoint {
                        how: Checkpoint::Signal(n),
                        within,
                    }
                }),
                (argv(), short()).prop_map(|(hook, within)| Action::Checkpoint {
                    how: Checkpoint::Hook(hook),
                    within
                }),
            ],
        ),
        0..5,
    )
    .prop_flat_map(|steps| (Just(steps), any::<bool>()))
    .prop_map(|(steps, thrashes)| {
        let step = |(i, (after, action)): (usize, (Millis, Action))| Step {
            when: Condition {
                what: Resource::Cpu,
                reach: Reach::Above(Permille(901 + i as u32)),
            },
            after,
            action,
        };
        let mut all: Vec<Step> = steps.into_iter().enumerate().map(step).collect();
        if thrashes {
            let when = Condition {
                what: Resource::Memory,
                reach: Reach::Thrashing,
            };
            let after = Millis(1000);
            let action = Action::Warn;
            all.push(Step {
                when,
                after,
                action,
            });
        }
        all
    })
    .boxed()
}

fn ended() -> BoxedStrategy<EndThrashing> {
    let after = (10_000..86_400_000u64).prop_map(|ms| EndThrashing::After(Millis(ms)));
    prop_oneof![Just(EndThrashing::Never), after].boxed()
}

fn front() -> BoxedStrategy<Front> {
    let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    (
        1u16..9999,
        1u32..99,
        0u32..99,
        size(),
        short(),
        any::<bool>(),
    )
        .prop_map(
            move |(port, in_flight, queue, body, deadline, fallback)| Front {
                listen: address(port),
                to: address(port + 10_000),
                in_flight,
                queue,
                body,
                per_client: in_flight + queue,
                deadline,
                fallback: fallback.then(|| address(port + 20_000)),
                metrics: fallback.then(|| address(port + 30_000)),
                trust: ["10.0.0.0/8", "::1", "192.0.2.4"][usize::from(fallback)..]
                    .iter()
                    .map(|n| n.parse().expect("a network"))
                    .collect(),
            },
        )
        .boxed()
}

fn workload() -> BoxedStrategy<Workload> {
    let cpu = (200u64..1000, text()).prop_map(|(c, why)| {
        Limit::new(
            MilliCpu(c),
            why.split_whitespace().collect::<Vec<_>>().join(" "),
        )
    });
    let retry = (1u32..9, 100u64..1000, prop_oneof![Just(0u32), 10u32..900]).prop_map(
        |(times, first, memory)| Retry {
            times,
            first: Millis(first),
            most: Millis(1000),
            memory: Permille(memory),
            within: Millis(3_600_000),
        },
    );
    (
        (of(rule()), of(argv()), of("[a-z]{1,6}/[a-z ]{0,6}[a-z]")),
        (set(), cpu, size(), ladder(), of(argv()), of(ended())),
        (of(retry), of((argv(), set())), of(front())),
    )
        .prop_map(
            |(
                (matches, command, baseline),
                (mut limits, cpu, memory, ladder, on_warn, end_thrashing),
                (retry, fallback, front),
            )| {
                limits.cpu = Some(cpu);
                limits
                    .memory
                    .get_or_insert_with(|| Limit::new(memory, "for the retry"));
                let fallback = fallback.map(|(mut command, limits)| {
                    command.push("--small".into());
                    Fallback { command, limits }
                });
                Workload {
                    name: String::new(),
                    matches,
                    command,
                    baseline,
                    limits,
                    ladder,
                    end_thrashing,
                    on_warn,
                    retry,
                    fallback,
                    front,
                }
            },
        )
        .boxed()
}

fn file() -> BoxedStrategy<File> {
    (of(size()), vec(workload(), 0..3))
        .prop_map(|(keep_free, mut workloads)| {
            for (i, w) in workloads.iter_mut().enumerate() {
                w.name = format!("w-{i}");
                if i > 0 {
                    w.front = None;
                }
            }
            File {
                version: 1,
                host: HostBounds {
                    keep_free,
                    wired: None,
                },
                workloads,
            }
        })
        .boxed()
}

#[test]
fn what_is_shown_of_an_example_is_the_example() {
    for (name, text) in EXAMPLES {
        let file = accepted(text);
        assert_eq!(accepted(&show(&file)), file, "{name}");
    }
    insta::assert_snapshot!(show(&accepted(EXAMPLES[1].1)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_is_shown_reads_back_the_same(file in file()) {
        let shown = show(&file);
        let parsed = File::parse("shown.yaml", &shown, &Host::default());
        let parsed = parsed.map_err(|all| TestCaseError::fail(format!("{shown}\n{}", crate::rendered(&all))))?;
        prop_assert_eq!(parsed.file, file);
    }

    #[test]
    fn the_journal_of_a_file_is_the_file(file in file()) {
        let json = serde_json::to_string(&file).expect("JSON");
        let back: File = serde_json::from_str(&json).expect("its own JSON");
        prop_assert_eq!(back, file);
    }
}

#[test]
fn an_empty_environment_is_not_written() {
    let rule = Match {
        user: Some(User::Id(1)),
        environment: BTreeMap::new(),
        ..Match::default()
    };
    let file = File {
        version: 1,
        workloads: vec![Workload {
            name: "a".into(),
            matches: Some(rule),
            ..Workload::default()
        }],
        ..File::default()
    };
    assert!(!show(&file).contains("environment"));
}
