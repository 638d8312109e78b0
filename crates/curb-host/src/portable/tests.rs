//! The watchdog for hosts without control groups, on processes of this one: Linux is the platform here.

use std::cell::RefCell;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use curb_core::host::ladder::{Event, What};

use super::*;
use crate::ending::{Ending, Exit};
use crate::plan::{Plan, RunError};
use crate::proc::Procfs;

const MIB: u64 = 1 << 20;

/// This host, by /proc.
#[derive(Default)]
struct Here {
    /// How long it takes to look.
    late: Duration,
    wired: Option<Bytes>,
    /// What `launch` was asked for.
    launched: RefCell<Vec<Bytes>>,
}

impl Platform for Here {
    fn launch(&self, command: &[OsString], memory: Bytes) -> Option<Vec<OsString>> {
        self.launched.borrow_mut().push(memory);
        by_taskpolicy(Path::new("/usr/bin/env"), command, memory).map(|mut words| {
            words.splice(1..3, []);
            words
        })
    }

    fn children(&self, pid: u32) -> Vec<u32> {
        let procfs = Procfs::open().expect("/proc");
        let parent = |pid: u32| procfs.process(pid).and_then(|p| p.stat()).map(|s| s.parent);
        let all = procfs.pids().expect("processes");
        all.into_iter()
            .filter(|p| parent(*p).is_ok_and(|parent| parent == pid))
            .collect()
    }

    fn look(&self, pid: u32) -> Option<Seen> {
        std::thread::sleep(self.late);
        let process = Procfs::open().ok()?.process(pid).ok()?;
        let stat = process
            .stat()
            .ok()
            .filter(|s| !matches!(s.state, 'Z' | 'X'))?;
        Some(Seen {
            id: Id {
                pid,
                start: process.id().start,
            },
            memory: Bytes(stat.resident_pages * 4096),
            cpu: Duration::from_millis((stat.user_ticks + stat.system_ticks) * 10),
            threads: stat.threads,
        })
    }

    fn wired(&self) -> Option<Bytes> {
        self.wired
    }
}

fn sh(text: &str) -> Plan {
    Plan {
        grace: Duration::from_secs(10),
        ..Plan::new(["/bin/sh", "-c", text].map(OsString::from).to_vec())
    }
}

/// Runs it; its end, and all that was told.
fn ran(mut plan: Plan) -> (Ending, Vec<Event>) {
    let (tell, told) = sync_channel(100);
    plan.observers.push(Box::new(move |event: &Event| {
        let _the_test_is_over = tell.send(event.clone());
    }));
    let ending = run(plan, &Here::default()).expect("it runs");
    (ending, told.try_iter().collect())
}

fn sum(memory: u64, tasks: u64) -> Sum {
    Sum {
        memory: Bytes(memory),
        tasks,
        cpu: Duration::ZERO,
    }
}

#[test]
fn the_exit_code_of_a_command_is_told_and_who_is_not_there_is_not_run() {
    let (ending, told) = ran(sh("exit 7"));
    assert_eq!(ending.exit, Exit::Code(7));
    assert!(matches!(
        told.last().map(|e| &e.what),
        Some(What::Died {
            exit_code: Some(7),
            ..
        })
    ));
    let plan = Plan::new(vec!["/no/such/program".into()]);
    let refused = run(plan, &Here::default());
    assert!(matches!(refused, Err(RunError::NotFound(name)) if name == "/no/such/program"));
}

#[test]
fn a_command_that_has_ended_before_anybody_looked_has_its_own_code() {
    let here = Here {
        late: Duration::from_millis(300),
        ..Here::default()
    };
    assert_eq!(
        run(sh("exit 5"), &here).expect("it runs").exit,
        Exit::Code(5)
    );
}

#[test]
fn a_tree_at_its_limit_is_asked_to_end_and_killed_after_its_grace_though_it_does_not_listen() {
    let mut plan = sh(
        "trap '' TERM; x=$(head -c 67108864 /dev/zero | tr '\\0' a); while :; do sleep 0.1; done",
    );
    plan.limits.memory = Some(Bytes(60 * MIB));
    plan.grace = Duration::from_millis(300);
    let begun = Instant::now();
    let (ending, _) = ran(plan);
    assert_eq!(ending.stop, Some(OurStop::Watchdog(Resource::Memory)));
    assert_eq!(ending.exit, Exit::Signal(9));
    assert!(ending.counts.memory_peak >= Some(Bytes(60 * MIB)));
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn the_limit_on_memory_is_given_to_what_the_kernel_starts_it_by() {
    let mut plan = sh("exit 3");
    plan.limits.memory = Some(Bytes(512 * MIB));
    let here = Here::default();
    assert_eq!(run(plan, &here).expect("it runs").exit, Exit::Code(3));
    assert_eq!(*here.launched.borrow(), [Bytes(512 * MIB)]);
}

#[test]
fn its_time_ends_it_and_all_that_it_started_in_other_sessions_too() {
    let mut plan = sh("setsid sleep 4711 & echo $!; wait");
    plan.limits.duration = Some(Duration::from_millis(400));
    let (ending, told) = ran(plan);
    assert_eq!(ending.stop, Some(OurStop::Duration));
    let root = told.iter().find_map(|e| match e.what {
        What::Started { pid, .. } => Some(pid),
        _ => None,
    });
    assert_eq!(
        Here::default().children(root.expect("it was started")),
        Vec::<u32>::new()
    );
    assert!(
        !anyone_runs(&["sleep", "4711"]),
        "what it had started is still there"
    );
}

#[test]
fn what_is_left_when_a_command_ends_is_ended_if_it_was_ever_seen() {
    // Its parent has ended by then: it is known from before.
    let (ending, _) = ran(sh("(sleep 4712 & sleep 0.5) & sleep 0.6; exit 0"));
    assert_eq!((ending.exit, ending.left_behind), (Exit::Code(0), 1));
    assert!(!anyone_runs(&["sleep", "4712"]));
}

/// Whether a process with these arguments lives.
fn anyone_runs(words: &[&str]) -> bool {
    let procfs = Procfs::open().expect("/proc");
    let pids = procfs.pids().expect("processes");
    pids.into_iter().any(|pid| {
        let arguments = procfs.process(pid).and_then(|p| p.arguments());
        arguments.is_ok_and(|a| a == words.iter().map(OsString::from).collect::<Vec<_>>())
    })
}

struct Sleeper(Child);

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _it_may_have_ended = self.0.kill();
        let _its_end = self.0.wait();
    }
}

#[test]
fn a_number_that_has_become_anothers_is_not_signalled() {
    let mut sleeper = Sleeper(
        Command::new("sleep")
            .arg("600")
            .process_group(0)
            .spawn()
            .expect("sleep"),
    );
    let here = Here::default();
    let id = here.look(sleeper.0.id()).expect("it lives").id;
    let before = Id {
        start: id.start - 1,
        ..id
    };
    assert!(here.signal(before, Signal::KILL).is_err());
    assert!(
        sleeper.0.try_wait().expect("asked").is_none(),
        "another's process was signalled"
    );
    here.signal(id, Signal::KILL).expect("it is its own");
    assert!(!sleeper.0.wait().expect("it ends").success());
}

#[test]
fn a_tree_at_its_limit_is_asked_and_one_that_goes_on_growing_is_ended_at_once() {
    let limits = Limits {
        memory: Some(Bytes(100 * MIB)),
        tasks: Some(8),
        ..Limits::default()
    };
    let memory = OurStop::Watchdog(Resource::Memory);
    let now = Duration::ZERO;
    assert_eq!(order(&limits, sum(100 * MIB - 1, 8), now), None);
    assert_eq!(
        order(&limits, sum(100 * MIB, 8), now),
        Some(Order::Ask(memory))
    );
    assert_eq!(
        order(&limits, sum(125 * MIB - 1, 8), now),
        Some(Order::Ask(memory))
    );
    assert_eq!(
        order(&limits, sum(125 * MIB, 8), now),
        Some(Order::End(memory))
    );
    let processes = OurStop::Watchdog(Resource::Processes);
    assert_eq!(order(&limits, sum(0, 9), now), Some(Order::End(processes)));
}

#[test]
fn time_and_cpu_time_that_are_used_up_ask_it_to_end() {
    let second = Duration::from_secs(1);
    let limits = Limits {
        duration: Some(second * 2),
        cpu_time: Some(second),
        ..Limits::default()
    };
    let used = |cpu| Sum {
        cpu,
        ..Sum::default()
    };
    assert_eq!(order(&limits, used(Duration::ZERO), second), None);
    assert_eq!(
        order(&limits, used(Duration::ZERO), second * 2),
        Some(Order::Ask(OurStop::Duration))
    );
    assert_eq!(
        order(&limits, used(second), second),
        Some(Order::Ask(OurStop::CpuTime))
    );
}

#[test]
fn the_launch_limit_is_in_whole_mebibytes_rounded_up_and_no_program_is_taken_for_an_option() {
    let words = |all: &[&str]| all.iter().map(OsString::from).collect::<Vec<_>>();
    let launch = |command: &[&str], memory| {
        by_taskpolicy(
            Path::new("/usr/sbin/taskpolicy"),
            &words(command),
            Bytes(memory),
        )
    };
    let expected = words(&["/usr/sbin/taskpolicy", "-m", "3", "python", "-c", "pass"]);
    assert_eq!(
        launch(&["python", "-c", "pass"], 2 * MIB + 1),
        Some(expected)
    );
    assert_eq!(launch(&["-p", "1"], MIB), None);
    assert_eq!(launch(&[], MIB), None);
}

#[test]
fn more_wired_memory_than_the_machine_allows_is_told_with_what_raises_it() {
    let told = wired_beyond(Some(Bytes(2048 * MIB)), Some(Bytes(1024 * MIB)));
    assert!(told.is_some_and(|t| t.contains("iogpu.wired_limit_mb")));
    assert_eq!(
        wired_beyond(Some(Bytes(1024 * MIB)), Some(Bytes(1024 * MIB))),
        None
    );
    assert_eq!(wired_beyond(Some(Bytes(u64::MAX)), None), None);
    assert_eq!(wired_beyond(None, Some(Bytes(0))), None);
    let mut plan = sh("test -z \"$CURB_MLX_WIRED\" && test \"$CURB_MLX_CACHE\" = 5");
    plan.limits.told.mlx_wired = Some(Bytes(2));
    plan.limits.told.mlx_cache = Some(Bytes(5));
    let here = Here {
        wired: Some(Bytes(1)),
        ..Here::default()
    };
    assert_eq!(run(plan, &here).expect("it runs").exit, Exit::Code(0));
    let mut plan = sh("test \"$CURB_MLX_WIRED\" = 2");
    plan.limits.told.mlx_wired = Some(Bytes(2));
    assert_eq!(
        run(plan, &Here::default()).expect("it runs").exit,
        Exit::Code(0)
    );
}

#[test]
fn ticks_of_apples_clock_are_as_many_nanoseconds_as_it_says_also_very_many_of_them() {
    assert_eq!(ticks(24, 125, 3), Duration::from_nanos(1000));
    assert_eq!(ticks(u64::MAX, 125, 3), Duration::from_nanos(u64::MAX));
    assert_eq!(ticks(7, 1, 0), Duration::from_nanos(7));
}

#[test]
fn a_program_is_looked_for_where_a_shell_would_look() {
    let found = |name: &str, path: Option<&str>| program(OsStr::new(name), path.map(OsStr::new));
    assert_eq!(
        found("sh", Some("/no/such:/bin")),
        Some(PathBuf::from("/bin/sh"))
    );
    assert_eq!(found("/bin/sh", None), Some(PathBuf::from("/bin/sh")));
    assert_eq!(found("sh", Some("/no/such")), None);
    assert_eq!(found("sh", None), None);
}
