use curb_core::policy::{Policy, show};

/// Each example in the repository, with its text.
pub const EXAMPLES: &[(&str, &str)] =
    &[("policy.yaml", include_str!("../../../../examples/policy.yaml"))];

#[test]
fn the_examples_are_accepted_without_a_warning() {
    for (name, text) in EXAMPLES {
        let parsed = Policy::parse(name, text).unwrap_or_else(|all| {
            panic!("{}", all.iter().map(|d| d.render()).collect::<Vec<_>>().join("\n\n"))
        });
        let warnings: Vec<String> = parsed.warnings.iter().map(|d| d.render()).collect();
        assert!(warnings.is_empty(), "{}", warnings.join("\n"));
        let shown = show(&parsed.policy);
        println!("{shown}");
        let again = Policy::parse("shown", &shown).map(|p| p.policy).unwrap_or_else(|all| {
            panic!("{shown}\n{}", all.iter().map(|d| d.render()).collect::<Vec<_>>().join("\n\n"))
        });
        assert_eq!(again, parsed.policy);
    }
}
