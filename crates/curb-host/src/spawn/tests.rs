use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::WaitStatus;

use super::*;

/// Runs it, with its output to a file; that, and how it ended.
fn ran(command: &[OsString], mut entry: Entry) -> (String, WaitStatus) {
    let dir = tempfile::tempdir().expect("a directory");
    let out = dir.path().join("out");
    entry.stdout = Some(File::create(&out).expect("made").into());
    let pid = spawn(command, &[("CURB_TEST".into(), "x=y".into())], &entry).expect("it starts");
    let (_, status) = waitpid(Some(pid), WaitOptions::empty())
        .expect("it is ours")
        .expect("it ended");
    (fs::read_to_string(&out).expect("text"), status)
}

fn words(all: &[&str]) -> Vec<OsString> {
    all.iter().map(OsString::from).collect()
}

fn sh(text: &str) -> Vec<OsString> {
    words(&["sh", "-c", text])
}

/// Children of this process that never became another program, hence have this thread's name.
fn stillborn() -> usize {
    let comm = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let own = (std::process::id(), comm("/proc/thread-self/comm"));
    let procfs = crate::proc::Procfs::open().expect("/proc");
    let pids = procfs.pids().expect("processes").into_iter();
    pids.filter(|pid| {
        let parent = procfs
            .process(*pid)
            .and_then(|p| p.stat())
            .map(|s| s.parent);
        parent.is_ok_and(|p| p == own.0) && comm(&format!("/proc/{pid}/comm")) == own.1
    })
    .count()
}

#[test]
fn arguments_and_variables_are_the_commands_and_ours_beside_them() {
    let text = "echo \"$0 $1 $2 $CURB_TEST ${PATH:+path}\"";
    let command = words(&["sh", "-c", text, "a b", "", "c"]);
    let (out, status) = ran(&command, Entry::default());
    assert_eq!(
        (out.as_str(), status.exit_status()),
        ("a b  c x=y path\n", Some(0))
    );
}

#[test]
fn no_signal_is_blocked_or_ignored_and_what_it_reads_is_what_it_was_given() {
    let text = "grep -E 'Sig(Blk|Ign)' /proc/self/status; cat";
    let dir = tempfile::tempdir().expect("a directory");
    let input = dir.path().join("in");
    fs::write(&input, "given\n").expect("written");
    let entry = Entry {
        stdin: Some(File::open(&input).expect("there").into()),
        ..Entry::default()
    };
    let (out, _) = ran(&sh(text), entry);
    let mask = |name: &str| {
        let line = out.lines().find_map(|l| l.strip_prefix(name));
        u64::from_str_radix(line.expect("a line").trim(), 16).expect("a mask")
    };
    assert_eq!(mask("SigBlk:"), 0);
    // Whatever else whoever started us ignores.
    assert_eq!(mask("SigIgn:") >> (libc::SIGPIPE - 1) & 1, 0, "{out}");
    assert!(out.ends_with("given\n"), "{out}");
}

#[test]
fn who_is_not_there_or_may_not_be_run_is_told_as_that_and_leaves_no_child() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = dir.path().join("script");
    fs::write(&script, "exit 0").expect("written");
    let why = |name: &Path| {
        spawn(&[name.into()], &[], &Entry::default())
            .expect_err("no")
            .kind()
    };
    assert_eq!(why(Path::new("/no/such/program")), io::ErrorKind::NotFound);
    assert_eq!(
        why(Path::new("no-such-program-anywhere")),
        io::ErrorKind::NotFound
    );
    assert_eq!(why(&script), io::ErrorKind::PermissionDenied);
    assert_eq!(why(Path::new("a\0b")), io::ErrorKind::InvalidInput);
    assert_eq!(stillborn(), 0);
}

#[test]
fn a_script_that_names_no_interpreter_is_the_shells() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = dir.path().join("script");
    fs::write(&script, "echo \"from sh: $1\"\n").expect("written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("made so");
    let command = [script.into_os_string(), "x".into()];
    assert_eq!(ran(&command, Entry::default()).0, "from sh: x\n");
}

#[test]
fn if_nobody_can_be_born_into_the_group_it_moves_itself_there_before_it_runs() {
    // No group, hence the kernel refuses a birth; its files take what is written to them.
    let dir = tempfile::tempdir().expect("a directory");
    let tasks = dir.path().join("tasks");
    for file in [&tasks, &dir.path().join("cgroup.procs")] {
        fs::write(file, "").expect("written");
    }
    let entry = Entry {
        doors: Doors {
            birth: Some(dir.path().to_path_buf()),
            tasks: vec![tasks.clone()],
        },
        ..Entry::default()
    };
    let text = format!("cat {0}/tasks {0}/cgroup.procs", dir.path().display());
    assert_eq!(ran(&sh(&text), entry).0, "00");
}

#[test]
fn a_door_that_is_shut_is_named_and_nothing_runs() {
    let entry = Entry {
        doors: Doors {
            birth: None,
            tasks: vec!["/no/such/group/tasks".into()],
        },
        ..Entry::default()
    };
    let why = spawn(&sh("exit 0"), &[], &entry).expect_err("no");
    assert!(why.to_string().contains("/no/such/group/tasks"), "{why}");
}

#[test]
fn it_is_killed_when_the_thread_that_started_it_ends() {
    let thread = std::thread::spawn(|| spawn(&sh("exec sleep 600"), &[], &Entry::default()));
    let pid = thread.join().expect("it ends").expect("started");
    let (_, status) = waitpid(Some(pid), WaitOptions::empty())
        .expect("ours")
        .expect("ended");
    assert_eq!(status.terminating_signal(), Some(9));
}
