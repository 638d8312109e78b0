//! Recorded memory of real MLX jobs, replayed: our limit against the rule of Kubernetes' vertical pod autoscaler (VPA).
//!
//! `tests/traces/*.txt` hold 24 runs each, recorded by `curb profile --every 50ms` of an MLX transformer with random weights: a
//! line is a run, a number the memory that was needed, in KiB, a twentieth of a second after the one before. The first
//! twelve are what a limit is made from, the others are run against it.
//!
//! The rule of VPA, as its recommender has it: a histogram of the peaks of windows in buckets that grow by 5% from 10 MB, the
//! upper end of the bucket of the 90th percentile, 15% more, at least 250 MB; after an OOM at least 1.2 times what was
//! reached, or 100 MB more. A window there is a day; here it is a run, which is kinder to it than one sample a day would be.
//! Its weights decay by half a day; within a dozen runs of one afternoon they do not.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use curb_core::host::baseline::recommend::{Host, recommend};
use curb_core::host::baseline::{Baseline, Evidence, Figure, Scenario, Tally, parse};

const HISTORY: usize = 12;

struct Job {
    name: &'static str,
    /// Peaks of its runs in KiB.
    peaks: Vec<u64>,
}

fn jobs(scale: u64) -> Vec<Job> {
    [
        ("serve", include_str!("traces/serve.txt")),
        ("train", include_str!("traces/train.txt")),
        ("batch", include_str!("traces/batch.txt")),
    ]
    .into_iter()
    .map(|(name, text)| {
        let peak = |line: &str| {
            line.split(' ')
                .map(|n| n.parse::<u64>().expect("a number"))
                .max()
        };
        let peaks = text
            .lines()
            .map(|l| peak(l).expect("a run") * scale)
            .collect();
        Job { name, peaks }
    })
    .collect()
}

/// Ours, through the same function that `curb limits recommend` calls.
fn ours(history: &[u64]) -> u64 {
    let text = include_str!("traces/empty.yaml");
    let mut baseline: Baseline = parse("empty.yaml", text).expect("a baseline");
    let one: &mut Scenario = baseline.scenarios.get_mut("average").expect("there");
    let mut tally = Tally::default();
    history.iter().for_each(|peak| tally.add(*peak));
    one.figures = BTreeMap::from([(Figure::Needed, tally.spread().expect("peaks"))]);
    one.run_peaks_kib = history.to_vec();
    one.runs = u32::try_from(history.len()).expect("few");
    let made = recommend(&baseline, &Evidence::default(), &Host::default()).expect("a limit");
    made.limits.memory.expect("of memory").value.0 / 1024
}

/// VPA's target, in KiB.
fn vpa(history: &[u64]) -> u64 {
    const FIRST: f64 = 1e7;
    const GROWTH: f64 = 1.05;
    // The start of bucket n is the sum of the widths of those before it.
    let start = |n: i32| FIRST * (GROWTH.powi(n) - 1.0) / (GROWTH - 1.0);
    let end_of = |bytes: f64| {
        (1..2000)
            .map(start)
            .find(|end| *end > bytes)
            .expect("there are enough")
    };
    let mut ends: Vec<f64> = history
        .iter()
        .map(|kib| end_of(*kib as f64 * 1024.0))
        .collect();
    ends.sort_by(f64::total_cmp);
    let at = (ends.len() * 9).div_ceil(10) - 1;
    let target = (ends[at] * 1.15).max(250e6);
    (target / 1024.0) as u64
}

/// After an OOM: what it is raised to.
fn vpa_bump(reached: u64) -> u64 {
    (reached * 12 / 10).max(reached + 100_000_000 / 1024)
}

struct Outcome {
    killed: usize,
    /// In thousandths of the limit, over runs that were not killed.
    slack: u64,
}

/// Runs against a limit; `bump` raises it after a kill.
fn replay(runs: &[u64], mut limit: u64, bump: impl Fn(u64) -> u64) -> Outcome {
    let (mut killed, mut slack, mut well) = (0, 0, 0);
    for peak in runs {
        if *peak > limit {
            killed += 1;
            limit = limit.max(bump(limit));
        } else {
            slack += (limit - peak) * 1000 / limit;
            well += 1;
        }
    }
    Outcome {
        killed,
        slack: slack / well.max(1),
    }
}

/// Each dozen of runs in a row as what a limit is made from, and the next dozen against it; ours and VPA's.
fn all_cuts(peaks: &[u64]) -> (Outcome, Outcome) {
    let mut sums = [(0, 0), (0, 0)];
    for cut in 0..peaks.len() {
        let mut runs = peaks.to_vec();
        runs.rotate_left(cut);
        let (history, later) = runs.split_at(HISTORY);
        assert_eq!(later.len(), HISTORY);
        // Ours stays until somebody measures again; VPA's is raised after a kill.
        let each = [
            replay(later, ours(history), |limit| limit),
            replay(later, vpa(history), vpa_bump),
        ];
        for (sum, one) in sums.iter_mut().zip(each) {
            sum.0 += one.killed;
            sum.1 += one.slack;
        }
    }
    let [a, b] = sums.map(|(killed, slack)| Outcome {
        killed,
        slack: slack / peaks.len() as u64,
    });
    (a, b)
}

#[test]
fn our_limit_kills_no_more_of_the_runs_that_followed_than_vpa_s() {
    let mut table = String::new();
    for scale in [1, 64] {
        for job in jobs(scale) {
            let (a, b) = all_cuts(&job.peaks);
            let runs = job.peaks.len() * HISTORY;
            let _ = writeln!(
                table,
                "x{scale} {}: of {runs} runs ours killed {}, slack {}.{}%; VPA {}, slack {}.{}%",
                job.name,
                a.killed,
                a.slack / 10,
                a.slack % 10,
                b.killed,
                b.slack / 10,
                b.slack % 10,
            );
            assert!(a.killed <= b.killed, "{table}");
        }
    }
    // What docs/performance.md says.
    insta::assert_snapshot!(table);
}

#[test]
fn vpa_s_rule_is_as_its_source_has_it() {
    // 100 MB is in the bucket that ends at 105.796 MB (the eighth): 15% more is below its least.
    assert_eq!(vpa(&[100_000_000 / 1024]), 250_000_000 / 1024);
    let one = vpa(&[1_000_000_000 / 1024]);
    let target = one as f64 * 1024.0;
    assert!((1.15e9..1.15e9 * 1.06).contains(&target), "{target}");
    // The greatest of twelve is beyond the 90th percentile.
    let mut twelve = vec![1_000_000; 11];
    twelve.push(9_000_000);
    assert_eq!(vpa(&twelve), vpa(&[1_000_000]));
    assert_eq!(vpa_bump(1_000_000), 1_200_000);
    assert_eq!(vpa_bump(1000), 1000 + 97_656);
}
