//! Limits in the forms of other tools. That the tools take them is tested beside the tools (`tests/tools`).

use curb_core::host::limits::{Form, Key, Rendered, Source, Workload, render};
use proptest::prelude::*;

use crate::accepted::EXAMPLES;
use crate::{accepted, one};

fn made(form: Form, workload: &Workload) -> Rendered {
    let sha256 = "0".repeat(64);
    let source = Source {
        file: "limits.yaml",
        sha256: &sha256,
    };
    render(form, workload, source)
}

fn full() -> Workload {
    accepted(EXAMPLES[1].1).workloads[0].clone()
}

fn of(fields: &str) -> Workload {
    accepted(&one(fields)).workloads[0].clone()
}

#[test]
fn each_form_of_the_full_example_is_as_it_was() {
    for form in Form::ALL {
        insta::assert_snapshot!(form.name(), made(form, &full()).text);
    }
}

#[test]
fn each_limit_is_held_or_told_in_every_form() {
    let workload = full();
    for form in Form::ALL {
        let Rendered { text, notes } = made(form, &workload);
        for key in Key::ALL {
            let held =
                text.contains(&format!("# {key}: ")) || text.contains(&format!("<!-- {key}: "));
            let note = notes.iter().find(|n| n.field == key.name());
            match note {
                Some(note) => {
                    assert_eq!(held, note.in_part, "{} {key}", form.name());
                    let told = note.to_string().replace("--", "- -");
                    assert!(
                        text.replace("--", "- -").contains(&told),
                        "{} {key}",
                        form.name()
                    );
                }
                None => assert!(held, "{} says nothing of {key}", form.name()),
            }
        }
        for field in ["ladder", "on_warn", "retry", "fallback", "front"] {
            assert!(
                notes.iter().any(|n| n.field == field),
                "{} {field}",
                form.name()
            );
        }
    }
}

#[test]
fn address_space_is_limited_in_no_form() {
    for form in Form::ALL {
        let text = made(form, &full()).text;
        for word in ["ulimit -v", "LimitAS", "--ulimit=as", "RLIMIT_AS"] {
            assert!(!text.contains(word), "{}", form.name());
        }
    }
}

#[test]
fn a_workload_that_says_no_swap_gets_none() {
    let workload = of("limits: {memory: {value: 1GiB, why: w}}");
    assert!(
        made(Form::Systemd, &workload)
            .text
            .contains("\nMemorySwapMax=0\n")
    );
    assert!(
        made(Form::Docker, &workload)
            .text
            .contains("'--memory-swap=1073741824'")
    );
    assert!(
        made(Form::Compose, &workload)
            .text
            .contains("\n    memswap_limit: 1073741824\n")
    );
}

#[test]
fn swap_is_on_top_of_memory_also_where_docker_counts_both() {
    let workload = of("limits: {memory: {value: 1GiB, why: w}, swap: {value: 1GiB, why: w}}");
    assert!(
        made(Form::Systemd, &workload)
            .text
            .contains("\nMemorySwapMax=1073741824\n")
    );
    assert!(
        made(Form::Docker, &workload)
            .text
            .contains("'--memory-swap=2147483648'")
    );
    assert!(
        made(Form::Compose, &workload)
            .text
            .contains("\n    memswap_limit: 2147483648\n")
    );
}

#[test]
fn parts_of_a_cpu_are_exact_in_each_form() {
    let workload = of("limits: {cpu: {value: 1255m, why: w}}");
    for (form, line) in [
        (Form::Systemd, "CPUQuota=125.5%"),
        (Form::Docker, "'--cpus=1.255'"),
        (Form::Compose, "cpus: 1.255"),
        (Form::Kubernetes, "cpu: \"1255m\""),
    ] {
        assert!(made(form, &workload).text.contains(line), "{line}");
    }
}

#[test]
fn no_gpu_is_none_and_not_all() {
    let workload = of("limits: {gpu_visible: {value: [], why: w}}");
    for (form, line) in [
        (Form::Systemd, "Environment=CUDA_VISIBLE_DEVICES=\n"),
        (Form::Docker, "'--env=NVIDIA_VISIBLE_DEVICES=void'"),
        (Form::Compose, "NVIDIA_VISIBLE_DEVICES: void"),
        (Form::Kubernetes, "nvidia.com/gpu: \"0\""),
        (Form::Ulimit, "export CUDA_VISIBLE_DEVICES=''"),
    ] {
        assert!(made(form, &workload).text.contains(line), "{line}");
    }
}

#[test]
fn a_service_of_which_nothing_is_held_is_still_a_service() {
    let workload = of("limits: {mlx_cache: {value: 1MiB, why: w}}");
    assert!(
        made(Form::Compose, &workload)
            .text
            .ends_with("\n  \"chat\": {}\n")
    );
}

#[test]
fn a_command_that_no_property_list_can_hold_is_left_out_and_told() {
    let mut workload = of("limits: {memory: {value: 1GiB, why: w}}, command: [a]");
    assert!(
        made(Form::Launchd, &workload)
            .text
            .contains("<string>a</string>")
    );
    workload.command = Some(vec!["a".into(), "\u{1}".into()]);
    let made = made(Form::Launchd, &workload);
    assert!(!made.text.contains("ProgramArguments"));
    assert!(
        made.notes
            .iter()
            .any(|n| n.field == "command" && !n.in_part)
    );
}

proptest! {
    /// Reasons, file names and such are people's: none of them becomes a line of the tool's own.
    #[test]
    fn no_reason_breaks_out_of_its_comment(why in "\\PC{0,20}(\\\\| -->| --|\n|\u{2028}|\u{85}|\r)?[a-z=]{0,9}\\\\{0,2}") {
        let mut workload = of("limits: {processes: {value: 2, why: w}}");
        let plain: Vec<Vec<String>> = Form::ALL.iter().map(|f| own_lines(&made(*f, &workload).text)).collect();
        workload.limits.processes.as_mut().expect("given").why = why;
        for (form, plain) in Form::ALL.into_iter().zip(plain) {
            prop_assert_eq!(own_lines(&made(form, &workload).text), plain);
        }
    }
}

/// The lines that are no comment.
fn own_lines(text: &str) -> Vec<String> {
    let comment = |l: &&str| {
        let l = l.trim_start();
        (l.starts_with('#') && !l.ends_with('\\'))
            || (l.starts_with("<!--") && l.ends_with("-->") && !l[4..l.len() - 3].contains("--"))
    };
    text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
        .filter(|l| !comment(l))
        .map(str::to_owned)
        .collect()
}
