//! Looking at files that look like the kernel's, at real processes, and at GPUs that a library of ours makes up.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use curb_core::host::Permille;
use curb_core::host::sample::{GpuSample, Gpus, MachineSample};

use super::*;

struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    fn new() -> Tree {
        let dir = tempfile::tempdir().expect("a directory");
        Tree { dir }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// A process with so many ticks of CPU time and pages in memory.
    fn process(&self, pid: u32, start: u64, ticks: u64, pages: u64) {
        let line = |pid: u32, ticks: u64| {
            format!(
                "{pid} (a (b) c) S 1 {pid} {pid} 0 -1 0 0 0 3 0 {ticks} 1 0 0 20 0 2 0 {start} 999999 {pages} 0"
            )
        };
        self.write(&format!("{pid}/stat"), &line(pid, ticks));
        self.write(
            &format!("{pid}/statm"),
            &format!("100000 {pages} 40 1 0 50 0\n"),
        );
        self.write(
            &format!("{pid}/io"),
            "rchar: 1\nread_bytes: 8192\nwrite_bytes: 4096\n",
        );
        for fd in 0..3 {
            self.write(&format!("{pid}/fd/{fd}"), "");
        }
        self.write(&format!("{pid}/task/{pid}/stat"), &line(pid, ticks));
        self.write(&format!("{pid}/task/{}/stat", pid + 1), &line(pid + 1, 5));
    }

    fn sampler(&self, shares: bool) -> Sampler {
        let detail = Detail {
            threads: true,
            shares,
        };
        Sampler::at(self.dir.path(), detail).expect("there")
    }
}

#[test]
fn processes_are_added_and_what_is_not_there_is_not_known() {
    let tree = Tree::new();
    tree.process(10, 77, 100, 250);
    tree.process(20, 78, 50, 500);
    fs::remove_file(tree.path("20/io")).expect("removed");
    fs::remove_dir_all(tree.path("20/fd")).expect("removed");
    let sample = tree.sampler(false).look(&[10, 20, 30], None);
    let page = rustix::param::page_size() as u64;
    assert_eq!(sample.processes.len(), 2, "the third has ended");
    let (a, b) = (&sample.processes[0], &sample.processes[1]);
    assert_eq!((a.name.as_str(), a.cpu), ("a (b) c", Micros(1_010_000)));
    assert_eq!(
        (a.resident, a.shared),
        (Bytes(250 * page), Bytes(40 * page))
    );
    assert_eq!((a.read, a.written), (Some(Bytes(8192)), Some(Bytes(4096))));
    assert_eq!((b.read, b.open_files), (None, None));
    let threads: Vec<(u32, u64)> = a.each_thread.iter().map(|t| (t.tid, t.cpu.0)).collect();
    assert_eq!(threads, [(10, 1_010_000), (11, 60_000)]);
    let all = sample.tree;
    assert_eq!(
        (all.memory_as, all.memory),
        (MemoryAs::Rss, Some(Bytes(750 * page)))
    );
    assert_eq!((all.threads, all.open_files), (4, Some(3)));
    assert_eq!(
        (all.cpu, all.peak, all.page_cache, all.needed),
        (None, None, None, None)
    );
    assert_eq!(sample.machine, MachineSample::default());
}

#[test]
fn a_number_that_another_process_has_got_is_another_process() {
    let tree = Tree::new();
    tree.process(10, 77, 100, 250);
    let mut sampler = tree.sampler(false);
    let first = sampler.look(&[10], None).processes[0].id;
    fs::rename(tree.path("10"), tree.path("old")).expect("moved");
    fs::remove_dir_all(tree.path("old")).expect("removed");
    tree.process(10, 99, 1, 1);
    let second = sampler.look(&[10], None).processes[0].id;
    assert_eq!((first.start, second.start), (77, 99));
}

#[test]
fn shares_of_memory_are_read_once_and_followed_by_what_is_resident() {
    let tree = Tree::new();
    let page = rustix::param::page_size() as u64;
    tree.process(10, 77, 1, 1000);
    tree.write(
        "10/smaps_rollup",
        &format!("Rss: 1 kB\nPss: {} kB\n", 600 * page / 1024),
    );
    let mut sampler = tree.sampler(true);
    let all = sampler.look(&[10], None).tree;
    assert_eq!(
        (all.memory_as, all.memory),
        (MemoryAs::Pss, Some(Bytes(600 * page)))
    );
    tree.write("10/statm", "100000 1500 40 1 0 50 0\n");
    let all = sampler.look(&[10], None).tree;
    assert_eq!(
        all.memory,
        Some(Bytes(1100 * page)),
        "400 pages are others'"
    );
    // One whose share may not be read: the sum is of what is resident, and says so.
    tree.process(20, 78, 1, 100);
    let all = sampler.look(&[10, 20], None).tree;
    assert_eq!(
        (all.memory_as, all.memory),
        (MemoryAs::Rss, Some(Bytes(1600 * page)))
    );
}

#[test]
fn a_group_of_version_1_and_of_version_2_tells_what_it_charges() {
    let tree = Tree::new();
    tree.process(10, 77, 1, 1);
    tree.write("10/statm", "100000 1 0 1 0 50 0\n");
    tree.write("v1/memory/memory.usage_in_bytes", "1000000\n");
    tree.write("v1/memory/memory.max_usage_in_bytes", "2000000\n");
    let stat = "cache 1\ninactive_file 1\ntotal_cache 300000\ntotal_inactive_file 250000\n";
    tree.write("v1/memory/memory.stat", stat);
    tree.write("v1/cpu/cpuacct.usage", "123456789\n");
    tree.write("v1/cpu/cpu.stat", "nr_periods 0\nnr_throttled 0\n");
    let (memory, cpu) = (tree.path("v1/memory"), tree.path("v1/cpu"));
    let v1 = GroupFiles::at(&[&cpu, &memory]);
    let mut sampler = tree.sampler(true);
    let all = sampler.look(&[10], Some(&v1)).tree;
    assert_eq!(
        (all.memory_as, all.memory),
        (MemoryAs::Charged, Some(Bytes(1_000_000)))
    );
    assert_eq!(
        (all.needed, all.page_cache),
        (Some(Bytes(750_000)), Some(Bytes(300_000)))
    );
    assert_eq!(
        (all.peak, all.cpu, all.stalled),
        (Some(Bytes(2_000_000)), Some(Micros(123_456)), None)
    );

    tree.write("v2/memory.current", "1000000\n");
    tree.write(
        "v2/memory.stat",
        "anon 700000\nfile 300000\nactive_file 50000\ninactive_file 250000\n",
    );
    tree.write("v2/cpu.stat", "usage_usec 4242\nuser_usec 1\n");
    let some = "some avg10=0.00 avg60=0.00 avg300=0.00 total=99\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n";
    tree.write("v2/memory.pressure", some);
    let dir = tree.path("v2");
    let v2 = GroupFiles::at(&[&dir]);
    let all = sampler.look(&[10], Some(&v2)).tree;
    assert_eq!(
        (all.needed, all.page_cache),
        (Some(Bytes(750_000)), Some(Bytes(300_000)))
    );
    tree.write("10/statm", "100000 50 40 1 0 50 0\n");
    // Libraries that somebody else's group pays for count as well: 40 pages of the process are mapped, 12 charged here.
    tree.write(
        "v2/memory.stat",
        "anon 700000\nfile 50000\nactive_file 50000\ninactive_file 0\n",
    );
    let with_libraries = sampler.look(&[10], Some(&v2)).tree.needed;
    let page = rustix::param::page_size() as u64;
    assert_eq!(with_libraries, Some(Bytes(950_000 + 40 * page)));
    // This kernel has no `memory.peak`.
    assert_eq!(
        (all.peak, all.cpu, all.stalled),
        (None, Some(Micros(4242)), Some(Micros(99)))
    );
    assert!(!v2.reset_peak() && v1.reset_peak());
    assert_eq!(
        fs::read_to_string(memory.join("memory.max_usage_in_bytes")).expect("there"),
        "0"
    );
    // A group that vanished: nothing of it is known, and the processes still are.
    fs::remove_dir_all(&dir).expect("removed");
    let all = sampler.look(&[10], Some(&v2)).tree;
    assert_eq!((all.memory_as, all.cpu), (MemoryAs::Rss, None));
}

#[test]
fn the_machine_is_read_from_its_files() {
    let tree = Tree::new();
    tree.write(
        "meminfo",
        "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:    600 kB\n",
    );
    tree.write("stat", "cpu  1 2 3 4000 500 6 7 8 9 10\ncpu0 1\n");
    let sample = tree.sampler(false).look(&[], None);
    let machine = sample.machine;
    assert_eq!(
        (machine.memory, machine.available),
        (Some(Bytes(1_024_000)), Some(Bytes(614_400)))
    );
    assert_eq!(machine.cpu, Some(Micros(27 * 10_000)));
    assert_eq!(sample.tree.memory, None, "of no process nothing is known");
}

struct Family(Child);

impl Drop for Family {
    fn drop(&mut self) {
        // Our own child and its group, which it leads.
        let pid = i32::try_from(self.0.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ended = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
        let _ended = self.0.wait();
    }
}

#[test]
fn real_processes_below_one_are_found_and_looking_at_them_is_cheap() {
    use std::os::unix::process::CommandExt;
    let script = "sleep 60 & (sleep 60 & wait) & echo started; wait";
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .process_group(0)
        .stdout(Stdio::piped());
    let mut family = Family(command.spawn().expect("started"));
    let mut line = [0_u8; 8];
    let out = family.0.stdout.as_mut().expect("piped");
    std::io::Read::read_exact(out, &mut line).expect("it says so");
    let procfs = Procfs::open().expect("there");
    let root = family.0.id();
    let until = Instant::now() + Duration::from_secs(10);
    let mut all = descendants(&procfs, &[root]);
    while all.len() < 3 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
        all = descendants(&procfs, &[root]);
    }
    assert_eq!(all.len(), 3, "two that sleep and a shell: {all:?}");
    assert!(!all.contains(&root));
    assert_eq!(
        tree::by_parents(&procfs, &[root]),
        all,
        "both ways find the same"
    );
    let detail = Detail {
        threads: true,
        shares: true,
    };
    let mut sampler = Sampler::new(detail).expect("a /proc");
    let pids: Vec<u32> = all.iter().copied().chain([root]).collect();
    for _ in 0..50 {
        let sample = sampler.look(&pids, None);
        assert_eq!(sample.processes.len(), 4);
        assert_eq!(sample.tree.memory_as, MemoryAs::Pss);
    }
    let cost = sampler.cost();
    println!(
        "a look at four processes: {} us",
        (cost.cpu / 50).as_micros()
    );
    assert!(cost.cpu / 50 < Duration::from_millis(5), "{cost:?}");
}

const NVML: &str = r#"
#include <string.h>
typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } memory_t;
typedef struct { unsigned int gpu, memory; } use_t;
typedef struct { unsigned int pid; unsigned long long used; unsigned int gi, ci; } process_t;
int nvmlInit_v2(void) { return INIT; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *n) { *n = COUNT; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int i, void **d) { *d = (void *)(unsigned long)(i + 1); return 0; }
int nvmlDeviceGetName(void *d, char *name, unsigned int n) { strncpy(name, "Fake H100", n); return 0; }
int nvmlDeviceGetMemoryInfo_v2(void *d, memory_t *m) { m->total = 80ULL << 30; m->used = 3ULL << 30; m->free = 77ULL << 30; return 0; }
int nvmlDeviceGetUtilizationRates(void *d, use_t *u) { if (d == (void *)2) return 3; u->gpu = 42; u->memory = 7; return 0; }
int nvmlDeviceGetComputeRunningProcesses_v3(void *d, unsigned int *n, process_t *p) {
  if (p && *n >= 2) { p[0] = (process_t){10, 1ULL << 30, 0, 0}; p[1] = (process_t){99, 2ULL << 30, 0, 0}; }
  int fits = p && *n >= 2; *n = 2; return fits ? 0 : 7;
}
"#;

fn library(tree: &Tree, init: &str, count: &str) -> PathBuf {
    tree.write("nvml.c", NVML);
    let (source, made) = (
        tree.path("nvml.c"),
        tree.path(&format!("libnvml-{init}-{count}.so")),
    );
    let status = Command::new("gcc")
        .args([
            "-shared",
            "-fPIC",
            "-w",
            &format!("-DINIT={init}"),
            &format!("-DCOUNT={count}"),
            "-o",
        ])
        .args([&made, &source])
        .status()
        .expect("gcc runs");
    assert!(status.success());
    made
}

#[test]
fn gpus_are_told_where_there_is_a_library_for_them_and_what_it_does_not_say_is_not_known() {
    let tree = Tree::new();
    let now = Instant::now();
    let look = |init: &str, count: &str| {
        let library = library(&tree, init, count);
        GpuReader::at(library.as_os_str()).look(&[10, 11], now)
    };
    let gpu = |index, busy| GpuSample {
        index,
        model: "Fake H100".into(),
        used: Some(Bytes(3 << 30)),
        own: Some(Bytes(1 << 30)),
        busy,
    };
    assert_eq!(
        look("0", "2"),
        Gpus::Seen(vec![gpu(0, Some(Permille(420))), gpu(1, None)])
    );
    assert_eq!(look("0", "0"), Gpus::NoneSeen);
    // 9: no driver is loaded. 4: no permission.
    assert_eq!(look("9", "1"), Gpus::NoneSeen);
    let Gpus::Unknown(why) = look("4", "1") else {
        panic!("it is not known")
    };
    assert!(why.starts_with("NVML does not start: "), "{why}");
    let absent = tree.path("no-such-library.so");
    assert_eq!(
        GpuReader::at(absent.as_os_str()).look(&[10], now),
        Gpus::NoneSeen
    );
}
