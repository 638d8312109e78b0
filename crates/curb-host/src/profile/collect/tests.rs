//! From samples to figures, by hand.

use curb_core::host::Bytes;
use curb_core::host::sample::{MachineSample, Micros, Tree};

use super::*;

const MIB: u64 = 1 << 20;

fn look(at_ms: u64, mib: u64, cache_mib: u64, cpu_ms: u64) -> Sample {
    Sample {
        at: Micros(at_ms * 1000),
        tree: Tree {
            memory_as: MemoryAs::Charged,
            memory: Some(Bytes(mib * MIB)),
            needed: Some(Bytes((mib - cache_mib) * MIB)),
            page_cache: Some(Bytes(cache_mib * MIB)),
            peak: None,
            cpu: Some(Micros(cpu_ms * 1000)),
            stalled: None,
            processes: 1,
            threads: 3,
            open_files: None,
        },
        processes: Vec::new(),
        machine: MachineSample::default(),
        gpus: Gpus::NoneSeen,
    }
}

fn run(mib: &[u64]) -> Collector {
    let mut run = Collector::new(Millis(100), None);
    for (i, mib) in mib.iter().enumerate() {
        let i = i as u64;
        run.take(look(i * 100, *mib, 10, i * 50), &BTreeMap::new());
    }
    run
}

fn scenario(runs: Vec<Collector>) -> Scenario {
    let mut sum = Sum::default();
    for run in runs {
        sum.add(run, &[], &[]);
    }
    sum.scenario(Timestamp(1_999), Millis(100))
}

fn most(scenario: &Scenario, figure: Figure) -> Option<u64> {
    scenario.figure(figure).map(|s| s.p100)
}

#[test]
fn a_peak_that_no_sample_caught_is_the_kernel_s_and_is_needed_memory() {
    let mut caught = run(&[100, 200, 150]);
    caught.finish(Some(260 * MIB), std::time::Duration::from_millis(300));
    let all = scenario(vec![caught]);
    assert_eq!(most(&all, Figure::Memory), Some(260 * 1024));
    assert_eq!(
        most(&all, Figure::Needed),
        Some(250 * 1024),
        "190 and the 60 that were not seen"
    );
    assert_eq!(most(&all, Figure::Cpu), Some(500));
    assert_eq!(most(&all, Figure::CpuTime), Some(100));
    assert_eq!(most(&all, Figure::Duration), Some(300));
    assert_eq!(
        most(&all, Figure::OpenFiles),
        None,
        "what was never read is not known"
    );
    assert_eq!((all.measured.0, all.samples), (1000, 3));
}

#[test]
fn a_peak_of_before_is_not_of_this_part() {
    let mut later = run(&[100, 120]);
    later.peak_before = Some(900 * MIB);
    later.finish(Some(900 * MIB), std::time::Duration::ZERO);
    assert_eq!(
        most(&scenario(vec![later]), Figure::Memory),
        Some(120 * 1024)
    );
}

#[test]
fn runs_are_told_together_and_the_largest_is_drawn() {
    let mut runs = vec![run(&[100]), run(&[300, 310]), run(&[200])];
    for run in &mut runs {
        run.finish(None, std::time::Duration::from_secs(1));
    }
    let all = scenario(runs);
    assert_eq!((all.runs, all.samples), (3, 4));
    assert_eq!(all.run_peaks_kib, [90, 300, 190].map(|m| m * 1024));
    assert_eq!(all.series.points(), [Some(290 * 1024), Some(300 * 1024)]);
    assert_eq!(all.cut_short, None);
}

#[test]
fn one_run_that_was_cut_short_makes_the_scenario_so_and_one_without_a_look_as_well() {
    let mut bad = run(&[100]);
    bad.cut_short = Some("it was interrupted".into());
    let all = scenario(vec![run(&[1000]), bad]);
    assert_eq!(all.cut_short.as_deref(), Some("it was interrupted"));
    let none = scenario(vec![Collector::new(Millis(100), None)]);
    assert_eq!(
        none.cut_short.as_deref(),
        Some("it ended before it was looked at once")
    );
}

#[test]
fn what_was_measured_in_two_ways_is_told_as_the_weaker() {
    let mut run = run(&[100]);
    let mut rss = look(200, 100, 10, 0);
    rss.tree.memory_as = MemoryAs::Rss;
    run.take(rss, &BTreeMap::new());
    run.take(look(300, 100, 10, 0), &BTreeMap::new());
    assert_eq!(scenario(vec![run]).memory_as, MemoryAs::Rss);
}

#[test]
fn two_phases_of_a_scenario_are_one_after_the_other() {
    let mut first = run(&[100, 110]);
    first.finish(None, std::time::Duration::from_secs(1));
    let mut second = run(&[200]);
    second.finish(None, std::time::Duration::from_secs(2));
    first.then(second);
    let all = scenario(vec![first]);
    assert_eq!(most(&all, Figure::Duration), Some(3000));
    assert_eq!(all.series.points().len(), 3);
    assert_eq!(all.run_peaks_kib, [190 * 1024]);
}

fn mark(pid: u32, name: &str, mib: u64) -> Message {
    Message {
        pid,
        said: Said::Mark {
            name: name.into(),
            resident: Some(Bytes(mib * MIB)),
            module: None,
            version: None,
            by: None,
        },
    }
}

#[test]
fn memory_is_split_by_the_marks_of_the_process_that_imported_the_framework() {
    let said = [
        mark(1, "interpreter", 5),
        mark(2, "interpreter", 10),
        mark(2, "importing", 12),
        mark(2, "importing", 13),
        mark(2, "imported", 19),
        mark(2, "imported", 20),
        mark(2, "weights", 30),
        mark(2, "importing", 31),
        mark(2, "imported", 40),
        mark(2, "work", 41),
    ];
    let residents = BTreeMap::from([(1, 999 * 1024), (2, 100 * 1024)]);
    let parts = |n: usize| super::parts(&said[..n], &residents);
    let kib = |mib: u64| Some(mib * 1024);
    let all = parts(10).expect("parts");
    assert_eq!(all.interpreter_kib, 12 * 1024);
    assert_eq!(
        (all.framework_kib, all.model_kib, all.work_kib),
        (kib(8), kib(10), kib(70))
    );
    // Without weights what follows the import is work; without an import all is the program's.
    let all = parts(6).expect("parts");
    assert_eq!((all.model_kib, all.work_kib), (None, kib(80)));
    let all = parts(1).expect("parts");
    assert_eq!((all.interpreter_kib, all.framework_kib), (5 * 1024, None));
    assert_eq!(parts(0), None);
}

#[test]
fn mlx_s_peak_of_before_this_part_is_not_of_it() {
    let counters = |active, peak| {
        BTreeMap::from([(
            7,
            MlxCounters {
                active: Bytes(active * MIB),
                cache: Bytes(0),
                peak: Bytes(peak * MIB),
            },
        )])
    };
    let mut run = Collector::new(Millis(100), Some(0));
    run.take(look(0, 20, 10, 0), &counters(4, 90));
    assert_eq!(run.tallies[&Figure::MlxPeak].most(), Some(4 * 1024));
    run.take(look(100, 20, 10, 0), &counters(5, 95));
    assert_eq!(run.tallies[&Figure::MlxPeak].most(), Some(95 * 1024));
}
