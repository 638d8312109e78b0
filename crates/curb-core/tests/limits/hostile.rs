//! Texts of somebody who means no good, and of nobody at all.

use std::time::{Duration, Instant};

use curb_core::host::limits::{File, show};
use curb_core::policy::MAX_DIAGNOSTICS;
use proptest::prelude::*;

use crate::accepted::EXAMPLES;
use crate::host;

/// Whatever is answered can be printed, points into the text, and is bounded; what is accepted reads back the same.
fn answer_is_sound(text: &str) -> Result<(), TestCaseError> {
    match File::parse("limits.yaml", text, &host()) {
        Ok(parsed) => {
            let shown = show(&parsed.file);
            let again = File::parse("shown.yaml", &shown, &host());
            let again = again.map_err(|all| {
                TestCaseError::fail(format!("{shown}\n{}", crate::rendered(&all)))
            })?;
            prop_assert_eq!(again.file, parsed.file);
        }
        Err(all) => {
            prop_assert!(!all.is_empty() && all.len() <= 2 * MAX_DIAGNOSTICS + 1);
            let lines = u32::try_from(text.split(['\n', '\r']).count()).expect("few");
            for one in &all {
                prop_assert!(one.line >= 1 && one.line <= lines + 1, "{one:?}");
                let printable = one.render().chars().all(|c| c == '\n' || !c.is_control());
                prop_assert!(printable, "{one:?}");
            }
        }
    }
    Ok(())
}

/// A change to a text: where, how much goes, and what comes.
fn mutations() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, String)>> {
    let piece = prop_oneof![
        "[ -~]{0,4}",
        Just("\n".to_owned()),
        Just(": ".to_owned()),
        Just("99999999999999999999%".to_owned()),
        Just("4294967295".to_owned()),
        Just("{}".to_owned()),
        Just("\"".to_owned()),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), 0usize..6, piece), 1..4)
}

fn mutate(text: &str, changes: &[(prop::sample::Index, usize, String)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, gone, piece) in changes {
        let at = at.index(chars.len() + 1);
        let end = (at + gone).min(chars.len());
        chars.splice(at..end, piece.chars());
    }
    chars.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_gets_a_sound_answer(text in "\\PC{0,400}") {
        answer_is_sound(&text)?;
    }

    #[test]
    fn a_changed_example_gets_a_sound_answer(changes in mutations(), full in any::<bool>()) {
        answer_is_sound(&mutate(EXAMPLES[usize::from(full)].1, &changes))?;
    }
}

/// Files of the largest size that are the most work.
fn slow_texts() -> Vec<(&'static str, String)> {
    let many = |n: usize, one: &dyn Fn(usize) -> String| {
        let all: String = (0..n).map(one).collect();
        format!("version: 1\nworkloads:\n{all}")
    };
    let stars = "*a".repeat(1000);
    vec![
        (
            "rules that all overlap",
            many(1000, &|i| {
                format!(
                    "- {{name: w{i}, match: {{library: libmlx}}, limits: {{processes: {{value: 2, why: w}}}}}}\n"
                )
            }),
        ),
        (
            "patterns that almost fit",
            many(100, &|i| {
                format!(
                    "- {{name: w{i}, match: {{user: ana, command: \"{stars}{i}\"}}, limits: {{processes: {{value: 2, why: w}}}}}}\n"
                )
            }),
        ),
        (
            "one name",
            many(1000, &|_| {
                "- {name: a, limits: {processes: {value: 2, why: w}}}\n".into()
            }),
        ),
        (
            "one address",
            many(1000, &|i| {
                format!(
                    "- {{name: w{i}, limits: {{processes: {{value: 2, why: w}}}}, front: {{listen: \"127.0.0.{}:8080\", to: \"127.0.0.1:{}\"}}}}\n",
                    i % 250,
                    i + 1
                )
            }),
        ),
        (
            "unknown fields",
            many(1000, &|i| {
                format!("- {{name: w{i}, lmits{i}: 1, memry{i}: 2}}\n")
            }),
        ),
        (
            "ranges of CPUs",
            crate::limits(&format!(
                "cpu_set: {{value: \"{}\", why: w}}",
                "0-8191,".repeat(2000) + "0"
            )),
        ),
        (
            "a long name",
            crate::limits(&format!("{}: {{value: 1, why: w}}", "m".repeat(100_000))),
        ),
    ]
}

#[test]
#[allow(clippy::disallowed_methods)] // a test may look at the clock
fn the_most_work_is_done_soon() {
    for (what, text) in slow_texts() {
        let begun = Instant::now();
        let _either = File::parse("limits.yaml", &text, &host());
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(5), "{what}: {took:?}");
    }
}
