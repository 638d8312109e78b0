//! The hook in real interpreters: what it tells, and that no program notices it.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use curb_core::host::Bytes;

use super::*;

/// The interpreter of the environment with MLX; without it the tests that need MLX fail.
fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let ours = root.join(".venv/bin/python");
    match ours.exists() {
        true => ours,
        false => PathBuf::from("python3"),
    }
}

struct Ran {
    out: String,
    err: String,
    code: Option<i32>,
    said: Vec<Message>,
}

impl Ran {
    fn marks(&self) -> Vec<&str> {
        let name = |m: &'_ Message| matches!(m.said, Said::Mark { .. });
        let all = self.said.iter().filter(|m| name(m));
        all.filter_map(|m| match &m.said {
            Said::Mark { name, .. } => Some(name.as_str()),
            _ => None,
        })
        .collect()
    }
}

fn run_with(setup: impl FnOnce(&mut Command, &Hook)) -> Ran {
    let parent = tempfile::tempdir().expect("a directory");
    let hook = Hook::install_in(parent.path()).expect("installed");
    let mut command = Command::new(python());
    command.env_remove("PYTHONPATH").stdin(Stdio::null());
    hook.put_into(&mut command, &MlxLimits::default());
    setup(&mut command, &hook);
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("python runs");
    let said = hook.received();
    let dir = hook.dir.path().to_owned();
    drop(hook);
    assert!(!dir.exists(), "its files are removed");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran {
        out: text(stdout),
        err: text(stderr),
        code: status.code(),
        said,
    }
}

fn run(args: &[&str]) -> Ran {
    run_with(|command, _| {
        command.args(args);
    })
}

#[test]
fn a_program_with_mlx_tells_its_way_and_its_counters_and_sees_nothing_of_it() {
    let script = "
import sys
assert not any('curb' in p for p in sys.path), sys.path
import mlx.core as mx
before = mx.eval
assert 'curb' not in repr(mx.__loader__) + repr(mx.__spec__), mx.__spec__
w = mx.ones((1024, 1024)); mx.eval(w)
mx.eval(w + 1)
assert 'nanobind' in repr(mx.eval), mx.eval
import time; time.sleep(0.35)
print('ran')
";
    let ran = run(&["-c", script]);
    assert_eq!(
        (ran.out.as_str(), ran.err.as_str(), ran.code),
        ("ran\n", "", Some(0))
    );
    assert_eq!(
        ran.marks(),
        ["interpreter", "importing", "imported", "weights", "work"]
    );
    let counters: Vec<&MlxCounters> = ran
        .said
        .iter()
        .filter_map(|m| match &m.said {
            Said::Mlx(counters) => Some(counters),
            _ => None,
        })
        .collect();
    assert!((3..=6).contains(&counters.len()), "{counters:?}");
    let last = counters.last().expect("some");
    assert_eq!(last.active, Bytes(4 << 20));
    assert!(
        last.peak >= Bytes(8 << 20) && last.cache >= Bytes(4 << 20),
        "{last:?}"
    );
    let residents: Vec<u64> = ran
        .said
        .iter()
        .filter_map(|m| match &m.said {
            Said::Mark { resident, .. } => resident.map(|r| r.0),
            _ => None,
        })
        .collect();
    assert!(
        residents.is_sorted() && residents[3] >= residents[2] + (4 << 20),
        "{residents:?}"
    );
    let Said::Mark {
        version, module, ..
    } = &ran.said[2].said
    else {
        panic!("{:?}", ran.said)
    };
    assert_eq!(module.as_deref(), Some("mlx.core"));
    assert!(
        version.as_deref().is_some_and(|v| v.starts_with("0.")),
        "{version:?}"
    );
}

#[test]
fn the_program_s_own_word_on_its_weights_goes_before_the_guess() {
    let script = "
import curb_hook, mlx.core as mx
mx.load
curb_hook.mark('weights'); curb_hook.mark('weights'); curb_hook.mark('x' * 10000); curb_hook.mark('a\\tpid=1')
mx.eval(mx.ones(4))
";
    let ran = run(&["-c", script]);
    assert_eq!((ran.err.as_str(), ran.code), ("", Some(0)));
    let long = "x".repeat(200);
    assert_eq!(
        ran.marks()[3..],
        ["weights", long.as_str(), "a?pid=1", "work"]
    );
    let Said::Mark { by, .. } = &ran.said[3].said else {
        panic!("a mark")
    };
    assert_eq!(by.as_deref(), Some("the program"));
}

#[test]
fn limits_of_mlx_are_set_as_told_and_a_wrong_one_is_told_and_harms_nobody() {
    let script = "import mlx.core as mx; print(mx.set_cache_limit(1), mx.set_memory_limit(1))";
    let ran = run_with(|command, _| {
        command.args(["-c", script]);
        command.env("CURB_MLX_CACHE", "1048576");
        command.env("CURB_MLX_MEMORY", "many");
    });
    assert!(ran.out.starts_with("1048576 "), "{}{}", ran.out, ran.err);
    let limits: Vec<&Said> = ran
        .said
        .iter()
        .map(|m| &m.said)
        .filter(|s| matches!(s, Said::Limit { .. }))
        .collect();
    let [
        Said::Limit {
            bytes, error: None, ..
        },
        Said::Limit {
            error: Some(why), ..
        },
    ] = limits[..]
    else {
        panic!("{limits:?}")
    };
    assert_eq!(*bytes, Some(Bytes(1 << 20)));
    assert!(why.starts_with("ValueError"), "{why}");
}

#[test]
fn a_program_s_own_sitecustomize_runs_as_without_us_also_when_it_fails() {
    let own = tempfile::tempdir().expect("a directory");
    for (text, said) in [
        ("import sys; sys.marked = __name__ + ' ' + __file__", None),
        ("raise ValueError('its own')", Some("its own")),
    ] {
        fs::write(own.path().join("sitecustomize.py"), text).expect("written");
        let script =
            "import sys; print(getattr(sys, 'marked', 'no'), 'sitecustomize' in sys.modules)";
        let plain = Command::new(python())
            .args(["-c", script])
            .env("PYTHONPATH", own.path())
            .output()
            .expect("python runs");
        let ran = run_with(|command, hook| {
            command.args(["-c", script]);
            let path = own.path().as_os_str();
            command.envs(hook.environment(Some(path), &MlxLimits::default()));
        });
        assert_eq!(ran.out, String::from_utf8_lossy(&plain.stdout));
        assert_eq!(ran.code, plain.status.code());
        assert_eq!(ran.marks(), ["interpreter"]);
        let theirs = String::from_utf8_lossy(&plain.stderr);
        match said {
            None => assert_eq!(ran.err, theirs),
            Some(said) => assert!(
                ran.err.contains(said) && theirs.contains(said),
                "{}",
                ran.err
            ),
        }
    }
}

#[test]
fn a_program_that_closes_all_descriptors_forks_or_finds_a_broken_hook_goes_on() {
    let close = "
import os, mlx.core as mx, time
mx.eval(mx.ones(4))
time.sleep(0.15); os.closerange(3, 256)
held = [open('/dev/null', 'wb') for _ in range(20)]
time.sleep(0.3); print('ran')
";
    let ran = run(&["-c", close]);
    assert_eq!(
        (ran.out.as_str(), ran.err.as_str(), ran.code),
        ("ran\n", "", Some(0))
    );
    assert!(ran.said.len() > 7, "it goes on telling: {:?}", ran.said);

    let fork = "
import os, sys, warnings; warnings.simplefilter('error')
import mlx.core as mx, threading
def ours(): return [t.native_id for t in threading.enumerate() if t.name == 'curb-hook']
before = ours()
for _ in range(20):
    pid = os.fork()
    if pid == 0: sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
after = ours()
assert len(before) == len(after) == 1 and before != after, 'its thread is stopped before a fork'
mx.eval(mx.ones(4)); print('ran')
";
    let ran = run(&["-c", fork]);
    assert_eq!(
        (ran.out.as_str(), ran.err.as_str(), ran.code),
        ("ran\n", "", Some(0))
    );

    for broken in [
        "raise SystemExit(3)",
        "this is not Python",
        "import no_such_module",
    ] {
        let ran = run_with(|command, hook| {
            fs::write(hook.dir.path().join("curb_hook/__init__.py"), broken).expect("written");
            command.args(["-c", "print('ran')"]);
        });
        assert_eq!(
            (ran.out.as_str(), ran.err.as_str(), ran.code),
            ("ran\n", "", Some(0)),
            "{broken}"
        );
        assert_eq!(ran.said, []);
    }
    // Nobody listens, or the files are gone.
    let ran = run_with(|command, hook| {
        command.args(["-c", "import mlx.core; print('ran')"]);
        command.env("CURB_HOOK", hook.dir.path().join("nobody"));
    });
    assert_eq!(
        (ran.out.as_str(), ran.err.as_str(), ran.code),
        ("ran\n", "", Some(0))
    );
}

#[test]
fn whoever_does_not_look_for_it_sends_nothing() {
    for args in [
        ["-S", "-c", "print(1)"],
        ["-I", "-c", "print(1)"],
        ["-E", "-c", "print(1)"],
    ] {
        let ran = run(&args);
        assert_eq!(
            (ran.out.as_str(), ran.err.as_str()),
            ("1\n", ""),
            "{args:?}"
        );
        assert_eq!(ran.said, [], "{args:?}");
    }
}

#[test]
fn what_is_no_message_of_ours_is_left_out() {
    let parent = tempfile::tempdir().expect("a directory");
    let hook = Hook::install_in(parent.path()).expect("installed");
    let to = UnixDatagram::unbound().expect("a socket");
    for text in [
        &b"\xff\xfe"[..],
        b"",
        b"kind=mlx\tpid=1\tactive=-1\tcache=0\tpeak=0",
        b"kind=x\tpid=1",
        &[b'a'; 5000],
    ] {
        to.send_to(text, hook.dir.path().join("socket"))
            .expect("sent");
    }
    to.send_to(b"kind=mark\tpid=7\tname=x", hook.dir.path().join("socket"))
        .expect("sent");
    let said = hook.received();
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].pid, 7);
    assert_eq!(hook.received(), []);
}
