//! The reference and the full example tell every field.

use curb_core::host::limits::{Key, field_names};

#[test]
fn every_field_is_told_in_the_reference() {
    let reference = include_str!("../../../../docs/limits.md");
    for field in field_names() {
        assert!(
            reference.contains(&format!("`{field}`")),
            "docs/limits.md does not tell `{field}`"
        );
    }
}

#[test]
fn the_reference_says_of_each_limit_how_firm_it_is() {
    let reference = include_str!("../../../../docs/limits.md");
    for key in Key::ALL {
        let row = reference
            .lines()
            .find(|l| l.starts_with(&format!("| `{key}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/limits.md has no row of `{key}`"));
        let said = format!("| {} | {} |", key.hold().word(), key.takes().word());
        assert!(row.contains(&said), "{row}\nshould have {said}");
    }
}

#[test]
fn every_field_is_used_in_the_full_example() {
    let full = include_str!("../../../../examples/limits-full.yaml");
    for field in field_names() {
        let used = full.contains(&format!("{field}:"));
        assert!(used, "examples/limits-full.yaml does not use `{field}`");
    }
}
