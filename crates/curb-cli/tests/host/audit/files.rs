//! Compose files, manifests, units.

use super::*;

const COMPOSE: &str = "\
x-base: &base
  mem_limit: 4g
services:
  chat:
    <<: *base
    image: vllm/vllm-openai
    deploy:
      resources:
        reservations:
          devices:
            - {driver: nvidia, count: all, capabilities: [gpu]}
  db:
    mem_limit: ${DB_MEMORY:-1g}
    memswap_limit: 1g
    cpus: 2
    pids_limit: -1
  broken:
    mem_limit: 4 gigs
    profiles: [dev]
";

const OVERRIDE: &str = "\
services:
  chat:
    memswap_limit: 4g
    cpus: 4
    pids_limit: 512
";

const MANIFESTS: &str = "\
kind: LimitRange
metadata: {name: d, namespace: ml}
spec: {limits: [{type: Container, default: {cpu: 2}, max: {memory: 8Gi}}]}
---
kind: Deployment
metadata: {name: chat, namespace: ml}
spec:
  template:
    spec:
      initContainers:
        - {name: pull, resources: {limits: {memory: 512m, cpu: 1}}}
      containers:
        - name: server
          resources: {limits: {memory: 16Gi, nvidia.com/gpu: 1}}
---
kind: RayCluster
metadata: {name: ray}
spec:
  headGroupSpec: {template: {spec: {containers: [{name: head}]}}}
  workerGroupSpecs:
    - groupName: small
      template: {spec: {containers: [{name: w, resources: {requests: {memory: 9Gi}, limits: {memory: 8Gi, cpu: 2}}}]}}
---
kind: Service
";

const UNIT: &str = "\
[Unit]
Description=chat
MemoryMax=4G
[Service]
ExecStart=/usr/bin/python server.py
Slice=ml-chat.slice
TasksMax=infinity
CPUQuota=2
LimitAS=8G
";

fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for (path, text) in [
        ("compose.yaml", COMPOSE),
        ("override.yaml", OVERRIDE),
        ("k8s.yaml", MANIFESTS),
        ("root/etc/systemd/system/chat.service", UNIT),
        (
            "root/etc/systemd/system/ml.slice",
            "[Slice]\nMemoryMax=8G\n",
        ),
        (
            "root/etc/systemd/system/chat.service.d/10.conf",
            "[Service]\nMemoryHigh=3G\n",
        ),
        (
            "root/run/systemd/system/chat.service.d/10.conf",
            "[Service]\nMemoryHigh=1G\n",
        ),
        (
            "root/usr/lib/systemd/system/service.d/20.conf",
            "[Service]\nMemorySwapMax=0\n",
        ),
        (
            "root/usr/lib/systemd/system/worker@.service",
            "[Service]\nMemoryMax=1G\nMemorySwapMax=0\nCPUQuota=100%\n",
        ),
    ] {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    dir
}

#[test]
fn compose_files_are_told_as_people_read_them() {
    let dir = directory();
    let told = audit(dir.path(), &["compose", "compose.yaml"], "");
    assert_eq!(told.code, Some(1));
    insta::assert_snapshot!("compose", format!("{}{}", told.out, told.err));
    let merged = audit(
        dir.path(),
        &["compose", "compose.yaml", "override.yaml", "--json"],
        "",
    )
    .json();
    assert_eq!(rules(&merged, "chat"), ["gpu-all"]);
}

#[test]
fn manifests_are_told_as_people_read_them() {
    let dir = directory();
    let told = audit(dir.path(), &["kubernetes", "k8s.yaml"], "");
    assert_eq!(told.code, Some(1));
    insta::assert_snapshot!("kubernetes", format!("{}{}", told.out, told.err));
}

#[test]
fn a_unit_is_told_with_its_drop_ins_and_slices() {
    let dir = directory();
    let told = audit(dir.path(), &["systemd", "--root", "root", "chat"], "");
    assert_eq!(told.code, Some(1));
    insta::assert_snapshot!("systemd", format!("{}{}", told.out, told.err));
    // An instance has its template's file; a file may be named as well.
    let told = audit(
        dir.path(),
        &["systemd", "--root", "root", "worker@3.service", "--json"],
        "",
    );
    assert_eq!(
        (told.code, rules(&told.json(), "worker@3.service")),
        (Some(0), Vec::new())
    );
    let file = "root/usr/lib/systemd/system/worker@.service";
    assert_eq!(
        audit(dir.path(), &["systemd", file, "--fail-on", "warning"], "").code,
        Some(0)
    );
    let told = audit(dir.path(), &["systemd", "--root", "root", "nothing"], "");
    assert_eq!(told.code, Some(1));
    assert!(told.out.contains("there is no such unit"), "{}", told.out);
    // Nothing is known of its limits, and nothing is said of them.
    assert!(
        !told.out.contains("unlimited") && !told.out.contains("memory"),
        "{}",
        told.out
    );
    let json = audit(
        dir.path(),
        &["systemd", "--root", "root", "nothing", "--json"],
        "",
    )
    .json();
    assert_eq!(rules(&json, "nothing.service"), ["file-unreadable"]);
}

#[test]
fn what_was_set_on_a_unit_that_runs_counts_before_its_files() {
    let dir = directory();
    let set = dir
        .path()
        .join("root/etc/systemd/system.control/worker@3.service.d");
    std::fs::create_dir_all(&set).expect("made");
    let text = "[Service]\nMemoryMax=268435456\n";
    std::fs::write(set.join("50-MemoryMax.conf"), text).expect("written");
    let one = ["systemd", "--root", "root", "worker@3.service"];
    let told = audit(dir.path(), &one, "");
    assert!(told.out.contains("memory     256 MiB"), "{}", told.out);
    // A unit of `systemd-run` has its file among what is not kept.
    let file = dir.path().join("root/run/systemd/transient/run-7.service");
    std::fs::create_dir_all(file.parent().expect("a parent")).expect("made");
    std::fs::write(&file, "[Service]\nMemoryMax=64M\n").expect("written");
    let told = audit(dir.path(), &["systemd", "--root", "root", "run-7"], "");
    assert!(told.out.contains("memory     64 MiB"), "{}", told.out);
}

#[test]
fn what_ends_with_1_is_what_was_asked_for() {
    let dir = directory();
    let warned = "services:\n  a: {mem_limit: 1g, memswap_limit: 1g, pids_limit: 9}\n";
    for (args, code) in [
        (&["compose", "-"][..], 0),
        (&["compose", "-", "--fail-on", "error"], 0),
        (&["compose", "-", "--fail-on", "warning"], 1),
        (&["--fail-on", "warning", "compose", "-"], 1),
        (&["compose", "compose.yaml", "--fail-on", "never"], 0),
    ] {
        let told = audit(dir.path(), args, warned);
        assert_eq!(told.code, Some(code), "{args:?} {}{}", told.out, told.err);
    }
    for (args, code, said) in [
        (&["compose"][..], 2, "FILE"),
        (&["compose", "no.yaml"], 7, "no.yaml"),
        (&["rules", "no-such-rule"], 2, "no-such-rule"),
        (&["compose", "-", "--json", "--sarif"], 2, "--sarif"),
        (
            &["host", "--pid", "4194304"],
            7,
            "there is no process 4194304",
        ),
    ] {
        let told = audit(dir.path(), args, warned);
        assert_eq!(told.code, Some(code), "{args:?} {}{}", told.out, told.err);
        assert!(told.err.contains(said), "{args:?} {}", told.err);
    }
}

#[test]
fn the_rules_are_listed_and_explained() {
    let dir = directory();
    let told = audit(dir.path(), &["rules"], "");
    insta::assert_snapshot!("rules", told.out);
    let one = audit(dir.path(), &["rules", "swap-unlimited"], "");
    assert!(one.out.contains("MemorySwapMax=0"), "{}", one.out);
}

/// By the schema that OASIS publishes.
#[test]
fn sarif_is_sarif_and_points_at_lines_and_columns() {
    let dir = directory();
    let schema: Value =
        serde_json::from_str(include_str!("../sarif-2.1.0.schema.json")).expect("JSON");
    let schema = jsonschema::validator_for(&schema).expect("a schema");
    for args in [
        &["compose", "compose.yaml", "override.yaml"][..],
        &["kubernetes", "k8s.yaml"],
        &["systemd", "--root", "root", "chat", "nothing"],
        &["host", "--pid", &std::process::id().to_string()],
    ] {
        let told = audit(dir.path(), &[args, &["--sarif"]].concat(), "").json();
        let wrong: Vec<String> = schema
            .iter_errors(&told)
            .map(|e| format!("{e} at {}", e.instance_path()))
            .collect();
        assert_eq!(wrong, Vec::<String>::new(), "{args:?}");
    }
    let told = audit(dir.path(), &["compose", "compose.yaml", "--sarif"], "").json();
    let run = &told["runs"][0];
    let results = run["results"].as_array().expect("a list");
    let broken = results
        .iter()
        .find(|r| r["ruleId"] == "value-invalid")
        .expect("found");
    let place = &broken["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "compose.yaml");
    assert_eq!(
        (
            &place["region"]["startLine"],
            &place["region"]["startColumn"],
            &place["region"]["endColumn"]
        ),
        (&18.into(), &16.into(), &22.into())
    );
    for result in results {
        let index =
            usize::try_from(result["ruleIndex"].as_u64().expect("a number")).expect("small");
        assert_eq!(
            run["tool"]["driver"]["rules"][index]["id"],
            result["ruleId"]
        );
    }
    // The schema is no rubber stamp.
    let mut wrong = told.clone();
    wrong["runs"][0]["results"][0]["level"] = "fatal".into();
    assert!(!schema.is_valid(&wrong));
}
