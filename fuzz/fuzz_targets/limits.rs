//! Any text is read without a panic; what is accepted is written so that it reads the same, and is rendered in every form.
#![no_main]

use curb_core::host::limits::{File, Form, Host, Source, render, show};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(parsed) = File::parse("fuzz.yaml", text, &Host::default()) {
        let shown = show(&parsed.file);
        let again = File::parse("shown.yaml", &shown, &Host::default());
        let again = again.expect("what is shown is a file of limits");
        assert_eq!(again.file, parsed.file, "and the same one");
        let source = Source {
            file: "fuzz.yaml",
            sha256: &parsed.sha256,
        };
        for workload in &parsed.file.workloads {
            for form in Form::ALL {
                let made = render(form, workload, source);
                assert!(made.text.ends_with('\n'));
            }
        }
    }
});
