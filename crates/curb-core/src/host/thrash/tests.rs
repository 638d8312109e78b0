use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

/// The runs of `recorded.txt`, with what each is.
fn recorded() -> Vec<(String, Vec<Look>)> {
    let mut runs: Vec<(String, Vec<Look>)> = Vec::new();
    for line in include_str!("recorded.txt").lines().skip(2) {
        if let Some(what) = line.strip_prefix("# ") {
            runs.push((what.to_owned(), Vec::new()));
            continue;
        }
        let n: Vec<u64> = line
            .split(' ')
            .map(|n| n.parse().expect("a number"))
            .collect();
        let look = Look {
            at: Millis(n[0]),
            used: Some(Bytes(n[1])),
            limit: Some(Bytes(n[2])),
            hits: Some(n[3]),
            cache: Some(Bytes(n[4])),
            refaults: Some(n[5]),
            major_faults: Some(n[6]),
            stalled: None,
        };
        runs.last_mut().expect("a title before it").1.push(look);
    }
    runs
}

fn all(looks: impl IntoIterator<Item = Look>) -> Vec<Option<Thrashing>> {
    let mut thrash = Thrash::default();
    looks.into_iter().map(|l| thrash.read(l)).collect()
}

/// Ever told, of these looks.
fn told(looks: impl IntoIterator<Item = Look>) -> bool {
    all(looks).iter().any(Option::is_some)
}

/// A minute of looks, one a second: at its limit of 288 MiB, with 100 KiB of cache, 15,600 pages read back a second.
fn minute(change: impl Fn(u64, &mut Look)) -> Vec<Look> {
    let look = |s: u64| {
        let mut look = Look {
            at: Millis(s * 1000),
            used: Some(Bytes(288 * MIB)),
            limit: Some(Bytes(288 * MIB)),
            hits: Some(s * 700),
            cache: Some(Bytes(100 << 10)),
            refaults: Some(s * 15_600),
            major_faults: Some(s * 500),
            stalled: None,
        };
        change(s, &mut look);
        look
    };
    (0..60).map(look).collect()
}

#[test]
fn recorded_runs_are_told_apart() {
    let runs = recorded();
    assert_eq!(runs.len(), 4);
    for (what, looks) in runs {
        let verdicts = all(looks.iter().copied());
        let thrashes = what.starts_with("thrashes");
        assert_eq!(verdicts.iter().any(Option::is_some), thrashes, "{what}");
        assert!(thrashes == verdicts[verdicts.len() - 2].is_some(), "{what}");
        // The same where the kernel counts no pages that are read back, only faults.
        let faults = looks.iter().map(|l| Look {
            refaults: None,
            ..*l
        });
        assert_eq!(told(faults), thrashes, "{what}, by its faults");
        // Looks four times as far apart, as by the agent.
        let seldom = looks.into_iter().step_by(4);
        assert!(thrashes || !told(seldom), "{what}, looked at seldom");
    }
}

#[test]
fn it_is_told_after_ten_seconds_with_how_fast_it_reads_back() {
    let verdicts = all(minute(|_, _| {}));
    assert!(verdicts[..10].iter().all(Option::is_none));
    let told = verdicts[10].expect("told");
    let (since, rate) = (told.since, told.pages_a_second);
    assert_eq!((since, told.lasted, rate), (Millis(0), TOLD_AFTER, 15_600));
    assert_eq!((told.limit, told.stalled), (Bytes(288 * MIB), None));
    assert_eq!(verdicts[59].expect("still").lasted, Millis(59_000));
}

#[test]
fn one_second_in_which_it_gets_on_begins_the_count_anew() {
    let looks = minute(|s, look| {
        if s > 30 {
            look.refaults = Some((s - 1) * 15_600);
        }
    });
    let verdicts = all(looks);
    assert!(verdicts[30].is_some() && verdicts[31].is_none());
    assert!(verdicts[40].is_none());
    assert_eq!(verdicts[41].expect("again").since, Millis(31_000));
}

#[test]
fn it_is_none_of_it() {
    type Change = fn(u64, &mut Look);
    let others: [(&str, Change); 9] = [
        ("far from its limit, and never met", |_, l| {
            (l.used, l.hits) = (Some(Bytes(280 * MIB)), Some(7));
        }),
        ("without a limit", |_, l| l.limit = None),
        ("it reads a file through a large cache", |_, l| {
            l.cache = Some(Bytes(100 * MIB));
        }),
        ("a file is read by read(2) through what is left", |_, l| {
            l.major_faults = Some(3);
        }),
        ("it reads back little", |s, l| l.refaults = Some(s * 200)),
        ("what there is of cache lasts for a second", |s, l| {
            (l.cache, l.refaults) = (Some(Bytes(8 * MIB)), Some(s * 2048));
        }),
        ("the cache is not known", |_, l| l.cache = None),
        ("what is read back is not known", |_, l| {
            (l.refaults, l.major_faults) = (None, None);
        }),
        ("now and then a second of it", |s, l| {
            l.refaults = Some(s / 9 * 15_600);
        }),
    ];
    for (what, change) in others {
        assert!(!told(minute(change)), "{what}");
    }
}

#[test]
fn the_limit_that_is_met_again_and_again_counts_where_its_use_is_below_it() {
    // As for who is charged elsewhere with a part of it: the kernel's limit is met before the file's.
    let below = |_: u64, l: &mut Look| l.used = Some(Bytes(270 * MIB));
    assert!(told(minute(below)));
}

#[test]
fn where_pressure_is_known_a_larger_cache_is_no_excuse() {
    let cached = |stalled_a_second: u64| {
        minute(move |s, l| {
            l.cache = Some(Bytes(30 * MIB));
            l.stalled = Some(s * stalled_a_second);
        })
    };
    assert!(told(cached(600_000)));
    assert!(!told(cached(590_000)), "below 60%");
    let verdicts = all(cached(1_000_000));
    assert_eq!(verdicts[10].expect("told").stalled, Some(Permille(1000)));
    // Who has filled its limit with cache reads a large file, whatever it waits for.
    let streams = minute(|s, l| {
        l.cache = Some(Bytes(60 * MIB));
        l.stalled = Some(s * 900_000);
    });
    assert!(!told(streams));
}

#[test]
fn rare_looks_are_no_proof_until_there_are_enough_of_them() {
    let minutes = minute(|_, _| {}).into_iter().map(|l| Look {
        at: Millis(l.at.0 * 10),
        refaults: l.refaults.map(|n| n * 10),
        major_faults: l.major_faults.map(|n| n * 10),
        ..l
    });
    let verdicts = all(minutes);
    assert!(verdicts[4].is_none() && verdicts[5].is_some());
}

#[test]
fn counts_that_fall_are_of_another_group_and_begin_anew() {
    let looks = minute(|s, l| {
        if s >= 20 {
            l.refaults = Some((s - 20) * 15_600);
        }
    });
    let verdicts = all(looks);
    assert!(verdicts[19].is_some() && verdicts[20].is_none());
    assert!(verdicts[30].is_some());
}

fn any_look() -> impl Strategy<Value = Look> {
    let n = || prop::option::of(any::<u64>());
    (0..5_000_u64, (n(), n()), n(), n(), (n(), n()), n()).prop_map(
        |(at, (used, limit), hits, cache, (refaults, major_faults), stalled)| Look {
            at: Millis(at),
            used: used.map(Bytes),
            limit: limit.map(Bytes),
            hits,
            cache: cache.map(Bytes),
            refaults,
            major_faults,
            stalled,
        },
    )
}

proptest! {
    /// Whatever is counted: no panic, and never before its time.
    #[test]
    fn anything_may_be_counted(looks in prop::collection::vec(any_look(), 0..40)) {
        let mut now = 0;
        let mut thrash = Thrash::default();
        for mut look in looks {
            now += look.at.0;
            look.at = Millis(now);
            if let Some(told) = thrash.read(look) {
                prop_assert!(told.lasted >= TOLD_AFTER && told.since.0 + told.lasted.0 <= now);
            }
        }
    }

    /// Who reads a file larger than its limit, however fast, has filled it with cache: it works.
    #[test]
    fn reading_a_large_file_is_none(
        cache in 37..280_u64, rates in prop::collection::vec(0..2_000_000_u64, 40), stalled in 0..1_000_000_u64,
    ) {
        let mut sum = 0;
        let looks = minute(|_, l| l.cache = Some(Bytes(cache * MIB)));
        let looks = looks.into_iter().zip(rates).enumerate().map(|(s, (l, rate))| {
            sum += rate;
            Look { refaults: Some(sum), stalled: Some(s as u64 * stalled), ..l }
        });
        prop_assert!(!told(looks));
    }

    /// Who swaps at its limit, and reads no file back, is none: that is what it was given swap for.
    #[test]
    fn swapping_is_none(faults in 0..100_000_u64, stalled in 0..1_000_000_u64, read_back in 0..256_u64) {
        let looks = minute(|s, l| {
            l.refaults = Some(s * read_back);
            l.major_faults = Some(s * faults);
            l.stalled = Some(s * stalled);
        });
        prop_assert!(!told(looks));
    }

    /// It is told within eleven seconds of its begin, wherever that falls between two looks.
    #[test]
    fn it_is_told_in_time(every in 50..1_000_u64, begin in 0..3_000_u64, rate in 1_000..60_000_u64) {
        let mut thrash = Thrash::default();
        let mut at = None;
        for now in (0..20_000_u64).step_by(usize::try_from(every).unwrap_or(1)) {
            let ms = now.saturating_sub(begin);
            let look = Look {
                at: Millis(now),
                used: Some(Bytes(288 * MIB)),
                limit: Some(Bytes(288 * MIB)),
                hits: Some(now),
                cache: Some(Bytes(50 << 10)),
                refaults: Some(ms * rate / 1000),
                major_faults: Some(ms / 10),
                stalled: None,
            };
            if thrash.read(look).is_some() {
                at.get_or_insert(now);
            }
        }
        let told = at.expect("told");
        prop_assert!((begin + 8_000..=begin + 14_000).contains(&told), "{told}");
    }
}
