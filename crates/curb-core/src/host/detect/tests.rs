use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

/// Short times, so that a test is a few hundred readings.
fn quick() -> Settings {
    Settings {
        level_for: Millis(5_000),
        settle: Millis(10_000),
        window: Millis(5_000),
        pinned_for: Millis(30_000),
        ..Settings::default()
    }
}

fn detector(usual: Usual) -> Detector {
    Detector::new(quick(), usual)
}

fn memory(at_s: u64, mib: u64) -> Reading {
    Reading {
        at: Millis(at_s * 1000),
        memory: Some(Bytes(mib * MIB)),
        ..Reading::default()
    }
}

/// Feeds one reading a second of what `of` says and gives what came out, with the second it came at.
fn feed(
    detector: &mut Detector,
    seconds: std::ops::Range<u64>,
    limit: Option<u64>,
    of: impl Fn(u64) -> u64,
) -> Vec<(u64, Change)> {
    let mut all = Vec::new();
    for s in seconds {
        let changes = detector.read(memory(s, of(s)), limit.map(|l| Bytes(l * MIB)));
        all.extend(changes.into_iter().map(|c| (s, c)));
    }
    all
}

#[test]
fn more_than_usual_is_told_once_it_has_lasted_and_is_over_once_it_is_back_for_as_long() {
    let usual = Usual {
        memory_high: Some(Bytes(100 * MIB)),
        memory_median: Some(Bytes(90 * MIB)),
        ..Usual::default()
    };
    let mut d = detector(usual);
    // 110 is within the margin; 111 is not. Four seconds are not long enough, six are.
    let changes = feed(&mut d, 0..100, None, |s| match s {
        20..24 | 40..46 => 111,
        46..60 => 106,
        _ => 100,
    });
    let [
        (
            began_at,
            Change::Began {
                kind,
                since,
                evidence,
            },
        ),
        (ended_at, over),
    ] = changes[..]
    else {
        panic!("{changes:?}");
    };
    assert_eq!((began_at, kind, since), (45, Kind::Memory, Millis(40_000)));
    assert_eq!(
        evidence.to_string(),
        "memory of 111 MiB, where up to 100 MiB is usual"
    );
    // Half of the margin is 105: 106 is not back yet.
    assert_eq!(ended_at, 65);
    assert_eq!(
        over,
        Change::Ended {
            kind: Kind::Memory,
            since: Millis(40_000),
            lasted: Millis(20_000)
        }
    );
}

#[test]
fn a_reading_that_knows_nothing_neither_begins_nor_ends_anything() {
    let usual = Usual {
        memory_high: Some(Bytes(100 * MIB)),
        ..Usual::default()
    };
    let mut d = detector(usual);
    assert_eq!(feed(&mut d, 0..30, None, |_| 200).len(), 1);
    for s in 30..200 {
        let unknown = Reading {
            at: Millis(s * 1000),
            ..Reading::default()
        };
        assert_eq!(d.read(unknown, None), []);
    }
    assert_eq!(d.active().collect::<Vec<_>>(), [Kind::Memory]);
}

#[test]
fn a_leak_is_told_with_the_time_at_which_it_meets_the_limit() {
    let mut d = detector(Usual::default());
    // One MiB a second from 100; the limit of 700 is met at 600 s.
    let changes = feed(&mut d, 0..120, Some(700), |s| 100 + s);
    let [
        (
            at,
            Change::Began {
                kind: Kind::Leak,
                evidence,
                ..
            },
        ),
    ] = changes[..]
    else {
        panic!("{changes:?}");
    };
    assert!(at < 80, "told after {at} s");
    let Evidence::Leak {
        per_hour,
        meets: Some(meets),
        ..
    } = evidence
    else {
        panic!("{evidence:?}");
    };
    assert_eq!(per_hour, Bytes(3600 * MIB));
    assert_eq!(meets.within, Millis((600 - at) * 1000));
    assert!(
        evidence
            .to_string()
            .contains("meets its limit of 700 MiB in 8m"),
        "{evidence}"
    );
    // And how long it has is kept up to date.
    let now = d.meets().expect("it goes on").within.0;
    assert!((480_000..=490_000).contains(&now), "{now}");
}

#[test]
fn a_leak_that_stops_is_over_once() {
    let mut d = detector(Usual::default());
    let changes = feed(&mut d, 0..600, Some(1000), |s| 100 + s.min(150));
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert!(matches!(
        changes[1].1,
        Change::Ended {
            kind: Kind::Leak,
            ..
        }
    ));
}

#[test]
fn what_a_collector_gives_back_is_no_leak() {
    let mut d = detector(Usual::default());
    // Each 4 s it falls back.
    let sawtooth = |s: u64| 100 + (s % 4) * 40;
    assert_eq!(feed(&mut d, 0..3000, Some(1000), sawtooth), []);
}

#[test]
fn a_sawtooth_that_grows_underneath_is_a_leak() {
    let mut d = detector(Usual::default());
    let changes = feed(&mut d, 0..400, Some(1000), |s| 100 + s / 2 + (s % 4) * 40);
    assert!(
        matches!(
            changes[..],
            [(
                _,
                Change::Began {
                    kind: Kind::Leak,
                    ..
                }
            )]
        ),
        "{changes:?}"
    );
}

#[test]
fn a_long_tooth_of_a_saw_cries_wolf_once_at_each_length_of_window_and_no_more() {
    let mut d = detector(Usual::default());
    let changes = feed(&mut d, 0..40_000, Some(4000), |s| 100 + s % 200);
    let began = changes
        .iter()
        .filter(|(_, c)| matches!(c, Change::Began { .. }))
        .count();
    assert!(began <= 2, "{began} of {changes:?}");
}

#[test]
fn loading_a_model_and_then_staying_is_no_leak() {
    let mut d = detector(Usual::default());
    assert_eq!(
        feed(&mut d, 0..2000, Some(4000), |s| 50 + 20 * s.min(9)),
        []
    );
    // With a baseline that knows the model also a load that takes longer than things are left to settle.
    let usual = Usual {
        memory_median: Some(Bytes(1000 * MIB)),
        ..Usual::default()
    };
    let mut d = detector(usual);
    assert_eq!(feed(&mut d, 0..2000, Some(4000), |s| 50 + s.min(900)), []);
}

#[test]
fn a_leak_that_meets_its_limit_next_week_is_not_told_yet() {
    let mut d = detector(Usual::default());
    // 20 MiB in a minute of 100 GiB.
    assert_eq!(feed(&mut d, 0..300, Some(1 << 30), |s| 100 + s), []);
}

fn pinned(at_s: u64, cpu_s: u64, progress: Progress) -> Reading {
    Reading {
        at: Millis(at_s * 1000),
        cpu_micros: Some(cpu_s * 1_000_000),
        progress,
        ..Reading::default()
    }
}

#[test]
fn cpu_without_progress_is_told_with_what_stood_still() {
    let mut d = detector(Usual::default());
    let still = Progress {
        io_bytes: Some(7),
        waits: Some(100),
        units: None,
    };
    let mut changes = Vec::new();
    for s in 0..60 {
        changes.extend(d.read(pinned(s, s, still), None));
    }
    let [
        Change::Began {
            kind: Kind::Pinned,
            since: Millis(0),
            evidence,
        },
    ] = changes[..]
    else {
        panic!("{changes:?}");
    };
    assert_eq!(
        evidence.to_string(),
        "1 CPUs and no progress: 0 bytes read or written, 0 waits"
    );
    // It gets on: over, once.
    for s in 60..90 {
        let moves = Progress {
            io_bytes: Some(7 + s),
            ..still
        };
        changes.extend(d.read(pinned(s, s, moves), None));
    }
    assert_eq!(changes.len(), 2);
    assert_eq!(d.active().count(), 0);
}

#[test]
fn honest_work_is_not_held_to_be_pinned() {
    let still = Progress {
        io_bytes: Some(7),
        waits: Some(100),
        units: Some(0),
    };
    let never = |of: &dyn Fn(u64) -> Reading| {
        let mut d = detector(Usual::default());
        (0..300).flat_map(|s| d.read(of(s), None)).next()
    };
    // It waits for its own threads; it writes a line each 20 s; it counts; nothing is known of its progress; it idles.
    assert_eq!(
        never(&|s| pinned(
            s,
            s,
            Progress {
                waits: Some(s * 10),
                ..still
            }
        )),
        None
    );
    assert_eq!(
        never(&|s| pinned(
            s,
            s,
            Progress {
                io_bytes: Some(s / 20),
                ..still
            }
        )),
        None
    );
    assert_eq!(
        never(&|s| pinned(
            s,
            s,
            Progress {
                units: Some(s),
                ..still
            }
        )),
        None
    );
    assert_eq!(never(&|s| pinned(s, s, Progress::default())), None);
    assert_eq!(never(&|s| pinned(s, s / 2, still)), None);
}

#[test]
fn starting_again_and_again_is_told_once_and_over_after_a_quiet_time() {
    let mut d = detector(Usual::default());
    let mut changes = Vec::new();
    for n in 0..5 {
        changes.extend(d.started(Millis(n * 60_000)));
    }
    let [
        Change::Began {
            kind: Kind::Restarts,
            evidence,
            ..
        },
    ] = changes[..]
    else {
        panic!("{changes:?}");
    };
    assert_eq!(evidence.to_string(), "started 3 times within 2m");
    assert_eq!(d.read(memory(4 * 60 + 599, 1), None), []);
    assert_eq!(d.read(memory(4 * 60 + 601, 1), None).len(), 1);
    assert_eq!(d.active().count(), 0);
}

#[test]
fn the_end_of_a_workload_ends_what_was_odd_about_it() {
    let usual = Usual {
        memory_high: Some(Bytes(10 * MIB)),
        ..Usual::default()
    };
    let mut d = detector(usual);
    let began = feed(&mut d, 0..120, Some(700), |s| 100 + s).len();
    assert_eq!(began, 2);
    assert_eq!(d.stopped(Millis(121_000)).len(), 2);
    assert_eq!(d.active().count(), 0);
}

/// One recorded run of real MLX, as readings.
fn recorded(name: &str) -> Vec<Reading> {
    let text = include_str!("recorded.txt");
    let column = |kind: &str| -> Vec<u64> {
        let begin = format!("{name} {kind} ");
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix(&begin))
            .expect("recorded");
        let each = |word: &str| {
            let (value, times) = word.split_once('*').unwrap_or((word, "1"));
            let times = times.parse().expect("a number");
            std::iter::repeat_n(value.parse().expect("a number"), times)
        };
        line.split(' ').flat_map(each).collect()
    };
    let (cpu, io, waits) = (column("cpu"), column("io"), column("waits"));
    let reading = |(s, kib): (usize, u64)| {
        let seldom = |column: &[u64]| s.is_multiple_of(10).then(|| column[s / 10]);
        Reading {
            at: Millis(s as u64 * 1000),
            memory: Some(Bytes(kib << 10)),
            cpu_micros: seldom(&cpu).map(|ms| ms * 1000),
            tasks: None,
            progress: Progress {
                io_bytes: seldom(&io),
                waits: seldom(&waits),
                units: None,
            },
        }
    };
    column("memory")
        .into_iter()
        .enumerate()
        .map(reading)
        .collect()
}

fn replay(name: &str, usual: Usual, limit: Option<Bytes>) -> Vec<(u64, Change)> {
    let mut d = Detector::new(Settings::default(), usual);
    let read = |r: Reading| {
        d.read(r, limit)
            .into_iter()
            .map(move |c| (r.at.0 / 1000, c))
            .collect::<Vec<_>>()
    };
    recorded(name).into_iter().flat_map(read).collect()
}

#[test]
fn real_mlx_at_work_idle_training_and_with_a_spike_gives_no_false_alarm() {
    let limit = Some(Bytes(256 * MIB));
    let usual = |name: &str| {
        let mut all: Vec<Bytes> = recorded(name).iter().filter_map(|r| r.memory).collect();
        all.sort_unstable();
        Usual {
            memory_median: Some(all[all.len() / 2]),
            memory_high: Some(all[all.len() * 99 / 100]),
            ..Usual::default()
        }
    };
    for name in ["average", "idle", "train", "spike"] {
        assert_eq!(
            replay(name, Usual::default(), limit),
            [],
            "{name}, without a baseline"
        );
        assert_eq!(replay(name, usual(name), limit), [], "{name}, with its own");
    }
    // Against the baseline of the average, the memory that a spike leaves behind is odd, and that alone.
    let changes = replay("spike", usual("average"), limit);
    let kinds: Vec<Kind> = changes.iter().map(|(_, c)| c.kind()).collect();
    assert_eq!(kinds, [Kind::Memory], "{changes:?}");
}

#[test]
fn a_leak_of_real_mlx_is_told_within_minutes_with_the_time_that_is_left() {
    let readings = recorded("leak");
    let limit = Bytes(400 * MIB);
    let changes = replay("leak", Usual::default(), Some(limit));
    let [
        (
            at,
            Change::Began {
                kind: Kind::Leak,
                evidence,
                ..
            },
        ),
    ] = changes[..]
    else {
        panic!("{changes:?}");
    };
    let Evidence::Leak {
        meets: Some(meets), ..
    } = evidence
    else {
        panic!("{evidence:?}");
    };
    // Two minutes to settle, two of windows.
    assert!(at <= 260, "told after {at} s");
    // It was recorded to its end, where it had 369 MiB: the time that was told is right to a fifth.
    let last = readings.last().expect("some");
    let (had, now) = (
        last.memory.expect("known").0,
        readings[usize::try_from(at).expect("small")],
    );
    let from = now.memory.expect("known").0;
    let rate = (had - from) / (last.at.0 - now.at.0);
    let truth = (limit.0 - from) / rate;
    assert!(
        meets.within.0.abs_diff(truth) * 5 <= truth,
        "{} and not {truth}",
        meets.within.0
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes, in whatever order: each anomaly begins and ends in turn, and nothing panics.
    #[test]
    fn each_anomaly_begins_and_ends_in_turn(
        readings in prop::collection::vec(
            (0_u64..40_000, prop::option::of(any::<u64>()), prop::option::of(any::<u64>()),
             prop::option::of(any::<u64>()), prop::option::of(any::<u64>()), 0_u8..20),
            0..400,
        ),
        usual in prop::option::of(any::<u64>()),
        limit in prop::option::of(any::<u64>()),
    ) {
        let usual = Usual {
            memory_median: usual.map(Bytes), memory_high: usual.map(Bytes),
            cpu_high: usual.map(MilliCpu), tasks_high: usual,
        };
        let mut d = detector(usual);
        let mut at = 0_u64;
        let mut on = std::collections::BTreeSet::new();
        for (step, memory, cpu, tasks, count, what) in readings {
            at += step;
            let reading = Reading {
                at: Millis(at), memory: memory.map(Bytes), cpu_micros: cpu, tasks,
                progress: Progress { io_bytes: count, waits: None, units: None },
            };
            let changes = match what {
                0 => d.started(Millis(at)),
                1 => d.stopped(Millis(at)),
                _ => d.read(reading, limit.map(Bytes)),
            };
            for change in changes {
                match change {
                    Change::Began { kind, .. } => prop_assert!(on.insert(kind), "{kind:?} began twice"),
                    Change::Ended { kind, .. } => prop_assert!(on.remove(&kind), "{kind:?} ended twice"),
                }
            }
            prop_assert_eq!(d.active().collect::<std::collections::BTreeSet<_>>(), on.clone());
        }
    }

    /// Noise around a level is no leak, however long.
    #[test]
    fn noise_is_no_leak(
        seed in prop::collection::vec(0_u64..64, 200..600),
        level in 100_u64..1000,
    ) {
        let mut d = detector(Usual::default());
        let changes = feed(&mut d, 0..seed.len() as u64, Some(4000), |s| {
            level + seed[usize::try_from(s).expect("small")]
        });
        prop_assert_eq!(changes, vec![]);
    }

    /// Steady growth is found under noise as large as what grows in eight seconds, and its slope is right to a quarter.
    #[test]
    fn growth_under_noise_is_found(
        seed in prop::collection::vec(0_u64..16, 300..301),
        rate in 2_u64..8,
    ) {
        let mut d = detector(Usual::default());
        let changes = feed(&mut d, 0..300, Some(100_000), |s| {
            200 + rate * s + seed[usize::try_from(s).expect("small")]
        });
        let found = changes.iter().find_map(|(_, c)| match c {
            Change::Began { evidence: Evidence::Leak { per_hour, .. }, .. } => Some(per_hour.0 / MIB),
            _ => None,
        });
        let found = found.expect("found");
        let right = rate * 3600;
        prop_assert!(found.abs_diff(right) * 4 <= right, "{} and not {}", found, right);
    }
}
