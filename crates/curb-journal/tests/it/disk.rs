//! No room, and a disk that fails.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use curb_journal::{AppendError, Head, Journal, OpenError, OpenOptions, OwnedEntry, SideWrite};

use crate::common::{T0, append, dir, event, report};

/// Appends batches of three with a body each until one is refused.
fn append_until_refused(journal: &mut Journal) -> (Head, AppendError) {
    for n in (1..100_000).step_by(3) {
        let before = journal.head();
        let third = event(n + 2).with(SideWrite::put_spec(
            format!("key-{}", n + 2),
            vec![1; 2_000],
        ));
        if let Err(error) = journal.append(&[event(n), event(n + 1), third]) {
            return (before, error);
        }
    }
    panic!("it never got full");
}

/// Nothing of the refused batch is there, reads go on, and the journal is what it was.
fn check_untouched(journal: &Journal, before: Head) {
    assert_eq!(journal.head(), before);
    assert_eq!(before.seq % 3, 0);
    let found = report(journal.dir());
    assert!(found.is_sound(), "{found:?}");
    assert_eq!(found.head, before);
    assert!(
        journal
            .spec(&format!("key-{}", before.seq))
            .unwrap()
            .is_some()
    );
    assert!(
        journal
            .spec(&format!("key-{}", before.seq + 3))
            .unwrap()
            .is_none()
    );
}

fn late(n: i64) -> OwnedEntry {
    OwnedEntry {
        at_ms: T0 + 1_000_000_000 + n,
        ..event(0)
    }
}

#[test]
fn a_full_journal_refuses_whole_batches_and_works_again_when_there_is_room() {
    let dir = dir();
    let options = OpenOptions {
        max_bytes: Some(1 << 20),
        ..OpenOptions::default()
    };
    let mut journal = Journal::open_with(dir.path(), options).unwrap();
    let (before, error) = append_until_refused(&mut journal);
    assert!(matches!(error, AppendError::Full(_)), "{error}");
    assert!(before.seq > 300, "{before:?}");
    check_untouched(&journal, before);
    // Still full: the answer stays the same, and still nothing is left behind.
    let big = late(0).with(SideWrite::put_spec("big", vec![1; 50_000]));
    assert!(matches!(journal.append(&[big]), Err(AppendError::Full(_))));
    check_untouched(&journal, before);
    // Room: more of it, as after growing the disk.
    drop(journal);
    let mut journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.append(&[late(1)]).unwrap().seq, before.seq + 1);
    assert!(report(dir.path()).is_sound());
}

#[test]
fn a_full_journal_takes_again_what_fits_after_something_was_erased() {
    let dir = dir();
    let options = OpenOptions {
        max_bytes: Some(1 << 20),
        ..OpenOptions::default()
    };
    let mut journal = Journal::open_with(dir.path(), options).unwrap();
    append(&mut journal, 1, 3);
    let body = |n| late(n).with(SideWrite::put_spec(format!("key-{n}"), vec![1; 600_000]));
    journal.append(&[body(1)]).unwrap();
    assert!(matches!(
        journal.append(&[body(2)]),
        Err(AppendError::Full(_))
    ));
    journal
        .append(&[late(3).with(SideWrite::delete_spec("key-1"))])
        .unwrap();
    journal.append(&[body(4)]).unwrap();
    assert!(report(dir.path()).is_sound());
}

/// A small file system of its own, gone with the value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", size, "tmpfs"])
            .arg(at)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        mounted.then(|| Self(at.to_owned()))
    }

    fn grow(&self, size: &str) {
        let options = format!("remount,{size}");
        let status = Command::new("mount")
            .args(["-o", &options])
            .arg(&self.0)
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, so that it goes even if a failing test still has a file open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_is_really_full_refuses_whole_batches_and_works_again_when_it_grows() {
    let place = dir();
    let Some(disk) = SmallDisk::mount(place.path(), "size=2m") else {
        // The bound on the database's size, tested above, takes the same way through the code.
        assert!(
            std::env::var_os("CURB_TEST_REQUIRE_MOUNT").is_none(),
            "CURB_TEST_REQUIRE_MOUNT is set, but no file system can be mounted here"
        );
        println!("did not run on a really full disk: mounting a small one needs root");
        return;
    };
    let data = place.path().join("data");
    let mut journal = Journal::open(&data).unwrap();
    let (before, error) = append_until_refused(&mut journal);
    assert!(matches!(error, AppendError::Full(_)), "{error:?}");
    check_untouched(&journal, before);
    assert!(matches!(
        journal.append(&[late(0).with(SideWrite::put_spec("b", vec![1; 99_000]))]),
        Err(AppendError::Full(_))
    ));
    check_untouched(&journal, before);
    // A process that starts on the full disk can read and answers the same, or says what is the matter.
    drop(journal);
    match Journal::open(&data) {
        Ok(journal) => check_untouched(&journal, before),
        Err(error) => assert!(
            matches!(error, OpenError::Storage { .. } | OpenError::File { .. }),
            "{error}"
        ),
    }
    disk.grow("size=8m");
    let mut journal = Journal::open(&data).unwrap();
    check_untouched(&journal, before);
    assert_eq!(journal.append(&[late(1)]).unwrap().seq, before.seq + 1);
    assert!(report(&data).is_sound());
}

const FAILING: &str = "CURB_JOURNAL_TEST_FAILING_DISK";

/// The parent limits how big a file of this process may get: past that, writes fail as on a broken disk.
fn on_a_failing_disk(data: &Path) {
    let mut journal = Journal::open(data).unwrap();
    let (before, error) = append_until_refused(&mut journal);
    assert!(matches!(error, AppendError::Io(_)), "{error:?}");
    assert!(before.seq > 0);
    // Stopped for good, even for what would fit.
    let error = journal.append(&[late(0)]).unwrap_err();
    assert!(matches!(error, AppendError::Stopped { .. }), "{error:?}");
    assert!(error.to_string().contains("disk I/O error"), "{error}");
    assert_eq!(journal.head(), before);
    std::fs::write(data.join("acknowledged"), before.seq.to_string()).unwrap();
}

#[cfg(unix)]
#[test]
fn a_failing_write_stops_the_journal_and_reopening_finds_all_that_was_acknowledged() {
    if let Some(data) = std::env::var_os(FAILING) {
        return on_a_failing_disk(data.as_ref());
    }
    let dir = dir();
    // 600 blocks of 512 bytes; the signal that comes with the limit is ignored, so that the write fails.
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 600; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "disk::a_failing_write_stops_the_journal_and_reopening_finds_all_that_was_acknowledged",
        ])
        .env(FAILING, dir.path())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(
        status.success(),
        "the test in the limited process failed, see above"
    );
    let acknowledged: u64 = std::fs::read_to_string(dir.path().join("acknowledged"))
        .unwrap()
        .parse()
        .unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    assert!(journal.head().seq >= acknowledged);
    assert!(report(dir.path()).is_sound());
    assert_eq!(journal.append(&[late(1)]).unwrap().seq, journal.head().seq);
}

#[cfg(unix)]
#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = dir();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Journal::open(&file.join("data")).unwrap_err();
    assert!(
        matches!(
            &error,
            OpenError::File {
                doing: "create",
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("file/data"), "{error}");
}
