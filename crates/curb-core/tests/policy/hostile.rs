//! Any text gets an answer, soon.

use std::time::{Duration, Instant};

use curb_core::policy::{Diagnostic, MAX_DIAGNOSTICS, Policy, Severity};
use proptest::prelude::*;

use crate::accepted::EXAMPLES;

/// What must hold of every answer.
fn answer_is_sound(text: &str) {
    let lines = text.split(['\n', '\r']).count();
    let sound = |d: &Diagnostic| {
        d.line >= 1
            && d.column >= 1
            && d.line as usize <= lines + 1
            && !d.message.is_empty()
            && !d.render().chars().any(|c| c.is_control() && c != '\n')
    };
    match Policy::parse("policy.yaml", text) {
        Ok(parsed) => {
            assert!(
                parsed
                    .warnings
                    .iter()
                    .all(|d| d.severity == Severity::Warning && sound(d))
            );
            let shown = curb_core::policy::show(&parsed.policy);
            let again = Policy::parse("shown", &shown).map(|p| p.policy);
            assert_eq!(again.as_ref(), Ok(&parsed.policy), "{shown}");
        }
        Err(all) => {
            assert!(
                all.iter().any(|d| d.severity == Severity::Error),
                "refused without an error"
            );
            assert!(all.len() <= 2 * MAX_DIAGNOSTICS + 1);
            assert!(all.iter().all(sound), "{all:?}");
            let places: Vec<_> = all.iter().map(|d| (d.line, d.column)).collect();
            let told = &places[..places.len().min(2 * MAX_DIAGNOSTICS)];
            assert!(
                told.is_sorted() || all.len() > MAX_DIAGNOSTICS,
                "{places:?}"
            );
        }
    }
}

/// A change to a text: at a place, some characters go and others come.
fn mutations() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, String)>> {
    let piece = prop_oneof![
        4 => "[ -~]{0,4}",
        2 => "[\\n\\t {}\\[\\]:,\"'*&!|>#%@-]{1,3}",
        1 => "\\PC{0,3}",
        1 => prop::sample::select(vec![
            "\n  - name: x\n", "null", "~", "0", "-1", "1e9", "99999999999999999999", "quotas:", "{}", "[]", "\"*\"",
            "\u{feff}", "\u{0}", "\r", "gpu:H100", "8192TiB", "UTC", "2027-02-29",
        ]).prop_map(str::to_owned),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, piece), 1..6)
}

fn mutate(text: &str, changes: &[(prop::sample::Index, usize, String)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (index, gone, come) in changes {
        let at = index.index(chars.len() + 1);
        let end = (at + gone).min(chars.len());
        chars.splice(at..end, come.chars());
    }
    chars.into_iter().collect()
}

#[test]
fn a_name_that_cannot_be_one_is_not_proposed() {
    let text = "version: 1\njob_types:\n  tra\tning: {}\nquotas:\n  - {name: a, for: {job_type: training}, limits: {cpu: 1}}\n";
    answer_is_sound(text);
    let errors = Policy::parse("policy.yaml", text).expect_err("refused");
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors.iter().all(|e| !e.render().contains("did you mean")));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_gets_a_sound_answer(text in "\\PC{0,400}") {
        answer_is_sound(&text);
    }

    #[test]
    fn arbitrary_yaml_signs_get_a_sound_answer(text in "(version: 1\n)?([a-c:,{}\\[\\]&*!|>'\"%@#\\-? \\n\\t\\r0-9]{0,120})") {
        answer_is_sound(&text);
    }

    #[test]
    fn a_changed_example_gets_a_sound_answer(
        which in 0..EXAMPLES.len(),
        changes in mutations(),
    ) {
        answer_is_sound(&mutate(EXAMPLES[which].1, &changes));
    }
}

/// Texts of 64 KiB that are meant to be slow.
fn slow_texts() -> Vec<(&'static str, String)> {
    const SIZE: usize = 64 << 10;
    let fill = |head: &str, piece: &str| {
        let mut text = head.to_owned();
        while text.len() + piece.len() < SIZE {
            text.push_str(piece);
        }
        text
    };
    let counted = |head: &str, piece: &dyn Fn(usize) -> String| {
        let mut text = head.to_owned();
        for i in 0.. {
            let next = piece(i);
            if text.len() + next.len() >= SIZE {
                return text;
            }
            text.push_str(&next);
        }
        text
    };
    let chain = |i: usize| format!("  o{i}: {{parent: o{}}}\n", i + 1);
    vec![
        ("open brackets", fill("", "[")),
        ("dashes", fill("", "- ")),
        ("colons", fill("", ": ")),
        ("quotes", fill("", "\"'")),
        ("tabs", fill("version: 1\n", "\t")),
        ("comments", fill("", "#\n")),
        (
            "anchors and aliases",
            fill("version: 1\nteams: [&a 1", ", *a"),
        ),
        ("unresolved aliases", fill("version: 1\nteams: [x", ", *a")),
        ("merge keys", fill("version: 1\nteams: {a: 1", ", <<: 1")),
        (
            "one key many times",
            fill("version: 1\n", "mode: observe\n"),
        ),
        (
            "unknown fields",
            counted("version: 1\n", &|i| format!("quotaz{i}: 1\n")),
        ),
        (
            "unknown zones",
            counted("version: 1\nquotas:\n", &|i| {
                format!("- {{name: q{i}, when: {{tz: Europe/Berl{i}}}}}\n")
            }),
        ),
        ("unknown teams", {
            let known = counted("version: 1\nteams:\n", &|i| format!("  team{i}: {{}}\n"));
            let known = known[..SIZE / 2]
                .rsplit_once('\n')
                .map_or(String::new(), |(a, _)| a.to_owned());
            counted(&format!("{known}\nquotas:\n"), &|i| {
                format!("- {{name: q{i}, for: {{team: teem{i}}}}}\n")
            })
        }),
        ("a chain of units", counted("version: 1\norgs:\n", &chain)),
        ("a circle of units", {
            let chain = counted("version: 1\norgs:\n", &chain);
            format!("{}  o9999: {{parent: o0}}\n", chain)
        }),
        ("defaults against quotas", {
            let types = counted("version: 1\njob_types:\n", &|i| {
                format!("  t{i}: {{default_request: {{cpu: 2}}}}\n")
            });
            let types = types[..SIZE / 2]
                .rsplit_once('\n')
                .map_or(String::new(), |(a, _)| a.to_owned());
            counted(&format!("{types}\nquotas:\n"), &|i| {
                format!("- {{name: q{i}, per_job: {{cpu: 2}}}}\n")
            })
        }),
        (
            "budgets",
            counted(
                "version: 1\nquotas:\n- name: a\n  budget:\n    per: day\n",
                &|i| format!("    r{i}_hours: 1\n"),
            ),
        ),
        (
            "guarantees",
            counted("version: 1\ncapacity: {cpu: 1000000}\nquotas:\n", &|i| {
                format!("- {{name: q{i}, guarantee: {{cpu: 1}}, valid: {{from: 2027-01-01}}}}\n")
            }),
        ),
        (
            "names like others",
            counted("version: 1\nteams:\n", &|i| {
                format!("  t{i}: {{org: research{i}}}\n")
            }),
        ),
        (
            "near units",
            counted("version: 1\norgs: {reseach: {}}\nteams:\n", &|i| {
                format!("  t{i}: {{org: research{i}}}\n")
            }),
        ),
        (
            "a long line",
            fill("version: 1\nteams: {a: {membrs: [", "ana, "),
        ),
        ("a wrong indentation far down", {
            let mut text = counted("version: 1\nteams:\n", &|i| format!("    t{i}: {{}}\n"));
            text.push_str("   x: {}\n");
            text
        }),
    ]
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "this measures the time that a caller waits"
)]
fn any_file_of_64_kib_is_answered_soon() {
    // A release build takes at most some 30 ms. This one is not optimised, and its machine may be shared.
    let bound = Duration::from_secs(1);
    let mut slowest = (Duration::ZERO, "");
    for (title, text) in slow_texts() {
        let best = (0..3)
            .map(|_| {
                let start = Instant::now();
                let _ = Policy::parse("policy.yaml", &text);
                start.elapsed()
            })
            .min()
            .unwrap_or_default();
        println!("{title}: {best:?}");
        assert!(best < bound, "{title}: {best:?}");
        slowest = slowest.max((best, title));
    }
    println!("slowest: {} in {:?}", slowest.1, slowest.0);
}
