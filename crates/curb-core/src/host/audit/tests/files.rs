//! Files: Compose, Kubernetes, systemd.

use super::*;

fn texts(all: &[&str]) -> Vec<(String, String)> {
    let named = |(i, text): (usize, &&str)| (format!("{i}.yaml"), (*text).to_owned());
    all.iter().enumerate().map(named).collect()
}

/// Rule, line and column of each finding.
fn found(report: &Report) -> Vec<(&'static str, u32, u32)> {
    let place = |f: &Finding| {
        let spot = f.spot.as_ref().expect("a place");
        (f.rule.id(), spot.line, spot.column)
    };
    report.findings.iter().map(place).collect()
}

fn compose(all: &[&str]) -> Report {
    audit_compose(&texts(all), &Machine::default())
}

fn kubernetes(text: &str) -> Report {
    audit_kubernetes(&texts(&[text]), &Machine::default())
}

const SERVICE: &str = "services:\n  chat:\n    memswap_limit: 4g\n    deploy: {resources: {limits: {memory: 4G, cpus: '2', pids: 512}}}\n";

#[test]
fn a_service_with_its_limits_is_fine_and_each_line_that_is_taken_away_is_missed() {
    assert_eq!(found(&compose(&[SERVICE])), []);
    for (gone, rule) in [
        ("memory: 4G, ", "memory-unlimited"),
        ("cpus: '2', ", "cpu-unlimited"),
        (", pids: 512", "processes-unlimited"),
        ("    memswap_limit: 4g\n", "swap-unlimited"),
    ] {
        let report = compose(&[&SERVICE.replace(gone, "")]);
        let rules: Vec<_> = report.findings.iter().map(|f| f.rule.id()).collect();
        assert_eq!(rules, [rule], "without {gone}");
    }
}

#[test]
fn what_a_file_s_mend_says_does_mend_it() {
    let none = "services:\n  chat:\n    image: x\n";
    let short = "services:\n  chat:\n    mem_limit: 1g\n";
    for text in [none, short] {
        let mut text = text.to_owned();
        // A finding at a time: what mends one may not bring about another.
        for _ in 0..6 {
            let report = compose(&[&text]);
            let Some(first) = report.findings.first() else {
                break;
            };
            let mend = first.mend.clone().expect("each of these can be mended");
            let lines: String = mend.text.lines().map(|l| format!("    {l}\n")).collect();
            let (_, fault) = super::super::yaml::read("x", &format!("services:\n  chat:\n{lines}"));
            assert_eq!(fault, None);
            let over = format!("services:\n  chat:\n{lines}");
            let merged = audit_compose(&texts(&[&text, &over]), &Machine::default());
            let still = merged.findings.iter().any(|f| f.rule == first.rule);
            assert!(
                !still,
                "{text}
{lines}"
            );
            if mend.text.starts_with("deploy") {
                // As a person would write it into the block that is there.
                let line = mend.text.lines().last().expect("a line").trim();
                text = match text.contains("limits:") {
                    true => format!("{text}          {line}\n"),
                    false => format!(
                        "{text}    deploy:\n      resources:\n        limits:\n          {line}\n"
                    ),
                };
            } else {
                text = text.replace("  chat:\n", &format!("  chat:\n{lines}"));
            }
        }
        assert_eq!(found(&compose(&[&text])), [], "{text}");
    }
}

#[test]
fn later_files_are_merged_as_compose_merges_them() {
    let over = "services:\n  chat:\n    deploy: {resources: {limits: {memory: 2G}}}\n";
    let report = compose(&[SERVICE, over]);
    let memory = report.subjects[0].memory.as_held().expect("held");
    assert_eq!(
        (memory.value, memory.by.as_str()),
        (
            Bytes(2 << 30),
            "deploy.resources.limits.memory at 1.yaml:3:43"
        )
    );
    assert_eq!(
        report.subjects[0].cpu.as_held().map(|h| h.value),
        Some(MilliCpu(2000))
    );
    let reset = "services:\n  chat:\n    deploy: !reset null\n";
    let report = compose(&[SERVICE, reset]);
    assert_eq!(report.subjects[0].memory, Effective::Unlimited);
    let other = "services:\n  chat:\n    deploy: !override {resources: {limits: {cpus: '1'}}}\n";
    let report = compose(&[SERVICE, other]);
    assert_eq!(report.subjects[0].memory, Effective::Unlimited);
    assert_eq!(
        report.subjects[0].cpu.as_held().map(|h| h.value),
        Some(MilliCpu(1000))
    );
}

#[test]
fn what_compose_would_refuse_or_put_in_later_is_told_with_its_place() {
    for (line, rule) in [
        ("mem_limit: 4 gigs", "value-invalid"),
        ("mem_limit: ${MEMORY:-4g}", "value-unresolved"),
        ("mem_limit: 5g", "limits-conflict"),
        ("pids_limit: 100", "limits-conflict"),
        ("cpus: two", "value-invalid"),
        ("extends: {service: base, file: base.yaml}", "none"),
        ("ulimits: {data: 1000000}", "address-space-limited"),
        ("ulimits: {nofile: many}", "value-invalid"),
        ("oom_score_adj: -1000", "oom-exempt"),
        ("oom_kill_disable: true", "oom-killer-off"),
        ("gpus: all", "gpu-all"),
    ] {
        let report = compose(&[&format!("{SERVICE}    {line}\n")]);
        let has = report.findings.iter().any(|f| f.rule.id() == rule);
        assert_eq!(has, rule != "none", "{line}: {:?}", report.findings);
        if rule.starts_with("value") {
            assert_eq!(
                report.findings[0].spot.as_ref().map(|s| s.line),
                Some(5),
                "{line}"
            );
        }
    }
    let extends = "services:\n  chat:\n    extends: {service: base, file: base.yaml}\n";
    let report = compose(&[extends]);
    // It is neither said to be limited nor to be missing a limit.
    assert_eq!(found(&report), [("value-unresolved", 3, 14)]);
    assert!(matches!(
        report.subjects[0].memory,
        Effective::Elsewhere { .. }
    ));
}

#[test]
fn gpus_are_counted_however_they_are_asked_for() {
    let gpus = |lines: &str| {
        let report = compose(&[&format!("services:\n  chat:\n{lines}")]);
        report.subjects[0].gpus
    };
    let devices = |d: &str| {
        gpus(&format!(
            "    deploy: {{resources: {{reservations: {{devices: [{d}]}}}}}}\n"
        ))
    };
    assert_eq!(devices("{capabilities: [gpu], count: 2}"), Gpus::Some(2));
    assert_eq!(
        devices("{capabilities: [gpu], device_ids: ['0']}"),
        Gpus::Some(1)
    );
    assert_eq!(devices("{capabilities: [gpu], count: all}"), Gpus::All);
    assert_eq!(devices("{capabilities: [gpu]}"), Gpus::All);
    assert_eq!(devices("{capabilities: [tpu]}"), Gpus::None);
    assert_eq!(
        gpus("    runtime: nvidia\n    environment: [NVIDIA_VISIBLE_DEVICES=all]\n"),
        Gpus::All
    );
    assert_eq!(gpus("    image: x\n"), Gpus::None);
}

#[test]
fn a_broken_file_is_an_error_at_its_place_and_never_fine() {
    let report = compose(&["services:\n  chat: [\n"]);
    assert_eq!(report.worst(), Some(Severity::Error));
    assert_eq!(report.findings[0].rule, Rule::FileUnreadable);
    assert_eq!(compose(&["{}"]).worst(), Some(Severity::Error));
    assert_eq!(compose(&[""]).worst(), Some(Severity::Error));
    let report = kubernetes("kind: Pod\nspec: {{ .Values.spec }}\n");
    assert!(
        report.findings[0].message.contains("helm template"),
        "{:?}",
        report.findings
    );
}

const POD: &str = "kind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: c\n    resources: {limits: {memory: 4Gi, cpu: 2}}\n";

#[test]
fn a_container_with_its_limits_is_fine_and_each_that_is_taken_away_is_missed() {
    assert_eq!(found(&kubernetes(POD)), []);
    assert_eq!(
        found(&kubernetes(&POD.replace("memory: 4Gi, ", ""))),
        [("memory-unlimited", 5, 11)]
    );
    assert_eq!(
        found(&kubernetes(&POD.replace(", cpu: 2", ""))),
        [("cpu-unlimited", 5, 11)]
    );
    for (value, rule) in [
        ("4GiB", "value-invalid"),
        ("512m", "value-invalid"),
        ("4", "value-invalid"),
    ] {
        assert_eq!(
            found(&kubernetes(&POD.replace("4Gi", value))),
            [(rule, 6, 34)],
            "{value}"
        );
    }
}

#[test]
fn each_kind_of_workload_has_its_pods_looked_at() {
    let pod = "containers: [{name: c}]\n";
    let at = |kind: &str, path: &[&str]| {
        let mut text = format!("kind: {kind}\nmetadata: {{name: a}}\n");
        for (depth, key) in path.iter().enumerate() {
            text.push_str(&format!("{}{key}:\n", "  ".repeat(depth)));
        }
        text.push_str(&format!("{}{pod}", "  ".repeat(path.len())));
        let report = kubernetes(&text);
        let names: Vec<_> = report.subjects.iter().map(|s| s.name.clone()).collect();
        names.join(", ")
    };
    let template = ["spec", "template", "spec"];
    for kind in [
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "ReplicaSet",
        "Job",
    ] {
        assert_eq!(at(kind, &template), format!("{kind}/a container c"));
    }
    assert_eq!(
        at(
            "CronJob",
            &["spec", "jobTemplate", "spec", "template", "spec"]
        ),
        "CronJob/a container c"
    );
    let head = ["headGroupSpec", "template", "spec"];
    for (kind, path) in [
        ("RayCluster", &["spec"][..]),
        ("RayService", &["spec", "rayClusterConfig"]),
        ("RayJob", &["spec", "rayClusterSpec"]),
    ] {
        assert_eq!(
            at(kind, &[path, &head].concat()),
            format!("{kind}/a head container c")
        );
    }
    assert_eq!(
        at("RayJob", &["spec", "submitterPodTemplate", "spec"]),
        "RayJob/a submitter container c"
    );
    assert_eq!(at("ConfigMap", &["data"]), "");
    let list = "kind: List\nitems:\n- kind: Pod\n  metadata: {name: b}\n  spec:\n    initContainers: [{name: i}]\n    containers: [{name: c}]\n";
    let names: Vec<_> = kubernetes(list)
        .subjects
        .into_iter()
        .map(|s| s.name)
        .collect();
    assert_eq!(names, ["Pod/b init container i", "Pod/b container c"]);
}

#[test]
fn ranges_and_quotas_of_the_same_namespace_count() {
    let range = |ns: &str| {
        format!(
            "kind: LimitRange\nmetadata: {{namespace: {ns}}}\nspec: {{limits: [{{type: Container, default: {{memory: 1Gi, cpu: 1}}, max: {{memory: 2Gi}}}}]}}\n---\n"
        )
    };
    let bare = "kind: Pod\nmetadata: {name: a, namespace: ml}\nspec: {containers: [{name: c}]}\n";
    let report = kubernetes(&(range("ml") + bare));
    assert_eq!(report.findings, []);
    let memory = report.subjects[0].memory.as_held().expect("held");
    assert_eq!(memory.value, GIB);
    assert!(
        memory
            .by
            .starts_with("the LimitRange's default of 1Gi at 0.yaml:3:"),
        "{}",
        memory.by
    );
    // Another namespace's range says nothing of it.
    let report = kubernetes(&(range("other") + bare));
    assert_eq!(report.findings[0].rule, Rule::MemoryUnlimited);
    let large = POD.replace("name: a", "name: a, namespace: ml");
    let report = kubernetes(&(range("ml") + &large));
    assert_eq!(report.findings[0].rule, Rule::QuotaRefuses);
    let quota =
        "kind: ResourceQuota\nmetadata: {namespace: ml}\nspec: {hard: {limits.memory: 8Gi}}\n---\n";
    let rules: Vec<_> = kubernetes(&format!("{quota}{bare}"))
        .findings
        .iter()
        .map(|f| f.rule)
        .collect();
    assert!(rules.contains(&Rule::QuotaRefuses), "{rules:?}");
    assert_eq!(kubernetes(&format!("{quota}{large}")).findings, []);
}

#[test]
fn what_kubernetes_refuses_is_told() {
    let more = POD.replace("limits:", "requests: {memory: 8Gi}, limits:");
    assert_eq!(found(&kubernetes(&more))[0].0, "limits-conflict");
    let gpu = POD.replace("limits:", "requests: {nvidia.com/gpu: 1}, limits:");
    assert_eq!(found(&kubernetes(&gpu))[0].0, "value-invalid");
    let gpu = POD.replace("cpu: 2", "cpu: 2, nvidia.com/gpu: 3");
    assert_eq!(kubernetes(&gpu).subjects[0].gpus, Gpus::Some(3));
}

const UNIT: &str = "[Service]\nMemoryMax=4G\nMemorySwapMax=0\nCPUQuota=200%\nTasksMax=512\n";

fn unit(files: &[&str]) -> Unit {
    let text = |(i, text): (usize, &&str)| UnitText {
        path: format!("{i}.conf"),
        text: (*text).to_owned(),
    };
    Unit {
        name: "chat.service".into(),
        files: files.iter().enumerate().map(text).collect(),
        ..Unit::default()
    }
}

fn systemd(files: &[&str]) -> Report {
    audit_systemd(&[unit(files)], &machine())
}

#[test]
fn a_unit_with_its_limits_is_fine_and_each_line_that_is_taken_away_is_missed() {
    assert_eq!(found(&systemd(&[UNIT])), []);
    for (gone, rule) in [
        ("MemoryMax=4G\n", "memory-unlimited"),
        ("MemorySwapMax=0\n", "swap-unlimited"),
        ("CPUQuota=200%\n", "cpu-unlimited"),
    ] {
        assert_eq!(
            found(&systemd(&[&UNIT.replace(gone, "")])),
            [(rule, 1, 1)],
            "without {gone}"
        );
    }
    // What the manager gives by default is a limit that is not known from here.
    assert_eq!(found(&systemd(&[&UNIT.replace("TasksMax=512\n", "")])), []);
    for (line, rule) in [
        ("TasksMax=infinity", "processes-unlimited"),
        ("MemoryMax=4GB", "value-invalid"),
        ("MemoryMax=200%", "memory-over-machine"),
        ("CPUQuota=2", "value-invalid"),
        ("LimitAS=1G", "address-space-limited"),
        ("OOMScoreAdjust=-1000", "oom-exempt"),
        ("OOMPolicy=continue", "oom-part"),
        ("nonsense", "file-unreadable"),
        ("[Unit]\nMemoryMax=1G", "field-ignored"),
    ] {
        assert_eq!(
            found(&systemd(&[&format!("{UNIT}{line}\n")]))[0].0,
            rule,
            "{line}"
        );
    }
}

#[test]
fn drop_ins_change_what_the_unit_says_and_an_empty_value_takes_it_back() {
    let less = systemd(&[UNIT, "[Service]\nMemoryMax=1G\n"]);
    let memory = less.subjects[0].memory.as_held().expect("held");
    assert_eq!(
        (memory.value, memory.by.as_str()),
        (GIB, "MemoryMax=1G at 1.conf:2:11")
    );
    let none = systemd(&[UNIT, "[Service]\nMemoryMax=\n"]);
    assert_eq!(found(&none)[0].0, "memory-unlimited");
    let half = systemd(&[&UNIT.replace("4G", "50%")]);
    assert_eq!(
        half.subjects[0].memory.as_held().map(|h| h.value),
        Some(Bytes(8 << 30))
    );
}

#[test]
fn a_slice_holds_what_is_in_it_and_is_shared() {
    assert_eq!(slice_chain("ml-chat.slice"), ["ml-chat.slice", "ml.slice"]);
    assert_eq!(slice_chain("-.slice"), [""; 0]);
    assert_eq!(
        slice_of(&unit(&["[Service]\nSlice=ml.slice\n"]).files),
        "ml.slice"
    );
    assert_eq!(slice_of(&unit(&["[Service]\n"]).files), "system.slice");
    let mut below = unit(&[&UNIT.replace("MemoryMax=4G\n", "")]);
    let mut slice = unit(&["[Slice]\nMemoryMax=2G\nTasksMax=100\n"]);
    slice.name = "ml.slice".into();
    below.slices = vec![slice];
    let report = audit_systemd(&[below], &machine());
    assert_eq!(found(&report), [("memory-shared", 1, 1)]);
    assert_eq!(
        report.subjects[0].tasks.as_held().map(|h| h.value),
        Some(100)
    );
}

#[test]
fn a_unit_that_could_not_be_read_is_unknown_and_not_without_limits() {
    let mut closed = unit(&["[Service]\n"]);
    closed.unread = vec!["10.conf: permission denied".into()];
    let report = audit_systemd(&[closed], &machine());
    assert!(matches!(
        report.subjects[0].memory,
        Effective::Unknown { .. }
    ));
    let rules: Vec<_> = report.findings.iter().map(|f| f.rule).collect();
    assert_eq!(rules, [Rule::LimitUnknown]);
    let report = audit_systemd(&[unit(&[])], &machine());
    assert!(
        report
            .findings
            .iter()
            .any(|f| f.rule == Rule::FileUnreadable)
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_an_audit_panic(text in "[ -~\n\t]{0,200}", line in "(services|mem_limit|deploy|spec|kind|Pod|containers|MemoryMax|CPUQuota)[:=] ?[-0-9a-zA-Z%.$\\[{]{0,12}") {
        let both = format!("{text}\n{line}");
        for text in [&text, &line, &both] {
            let files = [("a".to_owned(), text.clone())];
            let _ = audit_compose(&files, &machine());
            let _ = audit_kubernetes(&files, &machine());
            let _ = systemd(&[text.as_str()]);
        }
    }
}
