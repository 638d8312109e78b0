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
    drill(&File::default(), &workload(), memory, Some(2), &stand_ins())
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
        ran_ms: 1,
        left_behind: 0,
        text: None,
    })
}

/// Whether one expectation is met by what was seen.
fn passes(expect: Expect, seen: Seen) -> bool {
    let rehearsal = Rehearsal {
        name: "x".into(),
        file: File::default(),
        load: Load::Wait,
        lasts: Millis(1),
        expects: vec![expect],
        notes: Vec::new(),
    };
    judge(&rehearsal, &seen).iter().all(|v| v.pass)
}

#[test]
fn what_was_not_seen_fails() {
    let with = |events: Vec<Event>| Seen {
        events,
        ..Seen::default()
    };
    let step = || Expect::Step {
        step: 2,
        words: "x".into(),
    };
    assert!(passes(step(), with(vec![acted(2, Outcome::Done)])));
    assert!(!passes(step(), with(vec![acted(1, Outcome::Done)])));
    assert!(!passes(
        step(),
        with(vec![acted(2, Outcome::Failed("no".into()))])
    ));
    let most = || Expect::MemoryAtMost(Bytes(10));
    assert!(passes(most(), with(vec![died("done", Some(10))])));
    assert!(!passes(most(), with(vec![died("done", Some(11))])));
    assert!(
        !passes(most(), with(vec![died("done", None)])),
        "nobody counted it"
    );
    let killed = |said: &str, cause: &str| Seen {
        said: said.into(),
        ..with(vec![died(cause, None)])
    };
    assert!(passes(
        Expect::KilledForMemory,
        killed("curb chat: the kernel killed it: ...", "memory")
    ));
    assert!(!passes(Expect::KilledForMemory, killed("", "memory")));
    assert!(!passes(
        Expect::KilledForMemory,
        killed("the kernel killed it", "signal")
    ));
    assert!(!passes(Expect::Told, Seen::default()));
    assert!(!passes(Expect::Retried(1), Seen::default()));
    assert!(!passes(Expect::FellBack, Seen::default()));
    assert!(!passes(Expect::GaveUp, Seen::default()));
    assert!(!passes(
        Expect::StoppedFor("duration"),
        with(vec![died("done", None)])
    ));
    let reported = |report: Report| Seen {
        report: Some(report),
        ..Seen::default()
    };
    let cpu = |cpu_ms| {
        reported(Report {
            cpu_ms,
            wall_ms: 1000,
            ..Report::default()
        })
    };
    assert!(passes(Expect::CpuAtMost(MilliCpu(500)), cpu(550)));
    assert!(!passes(Expect::CpuAtMost(MilliCpu(500)), cpu(900)));
    assert!(!passes(Expect::CpuAtMost(MilliCpu(500)), Seen::default()));
    let got = |got, refused| {
        reported(Report {
            got,
            refused,
            ..Report::default()
        })
    };
    assert!(passes(Expect::RefusedBeyond(16), got(16, true)));
    assert!(!passes(Expect::RefusedBeyond(16), got(17, true)));
    assert!(!passes(Expect::RefusedBeyond(16), got(24, false)));
    let late = Seen {
        late: true,
        told: true,
        ..Seen::default()
    };
    assert!(!passes(Expect::Told, late));
}
