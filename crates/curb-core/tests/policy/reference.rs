//! The reference tells every field.

use curb_core::policy::field_names;

#[test]
fn every_field_is_told_in_the_reference() {
    let reference = include_str!("../../../../docs/policy.md");
    for field in field_names() {
        assert!(
            reference.contains(&format!("`{field}`")),
            "docs/policy.md does not tell `{field}`"
        );
    }
}

#[test]
fn every_field_is_used_in_the_full_example() {
    let full = include_str!("../../../../examples/policy-full.yaml");
    for field in field_names() {
        let used = full.contains(&format!("{field}:"));
        assert!(used, "examples/policy-full.yaml does not use `{field}`");
    }
}
