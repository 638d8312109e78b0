use super::*;
use crate::host::ladder::{Event, Outcome, State, What};
use crate::host::limits::{Condition, Fallback, Limit, Retry};
use crate::time::Timestamp;

fn stand_ins() -> StandIns {
    StandIns {
        told: vec!["curb".into(), "told".into()],
        quiet: vec!["curb".into(), "wait".into()],
    }
}

fn step(what: Resource, reach: Reach, after: u64, action: Action) -> Step {
    Step {
        when: Condition { what, reach },
        after: Millis(after),
        action,
    }
}

fn workload() -> Workload {
    let near = Reach::Above(Permille(900));
    Workload {
        name: "chat".into(),
        command: Some(vec!["real-server".into()]),
        on_warn: Some(vec!["page-people".into()]),
        limits: LimitSet {
            memory: Some(Limit::new(Bytes(64 << 20), "x")),
            cpu: Some(Limit::new(MilliCpu(500), "x")),
            processes: Some(Limit::new(16, "x")),
            open_files: Some(Limit::new(100_000, "x")),
            duration: Some(Limit::new(Millis(86_400_000), "x")),
            gpu_threads: Some(Limit::new(crate::host::Percent(50), "x")),
            ..LimitSet::default()
        },
        ladder: vec![
            step(Resource::Memory, near, 1000, Action::Warn),
            step(
                Resource::Memory,
                Reach::Met,
                0,
                Action::Pause {
                    raise: Permille(250),
                    most: Bytes(80 << 20),
                },
            ),
            step(
                Resource::Memory,
                near,
                3_600_000,
                Action::Checkpoint {
                    how: Checkpoint::Hook(vec!["real-save".into()]),
                    within: Millis(1000),
                },
            ),
        ],
        retry: Some(Retry {
            times: 2,
            first: Millis(1000),
            most: Millis(60_000),
            memory: Permille(250),
            within: Millis(600_000),
        }),
        fallback: Some(Fallback {
            command: vec!["real-fallback".into()],
            limits: LimitSet::default(),
        }),
        ..Workload::default()
    }
}

fn all(memory: Option<Bytes>) -> Drill {
    drill(
        &File::default(),
        &workload(),
        memory,
        Some(2),
        &stand_ins(),
        None,
    )
}

#[test]
fn nothing_of_the_real_workload_is_in_what_is_run() {
    let drill = all(None);
    assert!(
        drill.rehearsals.len() >= 6,
        "{:?}",
        drill.rehearsals.iter().map(|r| &r.name).collect::<Vec<_>>()
    );
    for rehearsal in &drill.rehearsals {
        let text = super::super::limits::show(&rehearsal.file);
        for real in ["real-server", "page-people", "real-save", "real-fallback"] {
            assert!(!text.contains(real), "{}: {text}", rehearsal.name);
        }
        let host = super::super::limits::Host::default();
        let parsed = File::parse("limits.yaml", &text, &host);
        assert!(parsed.is_ok(), "{}: {parsed:?}\n{text}", rehearsal.name);
    }
    assert!(
        drill.left_out.iter().any(|l| l.starts_with("gpu")),
        "{:?}",
        drill.left_out
    );
}

#[test]
fn the_most_memory_counts_what_pausing_and_retries_add() {
    // 80 MiB after the pause, and twice a quarter more.
    assert_eq!(all(None).memory, Some(Bytes(125 << 20)));
    let scaled = all(Some(Bytes(32 << 20)));
    assert_eq!(scaled.memory, Some(Bytes((125 << 20) / 2)));
    assert!(
        scaled.rehearsals[0]
            .notes
            .iter()
            .any(|n| n.contains("in place of 64 MiB"))
    );
    assert!(
        all(Some(Bytes(1 << 20)))
            .left_out
            .iter()
            .any(|l| l.starts_with("memory of 1 MiB"))
    );
}

#[test]
fn steps_are_expected_where_they_are_due() {
    let drill = all(None);
    let steps = |name: &str| {
        let rehearsal = drill
            .rehearsals
            .iter()
            .find(|r| r.name.starts_with(name))
            .expect(name);
        let of = |e: &Expect| match e {
            Expect::Step { step, .. } => Some(*step),
            _ => None,
        };
        rehearsal.expects.iter().filter_map(of).collect::<Vec<_>>()
    };
    assert_eq!(steps("memory near"), [1, 3]);
    // Alone in that run's own ladder.
    assert_eq!(steps("memory beyond"), [1]);
    let beyond = &drill.rehearsals[1].expects;
    assert!(
        beyond.contains(&Expect::Retried(2)) && beyond.contains(&Expect::FellBack),
        "{beyond:?}"
    );
    assert!(beyond.contains(&Expect::KilledForMemory), "{beyond:?}");
}

fn event(what: What) -> Event {
    Event {
        time: Timestamp(0),
        workload: "chat".into(),
        run: 1,
        state: State::Up,
        what,
    }
}

fn acted(step: usize, outcome: Outcome) -> Event {
    event(What::Acted {
        exceedance: 1,
        step,
        resource: Resource::Memory,
        action: "warn".into(),
        used: 1,
        limit: 1,
        detail: String::new(),
        outcome,
    })
}

fn died(cause: &str, peak: Option<u64>) -> Event {
    event(What::Died {
        cause: cause.into(),
        exit_code: Some(137),
        memory_peak: peak.map(Bytes),
        oom_kills: None,
        ran_ms: 1,
        left_behind: 0,
        text: None,
    })
}

fn rehearsal(load: Load, expect: Expect) -> Rehearsal {
    Rehearsal {
        name: "x".into(),
        file: File {
            workloads: vec![workload()],
            ..File::default()
        },
        load,
        lasts: Millis(1),
        expects: vec![expect],
        notes: Vec::new(),
    }
}

fn marked(load: Load, expect: Expect, seen: &Seen) -> Mark {
    let all = judge(&rehearsal(load, expect), seen);
    all.iter()
        .map(|v| v.mark)
        .find(|m| *m != Mark::Pass)
        .unwrap_or(Mark::Pass)
}

/// Whether one expectation is met by what was seen.
fn passes(expect: Expect, seen: Seen) -> bool {
    marked(Load::Wait, expect, &seen) == Mark::Pass
}

fn with(events: Vec<Event>) -> Seen {
    Seen {
        events,
        ..Seen::default()
    }
}

fn reported(report: Report) -> Seen {
    Seen {
        report: Some(report),
        ..Seen::default()
    }
}

#[test]
fn what_was_not_seen_is_no_pass() {
    let step = || Expect::Step {
        step: 2,
        words: "x".into(),
    };
    assert!(passes(step(), with(vec![acted(2, Outcome::Done)])));
    assert!(!passes(step(), with(vec![acted(1, Outcome::Done)])));
    let failed = with(vec![acted(2, Outcome::Failed("no".into()))]);
    assert_eq!(marked(Load::MemoryBeyond, step(), &failed), Mark::Fail);
    let most = || Expect::MemoryAtMost(Bytes(64 << 20));
    assert!(passes(most(), with(vec![died("done", Some(64 << 20))])));
    let above = with(vec![died("done", Some(65 << 20))]);
    assert_eq!(marked(Load::MemoryBeyond, most(), &above), Mark::Fail);
    let uncounted = with(vec![died("done", None)]);
    assert_eq!(marked(Load::MemoryBeyond, most(), &uncounted), Mark::Fail);
    let killed = |said: &str, cause: &str| Seen {
        said: said.into(),
        ..with(vec![died(cause, Some(64 << 20))])
    };
    assert!(passes(
        Expect::KilledForMemory,
        killed("curb chat: the kernel killed it: ...", "memory")
    ));
    for other in [
        killed("", "memory"),
        killed("the kernel killed it", "signal"),
    ] {
        let mark = marked(Load::MemoryBeyond, Expect::KilledForMemory, &other);
        assert_eq!(mark, Mark::Fail);
    }
    assert!(!passes(Expect::Told, Seen::default()));
    // A limit ended it, and nothing followed.
    let ended = with(vec![died("memory", Some(64 << 20))]);
    for expect in [Expect::Retried(1), Expect::FellBack, Expect::GaveUp] {
        assert_eq!(marked(Load::MemoryBeyond, expect, &ended), Mark::Fail);
    }
    let stopped = with(vec![died("done", None)]);
    let mark = marked(Load::Wait, Expect::StoppedFor("duration"), &stopped);
    assert_eq!(mark, Mark::Fail);
    let cpu = |cpu_ms, most_cpu| {
        reported(Report {
            cpu_ms,
            wall_ms: 1000,
            most_cpu,
            ..Report::default()
        })
    };
    let at_most = || Expect::CpuAtMost(MilliCpu(500));
    assert!(passes(at_most(), cpu(550, 500)));
    assert_eq!(marked(Load::Spin(2), at_most(), &cpu(900, 900)), Mark::Fail);
    let silent = marked(Load::Spin(2), at_most(), &Seen::default());
    assert_eq!(silent, Mark::Fail);
    let late = Seen {
        late: true,
        told: true,
        ..Seen::default()
    };
    assert_eq!(marked(Load::Wait, Expect::Told, &late), Mark::Fail);
}

#[test]
fn what_its_load_did_not_come_to_is_neither_passed_nor_failed() {
    let reached = |load, expect, seen: &Seen| marked(load, expect, seen) != Mark::NotReached;
    // It had half of its quota at best: the machine was busy.
    let busy = reported(Report {
        cpu_ms: 200,
        wall_ms: 1000,
        most_cpu: 250,
        ..Report::default()
    });
    let at_most = || Expect::CpuAtMost(MilliCpu(500));
    assert!(!reached(Load::Spin(2), at_most(), &busy));
    let got = |got, refused| {
        reported(Report {
            got,
            refused,
            ..Report::default()
        })
    };
    let refused = || Expect::RefusedBeyond(64);
    assert!(passes(refused(), got(64, true)));
    assert!(passes(refused(), got(60, true)));
    assert_eq!(
        marked(Load::Files(72), refused(), &got(65, true)),
        Mark::Fail
    );
    assert_eq!(
        marked(Load::Files(72), refused(), &got(72, false)),
        Mark::Fail
    );
    assert!(!reached(Load::Files(72), refused(), &got(9, true)));
    assert!(!reached(Load::Files(72), refused(), &got(64, false)));
    // Memory: the load was too slow for the step, the kill and all that follows.
    let slow = with(vec![died("done", Some(10 << 20))]);
    for expect in [
        Expect::Step {
            step: 1,
            words: "x".into(),
        },
        Expect::MemoryAtMost(Bytes(64 << 20)),
        Expect::KilledForMemory,
        Expect::Retried(2),
        Expect::FellBack,
        Expect::GaveUp,
        Expect::Told,
    ] {
        let text = format!("{expect:?}");
        assert!(!reached(Load::MemoryBeyond, expect, &slow), "{text}");
    }
    // It was above the mark of the step, and the step was not taken.
    let above = with(vec![died("done", Some(60 << 20))]);
    let step = Expect::Step {
        step: 1,
        words: "x".into(),
    };
    assert_eq!(
        marked(Load::MemoryTo(Permille(920)), step, &above),
        Mark::Fail
    );
}

#[test]
fn what_is_read_back_is_as_in_the_file_or_told_as_not_held() {
    let expect = |name, value: &str| Expect::InForce {
        name,
        value: value.into(),
    };
    let read = |name: &str, value: &str| {
        reported(Report {
            read: [(name.to_owned(), value.to_owned())].into(),
            ..Report::default()
        })
    };
    let is = |e, seen: &Seen| marked(Load::Read, e, seen);
    assert_eq!(
        is(expect("cpu_set", "0-1"), &read("cpu_set", "0-1")),
        Mark::Pass
    );
    assert_eq!(
        is(expect("cpu_set", "0-1"), &read("cpu_set", "0-3")),
        Mark::Fail
    );
    assert_eq!(is(expect("cpu_weight", "50"), &Seen::default()), Mark::Fail);
    // The kernel counts whole pages.
    let high = || expect("memory_high", "10000000");
    assert_eq!(is(high(), &read("memory_high", "9998336")), Mark::Pass);
    assert_eq!(is(high(), &read("memory_high", "10002432")), Mark::Fail);
    assert_eq!(is(high(), &read("cpu_weight", "1")), Mark::Fail);
    let started = event(What::Started {
        pid: 1,
        command: Vec::new(),
        group: None,
        held_by: crate::host::ladder::HeldBy::GroupV1,
        memory: None,
        not_held: vec!["memory_high: it needs version 2".into()],
    });
    let told = Seen {
        events: vec![started],
        ..read("cpu_weight", "1")
    };
    assert_eq!(is(high(), &told), Mark::NotReached);
}

#[test]
fn steps_before_a_limit_on_time_are_shortened_with_it_or_left_out_with_the_reason() {
    let mut workload = workload();
    let above = |part, after, action| {
        step(
            Resource::Duration,
            Reach::Above(Permille(part)),
            after,
            action,
        )
    };
    let hour = 3_600_000;
    let saves = Action::Checkpoint {
        how: Checkpoint::Signal(10),
        within: Millis(hour),
    };
    workload.ladder = vec![
        above(500, hour, Action::Warn),
        above(800, 0, saves),
        above(995, 0, Action::Warn),
        above(900, 3 * hour, Action::Warn),
    ];
    let drill = drill(
        &File::default(),
        &workload,
        None,
        Some(2),
        &stand_ins(),
        None,
    );
    let made = drill
        .rehearsals
        .iter()
        .find(|r| r.name.starts_with("running longer"))
        .expect("rehearsed");
    let own = &made.file.workloads[0];
    assert_eq!(
        own.limits.duration.as_ref().map(|l| l.value),
        Some(SHORT_WITH_STEPS)
    );
    // Of 24 hours the hour is 416 ms of 10 s.
    let afters: Vec<u64> = own.ladder.iter().map(|s| s.after.0).collect();
    assert_eq!(afters, [416, 0]);
    assert!(matches!(
        own.ladder[1].action,
        Action::Checkpoint {
            within: Millis(416),
            ..
        }
    ));
    let text = drill.left_out.join("\n");
    let third = "step 3, {when: duration > 99.5%";
    assert!(text.contains(third), "{text}");
    assert!(text.contains("the limit comes before it"), "{text}");
    let last = made.expects.last();
    assert_eq!(last, Some(&Expect::StoppedFor("duration")));
}

#[test]
fn its_own_command_is_run_only_where_that_is_asked_for() {
    let own = ["real-server".to_owned()];
    let lasts = Millis(5_000);
    let drill = drill(
        &File::default(),
        &workload(),
        None,
        Some(2),
        &stand_ins(),
        Some((&own, lasts)),
    );
    let real = |r: &&Rehearsal| super::super::limits::show(&r.file).contains("real-server");
    let [made] = &drill.rehearsals.iter().filter(real).collect::<Vec<_>>()[..] else {
        panic!("one: {drill:?}")
    };
    assert_eq!((&made.load, made.lasts), (&Load::OwnCommand, lasts));
    // What it did not come near was not shown; that it ends when it is asked to was.
    let seen = with(vec![died("asked", Some(20 << 20))]);
    let marks = judge(made, &seen);
    let of = |mark| marks.iter().filter(|v| v.mark == mark).count();
    // Asked to end it took longer than it may, and was killed.
    assert_eq!((of(Mark::Fail), of(Mark::Pass)), (1, 0), "{marks:?}");
    assert_eq!(marks.last().map(|v| v.mark), Some(Mark::Fail));
}
