//! Each limit of a workload on a real MLX program: held by the kernel, told to it, or said not to be held.

use std::fs;

use crate::common::{end, groups_of, wait_until};
use crate::ladder::Workload;

fn limits(keys: &str) -> Workload {
    Workload::new("", &format!("limits:\n{keys}"))
}

#[test]
fn mlx_keeps_as_much_of_freed_memory_as_it_may_and_no_more() {
    for (most, least) in [(16, 0), (128, 60)] {
        let chat = limits(&format!(
            "  mlx_cache: {{value: {most}MiB, why: \"the test's\"}}\n"
        ));
        let ran = chat.run("?cache");
        let line = ran
            .out
            .lines()
            .find_map(|l| l.strip_prefix("cache "))
            .expect("its cache");
        let kept: u64 = line.parse().expect("MiB");
        assert!(
            (least..=most).contains(&kept),
            "{kept} of {most} MiB: {}",
            ran.err
        );
    }
}

#[test]
fn it_is_told_of_its_gpus_and_its_part_of_them() {
    let chat = limits(
        "  gpu_visible: {value: [0, 2], why: \"the test's\"}\n  gpu_threads: {value: 50%, why: \"the test's\"}\n  gpu_memory: {value: 4GiB, why: \"the test's\"}\n",
    );
    let ran = chat.run("?CUDA_VISIBLE_DEVICES ?CUDA_MPS_ACTIVE_THREAD_PERCENTAGE ?CUDA_MPS_PINNED_DEVICE_MEM_LIMIT");
    for line in [
        "CUDA_VISIBLE_DEVICES 0,2",
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE 50",
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT 0=4096M,1=4096M",
    ] {
        assert!(ran.out.contains(line), "{}", ran.out);
    }
}

#[test]
fn it_runs_on_its_cpus_only() {
    let chat = limits("  cpu_set: {value: \"0\", why: \"the test's\"}\n");
    let ran = chat.run("?cpus");
    assert!(ran.out.contains("cpus [0]\n"), "{} {}", ran.out, ran.err);
}

/// What a file of one of its groups says while it runs.
fn of_its_group(chat: &Workload, files: &[&str]) -> String {
    let child = chat.start("~1");
    let curb = child.id();
    wait_until("it runs", || !chat.all("started").is_empty());
    let groups = groups_of(curb);
    let of = |name: &&str| {
        groups
            .iter()
            .find_map(|g| fs::read_to_string(g.join(name)).ok())
    };
    let text = files.iter().find_map(of).expect("one of these files");
    let ran = end(child);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    text.trim().to_owned()
}

#[test]
fn its_weight_is_that_of_version_2_or_the_share_that_means_the_same() {
    let chat = limits("  cpu_weight: {value: 50, why: \"the test's\"}\n");
    let weight = of_its_group(&chat, &["cpu.weight", "cpu.shares"]);
    assert!(["50", "512"].contains(&weight.as_str()), "{weight}");
}

#[test]
fn swap_is_on_top_of_memory_and_none_where_none_is_given() {
    let chat = limits(
        "  memory: {value: 128MiB, why: \"the test's\"}\n  swap: {value: 64MiB, why: \"the test's\"}\n",
    );
    let swap = of_its_group(&chat, &["memory.swap.max", "memory.memsw.limit_in_bytes"]);
    assert!(
        [(64_u64 << 20).to_string(), (192_u64 << 20).to_string()].contains(&swap),
        "{swap}"
    );
    let chat = limits("  memory: {value: 128MiB, why: \"the test's\"}\n");
    let swap = of_its_group(&chat, &["memory.swap.max", "memory.memsw.limit_in_bytes"]);
    assert!(
        ["0".to_owned(), (128_u64 << 20).to_string()].contains(&swap),
        "{swap}"
    );
}

#[test]
fn slowing_down_before_the_limit_is_held_by_version_2_and_said_where_it_is_not() {
    let chat = limits(
        "  memory: {value: 256MiB, why: \"the test's\"}\n  memory_high: {value: 200MiB, why: \"the test's\"}\n",
    );
    let child = chat.start("~1");
    let curb = child.id();
    wait_until("it runs", || !chat.all("started").is_empty());
    let high = groups_of(curb)
        .iter()
        .find_map(|g| fs::read_to_string(g.join("memory.high")).ok());
    let ran = end(child);
    match high.as_deref().map(str::trim) {
        Some(high) => assert_eq!(high, (200_u64 << 20).to_string()),
        None => assert!(
            ran.err
                .contains("not held: memory_high: it needs control groups of version 2"),
            "{}",
            ran.err
        ),
    }
}

#[test]
fn writing_to_its_disk_is_limited_or_it_is_said_that_it_is_not() {
    let chat = limits(
        "  io_write: {value: 4MiB/s, why: \"the test's\"}\n  io_read: {value: 64MiB/s, why: \"the test's\"}\n",
    );
    let child = chat.start("~1");
    let curb = child.id();
    wait_until("it runs", || !chat.all("started").is_empty());
    let groups = groups_of(curb);
    let of = |name: &str| {
        groups
            .iter()
            .find_map(|g| fs::read_to_string(g.join(name)).ok())
            .unwrap_or_default()
    };
    let (v1, v2) = (of("blkio.throttle.write_bps_device"), of("io.max"));
    let ran = end(child);
    let held = v1.trim().ends_with(" 4194304") || v2.contains("wbps=4194304");
    let said = ran
        .err
        .contains("reading and writing: its working directory is on no disk of its own")
        || ran.err.contains("not held: io_write");
    assert!(held != said, "{v1} {v2} {}", ran.err);
}

#[test]
fn a_file_that_is_wrong_runs_nothing_and_says_where() {
    let chat = limits("  memory: {value: 900TiB, why: \"the test's\"}\n");
    let ran = chat.run("+1");
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
    assert!(ran.err.contains("limits.yaml:5:23: error: "), "{}", ran.err);
}
