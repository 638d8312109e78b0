//! `curb top`: its lines as values, and its screen on a real terminal.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

mod lines;

/// A workload within limits; it ends when this is dropped.
struct Workload {
    child: Child,
    input: Option<ChildStdin>,
}

impl Workload {
    fn start() -> Workload {
        let mut child = Command::new(env!("CARGO_BIN_EXE_curb"))
            .args([
                "run",
                "--memory",
                "64MiB",
                "--cpu",
                "0.5",
                "--processes",
                "8",
                "--",
                "sh",
                "-c",
                "echo up; cat",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("curb starts");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        let read = out.read_line(&mut line);
        let workload = Workload {
            input: child.stdin.take(),
            child,
        };
        read.expect("it is up");
        workload
    }

    /// How its group's name begins.
    fn name(&self) -> String {
        format!("curb-run-{}-", self.child.id())
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// `curb top` on a terminal of its own.
struct Top {
    child: Child,
    master: std::fs::File,
    seen: Arc<Mutex<Seen>>,
}

struct Seen {
    screen: vt100::Parser,
    bytes: Vec<u8>,
}

const PATIENCE: Duration = Duration::from_secs(20);

impl Top {
    fn start(args: &[&str], columns: u16, rows: u16) -> Top {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let side = std::fs::File::options()
            .read(true)
            .write(true)
            .open(name.to_str().expect("text"))
            .expect("opened");
        tcsetwinsize(&master, size(columns, rows)).expect("a size");
        let end = || Stdio::from(OwnedFd::from(side.try_clone().expect("another")));
        // It must be the terminal of its session, so that it is told of another size.
        let child = Command::new("setsid")
            .args([
                "--ctty",
                env!("CARGO_BIN_EXE_curb"),
                "top",
                "--interval",
                "200ms",
            ])
            .args(args)
            .env("NO_COLOR", "1")
            .env("LC_ALL", "C.UTF-8")
            .env("TERM", "xterm")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("setsid(1)");
        let seen = Arc::new(Mutex::new(Seen {
            screen: vt100::Parser::new(cells(rows), cells(columns), 0),
            bytes: Vec::new(),
        }));
        let master = std::fs::File::from(master);
        let (mut from, into) = (master.try_clone().expect("another"), Arc::clone(&seen));
        // It ends with the terminal: when the last who has its other side open is gone.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(got @ 1..) = from.read(&mut buffer) {
                let mut seen = into.lock().expect("not poisoned");
                seen.screen.process(&buffer[..got]);
                seen.bytes.extend_from_slice(&buffer[..got]);
            }
        });
        Top {
            child,
            master,
            seen,
        }
    }

    fn screen(&self) -> String {
        let seen = self.seen.lock().expect("not poisoned");
        seen.screen.screen().contents()
    }

    fn bytes(&self) -> String {
        let seen = self.seen.lock().expect("not poisoned");
        String::from_utf8_lossy(&seen.bytes).into_owned()
    }

    /// Waits until the screen is as wanted.
    fn until(&self, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if wanted(&screen) {
                return screen;
            }
            assert!(
                Instant::now() < end,
                "not in time:\n{screen}\n{:?}",
                self.bytes()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("typed");
    }

    /// Waits for its end: the code, and whether the terminal is as it was.
    fn end(mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("ours") {
                break status;
            }
            assert!(
                Instant::now() < until,
                "it does not end:\n{}",
                self.screen()
            );
            std::thread::sleep(Duration::from_millis(20));
        };
        let modes = tcgetattr(&self.master).expect("a terminal").local_modes;
        assert!(
            modes.contains(LocalModes::ECHO | LocalModes::ICANON),
            "{modes:?}"
        );
        self.until_left();
        status.code()
    }

    fn until_left(&self) {
        let end = Instant::now() + PATIENCE;
        while !self.bytes().contains("\u{1b}[?1049l") || !self.bytes().contains("\u{1b}[?25h") {
            assert!(
                Instant::now() < end,
                "the other screen is still there: {:?}",
                self.bytes()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cells(n: u16) -> std::num::NonZero<u16> {
    std::num::NonZero::new(n).expect("a screen has cells")
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

#[test]
fn the_screen_shows_a_workload_with_its_limits_and_takes_keys() {
    let workload = Workload::start();
    let mut top = Top::start(&["--sort", "name"], 80, 24);
    let name = workload.name();
    let name = &name[..name.len().min(16)];
    let screen = top.until(|s| s.contains(name) && s.contains(" 0.0 "));
    let row = screen.lines().find(|l| l.contains(name)).expect("its row");
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!((words[2], words[5]), ("64M", "0.5"), "{row}");
    assert!(words[6].ends_with("/8"), "{row}");
    assert!(screen.starts_with("curb top "), "{screen}");
    assert!(screen.contains("q quit  s sort  / filter"), "{screen}");
    // NO_COLOR: nothing is coloured, nor bold.
    assert!(!top.bytes().contains("m\u{1b}") && !top.bytes().contains("\u{1b}[1m"));
    top.press("s");
    top.until(|s| s.contains("by memory"));
    top.press("/no such workload");
    top.until(|s| s.contains("/no such workload_") && !s.contains(name));
    top.press("\r");
    top.until(|s| s.contains("only /no such workload") && s.contains("no workload: "));
    top.press("/\u{1b}");
    top.until(|s| s.contains(name));
    top.press("q");
    assert_eq!(top.end(), Some(0));
}

#[test]
fn another_size_is_drawn_anew_and_nothing_is_wider_than_it() {
    let _workload = Workload::start();
    let top = Top::start(&[], 120, 20);
    top.until(|s| s.contains("WORKLOAD"));
    {
        let mut seen = top.seen.lock().expect("not poisoned");
        seen.screen.screen_mut().set_size(cells(8), cells(80));
        seen.bytes.clear();
    }
    tcsetwinsize(&top.master, size(80, 8)).expect("another size");
    let screen = top.until(|s| s.lines().count() <= 8 && s.contains("q quit"));
    assert!(top.bytes().contains("\u{1b}[2J"), "all of it is drawn anew");
    for line in screen.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn a_signal_gives_the_terminal_back_as_it_was() {
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let top = Top::start(&[], 80, 24);
        top.until(|s| s.contains("WORKLOAD"));
        let modes = tcgetattr(&top.master).expect("a terminal").local_modes;
        assert!(!modes.contains(LocalModes::ECHO), "it is taken");
        // Our own child, not yet waited for.
        let pid = Pid::from_child(&top.child);
        let fd = pidfd_open(pid, PidfdFlags::empty()).expect("it runs");
        pidfd_send_signal(&fd, signal).expect("sent");
        assert_eq!(top.end(), Some(0), "{signal:?}");
    }
}

#[test]
fn in_a_pipe_it_looks_twice_and_ends() {
    let workload = Workload::start();
    let told = |args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_curb"))
            .arg("top")
            .args(args)
            .output();
        let out = out.expect("curb starts");
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).expect("text")
    };
    let once = told(&["--filter", &workload.name()]);
    assert!(
        once.contains(&workload.name()) && !once.contains('\u{1b}'),
        "{once}"
    );
    assert!(!once.contains("quit"), "{once}");
    let json: serde_json::Value = serde_json::from_str(&told(&["--json"])).expect("JSON");
    let rows = json["workloads"].as_array().expect("a list");
    let is = |r: &&serde_json::Value| {
        r["name"]
            .as_str()
            .is_some_and(|n| n.starts_with(&workload.name()))
    };
    let row = rows.iter().find(is).expect("it is there");
    assert_eq!(row["memory_limit"]["value"], 64 << 20);
    assert_eq!(row["memory_from"], "group");
    assert!(
        row["cpu_milli"].is_u64() && row["headroom"].is_u64(),
        "{row}"
    );
}

#[test]
fn a_process_that_was_attached_to_is_a_workload_whatever_it_is() {
    let mut sleeper = Command::new("sleep").arg("60").spawn().expect("sleep(1)");
    let pid = sleeper.id().to_string();
    let mut holder = Command::new(env!("CARGO_BIN_EXE_curb"))
        .args(["run", "--pid", &pid, "--memory", "64MiB"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("curb starts");
    let row = || {
        let out = Command::new(env!("CARGO_BIN_EXE_curb"))
            .args(["top", "--json"])
            .output()
            .expect("curb starts");
        let told: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
        let rows = told["workloads"].as_array().expect("a list").clone();
        let of_it = format!("-{}-", holder.id());
        rows.into_iter().find(|r| {
            let name = r["name"].as_str().unwrap_or_default();
            name.starts_with("curbed-") && name.contains(&of_it)
        })
    };
    let until = Instant::now() + PATIENCE;
    let mut found = row();
    while found.is_none() && Instant::now() < until {
        found = row();
    }
    // Their end comes before the verdict. The holder ends when what it holds has ended.
    sleeper.kill().expect("ours");
    sleeper.wait().expect("ended");
    holder.wait().expect("it ends");
    let row = found.expect("it is shown");
    assert_eq!(row["memory_limit"]["value"], 64 << 20, "{row}");
    assert_eq!(row["memory_from"], "group", "{row}");
}
