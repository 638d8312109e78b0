use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::*;
use crate::limits::Bytes;

fn own() -> Process {
    let all = Procfs::open().expect("/proc");
    all.process(std::process::id()).expect("ourselves")
}

#[test]
fn we_see_ourselves_as_we_are() {
    let process = own();
    let stat = process.stat().expect("stat");
    assert_eq!(stat.parent, std::os::unix::process::parent_id());
    assert_eq!(stat.start, process.id().start);
    let statm = process.statm().expect("statm");
    assert!(statm.resident > 0 && statm.resident <= statm.size);
    let status = process.status().expect("status");
    assert_eq!(status.user, Some(rustix::process::geteuid().as_raw()));
    assert!(status.resident_peak >= status.resident);
    assert_eq!(
        process.program().expect("exe"),
        std::env::current_exe().expect("our program")
    );
    let arguments: Vec<OsString> = std::env::args_os().collect();
    assert_eq!(process.arguments().expect("cmdline"), arguments);
    assert!(process.open_files().expect("fd") >= 3);
    assert!(process.io().expect("io").read_called > Some(Bytes(0)));
    let threads = process.threads().expect("task");
    assert!(threads.iter().any(|(tid, _)| *tid == process.id().pid));
    let mapped = process.mapped_files().expect("maps");
    assert!(mapped.contains(&process.program().expect("exe")));
    assert!(process.pss().expect("smaps_rollup").all > Some(Bytes(0)));
}

#[test]
fn one_that_has_ended_gives_no_reading_and_cannot_be_signalled() {
    let mut child = Command::new("sleep")
        .arg("600")
        .stdin(Stdio::null())
        .spawn()
        .expect("sleep(1)");
    let all = Procfs::open().expect("/proc");
    let process = all.process(child.id()).expect("the child");
    let handle = process.handle().expect("a handle");
    assert!(!handle.has_ended());
    handle.signal(Signal::KILL).expect("ours to signal");
    child.wait().expect("it ended");
    assert!(handle.has_ended());
    assert!(process.stat().is_err());
    assert!(process.handle().is_err());
    assert!(handle.signal(Signal::KILL).is_err());
    assert!(all.same(process.id()).is_err());
}

#[test]
fn a_number_that_is_another_s_now_is_not_taken_for_the_one_that_was_meant() {
    let meant = ProcId {
        start: own().id().start - 1,
        ..own().id()
    };
    let all = Procfs::open().expect("/proc");
    let error = all.same(meant).expect_err("not the same");
    assert_eq!(
        error.raw_os_error(),
        Some(rustix::io::Errno::SRCH.raw_os_error())
    );
    assert!(all.same(own().id()).is_ok());
}

#[test]
fn a_variable_is_found_by_its_whole_name() {
    let mut child = Command::new("sleep")
        .arg("600")
        .env_clear()
        .env("CURB_WORKLOAD", "chat=2")
        .spawn()
        .expect("sleep(1)");
    let all = Procfs::open().expect("/proc");
    let process = all.process(child.id()).expect("the child");
    let found = process.variable("CURB_WORKLOAD");
    let part = process.variable("CURB");
    child.kill().expect("our own child");
    child.wait().expect("it ended");
    assert_eq!(found.expect("environ"), Some(OsString::from("chat=2")));
    assert_eq!(part.expect("environ"), None);
}

/// A tree of files that looks like `/proc`.
fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Procfs) {
    let root = tempfile::tempdir().expect("a directory");
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    let all = Procfs::at(root.path()).expect("opened");
    (root, all)
}

const STAT: &str = "7 (a) b (c) S 1 7 5 0 -1 4194304 10 0 3 0 120 30 0 0 20 0 4 0 9000 1048576 256 18446744073709551615 1";

#[test]
fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
    let (_root, all) = tree(&[("7/stat", STAT), ("self/stat", "x"), ("meminfo", "")]);
    assert_eq!(all.pids().expect("numbers"), [7]);
    let process = all.process(7).expect("read");
    assert_eq!(
        process.id(),
        ProcId {
            pid: 7,
            start: 9000
        }
    );
    let expected = Stat {
        name: "a) b (c".to_owned(),
        state: 'S',
        parent: 1,
        session: 5,
        user_ticks: 120,
        system_ticks: 30,
        major_faults: 3,
        threads: 4,
        start: 9000,
        resident_pages: 256,
    };
    assert_eq!(process.stat().expect("stat"), expected);
}

#[test]
fn what_is_cut_short_is_an_error_and_what_is_missing_is_not_known() {
    for stat in [
        "",
        "7 (a",
        "7 (a) S 1",
        ")(",
        "7 (a) S x 7 5 0 -1 0 0 0 0 0 1 1 0 0 0 0 1 0 9 0 1",
    ] {
        let (_root, all) = tree(&[("7/stat", stat)]);
        assert!(all.process(7).is_err(), "{stat:?}");
    }
    let (_root, all) = tree(&[
        ("7/stat", STAT),
        ("7/status", "Uid:\t0\nVmRSS:\t 12 kB\nVmHWM: many kB\n"),
        ("7/statm", "1 2"),
    ]);
    let process = all.process(7).expect("read");
    let status = process.status().expect("status");
    assert_eq!(status.resident, Some(Bytes(12 << 10)));
    assert_eq!((status.user, status.resident_peak), (None, None));
    assert!(process.statm().is_err());
    assert!(process.io().is_err());
}

#[test]
fn a_link_in_the_place_of_a_file_or_a_directory_is_refused() {
    let (root, all) = tree(&[
        ("elsewhere/stat", STAT),
        ("8/stat", STAT),
        ("secret", "1 2 3"),
    ]);
    symlink("elsewhere", root.path().join("9")).expect("a link");
    symlink("../secret", root.path().join("8/statm")).expect("a link");
    assert!(all.process(9).is_err());
    let process = all.process(8).expect("a directory");
    assert!(process.statm().is_err());
}

#[test]
fn each_mapped_file_is_told_once_and_other_maps_are_not() {
    let maps = "\
5500-5600 r-xp 00000000 fe:00 12 /usr/bin/python3.11
5600-5700 rw-p 00001000 fe:00 12 /usr/bin/python3.11
5700-5800 rw-p 00000000 00:00 0 [heap]
5800-5900 r-xp 00000000 fe:00 13 /opt/a b/libmlx.so
5900-6000 rw-p 00000000 00:00 0
";
    let (_root, all) = tree(&[("7/stat", STAT), ("7/maps", maps)]);
    let mapped = all.process(7).expect("read").mapped_files().expect("maps");
    assert_eq!(
        mapped,
        [
            PathBuf::from("/opt/a b/libmlx.so"),
            PathBuf::from("/usr/bin/python3.11")
        ]
    );
}
