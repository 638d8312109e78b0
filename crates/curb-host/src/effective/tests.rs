use std::path::Path;

use curb_core::host::MilliCpu;
use curb_core::host::audit::Held;

use super::*;

/// A machine made of files: whatever is not written is not there.
struct Host {
    root: tempfile::TempDir,
}

const V2: &str = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
const V1: &str = "\
27 26 0:23 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct
28 26 0:24 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
29 26 0:25 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
";
const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units
Max data size             unlimited            unlimited            bytes
Max open files            1024                 1048576              files
Max address space         unlimited            unlimited            bytes
";

impl Host {
    fn new(mounts: &str) -> Host {
        let host = Host {
            root: tempfile::tempdir().expect("a directory"),
        };
        host.write("proc/self/mountinfo", mounts);
        host.write("proc/meminfo", "MemTotal: 16777216 kB\nSwapTotal: 0 kB\n");
        host.write("sys/devices/system/cpu/online", "0-3\n");
        host
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    fn process(&self, pid: u32, library: &str, group: &str) {
        let dir = format!("proc/{pid}");
        let stat = format!(
            "{pid} (python) S 1 7 5 0 -1 0 10 0 3 0 120 30 0 0 20 0 4 0 9000 1048576 256 1 1"
        );
        self.write(&format!("{dir}/stat"), &stat);
        self.write(
            &format!("{dir}/maps"),
            &format!("55-56 r-xp 00000000 fe:00 12 {library}\n"),
        );
        self.write(&format!("{dir}/status"), "Uid:\t1000\t1000\t1000\t1000\nVmRSS:\t1024 kB\nVmHWM:\t2048 kB\nCpus_allowed_list:\t0-1\n");
        self.write(&format!("{dir}/limits"), LIMITS);
        self.write(&format!("{dir}/oom_score_adj"), "0\n");
        self.write(&format!("{dir}/cgroup"), group);
        std::fs::create_dir_all(self.root.path().join(format!("{dir}/fd"))).expect("made");
    }

    fn survey(&self) -> Survey {
        survey(self.root.path(), &[]).expect("read")
    }

    fn one(&self) -> Subject {
        let mut survey = self.survey();
        assert_eq!(survey.subjects.len(), 1);
        survey.subjects.remove(0)
    }
}

const MLX: &str = "/opt/mlx/lib/libmlx.so";

fn by<T>(limit: &Effective<T>) -> &str {
    match limit {
        Effective::Held(Held { by, .. }) => by,
        Effective::Unlimited => "unlimited",
        Effective::Elsewhere { who } => who,
        Effective::Unknown { why } => why,
    }
}

#[test]
fn in_version_2_the_tightest_of_all_levels_wins_and_is_named() {
    let host = Host::new(V2);
    host.process(7, MLX, "0::/ml.slice/chat.service\n");
    let own = "sys/fs/cgroup/ml.slice/chat.service";
    host.write(&format!("{own}/memory.max"), "max\n");
    host.write(&format!("{own}/memory.swap.max"), "0\n");
    host.write(&format!("{own}/cpu.max"), "150000 100000\n");
    host.write(&format!("{own}/pids.max"), "max\n");
    host.write(&format!("{own}/memory.oom.group"), "1\n");
    host.write(&format!("{own}/memory.events"), "max 3\noom_kill 2\n");
    host.write(&format!("{own}/cpu.weight"), "50\n");
    host.write("sys/fs/cgroup/ml.slice/memory.max", "1073741824\n");
    host.write("sys/fs/cgroup/ml.slice/memory.current", "900000000\n");
    host.write(
        "sys/fs/cgroup/ml.slice/memory.stat",
        "anon 1\ninactive_file 100000000\n",
    );
    host.write("sys/fs/cgroup/ml.slice/cpu.max", "max 100000\n");
    host.write("sys/fs/cgroup/ml.slice/pids.max", "100\n");
    host.write("sys/fs/cgroup/ml.slice/other/cgroup.procs", "99\n");
    let subject = host.one();
    assert_eq!(subject.name, "chat.service");
    let memory = subject.memory.as_held().expect("held");
    assert_eq!(
        (memory.value, memory.by.as_str(), memory.shared),
        (Bytes::GIB, "/sys/fs/cgroup/ml.slice/memory.max", true)
    );
    assert_eq!(subject.used, Some(Bytes(800_000_000)));
    assert_eq!(by(&subject.swap), format!("/{own}/memory.swap.max"));
    assert_eq!(subject.cpu.as_held().map(|h| h.value), Some(MilliCpu(1500)));
    assert_eq!(by(&subject.tasks), "/sys/fs/cgroup/ml.slice/pids.max");
    assert_eq!(
        (subject.oom_whole, subject.oom_kills, subject.cpu_weight),
        (Some(true), Some(2), Some(50))
    );
    assert_eq!(
        (subject.cpu_set.as_deref(), subject.cpus),
        (Some("0-1"), Some(2))
    );
    assert_eq!(
        subject.members[0]
            .most_open_files
            .as_held()
            .map(|h| h.value),
        Some(1024)
    );
    assert_eq!(subject.members[0].resident_peak, Some(Bytes(2 << 20)));
}

#[test]
fn a_limit_above_that_nobody_else_is_under_is_not_shared() {
    let host = Host::new(V2);
    host.process(7, MLX, "0::/chat.service/worker\n");
    host.write("sys/fs/cgroup/chat.service/memory.max", "1000000\n");
    host.write("sys/fs/cgroup/chat.service/cgroup.procs", "");
    host.write("sys/fs/cgroup/chat.service/worker/cgroup.procs", "7\n");
    assert!(!host.one().memory.as_held().expect("held").shared);
    host.write("sys/fs/cgroup/chat.service/cgroup.procs", "8\n");
    assert!(host.one().memory.as_held().expect("held").shared);
}

#[test]
fn in_version_1_each_tree_is_looked_at_where_the_process_stands_in_it() {
    let host = Host::new(V1);
    for tree in ["cpu", "memory", "pids"] {
        host.write(&format!("sys/fs/cgroup/{tree}/release_agent"), "");
    }
    host.process(7, MLX, "3:memory:/a/b\n2:cpu,cpuacct:/\n1:pids:/p\n");
    let memory = "sys/fs/cgroup/memory";
    host.write(
        &format!("{memory}/a/b/memory.limit_in_bytes"),
        "9223372036854771712\n",
    );
    host.write(
        &format!("{memory}/a/b/memory.memsw.limit_in_bytes"),
        "300000000\n",
    );
    host.write(
        &format!("{memory}/a/b/memory.oom_control"),
        "oom_kill_disable 1\nunder_oom 0\noom_kill 4\n",
    );
    host.write(&format!("{memory}/a/memory.limit_in_bytes"), "200000000\n");
    host.write(&format!("{memory}/a/memory.use_hierarchy"), "1\n");
    host.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    host.write("sys/fs/cgroup/pids/p/pids.max", "12\n");
    let subject = host.one();
    assert_eq!(
        by(&subject.memory),
        "/sys/fs/cgroup/memory/a/memory.limit_in_bytes"
    );
    assert_eq!(
        subject.swap.as_held().map(|h| h.value),
        Some(Bytes(100_000_000))
    );
    assert_eq!(subject.cpu, Effective::Unlimited);
    assert_eq!(subject.tasks.as_held().map(|h| h.value), Some(12));
    assert_eq!(
        (subject.oom_killer_off, subject.oom_kills),
        (Some(true), Some(4))
    );
    // A group that is not hierarchical holds nothing below it.
    host.write(&format!("{memory}/a/memory.use_hierarchy"), "0\n");
    assert_eq!(host.one().memory, Effective::Unlimited);
}

#[test]
fn in_a_hybrid_limits_are_those_of_version_1() {
    let host = Host::new(&format!(
        "{V1}41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    ));
    for tree in ["cpu", "memory", "pids"] {
        host.write(&format!("sys/fs/cgroup/{tree}/release_agent"), "");
    }
    host.process(7, MLX, "4:memory:/\n2:cpu,cpuacct:/x\n1:pids:/\n0::/x\n");
    host.write("sys/fs/cgroup/unified/x/cpu.max", "1000 100000\n");
    host.write("sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "200000\n");
    host.write("sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000\n");
    let subject = host.one();
    assert_eq!(by(&subject.cpu), "/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us");
    assert_eq!(subject.memory, Effective::Unlimited);
}

#[test]
fn in_a_container_what_is_above_cannot_be_seen_and_is_unknown() {
    let host = Host::new(V2);
    // Its name space's root is no root: it has what only groups below one have.
    host.write("sys/fs/cgroup/cgroup.events", "populated 1\n");
    host.process(7, MLX, "0::/\n");
    let subject = host.one();
    assert_eq!(
        by(&subject.memory),
        "what is above /sys/fs/cgroup cannot be seen from here"
    );
    host.write("sys/fs/cgroup/memory.max", "1073741824\n");
    let subject = host.one();
    let memory = subject.memory.as_held().expect("held");
    assert_eq!((memory.value, memory.unread.is_some()), (Bytes::GIB, true));
    // One of another name space, and one whose mount shows only a part.
    let host = Host::new("30 24 0:26 /docker/ab /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    host.process(7, MLX, "0::/docker/abc\n");
    assert!(by(&host.one().memory).contains("outside of what is mounted"));
    let host = Host::new(V2);
    host.write("sys/fs/cgroup/cgroup.procs", "");
    host.process(7, MLX, "0::/../../other\n");
    assert!(
        by(&host.one().memory).contains("outside of what is seen"),
        "{:?}",
        host.one().memory
    );
}

#[test]
fn what_cannot_be_read_or_means_nothing_is_unknown_and_not_unlimited() {
    let host = Host::new(V2);
    host.process(7, MLX, "0::/a\n");
    let own = "sys/fs/cgroup/a";
    host.write(&format!("{own}/memory.max"), "much\n");
    // A directory in the place of a file.
    host.write(&format!("{own}/pids.max/x"), "");
    host.write(&format!("{own}/cpu.max"), "12\n");
    host.write("proc/7/limits", "");
    let subject = host.one();
    for (limit, said) in [
        (by(&subject.memory), "memory.max says `much`"),
        (by(&subject.tasks), "pids.max: "),
        (by(&subject.cpu), "cpu.max says `12`"),
        (
            by(&subject.members[0].most_open_files),
            "says nothing of `Max open files`",
        ),
    ] {
        assert!(limit.contains(said), "{limit}");
    }
    assert!(matches!(subject.memory, Effective::Unknown { .. }));
    // A group that is gone, and one that is a link.
    std::fs::remove_dir_all(host.root.path().join(own)).expect("removed");
    assert!(matches!(host.one().memory, Effective::Unknown { .. }));
    host.write("elsewhere/memory.max", "1000\n");
    std::os::unix::fs::symlink("../../../elsewhere", host.root.path().join(own)).expect("a link");
    assert!(Path::new(&host.root.path().join(own).join("memory.max")).exists());
    assert!(matches!(host.one().memory, Effective::Unknown { .. }));
}

#[test]
fn processes_of_one_group_are_one_subject_and_others_are_left_alone() {
    let host = Host::new(V2);
    host.process(7, MLX, "0::/a\n");
    host.process(8, "/opt/torch/lib/libtorch_cpu.so", "0::/a\n");
    host.process(9, "/usr/bin/bash", "0::/a\n");
    host.process(10, MLX, "0::/curb-chat-12/x\n");
    let survey = host.survey();
    let told: Vec<_> = survey
        .subjects
        .iter()
        .map(|s| (s.name.as_str(), s.members.len()))
        .collect();
    assert_eq!(told, [("curb-chat-12", 1), ("python (pid 7)", 2)]);
    assert_eq!(
        survey.subjects[1].frameworks,
        [Framework::Mlx, Framework::Torch]
    );
    assert_eq!(survey.machine.memory, Some(Bytes(16 << 30)));
    assert_eq!(
        (survey.machine.swap, survey.machine.cpus),
        (Some(Bytes(0)), Some(4))
    );
    let asked = super::survey(host.root.path(), &[9, 11]).expect("read");
    assert_eq!((asked.subjects.len(), asked.absent), (1, vec![11]));
}

#[test]
fn our_own_groups_are_read_as_the_kernel_has_them() {
    let own = std::process::id();
    let survey = survey(Path::new("/"), &[own]).expect("read");
    let subject = &survey.subjects[0];
    assert_eq!(subject.members[0].pid, own);
    assert!(survey.machine.memory.is_some() && survey.machine.cpus.is_some());
    assert!(subject.cpus.is_some());
}

#[test]
fn a_workload_of_its_own_is_told_by_its_group_and_others_by_their_processes() {
    let host = Host::new(V2);
    host.process(7, MLX, "0::/curb-chat-1-2\n");
    host.process(8, "/usr/bin/sleep", "0::/curb-chat-1-2\n");
    host.process(9, MLX, "0::/shared\n");
    host.process(10, "/usr/bin/sleep", "0::/shared\n");
    let own = "sys/fs/cgroup/curb-chat-1-2";
    host.write(&format!("{own}/memory.current"), "5000\n");
    host.write(&format!("{own}/memory.max"), "9000\n");
    host.write(&format!("{own}/memory.events"), "max 3\noom_kill 1\n");
    host.write(
        &format!("{own}/cpu.stat"),
        "usage_usec 77\nnr_throttled 4\n",
    );
    host.write(&format!("{own}/pids.current"), "12\n");
    host.write("sys/fs/cgroup/shared/memory.current", "1000000000\n");
    let (mut all, _) = workloads(host.root.path()).expect("read");
    all.sort_by(|a, b| a.name.cmp(&b.name));
    let [chat, other] = &all[..] else {
        panic!("two: {all:?}")
    };
    assert_eq!(
        (chat.name.as_str(), chat.processes, chat.memory),
        ("curb-chat-1-2", 2, Some(Bytes(5000)))
    );
    assert_eq!(
        (chat.memory_from, &chat.cpu, chat.tasks),
        (MemoryFrom::Group, &CpuUsed::Group(77), Some(12))
    );
    assert_eq!(
        (chat.counts.killed, chat.counts.memory, chat.counts.cpu),
        (Some(1), Some(3), Some(4))
    );
    assert_eq!(
        (other.processes, other.memory, other.memory_from),
        (1, Some(Bytes(1 << 20)), MemoryFrom::Resident)
    );
    let ticks = [((9, 9000), 150)].into();
    assert_eq!(
        (&other.cpu, other.tasks),
        (&CpuUsed::Processes(ticks), Some(4))
    );
}

#[test]
fn every_group_that_curb_made_is_a_workload_whatever_runs_in_it() {
    let host = Host::new(V2);
    host.process(7, "/usr/bin/sleep", "0::/user.slice/curbed-chat-1-2-3-1\n");
    host.process(8, "/usr/bin/sleep", "0::/curbagent.groups/curbagent-llm\n");
    host.process(
        9,
        "/usr/bin/sleep",
        "0::/s/session-3.scope/curb-run-4-5-6-1\n",
    );
    // The supervisor's own leaf, the agent itself, and somebody else's.
    host.process(10, "/usr/bin/curb", "0::/s/curb-supervisor-4\n");
    host.process(11, "/usr/bin/curb", "0::/curbagent.self\n");
    host.process(12, "/usr/bin/sleep", "0::/s/session-3.scope\n");
    let (all, _) = workloads(host.root.path()).expect("read");
    let mut names: Vec<_> = all.iter().map(|r| r.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["curb-run-4-5-6-1", "curbagent-llm", "curbed-chat-1-2-3-1"]
    );
    let in_a_session = all.iter().find(|r| r.key.contains("curb-run"));
    assert_eq!(
        in_a_session.expect("told").memory_from,
        MemoryFrom::Resident
    );
}
