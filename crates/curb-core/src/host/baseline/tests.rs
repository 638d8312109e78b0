//! Sentences about baselines; the fixtures are used by the tests of the modules beside.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::recommend::{Host, recommend};
use super::*;
use crate::host::Bytes;
use crate::time::{Millis, Timestamp};

fn spread(values: &[u64]) -> Spread {
    let mut tally = Tally::default();
    values.iter().for_each(|v| tally.add(*v));
    tally.spread().expect("values")
}

pub(crate) fn scenario(mib: &[u64], runs: u32) -> Scenario {
    let kib: Vec<u64> = mib.iter().map(|m| m * 1024).collect();
    let most = kib.iter().copied().max().unwrap_or(0);
    let mut series = Series::new(Millis(100));
    kib.iter().for_each(|v| series.push(Some(*v)));
    Scenario {
        measured: Timestamp(1_795_000_000_000),
        runs,
        samples: kib.len() as u64 * u64::from(runs),
        every: Millis(100),
        memory_as: MemoryAs::Charged,
        ended: Ended::Asked,
        figures: BTreeMap::from([
            (Figure::Duration, spread(&[10_000])),
            (Figure::Memory, spread(&kib)),
            (Figure::Needed, spread(&kib)),
            (Figure::Cpu, spread(&[100, 900, 1010])),
            (Figure::Threads, spread(&[5, 9])),
            (Figure::OpenFiles, spread(&[12])),
            (Figure::MlxCache, spread(&[0, 31_000])),
        ]),
        run_peaks_kib: vec![most; runs as usize],
        parts: Some(Parts {
            interpreter_kib: 10_300,
            framework_kib: Some(8_200),
            model_kib: Some(5_600),
            work_kib: None,
        }),
        threads_by_cpu: vec![
            ThreadCpu {
                name: "python3".into(),
                cpu_ms: 9_000,
            },
            ThreadCpu {
                name: "it: \"odd\" #1".into(),
                cpu_ms: 12,
            },
        ],
        notes: vec![],
        cut_short: None,
        stale: vec![],
        series,
    }
}

pub(crate) fn chat() -> Baseline {
    let model = ModelFile {
        file: "chat.safetensors".into(),
        bytes: 3_671_036,
        sha256: "ab".repeat(32),
        of: Of::All,
    };
    Baseline {
        workload: "chat".into(),
        evidence: Evidence {
            program: Program {
                name: "chat.py".into(),
                version: None,
                sha256: Some("cd".repeat(32)),
            },
            frameworks: BTreeMap::from([
                ("mlx".into(), "0.32.4".into()),
                ("python".into(), "3.11.7".into()),
            ]),
            model: vec![model],
            machine: Machine {
                system: "Linux x86_64".into(),
                cpu: Some("A CPU, of \"some\" kind".into()),
                cpus: 2,
                memory_kib: 24 << 20,
                gpus: Some(vec![]),
            },
        },
        scenarios: BTreeMap::from([
            ("average".into(), scenario(&[30, 40, 45, 44], 3)),
            ("edge".into(), scenario(&[30, 200, 900, 400], 3)),
            ("idle".into(), scenario(&[30, 30, 31], 3)),
            ("peak".into(), scenario(&[30, 80, 600, 590], 3)),
        ]),
    }
}

const HOST: Host = Host {
    memory: Some(Bytes(24 << 30)),
    cpus: Some(2),
    memory_high: true,
};

fn now() -> Evidence {
    Evidence::default()
}

fn refused(baseline: &Baseline, now: &Evidence) -> String {
    recommend(baseline, now, &HOST)
        .expect_err("it is refused")
        .to_string()
}

#[test]
fn what_is_written_reads_back_as_the_same() {
    let mut baseline = chat();
    let odd = baseline.scenarios.get_mut("peak").expect("there");
    odd.notes = vec!["hook: not there".into(), "a \"quoted\" ✓ note".into()];
    odd.stale = vec!["mlx was 0.32.3 and is 0.32.4".into()];
    odd.cut_short = Some("it was interrupted".into());
    odd.series.push(None);
    odd.parts = None;
    odd.figures.remove(&Figure::Needed);
    let text = write(&baseline);
    let read = parse("chat.yaml", &text).unwrap_or_else(|e| panic!("{}\n{text}", e[0].render()));
    assert_eq!(read, baseline);
    assert_eq!(write(&read), text, "stable");
    assert_eq!(
        parse(
            "empty",
            &write(&Baseline {
                scenarios: BTreeMap::new(),
                ..chat()
            })
        )
        .map(|b| b.scenarios.len()),
        Ok(0)
    );
}

#[test]
fn the_file_is_pinned() {
    let mut baseline = chat();
    baseline.scenarios.retain(|name, _| name == "peak");
    insta::assert_snapshot!(write(&baseline));
}

#[test]
fn a_file_that_was_cut_off_is_refused_wherever_it_was_cut() {
    let mut baseline = chat();
    baseline.scenarios.retain(|name, _| name == "peak");
    let text = write(&baseline);
    let lines: Vec<&str> = text.lines().collect();
    for kept in 0..lines.len() {
        let cut = lines[..kept].join("\n");
        assert!(
            parse("chat.yaml", &cut).is_err(),
            "cut after line {kept}:\n{cut}"
        );
    }
}

#[test]
fn nonsense_in_it_is_told_by_line_and_column() {
    let text = write(&chat());
    for (from, to, said) in [
        ("runs: 3", "runs: -3", "wanted a whole number, got `-3`"),
        (
            "memory_as: charged",
            "memory_as: vss",
            "wanted charged or pss or rss, got `vss`",
        ),
        ("cpu_milli:", "cpu_mili:", "did you mean `cpu_milli`?"),
        (
            "threads: {p0: 5, p50: 5",
            "threads: {p0: 5, p50: 500",
            "p0 to p100 ascend",
        ),
        ("version: 1", "version: 2", "this curb reads version 1 only"),
        ("\"2026-11-18", "\"yesterday", "wanted a moment such as"),
        ("sha256: \"cd", "sha256: \"zz", "wanted a SHA-256"),
        (
            "  peak:",
            "  Peak/:",
            "a name has 1 to 63 of a-z, 0-9 and -",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        let errors = parse("chat.yaml", &text.replacen(from, to, 1)).expect_err(to);
        let told: String = errors.iter().map(|e| e.render() + "\n").collect();
        assert!(
            told.contains(said) && told.starts_with("chat.yaml:"),
            "{told}"
        );
    }
}

#[test]
fn each_number_is_explained_and_the_edge_sets_none() {
    let made = recommend(&chat(), &now(), &HOST).expect("recommended");
    insta::assert_snapshot!(format!("{:#?}\n{:#?}", made.limits, made.notes));
    let memory = made.limits.memory.expect("memory");
    assert_eq!(memory.value, Bytes(690 << 20), "600 MiB and 15%");
}

#[test]
fn a_single_run_and_runs_that_differ_are_given_more() {
    let memory = |scenario: Scenario| {
        let scenarios = BTreeMap::from([("peak".to_owned(), scenario)]);
        let made = recommend(
            &Baseline {
                scenarios,
                ..chat()
            },
            &now(),
            &HOST,
        )
        .expect("made");
        let limit = made.limits.memory.expect("memory");
        (limit.value.0 >> 20, limit.why)
    };
    assert_eq!(memory(scenario(&[1000], 3)).0, 1150);
    let (mib, why) = memory(scenario(&[1000], 1));
    assert_eq!(mib, 1250);
    assert!(why.contains("once only"), "{why}");
    let mut differ = scenario(&[1000], 2);
    differ.run_peaks_kib = vec![700 << 10, 1000 << 10];
    let (mib, why) = memory(differ.clone());
    assert_eq!(mib, 1300);
    assert!(why.contains("its 2 runs differ by 30%"), "{why}");
    // The more runs there are, the less the next one can be above all of them.
    (differ.runs, differ.run_peaks_kib) = (4, [700, 800, 900, 1000].map(|m| m << 10).to_vec());
    assert_eq!(memory(differ).0, 1150);
    let (mib, why) = memory(scenario(&[40], 3));
    assert_eq!(mib, 104, "the least margin");
    assert!(why.contains("64 MiB more, the least margin"), "{why}");
}

#[test]
fn a_machine_that_was_busy_with_others_makes_its_cpu_a_lower_bound() {
    let mut baseline = chat();
    let notes = |b: &Baseline| recommend(b, &now(), &HOST).expect("made").notes.join(" ");
    let peak = |b: &mut Baseline, all: u64| {
        let figures = &mut b.scenarios.get_mut("peak").expect("there").figures;
        figures.insert(Figure::MachineCpu, spread(&[all]));
    };
    peak(&mut baseline, 1500);
    assert!(!notes(&baseline).contains("alone it may use more"));
    peak(&mut baseline, 1990);
    let told = notes(&baseline);
    assert!(
        told.contains("1.99 of 2 CPUs were in use while it was measured"),
        "{told}"
    );
}

#[test]
fn only_runs_that_end_by_themselves_get_a_duration() {
    let mut baseline = chat();
    let durations = |b: &Baseline| {
        let made = recommend(b, &now(), &HOST).expect("made").limits;
        made.duration.map(|d| d.value)
    };
    assert_eq!(durations(&baseline), None);
    for scenario in baseline.scenarios.values_mut() {
        scenario.ended = Ended::Itself;
    }
    assert_eq!(durations(&baseline), Some(Millis(120_000)));
}

#[test]
fn a_baseline_cut_short_stale_or_of_nothing_but_the_edge_is_refused_by_name() {
    let mut baseline = chat();
    baseline.scenarios.get_mut("idle").expect("there").cut_short =
        Some("it was interrupted".into());
    assert!(
        refused(&baseline, &now())
            .starts_with("its scenario `idle` was cut short: it was interrupted;")
    );
    let mut baseline = chat();
    baseline.scenarios.retain(|name, _| name == "edge");
    assert!(refused(&baseline, &now()).contains("no scenario with memory but `edge`"));
    type Edit = fn(&mut Evidence);
    let edits: [(Edit, &str); 9] = [
        (
            |e| {
                e.frameworks.insert("mlx".into(), "0.33.0".into());
            },
            "mlx was 0.32.4 and is 0.33.0",
        ),
        (
            |e| e.model[0].sha256 = "00".repeat(32),
            "the model's file chat.safetensors has another content",
        ),
        (
            |e| e.model[0].bytes += 1,
            "the model's file chat.safetensors has another size",
        ),
        (
            |e| e.model[0].file = "b".into(),
            "the model's file chat.safetensors is no longer there, the model's file b is new",
        ),
        (
            |e| e.machine.cpus = 64,
            "the machine's number of CPUs was 2 and is 64",
        ),
        (
            |e| e.machine.memory_kib *= 2,
            "the machine's memory was 24 GiB and is 48 GiB",
        ),
        (
            |e| e.machine.gpus = Some(vec!["H100".into()]),
            "the machine's GPUs was none and is H100",
        ),
        (
            |e| e.program.sha256 = Some("00".repeat(32)),
            "the program's file chat.py has changed",
        ),
        (
            |e| e.program.name = "other.py".into(),
            "the program was chat.py and is other.py",
        ),
    ];
    for (edit, said) in edits {
        let mut now = chat().evidence;
        edit(&mut now);
        let told = refused(&chat(), &now);
        assert!(
            told.starts_with("its scenario `average` is stale: ") && told.contains(said),
            "{told}"
        );
    }
}

#[test]
fn what_was_not_read_is_no_change_and_a_version_says_more_than_a_file() {
    let was = chat().evidence;
    let mut is = was.clone();
    (is.frameworks, is.model, is.machine.gpus) = (BTreeMap::new(), vec![], None);
    (is.machine.cpu, is.program.sha256) = (None, None);
    is.machine.memory_kib -= is.machine.memory_kib / 50;
    assert_eq!(changes(&was, &is), []);
    let version = |version: &str, code: &str| {
        let mut evidence = was.clone();
        evidence.program.version = Some(version.into());
        evidence.program.sha256 = Some(code.repeat(32));
        evidence
    };
    assert_eq!(changes(&version("1.0", "aa"), &version("1.0", "bb")), []);
    let told = changes(&version("1.0", "aa"), &version("1.1", "aa"));
    assert_eq!(
        told[0].to_string(),
        "the program's version was 1.0 and is 1.1"
    );
}

#[test]
fn a_scenario_measured_again_replaces_its_older_self_and_the_others_are_told_what_changed() {
    let mut baseline = chat();
    let mut newer = chat();
    newer
        .evidence
        .frameworks
        .insert("mlx".into(), "0.33.0".into());
    newer.scenarios.retain(|name, _| name == "peak");
    newer.scenarios.insert("peak".into(), scenario(&[1, 2], 1));
    baseline.merge(newer.clone()).expect("the same workload");
    baseline.merge(newer).expect("again");
    assert_eq!(baseline.scenarios["peak"].runs, 1);
    assert_eq!(baseline.scenarios["peak"].stale, Vec::<String>::new());
    assert_eq!(
        baseline.scenarios["idle"].stale,
        ["mlx was 0.32.4 and is 0.33.0"]
    );
    let other = Baseline {
        workload: "train".into(),
        ..chat()
    };
    let told = baseline.merge(other).expect_err("another").to_string();
    assert_eq!(
        told,
        "it is a baseline of workload `chat`, and not of `train`"
    );
}

#[test]
fn the_chart_is_pinned_and_escapes_what_it_was_told() {
    let mut baseline = chat();
    baseline
        .scenarios
        .get_mut("idle")
        .expect("there")
        .series
        .push(None);
    baseline.scenarios.get_mut("idle").expect("there").notes =
        vec!["<script>alert(1)</script> & \"more\"".into()];
    let limit = Some(Bytes(690 << 20));
    let chart = Chart {
        baseline: &baseline,
        limit,
    };
    insta::assert_snapshot!("chart", svg(&chart));
    let page = html(&chart);
    assert!(
        !page.contains("<script") && page.contains("&lt;script&gt;alert(1)"),
        "{page}"
    );
    assert!(
        page.contains("class=\"over\""),
        "the edge is over the limit"
    );
    let empty = Baseline {
        scenarios: BTreeMap::new(),
        ..chat()
    };
    assert!(
        svg(&Chart {
            baseline: &empty,
            limit: None
        })
        .contains("<title")
    );
}

#[test]
fn the_summary_is_pinned_and_says_what_is_not_known() {
    let mut baseline = chat();
    baseline.evidence.machine.gpus = None;
    let peak = baseline.scenarios.get_mut("peak").expect("there");
    peak.notes = vec!["hook: not there".into()];
    peak.cut_short = Some("its load ended with code 1".into());
    peak.figures.remove(&Figure::OpenFiles);
    for figure in [
        Figure::MlxActive,
        Figure::MlxPeak,
        Figure::Read,
        Figure::Write,
    ] {
        peak.figures.insert(figure, spread(&[1, 2000, 3_000_000]));
    }
    let made = recommend(&chat(), &now(), &HOST).expect("made");
    let all = [made.clone(), made];
    let told = together(&all, HOST.memory).expect("two");
    let text = format!(
        "{}\n{}\n{told}",
        summary(&baseline, "peak"),
        explained(&all[0])
    );
    insta::assert_snapshot!(text);
    assert_eq!(summary(&baseline, "none"), "");
}

proptest! {
    #[test]
    fn a_limit_is_never_below_what_was_needed_and_never_more_than_twice_it_and_the_least_margin(
        peaks in prop::collection::vec(1_u64..4_000_000, 1..5),
        runs in 1_u32..5,
    ) {
        let scenarios: BTreeMap<String, Scenario> = peaks.iter().enumerate().map(|(i, kib)| {
            let mut one = scenario(&[1], runs);
            one.figures.insert(Figure::Needed, spread(&[*kib]));
            one.run_peaks_kib = (0..runs).map(|r| kib - u64::from(r) * kib / 5).collect();
            (format!("s{i}"), one)
        }).collect();
        let made = recommend(&Baseline { scenarios, ..chat() }, &now(), &HOST).expect("made").limits;
        let most = peaks.iter().max().expect("one") * 1024;
        let (memory, high) = (made.memory.expect("one").value.0, made.memory_high.expect("one").value.0);
        prop_assert!(memory >= most + (64 << 20) && high > most && high < memory);
        prop_assert!(memory <= most * 3 / 2 + (66 << 20));
    }
}
