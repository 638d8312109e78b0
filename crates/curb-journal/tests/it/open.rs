use std::process::{Command, Stdio};
use std::time::Duration;

use curb_journal::{Head, JOURNAL_FILE, Journal, LOCK_FILE, OpenError, Reader};

use crate::common::{append, dir, filled, shell};

#[test]
fn a_new_journal_is_empty_and_its_head_is_the_genesis() {
    let dir = dir();
    let journal = Journal::open(&dir.path().join("not/there/yet")).unwrap();
    assert_eq!(journal.head(), Head::genesis());
    let reader = Reader::open(journal.dir()).unwrap();
    assert_eq!(reader.head().unwrap(), Head::genesis());
    assert_eq!(reader.range(0, 10).unwrap(), []);
}

#[test]
fn the_linked_engine_is_past_the_wal_reset_bug() {
    assert!(
        rusqlite::version_number() >= 3_051_003,
        "{}",
        rusqlite::version()
    );
}

#[test]
fn what_was_appended_is_there_after_reopening() {
    let (dir, head) = filled(30);
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.head(), head);
    assert_eq!(head.seq, 30);
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let dir = dir();
    let data = dir.path().join("data");
    let mut journal = Journal::open(&data).unwrap();
    append(&mut journal, 1, 5);
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for entry in std::fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_second_opener_in_the_same_process_is_refused_and_told_the_pid() {
    let dir = dir();
    let _first = Journal::open(dir.path()).unwrap();
    let error = Journal::open(dir.path()).unwrap_err();
    let pid = std::process::id();
    assert!(matches!(error, OpenError::Locked { pid: Some(found), .. } if found == pid));
    assert!(
        error.to_string().contains(&format!("process {pid}")),
        "{error}"
    );
}

const HOLD: &str = "CURB_JOURNAL_TEST_HOLD";

#[test]
fn a_second_process_is_refused_until_the_first_is_gone_however_it_died() {
    if let Some(dir) = std::env::var_os(HOLD) {
        let _held = Journal::open(dir.as_ref()).unwrap();
        std::thread::sleep(Duration::from_secs(30));
        return;
    }
    let dir = dir();
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "open::a_second_process_is_refused_until_the_first_is_gone_however_it_died",
        ])
        .env(HOLD, dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = holder.id();
    let refused = (0..1_000).find_map(|_| {
        std::thread::sleep(Duration::from_millis(10));
        // Between its start and its lock there is nothing to refuse us; look at the file, so that we do
        // not take the lock ourselves.
        let text = std::fs::read_to_string(dir.path().join(LOCK_FILE)).unwrap_or_default();
        (text == pid.to_string()).then(|| Journal::open(dir.path()).map(drop))
    });
    holder.kill().unwrap();
    holder.wait().unwrap();
    let error = refused
        .expect("the holder takes its lock within 10 s")
        .unwrap_err();
    assert!(
        matches!(error, OpenError::Locked { pid: Some(found), .. } if found == pid),
        "{error}"
    );
    Journal::open(dir.path()).expect("the lock went with its process");
}

#[test]
fn a_reader_needs_a_journal() {
    let dir = dir();
    assert!(matches!(
        Reader::open(dir.path()),
        Err(OpenError::Missing { .. })
    ));
    assert!(
        !dir.path().join(JOURNAL_FILE).exists(),
        "looking must not create"
    );
}

#[test]
fn a_newer_schema_is_refused_by_writer_and_reader_and_left_alone() {
    let (dir, _) = filled(3);
    shell(dir.path())
        .pragma_update(None, "user_version", 2)
        .unwrap();
    let newer = |error: OpenError| {
        assert!(
            matches!(
                error,
                OpenError::NewerSchema {
                    found: 2,
                    known: 1,
                    ..
                }
            ),
            "{error}"
        );
    };
    newer(Journal::open(dir.path()).unwrap_err());
    newer(Reader::open(dir.path()).unwrap_err());
    let version: i32 = shell(dir.path())
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, 2);
}

#[test]
fn a_database_of_something_else_is_refused() {
    let dir = dir();
    let other = rusqlite::Connection::open(dir.path().join(JOURNAL_FILE)).unwrap();
    other
        .execute_batch("CREATE TABLE photos (id INTEGER)")
        .unwrap();
    drop(other);
    assert!(matches!(
        Journal::open(dir.path()),
        Err(OpenError::NotAJournal { found: 0, .. })
    ));
    assert!(matches!(
        Reader::open(dir.path()),
        Err(OpenError::NotAJournal { found: 0, .. })
    ));
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let dir = dir();
    let path = dir.path().join(JOURNAL_FILE);
    let text = "this is somebody's diary\n".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let error = Journal::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Storage { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

/// Damages a journal of ten records and tells what opening it says.
fn open_damaged(damage: &str) -> String {
    let (dir, _) = filled(10);
    shell(dir.path()).execute_batch(damage).unwrap();
    let error = Journal::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    error.to_string()
}

#[test]
fn a_damaged_end_is_refused_with_what_does_not_fit() {
    let table = [
        (
            "DELETE FROM events WHERE seq = 10",
            "the head is record 10, which is missing",
        ),
        (
            "DELETE FROM events",
            "the head is record 10, which is missing",
        ),
        (
            "DELETE FROM events WHERE seq = 9",
            "record 10 does not follow the one in front",
        ),
        (
            "UPDATE events SET payload = x'00' WHERE seq = 10",
            "record 10 is not what its hash says",
        ),
        (
            "UPDATE events SET kind = x'00' || 'a' WHERE seq = 10",
            "record 10 is not what its hash says",
        ),
        (
            "UPDATE events SET hash = zeroblob(32) WHERE seq = 9",
            "record 10 does not follow",
        ),
        (
            "UPDATE head SET seq = 9",
            "record 10 comes after the head, 9",
        ),
        (
            "UPDATE head SET seq = 11",
            "the head is record 11, which is missing",
        ),
        (
            "UPDATE head SET hash = zeroblob(32)",
            "record 10 is not the stored head",
        ),
        (
            "UPDATE head SET at_ms = at_ms + 1",
            "record 10 is not the stored head",
        ),
        ("UPDATE head SET seq = -1", "its number is negative"),
        (
            "UPDATE head SET hash = zeroblob(31)",
            "its hash is not 32 bytes",
        ),
        (
            "UPDATE events SET hash = zeroblob(31) WHERE seq = 10",
            "its hash is not a hash",
        ),
        (
            "UPDATE head SET seq = 0, hash = (SELECT prev FROM events WHERE seq = 1), \
             at_ms = -9223372036854775808",
            "record 1 comes after the head, 0",
        ),
    ];
    for (damage, expected) in table {
        let said = open_damaged(damage);
        assert!(said.contains(expected), "{damage}: {said}");
    }
}

#[test]
fn a_journal_without_its_head_row_is_refused() {
    let (dir, _) = filled(3);
    shell(dir.path()).execute_batch("DELETE FROM head").unwrap();
    let error = Journal::open(dir.path()).unwrap_err();
    assert!(
        error.to_string().contains("cannot read the head"),
        "{error}"
    );
}

#[test]
fn reopening_in_place_keeps_the_head_and_the_lock() {
    let dir = dir();
    let mut journal = Journal::open(dir.path()).unwrap();
    let head = append(&mut journal, 1, 9);
    assert_eq!(journal.reopen().unwrap(), head);
    assert!(matches!(
        Journal::open(dir.path()),
        Err(OpenError::Locked { .. })
    ));
    assert_eq!(append(&mut journal, 10, 12).seq, 12);
}
