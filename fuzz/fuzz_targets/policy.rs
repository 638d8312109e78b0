//! Any text is read without a panic; what is accepted is written so that it reads the same.
#![no_main]

use curb_core::policy::{Policy, show};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(parsed) = Policy::parse("fuzz.yaml", text) {
        let shown = show(&parsed.policy);
        let again = Policy::parse("shown.yaml", &shown).expect("what is shown is a policy");
        assert_eq!(again.policy, parsed.policy, "and the same one");
    }
});
