//! The unit for systemd: right, and hardened.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Of 100 that systemd gives to a service without any hardening; lower is better. It may not rise.
const MOST_EXPOSED: &str = "29";

fn unit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/systemd/curb-agent.service")
}

fn analyze(arguments: &[&str]) -> (bool, String) {
    let ran = Command::new("systemd-analyze")
        .args(arguments)
        .arg(unit())
        .output();
    let ran = ran.expect("systemd-analyze is installed (package systemd)");
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    (ran.status.success(), text(&ran.stdout) + &text(&ran.stderr))
}

#[test]
fn the_unit_of_the_agent_is_hardened_as_systemd_sees_it() {
    let (good, told) = analyze(&[
        "security",
        "--offline=true",
        "--no-pager",
        "--threshold",
        MOST_EXPOSED,
    ]);
    assert!(good, "{told}");
    for has in [
        "NoNewPrivileges=",
        "CapabilityBoundingSet=~CAP_SYS_ADMIN",
        "RestrictNamespaces=~user",
    ] {
        let line = told
            .lines()
            .find(|l| l.contains(has))
            .unwrap_or_else(|| panic!("{has}: {told}"));
        assert!(line.contains('✓'), "{line}");
    }
}

#[test]
fn the_unit_leaves_workloads_alone_when_the_agent_ends_and_has_its_groups_to_itself() {
    let text = std::fs::read_to_string(unit()).expect("read");
    // The agent makes its groups beside this one, which it knows by its name.
    for line in [
        "Delegate=yes",
        "KillMode=process",
        "DelegateSubgroup=curbagent.self",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}");
    }
}
