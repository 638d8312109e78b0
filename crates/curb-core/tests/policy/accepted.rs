use curb_core::policy::{Policy, show};

use crate::{accepted, rendered};

/// Each example in the repository, with its text.
pub const EXAMPLES: &[(&str, &str)] = &[
    (
        "policy.yaml",
        include_str!("../../../../examples/policy.yaml"),
    ),
    (
        "policy-full.yaml",
        include_str!("../../../../examples/policy-full.yaml"),
    ),
    (
        "policy-observe.yaml",
        include_str!("../../../../examples/policy-observe.yaml"),
    ),
];

#[test]
fn the_examples_are_accepted_without_a_warning() {
    for (name, text) in EXAMPLES {
        match Policy::parse(name, text) {
            Ok(parsed) => assert_eq!(rendered(&parsed.warnings), "", "{name}"),
            Err(all) => panic!("{}", rendered(&all)),
        }
    }
}

#[test]
fn what_is_shown_of_the_full_example_is_normal_and_reads_back() {
    let policy = accepted(EXAMPLES[1].1);
    let shown = show(&policy);
    assert_eq!(accepted(&shown), policy);
    assert_eq!(show(&accepted(&shown)), shown);
    insta::assert_snapshot!(shown);
}
